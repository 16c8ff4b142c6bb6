"""Guards and watchers over gRPC: encode, call with a deadline, check what came back.

A lost answer is Ambiguous and the same question is asked again: every method asked here is
idempotent (F73). An answer that is not to what was asked is Transient, so that a confused peer
is avoided and never believed.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import grpc

from xstock_core.ids import Domain, TransferId
from xstock_core.release import ReleaseBatch
from xstock_relayer.adapters.wire import claim_to_wire, order_to_wire, verdict_from_wire
from xstock_relayer.model import (
    GuardRefused,
    GuardSigned,
    GuardVerdict,
    Numbered,
    SignedOrder,
    Transfer,
)
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient
from xstock_runtime.grpc_errors import remote_error
from xstock_wire.codec import observation_from_wire
from xstock_wire.v1 import (
    supply_guard_pb2,
    supply_guard_pb2_grpc,
    watcher_pb2,
    watcher_pb2_grpc,
)


def _failure(error: grpc.aio.AioRpcError) -> ServiceError:
    """A refusal of the call itself (unknown method, no rights) is waited out like an outage."""
    known = remote_error(error)
    if isinstance(known, Transient | Ambiguous):
        return known
    return Transient(known.code, known.message, known.metadata)


class GrpcGuard:
    """One supply-guard."""

    def __init__(
        self, guard_id: str, channel: grpc.aio.Channel, *, deadline_seconds: float
    ) -> None:
        self.id = guard_id
        self._stub = supply_guard_pb2_grpc.SupplyGuardServiceStub(channel)
        self._deadline = deadline_seconds

    async def review(self, transfers: Sequence[Transfer]) -> Sequence[GuardVerdict]:
        """A verdict per claim."""
        request = supply_guard_pb2.ReviewTransfersRequest(
            claims=[claim_to_wire(transfer) for transfer in transfers]
        )
        try:
            answer = await self._stub.ReviewTransfers(request, timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        verdicts = self._verdicts(answer.verdicts)
        if [v.transfer_id for v in verdicts] != [t.id for t in transfers]:
            raise Transient("BAD_ANSWER", f"{self.id}: verdicts are not for the claims asked")
        return verdicts

    async def sign(
        self,
        batch: ReleaseBatch,
        transfer_ids: Sequence[TransferId],
        papers: Mapping[TransferId, SignedOrder] = MappingProxyType({}),
    ) -> GuardSigned | GuardRefused:
        """The signature over the batch, or what stands in its way."""
        items = []
        for transfer_id, item in zip(transfer_ids, batch.items, strict=True):
            wire = supply_guard_pb2.SignItem(transfer_id=transfer_id, action=_ACTIONS[item.action])
            if transfer_id in papers:
                wire.authority.CopyFrom(order_to_wire(papers[transfer_id]))
            items.append(wire)
        request = supply_guard_pb2.SignReleaseRequest(
            destination=batch.destination,
            bridge=batch.bridge,
            epoch=batch.epoch,
            deadline=batch.deadline,
            items=items,
            terms=batch.terms,
        )
        try:
            answer = await self._stub.SignRelease(request, timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        if answer.refusals:
            return GuardRefused(tuple(self._verdicts(answer.refusals)))
        if not answer.signature:
            raise Transient("BAD_ANSWER", f"{self.id}: neither a signature nor a refusal")
        return GuardSigned(answer.signer, answer.signature)

    def _verdicts(self, wire: Sequence[object]) -> list[GuardVerdict]:
        try:
            return [verdict_from_wire(verdict) for verdict in wire]  # type: ignore[arg-type]
        except InvalidMessage as error:
            raise Transient("BAD_ANSWER", f"{self.id}: {error.message}") from error


_ACTIONS = {
    1: supply_guard_pb2.RELEASE_ACTION_RELEASE,
    2: supply_guard_pb2.RELEASE_ACTION_CANCEL,
}


class GrpcWatcher:
    """One chain's watcher."""

    def __init__(
        self,
        chain: Domain,
        channel: grpc.aio.Channel,
        *,
        deployment_id: str,
        deadline_seconds: float,
    ) -> None:
        self.chain = chain
        self._stub = watcher_pb2_grpc.WatcherServiceStub(channel)
        self._deployment_id = deployment_id
        self._deadline = deadline_seconds

    async def latest_sequence(self) -> int:
        """The number of its last observation."""
        request = watcher_pb2.GetCursorRequest()
        try:
            answer = await self._stub.GetCursor(request, timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            raise _away(error) from error
        return answer.sequence

    async def list_after(self, sequence: int, limit: int) -> Sequence[Numbered]:
        """Observations with a greater number, in order; raises Transient for foreign ones."""
        request = watcher_pb2.ListObservationsRequest(after_sequence=sequence, page_size=limit)
        try:
            answer = await self._stub.ListObservations(request, timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            raise _away(error) from error
        try:
            return [
                Numbered(
                    record.sequence,
                    observation_from_wire(record, deployment_id=self._deployment_id),
                )
                for record in answer.observations
            ]
        except InvalidMessage as error:
            raise Transient("BAD_ANSWER", f"watcher of {self.chain.name}: {error}") from error


def _away(error: grpc.aio.AioRpcError) -> Transient:
    known = remote_error(error)
    if isinstance(known, Transient):
        return known
    return Transient(known.code, known.message, known.metadata)

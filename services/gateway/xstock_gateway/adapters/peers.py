"""The watchers, the guards and the relayer, over gRPC."""

import asyncio
from collections.abc import Mapping, Sequence

import grpc

from xstock_chains.ports import Progress
from xstock_core.amount import InvalidAmount
from xstock_core.ids import AssetId, Domain, InvalidId, TransferId
from xstock_core.message import parse_message
from xstock_core.observation import TxRef
from xstock_gateway.ports import AssetBooks, ChainBooks, GuardHalt, HolderPaper, LookedAt
from xstock_gateway.refusals import ApiRefused
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.grpc_errors import remote_error
from xstock_wire.codec import block_from_wire, observation_from_wire, tx_from_wire, tx_to_wire
from xstock_wire.v1 import (
    common_pb2,
    operator_pb2,
    operator_pb2_grpc,
    records_pb2,
    relayer_pb2,
    relayer_pb2_grpc,
    supply_guard_pb2,
    supply_guard_pb2_grpc,
    watcher_pb2,
    watcher_pb2_grpc,
)

_PREFIX = "LOOK_VERDICT_"


class GrpcWatchers:
    """Watchers over one channel per chain."""

    def __init__(self, channels: Mapping[Domain, grpc.aio.Channel], deployment_id: str) -> None:
        self._stubs = {
            chain: watcher_pb2_grpc.WatcherServiceStub(channel)
            for chain, channel in channels.items()
        }
        self._deployment_id = deployment_id

    async def look(self, tx: TxRef) -> LookedAt:
        """Look at a transaction now."""
        stub = self._stubs.get(tx.chain)
        if stub is None:
            raise Transient(
                "WATCHER_UNKNOWN", f"no watcher of domain {int(tx.chain)} is configured"
            )
        request = watcher_pb2.ReObserveRequest(tx=tx_to_wire(tx))
        try:
            answer = await stub.ReObserve(request)
            return self._looked(answer)
        except grpc.aio.AioRpcError as error:
            raise _away(error) from error
        except (InvalidMessage, InvalidId, InvalidAmount) as error:
            text = f"the watcher of domain {int(tx.chain)} answered what cannot be believed"
            raise Transient("WATCHER_UNBELIEVABLE", f"{text}: {error}") from error

    def _looked(self, answer: watcher_pb2.ReObserveResponse) -> LookedAt:
        name = watcher_pb2.LookVerdict.DESCRIPTOR.values_by_number.get(answer.verdict)
        if name is None or answer.verdict == watcher_pb2.LOOK_VERDICT_UNSPECIFIED:
            raise InvalidMessage("BAD_RECORD", f"verdict: {answer.verdict} is not known here")
        return LookedAt(
            verdict=str(name.name).removeprefix(_PREFIX),
            observations=tuple(
                observation_from_wire(record, deployment_id=self._deployment_id)
                for record in answer.observations
            ),
            pending=tuple(_pending(record) for record in answer.pending),
            through=block_from_wire(answer.through) if answer.HasField("through") else None,
        )


class GrpcGuards:
    """Guards over one channel per guard."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel]) -> None:
        self._stubs = {
            guard: supply_guard_pb2_grpc.SupplyGuardServiceStub(channel)
            for guard, channel in channels.items()
        }
        self._operators = {
            guard: operator_pb2_grpc.OperatorServiceStub(channel)
            for guard, channel in channels.items()
        }

    async def books(self, assets: Sequence[AssetId]) -> tuple[Sequence[AssetBooks], Sequence[str]]:
        """Ask all guards at once; those that do not answer are named."""
        answers = await asyncio.gather(*(self._one(guard, assets) for guard in self._stubs))
        silent = [guard for guard, books in zip(self._stubs, answers, strict=True) if books is None]
        return [one for books in answers if books is not None for one in books], silent

    async def halts(self) -> tuple[Sequence[GuardHalt], Sequence[str]]:
        """Ask all guards at once; those that do not answer are named."""
        answers = await asyncio.gather(*(self._halts_of(guard) for guard in self._operators))
        pairs = list(zip(self._operators, answers, strict=True))
        silent = [guard for guard, halts in pairs if halts is None]
        return [one for _, halts in pairs if halts is not None for one in halts], silent

    async def _halts_of(self, guard: str) -> list[GuardHalt] | None:
        try:
            answer = await self._operators[guard].ListHalts(operator_pb2.ListHaltsRequest())
            return [
                GuardHalt(guard, _chain_of(halt.scope), halt.reason)
                for halt in answer.halts
                if halt.scope.WhichOneof("scope") != "asset"
            ]
        except (grpc.aio.AioRpcError, ValueError):
            return None

    async def _one(self, guard: str, assets: Sequence[AssetId]) -> list[AssetBooks] | None:
        request = supply_guard_pb2.GetLedgerRequest(assets=list(assets))
        try:
            answer = await self._stubs[guard].GetLedger(request)
            return [_books(guard, wire) for wire in answer.assets]
        except (grpc.aio.AioRpcError, InvalidMessage, ValueError):
            return None  # what cannot be read is not known, and another guard may be readable


_RETURN_REASONS = frozenset(
    {"TRANSFER_NOT_FOUND", "NOT_CANCELLABLE", "CANCEL_REQUEST_INVALID", "FIELD_INVALID"}
)


class GrpcReturns:
    """The relayer over one channel; without one every request is refused."""

    def __init__(self, channel: grpc.aio.Channel | None) -> None:
        self._stub = None if channel is None else relayer_pb2_grpc.TransferServiceStub(channel)

    async def cancel(self, transfer_id: TransferId, reason: str, paper: HolderPaper) -> None:
        """Pass the holder's request on."""
        if self._stub is None:
            raise Transient("RELAYER_UNKNOWN", "no relayer is configured; ask the operators")
        request = relayer_pb2.TransferServiceCancelTransferRequest(
            transfer_id=transfer_id,
            reason=reason,
            request=common_pb2.SignedPaper(
                kind=paper.kind,
                paper=paper.paper,
                key_id=paper.key_id,
                signature=paper.signature,
            ),
        )
        try:
            await self._stub.CancelTransfer(request)
        except grpc.aio.AioRpcError as error:
            known = remote_error(error)
            if known.code in _RETURN_REASONS:
                raise ApiRefused(known.code, known.message, known.metadata) from error
            raise _away(error) from error


def _away(error: grpc.aio.AioRpcError) -> Exception:
    known = remote_error(error)
    return known if isinstance(known, Transient) else Transient(known.code, known.message)


def _pending(wire: records_pb2.ProgressRecord) -> Progress:
    return Progress(
        message=parse_message(wire.message),
        tx=tx_from_wire(wire.tx),
        block_number=wire.block_number,
        blocks_behind_final=wire.blocks_behind_final,
    )


def _chain_of(scope: operator_pb2.HaltScope) -> Domain | None:
    """The chain of a halt; None when it stops everything."""
    return Domain(scope.chain) if scope.WhichOneof("scope") == "chain" else None


def _books(guard: str, wire: supply_guard_pb2.AssetLedger) -> AssetBooks:
    return AssetBooks(
        guard_id=guard,
        asset=AssetId(wire.asset),
        chains=tuple(_chain(chain) for chain in wire.chains),
        in_flight=wire.in_flight,
        orphaned=wire.orphaned,
        open_issuance=wire.open_issuance,
        unpaid_redemption=wire.unpaid_redemption,
        exposure=wire.exposure,
        cap=wire.cap,
        excluded=wire.excluded,
        attestation_sequence=wire.attestation_sequence,
        attestation_as_of=wire.attestation_as_of,
        halted=wire.halted,
        multiplier=int(wire.multiplier or 0),
    )


def _chain(wire: supply_guard_pb2.ChainSupply) -> ChainBooks:
    return ChainBooks(
        chain=Domain(wire.chain),
        ledger=wire.ledger,
        booked_through=(
            block_from_wire(wire.booked_through) if wire.HasField("booked_through") else None
        ),
        reading=int(wire.reading) if wire.reading else None,
        decimals=wire.decimals,
        reading_block=(
            block_from_wire(wire.reading_block) if wire.HasField("reading_block") else None
        ),
        ledger_at_reading=wire.ledger_at_reading,
    )

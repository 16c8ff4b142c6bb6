"""The bridge as the command line sees it: one gateway, holders with local keys, papers.

Thin over the partner API; every refusal comes out as the server's own reason and text.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from xstock_chains.ports import Holder
from xstock_chains.profiles import open_holder
from xstock_chains.registry import Registry
from xstock_core.observation import TxRef
from xstock_runtime.clock import SystemRandomness
from xstock_runtime.grpc_client import ChannelSettings, ClientTls, open_channel
from xstock_runtime.grpc_errors import remote_error
from xstock_wire.papers import ISSUE_ORDER, PaperKey
from xstock_wire.v1 import (
    bridge_pb2,
    bridge_pb2_grpc,
    papers_pb2,
    relayer_pb2,
    relayer_pb2_grpc,
    supply_guard_pb2,
    supply_guard_pb2_grpc,
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A burn that was sent: the transfer is known once the bridge has seen it."""

    request_id: str
    source: str
    destination: str
    symbol: str
    shares: int
    tx: TxRef


class Bridge:
    """Channels to the services of one deployment; use as an async context manager."""

    def __init__(self, gateway: str, *, tls: ClientTls | None = None, identity: str = "") -> None:
        self._stack = AsyncExitStack()
        self._gateway = gateway
        self._tls = tls
        self._identity = identity
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def channel(self, target: str, identity: str = "cli") -> grpc.aio.Channel:
        """The channel to a service, opened once.

        With TLS the certificate says who calls; on a laptop it is a header: what was chosen for
        the whole bridge, else `identity`.
        """
        who = None if self._tls is not None else self._identity or identity
        key = (target, who or "")
        if key not in self._channels:
            channel = open_channel(ChannelSettings(target, self._tls, dev_identity=who))
            self._channels[key] = await self._stack.enter_async_context(channel)
        return self._channels[key]

    async def api(self) -> "bridge_pb2_grpc.BridgeServiceAsyncStub":
        """The partner API's stub."""
        return bridge_pb2_grpc.BridgeServiceStub(await self.channel(self._gateway))

    async def ask(self, method: str, request: Any, *, timeout: float = 20.0) -> Any:
        """Call one method of the partner API; raises this house's error classes."""
        try:
            return await getattr(await self.api(), method)(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise remote_error(error) from error

    async def watch(
        self, wanted: bridge_pb2.TransferFilter, start: bridge_pb2.WatchStart
    ) -> AsyncIterator[bridge_pb2.WatchTransfersResponse]:
        """Frames of a stream; raises this house's error classes when it breaks."""
        request = bridge_pb2.WatchTransfersRequest(filter=wanted, start=start)
        try:
            async for frame in (await self.api()).WatchTransfers(request):
                yield frame
        except grpc.aio.AioRpcError as error:
            raise remote_error(error) from error

    async def ledger(
        self, guard: str, assets: Sequence[bytes] = ()
    ) -> supply_guard_pb2.GetLedgerResponse:
        """One guard's books."""
        stub = supply_guard_pb2_grpc.SupplyGuardServiceStub(await self.channel(guard))
        try:
            return await stub.GetLedger(
                supply_guard_pb2.GetLedgerRequest(assets=assets), timeout=10
            )
        except grpc.aio.AioRpcError as error:
            raise remote_error(error) from error

    async def submit_order(
        self, relayer: str, order: papers_pb2.IssueOrder, key: PaperKey, deployment_id: str
    ) -> relayer_pb2.SubmitIssueOrderResponse:
        """Sign an issuance order and hand it in; the same order again is the same transfer."""
        stub = relayer_pb2_grpc.IssuanceServiceStub(await self.channel(relayer, "issuer"))
        paper = key.sign(ISSUE_ORDER, deployment_id, order)
        request = relayer_pb2.SubmitIssueOrderRequest(order=paper)
        try:
            return await stub.SubmitIssueOrder(request, timeout=20)
        except grpc.aio.AioRpcError as error:
            raise remote_error(error) from error

    async def build(
        self,
        holder: Holder,
        *,
        source: str,
        destination: str,
        symbol: str,
        amount: str,
        recipient: str,
        refund_to: str = "",
        request_id: str = "",
    ) -> bridge_pb2.BuildBurnResponse:
        """Have a burn checked and built."""
        request = bridge_pb2.BuildBurnRequest(
            request_id=request_id or str(SystemRandomness().uuid4()),
            source=source,
            destination=destination,
            symbol=symbol,
            amount=amount,
            sender=holder.address_text,
            recipient=recipient,
            refund_to=refund_to,
        )
        built: bridge_pb2.BuildBurnResponse = await self.ask("BuildBurn", request)
        return built


def document_of(built: bridge_pb2.BuildBurnResponse) -> Mapping[str, Any]:
    """The family's own part of a built burn as plain data, for the holder's signer."""
    family = built.WhichOneof("burn")
    if family is None:
        raise ValueError("the gateway built no transactions")
    message = getattr(built, family)
    return _plain(message)


def _plain(message: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None:
            plain[field.name] = [_plain(item) for item in value]
        else:
            plain[field.name] = value
    return plain


class Holders:
    """Holders with local keys, one connection per chain and key."""

    def __init__(self, registry: Registry, nodes: Mapping[str, Sequence[str]]) -> None:
        self._registry = registry
        self._nodes = nodes
        self._stack = AsyncExitStack()
        self._open: dict[tuple[str, Path], Holder] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def on(self, chain: str, key_file: Path) -> Holder:
        """The holder of this key on this chain."""
        if (chain, key_file) not in self._open:
            opened = open_holder(self._registry, chain, self._nodes[chain][0], key_file)
            self._stack.push_async_callback(opened.aclose)
            self._open[(chain, key_file)] = opened.port
        return self._open[(chain, key_file)]

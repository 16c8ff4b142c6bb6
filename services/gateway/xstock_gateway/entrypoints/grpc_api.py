"""BridgeService: decode, call the handler, encode. No rule lives here."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from xstock_chains.registry import Registry
from xstock_chains.text import caip2, caip19
from xstock_core.ids import Address32, InvalidId, TransferId, parse_transfer_id
from xstock_gateway.entrypoints.show import Presenter, built_to_wire, timestamp
from xstock_gateway.handlers.ask import AskHandler, Found
from xstock_gateway.handlers.build import BuildHandler, BurnWanted
from xstock_gateway.handlers.follow import FollowHandler, Frame, Start
from xstock_gateway.ports import GatewayStore, Guards, ViewFilter
from xstock_gateway.refusals import ApiRefused, field_refused
from xstock_runtime.clock import Randomness
from xstock_runtime.grpc_errors import CallRefused
from xstock_wire.v1 import bridge_pb2, bridge_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
_LONG_POLL_MARGIN_SECONDS = 0.5
_RECONNECT_MS = (200, 3_000)
_IDS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Handlers:
    """Everything the service calls."""

    registry: Registry
    store: GatewayStore
    guards: Guards
    ask: AskHandler
    build: BuildHandler
    follow: FollowHandler
    present: Presenter
    version: str
    randomness: Randomness


class BridgeService(bridge_pb2_grpc.BridgeServiceServicer):
    """The partner API over its handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self._to = handlers

    async def GetServiceInfo(  # noqa: N802
        self, request: bridge_pb2.GetServiceInfoRequest, context: Context
    ) -> bridge_pb2.GetServiceInfoResponse:
        """What this deployment is and how far it has looked."""
        del request, context
        to = self._to
        _, oldest_ms, _ = await to.store.journal_bounds()
        return bridge_pb2.GetServiceInfoResponse(
            deployment_id=to.registry.deployment_id,
            environment=to.registry.environment,
            version=to.version,
            oldest_resumable=timestamp(oldest_ms) if oldest_ms else None,
            chains=[to.present.coverage(item) for item in await to.store.coverage()],
        )

    async def ListChains(  # noqa: N802
        self, request: bridge_pb2.ListChainsRequest, context: Context
    ) -> bridge_pb2.ListChainsResponse:
        """The chains, by domain number."""
        del request, context
        chains = sorted(self._to.registry.chains, key=lambda entry: entry.domain)
        return bridge_pb2.ListChainsResponse(
            chains=[
                bridge_pb2.Chain(
                    domain=entry.domain,
                    name=entry.name,
                    caip2=caip2(entry),
                    bridges=[bridge.address for bridge in entry.bridges],
                    finality=bridge_pb2.FINALITY_RULE_FINALIZED,
                )
                for entry in chains
            ]
        )

    async def ListAssets(  # noqa: N802
        self, request: bridge_pb2.ListAssetsRequest, context: Context
    ) -> bridge_pb2.ListAssetsResponse:
        """The assets, by symbol."""
        del request, context
        registry = self._to.registry
        return bridge_pb2.ListAssetsResponse(
            assets=[
                bridge_pb2.Asset(
                    id=asset.id,
                    symbol=asset.symbol,
                    deployments=[
                        bridge_pb2.AssetDeployment(
                            chain=registry.chain(one.chain).domain,
                            token=one.token,
                            caip19=caip19(registry.chain(one.chain), one.token),
                            decimals=one.decimals,
                            minimum_shares=one.minimum_shares,
                        )
                        for one in asset.deployments
                    ],
                )
                for asset in sorted(registry.assets, key=lambda entry: entry.symbol)
            ]
        )

    async def GetSupply(  # noqa: N802
        self, request: bridge_pb2.GetSupplyRequest, context: Context
    ) -> bridge_pb2.GetSupplyResponse:
        """Supply by every guard that answers."""
        del context
        wanted = [self._asset(symbol) for symbol in request.symbols]
        books, silent = await self._to.guards.books(wanted)
        if not books and silent:
            raise _wire_refusal(
                ApiRefused("SUPPLY_UNKNOWN", f"no guard answered: {', '.join(silent)}")
            )
        return bridge_pb2.GetSupplyResponse(
            supplies=[self._to.present.supply(one) for one in books], silent_guards=silent
        )

    async def BuildBurn(  # noqa: N802
        self, request: bridge_pb2.BuildBurnRequest, context: Context
    ) -> bridge_pb2.BuildBurnResponse:
        """Check and build."""
        del context
        wanted = BurnWanted(
            request_id=request.request_id,
            source=request.source,
            destination=request.destination,
            symbol=request.symbol,
            shares=request.shares,
            amount=request.amount,
            sender=request.sender,
            recipient=request.recipient,
            refund_to=request.refund_to,
        )
        try:
            return built_to_wire(await self._to.build.build(wanted))
        except ApiRefused as refusal:
            raise _wire_refusal(refusal) from refusal

    async def GetTransfer(  # noqa: N802
        self, request: bridge_pb2.GetTransferRequest, context: Context
    ) -> bridge_pb2.GetTransferResponse:
        """One transfer, at once or when its revision grows."""
        left = context.time_remaining() or 10.0
        try:
            wanted = _transfer_id("transfer_id", request.transfer_id)
            above = request.wait_for_revision_above
            timeout = max(0.0, left - _LONG_POLL_MARGIN_SECONDS)
            view = await self._to.ask.transfer(wanted, above, timeout)
        except ApiRefused as refusal:
            raise _wire_refusal(refusal) from refusal
        return bridge_pb2.GetTransferResponse(transfer=self._to.present.transfer(view))

    async def ListTransfers(  # noqa: N802
        self, request: bridge_pb2.ListTransfersRequest, context: Context
    ) -> bridge_pb2.ListTransfersResponse:
        """A page, newest first."""
        del context
        try:
            views, token = await self._to.ask.listed(
                self._filter(request.filter),
                request.filter.SerializeToString(deterministic=True),
                request.page_size,
                request.page_token,
            )
        except ApiRefused as refusal:
            raise _wire_refusal(refusal) from refusal
        return bridge_pb2.ListTransfersResponse(
            transfers=[self._to.present.transfer(view) for view in views], next_page_token=token
        )

    async def LookupTransfers(  # noqa: N802
        self, request: bridge_pb2.LookupTransfersRequest, context: Context
    ) -> bridge_pb2.LookupTransfersResponse:
        """Whatever the caller has."""
        del context
        try:
            found = await self._to.ask.lookup(request.query, request.chain)
        except ApiRefused as refusal:
            raise _wire_refusal(refusal) from refusal
        results, coverage = self._found(found)
        return bridge_pb2.LookupTransfersResponse(results=results, coverage=coverage)

    async def ReportBurn(  # noqa: N802
        self, request: bridge_pb2.ReportBurnRequest, context: Context
    ) -> bridge_pb2.ReportBurnResponse:
        """A hint; idempotent by nature, since the chain answers."""
        del context
        try:
            found = await self._to.ask.report(request.chain, request.tx)
        except ApiRefused as refusal:
            raise _wire_refusal(refusal) from refusal
        results, coverage = self._found(found)
        return bridge_pb2.ReportBurnResponse(results=results, coverage=coverage[0])

    async def WatchTransfers(  # noqa: N802
        self, request: bridge_pb2.WatchTransfersRequest, context: Context
    ) -> AsyncIterator[bridge_pb2.WatchTransfersResponse]:
        """Frames without end."""
        del context
        filter_bytes = request.filter.SerializeToString(deterministic=True)
        try:
            wanted = self._filter(request.filter)
            async for frame in self._to.follow.follow(wanted, filter_bytes, _start(request)):
                yield self._frame(frame)
        except ApiRefused as refusal:
            raise _wire_refusal(refusal) from refusal

    def _frame(self, frame: Frame) -> bridge_pb2.WatchTransfersResponse:
        response = bridge_pb2.WatchTransfersResponse(resume_token=frame.token)
        if frame.draining:
            low, high = _RECONNECT_MS
            delay = int(self._to.randomness.uniform(low, high))
            response.draining.reconnect_after_ms = delay
        elif frame.view is not None:
            response.event.event_id = frame.event_id
            response.event.cause = frame.cause
            response.event.transfer.CopyFrom(self._to.present.transfer(frame.view))
        else:
            response.progress.first = frame.first
            response.complete_through.extend(
                self._to.present.coverage(item) for item in frame.coverage
            )
        return response

    def _found(
        self, found: Found
    ) -> tuple[Sequence[bridge_pb2.Transfer], Sequence[bridge_pb2.LookupCoverage]]:
        present = self._to.present
        return (
            [present.transfer(view) for view in found.views],
            [present.said(item) for item in found.coverage],
        )

    def _asset(self, symbol: str) -> Any:
        for entry in self._to.registry.assets:
            if entry.symbol == symbol:
                return entry.id
        refusal = field_refused("ASSET_UNKNOWN", "symbols", symbol, "ListAssets names those known")
        raise _wire_refusal(refusal)

    def _filter(self, wire: bridge_pb2.TransferFilter) -> ViewFilter:
        if len(wire.transfer_ids) > _IDS_MAX:
            remedy = f"give at most {_IDS_MAX} ids"
            raise field_refused(
                "FIELD_INVALID", "filter.transfer_ids", len(wire.transfer_ids), remedy
            )
        names = {entry.name: entry.domain for entry in self._to.registry.chains}
        if wire.chain and wire.chain not in names:
            remedy = f"use one of: {', '.join(names)}"
            raise field_refused("CHAIN_UNKNOWN", "filter.chain", wire.chain, remedy)
        prefix = "TRANSFER_STATE_"
        return ViewFilter(
            party=self._party(wire.party) if wire.party else None,
            asset=self._asset(wire.symbol) if wire.symbol else None,
            chain=names[wire.chain] if wire.chain else None,
            states=frozenset(
                bridge_pb2.TransferState.Name(state).removeprefix(prefix) for state in wire.states
            ),
            created_after_ms=_ms(wire.created_after) if wire.HasField("created_after") else None,
            created_before_ms=_ms(wire.created_before) if wire.HasField("created_before") else None,
            transfer_ids=frozenset(
                _transfer_id("filter.transfer_ids", raw) for raw in wire.transfer_ids
            ),
        )

    def _party(self, text: str) -> Address32:
        remedies = []
        for desk in self._to.ask.desks.values():
            try:
                return desk.parse_address(text)
            except InvalidId as error:
                remedies.append(error.remedy)
        raise field_refused("RECIPIENT_INVALID", "filter.party", text, remedies[0])


def _start(request: bridge_pb2.WatchTransfersRequest) -> Start:
    match request.start.WhichOneof("start"):
        case "resume_token":
            return Start(resume_token=request.start.resume_token)
        case "time":
            return Start(time_ms=_ms(request.start.time))
        case "snapshot_then_follow":
            return Start(snapshot=request.start.snapshot_then_follow)
        case _:
            return Start()


def _ms(wire: Timestamp) -> int:
    return int(wire.seconds) * 1000 + int(wire.nanos) // 1_000_000


def _transfer_id(field: str, raw: bytes) -> TransferId:
    try:
        return parse_transfer_id(raw, field)
    except InvalidId as error:
        raise field_refused("FIELD_INVALID", field, raw.hex(), error.remedy) from error


def _wire_refusal(refusal: ApiRefused) -> CallRefused:
    return CallRefused(
        refusal.reason, refusal.text, refusal.metadata, violations=refusal.violations
    )

"""BridgeService: decode, call the handler, encode. No rule lives here."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from xstock_chains.registry import Registry
from xstock_core.ids import Address32, AssetId, InvalidId, TransferId, parse_transfer_id
from xstock_gateway.entrypoints.show import Presenter, built_to_wire, timestamp
from xstock_gateway.handlers.ask import AskHandler, Found
from xstock_gateway.handlers.build import BuildHandler, BurnWanted
from xstock_gateway.handlers.cancel import CancelHandler, CancelWanted
from xstock_gateway.handlers.follow import FollowHandler, Frame, Start
from xstock_gateway.metrics import GatewayMetrics
from xstock_gateway.ports import GatewayStore, Guards, HolderPaper, ViewFilter
from xstock_gateway.refusals import ApiRefused, field_refused
from xstock_gateway.view import TransferView
from xstock_runtime.clock import Randomness
from xstock_runtime.errors import Ambiguous, Transient
from xstock_runtime.grpc_errors import CallRefused
from xstock_runtime.logging import get_logger
from xstock_wire.v1 import bridge_pb2, bridge_pb2_grpc, papers_pb2

Context = grpc.aio.ServicerContext[Any, Any]
_LONG_POLL_MARGIN_SECONDS = 0.5
_RECONNECT_MS = (200, 3_000)
_IDS_MAX = 1_000
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799
"""The range of google.protobuf.Timestamp: years 1 to 9999."""
_log = get_logger("gateway.api")


@dataclass(frozen=True, slots=True)
class Handlers:
    """Everything the service calls."""

    registry: Registry
    store: GatewayStore
    guards: Guards
    ask: AskHandler
    build: BuildHandler
    follow: FollowHandler
    cancel: CancelHandler
    present: Presenter
    metrics: GatewayMetrics
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
        with _answered():
            _, oldest_ms, _ = await to.store.journal_bounds()
            coverage = await to.store.coverage()
        return bridge_pb2.GetServiceInfoResponse(
            deployment_id=to.registry.deployment_id,
            environment=to.registry.environment,
            version=to.version,
            oldest_resumable=timestamp(oldest_ms) if oldest_ms else None,
            chains=[to.present.coverage(item) for item in coverage],
        )

    async def ListChains(  # noqa: N802
        self, request: bridge_pb2.ListChainsRequest, context: Context
    ) -> bridge_pb2.ListChainsResponse:
        """The chains, by domain number, with what the guards have halted."""
        del request, context
        halts, silent = await self._to.guards.halts()
        chains = sorted(self._to.registry.chains, key=lambda entry: entry.domain)
        return bridge_pb2.ListChainsResponse(
            chains=[
                bridge_pb2.Chain(
                    domain=entry.domain,
                    name=entry.name,
                    caip2=entry.caip2,
                    bridges=[bridge.address for bridge in entry.bridges],
                    finality=bridge_pb2.FINALITY_RULE_FINALIZED,
                    halted=self._to.present.halted(entry.domain, halts, silent),
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
                            caip19=f"{registry.chain(one.chain).caip2}/{one.caip19_kind}:{one.token}",
                            decimals=one.decimals,
                            minimum_shares=one.minimum_shares,
                            bridges=[bridge.address for bridge in one.bridges],
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
        with _answered():
            wanted = [self._asset("symbols", symbol) for symbol in request.symbols]
            books, silent = await self._to.guards.books(wanted)
            if not books and silent:
                names = ", ".join(silent)
                raise ApiRefused("SUPPLY_UNKNOWN", f"no guard answered: {names}", {"silent": names})
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
        with _answered():
            return built_to_wire(await self._to.build.build(wanted))

    async def GetTransfer(  # noqa: N802
        self, request: bridge_pb2.GetTransferRequest, context: Context
    ) -> bridge_pb2.GetTransferResponse:
        """One transfer, at once or when its revision grows."""
        left = context.time_remaining() or 10.0
        with _answered():
            wanted = _transfer_id("transfer_id", request.transfer_id)
            above = request.wait_for_revision_above
            timeout = max(0.0, left - _LONG_POLL_MARGIN_SECONDS)
            view = await self._to.ask.transfer(wanted, above, timeout)
            refund = await self._refund_of(view)
        return bridge_pb2.GetTransferResponse(transfer=self._to.present.transfer(view, refund))

    async def _refund_of(self, view: TransferView) -> TransferView | None:
        """The REFUND of a transfer that is on its way back; None where there is none yet."""
        if view.state != "REFUNDING" or view.relayer is None or not view.relayer.refund_id:
            return None
        refund_id = TransferId(view.relayer.refund_id)
        return (await self._to.store.views([refund_id])).get(refund_id)

    async def CancelTransfer(  # noqa: N802
        self, request: bridge_pb2.CancelTransferRequest, context: Context
    ) -> bridge_pb2.CancelTransferResponse:
        """Pass a holder's signed request on."""
        del context
        with _answered():
            view = await self._to.cancel.cancel(_cancel_wanted(request))
        return bridge_pb2.CancelTransferResponse(transfer=self._to.present.transfer(view))

    async def ListTransfers(  # noqa: N802
        self, request: bridge_pb2.ListTransfersRequest, context: Context
    ) -> bridge_pb2.ListTransfersResponse:
        """A page, newest first."""
        del context
        with _answered():
            views, token = await self._to.ask.listed(
                self._filter(request.filter),
                request.filter.SerializeToString(deterministic=True),
                request.page_size,
                request.page_token,
            )
        return bridge_pb2.ListTransfersResponse(
            transfers=[self._to.present.transfer(view) for view in views], next_page_token=token
        )

    async def LookupTransfers(  # noqa: N802
        self, request: bridge_pb2.LookupTransfersRequest, context: Context
    ) -> bridge_pb2.LookupTransfersResponse:
        """Whatever the caller has."""
        del context
        with _answered():
            found = await self._to.ask.lookup(request.query, request.chain)
        results, coverage = self._found(found)
        return bridge_pb2.LookupTransfersResponse(results=results, coverage=coverage)

    async def ReportBurn(  # noqa: N802
        self, request: bridge_pb2.ReportBurnRequest, context: Context
    ) -> bridge_pb2.ReportBurnResponse:
        """A hint; idempotent by nature, since the chain answers."""
        del context
        with _answered():
            found = await self._to.ask.report(request.chain, request.tx)
        results, coverage = self._found(found)
        return bridge_pb2.ReportBurnResponse(results=results, coverage=coverage[0])

    async def WatchTransfers(  # noqa: N802
        self, request: bridge_pb2.WatchTransfersRequest, context: Context
    ) -> AsyncIterator[bridge_pb2.WatchTransfersResponse]:
        """Frames without end."""
        del context
        filter_bytes = request.filter.SerializeToString(deterministic=True)
        with _answered(), self._to.metrics.streams_open.track_inprogress():
            wanted, start = self._filter(request.filter), _start(request)
            async with aclosing(self._to.follow.follow(wanted, filter_bytes, start)) as frames:
                async for frame in frames:
                    yield self._frame(frame)

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

    def _asset(self, field: str, symbol: str) -> AssetId:
        for entry in self._to.registry.assets:
            if entry.symbol == symbol:
                return entry.id
        raise field_refused("ASSET_UNKNOWN", field, symbol, "ListAssets names those known")

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
        return ViewFilter(
            party=self._party(wire.party) if wire.party else None,
            asset=self._asset("filter.symbol", wire.symbol) if wire.symbol else None,
            chain=names[wire.chain] if wire.chain else None,
            states=frozenset(map(_state_name, wire.states)),
            created_after_ms=_time(wire, "created_after"),
            created_before_ms=_time(wire, "created_before"),
            transfer_ids=frozenset(
                _transfer_id("filter.transfer_ids", raw) for raw in wire.transfer_ids
            ),
        )

    def _party(self, text: str) -> Address32:
        remedies = ["no chain of this deployment can be asked"]
        for desk in self._to.ask.desks.values():
            try:
                return desk.parse_address(text)
            except InvalidId as error:
                remedies.append(error.remedy)
        raise field_refused("RECIPIENT_INVALID", "filter.party", text, remedies[-1])


def _start(request: bridge_pb2.WatchTransfersRequest) -> Start:
    match request.start.WhichOneof("start"):
        case "resume_token":
            return Start(resume_token=request.start.resume_token)
        case "time":
            return Start(time_ms=_ms("start.time", request.start.time))
        case "snapshot_then_follow":
            return Start(snapshot=request.start.snapshot_then_follow)
        case _:
            return Start()


def _cancel_wanted(request: bridge_pb2.CancelTransferRequest) -> CancelWanted:
    transfer_id = _transfer_id("transfer_id", request.transfer_id)
    signed, said = request.request, papers_pb2.CancelRequest()
    try:
        said.ParseFromString(signed.paper)
    except DecodeError as error:
        remedy = "give a serialised CancelRequest"
        raise field_refused("FIELD_INVALID", "request.paper", len(signed.paper), remedy) from error
    paper = HolderPaper(signed.kind, signed.paper, signed.key_id, signed.signature)
    return CancelWanted(transfer_id, said.transfer_id, said.expires, said.reason, paper)


def _time(wire: bridge_pb2.TransferFilter, field: str) -> int | None:
    return _ms(f"filter.{field}", getattr(wire, field)) if wire.HasField(field) else None  # type: ignore[arg-type]


def _ms(field: str, wire: Timestamp) -> int:
    """Unix milliseconds; refuses times that google.protobuf.Timestamp does not define."""
    if not (_SECONDS_MIN <= wire.seconds <= _SECONDS_MAX and 0 <= wire.nanos < 10**9):
        raise field_refused("FIELD_INVALID", field, wire.seconds, "give a time of years 1 to 9999")
    return int(wire.seconds) * 1000 + int(wire.nanos) // 1_000_000


def _state_name(state: int) -> str:
    name = bridge_pb2.TransferState.DESCRIPTOR.values_by_number.get(state)
    if name is None or state == bridge_pb2.TRANSFER_STATE_UNSPECIFIED:
        remedy = "give states of TransferState that this server knows"
        raise field_refused("FIELD_INVALID", "filter.states", state, remedy)
    return str(name.name).removeprefix("TRANSFER_STATE_")


def _transfer_id(field: str, raw: bytes) -> TransferId:
    try:
        return parse_transfer_id(raw, field)
    except InvalidId as error:
        raise field_refused("FIELD_INVALID", field, raw.hex(), error.remedy) from error


@contextmanager
def _answered() -> Iterator[None]:
    """Turn refusals into answers by the table; a dependency that is away is no caller's fault."""
    try:
        yield
    except ApiRefused as refusal:
        raise CallRefused(
            refusal.reason, refusal.text, refusal.metadata, violations=refusal.violations
        ) from refusal
    except (Transient, Ambiguous) as error:
        _log.warning("dependency_away", code=error.code, error=error.message)
        raise CallRefused(
            "SERVICE_UNAVAILABLE", "a part of this service is away; try again in a moment"
        ) from error

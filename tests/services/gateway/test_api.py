"""The partner API over real gRPC: every method, every error with google.rpc details."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.builders import SHARE, TSLAX
from tests.services.gateway.facts import DEPLOYMENT, burn_tx, covered, final, said, seen, transfer
from tests.services.gateway.serving import Serving, details_of, serving
from tests.services.gateway.test_follow import Counting
from tests.services.gateway.world import GatewayWorld, a_burn_wanted
from xstock_core.ids import Domain
from xstock_gateway.ports import AssetBooks, ChainBooks, GuardHalt
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Transient
from xstock_wire.reasons import API_REASONS
from xstock_wire.v1 import bridge_pb2

SNAPSHOT = bridge_pb2.WatchStart(snapshot_then_follow=True)


@pytest.fixture
async def api() -> AsyncIterator[Serving]:
    """A gateway that serves."""
    async with serving(GatewayWorld(clock=SystemClock())) as running:
        yield running


async def failed(call: Any) -> tuple[grpc.StatusCode, dict[str, Any]]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), details_of(error.value)


def build_request(**changes: Any) -> bridge_pb2.BuildBurnRequest:
    wanted = a_burn_wanted(**changes)
    names = [field.name for field in bridge_pb2.BuildBurnRequest.DESCRIPTOR.fields]
    return bridge_pb2.BuildBurnRequest(**{name: getattr(wanted, name) for name in names})


async def test_api__service_info_chains_and_assets__tell_the_registry(api: Serving) -> None:
    await api.world.ingest.take([final(1)], [covered(Domain.BNB, 7)])
    info = await api.stub.GetServiceInfo(bridge_pb2.GetServiceInfoRequest())
    assert (info.deployment_id, info.environment) == (DEPLOYMENT, "development")
    assert info.oldest_resumable.ToMilliseconds() > 0
    assert [(c.name, c.through.number, c.head_number) for c in info.chains] == [("bnb", 7, 12)]
    chains = (await api.stub.ListChains(bridge_pb2.ListChainsRequest())).chains
    assert [(c.domain, c.name, c.caip2) for c in chains] == [
        (1, "ethereum", "eip155:1001"),
        (2, "bnb", "eip155:1002"),
    ]
    assets = (await api.stub.ListAssets(bridge_pb2.ListAssetsRequest())).assets
    assert [(a.symbol, len(a.deployments)) for a in assets] == [("NVDAx", 1), ("TSLAx", 2)]


async def halted(api: Serving) -> dict[str, str]:
    """What ListChains says of every chain."""
    chains = (await api.stub.ListChains(bridge_pb2.ListChainsRequest())).chains
    return {chain.name: chain.halted for chain in chains}


async def test_api__halts_of_guards__shown_where_they_stop_a_chain(api: Serving) -> None:
    guards = api.world.guards
    assert await halted(api) == {"ethereum": "", "bnb": ""}
    guards.latched = [GuardHalt("guard-1", Domain.BNB, "two final blocks")]
    assert await halted(api) == {"ethereum": "", "bnb": ""}
    guards.latched.append(GuardHalt("guard-2", None, "drill"))
    shown = await halted(api)
    assert shown["ethereum"] == ""
    assert shown["bnb"] == "guard-1: two final blocks; guard-2: drill"
    guards.latched, guards.silent = [], ["guard-2", "guard-3"]
    assert "guard-3: not known" in (await halted(api))["ethereum"]


async def test_api__transfer__shows_state_wait_steps_and_ends(api: Serving) -> None:
    await api.world.take(final(1), said(1, 2))
    request = bridge_pb2.GetTransferRequest(transfer_id=transfer(1))
    shown = (await api.stub.GetTransfer(request)).transfer
    assert (shown.id, shown.revision) == (transfer(1), 2)
    assert shown.state == bridge_pb2.TRANSFER_STATE_REVIEWING
    assert (shown.source, shown.destination, shown.symbol) == ("ethereum", "bnb", "TSLAx")
    assert shown.waiting_for.reason == "VERDICTS"
    assert "judging" in shown.waiting_for.text
    assert shown.waiting_for.who == bridge_pb2.WHO_NOBODY
    assert shown.steps[0].tx == "0x" + burn_tx(1).id.hex()


async def test_api__seen_burn__shows_how_many_blocks_are_missing(api: Serving) -> None:
    await api.world.take(seen(1, behind=42))
    request = bridge_pb2.GetTransferRequest(transfer_id=transfer(1))
    shown = (await api.stub.GetTransfer(request)).transfer
    assert (shown.state, shown.blocks_to_final) == (bridge_pb2.TRANSFER_STATE_SEEN, 42)
    assert shown.funds_at == bridge_pb2.FUNDS_AT_SOURCE


async def test_api__words_of_a_newer_relayer__do_not_take_the_answer_down(api: Serving) -> None:
    """F93: what this version does not know is unspecified, and the rest still shows."""
    word = said(1, 2, "TELEPORTING", funds_at="ELSEWHERE", who="ROBOT", reason="NEW_REASON")
    await api.world.take(word, final(2))
    page = await api.stub.ListTransfers(bridge_pb2.ListTransfersRequest())
    shown = {item.id: item for item in page.transfers}
    assert len(shown) == 2
    strange = shown[transfer(1)]
    assert strange.state == bridge_pb2.TRANSFER_STATE_UNSPECIFIED
    assert strange.funds_at == bridge_pb2.FUNDS_AT_UNKNOWN
    assert (strange.waiting_for.reason, strange.waiting_for.who) == ("NEW_REASON", 0)


FILTER = bridge_pb2.TransferFilter
REFUSED: dict[str, tuple[str, Any, grpc.StatusCode, str, str]] = {
    "id too short": (
        "GetTransfer",
        bridge_pb2.GetTransferRequest(transfer_id=b"\x01"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "transfer_id",
    ),
    "id zero": (
        "GetTransfer",
        bridge_pb2.GetTransferRequest(transfer_id=bytes(32)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "transfer_id",
    ),
    "unknown state": (
        "ListTransfers",
        bridge_pb2.ListTransfersRequest(filter=FILTER(states=[99])),  # type: ignore[list-item]
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "filter.states",
    ),
    "state zero": (
        "ListTransfers",
        bridge_pb2.ListTransfersRequest(filter=FILTER(states=[0])),  # type: ignore[list-item]
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "filter.states",
    ),
    "time beyond": (
        "ListTransfers",
        bridge_pb2.ListTransfersRequest(filter=FILTER(created_after=Timestamp(seconds=2**62))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "filter.created_after",
    ),
    "unknown chain": (
        "ListTransfers",
        bridge_pb2.ListTransfersRequest(filter=FILTER(chain="moon")),
        grpc.StatusCode.INVALID_ARGUMENT,
        "CHAIN_UNKNOWN",
        "filter.chain",
    ),
    "unknown symbol": (
        "ListTransfers",
        bridge_pb2.ListTransfersRequest(filter=FILTER(symbol="FAKEx")),
        grpc.StatusCode.INVALID_ARGUMENT,
        "ASSET_UNKNOWN",
        "filter.symbol",
    ),
    "party": (
        "ListTransfers",
        bridge_pb2.ListTransfersRequest(filter=FILTER(party="me")),
        grpc.StatusCode.INVALID_ARGUMENT,
        "RECIPIENT_INVALID",
        "filter.party",
    ),
    "too many ids": (
        "ListTransfers",
        bridge_pb2.ListTransfersRequest(filter=FILTER(transfer_ids=[b"\1" * 32] * 1001)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "filter.transfer_ids",
    ),
    "supply of no asset": (
        "GetSupply",
        bridge_pb2.GetSupplyRequest(symbols=["FAKEx"]),
        grpc.StatusCode.INVALID_ARGUMENT,
        "ASSET_UNKNOWN",
        "symbols",
    ),
    "balance": (
        "BuildBurn",
        build_request(shares=11 * SHARE),
        grpc.StatusCode.FAILED_PRECONDITION,
        "CHECK_FAILED",
        "shares",
    ),
    "dust": (
        "BuildBurn",
        build_request(shares=0, amount="0.000000001"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "AMOUNT_HAS_DUST",
        "amount",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_api__refusal__carries_reason_field_and_help(api: Serving, case: str) -> None:
    method, request, status, reason, field = REFUSED[case]
    code, details = await failed(getattr(api.stub, method)(request))
    assert code is status
    assert details["ErrorInfo"]["domain"] == "xstock-bridge"
    assert details["ErrorInfo"]["reason"] == reason
    assert details["ErrorInfo"]["metadata"]["field"] == field
    assert details["BadRequest"]["fieldViolations"][0]["field"] == field
    anchor = reason.lower().replace("_", "-")
    assert details["Help"]["links"][0]["url"].endswith(f"#{anchor}")
    row = next(row for row in API_REASONS if row.reason == reason)
    assert set(details["ErrorInfo"]["metadata"]) <= set(row.metadata)


async def test_api__transfer_not_found__says_through_which_blocks(api: Serving) -> None:
    await api.world.ingest.take([], [covered(Domain.BNB, 7)])
    request = bridge_pb2.GetTransferRequest(transfer_id=transfer(1))
    code, details = await failed(api.stub.GetTransfer(request))
    assert code is grpc.StatusCode.NOT_FOUND
    assert details["ErrorInfo"]["metadata"]["through_bnb"] == "7"


async def test_api__chain_unreadable__is_unavailable_with_a_delay(api: Serving) -> None:
    api.world.nodes[Domain.ETHEREUM].faults.stopped = True
    code, details = await failed(api.stub.BuildBurn(build_request()))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details["ErrorInfo"]["reason"] == "CHAIN_UNREADABLE"
    assert details["RetryInfo"]["retryDelay"] == "2s"


async def test_api__database_away__is_unavailable_and_names_no_database(
    api: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Transient("DATABASE_UNREACHABLE", "10.0.0.7 refused")

    monkeypatch.setattr(type(api.world.store), "list_views", away)
    code, details = await failed(api.stub.ListTransfers(bridge_pb2.ListTransfersRequest()))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details["ErrorInfo"]["reason"] == "SERVICE_UNAVAILABLE"
    assert "10.0.0.7" not in str(details)
    assert details["RetryInfo"]["retryDelay"] == "1s"


async def test_api__built_twice_under_one_id__gives_the_same_bytes(api: Serving) -> None:
    first = await api.stub.BuildBurn(build_request())
    api.world.chains[Domain.ETHEREUM].mine(3)
    again = await api.stub.BuildBurn(build_request())
    assert first.SerializeToString() == again.SerializeToString()
    assert first.evm.transactions[0].chain_id == 1001
    assert first.shares == SHARE
    code, details = await failed(api.stub.BuildBurn(build_request(shares=2 * SHARE)))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert details["ErrorInfo"]["reason"] == "REQUEST_ID_REUSED"


async def test_api__supply__by_every_guard_that_answers(api: Serving) -> None:
    chain = ChainBooks(Domain.BNB, 5 * SHARE, None, None, 18, None, 0)
    one = 10**18
    books = AssetBooks(
        "guard-1", TSLAX, (chain,), 1, 2, 3, 4, 15 * SHARE, 20 * SHARE, 9, 100, "", 2 * one, 7
    )
    api.world.guards.known, api.world.guards.silent = [books], ["guard-2"]
    answer = await api.stub.GetSupply(bridge_pb2.GetSupplyRequest(symbols=["TSLAx"]))
    assert list(answer.silent_guards) == ["guard-2"]
    (supply,) = answer.supplies
    assert (supply.exposure, supply.exposure_displayed, supply.multiplier) == (
        15 * SHARE,
        "30",
        "2",
    )
    assert [(c.chain, c.shares) for c in supply.chains] == [(2, 5 * SHARE)]
    assert (supply.cap, supply.excluded) == (20 * SHARE, 7)
    api.world.guards.known = []
    code, details = await failed(api.stub.GetSupply(bridge_pb2.GetSupplyRequest()))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details["ErrorInfo"]["reason"] == "SUPPLY_UNKNOWN"


async def test_api__lookup_and_report__answer_with_coverage(api: Serving) -> None:
    await api.world.take(final(1))
    query = "0x" + burn_tx(1).id.hex()
    found = await api.stub.LookupTransfers(bridge_pb2.LookupTransfersRequest(query=query))
    assert [item.id for item in found.results] == [transfer(1)]
    report = bridge_pb2.ReportBurnRequest(chain="bnb", tx="0x" + "07" * 32)
    answer = await api.stub.ReportBurn(report)
    assert answer.coverage.verdict == bridge_pb2.LOOKUP_VERDICT_UNKNOWN_TO_NODES


async def test_api__long_poll__answers_before_its_deadline(api: Serving) -> None:
    await api.world.take(final(1))
    request = bridge_pb2.GetTransferRequest(transfer_id=transfer(1), wait_for_revision_above=1)
    waiting = asyncio.ensure_future(api.stub.GetTransfer(request, timeout=8.0))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await api.world.take(said(1, 5))
    assert (await waiting).transfer.terminal
    answer = await api.stub.GetTransfer(
        bridge_pb2.GetTransferRequest(transfer_id=transfer(1), wait_for_revision_above=9),
        timeout=1.0,
    )
    assert answer.transfer.revision == 2


async def test_api__stream__snapshot_then_live_with_a_token_in_every_frame(api: Serving) -> None:
    await api.world.take(final(1), said(2, 5))
    stream = api.stub.WatchTransfers(bridge_pb2.WatchTransfersRequest(start=SNAPSHOT))
    first, second = await stream.read(), await stream.read()
    assert first.progress.first
    assert (second.event.transfer.id, second.event.cause) == (transfer(1), "SNAPSHOT")
    assert second.event.event_id == f"{transfer(1).hex()}-1"
    await api.world.take(said(1, 5))
    third = await stream.read()
    assert (third.event.cause, third.event.transfer.revision) == ("RELEASED", 2)
    assert all(frame.resume_token for frame in (first, second, third))
    stream.cancel()


async def test_api__stream_with_a_bad_token__ends_with_the_reason(api: Serving) -> None:
    start = bridge_pb2.WatchStart(resume_token=b"nonsense")
    stream = api.stub.WatchTransfers(bridge_pb2.WatchTransfersRequest(start=start))
    code, details = await failed(stream.read())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details["ErrorInfo"]["reason"] == "RESUME_TOKEN_INVALID"


async def test_api__drain__streams_say_goodbye_with_a_jittered_delay(api: Serving) -> None:
    streams = [
        api.stub.WatchTransfers(bridge_pb2.WatchTransfersRequest(start=SNAPSHOT)) for _ in range(5)
    ]
    for stream in streams:
        await stream.read()
    await api.drain()
    delays = [(await stream.read()).draining.reconnect_after_ms for stream in streams]
    assert all(200 <= delay <= 3_000 for delay in delays)
    assert len(set(delays)) > 1


async def test_api__reader_that_does_not_read__is_held_by_flow_control_others_are_not() -> None:
    """F76: a stream to a reader that takes nothing stops making frames; others go on."""
    store = Counting()
    async with serving(GatewayWorld(clock=SystemClock(), store=store)) as running:
        lines = 20_000
        await running.world.take(*(final(n) for n in range(1, lines + 1)))
        start = bridge_pb2.WatchStart(time=Timestamp(seconds=0))
        stuck = running.stub.WatchTransfers(bridge_pb2.WatchTransfersRequest(start=start))
        await stuck.read()
        before = -1
        while before != store.taken:
            before = store.taken
            await asyncio.sleep(0.5)
        assert store.taken < lines // 2
        page = await running.stub.ListTransfers(bridge_pb2.ListTransfersRequest(page_size=3))
        assert len(page.transfers) == 3
        stuck.cancel()


async def test_api__hundreds_of_streams_cancelled__none_stays_open(api: Serving) -> None:
    """F75: a client that leaves takes its stream with it."""
    await api.world.take(final(1))
    gauge = api.metrics.streams_open
    for _ in range(5):
        streams = [
            api.stub.WatchTransfers(bridge_pb2.WatchTransfersRequest(start=SNAPSHOT))
            for _ in range(80)
        ]
        await asyncio.gather(*(stream.read() for stream in streams))
        assert gauge._value.get() == 80
        for stream in streams:
            stream.cancel()
        async with asyncio.timeout(20):
            while gauge._value.get():
                await asyncio.sleep(0.02)

"""Questions about transfers: the long poll, pages, lookups, and what asking must not do."""

import asyncio

import pytest

from tests.builders import a_block, a_burn, a_message, an_address
from tests.services.gateway.facts import burn_tx, covered, final, message_of, said, seen, transfer
from tests.services.gateway.world import GatewayWorld, text_of
from xstock_chains.ports import Progress
from xstock_core.ids import Domain
from xstock_core.observation import TxRef
from xstock_gateway.ports import LookedAt, ViewFilter
from xstock_gateway.refusals import ApiRefused
from xstock_runtime.clock import VirtualClock


def hex_tx(tx: TxRef) -> str:
    return "0x" + tx.id.hex()


async def test_transfer__not_known__tells_how_far_every_chain_was_read() -> None:
    world = GatewayWorld()
    await world.ingest.take([], [covered(Domain.ETHEREUM, 123), covered(Domain.BNB, 7)])
    with pytest.raises(ApiRefused) as refused:
        await world.ask.transfer(transfer(1), 0, 5.0)
    assert refused.value.reason == "TRANSFER_NOT_FOUND"
    assert refused.value.metadata == {
        "transfer_id": transfer(1).hex(),
        "through_ethereum": "123",
        "through_bnb": "7",
    }


async def test_long_poll__revision_above__answers_when_it_grows_and_not_before() -> None:
    clock = VirtualClock()
    world = GatewayWorld(clock=clock)
    await world.take(final(1))
    waiting = asyncio.ensure_future(world.ask.transfer(transfer(1), 1, 30.0))
    await clock.advance(5.0)
    await world.take(final(2))
    await clock.advance(5.0)
    assert not waiting.done()
    await world.take(said(1, 2))
    await clock.settle()
    assert (await waiting).revision == 2


async def test_long_poll__nothing_new_in_time__answers_what_there_is() -> None:
    clock = VirtualClock()
    world = GatewayWorld(clock=clock)
    await world.take(final(1))
    waiting = asyncio.ensure_future(world.ask.transfer(transfer(1), 7, 30.0))
    await clock.advance(29.9)
    assert not waiting.done()
    await clock.advance(0.2)
    assert (await waiting).revision == 1


async def test_long_poll__transfer_unknown_at_first__waits_for_it() -> None:
    clock = VirtualClock()
    world = GatewayWorld(clock=clock)
    waiting = asyncio.ensure_future(world.ask.transfer(transfer(1), 1, 30.0))
    await clock.advance(1.0)
    await world.take(seen(1), final(1))
    await clock.settle()
    assert (await waiting).state == "FINAL"


async def test_long_poll__process_drains__answers_at_once() -> None:
    clock = VirtualClock()
    world = GatewayWorld(clock=clock)
    await world.take(final(1))
    waiting = asyncio.ensure_future(world.ask.transfer(transfer(1), 7, 30.0))
    await clock.settle()
    world.wakeups.drain()
    await clock.settle()
    assert waiting.done()
    assert (await waiting).revision == 1


async def test_list__pages_by_token__every_transfer_once_and_then_no_token() -> None:
    world = GatewayWorld()
    await world.take(*(final(n) for n in range(1, 24)))
    found, token = [], ""
    while True:
        views, token = await world.ask.listed(ViewFilter(), b"", 5, token)
        found += [view.transfer_id for view in views]
        if not token:
            break
    assert len(found) == len(set(found)) == 23


@pytest.mark.parametrize("size", [-1, 1_001])
async def test_list__page_size_out_of_range__refused(size: int) -> None:
    with pytest.raises(ApiRefused) as refused:
        await GatewayWorld().ask.listed(ViewFilter(), b"", size, "")
    assert refused.value.metadata["field"] == "page_size"


async def test_list__token_of_another_filter_or_no_hex__refused() -> None:
    world = GatewayWorld()
    await world.take(*(final(n) for n in range(1, 4)))
    _, token = await world.ask.listed(ViewFilter(), b"one", 2, "")
    with pytest.raises(ApiRefused) as refused:
        await world.ask.listed(ViewFilter(), b"two", 2, token)
    assert refused.value.reason == "RESUME_FILTER_MISMATCH"
    with pytest.raises(ApiRefused) as refused:
        await world.ask.listed(ViewFilter(), b"one", 2, "zz")
    assert refused.value.reason == "RESUME_TOKEN_INVALID"


@pytest.mark.parametrize("query", ["", " ", "hello", "0x12", "x" * 300])
async def test_lookup__of_what_is_no_id__refused_with_the_forms_there_are(query: str) -> None:
    with pytest.raises(ApiRefused) as refused:
        await GatewayWorld().ask.lookup(query, "")
    assert refused.value.metadata["field"] == "query"
    assert "a transfer id, a transaction id or an address" in refused.value.text


async def test_lookup__by_id_transaction_or_party__finds_the_transfer() -> None:
    world = GatewayWorld()
    await world.take(final(1), final(2))
    for query in (transfer(1).hex(), "0x" + transfer(1).hex(), hex_tx(burn_tx(1))):
        found = await world.ask.lookup(query, "")
        assert [view.transfer_id for view in found.views] == [transfer(1)]
        assert {(c.chain, c.verdict) for c in found.coverage} == {
            ("ethereum", "TRACKED"),
            ("bnb", "TRACKED"),
        }
    found = await world.ask.lookup(text_of(an_address(201)), "")
    assert [view.transfer_id for view in found.views] == [transfer(1)]


async def test_lookup__nobody_knows__every_chain_says_so_with_its_own_verdict() -> None:
    world = GatewayWorld()
    world.watchers.away.add(Domain.BNB)
    tx = TxRef(Domain.ETHEREUM, b"\x07" * 32)
    await world.ingest.take([], [covered(Domain.BNB, 7)])
    world.watchers.looks[tx] = LookedAt("REVERTED", (), (), a_block(number=9))
    found = await world.ask.lookup(hex_tx(tx), "")
    assert found.views == ()
    said_by = {c.chain: (c.verdict, c.through and c.through.number) for c in found.coverage}
    assert said_by == {"ethereum": ("REVERTED", 9), "bnb": ("CHAIN_UNREADABLE", 7)}


async def test_lookup__not_final__taken_in_once_however_often_it_is_asked() -> None:
    """Asking must not write: anonymous callers would make the journal grow."""
    clock = VirtualClock()
    world = GatewayWorld(clock=clock)
    tx = burn_tx(1)
    pending = Progress(message_of(1), tx, 101, 2)
    world.watchers.looks[tx] = LookedAt("SEEN_NOT_FINAL", (), (pending,), None)
    for _ in range(5):
        found = await world.ask.report("ethereum", hex_tx(tx))
        await clock.advance(1.0)
        assert [view.state for view in found.views] == ["SEEN"]
        assert found.coverage[0].blocks_to_final == 2
    assert (await world.store.journal_bounds())[2] == 1


async def test_report__burn_that_kafka_lost__is_taken_in_from_the_watcher() -> None:
    world = GatewayWorld()
    burn = a_burn(a_message(counter=9))
    tx = burn.place.tx
    world.watchers.looks[tx] = LookedAt("TRACKED", (burn,), (), burn.place.block)
    found = await world.ask.report("ethereum", hex_tx(tx))
    assert [(view.transfer_id, view.state) for view in found.views] == [(burn.transfer_id, "FINAL")]
    assert found.coverage[0].verdict == "TRACKED"
    again = await world.ask.report("ethereum", hex_tx(tx))
    assert again.views == found.views


async def test_report__chain_unknown_or_no_transaction__refused() -> None:
    world = GatewayWorld()
    with pytest.raises(ApiRefused) as refused:
        await world.ask.report("moon", hex_tx(burn_tx(1)))
    assert refused.value.reason == "CHAIN_UNKNOWN"
    with pytest.raises(ApiRefused) as refused:
        await world.ask.report("bnb", "hello")
    assert refused.value.metadata["field"] == "tx"

"""What every `ChainReader` promises: final, ordered, gap-free, the same for everybody.

The suite knows no family; a family joins through its driver.
"""

import pytest

from tests.contract.driver import SHARE, ChainUnderTest, item, release
from xstock_chains.ports import ChainReader, Cursor, Page
from xstock_core.ids import AssetId, Domain
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    Observation,
    ReleaseFinal,
    TxRef,
    observation_id,
)
from xstock_runtime.errors import Fatal, InvalidMessage


async def read_pages(reader: ChainReader, after: Cursor, limit: int) -> list[Page]:
    """Pages until the reader says that there is no more."""
    pages = []
    while True:
        page = await reader.read_page(after, limit=limit)
        pages.append(page)
        after = page.cursor
        if not page.more:
            return pages


async def read_all(
    chain: ChainUnderTest, *, limit: int = 1_000, after: str | None = None
) -> list[Observation]:
    """Every observation, by a reader without memory."""
    start = chain.start if after is None else Cursor(chain.domain, after)
    pages = await read_pages(chain.new_reader(), start, limit)
    return [observation for page in pages for observation in page.observations]


async def test_reader__burn_not_final_yet__shows_nothing_but_progress(
    chain: ChainUnderTest,
) -> None:
    """F19: nothing before finality; what is seen is advisory."""
    await chain.finalize()
    (tx,) = await chain.burn(3 * SHARE)
    assert await read_all(chain) == []
    assert await chain.reader.re_observe(tx) == ()
    (progress,) = await chain.reader.read_pending()
    assert (progress.tx, progress.message.amount) == (tx, 3 * SHARE)
    assert progress.blocks_behind_final > 0


async def test_reader__burn_is_final__tells_exactly_the_message(chain: ChainUnderTest) -> None:
    (tx,) = await chain.burn(3 * SHARE)
    await chain.finalize()
    (burn,) = await read_all(chain)
    assert isinstance(burn, BurnFinal)
    message = burn.message
    assert (message.source, message.destination) == (chain.domain, chain.elsewhere)
    assert (message.asset, message.amount) == (chain.asset, 3 * SHARE)
    assert (burn.sender, message.refund_address) == (chain.holder, chain.holder)
    assert message.recipient == chain.away
    assert burn.transfer_id == message.transfer_id()
    assert burn.place.tx == tx
    assert await chain.reader.is_final(burn.place.block) is True


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_reader__any_page_limit__tells_the_same_once_and_in_order(
    chain: ChainUnderTest, limit: int
) -> None:
    for amounts in ((1,), (2, 3), (), (4, 5, 6), (7,)):
        await chain.burn(*(n * SHARE for n in amounts))
    await chain.finalize()
    found = await read_all(chain, limit=limit)
    assert [o.message.amount // SHARE for o in found if isinstance(o, BurnFinal)] == [*range(1, 8)]
    places = [(o.place.block.number, o.place.index) for o in found]
    assert places == sorted(set(places))
    assert found == await read_all(chain)


async def test_reader__block_holds_more_than_the_limit__page_holds_the_whole_block(
    chain: ChainUnderTest,
) -> None:
    await chain.burn(SHARE, 2 * SHARE, 3 * SHARE)
    await chain.burn(4 * SHARE)
    await chain.finalize()
    pages = await read_pages(chain.reader, chain.start, 1)
    blocks = [{o.place.block.number for o in page.observations} for page in pages]
    told = [number for numbers in blocks for number in numbers]
    assert len(told) == len(set(told)), "a block's observations came in two pages"
    assert max(len(page.observations) for page in pages) == 3
    for page in pages:
        assert all(o.place.block.number <= page.through.number for o in page.observations)


async def test_reader__restarted_from_a_stored_cursor__goes_on_without_gap_or_repeat(
    chain: ChainUnderTest,
) -> None:
    """F35: the cursor stands at what was scanned, wherever the process stopped."""
    for n in range(1, 6):
        await chain.burn(n * SHARE)
    await chain.finalize()
    everything = await read_all(chain)
    pages = await read_pages(chain.reader, chain.start, 1)
    seen = 0
    for page in pages:
        seen += len(page.observations)
        assert await read_all(chain, after=page.cursor.text) == everything[seen:]


async def test_reader__two_readers_at_one_position__write_the_same_cursor(
    chain: ChainUnderTest,
) -> None:
    await chain.burn(SHARE)
    await chain.finalize()
    first = await read_pages(chain.new_reader(), chain.start, 1)
    second = await read_pages(chain.new_reader(), chain.start, 100)
    assert first[-1].cursor == second[-1].cursor
    assert first[-1].through == second[-1].through


async def test_reader__nothing_happened__empty_page_reaches_the_final_head(
    chain: ChainUnderTest,
) -> None:
    await chain.mine(3)
    await chain.finalize()
    page = (await read_pages(chain.reader, chain.start, 10))[-1]
    assert page.observations == ()
    assert page.through == page.head == await chain.reader.finalized_head()
    await chain.burn(SHARE)
    await chain.finalize()
    (burn,) = (await chain.reader.read_page(page.cursor, limit=10)).observations
    assert burn.place.block.number > page.through.number


async def test_reader__no_new_final_block__page_stays_where_it_is(chain: ChainUnderTest) -> None:
    await chain.burn(SHARE)
    await chain.finalize()
    end = (await read_pages(chain.reader, chain.start, 10))[-1]
    again = await chain.reader.read_page(end.cursor, limit=10)
    assert (again.observations, again.cursor, again.more) == ((), end.cursor, False)
    assert again.through == end.through


async def test_reader__asked_again_by_transaction__gives_same_content_and_ids(
    chain: ChainUnderTest,
) -> None:
    txs = await chain.burn(SHARE, 2 * SHARE)
    await release(chain, item(1, chain.recipient, chain.asset))
    await chain.finalize()
    found = await read_all(chain)
    assert {type(o) for o in found} == {BurnFinal, ReleaseFinal}
    for observation in found:
        again = await chain.new_reader().re_observe(observation.place.tx)
        assert observation in again
        assert observation_id(observation) in {observation_id(o) for o in again}
    assert {o.place.tx for o in found} >= set(txs)


async def test_reader__transaction_nobody_knows__re_observe_tells_nothing(
    chain: ChainUnderTest,
) -> None:
    await chain.finalize()
    (tx,) = await chain.burn(SHARE)
    unknown = TxRef(chain.domain, bytes(len(tx.id) - 1) + b"\x01")
    assert await chain.reader.re_observe(unknown) == ()


async def test_reader__burn_reorganised_away_before_final__was_never_there(
    chain: ChainUnderTest,
) -> None:
    """F19, F20: an orphaned burn leaves no trace, and the lane has no hole."""
    await chain.finalize()
    (gone,) = await chain.burn(SHARE)
    await chain.drop(gone)
    (kept,) = await chain.burn(2 * SHARE)
    await chain.finalize()
    (burn,) = await read_all(chain)
    assert burn.place.tx == kept
    assert isinstance(burn, BurnFinal)
    assert burn.counter == (1 if chain.counted else 0)
    assert await chain.reader.re_observe(gone) == ()


async def test_reader__lane_counters__are_dense_and_match_the_reading(
    chain: ChainUnderTest,
) -> None:
    await chain.burn(SHARE, SHARE)
    await chain.burn(SHARE)
    await chain.finalize()
    burns = [o for o in await read_all(chain) if isinstance(o, BurnFinal)]
    assert [burn.counter for burn in burns] == ([1, 2, 3] if chain.counted else [0, 0, 0])
    assert len({burn.message.nonce for burn in burns}) == 3
    reading = await chain.reader.read_supply([chain.asset])
    assert dict(reading.lane_counters).get(chain.elsewhere, 0) == (3 if chain.counted else 0)


async def test_reader__finality_of_blocks__true_false_or_not_yet_known(
    chain: ChainUnderTest,
) -> None:
    await chain.mine(3)
    await chain.finalize()
    head = await chain.reader.finalized_head()
    other = BlockRef(head.chain, head.number, b"\x77" * 32, head.time)
    later = BlockRef(head.chain, head.number + 1_000, b"\x77" * 32, head.time)
    assert await chain.new_reader().is_final(head) is True
    assert await chain.new_reader().is_final(other) is False
    assert await chain.new_reader().is_final(later) is None


async def test_reader__final_head__only_advances(chain: ChainUnderTest) -> None:
    heads = []
    for _ in range(4):
        heads.append((await chain.reader.finalized_head()).number)
        await chain.mine(2)
    assert heads == sorted(heads)
    assert heads[-1] > heads[0]


async def test_reader__supply__moves_by_exactly_what_was_burned_and_released(
    chain: ChainUnderTest,
) -> None:
    before = await chain.reader.read_supply([chain.asset])
    await chain.burn(5 * SHARE)
    await chain.finalize()
    middle = await chain.reader.read_supply([chain.asset])
    await release(chain, item(1, chain.recipient, chain.asset, amount=2 * SHARE))
    await chain.finalize()
    after = await chain.reader.read_supply([chain.asset])
    unit = 10 ** (before.supplies[0].decimals - 8)
    units = [
        reading.supplies[0].token_units - reading.supplies[0].bridge_inventory_units
        for reading in (before, middle, after)
    ]
    assert units[0] - units[1] == 5 * SHARE * unit
    assert units[2] - units[1] == 2 * SHARE * unit
    assert before.block.number < middle.block.number < after.block.number


async def test_reader__supply_of_an_asset_that_the_chain_does_not_have__is_left_out(
    chain: ChainUnderTest,
) -> None:
    alone = await chain.reader.read_supply([chain.asset])
    nowhere = AssetId(b"\x5a" * 32)
    both = await chain.reader.read_supply([nowhere, chain.asset], at=alone.block)
    assert both == alone


async def test_reader__supply_at_a_named_block__is_that_blocks_own(
    chain: ChainUnderTest,
) -> None:
    before = await chain.reader.read_supply([chain.asset])
    await chain.burn(5 * SHARE)
    await chain.mine()
    assert await chain.reader.read_supply([chain.asset], at=before.block) == before
    await chain.finalize()
    assert await chain.reader.is_final(before.block) is True


async def test_reader__asset_paused__the_reading_says_so(chain: ChainUnderTest) -> None:
    await chain.set_paused(paused=True)
    await chain.finalize()
    assert (await chain.reader.read_supply([chain.asset])).supplies[0].paused is True
    await chain.set_paused(paused=False)
    await chain.finalize()
    assert (await chain.reader.read_supply([chain.asset])).supplies[0].paused is False


@pytest.mark.parametrize("text", ["nonsense", "{}", "[1]", '{"v":1}', "0"])
async def test_reader__cursor_is_garbage__is_refused(chain: ChainUnderTest, text: str) -> None:
    """F37: a cursor is parsed, never guessed."""
    with pytest.raises(InvalidMessage):
        await chain.reader.read_page(Cursor(chain.domain, text), limit=10)


async def test_reader__cursor_of_another_chain__is_refused(chain: ChainUnderTest) -> None:
    """F88: a swapped cursor must not be read as this chain's."""
    await chain.finalize()
    page = await chain.reader.read_page(chain.start, limit=10)
    other = Domain.TRON if chain.domain is not Domain.TRON else Domain.TON
    with pytest.raises(InvalidMessage):
        await chain.reader.read_page(Cursor(other, page.cursor.text), limit=10)


async def test_reader__final_block_under_the_cursor_is_replaced__is_fatal(
    chain: ChainUnderTest,
) -> None:
    """F29, INV-10: a reader that has just started sees it from the stored cursor alone."""
    await chain.burn(SHARE)
    await chain.finalize()
    end = (await read_pages(chain.reader, chain.start, 10))[-1]
    await chain.break_finality()
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await chain.new_reader().read_page(end.cursor, limit=10)

"""The reader over several minters: one order, one cursor, retired ones, lookups by any hash."""

from dataclasses import replace

import pytest

from tests.chains.ton.world import SHARE, Chains, World, asset_of
from xstock_chains.ports import Cursor, TxState
from xstock_chains.ton.position import parse_position
from xstock_chains.ton.reader import TonReader
from xstock_core.amount import Shares
from xstock_core.ids import Address32, Domain, issue_nonce
from xstock_core.observation import BurnFinal, Observation, ReleaseFinal, TxRef
from xstock_core.release import ReleaseItem
from xstock_runtime.hashing import keccak256

SPY = asset_of("SPYx")


async def read_by(reader: TonReader, limit: int) -> tuple[list[Observation], Cursor]:
    """Everything, in pages of so many."""
    cursor = Cursor(Domain.TON)
    found: list[Observation] = []
    while True:
        page = await reader.read_page(cursor, limit=limit)
        found.extend(page.observations)
        cursor = page.cursor
        if not page.more:
            return found, cursor


def second(world: World) -> World:
    """The same world with its second minter first."""
    return replace(world, chain=replace(world.chain, minters=world.chain.minters[::-1]))


def of_spy(world: World, counter: int) -> ReleaseItem:
    nonce = issue_nonce(SPY, counter, keccak256)
    return world.item(counter, asset=SPY, nonce=nonce, amount=Shares(counter * SHARE))


async def test_reader__two_minters__one_order_whatever_the_pages(chains: Chains) -> None:
    """F35: minters are merged by block; a page ends with a block of all of them."""
    world = await chains.fresh("TSLAx", "SPYx", holdings=10 * SHARE)
    spy = second(world)
    for counter in (5, 6):
        await world.writer.broadcast(await world.signed(world.item(counter)))
        other = await spy.order([of_spy(world, counter)])
        slot = await world.writer.next_slot(
            world.relayer.relayer_wallet,
            [await world.writer.next_slot(world.relayer.relayer_wallet, ())],
        )
        prepared = await world.writer.prepare(other, slot)
        await world.writer.broadcast(await world.relayer.sign_transaction(prepared))
        await world.settle()
    await world.burn(SHARE)
    await world.finalize()
    whole, end = await read_by(world.reader, 100)
    assert [type(one) for one in whole] == [ReleaseFinal] * 5 + [BurnFinal]
    assert {one.asset for one in whole if isinstance(one, ReleaseFinal)} == {
        SPY,
        asset_of("TSLAx"),
    }
    places = [(one.place.block.number, one.place.index) for one in whole]
    assert places == sorted(set(places))
    for limit in (1, 2, 3):
        assert await read_by(TonReader(world.chain, world.api), limit) == (whole, end)
    position = parse_position(end.text)
    assert set(position.minters) == {minter.address for minter in world.chain.minters}
    reading = await world.reader.read_supply([SPY, asset_of("TSLAx")])
    assert [one.token_units // SHARE for one in reading.supplies] == [11, 11]


async def test_reader__minter_retired__its_later_burns_count_for_nothing(world: World) -> None:
    """F07: a predecessor stays watched and is believed up to its retirement."""
    await world.burn(SHARE)
    await world.finalize()
    (*_, first), _ = await read_by(world.reader, 100)
    await world.burn(2 * SHARE)
    await world.finalize()
    retired = replace(world.minter, retired_block=first.place.block.number)
    reader = TonReader(replace(world.chain, minters=(retired,)), world.api)
    found, _ = await read_by(reader, 100)
    burns = [one.message.amount for one in found if isinstance(one, BurnFinal)]
    assert (burns, reader.evidence.rejected["retired"]) == ([SHARE], 1)


@pytest.mark.parametrize("final", [False, True])
async def test_reader__lookup_by_the_messages_hash__finds_the_minters_transaction(
    world: World, final: bool
) -> None:
    """Whoever sent a message knows its hash and nothing else."""
    before = await world.api.masterchain_head()
    await world.burn(SHARE)
    (burned,) = [tx for tx in await world.landed(world.bridge) if tx.in_msg is not None]
    if final:
        await world.finalize()
        found = await world.reader.inspect(TxRef(Domain.TON, burned.hash))
        assert found is not None
        assert (found.state, found.succeeded) == (TxState.FINAL, True)
        assert found.block is not None
        assert found.block.number > before.seqno
        (sender,) = [
            tx
            for tx in await world.api.transactions(world.holder_account, start_lt=0, limit=100)
            if tx.in_msg is not None and tx.in_msg.norm is not None
        ]
        assert sender.in_msg is not None
        by_message = TxRef(Domain.TON, sender.in_msg.norm or b"")
        assert await world.reader.inspect(by_message) == found
        (observed,) = await world.reader.re_observe(by_message)
        assert observed.place.tx.id == burned.hash
    nobody = TxRef(Domain.TON, Address32(b"\x01" * 32))
    assert await world.reader.inspect(nobody) is None
    assert await world.reader.re_observe(nobody) == ()

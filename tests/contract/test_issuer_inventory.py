"""What every `ChainReader` promises of issuer inventory: what the named owners hold, at the very
block of the reading, and nothing where nobody is named.

That a node which cannot show an account leaves the asset unread is each family's own test.
"""

from collections.abc import Sequence
from dataclasses import replace

from tests.contract.driver import SHARE, ChainUnderTest, item, release
from xstock_chains.ports import AssetSupply, ChainReader, SupplyReading
from xstock_core.ids import Address32
from xstock_core.observation import BlockRef
from xstock_runtime.errors import Transient


async def supply_of(chain: ChainUnderTest, reader: ChainReader) -> AssetSupply:
    """The asset's supply at the newest block that reads show."""
    (supply,) = (await reader.read_supply([chain.asset])).supplies
    return supply


async def held_by(chain: ChainUnderTest, *owners: Address32) -> int:
    """What these owners hold, in 10^-8 shares, by a reader without memory."""
    supply = await supply_of(chain, chain.new_reader(owners))
    held, dust = divmod(supply.issuer_inventory_units, int(10 ** (supply.decimals - 8)))
    assert dust == 0
    return held


async def same_or_unknown(
    chain: ChainUnderTest, owners: Sequence[Address32], at: BlockRef
) -> SupplyReading | None:
    """The reading at a block by a reader without memory; None where the node cannot say any
    more."""
    try:
        return await chain.new_reader(owners).read_supply([chain.asset], at=at)
    except Transient:
        return None


async def test_inventory__nobody_is_named__is_nothing_whoever_holds_what(
    chain: ChainUnderTest,
) -> None:
    await chain.finalize()
    assert await chain.shares_of(chain.holder) > 0
    assert (await supply_of(chain, chain.reader)).issuer_inventory_units == 0


async def test_inventory__owner_named__is_what_it_holds_and_changes_nothing_else(
    chain: ChainUnderTest,
) -> None:
    await chain.finalize()
    reading = await chain.new_reader([chain.holder]).read_supply([chain.asset])
    (supply,) = reading.supplies
    held = await chain.shares_of(chain.holder)
    assert supply.issuer_inventory_units == held * 10 ** (supply.decimals - 8) > 0
    assert supply.issuer_inventory_units <= supply.token_units
    plain = await chain.new_reader().read_supply([chain.asset], at=reading.block)
    assert plain == replace(reading, supplies=(replace(supply, issuer_inventory_units=0),))


async def test_inventory__owner_has_no_account__holds_nothing(chain: ChainUnderTest) -> None:
    """An account that was never made is no failing account."""
    await chain.finalize()
    assert await held_by(chain, chain.recipient) == 0
    alone = await held_by(chain, chain.holder)
    assert await held_by(chain, chain.recipient, chain.holder) == alone > 0


async def test_inventory__balances_move__the_figure_moves_with_them(chain: ChainUnderTest) -> None:
    await chain.finalize()
    owners = (chain.holder, chain.recipient)
    before = await held_by(chain, *owners)
    await chain.burn(5 * SHARE)
    await chain.finalize()
    assert await held_by(chain, *owners) == before - 5 * SHARE
    await release(chain, item(1, chain.recipient, chain.asset, amount=2 * SHARE))
    await chain.finalize()
    assert await held_by(chain, *owners) == before - 3 * SHARE
    assert await held_by(chain, chain.recipient) == 2 * SHARE


async def test_inventory__reading_names_a_block__is_of_that_block_or_not_given(
    chain: ChainUnderTest,
) -> None:
    """A later balance at an earlier block would count one share twice."""
    await chain.finalize()
    owners = (chain.holder, chain.recipient)
    reader = chain.new_reader(owners)
    before = await reader.read_supply([chain.asset])
    assert before.supplies[0].issuer_inventory_units > 0
    await chain.burn(5 * SHARE)
    await release(chain, item(1, chain.recipient, chain.asset, amount=2 * SHARE))
    await chain.mine()
    assert await reader.read_supply([chain.asset], at=before.block) == before
    assert await same_or_unknown(chain, owners, before.block) in (None, before)

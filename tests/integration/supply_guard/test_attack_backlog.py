"""A backlog of releases whose burns this guard has not read yet hides nothing.

While one chain cannot be read, everything that arrived from it elsewhere is unexplained for a
while: thousands of releases on a busy day. What is asked of the unexplained ones has to be true
of all of them, not of the oldest thousand.
"""

from tests.services.supply_guard.inventory import books, bridged, ready
from tests.services.supply_guard.world import ASSET, HOLDER, OTHER, SHARE, World
from xstock_core.amount import Shares
from xstock_core.ids import AssetId, Domain, Nonce
from xstock_core.observation import BlockRef, Place, ReleaseFinal, TxRef
from xstock_supply_guard.adapters.postgres import PostgresGuardStore
from xstock_supply_guard.handlers.halting import reconcile_red
from xstock_supply_guard.model import Executed, Outcome

BACKLOG = 1_001


def unread(number: int, source: Domain, asset: AssetId) -> Executed:
    """A release of one share on BNB whose burn is not booked here."""
    place = Place(BlockRef(Domain.BNB, 1, bytes(32), 1), TxRef(Domain.BNB, b"\1" * 32), number)
    nonce = Nonce(b"\x31" * 28 + number.to_bytes(4))
    release = ReleaseFinal(Domain.BNB, source, nonce, asset, HOLDER, Shares(SHARE), place)
    return Executed(release, number, matched=False)


async def behind(store: PostgresGuardStore) -> World:
    """A guard that does not read Mantle: many releases of another asset wait for its burns."""
    world = await ready(store)
    async with store.write() as unit:
        waiting = [unread(number, Domain.MANTLE, OTHER) for number in range(1, BACKLOG + 1)]
        await unit.add_executions(waiting)
    return world


async def test_inventory__bridged_behind_a_backlog__never_counts_twice(
    store: PostgresGuardStore,
) -> None:
    world = await behind(store)
    await bridged(world, seen=False)
    assert (await books(world)).excluded == 100 * SHARE


async def test_halt__of_an_asset_with_a_release_behind_a_backlog__is_not_cleared(
    store: PostgresGuardStore,
) -> None:
    """F92: the books of its asset are red, whatever else is unexplained."""
    world = await behind(store)
    forged = unread(BACKLOG + 1, Domain.ETHEREUM, ASSET)
    async with store.write() as unit:
        assert await reconcile_red(world.desk, unit, ASSET) == []
        await unit.add_executions([forged])
        text = f"release {forged.fact.nonce.hex()} has no burn"
        assert await reconcile_red(world.desk, unit, ASSET) == [text]


async def test_release__without_a_burn_behind_a_backlog__halts_its_asset(
    store: PostgresGuardStore,
) -> None:
    """INV-01: a chain that cannot be read is no cover for what is forged of another."""
    world = await behind(store)
    async with store.write() as unit:
        await unit.add_executions([unread(BACKLOG + 1, Domain.ETHEREUM, ASSET)])
    await world.clock.advance(3600)
    world.mine()
    await world.scan(Domain.ETHEREUM)
    (reason,) = await world.halts()
    assert reason.startswith("INV-01")


async def test_issuance__of_an_asset_with_a_release_behind_a_backlog__waits(
    store: PostgresGuardStore,
) -> None:
    """INV-16: what is unexplained of it counts as drift, wherever it stands in the line."""
    world = await behind(store)
    assert await world.outcome(world.order(2, SHARE)) == (Outcome.GRANTED, "")
    async with store.write() as unit:
        await unit.add_executions([unread(BACKLOG + 1, Domain.ETHEREUM, ASSET)])
    assert (await world.outcome(world.order(3, SHARE)))[0] is Outcome.HELD

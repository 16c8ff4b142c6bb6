"""Issuer inventory on PostgreSQL; the suite is `inventory.py`. And a database that had none."""

from alembic import command
from sqlalchemy import Connection

from tests.integration.supply_guard.conftest import GuardDatabase
from tests.services.supply_guard.inventory import *  # noqa: F403 - one suite, two memories
from tests.services.supply_guard.inventory import ETHEREUM, books, bridged, ready
from tests.services.supply_guard.world import ASSET, SHARE
from xstock_runtime import migrations
from xstock_runtime.migrations import check_current, upgrade

PACKAGE = "xstock_supply_guard"


async def back_to(url: str, revision: str) -> None:
    """The database as an earlier release left it."""
    config = migrations._config(PACKAGE)

    def work(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)

    await migrations._on_connection(url, work)


async def test_migration__database_of_the_release_before__knows_its_past_burns(
    guard_database: GuardDatabase,
) -> None:
    """A reading from before a burn must not count what was burned while nobody summed it."""
    world = await ready((await guard_database.open()).store)
    await bridged(world)
    await guard_database.opened[0].database.close()
    url = guard_database.database.url(driver="postgresql")
    await back_to(url, "0002")
    assert await upgrade(url, PACKAGE) == "0003"
    assert await check_current(url, PACKAGE) == "0003"
    world.store = world.desk.store = (await guard_database.open()).store
    async with world.store.read() as unit:
        assert await unit.burned_above({(ASSET, ETHEREUM): 1}) == {(ASSET, ETHEREUM): 100 * SHARE}
        held = [one.supply.issuer_inventory_units for one in await unit.readings([ASSET])]
    assert held == [0, 0, 0]
    assert (await books(world)).excluded == 0

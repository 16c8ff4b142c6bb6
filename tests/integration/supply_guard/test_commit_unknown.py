"""The link to the database dies in COMMIT: the guard asks again, and it counts once.

A grant, a reservation or a permit whose COMMIT has no answer may or may not have happened; the
caller hears so, asks the same again, and gets the same.
"""

import asyncio
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import make_url, text

from tests.audit import journals
from tests.audit.test_verify_journal import checker
from tests.integration.runtime.test_database import CommitCutter
from tests.integration.supply_guard.conftest import ROLE, GuardDatabase, Opened
from tests.services.supply_guard.world import ASSET, DEPLOYMENT, SHARE, World
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.errors import Ambiguous, Transient
from xstock_supply_guard.adapters.postgres import PostgresGuardStore
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.model import Outcome

__all__ = ["checker"]


async def through(guard: GuardDatabase, cutter: CommitCutter, first: Opened) -> PostgresGuardStore:
    """The same process's memory, over a link that can be cut."""
    address = make_url(guard.database.url(user=ROLE, driver="postgresql"))
    url = address.set(host="127.0.0.1", port=cutter.port)
    settings = DatabaseSettings(url.render_as_string(hide_password=False))
    database = Database(settings, SystemClock(), SystemRandomness())
    await database.open()
    guard.opened.append(Opened(first.store, database, first.lease))
    return PostgresGuardStore(
        database, guard_id="guard-1", deployment_id=DEPLOYMENT, lease=first.lease
    )


async def counted(guard: GuardDatabase, sql: str) -> int:
    """A figure of the database, by the link that was never cut."""
    async with guard.opened[0].database.transaction() as connection:
        return int(await connection.scalar(text(sql)) or 0)


async def test_commit__cut_at_every_decision__asked_again_has_one_effect(
    guard_database: GuardDatabase, tmp_path: Path, checker: ModuleType
) -> None:
    """F69: issuance, grant and permit, each with its COMMIT's answer lost; none twice."""
    first = await guard_database.open()
    world = World(store=first.store)
    await world.funded()
    tx = world.burn(SHARE)
    world.mine()
    await world.scan()
    order, claim = world.order(2, 5 * SHARE), world.claim(tx)
    address = make_url(guard_database.database.url())
    async with CommitCutter(str(address.host), int(address.port or 0)).running() as cutter:
        world.store = await through(guard_database, cutter, first)
        world.desk.store = world.store
        for attempt in (
            lambda: world.review(order),
            lambda: world.review(claim),
            lambda: world.sign(claim.message),
        ):
            cutter.armed = True
            with pytest.raises((Ambiguous, Transient)):
                await attempt()
            await asyncio.sleep(0.2)
            await attempt()
            await attempt()
        assert await world.outcome(order) == (Outcome.GRANTED, "")
        assert (await world.sign(claim.message)).signature
    assert await counted(guard_database, "SELECT count(*) FROM permit") == 1
    reserved = "SELECT count(*) FROM ledger_entry WHERE kind = 'ISSUE_RESERVE'"
    assert await counted(guard_database, reserved) == 2
    book = (await read_books(world.new_desk(), [ASSET])).assets[0]
    assert (book.open_issuance, book.in_flight) == (5 * SHARE, SHARE)
    world.desk.store = first.store
    journal = await journals.export(world, tmp_path / "journal.jsonl")
    assert checker.main([str(journal)]) == checker.OK

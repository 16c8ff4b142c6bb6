"""The guard's whole way, as in tests/services, over PostgreSQL."""

from typing import Any

from sqlalchemy import text

from tests.integration.supply_guard.conftest import GuardDatabase
from tests.services.supply_guard.world import ASSET, SHARE, World
from xstock_core.ids import Domain
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.model import FIRST_LINK, JournalHead, Outcome, next_link


async def test_guard__issue_then_transfer_on_postgresql__books_survive_a_restart(
    guard_database: GuardDatabase,
) -> None:
    world = World(store=(await guard_database.open()).store)
    await world.funded(100 * SHARE)
    message = await world.granted(40 * SHARE)
    answer = await world.sign(message)
    assert answer.signature
    await world.release([message])
    world.mine()
    await world.scan()
    for domain in Domain.ETHEREUM, Domain.BNB:
        await world.audit(domain)
        world.mine()
        await world.scan()
        assert (await world.audit(domain)).believed == 2
    before = await read_books(world.desk, [ASSET])
    world.store = (await guard_database.open("first")).store
    world.desk = world.new_desk()
    after = await read_books(world.desk, [ASSET])
    assert after.assets == before.assets
    assert not after.signing
    assert await world.outcome(world.order(2, 1)) == (Outcome.HELD, "SIGNING_DISABLED")
    await world.scan()
    assert (await read_books(world.desk, [ASSET])).signing
    assert await world.halts() == []


async def test_journal__every_link__hashes_the_one_before(guard_database: GuardDatabase) -> None:
    opened = await guard_database.open()
    world = World(store=opened.store)
    await world.funded()
    await world.granted()
    rows: list[Any] = []
    async with opened.database.transaction() as connection:
        rows = list(
            (await connection.execute(text("SELECT * FROM journal ORDER BY sequence"))).all()
        )
    head: JournalHead = FIRST_LINK
    assert len(rows) >= 4
    for row in rows:
        assert bytes(row.previous) == head.digest
        head = next_link(head, row.lines.split("\n"), row.at_ms)
        assert (row.sequence, bytes(row.digest)) == (head.sequence, head.digest)

"""The fault suite over books in PostgreSQL, and the fence in the database itself."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.services.relayer.faults import FaultSuite, WorldMaker, sent_by_us
from xstock_core.ids import Domain
from xstock_core.transfer import Phase
from xstock_relayer.adapters.postgres import PostgresBooks
from xstock_relayer.model import Alarm, Change
from xstock_runtime.clock import SystemClock
from xstock_runtime.database import Database
from xstock_runtime.errors import Fatal
from xstock_runtime.lease import AdvisoryLease, LeaseSettings


class TestFaultsInPostgres(FaultSuite):
    """`FaultSuite` over `PostgresBooks`."""

    async def test_intake__any_order_and_ten_times_each__same_final_state(
        self, make_world: WorldMaker
    ) -> None:
        """F48 needs a fresh disk per history, which the in-memory suite has; here one history
        is repeated over the books that hold its end already."""
        world = make_world()
        await world.relayer.start()
        world.burn(6)
        await world.settle()
        before = {t.id: t for t in world.transfers}
        history = [n for watcher in world.watchers.values() for n in watcher.seen]
        for at in range(0, len(history) * 10, 5):
            await world.relayer.intake.take((list(reversed(history)) * 10)[at : at + 5])
        await world.refresh()
        assert {t.id: t for t in world.transfers} == before


async def test_lease__zombie_wakes_after_takeover__refused_by_the_database(
    database: Database, books: PostgresBooks, make_world: WorldMaker
) -> None:
    """F46: the fence is read in the transaction that would write."""
    world = make_world()
    await world.relayer.start()
    world.burn(2)
    await world.observe()
    await world.relayer.review()
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE lease SET expires = now() - interval '1 s'"))
    successor = AdvisoryLease(LeaseSettings("relayer/test", "second", ttl_seconds=600))
    assert await database.run(successor.acquire) == 2
    with pytest.raises(Fatal, match="FENCED"):
        await world.relayer.release()
    world.open_books = lambda: PostgresBooks(
        database, successor, SystemClock(), deployment_id="test"
    )
    await world.crash()
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 2}
    assert sent_by_us(world, Domain.BNB) == 1


async def test_books__runtime_role__may_not_change_the_schema_or_an_alarm(
    database: Database, books: PostgresBooks
) -> None:
    await books.commit(Change(alarms=[Alarm("TEST", "scope", "detail", 1)]))
    for statement in ("DROP TABLE transfer", "DELETE FROM alarm", "CREATE TABLE x (y int)"):
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            async with database.transaction() as connection:
                await connection.execute(text(statement))


async def test_books__published_transitions__are_in_the_outbox_with_the_state(
    database: Database, make_world: WorldMaker
) -> None:
    from xstock_wire.v1 import records_pb2

    world = make_world()
    await world.relayer.start()
    world.burn(1)
    await world.settle()
    async with database.transaction() as connection:
        rows = (await connection.execute(text("SELECT value FROM outbox ORDER BY id"))).all()
    records = [records_pb2.TransferRecord.FromString(bytes(row.value)) for row in rows]
    assert [record.phase for record in records] == [
        "FINAL",
        "REVIEWING",
        "AUTHORIZED",
        "RELEASING",
        "RELEASED",
    ]
    revisions = [record.revision for record in records]
    assert revisions == sorted(revisions)
    steps = [step.kind for step in records[-1].steps]
    assert steps[0] == "FINAL"
    assert steps[-1] == "RELEASED"
    assert records[-1].terminal
    assert records[-1].funds_at == "DESTINATION"

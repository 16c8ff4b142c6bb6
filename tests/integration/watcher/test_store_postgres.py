"""The PostgreSQL store under the stores' suite, and what only a database can show."""

import pytest
from sqlalchemy import text

from tests.services.watcher.store_contract import (
    CHAIN,
    START,
    WatcherStoreContract,
    burn,
    page,
)
from tests.services.watcher.world import WatcherWorld
from xstock_chains.ports import Cursor
from xstock_core.ids import Domain
from xstock_runtime.database import Database
from xstock_runtime.errors import Fatal, Transient
from xstock_runtime.outbox import Outbox
from xstock_watcher.adapters.postgres import OBSERVATIONS_TOPIC, PostgresWatcherStore
from xstock_wire.v1 import records_pb2


class TestPostgresWatcherStore(WatcherStoreContract):
    """On a real server, under the runtime role."""


async def queued(database: Database) -> list[records_pb2.ObservationRecord]:
    """The records that wait for the bus, in their order."""
    async with database.transaction() as connection:
        rows = (await connection.execute(text("SELECT * FROM outbox ORDER BY id"))).all()
    assert {row.topic for row in rows} <= {OBSERVATIONS_TOPIC}
    return [records_pb2.ObservationRecord.FromString(bytes(row.value)) for row in rows]


async def test_outbox__pages_kept__queued_once_each_in_the_order_of_their_numbers(
    store: PostgresWatcherStore, database: Database
) -> None:
    """F66: every number is queued, none skipped, whatever the order of commits was."""
    await store.save_page(START, page("a", burn(3), burn(1)))
    await store.save_page(Cursor(CHAIN, "a"), page("b", burn(1), burn(2)))
    records = await queued(database)
    assert [record.sequence for record in records] == [1, 2, 3]
    kept = await store.list_after(0, 10)
    assert [n.observation.place.tx.id for n in kept] == [r.place.tx.id for r in records]


async def test_page__queueing_fails__neither_cursor_nor_observations_are_kept(
    store: PostgresWatcherStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cursor, observations and records are one transaction."""

    async def broken(*_: object) -> None:
        raise Transient("BROKEN", "the third statement failed")

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "add", broken)
        with pytest.raises(Transient):
            await store.save_page(START, page("a", burn(1)))
    assert (await store.position()).cursor == START
    assert await store.list_after(0, 10) == []
    assert await queued(database) == []
    assert await store.save_page(START, page("a", burn(1))) == 1


async def test_page__cursor_moved_first_in_a_transaction_of_its_own__loses_the_burn(
    store: PostgresWatcherStore, database: Database
) -> None:
    """Defence removed: the cursor committed apart from its page, and the process dies between."""
    async with database.transaction() as connection:
        await store._move(connection, page("a", burn(1)), 0)
    assert (await store.position()).cursor == Cursor(CHAIN, "a")
    assert await store.save_page(Cursor(CHAIN, "a"), page("b")) == 0
    assert await store.list_after(0, 10) == []


async def test_database__of_another_chain__refused_at_the_first_look(
    store: PostgresWatcherStore, database: Database
) -> None:
    """F88: two watchers swapped their databases."""
    await store.save_page(START, page("a", burn(1)))
    other = PostgresWatcherStore(database, Domain.BNB, "test")
    with pytest.raises(Fatal, match="DATABASE_OF_ANOTHER_CHAIN"):
        await other.position()


async def test_watcher__restarted_between_all_pages_on_postgres__keeps_each_burn_once(
    store: PostgresWatcherStore, database: Database
) -> None:
    world = WatcherWorld(store=store, page_limit=2)
    sent = []
    for _ in range(9):
        sent.append(world.burn())
        world.chain.mine()
    world.chain.mine(3)
    while (await world.handlers.scan()).more:
        world.restart()
    assert await world.burns() == sent
    assert [record.sequence for record in await queued(database)] == list(range(1, 10))


async def test_halt__on_postgres__survives_the_process(
    store: PostgresWatcherStore, database: Database
) -> None:
    """F29: latched before the process ends, found by the next one."""
    world = WatcherWorld(store=store)
    world.burn()
    world.chain.mine(5)
    await world.scan_all()
    world.node.faults.fork_from = 1
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await world.handlers.scan()
    again = WatcherWorld(store=PostgresWatcherStore(database, CHAIN, "test"))
    with pytest.raises(Fatal, match="WATCHER_HALTED"):
        await again.handlers.refuse_if_halted()

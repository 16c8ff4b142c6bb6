"""The outbox on a real database: what commits is sent, once the broker takes it, in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.runtime.waiting import until
from xstock_runtime.clock import SystemClock
from xstock_runtime.database import Database
from xstock_runtime.errors import Transient
from xstock_runtime.health import Progress
from xstock_runtime.inbox import Inbox
from xstock_runtime.kafka import Record
from xstock_runtime.outbox import Outbox, OutboxPump


class Bus:
    """A broker that keeps what it acknowledged, and can be down."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.down = False
        self.crash_after_ack = False

    async def publish(self, records: Sequence[Record]) -> None:
        if self.down:
            raise Transient("KAFKA_SEND_FAILED", "down")
        self.sent += records
        if self.crash_after_ack:
            self.crash_after_ack = False
            raise Transient("KAFKA_SEND_FAILED", "the process died after the ack")

    def values(self) -> list[bytes]:
        return [record.value for record in self.sent]


def records(*values: bytes) -> list[Record]:
    return [Record("t", b"k", value) for value in values]


async def add(database: Database, *values: bytes) -> None:
    async with database.transaction() as connection:
        await Outbox().add(connection, records(*values))


@pytest.fixture
def bus() -> Bus:
    return Bus()


def make_pump(database: Database, bus: Bus, **settings: Any) -> OutboxPump:
    return OutboxPump(database, bus, SystemClock(), **settings)  # type: ignore[arg-type]


@asynccontextmanager
async def pumping(database: Database, bus: Bus, **settings: Any) -> AsyncIterator[OutboxPump]:
    pump = make_pump(database, bus, **settings)
    task = asyncio.create_task(pump.run())
    try:
        yield pump
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome


async def test_outbox__page_committed__is_sent_in_order_with_headers_and_forgotten(
    database: Database, bus: Bus
) -> None:
    page = [Record("t", b"k%d" % (n % 3), b"%d" % n, (("h", bytes([n])),)) for n in range(250)]
    async with database.transaction() as connection:
        await Outbox().add(connection, page)
        assert bus.sent == []
    async with pumping(database, bus, page_records=100):
        await until(lambda: len(bus.sent) == 250)
        async with asyncio.timeout(5), database.transaction() as connection:
            while await Outbox().pending(connection):
                await asyncio.sleep(0.01)
    assert bus.sent == page


async def test_outbox__transaction_rolled_back__is_never_sent(database: Database, bus: Bus) -> None:
    with pytest.raises(KeyError):
        await _add_then_fail(database)
    await add(database, b"kept")
    async with pumping(database, bus):
        await until(lambda: bool(bus.sent))
    assert bus.values() == [b"kept"]


async def _add_then_fail(database: Database) -> None:
    async with database.transaction() as connection:
        await Outbox().add(connection, records(b"lost"))
        raise KeyError


async def test_outbox__committed_while_pumping__is_sent_by_notify_long_before_the_poll(
    database: Database, bus: Bus
) -> None:
    async with pumping(database, bus, poll_seconds=60):
        await add(database, b"first")
        await until(lambda: bus.values() == [b"first"])
        await asyncio.sleep(0.1)
        await add(database, b"second")
        await until(lambda: bus.values() == [b"first", b"second"], seconds=2)


async def test_outbox__id_2_commits_before_id_1__neither_is_skipped(
    database: Database, bus: Bus
) -> None:
    """F66: ids are given out in one order and commit in another."""
    async with pumping(database, bus):
        async with database.transaction() as slow:
            await Outbox().add(slow, records(b"id 1"))
            await add(database, b"id 2")
            await until(lambda: bus.values() == [b"id 2"])
        await until(lambda: bus.values() == [b"id 2", b"id 1"])


async def test_outbox__read_by_last_id_instead__skips_the_late_one(database: Database) -> None:
    """F66, defence removed: `id > last` never sees the row that committed late."""
    seen: list[bytes] = []
    last = 0

    async def naive_page() -> None:
        nonlocal last
        async with database.transaction() as connection:
            rows = await connection.execute(
                text("SELECT id, value FROM outbox WHERE id > :last ORDER BY id"), {"last": last}
            )
            for row in rows:
                seen.append(row.value)
                last = row.id

    async with database.transaction() as slow:
        await Outbox().add(slow, records(b"id 1"))
        await add(database, b"id 2")
        await naive_page()
    await naive_page()
    assert seen == [b"id 2"]


async def test_outbox__broker_down__keeps_everything_and_says_so_then_sends_in_order(
    database: Database, bus: Bus
) -> None:
    progress = Progress(SystemClock())
    bus.down = True
    async with pumping(database, bus, progress=progress, poll_seconds=0.05):
        for n in range(5):
            await add(database, b"%d" % n)
        await until(lambda: "KAFKA_SEND_FAILED" in progress.check("outbox").reason)
        bus.down = False
        await until(lambda: len(bus.sent) == 5)
        await until(progress.ready)
    assert bus.values() == [b"0", b"1", b"2", b"3", b"4"]


async def test_outbox__crash_between_ack_and_delete__sends_twice_and_the_inbox_takes_one(
    database: Database, bus: Bus
) -> None:
    """F61: the row is sent again; F48's receiver sees it once."""
    bus.crash_after_ack = True
    await add(database, b"a", b"b")
    async with pumping(database, bus):
        await until(lambda: len(bus.sent) == 4)
    assert bus.values() == [b"a", b"b", b"a", b"b"]
    taken: list[bytes] = []
    for value in bus.values():
        async with database.transaction() as connection:
            taken += await Inbox("receiver").filter_new(connection, [value])
    assert taken == [b"a", b"b"]


async def test_outbox__two_pumps__one_works_and_the_other_takes_over_when_it_dies(
    database: Database, bus: Bus
) -> None:
    standby_bus = Bus()
    async with pumping(database, bus, poll_seconds=0.05) as working:
        await add(database, b"a")
        await until(lambda: bus.values() == [b"a"])
        async with pumping(database, standby_bus, poll_seconds=0.05) as standby:
            await add(database, b"b")
            # Sent and forgotten: one that dies in between is sent again, by right.
            await until(lambda: working.sent == 2)
            assert bus.values() == [b"a", b"b"]
            assert standby.sent == 0
    async with pumping(database, standby_bus, poll_seconds=0.05):
        await add(database, b"c")
        await until(lambda: standby_bus.values() == [b"c"])
    assert bus.values() == [b"a", b"b"]


async def test_outbox__database_session_killed__pump_comes_back(
    database: Database, bus: Bus
) -> None:
    async with pumping(database, bus, poll_seconds=0.05):
        await add(database, b"a")
        await until(lambda: bus.values() == [b"a"])
        async with database.transaction() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = user"
                    " AND datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        async with asyncio.timeout(10):
            while True:
                try:
                    await add(database, b"b")
                except Transient:
                    await asyncio.sleep(0.05)
                else:
                    break
        # At least once: a page whose DELETE met a dead session is sent again.
        await until(lambda: list(dict.fromkeys(bus.values())) == [b"a", b"b"])


async def test_inbox__ids_seen_by_one_scope__are_new_to_another_and_forgotten_by_age(
    database: Database,
) -> None:
    async with database.transaction() as connection:
        first = Inbox("first")
        assert await first.filter_new(connection, [b"1", b"2", b"2"]) == {b"1", b"2"}
        assert await first.filter_new(connection, [b"2", b"3"]) == {b"3"}
        assert await first.filter_new(connection, []) == set()
        assert await Inbox("second").filter_new(connection, [b"1"]) == {b"1"}
    async with database.transaction() as connection:
        assert await first.forget(connection, older_than_seconds=3600) == 0
        assert await first.forget(connection, older_than_seconds=0) == 3


async def test_inbox__same_id_in_two_transactions_at_once__is_new_to_exactly_one(
    database: Database,
) -> None:
    """F59: redelivery to two members at once has one effect."""

    async def take() -> set[bytes]:
        async with database.transaction() as connection:
            return await Inbox("x").filter_new(connection, [b"%d" % n for n in range(50)])

    taken = await asyncio.gather(*(take() for _ in range(8)))
    assert sum(len(ids) for ids in taken) == 50

"""One writer, one cap, append-only books: what PostgreSQL itself refuses."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.integration.supply_guard.conftest import ROLE, GuardDatabase, Opened
from tests.services.supply_guard.test_configuration import settings
from tests.services.supply_guard.world import ASSET, SHARE, World
from xstock_core.ids import Domain
from xstock_core.ledger import CUSTODY, OPEN_ISSUANCE, Entry, EntryKind, make_entry
from xstock_runtime.clock import SystemClock
from xstock_runtime.database import insert_many
from xstock_runtime.errors import Fatal
from xstock_supply_guard.adapters import rows
from xstock_supply_guard.adapters.tables import APPEND_ONLY
from xstock_supply_guard.bootstrap import open_database
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.model import Outcome, Posted

CLIENTS = 16
AMOUNT = 400
CAP = 2_000


async def test_second_instance__of_the_same_guard__writes_nothing(
    guard_database: GuardDatabase,
) -> None:
    """F46: whoever does not hold the lease, or lost it, is refused inside its transaction."""
    first = await guard_database.open("first")
    world = World(store=first.store)
    await world.funded()
    tx = world.burn()
    world.mine()
    await world.scan()
    second = await guard_database.open("second")
    world.store = second.store
    world.desk = world.new_desk()
    with pytest.raises(Fatal, match="FENCED"):
        await world.scan()
    with pytest.raises(Fatal, match="FENCED"):
        await world.outcome(world.claim(tx))
    world.store = first.store
    world.desk = world.new_desk()
    await world.scan()
    assert await world.outcome(world.claim(tx)) == (Outcome.GRANTED, "")


async def test_zombie__woken_after_its_lease_was_taken_over__signs_nothing(
    guard_database: GuardDatabase,
) -> None:
    """F46, F78: a frozen process wakes up; its fence is stale and its permit never exists."""
    first = await guard_database.open("first")
    world = World(store=first.store)
    await world.funded()
    message = await world.granted()
    second = await guard_database.open("second")
    async with second.database.transaction() as connection:
        await connection.execute(text("UPDATE lease SET expires = clock_timestamp()"))
        assert second.lease is not None
        assert await second.lease.acquire(connection) is not None
    with pytest.raises(Fatal, match="FENCED"):
        await world.sign(message)
    async with second.database.transaction() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM permit")) == 0


async def test_zombie__without_the_fence__signs_beside_its_successor(
    guard_database: GuardDatabase,
) -> None:
    """F46 with the defence taken out: a store without a lease lets both write."""
    first = await guard_database.open("first", lease=False)
    world = World(store=first.store)
    await world.funded()
    message = await world.granted()
    await guard_database.open("second")
    assert (await world.sign(message)).signature


def issuance(number: int) -> Entry:
    """The reservation of one order."""
    ref = number.to_bytes(40, "big")
    return make_entry(EntryKind.ISSUE_RESERVE, ASSET, CUSTODY, OPEN_ISSUANCE, AMOUNT, ref)


Reserve = Callable[[Opened, Entry], Awaitable[bool]]


async def conditional(opened: Opened, entry: Entry) -> bool:
    """The store's own way."""
    async with opened.store.write() as unit:
        return await unit.reserve_issuance(entry, CAP)


async def check_then_insert(opened: Opened, entry: Entry) -> bool:
    """What everybody writes first: look, decide, insert."""
    async with opened.database.transaction() as connection:
        used = await connection.scalar(
            text("SELECT coalesce(sum(amount), 0) FROM ledger_entry WHERE asset = :asset"),
            {"asset": ASSET},
        )
        if int(used or 0) + entry.amount > CAP:
            return False
        await asyncio.sleep(0.01)
        await insert_many(connection, "ledger_entry", rows.entry_columns([Posted(entry, None)]))
    return True


async def race(guard_database: GuardDatabase, reserve: Reserve) -> int:
    """What 16 clients with stores of their own reserve at once, 400 each, on a cap of 2,000."""
    stores = [await guard_database.open(f"client-{n}", lease=False) for n in range(CLIENTS)]
    granted = await asyncio.gather(
        *(reserve(opened, issuance(n + 1)) for n, opened in enumerate(stores))
    )
    return sum(granted) * AMOUNT


async def test_cap_race__sixteen_writers_on_one_cap__never_above_it(
    guard_database: GuardDatabase,
) -> None:
    """F49: even without the lease the conditional update lets exactly five of 16 through."""
    assert await race(guard_database, conditional) == CAP
    world = World(store=(await guard_database.open("reader", lease=False)).store)
    book = (await read_books(world.desk, [ASSET])).assets[0]
    assert (book.exposure, book.open_issuance) == (CAP, CAP)


async def test_cap_race__check_then_insert__passes_the_cap(
    guard_database: GuardDatabase,
) -> None:
    """F49 with the defence taken out: the usual way breaks, so the test above bites."""
    assert await race(guard_database, check_then_insert) > CAP


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_runtime_role__on_an_append_only_table__may_not_change_the_past(
    guard_database: GuardDatabase, table: str
) -> None:
    connection = await asyncpg.connect(
        guard_database.database.url(user=ROLE, driver="postgresql"), timeout=10
    )
    try:
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"DROP TABLE {table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_unit__raise_in_the_middle__leaves_nothing(guard_database: GuardDatabase) -> None:
    """A crash between two statements of a page books none of it; the page is read again."""
    opened = await guard_database.open()
    world = World(store=opened.store)
    await world.funded()
    world.burn()
    world.mine()

    class Crash(Exception):
        pass

    before = await read_books(world.desk, [ASSET])
    original = opened.store.record_of

    def crash(*_: object) -> bytes:
        raise Crash

    opened.store.record_of = crash  # type: ignore[method-assign,assignment]
    with pytest.raises(Crash):
        await world.scan(Domain.ETHEREUM)
    opened.store.record_of = original  # type: ignore[method-assign]
    assert (await read_books(world.desk, [ASSET])).journal == before.journal
    await world.scan(Domain.ETHEREUM)
    assert (await read_books(world.desk, [ASSET])).assets[0].in_flight == SHARE


async def test_verdicts__of_every_change__wait_in_the_outbox_while_kafka_is_away(
    guard_database: GuardDatabase,
) -> None:
    """INV-14: one durable event for each refusal, hold and grant; a repeat adds none."""
    opened = await guard_database.open()
    world = World(store=opened.store)
    await world.funded(100 * SHARE, held=150 * SHARE)
    over = world.order(2, 51 * SHARE)
    for _ in range(3):
        await world.review(over)
    await world.attest(1_000 * SHARE, sequence=2)
    for _ in range(3):
        await world.review(over)
    async with opened.database.transaction() as connection:
        keys = (await connection.execute(text("SELECT topic, key FROM outbox ORDER BY id"))).all()
    assert {row.topic for row in keys} == {"xstock.verdicts.v1"}
    assert len(keys) == 3  # order 1 granted; order 2 held, then granted


async def test_second_process__at_its_start__refused_until_the_first_is_gone(
    guard_database: GuardDatabase,
) -> None:
    """F46: a second instance started by mistake stands by for a while and then refuses."""
    url = SecretStr(guard_database.database.url(user=ROLE, driver="postgresql"))
    ours = settings(database_url=url, lease_wait_seconds=0, lease_seconds=30)
    clock = SystemClock()
    async with AsyncExitStack() as first:
        await open_database(first, ours, clock)
        async with AsyncExitStack() as second:
            with pytest.raises(Fatal, match="SECOND_INSTANCE"):
                await open_database(second, ours, clock)
    async with AsyncExitStack() as successor:
        _, lease = await open_database(successor, ours, clock)
        assert lease.fence == 2


async def test_second_process__the_first_was_killed__takes_over_at_once(
    guard_database: GuardDatabase,
) -> None:
    """F46: a killed process leaves a live lease but no session; its successor need not wait."""
    url = SecretStr(guard_database.database.url(user=ROLE, driver="postgresql"))
    ours = settings(database_url=url, lease_wait_seconds=2, lease_seconds=30)
    clock = SystemClock()
    async with AsyncExitStack() as first:
        database, lease = await open_database(first, ours, clock)
        # As its kernel would: the session is closed, the lease row stays as it is.
        async with database.transaction() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks"
                    " WHERE locktype = 'advisory' AND database = "
                    "(SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            )
        async with AsyncExitStack() as second:
            _, taken = await open_database(second, ours, clock)
            assert taken.fence == 2
            with pytest.raises(Fatal, match="FENCED"):
                async with database.transaction() as connection:
                    await lease.assert_held(connection)


async def test_second_process__the_first_is_frozen__waits_for_its_lease_to_run_out(
    guard_database: GuardDatabase,
) -> None:
    """F46, F78: a frozen process keeps its session; only time takes its lease away."""
    url = SecretStr(guard_database.database.url(user=ROLE, driver="postgresql"))
    clock = SystemClock()
    async with AsyncExitStack() as first:
        brief = settings(database_url=url, lease_wait_seconds=20, lease_seconds=1)
        await open_database(first, brief, clock)
        async with AsyncExitStack() as second:
            _, taken = await open_database(second, brief, clock)
            assert taken.fence == 2


async def test_origin__of_this_database__is_told_by_postgresql_and_append_only(
    guard_database: GuardDatabase,
) -> None:
    """F47: cluster, timeline and database; the runtime role can not take a wait back."""
    opened = await guard_database.open()
    world = World(store=opened.store)
    await world.funded()
    async with opened.store.read() as books:
        identity = await books.identity()
        origin = await books.origin()
    cluster, timeline, database = identity.split("/")
    assert (int(cluster) > 0, timeline, int(database) > 0) == (True, "00000001", True)
    assert origin is not None
    assert (origin.identity, origin.signing_from) == (f"{identity}/", 0)
    async with opened.store.read() as books:
        assert await books.identity() == identity
    with pytest.raises(Exception, match="permission denied"):
        async with opened.database.transaction() as connection:
            await connection.execute(text("UPDATE origin SET signing_from = 0"))

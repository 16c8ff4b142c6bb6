"""One writer at a time, by the database's time, whatever the processes believe."""

import asyncio

import pytest
from sqlalchemy import text

from xstock_runtime.clock import SystemClock
from xstock_runtime.database import Database, insert_many
from xstock_runtime.errors import Fatal
from xstock_runtime.health import Progress
from xstock_runtime.lease import AdvisoryLease, LeaseSettings


def lease(holder: str, ttl_seconds: float = 10) -> AdvisoryLease:
    return AdvisoryLease(LeaseSettings("writer", holder, ttl_seconds))


async def write(database: Database, mine: AdvisoryLease, entry: str) -> None:
    async with database.transaction() as connection:
        await mine.assert_held(connection)
        await insert_many(connection, "journal", {"text": ("text", [entry])})


async def journal(database: Database) -> list[str]:
    async with database.transaction() as connection:
        return list(await connection.scalars(text("SELECT text FROM journal ORDER BY id")))


async def test_lease__held__is_refused_to_the_second_until_released(database: Database) -> None:
    first, second = lease("a"), lease("b")
    assert await database.run(first.acquire) == 1
    assert await database.run(second.acquire) is None
    await database.run(first.renew)
    await database.run(first.release)
    assert await database.run(second.acquire) == 2


async def test_lease__sixteen_ask_at_once__one_gets_it(database: Database) -> None:
    fences = await asyncio.gather(*(database.run(lease(f"{n}").acquire) for n in range(16)))
    assert [fence for fence in fences if fence is not None] == [1]


async def test_zombie__wakes_after_its_lease_ran_out__writes_nothing(database: Database) -> None:
    """F77: expiry is the database's time; the sleeper's own clock has no say."""
    sleeper, successor = lease("a", 0.2), lease("b")
    await database.run(sleeper.acquire)
    await write(database, sleeper, "by a")
    await asyncio.sleep(0.3)
    with pytest.raises(Fatal, match="FENCED"):
        await write(database, sleeper, "by a, expired")
    assert await database.run(successor.acquire) == 2
    with pytest.raises(Fatal, match="FENCED"):
        await write(database, sleeper, "by a, superseded")
    with pytest.raises(Fatal, match="FENCED"):
        await database.run(sleeper.renew)
    await write(database, successor, "by b")
    assert await journal(database) == ["by a", "by b"]


async def test_zombie__without_the_check_in_its_transaction__writes_beside_its_successor(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defence removed: two writers."""

    async def believed(self: AdvisoryLease, connection: object) -> int:
        return 1

    sleeper, successor = lease("a", 0.1), lease("b")
    await database.run(sleeper.acquire)
    await asyncio.sleep(0.2)
    await database.run(successor.acquire)
    monkeypatch.setattr(AdvisoryLease, "assert_held", believed)
    await write(database, sleeper, "by a")
    await write(database, successor, "by b")
    assert await journal(database) == ["by a", "by b"]


async def test_takeover__while_the_writer_is_in_its_transaction__waits_for_its_end(
    database: Database,
) -> None:
    writer, successor = lease("a", 0.2), lease("b")
    await database.run(writer.acquire)
    async with database.transaction() as connection:
        await writer.assert_held(connection)
        await asyncio.sleep(0.3)
        takeover = asyncio.create_task(database.run(successor.acquire))
        await asyncio.sleep(0.2)
        assert not takeover.done()
        await insert_many(connection, "journal", {"text": ("text", ["by a, in time"])})
    assert await takeover == 2
    assert await journal(database) == ["by a, in time"]


async def test_fence__every_change_of_hands__grows(database: Database) -> None:
    fences = []
    for n in range(4):
        holder = lease(f"{n}")
        fences.append(await database.run(holder.acquire))
        await database.run(holder.release)
    assert fences == [1, 2, 3, 4]


async def test_keep__renews_until_another_took_it__then_stops_the_process(
    database: Database,
) -> None:
    holder = lease("a", 0.3)
    await database.run(holder.acquire)
    keeping = asyncio.create_task(holder.keep(database, SystemClock()))
    await asyncio.sleep(0.8)
    await write(database, holder, "still held after many times its life")
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE lease SET holder = 'b', fence = fence + 1"))
    with pytest.raises(Fatal, match="FENCED"):
        await asyncio.wait_for(keeping, 2)


async def test_standby__is_not_ready_until_it_takes_over_within_the_lease(
    database: Database,
) -> None:
    progress = Progress(SystemClock())
    first, second = lease("a", 0.5), lease("b", 0.5)
    await database.run(first.acquire)
    waiting = asyncio.create_task(second.wait_until_acquired(database, SystemClock(), progress))
    await asyncio.sleep(0.2)
    assert "standing by" in progress.check("lease").reason
    assert not progress.ready()
    assert await asyncio.wait_for(waiting, 3) == 2
    assert progress.ready()

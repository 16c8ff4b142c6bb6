"""A guard killed -9 between reserve, sign and post, as a process of its own on PostgreSQL.

Whatever it had reached, its successor finds whole groups or nothing, asks everything again, and
ends in the same books: nothing is reserved, posted or signed twice, and the journal is unbroken.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.audit import journals
from tests.audit.test_verify_journal import checker
from tests.integration.supply_guard import killed
from tests.integration.supply_guard.conftest import ROLE, GuardDatabase
from tests.services.supply_guard.world import ASSET, World
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.prove import ledger_hash

__all__ = ["checker"]
ROOT = Path(__file__).parents[3]


async def doomed(guard: GuardDatabase, point: str) -> int:
    """The process's exit status: -9 if it reached the point."""
    url = guard.database.url(user=ROLE, driver="postgresql")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", killed.__name__, url, point),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode in (0, -9), said.decode()[-2000:]
    return int(process.returncode)


async def untouched() -> tuple[bytes, object]:
    """The ledger's hash and the books of a guard that nobody killed."""
    world = World()
    message = await killed.chains_only(world)
    await killed.guard_only(world, message, lambda _: None)
    await killed.close(world, message, lambda _: None)
    books = (await read_books(world.desk, [ASSET])).assets[0]
    return (await ledger_hash(world.desk)).digest, replace(books, chains=())


async def successor(guard: GuardDatabase) -> World:
    """The next process of this guard, which does everything again."""
    world = World()
    message = await killed.chains_only(world)
    opened = await guard.open("successor", lease=False)
    async with opened.database.transaction() as connection:
        await connection.execute(text("UPDATE lease SET expires = clock_timestamp()"))
    await opened.database.close()
    guard.opened.remove(opened)
    world.store = (await guard.open("successor")).store
    world.desk = world.new_desk()
    if await closed_already(guard, world):
        await world.release([message])
        world.mine()
        await killed.guard_only(world, message, lambda _: None)
        await world.scan()
        return world
    await killed.guard_only(world, message, lambda _: None)
    await killed.close(world, message, lambda _: None)
    return world


async def closed_already(guard: GuardDatabase, world: World) -> bool:
    """Whether the dead process had read blocks that this one's chains have not made yet."""
    async with guard.opened[-1].database.transaction() as connection:
        rows = (await connection.execute(text("SELECT chain, through_number FROM scan"))).all()
    heads = {int(domain): chain.head.number for domain, chain in world.chains.items()}
    return any(row.through_number > heads[row.chain] for row in rows)


@pytest.mark.parametrize("point", killed.POINTS)
async def test_guard__killed_at_any_step__ends_in_the_same_books_with_nothing_doubled(
    guard_database: GuardDatabase, tmp_path: Path, checker: object, point: str
) -> None:
    """F46, F78: killed -9 between reserve, sign and post; the successor doubles nothing."""
    assert await doomed(guard_database, point) == -9
    world = await successor(guard_database)
    digest, books = await untouched()
    assert (await ledger_hash(world.desk)).digest == digest
    after = (await read_books(world.desk, [ASSET])).assets[0]
    assert replace(after, chains=()) == books
    async with guard_database.opened[-1].database.transaction() as connection:
        permits = await connection.scalar(text("SELECT count(*) FROM permit"))
        orders = await connection.scalar(
            text("SELECT count(*) FROM ledger_entry WHERE kind = 'ISSUE_RESERVE'")
        )
    assert permits <= 1
    assert orders == 2
    assert await world.halts() == []
    journal = await journals.export(world, tmp_path / "journal.jsonl")
    assert checker.main([str(journal)]) == checker.OK  # type: ignore[attr-defined]

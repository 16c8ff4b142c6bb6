"""A disk that is full or fails, and a failover that lost what was acknowledged.

The guard has servers of its own here, whose files and processes the test may touch.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from tests.engines import Database as OneDatabase
from tests.integration.supply_guard.conftest import GuardDatabase, prepare
from tests.services.supply_guard.world import ASSET, SHARE, World
from xstock_core.signing import PERMIT_SECONDS_MAX
from xstock_devnet.engines.postgres import PostgresServer
from xstock_runtime.errors import Ambiguous, Transient
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.origin import begin
from xstock_supply_guard.handlers.prove import ledger_hash
from xstock_supply_guard.model import SubmittedClaim

NAME = "guard"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    """A server of the test's own, with the guard's database ready."""
    made = PostgresServer(tmp_path / "primary", durable=True)
    await made.start()
    try:
        await made.create_database(NAME)
        await prepare(OneDatabase(made, NAME))
        yield made
    finally:
        await made.remove()


def guard_on(server: PostgresServer) -> GuardDatabase:
    """The guard's database on this server."""
    return GuardDatabase(OneDatabase(server, NAME), [])


async def closed(guard: GuardDatabase) -> None:
    """No session of the guard is left."""
    for opened in guard.opened:
        await opened.database.close()
    guard.opened.clear()


def next_segments(server: PostgresServer) -> list[Path]:
    """Where the write-ahead log would go on; the first segment of a small server is its last."""
    folder = server.folder / "data" / "pg_wal"
    last = max(int(one.name, 16) for one in folder.iterdir() if len(one.name) == 24)
    return [folder / f"{number:024X}" for number in range(last + 1, last + 9)]


async def fail_disk(server: PostgresServer) -> list[Path]:
    """No further segment of the log can be made: what a full or failing disk comes to."""
    blocked = next_segments(server)
    for path in blocked:
        path.mkdir()
    with contextlib.suppress(asyncpg.PostgresError, OSError):
        for _ in range(8):
            await server.execute("SELECT pg_switch_wal()")
            await server.execute("SELECT txid_current()")
    return blocked


async def mend_disk(server: PostgresServer, blocked: list[Path]) -> None:
    """There is room again; what was running is gone."""
    await server.kill9()
    for path in blocked:
        path.rmdir()
    await server.start()


async def test_disk__full_while_signing__no_signature_leaves_and_nothing_is_half_done(
    server: PostgresServer,
) -> None:
    """F70: the guard fails closed; with room again it goes on, and nothing was doubled."""
    guard = guard_on(server)
    world = World(store=(await guard.open()).store)
    await world.funded()
    message = await world.granted()
    before = await ledger_hash(world.desk)
    blocked = await fail_disk(server)
    world.burn(2 * SHARE)
    world.mine()
    for attempt in (lambda: world.sign(message), world.scan, lambda: world.sign(message)):
        with pytest.raises((Transient, Ambiguous)):
            await attempt()
    await closed(guard)
    await mend_disk(server, blocked)
    world.store = (await guard.open("first")).store
    world.desk = world.new_desk()
    await begin(world.desk)
    assert await world.halts() == []
    assert (await ledger_hash(world.desk)).digest == before.digest
    async with guard.opened[-1].database.transaction() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM permit")) == 0
    await world.scan()
    assert (await world.sign(message)).signature
    assert (await read_books(world.desk, [ASSET])).assets[0].in_flight == 3 * SHARE
    await closed(guard)


async def standby_of(server: PostgresServer, folder: Path) -> PostgresServer:
    """A replica as far behind as the primary is now; it follows no further."""
    await server.stop()
    await asyncio.to_thread(
        subprocess.run, ["cp", "-a", str(server.folder), str(folder)], check=True
    )
    await server.start()
    return PostgresServer(folder, durable=True)


async def promoted(replica: PostgresServer) -> None:
    """Make the replica the primary: a new timeline begins."""
    (replica.folder / "data" / "standby.signal").touch()
    await replica.start()
    await replica.execute("SELECT pg_promote()")


async def test_failover__to_a_laggard_that_lost_acknowledged_permits__signs_nothing_for_a_while(
    server: PostgresServer, tmp_path: Path
) -> None:
    """F68, F67: kill -9 after the ack; the new timeline is noticed and the chains tell the rest."""
    guard = guard_on(server)
    world = World(store=(await guard.open()).store)
    await world.funded()
    await closed(guard)
    replica = await standby_of(server, tmp_path / "replica")
    world.store = (await guard.open("first")).store
    world.desk = world.new_desk()
    await begin(world.desk)
    await world.scan()
    message = await world.granted()
    assert (await world.sign(message)).signature
    lost = await ledger_hash(world.desk)
    await closed(guard)
    await server.kill9()
    await promoted(replica)
    after = guard_on(replica)
    try:
        world.store = (await after.open("first")).store
        world.desk = world.new_desk()
        await begin(world.desk)
        await world.scan()
        assert (await ledger_hash(world.desk)).digest == lost.digest
        await world.review(SubmittedClaim(message))
        refused = await world.sign(message)
        assert (refused.signature, refused.refusals[0].reason) == (b"", "SIGNING_DISABLED")
        await world.clock.advance(PERMIT_SECONDS_MAX + 60)
        world.mine(4)
        await world.scan()
        await world.attest(1000 * SHARE, sequence=2)
        assert (await world.sign(message)).signature
        await closed(after)
    finally:
        await replica.remove()

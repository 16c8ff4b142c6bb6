"""Partial partitions between a guard and its own database, or Kafka, each direction on its own.

A TCP link that loses what is sent, what is answered, or refuses at all stands between the guard
and PostgreSQL. The chains are fakes in virtual time, the database and its timeouts are real. What
the guard could not commit it has not said; what it has committed without hearing of it, it says
again; and the books end as those of a guard on a whole link.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from sqlalchemy import make_url, text

from tests.integration.supply_guard.conftest import ROLE, GuardDatabase
from tests.services.supply_guard.faults import GRANTED
from tests.services.supply_guard.world import ASSET, DEPLOYMENT, SHARE, World, id_of
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.errors import Ambiguous, Transient
from xstock_runtime.kafka.records import Record
from xstock_runtime.lease import AdvisoryLease, LeaseSettings
from xstock_runtime.outbox import OutboxPump
from xstock_supply_guard.adapters.postgres import PostgresGuardStore
from xstock_supply_guard.handlers.books import read_books

T = TypeVar("T")
DIRECTIONS = ("statements lost", "answers lost", "refused")


@dataclass
class Link:
    """A TCP relay to PostgreSQL that can be cut one way, both ways or at the door."""

    host: str
    port: int
    cut: str = ""
    own_port: int = 0
    pairs: list[asyncio.StreamWriter] = field(default_factory=list)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the guard."""
        if self.cut == "refused":
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
        self.pairs += [writer, up_writer]
        for source, sink, lost in (
            (reader, up_writer, "statements lost"),
            (up_reader, writer, "answers lost"),
        ):
            task = asyncio.ensure_future(self._pass(source, sink, lost))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: str
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if self.cut != lost:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    def set(self, cut: str) -> None:
        """Cut the link this way; "" heals it for new connections, the old ones are dead."""
        self.cut = cut
        if cut in ("refused", ""):
            for writer in self.pairs:
                writer.transport.abort()
            self.pairs.clear()


@asynccontextmanager
async def linked(host: str, port: int) -> AsyncIterator[Link]:
    """A link, gone afterwards."""
    link = Link(host, port)
    server = await asyncio.start_server(link.serve, "127.0.0.1", 0)
    link.own_port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        link.set("refused")
        server.close()
        await asyncio.gather(*link.tasks, return_exceptions=True)


@dataclass
class Scene:
    """A guard behind a link, and what is behind it."""

    world: World
    link: Link
    database: Database


@pytest.fixture
async def scene(guard_database: GuardDatabase) -> AsyncIterator[Scene]:
    """A funded guard whose database lies behind the link."""
    address = make_url(guard_database.database.url(user=ROLE, driver="postgresql"))
    assert address.host is not None
    assert address.port is not None
    async with linked(address.host, address.port) as link:
        through = address.set(host="127.0.0.1", port=link.own_port)
        settings = DatabaseSettings(
            through.render_as_string(hide_password=False),
            pool_wait_seconds=1,
            connect_seconds=1,
            statement_seconds=1,
        )
        database = Database(settings, SystemClock(), SystemRandomness())
        await database.open()
        lease = AdvisoryLease(LeaseSettings("guard/guard-1", "first", 600.0))
        await database.run(lease.acquire)
        store = PostgresGuardStore(
            database, guard_id="guard-1", deployment_id=DEPLOYMENT, lease=lease
        )
        world = World(store=store)
        await world.funded(100 * SHARE, held=150 * SHARE)
        yield Scene(world, link, database)
        link.set("")
        await database.close()


async def fails(work: Awaitable[object]) -> None:
    """The guard says that it does not know; it never says yes."""
    with pytest.raises((Transient, Ambiguous)):
        async with asyncio.timeout(30):
            await work


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """The answer once the pool has thrown away its dead connections."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await work()
            except (Transient, Ambiguous):
                await asyncio.sleep(0.1)


async def books_of(world: World) -> tuple[int, int, int, int]:
    """Exposure, in flight, open issuance and the last order's number."""
    book = (await read_books(world.desk, [ASSET])).assets[0]
    return book.exposure, book.in_flight, book.open_issuance, book.last_order_number


async def control() -> tuple[int, int, int, int]:
    """The same story on a guard that nobody cut off, in memory."""
    world = World()
    await world.funded(100 * SHARE, held=150 * SHARE)
    await world.granted()
    assert await world.outcome(world.order(2, 30 * SHARE)) == GRANTED
    return await books_of(world)


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_guard__cut_off_from_its_database__grants_and_signs_nothing_and_heals(
    scene: Scene, direction: str
) -> None:
    """F79, F69: neither a page, a grant, a reservation nor a signature without a commit."""
    world, link = scene.world, scene.link
    message = await world.granted()
    order = world.order(2, 30 * SHARE)
    late = world.burn()
    world.mine()
    link.set(direction)
    await fails(world.scan())
    await fails(world.review(order))
    await fails(world.sign(message))
    await fails(world.review(order))
    link.set("")
    await patiently(world.scan)
    (ruling,) = await patiently(lambda: world.review(order))
    assert ruling.outcome.value == "GRANTED"
    exposure, in_flight, open_issuance, last = await patiently(lambda: books_of(world))
    wanted = await control()
    assert (exposure, in_flight - SHARE, open_issuance, last) == wanted
    assert (await world.sign(message)).signature
    assert await world.outcome(world.claim(late)) == GRANTED
    assert await world.halts() == []


async def test_guard__its_commits_answers_are_lost__reserves_once_and_gives_the_same_permit(
    scene: Scene,
) -> None:
    """F69, F73, F79: what was committed unheard is found again, never done again."""
    world, link = scene.world, scene.link
    message = await world.granted()
    request = world.request([message])
    order = world.order(2, 30 * SHARE)
    original = world.store.write

    @asynccontextmanager
    async def deaf() -> AsyncIterator[object]:
        async with original() as unit:
            yield unit
            link.set("answers lost")

    for work in (lambda: world.review(order), lambda: world.sign(message)):
        world.store.write = deaf  # type: ignore[method-assign,assignment]
        await fails(work())
        link.set("")
        world.store.write = original  # type: ignore[method-assign]
        await patiently(lambda: books_of(world))
    (ruling,) = await patiently(lambda: world.review(order))
    assert ruling.outcome.value == "GRANTED"
    first = await patiently(lambda: world.sign(message))
    assert first.signature
    assert world.request([message]) == request
    async with scene.database.transaction() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM permit")) == 1
        sql = text("SELECT count(*) FROM ledger_entry WHERE kind = 'ISSUE_RESERVE'")
        assert await connection.scalar(sql) == 2
    exposure, _, open_issuance, _ = await books_of(world)
    assert (exposure, open_issuance) == (130 * SHARE, 30 * SHARE)


@dataclass
class Bus:
    """Kafka behind a link of its own: cut before it took the records, or before it said so."""

    cut: str = ""
    taken: list[Record] = field(default_factory=list)

    async def publish(self, records: Sequence[Record]) -> None:
        """What BusProducer does, or Transient."""
        if self.cut == "records lost":
            raise Transient("BUS_UNREACHABLE", "the broker does not answer")
        self.taken += records
        if self.cut == "acks lost":
            raise Transient("BUS_UNREACHABLE", "the broker did not acknowledge")


@pytest.mark.parametrize("direction", ["records lost", "acks lost"])
async def test_guard__cut_off_from_kafka__judges_and_signs_and_tells_it_all_later(
    scene: Scene, direction: str
) -> None:
    """F79, INV-14: the bus carries no truth; nothing waits for it and no verdict is lost."""
    world, bus = scene.world, Bus(direction)
    pump = OutboxPump(scene.database, bus, SystemClock())  # type: ignore[arg-type]
    messages = []
    for _ in range(3):
        messages.append(await world.granted())
        with pytest.raises(Transient, match="BUS_UNREACHABLE"):
            await pump.pump_page()
    assert (await world.sign(*messages)).signature
    bus.cut = ""
    while await pump.pump_page():
        pass
    told = {one.key for one in bus.taken}
    assert told >= {bytes(id_of(message)) for message in messages}
    async with scene.database.transaction() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM outbox")) == 0


async def test_guard__cut_off_from_its_database_and_a_chain__heals_in_either_order(
    scene: Scene,
) -> None:
    """F79: two links down at once, the chain back first and the database back first."""
    world, link = scene.world, scene.link
    source = world.nodes[next(iter(world.chains))]
    for chain_first in (True, False):
        tx = world.burn()
        world.mine()
        link.set("answers lost")
        for node in source:
            node.faults.stopped = True
        await fails(world.scan())
        if chain_first:
            for node in source:
                node.faults.stopped = False
            await fails(world.scan())
            link.set("")
        else:
            link.set("")
            await patiently(lambda: books_of(world))
            await fails(world.scan())
            for node in source:
                node.faults.stopped = False
        await patiently(world.scan)
        assert await world.outcome(world.claim(tx)) == GRANTED
    exposure, in_flight, _, _ = await books_of(world)
    assert (exposure, in_flight) == (100 * SHARE, 2 * SHARE)

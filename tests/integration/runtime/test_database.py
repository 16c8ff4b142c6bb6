"""PostgreSQL taken away, demoted, cut in COMMIT and fought over."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.engines import Database as OwnDatabase
from tests.integration.runtime.waiting import until
from xstock_devnet.engines.postgres import PostgresServer
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import (
    Database,
    DatabaseSettings,
    among,
    end_to_end,
    insert_many,
    notify,
    statement,
)
from xstock_runtime.errors import Ambiguous, Fatal, Transient
from xstock_runtime.health import Progress
from xstock_runtime.inbox import Inbox
from xstock_runtime.retry import RetryPolicy


def make(url: str, retry: RetryPolicy | None = None, **settings: float) -> Database:
    return Database(
        DatabaseSettings(url, **settings),  # type: ignore[arg-type]
        SystemClock(),
        SystemRandomness(),
        retry,
    )


async def add_journal(database: Database, entry: str) -> None:
    async with database.transaction() as connection:
        await insert_many(connection, "journal", {"text": ("text", [entry])})


async def journal(database: Database) -> list[str]:
    async with database.transaction() as connection:
        return list(await connection.scalars(text("SELECT text FROM journal ORDER BY id")))


async def test_transaction__leaves_normally_or_raises__commits_or_rolls_back(
    database: Database,
) -> None:
    await add_journal(database, "kept")

    async def fails() -> None:
        async with database.transaction() as connection:
            await insert_many(connection, "journal", {"text": ("text", ["lost"])})
            raise KeyError("the body's own failure")

    with pytest.raises(KeyError):
        await fails()
    assert await journal(database) == ["kept"]


async def test_insert_many__a_page__is_one_statement_with_conflicts_and_returning(
    database: Database,
) -> None:
    async with database.transaction() as connection:
        columns = {"id": ("int", [1, 2, 3]), "used": ("bigint", [10, 20, 30])}
        rows = await insert_many(connection, "account", columns, returning="id")
        assert [row.id for row in rows] == [1, 2, 3]
        again = await insert_many(
            connection,
            "account",
            {"id": ("int", [3, 4]), "used": ("bigint", [0, 40])},
            on_conflict="DO NOTHING",
            returning="id",
        )
        assert [row.id for row in again] == [4]
        assert await insert_many(connection, "account", {"id": ("int", [])}) == []
        with pytest.raises(ValueError, match="differ in length"):
            await insert_many(connection, "account", {"id": ("int", [1]), "used": ("bigint", [])})
        with pytest.raises(ValueError, match="not a plain SQL type"):
            await insert_many(connection, "account", {"id": ("int); DROP TABLE x; --", [1])})


async def test_insert_many__columns_that_are_the_same_in_every_row__fill_every_row(
    database: Database,
) -> None:
    async with database.transaction() as connection:
        for ids, used in (([1, 2, 3], [7, 7, 7]), ([4], [7]), ([5, 6], [7, 8])):
            columns = {"id": ("int", ids), "used": ("bigint", used)}
            found = await insert_many(connection, "account", columns, returning="id, used")
            assert [(row.id, row.used) for row in found] == list(zip(ids, used, strict=True))


@pytest.mark.parametrize(
    "found",
    [
        [b"\x01" * 32, b"\x00" * 32, b"\x02" + b"\x00" * 31],
        [b"a", b"bb", b""],
        [b"a", None, b"b"],
        [b"", b"", b""],
        [None, None, None],
        [b"ab", b"ab", b"ab"],
        [b"a"],
    ],
)
async def test_insert_many__bytes_of_one_width_or_many_or_none__come_back_as_they_were(
    database: Database, found: list[bytes | None]
) -> None:
    """Bytes of one width travel as one value; alone in a page, and beside an array."""
    places = list(range(len(found)))
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TEMP TABLE kept (value bytea, place int)"))
        pages: list[dict[str, tuple[str, list[Any]]]] = [
            {"value": ("bytea", found)},
            {"value": ("bytea", found), "place": ("int", places)},
            {"place": ("int", places), "value": ("bytea", found)},
        ]
        for columns in pages:
            rows = await insert_many(connection, "kept", columns, returning="value, place")
            assert [row.value for row in rows] == found
            if "place" in columns:
                assert [row.place for row in rows] == places


async def test_insert_many__a_long_page_of_wide_bytes__keeps_every_row(database: Database) -> None:
    rows = 20_000
    keys = [number.to_bytes(4, "big") * 64 for number in range(rows)]
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TEMP TABLE kept (value bytea)"))
        await insert_many(connection, "kept", {"value": ("bytea", keys)})
        told = await connection.scalar(text("SELECT array_agg(value) FROM kept"))
    assert told == keys


async def test_among__identifiers_end_to_end__finds_each_of_them_and_no_other(
    database: Database,
) -> None:
    kept = [bytes((number,)) * 32 for number in range(5)]
    # One that spans two of those asked for, and would be found if they were cut wrongly.
    kept.append(kept[1][:16] + kept[3][:16])
    sql = among("SELECT value FROM kept WHERE value", "ids")
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TEMP TABLE kept (value bytea)"))
        await insert_many(connection, "kept", {"value": ("bytea", kept)})
        for asked in ([], [kept[1]], [kept[1], kept[3], b"\x09" * 32], kept[:5]):
            found = await connection.scalars(statement(sql), {"ids": end_to_end(asked)})
            assert sorted(found) == [one for one in asked if one in kept]


def test_end_to_end__an_identifier_of_another_size__is_refused() -> None:
    for size in (0, 31, 33, 64):
        with pytest.raises(ValueError, match=rf"has 32 bytes, not \[{size}\]"):
            end_to_end([b"\x01" * size])
    with pytest.raises(ValueError, match=r"not \[31, 33\]"):
        end_to_end([b"\x01" * 31, b"\x01" * 33])
    with pytest.raises(ValueError, match="identifier"):
        among("SELECT 1 WHERE id", "ids; DROP TABLE x")


async def test_constraint__violated__is_an_answer_not_an_outage(database: Database) -> None:
    async with database.transaction() as connection:
        await insert_many(connection, "account", {"id": ("int", [1]), "used": ("bigint", [0])})
    with pytest.raises(IntegrityError):
        async with database.transaction() as connection:
            await insert_many(connection, "account", {"id": ("int", [1]), "used": ("bigint", [0])})


async def test_session_settings__of_every_pooled_connection__are_the_promised_ones(
    database: Database,
) -> None:
    async with database.transaction() as connection:
        row = (
            await connection.execute(
                text(
                    "SELECT current_setting('synchronous_commit'), "
                    "current_setting('statement_timeout'), current_setting('lock_timeout'), "
                    "current_setting('plan_cache_mode')"
                )
            )
        ).one()
    assert tuple(row) == ("on", "10s", "3s", "force_custom_plan")


@pytest.mark.parametrize(("defence", "whole"), [(True, 0), (False, 1)])
async def test_among__table_grown_since_it_was_analysed__is_not_read_whole(
    database: Database, defence: bool, whole: int
) -> None:
    """A plan kept from when the table was short reads it row by row; taken out, it does."""
    sql = statement(among("SELECT id FROM grown WHERE id", "ids"))

    def ids(first: int, last: int) -> list[bytes]:
        return [sha256(number.to_bytes(4, "big")).digest() for number in range(first, last)]

    async with database.transaction() as connection:

        async def look_up() -> int:
            """How often the table was read whole for a page of identifiers."""
            read = text("SELECT seq_scan FROM pg_stat_xact_all_tables WHERE relname = 'grown'")
            before = await connection.scalar(read)
            found = await connection.scalars(sql, {"ids": end_to_end(ids(0, 2_000))})
            assert len(found.all()) == min(2_000, rows)
            return int(await connection.scalar(read) or 0) - int(before or 0)

        if not defence:
            await connection.execute(text("SET LOCAL plan_cache_mode = auto"))
        # A temporary table: nobody analyses it meanwhile.
        await connection.execute(text("CREATE TEMP TABLE grown (id bytea PRIMARY KEY)"))
        rows = 60
        await insert_many(connection, "grown", {"id": ("bytea", ids(0, rows))})
        await connection.execute(text("ANALYZE grown"))
        for _ in range(10):
            await look_up()
        await insert_many(connection, "grown", {"id": ("bytea", ids(rows, 20_000))})
        rows = 20_000
        assert await look_up() == whole


async def test_lock__held_by_another__is_transient_after_the_limit(database: Database) -> None:

    async def lock() -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            await connection.execute(text("SELECT used FROM account WHERE id = 1 FOR UPDATE"))

    async with database.transaction() as holder:
        await insert_many(holder, "account", {"id": ("int", [1]), "used": ("bigint", [0])})
    async with database.transaction() as holder:
        await holder.execute(text("SELECT used FROM account WHERE id = 1 FOR UPDATE"))
        with pytest.raises(Transient, match="LOCK_TIMEOUT"):
            await lock()


async def test_writers__sixteen_on_one_row_serializable__all_succeed_with_bounded_retry(
    database: Database,
) -> None:
    """F72: conflicts are retried with jitter, and no increment is lost."""
    async with database.transaction() as connection:
        await insert_many(connection, "account", {"id": ("int", [1]), "used": ("bigint", [0])})

    async def increment(connection: AsyncConnection) -> None:
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
        used = await connection.scalar(text("SELECT used FROM account WHERE id = 1"))
        assert used is not None
        await connection.execute(text("UPDATE account SET used = :n WHERE id = 1"), {"n": used + 1})

    patient = RetryPolicy(initial_seconds=0.01, max_seconds=0.3, attempts=40, jitter=1)
    database._retry = patient

    async def writer() -> None:
        for _ in range(5):
            await database.run(increment)

    await asyncio.gather(*(writer() for _ in range(16)))
    async with database.transaction() as connection:
        assert await connection.scalar(text("SELECT used FROM account WHERE id = 1")) == 80


async def test_writers__without_the_retry__some_are_turned_away(database: Database) -> None:
    """F72, defence removed: one attempt only, and the storm shows."""
    async with database.transaction() as connection:
        await insert_many(connection, "account", {"id": ("int", [1]), "used": ("bigint", [0])})

    async def increment() -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
            await connection.execute(text("SELECT used FROM account"))
            await asyncio.sleep(0.05)
            await connection.execute(text("UPDATE account SET used = used + 1 WHERE id = 1"))

    outcomes = await asyncio.gather(*(increment() for _ in range(16)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Transient)]
    assert refused
    assert {error.code for error in refused} <= {"SERIALIZATION_CONFLICT", "DEADLOCK"}


async def test_listen__notified_after_commit__yields_payloads_after_a_first_look(
    database: Database,
) -> None:
    heard: list[str] = []
    listening = database.listen("wake")

    async def listen() -> None:
        async for payload in listening:
            heard.append(payload)

    task = asyncio.create_task(listen())
    while heard != [""]:
        await asyncio.sleep(0.01)
    async with database.transaction() as connection:
        await notify(connection, "wake", "one")
        await asyncio.sleep(0.05)
        assert heard == [""]
    async with asyncio.timeout(5):
        while heard != ["", "one"]:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class CommitCutter:
    """A TCP relay that cuts the link just after passing a COMMIT on, before its answer (F69)."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self.armed = False
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CommitCutter"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._to)
        try:
            await asyncio.gather(
                self._pass(reader, up_writer, watch=True), self._pass(up_reader, writer)
            )
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            up_writer.close()
            writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, watch: bool = False
    ) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            if watch and self.armed and b"COMMIT" in data:
                self.armed = False
                raise ConnectionResetError
        writer.close()


async def test_commit__link_cut_before_its_answer__is_ambiguous_and_read_back_has_one_effect(
    migrated: OwnDatabase, database: Database
) -> None:
    """F69: the outcome is unknown; asking again by request id makes no second reservation."""
    address = make_url(migrated.url())
    assert address.host is not None
    assert address.port is not None
    async with CommitCutter(address.host, address.port).running() as cutter:
        through = make(
            address.set(host="127.0.0.1", port=cutter.port).render_as_string(hide_password=False)
        )
        await through.open()
        request_id = uuid.uuid4().bytes

        async def reserve(connection: AsyncConnection) -> bool:
            if not await Inbox("reserve").filter_new(connection, [request_id]):
                return False
            await insert_many(connection, "journal", {"text": ("text", ["reserved"])})
            return True

        cutter.armed = True
        with pytest.raises(Ambiguous, match="COMMIT_UNKNOWN"):
            await through.run(reserve)
        async with asyncio.timeout(5):
            while not await journal(database):
                await asyncio.sleep(0.01)  # the server may still be committing
        assert await through.run(reserve) is False
        assert await journal(database) == ["reserved"]
        await through.close()


async def test_commit__repeated_blindly_without_the_request_id__reserves_twice(
    migrated: OwnDatabase, database: Database
) -> None:
    """F69, defence removed: this is what a blind retry does."""
    address = make_url(migrated.url())
    assert address.host is not None
    assert address.port is not None
    async with CommitCutter(address.host, address.port).running() as cutter:
        through = make(
            address.set(host="127.0.0.1", port=cutter.port).render_as_string(hide_password=False)
        )
        await through.open()
        cutter.armed = True
        with pytest.raises(Ambiguous):
            await add_journal(through, "reserved")
        async with asyncio.timeout(5):
            while not await journal(database):
                await asyncio.sleep(0.01)
        await add_journal(through, "reserved")
        assert await journal(database) == ["reserved", "reserved"]
        await through.close()


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    """A server whose data folder this test may touch, so embedded always."""
    server = PostgresServer(tmp_path / "own")
    await server.start()
    try:
        await server.execute(
            "CREATE TABLE journal (id bigint GENERATED ALWAYS AS IDENTITY, text text)"
        )
        yield server
    finally:
        await server.remove()


async def demote(server: PostgresServer) -> None:
    await server.stop()
    (server.folder / "data" / "standby.signal").touch()
    await server.start()


async def promote(server: PostgresServer) -> None:
    await server.stop()
    (server.folder / "data" / "standby.signal").unlink()
    await server.start()


async def test_start__on_a_standby__is_refused(own_server: PostgresServer) -> None:
    """F71: a replica's caps may be older than the primary's; a service does not start on one."""
    await demote(own_server)
    with pytest.raises(Fatal, match="READ_ONLY_SERVER"):
        await make(own_server.url()).open()


async def test_start__on_a_database_that_is_read_only__is_refused(
    own_server: PostgresServer,
) -> None:
    """F71: also when somebody made it so by a setting."""
    await own_server.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    with pytest.raises(Fatal, match="READ_ONLY_SERVER"):
        await make(own_server.url()).open()


async def test_primary__demoted_under_load_then_promoted__writes_again_within_30_seconds(
    own_server: PostgresServer,
) -> None:
    """F67: no pool left on the read-only node; readiness false meanwhile."""
    progress = Progress(SystemClock())
    progress.register("writes", 1.0)
    database = make(own_server.url(), connect_seconds=2)
    await database.open()
    written = failed = 0

    async def writer(number: int) -> None:
        nonlocal written, failed
        while True:
            try:
                await add_journal(database, f"{number}")
            except (Transient, Ambiguous):
                failed += 1
                await asyncio.sleep(0.05)
            else:
                written += 1
                progress.beat("writes")

    tasks = [asyncio.create_task(writer(number)) for number in range(4)]
    try:
        await until(lambda: written > 20)
        assert progress.ready()
        await demote(own_server)
        await until(lambda: failed > 10 and not progress.ready())
        before = written
        await asyncio.sleep(0.3)
        assert written == before
        await promote(own_server)
        began = asyncio.get_running_loop().time()
        await until(lambda: written > before + 20)
        assert asyncio.get_running_loop().time() - began < 30
        assert progress.ready()
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


async def test_session__turned_read_only_while_pooled__is_thrown_away(
    own_server: PostgresServer,
) -> None:
    """F67: 25006 counts as a lost server, not as a statement's failure."""
    database = make(own_server.url(), pool_size=1)
    await database.open()
    async with database.transaction() as connection:
        await connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
    with pytest.raises(Transient, match="SERVER_READ_ONLY"):
        await add_journal(database, "a")
    await add_journal(database, "b")
    assert await journal(database) == ["b"]
    await database.close()


async def test_session__turned_read_only_with_the_pool_kept__fails_for_ever(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F67, defence removed: keep the pool, and every later write fails too."""
    database = make(own_server.url(), pool_size=1)
    await database.open()
    async with database.transaction() as connection:
        await connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))

    async def keep(error: BaseException, *_args: object, **_kwargs: object) -> BaseException:
        return Transient("SERVER_READ_ONLY", str(error))

    monkeypatch.setattr(database, "_typed", keep)
    for _ in range(3):
        with pytest.raises(Transient, match="read-only transaction"):
            await add_journal(database, "a")
    await database.close()


async def test_server__not_there__is_transient(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="DATABASE_UNREACHABLE"):
        await make("postgresql://u:p@127.0.0.1:1/x", connect_seconds=1).open()

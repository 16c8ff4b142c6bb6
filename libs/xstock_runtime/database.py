"""PostgreSQL: short transactions, typed failures, and no faith in whatever node answers.

`Database.transaction()` gives an AsyncConnection; leaving the block commits. Every failure becomes
one of our classes: `Transient` (try the whole transaction again), `Ambiguous` COMMIT_UNKNOWN (the
link died in COMMIT: read back by request id, F69), `Fatal` READ_ONLY_SERVER at the start (F71).
Constraint violations stay SQLAlchemy's IntegrityError: they are answers, not outages. A server
that turned read-only (failover, F67) empties the pool, and new connections are only made to a
server that takes writes. Hot paths are set-based: `insert_many` sends one statement per page.
Never await the network inside a transaction.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import asyncpg
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from xstock_runtime.clock import Clock, Randomness
from xstock_runtime.errors import Ambiguous, Fatal, ServiceError, Transient
from xstock_runtime.logging import get_logger
from xstock_runtime.retry import RetryPolicy, retrying

_log = get_logger("database")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TYPE = re.compile(r"[a-z][a-z0-9 ]*(\(\d+(,\d+)?\))?")
_ANSWER_SECONDS = 2.0
READ_ONLY = "25006"
# https://www.postgresql.org/docs/current/errcodes-appendix.html
TRANSIENT_STATES = {
    "40001": "SERIALIZATION_CONFLICT",
    "40P01": "DEADLOCK",
    "55P03": "LOCK_TIMEOUT",
    "57014": "STATEMENT_TIMEOUT",
    "57P01": "SERVER_SHUTTING_DOWN",
    "57P02": "SERVER_CRASHED",
    "57P03": "SERVER_STARTING",
    "53300": "TOO_MANY_CONNECTIONS",
    "25P03": "TRANSACTION_IDLE_TIMEOUT",
    READ_ONLY: "SERVER_READ_ONLY",
}
_OUTAGES = frozenset({"SERVER_READ_ONLY", "DATABASE_UNREACHABLE", "COMMIT_UNKNOWN"})
T = TypeVar("T")


def identifier(name: str) -> str:
    """`name` if it is a plain lower-case SQL identifier. Raises ValueError otherwise."""
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} is not a lower-case SQL identifier")
    return name


def sqlalchemy_url(url: str) -> URL:
    """`url` for SQLAlchemy's asyncpg driver; plain postgresql:// and postgres:// are welcome."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise Fatal("WEAK_DATABASE_SETTINGS", "database_url must begin with postgresql://")
    return parsed.set(drivername="postgresql+asyncpg")


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """How to reach the database and how long anything there may take."""

    url: str
    application: str = "xstock"
    pool_size: int = 8
    pool_wait_seconds: float = 5.0
    connect_seconds: float = 5.0
    statement_seconds: float = 10.0
    lock_seconds: float = 5.0
    idle_in_transaction_seconds: float = 15.0

    def server_settings(self) -> dict[str, str]:
        """Session settings sent with every connect, so that no pooled session lacks them."""
        return {
            "application_name": self.application,
            "synchronous_commit": "on",
            "statement_timeout": str(int(self.statement_seconds * 1000)),
            "lock_timeout": str(int(self.lock_seconds * 1000)),
            "idle_in_transaction_session_timeout": str(
                int(self.idle_in_transaction_seconds * 1000)
            ),
            "default_transaction_isolation": "read committed",
            "timezone": "UTC",
            "jit": "off",
            # A kept plan stays what was right for the table as it was last analysed: a short one
            # that has grown since would be read whole for every page of identifiers.
            "plan_cache_mode": "force_custom_plan",
        }


class Database:
    """One service's own database: a bounded pool and typed failures."""

    def __init__(
        self,
        settings: DatabaseSettings,
        clock: Clock,
        randomness: Randomness,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._randomness = randomness
        self._retry = retry or RetryPolicy(initial_seconds=0.02, max_seconds=1.0, attempts=8)
        self._url = sqlalchemy_url(settings.url)
        self._engine: AsyncEngine = create_async_engine(
            self._url,
            pool_size=settings.pool_size,
            max_overflow=0,
            pool_timeout=settings.pool_wait_seconds,
            pool_use_lifo=True,
            connect_args={
                "timeout": settings.connect_seconds,
                # Our own bound behind the server's: a dead link cannot answer a timeout.
                "command_timeout": settings.statement_seconds + _ANSWER_SECONDS,
                "server_settings": settings.server_settings(),
                "target_session_attrs": "read-write",
            },
        )

    @property
    def engine(self) -> AsyncEngine:
        """The SQLAlchemy engine, for what this class does not offer."""
        return self._engine

    async def __aenter__(self) -> Database:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Refuse a standby or a server that would lose commits.

        Raises Fatal READ_ONLY_SERVER or WEAK_DATABASE_SETTINGS, Transient if unreachable.
        """
        async with self._read_write_or_fatal() as connection:
            row = (
                await connection.execute(
                    text(
                        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'),"
                        " current_setting('fsync'), current_setting('synchronous_commit')"
                    )
                )
            ).one()
        if row[0] or row[1] == "on":
            raise _read_only(self._url)
        if row[3] == "off":
            raise Fatal(
                "WEAK_DATABASE_SETTINGS",
                f"synchronous_commit is {row[3]!r}; set it to 'on'",
                {"field": "synchronous_commit"},
            )
        if row[2] == "off":
            _log.warning("database_fsync_off", remedy="fsync=on outside tests")

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _read_write_or_fatal(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except Exception as error:
            if any(
                isinstance(each, asyncpg.TargetServerAttributeNotMatched) for each in _chain(error)
            ):
                raise _read_only(self._url) from error
            raise await self._typed(error) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Raises Transient, Ambiguous COMMIT_UNKNOWN, or the body's own exception (a TimeoutError of
        the body counts as the database's: nothing else may be awaited there).
        """
        try:
            connection = await self._engine.connect()
        except Exception as error:
            raise await self._typed(error) from error
        try:
            begun = await connection.begin()
            yield connection
        except (DBAPIError, TimeoutError) as error:
            typed = await self._typed(error, connection)
            if typed is error:
                raise
            raise typed from error
        else:
            try:
                await begun.commit()
            except Exception as error:
                raise await self._typed(error, connection, committing=True) from error
        finally:
            await _give_back(connection)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """The same transaction as an ORM session; flushed before the commit."""
        async with self.transaction() as connection:
            session = AsyncSession(bind=connection, expire_on_commit=False)
            yield session
            await session.flush()
            await session.close()

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """`work` in a transaction, tried again while it is Transient (F72), with jitter.

        An Ambiguous commit is *not* repeated here: only the caller knows how to read back.
        """

        async def once() -> T:
            async with self.transaction() as connection:
                return await work(connection)

        result: T = await retrying(self._retry, self._clock, self._randomness)(once)
        return result

    async def _typed(
        self,
        error: BaseException,
        connection: AsyncConnection | None = None,
        *,
        committing: bool = False,
    ) -> BaseException:
        """Our class for a driver's failure, or the error itself if it is not an outage.

        After an outage neither `connection` nor the pool is used again: every pooled connection
        leads to the same dead or demoted server (F67).
        """
        typed = classify(error, committing=committing)
        if isinstance(typed, Transient | Ambiguous) and typed.code in _OUTAGES:
            if connection is not None:
                await _abandon(connection)
            await self._engine.dispose()
        return typed

    async def connect_raw(self) -> asyncpg.Connection:
        """A connection of its own outside the pool, for LISTEN and session locks.

        Raises Transient DATABASE_UNREACHABLE.
        """
        settings = self._settings.server_settings()
        settings["statement_timeout"] = "0"
        try:
            return await asyncpg.connect(
                self._url.set(drivername="postgresql").render_as_string(hide_password=False),
                timeout=self._settings.connect_seconds,
                server_settings=settings,
                target_session_attrs="read-write",
            )
        except Exception as error:
            raise await self._typed(error) from error

    async def listen(self, channel: str) -> AsyncIterator[str]:
        """Payloads notified on `channel`, for ever.

        An empty payload comes first and after every reconnect: what was notified meanwhile is
        lost, so look at the tables then.
        """
        identifier(channel)
        failures = 0
        while True:
            arrived: asyncio.Queue[str | None] = asyncio.Queue()
            try:
                connection = await self.connect_raw()
                connection.add_termination_listener(lambda _, q=arrived: q.put_nowait(None))
                await connection.add_listener(
                    channel, lambda *args, q=arrived: q.put_nowait(args[3])
                )
            except (Transient, asyncpg.PostgresError, OSError, asyncpg.InterfaceError) as error:
                failures += 1
                _log.warning("database_listen_failed", channel=channel, error=str(error))
                await self._clock.sleep(min(5.0, 0.1 * 2**failures))
                continue
            failures = 0
            try:
                yield ""
                while (payload := await arrived.get()) is not None:
                    yield payload
            finally:
                connection.terminate()


def classify(error: BaseException, *, committing: bool = False) -> BaseException:
    """Our class for a failure of the driver; the error itself if it is no outage.

    With `committing`, a lost link means the outcome is unknown; a refusal by the server (it
    answered) is still known not to have happened.
    """
    if isinstance(error, ServiceError):
        return error
    state = sqlstate(error)
    if state in TRANSIENT_STATES and not (committing and state in ("57P01", "57P02", "57014")):
        return Transient(
            TRANSIENT_STATES[state],
            f"PostgreSQL {state}: {_first_line(error)}",
            {"sqlstate": state},
        )
    if isinstance(error, PoolTimeoutError):
        return Transient("POOL_EXHAUSTED", "no database connection became free in time")
    if _is_disconnect(error) or (committing and state in ("57P01", "57P02", "57014")):
        if committing:
            return Ambiguous(
                "COMMIT_UNKNOWN",
                f"the link failed in COMMIT ({_first_line(error)}); read back before repeating",
            )
        return Transient("DATABASE_UNREACHABLE", _first_line(error))
    return error


def sqlstate(error: BaseException) -> str | None:
    """The five-character SQLSTATE behind an error, None if the server did not speak."""
    for cause in _chain(error):
        state = getattr(cause, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what is behind it: SQLAlchemy wraps the driver's errors twice."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = getattr(cause, "orig", None) or cause.__cause__


_LOST_LINK = (
    OSError,
    TimeoutError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.CannotConnectNowError,
)


def _is_disconnect(error: BaseException) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(error, asyncpg.InterfaceError) or (sqlstate(error) or "").startswith("08"):
        return True
    return any(isinstance(cause, _LOST_LINK) for cause in _chain(error))


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _read_only(url: URL) -> Fatal:
    where = f"{url.host or 'the local socket'}:{url.port or 5432}"
    return Fatal(
        "READ_ONLY_SERVER",
        f"the PostgreSQL server at {where} is a standby or read-only; point database_url at the "
        "primary",
        {"server": where},
    )


async def _abandon(connection: AsyncConnection) -> None:
    """Drop the link without a word to the other side, which may never answer."""
    try:
        await connection.invalidate()
    except (DBAPIError, InvalidRequestError, OSError, asyncpg.InterfaceError) as error:
        _log.info("database_connection_lost", error=_first_line(error))


async def _give_back(connection: AsyncConnection) -> None:
    """Close (which rolls back) without letting a dead link hide the real error."""
    try:
        await connection.close()
    except (DBAPIError, OSError, asyncpg.InterfaceError) as error:
        _log.info("database_connection_lost", error=_first_line(error))


statement = lru_cache(maxsize=512)(text)
"""`text` of the program's own words, few of them: read for its parameters once, not each time."""


_ID_BYTES = 32


def among(selection: str, name: str) -> str:
    """SQL: `selection` equals one of the identifiers (32 bytes each) in the parameter `name`.

    among("SELECT * FROM account WHERE id", "ids"), executed with {"ids": end_to_end(ids)}: an
    array of them costs the driver ten times as much. `selection` is the caller's own text.
    """
    given = f"CAST(:{identifier(name)} AS bytea)"
    places = f"generate_series(1, length({given}), {_ID_BYTES}) AS place(n)"
    ids = f"SELECT substr({given}, n, {_ID_BYTES}) FROM {places}"  # noqa: S608 - checked names
    return f"{selection} = ANY(ARRAY({ids}))"


def end_to_end(ids: Collection[bytes]) -> bytes:
    """Identifiers as `among` reads them. Raises ValueError if one has not 32 bytes."""
    joined = b"".join(ids)
    # SECURITY: cut up wrongly, a known identifier would read as one that nobody knows.
    if len(joined) != _ID_BYTES * len(ids) or set(map(len, ids)) - {_ID_BYTES}:
        sizes = sorted(set(map(len, ids)))
        raise ValueError(f"an identifier has {_ID_BYTES} bytes, not {sizes}")
    return joined


async def insert_many(
    connection: AsyncConnection,
    table: str,
    columns: Mapping[str, tuple[str, Sequence[Any]]],
    *,
    on_conflict: str = "",
    returning: str = "",
) -> list[Any]:
    """Insert a whole page in one statement: `INSERT … SELECT …`.

    `columns` maps a column to (element type, values), all of one length: {"id": ("bytea", [...])}.
    `on_conflict` is what follows ON CONFLICT ("DO NOTHING", "(id) DO UPDATE SET …") and
    `returning` what follows RETURNING; both are the caller's own SQL text, never user input.
    Returns the returned rows; an empty page does nothing. Raises ValueError on ragged columns.
    """
    lengths = {name: len(values) for name, (_, values) in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"insert_many into {table}: columns differ in length: {lengths}")
    if not next(iter(lengths.values())):
        return []
    names = ", ".join(identifier(name) for name in columns)
    sql, parameters = page_of(columns)
    sql = f"INSERT INTO {identifier(table)} ({names}) {sql}"
    if on_conflict:
        sql += f" ON CONFLICT {on_conflict}"
    if returning:
        sql += f" RETURNING {returning}"
    result = await connection.execute(statement(sql), parameters)
    return list(result.all()) if returning else []


def page_of(columns: Mapping[str, tuple[str, Sequence[Any]]]) -> tuple[str, dict[str, Any]]:
    """The rows of a page as a SELECT of `columns` in their order, with its parameters.

    `columns` as in `insert_many`, none of them empty. Encoding an array costs the driver some
    tenths of a microsecond for each value, which is most of a page's cost. So a column that is
    the same in every row travels once, and bytes of one width travel as one value that the server
    cuts up; the others are arrays.
    """
    chosen, arrays, names = [], [], []
    parameters: dict[str, Any] = {}
    for index, (sql_type, values) in enumerate(columns.values()):
        element, name = _element_type(sql_type), f"p{index}"
        parameters[name] = values[0]
        if values.count(values[0]) == len(values):
            chosen.append(f"CAST(:{name} AS {element})")
        elif width := _width(values) if element == "bytea" else 0:
            size = f"CAST(:w{index} AS int)"
            first = f"{size} * CAST(n - 1 AS int) + 1"
            chosen.append(f"substr(CAST(:{name} AS bytea), {first}, {size})")
            parameters |= {name: b"".join(values), f"w{index}": width}
        else:
            chosen.append(f"c{index}")
            names.append(f"c{index}")
            arrays.append(f"CAST(:{name} AS {element}[])")
            parameters[name] = list(values)
    if arrays:
        rows = f"unnest({', '.join(arrays)}) WITH ORDINALITY AS page({', '.join(names)}, n)"
    else:
        rows = "generate_series(1, CAST(:rows AS integer)) AS page(n)"
        parameters["rows"] = len(next(iter(columns.values()))[1])
    return f"SELECT {', '.join(chosen)} FROM {rows}", parameters  # noqa: S608 - checked names


def _width(values: Sequence[bytes | None]) -> int:
    """How many bytes each of the values has; 0 if they differ, or one is none."""
    if not all(isinstance(value, bytes) for value in values):
        return 0
    widths = set(map(len, cast("Sequence[bytes]", values)))
    return widths.pop() if len(widths) == 1 else 0


def _element_type(sql_type: str) -> str:
    if not _TYPE.fullmatch(sql_type):
        raise ValueError(f"{sql_type!r} is not a plain SQL type")
    return sql_type


async def notify(connection: AsyncConnection, channel: str, payload: str = "") -> None:
    """Wake the listeners of `channel` when this transaction commits. Payload < 8000 bytes."""
    await connection.execute(
        text("SELECT pg_notify(:channel, :payload)"),
        {"channel": identifier(channel), "payload": payload},
    )

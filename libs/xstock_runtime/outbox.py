"""The outbox: records to publish, written in the transaction that decided them.

`Outbox.add` is one statement for a whole page. `OutboxPump` sends what has committed, in order of
id, and deletes each row it has seen acknowledged: a row's existence *is* its "not yet sent" flag,
so an id that commits late is never skipped (F66: never `id > last`). One pump per database works at
a time, by a session advisory lock that dies with its process; so order per key holds across
restarts, and no transaction is open while Kafka is awaited. A crash between ack and delete sends a
page twice: receivers deduplicate. NOTIFY wakes the pump, a poll each second is only the fallback.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from xstock_runtime.clock import Clock
from xstock_runtime.database import Database, page_of, statement
from xstock_runtime.errors import Ambiguous, Transient
from xstock_runtime.health import Progress
from xstock_runtime.kafka.producer import BusProducer
from xstock_runtime.kafka.records import Record
from xstock_runtime.logging import get_logger

_log = get_logger("outbox")
_CHANNEL = "outbox"
_PUMP_LOCK = 0x7873_746F_636B_6F62  # one pump at a time in a database


def create_outbox(op: Any) -> None:
    """Create the table `outbox` in an Alembic migration."""
    op.execute(
        "CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " topic text NOT NULL, key bytea NOT NULL, value bytea NOT NULL,"
        " headers text NOT NULL DEFAULT '[]', created timestamptz NOT NULL DEFAULT now())"
        " WITH (autovacuum_vacuum_scale_factor = 0.02, fillfactor = 90)"
    )


class Outbox:
    """Adds records to the outbox of the caller's transaction."""

    async def add(self, connection: AsyncConnection, records: Sequence[Record]) -> None:
        """Keep `records` for publishing, in this order, if and when the transaction commits."""
        if not records:
            return
        page, parameters = page_of(
            {
                "topic": ("text", [record.topic for record in records]),
                "key": ("bytea", [record.key for record in records]),
                "value": ("bytea", [record.value for record in records]),
                "headers": ("text", [_headers_text(record.headers) for record in records]),
            }
        )
        added = f"INSERT INTO outbox (topic, key, value, headers) {page} ORDER BY n"
        sql = f"WITH added AS ({added}) SELECT pg_notify(:channel, '')"
        await connection.execute(statement(sql), {**parameters, "channel": _CHANNEL})

    async def pending(self, connection: AsyncConnection) -> int:
        """How many committed records wait to be sent."""
        count = await connection.scalar(text("SELECT count(*) FROM outbox"))
        return int(count or 0)


@dataclass(frozen=True, slots=True)
class _Claimed:
    ids: list[int]
    records: list[Record]


class OutboxPump:
    """Sends committed outbox rows while `run()` is awaited."""

    def __init__(
        self,
        database: Database,
        producer: BusProducer,
        clock: Clock,
        *,
        progress: Progress | None = None,
        page_records: int = 1000,
        poll_seconds: float = 1.0,
        stall_seconds: float = 30.0,
        name: str = "outbox",
    ) -> None:
        self._database = database
        self._producer = producer
        self._clock = clock
        self._progress = progress
        self._page_records = page_records
        self._poll_seconds = poll_seconds
        self._name = name
        self._woken = asyncio.Event()
        self.sent = 0
        if progress is not None:
            progress.register(name, stall_seconds)

    def wake(self) -> None:
        """Look at the table now (NOTIFY does this too)."""
        self._woken.set()

    async def run(self) -> None:
        """Pump until cancelled; database and broker may come and go."""
        failures = 0
        while True:
            try:
                await self._run_connected()
            except (Transient, Ambiguous, OSError, asyncpg.PostgresError) as error:
                failures += 1
                _log.warning("outbox_pump_failed", error=str(error))
                if self._progress is not None:
                    self._progress.fail(self._name, str(error))
            except asyncpg.InterfaceError as error:
                failures += 1
                _log.warning("outbox_pump_disconnected", error=str(error))
            await self._clock.sleep(min(5.0, 0.1 * 2 ** min(failures, 6)))

    async def _run_connected(self) -> None:
        session = await self._database.connect_raw()
        try:
            await session.add_listener(_CHANNEL, lambda *_: self._woken.set())
            session.add_termination_listener(lambda _: self._woken.set())
            while not await session.fetchval("SELECT pg_try_advisory_lock($1)", _PUMP_LOCK):
                if self._progress is not None:
                    self._progress.beat(self._name)  # standing by is this pump's whole work
                await self._clock.sleep(self._poll_seconds)
            while not session.is_closed():
                self._woken.clear()
                while await self.pump_page():
                    pass
                await self._wait_woken()
        finally:
            session.terminate()

    async def pump_page(self) -> int:
        """Send one page of committed rows and delete them; how many. Raises Transient."""
        claimed = await self._claim()
        if claimed.ids:
            await self._producer.publish(claimed.records)
            async with self._database.transaction() as connection:
                await connection.execute(
                    text("DELETE FROM outbox WHERE id = ANY(CAST(:ids AS bigint[]))"),
                    {"ids": claimed.ids},
                )
        self.sent += len(claimed.ids)
        if self._progress is not None:
            self._progress.beat(self._name)
        return len(claimed.ids)

    async def _claim(self) -> _Claimed:
        async with self._database.transaction() as connection:
            rows = (
                await connection.execute(
                    text(
                        "SELECT id, topic, key, value, headers FROM outbox"
                        " ORDER BY id LIMIT :page FOR UPDATE SKIP LOCKED"
                    ),
                    {"page": self._page_records},
                )
            ).all()
        return _Claimed(
            [row.id for row in rows],
            [Record(row.topic, row.key, row.value, _headers(row.headers)) for row in rows],
        )

    async def _wait_woken(self) -> None:
        sleeper = asyncio.ensure_future(self._clock.sleep(self._poll_seconds))
        waker = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()


@lru_cache(maxsize=1_024)
def _headers_text(headers: tuple[tuple[str, bytes], ...]) -> str:
    return json.dumps([[name, value.hex()] for name, value in headers])


def _headers(stored: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, bytes.fromhex(value)) for name, value in json.loads(stored))

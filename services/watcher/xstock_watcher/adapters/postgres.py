"""The watcher's memory in PostgreSQL: a page is one transaction and four statements."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from xstock_chains.ports import Cursor, Page
from xstock_core.ids import Domain
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    MintParked,
    Observation,
    ObservationId,
    OrphanBurn,
    ReleaseFinal,
    ReleaseSkipped,
    TxRef,
    by_id,
)
from xstock_runtime.database import Database, among, end_to_end, insert_many, statement
from xstock_runtime.errors import Ambiguous, Fatal
from xstock_runtime.kafka import Record
from xstock_runtime.outbox import Outbox
from xstock_watcher.ports import LatchedHalt, Numbered, Position, approver, halted, no_such_halt
from xstock_wire.codec import (
    block_from_wire,
    block_to_wire,
    observation_from_wire,
    observation_to_wire,
)
from xstock_wire.v1 import common_pb2, records_pb2

OBSERVATIONS_TOPIC = "xstock.observations.v1"


class PostgresWatcherStore:
    """WatcherStore over one database per chain."""

    def __init__(self, database: Database, chain: Domain, deployment_id: str) -> None:
        self._database = database
        self._chain = chain
        self._deployment_id = deployment_id
        self._outbox = Outbox()

    async def position(self) -> Position:
        """Where to read on; the beginning for an empty database."""
        async with self._database.transaction() as connection:
            row = await _position_row(connection, lock=False)
        if row is None:
            return Position(Cursor(self._chain), None, None, 0)
        if row.chain != self._chain:
            raise Fatal(
                "DATABASE_OF_ANOTHER_CHAIN",
                f"database_url: this database belongs to domain {row.chain}, the watcher to "
                f"{int(self._chain)}; give every watcher a database of its own",
            )
        return Position(
            Cursor(self._chain, row.cursor), _block(row.through), _block(row.head), row.sequence
        )

    async def save_page(self, before: Cursor, page: Page) -> int:
        """Keep a page; raises Ambiguous CURSOR_MOVED when another instance was faster."""
        async with self._database.transaction() as connection:
            halt = await _halt_row(connection)
            if halt is not None:
                raise halted(_latched(halt))
            row = await _position_row(connection, lock=True)
            found, sequence = ("", 0) if row is None else (row.cursor, row.sequence)
            if found != before.text:
                raise Ambiguous("CURSOR_MOVED", "another instance of this watcher moved the cursor")
            new = await self._new(connection, page.observations)
            await self._insert(connection, sequence, new)
            await self._move(connection, page, sequence + len(new))
        return len(new)

    async def list_after(self, sequence: int, limit: int) -> Sequence[Numbered]:
        """Observations with a greater number, in order."""
        sql = (
            "SELECT sequence, record FROM observation WHERE sequence > :after"
            " ORDER BY sequence LIMIT :limit"
        )
        return await self._numbered(sql, {"after": sequence, "limit": limit})

    async def list_of(self, *txs: TxRef) -> Sequence[Numbered]:
        """Observations of these transactions, in order."""
        sql = (
            "SELECT sequence, record FROM observation WHERE tx = ANY(CAST(:txs AS bytea[]))"
            " ORDER BY sequence"
        )
        return await self._numbered(sql, {"txs": [tx.id for tx in txs]})

    async def latch_halt(self, code: str, detail: str, at_ms: int) -> LatchedHalt:
        """Latch a halt, or return the one in force."""
        async with self._database.transaction() as connection:
            await connection.execute(
                text(
                    "INSERT INTO halt (code, detail, at_ms, approvals, cleared)"
                    " VALUES (:code, :detail, :at, '', false) ON CONFLICT DO NOTHING"
                ),
                {"code": code, "detail": detail[:1000], "at": at_ms},
            )
            row = await _halt_row(connection)
        if row is None:
            raise Fatal("HALT_NOT_LATCHED", "the halt that was just written cannot be read back")
        return _latched(row)

    async def halt(self) -> LatchedHalt | None:
        """The halt in force."""
        async with self._database.transaction() as connection:
            row = await _halt_row(connection)
        return None if row is None else _latched(row)

    async def approve_clearing(self, halt_id: str, by: str, needed: int) -> bool:
        """Add one name; cleared when `needed` different ones are there."""
        name = approver(by)
        async with self._database.transaction() as connection:
            row = await _halt_row(connection, lock=True)
            if row is None or str(row.id) != halt_id:
                raise no_such_halt(halt_id)
            names = sorted({*filter(None, row.approvals.split("\n")), name})
            await connection.execute(
                text("UPDATE halt SET approvals = :names, cleared = :cleared WHERE id = :id"),
                {"names": "\n".join(names), "cleared": len(names) >= needed, "id": row.id},
            )
        return len(names) >= needed

    async def _new(
        self, connection: AsyncConnection, observations: Sequence[Observation]
    ) -> dict[ObservationId, Observation]:
        found = by_id(observations)
        if not found:
            return {}
        rows = await connection.execute(
            statement(among("SELECT id FROM observation WHERE id", "ids")),
            {"ids": end_to_end(found)},
        )
        known = {bytes(row.id) for row in rows}
        return {key: one for key, one in found.items() if key not in known}

    async def _insert(
        self, connection: AsyncConnection, sequence: int, new: Mapping[ObservationId, Observation]
    ) -> None:
        if not new:
            return
        records = [
            observation_to_wire(
                one, deployment_id=self._deployment_id, sequence=sequence + index + 1, key=key
            )
            for index, (key, one) in enumerate(new.items())
        ]
        values = [record.SerializeToString(deterministic=True) for record in records]
        await insert_many(
            connection,
            "observation",
            {
                "sequence": ("bigint", [record.sequence for record in records]),
                "id": ("bytea", list(new)),
                "tx": ("bytea", [one.place.tx.id for one in new.values()]),
                "record": ("bytea", values),
            },
        )
        keyed = zip(new.values(), values, strict=True)
        await self._outbox.add(
            connection, [Record(OBSERVATIONS_TOPIC, _key(obs), value) for obs, value in keyed]
        )

    async def _move(self, connection: AsyncConnection, page: Page, sequence: int) -> None:
        await connection.execute(
            text(
                "INSERT INTO position (id, chain, cursor, through, head, sequence)"
                " VALUES (1, :chain, :cursor, :through, :head, :sequence)"
                " ON CONFLICT (id) DO UPDATE SET cursor = :cursor, through = :through,"
                " head = :head, sequence = :sequence"
            ),
            {
                "chain": int(self._chain),
                "cursor": page.cursor.text,
                "through": block_to_wire(page.through).SerializeToString(),
                "head": block_to_wire(page.head).SerializeToString(),
                "sequence": sequence,
            },
        )

    async def _numbered(self, sql: str, parameters: dict[str, object]) -> list[Numbered]:
        async with self._database.transaction() as connection:
            rows = (await connection.execute(text(sql), parameters)).all()
        return [Numbered(row.sequence, self._parse(bytes(row.record))) for row in rows]

    def _parse(self, value: bytes) -> Observation:
        record = records_pb2.ObservationRecord.FromString(value)
        return observation_from_wire(record, deployment_id=self._deployment_id)


async def _position_row(connection: AsyncConnection, *, lock: bool) -> Any:
    sql = "SELECT chain, cursor, through, head, sequence FROM position WHERE id = 1"
    return (await connection.execute(text(sql + " FOR UPDATE" if lock else sql))).one_or_none()


async def _halt_row(connection: AsyncConnection, *, lock: bool = False) -> Any:
    sql = "SELECT * FROM halt WHERE NOT cleared"
    return (await connection.execute(text(sql + " FOR UPDATE" if lock else sql))).one_or_none()


def _latched(row: Any) -> LatchedHalt:
    names = tuple(name for name in row.approvals.split("\n") if name)
    return LatchedHalt(str(row.id), row.code, row.detail, row.at_ms, names)


def _block(stored: bytes | None) -> BlockRef | None:
    return None if stored is None else block_from_wire(common_pb2.BlockRef.FromString(stored))


def _key(observation: Observation) -> bytes:
    """The Kafka key: what keeps all records of one transfer in one partition, in order."""
    match observation:
        case BurnFinal(message=message):
            return bytes(message.nonce)
        case ReleaseFinal() | CancelFinal() | ReleaseSkipped() | MintParked() | OrphanBurn():
            return bytes(observation.nonce)
        case _:
            return observation.place.block.hash

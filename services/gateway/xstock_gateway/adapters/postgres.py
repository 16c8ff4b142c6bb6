"""The gateway's memory in PostgreSQL: a page of changes is one transaction, four statements."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from xstock_chains.ports import CheckResult, UnsignedBurn
from xstock_core.amount import Shares
from xstock_core.ids import Domain, TransferId
from xstock_core.message import parse_message
from xstock_gateway.adapters.records import RecordCodec
from xstock_gateway.ports import BuiltBurn, Coverage, JournalLine, ViewFilter
from xstock_gateway.view import Change, TransferView
from xstock_runtime.database import (
    Database,
    among,
    end_to_end,
    insert_many,
    notify,
    page_of,
    statement,
)
from xstock_runtime.errors import Ambiguous
from xstock_wire.codec import block_from_wire, block_to_wire
from xstock_wire.v1 import common_pb2

_CHANNEL = "journal"
_FACTS_REMEMBERED = 1_024
_VIEW = "id, message, revision, created_ms, updated_ms, relayer, seen, final"
_NEWEST = (
    "(id) DO UPDATE SET revision = EXCLUDED.revision, updated_ms = EXCLUDED.updated_ms,"
    " relayer = EXCLUDED.relayer, seen = EXCLUDED.seen, final = EXCLUDED.final,"
    " state = EXCLUDED.state, terminal = EXCLUDED.terminal, parties = EXCLUDED.parties,"
    " txs = EXCLUDED.txs"
)


class PostgresGatewayStore:
    """GatewayStore over one database."""

    def __init__(self, database: Database, codec: RecordCodec) -> None:
        self._database = database
        # A view's facts are written with each revision and read back with the next: the same
        # ones many times over, immutable on both sides.
        remember = lru_cache(_FACTS_REMEMBERED)
        self._relayer_from, self._relayer_to = (
            remember(codec.relayer_from),
            remember(codec.relayer_to),
        )
        self._seen_from, self._seen_to = remember(codec.seen_from), remember(codec.seen_to)
        self._final_from, self._final_to = remember(codec.final_from), remember(codec.final_to)

    async def views(self, ids: Sequence[TransferId]) -> dict[TransferId, TransferView]:
        """The views that exist."""
        sql = f"SELECT {_VIEW} FROM transfer WHERE id = ANY(CAST(:ids AS bytea[]))"  # noqa: S608
        rows = await self._rows(sql, {"ids": list(ids)})
        return {view.transfer_id: view for view in map(self._view, rows)}

    async def save(self, changes: Sequence[Change]) -> int:
        """Keep new views with one journal line each; raises Ambiguous VIEW_MOVED."""
        if not changes:
            return 0
        async with self._database.transaction() as connection:
            last = await connection.scalar(
                text(
                    "UPDATE journal_head SET sequence = sequence + :n WHERE id = 1"
                    " RETURNING sequence"
                ),
                {"n": len(changes)},
            )
            await _refuse_moved(connection, changes)
            await self._append(connection, int(last) - len(changes), changes)
            await self._keep(connection, changes)
            await notify(connection, _CHANNEL)
        return int(last)

    async def save_coverage(self, coverage: Sequence[Coverage]) -> None:
        """Keep the newest look per chain."""
        async with self._database.transaction() as connection:
            await insert_many(
                connection,
                "coverage",
                {
                    "chain": ("integer", [int(item.chain) for item in coverage]),
                    "through": (
                        "bytea",
                        [block_to_wire(item.through).SerializeToString() for item in coverage],
                    ),
                    "head_number": ("bigint", [item.head_number for item in coverage]),
                    "at_ms": ("bigint", [item.at_ms for item in coverage]),
                },
                on_conflict=(
                    "(chain) DO UPDATE SET through = EXCLUDED.through,"
                    " head_number = EXCLUDED.head_number, at_ms = EXCLUDED.at_ms"
                    " WHERE coverage.at_ms < EXCLUDED.at_ms"
                ),
            )

    async def coverage(self) -> Sequence[Coverage]:
        """Per chain."""
        rows = await self._rows("SELECT * FROM coverage ORDER BY chain", {})
        return [
            Coverage(
                chain=Domain(row.chain),
                through=block_from_wire(common_pb2.BlockRef.FromString(bytes(row.through))),
                head_number=row.head_number,
                at_ms=row.at_ms,
            )
            for row in rows
        ]

    async def journal_after(self, sequence: int, limit: int) -> Sequence[JournalLine]:
        """Lines in order."""
        sql = (
            "SELECT sequence, cause, id, message, revision, created_ms, at_ms AS updated_ms,"
            " relayer, seen, final FROM journal WHERE sequence > :after"
            " ORDER BY sequence LIMIT :limit"
        )
        rows = await self._rows(sql, {"after": sequence, "limit": limit})
        return [JournalLine(row.sequence, Change(self._view(row), row.cause)) for row in rows]

    async def journal_bounds(self) -> tuple[int, int, int]:
        """(oldest sequence, its time, newest sequence)."""
        sql = (
            "SELECT head.sequence AS newest, oldest.sequence AS first, oldest.at_ms AS since"
            " FROM journal_head AS head LEFT JOIN"
            " (SELECT sequence, at_ms FROM journal ORDER BY sequence LIMIT 1) AS oldest ON true"
        )
        row = (await self._rows(sql, {}))[0]
        if row.first is None:
            return row.newest + 1, 0, row.newest
        return row.first, row.since, row.newest

    async def journal_at(self, unix_ms: int) -> int:
        """The last place before every line of this time or later."""
        sql = (
            "SELECT coalesce((SELECT min(sequence) - 1 FROM journal WHERE at_ms >= :at),"
            " (SELECT sequence FROM journal_head WHERE id = 1)) AS place"
        )
        return int((await self._rows(sql, {"at": unix_ms}))[0].place)

    async def forget_before(self, unix_ms: int) -> int:
        """Delete the beginning of the journal and burns that expired; how many lines."""
        async with self._database.transaction() as connection:
            result = await connection.execute(
                text(
                    "DELETE FROM journal WHERE sequence < least("
                    " (SELECT min(sequence) FROM journal WHERE at_ms >= :at),"
                    " (SELECT sequence FROM journal_head WHERE id = 1))"
                ),
                {"at": unix_ms},
            )
            await connection.execute(
                text("DELETE FROM built WHERE expires < :expired"), {"expired": unix_ms // 1000}
            )
        return int(getattr(result, "rowcount", 0))

    async def open_views(self, after: TransferId | None, limit: int) -> Sequence[TransferView]:
        """Transfers that are not terminal, by id."""
        sql = (
            f"SELECT {_VIEW} FROM transfer WHERE NOT terminal AND id > :after"  # noqa: S608
            " ORDER BY id LIMIT :limit"
        )
        rows = await self._rows(sql, {"after": after or b"", "limit": limit})
        return [self._view(row) for row in rows]

    async def list_views(
        self, wanted: ViewFilter, before: tuple[int, TransferId] | None, limit: int
    ) -> Sequence[TransferView]:
        """Newest first."""
        where, parameters = _where(wanted)
        if before is not None:
            where.append("(created_ms, id) < (:before_ms, :before_id)")
            parameters.update(before_ms=before[0], before_id=before[1])
        sql = (
            f"SELECT {_VIEW} FROM transfer WHERE {' AND '.join(where)}"  # noqa: S608
            " ORDER BY created_ms DESC, id DESC LIMIT :limit"
        )
        return [self._view(row) for row in await self._rows(sql, {**parameters, "limit": limit})]

    async def views_by_tx(self, tx_id: bytes) -> Sequence[TransferView]:
        """Transfers to which a transaction belongs."""
        sql = (
            f"SELECT {_VIEW} FROM transfer WHERE txs @> ARRAY[CAST(:tx AS bytea)]"  # noqa: S608
            " ORDER BY id LIMIT 1000"
        )
        return [self._view(row) for row in await self._rows(sql, {"tx": tx_id})]

    async def built(self, request_id: str) -> BuiltBurn | None:
        """What was built under a request id."""
        sql = "SELECT * FROM built WHERE request_id = :id"
        rows = await self._rows(sql, {"id": request_id})
        return _built(rows[0]) if rows else None

    async def keep_built(self, built: BuiltBurn) -> BuiltBurn:
        """Keep it unless somebody was first; what is kept."""
        document = {
            "chain": int(built.burn.chain),
            "payload": built.burn.payload,
            "effects": list(built.burn.effects),
            "checks": [asdict(check) for check in built.checks],
            "shares": built.shares,
            "displayed": built.displayed,
        }
        async with self._database.transaction() as connection:
            await connection.execute(
                text(
                    "INSERT INTO built (request_id, content, document, expires)"
                    " VALUES (:id, :content, :document, :expires) ON CONFLICT DO NOTHING"
                ),
                {
                    "id": built.request_id,
                    "content": built.content,
                    "document": json.dumps(document),
                    "expires": built.burn.expires,
                },
            )
        return await self.built(built.request_id) or built

    async def changes(self) -> AsyncIterator[None]:
        """Wakes with every commit that grew the journal, and after a reconnect."""
        async for _ in self._database.listen(_CHANNEL):
            yield None

    async def _rows(self, sql: str, parameters: dict[str, Any]) -> Sequence[Any]:
        async with self._database.transaction() as connection:
            return (await connection.execute(text(sql), parameters)).all()

    def _view(self, row: Any) -> TransferView:
        final = None if row.final is None else self._final_from(bytes(row.final))
        return TransferView(
            transfer_id=TransferId(bytes(row.id)),
            message=parse_message(bytes(row.message)),
            created_ms=row.created_ms,
            updated_ms=row.updated_ms,
            revision=row.revision,
            relayer=None if row.relayer is None else self._relayer_from(bytes(row.relayer)),
            seen=None if row.seen is None else self._seen_from(bytes(row.seen)),
            final=final,
        )

    def _facts(self, views: Sequence[TransferView]) -> dict[str, tuple[str, list[Any]]]:
        return {
            "id": ("bytea", [view.transfer_id for view in views]),
            "message": ("bytea", [view.message.pack() for view in views]),
            "revision": ("bigint", [view.revision for view in views]),
            "created_ms": ("bigint", [view.created_ms for view in views]),
            "relayer": (
                "bytea",
                [None if v.relayer is None else self._relayer_to(v.relayer) for v in views],
            ),
            "seen": ("bytea", [None if v.seen is None else self._seen_to(v.seen) for v in views]),
            "final": (
                "bytea",
                [None if v.final is None else self._final_to(v.final) for v in views],
            ),
        }

    async def _append(
        self, connection: AsyncConnection, sequence: int, changes: Sequence[Change]
    ) -> None:
        views = [change.view for change in changes]
        await insert_many(
            connection,
            "journal",
            {
                "sequence": ("bigint", [sequence + index + 1 for index in range(len(changes))]),
                "at_ms": ("bigint", [view.updated_ms for view in views]),
                "cause": ("text", [change.cause for change in changes]),
                **self._facts(views),
            },
        )

    async def _keep(self, connection: AsyncConnection, changes: Sequence[Change]) -> None:
        newest = list({change.view.transfer_id: change.view for change in changes}.values())
        columns: dict[str, tuple[str, list[Any]]] = {
            **self._facts(newest),
            "updated_ms": ("bigint", [view.updated_ms for view in newest]),
            "state": ("text", [view.state for view in newest]),
            "terminal": ("boolean", [view.terminal for view in newest]),
            "asset": ("bytea", [view.message.asset for view in newest]),
            "source": ("integer", [int(view.message.source) for view in newest]),
            "destination": ("integer", [int(view.message.destination) for view in newest]),
            "parties": ("text", [_array(view.parties) for view in newest]),
            "txs": ("text", [_array(tuple(tx.id for tx in view.txs)) for view in newest]),
        }
        # unnest flattens arrays of arrays, so the two array columns travel as literals.
        names = ", ".join(columns)
        arrays = {"parties", "txs"}
        picked = ", ".join(f"CAST({n} AS bytea[])" if n in arrays else n for n in columns)
        page, parameters = page_of(columns)
        await connection.execute(
            statement(
                f"INSERT INTO transfer ({names}) SELECT {picked}"  # noqa: S608
                f" FROM ({page}) AS page({names}) ON CONFLICT {_NEWEST}"
            ),
            parameters,
        )


async def _refuse_moved(connection: AsyncConnection, changes: Sequence[Change]) -> None:
    """Raise Ambiguous when a view is no longer at the revision that was merged into."""
    first: dict[TransferId, int] = {}
    for change in changes:
        first.setdefault(change.view.transfer_id, change.view.revision - 1)
    rows = await connection.execute(
        statement(among("SELECT id, revision FROM transfer WHERE id", "ids")),
        {"ids": end_to_end(first)},
    )
    found = {TransferId(bytes(row.id)): row.revision for row in rows}
    if any(found.get(key, 0) != revision for key, revision in first.items()):
        raise Ambiguous("VIEW_MOVED", "a transfer was changed by somebody else meanwhile")


def _array(values: Sequence[bytes]) -> str:
    return "{" + ",".join(f'"\\\\x{value.hex()}"' for value in values) + "}"


_CONDITIONS = {
    "party": "parties @> ARRAY[CAST(:party AS bytea)]",
    "asset": "asset = :asset",
    "chain": "(source = :chain OR destination = :chain)",
    "states": "state = ANY(CAST(:states AS text[]))",
    "since": "created_ms >= :since",
    "until": "created_ms < :until",
    "ids": "id = ANY(CAST(:ids AS bytea[]))",
}


def _where(wanted: ViewFilter) -> tuple[list[str], dict[str, Any]]:
    values: dict[str, Any] = {
        "party": wanted.party,
        "asset": wanted.asset,
        "chain": None if wanted.chain is None else int(wanted.chain),
        "states": list(wanted.states) or None,
        "since": wanted.created_after_ms,
        "until": wanted.created_before_ms,
        "ids": list(wanted.transfer_ids) or None,
    }
    applied = {name: value for name, value in values.items() if value is not None}
    return ["true", *(_CONDITIONS[name] for name in applied)], applied


def _built(row: Any) -> BuiltBurn:
    document = json.loads(row.document)
    burn = UnsignedBurn(
        chain=Domain(document["chain"]),
        payload=document["payload"],
        effects=tuple(document["effects"]),
        expires=row.expires,
    )
    return BuiltBurn(
        request_id=row.request_id,
        content=bytes(row.content),
        burn=burn,
        checks=tuple(CheckResult(**check) for check in document["checks"]),
        shares=Shares(document["shares"]),
        displayed=document["displayed"],
    )

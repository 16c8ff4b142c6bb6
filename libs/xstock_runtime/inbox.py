"""The inbox: which messages this service has already taken in, decided by the database.

`filter_new` inserts the ids of a whole page in the caller's transaction and returns those never
seen before: effects and the memory of them commit together, so redelivery has one effect (F59).
Two transactions with the same id cannot both see it as new: the second waits for the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from xstock_runtime.database import insert_many


def create_inbox(op: Any) -> None:
    """Create the table `inbox` in an Alembic migration."""
    op.execute(
        "CREATE TABLE inbox (scope text NOT NULL, id bytea NOT NULL,"
        " seen timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (scope, id))"
    )
    op.execute("CREATE INDEX inbox_seen ON inbox USING brin (seen)")


class Inbox:
    """The ids seen in one scope (usually a consumer's name)."""

    def __init__(self, scope: str) -> None:
        if not scope:
            raise ValueError("an inbox needs a scope, e.g. the name of its consumer")
        self._scope = scope

    async def filter_new(self, connection: AsyncConnection, ids: Iterable[bytes]) -> set[bytes]:
        """Those of `ids` that were never seen before; they are now, if the transaction commits."""
        wanted = sorted(set(ids))  # one order for everybody, so that writers cannot deadlock
        rows = await insert_many(
            connection,
            "inbox",
            {"scope": ("text", [self._scope] * len(wanted)), "id": ("bytea", wanted)},
            on_conflict="DO NOTHING",
            returning="id",
        )
        return {bytes(row.id) for row in rows}

    async def forget(self, connection: AsyncConnection, *, older_than_seconds: int) -> int:
        """Delete ids older than the longest time a record can come back; how many."""
        result = await connection.execute(
            text(
                "DELETE FROM inbox WHERE scope = :scope"
                " AND seen < now() - make_interval(secs => :age)"
            ),
            {"scope": self._scope, "age": older_than_seconds},
        )
        return int(getattr(result, "rowcount", 0))

"""A fenced lease: at most one writer, by database time, checked inside the writer's transaction.

`assert_held` locks the lease row FOR SHARE, so nobody can take the lease over until the writer's
transaction has ended; a process that slept through its lease (SIGSTOP, a stepped clock: F46, F77,
F78) finds its fence stale and writes nothing. Fences only grow: pass them to whatever outside the
database must also refuse a zombie. The table comes from `create_lease(op)` in a migration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from xstock_runtime.clock import Clock
from xstock_runtime.database import Database
from xstock_runtime.errors import Fatal, Transient
from xstock_runtime.health import Progress
from xstock_runtime.logging import get_logger

_log = get_logger("lease")
_NAME = "lease"


def create_lease(op: Any) -> None:
    """Create the table `lease` in an Alembic migration."""
    op.execute(
        "CREATE TABLE lease (name text PRIMARY KEY, holder text NOT NULL,"
        " fence bigint NOT NULL CHECK (fence > 0), expires timestamptz NOT NULL)"
    )


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Who wants which lease. `holder` must be new for every process start (a UUID)."""

    name: str
    holder: str
    ttl_seconds: float = 15.0

    def __post_init__(self) -> None:
        if not self.name or not self.holder or self.ttl_seconds <= 0:
            raise ValueError("a lease needs a name, a holder and a positive ttl_seconds")


class AdvisoryLease:
    """One process's hold, or hope, of a named lease."""

    def __init__(self, settings: LeaseSettings) -> None:
        self._settings = settings
        self.fence: int | None = None
        self._progress: Progress | None = None

    async def acquire(self, connection: AsyncConnection) -> int | None:
        """Take the lease if it is free or expired. The new fence, or None while another holds it.

        Acquiring what one holds already gives a new fence too.
        """
        row = (
            await connection.execute(
                text(
                    "INSERT INTO lease AS held (name, holder, fence, expires) VALUES"
                    " (:name, :holder, 1, clock_timestamp() + make_interval(secs => :ttl))"
                    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder,"
                    " fence = held.fence + 1, expires = excluded.expires"
                    " WHERE held.expires <= clock_timestamp() OR held.holder = excluded.holder"
                    " RETURNING fence"
                ),
                self._parameters(),
            )
        ).first()
        self.fence = None if row is None else int(row[0])
        return self.fence

    async def renew(self, connection: AsyncConnection) -> None:
        """Prolong the hold. Raises Fatal FENCED if it is no longer ours or has expired."""
        row = (
            await connection.execute(
                text(
                    "UPDATE lease SET expires = clock_timestamp() + make_interval(secs => :ttl)"
                    " WHERE name = :name AND holder = :holder AND fence = :fence"
                    " AND expires > clock_timestamp() RETURNING fence"
                ),
                {**self._parameters(), "fence": self.fence or 0},
            )
        ).first()
        if row is None:
            raise self._fenced()

    async def assert_held(self, connection: AsyncConnection) -> int:
        """In the writer's transaction: the fence, or Fatal FENCED.

        SECURITY: without this line two writers could both decide; it must be in the same
        transaction as the decision.
        """
        row = (
            await connection.execute(
                text(
                    "SELECT fence FROM lease WHERE name = :name AND holder = :holder"
                    " AND fence = :fence AND expires > clock_timestamp() FOR SHARE"
                ),
                {
                    "name": self._settings.name,
                    "holder": self._settings.holder,
                    "fence": self.fence or 0,
                },
            )
        ).first()
        if row is None:
            raise self._fenced()
        return int(row[0])

    async def release(self, connection: AsyncConnection) -> None:
        """Give the lease up at once, so that a successor need not wait for it to expire."""
        await connection.execute(
            text(
                "UPDATE lease SET expires = clock_timestamp()"
                " WHERE name = :name AND holder = :holder AND fence = :fence"
            ),
            {
                "name": self._settings.name,
                "holder": self._settings.holder,
                "fence": self.fence or 0,
            },
        )
        self.fence = None

    async def wait_until_acquired(
        self, database: Database, clock: Clock, progress: Progress | None = None
    ) -> int:
        """Stand by until the lease is ours; its fence. `progress` is unready until then."""
        waiting = False
        self._progress = progress
        if progress is not None:
            progress.register(_NAME, self._settings.ttl_seconds * 2)
        while True:
            fence = await database.run(self.acquire)
            if fence is not None:
                self._beat()
                return fence
            if not waiting:
                _log.info("lease_held_by_another", lease=self._settings.name)
                waiting = True
            if progress is not None:
                progress.fail(_NAME, "another process holds the lease; standing by")
            await clock.sleep(min(1.0, self._settings.ttl_seconds / 5))

    async def keep(self, database: Database, clock: Clock) -> None:
        """Renew at a third of the time to live, for ever. Raises Fatal FENCED once it is lost.

        An outage of the database is survived as long as the lease has not run out.
        """
        while True:
            await clock.sleep(self._settings.ttl_seconds / 3)
            try:
                async with database.transaction() as connection:
                    await self.renew(connection)
                self._beat()
            except Transient as error:
                _log.warning("lease_renewal_failed", lease=self._settings.name, error=str(error))

    def _beat(self) -> None:
        if self._progress is not None:
            self._progress.beat(_NAME)

    def _parameters(self) -> dict[str, object]:
        return {
            "name": self._settings.name,
            "holder": self._settings.holder,
            "ttl": self._settings.ttl_seconds,
        }

    def _fenced(self) -> Fatal:
        return Fatal(
            "FENCED",
            f"lease {self._settings.name!r} is not (or no longer) held by this process; "
            "another one writes now, restart to stand by",
            {"lease": self._settings.name, "holder": self._settings.holder, "fence": self.fence},
        )

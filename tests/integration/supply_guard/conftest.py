"""The guard's PostgreSQL store on a database of the test's own, under the runtime role."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.engines import Database as TestDatabase
from tests.engines import Databases
from tests.services.supply_guard.world import DEPLOYMENT
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.lease import AdvisoryLease, LeaseSettings
from xstock_runtime.migrations import grant_runtime, upgrade
from xstock_supply_guard.adapters.postgres import PostgresGuardStore
from xstock_supply_guard.adapters.tables import APPEND_ONLY

ROLE = "guard_runtime"


async def prepare(database: TestDatabase) -> None:
    """Migrations and the runtime role's rights."""
    await database.server.create_role(ROLE)
    url = database.url(driver="postgresql")
    await upgrade(url, "xstock_supply_guard")
    await grant_runtime(url, ROLE, append_only_tables=APPEND_ONLY)


@dataclass
class Opened:
    """A store with what is behind it."""

    store: PostgresGuardStore
    database: Database
    lease: AdvisoryLease | None


@dataclass
class GuardDatabase:
    """One guard's database; `open` gives processes of that guard."""

    database: TestDatabase
    opened: list[Opened]

    async def open(self, holder: str = "first", *, lease: bool = True) -> Opened:
        """A process of this guard; without the lease if another one holds it."""
        url = self.database.url(user=ROLE, driver="postgresql")
        database = Database(DatabaseSettings(url), SystemClock(), SystemRandomness())
        await database.open()
        held = None
        if lease:
            held = AdvisoryLease(LeaseSettings("guard/guard-1", holder, 30.0))
            await database.run(held.acquire)
        store = PostgresGuardStore(
            database, guard_id="guard-1", deployment_id=DEPLOYMENT, lease=held
        )
        self.opened.append(Opened(store, database, held))
        return self.opened[-1]


@pytest.fixture
async def guard_database(databases: Databases) -> AsyncIterator[GuardDatabase]:
    """A guard's own database, ready for its first process."""
    copy = await databases.copy_of("supply-guard", prepare)
    guard = GuardDatabase(copy, [])
    yield guard
    for opened in guard.opened:
        await opened.database.close()
    await databases.server.drop_database(copy.name)


OpenStore = Callable[[], Awaitable[PostgresGuardStore]]


@pytest.fixture
async def store(guard_database: GuardDatabase) -> PostgresGuardStore:
    """The store of the one running process."""
    return (await guard_database.open()).store

"""The watcher's store on a database of the test's own, under the runtime role."""

from collections.abc import AsyncIterator

import pytest

from tests.engines import Database as OwnDatabase
from tests.engines import Databases
from tests.services.watcher.store_contract import CHAIN
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.migrations import grant_runtime, upgrade
from xstock_watcher.adapters.postgres import PostgresWatcherStore

ROLE = "watcher_runtime"


async def prepare(database: OwnDatabase) -> None:
    """Migrate as the owner, grant rows to the runtime role."""
    await database.server.create_role(ROLE)
    await upgrade(database.url(), "xstock_watcher")
    await grant_runtime(database.url(), ROLE)


@pytest.fixture
async def migrated(databases: Databases) -> AsyncIterator[OwnDatabase]:
    """A database of this test's own."""
    database = await databases.copy_of("watcher", prepare)
    yield database
    await databases.server.drop_database(database.name)


@pytest.fixture
async def database(migrated: OwnDatabase) -> AsyncIterator[Database]:
    """The runtime role's view of it."""
    settings = DatabaseSettings(migrated.url(user=ROLE), pool_size=8)
    async with Database(settings, SystemClock(), SystemRandomness()) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> PostgresWatcherStore:
    """The store of one process."""
    return PostgresWatcherStore(database, CHAIN, "test")

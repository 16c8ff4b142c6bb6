"""A migrated database with an owner and a runtime role, and the bus on the shared broker."""

from collections.abc import AsyncIterator

import pytest

from tests.engines import Database as OwnDatabase
from tests.engines import Databases
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.migrations import grant_runtime, upgrade

PACKAGE = "tests.integration.runtime.example_service"
RUNNER = "runtime_runner"


async def prepare(database: OwnDatabase) -> None:
    """Migrate as the owner, grant to the runtime role."""
    await database.server.create_role(RUNNER)
    await upgrade(database.url(), PACKAGE)
    await grant_runtime(database.url(), RUNNER, append_only_tables=["journal"])


@pytest.fixture
async def migrated(databases: Databases) -> AsyncIterator[OwnDatabase]:
    """A database of this test's own with the plumbing's tables."""
    database = await databases.copy_of("runtime", prepare)
    yield database
    await databases.server.drop_database(database.name)


@pytest.fixture
async def database(migrated: OwnDatabase) -> AsyncIterator[Database]:
    """The runtime role's view of it."""
    settings = DatabaseSettings(migrated.url(user=RUNNER), pool_size=20, lock_seconds=3)
    async with Database(settings, SystemClock(), SystemRandomness()) as opened:
        yield opened

"""The relayer's migrated database, and worlds whose books are in it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.engines import Database as OwnDatabase
from tests.engines import Databases
from tests.services.relayer.faults import WorldMaker
from tests.services.relayer.world import World
from xstock_relayer.adapters.postgres import PostgresBooks
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.lease import AdvisoryLease, LeaseSettings
from xstock_runtime.migrations import grant_runtime, upgrade

PACKAGE = "xstock_relayer"
RUNNER = "relayer_runner"


async def prepare(database: OwnDatabase) -> None:
    """Migrate as the owner, grant rows to the runtime role."""
    await database.server.create_role(RUNNER)
    await upgrade(database.url(), PACKAGE)
    await grant_runtime(database.url(), RUNNER, append_only_tables=["alarm"])


@pytest.fixture
async def migrated(databases: Databases) -> AsyncIterator[OwnDatabase]:
    """A database of this test's own."""
    database = await databases.copy_of("relayer", prepare)
    yield database
    await databases.server.drop_database(database.name)


@pytest.fixture
async def database(migrated: OwnDatabase) -> AsyncIterator[Database]:
    """The runtime role's view of it."""
    settings = DatabaseSettings(migrated.url(user=RUNNER), pool_size=8)
    async with Database(settings, SystemClock(), SystemRandomness()) as opened:
        yield opened


@pytest.fixture
async def lease(database: Database) -> AdvisoryLease:
    """The lease of this test's only process."""
    held = AdvisoryLease(LeaseSettings("relayer/test", "first", ttl_seconds=600))
    await database.run(held.acquire)
    return held


@pytest.fixture
def books(database: Database, lease: AdvisoryLease) -> PostgresBooks:
    """The books of that process."""
    return PostgresBooks(database, lease, SystemClock(), deployment_id="test")


@pytest.fixture
def make_world(books: PostgresBooks) -> WorldMaker:
    """Worlds over these books."""

    def make(**changes: Any) -> World:
        return World(open_books=lambda: books, **changes)

    return make

"""Which engines the integration tests run on, and what a single test gets of a shared one.

Embedded PostgreSQL and Kafka always; the same tests once more in containers where Docker has the
images. Servers are shared by a session, because starting one costs seconds: a test gets a database
of its own, or topic names of its own, and must leave the server running. A test that takes an
engine away starts one for itself (`own_postgres`, `own_kafka`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from xstock_devnet.engines.containers import (
    ContainerKafka,
    ContainerPostgres,
    Images,
    find_images,
)
from xstock_devnet.engines.kafka import Kafka, KafkaBroker
from xstock_devnet.engines.postgres import DEV_PASSWORD, SUPERUSER, Postgres, PostgresServer

EMBEDDED = "embedded"
CONTAINERS = "containers"


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engines of this run and why, decided once and printed in pytest's header."""

    names: tuple[str, ...]
    images: Images
    reason: str

    def postgres(self, name: str, folder: Path) -> PostgresServer | ContainerPostgres:
        """Return a PostgreSQL that is not started yet."""
        if name == CONTAINERS:
            return ContainerPostgres(_present(self.images.postgres))
        return PostgresServer(folder)

    def kafka(self, name: str, folder: Path) -> KafkaBroker | ContainerKafka:
        """Return a Kafka that is not started yet."""
        if name == CONTAINERS:
            return ContainerKafka(_present(self.images.kafka))
        return KafkaBroker(folder)


def _present(image: str | None) -> str:
    if image is None:
        raise pytest.UsageError("--engines=containers: Docker or an image is missing")
    return image


def choose(wanted: str, find: Callable[[], Images] = find_images) -> EngineChoice:
    """Decide for `auto`, `embedded` or `containers`; raises UsageError if there are none."""
    if wanted == EMBEDDED:
        return EngineChoice((EMBEDDED,), Images(None, None, "not asked"), "asked for")
    images = find()
    if wanted == CONTAINERS:
        if not images.complete:
            raise pytest.UsageError(f"--engines=containers: {images.reason}")
        return EngineChoice((CONTAINERS,), images, "asked for")
    names = (EMBEDDED, CONTAINERS) if images.complete else (EMBEDDED,)
    return EngineChoice(names, images, f"containers: {images.reason}")


@dataclass(frozen=True, slots=True)
class Database:
    """One database, empty or copied from a template, for one test."""

    server: Postgres
    name: str

    def url(
        self,
        *,
        user: str = SUPERUSER,
        password: str = DEV_PASSWORD,
        driver: str = "postgresql+asyncpg",
    ) -> str:
        """Return this database's URL, for SQLAlchemy unless another `driver` is named."""
        return self.server.url(self.name, user=user, password=password, driver=driver)


@dataclass(slots=True)
class Databases:
    """Makes databases on the shared server; each template is prepared once per session."""

    server: Postgres
    _numbers: "count[int]" = field(default_factory=count)
    _templates: dict[str, str] = field(default_factory=dict)

    async def empty(self) -> Database:
        """Return a new, empty database."""
        name = f"test_{next(self._numbers)}"
        await self.server.create_database(name)
        return Database(self.server, name)

    async def copy_of(
        self, template: str, prepare: Callable[[Database], Awaitable[None]]
    ) -> Database:
        """Return a new copy of the database that `prepare` filled (migrations, roles, rows).

        `prepare` runs once per session for each `template` name and must close its connections.
        """
        if template not in self._templates:
            prepared = await self.empty()
            await prepare(prepared)
            self._templates[template] = prepared.name
        name = f"test_{next(self._numbers)}"
        await self.server.create_database(name, template=self._templates[template])
        return Database(self.server, name)


@dataclass(frozen=True, slots=True)
class Topics:
    """The shared broker as one test sees it: topic and group names nobody else uses."""

    server: Kafka
    prefix: str

    @property
    def bootstrap(self) -> str:
        """The broker's address."""
        return self.server.bootstrap

    def name(self, short: str) -> str:
        """Return this test's own name for a topic or consumer group."""
        return f"{self.prefix}.{short}"

    async def create(self, *shorts: str, partitions: int = 1) -> list[str]:
        """Create topics and return their full names."""
        names = [self.name(short) for short in shorts]
        await self.server.create_topics(names, partitions=partitions)
        return names

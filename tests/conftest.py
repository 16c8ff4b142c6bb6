"""Markers by folder, the choice of engines, and the engines themselves as fixtures."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest

from tests.engines import Database, Databases, EngineChoice, Topics, choose
from xstock_devnet.engines.anvil import AnvilNode
from xstock_devnet.engines.containers import ContainerKafka, ContainerPostgres
from xstock_devnet.engines.kafka import KafkaBroker
from xstock_devnet.engines.postgres import PostgresServer

TESTS = Path(__file__).parent
CHOICE = pytest.StashKey[EngineChoice]()
_topic_numbers = count()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --engines (which engines the integration tests use) and --backlog (a size)."""
    parser.addoption(
        "--backlog",
        type=int,
        default=2_000,
        help="how many burns wait when six chains come back (F80; 100000 is the full size)",
    )
    parser.addoption(
        "--engines",
        default="auto",
        choices=("auto", "embedded", "containers"),
        help="PostgreSQL and Kafka: embedded, containers, or auto (embedded, plus containers"
        " where Docker has the images)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Decide on the engines once, before anything is collected."""
    config.stash[CHOICE] = choose(config.getoption("--engines"))


def pytest_report_header(config: pytest.Config) -> str:
    """Print the choice."""
    choice = config.stash[CHOICE]
    return f"engines: {' and '.join(choice.names)} ({choice.reason})"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that needs PostgreSQL or Kafka once for each chosen engine."""
    if "engine_name" in metafunc.fixturenames:
        names = metafunc.config.stash[CHOICE].names
        metafunc.parametrize("engine_name", names, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the marker of the folder it lies in."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        item.add_marker(getattr(pytest.mark, folder))


@pytest.fixture(scope="session")
def engines(pytestconfig: pytest.Config) -> EngineChoice:
    """The engines of this run."""
    return pytestconfig.stash[CHOICE]


@pytest.fixture(scope="session")
async def databases(
    engine_name: str, engines: EngineChoice, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Databases]:
    """One PostgreSQL server for the session."""
    server = engines.postgres(engine_name, tmp_path_factory.mktemp("postgres"))
    try:
        await server.start()
        yield Databases(server)
    finally:
        await server.remove()


@pytest.fixture
async def postgres(databases: Databases) -> AsyncIterator[Database]:
    """A new, empty database on the shared server."""
    database = await databases.empty()
    yield database
    await databases.server.drop_database(database.name)


@pytest.fixture(scope="session")
async def kafka_server(
    engine_name: str, engines: EngineChoice, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[KafkaBroker | ContainerKafka]:
    """One Kafka broker for the session."""
    broker = engines.kafka(engine_name, tmp_path_factory.mktemp("kafka"))
    try:
        await broker.start()
        yield broker
    finally:
        await broker.remove()


@pytest.fixture
def kafka(kafka_server: KafkaBroker | ContainerKafka) -> Topics:
    """Topic and group names of this test's own on the shared broker."""
    return Topics(kafka_server, f"test{next(_topic_numbers)}")


@pytest.fixture
async def own_postgres(
    engine_name: str, engines: EngineChoice, tmp_path: Path
) -> AsyncIterator[PostgresServer | ContainerPostgres]:
    """A PostgreSQL server of this test's own, started; the test may stop and kill it."""
    server = engines.postgres(engine_name, tmp_path / "postgres")
    try:
        await server.start()
        yield server
    finally:
        await server.remove()


@pytest.fixture
async def own_kafka(
    engine_name: str, engines: EngineChoice, tmp_path: Path
) -> AsyncIterator[KafkaBroker | ContainerKafka]:
    """A Kafka broker of this test's own, started; the test may stop and kill it."""
    broker = engines.kafka(engine_name, tmp_path / "kafka")
    try:
        await broker.start()
        yield broker
    finally:
        await broker.remove()


@pytest.fixture
async def anvil(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[AnvilNode]]]:
    """Start local chains: `await anvil(chain_id=56, block_seconds=0.5)`; all stop with the test."""
    nodes: list[AnvilNode] = []

    async def start(*, chain_id: int, **options: object) -> AnvilNode:
        name = f"anvil-{chain_id}-{len(nodes)}"
        node = AnvilNode(tmp_path / name, chain_id=chain_id, name=name, **options)  # type: ignore[arg-type]
        nodes.append(node)
        await node.start()
        return node

    yield start
    for node in nodes:
        await node.kill9()

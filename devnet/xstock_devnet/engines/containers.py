"""The second engine: PostgreSQL and Kafka in containers, where Docker and their images are there.

Same interface as the embedded engines, so the same tests run on both. An image is never pulled:
what a machine does not have, it does not test. `find_images` says what there is and why not more.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from xstock_devnet.engines.kafka import Kafka
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.engines.postgres import DEV_PASSWORD, Postgres
from xstock_devnet.processes import ProcessFailed

POSTGRES_PREFIX: Final = "postgres:18"
KAFKA_PREFIX: Final = "apache/kafka:4"
START_TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Images:
    """The container images to use, or None with the `reason` why there are none."""

    postgres: str | None
    kafka: str | None
    reason: str

    @property
    def complete(self) -> bool:
        """Whether both engines can run in containers."""
        return self.postgres is not None and self.kafka is not None


def find_images() -> Images:
    """Ask Docker which of the two images it has; no Docker, or a silent one, is an answer too."""
    try:
        import docker
        from docker.errors import DockerException

        try:
            client = docker.from_env(timeout=5)
            tags = sorted(tag for image in client.images.list() for tag in image.tags)
            client.close()
        except DockerException:
            return Images(None, None, "Docker does not answer")
    except ImportError:
        return Images(None, None, "the Python package docker is not installed")
    return choose_images(tags)


def choose_images(tags: list[str]) -> Images:
    """Pick the newest tag of each image out of what Docker has."""
    newest: dict[str, str | None] = {
        prefix: max((tag for tag in tags if tag.startswith(prefix)), default=None)
        for prefix in (POSTGRES_PREFIX, KAFKA_PREFIX)
    }
    missing = [prefix for prefix, tag in newest.items() if tag is None]
    reason = f"no image {' and no image '.join(missing)}" if missing else "Docker has both images"
    return Images(newest[POSTGRES_PREFIX], newest[KAFKA_PREFIX], reason)


class _Container:
    """A container bound to one fixed host port, so that it comes back where it was."""

    def __init__(self, image: str, inner_port: int, port: int, environment: dict[str, str]) -> None:
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer

        # its reaper is a container of its own, whose image would have to be pulled
        testcontainers_config.ryuk_disabled = True
        container: Any = DockerContainer(image)
        # with_bind_ports would listen on every interface of the machine
        container.ports[str(inner_port)] = ("127.0.0.1", port)
        for name, value in environment.items():
            container = container.with_env(name, value)
        self._container: Any = container
        self._created = False

    async def start(self) -> None:
        if self._created:
            await asyncio.to_thread(self._container.get_wrapped_container().start)
            return
        await asyncio.to_thread(self._container.start)
        self._created = True

    async def stop(self) -> None:
        await asyncio.to_thread(self._container.get_wrapped_container().stop)

    async def kill9(self) -> None:
        await asyncio.to_thread(self._container.get_wrapped_container().kill)

    async def last_log_lines(self) -> str:
        wrapped = self._container.get_wrapped_container()
        output: bytes = await asyncio.to_thread(wrapped.logs, tail=30)
        return output.decode(errors="replace")

    async def remove(self) -> None:
        if self._created:
            await asyncio.to_thread(self._container.stop)


async def _wait_for(engine: Postgres | Kafka, container: _Container, name: str) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT_SECONDS):
            while not await engine.answers():
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise ProcessFailed(
            f"{name} container: no answer on port {engine.port} in {START_TIMEOUT_SECONDS} s\n"
            f"{await container.last_log_lines()}"
        ) from None


class ContainerPostgres(Postgres):
    """PostgreSQL in a container, with the same password and the same loopback address rules."""

    def __init__(self, image: str) -> None:
        super().__init__("127.0.0.1", free_ports(1)[0])
        self._container = _Container(image, 5432, self.port, {"POSTGRES_PASSWORD": DEV_PASSWORD})

    async def start(self) -> None:
        """Create or restart the container and return once SQL is answered."""
        await self._container.start()
        await _wait_for(self, self._container, "PostgreSQL")

    async def stop(self) -> None:
        """Stop the server; its data stays until `remove`."""
        await self._container.stop()

    async def kill9(self) -> None:
        """Kill the server."""
        await self._container.kill9()

    async def remove(self) -> None:
        """Remove the container and its data."""
        await self._container.remove()


class ContainerKafka(Kafka):
    """Kafka in a container, advertised at its host port."""

    def __init__(self, image: str) -> None:
        super().__init__(free_ports(1)[0])
        environment = {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{self.bootstrap}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        }
        self._container = _Container(image, 9092, self.port, environment)

    async def start(self) -> None:
        """Create or restart the container and return once the broker has joined its cluster."""
        await self._container.start()
        await _wait_for(self, self._container, "Kafka")

    async def stop(self) -> None:
        """Stop the broker; its topics stay until `remove`."""
        await self._container.stop()

    async def kill9(self) -> None:
        """Kill the broker."""
        await self._container.kill9()

    async def remove(self) -> None:
        """Remove the container and its topics."""
        await self._container.remove()

"""Records over a real broker: what nobody of us wrote, and what nobody can read, never shows."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaConsumer

from tests.services.gateway.facts import DEPLOYMENT, final, said, transfer
from tests.services.gateway.world import GatewayWorld
from xstock_devnet.engines.containers import ContainerKafka
from xstock_devnet.engines.kafka import KafkaBroker
from xstock_gateway.adapters.postgres import PostgresGatewayStore
from xstock_gateway.adapters.records import OBSERVATIONS, PROGRESS, TOPICS, TRANSFERS, RecordCodec
from xstock_gateway.entrypoints.kafka import Intake
from xstock_gateway.entrypoints.loops import count_dead_letters, count_gaps
from xstock_gateway.metrics import GatewayMetrics
from xstock_gateway.ports import Coverage
from xstock_gateway.view import Fact
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.kafka import (
    BusConsumer,
    BusProducer,
    ConsumerSettings,
    ProducerSettings,
    Record,
)
from xstock_runtime.metrics import Metrics

KEY, FOREIGN = bytes(range(32)), bytes(range(1, 33))
CODEC = RecordCodec(DEPLOYMENT)
GOOD = [
    Record(OBSERVATIONS, b"1", CODEC.final_to(final(1))),
    Record(TRANSFERS, b"1", CODEC.relayer_to(said(1, 5))),
    Record(TRANSFERS, b"1", CODEC.relayer_to(said(1, 2))),
]
FORGED = Record(TRANSFERS, b"6", CODEC.relayer_to(said(6, 5)))
POISON = [
    Record(OBSERVATIONS, b"7", b"\xff" * 33),
    Record(PROGRESS, b"7", b"not protobuf at all"),
    Record(TRANSFERS, b"7", RecordCodec("other").relayer_to(said(7, 5))),
]


@pytest.fixture
async def broker(own_kafka: KafkaBroker | ContainerKafka) -> str:
    """A broker with our topics, its own, because their names are fixed."""
    names = [*TOPICS, *(f"{name}.dlq" for name in TOPICS)]
    await own_kafka.create_topics(names, partitions=1)
    return own_kafka.bootstrap


async def publish(bootstrap: str, key: bytes, *records: Record) -> None:
    """Publish under a key."""
    async with BusProducer(ProducerSettings(bootstrap, key), SystemClock()) as producer:
        await producer.publish(records)


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(30):
        while not await seen():
            await asyncio.sleep(0.05)


async def consume(
    bootstrap: str,
    world: GatewayWorld,
    metrics: GatewayMetrics,
    keys: tuple[bytes, ...],
    done: Callable[[], Awaitable[bool]],
    *,
    group: str = "gateway",
) -> None:
    """The gateway's consumer as bootstrap builds it, until `done`."""
    clock, randomness = SystemClock(), SystemRandomness()
    async with BusProducer(ProducerSettings(bootstrap, KEY), clock) as producer:
        consumer: BusConsumer[Fact | Coverage | None] = BusConsumer(
            ConsumerSettings(bootstrap=bootstrap, group=group, topics=TOPICS, mac_keys=keys),
            decode=CODEC.decode,
            handler=Intake(world.ingest, metrics).take,
            dead_letters=producer,
            clock=clock,
            randomness=randomness,
            on_poison=count_dead_letters(metrics),
            on_gap=count_gaps(metrics),
        )
        running = asyncio.ensure_future(consumer.run())
        try:
            await until(done)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def dead_letters(bootstrap: str, count: int) -> set[bytes]:
    """The values on the dead-letter topics."""
    names = [f"{name}.dlq" for name in TOPICS]
    reader = AIOKafkaConsumer(*names, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await reader.start()
    try:
        async with asyncio.timeout(20):
            return {bytes((await reader.getone()).value or b"") for _ in range(count)}
    finally:
        await reader.stop()


async def test_gateway__forged_and_poisoned_records_among_good_ones__only_the_good_show(
    broker: str, store: PostgresGatewayStore
) -> None:
    """F65: original bytes to the dead letters, the rest of the page stands, nothing is blocked."""
    world = GatewayWorld(clock=SystemClock(), store=store)
    metrics = GatewayMetrics.create(Metrics("test"))
    await publish(broker, KEY, POISON[0], GOOD[0], POISON[1])
    await publish(broker, FOREIGN, FORGED)
    await publish(broker, KEY, *GOOD[1:], POISON[2])

    async def shown() -> bool:
        view = (await store.views([transfer(1)])).get(transfer(1))
        return view is not None and view.terminal and metrics.dead_letters._value.get() == 4

    await consume(broker, world, metrics, (KEY,), shown)
    assert await store.views([transfer(6), transfer(7)]) == {}
    assert await dead_letters(broker, 4) == {FORGED.value, *(record.value for record in POISON)}

    lines = (await store.journal_bounds())[2]
    again = GatewayMetrics.create(Metrics("again"))

    async def read_again() -> bool:
        return bool(again.dead_letters._value.get() == 4)

    await consume(broker, world, again, (KEY,), read_again, group="gateway-2")
    assert (await store.journal_bounds())[2] == lines


async def test_gateway__any_key_believed__shows_the_forged_transfer(
    broker: str, store: PostgresGatewayStore
) -> None:
    """Defence removed: without the MAC under our key alone, a forger writes our history."""
    world = GatewayWorld(clock=SystemClock(), store=store)
    metrics = GatewayMetrics.create(Metrics("test"))
    await publish(broker, FOREIGN, FORGED)

    async def shown() -> bool:
        return transfer(6) in await store.views([transfer(6)])

    await consume(broker, world, metrics, (KEY, FOREIGN), shown)
    assert (await store.views([transfer(6)]))[transfer(6)].state == "RELEASED"

"""Producer and consumer against a real broker: order, forgery, rebalance, restarts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.engines import Topics
from tests.integration.runtime.waiting import until
from xstock_devnet.engines.containers import ContainerKafka
from xstock_devnet.engines.kafka import KafkaBroker
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.errors import Transient
from xstock_runtime.kafka import (
    BusConsumer,
    BusProducer,
    ConsumerSettings,
    Message,
    ProducerSettings,
    Record,
    Rejection,
    TopicSpec,
    dead_letter_topic,
    ensure_topics,
    raw_value,
)

KEY = bytes(range(32))


class Reader:
    """A consumer of one topic that keeps what it was handed."""

    def __init__(self, bootstrap: str, topic: str, group: str, producer: BusProducer) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.poison: list[Rejection] = []
        self.consumer: BusConsumer[bytes] = BusConsumer(
            ConsumerSettings(
                bootstrap, (topic,), group, (KEY,), stall_seconds=4, session_seconds=6
            ),
            decode=raw_value,
            handler=self._handle,
            dead_letters=producer,
            clock=SystemClock(),
            randomness=SystemRandomness(),
            on_poison=self._on_poison,
        )

    async def _handle(self, page: list[Message[bytes]]) -> None:
        await asyncio.sleep(0.001)
        self.seen += [(message.received.key, message.body) for message in page]

    async def _on_poison(self, rejections: list[Rejection]) -> None:
        self.poison += rejections

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Reader"]:
        task = asyncio.create_task(self.consumer.run())
        try:
            yield self
        finally:
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError), outcome

    def values(self, key: bytes) -> list[bytes]:
        return [value for seen, value in self.seen if seen == key]


@pytest.fixture
async def producer(kafka: Topics) -> AsyncIterator[BusProducer]:
    async with BusProducer(ProducerSettings(kafka.bootstrap, KEY), SystemClock()) as started:
        yield started


async def make_topic(bootstrap: str, topic: str, partitions: int = 3) -> None:
    await ensure_topics(bootstrap, [TopicSpec(topic, partitions=partitions)])


def page(first: int, count: int) -> list[Record]:
    return [Record("", b"key %d" % (n % 7), b"%d" % n) for n in range(first, first + count)]


def on(topic: str, records: list[Record]) -> list[Record]:
    return [Record(topic, record.key, record.value) for record in records]


async def publish(producer: BusProducer, records: list[Record]) -> None:
    """As the outbox does: again until acknowledged, nothing newer before."""
    while True:
        try:
            await producer.publish(records)
        except Transient:
            await asyncio.sleep(0.1)
        else:
            return


def without_repeats(values: list[bytes]) -> list[bytes]:
    return list(dict.fromkeys(values))


async def test_bus__thousands_of_records__arrive_once_and_in_order_per_key(
    kafka: Topics, producer: BusProducer
) -> None:
    topic = kafka.name("orders")
    await make_topic(kafka.bootstrap, topic)
    await make_topic(kafka.bootstrap, topic)  # a second start finds them and is content
    reader = Reader(kafka.bootstrap, topic, kafka.name("group"), producer)
    async with reader.running():
        for first in range(0, 5000, 500):
            await producer.publish(on(topic, page(first, 500)))
        await until(lambda: len(reader.seen) >= 5000)
    assert len(reader.seen) == 5000
    for key in {key for key, _ in reader.seen}:
        numbers = [int(value) for value in reader.values(key)]
        assert numbers == sorted(numbers)


async def test_bus__records_forged_straight_into_kafka__end_in_the_dead_letters_only(
    kafka: Topics, producer: BusProducer
) -> None:
    """F65: forged, random and oversized bytes next to ours; the lane goes on."""
    topic = kafka.name("forged")
    await make_topic(kafka.bootstrap, topic, partitions=1)
    forger = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, max_request_size=2_000_000)
    await forger.start()
    garbage = [b"\xff\x00garbage", b"", b"x" * 900_000]
    await producer.publish([Record(topic, b"k", b"ours 1")])
    for value in garbage:
        await forger.send_and_wait(topic, value, key=b"k")
    await forger.send_and_wait(topic, b"copied", key=None, headers=[("mac", b"\0" * 32)])
    await forger.stop()
    await producer.publish([Record(topic, b"k", b"ours 2")])

    reader = Reader(kafka.bootstrap, topic, kafka.name("group"), producer)
    async with reader.running():
        await until(lambda: len(reader.seen) == 2 and len(reader.poison) == 4)
    assert [value for _, value in reader.seen] == [b"ours 1", b"ours 2"]

    letters = Reader(kafka.bootstrap, dead_letter_topic(topic), kafka.name("letters"), producer)
    async with letters.running():
        await until(lambda: len(letters.seen) == 4)
    assert [value for _, value in letters.seen] == [*garbage, b"copied"]


async def test_bus__restarted_reader__goes_on_after_what_was_committed(
    kafka: Topics, producer: BusProducer
) -> None:
    topic, group = kafka.name("resume"), kafka.name("group")
    await make_topic(kafka.bootstrap, topic)
    await producer.publish(on(topic, page(0, 300)))
    first = Reader(kafka.bootstrap, topic, group, producer)
    async with first.running():
        await until(lambda: first.consumer.stats.records == 300)
    await producer.publish(on(topic, page(300, 50)))
    second = Reader(kafka.bootstrap, topic, group, producer)
    async with second.running():
        await until(lambda: len(second.seen) >= 50)
        await asyncio.sleep(0.3)
    assert sorted(int(value) for _, value in second.seen) == list(range(300, 350))


async def test_bus__members_come_and_go_under_load__every_record_is_handled(
    kafka: Topics, producer: BusProducer
) -> None:
    """F59: rebalances while pages are handled; repeated perhaps, lost never."""
    topic, group = kafka.name("rebalance"), kafka.name("group")
    await make_topic(kafka.bootstrap, topic)
    readers = [Reader(kafka.bootstrap, topic, group, producer) for _ in range(3)]

    async def load() -> None:
        for first in range(0, 3000, 50):
            await publish(producer, on(topic, page(first, 50)))
            await asyncio.sleep(0.03)

    def handled() -> set[int]:
        return {int(value) for reader in readers for _, value in reader.seen}

    async with readers[0].running():
        loading = asyncio.create_task(load())
        await until(lambda: len(handled()) > 200)
        async with readers[1].running():
            await asyncio.sleep(0.5)
            async with readers[2].running():
                await asyncio.sleep(0.5)
        await loading
        await until(lambda: len(handled()) == 3000)
    assert handled() == set(range(3000))


async def outage(
    broker: KafkaBroker | ContainerKafka, producer: BusProducer, take_away: Callable[[], Any]
) -> Reader:
    """Publish and consume through three outages; what came, in order of coming."""
    topic = "outage"
    await make_topic(broker.bootstrap, topic)
    reader = Reader(broker.bootstrap, topic, "group", producer)
    async with reader.running():
        for round_ in range(3):
            loading = asyncio.create_task(_load(producer, topic, round_ * 400))
            await asyncio.sleep(0.2)
            await take_away()
            await asyncio.sleep(0.5)
            await broker.start()
            await asyncio.wait_for(loading, 60)
        await until(lambda: len(set(reader.seen)) == 1200, seconds=60)
    return reader


async def _load(producer: BusProducer, topic: str, first: int) -> None:
    for start in range(first, first + 400, 20):
        await publish(producer, on(topic, page(start, 20)))
        await asyncio.sleep(0.02)


async def test_bus__broker_killed_three_times_under_load__loses_nothing_and_keeps_order(
    own_kafka: KafkaBroker | ContainerKafka,
) -> None:
    """F60, F61: restarts under load; producer and consumer are back by themselves."""
    settings = ProducerSettings(own_kafka.bootstrap, KEY, ack_seconds=8)
    async with BusProducer(settings, SystemClock()) as producer:
        reader = await outage(own_kafka, producer, own_kafka.kill9)
    for key in {key for key, _ in reader.seen}:
        numbers = [int(value) for value in without_repeats(reader.values(key))]
        assert numbers == sorted(numbers)


async def test_topics__broker_not_there__is_transient() -> None:
    with pytest.raises(Transient, match="KAFKA_UNREACHABLE"):
        await ensure_topics("127.0.0.1:1", [TopicSpec("t")], timeout_seconds=1)

"""Observations over a real broker: garbage, forgeries, duplicates, and what Kafka never brought."""

import asyncio
from collections.abc import Callable

from tests.builders import a_burn, a_message, a_release
from tests.engines import Topics
from tests.services.relayer.faults import WorldMaker
from tests.services.relayer.world import World
from xstock_core.ids import Domain
from xstock_core.observation import BurnFinal
from xstock_relayer.entrypoints.consumer import Observations
from xstock_relayer.model import Hint, Numbered
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.kafka import (
    BusConsumer,
    BusProducer,
    ConsumerSettings,
    Message,
    ProducerSettings,
    Record,
    TopicSpec,
    ensure_topics,
)
from xstock_wire.codec import observation_from_wire, observation_to_wire
from xstock_wire.v1 import records_pb2

KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))


def a_record(topic: str, numbered: Numbered) -> Record:
    """What a watcher publishes."""
    wire = observation_to_wire(
        numbered.observation, deployment_id="test", sequence=numbered.sequence
    )
    return Record(topic, b"key", wire.SerializeToString())


async def until(seen: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not seen():
            await asyncio.sleep(0.05)


async def watched(world: World, burns: int) -> list[Numbered]:
    """Burns as Ethereum's watcher has numbered them."""
    world.burn(burns)
    await world.watchers[Domain.ETHEREUM].read()
    return world.watchers[Domain.ETHEREUM].seen


def a_consumer(
    world: World, topics: Topics, topic: str, dead: BusProducer, *, believes: bool = False
) -> BusConsumer[Hint]:
    """The relayer's consumer as bootstrap builds it; or one that believes what Kafka says."""
    observations = Observations(world.relayer, "test")

    async def nothing(_: object) -> None:
        return

    async def believe(page: list[Message[Hint]]) -> None:
        records = [records_pb2.ObservationRecord.FromString(m.received.value) for m in page]
        await world.relayer.intake.take(
            [
                Numbered(record.sequence, observation_from_wire(record, deployment_id="test"))
                for record in records
            ]
        )

    return BusConsumer(
        ConsumerSettings(topics.bootstrap, (topic,), f"{topics.prefix}-relayer", (KEY,)),
        decode=observations.decode,
        handler=believe if believes else observations.take,
        dead_letters=dead,
        clock=SystemClock(),
        randomness=SystemRandomness(),
        on_poison=nothing if believes else observations.on_poison,
        on_gap=observations.on_gap,
    )


async def poisoned(kafka: Topics, make_world: WorldMaker, *, believes: bool) -> World:
    """The second of three burns is replaced by garbage on its way; the others arrive thrice."""
    topic = f"{kafka.prefix}.observations"
    await ensure_topics(kafka.bootstrap, [TopicSpec(topic, partitions=1)])
    world = make_world()
    await world.relayer.start()
    first, _, third = await watched(world, 3)
    clock = SystemClock()
    async with (
        BusProducer(ProducerSettings(kafka.bootstrap, KEY), clock) as producer,
        BusProducer(ProducerSettings(kafka.bootstrap, OTHER_KEY), clock) as forger,
    ):
        garbage = [Record(topic, b"x", b"\xff" * 50), Record(topic, b"x", b"")]
        sound = [a_record(topic, first), a_record(topic, third)]
        await producer.publish([sound[0], *garbage, *sound, *sound])
        await forger.publish([a_record(topic, first)])
        consumer = a_consumer(world, kafka, topic, producer, believes=believes)
        running = asyncio.ensure_future(consumer.run())
        try:
            await until(lambda: consumer.stats.records >= 8)
        finally:
            running.cancel()
        assert consumer.stats.rejected == 3
    await world.refresh()
    return world


async def test_consumer__garbage_on_the_topic__dead_lettered_and_the_burn_is_healed(
    kafka: Topics, make_world: WorldMaker
) -> None:
    """F65: never skipped, never a way to hold a lane; F48: duplicates change nothing."""
    world = await poisoned(kafka, make_world, believes=False)
    assert len(world.transfers) == 3
    await world.settle()
    assert set(world.minted(Domain.BNB).values()) == {1}
    assert len(world.minted(Domain.BNB)) == 3


async def test_consumer__believing_kafka_without_re_read__the_burn_is_missing(
    kafka: Topics, make_world: WorldMaker
) -> None:
    """F65 with the defence removed."""
    world = await poisoned(kafka, make_world, believes=True)
    assert len(world.transfers) == 2


FORGED = a_burn(a_message(counter=77), counter=77)


async def forged(kafka: Topics, make_world: WorldMaker, *, believes: bool) -> World:
    """Somebody with the bus key publishes a burn that nobody made, and the end of a real one."""
    topic = f"{kafka.prefix}.observations"
    await ensure_topics(kafka.bootstrap, [TopicSpec(topic, partitions=1)])
    world = make_world()
    await world.relayer.start()
    (real,) = await watched(world, 1)
    assert isinstance(real.observation, BurnFinal)
    end = a_release(real.observation.message)
    async with BusProducer(ProducerSettings(kafka.bootstrap, KEY), SystemClock()) as producer:
        lies = [Numbered(2, FORGED), Numbered(3, end)]
        await producer.publish([a_record(topic, one) for one in (*lies, real)])
        consumer = a_consumer(world, kafka, topic, producer, believes=believes)
        running = asyncio.ensure_future(consumer.run())
        try:
            await until(lambda: consumer.stats.records >= 3)
        finally:
            running.cancel()
    await world.settle()
    return world


async def test_consumer__forged_with_the_bus_key__opens_and_closes_nothing(
    kafka: Topics, make_world: WorldMaker
) -> None:
    """F01: Kafka only wakes; facts come from the watchers, so the real burn is still released."""
    world = await forged(kafka, make_world, believes=False)
    assert not await world.books.transfers([FORGED.transfer_id])
    assert len(world.minted(Domain.BNB)) == 1


async def test_consumer__believing_forged_records__opens_what_nobody_burned(
    kafka: Topics, make_world: WorldMaker
) -> None:
    """F01 with the defence removed."""
    world = await forged(kafka, make_world, believes=True)
    assert await world.books.transfers([FORGED.transfer_id])

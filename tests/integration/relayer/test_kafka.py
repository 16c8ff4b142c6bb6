"""Observations over a real broker: garbage, forgeries, duplicates, and what Kafka never brought."""

import asyncio
from collections.abc import Callable

from tests.engines import Topics
from tests.services.relayer.faults import WorldMaker
from tests.services.relayer.world import World
from xstock_core.ids import Domain
from xstock_relayer.entrypoints.consumer import Observations
from xstock_relayer.model import Numbered
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.kafka import (
    BusConsumer,
    BusProducer,
    ConsumerSettings,
    ProducerSettings,
    Record,
    TopicSpec,
    ensure_topics,
)
from xstock_wire.codec import observation_to_wire

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
    world: World, topics: Topics, topic: str, dead: BusProducer, *, heals: bool = True
) -> BusConsumer[Numbered]:
    """The relayer's consumer as bootstrap builds it."""
    observations = Observations(world.relayer, "test")

    async def nothing(_: object) -> None:
        return

    return BusConsumer(
        ConsumerSettings(topics.bootstrap, (topic,), f"{topics.prefix}-relayer", (KEY,)),
        decode=observations.decode,
        handler=observations.take,
        dead_letters=dead,
        clock=SystemClock(),
        randomness=SystemRandomness(),
        on_poison=observations.on_poison if heals else nothing,
        on_gap=observations.on_gap,
    )


async def poisoned(kafka: Topics, make_world: WorldMaker, *, heals: bool) -> World:
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
        consumer = a_consumer(world, kafka, topic, producer, heals=heals)
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
    world = await poisoned(kafka, make_world, heals=True)
    assert len(world.transfers) == 3
    await world.settle()
    assert set(world.minted(Domain.BNB).values()) == {1}
    assert len(world.minted(Domain.BNB)) == 3


async def test_consumer__garbage_and_no_re_read__the_burn_is_missing(
    kafka: Topics, make_world: WorldMaker
) -> None:
    """F65 with the defence removed."""
    world = await poisoned(kafka, make_world, heals=False)
    assert len(world.transfers) == 2

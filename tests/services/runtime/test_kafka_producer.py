"""The sending loop against a broker that wedges, hangs and lies. Fakes stand where aiokafka is."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import pytest
from aiokafka.errors import OutOfOrderSequenceNumber

from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.kafka import MAC_HEADER, BusProducer, ProducerSettings, Record, mac_of
from xstock_runtime.kafka.producer import partition_of

KEY = bytes(range(32))


class FakeBroker:
    """Keeps what was sent; hands out raw producers, each of which may be wedged for good."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bytes, bytes, Mapping[str, bytes]]] = []
        self.made: list[FakeProducer] = []
        self.wedge_after: int | None = None
        self.silent = False

    def make(self, _config: Mapping[str, Any]) -> "FakeProducer":
        self.made.append(FakeProducer(self))
        return self.made[-1]


class FakeProducer:
    """An idempotent producer: once out of order, every later send fails too (aiokafka #1017)."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.wedged = False
        self.stopped = False

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> None:
        self.stopped = True

    async def send(
        self, topic: str, value: bytes, key: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> Awaitable[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        broker = self.broker
        if broker.wedge_after is not None and len(broker.log) >= broker.wedge_after:
            self.wedged, broker.wedge_after = True, None
        if self.wedged:
            future.set_exception(OutOfOrderSequenceNumber())
        elif not broker.silent:
            broker.log.append((topic, key, value, dict(headers)))
            future.set_result(None)
        return future


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


def bus(broker: FakeBroker, ack_seconds: float = 5) -> BusProducer:
    return BusProducer(
        ProducerSettings("x:1", KEY, ack_seconds=ack_seconds), SystemClock(), make=broker.make
    )


def page(*values: bytes) -> list[Record]:
    return [Record("t", b"k", value) for value in values]


async def test_publish__many_callers_at_once__keep_the_order_of_calling(
    broker: FakeBroker,
) -> None:
    async with bus(broker) as producer:
        pages = [page(b"%d-0" % n, b"%d-1" % n) for n in range(50)]
        await asyncio.gather(*(producer.publish(each) for each in pages))
    assert [value for _, _, value, _ in broker.log] == [r.value for each in pages for r in each]


async def test_publish__every_record__carries_its_mac(broker: FakeBroker) -> None:
    async with bus(broker) as producer:
        await producer.publish([Record("t", b"k", b"v", (("h", b"x"),))])
    assert broker.log == [("t", b"k", b"v", {"h": b"x", MAC_HEADER: mac_of(KEY, "t", b"k", b"v")})]


async def test_publish__producer_wedged_by_sequence__is_rebuilt_and_the_page_sent_again(
    broker: FakeBroker,
) -> None:
    """F61: the caller hears Transient, publishes again as an outbox does, nothing is missing."""
    broker.wedge_after = 1
    async with bus(broker) as producer:
        with pytest.raises(Transient, match="KAFKA_SEND_FAILED"):
            await producer.publish(page(b"a", b"b", b"c"))
        await producer.publish(page(b"a", b"b", b"c"))
        assert producer.rebuilds == 1
    assert [value for _, _, value, _ in broker.log] == [b"a", b"a", b"b", b"c"]
    assert [made.stopped for made in broker.made] == [True, True]


async def test_publish__without_the_rebuild__stays_wedged_for_ever(broker: FakeBroker) -> None:
    """F61, defence removed: keep the wedged producer and nothing ever gets through."""
    broker.wedge_after = 0
    only = broker.make({})
    producer = BusProducer(ProducerSettings("x:1", KEY), SystemClock(), make=lambda _config: only)
    async with producer:
        for _ in range(3):
            with pytest.raises(Transient):
                await producer.publish(page(b"a"))
    assert broker.log == []


async def test_publish__no_ack_in_time__is_transient_not_a_hang(broker: FakeBroker) -> None:
    broker.silent = True
    async with bus(broker, ack_seconds=0.05) as producer:
        with pytest.raises(Transient, match="TimeoutError"):
            await producer.publish(page(b"a"))
        broker.silent = False
        await producer.publish(page(b"a"))


async def test_publish__record_too_large__is_refused_before_anything_is_sent(
    broker: FakeBroker,
) -> None:
    async with bus(broker) as producer:
        with pytest.raises(InvalidMessage, match="RECORD_TOO_LARGE"):
            await producer.publish(page(b"a", b"x" * 1_000_000))
    assert broker.log == []


async def test_stop__with_a_page_in_flight__fails_it_instead_of_hanging(
    broker: FakeBroker,
) -> None:
    broker.silent = True
    producer = bus(broker)
    await producer.start()
    publishing = asyncio.create_task(producer.publish(page(b"a")))
    await asyncio.sleep(0.02)
    await producer.stop()
    with pytest.raises(Transient, match="PRODUCER_STOPPED"):
        await publishing
    with pytest.raises(RuntimeError):
        await producer.publish(page(b"b"))


def test_partition__of_one_key__is_always_the_same_and_all_are_used() -> None:
    keys = [number.to_bytes(32, "big") for number in range(300)]
    places = [partition_of(key, [0, 1, 2], [2]) for key in keys]
    assert places == [partition_of(key, [0, 1, 2], []) for key in keys]
    assert min(places.count(partition) for partition in (0, 1, 2)) > 50
    assert ProducerSettings("broker:9092", KEY).config()["partitioner"] is partition_of

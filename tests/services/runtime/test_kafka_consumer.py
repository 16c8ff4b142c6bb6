"""The consumer's promises against a scripted broker: order, poison, retry, commit, stall, gap."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from xstock_runtime.clock import SeededRandomness, SystemClock
from xstock_runtime.errors import Fatal, InvalidMessage, Transient
from xstock_runtime.health import Progress
from xstock_runtime.kafka import (
    MAC_HEADER,
    BusConsumer,
    ConsumerSettings,
    Message,
    Received,
    Record,
    Rejection,
    RetentionGap,
    mac_of,
)
from xstock_runtime.retry import RetryPolicy

KEY = bytes(range(32))
TP = TopicPartition("t", 0)


@dataclass
class Broker:
    """One partition and one committed offset, shared by all raw consumers made."""

    records: list[Any] = field(default_factory=list)
    committed: int | None = None
    beginning: int = 0
    made: list["RawConsumer"] = field(default_factory=list)
    deaf: int = 0  # this many next consumers never receive anything
    commit_failures: int = 0

    def append(self, value: bytes, *, mac: bytes | None = None, forged: bool = False) -> None:
        good = mac_of(KEY, "t", b"k", value)
        headers = () if forged else ((MAC_HEADER, mac or good),)
        self.records.append(
            SimpleNamespace(
                topic="t",
                partition=0,
                offset=len(self.records),
                timestamp=0,
                key=b"k",
                value=value,
                headers=headers,
            )
        )

    def make(self, _config: object) -> "RawConsumer":
        self.made.append(RawConsumer(self, deaf=self.deaf > 0))
        self.deaf -= 1
        return self.made[-1]


class RawConsumer:
    """What BusConsumer uses of AIOKafkaConsumer."""

    def __init__(self, broker: Broker, *, deaf: bool) -> None:
        self.broker, self.deaf = broker, deaf
        self.at = broker.committed or 0
        self.listener: Any = None
        self.stopped = False
        self.held = {TP}
        self.paused_set: set[TopicPartition] = set()

    def subscribe(self, _topics: Sequence[str], listener: Any) -> None:
        self.listener = listener

    async def start(self) -> None:
        await self.listener.on_partitions_revoked(set())
        await self.listener.on_partitions_assigned({TP})

    async def stop(self) -> None:
        self.stopped = True

    def assignment(self) -> set[TopicPartition]:
        return self.held

    def paused(self) -> set[TopicPartition]:
        return self.paused_set

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused_set |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused_set -= set(partitions)

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        self.at = max(self.at, self.broker.beginning)
        page = self.broker.records[self.at : self.at + max_records]
        if self.deaf or self.paused_set or not page:
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        await asyncio.sleep(0)
        self.at += len(page)
        return {TP: page}

    def seek(self, _partition: TopicPartition, offset: int) -> None:
        self.at = offset

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.broker.commit_failures:
            self.broker.commit_failures -= 1
            raise CommitFailedError
        self.broker.committed = offsets[TP]

    async def committed(self, _partition: TopicPartition) -> int | None:
        return self.broker.committed

    async def position(self, _partition: TopicPartition) -> int:
        return self.at

    async def end_offsets(self, _partitions: object) -> dict[TopicPartition, int]:
        return {TP: len(self.broker.records)}

    async def beginning_offsets(self, _partitions: object) -> dict[TopicPartition, int]:
        return {TP: self.broker.beginning}


class DeadLetters:
    """Keeps dead letters; may be down."""

    def __init__(self) -> None:
        self.letters: list[Record] = []
        self.down = 0

    async def publish_dead_letters(self, records: Sequence[Record]) -> None:
        if self.down:
            self.down -= 1
            raise Transient("KAFKA_SEND_FAILED", "down")
        self.letters += records


@dataclass
class House:
    """One consumer under test and everything it touched."""

    broker: Broker = field(default_factory=Broker)
    dead: DeadLetters = field(default_factory=DeadLetters)
    pages: list[list[bytes]] = field(default_factory=list)
    poison: list[Rejection] = field(default_factory=list)
    progress: Progress = field(default_factory=lambda: Progress(SystemClock()))
    before_page: Callable[[list[Message[str]]], None] = lambda page: None
    on_gap: Callable[[RetentionGap], Awaitable[None]] | None = None
    stall_seconds: float = 10
    consumer: BusConsumer[str] = field(init=False)

    async def _handler(self, page: list[Message[str]]) -> None:
        self.before_page(page)
        await asyncio.sleep(0)
        self.pages.append([message.received.value for message in page])

    async def _on_poison(self, rejections: list[Rejection]) -> None:
        self.poison += rejections

    async def run_until(self, done: Callable[[], bool]) -> None:
        extra: dict[str, Any] = {} if self.on_gap is None else {"on_gap": self.on_gap}
        self.consumer = BusConsumer(
            ConsumerSettings(
                "x:1",
                ("t",),
                "g",
                (KEY,),
                page_records=3,
                poll_seconds=0.01,
                stall_seconds=self.stall_seconds,
                backoff=RetryPolicy(initial_seconds=0.01, max_seconds=0.02),
            ),
            decode=decode,
            handler=self._handler,
            dead_letters=self.dead,  # type: ignore[arg-type]
            clock=SystemClock(),
            randomness=SeededRandomness(1),
            on_poison=self._on_poison,
            progress=self.progress,
            make=self.broker.make,
            **extra,
        )
        task = asyncio.create_task(self.consumer.run())
        try:
            async with asyncio.timeout(5):
                while not done() and not task.done():
                    await asyncio.sleep(0.005)
        finally:
            task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(outcome, asyncio.CancelledError):
            assert isinstance(outcome, BaseException)
            raise outcome

    def committed_all(self) -> bool:
        return self.broker.committed == len(self.broker.records)


def decode(received: Received) -> str:
    try:
        return received.value.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage("NOT_UTF8", "the value is no text") from error


@pytest.fixture
def house() -> House:
    return House()


async def test_consumer__five_records__come_in_order_in_pages_and_are_committed(
    house: House,
) -> None:
    for n in range(5):
        house.broker.append(b"%d" % n)
    await house.run_until(house.committed_all)
    assert house.pages == [[b"0", b"1", b"2"], [b"3", b"4"]]
    assert house.progress.check("kafka").ready


async def test_consumer__record_forged_straight_into_kafka__never_reaches_decode_or_handler(
    house: House,
) -> None:
    house.broker.append(b"ours")
    house.broker.append(b"no mac", forged=True)
    house.broker.append(b"bad mac", mac=b"\0" * 32)
    await house.run_until(house.committed_all)
    assert house.pages == [[b"ours"]]
    assert [r.cause.code for r in house.poison] == ["MAC_MISSING", "MAC_MISMATCH"]
    assert [(r.topic, r.value) for r in house.dead.letters] == [
        ("t.dlq", b"no mac"),
        ("t.dlq", b"bad mac"),
    ]


async def test_consumer__without_the_mac_check__hands_the_forgery_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defence removed: this is what the MAC is for."""
    monkeypatch.setattr("xstock_runtime.kafka.consumer.verify_mac", lambda keys, received: None)
    house.broker.append(b"no mac", forged=True)
    await house.run_until(house.committed_all)
    assert house.pages == [[b"no mac"]]


@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"\x80" * 1_000_000])
async def test_consumer__poison_between_good_records__is_buried_and_the_rest_goes_on(
    house: House, garbage: bytes
) -> None:
    """F65: raw bytes to the DLQ with the cause, the service told, neither skipped nor stuck."""
    for value in (b"a", garbage, b"b"):
        house.broker.append(value)
    await house.run_until(house.committed_all)
    assert house.pages == [[b"a", b"b"]]
    letter = house.dead.letters[0]
    headers = dict(letter.headers)
    assert letter.value == garbage
    assert (headers["cause-code"], headers["offset"]) == (b"NOT_UTF8", b"1")
    assert [r.received.offset for r in house.poison] == [1]


async def test_consumer__dead_letter_topic_down__holds_the_page_until_it_is_back(
    house: House,
) -> None:
    """F65: a poison record is never skipped: no commit before its bytes are safe."""
    house.dead.down = 3
    house.broker.append(b"\xff")
    await house.run_until(house.committed_all)
    assert len(house.dead.letters) == 1
    assert house.consumer.stats.retried_pages == 3


async def test_consumer__handler_rejects_one_message__only_that_one_is_buried(
    house: House,
) -> None:
    def reject_b(page: list[Message[str]]) -> None:
        for message in page:
            if message.body == "b":
                message.reject(InvalidMessage("UNKNOWN_LANE", "no such lane"))

    house.before_page = reject_b
    for value in (b"a", b"b", b"c"):
        house.broker.append(value)
    await house.run_until(house.committed_all)
    assert [r.value for r in house.dead.letters] == [b"b"]


async def test_consumer__handler_blames_the_page__good_records_still_get_through(
    house: House,
) -> None:
    """F65: garbage that only the handler can see is no way to halt a partition either."""

    def blame(page: list[Message[str]]) -> None:
        if any(message.body == "bad" for message in page):
            raise InvalidMessage("BAD_PAGE", "something in here")

    house.before_page = blame
    for value in (b"a", b"bad", b"b"):
        house.broker.append(value)
    await house.run_until(house.committed_all)
    assert house.pages == [[b"a"], [b"b"]]
    assert [r.value for r in house.dead.letters] == [b"bad"]


async def test_consumer__handler_transient_twice__reads_the_same_page_again_before_the_next(
    house: House,
) -> None:
    failures = 2

    def fail(page: list[Message[str]]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise Transient("DATABASE_UNREACHABLE", "down")

    house.before_page = fail
    for n in range(4):
        house.broker.append(b"%d" % n)
    await house.run_until(house.committed_all)
    assert house.pages == [[b"0", b"1", b"2"], [b"3"]]
    assert house.consumer.stats.retried_pages == 2


async def test_consumer__handler_fatal__ends_the_loop_with_nothing_committed(
    house: House,
) -> None:
    def fenced(page: list[Message[str]]) -> None:
        raise Fatal("FENCED", "another writes")

    house.before_page = fenced
    house.broker.append(b"a")
    with pytest.raises(Fatal, match="FENCED"):
        await house.run_until(house.committed_all)
    assert house.broker.committed is None
    assert house.broker.made[0].stopped


async def test_consumer__partition_taken_away_while_handling__commits_nothing_of_it(
    house: House,
) -> None:
    """F59: only partitions still ours are committed; the new owner reads the page again."""
    house.before_page = lambda page: house.broker.made[0].held.clear()
    house.broker.append(b"a")
    await house.run_until(lambda: bool(house.pages) and house.consumer.stats.pages == 1)
    assert house.broker.committed is None


async def test_consumer__commit_fails_in_a_rebalance__goes_on(house: House) -> None:
    """F59: a lost commit is a repetition later, not a crash now."""
    house.broker.commit_failures = 1
    house.broker.append(b"a")
    await house.run_until(lambda: house.consumer.stats.commits_lost == 1)
    assert house.pages == [[b"a"]]


async def test_consumer__rebalance_under_way__commit_waits_until_assigned(house: House) -> None:
    """F59: the lock is held from revoked to assigned."""
    raw: list[RawConsumer] = house.broker.made
    revoked: list[asyncio.Task[None]] = []

    def begin_rebalance(page: list[Message[str]]) -> None:
        revoked.append(asyncio.ensure_future(raw[0].listener.on_partitions_revoked({TP})))

    house.before_page = begin_rebalance
    house.broker.append(b"a")
    run = asyncio.create_task(house.run_until(house.committed_all))
    await asyncio.sleep(0.1)
    assert house.pages == [[b"a"]]
    assert house.broker.committed is None
    await raw[0].listener.on_partitions_assigned({TP})
    await run
    assert house.broker.committed == 1


async def test_consumer__broker_has_more_but_nothing_comes__is_rebuilt_and_loses_nothing(
    house: House,
) -> None:
    """F60: a stuck consumer is found by its lack of progress."""
    house.stall_seconds, house.broker.deaf = 0.1, 1
    house.broker.append(b"a")
    await house.run_until(house.committed_all)
    assert house.pages == [[b"a"]]
    assert house.consumer.stats.rebuilds == 1
    assert house.broker.made[0].stopped


async def test_consumer__watchdog_that_never_bites__stays_stuck(house: House) -> None:
    """F60, defence removed: with an endless stall limit the record is never read."""
    house.stall_seconds, house.broker.deaf = 10_000, 1
    house.broker.append(b"a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(house.run_until(house.committed_all), 0.5)
    assert house.pages == []


async def test_consumer__idle_without_backlog__is_left_alone(house: House) -> None:
    house.stall_seconds = 0.05
    house.broker.append(b"a")
    loop = asyncio.get_running_loop()
    until = loop.time() + 0.5
    await house.run_until(lambda: loop.time() > until)
    assert house.consumer.stats.rebuilds == 0
    assert house.progress.ready()


async def test_consumer__unread_records_gone_by_retention__refuses_to_go_on(house: House) -> None:
    """F64: no silent reset; nothing newer is handled first."""
    for n in range(6):
        house.broker.append(b"%d" % n)
    house.broker.committed, house.broker.beginning = 2, 4
    with pytest.raises(Fatal, match="RETENTION_GAP"):
        await house.run_until(house.committed_all)
    assert house.pages == []


async def test_consumer__gap_with_a_rebuilding_service__is_told_exactly_what_is_gone(
    house: House,
) -> None:
    """F64: the service rebuilds from database and source, then goes on."""
    gaps: list[RetentionGap] = []

    async def rebuild(gap: RetentionGap) -> None:
        gaps.append(gap)

    house.on_gap = rebuild
    for n in range(6):
        house.broker.append(b"%d" % n)
    house.broker.committed, house.broker.beginning = 2, 4
    await house.run_until(house.committed_all)
    assert gaps == [RetentionGap("t", 0, 2, 4)]
    assert house.pages == [[b"4", b"5"]]


async def test_consumer__paused_and_resumed__hands_over_only_afterwards(house: House) -> None:
    house.broker.append(b"a")
    run = asyncio.create_task(house.run_until(lambda: False))
    await asyncio.sleep(0.05)
    house.consumer.pause()
    await asyncio.sleep(0.05)
    house.broker.append(b"b")
    await asyncio.sleep(0.05)
    assert house.pages == [[b"a"]]
    house.consumer.resume()
    await asyncio.sleep(0.05)
    assert house.pages == [[b"a"], [b"b"]]
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

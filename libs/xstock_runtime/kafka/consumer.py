"""Pages of authentic records to a handler; offsets are committed only after it returned.

Promises: a record is handed over at least once and per partition in order; a page that fails with
`Transient` or `Ambiguous` is read again after a backoff (handlers are idempotent: reading again
*is* the reconciliation); an unauthentic or undecodable record, or one the handler rejects, goes to
`<topic>.dlq` with its original bytes, then `on_poison` is told, then the page goes on: garbage
never blocks a partition and is never dropped (F65). Commits happen under a lock that a rebalance
holds from revoked to assigned, and only for partitions still ours (aiokafka #844, F59). A consumer
that reads nothing while the broker has more is thrown away and rebuilt (aiokafka #1154, F60).
If the broker no longer has what we did not read yet, `on_gap` is told before anything newer is
handled (F64); by default that is Fatal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from xstock_runtime.clock import Clock, Randomness
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, Transient
from xstock_runtime.health import Progress
from xstock_runtime.kafka.config import check_consumer_config
from xstock_runtime.kafka.producer import BusProducer
from xstock_runtime.kafka.records import (
    Message,
    Received,
    Record,
    Rejection,
    dead_letter_topic,
    mac_of,
    verify_mac,
)
from xstock_runtime.logging import get_logger
from xstock_runtime.retry import RetryPolicy, jittered

_log = get_logger("kafka.consumer")
_CALL_SECONDS = 10.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """What to read. `mac_keys` are all keys believed, one outside a rotation.

    `page_records` bounds one page; `stall_seconds` is how long a backlog may stand still before
    the consumer is rebuilt. `extra` goes to aiokafka as it is; weak settings are refused.
    """

    bootstrap: str
    topics: tuple[str, ...]
    group: str
    mac_keys: tuple[bytes, ...]
    client_id: str = "xstock"
    page_records: int = 500
    poll_seconds: float = 0.2
    stall_seconds: float = 15.0
    session_seconds: float = 10.0
    backoff: RetryPolicy = field(default_factory=RetryPolicy)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """The keyword arguments for aiokafka."""
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "group_id": self.group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            "session_timeout_ms": int(self.session_seconds * 1000),
            "heartbeat_interval_ms": int(self.session_seconds * 1000 / 5),
            "fetch_max_wait_ms": 200,
            **self.extra,
        }


@dataclass(slots=True)
class ConsumerStats:
    """Counts since start, for the service's metrics."""

    records: int = 0
    pages: int = 0
    rejected: int = 0
    retried_pages: int = 0
    rebuilds: int = 0
    commits_lost: int = 0
    lag: int = 0


@dataclass(frozen=True, slots=True)
class RetentionGap:
    """Records `expected` .. `found - 1` of a partition are gone unread."""

    topic: str
    partition: int
    expected: int
    found: int


class _StuckError(Exception):
    """The consumer makes no progress although there is something to read."""


async def _refuse_gap(gap: RetentionGap) -> None:
    raise Fatal(
        "RETENTION_GAP",
        f"{gap.topic}/{gap.partition}: offsets {gap.expected}..{gap.found - 1} are gone unread; "
        "rebuild from the database and the source, then reset the group by hand",
        {"topic": gap.topic, "partition": gap.partition, "expected": gap.expected},
    )


def _aiokafka_consumer(config: Mapping[str, Any]) -> Any:
    return AIOKafkaConsumer(**config)


class _RebalanceLock(ConsumerRebalanceListener):  # type: ignore[misc]
    """Held from revoked to assigned, so that no commit falls into a rebalance."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.assigned_count = 0
        self._holding = False

    async def on_partitions_revoked(self, _revoked: object) -> None:
        if not self._holding:
            await self.lock.acquire()
            self._holding = True

    async def on_partitions_assigned(self, _assigned: object) -> None:
        self.assigned_count += 1
        if self._holding:
            self._holding = False
            self.lock.release()


class BusConsumer(Generic[T]):
    """Reads `settings.topics` as one member of `settings.group` while `run()` is awaited.

    `decode` turns a record into a body and raises InvalidMessage for what it cannot believe.
    `handler` gets non-empty pages. `on_poison` gets what was dead-lettered. Both are awaited
    before the offsets are committed. `name` is this loop's name in `progress`.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        *,
        decode: Callable[[Received], T],
        handler: Callable[[list[Message[T]]], Awaitable[None]],
        dead_letters: BusProducer,
        clock: Clock,
        randomness: Randomness,
        on_poison: Callable[[list[Rejection]], Awaitable[None]],
        on_gap: Callable[[RetentionGap], Awaitable[None]] = _refuse_gap,
        progress: Progress | None = None,
        name: str = "kafka",
        make: Callable[[Mapping[str, Any]], Any] = _aiokafka_consumer,
    ) -> None:
        self._config = settings.config()
        check_consumer_config(self._config)
        if not settings.mac_keys:
            raise Fatal("WEAK_KAFKA_SETTINGS", "mac_keys is empty; give at least one key")
        for key in settings.mac_keys:
            mac_of(key, "", b"", b"")
        self._settings = settings
        self._decode = decode
        self._handler = handler
        self._dead_letters = dead_letters
        self._clock = clock
        self._randomness = randomness
        self._on_poison = on_poison
        self._on_gap = on_gap
        self._progress = progress
        self._name = name
        self._make = make
        self._paused = False
        self._failures = 0
        self._expected: dict[TopicPartition, int] = {}
        self._seen_assignment = 0
        self._progressed_at = clock.monotonic()
        self._watched_at = clock.monotonic()
        self.stats = ConsumerStats()
        if progress is not None:
            progress.register(name, settings.stall_seconds * 2)

    def pause(self) -> None:
        """Stop handing pages over; membership of the group is kept."""
        self._paused = True

    def resume(self) -> None:
        """Hand pages over again."""
        self._paused = False
        self._progressed_at = self._clock.monotonic()

    async def run(self) -> None:
        """Consume until cancelled. Raises Fatal, and whatever unexpected the handler raises."""
        while True:
            try:
                await self._serve()
            except (KafkaError, OSError, TimeoutError, _StuckError) as error:
                self.stats.rebuilds += 1
                _log.warning(
                    "kafka_consumer_rebuilt", group=self._settings.group, error=repr(error)
                )
                if self._progress is not None:
                    self._progress.fail(self._name, f"rebuilding after {type(error).__name__}")
                await self._back_off()

    async def _serve(self) -> None:
        raw = self._make(self._config)
        listener = _RebalanceLock()
        raw.subscribe(list(self._settings.topics), listener=listener)
        self._progressed_at = self._clock.monotonic()
        self._watched_at = float("-inf")  # look once at the start: an idle service is ready soon
        self._expected.clear()
        self._seen_assignment = 0
        try:
            async with asyncio.timeout(max(_CALL_SECONDS, self._settings.stall_seconds)):
                await raw.start()
            while True:
                await self._turn(raw, listener)
        finally:
            await _stop(raw)

    async def _turn(self, raw: Any, listener: _RebalanceLock) -> None:
        if self._paused:
            raw.pause(*raw.assignment())
        elif raw.paused():
            raw.resume(*raw.paused())
        poll = self._settings.poll_seconds
        async with asyncio.timeout(poll + _CALL_SECONDS):
            pages = await raw.getmany(
                timeout_ms=int(poll * 1000), max_records=self._settings.page_records
            )
        records = [_received(record) for batch in pages.values() for record in batch]
        if records:
            await self._check_gaps(raw, listener, pages)
            await self._handle(raw, listener, pages, records)
        await self._watch(raw)

    async def _handle(
        self,
        raw: Any,
        listener: _RebalanceLock,
        pages: Mapping[TopicPartition, Sequence[Any]],
        records: Sequence[Received],
    ) -> None:
        try:
            rejections = await self._deliver(records)
            await self._bury(rejections)
        except (Transient, Ambiguous) as error:
            self.stats.retried_pages += 1
            _log.warning("kafka_page_retried", error=str(error), records=len(records))
            await self._back_off()
            for partition, batch in pages.items():
                if partition in raw.assignment():
                    raw.seek(partition, batch[0].offset)
            return
        await self._commit(raw, listener, pages)
        self._failures = 0
        self.stats.pages += 1
        self.stats.records += len(records)
        self._progressed_at = self._clock.monotonic()
        if self._progress is not None:
            self._progress.beat(self._name)

    async def _deliver(self, records: Sequence[Received]) -> list[Rejection]:
        rejections: list[Rejection] = []
        messages: list[Message[T]] = []
        for received in records:
            try:
                # SECURITY: nothing unauthentic reaches decode or the handler.
                verify_mac(self._settings.mac_keys, received)
                messages.append(Message(received, self._decode(received)))
            except InvalidMessage as cause:
                rejections.append(Rejection(received, cause))
        if messages:
            await self._hand_over(messages)
        rejections += [
            Rejection(message.received, message.rejected)
            for message in messages
            if message.rejected is not None
        ]
        return rejections

    async def _hand_over(self, messages: list[Message[T]]) -> None:
        """The whole page at once; one by one if the handler blames the page but no record."""
        try:
            await self._handler(messages)
        except InvalidMessage as cause:
            if len(messages) == 1:
                messages[0].reject(cause)
                return
            for message in messages:
                if message.rejected is None:
                    await self._hand_over([message])

    async def _bury(self, rejections: list[Rejection]) -> None:
        if not rejections:
            return
        await self._dead_letters.publish_dead_letters([_dead_letter(r) for r in rejections])
        self.stats.rejected += len(rejections)
        for rejection in rejections:
            _log.error(
                "kafka_record_dead_lettered",
                topic=rejection.received.topic,
                partition=rejection.received.partition,
                offset=rejection.received.offset,
                code=rejection.cause.code,
            )
        await self._on_poison(rejections)

    async def _commit(
        self, raw: Any, listener: _RebalanceLock, pages: Mapping[TopicPartition, Sequence[Any]]
    ) -> None:
        offsets = {partition: batch[-1].offset + 1 for partition, batch in pages.items()}
        try:
            async with asyncio.timeout(_CALL_SECONDS + self._settings.session_seconds):
                async with listener.lock:
                    held = {tp: at for tp, at in offsets.items() if tp in raw.assignment()}
                    if held:
                        await raw.commit(held)
                        self._expected.update(held)
        except (CommitFailedError, IllegalStateError) as error:
            # The group moved on: whoever owns the partition now reads the page again.
            self.stats.commits_lost += 1
            _log.info("kafka_commit_lost", error=repr(error))

    async def _check_gaps(
        self,
        raw: Any,
        listener: _RebalanceLock,
        pages: Mapping[TopicPartition, Sequence[Any]],
    ) -> None:
        if self._seen_assignment != listener.assigned_count:
            self._seen_assignment = listener.assigned_count
            self._expected.clear()
        for partition, batch in pages.items():
            async with asyncio.timeout(_CALL_SECONDS):
                if partition not in self._expected:
                    committed = await raw.committed(partition)
                    self._expected[partition] = batch[0].offset if committed is None else committed
                expected = self._expected[partition]
                if batch[0].offset <= expected:
                    continue
                found = (await raw.beginning_offsets([partition]))[partition]
            if found > expected:  # compaction also leaves holes, but not before the beginning
                await self._on_gap(
                    RetentionGap(partition.topic, partition.partition, expected, found)
                )

    async def _watch(self, raw: Any) -> None:
        """Every quarter of the stall limit: is there more to read than we are reading?"""
        now = self._clock.monotonic()
        if now - self._watched_at < self._settings.stall_seconds / 4:
            return
        self._watched_at = now
        stalled = now - self._progressed_at >= self._settings.stall_seconds
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                self.stats.lag = await _lag(raw)
        except (KafkaError, OSError, TimeoutError) as error:
            if stalled:
                raise _StuckError(f"broker does not answer: {error!r}") from error
            return
        if self._progress is not None:
            self._progress.lag(self._name, self.stats.lag)
        if self.stats.lag == 0 or self._paused:
            self._progressed_at = now
        elif stalled:
            still = now - self._progressed_at
            raise _StuckError(f"{self.stats.lag} records wait, none read for {still:.0f} s")

    async def _back_off(self) -> None:
        policy = self._settings.backoff
        grown = policy.initial_seconds * policy.factor ** min(self._failures, 30)
        self._failures += 1
        delay = min(policy.max_seconds, grown)
        await self._clock.sleep(jittered(delay, policy, self._randomness))


async def _lag(raw: Any) -> int:
    partitions = list(raw.assignment())
    if not partitions:
        return 0
    ends = await raw.end_offsets(partitions)
    return sum([max(0, ends[tp] - await raw.position(tp)) for tp in partitions])


async def _stop(raw: Any) -> None:
    try:
        async with asyncio.timeout(_CALL_SECONDS):
            await raw.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        _log.warning("kafka_consumer_stop_failed", error=repr(error))


def _received(record: Any) -> Received:
    return Received(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key or b"",
        value=record.value or b"",
        headers=tuple((name, value or b"") for name, value in record.headers),
    )


def _dead_letter(rejection: Rejection) -> Record:
    received = rejection.received
    return Record(
        topic=dead_letter_topic(received.topic),
        key=received.key,
        value=received.value,
        headers=(
            ("cause-code", rejection.cause.code.encode()),
            ("cause", rejection.cause.message.encode()[:1000]),
            ("topic", received.topic.encode()),
            ("partition", str(received.partition).encode()),
            ("offset", str(received.offset).encode()),
            ("timestamp-ms", str(received.timestamp_ms).encode()),
            *((f"original-{name}", value[:4096]) for name, value in received.headers[:32]),
        ),
    )

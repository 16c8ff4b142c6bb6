"""One loop that sends in order, and is rebuilt when aiokafka's producer is wedged.

Promises: `publish` returns only after every record is acknowledged by all in-sync replicas;
records handed over in one call, and in calls that follow each other, are sent in that order
(many tasks awaiting `send()` were measured out of order after an outage; one loop was not).
On any failure everything in flight fails with `Transient`, the producer is thrown away and a new
one is started: an idempotent producer that met OutOfOrderSequence never recovers (aiokafka
#1017, F61). A failed record may have landed, so callers publish from an outbox and receivers
deduplicate. Kafka transactions are not used.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from xstock_runtime.clock import Clock
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.kafka.config import check_producer_config
from xstock_runtime.kafka.records import MAC_HEADER, Record, mac_of
from xstock_runtime.logging import get_logger

_log = get_logger("kafka.producer")
_ROUND_RECORDS_MAX = 5_000
_REQUEST_BYTES_MAX = 4 * 1024 * 1024


class RawProducer(Protocol):
    """The part of AIOKafkaProducer in use; tests wedge it here."""

    async def start(self) -> None:
        """Connect and get a producer id."""

    async def stop(self) -> None:
        """Flush and disconnect."""

    async def send(
        self, topic: str, value: bytes, key: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> Awaitable[object]:
        """Queue one record; the result is a future of its acknowledgement."""


@dataclass(frozen=True, slots=True)
class ProducerSettings:
    """How to reach the broker. `ack_seconds` bounds one round of sending, start-up included.

    `value_bytes_max` bounds key and value of an ordinary record. `extra` goes to aiokafka as it
    is (TLS, SASL, batch size); weak settings in it are refused.
    """

    bootstrap: str
    mac_key: bytes
    client_id: str = "xstock"
    ack_seconds: float = 30.0
    value_bytes_max: int = 900_000
    extra: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """The keyword arguments for aiokafka."""
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 0,
            "max_batch_size": 128 * 1024,
            "max_request_size": _REQUEST_BYTES_MAX,
            "partitioner": partition_of,
            "request_timeout_ms": int(self.ack_seconds * 1000),
            **self.extra,
        }


def partition_of(key: bytes, partitions: Sequence[int], available: Sequence[int]) -> int:
    """The partition of a key: always the same one, so that a transfer's records keep their order.

    CRC-32 in C; aiokafka's own murmur2 is pure Python and cost more than the rest of a send. Every
    producer of our topics is this class, so nothing else has to agree.
    """
    del available
    return partitions[zlib.crc32(key) % len(partitions)]


@dataclass(slots=True)
class _Job:
    records: Sequence[Record]
    done: asyncio.Future[None]


def _aiokafka_producer(config: Mapping[str, Any]) -> RawProducer:
    producer: RawProducer = AIOKafkaProducer(**config)
    return producer


class BusProducer:
    """Publishes batches in order. Use as an async context manager, or `start`/`stop`."""

    def __init__(
        self,
        settings: ProducerSettings,
        clock: Clock,
        make: Callable[[Mapping[str, Any]], RawProducer] = _aiokafka_producer,
    ) -> None:
        config = settings.config()
        check_producer_config(config)
        mac_of(settings.mac_key, "", b"", b"")  # refuses a short key at start, not at first use
        self._settings = settings
        self._config = config
        self._clock = clock
        self._make = make
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._raw: RawProducer | None = None
        self._loop: asyncio.Task[None] | None = None
        self.rebuilds = 0
        self.sent = 0

    async def __aenter__(self) -> BusProducer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the sending loop; the broker may still be down."""
        if self._loop is None:
            self._loop = asyncio.create_task(self._run(), name="kafka-producer")

    async def stop(self) -> None:
        """Stop sending. Whatever is not acknowledged fails with Transient PRODUCER_STOPPED."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None
        while not self._jobs.empty():
            self._fail([self._jobs.get_nowait()], _stopped())
        await self._discard()

    async def publish(self, records: Sequence[Record]) -> None:
        """Send `records` in order and return when all are acknowledged.

        Raises Transient (some may have landed), or InvalidMessage RECORD_TOO_LARGE before
        anything is sent. RuntimeError if not started.
        """
        if self._loop is None or self._loop.done():
            raise RuntimeError("BusProducer.publish before start or after stop")
        if not records:
            return
        for record in records:
            self._check_size(record)
        await self._enqueue(records)

    async def publish_dead_letters(self, records: Sequence[Record]) -> None:
        """As `publish`, for records whose size a stranger chose: bounded by the request only."""
        if records:
            await self._enqueue(records)

    async def _enqueue(self, records: Sequence[Record]) -> None:
        job = _Job(records, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        await job.done

    def _check_size(self, record: Record) -> None:
        size = len(record.key) + len(record.value)
        if size > self._settings.value_bytes_max:
            raise InvalidMessage(
                "RECORD_TOO_LARGE",
                f"a record for {record.topic} has {size} bytes; the limit is "
                f"{self._settings.value_bytes_max}: send a reference instead",
                {"topic": record.topic, "bytes": size, "limit": self._settings.value_bytes_max},
            )

    async def _run(self) -> None:
        while True:
            jobs = [await self._jobs.get()]
            count = len(jobs[0].records)
            while count < _ROUND_RECORDS_MAX and not self._jobs.empty():
                jobs.append(self._jobs.get_nowait())
                count += len(jobs[-1].records)
            try:
                async with asyncio.timeout(self._settings.ack_seconds):
                    await self._send_round(jobs)
            except asyncio.CancelledError:
                self._fail(jobs, _stopped())
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the producer is suspect
                await self._rebuild(jobs, error)
            else:
                self.sent += count
                for job in jobs:
                    if not job.done.done():
                        job.done.set_result(None)

    async def _send_round(self, jobs: Sequence[_Job]) -> None:
        raw = await self._connected()
        acks = [
            await raw.send(
                record.topic,
                value=record.value,
                key=record.key,
                headers=[*record.headers, (MAC_HEADER, self._mac(record))],
            )
            for job in jobs
            for record in job.records
        ]
        outcomes = await asyncio.gather(*acks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _mac(self, record: Record) -> bytes:
        return mac_of(self._settings.mac_key, record.topic, record.key, record.value)

    async def _connected(self) -> RawProducer:
        if self._raw is None:
            raw = self._make(self._config)
            self._raw = raw
            await raw.start()
        return self._raw

    async def _rebuild(self, jobs: Sequence[_Job], error: Exception) -> None:
        self.rebuilds += 1
        _log.warning("kafka_producer_rebuilt", error=repr(error), records_unsure=len(jobs))
        await self._discard()
        self._fail(
            jobs,
            Transient(
                "KAFKA_SEND_FAILED",
                f"not acknowledged: {str(error) or type(error).__name__}; publish again",
                {"error": type(error).__name__},
            ),
        )

    async def _discard(self) -> None:
        raw, self._raw = self._raw, None
        if raw is None:
            return
        try:
            async with asyncio.timeout(5):
                await raw.stop()
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            _log.warning("kafka_producer_stop_failed", error=repr(error))

    @staticmethod
    def _fail(jobs: Sequence[_Job], error: Transient) -> None:
        for job in jobs:
            if not job.done.done():
                job.done.set_exception(error)


def _stopped() -> Transient:
    return Transient("PRODUCER_STOPPED", "the producer is stopping; publish again after restart")

"""The gateway's loops: hear the journal grow, forget what is too old, say goodbye to streams."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from xstock_gateway.handlers.follow import Wakeups
from xstock_gateway.metrics import GatewayMetrics
from xstock_gateway.ports import GatewayStore
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, Transient
from xstock_runtime.kafka import Rejection, RetentionGap
from xstock_runtime.logging import get_logger

_DAY_MS = 24 * 3600 * 1000
_FORGET_EVERY_SECONDS = 600.0
_log = get_logger("gateway")


@dataclass(slots=True)
class JournalLoops:
    """Loops over one store."""

    store: GatewayStore
    wakeups: Wakeups
    clock: Clock
    retention_days: int

    async def listen(self) -> None:
        """Wake the streams whenever the journal may have grown."""
        async for _ in self.store.changes():
            self.wakeups.wake()

    async def forget(self) -> None:
        """Delete journal lines that are older than the retention."""
        while True:
            try:
                oldest = self.clock.unix_ms() - self.retention_days * _DAY_MS
                await self.store.forget_before(oldest)
            except (Transient, Ambiguous) as error:
                _log.warning("retention_failed", code=error.code, error=error.message)
            await self.clock.sleep(_FORGET_EVERY_SECONDS)

    async def drain(self) -> None:
        """Streams end with a goodbye that carries their last token."""
        self.wakeups.drain()
        await self.clock.sleep(0.2)


def count_dead_letters(metrics: GatewayMetrics) -> Callable[[list[Rejection]], Awaitable[None]]:
    """What happens with records that cannot be believed: they are counted and logged.

    Nothing is re-read: the gateway shows what it can believe, and the next record of the same
    transfer carries its whole state.
    """

    async def counted(rejections: list[Rejection]) -> None:
        metrics.dead_letters.inc(len(rejections))
        for rejection in rejections:
            _log.error(
                "record_dead_lettered",
                topic=rejection.received.topic,
                offset=rejection.received.offset,
                code=rejection.cause.code,
            )

    return counted


def count_gaps(metrics: GatewayMetrics) -> Callable[[RetentionGap], Awaitable[None]]:
    """What happens when the broker forgot records that were never read: counted, logged, passed.

    A progress record is advisory, and each of the relayer's records carries the whole state, so
    the newest one of a transfer (kept by compaction) is enough; only revisions between are lost.
    """

    async def counted(gap: RetentionGap) -> None:
        metrics.records_missed.inc(gap.found - gap.expected)
        _log.error(
            "records_missed",
            topic=gap.topic,
            partition=gap.partition,
            expected=gap.expected,
            found=gap.found,
        )

    return counted

"""The watcher's loops: scan to the final head, sleep, again; report progress beside it.

A node that is away is waited for with bounded backoff; the cursor stays where it is. Only
Fatal ends the process.
"""

from dataclasses import dataclass

from xstock_chains.start_check import StartCheck
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient
from xstock_runtime.health import Progress
from xstock_runtime.logging import get_logger
from xstock_watcher.handlers import Scanned, WatcherHandlers
from xstock_watcher.metrics import WatcherMetrics

SCAN = "scan"
_BACKOFF_SECONDS_MAX = 5.0
_log = get_logger("watcher")


@dataclass(slots=True)
class WatcherLoops:
    """The two loops over one set of handlers."""

    handlers: WatcherHandlers
    clock: Clock
    progress: Progress
    metrics: WatcherMetrics
    poll_seconds: float
    progress_seconds: float
    check: StartCheck
    last: Scanned | None = None

    async def scan(self) -> None:
        """Scan for ever."""
        failures = 0
        while True:
            try:
                await self.check.run()
                scanned = await self.handlers.scan()
            except (Transient, Ambiguous, InvalidMessage) as error:
                failures += 1
                self._failed(error)
                await self.clock.sleep(min(_BACKOFF_SECONDS_MAX, 0.1 * 2 ** min(failures, 6)))
                continue
            failures = 0
            self._scanned(scanned)
            if not scanned.more:
                await self.clock.sleep(self.poll_seconds)

    async def report(self) -> None:
        """Report progress for ever; advisory, so failures only wait."""
        while True:
            try:
                if self.last is not None:
                    await self.handlers.report_progress()
                    await self.handlers.report_chain(self.last, self.last.head.number)
            except (Transient, Ambiguous, InvalidMessage) as error:
                _log.info("progress_not_reported", code=error.code, error=error.message)
            await self.clock.sleep(self.progress_seconds)

    def _scanned(self, scanned: Scanned) -> None:
        chain = self.handlers.chain.name.lower()
        self.last = scanned
        self.progress.beat(SCAN)
        self.metrics.observations.labels(chain).inc(scanned.new)
        self.metrics.through_number.labels(chain).set(scanned.through.number)
        self.metrics.head_number.labels(chain).set(scanned.head.number)

    def _failed(self, error: Transient | Ambiguous | InvalidMessage) -> None:
        chain = self.handlers.chain.name.lower()
        self.metrics.scan_failures.labels(chain, error.code).inc()
        self.progress.fail(SCAN, str(error))
        _log.warning("scan_failed", code=error.code, error=error.message)

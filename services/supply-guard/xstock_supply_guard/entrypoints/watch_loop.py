"""The watch over rights and code of one chain, on a clock and whenever a role has moved."""

from dataclasses import dataclass

from xstock_runtime.errors import Transient
from xstock_runtime.logging import get_logger
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.watching import RightsWatch, watch_step
from xstock_supply_guard.metrics import GuardMetrics

_log = get_logger("guard")


@dataclass(slots=True)
class WatchLoop:
    """One chain's watch; `seconds` between two looks while nothing rings."""

    desk: Desk
    watch: RightsWatch
    metrics: GuardMetrics
    seconds: float

    async def run(self) -> None:
        """Look for ever; the start's own check has looked first."""
        bell = self.desk.live.rights[self.watch.chain]
        while True:
            await bell.wait_rung(self.seconds)
            await self.step()

    async def step(self) -> None:
        """One look; a guard's own memory that is away only delays it."""
        name = self.desk.config.chains[self.watch.chain].name
        try:
            found = await watch_step(self.desk, self.watch)
        except Transient as error:
            self.metrics.scan_failures.labels(name, error.code).inc()
            return
        if found.halted:
            self.metrics.halts.inc(len(found.halted))
            _log.critical("halt_latched", chain=name, halts=found.halted)
        for check in found.disputed:
            self.metrics.scan_failures.labels(name, "SELF_TEST_DISPUTED").inc()
            _log.warning("self_test_disputed", chain=name, check=check.name, found=check.found)

"""The loops about collateral: whether it still covers what is out, and the issuer's own feed.

Neither ends for anything but Fatal: a feed that is down is told and asked again.
"""

from dataclasses import dataclass

from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient
from xstock_runtime.logging import get_logger
from xstock_supply_guard.handlers.cover import cover_step
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.reserves import note_reserves
from xstock_supply_guard.metrics import GuardMetrics
from xstock_supply_guard.ports import ReservesSource

_log = get_logger("guard")


@dataclass(slots=True)
class FeedLoop:
    """Asks the issuer's proof-of-reserves feed about every asset on a clock."""

    desk: Desk
    feed: ReservesSource
    clock: Clock
    metrics: GuardMetrics
    seconds: float

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await self.step()
            await self.clock.sleep(self.seconds)

    async def step(self) -> None:
        """Ask about every asset once; what cannot be had or believed confirms nothing."""
        for asset, config in self.desk.config.assets.items():
            try:
                said = await self.feed.ask(config.symbol)
                note_reserves(self.desk, asset, said.body, said.key_id, said.signature)
            except (Transient, InvalidMessage) as error:
                self.metrics.feed_failures.labels(error.code).inc()
                _log.warning("feed_not_believed", symbol=config.symbol, error=str(error))


@dataclass(slots=True)
class CoverLoop:
    """Looks at every asset's cover on a clock."""

    desk: Desk
    clock: Clock
    metrics: GuardMetrics
    seconds: float

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.step()
            await self.clock.sleep(self.seconds)

    async def step(self) -> None:
        """One look; a database that is away now is asked again."""
        try:
            found = await cover_step(self.desk)
        except (Transient, Ambiguous) as error:
            _log.warning("cover_not_checked", code=error.code, error=error.message)
            return
        if found.halted:
            self.metrics.halts.inc(len(found.halted))
            assets = [asset.hex() for asset in found.short]
            _log.critical("halt_latched", halts=found.halted, assets=assets)

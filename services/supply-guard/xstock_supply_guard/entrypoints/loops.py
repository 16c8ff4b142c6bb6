"""The guard's loops: one scanner and one auditor per chain, each a step that anyone may call.

A scanner looks when its chain's bell rings or its poll is due, and reads page after page while
there are more. Trouble with one chain never stops another. A loop ends only by Fatal.
"""

from dataclasses import dataclass

from xstock_chains.ports import ChainReader
from xstock_chains.start_check import StartCheck
from xstock_core.ids import Domain
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient
from xstock_runtime.health import Progress
from xstock_runtime.logging import get_logger
from xstock_supply_guard.handlers.audit import Auditor, audit_step
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.post import Booked
from xstock_supply_guard.handlers.scan import scan_step
from xstock_supply_guard.metrics import GuardMetrics

_log = get_logger("guard")
_PAUSE_SECONDS = 0.05
"""Between two looks at a chain, however often its bell rings."""
_TROUBLE_SECONDS = 1.0
_FIRST_AUDIT_SECONDS = 2.0


@dataclass(slots=True)
class Scanner:
    """One chain's scanner."""

    desk: Desk
    chain: Domain
    reader: ChainReader
    check: StartCheck
    clock: Clock
    progress: Progress
    metrics: GuardMetrics

    @property
    def name(self) -> str:
        """Its name in health reports."""
        return f"scan-{self.desk.config.chains[self.chain].name}"

    async def run(self) -> None:
        """Check the chain's configuration, then scan for ever."""
        config = self.desk.config.chains[self.chain]
        bell = self.desk.live.bells[self.chain]
        while not await self.checked():
            await self.clock.sleep(_TROUBLE_SECONDS)
        while True:
            more = await self.step()
            if more:
                continue
            await self.clock.sleep(_PAUSE_SECONDS)
            await bell.wait_rung(max(0.0, config.poll_seconds - _PAUSE_SECONDS))

    async def checked(self) -> bool:
        """Whether the chain is what the registry says; raises Fatal when it is something else."""
        try:
            await self.check.run()
        except Transient as error:
            self._failed(error)
            return False
        return True

    async def step(self) -> bool:
        """One look; True when another page can be read at once."""
        name = self.desk.config.chains[self.chain].name
        try:
            done = await scan_step(self.desk, self.chain, self.reader)
        except (Transient, Ambiguous, InvalidMessage) as error:
            self._failed(error)
            await self.clock.sleep(min(_TROUBLE_SECONDS, 0.25))
            return False
        if not isinstance(done, Booked):
            self.metrics.scan_failures.labels(name, done.code).inc()
            self.metrics.halts.inc(len(done.halted))
            self.progress.fail(self.name, done.detail)
            _log.error("chain_not_believed", chain=name, code=done.code, detail=done.detail)
            await self.clock.sleep(_TROUBLE_SECONDS)
            return False
        self.progress.beat(self.name)
        self.metrics.observations.labels(name).inc(done.new)
        self.metrics.through_block.labels(name).set(done.through.number)
        if done.halted:
            self.metrics.halts.inc(len(done.halted))
            _log.critical("halt_latched", chain=name, halts=done.halted)
        if done.over_cap:
            self.metrics.over_cap.inc(len(done.over_cap))
            assets = [asset.hex() for asset in done.over_cap]
            _log.critical("exposure_above_cap", chain=name, assets=assets)
        return done.more

    def _failed(self, error: ServiceError) -> None:
        name = self.desk.config.chains[self.chain].name
        self.metrics.scan_failures.labels(name, error.code).inc()
        self.progress.fail(self.name, str(error))
        _log.warning("scan_failed", chain=name, code=error.code, error=error.message)


@dataclass(slots=True)
class AuditLoop:
    """One chain's auditor on a clock."""

    desk: Desk
    auditor: Auditor
    reader: ChainReader
    clock: Clock
    metrics: GuardMetrics
    seconds: float
    believed: bool = False
    """Whether a reading was ever believed; until then nothing of an asset may be issued."""

    async def run(self) -> None:
        """Audit for ever, at first more often."""
        while True:
            await self.step()
            first = min(_FIRST_AUDIT_SECONDS, self.seconds)
            await self.clock.sleep(self.seconds if self.believed else first)

    async def step(self) -> None:
        """One audit; what could not be read or believed is only told."""
        name = self.desk.config.chains[self.auditor.chain].name
        try:
            found = await audit_step(self.desk, self.auditor, self.reader)
        except (Transient, Ambiguous, InvalidMessage) as error:
            self._failed(name, error)
            return
        if found.failed is not None:
            self._failed(name, found.failed)
        if found.unread:
            self.metrics.scan_failures.labels(name, "SUPPLY_UNREAD").inc()
            _log.warning("supply_unread", chain=name, assets=[a.hex() for a in found.unread])
        if not found.believed:
            return
        self.believed = True
        self.metrics.supply_above_ledger.labels(name).set(len(found.above))
        self.metrics.supply_below_ledger.labels(name).set(len(found.below))
        if found.above:
            _log.critical("supply_above_ledger", chain=name, assets=[a.hex() for a in found.above])
        if found.below:
            _log.warning("supply_below_ledger", chain=name, assets=[a.hex() for a in found.below])

    def _failed(self, name: str, error: ServiceError) -> None:
        self.metrics.scan_failures.labels(name, error.code).inc()
        _log.warning("audit_failed", chain=name, code=error.code, error=error.message)

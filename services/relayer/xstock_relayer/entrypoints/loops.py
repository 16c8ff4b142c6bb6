"""The relayer's loops: each waits for a bell or a due time, then lets its handler take a step.

Nothing polls for work that a bell announces; the periods here are for what nobody announces (a
transaction's fate, a watcher's hole, the end of a rest).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from xstock_core.ids import Domain
from xstock_relayer.handlers.queues import DueQueue
from xstock_relayer.handlers.relayer import Relayer
from xstock_relayer.handlers.releasing import Releaser
from xstock_relayer.handlers.reviewing import Reviewer
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient
from xstock_runtime.health import Progress
from xstock_runtime.logging import get_logger
from xstock_runtime.service import Loop

_log = get_logger("relayer")
_RECONCILE_SECONDS = 0.1
_IDLE_SECONDS = 1.0
_TRANSIENT_SECONDS = 0.25
STALL_SECONDS = 60.0


@dataclass(slots=True)
class RelayerLoops:
    """All loops over one relayer."""

    relayer: Relayer
    clock: Clock
    progress: Progress
    heal_seconds: float
    guard_calls_max: int

    def all(self) -> dict[str, Loop]:
        """Every loop by name."""
        loops: dict[str, Loop] = {}
        for reviewer in self.relayer.reviewers.values():
            for number in range(self.guard_calls_max):
                name = f"review-{reviewer.guard.id}-{number}"
                loops[name] = partial(self.review, reviewer)
        for chain in self.relayer.releasers:
            name = chain.name.lower()
            loops[f"release-{name}"] = partial(self.release, self.relayer.releasers[chain])
            loops[f"reconcile-{name}"] = partial(self.reconcile, chain)
            self.progress.register(f"reconcile-{name}", STALL_SECONDS)
        for chain in self.relayer.healers:
            loops[f"heal-{chain.name.lower()}"] = partial(self.heal, chain)
        return loops

    async def review(self, reviewer: Reviewer) -> None:
        """Ask one guard, page after page."""
        while True:
            await self._wait((reviewer.queue,), reviewer.resting_until_ms)
            await reviewer.tick()

    async def release(self, releaser: Releaser) -> None:
        """Form and send batches, one after the other."""
        desk, chain = releaser.desk, releaser.chain
        while True:
            await self._wait((desk.ready[chain], desk.cancels[chain]), releaser.resting_until_ms)
            await self.clock.sleep(releaser.window_seconds())
            if not releaser.sender.has_room:
                await self.clock.sleep(_RECONCILE_SECONDS)
            await releaser.tick()

    async def _wait(self, queues: Sequence[DueQueue], resting_until_ms: int) -> None:
        """Until one of the queues, which share a bell, has something to take and the rest is
        over."""
        now = self.clock.unix_ms()
        if resting_until_ms > now:
            await self.clock.sleep((resting_until_ms - now) / 1000)
        while True:
            dues = [due for queue in queues if (due := queue.next_due_ms()) is not None]
            due = min(dues, default=None)
            now = self.clock.unix_ms()
            if due is not None and due <= now:
                return
            bell = queues[0].bell
            bell.clear()
            seconds = _IDLE_SECONDS if due is None else min(_IDLE_SECONDS, (due - now) / 1000)
            try:
                async with asyncio.timeout(seconds):
                    await bell.wait()
            except TimeoutError:
                continue

    async def reconcile(self, chain: Domain) -> None:
        """Look after what is in flight."""
        sender = self.relayer.senders[chain]
        while True:
            try:
                await sender.reconcile()
                self.progress.beat(f"reconcile-{chain.name.lower()}")
            except (Transient, Ambiguous, InvalidMessage) as error:
                _complain("reconcile_failed", chain, error)
            await self.clock.sleep(_RECONCILE_SECONDS)

    async def heal(self, chain: Domain) -> None:
        """Fetch what stayed missing, from the start on and for ever."""
        healer = self.relayer.healers[chain]
        started = False
        while True:
            try:
                await (healer.check() if started else healer.heal())
                started = True
            except (Transient, Ambiguous, InvalidMessage) as error:
                _complain("heal_failed", chain, error)
                await self.clock.sleep(_TRANSIENT_SECONDS)
            await self.clock.sleep(self.heal_seconds)


def _complain(event: str, chain: Domain, error: ServiceError) -> None:
    _log.warning(event, chain=chain.name.lower(), code=error.code, error=error.message)

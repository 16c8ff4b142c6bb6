"""Asking one guard: a page of claims out, a page of verdicts in.

Each guard has its own queue and its own pace, so that a dead or slow one delays nobody. A lost
reply is asked again: the same claim gives the same verdict (F73). HELD claims come back after a
growing wait that honours the guard's `until`.
"""

from collections.abc import Sequence

from xstock_core.facts import VerdictGiven
from xstock_core.ids import GuardId
from xstock_core.refusal import Disposition, Refused
from xstock_relayer.handlers.desk import Desk, News, wants_review
from xstock_relayer.handlers.queues import backoff_ms
from xstock_relayer.model import GuardVerdict, Transfer
from xstock_relayer.ports import Gauges, Guard
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, ServiceError, Transient
from xstock_runtime.logging import get_logger

_log = get_logger("reviewing")


class Reviewer:
    """One guard's side of the review; several ticks may run at once."""

    def __init__(
        self, guard: Guard, desk: Desk, clock: Clock, gauges: Gauges, *, page: int = 400
    ) -> None:
        self.guard = guard
        self.queue = desk.reviews[guard.id]
        self._desk = desk
        self._clock = clock
        self._gauges = gauges
        self._page = page
        self._failures = 0
        self.resting_until_ms = 0

    @property
    def healthy(self) -> bool:
        """False after a failure, until the guard answers again."""
        return self._failures == 0

    async def tick(self) -> int:
        """Ask one page; how many claims were judged. Failures of the guard are waited out."""
        now = self._clock.unix_ms()
        if now < self.resting_until_ms:
            return 0
        claims = self._claims(now)
        if not claims:
            return 0
        try:
            verdicts = await self.guard.review(claims)
            await self._desk.record(self._news(verdicts))
        except (Transient, Ambiguous) as error:
            self.rest(error)
            for claim in claims:
                self.queue.offer(claim.id)
            return 0
        self._failures = 0
        self._requeue(verdicts)
        self._gauges.count("verdicts", len(verdicts), guard=self.guard.id)
        return len(verdicts)

    def rest(self, error: ServiceError) -> None:
        """This guard is away: leave it alone for a growing while."""
        wait = min(backoff_ms(self._failures), 2_000)
        self._failures += 1
        self.resting_until_ms = self._clock.unix_ms() + wait
        self._gauges.count("guard_failures", guard=self.guard.id, code=error.code)
        _log.warning("guard_away", guard=self.guard.id, code=error.code, error=error.message)

    def _claims(self, now_ms: int) -> list[Transfer]:
        taken = self.queue.take(now_ms, self._page)
        known = [self._desk.open[key] for key in taken if key in self._desk.open]
        return [one for one in known if not self._set_aside(one)]

    def _set_aside(self, transfer: Transfer) -> bool:
        """Being cancelled, and this guard has had its say."""
        state = transfer.state
        return state.cancel_requested and not wants_review(state, self.guard.id)

    def _news(self, verdicts: Sequence[GuardVerdict]) -> News:
        guard = GuardId(self.guard.id)
        facts = [(v.transfer_id, VerdictGiven(guard, v.verdict, v.sequence)) for v in verdicts]
        return News(facts=list(facts))

    def _requeue(self, verdicts: Sequence[GuardVerdict]) -> None:
        now = self._clock.unix_ms()
        for given in verdicts:
            self._desk.answered(given.transfer_id, self.guard.id)
            kept = self._desk.open.get(given.transfer_id)
            if kept is None or not wants_review(kept.state, self.guard.id):
                self.queue.discard(given.transfer_id)
            elif isinstance(given.verdict, Refused):
                until = (given.verdict.until or 0) * 1000
                held = given.verdict.disposition is Disposition.HOLD
                self.queue.postpone(given.transfer_id, now, until if held else 0)

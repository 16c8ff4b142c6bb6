"""Which guards are asked to sign a cancellation, and what their refusals lead to.

A CANCEL needs no grant: each guard looks at its own books and at the authority (the holder's
paper, or a proposal that people executed there). So any M guards may be asked; who refused is
asked last, who refused for good is not asked again. Once so many refused for good that M can no
longer be found, the request is withdrawn and the transfer goes on where it stood. The memory of
refusals is this process's own: after a restart every guard is simply asked once more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from xstock_core.facts import CancelWithdrawn
from xstock_core.ids import TransferId
from xstock_core.refusal import Disposition, Reason, Refused
from xstock_relayer.handlers.desk import Desk, News
from xstock_relayer.model import Alarm, Change, GuardRefused, Transfer
from xstock_runtime.clock import Clock

_PASSING = frozenset(
    {
        Reason.NOT_GRANTED,
        Reason.DEADLINE_OUT_OF_RANGE,
        Reason.EPOCH_UNKNOWN,
        Reason.ALREADY_EXECUTED,
        Reason.CONTENT_MISMATCH,
    }
)
"""Refusals that say nothing of the authority: the guard has not been asked to review yet, sees
another head, or has seen the outcome before this relayer did."""


def lasting(refusal: Refused) -> bool:
    """Whether asking this guard again cannot help."""
    return refusal.disposition is not Disposition.HOLD and refusal.reason not in _PASSING


@dataclass(slots=True)
class Cancellations:
    """What guards said to the cancellations of one destination."""

    desk: Desk
    clock: Clock
    _refused: dict[TransferId, dict[str, Refused]] = field(default_factory=dict)

    def able(self, transfer: Transfer) -> frozenset[str]:
        """The guards worth asking now."""
        refused = self._refused.get(transfer.id, {})
        everybody = frozenset(self.desk.terms.guards)
        never = {name for name, refusal in refused.items() if lasting(refusal)}
        fresh = everybody - refused.keys()
        return fresh if len(fresh) >= transfer.state.needed else everybody - never

    def forget(self, transfer_id: TransferId) -> None:
        """A new request: everybody is asked anew."""
        self._refused.pop(transfer_id, None)

    async def take(self, answers: Mapping[str, object]) -> set[TransferId]:
        """Remember who refused what; those transfers leave the batch."""
        found: set[TransferId] = set()
        for name, answer in answers.items():
            if not isinstance(answer, GuardRefused):
                continue
            for given in answer.verdicts:
                if isinstance(given.verdict, Refused):
                    said = self._refused.setdefault(given.transfer_id, {})
                    said[name] = given.verdict
                found.add(given.transfer_id)
        await self._withdraw_hopeless(found)
        return found

    async def _withdraw_hopeless(self, asked: set[TransferId]) -> None:
        news = News()
        for transfer_id in sorted(asked):
            transfer = self.desk.open.get(transfer_id)
            refused = self._refused.get(transfer_id, {})
            never = {name: one for name, one in refused.items() if lasting(one)}
            guards = len(self.desk.terms.guards)
            if transfer is None or guards - len(never) >= transfer.state.needed:
                continue
            news.facts.append((transfer_id, CancelWithdrawn(transfer.state.cancel_sequence)))
            said = "; ".join(
                f"{name}: {one.reason.value} {one.detail.get('remedy', '')}".strip()
                for name, one in sorted(never.items())
            )
            now = self.clock.unix_ms()
            alarm = Alarm("CANCEL_REFUSED", transfer_id.hex(), said[:500], now)
            news.change = Change(alarms=[*news.change.alarms, alarm])
            self.forget(transfer_id)
        if news.facts:
            await self.desk.record(news)

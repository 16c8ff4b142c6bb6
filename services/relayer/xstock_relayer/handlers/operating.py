"""What people may do to the relayer: see what is parked, try it again, halt, resume.

A halt is latched in the books and survives restarts; it stops new batches of what it covers and
nothing else (what is signed and sent may land). Two different identities clear it.
"""

from collections.abc import Sequence
from dataclasses import replace

from xstock_core.facts import OperatorReleased
from xstock_core.ids import TransferId
from xstock_core.review import Scope
from xstock_core.transfer import Phase
from xstock_relayer.handlers.desk import Desk, News
from xstock_relayer.model import Alarm, Change, Halt, Transfer
from xstock_relayer.ports import Books
from xstock_runtime.clock import Clock
from xstock_runtime.errors import InvalidMessage

APPROVALS_NEEDED = 2


class Operator:
    """The operators' part of the relayer."""

    def __init__(self, books: Books, desk: Desk, clock: Clock) -> None:
        self._books = books
        self._desk = desk
        self._clock = clock

    async def list_parked(self, after: TransferId | None, limit: int) -> Sequence[Transfer]:
        """Transfers that wait for a person, by id."""
        return await self._books.parked(after, limit)

    async def retry_parked(self, transfer_id: TransferId, reason: str, by: str) -> Phase:
        """Let a parked transfer go on: its skips are excused and every guard is asked anew.

        Raises InvalidMessage TRANSFER_NOT_FOUND or NOT_PARKED.
        """
        known = (await self._books.transfers([transfer_id])).get(transfer_id)
        if known is None:
            raise InvalidMessage(
                "TRANSFER_NOT_FOUND", f"transfer {transfer_id.hex()} is not known here"
            )
        if known.view.phase is not Phase.PARKED:
            phase = known.view.phase.value
            raise InvalidMessage("NOT_PARKED", f"transfer {transfer_id.hex()} is {phase}")
        excused = frozenset(batch for batch, _ in known.state.skips)
        fact = OperatorReleased(known.state.operator_sequence + 1, excused)
        now = self._clock.unix_ms()
        alarm = Alarm("PARKED_RETRIED", transfer_id.hex(), f"by {by}: {reason}"[:500], now)
        await self._desk.record(News(facts=[(transfer_id, fact)], change=Change(alarms=[alarm])))
        after = (await self._books.transfers([transfer_id]))[transfer_id]
        if after.batch is None:
            self._desk.ask_again(after)
        return after.view.phase

    async def halt(self, halt_id: str, scope: Scope, reason: str, by: str) -> Halt:
        """Latch a halt; the same id again is the same halt."""
        known = self._desk.halts.get(halt_id)
        if known is not None:
            return known
        now = self._clock.unix_ms()
        halt = Halt(halt_id, scope, reason, by, now)
        alarm = Alarm("HALTED", halt_id, f"by {by}: {reason}"[:500], now)
        await self._desk.record(News(change=Change(halts=[halt], alarms=[alarm])))
        return halt

    async def resume(self, halt_id: str, by: str) -> tuple[bool, str]:
        """Approve the clearing of a halt; (cleared, what is missing)."""
        halt = self._desk.halts.get(halt_id)
        if halt is None:
            raise InvalidMessage("HALT_NOT_FOUND", f"no halt {halt_id!r} is in force here")
        approvals = tuple(dict.fromkeys((*halt.approvals, by)))
        if len(approvals) < APPROVALS_NEEDED:
            waiting = replace(halt, approvals=approvals)
            await self._desk.record(News(change=Change(halts=[waiting])))
            return False, f"{APPROVALS_NEEDED - len(approvals)} more approval by somebody else"
        alarm = Alarm("RESUMED", halt_id, f"by {', '.join(approvals)}", self._clock.unix_ms())
        await self._desk.record(News(change=Change(halts_cleared=[halt_id], alarms=[alarm])))
        return True, ""

    def list_halts(self) -> Sequence[Halt]:
        """The halts in force, oldest first."""
        return sorted(self._desk.halts.values(), key=lambda halt: halt.at_ms)

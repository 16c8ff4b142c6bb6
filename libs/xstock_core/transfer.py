"""The transfer machine: `step(state, fact) -> Step(state, effects)`.

The state is the set of facts in compact form, and everything shown (phase, where the funds
are, who is waited for) is derived from it. So any order and any duplication of the facts end
in the same state (INV-15): late news needs no special case, and a replay is harmless. Effects
are what the new state obliges us to do that the old one did not; a service stores them with
the state and performs them, each harmless to repeat.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never

from xstock_core.facts import (
    BurnFinalized,
    BurnRefuted,
    BurnSeen,
    BurnVanished,
    CancelFinalized,
    CancelRequested,
    CancelWithdrawn,
    DeadlinePassed,
    Fact,
    OperatorParked,
    OperatorReleased,
    OrderAccepted,
    OrderVoided,
    OrphanFound,
    RefundDue,
    RefundFinalized,
    RefundOpened,
    ReleaseAuthorized,
    ReleaseFinalized,
    ReleaseIncluded,
    ReleaseSkippedSeen,
    ReleaseSubmitted,
    VerdictGiven,
)
from xstock_core.ids import Domain, GuardId, TransferId
from xstock_core.invariants import InvariantId, ensure, same_content, threshold_sane
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import CancelFinal, OrphanBurn, Place, ReleaseFinal, SkipReason
from xstock_core.refusal import (
    REASONS,
    Disposition,
    Granted,
    Reason,
    Refused,
    Verdict,
    Who,
)
from xstock_core.release import Action, ExecutionKey, key_of


class Phase(StrEnum):
    """Where a transfer stands; the words of the API."""

    SEEN = "SEEN"
    FINAL = "FINAL"
    REVIEWING = "REVIEWING"
    HELD = "HELD"
    AUTHORIZED = "AUTHORIZED"
    RELEASING = "RELEASING"
    RELEASED = "RELEASED"
    PARKED = "PARKED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    REFUNDING = "REFUNDING"
    REFUNDED = "REFUNDED"
    REORGED = "REORGED"
    ORPHANED = "ORPHANED"


class FundsAt(StrEnum):
    """Where the tokens are now."""

    SOURCE = "SOURCE"
    IN_FLIGHT = "IN_FLIGHT"
    DESTINATION = "DESTINATION"
    RETURNING = "RETURNING"
    RETURNED = "RETURNED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The latest word of one guard."""

    guard: GuardId
    sequence: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Attempt:
    """A signed batch that may land until its deadline (Unix seconds)."""

    batch: bytes
    action: Action
    deadline: int


@dataclass(frozen=True, slots=True)
class Due:
    """Why a REFUND exists: the transfer that flows back (None: an orphan burn), and since when
    (Unix seconds of the final block that made it due, 0 where no chain did)."""

    original: TransferId | None
    since: int


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """What an unfinished transfer waits for; `until` in Unix seconds where it can be known."""

    reason: str
    until: int | None
    who: Who


@dataclass(frozen=True, slots=True)
class TransferState:
    """Every fact about one transfer, compactly; `open_transfer` makes the first one.

    `needed` of `guards` must grant. Sets only grow; `rulings` are sorted by guard.
    """

    transfer_id: TransferId
    needed: int
    guards: int
    message: TransferMessage | None = None
    seen_in: frozenset[bytes] = frozenset()
    vanished_from: frozenset[bytes] = frozenset()
    burns: frozenset[Place] = frozenset()
    unfinalized: frozenset[bytes] = frozenset()
    refuted: bool = False
    order_expiry: int | None = None
    order_voided: bool = False
    orphan: OrphanBurn | None = None
    rulings: tuple[Ruling, ...] = ()
    attempts: frozenset[Attempt] = frozenset()
    submitted: frozenset[tuple[bytes, bytes]] = frozenset()
    included: frozenset[tuple[bytes, bytes]] = frozenset()
    skips: frozenset[tuple[bytes, SkipReason]] = frozenset()
    expired: frozenset[bytes] = frozenset()
    releases: frozenset[ReleaseFinal] = frozenset()
    cancel_requested: bool = False
    cancels: frozenset[CancelFinal] = frozenset()
    refund_id: TransferId | None = None
    refunds: frozenset[ReleaseFinal] = frozenset()
    operator_sequence: int = 0
    operator_reason: str = ""
    excused: frozenset[bytes] = frozenset()
    cancel_sequence: int = 0
    dues: frozenset[Due] = frozenset()


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a state, all of it derived."""

    phase: Phase
    terminal: bool
    funds_at: FundsAt
    waiting_for: WaitingFor | None


@dataclass(frozen=True, slots=True)
class RequestVerdicts:
    """Ask every guard to review the transfer."""

    transfer_id: TransferId


@dataclass(frozen=True, slots=True)
class RequestSignatures:
    """Put the transfer into a batch and have it signed; `attempt` counts from 0."""

    transfer_id: TransferId
    action: Action
    attempt: int


@dataclass(frozen=True, slots=True)
class SubmitRelease:
    """Send the signed batch to its destination."""

    transfer_id: TransferId
    batch: bytes


@dataclass(frozen=True, slots=True)
class OpenRefund:
    """Open the REFUND of a finally cancelled burn or a rejected redemption."""

    transfer_id: TransferId


@dataclass(frozen=True, slots=True)
class SettleRefund:
    """Tell the transfer that flowed back: its REFUND, which is `transfer_id`, is final."""

    transfer_id: TransferId
    original: TransferId
    refund: ReleaseFinal


@dataclass(frozen=True, slots=True)
class ParkTransfer:
    """List the transfer for a person, with the reason."""

    transfer_id: TransferId
    reason: str


@dataclass(frozen=True, slots=True)
class HaltLane:
    """Latch a halt: a promise is broken. Chains are None where no fact names the lane."""

    transfer_id: TransferId
    source: Domain | None
    destination: Domain | None
    invariant: InvariantId
    detail: str


@dataclass(frozen=True, slots=True)
class RaiseAlarm:
    """Tell a person; `code` is the metric label and the runbook's name."""

    transfer_id: TransferId
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class PublishOutcome:
    """Tell the world where the transfer stands now."""

    transfer_id: TransferId
    revision: int
    view: View


Effect = (
    RequestVerdicts
    | RequestSignatures
    | SubmitRelease
    | OpenRefund
    | SettleRefund
    | ParkTransfer
    | HaltLane
    | RaiseAlarm
    | PublishOutcome
)


@dataclass(frozen=True, slots=True)
class Step:
    """The state after a fact, and what it newly obliges us to do."""

    state: TransferState
    effects: tuple[Effect, ...]


def open_transfer(transfer_id: TransferId, *, needed: int, guards: int) -> TransferState:
    """A transfer of which nothing is known yet; raises InvariantViolation on a bad threshold."""
    ensure(
        threshold_sane(guards, needed),
        InvariantId.CONFIG_SANITY,
        f"{needed} of {guards} guards: more than half must be needed",
    )
    return TransferState(transfer_id, needed, guards)


def step(state: TransferState, fact: Fact) -> Step:
    """Take one fact in; raises InvariantViolation if it is about another transfer."""
    after = absorb(state, fact)
    return Step(after, () if after == state else _news(state, after))


def step_all(
    states: Mapping[TransferId, TransferState], facts: Iterable[tuple[TransferId, Fact]]
) -> tuple[dict[TransferId, TransferState], tuple[Effect, ...]]:
    """Take a page of facts in: (the changed states, what they newly oblige us to do).

    Every named transfer must be in `states` (KeyError otherwise). Effects compare each
    transfer before and after the whole page, so a page publishes each transfer once.
    """
    changed: dict[TransferId, TransferState] = {}
    for transfer_id, fact in facts:
        changed[transfer_id] = absorb(changed.get(transfer_id) or states[transfer_id], fact)
    changed = {key: after for key, after in changed.items() if after != states[key]}
    effects = [effect for key, after in changed.items() for effect in _news(states[key], after)]
    return changed, tuple(effects)


def _news(before: TransferState, after: TransferState) -> tuple[Effect, ...]:
    """New obligations, and INV-14: one publication for every change of what is shown."""
    old_view, new_view = view(before), view(after)
    old = set(_obligations(before, old_view))
    effects: list[Effect] = [e for e in _obligations(after, new_view) if e not in old]
    if new_view != old_view or (revision(before) == 0):
        effects.append(PublishOutcome(after.transfer_id, revision(after), new_view))
    return tuple(effects)


# --- taking facts in -------------------------------------------------------------------


def absorb(state: TransferState, fact: Fact) -> TransferState:
    """The state with this fact in it; the same for any order of the same facts."""
    match fact:
        case BurnSeen() | BurnFinalized() | BurnVanished() | BurnRefuted() | OrphanFound():
            return _absorb_burn(state, fact)
        case OrderAccepted() | OrderVoided():
            return _absorb_order(state, fact)
        case VerdictGiven():
            return _absorb_verdict(state, fact)
        case (
            ReleaseAuthorized()
            | ReleaseSubmitted()
            | ReleaseIncluded()
            | ReleaseSkippedSeen()
            | DeadlinePassed()
        ):
            return _absorb_attempt(state, fact)
        case ReleaseFinalized() | CancelFinalized():
            return _absorb_outcome(state, fact)
        case RefundOpened() | RefundDue() | RefundFinalized():
            return _absorb_refund(state, fact)
        case CancelRequested() | CancelWithdrawn() | OperatorParked() | OperatorReleased():
            return _absorb_request(state, fact)
        case _:
            assert_never(fact)


def _with_message(state: TransferState, message: TransferMessage) -> TransferState:
    ensure(
        state.message is None or state.message == message,
        InvariantId.SAME_CONTENT,
        f"transfer {state.transfer_id.hex()} was given two different messages",
    )
    return state if state.message is not None else replace(state, message=message)


def _absorb_burn(
    state: TransferState,
    fact: BurnSeen | BurnFinalized | BurnVanished | BurnRefuted | OrphanFound,
) -> TransferState:
    match fact:
        case BurnSeen(message=message, block=block):
            known = _with_message(state, message)
            return replace(known, seen_in=known.seen_in | {block})
        case BurnFinalized(burn=burn):
            ensure(
                burn.transfer_id == state.transfer_id,
                InvariantId.SAME_CONTENT,
                f"burn of {burn.transfer_id.hex()} given to {state.transfer_id.hex()}",
            )
            known = _with_message(state, burn.message)
            return replace(known, burns=known.burns | {burn.place})
        case BurnVanished(block=block, was_final=True):
            return replace(state, unfinalized=state.unfinalized | {block})
        case BurnVanished(block=block):
            return replace(state, vanished_from=state.vanished_from | {block})
        case BurnRefuted():
            return replace(state, refuted=True)
        case OrphanFound(orphan=orphan):
            return replace(state, orphan=orphan)
        case _:
            assert_never(fact)


def _absorb_order(state: TransferState, fact: OrderAccepted | OrderVoided) -> TransferState:
    match fact:
        case OrderAccepted(message=message, expiry=expiry):
            known = _with_message(state, message)
            earliest = expiry if known.order_expiry is None else min(expiry, known.order_expiry)
            return replace(known, order_expiry=earliest)
        case OrderVoided():
            return replace(state, order_voided=True)
        case _:
            assert_never(fact)


def _absorb_verdict(state: TransferState, fact: VerdictGiven) -> TransferState:
    ruling = Ruling(fact.guard, fact.sequence, fact.verdict)
    rulings = {known.guard: known for known in state.rulings}
    known = rulings.get(fact.guard)
    if known is not None and _ruling_rank(known) >= _ruling_rank(ruling):
        return state
    rulings[fact.guard] = ruling
    return replace(state, rulings=tuple(rulings[guard] for guard in sorted(rulings)))


def _ruling_rank(ruling: Ruling) -> tuple[int, bool, str]:
    """The later wins; of two words under one sequence the refusal does (fail closed)."""
    refused = isinstance(ruling.verdict, Refused)
    return ruling.sequence, refused, repr(ruling.verdict)


def _absorb_attempt(
    state: TransferState,
    fact: (
        ReleaseAuthorized | ReleaseSubmitted | ReleaseIncluded | ReleaseSkippedSeen | DeadlinePassed
    ),
) -> TransferState:
    match fact:
        case ReleaseAuthorized(batch=batch, action=action, deadline=deadline):
            attempt = Attempt(batch, action, deadline)
            return replace(state, attempts=state.attempts | {attempt})
        case ReleaseSubmitted(batch=batch, tx=tx):
            return replace(state, submitted=state.submitted | {(batch, tx)})
        case ReleaseIncluded(batch=batch, tx=tx):
            return replace(state, included=state.included | {(batch, tx)})
        case ReleaseSkippedSeen(batch=batch, reason=reason):
            return replace(state, skips=state.skips | {(batch, reason)})
        case DeadlinePassed(batch=batch):
            return replace(state, expired=state.expired | {batch})
        case _:
            assert_never(fact)


def _absorb_outcome(
    state: TransferState, fact: ReleaseFinalized | CancelFinalized
) -> TransferState:
    match fact:
        case ReleaseFinalized(release=release):
            return replace(state, releases=state.releases | {release})
        case CancelFinalized(cancel=cancel):
            return replace(state, cancels=state.cancels | {cancel})
        case _:
            assert_never(fact)


def _absorb_refund(
    state: TransferState, fact: RefundOpened | RefundDue | RefundFinalized
) -> TransferState:
    match fact:
        case RefundOpened(refund_id=refund_id):
            first = refund_id if state.refund_id is None else min(refund_id, state.refund_id)
            return replace(state, refund_id=first)
        case RefundDue(message=message, original=original, since=since):
            known = _with_message(state, message)
            return replace(known, dues=known.dues | {Due(original, since)})
        case RefundFinalized(refund=refund):
            return replace(state, refunds=state.refunds | {refund})
        case _:
            assert_never(fact)


def _absorb_request(
    state: TransferState,
    fact: CancelRequested | CancelWithdrawn | OperatorParked | OperatorReleased,
) -> TransferState:
    match fact:
        case CancelRequested(sequence=sequence):
            return _requested(state, sequence, wanted=True)
        case CancelWithdrawn(sequence=sequence):
            return _requested(state, sequence, wanted=False)
        case OperatorParked(sequence=sequence, reason=reason):
            return _operated(state, sequence, reason)
        case OperatorReleased(sequence=sequence, excused=excused):
            after = _operated(state, sequence, "")
            return replace(after, excused=after.excused | excused)
        case _:
            assert_never(fact)


def _requested(state: TransferState, sequence: int, *, wanted: bool) -> TransferState:
    if (sequence, not wanted) <= (state.cancel_sequence, not state.cancel_requested):
        return state
    return replace(state, cancel_sequence=sequence, cancel_requested=wanted)


def _operated(state: TransferState, sequence: int, reason: str) -> TransferState:
    if (sequence, reason) <= (state.operator_sequence, state.operator_reason):
        return state
    return replace(state, operator_sequence=sequence, operator_reason=reason)


def revision(state: TransferState) -> int:
    """Grows with the facts that changed the state, whatever their order; never falls.

    One exception: another word of a guard or an operator under a sequence that it has used before
    (the same hold with a later end) changes the state alone. Of two states of one revision the
    later is the newer.
    """
    sets = (
        state.seen_in, state.vanished_from, state.burns, state.unfinalized, state.attempts,
        state.submitted, state.included, state.skips, state.expired, state.releases,
        state.cancels, state.refunds, state.excused, state.dues,
    )  # fmt: skip
    flags = (
        state.refuted, state.order_expiry is not None, state.order_voided,
        state.orphan is not None, state.refund_id is not None,
    )  # fmt: skip
    words = sum(ruling.sequence + 1 for ruling in state.rulings)
    asked = 2 * state.cancel_sequence - state.cancel_requested
    return sum(map(len, sets)) + sum(flags) + words + state.operator_sequence + asked


# --- what is shown ---------------------------------------------------------------------

TERMINAL: Final = frozenset({Phase.RELEASED, Phase.REFUNDED, Phase.REORGED})
"""Phases that end a transfer. REORGED ends unless the same burn is mined again (F20)."""

_DONE_SKIPS: Final = frozenset({SkipReason.ALREADY_RELEASED, SkipReason.ALREADY_CANCELLED})
_WAITING_SKIPS: Final = {
    SkipReason.ASSET_PAUSED: Reason.PAUSED,
    SkipReason.BRIDGE_PAUSED: Reason.PAUSED,
    SkipReason.BUCKET_EMPTY: Reason.RATE_LIMITED,
}
_PARKING_SKIPS: Final = {
    SkipReason.RECIPIENT_REFUSED: Reason.RECIPIENT_INVALID,
    SkipReason.ASSET_UNKNOWN: Reason.ROUTE_CLOSED,
    SkipReason.UNKNOWN: Reason.MANUAL_REVIEW,
}

_FUNDS: Final = {
    Phase.SEEN: FundsAt.SOURCE,
    Phase.REORGED: FundsAt.SOURCE,
    Phase.RELEASED: FundsAt.DESTINATION,
    Phase.CANCELLED: FundsAt.RETURNING,
    Phase.REFUNDING: FundsAt.RETURNING,
    Phase.REFUNDED: FundsAt.RETURNED,
}


def view(state: TransferState) -> View:
    """Phase, funds and wait of a state, derived afresh."""
    broken = violations(state)
    if broken:
        reason = WaitingFor(broken[0][0].value, None, Who.OPERATOR)
        return View(Phase.PARKED, terminal=False, funds_at=FundsAt.UNKNOWN, waiting_for=reason)
    phase, waiting = _outcome(state) or _progress(state)
    closed_order = phase is Phase.CANCELLED and state.order_expiry is not None
    return View(phase, phase in TERMINAL or closed_order, _funds(state, phase), waiting)


def phase_of(state: TransferState) -> Phase:
    """The phase alone."""
    return view(state).phase


_Shown = tuple[Phase, WaitingFor | None]


def _wait(reason: Reason, until: int | None = None) -> WaitingFor:
    return WaitingFor(reason.value, until, REASONS[reason].who)


def _proven(state: TransferState) -> bool:
    return bool(state.burns or state.dues) or state.order_expiry is not None


def _is(state: TransferState, *kinds: Kind) -> bool:
    return state.message is not None and state.message.kind in kinds


def due_since(state: TransferState) -> int:
    """Unix seconds of the final block that made this REFUND due; 0 where no chain did."""
    return min((due.since for due in state.dues), default=0)


def burned_at(state: TransferState) -> int:
    """What the destination is told of the time its nonce began (`ReleaseItem.burned_at`): of a
    burn its final block, of a REFUND the final block that made it due; 0 without either."""
    return min((place.block.time for place in state.burns), default=due_since(state))


def _outcome(state: TransferState) -> _Shown | None:
    """What a chain has said for good, if it has."""
    if state.orphan is not None:
        return Phase.ORPHANED, _wait(Reason.MANUAL_REVIEW)
    if not _proven(state):
        return _unproven(state)
    if state.releases or _paid_out(state):
        return Phase.RELEASED, None
    if not _flows_back(state):
        return (Phase.CANCELLED, None) if state.order_voided else None
    if state.refunds:
        return Phase.REFUNDED, None
    if state.refund_id is not None:
        return Phase.REFUNDING, WaitingFor("REFUND", None, Who.NOBODY)
    waits = None if state.order_expiry is not None else WaitingFor("REFUND", None, Who.NOBODY)
    return Phase.CANCELLED, waits


def _paid_out(state: TransferState) -> bool:
    """A redemption that M guards know to be paid, unless its refund is under way already."""
    opened = state.refund_id is not None or bool(state.refunds)
    return _is(state, Kind.REDEEM) and _authorized(state) and not opened


def _flows_back(state: TransferState) -> bool:
    """Finally cancelled, or a redemption that M guards know to be rejected."""
    if not _is(state, Kind.REDEEM):
        return bool(state.cancels)
    rejected = sum(_rejects(ruling.verdict) for ruling in state.rulings)
    return rejected >= state.needed or state.refund_id is not None or bool(state.refunds)


def _rejects(verdict: Verdict) -> bool:
    return isinstance(verdict, Refused) and verdict.reason is Reason.REDEMPTION_REJECTED


def _unproven(state: TransferState) -> _Shown:
    """No final burn is known: news from the destination only says that we lag behind."""
    if state.refuted:
        return Phase.PARKED, _wait(Reason.BURN_UNKNOWN)
    if state.releases:
        return Phase.RELEASING, _wait(Reason.SOURCE_NOT_FINAL)
    if state.vanished_from and not state.seen_in - state.vanished_from:
        return Phase.REORGED, None
    return Phase.SEEN, _wait(Reason.SOURCE_NOT_FINAL)


def _progress(state: TransferState) -> _Shown:
    """Where a proven transfer without an outcome stands."""
    if state.operator_reason:
        return Phase.PARKED, WaitingFor(Reason.MANUAL_REVIEW.value, None, Who.OPERATOR)
    if state.cancel_requested and _is(state, Kind.TRANSFER, Kind.ISSUE):
        return Phase.CANCELLING, WaitingFor("CANCEL", None, Who.NOBODY)
    live = live_attempts(state, Action.RELEASE)
    if live:
        return _attempted(state, live)
    return _skipped(state) or _reviewed(state)


def _attempted(state: TransferState, live: Sequence[Attempt]) -> _Shown:
    batches = {attempt.batch for attempt in live}
    sent = any(batch in batches for batch, _ in state.submitted | state.included)
    deadline = max(attempt.deadline for attempt in live)
    if sent:
        return Phase.RELEASING, WaitingFor("DESTINATION_NOT_FINAL", None, Who.NOBODY)
    return Phase.AUTHORIZED, WaitingFor("SUBMISSION", deadline, Who.ANYONE)


def _skipped(state: TransferState) -> _Shown | None:
    """A skip that nobody excused: parks where trying again alone will not help."""
    reasons = sorted({r for batch, r in state.skips if batch not in state.excused} - _DONE_SKIPS)
    for skip in reasons:
        if skip in _PARKING_SKIPS:
            return Phase.PARKED, _wait(_PARKING_SKIPS[skip])
    latest = _latest_closed(state)
    for skip in reasons:
        if (latest, skip) in state.skips:
            return Phase.HELD, _wait(_WAITING_SKIPS[skip])
    return None


def _latest_closed(state: TransferState) -> bytes | None:
    releases = [a for a in state.attempts if a.action is Action.RELEASE]
    return max(releases, key=lambda a: (a.deadline, a.batch)).batch if releases else None


def _reviewed(state: TransferState) -> _Shown:
    """M-of-N: enough grants authorize, enough lasting refusals park, else it waits."""
    if _authorized(state):
        return Phase.AUTHORIZED, WaitingFor("SIGNATURES", None, Who.NOBODY)
    refusals = [r.verdict for r in state.rulings if isinstance(r.verdict, Refused)]
    lasting = [r for r in refusals if r.disposition is not Disposition.HOLD and not _rejects(r)]
    spare = state.guards - state.needed
    if len(lasting) > spare:
        return Phase.PARKED, _first_wait(lasting)
    if len(refusals) > spare:
        return Phase.HELD, _first_wait([r for r in refusals if r not in lasting])
    phase = Phase.REVIEWING if state.rulings else Phase.FINAL
    return phase, WaitingFor("VERDICTS", None, Who.NOBODY)


def _first_wait(refusals: Sequence[Refused]) -> WaitingFor:
    """The wait that ends last is the one to show; unknown ends after every known one."""
    last = max(refusals, key=lambda r: (r.until is None, r.until or 0, r.reason.value))
    return _wait(last.reason, last.until)


def _funds(state: TransferState, phase: Phase) -> FundsAt:
    unproven_release = state.releases and phase is not Phase.RELEASED
    if unproven_release or (phase is Phase.PARKED and state.refuted):
        return FundsAt.UNKNOWN
    if _is(state, Kind.REFUND):
        return FundsAt.RETURNED if phase is Phase.RELEASED else FundsAt.RETURNING
    issued = state.order_expiry is not None
    if issued and phase is not Phase.RELEASED:
        return FundsAt.SOURCE
    return _FUNDS.get(phase, FundsAt.IN_FLIGHT)


def granted_by(state: TransferState) -> tuple[GuardId, ...]:
    """The guards that grant it now: a batch holds only what the same M guards granted."""
    return tuple(r.guard for r in state.rulings if isinstance(r.verdict, Granted))


def live_attempts(state: TransferState, action: Action) -> tuple[Attempt, ...]:
    """Signed batches that may still land, in a stable order."""
    skipped = {batch for batch, reason in state.skips if reason not in _DONE_SKIPS}
    live = (
        attempt
        for attempt in state.attempts
        if attempt.action is action and attempt.batch not in state.expired | skipped
    )
    return tuple(sorted(live, key=lambda attempt: attempt.batch))


# --- what must never be ----------------------------------------------------------------


def violations(state: TransferState) -> tuple[tuple[InvariantId, str], ...]:
    """Every broken promise that the facts of this transfer show, in a stable order."""
    if len(state.burns) < 2 and not (
        state.releases or state.cancels or state.refunds or state.unfinalized
    ):
        return ()
    found = (
        *_finality_violations(state),
        *_outcome_violations(state),
        *_content_violations(state),
    )
    return tuple(sorted(found))


def _finality_violations(state: TransferState) -> list[tuple[InvariantId, str]]:
    found = []
    if len(state.burns) > 1:
        found.append((InvariantId.FINALITY_VIOLATION_HALTS, "the burn is final at two places"))
    if any(place.block.hash in state.unfinalized for place in state.burns):
        found.append((InvariantId.FINALITY_VIOLATION_HALTS, "the final burn vanished"))
    if state.releases and state.refuted:
        found.append((InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN, "released, but no such burn is"))
    if state.releases and state.order_voided:
        found.append((InvariantId.RESERVATION_SAFETY, "released after its order was voided"))
    return found


def _outcome_violations(state: TransferState) -> list[tuple[InvariantId, str]]:
    outcomes = len(state.releases) + len(state.refunds)
    found = []
    if outcomes > 1:
        found.append((InvariantId.AT_MOST_ONCE, f"{outcomes} final releases and refunds"))
    if state.releases and state.cancels:
        found.append((InvariantId.AT_MOST_ONCE, "both released and cancelled"))
    if state.refunds and _is(state, Kind.REDEEM) and _authorized(state):
        found.append((InvariantId.AT_MOST_ONCE, "both paid out and refunded"))
    if state.cancels and _is(state, Kind.REFUND):
        found.append((InvariantId.AT_MOST_ONCE, "a refund was cancelled: nothing flows back twice"))
    return found


def _content_violations(state: TransferState) -> list[tuple[InvariantId, str]]:
    message = state.message
    if message is None:
        return []
    found = []
    if not all(same_content(release, message) for release in state.releases):
        found.append((InvariantId.SAME_CONTENT, "the release differs from its burn"))
    if not all((r.asset, r.amount) == (message.asset, message.amount) for r in state.refunds):
        found.append((InvariantId.SAME_CONTENT, "the refund differs from its burn"))
    key = key_of(message)
    if any(ExecutionKey(c.destination, c.source, c.nonce) != key for c in state.cancels):
        found.append((InvariantId.SAME_CONTENT, "the cancellation is of another transfer"))
    return found


# --- what must be done -----------------------------------------------------------------


def _obligations(state: TransferState, shown: View) -> tuple[Effect, ...]:
    """INV-13: everything the state obliges us to do; `step` asks only for what is new."""
    if shown.phase is Phase.PARKED:
        return (*_halts(state), _park(state, shown))
    return _work(state, shown)


def _halts(state: TransferState) -> tuple[Effect, ...]:
    source, destination = _lane(state)
    effects: list[Effect] = []
    for invariant, detail in violations(state):
        effects.append(HaltLane(state.transfer_id, source, destination, invariant, detail))
        effects.append(RaiseAlarm(state.transfer_id, invariant.name, detail))
    return tuple(effects)


def _lane(state: TransferState) -> tuple[Domain | None, Domain | None]:
    if state.message is not None:
        return state.message.source, state.message.destination
    outcomes = {(o.source, o.destination) for o in state.releases | state.cancels}
    return min(outcomes) if outcomes else (None, None)


def _park(state: TransferState, shown: View) -> Effect:
    reason = shown.waiting_for.reason if shown.waiting_for else Reason.MANUAL_REVIEW.value
    return ParkTransfer(state.transfer_id, reason)


def _work(state: TransferState, shown: View) -> tuple[Effect, ...]:
    transfer_id = state.transfer_id
    match shown.phase:
        case Phase.FINAL | Phase.REVIEWING | Phase.HELD if not _authorized(state):
            return (RequestVerdicts(transfer_id),)
        case Phase.AUTHORIZED | Phase.HELD | Phase.RELEASING:
            return _send(state, Action.RELEASE)
        case Phase.CANCELLING:
            return _send(state, Action.CANCEL)
        case Phase.CANCELLED if not shown.terminal:
            return (OpenRefund(transfer_id),)
        case Phase.RELEASED:
            return _settle(state)
        case _:
            return ()


def _settle(state: TransferState) -> tuple[Effect, ...]:
    originals = sorted(due.original for due in state.dues if due.original is not None)
    return tuple(
        SettleRefund(state.transfer_id, original, refund)
        for original in dict.fromkeys(originals)
        for refund in state.releases
    )


def _authorized(state: TransferState) -> bool:
    return len(granted_by(state)) >= state.needed


def _send(state: TransferState, action: Action) -> tuple[Effect, ...]:
    live = live_attempts(state, action)
    if live:
        return tuple(SubmitRelease(state.transfer_id, attempt.batch) for attempt in live)
    if not _proven(state):
        return ()
    tried = sum(attempt.action is action for attempt in state.attempts)
    return (RequestSignatures(state.transfer_id, action, tried),)

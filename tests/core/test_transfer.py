"""The transfer machine: each phase, each effect, each broken promise."""

from dataclasses import replace
from itertools import permutations
from typing import Any, cast

import pytest

from tests.builders import (
    NOW,
    a_burn,
    a_cancel,
    a_message,
    a_place,
    a_refund,
    a_release,
    a_transfer,
    a_verdict,
    an_issue,
    an_orphan,
    id_of,
)
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
)
from xstock_core.ids import Domain
from xstock_core.invariants import InvariantId, InvariantViolation
from xstock_core.observation import SkipReason
from xstock_core.refusal import Disposition, Reason, Who, refuse
from xstock_core.release import Action
from xstock_core.transfer import (
    Effect,
    FundsAt,
    HaltLane,
    OpenRefund,
    ParkTransfer,
    Phase,
    PublishOutcome,
    RaiseAlarm,
    RequestSignatures,
    RequestVerdicts,
    SubmitRelease,
    TransferState,
    View,
    WaitingFor,
    due_since,
    granted_by,
    live_attempts,
    open_transfer,
    phase_of,
    revision,
    step,
    step_all,
    view,
    violations,
)
from xstock_core.transfer_record import InvalidRecord, from_record, to_record

MESSAGE = a_message()
ID = id_of(MESSAGE)
BURN = BurnFinalized(a_burn(MESSAGE))
HASH = a_place().block.hash
SEEN = BurnSeen(MESSAGE, HASH)
RELEASE = ReleaseFinalized(a_release(MESSAGE))
CANCEL = CancelFinalized(a_cancel(MESSAGE))
REFUND = RefundFinalized(a_release(a_refund(MESSAGE)))
REFUND_OPENED = RefundOpened(id_of(a_refund(MESSAGE)))
HOLD = refuse(Reason.RATE_LIMITED, until=NOW + 60)
REJECT = refuse(Reason.CONTENT_MISMATCH)
SIGNED = ReleaseAuthorized(b"batch", NOW + 1_800)
SENT = ReleaseSubmitted(b"batch", b"tx")
GRANTS = (a_verdict(1), a_verdict(2))


def after(*facts: Fact, state: TransferState | None = None) -> TransferState:
    state = state or a_transfer()
    for fact in facts:
        state = step(state, fact).state
    return state


def effects_of(*facts: Fact) -> tuple[Effect, ...]:
    """What the last of the facts newly obliges."""
    return step(after(*facts[:-1]), facts[-1]).effects


HAPPY: tuple[tuple[Fact, Phase, FundsAt, type[Any] | None], ...] = (
    (SEEN, Phase.SEEN, FundsAt.SOURCE, None),
    (BURN, Phase.FINAL, FundsAt.IN_FLIGHT, RequestVerdicts),
    (GRANTS[0], Phase.REVIEWING, FundsAt.IN_FLIGHT, None),
    (GRANTS[1], Phase.AUTHORIZED, FundsAt.IN_FLIGHT, RequestSignatures),
    (SIGNED, Phase.AUTHORIZED, FundsAt.IN_FLIGHT, SubmitRelease),
    (SENT, Phase.RELEASING, FundsAt.IN_FLIGHT, None),
    (ReleaseIncluded(b"batch", b"tx"), Phase.RELEASING, FundsAt.IN_FLIGHT, None),
    (RELEASE, Phase.RELEASED, FundsAt.DESTINATION, None),
)


def test_transfer__the_happy_way__passes_every_phase_and_asks_for_each_thing_once() -> None:
    state = a_transfer()
    for fact, phase, funds, effect in HAPPY:
        taken = step(state, fact)
        state = taken.state
        shown = view(state)
        assert (shown.phase, shown.funds_at) == (phase, funds)
        asked = [type(e) for e in taken.effects if not isinstance(e, PublishOutcome)]
        assert asked == ([] if effect is None else [effect])
        assert step(state, fact).effects == ()
    assert view(state).terminal
    assert view(state).waiting_for is None


CASES: dict[str, tuple[tuple[Fact, ...], Phase, FundsAt, str | None, Who | None]] = {
    "nothing yet": ((), Phase.SEEN, FundsAt.SOURCE, "SOURCE_NOT_FINAL", Who.NOBODY),
    "vanished before final": ((SEEN, BurnVanished(HASH)), Phase.REORGED, FundsAt.SOURCE,
                              "SOURCE_NOT_FINAL", Who.NOBODY),
    "mined again elsewhere": ((SEEN, BurnVanished(HASH), BurnSeen(MESSAGE, b"other")),
                              Phase.SEEN, FundsAt.SOURCE, "SOURCE_NOT_FINAL", Who.NOBODY),
    "final elsewhere": ((SEEN, BurnVanished(HASH),
                         BurnFinalized(a_burn(MESSAGE, place=a_place(fork=1)))),
                        Phase.FINAL, FundsAt.IN_FLIGHT, "VERDICTS", Who.NOBODY),
    "no such burn": ((SEEN, BurnRefuted()), Phase.PARKED, FundsAt.UNKNOWN,
                     "BURN_UNKNOWN", Who.OPERATOR),
    "one hold of three": ((BURN, a_verdict(1, HOLD)), Phase.REVIEWING, FundsAt.IN_FLIGHT,
                          "VERDICTS", Who.NOBODY),
    "two hold": ((BURN, a_verdict(1, HOLD), a_verdict(2, HOLD)), Phase.HELD, FundsAt.IN_FLIGHT,
                 "RATE_LIMITED", Who.NOBODY),
    "hold and grant": ((BURN, a_verdict(1, HOLD), *GRANTS[1:], a_verdict(3)), Phase.AUTHORIZED,
                       FundsAt.IN_FLIGHT, "SIGNATURES", Who.NOBODY),
    "hold then grant": ((BURN, a_verdict(1, HOLD), a_verdict(2, HOLD), a_verdict(1, sequence=2),
                         a_verdict(2, sequence=2)), Phase.AUTHORIZED, FundsAt.IN_FLIGHT,
                        "SIGNATURES", Who.NOBODY),
    "two reject": ((BURN, a_verdict(1, REJECT), a_verdict(2, REJECT)), Phase.PARKED,
                   FundsAt.IN_FLIGHT, "CONTENT_MISMATCH", Who.OPERATOR),
    "one rejects, one holds": ((BURN, a_verdict(1, REJECT), a_verdict(2, HOLD)), Phase.HELD,
                               FundsAt.IN_FLIGHT, "RATE_LIMITED", Who.NOBODY),
    "signed": ((BURN, *GRANTS, SIGNED), Phase.AUTHORIZED, FundsAt.IN_FLIGHT,
               "SUBMISSION", Who.ANYONE),
    "deadline passed": ((BURN, *GRANTS, SIGNED, SENT, DeadlinePassed(b"batch")),
                        Phase.AUTHORIZED, FundsAt.IN_FLIGHT, "SIGNATURES", Who.NOBODY),
    "skipped, paused": ((BURN, *GRANTS, SIGNED, SENT,
                         ReleaseSkippedSeen(b"batch", SkipReason.ASSET_PAUSED)),
                        Phase.HELD, FundsAt.IN_FLIGHT, "PAUSED", Who.OPERATOR),
    "skipped, bucket": ((BURN, *GRANTS, SIGNED, SENT,
                         ReleaseSkippedSeen(b"batch", SkipReason.BUCKET_EMPTY)),
                        Phase.HELD, FundsAt.IN_FLIGHT, "RATE_LIMITED", Who.NOBODY),
    "skipped, recipient": ((BURN, *GRANTS, SIGNED, SENT,
                            ReleaseSkippedSeen(b"batch", SkipReason.RECIPIENT_REFUSED)),
                           Phase.PARKED, FundsAt.IN_FLIGHT, "RECIPIENT_INVALID", Who.HOLDER),
    "skipped, as already released": ((BURN, *GRANTS, SIGNED, SENT,
                                      ReleaseSkippedSeen(b"batch", SkipReason.ALREADY_RELEASED)),
                                     Phase.RELEASING, FundsAt.IN_FLIGHT,
                                     "DESTINATION_NOT_FINAL", Who.NOBODY),
    "skipped, excused": ((BURN, *GRANTS, SIGNED, SENT,
                          ReleaseSkippedSeen(b"batch", SkipReason.RECIPIENT_REFUSED),
                          OperatorReleased(1, frozenset({b"batch"}))),
                         Phase.AUTHORIZED, FundsAt.IN_FLIGHT, "SIGNATURES", Who.NOBODY),
    "parked by a person": ((BURN, *GRANTS, OperatorParked(1, "asked by police")),
                           Phase.PARKED, FundsAt.IN_FLIGHT, "MANUAL_REVIEW", Who.OPERATOR),
    "let go again": ((BURN, *GRANTS, OperatorParked(1, "x"), OperatorReleased(2)),
                     Phase.AUTHORIZED, FundsAt.IN_FLIGHT, "SIGNATURES", Who.NOBODY),
    "cancel asked": ((BURN, a_verdict(1, HOLD), a_verdict(2, HOLD), CancelRequested()),
                     Phase.CANCELLING, FundsAt.IN_FLIGHT, "CANCEL", Who.NOBODY),
    "cancelled": ((BURN, CancelRequested(), CANCEL), Phase.CANCELLED, FundsAt.RETURNING,
                  "REFUND", Who.NOBODY),
    "refund opened": ((BURN, CancelRequested(), CANCEL, REFUND_OPENED), Phase.REFUNDING,
                      FundsAt.RETURNING, "REFUND", Who.NOBODY),
    "refunded": ((BURN, CANCEL, REFUND_OPENED, REFUND), Phase.REFUNDED, FundsAt.RETURNED,
                 None, None),
    "cancel asked too late": ((BURN, *GRANTS, SIGNED, SENT, CancelRequested(), RELEASE),
                              Phase.RELEASED, FundsAt.DESTINATION, None, None),
    "release seen before its burn": ((SEEN, RELEASE), Phase.RELEASING, FundsAt.UNKNOWN,
                                     "SOURCE_NOT_FINAL", Who.NOBODY),
    "orphan": ((OrphanFound(an_orphan()),), Phase.ORPHANED, FundsAt.IN_FLIGHT,
               "MANUAL_REVIEW", Who.OPERATOR),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_transfer__its_facts_in_any_order__shows_phase_funds_and_wait(name: str) -> None:
    """F48: any order, every fact up to twice, the same state and the same view."""
    facts, phase, funds, reason, who = CASES[name]
    expected = after(*facts)
    shown = view(expected)
    assert (shown.phase, shown.funds_at) == (phase, funds)
    if shown.phase is not Phase.REORGED:
        wait = shown.waiting_for
        assert (wait and wait.reason, wait and wait.who) == (reason, who)
    for order in list(permutations(facts))[:720]:
        assert after(*order, *order[:2]) == expected


def test_transfer__terminal_phases__are_the_bold_ones() -> None:
    terminal = {
        view(after(*case[0])).phase for case in CASES.values() if view(after(*case[0])).terminal
    }
    assert terminal == {Phase.RELEASED, Phase.REFUNDED, Phase.REORGED}


def test_transfer__burn_mined_again__is_one_transfer() -> None:
    """F20: re-included in another block, one burn, one release."""
    again = BurnFinalized(a_burn(MESSAGE, place=a_place(number=101)))
    state = after(SEEN, BurnVanished(HASH), again, *GRANTS, SIGNED, SENT, RELEASE)
    assert (phase_of(state), violations(state)) == (Phase.RELEASED, ())


def test_transfer__release_reorged_away_before_final__is_still_releasing() -> None:
    """F45: included is not final; the same batch stays live and is sent again."""
    state = after(BURN, *GRANTS, SIGNED, SENT, ReleaseIncluded(b"batch", b"tx"))
    assert phase_of(state) is Phase.RELEASING
    assert not view(state).terminal


def test_transfer__each_closed_attempt__asks_for_signatures_once_more() -> None:
    again = effects_of(BURN, *GRANTS, SIGNED, SENT, DeadlinePassed(b"batch"))
    assert RequestSignatures(ID, Action.RELEASE, 1) in again
    second = ReleaseAuthorized(b"second", NOW + 3_600)
    facts = (BURN, *GRANTS, SIGNED, DeadlinePassed(b"batch"), second, DeadlinePassed(b"second"))
    assert RequestSignatures(ID, Action.RELEASE, 2) in effects_of(*facts)


def test_transfer__skip_of_an_older_batch__does_not_hold_after_a_newer_attempt() -> None:
    second = ReleaseAuthorized(b"second", NOW + 3_600)
    skip = ReleaseSkippedSeen(b"batch", SkipReason.BUCKET_EMPTY)
    facts = (BURN, *GRANTS, SIGNED, skip, second, DeadlinePassed(b"second"))
    assert phase_of(after(*facts)) is Phase.AUTHORIZED


def test_transfer__cancel_asked__asks_for_a_cancel_batch_and_then_for_the_refund() -> None:
    assert RequestSignatures(ID, Action.CANCEL, 0) in effects_of(BURN, CancelRequested())
    signed = ReleaseAuthorized(b"cancel", NOW + 1_800, Action.CANCEL)
    assert SubmitRelease(ID, b"cancel") in effects_of(BURN, CancelRequested(), signed)
    assert OpenRefund(ID) in effects_of(BURN, CancelRequested(), CANCEL)


def test_transfer__parked__is_listed_once_with_its_reason() -> None:
    facts = (BURN, a_verdict(1, REJECT), a_verdict(2, REJECT))
    assert ParkTransfer(ID, "CONTENT_MISMATCH") in effects_of(*facts)
    assert not [e for e in effects_of(*facts, a_verdict(3, REJECT)) if isinstance(e, ParkTransfer)]


def test_transfer__every_change_of_view__is_published_once_with_a_growing_revision() -> None:
    """INV-14."""
    state, seen = a_transfer(), []
    for fact, *_ in HAPPY:
        taken = step(state, fact)
        published = [e for e in taken.effects if isinstance(e, PublishOutcome)]
        changed = view(taken.state) != view(state) or revision(state) == 0
        assert len(published) == int(changed)
        state = taken.state
        seen += [e.revision for e in published]
    assert seen == sorted(set(seen))


def test_transfer__verdict_of_an_older_sequence__changes_nothing() -> None:
    state = after(BURN, a_verdict(1, sequence=5))
    assert after(a_verdict(1, REJECT, sequence=4), state=state) == state
    assert granted_by(state) == ("guard-1",)


def test_transfer__two_words_under_one_sequence__the_refusal_counts() -> None:
    for order in permutations([a_verdict(1), a_verdict(1, REJECT)]):
        assert granted_by(after(BURN, *order)) == ()


def test_transfer__waits_of_different_length__the_last_to_end_is_shown() -> None:
    longer = refuse(Reason.LARGE_TRANSFER_DELAY, until=NOW + 600)
    wait = view(after(BURN, a_verdict(1, HOLD), a_verdict(2, longer))).waiting_for
    assert wait is not None
    assert (wait.reason, wait.until) == ("LARGE_TRANSFER_DELAY", NOW + 600)
    open_end = refuse(Reason.HALTED)
    wait = view(after(BURN, a_verdict(1, open_end), a_verdict(2, longer))).waiting_for
    assert wait is not None
    assert (wait.reason, wait.until) == ("HALTED", None)


def test_transfer__two_refusals_under_one_sequence__the_same_one_counts_in_any_order() -> None:
    """F48."""
    words = [a_verdict(1, HOLD), a_verdict(1, REJECT), a_verdict(1, refuse(Reason.HALTED))]
    assert len({str(after(BURN, *order).rulings) for order in permutations(words)}) == 1


def test_transfer__included_by_a_stranger__is_releasing_though_we_never_sent_it() -> None:
    included = ReleaseIncluded(b"batch", b"tx")
    state = after(BURN, *GRANTS, SIGNED, included)
    assert phase_of(state) is Phase.RELEASING
    assert state.included == {(b"batch", b"tx")}


def test_transfer__signed_twice__both_are_sent_in_order_and_the_later_deadline_is_shown() -> None:
    later = ReleaseAuthorized(b"a later one", NOW + 3_600)
    state = after(BURN, *GRANTS, SIGNED, later)
    live = [attempt.batch for attempt in live_attempts(state, Action.RELEASE)]
    assert live == [b"a later one", b"batch"]
    assert view(state).waiting_for == WaitingFor("SUBMISSION", NOW + 3_600, Who.ANYONE)


def test_transfer__refund_opened_twice__keeps_the_same_id_in_any_order() -> None:
    """F48."""
    ids = sorted([REFUND_OPENED.refund_id, id_of(a_message(counter=9))])
    for order in permutations(map(RefundOpened, ids)):
        assert after(BURN, CANCEL, *order).refund_id == ids[0]


def test_cancel__withdrawn_under_an_older_sequence__stays_asked() -> None:
    state = after(BURN, CancelRequested(2), CancelWithdrawn(1))
    assert phase_of(state) is Phase.CANCELLING
    assert state.cancel_sequence == 2


def test_refund__due__is_counted_from_its_earliest_block_and_from_0_where_no_chain_spoke() -> None:
    assert due_since(a_transfer()) == 0
    refund = a_refund(MESSAGE)
    dues = [RefundDue(refund, ID, since) for since in (NOW, NOW - 5)]
    assert due_since(after(*dues, state=a_transfer(refund))) == NOW - 5


def test_publication__of_a_change__names_the_transfer_its_revision_and_what_is_shown() -> None:
    state = after(SEEN, BURN)
    published = [e for e in effects_of(SEEN, BURN) if isinstance(e, PublishOutcome)]
    assert published == [PublishOutcome(ID, revision(state), view(state))]


@pytest.mark.parametrize("empty", [CancelWithdrawn(0), OperatorReleased(0)])
def test_fact__that_changes_nothing_of_a_new_transfer__is_not_published(empty: Fact) -> None:
    assert step(a_transfer(), empty).effects == ()


NEWS: tuple[Fact, ...] = (
    SEEN, BurnVanished(HASH), BURN, a_verdict(1, HOLD, sequence=0), a_verdict(1), *GRANTS[1:],
    SIGNED, SENT, ReleaseIncluded(b"batch", b"tx"), DeadlinePassed(b"batch"),
    ReleaseSkippedSeen(b"batch", SkipReason.BUCKET_EMPTY), OperatorParked(1, "asked"),
    OperatorReleased(2), OperatorReleased(2, frozenset({b"batch"})), CancelRequested(1),
    CancelWithdrawn(1), CancelRequested(2), OrderAccepted(MESSAGE, NOW), OrderVoided(), CANCEL,
    RefundDue(MESSAGE, None, NOW), REFUND_OPENED, REFUND, RELEASE, BurnRefuted(),
    BurnVanished(HASH, was_final=True), OrphanFound(an_orphan()),
)  # fmt: skip


@pytest.mark.parametrize("facts", [NEWS, NEWS[::-1]], ids=["forth", "back"])
def test_revision__with_every_fact_that_says_something_new__grows_from_0(
    facts: tuple[Fact, ...],
) -> None:
    """INV-14: a reader that keeps the highest revision keeps the latest view."""
    state, last = a_transfer(), 0
    assert revision(state) == last
    for fact in facts:
        told = step(state, fact).state
        assert (revision(told) > last) == (told != state), fact
        state, last = told, revision(told)


# --- issuance ---------------------------------------------------------------------------

ORDER = an_issue()
ORDERED = OrderAccepted(ORDER, NOW + 3_600)


def test_order__needs_no_burn__and_its_shares_are_in_custody_until_issued() -> None:
    state = after(ORDERED, *GRANTS, state=a_transfer(ORDER))
    assert (phase_of(state), view(state).funds_at) == (Phase.AUTHORIZED, FundsAt.SOURCE)
    state = after(ReleaseFinalized(a_release(ORDER)), state=state)
    assert (phase_of(state), view(state).funds_at) == (Phase.RELEASED, FundsAt.DESTINATION)


@pytest.mark.parametrize("end", [OrderVoided(), CancelFinalized(a_cancel(ORDER))])
def test_order__voided_or_cancelled__is_over_without_a_refund(end: Fact) -> None:
    taken = step(after(ORDERED, state=a_transfer(ORDER)), end)
    shown = view(taken.state)
    assert (shown.phase, shown.terminal, shown.funds_at) == (
        Phase.CANCELLED,
        True,
        FundsAt.SOURCE,
    )
    assert not [e for e in taken.effects if isinstance(e, OpenRefund)]


def test_order__accepted__carries_its_message_and_the_earliest_expiry_of_several() -> None:
    """F48: an order told twice with two expiries ends at the earlier one, in any order."""
    assert after(ORDERED, state=a_transfer(ORDER)).message == ORDER
    for order in permutations([ORDERED, OrderAccepted(ORDER, NOW + 60)]):
        assert after(*order, state=a_transfer(ORDER)).order_expiry == NOW + 60


def test_order__cancelled_at_its_destination__waits_for_nothing() -> None:
    state = after(ORDERED, CancelFinalized(a_cancel(ORDER)), state=a_transfer(ORDER))
    assert view(state) == View(
        Phase.CANCELLED, terminal=True, funds_at=FundsAt.SOURCE, waiting_for=None
    )


def test_order__asked_to_cancel__asks_for_a_cancel_batch() -> None:
    asked = step(after(ORDERED, state=a_transfer(ORDER)), CancelRequested())
    assert phase_of(asked.state) is Phase.CANCELLING
    assert RequestSignatures(id_of(ORDER), Action.CANCEL, 0) in asked.effects


# --- broken promises --------------------------------------------------------------------

OTHER_AMOUNT = ReleaseFinalized(a_release(MESSAGE, amount=MESSAGE.amount * 2))
ELSEWHERE = a_place(Domain.BNB, number=200)
BROKEN: dict[str, tuple[tuple[Fact, ...], InvariantId]] = {
    "released other content": ((BURN, OTHER_AMOUNT), InvariantId.SAME_CONTENT),
    "released to another": ((BURN, ReleaseFinalized(
        a_release(MESSAGE, recipient=MESSAGE.refund_address))), InvariantId.SAME_CONTENT),
    "released twice": ((BURN, RELEASE, ReleaseFinalized(a_release(MESSAGE, place=ELSEWHERE))),
                       InvariantId.AT_MOST_ONCE),
    "released and cancelled": ((BURN, RELEASE, CANCEL), InvariantId.AT_MOST_ONCE),
    "released and refunded": ((BURN, RELEASE, REFUND), InvariantId.AT_MOST_ONCE),
    "refunded another amount": ((BURN, CANCEL, RefundFinalized(
        a_release(a_refund(MESSAGE), amount=1))), InvariantId.SAME_CONTENT),
    "cancelled another": ((BURN, CancelFinalized(a_cancel(a_message(counter=2)))),
                          InvariantId.SAME_CONTENT),
    "final at two places": ((BURN, BurnFinalized(a_burn(MESSAGE, place=a_place(fork=1)))),
                            InvariantId.FINALITY_VIOLATION_HALTS),
    "final burn vanished": ((BURN, BurnVanished(HASH, was_final=True)),
                            InvariantId.FINALITY_VIOLATION_HALTS),
    "released without burn": ((SEEN, RELEASE, BurnRefuted()),
                              InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_transfer__broken_promise_in_any_order__halts_the_lane_and_parks(name: str) -> None:
    """F29, INV-01, INV-02, INV-03, INV-10."""
    facts, invariant = BROKEN[name]
    for order in permutations(facts):
        state, effects = a_transfer(), list[Effect]()
        for fact in order:
            taken = step(state, fact)
            state, effects = taken.state, [*effects, *taken.effects]
        halts = [e for e in effects if isinstance(e, HaltLane)]
        assert [h.invariant for h in halts] == [invariant]
        assert (halts[0].source, halts[0].destination) == (Domain.ETHEREUM, Domain.BNB)
        assert [type(e) for e in effects].count(RaiseAlarm) == 1
        assert (phase_of(state), view(state).funds_at) == (Phase.PARKED, FundsAt.UNKNOWN)


@pytest.mark.parametrize("name", BROKEN)
def test_transfer__broken_promise__names_the_lane_the_promise_and_what_was_seen(name: str) -> None:
    facts, invariant = BROKEN[name]
    state = after(*facts)
    ((_, detail),) = violations(state)
    effects = effects_of(*facts)
    assert HaltLane(ID, Domain.ETHEREUM, Domain.BNB, invariant, detail) in effects
    assert RaiseAlarm(ID, invariant.name, detail) in effects
    assert ParkTransfer(ID, invariant.value) in effects
    wait = WaitingFor(invariant.value, None, Who.OPERATOR)
    assert view(state) == View(
        Phase.PARKED, terminal=False, funds_at=FundsAt.UNKNOWN, waiting_for=wait
    )


@pytest.mark.parametrize("name", BROKEN)
def test_transfer__broken_promise_with_the_check_removed__goes_unnoticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defence removed: without `violations` no halt is asked for."""
    monkeypatch.setattr("xstock_core.transfer.violations", lambda _state: ())
    state, effects = a_transfer(), list[Effect]()
    for fact in BROKEN[name][0]:
        taken = step(state, fact)
        state, effects = taken.state, [*effects, *taken.effects]
    assert not [e for e in effects if isinstance(e, HaltLane)]


def test_order__issued_after_it_was_voided__halts() -> None:
    """INV-07."""
    released = ReleaseFinalized(a_release(ORDER))
    facts: list[Fact] = [ORDERED, OrderVoided(), released]
    for order in permutations(facts):
        state = after(*order, state=a_transfer(ORDER))
        assert [v[0] for v in violations(state)] == [InvariantId.RESERVATION_SAFETY]


def test_transfer__fact_about_another_transfer__is_refused_by_name() -> None:
    other = a_burn(a_message(counter=2))
    with pytest.raises(InvariantViolation, match=f"{other.transfer_id.hex()}.*{ID.hex()}"):
        step(a_transfer(), BurnFinalized(other))
    with pytest.raises(InvariantViolation, match=f"{ID.hex()}.*two different messages"):
        step(after(SEEN), BurnSeen(other.message, HASH))


def test_fact__that_the_machine_does_not_know__is_refused_by_its_name() -> None:
    with pytest.raises(AssertionError, match="an unheard-of fact"):
        step(a_transfer(), cast(Fact, "an unheard-of fact"))


@pytest.mark.parametrize(("needed", "guards"), [(0, 0), (0, 3), (1, 3), (4, 3), (2, 4), (-1, 1)])
def test_transfer__with_a_bad_threshold__cannot_be_opened(needed: int, guards: int) -> None:
    """F83, INV-12."""
    with pytest.raises(InvariantViolation, match=f"{needed} of {guards} guards"):
        open_transfer(ID, needed=needed, guards=guards)


# --- pages and records ------------------------------------------------------------------


def test_page__of_facts__ends_where_single_steps_end_and_publishes_once() -> None:
    others = {id_of(m): a_transfer(m) for m in (a_message(counter=2), MESSAGE)}
    changed, effects = step_all(others, [(ID, fact) for fact, *_ in HAPPY])
    assert changed == {ID: after(*(fact for fact, *_ in HAPPY))}
    assert [type(e) for e in effects] == [PublishOutcome]
    assert step_all(others | changed, [(ID, RELEASE)]) == ({}, ())


def test_page__naming_an_unknown_transfer__raises() -> None:
    with pytest.raises(KeyError):
        step_all({}, [(ID, RELEASE)])


@pytest.mark.parametrize("name", [*CASES, *BROKEN])
def test_record__of_any_state__reads_back_equal(name: str) -> None:
    facts = CASES[name][0] if name in CASES else BROKEN[name][0]
    state = after(*facts)
    record = to_record(state)
    assert from_record(record) == state
    assert all(isinstance(value, str | int) for value in record.values())


def test_record__of_an_order_and_a_refusal_with_detail__reads_back_equal() -> None:
    refusal = refuse(Reason.CAP_EXCEEDED, until=NOW, exposure=5, cap="4:,")
    state = after(ORDERED, a_verdict(1, refusal), OrderVoided(), state=a_transfer(ORDER))
    assert from_record(to_record(state)) == state


@pytest.mark.parametrize(
    ("field", "value"),
    [("transfer_id", "zz"), ("burns", "1:2"), ("rulings", "{"), ("message", "00"), ("needed", "x")],
)
def test_record__damaged__is_refused(field: str, value: str) -> None:
    record = to_record(after(BURN, *GRANTS))
    with pytest.raises(InvalidRecord):
        from_record(record | {field: value})


def test_state__hash__is_equal_for_permuted_histories() -> None:
    """F48: the final state hash, over the record, is the same."""
    facts = [fact for fact, *_ in HAPPY]
    hashes = {str(sorted(to_record(after(*order)).items())) for order in (facts, facts[::-1])}
    assert len(hashes) == 1


def test_dispositions__hold_and_park__part_ways() -> None:
    held = replace(HOLD, disposition=Disposition.PARK)
    state = after(BURN, a_verdict(1, held), a_verdict(2, held))
    assert phase_of(state) is Phase.PARKED

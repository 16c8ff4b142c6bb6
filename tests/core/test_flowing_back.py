"""What flows back: a REFUND is a transfer of its own, and a redemption is paid or refunded."""

from dataclasses import replace

import pytest

from tests.builders import (
    a_burn,
    a_cancel,
    a_claim,
    a_context,
    a_message,
    a_place,
    a_refund,
    a_release,
    a_transfer,
    a_verdict,
    an_address,
    an_orphan,
    id_of,
    opened,
)
from xstock_core.amount import Shares
from xstock_core.facts import (
    BurnFinalized,
    CancelFinalized,
    CancelRequested,
    CancelWithdrawn,
    Fact,
    RefundDue,
    RefundFinalized,
    RefundOpened,
    ReleaseAuthorized,
    ReleaseFinalized,
    ReleaseSkippedSeen,
)
from xstock_core.ids import Address32, Domain
from xstock_core.invariants import InvariantId
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import SkipReason
from xstock_core.policy import check_route, check_screening, check_size, decide
from xstock_core.refund import refund_of, refund_of_orphan
from xstock_core.refusal import GRANTED, Disposition, Reason, Refused, Who, refuse
from xstock_core.release import Action
from xstock_core.review import Cancelled, Claim, NotCancelled, OrphanApproved, Recorded, Rejected
from xstock_core.transfer import (
    FundsAt,
    OpenRefund,
    Phase,
    RequestSignatures,
    RequestVerdicts,
    SettleRefund,
    TransferState,
    absorb,
    burned_at,
    step,
    view,
    violations,
)

BURN = a_message()
REFUND = a_refund(BURN)
REDEEM = a_message(kind=Kind.REDEEM, destination=Domain.CUSTODY)
REDEEM_REFUND = refund_of(REDEEM, REDEEM.source_bridge)
UNPAID = refuse(Reason.REDEMPTION_UNPAID)
REJECTED = refuse(Reason.REDEMPTION_REJECTED)


def told(message: TransferMessage, *facts: Fact) -> TransferState:
    state = a_transfer(message)
    for fact in facts:
        state = absorb(state, fact)
    return state


def due(refund: TransferMessage = REFUND, since: int = 7) -> RefundDue:
    return RefundDue(refund, id_of(BURN), since)


def test_refund__due__is_proven_and_asks_every_guard() -> None:
    first = step(a_transfer(REFUND), due())
    assert RequestVerdicts(id_of(REFUND)) in first.effects
    shown = view(first.state)
    assert (shown.phase, shown.funds_at) == (Phase.FINAL, FundsAt.RETURNING)


def test_refund__granted__is_released_like_any_other() -> None:
    state = told(REFUND, due(), a_verdict(1))
    after = step(state, a_verdict(2))
    assert RequestSignatures(id_of(REFUND), Action.RELEASE, 0) in after.effects


def test_refund__final__tells_the_transfer_that_flowed_back() -> None:
    released = a_release(REFUND)
    after = step(told(REFUND, due()), ReleaseFinalized(released))
    assert SettleRefund(id_of(REFUND), id_of(BURN), released) in after.effects
    shown = view(after.state)
    assert (shown.phase, shown.terminal, shown.funds_at) == (
        Phase.RELEASED,
        True,
        FundsAt.RETURNED,
    )
    original = told(
        BURN,
        BurnFinalized(a_burn(BURN)),
        CancelFinalized(a_cancel(BURN)),
        RefundOpened(id_of(REFUND)),
        RefundFinalized(released),
    )
    assert view(original).phase is Phase.REFUNDED


def test_refund_of_an_orphan__final__tells_nobody() -> None:
    refund = refund_of_orphan(an_orphan(), Address32(bytes(31) + b"\x07"))
    state = told(refund, RefundDue(refund, None, 5))
    after = step(state, ReleaseFinalized(a_release(refund)))
    assert not [e for e in after.effects if isinstance(e, SettleRefund)]


def test_refund__asked_to_cancel__goes_on() -> None:
    assert view(told(REFUND, due(), CancelRequested())).phase is Phase.FINAL


def test_refund__finally_cancelled__halts() -> None:
    state = told(REFUND, due(), CancelFinalized(a_cancel(REFUND)))
    assert [found for found, _ in violations(state)] == [InvariantId.AT_MOST_ONCE]


def test_refund__due_twice__carries_the_earliest_time() -> None:
    state = told(REFUND, due(since=9), due(since=4))
    assert burned_at(state) == 4
    assert burned_at(told(BURN, BurnFinalized(a_burn(BURN)))) == a_burn(BURN).place.block.time


def test_cancel__withdrawn__the_transfer_goes_on_where_it_stood() -> None:
    asked = told(BURN, BurnFinalized(a_burn(BURN)), CancelRequested(1))
    assert view(asked).phase is Phase.CANCELLING
    after = step(asked, CancelWithdrawn(1))
    assert view(after.state).phase is Phase.FINAL
    assert RequestVerdicts(id_of(BURN)) in after.effects
    again = absorb(absorb(after.state, CancelRequested(1)), CancelRequested(2))
    assert view(again).phase is Phase.CANCELLING


def test_cancel__loses_the_race__ends_released() -> None:
    """Both permits were out; the release came first and the cancellation was skipped."""
    state = told(
        BURN,
        BurnFinalized(a_burn(BURN)),
        ReleaseAuthorized(b"out", 1),
        CancelRequested(),
        ReleaseAuthorized(b"back", 1, Action.CANCEL),
        ReleaseSkippedSeen(b"back", SkipReason.ALREADY_RELEASED),
        ReleaseFinalized(a_release(BURN)),
    )
    shown = view(state)
    assert (shown.phase, shown.terminal) == (Phase.RELEASED, True)
    assert violations(state) == ()


def test_cancel__wins_the_race__flows_back() -> None:
    state = told(
        BURN,
        BurnFinalized(a_burn(BURN)),
        ReleaseAuthorized(b"out", 1),
        ReleaseSkippedSeen(b"out", SkipReason.ALREADY_CANCELLED),
        CancelFinalized(a_cancel(BURN)),
    )
    assert view(state).phase is Phase.CANCELLED
    assert violations(state) == ()


def test_redemption__granted_by_enough__is_paid_and_over() -> None:
    state = told(REDEEM, BurnFinalized(a_burn(REDEEM)), a_verdict(1, UNPAID), a_verdict(2, UNPAID))
    shown = view(state)
    assert shown.phase is Phase.HELD
    assert shown.waiting_for is not None
    assert (shown.waiting_for.reason, shown.waiting_for.who) == (
        "REDEMPTION_UNPAID",
        Who.CUSTODIAN,
    )
    paid = step(absorb(state, a_verdict(1, GRANTED, 2)), a_verdict(2, GRANTED, 2))
    assert view(paid.state).phase is Phase.RELEASED
    assert view(paid.state).terminal
    assert not [e for e in paid.effects if isinstance(e, RequestSignatures | SettleRefund)]


def test_redemption__rejected_by_one__still_waits() -> None:
    state = told(REDEEM, BurnFinalized(a_burn(REDEEM)), a_verdict(1, REJECTED))
    assert view(state).phase is Phase.REVIEWING


def test_redemption__rejected_by_enough__flows_back() -> None:
    state = told(REDEEM, BurnFinalized(a_burn(REDEEM)), a_verdict(1, REJECTED))
    after = step(state, a_verdict(3, REJECTED))
    assert OpenRefund(id_of(REDEEM)) in after.effects
    assert view(after.state).phase is Phase.CANCELLED
    refunding = absorb(after.state, RefundOpened(id_of(REDEEM_REFUND)))
    assert view(refunding).phase is Phase.REFUNDING
    closed = absorb(refunding, RefundFinalized(a_release(REDEEM_REFUND)))
    assert view(closed).phase is Phase.REFUNDED


def test_redemption__granted_after_its_refund_was_opened__is_refunding_and_not_paid() -> None:
    """Both words cannot be true; what is under way goes on, and nothing is called over."""
    state = told(
        REDEEM,
        BurnFinalized(a_burn(REDEEM)),
        RefundOpened(id_of(REDEEM_REFUND)),
        a_verdict(1),
        a_verdict(2),
    )
    assert (view(state).phase, view(state).terminal) == (Phase.REFUNDING, False)


def test_redemption__its_refund_known_before_the_rejections__flows_back_all_the_same() -> None:
    """F48: the guards' words come last, or not at all."""
    burned = told(REDEEM, BurnFinalized(a_burn(REDEEM)))
    opened_first = absorb(burned, RefundOpened(id_of(REDEEM_REFUND)))
    assert view(opened_first).phase is Phase.REFUNDING
    final_first = absorb(burned, RefundFinalized(a_release(REDEEM_REFUND)))
    assert view(final_first).phase is Phase.REFUNDED


def test_redemption__rejected_by_one_and_set_aside_by_another__waits_and_is_not_parked() -> None:
    aside = refuse(Reason.MANUAL_REVIEW)
    state = told(REDEEM, BurnFinalized(a_burn(REDEEM)), a_verdict(1, REJECTED), a_verdict(2, aside))
    shown = view(state)
    assert shown.phase is Phase.HELD
    assert shown.waiting_for is not None
    assert shown.waiting_for.reason == "REDEMPTION_REJECTED"


def test_redemption__paid_out_and_refunded__halts() -> None:
    state = told(
        REDEEM,
        BurnFinalized(a_burn(REDEEM)),
        RefundOpened(id_of(REDEEM_REFUND)),
        RefundFinalized(a_release(REDEEM_REFUND)),
        a_verdict(1),
        a_verdict(2),
    )
    assert [found for found, _ in violations(state)] == [InvariantId.AT_MOST_ONCE]


def test_redemption__asked_to_cancel__goes_on() -> None:
    state = told(REDEEM, BurnFinalized(a_burn(REDEEM)), CancelRequested())
    assert view(state).phase is Phase.FINAL


# --- a guard's rules


def redeem_claim() -> Claim:
    return a_claim(REDEEM)


def refund_claim(**changes: object) -> Claim:
    evidence = Cancelled(a_burn(BURN), a_cancel(BURN), REFUND)
    return replace(Claim(id_of(REFUND), REFUND, evidence), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("paid", "rejected", "reason"),
    [
        (False, False, Reason.REDEMPTION_UNPAID),
        (True, False, None),
        (False, True, Reason.REDEMPTION_REJECTED),
    ],
)
def test_redemption__by_custodys_word__granted_held_or_rejected(
    paid: bool, rejected: bool, reason: Reason | None
) -> None:
    claim = redeem_claim()
    ids = frozenset({claim.transfer_id})
    context = a_context(
        a_burn(REDEEM),
        paid=ids if paid else frozenset(),
        rejected=ids if rejected else frozenset(),
    )
    decision = decide(context, [claim])
    (verdict,) = decision.verdicts
    assert (verdict.reason if isinstance(verdict, Refused) else None) is reason
    assert decision.reservations == ()


def test_redemption__listed_as_paid_but_never_burned__is_not_granted() -> None:
    claim = replace(redeem_claim(), evidence=Recorded())
    context = a_context(paid=frozenset({claim.transfer_id}))
    (verdict,) = decide(context, [claim]).verdicts
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.NOT_GRANTED


def test_refund__cancel_not_final__is_held() -> None:
    claim = refund_claim(evidence=NotCancelled(Domain.BNB))
    (verdict,) = decide(a_context(a_burn(BURN)), [claim]).verdicts
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.disposition) == (Reason.CANCEL_NOT_FINAL, Disposition.HOLD)


def test_refund__of_a_rejected_redemption__granted_for_exactly_its_message() -> None:
    evidence = Rejected(a_burn(REDEEM), REDEEM_REFUND)
    context = a_context(a_burn(REDEEM))
    good = Claim(id_of(REDEEM_REFUND), REDEEM_REFUND, evidence)
    assert decide(context, [good]).verdicts == (GRANTED,)
    other = replace(REDEEM_REFUND, recipient=an_address(9))
    (verdict,) = decide(context, [Claim(id_of(other), other, evidence)]).verdicts
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.CONTENT_MISMATCH


def test_refund__of_an_approved_orphan__granted_for_exactly_its_message() -> None:
    orphan = an_orphan()
    refund = refund_of_orphan(orphan, Address32(bytes(31) + b"\x07"))
    balances, _ = opened(chains=(Domain.SOLANA,))
    context = a_context(balances=balances)
    evidence = OrphanApproved(orphan, refund)
    assert decide(context, [Claim(id_of(refund), refund, evidence)]).verdicts == (GRANTED,)
    more = replace(refund, amount=Shares(refund.amount + 1))
    (verdict,) = decide(context, [Claim(id_of(more), more, evidence)]).verdicts
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.CONTENT_MISMATCH


def test_refund__of_a_closed_lane__needs_no_route() -> None:
    context = replace(a_context(a_burn(BURN)), routes={})
    assert check_route(context, refund_claim()) == GRANTED
    assert check_size(context, refund_claim()) == GRANTED


def test_refund__because_the_recipient_is_screened__flows_back_all_the_same() -> None:
    context = a_context(screened={BURN.recipient: "sanctions"})
    assert check_screening(context, refund_claim()) == GRANTED
    back = a_context(screened={BURN.refund_address: "sanctions"})
    refused = check_screening(back, refund_claim())
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.SCREENED


def test_refund__above_the_size__needs_a_person() -> None:
    context = a_context(a_burn(BURN), refund_review_from=BURN.amount)
    (verdict,) = decide(context, [refund_claim()]).verdicts
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.disposition) == (Reason.MANUAL_REVIEW, Disposition.PARK)
    approved = replace(context, approved=frozenset({id_of(REFUND)}))
    assert decide(approved, [refund_claim()]).verdicts == (GRANTED,)


def test_refund__exposure_above_the_cap__waits_like_any_release() -> None:
    rich, _ = opened(shares=10_000 * 100_000_000)
    (verdict,) = decide(a_context(a_burn(BURN), balances=rich), [refund_claim()]).verdicts
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.disposition) == (Reason.CAP_EXCEEDED, Disposition.HOLD)


def test_refund__place_of_the_cancel__is_when_its_nonce_began() -> None:
    cancel = a_cancel(BURN, place=a_place(Domain.BNB, number=42))
    state = told(REFUND, RefundDue(REFUND, id_of(BURN), cancel.place.block.time))
    assert burned_at(state) == a_place(Domain.BNB, number=42).block.time

"""A refusal repeats every figure behind it, and each limit is met exactly at its edge.

People read these figures in the API, in the journal and in a dead letter. Each case is compared
whole: reason, disposition, until and detail.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import (
    ISSUER,
    NOW,
    SHARE,
    TSLAX,
    a_bucket,
    a_burn,
    a_cancel,
    a_claim,
    a_context,
    a_message,
    a_place,
    a_refund,
    an_address,
    an_asset_view,
    an_attestation,
    an_issue,
    an_issue_claim,
    id_of,
    opened,
)
from xstock_core import policy
from xstock_core.bucket import Bucket, BucketKey
from xstock_core.ids import AssetId, Domain, TransferId
from xstock_core.ledger import Account, supply
from xstock_core.message import Kind
from xstock_core.policy import Policy, bucket_keys, decide, first_refusal
from xstock_core.refusal import GRANTED, Disposition, Reason, Refused, Verdict, refuse
from xstock_core.release import Action, key_of
from xstock_core.reservation import ReservationState
from xstock_core.review import (
    BurnAbsent,
    Cancelled,
    Claim,
    Context,
    Delay,
    Dissent,
    IssueOrder,
    IssueSequence,
    NotApproved,
    NotCancelled,
    NotReached,
    Rejected,
    Route,
)

BURN = a_burn()
CLAIM = a_claim()
ISSUE_CLAIM = an_issue_claim()
REFUND = a_refund(BURN.message)
CANCELLED = Cancelled(BURN, a_cancel(BURN.message), REFUND)
REFUND_CLAIM = Claim(id_of(REFUND), REFUND, CANCELLED)
JUST_BURNED = replace(CLAIM, evidence=replace(BURN, place=a_place(number=1_000)))
RATED = BucketKey(TSLAX, Domain.BNB)
LANE = (TSLAX, Domain.ETHEREUM, Domain.BNB)


Ask = Callable[[], Verdict]


def of(rule: Policy, claim: Claim = CLAIM, **context: Any) -> Ask:
    """Asks for this rule's own word in an otherwise quiet world."""
    return lambda: first_refusal(a_context(BURN, **context), claim, (rule,))


def seen(evidence: Any, claim: Claim = CLAIM) -> Ask:
    return of(policy.check_evidence, replace(claim, evidence=evidence))


EVIDENCE: dict[str, tuple[Ask, Verdict]] = {
    "not reached": (
        seen(NotReached(Domain.MANTLE, eta=77)),
        refuse(Reason.SOURCE_NOT_FINAL, until=77, chain=3),
    ),
    "dissent": (seen(Dissent(Domain.MANTLE)), refuse(Reason.SOURCE_DISSENT, chain=3)),
    "absent": (seen(BurnAbsent(Domain.MANTLE)), refuse(Reason.BURN_UNKNOWN, chain=3)),
    "not cancelled yet": (
        seen(NotCancelled(Domain.MANTLE), REFUND_CLAIM),
        refuse(Reason.CANCEL_NOT_FINAL, chain=3),
    ),
    "an orphan's refund that nobody approved": (
        seen(NotApproved(Domain.SOLANA), REFUND_CLAIM),
        refuse(Reason.MANUAL_REVIEW, chain=4, needs="ORPHAN_REFUND approved"),
    ),
    "another id for the same message": (
        seen(replace(BURN, transfer_id=TransferId(b"\7" * 32))),
        refuse(Reason.CONTENT_MISMATCH, seen="07" * 32),
    ),
    "another message under the same id": (
        seen(replace(BURN, message=a_message(amount=7))),
        refuse(Reason.CONTENT_MISMATCH, seen=BURN.transfer_id.hex()),
    ),
    "another order": (
        seen(IssueOrder(an_issue(amount=7), 1, NOW + 9, signature_valid=True), ISSUE_CLAIM),
        refuse(Reason.CONTENT_MISMATCH, order=1),
    ),
    "an order nobody signed": (
        seen(IssueOrder(ISSUE_CLAIM.message, 1, NOW + 9, signature_valid=False), ISSUE_CLAIM),
        refuse(Reason.ISSUE_SIGNATURE_INVALID, order=1),
    ),
    "the cancellation of another burn": (
        seen(replace(CANCELLED, cancel=a_cancel(a_message(counter=9))), REFUND_CLAIM),
        refuse(Reason.CANCEL_NOT_FINAL, nonce=BURN.message.nonce.hex()),
    ),
    "another refund of a rejected redemption": (
        seen(Rejected(BURN, a_refund(a_message(counter=9))), REFUND_CLAIM),
        refuse(Reason.CONTENT_MISMATCH, nonce=a_refund(a_message(counter=9)).nonce.hex()),
    ),
    "the refund of a rejected redemption": (seen(Rejected(BURN, REFUND), REFUND_CLAIM), GRANTED),
    "another refund": (
        seen(replace(CANCELLED, refund=a_refund(a_message(counter=9))), REFUND_CLAIM),
        refuse(Reason.CONTENT_MISMATCH, nonce=BURN.message.nonce.hex()),
    ),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence__that_does_not_carry_the_claim__is_refused_with_its_figures(name: str) -> None:
    ask, expected = EVIDENCE[name]
    assert ask() == expected


def view(**changes: Any) -> dict[AssetId, Any]:
    return {TSLAX: an_asset_view(**changes)}


def balances(**held: int) -> dict[tuple[AssetId, Account], int]:
    found, _ = opened()
    return {**found, **{(TSLAX, supply(Domain[name])): held[name] for name in held}}


def order(number: int, **changes: Any) -> Claim:
    return an_issue_claim(an_issue(order=number), **changes)


FIGURES: dict[str, tuple[Ask, Verdict]] = {
    "no route": (
        of(policy.check_route, routes={}),
        refuse(Reason.ROUTE_CLOSED, source=1, destination=2),
    ),
    "below the minimum": (
        of(policy.check_route, routes={LANE: Route(minimum=SHARE + 1)}),
        refuse(Reason.AMOUNT_BELOW_MINIMUM, amount=SHARE, minimum=SHARE + 1),
    ),
    "exactly the minimum": (of(policy.check_route, routes={LANE: Route(minimum=SHARE)}), GRANTED),
    "recipient": (
        of(
            policy.check_recipient,
            assets=view(forbidden_recipients=frozenset({(Domain.BNB, BURN.message.recipient)})),
        ),
        refuse(Reason.RECIPIENT_INVALID, recipient=BURN.message.recipient.hex()),
    ),
    "chain one below zero": (
        of(policy.check_chain_balance, balances=balances(ETHEREUM=-1)),
        refuse(Reason.CHAIN_BALANCE_NEGATIVE, chain=1, balance=-1),
    ),
    "chain at zero": (of(policy.check_chain_balance, balances=balances(ETHEREUM=0)), GRANTED),
    "chain that lags": (
        of(
            policy.check_chain_balance,
            balances=balances(ETHEREUM=-1),
            lagging=frozenset({Domain.ETHEREUM}),
        ),
        replace(
            refuse(Reason.CHAIN_BALANCE_NEGATIVE, chain=1, balance=-1),
            disposition=Disposition.HOLD,
        ),
    ),
    "chain without any entry": (of(policy.check_chain_balance, balances={}), GRANTED),
    "collateral too old": (
        of(policy.check_collateral, assets=view(attestation_age_max=59)),
        refuse(Reason.COLLATERAL_STALE, age=60, age_max=59),
    ),
    "collateral at its age": (
        of(policy.check_collateral, assets=view(attestation_age_max=60)),
        GRANTED,
    ),
    "collateral from the future": (
        of(policy.check_collateral, assets=view(attestation=an_attestation(as_of=NOW + 61))),
        refuse(Reason.COLLATERAL_UNKNOWN, age=-61),
    ),
    "collateral within the skew": (
        of(policy.check_collateral, assets=view(attestation=an_attestation(as_of=NOW + 60))),
        GRANTED,
    ),
    "cap for a release": (
        of(policy.check_cap, assets=view(attestation=an_attestation(held_units=299))),
        refuse(Reason.CAP_EXCEEDED, exposure=300 * SHARE, amount=SHARE, cap=299 * SHARE),
    ),
    "cap for a release at its edge": (
        of(policy.check_cap, assets=view(attestation=an_attestation(held_units=300))),
        GRANTED,
    ),
    "cap for an order": (
        of(policy.check_cap, ISSUE_CLAIM, assets=view(attestation=an_attestation(held_units=300))),
        refuse(Reason.CAP_EXCEEDED, exposure=300 * SHARE, amount=SHARE, cap=300 * SHARE),
    ),
    "cap for an order at its edge": (
        of(policy.check_cap, ISSUE_CLAIM, assets=view(attestation=an_attestation(held_units=301))),
        GRANTED,
    ),
    "issuer unknown": (
        of(policy.check_issuance, ISSUE_CLAIM, assets=view(issuance=None)),
        refuse(Reason.ISSUE_SIGNATURE_INVALID, order=1),
    ),
    "issuer of another asset": (
        of(
            policy.check_issuance,
            ISSUE_CLAIM,
            assets=view(issuance=IssueSequence(0, an_address(5))),
        ),
        refuse(Reason.ISSUE_SIGNATURE_INVALID, order=1),
    ),
    "order expired": (
        of(policy.check_issuance, order(1, expiry=NOW)),
        refuse(Reason.ISSUE_EXPIRED, order=1, expiry=NOW),
    ),
    "order in its last second": (of(policy.check_issuance, order(1, expiry=NOW + 1)), GRANTED),
    "order too early": (
        of(policy.check_issuance, order(3)),
        refuse(Reason.ISSUE_OUT_OF_ORDER, order=3, expected=1),
    ),
    "order that was": (
        of(policy.check_issuance, order(2), assets=view(issuance=IssueSequence(2, ISSUER))),
        refuse(Reason.ALREADY_EXECUTED, order=2, expected=3),
    ),
    "more than the bucket": (
        of(policy.check_size, buckets={RATED: a_bucket(capacity=SHARE - 1, level=0)}),
        refuse(Reason.MANUAL_REVIEW, amount=SHARE, capacity=SHARE - 1),
    ),
    "one share less than a person looks at": (
        of(policy.check_size, assets=view(manual_from=SHARE + 1)),
        GRANTED,
    ),
    "as much as a person looks at": (
        of(policy.check_size, assets=view(manual_from=SHARE)),
        refuse(Reason.MANUAL_REVIEW, amount=SHARE, limit=SHARE),
    ),
    "a refund as large as a person looks at": (
        of(policy.check_size, REFUND_CLAIM, refund_review_from=SHARE),
        refuse(Reason.MANUAL_REVIEW, amount=SHARE, refunds_from=SHARE),
    ),
    "a refund below that": (
        of(policy.check_size, REFUND_CLAIM, refund_review_from=SHARE + 1),
        GRANTED,
    ),
    "a burn of this very second without a delay": (
        of(policy.check_size, JUST_BURNED),
        GRANTED,
    ),
    "a burn of this very second with one": (
        of(policy.check_size, JUST_BURNED, assets=view(delays=(Delay(SHARE, 5),))),
        refuse(Reason.LARGE_TRANSFER_DELAY, until=NOW + 5, amount=SHARE, waits=5),
    ),
    "all of the bucket": (
        of(policy.check_size, buckets={RATED: a_bucket(capacity=SHARE, level=0)}),
        GRANTED,
    ),
    "lane bucket": (
        of(
            policy.check_rate,
            buckets={BucketKey(*LANE[::2], Domain.ETHEREUM): a_bucket(level=0)},
        ),
        refuse(
            Reason.RATE_LIMITED,
            until=NOW + 100,
            amount=SHARE,
            level=0,
            first_waiting=CLAIM.transfer_id.hex(),
        ),
    ),
    "queue": (
        of(
            policy.check_rate,
            buckets={RATED: a_bucket()},
            waiting={RATED: (TransferId(b"w" * 32),)},
        ),
        refuse(
            Reason.RATE_LIMITED,
            amount=SHARE,
            level=10 * SHARE,
            first_waiting=(b"w" * 32).hex(),
        ),
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_policy__at_its_edge__grants_or_refuses_with_its_figures(name: str) -> None:
    ask, expected = FIGURES[name]
    assert ask() == expected


def test_delay__large_amount__names_the_second_and_the_amount() -> None:
    route = Route(delay_from=SHARE, delay_seconds=2_000)
    verdict = of(policy.check_size, routes={LANE: route})()
    until = BURN.place.block.time + 2_000
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.until) == (Reason.LARGE_TRANSFER_DELAY, until)
    assert verdict.detail["amount"] == str(SHARE)


def test_cancel__of_a_redemption__names_its_kind() -> None:
    redeem = a_message(kind=Kind.REDEEM, destination=Domain.CUSTODY)
    claim = Claim(id_of(redeem), redeem, a_burn(redeem), Action.CANCEL)
    (verdict,) = decide(a_context(), [claim]).verdicts
    assert verdict == refuse(Reason.NOT_CANCELLABLE, kind="REDEEM")


def test_buckets__of_a_claim__are_its_destinations_and_its_lanes() -> None:
    assert bucket_keys(CLAIM) == (RATED, BucketKey(TSLAX, Domain.BNB, Domain.ETHEREUM))


def test_rate__destination_without_a_bucket__still_asks_the_lanes() -> None:
    lane = BucketKey(TSLAX, Domain.BNB, Domain.ETHEREUM)
    verdict = of(policy.check_rate, buckets={lane: a_bucket(level=SHARE - 1)})()
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.RATE_LIMITED
    assert of(policy.check_rate, buckets={lane: a_bucket(level=SHARE)})() == GRANTED


def test_grant__of_an_order__reserves_its_key_amount_and_expiry() -> None:
    (reservation,) = decide(a_context(), [ISSUE_CLAIM]).reservations
    assert isinstance(ISSUE_CLAIM.evidence, IssueOrder)
    assert reservation.transfer_id == ISSUE_CLAIM.transfer_id
    assert reservation.key == key_of(ISSUE_CLAIM.message)
    assert (reservation.asset, reservation.amount) == (TSLAX, SHARE)
    assert reservation.not_after == ISSUE_CLAIM.evidence.expiry
    assert reservation.state is ReservationState.RESERVED


def test_grant__of_a_burn__reserves_without_an_expiry() -> None:
    (reservation,) = decide(a_context(BURN), [CLAIM]).reservations
    assert reservation.not_after is None


def test_orders__on_one_page_of_an_empty_book__fill_the_cap_exactly() -> None:
    """INV-04: what the first order takes is gone for the second, to the last share."""
    full = view(attestation=an_attestation(held_units=2))
    claims = [order(1), order(2), order(3)]
    decision = decide(a_context(balances={}, assets=full), claims)
    third = refuse(Reason.CAP_EXCEEDED, exposure=2 * SHARE, amount=SHARE, cap=2 * SHARE)
    assert decision.verdicts == (GRANTED, GRANTED, third)


# --- buckets ---------------------------------------------------------------------------------


def test_bucket__back_flow__moves_its_clock_and_never_back() -> None:
    bucket = Bucket(capacity=100, refill_per_second=1, level=0, as_of=NOW)
    assert bucket.give(5, NOW + 10) == Bucket(100, 1, 15, NOW + 10)
    assert bucket.give(5, NOW - 10) == Bucket(100, 1, 5, NOW)


def test_bucket__amount_it_holds_or_could_hold__says_when() -> None:
    bucket = Bucket(capacity=100, refill_per_second=3, level=10, as_of=NOW)
    assert bucket.ready_at(10, NOW) == NOW
    assert bucket.ready_at(11, NOW) == NOW + 1
    assert bucket.ready_at(100, NOW) == NOW + 30
    assert bucket.ready_at(101, NOW) is None
    assert replace(bucket, refill_per_second=0).ready_at(10, NOW) == NOW
    assert replace(bucket, refill_per_second=0).ready_at(11, NOW) is None


def whole(context: Context) -> Verdict:
    """The whole page's word."""
    return decide(context, [CLAIM]).verdicts[0]


def test_claim__at_every_edge_at_once__is_granted() -> None:
    """Nothing here is one share or one second too much."""
    context = a_context(
        BURN,
        balances=balances(ETHEREUM=0),
        routes={LANE: Route(minimum=SHARE)},
        buckets={RATED: a_bucket(capacity=SHARE, level=SHARE)},
        assets=view(attestation_age_max=60, attestation=an_attestation(held_units=300)),
    )
    assert whole(context) == GRANTED

"""Every policy refuses what it is for, and nothing else; with the policy gone, it passes."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from tests.builders import (
    CHAINS,
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
    a_refund,
    an_address,
    an_asset_view,
    an_attestation,
    an_issue,
    an_issue_claim,
    an_orphan,
    id_of,
    opened,
)
from xstock_core import policy
from xstock_core.bucket import BucketKey
from xstock_core.ids import Domain
from xstock_core.invariants import within_cap
from xstock_core.ledger import chain_supply, entries_of, exposure, post_all
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal
from xstock_core.policy import POLICIES, decide
from xstock_core.refusal import GRANTED, REASONS, Disposition, Reason, Refused, Verdict
from xstock_core.release import Action
from xstock_core.review import (
    EVERYTHING,
    BurnAbsent,
    Cancelled,
    Claim,
    Context,
    Delay,
    Dissent,
    IssueOrder,
    IssueSequence,
    NotReached,
    Recorded,
    Route,
    Scope,
    Window,
)

CLAIM = a_claim()
BURN = a_burn()
LANE = (TSLAX, Domain.ETHEREUM, Domain.BNB)
BUCKET = BucketKey(TSLAX, Domain.BNB)


def the_verdict(context: Context, claim: Claim = CLAIM) -> Verdict:
    (verdict,) = decide(context, [claim]).verdicts
    return verdict


def a_world_of(*claims: Claim, **changes: Any) -> Context:
    """The context in which the burns of these claims are booked."""
    burns = [c.evidence for c in claims if isinstance(c.evidence, BurnFinal)]
    return a_context(*burns, **changes)


def with_view(**changes: Any) -> Context:
    return a_context(BURN, assets={TSLAX: an_asset_view(**changes)})


def test_claim__in_a_quiet_world__is_granted_and_reserved() -> None:
    decision = decide(a_context(BURN), [CLAIM])
    assert decision.verdicts == (GRANTED,)
    (reservation,) = decision.reservations
    assert (reservation.transfer_id, reservation.amount) == (CLAIM.transfer_id, SHARE)
    assert decision.entries == ()


Case = tuple[Context, Claim, Reason, str]


def _evidence(evidence: Any) -> Claim:
    return replace(CLAIM, evidence=evidence)


def _cases() -> dict[str, Case]:
    other = a_burn(a_message(amount=2 * SHARE))
    big = a_claim(a_message(amount=11 * SHARE))
    issue = an_issue_claim()
    expired = an_issue_claim(expiry=NOW)
    broke = a_context(BURN, balances=post_all({}, frozenset(), entries_of(BURN))[0])
    poor = with_view(attestation=an_attestation(held_units=299))
    full = with_view(attestation=an_attestation(held_units=301))
    unsigned = IssueOrder(issue.message, 1, NOW + 3_600, signature_valid=False)
    stranger = an_asset_view(issuance=IssueSequence(0, an_address(9)))
    return {
        "not reached": (a_context(), _evidence(NotReached(Domain.ETHEREUM)),
                        Reason.SOURCE_NOT_FINAL, "check_evidence"),
        "dissent": (a_context(), _evidence(Dissent(Domain.ETHEREUM)),
                    Reason.SOURCE_DISSENT, "check_evidence"),
        "absent": (a_context(), _evidence(BurnAbsent(Domain.ETHEREUM)),
                   Reason.BURN_UNKNOWN, "check_evidence"),
        "other amount": (a_context(BURN), _evidence(other),
                         Reason.CONTENT_MISMATCH, "check_evidence"),
        "never granted": (a_context(BURN), _evidence(Recorded()),
                          Reason.NOT_GRANTED, "check_evidence"),
        "executed": (a_context(BURN, executed=frozenset({CLAIM.transfer_id})), CLAIM,
                     Reason.ALREADY_EXECUTED, "check_executed"),
        "halted": (a_context(BURN, halted=frozenset({EVERYTHING})), CLAIM,
                   Reason.HALTED, "check_halt"),
        "paused": (a_context(BURN, paused=frozenset({Scope(asset=TSLAX)})), CLAIM,
                   Reason.PAUSED, "check_pause"),
        "below minimum": (a_context(BURN, routes={LANE: Route(minimum=SHARE + 1)}), CLAIM,
                          Reason.AMOUNT_BELOW_MINIMUM, "check_route"),
        "to the token": (with_view(forbidden_recipients=frozenset({(Domain.BNB, an_address(2))})),
                         CLAIM, Reason.RECIPIENT_INVALID, "check_recipient"),
        "screened": (a_context(BURN, screened={an_address(2): "sanctions"}), CLAIM,
                     Reason.SCREENED, "check_screening"),
        "screening unknown": (a_context(BURN, screened_among=frozenset({an_address(2)})), CLAIM,
                              Reason.SCREENING_UNKNOWN, "check_screening"),
        "not open": (with_view(opened=False), CLAIM, Reason.ASSET_NOT_OPEN, "check_open"),
        "nobody knows whether open": (with_view(opened=None), CLAIM,
                                      Reason.SUPPLY_UNKNOWN, "check_open"),
        "chain overdrawn": (broke, CLAIM, Reason.CHAIN_BALANCE_NEGATIVE, "check_chain_balance"),
        "drift": (with_view(drift=True), CLAIM, Reason.SUPPLY_DRIFT, "check_supply"),
        "supply unknown": (with_view(drift=None), CLAIM, Reason.SUPPLY_UNKNOWN, "check_supply"),
        "stale": (with_view(attestation=an_attestation(as_of=NOW - 3_601)), CLAIM,
                  Reason.COLLATERAL_STALE, "check_collateral"),
        "over the cap": (poor, CLAIM, Reason.CAP_EXCEEDED, "check_cap"),
        "order over the cap": (full, an_issue_claim(an_issue(amount=2 * SHARE)),
                               Reason.CAP_EXCEEDED, "check_cap"),
        "order expired": (a_context(), expired, Reason.ISSUE_EXPIRED, "check_issuance"),
        "order out of order": (a_context(), an_issue_claim(an_issue(order=2)),
                               Reason.ISSUE_OUT_OF_ORDER, "check_issuance"),
        "order unsigned": (a_context(), replace(issue, evidence=unsigned),
                           Reason.ISSUE_SIGNATURE_INVALID, "check_evidence"),
        "order by a stranger": (a_context(assets={TSLAX: stranger}), issue,
                                Reason.ISSUE_SIGNATURE_INVALID, "check_issuance"),
        "order number used": (with_view(issuance=IssueSequence(1, ISSUER)), issue,
                              Reason.ALREADY_EXECUTED, "check_issuance"),
        "corporate action": (with_view(windows=(Window(NOW, NOW + 60),)), CLAIM,
                             Reason.CORPORATE_ACTION_WINDOW, "check_corporate_action"),
        "corporate action unsettled": (with_view(windows=(Window(NOW - 60, NOW - 1),)), CLAIM,
                                       Reason.CORPORATE_ACTION_WINDOW, "check_corporate_action"),
        "larger than the bucket": (a_world_of(big, buckets={BUCKET: a_bucket()}), big,
                                   Reason.MANUAL_REVIEW, "check_size"),
        "large enough for people": (with_view(manual_from=SHARE), CLAIM,
                                    Reason.MANUAL_REVIEW, "check_size"),
        "large by tier": (with_view(delays=(Delay(SHARE, 2_000),)), CLAIM,
                          Reason.LARGE_TRANSFER_DELAY, "check_size"),
        "large": (a_context(BURN, routes={LANE: Route(delay_from=SHARE, delay_seconds=2_000)}),
                  CLAIM, Reason.LARGE_TRANSFER_DELAY, "check_size"),
        "bucket empty": (a_context(BURN, buckets={BUCKET: a_bucket(level=SHARE - 1)}), CLAIM,
                         Reason.RATE_LIMITED, "check_rate"),
    }  # fmt: skip


CASES = _cases()


@pytest.mark.parametrize("name", CASES)
def test_policy__its_case__is_refused_with_its_reason(name: str) -> None:
    context, claim, reason, _ = CASES[name]
    verdict = the_verdict(context, claim)
    assert isinstance(verdict, Refused)
    assert verdict.reason is reason
    decision = decide(context, [claim])
    assert (decision.reservations, decision.entries, decision.sequences) == ((), (), {})


@pytest.mark.parametrize("name", CASES)
def test_policy__taken_out__lets_its_case_through(name: str) -> None:
    """Each defence removed: the case is refused by that policy alone."""
    context, claim, _, policy_name = CASES[name]
    kept = tuple(p for p in POLICIES if p is not getattr(policy, policy_name))
    assert len(kept) == len(POLICIES) - 1
    assert decide(context, [claim], kept).verdicts == (GRANTED,)


def test_policy__every_one__has_a_case() -> None:
    assert {case[3] for case in CASES.values()} == {p.__name__ for p in POLICIES}


def test_route__unknown_asset_or_lane__is_parked() -> None:
    for context in (a_context(BURN, routes={}), a_context(BURN, assets={})):
        verdict = the_verdict(context)
        assert isinstance(verdict, Refused)
        assert (verdict.reason, verdict.disposition) == (Reason.ROUTE_CLOSED, Disposition.PARK)


def test_collateral__never_attested__is_refused_as_unknown() -> None:
    verdict = the_verdict(with_view(attestation=None))
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.COLLATERAL_UNKNOWN
    without = tuple(p for p in POLICIES if p is not policy.check_collateral)
    (second_wall,) = decide(with_view(attestation=None), [CLAIM], without).verdicts
    assert isinstance(second_wall, Refused)
    assert second_wall.reason is Reason.COLLATERAL_UNKNOWN


def test_collateral__attested_in_the_future__is_not_believed() -> None:
    """F54: beyond a minute of clock skew a statement from tomorrow counts for nothing."""
    assert the_verdict(with_view(attestation=an_attestation(as_of=NOW + 60))) == GRANTED
    verdict = the_verdict(with_view(attestation=an_attestation(as_of=NOW + 61)))
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.COLLATERAL_UNKNOWN


def test_attestation_of_zero__holds_every_release_and_every_issuance() -> None:
    context = with_view(attestation=an_attestation(held_units=0))
    for claim in (CLAIM, an_issue_claim()):
        verdict = the_verdict(context, claim)
        assert isinstance(verdict, Refused)
        assert (verdict.reason, verdict.disposition) == (Reason.CAP_EXCEEDED, Disposition.HOLD)


def test_cap__at_the_edge__releases_flow_and_issuance_is_refused_with_the_numbers() -> None:
    """INV-04: at exposure = cap releases must still flow."""
    context = with_view(attestation=an_attestation(held_units=300))
    assert the_verdict(context) == GRANTED
    verdict = the_verdict(context, an_issue_claim())
    assert isinstance(verdict, Refused)
    figures = {"exposure": str(300 * SHARE), "amount": str(SHARE), "cap": str(300 * SHARE)}
    assert verdict.detail == figures


def test_cap_race__many_orders_on_a_page__never_pass_the_cap() -> None:
    """F49, pure part: what one order takes is gone for the next."""
    claims = [an_issue_claim(an_issue(order=n)) for n in range(1, 21)]
    context = with_view(attestation=an_attestation(held_units=305))
    decision = decide(context, claims)
    assert [v == GRANTED for v in decision.verdicts] == [True] * 5 + [False] * 15
    after, _ = post_all(context.balances, frozenset(), decision.entries)
    assert exposure(after, TSLAX) == 305 * SHARE
    assert decision.sequences[TSLAX].reserved_through == 5


def test_cap_race__page_does_not_book_its_own_grants__passes_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F49, defence removed: check-then-insert breaks the cap, and the predicate sees it."""
    monkeypatch.setattr("xstock_core.policy.movements", lambda _entries: {})
    claims = [an_issue_claim(an_issue(order=n)) for n in range(1, 21)]
    context = with_view(attestation=an_attestation(held_units=305))
    decision = decide(context, claims)
    after, _ = post_all(context.balances, frozenset(), decision.entries)
    assert not within_cap(Kind.TRANSFER, exposure(after, TSLAX), 0, 305 * SHARE)


def test_issuance__order_two_before_one__waits_and_then_follows() -> None:
    one, two = (an_issue_claim(an_issue(order=n)) for n in (1, 2))
    early, first = decide(a_context(), [two, one]).verdicts
    assert isinstance(early, Refused)
    assert (early.reason, early.disposition) == (Reason.ISSUE_OUT_OF_ORDER, Disposition.HOLD)
    assert first == GRANTED
    assert decide(a_context(), [one, two]).verdicts == (GRANTED, GRANTED)


def test_issuance__claim_differs_from_the_signed_order__is_refused() -> None:
    order = an_issue_claim().evidence
    assert isinstance(order, IssueOrder)
    larger = an_issue(amount=2 * SHARE)
    verdict = the_verdict(a_context(), Claim(id_of(larger), larger, order))
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.CONTENT_MISMATCH


def test_claim__again_on_the_same_page_or_later__gets_the_same_grant_and_takes_nothing() -> None:
    """F73, pure part."""
    context = a_context(BURN, buckets={BUCKET: a_bucket()})
    once = decide(context, [CLAIM])
    twice = decide(context, [CLAIM, CLAIM])
    assert twice.verdicts == (GRANTED, GRANTED)
    assert (twice.reservations, twice.buckets) == (once.reservations, once.buckets)
    known = replace(context, granted=frozenset({CLAIM.transfer_id}))
    for claim in (CLAIM, replace(CLAIM, evidence=Recorded())):
        later = decide(known, [claim])
        assert (later.verdicts, later.reservations, later.buckets) == ((GRANTED,), (), {})


def test_page__any_order_of_claims_that_share_nothing__gets_the_same_verdicts() -> None:
    """INV-15 for a page."""
    burns = [a_burn(a_message(counter=n)) for n in range(1, 5)]
    claims = [a_claim(burn.message) for burn in burns]
    claims[1] = replace(claims[1], evidence=NotReached(Domain.ETHEREUM))
    context = a_context(*burns, screened={an_address(9): "sanctions"})
    expected = dict(zip(map(str, claims), decide(context, claims).verdicts, strict=True))
    for page in permutations(claims):
        decided = zip(map(str, page), decide(context, page).verdicts, strict=True)
        assert dict(decided) == expected


def test_page__decides__without_changing_its_context() -> None:
    context = a_context(BURN, buckets={BUCKET: a_bucket()})
    copies = [dict(m) for m in (context.balances, context.assets, context.buckets)]
    decide(context, [CLAIM, an_issue_claim()])
    assert [dict(m) for m in (context.balances, context.assets, context.buckets)] == copies


# --- rate -------------------------------------------------------------------------------


def _lane_claims(*amounts: int) -> list[Claim]:
    return [a_claim(a_message(counter=n, amount=a)) for n, a in enumerate(amounts, start=1)]


def test_rate__bucket_runs_dry__first_in_first_out_within_a_lane() -> None:
    """INV-11: a small later transfer does not overtake the one that waits."""
    claims = _lane_claims(8 * SHARE, 5 * SHARE, SHARE)
    context = a_world_of(*claims, buckets={BUCKET: a_bucket()})
    decision = decide(context, claims)
    first, second, third = decision.verdicts
    assert first == GRANTED
    assert isinstance(second, Refused)
    assert isinstance(third, Refused)
    assert second.until == NOW + 300
    assert third.detail["first_waiting"] == claims[1].transfer_id.hex()
    assert decision.waiting == {BUCKET: tuple(claim.transfer_id for claim in claims[1:])}


def test_rate__the_one_that_waited__is_served_first_when_refilled() -> None:
    claims = _lane_claims(8 * SHARE, 5 * SHARE, SHARE)
    context = a_world_of(*claims, buckets={BUCKET: a_bucket()})
    page = decide(context, claims)
    later = replace(
        context, now=NOW + 300, buckets=page.buckets, waiting=page.waiting,
        granted=frozenset({claims[0].transfer_id}),
    )  # fmt: skip
    small_first = decide(later, [claims[2], claims[1]])
    assert [v == GRANTED for v in small_first.verdicts] == [False, True]
    assert small_first.waiting == {BUCKET: (claims[2].transfer_id,)}


def test_rate__many_wait__a_newcomer_gets_none_of_what_refills() -> None:
    """INV-11: the second in the queue is not overtaken when the first is served."""
    claims = _lane_claims(8 * SHARE, 5 * SHARE, 2 * SHARE, SHARE)
    context = a_world_of(*claims, buckets={BUCKET: a_bucket()})
    page = decide(context, claims[:3])
    later = replace(
        context, now=NOW + 300, buckets=page.buckets, waiting=page.waiting,
        granted=frozenset({claims[0].transfer_id}),
    )  # fmt: skip
    served = decide(later, [claims[1], claims[3], claims[2]])
    assert [v == GRANTED for v in served.verdicts] == [True, False, False]
    assert served.waiting == {BUCKET: (claims[2].transfer_id, claims[3].transfer_id)}


def test_rate__approved_transfer_larger_than_the_bucket__drains_a_full_one() -> None:
    (big,) = _lane_claims(11 * SHARE)
    context = a_world_of(big, buckets={BUCKET: a_bucket()})
    decision = decide(replace(context, approved=frozenset({big.transfer_id})), [big])
    assert decision.verdicts == (GRANTED,)
    assert decision.buckets[BUCKET].level == 0


# --- waits that know their end ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "until"),
    [
        ("corporate action", NOW + 60),
        ("corporate action unsettled", None),
        ("large", NOW - 900 + 2_000),
        ("large by tier", NOW - 900 + 2_000),
        ("bucket empty", NOW + 1),
    ],
)
def test_refusal__that_ends_by_itself__says_when(name: str, until: int | None) -> None:
    context, claim, _, _ = CASES[name]
    verdict = the_verdict(context, claim)
    assert isinstance(verdict, Refused)
    assert (verdict.until, verdict.disposition) == (until, Disposition.HOLD)
    if until is not None:
        later = replace(context, now=until)
        settled = replace(later.assets[TSLAX], windows=())
        assert the_verdict(replace(later, assets={TSLAX: settled}), claim) == GRANTED


def test_screening__approved_by_a_person__passes() -> None:
    context = a_context(
        BURN,
        screened={an_address(2): "sanctions"},
        cleared={CLAIM.transfer_id: frozenset({an_address(2)})},
    )
    assert the_verdict(context) == GRANTED


def test_screening__approved_for_one_party__does_not_pass_another_listed_since() -> None:
    """Who agreed to the recipient has not agreed to the sender; and the other way round."""
    parties = {CLAIM.message.recipient, BURN.sender}
    assert len(parties) == 2
    for one in parties:
        (other,) = parties - {one}
        cleared = {CLAIM.transfer_id: frozenset({one})}
        context = a_context(BURN, screened={one: "issuer"}, cleared=cleared)
        assert the_verdict(context) == GRANTED
        verdict = the_verdict(replace(context, screened=dict.fromkeys(parties, "sanctions")))
        assert isinstance(verdict, Refused)
        assert (verdict.reason, verdict.detail["address"]) == (Reason.SCREENED, other.hex())
        assert verdict.detail["parties"] == ",".join(sorted(party.hex() for party in parties))


@pytest.mark.parametrize(
    "scope",
    [
        EVERYTHING,
        Scope(asset=TSLAX),
        Scope(source=Domain.ETHEREUM),
        Scope(destination=Domain.BNB),
        Scope(TSLAX, Domain.ETHEREUM, Domain.BNB),
    ],
)
def test_halt__of_any_scope_that_covers_it__stops_the_claim(scope: Scope) -> None:
    verdict = the_verdict(a_context(BURN, halted=frozenset({scope})))
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.HALTED


def test_halt__of_another_chain__stops_nothing() -> None:
    """F28: other lanes keep moving."""
    scopes = frozenset({Scope(source=Domain.MANTLE), Scope(destination=Domain.ETHEREUM)})
    assert the_verdict(a_context(BURN, halted=scopes)) == GRANTED


def test_chain_balance__while_the_source_lags__is_a_wait_not_a_rejection() -> None:
    """F56: a burn may be seen before the release that funded it."""
    context, claim, _, _ = CASES["chain overdrawn"]
    for lagging, disposition in (
        (frozenset({Domain.ETHEREUM}), Disposition.HOLD),
        (frozenset({Domain.BNB}), Disposition.REJECT),
    ):
        verdict = the_verdict(replace(context, lagging=lagging), claim)
        assert isinstance(verdict, Refused)
        assert verdict.disposition is disposition


def test_chain_balance__one_chain_prints_burns__drains_at_most_what_it_was_given() -> None:
    """F56: X burns more than it ever received; with the policy gone the checker sees it."""
    burns = [a_burn(a_message(counter=n, amount=40 * SHARE)) for n in range(1, 5)]

    def drained(policies: Any) -> int:
        balances, _ = opened()
        total = 0
        for burn in burns:
            balances, _ = post_all(balances, frozenset(), entries_of(burn))
            claim = a_claim(burn.message)
            decision = decide(a_context(balances=balances), [claim], policies)
            total += sum(r.amount for r in decision.reservations)
        return total

    assert drained(POLICIES) <= chain_supply(opened()[0], TSLAX, Domain.ETHEREUM)
    without = [p for p in POLICIES if p is not policy.check_chain_balance]
    assert drained(without) > chain_supply(opened()[0], TSLAX, Domain.ETHEREUM)


# --- refunds and cancels ----------------------------------------------------------------

REFUND = a_refund()
REFUND_CLAIM = Claim(id_of(REFUND), REFUND, Cancelled(BURN, a_cancel(), REFUND))


def test_refund__of_a_finally_cancelled_burn__is_granted_below_the_minimum_too() -> None:
    assert the_verdict(a_context(BURN), REFUND_CLAIM) == GRANTED
    back = (TSLAX, Domain.BNB, Domain.ETHEREUM)
    routes = {back: Route(minimum=2 * SHARE)}
    assert the_verdict(a_context(BURN, routes=routes), REFUND_CLAIM) == GRANTED


def test_refund__to_a_chain_that_burned_more_than_it_had__is_refused() -> None:
    """F56: a printed burn that is cancelled must not come back as real tokens."""
    context, _, _, _ = CASES["chain overdrawn"]
    verdict = the_verdict(context, REFUND_CLAIM)
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.detail["chain"]) == (Reason.CHAIN_BALANCE_NEGATIVE, "1")


def test_refund__above_the_cap__waits_like_any_release() -> None:
    context = with_view(attestation=an_attestation(held_units=299))
    verdict = the_verdict(context, REFUND_CLAIM)
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.CAP_EXCEEDED


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (Cancelled(BURN, a_cancel(a_message(counter=2)), REFUND), Reason.CANCEL_NOT_FINAL),
        (Cancelled(BURN, a_cancel(), a_refund(a_message(amount=2))), Reason.CONTENT_MISMATCH),
        (NotReached(Domain.BNB), Reason.SOURCE_NOT_FINAL),
    ],
)
def test_refund__without_its_own_cancellation__is_refused(evidence: Any, reason: Reason) -> None:
    verdict = the_verdict(a_context(BURN), replace(REFUND_CLAIM, evidence=evidence))
    assert isinstance(verdict, Refused)
    assert verdict.reason is reason


def test_cancel__above_the_cap_and_through_a_pause__may_be_granted() -> None:
    poor = with_view(attestation=an_attestation(held_units=0))
    context = replace(poor, paused=frozenset({EVERYTHING}))
    claim = replace(CLAIM, action=Action.CANCEL)
    decision = decide(context, [claim])
    assert (decision.verdicts, decision.reservations) == ((GRANTED,), ())


@pytest.mark.parametrize(
    ("context", "claim", "reason"),
    [
        (a_context(BURN, halted=frozenset({EVERYTHING})), CLAIM, Reason.HALTED),
        (a_context(BURN, executed=frozenset({CLAIM.transfer_id})), CLAIM, Reason.ALREADY_EXECUTED),
        (a_context(), _evidence(BurnAbsent(Domain.ETHEREUM)), Reason.BURN_UNKNOWN),
        (a_context(BURN), REFUND_CLAIM, Reason.NOT_CANCELLABLE),
    ],
)
def test_cancel__halted_done_unknown_or_of_a_refund__is_refused(
    context: Context, claim: Claim, reason: Reason
) -> None:
    verdict = the_verdict(context, replace(claim, action=Action.CANCEL))
    assert isinstance(verdict, Refused)
    assert verdict.reason is reason


# --- the catalogue ----------------------------------------------------------------------


def test_reasons__every_code__has_words_and_an_owner() -> None:
    assert set(REASONS) == set(Reason)
    for reason, facts in REASONS.items():
        assert reason.value == reason.name
        assert facts.text.endswith(".")
        assert len(reason.value) <= 63


def test_routes__six_lanes_of_three_chains__all_grant() -> None:
    for source in CHAINS:
        for destination in CHAINS:
            if source is not destination:
                burn = a_burn(a_message(source=source, destination=destination))
                assert the_verdict(a_context(burn), a_claim(burn.message)) == GRANTED


def test_orphan__is_no_claim__but_counts_against_the_cap() -> None:
    balances, _ = opened()
    balances, _ = post_all(balances, frozenset(), entries_of(an_orphan()))
    assert exposure(balances, TSLAX) == 300 * SHARE


def test_pause__several_over_one_claim__ends_with_the_last() -> None:
    asset, chain = Scope(asset=TSLAX), Scope(destination=Domain.BNB)
    until = {asset: NOW + 60, chain: NOW + 600}
    context = a_context(BURN, paused=frozenset(until), paused_until=until)
    verdict = the_verdict(context)
    assert isinstance(verdict, Refused)
    assert verdict.until == NOW + 600
    onchain = replace(context, paused_until={asset: NOW + 60})
    verdict = the_verdict(onchain)
    assert isinstance(verdict, Refused)
    assert verdict.until is None


def test_people__let_through_one_reason__not_the_other() -> None:
    """Who agreed to the size has not agreed to a recipient that was listed since."""
    listed = {an_address(2): "sanctions"}
    context = replace(with_view(manual_from=SHARE), screened=listed)
    reviewed = frozenset({CLAIM.transfer_id})
    cleared = {CLAIM.transfer_id: frozenset(listed)}
    for passed, reason in (
        (replace(context, approved=reviewed), Reason.SCREENED),
        (replace(context, cleared=cleared), Reason.MANUAL_REVIEW),
    ):
        verdict = the_verdict(passed)
        assert isinstance(verdict, Refused)
        assert verdict.reason is reason
    assert the_verdict(replace(context, approved=reviewed, cleared=cleared)) == GRANTED


def test_screening__sender_nobody_asked_about__holds() -> None:
    """Fail closed: absence from a list that was not asked is no absence."""
    parties = {CLAIM.message.recipient, CLAIM.message.refund_address, BURN.sender}
    known = frozenset(parties)
    assert the_verdict(a_context(BURN, screened_among=known)) == GRANTED
    for one in parties:
        verdict = the_verdict(a_context(BURN, screened_among=known - {one}))
        assert isinstance(verdict, Refused)
        assert (verdict.reason, verdict.disposition) == (
            Reason.SCREENING_UNKNOWN,
            Disposition.HOLD,
        )


def test_windows__two_shut__the_wait_is_for_the_last_and_unknown_if_one_is() -> None:
    both = (Window(NOW - 60, NOW + 60), Window(NOW - 60, NOW + 90))
    verdict = the_verdict(with_view(windows=both))
    assert isinstance(verdict, Refused)
    assert verdict.until == NOW + 90
    awaits = (*both, Window(0, 0, settled=False, why="chain 2"))
    verdict = the_verdict(with_view(windows=awaits))
    assert isinstance(verdict, Refused)
    assert (verdict.until, verdict.detail["awaits"]) == (None, "chain 2")


def test_delay__tiers_by_size__the_longest_that_is_reached() -> None:
    tiers = (Delay(SHARE, 1_000), Delay(2 * SHARE, 5_000))
    verdict = the_verdict(with_view(delays=tiers))
    assert isinstance(verdict, Refused)
    assert verdict.until == NOW - 900 + 1_000
    large = a_claim(a_message(amount=2 * SHARE))
    verdict = the_verdict(a_world_of(large, assets={TSLAX: an_asset_view(delays=tiers)}), large)
    assert isinstance(verdict, Refused)
    assert verdict.until == NOW - 900 + 5_000

"""The cap, the chain balances and the voiding of reservations, proved for every amount.

Method: induction with Z3 over unbounded whole numbers. The state is the ledger of one asset on
four chains with any balances at all; a transition is an entry that the ledger's own constructors
made, given an amount of which nothing is known, and posted by the ledger's own `post_all`. When a
guard may grant or sign is what `policy` and `signing` themselves answer, called with symbols
(`tests.property.symbolic`). So there is no second copy of a rule that could drift. Each theorem
is then asked again with one rule taken out: the counterexample must be the known attack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import z3

from tests.builders import (
    CHAINS,
    ISSUER,
    NOW,
    SHARE,
    TSLAX,
    a_batch,
    a_block,
    a_bridge,
    a_burn,
    a_cancel,
    a_context,
    a_message,
    a_refund,
    a_release,
    an_asset_view,
    an_issue,
    an_orphan,
    id_of,
)
from tests.property.symbolic import (
    Number,
    any_number,
    condition_of,
    counterexample,
    every_path,
    in_model,
    term_of,
)
from xstock_core import policy, signing
from xstock_core.cap import Attestation
from xstock_core.ids import Domain, Nonce, custody_bridge, refund_nonce
from xstock_core.inventory import InventoryReading
from xstock_core.ledger import (
    CUSTODY,
    EXPOSURE_KINDS,
    IN_FLIGHT,
    OPEN_ISSUANCE,
    ORPHANED,
    UNPAID_REDEMPTION,
    Account,
    AccountKind,
    Entry,
    EntryKind,
    entries_of,
    entry_of_issue,
    entry_of_opening,
    entry_of_orphan_write_off,
    entry_of_redemption_paid,
    exposure,
    movements,
    post_all,
    supply,
)
from xstock_core.message import Kind
from xstock_core.policy import POLICIES, Policy, first_refusal
from xstock_core.refusal import Granted
from xstock_core.release import Action, ReleaseBatch, item_of, key_of, sorted_items
from xstock_core.reservation import (
    CancelProof,
    ExpiryProof,
    VoidProof,
    entry_of_issue_void,
    proof_holds,
    reserve,
)
from xstock_core.review import Cancelled, Claim, Context, IssueOrder, IssueSequence
from xstock_core.signing import SIGNING_POLICIES, Desk, Grant, grants_by_item, may_sign

BOOK = (*CHAINS, Domain.SOLANA)
"""Four chains; the ledger treats them alike, so four stand for any number."""
ACCOUNTS = (
    *(supply(chain) for chain in BOOK),
    IN_FLIGHT,
    ORPHANED,
    OPEN_ISSUANCE,
    UNPAID_REDEMPTION,
    CUSTODY,
)
REDEEM = a_message(
    kind=Kind.REDEEM, destination=Domain.CUSTODY, recipient=custody_bridge(), amount=1
)
BURN = a_burn(a_message(amount=1))
REFUND = a_refund(BURN.message)
ORPHAN = an_orphan(amount=1)
ISSUE = an_issue(amount=1)


# --- the transitions, as the ledger makes them -------------------------------------------


def _custody_refund() -> tuple[Entry, ...]:
    nonce = refund_nonce(REDEEM.source_bridge, 1)
    fields = {"destination": REDEEM.source, "source": Domain.CUSTODY, "nonce": nonce}
    return entries_of(a_release(a_message(amount=1), **fields))


def _void() -> tuple[Entry, ...]:
    proof = CancelProof(a_cancel(ISSUE))
    return (entry_of_issue_void(ISSUE, reserve(ISSUE, id_of(ISSUE), None), proof),)


def _orphan_refund() -> tuple[Entry, ...]:
    release = a_release(a_message(amount=1), destination=Domain.SOLANA, source=Domain.SOLANA)
    return entries_of(release)


def transitions() -> dict[str, tuple[Entry, ...]]:
    """Everything that can be booked, each made by the ledger's own constructor, of one unit."""
    issue_release = entries_of(a_release(ISSUE))
    return {
        "opening": (entry_of_opening(TSLAX, Domain.ETHEREUM, BURN.message.amount),),
        "burn": entries_of(BURN),
        "release": entries_of(a_release(BURN.message)),
        "refund": entries_of(a_release(REFUND)),
        "order reserved": (entry_of_issue(ISSUE),),
        "order released": issue_release[1:],
        "order released unreserved": issue_release,
        "order voided": _void(),
        "redemption burned": entries_of(a_burn(REDEEM)),
        "redemption paid": (entry_of_redemption_paid(REDEEM),),
        "redemption rejected": _custody_refund(),
        "orphan burned": entries_of(ORPHAN),
        "orphan refunded": _orphan_refund(),
        "orphan written off": (entry_of_orphan_write_off(ORPHAN),),
        "cancelled": entries_of(a_cancel(BURN.message)),
    }


TRANSITIONS = transitions()
AMOUNT = any_number("amount")
CAP = any_number("cap")
EXCLUDED = any_number("excluded")
LIMIT = CAP + EXCLUDED
"""What exposure may come to, whatever inventory the issuer holds."""
POSITIVE = AMOUNT.term >= 1
NEVER = z3.BoolVal(val=False)


def any_book() -> dict[tuple[Any, Account], Any]:
    """A ledger in which each account holds anything."""
    return {(TSLAX, account): any_number(account.text) for account in ACCOUNTS}


def posted(book: Mapping[Any, Any], name: str, amount: Any = AMOUNT) -> dict[Any, Any]:
    """The book after this transition, by the ledger's own `post_all`."""
    moved: list[Entry] = [replace(entry, amount=amount) for entry in TRANSITIONS[name]]
    return post_all(book, frozenset(), moved)[0]


def total(book: Mapping[Any, Any]) -> Any:
    return z3.Sum([term_of(balance) for balance in book.values()])


def kinds_counted(book: Mapping[Any, Any]) -> Any:
    """The five kinds of protocol.md: supply, in flight, orphans, open issuance, redemptions."""
    return z3.Sum([term_of(b) for (_, account), b in book.items() if account != CUSTODY])


def used(book: Mapping[Any, Any]) -> Any:
    return term_of(exposure(book, TSLAX))


def test_transitions__of_the_model__are_every_kind_of_entry_and_every_account() -> None:
    """Otherwise a new kind of entry would be proved by silence."""
    entries = [entry for made in TRANSITIONS.values() for entry in made]
    assert {entry.kind for entry in entries} == set(EntryKind)
    kinds = {account.kind for entry in entries for account in (entry.debit, entry.credit)}
    assert kinds == set(AccountKind)
    assert all(entry.amount == 1 for entry in entries)
    assert TRANSITIONS["cancelled"] == ()


# --- INV-06: nothing appears or vanishes ---------------------------------------------------


@pytest.mark.parametrize("name", TRANSITIONS)
def test_balances__any_entry_of_any_amount__sum_to_zero_if_they_did_before(name: str) -> None:
    """INV-06. That amount and account do not matter is the proof's, not a sample's, word."""
    before = any_book()
    after = posted(before, name)
    assert counterexample(total(before) == 0, claim=total(after) == 0) is None
    same = kinds_counted(after) == used(after)
    assert counterexample(total(before) == 0, claim=same) is None


def test_balances__an_entry_that_only_credits__are_the_counterexample() -> None:
    """INV-06, the rule removed: without the debit, supply appears that nobody lost."""
    before = any_book()
    (release,) = TRANSITIONS["release"]
    after = dict(before)
    credit = (TSLAX, release.credit)
    after[credit] = after[credit] + AMOUNT
    found = counterexample(total(before) == 0, POSITIVE, claim=total(after) == 0)
    assert found is not None
    assert in_model(found, Number(total(after))) == in_model(found, AMOUNT) > 0


EFFECT = {
    "opening": 1, "order reserved": 1, "order released unreserved": 1,
    "order voided": -1, "redemption paid": -1, "orphan written off": -1,
}  # fmt: skip
"""What a transition adds to exposure, in amounts; every other adds nothing."""


@pytest.mark.parametrize("name", TRANSITIONS)
def test_exposure__each_transition__changes_by_what_the_protocol_says(name: str) -> None:
    """INV-06: burn, release, cancel and refund do not change exposure."""
    before = any_book()
    change = used(posted(before, name)) - used(before)
    assert counterexample(claim=change == EFFECT.get(name, 0) * AMOUNT.term) is None
    touched = {entry.kind for entry in TRANSITIONS[name]} & EXPOSURE_KINDS
    assert bool(touched) == (name in EFFECT)


# --- INV-04: the cap -----------------------------------------------------------------------


class AnyCollateral(Attestation):
    """A fresh statement that allows any cap at all."""

    def cap(self, margin_bps: int) -> Any:
        return CAP


class AnyInventory(InventoryReading):
    """A holding of any size at all."""

    @property
    def shares(self) -> Any:
        return EXCLUDED


def collateral() -> AnyCollateral:
    return AnyCollateral(
        asset=TSLAX,
        held_units=1,
        held_decimals=0,
        multiplier=1,
        multiplier_epoch=1,
        sequence=1,
        as_of=NOW,
    )


def context(book: Mapping[Any, Any]) -> Context:
    view = an_asset_view(
        attestation=collateral(),
        issuance=IssueSequence(0, ISSUER),
        inventory=(AnyInventory(Domain.ETHEREUM, 1, NOW, 1, 8),),
    )
    return replace(a_context(), balances=book, assets={TSLAX: view})


def claims() -> dict[str, Claim]:
    """One claim of each kind that ends in a mint, with nothing else against it."""
    evidence = Cancelled(BURN, a_cancel(BURN.message), REFUND)
    order = replace(ISSUE, amount=AMOUNT)
    signed_order = IssueOrder(order, 1, NOW + 3_600, signature_valid=True)
    return {
        "release": Claim(BURN.transfer_id, BURN.message, BURN),
        "refund": Claim(id_of(REFUND), REFUND, evidence),
        "order reserved": Claim(id_of(ISSUE), order, signed_order),
    }


def granted(book: Mapping[Any, Any], name: str, policies: Sequence[Policy] = POLICIES) -> Any:
    """When the real policies grant this claim, as a formula over balances, amount and cap."""
    claim = claims()[name]
    now = context(book)

    def run() -> Any:
        return first_refusal(now, claim, policies)

    return condition_of(run, lambda verdict: isinstance(verdict, Granted))


def without(policies: Sequence[Policy], removed: Policy) -> tuple[Policy, ...]:
    left = tuple(policy for policy in policies if policy is not removed)
    assert len(left) == len(policies) - 1
    return left


def signed(
    book: Mapping[Any, Any],
    action: Action = Action.RELEASE,
    policies: Sequence[Policy] = SIGNING_POLICIES,
) -> Any:
    """When `may_sign` says yes to an item that was granted long ago."""
    message = BURN.message
    batch = a_batch(message, items=(item_of(message, action),))
    now, desk = context(book), _desk(Grant(id_of(message), message), action)

    def run() -> Any:
        return may_sign(now, desk, batch, policies)

    return condition_of(run, lambda verdict: isinstance(verdict, Granted))


def _desk(grant: Grant, action: Action = Action.RELEASE) -> Desk:
    bridges = {TSLAX: a_bridge(grant.message.destination)}
    return Desk(True, bridges, 1, NOW, grants_by_item([grant], action))


MINTS = ("release", "refund", "order reserved")


def test_claims__with_room_under_the_cap__can_be_granted_at_all() -> None:
    """The theorems below would hold of a guard that never grants anything."""
    book = any_book()
    for name in MINTS:
        assert counterexample(granted(book, name), claim=NEVER) is not None
    for action in Action:
        assert counterexample(signed(book, action), claim=NEVER) is not None


@pytest.mark.parametrize("name", TRANSITIONS)
def test_cap__any_transition_that_guards_permit__leaves_exposure_within_it(name: str) -> None:
    """INV-04 is inductive: what was within the cap stays there, whatever the amounts."""
    before = any_book()
    after = posted(before, name)
    permitted = granted(before, "order reserved") if EFFECT.get(name, 0) > 0 else POSITIVE
    within = used(before) <= LIMIT.term
    assert counterexample(within, POSITIVE, permitted, claim=used(after) <= LIMIT.term) is None


def test_cap__check_cap_removed__the_counterexample_is_issuance_beyond_custody() -> None:
    """INV-04, the rule removed: an issuer's valid order makes stock that custody does not hold."""
    before = any_book()
    after = posted(before, "order reserved")
    permitted = granted(before, "order reserved", without(POLICIES, policy.check_cap))
    within = used(before) <= LIMIT.term
    found = counterexample(within, POSITIVE, permitted, claim=used(after) <= LIMIT.term)
    assert found is not None
    held, minted = in_model(found, LIMIT), in_model(found, Number(used(after)))
    assert minted > held >= in_model(found, Number(used(before)))


@pytest.mark.parametrize("name", MINTS)
def test_collateral_below_exposure__every_mint__is_granted_by_no_balances_at_all(
    name: str,
) -> None:
    """INV-04: when custody falls below, every release of the asset waits, refunds too."""
    book = any_book()
    fallen = used(book) > LIMIT.term
    assert counterexample(fallen, POSITIVE, granted(book, name), claim=NEVER) is None


def test_collateral_below_exposure__a_release_granted_before__is_not_signed_a_cancel_is() -> None:
    """INV-04 at signing: a grant from better days is worth nothing; a CANCEL mints nothing."""
    book = any_book()
    fallen = used(book) > LIMIT.term
    assert counterexample(fallen, signed(book), claim=NEVER) is None
    assert counterexample(fallen, signed(book, Action.CANCEL), claim=NEVER) is not None


def test_collateral_below_exposure__check_covered_removed__a_stale_grant_mints() -> None:
    """INV-04, the rule removed: what was granted before custody fell is released after it."""
    book = any_book()
    fallen = used(book) > LIMIT.term
    weakened = signed(book, policies=without(SIGNING_POLICIES, signing.check_covered))
    found = counterexample(fallen, weakened, claim=NEVER)
    assert found is not None
    assert in_model(found, Number(used(book))) > in_model(found, LIMIT)


@pytest.mark.parametrize("name", sorted(set(TRANSITIONS) - {"opening"}))
def test_collateral_below_exposure__what_can_still_happen__never_widens_the_gap(name: str) -> None:
    """INV-04: only redemption, voids and write-offs move exposure, and they lower it."""
    before = any_book()
    after = posted(before, name)
    fallen = used(before) > LIMIT.term
    permitted = granted(before, "order reserved") if EFFECT.get(name, 0) > 0 else POSITIVE
    assert counterexample(fallen, POSITIVE, permitted, claim=used(after) <= used(before)) is None


# --- INV-05: no chain pays out more than it was given --------------------------------------

SOURCE = BURN.message.source


def _chain_balance_step(name: str, policies: Sequence[Policy] = POLICIES) -> tuple[Any, Any, Any]:
    """(invariant before, step permitted, invariant after) of what left one chain.

    `given` is all that was ever opened, issued or released to the chain, `burned` all that it
    says was burned, `left` the claims on other chains that were granted for those burns.
    """
    given, burned, left = (any_number(word) for word in ("given", "burned", "left"))
    book = {**any_book(), (TSLAX, supply(SOURCE)): given - burned}
    before = z3.And(left.term <= given.term, left.term <= burned.term, given.term >= 0)
    step: Any = POSITIVE
    if name == "release":
        step = z3.And(step, granted(book, name, policies), left.term + AMOUNT.term <= burned.term)
        left = left + AMOUNT
    net = movements(TRANSITIONS[name]).get((TSLAX, supply(SOURCE)), 0)
    given, burned = given + AMOUNT * max(0, net), burned + AMOUNT * max(0, -net)
    return before, step, z3.And(left.term <= given.term, left.term <= burned.term)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_chain_balance__any_transition__no_more_leaves_a_chain_than_it_was_given(name: str) -> None:
    """INV-05 is inductive, even where the chain lies about its burns without limit."""
    before, step, after = _chain_balance_step(name)
    assert counterexample(before, step, claim=after) is None


def test_chain_balance__check_removed__a_compromised_chain_drains_the_others() -> None:
    """INV-05, the rule removed: burns of what the chain never had are paid out elsewhere."""
    weakened = without(POLICIES, policy.check_chain_balance)
    before, step, after = _chain_balance_step("release", weakened)
    found = counterexample(before, step, claim=after)
    assert found is not None
    given, burned = (in_model(found, any_number(word)) for word in ("given", "burned"))
    assert burned >= in_model(found, any_number("left")) + in_model(found, AMOUNT) > given


# --- INV-07: what was voided can never land -------------------------------------------------

DEADLINE, FINAL = any_number("deadline"), any_number("final time at signing")
EXPIRY, LATEST = any_number("order's expiry"), any_number("latest deadline")
TIME_AT = (any_number("first block"), any_number("first block's time"))
UNUSED_AT = (any_number("second block"), any_number("second block's time"))
LANDED = (any_number("landing block"), any_number("landing block's time"))
RESERVED = reserve(ISSUE, id_of(ISSUE), EXPIRY)


def deadline_allowed() -> Any:
    """When a guard that granted the order signs a permit with this deadline."""
    grant = Grant(id_of(ISSUE), ISSUE, EXPIRY)
    desk = replace(_desk(grant), final_time=FINAL)
    items = sorted_items([item_of(ISSUE)])
    batch = ReleaseBatch(ISSUE.destination, a_bridge(ISSUE.destination), 1, DEADLINE, items)
    quiet = a_context(assets={TSLAX: an_asset_view()})

    def run() -> Any:
        return may_sign(quiet, desk, batch)

    return condition_of(run, lambda verdict: isinstance(verdict, Granted))


def _proof() -> ExpiryProof:
    chain = ISSUE.destination
    blocks = [
        replace(a_block(chain), number=number, time=time) for number, time in (TIME_AT, UNUSED_AT)
    ]
    return ExpiryProof(key_of(ISSUE), LATEST, blocks[0], blocks[1])


def _truth(value: object) -> bool:
    return bool(value)


def _held(proof: VoidProof) -> Any:
    return condition_of(lambda: proof_holds(RESERVED, proof), _truth)


def _chain_time() -> list[Any]:
    """A chain's blocks: later ones are never earlier in time."""
    blocks = (TIME_AT, UNUSED_AT, LANDED)
    return [
        z3.Implies(low.term <= high.term, early.term <= late.term)
        for low, early in blocks
        for high, late in blocks
    ]


LANDS = z3.And(LANDED[1].term <= DEADLINE.term)
"""A contract accepts a permit until its deadline."""
UNUSED = LANDED[0].term > UNUSED_AT[0].term
"""The nonce was read as unused at the second block: a landing would be after it."""


def test_void__with_the_expiry_proof__no_permit_of_any_guard_can_land() -> None:
    """INV-07: time passed every deadline, and only then the nonce was found unused."""
    assert counterexample(deadline_allowed(), claim=DEADLINE.term <= EXPIRY.term) is None
    facts = [deadline_allowed(), _held(_proof()), *_chain_time(), LANDS, UNUSED]
    assert counterexample(*facts, claim=NEVER) is None
    assert counterexample(deadline_allowed(), *_chain_time(), LANDS, UNUSED, claim=NEVER)


def test_void__nonce_read_before_the_time__the_release_lands_in_between() -> None:
    """INV-07, the rule removed: unused, then released at the last second, then expired."""
    proof = _proof()
    early = z3.And(LATEST.term >= EXPIRY.term, TIME_AT[1].term > LATEST.term)
    found = counterexample(
        deadline_allowed(), early, *_chain_time(), LANDS, UNUSED, claim=_held(proof)
    )
    assert found is not None
    landed = in_model(found, LANDED[0])
    assert in_model(found, UNUSED_AT[0]) < landed < in_model(found, TIME_AT[0])


def test_void__order_expiry_not_bound_to_the_permit__a_later_permit_lands() -> None:
    """INV-07, the rule removed: a deadline beyond the order's expiry outlives the proof."""
    any_deadline = DEADLINE.term > FINAL.term
    facts = [any_deadline, _held(_proof()), *_chain_time(), LANDS, UNUSED]
    found = counterexample(*facts, claim=NEVER)
    assert found is not None
    assert in_model(found, DEADLINE) > in_model(found, EXPIRY)


def test_every_path__of_a_rule_with_one_branch__has_both_outcomes() -> None:
    """The tool itself: both sides of a branch, each under its own condition."""
    number = any_number("n")
    paths = every_path(lambda: "large" if number > SHARE else "small")
    assert {path.outcome for path in paths} == {"large", "small"}
    for path in paths:
        sized = number.term > SHARE
        claim = sized if path.outcome == "large" else z3.Not(sized)
        assert counterexample(path.condition, claim=claim) is None


def test_nonce__of_a_rejected_redemption__is_not_of_the_issue_sequence() -> None:
    """A mint from custody is issuance or a rejected redemption, by its nonce alone."""
    (refund,) = TRANSITIONS["redemption rejected"]
    assert refund.debit == UNPAID_REDEMPTION
    assert refund.kind is EntryKind.REDEEM_REFUND
    assert Nonce(ISSUE.nonce)[:24] != refund_nonce(REDEEM.source_bridge, 1)[:24]

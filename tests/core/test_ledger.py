"""The ledger: what observations book, what posting twice does, what the sums say."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from tests.builders import (
    NVDAX,
    SHARE,
    TSLAX,
    a_burn,
    a_cancel,
    a_message,
    a_refund,
    a_release,
    an_issue,
    an_orphan,
    id_of,
    opened,
)
from xstock_core.amount import Shares
from xstock_core.ids import Domain, InvalidId, custody_bridge
from xstock_core.invariants import (
    InvariantId,
    InvariantViolation,
    chain_balances_kept,
    conserved,
)
from xstock_core.ledger import (
    CUSTODY,
    IN_FLIGHT,
    OPEN_ISSUANCE,
    ORPHANED,
    UNPAID_REDEMPTION,
    Account,
    AccountKind,
    EntryKind,
    chain_supply,
    entries_of,
    entry_of_issue,
    entry_of_opening,
    entry_of_orphan_write_off,
    entry_of_redemption_paid,
    exposure,
    make_entry,
    movements,
    overdrafts,
    parse_account,
    post_all,
    supply,
)
from xstock_core.message import Kind
from xstock_core.observation import Observation
from xstock_core.refund import refund_of
from xstock_core.release import key_of
from xstock_core.reservation import (
    CancelProof,
    ExpiryProof,
    ReservationState,
    entry_of_issue_void,
    post,
    proof_holds,
    reserve,
    void,
)
from xstock_runtime.hashing import keccak256

MESSAGE = a_message()
BURN, RELEASE = a_burn(MESSAGE), a_release(MESSAGE)


def test_burn_then_release__moves_supply_between_chains__and_leaves_exposure_alone() -> None:
    balances, _ = opened()
    before = exposure(balances, TSLAX)
    burned, _ = post_all(balances, frozenset(), entries_of(BURN))
    assert burned[TSLAX, IN_FLIGHT] == SHARE
    assert chain_supply(burned, TSLAX, Domain.ETHEREUM) == 99 * SHARE
    released, _ = post_all(burned, frozenset(), entries_of(RELEASE))
    assert released[TSLAX, IN_FLIGHT] == 0
    assert chain_supply(released, TSLAX, Domain.BNB) == 101 * SHARE
    assert exposure(burned, TSLAX) == exposure(released, TSLAX) == before == 300 * SHARE


def test_posting__the_same_entries_again__changes_nothing() -> None:
    balances, _ = opened()
    entries = [*entries_of(BURN), *entries_of(RELEASE)]
    once, accepted = post_all(balances, frozenset(), entries)
    again, none = post_all(once, frozenset(e.id for e in accepted), entries)
    twice_on_a_page, _ = post_all(balances, frozenset(), entries * 2)
    assert (again, none) == (once, ())
    assert twice_on_a_page == once


def test_posting__without_the_known_ids__books_twice() -> None:
    """Defence removed: forgetting what is posted breaks the sums that conservation compares."""
    balances, opening = opened()
    once, accepted = post_all(balances, frozenset(), entries_of(BURN))
    forgotten, _ = post_all(once, frozenset(), entries_of(BURN))
    assert conserved(once, [*opening, *accepted])
    assert not conserved(forgotten, [*opening, *accepted])


def test_posting__any_order_of_the_same_facts__ends_in_the_same_balances() -> None:
    """F48: permuted histories."""
    issue = an_issue()
    facts: list[Observation] = [BURN, RELEASE, a_release(a_refund(MESSAGE)), a_release(issue)]
    facts.append(an_orphan())
    outcomes = set()
    for order in permutations(facts):
        balances, _ = opened()
        entries = [entry for fact in order for entry in entries_of(fact)]
        after, _ = post_all(balances, frozenset(), entries)
        outcomes.add(frozenset(after.items()))
    assert len(outcomes) == 1


def test_posting__leaves_its_arguments_alone() -> None:
    balances, _ = opened()
    copy = dict(balances)
    post_all(balances, frozenset(), entries_of(BURN))
    assert balances == copy


def test_entry_id__follows_from_content__and_every_part_of_it_counts() -> None:
    entry = entries_of(BURN)[0]
    assert entry == entries_of(replace(BURN, counter=9))[0]
    others = [
        replace(MESSAGE, asset=NVDAX),
        replace(MESSAGE, amount=Shares(SHARE + 1)),
        replace(MESSAGE, destination=Domain.MANTLE),
        a_message(counter=2),
    ]
    ids = {entries_of(a_burn(other))[0].id for other in others}
    assert len(ids | {entry.id}) == 5


def test_release__of_an_issue__books_its_reservation_too() -> None:
    issue = an_issue()
    reserved, _ = post_all({}, frozenset(), [entry_of_issue(issue)])
    assert (reserved[TSLAX, OPEN_ISSUANCE], exposure(reserved, TSLAX)) == (SHARE, SHARE)
    known = frozenset({entry_of_issue(issue).id})
    after_reserve, _ = post_all(reserved, known, entries_of(a_release(issue)))
    unseen, _ = post_all({}, frozenset(), entries_of(a_release(issue)))
    assert after_reserve == unseen
    assert (unseen[TSLAX, OPEN_ISSUANCE], exposure(unseen, TSLAX)) == (0, SHARE)


def test_redemption__is_exposure_until_it_is_paid() -> None:
    redeem = a_message(kind=Kind.REDEEM, destination=Domain.CUSTODY)
    balances, _ = opened()
    burned, _ = post_all(balances, frozenset(), entries_of(a_burn(redeem)))
    assert (burned[TSLAX, UNPAID_REDEMPTION], exposure(burned, TSLAX)) == (SHARE, 300 * SHARE)
    paid, _ = post_all(burned, frozenset(), [entry_of_redemption_paid(redeem)])
    assert (paid[TSLAX, UNPAID_REDEMPTION], exposure(paid, TSLAX)) == (0, 299 * SHARE)


def test_redeem_rejected__its_refund_closes_it__and_exposure_stays() -> None:
    """A release from custody that is no issuance gives a rejected redemption back."""
    redeem = a_message(kind=Kind.REDEEM, destination=Domain.CUSTODY)
    refund = refund_of(redeem, custody_bridge(keccak256), keccak256)
    balances, opening = opened()
    burned, booked = post_all(balances, frozenset(), entries_of(a_burn(redeem)))
    back, returned = post_all(burned, frozenset(), entries_of(a_release(refund)))
    assert [entry.kind for entry in returned] == [EntryKind.REDEEM_REFUND]
    assert back[TSLAX, UNPAID_REDEMPTION] == 0
    assert chain_supply(back, TSLAX, Domain.ETHEREUM) == 100 * SHARE
    assert exposure(back, TSLAX) == exposure(burned, TSLAX) == 300 * SHARE
    assert conserved(back, [*opening, *booked, *returned])


def test_release_from_custody__under_an_order_number__is_an_issuance_of_that_asset_alone() -> None:
    issue = a_release(an_issue())
    kinds = [entry.kind for entry in entries_of(issue)]
    assert kinds == [EntryKind.ISSUE_RESERVE, EntryKind.ISSUE_RELEASE]
    foreign = entries_of(replace(issue, asset=NVDAX))
    assert [entry.kind for entry in foreign] == [EntryKind.REDEEM_REFUND]


def test_orphan__is_exposure_until_written_off() -> None:
    balances, _ = opened(chains=(Domain.SOLANA,))
    booked, _ = post_all(balances, frozenset(), entries_of(an_orphan()))
    assert (booked[TSLAX, ORPHANED], exposure(booked, TSLAX)) == (SHARE, 100 * SHARE)
    gone, _ = post_all(booked, frozenset(), [entry_of_orphan_write_off(an_orphan())])
    assert (gone[TSLAX, ORPHANED], exposure(gone, TSLAX)) == (0, 99 * SHARE)


def test_cancel__books_nothing__the_refund_does() -> None:
    assert entries_of(a_cancel(MESSAGE)) == ()
    balances, _ = opened()
    facts = [*entries_of(BURN), *entries_of(a_release(a_refund(MESSAGE)))]
    after, _ = post_all(balances, frozenset(), facts)
    assert after == balances | {(TSLAX, IN_FLIGHT): 0}


def test_burn__beyond_what_the_chain_was_given__posts_and_shows_as_overdraft() -> None:
    """F56: facts always post; the violation is recorded, and policies refuse."""
    balances, _ = opened(shares=SHARE // 2)
    after, accepted = post_all(balances, frozenset(), entries_of(BURN))
    assert len(accepted) == 1
    (overdraft,) = overdrafts(after)
    assert (overdraft.account, overdraft.balance) == (supply(Domain.ETHEREUM), -SHARE // 2)
    assert not chain_balances_kept(after)


def test_movements__are_the_net_change_of_posting() -> None:
    balances, opening = opened()
    entries = [*entries_of(BURN), *entries_of(RELEASE)]
    after, _ = post_all(balances, frozenset(), entries)
    net = movements(entries)
    assert {k: balances.get(k, 0) + n for k, n in net.items()} == {k: after[k] for k in net}
    assert sum(net.values()) == 0
    assert conserved(after, [*opening, *entries])


@pytest.mark.parametrize("amount", [0, -1, True, 1.0], ids=repr)
def test_entry__amount_that_is_no_positive_integer__is_refused(amount: Any) -> None:
    """F57."""
    with pytest.raises(InvalidId):
        make_entry(EntryKind.BURN, TSLAX, supply(Domain.BNB), IN_FLIGHT, amount, b"r")


@pytest.mark.parametrize(
    ("kind", "debit", "credit", "ref"),
    [
        (EntryKind.BURN, CUSTODY, IN_FLIGHT, b"r"),
        (EntryKind.OPENING, supply(Domain.BNB), IN_FLIGHT, b"r"),
        (EntryKind.BURN, IN_FLIGHT, IN_FLIGHT, b"r"),
        (EntryKind.BURN, supply(Domain.BNB), IN_FLIGHT, b""),
    ],
)
def test_entry__touching_custody_without_right_or_empty__is_refused(
    kind: EntryKind, debit: Account, credit: Account, ref: bytes
) -> None:
    """INV-06, F10: only issuance, redemption, opening and write-off change exposure."""
    with pytest.raises(InvalidId):
        make_entry(kind, TSLAX, debit, credit, 1, ref)


def test_account__text_form__reads_back() -> None:
    accounts = [supply(c) for c in Domain if c is not Domain.CUSTODY]
    accounts += [IN_FLIGHT, ORPHANED, OPEN_ISSUANCE, UNPAID_REDEMPTION, CUSTODY]
    assert [parse_account(a.text) for a in accounts] == accounts
    assert supply(Domain.ETHEREUM).text == "supply/1"


@pytest.mark.parametrize("text", ["", "supply", "supply/0", "supply/x", "in_flight/1", "cash"])
def test_account__other_text__is_refused(text: str) -> None:
    with pytest.raises(InvalidId):
        parse_account(text)


def test_account__custody_as_a_chain__is_refused() -> None:
    with pytest.raises(InvalidId):
        supply(Domain.CUSTODY)
    with pytest.raises(InvalidId):
        Account(AccountKind.SUPPLY)


def test_opening__once_per_asset_and_chain__whatever_the_place() -> None:
    one, same = (entry_of_opening(TSLAX, Domain.BNB, Shares(5)) for _ in range(2))
    assert one == same
    assert one.id != entry_of_opening(TSLAX, Domain.MANTLE, Shares(5)).id


# --- reservations: INV-07 ---------------------------------------------------------------

ISSUE = an_issue()
RESERVED = reserve(ISSUE, id_of(ISSUE), expiry=5_000)


def _expiry(**changes: Any) -> ExpiryProof:
    base = a_release(ISSUE).place.block
    proof = ExpiryProof(
        key=key_of(ISSUE),
        latest_deadline=5_000,
        time_at=replace(base, number=10, time=5_001),
        unused_at=replace(base, number=10, time=5_001),
    )
    return replace(proof, **changes)


BLOCK = _expiry().time_at


def test_void__with_proof_of_expiry_or_cancel__closes_and_returns_to_custody() -> None:
    for proof in (_expiry(), CancelProof(a_cancel(ISSUE))):
        assert void(RESERVED, proof).state is ReservationState.VOIDED
        entries = [entry_of_issue(ISSUE), entry_of_issue_void(ISSUE, RESERVED, proof)]
        balances, _ = post_all({}, frozenset(), entries)
        assert exposure(balances, TSLAX) == 0


@pytest.mark.parametrize(
    "proof",
    [
        _expiry(time_at=replace(BLOCK, time=5_000)),
        _expiry(unused_at=replace(BLOCK, number=9)),
        _expiry(latest_deadline=4_999),
        _expiry(key=key_of(MESSAGE)),
        _expiry(time_at=replace(BLOCK, chain=Domain.BNB)),
        _expiry(unused_at=replace(BLOCK, chain=Domain.BNB)),
        CancelProof(a_cancel(MESSAGE)),
    ],
    ids=["deadline not past", "nonce read before the time", "deadline before the expiry",
         "another key", "another chain's time", "another chain's nonce", "another cancel"],
)  # fmt: skip
def test_void__without_full_proof__is_refused(proof: CancelProof | ExpiryProof) -> None:
    """INV-07: only with proof that the release can no longer land."""
    assert not proof_holds(RESERVED, proof)
    with pytest.raises(InvariantViolation) as broken:
        entry_of_issue_void(ISSUE, RESERVED, proof)
    assert broken.value.id is InvariantId.RESERVATION_SAFETY


def test_void__defence_removed__a_release_after_it_overdraws_open_issuance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """INV-07: without `proof_holds` the ledger shows the loss at the release."""
    monkeypatch.setattr("xstock_core.reservation.proof_holds", lambda _reservation, _proof: True)
    early = entry_of_issue_void(ISSUE, RESERVED, _expiry(latest_deadline=1))
    entries = [entry_of_issue(ISSUE), early, *entries_of(a_release(ISSUE))]
    balances, _ = post_all({}, frozenset(), entries)
    assert [o.account for o in overdrafts(balances)] == [OPEN_ISSUANCE]


def test_reservation__posted__cannot_be_voided_nor_the_reverse() -> None:
    posted = post(RESERVED)
    assert post(posted) == posted
    with pytest.raises(InvariantViolation):
        void(posted, _expiry())
    with pytest.raises(InvariantViolation):
        post(void(RESERVED, _expiry()))


def test_issue_void__of_another_order__is_refused() -> None:
    with pytest.raises(InvariantViolation):
        entry_of_issue_void(an_issue(order=2), RESERVED, _expiry())
    with pytest.raises(InvalidId):
        entry_of_issue(MESSAGE)

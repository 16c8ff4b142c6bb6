"""The findings alone: which single facts prove that something is wrong, and which do not."""

from dataclasses import replace
from hashlib import sha256

import pytest

from tests.builders import a_burn, a_message, a_release
from tests.services.supply_guard.world import ASSET, HOLDER, OTHER, RECIPIENT, SHARE
from xstock_core.amount import Shares
from xstock_core.ids import Address32, Domain, Nonce, issue_nonce
from xstock_core.ledger import (
    CUSTODY,
    IN_FLIGHT,
    OPEN_ISSUANCE,
    ORPHANED,
    UNPAID_REDEMPTION,
    Account,
    AccountKind,
)
from xstock_core.observation import (
    BlockRef,
    CancelFinal,
    OrphanBurn,
    Place,
    ReleaseFinal,
    SupplyMoved,
    TxRef,
)
from xstock_core.refund import refund_nonce_of
from xstock_core.release import ExecutionKey, key_of
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.findings import (
    Finding,
    burned_twice,
    contradiction,
    minted_outside,
    no_order,
    orphan_contradiction,
    overdrawn,
    paid_and_refunded,
    refund_key,
    released_and_refunded,
    second_execution,
    unmatched,
)
from xstock_supply_guard.model import Executed

ISSUED = ReleaseFinal(
    destination=Domain.ETHEREUM,
    source=Domain.CUSTODY,
    nonce=issue_nonce(ASSET, 7, keccak256),
    asset=ASSET,
    recipient=HOLDER,
    amount=Shares(SHARE),
    place=Place(
        BlockRef(Domain.ETHEREUM, 5, b"\x05" * 32, 1_000), TxRef(Domain.ETHEREUM, b"\x01" * 32), 0
    ),
)


def test_no_order__release_that_an_order_may_have__is_no_finding() -> None:
    assert no_order(ISSUED) is None


@pytest.mark.parametrize(
    "forged",
    [
        replace(ISSUED, nonce=Nonce(ISSUED.nonce[:24] + bytes(8))),
        replace(ISSUED, nonce=Nonce(b"\x07" * 32)),
        replace(ISSUED, recipient=Address32(b"\x01" * 32)),
        replace(ISSUED, recipient=Address32(bytes(32))),
        replace(ISSUED, amount=Shares(0)),
    ],
    ids=["order zero", "another tag", "padding", "nobody", "nothing"],
)
def test_no_order__release_that_no_order_can_have__halts_its_asset(forged: ReleaseFinal) -> None:
    """INV-01: what is minted in custody's name must at least look like an order."""
    found = no_order(forged)
    assert found is not None
    assert (found.code, found.asset, found.chain) == ("INV-01", ASSET, None)


def test_no_order__release_that_no_order_can_have__says_which_and_why() -> None:
    found = no_order(replace(ISSUED, amount=Shares(0)))
    assert found is not None
    assert found.detail == (
        f"issuance {ISSUED.nonce.hex()} of 0 on chain 1 has a nonce or recipient that no order "
        "can have"
    )
    assert (
        no_order(replace(ISSUED, nonce=issue_nonce(ASSET, 1, keccak256), amount=Shares(1))) is None
    )


MESSAGE = a_message(asset=ASSET, refund_address=HOLDER, recipient=RECIPIENT)
BURN = a_burn(MESSAGE, place=ISSUED.place)
MINTED = a_release(MESSAGE, place=ISSUED.place)
BACK = replace(
    MINTED,
    destination=Domain.ETHEREUM,
    source=Domain.BNB,
    nonce=refund_nonce_of(MESSAGE, keccak256),
    recipient=HOLDER,
)
ORPHAN = OrphanBurn(ASSET, HOLDER, Shares(SHARE), "no memo", MESSAGE.nonce, ISSUED.place)
OTHERS = {"asset": OTHER, "recipient": Address32(bytes(12) + b"\x09" * 20), "amount": Shares(2)}


def shown(found: Finding | None) -> tuple[str, str, bytes | None, Domain | None]:
    """A finding's parts."""
    assert found is not None
    return found.code, found.detail, found.asset, found.chain


def test_contradiction__the_very_shares_to_the_very_holder__is_none() -> None:
    assert contradiction(MINTED, BURN) is None
    assert contradiction(BACK, BURN) is None
    assert orphan_contradiction(BACK, ORPHAN) is None


@pytest.mark.parametrize("field", list(OTHERS))
def test_contradiction__another_asset_recipient_or_amount__halts_what_was_minted(
    field: str,
) -> None:
    """INV-03: a release that differs from its burn in anything."""
    for release in (MINTED, BACK):
        wrong = replace(release, **{field: OTHERS[field]})  # type: ignore[arg-type]
        detail = (
            f"release of {wrong.amount} to {wrong.recipient.hex()} on chain "
            f"{int(wrong.destination)} is not what {BURN.transfer_id.hex()} burned"
        )
        assert shown(contradiction(wrong, BURN)) == ("INV-03", detail, wrong.asset, None)
    wrong = replace(BACK, **{field: OTHERS[field]})  # type: ignore[arg-type]
    detail = (
        f"refund of {wrong.amount} to {wrong.recipient.hex()} on chain 1 is not what orphan "
        f"{ORPHAN.nonce.hex()} burned"
    )
    assert shown(orphan_contradiction(wrong, ORPHAN)) == ("INV-03", detail, wrong.asset, None)


def test_contradiction__each_place_has_its_own_recipient() -> None:
    """INV-03: the recipient on its chain, the refund address on the burn's own."""
    assert contradiction(replace(MINTED, recipient=HOLDER), BURN) is not None
    assert contradiction(replace(BACK, recipient=RECIPIENT), BURN) is not None


def test_refund_key__is_the_burns_way_back() -> None:
    nonce = refund_nonce_of(MESSAGE, keccak256)
    assert refund_key(BURN) == ExecutionKey(Domain.ETHEREUM, Domain.BNB, nonce)


def test_second_execution__names_both_blocks() -> None:
    """INV-02."""
    place = replace(ISSUED.place, block=replace(ISSUED.place.block, number=9))
    found = second_execution(Executed(MINTED, 1, matched=True), replace(MINTED, place=place))
    detail = f"key {MINTED.nonce.hex()} from chain 1 was executed twice on chain 2: blocks 5 and 9"
    assert shown(found) == ("INV-02", detail, ASSET, None)


def test_paid_and_refunded__names_the_redemption() -> None:
    """INV-02."""
    detail = f"redemption {BURN.transfer_id.hex()} was paid by custody and refunded on its chain"
    assert shown(paid_and_refunded(BURN)) == ("INV-02", detail, ASSET, None)


@pytest.mark.parametrize("missing", ["release", "refund", "cancelled", "refund cancelled", None])
def test_released_and_refunded__both_ways_of_one_burn__and_only_both(missing: str | None) -> None:
    """INV-02: a cancellation moves nothing."""
    cancel = CancelFinal(Domain.BNB, Domain.ETHEREUM, MESSAGE.nonce, ASSET, ISSUED.place)
    release: ReleaseFinal | CancelFinal = cancel if missing == "cancelled" else MINTED
    refund: ReleaseFinal | CancelFinal = cancel if missing == "refund cancelled" else BACK
    executions = {
        key: Executed(fact, 1, matched=True)
        for name, key, fact in (
            ("release", key_of(MESSAGE), release),
            ("refund", refund_key(BURN), refund),
        )
        if name != missing
    }
    found = released_and_refunded(BURN, executions)
    if missing is not None:
        assert found is None
        return
    detail = f"burn {BURN.transfer_id.hex()} was released and refunded too"
    assert shown(found) == ("INV-02", detail, ASSET, None)


def test_burned_twice__names_both_blocks_and_halts_the_chain() -> None:
    """INV-09."""
    place = replace(ISSUED.place, block=replace(ISSUED.place.block, number=9))
    detail = f"burn nonce {MESSAGE.nonce.hex()} stands in blocks 5 and 9 of chain 1"
    found = burned_twice(BURN, replace(BURN, place=place))
    assert shown(found) == ("INV-09", detail, None, Domain.ETHEREUM)


def test_overdrawn__each_account_below_zero__breaks_its_own_promise() -> None:
    """INV-05, INV-07: IN_FLIGHT and CUSTODY may be below zero, the others never."""
    supply = Account(AccountKind.SUPPLY, Domain.BNB)
    accounts = [IN_FLIGHT, CUSTODY, supply, OPEN_ISSUANCE, ORPHANED, UNPAID_REDEMPTION]
    found = {shown(one) for one in overdrawn({(ASSET, one): -1 for one in accounts})}
    assert found == {
        (code, f"account {account.text} is below zero", ASSET, None)
        for code, account in (
            ("INV-05", supply),
            ("INV-07", OPEN_ISSUANCE),
            ("INV-02", ORPHANED),
            ("INV-06", UNPAID_REDEMPTION),
        )
    }
    assert list(overdrawn({(ASSET, one): 0 for one in accounts})) == []


@pytest.mark.parametrize(("units", "told"), [(1, True), (0, False), (-1, False)])
def test_minted_outside__more_shares__halts_their_asset(units: int, told: bool) -> None:
    """INV-16: burning one's own harms nobody."""
    found = minted_outside(SupplyMoved(ASSET, units, ISSUED.place))
    if not told:
        assert found is None
        return
    detail = f"1 token units minted outside the bridge on chain 1 in transaction {'01' * 32}"
    assert shown(found) == ("INV-16", detail, ASSET, None)


@pytest.mark.parametrize(
    ("through", "passed_ms", "told"),
    [(1_029, 9, False), (1_030, 9, True), (1_029, 1_009, False), (0, 1_010, True)],
)
def test_unmatched__once_the_source_must_have_shown_it_or_long_enough(
    through: int, passed_ms: int, told: bool
) -> None:
    """INV-01: the release is of second 1,000 and was booked at 10 ms."""
    found = unmatched(Executed(MINTED, 10, matched=False), through, passed_ms, 30, 1_000)
    if not told:
        assert found is None
        return
    detail = f"release {MINTED.nonce.hex()} on chain 2 has no burn on chain 1"
    assert shown(found) == ("INV-01", detail, ASSET, None)


def test_finding__as_a_halt__has_an_id_of_what_it_covers_and_when() -> None:
    found = Finding("CODE", "x" * 600, ASSET)
    halt = found.halt(7)
    assert (halt.by, halt.at_ms, halt.asset, halt.chain) == ("service", 7, ASSET, None)
    assert halt.reason == f"CODE: {'x' * 494}"
    assert halt.id == sha256(f"CODE|{'x' * 600}|7".encode() + ASSET).hexdigest()[:32]
    chain = Finding("CODE", "x", chain=Domain.BNB).halt(7)
    assert (chain.id, chain.chain) == (sha256(b"CODE|x|7").hexdigest()[:32], Domain.BNB)

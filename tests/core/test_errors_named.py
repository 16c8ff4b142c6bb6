"""An error names the field, the value and the remedy, whichever door it comes through."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from tests.builders import (
    TSLAX,
    a_bridge,
    a_bucket,
    a_burn,
    a_cancel,
    a_message,
    a_place,
    an_issue,
    an_orphan,
    id_of,
    opened,
)
from xstock_core.amount import Amount, InvalidAmount, Shares, parse_share_decimal, parse_shares
from xstock_core.ids import (
    Address32,
    AssetId,
    Domain,
    InvalidId,
    Nonce,
    asset_id,
    counter_nonce,
    nonce_counter,
    orphan_refund_nonce,
    parse_address,
    parse_asset_id,
    parse_domain,
    parse_nonce,
    parse_transfer_id,
    solana_nonce,
)
from xstock_core.invariants import InvariantId, InvariantViolation, conserved, ensure
from xstock_core.keccak import keccak256
from xstock_core.ledger import (
    CUSTODY,
    IN_FLIGHT,
    ORPHANED,
    Account,
    AccountKind,
    EntryKind,
    Overdraft,
    chain_supply,
    entries_of,
    entry_of_issue,
    entry_of_opening,
    make_entry,
    orphan_reference,
    overdrafts,
    parse_account,
    supply,
)
from xstock_core.message import Kind, parse_message
from xstock_core.observation import (
    CancelFinal,
    MintParked,
    Observation,
    OrphanBurn,
    ReleaseFinal,
    ReleaseSkipped,
    Role,
    RoleMoved,
    SkipReason,
    SupplyMoved,
    by_id,
    observation_id,
)
from xstock_core.quorum import agree, check_quorum, check_threshold
from xstock_core.refund import refund_of
from xstock_core.release import Action, ReleaseItem, item_of
from xstock_core.reservation import CancelProof, entry_of_issue_void, post, reserve, void
from xstock_core.signing import Grant, grants_by_item

BURN = EntryKind.BURN
Raises = Callable[[], object]

_WIDE = Address32(b"\x01" * 32)
"""32 bytes that no chain of 20-byte addresses can have."""

NAMED: dict[str, tuple[Raises, tuple[str, object]]] = {
    "account of supply without a chain": (
        lambda: Account(AccountKind.SUPPLY), ("account", "supply"),
    ),
    "account of one chain that has none": (
        lambda: Account(AccountKind.IN_FLIGHT, Domain.BNB), ("account", "in_flight/2"),
    ),
    "supply of custody": (lambda: supply(Domain.CUSTODY), ("chain", Domain.CUSTODY)),
    "account text": (lambda: parse_account("bank/1"), ("account", "bank/1")),
    "account chain": (lambda: parse_account("supply/77"), ("account", 77)),
    "entry of nothing": (
        lambda: make_entry(BURN, TSLAX, supply(Domain.BNB), IN_FLIGHT, 0, b"r"), ("amount", 0),
    ),
    "entry onto itself": (
        lambda: make_entry(BURN, TSLAX, IN_FLIGHT, IN_FLIGHT, 1, b"r"), ("entry", "BURN"),
    ),
    "entry about nothing": (
        lambda: make_entry(BURN, TSLAX, supply(Domain.BNB), IN_FLIGHT, 1, b""), ("entry", "BURN"),
    ),
    "entry of no asset": (
        lambda: make_entry(BURN, AssetId(bytes(32)), supply(Domain.BNB), IN_FLIGHT, 1, b"r"),
        ("entry", "BURN"),
    ),
    "burn from custody": (
        lambda: make_entry(BURN, TSLAX, CUSTODY, IN_FLIGHT, 1, b"r"), ("entry", "BURN"),
    ),
    "refund of an issuance": (
        lambda: refund_of(an_issue(), a_bridge(Domain.BNB)), ("kind", 2),
    ),
    "issuance of a burn": (lambda: entry_of_issue(a_message()), ("kind", 1)),
    "bucket that refills backwards": (
        lambda: a_bucket(refill_per_second=-1), ("refill_per_second", -1),
    ),
    "bucket of a truth": (lambda: a_bucket(level=True), ("level", True)),
    "bucket of zero": (lambda: a_bucket(capacity=0), ("capacity", 0)),
    "amount zero": (lambda: parse_shares(0), ("amount", 0)),
    "amount of a truth": (lambda: parse_shares(True), ("amount", True)),
    "amount above 64 bits": (lambda: parse_shares(2**64, "limit"), ("limit", 2**64)),
    "amount with a sign": (lambda: parse_share_decimal("-1"), ("amount", "-1")),
    "domain": (lambda: parse_domain(7), ("domain", 7)),
    "message too short": (lambda: parse_message(b"\1"), ("message", "01")),
    "message of another version": (
        lambda: parse_message(b"\2" + a_message().pack()[1:]), ("version", 2),
    ),
    "message with a flag": (
        lambda: parse_message(a_message().pack()[:-1] + b"\1"), ("flags", 1),
    ),
    "units below zero": (lambda: Amount(-1, 8, TSLAX), ("units", -1)),
    "decimals above all tokens": (lambda: Amount(1, 37, TSLAX), ("decimals", 37)),
    "sum of two scales": (
        lambda: Amount(1, 8, TSLAX) + Amount(1, 9, TSLAX), ("amount", Amount(1, 9, TSLAX)),
    ),
    "amount in words": (lambda: parse_share_decimal("1" * 81, "fee"), ("fee", "1" * 80)),
    "amount with dust": (
        lambda: parse_share_decimal("0.000000011", "fee"), ("fee", "0.000000011"),
    ),
    "amount of nothing in words": (lambda: parse_share_decimal("0.0", "fee"), ("fee", 0)),
    "asset of another length": (lambda: parse_asset_id(b"\1"), ("asset", b"\1")),
    "address of zero": (
        lambda: parse_address(bytes(32), Domain.BNB, "to"), ("to", "00" * 32),
    ),
    "transfer id of zero": (
        lambda: parse_transfer_id(bytes(32)), ("transfer_id", "00" * 32),
    ),
    "symbol with a space": (lambda: asset_id("TSLA x"), ("symbol", "TSLA x")),
    "symbol too long": (lambda: asset_id("T" * 65), ("symbol", "T" * 65)),
    "signature too short": (lambda: solana_nonce(b"\1", 0, 0), ("signature", b"\1")),
    "message from no chain": (lambda: a_message(source=7), ("source", 7)),
    "message to no chain": (lambda: a_message(destination=7), ("destination", 7)),
    "issuance from a chain": (lambda: a_message(kind=Kind.ISSUE), ("source", 1)),
    "transfer from custody": (
        lambda: a_message(source=Domain.CUSTODY, kind=Kind.TRANSFER), ("source", 100),
    ),
    "redemption to a chain": (lambda: a_message(kind=Kind.REDEEM), ("destination", 2)),
    "transfer to custody": (
        lambda: a_message(destination=Domain.CUSTODY), ("destination", 100),
    ),
    "transfer to where it is": (
        lambda: a_message(destination=Domain.ETHEREUM), ("destination", 1),
    ),
    "transfer from Solana to Solana": (
        lambda: a_message(source=Domain.SOLANA, destination=Domain.SOLANA), ("destination", 4),
    ),
    "refund of a chain's own": (
        lambda: a_message(kind=Kind.REFUND, destination=Domain.ETHEREUM), ("destination", 1),
    ),
    "bridge of another width": (
        lambda: a_message(source_bridge=_WIDE), ("source_bridge", _WIDE.hex()),
    ),
    "refund address of another width": (
        lambda: a_message(refund_address=_WIDE), ("refund_address", _WIDE.hex()),
    ),
    "recipient of another width": (
        lambda: a_message(recipient=_WIDE), ("recipient", _WIDE.hex()),
    ),
    "address of another width": (
        lambda: parse_address(_WIDE, Domain.TRON), ("address", _WIDE.hex()),
    ),
    "nonce of zero": (lambda: parse_nonce(bytes(32)), ("nonce", "00" * 32)),
    "counter of zero": (
        lambda: counter_nonce(a_bridge(Domain.BNB), 0, keccak256), ("counter", 0),
    ),
    "counter above 64 bits": (
        lambda: counter_nonce(a_bridge(Domain.BNB), 2**64, keccak256), ("counter", 2**64),
    ),
    "message of no kind": (
        lambda: parse_message(b"\1\7" + a_message().pack()[2:]), ("kind", 7),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_error__whatever_is_wrong__names_field_value_and_remedy(name: str) -> None:
    raises, (field, value) = NAMED[name]
    with pytest.raises((InvalidId, InvalidAmount)) as found:
        raises()
    error = found.value
    assert isinstance(error, InvalidId | InvalidAmount)
    assert (error.field, error.value) == (field, value)
    assert len(error.remedy.split()) >= 3
    assert str(error) == f"{field}: {value!r} is not valid; {error.remedy}"


ISSUE = an_issue()
RESERVED = reserve(ISSUE, id_of(ISSUE), None)
CANCEL = CancelProof(a_cancel(ISSUE))
OTHER = CancelProof(a_cancel(an_issue(order=2)))
ID = id_of(ISSUE).hex()

BROKEN: dict[str, tuple[Raises, InvariantId, str]] = {
    "quorum": (
        lambda: check_quorum(4, 2), InvariantId.CONFIG_SANITY,
        "quorum of 2 of 4 providers: more than half must be needed",
    ),
    "threshold": (
        lambda: check_threshold(4, 2), InvariantId.CONFIG_SANITY,
        "threshold of 2 of 4 guards: more than half must be needed",
    ),
    "threshold for bad guards": (
        lambda: check_threshold(3, 2, 1), InvariantId.CONFIG_SANITY,
        "2 of 3 guards do not survive 1 bad ones",
    ),
    "more answers than providers": (
        lambda: agree([1, 1, 1, 1], 3, 2), InvariantId.CONFIG_SANITY,
        "4 answers from 3 providers",
    ),
    "posted after it was voided": (
        lambda: post(void(RESERVED, CANCEL)), InvariantId.RESERVATION_SAFETY,
        f"transfer {ID} was released after its reservation was voided",
    ),
    "voided after it was posted": (
        lambda: void(post(RESERVED), CANCEL), InvariantId.AT_MOST_ONCE,
        f"transfer {ID} was released; it cannot be voided",
    ),
    "voided with another's proof": (
        lambda: void(RESERVED, OTHER), InvariantId.RESERVATION_SAFETY,
        f"transfer {ID}: the release could still land",
    ),
    "voided for another order": (
        lambda: entry_of_issue_void(an_issue(order=2), RESERVED, CANCEL),
        InvariantId.CONSERVATION, "only the ISSUE that was reserved can be voided",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_violation__whatever_is_broken__says_which_promise_and_the_figures(name: str) -> None:
    raises, invariant, detail = BROKEN[name]
    with pytest.raises(InvariantViolation) as found:
        raises()
    assert (found.value.id, found.value.detail) == (invariant, detail)
    assert str(found.value) == f"{invariant.value}: {detail}"


def test_nonce__of_the_last_counter__is_counted_back() -> None:
    for counter in (1, 2**64 - 1):
        nonce = counter_nonce(a_bridge(Domain.BNB), counter, keccak256)
        assert nonce[24:] == counter.to_bytes(8, "big")
        assert nonce_counter(nonce) == counter


def test_recipient__on_a_chain_of_wide_addresses__may_fill_all_32_bytes() -> None:
    """The width asked for is the destination's, not the source's."""
    assert a_message(destination=Domain.SOLANA, recipient=_WIDE).recipient == _WIDE
    from_solana = a_message(
        source=Domain.SOLANA, destination=Domain.BNB, source_bridge=_WIDE, refund_address=_WIDE
    )
    assert (from_solana.source_bridge, from_solana.refund_address) == (_WIDE, _WIDE)


def test_ensure__of_what_holds__is_silent() -> None:
    ensure(True, InvariantId.CAP, "never said")


# --- the ledger's small print ------------------------------------------------------------------


def test_entry__of_one_share_unit__is_the_smallest() -> None:
    entry = make_entry(BURN, TSLAX, supply(Domain.BNB), IN_FLIGHT, 1, b"r")
    assert (entry.amount, entry.ref) == (1, b"r")


def test_opening__of_a_chain__is_about_that_chain_in_four_bytes() -> None:
    entry = entry_of_opening(TSLAX, Domain.BNB, Shares(5))
    assert entry.ref == b"opening/" + bytes((0, 0, 0, 2))


def test_balance__of_a_chain_without_entries__is_zero() -> None:
    assert chain_supply({}, TSLAX, Domain.BNB) == 0


def test_overdrafts__of_a_book__are_those_below_zero_in_a_stable_order() -> None:
    book = {
        (TSLAX, ORPHANED): -1,
        (TSLAX, supply(Domain.BNB)): -2,
        (TSLAX, IN_FLIGHT): 0,
        (TSLAX, CUSTODY): -9,
        (AssetId(b"\1" * 32), ORPHANED): -3,
    }
    assert overdrafts(book) == (
        Overdraft(AssetId(b"\1" * 32), ORPHANED, -3),
        Overdraft(TSLAX, ORPHANED, -1),
        Overdraft(TSLAX, supply(Domain.BNB), -2),
    )


def test_refund__of_an_orphan__leaves_the_orphans_account_whole() -> None:
    orphan = an_orphan()
    nonce = Nonce(b"n" * 32)
    release = ReleaseFinal(
        Domain.SOLANA, Domain.SOLANA, nonce, TSLAX, orphan.owner, orphan.amount, orphan.place
    )
    (entry,) = entries_of(release)
    assert (entry.kind, entry.asset) == (EntryKind.ORPHAN_REFUND, TSLAX)
    assert (entry.debit, entry.credit) == (ORPHANED, supply(Domain.SOLANA))
    assert (entry.amount, entry.ref) == (orphan.amount, orphan_reference(Domain.SOLANA, nonce))


def test_burn__of_either_kind__is_booked_under_its_own() -> None:
    redeem = a_message(kind=Kind.REDEEM, destination=Domain.CUSTODY)
    kinds = [entries_of(a_burn(message))[0].kind for message in (a_message(), redeem)]
    assert kinds == [EntryKind.BURN, EntryKind.REDEEM_BURN]


def test_conserved__one_asset_more_and_another_less__is_not() -> None:
    """INV-06: the sum is zero for each asset, not over all of them."""
    book, entries = opened()
    tampered = {
        **book,
        (TSLAX, supply(Domain.BNB)): book[TSLAX, supply(Domain.BNB)] + 1,
        (AssetId(b"\1" * 32), IN_FLIGHT): -1,
    }
    assert conserved(book, entries)
    assert not conserved(tampered, entries)


def test_grants__by_item__are_found_by_the_second_of_their_burn() -> None:
    message = a_message(source=Domain.SOLANA, source_bridge=b"\5" * 32, refund_address=b"\6" * 32)
    grant = Grant(id_of(message), message, burned_at=77)
    assert grants_by_item([grant]) == {item_of(message, burned_at=77): grant}
    assert item_of(message, burned_at=77) != item_of(message)
    assert replace(grant, burned_at=0) != grant


def test_limits_of_text__at_their_edge__pass() -> None:
    assert asset_id("T" * 64) != asset_id("T" * 63)
    assert parse_share_decimal("1" + "." + "0" * 78) == 10**8
    assert Amount(1, 36, TSLAX).decimals == 36
    whole, dust = Amount(5, 8, TSLAX).convert(8)
    assert (whole, dust) == (Amount(5, 8, TSLAX), Amount(0, 8, TSLAX))


def test_nonce__of_an_orphans_refund__is_the_hash_of_its_tag_and_the_burn() -> None:
    burn = Nonce(b"n" * 32)
    assert orphan_refund_nonce(burn) == keccak256(b"xstock/orphan" + burn)


# --- what two readers of one chain must agree on ------------------------------------------------

_AT = a_place(Domain.BNB, number=7, index=3)
_WHO = Address32(b"a" * 32)
_NONCE = Nonce(b"n" * 32)
_KEY = bytes((0, 0, 0, 2, 0, 0, 0, 1)) + _NONCE
_UNITS = (5).to_bytes(8, "big")
CONTENTS: dict[str, tuple[Observation, bytes]] = {
    "ReleaseFinal": (
        ReleaseFinal(Domain.BNB, Domain.ETHEREUM, _NONCE, TSLAX, _WHO, Shares(5), _AT),
        _KEY + TSLAX + _WHO + _UNITS,
    ),
    "CancelFinal": (CancelFinal(Domain.BNB, Domain.ETHEREUM, _NONCE, TSLAX, _AT), _KEY + TSLAX),
    "ReleaseSkipped": (
        ReleaseSkipped(Domain.BNB, Domain.ETHEREUM, _NONCE, SkipReason.BUCKET_EMPTY, _AT),
        _KEY + b"\x06",
    ),
    "MintParked": (
        MintParked(Domain.BNB, Domain.ETHEREUM, _NONCE, TSLAX, Shares(5), _AT), _KEY + TSLAX,
    ),
    "OrphanBurn": (
        OrphanBurn(TSLAX, _WHO, Shares(5), "no memo", _NONCE, _AT), TSLAX + _NONCE + _UNITS,
    ),
    "SupplyMoved": (SupplyMoved(TSLAX, -12, _AT), TSLAX + b"-12"),
    "RoleMoved": (RoleMoved(Role.OWNER, _WHO, b"new", _AT), b"\x04" + _WHO + b"new"),
}  # fmt: skip


def test_observations__by_id__keep_their_order_and_come_under_their_own_id() -> None:
    every = [observation for observation, _ in CONTENTS.values()]
    found = by_id(every)
    assert list(found.values()) == every
    assert [observation_id(one) for one in every] == list(found)
    assert by_id(iter(every[:1] * 2)) == {observation_id(every[0]): every[0]}


@pytest.mark.parametrize("name", CONTENTS)
def test_observation__of_each_sort__has_the_id_of_its_place_and_content(name: str) -> None:
    """Two guards that read one chain with different code must come to the same ids."""
    observation, content = CONTENTS[name]
    parts = (
        name.encode(), bytes((0, 0, 0, 2)), _AT.block.hash, _AT.tx.id, (3).to_bytes(8, "big"),
    )  # fmt: skip
    assert observation_id(observation) == sha256(b"|".join(parts) + content).digest()


def test_item__of_a_message__is_its_content_and_its_burns_second_where_nonces_are_hashes() -> None:
    message = a_message(amount=5)
    content = (message.source, message.nonce, TSLAX, message.recipient, message.amount)
    assert item_of(message) == ReleaseItem(Action.RELEASE, *content)
    assert item_of(message, Action.CANCEL, burned_at=9) == ReleaseItem(Action.CANCEL, *content)
    assert item_of(message).burned_at == 0
    hashed = a_message(source=Domain.SOLANA, source_bridge=b"\5" * 32, refund_address=b"\6" * 32)
    assert item_of(hashed).burned_at == 0
    assert item_of(hashed, burned_at=9).burned_at == 9

"""Messages, ids and amounts: golden vectors, and everything that must not get in."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.builders import a_message, a_refund, an_issue, an_orphan, id_of
from xstock_core.amount import InvalidAmount, Shares, parse_share_decimal, parse_shares
from xstock_core.ids import (
    Address32,
    Domain,
    InvalidId,
    asset_id,
    counter_nonce,
    custody_bridge,
    hashed_refund_nonce,
    issue_nonce,
    nonce_counter,
    nonce_tag,
    orphan_refund_nonce,
    parse_address,
    parse_asset_id,
    parse_domain,
    parse_nonce,
    parse_transfer_id,
    refund_nonce,
    solana_nonce,
)
from xstock_core.message import MESSAGE_SIZE, Kind, make_message, parse_message
from xstock_core.refund import refund_of, refund_of_orphan

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())


def _fields(vector: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": vector["kind"],
        "source": vector["source"],
        "destination": vector["destination"],
        "nonce": bytes.fromhex(vector["nonce"]),
        "source_bridge": bytes.fromhex(vector["source_bridge"]),
        "asset": bytes.fromhex(vector["asset_id"]),
        "refund_address": bytes.fromhex(vector["refund_address"]),
        "recipient": bytes.fromhex(vector["recipient"]),
        "amount": int(vector["amount"]),
    }


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_message__golden_vector__packs_hashes_and_parses_alike(vector: dict[str, Any]) -> None:
    message = make_message(**_fields(vector))
    assert message.pack().hex() == vector["message"]
    assert message.transfer_id().hex() == vector["transfer_id"]
    assert id_of(message) == message.transfer_id()
    assert parse_message(bytes.fromhex(vector["message"])) == message
    assert asset_id(vector["symbol"]) == message.asset


def test_refund__golden_vectors__are_derived_from_their_burns() -> None:
    by_id = {v["transfer_id"]: make_message(**_fields(v)) for v in VECTORS}
    refunds = [v for v in VECTORS if "cancelled" in v]
    assert len(refunds) == 2
    for vector in refunds:
        refund = make_message(**_fields(vector))
        assert refund_of(by_id[vector["cancelled"]], refund.source_bridge) == refund


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_nonce__golden_vector__is_derived_alike(vector: dict[str, Any]) -> None:
    nonce = bytes.fromhex(vector["nonce"])
    bridge = Address32(bytes.fromhex(vector["source_bridge"]))
    if "signature" in vector:
        signature = bytes.fromhex(vector["signature"])
        assert solana_nonce(signature, vector["outer"], vector["inner"]) == nonce
    elif vector["kind"] == Kind.ISSUE:
        assert bridge == custody_bridge()
        order = nonce_counter(parse_nonce(nonce))
        assert issue_nonce(parse_asset_id(bytes.fromhex(vector["asset_id"])), order) == nonce
    elif vector["kind"] != Kind.REFUND:
        assert counter_nonce(bridge, vector["counter"]) == nonce


# --- F10: a default is never valid ------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", 0),
        ("source", 0),
        ("destination", 0),
        ("nonce", bytes(32)),
        ("nonce", b""),
        ("source_bridge", bytes(32)),
        ("source_bridge", b""),
        ("asset", bytes(32)),
        ("asset", b""),
        ("refund_address", bytes(32)),
        ("refund_address", b""),
        ("recipient", bytes(32)),
        ("recipient", b""),
        ("amount", 0),
    ],
)
def test_message__a_field_is_zero_or_empty__is_refused(field: str, value: Any) -> None:
    """F10: every id, hash and amount that is zero, empty or default is refused at the door."""
    with pytest.raises((InvalidId, InvalidAmount)) as refusal:
        a_message(**{field: value})
    assert field in str(refusal.value)


def test_message__zero_field_without_the_check__would_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """F10, defence removed: without `_word` a zero nonce becomes a message."""
    monkeypatch.setattr("xstock_core.ids._word", lambda value, field: value)
    assert a_message(nonce=bytes(32)).nonce == bytes(32)


@pytest.mark.parametrize(
    "parse", [parse_asset_id, parse_nonce, parse_transfer_id], ids=lambda p: p.__name__
)
@pytest.mark.parametrize("value", [b"", bytes(32), b"\1" * 31, b"\1" * 33, "1" * 32, None, 0])
def test_id__zero_or_of_another_shape__is_refused(parse: Any, value: Any) -> None:
    """F10."""
    with pytest.raises(InvalidId):
        parse(value)


@pytest.mark.parametrize("value", [0, -1, 7, 101, True, 2**32, None])
def test_domain__unknown_number__is_refused(value: Any) -> None:
    """F10."""
    with pytest.raises(InvalidId):
        parse_domain(value)


def test_message__all_zero_bytes__are_refused() -> None:
    """F10."""
    with pytest.raises(InvalidId):
        parse_message(bytes(MESSAGE_SIZE))


@pytest.mark.parametrize("size", [0, 1, MESSAGE_SIZE - 1, MESSAGE_SIZE + 1])
def test_message__of_another_length__is_refused(size: int) -> None:
    with pytest.raises(InvalidId):
        parse_message(a_message().pack()[:1] * size)


@pytest.mark.parametrize(("offset", "value"), [(0, 2), (1, 9), (178, 1)])
def test_message__other_version_kind_or_flag__is_refused(offset: int, value: int) -> None:
    packed = bytearray(a_message().pack())
    packed[offset] = value
    with pytest.raises(InvalidId):
        parse_message(bytes(packed))


def test_address__dirty_padding_on_a_20_byte_chain__is_refused() -> None:
    for chain in (Domain.ETHEREUM, Domain.BNB, Domain.MANTLE, Domain.TRON):
        with pytest.raises(InvalidId, match="twelve zero bytes"):
            parse_address(b"\1" * 32, chain)
    assert parse_address(b"\1" * 32, Domain.SOLANA) == b"\1" * 32


@pytest.mark.parametrize(
    "changes",
    [
        {"destination": Domain.ETHEREUM},
        {"kind": Kind.ISSUE},
        {"kind": Kind.REDEEM},
        {"source": Domain.CUSTODY},
        {"destination": Domain.CUSTODY},
    ],
)
def test_message__kind_and_route_disagree__is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidId):
        a_message(**changes)


# --- F57: numbers that are no amounts ---------------------------------------------------

ABUSES: list[Any] = [-1, 0, 2**64, 2**256 - 1, 1e18, math.nan, math.inf, True, False, "1", None]


@pytest.mark.parametrize("value", ABUSES, ids=repr)
def test_amount__numeric_abuse__is_refused_with_field_value_and_remedy(value: Any) -> None:
    """F57: -1, 0, 2^64, 2^256-1, a float, NaN and a bool are no amounts."""
    with pytest.raises(InvalidAmount) as refusal:
        parse_shares(value)
    assert "amount" in str(refusal.value)
    assert refusal.value.remedy


def test_amount__the_bounds__pass() -> None:
    assert (parse_shares(1), parse_shares(2**64 - 1)) == (1, 2**64 - 1)


@pytest.mark.parametrize("value", [0, -1, 2**64, True], ids=repr)
def test_nonce__counter_out_of_bounds__is_refused(value: Any) -> None:
    """F57."""
    with pytest.raises(InvalidId):
        counter_nonce(a_message().source_bridge, value)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "1.123456789", "0", "NaN", "0x1", "1_0", " 1", "٣", "1.2.3"]
)
def test_share_decimal__not_a_plain_positive_decimal__is_refused(text: str) -> None:
    """F57: amounts enter as plain decimal strings; dust and exponents never."""
    with pytest.raises(InvalidAmount):
        parse_share_decimal(text)


@pytest.mark.parametrize(
    ("text", "units"), [("1", 10**8), ("0.00000001", 1), ("12.5", 1_250_000_000)]
)
def test_share_decimal__plain_decimal__is_exact(text: str, units: Shares) -> None:
    assert parse_share_decimal(text) == units


# --- refunds ----------------------------------------------------------------------------


def test_refund__of_a_counted_burn__goes_back_along_the_lane_under_one_nonce() -> None:
    burn = a_message(counter=7)
    bridge = a_message(source=Domain.BNB, destination=Domain.ETHEREUM).source_bridge
    refund = refund_of(burn, bridge)
    assert (refund.kind, refund.source, refund.destination) == (
        Kind.REFUND,
        burn.destination,
        burn.source,
    )
    assert (refund.recipient, refund.refund_address) == (burn.refund_address, burn.recipient)
    assert (refund.asset, refund.amount) == (burn.asset, burn.amount)
    assert refund.nonce == refund_nonce(burn.source_bridge, 7)
    assert nonce_tag(refund.nonce) != nonce_tag(burn.nonce)


def test_refund__of_a_hashed_burn__has_the_hashed_nonce() -> None:
    burn = a_message(
        source=Domain.SOLANA,
        destination=Domain.BNB,
        nonce=b"\7" * 32,
        source_bridge=b"\1" * 32,
        refund_address=b"\2" * 32,
    )
    bridge = a_message(source=Domain.BNB, destination=Domain.ETHEREUM).source_bridge
    assert refund_of(burn, bridge).nonce == hashed_refund_nonce(burn.nonce)
    assert hashed_refund_nonce(burn.nonce) != orphan_refund_nonce(burn.nonce)


def test_refund__of_a_redemption__comes_from_custody() -> None:
    burn = a_message(kind=Kind.REDEEM, destination=Domain.CUSTODY)
    refund = refund_of(burn, burn.source_bridge)
    assert (refund.source, refund.destination) == (Domain.CUSTODY, burn.source)
    assert refund.source_bridge == custody_bridge()
    assert (refund.recipient, refund.refund_address) == (burn.refund_address, burn.recipient)
    assert refund.nonce != issue_nonce(burn.asset, 1)


@pytest.mark.parametrize("kind", [Kind.REFUND, Kind.ISSUE])
def test_refund__of_what_never_flows_back__cannot_be_derived(kind: Kind) -> None:
    burn = a_refund() if kind is Kind.REFUND else an_issue()
    with pytest.raises(InvalidId):
        refund_of(burn, burn.source_bridge)


def test_refund_of_an_orphan__goes_to_the_owner_on_the_same_chain() -> None:
    orphan = an_orphan()
    reference = Address32(bytes(31) + b"\x07")
    refund = refund_of_orphan(orphan, reference)
    assert refund.source is refund.destination is Domain.SOLANA
    assert refund.nonce == orphan_refund_nonce(orphan.nonce)
    assert refund.recipient == refund.refund_address == orphan.owner
    assert parse_message(refund.pack()) == refund

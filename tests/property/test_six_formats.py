"""Addresses and amounts across six chains: what one chain writes, another never misreads.

Method: Hypothesis makes accounts and amounts, each family's own module writes and reads them. A
text of another family is refused with a remedy and never becomes some other account (F18); an
amount survives a tour of every width of token to the last unit, or is refused before it moves
(F50).
"""

from itertools import permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from xstock_chains.addresses import parse_wire, show_wire
from xstock_chains.families import Family
from xstock_chains.ton.address import raw, show_wallet
from xstock_chains.ton.chain import TonAsset
from xstock_core.amount import SHARE_DECIMALS, Amount
from xstock_core.ids import (
    EVM_WIDTH_DOMAINS,
    Address32,
    Domain,
    InvalidId,
    asset_id,
    counter_nonce,
    solana_nonce,
)
from xstock_core.message import Kind, TransferMessage, make_message

FAMILY_OF: dict[Domain, Family] = {
    Domain.ETHEREUM: "evm",
    Domain.BNB: "evm",
    Domain.MANTLE: "evm",
    Domain.SOLANA: "solana",
    Domain.TRON: "tron",
    Domain.TON: "ton",
}
ROUTES = list(permutations(FAMILY_OF, 2))
TSLA = asset_id("TSLAx")
BRIDGE = Address32(bytes(12) + b"\x11" * 20)
accounts = st.binary(min_size=32, max_size=32).filter(lambda raw: any(raw[12:]) and any(raw[:12]))
PAIRS = pytest.mark.parametrize(
    ("written", "read"), ROUTES, ids=[f"{a.name}_to_{b.name}".lower() for a, b in ROUTES]
)


def wire_on(domain: Domain, account: bytes) -> Address32:
    """The account as this chain has it: 20 bytes padded, or 32."""
    return Address32(bytes(12) + account[12:] if domain in EVM_WIDTH_DOMAINS else account)


def texts(domain: Domain, wire: Address32) -> list[str]:
    """Every way in which this chain's people write the account."""
    shown = [show_wire(FAMILY_OF[domain], wire)]
    if domain is Domain.TON:
        shown += [raw(wire), show_wallet(wire)]
    return [*shown, *(one.lower() for one in shown if one.startswith("0x"))]


def burn(source: Domain, destination: Domain, recipient: bytes) -> TransferMessage:
    """A burn as an observation of its source would carry it."""
    hashed = source is Domain.SOLANA
    return make_message(
        kind=Kind.TRANSFER,
        source=source,
        destination=destination,
        nonce=solana_nonce(bytes(64), 0, 0xFF) if hashed else counter_nonce(BRIDGE, 1),
        source_bridge=BRIDGE,
        asset=TSLA,
        refund_address=BRIDGE,
        recipient=Address32(recipient),
        amount=1,
    )


@PAIRS
@given(account=accounts)
def test_text__of_one_chain_given_for_another__is_refused_or_the_same_account(
    written: Domain, read: Domain, account: bytes
) -> None:
    """F18: only chains of one family read each other's texts, and as the same account."""
    wire = wire_on(written, account)
    for text in texts(written, wire):
        assert parse_wire(FAMILY_OF[written], text) == wire
        if FAMILY_OF[written] == FAMILY_OF[read]:
            assert parse_wire(FAMILY_OF[read], text) == wire
            continue
        with pytest.raises(InvalidId) as refused:
            parse_wire(FAMILY_OF[read], text)
        assert refused.value.remedy


@given(account=accounts, at=st.integers(0, 47), letter=st.sampled_from("abcXYZ279_-"))
def test_text__with_one_wrong_character__never_names_somebody_else(
    account: bytes, at: int, letter: str
) -> None:
    """F18: where there is a checksum it decides; nothing is repaired."""
    for domain in (Domain.TRON, Domain.TON):
        text = show_wire(FAMILY_OF[domain], wire_on(domain, account))
        wrong = text[: at % len(text)] + letter + text[at % len(text) + 1 :]
        assume(wrong != text)
        with pytest.raises(InvalidId):
            parse_wire(FAMILY_OF[domain], wrong)


@PAIRS
@given(account=accounts)
def test_wire__wider_than_the_destination__is_no_message(
    written: Domain, read: Domain, account: bytes
) -> None:
    """F18: 32 bytes for a chain of 20 are refused as a message; what fits is carried unchanged."""
    if read in EVM_WIDTH_DOMAINS:
        with pytest.raises(InvalidId):
            burn(written, read, account)
    fits = wire_on(read, account)
    assert burn(written, read, fits).recipient == fits
    with pytest.raises(InvalidId):
        burn(written, read, bytes(32))


def move(amount: Amount, decimals: int) -> Amount:
    """Burn exactly this and mint it at another width: through shares, refused if dust is left."""
    shares, dust = amount.convert(SHARE_DECIMALS)
    if dust.units:
        raise InvalidId("amount", amount.units, "leave out the dust")
    minted, left = shares.convert(decimals)
    if left.units:
        raise InvalidId("amount", amount.units, "leave out the dust")
    return minted


TOUR = (6, 8, 9, 18)


@given(shares=st.integers(1, 2**64 - 1))
def test_amount__tour_of_every_width__comes_back_to_the_unit_or_never_leaves(shares: int) -> None:
    """F50: 18, 6, 8, 9 decimals and back; dust is refused before the burn, never created."""
    start = Amount(shares * 10**10, 18, TSLA)
    if shares % 100:
        with pytest.raises(InvalidId):
            move(start, 6)
        tour: tuple[int, ...] = (8, 9, 18)
    else:
        tour = (*TOUR, 6, 9, 8, 18)
    amount = start
    for decimals in tour:
        amount = move(amount, decimals)
        assert amount.convert(18)[0] == start
    assert amount == start


@given(shares=st.integers(1, 2**64 - 1), decimals=st.sampled_from(TOUR))
def test_jetton__of_any_width__has_the_units_that_the_core_says(shares: int, decimals: int) -> None:
    """F50: the adapter and the core agree on every width, and on what is refused."""
    asset = TonAsset("TSLAx", TSLA, decimals, 1)
    whole, dust = Amount(shares, SHARE_DECIMALS, TSLA).convert(decimals)
    if dust.units:
        with pytest.raises(InvalidId):
            asset.units(shares)
    else:
        assert asset.units(shares) == whole.units


@given(units=st.integers(1, 2**128))
def test_amount__floor_instead_of_refusal__loses_what_it_burned(units: int) -> None:
    """F50 with the defence removed: a burn that keeps only the whole part destroys the dust."""
    assume(units % 10**12)
    whole, dust = Amount(units, 18, TSLA).convert(6)
    assert whole.convert(18)[0].units < units
    assert whole.convert(18)[0].units + dust.units == units
    with pytest.raises(InvalidId):
        move(Amount(units, 18, TSLA), 6)

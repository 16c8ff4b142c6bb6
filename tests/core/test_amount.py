"""Amounts at the edges: exact round trips, dust named and never dropped, no mixed scales."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NVDAX, SHARE, TSLAX, a_burn, a_message, a_place, a_release, an_orphan
from xstock_core.amount import (
    MULTIPLIER_ONE,
    SHARE_DECIMALS,
    Amount,
    InvalidAmount,
    displayed_decimal,
    nearest_amounts,
    parse_share_decimal,
    rescaled,
)
from xstock_core.ids import U64_MAX, InvalidId, asset_id, parse_asset_id
from xstock_core.observation import Observation, observation_id

DECIMALS = st.sampled_from([0, 6, 8, 9, 18])


@given(units=st.integers(0, U64_MAX), wide=DECIMALS, narrow=DECIMALS)
def test_conversion__to_more_decimals_and_back__is_exact(
    units: int, wide: int, narrow: int
) -> None:
    """F50."""
    low, high = sorted((wide, narrow))
    start = Amount(units, low, TSLAX)
    up, dust = start.convert(high)
    assert dust.units == 0
    assert up.convert(low) == (start, Amount(0, high, TSLAX))


@given(units=st.integers(0, 2**128), high=DECIMALS, low=DECIMALS)
def test_conversion__any_amount__keeps_whole_and_dust_together(
    units: int, high: int, low: int
) -> None:
    """F50: dust is named, never created and never lost."""
    start = Amount(units, high, TSLAX)
    whole, dust = start.convert(low)
    assert whole.convert(max(high, low))[0].units + dust.units * 10 ** max(0, low - high) == (
        start.convert(max(high, low))[0].units
    )
    assert dust.units < 10 ** max(0, high - low)


@pytest.mark.parametrize(
    ("units", "decimals", "kept"),
    [
        (10**10 + 7, 18, (1, 7)),
        (-1, 18, (-1, 10**10 - 1)),
        (-7, 8, (-7, 0)),
        (-7, 6, (-700, 0)),
        (0, 18, (0, 0)),
    ],
)
def test_rescaled__a_tokens_units__are_shares_rounded_down_and_never_negative_dust(
    units: int, decimals: int, kept: tuple[int, int]
) -> None:
    assert rescaled(units, decimals) == kept


def test_nearest_amounts__with_dust__are_the_two_that_pass() -> None:
    """F50: a refusal of dust offers the amounts that would pass."""
    wei = Amount(10**18 + 1, 18, TSLAX)
    below, above = nearest_amounts(wei)
    assert (below.units, above.units) == (10**18, 10**18 + 10**10)
    assert below.convert(SHARE_DECIMALS)[1].units == above.convert(SHARE_DECIMALS)[1].units == 0
    assert above.asset == below.asset == wei.asset
    assert nearest_amounts(below) == (below, below)


@pytest.mark.parametrize("other", [Amount(1, 18, NVDAX), Amount(1, 8, TSLAX)])
def test_sum__of_other_asset_or_scale__is_refused(other: Amount) -> None:
    with pytest.raises(InvalidAmount):
        Amount(1, 18, TSLAX) + other
    assert Amount(1, 18, TSLAX) + Amount(2, 18, TSLAX) == Amount(3, 18, TSLAX)


@pytest.mark.parametrize("units", [-1, True, 1.5, float("nan"), "1", None], ids=repr)
def test_amount__numeric_abuse__is_refused(units: Any) -> None:
    """F57."""
    with pytest.raises(InvalidAmount):
        Amount(units, 8, TSLAX)
    with pytest.raises(InvalidAmount):
        Amount(1, 37, TSLAX)


@pytest.mark.parametrize(
    ("shares", "multiplier", "text"),
    [
        (SHARE, MULTIPLIER_ONE, "1"),
        (1, MULTIPLIER_ONE, "0.00000001"),
        (150_000_000, 10 * MULTIPLIER_ONE, "15"),
        (SHARE, 1_000_918_075_800_000_000, "1.0009180758"),
        (U64_MAX, MULTIPLIER_ONE, "184467440737.09551615"),
        (0, MULTIPLIER_ONE, "0"),
    ],
)
def test_displayed__is_exact_and_without_exponent(shares: int, multiplier: int, text: str) -> None:
    assert displayed_decimal(shares, multiplier) == text


def test_share_decimal__with_dust__names_the_amounts_that_pass() -> None:
    with pytest.raises(InvalidAmount, match=r"1\.12345678 or 1\.12345679 would pass"):
        parse_share_decimal("1.123456785")


def test_share_decimal__without_a_whole_part_or_a_fraction__is_read_as_written() -> None:
    assert parse_share_decimal(".5") == 50_000_000
    assert parse_share_decimal("5.") == 500_000_000


@pytest.mark.parametrize("symbol", ["", "TSLA x", "TSLÄx", "x" * 65])
def test_asset_id__of_a_bad_symbol__is_refused(symbol: str) -> None:
    """F10."""
    with pytest.raises(InvalidId):
        asset_id(symbol)
    assert parse_asset_id(TSLAX) == TSLAX


def test_observation_id__same_place_and_content__same_id_else_another() -> None:
    """F48: whoever reads it and however often."""
    burn = a_burn()
    assert observation_id(burn) == observation_id(a_burn())
    others: list[Observation] = [
        a_burn(place=a_place(index=1)),
        a_burn(place=a_place(fork=1)),
        a_burn(a_message(counter=2)),
        a_release(),
        an_orphan(),
    ]
    assert len({observation_id(one) for one in (burn, *others)}) == 6

"""Issuer inventory: when it counts, how much of it, and where it meets the cap."""

from dataclasses import replace

import pytest

from tests.builders import (
    NOW,
    SHARE,
    TSLAX,
    a_claim,
    a_context,
    an_asset_view,
    an_attestation,
    an_issue_claim,
)
from xstock_core.ids import Address32, Domain
from xstock_core.inventory import InventoryReading, is_fresh, names_agree
from xstock_core.policy import check_cap
from xstock_core.refusal import GRANTED, Reason, refuse
from xstock_core.review import AssetView
from xstock_core.signing import check_covered

ONE, TWO = Address32(bytes(31) + b"\x01"), Address32(bytes(31) + b"\x02")


def a_reading(**changes: int) -> InventoryReading:
    """Ten shares at 18 decimals and something below 10^-8."""
    reading = InventoryReading(Domain.ETHEREUM, 7, NOW, 10 * 10**18 + 9_999_999_999, 18)
    return replace(reading, **changes)  # type: ignore[arg-type]


def of(*shares: int) -> tuple[InventoryReading, ...]:
    """This much inventory, chain by chain."""
    return tuple(a_reading(units=one, decimals=8) for one in shares)


@pytest.mark.parametrize(
    ("changes", "shares"),
    [
        ({}, 10 * SHARE),
        ({"burned": 3 * SHARE}, 7 * SHARE),
        ({"burned": 10 * SHARE}, 0),
        ({"burned": 11 * SHARE}, 0),
        ({"units": 12_345, "decimals": 8}, 12_345),
        ({"units": 123, "decimals": 6}, 12_300),
        ({"units": 19, "decimals": 9}, 1),
        ({"units": 0}, 0),
    ],
)
def test_reading__units_and_burns__leave_whole_shares_and_never_fewer_than_none(
    changes: dict[str, int], shares: int
) -> None:
    assert a_reading(**changes).shares == shares


def test_names__only_the_very_same_set_agrees() -> None:
    both, one = frozenset({ONE, TWO}), frozenset({ONE})
    assert names_agree(both, both)
    assert not names_agree(both, one)
    assert not names_agree(one, both)
    assert not names_agree(one, frozenset({TWO}))
    assert not names_agree(frozenset(), frozenset())
    assert not names_agree(one, frozenset())


def test_reading__its_age__counts_up_to_the_limit_and_never_without_one() -> None:
    assert is_fresh(NOW - 60, NOW, 60)
    assert is_fresh(NOW + 5, NOW, 60)
    assert not is_fresh(NOW - 61, NOW, 60)
    assert is_fresh(NOW - 1, NOW, 1)
    assert not is_fresh(NOW, NOW, 0)


def test_attestation__its_inventory_on_a_chain__is_that_chains_alone() -> None:
    said = an_attestation(inventory=frozenset({(Domain.BNB, ONE), (Domain.ETHEREUM, TWO)}))
    assert said.inventory_on(Domain.BNB) == {ONE}
    assert said.inventory_on(Domain.TON) == frozenset()


def test_limit__excluded_inventory__lies_on_top_of_the_cap_once() -> None:
    said = an_attestation(held_units=300)
    assert said.limit(0, 0) == said.cap(0) == 300 * SHARE
    assert said.limit(1_000, 5) == 270 * SHARE + 5
    view = an_asset_view(attestation=said, margin_bps=1_000, inventory=of(2, 3))
    assert view.limit == 270 * SHARE + 5
    assert AssetView(None, 60, inventory=of(5)).limit is None


@pytest.mark.parametrize("held", [250, 299])
def test_release__above_the_cap_by_less_than_the_inventory__is_granted_and_signed(
    held: int,
) -> None:
    missing = (300 - held) * SHARE
    for excluded, verdict in (
        (missing, GRANTED),
        (missing - 1, refuse(Reason.CAP_EXCEEDED, exposure=300 * SHARE, cap=300 * SHARE - 1)),
    ):
        said = an_attestation(held_units=held)
        view = an_asset_view(attestation=said, inventory=of(excluded))
        now = replace(a_context(), assets={TSLAX: view})
        assert check_covered(now, a_claim()) == verdict
        found = check_cap(now, a_claim())
        assert (found is GRANTED) == (verdict is GRANTED)


def test_issuance__at_the_limit__counts_the_inventory_exactly_once() -> None:
    said = an_attestation(held_units=290)
    for excluded, granted in ((11 * SHARE, True), (11 * SHARE - 1, False)):
        view = an_asset_view(attestation=said, inventory=of(excluded))
        now = replace(a_context(), assets={TSLAX: view})
        assert (check_cap(now, an_issue_claim()) is GRANTED) is granted

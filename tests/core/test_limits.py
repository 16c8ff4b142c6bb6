"""Cap, buckets, quorums and thresholds: the arithmetic that bounds every loss."""

from itertools import product
from typing import Any

import pytest

from tests.builders import SHARE, an_attestation
from xstock_core.amount import MULTIPLIER_ONE, InvalidAmount
from xstock_core.bucket import Bucket
from xstock_core.cap import cap, issuance_covered, release_covered
from xstock_core.invariants import InvariantViolation, rate_kept
from xstock_core.quorum import (
    Agreed,
    Dissent,
    NoQuorum,
    agree,
    check_quorum,
    check_threshold,
    issuance_threshold,
)

E = MULTIPLIER_ONE


@pytest.mark.parametrize(
    ("held", "decimals", "margin", "multiplier", "shares"),
    [
        (418, 0, 0, E, 418 * SHARE),
        (418, 0, 100, E, 41_382_000_000),
        (1, 0, 0, 3 * E, 33_333_333),
        (1_000_000, 6, 0, E, SHARE),
        (10**18, 18, 1, E, 99_990_000),
        (1, 18, 0, E, 0),
        (100, 0, 0, E // 2, 200 * SHARE),
        (100, 0, 0, 1_000_918_075_800_000_000, 9_990_827_662),
        (0, 0, 0, E, 0),
        (5, 0, 10_000, E, 0),
    ],
)
def test_cap__known_figures__round_down(
    held: int, decimals: int, margin: int, multiplier: int, shares: int
) -> None:
    assert cap(held, decimals, margin, multiplier) == shares


@pytest.mark.parametrize("field", ["held_units", "held_decimals", "margin_bps", "multiplier"])
@pytest.mark.parametrize("value", [-1, 1e18, float("nan"), True, None, "1"], ids=repr)
def test_cap__numeric_abuse__is_refused_by_name(field: str, value: Any) -> None:
    """F57."""
    good: dict[str, Any] = {
        "held_units": 1,
        "held_decimals": 0,
        "margin_bps": 0,
        "multiplier": E,
    }
    with pytest.raises(InvalidAmount, match=field):
        cap(**(good | {field: value}))


@pytest.mark.parametrize(("field", "value"), [("margin_bps", 10_001), ("held_decimals", 37)])
def test_cap__beyond_its_bound__is_refused(field: str, value: int) -> None:
    good = {"held_units": 1, "held_decimals": 0, "margin_bps": 0, "multiplier": E}
    with pytest.raises(InvalidAmount, match=field):
        cap(**(good | {field: value}))


def test_cap__zero_multiplier__is_refused() -> None:
    """F10."""
    with pytest.raises(InvalidAmount, match="multiplier"):
        an_attestation(multiplier=0).cap(0)


def test_cap_rule__at_the_edge__releases_flow_and_issuance_stops() -> None:
    assert release_covered(100, 100)
    assert not release_covered(101, 100)
    assert issuance_covered(99, 1, 100)
    assert not issuance_covered(100, 1, 100)


# --- buckets ----------------------------------------------------------------------------

BUCKET = Bucket(capacity=100, refill_per_second=2, level=100, as_of=1_000)


def test_bucket__taken_and_refilled__is_exact_and_never_above_capacity() -> None:
    taken = BUCKET.take(100, 1_000)
    assert taken is not None
    assert [taken.level_at(t) for t in (1_000, 1_010, 1_050, 9_999)] == [0, 20, 100, 100]
    assert taken.take(21, 1_010) is None
    assert (taken.ready_at(21, 1_010), taken.ready_at(21, 1_011)) == (1_011, 1_011)


def test_bucket__clock_steps_back__refills_nothing_and_loses_nothing() -> None:
    """F77, pure part."""
    taken = BUCKET.take(50, 1_000)
    assert taken is not None
    assert taken.level_at(0) == 50
    later = taken.take(10, 500)
    assert later is not None
    assert later.level_at(1_000) == 40


def test_bucket__back_flow__refills_up_to_capacity() -> None:
    taken = BUCKET.take(100, 1_000)
    assert taken is not None
    assert taken.give(30, 1_000).level_at(1_000) == 30
    assert taken.give(1_000, 1_000).level_at(1_000) == 100


def test_bucket__more_than_it_ever_holds__is_never_ready() -> None:
    assert BUCKET.ready_at(101, 1_000) is None
    assert Bucket(100, 0, 0, 0).ready_at(1, 5) is None


@pytest.mark.parametrize("field", ["capacity", "refill_per_second", "level"])
@pytest.mark.parametrize("value", [-1, True, 1.5], ids=repr)
def test_bucket__numeric_abuse__is_refused(field: str, value: Any) -> None:
    """F57."""
    good: dict[str, Any] = {"capacity": 1, "refill_per_second": 0, "level": 0, "as_of": 0}
    with pytest.raises(InvalidAmount, match=field):
        Bucket(**(good | {field: value}))


def test_bucket__zero_capacity__is_refused() -> None:
    """F10, F83: a limit of zero is a mistake, not a policy."""
    with pytest.raises(InvalidAmount, match="capacity"):
        Bucket(0, 1, 0, 0)


def test_rate__bucket_not_asked__shows() -> None:
    """INV-11: the checker sees what a missing bucket lets through."""
    assert rate_kept([(0, 100), (10, 20)], 100, 2)
    assert rate_kept([(0, 100), (0, -50), (0, 50)], 100, 2)
    assert not rate_kept([(0, 100), (10, 21)], 100, 2)


# --- quorums and thresholds -------------------------------------------------------------

BAD_THRESHOLDS: list[tuple[Any, Any]] = [
    (0, 0), (3, 0), (3, -1), (3, 1), (4, 2), (3, 4), (0, 1), (True, True), (3, 2.0), (3, None),
]  # fmt: skip


@pytest.mark.parametrize(("total", "needed"), BAD_THRESHOLDS)
def test_threshold__zero_missing_half_or_more_than_all__is_refused(total: Any, needed: Any) -> None:
    """F83, INV-12: quorum, threshold = 0, missing, at most half, or more than there are."""
    with pytest.raises(InvariantViolation):
        check_quorum(total, needed)
    with pytest.raises(InvariantViolation):
        check_threshold(total, needed)


def test_threshold__check_removed__lets_one_liar_of_three_agree_with_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F83, defence removed."""
    with pytest.raises(InvariantViolation):
        agree(["lie", None, None], 3, 1)
    monkeypatch.setattr("xstock_core.quorum.threshold_sane", lambda _total, _needed: True)
    assert agree(["lie", None, None], 3, 1) == Agreed("lie", 1)


@pytest.mark.parametrize(("guards", "needed", "bad"), [(3, 2, 1), (4, 3, 2), (5, 3, 1), (7, 4, 1)])
def test_threshold__does_not_survive_the_bad_guards__is_refused(
    guards: int, needed: int, bad: int
) -> None:
    with pytest.raises(InvariantViolation):
        check_threshold(guards, needed, bad)
    assert issuance_threshold(guards, needed, bad) == guards


def test_threshold__three_of_four_survives_one_bad_guard() -> None:
    check_threshold(4, 3, 1)
    assert issuance_threshold(4, 3, 1) == 3


def test_quorum__three_answers_for_every_outage__counts_over_configured() -> None:
    """F02: taking providers away lowers nothing."""
    for answers in product(("a", None), repeat=3):
        votes = sum(answer is not None for answer in answers)
        found = agree(answers, 3, 2)
        assert found == (Agreed("a", votes) if votes >= 2 else NoQuorum(votes, 2))


def test_quorum__fewer_answers_than_providers__is_no_smaller_quorum() -> None:
    """F02: a live count would call one of one a majority."""
    assert agree(["a"], 3, 2) == NoQuorum(1, 2)


def test_quorum__two_agree_and_one_differs__is_dissent_with_names() -> None:
    """F01, F33: disagreement about final data is evidence, not a minority to outvote."""
    assert agree(["a", "b", "a"], 3, 2) == Dissent((("a", (0, 2)), ("b", (1,))))


def test_quorum__one_lies_and_two_are_silent__is_no_quorum() -> None:
    """F01."""
    assert agree([None, "lie", None], 3, 2) == NoQuorum(1, 2)


def test_quorum__more_answers_than_providers__is_refused() -> None:
    with pytest.raises(InvariantViolation):
        agree(["a"] * 4, 3, 2)

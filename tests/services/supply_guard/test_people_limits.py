"""Limits as values: their text, their bounds, and a bucket that changes its size."""

from dataclasses import replace

import pytest

from xstock_core.bucket import Bucket
from xstock_core.ids import Domain
from xstock_core.review import Delay, Scope
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.handlers.denials import Denials
from xstock_supply_guard.handlers.limits import (
    DELAY_SECONDS_MAX,
    DELAYS_MAX,
    UNLIMITED,
    fit,
    limits_text,
    make_limits,
    parse_limits,
)
from xstock_supply_guard.handlers.pausing import pauses_in_force, scope_text
from xstock_supply_guard.handlers.proposals import approvers_needed, missing, state_of
from xstock_supply_guard.model import Limits, Pause, Proposal, ProposalKind
from xstock_supply_guard.wire_people import limits_to_wire

FULL = Bucket(100, 2, 100, 0)
PROPOSAL = Proposal("p", ProposalKind.CANCEL, b"s", b"", "why", "ann", 1_000, 5_000)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(FULL),
        Limits(FULL, (Delay(1, 60), Delay(50, DELAY_SECONDS_MAX)), 70),
        Limits(None, (), 1),
    ],
)
def test_limits__as_a_proposal_keeps_them__read_back_the_same(limits: Limits) -> None:
    assert parse_limits(limits_text(limits)) == limits


def test_limits__text__is_one_line_for_people_too() -> None:
    text = limits_text(Limits(FULL, (Delay(1, 60), Delay(50, 90)), 70))
    assert text == b"bucket=100 refill=2 manual=70 delays=1:60,50:90"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"bucket=1",
        b"bucket=x refill=0 manual=0 delays=",
        b"bucket=0 refill=0 manual=0",
        b"\xff",
        b"bucket=1 refill=0 manual",
    ],
)
def test_limits__garbled_text__is_refused(text: bytes) -> None:
    with pytest.raises(InvalidMessage, match="payload"):
        parse_limits(text)


@pytest.mark.parametrize(
    "delays",
    [
        [Delay(0, 60)],
        [Delay(5, 60), Delay(5, 90)],
        [Delay(5, 60), Delay(4, 90)],
        [Delay(5, 0)],
        [Delay(5, DELAY_SECONDS_MAX + 1)],
        [Delay(n, 60) for n in range(1, DELAYS_MAX + 2)],
    ],
)
def test_limits__delays_that_mean_nothing__are_refused(delays: list[Delay]) -> None:
    with pytest.raises(InvalidMessage, match="delays"):
        make_limits(bucket_shares=UNLIMITED, refill_per_second=0, delays=delays, manual_from=0)
    most = [Delay(n, 60) for n in range(1, DELAYS_MAX + 1)]
    made = make_limits(bucket_shares=UNLIMITED, refill_per_second=0, delays=most, manual_from=0)
    assert len(made.delays) == DELAYS_MAX


def test_limits__bucket_of_zero__is_refused_and_no_limit_must_be_said() -> None:
    """INV-11: a figure that was left out must not take the limit away."""
    with pytest.raises(InvalidMessage, match=f"bucket_shares.*for no limit give {UNLIMITED}"):
        make_limits(bucket_shares=0, refill_per_second=5, delays=[], manual_from=0)
    with pytest.raises(InvalidMessage, match="bucket_shares"):
        parse_limits(b"bucket=0 refill=0 manual=0 delays=")
    made = make_limits(bucket_shares=UNLIMITED, refill_per_second=5, delays=[], manual_from=0)
    assert made == Limits()
    assert limits_text(made) == b"bucket=none refill=0 manual=0 delays="
    assert limits_to_wire(made).bucket_shares == UNLIMITED


def test_limits__refill_above_the_capacity__is_the_capacity() -> None:
    made = make_limits(bucket_shares=7, refill_per_second=9, delays=[], manual_from=0)
    assert made == Limits(Bucket(7, 7, 7, 0))


@pytest.mark.parametrize(
    ("known", "fitted"),
    [
        (None, FULL),
        (Bucket(100, 2, 10, 50), Bucket(100, 2, 10, 50)),
        (Bucket(40, 2, 10, 50), Bucket(100, 2, 30, 60)),
        (Bucket(500, 0, 300, 50), Bucket(100, 2, 100, 60)),
        (Bucket(100, 9, 10, 70), Bucket(100, 2, 10, 70)),
    ],
)
def test_fit__a_bucket_in_another_size__keeps_its_level_as_far_as_it_holds(
    known: Bucket | None, fitted: Bucket
) -> None:
    assert fit(known, FULL, 60) == fitted


def test_pauses__two_of_one_scope__end_with_the_later() -> None:
    first = Pause("a", "why", "agent", 0, 100, destination=Domain.BNB)
    scope = Scope(destination=Domain.BNB)
    for pauses in ([first, replace(first, until=50)], [replace(first, until=50), first]):
        assert pauses_in_force(pauses, []) == (frozenset({scope}), {scope: 100})
    assert pauses_in_force([], []) == (frozenset(), {})


def test_scope__in_words__names_the_narrowest() -> None:
    asset = b"\x01" * 32
    assert scope_text(Scope()) == "all"
    assert scope_text(Scope(source=Domain.TON)) == "chain/6"
    assert scope_text(Scope(source=Domain.TON, destination=Domain.BNB)) == "chain/2"
    assert scope_text(Scope(asset, Domain.TON)) == f"asset/{asset.hex()}"  # type: ignore[arg-type]


def test_proposal__who_is_missing__in_words() -> None:
    assert {kind for kind in ProposalKind if approvers_needed(kind) == 1} == {ProposalKind.CANCEL}
    assert missing(PROPOSAL) == "1 more approver must agree"
    assert missing(replace(PROPOSAL, approvals=("ann",))) == "another person must agree"
    assert missing(replace(PROPOSAL, approvals=("bob",))) == ""
    limits = replace(PROPOSAL, kind=ProposalKind.LIMITS)
    assert missing(limits) == "2 more approver must agree"
    assert missing(replace(limits, approvals=("bob", "bob"))) == "1 more approver must agree"
    assert missing(replace(limits, approvals=("bob", "ann"))) == ""


def test_proposal__state__by_the_clock_until_it_is_executed() -> None:
    assert [state_of(PROPOSAL, now) for now in (4_999, 5_000)] == ["OPEN", "EXPIRED"]
    assert state_of(replace(PROPOSAL, executed_ms=4_000), 9_000) == "EXECUTED"


def test_denials__more_names_than_are_told_apart__count_together() -> None:
    """Many invented names fill no memory, and hide nobody."""
    denials = Denials()
    for number in range(1_000):
        denials.note(f"name-{number}", "/x/Halt", 0)
    for number in range(5):
        denials.note(f"late-{number}", "/x/Halt", 1)
    assert len(denials.tries) == 1_001
    assert set(denials.due()) == {"others"}
    for _ in range(5):
        denials.note("later", "/x/Halt", 600_001)
    assert set(denials.due()) == {"later"}
    assert denials.tries["later"].count == 5

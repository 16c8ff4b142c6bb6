"""Each predicate sees its promise kept and broken; the document leads to code and tests."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders import (
    SHARE,
    TSLAX,
    a_block,
    a_burn,
    a_cancel,
    a_message,
    a_refund,
    a_release,
    a_transfer,
    a_verdict,
    an_issue,
    id_of,
    opened,
)
from xstock_core.amount import Shares
from xstock_core.facts import (
    BurnFinalized,
    CancelFinalized,
    CancelRequested,
    DeadlinePassed,
    Fact,
    RefundOpened,
    ReleaseAuthorized,
    ReleaseSkippedSeen,
    ReleaseSubmitted,
)
from xstock_core.ids import Domain
from xstock_core.invariants import (
    PREDICATES,
    InvariantId,
    InvariantViolation,
    ensure,
    linked,
)
from xstock_core.ledger import IN_FLIGHT, entries_of, post_all, supply
from xstock_core.message import Kind
from xstock_core.observation import SkipReason
from xstock_core.refusal import Reason, refuse
from xstock_core.release import Action, key_of
from xstock_core.transfer import (
    Phase,
    PublishOutcome,
    TransferState,
    open_transfer,
    step,
    view,
)

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "INVARIANTS.md").read_text()
REFERENCE = re.compile(r"`([\w./-]+\.(?:py|sol))::(\w+)`")

MESSAGE, OTHER, ORDER = a_message(), a_message(counter=2), an_issue()
KEY = key_of(MESSAGE)
BALANCES, OPENING = opened()
BURNED, _ = post_all(BALANCES, frozenset(), entries_of(a_burn()))
ENTRIES = [*OPENING, *entries_of(a_burn())]
FIRST, SECOND, FORK = a_block(number=1), a_block(number=2), a_block(number=2, fork=1)
HERE = {"final_time": 0, "seconds_max": 10, "registered": "here"}

SAMPLES: dict[InvariantId, tuple[list[Any], list[Any]]] = {
    InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN: ([[KEY], {KEY}], [[KEY], set()]),
    InvariantId.AT_MOST_ONCE: ([[KEY, key_of(OTHER)]], [[KEY, KEY]]),
    InvariantId.SAME_CONTENT: (
        [a_release(), MESSAGE],
        [a_release(amount=Shares(1)), MESSAGE],
    ),
    InvariantId.CAP: ([Kind.ISSUE, 9, 1, 10], [Kind.ISSUE, 10, 1, 10]),
    InvariantId.CHAIN_BALANCE: ([BALANCES], [{(TSLAX, supply(Domain.BNB)): -1}]),
    InvariantId.CONSERVATION: ([BURNED, ENTRIES], [{**BURNED, (TSLAX, IN_FLIGHT): 0}, ENTRIES]),
    InvariantId.RESERVATION_SAFETY: ([{KEY}, [key_of(OTHER)]], [{KEY}, [KEY]]),
    InvariantId.PERMIT: (
        [{**HERE, "deadline": 10, "asked": "here"}],
        [{**HERE, "deadline": 10, "asked": "there"}],
    ),
    InvariantId.GAP_FREE: ([[3, 1, 2, 2]], [[1, 3]]),
    InvariantId.FINALITY_VIOLATION_HALTS: ([[FIRST, SECOND, SECOND]], [[SECOND, FORK]]),
    InvariantId.RATE: ([[(0, 5), (5, 5)], 5, 1], [[(0, 5), (4, 5)], 5, 1]),
    InvariantId.CONFIG_SANITY: ([3, 2], [4, 2]),
    InvariantId.LIVENESS: ([["RELEASED", "PARKED", "REFUNDED"]], [["HELD"]]),
    InvariantId.LOUD_REFUSALS: ([["a", "b"], ["b", "a"]], [["a"], ["a", "a"]]),
    InvariantId.DETERMINISM: ([["a", "a"]], [["a", "b"]]),
    InvariantId.SUPPLY_TRUTH: ([10**18 + 7, 7, 18, SHARE], [10**18 + 8, 7, 18, SHARE]),
}


def _holds(invariant: InvariantId, arguments: list[Any]) -> bool:
    predicate = PREDICATES[invariant]
    named = arguments[0] if invariant is InvariantId.PERMIT else None
    return predicate(**named) if named is not None else predicate(*arguments)


@pytest.mark.parametrize("invariant", InvariantId)
def test_predicate__kept_and_broken__tells_them_apart(invariant: InvariantId) -> None:
    kept, broken = SAMPLES[invariant]
    assert _holds(invariant, kept)
    assert not _holds(invariant, broken)


def test_linked__a_parent_that_is_another_block__is_no_chain() -> None:
    """INV-09."""
    assert linked([FIRST, SECOND], [b"", FIRST.hash])
    assert not linked([FIRST, SECOND], [b"", FORK.hash])
    assert not linked([FIRST, replace(SECOND, number=3)], [b"", FIRST.hash])


def test_chain_balance__of_nothing__is_kept() -> None:
    """INV-05."""
    predicate = PREDICATES[InvariantId.CHAIN_BALANCE]
    assert predicate({(TSLAX, supply(Domain.BNB)): 0})
    assert predicate({(TSLAX, supply(Domain.BNB)): 1})


@pytest.mark.parametrize(
    ("total", "needed", "sane"),
    [
        (1, 1, True),
        (3, 3, True),
        (5, 3, True),
        (2, 1, False),
        (4, 2, False),
        (0, 0, False),
        (1, 0, False),
        (2, 3, False),
        (3, True, False),
        (3, 2.0, False),
    ],
)
def test_threshold__at_its_edges__is_more_than_half_and_not_more_than_all(
    total: int, needed: int, sane: bool
) -> None:
    """INV-12."""
    assert PREDICATES[InvariantId.CONFIG_SANITY](total, needed) is sane


def test_rate__refilled_by_the_seconds_between__and_not_by_the_clock() -> None:
    """INV-11."""
    predicate = PREDICATES[InvariantId.RATE]
    assert predicate([], 5, 1)
    assert predicate([(1_000, 5), (1_005, 5)], 5, 1)
    assert not predicate([(1_000, 5), (1_001, 5)], 5, 1)


def test_supply__token_of_fewer_decimals_than_shares__is_compared_exactly() -> None:
    """INV-16."""
    predicate = PREDICATES[InvariantId.SUPPLY_TRUTH]
    assert predicate(100, 0, 6, 10_000)
    assert not predicate(101, 0, 6, 10_000)


def test_ensure__broken__raises_with_the_id() -> None:
    with pytest.raises(InvariantViolation, match="INV-04: over") as broken:
        ensure(False, InvariantId.CAP, "over")
    assert broken.value.id is InvariantId.CAP
    ensure(True, InvariantId.CAP, "fine")


# --- the document -----------------------------------------------------------------------


def _section(invariant: InvariantId) -> str:
    _, _, rest = DOCUMENT.partition(f"## {invariant.value} ")
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("invariant", InvariantId)
def test_document__each_invariant__names_predicate_enforcing_line_and_attack(
    invariant: InvariantId,
) -> None:
    assert f"| {invariant.value} |" in DOCUMENT
    lines = {line.split(":")[0].strip("- "): line for line in _section(invariant).splitlines()}
    assert f"::{PREDICATES[invariant].__name__}`" in lines["Predicate"]
    assert REFERENCE.findall(lines["Enforced"])
    attacks = REFERENCE.findall(lines["Attacked"])
    assert attacks
    assert all(path.startswith("tests/") for path, _ in attacks)


@pytest.mark.parametrize(("path", "name"), sorted(set(REFERENCE.findall(DOCUMENT))))
def test_document__each_reference__leads_to_a_definition(path: str, name: str) -> None:
    source = (ROOT / path).read_text()
    assert re.search(rf"\b(?:def|class|function) {name}\b", source), f"{path} defines no {name}"


def _mentions(invariant: InvariantId, *folders: str) -> list[Path]:
    files = (
        path
        for folder in folders
        for suffix in ("py", "sol")
        for path in (ROOT / folder).rglob(f"*.{suffix}")
    )
    return [path for path in files if invariant.value in path.read_text(errors="replace")]


@pytest.mark.parametrize("invariant", InvariantId)
def test_invariant__each_id__is_named_by_code_that_enforces_it_and_by_a_test(
    invariant: InvariantId,
) -> None:
    code = [p for p in _mentions(invariant, "libs", "services") if p.name != "invariants.py"]
    assert code, f"{invariant.value}: no enforcing line names it"
    assert _mentions(invariant, "tests"), f"{invariant.value}: no test names it"


# --- liveness of the transfer machine ---------------------------------------------------

BURN = BurnFinalized(a_burn())
GRANTS = (a_verdict(1), a_verdict(2))
HOLD = refuse(Reason.RATE_LIMITED, until=5)
NO = refuse(Reason.CONTENT_MISMATCH)
SIGNED = ReleaseAuthorized(b"b", 9)
OPEN: dict[Phase, tuple[Fact, ...]] = {
    Phase.FINAL: (BURN,),
    Phase.REVIEWING: (BURN, a_verdict(1)),
    Phase.HELD: (BURN, a_verdict(1, HOLD), a_verdict(2, HOLD)),
    Phase.AUTHORIZED: (BURN, *GRANTS),
    Phase.RELEASING: (BURN, *GRANTS, SIGNED, ReleaseSubmitted(b"b", b"t")),
    Phase.PARKED: (BURN, a_verdict(1, NO), a_verdict(2, NO)),
    Phase.CANCELLING: (BURN, CancelRequested()),
    Phase.CANCELLED: (BURN, CancelFinalized(a_cancel())),
    Phase.REFUNDING: (
        BURN,
        CancelFinalized(a_cancel()),
        RefundOpened(id_of(a_refund())),
    ),
}


def _told(facts: tuple[Fact, ...]) -> tuple[TransferState, list[Any]]:
    state, effects = a_transfer(), []
    for fact in facts:
        taken = step(state, fact)
        state = taken.state
        effects += [e for e in taken.effects if not isinstance(e, PublishOutcome)]
    return state, effects


@pytest.mark.parametrize("phase", OPEN)
def test_transfer__every_open_phase__obliges_somebody_or_says_who_is_waited_for(
    phase: Phase,
) -> None:
    """INV-13: no phase is a dead end."""
    state, effects = _told(OPEN[phase])
    shown = view(state)
    assert shown.phase is phase
    assert not shown.terminal
    assert effects
    assert shown.waiting_for is not None


@pytest.mark.parametrize(
    "closing",
    [DeadlinePassed(b"b"), ReleaseSkippedSeen(b"b", SkipReason.BUCKET_EMPTY)],
)
def test_transfer__closed_attempt__is_followed_by_another(closing: Fact) -> None:
    """INV-13."""
    _, effects = _told((BURN, *GRANTS, SIGNED, closing))
    last = effects[-1]
    assert (last.action, last.attempt) == (Action.RELEASE, 1)


def test_transfer__one_guard_down_of_three__the_other_two_suffice() -> None:
    """INV-13."""
    state = open_transfer(id_of(MESSAGE), needed=2, guards=3)
    for fact in (BURN, a_verdict(1), a_verdict(3)):
        state = step(state, fact).state
    assert view(state).phase is Phase.AUTHORIZED

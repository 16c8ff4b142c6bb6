"""Quorum rules over answers of independent providers, and thresholds of guards (INV-12).

Counted over the *configured* providers, never over those that happen to answer: an outage
must not lower the bar (F02). Silence and disagreement are different things: silence waits,
two different answers about final data are evidence that somebody lies.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from xstock_core.invariants import InvariantId, ensure, threshold_sane

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Agreed(Generic[T]):
    """Enough providers gave this answer, and no provider gave another."""

    answer: T
    votes: int


@dataclass(frozen=True, slots=True)
class NoQuorum:
    """Too few answered: not knowing, which is never a no."""

    answered: int
    needed: int


@dataclass(frozen=True, slots=True)
class Dissent(Generic[T]):
    """Providers contradict each other; `by_answer` names who said what, by position."""

    by_answer: tuple[tuple[T, tuple[int, ...]], ...]


def check_quorum(configured: int, needed: int) -> None:
    """Raise InvariantViolation unless k > n/2 and k is neither zero nor more than n (F83)."""
    ensure(
        threshold_sane(configured, needed),
        InvariantId.CONFIG_SANITY,
        f"quorum of {needed} of {configured} providers: more than half must be needed",
    )


def check_threshold(guards: int, needed: int, bad_guards_survived: int = 0) -> None:
    """Raise InvariantViolation unless M > N/2 and 2M - N > f (F83)."""
    ensure(
        threshold_sane(guards, needed),
        InvariantId.CONFIG_SANITY,
        f"threshold of {needed} of {guards} guards: more than half must be needed",
    )
    ensure(
        bad_guards_survived == 0 or 2 * needed - guards > bad_guards_survived,
        InvariantId.CONFIG_SANITY,
        f"{needed} of {guards} guards do not survive {bad_guards_survived} bad ones",
    )


def issuance_threshold(guards: int, needed: int, bad_guards: int) -> int:
    """How many guards an ISSUE needs: M where 2M - N > f, else all N."""
    check_threshold(guards, needed)
    return needed if 2 * needed - guards > bad_guards else guards


def agree(
    answers: Sequence[T | None], configured: int, needed: int
) -> Agreed[T] | NoQuorum | Dissent[T]:
    """What the answers (None: silence) amount to; raises InvariantViolation on a bad quorum."""
    check_quorum(configured, needed)
    ensure(
        len(answers) <= configured,
        InvariantId.CONFIG_SANITY,
        f"{len(answers)} answers from {configured} providers",
    )
    votes: dict[T, list[int]] = {}
    for position, answer in enumerate(answers):
        if answer is not None:
            votes.setdefault(answer, []).append(position)
    if len(votes) > 1:
        return Dissent(tuple((answer, tuple(who)) for answer, who in votes.items()))
    answered = sum(map(len, votes.values()))
    if answered < needed:
        return NoQuorum(answered, needed)
    return Agreed(next(iter(votes)), answered)

"""Numbers without a value, so that the real rules can be called for every amount at once.

A `Number` stands for any whole number. Arithmetic on it makes a Z3 term; a comparison makes a
`Truth`, and where the code under test branches on one, `every_path` runs the call again for the
other branch. What comes back is each outcome with the condition that leads to it: nothing of
the rule is written down a second time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import z3

T = TypeVar("T")
PATHS_MAX: Final = 256


@dataclass
class _Walk:
    """One way through the branches: `planned` is taken first, then always True."""

    planned: tuple[bool, ...]
    taken: list[bool] = field(default_factory=list)
    conditions: list[Any] = field(default_factory=list)

    def choose(self, condition: Any) -> bool:
        step = len(self.taken)
        answer = self.planned[step] if step < len(self.planned) else True
        self.taken.append(answer)
        self.conditions.append(condition if answer else z3.Not(condition))
        return answer


_walks: list[_Walk] = []


class Truth:
    """What comparing numbers gives; used as a bool it splits the path."""

    def __init__(self, term: Any) -> None:
        self.term = term

    def __bool__(self) -> bool:
        if not _walks:
            raise AssertionError(f"{self.term} was branched on outside every_path")
        return _walks[-1].choose(self.term)


class Number:
    """Any whole number; not an int, so a rule that insists on one says so."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, term: Any) -> None:
        self.term = term

    def __add__(self, other: object) -> "Number":
        return Number(self.term + term_of(other))

    __radd__ = __add__

    def __sub__(self, other: object) -> "Number":
        return Number(self.term - term_of(other))

    def __rsub__(self, other: object) -> "Number":
        return Number(term_of(other) - self.term)

    def __mul__(self, other: object) -> "Number":
        return Number(self.term * term_of(other))

    def __neg__(self) -> "Number":
        return Number(-self.term)

    def __lt__(self, other: object) -> Truth:
        return Truth(self.term < term_of(other))

    def __le__(self, other: object) -> Truth:
        return Truth(self.term <= term_of(other))

    def __gt__(self, other: object) -> Truth:
        return Truth(self.term > term_of(other))

    def __ge__(self, other: object) -> Truth:
        return Truth(self.term >= term_of(other))

    def __eq__(self, other: object) -> Truth:  # type: ignore[override]
        return Truth(self.term == term_of(other))

    def __ne__(self, other: object) -> Truth:  # type: ignore[override]
        return Truth(self.term != term_of(other))


def any_number(name: str) -> Any:
    """A number of which nothing is known; typed loosely, for it takes an amount's place."""
    return Number(z3.Int(name))


def term_of(value: object) -> Any:
    """The Z3 term of a number, an int, or what `balances.get(..., 0)` may give."""
    return value.term if isinstance(value, Number | Truth) else z3.IntVal(value)


@dataclass(frozen=True)
class Path(Generic[T]):
    """An outcome, and the condition under which the code comes to it."""

    condition: Any
    outcome: T


def every_path(run: Callable[[], T]) -> list[Path[T]]:
    """Call `run` once for every combination of its branches on numbers."""
    found: list[Path[T]] = []
    waiting: list[tuple[bool, ...]] = [()]
    while waiting:
        walk = _Walk(waiting.pop())
        _walks.append(walk)
        try:
            outcome = run()
        finally:
            _walks.pop()
        found.append(Path(z3.And(z3.BoolVal(val=True), *walk.conditions), outcome))
        fresh = range(len(walk.planned), len(walk.taken))
        waiting += [(*walk.taken[:step], False) for step in fresh]
        if len(found) > PATHS_MAX:
            raise AssertionError(f"more than {PATHS_MAX} paths; make more of the input concrete")
    return found


def condition_of(run: Callable[[], T], wanted: Callable[[T], bool]) -> Any:
    """When `run` gives a wanted outcome, as one formula."""
    paths = every_path(lambda: wanted(run()))
    return z3.Or(z3.BoolVal(val=False), *[path.condition for path in paths if path.outcome])


def counterexample(*assumed: Any, claim: Any) -> Any | None:
    """A model in which everything assumed holds and the claim does not; None: it is proved.

    Raises AssertionError where the solver does not know.
    """
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*assumed, z3.Not(claim))
    answer = solver.check()
    if answer == z3.unknown:
        raise AssertionError(f"undecided: {solver.reason_unknown()}")
    return solver.model() if answer == z3.sat else None


def in_model(model: Any, value: object) -> int:
    """A number's value in a counterexample."""
    found: int = model.eval(term_of(value), model_completion=True).as_long()
    return found

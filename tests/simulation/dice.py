"""Everything that chance decides in a simulation, from one seed."""

from collections.abc import Sequence
from typing import TypeVar

from xstock_runtime.clock import SeededRandomness

T = TypeVar("T")


class Crashed(BaseException):
    """The process dies here: nothing may catch it but the supervisor."""


class Dice:
    """Repeatable chance."""

    def __init__(self, seed: int) -> None:
        self._source = SeededRandomness(seed)

    def below(self, limit: int) -> int:
        """A whole number from 0 to limit - 1."""
        return int.from_bytes(self._source.random_bytes(8), "big") % limit

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: float) -> bool:
        """True in so many of a hundred cases."""
        return percent > 0 and self.below(10_000) < percent * 100

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[self.below(len(choices))]

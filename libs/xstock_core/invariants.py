"""The sixteen promises of the bridge, as named predicates over plain values.

Handlers check them before they commit, the auditor checks them on chain readings, tests
check them after every step. A predicate says only whether the promise holds; `ensure` raises
`InvariantViolation`, which is never caught to carry on: it latches a halt and pages a person.
docs/INVARIANTS.md names, for each id, the line that enforces it and the test that attacks it.
"""

from enum import StrEnum


class InvariantId(StrEnum):
    """The ids of docs/INVARIANTS.md."""

    NO_RELEASE_WITHOUT_FINAL_BURN = "INV-01"
    AT_MOST_ONCE = "INV-02"
    SAME_CONTENT = "INV-03"
    CAP = "INV-04"
    CHAIN_BALANCE = "INV-05"
    CONSERVATION = "INV-06"
    RESERVATION_SAFETY = "INV-07"
    PERMIT = "INV-08"
    GAP_FREE = "INV-09"
    FINALITY_VIOLATION_HALTS = "INV-10"
    RATE = "INV-11"
    CONFIG_SANITY = "INV-12"
    LIVENESS = "INV-13"
    LOUD_REFUSALS = "INV-14"
    DETERMINISM = "INV-15"
    SUPPLY_TRUTH = "INV-16"


class InvariantViolation(Exception):
    """A promise is broken. `id` is the promise, `detail` the figures."""

    def __init__(self, invariant: InvariantId, detail: str) -> None:
        super().__init__(f"{invariant.value}: {detail}")
        self.id = invariant
        self.detail = detail


def ensure(holds: bool, invariant: InvariantId, detail: str) -> None:  # noqa: FBT001
    """Raise InvariantViolation unless the promise holds (never `assert`: -O would drop it)."""
    if not holds:
        raise InvariantViolation(invariant, detail)

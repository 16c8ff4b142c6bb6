"""Rate buckets: how many shares may be released in a window, with back-flow (INV-11).

A bucket holds up to `capacity` shares and refills steadily; a release takes from it, a burn on
the same chain gives back, so that honest two-way traffic never runs dry. Integer arithmetic
only: refill is shares per second. After Wormhole NTT's rate limiter with back-flow.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from xstock_core.amount import InvalidAmount
from xstock_core.ids import AssetId, Domain


class BucketKey(NamedTuple):
    """Releases of an asset to a chain; from one source only if `source` is set (a lane)."""

    asset: AssetId
    destination: Domain
    source: Domain | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """`level` shares were left at `as_of` (Unix seconds)."""

    capacity: int
    refill_per_second: int
    level: int
    as_of: int

    def __post_init__(self) -> None:
        for field in ("capacity", "refill_per_second", "level"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidAmount(field, value, "give a non-negative integer of shares")
        if self.capacity == 0:
            raise InvalidAmount("capacity", 0, "a bucket of zero releases nothing; set a limit")

    def level_at(self, now: int) -> int:
        """Shares that may be released at `now`; a clock that steps back refills nothing."""
        elapsed = max(0, now - self.as_of)
        return min(self.capacity, self.level + elapsed * self.refill_per_second)

    def take(self, amount: int, now: int) -> "Bucket | None":
        """The bucket after releasing `amount`, or None if it does not hold as much."""
        left = self.level_at(now) - amount
        return None if left < 0 else replace(self, level=left, as_of=max(now, self.as_of))

    def give(self, amount: int, now: int) -> "Bucket":
        """The bucket after a burn of `amount` on its chain flowed back; never above capacity."""
        level = min(self.capacity, self.level_at(now) + amount)
        return replace(self, level=level, as_of=max(now, self.as_of))

    def ready_at(self, amount: int, now: int) -> int | None:
        """The second at which `amount` will be there, None if never."""
        missing = amount - self.level_at(now)
        if missing <= 0:
            return now
        if amount > self.capacity or self.refill_per_second == 0:
            return None
        return max(now, self.as_of) + -(-missing // self.refill_per_second)

"""The cap: how many shares custody's stock can cover, always rounded down.

An attestation states real stock units held; a token's multiplier says how many of those one
share stands for. The cap is in shares, so it can be compared with exposure directly. What the
issuer itself holds unsold is nobody's claim: `inventory` says how much of it lies on top.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from xstock_core.amount import MULTIPLIER_ONE, SHARE_DECIMALS, InvalidAmount, Shares
from xstock_core.ids import Address32, AssetId, Domain

BPS_ONE: Final = 10_000
_DECIMALS_MAX: Final = 36


def _bounded(value: int, low: int, high: int | None, field: str) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        span = f"{low} or more" if high is None else f"{low} to {high}"
        raise InvalidAmount(field, value, f"give an integer, {span}")
    return value


def cap(held_units: int, held_decimals: int, margin_bps: int, multiplier: int) -> Shares:
    """floor(held * (1 - margin) / multiplier) in shares of 8 decimals.

    `held_units` are real stock units at `held_decimals`, `margin_bps` in 1/10,000,
    `multiplier` displayed units per share scaled by 10^18. Raises InvalidAmount.
    """
    held = _bounded(held_units, 0, None, "held_units")
    decimals = _bounded(held_decimals, 0, _DECIMALS_MAX, "held_decimals")
    margin = _bounded(margin_bps, 0, BPS_ONE, "margin_bps")
    scale = _bounded(multiplier, 1, None, "multiplier")
    above = held * (BPS_ONE - margin) * MULTIPLIER_ONE * 10**SHARE_DECIMALS
    return Shares(above // (BPS_ONE * scale * 10**decimals))


_known_cap = lru_cache(maxsize=1_024, typed=True)(cap)
"""A page asks for the same cap once for each of its claims."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """Custody's statement about one asset; `as_of` in Unix seconds, `sequence` only grows.

    `multiplier` (scaled by 10^18) and `multiplier_epoch` are those in force at `as_of`.
    """

    asset: AssetId
    held_units: int
    held_decimals: int
    multiplier: int
    multiplier_epoch: int
    sequence: int
    as_of: int
    inventory: frozenset[tuple[Domain, Address32]] = frozenset()
    """The owners that custody names as the issuer's own inventory."""

    def cap(self, margin_bps: int) -> Shares:
        """The cap this statement allows; raises InvalidAmount."""
        return _known_cap(self.held_units, self.held_decimals, margin_bps, self.multiplier)

    def limit(self, margin_bps: int, excluded: int) -> int:
        """What exposure may come to: the cap, with the `excluded` inventory on top (INV-04).

        The only place where a guard adds the two; all that compares exposure asks here.
        """
        return self.cap(margin_bps) + excluded

    def inventory_on(self, chain: Domain) -> frozenset[Address32]:
        """The owners that it names on one chain."""
        return frozenset(owner for place, owner in self.inventory if place is chain)


def release_covered(exposure: int, limit: int) -> bool:
    """INV-04: a release is signed only while exposure is within the cap."""
    return exposure <= limit


def issuance_covered(exposure: int, amount: int, limit: int) -> bool:
    """INV-04: an issuance is signed only if exposure stays within the cap after it."""
    return exposure + amount <= limit

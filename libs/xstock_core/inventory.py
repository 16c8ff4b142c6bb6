"""Issuer inventory: minted stock that the issuer itself still holds is nobody's claim.

It stands in the exposure like every share, so what is excluded raises the limit instead: the
books stay the chains' own. It counts only where the registry and custody's statement name the
very same owners, as a recent final block showed it, and less every burn booked there since. A
share that was bridged between two readings therefore counts on no more than one chain.
"""

from dataclasses import dataclass

from xstock_core.amount import Shares, rescaled
from xstock_core.ids import Address32, Domain


@dataclass(frozen=True, slots=True)
class InventoryReading:
    """What the configured owners of an asset held on one chain at the end of a final block."""

    chain: Domain
    number: int
    """The block."""
    time: int
    """Its time, Unix seconds."""
    units: int
    """In the token's own share units; no multiplier is in it."""
    decimals: int
    burned: int = 0
    """Shares burned on the chain in later blocks, by anybody."""

    @property
    def shares(self) -> Shares:
        """What may be excluded: whole units of 10^-8 share, less what was burned since."""
        whole, _ = rescaled(self.units, self.decimals)
        # SECURITY: a burn since may have been of these very shares; they may stand elsewhere now.
        return Shares(max(0, whole - self.burned))


def names_agree(configured: frozenset[Address32], attested: frozenset[Address32]) -> bool:
    """Whether registry and custody name the very same owners on a chain, and any at all."""
    return bool(configured) and configured == attested


def is_fresh(read_at: int, now: int, age_max: int) -> bool:
    """Whether a reading of `read_at` (Unix seconds) still counts; with no limit none ever does."""
    return age_max > 0 and now - read_at <= age_max

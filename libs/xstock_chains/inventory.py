"""What the issuer's accounts hold together: one figure of a supply reading, for every family.

Each family reads the accounts in its own way and at the reading's own block; here is only the
rule by which their holdings become one number. It says no to what cannot be, because the figure
raises what may be issued: an asset whose inventory is in doubt is not read at all.
"""

from collections.abc import Sequence

from xstock_runtime.errors import InvalidMessage


def held_together(symbol: str, holdings: Sequence[int], supply_max: int) -> int:
    """The sum of what distinct accounts hold, in the token's own share units.

    `supply_max` is the most that the token can have in all by the same reading. SECURITY: raises
    InvalidMessage INVENTORY_IMPOSSIBLE above it, as a node that shows this is wrong about one of
    the two.
    """
    held = sum(holdings)
    if held > supply_max:
        text = (
            f"{symbol}: issuer inventory of {held} units is more than the supply of at most "
            f"{supply_max}; ask another node"
        )
        raise InvalidMessage("INVENTORY_IMPOSSIBLE", text, {"asset": symbol, "held": held})
    return held

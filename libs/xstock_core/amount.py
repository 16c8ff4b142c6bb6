"""Amounts: shares on the wire, decimals at the edges, and never a float.

A share has 8 decimals (1 share = 100,000,000 units) and is what every message and every
ledger entry carries; it does not move when a multiplier changes. `Amount` is a number of
some token's own units with its decimals, for the edges; converting returns the dust it
could not represent, so that nobody can drop it silently. Displayed units are a third type.
"""

from dataclasses import dataclass
from typing import Final, NewType

from xstock_core.ids import U64_MAX, AssetId

Shares = NewType("Shares", int)
"""Units of 10^-8 share, 1 … 2^64 - 1 in a message (0 is allowed in a sum)."""

SHARE_DECIMALS: Final = 8
MULTIPLIER_ONE: Final = 10**18
_DECIMALS_MAX: Final = 36
_DECIMAL_TEXT_MAX: Final = 80


class InvalidAmount(ValueError):
    """An amount that no transfer can carry; names the field, the value and the remedy."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field}: {value!r} is not valid; {remedy}")
        self.field = field
        self.value = value
        self.remedy = remedy


class AmountHasDust(InvalidAmount):
    """An amount with more decimals than a share has; its remedy names amounts that pass."""


def parse_shares(value: int, field: str = "amount") -> Shares:
    """Check an amount of a message: an int (not bool) from 1 to 2^64 - 1; raises InvalidAmount."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidAmount(field, value, "give an integer number of 10^-8 shares")
    if not 1 <= value <= U64_MAX:
        raise InvalidAmount(field, value, f"give 1 to {U64_MAX} units of 10^-8 share")
    return Shares(value)


def rescaled(units: int, decimals: int, wanted: int = SHARE_DECIMALS) -> tuple[int, int]:
    """(units at `wanted` decimals, the dust left over at `decimals`).

    By default a token's units become units of 10^-8 share. Rounded down, a negative number too,
    so that dust is never negative; to as many decimals or more there is none. Raises nothing:
    whoever takes numbers from outside checks them first.
    """
    if wanted >= decimals:
        return units * int(10 ** (wanted - decimals)), 0
    return divmod(units, int(10 ** (decimals - wanted)))


@dataclass(frozen=True, slots=True)
class Amount:
    """`units` of an asset at `decimals`; only amounts of one asset and one scale add."""

    units: int
    decimals: int
    asset: AssetId

    def __post_init__(self) -> None:
        if isinstance(self.units, bool) or not isinstance(self.units, int) or self.units < 0:
            raise InvalidAmount("units", self.units, "give a non-negative integer")
        if not 0 <= self.decimals <= _DECIMALS_MAX:
            raise InvalidAmount("decimals", self.decimals, f"give 0 to {_DECIMALS_MAX}")

    def __add__(self, other: "Amount") -> "Amount":
        if (self.asset, self.decimals) != (other.asset, other.decimals):
            raise InvalidAmount("amount", other, "convert to the same asset and decimals first")
        return Amount(self.units + other.units, self.decimals, self.asset)

    def convert(self, decimals: int) -> tuple["Amount", "Amount"]:
        """(this amount at `decimals`, the dust left over at the original decimals)."""
        whole, dust = rescaled(self.units, self.decimals, decimals)
        return Amount(whole, decimals, self.asset), Amount(dust, self.decimals, self.asset)


def nearest_amounts(amount: Amount, decimals: int = SHARE_DECIMALS) -> tuple[Amount, Amount]:
    """The amounts just below and just above `amount` that leave no dust at `decimals`."""
    whole, dust = amount.convert(decimals)
    below = whole.convert(amount.decimals)[0]
    if dust.units == 0:
        return below, below
    above = Amount(whole.units + 1, decimals, amount.asset).convert(amount.decimals)[0]
    return below, above


def displayed_decimal(shares: int, multiplier: int) -> str:
    """Shares times a multiplier scaled by 10^18, as an exact decimal string without exponent."""
    units = shares * multiplier
    scale = SHARE_DECIMALS + 18
    whole, fraction = divmod(units, 10**scale)
    text = f"{fraction:0{scale}d}".rstrip("0")
    return f"{whole}.{text}" if text else str(whole)


def parse_share_decimal(text: str, field: str = "amount") -> Shares:
    """Parse a decimal number of shares ("1.5"); raises InvalidAmount on signs and exponents, and
    AmountHasDust on more decimals than a share has."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (text.isascii() and digits.isdigit()) or len(text) > _DECIMAL_TEXT_MAX:
        raise InvalidAmount(field, text[:80], "give a plain decimal number such as 1.25")
    units = int((whole or "0") + fraction[:SHARE_DECIMALS].ljust(SHARE_DECIMALS, "0"))
    if fraction[SHARE_DECIMALS:].strip("0"):
        nearest = " or ".join(_share_text(n) for n in (units, units + 1) if n)
        raise AmountHasDust(
            field, text, f"shares have {SHARE_DECIMALS} decimals; {nearest} would pass"
        )
    return parse_shares(units, field)


def _share_text(units: int) -> str:
    whole, fraction = divmod(units, 10**SHARE_DECIMALS)
    return f"{whole}.{fraction:0{SHARE_DECIMALS}d}"

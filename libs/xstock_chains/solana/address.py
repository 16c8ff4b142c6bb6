"""Solana addresses as people write them: base 58 of 32 bytes, no checksum. Needs no SDK.

Without a checksum a mistyped address is often another valid one, so whoever takes an address
from a person shows it back. The wire form is the key itself.
"""

from typing import Final

from base58 import b58decode, b58encode

from xstock_core.ids import Address32, InvalidId

_TEXT_MAX: Final = 44
"""32 bytes never need more base-58 digits than this."""


def parse_text(text: str, field: str = "address") -> Address32:
    """The 32 bytes of an address text; raises InvalidId on digits, length or zero."""
    remedy = "give the base-58 text of a 32-byte Solana key"
    if not isinstance(text, str) or not text or len(text) > _TEXT_MAX:
        raise InvalidId(field, text, remedy)
    try:
        raw = b58decode(text)
    except ValueError as error:
        raise InvalidId(field, text, remedy) from error
    if len(raw) != 32:
        raise InvalidId(field, text, f"{remedy}; this text has {len(raw)} bytes")
    if not any(raw):
        raise InvalidId(field, text, "the system program cannot hold tokens; give the real key")
    return Address32(raw)


def show(wire: bytes) -> str:
    """The base-58 text of a key."""
    return b58encode(wire).decode("ascii")

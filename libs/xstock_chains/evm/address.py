"""EVM addresses: people's text, 20 raw bytes and the 32-byte wire form.

Text is checked by EIP-55 (https://eips.ethereum.org/EIPS/eip-55): a mixed-case address must
carry the right checksum; one-case text has none and is accepted.
"""

import re
from typing import Final

from xstock_core.ids import Address32, InvalidId
from xstock_runtime.hashing import keccak256

_TEXT: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_PADDING: Final = bytes(12)


def checksummed(address: bytes) -> str:
    """The EIP-55 text of 20 bytes."""
    plain = address.hex()
    digest = keccak256(plain.encode()).hex()
    return "0x" + "".join(
        letter.upper() if nibble in "89abcdef" else letter
        for letter, nibble in zip(plain, digest, strict=False)
    )


def parse_text(text: str, field: str = "address") -> bytes:
    """The 20 bytes of an address text; raises InvalidId on shape, checksum or zero."""
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        raise InvalidId(field, text, "give 0x and 40 hexadecimal digits")
    raw = bytes.fromhex(text[2:])
    if not any(raw):
        raise InvalidId(field, text, "the zero address is never valid; give the real one")
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != checksummed(raw):
        remedy = f"the checksum is wrong; if the digits are right it is {checksummed(raw)}"
        raise InvalidId(field, text, remedy)
    return raw


def to_wire(address: bytes) -> Address32:
    """20 bytes left-padded to the wire form."""
    return Address32(_PADDING + address)


def from_wire(address: bytes, field: str = "address") -> bytes:
    """The 20 bytes inside a wire form; raises InvalidId if the padding is not zero."""
    if len(address) != 32 or address[:12] != _PADDING:
        raise InvalidId(field, address.hex(), "a 20-byte address is left-padded with zero bytes")
    return address[12:]

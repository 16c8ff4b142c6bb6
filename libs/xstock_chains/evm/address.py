"""EVM addresses: people's text, 20 raw bytes and the 32-byte wire form.

Text is checked by EIP-55 (https://eips.ethereum.org/EIPS/eip-55): a mixed-case address must
carry the right checksum; one-case text has none and is accepted.
"""

import re
from typing import Final

from xstock_chains.solidity.account import from_wire as from_wire
from xstock_chains.solidity.account import to_wire as to_wire
from xstock_core.ids import InvalidId
from xstock_runtime.hashing import keccak256

_TEXT: Final = re.compile(r"0x[0-9a-fA-F]{40}")


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

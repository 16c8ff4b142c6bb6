"""Tron addresses: base58check text, the 20 raw bytes inside, and the 32-byte wire form.

The text is base58check over 21 bytes, a prefix of 0x41 and the account's 20 bytes (Tron protocol
documentation, "Accounts"). The prefix exists in texts and in a node's own hex only (`to_hex`,
`from_hex`): it never enters a digest, a message or a wire form.
"""

from typing import Any, Final

import base58

from xstock_chains.solidity.account import from_wire, to_wire
from xstock_core.ids import Address32, InvalidId
from xstock_runtime.errors import InvalidMessage

PREFIX: Final = b"\x41"
_LENGTH: Final = 34


def parse_account(text: str, field: str = "address") -> bytes:
    """The 20 bytes of a T… text; raises InvalidId on shape, checksum, prefix or zero."""
    if not isinstance(text, str) or len(text) != _LENGTH or not text.startswith("T"):
        raise InvalidId(field, text, "give a Tron address: T and 33 more base58 characters")
    try:
        raw = base58.b58decode_check(text)
    except ValueError as error:
        remedy = "the checksum or a character is wrong; copy the address again"
        raise InvalidId(field, text, remedy) from error
    if len(raw) != 21 or raw[:1] != PREFIX:
        raise InvalidId(field, text, "a Tron address holds 0x41 and 20 bytes; copy it again")
    if not any(raw[1:]):
        raise InvalidId(field, text, "the zero address is never valid; give the real one")
    return raw[1:]


def parse_text(text: str, field: str = "address") -> Address32:
    """The wire form of a T… text; raises InvalidId with the remedy."""
    return to_wire(parse_account(text, field))


def account_text(account: bytes) -> str:
    """The T… text of 20 bytes."""
    return base58.b58encode_check(PREFIX + account).decode("ascii")


def show(wire: Address32) -> str:
    """The T… text of a wire form."""
    return account_text(from_wire(wire))


def to_hex(account: bytes) -> str:
    """The 41… hexadecimal form that a node's interface takes."""
    return (PREFIX + account).hex()


def from_hex(value: Any, field: str) -> bytes:
    """The 20 bytes of a node's 41… hexadecimal form; raises InvalidMessage."""
    try:
        raw = bytes.fromhex(value)
    except (ValueError, TypeError) as error:
        raise _malformed(field, value) from error
    if len(raw) != 21 or raw[:1] != PREFIX:
        raise _malformed(field, value)
    return raw[1:]


def _malformed(field: str, value: Any) -> InvalidMessage:
    text = f"{field}: {str(value)[:80]!r} is not 41 and 40 hexadecimal digits; ask another node"
    return InvalidMessage("RPC_MALFORMED", text, {"field": field, "value": str(value)[:80]})

"""TON addresses: people's text and the 32-byte account hash of the wire; basechain only.

Both forms of TEP-2 are read: raw `0:<64 hex>` and the user-friendly 48 base64 characters with
flags and CRC16 (https://github.com/ton-blockchain/TEPs/blob/master/text/0002-address.md). What
is shown is bounceable and not for testing only: coins sent to a mistyped contract come back.
Masterchain accounts are refused, as the wire carries no workchain. Imports no SDK.
"""

import base64
import binascii
import re
from typing import Final

from xstock_core.ids import Address32, InvalidId

_RAW: Final = re.compile(r"(-?[0-9]{1,10}):([0-9a-fA-F]{64})")
_FRIENDLY: Final = re.compile(r"[A-Za-z0-9_\-+/]{48}")
_BOUNCEABLE: Final = 0x11
_NON_BOUNCEABLE: Final = 0x51
_TEST_ONLY: Final = 0x80
_BASECHAIN: Final = 0
_FORMS: Final = "give 48 base64 characters (EQ…, UQ…) or 0: and 64 hexadecimal digits"


def parse_text(text: str, field: str = "address") -> Address32:
    """The account hash of an address text; raises InvalidId on shape, checksum, workchain, zero."""
    if not isinstance(text, str):
        raise InvalidId(field, text, _FORMS)
    raw = _RAW.fullmatch(text)
    if raw is not None:
        return _basechain(int(raw[1]), bytes.fromhex(raw[2]), text, field)
    if not _FRIENDLY.fullmatch(text):
        raise InvalidId(field, text[:100], _FORMS)
    return _friendly(text, field)


def show(address: Address32) -> str:
    """The user-friendly, bounceable text of an account of the basechain."""
    content = bytes((_BOUNCEABLE, _BASECHAIN)) + address
    return base64.urlsafe_b64encode(content + _crc16(content)).decode()


def show_wallet(address: Address32) -> str:
    """The non-bounceable text, for sending coins to a wallet that is not deployed yet."""
    content = bytes((_NON_BOUNCEABLE, _BASECHAIN)) + address
    return base64.urlsafe_b64encode(content + _crc16(content)).decode()


def raw(address: Address32) -> str:
    """`0:` and hexadecimal digits in upper case, as the API answers."""
    return f"0:{address.hex().upper()}"


def _friendly(text: str, field: str) -> Address32:
    if ("+" in text or "/" in text) and ("-" in text or "_" in text):
        raise InvalidId(field, text, "it mixes two base64 alphabets; copy the address again")
    content = base64.b64decode(text.replace("-", "+").replace("_", "/"))
    if _crc16(content[:34]) != content[34:]:
        raise InvalidId(field, text, "the checksum is wrong; copy the address again")
    flags = content[0]
    if flags & _TEST_ONLY:
        raise InvalidId(field, text, "it is for test networks only; give its raw form 0:…")
    if flags not in (_BOUNCEABLE, _NON_BOUNCEABLE):
        raise InvalidId(field, text, f"flags 0x{flags:02x} are unknown; {_FORMS}")
    workchain = int.from_bytes(content[1:2], "big", signed=True)
    return _basechain(workchain, content[2:34], text, field)


def _basechain(workchain: int, account: bytes, text: str, field: str) -> Address32:
    if workchain != _BASECHAIN:
        remedy = f"it is in workchain {workchain}; give an account of the basechain (0)"
        raise InvalidId(field, text, remedy)
    if not any(account):
        raise InvalidId(field, text, "the zero address is never valid; give the real one")
    return Address32(account)


def _crc16(data: bytes) -> bytes:
    """CRC-16/XMODEM, as TEP-2 wants it."""
    return binascii.crc_hqx(data, 0).to_bytes(2, "big")

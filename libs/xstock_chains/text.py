"""Transaction ids as people write them, per chain family; needs no node and no SDK.

Addresses have checksums and rules of their own and live in each family's folder; a transaction
id is plain bytes everywhere, only spelled differently.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from base58 import b58decode, b58encode

from xstock_core.ids import Domain, InvalidId
from xstock_core.observation import TxRef

_HASH_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_HEX32: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class TxSpelling:
    """How a family spells a transaction id; `parse` raises InvalidId."""

    parse: Callable[[str], bytes]
    show: Callable[[bytes], str]


def _parse_hex(text: str) -> bytes:
    if not _HEX32.fullmatch(text):
        raise InvalidId("tx", text, "give the transaction's hash: 64 hexadecimal digits")
    return bytes.fromhex(text.removeprefix("0x"))


def _parse_base58(text: str) -> bytes:
    try:
        raw = b58decode(text)
    except ValueError:
        raw = b""
    if len(raw) != _SIGNATURE_BYTES:
        raise InvalidId("tx", text, "give the transaction's signature: 64 bytes in base 58")
    return raw


def _parse_hex_or_base64(text: str) -> bytes:
    """TON's explorers show hashes in hexadecimal, its APIs in base 64 (either alphabet)."""
    if _HEX32.fullmatch(text):
        return _parse_hex(text)
    try:
        raw = b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        raw = b""
    if len(raw) != _HASH_BYTES:
        raise InvalidId("tx", text, "give the hash: 64 hexadecimal digits, or base 64 of 32 bytes")
    return raw


_SPELLINGS: Final[Mapping[str, TxSpelling]] = {
    "evm": TxSpelling(_parse_hex, lambda raw: "0x" + raw.hex()),
    "solana": TxSpelling(_parse_base58, lambda raw: b58encode(raw).decode("ascii")),
    "tron": TxSpelling(_parse_hex, lambda raw: raw.hex()),
    "ton": TxSpelling(_parse_hex_or_base64, lambda raw: raw.hex()),
}


def parse_tx(family: str, chain: Domain, text: str) -> TxRef:
    """The transaction of `chain` that this text names; raises InvalidId."""
    return TxRef(chain, _spelling(family).parse(text))


def show_tx(family: str, tx: TxRef) -> str:
    """The family's own text of a transaction id."""
    return _spelling(family).show(tx.id)


def _spelling(family: str) -> TxSpelling:
    if family not in _SPELLINGS:
        raise InvalidId("family", family, f"known families are: {', '.join(_SPELLINGS)}")
    return _SPELLINGS[family]

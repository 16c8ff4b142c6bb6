"""Transaction ids as people write them, per chain family; needs no node and no SDK.

Addresses have checksums and rules of their own and live in each family's folder; a transaction
id is plain bytes everywhere, only spelled differently.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from xstock_core.ids import Domain, InvalidId
from xstock_core.observation import TxRef

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


_SPELLINGS: Final[Mapping[str, TxSpelling]] = {
    "evm": TxSpelling(_parse_hex, lambda raw: "0x" + raw.hex()),
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

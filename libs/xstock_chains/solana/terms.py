"""The terms of a Solana permit, version 1: what the guards sign besides the item. 70 + M bytes.

| offset | size | field (big endian) |
|---|---|---|
| 0 | 1 | version = 1 |
| 1 | 32 | recent blockhash: the transaction dies with it |
| 33 | 8 | last valid block height of that blockhash |
| 41 | 8 | deadline of the batch, Unix seconds: repeated here, so that one permit has one deadline |
| 49 | 4 | compute unit limit |
| 53 | 8 | compute unit price, micro-lamports |
| 61 | 8 | lamports that the lane key adds to the marker (its rent, less what lies there already) |
| 69 | 1 | M |
| 70 | M | the signing guards: positions in the registry's list, ascending |
"""

import struct
from dataclasses import dataclass
from typing import Final

from xstock_runtime.errors import InvalidMessage

_HEAD: Final = struct.Struct(">B32sQQIQQB")
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Terms:
    """One permit's terms."""

    blockhash: bytes
    last_valid_height: int
    deadline: int
    compute_limit: int
    compute_price: int
    marker_lamports: int
    guards: tuple[int, ...]

    def pack(self) -> bytes:
        """The bytes that travel in `ReleaseBatch.terms`."""
        head = _HEAD.pack(
            _VERSION,
            self.blockhash,
            self.last_valid_height,
            self.deadline,
            self.compute_limit,
            self.compute_price,
            self.marker_lamports,
            len(self.guards),
        )
        return head + bytes(self.guards)


def parse_terms(raw: bytes) -> Terms:
    """The terms in these bytes; raises InvalidMessage for any that `pack` does not write."""
    if len(raw) < _HEAD.size:
        raise _refused(raw, "ask the relayer for the terms of a Solana permit")
    version, blockhash, height, deadline, limit, price, lamports, count = _HEAD.unpack_from(raw)
    guards = tuple(raw[_HEAD.size :])
    if version != _VERSION:
        raise _refused(raw, f"version {version} is unknown; this code reads {_VERSION}")
    if len(guards) != count or not guards or list(guards) != sorted(set(guards)):
        raise _refused(raw, "the signing guards are listed once each, ascending")
    if not any(blockhash):
        raise _refused(raw, "the blockhash is zero: durable nonces and defaults are refused")
    return Terms(blockhash, height, deadline, limit, price, lamports, guards)


def _refused(raw: bytes, why: str) -> InvalidMessage:
    shown = raw.hex()[:200]
    text = f"terms: {shown!r} is not valid; {why}"
    return InvalidMessage("TERMS_REFUSED", text, {"terms": shown})

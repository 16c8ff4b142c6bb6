"""Names of things that cross a boundary: domains, assets, addresses, nonces, transfers.

All are checked once, where they enter (parse, don't verify): a value of one of these types
is never zero, never of the wrong length. Inside the house ids are bytes; hex, base58 and
checksums exist only in the codecs of a chain family. Layouts: docs/protocol.md.
"""

from enum import IntEnum
from functools import lru_cache
from typing import Final, NewType

from xstock_core.keccak import Keccak, keccak256

AssetId = NewType("AssetId", bytes)
"""32 bytes: keccak256("xstock:" + symbol)."""

Address32 = NewType("Address32", bytes)
"""32 bytes: an address of any chain in its wire form (20-byte addresses left-padded)."""

Nonce = NewType("Nonce", bytes)
"""32 bytes, unique per lane (source, destination) for ever."""

TransferId = NewType("TransferId", bytes)
"""32 bytes: keccak256 of the packed transfer message."""

GuardId = NewType("GuardId", str)
"""The registry's name of a supply-guard: ASCII, at most 64 characters."""

U64_MAX: Final = 2**64 - 1
_WIDTH: Final = 32
_TAG_WIDTH: Final = 24
_ZERO: Final = bytes(_WIDTH)
_PADDING: Final = bytes(12)


class Domain(IntEnum):
    """A chain's number inside the bridge; 0 is never valid: an unset field reads as 0."""

    ETHEREUM = 1
    BNB = 2
    MANTLE = 3
    SOLANA = 4
    TRON = 5
    TON = 6
    CUSTODY = 100


_DOMAINS: Final = {int(domain): domain for domain in Domain}

EVM_WIDTH_DOMAINS: Final = frozenset({Domain.ETHEREUM, Domain.BNB, Domain.MANTLE, Domain.TRON})
"""Domains whose addresses are 20 bytes, left-padded with twelve zero bytes on the wire."""

HASHED_NONCES: Final = frozenset({Domain.SOLANA})
"""Sources whose nonces are hashes: no hole in them shows, and no floor can be put under them."""


class InvalidId(ValueError):
    """A value cannot be one of our ids; names the field, the value and the remedy."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field}: {value!r} is not valid; {remedy}")
        self.field = field
        self.value = value
        self.remedy = remedy


def parse_domain(value: int, field: str = "domain") -> Domain:
    """The domain with this number; raises InvalidId for any other (0 and bool included)."""
    if isinstance(value, bool) or value not in _DOMAINS:
        raise InvalidId(field, value, f"use one of {sorted(_DOMAINS)}")
    return _DOMAINS[value]


def _word(value: bytes, field: str) -> bytes:
    if not isinstance(value, bytes) or len(value) != _WIDTH:
        raise InvalidId(field, value, f"give exactly {_WIDTH} bytes")
    if value == _ZERO:
        raise InvalidId(field, value.hex(), "zero is never valid; give the real value")
    return value


def parse_asset_id(value: bytes, field: str = "asset") -> AssetId:
    """Check 32 non-zero bytes; raises InvalidId."""
    return AssetId(_word(value, field))


def parse_address(value: bytes, domain: Domain, field: str = "address") -> Address32:
    """Check the wire form of an address of `domain`; raises InvalidId on bad padding or zero."""
    word = _word(value, field)
    if domain in EVM_WIDTH_DOMAINS and not word.startswith(_PADDING):
        remedy = "a 20-byte address is left-padded with twelve zero bytes"
        raise InvalidId(field, word.hex(), remedy)
    return Address32(word)


def parse_nonce(value: bytes, field: str = "nonce") -> Nonce:
    """Check 32 non-zero bytes; raises InvalidId."""
    return Nonce(_word(value, field))


def parse_transfer_id(value: bytes, field: str = "transfer_id") -> TransferId:
    """Check 32 non-zero bytes; raises InvalidId."""
    return TransferId(_word(value, field))


def asset_id(symbol: str, keccak: Keccak = keccak256) -> AssetId:
    """The id of the asset with this symbol, for example TSLAx."""
    if not symbol.isascii() or not symbol.isalnum() or len(symbol) > 64:
        raise InvalidId("symbol", symbol, "give 1 to 64 ASCII letters and digits")
    return AssetId(keccak(b"xstock:" + symbol.encode()))


def custody_bridge(keccak: Keccak = keccak256) -> Address32:
    """What stands for the source bridge in an ISSUE message."""
    return Address32(keccak(b"xstock/custody"))


def counter_nonce(bridge: Address32, counter: int, keccak: Keccak = keccak256) -> Nonce:
    """The nonce of a counted burn: the bridge's tag, then its lane counter from 1."""
    return _counted(keccak(bridge), counter)


def issue_nonce(asset: AssetId, order: int, keccak: Keccak = keccak256) -> Nonce:
    """The nonce of issuance order `order` (dense per asset, from 1)."""
    return _counted(keccak(b"xstock/issue" + asset), order)


def refund_nonce(bridge: Address32, counter: int, keccak: Keccak = keccak256) -> Nonce:
    """The nonce of the refund of a counted burn made at `bridge`."""
    return _counted(_refund_digest(bridge, keccak), counter)


@lru_cache(maxsize=4096)
def _refund_digest(bridge: Address32, keccak: Keccak) -> bytes:
    """What the refunds of one bridge's burns have in common: hashed once for all of them."""
    return keccak(b"xstock/refund" + bridge)


def solana_nonce(signature: bytes, outer: int, inner: int, keccak: Keccak = keccak256) -> Nonce:
    """The nonce of a Solana burn: inner is 0xff for a top-level instruction."""
    if len(signature) != 64:
        raise InvalidId("signature", signature, "give the 64 bytes of the transaction signature")
    return Nonce(keccak(b"xstock/solana" + signature + bytes((outer, inner))))


def hashed_refund_nonce(burn: Nonce, keccak: Keccak = keccak256) -> Nonce:
    """The nonce of the refund of a Solana burn."""
    return Nonce(keccak(b"xstock/refund" + burn))


def orphan_refund_nonce(burn: Nonce, keccak: Keccak = keccak256) -> Nonce:
    """The nonce of the refund of an orphan burn."""
    return Nonce(keccak(b"xstock/orphan" + burn))


def nonce_tag(nonce: Nonce) -> bytes:
    """The 24 bytes that a counted nonce shares with its whole sequence."""
    return nonce[:_TAG_WIDTH]


def nonce_counter(nonce: Nonce) -> int:
    """The last eight bytes as a number: the counter, for a counted nonce."""
    return int.from_bytes(nonce[_TAG_WIDTH:], "big")


def _counted(digest: bytes, counter: int) -> Nonce:
    if isinstance(counter, bool) or not 1 <= counter <= U64_MAX:
        raise InvalidId("counter", counter, f"counters run from 1 to {U64_MAX}")
    return Nonce(digest[:_TAG_WIDTH] + counter.to_bytes(8, "big"))

"""The transfer message, version 1: 179 packed bytes that name one movement of supply.

Derived from chain facts only, so that any watcher and any guard computes the same
`transfer_id` at any time. The layout is docs/protocol.md's table; vectors.json pins it.
Parsing rejects every zero, every unknown kind or domain and every set flag: a default
value is never a valid message.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from xstock_core.amount import Shares, parse_shares
from xstock_core.ids import (
    Address32,
    AssetId,
    Domain,
    InvalidId,
    Nonce,
    TransferId,
    parse_address,
    parse_asset_id,
    parse_domain,
    parse_nonce,
)
from xstock_core.keccak import Keccak, keccak256

_LAYOUT: Final = struct.Struct(">BBII32s32s32s32s32sQB")
MESSAGE_SIZE: Final = _LAYOUT.size
_VERSION: Final = 1


class Kind(IntEnum):
    """What a message does to supply."""

    TRANSFER = 1
    ISSUE = 2
    REDEEM = 3
    REFUND = 4


_KINDS: Final = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class TransferMessage:
    """One movement of supply from `source` to `destination`; build it with `parse_message`
    or `make_message`, which check it."""

    kind: Kind
    source: Domain
    destination: Domain
    nonce: Nonce
    source_bridge: Address32
    asset: AssetId
    refund_address: Address32
    recipient: Address32
    amount: Shares

    def pack(self) -> bytes:
        """The 179 bytes that are hashed and signed over."""
        return _LAYOUT.pack(
            _VERSION,
            self.kind,
            self.source,
            self.destination,
            self.nonce,
            self.source_bridge,
            self.asset,
            self.refund_address,
            self.recipient,
            self.amount,
            0,
        )

    def transfer_id(self, keccak: Keccak = keccak256) -> TransferId:
        """keccak256 of the packed message; pass a compiled hash on a hot path."""
        return TransferId(keccak(self.pack()))


def make_message(
    *,
    kind: int,
    source: int,
    destination: int,
    nonce: bytes,
    source_bridge: bytes,
    asset: bytes,
    refund_address: bytes,
    recipient: bytes,
    amount: int,
) -> TransferMessage:
    """Check every field and build the message; raises InvalidId or InvalidAmount."""
    if isinstance(kind, bool) or kind not in _KINDS:
        raise InvalidId("kind", kind, f"use one of {sorted(_KINDS)}")
    message_kind = _KINDS[kind]
    start = parse_domain(source, "source")
    end = parse_domain(destination, "destination")
    _check_route(message_kind, start, end)
    return TransferMessage(
        kind=message_kind,
        source=start,
        destination=end,
        nonce=parse_nonce(nonce),
        source_bridge=parse_address(source_bridge, start, "source_bridge"),
        asset=parse_asset_id(asset),
        refund_address=parse_address(refund_address, start, "refund_address"),
        recipient=parse_address(recipient, end, "recipient"),
        amount=parse_shares(amount),
    )


def _check_route(kind: Kind, source: Domain, destination: Domain) -> None:
    from_custody = source is Domain.CUSTODY
    if (kind is Kind.ISSUE and not from_custody) or (
        from_custody and kind not in (Kind.ISSUE, Kind.REFUND)
    ):
        remedy = "an ISSUE and the REFUND of a redemption come from CUSTODY (100), nothing else"
        raise InvalidId("source", int(source), remedy)
    if (kind is Kind.REDEEM) != (destination is Domain.CUSTODY):
        raise InvalidId("destination", int(destination), "exactly a REDEEM goes to CUSTODY (100)")
    orphan_refund = kind is Kind.REFUND and source is Domain.SOLANA
    if source is destination and not orphan_refund:
        raise InvalidId("destination", int(destination), "choose another chain than the source")


def parse_message(packed: bytes) -> TransferMessage:
    """The message in these 179 bytes; raises InvalidId or InvalidAmount."""
    if len(packed) != MESSAGE_SIZE:
        raise InvalidId("message", packed.hex(), f"give exactly {MESSAGE_SIZE} bytes")
    version, kind, source, destination, nonce, bridge, asset, refund, recipient, amount, flags = (
        _LAYOUT.unpack(packed)
    )
    if version != _VERSION:
        raise InvalidId("version", version, f"this code reads version {_VERSION}")
    if flags != 0:
        raise InvalidId("flags", flags, "version 1 has no flags; set 0")
    return make_message(
        kind=kind,
        source=source,
        destination=destination,
        nonce=nonce,
        source_bridge=bridge,
        asset=asset,
        refund_address=refund,
        recipient=recipient,
        amount=amount,
    )

"""What a guard signs on the fake family, and the bytes a release call consists of.

Layout (big-endian), deterministic and versioned: `version u8 = 1 ‖ destination u32 ‖ bridge 32 ‖
epoch u32 ‖ deadline u64 ‖ count u32 ‖ items`, an item being `action u8 ‖ source u32 ‖ nonce 32 ‖
asset 32 ‖ recipient 32 ‖ amount u64`. The digest is keccak256 over a tag and these bytes, so it
binds every field; signatures (20-byte identity ‖ 65 bytes r, s, v) follow ordered by signer.
"""

import struct
from typing import Final

from coincurve import PublicKey

from xstock_chains.ports import GuardSignature, ReleaseOrder
from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, Nonce, parse_domain
from xstock_core.release import Action, ReleaseBatch, ReleaseItem
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

_HEAD: Final = struct.Struct(">BI32sIQI")
_ITEM: Final = struct.Struct(">BI32s32s32sQ")
_COUNT: Final = struct.Struct(">I")
_IDENTITY: Final = 20
_SIGNATURE: Final = 65
_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_VERSION: Final = 1
_TAG: Final = b"xstock/fake-release/1"


def identity_of(public_key: PublicKey) -> bytes:
    """The 20-byte identity of a secp256k1 key: the tail of the hash of its 64-byte point."""
    return keccak256(public_key.format(compressed=False)[1:])[12:]


def recover_identity(digest: bytes, signature: bytes) -> bytes:
    """Who signed this digest; raises InvalidMessage BAD_SIGNATURE if nobody can have."""
    if len(signature) != _SIGNATURE or signature[-1] not in (27, 28):
        raise InvalidMessage(
            "BAD_SIGNATURE",
            f"signature {signature.hex()!r} is not valid; give 65 bytes r, s, v with v 27 or 28",
        )
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise InvalidMessage(
            "BAD_SIGNATURE",
            f"signature {signature.hex()} has s in the upper half; its malleable twin is refused",
        )
    compact = signature[:-1] + bytes((signature[-1] - 27,))
    try:
        return identity_of(PublicKey.from_signature_and_message(compact, digest, hasher=None))
    except Exception as error:
        raise InvalidMessage(
            "BAD_SIGNATURE", f"signature {signature.hex()} recovers to no key; sign again"
        ) from error


def encode_batch(batch: ReleaseBatch) -> bytes:
    """The canonical bytes of a batch."""
    head = _HEAD.pack(
        _VERSION,
        batch.destination,
        batch.bridge,
        batch.epoch,
        batch.deadline,
        len(batch.items),
    )
    items = (
        _ITEM.pack(i.action, i.source, i.nonce, i.asset, i.recipient, i.amount) for i in batch.items
    )
    return head + b"".join(items)


def decode_order(packed: bytes) -> ReleaseOrder:
    """The order in these bytes; raises InvalidMessage BAD_RELEASE_BYTES."""
    try:
        return _decode_order(packed)
    except (struct.error, ValueError) as error:
        raise InvalidMessage(
            "BAD_RELEASE_BYTES", f"release bytes cannot be read ({error}); pack them with the codec"
        ) from error


def _decode_order(packed: bytes) -> ReleaseOrder:
    version, destination, bridge, epoch, deadline, count = _HEAD.unpack_from(packed)
    if version != _VERSION:
        raise ValueError(f"version {version}")
    end = _HEAD.size + count * _ITEM.size
    rows = _ITEM.iter_unpack(packed[_HEAD.size : end])
    items = tuple(
        ReleaseItem(
            Action(action),
            parse_domain(source),
            Nonce(nonce),
            AssetId(asset),
            Address32(recipient),
            Shares(amount),
        )
        for action, source, nonce, asset, recipient, amount in rows
    )
    (signers,) = _COUNT.unpack_from(packed, end)
    rest = packed[end + _COUNT.size :]
    size = _IDENTITY + _SIGNATURE
    if len(items) != count or len(rest) != signers * size:
        raise ValueError("length does not match the counts")
    signatures = tuple(
        GuardSignature(rest[at : at + _IDENTITY], rest[at + _IDENTITY : at + size])
        for at in range(0, len(rest), size)
    )
    batch = ReleaseBatch(parse_domain(destination), Address32(bridge), epoch, deadline, items)
    return ReleaseOrder(batch, signatures)


class FakeCodec:
    """`ReleaseCodec` of the fake family; the same for every domain it stands for."""

    def digest(self, batch: ReleaseBatch) -> bytes:
        """32 bytes that bind destination, bridge, epoch, deadline and every item."""
        return keccak256(_TAG + encode_batch(batch))

    def pack(self, order: ReleaseOrder) -> bytes:
        """The release call's bytes, signatures ordered by signer."""
        ordered = sorted(order.signatures, key=lambda s: s.signer)
        tail = b"".join(s.signer + s.signature for s in ordered)
        return encode_batch(order.batch) + _COUNT.pack(len(ordered)) + tail

    def recover(self, batch: ReleaseBatch, signature: bytes) -> bytes:
        """The 20-byte identity that signed this batch; raises InvalidMessage."""
        return recover_identity(self.digest(batch), signature)


def address_of(domain: Domain, identity: bytes) -> Address32:
    """The wire address of a key on a chain of this family: left-padded for every domain."""
    del domain
    return Address32(identity.rjust(32, b"\0"))

"""What a guard signs for a Solidity bridge and how a batch is packed, bytes by hand.

The packed items are contracts/evm/README.md's format version 1; the digest is EIP-712 with the
domain {"xStock Bridge", "1", chain id, bridge} (https://eips.ethereum.org/EIPS/eip-712).
Guards rebuild these bytes themselves from what they granted, so packing is deterministic: one
batch has one byte form. Recovery refuses malleable signatures, as the contract does.
"""

import struct
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from coincurve import PublicKey

from xstock_chains.ports import ReleaseOrder
from xstock_chains.solidity.abi import address_word, bytes_argument, selector, word
from xstock_chains.solidity.account import from_wire
from xstock_core.ids import Domain, InvalidId, nonce_counter, nonce_tag
from xstock_core.release import ReleaseBatch, ReleaseItem
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

ITEMS_VERSION: Final = 1
SIGNATURE_SIZE: Final = 65
_SECTION: Final = struct.Struct(">BI24s32sH")
_ITEM: Final = struct.Struct(">Q20sQ")
_ITEMS_MAX: Final = 2**16 - 1
_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_DOMAIN_TYPE: Final = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_BATCH_TYPE: Final = keccak256(b"ReleaseBatch(uint32 epoch,uint64 deadline,bytes32 itemsHash)")
_NAME: Final = keccak256(b"xStock Bridge")
_VERSION: Final = keccak256(b"1")
_RELEASE_BATCH: Final = selector("releaseBatch(bytes,uint64,bytes)")


def pack_items(items: Sequence[ReleaseItem]) -> bytes:
    """The packed items of a batch; raises InvalidId for an empty or oversized one."""
    if not items:
        raise InvalidId("items", 0, "a batch has at least one item")
    parts = [bytes((ITEMS_VERSION,))]
    for (action, source, tag, asset), section in groupby(items, key=_section_of):
        members = list(section)
        if len(members) > _ITEMS_MAX:
            raise InvalidId("items", len(members), f"a section has at most {_ITEMS_MAX}")
        parts.append(_SECTION.pack(action, source, tag, asset, len(members)))
        parts.extend(
            _ITEM.pack(
                nonce_counter(item.nonce), from_wire(item.recipient, "recipient"), item.amount
            )
            for item in members
        )
    return b"".join(parts)


def _section_of(item: ReleaseItem) -> tuple[int, int, bytes, bytes]:
    return (int(item.action), int(item.source), nonce_tag(item.nonce), item.asset)


def domain_separator(chain_id: int, bridge: bytes) -> bytes:
    """The EIP-712 domain separator of a bridge (20 bytes) on a chain."""
    return keccak256(_DOMAIN_TYPE + _NAME + _VERSION + word(chain_id) + address_word(bridge))


class BatchCodec:
    """`ReleaseCodec` for the chains whose EIP-712 chain ids it was given."""

    def __init__(self, chain_ids: Mapping[Domain, int]) -> None:
        self._chain_ids = dict(chain_ids)

    def digest(self, batch: ReleaseBatch) -> bytes:
        """The EIP-712 digest of the batch; raises InvalidId for a chain it does not know."""
        if batch.destination not in self._chain_ids:
            known = sorted(int(domain) for domain in self._chain_ids)
            raise InvalidId("destination", int(batch.destination), f"use one of {known}")
        content = keccak256(
            _BATCH_TYPE
            + word(batch.epoch)
            + word(batch.deadline)
            + keccak256(pack_items(batch.items))
        )
        bridge = from_wire(batch.bridge, "bridge")
        domain = domain_separator(self._chain_ids[batch.destination], bridge)
        return keccak256(b"\x19\x01" + domain + content)

    def pack(self, order: ReleaseOrder) -> bytes:
        """The call data of `releaseBatch`, signatures in ascending order of their signers."""
        items = pack_items(order.batch.items)
        by_signer = {signed.signer: signed.signature for signed in order.signatures}
        signatures = b"".join(by_signer[signer] for signer in sorted(by_signer))
        tail = bytes_argument(items)
        head = word(96) + word(order.batch.deadline) + word(96 + len(tail))
        return _RELEASE_BATCH + head + tail + bytes_argument(signatures)

    def recover(self, batch: ReleaseBatch, signature: bytes) -> bytes:
        """The signer's 20-byte address; raises InvalidMessage for a signature of no one."""
        return recover_signer(self.digest(batch), signature)


def recover_signer(digest: bytes, signature: bytes) -> bytes:
    """The 20-byte address that signed a digest: r, s, v of 65 bytes, low s, v 27 or 28."""
    if len(signature) != SIGNATURE_SIZE or signature[64] not in (27, 28):
        raise _refused(signature, "give 65 bytes: r, s and v = 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise _refused(signature, "s is in the upper half: the malleable twin is refused")
    recoverable = signature[:64] + bytes((signature[64] - 27,))
    try:
        key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except ValueError as error:
        raise _refused(signature, "no key can have made it") from error
    return address_of_key(key)


def address_of_key(key: PublicKey) -> bytes:
    """The 20-byte address of a public key."""
    return keccak256(key.format(compressed=False)[1:])[12:]


def _refused(signature: bytes, remedy: str) -> InvalidMessage:
    text = f"signature: {signature.hex()[:140]} is not valid; {remedy}"
    return InvalidMessage("SIGNATURE_INVALID", text, {"signature": signature.hex()[:140]})

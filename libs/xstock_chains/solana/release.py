"""The release transaction: its one shape, built from a batch, and recognised on chain.

Instructions, in this order and no other: compute unit limit, compute unit price, transfer of
`marker_lamports` from the lane key to the marker, AllocateWithSeed of the marker; for a RELEASE
then the idempotent creation of the recipient's token account and MintToChecked by M guards. A
CANCEL ends after the marker: its AllocateWithSeed names the M guards as signers.

The seed is a hash, so AllocateWithSeed also names, as read-only accounts that the program does
not look at, the nonce itself and, in a CANCEL, which moves no mint, the asset's reference key:
whoever reads the chain learns from the transaction alone which message it executed. (A RELEASE
of six guards with the reference key too would not fit a packet.) A marker made without these
names counts as cancelled all the same (`docs/chains/solana.md`).
"""

import struct
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Final

from xstock_chains.solana.chain import SolanaAsset, SolanaChain
from xstock_chains.solana.programs import (
    ALLOCATE_WITH_SEED,
    MARKER_SPACE,
    SYSTEM,
    allocate_with_seed,
    ata_of,
    compute_limit,
    compute_price,
    create_ata,
    mint_to_checked,
    seeded_address,
    transfer,
)
from xstock_chains.solana.terms import Terms, parse_terms
from xstock_chains.solana.wire import PACKET_MAX, Instruction, Meta, compact, compile_message
from xstock_core.ids import Domain, InvalidId
from xstock_core.release import Action, ReleaseBatch, ReleaseItem
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

_ALLOCATE: Final = struct.Struct("<I32sQ32sQ32s")
SIGNERS_MAX: Final = 6
"""Most signing guards of one transaction: with seven it would not fit a packet."""


def marker_seed(source: int, nonce: bytes) -> bytes:
    """base64url(keccak256(source domain u32 ‖ nonce)[0:24]): 32 ASCII bytes."""
    return urlsafe_b64encode(keccak256(source.to_bytes(4, "big") + nonce)[:24])


def marker_of(lane_key: bytes, source: int, nonce: bytes) -> bytes:
    """The marker's address under a lane key."""
    return seeded_address(lane_key, marker_seed(source, nonce))


@dataclass(frozen=True, slots=True)
class Allocation:
    """An AllocateWithSeed, as its data says."""

    base: bytes
    seed: bytes
    space: int
    owner: bytes


def parse_allocation(data: bytes) -> Allocation | None:
    """The AllocateWithSeed in this data; None for any other instruction or seed length."""
    if len(data) != _ALLOCATE.size:
        return None
    number, base, length, seed, space, owner = _ALLOCATE.unpack(data)
    if number != ALLOCATE_WITH_SEED or length != 32:
        return None
    return Allocation(base, seed, space, owner)


def is_marker(allocation: Allocation, lane_key: bytes) -> bool:
    """SECURITY: an account of the system program, under this lane key, that can not be allocated
    again. Ours have one byte; one of another size made with a leaked lane key blocks the release
    just so and must count. Without any byte it blocks nothing."""
    return (
        allocation.base == lane_key
        and allocation.space >= MARKER_SPACE
        and allocation.owner == SYSTEM
    )


def source_of(allocation: Allocation, nonce: bytes) -> Domain | None:
    """The source domain with which this nonce gives the marker's seed; None if there is none."""
    for domain in Domain:
        if marker_seed(int(domain), nonce) == allocation.seed:
            return domain
    return None


class ReleaseBuilder:
    """Builds the one message of a batch; guards and relayer come to the same bytes."""

    def __init__(self, chain: SolanaChain) -> None:
        self._chain = chain

    def terms_of(self, batch: ReleaseBatch) -> Terms:
        """The batch's terms, which must fit batch and registry; raises InvalidMessage."""
        terms = parse_terms(batch.terms)
        if terms.deadline != batch.deadline:
            raise _refused("deadline", batch.deadline, f"the terms say {terms.deadline}")
        if len(terms.guards) != self._chain.threshold:
            raise _refused("guards", len(terms.guards), f"{self._chain.threshold} guards sign")
        if terms.guards[-1] >= len(self._chain.guards):
            remedy = f"the registry has {len(self._chain.guards)} guards"
            raise _refused("guards", terms.guards[-1], remedy)
        return terms

    def message(self, batch: ReleaseBatch) -> bytes:
        """The message that guards and lane key sign; raises InvalidId or InvalidMessage for a
        batch that has none: of another chain, bridge, epoch or asset, or of more than one item."""
        item = self._item(batch)
        asset = self._chain.asset_of(item.asset)
        terms = self.terms_of(batch)
        message = compile_message(
            self._chain.lane_key, self._instructions(batch, item, asset, terms), terms.blockhash
        )
        signatures = message[0]
        size = len(compact(signatures)) + 64 * signatures + len(message)
        if size > PACKET_MAX:
            raise _refused("batch", size, f"a transaction has at most {PACKET_MAX} bytes")
        return message

    def signers(self, batch: ReleaseBatch) -> tuple[bytes, ...]:
        """The public keys of the guards that sign, in the registry's order."""
        return tuple(self._chain.guards[at] for at in self.terms_of(batch).guards)

    def marker(self, item: ReleaseItem) -> bytes:
        """The marker's address of an item under the lane key in use."""
        return marker_of(self._chain.lane_key, int(item.source), item.nonce)

    def _item(self, batch: ReleaseBatch) -> ReleaseItem:
        chain = self._chain
        if batch.destination is not chain.domain:
            raise InvalidId("destination", int(batch.destination), f"use {int(chain.domain)}")
        if len(batch.items) != 1:
            raise InvalidId("items", len(batch.items), "a Solana transaction releases one item")
        if batch.epoch != chain.epoch:
            raise _refused("epoch", batch.epoch, f"the registry's guard epoch is {chain.epoch}")
        return batch.items[0]

    def _instructions(
        self, batch: ReleaseBatch, item: ReleaseItem, asset: SolanaAsset, terms: Terms
    ) -> list[Instruction]:
        chain, lane = self._chain, self._chain.lane_key
        if batch.bridge != asset.reference.key:
            raise InvalidId("bridge", batch.bridge.hex(), "use the asset's reference key in use")
        signers = tuple(chain.guards[at] for at in terms.guards)
        marker = self.marker(item)
        names: tuple[Meta, ...] = (Meta(item.nonce),)
        if item.action is Action.CANCEL:
            names += (Meta(batch.bridge), *(Meta(key, signer=True) for key in signers))
        seed = marker_seed(int(item.source), item.nonce)
        instructions = [
            compute_limit(terms.compute_limit),
            compute_price(terms.compute_price),
            transfer(lane, marker, terms.marker_lamports),
            allocate_with_seed(marker, lane, seed, MARKER_SPACE, names),
        ]
        if item.action is Action.CANCEL:
            return instructions
        account = ata_of(item.recipient, asset.mint)
        return [
            *instructions,
            create_ata(lane, account, item.recipient, asset.mint),
            mint_to_checked(asset.mint, account, chain.multisig.key, signers, item.amount),
        ]


def _refused(field: str, value: object, remedy: str) -> InvalidMessage:
    text = f"permit.{field}: {value!r} is not valid; {remedy}"
    return InvalidMessage("PERMIT_REFUSED", text, {"field": field, "value": value})

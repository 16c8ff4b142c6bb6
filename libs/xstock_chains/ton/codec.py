"""What a guard signs for a TON minter and how a release is packed: cells and their hash.

The digest is the hash of the cell in contracts/ton/README.md: global id, domain, bridge, epoch,
deadline and every item. A batch names one minter, hence one asset: an item of another is refused
here. Signatures are ed25519 over the digest as it is, each with the index of its guard; the
signer is found by trying the registry's keys, so a stranger's signature has no signer.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey
from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from xstock_chains.ports import GuardSignature, ReleaseOrder
from xstock_chains.ton.cells import boc_of, end
from xstock_chains.ton.messages import RELEASE, signatures_cell
from xstock_core.ids import HASHED_NONCES, Address32, AssetId, Domain, InvalidId
from xstock_core.release import ReleaseBatch, ReleaseItem
from xstock_runtime.errors import InvalidMessage

ITEMS_VERSION: Final = 1
ITEMS_MAX: Final = 100
SIGNATURE_BYTES: Final = 64


def items_cell(items: Sequence[ReleaseItem]) -> Cell:
    """The packed items, a linked list; raises InvalidId, or InvalidMessage for a hashed nonce
    whose burn's time is unknown: the contract could not tell whether it forgot it."""
    if not 1 <= len(items) <= ITEMS_MAX:
        raise InvalidId("items", len(items), f"a batch has 1 to {ITEMS_MAX} items")
    following: Cell | None = None
    for item in reversed(items):
        builder = Builder().store_uint(item.action, 8).store_uint(item.source, 32)
        builder.store_bytes(item.nonce).store_bytes(item.recipient).store_uint(item.amount, 64)
        if item.source in HASHED_NONCES:
            builder.store_uint(_burned_at(item), 64)
        following = builder.store_maybe_ref(following).end_cell()
    head = Builder().store_uint(ITEMS_VERSION, 8).store_uint(len(items), 8)
    return end(head.store_ref(following))


def _burned_at(item: ReleaseItem) -> int:
    if item.burned_at <= 0:
        nonce = item.nonce.hex()
        text = f"burned_at: {item.burned_at} of {nonce} is unknown; wait for the burn's block time"
        raise InvalidMessage("BURN_TIME_UNKNOWN", text, {"nonce": nonce})
    return item.burned_at


def digest_of(batch: ReleaseBatch, global_id: int, items: Cell) -> bytes:
    """The 32 bytes that guards sign for this batch."""
    return bytes(
        Builder()
        .store_uint(RELEASE, 32)
        .store_int(global_id, 32)
        .store_uint(int(batch.destination), 32)
        .store_bytes(batch.bridge)
        .store_uint(batch.epoch, 32)
        .store_uint(batch.deadline, 64)
        .store_ref(items)
        .end_cell()
        .hash
    )


class TonReleaseCodec:
    """`ReleaseCodec` for one TON network."""

    def __init__(
        self,
        domain: Domain,
        global_id: int,
        guards: Sequence[bytes],
        assets: Mapping[Address32, AssetId],
    ) -> None:
        self._domain = domain
        self._global_id = global_id
        self._guards = tuple(guards)
        self._keys = tuple(VerifyKey(key) for key in guards)
        self._assets = dict(assets)

    def digest(self, batch: ReleaseBatch) -> bytes:
        """The batch's digest; raises InvalidId for another destination or another asset."""
        if batch.destination is not self._domain:
            remedy = f"this codec is of domain {int(self._domain)}"
            raise InvalidId("destination", int(batch.destination), remedy)
        asset = self._assets.get(batch.bridge)
        for item in batch.items:
            # SECURITY: the digest binds the asset by the bridge alone.
            if asset is not None and item.asset != asset:
                remedy = "a minter has one asset; put the others into batches of their own"
                raise InvalidId("items.asset", item.asset.hex(), remedy)
        return digest_of(batch, self._global_id, items_cell(batch.items))

    def pack(self, order: ReleaseOrder) -> bytes:
        """The body of the release message, a bag of cells; signatures by guard index."""
        return boc_of(self.body(order))

    def body(self, order: ReleaseOrder, known: Sequence[bool] = ()) -> Cell:
        """The release message's body; raises InvalidMessage for a signer that is no guard.

        `known` says by item whether the recipient's jetton wallet is active: such a mint goes
        without the wallet's code, and a wrong word costs the submitter a second message.
        """
        by_index = self._indexed(order.signatures)
        if not by_index:
            raise InvalidMessage("SIGNATURES_MISSING", "signatures: none; ask the guards first")
        builder = Builder().store_uint(RELEASE, 32).store_uint(0, 64)
        builder.store_uint(order.batch.deadline, 64).store_ref(items_cell(order.batch.items))
        builder.store_ref(signatures_cell(by_index))
        for one in known:
            builder.store_bit(int(one))
        return end(builder)

    def recover(self, batch: ReleaseBatch, signature: bytes) -> bytes:
        """The 32-byte key of the guard that signed; raises InvalidMessage if none of them did."""
        return self.signer_of(self.digest(batch), signature)

    def signer_of(self, digest: bytes, signature: bytes) -> bytes:
        """The guard whose key made this signature over a digest; raises InvalidMessage."""
        if len(signature) == SIGNATURE_BYTES:
            for key in self._keys:
                try:
                    key.verify(digest, signature)
                except CryptoError:
                    continue
                return bytes(key)
        shown = signature.hex()[:140]
        text = f"signature: {shown} is no guard's over this batch; ask the guard again"
        raise InvalidMessage("SIGNATURE_INVALID", text, {"signature": shown})

    def _indexed(self, signatures: Sequence[GuardSignature]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for signed in signatures:
            if signed.signer not in self._guards:
                text = f"signer: {signed.signer.hex()} is no guard here; check the registry"
                raise InvalidMessage("SIGNER_UNKNOWN", text, {"signer": signed.signer.hex()})
            found[self._guards.index(signed.signer)] = signed.signature
        return found

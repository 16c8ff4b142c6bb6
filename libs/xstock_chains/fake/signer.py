"""A key of the fake family: secp256k1 with recoverable signatures, as EVM chains use it.

Signs release digests and prepared transactions. Keys come from bytes that the caller gives; a
seed gives the same key every time, which is what a replayed simulation needs.
"""

from coincurve import PrivateKey

from xstock_chains.fake.codec import address_of, identity_of
from xstock_chains.fake.transactions import tx_id
from xstock_chains.ports import PreparedTx, SignedTx
from xstock_core.ids import Address32
from xstock_core.observation import TxRef
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256


class FakeSigner:
    """`Signer` over a local key; `seed` is any bytes, hashed into the key."""

    def __init__(self, seed: bytes) -> None:
        self._key = PrivateKey(keccak256(b"xstock/fake-key" + seed))
        self._identity = identity_of(self._key.public_key)

    @property
    def identity(self) -> bytes:
        """20 bytes, as an EVM address is made."""
        return self._identity

    @property
    def address(self) -> Address32:
        """The wire address that this key sends from."""
        return Address32(self._identity.rjust(32, b"\0"))

    async def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes r, s, v over these 32 bytes; raises InvalidMessage for any other length."""
        return self._sign(digest)

    async def sign_transaction(self, tx: PreparedTx) -> SignedTx:
        """Sign a prepared transaction; raises InvalidMessage if its slot is another sender's."""
        if tx.slot.sender != address_of(tx.chain, self._identity):
            raise InvalidMessage(
                "WRONG_SIGNER",
                f"slot sender {tx.slot.sender.hex()} is not this key's address "
                f"{self.address.hex()}; use the signer of that sender",
            )
        raw = tx.payload + self._sign(keccak256(tx.payload))
        return SignedTx(tx, raw, TxRef(tx.chain, tx_id(tx.chain, raw)))

    def _sign(self, digest: bytes) -> bytes:
        if len(digest) != 32:
            raise InvalidMessage("BAD_DIGEST", f"digest {digest.hex()} has not 32 bytes")
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:-1] + bytes((signature[-1] + 27,))

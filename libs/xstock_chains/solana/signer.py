"""An ed25519 key on this machine that signs release messages and transactions.

The key file holds the 32-byte seed in hexadecimal, as for every family. The key never leaves
the object: not by `repr`, not by an error. A transaction is signed from the stored payload alone,
so signing the same `PreparedTx` again gives the same bytes.
"""

from pathlib import Path
from typing import Self

from nacl.signing import SigningKey

from xstock_chains.keyfile import secret_of_file, secret_of_hex
from xstock_chains.ports import PreparedTx, SignedTx
from xstock_chains.solana.address import show
from xstock_chains.solana.wire import parse_transaction, transaction_bytes
from xstock_core.ids import Address32
from xstock_core.observation import TxRef
from xstock_runtime.errors import Fatal, InvalidMessage


class LocalSigner:
    """`Signer` for one ed25519 key in memory."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32 or not any(seed):
            raise Fatal("KEY_INVALID", "the key is not a 32-byte ed25519 seed; check it")
        self._key = SigningKey(seed)
        self._identity = bytes(self._key.verify_key)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """A key from 64 hexadecimal digits, with or without 0x; raises Fatal."""
        return cls(secret_of_hex(text))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """A key from a file that holds its hexadecimal digits; raises Fatal."""
        return cls(secret_of_file(path))

    def __repr__(self) -> str:
        return f"LocalSigner({show(self._identity)})"

    @property
    def identity(self) -> bytes:
        """The 32-byte public key."""
        return self._identity

    @property
    def wire(self) -> Address32:
        """The account in its wire form: the key."""
        return Address32(self._identity)

    async def sign_digest(self, digest: bytes) -> bytes:
        """64 bytes over a whole message; deterministic (RFC 8032)."""
        return self.sign(digest)

    def sign(self, message: bytes) -> bytes:
        """64 bytes over a message."""
        return bytes(self._key.sign(message).signature)

    async def sign_transaction(self, tx: PreparedTx) -> SignedTx:
        """The transaction with this key's signature beside those it has; the fee payer's (first)
        one is the transaction's id. Raises Fatal if the message does not ask for this key."""
        parsed = parse_transaction(tx.payload)
        keys = parsed.message.keys[: parsed.message.signers]
        if self._identity not in keys:
            facts = {"sender": show(keys[0]), "signer": show(self._identity)}
            text = f"a transaction of {facts['sender']} cannot be signed by {facts['signer']}"
            raise Fatal("SIGNER_WRONG", text, facts)
        signatures = list(parsed.signatures)
        signatures[keys.index(self._identity)] = self.sign(parsed.message_bytes)
        if not any(signatures[0]):
            text = f"the fee payer {show(keys[0])} has not signed; sign with its key first"
            raise InvalidMessage("TRANSACTION_UNSIGNED", text, {"payer": show(keys[0])})
        raw = transaction_bytes(signatures, parsed.message_bytes)
        return SignedTx(prepared=tx, raw=raw, ref=TxRef(tx.chain, signatures[0]))

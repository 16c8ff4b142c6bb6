"""An ed25519 key on this machine that signs release digests and wallet messages.

For guards without a KMS, for the relayer, and for holders in tests and on local chains. The key
never leaves the object: not by `repr`, not by an error. A message is signed from the stored
payload alone, so signing the same `PreparedTx` again gives the same bytes.
"""

import base64
import json
from pathlib import Path
from typing import Final, Self

from nacl.signing import SigningKey
from pytoniq_core.boc.cell import Cell

from xstock_chains.keyfile import secret_of_file, secret_of_hex
from xstock_chains.ports import PreparedTx, SignedTx
from xstock_chains.ton.cells import boc_of, external_message, normalised_hash
from xstock_chains.ton.wallets import highload_body, highload_wallet, v4_body, v4_wallet
from xstock_core.ids import Address32
from xstock_core.observation import TxRef
from xstock_runtime.errors import Fatal

HIGHLOAD: Final = "highload_v3"
V4: Final = "wallet_v4r2"
_SECRET_BYTES: Final = 32


class LocalSigner:
    """`Signer` for one ed25519 key in memory."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _SECRET_BYTES or not any(secret):
            raise Fatal("KEY_INVALID", "the key is not 32 bytes of an ed25519 seed; check it")
        self._key = SigningKey(secret)
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
        return f"LocalSigner({self._identity.hex()})"

    @property
    def identity(self) -> bytes:
        """The 32-byte public key."""
        return self._identity

    @property
    def relayer_wallet(self) -> Address32:
        """The account of this key's highload wallet."""
        return highload_wallet(self._identity).address

    @property
    def holder_wallet(self) -> Address32:
        """The account of this key's v4r2 wallet."""
        return v4_wallet(self._identity).address

    async def sign_digest(self, digest: bytes) -> bytes:
        """64 bytes over a 32-byte digest (RFC 8032, deterministic)."""
        return bytes(self._key.sign(digest).signature)

    async def sign_transaction(self, tx: PreparedTx) -> SignedTx:
        """The signed message of a prepared one; raises Fatal if it is another key's wallet."""
        fields = json.loads(tx.payload)
        kind = fields["wallet"]
        wallet = (highload_wallet if kind == HIGHLOAD else v4_wallet)(self._identity)
        if wallet.address != tx.slot.sender:
            facts = {"sender": tx.slot.sender.hex(), "wallet": wallet.address.hex()}
            text = f"wallet {facts['sender']} is not this key's ({facts['wallet']})"
            raise Fatal("SIGNER_WRONG", text, facts)
        inner = Cell.one_from_boc(base64.b64decode(fields["inner"]))
        signature = await self.sign_digest(inner.hash)
        body = (highload_body if kind == HIGHLOAD else v4_body)(inner, signature)
        init = wallet.init if fields["deploy"] else None
        message = external_message(wallet.address, body, init)
        ref = TxRef(tx.chain, normalised_hash(wallet.address, body))
        return SignedTx(prepared=tx, raw=boc_of(message), ref=ref)


def payload(wallet: str, inner: Cell, *, deploy: bool) -> bytes:
    """What `sign_transaction` needs of a message: deterministic JSON."""
    fields = {
        "wallet": wallet,
        "inner": base64.b64encode(boc_of(inner)).decode(),
        "deploy": deploy,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()

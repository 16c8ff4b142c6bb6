"""A key on this machine that signs release digests and Tron transactions.

A transaction is signed over sha256(raw_data) of bytes that this adapter built; the same bytes
give the same signature (RFC 6979).
"""

from xstock_chains.ports import PreparedTx, SignedTx
from xstock_chains.solidity.key import Secp256k1Key
from xstock_chains.tron.address import account_text
from xstock_chains.tron.transaction import decode, signed_transaction, transaction_id
from xstock_core.observation import TxRef
from xstock_runtime.errors import Fatal


class TronSigner(Secp256k1Key):
    """`Signer` for one secp256k1 key in memory."""

    async def sign_transaction(self, tx: PreparedTx) -> SignedTx:
        """The signed bytes of a prepared transaction; raises Fatal if it names another sender,
        InvalidMessage if its bytes are not ours."""
        owner = decode(tx.payload).content.owner
        if owner != self.identity:
            facts = {"sender": account_text(owner), "signer": account_text(self.identity)}
            text = f"transaction from {facts['sender']} cannot be signed by {facts['signer']}"
            raise Fatal("SIGNER_WRONG", text, facts)
        tx_id = transaction_id(tx.payload)
        signature = self._key.sign_recoverable(tx_id, hasher=None)
        raw = signed_transaction(tx.payload, signature)
        return SignedTx(prepared=tx, raw=raw, ref=TxRef(tx.chain, tx_id))

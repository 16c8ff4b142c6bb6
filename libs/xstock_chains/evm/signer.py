"""A key on this machine that signs release digests and an EVM chain's transactions.

A transaction is signed from the stored payload alone, so signing the same `PreparedTx` again
gives the same bytes.
"""

import json

from eth_account import Account

from xstock_chains.evm.address import parse_text
from xstock_chains.ports import PreparedTx, SignedTx
from xstock_chains.solidity.key import Secp256k1Key
from xstock_core.observation import TxRef
from xstock_runtime.errors import Fatal


class LocalSigner(Secp256k1Key):
    """`Signer` for one secp256k1 key in memory."""

    async def sign_transaction(self, tx: PreparedTx) -> SignedTx:
        """The signed bytes of a prepared transaction; raises Fatal if it names another sender."""
        fields = json.loads(tx.payload)
        sender = parse_text(fields.pop("from"), "from")
        if sender != self.identity:
            facts = {"sender": sender.hex(), "signer": self.identity.hex()}
            text = f"transaction from 0x{sender.hex()} cannot be signed by 0x{facts['signer']}"
            raise Fatal("SIGNER_WRONG", text, facts)
        signed = Account.sign_transaction(fields, self._key.secret)
        ref = TxRef(tx.chain, bytes(signed.hash))
        return SignedTx(prepared=tx, raw=bytes(signed.raw_transaction), ref=ref)

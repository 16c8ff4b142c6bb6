"""What a guard signs for Solana: the whole transaction, rebuilt from the batch it granted.

No contract checks a permit here: the bytes are the permit. So the digest is the message itself
(ed25519 hashes it), and a batch whose message cannot be built exactly, of another bridge, epoch,
deadline or number of items, has no digest at all: InvalidId or InvalidMessage.
"""

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from xstock_chains.ports import ReleaseOrder
from xstock_chains.solana.chain import SolanaChain
from xstock_chains.solana.release import ReleaseBuilder
from xstock_chains.solana.wire import SIGNATURE_SIZE, parse_message, transaction_bytes
from xstock_core.release import ReleaseBatch
from xstock_runtime.errors import InvalidMessage


class SolanaReleaseCodec:
    """`ReleaseCodec` for one Solana deployment."""

    def __init__(self, chain: SolanaChain) -> None:
        self._chain = chain
        self._builder = ReleaseBuilder(chain)

    def digest(self, batch: ReleaseBatch) -> bytes:
        """The transaction's message; raises InvalidId or InvalidMessage where there is none."""
        return self._builder.message(batch)

    def pack(self, order: ReleaseOrder) -> bytes:
        """The transaction with the guards' signatures; the lane key's place is left zero."""
        message = self._builder.message(order.batch)
        by_signer = {one.signer: one.signature for one in order.signatures}
        keys = parse_message(message)
        signatures = [
            by_signer.get(key, bytes(SIGNATURE_SIZE)) for key in keys.keys[: keys.signers]
        ]
        return transaction_bytes(signatures, message)

    def recover(self, batch: ReleaseBatch, signature: bytes) -> bytes:
        """The guard of the registry that made this signature; raises InvalidMessage."""
        return self.signer_of(self._builder.message(batch), signature)

    def signer_of(self, message: bytes, signature: bytes) -> bytes:
        """The guard that signed these bytes; raises InvalidMessage if none did."""
        for key in self._chain.guards:
            if verified(key, message, signature):
                return key
        shown = signature.hex()[:140]
        text = f"signature: {shown} is not valid; no guard of the registry made it"
        raise InvalidMessage("SIGNATURE_INVALID", text, {"signature": shown})


def verified(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this ed25519 key signed these bytes; malleable and odd forms are refused."""
    if len(signature) != SIGNATURE_SIZE:
        return False
    try:
        VerifyKey(key).verify(message, signature)
    except (BadSignatureError, ValueError):
        return False
    return True

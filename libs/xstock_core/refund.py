"""REFUND messages: the only way a burn flows back, and only after its final cancellation.

The refund of a burn is a message of its own, derived from the burn alone: back along the
lane, same asset and amount, to the burn's refund address. Its nonce is derived from the
burn's, so that one burn has exactly one refund.
"""

from xstock_core.ids import (
    Address32,
    Domain,
    Nonce,
    hashed_refund_nonce,
    nonce_counter,
    refund_nonce,
)
from xstock_core.keccak import Keccak, keccak256
from xstock_core.message import Kind, TransferMessage, make_message


def refund_nonce_of(burn: TransferMessage, keccak: Keccak = keccak256) -> Nonce:
    """The nonce of this burn's refund: dense for counted burns, hashed for Solana's."""
    if burn.source is Domain.SOLANA:
        return hashed_refund_nonce(burn.nonce, keccak)
    return refund_nonce(burn.source_bridge, nonce_counter(burn.nonce), keccak)


def refund_of(
    burn: TransferMessage, cancelled_bridge: Address32, keccak: Keccak = keccak256
) -> TransferMessage:
    """The REFUND of a TRANSFER that was cancelled at `cancelled_bridge`; raises InvalidId."""
    return make_message(
        kind=Kind.REFUND,
        source=burn.destination,
        destination=burn.source,
        nonce=refund_nonce_of(burn, keccak),
        source_bridge=cancelled_bridge,
        asset=burn.asset,
        refund_address=burn.recipient,
        recipient=burn.refund_address,
        amount=burn.amount,
    )

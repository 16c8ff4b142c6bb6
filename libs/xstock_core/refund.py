"""REFUND messages: the only way a burn flows back, and only once it can go nowhere else.

The refund of a burn is a message of its own, derived from the burn alone: back along the
lane, same asset and amount, to the burn's refund address. Its nonce is derived from the
burn's, so that one burn has exactly one refund. A TRANSFER flows back after its final
cancellation, a REDEEM after custody's rejection, an orphan burn when two people approve.
"""

from xstock_core.ids import (
    Address32,
    Domain,
    InvalidId,
    Nonce,
    custody_bridge,
    hashed_refund_nonce,
    nonce_counter,
    orphan_refund_nonce,
    refund_nonce,
)
from xstock_core.keccak import Keccak, keccak256
from xstock_core.message import Kind, TransferMessage, make_message
from xstock_core.observation import OrphanBurn


def refund_nonce_of(burn: TransferMessage, keccak: Keccak = keccak256) -> Nonce:
    """The nonce of this burn's refund: dense for counted burns, hashed for Solana's."""
    if burn.source is Domain.SOLANA:
        return hashed_refund_nonce(burn.nonce, keccak)
    return refund_nonce(burn.source_bridge, nonce_counter(burn.nonce), keccak)


def refund_of(
    burn: TransferMessage, cancelled_bridge: Address32, keccak: Keccak = keccak256
) -> TransferMessage:
    """The REFUND of a TRANSFER that was cancelled at `cancelled_bridge`; of a REDEEM it comes from
    custody, whatever bridge is given. Raises InvalidId for what never flows back."""
    if burn.kind not in (Kind.TRANSFER, Kind.REDEEM):
        raise InvalidId("kind", int(burn.kind), "only a TRANSFER or a REDEEM flows back")
    redeemed = burn.kind is Kind.REDEEM
    return make_message(
        kind=Kind.REFUND,
        source=burn.destination,
        destination=burn.source,
        nonce=refund_nonce_of(burn, keccak),
        source_bridge=custody_bridge(keccak) if redeemed else cancelled_bridge,
        asset=burn.asset,
        refund_address=burn.recipient,
        recipient=burn.refund_address,
        amount=burn.amount,
    )


def refund_of_orphan(
    orphan: OrphanBurn, reference: Address32, keccak: Keccak = keccak256
) -> TransferMessage:
    """The REFUND of an orphan burn to the owner of the burned account; raises InvalidId.

    `reference` is the bridge of the asset on the chain that burned.
    """
    chain = orphan.place.block.chain
    return make_message(
        kind=Kind.REFUND,
        source=chain,
        destination=chain,
        nonce=orphan_refund_nonce(orphan.nonce, keccak),
        source_bridge=reference,
        asset=orphan.asset,
        refund_address=orphan.owner,
        recipient=orphan.owner,
        amount=orphan.amount,
    )

"""The issuer's papers, orders and their withdrawals: believed only by a registered issuer's key.

A paper is bound to its kind and to this deployment by its digest.
"""

from xstock_core.ids import AssetId, InvalidId, custody_bridge, issue_nonce
from xstock_core.message import Kind, TransferMessage, make_message
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.model import OrderPaper, SignedStatement, VoidPaper


def issuer_address(public_key: bytes) -> bytes:
    """The refund address of the issuances that this key orders."""
    return keccak256(public_key)


def order_message(desk: Desk, order: OrderPaper) -> TransferMessage | None:
    """The ISSUE message that this order means; None for an unregistered key or a bad field."""
    key = desk.config.issuers.get(order.statement.key_id)
    if key is None:
        return None
    try:
        return make_message(
            kind=Kind.ISSUE,
            source=100,
            destination=order.destination,
            nonce=issue_nonce(order.asset, order.order_number, keccak256),
            source_bridge=custody_bridge(keccak256),
            asset=order.asset,
            refund_address=issuer_address(key),
            recipient=order.recipient,
            amount=order.amount,
        )
    except (InvalidId, ValueError):
        return None


def signed_by_issuer(desk: Desk, statement: SignedStatement) -> bool:
    """SECURITY: whether a registered issuer signed; without it anybody could issue."""
    key = desk.config.issuers.get(statement.key_id)
    return key is not None and desk.check_signature(key, statement.digest, statement.signature)


def void_covers(desk: Desk, void: VoidPaper, asset: AssetId, number: int) -> bool:
    """Whether this paper is the issuer's withdrawal of that order."""
    same = (void.asset, void.order_number) == (asset, number)
    return same and signed_by_issuer(desk, void.statement)

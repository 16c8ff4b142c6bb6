"""Issuance: the issuer's signed order becomes an ISSUE message and takes the road of a burn.

The relayer judges nothing here but form; signature, order number, expiry and cap are the guards'
business, and each of them checks the paper itself. The same order again is the same transfer.
"""

from dataclasses import dataclass

from xstock_core.facts import OrderAccepted
from xstock_core.ids import Address32, AssetId, Domain, custody_bridge, issue_nonce
from xstock_core.message import Kind, TransferMessage, make_message
from xstock_core.transfer import View
from xstock_relayer.handlers.desk import Desk, News
from xstock_relayer.model import SignedOrder, Terms
from xstock_relayer.ports import Books
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256


@dataclass(frozen=True, slots=True)
class IssueOrderPaper:
    """The content of an order, parsed from its signed bytes; `expires` in Unix seconds."""

    asset: AssetId
    order_number: int
    destination: Domain
    recipient: Address32
    amount: int
    expires: int
    issuer_key: bytes
    """The public key registered under the order's key id."""


@dataclass(frozen=True, slots=True)
class Issued:
    """The transfer that carries the order out."""

    message: TransferMessage
    transfer_id: bytes
    shown: View


def issue_message(paper: IssueOrderPaper) -> TransferMessage:
    """The ISSUE message of an order; raises InvalidId or InvalidAmount."""
    return make_message(
        kind=Kind.ISSUE,
        source=Domain.CUSTODY,
        destination=paper.destination,
        nonce=issue_nonce(paper.asset, paper.order_number, keccak256),
        source_bridge=custody_bridge(keccak256),
        asset=paper.asset,
        refund_address=keccak256(paper.issuer_key),
        recipient=paper.recipient,
        amount=paper.amount,
    )


class Issuer:
    """Opens transfers for orders."""

    def __init__(self, books: Books, desk: Desk, terms: Terms) -> None:
        self._books = books
        self._desk = desk
        self._terms = terms

    async def submit(self, order: SignedOrder, paper: IssueOrderPaper) -> Issued:
        """Open the order's transfer, or show the one that is open already.

        Raises InvalidMessage for an order that no guard could accept.
        """
        if (paper.destination, paper.asset) not in self._terms.bridges:
            raise InvalidMessage(
                "ROUTE_CLOSED",
                f"asset {paper.asset.hex()} on {paper.destination.name} is not registered here; "
                "check the registry",
                {"asset": paper.asset.hex(), "destination": int(paper.destination)},
            )
        try:
            message = issue_message(paper)
        except ValueError as error:
            raise InvalidMessage("ORDER_INVALID", str(error)) from error
        transfer_id = message.transfer_id(keccak256)
        known = await self._books.transfers([transfer_id])
        if transfer_id not in known:
            fact = OrderAccepted(message, paper.expires)
            await self._desk.record(News(facts=[(transfer_id, fact)], orders={transfer_id: order}))
            known = await self._books.transfers([transfer_id])
        return Issued(message, transfer_id, known[transfer_id].view)

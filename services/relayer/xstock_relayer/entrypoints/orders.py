"""Signed papers off the wire: envelope, registered key, content; all checked here, once.

An issuer's order names a registered key. A holder's request is signed by the key of an address
of the burn, which only the guards look into; here it is read and passed on.
"""

from functools import partial

from xstock_core.ids import (
    InvalidId,
    parse_address,
    parse_asset_id,
    parse_domain,
    parse_transfer_id,
)
from xstock_relayer.handlers.issuing import IssueOrderPaper
from xstock_relayer.handlers.returning import CancelPaper
from xstock_relayer.model import SignedOrder
from xstock_runtime.errors import invalid_field
from xstock_wire.papers import CANCEL_REQUEST, ISSUE_ORDER
from xstock_wire.v1 import common_pb2, papers_pb2

_invalid = partial(invalid_field, "FIELD_INVALID")

_PAPER_BYTES_MAX = 4096


def order_paper_from_wire(
    wire: common_pb2.SignedPaper, issuers: dict[str, bytes]
) -> tuple[SignedOrder, IssueOrderPaper]:
    """The order and its content; raises InvalidMessage naming field, value and remedy."""
    if wire.kind != ISSUE_ORDER:
        raise _invalid("kind", wire.kind[:40], f"give {ISSUE_ORDER!r}")
    if len(wire.paper) > _PAPER_BYTES_MAX or len(wire.signature) not in (64, 65):
        raise _invalid("signature", len(wire.signature), "give 64 or 65 bytes over a short paper")
    key = issuers.get(wire.key_id)
    if key is None:
        raise _invalid("key_id", wire.key_id[:64], f"registered issuers are {sorted(issuers)}")
    paper = papers_pb2.IssueOrder()
    try:
        paper.ParseFromString(wire.paper)
        destination = parse_domain(paper.destination, "destination")
        content = IssueOrderPaper(
            asset=parse_asset_id(paper.asset),
            order_number=paper.order_number,
            destination=destination,
            recipient=parse_address(paper.recipient, destination, "recipient"),
            amount=paper.amount,
            expires=paper.expires,
            issuer_key=key,
        )
    except InvalidId as error:
        raise _invalid(error.field, error.value, error.remedy) from error
    except Exception as error:
        if type(error).__name__ != "DecodeError":
            raise
        raise _invalid(
            "paper", f"{len(wire.paper)} bytes", "give a serialised IssueOrder"
        ) from error
    order = SignedOrder(wire.kind, wire.paper, wire.key_id, wire.signature)
    return order, content


def cancel_paper_from_wire(wire: common_pb2.SignedPaper) -> CancelPaper:
    """A holder's request; raises InvalidMessage naming field, value and remedy."""
    if wire.kind != CANCEL_REQUEST:
        raise _invalid("request.kind", wire.kind[:40], f"give {CANCEL_REQUEST!r}")
    if len(wire.paper) > _PAPER_BYTES_MAX or len(wire.signature) not in (64, 65):
        remedy = "give 64 or 65 bytes over a short paper"
        raise _invalid("request.signature", len(wire.signature), remedy)
    paper = papers_pb2.CancelRequest()
    try:
        paper.ParseFromString(wire.paper)
        transfer_id = parse_transfer_id(paper.transfer_id, "request.transfer_id")
    except InvalidId as error:
        raise _invalid(error.field, error.value, error.remedy) from error
    except Exception as error:
        if type(error).__name__ != "DecodeError":
            raise
        remedy = "give a serialised CancelRequest"
        raise _invalid("request.paper", f"{len(wire.paper)} bytes", remedy) from error
    # SECURITY: guards read one form only, and refuse the whole batch for another: one holder's
    # crooked paper would keep everybody's releases to that chain waiting.
    if paper.SerializeToString(deterministic=True) != wire.paper:
        remedy = "serialise the paper deterministically"
        raise _invalid("request.paper", f"{len(wire.paper)} bytes", remedy)
    signed = SignedOrder(wire.kind, wire.paper, wire.key_id[:66], wire.signature)
    return CancelPaper(transfer_id, paper.expires, signed)

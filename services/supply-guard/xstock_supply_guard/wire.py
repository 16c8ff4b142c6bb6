"""Between generated messages and the guard's model: parsed once, checked, both ways."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from xstock_core.amount import SHARE_DECIMALS, InvalidAmount, parse_shares
from xstock_core.cap import Attestation
from xstock_core.ids import (
    Address32,
    Domain,
    InvalidId,
    TransferId,
    parse_address,
    parse_asset_id,
    parse_domain,
    parse_transfer_id,
)
from xstock_core.message import Kind, parse_message
from xstock_core.observation import BurnFinal
from xstock_core.release import Action
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.books import AssetBook, ChainBook
from xstock_supply_guard.handlers.opening import split_units
from xstock_supply_guard.model import (
    Alarm,
    CancelPaper,
    Halt,
    Opening,
    OpeningPaper,
    OpeningRecord,
    OrderPaper,
    Outcome,
    PermitItem,
    Ruling,
    SignedStatement,
    SignRequest,
    SubmittedClaim,
    UnreadableClaim,
    VoidPaper,
)
from xstock_wire.codec import block_to_wire, paper_digest
from xstock_wire.papers import (
    ATTESTATION,
    CANCEL_REQUEST,
    ISSUE_ORDER,
    ISSUE_VOID,
    OPENING,
    REDEMPTION_REJECTION,
)
from xstock_wire.v1 import (
    common_pb2,
    operator_pb2,
    papers_pb2,
    records_pb2,
    supply_guard_pb2,
)

_PAID_MAX = 100
_INVENTORY_MAX = 96
_PAPER_BYTES_MAX = 4096
_SIGNATURE_BYTES_MAX = 128
_DECIMAL_DIGITS_MAX = 60
T = TypeVar("T")


_DECISIONS = {
    outcome: common_pb2.Decision.Value(f"DECISION_{outcome.value}") for outcome in Outcome
}


def ruling_to_wire(ruling: Ruling) -> common_pb2.Verdict:
    """A verdict for the wire."""
    return common_pb2.Verdict(
        transfer_id=ruling.transfer_id,
        decision=_DECISIONS[ruling.outcome],
        reason=ruling.reason,
        until=ruling.until,
        detail=dict(ruling.detail),
        sequence=ruling.sequence,
    )


def ruling_to_record(
    ruling: Ruling, *, guard_id: str, deployment_id: str, at_ms: int
) -> records_pb2.VerdictRecord:
    """A verdict as it is published."""
    return records_pb2.VerdictRecord(
        deployment_id=deployment_id,
        guard_id=guard_id,
        verdict=ruling_to_wire(ruling),
        at_ms=at_ms,
    )


def alarm_to_record(
    alarm: Alarm, *, guard_id: str, deployment_id: str, at_ms: int
) -> records_pb2.AlarmRecord:
    """An alarm as it is published."""
    return records_pb2.AlarmRecord(
        deployment_id=deployment_id,
        service=guard_id,
        code=alarm.code,
        scope=alarm.scope,
        detail=alarm.detail,
        about=alarm.about,
        at_ms=at_ms,
    )


def checked(field: str, parse: Callable[[], T]) -> T:
    """What `parse` gives; raises InvalidMessage naming the field."""
    try:
        return parse()
    except (InvalidId, InvalidAmount, ValueError) as error:
        text = str(error) if str(error).startswith(field) else f"{field}: {error}"
        raise InvalidMessage("FIELD_INVALID", text, {"field": field}) from error


def claim_from_wire(
    wire: supply_guard_pb2.Claim, deployment_id: str
) -> SubmittedClaim | UnreadableClaim:
    """The claim; one that cannot be read is told apart and spoils nobody else's."""
    try:
        message = checked("message", lambda: parse_message(wire.message))
        order = _order_of(wire, message.kind, deployment_id) if wire.HasField("order") else None
    except InvalidMessage as error:
        return UnreadableClaim(TransferId(keccak256(wire.message)), error.message)
    return SubmittedClaim(message, None, wire.block_number, order)


def _order_of(wire: supply_guard_pb2.Claim, kind: Kind, deployment_id: str) -> OrderPaper:
    """SECURITY: only an issuance has an order; beside a burn it would be read as one's."""
    if kind is not Kind.ISSUE:
        text = f"order: a {kind.name} has none; leave it out"
        raise InvalidMessage("FIELD_INVALID", text, {"field": "order"})
    return order_from_wire(wire.order, deployment_id)


def statement_from_wire(
    wire: common_pb2.SignedPaper, kind: str, deployment_id: str
) -> SignedStatement:
    """A signed paper's envelope; raises InvalidMessage if it is not of this kind."""
    if wire.kind != kind:
        text = f"kind: {wire.kind[:40]!r} is not valid; give {kind!r}"
        raise InvalidMessage("FIELD_INVALID", text, {"field": "kind"})
    _check_length("paper", wire.paper, _PAPER_BYTES_MAX)
    _check_length("signature", wire.signature, _SIGNATURE_BYTES_MAX)
    digest = paper_digest(kind, deployment_id, wire.paper)
    return SignedStatement(kind, wire.paper, digest, wire.key_id, wire.signature)


def _check_length(field: str, value: bytes, longest: int) -> None:
    if len(value) > longest:
        text = f"{field}: {len(value)} bytes are too many for this bridge; give at most {longest}"
        raise InvalidMessage("FIELD_INVALID", text, {"field": field})


def order_from_wire(wire: common_pb2.SignedPaper, deployment_id: str) -> OrderPaper:
    """An issuer's order; raises InvalidMessage."""
    statement = statement_from_wire(wire, ISSUE_ORDER, deployment_id)
    paper = checked("order", lambda: parsed(papers_pb2.IssueOrder, statement.paper))
    destination = checked("order.destination", lambda: parse_domain(paper.destination))
    return OrderPaper(
        asset=checked("order.asset", lambda: parse_asset_id(paper.asset)),
        order_number=checked("order.order_number", lambda: _counted(paper.order_number)),
        destination=destination,
        recipient=checked("order.recipient", lambda: parse_address(paper.recipient, destination)),
        amount=checked("order.amount", lambda: parse_shares(paper.amount)),
        expires=paper.expires,
        statement=statement,
    )


def _counted(value: int) -> int:
    """A number or a time that has begun; raises InvalidAmount."""
    if value < 1:
        raise InvalidAmount("value", value, "give 1 or more")
    return value


def void_from_wire(wire: common_pb2.SignedPaper, deployment_id: str) -> VoidPaper:
    """An issuer's withdrawal; raises InvalidMessage."""
    statement = statement_from_wire(wire, ISSUE_VOID, deployment_id)
    paper = checked("void", lambda: parsed(papers_pb2.IssueVoid, statement.paper))
    asset = checked("void.asset", lambda: parse_asset_id(paper.asset))
    return VoidPaper(asset, paper.order_number, statement)


def cancel_from_wire(wire: common_pb2.SignedPaper, deployment_id: str) -> CancelPaper:
    """A holder's request to cancel; raises InvalidMessage."""
    statement = statement_from_wire(wire, CANCEL_REQUEST, deployment_id)
    paper = checked("request", lambda: parsed(papers_pb2.CancelRequest, statement.paper))
    transfer_id = checked("transfer_id", lambda: parse_transfer_id(paper.transfer_id))
    return CancelPaper(transfer_id, paper.expires, statement)


def attestation_from_wire(
    wire: common_pb2.SignedPaper, deployment_id: str
) -> tuple[Attestation, SignedStatement, tuple[TransferId, ...]]:
    """Custody's statement with the redemptions it lists as paid; raises InvalidMessage.

    Zero held units are a valid statement.
    """
    statement = statement_from_wire(wire, ATTESTATION, deployment_id)
    paper = checked("attestation", lambda: parsed(papers_pb2.Attestation, statement.paper))
    attestation = Attestation(
        asset=checked("asset", lambda: parse_asset_id(paper.asset)),
        held_units=paper.held_units,
        held_decimals=SHARE_DECIMALS,
        multiplier=checked("multiplier", lambda: decimal(paper.multiplier)),
        multiplier_epoch=paper.multiplier_epoch,
        sequence=checked("sequence", lambda: _counted(paper.sequence)),
        as_of=checked("as_of", lambda: _counted(paper.as_of)),
        inventory=checked("inventory", lambda: _inventory_of(paper.inventory)),
    )
    if len(paper.paid) > _PAID_MAX:
        text = f"paid: {len(paper.paid)} are too many; list {_PAID_MAX} and the rest next time"
        raise InvalidMessage("FIELD_INVALID", text, {"field": "paid"})
    paid = [checked("paid", partial(parse_transfer_id, one)) for one in paper.paid]
    return attestation, statement, tuple(paid)


def _inventory_of(
    accounts: Sequence[papers_pb2.InventoryAccount],
) -> frozenset[tuple[Domain, Address32]]:
    """The named owners; one list of them has one byte form. Raises ValueError."""
    if len(accounts) > _INVENTORY_MAX:
        raise ValueError(f"{len(accounts)} owners are too many; name {_INVENTORY_MAX} at most")
    order = [(one.chain, one.owner) for one in accounts]
    if order != sorted(set(order)):
        raise ValueError("name every owner once, by rising chain and address")
    found = set()
    for one in accounts:
        chain = parse_domain(one.chain)
        if chain is Domain.CUSTODY:
            raise ValueError("custody is no chain; its stock is what it holds")
        found.add((chain, parse_address(one.owner, chain)))
    return frozenset(found)


def rejection_from_wire(
    wire: common_pb2.SignedPaper, deployment_id: str
) -> tuple[TransferId, str, SignedStatement]:
    """Custody's refusal to pay a redemption, with its reason; raises InvalidMessage."""
    statement = statement_from_wire(wire, REDEMPTION_REJECTION, deployment_id)
    paper = checked("rejection", lambda: parsed(papers_pb2.RedemptionRejection, statement.paper))
    transfer_id = checked("transfer_id", lambda: parse_transfer_id(paper.transfer_id))
    return transfer_id, paper.reason, statement


def opening_from_wire(paper: bytes, deployment_id: str) -> OpeningPaper:
    """The opening in these bytes; raises InvalidMessage."""
    _check_length("paper", paper, _PAPER_BYTES_MAX)
    said = checked("opening", lambda: parsed(papers_pb2.Opening, paper))
    numbers = [one.chain for one in said.chains]
    if numbers != sorted(set(numbers)):
        text = f"opening.chains: {numbers} is not valid; name every chain once, in rising order"
        raise InvalidMessage("FIELD_INVALID", text, {"field": "chains"})
    chains = {
        checked("opening.chain", partial(parse_domain, one.chain)): Opening(
            shares=one.shares,
            block=one.block_number,
            residue_units=checked("residue_units", partial(_whole, one.residue_units)),
        )
        for one in said.chains
    }
    asset = checked("opening.asset", lambda: parse_asset_id(said.asset))
    return OpeningPaper(asset, chains, paper_digest(OPENING, deployment_id, paper))


def _opening_paper(record: OpeningRecord) -> bytes:
    """The very paper that was signed: it has one form."""
    paper = papers_pb2.Opening(asset=record.asset)
    for chain, one in sorted(record.chains.items()):
        paper.chains.add(
            chain=chain,
            shares=one.shares,
            residue_units=str(one.residue_units),
            block_number=one.block,
        )
    return paper.SerializeToString(deterministic=True)


def opening_statements(
    wires: Sequence[common_pb2.SignedPaper], deployment_id: str
) -> tuple[OpeningPaper, list[SignedStatement]]:
    """An opening with its signatures; raises InvalidMessage."""
    if not wires:
        text = "signatures: none given; M guards must sign"
        raise InvalidMessage("FIELD_INVALID", text, {"field": "signatures"})
    said = [statement_from_wire(one, OPENING, deployment_id) for one in wires]
    return opening_from_wire(said[0].paper, deployment_id), said


def redemption_to_wire(burn: BurnFinal) -> supply_guard_pb2.OpenRedemption:
    """A redemption that waits for custody."""
    return supply_guard_pb2.OpenRedemption(
        transfer_id=burn.transfer_id,
        message=burn.message.pack(),
        burned_at=burn.place.block.time,
    )


def _digits(digits: str) -> int:
    if not digits.isascii() or not digits.isdecimal() or len(digits) > _DECIMAL_DIGITS_MAX:
        raise ValueError(f"{digits[:40]!r} is not valid; give decimal digits")
    return int(digits)


def _whole(digits: str) -> int:
    value = _digits(digits)
    if str(value) != digits:
        raise ValueError(f"{digits[:40]!r} is not valid; leave leading zeros out")
    return value


def decimal(digits: str) -> int:
    """A positive number in decimal digits; raises ValueError."""
    value = _digits(digits)
    if value == 0:
        raise ValueError("zero is never valid; give the multiplier in force")
    return value


def parsed(kind: type[T], paper: bytes) -> T:
    """The message in a paper's bytes, which must be its one deterministic form; ValueError."""
    try:
        message: T = kind.FromString(paper)  # type: ignore[attr-defined]
    except Exception as error:
        raise ValueError("these bytes are no paper of this kind") from error
    # SECURITY: what nobody here can read would be signed for all the same, and kept by protobuf.
    message.DiscardUnknownFields()  # type: ignore[attr-defined]
    if message.SerializeToString(deterministic=True) != paper:  # type: ignore[attr-defined]
        raise ValueError("serialise the paper deterministically and without unknown fields")
    return message


def _item_from_wire(wire: supply_guard_pb2.SignItem) -> PermitItem:
    transfer_id = checked("items", lambda: parse_transfer_id(wire.transfer_id))
    return PermitItem(transfer_id, checked("action", lambda: Action(wire.action)))


def sign_request_from_wire(
    wire: supply_guard_pb2.SignReleaseRequest, deployment_id: str
) -> SignRequest:
    """A batch to sign; raises InvalidMessage naming the field."""
    destination = checked("destination", lambda: parse_domain(wire.destination))
    papers = [item.authority for item in wire.items if item.HasField("authority")]
    holders = [paper for paper in papers if paper.kind == CANCEL_REQUEST]
    voids = [void_from_wire(paper, deployment_id) for paper in papers if paper not in holders]
    return SignRequest(
        destination=destination,
        bridge=checked("bridge", lambda: parse_address(wire.bridge, destination)),
        epoch=wire.epoch,
        deadline=wire.deadline,
        items=tuple(_item_from_wire(item) for item in wire.items),
        voids=tuple(voids),
        terms=wire.terms,
        cancels=tuple(cancel_from_wire(paper, deployment_id) for paper in holders),
    )


def book_to_wire(book: AssetBook) -> supply_guard_pb2.AssetLedger:
    """One asset's books for the wire; a negative figure shows as 0 and the asset is halted."""
    attestation = book.attestation
    return supply_guard_pb2.AssetLedger(
        asset=book.asset,
        chains=[_chain_to_wire(chain) for chain in book.chains],
        in_flight=max(0, book.in_flight),
        orphaned=max(0, book.orphaned),
        open_issuance=max(0, book.open_issuance),
        unpaid_redemption=max(0, book.unpaid_redemption),
        exposure=max(0, book.exposure),
        cap=book.cap,
        excluded=book.excluded,
        attestation_sequence=attestation.sequence if attestation else 0,
        attestation_as_of=attestation.as_of if attestation else 0,
        halted=book.halted,
        multiplier=str(attestation.multiplier) if attestation else "",
        last_order_number=book.last_order_number,
        open=book.open,
        opening=_opening_paper(book.opening) if book.opening else b"",
    )


def _chain_to_wire(chain: ChainBook) -> supply_guard_pb2.ChainSupply:
    wire = supply_guard_pb2.ChainSupply(
        chain=chain.chain, ledger=max(0, chain.ledger), decimals=chain.decimals
    )
    if chain.booked_through is not None:
        wire.booked_through.CopyFrom(block_to_wire(chain.booked_through))
    if chain.reading is not None:
        wire.reading = str(chain.reading.units)
        wire.reading_block.CopyFrom(block_to_wire(chain.reading.block))
        wire.ledger_at_reading = max(0, chain.reading.ledger)
        whole, residue = split_units(chain.reading)
        wire.unopened = str(whole - chain.reading.ledger)
        wire.residue_units = str(residue)
    return wire


def halt_to_wire(halt: Halt) -> operator_pb2.HaltRecord:
    """A halt for the wire."""
    scope = operator_pb2.HaltScope()
    if halt.asset is not None:
        scope.asset = halt.asset
    elif halt.chain is not None:
        scope.chain = halt.chain
    return operator_pb2.HaltRecord(
        id=halt.id,
        scope=scope,
        reason=halt.reason,
        by=halt.by,
        at_ms=halt.at_ms,
        approvals=halt.approvals,
    )

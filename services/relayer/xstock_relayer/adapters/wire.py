"""Between generated messages and the relayer's model: parsed once, checked, both ways."""

from xstock_core.ids import TransferId
from xstock_core.observation import Place, TxRef
from xstock_core.refusal import GRANTED, Disposition, Reason, Refused, Verdict
from xstock_core.transfer import Phase
from xstock_relayer.model import GuardVerdict, SignedOrder, Transfer
from xstock_runtime.errors import InvalidMessage
from xstock_wire.codec import place_to_wire, tx_to_wire
from xstock_wire.papers import ISSUE_ORDER
from xstock_wire.v1 import common_pb2, records_pb2, supply_guard_pb2

_DISPOSITIONS = {
    common_pb2.DECISION_HELD: Disposition.HOLD,
    common_pb2.DECISION_PARKED: Disposition.PARK,
    common_pb2.DECISION_REJECTED: Disposition.REJECT,
}
_REASONS = {reason.value: reason for reason in Reason}


def claim_to_wire(transfer: Transfer) -> supply_guard_pb2.Claim:
    """The claim that a guard judges; where to look is a hint that it never believes."""
    message = transfer.state.message
    if message is None:
        raise InvalidMessage("NO_MESSAGE", f"transfer {transfer.id.hex()} has no message to claim")
    claim = supply_guard_pb2.Claim(message=message.pack())
    for place in transfer.state.burns:
        claim.tx.CopyFrom(tx_to_wire(place.tx))
        claim.block_number = place.block.number
        break
    if transfer.order is not None and transfer.order.kind == ISSUE_ORDER:
        claim.order.CopyFrom(order_to_wire(transfer.order))
    return claim


def order_to_wire(order: SignedOrder) -> common_pb2.SignedPaper:
    """The issuer's or the holder's paper, byte for byte as it was handed in."""
    return common_pb2.SignedPaper(
        kind=order.kind, paper=order.paper, key_id=order.key_id, signature=order.signature
    )


def verdict_from_wire(wire: common_pb2.Verdict) -> GuardVerdict:
    """A guard's word; raises InvalidMessage for one that says nothing.

    A reason that this version does not know waits for a person (fail closed), with its name.
    """
    if len(wire.transfer_id) != 32:
        raise InvalidMessage("BAD_VERDICT", f"transfer_id: {wire.transfer_id.hex()!r}: 32 bytes")
    return GuardVerdict(TransferId(wire.transfer_id), _verdict(wire), wire.sequence)


def _verdict(wire: common_pb2.Verdict) -> Verdict:
    if wire.decision == common_pb2.DECISION_GRANTED:
        return GRANTED
    disposition = _DISPOSITIONS.get(wire.decision)
    if disposition is None:
        raise InvalidMessage("BAD_VERDICT", f"decision: {wire.decision} is not known here")
    detail = dict(wire.detail)
    reason = _REASONS.get(wire.reason)
    if reason is None:
        reason, detail["unknown_reason"] = Reason.MANUAL_REVIEW, wire.reason[:64]
    return Refused(reason, disposition, wire.until or None, detail)


def transfer_to_record(
    transfer: Transfer, *, deployment_id: str, revision: int, at_ms: int
) -> records_pb2.TransferRecord:
    """A transition as it is published."""
    state, shown = transfer.state, transfer.view
    record = records_pb2.TransferRecord(
        deployment_id=deployment_id,
        message=state.message.pack() if state.message is not None else b"",
        revision=revision,
        phase=shown.phase.value,
        funds_at=shown.funds_at.value,
        terminal=shown.terminal,
        at_ms=at_ms,
        refund_id=state.refund_id or b"",
        refund_of=min((due.original for due in state.dues if due.original), default=b""),
    )
    if shown.waiting_for is not None:
        record.reason = shown.waiting_for.reason
        record.until = shown.waiting_for.until or 0
        record.who = shown.waiting_for.who.value
    for place in sorted(state.burns, key=repr)[:1]:
        record.burn.CopyFrom(place_to_wire(place))
    _add_steps(record, transfer)
    return record


def _add_steps(record: records_pb2.TransferRecord, transfer: Transfer) -> None:
    state = transfer.state
    for name, at_ms in transfer.moments:
        if name.startswith("VERDICT:"):
            record.steps.add(kind="VERDICT", at_ms=at_ms, note=name.removeprefix("VERDICT:"))
        elif name == Phase.FINAL.value:
            _step(record, "FINAL", at_ms, next(iter(state.burns), None))
        elif name == Phase.AUTHORIZED.value:
            record.steps.add(kind="AUTHORIZED", at_ms=at_ms)
        elif name == Phase.RELEASING.value:
            _submitted_steps(record, transfer, at_ms)
        elif name == Phase.RELEASED.value:
            release = next(iter(state.releases), None)
            _step(record, "RELEASED", at_ms, release.place if release else None)
        elif name == Phase.CANCELLED.value:
            cancel = next(iter(state.cancels), None)
            _step(record, "CANCELLED", at_ms, cancel.place if cancel else None)
        elif name == Phase.REFUNDED.value:
            refund = next(iter(state.refunds), None)
            _step(record, "REFUNDED", at_ms, refund.place if refund else None)


def _step(record: records_pb2.TransferRecord, kind: str, at_ms: int, place: Place | None) -> None:
    step = record.steps.add(kind=kind, at_ms=at_ms)
    if place is not None:
        step.chain = int(place.block.chain)
        wire = place_to_wire(place)
        step.tx.CopyFrom(wire.tx)
        step.block.CopyFrom(wire.block)


def _submitted_steps(record: records_pb2.TransferRecord, transfer: Transfer, at_ms: int) -> None:
    message = transfer.state.message
    if message is None:
        return
    for _, tx in sorted(transfer.state.submitted):
        step = record.steps.add(kind="SUBMITTED", at_ms=at_ms, chain=int(message.destination))
        step.tx.CopyFrom(tx_to_wire(TxRef(message.destination, tx)))

"""A transfer's state as a flat record of texts and integers, and back.

For one JSON column or one row; stable, sorted, so that equal states have equal records. It
is the services' memory, not a wire format: a new field needs a default here.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, GuardId, Nonce, TransferId
from xstock_core.message import parse_message
from xstock_core.observation import (
    BlockRef,
    CancelFinal,
    OrphanBurn,
    Place,
    ReleaseFinal,
    SkipReason,
    TxRef,
)
from xstock_core.refusal import GRANTED, Disposition, Reason, Refused, Verdict
from xstock_core.release import Action
from xstock_core.transfer import Attempt, Due, Ruling, TransferState

Record = dict[str, str | int]

T = TypeVar("T")

_ITEM: Final = ","
_PART: Final = ":"


class InvalidRecord(ValueError):
    """A stored record cannot be read; it names the field."""


def to_record(state: TransferState) -> Record:
    """The state as texts and integers; unset fields are left out."""
    record: Record = {
        "transfer_id": state.transfer_id.hex(),
        "needed": state.needed,
        "guards": state.guards,
        "message": state.message.pack().hex() if state.message else "",
        "refuted": int(state.refuted),
        "order_expiry": -1 if state.order_expiry is None else state.order_expiry,
        "order_voided": int(state.order_voided),
        "orphan": _orphan_text(state.orphan) if state.orphan else "",
        "rulings": json.dumps([_ruling_json(ruling) for ruling in state.rulings])
        if state.rulings
        else "",
        "cancel_requested": int(state.cancel_requested),
        "cancel_sequence": state.cancel_sequence,
        "refund_id": state.refund_id.hex() if state.refund_id else "",
        "operator_sequence": state.operator_sequence,
        "operator_reason": state.operator_reason,
        **_set_texts(state),
    }
    return {name: value for name, value in record.items() if value not in ("", 0, -1)}


def _set_texts(state: TransferState) -> Record:
    return {
        "seen_in": _join(block.hex() for block in state.seen_in),
        "vanished_from": _join(block.hex() for block in state.vanished_from),
        "burns": _join(map(_place_text, state.burns)),
        "unfinalized": _join(block.hex() for block in state.unfinalized),
        "attempts": _join(_parts(a.batch, a.action, a.deadline) for a in state.attempts),
        "submitted": _join(_parts(batch, tx) for batch, tx in state.submitted),
        "included": _join(_parts(batch, tx) for batch, tx in state.included),
        "skips": _join(_parts(batch, reason) for batch, reason in state.skips),
        "expired": _join(batch.hex() for batch in state.expired),
        "releases": _join(map(_release_text, state.releases)),
        "cancels": _join(map(_cancel_text, state.cancels)),
        "refunds": _join(map(_release_text, state.refunds)),
        "excused": _join(batch.hex() for batch in state.excused),
        "dues": _join(_parts(due.original or b"", due.since) for due in state.dues),
    }


def from_record(record: Mapping[str, str | int]) -> TransferState:
    """The state in this record; raises InvalidRecord."""
    try:
        return _state(record)
    except (KeyError, ValueError, TypeError, IndexError) as cause:
        raise InvalidRecord(f"transfer record: {cause}") from cause


def _state(record: Mapping[str, str | int]) -> TransferState:
    def text(name: str) -> str:
        return str(record.get(name, ""))

    def number(name: str) -> int:
        return int(record.get(name, 0))

    def each(name: str, read: Callable[[str], T]) -> frozenset[T]:
        return frozenset(map(read, filter(None, text(name).split(_ITEM))))

    return TransferState(
        transfer_id=TransferId(bytes.fromhex(str(record["transfer_id"]))),
        needed=int(record["needed"]),
        guards=int(record["guards"]),
        message=parse_message(bytes.fromhex(text("message"))) if text("message") else None,
        seen_in=each("seen_in", bytes.fromhex),
        vanished_from=each("vanished_from", bytes.fromhex),
        burns=each("burns", _place),
        unfinalized=each("unfinalized", bytes.fromhex),
        refuted=bool(number("refuted")),
        order_expiry=int(record["order_expiry"]) if "order_expiry" in record else None,
        order_voided=bool(number("order_voided")),
        orphan=_orphan(text("orphan")) if text("orphan") else None,
        rulings=tuple(map(_ruling, json.loads(text("rulings") or "[]"))),
        attempts=each("attempts", _attempt),
        submitted=each("submitted", _pair),
        included=each("included", _pair),
        skips=each("skips", _skip),
        expired=each("expired", bytes.fromhex),
        releases=each("releases", _release),
        cancel_requested=bool(number("cancel_requested")),
        cancels=each("cancels", _cancel),
        refund_id=TransferId(bytes.fromhex(text("refund_id"))) if text("refund_id") else None,
        refunds=each("refunds", _release),
        operator_sequence=number("operator_sequence"),
        operator_reason=text("operator_reason"),
        excused=each("excused", bytes.fromhex),
        cancel_sequence=number("cancel_sequence"),
        dues=each("dues", _due),
    )


def _join(items: Iterable[str]) -> str:
    return _ITEM.join(sorted(items))


def _parts(*values: bytes | int) -> str:
    return _PART.join(v.hex() if isinstance(v, bytes) else str(int(v)) for v in values)


def _place_text(place: Place) -> str:
    block = place.block
    return _parts(block.chain, block.number, block.hash, block.time, place.tx.id, place.index)


def _place(text: str) -> Place:
    chain, number, block, time, tx, index = text.split(_PART)
    domain = Domain(int(chain))
    ref = BlockRef(domain, int(number), bytes.fromhex(block), int(time))
    return Place(ref, TxRef(domain, bytes.fromhex(tx)), int(index))


def _release_text(release: ReleaseFinal) -> str:
    head = _parts(release.destination, release.source, release.nonce, release.asset)
    return f"{head}:{_parts(release.recipient, release.amount)}:{_place_text(release.place)}"


def _release(text: str) -> ReleaseFinal:
    destination, source, nonce, asset, recipient, amount, place = text.split(_PART, 6)
    return ReleaseFinal(
        Domain(int(destination)),
        Domain(int(source)),
        Nonce(bytes.fromhex(nonce)),
        AssetId(bytes.fromhex(asset)),
        Address32(bytes.fromhex(recipient)),
        Shares(int(amount)),
        _place(place),
    )


def _cancel_text(cancel: CancelFinal) -> str:
    head = _parts(cancel.destination, cancel.source, cancel.nonce, cancel.asset)
    return f"{head}:{_place_text(cancel.place)}"


def _cancel(text: str) -> CancelFinal:
    destination, source, nonce, asset, place = text.split(_PART, 4)
    return CancelFinal(
        Domain(int(destination)),
        Domain(int(source)),
        Nonce(bytes.fromhex(nonce)),
        AssetId(bytes.fromhex(asset)),
        _place(place),
    )


def _orphan_text(orphan: OrphanBurn) -> str:
    head = _parts(orphan.asset, orphan.owner, orphan.amount, orphan.reason.encode(), orphan.nonce)
    return f"{head}:{_place_text(orphan.place)}"


def _orphan(text: str) -> OrphanBurn:
    asset, owner, amount, reason, nonce, place = text.split(_PART, 5)
    return OrphanBurn(
        AssetId(bytes.fromhex(asset)),
        Address32(bytes.fromhex(owner)),
        Shares(int(amount)),
        bytes.fromhex(reason).decode(),
        Nonce(bytes.fromhex(nonce)),
        _place(place),
    )


def _attempt(text: str) -> Attempt:
    batch, action, deadline = text.split(_PART)
    return Attempt(bytes.fromhex(batch), Action(int(action)), int(deadline))


def _due(text: str) -> Due:
    original, since = text.split(_PART)
    return Due(TransferId(bytes.fromhex(original)) if original else None, int(since))


def _pair(text: str) -> tuple[bytes, bytes]:
    first, second = text.split(_PART)
    return bytes.fromhex(first), bytes.fromhex(second)


def _skip(text: str) -> tuple[bytes, SkipReason]:
    batch, reason = text.split(_PART)
    return bytes.fromhex(batch), SkipReason(int(reason))


def _ruling_json(ruling: Ruling) -> dict[str, object]:
    head: dict[str, object] = {"guard": ruling.guard, "sequence": ruling.sequence}
    verdict = ruling.verdict
    if isinstance(verdict, Refused):
        head |= {"reason": verdict.reason.value, "disposition": verdict.disposition.value}
        head |= {"until": verdict.until, "detail": dict(sorted(verdict.detail.items()))}
    return head


def _ruling(stored: Mapping[str, object]) -> Ruling:
    return Ruling(GuardId(str(stored["guard"])), int(str(stored["sequence"])), _verdict(stored))


def _verdict(stored: Mapping[str, object]) -> Verdict:
    if "reason" not in stored:
        return GRANTED
    until, detail = stored["until"], stored["detail"]
    return Refused(
        Reason(str(stored["reason"])),
        Disposition(str(stored["disposition"])),
        None if until is None else int(str(until)),
        {str(k): str(v) for k, v in detail.items()} if isinstance(detail, Mapping) else {},
    )

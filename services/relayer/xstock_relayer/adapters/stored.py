"""Stored forms of what the relayer remembers: compact, explicit, without anything executable.

A transfer's facts become JSON with only what is set; a batch's items become fixed-width bytes.
Whatever cannot be read back raises InvalidMessage STORED_UNREADABLE: a database that another
hand wrote is not guessed at.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from xstock_chains.ports import GuardSignature
from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, GuardId, Nonce, TransferId
from xstock_core.message import TransferMessage, parse_message
from xstock_core.observation import BlockRef, CancelFinal, Place, ReleaseFinal, SkipReason, TxRef
from xstock_core.refusal import GRANTED, Disposition, Granted, Reason, Refused, Verdict
from xstock_core.release import Action, ReleaseItem
from xstock_core.transfer import Attempt, Due, Ruling, TransferState
from xstock_relayer.model import SignedOrder
from xstock_runtime.errors import InvalidMessage

_ITEM = struct.Struct(">BI32s32s32sQQ")
_SETS_OF_BYTES = ("seen_in", "vanished_from", "unfinalized", "expired", "excused")
_PLAIN = ("refuted", "order_expiry", "order_voided", "cancel_requested", "cancel_sequence",
          "operator_sequence", "operator_reason")  # fmt: skip
_PAIRS = ("submitted", "included")


def state_to_text(state: TransferState) -> str:
    """The facts of a transfer, its message apart."""
    row: dict[str, Any] = {"n": state.needed, "g": state.guards}
    for name in _PLAIN:
        value = getattr(state, name)
        if value or (value == 0 and name == "order_expiry"):
            row[name] = value
    for name in _SETS_OF_BYTES:
        if values := getattr(state, name):
            row[name] = sorted(value.hex() for value in values)
    for name in _PAIRS:
        if pairs := getattr(state, name):
            row[name] = sorted([a.hex(), b.hex()] for a, b in pairs)
    row.update({name: value for name, value in _lists(state).items() if value})
    if state.refund_id is not None:
        row["refund_id"] = state.refund_id.hex()
    return json.dumps(row, separators=(",", ":"))


def _lists(state: TransferState) -> dict[str, list[Any]]:
    return {
        "burns": [_place(place) for place in _by_repr(state.burns)],
        "rulings": [[r.guard, r.sequence, _verdict(r.verdict)] for r in state.rulings],
        "attempts": [[a.batch.hex(), a.action, a.deadline] for a in _by_repr(state.attempts)],
        "skips": sorted([batch.hex(), int(reason)] for batch, reason in state.skips),
        "releases": [_release(release) for release in _by_repr(state.releases)],
        "refunds": [_release(release) for release in _by_repr(state.refunds)],
        "cancels": [_cancel(cancel) for cancel in _by_repr(state.cancels)],
        "dues": sorted([(due.original or b"").hex(), due.since] for due in state.dues),
    }


def state_from_text(
    transfer_id: TransferId, message: TransferMessage | None, stored: str
) -> TransferState:
    """The state with these facts; raises InvalidMessage STORED_UNREADABLE."""
    try:
        return _state(transfer_id, message, json.loads(stored))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InvalidMessage(
            "STORED_UNREADABLE",
            f"the stored state of transfer {transfer_id.hex()} cannot be read: {error!r}",
            {"transfer_id": transfer_id.hex()},
        ) from error


def _state(
    transfer_id: TransferId, message: TransferMessage | None, row: dict[str, Any]
) -> TransferState:
    fields: dict[str, Any] = {name: row[name] for name in _PLAIN if name in row}
    for name in _SETS_OF_BYTES:
        if name in row:
            fields[name] = frozenset(map(bytes.fromhex, row[name]))
    for name in _PAIRS:
        if name in row:
            fields[name] = frozenset((bytes.fromhex(a), bytes.fromhex(b)) for a, b in row[name])
    rulings = [Ruling(GuardId(g), n, _parse_verdict(v)) for g, n, v in row.get("rulings", ())]
    attempts = (
        Attempt(bytes.fromhex(b), Action(a), deadline) for b, a, deadline in row.get("attempts", ())
    )
    skips = ((bytes.fromhex(b), SkipReason(reason)) for b, reason in row.get("skips", ()))
    if "refund_id" in row:
        fields["refund_id"] = TransferId(bytes.fromhex(row["refund_id"]))
    return TransferState(
        transfer_id=transfer_id,
        needed=row["n"],
        guards=row["g"],
        message=message,
        burns=frozenset(_parse_place(place) for place in row.get("burns", ())),
        rulings=tuple(rulings),
        attempts=frozenset(attempts),
        skips=frozenset(skips),
        releases=frozenset(_parse_release(r) for r in row.get("releases", ())),
        refunds=frozenset(_parse_release(r) for r in row.get("refunds", ())),
        cancels=frozenset(_parse_cancel(c) for c in row.get("cancels", ())),
        dues=frozenset(_parse_due(due) for due in row.get("dues", ())),
        **fields,
    )


def message_from_bytes(stored: bytes) -> TransferMessage:
    """A message that was checked before it was stored."""
    return parse_message(bytes(stored))


def _by_repr(values: Iterable[Any]) -> list[Any]:
    """One order for one content; most sets here have one member."""
    listed = list(values)
    return listed if len(listed) == 1 else sorted(listed, key=repr)


def _place(place: Place) -> list[Any]:
    block = place.block
    number = [int(block.chain), block.number, block.hash.hex(), block.time]
    return [*number, place.tx.id.hex(), place.index]


def _parse_place(row: Sequence[Any]) -> Place:
    chain = Domain(row[0])
    block = BlockRef(chain, row[1], bytes.fromhex(row[2]), row[3])
    return Place(block, TxRef(chain, bytes.fromhex(row[4])), row[5])


def _verdict(verdict: Verdict) -> list[Any] | None:
    if isinstance(verdict, Granted):
        return None
    return [verdict.reason.value, verdict.disposition.value, verdict.until, verdict.detail]


def _parse_verdict(row: Sequence[Any] | None) -> Verdict:
    if row is None:
        return GRANTED
    return Refused(Reason(row[0]), Disposition(row[1]), row[2], dict(row[3]))


def _release(release: ReleaseFinal) -> list[Any]:
    key = [int(release.destination), int(release.source), release.nonce.hex()]
    content = [release.asset.hex(), release.recipient.hex(), release.amount]
    return [*key, *content, _place(release.place)]


def _parse_release(row: Sequence[Any]) -> ReleaseFinal:
    return ReleaseFinal(
        destination=Domain(row[0]),
        source=Domain(row[1]),
        nonce=Nonce(bytes.fromhex(row[2])),
        asset=AssetId(bytes.fromhex(row[3])),
        recipient=Address32(bytes.fromhex(row[4])),
        amount=Shares(row[5]),
        place=_parse_place(row[6]),
    )


def _cancel(cancel: CancelFinal) -> list[Any]:
    key = [int(cancel.destination), int(cancel.source), cancel.nonce.hex()]
    return [*key, cancel.asset.hex(), _place(cancel.place)]


def _parse_cancel(row: Sequence[Any]) -> CancelFinal:
    return CancelFinal(
        Domain(row[0]),
        Domain(row[1]),
        Nonce(bytes.fromhex(row[2])),
        AssetId(bytes.fromhex(row[3])),
        _parse_place(row[4]),
    )


def _parse_due(row: Sequence[Any]) -> Due:
    return Due(TransferId(bytes.fromhex(row[0])) if row[0] else None, row[1])


def items_to_bytes(items: Sequence[ReleaseItem]) -> bytes:
    """The items of a batch, 149 bytes each."""
    return b"".join(
        _ITEM.pack(i.action, i.source, i.nonce, i.asset, i.recipient, i.amount, i.burned_at)
        for i in items
    )


def items_from_bytes(stored: bytes) -> tuple[ReleaseItem, ...]:
    """The items of a batch, in their order."""
    return tuple(
        ReleaseItem(
            Action(action),
            Domain(source),
            Nonce(nonce),
            AssetId(asset),
            Address32(recipient),
            Shares(amount),
            burned_at,
        )
        for action, source, nonce, asset, recipient, amount, burned_at in _ITEM.iter_unpack(
            bytes(stored)
        )
    )


def signatures_to_text(signatures: Sequence[GuardSignature]) -> str:
    """Signers and signatures."""
    return json.dumps([[s.signer.hex(), s.signature.hex()] for s in signatures])


def signatures_from_text(stored: str) -> tuple[GuardSignature, ...]:
    """Signers and signatures, in their order."""
    return tuple(
        GuardSignature(bytes.fromhex(signer), bytes.fromhex(signature))
        for signer, signature in json.loads(stored)
    )


def order_to_bytes(order: SignedOrder | None) -> bytes | None:
    """An issuer's order as it was handed in."""
    if order is None:
        return None
    parts = [order.kind, order.paper.hex(), order.key_id, order.signature.hex()]
    return json.dumps(parts).encode()


def order_from_bytes(stored: bytes | None) -> SignedOrder | None:
    """The order that was stored."""
    if stored is None:
        return None
    kind, paper, key_id, signature = json.loads(bytes(stored))
    return SignedOrder(kind, bytes.fromhex(paper), key_id, bytes.fromhex(signature))

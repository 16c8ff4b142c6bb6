"""A transfer's record remembers every field, leaves out what is unset, and refuses by name."""

import json
from dataclasses import MISSING, fields

import pytest

from tests.builders import (
    NOW,
    a_burn,
    a_cancel,
    a_message,
    a_place,
    a_refund,
    a_release,
    a_transfer,
    a_verdict,
    an_orphan,
    id_of,
)
from xstock_core.facts import (
    BurnFinalized,
    BurnRefuted,
    BurnSeen,
    BurnVanished,
    CancelFinalized,
    CancelRequested,
    DeadlinePassed,
    Fact,
    OperatorParked,
    OperatorReleased,
    OrderAccepted,
    OrderVoided,
    OrphanFound,
    RefundDue,
    RefundFinalized,
    RefundOpened,
    ReleaseAuthorized,
    ReleaseFinalized,
    ReleaseIncluded,
    ReleaseSkippedSeen,
    ReleaseSubmitted,
)
from xstock_core.observation import SkipReason
from xstock_core.refusal import Reason, Refused, refuse
from xstock_core.transfer import Due, TransferState, absorb
from xstock_core.transfer_record import InvalidRecord, from_record, to_record

MESSAGE = a_message()
ID = id_of(MESSAGE)
HASH = a_place().block.hash
EVERYTHING: tuple[Fact, ...] = (
    BurnSeen(MESSAGE, HASH), BurnVanished(HASH), BurnVanished(HASH, was_final=True),
    BurnFinalized(a_burn(MESSAGE)), BurnRefuted(), OrderAccepted(MESSAGE, NOW), OrderVoided(),
    OrphanFound(an_orphan()), a_verdict(1), a_verdict(2, refuse(Reason.HALTED, until=NOW, by="x")),
    ReleaseAuthorized(b"batch", NOW), ReleaseSubmitted(b"batch", b"sent"),
    ReleaseIncluded(b"batch", b"mined"), ReleaseIncluded(b"other", b"tx"),
    ReleaseSkippedSeen(b"batch", SkipReason.ASSET_PAUSED), DeadlinePassed(b"batch"),
    ReleaseFinalized(a_release(MESSAGE)), CancelRequested(3), CancelFinalized(a_cancel(MESSAGE)),
    RefundOpened(id_of(a_refund(MESSAGE))), RefundFinalized(a_release(a_refund(MESSAGE))),
    RefundDue(MESSAGE, ID, NOW), RefundDue(MESSAGE, None, 0),
    OperatorReleased(1, frozenset({HASH})), OperatorParked(2, "asked"),
)  # fmt: skip
"""Facts that no one transfer sees together, and that set every field of its state."""


def told(*facts: Fact) -> TransferState:
    state = a_transfer(MESSAGE)
    for fact in facts:
        state = absorb(state, fact)
    return state


def test_record__of_a_state_with_every_field_set__reads_back_equal() -> None:
    """A new field of the state without a place in the record, or in EVERYTHING, fails here."""
    state = told(*EVERYTHING)
    optional = [field for field in fields(state) if field.default is not MISSING]
    assert [field.name for field in optional if getattr(state, field.name) == field.default] == []
    record = to_record(state)
    assert set(record) == {field.name for field in fields(state)}
    assert from_record(record) == state


def test_record__of_a_new_transfer__leaves_out_what_is_unset() -> None:
    assert to_record(told()) == {"transfer_id": ID.hex(), "needed": 2, "guards": 3}


def test_record__of_inclusions_and_dues__keeps_both_parts_of_each() -> None:
    read = from_record(to_record(told(*EVERYTHING)))
    assert read.included == {(b"batch", b"mined"), (b"other", b"tx")}
    assert read.dues == {Due(ID, NOW), Due(None, 0)}


def test_record__damaged__is_refused_with_what_was_wrong() -> None:
    record = {name: value for name, value in to_record(told()).items() if name != "needed"}
    with pytest.raises(InvalidRecord, match="transfer record: 'needed'"):
        from_record(record)


def test_record__of_a_refusal_whose_detail_is_no_table__reads_the_refusal_without_detail() -> None:
    refusal = refuse(Reason.HALTED, by="x")
    record = to_record(told(a_verdict(1, refusal)))
    (stored,) = json.loads(str(record["rulings"]))
    rulings = json.dumps([stored | {"detail": None}])
    (ruling,) = from_record(record | {"rulings": rulings}).rulings
    assert ruling.verdict == Refused(refusal.reason, refusal.disposition, None, {})

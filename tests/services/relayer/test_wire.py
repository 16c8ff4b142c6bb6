"""What goes to guards and to Kafka, what comes back, and nodes that take turns."""

import pytest

from tests.builders import a_burn, a_message, a_release, id_of
from tests.services.relayer.faults import Wrapped
from tests.services.relayer.world import KEY, World
from xstock_core.facts import (
    BurnFinalized,
    Fact,
    ReleaseAuthorized,
    ReleaseFinalized,
    ReleaseSubmitted,
    VerdictGiven,
)
from xstock_core.ids import Domain, GuardId
from xstock_core.message import parse_message
from xstock_core.refusal import GRANTED, Disposition, Granted, Reason, Refused
from xstock_core.transfer import open_transfer, step
from xstock_relayer.adapters.failover import FailoverWriter
from xstock_relayer.adapters.wire import claim_to_wire, transfer_to_record, verdict_from_wire
from xstock_relayer.model import SignedOrder, Transfer
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient
from xstock_wire.v1 import common_pb2

BURN = a_burn(a_message())


def a_transfer(*facts: Fact, order: SignedOrder | None = None) -> Transfer:
    """The burn's transfer after these facts."""
    state = open_transfer(id_of(BURN.message), needed=2, guards=3)
    for fact in (BurnFinalized(BURN), *facts):
        state = step(state, fact).state
    return Transfer(state, 0, order=order)


def a_verdict(decision: int, reason: str = "", **more: object) -> common_pb2.Verdict:
    """A verdict on the burn."""
    fields = {"transfer_id": id_of(BURN.message), "decision": decision, "reason": reason}
    return common_pb2.Verdict(**(fields | {"sequence": 7} | more))  # type: ignore[arg-type]


def test_claim__burn__carries_the_message_and_where_to_look() -> None:
    claim = claim_to_wire(a_transfer())
    assert parse_message(claim.message) == BURN.message
    assert claim.tx.id == BURN.place.tx.id
    assert claim.block_number == BURN.place.block.number
    assert not claim.HasField("order")


def test_claim__issuance__carries_the_issuer_s_paper_untouched() -> None:
    order = SignedOrder("issue-order", b"paper", "issuer-1", b"\x01" * 65)
    claim = claim_to_wire(a_transfer(order=order))
    assert claim.order.paper == b"paper"
    assert claim.order.signature == b"\x01" * 65


@pytest.mark.parametrize(
    ("decision", "disposition"),
    [
        (common_pb2.DECISION_HELD, Disposition.HOLD),
        (common_pb2.DECISION_PARKED, Disposition.PARK),
        (common_pb2.DECISION_REJECTED, Disposition.REJECT),
    ],
)
def test_verdict__refusal__keeps_disposition_until_and_figures(
    decision: int, disposition: Disposition
) -> None:
    given = verdict_from_wire(a_verdict(decision, "CAP_EXCEEDED", until=9, detail={"cap": "1"}))
    assert given.verdict == Refused(Reason.CAP_EXCEEDED, disposition, 9, {"cap": "1"})
    assert given.sequence == 7


def test_verdict__granted__is_a_grant() -> None:
    assert isinstance(verdict_from_wire(a_verdict(common_pb2.DECISION_GRANTED)).verdict, Granted)


def test_verdict__reason_of_a_newer_guard__refused_all_the_same() -> None:
    """F93: an unknown word never becomes a grant."""
    verdict = verdict_from_wire(a_verdict(common_pb2.DECISION_PARKED, "FROM_TOMORROW")).verdict
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.MANUAL_REVIEW
    assert verdict.detail == {"unknown_reason": "FROM_TOMORROW"}


@pytest.mark.parametrize(
    "wire", [common_pb2.Verdict(), a_verdict(0), a_verdict(99), a_verdict(1, transfer_id=b"short")]
)
def test_verdict__that_says_nothing__is_not_believed(wire: common_pb2.Verdict) -> None:
    """F10: zero, empty and unknown are no verdicts."""
    with pytest.raises(InvalidMessage, match="BAD_VERDICT"):
        verdict_from_wire(wire)


def test_record__released__tells_every_step_in_order() -> None:
    facts: list[Fact] = [
        VerdictGiven(GuardId("guard-1"), GRANTED, 1),
        VerdictGiven(GuardId("guard-2"), GRANTED, 1),
        ReleaseAuthorized(b"\x01" * 32, 10),
        ReleaseSubmitted(b"\x01" * 32, b"\x02" * 32),
        ReleaseFinalized(a_release(BURN.message)),
    ]
    names = ("FINAL", "VERDICT:guard-1", "VERDICT:guard-2", "AUTHORIZED", "RELEASING", "RELEASED")
    transfer = a_transfer(*facts)
    moments = tuple((name, at) for at, name in enumerate(names))
    told = Transfer(transfer.state, 0, moments=moments)
    record = transfer_to_record(told, deployment_id="test", revision=5, at_ms=9)
    kinds = [step.kind for step in record.steps]
    assert kinds == ["FINAL", "VERDICT", "VERDICT", "AUTHORIZED", "SUBMITTED", "RELEASED"]
    assert [step.at_ms for step in record.steps] == list(range(6))
    assert record.steps[4].tx.id == b"\x02" * 32
    assert record.terminal
    assert (record.phase, record.funds_at) == ("RELEASED", "DESTINATION")


@pytest.mark.parametrize("failure", [Transient("NODE_DOWN", "x"), Ambiguous("LOST", "x")])
async def test_failover__node_fails__raised_once_and_the_next_is_asked(
    failure: Exception,
) -> None:
    world = World()
    good = world.writers[Domain.BNB]
    calls: list[str] = []

    async def fails() -> int:
        calls.append("bad")
        raise failure

    writer = FailoverWriter([Wrapped(good, guard_epoch=fails), good])
    with pytest.raises(type(failure)):
        await writer.guard_epoch()
    assert await writer.guard_epoch() == 1
    assert await writer.guard_epoch() == 1
    assert calls == ["bad"], "an answer that was lost is never asked for behind our back"
    assert (await writer.next_slot(KEY.address, ())).text == "0"

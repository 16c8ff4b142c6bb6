"""A holder's way back over the partner API: form here, everything else at relayer and guards."""

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from tests.builders import a_refund, id_of
from tests.services.gateway.facts import final, message_of, said, transfer
from tests.services.gateway.serving import Serving, details_of, serving
from tests.services.gateway.world import GatewayWorld, a_registry
from xstock_core.holder import address_of_key
from xstock_core.ids import Address32, Domain
from xstock_core.refusal import Who
from xstock_gateway.adapters.records import RecordCodec
from xstock_gateway.bootstrap import custody_pays
from xstock_gateway.refusals import ApiRefused
from xstock_gateway.view import SaidByRelayer
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Transient
from xstock_runtime.hashing import keccak256
from xstock_wire.papers import CANCEL_REQUEST, PaperKey
from xstock_wire.v1 import bridge_pb2, papers_pb2

KEY = PaperKey.of_holder(keccak256(b"holder"))
HOLDER = address_of_key(Domain.ETHEREUM, KEY.public_key) or Address32(b"")
STRANGER = PaperKey.of_holder(keccak256(b"stranger"))
REFUND = a_refund(message_of(1))


@pytest.fixture
async def api() -> AsyncIterator[Serving]:
    """A served gateway that knows one held transfer."""
    world = GatewayWorld(clock=SystemClock())
    await world.take(
        replace(final(1), sender=HOLDER), said(1, 2, "HELD", reason="RATE_LIMITED", who="NOBODY")
    )
    async with serving(world) as running:
        yield running


def a_request(
    api: Serving,
    named: bytes = b"",
    life: int = 600,
    kind: str = CANCEL_REQUEST,
    key: PaperKey = KEY,
) -> bridge_pb2.CancelTransferRequest:
    """A holder's request as a client sends it."""
    expires = api.world.clock.unix_ms() // 1000 + life
    paper = papers_pb2.CancelRequest(
        transfer_id=named or transfer(1), expires=expires, reason="changed my mind"
    )
    signed = key.sign(kind, "test", paper)
    return bridge_pb2.CancelTransferRequest(transfer_id=transfer(1), request=signed)


async def test_cancel__holders_request__passed_on_untouched(api: Serving) -> None:
    request = a_request(api)
    answer = await api.stub.CancelTransfer(request)
    assert answer.transfer.state == bridge_pb2.TRANSFER_STATE_HELD
    ((asked, reason, paper),) = api.world.returns.asked
    assert (asked, reason) == (transfer(1), "changed my mind")
    assert paper.paper == request.request.paper
    assert (paper.key_id, paper.signature) == (KEY.key_id, request.request.signature)


@pytest.mark.parametrize("forged", ["stranger", "borrowed", "garbage", "bent"])
async def test_cancel__not_by_the_holder__refused_before_the_relayer_is_asked(
    api: Serving, forged: str
) -> None:
    """A stranger's paper would keep the transfer waiting while the guards look at it."""
    request = a_request(api, key=STRANGER if forged in ("stranger", "borrowed") else KEY)
    if forged == "borrowed":
        request.request.key_id = KEY.key_id
    elif forged == "garbage":
        request.request.key_id = "zz"
    elif forged == "bent":
        request.request.signature = bytes(65)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.stub.CancelTransfer(request)
    assert details_of(refused.value)["ErrorInfo"]["reason"] == "CANCEL_REQUEST_INVALID"
    assert api.world.returns.asked == []


@pytest.mark.parametrize("wrong", ["named", "late", "eternal", "kind", "unknown"])
async def test_cancel__wrong_form__refused_before_anybody_is_asked(
    api: Serving, wrong: str
) -> None:
    request = {
        "named": lambda: a_request(api, named=b"\x07" * 32),
        "late": lambda: a_request(api, life=0),
        "eternal": lambda: a_request(api, life=8 * 86_400),
        "kind": lambda: a_request(api, kind="issue-void"),
        "unknown": lambda: a_request(api, named=b"\x07" * 32),
    }[wrong]()
    if wrong == "unknown":
        request.transfer_id = b"\x07" * 32
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.stub.CancelTransfer(request)
    known = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert refused.value.code() in known
    assert api.world.returns.asked == []


async def test_cancel__relayer_refuses__its_reason_is_the_answer(api: Serving) -> None:
    text = "transfer 12: it is RELEASED, for good"
    api.world.returns.refuses = ApiRefused("NOT_CANCELLABLE", text, {"phase": "RELEASED"})
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.stub.CancelTransfer(a_request(api))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details_of(refused.value)["ErrorInfo"]["reason"] == "NOT_CANCELLABLE"


async def test_cancel__relayer_away__try_again(api: Serving) -> None:
    api.world.returns.refuses = Transient("UNAVAILABLE", "the relayer is away")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.stub.CancelTransfer(a_request(api))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def refund_said(phase: str, reason: str = "", who: Who = Who.NOBODY) -> SaidByRelayer:
    """The relayer's word on the REFUND of transfer 1."""
    return SaidByRelayer(
        transfer_id=id_of(REFUND),
        message=REFUND,
        revision=3,
        phase=phase,
        reason=reason,
        until=0,
        who=who.value if reason else "",
        funds_at="RETURNING",
        terminal=False,
        steps=(),
        at_ms=5,
        refund_of=transfer(1),
    )


async def test_transfer__flowing_back__links_both_ways_and_tells_what_the_refund_waits_for(
    api: Serving,
) -> None:
    going = said(1, 9, "REFUNDING", reason="REFUND", who="NOBODY", refund_id=id_of(REFUND))
    await api.world.take(going)
    ask = bridge_pb2.GetTransferRequest(transfer_id=transfer(1))
    shown = (await api.stub.GetTransfer(ask)).transfer
    assert (shown.refund_id, shown.waiting_for.reason) == (id_of(REFUND), "REFUND")
    await api.world.take(refund_said("PARKED", "MANUAL_REVIEW", Who.OPERATOR))
    shown = (await api.stub.GetTransfer(ask)).transfer
    assert (shown.waiting_for.reason, shown.waiting_for.who) == (
        "MANUAL_REVIEW",
        bridge_pb2.WHO_OPERATOR,
    )
    back = bridge_pb2.GetTransferRequest(transfer_id=id_of(REFUND))
    refund = (await api.stub.GetTransfer(back)).transfer
    assert (refund.kind, refund.refund_of) == ("REFUND", transfer(1))
    assert (refund.source, refund.destination) == ("bnb", "ethereum")


def test_record__links__survive_being_kept() -> None:
    codec = RecordCodec("test")
    fact = refund_said("HELD", "RATE_LIMITED")
    assert codec.relayer_from(codec.relayer_to(fact)) == fact


def test_redemptions__open_where_a_custodian_is_registered() -> None:
    registry = a_registry()
    assert custody_pays(registry) == any(a.role == "custodian" for a in registry.attestors)
    assert not custody_pays(registry.model_copy(update={"attestors": ()}))

"""Issuance and operator services: decoded, checked, answered; bad input names its field."""

from typing import Any

import pytest
from coincurve import PrivateKey

from tests.services.relayer.world import ASSET, World
from xstock_core.ids import Domain, custody_bridge, issue_nonce
from xstock_core.message import Kind, parse_message
from xstock_core.refusal import Reason, refuse
from xstock_core.transfer import Phase
from xstock_relayer.entrypoints.servers import (
    IssuanceServicer,
    OperatorServicer,
    access,
)
from xstock_runtime.clock import SeededRandomness
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_wire.v1 import common_pb2, operator_pb2, papers_pb2, relayer_pb2

ISSUER_KEY = PrivateKey(keccak256(b"issuer")).public_key.format()
NO_CONTEXT: Any = None
RECIPIENT = b"\0" * 12 + b"\x22" * 20


def an_order(**changes: object) -> papers_pb2.IssueOrder:
    """Order 1: a hundred shares of TSLAx to BNB."""
    fields = {
        "asset": ASSET,
        "order_number": 1,
        "destination": int(Domain.BNB),
        "recipient": RECIPIENT,
        "amount": 100 * 10**8,
        "expires": 1_700_000_000 + 3600,
    }
    return papers_pb2.IssueOrder(**(fields | changes))  # type: ignore[arg-type]


def a_request(
    order: papers_pb2.IssueOrder, **changes: object
) -> relayer_pb2.SubmitIssueOrderRequest:
    """The order in its signed envelope."""
    fields = {
        "kind": "issue-order",
        "paper": order.SerializeToString(),
        "key_id": "issuer-1",
        "signature": b"\x01" * 65,
    }
    paper = common_pb2.SignedPaper(**(fields | changes))  # type: ignore[arg-type]
    return relayer_pb2.SubmitIssueOrderRequest(order=paper)


def a_servicer(world: World) -> IssuanceServicer:
    return IssuanceServicer(world.relayer.issuer, {"issuer-1": ISSUER_KEY})


async def test_issuance__order_handed_in_twice__one_transfer_and_the_same_answer() -> None:
    world = World()
    await world.relayer.start()
    servicer = a_servicer(world)
    first = await servicer.SubmitIssueOrder(a_request(an_order()), NO_CONTEXT)
    second = await servicer.SubmitIssueOrder(a_request(an_order()), NO_CONTEXT)
    assert first == second
    message = parse_message(first.message)
    assert (message.kind, message.source) == (Kind.ISSUE, Domain.CUSTODY)
    assert message.nonce == issue_nonce(ASSET, 1)
    assert message.source_bridge == custody_bridge()
    assert message.refund_address == keccak256(ISSUER_KEY)
    assert len(world.disk.transfers) == 1


async def test_issuance__granted__minted_once_and_guards_get_the_paper() -> None:
    world = World()
    await world.relayer.start()
    await a_servicer(world).SubmitIssueOrder(a_request(an_order()), NO_CONTEXT)
    (transfer,) = world.disk.transfers.values()
    assert transfer.order is not None
    assert transfer.order.paper == an_order().SerializeToString()
    for _ in range(12):
        await world.step()
        for chain in world.chains.values():
            chain.mine()
        await world.clock.advance(1)
    assert [t.view.phase for t in world.disk.transfers.values()] == [Phase.RELEASED]
    assert set(world.minted(Domain.BNB).values()) == {1}


@pytest.mark.parametrize(
    ("order", "envelope", "field"),
    [
        (an_order(amount=0), {}, "amount"),
        (an_order(order_number=0), {}, "counter"),
        (an_order(destination=0), {}, "destination"),
        (an_order(destination=100), {}, "ROUTE_CLOSED"),
        (an_order(recipient=b"\xff" * 32), {}, "recipient"),
        (an_order(recipient=b"\0" * 32), {}, "recipient"),
        (an_order(asset=b"\0" * 32), {}, "asset"),
        (an_order(asset=b"\x01" * 32), {}, "asset"),
        (an_order(), {"kind": "attestation"}, "kind"),
        (an_order(), {"key_id": "nobody"}, "key_id"),
        (an_order(), {"signature": b""}, "signature"),
        (an_order(), {"paper": b"\xff\xff\xff"}, "paper"),
    ],
)
async def test_issuance__order_that_no_guard_could_take__refused_by_field(
    order: papers_pb2.IssueOrder, envelope: dict[str, object], field: str
) -> None:
    """F10, F57: zeros, defaults and foreign values stop at the door."""
    world = World()
    await world.relayer.start()
    with pytest.raises(InvalidMessage, match=field):
        await a_servicer(world).SubmitIssueOrder(a_request(order, **envelope), NO_CONTEXT)
    assert not world.disk.transfers


async def test_operator__parked_list_and_retry__over_the_wire() -> None:
    world = World()
    await world.relayer.start()
    servicer = OperatorServicer(world.relayer.operator, SeededRandomness(1))  # type: ignore[abstract]
    for name in ("guard-1", "guard-2"):
        world.guards[name].verdict_of = lambda _: refuse(Reason.SCREENED)
    world.burn(3)
    await world.settle(turns=4)
    pages = []
    token = ""
    while True:
        request = operator_pb2.ListParkedRequest(page_size=2, page_token=token)
        answer = await servicer.ListParked(request, NO_CONTEXT)
        pages.append([row.transfer_id for row in answer.transfers])
        token = answer.next_page_token
        if not token:
            break
    assert [len(page) for page in pages] == [2, 1]
    retry = operator_pb2.RetryParkedRequest(transfer_id=pages[0][0], reason="looked at it")
    await servicer.RetryParked(retry, NO_CONTEXT)
    with pytest.raises(InvalidMessage, match="reason"):
        await servicer.RetryParked(
            operator_pb2.RetryParkedRequest(transfer_id=pages[0][0]), NO_CONTEXT
        )
    with pytest.raises(InvalidMessage, match="transfer_id"):
        await servicer.RetryParked(
            operator_pb2.RetryParkedRequest(transfer_id=b"\0" * 32, reason="x"), NO_CONTEXT
        )


async def test_operator__halt_twice_with_one_request_id__one_halt() -> None:
    world = World()
    await world.relayer.start()
    servicer = OperatorServicer(world.relayer.operator, SeededRandomness(1))  # type: ignore[abstract]
    request = operator_pb2.HaltRequest(reason="drill", request_id="r1")
    request.scope.chain = int(Domain.BNB)
    first = await servicer.Halt(request, NO_CONTEXT)
    second = await servicer.Halt(request, NO_CONTEXT)
    assert first == second
    assert first.halt.scope.chain == int(Domain.BNB)
    listed = await servicer.ListHalts(operator_pb2.ListHaltsRequest(), NO_CONTEXT)
    assert [halt.id for halt in listed.halts] == ["r1"]
    request.scope.chain = 77
    with pytest.raises(InvalidMessage, match="chain"):
        await servicer.Halt(operator_pb2.HaltRequest(reason="x", scope=request.scope), NO_CONTEXT)


def test_access__roles__agent_looks_and_halts_but_never_resumes() -> None:
    table = access({"agent": ["agent"], "alice": ["operator"], "issuer": ["issuer"]})
    operator = "/xstock_wire.v1.OperatorService"
    table.check("agent", f"{operator}/Halt")
    table.check("alice", f"{operator}/Resume")
    table.check("issuer", "/xstock_wire.v1.IssuanceService/SubmitIssueOrder")
    denied = [
        ("agent", f"{operator}/Resume"),
        ("agent", f"{operator}/RetryParked"),
        ("alice", "/xstock_wire.v1.IssuanceService/SubmitIssueOrder"),
        ("issuer", f"{operator}/Halt"),
        ("nobody", f"{operator}/ListParked"),
    ]
    for identity, method in denied:
        with pytest.raises(Exception, match="PERMISSION_DENIED"):
            table.check(identity, method)

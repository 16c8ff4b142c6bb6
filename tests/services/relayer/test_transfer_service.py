"""TransferService: who may ask with what, and what a bad paper says of itself."""

from typing import Any

import grpc
import pytest

from tests.builders import an_orphan
from tests.services.relayer.test_returning import HELD, held, judge
from tests.services.relayer.world import ASSET, World
from xstock_core.ids import Domain
from xstock_core.transfer import Phase
from xstock_relayer.entrypoints.servers import TransferServicer, access, operators
from xstock_relayer.model import Numbered
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_wire.papers import CANCEL_REQUEST, PaperKey
from xstock_wire.v1 import common_pb2, papers_pb2, relayer_pb2

KEY = PaperKey.of_holder(keccak256(b"holder"))
ROLES = {"gateway": ["gateway"], "operator-1": ["operator"], "agent": ["agent"]}
SERVICE = "/xstock_wire.v1.TransferService"


class Aborted(Exception):
    """What the server's context raises when it ends a call."""


class Context:
    """A context that ends calls."""

    async def abort(self, code: grpc.StatusCode, text: str) -> None:
        """End it."""
        raise Aborted(f"{code.name}: {text}")


def a_servicer(world: World, who: str, monkeypatch: pytest.MonkeyPatch) -> TransferServicer:
    """The service as this caller meets it."""
    monkeypatch.setattr("xstock_relayer.entrypoints.servers.caller_identity", lambda: who)
    return TransferServicer(world.relayer.returner, operators(ROLES))


def a_request(
    transfer_id: bytes, *, by_holder: bool = True, **changes: Any
) -> relayer_pb2.TransferServiceCancelTransferRequest:
    """A request to cancel, with the holder's paper."""
    request = relayer_pb2.TransferServiceCancelTransferRequest(
        transfer_id=transfer_id, reason="back please"
    )
    if by_holder:
        said = papers_pb2.CancelRequest(transfer_id=transfer_id, expires=2**40)
        signed = KEY.sign(CANCEL_REQUEST, "test", said)
        fields = {name: getattr(signed, name) for name in ("kind", "paper", "key_id", "signature")}
        request.request.CopyFrom(common_pb2.SignedPaper(**(fields | changes)))
    return request


async def test_cancel__gateway_with_a_paper__taken_and_kept_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    (lost,) = await held(world)
    request = a_request(lost)
    servicer = a_servicer(world, "gateway", monkeypatch)
    answer = await servicer.CancelTransfer(request, Context())  # type: ignore[arg-type]
    assert answer.phase == Phase.CANCELLING.value
    kept = world.disk.transfers[lost].order
    assert kept is not None
    assert (kept.paper, kept.signature) == (request.request.paper, request.request.signature)


async def test_cancel__gateway_without_a_paper__denied_and_an_operator_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    (lost,) = await held(world)
    request = a_request(lost, by_holder=False)
    servicer = a_servicer(world, "gateway", monkeypatch)
    with pytest.raises(Aborted, match="PERMISSION_DENIED"):
        await servicer.CancelTransfer(request, Context())  # type: ignore[arg-type]
    assert world.disk.transfers[lost].view.phase is Phase.HELD
    servicer = a_servicer(world, "operator-1", monkeypatch)
    answer = await servicer.CancelTransfer(request, Context())  # type: ignore[arg-type]
    assert answer.phase == Phase.CANCELLING.value


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "issue-void"}, "request.kind"),
        ({"signature": b""}, "request.signature"),
        ({"paper": b"\xff\xff"}, "request.paper"),
        ({"paper": b""}, "request.transfer_id"),
    ],
)
async def test_cancel__bad_paper__names_its_field(
    changes: dict[str, Any], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    (lost,) = await held(world)
    servicer = a_servicer(world, "gateway", monkeypatch)
    with pytest.raises(InvalidMessage, match=field):
        await servicer.CancelTransfer(a_request(lost, **changes), Context())  # type: ignore[arg-type]


async def test_cancel__paper_in_another_form__stops_here_and_spoils_no_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A guard takes a paper in its one form only, and would refuse a whole batch for this one."""
    world = World()
    (lost,) = await held(world)
    servicer = a_servicer(world, "gateway", monkeypatch)
    said = papers_pb2.CancelRequest(transfer_id=lost, expires=2**40)
    again = papers_pb2.CancelRequest(expires=2**40).SerializeToString()
    crooked = said.SerializeToString(deterministic=True) + again
    assert papers_pb2.CancelRequest.FromString(crooked) == said
    with pytest.raises(InvalidMessage, match=r"request\.paper.*deterministically"):
        await servicer.CancelTransfer(a_request(lost, paper=crooked), Context())  # type: ignore[arg-type]
    assert world.disk.transfers[lost].view.phase is Phase.HELD


def test_access__only_operators_and_the_gateway_may_ask() -> None:
    table = access(ROLES)
    table.check("gateway", f"{SERVICE}/CancelTransfer")
    table.check("operator-1", f"{SERVICE}/RefundOrphan")
    for who, method in (("agent", "CancelTransfer"), ("gateway", "RefundOrphan")):
        with pytest.raises(Exception, match=who):
            table.check(who, f"{SERVICE}/{method}")


async def test_orphan__refund_asked_for__opened_once_and_released_on_its_own_chain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The guards want two approvals; the relayer only opens what a watcher has recorded."""
    world = World()
    await world.relayer.start()
    judge(world, lambda _: HELD)
    orphan = an_orphan(asset=ASSET)
    bridge = world.chains[Domain.BNB].config.bridge
    world.relayer.desk.terms.bridges[Domain.SOLANA, ASSET] = bridge
    world.watchers[Domain.BNB].seen.append(Numbered(1, orphan))
    servicer = a_servicer(world, "operator-1", monkeypatch)
    request = relayer_pb2.RefundOrphanRequest(nonce=orphan.nonce, reason="approved by two")
    first = await servicer.RefundOrphan(request, Context())  # type: ignore[arg-type]
    again = await servicer.RefundOrphan(request, Context())  # type: ignore[arg-type]
    assert first == again
    assert first.phase == Phase.FINAL.value
    (refund,) = world.disk.transfers.values()
    message = refund.state.message
    assert message is not None
    assert (message.source, message.recipient) == (Domain.SOLANA, orphan.owner)
    request.nonce = b"\x07" * 32
    with pytest.raises(InvalidMessage) as missing:
        await servicer.RefundOrphan(request, Context())  # type: ignore[arg-type]
    assert missing.value.code == "ORPHAN_NOT_FOUND"

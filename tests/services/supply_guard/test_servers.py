"""The gRPC servers in front of a guard: who may call, what the wire carries."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import grpc
import pytest

from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    DEPLOYMENT,
    SHARE,
    World,
)
from xstock_core.ids import Domain
from xstock_runtime.clock import SystemClock
from xstock_runtime.grpc_client import ChannelSettings, open_channel
from xstock_runtime.grpc_errors import ErrorTable, remote_error
from xstock_runtime.grpc_server import GrpcServer, GrpcServerSettings
from xstock_runtime.health import Progress
from xstock_runtime.metrics import Metrics
from xstock_supply_guard.entrypoints.servers import (
    SERVICES,
    OperatorServicer,
    SupplyGuardServicer,
    access,
)
from xstock_supply_guard.metrics import GuardMetrics
from xstock_wire.papers import ATTESTATION
from xstock_wire.v1 import (
    common_pb2,
    operator_pb2,
    operator_pb2_grpc,
    papers_pb2,
    supply_guard_pb2,
    supply_guard_pb2_grpc,
)

ROLES = {
    "relayer": ["relayer"],
    "custodian": ["custodian"],
    "agent": ["agent"],
    "issuer": ["issuer"],
    "auditor": ["auditor"],
    "operator-1": ["operator", "approver"],
    "operator-2": ["operator", "approver"],
    "operator-3": ["operator"],
}


@dataclass
class Served:
    """A guard behind its servers."""

    world: World = field(default_factory=World)
    port: int = 0
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    def channel(self, identity: str) -> grpc.aio.Channel:
        """A channel of this caller."""
        settings = ChannelSettings(f"127.0.0.1:{self.port}", dev_identity=identity)
        self.channels.append(open_channel(settings))
        return self.channels[-1]

    def guard(
        self, identity: str = "relayer"
    ) -> "supply_guard_pb2_grpc.SupplyGuardServiceAsyncStub":
        """The guard as this caller sees it."""
        return supply_guard_pb2_grpc.SupplyGuardServiceStub(self.channel(identity))

    def operator(self, identity: str) -> "operator_pb2_grpc.OperatorServiceAsyncStub":
        """The operator's service as this caller sees it."""
        return operator_pb2_grpc.OperatorServiceStub(self.channel(identity))


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A guard with a funded holder, served on loopback."""
    served = Served()
    await served.world.funded()
    desk, clock = served.world.desk, SystemClock()

    def register(server: grpc.aio.Server) -> None:
        metrics = GuardMetrics.create(Metrics("xstock_guard"))
        supply_guard_pb2_grpc.add_SupplyGuardServiceServicer_to_server(
            SupplyGuardServicer(desk, metrics), server
        )
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(OperatorServicer(desk), server)

    server = GrpcServer(
        settings=GrpcServerSettings(
            "127.0.0.1:0", insecure_dev=True, lame_duck_seconds=0, grace_seconds=1
        ),
        access=access(ROLES),
        errors=ErrorTable("xstock-bridge"),
        progress=Progress(clock),
        clock=clock,
        register=register,
        services=SERVICES,
    )
    served.port = await server.start()
    yield served
    for channel in served.channels:
        await channel.close()
    await server.drain()


async def test_review_and_sign__over_the_wire__a_signature_of_this_guard(served: Served) -> None:
    world = served.world
    tx = world.burn()
    world.mine()
    await world.scan()
    claim = world.claim(tx)
    packed = supply_guard_pb2.Claim(message=claim.message.pack(), block_number=claim.block_number)
    reviewed = await served.guard().ReviewTransfers(
        supply_guard_pb2.ReviewTransfersRequest(
            claims=[packed, supply_guard_pb2.Claim(message=bytes(179))]
        )
    )
    assert reviewed.guard_id == "guard-1"
    assert [one.decision for one in reviewed.verdicts] == [
        common_pb2.DECISION_GRANTED,
        common_pb2.DECISION_REJECTED,
    ]
    request = world.request([claim.message])
    signed = await served.guard().SignRelease(
        supply_guard_pb2.SignReleaseRequest(
            destination=request.destination,
            bridge=request.bridge,
            epoch=request.epoch,
            deadline=request.deadline,
            items=[
                supply_guard_pb2.SignItem(
                    transfer_id=item.transfer_id, action=supply_guard_pb2.RELEASE_ACTION_RELEASE
                )
                for item in request.items
            ],
        )
    )
    assert len(signed.signature) == 65
    assert not signed.refusals


@pytest.mark.parametrize("identity", ["custodian", "agent", "operator-1", "nobody"])
async def test_review_and_sign__by_anyone_but_the_relayer__denied(
    served: Served, identity: str
) -> None:
    for call in (
        served.guard(identity).ReviewTransfers(supply_guard_pb2.ReviewTransfersRequest()),
        served.guard(identity).SignRelease(supply_guard_pb2.SignReleaseRequest()),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as denied:
            await call
        assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_sign__default_request__invalid_argument_naming_the_field(served: Served) -> None:
    """F10: an empty request is refused at the boundary."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.guard().SignRelease(supply_guard_pb2.SignReleaseRequest())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "destination" in remote_error(refused.value).message


async def test_attestation__over_the_wire__is_in_the_books(served: Served) -> None:
    paper = papers_pb2.Attestation(
        asset=ASSET,
        held_units=7 * SHARE,
        as_of=served.world.now,
        sequence=9,
        multiplier=str(10**18),
    )
    request = supply_guard_pb2.SubmitAttestationRequest(
        attestation=ATTESTOR.sign(ATTESTATION, DEPLOYMENT, paper)
    )
    answer = await served.guard("custodian").SubmitAttestation(request)
    assert (answer.sequence, answer.cap) == (9, 7 * SHARE)
    foreign = supply_guard_pb2.SubmitAttestationRequest(
        attestation=ATTESTOR.sign(ATTESTATION, "another-deployment", paper)
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.guard("custodian").SubmitAttestation(foreign)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    ledger = await served.guard("gateway").GetLedger(supply_guard_pb2.GetLedgerRequest())
    assert ledger.signing
    book = next(one for one in ledger.assets if one.asset == ASSET)
    assert (book.exposure, book.cap, book.attestation_sequence) == (100 * SHARE, 7 * SHARE, 9)
    chain = next(one for one in book.chains if one.chain == Domain.ETHEREUM)
    assert chain.ledger == 100 * SHARE


async def test_halt_and_resume__over_the_wire__two_operators(served: Served) -> None:
    """F92: neither the agent nor one operator alone clears a halt."""
    latched = await served.operator("agent").Halt(
        operator_pb2.HaltRequest(
            scope=operator_pb2.HaltScope(chain=2), reason="drill", request_id="r-1"
        )
    )
    listed = await served.operator("gateway").ListHalts(operator_pb2.ListHaltsRequest())
    assert [one.id for one in listed.halts] == [latched.halt.id]
    request = operator_pb2.ResumeRequest(halt_id=latched.halt.id, reason="looked")
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await served.operator("agent").Resume(request)
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not (await served.operator("operator-1").Resume(request)).cleared
    assert (await served.operator("operator-2").Resume(request)).cleared


async def test_parked__listed_page_by_page(served: Served) -> None:
    world = served.world
    for _ in range(3):
        world.burn(SHARE, destination=Domain.MANTLE)
    world.mine()
    await world.scan()
    routes = dict(world.desk.config.routes)
    del routes[ASSET, Domain.ETHEREUM, Domain.MANTLE]
    async with world.store.read() as books:
        assert await books.parked(None, 10) == []
    world.desk.config = replace(world.desk.config, routes=routes)
    chain = world.chains[Domain.ETHEREUM]
    burns = [
        one
        for number in range(chain.head.number + 1)
        if (block := chain.block(number))
        for one in block.observations
        if type(one).__name__ == "BurnFinal"
    ]
    packed = [
        supply_guard_pb2.Claim(message=one.message.pack())  # type: ignore[union-attr]
        for one in burns
    ]
    await served.guard().ReviewTransfers(supply_guard_pb2.ReviewTransfersRequest(claims=packed))
    operator = served.operator("operator-1")
    first = await operator.ListParked(operator_pb2.ListParkedRequest(page_size=2))
    rest = await operator.ListParked(
        operator_pb2.ListParkedRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [len(first.transfers), len(rest.transfers)] == [2, 1]
    assert rest.next_page_token == ""
    assert first.transfers[0].reason == "ROUTE_CLOSED"

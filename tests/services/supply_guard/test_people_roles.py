"""F91: every RPC of a guard against every role, no certificate, a stranger's and an expired one.

The table below is written out by hand: what a role may do is decided here once more, so that a
method which gains a caller in the code alone is seen.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection

from tests.services.runtime.test_grpc_tls import Authority
from tests.services.supply_guard.world import World
from xstock_runtime.clock import SystemClock, VirtualClock
from xstock_runtime.grpc_client import ChannelSettings, ClientTls, open_channel
from xstock_runtime.grpc_errors import ErrorTable
from xstock_runtime.grpc_server import GrpcServer, GrpcServerSettings, TlsFiles
from xstock_runtime.health import Progress
from xstock_runtime.metrics import Metrics
from xstock_supply_guard.entrypoints.audit_server import AuditServicer
from xstock_supply_guard.entrypoints.people_server import DenialWatch
from xstock_supply_guard.entrypoints.servers import (
    SERVICES,
    OperatorServicer,
    SupplyGuardServicer,
    access,
)
from xstock_supply_guard.metrics import GuardMetrics
from xstock_wire.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    supply_guard_pb2,
    supply_guard_pb2_grpc,
)

EVERY_ROLE = frozenset(
    {"relayer", "gateway", "custodian", "issuer", "agent", "operator", "approver", "auditor"}
)
ANYBODY = EVERY_ROLE | {"visitor"}
MAY = {
    "ReviewTransfers": {"relayer"},
    "SignRelease": {"relayer"},
    "SubmitAttestation": {"custodian", "agent", "operator"},
    "SubmitRejection": {"custodian"},
    "ListRedemptions": {"custodian", "operator", "gateway", "agent", "auditor"},
    "SignOpening": {"operator"},
    "SubmitOpening": {"operator"},
    "SubmitCorporateAction": {"issuer", "operator"},
    "GetLedger": ANYBODY,
    "Halt": {"operator", "agent"},
    "Resume": {"approver"},
    "ListHalts": ANYBODY,
    "ListParked": {"operator", "approver", "gateway", "agent", "auditor"},
    "RetryParked": {"operator"},
    "Pause": {"operator", "agent"},
    "ListPauses": {"operator", "approver", "agent", "auditor", "gateway"},
    "Propose": {"operator", "approver"},
    "Approve": {"approver"},
    "ListProposals": {"operator", "approver", "agent", "auditor"},
    "ListAlarms": {"operator", "approver", "agent", "auditor", "gateway"},
    "ExportJournal": {"auditor", "agent", "operator"},
    "GetSupplyProof": {"auditor", "agent", "operator", "gateway"},
    "GetLedgerHash": {"auditor", "agent", "operator"},
}
DENIED = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


def methods() -> Iterator[tuple[str, bool]]:
    """(full name, whether it streams) of every method of every service of a guard."""
    for file in (supply_guard_pb2, operator_pb2, audit_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}", method.server_streaming


@dataclass
class Served:
    """A guard behind its server."""

    world: World
    watch: DenialWatch
    server: GrpcServer
    metrics: GuardMetrics


async def serve(
    settings: GrpcServerSettings, roles: Mapping[str, list[str]] | None = None
) -> Served:
    """A guard that books nothing, with one identity per role unless `roles` says otherwise."""
    clock = SystemClock()
    world = World(clock=VirtualClock(clock.unix_ms()))
    metrics = GuardMetrics.create(Metrics("xstock_guard"))
    watch = DenialWatch(world.desk, metrics, clock)

    def register(server: grpc.aio.Server) -> None:
        guard = SupplyGuardServicer(world.desk, metrics, None)
        supply_guard_pb2_grpc.add_SupplyGuardServiceServicer_to_server(guard, server)
        operator = OperatorServicer(world.desk)
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(operator, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(world.desk, None), server)

    server = GrpcServer(
        settings=settings,
        access=access(roles or {role: [role] for role in EVERY_ROLE}),
        errors=ErrorTable("xstock-bridge"),
        progress=Progress(clock),
        clock=clock,
        register=register,
        services=SERVICES,
        denied=watch.note,
    )
    await server.start()
    return Served(world, watch, server, metrics)


@pytest.fixture
async def dev() -> AsyncIterator[Served]:
    """A guard on a laptop: the caller says who it is."""
    settings = GrpcServerSettings(
        "127.0.0.1:0", insecure_dev=True, lame_duck_seconds=0, grace_seconds=1
    )
    served = await serve(settings)
    yield served
    await served.server.drain()


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """The deployment's own certificate authority."""
    return Authority(tmp_path, "ours")


@pytest.fixture
async def production(ours: Authority) -> AsyncIterator[Served]:
    """A guard behind mutual TLS."""
    certificate, key = ours.issue("guard-1", "localhost")
    tls = TlsFiles(certificate, key, ours.path)
    settings = GrpcServerSettings("127.0.0.1:0", tls=tls, lame_duck_seconds=0, grace_seconds=1)
    served = await serve(settings)
    yield served
    await served.server.drain()


async def code_of(channel: Any, method: str, *, streams: bool) -> grpc.StatusCode:
    """How an empty request to a method ends."""
    try:
        if streams:
            async for _ in channel.unary_stream(method)(b"", timeout=5):
                pass
        else:
            await channel.unary_unary(method)(b"", timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_table__names_every_method_of_a_guard() -> None:
    assert {name.rpartition("/")[2] for name, _ in methods()} == MAY.keys()


@pytest.mark.parametrize("identity", sorted(ANYBODY))
async def test_matrix__every_rpc_by_every_role__denied_unless_the_table_says_so(
    dev: Served, identity: str
) -> None:
    """F91."""
    settings = ChannelSettings(f"127.0.0.1:{dev.server.port}", dev_identity=identity)
    wrong = {}
    async with open_channel(settings) as channel:
        for method, streams in methods():
            code = await code_of(channel, method, streams=streams)
            allowed = identity in MAY[method.rpartition("/")[2]]
            if allowed == (code in DENIED):
                wrong[method] = code
    assert wrong == {}


async def test_matrix__nobody_in_particular__gets_only_what_is_anybodys(dev: Served) -> None:
    """F91: without a name nothing but the public figures."""
    async with open_channel(ChannelSettings(f"127.0.0.1:{dev.server.port}")) as channel:
        for method, streams in methods():
            code = await code_of(channel, method, streams=streams)
            public = MAY[method.rpartition("/")[2]] is ANYBODY
            assert (code is grpc.StatusCode.UNAUTHENTICATED) is not public, method


@pytest.mark.parametrize("life", [timedelta(days=1), timedelta(minutes=-1)])
async def test_certificate__expired__gets_through_to_nothing(
    production: Served, ours: Authority, life: timedelta
) -> None:
    """F85, F91: an expired key is refused before anything is asked."""
    certificate, key = ours.issue("relayer", life=life)
    settings = ChannelSettings(
        f"localhost:{production.server.port}", tls=ClientTls(ours.path, certificate, key)
    )
    valid = life > timedelta(0)
    async with open_channel(settings) as channel:
        for method, streams in list(methods())[: None if valid else 3]:
            code = await code_of(channel, method, streams=streams)
            if not valid:
                assert code is grpc.StatusCode.UNAVAILABLE, method
            else:
                allowed = "relayer" in MAY[method.rpartition("/")[2]]
                assert (code in DENIED) is not allowed, method


async def test_certificate__none_at_all__does_not_get_through(
    production: Served, ours: Authority
) -> None:
    """F91."""
    credentials = grpc.ssl_channel_credentials(ours.path.read_bytes())
    target = f"localhost:{production.server.port}"
    async with grpc.aio.secure_channel(target, credentials) as channel:
        for method, streams in list(methods())[:3]:
            code = await code_of(channel, method, streams=streams)
            assert code is grpc.StatusCode.UNAVAILABLE, method


async def test_reflection__in_production__is_off(production: Served, ours: Authority) -> None:
    """F91: a stranger's tool is told nothing."""
    certificate, key = ours.issue("auditor")
    settings = ChannelSettings(
        f"localhost:{production.server.port}", tls=ClientTls(ours.path, certificate, key)
    )
    name = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"
    async with open_channel(settings) as channel:
        code = await code_of(channel, name, streams=True)
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_denials__over_the_wire__are_counted_and_told_once(dev: Served) -> None:
    """F85: tries of a key that has no right are heard."""
    settings = ChannelSettings(f"127.0.0.1:{dev.server.port}", dev_identity="visitor")
    resume = "/xstock_wire.v1.OperatorService/Resume"
    async with open_channel(settings) as channel:
        for _ in range(7):
            assert await code_of(channel, resume, streams=False) in DENIED
    counted = dev.metrics.denials.labels("visitor", resume)._value.get()
    assert counted == 7
    assert await dev.watch.step() == ("visitor",)
    assert await dev.watch.step() == ()
    async with dev.world.store.read() as books:
        (told,) = await books.alarms()
    assert told.alarm.detail == "visitor was denied 7 times: Resume"


async def test_access__deny_by_default_removed__a_visitor_resumes(dev: Served) -> None:
    """Defence removed: the matrix is what notices."""
    dev.server.access.methods["/xstock_wire.v1.OperatorService/Resume"] |= {"anyone"}  # type: ignore[index]
    settings = ChannelSettings(f"127.0.0.1:{dev.server.port}", dev_identity="visitor")
    async with open_channel(settings) as channel:
        code = await code_of(channel, "/xstock_wire.v1.OperatorService/Resume", streams=False)
    assert code not in DENIED

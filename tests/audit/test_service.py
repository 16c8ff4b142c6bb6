"""The auditor's service over the wire: who may ask, what comes, what is refused."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from tests.audit import journals
from tests.audit.test_verify_journal import KEYS, checker
from tests.services.supply_guard.world import ASSET, DEPLOYMENT, SHARE, World
from xstock_cli.journal_file import JournalFile
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import ServiceError
from xstock_runtime.grpc_client import ChannelSettings, open_channel
from xstock_runtime.grpc_errors import ErrorTable, remote_error
from xstock_runtime.grpc_server import GrpcServer, GrpcServerSettings
from xstock_runtime.health import Progress
from xstock_supply_guard.entrypoints.audit_server import SERVICE, AuditServicer
from xstock_supply_guard.entrypoints.servers import access
from xstock_supply_guard.handlers.prove import ledger_hash
from xstock_wire.papers import PaperKey
from xstock_wire.v1 import audit_pb2, audit_pb2_grpc, papers_pb2

__all__ = ["checker"]
ROLES = {"auditor": ["auditor"], "relayer": ["relayer"], "agent": ["agent"]}


@dataclass
class Served:
    """A guard with a history behind its auditor's service."""

    world: World
    port: int = 0
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    def ask(self, identity: str = "auditor") -> "audit_pb2_grpc.AuditServiceAsyncStub":
        """The service as this caller sees it."""
        channel = open_channel(ChannelSettings(f"127.0.0.1:{self.port}", dev_identity=identity))
        self.channels.append(channel)
        return audit_pb2_grpc.AuditServiceStub(channel)


async def serve(world: World, key: PaperKey | None) -> tuple[Served, GrpcServer]:
    """The service on loopback."""
    clock = SystemClock()

    def register(server: grpc.aio.Server) -> None:
        servicer = AuditServicer(world.desk, key)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(servicer, server)

    server = GrpcServer(
        settings=GrpcServerSettings(
            "127.0.0.1:0", insecure_dev=True, lame_duck_seconds=0, grace_seconds=1
        ),
        access=access(ROLES),
        errors=ErrorTable("xstock-bridge"),
        progress=Progress(clock),
        clock=clock,
        register=register,
        services=(SERVICE,),
    )
    return Served(world, await server.start()), server


@pytest.fixture(params=[journals.PAPER_KEY], ids=["with a paper key"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """A guard that can sign papers."""
    world = World()
    await journals.history(world)
    made, server = await serve(world, request.param)
    yield made
    for channel in made.channels:
        await channel.close()
    await server.drain()


async def refused(call: "grpc.aio.UnaryUnaryCall[Any, Any]") -> ServiceError:
    """Why a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return remote_error(raised.value)


async def test_export__by_the_auditor__streams_the_journal_that_verifies(
    served: Served, tmp_path: Path, checker: ModuleType
) -> None:
    file = JournalFile.resume(tmp_path / "journal.jsonl", "guard-1")
    async for page in served.ask().ExportJournal(audit_pb2.ExportJournalRequest()):
        file.append(page)
    async with served.world.store.read() as books:
        head = await books.journal_head()
    report = checker.verify(file.path)
    assert (report.links, report.last.digest) == (head.sequence, head.digest)


async def test_export__nothing_new__one_empty_page_says_so(served: Served) -> None:
    async with served.world.store.read() as books:
        last = (await books.journal_head()).sequence
    request = audit_pb2.ExportJournalRequest(after_sequence=last)
    pages = [page async for page in served.ask().ExportJournal(request)]
    assert [(len(page.links), page.last_sequence) for page in pages] == [(0, last)]


async def test_proof__of_now__is_signed_and_is_what_the_journal_says(
    served: Served, tmp_path: Path, checker: ModuleType
) -> None:
    request = audit_pb2.GetSupplyProofRequest(asset=ASSET)
    signed = (await served.ask().GetSupplyProof(request)).proof
    paper = papers_pb2.SupplyProof.FromString(signed.paper)
    assert (paper.exposure, paper.cap) == (100 * SHARE, 1000 * SHARE)
    assert {one.chain: one.ledger for one in paper.chains}[2] == 40 * SHARE
    assert all(one.booked_number for one in paper.chains)
    document = {
        "deployment": DEPLOYMENT,
        "key_id": signed.key_id,
        "paper": signed.paper.hex(),
        "signature": signed.signature.hex(),
    }
    proof = journals.write(tmp_path / "proof.json", [json.loads(json.dumps(document))])
    journal = await journals.export(served.world, tmp_path / "journal.jsonl")
    assert checker.verify(journal, [proof], KEYS).proofs[0].signed


@pytest.mark.parametrize(
    ("asset", "at_ms", "field_name"), [(b"\x01" * 32, 0, "asset"), (ASSET, 2**52, "at_ms")]
)
async def test_proof__unknown_asset_or_time_to_come__names_the_field(
    served: Served, asset: bytes, at_ms: int, field_name: str
) -> None:
    request = audit_pb2.GetSupplyProofRequest(asset=asset, at_ms=at_ms)
    error = await refused(served.ask().GetSupplyProof(request))
    assert error.code == "FIELD_INVALID"
    assert field_name in error.message


async def test_proof__before_the_first_link__is_a_proof_of_nothing(served: Served) -> None:
    request = audit_pb2.GetSupplyProofRequest(asset=ASSET, at_ms=1)
    signed = (await served.ask().GetSupplyProof(request)).proof
    paper = papers_pb2.SupplyProof.FromString(signed.paper)
    assert (paper.journal_sequence, paper.exposure, paper.cap) == (0, 0, 0)


@pytest.mark.parametrize("served", [None], indirect=True, ids=["without a paper key"])
async def test_proof__guard_without_a_paper_key__says_which_setting(served: Served) -> None:
    error = await refused(served.ask().GetSupplyProof(audit_pb2.GetSupplyProofRequest(asset=ASSET)))
    assert "XSTOCK_GUARD_PAPER_KEY_FILE" in error.message


async def test_hash__over_the_wire__is_the_ledgers(served: Served) -> None:
    answer = await served.ask("agent").GetLedgerHash(audit_pb2.GetLedgerHashRequest())
    assert answer.ledger_hash == (await ledger_hash(served.world.desk)).digest
    assert answer.entries >= 5


async def test_every_method__by_the_relayer__denied(served: Served) -> None:
    """F91: the journal names every transfer and every person; it is for auditors."""
    stub = served.ask("relayer")
    for call in (
        stub.GetSupplyProof(audit_pb2.GetSupplyProofRequest(asset=ASSET)),
        stub.GetLedgerHash(audit_pb2.GetLedgerHashRequest()),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in stub.ExportJournal(audit_pb2.ExportJournalRequest()):
            pass
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED

"""Sixty-four clients at the cap's edge, over gRPC, against one real guard on PostgreSQL.

Every client has a burn of its own to be reviewed and signed, and its own idea of who shall get
the next issuance: all of them order every number at once, in the same room under the cap. A
watcher reads the books all the while. What counts is the sum: never above the cap, every burn
granted, one order a number, and whoever asks again hears the same.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
from sqlalchemy import text

from tests.integration.supply_guard.conftest import GuardDatabase, Opened
from tests.services.supply_guard.world import ASSET, SHARE, World
from xstock_chains.fake import FakeSigner
from xstock_core.ids import TransferId
from xstock_runtime.clock import SystemClock
from xstock_runtime.grpc_client import ChannelSettings, open_channel
from xstock_runtime.grpc_errors import ErrorTable
from xstock_runtime.grpc_server import GrpcServer, GrpcServerSettings
from xstock_runtime.hashing import keccak256
from xstock_runtime.health import Progress
from xstock_runtime.metrics import Metrics
from xstock_supply_guard.entrypoints.servers import SERVICES, SupplyGuardServicer, access
from xstock_supply_guard.metrics import GuardMetrics
from xstock_supply_guard.model import SubmittedClaim
from xstock_wire.papers import ISSUE_ORDER
from xstock_wire.v1 import common_pb2, supply_guard_pb2, supply_guard_pb2_grpc

T = TypeVar("T")
CLIENTS = 64
FUNDED = 100 * SHARE
ROOM = 10_000
"""What may still be issued under the cap, in message units."""
AMOUNT = 1_900
NUMBERS = range(2, 8)
"""Orders that everybody places: five fit into the room, the sixth does not."""


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """The answer, however often a guard with its hands full turns the caller away first."""
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        await asyncio.sleep(0.02)


@dataclass
class Client:
    """One caller of the guard with its burn and its orders."""

    stub: "supply_guard_pb2_grpc.SupplyGuardServiceAsyncStub"
    burn: SubmittedClaim
    orders: Sequence[supply_guard_pb2.Claim]
    heard: dict[bytes, list[tuple[int, str]]] = field(default_factory=dict)
    signature: bytes = b""

    async def review(self, claim: supply_guard_pb2.Claim) -> common_pb2.Verdict:
        """One claim's verdict, remembered."""
        request = supply_guard_pb2.ReviewTransfersRequest(claims=[claim])
        answer = await insist(lambda: self.stub.ReviewTransfers(request, timeout=60))
        (verdict,) = answer.verdicts
        heard = self.heard.setdefault(verdict.transfer_id, [])
        heard.append((verdict.decision, verdict.reason))
        return verdict

    async def attack(self, world: World) -> None:
        """Everything at once, twice, and a signature for the burn."""
        burn = supply_guard_pb2.Claim(
            message=self.burn.message.pack(), block_number=self.burn.block_number
        )
        for _ in range(2):
            await asyncio.gather(self.review(burn), *(self.review(one) for one in self.orders))
        request = world.request([self.burn.message])
        wanted = supply_guard_pb2.SignReleaseRequest(
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
        answer = await insist(lambda: self.stub.SignRelease(wanted, timeout=60))
        self.signature = answer.signature

    def granted(self) -> list[bytes]:
        """The transfers of which this client was ever told that they are granted."""
        return [
            transfer_id
            for transfer_id, told in self.heard.items()
            if any(decision == common_pb2.DECISION_GRANTED for decision, _ in told)
        ]


@asynccontextmanager
async def leased(opened: Opened) -> AsyncIterator[None]:
    """The writer's lease kept for as long as it takes, as the service does."""
    assert opened.lease is not None
    keeper = asyncio.create_task(opened.lease.keep(opened.database, SystemClock()))
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


@asynccontextmanager
async def served(world: World) -> AsyncIterator[int]:
    """The guard's port."""
    clock = SystemClock()

    def register(server: grpc.aio.Server) -> None:
        servicer = SupplyGuardServicer(
            world.desk, GuardMetrics.create(Metrics("xstock_guard_attack"))
        )
        supply_guard_pb2_grpc.add_SupplyGuardServiceServicer_to_server(servicer, server)

    server = GrpcServer(
        settings=GrpcServerSettings(
            "127.0.0.1:0", insecure_dev=True, lame_duck_seconds=0, grace_seconds=1
        ),
        access=access({f"relayer-{n}": ["relayer"] for n in range(CLIENTS)}),
        errors=ErrorTable("xstock-bridge"),
        progress=Progress(clock),
        clock=clock,
        register=register,
        services=SERVICES[:1],
    )
    port = await server.start()
    try:
        yield port
    finally:
        await server.drain()


def order(world: World, client: int, number: int) -> supply_guard_pb2.Claim:
    """This number's order in this client's favour, signed by the issuer."""
    recipient = FakeSigner(f"client-{client}".encode()).address
    submitted = world.order(number, AMOUNT, recipient=recipient)
    paper = submitted.order
    assert paper is not None
    signed = common_pb2.SignedPaper(
        kind=ISSUE_ORDER,
        paper=paper.statement.paper,
        key_id=paper.statement.key_id,
        signature=paper.statement.signature,
    )
    return supply_guard_pb2.Claim(message=submitted.message.pack(), order=signed)


async def prepared(opened: Opened) -> tuple[World, list[SubmittedClaim]]:
    """A guard at the cap's edge and a final burn per client."""
    world = World(store=opened.store)
    await world.funded(FUNDED, held=FUNDED + ROOM)
    burns = [world.burn(SHARE) for _ in range(CLIENTS)]
    world.mine()
    await world.scan()
    return world, [world.claim(tx) for tx in burns]


async def watch(
    stub: "supply_guard_pb2_grpc.SupplyGuardServiceAsyncStub", seen: list[tuple[int, int]]
) -> None:
    """(exposure, cap) again and again."""
    while True:
        answer = await stub.GetLedger(supply_guard_pb2.GetLedgerRequest(assets=[ASSET]), timeout=60)
        seen.append((answer.assets[0].exposure, answer.assets[0].cap))
        await asyncio.sleep(0.02)


async def stampede(
    world: World, burns: Sequence[SubmittedClaim]
) -> tuple[list[Client], Counter[str]]:
    """All clients at once; what the watcher saw above the cap is counted."""
    seen: list[tuple[int, int]] = []
    async with served(world) as port:
        channels = [
            open_channel(ChannelSettings(f"127.0.0.1:{port}", dev_identity=f"relayer-{n}"))
            for n in range(CLIENTS)
        ]
        stubs = [supply_guard_pb2_grpc.SupplyGuardServiceStub(channel) for channel in channels]
        clients = [
            Client(stubs[n], burn, [order(world, n, number) for number in NUMBERS])
            for n, burn in enumerate(burns)
        ]
        watcher = asyncio.create_task(watch(stubs[0], seen))
        try:
            await asyncio.gather(*(client.attack(world) for client in clients))
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            for channel in channels:
                await channel.close()
    kinds = Counter("above" if exposure > cap else "within" for exposure, cap in seen)
    return clients, kinds


async def decided(opened: Opened) -> Mapping[bytes, tuple[str, int]]:
    """What the database keeps: outcome and how often the outbox tells it, by transfer."""
    async with opened.database.transaction() as connection:
        rows = await connection.execute(
            text(
                "SELECT transfer_id, outcome, (SELECT count(*) FROM outbox"
                " WHERE key = transfer_id) AS told FROM claim"
            )
        )
        return {bytes(row.transfer_id): (row.outcome, row.told) for row in rows}


async def test_clients__sixty_four_at_the_caps_edge__never_above_it_and_nothing_is_lost(
    guard_database: GuardDatabase,
) -> None:
    """F49, F72, INV-04: 64 clients, each number ordered 64 times, five orders fit."""
    opened = await guard_database.open()
    world, burns = await prepared(opened)
    async with leased(opened):
        clients, seen = await stampede(world, burns)
        await asked_again(world, opened, clients)
    granted = {key for client in clients for key in client.granted()}
    own = {client.burn.message.transfer_id(keccak256) for client in clients}
    orders = granted - own
    assert granted >= own
    assert len(orders) == ROOM // AMOUNT
    assert all(client.signature for client in clients)
    assert (seen["above"], seen["within"] > 0) == (0, True)
    async with opened.store.read() as books:
        (record,) = (await books.attestations([ASSET])).values()
        known = await books.claims([TransferId(key) for key in orders])
    numbers = [int.from_bytes(one.message.nonce[24:], "big") for one in known.values()]
    assert sorted(numbers) == [2, 3, 4, 5, 6]
    async with opened.database.transaction() as connection:
        used = await connection.scalar(
            text("SELECT -amount FROM balance WHERE asset = :asset AND account = 'custody'"),
            {"asset": ASSET},
        )
    assert used == FUNDED + len(orders) * AMOUNT <= record.attestation.cap(0)
    kept = await decided(opened)
    assert {key for key, (outcome, _) in kept.items() if outcome == "GRANTED"} >= granted
    assert all(kept[key][1] >= 1 for client in clients for key in client.heard)


async def asked_again(world: World, opened: Opened, clients: Sequence[Client]) -> None:
    """What was granted is granted to whoever asks, and costs no further room."""
    before = await decided(opened)
    async with served(world) as port:
        channel = open_channel(ChannelSettings(f"127.0.0.1:{port}", dev_identity="relayer-0"))
        stub = supply_guard_pb2_grpc.SupplyGuardServiceStub(channel)
        for client in clients[:8]:
            last = {key: told[-1] for key, told in client.heard.items()}
            client.stub = stub
            for claim in client.orders:
                await client.review(claim)
            for key, told in client.heard.items():
                if last[key][0] == common_pb2.DECISION_GRANTED:
                    assert told[-1] == last[key]
        await channel.close()
    after = await decided(opened)
    assert {k: v for k, v in after.items() if v[0] == "GRANTED"} == {
        k: v for k, v in before.items() if v[0] == "GRANTED"
    }

"""WatcherService over real gRPC, asked by the gateway's own client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.builders import an_address
from tests.services.watcher.world import CHAIN, WatcherWorld
from xstock_core.ids import Domain
from xstock_core.observation import BurnFinal, TxRef
from xstock_gateway.adapters.peers import GrpcWatchers
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Transient
from xstock_runtime.grpc_client import ChannelSettings, open_channel
from xstock_runtime.health import Progress
from xstock_watcher.bootstrap import grpc_server
from xstock_watcher.settings import WatcherSettings
from xstock_wire.codec import observation_from_wire
from xstock_wire.v1 import watcher_pb2, watcher_pb2_grpc

DEPLOYMENT = "test"


@asynccontextmanager
async def serving(world: WatcherWorld) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to this watcher."""
    settings = WatcherSettings(
        database_url="postgresql://nobody@127.0.0.1/none",
        kafka_bootstrap="127.0.0.1:1",
        kafka_mac_key=bytes(range(32)).hex(),
        insecure_dev=True,
        chain="ethereum",
        registry_path=Path("registry.json"),
        provider_urls=["http://127.0.0.1:1"],
    )
    clock = SystemClock()
    server = grpc_server(settings, world.handlers, DEPLOYMENT, Progress(clock), clock)
    server.settings = type(server.settings)(
        listen="127.0.0.1:0", insecure_dev=True, lame_duck_seconds=0.0, grace_seconds=0.5
    )
    port = await server.start()
    try:
        async with open_channel(ChannelSettings(f"127.0.0.1:{port}")) as channel:
            yield channel
    finally:
        await server.drain()


async def test_watcher__asked_by_the_gateway__answers_with_what_it_knows() -> None:
    world = WatcherWorld()
    world.chain.mine(3)
    tx = world.burn()
    async with serving(world) as channel:
        watchers = GrpcWatchers({CHAIN: channel}, DEPLOYMENT)
        assert (await watchers.look(tx)).verdict == "IN_MEMPOOL"
        world.chain.mine()
        looked = await watchers.look(tx)
        assert looked.verdict == "SEEN_NOT_FINAL"
        assert [pending.tx for pending in looked.pending] == [tx]
        world.chain.mine(3)
        looked = await watchers.look(tx)
        assert looked.verdict == "TRACKED"
        assert isinstance(looked.observations[0], BurnFinal)
        await world.scan_all()
        again = await watchers.look(tx)
        assert again.observations == looked.observations
        assert again.through == world.chain.final
        plain = world.chain.refuse(an_address(9), refuses=False)
        world.chain.mine(4)
        assert (await watchers.look(plain)).verdict == "NOT_A_BRIDGE_BURN"


async def test_watcher__not_configured_away_or_of_another_deployment__is_transient() -> None:
    world = WatcherWorld()
    tx = world.burn()
    world.chain.mine(4)
    async with serving(world) as channel:
        with pytest.raises(Transient, match="WATCHER_UNKNOWN"):
            await GrpcWatchers({}, DEPLOYMENT).look(tx)
        with pytest.raises(Transient, match="WATCHER_UNBELIEVABLE"):
            await GrpcWatchers({CHAIN: channel}, "other").look(tx)
        world.node.faults.stopped = True
        with pytest.raises(Transient, match="NODE_DOWN"):
            await GrpcWatchers({CHAIN: channel}, DEPLOYMENT).look(TxRef(CHAIN, b"\x09" * 32))
    async with open_channel(ChannelSettings("127.0.0.1:1", deadline_seconds=1.0)) as nobody:
        with pytest.raises(Transient):
            await GrpcWatchers({Domain.BNB: nobody}, DEPLOYMENT).look(TxRef(Domain.BNB, bytes(32)))


async def test_watcher__observations_read_from_its_database__dense_and_in_pages() -> None:
    """F81: what Kafka lost can be read here."""
    world = WatcherWorld()
    for _ in range(5):
        world.burn()
        world.chain.mine()
    world.chain.mine(3)
    async with serving(world) as channel:
        stub: Any = watcher_pb2_grpc.WatcherServiceStub(channel)
        cursor = await stub.GetCursor(watcher_pb2.GetCursorRequest())
        assert (cursor.sequence, cursor.HasField("through")) == (0, False)
        await world.scan_all()
        cursor = await stub.GetCursor(watcher_pb2.GetCursorRequest())
        assert (cursor.sequence, cursor.through.number) == (5, world.chain.final.number)
        records: list[Any] = []
        while True:
            request = watcher_pb2.ListObservationsRequest(after_sequence=len(records), page_size=2)
            page = list((await stub.ListObservations(request)).observations)
            if not page:
                break
            records += page
        assert [record.sequence for record in records] == [1, 2, 3, 4, 5]
        kept = await world.books.list_after(0, 9)
        found = [observation_from_wire(r, deployment_id=DEPLOYMENT) for r in records]
        assert found == [n.observation for n in kept]

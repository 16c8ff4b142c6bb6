"""Gateways come and go over real gRPC and PostgreSQL; a client with its token sees no gap.

Method: one task writes lives of transfers into the store, as the intake would. A client follows
with whatever token it handled last; after a number of frames drawn from the seed its server is
killed (connections cut) or drained (goodbye frame), and the next one starts on another port over
the same database. At the end the events, deduplicated by id, must be the journal's.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.builders import SHARE
from tests.services.gateway.facts import final, said, seen
from tests.services.gateway.serving import Serving, details_of, serving
from tests.services.gateway.test_api import build_request
from tests.services.gateway.world import GatewayWorld
from xstock_core.ids import Domain
from xstock_gateway.adapters.postgres import PostgresGatewayStore
from xstock_gateway.entrypoints.loops import JournalLoops
from xstock_gateway.handlers.ingest import IngestHandler
from xstock_runtime.clock import SystemClock
from xstock_wire.v1 import bridge_pb2

CLOCK = SystemClock()
BEGINNING = bridge_pb2.WatchStart(time=Timestamp(seconds=0))


@asynccontextmanager
async def gateway(store: PostgresGatewayStore) -> AsyncIterator[Serving]:
    """One gateway process: server, and the loop that hears the journal grow."""
    world = GatewayWorld(clock=CLOCK, store=store)
    loops = JournalLoops(store, world.wakeups, CLOCK, retention_days=30)
    listening = asyncio.ensure_future(loops.listen())
    try:
        async with serving(world) as running:
            yield running
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


async def write_lives(store: PostgresGatewayStore, transfers: int) -> None:
    """Every transfer's plain road, a page each few milliseconds."""
    ingest = IngestHandler(store, CLOCK)
    for n in range(1, transfers + 1):
        await ingest.take([seen(n), final(n)], ())
        await asyncio.sleep(0.002)
        await ingest.take([said(n, revision) for revision in range(1, 6)], ())


async def follow(
    running: Serving, token: bytes, frames: int, handled: list[str], events: int
) -> bytes:
    """Handle this many frames, fewer once all events are there; the last token."""
    start = bridge_pb2.WatchStart(resume_token=token) if token else BEGINNING
    stream = running.stub.WatchTransfers(bridge_pb2.WatchTransfersRequest(start=start))
    for _ in range(frames):
        frame = await asyncio.wait_for(stream.read(), 20.0)
        token = frame.resume_token
        if frame.WhichOneof("frame") == "event":
            handled.append(frame.event.event_id)
        if len(set(handled)) == events:
            break
    stream.cancel()
    return token


@pytest.mark.parametrize("seed", range(4))
async def test_gateway__killed_and_started_again__client_with_a_token_sees_no_gap(
    store: PostgresGatewayStore, seed: int
) -> None:
    chance = random.Random(seed)
    transfers = 25
    writing = asyncio.ensure_future(write_lives(store, transfers))
    handled: list[str] = []
    token = b""
    while len(set(handled)) < transfers * 7:
        async with gateway(store) as running:
            token = await follow(running, token, chance.randint(2, 60), handled, transfers * 7)
            if chance.random() < 0.5 and running.server._server is not None:
                await running.server._server.stop(None)
    await writing
    lines = await store.journal_after(0, 10_000)
    journal = [f"{x.change.view.transfer_id.hex()}-{x.change.view.revision}" for x in lines]
    assert list(dict.fromkeys(handled)) == journal


async def test_gateway__two_at_once_on_one_database__both_streams_tell_the_journal(
    store: PostgresGatewayStore,
) -> None:
    async with gateway(store) as one, gateway(store) as two:
        both: tuple[list[str], list[str]] = ([], [])
        reading = [
            asyncio.ensure_future(follow(running, b"", 1 + 70, handled, 70))
            for running, handled in zip((one, two), both, strict=True)
        ]
        await write_lives(store, 10)
        await asyncio.gather(*reading)
        assert len(both[0]) == 70
        assert both[0] == both[1]


async def test_gateway__burn_built_before_the_restart__same_bytes_after_it(
    store: PostgresGatewayStore,
) -> None:
    async with gateway(store) as first:
        built = await first.stub.BuildBurn(build_request())
    async with gateway(store) as second:
        second.world.chains[Domain.ETHEREUM].mine(9)
        again = await second.stub.BuildBurn(build_request())
        assert again.SerializeToString() == built.SerializeToString()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await second.stub.BuildBurn(build_request(shares=2 * SHARE))
        assert details_of(refused.value)["ErrorInfo"]["reason"] == "REQUEST_ID_REUSED"


async def test_gateway__long_poll__woken_by_another_process_of_it(
    store: PostgresGatewayStore,
) -> None:
    await IngestHandler(store, CLOCK).take([final(1)], ())
    async with gateway(store) as running:
        request = bridge_pb2.GetTransferRequest(
            transfer_id=final(1).transfer_id, wait_for_revision_above=1
        )
        waiting = asyncio.ensure_future(running.stub.GetTransfer(request, timeout=9.0))
        await asyncio.sleep(0.3)
        await IngestHandler(store, CLOCK).take([said(1, 5)], ())
        answer = await asyncio.wait_for(waiting, 5.0)
        assert answer.transfer.revision == 2

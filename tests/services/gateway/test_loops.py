"""The gateway's loops: forgetting on time, waking, and what is said of records never read."""

import asyncio
from contextlib import suppress

from tests.services.gateway.facts import final
from tests.services.gateway.world import GatewayWorld
from xstock_gateway.adapters.memory import MemoryGatewayStore
from xstock_gateway.entrypoints.loops import JournalLoops, count_dead_letters, count_gaps
from xstock_gateway.metrics import GatewayMetrics
from xstock_runtime.clock import VirtualClock
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.kafka import Received, Rejection, RetentionGap
from xstock_runtime.metrics import Metrics

DAY = 24 * 3600.0


class Flaky(MemoryGatewayStore):
    """Away at the first try."""

    tries = 0

    async def forget_before(self, unix_ms: int) -> int:
        """Fail once."""
        self.tries += 1
        if self.tries == 1:
            raise Transient("DATABASE_UNREACHABLE", "gone for a moment")
        return await super().forget_before(unix_ms)


async def stopped(task: "asyncio.Future[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_loop__retention_over__oldest_lines_go_and_an_outage_only_delays_it() -> None:
    clock = VirtualClock(10**12)
    store = Flaky()
    world = GatewayWorld(clock=clock, store=store)
    loops = JournalLoops(store, world.wakeups, clock, retention_days=2)
    await world.take(final(1))
    forgetting = asyncio.ensure_future(loops.forget())
    await clock.advance(DAY)
    await world.take(final(2))
    assert (await world.store.journal_bounds())[0] == 1
    await clock.advance(1.5 * DAY)
    assert (await world.store.journal_bounds())[0] == 2
    assert store.tries > 2
    await stopped(forgetting)


async def test_loop__journal_grows__every_ticket_is_called() -> None:
    world = GatewayWorld()
    loops = JournalLoops(world.store, world.wakeups, world.clock, retention_days=2)
    listening = asyncio.ensure_future(loops.listen())
    await asyncio.sleep(0)
    ticket = world.wakeups.ticket()
    await world.take(final(1))
    await asyncio.wait_for(ticket.wait(), 5)
    await stopped(listening)


async def test_records__unbelievable_or_never_read__are_counted() -> None:
    """F64, F65: loud, and nothing stands still for it."""
    metrics = GatewayMetrics.create(Metrics("test"))
    received = Received("xstock.transfers.v1", 0, 7, 0, b"", b"x")
    rejection = Rejection(received, InvalidMessage("BAD_RECORD", "no"))
    await count_dead_letters(metrics)([rejection, rejection])
    await count_gaps(metrics)(RetentionGap("xstock.progress.v1", 0, 10, 25))
    assert metrics.dead_letters._value.get() == 2
    assert metrics.records_missed._value.get() == 15

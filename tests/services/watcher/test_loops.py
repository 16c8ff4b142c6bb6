"""The loops around the handlers, and the approval command."""

import asyncio
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry

from tests.services.watcher.world import CHAIN, WatcherWorld
from xstock_chains.ports import CheckResult, SelfTest
from xstock_chains.start_check import StartCheck
from xstock_runtime.errors import Fatal
from xstock_runtime.health import Progress
from xstock_watcher.entrypoints.approve import approve
from xstock_watcher.entrypoints.loops import SCAN, WatcherLoops
from xstock_watcher.metrics import WatcherMetrics


class Admin:
    """A provider whose self-test says `passed`."""

    def __init__(self, *, passed: bool | None) -> None:
        self.passed = passed

    async def self_test(self) -> SelfTest:
        """One check."""
        return SelfTest(CHAIN, (CheckResult("chain id", self.passed, "1", "2"),))


def loops_of(world: WatcherWorld, *, passed: bool | None = True) -> WatcherLoops:
    """The loops as bootstrap builds them."""
    progress = Progress(world.clock)
    progress.register(SCAN, 60.0)
    return WatcherLoops(
        handlers=world.handlers,
        clock=world.clock,
        progress=progress,
        metrics=WatcherMetrics.create(CollectorRegistry()),
        poll_seconds=1.0,
        progress_seconds=1.0,
        check=StartCheck(CHAIN, [Admin(passed=passed)], 1),
    )


async def test_loop__node_away_and_back__ready_only_while_it_reads() -> None:
    world = WatcherWorld()
    loops = loops_of(world)
    scanning = asyncio.ensure_future(loops.scan())
    reporting = asyncio.ensure_future(loops.report())
    try:
        tx = world.burn()
        world.chain.mine(4)
        await world.clock.advance(2.0)
        assert loops.progress.ready()
        assert await world.burns() == [tx]
        assert world.bus.chains[-1][0] == world.chain.final
        world.node.faults.stopped = True
        await world.clock.advance(5.0)
        assert not loops.progress.ready()
        world.node.faults.stopped = False
        late = world.burn()
        world.chain.mine(4)
        await world.clock.advance(10.0)
        assert loops.progress.ready()
        assert await world.burns() == [tx, late]
    finally:
        for task in (scanning, reporting):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_loop__provider_of_another_chain__ends_before_anything_is_read() -> None:
    """F88: the self-test comes first."""
    world = WatcherWorld()
    world.burn()
    world.chain.mine(4)
    with pytest.raises(Fatal, match="SELF_TEST_FAILED"):
        await loops_of(world, passed=False).scan()
    assert await world.burns() == []


async def test_loop__provider_that_cannot_be_checked__is_waited_for_not_believed() -> None:
    world = WatcherWorld()
    world.burn()
    world.chain.mine(4)
    loops = loops_of(world, passed=None)
    scanning = asyncio.ensure_future(loops.scan())
    await world.clock.advance(5.0)
    assert not scanning.done()
    assert await world.burns() == []
    scanning.cancel()
    with suppress(asyncio.CancelledError):
        await scanning


async def test_loop__finality_broken__ends_the_process_with_the_halt_latched() -> None:
    """F29: loudly, and for good."""
    world = WatcherWorld()
    world.chain.mine(5)
    await world.scan_all()
    world.node.faults.fork_from = 1
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await loops_of(world).scan()
    assert await world.books.halt() is not None


def test_approve__first_second_and_wrong__says_what_became_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """F92: one person is not two."""
    given: list[tuple[str, str]] = []

    async def give(halt: str, by: str) -> bool:
        if by == "nobody":
            raise Fatal("NO_SUCH_HALT", "halt: '9' is not in force")
        given.append((halt, by))
        return len(given) == 2

    assert approve(["7", "--by", "ann"], give) == 0
    assert "one more person must approve" in capsys.readouterr().out
    assert approve(["7", "--by", "ben"], give) == 0
    assert "cleared" in capsys.readouterr().out
    assert approve(["9", "--by", "nobody"], give) == 1
    assert "refused: halt: '9'" in capsys.readouterr().out
    assert given == [("7", "ann"), ("7", "ben")]

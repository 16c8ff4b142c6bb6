"""Ready means moving, not alive."""

import pytest

from xstock_runtime.clock import VirtualClock
from xstock_runtime.health import Progress


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def progress(clock: VirtualClock) -> Progress:
    registry = Progress(clock)
    registry.register("kafka", 10)
    return registry


def test_progress__nothing_done_yet__is_unready_and_says_so(progress: Progress) -> None:
    assert not progress.ready()
    assert progress.check("kafka").reason == "no progress yet"


async def test_progress__backlog_stands_still__turns_unready_though_the_loop_reports(
    progress: Progress, clock: VirtualClock
) -> None:
    progress.beat("kafka")
    for _ in range(11):
        progress.lag("kafka", 57)  # the loop is alive and polls, but finishes nothing
        await clock.advance(1)
    assert not progress.ready()
    assert progress.check("kafka").reason == "no progress for 11.0 s (limit 10 s)"
    progress.beat("kafka")
    assert progress.ready()


async def test_progress__idle_with_no_backlog__stays_ready(
    progress: Progress, clock: VirtualClock
) -> None:
    for _ in range(100):
        progress.lag("kafka", 0)
        await clock.advance(5)
        assert progress.ready()


async def test_progress__wall_clock_steps_an_hour__readiness_is_unmoved(
    progress: Progress, clock: VirtualClock
) -> None:
    """F77: health runs on monotonic time, both ways."""
    progress.beat("kafka")
    clock.step_wall_clock(3_600_000)
    assert progress.ready()
    clock.step_wall_clock(-7_200_000)
    await clock.advance(11)
    assert not progress.ready()


def test_progress__failure__holds_until_the_next_beat(progress: Progress) -> None:
    progress.beat("kafka")
    progress.fail("kafka", "broker away")
    assert progress.check("kafka").reason == "broker away"
    progress.beat("kafka")
    assert progress.ready()


def test_progress__draining__is_unready_for_good(progress: Progress) -> None:
    progress.beat("kafka")
    progress.drain()
    assert not progress.ready()
    assert progress.report()["draining"] is True


def test_progress__unknown_name__is_a_mistake_of_the_caller(progress: Progress) -> None:
    with pytest.raises(KeyError):
        progress.beat("kafak")

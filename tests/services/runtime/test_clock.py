"""Virtual time moves only when advanced, and in order; chance repeats from its seed."""

import asyncio

import pytest

from xstock_runtime.clock import SeededRandomness, SystemClock, SystemRandomness, VirtualClock


async def test_virtual_clock__three_sleepers__wake_in_order_of_time_at_their_own_moment() -> None:
    clock = VirtualClock(start_unix_ms=1_000)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        for name, seconds in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
            group.create_task(sleeper(name, seconds))
        await clock.advance(2.5)
        assert woken == [("early", 1.0), ("middle", 2.0)]
        assert clock.unix_ms() == 3_500
        await clock.advance_to_next()
    assert woken[-1] == ("late", 3.0)
    assert await clock.advance_to_next() is False


async def test_virtual_clock__a_cancelled_sleeper__is_forgotten() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.settle()
    assert clock.next_wake_seconds() == 1
    task.cancel()
    await clock.settle()
    assert clock.next_wake_seconds() is None


async def test_virtual_clock__wall_clock_steps_back__sleepers_do_not_notice() -> None:
    """F77: timeouts run on monotonic time."""
    clock = VirtualClock(start_unix_ms=10_000_000)
    task = asyncio.create_task(clock.sleep(10))
    await clock.settle()
    clock.step_wall_clock(-3_600_000)
    await clock.advance(9.9)
    assert not task.done()
    await clock.advance(0.1)
    assert task.done()
    assert clock.unix_ms() == 10_000_000 - 3_600_000 + 10_000


async def test_virtual_clock__asked_to_go_back__refuses() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        await VirtualClock().advance(-1)


async def test_system_clock__after_a_sleep__has_moved() -> None:
    clock = SystemClock()
    before, before_ms = clock.monotonic(), clock.unix_ms()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009
    assert clock.unix_ms() - before_ms >= 9


def test_seeded_randomness__same_seed__same_chance() -> None:
    def draw(seed: int) -> tuple[object, ...]:
        chance = SeededRandomness(seed)
        return chance.uuid4(), chance.random_bytes(8), chance.uniform(0, 1)

    assert draw(7) == draw(7) != draw(8)
    assert SeededRandomness(7).uuid4().version == 4


def test_system_randomness__twice__differs() -> None:
    chance = SystemRandomness()
    assert chance.uuid4() != chance.uuid4()
    assert len(chance.random_bytes(32)) == 32
    assert 1 <= chance.uniform(1, 2) <= 2

"""The schedule itself is the specification, so it is asserted number by number."""

import asyncio

import pytest

from xstock_runtime.clock import SeededRandomness, VirtualClock
from xstock_runtime.errors import Ambiguous, Transient
from xstock_runtime.retry import RetryPolicy, delays, jittered, retrying


class RecordingClock(VirtualClock):
    """Virtual time that passes by itself, and remembers each wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


def test_delays__default_policy__are_exactly_these() -> None:
    assert delays(RetryPolicy()) == [0.1, 0.2, 0.4, 0.8, 1.6]


def test_delays__at_the_ceiling__stay_there() -> None:
    policy = RetryPolicy(initial_seconds=1, factor=3, max_seconds=5, attempts=6)
    assert delays(policy) == [1, 3, 5, 5, 5]


def test_delays__one_attempt__never_waits() -> None:
    assert delays(RetryPolicy(attempts=1)) == []


@pytest.mark.parametrize(
    "weak",
    [
        {"initial_seconds": 0},
        {"max_seconds": 0.01},
        {"factor": 0.5},
        {"attempts": 0},
        {"jitter": 1.5},
    ],
)
def test_policy__that_never_waits_or_ends__is_refused(weak: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need"):
        RetryPolicy(**weak)  # type: ignore[arg-type]


def test_jitter__thousand_draws__shorten_by_at_most_its_share() -> None:
    policy = RetryPolicy(jitter=0.25)
    drawn = [jittered(4.0, policy, SeededRandomness(seed)) for seed in range(1000)]
    assert min(drawn) >= 3.0
    assert max(drawn) <= 4.0
    assert max(drawn) - min(drawn) > 0.9


async def test_retrying__transient_twice__waits_the_schedule_then_succeeds() -> None:
    clock, calls = RecordingClock(), 0

    async def work() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise Transient("RPC_DOWN", "down")
        return "done"

    retrier = retrying(RetryPolicy(jitter=0), clock, SeededRandomness(1))
    assert await retrier(work) == "done"
    assert clock.waits == [0.1, 0.2]


async def test_retrying__never_better__gives_up_with_the_last_error_after_all_attempts() -> None:
    clock = RecordingClock()

    async def work() -> None:
        raise Transient("RPC_DOWN", "down")

    with pytest.raises(Transient, match="RPC_DOWN"):
        await retrying(RetryPolicy(attempts=4, jitter=0), clock, SeededRandomness(1))(work)
    assert clock.waits == [0.1, 0.2, 0.4]


async def test_retrying__ambiguous_outcome__is_not_repeated() -> None:
    clock = RecordingClock()

    async def work() -> None:
        raise Ambiguous("COMMIT_UNKNOWN", "who knows")

    with pytest.raises(Ambiguous):
        await retrying(RetryPolicy(), clock, SeededRandomness(1))(work)
    assert clock.waits == []


async def test_retrying__other_side_names_a_time__waits_at_least_that() -> None:
    clock, calls = RecordingClock(), 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Transient("RATE_LIMITED", "slow down", retry_after_seconds=7.5)

    await retrying(RetryPolicy(), clock, SeededRandomness(1))(work)
    assert clock.waits == [7.5]

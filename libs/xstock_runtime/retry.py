"""Bounded retry whose schedule is plain data.

`delays(policy)` is a pure function and tests assert its exact values; `retrying(...)` hands that
schedule to tenacity with the caller's clock and jitter. Only `Transient` is retried unless told
otherwise: an `Ambiguous` outcome must be read, not repeated. A `retry_after_seconds` from the
other side is a lower bound for the wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from xstock_runtime.clock import Clock, Randomness
from xstock_runtime.errors import Transient


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on trying.

    `attempts` counts the first try; waits grow from `initial_seconds` by `factor` up to
    `max_seconds`; each wait is shortened by up to `jitter` of itself (0 = none, 1 = full).
    Raises ValueError for a policy that never waits, never ends or shrinks.
    """

    initial_seconds: float = 0.1
    factor: float = 2.0
    max_seconds: float = 10.0
    attempts: int = 6
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.initial_seconds <= 0 or self.max_seconds < self.initial_seconds:
            raise ValueError(
                f"retry waits {self.initial_seconds}..{self.max_seconds} s: need 0 < initial <= max"
            )
        if self.factor < 1 or self.attempts < 1 or not 0 <= self.jitter <= 1:
            raise ValueError(
                f"retry factor {self.factor}, attempts {self.attempts}, jitter {self.jitter}: "
                "need factor >= 1, attempts >= 1, 0 <= jitter <= 1"
            )


def delays(policy: RetryPolicy) -> list[float]:
    """The waits in seconds between the attempts, before jitter: one fewer than the attempts."""
    waits: list[float] = []
    wait = policy.initial_seconds
    for _ in range(policy.attempts - 1):
        waits.append(min(wait, policy.max_seconds))
        wait = min(wait * policy.factor, policy.max_seconds)
    return waits


def jittered(delay: float, policy: RetryPolicy, randomness: Randomness) -> float:
    """`delay` shortened by a random share of at most `policy.jitter`."""
    return randomness.uniform(delay * (1 - policy.jitter), delay)


def retrying(
    policy: RetryPolicy,
    clock: Clock,
    randomness: Randomness,
    on: type[BaseException] | tuple[type[BaseException], ...] = Transient,
) -> AsyncRetrying:
    """A tenacity retrier: `await retrying(...)(work, *args)` or `async for attempt in ...`.

    Re-raises the last exception once the attempts are used up; anything not in `on` at once.
    """
    schedule = delays(policy)

    def wait(state: RetryCallState) -> float:
        if state.attempt_number > len(schedule):
            return 0.0  # tenacity also asks after the last attempt, then stops
        delay = jittered(schedule[state.attempt_number - 1], policy, randomness)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_seconds if isinstance(error, Transient) else None
        return max(delay, asked or 0.0)

    return AsyncRetrying(
        stop=stop_after_attempt(policy.attempts),
        wait=wait,
        retry=retry_if_exception_type(on),
        sleep=clock.sleep,
        reraise=True,
    )

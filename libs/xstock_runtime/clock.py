"""Time and chance as arguments: the only module that touches `time`, `random` or `secrets`.

Wall-clock time is for people and for facts; timeouts and health use `monotonic()`, so a stepped
clock cannot fire or hold them (order between processes is database time, see `database.py`).
`VirtualClock` and `SeededRandomness` make a whole system replay from one seed: virtual time only
moves when the test advances it, sleeper by sleeper.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import secrets
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Source of time. Every loop and timeout takes one as an argument."""

    def unix_ms(self) -> int:
        """Wall-clock time in milliseconds since the Unix epoch. May step; never for timeouts."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back. Only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` on the monotonic clock; at once (after one yield) if <= 0."""
        ...


class SystemClock:
    """The machine's clocks."""

    def unix_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop's clock, which is monotonic."""
        await asyncio.sleep(max(0.0, seconds))


class VirtualClock:
    """A clock that stands still until somebody advances it; for tests and simulation.

    Sleepers wake in order of their time, ties in order of going to sleep, and the loop is given
    `settle_rounds` turns after each wake-up so that what a sleeper starts runs *at that moment*.
    """

    def __init__(self, start_unix_ms: int = 1_700_000_000_000, *, settle_rounds: int = 20) -> None:
        self._start_unix_ms = start_unix_ms
        self._step_ms = 0
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._settle_rounds = settle_rounds

    def unix_ms(self) -> int:
        """Start time plus what was advanced plus every step of the wall clock."""
        return self._start_unix_ms + self._step_ms + round(self._elapsed * 1000)

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._elapsed

    def step_wall_clock(self, milliseconds: int) -> None:
        """Move wall-clock time alone, as NTP or a person would (F77). Sleepers do not notice."""
        self._step_ms += milliseconds

    async def sleep(self, seconds: float) -> None:
        """Wait until virtual time has advanced by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), future))
        await future

    def next_wake_seconds(self) -> float | None:
        """Seconds until the earliest live sleeper wakes; None if nobody sleeps."""
        self._drop_cancelled()
        return self._sleepers[0][0] - self._elapsed if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking each sleeper at its own moment."""
        if seconds < 0:
            raise ValueError(f"advance({seconds}): time does not go back; use step_wall_clock")
        target = self._elapsed + seconds
        await self.settle()
        while True:
            self._drop_cancelled()
            if not self._sleepers or self._sleepers[0][0] > target:
                break
            wake_at, _, future = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, wake_at)
            future.set_result(None)
            await self.settle()
        self._elapsed = target

    async def advance_to_next(self) -> bool:
        """Jump to the next sleeper and wake it. False if nobody sleeps (nothing will happen)."""
        await self.settle()
        wait = self.next_wake_seconds()
        if wait is None:
            return False
        await self.advance(max(0.0, wait))
        return True

    async def settle(self) -> None:
        """Give every runnable task its turns without moving time."""
        for _ in range(self._settle_rounds):
            await asyncio.sleep(0)

    def _drop_cancelled(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)


class Randomness(Protocol):
    """Source of chance."""

    def uuid4(self) -> uuid.UUID:
        """A random UUID, version 4."""
        ...

    def random_bytes(self, size: int) -> bytes:
        """`size` random bytes."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]; for jitter only, never for money or ids."""
        ...


class SystemRandomness:
    """The operating system's entropy."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uuid4(self) -> uuid.UUID:
        """A random UUID, version 4."""
        return uuid.UUID(bytes=secrets.token_bytes(16), version=4)

    def random_bytes(self, size: int) -> bytes:
        """`size` bytes fit for secrets."""
        return secrets.token_bytes(size)

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""
        return self._random.uniform(low, high)


class SeededRandomness:
    """Repeatable chance from a seed; never for secrets."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatability is the point

    def uuid4(self) -> uuid.UUID:
        """The next UUID of this seed."""
        return uuid.UUID(bytes=self._random.randbytes(16), version=4)

    def random_bytes(self, size: int) -> bytes:
        """The next `size` bytes of this seed."""
        return self._random.randbytes(size)

    def uniform(self, low: float, high: float) -> float:
        """The next float of this seed in [low, high]."""
        return self._random.uniform(low, high)

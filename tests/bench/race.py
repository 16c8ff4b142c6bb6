"""Loops that do the same work take turns, and the best round of each counts.

So a busy neighbour slows no side alone, and a loop that finds too little ends the measurement.
"""

import gc
from collections.abc import Awaitable, Callable, Sequence

from xstock_runtime.clock import SystemClock

Backfill = Callable[[], Awaitable[int]]
"""Reads a chain from the beginning and says how many burns it found."""


async def best_seconds(loops: Sequence[Backfill], *, burns: int, rounds: int) -> list[float]:
    """The best seconds of each, taking turns; raises RuntimeError where one misses a burn."""
    clock = SystemClock()
    best = [float("inf")] * len(loops)
    for _ in range(rounds):
        for at, loop in enumerate(loops):
            gc.collect()
            began = clock.monotonic()
            found = await loop()
            best[at] = min(best[at], clock.monotonic() - began)
            if found != burns:
                raise RuntimeError(f"loop {at} found {found} of {burns} burns; fix the bench")
    return best

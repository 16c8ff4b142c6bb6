"""Waiting for what must come true, with a bound instead of a sleep."""

import asyncio
from collections.abc import Callable


async def until(done: Callable[[], bool], seconds: float = 30) -> None:
    """Return once `done()`; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.02)

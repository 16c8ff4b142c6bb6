"""A guard's process that is killed -9 at a named point: `python -m … DATABASE_URL POINT`.

It tells the same story as its parent does afterwards, over the same deterministic chains, and
dies in the middle of it.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from tests.services.supply_guard.world import DEPLOYMENT, SHARE, World
from xstock_core.message import TransferMessage
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.lease import AdvisoryLease, LeaseSettings
from xstock_supply_guard.adapters import postgres
from xstock_supply_guard.adapters.postgres import PostgresGuardStore
from xstock_supply_guard.handlers.origin import begin
from xstock_supply_guard.model import SubmittedClaim

WITHIN = {
    "reserve_issuance": (1,),
    "save_claims": (1, 2),
    "post": (1, 2),
    "add_permit": (1,),
    "journal": (1, 2, 3, 4, 5, 6, 7),
    "save_scan": (1, 2, 3, 4),
}
"""Killed inside a unit, after this step was done so many times, and before the commit."""
AFTER = ("booked", "issued", "granted", "signed", "closed")
"""Killed after the commit, before anybody was answered."""
POINTS = (*(f"{name}:{n}" for name, counts in WITHIN.items() for n in counts), *AFTER)


def die() -> None:
    """As a power cut does it."""
    os.kill(os.getpid(), signal.SIGKILL)


Point = Callable[[str], None]


async def chains_only(world: World) -> TransferMessage:
    """What happens on the chains whatever this guard does; the burned transfer."""
    world.mine()
    await world.release([world.order(1, 100 * SHARE).message])
    world.mine()
    tx = world.burn(SHARE)
    world.mine()
    return world.burned(tx).message


async def guard_only(world: World, message: TransferMessage, passed: Point) -> None:
    """What the guard does; every step of it may be done again."""
    await begin(world.desk)
    await world.attest(1000 * SHARE)
    await world.scan()
    passed("booked")
    await world.review(world.order(2, SHARE))
    passed("issued")
    await world.review(SubmittedClaim(message))
    passed("granted")
    await world.sign(message)
    passed("signed")


async def close(world: World, message: TransferMessage, passed: Point) -> None:
    """The others release it, and the guard books that."""
    await world.release([message])
    world.mine()
    await world.scan()
    passed("closed")


def arm(point: str) -> Point:
    """Make this process die at the point."""
    name, _, count = point.partition(":")
    if name in WITHIN:
        unit: Any = postgres._Unit
        inner, left = getattr(unit, name), [int(count)]

        async def deadly(self: Any, *args: Any) -> Any:
            answer = await inner(self, *args)
            left[0] -= 1
            if left[0] == 0:
                die()
            return answer

        setattr(unit, name, deadly)
    return lambda reached: die() if reached == name else None


async def main(url: str, point: str) -> None:
    """Tell the story until it ends."""
    passed = arm(point)
    async with Database(DatabaseSettings(url), SystemClock(), SystemRandomness()) as database:
        lease = AdvisoryLease(LeaseSettings("guard/guard-1", "doomed", 30.0))
        await database.run(lease.acquire)
        store = PostgresGuardStore(
            database, guard_id="guard-1", deployment_id=DEPLOYMENT, lease=lease
        )
        world = World(store=store)
        message = await chains_only(world)
        await guard_only(world, message, passed)
        await close(world, message, passed)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

"""The fault suite over books in memory, and the lease faults that need two processes."""

import pytest

from tests.services.relayer.faults import FaultSuite, WorldMaker, sent_by_us
from tests.services.relayer.world import World
from xstock_core.ids import Domain
from xstock_core.review import Scope
from xstock_core.transfer import Phase
from xstock_relayer.adapters.memory import MemoryBooks
from xstock_runtime.errors import Ambiguous, Fatal


class TestFaultsInMemory(FaultSuite):
    """`FaultSuite` over `MemoryBooks`."""

    @pytest.fixture
    def make_world(self) -> WorldMaker:
        """A world over a fresh disk."""
        return World


async def zombie_writes(*, fenced: bool) -> World:
    """The leader sleeps past its lease with a batch in mind; another takes over; it wakes."""
    world = World()
    first = MemoryBooks(world.disk, world.disk.take_lease() if fenced else None)
    world.books, world.relayer = first, world.make_relayer(first)
    await world.relayer.start()
    world.burn(2)
    await world.observe()
    await world.relayer.review()
    zombie = world.relayer
    second = MemoryBooks(world.disk, world.disk.take_lease() if fenced else None)
    world.books, world.relayer = second, world.make_relayer(second)
    await world.relayer.start()
    await world.relayer.release()
    world.burn(1)
    await world.observe()
    await zombie.release()
    return world


async def test_lease__zombie_wakes_after_takeover__writes_nothing() -> None:
    """F46: the fence is checked in the transaction that would allocate the slot."""
    with pytest.raises(Fatal, match="FENCED"):
        await zombie_writes(fenced=True)


async def test_lease__without_the_fence__the_zombie_still_writes() -> None:
    """F46 with the defence removed: what the check above forbids does happen."""
    world = await zombie_writes(fenced=False)
    zombie = world.make_relayer(MemoryBooks(world.disk, None))
    world.disk.take_lease()
    await zombie.operator.halt("zombie", Scope(), "I was asleep", "zombie")
    assert "zombie" in world.disk.halts
    assert len(world.disk.batches) == 1, "the slot ledger alone refused the second batch (F43)"


async def test_two_relayers__own_books_and_one_key__harmless() -> None:
    """F46: a second relayer started by mistake, over a database of its own."""
    world = World()
    await world.relayer.start()
    other = world.make_relayer(MemoryBooks(type(world.disk)()))
    await other.start()
    world.burn(5)
    for _ in range(30):
        await world.step()
        await other.heal()
        try:
            await other.review()
            await other.release()
            await other.reconcile()
        except Ambiguous:
            pass
        for chain in world.chains.values():
            chain.mine()
        await world.clock.advance(1)
    await world.refresh()
    assert world.phases() == {Phase.RELEASED: 5}
    assert set(world.minted(Domain.BNB).values()) == {1}
    assert sent_by_us(world, Domain.BNB) >= 1

"""A guard remembers the burns it has just booked; what it decides never depends on that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.builders import a_message
from tests.services.supply_guard.world import SHARE, World, id_of
from xstock_core.ids import Domain, TransferId
from xstock_core.refusal import Reason
from xstock_runtime.errors import Transient
from xstock_supply_guard.adapters import rows
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.model import Outcome
from xstock_supply_guard.ports import GuardUnit

FORGETS = pytest.mark.parametrize("forgets", [False, True], ids=["remembers", "forgets"])


async def booked(world: World, amount: int = SHARE) -> TransferId:
    tx = world.burn(amount)
    world.mine()
    await world.scan()
    return world.burned(tx).transfer_id


@FORGETS
async def test_burn__booked__is_granted_and_signed_alike(*, forgets: bool) -> None:
    world = World()
    await world.funded()
    key = await booked(world)
    burn = world.desk.live.booked[key]
    digests = set()
    for _ in range(2):
        if forgets:
            world.desk.live.booked.clear()
        claim = world.claim(burn.place.tx)
        assert await world.outcome(claim) == (Outcome.GRANTED, "")
        answer = await world.sign(burn.message)
        assert answer.signature
        digests.add(answer.digest)
    assert len(digests) == 1


@FORGETS
async def test_burn__booked_and_claimed_with_another_amount__is_no_evidence(
    *, forgets: bool
) -> None:
    """INV-03: the claim that is asked about has an id of its own, which nobody has burned."""
    world = World()
    await world.funded()
    key = await booked(world)
    burn = world.desk.live.booked[key]
    if forgets:
        world.desk.live.booked.clear()
    ten = world.burned(world.burn(10 * SHARE)).message
    assert (await world.sign(ten)).refusals[0].reason == Reason.NOT_GRANTED
    claim = world.claim(burn.place.tx)
    assert await world.outcome(claim) == (Outcome.GRANTED, "")
    assert (await world.sign(burn.message, ten)).refusals[0].transfer_id == id_of(ten)


@FORGETS
async def test_burn__booked_and_never_claimed__is_not_signed(*, forgets: bool) -> None:
    """That a burn is remembered must not be taken for a grant."""
    world = World()
    await world.funded()
    granted = await world.granted()
    key = await booked(world)
    burn = world.desk.live.booked[key]
    if forgets:
        world.desk.live.booked.clear()
    answer = await world.sign(granted, burn.message)
    assert not answer.signature
    assert [(one.transfer_id, one.reason) for one in answer.refusals] == [
        (key, Reason.NOT_GRANTED.value)
    ]


async def test_burn__on_a_chain_whose_providers_disagree_since__is_held() -> None:
    """What is known of its chain comes from the books each time."""
    world = World()
    await world.funded()
    key = await booked(world)
    burn = world.desk.live.booked[key]
    async with world.store.write() as unit:
        scan = (await unit.scans())[Domain.ETHEREUM]
        await unit.save_scan(replace(scan, dissent_since_ms=1))
    assert await world.outcome(world.claim(burn.place.tx)) == (Outcome.HELD, "SOURCE_DISSENT")


class LosesCommits(MemoryGuardStore):
    """Its transactions fail at their end while it is told so."""

    lost = False

    @asynccontextmanager
    async def write(self) -> AsyncIterator[GuardUnit]:
        async with super().write() as unit:
            yield unit
            if self.lost:
                raise Transient("DATABASE_UNAVAILABLE", "gone while it committed")


async def test_burn__whose_page_was_not_committed__is_not_remembered() -> None:
    store = LosesCommits()
    world = World(store=store)
    await world.funded()
    tx = world.burn()
    world.mine()
    store.lost = True
    with pytest.raises(Transient):
        await world.scan(Domain.ETHEREUM)
    store.lost = False
    key = world.burned(tx).transfer_id
    assert key not in world.desk.live.booked
    assert await world.outcome(world.claim(tx)) == (Outcome.HELD, "SOURCE_NOT_FINAL")
    # The same with the defence taken out: what no book says would be granted.
    world.desk.live.booked[key] = world.burned(tx)
    assert await world.outcome(world.claim(tx)) == (Outcome.GRANTED, "")


async def test_desk__of_a_new_process__remembers_nothing_and_grants_the_same() -> None:
    world = World()
    await world.funded()
    key = await booked(world)
    tx = world.desk.live.booked[key].place.tx
    world.desk = world.new_desk()
    assert not world.desk.live.booked
    await world.scan()
    assert await world.outcome(world.claim(tx)) == (Outcome.GRANTED, "")


def test_message__packed_to_be_stored__is_the_one_that_its_bytes_say() -> None:
    message = a_message()
    raw = rows.packed(message)
    assert rows.parsed(raw) is message
    rows._messages.clear()
    again = rows.parsed(raw)
    assert again == message
    assert again is not message
    assert rows.parsed(raw) is again

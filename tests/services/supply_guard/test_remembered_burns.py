"""A guard remembers the burns it has just booked; what it decides never depends on that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.builders import a_burn, a_message
from tests.services.supply_guard.world import SHARE, World, id_of
from xstock_chains.ports import Cursor, Page
from xstock_core.ids import Domain, TransferId
from xstock_core.observation import BurnFinal, Place, TxRef
from xstock_core.refusal import Reason
from xstock_runtime.errors import Transient
from xstock_supply_guard.adapters import rows
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers import review
from xstock_supply_guard.handlers.origin import settle_origin
from xstock_supply_guard.handlers.post import post_page
from xstock_supply_guard.model import Outcome, Scan
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
    assert world.burned(tx).transfer_id not in world.desk.live.booked
    assert await world.outcome(world.claim(tx)) == (Outcome.HELD, "SOURCE_NOT_FINAL")


async def gone_back() -> tuple[World, BurnFinal]:
    """A standby took over that had not yet got the page with this burn; the process goes on."""
    store = MemoryGuardStore()
    world = World(store=store)
    await world.funded()
    before = store._state.fork()
    tx = world.burn()
    world.mine()
    await world.scan(Domain.ETHEREUM)
    store._state = before
    return world, world.burned(tx)


async def test_burn__whose_page_the_database_has_lost__is_no_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, burn = await gone_back()
    assert burn.transfer_id in world.desk.live.booked
    claim = world.claim(burn.place.tx)
    assert await world.outcome(claim) == (Outcome.HELD, "SOURCE_NOT_FINAL")
    # Taken out: granted for good, and no book has the burn.
    monkeypatch.setattr(review, "_passed", lambda *_: True)
    assert await world.outcome(claim) == (Outcome.GRANTED, "")
    async with world.store.read() as books:
        assert not await books.burns([burn.transfer_id])


async def test_burns__remembered_from_another_database__are_forgotten_when_it_is_noted() -> None:
    world, _ = await gone_back()
    async with world.store.write() as unit:
        noted = await settle_origin(world.desk, unit)
    assert world.desk.live.booked
    world.store.identity = "another"  # type: ignore[attr-defined]
    async with world.store.write() as unit:
        assert await settle_origin(world.desk, unit) != noted
    assert not world.desk.live.booked


@pytest.mark.parametrize("pages", [1, 2])
async def test_burn__at_two_places__is_remembered_as_the_books_keep_it(pages: int) -> None:
    """INV-09: the first one stays, whatever a second place says of its time; all is halted."""
    world = World()
    await world.funded()
    scan = await scan_of(world, Domain.ETHEREUM)
    assert scan.through is not None
    first = replace(scan.through, number=scan.through.number + 1)
    second = replace(first, number=first.number + 1, hash=b"\2" * 32, time=first.time + 99)
    places = [Place(block, TxRef(Domain.ETHEREUM, block.hash), 0) for block in (first, second)]
    burns = [a_burn(a_message(), place=place) for place in places]
    cursor = scan.cursor
    for found in [burns] if pages == 1 else [[one] for one in burns]:
        through = found[-1].place.block
        after = Cursor(Domain.ETHEREUM, str(through.number))
        page = Page(tuple(found), after, through, through, more=False)
        await post_page(world.desk, cursor, page, began_ms=0)
        cursor = after
    async with world.store.read() as books:
        kept = await books.burns([burns[0].transfer_id])
    assert kept == {burns[0].transfer_id: burns[0]}
    assert world.desk.live.booked[burns[0].transfer_id] == burns[0]
    assert await world.halts()


async def scan_of(world: World, chain: Domain) -> Scan:
    async with world.store.read() as books:
        return (await books.scans())[chain]


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

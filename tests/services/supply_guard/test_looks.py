"""One look at a chain, at its supply or at its rights: what each way of failing leaves behind."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.services.supply_guard.people import announcement, lines_of
from tests.services.supply_guard.world import ASSET, HOLDER, OTHER, SHARE, World
from xstock_chains.ports import (
    AssetSupply,
    CheckResult,
    Cursor,
    Page,
    SelfTest,
    SupplyReading,
)
from xstock_chains.quorum import Dissent
from xstock_core.ids import AssetId, Domain
from xstock_core.observation import BlockRef, Place, Role, RoleMoved, TxRef
from xstock_runtime.errors import Fatal, InvalidMessage, ServiceError, Transient
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers.audit import PENDING_MAX, Audited, Auditor, audit_step
from xstock_supply_guard.handlers.post import Booked
from xstock_supply_guard.handlers.rebuild import Replayed, begin_rebuild, replay, replay_chain
from xstock_supply_guard.handlers.scan import Trouble, scan_step
from xstock_supply_guard.handlers.standing import submit_corporate_action
from xstock_supply_guard.handlers.watching import RightsWatch, Watched, tell_moved, watch_step
from xstock_supply_guard.model import (
    Alarm,
    Halt,
    Opening,
    OpeningRecord,
    PolicyConfig,
    Scan,
)

BNB = Domain.BNB


def block(number: int, chain: Domain = BNB) -> BlockRef:
    """A block."""
    return BlockRef(chain, number, number.to_bytes(32, "big"), 1_000 + number)


def page(
    number: int = 5, *, more: bool = False, chain: Domain = BNB, seen: Sequence[Any] = ()
) -> Page:
    """A page up to a block."""
    cursor = Cursor(BNB, str(number))
    return Page(tuple(seen), cursor, block(number, chain), block(number, chain), more)


@dataclass
class Reader:
    """Gives its pages in order; an error is raised."""

    pages: list[Page | Exception]
    asked: list[tuple[Cursor, int]] = field(default_factory=list)

    async def read_page(self, cursor: Cursor, *, limit: int) -> Page:
        """The next one."""
        self.asked.append((cursor, limit))
        said = self.pages.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


async def scanned(world: World, *pages: Page | Exception) -> Booked | Trouble:
    """One look at BNB Chain."""
    return await scan_step(world.desk, BNB, Reader(list(pages)))  # type: ignore[arg-type]


async def told(world: World) -> list[tuple[Alarm, int]]:
    """The alarms that stand, with when they were told."""
    async with world.store.read() as books:
        return [(one.alarm, one.at_ms) for one in await books.alarms()]


async def since(world: World) -> int | None:
    """Since when BNB Chain is not believed."""
    async with world.store.read() as books:
        scan = (await books.scans()).get(BNB)
    return scan.dissent_since_ms if scan is not None else None


async def halts(world: World) -> Sequence[Halt]:
    """The halts in force."""
    async with world.store.read() as books:
        return await books.halts()


def evidence(world: World) -> Sequence[tuple[Domain, str, str, int]]:
    """What was kept."""
    assert isinstance(world.store, MemoryGuardStore)
    return world.store.evidence


UNBELIEVABLE = InvalidMessage("PAGE_UNBELIEVABLE", "a page that cannot be")
DISSENT = Dissent("block 7", [])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DISSENT, "dissent chain=2 about=block%207"),
        (UNBELIEVABLE, "unbelieved chain=2 code=PAGE_UNBELIEVABLE"),
    ],
)
async def test_look__that_cannot_be_believed__holds_the_chain_and_is_told_once(
    error: ServiceError, line: str
) -> None:
    world = World()
    began_ms = world.clock.unix_ms()
    expected = Trouble(error.code, str(error))
    assert await scanned(world, error) == expected
    assert await since(world) == began_ms
    alarm = Alarm("SOURCE_DISSENT", "chain/2", f"{error.code}: {error}")
    await world.clock.advance(1)
    assert await scanned(world, error) == expected
    assert await since(world) == began_ms
    assert await told(world) == [(alarm, began_ms)]
    assert evidence(world) == [(BNB, error.code, str(error), began_ms)]
    assert await lines_of(world) == [line]
    assert await halts(world) == []


async def test_look__dissent_that_lasts__halts_the_chain_to_the_millisecond() -> None:
    world = World(policy=PolicyConfig(dissent_seconds_max=600))
    began_ms = world.clock.unix_ms()
    await scanned(world, DISSENT)
    await world.clock.advance(599.999)
    assert (await scanned(world, DISSENT)) == Trouble("PROVIDER_DISSENT", str(DISSENT))
    await world.clock.advance(0.001)
    assert world.clock.unix_ms() == began_ms + 600_000
    assert await scanned(world, UNBELIEVABLE) == Trouble(UNBELIEVABLE.code, str(UNBELIEVABLE))
    assert await halts(world) == []
    found = await scanned(world, DISSENT)
    (halt,) = await halts(world)
    assert found == Trouble("PROVIDER_DISSENT", str(DISSENT), (halt.id,))
    assert (halt.chain, halt.asset, halt.at_ms) == (BNB, None, began_ms + 600_000)
    assert halt.reason == (
        f"PROVIDER_DISSENT: chain 2 is not believed since {began_ms}; its providers disagree"
    )
    assert evidence(world)[1:] == [(BNB, DISSENT.code, str(DISSENT), began_ms + 600_000)]
    assert (await lines_of(world))[1].startswith(f"halt id={halt.id} by=service chain=2 reason=")
    await world.clock.advance(1)
    assert await scanned(world, DISSENT) == Trouble("PROVIDER_DISSENT", str(DISSENT))
    assert (len(evidence(world)), len(await lines_of(world))) == (2, 2)


async def test_look__finality_that_broke__halts_the_chain_at_once_with_its_evidence() -> None:
    """INV-10."""
    world = World()
    broken = Fatal("FINALITY_BROKEN", "block 7 is another now")
    found = await scanned(world, broken)
    (halt,) = await halts(world)
    assert found == Trouble("FINALITY_BROKEN", str(broken), (halt.id,))
    now_ms = world.clock.unix_ms()
    assert (halt.reason, halt.chain, halt.asset, halt.at_ms) == (
        "INV-10: chain 2: FINALITY_BROKEN",
        BNB,
        None,
        now_ms,
    )
    assert evidence(world) == [(BNB, "FINALITY_BROKEN", str(broken), now_ms)]
    assert [one.split(" ")[0] for one in await lines_of(world)] == ["halt"]
    await world.clock.advance(1)
    assert await scanned(world, broken) == Trouble("FINALITY_BROKEN", str(broken))
    assert (len(evidence(world)), len(await lines_of(world))) == (1, 1)


async def test_look__a_providers_words__are_kept_as_any_memory_takes_them() -> None:
    """One that could not be written down would keep the hold from being written with it."""
    world = World()
    await scanned(world, InvalidMessage("BAD", "a\0b\ud800" + "x" * 30_000))
    ((_, _, said, _),) = evidence(world)
    assert said == "BAD: a\\0b\\ud800" + "x" * (20_000 - len("BAD: a?b?"))
    ((alarm, _),) = await told(world)
    assert alarm.detail == f"BAD: {said[:500]}"


async def test_look__rings_for_those_who_wait__whatever_it_finds() -> None:
    world = World()
    bell = world.desk.live.bells[BNB]
    for said in (page(), DISSENT, Fatal("FINALITY_BROKEN", "x")):
        waiting = asyncio.ensure_future(bell.wait_passed(60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await scanned(world, said)
        await asyncio.wait_for(waiting, 1)
    with pytest.raises(Transient):
        await scanned(world, Transient("AWAY", "nobody answers"))
    assert await since(world) is not None


async def test_look__begins_at_the_cursor_that_was_booked_last() -> None:
    world = World()
    reader = Reader([page(5, more=True), page(9)])
    limit = world.desk.config.page_limit
    first = await scan_step(world.desk, BNB, reader)  # type: ignore[arg-type]
    assert isinstance(first, Booked)
    assert (first.more, first.through) == (True, block(5))
    second = await scan_step(world.desk, BNB, reader)  # type: ignore[arg-type]
    assert isinstance(second, Booked)
    assert reader.asked == [(Cursor(BNB), limit), (Cursor(BNB, "5"), limit)]


async def test_look__after_a_hold__begins_where_it_would_have() -> None:
    world = World()
    await scanned(world, DISSENT)
    reader = Reader([page(5)])
    assert isinstance(await scan_step(world.desk, BNB, reader), Booked)  # type: ignore[arg-type]
    assert [cursor for cursor, _ in reader.asked] == [Cursor(BNB)]
    assert await since(world) is None


async def test_look__a_page_of_another_chain__is_held() -> None:
    found = await scanned(World(), page(chain=Domain.MANTLE))
    assert isinstance(found, Trouble)
    assert found.code == "PAGE_UNBELIEVABLE"


# rebuilding


async def test_rebuild__an_empty_database__is_taken_and_any_other_is_refused() -> None:
    world = World()
    await begin_rebuild(world.desk)
    async with world.store.read() as books:
        assert await books.origin() is not None
    with pytest.raises(Fatal) as refused:
        await begin_rebuild(world.desk)
    assert (refused.value.code, refused.value.metadata) == ("NOT_EMPTY", {"links": "1"})
    assert refused.value.message == (
        "the database holds 1 journal links and 0 scans; a rebuild begins in an empty one: "
        "create a new database and run the migrations"
    )
    scanned_only = World()
    async with scanned_only.store.write() as unit:
        await unit.save_scan(Scan(BNB, Cursor(BNB)))
    with pytest.raises(Fatal, match="0 journal links and 1 scans"):
        await begin_rebuild(scanned_only.desk)


def moved(number: int) -> RoleMoved:
    """A right that moved in a block."""
    place = Place(block(number), TxRef(BNB, number.to_bytes(32, "big")), 0)
    return RoleMoved(Role.MINTER, HOLDER, b"\x08" * 32, place)


async def test_rebuild__reads_every_page_and_counts_what_it_books() -> None:
    world = World()
    reader = Reader([page(5, more=True, seen=[moved(4), moved(5)]), page(9, seen=[moved(9)])])
    assert await replay_chain(world.desk, BNB, reader) == Replayed(BNB, 3, 9)  # type: ignore[arg-type]
    with pytest.raises(Fatal) as refused:
        await replay_chain(world.desk, BNB, Reader([DISSENT]))  # type: ignore[arg-type]
    assert refused.value.code == "UNBELIEVED"
    assert refused.value.message == f"chain 2: {DISSENT}"
    assert refused.value.metadata == {"code": "PROVIDER_DISSENT"}


async def test_rebuild__waits_out_silence_and_goes_on_where_it_stopped() -> None:
    world = World()
    reader = Reader([page(5, more=True), Transient("AWAY", "x"), Transient("AWAY", "x"), page(9)])
    began = world.clock.monotonic()
    replaying = asyncio.ensure_future(replay(world.desk, {BNB: reader}))  # type: ignore[dict-item]
    for _ in range(4):
        await asyncio.sleep(0)
        if not replaying.done():
            await world.clock.advance(1)
    assert replaying.done()
    assert await replaying == [Replayed(BNB, 0, 9)]
    assert world.clock.monotonic() - began == 2
    assert [cursor.text for cursor, _ in reader.asked] == ["", "5", "5", "5"]


# the supply auditor


@dataclass
class Supplies:
    """A chain's supply readings; `final` says which blocks are final (None: nobody can tell)."""

    readings: list[SupplyReading | Exception]
    final: Callable[[int], bool | None] = lambda _: True
    asked: list[Sequence[AssetId]] = field(default_factory=list)

    async def read_supply(self, assets: Sequence[AssetId]) -> SupplyReading:
        """The next reading."""
        self.asked.append(assets)
        said = self.readings.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def is_final(self, one: BlockRef) -> bool | None:
        """Whether this very block is final."""
        return self.final(one.number)


def supply(units: int = 0, asset: AssetId = ASSET) -> AssetSupply:
    """What a token shows, in 10^-8 share."""
    return AssetSupply(asset, units, 0, 8, 10**18, 0, False)


def shown(number: int, *supplies: AssetSupply) -> SupplyReading:
    """A reading at a block."""
    return SupplyReading(block(number), supplies or (supply(),), ())


async def through(world: World, number: int) -> None:
    """BNB Chain is booked up to here, and every chain was read once."""
    async with world.store.write() as unit:
        await unit.save_scan(Scan(BNB, Cursor(BNB), block(number), block(number)))


def auditor(*pending: SupplyReading) -> Auditor:
    """With these readings not yet believed."""
    return Auditor(BNB, (ASSET, OTHER), list(pending))


async def audited(world: World, one: Auditor, reader: Supplies) -> Audited:
    """One step."""
    return await audit_step(world.desk, one, reader)  # type: ignore[arg-type]


async def test_audit__a_first_reading__waits_for_its_block_and_names_what_it_left_out() -> None:
    world, one = World(), auditor()
    reader = Supplies([shown(5), shown(5), shown(6, supply(), supply(asset=OTHER))])
    assert await audited(world, one, reader) == Audited(0, unread=(OTHER,))
    await audited(world, one, reader)
    assert await audited(world, one, reader) == Audited(0)
    assert [each.block.number for each in one.pending] == [5, 6]
    assert reader.asked == [(ASSET, OTHER)] * 3


@pytest.mark.parametrize(
    ("booked", "final", "believed", "left"),
    [
        (4, lambda _: True, None, [5, 6, 7, 9]),
        (5, lambda _: True, 5, [6, 7, 9]),
        (7, lambda _: True, 7, [9]),
        (7, lambda number: number < 7, 6, [9]),
        (7, lambda number: None if number == 7 else True, 6, [7, 9]),
        (7, lambda number: False if number > 5 else None, None, [5, 9]),
        (7, lambda _: None, None, [5, 6, 7, 9]),
    ],
    ids=["none booked", "edge", "newest", "not final", "unknown", "gone", "nobody knows"],
)
async def test_audit__the_newest_final_reading_is_believed_and_all_older_ones_leave(
    booked: int, final: Callable[[int], bool | None], believed: int | None, left: list[int]
) -> None:
    world = World()
    one = auditor(shown(5), shown(6), shown(7))
    await through(world, booked)
    found = await audited(world, one, Supplies([shown(9)], final))
    assert [each.block.number for each in one.pending] == left
    assert found.believed == (0 if believed is None else 1)
    async with world.store.read() as books:
        readings = await books.readings([ASSET])
    assert [each.block.number for each in readings] == ([] if believed is None else [believed])


async def test_audit__too_many_that_wait__no_new_one_and_room_for_it_later() -> None:
    world = World()
    one = auditor(*(shown(number) for number in range(PENDING_MAX)))
    reader = Supplies([shown(100), shown(101)])
    assert await audited(world, one, reader) == Audited(0)
    assert (len(one.pending), reader.asked) == (64, [])
    await through(world, 0)
    reader.final = lambda _: None
    await audited(world, one, reader)
    assert [each.block.number for each in one.pending] == [*range(1, 64), 100]
    few = auditor(shown(0))
    await audited(world, few, reader)
    assert [each.block.number for each in few.pending] == [0, 101]


@pytest.mark.parametrize("error", [Transient("AWAY", "x"), InvalidMessage("BAD", "y")])
async def test_audit__a_reading_that_fails__hides_nothing_that_is_ripe(error: ServiceError) -> None:
    world = World()
    with pytest.raises(type(error)):
        await audited(world, auditor(), Supplies([error]))
    await through(world, 5)
    found = await audited(world, auditor(shown(5)), Supplies([error]))
    assert found == Audited(1, failed=error)  # type: ignore[arg-type]


async def test_audit__more_than_the_ledger__halts_the_asset_once() -> None:
    """INV-16."""
    world = World()
    await world.funded()
    await through(world, 7)
    before = len(await lines_of(world))
    for number in (6, 7):
        readings = shown(number, supply(3), supply(-2, OTHER))
        found = await audited(world, auditor(readings), Supplies([shown(8)]))
        assert (found.believed, found.above, found.below) == (2, (ASSET,), (OTHER,))
        assert bool(found.halted) is (number == 6)
    (halt,) = await halts(world)
    assert (halt.reason, halt.asset, halt.chain, halt.at_ms) == (
        "INV-16: chain 2 shows more supply than the ledger",
        ASSET,
        None,
        world.clock.unix_ms(),
    )
    assert [line.split(" ")[0] for line in (await lines_of(world))[before:]] == ["halt"]
    below = Alarm(
        "SUPPLY_BELOW_LEDGER",
        f"asset/{OTHER.hex()}",
        "2 units below the ledger on chain/2 at block 6",
        "chain/2",
    )
    assert (below, world.clock.unix_ms()) in await told(world)


@pytest.mark.parametrize(("units", "halted"), [(-1, False), (0, False), (1, True)])
async def test_audit__of_an_open_asset__one_unit_above_halts_and_the_very_figure_does_not(
    units: int, halted: bool
) -> None:
    """INV-16: against the ledger at the very block of the reading."""
    world = World()
    await world.funded()
    chain = Domain.ETHEREUM
    async with world.store.read() as books:
        end = (await books.scans())[chain].through
    assert end is not None
    reading = SupplyReading(end, (supply(100 * SHARE + units),), ())
    one = Auditor(chain, (ASSET,), [reading])
    found = await audited(world, one, Supplies([shown(8)]))
    assert (found.above, found.below) == ((ASSET,) * (units > 0), (ASSET,) * (units < 0))
    assert bool(found.halted) is halted
    assert len(await halts(world)) == halted
    assert isinstance(world.store, MemoryGuardStore)
    told_ever = [raised.alarm.code for raised in world.store.alarms]
    assert ("SUPPLY_BELOW_LEDGER" in told_ever) is (units < 0)
    early = SupplyReading(replace(end, number=0), (supply(1),), ())
    found = await audited(world, Auditor(chain, (ASSET,), [early]), Supplies([shown(8)]))
    assert found.above == (ASSET,)


async def test_audit__another_reading_of_the_same_height__leaves_with_the_believed_one() -> None:
    world = World()
    await through(world, 6)
    fork = replace(shown(6), block=replace(block(6), hash=b"\7" * 32))
    one = auditor(fork, shown(6))
    await audited(world, one, Supplies([shown(9)]))
    assert [each.block.number for each in one.pending] == [9]


async def test_audit__below_on_two_chains__is_calm_where_it_fits() -> None:
    world = World()
    for chain in (BNB, Domain.MANTLE):
        async with world.store.write() as unit:
            end = block(5, chain)
            await unit.save_scan(Scan(chain, Cursor(chain), end, end))
        low = SupplyReading(block(5, chain), (supply(-1),), ())
        await audited(world, Auditor(chain, (ASSET,), [low]), Supplies([shown(8)]))
    assert [alarm.about for alarm, _ in await told(world)] == ["chain/2", "chain/3"]
    await audited(world, auditor(shown(5)), Supplies([shown(8)]))
    assert [alarm.about for alarm, _ in await told(world)] == ["chain/3"]


async def test_audit__what_it_sees_settled__is_journaled() -> None:
    world = World()
    await world.funded()
    await submit_corporate_action(world.desk, announcement(world, after=0, multiplier=10**18))
    await through(world, 7)
    await audited(world, auditor(shown(7)), Supplies([shown(8)]))
    said = (await lines_of(world))[-1]
    assert said == f"corporate-action-settled asset={ASSET.hex()} event=split-1 version=1"


async def test_audit__a_reading__says_whose_holdings_its_inventory_is() -> None:
    world = World()
    config = world.desk.config
    named = replace(config.assets[ASSET], issuer_inventory={BNB: frozenset({HOLDER})})
    world.desk.config = replace(config, assets={**config.assets, ASSET: named})
    await through(world, 5)
    ripe = shown(5, supply(), supply(asset=OTHER))
    await audited(world, auditor(ripe), Supplies([shown(8)]))
    async with world.store.read() as books:
        owners = {one.supply.asset: one.owners for one in await books.readings()}
    assert owners == {ASSET: {HOLDER}, OTHER: frozenset()}


async def test_audit__less_than_the_ledger__is_told_until_it_fits_again() -> None:
    """INV-16: it endangers nobody."""
    world = World()
    codes: list[list[str]] = []
    for number, units in ((5, -1), (6, 0)):
        await through(world, number)
        found = await audited(world, auditor(shown(number, supply(units))), Supplies([shown(8)]))
        assert (found.above, found.halted) == ((), ())
        codes.append([alarm.code for alarm, _ in await told(world)])
    assert codes == [["SUPPLY_BELOW_LEDGER"], []]


async def test_audit__more_on_an_asset_that_is_not_open__waits_for_its_opening() -> None:
    world = World()
    await through(world, 5)
    found = await audited(world, auditor(shown(5, supply(3))), Supplies([shown(8)]))
    assert (found.above, found.halted) == ((ASSET,), ())
    assert await halts(world) == []


@pytest.mark.parametrize(("number", "ledger"), [(5, 40), (6, 0)])
async def test_audit__an_opening_booked_later__was_there_all_the_while(
    number: int, ledger: int
) -> None:
    world = World()
    await through(world, number)
    chains = {BNB: Opening(40, 3, residue_units=4, booked=6), Domain.MANTLE: Opening(9, 3, 9, 9)}
    async with world.store.write() as unit:
        await unit.add_opening(OpeningRecord(ASSET, bytes(32), chains))
    await audited(
        world, auditor(shown(number, supply(), supply(asset=OTHER))), Supplies([shown(8)])
    )
    async with world.store.read() as books:
        readings = {one.supply.asset: one for one in await books.readings()}
    assert (readings[ASSET].ledger, readings[ASSET].residue_units) == (ledger, 4)
    assert (readings[OTHER].ledger, readings[OTHER].residue_units) == (0, 0)


# rights

STOLEN = CheckResult("TSLAx minter", passed=False, expected="bridge", found="a stranger")
OTHER_CODE = CheckResult("bridge code", passed=False, expected="aa", found="bb")
GOOD = CheckResult("bridge code", passed=True, expected="aa", found="aa")
UNKNOWN = CheckResult("bridge code", passed=None, expected="aa", found="?")


@dataclass
class Admin:
    """A provider that shows these."""

    checks: tuple[CheckResult, ...] | Exception

    async def self_test(self) -> SelfTest:
        """What it shows."""
        if isinstance(self.checks, Exception):
            raise self.checks
        return SelfTest(BNB, self.checks)


async def watched(world: World, *said: tuple[CheckResult, ...] | Exception) -> Watched:
    """One look of three, two of whom must agree."""
    return await watch_step(world.desk, RightsWatch(BNB, [Admin(one) for one in said], 2))


async def test_rights__wrong_alike_at_two__halt_with_what_each_said() -> None:
    world = World()
    now_ms = world.clock.unix_ms()
    found = await watched(world, (STOLEN, OTHER_CODE), (STOLEN, UNKNOWN), (GOOD,))
    (halt,) = await halts(world)
    assert found == Watched(3, (STOLEN,), (OTHER_CODE,), (halt.id,))
    assert (halt.reason, halt.chain, halt.at_ms) == (
        "ROLE_OR_CODE_CHANGED: chain 2, TSLAx minter: a stranger is not the registry's bridge",
        BNB,
        now_ms,
    )
    said = (
        "provider 0: TSLAx minter = a stranger; bridge code = bb\n"
        "provider 1: TSLAx minter = a stranger; bridge code = ?\n"
        "provider 2: "
    )
    assert evidence(world) == [(BNB, "ROLE_OR_CODE_CHANGED", said, now_ms)]
    assert len(await lines_of(world)) == 1


async def test_rights__where_one_provider_is_enough__its_word_halts() -> None:
    world = World()
    found = await watch_step(world.desk, RightsWatch(BNB, [Admin((STOLEN,))], 1))
    assert (found.wrong, found.disputed, len(found.halted)) == ((STOLEN,), (), 1)


async def test_rights__silence_and_garbage__have_not_answered() -> None:
    world = World()
    away = (Transient("AWAY", "x"), InvalidMessage("BAD", "y"))
    assert await watched(world, *away, (STOLEN,)) == Watched(1, (), (STOLEN,))
    assert await watched(world, *away) == Watched(0)
    assert (await halts(world), evidence(world), await told(world)) == ([], [], [])


@pytest.mark.parametrize("name", ["guard epoch", "guard threshold", "multisig signers"])
async def test_rights__another_guard_set__is_told_by_name_and_halts_nothing(name: str) -> None:
    world = World()
    changed = replace(STOLEN, name=name)
    assert await watched(world, (changed,), (changed,)) == Watched(2, (changed,))
    words = f"chain 2, {name}: a stranger is not the registry's bridge"
    alarm = Alarm("GUARD_SET_UNEXPECTED", "chain/2", words, name)
    assert await told(world) == [(alarm, world.clock.unix_ms())]
    assert (await halts(world), evidence(world), await lines_of(world)) == ([], [], [])


async def test_rights__moved__is_told_until_enough_find_everything_as_it_should_be() -> None:
    world = World()
    async with world.store.write() as unit:
        await tell_moved(unit, BNB, [], 3)
        await tell_moved(unit, BNB, [moved(4)], 3)
        await unit.alarm([Alarm("GUARD_SET_UNEXPECTED", "chain/2", "x")], 4)
        await unit.alarm([Alarm("GUARD_SET_UNEXPECTED", "chain/3", "x")], 4)
        await unit.alarm([Alarm("OTHER", "chain/2", "x")], 4)
    first = (await told(world))[0]
    detail = f"MINTER of {HOLDER.hex()} on chain 2 went to {'08' * 32} in block 4"
    assert first[0].detail == detail
    assert (first[0].scope, first[0].about, first[1]) == ("chain/2", f"MINTER/{HOLDER.hex()}", 3)
    for said in (((GOOD,),), ((GOOD,), (GOOD,), (STOLEN,))):
        await watched(world, *said)
        assert len(await told(world)) == 4
    await watched(world, (GOOD,), (GOOD,))
    assert [(alarm.code, alarm.scope) for alarm, _ in await told(world)] == [
        ("GUARD_SET_UNEXPECTED", "chain/3"),
        ("OTHER", "chain/2"),
    ]

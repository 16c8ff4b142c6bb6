"""Halts as they are latched, told, journaled and ended; and what keeps the books from green."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from tests.builders import a_place
from tests.services.supply_guard.people import lines_of
from tests.services.supply_guard.world import ASSET, CHAINS, HOLDER, OTHER, World
from xstock_chains.ports import AssetSupply, Cursor
from xstock_core.amount import Shares
from xstock_core.ids import AssetId, Domain, Nonce
from xstock_core.observation import BlockRef, ReleaseFinal, SupplyMoved, by_id
from xstock_core.review import EVERYTHING, Scope
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.handlers.findings import Finding
from xstock_supply_guard.handlers.halting import (
    excess,
    halt,
    latch,
    reconcile_red,
    resume,
    scope_of_halt,
    scopes,
)
from xstock_supply_guard.model import (
    Alarm,
    BelievedSupply,
    Executed,
    Halt,
    PolicyConfig,
    Scan,
)

OF_ASSET = Halt("a", "why", "ann", 1, asset=ASSET)
OF_CHAIN = Halt("c", "why", "ann", 1, chain=Domain.BNB)
OF_ALL = Halt("e", "why", "ann", 1)
SHOWN = f"asset/{ASSET.hex()}"


def green(**policy: Any) -> World:
    """A guard that has booked every chain."""
    world = World(policy=PolicyConfig(**policy))
    world.desk.live.caught_up.update(CHAINS)
    return world


async def told(world: World) -> list[tuple[Alarm, int]]:
    """The alarms that stand, with when they were told."""
    async with world.store.read() as books:
        return [(one.alarm, one.at_ms) for one in await books.alarms()]


async def standing(world: World) -> list[Halt]:
    """The halts in force."""
    async with world.store.read() as books:
        return list(await books.halts())


async def red(world: World, asset: AssetId | None = None) -> list[str]:
    """Why the books are not green."""
    async with world.store.read() as books:
        return await reconcile_red(world.desk, books, asset)


def test_scope__of_a_halt__in_alarms_and_in_the_cores_words() -> None:
    both = {Scope(source=Domain.BNB), Scope(destination=Domain.BNB)}
    for one, text, covers in (
        (OF_ASSET, SHOWN, {Scope(asset=ASSET)}),
        (OF_CHAIN, "chain/2", both),
        (OF_ALL, "all", {EVERYTHING}),
    ):
        assert scope_of_halt(one) == text
        assert scopes([one]) == covers
    assert scopes([OF_ASSET, OF_CHAIN, OF_ALL]) == {Scope(asset=ASSET), EVERYTHING, *both}


async def test_findings__latch_one_halt_per_standing_reason_and_scope() -> None:
    world = World()
    findings = [
        Finding("X", "y", asset=ASSET),
        Finding("X", "y", asset=ASSET),
        Finding("X", "y", asset=OTHER),
        Finding("X", "y", chain=Domain.BNB),
        Finding("X", "z", chain=Domain.BNB),
    ]
    lines: list[str] = []
    async with world.store.write() as unit:
        assert await latch(unit, [], 5, lines) == ()
        latched = await latch(unit, findings, 5, lines)
        assert await latch(unit, findings, 9, lines) == ()
    halts = [findings[number].halt(5) for number in (0, 2, 3, 4)]
    assert latched == tuple(one.id for one in halts)
    assert sorted(await standing(world), key=lambda one: one.id) == sorted(
        halts, key=lambda one: one.id
    )
    assert lines == [
        f"halt id={one.id} by=service {covers} reason={reason}"
        for one, covers, reason in zip(
            halts,
            (f"asset={ASSET.hex()}", f"asset={OTHER.hex()}", "chain=2", "chain=2"),
            ("X:%20y",) * 3 + ("X:%20z",),
            strict=True,
        )
    ]
    scoped = (SHOWN, f"asset/{OTHER.hex()}", "chain/2", "chain/2")
    alarms = {
        (Alarm("HALTED", scope, one.reason, one.id), 5)
        for scope, one in zip(scoped, halts, strict=True)
    }
    assert set(await told(world)) == alarms


@pytest.mark.parametrize(
    ("asset", "chain", "scope", "covers"),
    [
        (ASSET, None, SHOWN, f" asset={ASSET.hex()}"),
        (None, Domain.BNB, "chain/2", " chain=2"),
        (None, None, "all", ""),
    ],
)
async def test_halt__by_an_operator__is_kept_told_and_journaled(
    asset: AssetId | None, chain: Domain | None, scope: str, covers: str
) -> None:
    world = World()
    asked: dict[str, Any] = {"asset": asset, "chain": chain, "reason": "a drill", "by": "ann"}
    made = await halt(world.desk, **asked, request_id="h-1")
    now_ms = world.clock.unix_ms()
    known = sha256(b"ann|h-1").hexdigest()[:32]
    assert made == Halt(known, "a drill", "ann", now_ms, asset, chain)
    assert await told(world) == [(Alarm("HALTED", scope, "a drill", known), now_ms)]
    assert await lines_of(world) == [f"halt id={known} by=ann{covers} reason=a%20drill"]
    await world.clock.advance(5)
    assert await halt(world.desk, **asked, request_id="h-1") == made
    assert await standing(world) == [made]
    assert len(await lines_of(world)) == 1
    other = await halt(world.desk, **asked, request_id="h-2")
    assert {one.id for one in await standing(world)} == {made.id, other.id}


@pytest.mark.parametrize("field", ["reason", "request_id"])
async def test_halt__without_words__is_refused_by_the_fields_name(field: str) -> None:
    world = World()
    words = {"reason": "why", "request_id": "r", field: " "}
    with pytest.raises(InvalidMessage) as refused:
        await halt(world.desk, asset=None, chain=None, by="ann", **words)
    assert (refused.value.code, refused.value.metadata) == ("FIELD_INVALID", {"field": field})
    assert await standing(world) == []


async def test_resume__of_what_does_not_stand__says_where_to_look() -> None:
    world = green()
    with pytest.raises(InvalidMessage) as refused:
        await resume(world.desk, halt_id="h'1", by="ann", reason="over")
    assert refused.value.code == "HALT_UNKNOWN"
    said = 'halt_id: "h\'1" is not in force; ListHalts shows those that are'
    assert (refused.value.message, refused.value.metadata) == (said, {"halt_id": "h'1"})
    with pytest.raises(InvalidMessage) as refused:
        await resume(world.desk, halt_id="h'1", by="ann", reason="")
    assert refused.value.metadata == {"field": "reason"}


async def test_resume__by_two_with_green_books__ends_that_halt_alone() -> None:
    """F92."""
    world = green()
    made = [
        await halt(world.desk, asset=None, chain=None, reason="r", by="ann", request_id=one)
        for one in ("h-1", "h-2")
    ]
    first = made[0].id
    before = len(await lines_of(world))
    asked: dict[str, Any] = {"halt_id": first, "reason": "all fine"}
    for _ in range(2):
        found = await resume(world.desk, **asked, by="ann")
        assert found == (False, "1 more identity must approve")
    approvals = {one.id: one.approvals for one in await standing(world)}
    assert approvals == {first: ("ann",), made[1].id: ()}
    assert await resume(world.desk, **asked, by="bob") == (True, "")
    assert [one.id for one in await standing(world)] == [made[1].id]
    assert [one.about for one, _ in await told(world)] == [made[1].id]
    assert (await lines_of(world))[before:] == [
        f"approve halt={first} by=ann reason=all%20fine",
        f"approve halt={first} by=bob reason=all%20fine",
        f"clear halt={first}",
    ]


async def test_resume__with_red_books__keeps_the_approval_and_names_everything_missing() -> None:
    world = World()
    world.desk.live.caught_up.update(CHAINS[:1])
    made = await halt(world.desk, asset=None, chain=None, reason="r", by="a", request_id="h")
    missing = "bnb is not booked up to its final head; mantle is not booked up to its final head"
    found = await resume(world.desk, halt_id=made.id, by="ann", reason="x")
    assert found == (False, f"1 more identity must approve; {missing}")
    found = await resume(world.desk, halt_id=made.id, by="bob", reason="x")
    assert found == (False, missing)
    assert [one.approvals for one in await standing(world)] == [("ann", "bob")]
    world.desk.live.caught_up.update(CHAINS)
    assert await resume(world.desk, halt_id=made.id, by="bob", reason="x") == (True, "")


# green books


def reading(
    world: World,
    chain: Domain,
    *,
    asset: AssetId = ASSET,
    units: int = 0,
    number: int = 5,
    age: int = 0,
) -> BelievedSupply:
    """What a chain shows."""
    supply = AssetSupply(asset, units, 0, 18, 10**18, 0, False)
    block = BlockRef(chain, number, bytes(32), world.now - age)
    return BelievedSupply(chain, block, supply, 0)


async def keep(world: World, *readings: BelievedSupply) -> None:
    """These are believed."""
    async with world.store.write() as unit:
        await unit.save_readings(readings)


async def moved_outside(world: World, number: int) -> None:
    """Supply of BNB Chain moved outside the bridge in this block."""
    async with world.store.write() as unit:
        moved = SupplyMoved(ASSET, 1, a_place(Domain.BNB, number))
        await unit.add_observations(by_id([moved]))


def everywhere(world: World, **changes: Any) -> Sequence[BelievedSupply]:
    """Every asset is read on every chain."""
    return [
        reading(world, chain, asset=asset, **changes)
        for chain in CHAINS
        for asset in (ASSET, OTHER)
    ]


async def test_books__of_a_guard_that_knows_of_nothing_wrong__are_green() -> None:
    world = green(supply_age_seconds_max=600)
    await keep(world, *everywhere(world, age=600))
    assert await red(world) == []
    assert await red(world, ASSET) == []


async def test_resume__of_one_asset__asks_for_its_own_books_alone() -> None:
    world = green()
    await keep(world, reading(world, Domain.BNB, asset=OTHER, units=1))
    asked: dict[str, Any] = {"chain": None, "reason": "r", "by": "ann"}
    for asset, cleared in ((ASSET, True), (OTHER, False), (None, False)):
        made = await halt(world.desk, asset=asset, request_id=f"h-{asset!r}", **asked)
        for by in ("ann", "bob"):
            found = await resume(world.desk, halt_id=made.id, by=by, reason="x")
        assert found[0] is cleared


async def test_books__dissent__is_red_for_everybody() -> None:
    world = green()
    async with world.store.write() as unit:
        await unit.save_scan(Scan(Domain.BNB, Cursor(Domain.BNB), dissent_since_ms=1))
        await unit.save_scan(Scan(Domain.MANTLE, Cursor(Domain.MANTLE)))
    assert await red(world, ASSET) == ["providers of chain 2 disagree"]


async def test_books__more_on_a_chain_than_in_the_ledger__is_red_for_its_asset() -> None:
    world = green()
    await keep(
        world,
        reading(world, Domain.BNB, units=7),
        reading(world, Domain.MANTLE, units=-7),
        reading(world, Domain.ETHEREUM, asset=OTHER, units=1),
    )
    assert await red(world, ASSET) == ["chain 2 shows 7 units above the ledger"]
    assert await red(world, OTHER) == ["chain 1 shows 1 units above the ledger"]
    assert len(await red(world)) == 2


async def test_books__moved_outside_since_the_last_reading__are_red() -> None:
    """F92: a reading from before the mint says nothing about it."""
    world = green()
    await moved_outside(world, 6)
    text = "supply of chain 2 is not read since it moved outside the bridge in 6"
    assert await red(world) == [text]
    await keep(world, *everywhere(world, number=6))
    assert await red(world) == []
    await keep(world, reading(world, Domain.BNB, number=5))
    assert await red(world, ASSET) == [text]
    assert await red(world, OTHER) == []
    assert await red(world) == [text]


async def test_books__moved_outside_in_the_first_block__are_red_while_nobody_has_read() -> None:
    world = green()
    await moved_outside(world, 1)
    text = "supply of chain 2 is not read since it moved outside the bridge in 1"
    assert await red(world) == [text]


async def test_books__a_chain_nobody_has_read_lately__are_red() -> None:
    """F92: unknown is not green."""
    world = green(supply_age_seconds_max=600)
    await keep(world, *everywhere(world))
    await keep(world, reading(world, Domain.MANTLE, age=601))
    text = "supply of chain 3 is not read within 600 seconds"
    assert await red(world) == [text]
    assert await red(world, ASSET) == [text]
    assert await red(world, OTHER) == []
    never = green(supply_age_seconds_max=600)
    assert await red(never, ASSET) == [text.replace("chain 3", f"chain {n}") for n in (1, 2, 3)]


async def test_books__a_release_without_a_burn__are_red_for_its_asset() -> None:
    world = green()
    place = a_place(Domain.BNB)
    release = ReleaseFinal(
        Domain.BNB, Domain.ETHEREUM, Nonce(b"\x31" * 32), ASSET, HOLDER, Shares(1), place
    )
    matched = replace(release, nonce=Nonce(b"\x32" * 32))
    async with world.store.write() as unit:
        await unit.add_executions(
            [Executed(release, 1, matched=False), Executed(matched, 1, matched=True)]
        )
    text = f"release {'31' * 32} has no burn"
    assert await red(world) == [text]
    assert await red(world, ASSET) == [text]
    assert await red(world, OTHER) == []


async def test_books__that_were_edited__are_red(monkeypatch: pytest.MonkeyPatch) -> None:
    world = green()
    async with world.store.read() as books:

        async def off() -> Sequence[str]:
            return ["balance of x"]

        monkeypatch.setattr(books, "balances_off", off)
        found = await reconcile_red(world.desk, books, OTHER)
    assert found == ["the database was edited: balance of x"]


@pytest.mark.parametrize(
    ("units", "decimals", "ledger", "above"),
    [
        (10**10 + 7, 18, 1, 7),
        (10**10 - 1, 18, 1, -1),
        (5, 8, 3, 2),
        (5, 6, 499, 1),
        (5, 6, 501, -1),
    ],
)
def test_excess__in_token_units_or_in_shares_where_a_token_has_fewer_decimals(
    units: int, decimals: int, ledger: int, above: int
) -> None:
    supply = AssetSupply(ASSET, units, 0, decimals, 10**18, 0, False)
    block = BlockRef(Domain.BNB, 1, bytes(32), 1)
    assert excess(BelievedSupply(Domain.BNB, block, supply, ledger)) == above

"""What an opening leaves behind, whole: entries, readings, the journal's line, refusals by name.

Units are token units of 18 decimals where nothing else is said; ten to the tenth of them are one
unit of 10^-8 share.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.services.supply_guard.collateral import (
    AGENT,
    GUARD_PAPERS,
    ask,
    attested,
    audited,
    book,
    funded,
    live_before,
    opening_of,
    out,
    paper_of,
    pay,
    world_of,
)
from tests.services.supply_guard.people import lines_of
from tests.services.supply_guard.returns import redeemed
from tests.services.supply_guard.test_paper_outcomes import said
from tests.services.supply_guard.world import (
    ASSET,
    CHAINS,
    DEPLOYMENT,
    OTHER,
    SHARE,
    STRANGER,
    World,
    id_of,
)
from xstock_chains.ports import AssetSupply, Cursor
from xstock_core.amount import Shares
from xstock_core.ids import AssetId, Domain
from xstock_core.ledger import entry_of_opening
from xstock_core.observation import BlockRef
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_supply_guard import wire
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers.halting import halt
from xstock_supply_guard.handlers.opening import (
    UNCOVERED,
    not_open,
    split_units,
    submit_opening,
)
from xstock_supply_guard.model import BelievedSupply, Opening, OpeningRecord, Posted, Scan
from xstock_wire.papers import OPENING
from xstock_wire.v1 import papers_pb2

UNKNOWN = AssetId(b"\x07" * 32)


async def live(held: int = 1000 * SHARE, **policy: Any) -> World:
    """A token with fifty shares from before the bridge, read everywhere and attested."""
    world = world_of(MemoryGuardStore(), **policy)
    await live_before(world)
    await attested(world, paper_of(world, held))
    await audited(world)
    return world


async def waits(world: World, paper: papers_pb2.Opening) -> str:
    """Why this guard cannot say yet that it would sign."""
    with pytest.raises(Transient) as waiting:
        await ask(world, paper)
    assert waiting.value.code == "OPENING_NOT_YET"
    return waiting.value.message


async def readings_of(world: World, asset: AssetId) -> dict[Domain, BelievedSupply]:
    """The believed readings of an asset by chain."""
    async with world.store.read() as books:
        return {one.chain: one for one in await books.readings([asset])}


async def test_opening__booked__is_one_entry_one_line_and_a_restated_reading() -> None:
    world = await live()
    before, others = await readings_of(world, ASSET), await readings_of(world, OTHER)
    async with world.store.read() as books:
        scans = dict(await books.scans())
    length = len(await lines_of(world))
    paper = opening_of(world)
    assert await book(world, paper) == 50 * SHARE
    signed = [key.sign(OPENING, DEPLOYMENT, paper) for key in GUARD_PAPERS[:2]]
    parsed, _ = wire.opening_statements(signed, DEPLOYMENT)
    entry = entry_of_opening(ASSET, Domain.ETHEREUM, Shares(50 * SHARE))
    lines = (await lines_of(world))[length:]
    assert [one for one in lines if one.startswith("open ")] == [
        f"open asset={ASSET.hex()} digest={parsed.digest.hex()} paper={signed[0].paper.hex()}"
        f" keys=guard-1,guard-2 signatures={signed[0].signature.hex()},{signed[1].signature.hex()}"
    ]
    assert sum(f"entry id={entry.id.hex()} " in one for one in lines) == 1
    assert isinstance(world.store, MemoryGuardStore)
    assert Posted(entry, scans[Domain.ETHEREUM].through) in world.store.entries
    async with world.store.read() as books:
        opened = await books.opened([ASSET])
    booked = {chain: scan.through.number for chain, scan in scans.items() if scan.through}
    ethereum = paper.chains[0]
    assert opened[ASSET] == OpeningRecord(
        ASSET,
        parsed.digest,
        {
            Domain.ETHEREUM: Opening(50 * SHARE, ethereum.block_number, 7, booked[Domain.ETHEREUM]),
            Domain.BNB: Opening(0, 1, 0, booked[Domain.BNB]),
            Domain.MANTLE: Opening(0, 1, 0, booked[Domain.MANTLE]),
        },
    )
    restated = replace(before[Domain.ETHEREUM], ledger=50 * SHARE, residue_units=7)
    assert await readings_of(world, ASSET) == {**before, Domain.ETHEREUM: restated}
    assert await readings_of(world, OTHER) == others


async def test_opening__restored_into_empty_books__stands_before_every_block() -> None:
    """What M guards signed when they compared it is not compared again, nor waited for."""
    world = world_of(MemoryGuardStore())
    paper = opening_of(world)
    signed = [key.sign(OPENING, DEPLOYMENT, paper) for key in GUARD_PAPERS[:2]]
    parsed, statements = wire.opening_statements(signed, DEPLOYMENT)
    assert await submit_opening(world.desk, parsed, statements, restoring=True) == 50 * SHARE
    assert isinstance(world.store, MemoryGuardStore)
    entry = entry_of_opening(ASSET, Domain.ETHEREUM, Shares(50 * SHARE))
    assert world.store.entries == [Posted(entry, None)]
    async with world.store.read() as books:
        record = (await books.opened([ASSET]))[ASSET]
        assert await books.supply_at(Domain.ETHEREUM, 0, [ASSET]) == {ASSET: 50 * SHARE}
    assert {one.booked for one in record.chains.values()} == {0}


async def test_opening__signed_by_m_before_a_chain_was_booked__waits_for_that_chain() -> None:
    world = world_of(MemoryGuardStore())
    world.desk.live.caught_up.update(CHAINS)
    await attested(world, paper_of(world))
    with pytest.raises(Transient, match="OPENING_NOT_YET: ethereum is not booked yet"):
        await book(world, opening_of(world))
    assert await out(world) == 0


async def test_opening__of_less_than_was_burned_since__is_refused_with_what_is_missing() -> None:
    world = await live()
    world.burn(20 * SHARE)
    await audited(world)
    with pytest.raises(InvalidMessage) as refused:
        await book(world, opening_of(world, 5 * SHARE))
    remedy = f"more was burned there since: {-15 * SHARE}"
    said(refused.value, "OPENING_INVALID", "shares", 5 * SHARE, remedy)
    assert await book(world, opening_of(world, 20 * SHARE)) == 20 * SHARE


async def test_opening__above_the_cap__names_the_sum_and_the_cap_to_the_last_unit() -> None:
    """INV-04: an opening is an issuance by another name; what custody covers exactly is opened."""
    world = await live(50 * SHARE - 1)
    with pytest.raises(InvalidMessage) as refused:
        await book(world, opening_of(world))
    remedy = f"the cap is {50 * SHARE - 1}; {UNCOVERED}"
    said(refused.value, "OPENING_INVALID", "shares", 50 * SHARE, remedy)
    await attested(world, paper_of(world, 50 * SHARE, sequence=2))
    assert await book(world, opening_of(world)) == 50 * SHARE


def without_mantle(paper: papers_pb2.Opening) -> None:
    del paper.chains[2]


def unknown_asset(paper: papers_pb2.Opening) -> None:
    paper.asset = UNKNOWN


def more_shares(paper: papers_pb2.Opening) -> None:
    paper.chains[0].shares += 1


WRONG: dict[str, tuple[Callable[[papers_pb2.Opening], None], str, Any, str]] = {
    "an asset nobody registered": (
        unknown_asset, "asset", UNKNOWN.hex(), "this asset is not registered",
    ),
    "a chain left out": (
        without_mantle, "chains", [1, 2], "name every chain of the asset: [1, 2, 3]",
    ),
    "a share too many": (
        more_shares, "chains.ethereum", (50 * SHARE + 1, 7),
        f"ethereum shows {50 * SHARE} and 7 at block ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_opening__that_is_wrong__names_the_field_what_it_says_and_what_is_true(
    name: str,
) -> None:
    change, field, value, remedy = WRONG[name]
    world = await live()
    paper = opening_of(world)
    change(paper)
    with pytest.raises(InvalidMessage) as refused:
        await ask(world, paper)
    if remedy.endswith(" "):
        remedy += str((await readings_of(world, ASSET))[Domain.ETHEREUM].block.number)
    said(refused.value, "OPENING_INVALID", field, value, remedy)


async def test_opening__of_one_that_is_open__is_refused_by_its_asset() -> None:
    world = await live()
    await book(world, opening_of(world))
    with pytest.raises(InvalidMessage) as refused:
        await ask(world, opening_of(world, 49 * SHARE))
    remedy = "another opening of it is booked already"
    said(refused.value, "OPENING_INVALID", "asset", ASSET.hex(), remedy)


async def test_opening__of_books_that_are_back_at_zero__is_refused_all_the_same() -> None:
    """All that was issued is redeemed and paid: custody's account is even, and has begun."""
    world = world_of(MemoryGuardStore())
    await funded(world, 10 * SHARE)
    await pay(world, 2, id_of((await redeemed(world, 10 * SHARE)).message))
    assert await out(world) == 0
    with pytest.raises(InvalidMessage) as refused:
        await book(world, opening_of(world))
    remedy = "its books have begun; an opening comes first"
    said(refused.value, "OPENING_INVALID", "asset", ASSET.hex(), remedy)


async def test_opening__signed_by_too_few_or_by_others__says_whom_it_needs() -> None:
    world = await live()
    paper = opening_of(world)
    with pytest.raises(InvalidMessage) as refused:
        await book(world, paper, GUARD_PAPERS[2])
    said(refused.value, "OPENING_INVALID", "signatures", 1, "2 different guards must sign")
    for key in (STRANGER, AGENT):
        with pytest.raises(InvalidMessage) as refused:
            await book(world, paper, GUARD_PAPERS[0], key)
        remedy = "every guard signs this very paper"
        said(refused.value, "OPENING_INVALID", "signatures", key.key_id, remedy)


async def test_opening__while_something_stands_in_the_way__says_what_it_waits_for() -> None:
    """Not caught up, halted, attested too long ago; another asset's halt is not in its way."""
    world = await live(attestation_age_seconds_max=600)
    paper = opening_of(world)
    world.desk.live.caught_up -= {Domain.BNB, Domain.MANTLE}
    missing = "not booked up to the final head yet: bnb, mantle"
    assert await waits(world, paper) == missing
    world.desk.live.caught_up.update(CHAINS)
    await halt(world.desk, asset=OTHER, chain=None, reason="drill", by="agent", request_id="h-1")
    await ask(world, paper)
    await world.clock.advance(600)
    await ask(world, paper)
    await world.clock.advance(1)
    stale = f"the attestation is 601 s old; {UNCOVERED}"
    assert await waits(world, paper) == stale
    await halt(world.desk, asset=ASSET, chain=None, reason="odd", by="agent", request_id="h-2")
    assert (await waits(world, paper)).startswith("halted: ")
    assert "odd" in await waits(world, paper)


@pytest.mark.parametrize("scanned", [None, Scan(Domain.ETHEREUM, Cursor(Domain.ETHEREUM))])
async def test_opening__of_a_chain_that_was_read_and_not_booked__waits(
    scanned: Scan | None,
) -> None:
    """A reading alone proves nothing of what was burned before it."""
    world = world_of(MemoryGuardStore())
    world.desk.live.caught_up.update(CHAINS)
    await attested(world, paper_of(world))
    async with world.store.write() as unit:
        if scanned is not None:
            await unit.save_scan(scanned)
        await unit.save_readings([a_reading(7 * 10**10, chain=chain) for chain in CHAINS])
    paper = opening_of(world, 7, 0)
    paper.chains[0].block_number = 1
    assert await waits(world, paper) == "ethereum: no believed reading at block 1 or later yet"


def a_reading(
    units: int,
    decimals: int = 18,
    inventory: int = 0,
    *,
    chain: Domain = Domain.ETHEREUM,
    asset: AssetId = ASSET,
) -> BelievedSupply:
    """A believed reading at block 9."""
    supply = AssetSupply(asset, units, inventory, decimals, 10**18, 0, paused=False)
    return BelievedSupply(chain, BlockRef(chain, 9, b"\x01" * 32, 9), supply, 0)


@pytest.mark.parametrize(
    ("units", "decimals", "inventory", "split"),
    [
        (5 * 10**18 + 3, 18, 0, (5 * SHARE, 3)),
        (5 * 10**18 + 3, 18, 10**18 + 1, (4 * SHARE, 2)),
        (5 * SHARE, 8, 2, (5 * SHARE - 2, 0)),
        (5 * 10**9 + 7, 9, 0, (5 * SHARE, 7)),
        (5_000_003, 6, 1, (500_000_200, 0)),
    ],
)
def test_units__of_any_decimals__are_whole_hundred_millionths_and_what_is_left(
    units: int, decimals: int, inventory: int, split: tuple[int, int]
) -> None:
    assert split_units(a_reading(units, decimals, inventory)) == split


async def test_assets__that_nobody_may_take_for_open__are_those_unread_and_those_with_holders() -> (
    None
):
    """An empty one that is read everywhere is open; an unregistered one is not looked at."""
    world = world_of(MemoryGuardStore())
    both = {ASSET, OTHER, UNKNOWN}
    async with world.store.read() as books:
        assert await not_open(world.desk, books, both) == {ASSET, OTHER}
    async with world.store.write() as unit:
        found = [a_reading(0, chain=chain, asset=OTHER) for chain in CHAINS]
        await unit.save_readings([*found, a_reading(1, chain=Domain.BNB)])
    async with world.store.read() as books:
        assert await not_open(world.desk, books, both) == {ASSET}
        assert await not_open(world.desk, books, {OTHER}) == set()

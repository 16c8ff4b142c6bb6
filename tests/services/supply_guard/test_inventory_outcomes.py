"""Issuer inventory, whole: what counts where, what each doubt takes away, and what is told of it.

The readings are put into memory as the auditor leaves them; what is asked for is what a decision
would count on, the alarm that a person reads, and the line that a journal keeps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.services.supply_guard.collateral import hand_in, paper_of
from tests.services.supply_guard.inventory import accounts
from tests.services.supply_guard.people import lines_of
from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    HOLDER,
    OTHER,
    RECIPIENT,
    SHARE,
    World,
)
from xstock_chains.ports import AssetSupply
from xstock_core.cap import Attestation
from xstock_core.ids import Address32, AssetId, Domain
from xstock_core.inventory import InventoryReading
from xstock_core.observation import BlockRef
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers.cover import cover_step
from xstock_supply_guard.handlers.inventory import (
    NOT_ATTESTED,
    excluded,
    inventories,
    is_of_owners,
    limits_of,
    misnamed,
    names_changed,
    note_names,
    owners_on,
)
from xstock_supply_guard.model import (
    Alarm,
    AttestationRecord,
    BelievedSupply,
    Outcome,
    RaisedAlarm,
    SignedStatement,
)

ETHEREUM, BNB, MANTLE, TON = Domain.ETHEREUM, Domain.BNB, Domain.MANTLE, Domain.TON
Owners = Mapping[Domain, frozenset[Address32]]
ISSUERS: Owners = {ETHEREUM: frozenset({HOLDER}), BNB: frozenset({RECIPIENT})}
BOTH = frozenset({HOLDER, RECIPIENT})
LONGEST = 600
STATEMENT = SignedStatement("attestation", b"", bytes(32), "custodian-1", b"")
UNKNOWN = AssetId(b"\x07" * 32)


def a_world(owners: Mapping[AssetId, Owners] | None = None) -> World:
    """A guard whose registry names these owners; of TSLAx the issuer's unless told otherwise."""
    world = World(store=MemoryGuardStore())
    config = world.desk.config
    named = {ASSET: ISSUERS} if owners is None else owners
    assets = {
        asset: replace(one, issuer_inventory=named.get(asset, {}))
        for asset, one in config.assets.items()
    }
    policy = replace(config.policy, supply_age_seconds_max=LONGEST, margin_bps=1000)
    world.desk.config = replace(config, assets=assets, policy=policy)
    return world


def record(asset: AssetId = ASSET, owners: Owners = ISSUERS, held: int = 1000) -> AttestationRecord:
    """Custody's statement with the owners that it names."""
    named = frozenset((chain, one) for chain, here in owners.items() for one in here)
    return AttestationRecord(Attestation(asset, held, 8, 10**18, 0, 1, 5, named), STATEMENT)


def reading(
    world: World, chain: Domain = BNB, asset: AssetId = ASSET, **how: Any
) -> BelievedSupply:
    """A believed reading of now at block 5: 900 units there, 90 of them the issuer's."""
    fields = {"units": 90, "total": 900, "decimals": 8, "age": 0, "bridge": 0, "residue": 0} | how
    return BelievedSupply(
        chain,
        BlockRef(chain, 5, bytes(32), world.now - fields["age"]),
        AssetSupply(
            asset,
            fields["total"],
            fields["bridge"],
            fields["decimals"],
            10**18,
            0,
            False,
            issuer_inventory_units=fields["units"],
        ),
        0,
        fields["residue"],
        how.get("owners", ISSUERS.get(chain, frozenset())),
    )


async def remember(world: World, *readings: BelievedSupply) -> None:
    """The auditor believed these."""
    async with world.store.write() as unit:
        await unit.save_readings(readings)


async def counted(
    world: World,
    *records: AttestationRecord,
    readings: Sequence[BelievedSupply] | None = None,
) -> Mapping[AssetId, tuple[InventoryReading, ...]]:
    """What a decision would count on."""
    attested = {one.attestation.asset: one for one in records or (record(),)}
    async with world.store.read() as books:
        return await inventories(world.desk, books, attested, readings)


async def told(world: World) -> list[RaisedAlarm]:
    """The alarms about owners that stand."""
    async with world.store.read() as books:
        return [one for one in await books.alarms() if one.alarm.code == NOT_ATTESTED]


async def note(world: World, *records: AttestationRecord, at_ms: int = 7) -> None:
    """Look at whom registry and custody name."""
    async with world.store.write() as unit:
        attested = {one.attestation.asset: one for one in records}
        await note_names(unit, world.desk, attested, at_ms)


async def changed(world: World, *records: AttestationRecord) -> bool:
    """Whether a look would tell or calm anything."""
    async with world.store.read() as books:
        attested = {one.attestation.asset: one for one in records}
        return await names_changed(world.desk, books, attested)


def of(world: World, chain: Domain = BNB, **changes: Any) -> InventoryReading:
    """What a reading of now counts for."""
    fields = {"number": 5, "time": world.now, "units": 90, "decimals": 8, "burned": 0} | changes
    return InventoryReading(chain, **fields)


# --- what counts ----------------------------------------------------------------------------------


async def test_inventory__of_two_assets_and_chains__is_each_assets_own_by_rising_chain() -> None:
    world = a_world({ASSET: ISSUERS, OTHER: {BNB: frozenset({RECIPIENT})}})
    await remember(
        world,
        reading(world, BNB),
        reading(world, ETHEREUM, units=70, decimals=6),
        reading(world, BNB, OTHER, units=11, age=3),
    )
    found = await counted(world, record(), record(OTHER, {BNB: frozenset({RECIPIENT})}))
    assert found == {
        ASSET: (of(world, ETHEREUM, units=70, decimals=6), of(world)),
        OTHER: (of(world, units=11, time=world.now - 3),),
    }
    assert [excluded(found, one) for one in (ASSET, OTHER, UNKNOWN)] == [7000 + 90, 11, 0]


async def test_inventory__of_readings_at_hand__is_of_those_and_no_others() -> None:
    """A proof of a moment has none at hand: nothing counts there, whatever memory holds now."""
    world = a_world()
    await remember(world, reading(world))
    assert await counted(world, readings=[]) == {}
    assert await counted(world, readings=[reading(world, units=3)]) == {
        ASSET: (of(world, units=3),)
    }
    assert await counted(world) == {ASSET: (of(world),)}


@pytest.mark.parametrize(
    ("how", "units"),
    [
        ({"units": 0}, 0),
        ({"units": 900}, 900),
        ({"units": 901}, 900),
        ({"units": 900, "bridge": 1}, 899),
        ({"units": 900, "residue": 1}, 899),
        ({"units": 900, "bridge": 100, "residue": 10}, 790),
        ({"units": -1}, 0),
        ({"bridge": 901}, 0),
    ],
)
async def test_inventory__is_never_more_than_what_is_out_there_nor_below_nothing(
    how: dict[str, Any], units: int
) -> None:
    world = a_world()
    await remember(world, reading(world, **how))
    assert await counted(world) == {ASSET: (of(world, units=units),)}


@pytest.mark.parametrize(
    ("age", "counts"), [(-30, True), (0, True), (600, True), (601, False), (10**6, False)]
)
async def test_reading__counts_to_the_second_of_its_age(age: int, counts: bool) -> None:
    world = a_world()
    await remember(world, reading(world, age=age))
    found = {ASSET: (of(world, time=world.now - age),)} if counts else {}
    assert await counted(world) == found


@pytest.mark.parametrize("owners", [frozenset(), frozenset({HOLDER}), BOTH])
async def test_reading__of_other_owners_than_are_named_now__counts_nothing(
    owners: frozenset[Address32],
) -> None:
    world = a_world()
    other = reading(world, owners=owners)
    await remember(world, other)
    assert await counted(world) == {}
    assert not is_of_owners(world.desk, other)
    assert is_of_owners(world.desk, reading(world))


@pytest.mark.parametrize(
    "attested",
    [{}, {ETHEREUM: ISSUERS[BNB]}, {BNB: frozenset({HOLDER})}, {BNB: BOTH}, {MANTLE: BOTH}],
    ids=["nobody", "another chain", "another owner", "one more", "elsewhere"],
)
async def test_custody__that_names_others__leaves_nothing_of_that_chain(attested: Owners) -> None:
    world = a_world({ASSET: {BNB: ISSUERS[BNB]}})
    await remember(world, reading(world))
    assert await counted(world, record(owners=attested)) == {}


async def test_chain__on_which_the_names_agree__counts_beside_one_where_they_do_not() -> None:
    world = a_world()
    await remember(world, reading(world, ETHEREUM), reading(world))
    half = {ETHEREUM: frozenset({RECIPIENT}), BNB: ISSUERS[BNB]}
    assert await counted(world, record(owners=half)) == {ASSET: (of(world),)}


async def test_asset__without_attestation_or_registration__counts_nothing() -> None:
    world = a_world()
    await remember(world, reading(world), reading(world, BNB, UNKNOWN))
    assert await counted(world, record(OTHER, {})) == {}
    assert await counted(world, record(UNKNOWN, {BNB: ISSUERS[BNB]})) == {}


def test_owners__of_a_place__are_the_registrys_or_nobody() -> None:
    desk = a_world().desk
    assert owners_on(desk, ASSET, BNB) == ISSUERS[BNB]
    assert owners_on(desk, ASSET, MANTLE) == frozenset()
    assert owners_on(desk, OTHER, BNB) == frozenset()
    assert owners_on(desk, UNKNOWN, BNB) == frozenset()


# --- what was burned since ------------------------------------------------------------------------


class Burns:
    """Books that show these burns and releases without a burn; says what it was asked."""

    def __init__(self, books: Any, burned: Mapping[Any, int], unread: Mapping[Any, int]) -> None:
        self.books, self.burned, self.unread = books, burned, unread
        self.asked: list[object] = []
        self.looked: list[object] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.books, name)

    async def readings(self, assets: Any) -> Sequence[BelievedSupply]:
        """The readings, noted whose."""
        self.looked.append(assets)
        found: Sequence[BelievedSupply] = await self.books.readings(assets)
        return found

    async def burned_above(self, places: Mapping[Any, int]) -> Mapping[Any, int]:
        """Burns booked above a block of each place."""
        self.asked.append(dict(places))
        return self.burned

    async def unexplained(self, assets: Any) -> Mapping[Any, int]:
        """Releases whose burn nobody has read."""
        self.asked.append(set(assets))
        return self.unread


@pytest.mark.parametrize(
    ("burned", "unread", "since", "shares"),
    [
        ({}, {}, 0, 90),
        ({(ASSET, BNB): 20}, {}, 20, 70),
        ({}, {(ASSET, BNB): 30}, 30, 60),
        ({(ASSET, BNB): 20}, {(ASSET, BNB): 30}, 50, 40),
        ({(ASSET, BNB): 91}, {}, 91, 0),
        ({(ASSET, ETHEREUM): 20, (OTHER, BNB): 20}, {(ASSET, MANTLE): 9}, 0, 90),
    ],
)
async def test_burns__after_the_reading__are_taken_off_its_own_place_once_each(
    burned: Mapping[Any, int], unread: Mapping[Any, int], since: int, shares: int
) -> None:
    """A burn booked there, and a release elsewhere whose burn is still to be read."""
    world = a_world()
    attested = {ASSET: record()}
    async with world.store.read() as known:
        books: Any = Burns(known, burned, unread)
        found = await inventories(world.desk, books, attested, [reading(world)])
    assert found == {ASSET: (of(world, burned=since),)}
    assert excluded(found, ASSET) == shares
    assert books.asked == [{(ASSET, BNB): 5}, {ASSET}]
    assert books.looked == []


@pytest.mark.parametrize("why", ["nobody is named", "nothing is read", "all of it is old"])
async def test_burns__where_nothing_could_count__are_not_asked_for(why: str) -> None:
    world = a_world({} if why == "nobody is named" else None)
    if why == "all of it is old":
        await remember(world, reading(world, age=LONGEST + 1))
    async with world.store.read() as known:
        books: Any = Burns(known, {}, {})
        assert await inventories(world.desk, books, {ASSET: record()}) == {}
    assert books.asked == []
    assert books.looked == ([] if why == "nobody is named" else [{ASSET}])


# --- the limit ------------------------------------------------------------------------------------


async def test_limits__are_each_assets_cap_after_margin_with_its_inventory_on_top() -> None:
    world = a_world()
    await remember(world, reading(world, ETHEREUM), reading(world, units=7))
    records = {ASSET: record(), OTHER: record(OTHER, {}, held=500)}
    found = await counted(world, *records.values())
    assert limits_of(world.desk, records, found) == {ASSET: 900 + 97, OTHER: 450}
    assert limits_of(world.desk, records, {}) == {ASSET: 900, OTHER: 450}
    assert limits_of(world.desk, {}, found) == {}


async def test_decision__that_counts_on_inventory__says_so_in_the_journal_and_else_not() -> None:
    """Chain, block, units, decimals, burned since and what counts: a reader can add it up."""
    world = World(store=MemoryGuardStore())
    await world.funded()
    policy = replace(world.desk.config.policy, supply_age_seconds_max=LONGEST)
    world.desk.config = replace(world.desk.config, policy=policy)
    assert (await world.outcome(world.order(2, SHARE)))[0] is Outcome.GRANTED
    assert not [one for one in await lines_of(world) if one.startswith("inventory ")]
    config = world.desk.config
    named = replace(config.assets[ASSET], issuer_inventory=ISSUERS)
    world.desk.config = replace(config, assets={**config.assets, ASSET: named})
    async with world.store.write() as unit:
        (shown,) = (one for one in await unit.readings([ASSET]) if one.chain is ETHEREUM)
        stock = replace(shown.supply, token_units=10**18, issuer_inventory_units=6 * 10**10 - 1)
        seen = replace(shown, supply=stock, ledger=SHARE, owners=ISSUERS[ETHEREUM])
        await unit.save_readings([seen])
    await hand_in(world, paper_of(world, sequence=2, inventory=accounts(ISSUERS)), ATTESTOR)
    assert (await world.outcome(world.order(3, SHARE)))[0] is Outcome.GRANTED
    number = shown.block.number
    assert [one for one in await lines_of(world) if one.startswith("inventory ")] == [
        f"inventory asset={ASSET.hex()} excluded=5 chains=1:{number}:{6 * 10**10 - 1}:18:0:5"
    ]


# --- who is named, and what is told ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "attested", "wrong"),
    [
        ({}, {}, []),
        (ISSUERS, ISSUERS, []),
        ({BNB: frozenset()}, {}, []),
        (ISSUERS, {}, [ETHEREUM, BNB]),
        ({}, ISSUERS, [ETHEREUM, BNB]),
        ({MANTLE: BOTH, BNB: BOTH, ETHEREUM: BOTH}, {BNB: BOTH}, [ETHEREUM, MANTLE]),
        ({BNB: BOTH}, ISSUERS, [ETHEREUM, BNB]),
        ({BNB: frozenset({HOLDER})}, {BNB: frozenset({RECIPIENT})}, [BNB]),
    ],
)
def test_names__that_do_not_fit__are_told_by_rising_chain(
    configured: Owners, attested: Owners, wrong: list[Domain]
) -> None:
    desk = a_world({ASSET: configured}).desk
    assert misnamed(desk, ASSET, record(owners=attested).attestation) == wrong


def test_names__of_an_asset_that_is_not_registered__are_custodys_alone() -> None:
    desk = a_world().desk
    assert misnamed(desk, UNKNOWN, record(UNKNOWN, ISSUERS).attestation) == [ETHEREUM, BNB]
    assert misnamed(desk, UNKNOWN, record(UNKNOWN, {}).attestation) == []


@pytest.mark.parametrize(
    ("asset", "attested", "who", "where"),
    [
        (ASSET, {ETHEREUM: ISSUERS[ETHEREUM]}, "TSLAx", "bnb"),
        (ASSET, {}, "TSLAx", "ethereum, bnb"),
        (ASSET, {**ISSUERS, TON: BOTH}, "TSLAx", str(int(TON))),
        (OTHER, {BNB: BOTH}, "AAPLx", "bnb"),
        (UNKNOWN, {MANTLE: BOTH}, "07" * 32, "mantle"),
    ],
    ids=["one chain", "all chains", "no chain of ours", "another asset", "no asset of ours"],
)
async def test_names__that_do_not_fit__raise_one_alarm_of_the_asset_in_these_words(
    asset: AssetId, attested: Owners, who: str, where: str
) -> None:
    world = a_world()
    await note(world, record(asset, attested), at_ms=7)
    await note(world, record(asset, attested), at_ms=8)
    detail = (
        f"{who}: registry and attestation name other owners of issuer inventory on {where};"
        " nothing of it is excluded there"
    )
    alarm = Alarm("INVENTORY_NOT_ATTESTED", f"asset/{asset.hex()}", detail)
    assert await told(world) == [RaisedAlarm(alarm, 7)]


async def test_names__that_fit_again__calm_the_alarm_of_that_asset_alone() -> None:
    world = a_world({ASSET: ISSUERS, OTHER: ISSUERS})
    wrong = record(owners={}), record(OTHER, {})
    await note(world, *wrong)
    assert {one.alarm.scope for one in await told(world)} == {
        f"asset/{ASSET.hex()}",
        f"asset/{OTHER.hex()}",
    }
    await note(world, record(), wrong[1])
    assert [one.alarm.scope for one in await told(world)] == [f"asset/{OTHER.hex()}"]
    await note(world)
    assert len(await told(world)) == 1
    await note(world, record(OTHER))
    assert await told(world) == []


async def test_names__are_looked_at_again_only_where_a_look_would_tell_or_calm() -> None:
    """An alarm about another asset, or of another code, is none about this one."""
    world = a_world({ASSET: ISSUERS, OTHER: ISSUERS})
    fits, wrong, other = record(), record(owners={}), record(OTHER, {})
    async with world.store.write() as unit:
        await unit.alarm([Alarm("OTHER_CODE", f"asset/{ASSET.hex()}", "x")], 1)
    assert not await changed(world)
    assert not await changed(world, fits)
    assert await changed(world, wrong)
    await note(world, wrong)
    assert not await changed(world, wrong)
    assert await changed(world, fits)
    assert await changed(world, wrong, other)
    assert not await changed(world, record(OTHER))
    assert not await changed(world)


async def test_cover_step__finds_names_that_changed_and_tells_them_at_its_time() -> None:
    """Nothing is short and nothing was attested: the registry alone is another one now."""
    world = a_world()
    await hand_in(world, paper_of(world, inventory=accounts(ISSUERS)), ATTESTOR)
    await cover_step(world.desk)
    assert await told(world) == []
    config = world.desk.config
    bare = replace(config.assets[ASSET], issuer_inventory={})
    world.desk.config = replace(config, assets={**config.assets, ASSET: bare})
    await world.clock.advance(9)
    await cover_step(world.desk)
    (one,) = await told(world)
    assert one.at_ms == world.clock.unix_ms()
    world.desk.config = config
    await cover_step(world.desk)
    assert await told(world) == []

"""Issuer inventory at this guard: how much of each asset nobody can claim, as of now.

It counts on a chain where registry and custody name the very same owners, by a believed reading
that is fresh, less what was burned there since; everything unknown excludes nothing. A release
whose burn this guard has not read yet is taken for that burn. Where no asset has owners
configured nothing is asked.
"""

from collections.abc import Mapping, Sequence

from xstock_core.cap import Attestation
from xstock_core.ids import Address32, AssetId, Domain
from xstock_core.inventory import InventoryReading, is_fresh, names_agree
from xstock_core.review import AssetView
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.lines import inventory_line
from xstock_supply_guard.model import Alarm, AttestationRecord, BelievedSupply, asset_scope
from xstock_supply_guard.ports import GuardReads, GuardUnit

NOT_ATTESTED = "INVENTORY_NOT_ATTESTED"
"""The alarm of an asset whose owners custody and registry name differently."""

Attested = Mapping[AssetId, AttestationRecord]
Inventory = Mapping[AssetId, tuple[InventoryReading, ...]]
Places = dict[tuple[AssetId, Domain], BelievedSupply]


async def inventories(
    desk: Desk,
    books: GuardReads,
    attested: Attested,
    readings: Sequence[BelievedSupply] | None = None,
) -> Inventory:
    """What counts of each attested asset, by rising chain; absent: nothing.

    `readings` are those of the assets, where the caller has looked them up already.
    """
    named = _agreed(desk, attested)
    if not named:
        return {}
    known = await books.readings({asset for asset, _ in named}) if readings is None else readings
    longest = desk.config.policy.supply_age_seconds_max
    places: Places = {
        (one.supply.asset, one.chain): one
        for one in known
        if (one.supply.asset, one.chain) in named
        and is_of_owners(desk, one)
        and is_fresh(one.block.time, desk.now, longest)
    }
    if not places:
        return {}
    burned = await burned_since(books, places)
    found: dict[AssetId, list[InventoryReading]] = {}
    for (asset, chain), one in sorted(places.items()):
        found.setdefault(asset, []).append(_reading(one, burned.get((asset, chain), 0)))
    return {asset: tuple(here) for asset, here in found.items()}


def owners_on(desk: Desk, asset: AssetId, chain: Domain) -> frozenset[Address32]:
    """The owners that the registry names there now: the readers look at no others."""
    config = desk.config.assets.get(asset)
    return config.issuer_inventory.get(chain, frozenset()) if config else frozenset()


def is_of_owners(desk: Desk, reading: BelievedSupply) -> bool:
    """SECURITY: a reading outlives the registry that it was read with: what other owners held
    then says nothing of those who are named now."""
    return reading.owners == owners_on(desk, reading.supply.asset, reading.chain)


def excluded(inventory: Inventory, asset: AssetId) -> int:
    """The inventory of an asset on all chains, in shares."""
    return sum(one.shares for one in inventory.get(asset, ()))


async def limits_now(desk: Desk, books: GuardReads, attested: Attested) -> Mapping[AssetId, int]:
    """What the exposure of each attested asset may come to (INV-04), by what these books say."""
    return limits_of(desk, attested, await inventories(desk, books, attested))


def limits_of(desk: Desk, attested: Attested, inventory: Inventory) -> Mapping[AssetId, int]:
    """The same, with this inventory."""
    margin = desk.config.policy.margin_bps
    return {
        asset: record.attestation.limit(margin, excluded(inventory, asset))
        for asset, record in attested.items()
    }


def _agreed(desk: Desk, attested: Attested) -> set[tuple[AssetId, Domain]]:
    """The places whose owners registry and custody name alike."""
    return {
        (asset, chain)
        for asset, record in attested.items()
        if asset in desk.config.assets
        for chain, owners in desk.config.assets[asset].issuer_inventory.items()
        # SECURITY: a list that only one of the two knows would let one of them alone lift the cap.
        if names_agree(owners, record.attestation.inventory_on(chain))
    }


def _reading(one: BelievedSupply, burned: int) -> InventoryReading:
    # No owner can hold more than there is, whatever a reader says.
    units = max(0, min(one.supply.issuer_inventory_units, one.units))
    return InventoryReading(
        one.chain, one.block.number, one.block.time, units, one.supply.decimals, burned
    )


async def burned_since(books: GuardReads, places: Places) -> Mapping[tuple[AssetId, Domain], int]:
    """Shares that left each place after its reading, booked there or seen to arrive elsewhere."""
    burned = await books.burned_above({place: one.block.number for place, one in places.items()})
    unread = await books.unexplained({asset for asset, _ in places})
    # SECURITY: the burn of a release is unread here, so it lies above what was read there.
    return {place: burned.get(place, 0) + unread.get(place, 0) for place in places}


def inventory_lines(views: Mapping[AssetId, AssetView]) -> list[str]:
    """What a decision counted on, for the journal; nothing where there is none."""
    return [
        inventory_line(asset, view.inventory)
        for asset, view in sorted(views.items())
        if view.excluded
    ]


def misnamed(desk: Desk, asset: AssetId, attestation: Attestation) -> list[Domain]:
    """The chains on which registry and custody do not name the very same owners."""
    config = desk.config.assets.get(asset)
    configured = config.issuer_inventory if config is not None else {}
    chains = configured.keys() | {chain for chain, _ in attestation.inventory}
    return sorted(
        chain
        for chain in chains
        if configured.get(chain, frozenset()) != attestation.inventory_on(chain)
    )


async def note_names(unit: GuardUnit, desk: Desk, attested: Attested, at_ms: int) -> None:
    """One alarm for an asset whose owners are named differently; calm when they fit."""
    wrong = _wrong(desk, attested)
    if wrong:
        alarms = [_alarm(desk, asset, chains) for asset, chains in sorted(wrong.items())]
        await unit.alarm(alarms, at_ms)
    fits = [asset_scope(asset) for asset in attested if asset not in wrong]
    if fits:
        await unit.calm(NOT_ATTESTED, fits)


async def names_changed(desk: Desk, books: GuardReads, attested: Attested) -> bool:
    """Whether some alarm about the owners is missing, or stands without a reason."""
    wrong = {asset_scope(asset) for asset in _wrong(desk, attested)}
    told = {one.alarm.scope for one in await books.alarms() if one.alarm.code == NOT_ATTESTED}
    return wrong != told & {asset_scope(asset) for asset in attested}


def _wrong(desk: Desk, attested: Attested) -> Mapping[AssetId, list[Domain]]:
    """The assets that are misnamed, with where."""
    found = {one: misnamed(desk, one, record.attestation) for one, record in attested.items()}
    return {asset: chains for asset, chains in found.items() if chains}


def _alarm(desk: Desk, asset: AssetId, chains: Sequence[Domain]) -> Alarm:
    names = ", ".join(
        desk.config.chains[chain].name if chain in desk.config.chains else str(int(chain))
        for chain in chains
    )
    detail = (
        f"{desk.name_of(asset)}: registry and attestation name other owners of issuer inventory on"
        f" {names}; nothing of it is excluded there"
    )
    return Alarm(NOT_ATTESTED, asset_scope(asset), detail)

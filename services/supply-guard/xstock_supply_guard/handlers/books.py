"""The books as others may see them: ledger, cap, readings and whether this guard signs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from xstock_core.cap import Attestation
from xstock_core.ids import AssetId, Domain
from xstock_core.ledger import (
    IN_FLIGHT,
    OPEN_ISSUANCE,
    ORPHANED,
    UNPAID_REDEMPTION,
    Account,
    Balances,
    chain_supply,
    exposure,
)
from xstock_core.observation import BlockRef
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.inventory import excluded, inventories
from xstock_supply_guard.handlers.opening import openness
from xstock_supply_guard.handlers.origin import why_not_yet
from xstock_supply_guard.model import BelievedSupply, Halt, JournalHead, OpeningRecord, Scan


@dataclass(frozen=True, slots=True)
class ChainBook:
    """One chain's part of an asset; `reading` is None until one is believed."""

    chain: Domain
    ledger: int
    decimals: int
    booked_through: BlockRef | None
    reading: BelievedSupply | None


@dataclass(frozen=True, slots=True)
class AssetBook:
    """One asset's books; amounts in 10^-8 shares."""

    asset: AssetId
    chains: tuple[ChainBook, ...]
    in_flight: int
    orphaned: int
    open_issuance: int
    unpaid_redemption: int
    exposure: int
    cap: int
    excluded: int
    """Issuer inventory: exposure may come to `cap + excluded`."""
    attestation: Attestation | None
    halted: str
    last_order_number: int
    open: bool
    """Whether the asset may be bridged; False too while nobody has read every chain."""
    opening: OpeningRecord | None


@dataclass(frozen=True, slots=True)
class Books:
    """The books of the assets asked for."""

    assets: tuple[AssetBook, ...]
    signing: bool
    not_signing_reason: str
    journal: JournalHead


async def read_books(desk: Desk, wanted: Collection[AssetId]) -> Books:
    """The books; an empty `wanted` means every registered asset, unregistered ones are left out."""
    assets = [one for one in desk.config.assets if not wanted or one in wanted]
    async with desk.store.read() as books:
        balances = await books.balances(assets)
        attested = await books.attestations(assets)
        scans = await books.scans()
        readings = {(r.supply.asset, r.chain): r for r in await books.readings()}
        halts = await books.halts()
        orders = await books.reserved_through(assets)
        opened = await books.opened(assets)
        head = await books.journal_head()
        forgotten = await why_not_yet(desk, books)
        inventory = await inventories(desk, books, attested, list(readings.values()))
    rows = []
    for asset in assets:
        record = attested.get(asset)
        attestation = record.attestation if record else None
        rows.append(
            AssetBook(
                asset=asset,
                chains=_chains(desk, asset, balances, scans, readings),
                in_flight=balance(balances, asset, IN_FLIGHT),
                orphaned=balance(balances, asset, ORPHANED),
                open_issuance=balance(balances, asset, OPEN_ISSUANCE),
                unpaid_redemption=balance(balances, asset, UNPAID_REDEMPTION),
                exposure=exposure(balances, asset),
                cap=attestation.cap(desk.config.policy.margin_bps) if attestation else 0,
                excluded=excluded(inventory, asset),
                attestation=attestation,
                halted=_halted(halts, asset),
                last_order_number=orders.get(asset, 0),
                opening=opened.get(asset),
                open=bool(
                    openness(desk.config.assets[asset].decimals, balances, readings.values(), asset)
                ),
            )
        )
    reason = _why_not(desk, halts) or forgotten
    return Books(tuple(rows), not reason, reason, head)


def _chains(
    desk: Desk,
    asset: AssetId,
    balances: Balances,
    scans: Mapping[Domain, Scan],
    readings: Mapping[tuple[AssetId, Domain], BelievedSupply],
) -> tuple[ChainBook, ...]:
    return tuple(
        ChainBook(
            chain=chain,
            ledger=chain_supply(balances, asset, chain),
            decimals=decimals,
            booked_through=scans[chain].through if chain in scans else None,
            reading=readings.get((asset, chain)),
        )
        for chain, decimals in desk.config.assets[asset].decimals.items()
    )


def balance(balances: Balances, asset: AssetId, account: Account) -> int:
    """What an account of an asset holds."""
    return balances.get((asset, account), 0)


def _halted(halts: Sequence[Halt], asset: AssetId) -> str:
    for halt in halts:
        if halt.asset == asset or (halt.asset is None and halt.chain is None):
            return halt.reason
    return ""


def _why_not(desk: Desk, halts: Sequence[Halt]) -> str:
    missing = desk.missing()
    if missing:
        return f"not booked up to the final head yet: {', '.join(missing)}"
    for halt in halts:
        if halt.asset is None and halt.chain is None:
            return halt.reason
    return ""

"""The supply auditor: every chain's own figure against the ledger at that very block.

Supply is read at a recent block, because a node keeps old state only for a while, and believed
once that block's very hash is final and booked. More than the ledger is an unauthorised mint and
halts the asset (INV-16); less endangers nobody and is only told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from xstock_chains.ports import ChainReader, SupplyReading
from xstock_core.ids import AssetId, Domain
from xstock_core.invariants import InvariantId
from xstock_core.observation import BlockRef
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.findings import Finding
from xstock_supply_guard.handlers.halting import excess, latch
from xstock_supply_guard.handlers.inventory import owners_on
from xstock_supply_guard.handlers.opening import not_open
from xstock_supply_guard.handlers.standing import note_settled
from xstock_supply_guard.model import Alarm, BelievedSupply, OpeningRecord, asset_scope, chain_scope
from xstock_supply_guard.ports import GuardUnit

Openings = Mapping[AssetId, OpeningRecord]
BELOW = "SUPPLY_BELOW_LEDGER"
PENDING_MAX = 64
"""Readings that wait for their block to become final; no new one is taken beyond."""


@dataclass(slots=True)
class Auditor:
    """One chain's auditor; what it has read and not yet believed is lost with the process."""

    chain: Domain
    assets: tuple[AssetId, ...]
    pending: list[SupplyReading] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Audited:
    """What one audit step found; `above` and `below` name assets off the ledger."""

    believed: int
    above: tuple[AssetId, ...] = ()
    below: tuple[AssetId, ...] = ()
    halted: tuple[str, ...] = ()
    unread: tuple[AssetId, ...] = ()
    """Assets that the new reading does not speak of: they have no new reading."""
    failed: Transient | InvalidMessage | None = None
    """Why there is no new reading, when an older one was compared all the same."""


async def audit_step(desk: Desk, auditor: Auditor, reader: ChainReader) -> Audited:
    """Take a reading, and compare every older one whose block has become final and booked.

    Raises Transient (Dissent included) or InvalidMessage: the next step tries again. What is
    ripe is compared first, so that a provider that fails now and then hides nothing.
    """
    ready = await _ripe(desk, auditor, reader)
    found = await _compare(desk, auditor, ready) if ready else Audited(0)
    if len(auditor.pending) >= PENDING_MAX:
        return found
    try:
        reading = await reader.read_supply(auditor.assets)
    except (Transient, InvalidMessage) as error:
        if ready is None:
            raise
        return replace(found, failed=error)
    if all(reading.block != waiting.block for waiting in auditor.pending):
        auditor.pending.append(reading)
    shown = {one.asset for one in reading.supplies}
    return replace(found, unread=tuple(one for one in auditor.assets if one not in shown))


async def _ripe(desk: Desk, auditor: Auditor, reader: ChainReader) -> SupplyReading | None:
    """The newest reading that is final and booked; it and everything older leave `pending`."""
    async with desk.store.read() as books:
        scan = (await books.scans()).get(auditor.chain)
    if scan is None or scan.through is None:
        return None
    booked = [one for one in auditor.pending if one.block.number <= scan.through.number]
    for reading in reversed(booked):
        final = await reader.is_final(reading.block)
        if final is None:
            continue
        auditor.pending.remove(reading)
        if final:
            number = reading.block.number
            auditor.pending[:] = [one for one in auditor.pending if one.block.number > number]
            return reading
    if len(auditor.pending) >= PENDING_MAX and booked and booked[0] in auditor.pending:
        auditor.pending.remove(booked[0])  # no node can tell any more; make room
    return None


async def _compare(desk: Desk, auditor: Auditor, reading: SupplyReading) -> Audited:
    now_ms = desk.clock.unix_ms()
    lines: list[str] = []
    async with desk.store.write() as unit:
        number = reading.block.number
        ledger = await unit.supply_at(auditor.chain, number, auditor.assets)
        opened = await unit.opened(auditor.assets)
        believed = [
            BelievedSupply(
                auditor.chain,
                reading.block,
                one,
                ledger.get(one.asset, 0) + _before(opened, one.asset, reading.block),
                _residue(opened, one.asset, auditor.chain),
                owners_on(desk, one.asset, auditor.chain),
            )
            for one in reading.supplies
        ]
        await unit.save_readings(believed)
        findings = [_finding(one) for one in await _above(desk, unit, believed)]
        halted = await latch(unit, findings, now_ms, lines)
        await _tell_below(unit, believed, now_ms)
        await note_settled(desk, unit, auditor.assets, lines)
        if lines:
            await unit.journal(lines, now_ms)
    return Audited(
        believed=len(believed),
        above=_assets(believed, above=True),
        below=_assets(believed, above=False),
        halted=halted,
    )


async def _tell_below(unit: GuardUnit, believed: Sequence[BelievedSupply], now_ms: int) -> None:
    """INV-16: less than the ledger endangers nobody; a person is told once, until it fits again."""
    if not believed:
        return
    place = chain_scope(believed[0].chain)
    alarms = [
        Alarm(
            BELOW,
            asset_scope(one.supply.asset),
            f"{-excess(one)} units below the ledger on {place} at block {one.block.number}",
            place,
        )
        for one in believed
        if excess(one) < 0
    ]
    if alarms:
        await unit.alarm(alarms, now_ms)
    fits = sorted(asset_scope(one.supply.asset) for one in believed if excess(one) >= 0)
    if fits:
        await unit.calm(BELOW, fits, place)


async def _above(
    desk: Desk, unit: GuardUnit, believed: Sequence[BelievedSupply]
) -> list[BelievedSupply]:
    """Readings above the books of assets that are open; what was there before them waits."""
    above = [one for one in believed if excess(one) > 0]
    if not above:
        return []
    closed = await not_open(desk, unit, {one.supply.asset for one in above})
    return [one for one in above if one.supply.asset not in closed]


def _residue(opened: Openings, asset: AssetId, chain: Domain) -> int:
    record = opened.get(asset)
    return record.chains[chain].residue_units if record and chain in record.chains else 0


def _before(opened: Openings, asset: AssetId, block: BlockRef) -> int:
    """What an opening booked only later had there all the while."""
    record = opened.get(asset)
    opening = record.chains.get(block.chain) if record else None
    return opening.shares if opening is not None and block.number < opening.booked else 0


def _finding(reading: BelievedSupply) -> Finding:
    detail = f"chain {int(reading.chain)} shows more supply than the ledger"
    return Finding(InvariantId.SUPPLY_TRUTH.value, detail, asset=reading.supply.asset)


def _assets(believed: Sequence[BelievedSupply], *, above: bool) -> tuple[AssetId, ...]:
    return tuple(
        one.supply.asset for one in believed if (excess(one) > 0 if above else excess(one) < 0)
    )

"""Cover: whether custody's stock covers what is out, and what happens when it does not.

An asset whose exposure is above its cap releases nothing (`check_cap`), and says so at once; it
resumes by itself when it is covered again. The first moment it was seen is kept in the guard's
memory, through restarts; when it lasts beyond the deployment's limit the asset is halted, because
a shortfall that nobody mends is no delay. Burns and redemptions are booked all the while.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xstock_core.ids import AssetId
from xstock_core.invariants import InvariantId
from xstock_core.ledger import Balances, exposure
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.findings import Finding
from xstock_supply_guard.handlers.halting import latch
from xstock_supply_guard.handlers.inventory import limits_now, names_changed, note_names
from xstock_supply_guard.handlers.lines import line, over_cap_line
from xstock_supply_guard.model import Alarm, asset_scope
from xstock_supply_guard.ports import GuardReads, GuardUnit

SHORT = "COLLATERAL_SHORT"
"""The alarm's code."""


@dataclass(frozen=True, slots=True)
class Covered:
    """What one look at the cover found."""

    short: tuple[AssetId, ...] = ()
    halted: tuple[str, ...] = ()


def shortfalls(balances: Balances, limits: Mapping[AssetId, int]) -> dict[AssetId, int]:
    """Exposure of the assets that are above their limit: the cap and excluded inventory."""
    used = {asset: exposure(balances, asset) for asset in limits}
    return {asset: used[asset] for asset, limit in limits.items() if used[asset] > limit}


async def note_cover(
    desk: Desk, unit: GuardUnit, assets: Collection[AssetId], at_ms: int, lines: list[str]
) -> tuple[AssetId, ...]:
    """Mark and tell what has fallen short among `assets`, clear what is covered; the short ones."""
    attested = await unit.attestations(assets)
    limits = await limits_now(desk, unit, attested)
    short = shortfalls(await unit.balances(assets), limits)
    marked = await unit.uncovered(attested)
    fallen = {asset: used for asset, used in short.items() if asset not in marked}
    mended = [asset for asset in marked if asset not in short]
    if fallen:
        await unit.mark_uncovered(fallen, at_ms)
        lines.extend(over_cap_line(asset, used) for asset, used in fallen.items())
        await unit.alarm([_alarm(desk, asset, used) for asset, used in fallen.items()], at_ms)
    if mended:
        await unit.clear_uncovered(mended)
        await unit.calm(SHORT, [asset_scope(asset) for asset in mended])
        lines.extend(line("covered", asset=asset) for asset in mended)
    return tuple(sorted(short))


def _alarm(desk: Desk, asset: AssetId, used: int) -> Alarm:
    detail = (
        f"{desk.name_of(asset)}: exposure {used} is above the cap; its releases wait for custody"
    )
    return Alarm(SHORT, asset_scope(asset), detail)


async def cover_step(desk: Desk) -> Covered:
    """Look at every asset; halt those that have been short for too long. Raises Fatal FENCED."""
    now_ms = desk.clock.unix_ms()
    assets = list(desk.config.assets)
    async with desk.store.read() as books:
        changed, due = await _look(desk, books, assets, now_ms)
    if not (changed or due):
        return Covered()
    lines: list[str] = []
    async with desk.store.write() as unit:
        still = await note_cover(desk, unit, assets, now_ms, lines)
        await note_names(unit, desk, await unit.attestations(assets), now_ms)
        since = await unit.uncovered(still)
        halted = await latch(unit, _lasting(desk, since, now_ms), now_ms, lines)
        if lines:
            await unit.journal(lines, now_ms)
    return Covered(still, halted)


async def _look(
    desk: Desk, books: GuardReads, assets: Collection[AssetId], now_ms: int
) -> tuple[bool, bool]:
    """(what is short or misnamed is not what was told, a shortfall has lasted too long)."""
    attested = await books.attestations(assets)
    balances = await books.balances(list(attested))
    short = shortfalls(balances, await limits_now(desk, books, attested))
    marked = await books.uncovered(assets)
    changed = short.keys() != marked.keys() or await names_changed(desk, books, attested)
    return changed, bool(_lasting(desk, marked, now_ms))


def _lasting(desk: Desk, since: Mapping[AssetId, int], now_ms: int) -> list[Finding]:
    longest = desk.config.policy.under_collateral_seconds_max
    detail = f"exposure is above the cap for longer than {longest} s"
    return [
        Finding(InvariantId.CAP.value, detail, asset=asset)
        for asset, began_ms in sorted(since.items())
        if now_ms - began_ms >= longest * 1000
    ]

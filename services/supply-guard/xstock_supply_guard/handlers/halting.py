"""Halts: latched in this guard's memory, journaled, cleared only by two people and green books.

Anybody with the right may halt; the guard halts itself on a finding. A restart changes nothing.
Resuming takes two different identities and a reconcile that is green for what the halt covers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from xstock_core.amount import SHARE_DECIMALS, rescaled
from xstock_core.ids import AssetId, Domain
from xstock_core.review import EVERYTHING, Scope
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.findings import Finding
from xstock_supply_guard.handlers.lines import halt_line, line
from xstock_supply_guard.model import (
    EVERYTHING_SCOPE,
    Alarm,
    BelievedSupply,
    Halt,
    asset_scope,
    chain_scope,
)
from xstock_supply_guard.ports import GuardReads, GuardUnit

APPROVERS_MIN = 2
HALTED = "HALTED"
_REASON_CHARACTERS_MAX = 500


async def latch(
    unit: GuardUnit, findings: Sequence[Finding], at_ms: int, lines: list[str]
) -> tuple[str, ...]:
    """Latch a halt per finding unless the same one stands; the new ids."""
    if not findings:
        return ()
    standing = {(halt.reason, halt.asset, halt.chain) for halt in await unit.halts()}
    latched = []
    for finding in findings:
        halt = finding.halt(at_ms)
        if (halt.reason, halt.asset, halt.chain) in standing:
            continue
        standing.add((halt.reason, halt.asset, halt.chain))
        await unit.add_halt(halt)
        lines.append(halt_line(halt))
        latched.append(halt.id)
        await unit.alarm([Alarm(HALTED, scope_of_halt(halt), halt.reason, halt.id)], at_ms)
    return tuple(latched)


def scope_of_halt(halt: Halt) -> str:
    """What a halt covers, as alarms name it."""
    if halt.asset is not None:
        return asset_scope(halt.asset)
    return EVERYTHING_SCOPE if halt.chain is None else chain_scope(halt.chain)


def scopes(halts: Sequence[Halt]) -> frozenset[Scope]:
    """The halts in the core's words: a chain's halt stops both directions."""
    found: set[Scope] = set()
    for halt in halts:
        if halt.asset is not None:
            found.add(Scope(asset=halt.asset))
        elif halt.chain is not None:
            found |= {Scope(source=halt.chain), Scope(destination=halt.chain)}
        else:
            found.add(EVERYTHING)
    return frozenset(found)


async def halt(
    desk: Desk,
    *,
    asset: AssetId | None,
    chain: Domain | None,
    reason: str,
    by: str,
    request_id: str,
) -> Halt:
    """Latch an operator's halt; the same request again is the same halt.

    Raises InvalidMessage for a reason or request id that says nothing.
    """
    check_words("reason", reason)
    check_words("request_id", request_id)
    halt_id = sha256(f"{by}|{request_id}".encode()).hexdigest()[:32]
    now_ms = desk.clock.unix_ms()
    async with desk.store.write() as unit:
        for known in await unit.halts():
            if known.id == halt_id:
                return known
        latched = Halt(halt_id, reason, by, now_ms, asset, chain)
        await unit.add_halt(latched)
        await unit.alarm([Alarm(HALTED, scope_of_halt(latched), reason, halt_id)], now_ms)
        await unit.journal([halt_line(latched)], now_ms)
    return latched


async def resume(desk: Desk, *, halt_id: str, by: str, reason: str) -> tuple[bool, str]:
    """(cleared, what is missing). Raises InvalidMessage for a halt that is not in force."""
    check_words("reason", reason)
    now_ms = desk.clock.unix_ms()
    async with desk.store.write() as unit:
        found = next((one for one in await unit.halts() if one.id == halt_id), None)
        if found is None:
            raise InvalidMessage(
                "HALT_UNKNOWN",
                f"halt_id: {halt_id!r} is not in force; ListHalts shows those that are",
                {"halt_id": halt_id},
            )
        lines = []
        if by not in found.approvals:
            await unit.add_approval(halt_id, by, reason, now_ms)
            lines.append(line("approve", halt=halt_id, by=by, reason=reason))
            found = replace(found, approvals=(*found.approvals, by))
        missing = await _missing(desk, unit, found)
        if not missing:
            await unit.clear_halt(halt_id, now_ms)
            await unit.calm(HALTED, [scope_of_halt(found)], halt_id)
            lines.append(line("clear", halt=halt_id))
        if lines:
            await unit.journal(lines, now_ms)
    return not missing, "; ".join(missing)


async def _missing(desk: Desk, unit: GuardReads, found: Halt) -> list[str]:
    """SECURITY: without both checks one person, or a red ledger, could end a halt (F92)."""
    missing = []
    if len(set(found.approvals)) < APPROVERS_MIN:
        missing.append(f"{APPROVERS_MIN - len(set(found.approvals))} more identity must approve")
    return missing + await reconcile_red(desk, unit, found.asset)


async def reconcile_red(desk: Desk, unit: GuardReads, asset: AssetId | None) -> list[str]:
    """Why the books are not green, in words; empty when they are. None asks for every asset."""
    red = [f"{name} is not booked up to its final head" for name in desk.missing()]
    for scan in (await unit.scans()).values():
        if scan.dissent_since_ms is not None:
            red.append(f"providers of chain {int(scan.chain)} disagree")
    readings = await unit.readings(None if asset is None else [asset])
    for reading in readings:
        if excess(reading) > 0:
            red.append(f"chain {int(reading.chain)} shows {excess(reading)} units above the ledger")
    red.extend(_unread(desk, await unit.moved_outside(), readings, asset))
    red.extend(_outdated(desk, readings, asset))
    for executed in await unit.unmatched(asset=asset):
        red.append(f"release {executed.fact.nonce.hex()} has no burn")
    red.extend(f"the database was edited: {what}" for what in await unit.balances_off())
    return red


def _unread(
    desk: Desk,
    moved: Mapping[Domain, int],
    readings: Sequence[BelievedSupply],
    asset: AssetId | None,
) -> list[str]:
    """SECURITY: a reading from before a mint past the bridge says nothing about it (F92)."""
    read = {(one.supply.asset, one.chain): one.block.number for one in readings}
    covered = [one for one in desk.config.assets.values() if asset in (None, one.asset)]
    late = {
        chain: block
        for chain, block in moved.items()
        for one in covered
        if chain in one.decimals and read.get((one.asset, chain), -1) < block
    }
    return [
        f"supply of chain {int(chain)} is not read since it moved outside the bridge in {block}"
        for chain, block in sorted(late.items())
    ]


def _outdated(desk: Desk, readings: Sequence[BelievedSupply], asset: AssetId | None) -> list[str]:
    """SECURITY: a chain that nobody has read lately is unknown, and unknown is not green (F92)."""
    longest = desk.config.policy.supply_age_seconds_max
    if not longest:
        return []
    fresh = {
        (one.supply.asset, one.chain) for one in readings if desk.now - one.block.time <= longest
    }
    covered = [one for one in desk.config.assets.values() if asset in (None, one.asset)]
    late = {chain for one in covered for chain in one.decimals if (one.asset, chain) not in fresh}
    return [
        f"supply of chain {int(chain)} is not read within {longest} seconds"
        for chain in sorted(late)
    ]


def excess(reading: BelievedSupply) -> int:
    """Token units above the ledger at the reading's block; negative when below.

    Units of 10^-8 share where the token's are coarser: in the finer of the two nothing is lost.
    """
    decimals = reading.supply.decimals
    finer = max(decimals, SHARE_DECIMALS)
    shown, _ = rescaled(reading.units, decimals, finer)
    booked, _ = rescaled(reading.ledger, SHARE_DECIMALS, finer)
    return shown - booked


def check_words(field: str, value: str, longest: int = _REASON_CHARACTERS_MAX) -> None:
    """Raise InvalidMessage for a text that says nothing or too much."""
    if not 1 <= len(value.strip()) <= longest or len(value) > longest or "\0" in value:
        raise InvalidMessage(
            "FIELD_INVALID",
            f"{field}: {value[:40]!r} is not valid; give 1 to {longest} characters, none of them 0",
            {"field": field},
        )

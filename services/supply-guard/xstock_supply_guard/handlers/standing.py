"""What stands between an asset and its releases: drift, unread supply, corporate actions.

Announcements are signed by a registered issuer and only ever replaced by a newer version. Windows
and drift are drawn from believed readings: a chain that nobody has read lately is unknown, which
is not the same as fine.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from xstock_core.cap import Attestation
from xstock_core.corporate import WINDOW_SECONDS, Announced, settles, windows_of
from xstock_core.ids import AssetId, Domain
from xstock_core.ledger import Balances
from xstock_core.review import Window
from xstock_runtime.errors import invalid_field
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.halting import check_words, excess
from xstock_supply_guard.handlers.lines import line
from xstock_supply_guard.handlers.papers import signed_by_issuer
from xstock_supply_guard.model import Alarm, BelievedSupply, CorporateAction, Limits, asset_scope
from xstock_supply_guard.ports import GuardReads, GuardUnit

_invalid = partial(invalid_field, "FIELD_INVALID")

EVENT_CHARACTERS_MAX = 64
ANNOUNCED = "CORPORATE_ACTION"
"""The alarm of an announcement."""
SETTLED = "corporate-action-settled"
"""What is remembered of an announcement, by its paper's digest: another version is another."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the books found about a page's assets; `limits` are a review's alone."""

    balances: Balances
    readings: Sequence[BelievedSupply]
    limits: Mapping[AssetId, Limits] = field(default_factory=dict)


async def submit_corporate_action(desk: Desk, action: CorporateAction) -> CorporateAction:
    """Book an announcement; the one that counts now. Raises InvalidMessage."""
    if action.asset not in desk.config.assets:
        raise _invalid("asset", action.asset.hex(), "this asset is not registered")
    # SECURITY: without this check anybody could hold an asset, or open it within its window.
    if not signed_by_issuer(desk, action.statement):
        raise _invalid("signature", action.statement.key_id, "sign with a registered issuer's key")
    check_words("event_id", action.event_id, EVENT_CHARACTERS_MAX)
    for name, value in (("version", action.version), ("activates_at", action.activates_at)):
        if value < 1:
            raise _invalid(name, value, "give a number from 1 on")
    now_ms = desk.clock.unix_ms()
    async with desk.store.write() as unit:
        held = await _held(unit, action)
        if held is not None and held.version >= action.version:
            if held.statement.paper == action.statement.paper:
                return held
            remedy = f"version {held.version} counts now; give a higher one"
            raise _invalid("version", action.version, remedy)
        await unit.add_corporate_action(action)
        await unit.journal([_line(action)], now_ms)
        await unit.alarm([_alarm(action)], now_ms)
    return action


async def _held(unit: GuardUnit, action: CorporateAction) -> CorporateAction | None:
    known = (await unit.corporate_actions([action.asset])).get(action.asset, ())
    return next((one for one in known if one.event_id == action.event_id), None)


def _line(action: CorporateAction) -> str:
    return line(
        "corporate-action",
        asset=action.asset,
        event=action.event_id,
        version=action.version,
        activates=action.activates_at,
        multiplier=action.multiplier,
        cancelled=int(action.cancelled),
        key=action.statement.key_id,
        paper=action.statement.paper,
        signature=action.statement.signature,
    )


def _alarm(action: CorporateAction) -> Alarm:
    what = "is cancelled" if action.cancelled else f"activates at {action.activates_at}"
    detail = f"event {action.event_id} version {action.version} {what}"
    about = f"{action.event_id}/{action.version}"
    return Alarm(ANNOUNCED, asset_scope(action.asset), detail, about)


def window_of(action: CorporateAction) -> tuple[int, int]:
    """When an announcement's window opens and closes at the earliest; zeros if cancelled."""
    if action.cancelled:
        return 0, 0
    return max(0, action.activates_at - WINDOW_SECONDS), action.activates_at + WINDOW_SECONDS


def asset_windows(
    desk: Desk,
    asset: AssetId,
    actions: Sequence[CorporateAction],
    readings: Sequence[BelievedSupply],
    attestation: Attestation | None,
    settled: Collection[bytes],
) -> tuple[Window, ...]:
    """The windows of one asset now; `settled` are the papers' digests of `settled_before`."""
    announced = [
        Announced(one.activates_at, one.multiplier, one.statement.digest in settled)
        for one in actions
        if not one.cancelled
    ]
    attested = attestation.multiplier if attestation is not None else None
    return windows_of(announced, _shown(desk, asset, readings), attested, desk.now)


def _shown(
    desk: Desk, asset: AssetId, readings: Sequence[BelievedSupply]
) -> dict[Domain, int | None]:
    shown: dict[Domain, int | None] = dict.fromkeys(desk.config.assets[asset].decimals)
    shown.update({one.chain: one.supply.multiplier for one in readings if one.chain in shown})
    return shown


def _due(actions: Sequence[CorporateAction], now: int) -> list[CorporateAction]:
    """The newest announcement that has activated; several of the same second are all due."""
    active = [one for one in actions if not one.cancelled and one.activates_at <= now]
    newest = max((one.activates_at for one in active), default=0)
    return [one for one in active if one.activates_at == newest]


async def settled_before(
    desk: Desk, unit: GuardReads, actions: Mapping[AssetId, Sequence[CorporateAction]]
) -> frozenset[bytes]:
    """The digests of those due that this guard has seen settled once."""
    due = [one for known in actions.values() for one in _due(known, desk.now)]
    marks = await unit.high_water([_name(one) for one in due]) if due else {}
    return frozenset(one.statement.digest for one in due if _name(one) in marks)


async def note_settled(
    desk: Desk, unit: GuardUnit, assets: Collection[AssetId], lines: list[str]
) -> None:
    """Remember what is settled now: a fee that moves all multipliers later must not hold again.

    Where this guard never saw the announced value everywhere, only a newer announcement helps.
    """
    actions = await unit.corporate_actions(assets)
    known = await settled_before(desk, unit, actions)
    due = [one for found in actions.values() for one in _due(found, desk.now)]
    fresh = [one for one in due if one.statement.digest not in known]
    if not fresh:
        return
    waiting = {one.asset for one in fresh}
    attested = await unit.attestations(waiting)
    readings = by_asset(await unit.readings(waiting))
    for one in fresh:
        record = attested.get(one.asset)
        said = record.attestation.multiplier if record is not None else None
        shown = _shown(desk, one.asset, readings.get(one.asset, ()))
        if settles(Announced(one.activates_at, one.multiplier), shown, said, desk.now):
            await unit.raise_high_water(_name(one), one.activates_at)
            lines.append(line(SETTLED, asset=one.asset, event=one.event_id, version=one.version))


def _name(action: CorporateAction) -> str:
    return f"{SETTLED}/{action.statement.digest.hex()}"


def asset_drift(
    desk: Desk, asset: AssetId, unexplained: Collection[AssetId], readings: Sequence[BelievedSupply]
) -> bool | None:
    """True when a chain shows more than the ledger, None when one was not read lately (INV-16).

    A release without a burn counts as drift: it waits while that is cleared up.
    """
    if asset in unexplained or any(excess(one) > 0 for one in readings):
        return True
    longest = desk.config.policy.supply_age_seconds_max
    if not longest:
        return False
    fresh = {one.chain for one in readings if desk.now - one.block.time <= longest}
    return None if desk.config.assets[asset].decimals.keys() - fresh else False


def by_asset(readings: Sequence[BelievedSupply]) -> Mapping[AssetId, list[BelievedSupply]]:
    """Readings of each asset."""
    found: dict[AssetId, list[BelievedSupply]] = {}
    for one in readings:
        found.setdefault(one.supply.asset, []).append(one)
    return found

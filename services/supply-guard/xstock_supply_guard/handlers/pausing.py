"""Pauses: releases of a scope stand still for at most a day, then go on by themselves.

An operator or the agent pauses alone, because stopping is cheap; ending a pause early takes two
people (LIFT_PAUSE). A token or bridge that is paused on its chain, by the auditor's believed
reading, counts as paused here too: its contract would refuse, and a permit would only lie about.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from xstock_core.ids import AssetId, Domain
from xstock_core.review import Scope
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.halting import check_words
from xstock_supply_guard.handlers.lines import line
from xstock_supply_guard.model import (
    EVERYTHING_SCOPE,
    Alarm,
    BelievedSupply,
    Pause,
    asset_scope,
    chain_scope,
)

PAUSE_SECONDS_MAX = 86_400
PAUSED = "PAUSED"
"""The alarm of a pause."""


async def pause(
    desk: Desk, *, scope: Scope, reason: str, until: int, by: str, request_id: str
) -> Pause:
    """Pause from now on; the same request again is the same pause, lifted or not.

    Raises InvalidMessage for an end that is past or more than a day ahead.
    """
    check_words("reason", reason)
    check_words("request_id", request_id)
    latest = desk.now + PAUSE_SECONDS_MAX
    if not desk.now < until <= latest:
        raise InvalidMessage(
            "FIELD_INVALID",
            f"until: {until} is not valid; give Unix seconds after {desk.now}, at most {latest}",
            {"field": "until", "value": until},
        )
    now_ms = desk.clock.unix_ms()
    pause_id = sha256(f"pause|{by}|{request_id}".encode()).hexdigest()[:32]
    begun = Pause(pause_id, reason, by, now_ms, until, scope.asset, scope.source, scope.destination)
    async with desk.store.write() as unit:
        known = await unit.pause(pause_id)
        if known is not None:
            return known
        await unit.add_pause(begun)
        await unit.journal([_line(begun)], now_ms)
        detail = f"{by} paused until {until}: {reason}"
        await unit.alarm([Alarm(PAUSED, scope_text(scope), detail, pause_id)], now_ms)
    return begun


def _line(begun: Pause) -> str:
    return line(
        "pause",
        id=begun.id,
        by=begun.by,
        asset=begun.asset,
        source=_number(begun.source),
        destination=_number(begun.destination),
        until=begun.until,
        reason=begun.reason,
    )


def _number(chain: Domain | None) -> int | None:
    return None if chain is None else int(chain)


def scope_of(pause: Pause) -> Scope:
    """What a pause covers."""
    return Scope(pause.asset, pause.source, pause.destination)


def scope_text(scope: Scope) -> str:
    """A scope as alarms name it."""
    if scope.asset is not None:
        return asset_scope(scope.asset)
    chain = scope.destination or scope.source
    return EVERYTHING_SCOPE if chain is None else chain_scope(chain)


def pauses_in_force(
    pauses: Sequence[Pause], readings: Sequence[BelievedSupply]
) -> tuple[frozenset[Scope], Mapping[Scope, int]]:
    """The scopes that are paused, and when each ends by itself, where anybody can know."""
    ends: dict[Scope, int | None] = {}
    for one in pauses:
        scope = scope_of(one)
        ends[scope] = max(one.until, ends.get(scope) or 0)
    for scope in _paused_on_chain(readings):
        ends[scope] = None
    return frozenset(ends), {scope: end for scope, end in ends.items() if end is not None}


def _paused_on_chain(readings: Sequence[BelievedSupply]) -> set[Scope]:
    return {
        Scope(asset=AssetId(one.supply.asset), destination=one.chain)
        for one in readings
        if one.supply.paused
    }

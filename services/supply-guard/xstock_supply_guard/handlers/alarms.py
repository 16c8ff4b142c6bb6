"""Alarms that end by time: what is over calms by itself, so that what stands is what matters.

A pause that ran out, a proposal that expired, denials of a window gone by, an announcement whose
day is over: nobody acts then, so nothing else would say so.
"""

from xstock_supply_guard.handlers.denials import DENIED, WINDOW_SECONDS
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.pausing import PAUSED
from xstock_supply_guard.handlers.proposals import PROPOSED
from xstock_supply_guard.handlers.standing import ANNOUNCED
from xstock_supply_guard.model import Alarm, RaisedAlarm
from xstock_supply_guard.ports import GuardReads

_DAY_MS = 86_400_000
_TIMED = frozenset({DENIED, PAUSED, PROPOSED, ANNOUNCED})


async def settle_alarms(desk: Desk) -> tuple[Alarm, ...]:
    """Calm what is over; what was calmed. Raises Fatal FENCED, Transient."""
    async with desk.store.read() as books:
        timed = [one for one in await books.alarms() if one.alarm.code in _TIMED]
        over = [one.alarm for one in timed if await _over(desk, books, one)]
    if over:
        async with desk.store.write() as unit:
            for alarm in over:
                await unit.calm(alarm.code, [alarm.scope], alarm.about)
    return tuple(over)


async def _over(desk: Desk, books: GuardReads, raised: RaisedAlarm) -> bool:
    now_ms, alarm = desk.clock.unix_ms(), raised.alarm
    if alarm.code == PAUSED:
        return alarm.about not in {one.id for one in await books.pauses(desk.now)}
    if alarm.code == PROPOSED:
        proposal = await books.proposal(alarm.about)
        return proposal is None or proposal.expired(now_ms)
    age_ms = now_ms - raised.at_ms
    return age_ms >= (WINDOW_SECONDS * 1000 if alarm.code == DENIED else _DAY_MS)

"""Screening: who must not receive or send, asked of a provider before a page is judged.

The tokens do not screen mints, so the bridge does. The provider is asked outside the transaction;
an address it was not asked about is unknown, and unknown holds. A list older than one that was
believed before says nothing: the highest sequence is kept in the guard's memory, so an old file
put back in place, even over a restart, opens nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from xstock_core.ids import Address32, TransferId
from xstock_core.message import TransferMessage
from xstock_runtime.errors import Transient
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.lines import line
from xstock_supply_guard.model import EVERYTHING_SCOPE, Alarm
from xstock_supply_guard.ports import GuardReads, GuardUnit

SEQUENCE = "screening-list"
UNKNOWN = "SCREENING_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Screening:
    """What the provider said; `asked` None: this guard has no list."""

    asked: frozenset[Address32] | None = None
    listed: Mapping[Address32, str] = field(default_factory=dict)
    senders: Mapping[TransferId, Address32] = field(default_factory=dict)
    sequence: int = 0
    failed: str = ""


async def screen(desk: Desk, messages: Mapping[TransferId, TransferMessage]) -> Screening:
    """Ask about everybody who has to do with these transfers; unknown is a value."""
    if desk.screening is None or not messages:
        return Screening()
    async with desk.store.read() as books:
        burns = await books.burns(messages.keys())
    senders = {key: burn.sender for key, burn in burns.items()}
    parties = frozenset(senders.values()).union(
        *({one.recipient, one.refund_address} for one in messages.values())
    )
    try:
        answer = await desk.screening.listed(parties)
    except Transient as error:
        return Screening(frozenset(), senders=senders, failed=str(error))
    return Screening(parties, answer.listed, senders, answer.sequence)


async def settle_screening(unit: GuardReads, said: Screening) -> Screening:
    """The answer, unless an older list gave it than one that was believed before."""
    if said.asked is None:
        return said
    known = await _believed(unit)
    if not said.failed and said.sequence < known:
        text = f"list {said.sequence} is older than {known}, which was believed before"
        return Screening(frozenset(), senders=said.senders, failed=text)
    return said


async def _believed(unit: GuardReads) -> int:
    """The highest sequence that this guard has believed; 0 before the first."""
    return (await unit.high_water([SEQUENCE])).get(SEQUENCE, 0)


async def note_screening(desk: Desk, unit: GuardUnit, said: Screening) -> None:
    """Keep a newer list's sequence; tell once when the list fails, and when it is back."""
    if said.asked is None:
        return
    now_ms = desk.clock.unix_ms()
    if said.failed:
        await unit.alarm([Alarm(UNKNOWN, EVERYTHING_SCOPE, said.failed)], now_ms)
        desk.live.screening_failed = True
        return
    if desk.live.screening_failed:
        await unit.calm(UNKNOWN, [EVERYTHING_SCOPE])
        desk.live.screening_failed = False
    if said.sequence > await _believed(unit):
        await unit.raise_high_water(SEQUENCE, said.sequence)
        await unit.journal([line(SEQUENCE, sequence=said.sequence)], now_ms)


def senders_of(said: Screening, ids: Collection[TransferId]) -> dict[TransferId, Address32]:
    """Who burned each of these, where the list was asked."""
    return {key: said.senders[key] for key in ids if key in said.senders}

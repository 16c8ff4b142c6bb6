"""Denied calls: counted by who made them, and one alarm for an identity that keeps trying.

A dormant key that is tried out is heard before it fits (F85). Counts live in this process; the
alarm and its line in the journal are durable. Within a window an identity is told of once, with
how often and what it tried.
"""

from dataclasses import dataclass, field

from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.lines import line
from xstock_supply_guard.model import Alarm

DENIED = "DENIED"
TRIES_MAX = 5
WINDOW_SECONDS = 600
_IDENTITIES_MAX = 1_000
_OTHERS = "others"
_METHODS_MAX = 16


@dataclass(slots=True)
class Tries:
    """What one identity tried within its window."""

    began_ms: int
    count: int = 0
    methods: set[str] = field(default_factory=set)
    told: bool = False


@dataclass(slots=True)
class Denials:
    """The tries of every identity; of very many only the first are told apart."""

    tries_max: int = TRIES_MAX
    window_ms: int = WINDOW_SECONDS * 1000
    tries: dict[str, Tries] = field(default_factory=dict)

    def note(self, identity: str, method: str, now_ms: int) -> None:
        """One more denied call."""
        if identity not in self.tries and len(self.tries) >= _IDENTITIES_MAX:
            self.forget(now_ms)
            identity = identity if len(self.tries) < _IDENTITIES_MAX else _OTHERS
        known = self.tries.get(identity)
        if known is None or now_ms - known.began_ms >= self.window_ms:
            known = self.tries[identity] = Tries(now_ms)
        known.count += 1
        if len(known.methods) < _METHODS_MAX:
            known.methods.add(method.rpartition("/")[2])

    def forget(self, now_ms: int) -> None:
        """Drop windows that are over."""
        self.tries = {
            identity: one
            for identity, one in self.tries.items()
            if now_ms - one.began_ms < self.window_ms
        }

    def due(self) -> dict[str, Tries]:
        """Identities that tried too often and were not told of yet."""
        return {
            identity: one
            for identity, one in self.tries.items()
            if one.count >= self.tries_max and not one.told
        }


async def tell_denials(desk: Desk, denials: Denials) -> tuple[str, ...]:
    """Raise one alarm per identity that is due; who was told of. Raises Fatal FENCED, Transient."""
    due = denials.due()
    if not due:
        return ()
    now_ms = desk.clock.unix_ms()
    async with desk.store.write() as unit:
        lines = []
        for identity, tries in due.items():
            methods = ",".join(sorted(tries.methods))
            detail = f"{identity} was denied {tries.count} times: {methods}"
            alarm = Alarm(DENIED, f"identity/{identity}", detail, str(tries.began_ms))
            await unit.alarm([alarm], now_ms)
            lines.append(line("denied", identity=identity, count=tries.count, methods=methods))
        await unit.journal(lines, now_ms)
    for tries in due.values():
        tries.told = True
    return tuple(due)

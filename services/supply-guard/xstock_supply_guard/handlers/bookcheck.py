"""Whether this guard's own books still say what its journal said: asked before anything is signed.

A row that somebody edited in the database (with the triggers and rights taken away) leaves
balances that are not the sum of their entries, balances that no link ever had, or a link whose
digest is not of what it says. Any of them latches a halt of everything; it can be lifted only by
two people once the balances fit again. Every link of the journal is checked by the offline
verifier; here only the last ones are, so that a start stays short.
"""

from xstock_supply_guard.handlers.findings import Finding
from xstock_supply_guard.handlers.halting import latch
from xstock_supply_guard.model import JournalHead, next_link
from xstock_supply_guard.ports import GuardReads, GuardUnit

CODE = "BOOKS_EDITED"
LINKS_CHECKED = 100


async def check_books(unit: GuardUnit, now_ms: int) -> tuple[str, ...]:
    """Compare entries, balances and the last links; the halts that were latched for it."""
    off = [*await unit.entries_off(), *await books_off(unit)]
    if not off:
        return ()
    lines: list[str] = []
    latched = await latch(unit, [Finding(CODE, off[0])], now_ms, lines)
    await unit.journal(lines, now_ms)
    return latched


async def books_off(unit: GuardReads) -> list[str]:
    """What is wrong and cheap to see: balances against the journal, and its last links."""
    return [*await unit.balances_off(), *await _links_off(unit)]


async def _links_off(unit: GuardReads) -> list[str]:
    head = await unit.journal_head()
    after = max(0, head.sequence - LINKS_CHECKED)
    found: list[str] = []
    before: bytes | None = None if after else bytes(32)
    expected = after
    for link in await unit.journal_after(after, LINKS_CHECKED):
        expected += 1
        made = next_link(JournalHead(link.sequence - 1, link.previous), link.lines, link.at_ms)
        fits = link.sequence == expected and before in (None, link.previous)
        if not fits or made.digest != link.digest:
            found.append(f"link {expected} of the journal is not what was written")
            break
        before = link.digest
    return found

"""One look at a chain, and what its failures mean.

A page is booked by `post`. Silence of providers is silence: the guard waits. Dissent about final
data holds the chain with its evidence kept, and latches a halt when it lasts; a page that cannot
be believed holds it too, until one can be. Finality that broke by the quorum's own word halts at
once (INV-10).
"""

from dataclasses import dataclass, replace

from xstock_chains.ports import ChainReader, Cursor
from xstock_chains.quorum import Dissent
from xstock_core.ids import Domain
from xstock_core.invariants import InvariantId
from xstock_runtime.errors import Fatal, InvalidMessage
from xstock_supply_guard.handlers.belief import check_page
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.findings import Finding
from xstock_supply_guard.handlers.halting import latch
from xstock_supply_guard.handlers.lines import line
from xstock_supply_guard.handlers.post import DISSENT, Booked, post_page
from xstock_supply_guard.model import Alarm, Scan, chain_scope

_EVIDENCE_CHARACTERS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Trouble:
    """The chain cannot be believed now; `halted` names halts that were latched for it."""

    code: str
    detail: str
    halted: tuple[str, ...] = ()


async def scan_step(desk: Desk, chain: Domain, reader: ChainReader) -> Booked | Trouble:
    """Read and book one page of a chain.

    Raises Transient when providers are silent, Ambiguous CURSOR_MOVED, Fatal FENCED.
    """
    async with desk.store.read() as books:
        scan = (await books.scans()).get(chain, Scan(chain, Cursor(chain)))
    began_ms = desk.clock.unix_ms()
    try:
        page = await reader.read_page(scan.cursor, limit=desk.config.page_limit)
        check_page(desk.config, chain, page)
    except (Dissent, InvalidMessage) as unbelieved:
        return await _hold(desk, chain, unbelieved)
    except Fatal as broken:
        return await _halt(desk, chain, broken)
    finally:
        desk.live.bells[chain].passed()
    booked = await post_page(desk, scan.cursor, page, began_ms=began_ms)
    desk.live.bells[chain].passed()
    return booked


async def _hold(desk: Desk, chain: Domain, unbelieved: Dissent | InvalidMessage) -> Trouble:
    """Keep what was said; halt when providers have contradicted each other for too long.

    A page that nobody can believe is not booked and nothing is granted on it, however long it
    lasts; no halt is latched for it, so the chain comes back as soon as it reads well.
    """
    now_ms = desk.clock.unix_ms()
    lines: list[str] = []
    halted: tuple[str, ...] = ()
    said = _kept(unbelieved)
    longest_ms = desk.config.policy.dissent_seconds_max * 1000
    async with desk.store.write() as unit:
        scan = (await unit.scans()).get(chain, Scan(chain, Cursor(chain)))
        since = scan.dissent_since_ms
        if since is None:
            await unit.save_scan(replace(scan, dissent_since_ms=now_ms))
            alarm = Alarm(DISSENT, chain_scope(chain), f"{unbelieved.code}: {said[:500]}")
            await unit.alarm([alarm], now_ms)
            await unit.add_evidence(chain, unbelieved.code, said, now_ms)
            lines.append(_line(chain, unbelieved))
        elif isinstance(unbelieved, Dissent) and now_ms - since >= longest_ms:
            detail = f"chain {int(chain)} is not believed since {since}; its providers disagree"
            finding = Finding(unbelieved.code, detail, chain=chain)
            halted = await latch(unit, [finding], now_ms, lines)
            if halted:
                await unit.add_evidence(chain, unbelieved.code, said, now_ms)
        if lines:
            await unit.journal(lines, now_ms)
    return Trouble(unbelieved.code, str(unbelieved), halted)


def _line(chain: Domain, unbelieved: Dissent | InvalidMessage) -> str:
    if isinstance(unbelieved, Dissent):
        return line("dissent", chain=int(chain), about=unbelieved.about)
    return line("unbelieved", chain=int(chain), code=unbelieved.code)


async def _halt(desk: Desk, chain: Domain, broken: Fatal) -> Trouble:
    now_ms = desk.clock.unix_ms()
    lines: list[str] = []
    async with desk.store.write() as unit:
        finding = Finding(
            InvariantId.FINALITY_VIOLATION_HALTS.value,
            f"chain {int(chain)}: {broken.code}",
            chain=chain,
        )
        halted = await latch(unit, [finding], now_ms, lines)
        if halted:
            said = _kept(broken)
            await unit.add_evidence(chain, broken.code, said, now_ms)
            await unit.journal(lines, now_ms)
    return Trouble(broken.code, str(broken), halted)


def _kept(said: Exception) -> str:
    """SECURITY: a provider's words as any memory takes them; one that could not be written down
    would keep the hold from being written with it."""
    text = str(said)[:_EVIDENCE_CHARACTERS_MAX].replace("\0", "\\0")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

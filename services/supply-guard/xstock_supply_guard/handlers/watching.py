"""Rights and code, looked at again and again: who may mint, burn, pause, own; which code runs.

The start-up self-test says what the registry expects of a chain; the same test, asked of every
provider on a clock and at once after a role has moved, finds a minter, an owner or code that is
not the registry's. When enough providers show the same difference the chain is halted with what
each of them said; fewer are a dissent, told and no more, so that one liar halts nothing. A guard
set that changed is told, not halted: it takes the guards' own signatures, and no permit under
the epoch before is worth anything on that chain.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from xstock_chains.ports import ChainAdmin, CheckResult, SelfTest
from xstock_core.ids import Domain
from xstock_core.observation import Observation, RoleMoved
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.findings import Finding
from xstock_supply_guard.handlers.halting import latch
from xstock_supply_guard.model import Alarm, chain_scope
from xstock_supply_guard.ports import GuardUnit

CODE = "ROLE_OR_CODE_CHANGED"
MOVED = "RIGHT_MOVED"
GUARD_SET = "GUARD_SET_UNEXPECTED"
_GUARD_SET_WORDS = ("guard", "threshold", "multisig")
_EVIDENCE_CHARACTERS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Watched:
    """What one look found; `asked` providers answered."""

    asked: int
    wrong: tuple[CheckResult, ...] = ()
    """Shown alike by enough providers."""
    disputed: tuple[CheckResult, ...] = ()
    halted: tuple[str, ...] = ()


@dataclass(slots=True)
class RightsWatch:
    """One chain's providers, asked for what the registry expects of it."""

    chain: Domain
    admins: Sequence[ChainAdmin]
    needed: int


async def watch_step(desk: Desk, watch: RightsWatch) -> Watched:
    """One look. Raises Fatal FENCED, Transient of the guard's own memory."""
    began_ms = desk.clock.unix_ms()
    answers = await asyncio.gather(*map(_asked, watch.admins))
    tests = [one for one in answers if one is not None]
    counts: dict[tuple[str, str], list[CheckResult]] = {}
    for test in tests:
        for check in test.checks:
            if check.passed is False:
                counts.setdefault((check.name, check.found), []).append(check)
    wrong = tuple(same[0] for same in counts.values() if len(same) >= watch.needed)
    disputed = tuple(same[0] for same in counts.values() if len(same) < watch.needed)
    halted = await _halt(desk, watch, wrong, tests) if wrong or disputed else ()
    if len(tests) >= watch.needed and not wrong and not disputed:
        await _calm(desk, watch.chain, began_ms)
    return Watched(len(tests), wrong, disputed, halted)


async def tell_moved(
    unit: GuardUnit, chain: Domain, new: Sequence[Observation], now_ms: int
) -> None:
    """A person hears of every right that moved, those that no registry names too.

    It is over when a look afterwards finds everything as the registry says.
    """
    alarms = [
        Alarm(
            MOVED,
            chain_scope(chain),
            f"{one.role.name} of {one.subject.hex()} on chain {int(chain)} went to "
            f"{one.holder.hex()} in block {one.place.block.number}",
            f"{one.role.name}/{one.subject.hex()}",
        )
        for one in new
        if isinstance(one, RoleMoved)
    ]
    if alarms:
        await unit.alarm(alarms, now_ms)


async def _calm(desk: Desk, chain: Domain, began_ms: int) -> None:
    """End what was told before the look began; it says nothing of what came while it lasted."""
    scope = chain_scope(chain)
    async with desk.store.read() as books:
        over = [
            raised.alarm
            for raised in await books.alarms()
            if raised.alarm.scope == scope
            and raised.alarm.code in (MOVED, GUARD_SET)
            and raised.at_ms <= began_ms
        ]
    if over:
        async with desk.store.write() as unit:
            for alarm in over:
                await unit.calm(alarm.code, [scope], alarm.about)


async def _halt(
    desk: Desk, watch: RightsWatch, wrong: Sequence[CheckResult], tests: Sequence[SelfTest]
) -> tuple[str, ...]:
    now_ms, chain = desk.clock.unix_ms(), watch.chain
    findings = [
        Finding(CODE, _words(chain, one), chain=chain) for one in wrong if not _is_guard_set(one)
    ]
    alarms = [
        Alarm(GUARD_SET, chain_scope(chain), _words(chain, one), one.name)
        for one in wrong
        if _is_guard_set(one)
    ]
    if not findings and not alarms:
        return ()
    lines: list[str] = []
    async with desk.store.write() as unit:
        halted = await latch(unit, findings, now_ms, lines)
        if halted:
            await unit.add_evidence(chain, CODE, _evidence(tests), now_ms)
        if alarms:
            await unit.alarm(alarms, now_ms)
        await unit.journal(lines, now_ms)
    return halted


def _is_guard_set(check: CheckResult) -> bool:
    return any(word in check.name for word in _GUARD_SET_WORDS)


def _words(chain: Domain, check: CheckResult) -> str:
    return f"chain {int(chain)}, {check.name}: {check.found} is not the registry's {check.expected}"


def _evidence(tests: Sequence[SelfTest]) -> str:
    """What each provider said that is not as expected."""
    said = [
        f"provider {at}: " + "; ".join(f"{c.name} = {c.found}" for c in test.failed)
        for at, test in enumerate(tests)
    ]
    return "\n".join(said)[:_EVIDENCE_CHARACTERS_MAX]


async def _asked(admin: ChainAdmin) -> SelfTest | None:
    try:
        return await admin.self_test()
    except (Transient, InvalidMessage):  # silence and garbage alike: it has not answered
        return None

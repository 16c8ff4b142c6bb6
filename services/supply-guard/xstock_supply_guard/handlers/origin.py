"""Whether this guard's database is the one it has always had, and since when it may sign.

A restored, failed-over or emptied database may have forgotten live permits, so signing stays off
until every destination's final time has passed what any of them can have (`Origin.signing_from`).
The same database again, after any number of restarts, waits for nothing. A new database waits
too, unless the operator asserts that this guard's keys have never signed (`fresh_key`): nobody
else can know. PostgreSQL shows a restore by a new system identifier, timeline or database; a
volume's snapshot or a dump loaded in place shows nothing, so there the operator must change
`restore_mark`.
"""

from collections.abc import Mapping

from xstock_core.ids import Domain
from xstock_core.signing import PERMIT_SECONDS_MAX
from xstock_supply_guard.handlers.bookcheck import check_books
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.lines import line
from xstock_supply_guard.model import Origin, Scan
from xstock_supply_guard.ports import GuardReads, GuardUnit


async def begin(desk: Desk) -> Origin:
    """At the start of a process: check the books, and note the database, so that a wait begins now.

    Books that were edited latch a halt of everything. Raises Fatal FENCED, Transient.
    """
    async with desk.store.write() as unit:
        # SECURITY: books that somebody edited must never be what a cap is measured against.
        await check_books(unit, desk.clock.unix_ms())
        return await settle_origin(desk, unit)


async def settle_origin(desk: Desk, unit: GuardUnit) -> Origin:
    """The origin in force; a database that is not the one noted is noted with its wait."""
    known = await unit.origin()
    identity = await _identity(desk, unit)
    if known is not None and known.identity == identity:
        return known
    # What this process has seen committed, this database may have lost.
    desk.live.booked.clear()
    # SECURITY: a forgotten permit and a new one for the same shares could both be used.
    signing_from = 0 if known is None and desk.config.fresh_key else _earliest(desk)
    now_ms = desk.clock.unix_ms()
    settled = Origin(identity, signing_from)
    await unit.add_origin(settled, now_ms)
    await unit.journal([line("origin", identity=identity, signing_from=signing_from)], now_ms)
    return settled


async def _identity(desk: Desk, unit: GuardReads) -> str:
    return f"{await unit.identity()}/{desk.config.restore_mark}"


def _earliest(desk: Desk) -> int:
    """No permit that was signed before now has a later deadline."""
    return desk.now + PERMIT_SECONDS_MAX + desk.config.policy.clock_skew_seconds_max


def waits_for_permits(desk: Desk, origin: Origin, scans: Mapping[Domain, Scan]) -> str:
    """Which destinations' final time has to pass forgotten permits, and how far; "" for none."""
    late = {}
    for domain, chain in desk.config.chains.items():
        through = scans[domain].through if domain in scans else None
        time = through.time if through is not None else 0
        if origin.signing_from and time <= origin.signing_from:
            late[chain.name] = origin.signing_from - time if time else PERMIT_SECONDS_MAX
    if not late:
        return ""
    left = ", ".join(f"{name} {seconds} s" for name, seconds in late.items())
    return (
        "the database is new or was restored and may have forgotten live permits; "
        f"final time left until {origin.signing_from}: {left}"
    )


async def why_not_yet(desk: Desk, books: GuardReads) -> str:
    """What `waits_for_permits` says, for those who only look."""
    origin = await books.origin()
    if origin is None or origin.identity != await _identity(desk, books):
        return "the database is not the one noted at the start; signing waits a permit's lifetime"
    return waits_for_permits(desk, origin, await books.scans())

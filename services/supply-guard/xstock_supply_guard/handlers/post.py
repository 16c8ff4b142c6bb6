"""Booking: a page of final observations becomes ledger entries, in one unit of work.

The cursor moves in the same transaction as what it passed, so a crash anywhere books every page
exactly once. Facts always post, whatever they break; what they break latches a halt in the same
transaction. Orders whose time is over are closed here too, because only a page of final blocks
brings the proof that their release can no longer land (INV-07).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xstock_chains.ports import Cursor, Page
from xstock_core.ids import AssetId, Domain
from xstock_core.invariants import InvariantViolation
from xstock_core.ledger import (
    Account,
    Balances,
    entries_of,
    exposure,
    post_all,
)
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    Observation,
    ObservationId,
    OrphanBurn,
    ReleaseFinal,
    Role,
    RoleMoved,
    SupplyMoved,
    by_id,
)
from xstock_core.release import ExecutionKey, key_of
from xstock_core.reservation import (
    CancelProof,
    ExpiryProof,
    VoidProof,
    entry_of_issue_void,
    reserve,
)
from xstock_runtime.errors import Ambiguous
from xstock_supply_guard.handlers import findings
from xstock_supply_guard.handlers.cover import note_cover
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.findings import Finding
from xstock_supply_guard.handlers.halting import latch
from xstock_supply_guard.handlers.inventory import limits_now
from xstock_supply_guard.handlers.limits import flow_back
from xstock_supply_guard.handlers.lines import line, order_line
from xstock_supply_guard.handlers.opening import not_open
from xstock_supply_guard.handlers.redemptions import paid_before, refunds_of_paid
from xstock_supply_guard.handlers.watching import tell_moved
from xstock_supply_guard.model import (
    Alarm,
    Executed,
    IssueRecord,
    OrderState,
    Posted,
    Scan,
    SupplyStep,
    chain_scope,
)
from xstock_supply_guard.ports import GuardUnit

DISSENT = "SOURCE_DISSENT"
"""The alarm of a chain that cannot be believed; calm when a page of it is booked."""


_ById = Mapping[ObservationId, Observation]


@dataclass(frozen=True, slots=True)
class Booked:
    """What one page did."""

    new: int
    more: bool
    through: BlockRef
    halted: tuple[str, ...] = ()
    over_cap: tuple[AssetId, ...] = ()
    """Assets whose exposure this page has carried above the cap: their releases wait."""


@dataclass(slots=True)
class _Draft:
    """What this page will write, gathered while it is looked at."""

    at_ms: int
    burns: list[BurnFinal] = field(default_factory=list)
    """Those that are the first of their nonce: the books keep the first."""
    entries: list[Posted] = field(default_factory=list)
    executions: list[Executed] = field(default_factory=list)
    matched: set[ExecutionKey] = field(default_factory=set)
    issues: dict[tuple[AssetId, int], IssueRecord] = field(default_factory=dict)
    over_cap: tuple[AssetId, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


async def post_page(desk: Desk, before: Cursor, page: Page, *, began_ms: int) -> Booked:
    """Book one page that was read after `before`; `began_ms` is when the reading began.

    Raises Ambiguous CURSOR_MOVED if another scan has moved the cursor, Fatal FENCED if another
    process of this guard writes.
    """
    chain = before.chain
    now_ms = desk.clock.unix_ms()
    draft = _Draft(at_ms=now_ms)
    found = by_id(page.observations)
    async with desk.store.write() as unit:
        scan = (await unit.scans()).get(chain, Scan(chain, Cursor(chain)))
        if scan.cursor != before:
            raise Ambiguous("CURSOR_MOVED", f"chain {int(chain)}: another scan moved the cursor")
        moved = replace(
            scan, cursor=page.cursor, through=page.through, head=page.head, dissent_since_ms=None
        )
        if moved != scan:
            await unit.save_scan(moved)
        if scan.dissent_since_ms is not None:
            await unit.calm(DISSENT, [chain_scope(chain)])
        fresh = await _new(unit, found)
        new = list(fresh.values())
        if new:
            await _gather(unit, new, draft)
        await _close_orders(unit, chain, page.through, draft)
        if not page.more:
            await _ask_unmatched(desk, unit, draft, page, began_ms)
        await _write(desk, unit, fresh, draft)
        halted = await latch(unit, draft.findings, now_ms, draft.lines)
        await unit.journal(draft.lines, now_ms)
        await tell_moved(unit, chain, new, now_ms)
    desk.live.booked.update((burn.transfer_id, burn) for burn in draft.burns)
    _note_live(desk, page, new)
    return Booked(len(new), page.more, page.through, halted, draft.over_cap)


def _note_live(desk: Desk, page: Page, new: Sequence[Observation]) -> None:
    chain = page.through.chain
    if not page.more:
        desk.live.caught_up.add(chain)
    moved = [one.role for one in new if isinstance(one, RoleMoved)]
    if moved:
        desk.live.rights[chain].ring()
    if Role.GUARD_SET in moved:
        desk.live.epochs.pop(chain, None)


async def _new(unit: GuardUnit, found: _ById) -> _ById:
    known = await unit.known_observations(found.keys()) if found else set()
    return {key: one for key, one in found.items() if key not in known}


async def _gather(unit: GuardUnit, new: Sequence[Observation], draft: _Draft) -> None:
    burns = [one for one in new if isinstance(one, BurnFinal)]
    executed = [one for one in new if isinstance(one, ReleaseFinal | CancelFinal)]
    await _gather_burns(unit, burns, draft)
    await _gather_executed(unit, executed, burns, draft)
    for one in new:
        if isinstance(one, OrphanBurn):
            draft.lines.append(line("orphan", nonce=one.nonce, asset=one.asset, amount=one.amount))
            draft.entries.extend(Posted(entry, one.place.block) for entry in entries_of(one))
        elif isinstance(one, SupplyMoved):
            finding = findings.minted_outside(one)
            draft.findings.extend([finding] if finding else [])
        elif isinstance(one, RoleMoved):
            draft.lines.append(
                line("role", role=one.role.name, subject=one.subject, holder=one.holder)
            )


async def _gather_burns(unit: GuardUnit, burns: Sequence[BurnFinal], draft: _Draft) -> None:
    """Entries of burns, and the releases that waited for one of them to be seen."""
    if not burns:
        return
    pairs = [(key_of(burn.message), findings.refund_key(burn)) for burn in burns]
    waiting = await unit.executions([key for pair in pairs for key in pair])
    seen = dict(await unit.burns_of([own for own, _ in pairs]))
    draft.entries.extend(await paid_before(unit, burns))
    for burn, pair in zip(burns, pairs, strict=True):
        known_burn = seen.setdefault(pair[0], burn)
        if known_burn is burn:
            draft.burns.append(burn)
        else:
            draft.findings.append(findings.burned_twice(known_burn, burn))
        draft.entries.extend(Posted(entry, burn.place.block) for entry in entries_of(burn))
        if not waiting:
            continue
        twice = findings.released_and_refunded(burn, waiting)
        draft.findings.extend([twice] if twice else [])
        for key in pair:
            known = waiting.get(key)
            if known is None or known.matched:
                continue
            draft.matched.add(key)
            if isinstance(known.fact, ReleaseFinal):
                wrong = findings.contradiction(known.fact, burn)
                draft.findings.extend([wrong] if wrong else [])


async def _gather_executed(
    unit: GuardUnit,
    executed: Sequence[ReleaseFinal | CancelFinal],
    burns: Sequence[BurnFinal],
    draft: _Draft,
) -> None:
    keys = [_key(one) for one in executed]
    if not keys:
        return
    released = {**await unit.burns_of(keys), **{key_of(one.message): one for one in burns}}
    refunded = {
        **await unit.burns_refunded_by(keys),
        **{findings.refund_key(one): one for one in burns},
    }
    elsewhere = [findings.refund_key(one) for one in released.values()]
    elsewhere += [key_of(one.message) for one in refunded.values()]
    known = dict(await unit.executions([*keys, *elsewhere]))
    await _load_issues(unit, executed, draft)
    paid = await refunds_of_paid(unit, refunded.values())
    orphans = await _orphans_behind(unit, executed)
    for one in executed:
        key = _key(one)
        if key in known:
            draft.findings.append(findings.second_execution(known[key], one))
        else:
            burn = released.get(key) or refunded.get(key)
            if burn is not None and burn.transfer_id in paid:
                draft.findings.append(findings.paid_and_refunded(burn))
            orphan = orphans.get(one.nonce)
            matched = _returns(one, orphan, draft) if orphan else _justify(one, burn, draft)
            known[key] = Executed(one, draft.at_ms, matched=matched)
            draft.executions.append(known[key])
            twice = findings.released_and_refunded(burn, known) if burn else None
            draft.findings.extend([twice] if twice else [])
        draft.entries.extend(Posted(entry, one.place.block) for entry in entries_of(one))


async def _orphans_behind(
    unit: GuardUnit, executed: Sequence[ReleaseFinal | CancelFinal]
) -> Mapping[bytes, OrphanBurn]:
    """The orphan burns that releases on their own chain return, by the releases' nonces."""
    nonces = {bytes(one.nonce) for one in executed if one.source is one.destination}
    return await unit.orphans_refunded_by(nonces) if nonces else {}


def _returns(fact: ReleaseFinal | CancelFinal, orphan: OrphanBurn, draft: _Draft) -> bool:
    """An orphan burn stands behind its refund, whoever approved it; its content must be the
    burn's (INV-03)."""
    if isinstance(fact, ReleaseFinal):
        wrong = findings.orphan_contradiction(fact, orphan)
        draft.findings.extend([wrong] if wrong else [])
    return True


def _justify(fact: ReleaseFinal | CancelFinal, burn: BurnFinal | None, draft: _Draft) -> bool:
    """Whether a known burn or order stands behind the execution; notes what contradicts it."""
    if fact.source is Domain.CUSTODY and not (burn and findings.order_number_of(fact) is None):
        _execute_order(fact, draft)
        return True
    if isinstance(fact, CancelFinal):
        return True
    if burn is None:
        return False
    wrong = findings.contradiction(fact, burn)
    draft.findings.extend([wrong] if wrong else [])
    return True


async def _load_issues(
    unit: GuardUnit, executed: Sequence[ReleaseFinal | CancelFinal], draft: _Draft
) -> None:
    numbers = [
        (one.asset, number)
        for one in executed
        if one.source is Domain.CUSTODY and (number := findings.order_number_of(one)) is not None
    ]
    if numbers:
        draft.issues.update(await unit.issues(numbers))


def _execute_order(fact: ReleaseFinal | CancelFinal, draft: _Draft) -> None:
    number = findings.order_number_of(fact)
    known = draft.issues.get((fact.asset, number)) if number is not None else None
    if isinstance(fact, CancelFinal):
        if known is not None:
            _void(known, CancelProof(fact), fact.place.block, draft)
        return
    # An order that only waits here was never granted: another of its number may have been.
    granted = known if known is not None and known.state is not OrderState.OPEN else None
    if granted is not None and granted.message is not None:
        message = granted.message
        same = (message.amount, message.recipient) == (fact.amount, fact.recipient)
        if not same or message.destination is not fact.destination:
            draft.findings.append(_issue_differs(fact))
    else:
        wrong = findings.no_order(fact)
        draft.findings.extend([wrong] if wrong else [])
        draft.lines.append(line("issue-unseen", nonce=fact.nonce, amount=fact.amount))
    if number is not None:
        base = granted or IssueRecord(
            asset=fact.asset,
            number=number,
            transfer_id=None,
            state=OrderState.EXECUTED,
            expiry=0,
            message=None,
            destination=fact.destination,
        )
        draft.issues[fact.asset, number] = replace(base, state=OrderState.EXECUTED)


def _issue_differs(fact: ReleaseFinal) -> Finding:
    detail = f"issuance {fact.nonce.hex()} on chain {int(fact.destination)} is not what was ordered"
    return Finding("INV-03", detail, asset=fact.asset)


def _void(issue: IssueRecord, proof: VoidProof, at: BlockRef, draft: _Draft) -> None:
    """Close an order for good; a reserved one gives its shares back to custody (INV-07).

    An expired one that cannot be given back is closed too, and its shares stay in the exposure:
    asked again on every page, it would halt its asset for ever. A cancel is one fact, told once;
    one that proves nothing leaves the order to its expiry.
    """
    if issue.state in (OrderState.EXECUTED, OrderState.VOIDED):
        return
    if issue.state is OrderState.RESERVED and issue.message and issue.transfer_id:
        reservation = reserve(issue.message, issue.transfer_id, issue.expiry)
        try:
            entry = entry_of_issue_void(issue.message, reservation, proof)
        except InvariantViolation as broken:
            draft.findings.append(Finding(broken.id.value, broken.detail, asset=issue.asset))
            if isinstance(proof, CancelProof):
                return
        else:
            draft.entries.append(Posted(entry, at))
    granted = None if issue.state is OrderState.OPEN else issue.message
    closed = replace(issue, state=OrderState.VOIDED, message=granted)
    draft.issues[issue.asset, issue.number] = closed
    draft.lines.append(order_line(closed))


async def _close_orders(unit: GuardUnit, chain: Domain, through: BlockRef, draft: _Draft) -> None:
    """Void what expired: the page was booked through `through`, whose time came first."""
    for issue in await unit.issues_expired(chain, through.time):
        if issue.message is None or (issue.asset, issue.number) in draft.issues:
            continue
        proof = ExpiryProof(key_of(issue.message), issue.expiry, through, through)
        _void(issue, proof, through, draft)


async def _ask_unmatched(
    desk: Desk, unit: GuardUnit, draft: _Draft, page: Page, began_ms: int
) -> None:
    """A whole look at a source that began after a release was booked must show its burn."""
    policy = desk.config.policy
    for executed in await unit.unmatched(page.through.chain):
        if executed.key in draft.matched or executed.recorded_ms >= began_ms:
            continue
        finding = findings.unmatched(
            executed,
            page.through.time,
            draft.at_ms,
            policy.unmatched_slack_seconds,
            policy.unmatched_seconds_max * 1000,
        )
        draft.findings.extend([finding] if finding else [])


async def _write(desk: Desk, unit: GuardUnit, fresh: _ById, draft: _Draft) -> None:
    if fresh:
        await unit.add_observations(fresh)
    orphans = [_orphan_alarm(one) for one in fresh.values() if isinstance(one, OrphanBurn)]
    if orphans:
        await unit.alarm(orphans, draft.at_ms)
    if draft.executions:
        await unit.add_executions(draft.executions)
    if draft.matched:
        await unit.mark_matched(draft.matched)
    if draft.entries:
        await _post_entries(desk, unit, draft)
        await flow_back(desk, unit, [one for one in fresh.values() if isinstance(one, BurnFinal)])
    if draft.issues:
        await unit.save_issues(list(draft.issues.values()))
        await advance_sequences(unit, {asset for asset, _ in draft.issues})
    draft.lines.extend(
        f"fact id={key.hex()} kind={type(one).__name__}" for key, one in fresh.items()
    )


def _orphan_alarm(burn: OrphanBurn) -> Alarm:
    """Shares that wait for a person: booked, refundable, never a reason to halt."""
    detail = f"{burn.amount} of {burn.asset.hex()} burned without a transfer: {burn.reason}"
    return Alarm("ORPHAN_BURN", chain_scope(burn.place.block.chain), detail, burn.nonce.hex())


async def _post_entries(desk: Desk, unit: GuardUnit, draft: _Draft) -> None:
    assets = {one.entry.asset for one in draft.entries}
    balances = await unit.balances(assets)
    known = await unit.known_entries({one.entry.id for one in draft.entries})
    after, fresh = post_all(balances, known, [one.entry for one in draft.entries])
    blocks = {one.entry.id: one.at for one in draft.entries}
    posted = [Posted(entry, blocks[entry.id]) for entry in fresh]
    await unit.post(posted, supply_steps(balances, posted))
    draft.findings.extend(await _overdrawn(desk, unit, after))
    draft.over_cap = await _carried_above(desk, unit, balances, after)
    if draft.over_cap:
        await note_cover(desk, unit, draft.over_cap, draft.at_ms, draft.lines)


async def _overdrawn(desk: Desk, unit: GuardUnit, after: Balances) -> list[Finding]:
    """INV-05 and its like; what an asset burns before its opening was there before the books."""
    found = list(findings.overdrawn(after))
    if not found:
        return []
    closed = await not_open(desk, unit, {one.asset for one in found if one.asset})
    return [one for one in found if one.asset not in closed]


async def _carried_above(
    desk: Desk,
    unit: GuardUnit,
    before: dict[tuple[AssetId, Account], int],
    after: dict[tuple[AssetId, Account], int],
) -> tuple[AssetId, ...]:
    """Assets that facts took over their cap: told, no halt, for `check_cap` holds them (INV-04)."""
    grown = {asset for asset, _ in after if exposure(after, asset) > exposure(before, asset)}
    if not grown:
        return ()
    attested = await unit.attestations(grown)
    limits = await limits_now(desk, unit, attested)
    return tuple(
        asset
        for asset, limit in sorted(limits.items())
        if exposure(before, asset) <= limit < exposure(after, asset)
    )


def supply_steps(
    before: dict[tuple[AssetId, Account], int], posted: Sequence[Posted]
) -> list[SupplyStep]:
    """The ledger's supply after each block that moved it; blocks in rising order."""
    running = dict(before)
    steps: dict[tuple[Domain, AssetId, int], tuple[int, int]] = {}
    for one in sorted(posted, key=lambda p: p.at.number if p.at else -1):
        entry = one.entry
        for place, change in ((entry.debit, -entry.amount), (entry.credit, entry.amount)):
            if place.chain is None:
                continue
            account = entry.asset, place
            running[account] = running.get(account, 0) + change
            if one.at is not None:
                key = place.chain, entry.asset, one.at.number
                _, burned = steps.get(key, (0, 0))
                steps[key] = running[account], burned + max(0, -change)
    return [SupplyStep(*key, supply, burned) for key, (supply, burned) in steps.items()]


async def advance_sequences(unit: GuardUnit, assets: Collection[AssetId]) -> None:
    """Move each asset's issuance sequence over every number that is reserved or closed."""
    through = await unit.reserved_through(assets)
    advanced: dict[AssetId, int] = {}
    for asset in assets:
        last = through.get(asset, 0)
        while True:
            page = await unit.issues([(asset, last + step) for step in range(1, 65)])
            reached = last
            while (issue := page.get((asset, reached + 1))) and issue.state is not OrderState.OPEN:
                reached += 1
            full, last = reached == last + 64, reached
            if not full:
                break
        if last != through.get(asset, 0):
            advanced[asset] = last
    if advanced:
        await unit.save_reserved_through(advanced)


def _key(fact: ReleaseFinal | CancelFinal) -> ExecutionKey:
    return ExecutionKey(fact.destination, fact.source, fact.nonce)

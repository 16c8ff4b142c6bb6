"""Reviews: claims in, rulings out, with nothing but this guard's own books as evidence.

The burn was read by this guard's own scanner through its own providers; a review looks it up, so
a page of claims costs a handful of set-based queries and no RPC call. A claim of a burn that the
scanner has not reached rings its bell and waits a moment; what is not reached then is HELD,
never evidence of absence. The core decides, this module loads and saves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from xstock_core.bucket import BucketKey
from xstock_core.corporate import same_multiplier
from xstock_core.ids import Address32, AssetId, Domain, TransferId, nonce_counter
from xstock_core.invariants import InvariantId, InvariantViolation
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BurnFinal
from xstock_core.policy import POLICIES, Decision, Policy, bucket_keys, decide
from xstock_core.refusal import (
    Disposition,
    Granted,
    Reason,
    Refused,
    Verdict,
    refuse,
)
from xstock_core.release import ExecutionKey, key_of
from xstock_core.review import (
    AssetView,
    BurnAbsent,
    Claim,
    Context,
    Dissent,
    Evidence,
    IssueOrder,
    IssueSequence,
    NotReached,
)
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.belief import knows_bridge
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.flowing import Flows, look_up_flows, refund_evidence
from xstock_supply_guard.handlers.halting import scopes
from xstock_supply_guard.handlers.inventory import inventories, inventory_lines
from xstock_supply_guard.handlers.limits import buckets_in_force, limits_in_force
from xstock_supply_guard.handlers.lines import order_paper_line, ruling_line
from xstock_supply_guard.handlers.opening import openness
from xstock_supply_guard.handlers.papers import issuer_address, order_message, signed_by_issuer
from xstock_supply_guard.handlers.pausing import pauses_in_force
from xstock_supply_guard.handlers.post import advance_sequences
from xstock_supply_guard.handlers.proposals import reviewed
from xstock_supply_guard.handlers.screening import (
    Screening,
    note_screening,
    screen,
    settle_screening,
)
from xstock_supply_guard.handlers.standing import (
    Seen,
    asset_drift,
    asset_windows,
    by_asset,
    settled_before,
)
from xstock_supply_guard.model import (
    Alarm,
    AttestationRecord,
    BelievedSupply,
    ClaimRecord,
    Executed,
    IssueRecord,
    Limits,
    OrderPaper,
    OrderState,
    Outcome,
    RedemptionState,
    Ruling,
    Scan,
    SubmittedClaim,
    UnreadableClaim,
    Waiter,
)
from xstock_supply_guard.ports import GuardReads, GuardUnit

_OUTCOMES = {
    Disposition.HOLD: Outcome.HELD,
    Disposition.PARK: Outcome.PARKED,
    Disposition.REJECT: Outcome.REJECTED,
}
_NEVER_FRESH = -(2**40)
"""An age limit in seconds that no attestation meets."""
WAITING_SECONDS_MAX = 600
"""A claim that nobody repeats for so long loses its place in a rate bucket's queue."""
PARKED = "PARKED"
"""The alarm of a transfer that waits for a person."""
RULINGS_PER_LINK_MAX = 4096
"""Rulings of one journal link are numbered within this room."""


_Claims = Mapping[TransferId, SubmittedClaim]


@dataclass(frozen=True, slots=True)
class _Known:
    """What this guard's books say about a page of claims."""

    keys: Mapping[TransferId, ExecutionKey]
    scans: Mapping[Domain, Scan]
    burns: Mapping[TransferId, BurnFinal]
    same_key: Mapping[ExecutionKey, BurnFinal]
    flows: Flows
    executions: Mapping[ExecutionKey, Executed]


async def review_transfers(
    desk: Desk,
    claims: Sequence[SubmittedClaim | UnreadableClaim],
    policies: Sequence[Policy] = POLICIES,
) -> list[Ruling]:
    """A ruling per claim, in the order asked. Raises Fatal FENCED, Transient."""
    readable = [claim for claim in claims if isinstance(claim, SubmittedClaim)]
    ids = [claim.message.transfer_id(keccak256) for claim in readable]
    by_id = dict(zip(ids, readable, strict=True))
    rulings = await _rule(desk, by_id, await _booked(desk, by_id), policies) if by_id else {}
    following = iter(ids)
    return [
        _ruling(claim.transfer_id, refuse(Reason.CONTENT_MISMATCH, error=claim.error))
        if isinstance(claim, UnreadableClaim)
        else rulings[next(following)]
        for claim in claims
    ]


async def _booked(desk: Desk, by_id: _Claims) -> Mapping[TransferId, BurnFinal]:
    """The claimed burns that are booked; the scanners get a moment to reach the others.

    A booked burn is final and stays as it is, so it is read, or remembered, before the writer's
    turn: meanwhile the scanner may write.
    """
    wanted = {
        key: claim
        for key, claim in by_id.items()
        if claim.message.source in desk.live.bells and claim.message.kind is not Kind.REFUND
    }
    remembered = desk.live.booked
    booked = {key: remembered[key] for key in wanted if key in remembered}
    missing = await _unbooked(desk, wanted, booked)
    began = desk.clock.monotonic()
    wait = desk.config.review_wait_seconds
    while missing and (left := began + wait - desk.clock.monotonic()) > 0:
        for chain in missing:
            desk.live.bells[chain].ring()
        await desk.live.bells[min(missing)].wait_passed(left)
        missing = await _unbooked(desk, wanted, booked)
    return booked


async def _unbooked(
    desk: Desk, wanted: _Claims, booked: dict[TransferId, BurnFinal]
) -> set[Domain]:
    """Chains whose scanner has not come to a claimed burn; a forged claim is not waited for.

    What is booked by now is added to `booked`.
    """
    if len(booked) == len(wanted):
        return set()
    async with desk.store.read() as books:
        booked.update(await books.burns(wanted.keys() - booked.keys()))
        scans = await books.scans() if len(booked) < len(wanted) else {}
    return {
        claim.message.source
        for key, claim in wanted.items()
        if key not in booked and not _passed(scans.get(claim.message.source), claim.block_number)
    }


def _passed(scan: Scan | None, block_number: int) -> bool:
    """Whether the books are complete up to this block; never known of a block that is not named."""
    if scan is None or scan.through is None or block_number <= 0:
        return False
    return scan.through.number >= block_number


async def _rule(
    desk: Desk,
    by_id: _Claims,
    booked: Mapping[TransferId, BurnFinal],
    policies: Sequence[Policy],
) -> dict[TransferId, Ruling]:
    now_ms = desk.clock.unix_ms()
    screening = await screen(desk, {key: claim.message for key, claim in by_id.items()})
    async with desk.store.write() as unit:
        records = await unit.claims(by_id.keys())
        # The same claim again gets the same verdict: what was granted stays granted.
        rulings = {
            key: record.ruling
            for key, record in records.items()
            if record.ruling.outcome is Outcome.GRANTED
        }
        fresh = {key: claim for key, claim in by_id.items() if key not in rulings}
        if not fresh:
            return rulings
        known = await _look_up(unit, fresh, booked)
        judged, early = _with_evidence(desk, fresh, known)
        screening = await settle_screening(unit, screening)
        context = await _context(desk, unit, judged, known, screening)
        context = _with_flows(desk, await _with_people(unit, context, records), known.flows)
        await note_screening(desk, unit, screening)
        decision = decide(context, judged, policies)
        verdicts: dict[TransferId, Verdict] = dict(early)
        verdicts.update(
            {one.transfer_id: v for one, v in zip(judged, decision.verdicts, strict=True)}
        )
        orders = _orders(judged)
        page = _Page(fresh, orders, records, verdicts, decision, context, now_ms)
        await _save(unit, page, rulings)
    return rulings


async def _look_up(
    unit: GuardReads, fresh: _Claims, booked: Mapping[TransferId, BurnFinal]
) -> _Known:
    keys = {transfer_id: key_of(claim.message) for transfer_id, claim in fresh.items()}
    scans = await unit.scans()
    # SECURITY: a burn seen before this unit counts while the books have come as far; a standby that
    # took over may have lost its page.
    burns = {
        key: burn
        for key, burn in booked.items()
        if _passed(scans.get(burn.message.source), burn.place.block.number)
    }
    late = fresh.keys() - burns.keys()
    burns.update(await unit.burns(late) if late else {})
    unknown = [key for transfer_id, key in keys.items() if transfer_id not in burns]
    flows = await look_up_flows(unit, {key: claim.message for key, claim in fresh.items()})
    cancelled = [key_of(burn.message) for burn in flows.refunded.values()]
    return _Known(
        keys=keys,
        scans=scans,
        burns=burns,
        same_key=await unit.burns_of(unknown) if unknown else {},
        flows=flows,
        executions=await unit.executions([*keys.values(), *cancelled]),
    )


def _with_evidence(
    desk: Desk, fresh: Mapping[TransferId, SubmittedClaim], known: _Known
) -> tuple[list[Claim], dict[TransferId, Refused]]:
    """Claims with this guard's own evidence, and those that are refused before any rule."""
    judged: list[Claim] = []
    early: dict[TransferId, Refused] = {}
    missing = desk.missing()
    for transfer_id, claim in fresh.items():
        refusal = _early(desk, claim, missing)
        if refusal is not None:
            early[transfer_id] = refusal
            continue
        evidence = _evidence(desk, transfer_id, claim, known)
        judged.append(Claim(transfer_id, claim.message, evidence))
    return judged, early


def _early(desk: Desk, claim: SubmittedClaim, missing: Sequence[str]) -> Refused | None:
    if missing:
        return refuse(Reason.SIGNING_DISABLED, waits_for=", ".join(missing))
    # SECURITY: a stranger's order beside a burn would be kept as if the issuer had signed it.
    if claim.order is not None and claim.message.kind is not Kind.ISSUE:
        return refuse(Reason.CONTENT_MISMATCH, order="only an ISSUE has one; leave it out")
    longest = desk.config.policy.order_seconds_max
    if claim.order is not None and claim.order.expires > desk.now + longest:
        return refuse(Reason.DEADLINE_OUT_OF_RANGE, expires=claim.order.expires, longest=longest)
    return None


def _evidence(
    desk: Desk, transfer_id: TransferId, claim: SubmittedClaim, known: _Known
) -> Evidence:
    message = claim.message
    if message.kind is Kind.ISSUE:
        return _order_evidence(desk, message, claim.order)
    if message.kind is Kind.REFUND:
        return refund_evidence(desk, message, known.flows, known.executions, known.scans)
    chain = desk.config.chains.get(message.source)
    # SECURITY: no block of any chain can make a stranger's bridge one of ours (F08).
    if chain is None or not knows_bridge(chain, message.source_bridge):
        return BurnAbsent(message.source)
    scan = known.scans.get(message.source)
    if scan is not None and scan.dissent_since_ms is not None:
        return Dissent(message.source)
    burn = known.burns.get(transfer_id) or known.same_key.get(known.keys[transfer_id])
    if burn is not None:
        return burn
    passed = _passed(scan, claim.block_number)
    return BurnAbsent(message.source) if passed else NotReached(message.source)


def _order_evidence(desk: Desk, message: TransferMessage, order: OrderPaper | None) -> IssueOrder:
    meant = order_message(desk, order) if order is not None else None
    if order is None or meant is None:
        return IssueOrder(message, nonce_counter(message.nonce), 0, signature_valid=False)
    valid = signed_by_issuer(desk, order.statement)
    return IssueOrder(meant, order.order_number, order.expires, signature_valid=valid)


def _orders(judged: Sequence[Claim]) -> dict[TransferId, IssueOrder]:
    """The orders that are the issuer's own and say what is claimed; nothing is kept of others."""
    return {
        claim.transfer_id: order
        for claim in judged
        if isinstance(order := claim.evidence, IssueOrder)
        and order.signature_valid
        and order.message == claim.message
    }


async def _context(
    desk: Desk,
    unit: GuardReads,
    claims: Sequence[Claim],
    known: _Known,
    screening: Screening,
) -> Context:
    assets = {claim.message.asset for claim in claims}
    keys = {key for claim in claims for key in bucket_keys(claim)}
    limits = await limits_in_force(desk, unit, assets)
    seen = Seen(await unit.balances(assets), await unit.readings(assets), limits)
    views = await asset_views(desk, unit, assets, seen, _issuers(desk, claims))
    judged = [claim.transfer_id for claim in claims]
    executed = {one for one in judged if known.keys[one] in known.executions}
    executed |= await _closed_ahead(unit, claims, views)
    halts = await unit.halts()
    buckets = await buckets_in_force(unit, limits, keys, desk.now)
    queues = await _queues(desk, unit, keys, len(claims)) if buckets else {}
    paused, until = pauses_in_force(await unit.pauses(desk.now), seen.readings)
    return Context(
        now=desk.now,
        balances=seen.balances,
        assets=views,
        routes=desk.config.routes,
        buckets=buckets,
        waiting=queues,
        halted=scopes(halts),
        paused=paused,
        paused_until=until,
        screened=screening.listed,
        screened_among=screening.asked,
        lagging=frozenset(
            chain
            for chain, scan in known.scans.items()
            if scan.through is None or scan.head is None or scan.through.number < scan.head.number
        ),
        executed=frozenset(executed),
    )


async def _with_people(
    unit: GuardReads, context: Context, records: Mapping[TransferId, ClaimRecord]
) -> Context:
    """The context with what people have let through, of the claims known before."""
    approved, cleared = await reviewed(unit, set(records))
    return replace(context, approved=approved, cleared=cleared)


def _with_flows(desk: Desk, context: Context, flows: Flows) -> Context:
    """The context with what custody and people have said of what flows back."""
    return replace(
        context,
        paid=flows.closed(RedemptionState.PAID),
        rejected=flows.closed(RedemptionState.REJECTED),
        approved=context.approved | flows.approved,
        refund_review_from=desk.config.policy.refund_review_from,
    )


async def _closed_ahead(
    unit: GuardReads, claims: Sequence[Claim], views: Mapping[AssetId, AssetView]
) -> set[TransferId]:
    """Orders whose number was closed before the sequence came to it, whatever its destination.

    The sequence alone would grant one that follows the missing number on the same page.
    """
    ahead: dict[TransferId, tuple[AssetId, int]] = {}
    for transfer_id, order in _orders(claims).items():
        asset = order.message.asset
        issuance = views[asset].issuance if asset in views else None
        if issuance is not None and order.order > issuance.reserved_through + 1:
            ahead[transfer_id] = (asset, order.order)
    known = await unit.issues(set(ahead.values())) if ahead else {}
    closed = {number for number, one in known.items() if one.state is not OrderState.OPEN}
    return {transfer_id for transfer_id, number in ahead.items() if number in closed}


async def _queues(
    desk: Desk, unit: GuardReads, keys: set[BucketKey], page: int
) -> Mapping[BucketKey, tuple[TransferId, ...]]:
    """Who waits: of each queue more than this page could serve, so that nobody is overtaken."""
    since_ms = desk.clock.unix_ms() - WAITING_SECONDS_MAX * 1000
    return await unit.waiting(keys, since_ms, page + 1)


def _issuers(desk: Desk, claims: Sequence[Claim]) -> dict[AssetId, Address32]:
    """The registered issuer whose order each asset's issuance on this page is."""
    registered = {issuer_address(key) for key in desk.config.issuers.values()}
    return {
        claim.message.asset: claim.message.refund_address
        for claim in claims
        if claim.message.kind is Kind.ISSUE and bytes(claim.message.refund_address) in registered
    }


async def asset_views(
    desk: Desk,
    unit: GuardReads,
    assets: set[AssetId],
    seen: Seen,
    issuers: Mapping[AssetId, Address32] = MappingProxyType({}),
) -> dict[AssetId, AssetView]:
    """What the policies may know of each registered asset.

    An asset with an unexplained release counts as drifted: it waits while that is cleared up.
    """
    attested = await unit.attestations(assets)
    sequences = await unit.reserved_through(list(issuers)) if issuers else {}
    adrift = {asset for asset, _ in await unit.unexplained(assets)}
    shown = by_asset(seen.readings)
    actions = await unit.corporate_actions(assets)
    settled = await settled_before(desk, unit, actions)
    outdated = _outdated(attested, seen.readings)
    inventory = await inventories(desk, unit, attested, seen.readings)
    longest = desk.config.policy.attestation_age_seconds_max
    views = {}
    for asset in assets & desk.config.assets.keys():
        record = attested.get(asset)
        said = record.attestation if record else None
        issuer = issuers.get(asset)
        limits = seen.limits.get(asset, Limits())
        views[asset] = AssetView(
            attestation=said,
            attestation_age_max=_NEVER_FRESH if asset in outdated else longest,
            margin_bps=desk.config.policy.margin_bps,
            drift=asset_drift(desk, asset, adrift, shown.get(asset, ())),
            opened=openness(
                desk.config.assets[asset].decimals, seen.balances, seen.readings, asset
            ),
            issuance=IssueSequence(sequences.get(asset, 0), issuer) if issuer else None,
            forbidden_recipients=desk.config.assets[asset].forbidden_recipients,
            windows=asset_windows(
                desk, asset, actions.get(asset, ()), shown.get(asset, ()), said, settled
            ),
            delays=limits.delays,
            manual_from=limits.manual_from,
            inventory=inventory.get(asset, ()),
        )
    return views


def _outdated(
    attested: Mapping[AssetId, AttestationRecord], readings: Sequence[BelievedSupply]
) -> set[AssetId]:
    """Assets whose attestation is of a multiplier that a chain has left: the chain wins."""
    found = set()
    for reading in readings:
        record = attested.get(reading.supply.asset)
        if record is None:
            continue
        said = record.attestation
        newer = reading.supply.multiplier_epoch > said.multiplier_epoch
        # By value, to twelve digits: one chain's epoch is a time, and its multiplier a float.
        if newer and not same_multiplier(reading.supply.multiplier, said.multiplier):
            found.add(reading.supply.asset)
    return found


@dataclass(frozen=True, slots=True)
class _Page:
    """A judged page, ready to be saved."""

    claims: Mapping[TransferId, SubmittedClaim]
    orders: Mapping[TransferId, IssueOrder]
    records: Mapping[TransferId, ClaimRecord]
    verdicts: Mapping[TransferId, Verdict]
    decision: Decision
    context: Context
    now_ms: int


async def _save(unit: GuardUnit, page: _Page, rulings: dict[TransferId, Ruling]) -> None:
    """Reserve, keep the rulings that changed, journal and tell: one durable event for each."""
    await _reserve(unit, page)
    first = (await unit.journal_head()).sequence * RULINGS_PER_LINK_MAX
    changed: list[ClaimRecord] = []
    for transfer_id, verdict in page.verdicts.items():
        claim, known = page.claims[transfer_id], page.records.get(transfer_id)
        ruling = _ruling(transfer_id, verdict, first + len(changed) + 1)
        if known is not None and _same(known.ruling, ruling):
            rulings[transfer_id] = replace(ruling, sequence=known.ruling.sequence)
            continue
        rulings[transfer_id] = ruling
        order = page.orders.get(transfer_id)
        expiry = order.expiry if order is not None else None
        changed.append(ClaimRecord(claim.message, ruling, page.now_ms, expiry))
    if page.context.buckets:
        await _save_waiting(unit, page, rulings)
    if changed:
        await unit.save_claims(changed)
        given = [record.ruling for record in changed]
        reserved = {entry.asset for entry in page.decision.entries}
        views = {asset: page.context.assets[asset] for asset in reserved}
        lines = [*inventory_lines(views), *(ruling_line(record) for record in changed)]
        lines.extend(_order_lines(page, given))
        await unit.journal(lines, page.now_ms)
        await unit.publish(given, page.now_ms)
        await _tell_parked(unit, given, page)


def _order_lines(page: _Page, given: Sequence[Ruling]) -> list[str]:
    """The papers of the orders that were granted: a rebuilt guard hands them in again."""
    orders = [page.claims[one.transfer_id].order for one in given if one.outcome is Outcome.GRANTED]
    return [order_paper_line(order) for order in orders if order is not None]


async def _tell_parked(unit: GuardUnit, given: Sequence[Ruling], page: _Page) -> None:
    """One alarm for a transfer that waits for a person; over when its ruling changes.

    A rejected redemption is settled: its REFUND is, not its own ruling ever again.
    """
    over = [
        ruling.transfer_id
        for ruling in given
        if (known := page.records.get(ruling.transfer_id)) is not None
        and known.ruling.outcome is Outcome.PARKED
    ]
    if over:
        await unit.calm(PARKED, [f"transfer/{key.hex()}" for key in over])
    settled = Reason.REDEMPTION_REJECTED.value
    parked = [r for r in given if r.outcome is Outcome.PARKED and r.reason != settled]
    if parked:
        alarms = [
            Alarm(PARKED, f"transfer/{one.transfer_id.hex()}", _words(one), one.reason)
            for one in parked
        ]
        await unit.alarm(alarms, page.now_ms)


def _words(ruling: Ruling) -> str:
    said = ", ".join(f"{name} {value}" for name, value in ruling.detail.items())
    return f"{ruling.reason}: {said}" if said else ruling.reason


async def _save_waiting(unit: GuardUnit, page: _Page, rulings: Mapping[TransferId, Ruling]) -> None:
    """INV-11: keep who waits for a bucket; whoever waits for something else gives up its place.

    A guard that has just started refuses before any rule; that costs nobody a place.
    """
    waiters, gone = [], []
    for transfer_id, verdict in page.verdicts.items():
        reason = verdict.reason if isinstance(verdict, Refused) else None
        message = page.claims[transfer_id].message
        if reason is Reason.RATE_LIMITED:
            since = rulings[transfer_id].sequence
            waiter = Waiter(transfer_id, message.asset, key_of(message), since, page.now_ms)
            waiters.append(waiter)
        elif reason is not Reason.SIGNING_DISABLED:
            gone.append(transfer_id)
    await unit.save_waiting(waiters, gone, page.now_ms - WAITING_SECONDS_MAX * 1000)


async def _reserve(unit: GuardUnit, page: _Page) -> None:
    issues = _issue_records(page)
    for entry in page.decision.entries:
        limit = page.context.assets[entry.asset].limit or 0
        # SECURITY: the store's own conditional update is the second lock on the cap (F49).
        if not await unit.reserve_issuance(entry, limit):
            detail = f"issuance of {entry.amount} of {entry.asset.hex()} would pass the cap {limit}"
            raise InvariantViolation(InvariantId.CAP, detail)
    if issues:
        await unit.save_issues(issues)
        await advance_sequences(unit, {issue.asset for issue in issues})
    if page.decision.buckets:
        await unit.save_buckets(page.decision.buckets)


def _issue_records(page: _Page) -> list[IssueRecord]:
    """One record per order number: what was granted, else the first that waits for room."""
    found: dict[tuple[AssetId, int], IssueRecord] = {}
    for transfer_id, order in page.orders.items():
        verdict, message = page.verdicts[transfer_id], order.message
        granted = isinstance(verdict, Granted)
        waits = isinstance(verdict, Refused) and verdict.reason is Reason.CAP_EXCEEDED
        number = (message.asset, order.order)
        if granted or (waits and number not in found):
            found[number] = IssueRecord(
                asset=message.asset,
                number=order.order,
                transfer_id=transfer_id,
                state=OrderState.RESERVED if granted else OrderState.OPEN,
                expiry=order.expiry,
                message=message,
                destination=message.destination,
            )
    return list(found.values())


def _ruling(transfer_id: TransferId, verdict: Verdict, sequence: int = 0) -> Ruling:
    if isinstance(verdict, Granted):
        return Ruling(transfer_id, Outcome.GRANTED, sequence=sequence)
    outcome = _OUTCOMES[verdict.disposition]
    return Ruling(
        transfer_id, outcome, verdict.reason.value, verdict.until or 0, verdict.detail, sequence
    )


def _same(known: Ruling, now: Ruling) -> bool:
    """SECURITY: whom a SCREENED transfer is parked for is what people decide about."""
    if (known.outcome, known.reason) != (now.outcome, now.reason):
        return False
    return now.reason != Reason.SCREENED.value or known.detail == now.detail


def ruling_of(transfer_id: TransferId, verdict: Verdict) -> Ruling:
    """A verdict that is answered and not kept."""
    return _ruling(transfer_id, verdict)

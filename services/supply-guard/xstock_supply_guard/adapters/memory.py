"""The guard's memory in a process: for simulation and handler tests, under the same suite.

A unit of work is a copy that replaces the state when its block ends, so a raise rolls back as a
database would. One writer at a time, as in PostgreSQL; a `fenced` store writes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from xstock_core.bucket import Bucket, BucketKey
from xstock_core.ids import AssetId, Domain, TransferId
from xstock_core.ledger import CUSTODY, Account, Entry, EntryId, EntryKind, movements
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    Observation,
    ObservationId,
    OrphanBurn,
    ReleaseFinal,
    SupplyMoved,
)
from xstock_core.release import ExecutionKey, key_of
from xstock_runtime.database import end_to_end
from xstock_runtime.errors import Fatal
from xstock_supply_guard.adapters.linking import Unlinked
from xstock_supply_guard.adapters.memory_papers import PaperMemory, PaperState
from xstock_supply_guard.adapters.memory_people import PeopleMemory, PeopleState
from xstock_supply_guard.handlers.findings import refund_key
from xstock_supply_guard.model import (
    FIRST_LINK,
    ORDER_STATES_RISING,
    AttestationRecord,
    BelievedSupply,
    ClaimRecord,
    Executed,
    Halt,
    IssueRecord,
    JournalHead,
    JournalLink,
    LedgerAt,
    OrderState,
    Origin,
    Outcome,
    Permit,
    Posted,
    RaisedAlarm,
    Ruling,
    Scan,
    SupplyStep,
    Waiter,
    next_link,
)
from xstock_supply_guard.ports import GuardReads, GuardUnit

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _State:
    """Everything that survives; each field is copied for a unit of work."""

    origins: list[Origin] = field(default_factory=list)
    scans: dict[Domain, Scan] = field(default_factory=dict)
    observations: dict[ObservationId, Observation] = field(default_factory=dict)
    burns: dict[TransferId, BurnFinal] = field(default_factory=dict)
    by_key: dict[ExecutionKey, BurnFinal] = field(default_factory=dict)
    by_refund: dict[ExecutionKey, BurnFinal] = field(default_factory=dict)
    executions: dict[ExecutionKey, Executed] = field(default_factory=dict)
    entries: dict[EntryId, Posted] = field(default_factory=dict)
    balances: dict[tuple[AssetId, Account], int] = field(default_factory=dict)
    steps: dict[tuple[Domain, AssetId], dict[int, int]] = field(default_factory=dict)
    burned: dict[tuple[Domain, AssetId], dict[int, int]] = field(default_factory=dict)
    claims: dict[TransferId, ClaimRecord] = field(default_factory=dict)
    issues: dict[tuple[AssetId, int], IssueRecord] = field(default_factory=dict)
    reserved: dict[AssetId, int] = field(default_factory=dict)
    attestations: dict[AssetId, AttestationRecord] = field(default_factory=dict)
    halts: dict[str, Halt] = field(default_factory=dict)
    permits: dict[bytes, Permit] = field(default_factory=dict)
    readings: dict[tuple[Domain, AssetId], BelievedSupply] = field(default_factory=dict)
    buckets: dict[BucketKey, Bucket] = field(default_factory=dict)
    waiters: dict[TransferId, Waiter] = field(default_factory=dict)
    links: list[tuple[JournalHead, int, tuple[str, ...]]] = field(default_factory=list)
    moved: list[LedgerAt] = field(default_factory=list)
    """What each link moved; the ledger at a link is all of them up to it."""
    evidence: list[tuple[Domain, str, str, int]] = field(default_factory=list)
    papers: PaperState = field(default_factory=PaperState)
    people: PeopleState = field(default_factory=PeopleState)

    def fork(self) -> "_State":
        """A copy that shares no container with this one."""
        forked = _State(**{one.name: copy(getattr(self, one.name)) for one in fields(self)})
        forked.steps = {key: dict(steps) for key, steps in self.steps.items()}
        forked.burned = {key: dict(burned) for key, burned in self.burned.items()}
        return forked


class MemoryGuardStore:
    """GuardStore in memory; `publish` is handed the rulings of every unit that committed."""

    def __init__(self, publish: Callable[[Ruling, int], None] | None = None) -> None:
        self._state = _State()
        self._writer = asyncio.Lock()
        self._publish = publish
        self.fenced = False
        self.identity = "memory"

    @property
    def links(self) -> Sequence[tuple[JournalHead, int, tuple[str, ...]]]:
        """The journal: each link with its time and lines."""
        return self._state.links

    @property
    def evidence(self) -> Sequence[tuple[Domain, str, str, int]]:
        """What was kept of dissent: chain, code, words, time."""
        return self._state.evidence

    @property
    def alarms(self) -> Sequence[RaisedAlarm]:
        """Every alarm that was told, in order."""
        return self._state.people.told

    @property
    def burns(self) -> Sequence[BurnFinal]:
        """Every burn that was booked."""
        return list(self._state.burns.values())

    @property
    def entries(self) -> Sequence[Posted]:
        """Every posted entry."""
        return list(self._state.entries.values())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[GuardReads]:
        """A look at the committed state."""
        yield _Unit(self._state, self.identity)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[GuardUnit]:
        """A unit of work on a copy; raises Fatal FENCED while `fenced`."""
        async with self._writer:
            unit = _Unit(self._state.fork(), self.identity)
            yield unit
            unit.unlinked.check()
            if self.fenced:
                raise Fatal("FENCED", "another process of this guard writes now")
            self._state = unit.state
        if self._publish is not None:
            for ruling, at_ms in unit.published:
                self._publish(ruling, at_ms)


class _Unit(PaperMemory, PeopleMemory):
    """One transaction over a state."""

    def __init__(self, state: _State, identity: str) -> None:
        self.state = state
        self.unlinked = Unlinked()
        self.papers = state.papers
        self.people = state.people
        self._identity = identity
        self.published: list[tuple[Ruling, int]] = []

    async def identity(self) -> str:
        return self._identity

    async def origin(self) -> Origin | None:
        return self.state.origins[-1] if self.state.origins else None

    async def scans(self) -> Mapping[Domain, Scan]:
        return self.state.scans

    async def known_observations(self, ids: Collection[ObservationId]) -> set[ObservationId]:
        return {one for one in ids if one in self.state.observations}

    async def known_burns(self, ids: Collection[TransferId]) -> set[TransferId]:
        end_to_end(ids)
        return {one for one in ids if one in self.state.burns}

    async def burns(self, ids: Collection[TransferId]) -> Mapping[TransferId, BurnFinal]:
        end_to_end(ids)
        return _pick(self.state.burns, ids)

    async def burns_of(self, keys: Collection[ExecutionKey]) -> Mapping[ExecutionKey, BurnFinal]:
        return _pick(self.state.by_key, keys)

    async def burns_refunded_by(
        self, keys: Collection[ExecutionKey]
    ) -> Mapping[ExecutionKey, BurnFinal]:
        return _pick(self.state.by_refund, keys)

    async def executions(self, keys: Collection[ExecutionKey]) -> Mapping[ExecutionKey, Executed]:
        return _pick(self.state.executions, keys)

    async def unmatched(
        self, source: Domain | None = None, asset: AssetId | None = None
    ) -> Sequence[Executed]:
        return [
            one
            for one in self.state.executions.values()
            if not one.matched
            and source in (None, one.fact.source)
            and asset in (None, one.fact.asset)
        ]

    async def unexplained(
        self, assets: Collection[AssetId]
    ) -> Mapping[tuple[AssetId, Domain], int]:
        found: dict[tuple[AssetId, Domain], int] = {}
        for fact in (one.fact for one in await self.unmatched()):
            if isinstance(fact, ReleaseFinal) and fact.asset in assets:
                place = fact.asset, fact.source
                found[place] = found.get(place, 0) + fact.amount
        return found

    async def balances(self, assets: Collection[AssetId]) -> dict[tuple[AssetId, Account], int]:
        return {key: value for key, value in self.state.balances.items() if key[0] in assets}

    async def known_entries(self, ids: Collection[EntryId]) -> set[EntryId]:
        return {one for one in ids if one in self.state.entries}

    async def supply_at(
        self, chain: Domain, number: int, assets: Collection[AssetId]
    ) -> Mapping[AssetId, int]:
        found = {}
        for asset in assets:
            steps = self.state.steps.get((chain, asset), {})
            last = max((block for block in steps if block <= number), default=None)
            if last is not None:
                found[asset] = steps[last]
        return found

    async def burned_above(
        self, places: Mapping[tuple[AssetId, Domain], int]
    ) -> Mapping[tuple[AssetId, Domain], int]:
        found = {}
        for (asset, chain), number in places.items():
            burned = self.state.burned.get((chain, asset), {})
            found[asset, chain] = sum(shares for block, shares in burned.items() if block > number)
        return {place: shares for place, shares in found.items() if shares}

    async def claims(self, ids: Collection[TransferId]) -> Mapping[TransferId, ClaimRecord]:
        end_to_end(ids)
        return _pick(self.state.claims, ids)

    async def issues(
        self, numbers: Collection[tuple[AssetId, int]]
    ) -> Mapping[tuple[AssetId, int], IssueRecord]:
        return _pick(self.state.issues, numbers)

    async def issues_expired(self, destination: Domain, time: int) -> Sequence[IssueRecord]:
        return [
            one
            for one in self.state.issues.values()
            if one.destination is destination
            and one.state in (OrderState.OPEN, OrderState.RESERVED)
            and one.expiry < time
        ]

    async def reserved_through(self, assets: Collection[AssetId]) -> Mapping[AssetId, int]:
        return _pick(self.state.reserved, assets)

    async def attestations(
        self, assets: Collection[AssetId]
    ) -> Mapping[AssetId, AttestationRecord]:
        return _pick(self.state.attestations, assets)

    async def halts(self) -> Sequence[Halt]:
        return sorted(self.state.halts.values(), key=lambda halt: (halt.at_ms, halt.id))

    async def permit(self, digest: bytes) -> Permit | None:
        return self.state.permits.get(digest)

    async def readings(self, assets: Collection[AssetId] | None = None) -> Sequence[BelievedSupply]:
        return [
            one
            for (_, asset), one in self.state.readings.items()
            if assets is None or asset in assets
        ]

    async def moved_outside(self) -> Mapping[Domain, int]:
        moved: dict[Domain, int] = {}
        for one in self.state.observations.values():
            if isinstance(one, SupplyMoved):
                block = one.place.block
                moved[block.chain] = max(block.number, moved.get(block.chain, 0))
        return moved

    async def buckets(self, keys: Collection[BucketKey]) -> Mapping[BucketKey, Bucket]:
        return _pick(self.state.buckets, keys)

    async def waiting(
        self, keys: Collection[BucketKey], asked_since_ms: int, limit: int
    ) -> Mapping[BucketKey, tuple[TransferId, ...]]:
        live = sorted(
            (one.since, one.transfer_id, one)
            for one in self.state.waiters.values()
            if one.asked_ms >= asked_since_ms and one.key not in self.state.executions
        )
        queues = {
            key: tuple(i for _, i, one in live if _waits_for(one, key))[:limit] for key in keys
        }
        return {key: queue for key, queue in queues.items() if queue}

    async def parked(self, after: TransferId | None, limit: int) -> Sequence[ClaimRecord]:
        found = sorted(
            (key, record)
            for key, record in self.state.claims.items()
            if record.ruling.outcome is Outcome.PARKED and key > (after or b"")
        )
        return [record for _, record in found[:limit]]

    async def journal_head(self) -> JournalHead:
        return self.state.links[-1][0] if self.state.links else FIRST_LINK

    async def journal_after(self, sequence: int, limit: int) -> Sequence[JournalLink]:
        links = self.state.links[sequence : sequence + limit]
        before = [FIRST_LINK, *(head for head, _, _ in self.state.links)][sequence:]
        return [
            JournalLink(head.sequence, last.digest, head.digest, head.at_ms, lines)
            for last, (head, _, lines) in zip(before, links, strict=False)
        ]

    async def link_at(self, at_ms: int) -> JournalHead:
        found = [head for head, _, _ in self.state.links if head.at_ms <= at_ms]
        return found[-1] if found else FIRST_LINK

    async def ledger_at(self, assets: Collection[AssetId], sequence: int) -> LedgerAt:
        balances: dict[tuple[AssetId, Account], int] = {}
        through: dict[Domain, BlockRef] = {}
        attested: dict[AssetId, AttestationRecord] = {}
        for moved in self.state.moved[:sequence]:
            balances.update({k: v for k, v in moved.balances.items() if k[0] in assets})
            through.update(moved.through)
            attested.update({k: v for k, v in moved.attested.items() if k in assets})
        return LedgerAt(balances, through, attested)

    async def balances_off(self) -> Sequence[str]:
        assets = {asset for asset, _ in self.state.balances}
        last = await self.ledger_at(assets, len(self.state.moved))
        return _differences(self.state.balances, last.balances)

    async def entries_off(self) -> Sequence[str]:
        summed = movements([one.entry for one in self.state.entries.values()])
        return _differences(self.state.balances, summed)

    async def entries_after(
        self, kinds: Collection[EntryKind], after: EntryId, limit: int
    ) -> Sequence[Entry]:
        found = [
            one.entry
            for key, one in sorted(self.state.entries.items())
            if key > after and one.entry.kind in kinds
        ]
        return found[:limit]

    async def open_redemptions(self, after: TransferId | None, limit: int) -> Sequence[BurnFinal]:
        found = sorted(
            (key, burn)
            for key, burn in self.state.burns.items()
            if burn.message.destination is Domain.CUSTODY
            and key not in self.papers.redemptions
            and key > (after or b"")
        )
        return [burn for _, burn in found[:limit]]

    async def add_origin(self, origin: Origin, at_ms: int) -> None:
        del at_ms
        self.state.origins.append(origin)

    async def save_scan(self, scan: Scan) -> None:
        self.state.scans[scan.chain] = scan
        if scan.through is not None:
            self.unlinked.through[scan.chain] = scan.through

    async def add_observations(self, observations: Mapping[ObservationId, Observation]) -> None:
        self.state.observations.update(observations)
        for one in observations.values():
            if isinstance(one, BurnFinal):
                self.state.burns.setdefault(one.transfer_id, one)
                self.state.by_key.setdefault(key_of(one.message), one)
                self.state.by_refund.setdefault(refund_key(one), one)
        self.add_orphans([one for one in observations.values() if isinstance(one, OrphanBurn)])

    async def add_executions(self, executions: Sequence[Executed]) -> None:
        self.state.executions.update({one.key: one for one in executions})

    async def mark_matched(self, keys: Collection[ExecutionKey]) -> None:
        for key in keys:
            self.state.executions[key] = replace(self.state.executions[key], matched=True)

    async def post(self, posted: Sequence[Posted], steps: Sequence[SupplyStep]) -> None:
        self.state.entries.update({one.entry.id: one for one in posted})
        self._move([one.entry for one in posted])
        for step in steps:
            place = (step.chain, step.asset)
            self.state.steps.setdefault(place, {})[step.number] = step.supply
            burned = self.state.burned.setdefault(place, {})
            burned[step.number] = burned.get(step.number, 0) + step.burned

    def _move(self, entries: Sequence[Entry]) -> None:
        for account, change in movements(entries).items():
            self.state.balances[account] = self.state.balances.get(account, 0) + change
            self.unlinked.balances[account] = self.state.balances[account]
        self.unlinked.entries.extend(entries)

    async def reserve_issuance(self, entry: Entry, limit: int) -> bool:
        exposure = -self.state.balances.get((entry.asset, CUSTODY), 0)
        if exposure + entry.amount > limit:
            return False
        self.state.entries[entry.id] = Posted(entry, None)
        self._move([entry])
        return True

    async def save_claims(self, claims: Sequence[ClaimRecord]) -> None:
        self.state.claims.update({one.ruling.transfer_id: one for one in claims})

    async def save_issues(self, issues: Sequence[IssueRecord]) -> None:
        # SECURITY: a held order must not take the place of the one granted under its number.
        for one in issues:
            known = self.state.issues.get((one.asset, one.number))
            if known is None or _rises(known.state, one.state):
                self.state.issues[one.asset, one.number] = one

    async def save_reserved_through(self, numbers: Mapping[AssetId, int]) -> None:
        self.state.reserved.update(numbers)

    async def add_attestation(self, record: AttestationRecord) -> None:
        self.state.attestations[record.attestation.asset] = record
        self.unlinked.attested[record.attestation.asset] = record.attestation.sequence

    async def add_halt(self, halt: Halt) -> None:
        self.state.halts[halt.id] = halt

    async def add_approval(self, halt_id: str, identity: str, reason: str, at_ms: int) -> None:
        del reason, at_ms
        known = self.state.halts[halt_id]
        self.state.halts[halt_id] = replace(known, approvals=(*known.approvals, identity))

    async def clear_halt(self, halt_id: str, at_ms: int) -> None:
        del at_ms
        del self.state.halts[halt_id]

    async def add_permit(self, permit: Permit) -> None:
        self.state.permits[permit.digest] = permit

    async def save_readings(self, readings: Sequence[BelievedSupply]) -> None:
        self.state.readings.update({(one.chain, one.supply.asset): one for one in readings})

    async def save_buckets(self, buckets: Mapping[BucketKey, Bucket]) -> None:
        self.state.buckets.update(buckets)

    async def save_waiting(
        self, waiters: Sequence[Waiter], gone: Collection[TransferId], asked_since_ms: int
    ) -> None:
        for one in waiters:
            known = self.state.waiters.get(one.transfer_id, one)
            self.state.waiters[one.transfer_id] = replace(one, since=known.since)
        self.state.waiters = {
            key: one
            for key, one in self.state.waiters.items()
            if key not in gone and one.asked_ms >= asked_since_ms
        }

    async def add_evidence(self, chain: Domain, code: str, detail: str, at_ms: int) -> None:
        self.state.evidence.append((chain, code, detail, at_ms))

    async def journal(self, lines: Sequence[str], at_ms: int) -> JournalHead:
        before = await self.journal_head()
        every = self.unlinked.lines(lines)
        if not every:
            return before
        head = next_link(before, every, at_ms)
        self.state.links.append((head, at_ms, tuple(every)))
        said = {asset: self.state.attestations[asset] for asset in self.unlinked.attested}
        moved = LedgerAt(dict(self.unlinked.balances), dict(self.unlinked.through), said)
        self.state.moved.append(moved)
        self.unlinked.clear()
        return head

    async def publish(self, rulings: Sequence[Ruling], at_ms: int) -> None:
        self.published.extend((ruling, at_ms) for ruling in rulings)


def _differences(
    held: Mapping[tuple[AssetId, Account], int], said: Mapping[tuple[AssetId, Account], int]
) -> list[str]:
    return [
        f"{asset.hex()} {account.text} holds {held.get((asset, account), 0)}, its books say "
        f"{said.get((asset, account), 0)}"
        for asset, account in sorted(held.keys() | said.keys(), key=lambda k: (k[0], k[1].text))
        if held.get((asset, account), 0) != said.get((asset, account), 0)
    ]


def _rises(known: OrderState, new: OrderState) -> bool:
    return ORDER_STATES_RISING.index(new) > ORDER_STATES_RISING.index(known)


def _waits_for(waiter: Waiter, key: BucketKey) -> bool:
    same = (waiter.asset, waiter.key.destination) == (key.asset, key.destination)
    return same and key.source in (None, waiter.key.source)


def _pick(known: Mapping[K, V], keys: Collection[K]) -> dict[K, V]:
    return {key: known[key] for key in keys if key in known}

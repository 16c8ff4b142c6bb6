"""What a supply-guard needs from the world, as protocols: its memory, its keys, its ears.

The memory is a unit of work: everything a handler decides commits together or not at all, under
the one writer's fence. Every method takes and gives whole sets; no step costs a round trip per
item. `adapters/memory.py` and `adapters/postgres.py` pass the same suite.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from xstock_core.bucket import Bucket, BucketKey
from xstock_core.ids import Address32, AssetId, Domain, TransferId
from xstock_core.ledger import Account, Entry, EntryId, EntryKind
from xstock_core.observation import BlockRef, BurnFinal, Observation, ObservationId, OrphanBurn
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_supply_guard.model import (
    Alarm,
    AttestationRecord,
    BelievedSupply,
    ClaimRecord,
    CorporateAction,
    Executed,
    FeedAnswer,
    Halt,
    IssueRecord,
    JournalHead,
    JournalLink,
    LedgerAt,
    Limits,
    OpeningRecord,
    Origin,
    PaperSignature,
    Pause,
    Permit,
    Posted,
    Proposal,
    ProposalKind,
    RaisedAlarm,
    RedemptionRecord,
    RedemptionState,
    Ruling,
    Scan,
    Screened,
    SupplyStep,
    Waiter,
)


class GuardReads(Protocol):
    """What may be asked inside one transaction."""

    async def identity(self) -> str:
        """What tells this database from any other and from itself restored, as it is now."""
        ...

    async def origin(self) -> Origin | None:
        """The origin noted last; None in a new database."""
        ...

    async def scans(self) -> Mapping[Domain, Scan]:
        """How far each chain is booked; a chain never scanned is absent."""
        ...

    async def known_observations(self, ids: Collection[ObservationId]) -> set[ObservationId]:
        """Those of `ids` that were booked before."""
        ...

    async def known_burns(self, ids: Collection[TransferId]) -> set[TransferId]:
        """Those of `ids` whose burn is booked."""
        ...

    async def burns(self, ids: Collection[TransferId]) -> Mapping[TransferId, BurnFinal]:
        """Final burns by transfer id."""
        ...

    async def burns_of(self, keys: Collection[ExecutionKey]) -> Mapping[ExecutionKey, BurnFinal]:
        """Final burns by what their release will be keyed by."""
        ...

    async def burns_refunded_by(
        self, keys: Collection[ExecutionKey]
    ) -> Mapping[ExecutionKey, BurnFinal]:
        """Final burns by what their *refund* will be keyed by."""
        ...

    async def executions(self, keys: Collection[ExecutionKey]) -> Mapping[ExecutionKey, Executed]:
        """What destinations did with these keys."""
        ...

    async def unmatched(
        self, source: Domain | None = None, asset: AssetId | None = None
    ) -> Sequence[Executed]:
        """Releases that no known burn, order or refund justifies yet: the oldest thousand of this
        source and asset, where one is given."""
        ...

    async def unexplained(
        self, assets: Collection[AssetId]
    ) -> Mapping[tuple[AssetId, Domain], int]:
        """Shares of all such releases, however many, by asset and the chain they came from."""
        ...

    async def balances(self, assets: Collection[AssetId]) -> dict[tuple[AssetId, Account], int]:
        """The ledger's balances of these assets."""
        ...

    async def known_entries(self, ids: Collection[EntryId]) -> set[EntryId]:
        """Those of `ids` that are posted."""
        ...

    async def supply_at(
        self, chain: Domain, number: int, assets: Collection[AssetId]
    ) -> Mapping[AssetId, int]:
        """The ledger's supply at the end of that block; an asset without entries is absent."""
        ...

    async def burned_above(
        self, places: Mapping[tuple[AssetId, Domain], int]
    ) -> Mapping[tuple[AssetId, Domain], int]:
        """Shares burned on each of these chains in blocks above the given one; absent: none."""
        ...

    async def claims(self, ids: Collection[TransferId]) -> Mapping[TransferId, ClaimRecord]:
        """Claims with their standing rulings."""
        ...

    async def issues(
        self, numbers: Collection[tuple[AssetId, int]]
    ) -> Mapping[tuple[AssetId, int], IssueRecord]:
        """Issuance orders by asset and number."""
        ...

    async def issues_expired(self, destination: Domain, time: int) -> Sequence[IssueRecord]:
        """Orders to `destination`, open or reserved, whose expiry lies before `time`."""
        ...

    async def reserved_through(self, assets: Collection[AssetId]) -> Mapping[AssetId, int]:
        """Per asset: every order up to this number is reserved or closed; absent means 0."""
        ...

    async def attestations(
        self, assets: Collection[AssetId]
    ) -> Mapping[AssetId, AttestationRecord]:
        """The attestation in force of each asset."""
        ...

    async def halts(self) -> Sequence[Halt]:
        """The halts in force, oldest first."""
        ...

    async def permit(self, digest: bytes) -> Permit | None:
        """The permit that was given for this digest."""
        ...

    async def readings(self, assets: Collection[AssetId] | None = None) -> Sequence[BelievedSupply]:
        """The latest believed reading of each chain and asset; None means every asset."""
        ...

    async def moved_outside(self) -> Mapping[Domain, int]:
        """Per chain: the last block in which supply moved outside the bridge; absent: never."""
        ...

    async def buckets(self, keys: Collection[BucketKey]) -> Mapping[BucketKey, Bucket]:
        """The buckets that were taken from before."""
        ...

    async def waiting(
        self, keys: Collection[BucketKey], asked_since_ms: int, limit: int
    ) -> Mapping[BucketKey, tuple[TransferId, ...]]:
        """The first `limit` claims that wait for each bucket, oldest first.

        Without those that were executed, or not claimed again since `asked_since_ms`.
        """
        ...

    async def parked(self, after: TransferId | None, limit: int) -> Sequence[ClaimRecord]:
        """Claims whose standing ruling is PARKED, by transfer id."""
        ...

    async def journal_head(self) -> JournalHead:
        """The journal's last link."""
        ...

    async def journal_after(self, sequence: int, limit: int) -> Sequence[JournalLink]:
        """The links that follow `sequence`, in order, at most `limit`."""
        ...

    async def link_at(self, at_ms: int) -> JournalHead:
        """The last link that was written no later than `at_ms`; FIRST_LINK before any."""
        ...

    async def ledger_at(self, assets: Collection[AssetId], sequence: int) -> LedgerAt:
        """The ledger of these assets after the link with this sequence."""
        ...

    async def balances_off(self) -> Sequence[str]:
        """Accounts that hold something else than their last journaled balance, in words."""
        ...

    async def entries_off(self) -> Sequence[str]:
        """Accounts that hold something else than the sum of their entries, in words.

        Reads every entry: for the start of a process, not for every request.
        """
        ...

    async def entries_after(
        self, kinds: Collection[EntryKind], after: EntryId, limit: int
    ) -> Sequence[Entry]:
        """Entries of these kinds with ids beyond `after`, rising, at most `limit`."""
        ...

    async def proposal(self, proposal_id: str) -> Proposal | None:
        """A proposal by its id, executed or not."""
        ...

    async def proposals(self, since_ms: int, limit: int) -> Sequence[Proposal]:
        """Proposals not executed, and those made after `since_ms`; newest first."""
        ...

    async def decisions(
        self, kind: ProposalKind, subjects: Collection[bytes]
    ) -> Sequence[Proposal]:
        """The executed proposals of this kind about these subjects, oldest first."""
        ...

    async def approved(self, kind: ProposalKind, subjects: Collection[bytes]) -> set[bytes]:
        """Those of `subjects` with an executed proposal of this kind."""
        ...

    async def pause(self, pause_id: str) -> Pause | None:
        """A pause by its id, in force or not."""
        ...

    async def pauses(self, now: int) -> Sequence[Pause]:
        """The pauses in force at `now` (Unix seconds), oldest first."""
        ...

    async def limits(self) -> Mapping[AssetId | None, Limits]:
        """Limits set at run time; None means every asset without limits of its own here."""
        ...

    async def corporate_actions(
        self, assets: Collection[AssetId]
    ) -> Mapping[AssetId, tuple[CorporateAction, ...]]:
        """The newest version of every event of these assets, by activation."""
        ...

    async def high_water(self, names: Collection[str]) -> Mapping[str, int]:
        """Figures that only rise, by name; one that was never raised is absent."""
        ...

    async def orphans(self, nonces: Collection[bytes]) -> Mapping[bytes, OrphanBurn]:
        """Orphan burns by their own nonce."""
        ...

    async def orphans_refunded_by(self, nonces: Collection[bytes]) -> Mapping[bytes, OrphanBurn]:
        """Orphan burns by the nonce that their *refund* will have."""
        ...

    async def alarms(self) -> Sequence[RaisedAlarm]:
        """The alarms that stand, oldest first."""
        ...

    async def paper_signatures(self, kind: str, subject: bytes) -> Sequence[PaperSignature]:
        """Every signature of papers of this subject, by key id."""
        ...

    async def redemptions(
        self, ids: Collection[TransferId]
    ) -> Mapping[TransferId, RedemptionState]:
        """How custody closed these redemptions; an absent one is open."""
        ...

    async def redemption_records(
        self, ids: Collection[TransferId]
    ) -> Mapping[TransferId, RedemptionRecord]:
        """Custody's last words on these redemptions."""
        ...

    async def open_redemptions(self, after: TransferId | None, limit: int) -> Sequence[BurnFinal]:
        """Booked redemptions that custody has neither paid nor rejected, by transfer id."""
        ...

    async def opened(self, assets: Collection[AssetId]) -> Mapping[AssetId, OpeningRecord]:
        """How these assets were taken over; one that needed no opening is absent."""
        ...

    async def uncovered(self, assets: Collection[AssetId]) -> Mapping[AssetId, int]:
        """Since when (Unix milliseconds) the exposure of these assets is above their cap."""
        ...


class GuardUnit(GuardReads, Protocol):
    """One transaction of the one writer; commits when its block ends, rolls back on a raise."""

    async def add_origin(self, origin: Origin, at_ms: int) -> None:
        """Note the origin; it is in force from now on, the earlier ones stay as history."""
        ...

    async def save_scan(self, scan: Scan) -> None:
        """Where the chain's cursor stands now."""
        ...

    async def add_observations(self, observations: Mapping[ObservationId, Observation]) -> None:
        """Book what was observed, each under its content-derived id; none of them was known."""
        ...

    async def add_executions(self, executions: Sequence[Executed]) -> None:
        """Book executions; none of their keys was known."""
        ...

    async def mark_matched(self, keys: Collection[ExecutionKey]) -> None:
        """A justification of these executions was found."""
        ...

    async def post(self, posted: Sequence[Posted], steps: Sequence[SupplyStep]) -> None:
        """Append entries that are new, and move the balances by them. Facts always post."""
        ...

    async def reserve_issuance(self, entry: Entry, limit: int) -> bool:
        """Append an ISSUE_RESERVE only if exposure + amount <= limit, in one step; else False."""
        ...

    async def save_claims(self, claims: Sequence[ClaimRecord]) -> None:
        """Keep claims with their rulings, over older ones of the same transfer."""
        ...

    async def save_issues(self, issues: Sequence[IssueRecord]) -> None:
        """Keep orders, each number once; a record of the same or a later state stays.

        The order of the states is `ORDER_STATES_RISING`.
        """
        ...

    async def save_reserved_through(self, numbers: Mapping[AssetId, int]) -> None:
        """Move the issuance sequences."""
        ...

    async def add_attestation(self, record: AttestationRecord) -> None:
        """Append an attestation; it is in force from now on."""
        ...

    async def add_halt(self, halt: Halt) -> None:
        """Latch a halt."""
        ...

    async def add_approval(self, halt_id: str, identity: str, reason: str, at_ms: int) -> None:
        """Somebody approves the clearing of a halt."""
        ...

    async def clear_halt(self, halt_id: str, at_ms: int) -> None:
        """The halt is over; its history stays."""
        ...

    async def add_permit(self, permit: Permit) -> None:
        """Remember a signature before it leaves."""
        ...

    async def save_readings(self, readings: Sequence[BelievedSupply]) -> None:
        """Keep believed readings, over older ones of the same chain and asset."""
        ...

    async def save_buckets(self, buckets: Mapping[BucketKey, Bucket]) -> None:
        """Keep bucket levels."""
        ...

    async def save_waiting(
        self, waiters: Sequence[Waiter], gone: Collection[TransferId], asked_since_ms: int
    ) -> None:
        """Keep who waits (the first `since` stays), forget `gone` and what is older."""
        ...

    async def add_evidence(self, chain: Domain, code: str, detail: str, at_ms: int) -> None:
        """Keep what was seen of a dissent or a broken promise."""
        ...

    async def journal(self, lines: Sequence[str], at_ms: int) -> JournalHead:
        """Append one link over these lines; the group's decisions hang on it.

        What this unit has posted comes first, in full, with how far it has booked a chain; a unit
        that ends with a posting outside the journal raises Fatal JOURNAL_INCOMPLETE. Without any
        line there is no link.
        """
        ...

    async def add_proposal(self, proposal: Proposal) -> None:
        """Keep a new proposal; its approvals are added one by one."""
        ...

    async def approve_proposal(
        self, proposal_id: str, identity: str, reason: str, at_ms: int
    ) -> None:
        """Somebody says yes."""
        ...

    async def execute_proposal(self, proposal_id: str, at_ms: int) -> None:
        """It is done; its subject counts as approved from now on."""
        ...

    async def add_pause(self, pause: Pause) -> None:
        """Pause from now on."""
        ...

    async def lift_pause(self, pause_id: str, at_ms: int) -> None:
        """The pause is over; its history stays."""
        ...

    async def save_limits(self, asset: AssetId | None, limits: Limits, at_ms: int) -> None:
        """Limits of an asset from now on; None means every asset without limits of its own."""
        ...

    async def add_corporate_action(self, action: CorporateAction) -> None:
        """Append an announcement."""
        ...

    async def raise_high_water(self, name: str, value: int) -> None:
        """The figure is at least `value` from now on."""
        ...

    async def alarm(self, alarms: Sequence[Alarm], at_ms: int) -> None:
        """Tell people, once this transaction has committed; what stands already is not told."""
        ...

    async def calm(self, code: str, scopes: Collection[str], about: str | None = None) -> None:
        """What these alarms were about is over; the next one is told again. None: any `about`."""
        ...

    async def add_paper_signatures(self, signatures: Sequence[PaperSignature]) -> None:
        """Append signatures; none of these keys has signed a paper of the subject before."""
        ...

    async def add_redemptions(self, records: Sequence[RedemptionRecord]) -> None:
        """Append custody's last words; none of these redemptions was closed before."""
        ...

    async def add_opening(self, record: OpeningRecord) -> None:
        """Append an opening; the asset has none."""
        ...

    async def mark_uncovered(self, assets: Collection[AssetId], at_ms: int) -> None:
        """These are above their cap from now on; an earlier mark stays."""
        ...

    async def clear_uncovered(self, assets: Collection[AssetId]) -> None:
        """These are within their cap again."""
        ...

    async def publish(self, rulings: Sequence[Ruling], at_ms: int) -> None:
        """Tell the world, once this transaction has committed (the outbox)."""
        ...


class GuardStore(Protocol):
    """The guard's own memory."""

    def read(self) -> AbstractAsyncContextManager[GuardReads]:
        """A look; nothing is written."""
        ...

    def write(self) -> AbstractAsyncContextManager[GuardUnit]:
        """A unit of work of the one writer. Raises Fatal FENCED if another one writes now."""
        ...


class SignatureCheck(Protocol):
    """Whether a paper's signature is by a public key; never raises on garbage."""

    def __call__(self, public_key: bytes, digest: bytes, signature: bytes) -> bool:
        """True only for a valid signature."""
        ...


class ScreeningProvider(Protocol):
    """Who must not receive or send."""

    async def listed(self, addresses: Collection[Address32]) -> Screened:
        """Those of `addresses` that are listed, with the reason. Raises Transient when nothing can
        be said: no list, an expired one, or one that a stranger signed."""
        ...


class EpochReader(Protocol):
    """A destination's guard set, as this guard's own providers show it."""

    async def guard_epoch(self) -> int:
        """The epoch that the destination accepts now. Raises Transient."""
        ...

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """Raise InvalidMessage for terms that no permit may have, Transient for unknown ones."""
        ...


class ReservesSource(Protocol):
    """The issuer's proof-of-reserves feed."""

    async def ask(self, symbol: str) -> FeedAnswer:
        """Its document of a symbol. Raises Transient FEED_UNREACHABLE, InvalidMessage."""
        ...


class HeadReader(Protocol):
    """A chain's final head."""

    async def finalized_head(self) -> BlockRef:
        """The final head by this chain's rule."""
        ...

"""What a supply-guard needs from the world, as protocols: its memory, its keys, its ears.

The memory is a unit of work: everything a handler decides commits together or not at all, under
the one writer's fence. Every method takes and gives whole sets; no step costs a round trip per
item. `adapters/memory.py` and `adapters/postgres.py` pass the same suite.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from xstock_core.bucket import Bucket, BucketKey
from xstock_core.ids import AssetId, Domain, TransferId
from xstock_core.ledger import Account, Entry, EntryId
from xstock_core.observation import BlockRef, BurnFinal, Observation, ObservationId
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_supply_guard.model import (
    AttestationRecord,
    BelievedSupply,
    ClaimRecord,
    Executed,
    Halt,
    IssueRecord,
    JournalHead,
    Origin,
    Permit,
    Posted,
    Ruling,
    Scan,
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

    async def unmatched(self) -> Sequence[Executed]:
        """Releases that no known burn, order or refund justifies yet."""
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


class GuardUnit(GuardReads, Protocol):
    """One transaction of the one writer; commits when its block ends, rolls back on a raise."""

    async def add_origin(self, origin: Origin, at_ms: int) -> None:
        """Note the origin; it is in force from now on, the earlier ones stay as history."""
        ...

    async def save_scan(self, scan: Scan) -> None:
        """Where the chain's cursor stands now."""
        ...

    async def add_observations(self, observations: Sequence[Observation]) -> None:
        """Book what was observed; none of them was known."""
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

    async def reserve_issuance(self, entry: Entry, cap: int) -> bool:
        """Append an ISSUE_RESERVE only if exposure + amount <= cap, in one step; False if not."""
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
        """Append one link over these lines; the group's decisions hang on it."""
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


class EpochReader(Protocol):
    """A destination's guard set, as this guard's own providers show it."""

    async def guard_epoch(self) -> int:
        """The epoch that the destination accepts now. Raises Transient."""
        ...

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """Raise InvalidMessage for terms that no permit may have, Transient for unknown ones."""
        ...


class HeadReader(Protocol):
    """A chain's final head."""

    async def finalized_head(self) -> BlockRef:
        """The final head by this chain's rule."""
        ...

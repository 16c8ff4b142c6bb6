"""The guard's tables. Append-only ones are named, so that the runtime role gets no more there."""

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Index, LargeBinary, Numeric, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

APPEND_ONLY = (
    "observation",
    "burn",
    "ledger_entry",
    "attestation",
    "permit",
    "journal",
    "evidence",
    "origin",
    "halt_approval",
    "paper_signature",
    "redemption",
    "opening",
    "proposal_approval",
    "corporate_action",
    "orphan",
    "journal_balance",
    "journal_through",
    "journal_attested",
)
"""The runtime role may INSERT and SELECT here, and nothing else."""


def _bytes(*, key: bool = False, null: bool = False) -> Any:
    return Field(sa_column=Column(LargeBinary, primary_key=key, nullable=null))


def _big(*, key: bool = False, null: bool = False) -> Any:
    column: Column[int] = Column(BigInteger, primary_key=key, nullable=null, autoincrement=False)
    return Field(sa_column=column)


def _number(digits: int = 40, *, null: bool = False, added: bool = False) -> Any:
    """`added` by a later migration: rows from before it hold 0."""
    default = text("0") if added else None
    return Field(sa_column=Column(Numeric(digits, 0), nullable=null, server_default=default))


class GuardTable(SQLModel, registry=registry()):
    """The base of this service's tables: names are its own, whoever else is imported."""


class ScanRow(GuardTable, table=True):
    """How far one chain is booked."""

    __tablename__ = "scan"
    chain: int = _big(key=True)
    cursor: str
    through_number: int | None = _big(null=True)
    through_hash: bytes | None = _bytes(null=True)
    through_time: int | None = _big(null=True)
    head_number: int | None = _big(null=True)
    head_hash: bytes | None = _bytes(null=True)
    head_time: int | None = _big(null=True)
    dissent_since_ms: int | None = _big(null=True)


class ObservationRow(GuardTable, table=True):
    """Every observation that was booked, by its content's id; the record says the rest."""

    __tablename__ = "observation"
    id: bytes = _bytes(key=True)
    kind: str
    chain: int
    block_number: int = _big()
    record: bytes = _bytes()


class BurnRow(GuardTable, table=True):
    """A final burn, ready to be compared with a claim."""

    __tablename__ = "burn"
    __table_args__ = (
        Index("burn_key", "nonce", "source", "destination"),
        Index("burn_refund", "refund_nonce", "source", "destination"),
    )
    transfer_id: bytes = _bytes(key=True)
    message: bytes = _bytes()
    source: int
    destination: int
    nonce: bytes = _bytes()
    refund_nonce: bytes = _bytes()
    sender: bytes = _bytes()
    counter: Decimal = _number(20)
    block_number: int = _big()
    block_hash: bytes = _bytes()
    block_time: int = _big()
    tx: bytes = _bytes()
    place: int


class ExecutionRow(GuardTable, table=True):
    """What a destination did with a key; `amount` and `recipient` are of a release."""

    __tablename__ = "execution"
    __table_args__ = (Index("execution_unmatched", "source", postgresql_where=text("NOT matched")),)
    nonce: bytes = _bytes(key=True)
    source: int = Field(primary_key=True)
    destination: int = Field(primary_key=True)
    released: bool
    asset: bytes = _bytes()
    recipient: bytes = _bytes()
    amount: Decimal = _number(20)
    block_number: int = _big()
    block_hash: bytes = _bytes()
    block_time: int = _big()
    tx: bytes = _bytes()
    place: int
    recorded_ms: int = _big()
    matched: bool


class EntryRow(GuardTable, table=True):
    """A ledger entry; `chain` and `block_number` are of the fact behind it, if there is one."""

    __tablename__ = "ledger_entry"
    id: bytes = _bytes(key=True)
    asset: bytes = _bytes()
    debit: str
    credit: str
    amount: Decimal = _number(20)
    kind: str
    ref: bytes = _bytes()
    chain: int | None = None
    block_number: int | None = _big(null=True)


class BalanceRow(GuardTable, table=True):
    """What an account holds; CUSTODY's is minus the exposure."""

    __tablename__ = "balance"
    __table_args__ = {"postgresql_with": {"fillfactor": "70"}}
    asset: bytes = _bytes(key=True)
    account: str = Field(primary_key=True)
    amount: Decimal = _number()


class SupplyStepRow(GuardTable, table=True):
    """The ledger's supply at the end of a block that moved it, and what was burned in it."""

    __tablename__ = "supply_step"
    chain: int = Field(primary_key=True)
    asset: bytes = _bytes(key=True)
    number: int = _big(key=True)
    supply: Decimal = _number()
    burned: Decimal = _number(added=True)


class ClaimRow(GuardTable, table=True):
    """A claim with its standing ruling; the journal keeps the earlier ones."""

    __tablename__ = "claim"
    __table_args__ = (
        Index("claim_parked", "transfer_id", postgresql_where=text("outcome = 'PARKED'")),
    )
    transfer_id: bytes = _bytes(key=True)
    message: bytes = _bytes()
    outcome: str
    reason: str
    until: int = _big()
    detail: str
    sequence: int = _big()
    at_ms: int = _big()
    expiry: int | None = _big(null=True)


class IssueRow(GuardTable, table=True):
    """One number of an asset's issuance sequence."""

    __tablename__ = "issue_order"
    __table_args__ = (
        Index(
            "issue_order_open",
            "destination",
            "expiry",
            postgresql_where=text("state IN ('OPEN', 'RESERVED')"),
        ),
    )
    asset: bytes = _bytes(key=True)
    number: Decimal = Field(sa_column=Column(Numeric(20, 0), primary_key=True))
    transfer_id: bytes | None = _bytes(null=True)
    state: str
    expiry: int = _big()
    message: bytes | None = _bytes(null=True)
    destination: int


class SequenceRow(GuardTable, table=True):
    """Every order up to `reserved_through` is reserved or closed."""

    __tablename__ = "issue_sequence"
    asset: bytes = _bytes(key=True)
    reserved_through: Decimal = _number(20)


class AttestationRow(GuardTable, table=True):
    """Custody's statements; the highest sequence of an asset is in force."""

    __tablename__ = "attestation"
    asset: bytes = _bytes(key=True)
    sequence: Decimal = Field(sa_column=Column(Numeric(20, 0), primary_key=True))
    held_units: Decimal = _number(20)
    held_decimals: int
    multiplier: Decimal = _number(60)
    multiplier_epoch: Decimal = _number(20)
    as_of: int = _big()
    paper: bytes = _bytes()
    digest: bytes = _bytes()
    key_id: str
    signature: bytes = _bytes()
    inventory: bytes = Field(
        sa_column=Column(LargeBinary, nullable=False, server_default=text("''::bytea"))
    )
    """The owners of the issuer's inventory: domain (4 bytes) and address (32) each."""


class HaltRow(GuardTable, table=True):
    """A latched halt; cleared ones stay as history."""

    __tablename__ = "halt"
    __table_args__ = (Index("halt_standing", "at_ms", postgresql_where=text("cleared_ms IS NULL")),)
    id: str = Field(primary_key=True)
    asset: bytes | None = _bytes(null=True)
    chain: int | None = None
    reason: str
    latched_by: str
    at_ms: int = _big()
    cleared_ms: int | None = _big(null=True)


class ApprovalRow(GuardTable, table=True):
    """Somebody's approval to clear a halt."""

    __tablename__ = "halt_approval"
    halt_id: str = Field(primary_key=True)
    identity: str = Field(primary_key=True)
    reason: str
    at_ms: int = _big()


class PermitRow(GuardTable, table=True):
    """A signature that was given; `items` is transfer id and action byte, 33 bytes each."""

    __tablename__ = "permit"
    digest: bytes = _bytes(key=True)
    destination: int
    epoch: int = _big()
    deadline: int = _big()
    items: bytes = _bytes()
    signature: bytes = _bytes()
    signer: bytes = _bytes()
    at_ms: int = _big()


class ReadingRow(GuardTable, table=True):
    """The latest believed supply reading of an asset on a chain."""

    __tablename__ = "reading"
    chain: int = Field(primary_key=True)
    asset: bytes = _bytes(key=True)
    block_number: int = _big()
    block_hash: bytes = _bytes()
    block_time: int = _big()
    token_units: Decimal = _number(80)
    inventory_units: Decimal = _number(80)
    decimals: int
    multiplier: Decimal = _number(60)
    multiplier_epoch: Decimal = _number(20)
    paused: bool
    ledger: Decimal = _number()
    residue_units: Decimal = _number(80)
    issuer_inventory_units: Decimal = _number(80, added=True)
    inventory_owners: bytes = Field(
        sa_column=Column(LargeBinary, nullable=False, server_default=text("''::bytea"))
    )
    """The owners that this is of, 32 bytes each: a registry that names others must not use it."""


class BucketRow(GuardTable, table=True):
    """A release bucket's level; `source` 0 is the asset's bucket on its destination."""

    __tablename__ = "bucket"
    asset: bytes = _bytes(key=True)
    destination: int = Field(primary_key=True)
    source: int = Field(primary_key=True)
    capacity: Decimal = _number(20)
    refill_per_second: Decimal = _number(20)
    level: Decimal = _number(20)
    as_of: int = _big()


class WaitingRow(GuardTable, table=True):
    """A claim that waits for its rate buckets, in the order of `since`."""

    __tablename__ = "waiting"
    __table_args__ = (Index("waiting_queue", "asset", "destination", "since"),)
    transfer_id: bytes = _bytes(key=True)
    asset: bytes = _bytes()
    destination: int
    source: int
    nonce: bytes = _bytes()
    since: int = _big()
    asked_ms: int = _big()


class JournalRow(GuardTable, table=True):
    """One link of the hash chain; `model.next_link` says what its digest binds."""

    __tablename__ = "journal"
    sequence: int = _big(key=True)
    previous: bytes = _bytes()
    digest: bytes = _bytes()
    at_ms: int = _big()
    lines: str


class EvidenceRow(GuardTable, table=True):
    """What was seen of a dissent or a broken promise."""

    __tablename__ = "evidence"
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    chain: int
    code: str
    detail: str
    at_ms: int = _big()


class OriginRow(GuardTable, table=True):
    """The databases that this guard's memory has lived in; the last one is in force."""

    __tablename__ = "origin"
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    identity: str
    signing_from: int = _big()
    at_ms: int = _big()


TABLES = (
    OriginRow,
    ScanRow,
    ObservationRow,
    BurnRow,
    ExecutionRow,
    EntryRow,
    BalanceRow,
    SupplyStepRow,
    ClaimRow,
    IssueRow,
    SequenceRow,
    AttestationRow,
    HaltRow,
    ApprovalRow,
    PermitRow,
    ReadingRow,
    BucketRow,
    WaitingRow,
    JournalRow,
    EvidenceRow,
)


class ProposalRow(GuardTable, table=True):
    """What somebody proposed; executed at most once."""

    __tablename__ = "proposal"
    __table_args__ = (
        Index("proposal_executed", "kind", "subject", postgresql_where=text("executed_ms > 0")),
        Index("proposal_open", "expires_ms", postgresql_where=text("executed_ms IS NULL")),
    )
    id: str = Field(primary_key=True)
    kind: str
    subject: bytes = _bytes()
    payload: bytes = _bytes()
    reason: str
    proposed_by: str
    at_ms: int = _big()
    expires_ms: int = _big()
    executed_ms: int | None = _big(null=True)


class ProposalApprovalRow(GuardTable, table=True):
    """Somebody's yes to a proposal."""

    __tablename__ = "proposal_approval"
    proposal_id: str = Field(primary_key=True)
    identity: str = Field(primary_key=True)
    reason: str
    at_ms: int = _big()


class PauseRow(GuardTable, table=True):
    """A pause; lifted ones and those whose time is over stay as history."""

    __tablename__ = "pause"
    __table_args__ = (Index("pause_standing", "until", postgresql_where=text("lifted_ms IS NULL")),)
    id: str = Field(primary_key=True)
    asset: bytes | None = _bytes(null=True)
    source: int | None = None
    destination: int | None = None
    reason: str
    paused_by: str
    at_ms: int = _big()
    until: int = _big()
    lifted_ms: int | None = _big(null=True)


class LimitsRow(GuardTable, table=True):
    """Limits that people set at run time; an asset of 32 zero bytes means all the others."""

    __tablename__ = "limits"
    asset: bytes = _bytes(key=True)
    bucket_shares: Decimal | None = _number(20, null=True)
    bucket_refill: Decimal | None = _number(20, null=True)
    delays: str
    manual_from: Decimal | None = _number(20, null=True)
    at_ms: int = _big()


class CorporateActionRow(GuardTable, table=True):
    """The issuer's announcements; the newest version of an event counts."""

    __tablename__ = "corporate_action"
    asset: bytes = _bytes(key=True)
    event_id: str = Field(primary_key=True)
    version: Decimal = Field(sa_column=Column(Numeric(20, 0), primary_key=True))
    activates_at: int = _big()
    multiplier: Decimal = _number(60)
    cancelled: bool
    paper: bytes = _bytes()
    digest: bytes = _bytes()
    key_id: str
    signature: bytes = _bytes()


class HighWaterRow(GuardTable, table=True):
    """A figure that only rises, by name: an older one never counts again."""

    __tablename__ = "high_water"
    name: str = Field(primary_key=True)
    value: Decimal = _number(20)


class OrphanRow(GuardTable, table=True):
    """A burn that names no transfer, ready to be refunded or given up by two people."""

    __tablename__ = "orphan"
    __table_args__ = (Index("orphan_refund", "refund_nonce"),)
    nonce: bytes = _bytes(key=True)
    refund_nonce: bytes = _bytes()
    asset: bytes = _bytes()
    owner: bytes = _bytes()
    amount: Decimal = _number(20)
    reason: str
    chain: int
    block_number: int = _big()
    block_hash: bytes = _bytes()
    block_time: int = _big()
    tx: bytes = _bytes()
    place: int


class AlarmRow(GuardTable, table=True):
    """An alarm that stands; told once, and gone when what it was about is over."""

    __tablename__ = "alarm_standing"
    code: str = Field(primary_key=True)
    scope: str = Field(primary_key=True)
    about: str = Field(primary_key=True)
    detail: str
    at_ms: int = _big()


class JournalBalanceRow(GuardTable, table=True):
    """What an account held after the link that moved it: any moment is one look per account."""

    __tablename__ = "journal_balance"
    asset: bytes = _bytes(key=True)
    account: str = Field(primary_key=True)
    sequence: int = _big(key=True)
    amount: Decimal = _number()


class JournalThroughRow(GuardTable, table=True):
    """How far a chain was booked after a link that booked facts of it."""

    __tablename__ = "journal_through"
    chain: int = Field(primary_key=True)
    sequence: int = _big(key=True)
    number: int = _big()
    hash: bytes = _bytes()
    time: int = _big()


class JournalAttestedRow(GuardTable, table=True):
    """Which attestation a link put in force."""

    __tablename__ = "journal_attested"
    asset: bytes = _bytes(key=True)
    sequence: int = _big(key=True)
    attestation: Decimal = _number(20)


class PaperSignatureRow(GuardTable, table=True):
    """A valid signature of a paper that counts by their number; a key signs a subject once."""

    __tablename__ = "paper_signature"
    kind: str = Field(primary_key=True)
    subject: bytes = _bytes(key=True)
    key_id: str = Field(primary_key=True)
    public_key: bytes = _bytes()
    digest: bytes = _bytes()
    paper: bytes = _bytes()
    signature: bytes = _bytes()


class RedemptionRow(GuardTable, table=True):
    """How custody closed a redemption, once and for ever; its burn may not be booked yet."""

    __tablename__ = "redemption"
    transfer_id: bytes = _bytes(key=True)
    state: str
    asset: bytes | None = _bytes(null=True)
    reason: str
    digest: bytes = _bytes()
    at_ms: int = _big()


class OpeningRow(GuardTable, table=True):
    """What an asset had on a chain when it was taken over; `digest` is of the paper."""

    __tablename__ = "opening"
    asset: bytes = _bytes(key=True)
    chain: int = Field(primary_key=True)
    shares: Decimal = _number(20)
    residue_units: Decimal = _number(80)
    block_number: int = _big()
    booked_number: int = _big()
    digest: bytes = _bytes()


class UncoveredRow(GuardTable, table=True):
    """Since when an asset's exposure is above its cap."""

    __tablename__ = "uncovered"
    asset: bytes = _bytes(key=True)
    since_ms: int = _big()


TABLES_0002: tuple[type[GuardTable], ...] = (
    JournalBalanceRow,
    JournalThroughRow,
    JournalAttestedRow,
    ProposalRow,
    ProposalApprovalRow,
    PauseRow,
    LimitsRow,
    CorporateActionRow,
    HighWaterRow,
    OrphanRow,
    AlarmRow,
    PaperSignatureRow,
    RedemptionRow,
    OpeningRow,
    UncoveredRow,
)
"""What migration 0002 adds: a database of 0001 has everything above."""

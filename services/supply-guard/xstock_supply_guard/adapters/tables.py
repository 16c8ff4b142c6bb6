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
)
"""The runtime role may INSERT and SELECT here, and nothing else."""


def _bytes(*, key: bool = False, null: bool = False) -> Any:
    return Field(sa_column=Column(LargeBinary, primary_key=key, nullable=null))


def _big(*, key: bool = False, null: bool = False) -> Any:
    column: Column[int] = Column(BigInteger, primary_key=key, nullable=null, autoincrement=False)
    return Field(sa_column=column)


def _number(digits: int = 40, *, null: bool = False) -> Any:
    return Field(sa_column=Column(Numeric(digits, 0), nullable=null))


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
    """The ledger's supply at the end of a block that moved it."""

    __tablename__ = "supply_step"
    chain: int = Field(primary_key=True)
    asset: bytes = _bytes(key=True)
    number: int = _big(key=True)
    supply: Decimal = _number()


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
    """One link of the hash chain: digest = sha256(previous ‖ time ‖ lines)."""

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

TABLES_0002: tuple[type[GuardTable], ...] = ()
"""What migration 0002 adds: a database of 0001 has everything above."""

"""The relayer's tables."""

from sqlalchemy import BigInteger, Column, Identity, Index, LargeBinary, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class RelayerTable(SQLModel, registry=registry()):
    """The base of this service's tables: names are its own, whoever else is imported."""


def _bytes(**options: object) -> Column[bytes]:
    return Column(LargeBinary, nullable=False, **options)  # type: ignore[arg-type]


def _big(**options: object) -> Column[int]:
    return Column(BigInteger, nullable=False, **options)  # type: ignore[arg-type]


class TransferRow(RelayerTable, table=True):
    """A transfer: its message, the core's facts as JSON, and which batch carries it.

    `standing` is OPEN (waits for guards or a batch), CARRIED, PARKED or DONE: what a fresh
    process looks for.
    """

    __tablename__ = "transfer"
    __table_args__ = (
        Index("transfer_key", "nonce", "source", "destination"),
        Index("transfer_open", "opened_ms", postgresql_where=text("standing = 'OPEN'")),
        Index("transfer_parked", "transfer_id", postgresql_where=text("standing = 'PARKED'")),
        {"postgresql_with": {"fillfactor": "70"}},
    )
    transfer_id: bytes = Field(sa_column=_bytes(primary_key=True))
    message: bytes = Field(sa_column=_bytes())
    destination: int
    source: int
    nonce: bytes = Field(sa_column=_bytes())
    opened_ms: int = Field(sa_column=_big())
    standing: str
    phase: str
    batch_id: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    issue_order: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    state: str
    moments: str


class BatchRow(RelayerTable, table=True):
    """A signed batch; items and ids are packed, signatures are JSON."""

    __tablename__ = "batch"
    batch_id: bytes = Field(sa_column=_bytes(primary_key=True))
    destination: int
    bridge: bytes = Field(sa_column=_bytes())
    epoch: int = Field(sa_column=_big())
    deadline: int = Field(sa_column=_big())
    terms: bytes = Field(sa_column=_bytes())
    items: bytes = Field(sa_column=_bytes())
    transfer_ids: bytes = Field(sa_column=_bytes())
    signatures: str
    guards: str
    formed_ms: int = Field(sa_column=_big())


class SlotRow(RelayerTable, table=True):
    """A line of the slot (nonce) ledger: what a chain and key's slot is used for."""

    __tablename__ = "slot"
    __table_args__ = (
        Index("slot_last", "chain", "sender", "ordinal"),
        Index("slot_open", "chain", postgresql_where=text("state = 'OPEN'")),
    )
    chain: int = Field(primary_key=True)
    sender: bytes = Field(sa_column=_bytes(primary_key=True))
    slot: str = Field(primary_key=True)
    ordinal: int = Field(sa_column=_big())
    batch_id: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    state: str


class AttemptRow(RelayerTable, table=True):
    """A transaction prepared for a slot; `raw` is there before it is ever broadcast."""

    __tablename__ = "attempt"
    __table_args__ = (Index("attempt_tx", "tx_id"),)
    chain: int = Field(primary_key=True)
    sender: bytes = Field(sa_column=_bytes(primary_key=True))
    slot: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    payload: bytes = Field(sa_column=_bytes())
    fee: str
    simulated: bool
    fills: bool
    raw: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    tx_id: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    at_ms: int = Field(sa_column=_big())


class EarlyRow(RelayerTable, table=True):
    """News about a key whose burn is not known yet, as its wire record."""

    __tablename__ = "early"
    __table_args__ = (Index("early_key", "nonce"),)
    observation_id: bytes = Field(sa_column=_bytes(primary_key=True))
    destination: int
    source: int
    nonce: bytes = Field(sa_column=_bytes())
    record: bytes = Field(sa_column=_bytes())


class PositionRow(RelayerTable, table=True):
    """Through which of its watcher's numbers each chain is booked without a hole."""

    __tablename__ = "position"
    chain: int = Field(primary_key=True)
    sequence: int = Field(sa_column=_big())


class HaltRow(RelayerTable, table=True):
    """A latched halt; cleared ones stay as history."""

    __tablename__ = "halt"
    id: str = Field(primary_key=True)
    asset: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    source: int | None = None
    destination: int | None = None
    reason: str
    latched_by: str
    at_ms: int = Field(sa_column=_big())
    approvals: str = ""
    """Names, each on its own line."""
    cleared: bool = False


class AlarmRow(RelayerTable, table=True):
    """Something a person must hear about; never changed."""

    __tablename__ = "alarm"
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    code: str
    scope: str
    detail: str
    at_ms: int = Field(sa_column=_big())


ALL_TABLES = (
    TransferRow,
    BatchRow,
    SlotRow,
    AttemptRow,
    EarlyRow,
    PositionRow,
    HaltRow,
    AlarmRow,
)

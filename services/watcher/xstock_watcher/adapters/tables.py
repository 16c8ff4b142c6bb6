"""The watcher's tables."""

from sqlalchemy import BigInteger, Column, Identity, Index, LargeBinary
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class WatcherTable(SQLModel, registry=registry()):
    """The base of this service's tables: names are its own, whoever else is imported."""


class PositionRow(WatcherTable, table=True):
    """One row: where this watcher reads on."""

    __tablename__ = "position"
    id: int = Field(primary_key=True, default=1)
    chain: int
    cursor: str
    through: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    head: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    sequence: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class ObservationRow(WatcherTable, table=True):
    """A final observation as its wire record, numbered densely."""

    __tablename__ = "observation"
    __table_args__ = (Index("observation_tx", "tx"),)
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    id: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    tx: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    record: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class HaltRow(WatcherTable, table=True):
    """A latched halt, at most one in force; cleared ones stay as history."""

    __tablename__ = "halt"
    __table_args__ = (
        Index("halt_in_force", "cleared", unique=True, postgresql_where="NOT cleared"),
    )
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    code: str
    detail: str
    at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    approvals: str = ""
    """Names, each on its own line."""
    cleared: bool = False

"""The gateway's tables."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class GatewayTable(SQLModel, registry=registry()):
    """The base of this service's tables: names are its own, whoever else is imported."""


def _bytes(*, nullable: bool = False) -> Column[bytes]:
    return Column(LargeBinary, nullable=nullable)


class TransferRow(GatewayTable, table=True):
    """The newest view of a transfer: the facts in their wire form, and what lists ask for."""

    __tablename__ = "transfer"
    __table_args__ = (
        Index("transfer_newest", "created_ms", "id"),
        Index("transfer_open", "id", postgresql_where="NOT terminal"),
        Index("transfer_parties", "parties", postgresql_using="gin"),
        Index("transfer_txs", "txs", postgresql_using="gin"),
    )
    id: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    message: bytes = Field(sa_column=_bytes())
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    updated_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    relayer: bytes | None = Field(default=None, sa_column=_bytes(nullable=True))
    seen: bytes | None = Field(default=None, sa_column=_bytes(nullable=True))
    final: bytes | None = Field(default=None, sa_column=_bytes(nullable=True))
    state: str
    terminal: bool
    asset: bytes = Field(sa_column=_bytes())
    source: int
    destination: int
    parties: list[bytes] = Field(sa_column=Column(ARRAY(LargeBinary), nullable=False))
    txs: list[bytes] = Field(sa_column=Column(ARRAY(LargeBinary), nullable=False))


class JournalRow(GatewayTable, table=True):
    """One change of one transfer, whole; sequences are dense and in commit order."""

    __tablename__ = "journal"
    __table_args__ = (Index("journal_time", "at_ms"),)
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    cause: str
    id: bytes = Field(sa_column=_bytes())
    message: bytes = Field(sa_column=_bytes())
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    relayer: bytes | None = Field(default=None, sa_column=_bytes(nullable=True))
    seen: bytes | None = Field(default=None, sa_column=_bytes(nullable=True))
    final: bytes | None = Field(default=None, sa_column=_bytes(nullable=True))


class JournalHeadRow(GatewayTable, table=True):
    """One row: the last sequence given out. Its lock puts writers in line."""

    __tablename__ = "journal_head"
    id: int = Field(primary_key=True)
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))


class CoverageRow(GatewayTable, table=True):
    """How far one chain was read."""

    __tablename__ = "coverage"
    chain: int = Field(primary_key=True)
    through: bytes = Field(sa_column=_bytes())
    head_number: int = Field(sa_column=Column(BigInteger, nullable=False))
    at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class BuiltRow(GatewayTable, table=True):
    """A burn that was built under a request id."""

    __tablename__ = "built"
    request_id: str = Field(primary_key=True)
    content: bytes = Field(sa_column=_bytes())
    document: str
    expires: int = Field(sa_column=Column(BigInteger, nullable=False))

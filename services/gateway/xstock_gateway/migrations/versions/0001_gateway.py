"""The gateway's first schema."""

from alembic import op

from xstock_gateway.adapters import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    tables.TransferRow,
    tables.JournalRow,
    tables.JournalHeadRow,
    tables.CoverageRow,
    tables.BuiltRow,
)


def upgrade() -> None:
    for table in _TABLES:
        tables.GatewayTable.metadata.tables[str(table.__tablename__)].create(op.get_bind())
    op.execute("INSERT INTO journal_head (id, sequence) VALUES (1, 0)")


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(str(table.__tablename__))

"""What the complete guard remembers besides: papers, proposals, pauses, the journal's locks."""

from alembic import op

from xstock_supply_guard.adapters import tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in tables.TABLES_0002:
        tables.GuardTable.metadata.tables[str(table.__tablename__)].create(op.get_bind())


def downgrade() -> None:
    for table in reversed(tables.TABLES_0002):
        op.drop_table(str(table.__tablename__))

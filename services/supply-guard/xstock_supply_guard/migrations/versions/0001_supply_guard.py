"""The supply-guard's first schema."""

from alembic import op

from xstock_runtime.lease import create_lease
from xstock_runtime.outbox import create_outbox
from xstock_supply_guard.adapters import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in tables.TABLES:
        tables.GuardTable.metadata.tables[str(table.__tablename__)].create(op.get_bind())
    create_outbox(op)
    create_lease(op)


def downgrade() -> None:
    op.drop_table("lease")
    op.drop_table("outbox")
    for table in reversed(tables.TABLES):
        op.drop_table(str(table.__tablename__))

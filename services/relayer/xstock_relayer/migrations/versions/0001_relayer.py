"""The relayer's first schema."""

from alembic import op

from xstock_relayer.adapters.tables import ALL_TABLES, RelayerTable
from xstock_runtime.lease import create_lease
from xstock_runtime.outbox import create_outbox

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ALL_TABLES:
        RelayerTable.metadata.tables[str(table.__tablename__)].create(op.get_bind())
    create_lease(op)
    create_outbox(op)


def downgrade() -> None:
    op.drop_table("outbox")
    op.drop_table("lease")
    for table in reversed(ALL_TABLES):
        op.drop_table(str(table.__tablename__))

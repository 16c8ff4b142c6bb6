"""The watcher's first schema."""

from alembic import op

from xstock_runtime.outbox import create_outbox
from xstock_watcher.adapters import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (tables.PositionRow, tables.ObservationRow, tables.HaltRow)


def upgrade() -> None:
    for table in _TABLES:
        tables.WatcherTable.metadata.tables[str(table.__tablename__)].create(op.get_bind())
    create_outbox(op)


def downgrade() -> None:
    op.drop_table("outbox")
    for table in reversed(_TABLES):
        op.drop_table(str(table.__tablename__))

"""Every table of the plumbing, and one journal that may only grow."""

from alembic import op

from xstock_runtime.inbox import create_inbox
from xstock_runtime.lease import create_lease
from xstock_runtime.outbox import create_outbox

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_outbox(op)
    create_inbox(op)
    create_lease(op)
    op.execute(
        "CREATE TABLE journal (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE journal, lease, inbox, outbox")

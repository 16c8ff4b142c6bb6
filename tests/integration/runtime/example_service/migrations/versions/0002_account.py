"""A table that transactions fight over."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE account (id int PRIMARY KEY, used bigint NOT NULL)")


def downgrade() -> None:
    op.execute("DROP TABLE account")

"""Issuer inventory: what its owners held at a reading, who attested them, what was burned since.

A database made by 0001 of this release has the columns already; an older one gets them here, with
the burns of its past summed once.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("reading", "issuer_inventory_units", "numeric(80) NOT NULL DEFAULT 0"),
    ("reading", "inventory_owners", "bytea NOT NULL DEFAULT ''"),
    ("supply_step", "burned", "numeric(40) NOT NULL DEFAULT 0"),
    ("attestation", "inventory", "bytea NOT NULL DEFAULT ''"),
)
_PAST_BURNS = """
UPDATE supply_step AS step SET burned = past.burned
FROM (SELECT chain, asset, block_number, sum(amount) AS burned FROM ledger_entry
      WHERE debit LIKE 'supply/%' AND block_number IS NOT NULL
      GROUP BY chain, asset, block_number) AS past
WHERE step.chain = past.chain AND step.asset = past.asset AND step.number = past.block_number
"""


def upgrade() -> None:
    for table, name, kind in _COLUMNS:
        op.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {name} {kind}")
    op.execute(_PAST_BURNS)


def downgrade() -> None:
    for table, name, _ in _COLUMNS:
        op.execute(f"ALTER TABLE {table} DROP COLUMN {name}")

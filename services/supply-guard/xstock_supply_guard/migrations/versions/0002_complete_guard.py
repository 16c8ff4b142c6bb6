"""What the complete guard remembers besides: papers, proposals, pauses, the journal's locks.

What is append-only is so for everybody: the runtime role lacks the rights, and a trigger refuses
the owner and a superuser too, also under `session_replication_role`. Whoever takes the triggers
away first is found by the offline verifier, for the journal's links no longer fit.
"""

from alembic import op
from sqlalchemy import text

from xstock_supply_guard.adapters import tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on % is refused: this table is append-only', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END
$$
"""


def upgrade() -> None:
    for table in tables.TABLES_0002:
        tables.GuardTable.metadata.tables[str(table.__tablename__)].create(op.get_bind())
    op.create_index("journal_time", "journal", ["at_ms", "sequence"])
    redemptions = text("destination = 100")
    op.create_index("burn_redemption", "burn", ["transfer_id"], postgresql_where=redemptions)
    outside = text("kind = 'SupplyMoved'")
    op.create_index(
        "observation_outside", "observation", ["chain", "block_number"], postgresql_where=outside
    )
    op.execute(_REFUSE)
    for name in tables.APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {name}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER append_only")


def downgrade() -> None:
    for name in tables.APPEND_ONLY:
        op.execute(f"DROP TRIGGER append_only ON {name}")
    op.execute("DROP FUNCTION refuse_change()")
    op.drop_index("observation_outside", "observation")
    op.drop_index("burn_redemption", "burn")
    op.drop_index("journal_time", "journal")
    for table in reversed(tables.TABLES_0002):
        op.drop_table(str(table.__tablename__))

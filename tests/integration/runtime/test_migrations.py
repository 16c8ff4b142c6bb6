"""Migrations as a job, and a runtime role that cannot undo them."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests.engines import Database as OwnDatabase
from tests.integration.runtime.conftest import PACKAGE, RUNNER
from xstock_runtime.database import Database, insert_many
from xstock_runtime.errors import Fatal
from xstock_runtime.migrations import check_current, upgrade


async def test_upgrade__two_jobs_at_once__both_end_at_the_newest_revision(
    postgres: OwnDatabase,
) -> None:
    revisions = await asyncio.gather(
        upgrade(postgres.url(), PACKAGE), upgrade(postgres.url(), PACKAGE)
    )
    assert set(revisions) == {"0002"}


async def test_check_current__empty_behind_or_ahead__refuses_to_start(
    postgres: OwnDatabase,
) -> None:
    with pytest.raises(Fatal, match="SCHEMA_NOT_CURRENT"):
        await check_current(postgres.url(), PACKAGE)
    await upgrade(postgres.url(), PACKAGE)
    assert await check_current(postgres.url(), PACKAGE) == "0002"
    for other in ("0001", "0003"):
        await postgres.server.execute(
            f"UPDATE alembic_version SET version_num = '{other}'", database=postgres.name
        )
        with pytest.raises(Fatal, match=f"at revision '{other}', this code needs '0002'"):
            await check_current(postgres.url(), PACKAGE)


async def test_runtime_role__checks_the_revision_and_uses_its_tables(
    migrated: OwnDatabase, database: Database
) -> None:
    assert await check_current(migrated.url(user=RUNNER), PACKAGE) == "0002"
    async with database.transaction() as connection:
        await insert_many(connection, "journal", {"text": ("text", ["a"])})


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "DROP TABLE outbox",
        "ALTER TABLE journal ADD COLUMN more int",
        "UPDATE journal SET text = 'changed'",
        "DELETE FROM journal",
        "TRUNCATE journal",
        "UPDATE alembic_version SET version_num = 'x'",
    ],
)
async def test_runtime_role__ddl_or_rewriting_the_journal__is_denied(
    database: Database, statement: str
) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        async with database.transaction() as connection:
            await connection.execute(text(statement))


async def test_upgrade__package_without_migrations__says_so(postgres: OwnDatabase) -> None:
    with pytest.raises(Fatal, match="MIGRATIONS_MISSING"):
        await upgrade(postgres.url(), "xstock_core")

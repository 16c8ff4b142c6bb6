"""Schema migrations, run as a job under the owner role and checked by every start.

A service package needs only `migrations/versions/NNNN_*.py`; the Alembic environment is shared
(`migrations_shared/`). `upgrade` holds a PostgreSQL advisory lock, so two jobs started together
run one after the other; all migrations of one run commit together or not at all. The runtime role
owns nothing: `grant_runtime` gives it rows, never DDL, and only INSERT and SELECT on append-only
tables. Source: https://alembic.sqlalchemy.org/en/latest/cookbook.html (programmatic API).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from xstock_runtime.database import classify, identifier, sqlalchemy_url
from xstock_runtime.errors import Fatal

_JOB_LOCK = 0x7873_746F_636B_6D67  # one migration job at a time in a database
T = TypeVar("T")


def _config(package: str) -> Config:
    versions = Path(str(files(package))) / "migrations" / "versions"
    if not versions.is_dir():
        raise Fatal("MIGRATIONS_MISSING", f"{package} has no migrations/versions folder")
    config = Config()
    shared = Path(str(files("xstock_runtime"))) / "migrations_shared"
    config.set_main_option("script_location", str(shared).replace("%", "%%"))
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config


async def _on_connection(database_url: str, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(sqlalchemy_url(database_url), connect_args={"timeout": 10})
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    except Exception as error:
        typed = classify(error)
        if typed is error:
            raise
        raise typed from error
    finally:
        await engine.dispose()


async def upgrade(database_url: str, package: str) -> str:
    """Bring the database of `package` to its newest revision; that revision.

    `database_url` is the owner role's. Raises Transient if the server cannot be reached.
    """
    config = _config(package)

    def work(connection: Connection) -> str:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _JOB_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return MigrationContext.configure(connection).get_current_revision() or ""

    return await _on_connection(database_url, work)


async def check_current(database_url: str, package: str) -> str:
    """The database's revision if it is the newest this code knows.

    Raises Fatal SCHEMA_NOT_CURRENT when it is behind (run the migration job) or ahead (this image
    is older than the schema).
    """
    wanted = ScriptDirectory.from_config(_config(package)).get_current_head()
    found = await _on_connection(
        database_url,
        lambda connection: MigrationContext.configure(connection).get_current_revision(),
    )
    if found is None or found != wanted:
        raise Fatal(
            "SCHEMA_NOT_CURRENT",
            f"the database of {package} is at revision {found!r}, this code needs {wanted!r}; "
            "run the migration job of the same image",
            {"package": package, "found": found, "wanted": wanted},
        )
    return found


async def grant_runtime(
    database_url: str, role: str, *, append_only_tables: Sequence[str] = (), schema: str = "public"
) -> None:
    """Give `role` the rows of every table in `schema`, and no DDL.

    On `append_only_tables` it may only INSERT and SELECT. Run after every upgrade, as the owner.
    """
    identifier(role)
    identifier(schema)
    statements = [
        f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC",
        f"REVOKE CREATE ON SCHEMA {schema} FROM {role}",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        f"REVOKE INSERT, UPDATE, DELETE ON {schema}.alembic_version FROM {role}",
        *(
            f"REVOKE UPDATE, DELETE, TRUNCATE ON {schema}.{identifier(table)} FROM {role}"
            for table in append_only_tables
        ),
    ]

    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    await _on_connection(database_url, work)

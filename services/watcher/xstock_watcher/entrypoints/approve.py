"""One approval to clear a latched halt, from the command line of the watcher's own host.

A halted watcher does not start, so it cannot be asked over gRPC. Two different people must
approve; each approval is kept with its name.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence

from xstock_runtime.errors import ServiceError

Approve = Callable[[str, str], Awaitable[bool]]
"""(halt, name) -> whether it is cleared now."""


def approve(arguments: Sequence[str], give: Approve) -> int:
    """Take one approval; exit status 0 when it was taken, 1 when it was refused."""
    parser = argparse.ArgumentParser(prog="xstock-watcher approve", description=__doc__)
    parser.add_argument("halt", help="the halt's number, as the log names it")
    parser.add_argument("--by", required=True, help="who approves")
    given = parser.parse_args(list(arguments))

    async def take() -> bool:
        return await give(given.halt, given.by)

    try:
        cleared = asyncio.run(take())
    except ServiceError as error:
        print(f"refused: {error.message}")  # noqa: T201 - a command's answer to a person
        return 1
    state = "cleared: the watcher may start" if cleared else "kept: one more person must approve"
    print(f"halt {given.halt} {state}")  # noqa: T201
    return 0

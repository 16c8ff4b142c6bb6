"""`make bench`: run all measurements, or those named: `python -m tests.bench gas`."""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console

from tests.bench.backfill import backfill
from tests.bench.end_to_end import end_to_end
from tests.bench.gas import gas
from tests.bench.guard import guard, guard_ten_million
from tests.bench.result import Result, show, write
from tests.bench.solana import solana
from tests.bench.ton import ton
from tests.bench.tron import tron

Bench = Callable[[Path], Awaitable[dict[str, Result]]]
BENCHES: dict[str, Bench] = {
    "gas": gas,
    "guard": guard,
    "backfill": backfill,
    "solana": solana,
    "tron": tron,
    "ton": ton,
    "end_to_end": end_to_end,
}
BY_NAME_ONLY: dict[str, Bench] = {"guard_ten_million": guard_ten_million}
"""Too long for every run: measured when it is named."""


async def _run(names: list[str]) -> None:
    results: dict[str, Result] = {}
    for name in names:
        Console().print(f"measuring {name} …")
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
            found = await (BENCHES | BY_NAME_ONLY)[name](Path(folder))
        write(found)
        results.update(found)
    show(results)


_HELP = f"which (default: all but {', '.join(BY_NAME_ONLY)})"


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHES, *BY_NAME_ONLY], help=_HELP)
    names = parser.parse_args().names
    asyncio.run(_run(names or list(BENCHES)))


if __name__ == "__main__":
    main()

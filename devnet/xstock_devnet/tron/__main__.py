"""Run the local chain: `python -m xstock_devnet.tron --port 8090 --block-ms 400`."""

import argparse
import asyncio
import signal
import tempfile
from pathlib import Path

from xstock_devnet.tron.chain import ChainOptions
from xstock_devnet.tron.server import TronService
from xstock_runtime.clock import SystemClock


async def serve(port: int, options: ChainOptions, folder: Path, *, automine: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    service = TronService(folder, SystemClock(), options, automine=automine)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        print(f"tron: listening on 127.0.0.1:{await service.start(port)}", flush=True)
        await ended.wait()
    finally:
        await service.stop()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m xstock_devnet.tron", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--block-ms", type=int, default=3_000, help="milliseconds between blocks")
    parser.add_argument("--final-blocks", type=int, default=19, help="how far solid blocks lag")
    parser.add_argument("--no-automine", action="store_true", help="blocks by /devnet/mine only")
    parser.add_argument("--folder", type=Path, help="where anvil logs; a temporary one if absent")
    given = parser.parse_args()
    if given.block_ms < 1 or given.final_blocks < 0:
        parser.error("--block-ms must be at least 1 and --final-blocks at least 0")
    options = ChainOptions(given.block_ms, given.final_blocks)
    with tempfile.TemporaryDirectory(prefix="xstock-tron-") as temporary:
        folder = given.folder or Path(temporary)
        asyncio.run(serve(given.port, options, folder, automine=not given.no_automine))


if __name__ == "__main__":
    main()

"""Become the Node process that is the local TON chain: `python -m xstock_devnet.ton --port N`.

This process is replaced by Node's, so the process id stays, whoever started it owns the chain, and
a death signal set on it still holds.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

from xstock_devnet.engines.node import find_node
from xstock_devnet.settings import inherited_environment
from xstock_devnet.ton import (
    BLOCK_MS_DEFAULT,
    FAUCET_PUBLIC_KEY,
    FINAL_BLOCKS_DEFAULT,
    GLOBAL_ID_DEFAULT,
)

SERVER = Path(__file__).with_name("server.mjs")


def _at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value}: give {least} or more")
        return value

    return integer


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m xstock_devnet.ton", description=__doc__)
    made.add_argument(
        "--port", type=_at_least(0), required=True, help="loopback port; 0 takes a free one"
    )
    made.add_argument("--block-ms", type=_at_least(1), default=BLOCK_MS_DEFAULT)
    made.add_argument(
        "--final-blocks",
        type=_at_least(0),
        default=FINAL_BLOCKS_DEFAULT,
        help="masterchain blocks after which a shard block is committed; 0: at once",
    )
    made.add_argument("--global-id", type=int, default=GLOBAL_ID_DEFAULT)
    made.add_argument("--no-automine", action="store_true", help="blocks only by /devnet/mine")
    return made


def main() -> None:
    """Parse the command line and become the chain."""
    arguments = parser().parse_args()
    options = {
        "port": arguments.port,
        "blockMs": arguments.block_ms,
        "finalBlocks": arguments.final_blocks,
        "globalId": arguments.global_id,
        "automine": not arguments.no_automine,
        "faucetKey": FAUCET_PUBLIC_KEY,
    }
    node = str(find_node().node)
    os.execve(node, [node, str(SERVER), json.dumps(options)], inherited_environment())  # noqa: S606


if __name__ == "__main__":
    main()

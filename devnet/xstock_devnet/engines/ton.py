"""A local TON chain: `python -m xstock_devnet.ton` as a child process, in the shape of AnvilNode.

State lives in memory: a frozen chain (`child.freeze`) keeps it and answers nothing, a stopped or
killed one forgets everything. The control API for drivers is at `url` + `/devnet/<command>`.
"""

import sys
from pathlib import Path

from xstock_devnet.engines.local_node import LocalNode
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.processes import ChildProcess, http_health
from xstock_devnet.ton import BLOCK_MS_DEFAULT, FINAL_BLOCKS_DEFAULT, GLOBAL_ID_DEFAULT


class TonNode(LocalNode):
    """One local TON chain on one port; `start` after `stop` or `kill9` is a new chain there."""

    label = "the TON chain"

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "ton",
        block_ms: int = BLOCK_MS_DEFAULT,
        final_blocks: int = FINAL_BLOCKS_DEFAULT,
        global_id: int = GLOBAL_ID_DEFAULT,
        port: int | None = None,
        automine: bool = True,
    ) -> None:
        port = port or free_ports(1)[0]
        child = ChildProcess(
            name,
            (
                *(sys.executable, "-m", "xstock_devnet.ton", "--port", str(port)),
                *("--block-ms", str(block_ms), "--final-blocks", str(final_blocks)),
                *("--global-id", str(global_id)),
                *(() if automine else ("--no-automine",)),
            ),
            log_file=folder / f"{name}.log",
        )
        super().__init__(
            child, folder, port, http_health(f"http://127.0.0.1:{port}/api/v3/masterchainInfo")
        )

"""A local Solana: LiteSVM behind Solana's JSON-RPC, as a process of its own on one port.

State lives in memory: a frozen chain (`child.freeze`) keeps it and answers nothing, a stopped or
killed one begins again at its genesis block. The deployer's account is funded there: the ed25519
key whose seed is development key 0 (`dev_private_key(0)`), public and worth nothing anywhere.
"""

import sys
from pathlib import Path

from xstock_devnet.engines.local_node import LocalNode
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.processes import ChildProcess, http_health


class SolanaNode(LocalNode):
    """One local chain on one port; `start` after `stop` or `kill9` comes back on the same port.

    `final_blocks` is how far `finalized` lags behind the newest block; `skip_every` leaves out each
    so many slots (0: none); without `automine` blocks are made by the control API alone.
    """

    label = "the Solana chain"

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "solana",
        block_ms: int = 400,
        final_blocks: int = 32,
        port: int | None = None,
        automine: bool = True,
        skip_every: int = 0,
        extra: tuple[str, ...] = (),
    ) -> None:
        port = port or free_ports(1)[0]
        child = ChildProcess(
            name,
            (
                *(sys.executable, "-m", "xstock_devnet.solana", "--port", str(port)),
                *("--block-ms", str(block_ms), "--final-blocks", str(final_blocks)),
                *(("--skip-every", str(skip_every)) if skip_every else ()),
                *(() if automine else ("--no-automine",)),
                *extra,
            ),
            log_file=folder / f"{name}.log",
        )
        super().__init__(child, folder, port, http_health(f"http://127.0.0.1:{port}/health"))

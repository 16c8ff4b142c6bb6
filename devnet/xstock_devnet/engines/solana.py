"""A local Solana: LiteSVM behind Solana's JSON-RPC, as a process of its own on one port.

State lives in memory: a frozen chain (`child.freeze`) keeps it and answers nothing, a stopped or
killed one begins again at its genesis block. The deployer's account is funded there: the ed25519
key whose seed is development key 0 (`dev_private_key(0)`), public and worth nothing anywhere.
"""

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from xstock_devnet.engines.ports import free_ports
from xstock_devnet.processes import ChildProcess, http_health

START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 15


class SolanaNode:
    """One local chain on one port; `start` after `stop` or `kill9` comes back on the same port.

    `final_blocks` is how far `finalized` lags behind the newest block; `skip_every` leaves out each
    so many slots (0: none); without `automine` blocks are made by the control API alone.
    """

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
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.child = ChildProcess(
            name,
            (
                *(sys.executable, "-m", "xstock_devnet.solana", "--port", str(self.port)),
                *("--block-ms", str(block_ms), "--final-blocks", str(final_blocks)),
                *(("--skip-every", str(skip_every)) if skip_every else ()),
                *(() if automine else ("--no-automine",)),
                *extra,
            ),
            log_file=folder / f"{name}.log",
        )

    @property
    def url(self) -> str:
        """The JSON-RPC address; the control API is below it at `/devnet/<command>`."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Start the chain."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the chain."""
        await self.stop()

    async def start(self) -> None:
        """Start and return once the chain answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.child.start()
        await self.child.wait_until(
            http_health(f"{self.url}/health"),
            waiting_for=f"the local Solana to answer on port {self.port}",
            timeout_seconds=START_TIMEOUT_SECONDS,
        )

    async def stop(self) -> None:
        """Stop the chain politely; it forgets everything."""
        await self.child.terminate(grace_seconds=STOP_TIMEOUT_SECONDS)

    async def kill9(self) -> None:
        """Kill the chain."""
        await self.child.kill9()

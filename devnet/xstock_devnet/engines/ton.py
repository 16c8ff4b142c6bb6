"""A local TON chain: `python -m xstock_devnet.ton` as a child process, in the shape of AnvilNode.

State lives in memory: a frozen chain (`child.freeze`) keeps it and answers nothing, a stopped or
killed one forgets everything. The control API for drivers is at `url` + `/devnet/<command>`.
"""

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from xstock_devnet.engines.ports import free_ports
from xstock_devnet.processes import ChildProcess, http_health
from xstock_devnet.ton import BLOCK_MS_DEFAULT, FINAL_BLOCKS_DEFAULT, GLOBAL_ID_DEFAULT

START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 15


class TonNode:
    """One local TON chain on one port; `start` after `stop` or `kill9` is a new chain there."""

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
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.child = ChildProcess(
            name,
            (
                *(sys.executable, "-m", "xstock_devnet.ton", "--port", str(self.port)),
                *("--block-ms", str(block_ms), "--final-blocks", str(final_blocks)),
                *("--global-id", str(global_id)),
                *(() if automine else ("--no-automine",)),
            ),
            log_file=folder / f"{name}.log",
        )

    @property
    def url(self) -> str:
        """The base address: toncenter's API below `/api`, the control API below `/devnet`."""
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
        """Start and return once the chain answers; raises ProcessFailed with its last log lines."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.child.start()
        await self.child.wait_until(
            http_health(f"{self.url}/api/v3/masterchainInfo"),
            waiting_for=f"the TON chain to answer on port {self.port}",
            timeout_seconds=START_TIMEOUT_SECONDS,
        )

    async def stop(self) -> None:
        """Stop the chain politely; it forgets everything."""
        await self.child.terminate(grace_seconds=STOP_TIMEOUT_SECONDS)

    async def kill9(self) -> None:
        """Kill the chain."""
        await self.child.kill9()

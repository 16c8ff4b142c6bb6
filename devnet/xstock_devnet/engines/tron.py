"""A local Tron chain: a process that speaks java-tron's API over an anvil of its own.

State lives in memory: a frozen chain (`child.freeze`) keeps it and answers nothing, a stopped or
killed one forgets everything. The faucet and deployer is the first development key.
"""

import sys
from pathlib import Path
from typing import Any

import httpx

from xstock_devnet.engines.local_node import LocalNode
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.processes import ChildProcess, ProcessFailed, tcp_open

COMMAND_TIMEOUT_SECONDS = 60


class TronNode(LocalNode):
    """One local Tron chain on one port; `start` after `stop` or `kill9` begins a new chain there.

    `final_blocks` is how many blocks the solidified head lags; `automine` off makes blocks only
    by the `mine` command.
    """

    label = "the Tron chain"
    start_timeout_seconds = 60.0

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "tron",
        block_ms: int = 400,
        final_blocks: int = 4,
        port: int | None = None,
        automine: bool = True,
    ) -> None:
        port = port or free_ports(1)[0]
        child = ChildProcess(
            name,
            (
                *(sys.executable, "-m", "xstock_devnet.tron", "--port", str(port)),
                *("--block-ms", str(block_ms), "--final-blocks", str(final_blocks)),
                *("--folder", str(folder / name)),
                *(() if automine else ("--no-automine",)),
            ),
            log_file=folder / f"{name}.log",
        )
        super().__init__(child, folder, port, tcp_open(port))

    async def command(self, name: str, **body: Any) -> dict[str, Any]:
        """Send a control command; raises ProcessFailed with the chain's words if it refuses."""
        async with httpx.AsyncClient(timeout=COMMAND_TIMEOUT_SECONDS, trust_env=False) as client:
            response = await client.post(f"{self.url}/devnet/{name}", json=body)
        answer: dict[str, Any] = response.json()
        if response.is_error:
            raise ProcessFailed(f"{self.child.name}: {name}: {answer['error']}")
        return answer

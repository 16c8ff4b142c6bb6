"""A local Tron chain: a process that speaks java-tron's API over an anvil of its own.

State lives in memory: a frozen chain (`child.freeze`) keeps it and answers nothing, a stopped or
killed one forgets everything. The faucet and deployer is the first development key.
"""

import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from xstock_devnet.engines.ports import free_ports
from xstock_devnet.processes import ChildProcess, ProcessFailed, tcp_open

START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 15
COMMAND_TIMEOUT_SECONDS = 60


class TronNode:
    """One local Tron chain on one port; `start` after `stop` or `kill9` begins a new chain there.

    `final_blocks` is how many blocks the solidified head lags; `automine` off makes blocks only
    by the `mine` command.
    """

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
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.child = ChildProcess(
            name,
            (
                *(sys.executable, "-m", "xstock_devnet.tron", "--port", str(self.port)),
                *("--block-ms", str(block_ms), "--final-blocks", str(final_blocks)),
                *("--folder", str(folder / name)),
                *(() if automine else ("--no-automine",)),
            ),
            log_file=folder / f"{name}.log",
        )

    @property
    def url(self) -> str:
        """The base address under which /wallet, /walletsolidity and /jsonrpc are served."""
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
            tcp_open(self.port),
            waiting_for=f"the Tron chain to answer on port {self.port}",
            timeout_seconds=START_TIMEOUT_SECONDS,
        )

    async def stop(self) -> None:
        """Stop the chain and its anvil; everything is forgotten."""
        await self.child.terminate(grace_seconds=STOP_TIMEOUT_SECONDS)

    async def kill9(self) -> None:
        """Kill the chain and its anvil."""
        await self.child.kill9()

    async def command(self, name: str, **body: Any) -> dict[str, Any]:
        """Send a control command; raises ProcessFailed with the chain's words if it refuses."""
        async with httpx.AsyncClient(timeout=COMMAND_TIMEOUT_SECONDS, trust_env=False) as client:
            response = await client.post(f"{self.url}/devnet/{name}", json=body)
        answer: dict[str, Any] = response.json()
        if response.is_error:
            raise ProcessFailed(f"{self.child.name}: {name}: {answer['error']}")
        return answer

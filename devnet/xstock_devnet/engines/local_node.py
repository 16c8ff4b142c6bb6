"""What every local chain's node has in common: one process on one loopback port.

State lives in the process: a frozen chain (`child.freeze`) keeps it and answers nothing, as a
halted chain does; a stopped or killed one comes back on the same port.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from xstock_devnet.processes import ChildProcess

STOP_TIMEOUT_SECONDS = 15
Answers = Callable[[], Awaitable[bool]]


class LocalNode:
    """One chain's node, not yet started; `answers` tells when it serves."""

    label = "the chain"
    start_timeout_seconds = 30.0

    def __init__(self, child: ChildProcess, folder: Path, port: int, answers: Answers) -> None:
        self.child = child
        self.folder = folder
        self.port = port
        self._answers = answers

    @property
    def url(self) -> str:
        """The address under which all of it is served, the control API at `/devnet/<command>`."""
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
        """Start and return once the chain answers; raises ProcessFailed with its last words.

        An answer counts only from this very process: where another chain holds the port, ours ends
        with "address in use", and the caller must not go on with the other.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.child.start()
        await self.child.wait_until(
            self._serves,
            waiting_for=f"{self.label} to answer on port {self.port}",
            timeout_seconds=self.start_timeout_seconds,
        )

    async def _serves(self) -> bool:
        return await self._answers() and self.child.listens_on(self.port)

    async def stop(self) -> None:
        """Stop the chain politely."""
        await self.child.terminate(grace_seconds=STOP_TIMEOUT_SECONDS)

    async def kill9(self) -> None:
        """Kill the chain."""
        await self.child.kill9()

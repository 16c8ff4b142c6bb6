"""Following transfers over the gateway's stream, across its restarts.

The last resume token is kept, so nothing is missed while the gateway is away; events are told
apart by their id and lower revisions are ignored, as every client of the stream should do.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from xstock_cli.bridge import Bridge
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, Transient
from xstock_wire.v1 import bridge_pb2

OnChange = Callable[[bridge_pb2.Transfer], None]
_RECONNECT_SECONDS = 0.5


@dataclass(slots=True)
class Follower:
    """Every transfer that matches, at its newest revision; `changed` is told each new one."""

    bridge: Bridge
    clock: Clock
    wanted: bridge_pb2.TransferFilter = field(default_factory=bridge_pb2.TransferFilter)
    changed: OnChange | None = None
    transfers: dict[bytes, bridge_pb2.Transfer] = field(default_factory=dict)
    _token: bytes = b""
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = None

    async def __aenter__(self) -> Self:
        """Start following: open transfers first, then everything that changes."""
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def connected(self) -> bool:
        """True once the stream has answered: whatever changes from then on will be told."""
        return bool(self._token)

    def by_tx(self, tx: str) -> bridge_pb2.Transfer | None:
        """The transfer to which a transaction (in the chain's own text form) belongs."""
        for transfer in self.transfers.values():
            if any(step.tx == tx for step in transfer.steps):
                return transfer
        return None

    async def until(
        self, condition: Callable[[], bool], *, seconds: float, waiting_for: str
    ) -> None:
        """Return once the condition holds; raises TimeoutError that says what was waited for."""
        deadline = self.clock.monotonic() + seconds
        while not condition():
            left = deadline - self.clock.monotonic()
            if left <= 0:
                raise TimeoutError(f"waited {seconds:g} s for {waiting_for}")
            if self._task is not None and self._task.done():
                await self._task
            self._moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), min(left, 1.0))

    async def _run(self) -> None:
        while True:
            try:
                async for frame in self.bridge.watch(self.wanted, self._start()):
                    self._take(frame)
            except (Transient, Ambiguous):
                await self.clock.sleep(_RECONNECT_SECONDS)

    def _start(self) -> bridge_pb2.WatchStart:
        if self._token:
            return bridge_pb2.WatchStart(resume_token=self._token)
        return bridge_pb2.WatchStart(snapshot_then_follow=True)

    def _take(self, frame: bridge_pb2.WatchTransfersResponse) -> None:
        self._token = frame.resume_token
        self._moved.set()
        if frame.WhichOneof("frame") != "event":
            return
        transfer = frame.event.transfer
        known = self.transfers.get(transfer.id)
        if known is not None and known.revision >= transfer.revision:
            return
        self.transfers[transfer.id] = transfer
        if self.changed is not None:
            self.changed(transfer)

"""A chain writer over several nodes: the next one is asked once the present one fails.

Only reads may be answered by any node; nothing here decides what happened. A failed call is
raised as it is (the caller's own retry asks the next node), so that an Ambiguous send is never
repeated behind anybody's back.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from xstock_chains.ports import (
    ChainWriter,
    Execution,
    PreparedTx,
    ReleaseOrder,
    SendSlot,
    SignedTx,
    TxStatus,
)
from xstock_core.ids import Address32
from xstock_core.observation import TxRef
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_runtime.errors import Ambiguous, Transient

T = TypeVar("T")


class FailoverWriter:
    """`ChainWriter` over one or more writers of the same chain."""

    def __init__(self, writers: Sequence[ChainWriter]) -> None:
        if not writers:
            raise ValueError("writers is empty; give at least one node")
        self._writers = tuple(writers)
        self._present = 0

    async def _ask(self, question: Callable[[ChainWriter], Awaitable[T]]) -> T:
        asked = self._present
        try:
            return await question(self._writers[asked])
        except (Transient, Ambiguous):
            if self._present == asked:
                self._present = (asked + 1) % len(self._writers)
            raise

    async def find_executions(self, keys: Sequence[ExecutionKey]) -> Sequence[Execution | None]:
        """See `ChainWriter`."""
        return await self._ask(lambda writer: writer.find_executions(keys))

    async def next_slot(
        self,
        sender: Address32,
        used: Sequence[SendSlot],
        order: ReleaseOrder | None = None,
    ) -> SendSlot:
        """See `ChainWriter`."""
        return await self._ask(lambda writer: writer.next_slot(sender, used, order))

    async def permit_terms(
        self, batch: ReleaseBatch, sender: Address32, guards: Sequence[str]
    ) -> bytes:
        """See `ChainWriter`."""
        return await self._ask(lambda writer: writer.permit_terms(batch, sender, guards))

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """See `ChainWriter`."""
        await self._ask(lambda writer: writer.check_terms(batch))

    async def guard_epoch(self) -> int:
        """See `ChainWriter`."""
        return await self._ask(lambda writer: writer.guard_epoch())

    async def prepare(self, order: ReleaseOrder, slot: SendSlot) -> PreparedTx:
        """See `ChainWriter`."""
        return await self._ask(lambda writer: writer.prepare(order, slot))

    async def broadcast(self, tx: SignedTx) -> TxRef:
        """See `ChainWriter`."""
        return await self._ask(lambda writer: writer.broadcast(tx))

    async def status(self, tx: TxRef, slot: SendSlot) -> TxStatus:
        """See `ChainWriter`."""
        return await self._ask(lambda writer: writer.status(tx, slot))

    async def replace(self, tx: PreparedTx) -> PreparedTx | None:
        """See `ChainWriter`."""
        return await self._ask(lambda writer: writer.replace(tx))

    async def fill_slot(self, slot: SendSlot) -> PreparedTx | None:
        """See `ChainWriter`."""
        return await self._ask(lambda writer: writer.fill_slot(slot))

"""Decorators around the chain ports: `Metered` tells how calls went, `RateLimited` spaces them.

They add no knowledge of chains and change no answer. Stack them outside in:
`Metered(Quorum([RateLimited(reader), …]))`.
"""

from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

from xstock_chains.ports import (
    ChainReader,
    ChainWriter,
    Cursor,
    Execution,
    Page,
    PreparedTx,
    Progress,
    ReleaseOrder,
    SendSlot,
    SignedTx,
    SupplyReading,
    TxStatus,
)
from xstock_core.ids import Address32, AssetId
from xstock_core.observation import BlockRef, Observation, TxRef
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_runtime.clock import Clock
from xstock_runtime.errors import ServiceError, Transient

T = TypeVar("T")


class Meter(Protocol):
    """Where measurements go; `outcome` is OK, an error's stable code, or UNEXPECTED."""

    def record(self, method: str, outcome: str, seconds: float) -> None:
        """Take one finished call."""
        ...


class _Around:
    """How one call is wrapped."""

    async def call(self, method: str, work: Awaitable[T]) -> T:
        """Await the work; decorators add what they are for."""
        raise NotImplementedError


class _ReaderAround(_Around):
    def __init__(self, inner: ChainReader) -> None:
        self._inner = inner

    async def finalized_head(self) -> BlockRef:
        """See `ChainReader`."""
        return await self.call("finalized_head", self._inner.finalized_head())

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """See `ChainReader`."""
        return await self.call("read_page", self._inner.read_page(after, limit=limit))

    async def re_observe(self, tx: TxRef) -> Sequence[Observation]:
        """See `ChainReader`."""
        return await self.call("re_observe", self._inner.re_observe(tx))

    async def read_pending(self) -> Sequence[Progress]:
        """See `ChainReader`."""
        return await self.call("read_pending", self._inner.read_pending())

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """See `ChainReader`."""
        return await self.call("read_supply", self._inner.read_supply(assets, at=at))

    async def is_final(self, block: BlockRef) -> bool | None:
        """See `ChainReader`."""
        return await self.call("is_final", self._inner.is_final(block))


class _WriterAround(_Around):
    def __init__(self, inner: ChainWriter) -> None:
        self._inner = inner

    async def find_executions(self, keys: Sequence[ExecutionKey]) -> Sequence[Execution | None]:
        """See `ChainWriter`."""
        return await self.call("find_executions", self._inner.find_executions(keys))

    async def next_slot(
        self,
        sender: Address32,
        used: Sequence[SendSlot],
        order: ReleaseOrder | None = None,
    ) -> SendSlot:
        """See `ChainWriter`."""
        return await self.call("next_slot", self._inner.next_slot(sender, used, order))

    async def permit_terms(
        self, batch: ReleaseBatch, sender: Address32, guards: Sequence[str]
    ) -> bytes:
        """See `ChainWriter`."""
        return await self.call("permit_terms", self._inner.permit_terms(batch, sender, guards))

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """See `ChainWriter`."""
        await self.call("check_terms", self._inner.check_terms(batch))

    async def guard_epoch(self) -> int:
        """See `ChainWriter`."""
        return await self.call("guard_epoch", self._inner.guard_epoch())

    async def prepare(self, order: ReleaseOrder, slot: SendSlot) -> PreparedTx:
        """See `ChainWriter`."""
        return await self.call("prepare", self._inner.prepare(order, slot))

    async def broadcast(self, tx: SignedTx) -> TxRef:
        """See `ChainWriter`."""
        return await self.call("broadcast", self._inner.broadcast(tx))

    async def status(self, tx: TxRef, slot: SendSlot) -> TxStatus:
        """See `ChainWriter`."""
        return await self.call("status", self._inner.status(tx, slot))

    async def replace(self, tx: PreparedTx) -> PreparedTx | None:
        """See `ChainWriter`."""
        return await self.call("replace", self._inner.replace(tx))

    async def fill_slot(self, slot: SendSlot) -> PreparedTx | None:
        """See `ChainWriter`."""
        return await self.call("fill_slot", self._inner.fill_slot(slot))


class _Metering(_Around):
    _meter: Meter
    _clock: Clock

    async def call(self, method: str, work: Awaitable[T]) -> T:
        """Await the work and record how long it took and how it ended."""
        start, outcome = self._clock.monotonic(), "UNEXPECTED"
        try:
            result = await work
            outcome = "OK"
            return result
        except ServiceError as error:
            outcome = error.code
            raise
        finally:
            self._meter.record(method, outcome, self._clock.monotonic() - start)


class Metered(_Metering, _ReaderAround):
    """A reader whose every call is recorded."""

    def __init__(self, inner: ChainReader, meter: Meter, clock: Clock) -> None:
        super().__init__(inner)
        self._meter, self._clock = meter, clock


class MeteredWriter(_Metering, _WriterAround):
    """A writer whose every call is recorded."""

    def __init__(self, inner: ChainWriter, meter: Meter, clock: Clock) -> None:
        super().__init__(inner)
        self._meter, self._clock = meter, clock


class CallBudget:
    """A token bucket: `per_second` calls, `burst` at once; share one between reader and writer.

    Callers are served in order. Raises Transient RATE_LIMITED, without calling, if the wait
    would be longer than `wait_seconds_max`; raises ValueError for a budget that never fills.
    """

    def __init__(
        self, clock: Clock, *, per_second: float, burst: int, wait_seconds_max: float = 5.0
    ) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError(f"budget {per_second}/s, burst {burst}: need more than 0 and >= 1")
        self._clock = clock
        self._spacing = 1 / per_second
        self._tolerance = self._spacing * (burst - 1)
        self._wait_max = wait_seconds_max
        self._next = clock.monotonic()

    async def take(self) -> None:
        """Wait for this call's turn."""
        now = self._clock.monotonic()
        turn = max(self._next, now)
        wait = turn - self._tolerance - now
        if wait > self._wait_max:
            raise Transient(
                "RATE_LIMITED",
                f"the provider's budget is spent for {wait:.1f} s; raise it or add a provider",
                retry_after_seconds=wait,
            )
        self._next = turn + self._spacing
        if wait > 0:
            await self._clock.sleep(wait)


class _Limiting(_Around):
    _budget: CallBudget

    async def call(self, method: str, work: Awaitable[T]) -> T:
        """Await a turn, then the work."""
        del method
        try:
            await self._budget.take()
        except BaseException:
            if hasattr(work, "close"):
                work.close()
            raise
        return await work


class RateLimited(_Limiting, _ReaderAround):
    """A reader that stays within its provider's rate."""

    def __init__(self, inner: ChainReader, budget: CallBudget) -> None:
        super().__init__(inner)
        self._budget = budget


class RateLimitedWriter(_Limiting, _WriterAround):
    """A writer that stays within its provider's rate."""

    def __init__(self, inner: ChainWriter, budget: CallBudget) -> None:
        super().__init__(inner)
        self._budget = budget

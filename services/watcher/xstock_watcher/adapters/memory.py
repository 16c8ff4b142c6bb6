"""The watcher's memory in a process: for simulation and handler tests, under the same suite."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xstock_chains.ports import Cursor, Page, Progress
from xstock_core.ids import Domain
from xstock_core.observation import BlockRef, ObservationId, TxRef, by_id
from xstock_runtime.errors import Ambiguous
from xstock_watcher.ports import LatchedHalt, Numbered, Position, approver, halted, no_such_halt


@dataclass(slots=True)
class MemoryWatcherStore:
    """WatcherStore in memory; `publish` is handed every new observation, in order."""

    chain: Domain
    publish: Callable[[Numbered], None]
    numbered: list[Numbered] = field(default_factory=list)
    _position: Position | None = None
    _known: set[ObservationId] = field(default_factory=set)
    _halt: LatchedHalt | None = None
    _halts: int = 0

    async def position(self) -> Position:
        """Where to read on."""
        return self._position or Position(Cursor(self.chain), None, None, 0)

    async def save_page(self, before: Cursor, page: Page) -> int:
        """Keep a page and hand on what is new."""
        if self._halt is not None:
            raise halted(self._halt)
        position = await self.position()
        if position.cursor != before:
            raise Ambiguous("CURSOR_MOVED", "another instance of this watcher moved the cursor")
        new: list[Numbered] = []
        for key, observation in by_id(page.observations).items():
            if key not in self._known:
                self._known.add(key)
                new.append(Numbered(position.sequence + len(new) + 1, observation))
        self.numbered.extend(new)
        sequence = position.sequence + len(new)
        self._position = Position(page.cursor, page.through, page.head, sequence)
        for item in new:
            self.publish(item)
        return len(new)

    async def list_after(self, sequence: int, limit: int) -> Sequence[Numbered]:
        """Observations with a greater number; numbers are dense from 1."""
        return self.numbered[sequence : sequence + limit]

    async def list_of(self, *txs: TxRef) -> Sequence[Numbered]:
        """Observations of these transactions."""
        return [item for item in self.numbered if item.observation.place.tx in txs]

    async def latch_halt(self, code: str, detail: str, at_ms: int) -> LatchedHalt:
        """Latch a halt, or return the one in force."""
        if self._halt is None:
            self._halts += 1
            self._halt = LatchedHalt(str(self._halts), code, detail, at_ms, ())
        return self._halt

    async def halt(self) -> LatchedHalt | None:
        """The halt in force."""
        return self._halt

    async def approve_clearing(self, halt_id: str, by: str, needed: int) -> bool:
        """Add one name; cleared when `needed` different ones are there."""
        name, halt = approver(by), self._halt
        if halt is None or halt.id != halt_id:
            raise no_such_halt(halt_id)
        names = tuple(sorted({*halt.approvals, name}))
        cleared = len(names) >= needed
        self._halt = (
            None if cleared else LatchedHalt(halt.id, halt.code, halt.detail, halt.at_ms, names)
        )
        return cleared


@dataclass(slots=True)
class MemoryProgressBus:
    """ProgressBus that remembers what was told."""

    burns: list[tuple[tuple[Progress, ...], tuple[Progress, ...]]] = field(default_factory=list)
    chains: list[tuple[BlockRef, int]] = field(default_factory=list)

    async def publish_burns(
        self, pending: Sequence[Progress], vanished: Sequence[Progress], at_ms: int
    ) -> None:
        """Remember."""
        del at_ms
        self.burns.append((tuple(pending), tuple(vanished)))

    async def publish_chain(self, through: BlockRef, head_number: int, at_ms: int) -> None:
        """Remember."""
        del at_ms
        self.chains.append((through, head_number))

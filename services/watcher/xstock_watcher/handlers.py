"""What a watcher does, one step a call; the loops that call it live in entrypoints.

`scan` moves the cursor by at most one page. `report_progress` is advisory. `look` answers a
person's or the relayer's question about one transaction. A broken promise of the chain (a
final block that changed), whoever meets it, latches a halt in the database first and raises
Fatal after it: the process ends, no other instance keeps a page, and none starts until two
people have cleared it (F29).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from xstock_chains.ports import ChainReader, Progress, TxInspector, TxState, TxStatus
from xstock_core.ids import Domain, TransferId
from xstock_core.observation import BlockRef, BurnFinal, Observation, TxRef
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, Fatal, Transient
from xstock_runtime.hashing import keccak256
from xstock_watcher.ports import Numbered, Position, ProgressBus, WatcherStore, halted

APPROVALS_NEEDED = 2


@dataclass(frozen=True, slots=True)
class Scanned:
    """What one scan did: how many observations were new, whether more can be read at once."""

    new: int
    more: bool
    through: BlockRef
    head: BlockRef


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at one transaction found; `verdict` as in LookVerdict, without prefix."""

    verdict: str
    observations: tuple[Numbered | Observation, ...]
    pending: tuple[Progress, ...]
    through: BlockRef | None


@dataclass(slots=True)
class WatcherHandlers:
    """The watcher's steps over its ports. `page_limit` bounds the observations of a page."""

    chain: Domain
    reader: ChainReader
    store: WatcherStore
    bus: ProgressBus
    clock: Clock
    page_limit: int = 1_000
    _pending: dict[bytes, Progress] = field(default_factory=dict)
    _position: Position | None = None

    async def refuse_if_halted(self) -> None:
        """Raise Fatal WATCHER_HALTED while a halt is latched."""
        halt = await self.store.halt()
        if halt is not None:
            raise halted(halt, APPROVALS_NEEDED)

    async def scan(self) -> Scanned:
        """Read one page after the cursor and keep it; raises what the reader and store raise."""
        position = self._position or await self.store.position()
        async with self._latching():
            page = await self.reader.read_page(position.cursor, limit=self.page_limit)
        if page.cursor == position.cursor and not page.observations:
            return Scanned(0, page.more, page.through, page.head)
        try:
            new = await self.store.save_page(position.cursor, page)
        except Ambiguous:
            self._position = None  # another instance moved it, or a commit's fate is unknown
            raise
        self._position = Position(page.cursor, page.through, page.head, position.sequence + new)
        return Scanned(new, page.more, page.through, page.head)

    async def report_progress(self) -> int:
        """Publish how far seen burns are from final, and which vanished; returns how many.

        A burn that is no longer pending became final or vanished; which of the two is known
        only once the scan has passed its block, and until then nothing is said.
        """
        async with self._latching():
            told = await self.reader.read_pending()
        pending = {_key(progress): progress for progress in told}
        gone = {key: p for key, p in self._pending.items() if key not in pending}
        through = (await self.store.position()).through
        reached = -1 if through is None else through.number
        decided = [p for p in gone.values() if p.block_number <= reached]
        undecided = {key: p for key, p in gone.items() if p.block_number > reached}
        final = await self._final_ids(decided)
        vanished = [p for p in decided if p.message.transfer_id(keccak256) not in final]
        changed = [p for key, p in pending.items() if self._pending.get(key) != p]
        if changed or vanished:
            await self.bus.publish_burns(changed, vanished, self.clock.unix_ms())
        self._pending = {**undecided, **pending}
        return len(changed) + len(vanished)

    async def report_chain(self, scanned: Scanned, head_number: int) -> None:
        """Publish how far the chain was read."""
        await self.bus.publish_chain(scanned.through, head_number, self.clock.unix_ms())

    async def look(self, tx: TxRef) -> Looked:
        """What is known of one transaction: from memory, else from the chain, asked again."""
        through = (await self.store.position()).through
        known = await self.store.list_of(tx)
        if known:
            return Looked("TRACKED", tuple(known), (), through)
        async with self._latching():
            found = await self.reader.re_observe(tx)
            if found:
                return Looked("TRACKED", tuple(found), (), through)
            pending = tuple(p for p in await self.reader.read_pending() if p.tx == tx)
            if pending:
                return Looked("SEEN_NOT_FINAL", (), pending, through)
            return Looked(_verdict(await self._inspect(tx)), (), (), through)

    async def _inspect(self, tx: TxRef) -> TxStatus | None:
        if not isinstance(self.reader, TxInspector):
            text = "this chain's reader cannot say where a transaction stands; ask its nodes"
            raise Transient("INSPECT_UNSUPPORTED", text)
        return await self.reader.inspect(tx)

    @asynccontextmanager
    async def _latching(self) -> AsyncIterator[None]:
        """Latch a halt before a broken promise of the chain goes any further."""
        try:
            yield
        except Fatal as error:
            await self.store.latch_halt(error.code, error.message, self.clock.unix_ms())
            raise

    async def _final_ids(self, gone: Sequence[Progress]) -> set[TransferId]:
        """Which of the burns that are no longer pending became final."""
        if not gone:
            return set()
        kept = await self.store.list_of(
            *{progress.tx.id: progress.tx for progress in gone}.values()
        )
        return {
            numbered.observation.transfer_id
            for numbered in kept
            if isinstance(numbered.observation, BurnFinal)
        }


def _key(progress: Progress) -> bytes:
    return progress.message.pack()


def _verdict(status: TxStatus | None) -> str:
    """What a transaction without any burn of ours is."""
    if status is None:
        return "UNKNOWN_TO_NODES"
    if status.state is TxState.FINAL:
        return "NOT_A_BRIDGE_BURN" if status.succeeded else "REVERTED"
    return "SEEN_NOT_FINAL" if status.state is TxState.INCLUDED else "IN_MEMPOOL"

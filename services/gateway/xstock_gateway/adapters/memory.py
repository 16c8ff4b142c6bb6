"""The gateway's memory in a process: for handler tests, under the same suite as PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from xstock_core.ids import Domain, TransferId
from xstock_gateway.handlers.follow import Wakeups, matches
from xstock_gateway.ports import BuiltBurn, Coverage, JournalLine, ViewFilter
from xstock_gateway.view import Change, TransferView
from xstock_runtime.errors import Ambiguous


@dataclass(slots=True)
class MemoryGatewayStore:
    """GatewayStore in memory; `wakeups` is told of every save."""

    wakeups: Wakeups = field(default_factory=Wakeups)
    _views: dict[TransferId, TransferView] = field(default_factory=dict)
    _journal: list[JournalLine] = field(default_factory=list)
    _coverage: dict[Domain, Coverage] = field(default_factory=dict)
    _built: dict[str, BuiltBurn] = field(default_factory=dict)
    _head: int = 0
    _saved: Wakeups = field(default_factory=Wakeups)

    async def views(self, ids: Sequence[TransferId]) -> dict[TransferId, TransferView]:
        """The views that exist."""
        return {key: self._views[key] for key in ids if key in self._views}

    async def save(self, changes: Sequence[Change]) -> int:
        """Keep new views with one journal line each; raises Ambiguous VIEW_MOVED."""
        if not changes:
            return 0
        first: dict[TransferId, int] = {}
        for change in changes:
            first.setdefault(change.view.transfer_id, change.view.revision - 1)
        for key, revision in first.items():
            found = self._views.get(key)
            if (0 if found is None else found.revision) != revision:
                raise Ambiguous("VIEW_MOVED", "a transfer was changed by somebody else meanwhile")
        for change in changes:
            self._head += 1
            self._journal.append(JournalLine(self._head, change))
            self._views[change.view.transfer_id] = change.view
        self._saved.wake()
        self.wakeups.wake()
        return self._head

    async def save_coverage(self, coverage: Sequence[Coverage]) -> None:
        """Keep the newest look per chain."""
        for item in coverage:
            known = self._coverage.get(item.chain)
            if known is None or known.at_ms < item.at_ms:
                self._coverage[item.chain] = item

    async def coverage(self) -> Sequence[Coverage]:
        """Per chain."""
        return [self._coverage[chain] for chain in sorted(self._coverage)]

    async def journal_after(self, sequence: int, limit: int) -> Sequence[JournalLine]:
        """Lines in order."""
        start = max(0, sequence + 1 - self._oldest())
        return self._journal[start : start + limit]

    async def journal_bounds(self) -> tuple[int, int, int]:
        """(oldest sequence, its time, newest sequence)."""
        if not self._journal:
            return 1, 0, self._head
        return self._oldest(), self._journal[0].change.view.updated_ms, self._head

    async def journal_at(self, unix_ms: int) -> int:
        """The last place before every line of this time or later."""
        later = (line for line in self._journal if line.change.view.updated_ms >= unix_ms)
        first = next(later, None)
        return self._head if first is None else first.sequence - 1

    async def forget_before(self, unix_ms: int) -> int:
        """Forget the beginning of the journal and burns that expired; how many lines."""
        keep_from = min(await self.journal_at(unix_ms) + 1, self._head)
        kept = [line for line in self._journal if line.sequence >= keep_from]
        forgotten = len(self._journal) - len(kept)
        self._journal = kept
        self._built = {
            key: built
            for key, built in self._built.items()
            if built.burn.expires >= unix_ms // 1000
        }
        return forgotten

    async def open_views(self, after: TransferId | None, limit: int) -> Sequence[TransferView]:
        """Transfers that are not terminal, by id."""
        beyond = (key for key in sorted(self._views) if after is None or key > after)
        return [self._views[key] for key in beyond if not self._views[key].terminal][:limit]

    async def list_views(
        self, wanted: ViewFilter, before: tuple[int, TransferId] | None, limit: int
    ) -> Sequence[TransferView]:
        """Newest first."""
        found = sorted(
            (view for view in self._views.values() if matches(wanted, view)),
            key=_place,
            reverse=True,
        )
        return [view for view in found if before is None or _place(view) < before][:limit]

    async def views_by_tx(self, tx_id: bytes) -> Sequence[TransferView]:
        """Transfers to which a transaction belongs."""
        found = (self._views[key] for key in sorted(self._views))
        return [view for view in found if any(tx.id == tx_id for tx in view.txs)]

    async def built(self, request_id: str) -> BuiltBurn | None:
        """What was built under a request id."""
        return self._built.get(request_id)

    async def keep_built(self, built: BuiltBurn) -> BuiltBurn:
        """Keep it unless somebody was first; what is kept."""
        return self._built.setdefault(built.request_id, built)

    async def changes(self) -> AsyncIterator[None]:
        """Wakes with every save."""
        while True:
            ticket = self._saved.ticket()
            yield None
            await ticket.wait()

    def _oldest(self) -> int:
        return self._journal[0].sequence if self._journal else self._head + 1


def _place(view: TransferView) -> tuple[int, TransferId]:
    return view.created_ms, view.transfer_id

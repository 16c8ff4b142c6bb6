"""Facts in, journal lines out: a page of records is one load, one merge and one save."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xstock_core.ids import TransferId
from xstock_gateway.ports import Coverage, GatewayStore
from xstock_gateway.view import Change, Fact, TransferView, merge
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous

_ATTEMPTS: Final = 5


@dataclass(slots=True)
class IngestHandler:
    """Merges facts into views; the same facts again change nothing."""

    store: GatewayStore
    clock: Clock

    async def take(self, facts: Sequence[Fact], coverage: Sequence[Coverage]) -> int:
        """Take a page in; returns how many journal lines it made.

        Every intermediate revision is its own line: a follower sees each state once.
        """
        changes = await self._merge_and_save(facts)
        if coverage:
            newest = {item.chain: item for item in sorted(coverage, key=lambda c: c.at_ms)}
            await self.store.save_coverage(list(newest.values()))
        return len(changes)

    async def _merge_and_save(self, facts: Sequence[Fact]) -> list[Change]:
        """Merge and save, again when somebody else changed one of the views meanwhile."""
        for _ in range(_ATTEMPTS - 1):
            changes = await self._merge(facts)
            try:
                await self.store.save(changes)
            except Ambiguous:
                continue
            return changes
        changes = await self._merge(facts)
        await self.store.save(changes)
        return changes

    async def _merge(self, facts: Sequence[Fact]) -> list[Change]:
        if not facts:
            return []
        ids = list(dict.fromkeys(fact.transfer_id for fact in facts))
        views: dict[TransferId, TransferView] = await self.store.views(ids)
        changes = []
        for fact in facts:
            change = merge(views.get(fact.transfer_id), fact, self.clock.unix_ms())
            if change is not None:
                views[fact.transfer_id] = change.view
                changes.append(change)
        return changes

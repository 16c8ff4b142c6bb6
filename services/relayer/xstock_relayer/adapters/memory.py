"""The books in memory: the same promises as PostgreSQL, for simulations and tests.

`Disk` is what survives a crash and may be shared by several `MemoryBooks`, each one process. A
commit is all or nothing, fenced by a lease that grows with every take-over, and refuses to put
another batch into a slot that has one. It passes the contract suite of the PostgreSQL adapter.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xstock_chains.ports import SendSlot
from xstock_core.ids import Address32, Domain, TransferId
from xstock_core.observation import TxRef
from xstock_core.release import ExecutionKey, key_of
from xstock_core.transfer import Phase
from xstock_relayer.handlers.desk import finished
from xstock_relayer.model import (
    Alarm,
    Batch,
    BatchId,
    Change,
    Early,
    Halt,
    Recovery,
    SlotEntry,
    SlotState,
    Transfer,
)
from xstock_runtime.errors import Ambiguous, Fatal


@dataclass(slots=True)
class Disk:
    """What a relayer's database holds. `fence` is that of the present lease holder."""

    fence: int = 0
    transfers: dict[TransferId, Transfer] = field(default_factory=dict)
    by_key: dict[ExecutionKey, set[TransferId]] = field(default_factory=dict)
    batches: dict[BatchId, Batch] = field(default_factory=dict)
    slots: dict[SendSlot, SlotEntry] = field(default_factory=dict)
    early: list[Early] = field(default_factory=list)
    positions: dict[Domain, int] = field(default_factory=dict)
    halts: dict[str, Halt] = field(default_factory=dict)
    published: list[Transfer] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)

    def take_lease(self) -> int:
        """A new fence; whoever held the lease before is fenced out."""
        self.fence += 1
        return self.fence


class MemoryBooks:
    """One process's way to a `Disk`. Without a fence (None) the lease is not checked."""

    def __init__(self, disk: Disk, fence: int | None = None) -> None:
        self.disk = disk
        self.fence = fence

    async def recover(self) -> Recovery:
        """Everything that is open."""
        self._assert_held()
        disk = self.disk
        slots = tuple(entry for entry in disk.slots.values() if entry.state is SlotState.OPEN)
        last: dict[tuple[Domain, Address32], SlotEntry] = {}
        for entry in disk.slots.values():
            key = (entry.slot.chain, entry.slot.sender)
            if key not in last or last[key].ordinal < entry.ordinal:
                last[key] = entry
        return Recovery(
            transfers=tuple(
                t for t in disk.transfers.values() if t.batch is None and not finished(t)
            ),
            batches=tuple(disk.batches[e.batch] for e in slots if e.batch is not None),
            slots=slots,
            last_slots=tuple(last.values()),
            positions=dict(disk.positions),
            halts=tuple(disk.halts.values()),
            early=len(disk.early),
        )

    async def transfers(self, ids: Sequence[TransferId]) -> Mapping[TransferId, Transfer]:
        """Those of `ids` that are known."""
        await asyncio.sleep(0)
        return {key: self.disk.transfers[key] for key in ids if key in self.disk.transfers}

    async def transfers_of(
        self, keys: Sequence[ExecutionKey]
    ) -> Mapping[ExecutionKey, Sequence[Transfer]]:
        """The transfers under these dedup keys."""
        disk = self.disk
        return {
            key: tuple(disk.transfers[found] for found in sorted(disk.by_key[key]))
            for key in keys
            if key in disk.by_key
        }

    async def early(self, keys: Sequence[ExecutionKey]) -> Sequence[Early]:
        """News that came before its transfer was known."""
        wanted = set(keys)
        return tuple(early for early in self.disk.early if early.key in wanted)

    async def batches_of(self, txs: Sequence[TxRef]) -> Mapping[TxRef, BatchId]:
        """Which batch each of these transactions carries."""
        found = {}
        for entry in self.disk.slots.values():
            for attempt in entry.attempts:
                if attempt.signed and entry.batch and attempt.signed.ref in txs:
                    found[attempt.signed.ref] = entry.batch
        return found

    async def parked(self, after: TransferId | None, limit: int) -> Sequence[Transfer]:
        """Transfers that wait for a person, by id."""
        parked = (t for t in self.disk.transfers.values() if t.view.phase is Phase.PARKED)
        ordered = sorted(parked, key=lambda transfer: transfer.id)
        return tuple(t for t in ordered if after is None or t.id > after)[:limit]

    async def commit(self, change: Change) -> None:
        """All of it or nothing."""
        await asyncio.sleep(0)
        self._assert_held()
        disk = self.disk
        for entry in change.slots:
            held = disk.slots.get(entry.slot)
            if held is not None and held.batch != entry.batch:
                raise slot_taken(entry)
        for transfer in change.transfers:
            disk.transfers[transfer.id] = transfer
            if transfer.state.message is not None:
                disk.by_key.setdefault(key_of(transfer.state.message), set()).add(transfer.id)
        disk.batches.update({batch.id: batch for batch in change.batches})
        disk.slots.update({entry.slot: entry for entry in change.slots})
        used = set(change.early_used)
        disk.early = [e for e in disk.early if e.key not in used]
        disk.early += [e for e in change.early if e not in disk.early]
        disk.positions.update(change.positions)
        disk.halts.update({halt.id: halt for halt in change.halts})
        for halt_id in change.halts_cleared:
            disk.halts.pop(halt_id, None)
        disk.published += change.published
        disk.alarms += change.alarms

    def _assert_held(self) -> None:
        # SECURITY: a process that slept through its lease must not write (F46).
        if self.fence is not None and self.fence != self.disk.fence:
            raise Fatal(
                "FENCED",
                f"lease fence {self.fence} is not the present {self.disk.fence}; restart",
                {"fence": self.fence},
            )


def slot_taken(entry: SlotEntry) -> Ambiguous:
    """A slot of the ledger belongs to another batch: reusing it would lose one of the two."""
    return Ambiguous(
        "SLOT_TAKEN",
        f"slot {entry.slot.text} on {entry.slot.chain.name} carries another batch already; "
        "read the ledger again before deciding",
        {"slot": entry.slot.text, "chain": entry.slot.chain.name},
    )

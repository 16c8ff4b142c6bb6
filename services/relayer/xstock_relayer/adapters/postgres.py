"""The books in PostgreSQL: one fenced transaction per change, one statement per table.

Every commit begins with the lease's fence, so that a process that slept through its lease writes
nothing (F46). Pages are written with `INSERT … SELECT unnest … ON CONFLICT DO UPDATE`; a slot
keeps its batch for ever, and the statement that would give it another fails the commit (F43).
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from xstock_chains.ports import PreparedTx, ReleaseOrder, SendSlot, SignedTx
from xstock_core.ids import Address32, AssetId, Domain, Nonce, TransferId
from xstock_core.observation import TxRef, observation_id
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_core.review import Scope
from xstock_core.transfer import Phase, revision
from xstock_relayer.adapters.memory import slot_taken
from xstock_relayer.adapters.stored import (
    items_from_bytes,
    items_to_bytes,
    message_from_bytes,
    order_from_bytes,
    order_to_bytes,
    signatures_from_text,
    signatures_to_text,
    state_from_text,
    state_to_text,
)
from xstock_relayer.adapters.wire import transfer_to_record
from xstock_relayer.handlers.desk import finished
from xstock_relayer.model import (
    Attempt,
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
from xstock_runtime.clock import Clock
from xstock_runtime.database import Database, among, end_to_end, insert_many, statement
from xstock_runtime.kafka import Record
from xstock_runtime.logging import get_logger
from xstock_runtime.outbox import Outbox
from xstock_wire.codec import observation_from_wire, observation_to_wire
from xstock_wire.v1 import records_pb2

_log = get_logger("books")
TRANSFERS_TOPIC = "xstock.transfers.v1"
_ID = 32


class Fence(Protocol):
    """The lease of this process."""

    async def assert_held(self, connection: AsyncConnection) -> int:
        """The fence, or Fatal FENCED."""
        ...


class PostgresBooks:
    """`Books` over this relayer's own database."""

    def __init__(
        self, database: Database, fence: Fence, clock: Clock, *, deployment_id: str
    ) -> None:
        self._database = database
        self._fence = fence
        self._clock = clock
        self._deployment_id = deployment_id
        self._outbox = Outbox()

    # --- reading

    async def recover(self) -> Recovery:
        """Everything that is open."""
        async with self._database.transaction() as connection:
            await self._fence.assert_held(connection)
            transfers = await self._rows(
                connection, "SELECT * FROM transfer WHERE standing = 'OPEN' ORDER BY opened_ms"
            )
            slots = await self._slots(connection, "SELECT * FROM slot WHERE state = 'OPEN'")
            last = await self._slots(
                connection,
                "SELECT DISTINCT ON (chain, sender) * FROM slot"
                " ORDER BY chain, sender, ordinal DESC",
            )
            carried = [slot.batch for slot in slots if slot.batch is not None]
            batches = await self._rows(
                connection,
                "SELECT * FROM batch WHERE batch_id = ANY(CAST(:ids AS bytea[]))",
                ids=carried,
            )
            positions = await self._rows(connection, "SELECT chain, sequence FROM position")
            halts = await self._rows(
                connection, "SELECT * FROM halt WHERE NOT cleared ORDER BY at_ms"
            )
            early = await connection.scalar(text("SELECT count(*) FROM early"))
        return Recovery(
            transfers=tuple(map(_transfer, transfers)),
            batches=tuple(map(_batch, batches)),
            slots=tuple(slots),
            last_slots=tuple(last),
            positions={Domain(row.chain): row.sequence for row in positions},
            halts=tuple(map(_halt, halts)),
            early=int(early or 0),
        )

    async def transfers(self, ids: Sequence[TransferId]) -> Mapping[TransferId, Transfer]:
        """Those of `ids` that are known."""
        rows = await self._read(
            among("SELECT * FROM transfer WHERE transfer_id", "ids"), ids=end_to_end(ids)
        )
        return {transfer.id: transfer for transfer in map(_transfer, rows)}

    async def transfers_of(
        self, keys: Sequence[ExecutionKey]
    ) -> Mapping[ExecutionKey, Sequence[Transfer]]:
        """The transfers under these dedup keys."""
        wanted = set(keys)
        named = among("SELECT * FROM transfer WHERE nonce", "nonces")
        rows = await self._read(
            f"{named} ORDER BY transfer_id", nonces=end_to_end([key.nonce for key in keys])
        )
        found: dict[ExecutionKey, list[Transfer]] = {}
        for row in rows:
            key = _key(row)
            if key in wanted:
                found.setdefault(key, []).append(_transfer(row))
        return found

    async def early(self, keys: Sequence[ExecutionKey]) -> Sequence[Early]:
        """News that came before its transfer was known."""
        wanted = set(keys)
        rows = await self._read(
            among("SELECT * FROM early WHERE nonce", "nonces"),
            nonces=end_to_end([key.nonce for key in keys]),
        )
        found = []
        for row in rows:
            key = _key(row)
            if key in wanted:
                record = records_pb2.ObservationRecord.FromString(bytes(row.record))
                observation = observation_from_wire(record, deployment_id=self._deployment_id)
                found.append(Early(key, observation))
        return found

    async def batches_of(self, txs: Sequence[TxRef]) -> Mapping[TxRef, BatchId]:
        """Which batch each of these transactions carries."""
        rows = await self._read(
            "SELECT a.chain, a.tx_id, s.batch_id FROM attempt a JOIN slot s USING"
            " (chain, sender, slot) WHERE a.tx_id = ANY(CAST(:ids AS bytea[]))"
            " AND s.batch_id IS NOT NULL",
            ids=[tx.id for tx in txs],
        )
        return {
            TxRef(Domain(row.chain), bytes(row.tx_id)): BatchId(bytes(row.batch_id)) for row in rows
        }

    async def parked(self, after: TransferId | None, limit: int) -> Sequence[Transfer]:
        """Transfers that wait for a person, by id."""
        rows = await self._read(
            "SELECT * FROM transfer WHERE standing = 'PARKED' AND transfer_id > :after"
            " ORDER BY transfer_id LIMIT :limit",
            after=bytes(after or b""),
            limit=limit,
        )
        return tuple(map(_transfer, rows))

    async def _read(self, sql: str, **parameters: Any) -> Sequence[Any]:
        async def work(connection: AsyncConnection) -> Sequence[Any]:
            return await self._rows(connection, sql, **parameters)

        return await self._database.run(work)

    async def _rows(
        self, connection: AsyncConnection, sql: str, **parameters: Any
    ) -> Sequence[Any]:
        return (await connection.execute(statement(sql), parameters)).all()

    async def _slots(self, connection: AsyncConnection, sql: str) -> list[SlotEntry]:
        slots = await self._rows(connection, sql)
        attempts = await self._rows(
            connection,
            "SELECT * FROM attempt WHERE (chain, sender, slot) IN (SELECT * FROM unnest("
            "CAST(:chains AS integer[]), CAST(:senders AS bytea[]), CAST(:slots AS text[])))"
            " ORDER BY number",
            chains=[row.chain for row in slots],
            senders=[bytes(row.sender) for row in slots],
            slots=[row.slot for row in slots],
        )
        tried: dict[tuple[int, bytes, str], list[Attempt]] = {}
        for row in attempts:
            key = (row.chain, bytes(row.sender), row.slot)
            tried.setdefault(key, []).append(_attempt(row))
        return [
            _entry(row, tried.get((row.chain, bytes(row.sender), row.slot), ())) for row in slots
        ]

    # --- writing

    async def commit(self, change: Change) -> None:
        """All of it or nothing; tried again while it is Transient."""

        async def work(connection: AsyncConnection) -> None:
            # SECURITY: nothing is decided by a process that no longer holds the lease (F46).
            await self._fence.assert_held(connection)
            for write in self._writers(change):
                await write(connection)

        await self._database.run(work)
        for alarm in change.alarms:
            _log.warning("alarm", code=alarm.code, scope=alarm.scope, detail=alarm.detail)

    def _writers(self, change: Change) -> Iterable[Callable[[AsyncConnection], Awaitable[None]]]:
        pairs: tuple[tuple[object, Callable[[AsyncConnection, Change], Awaitable[None]]], ...] = (
            (change.transfers, self._write_transfers),
            (change.batches, self._write_batches),
            (change.slots, self._write_slots),
            (change.early or change.early_used, self._write_early),
            (change.positions, self._write_positions),
            (change.halts or change.halts_cleared, self._write_halts),
            (change.alarms, self._write_alarms),
            (change.published, self._publish),
        )
        for wanted, write in pairs:
            if wanted:
                yield lambda connection, write=write: write(connection, change)  # type: ignore[misc]

    async def _write_transfers(self, connection: AsyncConnection, change: Change) -> None:
        transfers = sorted(change.transfers, key=lambda transfer: transfer.id)
        shown = [transfer.view for transfer in transfers]
        messages = [transfer.state.message for transfer in transfers]
        await insert_many(
            connection,
            "transfer",
            {
                "transfer_id": ("bytea", [t.id for t in transfers]),
                "message": ("bytea", [m.pack() if m else b"" for m in messages]),
                "destination": ("integer", [int(m.destination) if m else 0 for m in messages]),
                "source": ("integer", [int(m.source) if m else 0 for m in messages]),
                "nonce": ("bytea", [m.nonce if m else b"" for m in messages]),
                "opened_ms": ("bigint", [t.opened_ms for t in transfers]),
                "standing": ("text", [_standing(t) for t in transfers]),
                "phase": ("text", [view.phase.value for view in shown]),
                "batch_id": ("bytea", [t.batch for t in transfers]),
                "issue_order": ("bytea", [order_to_bytes(t.order) for t in transfers]),
                "state": ("text", [state_to_text(t.state) for t in transfers]),
                "moments": ("text", [json.dumps(t.moments) for t in transfers]),
            },
            on_conflict="(transfer_id) DO UPDATE SET standing = excluded.standing,"
            " phase = excluded.phase, batch_id = excluded.batch_id, state = excluded.state,"
            " issue_order = COALESCE(excluded.issue_order, transfer.issue_order),"
            " moments = excluded.moments",
        )

    async def _write_batches(self, connection: AsyncConnection, change: Change) -> None:
        batches = change.batches
        bodies = [batch.order.batch for batch in batches]
        await insert_many(
            connection,
            "batch",
            {
                "batch_id": ("bytea", [batch.id for batch in batches]),
                "destination": ("integer", [int(body.destination) for body in bodies]),
                "bridge": ("bytea", [body.bridge for body in bodies]),
                "epoch": ("bigint", [body.epoch for body in bodies]),
                "deadline": ("bigint", [body.deadline for body in bodies]),
                "terms": ("bytea", [body.terms for body in bodies]),
                "items": ("bytea", [items_to_bytes(body.items) for body in bodies]),
                "transfer_ids": ("bytea", [b"".join(batch.transfer_ids) for batch in batches]),
                "signatures": ("text", [signatures_to_text(b.order.signatures) for b in batches]),
                "guards": ("text", [json.dumps(batch.guards) for batch in batches]),
                "formed_ms": ("bigint", [batch.formed_ms for batch in batches]),
            },
            on_conflict="(batch_id) DO NOTHING",
        )

    async def _write_slots(self, connection: AsyncConnection, change: Change) -> None:
        entries = list({entry.slot: entry for entry in change.slots}.values())
        written = await insert_many(
            connection,
            "slot",
            {
                "chain": ("integer", [int(e.slot.chain) for e in entries]),
                "sender": ("bytea", [e.slot.sender for e in entries]),
                "slot": ("text", [e.slot.text for e in entries]),
                "ordinal": ("bigint", [e.ordinal for e in entries]),
                "batch_id": ("bytea", [e.batch for e in entries]),
                "state": ("text", [e.state.value for e in entries]),
            },
            # SECURITY: a slot is never given to another batch (F43).
            on_conflict="(chain, sender, slot) DO UPDATE SET state = excluded.state"
            " WHERE slot.batch_id IS NOT DISTINCT FROM excluded.batch_id",
            returning="slot",
        )
        if len(written) != len(entries):
            raise slot_taken(entries[0])
        await self._write_attempts(connection, entries)

    async def _write_attempts(
        self, connection: AsyncConnection, entries: Sequence[SlotEntry]
    ) -> None:
        pairs = [(entry.slot, attempt) for entry in entries for attempt in entry.attempts]
        signed = [attempt.signed for _, attempt in pairs]
        await insert_many(
            connection,
            "attempt",
            {
                "chain": ("integer", [int(slot.chain) for slot, _ in pairs]),
                "sender": ("bytea", [slot.sender for slot, _ in pairs]),
                "slot": ("text", [slot.text for slot, _ in pairs]),
                "number": ("integer", [a.number for _, a in pairs]),
                "payload": ("bytea", [a.prepared.payload for _, a in pairs]),
                "fee": ("text", [a.prepared.fee for _, a in pairs]),
                "simulated": ("boolean", [a.prepared.simulated for _, a in pairs]),
                "fills": ("boolean", [a.fills for _, a in pairs]),
                "raw": ("bytea", [tx.raw if tx else None for tx in signed]),
                "tx_id": ("bytea", [tx.ref.id if tx else None for tx in signed]),
                "at_ms": ("bigint", [a.at_ms for _, a in pairs]),
            },
            on_conflict="(chain, sender, slot, number) DO UPDATE SET raw = excluded.raw,"
            " tx_id = excluded.tx_id WHERE attempt.raw IS NULL",
        )

    async def _write_early(self, connection: AsyncConnection, change: Change) -> None:
        if change.early_used:
            used = change.early_used
            await connection.execute(
                text(
                    "DELETE FROM early USING unnest(CAST(:nonces AS bytea[]),"
                    " CAST(:sources AS integer[]), CAST(:destinations AS integer[]))"
                    " AS used(nonce, source, destination) WHERE early.nonce = used.nonce"
                    " AND early.source = used.source AND early.destination = used.destination"
                ),
                {
                    "nonces": [key.nonce for key in used],
                    "sources": [int(key.source) for key in used],
                    "destinations": [int(key.destination) for key in used],
                },
            )
        await insert_many(
            connection,
            "early",
            {
                "observation_id": ("bytea", [observation_id(e.observation) for e in change.early]),
                "destination": ("integer", [int(e.key.destination) for e in change.early]),
                "source": ("integer", [int(e.key.source) for e in change.early]),
                "nonce": ("bytea", [e.key.nonce for e in change.early]),
                "record": ("bytea", [self._early_record(e) for e in change.early]),
            },
            on_conflict="(observation_id) DO NOTHING",
        )

    def _early_record(self, early: Early) -> bytes:
        record = observation_to_wire(
            early.observation, deployment_id=self._deployment_id, sequence=0
        )
        return record.SerializeToString(deterministic=True)

    async def _write_positions(self, connection: AsyncConnection, change: Change) -> None:
        await insert_many(
            connection,
            "position",
            {
                "chain": ("integer", [int(chain) for chain in change.positions]),
                "sequence": ("bigint", list(change.positions.values())),
            },
            on_conflict="(chain) DO UPDATE SET sequence = excluded.sequence",
        )

    async def _write_halts(self, connection: AsyncConnection, change: Change) -> None:
        halts = list({halt.id: halt for halt in change.halts}.values())
        scopes = [halt.scope for halt in halts]
        await insert_many(
            connection,
            "halt",
            {
                "id": ("text", [halt.id for halt in halts]),
                "asset": ("bytea", [scope.asset for scope in scopes]),
                "source": ("integer", [_number(scope.source) for scope in scopes]),
                "destination": ("integer", [_number(scope.destination) for scope in scopes]),
                "reason": ("text", [halt.reason for halt in halts]),
                "latched_by": ("text", [halt.by for halt in halts]),
                "at_ms": ("bigint", [halt.at_ms for halt in halts]),
                "approvals": ("text", ["\n".join(halt.approvals) for halt in halts]),
                "cleared": ("boolean", [False for _ in halts]),
            },
            on_conflict="(id) DO UPDATE SET reason = excluded.reason, cleared = false,"
            " approvals = excluded.approvals, at_ms = excluded.at_ms",
        )
        if change.halts_cleared:
            await connection.execute(
                text("UPDATE halt SET cleared = true WHERE id = ANY(CAST(:ids AS text[]))"),
                {"ids": change.halts_cleared},
            )

    async def _write_alarms(self, connection: AsyncConnection, change: Change) -> None:
        await insert_many(
            connection,
            "alarm",
            {
                "code": ("text", [alarm.code for alarm in change.alarms]),
                "scope": ("text", [alarm.scope for alarm in change.alarms]),
                "detail": ("text", [alarm.detail for alarm in change.alarms]),
                "at_ms": ("bigint", [alarm.at_ms for alarm in change.alarms]),
            },
        )

    async def _publish(self, connection: AsyncConnection, change: Change) -> None:
        now = self._clock.unix_ms()
        records = []
        for transfer in change.published:
            record = transfer_to_record(
                transfer,
                deployment_id=self._deployment_id,
                revision=revision(transfer.state),
                at_ms=now,
            )
            records.append(Record(TRANSFERS_TOPIC, transfer.id, record.SerializeToString()))
        await self._outbox.add(connection, records)


def _standing(transfer: Transfer) -> str:
    if transfer.view.phase is Phase.PARKED:
        return "PARKED"
    if finished(transfer):
        return "DONE"
    return "OPEN" if transfer.batch is None else "CARRIED"


def _number(domain: Domain | None) -> int | None:
    return None if domain is None else int(domain)


def _domain(number: int | None) -> Domain | None:
    return None if number is None else Domain(number)


def _key(row: Any) -> ExecutionKey:
    return ExecutionKey(Domain(row.destination), Domain(row.source), Nonce(bytes(row.nonce)))


def _transfer(row: Any) -> Transfer:
    transfer_id = TransferId(bytes(row.transfer_id))
    message = message_from_bytes(row.message) if row.message else None
    return Transfer(
        state=state_from_text(transfer_id, message, row.state),
        opened_ms=row.opened_ms,
        batch=None if row.batch_id is None else BatchId(bytes(row.batch_id)),
        order=order_from_bytes(row.issue_order),
        moments=tuple((name, at) for name, at in json.loads(row.moments)),
    )


def _batch(row: Any) -> Batch:
    ids = bytes(row.transfer_ids)
    body = ReleaseBatch(
        Domain(row.destination),
        Address32(bytes(row.bridge)),
        row.epoch,
        row.deadline,
        items_from_bytes(row.items),
        bytes(row.terms),
    )
    return Batch(
        id=BatchId(bytes(row.batch_id)),
        order=ReleaseOrder(body, signatures_from_text(row.signatures)),
        transfer_ids=tuple(TransferId(ids[at : at + _ID]) for at in range(0, len(ids), _ID)),
        guards=tuple(json.loads(row.guards)),
        formed_ms=row.formed_ms,
    )


def _slot(row: Any) -> SendSlot:
    return SendSlot(Domain(row.chain), Address32(bytes(row.sender)), row.slot)


def _attempt(row: Any) -> Attempt:
    slot = _slot(row)
    prepared = PreparedTx(slot.chain, slot, bytes(row.payload), row.fee, simulated=row.simulated)
    signed = None
    if row.raw is not None:
        signed = SignedTx(prepared, bytes(row.raw), TxRef(slot.chain, bytes(row.tx_id)))
    return Attempt(row.number, prepared, signed, row.at_ms, fills=row.fills)


def _entry(row: Any, attempts: Sequence[Attempt]) -> SlotEntry:
    batch = None if row.batch_id is None else BatchId(bytes(row.batch_id))
    return SlotEntry(_slot(row), row.ordinal, batch, SlotState(row.state), tuple(attempts))


def _halt(row: Any) -> Halt:
    asset = None if row.asset is None else AssetId(bytes(row.asset))
    scope = Scope(asset, _domain(row.source), _domain(row.destination))
    names = tuple(name for name in row.approvals.split("\n") if name)
    return Halt(row.id, scope, row.reason, row.latched_by, row.at_ms, names)

"""The submission machine of one destination and one key: slots, attempts, and only then bytes.

Order of writing is the whole point (F38). The slot and the prepared transaction are in the books
before anything is signed; the signed bytes are in the books before anything is broadcast; every
replacement is one more attempt in the same slot and none is forgotten. After a crash at any step
`reconcile` goes on with what the books say: it signs what is unsigned, sends the same bytes
again (harmless), asks the chain about every hash. A slot is given up only with proof that none
of its transactions can land (F43); a reorganised one is simply sent again (F45). A slot that the
chain waits for and nobody used is filled (F42).
"""

from dataclasses import dataclass, field, replace

from xstock_chains.ports import (
    ChainWriter,
    ExecutionState,
    PreparedTx,
    SendSlot,
    SignedTx,
    Signer,
    TxState,
    TxStatus,
)
from xstock_core.facts import DeadlinePassed, ReleaseAuthorized, ReleaseSubmitted
from xstock_core.ids import Address32, Domain
from xstock_core.release import ExecutionKey
from xstock_relayer.handlers.desk import Desk, News, finished
from xstock_relayer.model import (
    Attempt,
    Batch,
    Change,
    Recovery,
    SlotEntry,
    SlotState,
)
from xstock_relayer.ports import Books, FinalTime, Gauges
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient
from xstock_runtime.logging import get_logger

_log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class SendingLimits:
    """Patience, in milliseconds, and bounds.

    `in_flight_max` unconfirmed batches at once; a pending transaction is sent again after
    `resend_ms`, its fee raised after `bump_ms` at most `bumps_max` times; an included one is
    looked at every `settle_ms`; a gap is filled once its head has stood still for `gap_ms`.
    """

    in_flight_max: int = 16
    look_ms: int = 500
    resend_ms: int = 3_000
    bump_ms: int = 15_000
    bumps_max: int = 8
    settle_ms: int = 5_000
    gap_ms: int = 5_000


@dataclass(slots=True)
class _Flight:
    """What this process knows of an open slot beyond the books; lost harmlessly."""

    entry: SlotEntry
    batch: Batch | None
    included: bool = False
    look_at_ms: int = 0
    sent_at_ms: int = 0
    opened_ms: int = 0
    given_back: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """The batch is in the books and on its way."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing was written. `done` are keys that the destination has executed already;
    `refused` are items that simulation shows would be skipped, with the reason."""

    done: frozenset[ExecutionKey] = frozenset()
    refused: tuple[tuple[ExecutionKey, str], ...] = ()
    reverts: str = ""


SendOutcome = Sent | NotSent


@dataclass(slots=True)
class SenderPorts:
    """What a sender works with."""

    writer: ChainWriter
    signer: Signer
    final_time: FinalTime
    books: Books
    clock: Clock
    gauges: Gauges


@dataclass(slots=True)
class Sender:
    """One destination, one key. `send` and `reconcile` may run beside each other, each in one
    task: a flight that one of them works on is left alone by the other."""

    chain: Domain
    address: Address32
    ports: SenderPorts
    desk: Desk
    limits: SendingLimits = field(default_factory=SendingLimits)
    _flights: dict[str, _Flight] = field(default_factory=dict)
    _last: SlotEntry | None = None
    _ordinal: int = 0

    def restore(self, recovery: Recovery) -> None:
        """Take over the open slots of this chain and key from the books.

        What is in flight already keeps its object: a step in progress goes on with it.
        """
        batches = {batch.id: batch for batch in recovery.batches}
        open_slots = {
            entry.slot.text: entry for entry in recovery.slots if self._is_ours(entry.slot)
        }
        flights: dict[str, _Flight] = {}
        for text, entry in sorted(open_slots.items(), key=lambda pair: pair[1].ordinal):
            batch = batches.get(entry.batch) if entry.batch is not None else None
            flight = self._flights.get(text) or _Flight(entry, batch)
            flight.entry = entry
            flight.opened_ms = entry.attempts[0].at_ms
            flights[text] = flight
        self._flights = flights
        for entry in recovery.last_slots:
            if self._is_ours(entry.slot):
                self._last, self._ordinal = entry, entry.ordinal

    def _is_ours(self, slot: SendSlot) -> bool:
        return slot.chain is self.chain and slot.sender == self.address

    @property
    def pending(self) -> int:
        """Batches that are not yet in a block."""
        return sum(not flight.included for flight in self._flights.values())

    @property
    def has_room(self) -> bool:
        """Whether another batch may be put in flight."""
        return self.pending < self.limits.in_flight_max

    @property
    def idle(self) -> bool:
        """Nothing in flight."""
        return not self._flights

    # --- a new batch

    async def send(self, batch: Batch) -> SendOutcome:
        """Reserve a slot for the batch, sign, broadcast. Raises Transient before anything was
        written; after that nothing is lost and `reconcile` goes on."""
        ports = self.ports
        keys = [
            ExecutionKey(self.chain, item.source, item.nonce) for item in batch.order.batch.items
        ]
        executions = await ports.writer.find_executions(keys)
        # A parked item is open: it may be tried again, or cancelled (TON).
        used = (e for e in executions if e is not None and e.state is not ExecutionState.PARKED)
        done = frozenset(e.key for e in used)
        if done:
            return NotSent(done=done)
        slot = await ports.writer.next_slot(self.address, self._used(), batch.order)
        try:
            prepared = await ports.writer.prepare(batch.order, slot)
        except InvalidMessage as error:
            return NotSent(reverts=f"{error.code}: {error.message}")
        if prepared.refused:
            return NotSent(refused=prepared.refused)
        flight = await self._reserve(slot, prepared, batch)
        await self._advance_quietly(flight)
        return Sent()

    def _used(self) -> list[SendSlot]:
        used = [flight.entry.slot for flight in self._flights.values()]
        if self._last is not None:
            used.append(self._last.slot)
        return used

    async def _reserve(
        self, slot: SendSlot, prepared: PreparedTx, batch: Batch | None, ordinal: int | None = None
    ) -> _Flight:
        now = self.ports.clock.unix_ms()
        number = self._ordinal + 1 if ordinal is None else ordinal
        entry = SlotEntry(
            slot,
            number,
            batch.id if batch is not None else None,
            SlotState.OPEN,
            (Attempt(0, prepared, None, now, fills=batch is None),),
        )
        batches = [batch] if batch is not None else []
        await self.desk.record(News(change=Change(slots=[entry], batches=batches)))
        flight = _Flight(entry, batch, opened_ms=now, busy=True)
        self._flights[slot.text] = flight
        if ordinal is None:
            self._last, self._ordinal = entry, number
        return flight

    async def _advance_quietly(self, flight: _Flight) -> None:
        """One step forward; what the chain or the books cannot answer now is asked again."""
        flight.busy = True
        try:
            await self._advance(flight)
        except (Transient, Ambiguous, InvalidMessage) as error:
            flight.look_at_ms = self.ports.clock.unix_ms() + self.limits.look_ms
            self.ports.gauges.count("sending_retries", chain=self.chain.name, code=error.code)
            _log.info("sending_waits", chain=self.chain.name, error=str(error))
        finally:
            flight.busy = False

    async def _advance(self, flight: _Flight) -> None:
        last = flight.entry.attempts[-1]
        if last.signed is None:
            await self._sign(flight)
            await self._broadcast(flight)
            return
        if not flight.sent_at_ms:
            status = await self._status(flight)
            await self._judge(flight, status)
            if flight.entry.state is SlotState.OPEN and not flight.included:
                await self._broadcast(flight)
            return
        await self._judge(flight, await self._status(flight))

    async def _sign(self, flight: _Flight) -> None:
        last = flight.entry.attempts[-1]
        signed = await self.ports.signer.sign_transaction(last.prepared)
        attempts = (*flight.entry.attempts[:-1], replace(last, signed=signed))
        entry = replace(flight.entry, attempts=attempts)
        news = News(change=Change(slots=[entry]))
        if flight.batch is not None:
            _tell_submitted(flight.batch, last, signed, news)
        await self.desk.record(news)
        flight.entry = entry

    async def _broadcast(self, flight: _Flight) -> None:
        signed = flight.entry.attempts[-1].signed
        if signed is None:
            return
        now = self.ports.clock.unix_ms()
        flight.sent_at_ms = now
        flight.look_at_ms = now + self.limits.look_ms
        try:
            await self.ports.writer.broadcast(signed)
        except InvalidMessage as error:
            # The node will never take these bytes: a later attempt must use up the slot.
            self.ports.gauges.count("broadcast_refused", chain=self.chain.name, code=error.code)
            _log.warning("broadcast_refused", chain=self.chain.name, error=str(error))
        self.ports.gauges.count("broadcasts", chain=self.chain.name)

    # --- what became of it

    async def reconcile(self) -> int:
        """Look at every open slot whose time has come; how many were looked at."""
        now = self.ports.clock.unix_ms()
        due = [f for f in self._flights.values() if f.look_at_ms <= now and not f.busy]
        due.sort(key=lambda flight: flight.entry.ordinal)
        for flight in due:
            await self._advance_quietly(flight)
        await self._heal_gap()
        self.ports.gauges.level("slots_open", len(self._flights), chain=self.chain.name)
        return len(due)

    async def _status(self, flight: _Flight) -> TxStatus:
        """The furthest that any transaction of the slot came; DROPPED only if all of them are.

        A filler that landed did not release anything: it is reported as not succeeded.
        """
        best: TxStatus | None = None
        for attempt in reversed(flight.entry.attempts):
            if attempt.signed is None:
                continue
            status = await self.ports.writer.status(attempt.signed.ref, flight.entry.slot)
            if status.state in (TxState.INCLUDED, TxState.FINAL):
                return replace(status, succeeded=False) if attempt.fills else status
            # SECURITY: one that may still land keeps the slot, whatever the others say (F43).
            if best is None or status.state is TxState.PENDING:
                best = status
        return best or TxStatus(TxState.PENDING)

    async def _judge(self, flight: _Flight, status: TxStatus) -> None:
        now = self.ports.clock.unix_ms()
        match status.state:
            case TxState.FINAL:
                await self._settle(flight, landed=bool(status.succeeded))
            case TxState.DROPPED:
                await self._settle(flight, landed=False)
            case TxState.INCLUDED:
                await self._included(flight, status, now)
            case TxState.PENDING:
                if flight.included:  # its block left the chain: the same bytes again (F45)
                    flight.included = False
                    flight.sent_at_ms = 0
                flight.look_at_ms = now + self.limits.look_ms
                await self._push(flight, now)

    async def _included(self, flight: _Flight, status: TxStatus, now: int) -> None:
        """In a block, not final. A reverted batch is signed anew at once: nonces keep it once."""
        flight.included = True
        flight.look_at_ms = now + self.limits.settle_ms
        if status.succeeded is False and flight.batch is not None and not flight.given_back:
            news = News()
            await self._give_back(flight.batch, news)
            await self.desk.record(news)
            flight.given_back = True
            self._requeue(news)

    async def _push(self, flight: _Flight, now: int) -> None:
        """A transaction that does not land: send it again, pay more, or use up the slot."""
        newest = flight.entry.attempts[-1].at_ms
        bumps = len(flight.entry.attempts) - 1
        stuck = now - newest >= self.limits.bump_ms and bumps < self.limits.bumps_max
        if stuck and await self._replaced(flight, now):
            return
        if flight.sent_at_ms and now - flight.sent_at_ms >= self.limits.resend_ms:
            await self._broadcast(flight)

    async def _replaced(self, flight: _Flight, now: int) -> bool:
        """One more attempt in the same slot: the same call for more, or a filler once the
        permit has expired (its batch could only revert). False where the chain has neither."""
        writer, entry = self.ports.writer, flight.entry
        fills = flight.batch is None or await self._expired(flight.batch)
        newest = entry.attempts[-1]
        if fills and not newest.fills:
            prepared = await writer.fill_slot(entry.slot)
        else:
            prepared = await writer.replace(newest.prepared)
        if prepared is None:
            return False
        attempt = Attempt(newest.number + 1, prepared, None, now, fills=fills)
        entry = replace(entry, attempts=(*entry.attempts, attempt))
        await self.desk.record(News(change=Change(slots=[entry])))
        flight.entry = entry
        self.ports.gauges.count("replacements", chain=self.chain.name)
        await self._sign(flight)
        await self._broadcast(flight)
        return True

    async def _expired(self, batch: Batch) -> bool:
        return await self.ports.final_time() > batch.order.batch.deadline

    async def _settle(self, flight: _Flight, *, landed: bool) -> None:
        """The slot's story is over. What a lost batch carried goes back to be signed anew."""
        state = SlotState.LANDED if landed else SlotState.LOST
        entry = replace(flight.entry, state=state)
        news = News(change=Change(slots=[entry]))
        if flight.batch is not None and not landed:
            await self._give_back(flight.batch, news)
        await self.desk.record(news)
        flight.entry = entry
        self._flights.pop(entry.slot.text, None)
        self.ports.gauges.count("slots_settled", chain=self.chain.name, state=state.value)
        if not landed:
            _log.warning("slot_lost", chain=self.chain.name, slot=entry.slot.text)
        self._requeue(news)

    def _requeue(self, news: News) -> None:
        for transfer_id in news.carried:
            kept = self.desk.open.get(transfer_id)
            if kept is not None:
                self.desk.requeue(kept)

    async def _give_back(self, batch: Batch, news: News) -> None:
        carried = await self.ports.books.transfers(batch.transfer_ids)
        expired = await self._expired(batch)
        for transfer in carried.values():
            if finished(transfer):
                continue
            if transfer.batch == batch.id:
                news.carried[transfer.id] = None
            if expired:
                news.facts.append((transfer.id, DeadlinePassed(batch.id)))

    # --- gaps

    async def _heal_gap(self) -> None:
        """Fill the slot that the chain waits for, if it is not one of ours (F42)."""
        heads = [flight for flight in self._flights.values() if not flight.included]
        now = self.ports.clock.unix_ms()
        if not heads or now - min(flight.opened_ms for flight in heads) < self.limits.gap_ms:
            return
        writer = self.ports.writer
        try:
            waited_for = await writer.next_slot(self.address, ())
            following = await writer.next_slot(self.address, self._used())
            if waited_for.text in self._flights or waited_for == following:
                return
            filler = await writer.fill_slot(waited_for)
            if filler is None:
                return
            first = min(flight.entry.ordinal for flight in heads)
            flight = await self._reserve(waited_for, filler, None, ordinal=first)
        except (Transient, Ambiguous, InvalidMessage):
            return  # asked again at the next look; a gap endangers nobody
        self.ports.gauges.count("gaps_filled", chain=self.chain.name)
        _log.warning("slot_gap_filled", chain=self.chain.name, slot=waited_for.text)
        await self._advance_quietly(flight)


def _tell_submitted(batch: Batch, attempt: Attempt, signed: SignedTx, news: News) -> None:
    """The facts that go into the books with the signed bytes, before they are broadcast."""
    for transfer_id in batch.transfer_ids:
        if attempt.number == 0:
            body = batch.order.batch
            authorized = ReleaseAuthorized(batch.id, body.deadline, body.items[0].action)
            news.facts.append((transfer_id, authorized))
            news.carried[transfer_id] = batch.id
        if not attempt.fills:
            news.facts.append((transfer_id, ReleaseSubmitted(batch.id, signed.ref.id)))

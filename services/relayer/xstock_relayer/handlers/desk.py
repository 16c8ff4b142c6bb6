"""The desk: the one place where facts become state, committed in groups.

Every handler hands its news to `record`; whoever comes while a commit runs shares the next one,
so under load one transaction carries the facts of many pages. Facts, new states, what is to be
published and the sender's own lines are written together or not at all. In memory the desk
keeps only transfers that wait for guards or for a batch; what a batch carries is on disk. A
commit whose outcome is unknown is read back (`recover`) before anything else is decided.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xstock_core.facts import Fact, RefundDue, ReleaseFinalized
from xstock_core.ids import AssetId, Domain, GuardId, TransferId
from xstock_core.observation import ReleaseFinal
from xstock_core.refusal import Disposition, Granted, Refused
from xstock_core.release import key_of
from xstock_core.review import Scope, covers
from xstock_core.transfer import (
    Effect,
    HaltLane,
    OpenRefund,
    ParkTransfer,
    Phase,
    PublishOutcome,
    RaiseAlarm,
    RequestSignatures,
    RequestVerdicts,
    SettleRefund,
    SubmitRelease,
    TransferState,
    open_transfer,
    step_all,
)
from xstock_relayer.handlers.following import follow_ups, quorum_for
from xstock_relayer.handlers.queues import DueQueue
from xstock_relayer.model import (
    Alarm,
    BatchId,
    Change,
    Halt,
    Recovery,
    SignedOrder,
    Terms,
    Transfer,
)
from xstock_relayer.ports import Books, Gauges
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous

_HURRY_MS = 500
_BUSY_TRANSFERS = 50


@dataclass(slots=True)
class News:
    """What a handler learned or did: facts, and lines of the sender's ledger.

    `carried` says which batch carries a transfer from now on (None: none does).
    """

    facts: list[tuple[TransferId, Fact]] = field(default_factory=list)
    carried: dict[TransferId, BatchId | None] = field(default_factory=dict)
    orders: dict[TransferId, SignedOrder] = field(default_factory=dict)
    change: Change = field(default_factory=Change)


class Desk:
    """The open transfers, the queues of work they make, and the way into the books."""

    def __init__(self, books: Books, terms: Terms, clock: Clock, gauges: Gauges) -> None:
        self.terms = terms
        self.open: dict[TransferId, Transfer] = {}
        self.reviews: dict[str, DueQueue] = {guard: DueQueue() for guard in terms.guards}
        self.ready: dict[Domain, DueQueue] = {chain: DueQueue() for chain in terms.batch_items_max}
        self.cancels = {chain: DueQueue(queue.bell) for chain, queue in self.ready.items()}
        self.halts: dict[str, Halt] = {}
        self.early_count = 0
        self.on_recovery: list[Callable[[Recovery], None]] = []
        self._hurried_ms = 0
        self._retrying: dict[TransferId, set[str]] = {}
        self._books = books
        self._clock = clock
        self._gauges = gauges
        self._lock = asyncio.Lock()
        self._waiting: list[tuple[News, asyncio.Future[None]]] = []
        self._doubtful = False

    async def recover(self) -> Recovery:
        """Start from what the books say; `on_recovery` hears it too, now and whenever a commit
        of unknown outcome made the desk read the books again."""
        recovery = await self._books.recover()
        self._restore(recovery)
        return recovery

    def _restore(self, recovery: Recovery) -> None:
        self.open.clear()
        self.halts = {halt.id: halt for halt in recovery.halts}
        self.early_count = recovery.early
        unsigned = _unsigned(recovery)
        for transfer in recovery.transfers:
            if transfer.id in unsigned:
                continue
            self._keep(transfer)
            self.requeue(transfer)
        for listener in self.on_recovery:
            listener(recovery)
        self._doubtful = False

    async def record(self, news: News) -> None:
        """Commit this news, together with whatever else came meanwhile.

        Raises what `Books.commit` raises; then none of it is remembered.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((news, done))
        async with self._lock:
            if not done.done():
                await self._commit_group()
        await done

    async def _commit_group(self) -> None:
        group, self._waiting = self._waiting, []
        try:
            await self._commit([news for news, _ in group])
        except BaseException as error:
            self._doubtful = self._doubtful or isinstance(error, Ambiguous)
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
                    done.exception()  # every waiter raises it; none may be left to complain
            if not isinstance(error, Exception):
                raise
            return
        for _, done in group:
            if not done.done():
                done.set_result(None)

    async def _commit(self, group: Sequence[News]) -> None:
        if self._doubtful:
            self._restore(await self._books.recover())
        facts = [item for news in group for item in news.facts]
        carried = {key: batch for news in group for key, batch in news.carried.items()}
        orders = {key: order for news in group for key, order in news.orders.items()}
        known: dict[TransferId, Transfer] = {}
        states: dict[TransferId, TransferState] = {}
        change = _merged(group)
        told = facts
        while True:
            await self._load(known, states, told, carried.keys() | orders.keys())
            changed, effects = step_all(states, facts)
            told = [one for one in follow_ups(effects, changed, self.terms) if one not in facts]
            if not told:
                break
            facts += told + await self._early_of(told, change)
        transfers = self._transfers(changed, known, carried, orders, effects)
        change.transfers = list(transfers.values())
        self._plan(change, transfers, effects)
        if not change.empty:
            await self._books.commit(change)
        self._remember(change, transfers, effects)

    async def _load(
        self,
        known: dict[TransferId, Transfer],
        states: dict[TransferId, TransferState],
        told: Sequence[tuple[TransferId, Fact]],
        more: set[TransferId],
    ) -> None:
        """Add the transfers that these facts are about; one that is new begins with nothing."""
        ids = ({key for key, _ in told} | more) - known.keys()
        known.update({key: self.open[key] for key in ids if key in self.open})
        missing = [key for key in ids if key not in known]
        if missing:
            known.update(await self._books.transfers(missing))
        opening: dict[TransferId, list[Fact]] = {}
        for key, fact in told:
            if key in known:
                states[key] = known[key].state
            elif key not in states:
                opening.setdefault(key, []).append(fact)
        terms = self.terms
        for key, facts in opening.items():
            needed = quorum_for(facts, terms)
            states[key] = open_transfer(key, needed=needed, guards=len(terms.guards))

    async def _early_of(
        self, told: Sequence[tuple[TransferId, Fact]], change: Change
    ) -> list[tuple[TransferId, Fact]]:
        """What a destination said of a REFUND before it was opened here (a restored database)."""
        opened = {key_of(fact.message): key for key, fact in told if isinstance(fact, RefundDue)}
        if not opened or not self.early_count:
            return []
        found = await self._books.early(sorted(opened, key=lambda k: (k.source, k.nonce)))
        change.early_used += [early.key for early in found]
        return [
            (opened[early.key], ReleaseFinalized(early.observation))
            for early in found
            if isinstance(early.observation, ReleaseFinal)
        ]

    def _transfers(
        self,
        changed: Mapping[TransferId, TransferState],
        known: Mapping[TransferId, Transfer],
        carried: Mapping[TransferId, BatchId | None],
        orders: Mapping[TransferId, SignedOrder],
        effects: Sequence[Effect],
    ) -> dict[TransferId, Transfer]:
        now = self._clock.unix_ms()
        phases = {e.transfer_id: e.view.phase for e in effects if isinstance(e, PublishOutcome)}
        result: dict[TransferId, Transfer] = {}
        for key in changed.keys() | ((carried.keys() | orders.keys()) & known.keys()):
            before = known.get(key)
            base = before or Transfer(changed[key], now)
            base = replace(base, order=orders.get(key, base.order))
            state = changed.get(key, base.state)
            batch = carried.get(key, base.batch)
            moments = _moments(base.moments, state, phases.get(key), now)
            after = replace(base, state=state, batch=batch, moments=moments)
            if before is None or after != before:
                result[key] = after
        return result

    def _plan(
        self,
        change: Change,
        transfers: Mapping[TransferId, Transfer],
        effects: Sequence[Effect],
    ) -> None:
        """What the effects oblige us to write with the states themselves."""
        now = self._clock.unix_ms()
        busy = len(transfers) > _BUSY_TRANSFERS
        for effect in effects:
            scope = effect.transfer_id.hex()
            match effect:
                case PublishOutcome(view=shown) if busy and shown.phase is Phase.REVIEWING:
                    pass  # says no more than FINAL did; the next transition carries its steps
                case PublishOutcome():
                    change.published.append(transfers[effect.transfer_id])
                case ParkTransfer(reason=reason):
                    change.alarms.append(Alarm("TRANSFER_PARKED", scope, reason, now))
                case RaiseAlarm(code=code, detail=detail):
                    change.alarms.append(Alarm(code, scope, detail, now))
                case HaltLane():
                    change.halts.append(_halt_of(effect, now))
                case (
                    RequestVerdicts()
                    | RequestSignatures()
                    | SubmitRelease()
                    | OpenRefund()
                    | SettleRefund()
                ):
                    pass

    def _remember(
        self,
        change: Change,
        transfers: Mapping[TransferId, Transfer],
        effects: Sequence[Effect],
    ) -> None:
        for transfer in transfers.values():
            self._keep(transfer)
        for halt in change.halts:
            self.halts[halt.id] = halt
        for halt_id in change.halts_cleared:
            self.halts.pop(halt_id, None)
        self.early_count = max(0, self.early_count + len(change.early) - len(change.early_used))
        for effect in effects:
            if isinstance(effect, RequestVerdicts | RequestSignatures | SubmitRelease):
                kept = self.open.get(effect.transfer_id)
                if kept is not None:
                    self.requeue(kept)
        self._gauges.level("open_transfers", len(self.open))

    def _keep(self, transfer: Transfer) -> None:
        """Hold in memory only what waits for guards or for a batch."""
        retried = transfer.id in self._retrying and not transfer.view.terminal
        if transfer.batch is None and (retried or not finished(transfer)):
            self.open[transfer.id] = transfer
            return
        if self.open.pop(transfer.id, None) is not None:
            queues = (*self.reviews.values(), *self.ready.values(), *self.cancels.values())
            for queue in queues:
                queue.discard(transfer.id)

    def requeue(self, transfer: Transfer) -> None:
        """Put an open transfer where its state says that it belongs."""
        message = transfer.state.message
        if transfer.view.phase is Phase.CANCELLING:
            if message is not None and message.destination in self.cancels:
                self._enter(self.cancels[message.destination], transfer)
        elif authorized(transfer.state):
            if message is not None and message.destination in self.ready:
                self._enter(self.ready[message.destination], transfer)
            return
        for guard, queue in self.reviews.items():
            if wants_review(transfer.state, guard):
                queue.offer(transfer.id)

    def _enter(self, queue: DueQueue, transfer: Transfer) -> None:
        if transfer.state.skips:
            queue.postpone(transfer.id, self._clock.unix_ms())
        else:
            queue.offer(transfer.id)

    def ask_again(self, transfer: Transfer) -> None:
        """Ask every guard anew, whatever it said before; kept until each has answered."""
        self._retrying[transfer.id] = set(self.reviews)
        self.open[transfer.id] = transfer
        for queue in self.reviews.values():
            queue.offer(transfer.id)

    def answered(self, transfer_id: TransferId, guard: str) -> None:
        """A guard has spoken anew about a transfer that a person let go on."""
        waiting = self._retrying.get(transfer_id)
        if waiting is None:
            return
        waiting.discard(guard)
        if not waiting:
            del self._retrying[transfer_id]
            kept = self.open.get(transfer_id)
            if kept is not None:
                self._keep(kept)

    def hurry(self, assets: set[AssetId], sources: set[Domain]) -> None:
        """Facts came about these assets or from these chains: what guards hold of them is asked
        again at once, at most twice a second however many facts come."""
        now = self._clock.unix_ms()
        if now < self._hurried_ms + _HURRY_MS:
            return
        self._hurried_ms = now

        def wanted(transfer_id: TransferId) -> bool:
            transfer = self.open.get(transfer_id)
            message = transfer.state.message if transfer else None
            return message is not None and (message.asset in assets or message.source in sources)

        for queue in self.reviews.values():
            queue.hurry(wanted)

    def halted(self, transfer: Transfer) -> bool:
        """Whether a latched halt of this relayer covers the transfer."""
        message = transfer.state.message
        scopes = frozenset(halt.scope for halt in self.halts.values())
        return message is None or (bool(scopes) and covers(scopes, message) is not None)


def _unsigned(recovery: Recovery) -> set[TransferId]:
    """Transfers whose batch has a slot but was not signed yet when the last process stopped."""
    batches = {slot.batch for slot in recovery.slots if slot.attempts[0].signed is None}
    carried = (batch for batch in recovery.batches if batch.id in batches)
    return {transfer_id for batch in carried for transfer_id in batch.transfer_ids}


def finished(transfer: Transfer) -> bool:
    """True when nothing is to be done by itself: terminal, parked, or closed on chain."""
    shown = transfer.view
    return shown.terminal or shown.phase in (Phase.PARKED, Phase.CANCELLED, Phase.REFUNDING)


def authorized(state: TransferState) -> bool:
    """Whether enough guards grant it now."""
    granted = sum(isinstance(ruling.verdict, Granted) for ruling in state.rulings)
    return granted >= state.needed


def wants_review(state: TransferState, guard: str) -> bool:
    """Whether this guard is still to be asked: it has said nothing yet, or "not yet".

    While the transfer is being cancelled only who has said nothing is asked (a guard signs no
    cancellation of what it has never looked at): a grant now would stand in the way.
    """
    for ruling in state.rulings:
        if ruling.guard == GuardId(guard):
            verdict = ruling.verdict
            held = isinstance(verdict, Refused) and verdict.disposition is Disposition.HOLD
            return held and not state.cancel_requested
    return True


def _moments(
    known: tuple[tuple[str, int], ...], state: TransferState, phase: Phase | None, now_ms: int
) -> tuple[tuple[str, int], ...]:
    """When each step became known; a step keeps its first time."""
    have = {name for name, _ in known}
    grants = [f"VERDICT:{r.guard}" for r in state.rulings if isinstance(r.verdict, Granted)]
    wanted = grants if phase is None else [*grants, phase.value]
    new = tuple((name, now_ms) for name in wanted if name not in have)
    return known + new


def _halt_of(effect: HaltLane, now_ms: int) -> Halt:
    """A broken promise stops the source's chain; content on chain stops the destination too."""
    scope = Scope(source=effect.source, destination=effect.destination)
    name = f"{effect.invariant.value}:{effect.source}:{effect.destination}"
    return Halt(name, scope, effect.detail, "service", now_ms)


def _merged(group: Sequence[News]) -> Change:
    merged = Change()
    for news in group:
        part = news.change
        merged.batches += part.batches
        merged.slots += part.slots
        merged.early += part.early
        merged.early_used += part.early_used
        merged.halts += part.halts
        merged.halts_cleared += part.halts_cleared
        merged.alarms += part.alarms
        for chain, sequence in part.positions.items():
            merged.positions[chain] = sequence
    return merged

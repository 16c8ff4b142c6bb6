"""Observations in: a page from a watcher becomes one page of facts.

Order, duplicates and delays do not matter: the transfer id is the inbox, and the core's facts
commute. News about a key whose burn is unknown is kept (`Early`) and told once the burn comes.
A watcher numbers its observations densely, so a hole in the numbers is a lost record: `Healer`
asks the watcher for what is missing, at start, from time to time, and whenever garbage arrived.
"""

from collections.abc import Iterable, Sequence

from xstock_core.facts import (
    BurnFinalized,
    CancelFinalized,
    Fact,
    ReleaseFinalized,
    ReleaseSkippedSeen,
)
from xstock_core.ids import Domain, TransferId
from xstock_core.invariants import same_content
from xstock_core.observation import (
    BurnFinal,
    CancelFinal,
    MintParked,
    Observation,
    OrphanBurn,
    ReleaseFinal,
    ReleaseSkipped,
    SkipReason,
)
from xstock_core.release import Action, ExecutionKey, key_of
from xstock_core.transfer import Attempt, TransferState, live_attempts
from xstock_relayer.handlers.desk import Desk, News
from xstock_relayer.model import Alarm, BatchId, Early, Numbered, Transfer
from xstock_relayer.ports import Books, Gauges, Watcher
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Transient

Outcome = ReleaseFinal | CancelFinal | ReleaseSkipped | MintParked
_HOLES_MAX = 100_000


class Intake:
    """Takes pages of final observations."""

    def __init__(self, books: Books, desk: Desk, clock: Clock, gauges: Gauges) -> None:
        self._books = books
        self._desk = desk
        self._clock = clock
        self._gauges = gauges
        self.positions: dict[Domain, int] = {}
        self._ahead: dict[Domain, set[int]] = {}

    async def take(self, page: Sequence[Numbered]) -> None:
        """Take a page in; when this returns it is in the books. Raises what commit raises."""
        observations = [numbered.observation for numbered in page]
        burns = [o for o in observations if isinstance(o, BurnFinal)]
        news = News()
        early = await self._early_for(burns, news)
        for burn in burns:
            news.facts.append((burn.transfer_id, BurnFinalized(burn)))
        outcomes = [
            o
            for o in [*observations, *early]
            if isinstance(o, ReleaseFinal | CancelFinal | ReleaseSkipped | MintParked)
        ]
        if outcomes:
            await self._outcomes(outcomes, burns, news)
        self._strange(observations, news)
        news.change.positions = self._advanced(page)
        await self._desk.record(news)
        self.positions.update(news.change.positions)
        self._gauges.count("observations", len(page))
        closed = {o.asset for o in observations if isinstance(o, ReleaseFinal | CancelFinal)}
        if closed or burns:
            self._desk.hurry(closed, {burn.message.source for burn in burns})

    async def _early_for(self, burns: Sequence[BurnFinal], news: News) -> list[Observation]:
        if not burns or not self._desk.early_count:
            return []
        found = await self._books.early([key_of(burn.message) for burn in burns])
        news.change.early_used += [early.key for early in found]
        return [early.observation for early in found]

    async def _outcomes(
        self, outcomes: Sequence[Outcome], burns: Sequence[BurnFinal], news: News
    ) -> None:
        keys = {_key(outcome) for outcome in outcomes}
        known = await self._books.transfers_of(sorted(keys, key=lambda k: (k.source, k.nonce)))
        opening: dict[ExecutionKey, list[BurnFinal]] = {}
        for burn in burns:
            opening.setdefault(key_of(burn.message), []).append(burn)
        skipped = [o.place.tx for o in outcomes if isinstance(o, ReleaseSkipped | MintParked)]
        batches = await self._books.batches_of(skipped) if skipped else {}
        states = {one.id: one.state for found in known.values() for one in found}
        for outcome in outcomes:
            key = _key(outcome)
            ids = _targets(outcome, known.get(key, ()), opening.get(key, ()))
            if not ids:
                news.change.early.append(Early(key, outcome))
                continue
            for transfer_id in ids:
                found = batches.get(outcome.place.tx)
                carriers = (found,) if found else _carriers(outcome, states.get(transfer_id))
                self._tell(news, transfer_id, outcome, carriers)

    def _tell(
        self,
        news: News,
        transfer_id: TransferId,
        outcome: Outcome,
        carriers: Sequence[BatchId],
    ) -> None:
        match outcome:
            case ReleaseFinal():
                news.facts.append((transfer_id, ReleaseFinalized(outcome)))
            case CancelFinal():
                news.facts.append((transfer_id, CancelFinalized(outcome)))
            case ReleaseSkipped(reason=reason):
                for batch in carriers:
                    news.facts.append((transfer_id, ReleaseSkippedSeen(batch, reason)))
                if reason not in (SkipReason.ALREADY_RELEASED, SkipReason.ALREADY_CANCELLED):
                    news.carried[transfer_id] = None
            case MintParked():
                for batch in carriers:
                    fact: Fact = ReleaseSkippedSeen(batch, SkipReason.RECIPIENT_REFUSED)
                    news.facts.append((transfer_id, fact))

    def _strange(self, observations: Iterable[Observation], news: News) -> None:
        """What names no transfer is recorded and shown, never dropped."""
        now = self._clock.unix_ms()
        for observation in observations:
            if isinstance(observation, OrphanBurn):
                detail = f"{observation.amount} of {observation.asset.hex()}: {observation.reason}"
                scope = observation.nonce.hex()
                news.change.alarms.append(Alarm("ORPHAN_BURN", scope, detail[:200], now))

    def _advanced(self, page: Sequence[Numbered]) -> dict[Domain, int]:
        """How far each chain's dense numbers reach without a hole after this page."""
        moved: dict[Domain, int] = {}
        for numbered in page:
            if not numbered.sequence:
                continue
            chain = numbered.observation.place.block.chain
            position = moved.get(chain, self.positions.get(chain, 0))
            ahead = self._ahead.setdefault(chain, set())
            if numbered.sequence > position and len(ahead) < _HOLES_MAX:
                ahead.add(numbered.sequence)
            while position + 1 in ahead:
                position += 1
                ahead.discard(position)
            if position > self.positions.get(chain, 0):
                moved[chain] = position
        return moved

    def reset(self, chain: Domain) -> None:
        """Read this chain's watcher from the beginning: it numbers anew."""
        self.positions[chain] = 0
        self._ahead.pop(chain, None)


class Healer:
    """Fetches by number what Kafka did not bring, for one chain."""

    def __init__(self, intake: Intake, watcher: Watcher, gauges: Gauges, page: int = 1000) -> None:
        self._intake = intake
        self._watcher = watcher
        self._gauges = gauges
        self._page = page
        self._seen = 0

    async def check(self) -> int:
        """Heal only what stayed missing since the last check; how much. Raises Transient."""
        expected, self._seen = self._seen, await self._watcher.latest_sequence()
        position = self._intake.positions.get(self._watcher.chain, 0)
        if position >= expected and position <= self._seen:
            return 0
        return await self.heal()

    async def read_to(self, sequence: int) -> int:
        """Read on until the numbers reach `sequence`, or the watcher has no more; how many.

        The number is a hint from Kafka and may be anybody's invention. Raises Transient.
        """
        read = 0
        while self._intake.positions.get(self._watcher.chain, 0) < sequence:
            page = await self._next_page()
            if not page:
                break
            read += len(page)
        return read

    async def heal(self) -> int:
        """Read on until the watcher has no more; how many were read. Raises Transient."""
        chain = self._watcher.chain
        latest = await self._watcher.latest_sequence()
        if latest < self._intake.positions.get(chain, 0):
            self._gauges.count("watcher_renumbered", chain=chain.name)
            self._intake.reset(chain)
        healed = 0
        while page := await self._next_page():
            healed += len(page)
            self._gauges.count("healed", len(page), chain=chain.name)
        return healed

    async def _next_page(self) -> Sequence[Numbered]:
        """Take the watcher's next page in; empty when it has no more."""
        chain = self._watcher.chain
        after = self._intake.positions.get(chain, 0)
        page = await self._watcher.list_after(after, self._page)
        if page:
            await self._intake.take(page)
            if self._intake.positions.get(chain, 0) <= after:
                text = f"{chain.name}: nothing at {after + 1}; asked again later"
                raise Transient("WATCHER_NOT_DENSE", text)
        return page


def _carriers(outcome: Outcome, state: TransferState | None) -> tuple[BatchId, ...]:
    """The batches that an outcome closes where its transaction is not one that we signed.

    On TON the outcome happens in the minter's transaction, not in our message; elsewhere somebody
    else may have sent our batch. A parked key is used up, so every batch that carries it is done;
    a skip ends the one that would expire first. Closing a wrong one costs a signature: the
    destination releases a key once (INV-02).
    """
    live = _live(state) if state is not None else ()
    ordered = [one.batch for one in sorted(live, key=lambda one: (one.deadline, one.batch))]
    if not ordered:
        return (BatchId(outcome.place.tx.id[:32]),)
    closed = ordered if isinstance(outcome, MintParked) else ordered[:1]
    return tuple(BatchId(batch) for batch in closed)


def _live(state: TransferState) -> Sequence[Attempt]:
    """What may still land; while it is being cancelled, that is what the news is about."""
    cancels = live_attempts(state, Action.CANCEL) if state.cancel_requested else ()
    return cancels or live_attempts(state, Action.RELEASE)


def _key(outcome: Outcome) -> ExecutionKey:
    return ExecutionKey(outcome.destination, outcome.source, outcome.nonce)


def _targets(
    outcome: Outcome, known: Sequence[Transfer], opening: Sequence[BurnFinal]
) -> set[TransferId]:
    """The transfers an outcome is about: those it equals; all of its key if it equals none.

    A forged record may have opened a second transfer under the key; the chain's word about the
    real one must not be read as a broken promise of the forged one (INV-03).
    """
    candidates = {t.id: t.state.message for t in known}
    candidates.update({burn.transfer_id: burn.message for burn in opening})
    if isinstance(outcome, ReleaseFinal):
        same = {key for key, m in candidates.items() if m is not None and same_content(outcome, m)}
        return same or set(candidates)
    return set(candidates)

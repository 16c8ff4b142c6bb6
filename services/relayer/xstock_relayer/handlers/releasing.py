"""From granted transfers (or asked-for cancellations) to a batch in flight, for one destination.

One batch is formed at a time, and the next one as soon as the previous is broadcast: nothing
waits for finality. Signatures are asked of the M guards that granted every item; a refusal drops
those items and the rest is formed again. A guard that does not answer is avoided next time, a
signature that is not that guard's over this very batch is thrown away. How long to wait for more
items grows with the load (`window_seconds`), so that one transfer alone is never kept waiting. A
cancellation goes the same way in batches of its own; `Cancellations` says whom to ask.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from xstock_chains.ports import ChainWriter, GuardSignature, ReleaseCodec, ReleaseOrder
from xstock_core.facts import ReleaseSkippedSeen, VerdictGiven
from xstock_core.ids import Domain, GuardId, TransferId
from xstock_core.observation import SkipReason
from xstock_core.refusal import Disposition, Reason, Refused
from xstock_core.release import Action, ExecutionKey, ReleaseBatch, key_of
from xstock_core.transfer import Phase
from xstock_relayer.handlers.cancelling import Cancellations
from xstock_relayer.handlers.desk import Desk, News, authorized
from xstock_relayer.handlers.forming import Choice, choose, form, granted_by
from xstock_relayer.handlers.queues import DueQueue, backoff_ms
from xstock_relayer.handlers.reviewing import Reviewer
from xstock_relayer.handlers.sending import NotSent, Sender
from xstock_relayer.model import (
    Batch,
    GuardRefused,
    GuardSigned,
    SignedOrder,
    Transfer,
    batch_id_of,
)
from xstock_relayer.ports import FinalTime, Gauges
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient
from xstock_runtime.logging import get_logger
from xstock_wire.papers import CANCEL_REQUEST

_log = get_logger("releasing")
PERMIT_MARGIN_SECONDS = 60
"""Kept off the longest permit: a guard's final head may trail ours by this much."""
_EPOCH_MS = 10_000
_FINAL_TIME_MS = 2_000
_CANDIDATES_MAX = 1_000
"""Looked at for one batch: a few times what fits, for all but a batch goes back into the queue."""
_REST_MS_MAX = 2_000
_RELEASES_FIRST = (Action.RELEASE, Action.CANCEL)
_PARKED_SKIPS = {
    reason.name: reason for reason in (SkipReason.RECIPIENT_REFUSED, SkipReason.ASSET_UNKNOWN)
}
"""Skips that waiting alone does not end; pauses and empty buckets are waited for."""


@dataclass(slots=True)
class _Terms:
    """Epoch and final time of the destination, read a moment ago."""

    epoch: int = 0
    epoch_at_ms: int = -(10**12)
    final_time: int = 0
    final_at_ms: int = -(10**12)


@dataclass(slots=True)
class Releaser:
    """Forms, has signed and sends the batches of one destination."""

    chain: Domain
    desk: Desk
    sender: Sender
    reviewers: Mapping[str, Reviewer]
    writer: ChainWriter
    codec: ReleaseCodec
    final_time: FinalTime
    clock: Clock
    gauges: Gauges
    resting_until_ms: int = 0
    _terms: _Terms = field(default_factory=_Terms)
    _failures: int = 0
    _size: int = _CANDIDATES_MAX
    cancellations: Cancellations = field(init=False)

    def __post_init__(self) -> None:
        self.cancellations = Cancellations(self.desk, self.clock)

    def window_seconds(self) -> float:
        """How long to let items gather before the next batch: 0 for a full one, 5 ms when the
        destination is idle, more while others are in flight, at most 0.3 s."""
        waiting = self.desk.ready[self.chain].fresh
        if waiting >= self.desk.terms.batch_items_max[self.chain]:
            return 0.0
        if waiting <= 2 or not self.sender.pending:
            return 0.005
        return min(0.01 + 0.02 * self.sender.pending, 0.3)

    async def tick(self) -> int:
        """Form and send a batch of each kind; how many transfers they carry (0: nothing to do).

        After a failure the other kind goes first: one that fails for ever must not keep the other
        resting with it.
        """
        turns = (Action.CANCEL, Action.RELEASE) if self._failures % 2 == 0 else _RELEASES_FIRST
        return sum([await self._turn(action) for action in turns])

    async def _turn(self, action: Action) -> int:
        if not self.sender.has_room or self.clock.unix_ms() < self.resting_until_ms:
            return 0
        waiting = self._waiting(action)
        if not waiting:
            return 0
        try:
            sent = await self._release(waiting, action)
        except (Transient, Ambiguous, InvalidMessage) as error:
            self._rest(error.code)
            return 0
        if sent:
            self._failures = 0
        return sent

    def _rest(self, code: str) -> None:
        """The destination or a guard is away: leave all of it alone for a short while."""
        wait = min(backoff_ms(self._failures), _REST_MS_MAX)
        self._failures += 1
        self.resting_until_ms = self.clock.unix_ms() + wait
        self.gauges.count("release_failures", chain=self.chain.name, code=code)
        _log.info("release_waits", chain=self.chain.name, code=code, wait_ms=wait)

    def _queue(self, action: Action) -> DueQueue:
        queues = self.desk.cancels if action is Action.CANCEL else self.desk.ready
        return queues[self.chain]

    def _waiting(self, action: Action) -> list[Transfer]:
        queue = self._queue(action)
        now = self.clock.unix_ms()
        taken = [self.desk.open.get(key) for key in queue.take(now, _CANDIDATES_MAX)]
        ours: list[Transfer] = []
        for transfer in taken:
            if transfer is None or not _wants(transfer, action):
                continue
            if self.desk.halted(transfer):
                queue.postpone(transfer.id, now)
            else:
                ours.append(transfer)
        return ours

    async def _release(self, waiting: Sequence[Transfer], action: Action) -> int:
        terms = self.desk.terms
        shunned = {name for name, reviewer in self.reviewers.items() if not reviewer.healthy}
        limit = min(terms.batch_items_max[self.chain], self._size)
        choice = choose(
            waiting,
            needed=terms.threshold,
            limit=limit,
            shunned=shunned,
            bridges=terms.bridges,
            able=self.cancellations.able if action is Action.CANCEL else _granted,
        )
        if choice is None:
            self._postpone(waiting, action)
            return 0
        chosen = {transfer.id for transfer in choice.transfers}
        queue = self._queue(action)
        for transfer in waiting:
            if transfer.id not in chosen:
                queue.offer(transfer.id)
        try:
            return await self._send_choice(choice, action)
        except BaseException:
            for transfer in choice.transfers:
                queue.offer(transfer.id)
            raise

    async def _send_choice(self, choice: Choice, action: Action) -> int:
        """Sign and send, dropping what guards or the destination refuse, until it is settled."""
        transfers = list(choice.transfers)
        for _ in range(4):
            if not transfers:
                return 0
            batch, ids = await self._form(transfers, action)
            own = await self.writer.permit_terms(batch, self.sender.address, choice.guards)
            batch = replace(batch, terms=own)
            answers = await self._ask(choice.guards, batch, ids, _papers(transfers, action))
            refused = await self._take_refusals(answers, action)
            if refused:
                transfers = [t for t in transfers if t.id not in refused]
                continue
            signatures = self._signatures(batch, answers)
            if signatures is None:
                self._rest("SIGNATURE_MISSING")
                break
            order = ReleaseOrder(batch, signatures)
            now = self.clock.unix_ms()
            signed = Batch(batch_id_of(batch), order, ids, choice.guards, now)
            outcome = await self.sender.send(signed)
            if not isinstance(outcome, NotSent):
                self._size = min(2 * self._size, _CANDIDATES_MAX)
                self.gauges.count("batches", chain=self.chain.name)
                self.gauges.count("batch_items", len(ids), chain=self.chain.name)
                _log.info(
                    "batch_sent",
                    chain=self.chain.name,
                    items=len(ids),
                    batch=signed.id.hex(),
                    guards=choice.guards,
                    action=action.name,
                )
                return len(ids)
            if action is Action.RELEASE:
                await self._park_refused(signed, transfers, outcome)
            transfers = self._without(transfers, outcome, action)
        for transfer in transfers:
            if transfer.id in self.desk.open:
                self._queue(action).offer(transfer.id)
        return 0

    async def _form(
        self, transfers: Sequence[Transfer], action: Action
    ) -> tuple[ReleaseBatch, tuple[TransferId, ...]]:
        terms = self.desk.terms
        permit = max(30, min(terms.permit_seconds, 3600) - PERMIT_MARGIN_SECONDS)
        deadline = await self._final_time() + permit
        return form(
            transfers,
            bridges=terms.bridges,
            epoch=await self._epoch(),
            deadline=deadline,
            action=action,
        )

    async def _epoch(self) -> int:
        now = self.clock.unix_ms()
        if now - self._terms.epoch_at_ms >= _EPOCH_MS:
            self._terms.epoch = await self.writer.guard_epoch()
            self._terms.epoch_at_ms = now
        return self._terms.epoch

    async def _final_time(self) -> int:
        now = self.clock.unix_ms()
        if now - self._terms.final_at_ms >= _FINAL_TIME_MS:
            self._terms.final_time = await self.final_time()
            self._terms.final_at_ms = now
        return self._terms.final_time

    async def _ask(
        self,
        guards: Sequence[str],
        batch: ReleaseBatch,
        ids: Sequence[TransferId],
        papers: Mapping[TransferId, SignedOrder],
    ) -> dict[str, GuardSigned | GuardRefused | ServiceError]:
        """All M at once. A lost reply is asked once more: the same request, the same permit."""

        async def ask(name: str) -> GuardSigned | GuardRefused | ServiceError:
            guard = self.reviewers[name].guard
            try:
                return await guard.sign(batch, ids, papers)
            except Ambiguous:
                pass
            except ServiceError as error:
                return error
            try:
                return await guard.sign(batch, ids, papers)
            except ServiceError as error:
                return error

        answers = await asyncio.gather(*(ask(name) for name in guards))
        return dict(zip(guards, answers, strict=True))

    async def _take_refusals(
        self,
        answers: Mapping[str, GuardSigned | GuardRefused | ServiceError],
        action: Action,
    ) -> set[TransferId]:
        """Book what the guards refused now; those transfers leave the batch."""
        if action is Action.CANCEL:
            away = await self.cancellations.take(answers)
            self._postpone([t for key in away if (t := self.desk.open.get(key))], action)
            return away
        news = News()
        refused: set[TransferId] = set()
        for name, answer in answers.items():
            if not isinstance(answer, GuardRefused):
                continue
            for given in answer.verdicts:
                verdict = _as_held(given.verdict) if isinstance(given.verdict, Refused) else None
                refused.add(given.transfer_id)
                if verdict is not None:
                    fact = VerdictGiven(GuardId(name), verdict, given.sequence)
                    news.facts.append((given.transfer_id, fact))
        if news.facts:
            await self.desk.record(news)
            self._ask_again(answers, refused)
        return refused

    def _ask_again(
        self,
        answers: Mapping[str, GuardSigned | GuardRefused | ServiceError],
        refused: set[TransferId],
    ) -> None:
        now = self.clock.unix_ms()
        for name, answer in answers.items():
            if isinstance(answer, GuardRefused):
                for given in answer.verdicts:
                    if given.transfer_id in self.desk.open:
                        self.desk.reviews[name].postpone(given.transfer_id, now)
        for transfer_id in refused:
            kept = self.desk.open.get(transfer_id)
            if kept is not None and authorized(kept.state):
                self.desk.ready[self.chain].postpone(transfer_id, now)

    def _signatures(
        self,
        batch: ReleaseBatch,
        answers: Mapping[str, GuardSigned | GuardRefused | ServiceError],
    ) -> tuple[GuardSignature, ...] | None:
        """The M signatures, each checked to be that guard's; None if one is missing."""
        signatures: list[GuardSignature] = []
        for name, answer in answers.items():
            if not isinstance(answer, GuardSigned):
                if isinstance(answer, ServiceError):
                    self.reviewers[name].rest(answer)
                return None
            try:
                signer = self.codec.recover(batch, answer.signature)
            except InvalidMessage as error:
                self.reviewers[name].rest(error)
                return None
            expected = self.desk.terms.signers.get((self.chain, name), answer.signer)
            # SECURITY: one foreign signature would make the destination refuse the whole batch.
            if signer != expected:
                self.reviewers[name].rest(InvalidMessage("WRONG_SIGNER", f"{name}: not its key"))
                return None
            signatures.append(GuardSignature(signer, answer.signature))
        return tuple(signatures)

    async def _park_refused(
        self, batch: Batch, transfers: Sequence[Transfer], outcome: NotSent
    ) -> None:
        """What simulation shows to be refused for good is set aside, not tried for ever (F58)."""
        reasons = {key: reason for key, reason in outcome.refused if reason in _PARKED_SKIPS}
        facts = [
            (transfer.id, ReleaseSkippedSeen(batch.id, _PARKED_SKIPS[reasons[key]]))
            for transfer in transfers
            if (key := _key(transfer)) in reasons
        ]
        if facts:
            await self.desk.record(News(facts=list(facts)))

    def _without(
        self, transfers: Sequence[Transfer], outcome: NotSent, action: Action
    ) -> list[Transfer]:
        """What is left once the destination said which items it has done or would skip.

        A batch that would revert as a whole is halved next time, down to one item: neither its
        size nor a single bad item can stop the others for ever.
        """
        if outcome.reverts:
            self._terms = _Terms()
            self._size = max(1, len(transfers) // 2)
            self.gauges.count("batch_reverts", chain=self.chain.name)
            _log.warning("batch_would_revert", chain=self.chain.name, cause=outcome.reverts)
            self._postpone(transfers, action)
            return []
        away: set[ExecutionKey] = set(outcome.done) | {key for key, _ in outcome.refused}
        self._postpone([t for t in transfers if _key(t) in away], action)
        return [t for t in transfers if _key(t) not in away]

    def _postpone(self, transfers: Sequence[Transfer], action: Action) -> None:
        queue, now = self._queue(action), self.clock.unix_ms()
        for transfer in transfers:
            if transfer.id in self.desk.open:
                queue.postpone(transfer.id, now)


def _key(transfer: Transfer) -> ExecutionKey | None:
    message = transfer.state.message
    return key_of(message) if message is not None else None


def _wants(transfer: Transfer, action: Action) -> bool:
    """Whether this is still to be done: a request to cancel stops every new release."""
    cancelling = transfer.view.phase is Phase.CANCELLING
    return cancelling if action is Action.CANCEL else authorized(transfer.state) and not cancelling


def _granted(transfer: Transfer) -> frozenset[str]:
    return granted_by(transfer.state)


def _papers(transfers: Sequence[Transfer], action: Action) -> Mapping[TransferId, SignedOrder]:
    """The holders' requests; nothing else is handed to a guard as an authority."""
    if action is not Action.CANCEL:
        return {}
    return {t.id: t.order for t in transfers if t.order and t.order.kind == CANCEL_REQUEST}


def _as_held(verdict: Refused) -> Refused:
    """A guard that has forgotten its grant is asked again, not believed to have rejected."""
    forgotten = (Reason.NOT_GRANTED, Reason.DEADLINE_OUT_OF_RANGE, Reason.EPOCH_UNKNOWN)
    if verdict.reason in forgotten:
        return replace(verdict, disposition=Disposition.HOLD)
    return verdict

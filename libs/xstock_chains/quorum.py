"""One reader made of k providers: it says only what enough of them said, and no one denied.

The threshold counts *configured* providers, never those that happen to answer, so taking
providers away costs liveness and never safety (F02). Silence (an outage, a lagging node) and
dissent (two providers say different things about final data) are different errors: the first is
`Transient` QUORUM_LOST, the second `Dissent` with what each one said. Finality that breaks by
the quorum's own word is `Fatal` FINALITY_VIOLATED (INV-10). A quorum of liars is out of reach
here: guards meet that with disjoint providers (F01).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

from xstock_chains.ports import (
    ChainReader,
    Cursor,
    Page,
    Progress,
    SupplyReading,
    TxInspector,
    TxState,
    TxStatus,
)
from xstock_core.ids import AssetId
from xstock_core.invariants import threshold_sane
from xstock_core.observation import BlockRef, Observation, TxRef
from xstock_core.quorum import Agreed, NoQuorum, agree
from xstock_core.quorum import Dissent as Contradiction
from xstock_runtime.clock import Clock, SystemClock
from xstock_runtime.errors import Fatal, InvalidMessage, ServiceError, Transient
from xstock_runtime.remembered import Remembered

T = TypeVar("T")
A = TypeVar("A", bound=Hashable)
BLOCKS_REMEMBERED_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class Testimony:
    """What one provider said, in words that can be kept as evidence."""

    provider: str
    said: str


class Dissent(Transient):
    """Providers contradict each other about final data: HOLD the chain, alarm, keep `evidence`.

    It is a `Transient` because it may resolve by itself; unlike an outage it must never be met
    with another provider or a lower threshold, and if it lasts the lane is halted.
    """

    def __init__(self, about: str, evidence: Sequence[Testimony]) -> None:
        said = {item.provider: item.said for item in evidence}
        text = f"providers contradict each other about {about}: {said}"
        super().__init__("PROVIDER_DISSENT", text, {"about": about, **said})
        self.about = about
        self.evidence = tuple(evidence)


@dataclass(slots=True)
class _Answers(Generic[T]):
    """What came back from one question to all providers."""

    given: dict[str, T] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)
    """Errors by provider; a provider that did not answer in time is in neither map."""


class Quorum:
    """`ChainReader` over `readers`, of which `needed` must agree.

    `needed` is checked against the configured number k: an integer, more than k/2, at most k;
    else Fatal WEAK_QUORUM and the process does not start (F83, INV-12). A question goes to all
    providers at once and ends after `timeout_seconds`, or `grace_seconds` after enough answered.
    Readers must be of one family: their cursors are interchangeable, so a stored cursor stays
    valid when providers are added, removed or replaced.
    """

    def __init__(
        self,
        readers: Sequence[ChainReader],
        needed: int,
        *,
        names: Sequence[str] | None = None,
        clock: Clock | None = None,
        timeout_seconds: float = 10.0,
        grace_seconds: float = 0.5,
    ) -> None:
        labels = list(names or (f"provider-{n}" for n in range(1, len(readers) + 1)))
        _require_strong(len(readers), needed, labels)
        self._readers = dict(zip(labels, readers, strict=True))
        self._needed = needed
        self._clock = clock or SystemClock()
        self._timeout_seconds = timeout_seconds
        self._grace_seconds = grace_seconds
        self._known: Remembered[int, bytes] = Remembered(BLOCKS_REMEMBERED_MAX)
        self.silent: dict[str, str] = {}
        """Why a provider gave no usable answer to the last question; for metrics and people."""

    async def finalized_head(self) -> BlockRef:
        """The highest block that enough providers call final."""
        answers = await self._ask("the final head", lambda r: r.finalized_head())
        self._require(answers.given, "the final head")
        return await self._agree_on(answers.given)

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """The longest page that enough providers tell alike; any contradiction is Dissent."""
        about = f"the page after {after.text or 'the beginning'}"
        answers = await self._ask(about, lambda r: r.read_page(after, limit=limit))
        pages = answers.given
        self._require(pages, about)
        through = await self._agree_on({name: page.through for name, page in pages.items()})
        cut = next(page for page in pages.values() if page.through == through)
        for page in pages.values():
            common = min(page.through.number, through.number)
            same_place = page.through.number != through.number or page.cursor == cut.cursor
            if _up_to(page, common) != _up_to(cut, common) or not same_place:
                raise Dissent(about, _tell_pages(pages, common))
        heads = sorted((page.head for page in pages.values()), key=lambda b: -b.number)
        head = heads[self._threshold(len(heads)) - 1]
        return Page(cut.observations, cut.cursor, through, head, cut.more)

    async def re_observe(self, tx: TxRef) -> Sequence[Observation]:
        """The observations that enough providers show; a denial of a final one is Dissent."""
        about = f"transaction {tx.id.hex()}"
        answers = await self._ask(about, lambda r: r.re_observe(tx))
        told = {name: tuple(given) for name, given in answers.given.items()}
        self._require(told, about)
        claims = [given for given in told.values() if given]
        if not claims:
            return ()
        claim = claims[0]
        if any(other != claim for other in claims):
            raise Dissent(about, [_tell(n, given) for n, given in told.items()])
        support = {name for name, given in told.items() if given}
        support |= await self._ask_deniers(tx, claim, told)
        return claim if len(support) >= self._threshold(len(told)) else ()

    async def inspect(self, tx: TxRef) -> TxStatus | None:
        """Where a transaction stands by enough providers; final only by their common word."""
        about = f"the fate of transaction {tx.id.hex()}"
        answers = await self._ask(about, lambda reader: _inspect(reader, tx))
        self._require(answers.given, about)
        told = list(answers.given.values())
        for status in told:
            if status is not None and told.count(status) >= self._threshold(len(told)):
                return status
        known = [status for status in told if status is not None]
        included = next((one for one in known if one.state is not TxState.PENDING), None)
        if included is not None:
            return replace(included, state=TxState.INCLUDED)
        return known[0] if known else None

    async def read_pending(self) -> Sequence[Progress]:
        """Burns that enough providers see above the final head; advisory."""
        answers = await self._ask("pending burns", lambda r: r.read_pending())
        self._require(answers.given, "pending burns")
        seen: dict[tuple[bytes, bytes], list[Progress]] = {}
        for given in answers.given.values():
            for item in given:
                seen.setdefault((item.tx.id, item.message.pack()), []).append(item)
        enough = self._threshold(len(answers.given))
        return tuple(
            max(items, key=lambda p: p.blocks_behind_final)
            for items in seen.values()
            if len(items) >= enough
        )

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """Supply at one block that enough providers have and read alike.

        A provider that left an asset out is silent about it; one of which too few speak is left
        out here too.
        """
        block = at or await self._supply_block(assets)
        about = f"supply at block {block.number}"
        answers = await self._ask(about, lambda r: r.read_supply(assets, at=block))
        self._require(answers.given, about)
        bare = {name: replace(given, supplies=()) for name, given in answers.given.items()}
        reading = self._rule(about, bare)
        if reading is None:
            raise self._lost(answers.given, about)
        shown = {n: {s.asset: s for s in given.supplies} for n, given in answers.given.items()}
        found = (
            self._rule(about, {name: told.get(asset) for name, told in shown.items()})
            for asset in dict.fromkeys(assets)
        )
        return replace(reading, supplies=tuple(one for one in found if one is not None))

    async def is_final(self, block: BlockRef) -> bool | None:
        """True or False by enough providers, None while too few know; both at once is Dissent."""
        about = f"the finality of block {block.number}"
        answers = await self._ask(about, lambda r: r.is_final(block))
        self._require(answers.given, about)
        final = self._rule(about, answers.given)
        if final is True:
            self._remember(block)
        if final is False and self._known.get(block.number) == block.hash:
            raise _violated(block.number, block.hash, b"")
        return final

    # agreement

    def _threshold(self, answered: int) -> int:
        """How many must agree. SECURITY: `answered` must not matter (F02)."""
        del answered
        return self._needed

    def _rule(self, about: str, said: Mapping[str, A | None]) -> A | None:
        """The core's rule over these answers (None: silence); None while too few gave one."""
        ruling = agree(list(said.values()), len(self._readers), self._threshold(len(said)))
        match ruling:
            case Agreed(answer=answer):
                return answer
            case NoQuorum():
                return None
            case Contradiction():
                raise Dissent(about, [Testimony(n, repr(v)) for n, v in sorted(said.items())])

    async def _agree_on(self, claims: Mapping[str, BlockRef]) -> BlockRef:
        """The highest claimed block with enough support; contradictions are Dissent."""
        ranked = sorted(claims, key=lambda name: -claims[name].number)
        speaker = ranked[self._threshold(len(claims)) - 1]
        cut = claims[speaker]
        questions = []
        for name, claim in claims.items():
            if claim.number > cut.number:
                questions.append((name, cut))
            elif claim.number < cut.number:
                questions.append((speaker, claim))
            elif claim != cut:
                raise Dissent(f"block {cut.number}", _tell_blocks(claims))
        verdicts = await asyncio.gather(
            *(self._ask_one(name, self._readers[name].is_final(block)) for name, block in questions)
        )
        if any(verdict is False for verdict in verdicts):
            raise Dissent(f"the chain up to block {cut.number}", _tell_blocks(claims))
        confirmed = [name for name, claim in claims.items() if claim == cut]
        confirmed += [
            name
            for (name, block), verdict in zip(questions, verdicts, strict=True)
            if block == cut and verdict is True
        ]
        self._require(dict.fromkeys(confirmed), f"block {cut.number}")
        self._remember(cut)
        return cut

    async def _ask_deniers(
        self, tx: TxRef, claim: Sequence[Observation], told: Mapping[str, Sequence[Observation]]
    ) -> set[str]:
        """Providers that showed nothing, asked again if they hold the claim's block as final."""
        block, late = claim[0].place.block, set()
        for name in [name for name, given in told.items() if not given]:
            final = await self._ask_one(name, self._readers[name].is_final(block))
            if final is None:
                continue
            again = await self._ask_one(name, self._readers[name].re_observe(tx)) if final else ()
            if again is None:
                continue
            if tuple(again) != tuple(claim):
                raise Dissent(f"transaction {tx.id.hex()}", [_tell(n, g) for n, g in told.items()])
            late.add(name)
        return late

    async def _supply_block(self, assets: Sequence[AssetId]) -> BlockRef:
        answers = await self._ask("the newest block", lambda r: r.read_supply(assets))
        blocks = [reading.block for reading in answers.given.values()]
        self._require(answers.given, "the newest block")
        return sorted(blocks, key=lambda b: -b.number)[self._threshold(len(blocks)) - 1]

    def _remember(self, block: BlockRef) -> None:
        """SECURITY: the quorum's own second final hash at a height is the end of trust."""
        known = self._known.setdefault(block.number, block.hash)
        if known != block.hash:
            raise _violated(block.number, known, block.hash)

    def _require(self, answered: Mapping[str, object], about: str) -> None:
        if len(answered) < self._threshold(len(answered)) or not answered:
            raise self._lost(answered, about)

    def _lost(self, answered: Mapping[str, object], about: str) -> Transient:
        why = {n: self.silent.get(n, "lags") for n in self._readers if n not in answered}
        return Transient(
            "QUORUM_LOST",
            f"{len(answered)} of {len(self._readers)} providers answered about {about}, "
            f"{self._needed} are needed; silent: {why}",
            {"needed": self._needed, "answered": len(answered), **why},
        )

    # asking

    async def _ask(
        self, about: str, question: Callable[[ChainReader], Coroutine[Any, Any, T]]
    ) -> _Answers[T]:
        tasks = {
            name: asyncio.ensure_future(question(reader)) for name, reader in self._readers.items()
        }
        try:
            await self._wait(set(tasks.values()))
        finally:
            await _cancel(tasks.values())
        answers: _Answers[T] = _Answers()
        self.silent = {}
        for name, task in tasks.items():
            if task.cancelled():
                self.silent[name] = f"no answer within {self._timeout_seconds} s"
            elif isinstance(error := task.exception(), Exception):
                self.silent[name] = str(error)
                answers.refused[name] = error
            else:
                answers.given[name] = task.result()
        self._judge(answers, about)
        return answers

    async def _wait(self, pending: set["asyncio.Future[T]"]) -> None:
        timers = {asyncio.ensure_future(self._clock.sleep(self._timeout_seconds))}
        answered = 0
        try:
            while pending:
                done, _ = await asyncio.wait(pending | timers, return_when=asyncio.FIRST_COMPLETED)
                if done & timers:
                    return
                pending = {task for task in pending if task not in done}
                answered += sum(1 for task in done if task.exception() is None)
                if len(timers) == 1 and answered >= self._needed:
                    timers.add(asyncio.ensure_future(self._clock.sleep(self._grace_seconds)))
        finally:
            await _cancel(timers)

    async def _ask_one(self, name: str, question: Awaitable[T]) -> T | None:
        """One provider's answer, None for silence."""
        task = asyncio.ensure_future(question)
        timer = asyncio.ensure_future(self._clock.sleep(self._timeout_seconds))
        try:
            await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel([task, timer])
        if task.cancelled():
            self.silent[name] = f"no answer within {self._timeout_seconds} s"
            return None
        if isinstance(error := task.exception(), Exception):
            self.silent[name] = str(error)
            return None
        return task.result()

    def _judge(self, answers: _Answers[T], about: str) -> None:
        """Raise what enough providers refuse alike; a lonely Fatal is Dissent, the rest silence."""
        verdicts: dict[tuple[type, str], list[ServiceError]] = {}
        for error in answers.refused.values():
            if isinstance(error, Fatal | InvalidMessage):
                verdicts.setdefault((type(error), error.code), []).append(error)
        heard = len(answers.given) + len(answers.refused)
        for errors in verdicts.values():
            if len(errors) >= self._threshold(heard):
                raise errors[0]
        if any(isinstance(error, Fatal) for error in answers.refused.values()):
            said = {n: str(e) for n, e in answers.refused.items()}
            said |= {n: "an answer without objection" for n in answers.given}
            raise Dissent(about, [Testimony(n, text) for n, text in sorted(said.items())])


async def _cancel(tasks: "Sequence[asyncio.Future[Any]] | Any") -> None:
    waiting = [task for task in tasks if not task.done()]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def _inspect(reader: ChainReader, tx: TxRef) -> TxStatus | None:
    if not isinstance(reader, TxInspector):
        raise Transient("INSPECT_UNSUPPORTED", "this reader cannot look at any transaction")
    return await reader.inspect(tx)


def _require_strong(configured: int, needed: int, names: Sequence[str]) -> None:
    if not threshold_sane(configured, needed):
        raise Fatal(
            "WEAK_QUORUM",
            f"needed {needed!r} of {configured} providers is refused; set an integer above "
            f"{configured / 2:g} and at most {configured}",
        )
    if len(names) != configured or len(set(names)) != configured:
        raise Fatal(
            "WEAK_QUORUM",
            f"provider names {list(names)} are not {configured} different ones; name each "
            "provider once, a doubled one would vote twice",
        )


def _violated(number: int, known: bytes, other: bytes) -> Fatal:
    return Fatal(
        "FINALITY_VIOLATED",
        f"block {number} was final as {known.hex()} and is {other.hex() or 'no longer so'}; "
        "the lane is halted until two people have looked",
        {"number": number, "known": known.hex(), "other": other.hex()},
    )


def _up_to(page: Page, number: int) -> tuple[Observation, ...]:
    return tuple(o for o in page.observations if o.place.block.number <= number)


def _tell(provider: str, observations: Sequence[Observation]) -> Testimony:
    return Testimony(provider, "; ".join(map(repr, observations)) or "nothing")


def _tell_pages(pages: Mapping[str, Page], number: int) -> list[Testimony]:
    """What each page holds up to this block that not every page holds."""
    shown = {name: _up_to(page, number) for name, page in pages.items()}
    shared = set.intersection(*(set(observations) for observations in shown.values()))
    return [
        Testimony(
            name,
            f"through block {page.through.number} {page.through.hash.hex()}: "
            + _tell(name, [o for o in shown[name] if o not in shared]).said,
        )
        for name, page in sorted(pages.items())
    ]


def _tell_blocks(claims: Mapping[str, BlockRef]) -> list[Testimony]:
    return [Testimony(n, f"block {b.number} {b.hash.hex()}") for n, b in sorted(claims.items())]

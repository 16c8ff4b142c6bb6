"""Following transfers: replay and live are one loop over the journal.

A stream is a place in the journal that moves. Each frame carries the token of the place right
after it, so a client that reconnects with its last token sees every later change and, at worst,
the last one twice. A snapshot lists the open transfers first and then follows from the place
where the journal stood when the listing began: what changed meanwhile comes again as an event.

Nothing is skipped silently: places are dense, so a page that does not begin right after the mark
ends the stream with RESUME_TOKEN_EXPIRED, and a reader that blocks one frame for too long gets
SLOW_CONSUMER. A stream holds at most one page of lines; gRPC's flow control stops it from making
frames that nobody takes.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from xstock_core.ids import TransferId
from xstock_gateway.ports import Coverage, GatewayStore, JournalLine, ViewFilter
from xstock_gateway.refusals import ApiRefused
from xstock_gateway.token import FOLLOWING, SNAPSHOT, Mark, TokenBox
from xstock_gateway.view import TransferView
from xstock_runtime.clock import Clock

PAGE = 500


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stream: an event, or progress when `view` is None."""

    token: bytes
    view: TransferView | None = None
    cause: str = ""
    first: bool = False
    draining: bool = False
    coverage: tuple[Coverage, ...] = ()

    @property
    def event_id(self) -> str:
        """The same for the same revision of the same transfer, on every stream."""
        if self.view is None:
            return ""
        return f"{self.view.transfer_id.hex()}-{self.view.revision}"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream begins: exactly one of these, or now."""

    resume_token: bytes | None = None
    time_ms: int | None = None
    snapshot: bool = False


@dataclass(slots=True)
class Wakeups:
    """Wakes every stream of this process when the journal grows; one listener feeds it."""

    _event: asyncio.Event = field(default_factory=asyncio.Event)
    draining: bool = False

    def wake(self) -> None:
        """The journal may have grown."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    def drain(self) -> None:
        """This process is leaving: streams say goodbye."""
        self.draining = True
        self.wake()

    def ticket(self) -> asyncio.Event:
        """Take before reading the journal: set by the next wake-up."""
        return self._event


@dataclass(slots=True)
class FollowHandler:
    """Streams over the journal.

    `progress_seconds`: at least this often a stream says that it is alive and how far it is.
    `slow_seconds`: how long one frame may wait for its reader.
    """

    store: GatewayStore
    tokens: TokenBox
    wakeups: Wakeups
    clock: Clock
    progress_seconds: float = 10.0
    slow_seconds: float = 120.0

    async def follow(
        self, wanted: ViewFilter, filter_bytes: bytes, start: Start
    ) -> AsyncGenerator[Frame, None]:
        """Frames without end, until drained; raises ApiRefused.

        RESUME_TOKEN_INVALID, RESUME_FILTER_MISMATCH and RESUME_TOKEN_EXPIRED say why a place
        cannot be followed from; SLOW_CONSUMER that the reader took too long over one frame.
        """
        async with aclosing(self._frames(wanted, filter_bytes, start)) as frames:
            async for frame in frames:
                handed_over = self.clock.monotonic()
                yield frame
                self._refuse_slow(self.clock.monotonic() - handed_over)

    async def _frames(
        self, wanted: ViewFilter, filter_bytes: bytes, start: Start
    ) -> AsyncGenerator[Frame, None]:
        mark = await self._begin(start, filter_bytes)
        yield await self._progress(mark, filter_bytes, first=True)
        while mark.kind == SNAPSHOT and not self.wakeups.draining:
            views = await self.store.open_views(TransferId(mark.after), PAGE)
            if not views:
                mark = Mark(FOLLOWING, mark.sequence)
                break
            for view in views:
                mark = replace(mark, after=view.transfer_id)
                if matches(wanted, view):
                    yield Frame(self.tokens.seal(mark, filter_bytes), view, "SNAPSHOT")
        async with aclosing(self._live(wanted, filter_bytes, mark)) as frames:
            async for frame in frames:
                yield frame

    async def _live(
        self, wanted: ViewFilter, filter_bytes: bytes, mark: Mark
    ) -> AsyncGenerator[Frame, None]:
        spoke = self.clock.monotonic()
        while True:
            ticket = self.wakeups.ticket()
            if self.wakeups.draining:
                yield Frame(self.tokens.seal(mark, filter_bytes), draining=True)
                return
            lines = await self.store.journal_after(mark.sequence, PAGE)
            await self._refuse_gap(mark, lines)
            for line in lines:
                mark = Mark(FOLLOWING, line.sequence)
                view = line.change.view
                if matches(wanted, view):
                    yield Frame(self.tokens.seal(mark, filter_bytes), view, line.change.cause)
                    spoke = self.clock.monotonic()
            quiet = self.clock.monotonic() - spoke
            if quiet >= self.progress_seconds:
                yield await self._progress(mark, filter_bytes)
                spoke = self.clock.monotonic()
            elif not lines:
                await woken(ticket, self.clock, self.progress_seconds - quiet)

    def _refuse_slow(self, seconds: float) -> None:
        if seconds > self.slow_seconds:
            raise ApiRefused(
                "SLOW_CONSUMER",
                f"one frame waited {seconds:.0f} s for its reader, {self.slow_seconds:.0f} s are "
                "allowed; nothing is lost: resume with the last token you have",
                {"waited_seconds": round(seconds), "allowed_seconds": round(self.slow_seconds)},
            )

    async def _refuse_gap(self, mark: Mark, lines: Sequence[JournalLine]) -> None:
        """SECURITY: a hole in the journal is told, never stepped over."""
        if lines and lines[-1].sequence != mark.sequence + len(lines):
            oldest, oldest_ms, _ = await self.store.journal_bounds()
            raise _expired(mark.sequence, oldest, oldest_ms)

    async def _begin(self, start: Start, filter_bytes: bytes) -> Mark:
        oldest, oldest_ms, newest = await self.store.journal_bounds()
        if start.resume_token is not None:
            mark = self.tokens.open(start.resume_token, filter_bytes, (FOLLOWING, SNAPSHOT))
            if not oldest - 1 <= mark.sequence <= newest:
                raise _expired(mark.sequence, oldest, oldest_ms)
            return mark
        if start.time_ms is not None:
            sequence = await self.store.journal_at(start.time_ms)
            if oldest > 1 and start.time_ms < oldest_ms:
                raise _expired(sequence, oldest, oldest_ms)
            return Mark(FOLLOWING, sequence)
        return Mark(SNAPSHOT if start.snapshot else FOLLOWING, newest)

    async def _progress(self, mark: Mark, filter_bytes: bytes, *, first: bool = False) -> Frame:
        coverage: Sequence[Coverage] = await self.store.coverage()
        token = self.tokens.seal(mark, filter_bytes)
        return Frame(token, first=first, coverage=tuple(coverage))


def _expired(sequence: int, oldest: int, oldest_ms: int) -> ApiRefused:
    return ApiRefused(
        "RESUME_TOKEN_EXPIRED",
        f"the journal does not lead on from place {sequence}: it begins at {oldest}; do not retry "
        f"with this token: start with a snapshot, or from {oldest_ms} (Unix ms) on",
        {"oldest_ms": oldest_ms, "oldest_sequence": oldest, "sequence": sequence},
    )


async def woken(ticket: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Return when the ticket is called or the time is up, whichever comes first."""
    waiting = {
        asyncio.ensure_future(ticket.wait()),
        asyncio.ensure_future(clock.sleep(seconds)),
    }
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def matches(wanted: ViewFilter, view: TransferView) -> bool:
    """True when every condition that is set holds for the view."""
    message = view.message
    created = view.created_ms
    conditions = (
        not wanted.transfer_ids or view.transfer_id in wanted.transfer_ids,
        wanted.party is None or wanted.party in view.parties,
        wanted.asset is None or wanted.asset == message.asset,
        wanted.chain is None or wanted.chain in (message.source, message.destination),
        not wanted.states or view.state in wanted.states,
        wanted.created_after_ms is None or created >= wanted.created_after_ms,
        wanted.created_before_ms is None or created < wanted.created_before_ms,
    )
    return all(conditions)

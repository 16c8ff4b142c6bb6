"""Following transfers: replay and live are one loop over the journal.

A stream is a place in the journal that moves. Each frame carries the token of the place right
after it, so a client that reconnects with its last token sees every later change and, at worst,
the last one twice. A snapshot lists the open transfers first and then follows from the place
where the journal stood when the listing began: what changed meanwhile comes again as an event.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from xstock_core.ids import TransferId
from xstock_gateway.ports import Coverage, GatewayStore, ViewFilter
from xstock_gateway.refusals import ApiRefused
from xstock_gateway.token import FOLLOWING, SNAPSHOT, Mark, TokenBox
from xstock_gateway.view import TransferView

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
    """Streams over the journal."""

    store: GatewayStore
    tokens: TokenBox
    wakeups: Wakeups
    progress_seconds: float = 10.0

    async def follow(
        self, wanted: ViewFilter, filter_bytes: bytes, start: Start
    ) -> AsyncIterator[Frame]:
        """Frames without end; raises ApiRefused for a token that cannot be used."""
        mark = await self._begin(start, filter_bytes)
        yield await self._progress(mark, filter_bytes, first=True)
        while mark.kind == SNAPSHOT:
            views = await self.store.open_views(TransferId(mark.after), PAGE)
            if not views:
                mark = Mark(FOLLOWING, mark.sequence)
                break
            for view in views:
                mark = replace(mark, after=view.transfer_id)
                if matches(wanted, view):
                    yield Frame(self.tokens.seal(mark, filter_bytes), view, "SNAPSHOT")
        async for frame in self._live(wanted, filter_bytes, mark):
            yield frame

    async def _live(
        self, wanted: ViewFilter, filter_bytes: bytes, mark: Mark
    ) -> AsyncIterator[Frame]:
        while True:
            ticket = self.wakeups.ticket()
            if self.wakeups.draining:
                yield Frame(self.tokens.seal(mark, filter_bytes), draining=True)
                return
            lines = await self.store.journal_after(mark.sequence, PAGE)
            for line in lines:
                mark = Mark(FOLLOWING, line.sequence)
                view = line.change.view
                if matches(wanted, view):
                    yield Frame(self.tokens.seal(mark, filter_bytes), view, line.change.cause)
            if lines:
                continue
            try:
                await asyncio.wait_for(ticket.wait(), self.progress_seconds)
            except TimeoutError:
                yield await self._progress(mark, filter_bytes)

    async def _begin(self, start: Start, filter_bytes: bytes) -> Mark:
        oldest, oldest_ms, newest = await self.store.journal_bounds()
        if start.resume_token is not None:
            mark = self.tokens.open(start.resume_token, filter_bytes, (FOLLOWING, SNAPSHOT))
            self._refuse_expired(mark.sequence, oldest, oldest_ms)
            return mark
        if start.time_ms is not None:
            sequence = await self.store.journal_at(start.time_ms)
            self._refuse_expired(sequence, oldest, oldest_ms)
            return Mark(FOLLOWING, sequence)
        return Mark(SNAPSHOT if start.snapshot else FOLLOWING, newest)

    def _refuse_expired(self, sequence: int, oldest: int, oldest_ms: int) -> None:
        if sequence + 1 < oldest:
            raise ApiRefused(
                "RESUME_TOKEN_EXPIRED",
                "the journal no longer reaches back to this place; do not retry with it: start "
                f"with a snapshot, or from {oldest_ms} (Unix ms) on",
                {"oldest_ms": oldest_ms, "oldest_sequence": oldest, "sequence": sequence},
            )

    async def _progress(self, mark: Mark, filter_bytes: bytes, *, first: bool = False) -> Frame:
        coverage: Sequence[Coverage] = await self.store.coverage()
        token = self.tokens.seal(mark, filter_bytes)
        return Frame(token, first=first, coverage=tuple(coverage))


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

"""Streams over the journal, cut anywhere: nothing missing, nothing but repetitions extra.

Method: one seed draws a journal (interleaved transfers), where the reader starts, and after how
many frames each connection dies; every connection goes on with the last token it handled. What is
collected, deduplicated by event id, must equal the journal. The seed is in the test's id.
"""

import asyncio
import itertools
import random
from collections.abc import Callable
from contextlib import aclosing, suppress

import pytest

from tests.services.gateway.facts import covered, final, said, seen, transfer
from tests.services.gateway.world import KEY, GatewayWorld
from xstock_core.ids import Domain
from xstock_gateway.adapters.memory import MemoryGatewayStore
from xstock_gateway.handlers.follow import FollowHandler, Frame, Start
from xstock_gateway.ports import ViewFilter
from xstock_gateway.refusals import ApiRefused
from xstock_gateway.token import FOLLOWING, LISTING, SNAPSHOT, Mark, TokenBox
from xstock_gateway.view import Fact
from xstock_runtime.clock import VirtualClock

SEEDS = range(300)
Cut = Callable[[int], int]


async def journal_ids(world: GatewayWorld) -> list[str]:
    """The event ids that the journal stands for."""
    lines = await world.store.journal_after(0, 10_000)
    return [Frame(b"", line.change.view).event_id for line in lines]


async def write(world: GatewayWorld, chance: random.Random, transfers: int) -> None:
    """Lives of transfers, interleaved by chance, in pages of chance."""
    facts: list[Fact] = []
    for n in range(1, transfers + 1):
        facts += [seen(n), final(n)]
        facts += [said(n, revision) for revision in range(1, chance.randint(1, 5) + 1)]
    chance.shuffle(facts)
    while facts:
        size = chance.randint(1, 7)
        page, facts = facts[:size], facts[size:]
        await world.take(*page)


async def read_with_cuts(
    world: GatewayWorld, chance: random.Random, start: Start, until: int
) -> list[Frame]:
    """Read to the journal's place `until`, on a new process and stream after every cut."""
    frames: list[Frame] = []
    while True:
        cut = chance.randint(1, 9)
        async with aclosing(world.stream(start)) as stream:
            for _ in range(cut):
                frame = await anext(stream)
                frames.append(frame)
                mark = world.tokens.open(frame.token, b"", (FOLLOWING, SNAPSHOT))
                if mark.kind == FOLLOWING and mark.sequence >= until:
                    return frames
        start = Start(resume_token=frames[-1].token)
        world = world.restart()


def deduplicated(frames: list[Frame]) -> list[str]:
    return list(dict.fromkeys(frame.event_id for frame in frames if frame.view is not None))


@pytest.mark.parametrize("seed", SEEDS)
async def test_stream__killed_between_any_two_frames__concatenation_is_the_journal(
    seed: int,
) -> None:
    chance = random.Random(seed)
    world = GatewayWorld()
    await write(world, chance, transfers=chance.randint(1, 6))
    expected = await journal_ids(world)
    frames = await read_with_cuts(world, chance, Start(time_ms=0), len(expected))
    assert deduplicated(frames) == expected


@pytest.mark.parametrize("seed", range(100))
async def test_stream__killed_in_the_middle_of_a_snapshot__misses_no_change_after_it(
    seed: int,
) -> None:
    chance = random.Random(seed)
    world = GatewayWorld()
    await write(world, chance, transfers=8)
    await world.take(final(30))
    open_before = {v.transfer_id for v in await world.store.open_views(None, 100)}
    begun = (await world.store.journal_bounds())[2]
    first = await world.read(Start(snapshot=True), events=1)
    await world.take(*(said(n, 5) for n in range(1, 9)), final(40))
    after = (await journal_ids(world))[begun:]
    rest = await read_with_cuts(
        world, chance, Start(resume_token=first[-1].token), begun + len(after)
    )
    told = {f.view.transfer_id: f.view for f in (*first, *rest) if f.view is not None}
    events = deduplicated([f for f in (*first, *rest) if f.cause != "SNAPSHOT"])
    assert events == after
    assert open_before <= told.keys()
    stored = await world.store.views(list(told))
    assert told == stored


async def test_stream__token_not_used_in_resuming__loses_what_came_meanwhile() -> None:
    """Defence removed: a reader that starts anew from now after a cut has a gap."""
    world = GatewayWorld()
    await world.take(final(1), final(2))
    frames = await world.read(Start(time_ms=0), events=1)
    stream = world.restart().stream(Start())
    await anext(stream)
    await world.take(final(3))
    world.wakeups.wake()
    frames.append(await asyncio.wait_for(anext(stream), 5))
    await stream.aclose()
    assert deduplicated(frames) != await journal_ids(world)


async def test_stream__live_and_replayed__tell_the_same_frames() -> None:
    world = GatewayWorld()
    live = asyncio.ensure_future(world.read(Start(time_ms=0), events=12))
    await asyncio.sleep(0)
    for n in (1, 2):
        for fact in (seen(n), final(n), said(n, 1), said(n, 2), said(n, 4), said(n, 5)):
            await world.take(fact)
            await asyncio.sleep(0)
    replayed = await world.read(Start(time_ms=0), events=12)
    told = [(f.event_id, f.cause, f.token) for f in await live if f.view is not None]
    assert told == [(f.event_id, f.cause, f.token) for f in replayed if f.view is not None]


async def test_stream__first_frame__is_progress_with_how_far_chains_were_read() -> None:
    world = GatewayWorld()
    await world.ingest.take([], [covered(Domain.BNB, 7)])
    stream = world.stream()
    frame = await anext(stream)
    await stream.aclose()
    assert (frame.first, frame.view, frame.event_id) == (True, None, "")
    assert frame.coverage == (covered(Domain.BNB, 7),)


async def collect(clock: VirtualClock, world: GatewayWorld, wanted: ViewFilter) -> list[float]:
    """The times at which a stream says anything, into a list that grows."""
    times: list[float] = []

    async def read() -> None:
        async with aclosing(world.stream(wanted=wanted)) as stream:
            async for _ in stream:
                times.append(clock.monotonic())

    task = asyncio.ensure_future(read())
    try:
        for _ in range(45):
            await clock.advance(1.0)
            await world.take(final(int(clock.monotonic()) + 1))
            await clock.settle()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return times


async def test_stream__lines_that_do_not_match_all_the_time__progress_every_ten_seconds() -> None:
    clock = VirtualClock()
    world = GatewayWorld(clock=clock)
    wanted = ViewFilter(transfer_ids=frozenset({transfer(9_999)}))
    times = await collect(clock, world, wanted)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(times) == 5
    assert max(gaps) <= 10.0


async def test_stream__lines_that_match_all_the_time__no_progress_is_needed() -> None:
    clock = VirtualClock()
    world = GatewayWorld(clock=clock)
    assert len(await collect(clock, world, ViewFilter())) == 46


async def test_stream__filter__tells_only_what_matches_and_keeps_its_place() -> None:
    world = GatewayWorld()
    await world.take(*(final(n) for n in range(1, 10)), said(4, 5))
    wanted = ViewFilter(states=frozenset({"RELEASED"}))
    frames = await world.read(Start(time_ms=0), events=1, wanted=wanted)
    assert [f.event_id for f in frames if f.view] == [f"{transfer(4).hex()}-2"]
    mark = world.tokens.open(frames[-1].token, b"", (FOLLOWING,))
    assert mark.sequence == 10


async def refusal(world: GatewayWorld, start: Start, filter_bytes: bytes = b"") -> ApiRefused:
    """What a start is refused with."""
    with pytest.raises(ApiRefused) as refused:
        await anext(world.stream(start, filter_bytes=filter_bytes))
    return refused.value


async def test_token__of_another_deployment_key_or_method__is_invalid() -> None:
    world = GatewayWorld()
    mark = Mark(FOLLOWING, 0)
    good = world.tokens.seal(mark, b"")
    bad = [
        TokenBox(KEY, "other").seal(mark, b""),
        TokenBox(b"x" * 32, "test").seal(mark, b""),
        world.tokens.seal(Mark(LISTING, 0), b""),
        good[:-1],
        good + b"\0",
        bytes([good[0] ^ 1]) + good[1:],
        good[:-1] + bytes([good[-1] ^ 1]),
        b"",
    ]
    for token in bad:
        assert (await refusal(world, Start(resume_token=token))).reason == "RESUME_TOKEN_INVALID"
    assert (await world.read(Start(resume_token=good), events=0)) == []


async def test_token__under_another_filter__is_told_so() -> None:
    world = GatewayWorld()
    token = world.tokens.seal(Mark(FOLLOWING, 0), b"one")
    refused = await refusal(world, Start(resume_token=token), b"two")
    assert refused.reason == "RESUME_FILTER_MISMATCH"


async def test_token__older_than_the_journal__is_expired_with_the_oldest_place() -> None:
    world = GatewayWorld(clock=VirtualClock(10_000))
    clock = world.clock
    assert isinstance(clock, VirtualClock)
    for n in range(1, 5):
        await world.take(final(n))
        await clock.advance(1.0)
    token = world.tokens.seal(Mark(FOLLOWING, 1), b"")
    await world.store.forget_before(12_000)
    assert await world.read(
        Start(resume_token=world.tokens.seal(Mark(FOLLOWING, 2), b"")), events=2
    )
    refused = await refusal(world, Start(resume_token=token))
    assert refused.reason == "RESUME_TOKEN_EXPIRED"
    assert refused.metadata == {"oldest_ms": "12000", "oldest_sequence": "3", "sequence": "1"}
    assert (await refusal(world, Start(time_ms=11_999))).reason == "RESUME_TOKEN_EXPIRED"
    frames = await world.read(Start(time_ms=12_000), events=2)
    assert [f.view.transfer_id for f in frames if f.view] == [transfer(3), transfer(4)]


async def test_token__newer_than_the_journal__is_refused_instead_of_waited_for() -> None:
    """F47: a gateway restored from a backup would otherwise skip what it writes anew."""
    world = GatewayWorld()
    await world.take(final(1), final(2))
    token = (await world.read(Start(time_ms=0), events=2))[-1].token
    restored = GatewayWorld()
    await restored.take(final(1))
    assert (await refusal(restored, Start(resume_token=token))).reason == "RESUME_TOKEN_EXPIRED"


async def test_stream__journal_forgotten_beneath_a_waiting_reader__is_told_not_skipped() -> None:
    clock = VirtualClock(10_000)
    world = GatewayWorld(clock=clock)
    await world.take(final(1))
    stream = world.stream(Start(time_ms=0))
    await anext(stream)
    await anext(stream)
    for n in range(2, 6):
        await world.take(final(n))
        await clock.advance(1.0)
    await world.store.forget_before(12_500)
    with pytest.raises(ApiRefused) as refused:
        await asyncio.wait_for(anext(stream), 5)
    assert refused.value.reason == "RESUME_TOKEN_EXPIRED"


class Trusting(FollowHandler):
    """Steps over holes."""

    async def _refuse_gap(self, mark: object, lines: object) -> None:
        """Look at nothing."""


async def test_stream__without_the_gap_check__skips_in_silence() -> None:
    """Defence removed: the reader goes on after the hole and never knows."""
    world = GatewayWorld(clock=VirtualClock(10_000))
    follow = Trusting(world.store, world.tokens, world.wakeups, world.clock)
    stream = follow.follow(ViewFilter(), b"", Start(time_ms=0))
    await anext(stream)
    for n in range(1, 4):
        await world.take(final(n))
        assert isinstance(world.clock, VirtualClock)
        await world.clock.advance(1.0)
    await world.store.forget_before(11_500)
    frame = await asyncio.wait_for(anext(stream), 5)
    assert frame.event_id == f"{transfer(3).hex()}-1"


async def test_stream__reader_blocks_one_frame_too_long__is_told_and_loses_nothing() -> None:
    clock = VirtualClock()
    world = GatewayWorld(clock=clock, slow_seconds=30.0)
    await world.take(final(1), final(2), final(3))
    stream = world.stream(Start(time_ms=0))
    await anext(stream)
    last = await anext(stream)
    await clock.advance(31.0)
    with pytest.raises(ApiRefused) as refused:
        await anext(stream)
    assert refused.value.reason == "SLOW_CONSUMER"
    rest = await world.read(Start(resume_token=last.token), events=2)
    assert deduplicated([last, *rest]) == await journal_ids(world)


async def test_stream__reader_takes_its_time_within_the_limit__is_served() -> None:
    clock = VirtualClock()
    world = GatewayWorld(clock=clock, slow_seconds=30.0)
    await world.take(final(1), final(2))
    stream = world.stream(Start(time_ms=0))
    for _ in range(3):
        await anext(stream)
        await clock.advance(29.0)
    await stream.aclose()


class Counting(MemoryGatewayStore):
    """Counts the lines that streams took out."""

    taken = 0

    async def journal_after(self, sequence: int, limit: int) -> list:  # type: ignore[type-arg]
        """The same, counted."""
        lines = list(await super().journal_after(sequence, limit))
        self.taken += len(lines)
        return lines


async def test_stream__reader_that_takes_nothing__holds_one_page_and_no_more() -> None:
    """F76: what a stream holds does not grow with the journal."""
    store = Counting()
    world = GatewayWorld(store=store)
    await world.take(*(final(n) for n in range(1, 1_500)))
    stream = world.stream(Start(time_ms=0))
    await anext(stream)
    await anext(stream)
    await asyncio.sleep(0.01)
    assert store.taken == 500
    await stream.aclose()


async def test_stream__drained__says_goodbye_with_the_place_to_go_on_from() -> None:
    world = GatewayWorld()
    await world.take(final(1))
    stream = world.stream(Start(time_ms=0))
    await anext(stream)
    await anext(stream)
    await world.take(final(2))
    world.wakeups.drain()
    (goodbye,) = [frame async for frame in stream]
    assert goodbye.draining
    rest = await world.restart().read(Start(resume_token=goodbye.token), events=1)
    assert deduplicated(rest) == [f"{transfer(2).hex()}-1"]

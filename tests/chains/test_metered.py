"""Decorators around the ports change no answer; they tell and they space out."""

import asyncio
from dataclasses import dataclass, field

import pytest

from tests.contract.fake_driver import FakeUnderTest
from tests.contract.fake_world import ASSET, HOLDER, Providers
from xstock_chains.fake import FakeReader, FakeWriter
from xstock_chains.metered import CallBudget, Metered, MeteredWriter, RateLimited, RateLimitedWriter
from xstock_chains.ports import Cursor
from xstock_chains.quorum import Quorum
from xstock_core.ids import Domain
from xstock_runtime.clock import VirtualClock
from xstock_runtime.errors import Transient

START = Cursor(Domain.ETHEREUM)


@dataclass
class Book:
    """A meter that remembers."""

    rows: list[tuple[str, str, float]] = field(default_factory=list)

    def record(self, method: str, outcome: str, seconds: float) -> None:
        """Keep it."""
        self.rows.append((method, outcome, seconds))


async def test_metered__every_call_of_a_reader__is_told_with_its_outcome() -> None:
    world = Providers()
    world.burn()
    world.finalize()
    book = Book()
    reader = Metered(Quorum(world.readers, 2, clock=world.clock), book, world.clock)
    page = await reader.read_page(START, limit=5)
    assert page == await world.readers[0].read_page(START, limit=5)
    await reader.finalized_head()
    await reader.is_final(page.through)
    await reader.read_supply([ASSET], at=page.through)
    await reader.read_pending()
    await reader.re_observe(page.observations[0].place.tx)
    assert [row[:2] for row in book.rows] == [
        (name, "OK")
        for name in (
            "read_page",
            "finalized_head",
            "is_final",
            "read_supply",
            "read_pending",
            "re_observe",
        )
    ]


async def test_metered__supply_with_issuer_inventory__passes_unchanged() -> None:
    world = Providers(count=1)
    reader = FakeReader(world.nodes[0], {ASSET: (HOLDER.address,)})
    told = await Metered(reader, Book(), world.clock).read_supply([ASSET])
    assert told == await reader.read_supply([ASSET])
    assert told.supplies[0].issuer_inventory_units > 0


async def test_metered__call_fails__outcome_is_the_stable_code() -> None:
    world = Providers(count=1)
    world.nodes[0].faults.stopped = True
    book = Book()
    with pytest.raises(Transient):
        await Metered(world.readers[0], book, world.clock).finalized_head()
    world.nodes[0].faults.stopped = False
    with pytest.raises(ValueError, match="limit"):
        await Metered(world.readers[0], book, world.clock).read_page(START, limit=0)
    assert [row[:2] for row in book.rows] == [
        ("finalized_head", "NODE_DOWN"),
        ("read_page", "UNEXPECTED"),
    ]


async def test_metered__writer__answers_as_the_inner_one_does() -> None:
    chain = FakeUnderTest(Domain.ETHEREUM)
    book = Book()
    inner = FakeWriter(chain.nodes[0])
    writer = MeteredWriter(
        RateLimitedWriter(inner, CallBudget(chain.clock, per_second=1_000, burst=100)),
        book,
        chain.clock,
    )
    slot = await writer.next_slot(chain.relayer_address, ())
    assert slot == await inner.next_slot(chain.relayer_address, ())
    assert await writer.guard_epoch() == 1
    filler = await writer.fill_slot(slot)
    assert filler is not None
    assert await writer.replace(filler) == await inner.replace(filler)
    assert list(await writer.find_executions(())) == []
    assert [row[0] for row in book.rows] == [
        "next_slot",
        "guard_epoch",
        "fill_slot",
        "replace",
        "find_executions",
    ]


async def test_rate_limited__burst_is_spent__calls_are_spaced_evenly() -> None:
    world = Providers(count=1)
    clock = world.clock
    reader = RateLimited(world.readers[0], CallBudget(clock, per_second=2, burst=3))
    for _ in range(3):
        await reader.finalized_head()
    assert clock.monotonic() == 0
    task = asyncio.ensure_future(reader.finalized_head())
    await clock.advance(0.4)
    assert not task.done()
    await clock.advance(0.1)
    assert task.done()


async def test_rate_limited__wait_would_be_too_long__is_refused_without_a_call() -> None:
    """F36: a storm of calls is turned away here, not at the provider."""
    clock = VirtualClock()
    world = Providers(count=1, clock=clock)
    budget = CallBudget(clock, per_second=1, burst=1, wait_seconds_max=0.5)
    reader = RateLimited(world.readers[0], budget)
    await reader.finalized_head()
    with pytest.raises(Transient, match="RATE_LIMITED") as refused:
        await reader.finalized_head()
    assert refused.value.retry_after_seconds == pytest.approx(1)
    await clock.advance(1)
    await reader.finalized_head()


@pytest.mark.parametrize(("per_second", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_call_budget__never_fills__is_refused(per_second: float, burst: int) -> None:
    """F83."""
    with pytest.raises(ValueError, match="budget"):
        CallBudget(VirtualClock(), per_second=per_second, burst=burst)

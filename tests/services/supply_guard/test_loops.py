"""The loops in virtual time: the bell between reviews and scanners, audits that ripen."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from tests.services.supply_guard.world import ASSET, OTHER, SHARE, World
from xstock_chains.fake import FakeAdmin
from xstock_chains.fake.admin import expectation_of
from xstock_chains.ports import ChainReader, Cursor, Page, SelfTest, SupplyReading
from xstock_chains.start_check import StartCheck
from xstock_core.ids import AssetId, Domain
from xstock_core.observation import BlockRef
from xstock_runtime.errors import InvalidMessage, ServiceError, Transient
from xstock_runtime.health import Progress
from xstock_runtime.metrics import Metrics
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.entrypoints.loops import AuditLoop, Scanner
from xstock_supply_guard.handlers.audit import PENDING_MAX
from xstock_supply_guard.metrics import GuardMetrics
from xstock_supply_guard.model import Outcome


def scanner(world: World, domain: Domain, poll_seconds: float = 3600) -> Scanner:
    """A chain's scanner with a poll too slow to matter."""
    chains = dict(world.desk.config.chains)
    chains[domain] = replace(chains[domain], poll_seconds=poll_seconds)
    world.desk.config = replace(world.desk.config, chains=chains, review_wait_seconds=1.0)
    progress = Progress(world.clock)
    chain = world.chains[domain]
    genesis = chain.block(0)
    assert genesis is not None
    expected = expectation_of(chain.config, genesis.ref.hash)
    check = StartCheck(domain, [FakeAdmin(node, expected) for node in world.nodes[domain]], 2)
    made = Scanner(
        world.desk,
        domain,
        world.readers[domain],
        check,
        world.clock,
        progress,
        GuardMetrics.create(Metrics("xstock_guard")),
    )
    progress.register(made.name, 60)
    return made


async def test_review__burn_not_booked_yet__rings_the_scanner_and_is_granted_at_once() -> None:
    world = World()
    await world.funded()
    loop = asyncio.ensure_future(scanner(world, Domain.ETHEREUM).run())
    await world.clock.advance(1)
    tx = world.burn()
    world.mine()
    review = asyncio.ensure_future(world.review(world.claim(tx)))
    began = world.clock.monotonic()
    while not review.done() and world.clock.monotonic() - began < 2:
        await world.clock.advance(0.05)
    assert review.result()[0].outcome is Outcome.GRANTED
    assert world.clock.monotonic() - began <= 0.3
    loop.cancel()


async def test_review__burn_that_does_not_come__held_after_the_wait() -> None:
    world = World()
    await world.funded()
    loop = asyncio.ensure_future(scanner(world, Domain.ETHEREUM).run())
    await world.clock.advance(1)
    tx = world.burn()
    review = asyncio.ensure_future(world.review(world.claim(tx)))
    await world.clock.advance(0.9)
    assert not review.done()
    await world.clock.advance(0.3)
    assert review.result()[0].reason == "SOURCE_NOT_FINAL"
    loop.cancel()


async def test_scanner__providers_silent_then_back__reads_on() -> None:
    """A dead chain holds its own scanner and nothing else; it resumes by itself."""
    world = World()
    await world.funded()
    made = scanner(world, Domain.ETHEREUM, poll_seconds=0.5)
    loop = asyncio.ensure_future(made.run())
    for node in world.nodes[Domain.ETHEREUM]:
        node.faults.stopped = True
    await world.clock.advance(30)
    assert not made.progress.check(made.name).ready
    tx = world.burn()
    world.mine()
    for node in world.nodes[Domain.ETHEREUM]:
        node.faults.stopped = False
    await world.clock.advance(3)
    assert made.progress.check(made.name).ready
    assert await world.outcome(world.claim(tx)) == (Outcome.GRANTED, "")
    loop.cancel()


async def test_audit__finality_far_behind__the_oldest_reading_still_ripens() -> None:
    world = World()
    await world.funded(100 * SHARE)
    chain = world.chains[Domain.ETHEREUM]
    chain.freeze_finality(frozen=True)
    auditor = world.auditors[Domain.ETHEREUM]
    loop = AuditLoop(
        world.desk,
        auditor,
        world.readers[Domain.ETHEREUM],
        world.clock,
        GuardMetrics.create(Metrics("xstock_guard")),
        5.0,
    )
    for _ in range(PENDING_MAX + 20):
        chain.mine()
        await loop.step()
    assert len(auditor.pending) == PENDING_MAX
    chain.freeze_finality(frozen=False)
    await world.scan(Domain.ETHEREUM)
    assert (await world.audit(Domain.ETHEREUM)).believed == 2


@dataclass
class Garbling:
    """A chain's reader that can be made to answer what cannot be believed."""

    inner: Any
    garbled: ServiceError | None = None
    unread: frozenset[AssetId] = frozenset()

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """The page, or the refusal to believe one."""
        if self.garbled is not None:
            raise self.garbled
        page: Page = await self.inner.read_page(after, limit=limit)
        return page

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """The supply of tokens that can be read."""
        if self.garbled is not None:
            raise self.garbled
        reading: SupplyReading = await self.inner.read_supply(assets, at=at)
        left = tuple(one for one in reading.supplies if one.asset not in self.unread)
        return replace(reading, supplies=left)

    def __getattr__(self, name: str) -> Any:
        """Everything else as the inner reader says."""
        return getattr(self.inner, name)


UNPROVEN = InvalidMessage("BURN_UNPROVEN", "the token's own events do not show this burn")


def audit_loop(world: World, domain: Domain, reader: Any) -> AuditLoop:
    """A chain's audit loop over this reader."""
    metrics = GuardMetrics.create(Metrics("xstock_guard"))
    return AuditLoop(world.desk, world.auditors[domain], reader, world.clock, metrics, 5.0)


def failures(metrics: GuardMetrics, chain: str, code: str) -> float:
    """How often looks at this chain failed so."""
    return float(metrics.scan_failures.labels(chain, code)._value.get())


async def test_scanner__page_cannot_be_believed__holds_its_chain_and_recovers_by_itself() -> None:
    """F30: the evidence is kept, claims of its burns are HELD, other chains go on."""
    world = World()
    await world.funded()
    reader = Garbling(world.readers[Domain.ETHEREUM])
    bad, good = scanner(world, Domain.ETHEREUM, 0.5), scanner(world, Domain.BNB, 0.5)
    bad.reader = cast("ChainReader", reader)
    loops = [asyncio.ensure_future(one.run()) for one in (bad, good)]
    await world.clock.advance(2)
    tx = world.burn()
    world.mine()
    await world.clock.advance(2)
    reader.garbled = UNPROVEN
    later = world.burn()
    world.mine()
    await world.clock.advance(30)
    assert not any(loop.done() for loop in loops)
    assert not bad.progress.check(bad.name).ready
    assert good.progress.check(good.name).ready
    assert failures(bad.metrics, "ethereum", "BURN_UNPROVEN") > 1
    assert await world.outcome(world.claim(tx)) == (Outcome.HELD, "SOURCE_DISSENT")
    assert isinstance(world.store, MemoryGuardStore)
    (evidence,) = world.store.evidence
    assert evidence[:2] == (Domain.ETHEREUM, "BURN_UNPROVEN")
    reader.garbled = None
    await world.clock.advance(5)
    assert bad.progress.check(bad.name).ready
    assert await world.outcome(world.claim(tx)) == (Outcome.GRANTED, "")
    assert await world.outcome(world.claim(later)) == (Outcome.GRANTED, "")
    for loop in loops:
        loop.cancel()


async def test_scanner__unbelievable_for_hours__never_latches_a_halt_that_people_must_lift() -> (
    None
):
    world = World()
    await world.funded()
    made = scanner(world, Domain.ETHEREUM, 60)
    made.reader = cast("ChainReader", Garbling(world.readers[Domain.ETHEREUM], UNPROVEN))
    for _ in range(5):
        assert not await asyncio.wait_for(_step(world, made), 5)
        await world.clock.advance(3600)
    assert await world.halts() == []


async def _step(world: World, made: Scanner) -> bool:
    step = asyncio.ensure_future(made.step())
    while not step.done():
        await world.clock.advance(0.5)
    return step.result()


async def test_audit__reading_cannot_be_believed__is_counted_and_the_next_one_is_made() -> None:
    world = World()
    await world.funded()
    reader = Garbling(world.readers[Domain.ETHEREUM], InvalidMessage("RPC_MALFORMED", "not JSON"))
    loop = audit_loop(world, Domain.ETHEREUM, reader)
    await loop.step()
    assert failures(loop.metrics, "ethereum", "RPC_MALFORMED") == 1
    reader.garbled = None
    await loop.step()
    assert len(loop.auditor.pending) == 1


@pytest.mark.parametrize(
    "error", [InvalidMessage("RPC_MALFORMED", "not JSON"), Transient("RPC_REFUSED", "away")]
)
async def test_audit__next_reading_fails__the_ripe_one_is_compared_all_the_same(
    error: ServiceError,
) -> None:
    """INV-16: a provider that fails every second question switches no audit off."""
    world = World()
    await world.funded()
    reader = Garbling(world.readers[Domain.ETHEREUM])
    loop = audit_loop(world, Domain.ETHEREUM, reader)
    await loop.step()
    world.mine()
    await world.scan(Domain.ETHEREUM)
    reader.garbled = error
    await loop.step()
    assert failures(loop.metrics, "ethereum", error.code) == 1
    async with world.store.read() as books:
        assert {one.supply.asset for one in await books.readings()} == {ASSET, OTHER}


async def test_audit__one_token_cannot_be_read__the_others_are_audited_and_it_is_told() -> None:
    """INV-16: a broken token has no new reading; an unauthorised mint of another halts."""
    world = World()
    await world.funded()
    reader = Garbling(world.readers[Domain.ETHEREUM], unread=frozenset({OTHER}))
    loop = audit_loop(world, Domain.ETHEREUM, reader)
    await loop.step()
    assert failures(loop.metrics, "ethereum", "SUPPLY_UNREAD") == 1
    world.mine()
    await world.scan(Domain.ETHEREUM)
    await loop.step()
    async with world.store.read() as books:
        here = [one for one in await books.readings() if one.chain is Domain.ETHEREUM]
    newest = max(one.block.number for one in here)
    assert [one.supply.asset for one in here if one.block.number == newest] == [ASSET]


class LyingAdmin:
    """A provider whose self-test is not even readable."""

    async def self_test(self) -> SelfTest:
        """Garbage."""
        raise InvalidMessage("RPC_MALFORMED", "not JSON")


async def test_start_check__one_provider_answers_garbage__it_counts_as_not_answered() -> None:
    world = World()
    made = scanner(world, Domain.ETHEREUM)
    made.check.admins = [*made.check.admins[:2], LyingAdmin()]
    assert await made.checked()
    made.check.passed = False
    made.check.admins = [made.check.admins[0], LyingAdmin(), LyingAdmin()]
    assert not await made.checked()
    assert failures(made.metrics, "ethereum", "SELF_TEST_UNKNOWN") == 1

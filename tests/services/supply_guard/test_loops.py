"""The loops in virtual time: the bell between reviews and scanners, audits that ripen."""

import asyncio
from dataclasses import replace

from tests.services.supply_guard.world import SHARE, World
from xstock_chains.fake import FakeAdmin
from xstock_chains.fake.admin import expectation_of
from xstock_chains.start_check import StartCheck
from xstock_core.ids import Domain
from xstock_runtime.health import Progress
from xstock_runtime.metrics import Metrics
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

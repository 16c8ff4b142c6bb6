"""Six chains and their thirty routes at once: the storm, the recipients, the backlog.

The fakes stand for each family's own ways: Solana's nonces are hashes and its batches hold one
item, TON parks what a wallet sends back, every chain has its own distance to finality.
"""

import sys
from itertools import permutations

import pytest

from tests.simulation.checkers import Checker
from tests.simulation.storm import run
from tests.simulation.world import (
    ASSETS,
    CAP_SHARES,
    HOLDERS,
    REFUSING,
    SHARE,
    SIX_CHAINS,
    Setup,
    World,
)
from xstock_core.ids import Domain
from xstock_core.message import Kind
from xstock_core.refund import refund_of
from xstock_core.transfer import FundsAt, Phase
from xstock_relayer.model import SlotState, Transfer

ROUTES = list(permutations(SIX_CHAINS, 2))
SMALL = SHARE // 1000


async def ready(setup: Setup, shares: int = 100) -> tuple[World, Checker]:
    """A calm world in which the first holder owns shares of the first asset on every chain."""
    world = World(setup)
    world.bus.chaos = False
    checker = Checker(world)
    await world.relayer.start()
    await world.attest(ASSETS[0], CAP_SHARES)
    for domain in world.domains:
        await world.issue(ASSETS[0], domain, HOLDERS[0], shares * SHARE)
    await turns(world, checker, 25)
    return world, checker


async def turns(world: World, checker: Checker, count: int) -> None:
    """So many seconds, checked each."""
    for _ in range(count):
        await world.take_turn()
        checker.check_always()


def transfers(world: World) -> list[Transfer]:
    """Every transfer between chains that the relayer knows."""
    found = [t for t in world.disk.transfers.values() if t.state.message is not None]
    return [t for t in found if t.state.message and t.state.message.kind is Kind.TRANSFER]


@pytest.mark.parametrize("seed", range(600, 608))
async def test_six_chains__storm_of_faults__every_final_burn_ends_and_nothing_is_doubled(
    seed: int,
) -> None:
    """F24, F26, F44, F45, F58, INV-01 to INV-06, INV-13, INV-15: as on three chains."""
    report = await run(Setup(seed=seed, domains=SIX_CHAINS))
    assert report.released > 0


async def test_thirty_routes__one_burn_each__all_are_released_once() -> None:
    """INV-02, INV-03: every ordered pair of chains is a lane of its own."""
    world, checker = await ready(Setup(seed=1, domains=SIX_CHAINS))
    for source, destination in ROUTES:
        world.chains[source].burn(HOLDERS[0], ASSETS[0], destination, HOLDERS[1], SHARE)
    await turns(world, checker, 40)
    await checker.check_end()
    assert [t.view.phase for t in transfers(world)] == [Phase.RELEASED] * len(ROUTES)


async def test_thirty_routes__recipient_cannot_exist_there__is_parked_with_a_way_back() -> None:
    """F18, F58: neither dropped nor guessed: the shares stay a claim, and a refund can name them.

    The recipient is one that its chain refuses (off the curve, frozen, a wallet that bounces).
    """
    world, checker = await ready(Setup(seed=2, domains=SIX_CHAINS))
    for domain in SIX_CHAINS:
        world.chains[domain].refuse(REFUSING, refuses=True)
    for source, destination in ROUTES:
        world.chains[source].burn(HOLDERS[0], ASSETS[0], destination, REFUSING, SHARE)
    await turns(world, checker, 40)
    await checker.check_end()
    parked = transfers(world)
    assert len(parked) == len(ROUTES)
    for transfer in parked:
        message, shown = transfer.state.message, transfer.view
        assert message is not None
        assert (shown.phase, shown.funds_at) == (Phase.PARKED, FundsAt.IN_FLIGHT)
        assert shown.waiting_for is not None
        assert shown.waiting_for.reason == "RECIPIENT_INVALID"
        refund = refund_of(message, world.chains[message.destination].config.bridge)
        assert (refund.recipient, refund.amount) == (message.refund_address, message.amount)
        assert refund.destination is message.source


def in_flight(world: World) -> dict[Domain, int]:
    """How many slots are open on each chain."""
    found = dict.fromkeys(world.domains, 0)
    for entry in world.disk.slots.values():
        found[entry.slot.chain] += entry.state is SlotState.OPEN
    return found


async def test_six_chains__down_for_an_hour_with_a_backlog__drains_within_bounds(
    pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """F80: never more in flight than allowed, no cap breached, and a quiet lane does not wait."""
    count = int(pytestconfig.getoption("--backlog"))
    size = 100
    setup = Setup(seed=4, domains=SIX_CHAINS, batch_items_max=size, page_limit=500)
    world, checker = await ready(setup, shares=150)
    for node in world.nodes:
        node.faults.stopped = True
    busy = [route for route in ROUTES if Domain.SOLANA not in route and Domain.BNB not in route]
    for number in range(count):
        source, destination = busy[number % len(busy)]
        world.chains[source].burn(HOLDERS[0], ASSETS[0], destination, HOLDERS[1], SMALL)
    for _ in range(60):
        await world.take_turn()
        await world.clock.advance(59)
    for node in world.nodes:
        node.faults.stopped = False
    await world.attest(ASSETS[0], CAP_SHARES)
    world.chains[Domain.SOLANA].burn(HOLDERS[0], ASSETS[0], Domain.BNB, HOLDERS[2], 7 * SHARE)
    waited, drained = await drain(world, checker, count + 1)
    await turns(world, checker, 15)
    await checker.check_end()
    with capsys.disabled():
        sys.stdout.write(f"\nbacklog of {count}: drained in {drained} s, live lane in {waited} s\n")
    assert drained <= 30 + 3 * count // size
    assert waited <= 30


async def drain(world: World, checker: Checker, count: int) -> tuple[int, int]:
    """Seconds until the live burn on the quiet lane was minted, and until all were released."""
    waited = 0
    for second in range(1, 10_000):
        await world.take_turn()
        assert max(in_flight(world).values()) <= 16, "more in flight than a sender may have"
        quiet = world.chains[Domain.BNB]
        if not waited and quiet.state.balance.get((ASSETS[0], HOLDERS[2]), quiet.head.number):
            waited = second
        if second % 10 == 0:
            checker.check_always()
            done = [t.view.phase for t in transfers(world)].count(Phase.RELEASED)
            if done == count:
                return waited, second
    raise AssertionError("the backlog did not drain")

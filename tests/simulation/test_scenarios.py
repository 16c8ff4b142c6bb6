"""Single catastrophes on the whole system, each followed to its end.

Where the storm mixes everything, these take one fault from the catalogue, make it as large as it
gets, and demand both halves: nothing wrong happened meanwhile, and everything ended afterwards.
"""

from copy import deepcopy

import pytest

from tests.simulation.checkers import Checker
from tests.simulation.world import ASSETS, CAP_SHARES, CHAINS, HOLDERS, SHARE, Setup, World
from xstock_chains.fake import GuardSet
from xstock_core.ids import Domain
from xstock_core.observation import ReleaseFinal
from xstock_core.transfer import Phase, view
from xstock_runtime.errors import Fatal

ETHEREUM, BNB, MANTLE = CHAINS


async def ready(seed: int = 1) -> tuple[World, Checker]:
    """A calm world in which every holder owns shares of the first asset on every chain."""
    world = World(Setup(seed=seed))
    world.bus.chaos = False
    checker = Checker(world)
    await world.relayer.start()
    await world.attest(ASSETS[0], CAP_SHARES)
    for domain in CHAINS:
        await world.issue(ASSETS[0], domain, HOLDERS[0], 100 * SHARE)
    await turns(world, checker, 20)
    return world, checker


async def turns(world: World, checker: Checker, count: int) -> None:
    """So many seconds, checked each."""
    for _ in range(count):
        await world.take_turn()
        checker.check_always()


async def until_ended(world: World, checker: Checker, most: int = 200) -> int:
    """Turns until everything has ended; fails, saying what has not, after `most`."""
    for turn in range(most):
        await turns(world, checker, 1)
        if turn > 10 and checker.all_ended():
            break
    await checker.check_end()
    return world.turn


def burn(world: World, source: Domain, destination: Domain, shares: int = 1) -> None:
    """The holder burns."""
    world.chains[source].burn(HOLDERS[0], ASSETS[0], destination, HOLDERS[1], shares * SHARE)


def minted(world: World, domain: Domain) -> int:
    """Shares that the recipient holds on a chain."""
    chain = world.chains[domain]
    return chain.state.balance.get((ASSETS[0], HOLDERS[1]), chain.head.number) // 10**18


async def test_kafka_wiped__every_record_is_lost__chains_and_watchers_bring_it_all_back() -> None:
    """F81: the topic is history, not truth."""
    world, checker = await ready()
    for _ in range(6):
        burn(world, ETHEREUM, BNB)
        await turns(world, checker, 1)
        world.bus.waiting.clear()
    for _ in range(60):
        world.bus.waiting.clear()
        await turns(world, checker, 1)
    await checker.check_end()
    assert minted(world, BNB) == 6


async def test_two_relayers__the_old_one_wakes_up_after_its_lease__writes_nothing() -> None:
    """F46, INV-02: a zombie is fenced out, and what it sends in vain happens once."""
    world, checker = await ready()
    burn(world, ETHEREUM, BNB)
    await turns(world, checker, 7)
    zombie = world.relayer
    await world.restart_relayer()
    burn(world, ETHEREUM, BNB)
    await turns(world, checker, 7)
    refusals = []
    for step in (zombie.heal, zombie.review, zombie.release, zombie.reconcile):
        try:
            await step()
        except Fatal as error:
            refusals.append(error.code)
    assert set(refusals) == {"FENCED"}
    await until_ended(world, checker)
    assert minted(world, BNB) == 2


async def test_relayer_restored_from_backup__forgets_what_it_sent__nothing_is_doubled() -> None:
    """F47, INV-02: the chains remember what the backup does not."""
    world, checker = await ready()
    burn(world, ETHEREUM, BNB)
    await turns(world, checker, 5)
    backup = deepcopy(world.disk)
    burn(world, ETHEREUM, BNB, 2)
    await until_ended(world, checker)
    world.disk = backup
    await world.restart_relayer()
    burn(world, ETHEREUM, BNB, 4)
    await until_ended(world, checker)
    assert minted(world, BNB) == 7


async def test_guard_restored_from_backup__books_the_chains_again__ledgers_agree() -> None:
    """F47, INV-15: a guard's ledger is a function of what chains say."""
    world, checker = await ready()
    guard = world.guards[0]
    backup = guard.store._state.fork()
    burn(world, ETHEREUM, BNB)
    burn(world, MANTLE, ETHEREUM)
    await until_ended(world, checker)
    guard.store._state = backup
    guard.start()
    burn(world, BNB, MANTLE)
    await until_ended(world, checker)
    assert (minted(world, BNB), minted(world, ETHEREUM), minted(world, MANTLE)) == (1, 1, 1)


async def test_finality_stands_still_for_an_hour__burns_wait_and_then_go_on_by_themselves() -> None:
    """F21, F23: there is no falling back to an earlier head; nobody has to resume."""
    world, checker = await ready()
    world.chains[ETHEREUM].freeze_finality(frozen=True)
    burn(world, ETHEREUM, BNB)
    burn(world, MANTLE, BNB, 2)
    for _ in range(60):
        await turns(world, checker, 2)
        await world.clock.advance(58)
    assert minted(world, BNB) == 2
    world.chains[ETHEREUM].freeze_finality(frozen=False)
    await until_ended(world, checker)
    assert minted(world, BNB) == 3


async def test_one_chain_halts__the_lanes_between_the_others_keep_moving() -> None:
    """F24, F26, F28: a halted chain holds its own lanes only, and loses nothing."""
    world, checker = await ready()
    burn(world, ETHEREUM, MANTLE)
    await turns(world, checker, 3)
    for node in world.nodes:
        node.faults.stopped = node.chain.domain is MANTLE
    burn(world, ETHEREUM, BNB, 2)
    await turns(world, checker, 25)
    assert (minted(world, BNB), minted(world, MANTLE)) == (2, 0)
    for node in world.nodes:
        node.faults.stopped = False
    await until_ended(world, checker)
    assert minted(world, MANTLE) == 1


async def test_finality_breaks__the_chains_lanes_halt_and_stay_halted() -> None:
    """F19, F29, INV-10: a burn that was final and vanishes stops every later release from there."""
    world, checker = await ready()
    burn(world, ETHEREUM, BNB)
    await turns(world, checker, 12)
    chain = world.chains[ETHEREUM]
    chain.reorg(chain.head.number - chain.final.number + 8, past_finality=True)
    chain.mine(14)
    burn(world, ETHEREUM, BNB, 2)
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await turns(world, checker, 3)
    watcher = world.watchers[ETHEREUM]
    watcher.start()
    with pytest.raises(Fatal, match="WATCHER_HALTED"):
        await watcher.handlers.refuse_if_halted()
    watcher.down = True
    for _ in range(15):
        await world.take_turn()
    assert minted(world, BNB) == 1
    for guard in world.guards:
        halts = await (await guard.reads()).halts()
        assert [(halt.chain, halt.reason[:6]) for halt in halts] == [(ETHEREUM, "INV-10")]


async def test_guards_rotate_while_transfers_are_under_way__every_one_still_ends() -> None:
    """INV-08: permits of the old epoch are useless; what they carried is signed anew."""
    world, checker = await ready()
    for _ in range(4):
        burn(world, ETHEREUM, BNB)
    await turns(world, checker, 6)
    members = world.chains[BNB].config.guards.members
    world.chains[BNB].rotate_guards(GuardSet(2, 2, members))
    await until_ended(world, checker)
    assert minted(world, BNB) == 4


async def test_hundred_burns_at_once__all_are_released_once_in_full_batches() -> None:
    """F43, F80: a backlog drains in batches, through one key, each item once."""
    world, checker = await ready()
    for _ in range(100):
        burn(world, ETHEREUM, BNB)
    await until_ended(world, checker)
    chain = world.chains[BNB]
    blocks = [chain.block(number) for number in range(chain.head.number + 1)]
    found = [o for block in blocks if block for o in block.observations]
    releases = [o for o in found if isinstance(o, ReleaseFinal) and o.source is ETHEREUM]
    assert len(releases) == len({release.nonce for release in releases}) == 100
    assert len({release.place.tx.id for release in releases}) <= 40
    assert minted(world, BNB) == 100


async def test_supply_minted_outside_the_bridge__the_asset_halts_and_the_other_goes_on() -> None:
    """F55, F82, INV-16: an unauthorised mint is seen within two looks; burns are still booked."""
    world, checker = await ready()
    await world.attest(ASSETS[1], CAP_SHARES)
    await world.issue(ASSETS[1], ETHEREUM, HOLDERS[0], 10 * SHARE)
    await turns(world, checker, 20)
    world.chains[MANTLE].mint_outside(ASSETS[0], HOLDERS[2], 5 * 10**18)
    for _ in range(20):
        await world.take_turn()
    burn(world, ETHEREUM, BNB)
    world.chains[ETHEREUM].burn(HOLDERS[0], ASSETS[1], BNB, HOLDERS[1], 3 * SHARE)
    for _ in range(30):
        await world.take_turn()
    phases = {
        t.state.message.asset: view(t.state).phase
        for t in world.disk.transfers.values()
        if t.state.message is not None and t.state.message.source is ETHEREUM
    }
    assert phases == {ASSETS[0]: Phase.HELD, ASSETS[1]: Phase.RELEASED}
    assert minted(world, BNB) == 0


async def test_guard_was_away__stock_fell_below_what_others_issued__holds_and_resumes_alone() -> (
    None
):
    """INV-04, INV-13: an issuance that one guard never saw is no crime of the others."""
    world, checker = await ready()
    away = world.guards[0]
    away.down = True
    await world.issue(ASSETS[0], ETHEREUM, HOLDERS[0], 100 * SHARE)
    await turns(world, checker, 20)
    await world.attest(ASSETS[0], 350 * SHARE)
    world.guards[0].down = False
    burn(world, ETHEREUM, BNB)
    for _ in range(20):
        await world.take_turn()
    assert minted(world, BNB) == 0
    for guard in world.guards:
        assert await (await guard.reads()).halts() == []
    await world.attest(ASSETS[0], CAP_SHARES)
    await until_ended(world, checker)
    assert minted(world, BNB) == 1

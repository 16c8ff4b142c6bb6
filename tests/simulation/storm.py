"""One run: issuance, then burns under a storm of faults, then calm until everything has ended."""

from dataclasses import dataclass

from tests.simulation.checkers import Checker
from tests.simulation.world import (
    ASSETS,
    CAP_SHARES,
    HOLDERS,
    REFUSING,
    SHARE,
    Setup,
    World,
)
from xstock_chains.fake.state import AssetRules
from xstock_core.ids import AssetId, Domain
from xstock_core.message import Kind
from xstock_core.transfer import Phase, view

CALM_TURNS_MAX = 400
STORM_TURNS = 30


@dataclass
class Report:
    """What a run did, for the figures at the end."""

    seed: int
    turns: int
    burns: int
    crashes: int
    released: int
    parked: int
    refunded: int


async def run(setup: Setup) -> Report:
    """Run one seed; raises AssertionError (or InvariantViolation) at the first broken promise."""
    world = World(setup)
    checker = Checker(world)
    await world.relayer.start()
    await _issue(world, checker)
    world.set_crashes(setup.crash_percent)
    await _storm(world, checker)
    world.heal_everything()
    await _calm(world, checker)
    await checker.check_end()
    phases = [view(t.state).phase for t in world.disk.transfers.values()]
    return Report(
        seed=setup.seed,
        turns=world.turn,
        burns=len(checker.final_burns),
        crashes=world.crashes,
        released=sum(phase is Phase.RELEASED for phase in phases),
        parked=sum(phase is Phase.PARKED for phase in phases),
        refunded=sum(phase is Phase.REFUNDED for phase in phases),
    )


async def _issue(world: World, checker: Checker) -> None:
    """Custody attests, the issuer orders, holders get their first shares."""
    for asset in ASSETS:
        await world.attest(asset, CAP_SHARES)
    world.chains[Domain.BNB].refuse(REFUSING, refuses=True)
    for n, asset in enumerate(ASSETS):
        for _ in range(2):
            await _order(world, asset, world.dice.between(50, 400 + 50 * n))
    for _ in range(16):
        await world.take_turn()
        checker.check_always()


async def _order(world: World, asset: AssetId, shares: int) -> None:
    destination, holder = world.dice.pick(world.domains), world.dice.pick(HOLDERS)
    await world.issue(asset, destination, holder, shares * SHARE)


async def _storm(world: World, checker: Checker) -> None:
    """Every second run custody's holdings fall, in the others a late order may exceed the cap.

    Not both: a guard that was away while the others granted an order, and then finds it executed
    above a cap that has fallen since, halts the asset, rightly by all that it can know.
    """
    strikes = (_strike_nodes, _strike_chains, _strike_network, _strike_processes, _strike_bus)
    over_cap = world.dice.below(STORM_TURNS)
    world.lazy = True
    for turn in range(STORM_TURNS):
        for strike in strikes:
            strike(world)
        _burn(world)
        await _change_minds(world)
        await _settle_redemptions(world, checker, percent=10)
        if world.setup.seed % 2 == 0:
            await _strike_custody(world)
        elif turn == over_cap:
            await _order(world, world.dice.pick(ASSETS), world.dice.between(300, 1_500))
        await world.take_turn()
        checker.check_always()


def _burn(world: World) -> None:
    """Holders act: transfers, redemptions, and now and then a recipient that refuses."""
    holdings = world.holdings()
    if not holdings or not world.dice.chance(45):
        return
    source, asset, holder, shares = world.dice.pick(holdings)
    amount = world.dice.between(1, shares)
    destination = world.dice.pick([d for d in world.domains if d is not source])
    recipient = world.dice.pick(HOLDERS)
    if world.dice.chance(8):
        destination = Domain.CUSTODY
    elif world.dice.chance(8) and source is not Domain.BNB:
        destination, recipient = Domain.BNB, REFUSING
    world.chains[source].burn(holder, asset, destination, recipient, amount)


async def _change_minds(world: World) -> None:
    """A holder wants back what is held or parked, and now and then what is not."""
    if not world.dice.chance(60):
        return
    open_ones = sorted(world.disk.transfers.values(), key=lambda one: one.id)
    waiting = [t for t in open_ones if t.view.phase in (Phase.HELD, Phase.PARKED)]
    wanted = waiting if waiting and world.dice.chance(90) else open_ones
    if wanted:
        await world.take_back(world.dice.pick(wanted))


async def _settle_redemptions(world: World, checker: Checker, percent: float) -> None:
    """Custody pays some redemptions out and rejects others, each of them once."""
    for burn in list(checker.final_burns.values()):
        unsaid = burn.transfer_id not in world.redeemed
        if burn.message.kind is Kind.REDEEM and unsaid and world.dice.chance(percent):
            await world.settle_redemption(burn, pay=world.dice.chance(50))


def _strike_nodes(world: World) -> None:
    """Providers stop, lag, flap, fail, lose replies, say things twice; some lie."""
    dice = world.dice
    for node in world.nodes:
        if dice.chance(4):
            faults = node.faults
            faults.stopped = dice.chance(50)
            faults.lag_blocks = dice.below(4) if dice.chance(50) else 0
            faults.flap_blocks = dice.below(5) if dice.chance(30) else 0
            faults.failure_percent = 20 if dice.chance(30) else 0
            faults.lost_reply_percent = 20 if dice.chance(30) else 0
            faults.duplicates = dice.chance(10)
    for node in world.liars:
        if dice.chance(20):
            node.faults.forged = () if node.faults.forged else (world.lie_at(node.chain),)


def _strike_chains(world: World) -> None:
    """Blocks are reorganised away, transactions with them; finality stands still; pauses."""
    dice = world.dice
    chain = world.chains[dice.pick(world.domains)]
    depth = chain.head.number - chain.final.number
    if dice.chance(15) and depth:
        lose = dice.chance(30)
        own = chain.config.bridge
        chain.reorg(
            dice.between(1, depth),
            keep=lambda tx: tx.sender == own or not (lose and dice.chance(50)),
        )
    if dice.chance(5):
        chain.freeze_finality(frozen=dice.chance(60))
    if dice.chance(4):
        chain.set_rules(dice.pick(ASSETS), AssetRules(paused=dice.chance(60)))


def _strike_network(world: World) -> None:
    world.network.fail_percent = 15 if world.dice.chance(30) else 0
    world.network.lost_reply_percent = 15 if world.dice.chance(30) else 0


def _strike_processes(world: World) -> None:
    """Guards and watchers go away and come back; watchers forget what they held in memory."""
    for guard in world.guards:
        if world.dice.chance(4):
            guard.down = not guard.down
    for watcher in world.watchers.values():
        if world.dice.chance(5):
            watcher.down = not watcher.down
        if world.dice.chance(5):
            watcher.start()


def _strike_bus(world: World) -> None:
    """Somebody writes a burn that never was to the topic (F01, F05)."""
    if world.dice.chance(10):
        world.forge_record()


async def _strike_custody(world: World) -> None:
    """Holdings fall below what is out there, and come back (F54)."""
    if world.dice.chance(4):
        held = CAP_SHARES // world.dice.pick((1, 1, 20))
        await world.attest(world.dice.pick(ASSETS), held)


async def _calm(world: World, checker: Checker) -> None:
    """Until every final burn has ended, or too long."""
    for asset in ASSETS:
        await world.attest(asset, CAP_SHARES)
        for chain in world.chains.values():
            chain.set_rules(asset, AssetRules())
    for turn in range(CALM_TURNS_MAX):
        await _settle_redemptions(world, checker, percent=100)
        await world.take_turn()
        checker.check_always()
        if turn >= 12 and turn % 4 == 0 and checker.all_ended():
            return

"""The whole system under a storm of faults, seed by seed.

Method: the real handlers of three watchers, three guards and a relayer run over fake chains, a
lossy bus and in-memory stores, in virtual time. Each seed issues supply, lets holders burn while
providers stop, lag, flap and lie, blocks are reorganised away, finality stands still, records are
lost, doubled, forged and late, processes die at commits and broadcasts, and custody's statements
fall and recover. After the storm everything is healed and must come to an end. Checkers compare
what destinations minted with what sources burned after every turn, and every book with every
chain at the end. A failure names its seed: `run(Setup(seed=N))` repeats it.

The second half takes one defence out at a time and demands that a checker notices.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.simulation.checkers import Checker
from tests.simulation.guards import holders_request
from tests.simulation.storm import Report, run
from tests.simulation.world import (
    ASSETS,
    CAP_SHARES,
    CHAINS,
    HOLDERS,
    HOLDERS_KEYS,
    REFUSING,
    SHARE,
    Setup,
    World,
)
from xstock_chains.fake import FakeNode
from xstock_chains.fake.node import View
from xstock_core.facts import RefundDue
from xstock_core.ids import Domain
from xstock_core.observation import BlockRef
from xstock_core.policy import POLICIES, check_evidence
from xstock_core.refund import refund_of
from xstock_core.refusal import Reason
from xstock_core.transfer import Phase, view
from xstock_relayer.handlers.desk import News
from xstock_relayer.handlers.returning import CancelPaper
from xstock_runtime.hashing import keccak256

SEEDS_PER_BLOCK = 25
BLOCKS = 20
QUORUM_SEEDS_PER_BLOCK = 4
QUORUM_BLOCKS = 6


async def run_seeds(seeds: Sequence[int], make: Callable[[int], Setup]) -> list[Report]:
    """Run them all; a failure says which seed broke which promise."""
    reports = []
    for seed in seeds:
        try:
            reports.append(await run(make(seed)))
        except Exception as broken:
            raise AssertionError(f"seed {seed}: {type(broken).__name__}: {broken}") from broken
    return reports


async def first_broken_promise(make: Callable[[int], Setup], seeds: int = 12) -> str:
    """What the checkers say first when a defence is missing; empty if they see nothing."""
    for seed in range(seeds):
        try:
            await run(make(seed))
        except AssertionError as broken:
            return str(broken)
    return ""


@pytest.mark.parametrize("block", range(BLOCKS))
async def test_system__storm_of_faults__every_final_burn_ends_and_nothing_is_doubled(
    block: int,
) -> None:
    """F19, F20, F21, F31, F38, F43, F45, F48, F58, F73, INV-01 to INV-06, INV-13, INV-15."""
    first = block * SEEDS_PER_BLOCK
    seeds = range(first, first + SEEDS_PER_BLOCK)
    reports = await run_seeds(seeds, lambda seed: Setup(seed=seed))
    assert sum(report.burns for report in reports) > 5 * SEEDS_PER_BLOCK
    assert sum(report.crashes for report in reports) > 0
    assert sum(report.released for report in reports) > 5 * SEEDS_PER_BLOCK
    assert sum(report.refunded for report in reports) > 0


@pytest.mark.parametrize("block", range(QUORUM_BLOCKS))
async def test_system__one_of_every_three_providers_lies__nothing_is_minted_on_its_word(
    block: int,
) -> None:
    """F01, F02, F33: liars cost time, never a token."""
    first = 10_000 + block * QUORUM_SEEDS_PER_BLOCK
    seeds = range(first, first + QUORUM_SEEDS_PER_BLOCK)
    reports = await run_seeds(seeds, lambda seed: Setup(seed=seed, quorum=True))
    assert all(report.released for report in reports)


async def test_system__same_seed_again__ends_the_same() -> None:
    """A seed is a proof only if it can be repeated."""
    first, second = [await run(Setup(seed=77)) for _ in range(2)]
    assert first == second


async def test_defence_removed__guards_believe_the_relayer__a_checker_sees_the_forged_mint() -> (
    None
):
    """F01, F05, INV-01: with neither the relayer's look at its watchers nor `check_evidence` a
    record on Kafka is a mint."""
    credulous = tuple(policy for policy in POLICIES if policy is not check_evidence)
    broken = await first_broken_promise(
        lambda seed: Setup(seed=seed, policies=credulous, believes_kafka=True)
    )
    assert broken.startswith("INV-01")


async def deceive(setup: Setup) -> None:
    """A burn that never was: on the topic, and at one provider of every guard and watcher."""
    world = World(setup)
    checker = Checker(world)
    await world.relayer.start()
    await world.attest(ASSETS[0], CAP_SHARES)
    await world.issue(ASSETS[0], Domain.ETHEREUM, HOLDERS[1], 100 * SHARE)
    for _ in range(20):
        await world.take_turn()
    lie = world.lie_at(world.chains[Domain.ETHEREUM])
    for node in world.liars:
        if node.chain.domain is Domain.ETHEREUM:
            node.faults.forged = (replace(lie, height=lie.height + 2),)
    for _ in range(30):
        await world.take_turn()
        checker.check_always()


async def test_system__one_lying_provider_each_in_a_quorum__nothing_is_minted() -> None:
    """F01, F02, INV-01: the lie holds the chain; it never becomes a token."""
    await deceive(Setup(seed=3, quorum=True))


async def test_defence_removed__single_lying_provider_is_trusted__a_checker_sees_the_mint() -> None:
    """F01, F02, INV-01: the same liars that a quorum of 2 of 3 shrugs off."""
    with pytest.raises(AssertionError, match="INV-01"):
        await deceive(Setup(seed=3, trust_liars=True))


class EagerView(View):
    """Calls its newest block final."""

    @property
    def final(self) -> BlockRef:
        """The head, as a reader of `latest` would have it."""
        return self.head


class EagerNode(FakeNode):
    """A provider without finality."""

    async def view(self, method: str) -> View:
        """The present view."""
        await super().view(method)
        return EagerView(self.chain, self.faults, 0)


async def hurry(setup: Setup) -> None:
    """A burn on the chain whose finality trails most, and a look at every turn after it."""
    world = World(setup)
    world.bus.chaos = False
    checker = Checker(world)
    await world.relayer.start()
    await world.attest(ASSETS[0], CAP_SHARES)
    await world.issue(ASSETS[0], Domain.MANTLE, HOLDERS[0], 10 * SHARE)
    for _ in range(20):
        await world.take_turn()
    mantle = world.chains[Domain.MANTLE]
    mantle.burn(HOLDERS[0], ASSETS[0], Domain.BNB, HOLDERS[1], SHARE)
    for _ in range(20):
        await world.take_turn()
        checker.check_always()
    assert len(checker.final_releases) == 2


async def test_system__burn_on_a_slow_chain__is_released_only_after_it_is_final() -> None:
    """F19, F21, F23, INV-01."""
    await hurry(Setup(seed=1))


async def test_defence_removed__latest_is_taken_for_final__a_checker_sees_the_early_release() -> (
    None
):
    """F19, F21, F27: a release must never stand on a burn that can still vanish."""
    with pytest.raises(AssertionError, match="INV-01"):
        await hurry(Setup(seed=1, node_type=EagerNode))


async def take_too_early(setup: Setup) -> None:
    """A bad relayer opens the refund of a transfer that nobody cancelled, and asks for it."""
    world = World(setup)
    checker = Checker(world)
    await world.relayer.start()
    for asset in ASSETS:
        await world.attest(asset, CAP_SHARES)
    await world.issue(ASSETS[0], Domain.ETHEREUM, HOLDERS[0], 10 * SHARE)
    for _ in range(20):
        await world.take_turn()
    world.chains[Domain.ETHEREUM].burn(HOLDERS[0], ASSETS[0], Domain.BNB, HOLDERS[1], SHARE)
    for _ in range(12):
        await world.take_turn()
        checker.check_always()
    (burn,) = checker.final_burns.values()
    bridge = world.chains[Domain.BNB].config.bridge
    refund = refund_of(burn.message, bridge, keccak256)
    due = (refund.transfer_id(keccak256), RefundDue(refund, burn.transfer_id, 1))
    await world.relayer.desk.record(News(facts=[due]))
    for _ in range(20):
        await world.take_turn()
        checker.check_always()


async def test_system__refund_asked_for_without_a_cancellation__nothing_flows_back() -> None:
    """F05, INV-02: guards look for the final cancellation in their own books."""
    await take_too_early(Setup(seed=2))


async def test_defence_removed__guards_ask_for_no_cancellation__a_checker_sees_the_double() -> None:
    """F05, INV-02: the burn would be released there and refunded here."""
    credulous = tuple(policy for policy in POLICIES if policy is not check_evidence)
    with pytest.raises(AssertionError, match="INV-02"):
        await take_too_early(Setup(seed=2, policies=credulous))


async def test_system__transfer_of_another_holder__no_paper_takes_it_back() -> None:
    """Only the holder's key counts: a stranger's request is refused and the transfer goes on."""
    world = World(Setup(seed=5))
    await world.relayer.start()
    world.chains[Domain.BNB].refuse(REFUSING, refuses=True)
    await world.attest(ASSETS[0], CAP_SHARES)
    await world.issue(ASSETS[0], Domain.ETHEREUM, HOLDERS[0], 10 * SHARE)
    for _ in range(20):
        await world.take_turn()
    world.chains[Domain.ETHEREUM].burn(HOLDERS[0], ASSETS[0], Domain.BNB, REFUSING, SHARE)
    for _ in range(20):
        await world.take_turn()
    (parked,) = await world.relayer.operator.list_parked(None, 10)
    expires = world.clock.unix_ms() // 1000 + 600
    paper = CancelPaper(parked.id, expires, holders_request(parked.id, expires, HOLDERS_KEYS[1]))
    await world.relayer.returner.cancel(parked.id, "mine", "stranger", paper)
    for _ in range(20):
        await world.take_turn()
    after = world.disk.transfers[parked.id]
    assert view(after.state).phase is Phase.PARKED
    assert after.state.refund_id is None
    assert "CANCEL_REFUSED" in [alarm.code for alarm in world.disk.alarms]


async def over_issue(setup: Setup) -> int:
    """A forged attestation, then an order above what custody holds; guards that believed it."""
    world = World(setup)
    checker = Checker(world)
    await world.relayer.start()
    for asset in ASSETS:
        await world.attest(asset, CAP_SHARES)
    believed = await world.forge_attestation(ASSETS[0], 10 * CAP_SHARES)
    await world.issue(ASSETS[0], CHAINS[0], HOLDERS[0], CAP_SHARES + SHARE)
    for _ in range(30):
        await world.take_turn()
        checker.check_always()
    return believed


async def test_system__attestation_forged_and_order_above_the_cap__nothing_is_minted() -> None:
    """F52, F54, INV-04: no guard believes another key than custody's, none goes above the cap."""
    assert await over_issue(Setup(seed=1)) == 0


async def test_defence_removed__attestors_key_is_not_checked__a_checker_sees_the_over_issue() -> (
    None
):
    """F54, INV-04: whoever can lift the cap can mint."""
    with pytest.raises(AssertionError, match="INV-04"):
        await over_issue(Setup(seed=1, check_signature=lambda _key, _digest, _signature: True))


async def test_system__recipient_refuses__transfer_is_parked_where_a_person_sees_it() -> None:
    """F58, INV-13: what can not be released by waiting is shown, not tried for ever."""
    world = World(Setup(seed=1))
    await world.relayer.start()
    world.chains[Domain.BNB].refuse(REFUSING, refuses=True)
    await world.attest(ASSETS[0], CAP_SHARES)
    await world.issue(ASSETS[0], Domain.ETHEREUM, HOLDERS[0], 10 * SHARE)
    for _ in range(20):
        await world.take_turn()
    source = world.chains[Domain.ETHEREUM]
    source.burn(HOLDERS[0], ASSETS[0], Domain.BNB, REFUSING, 2 * SHARE)
    for _ in range(30):
        await world.take_turn()
    (parked,) = await world.relayer.operator.list_parked(None, 10)
    shown = view(parked.state)
    assert shown.waiting_for is not None
    assert (shown.phase, shown.waiting_for.reason) == (Phase.PARKED, Reason.RECIPIENT_INVALID)

"""Random histories of burns, lies, claims, orders and releases around one guard.

Method: Hypothesis drives `guard_world.World` through its rules; after every rule the world
compares what the guard believes and granted with the chains' truth. Then each defence is taken
out, one at a time, and the same search must find a history that breaks its promise: so the
checker is known to see. The search is seeded by Hypothesis, which prints how to repeat it.
"""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.builders import CHAINS, SHARE, a_burn, a_message, an_attestation
from tests.property.guard_world import World
from xstock_core import policy
from xstock_core.invariants import InvariantId, InvariantViolation
from xstock_core.policy import POLICIES

CHAIN = st.sampled_from(CHAINS)
AMOUNT = st.sampled_from([1, SHARE, 3 * SHARE, 9 * SHARE, 40 * SHARE, 110 * SHARE])
PICK = st.integers(min_value=0, max_value=10**6)


class GuardMachine(RuleBasedStateMachine):
    """The rules of the world; `prepare` can take a defence out."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.prepare()

    def prepare(self) -> None:
        """All defences stay."""

    @rule(source=CHAIN, destination=CHAIN, amount=AMOUNT)
    def burn(self, source: int, destination: int, amount: int) -> None:
        if source != destination:
            self.world.chains.burn(CHAINS[source - 1], CHAINS[destination - 1], amount)

    @rule(source=CHAIN, destination=CHAIN, amount=AMOUNT)
    def burn_learn_claim_and_release(self, source: int, destination: int, amount: int) -> None:
        if source == destination:
            return
        burn = self.world.chains.burn(CHAINS[source - 1], CHAINS[destination - 1], amount)
        self.world.guard.learn(burn)
        self.world.guard.review([self.world.claim(burn)])
        if burn.transfer_id in self.world.guard.granted:
            self.world.chains.release(burn.message)

    @precondition(lambda self: self.world.chains.log)
    @rule(pick=PICK)
    def learn(self, pick: int) -> None:
        log = self.world.chains.log
        self.world.guard.learn(log[pick % len(log)])

    @precondition(lambda self: self.world.chains.log)
    @rule()
    def learn_everything_backwards(self) -> None:
        for fact in reversed(self.world.chains.log):
            self.world.guard.learn(fact)

    @precondition(lambda self: self.world.chains.burns)
    @rule(picks=st.lists(PICK, min_size=1, max_size=5), more=st.sampled_from([0, 0, 0, 1, SHARE]))
    def claim(self, picks: list[int], more: int) -> None:
        burns = self.world.chains.burns
        chosen = [burns[pick % len(burns)] for pick in picks]
        self.world.guard.review([self.world.claim(b, changed_amount=more) for b in chosen])

    @rule(counter=st.integers(min_value=10**6, max_value=10**6 + 9), passed=st.booleans())
    def claim_a_burn_that_never_was(self, counter: int, *, passed: bool) -> None:
        forged = a_burn(a_message(counter=counter))
        self.world.guard.review([self.world.claim(forged, passed=passed)])

    @rule(ahead=st.integers(min_value=-1, max_value=2), amount=AMOUNT, destination=CHAIN)
    def order(self, ahead: int, amount: int, destination: int) -> None:
        number = max(1, self.world.guard.sequence.reserved_through + 1 + ahead)
        chain = CHAINS[destination - 1]
        self.world.guard.review([self.world.order(number, amount, chain)])

    @precondition(lambda self: self.world.guard.granted)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        granted = list(self.world.guard.granted.values())
        self.world.chains.release(granted[pick % len(granted)])

    @rule(seconds=st.sampled_from([1, 60, 3_600]))
    def wait(self, seconds: int) -> None:
        self.world.guard.now += seconds

    @rule(held=st.sampled_from([0, 299, 300, 301, 320, 500]))
    def attest(self, held: int) -> None:
        self.world.guard.attestation = an_attestation(held_units=held)

    @invariant()
    def promises_hold(self) -> None:
        self.world.check()


SEARCH = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
HUNT = settings(
    SEARCH,
    max_examples=500,
    report_multiple_bugs=False,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
)


def test_guard__random_histories__keep_every_promise() -> None:
    run_state_machine_as_test(GuardMachine, settings=SEARCH)


def _without(name: str) -> Callable[[World], None]:
    def prepare(world: World) -> None:
        world.guard.policies = [p for p in POLICIES if p is not getattr(policy, name)]

    return prepare


def _forgetful(world: World) -> None:
    world.guard.remembers = False


def _without_bitmap(world: World) -> None:
    world.chains.bitmap = False


REMOVED: dict[str, tuple[Callable[[World], None], set[InvariantId]]] = {
    "evidence": (
        _without("check_evidence"),
        {InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN, InvariantId.SAME_CONTENT},
    ),
    "cap": (_without("check_cap"), {InvariantId.CAP}),
    "chain balance": (_without("check_chain_balance"), {InvariantId.CHAIN_BALANCE}),
    "rate": (_without("check_rate"), {InvariantId.RATE}),
    "ledger's memory": (_forgetful, {InvariantId.CONSERVATION}),
    "destination's bitmap": (_without_bitmap, {InvariantId.AT_MOST_ONCE}),
}


@pytest.mark.parametrize("name", REMOVED)
def test_guard__one_defence_removed__the_search_finds_the_broken_promise(name: str) -> None:
    """Each defence removed in this test's own composition."""
    taken_out, expected = REMOVED[name]

    class Weakened(GuardMachine):
        def prepare(self) -> None:
            taken_out(self.world)

    with pytest.raises(InvariantViolation) as broken:
        run_state_machine_as_test(Weakened, settings=HUNT)
    assert broken.value.id in expected

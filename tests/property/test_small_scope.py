"""Everything that can happen in a small bridge, tried: and each rule, taken out, is missed.

Method: `tests.property.small_world` visits every state of two assets, three chains and three
guards, one of them bad, within a stated number of steps, over the real `decide`, `may_sign`,
ledger and transfer machine. Five small alphabets are visited to their end; all of them together
to a stated depth. Then one rule at a time is taken out, and the same search must come back with
the known attack. There is no chance in it: the same code gives the same states.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.property.small_world import (
    Alphabet,
    Broken,
    Name,
    Searched,
    Weakness,
    World,
    search,
)
from xstock_core.invariants import InvariantId
from xstock_core.policy import (
    POLICIES,
    Policy,
    check_cap,
    check_chain_balance,
    check_evidence,
    check_executed,
    check_halt,
    check_issuance,
    check_rate,
)
from xstock_core.signing import SIGNING_POLICIES, check_covered

EVERYTHING = Alphabet(tuple(Name), vanish=True, fall=True, expire=True)
DEPTH, STATES_OF_EVERYTHING = 8, 200_000
"""Steps from the quiet beginning, and fewer states than this would be a search gone blind."""

ALPHABETS: dict[str, tuple[Alphabet, int]] = {
    "a burn, a forged claim of it, its cancellation, its refund, its disappearance": (
        Alphabet((Name.BURN, Name.FORGED, Name.REFUND), vanish=True, expire=True),
        20_000,
    ),
    "a burn and its way back while collateral falls": (
        Alphabet((Name.BURN, Name.REFUND), fall=True),
        4_000,
    ),
    "a chain that burns what it never had, beside an honest one": (
        Alphabet((Name.BURN, Name.HOLLOW, Name.HOLLOW_REFUND)),
        10_000,
    ),
    "two orders and room for one, while collateral falls and time runs out": (
        Alphabet((Name.ORDER_1, Name.ORDER_2), fall=True, expire=True),
        100_000,
    ),
    "two assets": (Alphabet((Name.BURN, Name.OTHER), vanish=True, cancel=False), 2_000),
}


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Searched], None]:
    """Print how far a search came, past pytest's capture."""

    def told(name: str, searched: Searched) -> None:
        words = "to its end" if searched.complete else f"to depth {searched.depth}"
        with capsys.disabled():
            sys.stdout.write(
                f"\n{name}: {searched.states} states, {searched.steps} steps, {words} "
            )

    return told


@pytest.mark.parametrize("name", ALPHABETS)
def test_small_bridge__every_state_of_an_alphabet__keeps_every_promise(
    name: str, tell: Callable[[str, Searched], None]
) -> None:
    """INV-01 to INV-08, INV-11 and INV-15: no depth bounds this, there is nothing more."""
    alphabet, floor = ALPHABETS[name]
    searched = search(World(alphabet), depth=60)
    tell(name, searched)
    assert searched.complete
    assert searched.states >= floor
    assert searched.depth >= 20


def test_small_bridge__everything_at_once_to_a_depth__keeps_every_promise(
    tell: Callable[[str, Searched], None],
) -> None:
    """INV-01 to INV-08, INV-11 and INV-15 with two assets and all that fate and liars may do."""
    searched = search(World(EVERYTHING), depth=DEPTH)
    tell("everything", searched)
    assert searched.depth == DEPTH
    assert searched.states >= STATES_OF_EVERYTHING


def left(rules: Sequence[Policy], *removed: Policy) -> list[Policy]:
    return [rule for rule in rules if rule not in removed]


def without(*removed: Policy) -> Weakness:
    """The same guards without these rules, at review and at signing."""
    weak = Weakness(left(POLICIES, *removed), left(SIGNING_POLICIES, *removed))
    assert len(weak.policies) + len(weak.signing) < len(POLICIES) + len(SIGNING_POLICIES)
    return weak


@dataclass(frozen=True)
class Attack:
    """What the search must find: the promise and the steps that matter, in this order."""

    weak: Weakness
    broken: InvariantId
    steps: tuple[str, ...]
    depth: int = 8


ATTACKS: dict[str, Attack] = {
    "evidence: a release for a burn that nobody saw": Attack(
        without(check_evidence),
        InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN,
        ("review RELEASE of burn of 1", "sign RELEASE of burn of 1"),
    ),
    "executed and bitmap: one permit is run twice": Attack(
        Weakness(
            left(POLICIES, check_executed), left(SIGNING_POLICIES, check_executed), bitmap=False
        ),
        InvariantId.AT_MOST_ONCE,
        ("order 1 of 2 is released", "order 1 of 2 is released"),
    ),
    "bitmap: what guards know too late is run twice": Attack(
        Weakness(bitmap=False),
        InvariantId.AT_MOST_ONCE,
        ("order 1 of 2 is released", "order 1 of 2 is released"),
    ),
    "cap: the second order exceeds what custody holds": Attack(
        without(check_cap, check_covered),
        InvariantId.CAP,
        ("review RELEASE of order 1", "review RELEASE of order 2", "sign RELEASE of order 1"),
    ),
    "cap at signing: a grant from before collateral fell": Attack(
        without(check_covered),
        InvariantId.CAP,
        ("review RELEASE", "collateral falls", "sign RELEASE"),
    ),
    "chain balance: a compromised chain is paid for what it never had": Attack(
        without(check_chain_balance),
        InvariantId.CHAIN_BALANCE,
        ("burn of 2 by a chain that has 1", "read chain 3", "review", "sign", "is released"),
    ),
    "dense sequence: one bad guard of three gets two orders past two honest ones": Attack(
        without(check_issuance),
        InvariantId.CAP,
        (
            "guard A: review RELEASE of order 1",
            "guard B: review RELEASE of order 2",
            "guard A: sign RELEASE of order 1",
            "order 1 of 2 is released",
            "guard B: sign RELEASE of order 2",
            "order 2 of 2 is released",
        ),
    ),
    "grants: a guard signs what it never reviewed": Attack(
        Weakness(bound=False),
        InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN,
        ("sign RELEASE of burn of 1",),
    ),
    "void proof: an order is given up and lands": Attack(
        Weakness(proof=False),
        InvariantId.RESERVATION_SAFETY,
        ("sign RELEASE of order 1", "order 1 of 2 is released", "void order 1"),
    ),
    "halt: a release after the final burn has vanished": Attack(
        without(check_halt),
        InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN,
        ("the final burn vanishes", "read chain 1", "sign RELEASE of burn of 1"),
    ),
    "rate: an issuance and a refund through a bucket that holds one of them": Attack(
        without(check_rate),
        InvariantId.RATE,
        ("review RELEASE of order 1", "burn of 1 is cancelled", "review RELEASE of refund"),
    ),
}
_RATE = Alphabet((Name.BURN, Name.REFUND, Name.ORDER_1))


@pytest.mark.parametrize("name", ATTACKS)
def test_small_bridge__one_rule_removed__the_search_finds_the_known_attack(name: str) -> None:
    """Each rule is taken out in this test's own composition."""
    attack = ATTACKS[name]
    alphabet = _RATE if attack.broken is InvariantId.RATE else EVERYTHING
    with pytest.raises(Broken) as found:
        search(World(alphabet, attack.weak), attack.depth)
    assert found.value.id is attack.broken
    rest = iter(found.value.trace)
    missing = [step for step in attack.steps if not any(step in word for word in rest)]
    assert not missing, f"{found.value.trace} does not show {missing}"


SECOND_LINES: dict[str, tuple[Weakness, Alphabet]] = {
    "executed: the destination's bitmap still refuses": (
        without(check_executed),
        Alphabet((Name.BURN, Name.REFUND)),
    ),
    "cap at review: the signature is still refused": (
        without(check_cap),
        Alphabet((Name.ORDER_1, Name.ORDER_2), expire=True),
    ),
}


@pytest.mark.parametrize("name", SECOND_LINES)
def test_small_bridge__a_rule_with_a_second_line_removed__keeps_its_promises(
    name: str, tell: Callable[[str, Searched], None]
) -> None:
    """Defence in depth: these two are wanted twice, and either alone is enough for the promise."""
    weak, alphabet = SECOND_LINES[name]
    searched = search(World(alphabet, weak), depth=60)
    tell(name, searched)
    assert searched.complete
    assert searched.states >= 1_000

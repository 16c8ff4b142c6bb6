"""Exactly the message's shares, at any multiplier: the rounding, fuzzed.

Method: Hypothesis draws multipliers below, at and above one, lists of releases and burns, and
an activation in the middle; every step runs on the real contracts. After each one the
recipient or holder moved by exactly the message's shares, the supply less the inventory moved
by exactly as many, and the inventory stayed under ten displayed wei. Supply is summed from the
token's own share events, not from anything the bridge says.
"""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chains.evm_contracts.attacks import supply_shares
from tests.chains.evm_contracts.chain import Rpc
from tests.chains.evm_contracts.world import (
    HOLDER,
    ISSUER,
    MINIMUM,
    ONE,
    RECIPIENT,
    STRANGER,
    THIRD,
    UNIT,
    World,
    build_world,
)

pytestmark = pytest.mark.chains

MULTIPLIERS = (
    10**9 + 7,
    10**15 + 1,
    THIRD,
    ONE - 1,
    ONE,
    ONE + 1,
    1_000_918_075_800_000_000,
    2 * ONE - 1,
    10 * ONE,
    123_456_789_012_345_678_901,
)
_multiplier = st.one_of(
    st.sampled_from(MULTIPLIERS),
    st.integers(10**12, ONE - 1),
    st.integers(ONE, 10**21),
)
_amount = st.one_of(st.integers(MINIMUM, 10**6), st.integers(MINIMUM, 10**13))


@dataclass(frozen=True, slots=True)
class Books:
    """What must agree after every step."""

    supply_less_inventory: int
    recipient: int
    holder: int


def _books(world: World) -> Books:
    return Books(
        supply_shares(world) - world.inventory(),
        world.shares(RECIPIENT),
        world.shares(HOLDER),
    )


def _check_inventory(world: World) -> None:
    multiplier = world.token.call("getCurrentMultiplier")[0]
    assert world.inventory() * multiplier <= 10 * ONE * ONE
    assert world.shares(world.bridge.address) >= world.inventory()


def _release_exactly(world: World, counter: int, amount: int) -> None:
    before = _books(world)
    receipt = world.release(world.item(counter, amount=amount))
    assert world.skips(receipt) == []
    after = _books(world)
    assert after.recipient - before.recipient == amount * UNIT
    assert after.supply_less_inventory - before.supply_less_inventory == amount * UNIT
    _check_inventory(world)


def _burn_exactly(world: World, amount: int) -> None:
    before = _books(world)
    event = world.bridge.events(world.burn(amount), "BurnedToBridge")[0]
    assert event.args["amount"] == amount
    after = _books(world)
    assert before.holder - after.holder == amount * UNIT
    assert before.supply_less_inventory - after.supply_less_inventory == amount * UNIT
    _check_inventory(world)


_fuzz = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@_fuzz
@given(
    first=_multiplier,
    second=_multiplier,
    amounts=st.lists(_amount, min_size=1, max_size=4),
    donation=st.integers(0, 10**12),
)
def test_shares__any_amounts_across_an_activation__move_exactly(
    world: World, first: int, second: int, amounts: list[int], donation: int
) -> None:
    """F51: a multiplier that changes between burn and release changes no share."""
    snapshot = world.rpc("evm_snapshot")
    try:
        world.set_multiplier(first)
        world.fund(sum(amounts) * 2)
        world.fund(10**9, holder=STRANGER, counter=10_001)
        world.set_multiplier(second, world.rpc.now() + 3600)
        for counter, amount in enumerate(amounts):
            _release_exactly(world, counter + 1, amount)
            _burn_exactly(world, amount)
        world.token.must("transferShares", world.bridge.address, donation, sender=STRANGER)
        world.rpc.advance(3700)
        assert world.token.call("getCurrentMultiplier")[0] == second
        for counter, amount in enumerate(amounts):
            _burn_exactly(world, amount)
            _release_exactly(world, counter + 101, amount)
    finally:
        world.rpc("evm_revert", snapshot)


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_shares__runs_of_neighbouring_amounts__move_exactly(world: World, multiplier: int) -> None:
    world.fund(10**10)
    world.set_multiplier(multiplier)
    for amount in range(MINIMUM, MINIMUM + 6):
        _burn_exactly(world, amount)
        _release_exactly(world, amount, amount)


def test_shares__a_batch_at_an_odd_multiplier__moves_each_amount_exactly(world: World) -> None:
    world.set_multiplier(THIRD)
    people = ["0x" + bytes([0x77, n] * 10).hex() for n in range(20)]
    items = [world.item(n, recipient=p, amount=10**8 + n * 7919) for n, p in enumerate(people)]
    assert world.skips(world.release(*items)) == []
    assert [world.shares(i.recipient) for i in items] == [i.amount * UNIT for i in items]
    assert world.inventory() > 0
    _check_inventory(world)


def test_shares__the_largest_amount__moves_exactly(fresh_chain: Rpc) -> None:
    """F57: 2^64 - 1 is an amount like any other."""
    world = build_world(fresh_chain, capacity=2**64 - 1)
    most = 2**64 - 1
    world.fund(most)
    assert world.shares(HOLDER) == most * UNIT
    _burn_exactly(world, most)


def test_shares__fee_accrued_between_two_burns__move_exactly(world: World) -> None:
    world.fund(10**10)
    world.token.must("updateFeePerPeriod", 10**14, sender=ISSUER)
    _burn_exactly(world, 123_457)
    world.rpc.advance(30 * 86_400)
    _burn_exactly(world, 123_457)
    _release_exactly(world, 1, 987_654_321)

"""The gas targets of docs: they do not depend on the machine, so they are plain assertions."""

import pytest

from tests.chains.evm_contracts.chain import Rpc
from tests.chains.evm_contracts.gas import (
    measure_burn_gas,
    measure_first_in_word_gas,
    measure_release_gas,
)
from tests.chains.evm_contracts.world import THIRD, World, build_world

pytestmark = pytest.mark.chains


@pytest.mark.parametrize(
    ("batch", "existing", "fresh"), [(1, 105_000, 122_000), (50, 24_000, 41_000)]
)
def test_release__per_item__stays_within_the_target(
    world: World, batch: int, existing: int, fresh: int
) -> None:
    measured = measure_release_gas(world, batch)
    assert measured.existing <= existing
    assert measured.fresh <= fresh


def test_release__first_of_a_bitmap_word__pays_for_one_new_slot_more(world: World) -> None:
    usual = measure_release_gas(world, 1).existing
    assert 17_000 <= measure_first_in_word_gas(world) - usual <= 17_200


def test_burn__stays_within_the_target(world: World) -> None:
    assert measure_burn_gas(world) <= 115_000


def test_release__through_the_inventory__costs_one_mint_and_one_transfer(
    fresh_chain: Rpc,
) -> None:
    odd = build_world(fresh_chain, multiplier=THIRD)
    assert measure_release_gas(odd, 50).existing <= 50_000
    assert measure_burn_gas(odd) <= 115_000

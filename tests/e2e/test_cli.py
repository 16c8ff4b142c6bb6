"""The command line against a running bridge: what people and scripts see of it."""

from tests.e2e.conftest import SUPPLIED, SUPPLIED_UNITS
from xstock_cli.hands import Hands
from xstock_devnet.world import World


async def test_world__up_and_supplied__holder_has_its_shares(world: World, hands: Hands) -> None:
    """The ground on which every end-to-end test stands."""
    for chain in world.chains:
        holder = hands.holder(chain.name, "holder-0")
        for symbol in SUPPLIED:
            assert await holder.shares_of(symbol) > SUPPLIED_UNITS * 10**10 // 2

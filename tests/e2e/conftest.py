"""One whole bridge for the session: real chains, Kafka, PostgreSQL and services, with supply.

Starting it costs most of a minute, so every end-to-end test shares it and leaves it as it found it:
running, with no fault injected and no halt in force. `holder-0` has 500 shares of each asset in
`SUPPLIED` on every chain, issued through the guards; order numbers go on from there
(`hands.next_order_number`).
"""

from collections.abc import AsyncIterator

import pytest

from xstock_cli.hands import RELEASED, Hands, hands_of_world
from xstock_cli.verify import Auditor
from xstock_devnet.world import ISSUER_KEY_ID, World
from xstock_wire.papers import PaperKey

SUPPLIED = ("TSLAx", "NVDAx", "SPYx", "GOOGLx")
SUPPLIED_UNITS = 500 * 10**8
PATIENCE = 3.0
"""Two cores run thirty processes and perhaps another test run; no wait is longer than it must."""


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The bridge, up and supplied; stopped with the session."""
    async with World(tmp_path_factory.mktemp("world")) as running:
        async with hands_of_world(running.document(), running.registry, patience=PATIENCE) as first:
            await first.guards_ready()
            await _supply(running, first)
        yield running


@pytest.fixture(scope="session")
async def hands(world: World) -> AsyncIterator[Hands]:
    """Connected hands: issue, send, follow; `hands.bridge`, `.holders`, `.follower`."""
    async with hands_of_world(world.document(), world.registry, patience=PATIENCE) as connected:
        yield connected


@pytest.fixture(scope="session")
async def auditor(world: World) -> AsyncIterator[Auditor]:
    """What the chains themselves say, past services and proxy."""
    nodes = {chain.name: world.node_urls(chain.name) for chain in world.chains}
    async with Auditor(world.registry, nodes) as reading:
        yield reading


def token_units(world: World, chain: str, symbol: str, shares: int) -> int:
    """Units of 10^-8 share in a token's own units on a chain."""
    deployment = world.registry.asset(symbol).on(chain)
    assert deployment is not None
    return int(shares * 10 ** (deployment.decimals - 8))


def issuer_key(world: World) -> PaperKey:
    """The key that the registry knows as the issuer's."""
    return PaperKey.from_file(ISSUER_KEY_ID, world.key_file("issuer"))


async def _supply(world: World, hands: Hands) -> None:
    key, ids = issuer_key(world), []
    for symbol in SUPPLIED:
        for number, chain in enumerate(world.chains, start=1):
            recipient = hands.holder(chain.name, "holder-0").address
            ids.append(
                await hands.order(
                    symbol, number, chain.name, SUPPLIED_UNITS, recipient=recipient, key=key
                )
            )
    await hands.until(
        lambda: all(hands.state(one) == RELEASED for one in ids),
        seconds=120,
        waiting_for="the first supply to be final on every chain",
    )

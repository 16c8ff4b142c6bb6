"""One local chain for this folder, and a deployment of its own for every test that asks."""

from collections.abc import AsyncIterator

import pytest

from tests.chains.tron.world import World, local_node, world_on
from xstock_devnet.engines.tron import TronNode


@pytest.fixture(scope="package")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TronNode]:
    """A chain whose blocks are made by hand."""
    async with local_node(tmp_path_factory.mktemp("tron")) as running:
        yield running


@pytest.fixture
async def world(node: TronNode) -> AsyncIterator[World]:
    """A new deployment on it."""
    fresh = await world_on(node)
    yield fresh
    await fresh.rpc.aclose()

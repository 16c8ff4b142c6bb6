"""One local chain for the folder; a minter, keys and accounts of its own for every test."""

from collections.abc import AsyncIterator

import pytest

from tests.chains.ton.world import Chains, World, running_chains


@pytest.fixture(scope="module")
async def chains(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chains]:
    """The node of a test module."""
    async with running_chains(tmp_path_factory.mktemp("ton")) as running:
        yield running


@pytest.fixture
async def world(chains: Chains) -> World:
    """A fresh minter with a rich holder and a funded relayer."""
    return await chains.fresh()

"""The implementations that the contract suite is run against."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.contract.driver import ChainUnderTest
from tests.contract.evm_driver import EvmDeployments
from tests.contract.fake_driver import FakeUnderTest
from xstock_core.ids import Domain

Fresh = Callable[[], Awaitable[ChainUnderTest]]

IN_MEMORY: dict[str, tuple[Domain, int]] = {
    "fake": (Domain.ETHEREUM, 1),
    "fake_sparse_nonces": (Domain.SOLANA, 1),
    "quorum_of_fakes": (Domain.ETHEREUM, 3),
}

ON_A_NODE: dict[str, int] = {"evm": 1, "quorum_of_evm": 3}


@pytest.fixture(scope="session", params=[*IN_MEMORY, *ON_A_NODE])
async def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fresh]:
    """How to get a fresh deployment of each family; a node serves the whole session."""
    if request.param in ON_A_NODE:
        folder = tmp_path_factory.mktemp(request.param)
        deployments = EvmDeployments(folder, readers=ON_A_NODE[request.param])

        async def fresh_evm() -> ChainUnderTest:
            return await deployments.fresh()

        yield fresh_evm
        await deployments.aclose()
        return
    domain, nodes = IN_MEMORY[request.param]

    async def fresh() -> ChainUnderTest:
        return FakeUnderTest(domain, nodes=nodes)

    yield fresh


@pytest.fixture
async def chain(family: Fresh) -> ChainUnderTest:
    """A fresh deployment."""
    return await family()

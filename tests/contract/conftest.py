"""The implementations that the contract suite is run against."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.contract.driver import ChainUnderTest
from tests.contract.evm_driver import EvmDeployments
from tests.contract.fake_driver import FakeUnderTest
from tests.contract.solana_driver import SolanaDeployments
from tests.contract.ton_driver import TonDeployments
from tests.contract.tron_driver import TronDeployments
from xstock_core.ids import Domain

Fresh = Callable[[], Awaitable[ChainUnderTest]]

IN_MEMORY: dict[str, tuple[Domain, int]] = {
    "fake": (Domain.ETHEREUM, 1),
    "fake_sparse_nonces": (Domain.SOLANA, 1),
    "quorum_of_fakes": (Domain.ETHEREUM, 3),
}


class Deployments(Protocol):
    """A node that serves many tests, each with a deployment of its own."""

    async def fresh(self) -> Any:
        """A fresh `ChainUnderTest`; its attributes are class constants, which no Protocol with
        plain attributes admits."""
        ...

    async def aclose(self) -> None:
        """Stop the node."""
        ...


ON_A_NODE: dict[str, Callable[[Path], Deployments]] = {
    "evm": EvmDeployments,
    "quorum_of_evm": lambda folder: EvmDeployments(folder, readers=3),
    "solana": SolanaDeployments,
    "quorum_of_solana": lambda folder: SolanaDeployments(folder, readers=3),
    "ton": TonDeployments,
    "quorum_of_ton": lambda folder: TonDeployments(folder, readers=3),
    "tron": TronDeployments,
    "quorum_of_tron": lambda folder: TronDeployments(folder, readers=3),
}


@pytest.fixture(scope="session", params=[*IN_MEMORY, *ON_A_NODE])
async def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fresh]:
    """How to get a fresh deployment of each family; a node serves the whole session."""
    if request.param in ON_A_NODE:
        deployments = ON_A_NODE[request.param](tmp_path_factory.mktemp(request.param))
        yield deployments.fresh
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

"""One local chain per family for the session, and a fresh deployment on it per test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.contract.conftest import Deployments
from tests.contract.driver import ChainUnderTest
from tests.contract.evm_driver import EvmDeployments
from tests.contract.solana_driver import SolanaDeployments
from tests.contract.ton_driver import TonDeployments
from tests.contract.tron_driver import TronDeployments

FAMILIES: dict[str, Callable[[Path], Deployments]] = {
    "evm": EvmDeployments,
    "solana": SolanaDeployments,
    "tron": TronDeployments,
    "ton": TonDeployments,
}
Deploy = Callable[[str], Awaitable[ChainUnderTest]]


@pytest.fixture(scope="session")
async def deploy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deploy]:
    """A fresh deployment of a family; its node starts with the first that asks."""
    running = {
        family: deployments(tmp_path_factory.mktemp(f"six-{family}"))
        for family, deployments in FAMILIES.items()
    }

    async def fresh(family: str) -> ChainUnderTest:
        deployed: ChainUnderTest = await running[family].fresh()
        return deployed

    yield fresh
    for one in running.values():
        await one.aclose()

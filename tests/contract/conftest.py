"""The implementations that the contract suite is run against."""

from collections.abc import Callable

import pytest

from tests.contract.driver import ChainUnderTest
from tests.contract.fake_driver import FakeUnderTest
from xstock_core.ids import Domain

FAMILIES: dict[str, Callable[[], ChainUnderTest]] = {
    "fake": lambda: FakeUnderTest(Domain.ETHEREUM),
    "fake_sparse_nonces": lambda: FakeUnderTest(Domain.SOLANA),
    "quorum_of_fakes": lambda: FakeUnderTest(Domain.ETHEREUM, nodes=3),
}


@pytest.fixture(params=sorted(FAMILIES))
async def chain(request: pytest.FixtureRequest) -> ChainUnderTest:
    """A fresh deployment of each family."""
    return FAMILIES[request.param]()

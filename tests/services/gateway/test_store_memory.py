"""The memory store under the stores' suite."""

import pytest

from tests.services.gateway.store_contract import GatewayStoreContract
from xstock_gateway.adapters.memory import MemoryGatewayStore


class TestMemoryGatewayStore(GatewayStoreContract):
    """In a process."""

    @pytest.fixture
    def store(self) -> MemoryGatewayStore:
        """An empty one."""
        return MemoryGatewayStore()

"""The guard's memory for tests in virtual time."""

import pytest

from xstock_supply_guard.adapters.memory import MemoryGuardStore


@pytest.fixture
def store() -> MemoryGuardStore:
    """An empty memory."""
    return MemoryGuardStore()

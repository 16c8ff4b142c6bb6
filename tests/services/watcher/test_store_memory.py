"""The memory store under the stores' suite."""

import pytest

from tests.services.watcher.store_contract import CHAIN, WatcherStoreContract
from xstock_watcher.adapters.memory import MemoryWatcherStore


class TestMemoryWatcherStore(WatcherStoreContract):
    """In a process."""

    @pytest.fixture
    def store(self) -> MemoryWatcherStore:
        """An empty one."""
        return MemoryWatcherStore(CHAIN, lambda _: None)

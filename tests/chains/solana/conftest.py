"""A fresh local Solana for every test that asks for a world."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chains.solana.world import World, running_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One deployed chain, fresh for this test, whose blocks are made by hand."""
    async with running_world(tmp_path) as running:
        yield running

"""One node for the real contracts, one (without a code size limit) for contracts taken apart."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chains.evm_contracts.attacks import ATTACKS
from tests.chains.evm_contracts.chain import Rpc, running_anvil
from tests.chains.evm_contracts.compiler import TOKEN, compile_all, mutate
from tests.chains.evm_contracts.world import CHAIN_ID, World, build_world

pytestmark = pytest.mark.chains


@pytest.fixture(scope="session")
def evm_node() -> Iterator[Rpc]:
    """A node with the rules the contracts are compiled for: no opcode younger than paris."""
    with running_anvil("--chain-id", str(CHAIN_ID), "--hardfork", "paris") as rpc:
        yield rpc


@pytest.fixture(scope="session")
def _built_world(evm_node: Rpc) -> World:
    return build_world(evm_node)


@pytest.fixture
def world(_built_world: World) -> Iterator[World]:
    """The bridge on domain 2 with one asset at multiplier 1, untouched by other tests."""
    snapshot = _built_world.rpc("evm_snapshot")
    yield _built_world
    _built_world.rpc("evm_revert", snapshot)


@pytest.fixture
def fresh_chain(evm_node: Rpc) -> Iterator[Rpc]:
    """The same node to build another world on; gone after the test."""
    snapshot = evm_node("evm_snapshot")
    yield evm_node
    evm_node("evm_revert", snapshot)


@pytest.fixture(scope="session")
def mutants() -> dict[str, dict[str, Any]]:
    """Every attack's bridge without its defence, and every attack's own token."""
    jobs = {f"bridge {a.name}": mutate(a.removed) for a in ATTACKS}
    jobs |= {f"token {a.name}": mutate(a.token, unit=TOKEN) for a in ATTACKS if a.token}
    return compile_all(jobs)


@pytest.fixture(scope="session")
def loose_node() -> Iterator[Rpc]:
    """A node that takes contracts of any size: mutants are compiled without optimisation."""
    with running_anvil("--chain-id", str(CHAIN_ID), "--code-size-limit", "200000") as rpc:
        yield rpc

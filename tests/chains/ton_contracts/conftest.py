"""One machine for the session; a new bridge for every test."""

from collections.abc import Iterator

import pytest

from tests.chains.ton_contracts.attacks import ATTACKS
from tests.chains.ton_contracts.compiler import Codes, compile_all, mutate
from tests.chains.ton_contracts.vm import Vm, running_vm
from tests.chains.ton_contracts.world import World, build_world

pytestmark = pytest.mark.chains


@pytest.fixture(scope="session")
def vm() -> Iterator[Vm]:
    """The machine."""
    with running_vm() as machine:
        yield machine


@pytest.fixture
def world(vm: Vm) -> World:
    """A bridge of one asset with 8 decimals, two of three guards."""
    return build_world(vm)


@pytest.fixture(scope="session")
def mutants() -> dict[str, Codes]:
    """The contracts of every attack, without its defence."""
    return compile_all({attack.name: mutate(attack.removed) for attack in ATTACKS})

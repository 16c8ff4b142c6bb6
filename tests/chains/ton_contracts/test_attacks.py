"""Every attack of the table, refused as named; and every defence taken out, doing harm."""

import pytest

from tests.chains.ton_contracts.attacks import ATTACKS, HARM, Attack
from tests.chains.ton_contracts.compiler import Codes
from tests.chains.ton_contracts.vm import Vm
from tests.chains.ton_contracts.world import build_world

_BY_NAME = [pytest.param(attack, id=attack.name) for attack in ATTACKS]


@pytest.mark.parametrize("attack", _BY_NAME)
def test_contracts__attacked__refuse_by_name(attack: Attack, vm: Vm) -> None:
    """F10, F13, F14, F15, F16, F57: the committed contracts name what they refuse."""
    assert attack.run(build_world(vm)) == attack.refusal


@pytest.mark.parametrize("attack", _BY_NAME)
def test_contracts__attacked_with_a_defence_removed__are_harmed(
    attack: Attack, vm: Vm, mutants: dict[str, Codes]
) -> None:
    """F10, F13, F14, F15, F16, F57: without that one defence the same attack succeeds."""
    assert attack.run(build_world(vm, mutants[attack.name])) == HARM

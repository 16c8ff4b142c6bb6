"""Every attack of the table, refused by name; and every defence taken out, doing harm."""

from typing import Any

import pytest

from tests.chains.evm_contracts.attacks import ATTACKS, HARM, Attack
from tests.chains.evm_contracts.chain import Rpc
from tests.chains.evm_contracts.world import World, build_world

pytestmark = pytest.mark.chains

_BY_NAME = [pytest.param(attack, id=attack.name) for attack in ATTACKS]


def _world(rpc: Rpc, attack: Attack, mutants: dict[str, Any], bridge: Any = None) -> World:
    token = mutants[f"token {attack.name}"]["XStockToken"] if attack.token else None
    return build_world(rpc, bridge, token=token, **attack.build)


@pytest.mark.parametrize("attack", _BY_NAME)
def test_bridge__attacked__refuses_by_name(
    attack: Attack, loose_node: Rpc, mutants: dict[str, Any]
) -> None:
    """F10, F13, F14, F57, F83: the committed contract names what it refuses."""
    snapshot = loose_node("evm_snapshot")
    assert attack.run(_world(loose_node, attack, mutants)) == attack.refusal
    loose_node("evm_revert", snapshot)


@pytest.mark.parametrize("attack", _BY_NAME)
def test_bridge__attacked_with_its_defence_removed__is_harmed(
    attack: Attack, loose_node: Rpc, mutants: dict[str, Any]
) -> None:
    """F10, F13, F14, F57, F83: without that one defence the same attack succeeds."""
    snapshot = loose_node("evm_snapshot")
    bridge = mutants[f"bridge {attack.name}"]["XStockBridge"]
    assert attack.run(_world(loose_node, attack, mutants, bridge)) == HARM
    loose_node("evm_revert", snapshot)

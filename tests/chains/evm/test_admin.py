"""The self-test finds what differs before anything is signed."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chains.evm.world import (
    ADMIN,
    HOLDER,
    World,
    deploy,
    plan,
    registry_document,
    run_all,
)
from xstock_chains.evm.admin import EvmAdmin
from xstock_chains.evm.deploy import EvmDeployment, create_address
from xstock_chains.evm.rpc import Rpc
from xstock_chains.ports import StepState
from xstock_chains.profiles import open_admin
from xstock_chains.registry import parse_registry
from xstock_chains.solidity.abi import hex_of
from xstock_chains.solidity.deploying import DeployPlan, DeployState, TokenPlan
from xstock_core.ids import Domain
from xstock_devnet.engines.anvil import AnvilNode
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Ambiguous


async def failed(admin: EvmAdmin) -> set[str]:
    return {check.name for check in (await admin.self_test()).failed}


async def test_self_test__as_deployed__passes_every_check(world: World) -> None:
    opened = open_admin(world.registry, "ethereum", world.node.url)
    result = await opened.port.self_test()
    await opened.aclose()
    assert result.failed == ()
    assert len(result.checks) == 17


async def test_self_test__the_minter_is_re_pointed__fails_and_names_the_role(
    world: World,
) -> None:
    await world.call_token("TSLAx", "setMinter(address)", "0x" + "11" * 20)
    admin = EvmAdmin(world.chain, world.registry, world.rpc)
    (check,) = (await admin.self_test()).failed
    assert check.name == "TSLAx roles"
    assert "minter" not in check.found.split(", ")
    assert "owner points minter" in check.remedy


async def test_self_test__guards_threshold_or_epoch_differ__fails(world: World) -> None:
    document = json.loads(
        world.registry.model_dump_json(exclude={"chains", "issuers", "attestors"})
    )
    assert document["threshold"] == 2
    others = world.registry.model_copy(
        update={
            "threshold": 3,
            "guard_epoch": 2,
            "guards": tuple(
                guard.model_copy(update={"keys": {"evm": "0x" + f"{n + 1:02x}" * 20}})
                for n, guard in enumerate(world.registry.guards)
            ),
        }
    )
    assert await failed(EvmAdmin(world.chain, others, world.rpc)) == {
        "guards",
        "guard threshold",
        "guard epoch",
    }


async def test_self_test__another_build_of_the_bridge__fails(world: World) -> None:
    await world.rpc.call("anvil_setCode", "0x" + world.chain.bridge.address.hex(), "0x00")
    assert any(name.startswith("code of") for name in await failed(_admin(world)))


async def test_self_test__an_unreachable_node__is_unknown_and_not_a_pass(world: World) -> None:
    dead = Rpc("http://127.0.0.1:1")
    result = await EvmAdmin(world.chain, world.registry, dead).self_test()
    await dead.aclose()
    (check,) = result.failed
    assert check.passed is None


def _admin(world: World) -> EvmAdmin:
    return EvmAdmin(world.chain, world.registry, world.rpc)


async def test_self_test__two_chain_entries_are_swapped__fails_on_both(
    world: World, tmp_path: Path
) -> None:
    """F88: each entry is held against the other's node, and the difference is named."""
    async with AnvilNode(tmp_path / "bnb", chain_id=56) as node:
        rpc = world.connect(node.url)
        there = await deploy(rpc, plan(Domain.BNB, 56))
        own = json.loads(world.registry.chain("ethereum").model_dump_json())
        tokens = there.asset_entries()
        assets = {
            symbol: [
                entry,
                entry | {"chain": "ethereum", "token": "0x" + world.token(symbol).hex()},
            ]
            for symbol, entry in tokens.items()
        }
        registry = parse_registry(json.dumps(registry_document([own, there.chain_entry()], assets)))
        for name, right, wrong in (
            ("ethereum", world.node.url, node.url),
            ("bnb", node.url, world.node.url),
        ):
            good = open_admin(registry, name, right)
            swapped = open_admin(registry, name, wrong)
            assert (await good.port.self_test()).failed == ()
            found = {check.name for check in (await swapped.port.self_test()).failed}
            assert {"chain id", "bridge DOMAIN"} <= found
            await good.aclose()
            await swapped.aclose()


# ---------------------------------------------------------------------- deployment


def _small(**changes: object) -> DeployPlan:
    token = TokenPlan("TSLAx", minimum_shares=1000)
    return replace(plan(), tokens=(token,), **changes)  # type: ignore[arg-type]


async def _run(
    rpc: Rpc, what: DeployPlan, state: DeployState, *, dry_run: bool = False
) -> tuple[EvmDeployment, list[tuple[str, StepState]]]:
    deployment = EvmDeployment(what, rpc, ADMIN, SystemClock(), state)
    steps = [(step.name, step.state) async for step in deployment.run(dry_run=dry_run)]
    return deployment, steps


async def test_deploy__again__does_nothing_and_gives_the_same_entry(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    first, steps = await _run(world.rpc, _small(), DeployState.load(path))
    assert {state for _, state in steps} == {StepState.DONE}
    second, again = await _run(world.rpc, _small(), DeployState.load(path))
    assert {state for _, state in again} == {StepState.ALREADY}
    assert second.chain_entry() == first.chain_entry()
    assert second.asset_entries() == first.asset_entries()


async def test_deploy__stopped_after_signing__goes_on_with_the_same_bytes(
    world: World, tmp_path: Path
) -> None:
    """F38: what was written down before a crash is sent as it was, not made anew."""
    path = tmp_path / "state.json"

    class Crashed(Exception):
        pass

    class Crashing(EvmDeployment):
        async def _send(self, name: str) -> bool:
            raise Crashed

    try:
        await run_all(Crashing(_small(), world.rpc, ADMIN, SystemClock(), DeployState.load(path)))
    except Crashed:
        before = DeployState.load(path).sent["bridge"]["hash"]
    deployment, _ = await _run(world.rpc, _small(), DeployState.load(path))
    assert DeployState.load(path).sent["bridge"]["hash"] == before
    assert deployment.bridge == bytes.fromhex(DeployState.load(path).sent["bridge"]["address"])


async def test_deploy__somebody_else_used_the_nonce__is_named_and_a_second_run_ends_it(
    world: World, tmp_path: Path
) -> None:
    """Not waited for in vain: two deployments with one key once looked like a slow chain."""
    path = tmp_path / "state.json"
    mine = hex_of(ADMIN.identity)

    class Hasty(SystemClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds / 100)

    class Overtaken(EvmDeployment):
        first = True

        async def _send(self, name: str) -> bool:
            if self.first:
                self.first = False
                await world.rpc.call("eth_sendTransaction", {"from": mine, "to": mine})
            return await super()._send(name)

    with pytest.raises(Ambiguous, match="run the deployment again") as caught:
        await run_all(Overtaken(_small(), world.rpc, ADMIN, Hasty(), DeployState.load(path)))
    assert caught.value.code == "NONCE_USED"
    _, steps = await _run(world.rpc, _small(), DeployState.load(path))
    assert ("bridge", StepState.DONE) in steps
    _, again = await _run(world.rpc, _small(), DeployState.load(path))
    assert {state for _, state in again} == {StepState.ALREADY}


async def test_deploy__dry_run__sends_nothing(world: World) -> None:
    before = await world.rpc.call("eth_blockNumber")
    deployment, steps = await _run(world.rpc, _small(), DeployState(None), dry_run=True)
    assert {state for _, state in steps} == {StepState.PLANNED}
    assert await world.rpc.call("eth_blockNumber") == before
    assert len(deployment.bridge) == 20


async def test_deploy__a_token_of_somebody_else__waits_for_its_owner(world: World) -> None:
    owner = "transferOwnership(address)"
    await world.call_token("TSLAx", owner, "0x" + HOLDER.identity.hex())
    token = TokenPlan("TSLAx", token=world.token("TSLAx"), minimum_shares=1000)
    _, steps = await _run(world.rpc, replace(plan(), tokens=(token,)), DeployState(None))
    assert steps == [
        ("bridge", StepState.DONE),
        ("setMinter TSLAx", StepState.WAITING),
        ("setBurner TSLAx", StepState.WAITING),
        ("register TSLAx", StepState.DONE),
    ]


def test_deploy__created_addresses__are_the_chains_own() -> None:
    sender = bytes.fromhex("f39fd6e51aad88f6f4ce6ab8827279cfffb92266")
    first = "5fbdb2315678afecb367f032d93f642f64180aa3"
    assert create_address(sender, 0).hex() == first
    assert len({create_address(sender, n) for n in (0, 1, 127, 128, 255, 256, 70000)}) == 7

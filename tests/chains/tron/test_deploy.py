"""A deployment may be stopped anywhere and run again; nothing is created twice."""

from pathlib import Path

import pytest

from tests.chains.tron.liars import LostReplies
from tests.chains.tron.world import ADMIN, HOLDER, RELAYER, blocks_coming, control, deploy, plan
from xstock_chains.ports import StepState
from xstock_chains.solidity.deploying import DeployState
from xstock_chains.tron import doors
from xstock_chains.tron.deploy import TronDeployment, read_network_id
from xstock_chains.tron.rpc import TronRpc
from xstock_core.ids import Address32
from xstock_devnet.engines.tron import TronNode
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Fatal, Transient
from xstock_runtime.hashing import keccak256


async def steps_of(deployment: TronDeployment, *, dry_run: bool = False) -> list[StepState]:
    return [step.state async for step in deployment.run(dry_run=dry_run)]


async def test_deployment__run_again__does_nothing_and_tells_the_same(
    node: TronNode, tmp_path: Path
) -> None:
    rpc = TronRpc(node.url)
    network = await read_network_id(rpc)
    file = tmp_path / "state.json"
    async with blocks_coming(node.url):
        first = await deploy(rpc, plan(network), DeployState.load(file))
    again = TronDeployment(plan(network), rpc, ADMIN, SystemClock(), DeployState.load(file))
    assert set(await steps_of(again)) == {StepState.ALREADY}
    assert again.chain_entry() == first.chain_entry()
    assert again.asset_entries() == first.asset_entries()
    await rpc.aclose()


async def test_deployment__stopped_after_its_first_broadcast__goes_on_with_the_same_bytes(
    node: TronNode, tmp_path: Path
) -> None:
    """F38: what was signed is written down before it is sent."""
    lossy, rpc = LostReplies(node.url), TronRpc(node.url)
    network = await read_network_id(rpc)
    file = tmp_path / "state.json"
    stopped = TronDeployment(plan(network), lossy, ADMIN, SystemClock(), DeployState.load(file))
    with pytest.raises(Transient):
        await steps_of(stopped)
    signed = DeployState.load(file).sent["bridge"]
    async with blocks_coming(node.url):
        done = await deploy(rpc, plan(network), DeployState.load(file))
    assert DeployState.load(file).sent["bridge"] == signed
    assert done.bridge.hex() == signed["address"]
    await lossy.aclose()
    await rpc.aclose()


async def test_deployment__written_down_but_expired__is_made_anew(
    node: TronNode, tmp_path: Path
) -> None:
    rpc = TronRpc(node.url)
    network = await read_network_id(rpc)
    file = tmp_path / "state.json"
    lossy = LostReplies(node.url)
    stopped = TronDeployment(plan(network), lossy, ADMIN, SystemClock(), DeployState.load(file))
    with pytest.raises(Transient):
        await steps_of(stopped)
    old = DeployState.load(file).sent["token SPYx"]
    await control(node.url, "warp", seconds=600)
    await control(node.url, "mine", blocks=2)
    await control(node.url, "finalize")
    async with blocks_coming(node.url):
        await deploy(rpc, plan(network), DeployState.load(file))
    assert DeployState.load(file).sent["token SPYx"] != old
    await lossy.aclose()
    await rpc.aclose()


async def test_deployment__dry_run__sends_nothing(node: TronNode) -> None:
    rpc = TronRpc(node.url)
    state = DeployState(None)
    looking = TronDeployment(plan(await read_network_id(rpc)), rpc, ADMIN, SystemClock(), state)
    assert set(await steps_of(looking, dry_run=True)) == {StepState.PLANNED}
    assert state.sent == {}
    await rpc.aclose()


async def test_deployment__another_network_than_planned__is_refused(node: TronNode) -> None:
    """F88."""
    rpc = TronRpc(node.url)
    wrong = TronDeployment(plan(12345), rpc, ADMIN, SystemClock(), DeployState(None))
    with pytest.raises(Fatal, match="WRONG_CHAIN"):
        await steps_of(wrong)
    assert await doors.network_id(node.url) == await read_network_id(rpc)
    await rpc.aclose()


async def test_deployment__fund__pays_who_lacks_and_nobody_twice(node: TronNode) -> None:
    rpc = TronRpc(node.url)
    deployment = TronDeployment(
        plan(await read_network_id(rpc)), rpc, ADMIN, SystemClock(), DeployState(None)
    )
    poor = Address32(bytes(12) + keccak256(b"poor")[12:])
    accounts = [RELAYER.wire, HOLDER.wire, poor]
    async with blocks_coming(node.url):
        assert await deployment.fund(accounts) >= 1
        assert await deployment.fund(accounts) == 0
    await rpc.aclose()

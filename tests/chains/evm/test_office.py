"""Acts by hand on an EVM chain where things are wrong: stolen keys, a hanging nonce, no bridge.

What every family's office promises is in tests/contract/test_chain_office.py.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from eth_abi.abi import encode

from tests.chains.evm.world import (
    ADMIN,
    AGENT,
    GUARDS,
    HOLDER,
    RECIPIENT,
    RELAYER,
    SPY,
    TSLA,
    World,
)
from xstock_chains.evm.address import checksummed
from xstock_chains.evm.office import EvmOffice
from xstock_chains.evm.rpc import quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import AdminAct, GuardSet, PreparedTx, SendSlot, StepState
from xstock_chains.solidity.abi import hex_of, selector, words
from xstock_devnet.engines.anvil import dev_private_key
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import InvalidMessage, Transient

AGENT_KEY, ADMIN_KEY = dev_private_key(4), dev_private_key(0)
THIEF = tuple(LocalSigner.from_hex(dev_private_key(n)) for n in (15, 16, 17))


def office(world: World, key: str | None, folder: Path) -> EvmOffice:
    """An office with this key."""
    path = folder / "a.key"
    if key is not None:
        path.write_text(key)
    return EvmOffice(world.chain, world.connect(), SystemClock(), None if key is None else path)


async def rotate(world: World, folder: Path, guards: Sequence[LocalSigner]) -> list[AdminAct]:
    """The admin's key brings in these guards, as far as the chain lets it now."""
    hand = office(world, ADMIN_KEY, folder)
    present = await hand.guard_set()
    new = GuardSet(tuple(one.identity for one in guards), 2, present.epoch + 1)
    return [act async for act in hand.rotate(new)]


async def minted(world: World) -> int:
    """What the thief's account has, in message units."""
    data = selector("sharesOf(address)") + RECIPIENT.wire
    raw = await world.rpc.call(
        "eth_call", {"to": hex_of(world.token("TSLAx")), "data": hex_of(data)}, "latest"
    )
    return int(raw, 16) // 10**10


async def bucket_capacity(world: World) -> int:
    """The asset's release bucket, full."""
    data = selector("releaseBucket(bytes32)") + TSLA
    call = {"to": hex_of(world.chain.bridge.address), "data": hex_of(data)}
    raw = bytes.fromhex((await world.rpc.call("eth_call", call, "latest"))[2:])
    return words(raw, 1, "releaseBucket")[0]


async def waits_for_the_bridge(world: World) -> bool:
    """Whether the pool holds a transaction of the agent to the bridge."""
    pool = (await world.rpc.call("txpool_content"))["pending"]
    waiting = [tx for by_nonce in pool.values() for tx in by_nonce.values()]
    return any(tx["to"] == hex_of(world.chain.bridge.address) for tx in waiting)


@pytest.mark.parametrize(
    "key", [RELAYER, AGENT, ADMIN, *GUARDS, HOLDER], ids=["relayer", "agent", "admin", *"123", "h"]
)
async def test_token__mint_directly_with_a_single_key__is_refused(
    world: World, key: LocalSigner
) -> None:
    """F82, F84: the bridge is the token's only minter; no person's key is."""
    data = selector("mint(address,uint256)") + encode(
        ["address", "uint256"], [checksummed(RECIPIENT.identity), 10**18]
    )
    receipt = await world.send(key, world.token("TSLAx"), data)
    assert quantity(receipt["status"], "status") == 0
    assert await minted(world) == 0


async def test_admin_key_alone__rotates_to_the_thiefs_guards__mints_one_bucket_at_most(
    world: World, tmp_path: Path
) -> None:
    """F84: after a delay that everybody could watch, and then no more than one bucket."""
    first = await rotate(world, tmp_path, THIEF)
    assert first[-1].state is StepState.WAITING
    await world.rpc.call("evm_increaseTime", 660)
    await world.mine()
    assert (await rotate(world, tmp_path, THIEF))[-1].state is StepState.DONE
    capacity = await bucket_capacity(world)
    items = [world.item(n, amount=capacity * 3 // 4, recipient=RECIPIENT.wire) for n in range(1, 5)]
    order = await world.order(items, signers=THIEF[:2])
    prepared = await world.writer.prepare(order, await world.writer.next_slot(RELAYER.wire, []))
    assert [reason for _, reason in prepared.refused] == ["BUCKET_EMPTY"] * 3
    await world.writer.broadcast(await RELAYER.sign_transaction(prepared))
    await world.mine()
    assert 0 < await minted(world) <= capacity


async def test_admin_key_alone__agent_pauses_within_the_delay__mints_nothing(
    world: World, tmp_path: Path
) -> None:
    """F84: the delay is there to be used: a pause made in it stops the thief's first release."""
    await rotate(world, tmp_path, THIEF)
    (paused,) = await office(world, AGENT_KEY, tmp_path).pause()
    assert paused.state is StepState.DONE
    await world.rpc.call("evm_increaseTime", 660)
    await world.mine()
    await rotate(world, tmp_path, THIEF)
    order = await world.order([world.item(1, recipient=RECIPIENT.wire)], signers=THIEF[:2])
    prepared = await world.writer.prepare(order, await world.writer.next_slot(RELAYER.wire, []))
    assert [reason for _, reason in prepared.refused] == ["BRIDGE_PAUSED"]


async def test_pause__another_transaction_hangs_in_the_nonce__is_replaced(
    world: World, tmp_path: Path
) -> None:
    """A pause cannot queue behind a transfer that pays too little."""
    await world.hold_blocks()
    fields = {
        "type": 2, "chainId": 1, "nonce": 0, "from": checksummed(AGENT.identity),
        "to": checksummed(HOLDER.identity), "value": 1, "data": "0x", "gas": 21_000,
        "maxFeePerGas": 20 * 10**9, "maxPriorityFeePerGas": 20 * 10**9,
    }  # fmt: skip
    slot = SendSlot(world.chain.domain, AGENT.wire, "0")
    hanging = PreparedTx(world.chain.domain, slot, json.dumps(fields).encode(), "", simulated=False)
    raw = (await AGENT.sign_transaction(hanging)).raw
    await world.rpc.call("eth_sendRawTransaction", hex_of(raw))
    pausing = asyncio.create_task(office(world, AGENT_KEY, tmp_path).pause())
    while not await waits_for_the_bridge(world):
        await SystemClock().sleep(0.02)
    await world.mine()
    (act,) = await pausing
    assert act.state is StepState.DONE
    receipt = await world.rpc.call("eth_getTransactionReceipt", act.tx)
    assert receipt["to"] == hex_of(world.chain.bridge.address)


async def test_pause__two_assets_with_one_key__is_refused_and_the_key_keeps_its_pause(
    world: World, tmp_path: Path
) -> None:
    hand = office(world, AGENT_KEY, tmp_path)
    with pytest.raises(InvalidMessage) as refused:
        await hand.pause([TSLA, SPY])
    assert refused.value.code == "PAUSE_ONE_SCOPE"
    assert not any(state.paused for state in await hand.pause_states())
    assert [act.state for act in await hand.pause([SPY])] == [StepState.DONE]


async def test_office__nothing_at_the_registrys_address__says_so(
    world: World, tmp_path: Path
) -> None:
    """F88: another chain's node, or another chain's entry, is never "not paused"."""
    hand = office(world, AGENT_KEY, tmp_path)
    empty = replace(world.chain.bridge, address=b"\x77" * 20)
    lost = EvmOffice(
        replace(world.chain, bridges=(empty,)), world.connect(), SystemClock(), tmp_path / "a.key"
    )
    for ask in (lost.pause_states, lost.pause, lost.guard_set):
        with pytest.raises(Transient) as silent:
            await ask()
        assert silent.value.code == "BRIDGE_SILENT"
    assert not any(state.paused for state in await hand.pause_states())

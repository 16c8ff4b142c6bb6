"""What a look says about real EVM transactions: waiting, included, reverted, not ours, unknown."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.chains.evm.world import ADMIN, HOLDER, World, running_world
from xstock_chains.quorum import Quorum
from xstock_chains.solidity.abi import hex_of, selector
from xstock_core.observation import TxRef
from xstock_runtime.clock import SystemClock
from xstock_watcher.adapters.memory import MemoryProgressBus, MemoryWatcherStore
from xstock_watcher.handlers import WatcherHandlers


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One deployed chain, fresh for this test."""
    async with running_world(tmp_path) as running:
        yield running


def watcher(world: World, reader: Any) -> WatcherHandlers:
    """A watcher of that chain."""
    domain = world.chain.domain
    store = MemoryWatcherStore(domain, lambda _: None)
    return WatcherHandlers(domain, reader, store, MemoryProgressBus(), SystemClock())


def tx_of(world: World, text: str) -> TxRef:
    return TxRef(world.chain.domain, bytes.fromhex(text.removeprefix("0x")))


async def test_look__at_real_transactions__each_by_its_own_verdict(world: World) -> None:
    single = watcher(world, world.reader)
    second = type(world.reader)(world.chain, world.connect())
    by_two = watcher(world, Quorum([world.reader, second], 2))
    failed = await world.send(HOLDER, world.token("TSLAx"), selector("unpause()"))
    plain = await world.send(ADMIN, HOLDER.identity, b"")
    reverted = tx_of(world, failed["transactionHash"])
    other = tx_of(world, plain["transactionHash"])
    for asked in (single, by_two):
        assert (await asked.look(other)).verdict == "SEEN_NOT_FINAL"
    await world.finalize()
    for asked in (single, by_two):
        assert (await asked.look(other)).verdict == "NOT_A_BRIDGE_BURN"
        assert (await asked.look(reverted)).verdict == "REVERTED"
        assert (await asked.look(tx_of(world, "09" * 32))).verdict == "UNKNOWN_TO_NODES"
    await world.hold_blocks()
    fields = {"from": hex_of(ADMIN.identity), "to": hex_of(HOLDER.identity), "value": "0x1"}
    waiting = tx_of(world, await world.rpc.call("eth_sendTransaction", fields))
    for asked in (single, by_two):
        assert (await asked.look(waiting)).verdict == "IN_MEMPOOL"

"""Faults of the catalogue on a real node: each defence holds, and without it the fault wins.

The second half of a test builds the same reader with that one defence taken out (a subclass in
the test, never a switch in the product) and sees the wrong thing believed.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chains.evm.liars import (
    LyingRpc,
    finalized_is,
    no_logs,
    no_logs_by_range,
    no_old_state,
    no_topic,
)
from tests.chains.evm.world import ADMIN, HOLDER, SHARE, TSLA, World, running_world
from xstock_chains.evm.address import to_wire
from xstock_chains.evm.heads import FinalChain, Header
from xstock_chains.evm.reader import EvmReader
from xstock_chains.ports import Cursor
from xstock_chains.solidity.abi import ZERO_WORD, hex_of, selector
from xstock_chains.solidity.contracts import BridgeContract, TokenContract
from xstock_chains.solidity.events import BURNED, SHARES_MOVED, Log
from xstock_chains.solidity.evidence import Evidence, TxShares
from xstock_chains.solidity.lanes import Anchor, Lanes
from xstock_core.ids import Domain
from xstock_core.observation import BurnFinal, Observation, Place, SupplyMoved, TxRef
from xstock_runtime.errors import Fatal, InvalidMessage, Transient

LOOK_ALIKE = bytes.fromhex(
    "610140360380610140600037"  # copy the bytes from 0x140 on
    "6000600082600060006000355af150"  # call the address in word 0 with them
    "608060c0600037"  # copy bytes 0xc0 to 0x140
    "60803560603560403560203560806000a400"  # log them under the topics of words 1 to 4
)
"""Calls word 0 with the bytes after 0x140, then logs 0xc0..0x140 under topics of words 1 to 4."""


def burns_of(found: Sequence[Observation]) -> list[int]:
    return [one.message.amount for one in found if isinstance(one, BurnFinal)]


class NoProof(Evidence):
    """Defence taken out: a bridge event is believed without the token's share events."""

    def prove_burn(
        self,
        bridge: BridgeContract,
        token: TokenContract,
        sender: bytes,
        amount: int,
        place: Place,
        shares: TxShares,
    ) -> None:
        return None


class EmptyIsProof(EvmReader):
    """Defences taken out: an empty list is believed, and no counter is asked."""

    def suspects(self, window: Sequence[Header], logs: Sequence[Log]) -> list[Header]:
        return []

    async def prove_counters(
        self, seen: Lanes, answers: Sequence[Any], head: Header, *, at_head: bool
    ) -> None:
        return None


class AnyChain(FinalChain):
    """Defence taken out: chain id and genesis are not compared."""

    def check_identity(self, answers: Sequence[Any]) -> None:
        return None


class Forgetful(FinalChain):
    """Defence taken out: no final hash is remembered, neither in memory nor in the cursor."""

    async def follow(self, after: Anchor) -> tuple[Header, list[Header]]:
        self._head, self._linked = None, {}
        return await super().follow(Anchor(after.number, None))


class Successful(EvmReader):
    """Defence taken out: a receipt's status is not looked at."""

    def succeeded(self, receipt: Mapping[str, Any]) -> bool:
        return True


async def deploy_look_alike(world: World) -> bytes:
    """The contract that calls something and then logs what it was told; its address."""
    runtime = LOOK_ALIKE
    init = bytes((0x60, len(runtime))) + bytes.fromhex("80600b6000396000f3") + runtime
    fields = {"from": hex_of(ADMIN.identity), "data": hex_of(init), "gas": hex(1_000_000)}
    receipt = await world.receipt(await world.rpc.call("eth_sendTransaction", fields))
    return bytes.fromhex(receipt["contractAddress"][2:])


def through(target: bytes, data: bytes, topics: Sequence[bytes], logged: bytes) -> bytes:
    """Call data of the look-alike contract."""
    assert len(logged) == 128
    head = to_wire(target) + b"".join(topics) + ZERO_WORD
    return head + logged + data


async def burned_with_look_alike(world: World) -> tuple[bytes, Any]:
    """(the look-alike's address, the receipt of a real burn with a look-alike beside it)."""
    router = await deploy_look_alike(world)
    await world.issue(10 * SHARE, to=to_wire(router))
    topics = [BURNED, TSLA, int(Domain.BNB).to_bytes(32, "big"), (1).to_bytes(32, "big")]
    forged = to_wire(router) + to_wire(router) + HOLDER.wire + (9 * SHARE).to_bytes(32, "big")
    approve = selector("approve(address,uint256)") + world.chain.bridge.wire + b"\xff" * 32
    await world.send(HOLDER, router, through(world.token("TSLAx"), approve, topics, forged))
    burn = world.burn_data(SHARE)
    call = through(world.chain.bridge.address, burn, topics, forged)
    receipt = await world.send(HOLDER, router, call)
    await world.finalize()
    return router, receipt


async def test_reader__look_alike_logs_beside_a_real_burn__one_is_accepted(world: World) -> None:
    """F03: the same topics from a stranger's contract in the same transaction count for nothing."""
    router, receipt = await burned_with_look_alike(world)
    found, _ = await world.read_all()
    assert burns_of(found) == [SHARE]
    tx = TxRef(world.chain.domain, bytes.fromhex(receipt["transactionHash"][2:]))
    assert burns_of(await world.reader.re_observe(tx)) == [SHARE]
    assert world.reader.evidence.rejected["emitter"] == 1
    stranger = BridgeContract(router, to_wire(router), 0, bytes(32), 10**9)
    trusting = replace(world.chain, bridges=(*world.chain.bridges, stranger))
    with pytest.raises(InvalidMessage, match="BURN_UNPROVEN"):
        await EvmReader(trusting, world.connect()).re_observe(tx)
    fooled = EvmReader(trusting, world.connect())
    fooled.evidence = NoProof(trusting)
    assert burns_of(await fooled.re_observe(tx)) == [SHARE, 9 * SHARE]


async def test_reader__a_burn_without_its_share_movement__is_not_believed(world: World) -> None:
    """F04, F06: the amount needs the token's own burn of as many shares in the transaction."""
    await world.issue(10 * SHARE)
    await world.approve()
    await world.burn(SHARE)
    await world.finalize()
    lying = LyingRpc(world.node.url, no_topic(SHARES_MOVED))
    world.opened.append(lying)
    with pytest.raises(InvalidMessage, match="UNPROVEN"):
        await world.read_all(EvmReader(world.chain, lying))


async def test_reader__a_retired_bridge_burns__only_the_supply_is_seen_to_move(
    world: World,
) -> None:
    """F07: an entry point that was retired emits the same event and is no transfer."""
    await world.issue(10 * SHARE)
    await world.approve()
    await world.finalize()
    _, cursor = await world.read_all()
    await world.burn(SHARE)
    await world.finalize()
    retired = replace(world.chain.bridge, retired_block=world.chain.first_block)
    reader = EvmReader(replace(world.chain, bridges=(retired,)), world.connect())
    found, _ = await world.read_all(reader, cursor)
    assert burns_of(found) == []
    assert [one.token_units for one in found if isinstance(one, SupplyMoved)] == [-SHARE * 10**10]
    assert burns_of((await world.read_all(after=cursor))[0]) == [SHARE]


async def test_reader__chain_id_flips_mid_run__stops_for_good(world: World) -> None:
    """F14: the node becomes another chain's between two heads."""
    await world.read_all()
    await world.rpc.call("anvil_setChainId", 10001)
    with pytest.raises(Fatal, match="WRONG_CHAIN"):
        await world.reader.finalized_head()
    with pytest.raises(Fatal, match="WRONG_CHAIN"):
        await world.read_all()
    careless = EvmReader(world.chain, world.connect())
    careless._final = AnyChain(careless._rpc, world.chain)
    assert (await careless.finalized_head()).number > 0


async def test_reader__another_genesis__is_refused_at_the_first_head(world: World) -> None:
    """F14: a fork with the same chain id has another first block."""
    forked = replace(world.chain, genesis_hash=b"\x11" * 32)
    reader = EvmReader(forked, world.connect())
    with pytest.raises(Fatal, match="genesis"):
        await reader.finalized_head()


@pytest.fixture
async def deep_world(tmp_path: Path) -> AsyncIterator[World]:
    """A chain that is final 64 blocks below its latest one."""
    async with running_world(tmp_path, slots_in_an_epoch=32) as running:
        yield running


@pytest.mark.parametrize("depth", [1, 31, 64])
async def test_reader__reorg_above_finality__the_burn_never_was(
    deep_world: World, depth: int
) -> None:
    """F19: a burn that a reorganisation drops before it is final is on no page, ever."""
    world = deep_world
    await world.issue(10 * SHARE)
    await world.approve()
    await world.mine(80)
    _, cursor = await world.read_all()
    await world.burn(SHARE)
    await world.mine(depth - 1)
    await world.rpc.call("anvil_reorg", depth, [])
    await world.finalize()
    found, _ = await world.read_all(after=cursor)
    assert burns_of(found) == []


@pytest.mark.parametrize("depth", [80, 200])
async def test_reader__reorg_below_finality__stops_for_good(deep_world: World, depth: int) -> None:
    """F19: deeper than finality is a violation, also for a reader that has just started."""
    world = deep_world
    await world.issue(10 * SHARE)
    await world.approve()
    await world.burn(SHARE)
    await world.mine(depth)
    found, cursor = await world.read_all()
    assert burns_of(found) == [SHARE]
    await world.rpc.call("anvil_reorg", depth, [])
    await world.mine(1)
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await world.read_all(after=cursor)
    restarted = EvmReader(world.chain, world.connect())
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await world.read_all(restarted, cursor)
    careless = EvmReader(world.chain, world.connect())
    careless._final = Forgetful(careless._rpc, world.chain)
    page = await careless.read_page(cursor, limit=10)
    assert page.through.number > 0


async def test_reader__a_burn_is_included_again_elsewhere__is_one_burn(world: World) -> None:
    """F20: the same burn in another block after a reorganisation is seen once, where it is."""
    await world.issue(10 * SHARE)
    await world.approve()
    await world.mine(3)
    first = await world.burn(SHARE)
    raw = await world.rpc.call("eth_getRawTransactionByHash", first["transactionHash"])
    await world.rpc.call("anvil_reorg", 1, [])
    await world.mine(1)
    await world.rpc.call("eth_sendRawTransaction", raw)
    second = await world.receipt(first["transactionHash"])
    assert second["blockHash"] != first["blockHash"]
    await world.finalize()
    found, _ = await world.read_all()
    (burn,) = [one for one in found if isinstance(one, BurnFinal)]
    assert burn.place.block.hash.hex() == second["blockHash"][2:]


async def test_reader__finality_stalls__waits_without_a_lower_bar(world: World) -> None:
    """F21: `finalized` stands still while blocks go on: no progress, no `safe`, no `latest`."""
    await world.issue(10 * SHARE)
    await world.approve()
    await world.finalize()
    frozen = await world.rpc.call("eth_getBlockByNumber", "finalized", False)
    stalled = LyingRpc(world.node.url, finalized_is(frozen))
    world.opened.append(stalled)
    reader = EvmReader(world.chain, stalled)
    _, cursor = await world.read_all(reader)
    await world.burn(SHARE)
    await world.mine(300)
    for _ in range(3):
        page = await reader.read_page(cursor, limit=10)
        assert (page.observations, page.cursor, page.more) == ((), cursor, False)
    tags = {params[0] for method, params in stalled.asked if method == "eth_getBlockByNumber"}
    assert not {"safe", "latest", "pending"} & tags
    stalled.changes.clear()
    found, _ = await world.read_all(reader, cursor)
    assert burns_of(found) == [SHARE]


async def test_reader__two_final_hashes_at_one_height__stops_for_good(world: World) -> None:
    """F29: the same final height with another hash, while running and after a restart."""
    await world.mine(5)
    _, cursor = await world.read_all()
    head = await world.rpc.call("eth_getBlockByNumber", "finalized", False)
    two_faced = LyingRpc(world.node.url)
    world.opened.append(two_faced)
    reader = EvmReader(world.chain, two_faced)
    await reader.finalized_head()
    two_faced.changes.append(finalized_is(head | {"hash": "0x" + "ab" * 32}))
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await reader.finalized_head()
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await EvmReader(world.chain, two_faced).read_page(cursor, limit=10)
    careless = EvmReader(world.chain, two_faced)
    careless._final = Forgetful(two_faced, world.chain)
    assert (await careless.read_page(cursor, limit=10)).observations == ()


async def test_reader__finalized_goes_backwards__is_silence_and_the_cursor_stays(
    world: World,
) -> None:
    """F31: a lagging node behind the same address is waited for; nothing is read twice."""
    await world.issue(10 * SHARE)
    await world.finalize()
    older = await world.rpc.call("eth_getBlockByNumber", "finalized", False)
    await world.mine(20)
    flapping = LyingRpc(world.node.url)
    world.opened.append(flapping)
    reader = EvmReader(world.chain, flapping)
    _, cursor = await world.read_all(reader)
    flapping.changes.append(finalized_is(older))
    with pytest.raises(Transient, match="NODE_BEHIND"):
        await reader.read_page(cursor, limit=10)
    flapping.changes.clear()
    assert (await reader.read_page(cursor, limit=10)).observations == ()


async def test_reader__an_empty_list_for_a_range__is_asked_again_by_block_hash(
    world: World,
) -> None:
    """F30: blocks whose bloom allows our logs are not believed to be empty."""
    await world.issue(10 * SHARE)
    await world.approve()
    await world.burn(SHARE)
    await world.finalize()
    lagging = LyingRpc(world.node.url, no_logs_by_range)
    world.opened.append(lagging)
    found, _ = await world.read_all(EvmReader(world.chain, lagging))
    assert burns_of(found) == [SHARE]
    assert burns_of((await world.read_all(EmptyIsProof(world.chain, lagging)))[0]) == []


async def test_reader__logs_are_lost_everywhere__the_counters_hold_the_cursor(
    world: World,
) -> None:
    """F30: a node that hides even the block's own logs is caught by the bridge's counters."""
    await world.issue(10 * SHARE)
    await world.approve()
    await world.burn(SHARE)
    await world.finalize()
    lost = LyingRpc(world.node.url, no_logs)
    world.opened.append(lost)
    with pytest.raises(Transient, match="LOGS_INCOMPLETE"):
        await world.read_all(EvmReader(world.chain, lost))
    assert burns_of((await world.read_all(EmptyIsProof(world.chain, lost)))[0]) == []
    lost.changes.clear()
    assert burns_of((await world.read_all(EvmReader(world.chain, lost)))[0]) == [SHARE]


async def test_reader__a_hole_in_a_lane__is_never_stepped_over(world: World) -> None:
    """F30: the first of two burns is hidden; the second one's counter betrays it."""
    await world.issue(10 * SHARE)
    await world.approve()
    first = await world.burn(SHARE)
    await world.burn(2 * SHARE)
    await world.finalize()

    def hide(method: str, params: list[Any], answer: Any) -> Any:
        if method != "eth_getLogs":
            return answer
        return [log for log in answer if log["transactionHash"] != first["transactionHash"]]

    hiding = LyingRpc(world.node.url, hide)
    world.opened.append(hiding)
    with pytest.raises(Transient, match="burn 1 was expected and 2 found"):
        await world.read_all(EvmReader(world.chain, hiding))


async def test_reader__no_state_at_the_final_block__snapshots_prove_it_later(
    world: World,
) -> None:
    """F30: on a node that keeps little state, counters read at a recent block are held against
    what was seen, once that very block is final."""
    kept: set[str] = set()
    node = LyingRpc(world.node.url, no_old_state(lambda block_hash: block_hash in kept))
    world.opened.append(node)

    async def keep_latest() -> None:
        block = await world.rpc.call("eth_getBlockByNumber", "latest", False)
        kept.add(block["hash"])

    await world.issue(10 * SHARE)
    await world.approve()
    await world.finalize()
    reader = EvmReader(world.chain, node)
    await world.burn(SHARE)
    await keep_latest()
    _, cursor = await world.read_all(reader)
    await world.finalize()
    await keep_latest()
    node.changes = [no_old_state(lambda block_hash: block_hash in kept), no_logs]
    await world.mine(1)
    await keep_latest()
    final = await world.rpc.call("eth_getBlockByNumber", "finalized", False)
    kept.discard(final["hash"])
    with pytest.raises(Transient, match="LOGS_INCOMPLETE"):
        await world.read_all(reader, cursor)
    without_snapshots = EvmReader(world.chain, node)
    assert burns_of((await world.read_all(without_snapshots, cursor))[0]) == []


async def test_reader__a_failed_transaction_with_logs__has_no_effect(world: World) -> None:
    """F04: a node that shows logs of a failed transaction is not believed when asked again."""
    await world.issue(10 * SHARE)
    await world.approve()
    receipt = await world.burn(SHARE)
    await world.finalize()
    tx = TxRef(world.chain.domain, bytes.fromhex(receipt["transactionHash"][2:]))

    def failed(method: str, params: list[Any], answer: Any) -> Any:
        return answer | {"status": "0x0"} if method == "eth_getTransactionReceipt" else answer

    lying = LyingRpc(world.node.url, failed)
    world.opened.append(lying)
    reader = EvmReader(world.chain, lying)
    assert await reader.re_observe(tx) == ()
    assert reader.evidence.rejected["status"] == 1
    assert burns_of(await Successful(world.chain, lying).re_observe(tx)) == [SHARE]


async def test_reader__a_foreign_cursor__is_refused(world: World) -> None:
    for text in ("x", "{}", '{"v":2}', '{"v":1,"n":"1e9","h":null,"c":{}}', "[1]"):
        with pytest.raises(InvalidMessage, match="CURSOR_INVALID"):
            await world.reader.read_page(Cursor(world.chain.domain, text), limit=10)

"""Evidence from the wrong height of a real chain: ancient, before registration, after retirement.

The node is real, its answers are changed on their way, and every one of this reader's providers
tells the same: here the reader's own proofs must do, no quorum helps.
"""

from dataclasses import replace
from typing import Any

import pytest

from tests.chains.evm.liars import Change, LyingRpc, finalized_is
from tests.chains.evm.world import SHARE, World
from xstock_chains.evm.reader import EvmReader
from xstock_chains.ports import Cursor
from xstock_core.observation import BurnFinal, Observation
from xstock_runtime.errors import Fatal, InvalidMessage, Transient


def burns(found: list[Observation]) -> list[int]:
    """The amounts of the burns among them, in shares."""
    return [one.message.amount // SHARE for one in found if isinstance(one, BurnFinal)]


async def burned(world: World, *shares: int) -> list[Any]:
    """These burns, final; their receipts."""
    await world.issue(100 * SHARE)
    await world.approve()
    receipts = [await world.burn(amount * SHARE) for amount in shares]
    await world.finalize()
    return receipts


async def test_reader__log_of_an_ancient_block_in_a_late_page__is_refused(world: World) -> None:
    """F11: a burn that was read long ago is told again at its own old height, as if new."""
    (old,) = await burned(world, 3)
    _, cursor = await world.read_all()
    await world.burn(SHARE)
    await world.finalize()

    def ancient(method: str, params: list[Any], answer: Any) -> Any:
        del params
        return [*answer, *old["logs"]] if method == "eth_getLogs" else answer

    reader = EvmReader(world.chain, lying(world, ancient))
    with pytest.raises((InvalidMessage, Transient)):
        await reader.read_page(cursor, limit=1000)
    found, _ = await world.read_all(after=cursor)
    assert burns(found) == [1]


async def test_reader__ancient_log_moved_into_a_late_block__is_refused(world: World) -> None:
    """F11, F20: the same old burn with a new height and hash: its counter was counted before."""
    (old,) = await burned(world, 3)
    _, cursor = await world.read_all()
    new = await world.burn(SHARE)
    await world.finalize()
    moved = [
        dict(log) | {"blockNumber": new["blockNumber"], "blockHash": new["blockHash"]}
        for log in old["logs"]
    ]

    def again(method: str, params: list[Any], answer: Any) -> Any:
        del params
        return [*moved, *answer] if method == "eth_getLogs" and answer else answer

    reader = EvmReader(world.chain, lying(world, again))
    with pytest.raises((InvalidMessage, Transient)):
        await reader.read_page(cursor, limit=1000)


async def test_reader__node_shows_an_old_height_as_final__waits_and_never_goes_back(
    world: World,
) -> None:
    """F11: the cursor is ahead of what the node calls final: it lags, and says nothing."""
    await burned(world, 3)
    old = await world.rpc.call("eth_getBlockByNumber", "finalized", False)
    await world.burn(SHARE)
    await world.finalize()
    _, cursor = await world.read_all()
    reader = EvmReader(world.chain, lying(world, finalized_is(old)))
    with pytest.raises(Transient, match="NODE_BEHIND"):
        await reader.read_page(cursor, limit=1000)


async def test_reader__cursor_of_a_height_that_another_block_has__is_a_broken_finality(
    world: World,
) -> None:
    """F11, INV-10: the old evidence's own block is not in this chain."""
    await burned(world, 3)
    _, cursor = await world.read_all()
    forged = cursor.text.replace(cursor.text.split('"h":"')[1][:8], "deadbeef")
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await world.reader.read_page(Cursor(world.chain.domain, forged), limit=1000)


async def test_reader__burn_before_its_bridge_was_registered__is_no_transfer(world: World) -> None:
    """F11: what an address emitted before it was our bridge was somebody else's."""
    receipts = await burned(world, 3, 5)
    height = int(receipts[1]["blockNumber"], 16)
    late = replace(world.chain.bridge, deployed_block=height)
    reader = EvmReader(replace(world.chain, bridges=(late,)), world.connect())
    early = replace(late, deployed_block=world.chain.first_block)
    whole = EvmReader(replace(world.chain, bridges=(early,)), world.connect())
    found, _ = await world.read_all(whole)
    assert burns(found) == [3, 5]
    tx = next(one.place.tx for one in found if isinstance(one, BurnFinal))
    assert await reader.re_observe(tx) != await whole.re_observe(tx)
    assert burns(list(await reader.re_observe(tx))) == []
    assert reader.evidence.rejected["unregistered"] >= 1


async def test_reader__burn_of_a_retired_bridge__is_no_transfer(world: World) -> None:
    """F07, F11: after its retirement a predecessor's burns count for nothing."""
    receipts = await burned(world, 3, 5)
    height = int(receipts[0]["blockNumber"], 16)
    retired = replace(world.chain.bridge, retired_block=height)
    reader = EvmReader(replace(world.chain, bridges=(retired,)), world.connect())
    found, _ = await world.read_all(reader)
    assert burns(found) == [3]
    assert reader.evidence.rejected["retired"] == 1


def lying(world: World, *changes: Change) -> LyingRpc:
    """A provider whose answers are changed."""
    rpc = LyingRpc(world.node.url, *changes)
    world.opened.append(rpc)
    return rpc

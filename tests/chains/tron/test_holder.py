"""A gateway that lies about its bytes does not get them signed; a good burn goes through."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chains.tron.test_faults import rich
from tests.chains.tron.world import ADMIN, ELSEWHERE, HOLDER, RECIPIENT, SHARE, TSLA, World
from xstock_chains.ports import BurnRequest
from xstock_chains.solidity.burns import approve, bridge_out
from xstock_chains.tron.builder import TronBurnBuilder
from xstock_chains.tron.frames import frame_after, read_heads
from xstock_chains.tron.holder import TronHolder
from xstock_chains.tron.reader import TronReader
from xstock_chains.tron.transaction import Content, RawTransaction, Transfer, Trigger, encode
from xstock_core.ids import Domain
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Fatal, InvalidMessage


def request(**changes: Any) -> BurnRequest:
    """A burn that would succeed."""
    wanted = BurnRequest(
        message_kind=Kind.TRANSFER,
        source=Domain.TRON,
        destination=Domain.BNB,
        asset=TSLA,
        sender=HOLDER.wire,
        recipient=ELSEWHERE,
        refund_address=HOLDER.wire,
        amount=3 * SHARE,
    )
    return replace(wanted, **changes)


def holder_of(world: World) -> TronHolder:
    return TronHolder(world.chain, world.rpc, HOLDER, SystemClock())


async def built(world: World, content: Content, fee_limit: int = 10**8) -> dict[str, Any]:
    """A gateway's answer with one transaction."""
    _, solid, newest = await read_heads(world.rpc)
    frame = frame_after(solid, newest, world.chain.facts)
    raw = encode(RawTransaction(frame, content, fee_limit))
    return {"transactions": [{"raw_data": raw}]}


async def test_holder__what_the_builder_built__is_signed_and_burns(world: World) -> None:
    start = await rich(world)
    builder = TronBurnBuilder(world.chain, world.registry, world.rpc)
    _, _, newest = await read_heads(world.rpc)
    burn = await builder.build(request(), expires=newest.time_ms // 1000 + 600)
    document = json.loads(burn.payload)
    steps = [{"raw_data": bytes.fromhex(one["raw_data"])} for one in document["transactions"]]
    holder = holder_of(world)
    *_, tx = await holder.send({"transactions": steps}, request())
    assert await holder.included(tx) is None
    await world.mine()
    assert await holder.included(tx) is True
    await world.finalize()
    found, _ = await world.read_all(TronReader(world.chain, world.rpc), start)
    assert [one.message.amount for one in found if isinstance(one, BurnFinal)] == [3 * SHARE]
    assert await holder.shares_of("TSLAx") == 997 * SHARE * 10**10


Lie = Callable[[World], Content]
MINE, WORST = HOLDER.identity, 2**256 - 1
LIES: dict[str, Lie] = {
    "a transfer of coins": lambda world: Transfer(MINE, ADMIN.identity, 10**6),
    "another contract": lambda world: Trigger(MINE, world.token("SPYx"), bridge_out(request())),
    "another owner": lambda world: Trigger(
        ADMIN.identity, world.chain.bridge.address, bridge_out(request())
    ),
    "another recipient": lambda world: Trigger(
        MINE, world.chain.bridge.address, bridge_out(request(recipient=RECIPIENT.wire))
    ),
    "another amount": lambda world: Trigger(
        MINE, world.chain.bridge.address, bridge_out(request(amount=4 * SHARE))
    ),
    "an approval alone": lambda world: Trigger(
        MINE, world.token("TSLAx"), approve(world.chain.bridge.address, WORST)
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_holder__bytes_do_something_else__are_not_signed(world: World, lie: str) -> None:
    """SECURITY: whatever the gateway says, only the wanted burn is signed."""
    bad = await built(world, LIES[lie](world))
    with pytest.raises(Fatal, match="BURN_NOT_AS_EXPECTED"):
        await holder_of(world).send(bad, request())
    good = await built(world, Trigger(MINE, world.chain.bridge.address, bridge_out(request())))
    assert await holder_of(world).send(good, request())


async def test_holder__approval_of_a_stranger_or_of_another_token__is_not_signed(
    world: World,
) -> None:
    burn = await built(world, Trigger(MINE, world.chain.bridge.address, bridge_out(request())))
    for content in (
        Trigger(MINE, world.token("TSLAx"), approve(RECIPIENT.identity, WORST)),
        Trigger(MINE, world.token("SPYx"), approve(world.chain.bridge.address, WORST)),
    ):
        bad = await built(world, content)
        both = {"transactions": [*bad["transactions"], *burn["transactions"]]}
        with pytest.raises(Fatal, match="BURN_NOT_AS_EXPECTED"):
            await holder_of(world).send(both, request())


async def test_holder__fee_or_lifetime_out_of_bounds_or_hidden_fields__are_not_signed(
    world: World,
) -> None:
    content = Trigger(MINE, world.chain.bridge.address, bridge_out(request()))
    dear = await built(world, content, fee_limit=world.chain.facts.fee_limit_max + 1)
    with pytest.raises(Fatal, match="fee_limit"):
        await holder_of(world).send(dear, request())
    stale = await built(world, content)
    await world.control("warp", seconds=1000)
    await world.mine()
    with pytest.raises(Fatal, match="expiration"):
        await holder_of(world).send(stale, request())
    hidden = await built(world, content)
    hidden["transactions"][0]["raw_data"] += b"\x52\x04memo"
    with pytest.raises(InvalidMessage, match="TRANSACTION_UNREADABLE"):
        await holder_of(world).send(hidden, request())


async def test_holder__burn_of_somebody_else__is_not_signed(world: World) -> None:
    good = await built(world, Trigger(MINE, world.chain.bridge.address, bridge_out(request())))
    with pytest.raises(Fatal, match="sender"):
        await holder_of(world).send(good, request(sender=ADMIN.wire))
    with pytest.raises(Fatal, match="transactions"):
        await holder_of(world).send({"transactions": []}, request())

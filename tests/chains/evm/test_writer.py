"""Sending on a real local chain: each release once, whatever is repeated, lost or raced."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.chains.evm.liars import LyingRpc
from tests.chains.evm.world import GUARDS, HOLDER, RECIPIENT, RELAYER, SHARE, TSLA, World
from xstock_chains.evm.address import to_wire
from xstock_chains.evm.chain import EvmFacts
from xstock_chains.evm.rpc import RpcFault
from xstock_chains.evm.writer import EvmWriter
from xstock_chains.ports import ExecutionState, SendSlot, TxState
from xstock_core.observation import CancelFinal, ReleaseFinal
from xstock_core.release import Action, ExecutionKey, ReleaseItem
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient


def key_of(world: World, item: ReleaseItem) -> ExecutionKey:
    return ExecutionKey(world.chain.domain, item.source, item.nonce)


async def test_writer__a_signed_batch__is_released_and_becomes_final(world: World) -> None:
    items = [world.item(n, amount=SHARE + n) for n in range(1, 6)]
    signed = await world.release(*items)
    slot = signed.prepared.slot
    assert (await world.writer.status(signed.ref, slot)).state is TxState.INCLUDED
    keys = [key_of(world, item) for item in items]
    before = await world.writer.find_executions(keys)
    assert [one and (one.state, one.final) for one in before] == [
        (ExecutionState.RELEASED, False)
    ] * 5
    await world.finalize()
    status = await world.writer.status(signed.ref, slot)
    assert (status.state, status.succeeded) == (TxState.FINAL, True)
    after = await world.writer.find_executions(keys)
    assert all(one is not None and one.final for one in after)
    found, _ = await world.read_all()
    assert sorted(one.amount for one in found if isinstance(one, ReleaseFinal)) == [
        SHARE + n for n in range(1, 6)
    ]


async def test_writer__nothing_done__finds_no_execution(world: World) -> None:
    assert await world.writer.find_executions([key_of(world, world.item(1))]) == [None]


async def test_writer__a_cancelled_item__is_told_apart_and_is_never_released(
    world: World,
) -> None:
    await world.release(world.item(1, action=Action.CANCEL))
    (found,) = await world.writer.find_executions([key_of(world, world.item(1))])
    assert found is not None
    assert found.state is ExecutionState.CANCELLED
    prepared = await world.prepare([world.item(1), world.item(2)])
    assert prepared.refused == ((key_of(world, world.item(1)), "ALREADY_CANCELLED"),)
    await world.finalize()
    seen, _ = await world.read_all()
    assert len([one for one in seen if isinstance(one, CancelFinal)]) == 1


async def test_writer__same_slot_and_fee__prepares_the_same_bytes(world: World) -> None:
    order = await world.order([world.item(1)])
    slot = await world.writer.next_slot(RELAYER.wire, [])
    first = await world.writer.prepare(order, slot)
    assert await world.writer.prepare(order, slot) == first
    signed = await RELAYER.sign_transaction(first)
    assert (await RELAYER.sign_transaction(first)).raw == signed.raw


async def test_writer__too_few_signatures__is_refused_in_simulation_by_name(
    world: World,
) -> None:
    order = await world.order([world.item(1)], signers=GUARDS[:1])
    slot = await world.writer.next_slot(RELAYER.wire, [])
    with pytest.raises(InvalidMessage, match="TooFewSignatures"):
        await world.writer.prepare(order, slot)


async def test_writer__the_bridge_as_recipient__is_named_before_it_is_sent(world: World) -> None:
    bad = world.item(1, recipient=to_wire(world.chain.bridge.address))
    prepared = await world.prepare([bad, world.item(2)])
    assert prepared.refused == ((key_of(world, bad), "RECIPIENT_REFUSED"),)


async def test_writer__the_same_bytes_again__are_harmless_while_pending(world: World) -> None:
    await world.hold_blocks()
    signed = await world.release(world.item(1))
    assert await world.writer.broadcast(signed) == signed.ref
    assert (await world.writer.status(signed.ref, signed.prepared.slot)).state is TxState.PENDING
    await world.mine()
    with pytest.raises(Ambiguous, match="NONCE_USED"):
        await world.writer.broadcast(signed)
    assert (await world.writer.status(signed.ref, signed.prepared.slot)).succeeded is True


async def test_writer__replaced_by_a_higher_fee__one_of_the_two_lands(world: World) -> None:
    """F43: a fee bump stays in its slot, so it can only land instead of the first."""
    await world.hold_blocks()
    first = await world.release(world.item(1))
    bumped = await world.writer.replace(first.prepared)
    assert bumped is not None
    old, new = (json.loads(one.payload) for one in (first.prepared, bumped))
    assert new["nonce"] == old["nonce"]
    assert new["maxFeePerGas"] * 8 >= old["maxFeePerGas"] * 9
    assert new["maxPriorityFeePerGas"] * 8 >= old["maxPriorityFeePerGas"] * 9
    second = await RELAYER.sign_transaction(bumped)
    await world.writer.broadcast(second)
    with pytest.raises(Ambiguous, match="SLOT_CONTESTED"):
        await world.writer.broadcast(first)
    await world.mine()
    slot = first.prepared.slot
    assert (await world.writer.status(second.ref, slot)).state is TxState.INCLUDED
    assert (await world.writer.status(first.ref, slot)).state is TxState.PENDING
    await world.finalize()
    assert (await world.writer.status(second.ref, slot)).state is TxState.FINAL
    assert (await world.writer.status(first.ref, slot)).state is TxState.DROPPED
    found, _ = await world.read_all()
    assert len([one for one in found if isinstance(one, ReleaseFinal)]) == 1


async def test_writer__a_hundred_releases_from_one_key__all_land_once(world: World) -> None:
    """F43: a hundred concurrent sends in slots of their own, each released exactly once."""
    await world.hold_blocks()
    slots: list[SendSlot] = []
    for _ in range(100):
        slots.append(await world.writer.next_slot(RELAYER.wire, slots))
    for number, slot in enumerate(slots, start=1):
        order = await world.order([world.item(number)])
        prepared = await world.writer.prepare(order, slot)
        await world.writer.broadcast(await RELAYER.sign_transaction(prepared))
    await world.mine(10)
    await world.finalize()
    found, _ = await world.read_all()
    nonces = [one.nonce for one in found if isinstance(one, ReleaseFinal)]
    assert len(nonces) == len(set(nonces)) == 100


async def test_writer__a_gap_is_filled__the_slots_behind_it_land(world: World) -> None:
    slot = await world.writer.next_slot(RELAYER.wire, [])
    behind = await world.writer.next_slot(RELAYER.wire, [slot])
    prepared = await world.writer.prepare(await world.order([world.item(1)]), behind)
    signed = await RELAYER.sign_transaction(prepared)
    await world.writer.broadcast(signed)
    await world.mine()
    assert (await world.writer.status(signed.ref, behind)).state is TxState.PENDING
    filler = await world.writer.fill_slot(slot)
    assert filler is not None
    await world.writer.broadcast(await RELAYER.sign_transaction(filler))
    await world.receipt("0x" + signed.ref.id.hex())
    await world.finalize()
    assert (await world.writer.status(signed.ref, behind)).state is TxState.FINAL


async def test_writer__a_reorg_removes_the_release__the_same_bytes_land_again(
    world: World,
) -> None:
    """F45: the destination drops the block of a release: the same payload is sent, count 1."""
    await world.mine(3)
    signed = await world.release(world.item(1, recipient=RECIPIENT.wire))
    slot = signed.prepared.slot
    assert (await world.writer.status(signed.ref, slot)).state is TxState.INCLUDED
    await world.rpc.call("anvil_reorg", 1, [])
    assert (await world.writer.status(signed.ref, slot)).state is TxState.PENDING
    assert await world.writer.find_executions([key_of(world, world.item(1))]) == [None]
    await world.writer.broadcast(signed)
    await world.receipt("0x" + signed.ref.id.hex())
    await world.finalize()
    assert (await world.writer.status(signed.ref, slot)).state is TxState.FINAL
    found, _ = await world.read_all()
    assert len([one for one in found if isinstance(one, ReleaseFinal)]) == 1
    (tesla,) = (await world.reader.read_supply([TSLA])).supplies
    assert tesla.token_units == SHARE * 10**10


async def test_writer__two_relayers_race__each_item_is_released_once(world: World) -> None:
    """F43: the loser's batch is mined as well and finds everything done already."""
    await world.hold_blocks()
    order = await world.order([world.item(1), world.item(2)])
    for relayer in (RELAYER, HOLDER):
        slot = await world.writer.next_slot(relayer.wire, [])
        prepared = await world.writer.prepare(order, slot)
        await world.writer.broadcast(await relayer.sign_transaction(prepared))
    await world.mine()
    await world.finalize()
    found, _ = await world.read_all()
    assert len([one for one in found if isinstance(one, ReleaseFinal)]) == 2


async def test_writer__no_state_at_the_final_block__nothing_is_called_final_or_dropped(
    world: World,
) -> None:
    """A node that keeps little state cannot say; unknown is never taken for an answer."""

    def pruned(method: str, params: list[Any], answer: Any) -> Any:
        return RpcFault(-32000, "missing trie node") if "finalized" in params[1:] else answer

    node = LyingRpc(world.node.url, pruned)
    world.opened.append(node)
    writer = EvmWriter(world.chain, node, world.codec)
    await world.hold_blocks()
    first = await world.release(world.item(1))
    bumped = await writer.replace(first.prepared)
    assert bumped is not None
    await writer.broadcast(await RELAYER.sign_transaction(bumped))
    await world.mine()
    await world.finalize()
    (found,) = await writer.find_executions([key_of(world, world.item(1))])
    assert found is not None
    assert found.final is False
    status = await writer.status(first.ref, first.prepared.slot)
    assert status.state is TxState.PENDING
    certain = await world.writer.status(first.ref, first.prepared.slot)
    assert certain.state is TxState.DROPPED


async def test_writer__a_node_without_simulation__is_asked_for_an_estimate(world: World) -> None:
    def without(method: str, params: list[Any], answer: Any) -> Any:
        return RpcFault(-32601, "method not found") if method == "eth_simulateV1" else answer

    node = LyingRpc(world.node.url, without)
    world.opened.append(node)
    writer = EvmWriter(world.chain, node, world.codec)
    slot = await writer.next_slot(RELAYER.wire, [])
    prepared = await writer.prepare(await world.order([world.item(1)]), slot)
    await writer.broadcast(await RELAYER.sign_transaction(prepared))
    few = await world.order([world.item(2)], signers=GUARDS[:1])
    with pytest.raises(InvalidMessage, match="TooFewSignatures"):
        await writer.prepare(few, slot)


async def test_writer__more_gas_than_a_transaction_may_have__says_to_split(world: World) -> None:
    small = replace(world.chain, facts=EvmFacts(transaction_gas_max=700_000))
    writer = EvmWriter(small, world.rpc, world.codec)
    slot = await writer.next_slot(RELAYER.wire, [])
    with pytest.raises(InvalidMessage, match="split it"):
        await writer.prepare(await world.order([world.item(n) for n in (1, 2, 3)]), slot)


async def test_writer__fees_above_the_cap__wait(world: World) -> None:
    dear = replace(world.chain, facts=EvmFacts(fee_per_gas_max=10))
    writer = EvmWriter(dear, world.rpc, world.codec)
    slot = await writer.next_slot(RELAYER.wire, [])
    with pytest.raises(Transient, match="FEE_CAP_REACHED"):
        await writer.prepare(await world.order([world.item(1)]), slot)

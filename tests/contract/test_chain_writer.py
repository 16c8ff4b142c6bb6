"""What every `ChainWriter` promises: nothing happens twice, and nothing is claimed unproven.

Each release is judged by what the chain's own reader tells afterwards, not by the writer's word.
"""

from contextlib import suppress
from dataclasses import replace

import pytest

from tests.contract.driver import (
    SHARE,
    ChainUnderTest,
    attempt,
    authorise,
    batch_of,
    item,
    release,
    signed_release,
)
from tests.contract.test_chain_reader import read_all
from xstock_chains.ports import ExecutionState, PreparedTx, SendSlot, SignedTx, TxState
from xstock_core.ids import Address32, AssetId, Domain, InvalidId
from xstock_core.observation import (
    CancelFinal,
    Observation,
    ReleaseFinal,
    ReleaseSkipped,
    SkipReason,
)
from xstock_core.release import Action, ExecutionKey, ReleaseBatch, ReleaseItem
from xstock_runtime.errors import Ambiguous, InvalidMessage

REFUSED = (InvalidMessage, InvalidId)
"""What can never land is refused while it is made, by its content or by simulation."""


def key(chain: ChainUnderTest, of: ReleaseItem) -> ExecutionKey:
    """The item's dedup key."""
    return ExecutionKey(chain.domain, of.source, of.nonce)


async def told(chain: ChainUnderTest, *kinds: type[Observation]) -> list[Observation]:
    """Final observations of these kinds."""
    await chain.finalize()
    return [o for o in await read_all(chain) if isinstance(o, kinds)]


async def said_why(chain: ChainUnderTest, late: SignedTx, reason: SkipReason) -> None:
    """What did not happen has a reason: in the simulation, and where the chain skips, on it."""
    if late.prepared.refused:
        assert [why for _, why in late.prepared.refused] == [reason.name]
    if chain.skips:
        (skipped,) = await told(chain, ReleaseSkipped)
        assert isinstance(skipped, ReleaseSkipped)
        assert skipped.reason is reason
    else:
        assert late.prepared.refused


async def test_writer__signed_batch__releases_exactly_its_items(chain: ChainUnderTest) -> None:
    items = [item(n, chain.recipient, chain.asset, amount=n * SHARE) for n in (1, 2, 3)]
    await release(chain, *items)
    found = await told(chain, ReleaseFinal)
    content = {
        (o.nonce, o.asset, o.recipient, o.amount) for o in found if isinstance(o, ReleaseFinal)
    }
    assert content == {(i.nonce, i.asset, i.recipient, i.amount) for i in items}
    assert await chain.shares_of(chain.recipient) == 6 * SHARE


async def test_writer__find_executions__tells_released_from_cancelled_from_nothing(
    chain: ChainUnderTest,
) -> None:
    """Reading one as the other would mint twice or lose the tokens."""
    done = item(1, chain.recipient, chain.asset)
    cancelled = item(2, chain.recipient, chain.asset, action=Action.CANCEL)
    open_item = item(3, chain.recipient, chain.asset)
    await release(chain, done, cancelled)
    keys = [key(chain, one) for one in (open_item, cancelled, done)]
    states = [None, ExecutionState.CANCELLED, ExecutionState.RELEASED]
    first = await chain.writer.find_executions(keys)
    if chain.shows_unfinal:
        assert [e and e.state for e in first] == states
    assert not any(e.final for e in first if e)
    await chain.finalize()
    later = await chain.writer.find_executions(keys)
    assert [e and e.state for e in later] == states
    assert [e.final for e in later if e] == [True, True]
    assert [e.key for e in later if e] == keys[1:]


async def test_writer__same_nonce_of_another_source__is_another_key(
    chain: ChainUnderTest,
) -> None:
    sources = [d for d in (Domain.BNB, Domain.MANTLE, Domain.TRON) if d is not chain.domain]
    mine, other = (item(1, chain.recipient, chain.asset, source=d) for d in sources[:2])
    await release(chain, mine)
    await chain.finalize()
    found = await chain.writer.find_executions([key(chain, mine), key(chain, other)])
    assert [e is None for e in found] == [False, True]


async def test_writer__same_bytes_sent_again__are_harmless_before_and_after(
    chain: ChainUnderTest,
) -> None:
    """F38, F40: a lost answer is met with the same bytes; once they are in a block a node may
    say only that the slot is used, which is Ambiguous and sends the caller to `status`."""
    signed = await signed_release(chain, item(1, chain.recipient, chain.asset))
    for _ in range(2):
        assert await chain.writer.broadcast(signed) == signed.ref
    await chain.mine()
    for _ in range(2):
        with suppress(Ambiguous):
            assert await chain.writer.broadcast(signed) == signed.ref
        await chain.finalize()
    status = await chain.writer.status(signed.ref, signed.prepared.slot)
    assert (status.state, status.succeeded) == (TxState.FINAL, True)
    assert len(await told(chain, ReleaseFinal)) == 1
    assert await chain.shares_of(chain.recipient) == SHARE


async def test_writer__prepared_again_for_the_same_slot__gives_the_same_bytes(
    chain: ChainUnderTest,
) -> None:
    order = await authorise(chain, await batch_of(chain, item(1, chain.recipient, chain.asset)))
    slot = await chain.writer.next_slot(chain.relayer_address, (), order)
    first = await chain.writer.prepare(order, slot)
    second = await chain.writer.prepare(order, slot)
    assert first == second
    assert first.simulated
    assert first.slot == slot
    assert await chain.relayer.sign_transaction(first) == await chain.relayer.sign_transaction(
        second
    )


async def test_writer__transaction_lives__pending_then_included_then_final(
    chain: ChainUnderTest,
) -> None:
    signed = await signed_release(chain, item(1, chain.recipient, chain.asset))
    slot = signed.prepared.slot
    assert (await chain.writer.status(signed.ref, slot)).state is TxState.PENDING
    await chain.writer.broadcast(signed)
    assert (await chain.writer.status(signed.ref, slot)).state is TxState.PENDING
    await chain.mine()
    included = await chain.writer.status(signed.ref, slot)
    assert (included.state, included.succeeded) == (TxState.INCLUDED, True)
    await chain.finalize()
    final = await chain.writer.status(signed.ref, slot)
    assert (final.state, final.succeeded) == (TxState.FINAL, True)
    assert final.block is not None
    assert await chain.reader.is_final(final.block) is True


async def test_writer__fee_bump__takes_the_same_slot_and_only_one_lands(
    chain: ChainUnderTest,
) -> None:
    """F43: a replacement replaces; DROPPED needs the final block that proves it."""
    first = await signed_release(chain, item(1, chain.recipient, chain.asset))
    slot = first.prepared.slot
    bumped = await chain.writer.replace(first.prepared)
    assert (bumped is not None) is chain.replaces
    if bumped is None:
        return
    assert bumped.slot == slot
    second = await chain.relayer.sign_transaction(bumped)
    assert second.ref != first.ref
    await chain.writer.broadcast(first)
    await chain.writer.broadcast(second)
    await chain.mine()
    assert (await chain.writer.status(second.ref, slot)).state is TxState.INCLUDED
    assert (await chain.writer.status(first.ref, slot)).state is TxState.PENDING
    await chain.finalize()
    dropped = await chain.writer.status(first.ref, slot)
    assert (dropped.state, bool(dropped.reason)) == (TxState.DROPPED, True)
    assert (await chain.writer.status(second.ref, slot)).state is TxState.FINAL
    assert await chain.shares_of(chain.recipient) == SHARE


async def test_writer__transaction_reorganised_away__is_pending_not_dropped(
    chain: ChainUnderTest,
) -> None:
    """F45: the same bytes land again; the chain holds one release."""
    await chain.finalize()
    signed = await release(chain, item(1, chain.recipient, chain.asset))
    await chain.drop(signed.ref)
    assert (await chain.writer.status(signed.ref, signed.prepared.slot)).state is TxState.PENDING
    done = await chain.writer.find_executions([key(chain, item(1, chain.recipient, chain.asset))])
    assert list(done) == [None]
    await chain.writer.broadcast(signed)
    await chain.mine()
    assert len(await told(chain, ReleaseFinal)) == 1


async def test_writer__slots_of_two_orders__are_two(chain: ChainUnderTest) -> None:
    """Each order has a slot of its own; the same order asked again while it is free, the same."""
    items = [item(n, chain.recipient, chain.asset) for n in (1, 2)]
    orders = [await authorise(chain, await batch_of(chain, one)) for one in items]
    used: list[SendSlot] = []
    for order in orders:
        first = await chain.writer.next_slot(chain.relayer_address, used, order)
        assert first == await chain.writer.next_slot(chain.relayer_address, used, order)
        used.append(first)
    assert len({slot.text for slot in used}) == 2


async def test_writer__slots__follow_each_other_and_those_in_use(chain: ChainUnderTest) -> None:
    if not chain.slotted:
        assert await _slots_alone(chain)
        return
    used: list[SendSlot] = []
    for _ in range(3):
        used.append(await chain.writer.next_slot(chain.relayer_address, used))
    assert len({slot.text for slot in used}) == 3
    await release(chain, item(1, chain.recipient, chain.asset))
    assert (await chain.writer.next_slot(chain.relayer_address, ())).text == used[1].text
    assert (await chain.writer.next_slot(chain.relayer_address, used)).text not in {
        slot.text for slot in used
    }


async def _slots_alone(chain: ChainUnderTest) -> bool:
    """No slot waits for another: there is nothing to fill."""
    signed = await signed_release(chain, item(1, chain.recipient, chain.asset))
    return await chain.writer.fill_slot(signed.prepared.slot) is None


async def test_writer__gap_in_the_slots__is_healed_by_a_filler(chain: ChainUnderTest) -> None:
    """F42: what waits behind a lost transaction moves once its slot is used up."""
    if not chain.slotted:
        assert await _slots_alone(chain)
        return
    waiting = await signed_release(chain, item(1, chain.recipient, chain.asset), used=1)
    await chain.writer.broadcast(waiting)
    await chain.mine()
    assert (await chain.writer.status(waiting.ref, waiting.prepared.slot)).state is TxState.PENDING
    gap = await chain.writer.next_slot(chain.relayer_address, ())
    filler = await chain.writer.fill_slot(gap)
    assert filler is not None
    await chain.writer.broadcast(await chain.relayer.sign_transaction(filler))
    await chain.mine(2)
    assert len(await told(chain, ReleaseFinal)) == 1


async def test_writer__item_done_already__is_skipped_with_an_event_and_never_twice(
    chain: ChainUnderTest,
) -> None:
    """F46: two relayers racing are harmless."""
    done = item(1, chain.recipient, chain.asset)
    fresh = [] if not chain.skips else [item(2, chain.recipient, chain.asset)]
    racing = await signed_release(chain, done, *fresh, used=1 if chain.skips else 0)
    await chain.mine()
    await release(chain, done)
    with suppress(Ambiguous):
        await chain.writer.broadcast(racing)
    await chain.mine()
    if not chain.skips:
        assert len(await told(chain, ReleaseFinal)) == 1
        assert await chain.shares_of(chain.recipient) == SHARE
        return
    (skipped,) = await told(chain, ReleaseSkipped)
    assert isinstance(skipped, ReleaseSkipped)
    assert (skipped.nonce, skipped.reason) == (done.nonce, SkipReason.ALREADY_RELEASED)
    assert len(await told(chain, ReleaseFinal)) == 2
    assert await chain.shares_of(chain.recipient) == 2 * SHARE


async def test_writer__item_would_be_skipped__simulation_names_it(chain: ChainUnderTest) -> None:
    done = item(1, chain.recipient, chain.asset)
    await release(chain, done)
    await chain.finalize()
    others = [item(2, chain.recipient, chain.asset)][: chain.batch_items_max - 1]
    signed = await signed_release(chain, done, *others)
    assert [refused for refused, _ in signed.prepared.refused] == [key(chain, done)]
    assert signed.prepared.refused[0][1]


async def test_writer__cancelled_item__can_never_be_released(chain: ChainUnderTest) -> None:
    """INV-02: the cancel excludes the release for ever."""
    await release(chain, item(1, chain.recipient, chain.asset, action=Action.CANCEL))
    late = await attempt(chain, item(1, chain.recipient, chain.asset))
    assert len(await told(chain, CancelFinal)) == 1
    await said_why(chain, late, SkipReason.ALREADY_CANCELLED)
    assert await told(chain, ReleaseFinal) == []
    assert await chain.shares_of(chain.recipient) == 0


async def test_writer__released_item__can_never_be_cancelled(chain: ChainUnderTest) -> None:
    """INV-02: otherwise its refund would be a second release."""
    await release(chain, item(1, chain.recipient, chain.asset))
    late = await attempt(chain, item(1, chain.recipient, chain.asset, action=Action.CANCEL))
    assert await told(chain, CancelFinal) == []
    await said_why(chain, late, SkipReason.ALREADY_RELEASED)


async def test_writer__one_item_is_refused__the_others_of_the_batch_land(
    chain: ChainUnderTest,
) -> None:
    """F58: a paused asset stays open and takes nobody down; it lands once un-paused."""
    unknown = replace(item(1, chain.recipient, chain.asset), asset=AssetId(bytes(31) + b"\x05"))
    cancel = item(2, chain.recipient, chain.asset, action=Action.CANCEL)
    good = item(3, chain.recipient, chain.asset)
    if not chain.skips or not chain.assets_mix:
        with pytest.raises(REFUSED):
            await signed_release(chain, unknown)
        await release(chain, cancel, good)
        assert len(await told(chain, ReleaseFinal, CancelFinal)) == 2
        return
    await release(chain, unknown, cancel, good)
    (skipped,) = await told(chain, ReleaseSkipped)
    assert isinstance(skipped, ReleaseSkipped)
    assert (skipped.nonce, skipped.reason) == (unknown.nonce, SkipReason.ASSET_UNKNOWN)
    assert len(await told(chain, ReleaseFinal, CancelFinal)) == 2


async def test_writer__asset_paused__item_stays_open_until_it_is_not(
    chain: ChainUnderTest,
) -> None:
    """F58: nothing is lost by a pause."""
    waiting = item(1, chain.recipient, chain.asset)
    await chain.set_paused(paused=True)
    late = await attempt(chain, waiting)
    await said_why(chain, late, SkipReason.ASSET_PAUSED)
    assert list(await chain.writer.find_executions([key(chain, waiting)])) == [None]
    await chain.set_paused(paused=False)
    await release(chain, waiting)
    assert len(await told(chain, ReleaseFinal)) == 1


async def test_writer__too_few_guards__nothing_could_land(chain: ChainUnderTest) -> None:
    """F82, F84: no one key mints."""
    batch = await batch_of(chain, item(1, chain.recipient, chain.asset))
    for signers in range(chain.threshold):
        order = await authorise(chain, batch, signers)
        slot = await chain.writer.next_slot(chain.relayer_address, (), order)
        with pytest.raises(REFUSED):
            await chain.writer.prepare(order, slot)


async def _prepared(chain: ChainUnderTest, batch: ReleaseBatch) -> PreparedTx:
    """The batch signed by its guards and prepared."""
    order = await authorise(chain, batch)
    slot = await chain.writer.next_slot(chain.relayer_address, (), order)
    return await chain.writer.prepare(order, slot)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 2},
        {"deadline": 1},
        {"deadline": 2**40},
        {"bridge": Address32(b"\0" * 12 + b"\x22" * 20)},
    ],
    ids=["epoch", "expired", "too_far", "bridge"],
)
async def test_writer__permit_for_another_time_or_place__could_not_land(
    chain: ChainUnderTest, change: dict[str, int]
) -> None:
    """INV-08: a guard's signature is useless anywhere but where it was given for."""
    batch = await batch_of(chain, item(1, chain.recipient, chain.asset))
    changed: ReleaseBatch = replace(batch, **change)  # type: ignore[arg-type]
    with pytest.raises(REFUSED):
        await _prepared(chain, changed)


async def test_writer__content_changed_after_signing__could_not_land(
    chain: ChainUnderTest,
) -> None:
    """INV-03, INV-08: the relayer can not change what was granted."""
    batch = await batch_of(chain, item(1, chain.recipient, chain.asset))
    order = await authorise(chain, batch)
    richer = replace(batch, items=(item(1, chain.recipient, chain.asset, amount=2 * SHARE),))
    slot = await chain.writer.next_slot(chain.relayer_address, (), order)
    richer = replace(richer, terms=batch.terms)
    with pytest.raises(REFUSED):
        await chain.writer.prepare(replace(order, batch=richer), slot)


async def test_writer__key_of_another_destination__is_refused(chain: ChainUnderTest) -> None:
    other = Domain.TRON if chain.domain is not Domain.TRON else Domain.TON
    stranger = key(chain, item(1, chain.recipient, chain.asset))._replace(destination=other)
    with pytest.raises(REFUSED):
        await chain.writer.find_executions([stranger])

"""A burn becomes a release: the plain road, and what guards and batches may do to it."""

from dataclasses import replace

import pytest

from tests.services.relayer.faults import Wrapped
from tests.services.relayer.world import ASSET, CHAINS, OTHER, World
from xstock_chains.fake import FakeSigner
from xstock_chains.fake.state import AssetRules
from xstock_chains.ports import PreparedTx, ReleaseOrder, SendSlot, TxStatus
from xstock_core.ids import Domain
from xstock_core.observation import TxRef
from xstock_core.refusal import Reason, refuse
from xstock_core.review import Scope
from xstock_core.transfer import Phase
from xstock_runtime.errors import InvalidMessage


async def test_relayer__burns_on_both_chains__each_released_once_in_few_batches() -> None:
    world = World()
    await world.relayer.start()
    world.burn(30)
    world.burn(20, source=Domain.BNB, asset=OTHER)
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 50}
    for domain, count in zip(CHAINS, (20, 30), strict=True):
        minted = world.minted(domain)
        assert len(minted) == count
        assert set(minted.values()) == {1}
    assert len(world.disk.batches) == 2


async def test_relayer__one_guard_dead__releases_by_the_other_two() -> None:
    world = World()
    world.guards["guard-2"].away = True
    await world.relayer.start()
    world.burn(5)
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 5}


async def test_relayer__two_guards_dead__nothing_is_released_and_all_resumes() -> None:
    world = World()
    for name in ("guard-2", "guard-3"):
        world.guards[name].away = True
    await world.relayer.start()
    world.burn(2)
    await world.settle(turns=5)
    assert world.minted(Domain.BNB) == {}
    world.guards["guard-3"].away = False
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 2}


async def test_relayer__guard_holds__asked_again_until_it_grants() -> None:
    world = World()
    await world.relayer.start()
    held = refuse(Reason.SOURCE_NOT_FINAL)
    for name in ("guard-1", "guard-2"):
        world.guards[name].verdict_of = lambda _: held
    world.burn(1)
    await world.settle(turns=3)
    assert world.phases() == {Phase.HELD: 1}
    for guard in world.guards.values():
        guard.verdict_of = type(guard)("x").verdict_of
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 1}


async def test_relayer__guards_park__shown_as_parked_and_retry_asks_anew() -> None:
    world = World()
    await world.relayer.start()
    parked = refuse(Reason.SCREENED)
    for name in ("guard-1", "guard-2"):
        world.guards[name].verdict_of = lambda _: parked
    world.burn(1)
    await world.settle(turns=4)
    (waiting,) = await world.relayer.operator.list_parked(None, 10)
    assert waiting.view.waiting_for is not None
    assert [alarm.code for alarm in world.disk.alarms] == ["TRANSFER_PARKED"]
    for guard in world.guards.values():
        guard.verdict_of = type(guard)("x").verdict_of
    await world.relayer.operator.retry_parked(waiting.id, "screened by mistake", "alice")
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 1}


async def test_releaser__guard_refuses_one_item__rest_is_released_without_it() -> None:
    world = World()
    await world.relayer.start()
    world.burn(4)
    await world.observe()
    bad = sorted(world.disk.transfers)[0]
    for guard in world.guards.values():
        guard.sign_refusals[bad] = refuse(Reason.CAP_EXCEEDED)
    await world.settle(turns=8)
    assert world.phases() == {Phase.RELEASED: 3, Phase.HELD: 1}
    for guard in world.guards.values():
        guard.sign_refusals.clear()
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 4}


async def test_releaser__guard_signs_with_a_foreign_key__avoided_and_never_sent() -> None:
    world = World()
    world.guards["guard-1"].forger = FakeSigner(b"thief")
    await world.relayer.start()
    world.burn(3)
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 3}
    signers = {s.signer for b in world.disk.batches.values() for s in b.order.signatures}
    assert len(signers) == 2


async def test_releaser__recipient_refuses__item_stays_open_and_others_go() -> None:
    world = World()
    await world.relayer.start()
    world.burn(2)
    chain = world.chains[Domain.BNB]
    chain.set_rules(OTHER, AssetRules(paused=True))
    chain.mine()
    world.burn(1, asset=OTHER)
    await world.settle(turns=12)
    assert world.phases()[Phase.RELEASED] == 2
    chain.set_rules(OTHER, AssetRules())
    chain.mine()
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 3}


async def test_operator__halt_of_an_asset__stops_it_alone_and_two_people_clear_it() -> None:
    world = World()
    await world.relayer.start()
    await world.relayer.operator.halt("h1", Scope(asset=ASSET), "drill", "alice")
    world.burn(1)
    world.burn(1, asset=OTHER)
    await world.settle(turns=6)
    assert world.phases() == {Phase.RELEASED: 1, Phase.AUTHORIZED: 1}
    await world.crash()
    assert not (await world.relayer.operator.resume("h1", "bob"))[0]
    assert not (await world.relayer.operator.resume("h1", "bob"))[0]
    assert (await world.relayer.operator.resume("h1", "carol"))[0]
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 2}


@pytest.mark.parametrize("size", [1, 7])
async def test_relayer__batch_limit__never_exceeded(size: int) -> None:
    world = World(batch_items_max=size)
    await world.relayer.start()
    world.burn(20)
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 20}
    assert max(len(b.transfer_ids) for b in world.disk.batches.values()) == size


async def test_releaser__one_item_makes_every_batch_revert__the_others_are_released() -> None:
    world = World()
    await world.relayer.start()
    world.burn(8)
    await world.observe()
    poison = sorted(world.disk.transfers)[3]
    nonce = world.disk.transfers[poison].state.message.nonce  # type: ignore[union-attr]
    writer = world.writers[Domain.BNB]

    async def prepare(order: ReleaseOrder, slot: SendSlot) -> PreparedTx:
        if any(item.nonce == nonce for item in order.batch.items):
            raise InvalidMessage("BATCH_TOO_LARGE", "needs more gas than a transaction may have")
        return await writer.prepare(order, slot)

    world.writers[Domain.BNB] = Wrapped(writer, prepare=prepare)
    await world.crash()
    await world.settle(turns=30)
    assert world.phases() == {Phase.RELEASED: 7, Phase.AUTHORIZED: 1}


async def test_sender__node_answers_nonsense__waited_out_and_nothing_crashes() -> None:
    """F37: a malformed answer is a typed error that holds the slot."""
    world = World()
    await world.relayer.start()
    writer = world.writers[Domain.BNB]
    nonsense = 6

    async def status(tx: TxRef, slot: SendSlot) -> TxStatus:
        nonlocal nonsense
        nonsense -= 1
        if nonsense > 0:
            raise InvalidMessage("RPC_ANSWER_INVALID", "receipt.status: None is no quantity")
        return await writer.status(tx, slot)

    world.writers[Domain.BNB] = Wrapped(writer, status=status)
    await world.crash()
    world.burn(2)
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 2}


async def test_relayer__guards_rotated__permits_of_the_old_epoch_are_signed_anew() -> None:
    world = World()
    await world.relayer.start()
    world.burn(1)
    await world.settle()
    chain = world.chains[Domain.BNB]
    chain.rotate_guards(replace(chain.config.guards, epoch=2))
    chain.mine()
    world.burn(1)
    await world.settle(turns=30)
    assert world.phases() == {Phase.RELEASED: 2}
    assert {batch.order.batch.epoch for batch in world.disk.batches.values()} == {1, 2}

"""The way back with the books in PostgreSQL: every fact of it survives a process that dies."""

from tests.services.relayer.faults import WorldMaker
from tests.services.relayer.test_returning import HELD, a_paper, held, judge
from xstock_core.ids import Domain
from xstock_core.refusal import GRANTED, Reason, refuse
from xstock_core.transfer import Phase


async def test_cancel__process_killed_at_every_turn__refunded_from_the_database(
    make_world: WorldMaker,
) -> None:
    world = make_world()
    (lost,) = await held(world)
    paper = a_paper(lost)
    await world.relayer.returner.cancel(lost, "back please", "alice", paper)
    await world.crash()
    for _ in range(25):
        await world.step()
        for chain in world.chains.values():
            chain.mine()
        await world.clock.advance(1.0)
        await world.crash()
    (original,) = await world.refresh()
    assert original.view.phase is Phase.REFUNDED
    assert original.order == paper.signed
    refund_id = original.state.refund_id
    assert refund_id is not None
    refund = (await world.books.transfers([refund_id]))[refund_id]
    assert refund.view.phase is Phase.RELEASED
    (due,) = refund.state.dues
    assert due.original == lost
    assert len(world.on_chain(Domain.ETHEREUM)[1]) == 1


async def test_cancel__withdrawn_and_asked_again__is_remembered_in_order(
    make_world: WorldMaker,
) -> None:
    world = make_world()
    (lost,) = await held(world)
    for guard in world.guards.values():
        guard.sign_refusals[lost] = refuse(Reason.NOT_CANCELLABLE)
    await world.relayer.returner.cancel(lost, "back please", "alice", a_paper(lost))
    await world.settle(turns=5)
    await world.crash()
    (withdrawn,) = await world.refresh()
    assert withdrawn.view.phase is Phase.HELD
    assert withdrawn.state.cancel_sequence == 1
    for guard in world.guards.values():
        guard.sign_refusals.clear()
    await world.relayer.returner.cancel(lost, "once more", "alice", a_paper(lost))
    judge(world, lambda t: GRANTED if t.id != lost else HELD)
    await world.settle(turns=20)
    assert world.phases() == {Phase.REFUNDED: 1}

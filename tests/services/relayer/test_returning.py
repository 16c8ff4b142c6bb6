"""The way back: cancel at the destination, final, then the REFUND on the source, whatever happens
in between; and a cancellation that loses its race ends in the release."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.builders import a_refund, an_issue, id_of
from tests.services.relayer.faults import Wrapped
from tests.services.relayer.world import (
    ASSET,
    HOLDER,
    RECIPIENT,
    SHARE,
    ScriptedGuard,
    World,
)
from xstock_chains.fake.state import AssetRules
from xstock_core.facts import OrderAccepted, RefundDue
from xstock_core.ids import Address32, Domain, TransferId
from xstock_core.message import Kind
from xstock_core.observation import CancelFinal, ReleaseFinal
from xstock_core.refusal import GRANTED, Reason, Verdict, refuse
from xstock_core.release import Action
from xstock_core.transfer import FundsAt, Phase
from xstock_relayer.handlers.following import quorum_for
from xstock_relayer.handlers.returning import CancelPaper
from xstock_relayer.model import Change, SignedOrder, Transfer
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient
from xstock_runtime.hashing import keccak256

HELD = refuse(Reason.RATE_LIMITED)
PARKED = refuse(Reason.SCREENED)


def judge(world: World, verdict_of: Callable[[Transfer], Verdict]) -> None:
    """What every guard says from now on."""
    for guard in world.guards.values():
        guard.verdict_of = verdict_of


def only_refunds(transfer: Transfer) -> Verdict:
    """A verdict that holds every TRANSFER and lets what flows back pass."""
    message = transfer.state.message
    return GRANTED if message is not None and message.kind is Kind.REFUND else HELD


def a_paper(transfer_id: TransferId, expires: int = 2**40) -> CancelPaper:
    """A holder's request as the relayer reads it."""
    signed = SignedOrder("cancel-request", b"please " + transfer_id, "evm", b"\x01" * 65)
    return CancelPaper(transfer_id, expires, signed)


async def held(world: World, verdict: Verdict = HELD, count: int = 1) -> list[TransferId]:
    """Burns whose transfers the guards hold (or have parked); what flows back they grant."""
    await world.relayer.start()
    judge(world, lambda t: GRANTED if only_refunds(t) is GRANTED else verdict)
    world.burn(count)
    await world.settle(turns=4)
    return [transfer.id for transfer in world.transfers]


async def cancel(world: World, transfer_id: TransferId, paper: bool = True) -> Transfer:
    """The holder (or an operator) asks."""
    request = a_paper(transfer_id) if paper else None
    return await world.relayer.returner.cancel(transfer_id, "I want them back", "alice", request)


async def refund_of(world: World, transfer_id: TransferId) -> Transfer:
    """The REFUND's own transfer."""
    refund_id = world.disk.transfers[transfer_id].state.refund_id
    assert refund_id is not None
    return world.disk.transfers[refund_id]


def supply(world: World) -> int:
    """Shares minted and never burned, over both chains, beyond the openings."""
    total = 0
    for domain in world.chains:
        burns, releases = world.on_chain(domain)
        total += sum(one.amount for one in releases) - sum(b.message.amount for b in burns)
    return total


@pytest.mark.parametrize("verdict", [HELD, PARKED])
async def test_cancel__held_or_parked__flows_back_to_the_holder(verdict: Verdict) -> None:
    world = World()
    (lost,) = await held(world, verdict)
    assert (await cancel(world, lost)).view.phase is Phase.CANCELLING
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 1}
    assert world.minted(Domain.BNB) == {}
    (back,) = world.on_chain(Domain.ETHEREUM)[1]
    assert (back.recipient, back.amount) == (HOLDER.address, SHARE)
    refund = await refund_of(world, lost)
    assert refund.view.phase is Phase.RELEASED
    assert refund.view.funds_at is FundsAt.RETURNED
    assert supply(world) == 0
    assert all(guard.papers[lost].kind == "cancel-request" for guard in signers_of_cancel(world))


def signers_of_cancel(world: World) -> list[ScriptedGuard]:
    """The guards that signed a batch of cancellations."""
    return [
        guard
        for guard in world.guards.values()
        if any(batch.items[0].action is Action.CANCEL for batch, _ in guard.signed)
    ]


async def test_cancel__many_at_once__never_mixed_with_releases() -> None:
    world = World()
    ids = await held(world, count=6)
    judge(world, lambda _: GRANTED)
    for transfer_id in ids[:3]:
        await cancel(world, transfer_id)
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 3, Phase.RELEASED: 3}
    for batch in world.disk.batches.values():
        assert len({item.action for item in batch.order.batch.items}) == 1
    assert supply(world) == 0


async def test_cancel__process_killed_at_every_turn__resumes() -> None:
    world = World()
    (lost,) = await held(world)
    await cancel(world, lost)
    for _ in range(40):
        await world.crash()
        await world.step()
        for chain in world.chains.values():
            chain.mine()
        await world.clock.advance(1.0)
    await world.refresh()
    assert world.phases() == {Phase.REFUNDED: 1}
    assert len(world.on_chain(Domain.ETHEREUM)[1]) == 1


@pytest.mark.parametrize("kind", [Transient, Ambiguous])
async def test_cancel__commit_fails_between_any_two_writes__nothing_is_lost(
    kind: type[Transient] | type[Ambiguous],
) -> None:
    """The cancellation's end and the refund's beginning are one transaction."""
    world = World()
    (lost,) = await held(world)
    await cancel(world, lost)
    turns = 0

    async def commit(change: Change) -> None:
        nonlocal turns
        turns += 1
        if kind is Ambiguous:
            await world.books.commit(change)
        if turns % 3 == 0:
            raise kind("COMMIT_UNKNOWN", "the reply was lost")
        if kind is Transient:
            await world.books.commit(change)

    failing = Wrapped(world.books, commit=commit)
    world.relayer = world.make_relayer(failing)
    await world.relayer.start()
    for _ in range(60):
        try:
            await world.step()
        except (Transient, Ambiguous):
            world.relayer = world.make_relayer(failing)
            await world.relayer.desk.recover()
        for chain in world.chains.values():
            chain.mine()
        await world.clock.advance(1.0)
    await world.refresh()
    assert world.phases() == {Phase.REFUNDED: 1}
    assert supply(world) == 0


async def test_cancel__release_lands_first__ends_released_and_nothing_flows_back() -> None:
    """Both permits were out: a stranger sends the release that the relayer's node had lost."""
    world = World()
    await world.relayer.start()
    world.burn(1)
    await world.observe()
    await world.relayer.review()
    lost = next(iter(world.disk.transfers))
    for _ in range(3):
        await world.relayer.release()
    assert world.disk.transfers[lost].state.attempts
    after = await cancel(world, lost, paper=False)
    assert after.view.phase is Phase.CANCELLING
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 1}
    assert world.minted(Domain.BNB).total() == 1
    assert world.on_chain(Domain.ETHEREUM)[1] == []
    assert world.disk.transfers[lost].state.refund_id is None


async def test_cancel__lands_before_the_release__the_release_is_skipped() -> None:
    """The other way round: a signed release comes too late, and the shares flow back once."""
    world = World()
    await world.relayer.start()
    chain = world.chains[Domain.BNB]
    chain.set_rules(ASSET, AssetRules(paused=True))
    world.burn(1)
    await world.settle(turns=3)
    (lost,) = world.disk.transfers
    await cancel(world, lost, paper=False)
    await world.settle(turns=3)
    chain.set_rules(ASSET, AssetRules())
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 1}
    assert world.minted(Domain.BNB) == {}
    assert supply(world) == 0


async def test_cancel__refused_for_good_by_too_many__withdrawn_and_goes_on() -> None:
    world = World()
    (lost,) = await held(world)
    for name in ("guard-1", "guard-3"):
        world.guards[name].sign_refusals[lost] = refuse(Reason.NOT_CANCELLABLE, remedy="approve")
    await cancel(world, lost)
    await world.settle(turns=6)
    assert world.phases() == {Phase.HELD: 1}
    assert "CANCEL_REFUSED" in [alarm.code for alarm in world.disk.alarms]
    for guard in world.guards.values():
        guard.sign_refusals.clear()
    judge(world, lambda _: GRANTED)
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 1}


async def test_cancel__refused_by_one__the_others_sign() -> None:
    world = World()
    (lost,) = await held(world)
    world.guards["guard-1"].sign_refusals[lost] = refuse(Reason.NOT_CANCELLABLE)
    await cancel(world, lost)
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 1}


async def test_cancel__guards_are_away__waits_and_resumes() -> None:
    world = World()
    (lost,) = await held(world)
    for name in ("guard-1", "guard-2"):
        world.guards[name].away = True
    await cancel(world, lost)
    await world.settle(turns=5)
    assert world.phases() == {Phase.CANCELLING: 1}
    for guard in world.guards.values():
        guard.away = False
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 1}


async def test_cancel__asked_again__changes_nothing() -> None:
    world = World()
    (lost,) = await held(world)
    first = await cancel(world, lost)
    assert (await cancel(world, lost)).state == first.state
    await world.settle()
    assert (await cancel(world, lost)).view.phase is Phase.REFUNDED


async def test_cancel__by_the_holder_of_what_goes_on__refused() -> None:
    world = World()
    await world.relayer.start()
    world.burn(1)
    await world.observe()
    (going,) = world.disk.transfers
    with pytest.raises(InvalidMessage, match="goes on by itself"):
        await cancel(world, going)
    await world.settle()
    with pytest.raises(InvalidMessage, match="for good"):
        await cancel(world, going, paper=False)


async def test_cancel__of_a_burn_that_nobody_verified__not_found() -> None:
    """F05: what is not a final burn of this relayer's own record never flows back."""
    world = World()
    await world.relayer.start()
    with pytest.raises(InvalidMessage) as refused:
        await cancel(world, TransferId(b"\x07" * 32), paper=False)
    assert refused.value.code == "TRANSFER_NOT_FOUND"
    assert world.disk.transfers == {}


@pytest.mark.parametrize("expired", [True, False])
async def test_cancel__paper_of_another_transfer_or_expired__refused(expired: bool) -> None:
    world = World()
    (lost,) = await held(world)
    paper = a_paper(lost, expires=1) if expired else a_paper(TransferId(b"\x07" * 32))
    with pytest.raises(InvalidMessage) as refused:
        await world.relayer.returner.cancel(lost, "back", "alice", paper)
    assert refused.value.code == "CANCEL_REQUEST_INVALID"
    assert world.disk.transfers[lost].view.phase is Phase.HELD


async def test_refund__cannot_be_cancelled() -> None:
    world = World()
    (lost,) = await held(world)
    await cancel(world, lost)
    judge(world, lambda _: HELD)
    await world.settle(turns=8)
    refund = await refund_of(world, lost)
    with pytest.raises(InvalidMessage, match="a refund always goes on"):
        await cancel(world, refund.id, paper=False)
    judge(world, lambda _: GRANTED)
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 1}


async def test_refund__source_refuses_the_recipient__parked_and_retried() -> None:
    """A REFUND that its chain refuses for good waits for a person; the shares are not lost."""
    world = World()
    (lost,) = await held(world)
    source = world.chains[Domain.ETHEREUM]
    source.refuse(HOLDER.address, refuses=True)
    await cancel(world, lost)
    await world.settle(turns=12)
    refund = await refund_of(world, lost)
    assert refund.view.phase is Phase.PARKED
    assert world.phases() == {Phase.REFUNDING: 1}
    (waiting,) = await world.relayer.operator.list_parked(None, 10)
    assert waiting.id == refund.id
    source.refuse(HOLDER.address, refuses=False)
    source.mine(3)
    await world.relayer.operator.retry_parked(refund.id, "no longer frozen", "bob")
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 1}


async def test_transfer__recipient_frozen_between_burn_and_mint__parked_then_flows_back() -> None:
    """F58: the reservation is kept while it is parked, and the holder may have the shares back."""
    world = World()
    await world.relayer.start()
    there = world.chains[Domain.BNB]
    there.refuse(RECIPIENT, refuses=True)
    there.mine(3)
    world.burn(1)
    await world.settle(turns=6)
    assert world.phases() == {Phase.PARKED: 1}
    (parked,) = world.transfers
    assert parked.view.funds_at is FundsAt.IN_FLIGHT
    await cancel(world, parked.id)
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 1}
    assert supply(world) == 0


async def test_refund__outcome_known_before_its_cancel__closed_all_the_same() -> None:
    """A restored database hears of the refund first, then of the cancel, then of the burn."""
    world = World()
    (lost,) = await held(world)
    await cancel(world, lost)
    await world.settle()
    seen = [n for watcher in world.watchers.values() for n in watcher.seen]
    fresh = World()
    fresh.chains, fresh.nodes = world.chains, world.nodes
    await fresh.relayer.start()
    backwards = sorted(seen, key=lambda n: isinstance(n.observation, ReleaseFinal), reverse=True)
    outcomes = [n for n in backwards if isinstance(n.observation, ReleaseFinal | CancelFinal)]
    for numbered in [*outcomes, *(n for n in backwards if n not in outcomes)]:
        await fresh.relayer.intake.take([numbered])
    assert fresh.disk.transfers[lost].view.phase is Phase.REFUNDED
    assert fresh.disk.early == []


async def test_redemption__paid__over_and_nothing_signed() -> None:
    world = World()
    await world.relayer.start()
    judge(world, lambda _: refuse(Reason.REDEMPTION_UNPAID))
    redeem(world)
    await world.settle(turns=3)
    assert world.phases() == {Phase.HELD: 1}
    judge(world, lambda _: GRANTED)
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 1}
    assert all(guard.signed == [] for guard in world.guards.values())


async def test_redemption__rejected__flows_back_from_custody() -> None:
    world = World()
    await world.relayer.start()
    rejected = refuse(Reason.REDEMPTION_REJECTED)
    judge(world, lambda t: GRANTED if only_refunds(t) is GRANTED else rejected)
    redeem(world)
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 1}
    (back,) = world.on_chain(Domain.ETHEREUM)[1]
    assert (back.source, back.recipient, back.amount) == (Domain.CUSTODY, HOLDER.address, SHARE)
    assert supply(world) == 0


def redeem(world: World) -> None:
    """The holder burns towards custody."""
    account = Address32(keccak256(b"custody account"))
    chain = world.chains[Domain.ETHEREUM]
    chain.burn(HOLDER.address, ASSET, Domain.CUSTODY, account, SHARE)
    chain.mine(3)


def test_quorum__from_custody__takes_what_survives_the_bad_guards() -> None:
    terms = replace(World().terms(), custody_threshold=3)
    assert quorum_for([OrderAccepted(an_issue(), 1)], terms) == 3
    assert quorum_for([RefundDue(a_refund(), id_of(a_refund()), 1)], terms) == 2
    assert quorum_for([OrderAccepted(an_issue(), 1)], World().terms()) == 2


async def test_cancel__while_it_is_under_way__no_guard_is_asked_to_grant_it() -> None:
    """A grant would stand in the way: the guard would wait for its own permit to expire."""
    world = World()
    (lost,) = await held(world)
    for name in ("guard-1", "guard-2"):
        world.guards[name].away = True
    await cancel(world, lost)
    asked = world.guards["guard-3"].reviewed[lost]
    await world.settle(turns=15)
    assert world.guards["guard-3"].reviewed[lost] == asked
    for guard in world.guards.values():
        guard.away = False
    await world.settle()
    assert world.phases() == {Phase.REFUNDED: 1}


async def test_cancel__after_a_restart__a_guard_that_never_looked_is_asked_to() -> None:
    world = World()
    world.guards["guard-2"].away = True
    (lost,) = await held(world)
    await cancel(world, lost)
    await world.crash()
    world.guards["guard-2"].away = False
    world.guards["guard-1"].away = True
    await world.settle()
    assert world.guards["guard-2"].reviewed[lost] > 0
    assert world.phases() == {Phase.REFUNDED: 1}


async def test_cancel__refused_whole_by_every_guard__keeps_no_release_waiting() -> None:
    """A request that guards cannot read must not starve everybody else's releases."""
    world = World()
    (stuck,) = await held(world)
    for guard in world.guards.values():
        guard.unread = Action.CANCEL
    await cancel(world, stuck)
    await world.settle(turns=4)
    judge(world, lambda _: GRANTED)
    world.burn(3)
    await world.settle()
    assert world.phases() == {Phase.CANCELLING: 1, Phase.RELEASED: 3}

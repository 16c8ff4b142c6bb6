"""What every `ChainOffice` promises: a pause that stops, a rotation that goes on where it stopped.

Each test has a fresh deployment. What an office says is never believed by itself: releases and
burns are tried on the chain afterwards, as a relayer and a holder would.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import ON_A_NODE
from tests.contract.driver import SHARE, GovernedChain, item
from tests.contract.fake_driver import FakeUnderTest
from xstock_chains.ports import (
    AdminAct,
    ExecutionState,
    GuardSet,
    GuardSignature,
    ReleaseOrder,
    StepState,
)
from xstock_core.ids import AssetId, Domain, InvalidId
from xstock_core.release import Action, ExecutionKey, ReleaseBatch, ReleaseItem
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient

DAY = 86_400
QUORUM = ("guard-0", "guard-1")


@pytest.fixture(scope="module", params=["fake", "evm", "tron", "solana", "ton"])
async def governed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[[], Any]]:
    """How to get a fresh deployment of each family."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "fake":

        async def fresh() -> GovernedChain:
            return FakeUnderTest(Domain.ETHEREUM, folder=folder)

        yield fresh
        return
    deployments = ON_A_NODE[request.param](folder)
    yield deployments.fresh
    await deployments.aclose()


@pytest.fixture
async def chain(governed: Callable[[], Any]) -> GovernedChain:
    """A fresh deployment."""
    found: GovernedChain = await governed()
    return found


async def order_by(
    chain: GovernedChain, batch: ReleaseBatch, guards: Sequence[str]
) -> ReleaseOrder:
    """The batch signed by these guards, whether the chain still has them or not."""
    named = dict(zip(chain.guard_ids, chain.guards, strict=True))
    digest = chain.codec.digest(batch)
    signatures = [
        GuardSignature(named[who].identity, await named[who].sign_digest(digest)) for who in guards
    ]
    return ReleaseOrder(batch, tuple(sorted(signatures, key=lambda one: one.signer)))


async def done(
    chain: GovernedChain, one: ReleaseItem, guards: Sequence[str] = QUORUM, epoch: int | None = None
) -> ExecutionState | None:
    """What became of an item that these guards sign and the relayer sends."""
    with suppress(InvalidMessage, InvalidId, Ambiguous, Transient):
        present = await chain.writer.guard_epoch() if epoch is None else epoch
        deadline = await chain.time() + 600
        batch = ReleaseBatch(chain.domain, chain.bridge, present, deadline, (one,))
        terms = await chain.writer.permit_terms(batch, chain.relayer_address, guards)
        order = await order_by(chain, replace(batch, terms=terms), guards)
        slot = await chain.writer.next_slot(chain.relayer_address, (), order)
        signed = await chain.relayer.sign_transaction(await chain.writer.prepare(order, slot))
        await chain.writer.broadcast(signed)
    await chain.mine()
    await chain.finalize()
    (found,) = await chain.writer.find_executions(
        [ExecutionKey(chain.domain, one.source, one.nonce)]
    )
    return None if found is None else found.state


def states(acts: Sequence[AdminAct]) -> list[StepState]:
    """How the acts stand."""
    return [act.state for act in acts]


async def pause(
    chain: GovernedChain, who: str = "agent", assets: Sequence[AssetId] | None = None
) -> Sequence[AdminAct]:
    """Pause with somebody's key while blocks come."""
    async with chain.blocks_coming():
        return await chain.office(who).pause(assets)


async def is_paused(chain: GovernedChain) -> bool:
    """Whether anything that stops the asset says so."""
    found = await chain.office(None).pause_states()
    return any(state.paused for state in found if state.asset in (None, chain.asset))


async def rotated(
    chain: GovernedChain, new: GuardSet, who: str | None = "admin", *, dry_run: bool = False
) -> list[AdminAct]:
    """One run of the rotation while blocks come."""
    keys = [chain.key_file(guard) for guard in QUORUM]
    async with chain.blocks_coming():
        return [act async for act in chain.office(who).rotate(new, keys, dry_run=dry_run)]


async def next_set(chain: GovernedChain, **changes: Any) -> GuardSet:
    """guard-0 goes, guard-3 comes, and all three must sign."""
    present = await chain.office(None).guard_set()
    _, *stay = (guard.identity for guard in chain.guards)
    new = GuardSet((*stay, chain.spare_guard.identity), 3, present.epoch + 1)
    return replace(new, **changes)


async def adopt(chain: GovernedChain, new: GuardSet) -> None:
    """The ports learn of the new set; the old guard can still sign."""
    guards = (*chain.guards, chain.spare_guard)
    await chain.adopt(guards, (*chain.guard_ids, "guard-3"), new)


# ---------------------------------------------------------------------- pauses


async def test_pause__by_the_agent__stops_releases_and_burns_not_redemption_nor_cancel(
    chain: GovernedChain,
) -> None:
    """The agent's key alone stops a chain with nothing else running."""
    assert await done(chain, item(1, chain.recipient, chain.asset)) is ExecutionState.RELEASED
    acts = await pause(chain)
    assert set(states(acts)) == {StepState.DONE}
    assert all(act.tx for act in acts)
    assert await is_paused(chain)
    assert await done(chain, item(2, chain.recipient, chain.asset)) is None
    assert not await chain.try_burn(SHARE)
    assert await chain.redeem(SHARE) is chain.redeems_while_paused
    cancel = item(2, chain.recipient, chain.asset, action=Action.CANCEL)
    assert await done(chain, cancel) is ExecutionState.CANCELLED


async def test_pause__twice__the_second_finds_it_done_and_sends_nothing(
    chain: GovernedChain,
) -> None:
    await pause(chain)
    again = await pause(chain)
    assert set(states(again)) == {StepState.ALREADY}
    assert not any(act.tx for act in again)


async def test_pause__one_asset__is_what_the_chain_shows(chain: GovernedChain) -> None:
    acts = await pause(chain, assets=[chain.asset])
    assert states(acts) == [StepState.DONE]
    found = {state.asset: state.paused for state in await chain.office(None).pause_states()}
    assert found.pop(chain.asset) is True
    assert not any(found.values())
    assert await done(chain, item(1, chain.recipient, chain.asset)) is None


async def test_pause__by_a_stranger__is_refused_by_name_and_nothing_is_sent(
    chain: GovernedChain,
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        await pause(chain, "stranger")
    assert refused.value.code == "KEY_MAY_NOT"
    assert "agent" in refused.value.message
    assert not await is_paused(chain)


async def test_pause__without_a_key__is_refused_and_looking_is_free(chain: GovernedChain) -> None:
    with pytest.raises(InvalidMessage) as refused:
        await chain.office(None).pause()
    assert refused.value.code == "KEY_MAY_NOT"
    assert not await is_paused(chain)


async def test_pause__unknown_asset__is_refused_with_those_there_are(chain: GovernedChain) -> None:
    with pytest.raises(InvalidMessage) as refused:
        await pause(chain, assets=[AssetId(b"\x05" * 32)])
    assert refused.value.code == "ASSET_UNKNOWN"
    assert not await is_paused(chain)


async def test_pause__same_key_again_within_seven_days__says_until_when_and_another_key_may(
    chain: GovernedChain,
) -> None:
    """An agent's key in wrong hands stops a chain for a day, not for good."""
    (first, *_) = await pause(chain)
    if not chain.pause_ends:
        assert first.until is None
        await chain.pass_time(DAY + 60)
        assert await is_paused(chain)
        return
    assert first.until is not None
    await chain.pass_time(DAY + 60)
    assert not await is_paused(chain)
    assert await done(chain, item(1, chain.recipient, chain.asset)) is ExecutionState.RELEASED
    with pytest.raises(InvalidMessage) as refused:
        await pause(chain)
    assert refused.value.code == "PAUSE_COOLDOWN"
    assert int(refused.value.metadata["until"]) == first.until + 6 * DAY
    await pause(chain, "guard-2")
    assert await is_paused(chain)


async def test_confirm_pause__by_fewer_than_m_guards__waits_and_by_m_has_no_end(
    chain: GovernedChain,
) -> None:
    await pause(chain)
    keys: list[Path] = [chain.key_file(guard) for guard in QUORUM]
    async with chain.blocks_coming():
        few = await chain.office(None).confirm_pause(keys[:1])
        enough = await chain.office(None).confirm_pause(keys)
        again = await chain.office(None).confirm_pause(keys)
    assert few[-1].state is (StepState.WAITING if chain.pause_ends else StepState.ALREADY)
    assert enough[-1].state is (StepState.DONE if chain.pause_ends else StepState.ALREADY)
    assert set(states(again)) == {StepState.ALREADY}
    await chain.pass_time(2 * DAY)
    assert await is_paused(chain)


async def test_unpause__by_who_may__waits_for_the_delay_and_lets_the_chain_go(
    chain: GovernedChain,
) -> None:
    await pause(chain)
    async with chain.blocks_coming():
        first = await chain.office(chain.lifts).unpause()
        early = await chain.office(chain.lifts).unpause()
    if chain.delay_seconds:
        assert {StepState.WAITING} == set(states(first)) & {StepState.WAITING, StepState.DONE}
        assert all(act.until for act in first if act.state is StepState.WAITING)
        assert await is_paused(chain)
        assert states(early) == states(first)
        await chain.pass_time(chain.delay_seconds + 60)
        async with chain.blocks_coming():
            await chain.office(chain.lifts).unpause()
    assert not await is_paused(chain)
    async with chain.blocks_coming():
        assert set(states(await chain.office(chain.lifts).unpause())) == {StepState.ALREADY}
    assert await done(chain, item(1, chain.recipient, chain.asset)) is ExecutionState.RELEASED


async def test_unpause__by_a_stranger__is_refused_by_name(chain: GovernedChain) -> None:
    """What a key may stop it may not start again by itself."""
    await pause(chain)
    async with chain.blocks_coming():
        with pytest.raises(InvalidMessage) as refused:
            await chain.office("stranger").unpause()
    assert refused.value.code == "KEY_MAY_NOT"
    assert await is_paused(chain)


# -------------------------------------------------------------------- rotation


async def test_rotation__a_guard_out_one_in_more_to_sign__only_the_new_set_releases(
    chain: GovernedChain,
) -> None:
    """After a rotation an old guard's signature is worth nothing, nor are M of before."""
    new = await next_set(chain)
    first = await rotated(chain, new)
    if chain.delay_seconds:
        assert first[-1].state is StepState.WAITING
        assert first[-1].until is not None
        assert (await chain.office(None).guard_set()).epoch == new.epoch - 1
        await chain.pass_time(chain.delay_seconds + 60)
        first = await rotated(chain, new)
    assert first[-1].state is StepState.DONE
    assert set(states(await rotated(chain, new))) == {StepState.ALREADY}
    await adopt(chain, new)
    found = await chain.office(None).guard_set()
    assert (set(found.identities), found.threshold, found.epoch) == (
        set(new.identities),
        new.threshold,
        new.epoch,
    )
    assert await chain.writer.guard_epoch() == new.epoch
    one = item(1, chain.recipient, chain.asset)
    assert await done(chain, one, QUORUM, epoch=new.epoch - 1) is None
    assert await done(chain, one, ("guard-0", "guard-1", "guard-2")) is None
    assert await done(chain, one, ("guard-1", "guard-2")) is None
    fine = await done(chain, one, ("guard-1", "guard-2", "guard-3"))
    assert fine is ExecutionState.RELEASED


async def test_rotation__stopped_in_the_middle_and_run_again__goes_on(
    chain: GovernedChain,
) -> None:
    new = await next_set(chain, threshold=2)
    keys = [chain.key_file(guard) for guard in QUORUM]
    async with chain.blocks_coming():
        run = chain.office("admin").rotate(new, keys)
        stopped = await anext(run)
        await run.aclose()  # type: ignore[attr-defined]
    assert stopped.state is StepState.DONE
    if chain.delay_seconds:
        (again, *_) = await rotated(chain, new)
        assert (again.name, again.state) == (stopped.name, StepState.ALREADY)
        await chain.pass_time(chain.delay_seconds + 60)
    assert (await rotated(chain, new))[-1].state in (StepState.DONE, StepState.ALREADY)
    await adopt(chain, new)
    assert (await chain.office(None).guard_set()).epoch == new.epoch
    one = item(1, chain.recipient, chain.asset)
    assert await done(chain, one, ("guard-1", "guard-3")) is ExecutionState.RELEASED


@pytest.mark.parametrize("threshold", [0, 1, 4])
async def test_rotation__insane_threshold__is_refused_before_anything_is_sent(
    chain: GovernedChain, threshold: int
) -> None:
    """F83: no majority, or more than there are."""
    before = await chain.office(None).guard_set()
    with pytest.raises(InvalidMessage) as refused:
        await rotated(chain, await next_set(chain, threshold=threshold))
    assert refused.value.code == "GUARD_SET_REFUSED"
    assert "2 to 3" in refused.value.message
    await chain.pass_time(chain.delay_seconds + 60)
    assert await chain.office(None).guard_set() == before


async def test_rotation__a_guard_twice_or_a_wrong_epoch__is_refused(chain: GovernedChain) -> None:
    """F83."""
    new = await next_set(chain)
    twice = replace(new, identities=(*new.identities[:2], new.identities[1]))
    with pytest.raises(InvalidMessage) as refused:
        await rotated(chain, twice)
    assert refused.value.code == "GUARD_SET_REFUSED"
    with pytest.raises(InvalidMessage) as refused:
        await rotated(chain, replace(new, epoch=new.epoch + 1))
    assert refused.value.code == "GUARD_EPOCH_UNEXPECTED"
    assert (await chain.office(None).guard_set()).epoch == new.epoch - 1


async def test_rotation__dry_run__plans_and_sends_nothing(chain: GovernedChain) -> None:
    new = await next_set(chain)
    planned = await rotated(chain, new, dry_run=True)
    assert planned
    assert set(states(planned)) == {StepState.PLANNED}
    again = await rotated(chain, new, None, dry_run=True)
    assert [(act.name, act.state) for act in again] == [(act.name, act.state) for act in planned]
    assert (await chain.office(None).guard_set()).epoch == new.epoch - 1


async def test_rotation__by_a_stranger__is_refused_by_name(chain: GovernedChain) -> None:
    """F84: neither a stranger nor the agent changes the guards."""
    new = await next_set(chain)
    for who in ("stranger", "agent"):
        with pytest.raises(InvalidMessage) as refused:
            async with chain.blocks_coming():
                [act async for act in chain.office(who).rotate(new)]
        assert refused.value.code == "KEY_MAY_NOT"
    assert (await chain.office(None).guard_set()).epoch == new.epoch - 1

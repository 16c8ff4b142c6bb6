"""People's defences taken out one by one, and the checks of `people.py` seen to fail."""

from dataclasses import replace

import pytest

from tests.services.supply_guard.faults import GRANTED
from tests.services.supply_guard.people import (
    ALICE,
    ListOf,
    agreed,
    announcement,
    audited,
    booked,
    decided,
    final_burn,
    orphaned,
    paused,
    proposed,
    ruled,
)
from tests.services.supply_guard.world import (
    ASSET,
    HOLDER,
    RECIPIENT,
    SHARE,
    STRANGER,
    World,
    id_of,
)
from xstock_chains.fake.state import AssetRules
from xstock_core.bucket import Bucket
from xstock_core.ids import Domain
from xstock_core.policy import (
    POLICIES,
    Policy,
    check_corporate_action,
    check_pause,
    check_screening,
    check_size,
    check_supply,
)
from xstock_core.signing import SIGNING_POLICIES
from xstock_supply_guard.handlers import post, proposals, review, standing
from xstock_supply_guard.handlers.denials import Denials, tell_denials
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.handlers.standing import submit_corporate_action
from xstock_supply_guard.model import Outcome, PolicyConfig, ProposalKind, SubmittedClaim


async def judged(world: World, claim: SubmittedClaim, *without: Policy) -> tuple[Outcome, str]:
    """The ruling of a guard without these policies."""
    policies = tuple(one for one in POLICIES if one not in without)
    ruling = (await review_transfers(world.desk, [claim], policies))[0]
    return ruling.outcome, ruling.reason


async def test_policies__each_removed__its_case_goes_through() -> None:
    world = World()
    await world.funded()
    claims = [await final_burn(world) for _ in range(4)]
    begun = await paused(world)
    assert await world.outcome(claims[0]) == (Outcome.HELD, "PAUSED")
    assert await judged(world, claims[0], check_pause) == GRANTED
    await world.clock.advance(begun.until - world.now)
    world.desk.screening = ListOf({HOLDER: "sanctions"})
    assert await world.outcome(claims[1]) == (Outcome.PARKED, "SCREENED")
    assert await judged(world, claims[1], check_screening) == GRANTED
    world.desk.screening = None
    ruled(world, manual_from=SHARE)
    assert await world.outcome(claims[2]) == (Outcome.PARKED, "MANUAL_REVIEW")
    assert await judged(world, claims[2], check_size) == GRANTED
    ruled(world, supply_age_seconds_max=1)
    await world.clock.advance(100)
    assert await world.outcome(claims[3]) == (Outcome.HELD, "SUPPLY_UNKNOWN")
    assert await judged(world, claims[3], check_supply) == GRANTED


async def test_window__removed__a_split_releases_between_two_truths() -> None:
    """F51."""
    world = World()
    await world.funded()
    message = await world.granted()
    world.chains[Domain.MANTLE].set_rules(ASSET, AssetRules(multiplier=10 * 10**18))
    await audited(world)
    assert (await world.sign(message)).refusals[0].reason == "CORPORATE_ACTION_WINDOW"
    policies = tuple(one for one in SIGNING_POLICIES if one is not check_corporate_action)
    assert (await sign_release(world.desk, world.request([message]), policies)).signature


async def test_second_person__removed__one_decides_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """F92: the same person twice."""
    world = World()
    await world.funded()
    ruled(world, manual_from=SHARE)
    claim = await final_burn(world)
    await world.outcome(claim)
    made = await proposed(world, ProposalKind.RELEASE, id_of(claim.message))
    monkeypatch.setattr(proposals, "_check_yes", lambda *_: None)
    monkeypatch.setattr(proposals, "missing", lambda _: "")
    await agreed(world, made, by=ALICE)
    assert await world.outcome(claim) == GRANTED


async def test_subject_check__removed__a_blank_approval_lets_a_listed_one_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Agreed to before anybody had seen it, it goes on as soon as it is asked for again."""
    world = World()
    await world.funded()
    world.desk.screening = ListOf({HOLDER: "sanctions"})
    claim = await final_burn(world)

    async def anything(*_: object) -> bytes:
        return b"SCREENED " + HOLDER.hex().encode()

    checks = {**proposals._CHECKS, ProposalKind.RELEASE: anything}
    monkeypatch.setattr(proposals, "_CHECKS", checks)
    await decided(world, ProposalKind.RELEASE, id_of(claim.message))
    assert await world.outcome(claim) == (Outcome.PARKED, "SCREENED")
    assert await world.outcome(claim) == GRANTED


async def test_exclusion__removed__an_orphan_is_written_off_and_refundable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.funded()
    orphan = await orphaned(world)
    used, _ = await booked(world)
    await decided(world, ProposalKind.ORPHAN_REFUND, orphan.nonce)

    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(proposals, "_check_orphan", nothing)
    await decided(world, ProposalKind.WRITE_OFF, orphan.nonce, request_id="r-2")
    assert (await booked(world))[0] == used - orphan.amount
    async with world.store.read() as books:
        assert await books.approved(ProposalKind.ORPHAN_REFUND, [orphan.nonce])


async def test_issuers_signature__unchecked__a_stranger_holds_an_asset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.funded()
    claim = await final_burn(world)
    monkeypatch.setattr(standing, "signed_by_issuer", lambda *_: True)
    await submit_corporate_action(world.desk, announcement(world, after=0, key=STRANGER))
    assert await world.outcome(claim) == (Outcome.HELD, "CORPORATE_ACTION_WINDOW")


async def test_back_flow__removed__two_way_traffic_runs_dry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """INV-11."""

    async def nothing(*_: object) -> None:
        return None

    bucket = Bucket(10 * SHARE, 0, 10 * SHARE, 0)
    outcomes = []
    for flows in (True, False):
        if not flows:
            monkeypatch.setattr(post, "flow_back", nothing)
        world = World(policy=PolicyConfig(bucket=bucket))
        await world.funded(10 * SHARE)
        claim = await final_burn(world, 5 * SHARE)
        assert await world.outcome(claim) == GRANTED
        await world.release([claim.message])
        world.mine()
        await world.scan()
        back = world.chains[Domain.BNB].burn(RECIPIENT, ASSET, Domain.ETHEREUM, HOLDER, 5 * SHARE)
        world.mine()
        await world.scan()
        outcomes.append(await world.outcome(world.claim(back)))
    assert outcomes == [GRANTED, (Outcome.HELD, "RATE_LIMITED")]


async def test_sequence_of_lists__unchecked__an_old_list_is_believed_after_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.funded()
    world.desk.screening = ListOf({HOLDER: "sanctions"}, sequence=9)
    claim = await final_burn(world)
    assert await world.outcome(claim) == (Outcome.PARKED, "SCREENED")
    world.desk.screening = ListOf(sequence=8)
    assert await world.outcome(claim) == (Outcome.HELD, "SCREENING_UNKNOWN")

    async def believed(_unit: object, said: object) -> object:
        return said

    monkeypatch.setattr(review, "settle_screening", believed)
    assert await world.outcome(claim) == GRANTED


async def test_denials__without_the_note_that_it_was_told__every_second_rings() -> None:
    """F85: one alarm, not one a second."""
    world = World()
    await world.funded()
    denials = Denials()
    for _ in range(6):
        denials.note("old-admin", "/x/Resume", world.clock.unix_ms())
    assert await tell_denials(world.desk, denials) == ("old-admin",)
    assert await tell_denials(world.desk, denials) == ()
    denials.tries["old-admin"] = replace(denials.tries["old-admin"], told=False)
    assert await tell_denials(world.desk, denials) == ("old-admin",)
    async with world.store.read() as books:
        told = [one for one in await books.alarms() if one.alarm.code == "DENIED"]
    assert len(told) == 1

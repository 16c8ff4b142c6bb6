"""Each defence taken out in the test's own composition, and the checker seen to fail.

Every test here makes a guard without one of its defences and shows that the attack of the suite
then goes through: so the suite's checks bite, and the defence is what stops the attack.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.services.supply_guard.faults import GRANTED, forged_claim, lie_of, narrow, queued
from tests.services.supply_guard.world import (
    ASSET,
    HOLDER,
    ISSUER,
    SHARE,
    STRANGER,
    World,
)
from xstock_chains.fake import FakeReader
from xstock_chains.quorum import Quorum
from xstock_core.ids import Domain, TransferId, counter_nonce
from xstock_core.invariants import InvariantViolation
from xstock_core.ledger import Entry
from xstock_core.observation import BurnFinal
from xstock_core.policy import (
    POLICIES,
    Policy,
    check_cap,
    check_collateral,
    check_evidence,
    check_executed,
    check_halt,
    check_issuance,
)
from xstock_core.review import Claim, IssueOrder
from xstock_core.signing import SIGNING_POLICIES, check_covered
from xstock_supply_guard.adapters import memory
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers import findings, halting, review, sign
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.halting import halt, resume
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import Outcome, Posted


def without(*policies: Policy) -> tuple[Policy, ...]:
    """The policies but these."""
    return tuple(policy for policy in POLICIES if policy not in policies)


async def test_evidence_check__removed__a_forged_burn_is_granted() -> None:
    """F01: without INV-01's check anything a relayer says would be signed."""
    world = World()
    await world.funded()
    claim = forged_claim(world)
    rulings = await review.review_transfers(world.desk, [claim], without(check_evidence))
    assert rulings[0].outcome is Outcome.GRANTED


class BelievesAnyone(Quorum):
    """A quorum that counts those who answer."""

    def _threshold(self, answered: int) -> int:
        return min(answered, 1)


async def test_provider_threshold__removed__a_lone_liar_is_believed() -> None:
    """F02: counted over live providers, dropping the honest ones lets the forged burn in."""
    world = World()
    await world.funded()
    world.mine()
    height = world.chains[Domain.ETHEREUM].final.number
    claim = forged_claim(world, block=height)
    nodes = world.nodes[Domain.ETHEREUM]
    nodes[0].faults.forged = (lie_of(claim, height),)
    nodes[1].faults.stopped = nodes[2].faults.stopped = True
    world.readers[Domain.ETHEREUM] = BelievesAnyone(
        [FakeReader(node) for node in nodes], 2, clock=world.clock
    )
    await world.scan(Domain.ETHEREUM)
    assert len(await forged_burns(world)) == 1


async def forged_burns(world: World) -> list[BurnFinal]:
    """Burns in the guard's books that the chain itself does not hold."""
    store = world.store
    assert isinstance(store, MemoryGuardStore)
    return [
        burn
        for burn in store.burns
        if world.chains[burn.place.block.chain].find(burn.place.tx.id) is None
    ]


async def test_cap_check__removed_from_the_policies__the_store_still_refuses() -> None:
    """F49: the conditional update is a second lock of its own."""
    world = World()
    await world.funded(100 * SHARE, held=150 * SHARE)
    policies = without(check_cap)
    with pytest.raises(InvariantViolation, match="INV-04"):
        await review.review_transfers(world.desk, [world.order(2, 51 * SHARE)], policies)
    book = (await read_books(world.desk, [ASSET])).assets[0]
    assert book.exposure == 100 * SHARE


async def test_cap_check__removed_in_both_places__exposure_passes_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F49, F52: then nothing stands between an order and the supply."""
    world = World()
    await world.funded(100 * SHARE, held=150 * SHARE)

    async def reserve(unit: memory._Unit, entry: Entry, cap: int) -> bool:
        await unit.post([Posted(entry, None)], [])
        return cap >= 0

    monkeypatch.setattr(memory._Unit, "reserve_issuance", reserve)
    rulings = await review.review_transfers(
        world.desk, [world.order(2, 51 * SHARE)], without(check_cap)
    )
    book = (await read_books(world.desk, [ASSET])).assets[0]
    assert rulings[0].outcome is Outcome.GRANTED
    assert book.exposure > book.cap


async def test_paper_signatures__unchecked__a_stranger_lifts_the_cap_and_issues() -> None:
    world = World()
    await world.funded()

    def anything(public_key: bytes, digest: bytes, signature: bytes) -> bool:
        return bool(public_key and digest and signature)

    world.desk.check_signature = anything
    signed = world.order(2, SHARE, key=STRANGER)
    assert signed.order is not None
    posed = replace(signed.order.statement, key_id=ISSUER.key_id)
    claim = replace(signed, order=replace(signed.order, statement=posed))
    assert await world.outcome(claim) == GRANTED


async def test_order_sequence__unchecked__a_number_is_skipped() -> None:
    world = World()
    await world.funded()
    rulings = await review.review_transfers(
        world.desk, [world.order(7, SHARE)], without(check_issuance)
    )
    assert rulings[0].outcome is Outcome.GRANTED


async def test_order_record__may_fall_and_the_cap_comes_first__a_reservation_never_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """INV-07, both locks out: the held order takes the place of the one that was granted."""
    monkeypatch.setattr(memory, "_rises", lambda _known, _new: True)
    cap_first = (*without(check_issuance), check_issuance)
    world = World()
    await world.funded()
    big, small = world.order(2, 5000 * SHARE), world.order(2, 5 * SHARE, life=600)
    assert await world.outcome(small) == GRANTED
    rulings = await review.review_transfers(world.desk, [big], cap_first)
    assert rulings[0].reason == "CAP_EXCEEDED"
    await world.clock.advance(3601)
    world.mine()
    await world.scan()
    book = (await read_books(world.desk, [ASSET])).assets[0]
    assert book.open_issuance == 5 * SHARE


async def test_order_numbers__compared_after_the_cap__a_used_number_waits_for_room() -> None:
    """The store's lock alone keeps the grant; the holder of a used number is told to wait."""
    world = World()
    await world.funded()
    small = world.order(2, 5 * SHARE)
    assert await world.outcome(small) == GRANTED
    cap_first = (*without(check_issuance), check_issuance)
    big = world.order(2, 5000 * SHARE)
    rulings = await review.review_transfers(world.desk, [big], cap_first)
    assert (rulings[0].outcome, rulings[0].reason) == (Outcome.HELD, "CAP_EXCEEDED")
    await world.release([small.message])
    world.mine()
    await world.scan()
    assert await world.halts() == []


async def test_order_beside_a_transfer__kept_unchecked__takes_the_issuers_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the two checks a stranger's paper closes a number of the issuer's sequence."""

    def believed(claims: Sequence[Claim]) -> dict[TransferId, IssueOrder]:
        return {
            one.transfer_id: IssueOrder(one.message, 2, 5, signature_valid=True) for one in claims
        }

    world = World()
    await world.funded()
    monkeypatch.setattr(review, "_early", lambda _desk, _claim, _missing: None)
    monkeypatch.setattr(review, "_orders", believed)
    tx = world.burn()
    world.mine()
    await world.scan()
    evil = replace(world.claim(tx), order=world.order(2, 1, key=STRANGER).order)
    assert await world.outcome(evil) == GRANTED
    assert await world.outcome(world.order(2, SHARE)) == (Outcome.REJECTED, "ALREADY_EXECUTED")


async def test_order_beside_a_transfer__let_past_the_shape_check__is_still_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the two checks the second holds alone: records come from the issuer's orders only."""
    monkeypatch.setattr(review, "_early", lambda _desk, _claim, _missing: None)
    world = World()
    await world.funded()
    tx = world.burn()
    world.mine()
    await world.scan()
    evil = replace(world.claim(tx), order=world.order(2, 1, key=STRANGER).order)
    assert await world.outcome(evil) == GRANTED
    assert await world.outcome(world.order(2, SHARE)) == GRANTED


async def test_collateral_age__unchecked__a_stale_attestation_counts() -> None:
    world = World()
    world.mine()
    await world.scan()
    await world.attest(SHARE, age=86_401)
    rulings = await review.review_transfers(
        world.desk, [world.order(1, 1)], without(check_collateral)
    )
    assert rulings[0].outcome is Outcome.GRANTED


async def test_signing_gate__without_cover_check__signs_on_an_attestation_of_zero() -> None:
    world = World()
    await world.funded()
    message = await world.granted()
    await world.attest(0, sequence=2)
    policies = tuple(one for one in SIGNING_POLICIES if one is not check_covered)
    answer = await sign_release(world.desk, world.request([message]), policies)
    assert answer.signature


async def test_signing_gate__without_halt_check__signs_through_a_halt() -> None:
    world = World()
    await world.funded()
    message = await world.granted()
    await halt(world.desk, asset=ASSET, chain=None, reason="x", by="agent", request_id="r")
    policies = tuple(one for one in SIGNING_POLICIES if one is not check_halt)
    answer = await sign_release(world.desk, world.request([message]), policies)
    assert answer.signature


async def test_signing_gate__without_executed_check__signs_what_was_released() -> None:
    world = World()
    await world.funded()
    message = await world.granted()
    await world.release([message])
    world.mine()
    await world.scan()
    policies = tuple(one for one in SIGNING_POLICIES if one is not check_executed)
    answer = await sign_release(world.desk, world.request([message]), policies)
    assert answer.signature


async def test_start_gate__removed__a_fresh_guard_signs_before_it_has_read() -> None:
    world = World()
    await world.funded()
    message = await world.granted()
    world.desk = world.new_desk()
    world.desk.live.caught_up.update(world.chains)
    assert (await world.sign(message)).signature


async def test_two_people__one_is_made_enough__one_person_resumes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.funded()
    latched = await halt(
        world.desk, asset=ASSET, chain=None, reason="x", by="agent", request_id="r"
    )
    monkeypatch.setattr(halting, "APPROVERS_MIN", 1)
    cleared, _ = await resume(world.desk, halt_id=latched.id, by="operator-1", reason="looked")
    assert cleared


async def test_unmatched_release__finding_removed__a_forged_mint_stays_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.funded()
    await world.release([forged_claim(world).message])
    world.mine()
    await world.scan(Domain.BNB)
    await world.clock.advance(60)
    monkeypatch.setattr(findings, "unmatched", lambda *_: None)
    world.mine()
    await world.scan()
    assert await world.halts() == []


async def test_supply_audit__never_run__an_outside_mint_stays_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.funded()
    world.chains[Domain.BNB].mint_outside(ASSET, HOLDER, 10**18)
    world.mine()
    monkeypatch.setattr(findings, "minted_outside", lambda _: None)
    await world.scan()
    assert await world.halts() == []


async def test_queue__forgotten_between_pages__a_newcomer_overtakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """INV-11: without the stored queue, first in is first out within one page only."""
    world = World(policy=narrow())
    claims = await queued(world)

    async def nobody(*_: object) -> dict[object, object]:
        return {}

    monkeypatch.setattr(memory._Unit, "waiting", nobody)
    assert await world.outcome(claims[3]) == GRANTED


async def test_forgotten_permits__wait_removed__a_restored_guard_signs_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F47: two permits for one claim may then be alive, one of them unknown to its guard."""
    world = World()
    await world.funded()
    message = await world.granted()
    assert isinstance(world.store, MemoryGuardStore)
    world.store.identity = "promoted standby"
    assert (await world.sign(message)).refusals[0].reason == "SIGNING_DISABLED"
    monkeypatch.setattr(sign, "waits_for_permits", lambda *_: "")
    assert (await world.sign(message)).signature


async def test_order_form__finding_removed__a_mint_in_custodys_name_stays_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.funded()
    nonce = counter_nonce(world.chains[Domain.BNB].config.bridge, 2)
    monkeypatch.setattr(findings, "no_order", lambda _: None)
    # The books notice too: it is booked as a redemption given back, and there was none.
    monkeypatch.setattr(findings, "overdrawn", lambda _: ())
    await world.release([replace(world.order(2, SHARE).message, nonce=nonce)])
    world.mine()
    await world.scan()
    assert await world.halts() == []

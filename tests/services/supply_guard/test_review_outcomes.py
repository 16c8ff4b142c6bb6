"""What a review leaves behind, whole: rulings with their figures, journal lines, alarms, queues.

Each test looks at everything that a page of claims changed and at nothing inside the handler. The
limits stand at their last allowed value and one beyond it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.services.supply_guard.faults import GRANTED, forged_claim
from tests.services.supply_guard.people import ListOf, final_burn, lines_of
from tests.services.supply_guard.world import (
    ASSET,
    CHAINS,
    HOLDER,
    ISSUER,
    OTHER,
    RECIPIENT,
    SHARE,
    STRANGER,
    World,
    id_of,
)
from xstock_chains.fake.state import AssetRules
from xstock_core.amount import Shares
from xstock_core.bucket import Bucket, BucketKey
from xstock_core.ids import AssetId, Domain, TransferId, nonce_counter
from xstock_core.invariants import InvariantViolation
from xstock_core.ledger import entries_of
from xstock_core.policy import (
    POLICIES,
    Policy,
    check_cap,
    check_chain_balance,
    check_collateral,
    check_corporate_action,
    check_evidence,
)
from xstock_core.refund import refund_of
from xstock_core.refusal import Reason, Verdict, refuse
from xstock_core.review import Claim, Context
from xstock_core.signing import SIGNING_POLICIES
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers.lines import order_paper_line, ruling_line
from xstock_supply_guard.handlers.review import (
    PARKED,
    RULINGS_PER_LINK_MAX,
    WAITING_SECONDS_MAX,
    review_transfers,
)
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import (
    Alarm,
    ClaimRecord,
    IssueRecord,
    OrderState,
    Outcome,
    PolicyConfig,
    Posted,
    Ruling,
    Scan,
    SubmittedClaim,
    UnreadableClaim,
)

WAITS = (Outcome.HELD, "RATE_LIMITED")
FAR = Domain.TON
"""A chain that is none of this guard's."""


async def ready(**policy: Any) -> World:
    """A guard that has seen a hundred shares issued; `policy` is in force from then on."""
    world = World()
    await world.funded()
    world.desk.config = replace(world.desk.config, policy=PolicyConfig(**policy))
    return world


async def ruling_of(world: World, claim: SubmittedClaim) -> Ruling:
    """The whole ruling of one claim."""
    return (await world.review(claim))[0]


def short(rulings: Sequence[Ruling]) -> list[tuple[Outcome, str]]:
    """Rulings by outcome and reason."""
    return [(one.outcome, one.reason) for one in rulings]


async def issues_of(world: World, *numbers: int) -> dict[int, IssueRecord]:
    """The asset's orders on record among these numbers."""
    async with world.store.read() as books:
        found = await books.issues([(ASSET, number) for number in numbers])
    return {number: one for (_, number), one in found.items()}


# --- waiting for the scanner ----------------------------------------------------------------------


async def waited(world: World, *claims: SubmittedClaim) -> tuple[list[tuple[Outcome, str]], float]:
    """The rulings of a guard that would wait a second, and how long it did."""
    world.desk.config = replace(world.desk.config, review_wait_seconds=1.0)
    began = world.clock.monotonic()
    task = asyncio.ensure_future(world.review(*claims))
    while not task.done():
        await world.clock.settle()
        if not task.done():
            await world.clock.advance(0.25)
    return short(await task), world.clock.monotonic() - began


async def test_review__of_what_no_scanner_will_bring__answers_at_once() -> None:
    """A forged burn in a block that is booked, an order, a refund, a chain nobody scans."""
    world = await ready()
    booked = world.chains[Domain.ETHEREUM].final.number
    burn = forged_claim(world, block=booked)
    bridge = world.chains[Domain.BNB].config.bridge
    refund = SubmittedClaim(refund_of(burn.message, bridge, keccak256))
    foreign = SubmittedClaim(replace(burn.message, source=FAR), None, 1)
    rulings, seconds = await waited(world, burn, world.order(2, SHARE), refund, foreign)
    assert rulings == [
        (Outcome.REJECTED, "BURN_UNKNOWN"),
        GRANTED,
        (Outcome.HELD, "SOURCE_NOT_FINAL"),
        (Outcome.REJECTED, "BURN_UNKNOWN"),
    ]
    assert seconds == 0


async def test_review__of_a_burn_beyond_the_last_booked_block__waits_its_time_and_no_longer() -> (
    None
):
    world = await ready()
    booked = world.chains[Domain.ETHEREUM].final.number
    rulings, seconds = await waited(world, forged_claim(world, block=booked + 1))
    assert rulings == [(Outcome.HELD, "SOURCE_NOT_FINAL")]
    assert seconds == 1


async def test_review__of_a_chain_without_a_single_page__is_no_evidence_of_absence() -> None:
    world = World()
    world.desk.live.caught_up.update(CHAINS)
    assert await world.outcome(forged_claim(world)) == (Outcome.HELD, "SOURCE_NOT_FINAL")


# --- refused before any rule ----------------------------------------------------------------------


async def test_claim__refused_early__says_why_and_the_next_one_is_judged() -> None:
    world = await ready(order_seconds_max=3600)
    burn = await final_burn(world)
    late, last = world.order(3, SHARE, life=3601), world.order(2, SHARE, life=3600)
    beside = replace(burn, order=last.order)
    rulings = await world.review(late, beside, last)
    assert short(rulings) == [
        (Outcome.REJECTED, "DEADLINE_OUT_OF_RANGE"),
        (Outcome.REJECTED, "CONTENT_MISMATCH"),
        GRANTED,
    ]
    assert rulings[0].detail == {"expires": str(world.now + 3601), "longest": "3600"}
    assert rulings[1].detail == {"order": "only an ISSUE has one; leave it out"}


async def test_claim__nobody_can_read__is_answered_by_its_own_id_in_its_own_place() -> None:
    """A relayer finds its answers by id: an unreadable claim must not cost it the others."""
    world = await ready()
    burn, garbled = await final_burn(world), UnreadableClaim(TransferId(b"\x07" * 32), "no message")
    rulings = await world.review(garbled, burn, garbled)
    ids = [garbled.transfer_id, id_of(burn.message), garbled.transfer_id]
    assert [one.transfer_id for one in rulings] == ids
    assert rulings[0].detail == {"error": "no message"}
    assert await world.review() == []


async def test_guard__that_has_just_started__names_the_chains_it_waits_for() -> None:
    world = await ready()
    claim = await final_burn(world)
    world.desk = world.new_desk()
    await world.scan(Domain.BNB)
    ruling = await ruling_of(world, claim)
    assert (ruling.outcome, ruling.reason) == (Outcome.HELD, "SIGNING_DISABLED")
    assert ruling.detail == {"waits_for": "ethereum, mantle"}


@pytest.mark.parametrize("whose", ["no order at all", "a stranger's order"])
async def test_order__that_no_registered_issuer_wrote__is_named_by_its_number(whose: str) -> None:
    world = await ready()
    claim = world.order(7, SHARE)
    assert claim.order is not None
    unknown = replace(claim.order, statement=replace(claim.order.statement, key_id=STRANGER.key_id))
    ruling = await ruling_of(world, replace(claim, order=None if "no" in whose[:2] else unknown))
    assert (ruling.outcome, ruling.reason) == (Outcome.REJECTED, "ISSUE_SIGNATURE_INVALID")
    assert ruling.detail == {"order": str(nonce_counter(claim.message.nonce))}
    assert await issues_of(world, 7) == {}


async def test_order__of_an_asset_that_is_not_registered__is_parked_beside_one_that_is() -> None:
    world = await ready()
    strange = world.order(1, SHARE, asset=AssetId(b"\x07" * 32))
    rulings = await world.review(strange, world.order(2, SHARE))
    assert short(rulings) == [(Outcome.PARKED, "ROUTE_CLOSED"), GRANTED]


# --- custody's word -------------------------------------------------------------------------------


async def shown(world: World, asset: AssetId, multiplier: int, epoch: int, *chains: Domain) -> None:
    """These chains state another multiplier of the asset, and the auditor believes it."""
    for chain in chains:
        rules = AssetRules(multiplier=multiplier, multiplier_epoch=epoch)
        world.chains[chain].set_rules(asset, rules)
    for _ in range(2):
        world.mine()
        await world.scan()
        for chain in CHAINS:
            await world.audit(chain)


STALE = (Outcome.HELD, "COLLATERAL_STALE")
WINDOW = (Outcome.HELD, "CORPORATE_ACTION_WINDOW")
WITHOUT_WINDOWS = tuple(one for one in POLICIES if one is not check_corporate_action)
LONG = 1_003_245_678_901_234_567
"""A multiplier of eighteen digits, and what a 64-bit float keeps of it."""
AS_FLOAT = 1_003_245_678_901_234_500


async def test_attestation__of_a_multiplier_that_a_chain_has_left__is_held_by_two_locks() -> None:
    """Attack: after a 2:1 split the old paper's cap is twice what custody covers, for as long as
    nobody attests anew. One chain that shows it is enough, and another asset is never in the way.
    The window of the corporate action holds first; with it taken out the paper itself is old."""
    world = await ready()
    await shown(world, OTHER, 3 * 10**18, 3, Domain.MANTLE)  # never attested
    await shown(world, ASSET, 2 * 10**18, 1, Domain.BNB)
    order, burn = world.order(2, 900 * SHARE), await final_burn(world)
    assert short(await world.review(order, burn)) == [WINDOW, WINDOW]
    unattested = world.order(1, SHARE, asset=OTHER)
    second = await review_transfers(world.desk, [unattested, order, burn], WITHOUT_WINDOWS)
    assert short(second) == [(Outcome.HELD, "COLLATERAL_UNKNOWN"), STALE, STALE]
    await world.attest(2000 * SHARE, sequence=2, multiplier=2 * 10**18, epoch=1)
    third = await review_transfers(world.desk, [order, burn], WITHOUT_WINDOWS)
    assert short(third) == [GRANTED, GRANTED]


@pytest.mark.parametrize(
    ("multiplier", "epoch"),
    [(2 * 10**18, 0), (10**18, 1)],
    ids=["the same epoch", "the same multiplier"],
)
async def test_attestation__of_a_chain_that_did_not_go_on__is_not_outdated(
    multiplier: int, epoch: int
) -> None:
    world = await ready()
    await shown(world, ASSET, multiplier, epoch, *CHAINS)
    order = world.order(2, SHARE)
    assert short(await review_transfers(world.desk, [order], WITHOUT_WINDOWS)) == [GRANTED]


async def test_attestation__of_a_multiplier_that_one_chain_keeps_as_a_float__counts() -> None:
    """One chain has 64 bits for its multiplier and calls its activation's second an epoch: it has
    left nothing, and an asset would be held there for ever."""
    world = await ready()
    await world.attest(1000 * SHARE, sequence=2, multiplier=LONG, epoch=3)
    await shown(world, ASSET, LONG, 3, Domain.ETHEREUM, Domain.MANTLE)
    await shown(world, ASSET, AS_FLOAT, world.now, Domain.BNB)
    assert AS_FLOAT != LONG
    assert await world.outcome(world.order(2, SHARE)) == GRANTED
    message = await world.granted()
    assert (await world.sign(message)).signature


async def test_attestation__outdated_for_one_asset__leaves_the_other_alone() -> None:
    world = await ready()
    await world.attest(SHARE, asset=OTHER)
    await shown(world, ASSET, 2 * 10**18, 1, Domain.MANTLE)
    orders = world.order(2, SHARE), world.order(1, SHARE, asset=OTHER)
    assert short(await review_transfers(world.desk, orders, WITHOUT_WINDOWS)) == [STALE, GRANTED]


async def test_signature__of_a_grant_whose_attestation_a_chain_has_left__is_not_given() -> None:
    world = await ready()
    message = await world.granted()
    request = world.request([message])
    await shown(world, ASSET, 2 * 10**18, 1, Domain.ETHEREUM)
    without = tuple(one for one in SIGNING_POLICIES if one is not check_corporate_action)
    for policies, reason in ((SIGNING_POLICIES, WINDOW), (without, STALE)):
        answer = await sign_release(world.desk, request, policies)
        assert (short(answer.refusals), answer.signature) == ([reason], b"")


async def test_margin__of_the_deployment__lowers_the_cap_in_review_and_in_signing() -> None:
    """A tenth less: 900 shares of a thousand held; the last of them may be issued."""
    world = await ready(margin_bps=1000)
    refused = await ruling_of(world, world.order(2, 800 * SHARE + 1))
    assert (refused.outcome, refused.reason) == (Outcome.HELD, "CAP_EXCEEDED")
    assert refused.detail["cap"] == str(900 * SHARE)
    order = world.order(2, 800 * SHARE)
    assert await world.outcome(order) == GRANTED
    assert (await world.sign(order.message)).signature
    world.desk.config = replace(world.desk.config, policy=PolicyConfig(margin_bps=1001))
    (refusal,) = (await world.sign(order.message)).refusals
    assert (refusal.reason, refusal.detail["cap"]) == ("CAP_EXCEEDED", str(89_990_000_000))


async def test_asset__nobody_has_read_on_any_chain__waits_whatever_is_announced() -> None:
    world = World()
    world.desk.live.caught_up.update(CHAINS)
    await world.attest(1000 * SHARE)
    assert await world.outcome(world.order(1, SHARE)) == (Outcome.HELD, "SUPPLY_UNKNOWN")


@pytest.mark.parametrize("amount", [1, SHARE])
async def test_issuance__with_the_cap_rules_taken_out__meets_the_books_own_lock(
    amount: int,
) -> None:
    """F49, defence removed: without an attestation the second lock knows a cap of zero."""
    world = World()
    world.mine()
    await world.scan()
    blind: list[Policy] = [one for one in POLICIES if one not in (check_collateral, check_cap)]
    words = f"issuance of {amount} of {ASSET.hex()} would pass the cap 0"
    with pytest.raises(InvariantViolation, match=words) as broken:
        await review_transfers(world.desk, [world.order(1, amount)], blind)
    assert broken.value.id.value == "INV-04"
    assert await issues_of(world, 1) == {}


async def test_recipient__that_is_the_bridge_itself__is_parked_by_name() -> None:
    world = await ready()
    bridge = world.chains[Domain.BNB].config.bridge
    chain = world.chains[Domain.ETHEREUM]
    tx = chain.burn(HOLDER, ASSET, Domain.BNB, bridge, SHARE)
    world.mine()
    await world.scan()
    ruling = await ruling_of(world, world.claim(tx))
    assert (ruling.outcome, ruling.reason) == (Outcome.PARKED, "RECIPIENT_INVALID")
    assert ruling.detail == {"recipient": bridge.hex()}


# --- a chain that burned more than it had ---------------------------------------------------------


@pytest.mark.parametrize(
    ("behind", "outcome"),
    [(0, Outcome.REJECTED), (1, Outcome.HELD), (-1, Outcome.REJECTED), (None, Outcome.HELD)],
    ids=["booked to the head", "one block behind", "ahead of it", "nothing booked"],
)
async def test_chain__that_burned_more_than_it_got__is_waited_for_only_while_it_lags(
    behind: int | None, outcome: Outcome
) -> None:
    """INV-05: the release that funded it may be unread; once all is read, it does not exist."""
    world = await ready()
    tx = world.burn()
    world.mine()
    await world.scan()
    claim = world.claim(tx)
    async with world.store.write() as unit:
        scan = (await unit.scans())[Domain.ETHEREUM]
        assert scan.through is not None
        head = replace(scan.through, number=scan.through.number + (behind or 0))
        through = None if behind is None else scan.through
        await unit.save_scan(Scan(Domain.ETHEREUM, scan.cursor, through, head))
        more = replace(claim.message, amount=Shares(200 * SHARE))
        burn = replace(world.burned(tx), message=more, transfer_id=id_of(more))
        await unit.post([Posted(entry, scan.through) for entry in entries_of(burn)], [])
        await unit.journal([], 0)
    world.desk.live.caught_up.update(CHAINS)
    rules = (check_evidence, check_chain_balance)
    (ruling,) = await review_transfers(world.desk, [claim], rules)
    assert (ruling.outcome, ruling.reason) == (outcome, "CHAIN_BALANCE_NEGATIVE")


# --- what is kept ---------------------------------------------------------------------------------


async def test_page__of_every_outcome__is_numbered_journaled_and_told_once() -> None:
    told: list[tuple[Ruling, int]] = []
    world = World(store=MemoryGuardStore(lambda ruling, at_ms: told.append((ruling, at_ms))))
    await world.funded()
    burn = await final_burn(world, 2 * SHARE)
    bridge = world.chains[Domain.BNB].config.bridge
    parked_tx = world.chains[Domain.ETHEREUM].burn(HOLDER, ASSET, Domain.BNB, bridge, SHARE)
    world.mine()
    await world.scan()
    parked, order = world.claim(parked_tx), world.order(2, SHARE)
    held = world.order(3, 10**6 * SHARE)
    told.clear()
    async with world.store.read() as books:
        head = await books.journal_head()
    await world.clock.advance(1)
    page = [burn, order, held, parked]
    rulings = await world.review(*page)
    outcomes = [Outcome.GRANTED, Outcome.GRANTED, Outcome.HELD, Outcome.PARKED]
    assert [one.outcome for one in rulings] == outcomes
    first = head.sequence * RULINGS_PER_LINK_MAX + 1
    assert [one.sequence for one in rulings] == [first, first + 1, first + 2, first + 3]
    assert told == [(one, world.clock.unix_ms()) for one in rulings]
    async with world.store.read() as books:
        (link,) = await books.journal_after(head.sequence, 10)
        standing = [one for one in await books.alarms() if one.alarm.code == PARKED]
    assert link.at_ms == world.clock.unix_ms()
    decided = [line for line in link.lines if not line.startswith(("entry ", "balance "))]
    expected = [
        ruling_line(ClaimRecord(claim.message, ruling, 0))
        for claim, ruling in zip(page, rulings, strict=True)
    ]
    assert order.order is not None
    assert decided == [*expected, order_paper_line(order.order)]
    (raised,) = standing
    assert raised.alarm == Alarm(
        code=PARKED,
        scope=f"transfer/{id_of(parked.message).hex()}",
        detail=f"RECIPIENT_INVALID: recipient {bridge.hex()}",
        about="RECIPIENT_INVALID",
    )
    assert raised.at_ms == world.clock.unix_ms()


async def test_claim__again_with_the_same_answer__keeps_its_ruling_and_writes_nothing() -> None:
    """A held claim is asked again every few seconds: only a change of its reason is an event, not
    one of the figures behind it. What is new on the same page is numbered and told all the same."""
    told: list[Ruling] = []
    world = World(store=MemoryGuardStore(lambda ruling, _: told.append(ruling)))
    await world.funded()
    held = world.order(2, 10**6 * SHARE)
    (first,) = await world.review(held)
    await world.attest(500 * SHARE, sequence=2)
    lines = await lines_of(world)
    told.clear()
    (again,) = await world.review(held)
    assert (first.detail["cap"], again.detail["cap"]) == (str(1000 * SHARE), str(500 * SHARE))
    assert replace(again, detail=first.detail) == first
    assert (told, await lines_of(world)) == ([], lines)
    forged = forged_claim(world, block=10**6)
    both = await world.review(held, forged)
    async with world.store.read() as books:
        head = await books.journal_head()
    assert both[0].sequence == first.sequence
    assert both[1].sequence == (head.sequence - 1) * RULINGS_PER_LINK_MAX + 1
    assert told == [both[1]]


async def test_screened__again_with_the_same_parties__is_one_event_with_others_another() -> None:
    """SECURITY: whom a transfer is parked for is what people decide about."""
    world = await ready()
    named = ListOf({RECIPIENT: "list A"})
    world.desk.screening = named
    claim = await final_burn(world)
    (first,) = await world.review(claim)
    lines = await lines_of(world)
    (again,) = await world.review(claim)
    assert (again, await lines_of(world)) == (first, lines)
    named.accounts[HOLDER] = "list B"
    (other,) = await world.review(claim)
    assert other.reason == first.reason == "SCREENED"
    assert other.sequence > first.sequence
    assert len(await lines_of(world)) == len(lines) + 1


async def test_alarm__of_a_park_without_figures__is_the_bare_reason() -> None:
    def park(context: Context, claim: Claim) -> Verdict:
        del context, claim
        return refuse(Reason.MANUAL_REVIEW)

    world = await ready()
    await review_transfers(world.desk, [await final_burn(world)], (park,))
    async with world.store.read() as books:
        assert [one.alarm.detail for one in await books.alarms()] == ["MANUAL_REVIEW"]


async def test_orders__on_one_page__each_number_has_its_own_record() -> None:
    """Two granted, one that waits for room, and one out of turn that leaves nothing behind."""
    world = await ready()
    orders = [world.order(2, SHARE), world.order(3, 2 * SHARE), world.order(4, 10**6 * SHARE)]
    rivals = [world.order(4, 10**6 * SHARE, recipient=RECIPIENT), world.order(9, SHARE)]
    rulings = await world.review(*orders, *rivals)
    assert short(rulings) == [
        GRANTED,
        GRANTED,
        (Outcome.HELD, "CAP_EXCEEDED"),
        (Outcome.HELD, "CAP_EXCEEDED"),
        (Outcome.HELD, "ISSUE_OUT_OF_ORDER"),
    ]
    states = (OrderState.RESERVED, OrderState.RESERVED, OrderState.OPEN)
    assert await issues_of(world, 2, 3, 4, 9) == {
        number: IssueRecord(
            asset=ASSET,
            number=number,
            transfer_id=id_of(claim.message),
            state=state,
            expiry=world.now + 3600,
            message=claim.message,
            destination=Domain.ETHEREUM,
        )
        for number, claim, state in zip((2, 3, 4), orders, states, strict=True)
    }


async def test_order_and_burn__of_one_asset_on_one_page__the_issuer_stays_the_issuer() -> None:
    """A holder's refund address is nobody's key."""
    world = await ready()
    burn = await final_burn(world)
    assert short(await world.review(world.order(2, SHARE), burn)) == [GRANTED, GRANTED]
    assert ISSUER.key_id in world.desk.config.issuers


# --- who waits for a bucket -----------------------------------------------------------------------


async def queue(world: World) -> list[SubmittedClaim]:
    """A bucket of ten shares that refills three in a thousand seconds: 8 went out, 5 and 4 wait,
    a last one of 1 share is not claimed yet."""
    claims = [await final_burn(world, shares * SHARE) for shares in (8, 5, 4, 1)]
    world.desk.config = replace(world.desk.config, policy=PolicyConfig(bucket=bucket(10)))
    assert short(await world.review(*claims[:3])) == [GRANTED, WAITS, WAITS]
    return claims


def bucket(shares: int) -> Bucket:
    """A full bucket."""
    return Bucket(shares * SHARE, 3 * SHARE // 1000, shares * SHARE, 0)


@pytest.mark.parametrize(("later", "outcome"), [(0, WAITS), (0.3, GRANTED)])
async def test_place__in_a_queue__is_kept_for_ten_minutes_to_the_last_moment(
    later: float, outcome: tuple[Outcome, str]
) -> None:
    world = await ready()
    claims = await queue(world)
    await world.clock.advance(WAITING_SECONDS_MAX + later)
    assert await world.outcome(claims[3]) == outcome


async def test_place__that_was_lost__is_forgotten_and_those_who_kept_asking_are_not() -> None:
    world = await ready()
    _, five, four, _ = await queue(world)
    key = BucketKey(ASSET, Domain.BNB)
    await world.clock.advance(500)
    assert await world.outcome(four) == WAITS
    async with world.store.read() as books:
        both = await books.waiting([key], 0, 9)
    assert both == {key: (id_of(five.message), id_of(four.message))}
    await world.clock.advance(100.3)
    assert await world.outcome(four) == WAITS
    async with world.store.read() as books:
        assert await books.waiting([key], 0, 9) == {key: (id_of(four.message),)}


async def test_bucket__of_another_size_since__keeps_what_was_left_and_what_came_since() -> None:
    world = await ready()
    claims = await queue(world)
    world.desk.config = replace(world.desk.config, policy=PolicyConfig(bucket=bucket(6)))
    await world.clock.advance(100)
    ruling = await ruling_of(world, claims[1])
    assert (ruling.outcome, ruling.reason) == WAITS
    assert ruling.detail["level"] == str(230_000_000)

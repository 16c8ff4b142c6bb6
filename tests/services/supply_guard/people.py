"""What people may decide and what the policies are fed with, on any memory the guard has.

Each test takes a `store`: this suite runs on memory here and on PostgreSQL too. A decision is
always seen in its effect: a transfer that waits, goes on, or does not.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.services.supply_guard.faults import GRANTED
from tests.services.supply_guard.world import (
    ASSET,
    DEPLOYMENT,
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
from xstock_chains.fake.transactions import PlainBurnCall
from xstock_core.bucket import Bucket
from xstock_core.ids import Address32, Domain
from xstock_core.ledger import ORPHANED, exposure
from xstock_core.observation import OrphanBurn
from xstock_core.release import Action
from xstock_core.review import Delay, Scope
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_supply_guard import wire_people
from xstock_supply_guard.handlers.alarms import settle_alarms
from xstock_supply_guard.handlers.denials import Denials, tell_denials
from xstock_supply_guard.handlers.halting import halt, resume
from xstock_supply_guard.handlers.limits import limits_text
from xstock_supply_guard.handlers.pausing import PAUSE_SECONDS_MAX, pause
from xstock_supply_guard.handlers.proposals import (
    PROPOSAL_SECONDS,
    Person,
    approve,
    missing,
    propose,
)
from xstock_supply_guard.handlers.standing import submit_corporate_action
from xstock_supply_guard.model import (
    Alarm,
    CorporateAction,
    Limits,
    Outcome,
    Pause,
    PolicyConfig,
    Proposal,
    ProposalKind,
    Screened,
    SubmittedClaim,
)
from xstock_supply_guard.ports import GuardStore
from xstock_wire.papers import CORPORATE_ACTION, PaperKey
from xstock_wire.v1 import papers_pb2

ALICE = Person("operator-1", frozenset({"operator", "approver"}))
BOB = Person("operator-2", frozenset({"operator", "approver"}))
CAROL = Person("operator-3", frozenset({"operator"}))
OF_ASSET = Scope(asset=ASSET)
TENFOLD = 10 * 10**18
PAUSED = (Outcome.HELD, "PAUSED")
WINDOW = (Outcome.HELD, "CORPORATE_ACTION_WINDOW")


@dataclass
class ListOf:
    """A screening provider whose list a test writes."""

    accounts: dict[Address32, str] = field(default_factory=dict)
    sequence: int = 1
    fails: bool = False

    async def listed(self, addresses: Collection[Address32]) -> Screened:
        """What the test says."""
        if self.fails:
            raise Transient("SCREENING_UNKNOWN", "screening list: gone")
        known = {one: self.accounts[one] for one in addresses if one in self.accounts}
        return Screened(self.sequence, known)


def ruled(world: World, **limits: Any) -> None:
    """Other limits from now on: an issuance to the holder came before them."""
    world.desk.config = replace(world.desk.config, policy=PolicyConfig(**limits))


async def proposed(
    world: World,
    kind: ProposalKind,
    subject: bytes,
    *,
    by: Person = ALICE,
    payload: bytes = b"",
    request_id: str = "r-1",
) -> Proposal:
    """A proposal with a reason."""
    return await propose(
        world.desk,
        by,
        kind=kind,
        subject=subject,
        payload=payload,
        reason="looked into it",
        request_id=request_id,
    )


async def agreed(world: World, made: Proposal, *, by: Person = BOB) -> Proposal:
    """Somebody's yes."""
    return await approve(world.desk, by, proposal_id=made.id, reason="I agree")


async def decided(
    world: World, kind: ProposalKind, subject: bytes, payload: bytes = b"", request_id: str = "r-1"
) -> Proposal:
    """Proposed by one and approved by another."""
    made = await proposed(world, kind, subject, payload=payload, request_id=request_id)
    return await agreed(world, made)


async def final_burn(
    world: World, amount: int = SHARE, *, destination: Domain = Domain.BNB
) -> SubmittedClaim:
    """A final burn of the holder, scanned."""
    tx = world.burn(amount, destination=destination)
    world.mine()
    await world.scan()
    return world.claim(tx)


async def orphaned(world: World, amount: int = 5 * SHARE) -> OrphanBurn:
    """The holder burns without naming a transfer; booked."""
    chain = world.chains[Domain.ETHEREUM]
    tx = chain.call(HOLDER, PlainBurnCall(ASSET, amount, "a plain burn"))
    chain.mine()
    world.mine()
    await world.scan()
    found = chain.find(tx.id)
    assert found is not None
    (orphan,) = (one for one in found[0].observations if isinstance(one, OrphanBurn))
    return orphan


async def booked(world: World) -> tuple[int, int]:
    """(exposure, orphaned) of the asset."""
    async with world.store.read() as books:
        balances = await books.balances([ASSET])
    return exposure(balances, ASSET), balances.get((ASSET, ORPHANED), 0)


async def lines_of(world: World) -> list[str]:
    """Every line of the journal."""
    async with world.store.read() as books:
        links = await books.journal_after(0, 10_000)
    return [one for link in links for one in link.lines]


async def audited(world: World) -> None:
    """Every chain is read, and what was read becomes final and is believed."""
    for _ in range(2):
        world.mine()
        await world.scan()
        for domain in world.chains:
            await world.audit(domain)


async def shows(world: World, multiplier: int, *, sequence: int) -> None:
    """Every chain has this multiplier, custody states it, and the auditor has seen both."""
    for chain in world.chains.values():
        chain.set_rules(ASSET, AssetRules(multiplier=multiplier))
    await world.attest(10_000 * SHARE, sequence=sequence, multiplier=multiplier)
    await audited(world)


async def paused(
    world: World, scope: Scope = OF_ASSET, *, seconds: int = 600, request_id: str = "p-1"
) -> Pause:
    """The agent pauses a scope."""
    return await pause(
        world.desk,
        scope=scope,
        reason="odd traffic",
        until=world.now + seconds,
        by="agent",
        request_id=request_id,
    )


def announcement(
    world: World,
    *,
    after: int = 3_600,
    version: int = 1,
    multiplier: int = TENFOLD,
    cancelled: bool = False,
    key: PaperKey = ISSUER,
    event: str = "split-1",
) -> CorporateAction:
    """The issuer announces a split."""
    paper = papers_pb2.CorporateAction(
        asset=ASSET,
        event_id=event,
        version=version,
        activates_at=world.now + after,
        multiplier=str(multiplier),
        cancelled=cancelled,
    )
    signed = key.sign(CORPORATE_ACTION, DEPLOYMENT, paper)
    return wire_people.corporate_action_from_wire(signed, DEPLOYMENT)


class TestProposals:
    """What one person may not do alone."""

    async def test_proposal__by_one_approver__waits_for_another(self, store: GuardStore) -> None:
        """F52, F92: the same person twice is one person."""
        world = World(store=store)
        await world.funded()
        ruled(world, manual_from=10 * SHARE)
        claim = await final_burn(world, 10 * SHARE)
        assert await world.outcome(claim) == (Outcome.PARKED, "MANUAL_REVIEW")
        made = await proposed(world, ProposalKind.RELEASE, id_of(claim.message))
        assert missing(made) == "1 more approver must agree"
        with pytest.raises(InvalidMessage, match="ask somebody else"):
            await agreed(world, made, by=ALICE)
        assert await world.outcome(claim) == (Outcome.PARKED, "MANUAL_REVIEW")
        done = await agreed(world, made)
        assert (done.executed_ms is not None, done.approvals) == (
            True,
            ("operator-1", "operator-2"),
        )
        assert await world.outcome(claim) == GRANTED

    async def test_proposal__by_an_operator__takes_two_approvers(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        ruled(world, manual_from=10 * SHARE)
        claim = await final_burn(world, 10 * SHARE)
        await world.outcome(claim)
        made = await proposed(world, ProposalKind.RELEASE, id_of(claim.message), by=CAROL)
        with pytest.raises(InvalidMessage, match="operator-3 had a say"):
            await agreed(world, made, by=CAROL)
        once = await agreed(world, made, by=ALICE)
        assert (once.executed_ms, missing(once)) == (None, "1 more approver must agree")
        assert (await agreed(world, once, by=BOB)).executed_ms is not None

    async def test_cancel__an_operator_proposes_one_approver_agrees(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        key = id_of(claim.message)
        made = await proposed(world, ProposalKind.CANCEL, key, by=CAROL)
        assert (await agreed(world, made, by=ALICE)).executed_ms is not None
        alone = await proposed(world, ProposalKind.CANCEL, key, by=ALICE, request_id="r-2")
        assert (alone.executed_ms, missing(alone)) == (None, "another person must agree")
        async with world.store.read() as books:
            assert await books.approved(ProposalKind.CANCEL, [key]) == {key}
            assert await books.approved(ProposalKind.REFUND, [key]) == set()

    async def test_proposal__who_is_no_approver__cannot_agree(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        made = await proposed(world, ProposalKind.CANCEL, id_of(claim.message))
        with pytest.raises(InvalidMessage, match="no approver"):
            await agreed(world, made, by=CAROL)

    async def test_proposal__a_day_later__has_expired(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        made = await proposed(world, ProposalKind.CANCEL, id_of(claim.message))
        await world.clock.advance(PROPOSAL_SECONDS)
        with pytest.raises(InvalidMessage, match="expired"):
            await agreed(world, made)
        async with world.store.read() as books:
            assert await books.approved(ProposalKind.CANCEL, [id_of(claim.message)]) == set()

    async def test_proposal__the_same_request_again__is_the_same(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        key = id_of(claim.message)
        made = await proposed(world, ProposalKind.CANCEL, key)
        assert await proposed(world, ProposalKind.CANCEL, key) == made
        with pytest.raises(InvalidMessage, match="something else"):
            await proposed(world, ProposalKind.REFUND, key)
        with pytest.raises(InvalidMessage, match="something else"):
            await proposed(world, ProposalKind.CANCEL, key, payload=b"another")
        done = await agreed(world, made)
        assert await agreed(world, made) == done
        executed = [one for one in await lines_of(world) if one.startswith("execute ")]
        assert len(executed) == 1

    async def test_proposal__about_what_nobody_booked__is_refused(self, store: GuardStore) -> None:
        """A blank approval would fit anything later."""
        world = World(store=store)
        await world.funded()
        unknown = b"\x07" * 32
        refused = {
            ProposalKind.RESUME: unknown,
            ProposalKind.RELEASE: unknown,
            ProposalKind.CANCEL: unknown,
            ProposalKind.REFUND: unknown,
            ProposalKind.ORPHAN_REFUND: unknown,
            ProposalKind.WRITE_OFF: unknown,
            ProposalKind.LIFT_PAUSE: b"no-such-pause",
            ProposalKind.ROTATION: b"short",
            ProposalKind.REDIRECT: unknown,
            ProposalKind.LIMITS: unknown,
        }
        assert refused.keys() == set(ProposalKind)
        for number, (kind, subject) in enumerate(refused.items()):
            with pytest.raises(InvalidMessage):
                await proposed(world, kind, subject, request_id=f"r-{number}")
        async with world.store.read() as books:
            assert await books.proposals(0, 100) == []

    async def test_every_step__is_in_the_journal_with_who_and_why(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        key = id_of(claim.message)
        made = await proposed(world, ProposalKind.CANCEL, key)
        await agreed(world, made)
        said = [one for one in await lines_of(world) if f"id={made.id}" in one]
        assert [one.split(" ")[0] for one in said] == ["propose", "agree", "agree", "execute"]
        assert f"kind=CANCEL subject={key.hex()}" in said[0]
        assert "by=operator-1" in said[0]
        assert "reason=looked%20into%20it" in said[0]
        assert "by=operator-2" in said[2]

    async def test_proposals__listed__newest_first(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        first = await proposed(world, ProposalKind.CANCEL, id_of(claim.message))
        await world.clock.advance(5)
        second = await decided(world, ProposalKind.ROTATION, b"\x01" * 32, request_id="r-2")
        async with world.store.read() as books:
            listed = await books.proposals(0, 10)
            assert [one.id for one in listed] == [second.id, first.id]
            assert await books.proposal(first.id) == first
            later = await books.proposals(world.clock.unix_ms() + 1, 10)
            assert [one.id for one in later] == [first.id]


class TestResume:
    """A halt ends by two approvers and green books only."""

    async def test_resume__one_person_twice_or_red_books__refused(self, store: GuardStore) -> None:
        """F92: premature un-halt."""
        world = World(store=store)
        await world.funded()
        latched = await halt(
            world.desk, asset=ASSET, chain=None, reason="drill", by="agent", request_id="h-1"
        )
        for _ in range(2):
            cleared, needs = await resume(
                world.desk, halt_id=latched.id, by="operator-1", reason="fine"
            )
            assert not cleared
            assert "1 more identity" in needs
        world.chains[Domain.BNB].mint_outside(ASSET, HOLDER, 10**18)
        world.mine()
        await world.scan()
        await audited(world)
        cleared, needs = await resume(
            world.desk, halt_id=latched.id, by="operator-2", reason="fine"
        )
        assert not cleared
        assert "above the ledger" in needs
        async with world.store.read() as books:
            assert latched.id in {one.id for one in await books.halts()}

    async def test_resume__supply_not_read_lately__waits_for_a_reading(
        self, store: GuardStore
    ) -> None:
        """F92: unknown is not green."""
        world = World(store=store)
        await world.funded()
        ruled(world, supply_age_seconds_max=600)
        latched = await halt(
            world.desk, asset=ASSET, chain=None, reason="drill", by="agent", request_id="h-1"
        )
        await world.clock.advance(3_000)
        for by in ("operator-1", "operator-2"):
            cleared, needs = await resume(world.desk, halt_id=latched.id, by=by, reason="fine")
        assert not cleared
        assert "is not read within 600 seconds" in needs
        await audited(world)
        cleared, _ = await resume(world.desk, halt_id=latched.id, by="operator-2", reason="fine")
        assert cleared


class TestPauses:
    """Releases stand still for a while."""

    async def test_pause__of_an_asset__holds_it_until_it_ends(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        begun = await paused(world)
        ruling = (await world.review(claim))[0]
        assert (ruling.outcome, ruling.reason, ruling.until) == (*PAUSED, begun.until)
        await world.clock.advance(begun.until - world.now)
        assert await world.outcome(claim) == GRANTED

    @pytest.mark.parametrize(
        ("scope", "held"),
        [
            (Scope(), True),
            (Scope(source=Domain.ETHEREUM), True),
            (Scope(destination=Domain.BNB), True),
            (Scope(destination=Domain.ETHEREUM), False),
            (Scope(asset=OTHER), False),
        ],
    )
    async def test_pause__of_a_scope__holds_what_it_covers(
        self, store: GuardStore, scope: Scope, held: bool
    ) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        await paused(world, scope)
        assert await world.outcome(claim) == (PAUSED if held else GRANTED)

    async def test_pause__after_the_grant__stops_the_signature(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        begun = await paused(world)
        refusal = (await world.sign(message)).refusals[0]
        assert (refusal.reason, refusal.until) == ("PAUSED", begun.until)

    async def test_pause__longer_than_a_day_or_past__is_refused(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        for seconds in (0, -5, PAUSE_SECONDS_MAX + 1):
            with pytest.raises(InvalidMessage, match="until"):
                await paused(world, seconds=seconds)
        assert (await paused(world, seconds=PAUSE_SECONDS_MAX)).until > world.now

    async def test_pause__lifted_by_two__goes_on_at_once(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        begun = await paused(world)
        made = await proposed(world, ProposalKind.LIFT_PAUSE, begun.id.encode())
        assert await world.outcome(claim) == PAUSED
        await agreed(world, made)
        assert await world.outcome(claim) == GRANTED
        assert await paused(world) == begun  # the same request is the same pause, lifted

    async def test_token__paused_on_its_chain__holds_its_releases(self, store: GuardStore) -> None:
        """F58: a permit for a paused token would only lie about; burns are booked all the same."""
        world = World(store=store)
        await world.funded()
        world.chains[Domain.BNB].set_rules(ASSET, AssetRules(paused=True))
        await audited(world)
        claim = await final_burn(world)
        elsewhere = await final_burn(world, destination=Domain.MANTLE)
        ruling = (await world.review(claim))[0]
        assert (ruling.outcome, ruling.reason, ruling.until) == (*PAUSED, 0)
        assert await world.outcome(elsewhere) == GRANTED
        world.chains[Domain.BNB].set_rules(ASSET, AssetRules(paused=False))
        await audited(world)
        assert await world.outcome(claim) == GRANTED


class TestCorporateActions:
    """Nothing of an asset moves while its multiplier changes."""

    async def test_split__between_burn_and_release__shares_stay_and_the_lane_waits(
        self, store: GuardStore
    ) -> None:
        """F51: 10:1 between burn and release, chains activate apart: shares in total constant."""
        world = World(store=store)
        await world.funded()
        await submit_corporate_action(world.desk, announcement(world, after=1_000))
        message = await world.granted(7 * SHARE)  # before the window
        before = await booked(world)
        late = await final_burn(world)
        await world.clock.advance(200)
        for _ in range(2):
            refusal = (await world.sign(message)).refusals[0]
            assert refusal.reason == "CORPORATE_ACTION_WINDOW"
        ruling = (await world.review(late))[0]
        assert (ruling.outcome, ruling.reason) == WINDOW
        assert ruling.until == world.now - 200 + 1_000 + 900 - (world.now - world.now)
        await world.clock.advance(800)
        split = AssetRules(multiplier=TENFOLD, multiplier_epoch=1)
        for domain in (Domain.ETHEREUM, Domain.BNB):
            world.chains[domain].set_rules(ASSET, split)
        await audited(world)
        await world.clock.advance(901)
        await world.attest(10_000 * SHARE, sequence=2, multiplier=TENFOLD, epoch=1)
        ruling = (await world.review(late))[0]  # Mantle still shows the old one
        assert (ruling.outcome, ruling.reason, ruling.until) == (*WINDOW, 0)
        assert "chain 3" in ruling.detail["awaits"]
        world.chains[Domain.MANTLE].set_rules(ASSET, split)
        await audited(world)
        assert await world.outcome(late) == GRANTED
        assert (await world.sign(message)).signature
        await world.release([message, late.message])
        world.mine()
        await world.scan()
        assert await booked(world) == before
        assert await world.halts() == []

    async def test_split__custody_still_says_the_old__stays_shut(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        await submit_corporate_action(world.desk, announcement(world, after=10))
        await world.clock.advance(20)
        for chain in world.chains.values():
            chain.set_rules(ASSET, AssetRules(multiplier=TENFOLD))
        await audited(world)
        await world.clock.advance(2_000)
        assert await world.outcome(claim) == WINDOW
        await world.attest(10_000 * SHARE, sequence=2, multiplier=TENFOLD)
        assert await world.outcome(claim) == GRANTED

    async def test_split__settled_once__a_fee_that_moves_all_later_does_not_hold_again(
        self, store: GuardStore
    ) -> None:
        """F51: remembered over a restart, for this version alone, and only where all agree."""
        world = World(store=store)
        await world.funded()
        claim, other = await final_burn(world), await final_burn(world)
        await submit_corporate_action(world.desk, announcement(world, after=10))
        await world.clock.advance(2_000)
        fee = TENFOLD - 10**16
        await shows(world, fee, sequence=2)
        assert await world.outcome(claim) == WINDOW  # the announced value was never there
        await shows(world, TENFOLD, sequence=3)
        await shows(world, fee, sequence=4)
        world.desk = world.new_desk()
        await world.scan()
        assert await world.outcome(claim) == GRANTED
        world.chains[Domain.MANTLE].set_rules(ASSET, AssetRules(multiplier=TENFOLD))
        await audited(world)
        assert await world.outcome(other) == WINDOW
        await shows(world, fee, sequence=5)
        again = announcement(world, after=-3_000, version=2)
        await submit_corporate_action(world.desk, again)
        assert await world.outcome(other) == WINDOW

    async def test_multiplier__that_nobody_announced__holds_without_an_end(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        world.chains[Domain.MANTLE].set_rules(ASSET, AssetRules(multiplier=TENFOLD))
        await audited(world)
        ruling = (await world.review(claim))[0]
        assert (ruling.outcome, ruling.reason, ruling.until) == (*WINDOW, 0)

    async def test_announcement__newer_version__moves_or_cancels_it(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        first = announcement(world, after=10)
        await submit_corporate_action(world.desk, first)
        assert await world.outcome(claim) == WINDOW
        await submit_corporate_action(world.desk, announcement(world, after=9_000, version=2))
        assert await world.outcome(claim) == GRANTED
        with pytest.raises(InvalidMessage, match="version 2 counts now"):
            await submit_corporate_action(world.desk, first)
        other = await final_burn(world)
        await submit_corporate_action(world.desk, announcement(world, after=0, version=3))
        assert await world.outcome(other) == WINDOW
        gone = announcement(world, after=0, version=4, cancelled=True)
        await submit_corporate_action(world.desk, gone)
        assert await submit_corporate_action(world.desk, gone) == gone
        assert await world.outcome(other) == GRANTED

    async def test_announcement__by_a_stranger__is_refused(self, store: GuardStore) -> None:
        """F91: anybody could hold an asset else, or open it within its window."""
        world = World(store=store)
        await world.funded()
        posed = announcement(world, key=STRANGER)
        for key_id in (STRANGER.key_id, ISSUER.key_id):
            paper = replace(posed, statement=replace(posed.statement, key_id=key_id))
            with pytest.raises(InvalidMessage, match="registered issuer"):
                await submit_corporate_action(world.desk, paper)


class TestScreening:
    """The tokens do not screen mints, so the bridge does."""

    @pytest.mark.parametrize("address", [RECIPIENT, HOLDER])
    async def test_screened__recipient_or_sender__parked_until_two_let_it_through(
        self, store: GuardStore, address: Address32
    ) -> None:
        world = World(store=store)
        await world.funded()
        world.desk.screening = ListOf({address: "sanctions"})
        claim = await final_burn(world)
        ruling = (await world.review(claim))[0]
        assert (ruling.outcome, ruling.reason) == (Outcome.PARKED, "SCREENED")
        assert ruling.detail["listed"] == "sanctions"
        await decided(world, ProposalKind.RELEASE, id_of(claim.message))
        assert await world.outcome(claim) == GRANTED
        assert (await world.sign(claim.message)).signature

    async def test_screened__another_party_listed_since__is_not_let_through_with_the_first(
        self, store: GuardStore
    ) -> None:
        """Two people cleared it of its recipient; nobody has said anything of its sender."""
        world = World(store=store)
        await world.funded()
        listing = ListOf({RECIPIENT: "us-person"})
        world.desk.screening = listing
        parked = (Outcome.PARKED, "SCREENED")
        claim, late = await final_burn(world), await final_burn(world)
        for one, request_id in ((claim, "r-1"), (late, "r-2")):
            assert await world.outcome(one) == parked
            await decided(world, ProposalKind.RELEASE, id_of(one.message), request_id=request_id)
        assert await world.outcome(claim) == GRANTED
        listing.accounts[HOLDER] = "sanctions"
        assert (await world.sign(claim.message)).refusals[0].reason == "SCREENED"
        ruling = (await world.review(late))[0]
        assert (ruling.outcome, ruling.reason, ruling.detail["address"]) == (*parked, HOLDER.hex())
        again = "r-3"
        await decided(world, ProposalKind.RELEASE, id_of(late.message), request_id=again)
        assert await world.outcome(late) == GRANTED
        assert (await world.sign(late.message)).signature

    async def test_screened__another_party_while_people_decide__they_must_propose_anew(
        self, store: GuardStore
    ) -> None:
        """The ruling that stands says who is listed now, and its alarm is told again."""
        world = World(store=store)
        await world.funded()
        listing = ListOf({RECIPIENT: "us-person"})
        world.desk.screening = listing
        claim = await final_burn(world)
        await world.outcome(claim)
        made = await proposed(world, ProposalKind.RELEASE, id_of(claim.message))
        listing.accounts[HOLDER] = "sanctions"
        await world.outcome(claim)
        with pytest.raises(InvalidMessage, match="propose anew"):
            await agreed(world, made)
        async with world.store.read() as books:
            (alarm,) = [one.alarm for one in await books.alarms() if one.alarm.code == "PARKED"]
        assert HOLDER.hex() in alarm.detail
        del listing.accounts[HOLDER]
        await world.outcome(claim)
        await agreed(world, made)
        assert await world.outcome(claim) == GRANTED

    async def test_screened__after_the_grant__stops_the_signature(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        listing = ListOf()
        world.desk.screening = listing
        message = await world.granted()
        listing.accounts[HOLDER] = "us-person"
        assert (await world.sign(message)).refusals[0].reason == "SCREENED"

    async def test_list__unreadable__holds_every_release_and_tells_once(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        listing = ListOf(fails=True)
        world.desk.screening = listing
        claim = await final_burn(world)
        for _ in range(3):
            assert await world.outcome(claim) == (Outcome.HELD, "SCREENING_UNKNOWN")
        async with world.store.read() as books:
            told = [one for one in await books.alarms() if one.alarm.code == "SCREENING_UNKNOWN"]
        assert len(told) == 1
        listing.fails = False
        assert await world.outcome(claim) == GRANTED
        async with world.store.read() as books:
            codes = {one.alarm.code for one in await books.alarms()}
        assert "SCREENING_UNKNOWN" not in codes
        listing.fails = True
        assert (await world.sign(claim.message)).refusals[0].reason == "SCREENING_UNKNOWN"

    async def test_list__older_than_one_believed__is_unknown_through_a_restart(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        world.desk.screening = ListOf(sequence=9)
        assert await world.outcome(await final_burn(world)) == GRANTED
        world.desk = world.new_desk()
        world.desk.screening = ListOf(sequence=8)
        await world.scan()
        held = await final_burn(world)
        assert await world.outcome(held) == (Outcome.HELD, "SCREENING_UNKNOWN")

    async def test_let_through_for_its_size__listed_since__is_parked_again(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        ruled(world, manual_from=10 * SHARE)
        listing = ListOf()
        world.desk.screening = listing
        claim = await final_burn(world, 10 * SHARE)
        assert await world.outcome(claim) == (Outcome.PARKED, "MANUAL_REVIEW")
        made = await proposed(world, ProposalKind.RELEASE, id_of(claim.message))
        listing.accounts[RECIPIENT] = "sanctions"
        assert await world.outcome(claim) == (Outcome.PARKED, "SCREENED")
        with pytest.raises(InvalidMessage, match="propose anew"):
            await agreed(world, made)
        again = "r-2"
        await decided(world, ProposalKind.RELEASE, id_of(claim.message), request_id=again)
        assert await world.outcome(claim) == (Outcome.PARKED, "MANUAL_REVIEW")
        await agreed(world, made)
        assert await world.outcome(claim) == GRANTED


class TestLimits:
    """Buckets, delays and sizes: from the registry, or as two people set them."""

    async def test_limits__set_at_run_time__bind_at_once_and_after_a_restart(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        full = Bucket(10 * SHARE, SHARE, 10 * SHARE, 0)
        limits = Limits(full, (Delay(8 * SHARE, 300),), 9 * SHARE)
        await decided(world, ProposalKind.LIMITS, ASSET, limits_text(limits))
        world.desk = world.new_desk()
        await world.scan()
        large, review = await final_burn(world, 8 * SHARE), await final_burn(world, 9 * SHARE)
        ruling = (await world.review(large))[0]
        burned_at = world.burned(large.tx).place.block.time if large.tx else 0
        assert (ruling.reason, ruling.until) == ("LARGE_TRANSFER_DELAY", burned_at + 300)
        assert await world.outcome(review) == (Outcome.PARKED, "MANUAL_REVIEW")
        small = [await final_burn(world, 6 * SHARE) for _ in range(2)]
        assert await world.outcome(small[0]) == GRANTED
        assert await world.outcome(small[1]) == (Outcome.HELD, "RATE_LIMITED")
        wide = limits_text(Limits(Bucket(90 * SHARE, 90 * SHARE, 90 * SHARE, 0)))
        await decided(world, ProposalKind.LIMITS, ASSET, wide, "r-2")
        await world.clock.advance(1)
        for claim in (*small, large, review):
            assert await world.outcome(claim) == GRANTED

    async def test_limits__of_one_asset__leave_the_others(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        ruled(world, manual_from=5 * SHARE)
        claim = await final_burn(world, 6 * SHARE)
        await decided(world, ProposalKind.LIMITS, OTHER, limits_text(Limits()))
        assert await world.outcome(claim) == (Outcome.PARKED, "MANUAL_REVIEW")
        await decided(world, ProposalKind.LIMITS, b"", limits_text(Limits()), "r-2")
        assert await world.outcome(claim) == GRANTED

    async def test_back_flow__a_burn_on_a_chain__refills_releases_to_it(
        self, store: GuardStore
    ) -> None:
        """INV-11: honest two-way traffic never runs dry; after Wormhole NTT."""
        bucket = Bucket(10 * SHARE, 0, 10 * SHARE, 0)
        world = World(store=store, policy=PolicyConfig(bucket=bucket))
        await world.funded(10 * SHARE)
        await world.release([world.order(2, 30 * SHARE).message])
        first, second = await final_burn(world, 10 * SHARE), await final_burn(world, 4 * SHARE)
        assert await world.outcome(first) == GRANTED
        assert await world.outcome(second) == (Outcome.HELD, "RATE_LIMITED")
        await world.release([first.message])
        world.mine()
        await world.scan()
        back = world.chains[Domain.BNB].burn(RECIPIENT, ASSET, Domain.MANTLE, HOLDER, 4 * SHARE)
        world.mine()
        await world.scan()
        assert await world.outcome(second) == (Outcome.HELD, "RATE_LIMITED")  # another lane's
        world.chains[Domain.BNB].burn(RECIPIENT, ASSET, Domain.ETHEREUM, HOLDER, 4 * SHARE)
        world.mine()
        await world.scan()
        assert await world.outcome(second) == GRANTED
        assert back.chain is Domain.BNB


class TestSupplyAge:
    """INV-16: a chain nobody has read lately is unknown, which is not the same as fine."""

    async def test_reading__older_than_its_limit__holds_until_it_is_read(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        ruled(world, supply_age_seconds_max=600)
        await audited(world)
        claim = await final_burn(world)
        await world.clock.advance(3_000)
        assert await world.outcome(claim) == (Outcome.HELD, "SUPPLY_UNKNOWN")
        await audited(world)
        assert await world.outcome(claim) == GRANTED


class TestOrphans:
    """A burn that names no transfer: refunded or given up, never both, and by two people."""

    async def test_write_off__by_two__leaves_the_exposure_once(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        orphan = await orphaned(world)
        used, lost = await booked(world)
        assert lost == orphan.amount
        made = await proposed(world, ProposalKind.WRITE_OFF, orphan.nonce)
        assert await booked(world) == (used, lost)
        await agreed(world, made)
        assert await booked(world) == (used - orphan.amount, 0)
        with pytest.raises(InvalidMessage, match="WRITE_OFF was approved"):
            await proposed(world, ProposalKind.ORPHAN_REFUND, orphan.nonce, request_id="r-2")
        again = await proposed(world, ProposalKind.WRITE_OFF, orphan.nonce, request_id="r-3")
        await agreed(world, again)
        assert await booked(world) == (used - orphan.amount, 0)

    async def test_refund__approved_first__excludes_the_write_off(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        orphan = await orphaned(world)
        both = [
            await proposed(world, kind, orphan.nonce, request_id=kind.value)
            for kind in (ProposalKind.ORPHAN_REFUND, ProposalKind.WRITE_OFF)
        ]
        await agreed(world, both[0])
        with pytest.raises(InvalidMessage, match="ORPHAN_REFUND was approved"):
            await agreed(world, both[1])
        async with world.store.read() as books:
            subjects = [bytes(orphan.nonce)]
            assert await books.approved(ProposalKind.ORPHAN_REFUND, subjects) == set(subjects)
            assert (await books.orphans(subjects))[orphan.nonce] == orphan


class TestAlarms:
    """INV-14: told once while it stands, and again when it comes back."""

    async def test_park__told_once__calm_when_it_goes_on(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        ruled(world, manual_from=5 * SHARE)
        claim = await final_burn(world, 5 * SHARE)
        for _ in range(3):
            await world.outcome(claim)
        scope = f"transfer/{id_of(claim.message).hex()}"
        assert await standing(world, "PARKED") == {scope: 1}
        await decided(world, ProposalKind.RELEASE, id_of(claim.message))
        await world.outcome(claim)
        assert await standing(world, "PARKED") == {}

    async def test_halt__told_once__calm_when_cleared(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        latched = [
            await halt(
                world.desk, asset=None, chain=Domain.BNB, reason="drill", by="a", request_id="h"
            )
            for _ in range(2)
        ]
        assert await standing(world, "HALTED") == {"chain/2": 1}
        for by in ("operator-1", "operator-2"):
            await resume(world.desk, halt_id=latched[0].id, by=by, reason="over")
        assert await standing(world, "HALTED") == {}

    async def test_denials__of_one_identity__one_alarm_with_their_count(
        self, store: GuardStore
    ) -> None:
        """F85: a dormant key that is tried out is heard before it fits."""
        world = World(store=store)
        await world.funded()
        denials = Denials()
        for _ in range(4):
            denials.note("old-admin", "/x/Resume", world.clock.unix_ms())
        assert await tell_denials(world.desk, denials) == ()
        for method in ("/x/Resume", "/x/Approve", "/x/Approve"):
            denials.note("old-admin", method, world.clock.unix_ms())
        denials.note("someone", "/x/Halt", world.clock.unix_ms())
        assert await tell_denials(world.desk, denials) == ("old-admin",)
        for _ in range(20):
            denials.note("old-admin", "/x/Resume", world.clock.unix_ms())
            assert await tell_denials(world.desk, denials) == ()
        async with world.store.read() as books:
            (told,) = [one for one in await books.alarms() if one.alarm.code == "DENIED"]
        assert told.alarm.scope == "identity/old-admin"
        assert told.alarm.detail == "old-admin was denied 7 times: Approve,Resume"
        assert any(one.startswith("denied identity=old-admin") for one in await lines_of(world))
        await world.clock.advance(601)
        for _ in range(5):
            denials.note("old-admin", "/x/Resume", world.clock.unix_ms())
        assert await tell_denials(world.desk, denials) == ("old-admin",)

    async def test_alarm__of_what_ends_by_time__calms_by_itself(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await final_burn(world)
        await paused(world, seconds=60)
        await proposed(world, ProposalKind.CANCEL, id_of(claim.message))
        await submit_corporate_action(world.desk, announcement(world))
        denials = Denials()
        for _ in range(5):
            denials.note("old-admin", "/x/Resume", world.clock.unix_ms())
        await tell_denials(world.desk, denials)
        assert await settle_alarms(world.desk) == ()
        over = []
        for seconds in (60, 540, PROPOSAL_SECONDS):
            await world.clock.advance(seconds)
            over.append(sorted(one.code for one in await settle_alarms(world.desk)))
        assert over == [["PAUSED"], ["DENIED"], ["CORPORATE_ACTION", "PROPOSED"]]
        assert await settle_alarms(world.desk) == ()

    async def test_alarm__the_same_thing__is_told_once_until_it_is_over(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        one, other = Alarm("X_CODE", "all", "first"), Alarm("X_CODE", "all", "second", "b")
        async with world.store.write() as unit:
            await unit.alarm([one, one, other], 1)
            await unit.alarm([replace(one, detail="again")], 2)
            await unit.journal(["note said=x"], 2)
        assert await standing(world, "X_CODE") == {"all": 2}
        async with world.store.write() as unit:
            await unit.calm("X_CODE", ["all"], "b")
            await unit.journal(["note said=y"], 3)
        async with world.store.read() as books:
            left = [r for r in await books.alarms() if r.alarm.code == "X_CODE"]
        assert [(r.alarm, r.at_ms) for r in left] == [(one, 1)]


async def standing(world: World, code: str) -> Mapping[str, int]:
    """How many alarms of a code stand per scope."""
    found: dict[str, int] = {}
    async with world.store.read() as books:
        for one in await books.alarms():
            if one.alarm.code == code:
                found[one.alarm.scope] = found.get(one.alarm.scope, 0) + 1
    return found


class TestCancelled:
    """A pause or a window stops releases; a cancel on chain books all the same."""

    async def test_cancel__under_a_pause__is_booked(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await paused(world)
        await world.release([message], Action.CANCEL)
        world.mine()
        await world.scan()
        assert await world.halts() == []

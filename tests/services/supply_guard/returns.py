"""What flows back, at one guard: who may cancel, what a REFUND stands on, and attacks on both.

One suite for both memories of a guard. Everything a guard books comes from the fake chains; the
holder's papers are signed with the holder's own key.
"""

from dataclasses import replace

import pytest

from tests.services.supply_guard.world import ASSET, DEPLOYMENT, HOLDER, SHARE, World, id_of
from xstock_core.holder import address_of_key
from xstock_core.ids import EVM_WIDTH_DOMAINS, Address32, Domain
from xstock_core.message import TransferMessage
from xstock_core.observation import BlockRef, OrphanBurn, Place, TxRef, by_id
from xstock_core.policy import POLICIES, check_evidence
from xstock_core.refund import refund_of, refund_of_orphan
from xstock_core.refusal import Reason, Verdict, refuse
from xstock_core.release import Action
from xstock_core.review import Claim, Context
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.handlers import cancelling
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.cancelling import REQUEST_SECONDS_MAX
from xstock_supply_guard.handlers.proposals import Person, approve, propose
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import (
    CancelPaper,
    Outcome,
    PolicyConfig,
    ProposalKind,
    RedemptionRecord,
    RedemptionState,
    SignAnswer,
    SubmittedClaim,
)
from xstock_supply_guard.ports import GuardStore
from xstock_wire.papers import CANCEL_REQUEST, PaperKey
from xstock_wire.v1 import papers_pb2

GRANTED = (Outcome.GRANTED, "")
HOLDERS_KEY = PaperKey.of_holder(keccak256(b"xstock/fake-key" + b"holder"))
STRANGERS_KEY = PaperKey.of_holder(keccak256(b"stranger"))
ACCOUNT = Address32(keccak256(b"custody account"))


def request_by(
    world: World, message: TransferMessage, key: PaperKey = HOLDERS_KEY, life: int = 600
) -> CancelPaper:
    """A holder's request to cancel, through the wire."""
    paper = papers_pb2.CancelRequest(
        transfer_id=id_of(message), expires=world.now + life, reason="I changed my mind"
    )
    return wire.cancel_from_wire(key.sign(CANCEL_REQUEST, DEPLOYMENT, paper), DEPLOYMENT)


async def sign_cancel(world: World, message: TransferMessage, *papers: CancelPaper) -> SignAnswer:
    """What the guard says to a cancellation with these papers."""
    request = world.request([message], action=Action.CANCEL)
    return await sign_release(world.desk, replace(request, cancels=papers))


async def held(world: World, amount: int = SHARE) -> TransferMessage:
    """A final burn that this guard holds."""
    tx = world.burn(amount)
    world.mine()
    await world.scan()
    claim = world.claim(tx)
    ruling = (await review_transfers(world.desk, [claim], (check_evidence, _hold)))[0]
    assert ruling.outcome is Outcome.HELD
    return claim.message


def _hold(context: Context, claim: Claim) -> Verdict:
    """A policy that holds everything."""
    del context, claim
    return refuse(Reason.RATE_LIMITED)


async def by_people(world: World, kind: ProposalKind, subject: bytes) -> None:
    """An operator proposes, an approver approves."""
    made = await propose(
        world.desk,
        Person("operator-1", frozenset({"operator", "approver"})),
        kind=kind,
        subject=subject,
        reason="the holder asked by phone",
        request_id=f"{kind.value}-{subject.hex()[:8]}",
    )
    other = Person("operator-2", frozenset({"operator", "approver"}))
    await approve(world.desk, other, proposal_id=made.id, reason="checked")


def refund_claim(world: World, message: TransferMessage) -> SubmittedClaim:
    """The claim of a cancelled transfer's refund."""
    bridge = world.chains[message.destination].config.bridge
    return SubmittedClaim(refund_of(message, bridge, keccak256))


async def redeemed(world: World, amount: int = 10 * SHARE) -> SubmittedClaim:
    """A final burn towards custody, and its claim."""
    chain = world.chains[Domain.ETHEREUM]
    tx = chain.burn(HOLDER, ASSET, Domain.CUSTODY, ACCOUNT, amount)
    chain.mine()
    world.mine()
    await world.scan()
    return world.claim(tx)


async def custody_says(world: World, claim: SubmittedClaim, state: RedemptionState) -> None:
    """Custody's last word, as the papers' handlers book it."""
    record = RedemptionRecord(id_of(claim.message), state, bytes(32), 1, ASSET, "wrong account")
    async with world.store.write() as unit:
        await unit.add_redemptions([record])


class TestCancel:
    """A CANCEL takes a release away for ever; only who may ask for it gets one."""

    async def test_cancel__by_the_holder_of_what_is_held__signed(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await held(world)
        assert (await sign_cancel(world, message, request_by(world, message))).signature

    async def test_cancel__above_the_cap__signed_all_the_same(self, store: GuardStore) -> None:
        """It mints nothing; the REFUND waits like any release."""
        world = World(store=store)
        await world.funded()
        message = await held(world)
        await world.attest(SHARE, sequence=2)
        assert (await sign_cancel(world, message, request_by(world, message))).signature
        await world.release([message], Action.CANCEL)
        world.mine()
        await world.scan()
        refund = refund_claim(world, message)
        assert await world.outcome(refund) == (Outcome.HELD, "CAP_EXCEEDED")
        await world.attest(1000 * SHARE, sequence=3)
        assert await world.outcome(refund) == GRANTED

    async def test_cancel__paper_by_a_stranger_or_stale_or_for_too_long__refused(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        message = await held(world)
        borrowed = request_by(world, message, STRANGERS_KEY)
        forged = replace(borrowed, statement=replace(borrowed.statement, key_id=HOLDERS_KEY.key_id))
        garbage = replace(borrowed, statement=replace(borrowed.statement, key_id="zz"))
        late = request_by(world, message, life=0)
        eternal = request_by(world, message, life=REQUEST_SECONDS_MAX + 1)
        for paper in (borrowed, forged, garbage, late, eternal):
            answer = await sign_cancel(world, message, paper)
            assert not answer.signature
            assert answer.refusals[0].reason == "NOT_CANCELLABLE"
            assert answer.refusals[0].detail["remedy"]

    async def test_cancel__stranger_with_the_check_taken_out__would_be_signed(
        self, store: GuardStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Defence removed: anybody could take anybody's transfer back."""
        world = World(store=store)
        await world.funded()
        message = await held(world)
        monkeypatch.setattr(cancelling, "_check_paper", lambda *_: None)
        paper = request_by(world, message, STRANGERS_KEY)
        assert (await sign_cancel(world, message, paper)).signature

    async def test_cancel__paper_of_another_transfer__refused(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message, other = await held(world), await another(world)
        answer = await sign_cancel(world, message, request_by(world, other))
        assert answer.refusals[0].reason == "NOT_CANCELLABLE"

    async def test_cancel__of_what_is_granted__only_after_a_permit_lifetime(
        self, store: GuardStore
    ) -> None:
        """F58: a recipient that was frozen since the grant does not keep the shares for ever."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        answer = await sign_cancel(world, message, request_by(world, message))
        assert answer.refusals[0].outcome is Outcome.HELD
        assert answer.refusals[0].until > world.now
        await world.clock.advance(3601)
        world.mine()
        await world.scan()
        assert (await sign_cancel(world, message, request_by(world, message))).signature

    async def test_cancel__approved_by_people__signed_whatever_it_is(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        assert not (await sign_cancel(world, message)).signature
        await by_people(world, ProposalKind.CANCEL, id_of(message))
        assert (await sign_cancel(world, message)).signature

    async def test_cancel__of_an_unverified_burn__never(self, store: GuardStore) -> None:
        """F05: a claim that this guard's own scan has not confirmed leads to nothing."""
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        claim = world.claim(tx)
        await world.review(claim)
        answer = await sign_cancel(world, claim.message, request_by(world, claim.message))
        assert not answer.signature
        assert answer.refusals[0].reason == "SOURCE_NOT_FINAL"

    async def test_cancel__after_the_release__refused(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await world.release([message])
        world.mine()
        await world.scan()
        await by_people(world, ProposalKind.CANCEL, id_of(message))
        assert (await sign_cancel(world, message)).refusals[0].reason == "ALREADY_EXECUTED"

    async def test_cancel__of_a_refund_or_redemption__refused(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await world.release([message], Action.CANCEL)
        world.mine()
        await world.scan()
        refund = refund_claim(world, message)
        assert await world.outcome(refund) == GRANTED
        answer = await sign_cancel(world, refund.message, request_by(world, refund.message))
        assert answer.refusals[0].reason == "NOT_CANCELLABLE"


async def another(world: World) -> TransferMessage:
    """Another burn, held as well."""
    tx = world.burn(2 * SHARE)
    world.mine()
    await world.scan()
    await world.review(world.claim(tx))
    return world.claim(tx).message


class TestRefund:
    """One burn flows back at most once, and only when it can go nowhere else."""

    async def test_refund__of_a_released_transfer__never(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await world.release([message])
        world.mine()
        await world.scan()
        refund = refund_claim(world, message)
        assert await world.outcome(refund) == (Outcome.REJECTED, "BURN_UNKNOWN")

    async def test_refund__both_permits_out_and_the_release_lands__no_refund(
        self, store: GuardStore
    ) -> None:
        """Release and cancel are both signed; the destination takes one, the refund follows it."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        assert (await world.sign(message)).signature
        await by_people(world, ProposalKind.CANCEL, id_of(message))
        assert (await sign_cancel(world, message)).signature
        refund = refund_claim(world, message)
        assert await world.outcome(refund) == (Outcome.HELD, "CANCEL_NOT_FINAL")
        await world.release([message])
        await world.release([message], Action.CANCEL)
        world.mine()
        await world.scan()
        assert await world.outcome(refund) == (Outcome.REJECTED, "BURN_UNKNOWN")
        assert await world.halts() == []

    @pytest.mark.parametrize("seen", ["release first", "refund first", "burn last"])
    async def test_refund__of_what_was_released_too__halts_the_asset(
        self, store: GuardStore, seen: str
    ) -> None:
        """INV-02: the ledger's sums hide it (IN_FLIGHT may be below zero), so the keys must not."""
        world = World(store=store)
        await world.funded()
        if seen == "burn last":
            message = world.claim(world.burn()).message
        else:
            message = await world.granted()
        refund = refund_claim(world, message).message
        order = [message, refund] if seen == "release first" else [refund, message]
        for one in order:
            await world.release([one])
            for chain in world.chains.values():
                chain.mine(3)
            if seen != "burn last":
                await world.scan()
        await world.scan(*((Domain.BNB,) if seen == "burn last" else ()))
        await world.scan()
        assert any("released and refunded" in reason for reason in await world.halts())

    async def test_refund__released_once__the_second_is_refused(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await world.release([message], Action.CANCEL)
        world.mine()
        await world.scan()
        refund = refund_claim(world, message)
        assert await world.outcome(refund) == GRANTED
        assert (await world.sign(refund.message)).signature
        await world.release([refund.message])
        await world.release([refund.message])
        world.mine()
        await world.scan()
        assert (await world.sign(refund.message)).refusals[0].reason == "ALREADY_EXECUTED"
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.in_flight, book.exposure) == (0, 100 * SHARE)
        assert await world.halts() == []

    @pytest.mark.parametrize("chain", [Domain.ETHEREUM, Domain.BNB])
    async def test_refund__providers_of_either_chain_disagree__not_signed(
        self, store: GuardStore, chain: Domain
    ) -> None:
        """It stands on the burn and on its cancellation, so a doubt about either holds it."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await world.release([message], Action.CANCEL)
        world.mine()
        await world.scan()
        refund = refund_claim(world, message)
        assert await world.outcome(refund) == GRANTED
        async with world.store.write() as unit:
            scan = (await unit.scans())[chain]
            await unit.save_scan(replace(scan, dissent_since_ms=1))
        answer = await world.sign(refund.message)
        assert [one.reason for one in answer.refusals] == ["SOURCE_DISSENT"]

    async def test_refund__above_the_size__parked_until_people_approve(
        self, store: GuardStore
    ) -> None:
        world = World(store=store, policy=PolicyConfig(refund_review_from=10 * SHARE))
        await world.funded()
        message = await world.granted(10 * SHARE)
        await world.release([message], Action.CANCEL)
        world.mine()
        await world.scan()
        refund = refund_claim(world, message)
        assert await world.outcome(refund) == (Outcome.PARKED, "MANUAL_REVIEW")
        await by_people(world, ProposalKind.REFUND, id_of(message))
        assert await world.outcome(refund) == GRANTED

    async def test_refund__of_a_redemption__only_after_custodys_rejection(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        claim = await redeemed(world)
        assert await world.outcome(claim) == (Outcome.HELD, "REDEMPTION_UNPAID")
        refund = SubmittedClaim(refund_of(claim.message, HOLDER, keccak256))
        assert await world.outcome(refund) == (Outcome.HELD, "CANCEL_NOT_FINAL")
        await custody_says(world, claim, RedemptionState.REJECTED)
        assert await world.outcome(claim) == (Outcome.PARKED, "REDEMPTION_REJECTED")
        assert await world.outcome(refund) == GRANTED
        assert (await world.sign(refund.message)).signature
        await world.release([refund.message])
        world.mine()
        await world.scan()
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.unpaid_redemption, book.exposure) == (0, 100 * SHARE)
        assert await world.halts() == []

    async def test_redemption__rejected__leaves_no_alarm_that_nobody_can_end(
        self, store: GuardStore
    ) -> None:
        """INV-14: its own ruling never changes again, so nothing would ever calm the alarm."""
        world = World(store=store)
        await world.funded()
        claim = await redeemed(world)
        await custody_says(world, claim, RedemptionState.REJECTED)
        assert await world.outcome(claim) == (Outcome.PARKED, "REDEMPTION_REJECTED")
        async with world.store.read() as books:
            assert "PARKED" not in {one.alarm.code for one in await books.alarms()}

    async def test_refund__of_a_paid_redemption__never(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await redeemed(world)
        await custody_says(world, claim, RedemptionState.PAID)
        assert await world.outcome(claim) == GRANTED
        refund = SubmittedClaim(refund_of(claim.message, HOLDER, keccak256))
        assert await world.outcome(refund) == (Outcome.REJECTED, "BURN_UNKNOWN")

    async def test_redemption__granted__there_is_nothing_to_sign(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = await redeemed(world)
        await custody_says(world, claim, RedemptionState.PAID)
        assert await world.outcome(claim) == GRANTED
        request = replace(
            world.request([refund_of(claim.message, HOLDER, keccak256)]),
            items=world.request([replace(claim.message, destination=Domain.BNB)]).items,
        )
        answer = await sign_release(world.desk, request)
        assert answer.refusals[0].reason == "NOT_GRANTED"

    async def test_refund__evidence_not_asked_for__would_grant_a_double_refund(
        self, store: GuardStore
    ) -> None:
        """Defence removed: without `check_evidence` a released transfer would flow back too."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await world.release([message])
        world.mine()
        await world.scan()
        refund = refund_claim(world, message)
        credulous = [policy for policy in POLICIES if policy is not check_evidence]
        (ruling,) = await review_transfers(world.desk, [refund], credulous)
        assert ruling.outcome is Outcome.GRANTED


class TestOrphanRefund:
    """An orphan burn flows back when two people say so, to the owner, once."""

    async def test_orphan__approved_by_two__its_refund_is_granted(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        orphan, claim = await orphaned(world)
        assert await world.outcome(claim) == (Outcome.PARKED, "MANUAL_REVIEW")
        await by_people(world, ProposalKind.ORPHAN_REFUND, orphan.nonce)
        assert await world.outcome(claim) == GRANTED
        more = SubmittedClaim(replace(claim.message, recipient=HOLDERS_OTHER))
        assert await world.outcome(more) == (Outcome.REJECTED, "CONTENT_MISMATCH")

    async def test_orphan__burned_by_the_issuers_delegate__is_never_refunded(
        self, store: GuardStore
    ) -> None:
        """What was taken away by right must not be minted back, whoever agrees."""
        world = World(store=store)
        await world.funded()
        orphan, _ = await orphaned(world, book=False)
        seized = replace(orphan, reason="burned by 9xQe, not by its owner: memo: none")
        assert (orphan.by_owner, seized.by_owner) == (True, False)
        async with world.store.write() as unit:
            await unit.add_observations(by_id([seized]))
        with pytest.raises(InvalidMessage, match="never refunded"):
            await by_people(world, ProposalKind.ORPHAN_REFUND, orphan.nonce)
        await by_people(world, ProposalKind.WRITE_OFF, orphan.nonce)

    async def test_orphan__nobody_burned__its_refund_waits(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        _, claim = await orphaned(world, book=False)
        assert await world.outcome(claim) == (Outcome.HELD, "SOURCE_NOT_FINAL")


HOLDERS_OTHER = Address32(keccak256(b"somebody else"))


async def orphaned(world: World, *, book: bool = True) -> tuple[OrphanBurn, SubmittedClaim]:
    """An orphan burn in the books, put there as a scan of Solana would; Solana is configured."""
    mantle = world.desk.config.chains[Domain.MANTLE]
    chains = {**world.desk.config.chains, Domain.SOLANA: replace(mantle, domain=Domain.SOLANA)}
    world.desk.config = replace(world.desk.config, chains=chains)
    world.desk.live.caught_up.add(Domain.SOLANA)
    block = BlockRef(Domain.SOLANA, 7, bytes(31) + b"\x07", world.now)
    orphan = OrphanBurn(
        asset=ASSET,
        owner=Address32(keccak256(b"owner")),
        amount=world.burned(world.burn()).message.amount,
        reason="no memo",
        nonce=world.burned(world.burn()).message.nonce,
        place=Place(block, TxRef(Domain.SOLANA, bytes(64)), 0),
    )
    if book:
        async with world.store.write() as unit:
            await unit.add_observations(by_id([orphan]))
    reference = world.chains[Domain.MANTLE].config.bridge
    return orphan, SubmittedClaim(refund_of_orphan(orphan, reference, keccak256))


def test_address_of_key__secp256k1__is_the_address_that_the_chain_shows() -> None:
    key = bytes.fromhex(HOLDERS_KEY.key_id)
    for chain in EVM_WIDTH_DOMAINS:
        assert address_of_key(chain, key) == HOLDER
    assert address_of_key(Domain.SOLANA, bytes(range(32))) == bytes(range(32))


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        (Domain.TON, bytes(32)),
        (Domain.ETHEREUM, bytes(32)),
        (Domain.ETHEREUM, b"\x04" + bytes(32)),
        (Domain.ETHEREUM, b"\x02" + b"\xff" * 32),
        (Domain.ETHEREUM, b"\x02" + bytes(31) + b"\x05"),
        (Domain.SOLANA, bytes(33)),
        (Domain.CUSTODY, b"\x02" + bytes(31) + b"\x01"),
    ],
)
def test_address_of_key__no_key_of_the_chain__is_nobody(chain: Domain, key: bytes) -> None:
    assert address_of_key(chain, key) is None

"""What must hold whatever memory the guard has; run on memory here and on PostgreSQL too.

Each test takes a `store`. The defence under test is taken out in the test's own composition at
the end of its file (`test_defences_removed.py`), where the checker is seen to fail.
"""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import pytest

from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    DEPLOYMENT,
    GUARDS,
    HOLDER,
    OTHER,
    RECIPIENT,
    SHARE,
    STRANGER,
    World,
    id_of,
)
from xstock_chains.fake import Lie
from xstock_chains.fake.state import AssetRules
from xstock_core.amount import Shares
from xstock_core.bucket import Bucket
from xstock_core.ids import Address32, Domain, counter_nonce
from xstock_core.message import make_message
from xstock_core.observation import TxRef
from xstock_core.refund import refund_of
from xstock_core.release import Action, ReleaseBatch, item_of, sorted_items
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.halting import excess, halt, resume
from xstock_supply_guard.handlers.origin import begin
from xstock_supply_guard.handlers.post import Booked, post_page
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import (
    IssueRecord,
    OrderState,
    Outcome,
    PolicyConfig,
    SubmittedClaim,
    UnreadableClaim,
)
from xstock_supply_guard.ports import GuardStore
from xstock_wire.papers import ATTESTATION, ISSUE_ORDER
from xstock_wire.v1 import papers_pb2, supply_guard_pb2

GRANTED = (Outcome.GRANTED, "")
USED = (Outcome.REJECTED, "ALREADY_EXECUTED")


def forged_claim(world: World, *, block: int = 1, amount: int = SHARE) -> SubmittedClaim:
    """A claim of a burn that never was."""
    bridge = world.chains[Domain.ETHEREUM].config.bridge
    message = make_message(
        kind=1,
        source=1,
        destination=2,
        nonce=counter_nonce(bridge, 999),
        source_bridge=bridge,
        asset=ASSET,
        refund_address=HOLDER,
        recipient=RECIPIENT,
        amount=amount,
    )
    return SubmittedClaim(message, TxRef(Domain.ETHEREUM, b"\x01" * 32), block)


def lie_of(claim: SubmittedClaim, block: int) -> Lie:
    """What a poisoned provider shows for a forged claim."""
    message = claim.message
    return Lie(
        height=block,
        destination=message.destination,
        asset=message.asset,
        sender=HOLDER,
        recipient=message.recipient,
        amount=message.amount,
    )


class TestForgedClaims:
    """INV-01 from the guard's seat."""

    async def test_review__burn_that_never_was__rejected(self, store: GuardStore) -> None:
        """F01: a forged claim meets this guard's own books, through its own providers."""
        world = World(store=store)
        await world.funded()
        assert await world.outcome(forged_claim(world)) == (Outcome.REJECTED, "BURN_UNKNOWN")

    async def test_review__claim_beyond_the_cursor__held_not_rejected(
        self, store: GuardStore
    ) -> None:
        """What the cursor has not reached is a wait, never evidence of absence."""
        world = World(store=store)
        await world.funded()
        claim = forged_claim(world, block=10_000)
        assert await world.outcome(claim) == (Outcome.HELD, "SOURCE_NOT_FINAL")
        without_hint = replace(claim, block_number=0)
        assert await world.outcome(without_hint) == (Outcome.HELD, "SOURCE_NOT_FINAL")

    async def test_review__wrong_hint_for_a_true_burn__granted_once_it_is_booked(
        self, store: GuardStore
    ) -> None:
        """A relayer's wrong hint costs a transfer nothing but time."""
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        claim = replace(world.claim(tx), block_number=1)
        assert await world.outcome(claim) == (Outcome.REJECTED, "BURN_UNKNOWN")
        world.mine()
        await world.scan()
        assert await world.outcome(claim) == GRANTED

    @pytest.mark.parametrize("field", ["amount", "recipient", "asset", "refund_address"])
    async def test_review__claim_differs_from_the_burn__rejected(
        self, store: GuardStore, field: str
    ) -> None:
        """INV-03: same lane and nonce, other content."""
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        world.mine()
        await world.scan()
        claim = world.claim(tx)
        others: dict[str, Any] = {
            "amount": 2 * SHARE,
            "recipient": HOLDER,
            "asset": OTHER,
            "refund_address": RECIPIENT,
        }
        message = replace(claim.message, **{field: others[field]})
        changed = replace(claim, message=message)
        assert await world.outcome(changed) == (Outcome.REJECTED, "CONTENT_MISMATCH")
        assert await world.outcome(claim) == GRANTED

    async def test_scan__one_poisoned_provider_of_three__holds_with_evidence(
        self, store: GuardStore
    ) -> None:
        """F01: one provider forges a final burn: dissent is a HOLD of that chain, no grant."""
        world = World(store=store)
        await world.funded()
        world.mine()
        height = world.chains[Domain.ETHEREUM].final.number
        claim = forged_claim(world, block=height)
        world.nodes[Domain.ETHEREUM][0].faults.forged = (lie_of(claim, height),)
        await world.scan(Domain.ETHEREUM)
        ruling = await world.outcome(claim)
        assert ruling == (Outcome.HELD, "SOURCE_DISSENT")
        world.nodes[Domain.ETHEREUM][0].faults.forged = ()
        await world.scan()
        assert (await world.outcome(forged_claim(world)))[0] is Outcome.REJECTED

    async def test_scan__providers_dropped_one_by_one_while_one_forges__never_granted(
        self, store: GuardStore
    ) -> None:
        """F02: the threshold counts configured providers; taking some away lowers nothing."""
        world = World(store=store)
        await world.funded()
        world.mine()
        height = world.chains[Domain.ETHEREUM].final.number
        claim = forged_claim(world, block=height)
        world.nodes[Domain.ETHEREUM][0].faults.forged = (lie_of(claim, height),)
        for stopped in (1, 2):
            world.nodes[Domain.ETHEREUM][stopped].faults.stopped = True
            with contextlib.suppress(Transient):
                await world.scan(Domain.ETHEREUM)
            assert (await world.outcome(claim))[0] is not Outcome.GRANTED

    async def test_scan__dissent_that_lasts__latches_a_halt(self, store: GuardStore) -> None:
        """F01: dissent about final data beyond ten minutes is a latched HALT of the chain."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        world.mine()
        height = world.chains[Domain.ETHEREUM].final.number
        lie = lie_of(forged_claim(world), height)
        world.nodes[Domain.ETHEREUM][0].faults.forged = (lie,)
        await world.scan(Domain.ETHEREUM)
        assert await world.halts() == []
        assert (await world.sign(message)).refusals[0].reason == "SOURCE_DISSENT"
        await world.clock.advance(601)
        await world.scan(Domain.ETHEREUM)
        assert ["PROVIDER_DISSENT" in reason for reason in await world.halts()] == [True]
        world.nodes[Domain.ETHEREUM][0].faults.forged = ()
        await world.scan(Domain.ETHEREUM)
        assert (await world.sign(message)).refusals[0].reason == "HALTED"

    async def test_scan__finality_reversed__halts_at_once(self, store: GuardStore) -> None:
        """F14, INV-10: the chain under the registered id became another one: HALT at once."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        chain = world.chains[Domain.ETHEREUM]
        height = chain.head.number
        chain.reorg(height - 1, past_finality=True)
        chain.mine(height + 2)
        await world.scan(Domain.ETHEREUM)
        assert any(reason.startswith("INV-10") for reason in await world.halts())
        assert (await world.sign(message)).refusals[0].reason == "HALTED"


class TestBoundary:
    """F10 and F57 where claims, orders and attestations enter."""

    @pytest.mark.parametrize(
        "message",
        [b"", bytes(179), b"\x01" * 178, b"\xff" * 179, b"\x01" + bytes(178)],
        ids=["empty", "zeros", "short", "ones", "defaults"],
    )
    async def test_review__no_message_at_all__rejected_alone(
        self, store: GuardStore, message: bytes
    ) -> None:
        """F10: zero and default values are no message; the honest claim beside it is judged."""
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        world.mine()
        await world.scan()
        bad = wire.claim_from_wire(supply_guard_pb2.Claim(message=message), "test")
        rulings = await world.review(bad, world.claim(tx))
        assert [one.outcome for one in rulings] == [Outcome.REJECTED, Outcome.GRANTED]
        assert rulings[0].detail["error"].startswith("message")

    @pytest.mark.parametrize("digits", ["", "0", "-1", "1.5", "1e18", "NaN", "0x10", "9" * 61])
    async def test_attestation__multiplier_is_no_positive_integer__refused(
        self, store: GuardStore, digits: str
    ) -> None:
        """F57: integers as decimal digits only."""
        world = World(store=store)
        paper = papers_pb2.Attestation(
            asset=ASSET, held_units=1, as_of=world.now, sequence=1, multiplier=digits
        )
        signed = ATTESTOR.sign(ATTESTATION, DEPLOYMENT, paper)
        with pytest.raises(InvalidMessage, match="multiplier"):
            wire.attestation_from_wire(signed, DEPLOYMENT)

    async def test_order__of_zero__refused(self, store: GuardStore) -> None:
        """F10, F57: an order of nothing is no order."""
        world = World(store=store)
        with pytest.raises(InvalidMessage, match="amount"):
            world.order(1, 0)


class TestCap:
    """INV-04: exposure against what custody attests."""

    async def test_issue__above_the_cap__held_with_the_numbers(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded(100 * SHARE, held=150 * SHARE)
        ruling = (await world.review(world.order(2, 51 * SHARE)))[0]
        assert (ruling.outcome, ruling.reason) == (Outcome.HELD, "CAP_EXCEEDED")
        assert ruling.detail["exposure"] == str(100 * SHARE)
        assert ruling.detail["cap"] == str(150 * SHARE)
        assert ruling.detail["amount"] == str(51 * SHARE)

    async def test_issue__exactly_the_cap__granted(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded(100 * SHARE, held=150 * SHARE)
        assert await world.outcome(world.order(2, 50 * SHARE)) == GRANTED
        assert await world.outcome(world.order(3, 1)) == (Outcome.HELD, "CAP_EXCEEDED")

    async def test_attestation__of_zero__every_release_waits(self, store: GuardStore) -> None:
        """An attestation of zero is a valid statement: cap 0, nothing leaves, all is shown."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        attested = await world.attest(0, sequence=2)
        assert attested.cap == 0
        refused = (await world.sign(message)).refusals[0]
        assert (refused.outcome, refused.reason) == (Outcome.HELD, "CAP_EXCEEDED")
        tx = world.burn()
        world.mine()
        await world.scan()
        assert await world.outcome(world.claim(tx)) == (Outcome.HELD, "CAP_EXCEEDED")
        ruling = (await world.review(world.order(2, 1)))[0]
        assert (ruling.reason, ruling.detail["cap"]) == ("CAP_EXCEEDED", "0")
        await world.attest(1000 * SHARE, sequence=3)
        assert (await world.sign(message)).signature
        assert await world.outcome(world.claim(tx)) == GRANTED

    async def test_attestation__none_or_stale__held(self, store: GuardStore) -> None:
        world = World(store=store)
        world.mine()
        await world.scan()
        assert await world.outcome(world.order(1, 1)) == (Outcome.HELD, "COLLATERAL_UNKNOWN")
        await world.attest(SHARE, age=86_401)
        assert await world.outcome(world.order(1, 1)) == (Outcome.HELD, "COLLATERAL_STALE")
        await world.attest(SHARE, sequence=2)
        assert await world.outcome(world.order(1, 1)) == GRANTED

    async def test_attestation__stale_at_signing__held(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await world.clock.advance(86_401)
        world.mine()
        await world.scan()
        assert (await world.sign(message)).refusals[0].reason == "COLLATERAL_STALE"

    async def test_attestation__unbelievable__refused(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.attest(SHARE, sequence=5, epoch=3)
        with pytest.raises(InvalidMessage, match="signature"):
            await world.attest(SHARE, sequence=6, key=STRANGER)
        with pytest.raises(InvalidMessage, match="sequence"):
            await world.attest(2 * SHARE, sequence=5, epoch=3)
        with pytest.raises(InvalidMessage, match="as_of"):
            await world.attest(SHARE, sequence=6, age=-31, epoch=3)
        with pytest.raises(InvalidMessage, match="as_of"):
            await world.attest(SHARE, sequence=6, age=10, epoch=3)
        with pytest.raises(InvalidMessage, match="multiplier_epoch"):
            await world.attest(SHARE, sequence=6, epoch=2)
        assert (await world.attest(SHARE, sequence=5, epoch=3)).sequence == 5

    async def test_issue__sixteen_clients_at_once__never_above_the_cap(
        self, store: GuardStore
    ) -> None:
        """F49: 16 concurrent clients, 400 each, on a cap of 2,000: five are granted, no sixth."""
        world = World(store=store)
        world.mine()
        await world.scan()
        await world.attest(2_000)

        async def client() -> int:
            granted = 0
            for number in range(1, 17):
                ruling = (await world.review(world.order(number, 400)))[0]
                granted += ruling.outcome is Outcome.GRANTED
            return granted

        await asyncio.gather(*(client() for _ in range(16)))
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.exposure, book.open_issuance, book.last_order_number) == (2_000, 2_000, 5)


class TestIssuance:
    """Issuance is a dense, signed, expiring sequence."""

    async def test_order__signed_by_a_stranger__rejected(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = world.order(2, SHARE, key=STRANGER)
        assert await world.outcome(claim) == (Outcome.REJECTED, "ISSUE_SIGNATURE_INVALID")
        bare = replace(world.order(2, SHARE), order=None)
        assert await world.outcome(bare) == (Outcome.REJECTED, "ISSUE_SIGNATURE_INVALID")

    async def test_order__skips_a_number__held(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        assert await world.outcome(world.order(3, 1)) == (Outcome.HELD, "ISSUE_OUT_OF_ORDER")
        assert await world.outcome(world.order(2, 1)) == GRANTED
        assert await world.outcome(world.order(3, 1)) == GRANTED

    async def test_order__same_number_other_content__rejected(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        assert await world.outcome(world.order(2, 1)) == GRANTED
        assert (await world.outcome(world.order(2, 2)))[0] is Outcome.REJECTED

    async def test_order__expired_or_too_long__rejected(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        assert await world.outcome(world.order(2, 1, life=0)) == (
            Outcome.REJECTED,
            "ISSUE_EXPIRED",
        )
        too_long = world.order(2, 1, life=86_401)
        assert await world.outcome(too_long) == (Outcome.REJECTED, "DEADLINE_OUT_OF_RANGE")

    async def test_order__permit_beyond_its_expiry__refused(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = world.order(2, 1, life=300)
        assert await world.outcome(claim) == GRANTED
        late = world.request([claim.message], life=600)
        answer = await sign_release(world.desk, late)
        assert answer.refusals[0].reason == "DEADLINE_OUT_OF_RANGE"
        assert (await sign_release(world.desk, world.request([claim.message], life=200))).signature

    async def test_order__expired_unused_in_final_time__room_comes_back(
        self, store: GuardStore
    ) -> None:
        """INV-07: the reservation falls only when the destination's final time has passed it."""
        world = World(store=store)
        await world.funded(100 * SHARE, held=150 * SHARE)
        assert await world.outcome(world.order(2, 50 * SHARE, life=600)) == GRANTED
        blocked = world.order(3, 50 * SHARE, life=3000)
        await world.clock.advance(601)
        assert await world.outcome(blocked) == (Outcome.HELD, "CAP_EXCEEDED")
        world.mine()
        await world.scan()
        assert await world.outcome(blocked) == GRANTED
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.open_issuance, book.exposure) == (50 * SHARE, 150 * SHARE)

    async def test_order__over_the_cap_and_expired__the_next_number_goes_on(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded(100 * SHARE, held=150 * SHARE)
        over = world.order(2, 51 * SHARE, life=600)
        assert await world.outcome(over) == (Outcome.HELD, "CAP_EXCEEDED")
        assert await world.outcome(world.order(3, 1)) == (Outcome.HELD, "ISSUE_OUT_OF_ORDER")
        await world.clock.advance(601)
        world.mine()
        await world.scan()
        assert await world.outcome(world.order(3, 1)) == GRANTED

    async def test_cancel__of_an_order__needs_the_issuers_void(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        claim = world.order(2, SHARE)
        assert await world.outcome(claim) == GRANTED
        request = world.request([claim.message], action=Action.CANCEL)
        answer = await sign_release(world.desk, request)
        assert answer.refusals[0].reason == "NOT_CANCELLABLE"
        for key, allowed in ((STRANGER, False), (None, True)):
            paper = world.void(2, key) if key else world.void(2)
            void = wire.void_from_wire(paper, "test")
            answer = await sign_release(world.desk, replace(request, voids=(void,)))
            assert bool(answer.signature) is allowed
        await world.release([claim.message], Action.CANCEL)
        world.mine()
        await world.scan()
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.open_issuance, book.last_order_number) == (0, 2)
        assert (await world.sign(claim.message)).refusals[0].reason == "ALREADY_EXECUTED"

    async def test_release__of_an_order_this_guard_never_saw__booked_within_the_cap(
        self, store: GuardStore
    ) -> None:
        """A guard that was away books what the others granted, and the sequence goes on."""
        world = World(store=store)
        await world.funded()
        await world.release([world.order(2, SHARE).message])
        world.mine()
        await world.scan()
        assert await world.halts() == []
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.exposure, book.last_order_number) == (101 * SHARE, 2)

    async def test_release__of_an_unseen_order_above_the_new_cap__holds_and_resumes_by_itself(
        self, store: GuardStore
    ) -> None:
        """INV-04, honest world: away while the others granted, then custody's stock fell."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await world.release([world.order(2, 100 * SHARE).message])
        world.mine()
        await world.attest(150 * SHARE, sequence=2)
        booked = await world.scan()
        assert [one.over_cap for one in booked if isinstance(one, Booked) and one.over_cap] == [
            (ASSET,)
        ]
        assert await world.halts() == []
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.exposure, book.cap) == (200 * SHARE, 150 * SHARE)
        refused = (await world.sign(message)).refusals[0]
        assert (refused.outcome, refused.reason) == (Outcome.HELD, "CAP_EXCEEDED")
        assert await world.outcome(world.order(3, 1)) == (Outcome.HELD, "CAP_EXCEEDED")
        await world.attest(200 * SHARE, sequence=3)
        assert (await world.sign(message)).signature

    async def test_release__unseen_order_before_any_attestation__holds(
        self, store: GuardStore
    ) -> None:
        """A guard that joins late reads the chains before custody has told it anything."""
        world = World(store=store)
        await world.release([world.order(1, 100 * SHARE).message])
        world.mine()
        await world.scan()
        assert await world.halts() == []
        assert await world.outcome(world.order(2, 1)) == (Outcome.HELD, "COLLATERAL_UNKNOWN")
        await world.attest(101 * SHARE)
        assert await world.outcome(world.order(2, SHARE)) == GRANTED

    async def test_release__from_custody_with_a_nonce_no_order_has__halts(
        self, store: GuardStore
    ) -> None:
        """INV-01: bad guards may mint in custody's name, but not unnoticed."""
        world = World(store=store)
        await world.funded()
        nonce = counter_nonce(world.chains[Domain.BNB].config.bridge, 2)
        await world.release([replace(world.order(2, SHARE).message, nonce=nonce)])
        world.mine()
        await world.scan()
        assert any(reason.startswith("INV-01") for reason in await world.halts())

    async def test_order__over_the_cap_then_one_that_fits_under_its_number__lands_without_a_halt(
        self, store: GuardStore
    ) -> None:
        """Order numbers come before the cap, and a number's record only rises: no false INV-03."""
        world = World(store=store)
        await world.funded()
        big, small = world.order(2, 5000 * SHARE), world.order(2, 5 * SHARE)
        assert await world.outcome(big) == (Outcome.HELD, "CAP_EXCEEDED")
        assert await world.outcome(small) == GRANTED
        again = (await world.review(big))[0]
        assert (again.outcome, again.reason) == USED
        assert (again.detail["order"], again.detail["expected"]) == ("2", "3")
        assert await world.outcome(world.order(1, 5000 * SHARE)) == USED
        await world.release([small.message])
        world.mine()
        await world.scan()
        assert await world.halts() == []
        assert await world.outcome(big) == USED
        assert await world.outcome(world.order(3, SHARE)) == GRANTED

    async def test_order__that_took_a_held_ones_number__expires_and_gives_its_room_back(
        self, store: GuardStore
    ) -> None:
        """INV-07: asking for the held order again must not lose the reservation's record."""
        world = World(store=store)
        await world.funded()
        big, small = world.order(2, 5000 * SHARE), world.order(2, 5 * SHARE, life=600)
        rulings = await world.review(big, small)  # one page: the grant is what is kept
        assert [one.outcome for one in rulings] == [Outcome.HELD, Outcome.GRANTED]
        assert (await world.outcome(big))[0] is Outcome.REJECTED
        await world.clock.advance(601)
        world.mine()
        await world.scan()
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.open_issuance, book.last_order_number) == (0, 2)

    @pytest.mark.parametrize("closed", [False, True], ids=["still waiting", "expired here"])
    async def test_release__of_the_order_that_others_granted_instead__is_no_finding(
        self, store: GuardStore, closed: bool
    ) -> None:
        """What this guard only saw and never granted says nothing against a release."""
        world = World(store=store)
        await world.funded()
        big = world.order(2, 5000 * SHARE, life=600)
        assert await world.outcome(big) == (Outcome.HELD, "CAP_EXCEEDED")
        if closed:
            await world.clock.advance(601)
            world.mine()
            await world.scan()
        await world.release([world.order(2, 5 * SHARE).message])
        world.mine()
        await world.scan()
        assert await world.halts() == []
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.exposure, book.last_order_number) == (105 * SHARE, 2)

    async def test_order__of_a_number_that_was_executed_ahead__is_not_granted_behind_the_gap(
        self, store: GuardStore
    ) -> None:
        """INV-02: one number, another chain: its key is free there, its number is not."""
        world = World(store=store)
        await world.funded()
        await world.release([world.order(3, SHARE).message])
        world.mine()
        await world.scan()
        again = world.order(3, SHARE, destination=Domain.BNB)
        rulings = await world.review(world.order(2, SHARE), again)
        assert [(one.outcome, one.reason) for one in rulings] == [GRANTED, USED]
        assert await world.outcome(world.order(4, SHARE)) == GRANTED

    async def test_issue_record__of_a_lower_state__never_replaces_a_higher_one(
        self, store: GuardStore
    ) -> None:
        """The store's own lock: OPEN only where nothing is, RESERVED only over nothing or OPEN."""
        rising = (OrderState.OPEN, OrderState.RESERVED, OrderState.VOIDED, OrderState.EXECUTED)
        pairs = [(old, new) for old in rising for new in rising]
        for number, (old, new) in enumerate(pairs, start=1):
            for state, expiry in ((old, 1), (new, 2)):
                record = IssueRecord(ASSET, number, None, state, expiry, None, Domain.BNB)
                async with store.write() as unit:
                    await unit.save_issues([record])
        async with store.read() as books:
            kept = await books.issues([(ASSET, n) for n in range(1, len(pairs) + 1)])
        for number, (old, new) in enumerate(pairs, start=1):
            rises = rising.index(new) > rising.index(old)
            found = kept[ASSET, number]
            assert (found.state, found.expiry) == ((new, 2) if rises else (old, 1))

    @pytest.mark.parametrize("amount", [1, 5000 * SHARE], ids=["fits", "over the cap"])
    async def test_transfer__with_a_strangers_order_beside_it__refused_and_nothing_kept_of_it(
        self, store: GuardStore, amount: int
    ) -> None:
        """Only an ISSUE has an order, and only a valid one is kept: no number is taken."""
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        world.mine()
        await world.scan()
        honest, forged = world.claim(tx), world.order(2, amount, life=5, key=STRANGER)
        assert forged.order is not None
        evil = replace(honest, order=forged.order)
        assert await world.outcome(evil) == (Outcome.REJECTED, "CONTENT_MISMATCH")
        assert await world.outcome(honest) == GRANTED
        async with store.read() as books:
            assert await books.issues([(ASSET, 2)]) == {}
            records = await books.claims([id_of(honest.message)])
        assert [one.expiry for one in records.values()] == [None]
        assert (await world.sign(honest.message)).signature
        real = world.order(2, SHARE)
        assert await world.outcome(real) == GRANTED
        assert await world.outcome(evil) == GRANTED  # the same transfer, granted before
        await world.clock.advance(6)
        world.mine()
        await world.scan()
        await world.release([real.message])
        world.mine()
        await world.scan()
        assert await world.halts() == []

    async def test_claim__transfer_with_an_order_on_the_wire__cannot_be_read(
        self, store: GuardStore
    ) -> None:
        """The boundary names the field; the honest claim beside it is judged."""
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        world.mine()
        await world.scan()
        honest = world.claim(tx)
        paper = papers_pb2.IssueOrder(
            asset=ASSET, order_number=2, destination=1, recipient=HOLDER, amount=1, expires=5
        )
        signed = STRANGER.sign(ISSUE_ORDER, DEPLOYMENT, paper)
        claim = supply_guard_pb2.Claim(message=honest.message.pack(), order=signed)
        bad = wire.claim_from_wire(claim, DEPLOYMENT)
        assert isinstance(bad, UnreadableClaim)
        rulings = await world.review(bad, honest)
        assert [one.outcome for one in rulings] == [Outcome.REJECTED, Outcome.GRANTED]
        assert rulings[0].detail["error"].startswith("order")

    async def test_order__that_cannot_be_voided__is_closed_with_one_halt(
        self, store: GuardStore
    ) -> None:
        """INV-07: the finding is told once; a resumed asset is not halted again by each page."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        broken = IssueRecord(
            ASSET, 2, id_of(message), OrderState.RESERVED, 5, message, message.destination
        )
        async with store.write() as unit:
            await unit.save_issues([broken])
        world.mine()
        await world.scan()
        assert [reason[:6] for reason in await world.halts()] == ["INV-06"]
        async with store.write() as unit:
            assert (await unit.issues([(ASSET, 2)]))[ASSET, 2].state is OrderState.VOIDED
            for one in await unit.halts():
                await unit.clear_halt(one.id, 0)
        world.mine()
        await world.scan()
        assert await world.halts() == []


def narrow() -> PolicyConfig:
    """A bucket of ten shares per asset and lane that refills one share in a second."""
    return PolicyConfig(bucket=Bucket(10 * SHARE, SHARE, 10 * SHARE, 0))


async def queued(world: World) -> list[SubmittedClaim]:
    """Four final burns of 8, 5, 2 and 1 shares: the first is granted, two wait, one is new."""
    await world.funded(10 * SHARE)
    await world.clock.advance(60)
    await world.release([world.order(2, 10 * SHARE).message])  # another 10, by the others
    burns = [world.burn(amount * SHARE) for amount in (8, 5, 2, 1)]
    world.mine()
    await world.scan()
    claims = [world.claim(tx) for tx in burns]
    await world.clock.advance(60)
    assert await world.outcome(claims[0]) == GRANTED
    for claim in claims[1:3]:
        assert await world.outcome(claim) == (Outcome.HELD, "RATE_LIMITED")
    return claims


class TestRate:
    """INV-11: first in, first out, across pages and restarts."""

    async def test_rate__newcomer_that_would_fit__waits_behind_those_before_it(
        self, store: GuardStore
    ) -> None:
        """INV-11: each claim comes in a page of its own."""
        world = World(store=store, policy=narrow())
        claims = await queued(world)
        assert await world.outcome(claims[3]) == (Outcome.HELD, "RATE_LIMITED")
        await world.clock.advance(4)
        world.desk = world.new_desk()
        assert await world.outcome(claims[1]) == (Outcome.HELD, "SIGNING_DISABLED")
        await world.scan()
        for late in (claims[3], claims[2]):
            assert await world.outcome(late) == (Outcome.HELD, "RATE_LIMITED")
        waits = (Outcome.HELD, "RATE_LIMITED")
        outcomes = [await world.outcome(claims[number]) for number in (1, 3, 2)]
        assert outcomes == [GRANTED, waits, waits]
        await world.clock.advance(4)
        outcomes = [await world.outcome(claims[number]) for number in (3, 2, 3)]
        assert outcomes == [waits, GRANTED, GRANTED]

    async def test_rate__first_in_line_was_released_by_the_others__blocks_nobody(
        self, store: GuardStore
    ) -> None:
        world = World(store=store, policy=narrow())
        claims = await queued(world)
        await world.release([claims[1].message])
        world.mine()
        await world.scan()
        assert await world.outcome(claims[2]) == GRANTED

    async def test_rate__first_in_line_is_claimed_no_more__loses_its_place(
        self, store: GuardStore
    ) -> None:
        world = World(store=store, policy=narrow())
        claims = await queued(world)
        await world.clock.advance(300)
        assert await world.outcome(claims[2]) == (Outcome.HELD, "RATE_LIMITED")
        await world.clock.advance(301)
        assert await world.outcome(claims[2]) == GRANTED


class TestSigning:
    """INV-08, F73: what a permit is bound to."""

    async def test_sign__same_request_again__same_signature(self, store: GuardStore) -> None:
        """F73: the caller gave up first and asks again: one permit."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        request = world.request([message])
        first = await sign_release(world.desk, request)
        await world.clock.advance(5)
        again = await sign_release(world.desk, request)
        assert first.signature
        assert (again.signature, again.digest) == (first.signature, first.digest)

    async def test_sign__never_granted__refused(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        world.mine()
        await world.scan()
        message = world.claim(tx).message
        assert (await world.sign(message)).refusals[0].reason == "NOT_GRANTED"
        held = forged_claim(world, block=10_000)
        await world.review(held)
        assert (await world.sign(held.message)).refusals[0].reason == "NOT_GRANTED"

    async def test_sign__one_bad_item__nothing_is_signed_and_it_is_named(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        good = await world.granted()
        tx = world.burn()
        world.mine()
        await world.scan()
        bad = world.claim(tx).message
        await world.review(replace(forged_claim(world), message=bad, block_number=0))
        await world.attest(0, sequence=2)
        answer = await world.sign(good, bad)
        assert not answer.signature
        assert {one.transfer_id for one in answer.refusals} == {id_of(good), id_of(bad)}

    async def test_sign__deadline_epoch_bridge__must_be_the_chains(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        request = world.request([await world.granted()])
        final = world.chains[Domain.BNB].final.time
        wrong = [
            (replace(request, deadline=final + 3601), "DEADLINE_OUT_OF_RANGE"),
            (replace(request, deadline=final), "DEADLINE_OUT_OF_RANGE"),
            (replace(request, deadline=0), "DEADLINE_OUT_OF_RANGE"),
            (replace(request, epoch=2), "EPOCH_UNKNOWN"),
            (replace(request, epoch=0), "EPOCH_UNKNOWN"),
        ]
        for changed, reason in wrong:
            assert (await sign_release(world.desk, changed)).refusals[0].reason == reason
        with pytest.raises(InvalidMessage, match="bridge"):
            await sign_release(world.desk, replace(request, bridge=Address32(b"\x01" * 32)))
        with pytest.raises(InvalidMessage, match="items"):
            await sign_release(world.desk, replace(request, items=()))
        with pytest.raises(InvalidMessage, match="items"):
            await sign_release(world.desk, replace(request, items=request.items * 2))

    async def test_sign__fresh_start__off_until_every_chain_is_caught_up(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        world.desk = world.new_desk()
        assert (await world.sign(message)).refusals[0].reason == "SIGNING_DISABLED"
        await world.scan(Domain.ETHEREUM, Domain.BNB)
        assert (await world.sign(message)).refusals[0].reason == "SIGNING_DISABLED"
        await world.scan(Domain.MANTLE)
        assert (await world.sign(message)).signature


def with_config(world: World, **changes: Any) -> None:
    """The guard starts again, configured otherwise."""
    world.desk = world.new_desk()
    world.desk.config = replace(world.desk.config, **changes)


class TestForgottenPermits:
    """A guard whose memory was restored may have forgotten permits that are still good."""

    async def test_sign__after_a_restart_on_the_same_database__at_once(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await begin(world.desk)
        with_config(world, fresh_key=False)
        await begin(world.desk)
        await world.scan()
        assert (await read_books(world.desk, [ASSET])).signing
        assert (await world.sign(message)).signature

    async def test_sign__new_database_and_nobody_vouches_for_the_key__waits_a_lifetime(
        self, store: GuardStore
    ) -> None:
        """The wait is in every destination's final time, and a restart does not shorten it."""
        world = World(store=store)
        with_config(world, fresh_key=False)
        await begin(world.desk)
        await world.funded()
        message = await world.granted()
        refused = (await world.sign(message)).refusals[0]
        assert (refused.outcome, refused.reason) == (Outcome.HELD, "SIGNING_DISABLED")
        assert "mantle" in refused.detail["waits_for"]
        await world.clock.advance(3_700)
        for domain in (Domain.ETHEREUM, Domain.BNB):
            world.chains[domain].mine(3)
        with_config(world, fresh_key=True)
        await begin(world.desk)
        await world.scan()
        books = await read_books(world.desk, [ASSET])
        assert not books.signing
        assert books.not_signing_reason.split(": ")[-1].startswith("mantle ")
        assert (await world.sign(message)).refusals[0].reason == "SIGNING_DISABLED"
        world.mine()
        await world.scan()
        assert (await read_books(world.desk, [ASSET])).not_signing_reason == ""
        assert (await world.sign(message)).signature

    async def test_sign__restored_from_a_snapshot_that_the_operator_marks__waits(
        self, store: GuardStore
    ) -> None:
        """F47: fresh or not, what another database has signed is not known here."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        assert (await world.sign(message)).signature
        with_config(world, restore_mark="2026-11-22")
        await world.scan()
        assert not (await read_books(world.desk, [ASSET])).signing
        assert (await world.sign(message)).refusals[0].reason == "SIGNING_DISABLED"
        assert "permits" in (await read_books(world.desk, [ASSET])).not_signing_reason
        await world.clock.advance(3_700)
        world.mine()
        await world.scan()
        assert (await world.sign(message)).signature


class TestAudit:
    """What chains show that nobody granted."""

    async def test_supply__minted_outside_the_bridge__asset_halted(self, store: GuardStore) -> None:
        """INV-16: supply without a permit halts the asset within two polls."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        world.chains[Domain.BNB].mint_outside(ASSET, HOLDER, 10**18)
        world.mine()
        await world.audit(Domain.BNB)
        world.mine()
        await world.scan()
        await world.audit(Domain.BNB)
        assert any(reason.startswith("INV-16") for reason in await world.halts())
        assert (await world.sign(message)).refusals[0].reason == "HALTED"

    async def test_supply__equal_to_the_ledger_at_its_block__no_halt_while_moving(
        self, store: GuardStore
    ) -> None:
        """The reading is compared with the ledger at that very block, not with today's."""
        world = World(store=store)
        await world.funded()
        world.burn(7 * SHARE)
        await world.audit(Domain.ETHEREUM)
        world.burn(5 * SHARE)
        world.mine()
        await world.scan()
        found = await world.audit(Domain.ETHEREUM)
        assert (found.believed, found.above, found.below) == (2, (), ())
        chain = (await read_books(world.desk, [ASSET])).assets[0].chains[0]
        assert chain.reading is not None
        assert (chain.reading.ledger, chain.ledger) == (93 * SHARE, 88 * SHARE)
        assert chain.reading.units == 93 * 10**18

    async def test_release__without_any_burn__asset_halted(self, store: GuardStore) -> None:
        """INV-01: two stolen keys minted; the source shows no burn, the asset is halted."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        await world.release([forged_claim(world).message])
        world.mine()
        await world.scan(Domain.BNB)
        assert (await world.sign(message)).refusals[0].reason == "SUPPLY_DRIFT"
        await world.clock.advance(60)
        world.mine()
        await world.scan()
        assert any(reason.startswith("INV-01") for reason in await world.halts())
        assert (await world.sign(message)).refusals[0].reason == "HALTED"

    async def test_release__seen_before_its_burn__waits_and_clears(self, store: GuardStore) -> None:
        """A guard whose source lags sees the release first; that is no crime."""
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        world.mine()
        message = world.claim(tx).message
        await world.release([message])
        world.mine()
        await world.scan(Domain.BNB)
        await world.scan(Domain.ETHEREUM)
        assert await world.halts() == []
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.in_flight, book.exposure) == (0, 100 * SHARE)
        async with world.store.read() as books:
            assert await books.unmatched() == []

    @pytest.mark.parametrize("burn_first", [True, False])
    async def test_release__of_other_content_than_burned__asset_halted(
        self, store: GuardStore, *, burn_first: bool
    ) -> None:
        """INV-03: the same key, ten times the amount."""
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        world.mine()
        message = replace(world.claim(tx).message, amount=Shares(10 * SHARE))
        if burn_first:
            await world.scan(Domain.ETHEREUM)
        batch = ReleaseBatch(
            Domain.BNB,
            world.chains[Domain.BNB].config.bridge,
            1,
            world.chains[Domain.BNB].head.time + 600,
            sorted_items([item_of(message)]),
        )
        await world.execute(batch, GUARDS[1:])
        world.mine()
        await world.scan(Domain.BNB, Domain.ETHEREUM)
        assert any(reason.startswith("INV-03") for reason in await world.halts())

    async def test_burn__more_than_the_chain_ever_got__rejected_and_halted(
        self, store: GuardStore
    ) -> None:
        """INV-05: a chain whose own token was inflated burns what was never released to it."""
        world = World(store=store, policy=PolicyConfig())
        await world.funded()
        chain = world.chains[Domain.MANTLE]
        chain.mint_outside(ASSET, HOLDER, 5 * 10**18)
        chain.mine()
        tx = world.burn(5 * SHARE, source=Domain.MANTLE, destination=Domain.BNB)
        world.mine()
        await world.scan()
        assert (await world.outcome(world.claim(tx)))[0] is not Outcome.GRANTED
        assert any(reason.startswith("INV-05") for reason in await world.halts())


class TestHalts:
    """Latched, shown, cleared by two."""

    async def test_halt__survives_a_restart_and_one_approver__cleared_by_two(
        self, store: GuardStore
    ) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        latched = await halt(
            world.desk, asset=ASSET, chain=None, reason="drill", by="agent", request_id="r-1"
        )
        again = await halt(
            world.desk, asset=ASSET, chain=None, reason="drill", by="agent", request_id="r-1"
        )
        assert again.id == latched.id
        world.desk = world.new_desk()
        await world.scan()
        assert (await world.sign(message)).refusals[0].reason == "HALTED"
        one = await resume(world.desk, halt_id=latched.id, by="operator-1", reason="looked")
        same = await resume(world.desk, halt_id=latched.id, by="operator-1", reason="again")
        assert (one[0], same[0]) == (False, False)
        assert (await world.sign(message)).refusals[0].reason == "HALTED"
        two = await resume(world.desk, halt_id=latched.id, by="operator-2", reason="looked too")
        assert two == (True, "")
        assert (await world.sign(message)).signature

    async def test_resume__while_the_books_are_red__refused_even_by_two(
        self, store: GuardStore
    ) -> None:
        """F92's root at guard level: two approvals do not clear a red reconcile."""
        world = World(store=store)
        await world.funded()
        world.chains[Domain.BNB].mint_outside(ASSET, HOLDER, 10**18)
        world.mine()
        await world.audit(Domain.BNB)
        world.mine()
        await world.scan()
        await world.audit(Domain.BNB)
        async with world.store.read() as books:
            halts = await books.halts()
        for by in ("operator-1", "operator-2"):
            cleared, missing = await resume(world.desk, halt_id=halts[0].id, by=by, reason="looked")
            assert not cleared
        assert "above the ledger" in missing

    async def test_resume__supply_not_read_since_the_mint__refused_even_by_two(
        self, store: GuardStore
    ) -> None:
        """F92: books are not green by a reading from before the mint that halted the asset."""
        world = World(store=store)
        await world.funded()
        await world.audit(Domain.BNB)
        world.mine()
        await world.scan()
        await world.audit(Domain.BNB)
        world.chains[Domain.BNB].mint_outside(ASSET, HOLDER, 10**18)
        world.mine()
        await world.scan()
        async with world.store.read() as books:
            halts = await books.halts()
            assert {excess(reading) for reading in await books.readings()} == {0}
        for by in ("operator-1", "operator-2"):
            cleared, missing = await resume(world.desk, halt_id=halts[0].id, by=by, reason="looked")
            assert not cleared
        assert "is not read since it moved outside" in missing

    @pytest.mark.parametrize("scope", ["asset", "source", "destination", "all"])
    async def test_halt__of_a_scope__stops_exactly_that(
        self, store: GuardStore, scope: str
    ) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        chains = {"source": Domain.ETHEREUM, "destination": Domain.BNB}
        await halt(
            world.desk,
            asset=ASSET if scope == "asset" else None,
            chain=chains.get(scope),
            reason="drill",
            by="agent",
            request_id="r",
        )
        assert (await world.sign(message)).refusals[0].reason == "HALTED"
        tx = world.burn()
        world.mine()
        await world.scan()
        assert await world.outcome(world.claim(tx)) == (Outcome.HELD, "HALTED")


class TestMultiplier:
    """A cap counted in shares needs the multiplier that is in force."""

    async def test_attestation__of_a_multiplier_the_chain_has_left__stale(
        self, store: GuardStore
    ) -> None:
        """A 10:1 split on chain, the old multiplier in the paper: the cap would be tenfold."""
        world = World(store=store)
        await world.funded()
        message = await world.granted()
        for chain in world.chains.values():
            chain.set_rules(ASSET, AssetRules(multiplier=10 * 10**18, multiplier_epoch=1))
        world.mine()
        for domain in world.chains:
            await world.audit(domain)
        world.mine()
        await world.scan()
        for domain in world.chains:
            await world.audit(domain)
        assert (await world.sign(message)).refusals[0].reason == "CORPORATE_ACTION_WINDOW"
        await world.attest(10_000 * SHARE, sequence=2, multiplier=10 * 10**18, epoch=1)
        assert (await world.sign(message)).signature


class TestRefund:
    """The only way a burn flows back: after its final cancellation at the destination."""

    async def test_refund__before_and_after_the_final_cancel(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted(10 * SHARE)
        bridge = world.chains[Domain.BNB].config.bridge
        refund = SubmittedClaim(refund_of(message, bridge, keccak256))
        assert await world.outcome(refund) == (Outcome.HELD, "CANCEL_NOT_FINAL")
        await world.release([message], Action.CANCEL)
        assert await world.outcome(refund) == (Outcome.HELD, "CANCEL_NOT_FINAL")
        world.mine()
        await world.scan()
        assert await world.outcome(refund) == GRANTED
        assert (await world.sign(message)).refusals[0].reason == "ALREADY_EXECUTED"
        assert (await world.sign(refund.message)).signature
        await world.release([refund.message])
        world.mine()
        await world.scan()
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.in_flight, book.exposure) == (0, 100 * SHARE)
        assert await world.halts() == []

    async def test_refund__of_another_amount_or_bridge__rejected(self, store: GuardStore) -> None:
        world = World(store=store)
        await world.funded()
        message = await world.granted(10 * SHARE)
        await world.release([message], Action.CANCEL)
        world.mine()
        await world.scan()
        true = refund_of(message, world.chains[Domain.BNB].config.bridge, keccak256)
        more = SubmittedClaim(replace(true, amount=Shares(11 * SHARE)))
        assert await world.outcome(more) == (Outcome.REJECTED, "CONTENT_MISMATCH")
        elsewhere = SubmittedClaim(replace(true, source_bridge=HOLDER))
        assert await world.outcome(elsewhere) == (Outcome.REJECTED, "BURN_UNKNOWN")


class TestBooking:
    """Every fact once, whatever comes twice."""

    async def test_page__booked_twice__second_time_refused(self, store: GuardStore) -> None:
        """F48's root: a page belongs to the cursor it was read after."""
        world = World(store=store)
        await world.funded()
        world.burn()
        world.mine()
        reader = world.readers[Domain.ETHEREUM]
        async with world.store.read() as books:
            cursor = (await books.scans())[Domain.ETHEREUM].cursor
        page = await reader.read_page(cursor, limit=100)
        await post_page(world.desk, cursor, page, began_ms=0)
        with pytest.raises(Ambiguous, match="CURSOR_MOVED"):
            await post_page(world.desk, cursor, page, began_ms=0)
        async with world.store.read() as books:
            moved = (await books.scans())[Domain.ETHEREUM].cursor
        again = await post_page(world.desk, moved, page, began_ms=0)
        assert again.new == 0
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert (book.in_flight, book.exposure) == (SHARE, 100 * SHARE)

    async def test_burn__same_nonce_at_two_final_places__chain_halted(
        self, store: GuardStore
    ) -> None:
        """INV-09: a dense lane has one burn per number."""
        world = World(store=store)
        await world.funded()
        tx = world.burn()
        world.mine()
        reader = world.readers[Domain.ETHEREUM]
        async with world.store.read() as books:
            cursor = (await books.scans())[Domain.ETHEREUM].cursor
        page = await reader.read_page(cursor, limit=100)
        burn = world.burned(tx)
        twin = replace(burn, place=replace(burn.place, index=burn.place.index + 1))
        doubled = replace(page, observations=(*page.observations, twin))
        await post_page(world.desk, cursor, doubled, began_ms=0)
        assert any(reason.startswith("INV-09") for reason in await world.halts())
        book = (await read_books(world.desk, [ASSET])).assets[0]
        assert book.in_flight == SHARE

"""Proposals step by step: what is kept, told, journaled and refused, in words and figures."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from tests.builders import a_burn, a_message, a_place
from tests.services.supply_guard.people import ALICE, BOB, CAROL, agreed, lines_of, proposed
from tests.services.supply_guard.world import ASSET, HOLDER, OTHER, RECIPIENT, World
from xstock_core.amount import Shares
from xstock_core.bucket import Bucket, BucketKey
from xstock_core.ids import Address32, Domain, Nonce, TransferId, orphan_refund_nonce
from xstock_core.ledger import (
    CUSTODY,
    ORPHANED,
    entries_of,
    entry_of_orphan_write_off,
)
from xstock_core.observation import (
    OrphanBurn,
    ReleaseFinal,
    by_id,
)
from xstock_core.refusal import Reason
from xstock_core.review import Scope
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.limits import limits_text
from xstock_supply_guard.handlers.pausing import pause
from xstock_supply_guard.handlers.proposals import Person, approve, propose, reviewed
from xstock_supply_guard.model import (
    Alarm,
    ClaimRecord,
    Executed,
    Limits,
    Outcome,
    PolicyConfig,
    Posted,
    Proposal,
    ProposalKind,
    Ruling,
)

DIGEST = b"\x31" * 32
UNKNOWN = b"\x07" * 32
SMALL = Limits(Bucket(7, 7, 7, 0))
PLACE = a_place(Domain.BNB)
ORPHAN = OrphanBurn(ASSET, HOLDER, Shares(5), "no memo", Nonce(b"\x32" * 32), PLACE)
MESSAGE = a_message(asset=ASSET, refund_address=HOLDER, recipient=RECIPIENT)
ID = MESSAGE.transfer_id(keccak256)
LISTED = f"{RECIPIENT.hex()},{HOLDER.hex()}"


async def claimed(
    world: World, reason: str, outcome: Outcome = Outcome.PARKED, parties: str = ""
) -> None:
    """The transfer was ruled so."""
    detail = {"parties": parties} if parties else {}
    ruling = Ruling(ID, outcome, reason, detail=detail)
    async with world.store.write() as unit:
        await unit.save_claims([ClaimRecord(MESSAGE, ruling, 1)])


async def told(world: World) -> list[Alarm]:
    """The alarms that stand."""
    async with world.store.read() as books:
        return [one.alarm for one in await books.alarms()]


async def test_proposal__by_an_operator__is_kept_told_and_journaled_as_it_was_asked() -> None:
    world = World()
    now_ms = world.clock.unix_ms()
    made = await proposed(world, ProposalKind.ROTATION, DIGEST, by=CAROL, payload=b"\x05")
    assert made == Proposal(
        sha256(b"proposal|operator-3|r-1").hexdigest()[:32],
        ProposalKind.ROTATION,
        DIGEST,
        b"\x05",
        "looked into it",
        "operator-3",
        now_ms,
        now_ms + 86_400_000,
    )
    async with world.store.read() as books:
        assert await books.proposal(made.id) == made
    detail = "operator-3 proposes ROTATION: looked into it"
    assert await told(world) == [Alarm("PROPOSED", "all", detail, made.id)]
    async with world.store.read() as books:
        assert [one.at_ms for one in await books.alarms()] == [now_ms]
    assert await lines_of(world) == [
        f"propose id={made.id} kind=ROTATION subject={DIGEST.hex()} payload=05 by=operator-3"
        f" until={world.now + 86_400} reason=looked%20into%20it"
    ]


async def test_proposal__agreed_by_two_approvers__is_executed_once_and_calm() -> None:
    world = World()
    made = await proposed(world, ProposalKind.ROTATION, DIGEST)
    assert made.approvals == ("operator-1",)
    other = await proposed(world, ProposalKind.ROTATION, DIGEST, request_id="r-2")
    await world.clock.advance(5)
    done = await agreed(world, made)
    now_ms = world.clock.unix_ms()
    assert done == replace(made, approvals=("operator-1", "operator-2"), executed_ms=now_ms)
    async with world.store.read() as books:
        assert await books.proposal(made.id) == done
    assert [one.about for one in await told(world)] == [other.id]
    assert [one for one in await lines_of(world) if f"id={made.id}" in one][1:] == [
        f"agree id={made.id} by=operator-1 reason=looked%20into%20it",
        f"agree id={made.id} by=operator-2 reason=I%20agree",
        f"execute id={made.id} kind=ROTATION subject={DIGEST.hex()}",
    ]
    again = len(await lines_of(world))
    assert await agreed(world, made) == done
    assert len(await lines_of(world)) == again


async def test_proposal__agreed_by_one_of_two__still_waits_and_is_told() -> None:
    world = World()
    made = await proposed(world, ProposalKind.ROTATION, DIGEST, by=CAROL)
    once = await agreed(world, made)
    assert (once.approvals, once.executed_ms) == (("operator-2",), None)
    async with world.store.read() as books:
        assert await books.proposal(made.id) == once
        assert await books.approved(ProposalKind.ROTATION, [DIGEST]) == set()
    assert [one.about for one in await told(world)] == [made.id]


def refused(error: InvalidMessage, field: str, value: str, remedy: str) -> None:
    """It names the field, its value and the remedy."""
    assert error.code == "PROPOSAL_REFUSED"
    assert error.message == f"{field}: {value!r} is not valid; {remedy}"
    assert error.metadata == {"field": field, "value": value}


@pytest.mark.parametrize(
    ("by", "seconds", "remedy"),
    [
        (ALICE, 0, "operator-1 had a say; ask somebody else"),
        (CAROL, 0, "operator-3 is no approver"),
        (Person("operator-2", frozenset({"operator"})), 0, "operator-2 is no approver"),
        (BOB, 86_400, "it expired at {until}"),
    ],
)
async def test_yes__by_whom_or_when_it_does_not_count__is_refused(
    by: Person, seconds: int, remedy: str
) -> None:
    """F92: one person is never two."""
    world = World()
    made = await proposed(world, ProposalKind.ROTATION, DIGEST)
    await world.clock.advance(seconds)
    with pytest.raises(InvalidMessage) as caught:
        await agreed(world, made, by=by)
    refused(caught.value, "proposal_id", made.id, remedy.format(until=made.expires_ms // 1000))
    async with world.store.read() as books:
        assert await books.proposal(made.id) == made


async def test_yes__by_the_proposer_without_a_say_yet__is_refused() -> None:
    world = World()
    made = await proposed(world, ProposalKind.CANCEL, *await booked(world), by=CAROL)
    promoted = Person(CAROL.identity, ALICE.roles)
    with pytest.raises(InvalidMessage) as caught:
        await agreed(world, made, by=promoted)
    refused(caught.value, "proposal_id", made.id, "operator-3 had a say; ask somebody else")


async def booked(world: World) -> tuple[bytes]:
    """The transfer's burn is booked."""
    async with world.store.write() as unit:
        await unit.add_observations(by_id([a_burn(MESSAGE, place=PLACE)]))
    return (bytes(ID),)


async def test_yes__to_what_nobody_proposed_or_without_words__is_refused() -> None:
    world = World()
    with pytest.raises(InvalidMessage) as caught:
        await approve(world.desk, BOB, proposal_id="no-such", reason="fine")
    refused(caught.value, "proposal_id", "no-such", "ListProposals shows those that are known")
    made = await proposed(world, ProposalKind.ROTATION, DIGEST)
    with pytest.raises(InvalidMessage, match=r"^FIELD_INVALID: reason: ' ' is not valid"):
        await approve(world.desk, BOB, proposal_id=made.id, reason=" ")
    for field in ("reason", "request_id"):
        words: dict[str, Any] = {"reason": "why", "request_id": "r-9", field: ""}
        with pytest.raises(InvalidMessage, match=rf"^FIELD_INVALID: {field}: '' is not valid"):
            await propose(world.desk, ALICE, kind=ProposalKind.ROTATION, subject=DIGEST, **words)


@pytest.mark.parametrize(
    ("kind", "subject", "payload"),
    [
        (ProposalKind.CANCEL, DIGEST, b""),
        (ProposalKind.ROTATION, UNKNOWN, b""),
        (ProposalKind.ROTATION, DIGEST, b"\x06"),
    ],
    ids=["another kind", "another subject", "another payload"],
)
async def test_request__used_for_something_else__is_refused(
    kind: ProposalKind, subject: bytes, payload: bytes
) -> None:
    """Whoever asks for one figure must not be shown a proposal of another."""
    world = World()
    made = await proposed(world, ProposalKind.ROTATION, DIGEST, payload=b"\x05")
    for same in (b"", b"\x05"):
        again = await proposed(world, ProposalKind.ROTATION, DIGEST, payload=same)
        assert again == made
    with pytest.raises(InvalidMessage) as caught:
        await proposed(world, kind, subject, payload=payload)
    refused(caught.value, "request_id", "r-1", "it was used for something else")
    assert len(await told(world)) == 1


TRANSFER = "give the id of a transfer this guard has booked"
NO_ORPHAN = "give the nonce of an orphan burn booked here"
NOT_CARRIED_OUT = "no guard carries it out; have the parked refund retried once its chain takes it"
ROTATION_FORM = "give the rotation's digest, 32 bytes"


@pytest.mark.parametrize(
    ("kind", "subject", "payload", "field", "value", "remedy"),
    [
        (
            ProposalKind.RESUME,
            UNKNOWN,
            b"",
            "kind",
            "RESUME",
            "a halt is ended with Resume, which asks for green books",
        ),
        (
            ProposalKind.LIMITS,
            UNKNOWN,
            limits_text(SMALL),
            "subject",
            UNKNOWN.hex(),
            "give a registered asset's id, or nothing for all",
        ),
        (
            ProposalKind.RELEASE,
            UNKNOWN,
            b"",
            "subject",
            UNKNOWN.hex(),
            "give a transfer that is parked here as SCREENED or MANUAL_REVIEW",
        ),
        (ProposalKind.CANCEL, UNKNOWN, b"", "subject", UNKNOWN.hex(), TRANSFER),
        (ProposalKind.REFUND, UNKNOWN, b"", "subject", UNKNOWN.hex(), TRANSFER),
        (ProposalKind.ORPHAN_REFUND, UNKNOWN, b"", "subject", UNKNOWN.hex(), NO_ORPHAN),
        (ProposalKind.WRITE_OFF, UNKNOWN, b"", "subject", UNKNOWN.hex(), NO_ORPHAN),
        (
            ProposalKind.LIFT_PAUSE,
            b"\xff",
            b"",
            "subject",
            "ff",
            "give the id of a pause in force; see ListPauses",
        ),
        (ProposalKind.ROTATION, DIGEST[1:], b"", "subject", DIGEST[1:].hex(), ROTATION_FORM),
        (ProposalKind.ROTATION, bytes(32), b"", "subject", "00" * 32, ROTATION_FORM),
        (ProposalKind.REDIRECT, bytes(ID), DIGEST, "kind", "REDIRECT", NOT_CARRIED_OUT),
    ],
)  # fmt: skip
async def test_proposal__about_what_cannot_be_decided__is_refused_by_its_field(
    kind: ProposalKind, subject: bytes, payload: bytes, field: str, value: str, remedy: str
) -> None:
    world = World()
    await booked(world)
    with pytest.raises(InvalidMessage) as caught:
        await proposed(world, kind, subject, payload=payload)
    refused(caught.value, field, value, remedy)
    assert (await told(world), await lines_of(world)) == ([], [])


@pytest.mark.parametrize("subject", [b"", bytes(ID)[1:], bytes(ID) + b"0", bytes(ID) * 2])
@pytest.mark.parametrize(
    "kind",
    [
        ProposalKind.RELEASE,
        ProposalKind.CANCEL,
        ProposalKind.REFUND,
        ProposalKind.ORPHAN_REFUND,
        ProposalKind.WRITE_OFF,
    ],
)
async def test_proposal__about_what_has_the_size_of_no_identifier__is_refused_by_its_field(
    kind: ProposalKind, subject: bytes
) -> None:
    """The store refuses to be asked for it (`end_to_end`): that must not be what people see."""
    world = World()
    await booked(world)
    with pytest.raises(InvalidMessage) as caught:
        await proposed(world, kind, subject, payload=DIGEST)
    assert caught.value.code == "PROPOSAL_REFUSED"
    assert caught.value.metadata == {"field": "subject", "value": subject.hex()}
    with pytest.raises(ValueError, match="an identifier has 32 bytes"):
        async with world.store.read() as books:
            await books.claims([TransferId(subject)])


@pytest.mark.parametrize("kind", [ProposalKind.CANCEL, ProposalKind.REFUND])
@pytest.mark.parametrize("known", ["burn", "claim"])
async def test_proposal__about_a_transfer_that_is_known_in_any_way__is_kept(
    kind: ProposalKind, known: str
) -> None:
    world = World()
    if known == "burn":
        await booked(world)
    else:
        await claimed(world, "", Outcome.REJECTED)
    made = await proposed(world, kind, bytes(ID), payload=DIGEST)
    assert (made.subject, made.payload) == (ID, DIGEST)


# releases


@pytest.mark.parametrize(
    ("reason", "parties", "about"),
    [
        ("MANUAL_REVIEW", "", "MANUAL_REVIEW"),
        ("MANUAL_REVIEW", LISTED, "MANUAL_REVIEW"),
        ("SCREENED", "", "SCREENED"),
        ("SCREENED", LISTED, f"SCREENED {RECIPIENT.hex()} {HOLDER.hex()}"),
    ],
)
async def test_release__of_what_is_parked__is_about_that_reason_and_those_addresses(
    reason: str, parties: str, about: str
) -> None:
    world = World()
    await claimed(world, reason, parties=parties)
    made = await proposed(world, ProposalKind.RELEASE, bytes(ID))
    assert made.payload == about.encode()
    named = await proposed(
        world, ProposalKind.RELEASE, bytes(ID), payload=about.encode(), request_id="r-2"
    )
    assert named.payload == made.payload
    other = b"SCREENED 00" if reason == "MANUAL_REVIEW" else b"MANUAL_REVIEW"
    with pytest.raises(InvalidMessage) as caught:
        await proposed(world, ProposalKind.RELEASE, bytes(ID), payload=other, request_id="r-3")
    remedy = f"it is parked as {about} now; propose anew"
    refused(caught.value, "subject", ID.hex(), remedy)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("SCREENED", Outcome.HELD),
        ("MANUAL_REVIEW", Outcome.REJECTED),
        ("REDEMPTION_REJECTED", Outcome.PARKED),
        ("", Outcome.GRANTED),
    ],
)
async def test_release__of_what_is_not_parked_for_people__cannot_be_proposed(
    reason: str, outcome: Outcome
) -> None:
    world = World()
    await claimed(world, reason, outcome)
    with pytest.raises(InvalidMessage, match="give a transfer that is parked here"):
        await proposed(world, ProposalKind.RELEASE, bytes(ID))


async def test_reviewed__says_what_each_decision_let_through_and_of_whom() -> None:
    world = World()
    second = TransferId(b"\x42" * 32)
    third, fourth = TransferId(b"\x43" * 32), TransferId(b"\x44" * 32)
    decisions = [
        (ID, "MANUAL_REVIEW"),
        (ID, f"SCREENED {RECIPIENT.hex()}"),
        (second, f"SCREENED {RECIPIENT.hex()}"),
        (second, f"SCREENED {HOLDER.hex()}"),
        (third, "SCREENED"),
        (fourth, "MANUAL_REVIEW"),
    ]
    async with world.store.write() as unit:
        for number, (subject, payload) in enumerate(decisions):
            one = Proposal(
                str(number), ProposalKind.RELEASE, subject, payload.encode(), "", "", 1, 10**15
            )
            await unit.add_proposal(one)
            await unit.execute_proposal(one.id, 2)
        manual, screened = await reviewed(unit, {ID, second, third})
        assert manual == {ID}
        assert screened == {
            ID: {RECIPIENT},
            second: {Address32(RECIPIENT), Address32(HOLDER)},
            third: frozenset(),
        }
        assert await reviewed(unit, set()) == (frozenset(), {})
    assert (Reason.SCREENED.value, Reason.MANUAL_REVIEW.value) == ("SCREENED", "MANUAL_REVIEW")


# what happens at once


@pytest.mark.parametrize("subject", [bytes(ASSET), b""])
async def test_limits__agreed__are_in_force_and_their_buckets_in_size(subject: bytes) -> None:
    world = World(policy=PolicyConfig(bucket=Bucket(80, 2, 80, 0)))
    text = limits_text(SMALL)
    key, other = BucketKey(ASSET, Domain.BNB), BucketKey(OTHER, Domain.BNB)
    async with world.store.write() as unit:
        await unit.save_buckets(dict.fromkeys([key, other], Bucket(90, 1, 50, world.now)))
    made = await proposed(world, ProposalKind.LIMITS, subject, payload=text)
    assert made.payload == text
    async with world.store.read() as books:
        assert await books.limits() == {}
    await agreed(world, made)
    async with world.store.read() as books:
        assert await books.limits() == {subject or None: SMALL}
        found = await books.buckets([key, other])
    fitted = Bucket(7, 7, 7, world.now)
    assert found == {key: fitted, other: Bucket(90, 1, 50, world.now) if subject else fitted}


async def test_limits__that_mean_nothing__cannot_be_proposed() -> None:
    world = World()
    with pytest.raises(InvalidMessage, match="payload"):
        await proposed(world, ProposalKind.LIMITS, b"", payload=b"bucket=0")


async def orphaned(world: World, **changes: object) -> OrphanBurn:
    """The orphan is booked, with its shares."""
    orphan = replace(ORPHAN, **changes)  # type: ignore[arg-type]
    async with world.store.write() as unit:
        await unit.add_observations(by_id([orphan]))
        await unit.post([Posted(one, None) for one in entries_of(orphan)], [])
        await unit.journal(["note said=x"], 1)
    return orphan


async def lost(world: World) -> int:
    """What the orphan account holds."""
    async with world.store.read() as books:
        return (await books.balances([ASSET])).get((ASSET, ORPHANED), 0)


async def test_write_off__agreed_twice__is_posted_once() -> None:
    world = World()
    orphan = await orphaned(world)
    assert await lost(world) == orphan.amount
    for request_id in ("r-1", "r-2"):
        made = await proposed(
            world,
            ProposalKind.WRITE_OFF,
            bytes(orphan.nonce),
            payload=b"\x01",
            request_id=request_id,
        )
        assert made.payload == b"\x01"
        await agreed(world, made)
    assert await lost(world) == 0
    entry = entry_of_orphan_write_off(orphan)
    assert [one for one in await lines_of(world) if f"entry id={entry.id.hex()}" in one] == [
        f"entry id={entry.id.hex()} kind=ORPHAN_WRITE_OFF asset={ASSET.hex()}"
        f" debit={ORPHANED.text} credit={CUSTODY.text} amount=5 ref={entry.ref.hex()}"
    ]


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (ProposalKind.ORPHAN_REFUND, ProposalKind.WRITE_OFF),
        (ProposalKind.WRITE_OFF, ProposalKind.ORPHAN_REFUND),
    ],
)
async def test_orphan__decided_the_other_way_or_refunded__is_decided_no_more(
    kind: ProposalKind, other: ProposalKind
) -> None:
    """Refunded and written off, its shares would exist and be no exposure."""
    world = World()
    orphan = await orphaned(world)
    subject = bytes(orphan.nonce)
    assert (await proposed(world, kind, subject, payload=b"\x03")).payload == b"\x03"
    made = await proposed(world, other, subject, request_id="r-2")
    await agreed(world, made)
    with pytest.raises(InvalidMessage) as caught:
        await proposed(world, kind, subject, request_id="r-3")
    refused(caught.value, "subject", subject.hex(), f"its {other.value} was approved before")
    gone = World()
    await orphaned(gone)
    back = ReleaseFinal(
        Domain.BNB,
        Domain.BNB,
        orphan_refund_nonce(orphan.nonce, keccak256),
        ASSET,
        HOLDER,
        Shares(5),
        PLACE,
    )
    async with gone.store.write() as unit:
        await unit.add_executions([Executed(back, 1, matched=True)])
    with pytest.raises(InvalidMessage) as caught:
        await proposed(gone, kind, subject)
    refused(caught.value, "subject", subject.hex(), "it was refunded on its chain")


async def test_orphan__that_a_delegate_burned__may_only_be_written_off() -> None:
    world = World()
    orphan = await orphaned(world, reason="burned by 9xQe, not by its owner: memo: none")
    with pytest.raises(InvalidMessage) as caught:
        await proposed(world, ProposalKind.ORPHAN_REFUND, bytes(orphan.nonce))
    remedy = "a delegate burned it, not its owner; it may be written off, never refunded"
    refused(caught.value, "subject", orphan.nonce.hex(), remedy)
    await proposed(world, ProposalKind.WRITE_OFF, bytes(orphan.nonce))


async def test_lift__of_a_pause__ends_it_and_its_alarm_and_no_other() -> None:
    world = World()
    begun = [
        await pause(
            world.desk,
            scope=Scope(asset=ASSET),
            reason="odd",
            until=world.now + 50,
            by="agent",
            request_id=request_id,
        )
        for request_id in ("p-1", "p-2")
    ]
    made = await proposed(world, ProposalKind.LIFT_PAUSE, begun[0].id.encode(), payload=b"\x04")
    assert made.payload == b"\x04"
    await agreed(world, made)
    async with world.store.read() as books:
        assert [one.id for one in await books.pauses(world.now)] == [begun[1].id]
    assert [(one.code, one.about) for one in await told(world)] == [("PAUSED", begun[1].id)]
    with pytest.raises(InvalidMessage, match="a pause in force"):
        await proposed(world, ProposalKind.LIFT_PAUSE, begun[0].id.encode(), request_id="r-2")
    late = await proposed(world, ProposalKind.LIFT_PAUSE, begun[1].id.encode(), request_id="r-3")
    await world.clock.advance(50)
    with pytest.raises(InvalidMessage, match="a pause in force"):
        await agreed(world, late)

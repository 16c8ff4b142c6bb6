"""What custody's papers leave behind, whole: answers, refusals by name, journal lines and alarms.

Attestations and their signatures, the cover that follows from them, redemptions paid and rejected.
A refusal is one outcome: its code, the field, the value, the remedy, one alarm, and nothing booked.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.services.supply_guard.collateral import (
    AGENT,
    HSM,
    SCOPE,
    Key,
    attested,
    funded,
    hand_in,
    in_force,
    paper_of,
    pay,
    reject,
    state_of,
    world_of,
)
from tests.services.supply_guard.people import lines_of
from tests.services.supply_guard.returns import redeemed
from tests.services.supply_guard.test_reserves import Scene
from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    DEPLOYMENT,
    OTHER,
    SHARE,
    STRANGER,
    World,
    id_of,
)
from xstock_core.refund import refund_of
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers import attesting, redemptions
from xstock_supply_guard.handlers.attesting import Attested, submit_attestation
from xstock_supply_guard.handlers.cover import SHORT, Covered, cover_step, note_cover
from xstock_supply_guard.handlers.lines import read_line
from xstock_supply_guard.handlers.redemptions import CONFLICT, submit_rejection
from xstock_supply_guard.model import Alarm, RaisedAlarm, RedemptionRecord, RedemptionState
from xstock_wire.papers import ATTESTATION
from xstock_wire.v1 import papers_pb2

UNKNOWN = b"\x07" * 32


def a_world(**policy: Any) -> World:
    """Three attestors, two of them needed."""
    return world_of(MemoryGuardStore(), **policy)


def said(refused: InvalidMessage, code: str, field: str, value: object, remedy: str) -> None:
    """The refusal is whole: its code, and its text with the field, the value and the remedy."""
    assert refused.code == code
    assert refused.metadata == {"field": field, "value": str(value)}
    assert refused.message == f"{field}: {value!r} is not valid; {remedy}"


async def raised(world: World, code: str) -> list[RaisedAlarm]:
    """The alarms of this code that stand."""
    async with world.store.read() as books:
        return [one for one in await books.alarms() if one.alarm.code == code]


# --- attestations ---------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], Sequence[Key], str, Callable[[World], Any], str]] = {
    "an asset nobody registered": (
        {"asset": UNKNOWN}, (ATTESTOR,), "asset", lambda _: UNKNOWN.hex(),
        "this asset is not registered",
    ),
    "one second beyond the clocks' skew": (
        {"as_of": 31}, (ATTESTOR,), "as_of", lambda world: world.now + 31,
        "it lies in the future (now 1700000000)",
    ),
    "a key that nobody registered": (
        {}, (ATTESTOR, STRANGER), "signature", lambda _: "stranger",
        "sign with a registered attestor's key",
    ),
    "one key twice": (
        {}, (ATTESTOR, ATTESTOR), "cosignatures", lambda _: "custodian-1",
        "this key has signed it already",
    ),
    "the sequence in force": (
        {"sequence": 5, "held_units": 1}, (ATTESTOR,), "sequence", lambda _: 5,
        "sequence 5 is in force; give a higher one",
    ),
    "an as-of before the one in force": (
        {"as_of": -1}, (ATTESTOR,), "as_of", lambda world: world.now - 1,
        "the one in force is as of 1700000000",
    ),
    "an epoch below the one in force": (
        {"multiplier_epoch": 1}, (ATTESTOR,), "multiplier_epoch", lambda _: 1,
        "epoch 2 is in force",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_attestation__that_is_refused__names_everything_and_is_told_once(name: str) -> None:
    changes, keys, field, value, remedy = REFUSED[name]
    world = a_world()
    await attested(world, paper_of(world, sequence=5, multiplier_epoch=2))
    lines = await lines_of(world)
    fields = {"sequence": 6, "multiplier_epoch": 2} | changes
    paper = paper_of(world, **fields | {"as_of": world.now + changes.get("as_of", 0)})
    for _ in range(2):
        with pytest.raises(InvalidMessage) as refused:
            await hand_in(world, paper, *keys)
    said(refused.value, "ATTESTATION_INVALID", field, value(world), remedy)
    scope = f"asset/{paper.asset.hex()}"
    detail = f"by '{keys[0].key_id}': {refused.value.message}"
    alarm = Alarm(attesting.REFUSED, scope, detail, field)
    assert await raised(world, attesting.REFUSED) == [RaisedAlarm(alarm, world.clock.unix_ms())]
    assert (await lines_of(world), await in_force(world)) == (lines, 5)


async def test_attestation__as_far_ahead_as_clocks_may_differ__is_taken() -> None:
    world = a_world()
    assert (await attested(world, paper_of(world, as_of=world.now + 30))).in_force


async def test_attestation__of_the_same_second_and_epoch__follows() -> None:
    world = a_world()
    await attested(world, paper_of(world, sequence=5, multiplier_epoch=2))
    again = paper_of(world, 7, sequence=6, multiplier_epoch=2)
    assert (await attested(world, again)).sequence == 6
    assert await in_force(world) == 6


async def test_cosignature__over_another_paper__is_refused_by_its_signers_name() -> None:
    world = a_world()
    true, false = paper_of(world), paper_of(world, 10**15)
    first = ATTESTOR.sign(ATTESTATION, DEPLOYMENT, true)
    other = AGENT.sign(ATTESTATION, DEPLOYMENT, false)
    cosigned = [wire.statement_from_wire(other, ATTESTATION, DEPLOYMENT)]
    with pytest.raises(InvalidMessage) as refused:
        await submit_attestation(
            world.desk, *wire.attestation_from_wire(first, DEPLOYMENT), cosigned
        )
    remedy = "every one must sign the very same paper"
    said(refused.value, "ATTESTATION_INVALID", "cosignatures", "agent-1", remedy)
    assert await in_force(world) == 0


async def test_attestation__by_a_key_with_an_endless_name__is_told_in_five_hundred_letters() -> (
    None
):
    world = a_world()
    endless = replace(STRANGER, key_id="k" * 600)
    with pytest.raises(InvalidMessage):
        await hand_in(world, paper_of(world), endless)
    (one,) = await raised(world, attesting.REFUSED)
    assert one.alarm.detail == f"by '{'k' * 64}': signature: '{'k' * 600}'"[:500]


async def test_attestation__accepted_for_one_asset__leaves_the_others_alarm() -> None:
    world = a_world()
    for asset in (ASSET, OTHER):
        with pytest.raises(InvalidMessage):
            await hand_in(world, paper_of(world, asset=asset), STRANGER)
    await attested(world, paper_of(world))
    scopes = [one.alarm.scope for one in await raised(world, attesting.REFUSED)]
    assert scopes == [f"asset/{OTHER.hex()}"]


def attest_line(world: World, sequence: int, cap: int, *keys: Key, margin: int = 0) -> str:
    """The journal's line of an attestation in force of a thousand shares."""
    paper = paper_of(world, sequence=sequence)
    signed = [key.sign(ATTESTATION, DEPLOYMENT, paper) for key in keys]
    return (
        f"attest asset={ASSET.hex()} sequence={sequence} held={1000 * SHARE} decimals=8"
        f" multiplier={10**18} epoch=0 as_of={world.now} margin={margin} cap={cap}"
        f" paper={signed[0].paper.hex()} keys={','.join(one.key_id for one in signed)}"
        f" signatures={','.join(one.signature.hex() for one in signed)}"
    )


def signature_line(world: World, sequence: int, key: Key) -> str:
    """The journal's line of one attestor's signature."""
    signed = key.sign(ATTESTATION, DEPLOYMENT, paper_of(world, sequence=sequence))
    (statement,) = [wire.statement_from_wire(signed, ATTESTATION, DEPLOYMENT)]
    return (
        f"attest-signature asset={ASSET.hex()} sequence={sequence}"
        f" digest={statement.digest.hex()} key={key.key_id}"
        f" signature={signed.signature.hex()} paper={signed.paper.hex()}"
    )


async def test_attestation__signed_by_one_and_then_by_the_other__every_step_is_journaled() -> None:
    """The margin lowers what follows from it; the signers stand by name, whoever came first."""
    world = a_world(margin_bps=1000)
    paper = paper_of(world, sequence=3)
    first = await hand_in(world, paper, ATTESTOR)
    assert first == Attested(3, 900 * SHARE, in_force=False, signatures=1, needed=2)
    assert await lines_of(world) == [signature_line(world, 3, ATTESTOR)]
    second = await hand_in(world, paper, AGENT)
    assert second == Attested(3, 900 * SHARE, in_force=True, signatures=2, needed=2)
    assert await lines_of(world) == [
        signature_line(world, 3, ATTESTOR),
        signature_line(world, 3, AGENT),
        attest_line(world, 3, 900 * SHARE, AGENT, ATTESTOR, margin=1000),
    ]
    third = await hand_in(world, paper, HSM)
    assert third == Attested(3, 900 * SHARE, in_force=True, signatures=3, needed=2)
    assert (await lines_of(world))[3:] == [signature_line(world, 3, HSM)]
    async with world.store.read() as books:
        subject = ASSET + bytes(7) + b"\x03"
        kept = await books.paper_signatures(ATTESTATION, subject)
    assert {one.statement.key_id for one in kept} == {"custodian-1", "agent-1", "hsm-1"}


async def test_attestations__two_of_one_sequence__dispute_is_told_with_the_sequence() -> None:
    """A key that signed both is refused by name; the alarm says of which sequence and asset."""
    world = a_world()
    true, false = paper_of(world, sequence=9), paper_of(world, 10**15, sequence=9)
    await hand_in(world, true, ATTESTOR)
    assert await raised(world, attesting.DISPUTED) == []
    await hand_in(world, false, AGENT)
    alarm = Alarm(
        attesting.DISPUTED, SCOPE, "attestors have signed different papers of sequence 9", "9"
    )
    assert await raised(world, attesting.DISPUTED) == [RaisedAlarm(alarm, world.clock.unix_ms())]
    with pytest.raises(InvalidMessage) as refused:
        await hand_in(world, false, ATTESTOR)
    remedy = "this key has signed another paper of this sequence; take the next sequence"
    said(refused.value, "ATTESTATION_INVALID", "sequence", 9, remedy)


async def test_feed__that_confirmed_a_paper__is_one_voice_when_the_next_attestor_comes() -> None:
    """Its words are kept with the first signature; they are not written down once more."""
    scene = Scene()
    world, config = scene.world, scene.world.desk.config
    world.desk.config = replace(
        config,
        attestors={**config.attestors, AGENT.key_id: AGENT.public_key},
        policy=replace(config.policy, attestors_needed=3),
    )
    scene.note(scene.body())
    paper = paper_of(world)
    first = await hand_in(world, paper, ATTESTOR)
    assert (first.signatures, first.in_force) == (2, False)
    second = await hand_in(world, paper, AGENT)
    assert (second.signatures, second.in_force) == (3, True)
    signed = [read_line(one) for one in await lines_of(world)]
    keys = [fields["key"] for verb, fields in signed if verb == "attest-signature"]
    assert keys == ["custodian-1", "reserves-feed", "agent-1"]


# --- cover ----------------------------------------------------------------------------------------


async def test_cover__lost_and_found__is_one_line_and_one_alarm_each() -> None:
    """F54: what custody's own statement brought, in the statement's own transaction."""
    world = a_world(under_collateral_seconds_max=60)
    await funded(world)
    await attested(world, paper_of(world, asset=OTHER))
    before = len(await lines_of(world))
    await attested(world, paper_of(world, 50 * SHARE, sequence=2))
    short = Alarm(
        SHORT,
        SCOPE,
        f"TSLAx: exposure {100 * SHARE} is above the cap; its releases wait for custody",
    )
    began = world.clock.unix_ms()
    assert await raised(world, SHORT) == [RaisedAlarm(short, began)]
    said_then = (await lines_of(world))[before:]
    assert said_then[3:] == [f"over-cap asset={ASSET.hex()} exposure={100 * SHARE}"]
    async with world.store.read() as books:
        assert await books.uncovered([ASSET, OTHER]) == {ASSET: began}
    await world.clock.advance(1)
    assert await cover_step(world.desk) == Covered()
    await attested(world, paper_of(world, sequence=3))
    assert (await lines_of(world))[-1] == f"covered asset={ASSET.hex()}"
    assert await raised(world, SHORT) == []
    async with world.store.read() as books:
        assert await books.uncovered([ASSET, OTHER]) == {}


async def test_cover__short_beyond_its_time__halts_the_asset_in_these_words() -> None:
    world = a_world(under_collateral_seconds_max=60)
    await funded(world)
    await attested(world, paper_of(world, 50 * SHARE, sequence=2))
    await world.clock.advance(59.999)
    assert await cover_step(world.desk) == Covered()
    await world.clock.advance(0.001)
    seen = await cover_step(world.desk)
    async with world.store.read() as books:
        (halted,) = await books.halts()
    reason = "INV-04: exposure is above the cap for longer than 60 s"
    assert (halted.reason, halted.asset, halted.chain) == (reason, ASSET, None)
    assert halted.at_ms == world.clock.unix_ms()
    assert (seen.short, len(seen.halted)) == ((ASSET,), 1)
    assert (await lines_of(world))[-1].startswith("halt id=")


async def test_cover__of_a_stricter_margin_since__is_found_by_the_step_and_journaled() -> None:
    """Nobody attests and nothing is booked: the configuration alone has lowered the cap."""
    world = a_world()
    await funded(world, 100 * SHARE, held=100 * SHARE)
    policy = replace(world.desk.config.policy, margin_bps=1)
    world.desk.config = replace(world.desk.config, policy=policy)
    await world.clock.advance(5)
    assert await cover_step(world.desk) == Covered((ASSET,))
    async with world.store.read() as books:
        head = await books.journal_head()
        assert await books.uncovered([ASSET]) == {ASSET: world.clock.unix_ms()}
    assert head.at_ms == world.clock.unix_ms()
    assert (await lines_of(world))[-1] == f"over-cap asset={ASSET.hex()} exposure={100 * SHARE}"
    assert await cover_step(world.desk) == Covered()
    policy = replace(policy, margin_bps=0)
    world.desk.config = replace(world.desk.config, policy=policy)
    assert await cover_step(world.desk) == Covered()
    assert (await lines_of(world))[-1] == f"covered asset={ASSET.hex()}"
    assert await raised(world, SHORT) == []


async def test_cover__of_an_asset_that_left_the_registry__is_told_by_its_id() -> None:
    world = a_world()
    await funded(world)
    config = world.desk.config
    only = {OTHER: config.assets[OTHER]}
    policy = replace(config.policy, margin_bps=9500)
    world.desk.config = replace(config, assets=only, policy=policy)
    lines: list[str] = []
    async with world.store.write() as unit:
        assert await note_cover(world.desk, unit, [ASSET], 7, lines) == (ASSET,)
        await unit.journal(lines, 7)
    (one,) = await raised(world, SHORT)
    assert one.alarm.detail.startswith(f"{ASSET.hex()}: exposure {100 * SHARE} is above")
    assert (one.at_ms, one.alarm.scope) == (7, SCOPE)


# --- redemptions ----------------------------------------------------------------------------------


async def test_redemptions__listed_as_paid__are_closed_once_each_in_the_papers_own_link() -> None:
    world = a_world()
    await funded(world)
    ids = [id_of((await redeemed(world, shares * SHARE)).message) for shares in (10, 5)]
    before = len(await lines_of(world))
    await pay(world, 2, ids[0], ids[1], ids[0])
    paper = paper_of(world, sequence=2, paid=[ids[0], ids[1], ids[0]])
    signed = wire.statement_from_wire(
        ATTESTOR.sign(ATTESTATION, DEPLOYMENT, paper), ATTESTATION, DEPLOYMENT
    )
    lines = (await lines_of(world))[before:]
    assert [one for one in lines if one.startswith("redemption ")] == [
        f"redemption id={one.hex()} state=PAID asset={ASSET.hex()} digest={signed.digest.hex()}"
        for one in ids
    ]
    assert sum(" kind=REDEEM_PAID " in one for one in lines) == 2
    async with world.store.read() as books:
        records = await books.redemption_records(ids)
    now_ms = world.clock.unix_ms()
    assert records == {
        one: RedemptionRecord(one, RedemptionState.PAID, signed.digest, now_ms, ASSET)
        for one in ids
    }
    after = len(await lines_of(world))
    await pay(world, 3, *ids)
    assert not [one for one in (await lines_of(world))[after:] if one.startswith("redemption ")]


async def test_paid_list__that_names_what_cannot_be_paid__says_which_and_why() -> None:
    """Each stands behind one that could be paid, which stays open: the paper is one word."""
    world = a_world()
    await funded(world)
    fine, rejected, back = [await redeemed(world, SHARE) for _ in range(3)]
    transfer = id_of(await world.granted())
    await reject(world, id_of(rejected.message))
    await world.release([refund_of(back.message, back.message.source_bridge, keccak256)])
    world.mine()
    await world.scan()
    wrong = {
        id_of(rejected.message): f"it was rejected; {CONFLICT}",
        id_of(back.message): f"its shares were minted back; {CONFLICT}",
        transfer: "it is no redemption of this asset",
    }
    for one, remedy in wrong.items():
        with pytest.raises(InvalidMessage) as refused:
            await pay(world, 2, id_of(fine.message), one)
        said(refused.value, "REDEMPTION_INVALID", "paid", one.hex(), remedy)
    assert await state_of(world, id_of(fine.message)) is None
    assert await in_force(world) == 1


async def test_rejection__booked__is_one_line_with_its_paper_and_the_same_again_none() -> None:
    world = a_world()
    await funded(world)
    one = id_of((await redeemed(world)).message)
    before = len(await lines_of(world))
    await world.clock.advance(3)
    await reject(world, one, HSM, "no such account")
    paper = papers_pb2.RedemptionRejection(transfer_id=one, reason="no such account")
    signed = HSM.sign("redemption-rejection", DEPLOYMENT, paper)
    statement = wire.statement_from_wire(signed, "redemption-rejection", DEPLOYMENT)
    assert (await lines_of(world))[before:] == [
        f"redemption id={one.hex()} state=REJECTED reason=no%20such%20account"
        f" digest={statement.digest.hex()} paper={signed.paper.hex()} keys=hsm-1"
        f" signatures={signed.signature.hex()}"
    ]
    async with world.store.read() as books:
        (record,) = (await books.redemption_records([one])).values()
        head = await books.journal_head()
    now_ms = world.clock.unix_ms()
    rejected = RedemptionState.REJECTED
    digest = statement.digest
    assert record == RedemptionRecord(one, rejected, digest, now_ms, reason="no such account")
    assert head.at_ms == now_ms
    await reject(world, one, ATTESTOR, "another reason")
    async with world.store.read() as books:
        assert await books.journal_head() == head


@pytest.mark.parametrize(
    ("key", "field", "value", "remedy"),
    [
        (AGENT, "signature", "agent-1", "sign with a custodian's registered key"),
        (STRANGER, "signature", "stranger", "sign with a custodian's registered key"),
    ],
)
async def test_rejection__by_a_key_that_is_not_custodys__is_told_whole(
    key: Key, field: str, value: str, remedy: str
) -> None:
    world = a_world()
    await funded(world)
    one = id_of((await redeemed(world)).message)
    with pytest.raises(InvalidMessage) as refused:
        await reject(world, one, key)
    said(refused.value, "REDEMPTION_INVALID", field, value, remedy)
    alarm = Alarm(
        redemptions.REFUSED,
        f"transfer/{one.hex()}",
        f"by '{key.key_id}': {refused.value.message}",
    )
    told = await raised(world, redemptions.REFUSED)
    assert told == [RaisedAlarm(alarm, world.clock.unix_ms())]


async def test_rejection__of_what_was_paid_or_is_no_redemption__is_refused_by_its_id() -> None:
    world = a_world()
    await funded(world)
    paid, transfer = id_of((await redeemed(world)).message), id_of(await world.granted())
    await pay(world, 2, paid)
    wrong = {paid: f"it was paid; {CONFLICT}", transfer: "it is no redemption"}
    for one, remedy in wrong.items():
        with pytest.raises(InvalidMessage) as refused:
            await reject(world, one)
        said(refused.value, "REDEMPTION_INVALID", "transfer_id", one.hex(), remedy)
    assert await state_of(world, transfer) is None


@pytest.mark.parametrize(("letters", "fine"), [(0, False), (1, True), (500, True), (501, False)])
async def test_rejection__with_a_reason_of_many_letters_or_none__is_measured(
    letters: int, fine: bool
) -> None:
    """Spaces around it are no letters."""
    world = a_world()
    await funded(world)
    one = id_of((await redeemed(world)).message)
    paper = papers_pb2.RedemptionRejection(transfer_id=one, reason="no")
    signed = ATTESTOR.sign("redemption-rejection", DEPLOYMENT, paper)
    statement = wire.rejection_from_wire(signed, DEPLOYMENT)[-1]
    reason = " " + "r" * letters + " "
    if fine:
        await submit_rejection(world.desk, one, reason, statement)
        assert await state_of(world, one) is RedemptionState.REJECTED
        return
    with pytest.raises(InvalidMessage) as refused:
        await submit_rejection(world.desk, one, reason, statement)
    remedy = "give 1 to 500 characters"
    said(refused.value, "REDEMPTION_INVALID", "reason", reason[:40], remedy)
    assert await state_of(world, one) is None


async def test_rejection__by_a_key_with_an_endless_name__is_told_in_five_hundred_letters() -> None:
    world = a_world()
    await funded(world)
    one = id_of((await redeemed(world)).message)
    with pytest.raises(InvalidMessage):
        await reject(world, one, replace(STRANGER, key_id="k" * 600))
    (told,) = await raised(world, redemptions.REFUSED)
    assert told.alarm.detail == f"by '{'k' * 64}': signature: '{'k' * 600}'"[:500]

"""Announcements, windows, drift and the screening list: what is kept, told and remembered."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import a_burn, a_message
from tests.services.supply_guard.people import TENFOLD, ListOf, announcement, lines_of
from tests.services.supply_guard.world import (
    ASSET,
    CHAINS,
    HOLDER,
    ISSUER,
    OTHER,
    RECIPIENT,
    World,
)
from xstock_chains.ports import AssetSupply
from xstock_core.cap import Attestation
from xstock_core.ids import Address32, Domain, TransferId
from xstock_core.observation import BlockRef, by_id
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.lines import attestation_line
from xstock_supply_guard.handlers.screening import (
    SEQUENCE,
    Screening,
    note_screening,
    screen,
    senders_of,
    settle_screening,
)
from xstock_supply_guard.handlers.standing import (
    SETTLED,
    asset_drift,
    asset_windows,
    by_asset,
    note_settled,
    settled_before,
    submit_corporate_action,
    window_of,
)
from xstock_supply_guard.model import (
    Alarm,
    AttestationRecord,
    BelievedSupply,
    CorporateAction,
    PolicyConfig,
    SignedStatement,
)

OLD = 10**18
SCOPE = f"asset/{ASSET.hex()}"


async def told(world: World) -> list[tuple[Alarm, int]]:
    """The alarms that stand, with when they were told."""
    async with world.store.read() as books:
        return [(one.alarm, one.at_ms) for one in await books.alarms()]


# announcements


@pytest.mark.parametrize("cancelled", [False, True])
async def test_announcement__is_kept_journaled_with_its_paper_and_told(cancelled: bool) -> None:
    world = World()
    action = announcement(world, version=3, cancelled=cancelled)
    assert await submit_corporate_action(world.desk, action) == action
    async with world.store.read() as books:
        assert await books.corporate_actions([ASSET]) == {ASSET: (action,)}
    what = "is cancelled" if cancelled else f"activates at {action.activates_at}"
    alarm = Alarm("CORPORATE_ACTION", SCOPE, f"event split-1 version 3 {what}", "split-1/3")
    assert await told(world) == [(alarm, world.clock.unix_ms())]
    statement = action.statement
    assert await lines_of(world) == [
        f"corporate-action asset={ASSET.hex()} event=split-1 version=3"
        f" activates={action.activates_at} multiplier={TENFOLD} cancelled={int(cancelled)}"
        f" key={ISSUER.key_id} paper={statement.paper.hex()}"
        f" signature={statement.signature.hex()}"
    ]


@pytest.mark.parametrize(
    ("changes", "field", "value", "remedy"),
    [
        ({"asset": b"\1" * 32}, "asset", "01" * 32, "this asset is not registered"),
        ({"version": 0}, "version", 0, "give a number from 1 on"),
        ({"activates_at": 0}, "activates_at", 0, "give a number from 1 on"),
        ({"event_id": ""}, "event_id", "", "give 1 to 64 characters, none of them 0"),
        ({"event_id": "x" * 65}, "event_id", "x" * 40, "give 1 to 64 characters, none of them 0"),
    ],
)
async def test_announcement__with_a_bad_field__is_refused_by_its_name(
    changes: dict[str, Any], field: str, value: object, remedy: str
) -> None:
    world = World()
    with pytest.raises(InvalidMessage) as refused:
        await submit_corporate_action(world.desk, replace(announcement(world), **changes))
    assert refused.value.code == "FIELD_INVALID"
    assert refused.value.message == f"{field}: {value!r} is not valid; {remedy}"
    assert refused.value.metadata["field"] == field
    assert (await told(world), await lines_of(world)) == ([], [])


async def test_announcement__by_nobody_registered__names_the_key() -> None:
    world = World()
    posed = announcement(world)
    posed = replace(posed, statement=replace(posed.statement, signature=bytes(65)))
    with pytest.raises(InvalidMessage) as refused:
        await submit_corporate_action(world.desk, posed)
    assert refused.value.message == (
        f"signature: {ISSUER.key_id!r} is not valid; sign with a registered issuer's key"
    )
    assert refused.value.metadata == {"field": "signature", "value": ISSUER.key_id}


async def test_announcement__at_its_bounds__is_booked() -> None:
    world = World()
    least = replace(announcement(world), version=1, activates_at=1, event_id="x" * 64)
    assert await submit_corporate_action(world.desk, least) == least


async def test_announcement__of_no_newer_version__is_refused_unless_it_is_the_same() -> None:
    world = World()
    second = announcement(world, version=2)
    await submit_corporate_action(world.desk, second)
    assert await submit_corporate_action(world.desk, announcement(world, version=2)) == second
    for version in (1, 2):
        late = announcement(world, version=version, after=1)
        with pytest.raises(InvalidMessage) as refused:
            await submit_corporate_action(world.desk, late)
        assert refused.value.message == (
            f"version: {version} is not valid; version 2 counts now; give a higher one"
        )
    other = announcement(world, version=1, event="split-2")
    assert await submit_corporate_action(world.desk, other) == other
    assert len(await lines_of(world)) == 2


def test_window__opens_and_closes_a_quarter_of_an_hour_around() -> None:
    action = announcement(World())
    at = action.activates_at
    assert window_of(action) == (at - 900, at + 900)
    assert window_of(replace(action, activates_at=5)) == (0, 905)
    assert window_of(replace(action, cancelled=True)) == (0, 0)


# readings


def reading(
    world: World,
    chain: Domain,
    multiplier: int = OLD,
    *,
    age: int = 0,
    units: int = 0,
    asset: bytes = ASSET,
) -> BelievedSupply:
    """What a chain shows."""
    supply = AssetSupply(asset, units, 0, 18, multiplier, 0, False)  # type: ignore[arg-type]
    return BelievedSupply(chain, BlockRef(chain, 1, bytes(32), world.now - age), supply, 0)


def shown(world: World, multiplier: int, chains: Sequence[Domain] = CHAINS) -> list[BelievedSupply]:
    """Every one of these chains shows it."""
    return [reading(world, chain, multiplier) for chain in chains]


def attested(multiplier: int) -> Attestation:
    """Custody states it."""
    return Attestation(ASSET, 1, 8, multiplier, 0, 1, 1)


def test_windows__of_an_asset__close_when_every_chain_and_custody_show_the_announced() -> None:
    """F51."""
    world = World()
    action = announcement(world, after=-1_000)
    (window,) = asset_windows(
        world.desk, ASSET, [action], shown(world, TENFOLD), attested(TENFOLD), ()
    )
    at = action.activates_at
    assert (window.opens, window.closes, window.settled) == (at - 900, at + 900, True)
    gone = replace(action, cancelled=True)
    assert asset_windows(world.desk, ASSET, [gone], shown(world, OLD), attested(OLD), ()) == ()
    settled = {action.statement.digest}
    (window,) = asset_windows(
        world.desk, ASSET, [action], shown(world, OLD), attested(OLD), settled
    )
    assert window.settled
    for readings, said, awaits in (
        (shown(world, TENFOLD, CHAINS[:2]), attested(TENFOLD), "chain 3"),
        (shown(world, TENFOLD), attested(OLD), "custody"),
        (shown(world, TENFOLD), None, "custody"),
    ):
        window = asset_windows(world.desk, ASSET, [action], readings, said, ())[0]
        assert not window.settled
        assert awaits in window.why
    strange = [*shown(world, TENFOLD), reading(world, Domain.TON, OLD)]
    (window,) = asset_windows(world.desk, ASSET, [action], strange, attested(TENFOLD), ())
    assert window.settled


async def keep(world: World, *actions: CorporateAction, multiplier: int = TENFOLD) -> None:
    """These are announced; every chain and custody show this."""
    async with world.store.write() as unit:
        for action in actions:
            await unit.add_corporate_action(action)
        await unit.save_readings(shown(world, multiplier))
        statement = SignedStatement("attestation", b"", b"", "", b"")
        await unit.add_attestation(AttestationRecord(attested(multiplier), statement))
        await unit.journal([attestation_line(attested(multiplier), 0, [statement])], 1)


async def noted(world: World) -> list[str]:
    """What is settled now, in the journal's words."""
    lines: list[str] = []
    async with world.store.write() as unit:
        await note_settled(world.desk, unit, [ASSET, OTHER], lines)
    return lines


async def known(world: World) -> frozenset[bytes]:
    """The papers of those due that were seen settled."""
    async with world.store.read() as books:
        return await settled_before(world.desk, books, await books.corporate_actions([ASSET]))


async def test_settled__is_remembered_once_by_its_paper() -> None:
    """F51: a fee that moves all multipliers later must not hold again."""
    world = World()
    action = announcement(world, after=0)
    await keep(world, action)
    assert await known(world) == frozenset()
    line = f"{SETTLED} asset={ASSET.hex()} event=split-1 version=1"
    assert await noted(world) == [line]
    assert await known(world) == {action.statement.digest}
    name = f"corporate-action-settled/{action.statement.digest.hex()}"
    async with world.store.read() as books:
        assert await books.high_water([name]) == {name: action.activates_at}
    assert await noted(world) == []


@pytest.mark.parametrize(
    "why", ["not due", "cancelled", "another value", "no attestation", "no readings", "older"]
)
async def test_settled__what_is_not__is_not_remembered(why: str) -> None:
    world = World()
    action = announcement(world, after=1 if why == "not due" else -10, cancelled=why == "cancelled")
    later = announcement(world, after=-5, event="split-2", multiplier=2 * TENFOLD)
    if why == "no attestation":
        async with world.store.write() as unit:
            await unit.add_corporate_action(action)
            await unit.save_readings(shown(world, TENFOLD))
    elif why == "no readings":
        async with world.store.write() as unit:
            await unit.add_corporate_action(action)
    else:
        extra = [later] if why == "older" else []
        multiplier = OLD if why == "another value" else TENFOLD
        await keep(world, action, *extra, multiplier=multiplier)
    assert await noted(world) == []
    assert await known(world) == frozenset()


async def test_settled__two_of_the_same_second__are_both_due() -> None:
    world = World()
    pair = [announcement(world, after=-5, event=event) for event in ("one", "two")]
    await keep(world, *pair)
    assert len(await noted(world)) == 2
    assert await known(world) == {one.statement.digest for one in pair}


def test_drift__more_than_the_ledger_or_a_release_without_a_burn__holds() -> None:
    """INV-16."""
    world = World()
    even = shown(world, OLD)
    above = [*even[:2], reading(world, Domain.MANTLE, units=1)]
    assert asset_drift(world.desk, ASSET, [], even) is False
    assert asset_drift(world.desk, ASSET, [], []) is False
    assert asset_drift(world.desk, ASSET, [], above) is True
    assert asset_drift(world.desk, ASSET, [OTHER], even) is False
    assert asset_drift(world.desk, ASSET, [ASSET], even) is True


def test_drift__a_chain_not_read_lately__is_unknown() -> None:
    world = World(policy=PolicyConfig(supply_age_seconds_max=600))
    for age, drift in ((600, False), (601, None)):
        aged = [*shown(world, OLD, CHAINS[:2]), reading(world, Domain.MANTLE, age=age)]
        assert asset_drift(world.desk, ASSET, [], aged) is drift
    assert asset_drift(world.desk, ASSET, [], shown(world, OLD, CHAINS[:2])) is None
    late = [reading(world, Domain.BNB, units=1, age=9_999)]
    assert asset_drift(world.desk, ASSET, [], late) is True


def test_readings__by_asset__keep_their_order() -> None:
    world = World()
    first, second = shown(world, OLD, CHAINS[:2])
    other = reading(world, Domain.BNB, asset=OTHER)
    assert by_asset([first, other, second]) == {ASSET: [first, second], OTHER: [other]}


# screening

MESSAGE = a_message(asset=ASSET, refund_address=HOLDER, recipient=RECIPIENT)
SENDER = Address32(bytes(12) + b"\x66" * 20)
ID = MESSAGE.transfer_id(keccak256)
PARTIES = frozenset({HOLDER, RECIPIENT, SENDER})


async def burned(world: World) -> None:
    """The transfer is booked."""
    async with world.store.write() as unit:
        await unit.add_observations(by_id([a_burn(MESSAGE, sender=SENDER)]))


async def test_screen__asks_of_everybody_who_has_to_do_with_it() -> None:
    world = World()
    await burned(world)
    unbooked = replace(MESSAGE, recipient=Address32(b"\x55" * 32))
    world.desk.screening = ListOf({SENDER: "sanctions", Address32(b"\1" * 32): "issuer"}, 4)
    page = {ID: MESSAGE, unbooked.transfer_id(keccak256): unbooked}
    assert await screen(world.desk, page) == Screening(
        PARTIES | {unbooked.recipient}, {SENDER: "sanctions"}, {ID: SENDER}, 4
    )
    assert await screen(world.desk, {}) == Screening()
    world.desk.screening = None
    assert await screen(world.desk, page) == Screening()


async def test_screen__a_list_that_fails__has_asked_about_nobody() -> None:
    world = World()
    await burned(world)
    world.desk.screening = ListOf(fails=True)
    assert await screen(world.desk, {ID: MESSAGE}) == Screening(
        frozenset(), {}, {ID: SENDER}, 0, "SCREENING_UNKNOWN: screening list: gone"
    )


async def test_list__older_than_one_believed__says_nothing() -> None:
    world = World()
    said = Screening(PARTIES, {SENDER: "x"}, {ID: SENDER}, 9)
    async with world.store.write() as unit:
        for one in (said, replace(said, sequence=0)):
            assert await settle_screening(unit, one) == one
        await note_screening(world.desk, unit, said)
        for sequence in (9, 10):
            newer = replace(said, sequence=sequence)
            assert await settle_screening(unit, newer) == newer
        older = await settle_screening(unit, replace(said, sequence=8))
        assert older == Screening(
            frozenset(), {}, {ID: SENDER}, 0, "list 8 is older than 9, which was believed before"
        )
        failed = Screening(frozenset(), senders={ID: SENDER}, failed="gone")
        assert await settle_screening(unit, failed) == failed
        assert await settle_screening(unit, Screening()) == Screening()


async def test_list__fails_and_is_back__is_told_once_and_its_sequence_only_rises() -> None:
    world = World()
    said, failed = Screening(PARTIES, sequence=9), Screening(frozenset(), failed="gone")

    async def note(one: Screening) -> None:
        async with world.store.write() as unit:
            await note_screening(world.desk, unit, one)

    assert world.desk.live.screening_failed
    await note(Screening())
    assert world.desk.live.screening_failed
    await note(said)
    assert not world.desk.live.screening_failed
    began_ms = world.clock.unix_ms()
    await note(failed)
    assert world.desk.live.screening_failed
    await world.clock.advance(1)
    await note(failed)
    assert await told(world) == [(Alarm("SCREENING_UNKNOWN", "all", "gone"), began_ms)]
    for sequence in (9, 8, 11):
        await note(replace(said, sequence=sequence))
        assert await told(world) == []
    assert await lines_of(world) == [f"{SEQUENCE} sequence={n}" for n in (9, 11)]
    async with world.store.read() as books:
        assert await books.high_water(["screening-list"]) == {"screening-list": 11}


def test_senders__of_those_asked_about__are_known() -> None:
    other, unknown = TransferId(b"\x09" * 32), TransferId(b"\x08" * 32)
    said = Screening(senders={ID: SENDER, other: HOLDER})
    assert senders_of(said, [ID, unknown]) == {ID: SENDER}

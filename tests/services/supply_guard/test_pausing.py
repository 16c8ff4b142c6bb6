"""A pause as it is kept, told and journaled; and how it stands beside what chains show."""

import pytest

from tests.services.supply_guard.people import ALICE, lines_of, paused, proposed
from tests.services.supply_guard.world import ASSET, OTHER, World
from xstock_chains.ports import AssetSupply
from xstock_core.ids import Domain
from xstock_core.observation import BlockRef
from xstock_core.review import Scope
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.handlers.alarms import settle_alarms
from xstock_supply_guard.handlers.denials import Denials, tell_denials
from xstock_supply_guard.handlers.pausing import (
    PAUSE_SECONDS_MAX,
    pause,
    pauses_in_force,
    scope_of,
)
from xstock_supply_guard.model import Alarm, BelievedSupply, Pause, ProposalKind


@pytest.mark.parametrize(
    ("scope", "covers", "concerns"),
    [
        (Scope(), "", "all"),
        (Scope(ASSET), f"asset={ASSET.hex()} ", f"asset/{ASSET.hex()}"),
        (
            Scope(ASSET, Domain.ETHEREUM, Domain.BNB),
            f"asset={ASSET.hex()} source=1 destination=2 ",
            f"asset/{ASSET.hex()}",
        ),
        (Scope(source=Domain.ETHEREUM), "source=1 ", "chain/1"),
        (
            Scope(source=Domain.ETHEREUM, destination=Domain.BNB),
            "source=1 destination=2 ",
            "chain/2",
        ),
    ],
)
async def test_pause__as_it_is_asked_for__is_kept_journaled_and_told(
    scope: Scope, covers: str, concerns: str
) -> None:
    world = World()
    begun = await paused(world, scope)
    until, now_ms = world.now + 600, world.clock.unix_ms()
    assert begun == Pause(
        begun.id,
        "odd traffic",
        "agent",
        now_ms,
        until,
        scope.asset,
        scope.source,
        scope.destination,
    )
    assert (len(begun.id), scope_of(begun)) == (32, scope)
    async with world.store.read() as books:
        assert await books.pause(begun.id) == begun
        (told,) = await books.alarms()
    detail = f"agent paused until {until}: odd traffic"
    assert (told.alarm, told.at_ms) == (Alarm("PAUSED", concerns, detail, begun.id), now_ms)
    said = f"pause id={begun.id} by=agent {covers}until={until} reason=odd%20traffic"
    assert await lines_of(world) == [said]


async def test_pause__another_identity_or_request__is_another_pause() -> None:
    world = World()
    made = [
        await pause(
            world.desk,
            scope=Scope(),
            reason="r",
            until=world.now + 1,
            by=by,
            request_id=request_id,
        )
        for by, request_id in (("a", "b"), ("a", "c"), ("b", "b"), ("a", "b"))
    ]
    assert len({one.id for one in made}) == 3
    assert made[3] == made[0]
    async with world.store.read() as books:
        assert len(await books.alarms()) == 3


@pytest.mark.parametrize("seconds", [0, PAUSE_SECONDS_MAX + 1])
async def test_pause__of_another_length__is_refused_with_both_bounds(seconds: int) -> None:
    world = World()
    with pytest.raises(InvalidMessage) as refused:
        await paused(world, seconds=seconds)
    until, latest = world.now + seconds, world.now + 86_400
    assert refused.value.code == "FIELD_INVALID"
    assert refused.value.message == (
        f"until: {until} is not valid; give Unix seconds after {world.now}, at most {latest}"
    )
    assert refused.value.metadata == {"field": "until", "value": str(until)}
    for good in (1, PAUSE_SECONDS_MAX):
        await paused(world, seconds=good, request_id=f"p-{good}")


@pytest.mark.parametrize(("field", "longest"), [("reason", 500), ("request_id", 500)])
async def test_pause__words_that_say_nothing_or_too_much__are_refused(
    field: str, longest: int
) -> None:
    world = World()
    for value in ("", "  ", "x" * 501, "a\0b"):
        words = {"reason": "why", "request_id": "r", field: value}
        with pytest.raises(InvalidMessage) as refused:
            await pause(world.desk, scope=Scope(), until=world.now + 1, by="a", **words)
        assert refused.value.message == (
            f"{field}: {value[:40]!r} is not valid; give 1 to {longest} characters, none of them 0"
        )
        assert refused.value.metadata == {"field": field}
    words = {"reason": "why", "request_id": "r", field: "x" * longest}
    await pause(world.desk, scope=Scope(), until=world.now + 1, by="a", **words)


def reading(chain: Domain, *, paused: bool, asset: bytes = ASSET) -> BelievedSupply:
    """What a chain shows."""
    supply = AssetSupply(asset, 0, 0, 18, 10**18, 0, paused)  # type: ignore[arg-type]
    return BelievedSupply(chain, BlockRef(chain, 1, bytes(32), 1), supply, 0)


def test_pauses__a_token_paused_on_its_chain__has_no_end_that_anybody_knows() -> None:
    """F58."""
    shown = [
        reading(Domain.BNB, paused=True),
        reading(Domain.MANTLE, paused=False),
        reading(Domain.BNB, paused=True, asset=OTHER),
    ]
    here = Scope(asset=ASSET, destination=Domain.BNB)
    known = Pause("a", "why", "agent", 0, 100, ASSET, None, Domain.BNB)
    everywhere = Pause("b", "why", "agent", 0, 50)
    scopes, ends = pauses_in_force([known, everywhere], shown)
    assert scopes == {here, Scope(asset=OTHER, destination=Domain.BNB), Scope()}
    assert ends == {Scope(): 50}


# alarms that end by time, and denied calls


async def test_alarms__of_pauses_and_proposals__are_over_the_very_second_they_end() -> None:
    world = World()
    begun = await paused(world, seconds=60)
    await paused(world, Scope(asset=OTHER), seconds=61, request_id="p-2")
    made = await proposed(world, ProposalKind.ROTATION, b"\1" * 32, by=ALICE)
    await world.clock.advance(59)
    assert await settle_alarms(world.desk) == ()
    await world.clock.advance(1)
    (over,) = await settle_alarms(world.desk)
    assert (over.code, over.about) == ("PAUSED", begun.id)
    await world.clock.advance(86_339)
    assert [one.code for one in await settle_alarms(world.desk)] == ["PAUSED"]
    await world.clock.advance(1)
    (over,) = await settle_alarms(world.desk)
    assert (over.code, over.about) == ("PROPOSED", made.id)


async def test_denials__told__with_how_often_and_what_in_the_journal() -> None:
    """F85."""
    world = World()
    denials = Denials()
    began_ms = world.clock.unix_ms()
    for method in ("/a.B/Resume", "/a.B/Approve", "/a.B/Approve", "Bare", "/x/y/Halt"):
        denials.note("ann", method, began_ms)
        denials.note("bob", "/x/Halt", began_ms)
    assert await tell_denials(world.desk, denials) == ("ann", "bob")
    async with world.store.read() as books:
        raised = await books.alarms()
    assert {one.at_ms for one in raised} == {began_ms}
    assert [one.alarm for one in raised] == [
        Alarm(
            "DENIED",
            "identity/ann",
            "ann was denied 5 times: Approve,Bare,Halt,Resume",
            str(began_ms),
        ),
        Alarm("DENIED", "identity/bob", "bob was denied 5 times: Halt", str(began_ms)),
    ]
    assert await lines_of(world) == [
        "denied identity=ann count=5 methods=Approve,Bare,Halt,Resume",
        "denied identity=bob count=5 methods=Halt",
    ]
    assert await tell_denials(world.desk, denials) == ()


def test_denials__a_window__ends_after_ten_minutes_to_the_millisecond() -> None:
    denials = Denials()
    for at_ms in (0, 1, 2, 599_999):
        denials.note("ann", "/x/Halt", at_ms)
    assert (denials.tries["ann"].count, denials.due()) == (4, {})
    denials.note("ann", "/x/Halt", 600_000)
    assert (denials.tries["ann"].count, denials.tries["ann"].began_ms) == (1, 600_000)
    denials.forget(1_199_999)
    assert set(denials.tries) == {"ann"}
    denials.forget(1_200_000)
    assert denials.tries == {}


def test_denials__many_methods_and_names__are_bounded() -> None:
    """Many invented names fill no memory; those known already go on being told apart."""
    denials = Denials()
    for number in range(20):
        denials.note("ann", f"/x/Method{number}", 0)
    assert (len(denials.tries["ann"].methods), denials.tries["ann"].count) == (16, 20)
    for number in range(999):
        denials.note(f"name-{number}", "/x/Halt", 5)
    denials.note("late", "/x/Halt", 5)
    assert set(denials.tries) - {f"name-{number}" for number in range(999)} == {"ann", "others"}
    denials.note("ann", "/x/Halt", 5)
    assert denials.tries["ann"].count == 21
    denials.note("late", "/x/Halt", 600_005)
    assert denials.tries["late"].count == 1
    assert "ann" not in denials.tries

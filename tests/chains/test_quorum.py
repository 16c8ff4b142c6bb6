"""A quorum of providers: agreement, silence, dissent, and finality that breaks.

Every attack is run twice: against `Quorum`, and against a quorum with that one defence taken
out, where the attack must succeed; otherwise the test would prove nothing.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from tests.contract.fake_world import (
    ASSET,
    HOLDER,
    OTHER_ASSET,
    RECIPIENT,
    SHARE,
    Providers,
)
from xstock_chains.fake import FakeReader, Lie
from xstock_chains.ports import Cursor, Page, SupplyReading
from xstock_chains.quorum import Dissent, Quorum
from xstock_core.ids import AssetId, Domain
from xstock_core.observation import BlockRef, BurnFinal, Observation
from xstock_runtime.errors import Fatal, InvalidMessage, Transient

T = TypeVar("T")
START = Cursor(Domain.ETHEREUM)


def make_quorum(world: Providers, needed: int = 2) -> Quorum:
    """A quorum over all of the world's providers."""
    names = [node.name for node in world.nodes]
    return Quorum(world.readers, needed, names=names, clock=world.clock)


def a_lie(world: Providers, *, ahead: int = 0) -> Lie:
    """A burn that never happened, at the final head."""
    height = world.chain.final.number + ahead
    return Lie(height, ASSET, Domain.BNB, RECIPIENT, HOLDER.address, 5 * SHARE)


async def read_all(reader: Quorum | FakeReader, after: Cursor = START) -> list[Observation]:
    """Everything after the cursor."""
    found: list[Observation] = []
    while True:
        page = await reader.read_page(after, limit=3)
        found += page.observations
        after = page.cursor
        if not page.more:
            return found


async def answered(world: Providers, question: Coroutine[Any, Any, T]) -> T:
    """The answer to a question while virtual time goes on, so that timeouts can pass."""
    task = asyncio.ensure_future(question)
    while not task.done():
        if not await world.clock.advance_to_next():
            await asyncio.sleep(0)
    return task.result()


async def page_or_hold(world: Providers, quorum: Quorum, after: Cursor = START) -> Page | Transient:
    """The next page, or the error that holds the chain."""
    try:
        return await answered(world, quorum.read_page(after, limit=10))
    except Transient as hold:
        return hold


class LiveCountingQuorum(Quorum):
    """The defence of F02 taken out: the threshold is a majority of those that answer."""

    def _threshold(self, answered: int) -> int:
        return answered // 2 + 1


class MajorityQuorum(Quorum):
    """The defence of F33 taken out: contradictions are outvoted instead of told."""

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        pages = (await self._ask("page", lambda r: r.read_page(after, limit=limit))).given
        ballots = list(pages.values())
        return max(ballots, key=lambda page: sum(other == page for other in ballots))


class ForgetfulQuorum(Quorum):
    """The defence of F29 taken out: it does not remember what it called final."""

    def _remember(self, block: BlockRef) -> None:
        del block


async def test_quorum__all_agree__reads_what_one_reader_reads() -> None:
    world = Providers()
    for _ in range(7):
        world.burn()
    world.finalize()
    quorum = make_quorum(world)
    assert await read_all(quorum) == await read_all(world.readers[0])
    assert len(await read_all(quorum)) == 7
    assert await quorum.finalized_head() == world.chain.final
    assert await quorum.is_final(world.chain.final) is True
    assert await quorum.is_final(world.chain.head) is None


@pytest.mark.parametrize("needed", [0, 1, -1, 4, True, 1.5, None])
def test_quorum__threshold_not_a_majority__refuses_to_start(needed: object) -> None:
    """F83, INV-12: zero, missing, too low and too high thresholds are refused."""
    with pytest.raises(Fatal, match="WEAK_QUORUM"):
        Quorum(Providers().readers, needed)  # type: ignore[arg-type]


def test_quorum__no_providers_or_one_twice__refuses_to_start() -> None:
    """F83: nobody is not a quorum, and one provider does not vote twice."""
    with pytest.raises(Fatal, match="WEAK_QUORUM"):
        Quorum([], 0)
    with pytest.raises(Fatal, match="WEAK_QUORUM"):
        Quorum(Providers().readers, 2, names=["a", "a", "b"])


async def test_quorum__one_provider_lags__its_silence_is_not_dissent() -> None:
    world = Providers()
    world.burn()
    world.finalize()
    quorum = make_quorum(world)
    before = await quorum.read_page(START, limit=10)
    world.burn()
    world.finalize()
    world.nodes[2].faults.lag_blocks = 50
    page = await quorum.read_page(before.cursor, limit=10)
    assert [type(o) for o in page.observations] == [BurnFinal]
    assert "NODE_BEHIND" in quorum.silent["node-2"]


async def test_quorum__two_of_three_away__is_lost_and_says_who_is_silent() -> None:
    """F02: with too few providers nothing is read; nothing is guessed."""
    world = Providers()
    world.finalize()
    for node in world.nodes[:2]:
        node.faults.stopped = True
    with pytest.raises(Transient, match="QUORUM_LOST") as lost:
        await make_quorum(world).read_page(START, limit=10)
    assert not isinstance(lost.value, Dissent)
    assert set(lost.value.metadata) >= {"node-0", "node-1"}


async def test_quorum__provider_never_answers__the_others_are_heard_after_the_grace() -> None:
    world = Providers()
    world.burn()
    world.finalize()
    world.nodes[0].faults.blackholed = True
    page = await answered(world, make_quorum(world).read_page(START, limit=10))
    assert isinstance(page, Page)
    assert len(page.observations) == 1
    assert world.clock.monotonic() <= 2


async def test_quorum__providers_are_asked_at_once__the_slowest_sets_the_time() -> None:
    world = Providers()
    world.finalize()
    for node in world.nodes:
        node.faults.delay_seconds_max = 0.4
    await answered(world, make_quorum(world).finalized_head())
    assert world.clock.monotonic() <= 0.4


@pytest.mark.parametrize("quorum_type", [Quorum, LiveCountingQuorum])
@pytest.mark.parametrize("honest_away", [1, 2])
async def test_quorum__providers_drop_one_by_one_while_one_forges__threshold_never_degrades(
    quorum_type: type[Quorum], honest_away: int
) -> None:
    """F02: one liar of three gains nothing by silencing the others; counting live ones would."""
    world = Providers()
    world.burn()
    world.finalize()
    world.nodes[0].faults.forged = (a_lie(world),)
    for node in world.nodes[1 : 1 + honest_away]:
        node.faults.stopped = True
    quorum = quorum_type(world.readers, 2, clock=world.clock)
    result = await page_or_hold(world, quorum)
    if quorum_type is LiveCountingQuorum and honest_away == 2:
        assert isinstance(result, Page)
        assert len(result.observations) == 2
    else:
        assert isinstance(result, Transient)
        expected = "PROVIDER_DISSENT" if honest_away == 1 else "QUORUM_LOST"
        assert result.code == expected


async def test_quorum__two_of_three_lie_and_honest_one_answers__dissent_with_evidence() -> None:
    """F01: as long as one honest provider is heard, two liars get a HOLD and are on record."""
    world = Providers()
    world.burn()
    world.finalize()
    for node in world.nodes[:2]:
        node.faults.forged = (a_lie(world),)
    with pytest.raises(Dissent) as dissent:
        await make_quorum(world).read_page(START, limit=10)
    said = {item.provider: item.said for item in dissent.value.evidence}
    assert set(said) == {"node-0", "node-1", "node-2"}
    assert str(5 * SHARE) in said["node-0"]
    assert said["node-2"].endswith("nothing")
    assert dissent.value.code == "PROVIDER_DISSENT"


@pytest.mark.parametrize(("needed", "forged_passes"), [(2, True), (3, False)])
async def test_quorum__two_of_three_lie_and_honest_one_is_blackholed__only_all_of_three_holds(
    needed: int, forged_passes: bool
) -> None:
    """F01: what a quorum can not do; 2 of 3 fall to two liars, which is why guards read through
    other providers than the watcher."""
    world = Providers()
    world.burn()
    world.finalize()
    for node in world.nodes[:2]:
        node.faults.forged = (a_lie(world),)
    world.nodes[2].faults.blackholed = True
    result = await page_or_hold(world, make_quorum(world, needed))
    if forged_passes:
        assert isinstance(result, Page)
        assert len(result.observations) == 2
    else:
        assert isinstance(result, Transient)
        assert result.code == "QUORUM_LOST"


async def test_quorum__watcher_is_deceived__a_guard_with_disjoint_providers_is_not() -> None:
    """F01: the forged burn that the watcher reports is not there for the guard's own providers."""
    world = Providers(count=6)
    world.burn()
    world.finalize()
    lie = a_lie(world)
    for node in world.nodes[:2]:
        node.faults.forged = (lie,)
    world.nodes[2].faults.stopped = True
    watcher = Quorum(world.readers[:3], 2, clock=world.clock)
    guard = Quorum(world.readers[3:], 2, clock=world.clock)
    forged = (await watcher.read_page(START, limit=10)).observations[-1]
    assert isinstance(forged, BurnFinal)
    assert await guard.re_observe(forged.place.tx) == ()
    assert forged not in await read_all(guard)


@pytest.mark.parametrize("quorum_type", [Quorum, MajorityQuorum])
async def test_quorum__one_of_three_on_a_fork__is_told_not_outvoted(
    quorum_type: type[Quorum],
) -> None:
    """F33: a split among providers holds the chain, even where a majority agrees."""
    world = Providers()
    world.burn()
    world.finalize()
    world.nodes[1].faults.fork_from = 1
    quorum = quorum_type(world.readers, 2, clock=world.clock)
    result = await page_or_hold(world, quorum)
    if quorum_type is MajorityQuorum:
        assert isinstance(result, Page)
        return
    assert isinstance(result, Dissent)
    with pytest.raises(Dissent):
        await quorum.finalized_head()


async def test_quorum__fork_in_a_block_without_events__is_dissent_all_the_same() -> None:
    """F33: hashes are compared, not only what happens to be in the blocks."""
    world = Providers()
    world.chain.mine(10)
    world.nodes[1].faults.fork_from = 3
    world.nodes[1].faults.lag_blocks = 2
    with pytest.raises(Dissent):
        await make_quorum(world).read_page(START, limit=10)


@pytest.mark.parametrize("quorum_type", [Quorum, ForgetfulQuorum])
async def test_quorum__second_final_hash_at_a_height__finality_is_violated(
    quorum_type: type[Quorum],
) -> None:
    """F29, INV-10: the quorum's own second final hash is Fatal; without memory it would pass."""
    world = Providers()
    world.chain.mine(5)
    quorum = quorum_type(world.readers, 2, clock=world.clock)
    first = await quorum.finalized_head()
    world.chain.reorg(4, past_finality=True)
    world.chain.mine(4)
    assert world.chain.final.number == first.number
    if quorum_type is ForgetfulQuorum:
        assert (await quorum.finalized_head()).hash != first.hash
        return
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await quorum.finalized_head()
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await quorum.is_final(first)


async def test_quorum__final_block_under_the_cursor_changes__finality_is_violated() -> None:
    """F29: a stored cursor alone shows it, also to a process that has just started."""
    world = Providers()
    world.burn()
    world.finalize()
    cursor = (await make_quorum(world).read_page(START, limit=10)).cursor
    world.chain.reorg(3, past_finality=True)
    world.chain.mine(6)
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await make_quorum(world).read_page(cursor, limit=10)


async def test_quorum__one_provider_alone_shows_a_second_hash__is_dissent_not_violation() -> None:
    """F29: one provider can hold the chain, it can not halt it for good."""
    world = Providers()
    world.burn()
    world.finalize()
    cursor = (await make_quorum(world).read_page(START, limit=10)).cursor
    world.burn()
    world.finalize()
    world.nodes[2].faults.fork_from = 1
    with pytest.raises(Dissent) as dissent:
        await make_quorum(world).read_page(cursor, limit=10)
    assert (
        "FINALITY_VIOLATED"
        in dict((item.provider, item.said) for item in dissent.value.evidence)["node-2"]
    )
    world.nodes[2].faults.fork_from = None
    assert len((await make_quorum(world).read_page(cursor, limit=10)).observations) == 1


async def test_quorum__provider_hides_a_burn_by_accident__the_others_carry_on() -> None:
    """F30: an index that lost a row is an incomplete answer, hence silence."""
    world = Providers()
    world.burn()
    world.finalize()
    burn = (await read_all(world.readers[0]))[0]
    world.nodes[0].faults.hidden.add(burn.place.tx.id)
    quorum = make_quorum(world)
    assert await read_all(quorum) == [burn]
    assert "EVENTS_INCOMPLETE" in quorum.silent["node-0"]


async def test_quorum__provider_denies_a_burn_consistently__is_dissent() -> None:
    """F33: a lie by omission is a contradiction about final data."""
    world = Providers()
    world.burn()
    world.finalize()
    burn = (await read_all(world.readers[0]))[0]
    world.nodes[0].faults.omitted.add(burn.place.tx.id)
    with pytest.raises(Dissent):
        await make_quorum(world).read_page(START, limit=10)
    with pytest.raises(Dissent):
        await make_quorum(world).re_observe(burn.place.tx)


async def test_quorum__forged_transaction_asked_for_by_one_liar__is_dissent_not_money() -> None:
    """F01: re-observation needs the quorum as well."""
    world = Providers()
    world.burn()
    world.finalize()
    lie = a_lie(world)
    world.nodes[0].faults.forged = (lie,)
    forged = (await read_all(world.readers[0]))[-1]
    with pytest.raises(Dissent):
        await make_quorum(world).re_observe(forged.place.tx)


async def test_quorum__burn_is_final_for_one_provider_only__re_observe_says_not_yet() -> None:
    world = Providers()
    world.burn()
    world.finalize()
    burn = (await read_all(world.readers[0]))[0]
    for node in world.nodes[1:]:
        node.faults.lag_blocks = 3
    assert await make_quorum(world).re_observe(burn.place.tx) == ()
    world.nodes[1].faults.lag_blocks = 0
    assert await make_quorum(world).re_observe(burn.place.tx) == (burn,)


async def test_quorum__providers_are_replaced__a_stored_cursor_stays_valid() -> None:
    world = Providers(count=5)
    for _ in range(4):
        world.burn()
    world.finalize()
    page = await Quorum(world.readers[:3], 2, clock=world.clock).read_page(START, limit=2)
    later = Quorum(world.readers[2:], 2, clock=world.clock)
    rest = await read_all(later, Cursor(page.cursor.chain, page.cursor.text))
    assert [*page.observations, *rest] == await read_all(world.readers[0])


async def test_quorum__providers_at_different_heights__supply_is_read_at_one_block() -> None:
    world = Providers()
    world.burn()
    world.finalize()
    world.nodes[0].faults.lag_blocks = 1
    reading = await make_quorum(world).read_supply([ASSET])
    assert reading.block == world.chain.head
    assert reading.lane_counters == ((Domain.BNB, 1),)
    world.nodes[1].faults.lag_blocks = 2
    shared = await make_quorum(world).read_supply([ASSET])
    assert shared.block.number == world.chain.head.number - 1


class Unreading(FakeReader):
    """A provider that cannot read one asset's token."""

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        return replace(await super().read_supply(assets, at=at), supplies=())


async def test_quorum__token_unreadable_for_one_provider__the_others_carry_on() -> None:
    world = Providers()
    whole = await make_quorum(world).read_supply([ASSET])
    assert len(whole.supplies) == 1
    readers = [Unreading(world.nodes[0]), *world.readers[1:]]
    assert await Quorum(readers, 2, clock=world.clock).read_supply([ASSET]) == whole


async def test_quorum__token_readable_for_one_provider_only__is_left_out() -> None:
    world = Providers()
    readers = [Unreading(world.nodes[0]), Unreading(world.nodes[1]), world.readers[2]]
    reading = await Quorum(readers, 2, clock=world.clock).read_supply([ASSET])
    assert reading.supplies == ()


def with_inventory(world: Providers) -> list[FakeReader]:
    """The world's providers, of which each reads what the holder has as issuer inventory."""
    return [FakeReader(node, {ASSET: (HOLDER.address,)}) for node in world.nodes]


class Unmatched(Quorum):
    """Defence taken out: the first provider's figure stands for all of them."""

    def _rule(self, about: str, said: Any) -> Any:
        return next(iter(said.values()))


async def test_quorum__one_provider_lies_about_issuer_inventory__is_dissent() -> None:
    """F01: the figure raises what may be issued, so it is agreed like every other."""
    world = Providers()
    readers = with_inventory(world)
    held = 10**6 * SHARE * 10**10
    (supply,) = (await Quorum(readers, 2, clock=world.clock).read_supply([ASSET])).supplies
    assert supply.issuer_inventory_units == held
    world.nodes[0].faults.holdings[HOLDER.address] = held - 1
    with pytest.raises(Dissent, match="supply at block") as dissent:
        await Quorum(readers, 2, clock=world.clock).read_supply([ASSET])
    assert f"issuer_inventory_units={held - 1}" in str(dissent.value)
    (supply,) = (await Unmatched(readers, 2, clock=world.clock).read_supply([ASSET])).supplies
    assert supply.issuer_inventory_units == held - 1


async def test_quorum__one_provider_cannot_read_issuer_inventory__the_others_carry_on() -> None:
    world = Providers()
    readers = with_inventory(world)
    whole = await readers[0].read_supply([ASSET, OTHER_ASSET])
    world.nodes[0].faults.holdings[HOLDER.address] = None
    assert (await readers[0].read_supply([ASSET, OTHER_ASSET])).supplies == whole.supplies[1:]
    quorum = Quorum(readers, 2, clock=world.clock)
    assert await quorum.read_supply([ASSET, OTHER_ASSET]) == whole
    world.nodes[1].faults.holdings[HOLDER.address] = None
    assert (await quorum.read_supply([ASSET, OTHER_ASSET])).supplies == whole.supplies[1:]


async def test_quorum__one_provider_tells_more_inventory_than_supply__is_silence() -> None:
    """What cannot be is believed by no reader, so it denies nothing either."""
    world = Providers()
    readers = with_inventory(world)
    whole = await readers[0].read_supply([ASSET])
    world.nodes[0].faults.holdings[HOLDER.address] = whole.supplies[0].token_units + 1
    assert (await readers[0].read_supply([ASSET])).supplies == ()
    assert await Quorum(readers, 2, clock=world.clock).read_supply([ASSET]) == whole


async def test_quorum__all_refuse_the_cursor__the_refusal_is_passed_on() -> None:
    world = Providers()
    with pytest.raises(InvalidMessage, match="CURSOR_INVALID"):
        await make_quorum(world).read_page(Cursor(Domain.ETHEREUM, "not json"), limit=1)


async def test_quorum__pending_burn_seen_by_one_only__is_not_shown() -> None:
    world = Providers()
    world.chain.mine(4)
    world.burn()
    for node in world.nodes[:2]:
        node.faults.stale_at = world.chain.head.number - 1
    assert await make_quorum(world).read_pending() == ()
    world.nodes[0].faults.stale_at = None
    assert len(await make_quorum(world).read_pending()) == 1


async def test_quorum__alternating_backends__cursor_and_pages_never_go_back() -> None:
    """F31: heads that jump back and forth cost time, never order."""
    world = Providers()
    for node in world.nodes:
        node.faults.flap_blocks = 4
    quorum, cursor = make_quorum(world), START
    heights: list[int] = []
    found: list[Observation] = []
    for _ in range(40):
        world.burn()
        result = await page_or_hold(world, quorum, cursor)
        if isinstance(result, Page):
            cursor = result.cursor
            found += result.observations
            heights.append(result.through.number)
    for node in world.nodes:
        node.faults.flap_blocks = 0
    assert heights == sorted(heights)
    assert len(found) > 10
    assert found == (await read_all(world.readers[0]))[: len(found)]

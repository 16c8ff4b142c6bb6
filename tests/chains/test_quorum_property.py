"""Whatever providers do, a quorum with fewer liars than votes needed tells the truth or nothing.

Method: Hypothesis draws a history of a chain and of its providers: burns, blocks, outages, lags,
lost replies, flapping backends, stale caches, lost index rows, and consistent lies told together
by at most `needed - 1` of k providers. After every step the quorum is read. Everything it ever
returned must be a prefix of the chain's own final observations, without gap and in order; and
once all providers are healthy and honest again it must reach the end. The failing example that
Hypothesis prints repeats the run.
"""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.fake_world import ASSET, HOLDER, RECIPIENT, SHARE, Providers
from xstock_chains.fake import Faults, Lie
from xstock_chains.ports import Cursor
from xstock_chains.quorum import Quorum
from xstock_core.ids import Domain
from xstock_core.observation import Observation
from xstock_runtime.errors import Transient

HONEST_FAULTS = ("stopped", "lag", "flap", "failing", "losing", "stale", "frozen", "hiding", "none")
LIES = ("forge", "omit", "fork", "none")


@dataclass(frozen=True)
class Turn:
    """One step: what the chain does, and what one provider starts to do."""

    burns: int
    blocks: int
    provider: int
    fault: str
    lie: str


TURNS = st.lists(
    st.builds(
        Turn,
        burns=st.integers(0, 2),
        blocks=st.integers(1, 4),
        provider=st.integers(0, 4),
        fault=st.sampled_from(HONEST_FAULTS),
        lie=st.sampled_from(LIES),
    ),
    min_size=1,
    max_size=25,
)


def strike(world: Providers, turn: Turn, liars: int) -> None:
    """Give one provider its fault; the first `liars` providers lie instead."""
    number = turn.provider % len(world.nodes)
    if number < liars:
        for node in world.nodes[:liars]:
            node.faults = lying(world, turn.lie)
        return
    world.nodes[number].faults = faulty(world, turn.fault)


def faulty(world: Providers, kind: str) -> Faults:
    """What happens to honest providers."""
    head, final = world.chain.head.number, world.chain.final.number
    match kind:
        case "stopped":
            return Faults(stopped=True)
        case "lag":
            return Faults(lag_blocks=3)
        case "flap":
            return Faults(flap_blocks=4)
        case "failing":
            return Faults(failure_percent=40)
        case "losing":
            return Faults(lost_reply_percent=40)
        case "stale":
            return Faults(stale_at=max(0, head - 2))
        case "frozen":
            return Faults(final_frozen_at=max(0, final - 1))
        case "hiding":
            return Faults(hidden=set(last_burns(world)))
    return Faults()


def lying(world: Providers, kind: str) -> Faults:
    """What liars tell, all of them the same."""
    final = world.chain.final.number
    match kind:
        case "forge":
            lie = Lie(final, ASSET, Domain.BNB, RECIPIENT, HOLDER.address, 9 * SHARE)
            return Faults(forged=(lie,))
        case "omit":
            return Faults(omitted=set(last_burns(world)))
        case "fork":
            return Faults(fork_from=max(1, final))
    return Faults()


def truth(world: Providers) -> list[Observation]:
    """Every final observation of the chain itself."""
    blocks = [world.chain.block(number) for number in range(world.chain.final.number + 1)]
    return [o for block in blocks if block for o in block.observations]


def last_burns(world: Providers) -> list[bytes]:
    """The newest final transactions."""
    return [observation.place.tx.id for observation in truth(world)[-2:]]


async def play(turns: list[Turn], providers: int, limit: int, *, too_many: bool = False) -> None:
    """The whole history; `too_many` liars are one more than a quorum can bear."""
    world = Providers(count=providers)
    needed = providers // 2 + 1
    liars = needed if too_many else needed - 1
    quorum = Quorum(world.readers, needed, clock=world.clock)
    cursor, told = Cursor(Domain.ETHEREUM), list[Observation]()
    for turn in turns:
        for _ in range(turn.burns):
            world.chain.burn(HOLDER.address, ASSET, Domain.BNB, RECIPIENT, SHARE)
        world.chain.mine(turn.blocks)
        strike(world, turn, liars)
        try:
            page = await quorum.read_page(cursor, limit=limit)
        except Transient:
            continue
        told += page.observations
        cursor = page.cursor
        reached = [o for o in truth(world) if o.place.block.number <= page.through.number]
        assert told == reached, "told something else than the chain's truth"
    for node in world.nodes:
        node.faults = Faults()
    more = True
    while more:
        page = await quorum.read_page(cursor, limit=limit)
        told, cursor, more = [*told, *page.observations], page.cursor, page.more
    assert told == truth(world), "did not reach the end with every provider healthy"


@settings(max_examples=150, deadline=None)
@given(turns=TURNS, providers=st.integers(3, 5), limit=st.sampled_from((1, 3, 100)))
def test_quorum__fewer_liars_than_votes__tells_the_truth_or_nothing(
    turns: list[Turn], providers: int, limit: int
) -> None:
    """F01, F02, F30, F31, F33, F35: lies and outages cost time, never a false observation."""
    asyncio.run(play(turns, providers, limit))


def test_quorum__as_many_liars_as_votes__the_same_check_fails() -> None:
    """F01: the check above has teeth, and this is what no quorum can do."""
    history = [
        Turn(burns=1, blocks=4, provider=2, fault="stopped", lie="none"),
        Turn(burns=1, blocks=4, provider=0, fault="none", lie="forge"),
    ]
    with pytest.raises(AssertionError, match="something else than the chain's truth"):
        asyncio.run(play(history, providers=3, limit=100, too_many=True))

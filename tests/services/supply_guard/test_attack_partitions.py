"""Partial partitions between a guard and its chains, pair by pair, each direction on its own.

Two guards look at the same three chains; one of them is cut off, from one provider, from a
majority of a chain's providers, from a chain, from two. A lost request, a lost answer and silence
are three ways to be cut off. While cut the guard waits and grants only what its own books prove;
healed, its books must be those of the guard that nobody cut off.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.services.supply_guard.faults import GRANTED
from tests.services.supply_guard.world import (
    ASSET,
    CHAINS,
    HOLDER,
    RECIPIENT,
    SHARE,
    World,
    id_of,
)
from xstock_chains.fake import FakeNode, FakeReader, FakeWriter
from xstock_chains.quorum import Quorum
from xstock_core.ids import Domain
from xstock_core.message import TransferMessage
from xstock_core.observation import TxRef
from xstock_runtime.clock import SeededRandomness
from xstock_runtime.errors import Transient
from xstock_supply_guard.handlers.audit import Auditor
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.origin import begin
from xstock_supply_guard.model import Outcome

DIRECTIONS = ("requests", "answers", "silence")


def cut(nodes: Sequence[FakeNode], direction: str) -> None:
    """No request arrives, no answer comes back, or nothing is ever heard."""
    for node in nodes:
        node.faults.stopped = direction == "requests"
        node.faults.lost_reply_percent = 100.0 if direction == "answers" else 0.0
        node.faults.blackholed = direction == "silence"


def heal(nodes: Sequence[FakeNode]) -> None:
    """The link is whole again."""
    cut(nodes, "none")


@dataclass
class Pair:
    """A guard that is cut off and one that is not, before the same chains."""

    near: World
    far: World

    async def looks(self, world: World) -> list[Domain]:
        """Chains that this guard could read now; waiting costs it time only."""
        read = []
        for domain in CHAINS:
            task = asyncio.ensure_future(world.scan(domain))
            while not task.done():
                await world.clock.advance(1)
            with contextlib.suppress(Transient):
                task.result()
                read.append(domain)
        return read

    async def books(self, world: World) -> object:
        """What a guard believes of the asset, its journal and attestation's age left out."""
        book = (await read_books(world.desk, [ASSET])).assets[0]
        chains = [(one.chain, one.ledger) for one in book.chains]
        return (book.exposure, book.in_flight, book.open_issuance, book.orphaned, chains)


def twin(world: World) -> World:
    """Another guard, with providers and a memory of its own, before the same chains."""
    other = World(clock=world.clock)
    other.chains = world.chains
    other.nodes = {
        domain: [FakeNode(chain, world.clock, SeededRandomness(n), f"far-{n}") for n in range(3)]
        for domain, chain in world.chains.items()
    }
    other.readers = {
        domain: Quorum([FakeReader(node) for node in nodes], 2, clock=world.clock)
        for domain, nodes in other.nodes.items()
    }
    other.auditors = {domain: Auditor(domain, (ASSET,)) for domain in CHAINS}
    other.desk = other.new_desk()
    return other


async def pair() -> Pair:
    """Both guards know the attestation and the issuance; shares are on two chains."""
    near = World()
    far = twin(near)
    await begin(far.desk)
    near.mine()
    await far.scan()
    await far.attest(1000 * SHARE)
    assert await far.outcome(far.order(1, 100 * SHARE)) == GRANTED
    await near.funded()
    await far.scan()
    both = Pair(near, far)
    await release_both(both, near.burn(40 * SHARE))
    return both


async def release_both(both: Pair, tx: TxRef) -> None:
    """A burn that both grant, released and booked by both."""
    both.near.mine()
    for world in (both.near, both.far):
        await world.scan()
        assert await world.outcome(world.claim(tx)) == GRANTED
    await both.near.release([both.near.burned(tx).message])
    both.near.mine()
    for world in (both.near, both.far):
        await world.scan()


def burn_everywhere(world: World) -> list[TxRef]:
    """Burns from two chains to each of the others; final."""
    txs = []
    for source, holder in (Domain.ETHEREUM, HOLDER), (Domain.BNB, RECIPIENT):
        for destination in CHAINS:
            if destination is not source:
                chain = world.chains[source]
                txs.append(chain.burn(holder, ASSET, destination, RECIPIENT, SHARE))
                chain.mine()
    world.mine()
    return txs


async def granted(world: World, txs: Sequence[TxRef]) -> list[TransferMessage]:
    """What the guard grants of these burns."""
    rulings = await world.review(*(world.claim(tx) for tx in txs))
    assert {one.outcome for one in rulings} <= {Outcome.GRANTED, Outcome.HELD}
    messages = [world.burned(tx).message for tx in txs]
    return [m for m, one in zip(messages, rulings, strict=True) if one.outcome is Outcome.GRANTED]


async def settled(both: Pair, txs: Sequence[TxRef]) -> None:
    """After healing: the same books, every burn granted by both, nothing halted."""
    for _ in range(2):
        for world in (both.near, both.far):
            await both.looks(world)
    for world in (both.near, both.far):
        assert len(await granted(world, txs)) == len(txs)
    assert await both.books(both.near) == await both.books(both.far)
    for tx in txs:
        await both.near.release([both.near.burned(tx).message])
    both.near.mine()
    for world in (both.near, both.far):
        await both.looks(world)
        assert await world.halts() == []
    assert await both.books(both.near) == await both.books(both.far)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name.lower())
async def test_guard__cut_off_from_a_chain__holds_what_it_cannot_see_and_heals(
    chain: Domain, direction: str
) -> None:
    """F79, INV-15: only this chain's burns wait, and only at this guard."""
    both = await pair()
    near, far = both.near, both.far
    cut(near.nodes[chain], direction)
    txs = burn_everywhere(near)
    assert set(await both.looks(near)) == set(CHAINS) - {chain}
    assert await both.looks(far) == list(CHAINS)
    seen = {id_of(m) for m in await granted(near, txs)}
    assert seen == {id_of(near.burned(tx).message) for tx in txs if tx.chain is not chain}
    assert len(await granted(far, txs)) == len(txs)
    heal(near.nodes[chain])
    await settled(both, txs)


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_guard__cut_off_from_one_provider_of_every_chain__goes_on(direction: str) -> None:
    """F79: two of three answers are a quorum, whichever third is missing."""
    both = await pair()
    for at, chain in enumerate(CHAINS):
        cut([both.near.nodes[chain][at]], direction)
    txs = burn_everywhere(both.near)
    assert await both.looks(both.near) == list(CHAINS)
    assert len(await granted(both.near, txs)) == len(txs)
    await both.looks(both.far)
    for chain in CHAINS:
        heal(both.near.nodes[chain])
    await settled(both, txs)


@pytest.mark.parametrize("chains", [CHAINS[:2], CHAINS[1:], CHAINS], ids=["1+2", "2+3", "all"])
async def test_guard__cut_off_from_majorities__each_another_way__reads_nothing_there(
    chains: Sequence[Domain],
) -> None:
    """F79, F02: one provider of three is no quorum, however the others were lost."""
    both = await pair()
    for chain in chains:
        cut([both.near.nodes[chain][0]], "requests")
        cut([both.near.nodes[chain][1]], "answers")
    txs = burn_everywhere(both.near)
    assert set(await both.looks(both.near)) == set(CHAINS) - set(chains)
    await both.looks(both.far)
    for message in await granted(both.near, txs):
        assert message.source not in chains
    for chain in chains:
        heal(both.near.nodes[chain])
    await settled(both, txs)


async def test_guard__cut_off_while_the_others_release__books_it_all_when_it_is_back() -> None:
    """F79: what M others signed meanwhile is a fact; it catches up from the chains alone."""
    both = await pair()
    near, far = both.near, both.far
    for chain in CHAINS:
        cut(near.nodes[chain], "silence")
    txs = burn_everywhere(near)
    await both.looks(far)
    for message in await granted(far, txs):
        await far.release([message])
    far.mine()
    await both.looks(far)
    assert await both.looks(near) == []
    assert await granted(near, txs) == []
    for chain in CHAINS:
        heal(near.nodes[chain])
    await both.looks(near)
    assert await both.books(near) == await both.books(far)
    rulings = await near.review(*(near.claim(tx) for tx in txs))
    assert {(one.outcome, one.reason) for one in rulings} == {
        (Outcome.REJECTED, "ALREADY_EXECUTED")
    }
    assert await near.halts() == await far.halts() == []


async def test_guard__cut_off_from_a_destination__waits_for_its_epoch_and_keeps_the_grant() -> None:
    """F79: a permit needs the destination's epoch by this guard's own providers."""
    both = await pair()
    near = both.near
    txs = burn_everywhere(near)
    await both.looks(near)
    (message, *_) = await granted(near, txs)
    target = message.destination
    near.desk.epochs = {d: FakeWriter(nodes[0]) for d, nodes in near.nodes.items()}
    near.desk.live.epochs.clear()
    for direction in DIRECTIONS[:2]:
        cut(near.nodes[target], direction)
        with pytest.raises(Transient):
            await near.sign(message)
    heal(near.nodes[target])
    assert (await near.sign(message)).signature


class Gullible(Quorum):
    """A quorum that counts those who answer."""

    def _threshold(self, answered: int) -> int:
        return min(answered, 1)


async def test_threshold_of_configured_providers__removed__a_partition_diverges_the_books() -> None:
    """F79 with the defence taken out: alone with a stale provider the guard believes it."""
    both = await pair()
    near = both.near
    nodes = near.nodes[Domain.ETHEREUM]
    near.readers[Domain.ETHEREUM] = Gullible(
        [FakeReader(node) for node in nodes], 2, clock=near.clock
    )
    txs = burn_everywhere(near)
    cut(nodes[1:], "requests")
    nodes[0].faults.omitted = {tx.id for tx in txs}
    await both.looks(near)
    await both.looks(both.far)
    assert await both.books(near) != await both.books(both.far)

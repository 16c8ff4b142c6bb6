"""A guard fed only with lies by two of its three providers signs nothing, and heals.

The two liars tell one story, consistently; the third provider tells the truth. What enough
providers say alike is no truth while one of them denies it (dissent is a HOLD), and a majority
that breaks finality halts. When the lies stop, the books must be those of a guard that nobody
ever lied to. Where all the honest providers are silenced too a guard can be fooled, and its one
signature is refused by the contract: that is what the other guards are for.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from tests.services.supply_guard.faults import GRANTED, forged_claim, lie_of
from tests.services.supply_guard.world import (
    ASSET,
    GUARDS,
    HOLDER,
    SHARE,
    World,
)
from xstock_chains.fake import FakeCodec, FakeNode, FakeReader, FakeWriter, Lie
from xstock_chains.fake.node import View
from xstock_chains.ports import GuardSignature, SupplyReading
from xstock_chains.quorum import Quorum
from xstock_core.ids import AssetId, Domain
from xstock_core.message import TransferMessage
from xstock_core.observation import BlockRef, BurnFinal, TxRef
from xstock_core.release import ReleaseBatch, item_of
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.checking import QuorumEpoch
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import Outcome, SignAnswer, SubmittedClaim

SOURCE = Domain.ETHEREUM


@dataclass
class Scene:
    """A funded world: one granted transfer, one burn that is final and not yet looked at."""

    world: World
    granted: TransferMessage
    burn: TxRef

    @property
    def liars(self) -> list[FakeNode]:
        """Two of the guard's three providers of the source chain."""
        return self.world.nodes[SOURCE][:2]

    @property
    def height(self) -> int:
        """The source's final height."""
        return self.world.chains[SOURCE].final.number

    def lie(self, amount: int = SHARE) -> Lie:
        """A burn that never was, at the final height."""
        return lie_of(forged_claim(self.world, amount=amount), self.height)

    def told(self, lie: Lie) -> BurnFinal:
        """The burn as the liars show it."""
        page = [one for one in self._shown(lie.height) if isinstance(one, BurnFinal)]
        return page[-1]

    def _shown(self, height: int) -> Sequence[object]:
        block = View(self.world.chains[SOURCE], self.liars[0].faults, 0).block(height)
        assert block is not None
        return block.observations

    async def look(self) -> None:
        """The guard looks at every chain; silence is no error here."""
        for domain in self.world.chains:
            with contextlib.suppress(Transient):
                await self.world.scan(domain)


async def scene() -> Scene:
    """Before any lie."""
    world = World()
    await world.funded()
    granted = await world.granted(3 * SHARE)
    burn = world.burn(2 * SHARE)
    world.mine()
    return Scene(world, granted, burn)


Told = Sequence[SubmittedClaim]
"""What a relayer in league with the liars claims."""
Tell = Callable[[Scene], Told]


def forged_burn(at: Scene) -> Told:
    """A burn that never was."""
    lie = at.lie()
    for node in at.liars:
        node.faults.forged = (lie,)
    return [claim_of(at.told(lie))]


def hidden_burn(at: Scene) -> Told:
    """The true burn is denied, headers and counters with it."""
    for node in at.liars:
        node.faults.omitted.add(at.burn.id)
    return [at.world.claim(at.burn)]


def wrong_amount(at: Scene) -> Told:
    """The true burn is told a million times too large, under its own counter."""
    for node in at.liars:
        node.faults.omitted.add(at.burn.id)
        node.faults.forged = (at.lie(amount=2_000_000 * SHARE),)
    return [claim_of(at.told(at.liars[0].faults.forged[0]))]


def other_fork(at: Scene) -> Told:
    """Blocks above what is booked, under other hashes."""
    for node in at.liars:
        node.faults.fork_from = at.height
    return [at.world.claim(at.burn)]


def eager(node: FakeNode) -> None:
    """From now on this provider calls its newest block final."""

    async def view(method: str) -> View:
        del method
        return EagerView(node.chain, node.faults, 0)

    node.view = view  # type: ignore[method-assign]


class EagerView(View):
    """Shows its newest block as final."""

    @property
    def final(self) -> BlockRef:
        """The head."""
        return self.head


def claim_of(burn: BurnFinal) -> SubmittedClaim:
    """The claim of what is told."""
    return SubmittedClaim(burn.message, burn.place.tx, burn.place.block.number)


def believed(world: World) -> list[BurnFinal]:
    """Burns in the guard's books that no chain has."""
    assert isinstance(world.store, MemoryGuardStore)
    known = ((burn, world.chains[burn.place.block.chain]) for burn in world.store.burns)
    return [burn for burn, chain in known if chain.find(burn.place.tx.id) is None]


async def signs(world: World, claims: Sequence[SubmittedClaim]) -> list[SignAnswer]:
    """Everything that a relayer in league gets signed by asking for it again and again."""
    given = []
    for claim in claims:
        rulings = await world.review(claim)
        answer = await world.sign(claim.message)
        if answer.signature or rulings[0].outcome is Outcome.GRANTED:
            given.append(answer)
    return given


LIES = [forged_burn, hidden_burn, wrong_amount, other_fork]


@pytest.mark.parametrize("tell", LIES, ids=lambda tell: tell.__name__)
async def test_two_of_three_providers_lie__alike__nothing_is_signed_and_the_books_heal(
    tell: Tell,
) -> None:
    """F01, F02, F29: one honest voice is enough to hold the chain, whatever two others say."""
    at = await scene()
    world = at.world
    claims = tell(at)
    for _ in range(5):
        await at.look()
        assert await signs(world, claims) == []
        assert (await world.sign(at.granted)).refusals[0].reason == "SOURCE_DISSENT"
    for node in at.liars:
        node.faults.omitted.clear()
        node.faults.forged, node.faults.fork_from = (), None
    await at.look()
    assert await world.halts() == []
    assert believed(world) == []
    assert await world.outcome(world.claim(at.burn)) == GRANTED
    assert (await world.sign(at.granted, world.claim(at.burn).message)).signature
    assert (await read_books(world.desk, [ASSET])).assets[0].in_flight == 5 * SHARE


@pytest.mark.parametrize("tell", LIES, ids=lambda tell: tell.__name__)
async def test_two_of_three_providers_lie__for_ten_minutes__the_chain_is_halted(
    tell: Tell,
) -> None:
    """F33: a split that lasts is for people; the evidence of each provider is kept."""
    at = await scene()
    claims = tell(at)
    await at.look()
    await at.world.clock.advance(601)
    await at.look()
    assert ["PROVIDER_DISSENT" in reason for reason in await at.world.halts()] == [True]
    assert await signs(at.world, claims) == []
    assert isinstance(at.world.store, MemoryGuardStore)
    assert "provider-3" in str(at.world.store.evidence)


async def test_two_of_three_providers__rewrite_what_is_booked__halts_at_once() -> None:
    """F19, F29, INV-10: a majority that breaks finality is believed in nothing any more."""
    at = await scene()
    for node in at.liars:
        node.faults.fork_from = 2
    await at.look()
    assert [reason.split(":")[0] for reason in await at.world.halts()] == ["INV-10"]
    assert (await at.world.sign(at.granted)).refusals[0].reason == "HALTED"
    for node in at.liars:
        node.faults.fork_from = None
    await at.look()
    assert (await at.world.sign(at.granted)).refusals[0].reason == "HALTED"


class LyingSupply(FakeReader):
    """A provider that tells another supply and multiplier epoch than its node has."""

    units = 0
    epoch = 0

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """The node's reading, changed."""
        reading = await super().read_supply(assets, at=at)
        told = [
            replace(
                one,
                token_units=one.token_units + self.units,
                multiplier_epoch=one.multiplier_epoch + self.epoch,
                multiplier=one.multiplier * (1 + self.epoch),
            )
            for one in reading.supplies
        ]
        return replace(reading, supplies=tuple(told))


def deceive_auditor(world: World, *, units: int = 0, epoch: int = 0) -> None:
    """Two of the three providers of the destination tell another supply or epoch."""
    nodes = world.nodes[Domain.BNB]
    liars = [LyingSupply(node) for node in nodes[:2]]
    for liar in liars:
        liar.units, liar.epoch = units, epoch
    readers = [*liars, FakeReader(nodes[2])]
    world.readers[Domain.BNB] = Quorum(readers, 2, clock=world.clock)


@pytest.mark.parametrize(
    ("units", "epoch"), [(10**20, 0), (-1, 0), (0, 1)], ids=["more", "less", "epoch"]
)
async def test_two_of_three_providers__tell_a_wrong_supply_or_epoch__no_reading_is_believed(
    units: int, epoch: int
) -> None:
    """F01, INV-16: neither a halt by liars, nor a drift that they hide."""
    at = await scene()
    world = at.world
    await world.scan()
    await world.release([at.granted])
    world.mine()
    await world.scan()
    async with world.store.read() as books:
        before = await books.readings()
    deceive_auditor(world, units=units, epoch=epoch)
    for _ in range(3):
        with pytest.raises(Transient, match="PROVIDER_DISSENT"):
            await world.audit(Domain.BNB)
        world.mine()
        await world.scan()
    assert await world.halts() == []
    async with world.store.read() as books:
        assert await books.readings() == before


async def test_two_of_three_providers__hide_a_mint_outside_the_bridge__the_chain_is_held() -> None:
    """F55: liars cannot keep an unauthorised mint from the books and go on."""
    at = await scene()
    world = at.world
    tx = world.chains[Domain.BNB].mint_outside(ASSET, HOLDER, 10**20)
    world.mine()
    for node in world.nodes[Domain.BNB][:2]:
        node.faults.omitted.add(tx.id)
    await at.look()
    async with world.store.read() as books:
        assert (await books.scans())[Domain.BNB].dissent_since_ms is not None
    for node in world.nodes[Domain.BNB][:2]:
        node.faults.omitted.clear()
    await at.look()
    assert any(reason.startswith("INV-16") for reason in await world.halts())


class LyingEpoch(FakeWriter):
    """A provider that tells another guard epoch."""

    async def guard_epoch(self) -> int:
        """One later than it is."""
        return await super().guard_epoch() + 1


async def test_two_of_three_providers__tell_another_epoch__the_permit_is_good_for_nothing() -> None:
    """F01, INV-08: nothing is signed under the true epoch, and what is signed under the one they
    made up (of which an honest provider that lags would know nothing yet) no contract takes."""
    at = await scene()
    world, nodes = at.world, at.world.nodes[Domain.BNB]
    writers = [LyingEpoch(nodes[0]), LyingEpoch(nodes[1]), FakeWriter(nodes[2])]
    world.desk.epochs = {**world.desk.epochs, Domain.BNB: QuorumEpoch(writers, 2)}
    world.desk.live.epochs.clear()
    await world.scan()
    answer = await world.sign(at.granted)
    assert [one.reason for one in answer.refusals] == ["EPOCH_UNKNOWN"]
    request = replace(world.request([at.granted]), epoch=2)
    signed = await sign_release(world.desk, request)
    items = (item_of(at.granted),)
    batch = ReleaseBatch(request.destination, request.bridge, 2, request.deadline, items)
    digest = FakeCodec().digest(batch)
    signatures = [
        GuardSignature(signed.signer, signed.signature),
        GuardSignature(GUARDS[1].identity, await GUARDS[1].sign_digest(digest)),
    ]
    with pytest.raises(InvalidMessage, match="epoch 2 is not 1"):
        await world.submit(batch, signatures, world.chains[Domain.BNB])


async def test_guard__all_its_honest_providers_silenced__is_fooled_and_the_contract_is_not() -> (
    None
):
    """F01: a quorum of liars and nobody to deny them is out of a guard's reach; M of N is not."""
    at = await scene()
    world = at.world
    claims = forged_burn(at)
    world.nodes[SOURCE][2].faults.stopped = True
    await at.look()
    assert await world.outcome(claims[0]) == GRANTED
    message = claims[0].message
    fooled = await world.sign(message)
    assert fooled.signature
    request = world.request([message])
    batch = ReleaseBatch(
        request.destination, request.bridge, 1, request.deadline, (item_of(message),)
    )
    chain = world.chains[Domain.BNB]
    own = GuardSignature(fooled.signer, fooled.signature)
    with pytest.raises(InvalidMessage, match="1 of 2 signatures"):
        await world.submit(batch, [own], chain)
    # The other guards have providers of their own: their books never saw the burn.
    world.nodes[SOURCE][2].faults.stopped = False
    for node in at.liars:
        node.faults.forged = ()
    await at.look()
    assert [reason.split(":")[0] for reason in await world.halts()] == []


async def test_two_of_three_providers__call_a_block_final_too_early__the_vanished_burn_halts() -> (
    None
):
    """F19, F22: an honest provider that is not so far looks like one that lags. What the liars
    told stays unbelieved by the guards beside this one, and halts this one when it vanishes."""
    at = await scene()
    world = at.world
    await world.scan()
    chain = world.chains[SOURCE]
    tx = world.burn(SHARE)
    claim = world.claim(tx)
    for node in at.liars:
        eager(node)
    await at.look()
    assert await world.outcome(claim) == GRANTED
    chain.reorg(1, keep=lambda _: False)
    chain.mine(4)
    await at.look()
    assert [reason.split(":")[0] for reason in await world.halts()] == ["INV-10"]
    assert (await world.sign(claim.message)).refusals[0].reason == "HALTED"

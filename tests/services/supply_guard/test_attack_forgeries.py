"""Forgers at full speed: what stops each of them, and what bounds the loss when that is gone.

The first defence is always that a forgery is no fact: another bridge's burn, an old height, an
order too large. The tests then take the first defences away, one after the other, and measure
what the next one lets through: the bucket's capacity, the chain's own supply, the cap.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.services.supply_guard.faults import GRANTED
from tests.services.supply_guard.world import (
    ASSET,
    CHAINS,
    HOLDER,
    RECIPIENT,
    SHARE,
    World,
)
from xstock_chains.fake import FakeReader
from xstock_chains.ports import Cursor, Page
from xstock_chains.quorum import Quorum
from xstock_core.bucket import Bucket
from xstock_core.ids import Address32, Domain, counter_nonce
from xstock_core.message import make_message
from xstock_core.observation import BurnFinal, Place, TxRef
from xstock_core.policy import POLICIES, Policy, check_evidence, check_rate, check_size
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers import belief, review
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.post import post_page
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.handlers.scan import Trouble
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import Outcome, PolicyConfig, SubmittedClaim

SOURCE, TARGET = Domain.ETHEREUM, Domain.BNB
STRANGER = Address32(bytes(12) + keccak256(b"a bridge that nobody registered")[12:])
FUNDED = 100 * SHARE
CAPACITY = 100 * SHARE
REFILL = 10 * SHARE // 3600
"""Shares a second: a tenth of the bucket an hour."""


def limited() -> PolicyConfig:
    """A bucket of a hundred shares per asset and lane."""
    return PolicyConfig(bucket=Bucket(CAPACITY, REFILL, CAPACITY, 0))


def sibling_burn(
    number: int, place: Place, *, bridge: Address32 = STRANGER, amount: int = 10 * SHARE
) -> BurnFinal:
    """A burn that is right in everything but its bridge."""
    message = make_message(
        kind=1,
        source=SOURCE,
        destination=TARGET,
        nonce=counter_nonce(bridge, number),
        source_bridge=bridge,
        asset=ASSET,
        refund_address=HOLDER,
        recipient=RECIPIENT,
        amount=amount,
    )
    return BurnFinal(message, message.transfer_id(keccak256), HOLDER, number, place)


def claim_of(burn: BurnFinal) -> SubmittedClaim:
    """The claim of a burn."""
    return SubmittedClaim(burn.message, burn.place.tx, burn.place.block.number)


@dataclass
class Siblings:
    """What a careless reader takes for burns: a few of them in every page that moves."""

    per_page: int
    told: list[BurnFinal] = field(default_factory=list)

    def in_page(self, page: Page) -> list[BurnFinal]:
        """Siblings of the page's last block, the same for every provider."""
        number = page.through.number
        if not any(one.place.block.number == number for one in self.told):
            for _ in range(self.per_page):
                at = len(self.told) + 1
                place = Place(page.through, TxRef(SOURCE, keccak256(at.to_bytes(8, "big"))), at)
                self.told.append(sibling_burn(at, place))
        return [one for one in self.told if one.place.block.number == number]


class CarelessReader(FakeReader):
    """A reader that never looks at who emitted an event."""

    siblings: Siblings

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """The node's page with the siblings' burns among its own."""
        page = await super().read_page(after, limit=limit)
        if page.cursor == after:
            return page
        return replace(page, observations=(*page.observations, *self.siblings.in_page(page)))


def careless(world: World, per_page: int = 3) -> Siblings:
    """All three providers' readers forget the emitter."""
    siblings, readers = Siblings(per_page), []
    for node in world.nodes[SOURCE]:
        reader = CarelessReader(node)
        reader.siblings = siblings
        readers.append(reader)
    world.readers[SOURCE] = Quorum(readers, 2, clock=world.clock)
    return siblings


@pytest.fixture
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard without its list of bridges."""
    monkeypatch.setattr(belief, "knows_bridge", lambda *_: True)
    monkeypatch.setattr(review, "knows_bridge", lambda *_: True)


# ---------------------------------------------------------------- F08: the sibling


@pytest.mark.parametrize("block", [0, 1, 10_000], ids=["no hint", "passed", "not reached"])
async def test_claim__of_an_unregistered_bridge__rejected_at_once(block: int) -> None:
    """F08: a valid message of a bridge that is none of ours waits for no block."""
    world = World()
    await world.funded()
    place = Place(world.chains[SOURCE].final, TxRef(SOURCE, b"\x05" * 32), 0)
    claim = replace(claim_of(sibling_burn(1, place)), block_number=block)
    assert await world.outcome(claim) == (Outcome.REJECTED, "BURN_UNKNOWN")
    assert not (await world.sign(claim.message)).signature


async def test_page__with_an_unregistered_bridges_burn__never_enters_the_ledger() -> None:
    """F08, F03: whoever forgot to look at the emitter, the guard looks again and holds."""
    world = World()
    await world.funded()
    tx = world.burn(SHARE)
    world.mine()
    siblings = careless(world)
    for _ in range(3):
        (held,) = await world.scan(SOURCE)
        assert isinstance(held, Trouble)
        assert held.code == "PAGE_UNBELIEVABLE"
        world.mine()
    assert isinstance(world.store, MemoryGuardStore)
    assert list(world.store.burns) == []
    assert await world.outcome(claim_of(siblings.told[0])) == (Outcome.REJECTED, "BURN_UNKNOWN")
    assert await world.outcome(world.claim(tx)) == (Outcome.HELD, "SOURCE_DISSENT")
    honest = [FakeReader(node) for node in world.nodes[SOURCE]]
    world.readers[SOURCE] = Quorum(honest, 2, clock=world.clock)
    await world.scan()
    assert await world.outcome(world.claim(tx)) == GRANTED
    assert await world.halts() == []


async def exploit(world: World, siblings: Siblings, pages: int = 20) -> int:
    """The siblings' burns claimed, signed and released as fast as they come; shares released."""
    released = 0
    claimed: set[bytes] = set()
    for _ in range(pages):
        world.mine(1)
        with contextlib.suppress(Transient):
            await world.scan(SOURCE)
        fresh = [one for one in siblings.told if one.transfer_id not in claimed]
        rulings = await world.review(*(claim_of(one) for one in fresh)) if fresh else []
        granted = [
            one.message
            for one, ruling in zip(fresh, rulings, strict=True)
            if ruling.outcome is Outcome.GRANTED
        ]
        claimed |= {message.transfer_id(keccak256) for message in granted}
        if granted and (await world.sign(*granted)).signature:
            await world.release(granted)
            released += sum(message.amount for message in granted)
    return released


@pytest.mark.usefixtures("no_registry")
async def test_registry__removed__the_bucket_alone_bounds_the_loss() -> None:
    """F08, F53, INV-11: 60 forged transfers of ten shares each; a hundred shares leave."""
    world = World(policy=limited())
    await world.funded(FUNDED)
    loss = await exploit(world, careless(world))
    assert 0 < loss <= CAPACITY


@pytest.mark.usefixtures("no_registry")
async def test_registry_and_bucket__removed__the_chains_own_supply_bounds_the_loss() -> None:
    """F08, F56, INV-05: nothing more than was ever brought to a chain can leave it again; then
    the books halt the asset, and the exposure has never passed the cap."""
    world = World()
    await world.funded(FUNDED, held=120 * SHARE)
    loss = await exploit(world, careless(world))
    assert 0 < loss <= FUNDED
    book = (await read_books(world.desk, [ASSET])).assets[0]
    assert book.exposure <= book.cap
    assert any(reason.startswith("INV-05") for reason in await world.halts())


# ---------------------------------------------------------------- F11: old heights


async def test_provider__shows_an_old_height_as_final__the_books_never_go_back() -> None:
    """F11: a head behind the cursor is a node that lags: nothing is read, nothing moves back."""
    world = World()
    await world.funded()
    message = await world.granted()
    async with world.store.read() as books:
        before = (await books.scans())[SOURCE]
    assert before.through is not None
    for node in world.nodes[SOURCE]:
        node.faults.final_frozen_at = before.through.number - 3
    for _ in range(3):
        with pytest.raises(Transient, match="QUORUM_LOST"):
            await world.scan(SOURCE)
        world.mine()
    async with world.store.read() as books:
        assert (await books.scans())[SOURCE] == before
    assert (await world.sign(message)).signature


async def test_evidence__at_a_height_that_was_passed__is_no_evidence() -> None:
    """F11: a burn told late at an old height: by two providers a break of finality, by a page
    that was read before the books moved on a page that belongs to another cursor."""
    world = World()
    await world.funded()
    world.mine(10)
    await world.scan()
    async with world.store.read() as books:
        scan = (await books.scans())[SOURCE]
    assert scan.through is not None
    ancient = world.chains[SOURCE].block(2)
    assert ancient is not None
    burn = sibling_burn(1, Place(ancient.ref, TxRef(SOURCE, b"\x06" * 32), 0), bridge=bridge())
    page = Page((burn,), scan.cursor, ancient.ref, scan.through, more=False)
    with pytest.raises(Ambiguous, match="CURSOR_MOVED"):
        await post_page(world.desk, Cursor(SOURCE), page, began_ms=0)
    assert await world.outcome(claim_of(burn)) == (Outcome.REJECTED, "BURN_UNKNOWN")


def bridge() -> Address32:
    """The registered bridge of the source."""
    return World().chains[SOURCE].config.bridge


@pytest.mark.parametrize(
    "wrong", ["beyond the page", "another chain's block", "another source", "another chain"]
)
async def test_page__with_evidence_from_elsewhere__is_not_believed(wrong: str) -> None:
    """F11, F12: an observation lies in its own page, on its own chain, or the page is none."""
    world = World()
    await world.funded()
    through = world.chains[SOURCE].final
    place = Place(through, TxRef(SOURCE, b"\x06" * 32), 0)
    burn = sibling_burn(1, place, bridge=bridge())
    page = Page((burn,), Cursor(SOURCE), through, through, more=False)
    belief.check_page(world.desk.config, SOURCE, page)
    if wrong == "beyond the page":
        page = replace(page, through=replace(through, number=through.number - 1))
    elif wrong == "another chain's block":
        other = replace(place, block=replace(through, chain=TARGET))
        page = replace(page, observations=(replace(burn, place=other),))
    elif wrong == "another source":
        moved = replace(burn.message, source=Domain.MANTLE)
        page = replace(page, observations=(replace(burn, message=moved),))
    else:
        page = replace(page, through=replace(through, chain=TARGET))
    with pytest.raises(InvalidMessage, match="PAGE_UNBELIEVABLE"):
        belief.check_page(world.desk.config, SOURCE, page)


# ---------------------------------------------------------------- F52, F53


async def test_order__a_million_times_too_large__refused_however_often() -> None:
    """F52: a fat finger with the issuer's own signature meets the cap, not the request."""
    world = World()
    await world.funded(FUNDED, held=150 * SHARE)
    wanted = world.order(2, 10**6 * 50 * SHARE)
    for _ in range(2):
        assert await world.outcome(wanted) == (Outcome.HELD, "CAP_EXCEEDED")
        assert not (await world.sign(wanted.message)).signature
    most = world.order(2, 2**64 - 1)
    assert await world.outcome(most) == (Outcome.HELD, "CAP_EXCEEDED")
    assert (await read_books(world.desk, [ASSET])).assets[0].exposure == FUNDED
    assert await world.outcome(world.order(2, 50 * SHARE)) == GRANTED


async def test_order__above_the_bucket__waits_for_a_person() -> None:
    """F52: within the cap and above what a bucket holds: no single signature is enough."""
    world = World(policy=limited())
    await world.funded(FUNDED, held=10**6 * SHARE)
    wanted = world.order(2, CAPACITY + 1)
    assert (await world.outcome(wanted))[0] is not Outcome.GRANTED
    assert not (await world.sign(wanted.message)).signature


FORGERS = tuple(one for one in POLICIES if one is not check_evidence)
"""The guard with everything that F01 to F08 attack taken out."""


async def forge(
    world: World, policies: Sequence[Policy] = FORGERS, *, scanning: bool = True
) -> int:
    """Ten minutes of forged claims, a page of twenty every ten seconds; shares released."""
    released = number = 0
    place = Place(world.chains[SOURCE].final, TxRef(SOURCE, b"\x07" * 32), 0)
    for _ in range(60):
        burns = [
            sibling_burn(number + at, place, bridge=bridge(), amount=5 * SHARE)
            for at in range(1, 21)
        ]
        number += 20
        rulings = await review_transfers(world.desk, [claim_of(one) for one in burns], policies)
        granted = [
            one.message
            for one, ruling in zip(burns, rulings, strict=True)
            if ruling.outcome is Outcome.GRANTED
        ]
        if granted and (await sign_release(world.desk, world.request(granted))).signature:
            await world.release(granted)
            released += sum(message.amount for message in granted)
        await world.clock.advance(10)
        world.mine()
        if scanning:
            await world.scan(*CHAINS)
    return released


async def test_forger__at_full_speed_for_ten_minutes__loses_us_less_than_a_bucket() -> None:
    """F53: with the defences of F01 to F08 gone the bucket holds until the books halt."""
    world = World(policy=limited())
    await world.funded(FUNDED, held=10**6 * SHARE)
    loss = await forge(world)
    assert 0 < loss <= CAPACITY
    assert any(reason.startswith("INV-01") for reason in await world.halts())


async def test_scanner__blind__the_bucket_alone_bounds_ten_minutes() -> None:
    """F53, INV-11: what refills in the meantime, and no share more."""
    world = World(policy=limited())
    await world.funded(FUNDED, held=10**6 * SHARE)
    loss = await forge(world, scanning=False)
    assert CAPACITY <= loss <= CAPACITY + 600 * REFILL


async def test_bucket__removed__the_forger_takes_many_times_as_much() -> None:
    """F53 with the defence taken out: the measure above bites."""
    world = World()
    await world.funded(FUNDED, held=10**6 * SHARE)
    policies = tuple(one for one in FORGERS if one not in (check_rate, check_size))
    assert await forge(world, policies, scanning=False) > 10 * CAPACITY

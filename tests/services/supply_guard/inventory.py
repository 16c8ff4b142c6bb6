"""Issuer inventory at one guard: it counts where it is configured, attested and read, and once.

One suite for both memories of a guard. The holder on Ethereum and the recipient on BNB are the
issuer's own accounts; what they hold is read from the chains. Each defence is also taken out, and
the same share is then seen to count twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.services.supply_guard.collateral import (
    AGENT,
    GRANTED,
    attested,
    audited,
    book,
    funded,
    hand_in,
    in_force,
    live_before,
    opening_of,
    paper_of,
    world_of,
)
from tests.services.supply_guard.collateral import alarms as standing
from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    DEPLOYMENT,
    HOLDER,
    OTHER,
    RECIPIENT,
    SHARE,
    World,
)
from xstock_chains.fake import FakeReader
from xstock_chains.quorum import Quorum
from xstock_core.ids import Address32, AssetId, Domain
from xstock_core.invariants import InvariantViolation
from xstock_core.message import TransferMessage
from xstock_core.policy import POLICIES, check_cap
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard import wire
from xstock_supply_guard.handlers import attesting, inventory
from xstock_supply_guard.handlers.attesting import submit_attestation
from xstock_supply_guard.handlers.books import AssetBook, read_books
from xstock_supply_guard.handlers.cover import SHORT, cover_step
from xstock_supply_guard.handlers.inventory import NOT_ATTESTED
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.model import Outcome
from xstock_supply_guard.ports import GuardStore
from xstock_wire.papers import ATTESTATION
from xstock_wire.v1 import papers_pb2

ETHEREUM, BNB = Domain.ETHEREUM, Domain.BNB
OWNERS: Mapping[Domain, frozenset[Address32]] = {
    ETHEREUM: frozenset({HOLDER}),
    BNB: frozenset({RECIPIENT}),
}
FRESH_SECONDS = 600
ABOVE = (Outcome.HELD, "CAP_EXCEEDED")


def accounts(
    owners: Mapping[Domain, frozenset[Address32]] = OWNERS,
) -> list[papers_pb2.InventoryAccount]:
    """Owners as custody names them in its paper."""
    return [
        papers_pb2.InventoryAccount(chain=chain, owner=owner)
        for chain in sorted(owners)
        for owner in sorted(owners[chain])
    ]


def configure(world: World, owners: Mapping[Domain, frozenset[Address32]]) -> None:
    """The registry names these owners, and the readers look at them."""
    config = world.desk.config
    asset = replace(config.assets[ASSET], issuer_inventory=owners)
    world.desk.config = replace(config, assets={**config.assets, ASSET: asset})
    for domain, nodes in world.nodes.items():
        here: dict[AssetId, Sequence[Address32]] = {ASSET: sorted(owners.get(domain, ()))}
        readers = [FakeReader(node, here) for node in nodes]
        world.readers[domain] = Quorum(readers, len(nodes) // 2 + 1, clock=world.clock)


def stocked(store: GuardStore, **policy: Any) -> World:
    """A guard whose registry names the issuer's accounts."""
    world = world_of(store, **({"supply_age_seconds_max": FRESH_SECONDS} | policy))
    configure(world, OWNERS)
    return world


async def told(world: World, sequence: int, held: int, **changes: Any) -> None:
    """Custody holds this much; it names the owners unless told otherwise."""
    fields = {"sequence": sequence, "inventory": accounts()} | changes
    await attested(world, paper_of(world, held, **fields))


async def ready(store: GuardStore, held: int = 50 * SHARE, **changes: Any) -> World:
    """100 shares out, all of them the issuer's own on Ethereum, and custody holds fewer."""
    world = stocked(store)
    await funded(world)
    await audited(world)
    await told(world, 2, held, **changes)
    return world


async def books(world: World) -> AssetBook:
    """The asset's books."""
    return (await read_books(world.desk, [ASSET])).assets[0]


async def grow_old(world: World, seconds: int) -> None:
    """The clock stands this long after the reading of Ethereum."""
    async with world.store.read() as unit:
        (at,) = (one.block.time for one in await unit.readings([ASSET]) if one.chain is ETHEREUM)
    await world.clock.advance(at + seconds - world.now)


def restarted(world: World, owners: Mapping[Domain, frozenset[Address32]]) -> None:
    """Another process with another registry: what nobody believed yet is gone."""
    configure(world, owners)
    for auditor in world.auditors.values():
        auditor.pending.clear()


async def renamed(store: GuardStore) -> World:
    """The inventory is read; then registry and custody name somebody else, who holds nothing."""
    world = await ready(store)
    others = {ETHEREUM: frozenset({RECIPIENT})}
    restarted(world, others)
    await told(world, 3, 50 * SHARE, inventory=accounts(others))
    return world


async def bridged(world: World, *, seen: bool = True) -> TransferMessage:
    """All of the inventory goes from Ethereum to BNB, and only BNB is read after it."""
    tx = world.burn(100 * SHARE)
    message = world.burned(tx).message
    world.mine()
    if seen:
        await world.scan(ETHEREUM)
    await world.release([message])
    world.mine()
    await world.scan(BNB)
    await world.audit(BNB)
    world.mine()
    await world.scan(BNB)
    await world.audit(BNB)
    return message


class TestExclusion:
    """What is configured, attested and read lies on top of the cap."""

    async def test_issuance__at_the_limit__counts_cap_and_inventory_exactly_once(
        self, store: GuardStore
    ) -> None:
        """INV-04: to the last unit, and never a second time."""
        world = await ready(store)
        assert (await books(world)).excluded == 100 * SHARE
        assert await world.outcome(world.order(2, 50 * SHARE + 1)) == ABOVE
        assert await world.outcome(world.order(2, 50 * SHARE)) == GRANTED
        assert await world.outcome(world.order(3, 1)) == ABOVE
        assert (await books(world)).exposure == 150 * SHARE

    async def test_issuance__above_the_limit_with_the_rule_removed__the_store_refuses(
        self, store: GuardStore
    ) -> None:
        """F49: the second lock knows the same limit, neither the cap alone nor the sum twice."""
        world = await ready(store)
        blind = [rule for rule in POLICIES if rule is not check_cap]
        with pytest.raises(InvariantViolation, match="INV-04"):
            await review_transfers(world.desk, [world.order(2, 50 * SHARE + 1)], blind)
        (ruling,) = await review_transfers(world.desk, [world.order(2, 50 * SHARE)], blind)
        assert ruling.outcome is Outcome.GRANTED

    async def test_release__above_the_cap_and_within_the_limit__is_granted_and_signed(
        self, store: GuardStore
    ) -> None:
        world = stocked(store)
        await funded(world)
        customer = world.burn(10 * SHARE, destination=Domain.MANTLE)
        world.mine()
        await audited(world)
        await told(world, 2, 10 * SHARE)
        claim = world.claim(customer)
        assert (await books(world)).excluded == 90 * SHARE
        assert await world.outcome(claim) == GRANTED
        assert (await world.sign(claim.message)).signature
        await told(world, 3, 10 * SHARE - 1)
        answer = await world.sign(claim.message)
        assert [one.reason for one in answer.refusals] == ["CAP_EXCEEDED"]

    async def test_cover__exposure_within_the_limit__is_no_shortfall(
        self, store: GuardStore
    ) -> None:
        world = await ready(store, held=0)
        await cover_step(world.desk)
        assert SHORT not in await standing(world)
        await grow_old(world, FRESH_SECONDS + 1)
        assert (await cover_step(world.desk)).short == (ASSET,)
        assert SHORT in await standing(world)
        world.mine()
        await world.scan()
        await audited(world)
        await told(world, 3, 0)
        assert (await cover_step(world.desk)).short == ()
        assert SHORT not in await standing(world)

    async def test_opening__covered_by_cap_and_inventory__is_booked(
        self, store: GuardStore
    ) -> None:
        """A token that is live already: what the issuer holds unsold needs no cover."""
        world = stocked(store)
        await live_before(world)
        await told(world, 1, 0, inventory=accounts({ETHEREUM: OWNERS[ETHEREUM]}))
        await audited(world)
        assert await book(world, opening_of(world)) == 50 * SHARE
        assert (await books(world)).excluded == 50 * SHARE

    async def test_inventory__never_below_a_share_unit__is_rounded_down(
        self, store: GuardStore
    ) -> None:
        world = stocked(store)
        await live_before(world, 10**10 - 1)
        await told(world, 1, SHARE)
        await audited(world)
        assert (await books(world)).excluded == 0


class TestUnknown:
    """Whatever is not certain excludes nothing."""

    @pytest.mark.parametrize(
        "owners",
        [
            {},
            {ETHEREUM: frozenset({RECIPIENT}), BNB: frozenset({HOLDER})},
            {ETHEREUM: frozenset({HOLDER, RECIPIENT}), BNB: OWNERS[BNB]},
            {Domain.MANTLE: frozenset({HOLDER}), BNB: OWNERS[BNB]},
        ],
        ids=["none", "others", "one more", "another chain"],
    )
    async def test_attestation__naming_others_than_the_registry__excludes_nothing_and_alarms(
        self, store: GuardStore, owners: Mapping[Domain, frozenset[Address32]]
    ) -> None:
        world = await ready(store, inventory=accounts(owners))
        assert (await books(world)).excluded == 0
        assert await world.outcome(world.order(2, SHARE)) == ABOVE
        assert (await standing(world)).count(NOT_ATTESTED) == 1
        await told(world, 3, 50 * SHARE)
        assert NOT_ATTESTED not in await standing(world)
        assert await world.outcome(world.order(2, 50 * SHARE)) == GRANTED

    async def test_attestation__comparison_removed__custody_alone_lifts_the_limit(
        self, store: GuardStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Defence removed: whoever is named for the chain counts."""
        monkeypatch.setattr(inventory, "names_agree", lambda configured, _: bool(configured))
        world = await ready(store, inventory=accounts({ETHEREUM: frozenset({RECIPIENT})}))
        assert await world.outcome(world.order(2, 50 * SHARE)) == GRANTED

    async def test_attested_and_not_configured__excludes_nothing_and_alarms(
        self, store: GuardStore
    ) -> None:
        world = await ready(store)
        configure(world, {})
        assert (await books(world)).excluded == 0
        await cover_step(world.desk)
        assert NOT_ATTESTED in await standing(world)
        configure(world, OWNERS)
        await cover_step(world.desk)
        assert NOT_ATTESTED not in await standing(world)

    async def test_attestors__that_disagree_about_the_owners__do_not_agree(
        self, store: GuardStore
    ) -> None:
        """K of J: the list is part of the very same bytes."""
        world = await ready(store)
        one = paper_of(world, 60 * SHARE, sequence=3, inventory=accounts())
        few = accounts({ETHEREUM: OWNERS[ETHEREUM]})
        other = paper_of(world, 60 * SHARE, sequence=3, inventory=few)
        await hand_in(world, one, ATTESTOR)
        assert not (await hand_in(world, other, AGENT)).in_force
        assert await in_force(world) == 2
        assert attesting.DISPUTED in await standing(world)
        first = wire.attestation_from_wire(ATTESTOR.sign(ATTESTATION, DEPLOYMENT, one), DEPLOYMENT)
        second = AGENT.sign(ATTESTATION, DEPLOYMENT, other)
        cosigned = wire.statement_from_wire(second, ATTESTATION, DEPLOYMENT)
        with pytest.raises(InvalidMessage, match="cosignatures"):
            await submit_attestation(world.desk, *first, [cosigned])

    async def test_reading__older_than_its_limit__excludes_nothing(self, store: GuardStore) -> None:
        world = await ready(store)
        await grow_old(world, FRESH_SECONDS)
        assert (await books(world)).excluded == 100 * SHARE
        await world.clock.advance(1)
        assert (await books(world)).excluded == 0

    async def test_reading__of_owners_named_before_a_restart__excludes_nothing(
        self, store: GuardStore
    ) -> None:
        """Registry and custody name others now; what the former ones held is not theirs."""
        world = await renamed(store)
        assert (await books(world)).excluded == 0
        assert await world.outcome(world.order(2, SHARE)) == ABOVE
        world.mine()
        await world.scan()
        await audited(world)
        assert (await books(world)).excluded == 0
        restarted(world, OWNERS)
        await told(world, 4, 50 * SHARE)
        assert (await books(world)).excluded == 0
        await audited(world)
        assert (await books(world)).excluded == 100 * SHARE

    async def test_reading__whose_owners_are_not_asked__counts_for_those_who_hold_nothing(
        self, store: GuardStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Defence removed."""
        monkeypatch.setattr(inventory, "is_of_owners", lambda *_: True)
        world = await renamed(store)
        assert await world.outcome(world.order(2, 50 * SHARE)) == GRANTED

    async def test_reading__without_any_limit_of_age__excludes_nothing(
        self, store: GuardStore
    ) -> None:
        world = await ready(store)
        config = world.desk.config
        policy = replace(config.policy, supply_age_seconds_max=0)
        world.desk.config = replace(config, policy=policy)
        assert (await books(world)).excluded == 0

    async def test_reading__that_claims_more_than_the_supply__counts_no_more_than_it(
        self, store: GuardStore
    ) -> None:
        world = await ready(store)
        async with world.store.write() as unit:
            shown = [one for one in await unit.readings([ASSET]) if one.chain is ETHEREUM]
            lies = replace(shown[0].supply, issuer_inventory_units=10**30)
            await unit.save_readings([replace(shown[0], supply=lies)])
        assert (await books(world)).excluded == 100 * SHARE

    async def test_asset__without_any_owner_configured__costs_no_look(
        self, store: GuardStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def asked(*_: object) -> Mapping[Any, int]:
            raise AssertionError("nobody has inventory; nothing is to be asked")

        world = world_of(store)
        monkeypatch.setattr(inventory, "burned_since", asked)
        await funded(world)
        message = await world.granted()
        assert (await world.sign(message)).signature
        assert (await read_books(world.desk, [OTHER])).assets[0].excluded == 0


def test_paper__without_inventory__keeps_the_bytes_and_the_digest_it_had() -> None:
    """Signed before there was a list: the vector is of the earlier release."""
    paper = papers_pb2.Attestation(
        asset=bytes(range(32)),
        held_units=1000 * SHARE,
        as_of=1_800_000_000,
        sequence=7,
        multiplier=str(10**18),
        multiplier_epoch=2,
        paid=[b"\x11" * 32],
    )
    said = wire.statement_from_wire(ATTESTOR.sign(ATTESTATION, "test", paper), ATTESTATION, "test")
    assert said.paper.hex() == (
        "0a20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        "1080d0dbc3f4021880a4a7da0620072a13" + b"1000000000000000000".hex() + "30023a20" + "11" * 32
    )
    assert said.digest.hex() == "8ac443b520c5c12e3f7a288a5b7dae6393be6ba56f54a5f918493ee0f383efeb"
    paper.inventory.add(chain=1, owner=HOLDER)
    assert ATTESTOR.sign(ATTESTATION, "test", paper).paper.startswith(said.paper)


class TestBridging:
    """A share counts on one chain at most, wherever it goes between two readings."""

    async def test_inventory__bridged_between_readings__never_counts_twice(
        self, store: GuardStore
    ) -> None:
        """Ethereum was read before the burn, BNB after the release: both show all of it."""
        world = await ready(store)
        await bridged(world)
        async with world.store.read() as unit:
            shown = {one.chain: one.supply for one in await unit.readings([ASSET])}
        assert shown[ETHEREUM].issuer_inventory_units == 100 * 10**18
        assert shown[BNB].issuer_inventory_units == 100 * 10**18
        assert (await books(world)).excluded == 100 * SHARE
        assert await world.outcome(world.order(2, 50 * SHARE + 1)) == ABOVE
        assert await world.outcome(world.order(2, 50 * SHARE)) == GRANTED

    async def test_inventory__subtraction_removed__the_same_shares_cover_two_issuances(
        self, store: GuardStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Defence removed."""

        async def none(*_: object) -> Mapping[Any, int]:
            return {}

        monkeypatch.setattr(inventory, "burned_since", none)
        world = await ready(store)
        await bridged(world)
        assert (await books(world)).excluded == 200 * SHARE
        assert await world.outcome(world.order(2, 150 * SHARE)) == GRANTED

    async def test_inventory__released_before_its_burn_is_read_here__never_counts_twice(
        self, store: GuardStore
    ) -> None:
        """This guard is behind on Ethereum: the release tells of the burn."""
        world = await ready(store)
        await bridged(world, seen=False)
        assert (await books(world)).excluded == 100 * SHARE
        await world.scan()
        assert (await books(world)).excluded == 100 * SHARE

    async def test_inventory__in_flight__counts_nowhere_and_then_where_it_arrived(
        self, store: GuardStore
    ) -> None:
        world = await ready(store)
        tx = world.burn(100 * SHARE)
        world.mine()
        await world.scan()
        assert (await books(world)).excluded == 0
        assert await world.outcome(world.claim(tx)) == ABOVE
        await audited(world)
        assert (await books(world)).excluded == 0
        await world.release([world.burned(tx).message])
        await audited(world)
        assert (await books(world)).excluded == 100 * SHARE

    async def test_inventory__burn_and_release_in_one_block__is_subtracted_all_the_same(
        self, store: GuardStore
    ) -> None:
        """The ledger's supply stands still over the block: only what was burned tells."""
        world = stocked(store)
        await funded(world)
        back = world.burn(40 * SHARE)
        world.mine()
        await world.scan()
        await world.release([world.burned(back).message])
        await audited(world)
        await told(world, 2, 50 * SHARE)
        assert (await books(world)).excluded == 100 * SHARE
        chain = world.chains[BNB]
        chain.burn(RECIPIENT, ASSET, ETHEREUM, HOLDER, 40 * SHARE)
        message = world.burned(world.burn(40 * SHARE)).message
        await world.release([message])
        world.mine()
        await world.scan()
        found = await books(world)
        assert {one.chain: one.ledger for one in found.chains}[BNB] == 40 * SHARE
        assert found.excluded == 20 * SHARE

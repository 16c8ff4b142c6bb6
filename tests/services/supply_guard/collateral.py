"""Collateral at one guard: who may attest, what is paid, what is opened, and attacks on each.

One suite for both memories of a guard. Papers go through the wire codec and are signed with real
keys of both kinds; each defence is also taken out, and the attack is seen to succeed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.services.supply_guard.returns import ACCOUNT, redeemed
from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    CHAINS,
    DEPLOYMENT,
    HOLDER,
    OTHER,
    SHARE,
    STRANGER,
    World,
    id_of,
    paper_key,
)
from xstock_chains.ports import Cursor
from xstock_core.ids import Domain, TransferId
from xstock_core.ledger import CUSTODY, UNPAID_REDEMPTION, exposure
from xstock_core.observation import by_id
from xstock_core.refund import refund_of
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.handlers import attesting, opening, redemptions
from xstock_supply_guard.handlers.attesting import Attested, submit_attestation
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.cover import cover_step
from xstock_supply_guard.handlers.opening import check_opening, submit_opening
from xstock_supply_guard.handlers.redemptions import submit_rejection
from xstock_supply_guard.model import GuardConfig, Outcome, PolicyConfig, RedemptionState
from xstock_supply_guard.ports import GuardStore
from xstock_wire.codec import paper_digest
from xstock_wire.papers import ATTESTATION, OPENING, REDEMPTION_REJECTION, PaperKey
from xstock_wire.v1 import common_pb2, papers_pb2

GRANTED = (Outcome.GRANTED, "")
AGENT = paper_key("agent-1")
GUARD_PAPERS = tuple(paper_key(f"guard-{n}") for n in (1, 2, 3))
SCOPE = f"asset/{ASSET.hex()}"


@dataclass(frozen=True)
class EdKey:
    """An ed25519 key that signs papers, as an HSM of another make would."""

    key_id: str
    secret: Ed25519PrivateKey

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self.secret.public_key().public_bytes_raw()

    def sign(self, kind: str, deployment_id: str, paper: Any) -> common_pb2.SignedPaper:
        """The paper with its 64-byte signature."""
        body = paper.SerializeToString(deterministic=True)
        signature = self.secret.sign(paper_digest(kind, deployment_id, body))
        return common_pb2.SignedPaper(
            kind=kind, paper=body, key_id=self.key_id, signature=signature
        )


HSM = EdKey("hsm-1", Ed25519PrivateKey.from_private_bytes(keccak256(b"test/ed")))
Key = PaperKey | EdKey


def config_of(base: GuardConfig, needed: int, **policy: Any) -> GuardConfig:
    """Three attestors, `needed` of them; only the custodian's keys may reject."""
    return replace(
        base,
        attestors={key.key_id: key.public_key for key in (ATTESTOR, AGENT, HSM)},
        custodians=frozenset({ATTESTOR.key_id, HSM.key_id}),
        guard_papers={key.key_id: key.public_key for key in GUARD_PAPERS},
        threshold=2,
        policy=replace(base.policy, attestors_needed=needed, **policy),
    )


def world_of(store: GuardStore, needed: int = 2, **policy: Any) -> World:
    """A guard that asks for this many attestors."""
    world = World(store=store)
    world.desk.config = config_of(world.desk.config, needed, **policy)
    return world


def paper_of(world: World, held: int = 1000 * SHARE, **changes: Any) -> papers_pb2.Attestation:
    """Custody's statement, unsigned."""
    fields: dict[str, Any] = {
        "asset": ASSET,
        "held_units": held,
        "as_of": world.now,
        "sequence": 1,
        "multiplier": str(10**18),
    }
    return papers_pb2.Attestation(**(fields | changes))


async def hand_in(
    world: World,
    paper: papers_pb2.Attestation,
    *keys: Key,
    deployment: str = DEPLOYMENT,
) -> Attested:
    """One submission of this paper with these keys' signatures."""
    first, *others = (key.sign(ATTESTATION, deployment, paper) for key in keys)
    cosigned = [wire.statement_from_wire(one, ATTESTATION, DEPLOYMENT) for one in others]
    return await submit_attestation(
        world.desk, *wire.attestation_from_wire(first, DEPLOYMENT), cosigned
    )


async def attested(world: World, paper: papers_pb2.Attestation) -> Attested:
    """A statement that two attestors signed."""
    return await hand_in(world, paper, ATTESTOR, AGENT)


async def alarms(world: World) -> list[str]:
    """The codes of the alarms that stand."""
    async with world.store.read() as books:
        return [one.alarm.code for one in await books.alarms()]


async def in_force(world: World) -> int:
    """The sequence in force; 0 for none."""
    async with world.store.read() as books:
        record = (await books.attestations([ASSET])).get(ASSET)
    return record.attestation.sequence if record else 0


async def out(world: World) -> int:
    """The exposure."""
    async with world.store.read() as books:
        return exposure(await books.balances([ASSET]), ASSET)


async def funded(world: World, amount: int = 100 * SHARE, held: int = 1000 * SHARE) -> None:
    """Two attestors sign, the issuer issues, all of it is booked."""
    world.mine()
    await world.scan()
    await attested(world, paper_of(world, held))
    claim = world.order(1, amount)
    assert await world.outcome(claim) == GRANTED
    await world.release([claim.message])
    world.mine()
    await world.scan()


class TestAttestors:
    """K of J: one key's word is not custody's."""

    async def test_attestation__one_of_two__waits_for_the_second(self, store: GuardStore) -> None:
        world = world_of(store)
        paper = paper_of(world)
        first = await hand_in(world, paper, ATTESTOR)
        assert (first.in_force, first.signatures, first.needed) == (False, 1, 2)
        assert await in_force(world) == 0
        second = await hand_in(world, paper, AGENT)
        assert (second.in_force, second.signatures) == (True, 2)
        assert (second.cap, await in_force(world)) == (1000 * SHARE, 1)

    async def test_attestation__replayed__same_answer_and_nothing_more(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        paper = paper_of(world)
        answers = [await hand_in(world, paper, ATTESTOR) for _ in range(3)]
        assert {one.signatures for one in answers} == {1}
        taken = [await attested(world, paper) for _ in range(3)]
        assert len(set(taken)) == 1
        assert taken[0].in_force
        async with world.store.read() as books:
            head = await books.journal_head()
        await attested(world, paper)
        async with world.store.read() as books:
            assert await books.journal_head() == head

    async def test_attestation__of_an_ed25519_and_a_secp256k1_key__in_force(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        assert (await hand_in(world, paper_of(world), HSM, AGENT)).in_force

    async def test_attestation__same_key_twice__never_enough(self, store: GuardStore) -> None:
        world = world_of(store)
        paper = paper_of(world)
        with pytest.raises(InvalidMessage, match="this key has signed it already"):
            await hand_in(world, paper, ATTESTOR, ATTESTOR)
        for _ in range(5):
            assert not (await hand_in(world, paper, ATTESTOR)).in_force

    async def test_attestation__one_key_under_two_names__is_one_voice(
        self, store: GuardStore
    ) -> None:
        """The registry refuses it; the count does too."""
        world = world_of(store)
        twin = replace(ATTESTOR, key_id="twin")
        known = {**world.desk.config.attestors, twin.key_id: twin.public_key}
        world.desk.config = replace(world.desk.config, attestors=known)
        paper = paper_of(world)
        await hand_in(world, paper, ATTESTOR)
        assert not (await hand_in(world, paper, twin)).in_force

    async def test_attestation__count_by_name_instead_of_key__one_key_is_enough(
        self, store: GuardStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Defence removed: counted by key id, one key in custody's hand is two attestors."""
        world = world_of(store)
        twin = replace(ATTESTOR, key_id="twin")
        known = {**world.desk.config.attestors, twin.key_id: twin.public_key}
        world.desk.config = replace(world.desk.config, attestors=known)
        monkeypatch.setattr(
            attesting,
            "counted",
            lambda _, found, digest: tuple(
                one.statement for one in found if one.statement.digest == digest
            ),
        )
        paper = paper_of(world)
        await hand_in(world, paper, ATTESTOR)
        assert (await hand_in(world, paper, twin)).in_force

    async def test_attestation__signature_check_removed__a_stranger_lifts_the_cap(
        self, store: GuardStore
    ) -> None:
        """Defence removed."""
        world = world_of(store)
        world.desk.check_signature = lambda *_: True
        forged = [replace(STRANGER, key_id=key.key_id) for key in (ATTESTOR, AGENT)]
        assert (await hand_in(world, paper_of(world, 10**15), *forged)).cap == 10**15

    async def test_attestation__of_a_key_that_left_the_registry__counts_no_more(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        paper = paper_of(world)
        await hand_in(world, paper, ATTESTOR)
        left = {AGENT.key_id: AGENT.public_key, HSM.key_id: HSM.public_key}
        world.desk.config = replace(world.desk.config, attestors=left)
        assert not (await hand_in(world, paper, AGENT)).in_force
        assert (await hand_in(world, paper, HSM)).in_force

    async def test_attestation__two_papers_of_one_sequence__the_first_with_k_wins(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        true, false = paper_of(world), paper_of(world, 10**15)
        await hand_in(world, true, ATTESTOR)
        assert not (await hand_in(world, false, AGENT)).in_force
        assert attesting.DISPUTED in await alarms(world)
        with pytest.raises(InvalidMessage, match="another paper of this sequence"):
            await hand_in(world, false, ATTESTOR)
        assert attesting.REFUSED in await alarms(world)
        assert (await hand_in(world, true, HSM)).in_force
        with pytest.raises(InvalidMessage, match="sequence 1 is in force"):
            await hand_in(world, false, AGENT)
        assert await in_force(world) == 1

    async def test_attestation__in_force__calms_the_alarm(self, store: GuardStore) -> None:
        world = world_of(store)
        with pytest.raises(InvalidMessage):
            await hand_in(world, paper_of(world), STRANGER)
        assert attesting.REFUSED in await alarms(world)
        await attested(world, paper_of(world))
        assert attesting.REFUSED not in await alarms(world)

    @pytest.mark.parametrize(
        ("changes", "keys", "field"),
        [
            ({"sequence": 4}, (ATTESTOR, AGENT), "sequence"),
            ({"sequence": 5, "held_units": 1}, (ATTESTOR, AGENT), "sequence"),
            ({"sequence": 6, "as_of": -100}, (ATTESTOR, AGENT), "as_of"),
            ({"sequence": 6, "as_of": 31}, (ATTESTOR, AGENT), "as_of"),
            ({"sequence": 6, "multiplier_epoch": 1}, (ATTESTOR, AGENT), "multiplier_epoch"),
            ({"sequence": 6, "asset": b"\7" * 32}, (ATTESTOR, AGENT), "asset"),
            ({"sequence": 6}, (ATTESTOR, STRANGER), "signature"),
            ({"sequence": 6}, (replace(STRANGER, key_id=ATTESTOR.key_id),), "signature"),
        ],
        ids=[
            "older", "same sequence", "past", "future", "epoch falls", "wrong asset", "stranger",
            "wrong key",
        ],
    )  # fmt: skip
    async def test_attestation__that_cannot_follow__refused_by_name_and_told(
        self, store: GuardStore, changes: dict[str, Any], keys: Sequence[Key], field: str
    ) -> None:
        """Attestations from the past, the future and a stranger."""
        world = world_of(store)
        await attested(world, paper_of(world, sequence=5, multiplier_epoch=2))
        as_of = world.now + changes.get("as_of", 0)
        fields = {"multiplier_epoch": 2} | changes | {"as_of": as_of}
        with pytest.raises(InvalidMessage, match=field):
            await hand_in(world, paper_of(world, **fields), *keys)
        assert await in_force(world) == 5
        assert attesting.REFUSED in await alarms(world)

    async def test_attestation__of_another_deployment__refused(self, store: GuardStore) -> None:
        world = world_of(store)
        with pytest.raises(InvalidMessage, match="signature"):
            await hand_in(world, paper_of(world), ATTESTOR, deployment="another")


class TestCover:
    """F54: collateral that is frozen, falls or is rolled back."""

    async def test_collateral__frozen__releases_held_and_burns_recorded(
        self, store: GuardStore
    ) -> None:
        """F54: a feed that says nothing new."""
        world = world_of(store, attestation_age_seconds_max=600)
        await funded(world)
        await world.clock.advance(601)
        tx = world.burn(SHARE)
        world.mine()
        await world.scan()
        claim = world.claim(tx)
        assert await world.outcome(claim) == (Outcome.HELD, "COLLATERAL_STALE")
        assert (await read_books(world.desk, [ASSET])).assets[0].in_flight == SHARE
        await redeemed(world)
        assert (await read_books(world.desk, [ASSET])).assets[0].unpaid_redemption == 10 * SHARE
        await attested(world, paper_of(world, sequence=2))
        assert await world.outcome(claim) == GRANTED

    async def test_collateral__halves__held_with_an_alarm_and_resumes_by_itself(
        self, store: GuardStore
    ) -> None:
        """F54: -50 %; burns are still recorded, nothing is halted, a replay changes nothing."""
        world = world_of(store)
        await funded(world, 100 * SHARE, held=100 * SHARE)
        old = paper_of(world, 100 * SHARE)
        await attested(world, paper_of(world, 50 * SHARE, sequence=2))
        assert "COLLATERAL_SHORT" in await alarms(world)
        tx = world.burn(SHARE)
        world.mine()
        await world.scan()
        claim = world.claim(tx)
        assert await world.outcome(claim) == (Outcome.HELD, "CAP_EXCEEDED")
        assert (await read_books(world.desk, [ASSET])).assets[0].in_flight == SHARE
        with pytest.raises(InvalidMessage, match="sequence"):
            await attested(world, old)
        assert await world.outcome(claim) == (Outcome.HELD, "CAP_EXCEEDED")
        assert await world.halts() == []
        await attested(world, paper_of(world, 100 * SHARE, sequence=3))
        assert "COLLATERAL_SHORT" not in await alarms(world)
        assert await world.outcome(claim) == GRANTED

    async def test_collateral__short_for_too_long__asset_halted_through_a_restart(
        self, store: GuardStore
    ) -> None:
        """F54: the first moment counts, whatever process saw it."""
        world = world_of(store, under_collateral_seconds_max=3600)
        await funded(world)
        await attested(world, paper_of(world, 50 * SHARE, sequence=2))
        await world.clock.advance(1800)
        assert (await cover_step(world.desk)).halted == ()
        config = world.desk.config
        world.desk = world.new_desk()
        world.desk.config = config
        await world.clock.advance(1799)
        assert (await cover_step(world.desk)).halted == ()
        await world.clock.advance(1)
        assert len((await cover_step(world.desk)).halted) == 1
        assert (await world.halts())[0].startswith("INV-04")
        assert (await cover_step(world.desk)).halted == ()

    async def test_collateral__covered_in_between__the_time_begins_anew(
        self, store: GuardStore
    ) -> None:
        world = world_of(store, under_collateral_seconds_max=3600)
        await funded(world)
        for sequence, held in ((2, 50), (3, 1000), (4, 50)):
            await attested(world, paper_of(world, held * SHARE, sequence=sequence))
            await world.clock.advance(1800)
        assert (await cover_step(world.desk)).halted == ()
        await world.clock.advance(1800)
        assert len((await cover_step(world.desk)).halted) == 1

    async def test_order__a_million_times_too_large__refused_twice(self, store: GuardStore) -> None:
        """F52: one key, a fat finger: 10^6 x too large, asked twice, refused by the cap."""
        world = world_of(store)
        await funded(world)
        for _ in range(2):
            claim = world.order(2, SHARE * 10**6)
            assert await world.outcome(claim) == (Outcome.HELD, "CAP_EXCEEDED")
            assert not (await world.sign(claim.message)).signature
        assert await out(world) == 100 * SHARE


async def pay(world: World, sequence: int, *paid: bytes, held: int = 1000 * SHARE) -> Attested:
    """An attestation that lists these as paid."""
    return await attested(world, paper_of(world, held, sequence=sequence, paid=paid))


async def reject(world: World, transfer_id: bytes, key: Key = ATTESTOR, why: str = "no") -> None:
    """A rejection by this key."""
    paper = papers_pb2.RedemptionRejection(transfer_id=transfer_id, reason=why)
    signed = key.sign(REDEMPTION_REJECTION, DEPLOYMENT, paper)
    await submit_rejection(world.desk, *wire.rejection_from_wire(signed, DEPLOYMENT))


async def state_of(world: World, transfer_id: TransferId) -> RedemptionState | None:
    """How custody closed it; None while it is open."""
    async with world.store.read() as books:
        return (await books.redemptions([transfer_id])).get(transfer_id)


class TestRedemptions:
    """Exposure until paid; paid or rejected, once and for ever."""

    async def test_redemption__listed_as_paid__leaves_the_exposure(self, store: GuardStore) -> None:
        world = world_of(store)
        await funded(world)
        one = id_of((await redeemed(world)).message)
        assert await out(world) == 100 * SHARE
        async with world.store.read() as books:
            assert [burn.transfer_id for burn in await books.open_redemptions(None, 9)] == [one]
        await pay(world, 2, one)
        assert await out(world) == 90 * SHARE
        assert await state_of(world, one) is RedemptionState.PAID
        await pay(world, 3, one)
        assert await out(world) == 90 * SHARE
        async with world.store.read() as books:
            assert await books.open_redemptions(None, 9) == []
            balances = await books.balances([ASSET])
        assert balances[ASSET, UNPAID_REDEMPTION] == 0

    async def test_redemption__paid_before_its_burn_is_booked__closed_with_it(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        await funded(world)
        chain = world.chains[Domain.ETHEREUM]
        tx = chain.burn(HOLDER, ASSET, Domain.CUSTODY, ACCOUNT, 10 * SHARE)
        chain.mine()
        one = id_of(world.claim(tx).message)
        await pay(world, 2, one)
        assert await out(world) == 100 * SHARE
        world.mine()
        await world.scan()
        assert await out(world) == 90 * SHARE
        assert await world.halts() == []

    async def test_redemption__named_early_by_another_assets_list__its_own_list_still_pays(
        self, store: GuardStore
    ) -> None:
        """A slip in one list must not keep a redemption in the exposure for ever."""
        world = world_of(store)
        await funded(world)
        chain = world.chains[Domain.ETHEREUM]
        tx = chain.burn(HOLDER, ASSET, Domain.CUSTODY, ACCOUNT, 10 * SHARE)
        chain.mine()
        one = id_of(world.claim(tx).message)
        await attested(world, paper_of(world, asset=OTHER, paid=[one]))
        world.mine()
        await world.scan()
        assert await out(world) == 100 * SHARE
        await pay(world, 2, one)
        await pay(world, 3, one)
        assert await out(world) == 90 * SHARE

    async def test_paid_list__by_one_attestor_alone__pays_nothing(self, store: GuardStore) -> None:
        world = world_of(store)
        await funded(world)
        one = id_of((await redeemed(world)).message)
        await hand_in(world, paper_of(world, sequence=2, paid=[one]), ATTESTOR)
        assert await state_of(world, one) is None
        assert await out(world) == 100 * SHARE

    async def test_paid_list__names_what_is_no_redemption_of_the_asset__refused_by_name(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        await funded(world)
        transfer = await world.granted()
        redemption = id_of((await redeemed(world)).message)
        with pytest.raises(InvalidMessage, match=id_of(transfer).hex()):
            await pay(world, 2, redemption, id_of(transfer))
        foreign = paper_of(world, asset=OTHER, paid=[redemption])
        with pytest.raises(InvalidMessage, match=redemption.hex()):
            await attested(world, foreign)
        assert await state_of(world, redemption) is None
        assert await in_force(world) == 1

    @pytest.mark.parametrize("key", [AGENT, STRANGER, replace(STRANGER, key_id="custodian-1")])
    async def test_rejection__by_anybody_but_custody__refused(
        self, store: GuardStore, key: PaperKey
    ) -> None:
        world = world_of(store)
        await funded(world)
        one = id_of((await redeemed(world)).message)
        with pytest.raises(InvalidMessage, match="signature"):
            await reject(world, one, key)
        assert await state_of(world, one) is None
        assert redemptions.REFUSED in await alarms(world)

    async def test_redemption__rejected_then_listed_as_paid__the_list_is_refused(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        await funded(world)
        one = id_of((await redeemed(world)).message)
        await reject(world, one, HSM)
        await reject(world, one, ATTESTOR)
        with pytest.raises(InvalidMessage, match="rejected"):
            await pay(world, 2, one)
        assert await state_of(world, one) is RedemptionState.REJECTED
        assert await out(world) == 100 * SHARE

    async def test_redemption__minted_back_unseen_then_listed_as_paid__the_list_is_refused(
        self, store: GuardStore
    ) -> None:
        """The other guards had custody's rejection and this one had not: paid as well, the same
        shares would leave the exposure of a redemption that is still open."""
        world = world_of(store)
        await funded(world)
        one = await redeemed(world)
        await redeemed(world)
        refund = refund_of(one.message, one.message.source_bridge, keccak256)
        await world.release([refund])
        world.mine()
        await world.scan()
        with pytest.raises(InvalidMessage, match="minted back"):
            await pay(world, 2, id_of(one.message))
        assert await out(world) == 100 * SHARE

    async def test_redemption__paid_then_rejected__the_rejection_is_refused(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        await funded(world)
        one = id_of((await redeemed(world)).message)
        await pay(world, 2, one)
        with pytest.raises(InvalidMessage, match="it was paid"):
            await reject(world, one)
        assert await state_of(world, one) is RedemptionState.PAID

    async def test_rejection__of_a_transfer__refused(self, store: GuardStore) -> None:
        world = world_of(store)
        await funded(world)
        message = await world.granted()
        with pytest.raises(InvalidMessage, match="no redemption"):
            await reject(world, id_of(message))

    async def test_rejection__custody_check_removed__a_stranger_gets_shares_back(
        self, store: GuardStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Defence removed."""
        world = world_of(store)
        await funded(world)
        one = id_of((await redeemed(world)).message)
        monkeypatch.setattr(redemptions, "signed_by_custody", lambda *_: True)
        await reject(world, one, STRANGER)
        assert await state_of(world, one) is RedemptionState.REJECTED


async def live_before(world: World, units: int = 50 * 10**18 + 7) -> None:
    """A token with holders from before the bridge: no observation tells of their mint."""
    chain = world.chains[Domain.ETHEREUM]
    chain.mint_outside(ASSET, HOLDER, units)
    chain.mine()
    world.mine()
    async with world.store.write() as unit:
        reader = world.readers[Domain.ETHEREUM]
        page = await reader.read_page(Cursor(Domain.ETHEREUM), limit=1000)
        await unit.add_observations(by_id(page.observations))
    await world.scan()


async def audited(world: World) -> None:
    """A new reading of every chain is believed."""
    for domain in CHAINS:
        await world.audit(domain)
    world.mine()
    await world.scan()
    for domain in CHAINS:
        await world.audit(domain)


def opening_of(world: World, shares: int = 50 * SHARE, residue: int = 7) -> papers_pb2.Opening:
    """An opening of Ethereum's supply, the other chains empty."""
    block = max(1, world.chains[Domain.ETHEREUM].final.number - 2)
    paper = papers_pb2.Opening(asset=ASSET)
    for domain in CHAINS:
        here = domain is Domain.ETHEREUM
        paper.chains.add(
            chain=domain,
            shares=shares if here else 0,
            residue_units=str(residue if here else 0),
            block_number=block if here else 1,
        )
    return paper


async def ask(world: World, paper: papers_pb2.Opening) -> None:
    """This guard looks whether it would sign."""
    body = paper.SerializeToString(deterministic=True)
    await check_opening(world.desk, wire.opening_from_wire(body, DEPLOYMENT))


async def book(world: World, paper: papers_pb2.Opening, *keys: PaperKey) -> int:
    """The opening, signed by these guards."""
    signed = [key.sign(OPENING, DEPLOYMENT, paper) for key in keys or GUARD_PAPERS[:2]]
    return await submit_opening(world.desk, *wire.opening_statements(signed, DEPLOYMENT))


class TestOpening:
    """An asset that is live already enters the books once, with what it has."""

    async def test_asset__live_before_the_bridge__is_not_open_and_nothing_halts(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        await audited(world)
        assert await world.outcome(world.order(1, SHARE)) == (Outcome.HELD, "ASSET_NOT_OPEN")
        tx = world.burn(SHARE)
        await audited(world)
        assert await world.outcome(world.claim(tx)) == (Outcome.HELD, "ASSET_NOT_OPEN")
        assert await world.halts() == []
        assert not (await read_books(world.desk, [ASSET])).assets[0].open

    async def test_asset__nobody_has_read_yet__is_not_issued(self, store: GuardStore) -> None:
        world = world_of(store)
        world.mine()
        for domain in CHAINS:
            await world.scan(domain)
        async with world.store.write() as unit:
            await unit.save_readings([])
        world.desk.config = replace(
            world.desk.config,
            assets={
                **world.desk.config.assets,
                ASSET: replace(
                    world.desk.config.assets[ASSET],
                    decimals={**world.desk.config.assets[ASSET].decimals, Domain.TON: 8},
                ),
            },
        )
        await attested(world, paper_of(world))
        assert await world.outcome(world.order(1, SHARE)) == (Outcome.HELD, "SUPPLY_UNKNOWN")

    async def test_opening__booked__holders_burns_are_no_money_from_nowhere(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        await audited(world)
        paper = opening_of(world)
        await ask(world, paper)
        assert await book(world, paper) == 50 * SHARE
        await ask(world, paper)
        assert await book(world, paper) == 50 * SHARE
        tx = world.burn(20 * SHARE)
        world.mine()
        await world.scan()
        assert await world.outcome(world.claim(tx)) == GRANTED
        await audited(world)
        assert await world.halts() == []
        books = (await read_books(world.desk, [ASSET])).assets[0]
        assert (books.exposure, books.in_flight, books.open) == (50 * SHARE, 20 * SHARE, True)

    async def test_opening__a_reading_from_before_it__is_compared_with_it(
        self, store: GuardStore
    ) -> None:
        """What was read before the booking and believed after it is no unauthorised mint."""
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        await audited(world)
        await world.audit(Domain.ETHEREUM)
        world.mine()
        await world.scan()
        await book(world, opening_of(world))
        found = await world.audit(Domain.ETHEREUM)
        assert (found.believed > 0, found.above, found.below) == (True, (), ())
        assert await world.halts() == []

    async def test_opening__a_holder_burned_before_it__books_what_was_there_before(
        self, store: GuardStore
    ) -> None:
        """A burn of one holder cannot keep an asset shut for ever."""
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        tx = world.burn(5 * SHARE)
        await audited(world)
        await ask(world, opening_of(world))
        await book(world, opening_of(world))
        assert await world.outcome(world.claim(tx)) == GRANTED
        await audited(world)
        assert await world.halts() == []
        assert await out(world) == 50 * SHARE

    async def test_opening__custody_paid_a_redemption_before_it__still_waits_and_then_opens(
        self, store: GuardStore
    ) -> None:
        """A payout touches custody's account and opens nothing: whoever redeems first could else
        keep an asset from ever being opened, and have what was there before taken for a mint."""
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        one = id_of((await redeemed(world, 5 * SHARE)).message)
        await pay(world, 2, one)
        assert await out(world) == -5 * SHARE
        await audited(world)
        assert await world.outcome(world.order(1, SHARE)) == (Outcome.HELD, "ASSET_NOT_OPEN")
        assert await world.halts() == []
        await ask(world, opening_of(world))
        assert await book(world, opening_of(world)) == 45 * SHARE
        await audited(world)
        assert await world.halts() == []

    async def test_opening__after_a_payout__is_measured_with_it_against_the_cap(
        self, store: GuardStore
    ) -> None:
        """What custody has paid out is gone from what it holds and from what it must cover."""
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        one = id_of((await redeemed(world, 5 * SHARE)).message)
        await pay(world, 2, one, held=45 * SHARE)
        await audited(world)
        await ask(world, opening_of(world))
        await pay(world, 3, held=45 * SHARE - 1)
        with pytest.raises(InvalidMessage, match="the cap is"):
            await book(world, opening_of(world))

    @pytest.mark.parametrize(
        ("shares", "residue"), [(51 * SHARE, 7), (49 * SHARE, 7), (50 * SHARE, 8)]
    )
    async def test_opening__that_lies_about_units__no_honest_guard_signs(
        self, store: GuardStore, shares: int, residue: int
    ) -> None:
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        await audited(world)
        with pytest.raises(InvalidMessage, match="shows 5000000000 and 7"):
            await ask(world, opening_of(world, shares, residue))

    async def test_opening__reading_check_removed__a_lie_is_signed_and_the_auditor_is_blind(
        self, store: GuardStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Defence removed: phantom supply in the books is room for a mint that nobody sees."""
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        await audited(world)
        monkeypatch.setattr(opening, "_check_reading", lambda *_: None)
        await ask(world, opening_of(world, 60 * SHARE))
        await book(world, opening_of(world, 60 * SHARE))
        assert await out(world) == 60 * SHARE

    async def test_opening__not_yet_read_or_attested__waits(self, store: GuardStore) -> None:
        world = world_of(store)
        await live_before(world)
        with pytest.raises(Transient, match="attestation"):
            await ask(world, opening_of(world))
        await attested(world, paper_of(world))
        world.mine(20)
        await world.scan()
        with pytest.raises(Transient, match="no believed reading"):
            await ask(world, opening_of(world))

    async def test_opening__above_the_cap__refused_by_sign_and_submit(
        self, store: GuardStore
    ) -> None:
        """INV-04: an opening is an issuance by another name."""
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world, 49 * SHARE))
        await audited(world)
        with pytest.raises(InvalidMessage, match="the cap is"):
            await ask(world, opening_of(world))
        with pytest.raises(InvalidMessage, match="the cap is"):
            await book(world, opening_of(world), *GUARD_PAPERS)
        assert await out(world) == 0

    @pytest.mark.parametrize(
        "keys",
        [
            GUARD_PAPERS[:1],
            (GUARD_PAPERS[0], GUARD_PAPERS[0]),
            (GUARD_PAPERS[0], STRANGER),
            (GUARD_PAPERS[0], replace(STRANGER, key_id="guard-2")),
            (GUARD_PAPERS[0], ATTESTOR),
        ],
        ids=["one short", "one twice", "stranger", "forged", "attestor"],
    )
    async def test_opening__without_m_guards__refused(
        self, store: GuardStore, keys: Sequence[PaperKey]
    ) -> None:
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        await audited(world)
        with pytest.raises(InvalidMessage, match="signatures"):
            await book(world, opening_of(world), *keys)
        async with world.store.read() as books:
            assert (ASSET, CUSTODY) not in await books.balances([ASSET])

    async def test_opening__signature_check_removed__one_guard_opens_alone(
        self, store: GuardStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Defence removed."""
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        await audited(world)
        monkeypatch.setattr(opening, "_check_signatures", lambda *_: None)
        assert await book(world, opening_of(world), STRANGER) == 50 * SHARE

    async def test_opening__a_second_one__refused(self, store: GuardStore) -> None:
        world = world_of(store)
        await live_before(world)
        await attested(world, paper_of(world))
        await audited(world)
        await book(world, opening_of(world))
        with pytest.raises(InvalidMessage, match="another opening"):
            await book(world, opening_of(world, 40 * SHARE), *GUARD_PAPERS)
        assert await out(world) == 50 * SHARE

    async def test_opening__of_an_asset_whose_books_have_begun__refused(
        self, store: GuardStore
    ) -> None:
        world = world_of(store)
        await funded(world)
        with pytest.raises(InvalidMessage, match="books have begun"):
            await book(world, opening_of(world))

    async def test_opening__some_chain_left_out__refused(self, store: GuardStore) -> None:
        world = world_of(store)
        paper = opening_of(world)
        del paper.chains[1]
        with pytest.raises(InvalidMessage, match="every chain"):
            await ask(world, paper)


def test_policy__defaults__ask_for_one_attestor() -> None:
    assert PolicyConfig().attestors_needed == 1

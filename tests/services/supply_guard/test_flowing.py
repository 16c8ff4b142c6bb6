"""What a REFUND stands on, evidence by evidence; each thing that must exclude it excludes it."""

from dataclasses import replace
from typing import Any

import pytest

from tests.builders import a_burn, a_message, a_release
from tests.services.supply_guard.world import ASSET, HOLDER, RECIPIENT, SHARE, World
from xstock_chains.ports import Cursor
from xstock_core.amount import Shares
from xstock_core.ids import Address32, Domain, Nonce
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    OrphanBurn,
    Place,
    TxRef,
    by_id,
)
from xstock_core.refund import refund_of, refund_of_orphan
from xstock_core.release import ExecutionKey, key_of
from xstock_core.review import (
    BurnAbsent,
    Cancelled,
    Dissent,
    Evidence,
    NotApproved,
    NotCancelled,
    NotReached,
    OrphanApproved,
    Rejected,
)
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.flowing import (
    Flows,
    began_at,
    look_up_flows,
    refund_evidence,
)
from xstock_supply_guard.model import (
    Executed,
    Proposal,
    ProposalKind,
    RedemptionRecord,
    RedemptionState,
    Scan,
)

STRANGE = Address32(bytes(12) + b"\x77" * 20)


def place(chain: Domain, number: int = 5, time: int = 1_000) -> Place:
    """Somewhere on a chain."""
    block = BlockRef(chain, number, number.to_bytes(32, "big"), time)
    return Place(block, TxRef(chain, number.to_bytes(32, "big")), 0)


def burned(kind: Kind = Kind.TRANSFER, *, counter: int = 1, amount: int = SHARE) -> BurnFinal:
    """A burn on Ethereum towards BNB Chain, or towards custody."""
    destination = Domain.CUSTODY if kind is Kind.REDEEM else Domain.BNB
    one = a_message(
        kind=kind,
        destination=destination,
        counter=counter,
        asset=ASSET,
        refund_address=HOLDER,
        recipient=RECIPIENT,
        amount=amount,
    )
    return a_burn(one, counter=counter, place=place(Domain.ETHEREUM))


ORPHAN = OrphanBurn(
    ASSET, HOLDER, Shares(SHARE), "no memo", Nonce(b"\x31" * 32), place(Domain.SOLANA, 7)
)


def bridge(world: World, chain: Domain = Domain.BNB) -> Address32:
    """The chain's bridge."""
    return world.chains[chain].config.bridge


def way_back(world: World, burn: BurnFinal) -> TransferMessage:
    """The burn's one refund."""
    return refund_of(burn.message, bridge(world), keccak256)


def orphans_way_back(world: World) -> TransferMessage:
    """The orphan's one refund; Solana is a chain of this guard's from now on."""
    mantle = world.desk.config.chains[Domain.MANTLE]
    chains = {**world.desk.config.chains, Domain.SOLANA: replace(mantle, domain=Domain.SOLANA)}
    world.desk.config = replace(world.desk.config, chains=chains)
    return refund_of_orphan(ORPHAN, bridge(world, Domain.MANTLE), keccak256)


def cancelled(burn: BurnFinal, time: int = 2_000) -> Executed:
    """Its destination has marked it without minting."""
    one = burn.message
    where = place(one.destination, 9, time)
    fact = CancelFinal(one.destination, one.source, one.nonce, ASSET, where)
    return Executed(fact, 1, matched=True)


def released(burn: BurnFinal) -> Executed:
    """Its destination has minted it."""
    return Executed(a_release(burn.message, place=place(Domain.BNB, 9)), 1, matched=True)


def evidence(
    world: World,
    message: TransferMessage,
    flows: Flows,
    *executed: Executed,
    doubts: Domain | None = None,
) -> Evidence:
    """What this guard knows the REFUND to stand on."""
    scans = {chain: Scan(chain, Cursor(chain)) for chain in (*world.chains, Domain.SOLANA)}
    if doubts is not None:
        scans[doubts] = replace(scans[doubts], dissent_since_ms=1)
    return refund_evidence(world.desk, message, flows, {one.key: one for one in executed}, scans)


def known(burn: BurnFinal, message: TransferMessage, **more: Any) -> Flows:
    """The books know the burn."""
    return Flows(refunded={key_of(message): burn}, **more)


def test_refund__of_a_cancelled_burn__stands_on_burn_cancellation_and_its_own_derivation() -> None:
    world, burn = World(), burned()
    message = way_back(world, burn)
    cancel = cancelled(burn)
    found = evidence(world, message, known(burn, message), cancel)
    assert found == Cancelled(burn, cancel.fact, message)  # type: ignore[arg-type]
    claimed = replace(message, recipient=STRANGE)
    found = evidence(world, claimed, known(burn, claimed), cancel)
    assert isinstance(found, Cancelled)
    assert found.refund == message


@pytest.mark.parametrize("chain", [Domain.ETHEREUM, Domain.BNB])
def test_refund__while_providers_of_either_chain_disagree__stands_on_nothing(
    chain: Domain,
) -> None:
    world, burn = World(), burned()
    message = way_back(world, burn)
    flows = known(burn, message)
    assert evidence(world, message, flows, cancelled(burn), doubts=chain) == Dissent(chain)
    elsewhere = evidence(world, message, flows, cancelled(burn), doubts=Domain.MANTLE)
    assert isinstance(elsewhere, Cancelled)


def test_refund__of_a_released_burn__is_none() -> None:
    """INV-02: what was minted has nothing left to flow back."""
    world, burn = World(), burned()
    message = way_back(world, burn)
    found = evidence(world, message, known(burn, message), released(burn))
    assert found == BurnAbsent(Domain.BNB)


def test_refund__of_what_is_not_cancelled_or_not_burned_yet__waits_for_that_chain() -> None:
    world, burn = World(), burned()
    message = way_back(world, burn)
    assert evidence(world, message, known(burn, message)) == NotCancelled(Domain.BNB)
    assert evidence(world, message, Flows(), cancelled(burn)) == NotReached(Domain.ETHEREUM)


def test_refund__through_a_strangers_bridge_or_chain__is_none() -> None:
    """F08: no block of any chain can make it one of ours."""
    world, burn = World(), burned()
    message = replace(way_back(world, burn), source_bridge=STRANGE)
    assert evidence(world, message, known(burn, message), cancelled(burn)) == BurnAbsent(Domain.BNB)
    gone = replace(way_back(world, burn), source=Domain.TRON)
    assert evidence(world, gone, known(burn, gone), cancelled(burn)) == BurnAbsent(Domain.TRON)


def test_refund__of_a_redemption__stands_on_custodys_rejection_alone() -> None:
    world, burn = World(), burned(Kind.REDEEM)
    message = way_back(world, burn)
    closed: dict[RedemptionState | None, Evidence] = {
        None: NotCancelled(Domain.CUSTODY),
        RedemptionState.PAID: BurnAbsent(Domain.ETHEREUM),
        RedemptionState.REJECTED: Rejected(burn, message),
    }
    for state, expected in closed.items():
        said = {burn.transfer_id: state} if state is not None else {}
        assert evidence(world, message, known(burn, message, redemptions=said)) == expected
    assert evidence(world, message, Flows()) == NotReached(Domain.ETHEREUM)
    other = burned()
    said = {other.transfer_id: RedemptionState.REJECTED}
    found = evidence(world, message, known(other, message, redemptions=said))
    assert found == NotReached(Domain.ETHEREUM)


def test_refund__of_an_orphan__stands_on_two_peoples_word() -> None:
    world = World()
    message = orphans_way_back(world)
    orphans = {bytes(message.nonce): ORPHAN}
    agreed = frozenset({bytes(ORPHAN.nonce)})
    assert evidence(world, message, Flows()) == NotReached(Domain.SOLANA)
    assert evidence(world, message, Flows(orphans=orphans)) == NotApproved(Domain.SOLANA)
    whole = Flows(orphans=orphans, orphans_approved=agreed)
    assert evidence(world, message, whole) == OrphanApproved(ORPHAN, message)
    strange = replace(message, source_bridge=STRANGE)
    assert evidence(world, strange, whole) == BurnAbsent(Domain.SOLANA)
    gone = replace(message, source=Domain.TRON, destination=Domain.TRON)
    assert evidence(world, gone, whole) == BurnAbsent(Domain.TRON)
    assert evidence(world, message, whole, doubts=Domain.SOLANA) == Dissent(Domain.SOLANA)


def test_flows__closed__are_those_of_the_very_state() -> None:
    one, other = burned().transfer_id, burned(counter=2).transfer_id
    flows = Flows(redemptions={one: RedemptionState.PAID, other: RedemptionState.REJECTED})
    assert flows.closed(RedemptionState.PAID) == {one}
    assert flows.closed(RedemptionState.REJECTED) == {other}


async def agreed(world: World, kind: ProposalKind, subject: bytes) -> None:
    """Two people have decided so."""
    async with world.store.write() as unit:
        proposal = Proposal(f"{kind}{subject.hex()}", kind, subject, b"", "why", "ann", 1, 10**15)
        await unit.add_proposal(proposal)
        await unit.execute_proposal(proposal.id, 2)


async def looked_up(world: World, *messages: TransferMessage) -> Flows:
    """One look for these."""
    async with world.store.read() as books:
        return await look_up_flows(books, {one.transfer_id(keccak256): one for one in messages})


async def test_look__at_a_page_of_transfers_alone__asks_nothing() -> None:
    class Silent:
        """Fails whoever asks."""

    message = burned().message
    found = await look_up_flows(Silent(), {message.transfer_id(keccak256): message})  # type: ignore[arg-type]
    assert found == Flows()


async def test_look__finds_burns_redemptions_orphans_and_approvals_of_exactly_the_page() -> None:
    world = World()
    burn, redeemed, paid = burned(), burned(Kind.REDEEM, counter=2), burned(Kind.REDEEM, counter=3)
    other = burned(counter=4)
    async with world.store.write() as unit:
        await unit.add_observations(by_id([burn, redeemed, paid, other, ORPHAN]))
        await unit.add_redemptions(
            [
                RedemptionRecord(one.transfer_id, state, bytes(32), 1, ASSET, "")
                for one, state in (
                    (redeemed, RedemptionState.REJECTED),
                    (paid, RedemptionState.PAID),
                )
            ]
        )
    refund, rejection = way_back(world, burn), way_back(world, redeemed)
    back = orphans_way_back(world)
    found = await looked_up(world, refund, rejection, back, paid.message)
    assert found.refunded == {key_of(refund): burn, key_of(rejection): redeemed}
    assert found.redemptions == {
        redeemed.transfer_id: RedemptionState.REJECTED,
        paid.transfer_id: RedemptionState.PAID,
    }
    assert found.orphans == {back.nonce: ORPHAN}
    assert (found.orphans_approved, found.approved) == (frozenset(), frozenset())
    await agreed(world, ProposalKind.REFUND, refund.transfer_id(keccak256))
    await agreed(world, ProposalKind.REFUND, redeemed.transfer_id)
    await agreed(world, ProposalKind.REFUND, other.transfer_id)
    await agreed(world, ProposalKind.CANCEL, back.transfer_id(keccak256))
    await agreed(world, ProposalKind.ORPHAN_REFUND, ORPHAN.nonce)
    found = await looked_up(world, refund, rejection, back)
    assert found.approved == {one.transfer_id(keccak256) for one in (refund, rejection)}
    assert found.orphans_approved == {ORPHAN.nonce}
    assert (await looked_up(world, paid.message)).redemptions == {
        paid.transfer_id: RedemptionState.PAID
    }


async def test_look__an_orphan_that_was_given_up__is_not_refunded() -> None:
    """Written off and refunded, its shares would exist and be no exposure."""
    world = World()
    async with world.store.write() as unit:
        await unit.add_observations(by_id([ORPHAN]))
    for kind in (ProposalKind.ORPHAN_REFUND, ProposalKind.WRITE_OFF):
        await agreed(world, kind, ORPHAN.nonce)
    found = await looked_up(world, orphans_way_back(world))
    assert found.orphans
    assert found.orphans_approved == frozenset()


async def test_refunds_nonce__began_with_the_final_cancellation() -> None:
    world = World()
    burn, redeemed, waiting = burned(), burned(Kind.REDEEM, counter=2), burned(counter=3)
    async with world.store.write() as unit:
        await unit.add_observations(by_id([burn, redeemed, waiting]))
        await unit.add_executions([cancelled(burn, 2_345)])
    page = [way_back(world, one) for one in (waiting, redeemed, burn, burned(counter=9))]
    messages = {one.transfer_id(keccak256): one for one in (burn.message, *page)}
    async with world.store.read() as books:
        found = await began_at(books, messages)
        assert found == {page[2].transfer_id(keccak256): 2_345}
        assert await began_at(books, {burn.transfer_id: burn.message}) == {}
        assert await began_at(books, {}) == {}


def test_key__of_a_refund__is_not_its_burns() -> None:
    world, burn = World(), burned()
    message = way_back(world, burn)
    assert key_of(message) == ExecutionKey(Domain.ETHEREUM, Domain.BNB, message.nonce)
    assert key_of(message) != key_of(burn.message)

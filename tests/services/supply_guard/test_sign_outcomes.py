"""Signing seen from outside: what is asked how often, whose word stops it, and in which words.

`test_sign_requests` holds the request's shape and what is kept of a signature; here are the things
around it that may have changed since the grant.
"""

import asyncio
from dataclasses import dataclass, replace

import pytest

from tests.builders import a_burn, a_message
from tests.services.supply_guard import inventory
from tests.services.supply_guard.people import ListOf, lines_of
from tests.services.supply_guard.test_review_outcomes import short
from tests.services.supply_guard.world import (
    ASSET,
    HOLDER,
    RECIPIENT,
    SHARE,
    World,
    id_of,
)
from xstock_chains.fake import FakeCodec, FakeSigner
from xstock_core.ids import Domain
from xstock_core.message import TransferMessage
from xstock_core.observation import by_id
from xstock_core.policy import Policy
from xstock_core.refund import refund_of
from xstock_core.refusal import GRANTED, Reason, Verdict, refuse
from xstock_core.release import ReleaseBatch, item_of
from xstock_core.review import Claim, Context
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers.lines import read_line
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import ClaimRecord, Outcome, Ruling
from xstock_supply_guard.ports import EpochReader


async def granted() -> tuple[World, TransferMessage]:
    """A world with one granted transfer from Ethereum to BNB."""
    world = World()
    await world.funded()
    return world, await world.granted()


async def doubt(world: World, chain: Domain) -> None:
    """This guard's providers contradict each other about final data of the chain."""
    async with world.store.write() as unit:
        scan = (await unit.scans())[chain]
        await unit.save_scan(replace(scan, dissent_since_ms=world.clock.unix_ms()))
        await unit.journal([], world.clock.unix_ms())


@dataclass
class Counting:
    """An epoch reader that counts how often it is asked."""

    reader: EpochReader
    asked: int = 0

    async def guard_epoch(self) -> int:
        """The chain's, counted."""
        self.asked += 1
        return await self.reader.guard_epoch()

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """The chain's, after everybody else had a turn."""
        await asyncio.sleep(0)
        await self.reader.check_terms(batch)


async def test_epoch__of_a_destination__is_asked_once_for_many_signatures() -> None:
    world, message = await granted()
    counting = {domain: Counting(one) for domain, one in world.desk.epochs.items()}
    world.desk.epochs = counting
    for life in (500, 600):
        assert (await sign_release(world.desk, world.request([message], life=life))).signature
    assert {domain: one.asked for domain, one in counting.items()} == {
        Domain.ETHEREUM: 0,
        Domain.BNB: 1,
        Domain.MANTLE: 0,
    }


async def test_epoch__wrong_in_two_requests_at_once__is_named_in_both_answers() -> None:
    """Both knew the epoch before either was refused: the second finds it forgotten already."""
    world, message = await granted()
    request = replace(world.request([message]), epoch=2)
    world.desk.epochs = {domain: Counting(one) for domain, one in world.desk.epochs.items()}
    assert (await world.sign(message)).signature
    answers = await asyncio.gather(*(sign_release(world.desk, request) for _ in range(2)))
    for answer in answers:
        (ruling,) = answer.refusals
        assert (ruling.outcome, ruling.reason) == (Outcome.HELD, "EPOCH_UNKNOWN")
        assert {"asked": "2", "known": "1"}.items() <= ruling.detail.items()


@pytest.mark.parametrize("back", [False, True], ids=["the transfer", "its refund"])
async def test_dissent__about_a_chain__stops_what_stands_on_its_word_and_names_it(
    back: bool,
) -> None:
    """A transfer stands on the burn alone; a refund on the cancellation and on the burn."""
    world, message = await granted()
    if back:
        refund = refund_of(message, world.chains[Domain.BNB].config.bridge, keccak256)
        ruling = Ruling(id_of(refund), Outcome.GRANTED)
        async with world.store.write() as unit:
            await unit.save_claims([ClaimRecord(refund, ruling, world.clock.unix_ms())])
        message = refund
    assert (await world.sign(message)).signature
    await doubt(world, Domain.BNB)
    answer = await world.sign(message)
    assert bool(answer.signature) is not back
    await doubt(world, Domain.ETHEREUM)
    (ruling,) = (await world.sign(message)).refusals
    assert short([ruling]) == [(Outcome.HELD, "SOURCE_DISSENT")]
    assert ruling.detail == {"chain": "2" if back else "1"}


async def test_sender__listed_since_the_grant__stops_the_signature_alone_of_all_parties() -> None:
    """Who burned is neither the recipient nor where a refund would go; the list knows the burn."""
    world = World()
    await world.funded()
    other = FakeSigner(b"another purse").address
    chain = world.chains[Domain.ETHEREUM]
    tx = chain.burn(HOLDER, ASSET, Domain.BNB, RECIPIENT, SHARE, refund_address=other)
    world.mine()
    await world.scan()
    named = ListOf()
    world.desk.screening = named
    claim = world.claim(tx)
    assert short(await world.review(claim)) == [(Outcome.GRANTED, "")]
    request = world.request([claim.message])
    assert (await sign_release(world.desk, request)).signature
    named.accounts[HOLDER] = "sanctions"
    (ruling,) = (await sign_release(world.desk, request)).refusals
    assert short([ruling]) == [(Outcome.PARKED, "SCREENED")]
    assert (ruling.detail["address"], ruling.detail["listed"]) == (HOLDER.hex(), "sanctions")


async def test_batch__of_an_order_and_a_transfer__is_screened_though_nobody_burned_for_one() -> (
    None
):
    world, message = await granted()
    world.desk.screening = ListOf()
    order = world.order(2, SHARE, destination=Domain.BNB)
    assert short(await world.review(order)) == [(Outcome.GRANTED, "")]
    assert (await world.sign(message, order.message)).signature


async def test_signature__that_stands_on_inventory__is_journaled_with_what_it_counted_on() -> None:
    """INV-04: above the cap alone, so a reader of the journal must find what lay on top of it."""
    world = await inventory.ready(MemoryGuardStore())
    order = world.order(2, 50 * SHARE)
    assert short(await world.review(order)) == [(Outcome.GRANTED, "")]
    assert (await world.sign(order.message)).signature
    counted, permit = (await lines_of(world))[-2:]
    verb, fields = read_line(counted)
    assert (verb, permit.split(" ")[0]) == ("inventory", "permit")
    assert (fields["asset"], fields["excluded"]) == (ASSET.hex(), str(100 * SHARE))


async def test_signature__where_nonces_are_hashes__is_over_the_second_of_the_booked_burn() -> None:
    """Another second is another release: without it one burn could be released twice there."""
    world, _ = await granted()
    solana = a_message(source=Domain.SOLANA, asset=ASSET, source_bridge=b"\5" * 32)
    burn = a_burn(solana)
    ruling = Ruling(id_of(solana), Outcome.GRANTED)
    async with world.store.write() as unit:
        await unit.add_observations(by_id([burn]))
        await unit.save_claims([ClaimRecord(solana, ruling, world.clock.unix_ms())])
        await unit.journal(["drill"], world.clock.unix_ms())
    request = world.request([solana])
    answer = await sign_release(world.desk, request)
    item = item_of(solana, burned_at=burn.place.block.time)
    batch = ReleaseBatch(Domain.BNB, request.bridge, 1, request.deadline, (item,))
    assert burn.place.block.time > 0
    assert answer.digest == FakeCodec().digest(batch)
    assert answer.signature


async def test_policies__of_signing__are_those_that_were_given_for_every_item() -> None:
    """A rule of one's own stops its item in a batch, and names no other."""
    world, first = await granted()
    second = await world.granted()

    def only_first(context: Context, claim: Claim) -> Verdict:
        del context
        return GRANTED if claim.transfer_id == id_of(first) else refusal

    refusal = refuse(Reason.PAUSED, why="drill")
    rules: list[Policy] = [only_first]
    answer = await sign_release(world.desk, world.request([first, second]), rules)
    assert not answer.signature
    assert [(one.transfer_id, one.reason) for one in answer.refusals] == [
        (id_of(second), Reason.PAUSED)
    ]

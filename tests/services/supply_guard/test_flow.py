"""A transfer's way through one guard: issued, burned, reviewed, signed, released, closed."""

from tests.services.supply_guard.world import ASSET, GUARDS, SHARE, World, id_of
from xstock_chains.fake import FakeCodec
from xstock_core.ids import Domain
from xstock_core.release import ReleaseBatch, item_of
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.model import Outcome


async def test_guard__issue_then_transfer__books_follow_every_step() -> None:
    world = World()
    await world.funded(100 * SHARE)
    message = await world.granted(40 * SHARE)
    book = (await read_books(world.desk, [ASSET])).assets[0]
    assert (book.in_flight, book.exposure, book.cap) == (40 * SHARE, 100 * SHARE, 1000 * SHARE)
    answer = await world.sign(message)
    assert answer.signature
    batch = ReleaseBatch(
        Domain.BNB, world.chains[Domain.BNB].config.bridge, 1, 0, (item_of(message),)
    )
    assert answer.signer == GUARDS[0].identity
    request = world.request([message])
    signed = ReleaseBatch(batch.destination, batch.bridge, 1, request.deadline, (item_of(message),))
    assert FakeCodec().recover(signed, answer.signature) == GUARDS[0].identity
    await world.release([message])
    world.mine()
    await world.scan()
    book = (await read_books(world.desk, [ASSET])).assets[0]
    assert (book.in_flight, book.exposure, book.open_issuance) == (0, 100 * SHARE, 0)
    ledgers = {chain.chain: chain.ledger for chain in book.chains}
    assert ledgers == {
        Domain.ETHEREUM: 60 * SHARE,
        Domain.BNB: 40 * SHARE,
        Domain.MANTLE: 0,
    }
    assert await world.halts() == []
    assert (await world.sign(message)).refusals[0].reason == "ALREADY_EXECUTED"


async def test_review__same_claim_again__same_verdict() -> None:
    world = World()
    await world.funded()
    tx = world.burn()
    world.mine()
    await world.scan()
    first = await world.review(world.claim(tx))
    second = await world.review(world.claim(tx))
    assert first == second
    assert first[0].outcome is Outcome.GRANTED
    assert first[0].transfer_id == id_of(world.claim(tx).message)

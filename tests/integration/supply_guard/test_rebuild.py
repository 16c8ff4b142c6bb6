"""A lost guard's books from the chains and the papers alone, and a guard restored from a backup.

A rebuilt database ends in the same ledger hash as the lost one; a single fact that is missing
shows. A restored one knows less than the chains: it signs nothing until it has caught up and one
permit lifetime has passed everywhere, and what it had released before is never released again.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.audit import journals
from tests.engines import Database as OneDatabase
from tests.engines import Databases
from tests.integration.supply_guard.conftest import GuardDatabase, prepare
from tests.services.supply_guard import inventory
from tests.services.supply_guard.collateral import (
    attested,
    audited,
    book,
    live_before,
    opening_of,
    paper_of,
    world_of,
)
from tests.services.supply_guard.world import (
    ASSET,
    ATTESTOR,
    CHAINS,
    SHARE,
    STRANGER,
    World,
)
from xstock_chains.ports import ChainReader, Cursor, Page
from xstock_core.ids import Domain
from xstock_core.message import TransferMessage
from xstock_core.observation import BurnFinal, SupplyMoved, by_id
from xstock_core.signing import PERMIT_SECONDS_MAX
from xstock_runtime.errors import Fatal
from xstock_supply_guard.entrypoints.rebuilding import LATER, Imported, fill, import_papers
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.halting import excess
from xstock_supply_guard.handlers.origin import begin
from xstock_supply_guard.handlers.prove import LedgerHash, ledger_hash
from xstock_supply_guard.handlers.rebuild import begin_rebuild, replay
from xstock_supply_guard.model import Outcome, SubmittedClaim


async def other_database(databases: Databases, source: OneDatabase | None = None) -> GuardDatabase:
    """Another database of this guard: empty, or restored from a backup of `source` as it is now."""
    if source is None:
        return GuardDatabase(await databases.copy_of("supply-guard", prepare), [])
    name = f"{source.name}_restored"
    await source.server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source.name}"')
    return GuardDatabase(replace(source, name=name), [])


async def rebuilt(world: World, guard: GuardDatabase, export: Path | None) -> LedgerHash:
    """The same guard over the same chains, rebuilt into this database."""
    world.store = (await guard.open("rebuilt")).store
    world.desk = world.new_desk()
    await begin_rebuild(world.desk)
    _, papers = await fill(world.desk, world.readers, export)
    assert papers.refused == []
    return await ledger_hash(world.desk)


async def test_rebuild__from_chains_and_papers__same_ledger_hash_and_books(
    guard_database: GuardDatabase, databases: Databases, tmp_path: Path
) -> None:
    """Nothing but the guard's own providers and what people signed."""
    world = World(store=(await guard_database.open()).store)
    await journals.history(world)
    await world.outcome(world.order(2, 3 * SHARE))
    export = await journals.export(world, tmp_path / "lost.jsonl")
    lost = await ledger_hash(world.desk)
    books = (await read_books(world.desk, [ASSET])).assets[0]
    assert lost.entries >= 5
    guard = await other_database(databases)
    found = await rebuilt(world, guard, export)
    assert (found.digest, found.entries) == (lost.digest, lost.entries)
    again = (await read_books(world.desk, [ASSET])).assets[0]
    assert replace(again, chains=()) == replace(books, chains=())
    assert [one.ledger for one in again.chains] == [one.ledger for one in books.chains]
    assert await world.halts() == []


async def test_rebuild__issuance_that_only_inventory_allowed__same_ledger_hash(
    guard_database: GuardDatabase, databases: Databases, tmp_path: Path
) -> None:
    """Nobody has read any inventory while the chains are replayed: what they decided stands."""
    world = await inventory.ready((await guard_database.open()).store)
    order = world.order(2, 50 * SHARE, destination=Domain.MANTLE)
    assert (await world.review(order))[0].outcome is Outcome.GRANTED
    await world.release([order.message])
    await inventory.bridged(world)
    await world.scan()
    lost, books = await ledger_hash(world.desk), await inventory.books(world)
    export = await journals.export(world, tmp_path / "lost.jsonl")
    config = world.desk.config
    world.store = (await (await other_database(databases)).open("rebuilt")).store
    world.desk = world.new_desk()
    world.desk.config = config
    await begin_rebuild(world.desk)
    _, papers = await fill(world.desk, world.readers, export)
    assert papers.refused == []
    assert (await ledger_hash(world.desk)).digest == lost.digest
    await audited(world)
    again = await inventory.books(world)
    assert (again.exposure, again.cap, again.excluded) == (150 * SHARE, 50 * SHARE, 100 * SHARE)
    assert (books.exposure, books.cap, books.excluded) == (150 * SHARE, 50 * SHARE, 100 * SHARE)
    assert await world.halts() == []


async def known_mints(world: World) -> None:
    """What the token's holders had before the bridge was its minter is no mint outside of it."""
    page = await world.readers[Domain.ETHEREUM].read_page(Cursor(Domain.ETHEREUM), limit=1000)
    mints = [one for one in page.observations if isinstance(one, SupplyMoved)]
    assert mints, "nothing was there before: this test proves nothing"
    async with world.store.write() as unit:
        await unit.add_observations(by_id(mints))


@pytest.mark.parametrize("openings_first", [True, False])
async def test_rebuild__an_asset_live_before_the_bridge__opens_before_its_chains_are_read(
    guard_database: GuardDatabase, databases: Databases, tmp_path: Path, openings_first: bool
) -> None:
    """INV-05: an issuance replayed on one chain begins the books, and the burn of an old holder
    on the next would be money from nowhere. Defence removed: papers after chains halt."""
    world = world_of((await guard_database.open()).store)
    await live_before(world)
    await attested(world, paper_of(world))
    await audited(world)
    await book(world, opening_of(world))
    order = world.order(1, 10 * SHARE, destination=Domain.BNB)
    await world.outcome(order)
    await world.release([order.message])
    world.burn(20 * SHARE)
    await audited(world)
    lost = await ledger_hash(world.desk)
    assert await world.halts() == []
    export = await journals.export(world, tmp_path / "lost.jsonl")
    world.readers = dict(sorted(world.readers.items(), reverse=True))
    config = world.desk.config
    world.store = (await (await other_database(databases)).open("rebuilt")).store
    world.desk = world.new_desk()
    world.desk.config = config
    await known_mints(world)
    await begin_rebuild(world.desk)
    if not openings_first:
        await replay(world.desk, world.readers)
        await import_papers(world.desk, export, LATER, Imported())
        assert any("INV-05" in reason for reason in await world.halts())
        return
    _, papers = await fill(world.desk, world.readers, export)
    assert (papers.refused, await world.halts()) == ([], [])
    assert (await ledger_hash(world.desk)).digest == lost.digest
    await audited(world)
    async with world.store.read() as books:
        shown = {one.chain: excess(one) for one in await books.readings([ASSET])}
    assert (shown, await world.halts()) == (dict.fromkeys(CHAINS, 0), [])


class Forgetful:
    """A reader that leaves out the first burn it is shown."""

    def __init__(self, inner: ChainReader) -> None:
        self._inner = inner
        self._left_out = False

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """The page without one burn."""
        page = await self._inner.read_page(after, limit=limit)
        burns = [one for one in page.observations if isinstance(one, BurnFinal)]
        if not burns or self._left_out:
            return page
        self._left_out = True
        kept = tuple(one for one in page.observations if one is not burns[0])
        return replace(page, observations=kept)


async def test_rebuild__one_observation_missing__the_hash_differs(
    guard_database: GuardDatabase, databases: Databases, tmp_path: Path
) -> None:
    """The comparison is worth something: a single burn that was not read shows."""
    world = World(store=(await guard_database.open()).store)
    await journals.history(world)
    lost = await ledger_hash(world.desk)
    export = await journals.export(world, tmp_path / "lost.jsonl")
    world.readers = {
        **world.readers,
        Domain.ETHEREUM: Forgetful(world.readers[Domain.ETHEREUM]),  # type: ignore[dict-item]
    }
    found = await rebuilt(world, await other_database(databases), export)
    assert found.digest != lost.digest
    assert found.entries == lost.entries - 1


async def test_rebuild__database_that_holds_anything__is_refused(
    guard_database: GuardDatabase,
) -> None:
    world = World(store=(await guard_database.open()).store)
    await world.funded()
    with pytest.raises(Fatal, match="NOT_EMPTY"):
        await begin_rebuild(world.desk)


async def test_rebuild__papers_of_a_stranger__are_left_out_and_told(
    guard_database: GuardDatabase, databases: Databases, tmp_path: Path
) -> None:
    """An export proves nothing by itself; every paper is believed by its signature."""
    world = World(store=(await guard_database.open()).store)
    await world.funded(held=1000 * SHARE)
    export = await journals.export(world, tmp_path / "lost.jsonl")
    documents = journals.read(export)
    for one in documents[1:]:
        one["lines"] = [
            line.replace(f"keys={ATTESTOR.key_id}", f"keys={STRANGER.key_id}")
            for line in one["lines"]
        ]
    journals.write(export, documents)
    world.store = (await (await other_database(databases)).open("rebuilt")).store
    world.desk = world.new_desk()
    await begin_rebuild(world.desk)
    _, done = await fill(world.desk, world.readers, export)
    assert len(done.refused) >= 1
    assert (await read_books(world.desk, [ASSET])).assets[0].cap == 0


async def caught_up(world: World, guard: GuardDatabase) -> None:
    """A process over a restored database, having read every chain to its head."""
    world.store = (await guard.open("restored", lease=False)).store
    world.desk = world.new_desk()
    await begin(world.desk)
    await world.scan()


async def sign_all(world: World, messages: Sequence[TransferMessage]) -> list[str]:
    """What the guard says to each: SIGNED, or the reason."""
    said = []
    for message in messages:
        answer = await world.sign(message)
        said.append("SIGNED" if answer.signature else answer.refusals[0].reason)
    return said


async def test_restore__backup_older_than_its_permits__signs_nothing_for_a_permits_lifetime(
    guard_database: GuardDatabase, databases: Databases
) -> None:
    """F47: restored, caught up, green; two live permits it has forgotten; 0 duplicates."""
    opened = await guard_database.open()
    world = World(store=opened.store)
    await world.funded()
    await opened.database.close()
    guard_database.opened.clear()
    restored = await other_database(databases, guard_database.database)
    world.store = (await guard_database.open("first")).store
    world.desk = world.new_desk()
    await begin(world.desk)
    await world.scan()
    released, waiting = await world.granted(SHARE), await world.granted(2 * SHARE)
    assert await sign_all(world, [released, waiting]) == ["SIGNED", "SIGNED"]
    await world.release([released])
    world.mine()
    await caught_up(world, restored)
    for message in released, waiting:
        await world.review(claim_again(world, message))
    said = await sign_all(world, [waiting])
    assert said == ["SIGNING_DISABLED"]
    assert (await read_books(world.desk, [ASSET])).not_signing_reason.startswith("the database is")
    await world.clock.advance(PERMIT_SECONDS_MAX + 60)
    world.mine(4)
    await world.scan()
    await world.attest(1000 * SHARE, sequence=2)
    assert await sign_all(world, [waiting]) == ["SIGNED"]
    assert await sign_all(world, [released]) != ["SIGNED"]
    assert sum(executions(world, domain, released) for domain in CHAINS) == 1
    await restored.opened[0].database.close()
    await guard_database.database.server.drop_database(restored.database.name)


def executions(world: World, domain: Domain, message: TransferMessage) -> int:
    """How often a chain has executed this message's key."""
    chain = world.chains[domain]
    count = 0
    for number in range(chain.head.number + 1):
        block = chain.block(number)
        for one in block.observations if block else ():
            count += getattr(one, "nonce", None) == message.nonce and hasattr(one, "recipient")
    return count


async def test_restore__replay_of_everything__books_nothing_twice(
    guard_database: GuardDatabase, databases: Databases
) -> None:
    """F47, F48: a restored guard reads what it had and what it lost; the same ledger comes out."""
    opened = await guard_database.open()
    world = World(store=opened.store)
    await world.funded()
    before = await world.granted(SHARE)
    await opened.database.close()
    guard_database.opened.clear()
    restored = await other_database(databases, guard_database.database)
    world.store = (await guard_database.open("first")).store
    world.desk = world.new_desk()
    await world.scan()
    await world.release([before])
    world.mine()
    await world.scan()
    true = await ledger_hash(world.desk)
    await caught_up(world, restored)
    assert (await ledger_hash(world.desk)).digest == true.digest
    assert await world.outcome(claim_again(world, before)) == (Outcome.GRANTED, "")
    assert await sign_all(world, [before]) in (["ALREADY_EXECUTED"], ["SIGNING_DISABLED"])
    await world.scan()
    assert (await ledger_hash(world.desk)).digest == true.digest
    await restored.opened[0].database.close()
    await guard_database.database.server.drop_database(restored.database.name)


def claim_again(world: World, message: TransferMessage) -> SubmittedClaim:
    """The claim of a message that somebody makes once more."""
    return replace(world.order(9, SHARE), message=message, order=None)

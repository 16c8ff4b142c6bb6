"""Words that a database cannot take, said by those who would gain from a guard that stumbles.

A provider's error is kept as evidence in the same transaction that holds its chain: a text that
PostgreSQL refuses would take the hold with it. People's reasons go through the same doors.
"""

import pytest

from tests.integration.supply_guard.conftest import GuardDatabase
from tests.services.supply_guard.world import ASSET, SHARE, World
from xstock_chains.fake import FakeReader
from xstock_chains.ports import Cursor, Page
from xstock_chains.quorum import Quorum
from xstock_core.ids import Domain
from xstock_runtime.errors import Fatal, InvalidMessage, ServiceError
from xstock_supply_guard.handlers import scan
from xstock_supply_guard.handlers.halting import halt
from xstock_supply_guard.handlers.scan import Trouble

NASTY = ["nul \0 byte", "lone surrogate \ud800", "line\nbreak", "%00", "x" * 100_000]


class Speaker(FakeReader):
    """A provider that fails with the words it was given."""

    error: ServiceError

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """No page."""
        raise self.error


def speaking(world: World, error: ServiceError, liars: int) -> None:
    """The first providers of Ethereum fail with this."""
    nodes = world.nodes[Domain.ETHEREUM]
    readers = [FakeReader(node) for node in nodes]
    for at in range(liars):
        speaker = Speaker(nodes[at])
        speaker.error = error
        readers[at] = speaker
    world.readers[Domain.ETHEREUM] = Quorum(readers, 2, clock=world.clock)


@pytest.mark.parametrize("words", NASTY, ids=["nul", "surrogate", "line", "percent", "long"])
async def test_provider__says_what_no_database_takes__its_chain_is_held_all_the_same(
    guard_database: GuardDatabase, words: str
) -> None:
    """F37, F01: nothing is signed on the word of a chain whose providers cannot be believed."""
    world = World(store=(await guard_database.open()).store)
    await world.funded()
    message = await world.granted()
    for error, liars in (InvalidMessage("RPC_MALFORMED", words), 2), (Fatal("WRONG", words), 1):
        speaking(world, error, liars)
        (held,) = await world.scan(Domain.ETHEREUM)
        assert isinstance(held, Trouble)
        refusals = (await world.sign(message)).refusals
        assert [one.reason for one in refusals] == ["SOURCE_DISSENT"]
    speaking(world, InvalidMessage("RPC_MALFORMED", words), 0)
    await world.scan(Domain.ETHEREUM)
    assert (await world.sign(message)).signature
    speaking(world, Fatal("WRONG", words), 2)
    await world.scan(Domain.ETHEREUM)
    assert [one.split(":")[0] for one in await world.halts()] == ["INV-10"]


@pytest.mark.parametrize("words", [*NASTY[:1], NASTY[4], "", " "])
async def test_person__gives_a_reason_that_cannot_be_kept__is_told_so(
    guard_database: GuardDatabase, words: str
) -> None:
    """F57: refused by its field, and nothing is latched half."""
    world = World(store=(await guard_database.open()).store)
    await world.funded(SHARE)
    with pytest.raises(InvalidMessage, match="reason"):
        await halt(world.desk, asset=ASSET, chain=None, reason=words, by="agent", request_id="r")
    assert await world.halts() == []


async def test_providers_words__kept_as_they_are__the_hold_is_lost_with_them(
    guard_database: GuardDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F37 with the defence taken out: one byte of a liar's keeps the guard signing."""
    world = World(store=(await guard_database.open()).store)
    await world.funded()
    message = await world.granted()
    monkeypatch.setattr(scan, "_kept", str)
    speaking(world, InvalidMessage("RPC_MALFORMED", NASTY[0]), 2)
    with pytest.raises(Exception, match="0x00"):
        await world.scan(Domain.ETHEREUM)
    assert (await world.sign(message)).signature

"""Rebuilding a lost guard: the chains, read again from the first block, fill an empty database.

Chains carry the truth, so a guard's books can be made again from nothing but its own providers
and the papers that people signed. What it decided itself is gone on purpose: it grants anew, and
signs only after one permit lifetime, because it cannot know what it had signed (F47). Openings
come before the chains and the other papers after them, re-verified by their signatures as if they
had just been handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xstock_chains.ports import ChainReader
from xstock_core.ids import Domain
from xstock_runtime.errors import Fatal, Transient
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.origin import begin
from xstock_supply_guard.handlers.post import Booked
from xstock_supply_guard.handlers.scan import scan_step


@dataclass(frozen=True, slots=True)
class Replayed:
    """One chain, read from its beginning to its final head."""

    chain: Domain
    observations: int
    through: int


async def begin_rebuild(desk: Desk) -> None:
    """Take the empty database; raises Fatal NOT_EMPTY for one that holds anything."""
    async with desk.store.read() as books:
        head = await books.journal_head()
        scans = await books.scans()
    if head.sequence or scans:
        raise Fatal(
            "NOT_EMPTY",
            f"the database holds {head.sequence} journal links and {len(scans)} scans; a rebuild "
            "begins in an empty one: create a new database and run the migrations",
            {"links": head.sequence},
        )
    await begin(desk)


async def replay_chain(desk: Desk, chain: Domain, reader: ChainReader) -> Replayed:
    """Read one chain to its final head.

    Raises Transient while providers are silent (call again: it goes on where it stopped), Fatal
    UNBELIEVED when they contradict each other.
    """
    seen = 0
    while True:
        done = await scan_step(desk, chain, reader)
        if not isinstance(done, Booked):
            raise Fatal("UNBELIEVED", f"chain {int(chain)}: {done.detail}", {"code": done.code})
        seen += done.new
        if not done.more:
            return Replayed(chain, seen, done.through.number)


async def replay(desk: Desk, readers: Mapping[Domain, ChainReader]) -> list[Replayed]:
    """Every chain, and once more what came meanwhile; raises as `replay_chain`.

    Silence is waited for: a rebuild has time.
    """
    found = []
    for chain, reader in readers.items():
        while True:
            try:
                found.append(await replay_chain(desk, chain, reader))
                break
            except Transient:
                await desk.clock.sleep(1)
    return found

"""What every WatcherStore must do; each backend runs all of it with its own `store` fixture."""

import asyncio

import pytest

from tests.builders import a_block, a_burn, a_message, a_place, a_release
from xstock_chains.ports import Cursor, Page
from xstock_core.ids import Domain
from xstock_core.observation import BurnFinal, Observation
from xstock_runtime.errors import Ambiguous, Fatal
from xstock_watcher.ports import Position, WatcherStore

CHAIN = Domain.ETHEREUM
START = Cursor(CHAIN)


def burn(counter: int) -> BurnFinal:
    """The burn with this counter, in a block of its own."""
    message = a_message(counter=counter)
    return a_burn(message, counter=counter, place=a_place(CHAIN, 100 + counter))


def page(text: str, *observations: Observation, number: int = 100) -> Page:
    """A page that ends at the cursor with this text."""
    block = a_block(CHAIN, number)
    head = a_block(CHAIN, number + 5)
    return Page(observations, Cursor(CHAIN, text), block, head, more=False)


class WatcherStoreContract:
    """One suite, many backends."""

    async def test_store__empty__begins_at_the_beginning(self, store: WatcherStore) -> None:
        assert await store.position() == Position(START, None, None, 0)
        assert await store.list_after(0, 10) == []
        assert await store.halt() is None

    async def test_store__page_kept__position_and_observations_agree(
        self, store: WatcherStore
    ) -> None:
        assert await store.save_page(START, page("a", burn(1), burn(2))) == 2
        assert await store.save_page(Cursor(CHAIN, "a"), page("b", burn(3), number=103)) == 1
        expected = Position(Cursor(CHAIN, "b"), a_block(CHAIN, 103), a_block(CHAIN, 108), 3)
        assert await store.position() == expected
        kept = await store.list_after(0, 10)
        assert [n.sequence for n in kept] == [1, 2, 3]
        assert [n.observation for n in kept] == [burn(1), burn(2), burn(3)]
        assert await store.list_after(1, 1) == kept[1:2]
        assert await store.list_of(burn(2).place.tx) == kept[1:2]
        assert await store.list_of(burn(9).place.tx) == []

    async def test_store__known_observation_again__takes_no_number(
        self, store: WatcherStore
    ) -> None:
        await store.save_page(START, page("a", burn(1)))
        again = page("b", burn(1), burn(2), burn(2), number=101)
        assert await store.save_page(Cursor(CHAIN, "a"), again) == 1
        assert [n.sequence for n in await store.list_after(0, 10)] == [1, 2]
        assert (await store.position()).sequence == 2

    async def test_store__other_kinds__come_back_equal(self, store: WatcherStore) -> None:
        release = a_release(
            a_message(source=Domain.BNB), destination=CHAIN, place=a_place(CHAIN, 100, 3)
        )
        await store.save_page(START, page("a", release))
        assert [n.observation for n in await store.list_after(0, 10)] == [release]

    async def test_store__cursor_moved__refuses_the_page_whole(self, store: WatcherStore) -> None:
        await store.save_page(START, page("a", burn(1)))
        before = await store.position()
        with pytest.raises(Ambiguous, match="CURSOR_MOVED"):
            await store.save_page(START, page("z", burn(2), burn(3)))
        assert await store.position() == before
        assert len(await store.list_after(0, 10)) == 1

    async def test_store__two_instances_at_once__one_page_is_kept(
        self, store: WatcherStore
    ) -> None:
        await store.save_page(START, page("a", burn(1)))
        tries = (store.save_page(Cursor(CHAIN, "a"), page("b", burn(2))) for _ in range(5))
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sorted(r for r in results if isinstance(r, int)) == [1]
        refused = [r for r in results if isinstance(r, Ambiguous)]
        assert [r.code for r in refused] == ["CURSOR_MOVED"] * 4
        assert [n.sequence for n in await store.list_after(0, 10)] == [1, 2]

    async def test_store__halt__latched_once_and_cleared_by_two_names(
        self, store: WatcherStore
    ) -> None:
        latched = await asyncio.gather(*(store.latch_halt("CODE", f"n{n}", n) for n in range(4)))
        assert len(set(latched)) == 1
        halt = latched[0]
        assert await store.halt() == halt
        assert not await store.approve_clearing(halt.id, "Ann", 2)
        assert not await store.approve_clearing(halt.id, " ANN", 2)
        standing = await store.halt()
        assert standing is not None
        assert standing.approvals == ("ann",)
        assert await store.approve_clearing(halt.id, "Ben", 2)
        assert await store.halt() is None
        assert (await store.latch_halt("AGAIN", "", 9)).id != halt.id

    async def test_store__halted__keeps_no_page(self, store: WatcherStore) -> None:
        await store.save_page(START, page("a", burn(1)))
        before = await store.position()
        halt = await store.latch_halt("CODE", "why", 1)
        with pytest.raises(Fatal, match="WATCHER_HALTED"):
            await store.save_page(Cursor(CHAIN, "a"), page("b", burn(2)))
        assert await store.position() == before
        await store.approve_clearing(halt.id, "ann", 2)
        await store.approve_clearing(halt.id, "ben", 2)
        assert await store.save_page(Cursor(CHAIN, "a"), page("b", burn(2))) == 1

    @pytest.mark.parametrize("halt", ["", "x", "99", "1; DROP"])
    async def test_store__approval_of_another_halt__refused(
        self, store: WatcherStore, halt: str
    ) -> None:
        await store.latch_halt("CODE", "why", 1)
        with pytest.raises(Fatal, match="NO_SUCH_HALT"):
            await store.approve_clearing(halt, "ann", 2)

    @pytest.mark.parametrize("name", ["", "  ", "a\nb;", "x" * 65])
    async def test_store__approver_without_a_name__refused(
        self, store: WatcherStore, name: str
    ) -> None:
        halt = await store.latch_halt("CODE", "why", 1)
        with pytest.raises(Fatal, match="BAD_APPROVER"):
            await store.approve_clearing(halt.id, name, 2)

"""What every GatewayStore must do; each backend runs all of it with its own `store` fixture."""

import asyncio

import pytest

from tests.builders import SHARE, TSLAX, an_address
from tests.services.gateway.facts import burn_tx, covered, final, said, seen, transfer
from xstock_chains.ports import CheckResult, UnsignedBurn
from xstock_core.amount import Shares
from xstock_core.ids import Domain
from xstock_gateway.ports import BuiltBurn, GatewayStore, ViewFilter
from xstock_gateway.view import Change, Fact, TransferView, merge
from xstock_runtime.errors import Ambiguous


def changed(view: TransferView | None, fact: Fact, now_ms: int = 10_000) -> Change:
    """The change that a fact makes; there must be one."""
    change = merge(view, fact, now_ms)
    assert change is not None
    return change


async def filled(store: GatewayStore, count: int, *, at_ms: int = 10_000) -> list[TransferView]:
    """This many open transfers, each with one line at its own millisecond."""
    changes = [changed(None, final(n), at_ms + n) for n in range(1, count + 1)]
    await store.save(changes)
    return [change.view for change in changes]


def a_built(request_id: str = "r-1", expires: int = 100, amount: int = SHARE) -> BuiltBurn:
    """A burn as it is kept."""
    return BuiltBurn(
        request_id=request_id,
        content=b"c" * 32,
        burn=UnsignedBurn(Domain.ETHEREUM, '{"family":"evm"}', ("burns",), expires),
        checks=(CheckResult("balance", passed=True, expected="1", found="2"),),
        shares=Shares(amount),
        displayed="1",
    )


class GatewayStoreContract:
    """One suite, many backends."""

    async def test_store__what_was_saved__comes_back_equal(self, store: GatewayStore) -> None:
        first = changed(None, seen(1))
        second = changed(first.view, final(1))
        third = changed(second.view, said(1, 3))
        assert await store.save([first, second, third]) == 3
        assert await store.views([transfer(1), transfer(2)]) == {transfer(1): third.view}
        lines = await store.journal_after(0, 10)
        assert [line.change for line in lines] == [first, second, third]
        assert [line.sequence for line in lines] == [1, 2, 3]
        assert await store.journal_after(2, 10) == lines[2:]
        assert await store.journal_after(0, 2) == lines[:2]

    async def test_store__nothing_saved__is_an_empty_journal(self, store: GatewayStore) -> None:
        assert await store.save([]) == 0
        assert await store.journal_bounds() == (1, 0, 0)
        assert await store.journal_at(5) == 0
        assert await store.journal_after(0, 5) == []
        assert await store.forget_before(10**12) == 0

    async def test_store__view_changed_meanwhile__refuses_the_whole_page(
        self, store: GatewayStore
    ) -> None:
        first = changed(None, seen(1))
        await store.save([first])
        stale = [changed(None, final(2)), changed(None, final(1))]
        with pytest.raises(Ambiguous, match="VIEW_MOVED"):
            await store.save(stale)
        assert await store.views([transfer(2)]) == {}
        assert await store.journal_bounds() == (1, 10_000, 1)

    async def test_store__many_writers_at_once__sequences_are_dense_and_in_order(
        self, store: GatewayStore
    ) -> None:
        await asyncio.gather(*(store.save([changed(None, final(n))]) for n in range(1, 21)))
        lines = await store.journal_after(0, 100)
        assert [line.sequence for line in lines] == list(range(1, 21))
        assert {line.change.view.transfer_id for line in lines} == {
            transfer(n) for n in range(1, 21)
        }

    async def test_store__time_between_lines__leads_to_the_place_before_the_next(
        self, store: GatewayStore
    ) -> None:
        await filled(store, 3)
        assert await store.journal_at(0) == 0
        assert await store.journal_at(10_001) == 0
        assert await store.journal_at(10_002) == 1
        assert await store.journal_at(10_003) == 2
        assert await store.journal_at(10_004) == 3

    async def test_store__clock_stepped_back__no_line_of_the_time_or_later_is_skipped(
        self, store: GatewayStore
    ) -> None:
        """F77: the third line carries an older time than the second."""
        for n, at_ms in ((1, 100), (2, 900), (3, 200), (4, 1_000)):
            await store.save([changed(None, final(n), at_ms)])
        assert await store.journal_at(500) == 1
        assert await store.forget_before(500) == 1
        assert [line.sequence for line in await store.journal_after(0, 9)] == [2, 3, 4]

    async def test_store__forgetting__takes_a_beginning_and_leaves_the_newest(
        self, store: GatewayStore
    ) -> None:
        views = await filled(store, 3)
        assert await store.forget_before(10_002) == 1
        assert await store.journal_bounds() == (2, 10_002, 3)
        assert await store.forget_before(10**12) == 1
        assert await store.journal_bounds() == (3, 10_003, 3)
        assert await store.save([changed(views[0], said(1, 5), 20_000)]) == 4
        assert len(await store.views([view.transfer_id for view in views])) == 3

    async def test_store__open_transfers__are_listed_by_id_in_pages(
        self, store: GatewayStore
    ) -> None:
        views = await filled(store, 7)
        await store.save([changed(views[2], said(3, 5))])
        expected = sorted(v.transfer_id for v in views if v is not views[2])
        first = await store.open_views(None, 4)
        rest = await store.open_views(first[-1].transfer_id, 4)
        assert [view.transfer_id for view in (*first, *rest)] == expected
        assert await store.open_views(rest[-1].transfer_id, 4) == []

    async def test_store__many_created_in_one_millisecond__pages_miss_and_repeat_none(
        self, store: GatewayStore
    ) -> None:
        await store.save([changed(None, final(n), 10_000 + n // 4) for n in range(1, 24)])
        found: list[TransferView] = []
        place = None
        while page := await store.list_views(ViewFilter(), place, 3):
            found += page
            place = (page[-1].created_ms, page[-1].transfer_id)
        keys = [(view.created_ms, view.transfer_id) for view in found]
        assert len(keys) == 23
        assert keys == sorted(set(keys), reverse=True)

    async def test_store__every_condition__selects_what_a_stream_would(
        self, store: GatewayStore
    ) -> None:
        views = await filled(store, 12)
        views[0] = changed(views[0], said(1, 5)).view
        await store.save([changed(await self._one(store, 1), said(1, 5))])
        cases = {
            ViewFilter(): 12,
            ViewFilter(party=an_address(101)): 3,
            ViewFilter(party=an_address(201)): 2,
            ViewFilter(party=an_address(999)): 0,
            ViewFilter(asset=TSLAX): 12,
            ViewFilter(chain=Domain.BNB): 12,
            ViewFilter(chain=Domain.MANTLE): 0,
            ViewFilter(states=frozenset({"RELEASED"})): 1,
            ViewFilter(states=frozenset({"RELEASED", "FINAL"})): 12,
            ViewFilter(created_after_ms=10_005): 8,
            ViewFilter(created_before_ms=10_005): 4,
            ViewFilter(created_after_ms=10_002, created_before_ms=10_004): 2,
            ViewFilter(transfer_ids=frozenset({transfer(3), transfer(99)})): 1,
        }
        counted = {w: len(await store.list_views(w, None, 100)) for w in cases}
        assert counted == cases

    async def _one(self, store: GatewayStore, counter: int) -> TransferView:
        return (await store.views([transfer(counter)]))[transfer(counter)]

    async def test_store__transaction__leads_to_its_transfers(self, store: GatewayStore) -> None:
        await filled(store, 3)
        found = await store.views_by_tx(burn_tx(2).id)
        assert [view.transfer_id for view in found] == [transfer(2)]
        assert await store.views_by_tx(b"\x09" * 32) == []

    async def test_store__older_look_at_a_chain__never_replaces_a_newer_one(
        self, store: GatewayStore
    ) -> None:
        await store.save_coverage([covered(number=100, at_ms=50), covered(Domain.BNB, 7, 50)])
        await store.save_coverage([covered(number=90, at_ms=40)])
        await store.save_coverage([covered(Domain.BNB, 8, 60)])
        expected = [covered(number=100, at_ms=50), covered(Domain.BNB, 8, 60)]
        assert list(await store.coverage()) == expected

    async def test_store__burn_under_a_request_id__first_one_wins(
        self, store: GatewayStore
    ) -> None:
        kept = await asyncio.gather(*(store.keep_built(a_built(amount=n)) for n in range(1, 6)))
        assert len(set(kept)) == 1
        assert await store.built("r-1") == kept[0]
        assert await store.built("r-2") is None

    async def test_store__expired_burns__are_forgotten_with_the_journal(
        self, store: GatewayStore
    ) -> None:
        await store.keep_built(a_built("old", expires=100))
        await store.keep_built(a_built("new", expires=200))
        await store.forget_before(150_000)
        assert await store.built("old") is None
        assert await store.built("new") == a_built("new", expires=200)

    async def test_store__saving__wakes_whoever_listens(self, store: GatewayStore) -> None:
        listening = store.changes()
        await asyncio.wait_for(anext(listening), 5)
        waiting = asyncio.ensure_future(anext(listening))
        await asyncio.sleep(0)
        await store.save([changed(None, final(1))])
        await asyncio.wait_for(waiting, 5)

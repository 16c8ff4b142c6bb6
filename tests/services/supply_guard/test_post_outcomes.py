"""What a page of facts leaves behind, whole: entries, orders, journal lines, halts and alarms.

Pages are made by hand, so that facts may contradict each other as no chain of ours would show
them. Facts always post; what they break halts in the same link.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.builders import (
    NOW,
    a_block,
    a_burn,
    a_cancel,
    a_message,
    a_place,
    a_refund,
    a_release,
    an_address,
    an_issue,
    an_orphan,
    id_of,
)
from tests.services.supply_guard import inventory
from tests.services.supply_guard.people import lines_of
from tests.services.supply_guard.world import ASSET, OTHER, SHARE, World
from xstock_chains.ports import Cursor, Page
from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, Nonce, orphan_refund_nonce
from xstock_core.ledger import (
    entries_of,
    entry_of_issue,
    entry_of_opening,
    entry_of_redemption_paid,
    supply,
)
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import (
    BlockRef,
    Observation,
    Role,
    RoleMoved,
    SupplyMoved,
    observation_id,
)
from xstock_runtime.clock import VirtualClock
from xstock_runtime.errors import Ambiguous
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.adapters.memory import MemoryGuardStore
from xstock_supply_guard.handlers.halting import HALTED
from xstock_supply_guard.handlers.post import (
    DISSENT,
    Booked,
    advance_sequences,
    post_page,
    supply_steps,
)
from xstock_supply_guard.handlers.watching import MOVED
from xstock_supply_guard.model import (
    Alarm,
    IssueRecord,
    OrderState,
    Posted,
    RaisedAlarm,
    RedemptionRecord,
    RedemptionState,
    Scan,
    SupplyStep,
    chain_scope,
)

ETHEREUM, BNB = Domain.ETHEREUM, Domain.BNB
BURN = a_message(asset=ASSET)
REDEEM = a_message(
    asset=ASSET,
    kind=Kind.REDEEM,
    destination=Domain.CUSTODY,
    recipient=keccak256(b"account"),
    counter=3,
)


@dataclass
class Books:
    """A guard's books and the pages it is given."""

    store: MemoryGuardStore = field(default_factory=MemoryGuardStore)

    def __post_init__(self) -> None:
        self.world = World(store=self.store, clock=VirtualClock(NOW * 1000))

    @property
    def now_ms(self) -> int:
        """The guard's clock."""
        return self.world.clock.unix_ms()

    async def page(
        self,
        chain: Domain,
        *facts: Observation,
        number: int = 200,
        more: bool = False,
        began_ms: int = 0,
    ) -> Booked:
        """The next page of the chain is booked."""
        async with self.store.read() as books:
            known = (await books.scans()).get(chain, Scan(chain, Cursor(chain)))
        through = a_block(chain, number)
        page = Page(facts, Cursor(chain, f"{number}"), through, through, more)
        return await post_page(self.world.desk, known.cursor, page, began_ms=began_ms)

    async def halts(self) -> list[tuple[str, AssetId | None, Domain | None]]:
        """Every halt's reason, asset and chain."""
        async with self.store.read() as books:
            return [(one.reason, one.asset, one.chain) for one in await books.halts()]

    async def alarms(self, code: str) -> list[RaisedAlarm]:
        """The alarms of this code that stand."""
        async with self.store.read() as books:
            return [one for one in await books.alarms() if one.alarm.code == code]

    async def open(self, asset: AssetId = ASSET, shares: int = 1000 * SHARE) -> None:
        """The asset is in the books, with shares on Ethereum."""
        async with self.store.write() as unit:
            entry = entry_of_opening(asset, ETHEREUM, Shares(shares))
            await unit.post([Posted(entry, None)], [])
            await unit.journal(["drill"], self.now_ms)

    async def ordered(
        self, message: TransferMessage, state: OrderState, number: int = 1, expiry: int = NOW
    ) -> IssueRecord:
        """An order on record; reserved ones stand in the exposure."""
        record = IssueRecord(
            asset=message.asset,
            number=number,
            transfer_id=id_of(message),
            state=state,
            expiry=expiry,
            message=message,
            destination=message.destination,
        )
        async with self.store.write() as unit:
            await unit.save_issues([record])
            if state is OrderState.RESERVED:
                await unit.post([Posted(entry_of_issue(message), None)], [])
            await unit.journal(["drill"], self.now_ms)
        return record

    async def order(self, number: int = 1) -> IssueRecord | None:
        """The order of this number as it stands."""
        async with self.store.read() as books:
            return (await books.issues([(ASSET, number)])).get((ASSET, number))


def decided(lines: Sequence[str]) -> list[str]:
    """What is said besides postings and how far a chain is booked."""
    booked = ("entry ", "balance ", "through ", "drill")
    return [one for one in lines if not one.startswith(booked)]


def facts(*observed: Observation) -> list[str]:
    """The journal's lines of these facts."""
    return [f"fact id={observation_id(one).hex()} kind={type(one).__name__}" for one in observed]


async def test_page__of_everything__is_booked_told_and_journaled_in_one_link() -> None:
    books = Books()
    await books.open()
    books.world.desk.live.epochs.update({ETHEREUM: 1, BNB: 1})
    burn = a_burn(BURN)
    orphan = an_orphan(asset=ASSET, place=a_place(ETHEREUM, 101), reason="no such chain")
    gone = SupplyMoved(ASSET, -5, a_place(ETHEREUM, 102))
    role = RoleMoved(Role.GUARD_SET, an_address(8), b"\x09" * 32, a_place(ETHEREUM, 103))
    length = len(await lines_of(books.world))
    seen = await books.page(ETHEREUM, burn, orphan, gone, role, number=150)
    through = a_block(ETHEREUM, 150)
    assert seen == Booked(4, more=False, through=through, halted=(), over_cap=())
    said = (await lines_of(books.world))[length:]
    assert decided(said) == [
        f"orphan nonce={orphan.nonce.hex()} asset={ASSET.hex()} amount={SHARE}",
        f"role role=GUARD_SET subject={role.subject.hex()} holder={'09' * 32}",
        *facts(burn, orphan, gone, role),
    ]
    for fact in (burn, orphan):
        (entry,) = entries_of(fact)
        assert Posted(entry, fact.place.block) in books.store.entries
    async with books.store.read() as read:
        cursor = Cursor(ETHEREUM, "150")
        assert (await read.scans())[ETHEREUM] == Scan(ETHEREUM, cursor, through, through)
        assert (await read.journal_head()).at_ms == books.now_ms
    alarm = Alarm(
        "ORPHAN_BURN",
        "chain/1",
        f"{SHARE} of {ASSET.hex()} burned without a transfer: no such chain",
        orphan.nonce.hex(),
    )
    assert await books.alarms("ORPHAN_BURN") == [RaisedAlarm(alarm, books.now_ms)]
    (moved,) = await books.alarms(MOVED)
    assert (moved.alarm.scope, moved.at_ms) == ("chain/1", books.now_ms)
    assert books.world.desk.live.caught_up == {ETHEREUM}
    assert books.world.desk.live.epochs == {BNB: 1}
    await books.world.desk.live.rights[ETHEREUM].wait_rung(60)
    assert await books.halts() == []


async def test_page__with_another_to_follow__is_not_caught_up_and_a_role_changes_no_epoch() -> None:
    books = Books()
    books.world.desk.live.epochs[ETHEREUM] = 1
    role = RoleMoved(Role.MINTER, an_address(8), b"\x09" * 32, a_place(ETHEREUM, 103))
    seen = await books.page(ETHEREUM, role, more=True)
    assert (seen.new, seen.more) == (1, True)
    assert books.world.desk.live.caught_up == set()
    assert books.world.desk.live.epochs == {ETHEREUM: 1}
    first = RoleMoved(Role.GUARD_SET, an_address(8), b"\x09" * 32, a_place(BNB, 103))
    assert (await books.page(BNB, first)).new == 1
    assert books.world.desk.live.epochs == {ETHEREUM: 1}


async def test_page__read_from_a_cursor_that_has_moved__is_refused_by_its_chain() -> None:
    books = Books()
    await books.page(ETHEREUM, number=150)
    lines = await lines_of(books.world)
    block = a_block(ETHEREUM, 160)
    page = Page((a_burn(BURN),), Cursor(ETHEREUM, "160"), block, block, more=False)
    with pytest.raises(Ambiguous) as refused:
        await post_page(books.world.desk, Cursor(ETHEREUM), page, began_ms=0)
    assert refused.value.code == "CURSOR_MOVED"
    assert refused.value.message == "chain 1: another scan moved the cursor"
    assert await lines_of(books.world) == lines


async def test_page__that_shows_a_fact_again__books_only_what_is_new() -> None:
    books = Books()
    await books.open()
    first, second = a_burn(BURN), a_burn(a_message(asset=ASSET, counter=2))
    await books.page(ETHEREUM, first, number=150)
    length = len(await lines_of(books.world))
    assert (await books.page(ETHEREUM, first, second, number=160)).new == 1
    assert decided((await lines_of(books.world))[length:]) == facts(second)
    assert (await books.page(ETHEREUM, number=170)).new == 0
    assert await books.halts() == []


async def test_page__of_a_chain_that_could_not_be_believed__calms_that_chain_alone() -> None:
    books = Books()
    async with books.store.write() as unit:
        for chain in (ETHEREUM, BNB):
            await unit.save_scan(Scan(chain, Cursor(chain), dissent_since_ms=1))
            await unit.alarm([Alarm(DISSENT, chain_scope(chain), "two say two things")], 1)
        await unit.alarm([Alarm("ORPHAN_BURN", chain_scope(ETHEREUM), "another")], 1)
    await books.page(ETHEREUM)
    assert [one.alarm.scope for one in await books.alarms(DISSENT)] == ["chain/2"]
    assert len(await books.alarms("ORPHAN_BURN")) == 1
    async with books.store.read() as read:
        scans = await read.scans()
    assert [scans[chain].dissent_since_ms for chain in (ETHEREUM, BNB)] == [None, 1]


# --- what facts break -----------------------------------------------------------------------------

Pages = list[tuple[Domain, list[Observation]]]
RELEASE = a_release(BURN)
REFUND = a_release(a_refund(BURN))
ORPHAN = an_orphan(asset=ASSET, place=a_place(ETHEREUM, 101))
RETURN = replace(
    RELEASE,
    destination=ETHEREUM,
    source=ETHEREUM,
    nonce=orphan_refund_nonce(ORPHAN.nonce, keccak256),
    recipient=ORPHAN.owner,
    place=a_place(ETHEREUM, 105),
)
TWICE = replace(RELEASE, place=a_place(BNB, 104))
AGAIN = a_burn(BURN, place=a_place(ETHEREUM, 107))
SAME_KEY = f"key {BURN.nonce.hex()} from chain 1 was executed twice on chain 2: blocks 100 and 104"
BOTH = f"burn {id_of(BURN).hex()} was released and refunded too"
MORE = (
    f"release of {2 * SHARE} to {BURN.recipient.hex()} on chain 2 is not what "
    f"{id_of(BURN).hex()} burned"
)
CANCEL = a_cancel(BURN, place=a_place(BNB, 104))
NOBODY = Address32(b"\xff" * 32)
"""No account of an EVM chain."""

BROKEN: dict[str, tuple[Pages, str, AssetId | None, Domain | None]] = {
    "released more than was burned": (
        [(ETHEREUM, [a_burn(BURN)]), (BNB, [replace(RELEASE, amount=Shares(2 * SHARE))])],
        f"INV-03: {MORE}", ASSET, None,
    ),
    "burned less than was released before": (
        [(BNB, [replace(RELEASE, amount=Shares(2 * SHARE))]), (ETHEREUM, [a_burn(BURN)])],
        f"INV-03: {MORE}", ASSET, None,
    ),
    "released twice in two pages": (
        [(ETHEREUM, [a_burn(BURN)]), (BNB, [RELEASE]), (BNB, [TWICE])],
        f"INV-02: {SAME_KEY}", ASSET, None,
    ),
    "released twice in one page": (
        [(ETHEREUM, [a_burn(BURN)]), (BNB, [RELEASE, TWICE])],
        f"INV-02: {SAME_KEY}", ASSET, None,
    ),
    "released and cancelled": (
        [(ETHEREUM, [a_burn(BURN)]), (BNB, [RELEASE, CANCEL])],
        f"INV-02: {SAME_KEY}", ASSET, None,
    ),
    "burned twice in one page": (
        [(ETHEREUM, [a_burn(BURN), AGAIN])],
        f"INV-09: burn nonce {BURN.nonce.hex()} stands in blocks 100 and 107 of chain 1",
        None, ETHEREUM,
    ),
    "burned twice in two pages": (
        [(ETHEREUM, [a_burn(BURN)]), (ETHEREUM, [AGAIN])],
        f"INV-09: burn nonce {BURN.nonce.hex()} stands in blocks 100 and 107 of chain 1",
        None, ETHEREUM,
    ),
    "released and refunded": (
        [(ETHEREUM, [a_burn(BURN)]), (BNB, [RELEASE]), (ETHEREUM, [REFUND])],
        f"INV-02: {BOTH}", ASSET, None,
    ),
    "refunded and released": (
        [(ETHEREUM, [a_burn(BURN), REFUND]), (BNB, [RELEASE])],
        f"INV-02: {BOTH}", ASSET, None,
    ),
    "released and refunded before the burn is seen": (
        [(BNB, [RELEASE]), (ETHEREUM, [REFUND]), (ETHEREUM, [a_burn(BURN)])],
        f"INV-02: {BOTH}", ASSET, None,
    ),
    "an orphan returned to a stranger": (
        [(ETHEREUM, [ORPHAN]), (ETHEREUM, [replace(RETURN, recipient=an_address(4))])],
        f"INV-03: refund of {SHARE} to {an_address(4).hex()} on chain 1 is not what orphan "
        f"{ORPHAN.nonce.hex()} burned", ASSET, None,
    ),
    "minted outside": (
        [(ETHEREUM, [SupplyMoved(ASSET, 7, a_place(ETHEREUM, 102))])],
        "INV-16: 7 token units minted outside the bridge on chain 1 in transaction "
        f"{a_place(ETHEREUM, 102).tx.id.hex()}", ASSET, None,
    ),
    "an issuance that no order can be": (
        [(ETHEREUM, [a_release(an_issue(asset=ASSET), recipient=NOBODY)])],
        f"INV-01: issuance {an_issue(asset=ASSET).nonce.hex()} of {SHARE} on chain 1 has a nonce "
        "or recipient that no order can have", ASSET, None,
    ),
    "a chain burned more than it had": (
        [(ETHEREUM, [a_burn(replace(BURN, amount=Shares(1001 * SHARE)))])],
        "INV-05: account supply/1 is below zero", ASSET, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_facts__that_break_a_promise__post_and_halt_what_they_are_about(name: str) -> None:
    pages, reason, asset, chain = BROKEN[name]
    books = Books()
    await books.open()
    for number, (place, observed) in enumerate(pages):
        seen = await books.page(place, *observed, number=200 + number)
    expected = reason.replace("supply/1", supply(ETHEREUM).text)
    assert await books.halts() == [(expected, asset, chain)]
    assert len(seen.halted) == 1
    (told,) = await books.alarms(HALTED)
    assert (told.alarm.detail, told.at_ms) == (expected, books.now_ms)
    assert any(one.startswith(f"halt id={seen.halted[0]}") for one in await lines_of(books.world))
    observed = [one for _, many in pages for one in many]
    assert facts(*observed) == [
        one for one in await lines_of(books.world) if one.startswith("fact ")
    ]


HONEST: dict[str, Pages] = {
    "burned and released": [(ETHEREUM, [a_burn(BURN)]), (BNB, [RELEASE])],
    "released before the burn is seen": [(BNB, [RELEASE]), (ETHEREUM, [a_burn(BURN)])],
    "cancelled and refunded": [(ETHEREUM, [a_burn(BURN)]), (BNB, [CANCEL]), (ETHEREUM, [REFUND])],
    "cancelled before the burn is seen": [(BNB, [CANCEL]), (ETHEREUM, [a_burn(BURN)])],
    "cancelled and never burned": [(BNB, [CANCEL])],
    "refunded before the burn is seen": [
        (BNB, [CANCEL]),
        (ETHEREUM, [REFUND]),
        (ETHEREUM, [a_burn(BURN)]),
    ],
    "an orphan returned": [(ETHEREUM, [ORPHAN]), (ETHEREUM, [RETURN])],
}


@pytest.mark.parametrize("name", HONEST)
async def test_facts__that_belong_together__are_matched_in_any_order(name: str) -> None:
    """A whole look at the source an hour later finds nothing that has no burn."""
    books = Books()
    await books.open()
    for number, (place, observed) in enumerate(HONEST[name]):
        await books.page(place, *observed, number=200 + number)
    await books.world.clock.advance(3600)
    await books.page(ETHEREUM, number=9_000, began_ms=books.now_ms)
    async with books.store.read() as read:
        assert await read.unmatched() == []
    assert await books.halts() == []
    for fact in (one for _, observed in HONEST[name] for one in observed):
        posted = [Posted(entry, fact.place.block) for entry in entries_of(fact)]
        assert [one for one in posted if one not in books.store.entries] == []


async def test_issuance__of_a_nonce_that_is_nobodys__halts_at_once_and_waits_for_no_burn() -> None:
    """INV-01: custody burns nothing, so there is no chain that could show a burn later."""
    books = Books()
    await books.open()
    nonce = Nonce(b"\x05" * 32)
    await books.page(ETHEREUM, a_release(an_issue(asset=ASSET), nonce=nonce))
    reason = (
        f"INV-01: issuance {nonce.hex()} of {SHARE} on chain 1 has a nonce or recipient that no "
        "order can have"
    )
    assert (reason, ASSET, None) in await books.halts()
    async with books.store.read() as read:
        assert await read.unmatched() == []


async def test_release__behind_one_of_another_chain_or_a_newer_one__is_asked_about() -> None:
    """What cannot be asked about now is passed over, and hides nothing behind it."""
    books = Books()
    await books.open()
    elsewhere = a_release(a_message(asset=ASSET, source=Domain.MANTLE), place=a_place(BNB, 98))
    newer = a_release(a_message(asset=ASSET, counter=2), place=a_place(BNB, 99))
    await books.page(BNB, elsewhere, newer)
    books.world.clock.step_wall_clock(-10_000)
    await books.page(BNB, RELEASE, number=201)
    await books.page(ETHEREUM, number=8_000, began_ms=books.now_ms + 1)
    reason = f"INV-01: release {BURN.nonce.hex()} on chain 2 has no burn on chain 1"
    assert await books.halts() == [(reason, ASSET, None)]


async def test_release__without_a_burn__halts_after_a_whole_look_that_began_later() -> None:
    """INV-01: not by a look that had begun before, not by another chain's, not by half a look."""
    books = Books()
    await books.open()
    await books.page(BNB, RELEASE)
    began = books.now_ms
    await books.page(ETHEREUM, number=8_000, began_ms=began)
    await books.page(ETHEREUM, number=8_001, began_ms=began + 1, more=True)
    await books.page(BNB, number=8_002, began_ms=began + 1)
    assert await books.halts() == []
    await books.page(ETHEREUM, number=8_003, began_ms=began + 1)
    reason = f"INV-01: release {BURN.nonce.hex()} on chain 2 has no burn on chain 1"
    assert await books.halts() == [(reason, ASSET, None)]


@pytest.mark.parametrize(
    ("number", "waits", "halts"),
    [(129, 599, 0), (130, 0, 1), (129, 600, 1)],
    ids=["before both limits", "the source's time is past it", "the guard has waited"],
)
async def test_release__without_a_burn__is_asked_about_at_its_limits(
    number: int, waits: int, halts: int
) -> None:
    """Thirty seconds of clocks' slack at the source, ten minutes at this guard."""
    books = Books()
    await books.open()
    await books.page(BNB, RELEASE)
    await books.world.clock.advance(waits)
    await books.page(ETHEREUM, number=number, began_ms=books.now_ms + 1)
    assert len(await books.halts()) == halts


async def test_burn__of_what_was_before_the_opening__is_no_money_from_nowhere() -> None:
    """One asset is live and not opened, the other is open and burns too much: it alone halts."""
    books = Books()
    await books.open(OTHER, SHARE)
    other = a_burn(a_message(asset=OTHER, counter=2, amount=2 * SHARE))
    await books.page(ETHEREUM, a_burn(BURN), other)
    reason = f"INV-05: account {supply(ETHEREUM).text} is below zero"
    assert await books.halts() == [(reason, OTHER, None)]


# --- redemptions that custody's word came before --------------------------------------------------


async def closed(books: Books, state: RedemptionState, asset: AssetId = ASSET) -> None:
    """Custody's word on the redemption."""
    async with books.store.write() as unit:
        record = RedemptionRecord(id_of(REDEEM), state, bytes(32), 1, asset)
        await unit.add_redemptions([record])


async def test_redemption__paid_before_its_burn__is_closed_at_the_burns_block() -> None:
    books = Books()
    await books.open()
    await closed(books, RedemptionState.PAID)
    burn = a_burn(REDEEM)
    await books.page(ETHEREUM, burn)
    paid = Posted(entry_of_redemption_paid(REDEEM), burn.place.block)
    assert [one for one in books.store.entries if one.entry.id == paid.entry.id] == [paid]


@pytest.mark.parametrize("state", [None, *RedemptionState])
async def test_redemption__minted_back__halts_only_where_custody_has_paid_it(
    state: RedemptionState | None,
) -> None:
    """INV-02: the same shares twice, once as stock and once as tokens."""
    books = Books()
    await books.open()
    await books.page(ETHEREUM, a_burn(REDEEM))
    if state is not None:
        await closed(books, state)
    refund = a_release(a_refund(REDEEM))
    await books.page(ETHEREUM, refund, number=201)
    reason = (
        f"INV-02: redemption {id_of(REDEEM).hex()} was paid by custody and refunded on its chain"
    )
    expected = [(reason, ASSET, None)] if state is RedemptionState.PAID else []
    assert await books.halts() == expected


# --- orders ---------------------------------------------------------------------------------------

ISSUE = an_issue(asset=ASSET)
DIFFERS = f"INV-03: issuance {ISSUE.nonce.hex()} on chain 1 is not what was ordered"


async def test_order__released_as_it_was_reserved__is_executed_and_the_next_may_follow() -> None:
    books = Books()
    await books.open()
    record = await books.ordered(ISSUE, OrderState.RESERVED)
    length = len(await lines_of(books.world))
    await books.page(ETHEREUM, a_release(ISSUE))
    assert await books.order() == replace(record, state=OrderState.EXECUTED)
    assert decided((await lines_of(books.world))[length:]) == facts(a_release(ISSUE))
    async with books.store.read() as read:
        assert await read.reserved_through([ASSET]) == {ASSET: 1}
    assert await books.halts() == []


@pytest.mark.parametrize(
    "release",
    [
        a_release(ISSUE, amount=Shares(2 * SHARE)),
        a_release(ISSUE, recipient=an_address(4)),
    ],
    ids=["amount", "recipient"],
)
async def test_order__released_as_something_else__halts_the_asset(release: Observation) -> None:
    books = Books()
    await books.open()
    await books.ordered(ISSUE, OrderState.RESERVED)
    await books.page(ETHEREUM, release)
    assert (DIFFERS, ASSET, None) in await books.halts()
    assert (await books.order() or ISSUE).state is OrderState.EXECUTED  # type: ignore[union-attr]


async def test_order__released_on_another_chain_than_ordered__halts_the_asset() -> None:
    books = Books()
    await books.open()
    await books.ordered(ISSUE, OrderState.RESERVED)
    await books.page(BNB, a_release(ISSUE, destination=BNB, place=a_place(BNB)))
    assert (DIFFERS.replace("chain 1", "chain 2"), ASSET, None) in await books.halts()


@pytest.mark.parametrize("waits", [False, True], ids=["never seen", "held here"])
async def test_order__this_guard_never_granted__posts_is_told_and_closes_its_number(
    waits: bool,
) -> None:
    """The other guards granted it while this one was away, or another of the same number."""
    books = Books()
    await books.open()
    if waits:
        await books.ordered(an_issue(asset=ASSET, amount=7), OrderState.OPEN)
    length = len(await lines_of(books.world))
    await books.page(ETHEREUM, a_release(ISSUE))
    assert decided((await lines_of(books.world))[length:]) == [
        f"issue-unseen nonce={ISSUE.nonce.hex()} amount={SHARE}",
        *facts(a_release(ISSUE)),
    ]
    assert await books.order() == IssueRecord(
        asset=ASSET,
        number=1,
        transfer_id=None,
        state=OrderState.EXECUTED,
        expiry=0,
        message=None,
        destination=ETHEREUM,
    )
    assert await books.halts() == []


def by_cancel(books: Books) -> tuple[Sequence[Observation], int]:
    """The destination cancels it."""
    del books
    return [a_cancel(ISSUE)], 200


def by_expiry(books: Books) -> tuple[Sequence[Observation], int]:
    """A final block's time passes its expiry."""
    del books
    return [], 1_001


@pytest.mark.parametrize("how", [by_cancel, by_expiry])
@pytest.mark.parametrize("state", [OrderState.RESERVED, OrderState.OPEN])
async def test_order__withdrawn_or_expired__gives_back_what_it_held_and_is_voided(
    how: Callable[[Books], tuple[Sequence[Observation], int]], state: OrderState
) -> None:
    """INV-07: what was reserved returns to custody with the block that proves it."""
    books = Books()
    await books.open()
    record = await books.ordered(ISSUE, state)
    length = len(await lines_of(books.world))
    observed, number = how(books)
    await books.page(ETHEREUM, *observed, number=number)
    granted = ISSUE if state is OrderState.RESERVED else None
    assert await books.order() == replace(record, state=OrderState.VOIDED, message=granted)
    line = f"order asset={ASSET.hex()} number=1 state=VOIDED expiry={NOW} id={id_of(ISSUE).hex()}"
    assert decided((await lines_of(books.world))[length:]) == [line, *facts(*observed)]
    at = observed[0].place.block if observed else a_block(ETHEREUM, number)
    voids = [one.at for one in books.store.entries if one.entry.kind.value == "ISSUE_VOID"]
    assert voids == ([at] if granted else [])
    async with books.store.read() as read:
        balances = await read.balances([ASSET])
        assert await read.reserved_through([ASSET]) == {ASSET: 1}
    assert sum(balances.values()) == 0
    assert await books.halts() == []


async def test_order__cancelled_on_a_chain_it_was_not_ordered_for__stands_and_halts() -> None:
    """INV-07: a cancel that proves nothing is told once, and leaves the order to its expiry."""
    books = Books()
    await books.open()
    record = await books.ordered(ISSUE, OrderState.RESERVED)
    cancel = a_cancel(ISSUE, destination=BNB, place=a_place(BNB))
    await books.page(BNB, cancel)
    assert await books.order() == record
    reason = f"INV-07: transfer {id_of(ISSUE).hex()}: the release could still land"
    assert await books.halts() == [(reason, ASSET, None)]


async def test_order__at_the_very_second_of_its_expiry__stands() -> None:
    books = Books()
    await books.open()
    record = await books.ordered(ISSUE, OrderState.RESERVED)
    await books.page(ETHEREUM, number=1_000)
    assert await books.order() == record
    await books.page(BNB, number=5_000)
    assert await books.order() == record


async def test_order__released_in_the_page_that_proves_its_expiry__is_executed() -> None:
    books = Books()
    await books.open()
    await books.ordered(ISSUE, OrderState.RESERVED)
    second = an_issue(asset=ASSET, order=2)
    await books.ordered(second, OrderState.RESERVED, number=2)
    await books.page(ETHEREUM, a_release(ISSUE), number=2_000)
    states = [getattr(await books.order(number), "state", None) for number in (1, 2)]
    assert states == [OrderState.EXECUTED, OrderState.VOIDED]


@pytest.mark.parametrize("numbers", [1, 63, 64, 65, 129])
async def test_sequence__of_orders__moves_over_every_closed_number_and_stops_at_a_gap(
    numbers: int,
) -> None:
    books = Books()
    one = IssueRecord(ASSET, 1, None, OrderState.VOIDED, 0, None, ETHEREUM)
    numbered = [replace(one, number=number) for number in range(1, numbers + 1)]
    waiting = replace(one, number=numbers + 1, state=OrderState.OPEN)
    beyond = replace(one, number=numbers + 2)
    async with books.store.write() as unit:
        await unit.save_issues([*numbered, waiting, beyond])
        await advance_sequences(unit, {ASSET, OTHER})
        assert await unit.reserved_through([ASSET, OTHER]) == {ASSET: numbers}
        await unit.save_issues([replace(waiting, state=OrderState.RESERVED)])
        await advance_sequences(unit, {ASSET})
        assert await unit.reserved_through([ASSET]) == {ASSET: numbers + 2}


# --- cap and supply -------------------------------------------------------------------------------


async def test_facts__that_carry_an_asset_above_its_cap__are_named_in_the_page() -> None:
    """INV-04: others granted it; told at once, no halt, every release of the asset waits."""
    books = Books()
    await books.open(shares=1000 * SHARE)
    await books.world.attest(1001 * SHARE)
    orders = [a_release(an_issue(asset=ASSET, order=number)) for number in (1, 2, 3)]
    found = [
        await books.page(ETHEREUM, one, number=150 + number) for number, one in enumerate(orders)
    ]
    assert [one.over_cap for one in found] == [(), (ASSET,), ()]
    assert {one.halted for one in found} == {()}
    over = [one for one in await lines_of(books.world) if one.startswith("over-cap ")]
    assert over == [f"over-cap asset={ASSET.hex()} exposure={1002 * SHARE}"]
    (short,) = await books.alarms("COLLATERAL_SHORT")
    assert short.at_ms == books.now_ms


async def test_facts__above_the_cap_and_within_the_inventory_on_top__carry_nothing_above() -> None:
    """INV-04: the limit of those who look at a page is the limit of those who grant."""
    world = await inventory.ready(MemoryGuardStore(), held=100 * SHARE)
    for number, amount, over in ((2, 100, ()), (3, 1, (ASSET,))):
        await world.release([world.order(number, amount * SHARE).message])
        world.mine()
        found = [one for one in await world.scan(ETHEREUM) if isinstance(one, Booked)]
        assert found[0].over_cap == over


def test_steps__of_supply__are_the_ends_of_blocks_in_rising_order() -> None:
    """What is burned in a block is counted whatever was released in it; a decision has no block."""
    first, second = BlockRef(ETHEREUM, 0, b"\1" * 32, 5), BlockRef(ETHEREUM, 1, b"\2" * 32, 6)
    (burn,) = entries_of(a_burn(replace(BURN, amount=Shares(3))))
    opened = entry_of_opening(ASSET, ETHEREUM, Shares(100))
    added = replace(opened, amount=Shares(7))
    posted = [
        Posted(burn, second),
        Posted(added, second),
        Posted(added, first),
        Posted(opened, None),
    ]
    assert supply_steps({}, [Posted(added, first)]) == [SupplyStep(ETHEREUM, ASSET, 0, 7)]
    assert supply_steps({(ASSET, supply(ETHEREUM)): 10}, posted) == [
        SupplyStep(ETHEREUM, ASSET, 0, 117),
        SupplyStep(ETHEREUM, ASSET, 1, 121, 3),
    ]

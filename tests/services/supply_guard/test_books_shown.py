"""The books as others see them: figures, proofs, the database's origin, and who may be believed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import pytest

from tests.services.supply_guard.people import lines_of
from tests.services.supply_guard.world import (
    ASSET,
    CHAINS,
    DEPLOYMENT,
    HOLDER,
    ISSUER,
    OTHER,
    RECIPIENT,
    SHARE,
    STRANGER,
    World,
)
from xstock_chains.ports import AssetSupply, Cursor, Page
from xstock_core.amount import Shares
from xstock_core.cap import Attestation
from xstock_core.ids import Address32, AssetId, Domain, Nonce, custody_bridge, issue_nonce
from xstock_core.ledger import (
    CUSTODY,
    IN_FLIGHT,
    OPEN_ISSUANCE,
    ORPHANED,
    UNPAID_REDEMPTION,
    Account,
    EntryId,
    EntryKind,
    make_entry,
    supply,
)
from xstock_core.message import Kind, make_message
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    Observation,
    OrphanBurn,
    Place,
    ReleaseFinal,
    TxRef,
)
from xstock_core.release import ReleaseBatch
from xstock_core.signing import PERMIT_SECONDS_MAX
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient
from xstock_runtime.hashing import keccak256
from xstock_supply_guard import wire
from xstock_supply_guard.handlers import prove
from xstock_supply_guard.handlers.belief import check_page
from xstock_supply_guard.handlers.bookcheck import books_off, check_books
from xstock_supply_guard.handlers.books import read_books
from xstock_supply_guard.handlers.checking import QuorumEpoch
from xstock_supply_guard.handlers.desk import Bell, make_live
from xstock_supply_guard.handlers.lines import attestation_line
from xstock_supply_guard.handlers.origin import begin, settle_origin, waits_for_permits, why_not_yet
from xstock_supply_guard.handlers.papers import (
    issuer_address,
    order_message,
    signed_by_issuer,
    void_covers,
)
from xstock_supply_guard.handlers.prove import ledger_hash, supply_proof
from xstock_supply_guard.model import (
    FIRST_LINK,
    AttestationRecord,
    BelievedSupply,
    Halt,
    JournalHead,
    JournalLink,
    Opening,
    OpeningRecord,
    Origin,
    Posted,
    Scan,
    SignedStatement,
    next_link,
)
from xstock_wire.papers import ISSUE_VOID
from xstock_wire.v1 import papers_pb2

BNB = Domain.BNB


def block(number: int, chain: Domain = BNB, time: int = 1_000) -> BlockRef:
    """A block."""
    return BlockRef(chain, number, number.to_bytes(32, "big"), time)


# books


async def posted(world: World) -> None:
    """Every account of the asset holds another figure; some of it was never on a chain."""
    moves: Sequence[tuple[EntryKind, Account, Account, int]] = [
        (EntryKind.ISSUE_RESERVE, CUSTODY, OPEN_ISSUANCE, 100),
        (EntryKind.ISSUE_RELEASE, OPEN_ISSUANCE, supply(Domain.ETHEREUM), 90),
        (EntryKind.BURN, supply(Domain.ETHEREUM), IN_FLIGHT, 40),
        (EntryKind.RELEASE, IN_FLIGHT, supply(BNB), 33),
        (EntryKind.ORPHAN_BURN, supply(BNB), ORPHANED, 5),
        (EntryKind.REDEEM_BURN, supply(BNB), UNPAID_REDEMPTION, 3),
    ]
    async with world.store.write() as unit:
        entries = [
            Posted(make_entry(kind, ASSET, debit, credit, amount, bytes([number])), None)
            for number, (kind, debit, credit, amount) in enumerate(moves)
        ]
        await unit.post(entries, [])
        await unit.journal(["note said=x"], world.clock.unix_ms())


async def test_books__of_an_asset__are_its_accounts_figures_and_its_chains() -> None:
    world = World()
    await begin(world.desk)
    await posted(world)
    async with world.store.write() as unit:
        await unit.save_scan(Scan(BNB, Cursor(BNB), block(7)))
        await unit.save_reserved_through({ASSET: 9})
    (book,) = (await read_books(world.desk, [ASSET])).assets
    assert (book.asset, book.in_flight, book.orphaned, book.open_issuance) == (ASSET, 7, 5, 10)
    assert (book.unpaid_redemption, book.exposure, book.last_order_number) == (3, 100, 9)
    assert (book.cap, book.attestation, book.halted, book.open) == (0, None, "", True)
    assert [(c.chain, c.ledger, c.decimals, c.booked_through, c.reading) for c in book.chains] == [
        (Domain.ETHEREUM, 50, 18, None, None),
        (BNB, 25, 18, block(7), None),
        (Domain.MANTLE, 0, 18, None, None),
    ]
    every = await read_books(world.desk, [])
    assert [one.asset for one in every.assets] == [ASSET, OTHER]
    other = every.assets[1]
    assert (other.exposure, other.last_order_number, other.open) == (0, 0, False)
    assert (await read_books(world.desk, [AssetId(b"\1" * 32)])).assets == ()
    async with world.store.read() as books:
        assert every.journal == await books.journal_head()


INVENTORY_OWNERS = frozenset({RECIPIENT})
STATED = Attestation(ASSET, 1_000, 8, 10**18, 0, 3, 4, frozenset({(BNB, RECIPIENT)}))
TAKEN_OVER = OpeningRecord(ASSET, bytes(32), {BNB: Opening(40, 3)})


async def stated(world: World) -> BelievedSupply:
    """Custody states, an opening is booked, and BNB Chain shows issuer inventory of both assets."""
    config = world.desk.config
    named = replace(config.assets[ASSET], issuer_inventory={BNB: INVENTORY_OWNERS})
    policy = replace(config.policy, margin_bps=100, supply_age_seconds_max=600)
    assets = {**config.assets, ASSET: named}
    world.desk.config = replace(config, assets=assets, policy=policy)
    readings = [
        BelievedSupply(
            BNB,
            block(5, time=world.now),
            AssetSupply(asset, 60, 0, 8, 10**18, 0, False, issuer_inventory_units=units),
            60,
            owners=INVENTORY_OWNERS,
        )
        for asset, units in ((ASSET, 9), (OTHER, 8))
    ]
    statement = SignedStatement("attestation", b"", bytes(32), "custodian-1", b"")
    async with world.store.write() as unit:
        await unit.save_readings(readings)
        await unit.add_opening(TAKEN_OVER)
        await unit.add_attestation(AttestationRecord(STATED, statement))
        await unit.journal([attestation_line(STATED, 100, [statement])], world.clock.unix_ms())
    return readings[0]


async def test_books__with_attestation_opening_and_inventory__show_each_of_its_asset() -> None:
    world = World()
    reading = await stated(world)
    one, other = (await read_books(world.desk, [])).assets
    assert (one.attestation, one.cap, one.excluded, one.opening) == (STATED, 990, 9, TAKEN_OVER)
    assert [chain.reading for chain in one.chains] == [None, reading, None]
    figures = (one.in_flight, one.orphaned, one.open_issuance, one.unpaid_redemption)
    assert figures == (0, 0, 0, 0)
    assert (other.attestation, other.cap, other.excluded, other.opening) == (None, 0, 0, None)


async def test_proof__of_now__shows_readings_and_inventory_and_of_a_moment_none() -> None:
    world = World()
    reading = await stated(world)
    now = await supply_proof(world.desk, ASSET, 0)
    assert (now.attestation, now.cap) == (STATED, 990)
    shown = [(one.reading, one.excluded) for one in now.chains]
    assert shown == [(None, 0), (reading, 9), (None, 0)]
    then = await supply_proof(world.desk, ASSET, world.clock.unix_ms())
    assert (then.attestation, then.cap) == (STATED, 990)
    assert [(one.reading, one.excluded) for one in then.chains] == [(None, 0)] * 3
    other = await supply_proof(world.desk, OTHER, 0)
    assert (other.attestation, other.cap, other.in_flight) == (None, 0, 0)
    assert [one.excluded for one in other.chains] == [0, 0, 0]


async def test_books__say_why_this_guard_does_not_sign() -> None:
    world = World()
    every = await read_books(world.desk, [])
    text = "not booked up to the final head yet: ethereum, bnb, mantle"
    assert (every.signing, every.not_signing_reason) == (False, text)
    world.desk.live.caught_up.update(CHAINS)
    text = "the database is not the one noted at the start; signing waits a permit's lifetime"
    assert (await read_books(world.desk, [])).not_signing_reason == text
    await begin(world.desk)
    every = await read_books(world.desk, [])
    assert (every.signing, every.not_signing_reason) == (True, "")
    async with world.store.write() as unit:
        await unit.add_halt(Halt("c", "of a chain", "ann", 1, chain=BNB))
        await unit.add_halt(Halt("a", "of an asset", "ann", 2, asset=ASSET))
    every = await read_books(world.desk, [])
    assert (every.signing, every.not_signing_reason) == (True, "")
    assert [one.halted for one in every.assets] == ["of an asset", ""]
    async with world.store.write() as unit:
        await unit.add_halt(Halt("e", "of everything", "ann", 3))
    every = await read_books(world.desk, [OTHER])
    assert (every.signing, every.not_signing_reason) == (False, "of everything")
    assert [one.halted for one in every.assets] == ["of everything"]


# proofs


async def test_proof__of_now_and_of_a_moment__are_the_ledger_after_a_link() -> None:
    world = World()
    await begin(world.desk)
    before_ms = world.clock.unix_ms()
    await world.clock.advance(5)
    await posted(world)
    async with world.store.write() as unit:
        await unit.save_scan(Scan(BNB, Cursor(BNB), block(7)))
        await unit.save_scan(Scan(Domain.MANTLE, Cursor(Domain.MANTLE)))
    now = await supply_proof(world.desk, ASSET, 0)
    now_ms = world.clock.unix_ms()
    assert (now.guard_id, now.asset, now.as_of_ms) == ("guard-1", ASSET, now_ms)
    figures = (now.in_flight, now.orphaned, now.open_issuance, now.unpaid_redemption, now.exposure)
    assert (figures, now.cap, now.attestation) == ((7, 5, 10, 3, 100), 0, None)
    assert [(c.chain, c.ledger, c.decimals, c.booked, c.reading) for c in now.chains] == [
        (Domain.ETHEREUM, 50, 18, None, None),
        (BNB, 25, 18, block(7), None),
        (Domain.MANTLE, 0, 18, None, None),
    ]
    async with world.store.read() as books:
        assert now.head == await books.journal_head()
    then = await supply_proof(world.desk, ASSET, before_ms)
    assert (then.as_of_ms, then.head.sequence, then.exposure) == (before_ms, 1, 0)
    assert [one.booked for one in then.chains] == [None] * 3
    same = await supply_proof(world.desk, ASSET, now_ms)
    assert (same.as_of_ms, same.head, same.exposure) == (now_ms, now.head, 100)


@dataclass
class Busy:
    """Books to which a link is added between looks; says which ledger was asked for."""

    books: Any
    heads: list[JournalHead]
    ledgers: list[tuple[list[AssetId], int]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.books, name)

    async def journal_head(self) -> JournalHead:
        """Another one at each look, until they are used up."""
        return self.heads.pop(0) if len(self.heads) > 1 else self.heads[0]

    async def ledger_at(self, assets: list[AssetId], sequence: int) -> Any:
        """The ledger, noted."""
        self.ledgers.append((assets, sequence))
        return await self.books.ledger_at(assets, sequence)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        """Itself, as a store."""
        yield self


@pytest.mark.parametrize(
    ("links", "sequence", "scanned"), [(1, 1, True), (3, 3, True), (9, 6, False)]
)
async def test_proof__of_now_while_links_come__is_of_one_link_and_its_chains(
    links: int, sequence: int, scanned: bool
) -> None:
    """How far chains are booked is told only where no link came between."""
    world = World()
    async with world.store.write() as unit:
        await unit.save_scan(Scan(BNB, Cursor(BNB), block(7)))
    async with world.store.read() as books:
        busy = Busy(books, [JournalHead(number + 1, bytes(32)) for number in range(links)])
    world.desk.store = busy
    proof = await supply_proof(world.desk, ASSET, 0)
    assert proof.head == JournalHead(sequence, bytes(32))
    assert busy.ledgers == [([ASSET], sequence)]
    assert [one.booked for one in proof.chains] == [None, block(7) if scanned else None, None]


async def test_proof__of_a_strange_asset_or_a_time_to_come__is_refused() -> None:
    world = World()
    later = world.clock.unix_ms() + 1
    for asset, at_ms, name, value, remedy in (
        (AssetId(b"\1" * 32), 0, "asset", repr("01" * 32), "give a registered asset's id"),
        (ASSET, later, "at_ms", later, f"it is still to come; now is {later - 1}, 0 means now"),
    ):
        with pytest.raises(InvalidMessage) as refused:
            await supply_proof(world.desk, asset, at_ms)
        assert refused.value.code == "FIELD_INVALID"
        assert refused.value.message == f"{name}: {value} is not valid; {remedy}"


async def test_hash__of_the_ledger__is_of_chain_entries_by_id_and_their_balances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two guards that booked the same blocks have the same, whatever they decided themselves."""
    world = World()
    await posted(world)
    async with world.store.write() as unit:
        for chain in (Domain.MANTLE, BNB):
            await unit.save_scan(Scan(chain, Cursor(chain), block(7, chain)))
        await unit.save_scan(Scan(Domain.ETHEREUM, Cursor(Domain.ETHEREUM)))
        known = await unit.entries_after(sorted(EntryKind), EntryId(b""), 100)
    ids = sorted(one.id for one in known if one.kind is not EntryKind.ISSUE_RESERVE)
    digest = sha256(b"".join(ids))
    balances = {
        CUSTODY: -90,
        IN_FLIGHT: 7,
        ORPHANED: 5,
        UNPAID_REDEMPTION: 3,
        supply(Domain.ETHEREUM): 50,
        supply(BNB): 25,
    }
    for account, amount in sorted(balances.items(), key=lambda one: one[0].text):
        digest.update(f"|{ASSET.hex()} {account.text} {amount}".encode())
    found = await ledger_hash(world.desk)
    assert (found.digest, found.entries) == (digest.digest(), 5)
    assert found.through == (block(7, BNB), block(7, Domain.MANTLE))
    assert found.head.sequence == 1
    monkeypatch.setattr(prove, "HASH_PAGE", 2)
    assert await ledger_hash(world.desk) == found


# the database's origin


async def test_origin__a_fresh_key_waits_for_nothing_and_is_noted_once() -> None:
    world = World()
    origin = await begin(world.desk)
    assert origin == Origin("memory/", 0)
    assert await lines_of(world) == ["origin identity=memory/ signing_from=0"]
    await world.clock.advance(9)
    assert await begin(world.desk) == origin
    assert len(await lines_of(world)) == 1
    async with world.store.read() as books:
        assert await why_not_yet(world.desk, books) == ""


@pytest.mark.parametrize("restored", ["a new key", "a mark", "another database"])
async def test_origin__of_what_may_have_forgotten_permits__waits_a_permits_lifetime(
    restored: str,
) -> None:
    world = World()
    mark, identity = "", "memory"
    if restored == "a new key":
        world.desk.config = replace(world.desk.config, fresh_key=False)
    else:
        await begin(world.desk)
        if restored == "a mark":
            mark = "m-2"
            world.desk.config = replace(world.desk.config, restore_mark=mark)
        else:
            world.store.identity = identity = "another"  # type: ignore[attr-defined]
    await world.clock.advance(7)
    if restored != "a new key":
        async with world.store.read() as books:
            text = "the database is not the one noted at the start; signing waits"
            assert (await why_not_yet(world.desk, books)).startswith(text)
    until = world.now + PERMIT_SECONDS_MAX + world.desk.config.policy.clock_skew_seconds_max
    origin = Origin(f"{identity}/{mark}", until)
    async with world.store.write() as unit:
        assert await settle_origin(world.desk, unit) == origin
    last = (await lines_of(world))[-1]
    assert last == f"origin identity={identity}/{mark} signing_from={until}"
    async with world.store.read() as books:
        assert await books.origin() == origin
        assert (await why_not_yet(world.desk, books)).startswith("the database is new or was")


def test_origin__waits_until_each_destinations_final_time_has_passed() -> None:
    world = World()

    def waits(signing_from: int, **times: int) -> str:
        scans = {
            chain: Scan(chain, Cursor(chain), block(1, chain, times[chain.name.lower()]))
            for chain in CHAINS
            if chain.name.lower() in times
        }
        scans.setdefault(Domain.MANTLE, Scan(Domain.MANTLE, Cursor(Domain.MANTLE)))
        return waits_for_permits(world.desk, Origin("x", signing_from), scans)

    assert waits(0) == ""
    assert waits(100, ethereum=101, bnb=101, mantle=101) == ""
    text = (
        "the database is new or was restored and may have forgotten live permits; "
        "final time left until 100: "
    )
    assert waits(100, ethereum=100, bnb=101, mantle=101) == f"{text}ethereum 0 s"
    assert waits(100, ethereum=101, bnb=60, mantle=99) == f"{text}bnb 40 s, mantle 1 s"
    assert waits(100, ethereum=101) == (
        f"{text}bnb {PERMIT_SECONDS_MAX} s, mantle {PERMIT_SECONDS_MAX} s"
    )


# edited books


@dataclass
class Edited:
    """Books whose rows say something else than what was written."""

    links: list[JournalLink]
    balances: Sequence[str] = ()

    async def journal_head(self) -> JournalHead:
        """The last link."""
        last = self.links[-1]
        return JournalHead(len(self.links), last.digest, last.at_ms)

    async def journal_after(self, sequence: int, limit: int) -> Sequence[JournalLink]:
        """Links after this one."""
        return [one for one in self.links if one.sequence > sequence][:limit]

    async def balances_off(self) -> Sequence[str]:
        """What somebody edited."""
        return self.balances


def chained(count: int, head: JournalHead = FIRST_LINK, first: int = 0) -> list[JournalLink]:
    """So many links after this head, as they are written."""
    links = []
    for number in range(first, first + count):
        made = next_link(head, (f"note said={number}",), number)
        link = JournalLink(
            made.sequence, head.digest, made.digest, made.at_ms, (f"note said={number}",)
        )
        links.append(link)
        head = made
    return links


@pytest.mark.parametrize("count", [1, 2, 100, 101, 150])
async def test_books__as_they_were_written__are_not_off(count: int) -> None:
    assert await books_off(Edited(chained(count))) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [3, 101])
@pytest.mark.parametrize(
    "changes",
    [
        {"lines": ("note said=y",)},
        {"digest": b"\1" * 32},
        {"previous": b"\1" * 32},
        {"at_ms": 7_777},
        {"sequence": 9_999},
    ],
    ids=["lines", "digest", "previous", "time", "sequence"],
)
async def test_books__one_link_edited__are_off_where_it_stands(
    count: int, changes: dict[str, Any]
) -> None:
    for at in (1, count - 1) if count > 100 else range(count):
        links = chained(count)
        links[at] = replace(links[at], **changes)
        found = await books_off(Edited(links, ["balance x"]))  # type: ignore[arg-type]
        first = at + 1
        assert found == ["balance x", f"link {first} of the journal is not what was written"]


@pytest.mark.parametrize("how", ["another beginning", "another past", "a gap"])
async def test_books__links_that_each_are_whole_but_do_not_follow__are_off(how: str) -> None:
    """Whoever rewrites the journal from somewhere on makes links that fit each other."""
    links = chained(3)
    if how == "another beginning":
        links, first = chained(3, JournalHead(0, b"\1" * 32)), 1
    elif how == "another past":
        links, first = [links[0], *chained(3, first=7)[1:]], 2
    else:
        links, first = [links[0], *chained(2, JournalHead(5, links[0].digest))], 2
    found = await books_off(Edited(links))  # type: ignore[arg-type]
    assert found == [f"link {first} of the journal is not what was written"]


async def test_begin__over_edited_books__halts_everything_as_of_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def off(self: object) -> Sequence[str]:
        return ["balance of x"]

    world = World()
    async with world.store.read() as books:
        monkeypatch.setattr(type(books), "entries_off", off)
    await begin(world.desk)
    async with world.store.read() as books:
        (halt,) = await books.halts()
    assert (halt.reason, halt.at_ms) == ("BOOKS_EDITED: balance of x", world.clock.unix_ms())


async def test_books__that_were_edited__halt_everything_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def off() -> Sequence[str]:
        return ["balance of x", "balance of y"]

    async with world.store.write() as unit:
        assert await check_books(unit, 5) == ()
        monkeypatch.setattr(unit, "entries_off", off)
        (latched,) = await check_books(unit, 5)
        (halt,) = await unit.halts()
        assert await check_books(unit, 6) == ()
    said = (halt.id, halt.reason, halt.asset, halt.chain, halt.at_ms)
    assert said == (latched, "BOOKS_EDITED: balance of x", None, None, 5)
    reason = "BOOKS_EDITED:%20balance%20of%20x"
    assert await lines_of(world) == [f"halt id={latched} by=service reason={reason}"]


# believing pages


def seen(kind: str, bridge: Address32, chain: Domain = BNB, number: int = 5) -> Observation:
    """A fact on a chain."""
    place = Place(block(number, chain), TxRef(chain, b"\1" * 32), 0)
    nonce = Nonce(b"\x21" * 24 + bytes(7) + b"\x01")
    if kind == "release":
        return ReleaseFinal(chain, Domain.ETHEREUM, nonce, ASSET, RECIPIENT, Shares(1), place)
    if kind == "cancel":
        return CancelFinal(chain, Domain.ETHEREUM, nonce, ASSET, place)
    if kind == "orphan":
        return OrphanBurn(ASSET, HOLDER, Shares(1), "no memo", nonce, place)
    message = make_message(
        kind=Kind.TRANSFER,
        source=chain,
        destination=Domain.ETHEREUM,
        nonce=nonce,
        source_bridge=bridge,
        asset=ASSET,
        refund_address=HOLDER,
        recipient=RECIPIENT,
        amount=SHARE,
    )
    return BurnFinal(message, message.transfer_id(keccak256), HOLDER, 1, place)


def page(*facts: Observation, chain: Domain = BNB, through: int = 5) -> Page:
    """A page of a chain."""
    end = block(through, chain)
    return Page(facts, Cursor(chain), end, end, False)


@pytest.mark.parametrize("kind", ["burn", "release", "cancel", "orphan"])
def test_page__of_the_chain_itself__is_believed(kind: str) -> None:
    world = World()
    bridge = world.chains[BNB].config.bridge
    check_page(world.desk.config, BNB, page(seen(kind, bridge), seen(kind, bridge, number=4)))
    check_page(world.desk.config, BNB, page())


def test_page__that_cannot_be_the_chains__is_refused_with_its_first_fact() -> None:
    """F08: a sibling's burn looks like one of ours in everything but its bridge."""
    world = World()
    bridge = world.chains[BNB].config.bridge
    strange = Address32(bytes(12) + b"\x77" * 20)
    good, sibling = seen("burn", bridge), seen("burn", strange)
    late, foreign = seen("release", bridge, number=6), seen("burn", bridge, Domain.MANTLE)
    release, cancel = seen("release", bridge), seen("cancel", bridge)
    assert isinstance(release, ReleaseFinal)
    assert isinstance(cancel, CancelFinal)
    assert isinstance(good, BurnFinal)
    elsewhere = [replace(one, destination=Domain.MANTLE) for one in (release, cancel)]
    moved = replace(good, message=replace(good.message, source=Domain.MANTLE))
    unregistered = "a bridge or chain that is not registered"
    cases: list[tuple[Page, str, tuple[Observation, ...]]] = [
        (page(good, late, chain=Domain.MANTLE), "a page of chain 3", (good,)),
        (page(good, late), "block 6 of chain 2", (late,)),
        (page(foreign), "block 5 of chain 3", (foreign,)),
        (page(good, sibling), unregistered, (sibling,)),
        (page(elsewhere[0]), unregistered, (elsewhere[0],)),
        (page(elsewhere[1]), unregistered, (elsewhere[1],)),
        (page(moved), unregistered, (moved,)),
    ]
    for given, what, about in cases:
        with pytest.raises(InvalidMessage) as refused:
            check_page(world.desk.config, BNB, given)
        text = f"the page names {what}: {about!r}; compare the providers and the registry"
        assert (refused.value.code, refused.value.message) == ("PAGE_UNBELIEVABLE", text)
        assert refused.value.metadata == {"what": what}


def test_page__with_a_very_long_fact__is_told_short() -> None:
    world = World()
    orphan = seen("orphan", HOLDER, number=9)
    assert isinstance(orphan, OrphanBurn)
    with pytest.raises(InvalidMessage) as refused:
        check_page(world.desk.config, BNB, page(replace(orphan, reason="x" * 3_000)))
    assert len(refused.value.message) == 2_000


# the guard epoch by a quorum


@dataclass
class Writer:
    """A provider of a destination; an error is raised."""

    epoch: int | Exception = 1
    terms: Exception | None = None

    async def guard_epoch(self) -> int:
        """What it shows."""
        if isinstance(self.epoch, Exception):
            raise self.epoch
        return self.epoch

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """What it finds wrong."""
        assert batch == BATCH
        if self.terms is not None:
            raise self.terms


BATCH = ReleaseBatch(BNB, HOLDER, 1, 2, ())
AWAY, LOST = Transient("AWAY", "x"), Ambiguous("LOST", "y")


def quorum(*writers: Writer) -> QuorumEpoch:
    """Two of these must agree."""
    return QuorumEpoch(writers, 2)  # type: ignore[arg-type]


async def test_epoch__shown_alike_by_enough__is_in_force() -> None:
    assert await quorum(Writer(3), Writer(4), Writer(3)).guard_epoch() == 3
    assert await quorum(Writer(AWAY), Writer(4), Writer(4)).guard_epoch() == 4
    assert await quorum(Writer(ValueError("z")), Writer(4), Writer(4)).guard_epoch() == 4


async def test_epoch__that_too_few_show__is_unreadable_and_a_bug_is_a_bug() -> None:
    with pytest.raises(Transient) as unread:
        await quorum(Writer(3), Writer(4), Writer(AWAY)).guard_epoch()
    assert unread.value.code == "EPOCH_UNREADABLE"
    assert unread.value.message == "2 of 3 providers told the guard epoch, 2 must agree"
    with pytest.raises(ValueError, match="z"):
        await quorum(Writer(AWAY), Writer(ValueError("z")), Writer(4)).guard_epoch()


async def test_terms__enough_find_nothing_wrong__or_they_are_unknown_or_never_right() -> None:
    bad = Writer(terms=InvalidMessage("BAD", "never"))
    await quorum(Writer(), Writer(), Writer(terms=AWAY)).check_terms(BATCH)
    for failed in (AWAY, LOST):
        with pytest.raises(Transient) as unknown:
            await quorum(Writer(), Writer(terms=failed), Writer(terms=AWAY)).check_terms(BATCH)
        assert unknown.value.code == "TERMS_UNKNOWN"
        assert unknown.value.message == (
            f"1 of 3 providers confirm the permit's terms, 2 must: {failed}"
        )
    with pytest.raises(InvalidMessage, match="never"):
        await quorum(Writer(), Writer(), bad).check_terms(BATCH)
    with pytest.raises(Transient) as unknown:
        await quorum(Writer()).check_terms(BATCH)
    said = "1 of 1 providers confirm the permit's terms, 2 must: "
    assert unknown.value.message == said


# bells


async def test_bell__rings_once_and_waiters_go_on_at_the_next_look() -> None:
    world = World()
    bell = Bell(world.clock)
    began = world.clock.monotonic()
    bell.ring()
    await bell.wait_rung(5)
    assert world.clock.monotonic() == began
    for wait in (bell.wait_rung(5), bell.wait_passed(5)):
        waiting = asyncio.ensure_future(wait)
        await asyncio.sleep(0)
        await world.clock.advance(4)
        await asyncio.sleep(0)
        assert not waiting.done()
        await world.clock.advance(1)
        await asyncio.wait_for(waiting, 1)
    for wait, wake in ((bell.wait_rung(5), bell.ring), (bell.wait_passed(5), bell.passed)):
        waiting = asyncio.ensure_future(wait)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        wake()
        await asyncio.wait_for(waiting, 1)
    assert world.clock.monotonic() == began + 10


@pytest.mark.parametrize("rung", [True, False], ids=["by the bell", "by time"])
async def test_bell__whose_waiting_is_over__leaves_nobody_waiting(rung: bool) -> None:
    """A guard waits for years: a sleeper or a listener left behind each time would pile up."""
    world = World()
    bell = Bell(world.clock)
    others = asyncio.all_tasks()
    waiting = asyncio.ensure_future(bell.wait_passed(5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - others > {waiting}
    if rung:
        bell.passed()
    else:
        await world.clock.advance(5)
    await asyncio.wait_for(waiting, 1)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= others


async def test_bells__of_every_chain__keep_the_guards_time() -> None:
    world = World()
    live = make_live(world.desk.config, world.clock)
    assert live.bells.keys() == live.rights.keys() == set(CHAINS)
    for bell in (*live.bells.values(), *live.rights.values()):
        waiting = asyncio.ensure_future(bell.wait_rung(5))
        await asyncio.sleep(0)
        await world.clock.advance(5)
        await asyncio.wait_for(waiting, 1)


# the issuer's papers


def test_order__means_one_message_by_a_registered_key_alone() -> None:
    world = World()
    order = world.order(7, 5 * SHARE, destination=BNB, recipient=RECIPIENT).order
    assert order is not None
    assert order_message(world.desk, order) == make_message(
        kind=Kind.ISSUE,
        source=Domain.CUSTODY,
        destination=BNB,
        nonce=issue_nonce(ASSET, 7, keccak256),
        source_bridge=custody_bridge(keccak256),
        asset=ASSET,
        refund_address=keccak256(ISSUER.public_key),
        recipient=RECIPIENT,
        amount=5 * SHARE,
    )
    assert issuer_address(b"key") == keccak256(b"key")
    unknown = replace(order.statement, key_id="nobody")
    assert order_message(world.desk, replace(order, statement=unknown)) is None
    for bad in (replace(order, amount=0), replace(order, recipient=Address32(b"\1" * 32))):
        assert order_message(world.desk, bad) is None


def test_void__covers_its_very_order_under_a_registered_issuers_signature() -> None:
    world = World()
    paper = papers_pb2.IssueVoid(asset=ASSET, order_number=7)
    void = wire.void_from_wire(ISSUER.sign(ISSUE_VOID, DEPLOYMENT, paper), DEPLOYMENT)
    assert signed_by_issuer(world.desk, void.statement)
    assert void_covers(world.desk, void, ASSET, 7)
    assert not void_covers(world.desk, void, ASSET, 8)
    assert not void_covers(world.desk, void, OTHER, 7)
    forged = wire.void_from_wire(STRANGER.sign(ISSUE_VOID, DEPLOYMENT, paper), DEPLOYMENT)
    for key_id in (STRANGER.key_id, ISSUER.key_id):
        posed = replace(forged, statement=replace(forged.statement, key_id=key_id))
        assert not signed_by_issuer(world.desk, posed.statement)
        assert not void_covers(world.desk, posed, ASSET, 7)

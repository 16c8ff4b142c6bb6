"""What a watcher keeps, tells and refuses, over the fake chain with its faults."""

import pytest

from tests.builders import SHARE, TSLAX, an_address
from tests.services.watcher.world import CHAIN, HOLDER, WatcherWorld
from xstock_chains.fake import FakeNode, FakeReader
from xstock_chains.ports import ChainReader, Progress
from xstock_chains.quorum import Quorum
from xstock_core.ids import Domain
from xstock_core.observation import TxRef
from xstock_runtime.errors import Ambiguous, Fatal, Transient
from xstock_watcher.adapters.memory import MemoryProgressBus, MemoryWatcherStore
from xstock_watcher.ports import LatchedHalt


async def test_scan__burns_become_final__each_kept_once_with_a_dense_number() -> None:
    world = WatcherWorld(page_limit=2)
    sent = []
    for _ in range(7):
        sent.append(world.burn())
        world.chain.mine()
    world.chain.mine(3)
    assert await world.scan_all() == 7
    assert await world.burns() == sent
    kept = await world.books.list_after(0, 100)
    assert [n.sequence for n in kept] == list(range(1, 8))
    assert world.published == list(kept)
    assert await world.scan_all() == 0


async def test_scan__killed_after_every_page__goes_on_where_the_store_stands() -> None:
    world = WatcherWorld(page_limit=1)
    sent = []
    for _ in range(6):
        sent.append(world.burn())
        world.chain.mine()
    world.chain.mine(3)
    while (await world.handlers.scan()).more:
        world.restart()
    assert await world.burns() == sent


async def test_scan__second_instance_is_faster__cursor_moved_is_harmless() -> None:
    world = WatcherWorld(page_limit=1)
    sent = [world.burn()]
    world.chain.mine()
    sent.append(world.burn())
    world.chain.mine(5)
    second = world.instance()
    await world.handlers.scan()
    await second.scan()
    await second.scan()
    with pytest.raises(Ambiguous, match="CURSOR_MOVED"):
        await world.handlers.scan()
    assert await world.scan_all() == 0
    assert await world.burns() == sent


class NoCursorCheck(MemoryWatcherStore):
    """Keeps whatever page it is handed."""

    async def save_page(self, before, page) -> int:  # type: ignore[no-untyped-def]
        """The cursor that the page began at is not looked at."""
        del before
        return await super().save_page((await self.position()).cursor, page)


async def test_scan__without_the_cursor_check__a_slower_instance_moves_the_cursor_back() -> None:
    """Defence removed: the slower of two instances takes the position back."""
    world = WatcherWorld(page_limit=1, store=NoCursorCheck(CHAIN, lambda _: None))
    for _ in range(3):
        world.burn()
        world.chain.mine()
    world.chain.mine(3)
    slow = world.instance()
    await slow.scan()
    await world.scan_all()
    ahead = (await world.books.position()).through
    await slow.scan()
    behind = (await world.books.position()).through
    assert ahead is not None
    assert behind is not None
    assert behind.number < ahead.number


async def test_scan__node_hides_a_burns_events__nothing_is_kept_and_the_cursor_stays() -> None:
    """F30: an index that lost rows shows an empty answer; the burn comes when it is back."""
    world = WatcherWorld()
    tx = world.burn()
    world.chain.mine(4)
    world.node.faults.hidden.add(tx.id)
    with pytest.raises(Transient, match="EVENTS_INCOMPLETE"):
        await world.handlers.scan()
    assert (await world.books.position()).sequence == 0
    assert await world.burns() == []
    world.node.faults.hidden.clear()
    assert await world.scan_all() == 1
    assert await world.burns() == [tx]


class Believing(FakeReader):
    """Takes an empty answer for absence."""

    async def read_page(self, after, *, limit):  # type: ignore[no-untyped-def]
        """The reader's checks are passed over: hidden events are simply not there."""
        hidden, self._node.faults.hidden = self._node.faults.hidden, set()
        page = await super().read_page(after, limit=limit)
        self._node.faults.hidden = hidden
        told = tuple(o for o in page.observations if o.place.tx.id not in hidden)
        return type(page)(told, page.cursor, page.through, page.head, page.more)


async def test_scan__empty_answer_believed__loses_the_burn_for_good() -> None:
    """F30, defence removed: the cursor passes a burn that nobody will look for again."""
    world = WatcherWorld(make_reader=Believing)
    tx = world.burn()
    world.chain.mine(4)
    world.node.faults.hidden.add(tx.id)
    await world.scan_all()
    world.node.faults.hidden.clear()
    world.chain.mine(4)
    await world.scan_all()
    assert await world.burns() == []


async def test_scan__finality_stalls_while_blocks_go_on__waits_and_resumes_by_itself() -> None:
    """F21: no fallback to newer, not final blocks."""
    world = WatcherWorld()
    world.chain.mine(3)
    await world.scan_all()
    world.chain.freeze_finality(frozen=True)
    tx = world.burn()
    world.chain.mine(300)
    before = await world.books.position()
    for _ in range(3):
        scanned = await world.handlers.scan()
        assert (scanned.new, scanned.more) == (0, False)
    assert await world.books.position() == before
    assert await world.burns() == []
    world.chain.freeze_finality(frozen=False)
    await world.scan_all()
    assert await world.burns() == [tx]


async def test_scan__node_goes_back_to_older_blocks__cursor_never_does() -> None:
    """F31: a balancer alternates between a node and one that lags."""
    world = WatcherWorld()
    world.node.faults.flap_blocks = 20
    numbers = [0]
    for _ in range(60):
        world.burn()
        world.chain.mine()
        try:
            await world.handlers.scan()
        except Transient:
            world.restart()
        position = await world.books.position()
        numbers.append(0 if position.through is None else position.through.number)
    assert numbers == sorted(numbers)
    world.node.faults.flap_blocks = 0
    world.chain.mine(3)
    await world.scan_all()
    assert len(await world.burns()) == 60


async def violated(world: WatcherWorld) -> LatchedHalt:
    """Scan some, then show another final chain; the halt that is latched."""
    world.burn()
    world.chain.mine(5)
    await world.scan_all()
    world.node.faults.fork_from = 1
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await world.handlers.scan()
    halt = await world.books.halt()
    assert halt is not None
    return halt


async def test_halt__final_block_changed__latched_and_no_start_until_two_people() -> None:
    """F29, F92: two hashes at one final height; one approver, however often, is not two."""
    world = WatcherWorld()
    halt = await violated(world)
    assert halt.code == "FINALITY_VIOLATED"
    world.restart()
    with pytest.raises(Fatal, match=f"approve {halt.id} --by NAME"):
        await world.handlers.refuse_if_halted()
    assert not await world.books.approve_clearing(halt.id, "Ann", 2)
    assert not await world.books.approve_clearing(halt.id, "  ann ", 2)
    with pytest.raises(Fatal, match="WATCHER_HALTED"):
        await world.handlers.refuse_if_halted()
    assert await world.books.approve_clearing(halt.id, "Ben", 2)
    await world.handlers.refuse_if_halted()


async def test_halt__latched_by_one_instance__another_keeps_no_page_either() -> None:
    """F29: an instance behind an honest node must stop as well."""
    world = WatcherWorld()
    await violated(world)
    world.node.faults.fork_from = None
    world.burn()
    world.chain.mine(5)
    position = await world.books.position()
    with pytest.raises(Fatal, match="WATCHER_HALTED"):
        await world.instance().scan()
    assert await world.books.position() == position


class Unlatched(MemoryWatcherStore):
    """Forgets halts."""

    async def latch_halt(self, code: str, detail: str, at_ms: int) -> LatchedHalt:
        """Say it is latched and keep nothing."""
        return LatchedHalt("0", code, detail, at_ms, ())


async def test_halt__not_latched__the_next_start_reads_on_as_if_nothing_were() -> None:
    """F29, defence removed: behind another node the broken promise is forgotten."""
    world = WatcherWorld(store=Unlatched(CHAIN, lambda _: None))
    world.chain.mine(5)
    await world.scan_all()
    world.node.faults.fork_from = 1
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await world.handlers.scan()
    world.node.faults.fork_from = None
    world.restart()
    await world.handlers.refuse_if_halted()
    world.burn()
    world.chain.mine(5)
    assert await world.scan_all() == 1


async def told(world: WatcherWorld) -> tuple[list[TxRef], list[TxRef]]:
    """What the last report said: (pending, vanished)."""
    world.bus.burns.clear()
    await world.handlers.report_progress()
    if not world.bus.burns:
        return [], []
    ((pending, vanished),) = world.bus.burns
    return [p.tx for p in pending], [p.tx for p in vanished]


async def test_progress__burn_on_its_way__told_when_something_changed_only() -> None:
    world = WatcherWorld()
    world.chain.mine(3)
    tx = world.burn()
    world.chain.mine()
    assert await told(world) == ([tx], [])
    assert await told(world) == ([], [])
    world.chain.mine()
    assert await told(world) == ([tx], [])
    world.chain.mine(3)
    await world.scan_all()
    assert await told(world) == ([], [])
    assert await world.burns() == [tx]


async def test_progress__burn_reorged_away__vanished_only_once_its_height_is_scanned() -> None:
    """F19: gone from the head is not gone for good."""
    world = WatcherWorld()
    world.chain.mine(3)
    tx = world.burn()
    world.chain.mine()
    assert await told(world) == ([tx], [])
    world.chain.reorg(1, keep=lambda _: False)
    world.chain.mine()
    assert await told(world) == ([], [])
    world.chain.mine(5)
    assert await told(world) == ([], [])
    await world.scan_all()
    assert await told(world) == ([], [tx])
    assert await told(world) == ([], [])


async def test_progress__burn_reorged_and_mined_again__never_told_as_vanished() -> None:
    """F20: included again in a later block."""
    world = WatcherWorld()
    world.chain.mine(3)
    tx = world.burn()
    world.chain.mine(2)
    assert await told(world) == ([tx], [])
    world.chain.reorg(2)
    world.chain.mine(6)
    await world.scan_all()
    assert (await told(world))[1] == []
    assert await world.burns() == [tx]


class LossyBus(MemoryProgressBus):
    """Fails once."""

    failures = 1

    async def publish_burns(self, pending, vanished, at_ms) -> None:  # type: ignore[no-untyped-def]
        """Fail before anything is told."""
        if self.failures:
            self.failures -= 1
            raise Transient("BROKER_AWAY", "no broker")
        await super().publish_burns(pending, vanished, at_ms)


async def test_progress__broker_away__the_change_is_told_at_the_next_try() -> None:
    world = WatcherWorld()
    world.bus = LossyBus()
    world.restart()
    tx = world.burn()
    world.chain.mine()
    with pytest.raises(Transient):
        await world.handlers.report_progress()
    assert await told(world) == ([tx], [])


async def test_look__at_every_stage__says_exactly_what_is_known() -> None:
    world = WatcherWorld()
    world.chain.mine(3)
    tx, failing = world.burn(), world.burn(amount=10**9 * SHARE)
    plain = world.chain.refuse(an_address(9), refuses=False)
    unknown = TxRef(CHAIN, b"\x09" * 32)

    async def verdicts() -> list[str]:
        looked = [await world.handlers.look(one) for one in (tx, failing, plain, unknown)]
        return [one.verdict for one in looked]

    assert await verdicts() == ["IN_MEMPOOL", "IN_MEMPOOL", "IN_MEMPOOL", "UNKNOWN_TO_NODES"]
    world.chain.mine()
    waits = "SEEN_NOT_FINAL"
    assert await verdicts() == [waits, waits, waits, "UNKNOWN_TO_NODES"]
    pending = (await world.handlers.look(tx)).pending
    assert [type(one) for one in pending] == [Progress]
    world.chain.mine(3)
    ended = ["TRACKED", "REVERTED", "NOT_A_BRIDGE_BURN", "UNKNOWN_TO_NODES"]
    assert await verdicts() == ended
    await world.scan_all()
    assert await verdicts() == ended
    (kept,) = (await world.handlers.look(tx)).observations
    assert kept == (await world.books.list_of(tx))[0]


async def test_look__node_away__is_not_an_answer() -> None:
    world = WatcherWorld()
    world.node.faults.stopped = True
    with pytest.raises(Transient, match="NODE_DOWN"):
        await world.handlers.look(TxRef(CHAIN, b"\x09" * 32))


def a_quorum(node: FakeNode) -> ChainReader:
    """Three nodes of one chain; two must agree."""
    others = [FakeNode(node.chain, node._clock, node._randomness, f"n{n}") for n in (2, 3)]
    quorum = Quorum([FakeReader(one) for one in (node, *others)], 2, clock=node._clock)
    quorum.others = others  # type: ignore[attr-defined]
    return quorum


async def test_look__by_a_quorum__final_only_by_the_common_word() -> None:
    world = WatcherWorld(make_reader=a_quorum)
    plain = world.chain.refuse(an_address(9), refuses=False)
    assert (await world.handlers.look(plain)).verdict == "IN_MEMPOOL"
    world.chain.mine(4)
    assert (await world.handlers.look(plain)).verdict == "NOT_A_BRIDGE_BURN"
    others = world.reader.others  # type: ignore[attr-defined]
    for node in others:
        node.faults.lag_blocks = 2
    assert (await world.handlers.look(plain)).verdict == "SEEN_NOT_FINAL"
    for node in (world.node, *others):
        node.faults.omitted.add(plain.id)
    assert (await world.handlers.look(plain)).verdict == "UNKNOWN_TO_NODES"


async def test_burn__of_a_holder__is_kept_with_message_and_sender() -> None:
    world = WatcherWorld()
    world.burn(amount=5 * SHARE)
    world.chain.mine(4)
    await world.scan_all()
    ((sequence, burn),) = [(n.sequence, n.observation) for n in await world.books.list_after(0, 9)]
    assert sequence == 1
    message = burn.message  # type: ignore[union-attr]
    assert (message.source, message.destination) == (CHAIN, Domain.BNB)
    assert (message.asset, message.amount) == (TSLAX, 5 * SHARE)
    assert burn.sender == HOLDER  # type: ignore[union-attr]

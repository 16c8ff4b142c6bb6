"""The faults that a sender must survive, as one suite for every kind of books.

Method: a world of fake chains in virtual time; the fault is a switch of the fake or a port that
fails at a chosen step; the checks are read from the chains (how often each nonce was minted) and
from the books (which bytes were ever signed). Each defence is taken out once in the test's own
composition, and the same check must then fail.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.services.relayer.world import CHAINS, KEY, World
from xstock_chains.ports import (
    ChainWriter,
    ExecutionState,
    PreparedTx,
    ReleaseOrder,
    SendSlot,
    SignedTx,
    TxState,
    TxStatus,
)
from xstock_core.ids import Address32, Domain
from xstock_core.observation import ReleaseSkipped, TxRef
from xstock_core.transfer import Phase
from xstock_relayer.handlers.sending import SendingLimits
from xstock_relayer.model import Change, SlotEntry, SlotState
from xstock_relayer.ports import Books
from xstock_runtime.errors import Ambiguous

WorldMaker = Callable[..., World]


class Killed(BaseException):
    """The process is gone: nothing catches it."""


@dataclass
class KillSwitch:
    """Kills the process at the n-th time that a named step is reached."""

    step: str
    after: bool
    fired: bool = False

    async def around(self, step: str, deed: Awaitable[Any]) -> Any:
        """Do the deed, or die before or after it."""
        if step != self.step or self.fired:
            return await deed
        self.fired = True
        if self.after:
            await deed
        else:
            deed.close()  # type: ignore[attr-defined]
        raise Killed(step)


class Wrapped:
    """A port whose chosen methods are replaced; the rest is the real one's."""

    def __init__(self, inner: Any, **methods: Any) -> None:
        self._inner = inner
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


STEPS = ("intent", "sign", "persist", "send", "confirm")


def with_kill_switch(world: World, switch: KillSwitch) -> None:
    """Put the switch at every step of sending to BNB."""
    books, writer = world.books, world.writers[Domain.BNB]

    async def commit(change: Change) -> None:
        await switch.around(_step_of(change), books.commit(change))

    async def sign(tx: PreparedTx) -> SignedTx:
        signed: SignedTx = await switch.around("sign", KEY.sign_transaction(tx))
        return signed

    async def broadcast(tx: SignedTx) -> TxRef:
        ref: TxRef = await switch.around("send", writer.broadcast(tx))
        return ref

    world.writers[Domain.BNB] = Wrapped(writer, broadcast=broadcast)
    world.signers[Domain.BNB] = Wrapped(KEY, sign_transaction=sign)
    world.relayer = world.make_relayer(Wrapped(books, commit=commit))


def _step_of(change: Change) -> str:
    if not change.slots:
        return ""
    entry = change.slots[0]
    if entry.state is not SlotState.OPEN:
        return "confirm"
    return "persist" if entry.attempts[-1].signed is not None else "intent"


def raw_of(entries: Sequence[SlotEntry]) -> list[bytes]:
    """Every signed transaction of these slots."""
    return [a.signed.raw for entry in entries for a in entry.attempts if a.signed is not None]


def sent_by_us(world: World, domain: Domain) -> int:
    """Transactions of the relayer's key in the chain's present fork."""
    chain = world.chains[domain]
    blocks = [chain.block(number) for number in range(chain.head.number + 1)]
    return sum(tx.sender == KEY.address for block in blocks if block for tx in block.txs)


def skipped(world: World, domain: Domain) -> int:
    """Items that a destination found done already, or left open."""
    chain = world.chains[domain]
    blocks = [chain.block(number) for number in range(chain.head.number + 1)]
    found = [o for block in blocks if block for o in block.observations]
    return sum(isinstance(o, ReleaseSkipped) for o in found)


class ForgetfulBooks:
    """Defence removed: slots and batches are not kept before the broadcast."""

    def __init__(self, inner: Books) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, change: Change) -> None:
        """Everything but the sender's ledger, and nothing about who carries what."""
        kept = [t for t in change.transfers if t.batch is None]
        await self._inner.commit(replace(change, slots=[], batches=[], transfers=kept))


class FaultSuite:
    """Run by a subclass that has a `make_world` fixture."""

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("step", STEPS)
    async def test_sender__killed_at_a_step__same_bytes_and_one_mint(
        self, make_world: WorldMaker, step: str, after: bool
    ) -> None:
        """F38: intent, sign, persist, send, confirm."""
        world = make_world(limits=SendingLimits(settle_ms=0))
        await world.relayer.start()
        switch = KillSwitch(step, after)
        with_kill_switch(world, switch)
        await world.relayer.start()
        world.burn(3)
        with pytest.raises(Killed):
            await world.settle()
        await world.crash()
        await world.settle()
        assert world.phases() == {Phase.RELEASED: 3}
        assert set(world.minted(Domain.BNB).values()) == {1}
        assert sent_by_us(world, Domain.BNB) == 1

    async def test_sender__killed_after_sending_with_nothing_stored__sends_twice(
        self, make_world: WorldMaker
    ) -> None:
        """F38 with the defence removed: the check above must see a second transaction."""
        world = make_world()
        await world.relayer.start()
        world.books = ForgetfulBooks(world.books)
        with_kill_switch(world, KillSwitch("send", after=True))
        await world.relayer.start()
        world.burn(3)
        with pytest.raises(Killed):
            await world.settle()
        world.nodes[Domain.BNB].chain.mine()  # what was sent lands while we are away
        writer = world.writers[Domain.BNB]

        async def blind(keys: Sequence[object]) -> list[None]:
            return [None for _ in keys]

        async def credulous(order: Any, slot: SendSlot) -> PreparedTx:
            return replace(await writer.prepare(order, slot), refused=())

        world.writers[Domain.BNB] = Wrapped(writer, find_executions=blind, prepare=credulous)
        await world.crash()
        await world.settle(turns=10)
        assert sent_by_us(world, Domain.BNB) > 1
        assert skipped(world, Domain.BNB) > 0

    async def test_sender__transactions_dropped__same_bytes_sent_again(
        self, make_world: WorldMaker
    ) -> None:
        """F42: dropped transactions, a restart in between."""
        world = make_world()
        await world.relayer.start()
        world.burn(2)
        await world.observe()
        await world.relayer.review()
        await world.relayer.release()
        chain = world.chains[Domain.BNB]
        assert len(chain.mempool) == 1
        chain._mempool.clear()
        await world.crash()
        await world.settle()
        assert world.phases() == {Phase.RELEASED: 2}
        assert sent_by_us(world, Domain.BNB) == 1

    async def gap_world(self, make_world: WorldMaker, gap_ms: int) -> World:
        """The ledger says that slots up to 2 are used; the chain waits for slot 0."""
        world = make_world(limits=SendingLimits(gap_ms=gap_ms, bump_ms=10**9))
        slot = SendSlot(Domain.BNB, KEY.address, "2")
        used = SlotEntry(slot, 3, None, SlotState.LANDED, ())
        await world.books.commit(Change(slots=[used]))
        await world.relayer.start()
        world.burn(2)
        await world.settle(turns=30)
        return world

    async def test_sender__gap_in_the_chain_s_count__filled_and_head_of_line_recovers(
        self, make_world: WorldMaker
    ) -> None:
        """F42: one durable ledger per chain and key; the gap is filled."""
        world = await self.gap_world(make_world, 2_000)
        assert world.phases() == {Phase.RELEASED: 2}

    async def test_sender__gap_not_filled__nothing_ever_lands(self, make_world: WorldMaker) -> None:
        """F42 with the defence removed."""
        world = await self.gap_world(make_world, 10**12)
        assert world.minted(Domain.BNB) == {}

    async def test_sender__hundred_mints_and_fee_bumps__each_minted_once(
        self, make_world: WorldMaker
    ) -> None:
        """F43: a replacement never carries another batch."""
        limits = SendingLimits(bump_ms=1_000, look_ms=100, in_flight_max=40)
        world = make_world(limits=limits, batch_items_max=1)
        slow = world.chains[Domain.BNB]
        slow.config = replace(slow.config, txs_per_block_max=3)
        await world.relayer.start()
        world.burn(100)
        await world.settle(turns=200)
        assert world.phases() == {Phase.RELEASED: 100}
        assert set(world.minted(Domain.BNB).values()) == {1}
        assert sent_by_us(world, Domain.BNB) == 100
        assert skipped(world, Domain.BNB) == 0

    async def test_books__another_batch_for_a_used_slot__refused(
        self, make_world: WorldMaker
    ) -> None:
        """F43: the ledger itself keeps a slot for the batch that has it."""
        world = make_world(batch_items_max=1)
        await world.relayer.start()
        writer = world.writers[Domain.BNB]

        async def cached(
            sender: Address32, used: Sequence[SendSlot], order: ReleaseOrder | None = None
        ) -> SendSlot:
            return SendSlot(Domain.BNB, sender, "0")

        world.writers[Domain.BNB] = Wrapped(writer, next_slot=cached)
        await world.crash()
        world.burn(2)
        for _ in range(4):
            await world.step()
            await world.clock.advance(1)
        assert len(world.chains[Domain.BNB].mempool) == 1
        recovery = await world.books.recover()
        assert len({entry.batch for entry in recovery.slots}) == 1

    async def reorged(
        self, make_world: WorldMaker, writer_of: Callable[[ChainWriter], Any]
    ) -> World:
        """The block with the mint leaves the chain before it is final, and nodes forget it."""
        world = make_world()
        world.writers[Domain.BNB] = writer_of(world.writers[Domain.BNB])
        await world.crash()
        world.burn(2)
        for _ in range(3):
            await world.observe()
            await world.relayer.review()
            await world.relayer.release()
        world.chains[Domain.BNB].mine()
        await world.clock.advance(1)
        await world.relayer.reconcile()
        assert len(world.minted(Domain.BNB)) == 2
        world.chains[Domain.BNB].reorg(1, keep=lambda tx: False)
        assert len(world.minted(Domain.BNB)) == 0
        await world.settle(turns=30)
        return world

    async def test_sender__destination_reorganised__same_payload_again_and_one_mint(
        self, make_world: WorldMaker
    ) -> None:
        """F45: done is done only when it is final."""
        world = await self.reorged(make_world, lambda writer: writer)
        assert world.phases() == {Phase.RELEASED: 2}
        assert set(world.minted(Domain.BNB).values()) == {1}
        assert sent_by_us(world, Domain.BNB) == 1

    async def test_sender__inclusion_taken_for_finality__mint_is_lost(
        self, make_world: WorldMaker
    ) -> None:
        """F45 with the defence removed."""

        def hasty(writer: ChainWriter) -> Any:
            async def status(tx: TxRef, slot: SendSlot) -> TxStatus:
                found = await writer.status(tx, slot)
                included = found.state is TxState.INCLUDED
                return replace(found, state=TxState.FINAL) if included else found

            return Wrapped(writer, status=status)

        world = await self.reorged(make_world, hasty)
        assert world.minted(Domain.BNB) == {}

    async def test_sender__broadcast_answer_lost__read_not_repeated_blindly(
        self, make_world: WorldMaker
    ) -> None:
        """F38, F73: an Ambiguous broadcast is reconciled; the bytes stay the same."""
        world = make_world()
        await world.relayer.start()
        writer = world.writers[Domain.BNB]

        async def lossy(tx: SignedTx) -> TxRef:
            await writer.broadcast(tx)
            raise Ambiguous("BROADCAST_UNKNOWN", "the answer was lost")

        world.writers[Domain.BNB] = Wrapped(writer, broadcast=lossy)
        await world.crash()
        world.burn(2)
        await world.settle()
        assert world.phases() == {Phase.RELEASED: 2}
        assert sent_by_us(world, Domain.BNB) == 1

    async def test_relayer__released_by_another__success_only_by_the_final_event(
        self, make_world: WorldMaker
    ) -> None:
        """F46: a stranger submitted our signed batch; nothing is sent twice."""
        world = make_world()
        await world.relayer.start()
        writer = world.writers[Domain.BNB]

        async def done(keys: Sequence[Any]) -> list[Any]:
            from xstock_chains.ports import Execution

            return [Execution(key, ExecutionState.RELEASED, final=True) for key in keys]

        world.writers[Domain.BNB] = Wrapped(writer, find_executions=done)
        await world.crash()
        world.burn(1)
        await world.settle(turns=5)
        assert world.phases() == {Phase.AUTHORIZED: 1}
        assert sent_by_us(world, Domain.BNB) == 0

    async def test_relayer__guard_reply_lost__same_request_and_same_permit(
        self, make_world: WorldMaker
    ) -> None:
        """F73: DEADLINE_EXCEEDED after success; asked again for the very same batch."""
        world = make_world()
        for name in ("guard-1", "guard-2"):
            world.guards[name].lost_replies = 0
        world.guards["guard-3"].away = True
        await world.relayer.start()
        world.burn(2)
        await world.observe()
        await world.relayer.review()
        world.guards["guard-1"].lost_replies = 1
        await world.settle()
        first, second = world.guards["guard-1"].signed[:2]
        assert first == second
        assert world.phases() == {Phase.RELEASED: 2}
        assert sent_by_us(world, Domain.BNB) == 1

    async def test_intake__any_order_and_ten_times_each__same_final_state(
        self, make_world: WorldMaker
    ) -> None:
        """F48: permuted and repeated histories end in the same states."""
        source = make_world()
        await source.relayer.start()
        source.burn(6)
        await source.settle()
        history = [n for domain in CHAINS for n in source.watchers[domain].seen]
        wanted = {t.id: (t.state.burns, t.state.releases) for t in source.transfers}
        for seed in range(5):
            shuffled = history * 10
            random.Random(seed).shuffle(shuffled)
            other = make_world()
            await other.relayer.start()
            other.chains = source.chains
            for at in range(0, len(shuffled), 7):
                await other.relayer.intake.take(shuffled[at : at + 7])
            await other.refresh()
            found = {t.id: (t.state.burns, t.state.releases) for t in other.transfers}
            assert found == wanted, f"seed {seed}"

    async def test_intake__hole_in_the_numbers__position_stops_and_healing_closes_it(
        self, make_world: WorldMaker
    ) -> None:
        """F66: number 2 came before 1 and 1 never came; nothing is skipped."""
        world = make_world()
        await world.relayer.start()
        world.burn(3)
        watcher = world.watchers[Domain.ETHEREUM]
        await watcher.read()
        await world.relayer.intake.take(watcher.seen[1:])
        assert world.relayer.intake.positions.get(Domain.ETHEREUM, 0) == 0
        assert len(await world.refresh()) == 2
        await world.crash()
        await world.relayer.heal()
        assert len(await world.refresh()) == 3
        assert world.relayer.intake.positions[Domain.ETHEREUM] == 3

    async def test_intake__position_taken_from_the_highest_number__burn_is_lost(
        self, make_world: WorldMaker
    ) -> None:
        """F66 with the defence removed."""
        world = make_world()
        await world.relayer.start()
        world.burn(3)
        watcher = world.watchers[Domain.ETHEREUM]
        await watcher.read()
        intake = world.relayer.intake
        await intake.take(watcher.seen[1:])
        intake.positions[Domain.ETHEREUM] = max(n.sequence for n in watcher.seen[1:])
        await world.relayer.heal()
        assert len(await world.refresh()) == 2


__all__ = ["FaultSuite", "Killed", "WorldMaker"]

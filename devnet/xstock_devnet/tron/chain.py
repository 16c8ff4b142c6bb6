"""The chain: pending transactions, blocks, the solid head, and going back.

A transaction is executed when it is accepted, in the state that /wallet shows; when its block is
made it is executed again only if the block's second differs from the one assumed. Every method
that changes or reads pending state holds one lock, so a half-executed state is never seen.
"""

import asyncio
from dataclasses import dataclass, replace

from xstock_devnet.tron import checks, witness
from xstock_devnet.tron.evm import Evm
from xstock_devnet.tron.execute import Executor, Refusal
from xstock_devnet.tron.model import (
    Account,
    Block,
    Executed,
    Ledger,
    Outcome,
    Transaction,
)
from xstock_runtime.clock import Clock

LEDGERS_KEPT = 2_000
"""How many blocks back a reorganisation can go."""


class ChainError(Exception):
    """A control command that cannot be obeyed: field, value, remedy."""


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """How fast blocks come and how far behind the solid head is."""

    block_ms: int = 3_000
    final_blocks: int = 19


class TronChain:
    """One chain in memory; `open` makes the genesis block."""

    def __init__(self, evm: Evm, clock: Clock, options: ChainOptions) -> None:
        self.evm = evm
        self.options = options
        self.lock = asyncio.Lock()
        self.faucet = witness.address_of(witness.faucet_key())
        self.executor = Executor(evm)
        self.witnesses = witness.Witnesses()
        self.blocks: list[Block] = []
        self.pending: list[Executed] = []
        self.solid_number = 0
        self.finality_frozen = False
        self._ledger = Ledger(0)
        self._pending_second = 0
        self._where: dict[bytes, tuple[int, int]] = {}
        self._clock = clock
        self._warped_ms = 0
        self._forks = 0

    async def open(self) -> None:
        """Endow the faucet and make the genesis block; anvil must have this chain's id."""
        header, identity, endowment = witness.genesis(self.faucet)
        await self.evm.set_balance(self.faucet, witness.GENESIS_SUN)
        self._ledger = Ledger(await self.evm.height(), {self.faucet: Account(self.now_ms())})
        executed = Executed(endowment, Outcome("SUCCESS", is_vm=False))
        self.blocks = [Block(header, identity, b"", (executed,), self._ledger)]
        await self._make_block()

    @property
    def head(self) -> Block:
        """The latest block."""
        return self.blocks[-1]

    @property
    def solid(self) -> Block:
        """The latest final block."""
        return self.blocks[self.solid_number]

    @property
    def ledger(self) -> Ledger:
        """Accounts and contracts with pending transactions applied."""
        return self._ledger

    @property
    def included(self) -> int:
        """How many transactions are in blocks after the genesis."""
        return len(self._where)

    def now_ms(self) -> int:
        """The chain's own time."""
        return self._clock.unix_ms() + self._warped_ms

    def next_second(self) -> int:
        """The time that a contract sees in the pending state: that of the next block if in time."""
        now, interval = self.now_ms(), self.options.block_ms
        slot = min(self.head.timestamp_ms, now) + interval
        return max(now, slot, self.head.timestamp_ms + 1) // 1000

    def find(self, txid: bytes) -> tuple[Executed, Block | None] | None:
        """Return a known transaction with its block, None for pending; None if it is unknown."""
        place = self._where.get(txid)
        if place is not None:
            block = self.blocks[place[0]]
            return block.executed[place[1]], block
        for executed in self.pending:
            if executed.transaction.id == txid:
                return executed, None
        return None

    async def broadcast(self, transaction: Transaction) -> None:
        """Accept a transaction into the pending state; raises Refusal as java-tron would."""
        checks.check_size(transaction)
        checks.check_signature(transaction)
        async with self.lock:
            checks.check_reference(transaction, self.blocks)
            checks.check_expiration(transaction, self.head, self.options.block_ms)
            if self.find(transaction.id) is not None:
                raise Refusal("DUP_TRANSACTION_ERROR")
            if not self.pending:
                self._pending_second = self.next_second()
            await self._try(transaction, self._pending_second * 1000)

    async def make_block(self) -> Block:
        """Put what is pending into a block at the chain's time."""
        async with self.lock:
            return await self._make_block()

    async def _make_block(self) -> Block:
        time_ms = max(self.now_ms(), self.head.timestamp_ms + 1)
        if self.pending:
            time_ms = max(time_ms, self._pending_second * 1000)
        dead = [each for each in self.pending if each.transaction.expiration_ms <= time_ms]
        if self.pending and (dead or self._pending_second != time_ms // 1000):
            await self._execute_again(time_ms)
        block = self.witnesses.seal(
            self.head, tuple(self.pending), self._ledger, time_ms=time_ms, forks=self._forks
        )
        for index, executed in enumerate(self.pending):
            self._where[executed.transaction.id] = (block.number, index)
        self.blocks.append(block)
        self.pending = []
        self._forget_old_ledger()
        if not self.finality_frozen:
            self.solid_number = max(self.solid_number, block.number - self.options.final_blocks)
        return block

    async def _execute_again(self, time_ms: int) -> None:
        """Execute what is pending from the head's state; what has expired or fails is dropped."""
        waiting = [each.transaction for each in self.pending]
        await self._go_back_to_head()
        self._pending_second = time_ms // 1000
        for transaction in waiting:
            if transaction.expiration_ms > time_ms:
                try:
                    await self._try(transaction, time_ms)
                except Refusal:
                    continue

    async def _try(self, transaction: Transaction, time_ms: int) -> None:
        executed, self._ledger = await self.executor.execute(transaction, self._ledger, time_ms)
        self.pending.append(executed)

    async def _go_back_to_head(self) -> None:
        self.pending = []
        self._ledger = self.head.ledger
        await self.evm.rollback(self._ledger.height)
        for address, contract in self._ledger.contracts.items():
            # anvil forgets the code of accounts in states that it had moved to disk
            if not await self.evm.code(address):
                await self.evm.set_code(address, contract.runtime)

    def _forget_old_ledger(self) -> None:
        old = self.head.number - LEDGERS_KEPT
        if old >= 0:
            block = self.blocks[old]
            self.blocks[old] = replace(block, ledger=Ledger(block.ledger.height))

    async def finalize(self) -> None:
        """Make every block final now."""
        async with self.lock:
            self.solid_number = self.head.number

    async def reorg(self, depth: int) -> None:
        """Replace the last `depth` blocks, which are not final, by as many without their content.

        Raises ChainError for more than are not final.
        """
        async with self.lock:
            most = self.head.number - self.solid_number
            if not 1 <= depth <= most:
                raise ChainError(
                    f"depth: {depth} is not 1 to {most}, the blocks that are not final"
                )
            await self._fork_from(self.head.number - depth, [])

    async def drop_transaction(self, txid: bytes) -> None:
        """Replace blocks so that exactly this transaction is gone; raises ChainError if final.

        The other transactions of the replaced blocks, and what was pending, are included again.
        """
        async with self.lock:
            found = self.find(txid)
            if found is None:
                raise ChainError(f"tx: {txid.hex()} is not known here; broadcast it first")
            block = found[1]
            if block is not None and block.number <= self.solid_number:
                raise ChainError(f"tx: {txid.hex()} is final; break_finality can undo it")
            base = self.head.number if block is None else block.number - 1
            gone = [each for later in self.blocks[base + 1 :] for each in later.executed]
            kept = [each.transaction for each in [*gone, *self.pending]]
            await self._fork_from(base, [each for each in kept if each.id != txid])

    async def break_finality(self, depth: int) -> None:
        """Replace the last `depth` final blocks, and all after them, by others, final in turn.

        Raises ChainError if there are not that many.
        """
        async with self.lock:
            if not 1 <= depth <= min(self.solid_number, LEDGERS_KEPT):
                raise ChainError(
                    f"depth: {depth} is not 1 to {self.solid_number}, the final blocks"
                )
            solid = self.solid_number
            self.solid_number -= depth
            await self._fork_from(self.solid_number, [])
            self.solid_number = solid

    async def _fork_from(self, base: int, again: list[Transaction]) -> None:
        """Drop blocks above `base`, pending transactions too, and make as many others."""
        count = self.head.number - base
        for block in self.blocks[base + 1 :]:
            for executed in block.executed:
                del self._where[executed.transaction.id]
        del self.blocks[base + 1 :]
        self._forks += 1
        await self._go_back_to_head()
        self._pending_second = self.next_second()
        for transaction in again:
            try:
                await self._try(transaction, self._pending_second * 1000)
            except Refusal:
                continue
        for _ in range(count):
            await self._make_block()

    def warp(self, seconds: int) -> None:
        """Move the chain's time forward; raises ChainError for a move back."""
        if seconds < 0:
            raise ChainError(f"seconds: {seconds} is negative; time only goes forward")
        self._warped_ms += seconds * 1000

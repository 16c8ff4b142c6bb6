"""The chain itself: slots, blocks, the three commitments, expiry, duplicates and forks.

A transaction waits until the next block, which runs all that wait in the order of arrival; those
that cannot land (unknown or old blockhash, already there, bad signature, no fee) are dropped
without a word, as a leader drops them. A blockhash may be used in the 151 blocks after its own,
the last of which has height `lastValidBlockHeight + 1`: the queue of a block that is being made
does not hold its own hash yet (agave, `is_hash_valid_for_age` with MAX_PROCESSING_AGE = 150).
`processed` is the newest block, `confirmed` and `finalized` follow by so many blocks; both can be
held, and any block can be taken back with everything it did.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from xstock_devnet.solana.accounts import AccountBook
from xstock_devnet.solana.errors import Json
from xstock_devnet.solana.machine import (
    LAMPORTS_PER_SIGNATURE,
    Loaded,
    Machine,
    Outcome,
    cost_units,
)
from xstock_devnet.solana.programs import (
    NATIVE_MINT,
    NATIVE_MINT_BYTES,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
)
from xstock_runtime.clock import Clock, Randomness

BLOCKHASH_AGE_MAX = 150
LANDED_PER_BLOCK_MAX = 1_000
FAUCET_LAMPORTS = 500_000_000 * 10**9
GENESIS_LAMPORTS = 10_000_000 * 10**9
RENT_FOR_MINT = 1_461_600
GENESIS_HASH = Hash(hashlib.sha256(b"xstock local solana").digest())
FAUCET = Keypair.from_seed(hashlib.sha256(b"xstock local solana: faucet").digest())
LEADER = Keypair.from_seed(hashlib.sha256(b"xstock local solana: leader").digest())


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """How the chain behaves: lags in blocks, every how many slots one is skipped (0: none)."""

    confirm_blocks: int = 1
    final_blocks: int = 32
    skip_every: int = 0
    block_ms: int = 400


@dataclass(slots=True, eq=False)
class Landed:
    """A transaction in a block, with what it did and, by encoding, how it was last shown."""

    loaded: Loaded
    outcome: Outcome
    slot: int
    height: int
    index: int
    cost: int
    shown: dict[str, Json] = field(default_factory=dict)

    @property
    def position(self) -> tuple[int, int]:
        """Where it stands in the order of the chain."""
        return self.slot, self.index


@dataclass(slots=True, eq=False)
class Block:
    """One block; `total` counts all transactions up to and with its own."""

    slot: int
    height: int
    parent_slot: int
    blockhash: Hash
    previous: Hash
    unix_seconds: int
    landed: list[Landed] = field(default_factory=list)
    total: int = 0
    leader_reward: int = 0
    leader_balance: int = 0

    def changed(self) -> set[Pubkey]:
        """Return every account this block may have changed."""
        keys = {LEADER.pubkey()}
        for entry in self.landed:
            keys.update(
                key
                for key, writable in zip(entry.loaded.keys, entry.loaded.writable, strict=True)
                if writable
            )
        return keys


class Chain:
    """Everything a node knows, from the genesis block to what waits for the next one."""

    def __init__(
        self,
        clock: Clock,
        randomness: Randomness,
        settings: ChainSettings,
        genesis_accounts: Iterable[Pubkey] = (),
    ) -> None:
        self.settings = settings
        self.book = AccountBook()
        self.machine = Machine(self.book)
        self.pending: dict[str, Loaded] = {}
        self.landed: dict[str, Landed] = {}
        self.finality_frozen = False
        self.airdrops = 0
        self.behind_slots = 0
        self._clock = clock
        self._salt = randomness.random_bytes(32)
        self._made = 0
        self._warped_ms = 0
        self._by_message: dict[bytes, Landed] = {}
        self._by_key: dict[Pubkey, list[Landed]] = {}
        self._height_of: dict[Hash, int] = {}
        self._by_slot: dict[int, Block] = {}
        self._last_slot = 0
        self.first_slot = 0
        self.blocks = [Block(0, 0, 0, GENESIS_HASH, Hash.default(), self._now())]
        self.final_height = 0
        self._confirmed_floor = 0
        self._remember(self.blocks[0])
        self.book.set_time(1, self._now())
        funds = dict.fromkeys(genesis_accounts, GENESIS_LAMPORTS)
        for key, lamports in {FAUCET.pubkey(): FAUCET_LAMPORTS, **funds}.items():
            self.book.put(0, key, Account(lamports, b"", SYSTEM_PROGRAM))
        native = Account(RENT_FOR_MINT, NATIVE_MINT_BYTES, TOKEN_PROGRAM)
        self.book.put(0, NATIVE_MINT, native)
        self.book.put(0, LEADER.pubkey(), Account(10**9, b"", SYSTEM_PROGRAM))

    # ---- what a commitment sees

    @property
    def tip(self) -> Block:
        """The newest block (`processed`)."""
        return self.blocks[-1]

    @property
    def confirmed(self) -> Block:
        """The newest block that `confirmed` reads see."""
        height = self.tip.height - self.settings.confirm_blocks
        return self.blocks[min(self.tip.height, max(height, self._confirmed_floor))]

    @property
    def finalized(self) -> Block:
        """The newest final block."""
        return self.blocks[self.final_height]

    def block_at(self, slot: int) -> Block | None:
        """Return the block of a slot, None if it was skipped, dropped or is still to come."""
        return self._by_slot.get(slot)

    def slots_between(self, first: int, last: int) -> list[int]:
        """Return the slots in first..last that have a block, in order."""
        start = bisect_right(self.blocks, first - 1, key=lambda block: block.slot)
        end = bisect_right(self.blocks, last, key=lambda block: block.slot)
        kept = max(start, 0)
        return [block.slot for block in self.blocks[kept:end] if block.slot >= self.first_slot]

    def history_of(self, key: Pubkey) -> Sequence[Landed]:
        """Return the transactions that name a key, oldest first."""
        return self._by_key.get(key, ())

    def landed_by(self, signature: str, block: Block) -> Landed | None:
        """Return a transaction if it is on the chain up to `block` and in kept history."""
        entry = self.landed.get(signature)
        if entry is None or not self.first_slot <= entry.slot <= block.slot:
            return None
        return entry

    # ---- blockhashes

    def last_valid_height(self, block: Block) -> int:
        """Return `lastValidBlockHeight` of the blockhash that `block` brought."""
        return block.height + BLOCKHASH_AGE_MAX

    def height_of(self, blockhash: Hash) -> int | None:
        """Return the height of the block with this hash, None if there is none."""
        return self._height_of.get(blockhash)

    def blockhash_age(self, blockhash: Hash, block: Block) -> int | None:
        """Return how many blocks before `block` this hash was made, None if it knows none such."""
        height = self._height_of.get(blockhash)
        if height is None or height > block.height:
            return None
        return block.height - height

    def refusal(self, loaded: Loaded, block: Block) -> str | None:
        """Say why a transaction could not be in the block right after `block`, None if it could."""
        age = self.blockhash_age(loaded.message.recent_blockhash, block)
        if age is None or age > BLOCKHASH_AGE_MAX:
            return "BlockhashNotFound"
        there = self._by_message.get(bytes(loaded.message))
        if there is not None and there.height <= block.height:
            return "AlreadyProcessed"
        return None

    # ---- making blocks

    def submit(self, loaded: Loaded) -> None:
        """Let a transaction wait for the next block."""
        self.pending.setdefault(loaded.signature, loaded)

    def mine(self) -> Block:
        """Make one block of what waits."""
        waiting = list(self.pending.values())[:LANDED_PER_BLOCK_MAX]
        for loaded in waiting:
            del self.pending[loaded.signature]
        slot = self._last_slot + 1
        if self.settings.skip_every and slot % self.settings.skip_every == 0:
            slot += 1
        return self._make(slot, waiting)

    def finalize(self) -> None:
        """Make everything that is in a block final now."""
        self.final_height = self._confirmed_floor = self.tip.height

    def freeze_finality(self, *, on: bool) -> None:
        """Hold the final block where it is, or let it follow again."""
        self.finality_frozen = on
        self._advance_finality()

    def warp(self, seconds: int) -> None:
        """Move the chain's time forward, from the next block on."""
        self._warped_ms += seconds * 1000

    # ---- taking blocks back

    def reorg(self, depth: int) -> list[Block]:
        """Drop the newest `depth` blocks and what they hold; raises ValueError for final ones."""
        open_blocks = self.tip.height - self.final_height
        if not 1 <= depth <= open_blocks:
            raise ValueError(
                f"depth: {depth} blocks; 1..{open_blocks} are not final yet"
                " (break_finality replaces final ones)"
            )
        return self._roll_back(self.tip.height - depth)

    def drop(self, signature: str) -> None:
        """Take exactly one non-final transaction out of the chain; raises ValueError if it cannot.

        The blocks from its own on are made anew, in later slots, with everything else they held.
        """
        if self.pending.pop(signature, None) is not None:
            return
        entry = self.landed.get(signature)
        if entry is None:
            raise ValueError(f"tx: {signature} is on no block; look for it with getTransaction")
        if entry.height <= self.final_height:
            raise ValueError(f"tx: {signature} is final; break_finality replaces final blocks")
        for block in self._roll_back(entry.height - 1):
            kept = [other.loaded for other in block.landed if other is not entry]
            self._make(self._last_slot + 1, kept, forced=True)

    def break_finality(self, depth: int) -> None:
        """Replace the newest `depth` final blocks by empty ones in the same slots, final in turn.

        Raises ValueError if there are not that many. What was not final yet is gone as well.
        """
        if not 1 <= depth <= self.final_height:
            raise ValueError(f"depth: {depth} blocks; 1..{self.final_height} are final")
        height, last = self.final_height, self._last_slot
        dropped = self._roll_back(height - depth)
        for block in dropped[:depth]:
            self._make(block.slot, [])
        self.final_height = self._confirmed_floor = height
        self._last_slot = last

    def prune(self, below_slot: int) -> None:
        """Forget the history before a slot; raises ValueError for one that is not final."""
        if not 0 <= below_slot <= self.finalized.slot:
            raise ValueError(f"below: slot {below_slot}; final slots are 0..{self.finalized.slot}")
        self.first_slot = max(self.first_slot, below_slot)

    def _now(self) -> int:
        return (self._clock.unix_ms() + self._warped_ms) // 1000

    def _make(self, slot: int, waiting: Iterable[Loaded], *, forced: bool = False) -> Block:
        parent = self.tip
        block = Block(
            slot=slot,
            height=parent.height + 1,
            parent_slot=parent.slot,
            blockhash=self._next_hash(parent, slot),
            previous=parent.blockhash,
            unix_seconds=max(parent.unix_seconds, self._now()),
        )
        self.book.set_time(slot, block.unix_seconds)
        for loaded in waiting:
            if forced or self.refusal(loaded, parent) is None:
                self._land(loaded, block)
        self._reward(block)
        self._last_slot = max(self._last_slot, slot)
        block.total = parent.total + len(block.landed)
        self.blocks.append(block)
        self._remember(block)
        self._advance_finality()
        return block

    def _land(self, loaded: Loaded, block: Block) -> None:
        if bytes(loaded.message) in self._by_message:
            return
        outcome = self.machine.execute(loaded, block.slot)
        if not outcome.landed:
            return
        cost = cost_units(loaded, outcome)
        entry = Landed(loaded, outcome, block.slot, block.height, len(block.landed), cost)
        block.landed.append(entry)
        self.landed[loaded.signature] = entry
        self._by_message[bytes(loaded.message)] = entry
        for key in dict.fromkeys(loaded.keys):
            self._by_key.setdefault(key, []).append(entry)

    def _reward(self, block: Block) -> None:
        """Pay half of the base fees and all priority fees to the leader, as the protocol does."""
        before = self.book.newest(LEADER.pubkey())
        held = 0 if before is None else before.lamports
        for entry in block.landed:
            base = LAMPORTS_PER_SIGNATURE * entry.loaded.message.header.num_required_signatures
            block.leader_reward += base // 2 + entry.outcome.fee - base
        block.leader_balance = held + block.leader_reward
        if block.leader_reward:
            account = Account(block.leader_balance, b"", SYSTEM_PROGRAM)
            self.book.put(block.slot, LEADER.pubkey(), account)

    def _next_hash(self, parent: Block, slot: int) -> Hash:
        self._made += 1
        parts = (self._salt, bytes(parent.blockhash), b"%d/%d" % (slot, self._made))
        return Hash(hashlib.sha256(b"".join(parts)).digest())

    def _remember(self, block: Block) -> None:
        self._by_slot[block.slot] = block
        self._height_of[block.blockhash] = block.height

    def _advance_finality(self) -> None:
        if not self.finality_frozen:
            due = self.tip.height - self.settings.final_blocks
            self.final_height = max(self.final_height, due)
            self._confirmed_floor = max(self._confirmed_floor, self.final_height)

    def _roll_back(self, height: int) -> list[Block]:
        """Return to the block of `height`; returns the dropped blocks, oldest first."""
        dropped = self.blocks[height + 1 :]
        base = self.blocks[height]
        keys: set[Pubkey] = set()
        for block in dropped:
            keys |= block.changed()
        keys = {key for key in keys if self.book.was_changed(key)}
        self.book.roll_back(base.slot, keys)
        del self.blocks[height + 1 :]
        for block in reversed(dropped):
            self._forget(block)
        self.final_height = min(self.final_height, height)
        self._confirmed_floor = min(self._confirmed_floor, height)
        self.book.set_time(max(base.slot, 1), base.unix_seconds)
        return dropped

    def _forget(self, block: Block) -> None:
        del self._by_slot[block.slot]
        del self._height_of[block.blockhash]
        for entry in reversed(block.landed):
            del self.landed[entry.loaded.signature]
            del self._by_message[bytes(entry.loaded.message)]
            for key in dict.fromkeys(entry.loaded.keys):
                self._by_key[key].pop()

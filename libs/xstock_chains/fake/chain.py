"""The fake chain itself: blocks, mempool, finality and reorganisations over `ChainState`.

It is the single truth that any number of `FakeNode`s show, each with its own faults. Time comes
from a Clock, nothing is random: the same calls give the same hashes. Blocks are made only when
asked (`mine`) or by `run`, so that tests and simulations own the order of events.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xstock_chains.fake.execution import Outcome, Site, execute
from xstock_chains.fake.state import AssetRules, ChainState, GuardSet, People
from xstock_chains.fake.transactions import (
    BurnCall,
    Call,
    FakeTx,
    MoveSupplyCall,
    PauseBridgeCall,
    RefuseCall,
    RotateGuardsCall,
    SetRulesCall,
    decode_signed,
    unsigned_tx,
)
from xstock_core.ids import Address32, AssetId, Domain
from xstock_core.observation import BlockRef, Observation, Place, TxRef
from xstock_runtime.clock import Clock
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

__all__ = ["FakeBlock", "FakeChain", "FakeConfig", "GuardSet", "SlotUsed", "Underpriced"]


class SlotUsed(InvalidMessage):
    """Another transaction of this sender has used the slot already."""


class Underpriced(InvalidMessage):
    """A replacement pays less than 10% more than what it would replace."""


@dataclass(frozen=True, slots=True)
class FakeConfig:
    """A deployment: which chain it stands for, how final it is, which assets it knows.

    `finality_lag_blocks` is how far the final head trails; `block_seconds` the least time between
    blocks; `minimum_shares` the route minimum; `txs_per_block_max` bounds a block.
    """

    domain: Domain
    assets: tuple[AssetId, ...]
    guards: GuardSet
    finality_lag_blocks: int = 2
    block_seconds: int = 1
    decimals: int = 18
    minimum_shares: int = 1
    txs_per_block_max: int = 1_000
    opening: Mapping[tuple[AssetId, Address32], int] = field(default_factory=dict)
    """Shares that holders own at genesis."""
    people: People = field(default_factory=People)
    """Who may pause, and who may change things behind a delay; nobody unless given."""

    @property
    def bridge(self) -> Address32:
        """The bridge's address on this chain."""
        tail = keccak256(b"xstock/fake-bridge" + int(self.domain).to_bytes(4, "big"))[12:]
        return Address32(tail.rjust(32, b"\0"))


@dataclass(frozen=True, slots=True)
class FakeBlock:
    """A sealed block; `event_count` stands for the header's commitment to its receipts."""

    ref: BlockRef
    parent: bytes
    txs: tuple[FakeTx, ...]
    outcomes: tuple[Outcome, ...]
    observations: tuple[Observation, ...]
    event_count: int


class FakeChain:
    """One chain in memory. Every write goes through the mempool and a block."""

    def __init__(self, config: FakeConfig, clock: Clock) -> None:
        self.config = config
        self.state = ChainState()
        self._clock = clock
        self._fork = 0
        self._final = 0
        self._finality_frozen = False
        self._mempool: dict[tuple[Address32, int], FakeTx] = {}
        self._place: dict[bytes, tuple[int, int]] = {}
        self._open()
        self._blocks = [self._seal(None, (), (), self._now())]

    def _open(self) -> None:
        self.state.guards.put("", self.config.guards, 0)
        self.state.people.put("", self.config.people, 0)
        for asset in self.config.assets:
            self.state.rules.put(asset, AssetRules(), 0)
        site = self._site(0, 0)
        for (asset, holder), shares in self.config.opening.items():
            units = site.units(shares)
            self.state.balance.put((asset, holder), units, 0)
            self.state.supply.put(asset, self.state.supply.get(asset, 0) + units, 0)

    # what is there

    @property
    def domain(self) -> Domain:
        """The chain this one stands for."""
        return self.config.domain

    @property
    def head(self) -> BlockRef:
        """The newest block, final or not."""
        return self._blocks[-1].ref

    @property
    def final(self) -> BlockRef:
        """The newest final block."""
        return self._blocks[self._final].ref

    def block(self, number: int) -> FakeBlock | None:
        """The block at this height on the present fork, if there is one."""
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def find(self, tx_id: bytes) -> tuple[FakeBlock, int] | None:
        """The block that holds this transaction, and its index there."""
        place = self._place.get(tx_id)
        return (self._blocks[place[0]], place[1]) if place else None

    def waiting(self, tx_id: bytes) -> bool:
        """Whether the transaction is in the mempool."""
        return any(tx.id == tx_id for tx in self._mempool.values())

    @property
    def mempool(self) -> tuple[FakeTx, ...]:
        """Transactions that wait for a block, oldest first."""
        return tuple(self._mempool.values())

    # what one may do

    def submit(self, raw: bytes) -> bytes:
        """Take signed bytes into the mempool and return the id; the same bytes twice is harmless.

        Raises InvalidMessage (bad bytes), SlotUsed (another transaction landed in the slot) or
        Underpriced (a replacement that pays too little).
        """
        tx = decode_signed(self.domain, raw)
        if tx.id in self._place or self.waiting(tx.id):
            return tx.id
        if tx.slot < self.state.slot.get(tx.sender, self.head.number):
            raise SlotUsed("SLOT_USED", f"slot {tx.slot} of {tx.sender.hex()} is used already")
        rival = self._mempool.get((tx.sender, tx.slot))
        if rival is not None and tx.fee * 10 < rival.fee * 11:
            raise Underpriced("UNDERPRICED", f"fee {tx.fee} replaces {rival.fee} only from +10%")
        self._mempool[(tx.sender, tx.slot)] = tx
        return tx.id

    def call(self, sender: Address32, call: Call) -> TxRef:
        """Queue a call without a key, in the sender's next free slot; it is in the next block."""
        slot = self.state.slot.get(sender, self.head.number)
        while (sender, slot) in self._mempool:
            slot += 1
        tx = unsigned_tx(self.domain, sender, slot, call)
        self._mempool[(sender, slot)] = tx
        return TxRef(self.domain, tx.id)

    def burn(
        self,
        sender: Address32,
        asset: AssetId,
        destination: Domain,
        recipient: Address32,
        amount: int,
        *,
        refund_address: Address32 | None = None,
    ) -> TxRef:
        """Queue a holder's burn of `amount` shares."""
        refund = sender if refund_address is None else refund_address
        return self.call(sender, BurnCall(asset, destination, recipient, refund, amount))

    def mint_outside(self, asset: AssetId, holder: Address32, token_units: int) -> TxRef:
        """Move supply outside the bridge, as the holder of a stolen role could."""
        return self.call(self.config.bridge, MoveSupplyCall(asset, holder, token_units))

    def set_rules(self, asset: AssetId, rules: AssetRules) -> TxRef:
        """Queue a change of an asset's pause, multiplier or bucket."""
        return self.call(self.config.bridge, SetRulesCall(asset, rules))

    def pause_bridge(self, *, paused: bool) -> TxRef:
        """Queue a pause or un-pause of the bridge."""
        return self.call(self.config.bridge, PauseBridgeCall(paused))

    def rotate_guards(self, guards: GuardSet) -> TxRef:
        """Queue a new guard set."""
        return self.call(self.config.bridge, RotateGuardsCall(guards))

    def refuse(self, recipient: Address32, *, refuses: bool) -> TxRef:
        """Queue that a recipient refuses (or accepts again) what is released to it."""
        return self.call(self.config.bridge, RefuseCall(recipient, refuses))

    def mine(self, blocks: int = 1) -> BlockRef:
        """Make blocks; each takes what the mempool can execute. Returns the new head."""
        for _ in range(blocks):
            self._mine_one()
        return self.head

    async def run(self) -> None:
        """Make a block every `block_seconds` until cancelled."""
        while True:
            await self._clock.sleep(self.config.block_seconds)
            self.mine()

    def freeze_finality(self, *, frozen: bool) -> None:
        """Stop (or resume) the final head while blocks go on (F21)."""
        self._finality_frozen = frozen
        self._advance_final()

    def reorg(
        self,
        depth: int,
        *,
        keep: Callable[[FakeTx], bool] = lambda _: True,
        past_finality: bool = False,
    ) -> BlockRef:
        """Undo the last `depth` blocks; their transactions wait again, but those not kept vanish.

        Raises ValueError for a depth that reaches final blocks, unless `past_finality` says
        that finality itself shall be broken. Returns the block the new fork grows from.
        """
        fork = self.head.number - depth
        if fork < 0 or depth < 1 or (fork < self._final and not past_finality):
            raise ValueError(f"reorg depth {depth} from {self.head.number}: final {self._final}")
        gone = [tx for block in self._blocks[fork + 1 :] for tx in block.txs]
        del self._blocks[fork + 1 :]
        self.state.cut(fork)
        self._fork += 1
        self._final = min(self._final, fork)
        waiting = list(self._mempool.values())
        for tx in gone:
            del self._place[tx.id]
        again = [tx for tx in gone if keep(tx)] + waiting
        self._mempool = {(tx.sender, tx.slot): tx for tx in again}
        return self.head

    def simulate(self, call: Call, sender: Address32) -> Outcome:
        """What the call would do in the next block, leaving no trace."""
        head = self.head
        tx = unsigned_tx(self.domain, sender, self.state.slot.get(sender, head.number), call)
        time = max(head.time + self.config.block_seconds, self._now())
        try:
            return execute(tx, self.state, self._site(head.number + 1, time))
        finally:
            self.state.cut(head.number)

    # how it is done

    def _now(self) -> int:
        return self._clock.unix_ms() // 1000

    def _site(self, number: int, time: int) -> Site:
        config = self.config
        return Site(
            config.domain, config.bridge, config.decimals, config.minimum_shares, number, time
        )

    def _mine_one(self) -> None:
        parent = self._blocks[-1]
        number = parent.ref.number + 1
        time = max(parent.ref.time + self.config.block_seconds, self._now())
        site = self._site(number, time)
        self._drop_outrun(parent.ref.number)
        txs: list[FakeTx] = []
        outcomes: list[Outcome] = []
        while tx := self._next_executable(number, len(txs)):
            del self._mempool[(tx.sender, tx.slot)]
            txs.append(tx)
            outcomes.append(execute(tx, self.state, site))
        self._blocks.append(self._seal(parent, tuple(txs), tuple(outcomes), time))
        for index, tx in enumerate(txs):
            self._place[tx.id] = (number, index)
        self._advance_final()

    def _drop_outrun(self, at: int) -> None:
        slots = self.state.slot
        for sender, slot in [k for k in self._mempool if k[1] < slots.get(k[0], at)]:
            del self._mempool[(sender, slot)]

    def _next_executable(self, number: int, taken: int) -> FakeTx | None:
        if taken >= self.config.txs_per_block_max:
            return None
        for (sender, slot), tx in self._mempool.items():
            present = self.state.slot.get(sender, number)
            if slot == present:
                return tx
        return None

    def _seal(
        self,
        parent: FakeBlock | None,
        txs: tuple[FakeTx, ...],
        outcomes: tuple[Outcome, ...],
        time: int,
    ) -> FakeBlock:
        number = parent.ref.number + 1 if parent else 0
        parent_hash = parent.ref.hash if parent else b"\0" * 32
        body = b"".join(tx.id for tx in txs)
        seed = f"{int(self.domain)}|{number}|{time}|{self._fork}|".encode()
        ref = BlockRef(
            self.domain, number, hashlib.sha256(seed + parent_hash + body).digest(), time
        )
        observations: list[Observation] = []
        for tx, outcome in zip(txs, outcomes, strict=True):
            for draft in outcome.events:
                place = Place(ref, TxRef(self.domain, tx.id), len(observations))
                observations.append(draft(place))
        return FakeBlock(ref, parent_hash, txs, outcomes, tuple(observations), len(observations))

    def _advance_final(self) -> None:
        if not self._finality_frozen:
            lag = self.config.finality_lag_blocks
            self._final = max(self._final, self.head.number - lag)

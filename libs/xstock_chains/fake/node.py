"""One provider's view of a fake chain, with the faults that real providers have had.

A node can be away, slow, behind, stale, forgetful or a liar; each fault is a switch in `Faults`,
chance comes from a seeded source. Everything a reader or writer learns passes through a `View`,
so a lie is told consistently: header, events and counters agree, as a poisoned provider's would.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from xstock_chains.fake.chain import FakeBlock, FakeChain, SlotUsed, Underpriced
from xstock_chains.fake.execution import Outcome
from xstock_chains.fake.transactions import Call
from xstock_core.ids import (
    Address32,
    AssetId,
    Domain,
    counter_nonce,
    solana_nonce,
)
from xstock_core.message import Kind, make_message
from xstock_core.observation import BlockRef, BurnFinal, Observation, Place, TxRef
from xstock_runtime.clock import Clock, Randomness
from xstock_runtime.errors import Ambiguous, Transient
from xstock_runtime.hashing import keccak256

_FOREVER_SECONDS: Final = 10.0**9


@dataclass(frozen=True, slots=True)
class Lie:
    """A burn that never happened, told as final at `height`; two nodes may share one lie."""

    height: int
    asset: AssetId
    destination: Domain
    recipient: Address32
    sender: Address32
    amount: int

    @property
    def tx_seed(self) -> bytes:
        """What the forged transaction's id is made of."""
        return repr(self).encode()


@dataclass(slots=True)
class Faults:
    """What is wrong with a node; the defaults are a healthy one. Percentages are 0 to 100."""

    stopped: bool = False
    """Refuses every call at once."""
    blackholed: bool = False
    """Takes every call and never answers."""
    delay_seconds_max: float = 0.0
    """Answers after a random delay of at most this."""
    failure_percent: float = 0.0
    """Fails before doing anything."""
    lost_reply_percent: float = 0.0
    """Does what was asked and loses the answer."""
    lag_blocks: int = 0
    """Shows the chain as it was this many blocks ago."""
    flap_blocks: int = 0
    """Answers now and then from a backend that is this far behind (F31)."""
    final_frozen_at: int | None = None
    """Shows this final head for ever (F21)."""
    stale_at: int | None = None
    """Shows nothing above this block: a cache that stopped."""
    hidden: set[bytes] = field(default_factory=set)
    """Transactions whose events its index lost; the headers still tell (F30, F34)."""
    omitted: set[bytes] = field(default_factory=set)
    """Transactions it denies, consistently: a lie."""
    forged: tuple[Lie, ...] = ()
    """Burns it makes up, consistently: a lie (F01)."""
    fork_from: int | None = None
    """From this height it shows blocks of another fork, with other hashes (F29, F33)."""
    duplicates: bool = False
    """Returns every event twice."""
    holdings: dict[Address32, int | None] = field(default_factory=dict)
    """What it says that accounts hold of every asset: a lie; None: it cannot read them."""


class View:
    """What a node would answer at one moment; every method is free of waiting."""

    def __init__(self, chain: FakeChain, faults: Faults, lag_blocks: int) -> None:
        self._chain = chain
        self._faults = faults
        top = chain.head.number - lag_blocks
        if faults.stale_at is not None:
            top = min(top, faults.stale_at)
        self._head = max(0, top)
        final = min(chain.final.number, chain.final.number - lag_blocks, self._head)
        if faults.final_frozen_at is not None:
            final = min(final, faults.final_frozen_at)
        self._final = max(0, final)

    @property
    def head(self) -> BlockRef:
        """The newest block the node shows."""
        return self._shown(self._head).ref

    @property
    def final(self) -> BlockRef:
        """The newest block the node calls final."""
        return self._shown(self._final).ref

    def block(self, number: int) -> FakeBlock | None:
        """The block at this height, or None above the node's head."""
        return self._shown(number) if 0 <= number <= self._head else None

    def find(self, tx_id: bytes) -> FakeBlock | None:
        """The block in which the node shows this transaction."""
        for lie in self._faults.forged:
            if self._forged_id(lie) == tx_id:
                return self.block(lie.height)
        found = self._chain.find(tx_id)
        if found is None or tx_id in self._faults.omitted:
            return None
        return self.block(found[0].ref.number)

    def outcome(self, tx_id: bytes) -> Outcome | None:
        """How an included transaction ended, if the node shows it."""
        found = self._chain.find(tx_id)
        if found is None or self.find(tx_id) is None:
            return None
        return found[0].outcomes[found[1]]

    def waiting(self, tx_id: bytes) -> bool:
        """Whether the transaction is in the mempool."""
        return self._chain.waiting(tx_id)

    def counters(self, number: int) -> Mapping[Domain, int]:
        """The lane counters after this block, lies included."""
        counter = self._chain.state.counter
        shown = {key: counter.get(key, number) for key in counter.keys()}  # noqa: SIM118
        if self._chain.domain is Domain.SOLANA:
            return {}
        for lie in self._faults.forged:
            if lie.height <= number:
                shown[lie.destination] = shown.get(lie.destination, 0) + 1
        for burn in self._denied(number):
            shown[burn.message.destination] -= 1
        return {domain: count for domain, count in sorted(shown.items()) if count}

    def balance(self, asset: AssetId, owner: Address32, number: int) -> int | None:
        """What an account holds after this block, in token units; None: it cannot be read."""
        if owner in self._faults.holdings:
            return self._faults.holdings[owner]
        return self._chain.state.balance.get((asset, owner), number)

    def _denied(self, number: int) -> list[BurnFinal]:
        burns = []
        for tx_id in self._faults.omitted:
            found = self._chain.find(tx_id)
            if found is not None and found[0].ref.number <= number:
                burns += [
                    o
                    for o in found[0].observations
                    if isinstance(o, BurnFinal) and o.place.tx.id == tx_id
                ]
        return burns

    def _shown(self, number: int) -> FakeBlock:
        block = self._chain.block(number)
        if block is None:
            raise IndexError(f"block {number} is above the head")
        faults = self._faults
        ref = self._shown_ref(block.ref)
        if ref is block.ref and not (
            faults.hidden or faults.omitted or faults.forged or faults.duplicates
        ):
            return block
        told = [o for o in block.observations if o.place.tx.id not in faults.omitted]
        told = [replace(o, place=replace(o.place, block=ref)) for o in told]
        told += [self._forge(lie, ref, len(told)) for lie in faults.forged if lie.height == number]
        count = len(told)
        told = [o for o in told if o.place.tx.id not in faults.hidden]
        if faults.duplicates:
            told = [o for o in told for _ in range(2)]
        parent = self._chain.block(number - 1)
        parent_hash = self._shown_ref(parent.ref).hash if parent else block.parent
        return FakeBlock(ref, parent_hash, block.txs, block.outcomes, tuple(told), count)

    def _shown_ref(self, ref: BlockRef) -> BlockRef:
        start = self._faults.fork_from
        if start is None or ref.number < start:
            return ref
        return replace(ref, hash=keccak256(b"xstock/fake-fork" + ref.hash))

    def _forged_id(self, lie: Lie) -> bytes:
        seed = keccak256(lie.tx_seed)
        return seed + seed if self._chain.domain is Domain.SOLANA else seed

    def _forge(self, lie: Lie, ref: BlockRef, index: int) -> Observation:
        chain = self._chain
        sparse = chain.domain is Domain.SOLANA
        tx = self._forged_id(lie)
        counter = 0 if sparse else self.counters(lie.height)[lie.destination]
        bridge = chain.config.bridge
        nonce = (
            solana_nonce(tx, 0, 0xFF, keccak256)
            if sparse
            else counter_nonce(bridge, counter, keccak256)
        )
        message = make_message(
            kind=Kind.TRANSFER,
            source=chain.domain,
            destination=lie.destination,
            nonce=nonce,
            source_bridge=bridge,
            asset=lie.asset,
            refund_address=lie.sender,
            recipient=lie.recipient,
            amount=lie.amount,
        )
        place = Place(ref, TxRef(chain.domain, tx), index)
        return BurnFinal(message, message.transfer_id(keccak256), lie.sender, counter, place)


class FakeNode:
    """A provider: its faults stand between the chain and whoever asks."""

    def __init__(
        self, chain: FakeChain, clock: Clock, randomness: Randomness, name: str = "node"
    ) -> None:
        self.chain = chain
        self.name = name
        self.faults = Faults()
        self._clock = clock
        self._randomness = randomness

    async def view(self, method: str) -> View:
        """Answer a read; raises Transient NODE_DOWN when the node is away or fails."""
        await self._arrive(method)
        view = View(self.chain, self.faults, self._lag())
        if self._happens(self.faults.lost_reply_percent):
            raise self._down(method)
        return view

    async def submit(self, raw: bytes) -> bytes:
        """Take signed bytes; raises Ambiguous when the answer is lost after the deed."""
        await self._arrive("submit")
        try:
            tx_id = self.chain.submit(raw)
        except (SlotUsed, Underpriced) as error:
            raise Ambiguous(error.code, error.message) from error
        if self._happens(self.faults.lost_reply_percent):
            raise Ambiguous(
                "BROADCAST_UNKNOWN", f"{self.name} did not answer; read the status before sending"
            )
        return tx_id

    async def call(self, sender: Address32, call: Call) -> bytes:
        """Take a call that has no byte form, as if the sender's key had signed it."""
        await self._arrive("call")
        return self.chain.call(sender, call).id

    async def simulate(self, call: Call, sender: Address32) -> Outcome:
        """What the call would do now."""
        await self._arrive("simulate")
        return self.chain.simulate(call, sender)

    async def _arrive(self, method: str) -> None:
        faults = self.faults
        if faults.stopped or self._happens(faults.failure_percent):
            raise self._down(method)
        if faults.blackholed:
            await self._clock.sleep(_FOREVER_SECONDS)
        if faults.delay_seconds_max > 0:
            await self._clock.sleep(self._randomness.uniform(0, faults.delay_seconds_max))

    def _lag(self) -> int:
        flap = self.faults.flap_blocks
        back = flap if flap and self._randomness.uniform(0, 2) < 1 else 0
        return self.faults.lag_blocks + back

    def _happens(self, percent: float) -> bool:
        return percent > 0 and self._randomness.uniform(0, 100) < percent

    def _down(self, method: str) -> Transient:
        return Transient("NODE_DOWN", f"{self.name} did not answer {method}", {"node": self.name})

"""Final blocks, linked: a block counts only by its parent's hash, never by its slot alone.

A node says the same of a slot that was skipped and of one that it lost, so what it says of an
empty slot is believed only because the next block names an earlier parent (F25). The finalized
slot may go backwards while a restarted node replays: that is silence (`Transient`), never a new
truth (F24). Another hash under the cursor ends the reader for good (`Fatal`, INV-10).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from xstock_chains.solana.chain import SolanaChain
from xstock_chains.solana.errors import LONG_TERM_SLOT_SKIPPED, SLOT_SKIPPED, RpcFault, refused
from xstock_chains.solana.rpc import Call, Rpc, dict_of, invalid, key_of, list_of, number_of
from xstock_core.observation import BlockRef
from xstock_runtime.errors import Fatal, InvalidMessage, Transient

FINALIZED: Final = {"commitment": "finalized"}
CONFIRMED: Final = {"commitment": "confirmed"}
_SKIPPED: Final = (SLOT_SKIPPED, LONG_TERM_SLOT_SKIPPED)


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last final block that was worked through; `hash` is None only before the first."""

    slot: int
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class Block:
    """A block; `transactions` are as the node gave them, None where they were not asked for."""

    slot: int
    hash: bytes
    parent_slot: int
    parent_hash: bytes
    height: int
    time: int
    transactions: tuple[Any, ...] | None
    signatures: tuple[str, ...] | None = None

    def ref(self, chain: SolanaChain) -> BlockRef:
        """The block as the ports name it."""
        return BlockRef(chain.domain, self.slot, self.hash, self.time)


def block_call(slot: int, details: str = "none", commitment: str = "finalized") -> Call:
    """The call that asks for a block; `details` none, signatures or full."""
    options = {
        "encoding": "base64",
        "transactionDetails": details,
        "rewards": False,
        "commitment": commitment,
        "maxSupportedTransactionVersion": 0,
    }
    return ("getBlock", [slot, options])


def parse_block(slot: int, raw: Any) -> Block:
    """A block from getBlock; raises InvalidMessage, Transient where the node lacks a part."""
    fields = dict_of(raw, "block")
    if fields.get("blockTime") is None or fields.get("blockHeight") is None:
        raise Transient("NODE_BEHIND", f"block {slot} has no time or height here yet")
    transactions = fields.get("transactions")
    signatures = fields.get("signatures")
    return Block(
        slot=slot,
        hash=key_of(fields.get("blockhash"), "block.blockhash"),
        parent_slot=number_of(fields.get("parentSlot"), "block.parentSlot"),
        parent_hash=key_of(fields.get("previousBlockhash"), "block.previousBlockhash"),
        height=number_of(fields.get("blockHeight"), "block.blockHeight"),
        time=number_of(fields.get("blockTime"), "block.blockTime"),
        transactions=None if transactions is None else tuple(list_of(transactions, "transactions")),
        signatures=None if signatures is None else tuple(list_of(signatures, "signatures")),
    )


class FinalChain:
    """The node's final chain with the memory that makes going back impossible."""

    def __init__(self, rpc: Rpc, chain: SolanaChain) -> None:
        self._rpc = rpc
        self._chain = chain
        self._head: Block | None = None

    async def head(self) -> Block:
        """The finalized block, on the right chain and never behind an earlier answer."""
        before = self._head
        calls: list[Call] = [("getGenesisHash", []), ("getSlot", [FINALIZED])]
        genesis, slot = await self._rpc.batch(calls)
        return await self.accept(genesis, number_of(slot, "getSlot"), before)

    @property
    def known(self) -> Block | None:
        """The last final block that was accepted; remember it before asking for a newer one."""
        return self._head

    async def accept(self, genesis: Any, slot: int, before: Block | None) -> Block:
        """The block of a slot that the node calls final, which may not lie behind what was known
        before asking (two questions at once may well be answered in the other order)."""
        self.check_identity(genesis)
        if before is not None and slot == before.slot:
            return before
        self.require_progress(before, slot)
        head = await self.block(slot)
        last = self._head
        if last is not None and head.slot == last.slot and head.hash != last.hash:
            raise self.violated(head.slot, last.hash, head.hash)
        if last is None or head.slot > last.slot:
            self._head = head
        return head

    def require_progress(self, before: Block | None, slot: int) -> None:
        """SECURITY: a finalized slot that regresses is a node that replays; HOLD (F24)."""
        if before is not None and slot < before.slot:
            text = f"{self._rpc.host} went back from final slot {before.slot} to {slot}; waiting"
            raise Transient("NODE_BEHIND", text, {"seen": before.slot, "now": slot})

    def check_identity(self, genesis: Any) -> None:
        """Refuse another chain than the registered one; raises Fatal (F14)."""
        found = key_of(genesis, "getGenesisHash")
        if found != self._chain.genesis_hash:
            text = (
                f"{self._rpc.host} serves another chain than {self._chain.name}: genesis is "
                f"{found.hex()}, registered is {self._chain.genesis_hash.hex()}; correct the "
                "node's address or the registry"
            )
            raise Fatal("WRONG_CHAIN", text, {"found": found.hex()})

    def violated(self, slot: int, before: bytes, now: bytes) -> Fatal:
        """Two final blocks at one slot: nobody may go on from here (INV-10)."""
        text = (
            f"{self._chain.name} slot {slot} was final as {before.hex()} and is now "
            f"{now.hex()} by {self._rpc.host}; stop and compare with other nodes"
        )
        facts = {"chain": self._chain.name, "slot": slot, "host": self._rpc.host}
        return Fatal("FINALITY_VIOLATED", text, facts | {"before": before.hex(), "now": now.hex()})

    async def block(self, slot: int, details: str = "none") -> Block:
        """One final block; raises Transient if the node does not show it."""
        method, params = block_call(slot, details)
        return parse_block(slot, await self._rpc.call(method, *params))

    async def follow(self, after: Anchor, head: Block, most: int) -> list[Block]:
        """The linked full blocks after the anchor up to the head, oldest first, about `most`.

        Raises Fatal if the anchor is no ancestor, Transient for a block that is not shown.
        """
        if head.slot < after.slot:
            text = f"{self._rpc.host} is final at {head.slot}, behind our {after.slot}"
            raise Transient("NODE_BEHIND", text, {"head": head.slot, "cursor": after.slot})
        if head.slot == after.slot:
            if after.hash is not None and head.hash != after.hash:
                raise self.violated(head.slot, after.hash, head.hash)
            return []
        slots = await self._slots(after.slot + 1, min(head.slot, after.slot + 4 * most))
        slots = slots[:most] or [head.slot]
        blocks = await self._fetch(slots)
        return await self.link(after, blocks)

    async def _slots(self, first: int, last: int) -> list[int]:
        """Slots with a block, as the node says; a hint only, the links prove it."""
        answer = await self._rpc.call("getBlocks", first, last, FINALIZED)
        slots = [number_of(one, "getBlocks") for one in list_of(answer, "getBlocks")]
        if any(not first <= slot <= last for slot in slots) or slots != sorted(set(slots)):
            raise invalid("getBlocks", slots[:5], f"ascending slots from {first} to {last}")
        return slots

    async def _fetch(self, slots: Sequence[int]) -> list[Block]:
        calls = [block_call(slot, "full") for slot in slots]
        answers = await self._rpc.batch(calls)
        return [parse_block(slot, raw) for slot, raw in zip(slots, answers, strict=True)]

    async def link(self, after: Anchor, blocks: Sequence[Block]) -> list[Block]:
        """The blocks with every one between that a hint left out, each under its child."""
        chain: list[Block] = []
        for block in blocks:
            last = Anchor(chain[-1].slot, chain[-1].hash) if chain else after
            chain.extend(await self._down_to(last, block))
        return chain

    async def _down_to(self, last: Anchor, block: Block) -> list[Block]:
        """The blocks above `last` up to this one, walked back by parent."""
        found = [block]
        while not self.is_child(last, found[0]):
            child = found[0]
            if child.parent_slot <= last.slot:
                raise self.violated(last.slot, last.hash or b"", child.parent_hash)
            if len(found) > 4 * self._chain.facts.blocks_a_page_max:
                raise Transient("NODE_INCONSISTENT", f"{self._rpc.host} leaves out many blocks")
            parent = await self._hidden(child.parent_slot)
            if parent.hash != child.parent_hash:
                text = f"slot {child.slot} names another parent than {self._rpc.host} shows"
                raise Transient("NODE_INCONSISTENT", text, {"slot": child.slot})
            found.insert(0, parent)
        return found

    def is_child(self, last: Anchor, block: Block) -> bool:
        """SECURITY: linked by slot and hash; before the first block only by slot (F25, INV-09)."""
        if last.hash is None:
            return block.parent_slot <= last.slot
        return block.parent_slot == last.slot and block.parent_hash == last.hash

    async def _hidden(self, slot: int) -> Block:
        """A block that a hint left out though its child names it: never skipped (F25)."""
        method, params = block_call(slot, "full")
        (answer,) = await self._rpc.batch_settled([(method, params)])
        if isinstance(answer, RpcFault):
            if answer.code in _SKIPPED:
                text = f"{self._rpc.host} calls slot {slot} skipped, but its child names it"
                raise Transient("BLOCK_HIDDEN", text, {"slot": slot})
            raise refused(self._rpc.host, method, answer)
        return parse_block(slot, answer)

    async def is_final(self, block: BlockRef) -> bool | None:
        """True if this very block is final, False if another one or none is there, None if not
        yet known. A slot counts as skipped only by the link over it (F25)."""
        head = await self.head()
        if head.slot < block.number:
            return None
        if head.slot == block.number:
            return head.hash == block.hash
        call = block_call(block.number)
        (answer,) = await self._rpc.batch_settled([call])
        if not isinstance(answer, RpcFault):
            return parse_block(block.number, answer).hash == block.hash
        if answer.code not in _SKIPPED:
            raise refused(self._rpc.host, "getBlock", answer)
        last = min(head.slot, block.number + 4 * self._chain.facts.blocks_a_page_max)
        above = await self._slots(block.number + 1, last)
        if not above:
            raise Transient("NODE_BEHIND", f"no block above slot {block.number} is shown")
        child = await self.block(above[0])
        if child.parent_slot >= block.number:
            text = f"{self._rpc.host} calls slot {block.number} skipped, but its child names it"
            raise Transient("BLOCK_HIDDEN", text, {"slot": block.number})
        return False


def refuse_malformed(block: Block) -> Sequence[Any]:
    """The transactions of a full block; raises InvalidMessage if the node left them out."""
    if block.transactions is None:
        raise InvalidMessage("RPC_MALFORMED", f"block {block.slot} came without transactions")
    return block.transactions

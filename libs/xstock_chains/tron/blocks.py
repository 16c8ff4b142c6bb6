"""Tron's blocks: the solid head, blocks linked beneath it, and what happened in one.

Solid means shown by the solidity interface, nothing else. Past the solid head that interface
answers {} and [], exactly as for an empty block, so the head is always asked first and of the
same server, and an answer that lacks what lies below it is a node that lags, never an absence.
Blocks are linked by parent hash; a block's execution infos must name exactly the transactions of
the block. The solid head never goes back, and two solid ids at one height end the reader (F29).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from xstock_chains.solidity.events import Log
from xstock_chains.solidity.lanes import Anchor
from xstock_chains.tron.chain import TronChain
from xstock_chains.tron.rpc import SOLID, TronRpc, hex_bytes, list_of, number_of, object_of
from xstock_core.ids import Domain
from xstock_core.observation import BlockRef
from xstock_runtime.errors import Fatal, InvalidMessage, Transient

_SUCCESS: Final = "SUCCESS"


@dataclass(frozen=True, slots=True)
class Block:
    """What is used of a block; the id carries the number in its first eight bytes."""

    number: int
    id: bytes
    parent: bytes
    time_ms: int
    transactions: tuple[bytes, ...] = ()

    def ref(self, chain: Domain) -> BlockRef:
        """The block as the ports name it."""
        return BlockRef(chain, self.number, self.id, self.time_ms // 1000)


def parse_block(raw: Any) -> Block | None:
    """A block from the node's JSON; None for {}, which is a block that it does not have."""
    answer = object_of(raw, "block")
    if not answer:
        return None
    header = object_of(answer.get("block_header"), "block_header")
    fields = object_of(header.get("raw_data"), "block_header.raw_data")
    block_id = hex_bytes(answer.get("blockID"), "blockID", 32)
    number = number_of(fields.get("number"), "block.number")
    if int.from_bytes(block_id[:8], "big") != number:
        raise InvalidMessage("RPC_MALFORMED", f"block {number} has the id 0x{block_id.hex()}")
    return Block(
        number=number,
        id=block_id,
        parent=hex_bytes(fields.get("parentHash"), "block.parentHash", 32),
        time_ms=number_of(fields.get("timestamp"), "block.timestamp"),
        transactions=tuple(
            hex_bytes(object_of(one, "transaction").get("txID"), "txID", 32)
            for one in list_of(answer.get("transactions"), "transactions")
        ),
    )


def succeeded(info: Mapping[str, Any]) -> bool:
    """SECURITY: only a transaction whose receipt says SUCCESS has effects (F17). A rejected
    internal transaction leaves no log and so counts for nothing, whatever its outer one did."""
    receipt = object_of(info.get("receipt"), "receipt")
    return info.get("result") != "FAILED" and receipt.get("result") == _SUCCESS


def landed(info: Mapping[str, Any]) -> bool:
    """Whether a transaction of any kind did what it says; a transfer has no receipt result."""
    receipt = object_of(info.get("receipt"), "receipt")
    return info.get("result") != "FAILED" and receipt.get("result", _SUCCESS) == _SUCCESS


class SolidChain:
    """One server's solid chain, with the memory that makes going back impossible."""

    def __init__(self, rpc: TronRpc, chain: TronChain) -> None:
        self._rpc = rpc
        self._chain = chain
        self._head: Block | None = None

    async def head(self) -> Block:
        """The solid head, on the right chain and never behind an earlier answer."""
        before = self._head
        genesis, raw = await self._rpc.all(
            [(SOLID, "getblockbynum", {"num": 0}), (SOLID, "getnowblock", {})]
        )
        self.check_genesis(genesis)
        head = parse_block(raw)
        if head is None:
            raise self._rpc.behind("has no solid block yet")
        if before is not None and head.number < before.number:
            raise self._rpc.behind(f"went back from solid block {before.number} to {head.number}")
        last = self._head
        if last is not None and head.number == last.number and head.id != last.id:
            raise self.violated(head.number, last.id, head.id)
        if last is None or head.number > last.number:
            self._head = head
        return head

    def check_genesis(self, raw: Any) -> None:
        """See `check_id`."""
        genesis = parse_block(raw)
        if genesis is None:
            raise self._rpc.behind("does not show its genesis block")
        self.check_id(genesis)

    def check_id(self, genesis: Block) -> None:
        """Refuse another chain than the registered one (F14); raises Fatal. The chain id that
        contracts see is part of the genesis id."""
        if genesis.id != self._chain.genesis_hash:
            text = (
                f"{self._rpc.host} serves another chain than {self._chain.name}: genesis is "
                f"{genesis.id.hex()}, registered is {self._chain.genesis_hash.hex()}; correct the "
                "node's address or the registry"
            )
            raise Fatal("WRONG_CHAIN", text, {"found": genesis.id.hex()})

    def violated(self, number: int, before: bytes, now: bytes) -> Fatal:
        """Two solid ids at one height: nobody may go on from here (INV-10)."""
        text = (
            f"{self._chain.name} block {number} was solid as {before.hex()} and is now "
            f"{now.hex()} by {self._rpc.host}; stop and compare with other nodes"
        )
        facts = {"chain": self._chain.name, "number": number, "host": self._rpc.host}
        return Fatal("FINALITY_VIOLATED", text, facts | {"before": before.hex(), "now": now.hex()})

    async def follow(self, after: Anchor, head: Block, span: int) -> list[Block]:
        """The linked solid blocks after the anchor, oldest first, at most `span`, not past the
        head. Raises Fatal if the anchor is no ancestor, Transient for a node that lags."""
        if head.number < after.number:
            raise self._rpc.behind(f"is solid at {head.number}, behind our {after.number}")
        if head.number == after.number:
            if after.hash is not None and head.id != after.hash:
                raise self.violated(head.number, after.hash, head.id)
            return []
        last = min(head.number, after.number + span)
        blocks = await self._range(after.number + 1, last)
        if after.hash is not None and blocks[0].parent != after.hash:
            raise self.violated(after.number, after.hash, blocks[0].parent)
        if blocks[-1].number == head.number and blocks[-1].id != head.id:
            raise self.violated(head.number, head.id, blocks[-1].id)
        return blocks

    async def _range(self, first: int, last: int) -> list[Block]:
        """All blocks from `first` to `last`, linked to each other."""
        raw = await self._rpc.solid("getblockbylimitnext", startNum=first, endNum=last + 1)
        found = list_of(object_of(raw, "getblockbylimitnext").get("block"), "block")
        blocks = [block for one in found if (block := parse_block(one)) is not None]
        if [block.number for block in blocks] != list(range(first, last + 1)):
            raise self._rpc.behind(f"lacks blocks of {first} to {last} below its solid head")
        for block, child in pairwise(blocks):
            if child.parent != block.id:
                text = f"{self._rpc.host} shows solid blocks that do not link at {child.number}"
                raise Transient("NODE_INCONSISTENT", text, {"number": child.number})
        return blocks

    async def block(self, number: int) -> Block:
        """The solid block at this height, which is not above the head."""
        found = parse_block(await self._rpc.solid("getblockbynum", num=number))
        if found is None or found.number != number:
            raise self._rpc.behind(f"lacks solid block {number}")
        return found

    async def is_final(self, block: BlockRef) -> bool | None:
        """True if this very block is solid, False if another one is, None if not yet known."""
        head = await self.head()
        if head.number < block.number:
            return None
        found = head if head.number == block.number else await self.block(block.number)
        return found.id == block.hash


Counts = Callable[[Mapping[str, Any]], bool]
"""Whether a transaction with this execution info has effects: `succeeded`."""


async def read_logs(
    rpc: TronRpc, interface: str, blocks: Sequence[Block], counts: Counts = succeeded
) -> list[Log]:
    """The logs of all successful transactions of these blocks, in chain order.

    A log's index is its place among all logs of its block. Raises Transient if the infos do not
    name exactly the block's transactions.
    """
    busy = [block for block in blocks if block.transactions]
    answers = await rpc.all(
        [(interface, "gettransactioninfobyblocknum", {"num": block.number}) for block in busy]
    )
    return [
        log
        for block, answer in zip(busy, answers, strict=True)
        for log in block_logs(rpc, block, answer, counts)
    ]


def block_logs(rpc: TronRpc, block: Block, answer: Any, counts: Counts) -> list[Log]:
    """The logs of one block by its execution infos; see `read_logs`."""
    infos = {
        hex_bytes(info.get("id"), "info.id", 32): info
        for info in (object_of(one, "info") for one in list_of(answer, "infos"))
    }
    if set(infos) != set(block.transactions):
        raise rpc.behind(
            f"shows {len(infos)} executions of the {len(block.transactions)} transactions of "
            f"block {block.number}"
        )
    logs: list[Log] = []
    for tx in block.transactions:
        info = infos[tx]
        if number_of(info.get("blockNumber"), "blockNumber") != block.number:
            text = f"an execution of block {block.number} names another block"
            raise InvalidMessage("RPC_MALFORMED", text, {"tx": tx.hex()})
        if counts(info):
            logs.extend(_logs_of(block, tx, info, len(logs)))
    return logs


def _logs_of(block: Block, tx: bytes, info: Mapping[str, Any], first: int) -> list[Log]:
    found = [object_of(one, "log") for one in list_of(info.get("log"), "log")]
    return [
        Log(
            address=hex_bytes(raw.get("address"), "log.address", 20),
            topics=tuple(
                hex_bytes(topic, "topic", 32) for topic in list_of(raw.get("topics"), "topics")
            ),
            data=hex_bytes(raw.get("data", ""), "log.data"),
            block_number=block.number,
            block_hash=block.id,
            tx=tx,
            log_index=first + at,
        )
        for at, raw in enumerate(found)
    ]

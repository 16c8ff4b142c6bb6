"""The final chain, walked back by parent hash from the hash that the node calls finalized.

Never trusts a block because of its number: a header fetched by number counts only once it is
linked to the finalized hash above it and to the last final hash below it. A node that lags is
silence (`Transient`); two final hashes at one height end the reader for good (`Fatal`). Chain
id and genesis are asked again with every head, because a node behind one address can change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.rpc import Call, Rpc, data_of, quantity
from xstock_chains.solidity.abi import hex_of
from xstock_chains.solidity.lanes import Anchor
from xstock_core.ids import U64_MAX, Domain
from xstock_core.observation import BlockRef
from xstock_runtime.errors import Fatal, InvalidMessage, Transient

_LINK_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Header:
    """What is used of a block header; `bloom` is its 2048-bit logs bloom as a number."""

    number: int
    hash: bytes
    parent: bytes
    time: int
    bloom: int

    def ref(self, chain: Domain) -> BlockRef:
        """The block as the ports name it."""
        return BlockRef(chain, self.number, self.hash, self.time)


def parse_header(raw: Any) -> Header:
    """A header from JSON-RPC; raises InvalidMessage."""
    if not isinstance(raw, dict):
        raise InvalidMessage("RPC_MALFORMED", "a block is not an object; ask another node")
    return Header(
        number=quantity(raw.get("number"), "block.number", U64_MAX),
        hash=data_of(raw.get("hash"), "block.hash", 32),
        parent=data_of(raw.get("parentHash"), "block.parentHash", 32),
        time=quantity(raw.get("timestamp"), "block.timestamp", U64_MAX),
        bloom=int.from_bytes(data_of(raw.get("logsBloom"), "block.logsBloom", 256), "big"),
    )


def block_call(which: str | int) -> Call:
    """The call that asks for a header by tag or number."""
    text = which if isinstance(which, str) else hex(which)
    return ("eth_getBlockByNumber", [text, False])


class FinalChain:
    """The node's final chain with the memory that makes going back impossible."""

    def __init__(self, rpc: Rpc, chain: EvmChain) -> None:
        self._rpc = rpc
        self._chain = chain
        self._head: Header | None = None
        self._linked: dict[int, Header] = {}

    async def head(self) -> Header:
        """The finalized header, on the right chain and never behind an earlier answer."""
        before = self._head
        answers = await self._rpc.batch([*self.identity_calls(), block_call("finalized")])
        self.check_identity(answers[:2])
        return self._accept(answers[2], before)

    def identity_calls(self) -> list[Call]:
        """What is asked with every head: chain id and genesis (F14)."""
        return [("eth_chainId", []), block_call(0)]

    def check_identity(self, answers: Sequence[Any]) -> None:
        """Refuse another chain than the registered one; raises Fatal."""
        chain_id = quantity(answers[0], "eth_chainId")
        if chain_id != self._chain.chain_id:
            raise self._wrong_chain("chain id", self._chain.chain_id, chain_id)
        if answers[1] is None:
            raise Transient("NODE_BEHIND", f"{self._rpc.host} does not show its genesis block")
        genesis = data_of(answers[1].get("hash"), "genesis.hash", 32)
        if genesis != self._chain.genesis_hash:
            raise self._wrong_chain("genesis", self._chain.genesis_hash.hex(), genesis.hex())

    def _wrong_chain(self, what: str, expected: object, found: object) -> Fatal:
        text = (
            f"{self._rpc.host} serves another chain than {self._chain.name}: {what} is {found}, "
            f"registered is {expected}; correct the node's address or the registry"
        )
        return Fatal("WRONG_CHAIN", text, {"what": what, "expected": expected, "found": found})

    def _accept(self, raw: Any, before: Header | None) -> Header:
        """The finalized header, which may not lie behind what was known before asking (two
        questions at once may well be answered in the other order)."""
        if raw is None:
            raise Transient("NODE_BEHIND", f"{self._rpc.host} has no finalized block yet")
        head, last = parse_header(raw), self._head
        if before is not None and head.number < before.number:
            text = (
                f"{self._rpc.host} went back from final block {before.number} to {head.number}; "
                "waiting until it has caught up"
            )
            raise Transient("NODE_BEHIND", text, {"seen": before.number, "now": head.number})
        if last is not None and head.number == last.number and head.hash != last.hash:
            raise self.violated(head.number, last.hash, head.hash)
        if last is None or head.number > last.number:
            self._head = head
        return head

    def violated(self, number: int, before: bytes, now: bytes) -> Fatal:
        """Two final hashes at one height: nobody may go on from here (INV-10)."""
        text = (
            f"{self._chain.name} block {number} was final as 0x{before.hex()} and is now "
            f"0x{now.hex()} by {self._rpc.host}; stop and compare with other nodes"
        )
        facts = {"chain": self._chain.name, "number": number, "host": self._rpc.host}
        facts |= {"before": before.hex(), "now": now.hex()}
        return Fatal("FINALITY_VIOLATED", text, facts)

    async def follow(self, after: Anchor) -> tuple[Header, list[Header]]:
        """(head, the linked headers after the anchor, oldest first: up to the head, or as many
        as may be held). Raises Fatal if the anchor is no ancestor of the finalized hash."""
        head = await self.head()
        if head.number < after.number:
            text = f"{self._rpc.host} is final at {head.number}, behind our {after.number}"
            raise Transient("NODE_BEHIND", text, {"head": head.number, "cursor": after.number})
        if head.number == after.number:
            if after.hash is not None and head.hash != after.hash:
                raise self.violated(head.number, after.hash, head.hash)
            return head, []
        last = min(head.number, after.number + self._chain.facts.link_blocks_max)
        return head, await self._link(after, head, last)

    def linked_hash(self, number: int) -> bytes | None:
        """The final hash at this height if it was linked by the latest `follow`."""
        header = self._linked.get(number)
        return None if header is None else header.hash

    async def _link(self, after: Anchor, head: Header, last: int) -> list[Header]:
        """Headers after.number + 1 … last, each proved by its child's parent hash.

        Where `last` is thousands of blocks below the head, its own header is taken by number
        from a node that calls a much later block final; the link to the head follows with the
        later pages, and a break is then a violation.
        """
        by_number = await self._fetch(after.number + 1, last, head)
        wanted = by_number[last].hash
        chain: list[Header] = []
        for number in range(last, after.number, -1):
            header = by_number[number]
            if header.hash != wanted:
                header = await self._by_hash(number, wanted, len(chain))
            chain.append(header)
            wanted = header.parent
        chain.reverse()
        if after.hash is not None and wanted != after.hash:
            raise self.violated(after.number, after.hash, wanted)
        self._linked = {header.number: header for header in chain}
        return chain

    async def _fetch(self, first: int, last: int, head: Header) -> dict[int, Header]:
        found = {n: h for n, h in self._linked.items() if first <= n <= last}
        if first <= head.number <= last:
            found[head.number] = head
        missing = [number for number in range(first, last + 1) if number not in found]
        for start in range(0, len(missing), _LINK_BATCH):
            part = missing[start : start + _LINK_BATCH]
            answers = await self._rpc.batch([block_call(number) for number in part])
            for number, raw in zip(part, answers, strict=True):
                found[number] = self._numbered(number, raw)
        return found

    def _numbered(self, number: int, raw: Any) -> Header:
        if raw is None:
            text = f"{self._rpc.host} lacks block {number} beneath its own finalized block"
            raise Transient("NODE_BEHIND", text, {"number": number})
        header = parse_header(raw)
        if header.number != number:
            text = f"{self._rpc.host} answered block {header.number} when asked for {number}"
            raise InvalidMessage("RPC_MALFORMED", text, {"asked": number, "got": header.number})
        return header

    async def _by_hash(self, number: int, wanted: bytes, steps: int) -> Header:
        """The true ancestor where the node's answer by number was of another branch."""
        if steps > self._chain.facts.link_blocks_max or number < 0:
            raise Transient("NODE_INCONSISTENT", f"{self._rpc.host} cannot link block {number}")
        raw = await self._rpc.call("eth_getBlockByHash", hex_of(wanted), False)  # noqa: FBT003
        header = self._numbered(number, raw)
        if header.hash != wanted:
            raise InvalidMessage("RPC_MALFORMED", f"{self._rpc.host} answered another hash")
        return header

    async def is_final(self, block: BlockRef) -> bool | None:
        """True if this very block is final, False if another one is, None if not yet known."""
        calls = [*self.identity_calls(), block_call("finalized"), block_call(block.number)]
        before = self._head
        answers = await self._rpc.batch(calls)
        self.check_identity(answers[:2])
        head = self._accept(answers[2], before)
        if head.number < block.number:
            return None
        if answers[3] is None:
            raise Transient("NODE_BEHIND", f"{self._rpc.host} lacks block {block.number}")
        found = head if head.number == block.number else parse_header(answers[3])
        return found.hash == block.hash

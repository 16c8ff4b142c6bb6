"""Reads one EVM chain: final observations in order, with no gap, or an error.

The rule that makes a page complete: (1) its blocks are linked by parent hash beneath the hash
that the node calls finalized and above the cursor's hash; (2) every log lies in one of them by
hash; (3) a block without logs of ours is believed empty because its bloom excludes them, or
because the node said so when asked by block hash; (4) burn counters are dense, and at
the end of what was asked they equal the bridge's own `laneCounters` read at that very block
hash. Where a node keeps no state that old, (4) waits for a snapshot taken at a recent block
until that hash is final.
One page costs two or three round trips, however many events it holds.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.heads import FinalChain, Header, block_call, parse_header
from xstock_chains.evm.logs import LogFilter, in_order, merge_logs, parse_logs
from xstock_chains.evm.rpc import Call, Rpc, RpcFault, data_of, quantity
from xstock_chains.ports import (
    AssetSupply,
    Cursor,
    Page,
    Progress,
    SupplyReading,
    TxState,
    TxStatus,
)
from xstock_chains.solidity.abi import array_of_words, hex_of, selector, words
from xstock_chains.solidity.contracts import TokenContract
from xstock_chains.solidity.events import Log
from xstock_chains.solidity.evidence import Evidence, Found
from xstock_chains.solidity.lanes import (
    Anchor,
    Lanes,
    Position,
    check_lanes,
    count_lanes,
    counted_lanes,
    counters_data,
    lane_gap,
    parse_position,
)
from xstock_core.ids import AssetId, Domain, InvalidId
from xstock_core.observation import BlockRef, BurnFinal, Observation, TxRef
from xstock_runtime.errors import InvalidMessage, Transient

_SPAN_AT_START: Final = 8
_SNAPSHOTS_MAX: Final = 64
_TOTAL_SUPPLY: Final = selector("totalSupply()")
_MULTIPLIER: Final = selector("getCurrentMultiplier()")
_MULTIPLIER_NONCE: Final = selector("multiplierNonce()")
_IS_PAUSED: Final = selector("isPaused()")
_INVENTORY_OF: Final = selector("inventoryOf(bytes32)")


class EvmReader:
    """`ChainReader` for one node of one EVM chain."""

    def __init__(self, chain: EvmChain, rpc: Rpc) -> None:
        self.chain = chain
        self.evidence = Evidence(chain)
        self._rpc = rpc
        self._final = FinalChain(rpc, chain)
        self._filter = LogFilter(chain)
        self._span = _SPAN_AT_START
        self._span_max = chain.facts.log_span_blocks
        self._snapshots: deque[tuple[int, bytes, Lanes]] = deque(maxlen=_SNAPSHOTS_MAX)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def finalized_head(self) -> BlockRef:
        """The node's `finalized` block; raises Fatal on another chain or a broken finality."""
        return (await self._final.head()).ref(self.chain.domain)

    async def is_final(self, block: BlockRef) -> bool | None:
        """True if this very block is final; False if another one is; None if not yet known."""
        return await self._final.is_final(block)

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """Final observations after the cursor, at most `limit` unless one block holds more."""
        if after.chain is not self.chain.domain:
            text = (
                f"cursor of {after.chain.name} is not {self.chain.name}'s; check the cursor store"
            )
            raise InvalidMessage("CURSOR_INVALID", text, {"cursor_chain": after.chain.name})
        position = parse_position(after.text, self.chain.first_block)
        head, linked = await self._final.follow(position.anchor)
        if not linked:
            ref = head.ref(self.chain.domain)
            return Page((), after, through=ref, head=ref, more=False)
        window = linked[: self._span]
        logs, counted = await self._read_window(window)
        found = self.evidence.observe(self._refs(window), logs)
        seen = count_lanes(self.chain.domain, position.lanes, found)
        await self.prove_counters(seen, counted, head, at_head=window[-1] is head)
        kept, last = self._cut(found, window, limit)
        lanes = count_lanes(self.chain.domain, position.lanes, kept)
        self._adapt(len(found), len(window), limit)
        anchor = Anchor(last.number, last.hash)
        return Page(
            observations=tuple(observation for _, observation in kept),
            cursor=Cursor(self.chain.domain, Position(anchor, lanes).text()),
            through=last.ref(self.chain.domain),
            head=head.ref(self.chain.domain),
            more=last is not head,
        )

    def _refs(self, headers: Sequence[Header]) -> dict[int, BlockRef]:
        return {header.number: header.ref(self.chain.domain) for header in headers}

    async def _read_window(self, window: Sequence[Header]) -> tuple[list[Log], list[Any]]:
        """The logs of the window, and the bridges' counters at its end."""
        logs_calls = self._filter.range_calls(window[0].number, window[-1].number)
        counter_calls = self._counter_calls(window[-1].hash)
        try:
            answers = await self._rpc.batch_settled(logs_calls + counter_calls)
        except Transient:
            self._span = max(1, len(window) // 2)
            raise
        for answer in answers[: len(logs_calls)]:
            if isinstance(answer, RpcFault):
                self._span = self._span_max = max(1, len(window) // 2)
                raise self._rpc.refused("eth_getLogs", answer)
        logs = parse_logs(answers[: len(logs_calls)])
        suspects = self.suspects(window, list(logs.values()))
        if suspects:
            calls = [call for one in suspects for call in self._filter.block_calls(one.hash)]
            parse_logs(await self._rpc.batch(calls), logs)
        return in_order(logs), answers[len(logs_calls) :]

    def suspects(self, window: Sequence[Header], logs: Sequence[Log]) -> list[Header]:
        """SECURITY: blocks whose emptiness is unproven; an empty list is no proof (F30)."""
        return self._filter.suspects(window, logs)

    def _cut(
        self,
        found: Sequence[Found],
        window: Sequence[Header],
        limit: int,
    ) -> tuple[Sequence[Found], Header]:
        """The whole blocks that fit the limit (at least one with something), and the last."""
        if len(found) <= limit:
            return found, window[-1]
        first_out = found[limit][1].place.block.number
        first_in = found[0][1].place.block.number
        end = first_out - 1 if first_out > first_in else first_in
        kept = [pair for pair in found if pair[1].place.block.number <= end]
        return kept, window[end - window[0].number]

    def _adapt(self, found: int, blocks: int, limit: int) -> None:
        """As many blocks as fill a page, doubling at most, within what this node allows; that
        bound falls by half with a refusal and rises by one block a page."""
        self._span_max = min(self._span_max + 1, self.chain.facts.log_span_blocks)
        fitting = max(1, blocks * limit // found) if found else self._span * 2
        self._span = min(fitting, self._span * 2, self._span_max)

    # ------------------------------------------------------------ completeness by counters

    def _counter_calls(self, block_hash: bytes) -> list[Call]:
        data = counters_data(self.chain.domain)
        return [eth_call(bridge.address, data, block_hash) for bridge in self.chain.bridges]

    def _counters(self, answers: Sequence[Any]) -> Lanes | None:
        """Counters per bridge; None if the node keeps no state of that block."""
        lanes: Lanes = {}
        for bridge, answer in zip(self.chain.bridges, answers, strict=True):
            if isinstance(answer, RpcFault):
                return None
            raw = data_of(answer, "laneCounters")
            counts = array_of_words(raw, "laneCounters") if raw else ()
            lanes[bridge.address] = counted_lanes(self.chain.domain, counts)
        return lanes

    async def prove_counters(
        self, seen: Lanes, answers: Sequence[Any], head: Header, *, at_head: bool
    ) -> None:
        """SECURITY: at the window's end the bridge's own counters equal what was seen (INV-09).

        Where the node keeps no state of that block, snapshots prove it once the head is reached.
        """
        counted = self._counters(answers)
        if counted is None:
            if at_head:
                await self._prove_by_snapshot(seen, head)
            return
        for bridge in self.chain.bridges:
            if bridge.retired_block is None:
                check_lanes(self.chain.domain, bridge.address, counted[bridge.address], seen)

    async def _prove_by_snapshot(self, seen: Lanes, head: Header) -> None:
        """Compare the newest snapshot whose block is final by now; take one for later."""
        latest = parse_header(await self._rpc.call("eth_getBlockByNumber", "latest", False))  # noqa: FBT003
        answers = await self._rpc.batch_settled(self._counter_calls(latest.hash))
        lanes = self._counters(answers)
        if lanes is None:
            raise Transient("STATE_UNREADABLE", f"{self._rpc.host} cannot read its latest state")
        while self._snapshots and self._snapshots[0][0] <= head.number:
            number, block_hash, counted = self._snapshots.popleft()
            if self._final.linked_hash(number) == block_hash:
                self._at_least(seen, counted)
        self._snapshots.append((latest.number, latest.hash, lanes))

    def _at_least(self, seen: Lanes, counted: Lanes) -> None:
        """Counters are dense, so seeing burn n or a later one means having seen them all."""
        for bridge, counts in counted.items():
            for destination, count in counts.items():
                have = seen.get(bridge, {}).get(destination, 0)
                if have < count:
                    raise lane_gap(self.chain.domain, bridge, destination, have, count)

    # ------------------------------------------------------------ the other questions

    async def re_observe(self, tx: TxRef) -> Sequence[Observation]:
        """The observations of one transaction; none while it is not final or if it failed."""
        receipt = await self._rpc.call("eth_getTransactionReceipt", hex_of(tx.id))
        if receipt is None:
            return ()
        if not self.succeeded(receipt):
            self.evidence.rejected["status"] += 1
            return ()
        block_hash = hex_of(data_of(receipt.get("blockHash"), "receipt.blockHash", 32))
        raw = await self._rpc.call("eth_getBlockByHash", block_hash, False)  # noqa: FBT003
        if raw is None:
            return ()
        header = parse_header(raw)
        if await self._final.is_final(header.ref(self.chain.domain)) is not True:
            return ()
        logs = merge_logs([receipt.get("logs")])
        found = self.evidence.observe(self._refs([header]), logs)
        return tuple(observation for _, observation in found)

    async def inspect(self, tx: TxRef) -> TxStatus | None:
        """Where a transaction stands on this node; see `TxInspector`."""
        receipt = await self._rpc.call("eth_getTransactionReceipt", hex_of(tx.id))
        if receipt is None:
            known = await self._rpc.call("eth_getTransactionByHash", hex_of(tx.id))
            return None if known is None else TxStatus(TxState.PENDING)
        block_hash = hex_of(data_of(receipt.get("blockHash"), "receipt.blockHash", 32))
        raw = await self._rpc.call("eth_getBlockByHash", block_hash, False)  # noqa: FBT003
        if raw is None:
            raise Transient("NODE_BEHIND", f"{self._rpc.host} does not show block {block_hash}")
        block = parse_header(raw).ref(self.chain.domain)
        final = await self._final.is_final(block) is True
        state = TxState.FINAL if final else TxState.INCLUDED
        return TxStatus(state, self.succeeded(receipt), block)

    def succeeded(self, receipt: Mapping[str, Any]) -> bool:
        """SECURITY: a failed transaction has no effects, whatever logs a node shows for it."""
        return quantity(receipt.get("status"), "receipt.status") == 1

    async def read_pending(self) -> Sequence[Progress]:
        """Burns in blocks after the final one, as the node sees them now; advisory."""
        calls = [block_call("finalized"), block_call("latest")]
        head, latest = (parse_header(raw) for raw in await self._rpc.batch(calls))
        first = max(head.number + 1, latest.number - self.chain.facts.log_span_blocks)
        if first > latest.number:
            return ()
        calls = self._filter.range_calls(first, latest.number)
        logs = merge_logs(await self._rpc.batch(calls))
        blocks = {
            log.block_number: BlockRef(
                self.chain.domain, log.block_number, log.block_hash, latest.time
            )
            for log in logs
        }
        return tuple(
            Progress(
                message=found.message,
                tx=found.place.tx,
                block_number=found.place.block.number,
                blocks_behind_final=found.place.block.number - head.number,
            )
            for _, found in self.evidence.observe(blocks, logs)
            if isinstance(found, BurnFinal)
        )

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """Supply and counters at the node's latest block, or at the block that `at` names; every
        call names it by hash. A token that cannot be read is left out, so that it silences no
        other. Raises Transient if the node does not have that very block."""
        by_asset = self.chain.by_asset()
        tokens = [by_asset[asset] for asset in assets if asset in by_asset]
        latest = await self._supply_block(at)
        asked = [self._supply_calls(token, latest.hash) for token in tokens]
        counter_calls = self._counter_calls(latest.hash)
        calls = [call for one in (*asked, counter_calls) for call in one]
        answers = iter(await self._rpc.batch_settled(calls))
        found = [
            self._readable(token, tuple(islice(answers, len(one))))
            for token, one in zip(tokens, asked, strict=True)
        ]
        supplies = tuple(supply for supply in found if supply is not None)
        lanes = self._counters(tuple(answers))
        if lanes is None:
            raise Transient("STATE_UNREADABLE", f"{self._rpc.host} cannot read its latest state")
        counts = lanes[self.chain.bridge.address]
        return SupplyReading(
            block=latest.ref(self.chain.domain),
            supplies=supplies,
            lane_counters=tuple((Domain(to), count) for to, count in sorted(counts.items())),
        )

    async def _supply_block(self, at: BlockRef | None) -> Header:
        if at is None:
            return parse_header(await self._rpc.call("eth_getBlockByNumber", "latest", False))  # noqa: FBT003
        raw = await self._rpc.call("eth_getBlockByHash", hex_of(at.hash), False)  # noqa: FBT003
        if raw is None:
            text = f"{self._rpc.host} does not have block {at.number} 0x{at.hash.hex()}"
            raise Transient("NODE_BEHIND", text, {"number": at.number})
        return parse_header(raw)

    def _supply_calls(self, token: TokenContract, block_hash: bytes) -> list[Call]:
        return [
            eth_call(token.address, _TOTAL_SUPPLY, block_hash),
            eth_call(token.address, _MULTIPLIER, block_hash),
            eth_call(token.address, _IS_PAUSED, block_hash),
            eth_call(self.chain.bridge.address, _INVENTORY_OF + token.asset, block_hash),
            eth_call(token.address, _MULTIPLIER_NONCE, block_hash),
            *(eth_call(token.address, data, block_hash) for data in token.inventory_questions()),
        ]

    def _readable(self, token: TokenContract, answers: Sequence[Any]) -> AssetSupply | None:
        """The token's supply, None when its answers are no answer (INV-16 audits the others)."""
        try:
            return self._supply(token, answers)
        except (Transient, InvalidMessage, InvalidId):
            return None

    def _supply(self, token: TokenContract, answers: Sequence[Any]) -> AssetSupply:
        for answer in (*answers[:4], *answers[5:]):
            if isinstance(answer, RpcFault):
                raise self._rpc.refused(f"eth_call for {token.symbol}", answer)
        (displayed,) = words(data_of(answers[0], "totalSupply"), 1, "totalSupply")
        multiplier, _ = words(data_of(answers[1], "getCurrentMultiplier"), 2, "multiplier")
        (paused,) = words(data_of(answers[2], "isPaused"), 1, "isPaused")
        (inventory,) = words(data_of(answers[3], "inventoryOf"), 1, "inventoryOf")
        held = [words(data_of(one, "sharesOf"), 1, "sharesOf")[0] for one in answers[5:]]
        epoch = 0
        if not isinstance(answers[4], RpcFault):
            (epoch,) = words(data_of(answers[4], "multiplierNonce"), 1, "multiplierNonce")
        return token.supply(
            displayed, multiplier, inventory, held, paused=bool(paused), epoch=epoch
        )


def eth_call(to: bytes, data: bytes, block: bytes | str) -> Call:
    """A read of a contract at a block hash (EIP-1898) or a tag."""
    where: Any = {"blockHash": hex_of(block)} if isinstance(block, bytes) else block
    return ("eth_call", [{"to": hex_of(to), "data": hex_of(data)}, where])

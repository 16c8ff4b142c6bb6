"""Reads one Tron network: solid observations in order, with no gap, or an error.

The rule that makes a page complete: (1) the solid head is asked first, of the same server, and
nothing above it is asked; (2) the page's blocks are linked by parent hash from the cursor's
block; (3) every block's execution infos name exactly the block's transactions, so an empty
answer proves nothing by itself; (4) burn counters are dense, and at the head they equal the
bridge's own `laneCounters`. A constant call names no block, so it is believed for the head that
was seen both before and after it. Only logs of transactions whose receipt says SUCCESS count.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from xstock_chains.ports import (
    AssetSupply,
    Cursor,
    Page,
    Progress,
    SupplyReading,
    TxState,
    TxStatus,
)
from xstock_chains.solidity.abi import array_of_words, selector, words
from xstock_chains.solidity.contracts import TokenContract
from xstock_chains.solidity.evidence import Evidence, Found
from xstock_chains.solidity.lanes import (
    Anchor,
    Lanes,
    Position,
    count_lanes,
    counted_lanes,
    counters_data,
    lane_gap,
    parse_position,
)
from xstock_chains.tron.blocks import (
    Block,
    SolidChain,
    landed,
    parse_block,
    read_logs,
    succeeded,
)
from xstock_chains.tron.calls import Read, data_or_raise, first_word, read_all
from xstock_chains.tron.chain import TronChain
from xstock_chains.tron.errors import NO_CONTRACT, CallFault, CallOutcome, failure_reason
from xstock_chains.tron.rpc import SOLID, WALLET, TronRpc, list_of, number_of, object_of
from xstock_core.ids import AssetId, Domain, InvalidId
from xstock_core.observation import BlockRef, BurnFinal, Observation, TxRef
from xstock_runtime.errors import InvalidMessage, Transient

_SPAN_AT_START: Final = 8
_STEADY_TRIES: Final = 5
_READINGS_MAX: Final = 64
_UNMOVED_BLOCKS_MAX: Final = 40
_TOTAL_SUPPLY: Final = selector("totalSupply()")
_MULTIPLIER: Final = selector("getCurrentMultiplier()")
_MULTIPLIER_NONCE: Final = selector("multiplierNonce()")
_IS_PAUSED: Final = selector("isPaused()")
_INVENTORY_OF: Final = selector("inventoryOf(bytes32)")


class TronReader:
    """`ChainReader` for one server of one Tron network."""

    def __init__(self, chain: TronChain, rpc: TronRpc) -> None:
        self.chain = chain
        self.evidence = Evidence(chain)
        self._rpc = rpc
        self._solid = SolidChain(rpc, chain)
        self._span = _SPAN_AT_START
        self._readings: deque[tuple[tuple[AssetId, ...], SupplyReading]] = deque(
            maxlen=_READINGS_MAX
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def finalized_head(self) -> BlockRef:
        """The server's solid head; raises Fatal on another chain or a broken finality."""
        return (await self._solid.head()).ref(self.chain.domain)

    async def is_final(self, block: BlockRef) -> bool | None:
        """True if this very block is solid; False if another one is; None if not yet known."""
        return await self._solid.is_final(block)

    # ------------------------------------------------------------------ pages

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """Final observations after the cursor, at most `limit` unless one block holds more."""
        if after.chain is not self.chain.domain:
            text = (
                f"cursor of {after.chain.name} is not {self.chain.name}'s; check the cursor store"
            )
            raise InvalidMessage("CURSOR_INVALID", text, {"cursor_chain": after.chain.name})
        position = parse_position(after.text, self.chain.first_block)
        head, answers = await self._steady(self._counter_reads())
        blocks = await self._window(position.anchor, head)
        if not blocks:
            ref = head.ref(self.chain.domain)
            return Page((), after, through=ref, head=ref, more=False)
        found = await self._observe(SOLID, blocks)
        seen = count_lanes(self.chain.domain, position.lanes, found)
        self.prove_counters(seen, self._counters(answers), at_head=blocks[-1].id == head.id)
        kept, last = _cut(found, blocks, limit)
        lanes = count_lanes(self.chain.domain, position.lanes, kept)
        self._adapt(len(found), len(blocks), limit)
        return Page(
            observations=tuple(observation for _, observation in kept),
            cursor=Cursor(self.chain.domain, Position(Anchor(last.number, last.id), lanes).text()),
            through=last.ref(self.chain.domain),
            head=head.ref(self.chain.domain),
            more=last.number < head.number,
        )

    async def _window(self, anchor: Anchor, head: Block) -> list[Block]:
        try:
            return await self._solid.follow(anchor, head, self._span)
        except Transient:
            self._span = max(1, self._span // 2)
            raise

    async def _observe(self, interface: str, blocks: Sequence[Block]) -> list[Found]:
        logs = await read_logs(self._rpc, interface, blocks, self.succeeded)
        refs = {block.number: block.ref(self.chain.domain) for block in blocks}
        return self.evidence.observe(refs, logs)

    def succeeded(self, info: Mapping[str, Any]) -> bool:
        """SECURITY: a failed transaction has no effects, whatever logs a node shows for it."""
        if succeeded(info):
            return True
        self.evidence.rejected["status"] += bool(info.get("log"))
        return False

    def _adapt(self, found: int, blocks: int, limit: int) -> None:
        """As many blocks as fill a page, doubling at most, within what a node answers."""
        fitting = max(1, blocks * limit // found) if found else self._span * 2
        self._span = min(fitting, self._span * 2, self.chain.facts.page_blocks_max)

    # ------------------------------------------------------------------ completeness

    async def _steady(self, reads: Sequence[Read]) -> tuple[Block, list[CallOutcome | CallFault]]:
        """A solid head and what contracts say in its very state: the head was the same before
        and after the calls, or none of our contracts did anything in the blocks between.
        Raises Transient while they do so faster than the node answers."""
        head = await self._solid.head()
        for _ in range(_STEADY_TRIES):
            answers = await read_all(self._rpc, SOLID, reads)
            again = await self._solid.head()
            if again.id == head.id or await self._unmoved(head, again):
                return head, answers
            head = again
        text = f"{self._rpc.host} moves on faster than it answers; ask a nearer node"
        raise Transient("STATE_UNREADABLE", text, {"host": self._rpc.host})

    async def _unmoved(self, before: Block, after: Block) -> bool:
        try:
            await self._require_unmoved(before.ref(self.chain.domain), after)
        except Transient:
            return False
        return True

    def _counter_reads(self) -> list[Read]:
        data = counters_data(self.chain.domain)
        return [Read(bridge.address, data) for bridge in self.chain.bridges]

    def _counters(self, answers: Sequence[CallOutcome | CallFault]) -> Lanes:
        """Counters per bridge; a bridge that is not there yet has counted nothing."""
        lanes: Lanes = {}
        for bridge, answer in zip(self.chain.bridges, answers, strict=True):
            if isinstance(answer, CallFault) and answer.message == NO_CONTRACT:
                lanes[bridge.address] = {}
                continue
            raw = data_or_raise(self._rpc, "laneCounters", answer)
            counts = array_of_words(raw, "laneCounters")
            lanes[bridge.address] = counted_lanes(self.chain.domain, counts)
        return lanes

    def prove_counters(self, seen: Lanes, counted: Lanes, *, at_head: bool) -> None:
        """SECURITY: at the head the bridge's own counters equal what was seen (INV-09); below
        it they cannot be less."""
        for bridge in self.chain.bridges:
            if bridge.retired_block is not None:
                continue
            for destination, count in counted[bridge.address].items():
                have = seen.get(bridge.address, {}).get(destination, 0)
                if have > count:
                    text = f"the bridge counted {count} burns to {destination}, {have} were shown"
                    raise InvalidMessage("COUNTER_REPEATED", text, {"destination": destination})
                if at_head and have < count:
                    raise lane_gap(self.chain.domain, bridge.address, destination, have, count)

    # ------------------------------------------------------------------ the other questions

    async def re_observe(self, tx: TxRef) -> Sequence[Observation]:
        """The observations of one transaction; none while it is not solid or if it failed.

        Its whole block is read again, because a log's index counts all logs of the block.
        """
        head = await self._solid.head()
        info = object_of(await self._rpc.solid("gettransactioninfobyid", value=tx.id.hex()), "info")
        if not info:
            return ()
        number = number_of(info.get("blockNumber"), "blockNumber")
        if number > head.number:
            return ()
        block = await self._solid.block(number)
        found = await self._observe(SOLID, [block])
        return tuple(one for _, one in found if one.place.tx == tx)

    async def inspect(self, tx: TxRef) -> TxStatus | None:
        """Where a transaction stands on this server; see `TxInspector`."""
        value = tx.id.hex()
        solid, seen, known = await self._rpc.all(
            [
                (SOLID, "gettransactioninfobyid", {"value": value}),
                (WALLET, "gettransactioninfobyid", {"value": value}),
                (WALLET, "gettransactionbyid", {"value": value}),
            ]
        )
        for interface, state, info in (
            (SOLID, TxState.FINAL, solid),
            (WALLET, TxState.INCLUDED, seen),
        ):
            if info:
                return await tx_status(self._rpc, self.chain.domain, interface, state, info)
        return TxStatus(TxState.PENDING) if known else None

    async def read_pending(self) -> Sequence[Progress]:
        """Burns in blocks above the solid head, as the full node sees them now; advisory."""
        head = await self._solid.head()
        latest = parse_block(await self._rpc.wallet("getnowblock"))
        if latest is None or latest.number <= head.number:
            return ()
        first = max(head.number + 1, latest.number - self.chain.facts.page_blocks_max + 1)
        raw = await self._rpc.wallet(
            "getblockbylimitnext", startNum=first, endNum=latest.number + 1
        )
        shown = list_of(object_of(raw, "getblockbylimitnext").get("block"), "block")
        blocks = [block for one in shown if (block := parse_block(one)) is not None]
        return tuple(
            Progress(
                message=found.message,
                tx=found.place.tx,
                block_number=found.place.block.number,
                blocks_behind_final=found.place.block.number - head.number,
            )
            for _, found in await self._observe(WALLET, blocks)
            if isinstance(found, BurnFinal)
        )

    # ------------------------------------------------------------------ supply

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """Supply and counters in the solid head's state, or in that of the block that `at` names.

        A node has no older state, so a reading for an earlier block is the one made then, or
        today's if none of our contracts has done anything in between; else Transient.
        """
        wanted = tuple(assets)
        for known, reading in self._readings:
            if at is not None and reading.block == at and known == wanted:
                return reading
        tokens = [self.chain.by_asset()[one] for one in assets if one in self.chain.by_asset()]
        reads = [self._supply_reads(token) for token in tokens]
        every = [read for one in (*reads, self._counter_reads()) for read in one]
        head, answers = await self._steady(every)
        block = head.ref(self.chain.domain)
        if at is not None and at != block:
            await self._require_unmoved(at, head)
            block = at
        sizes = [len(one) for one in reads]
        reading = self._reading(block, dict(zip(tokens, sizes, strict=True)), answers)
        self._readings.append((wanted, reading))
        return reading

    def _reading(
        self,
        block: BlockRef,
        asked: Mapping[TokenContract, int],
        answers: Sequence[CallOutcome | CallFault],
    ) -> SupplyReading:
        """`asked` says how many of the answers are each token's; the rest are the counters."""
        rest = iter(answers)
        found = [
            self._readable(token, tuple(islice(rest, count))) for token, count in asked.items()
        ]
        lanes = self._counters(tuple(rest))
        counts = lanes[self.chain.bridge.address]
        return SupplyReading(
            block=block,
            supplies=tuple(supply for supply in found if supply is not None),
            lane_counters=tuple((Domain(to), count) for to, count in sorted(counts.items())),
        )

    async def _require_unmoved(self, at: BlockRef, head: Block) -> None:
        """Raise unless nothing of ours happened after this block up to the head."""
        if not at.number < head.number <= at.number + _UNMOVED_BLOCKS_MAX:
            raise self._rpc.behind(f"has the state of block {head.number}, not of {at.number}")
        if await self._solid.is_final(at) is not True:
            raise self._rpc.behind(f"does not have block {at.number} {at.hash.hex()}")
        blocks = await self._solid.follow(Anchor(at.number, at.hash), head, _UNMOVED_BLOCKS_MAX)
        ours = {bridge.address for bridge in self.chain.bridges}
        ours |= {token.address for token in self.chain.tokens}
        logs = await read_logs(self._rpc, SOLID, blocks)
        if any(log.address in ours for log in logs):
            raise self._rpc.behind(f"has moved on from the state of block {at.number}")

    def _supply_reads(self, token: TokenContract) -> list[Read]:
        return [
            Read(token.address, _TOTAL_SUPPLY),
            Read(token.address, _MULTIPLIER),
            Read(token.address, _IS_PAUSED),
            Read(self.chain.bridge.address, _INVENTORY_OF + token.asset),
            Read(token.address, _MULTIPLIER_NONCE),
            *(Read(token.address, data) for data in token.inventory_questions()),
        ]

    def _readable(
        self, token: TokenContract, answers: Sequence[CallOutcome | CallFault]
    ) -> AssetSupply | None:
        """The token's supply, None when its answers are no answer (INV-16 audits the others)."""
        try:
            return self._supply(token, answers)
        except (Transient, InvalidMessage, InvalidId):
            return None

    def _supply(
        self, token: TokenContract, answers: Sequence[CallOutcome | CallFault]
    ) -> AssetSupply:
        displayed, multiplier, paused, inventory, *held = (
            words(data_or_raise(self._rpc, f"a read of {token.symbol}", answer), 1, token.symbol)[0]
            for answer in (*answers[:4], *answers[5:])
        )
        epoch = first_word(answers[4]) or 0
        return token.supply(
            displayed, multiplier, inventory, held, paused=bool(paused), epoch=epoch
        )


async def tx_status(
    rpc: TronRpc, chain: Domain, interface: str, state: TxState, info: Mapping[str, Any]
) -> TxStatus:
    """The status of a transaction by its execution info from this interface."""
    number = number_of(info.get("blockNumber"), "blockNumber")
    block = parse_block(await rpc.ask(interface, "getblockbynum", {"num": number}))
    if block is None or block.number != number:
        raise rpc.behind(f"does not show block {number} of an execution that it shows")
    reason = "" if landed(info) else failure_reason(info)
    return TxStatus(state, landed(info), block.ref(chain), reason)


def _cut(
    found: Sequence[Found], blocks: Sequence[Block], limit: int
) -> tuple[Sequence[Found], Block]:
    """The whole blocks that fit the limit (at least one with something), and the last."""
    if len(found) <= limit:
        return found, blocks[-1]
    first_out = found[limit][1].place.block.number
    first_in = found[0][1].place.block.number
    end = first_out - 1 if first_out > first_in else first_in
    kept = [pair for pair in found if pair[1].place.block.number <= end]
    return kept, blocks[end - blocks[0].number]

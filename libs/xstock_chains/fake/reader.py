"""`ChainReader` of the fake family: pages of whole final blocks, linked by hash.

It trusts its node no further than a real reader could: the cursor's block must still be the
node's final block, every block must link to the one before, events must be as many as the header
says, and the lane counters must account for every burn. Whatever does not add up raises.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xstock_chains.fake.chain import FakeBlock
from xstock_chains.fake.node import FakeNode, View
from xstock_chains.inventory import held_together
from xstock_chains.ports import (
    AssetSupply,
    Cursor,
    Page,
    Progress,
    SupplyReading,
    TxState,
    TxStatus,
)
from xstock_core.ids import Address32, AssetId, Domain
from xstock_core.observation import BlockRef, BurnFinal, Observation, TxRef
from xstock_runtime.errors import Fatal, InvalidMessage, Transient

BLOCKS_PER_PAGE_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class _Position:
    number: int
    hash: bytes
    counters: dict[Domain, int]


class FakeReader:
    """Reads one chain through one node; `issuer_inventory` names its owners per asset."""

    def __init__(
        self,
        node: FakeNode,
        issuer_inventory: Mapping[AssetId, Sequence[Address32]] | None = None,
    ) -> None:
        self._node = node
        self._issuer_inventory = issuer_inventory or {}
        self._domain = node.chain.domain

    async def finalized_head(self) -> BlockRef:
        """The node's final head."""
        return (await self._node.view("finalized_head")).final

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """Whole blocks until `limit` observations are reached; see `ChainReader`.

        Raises Transient NODE_BEHIND or EVENTS_INCOMPLETE, InvalidMessage CURSOR_INVALID, and
        Fatal FINALITY_VIOLATED when the cursor's block is no longer the final one.
        """
        if limit < 1:
            raise ValueError(f"limit {limit}: give at least 1")
        view = await self._node.view("read_page")
        start = self._position(after, view)
        observations: list[Observation] = []
        last, counters = start, dict(start.counters)
        stop = min(view.final.number, start.number + BLOCKS_PER_PAGE_MAX)
        while last.number < stop and len(observations) < limit:
            block = self._next_block(view, last)
            found = _checked_events(block)
            _count(found, counters)
            if counters != dict(view.counters(block.ref.number)):
                raise self._incomplete(block, "the lane counters show a missing or invented burn")
            observations += found
            last = _Position(block.ref.number, block.ref.hash, counters)
        shown = view.block(last.number)
        through = shown.ref if shown else view.final
        more = last.number < view.final.number
        return Page(tuple(observations), self._cursor(last), through, view.final, more)

    async def re_observe(self, tx: TxRef) -> Sequence[Observation]:
        """The final observations of one transaction; none if it is not final here."""
        self._require_chain(tx.chain)
        view = await self._node.view("re_observe")
        block = view.find(tx.id)
        if block is None or block.ref.number > view.final.number:
            return ()
        return tuple(o for o in _checked_events(block) if o.place.tx == tx)

    async def inspect(self, tx: TxRef) -> TxStatus | None:
        """Where a transaction stands on this node; see `TxInspector`."""
        self._require_chain(tx.chain)
        view = await self._node.view("inspect")
        block, outcome = view.find(tx.id), view.outcome(tx.id)
        if block is None or outcome is None:
            return TxStatus(TxState.PENDING) if view.waiting(tx.id) else None
        final = block.ref.number <= view.final.number
        state = TxState.FINAL if final else TxState.INCLUDED
        return TxStatus(state, outcome.succeeded, block.ref)

    async def read_pending(self) -> Sequence[Progress]:
        """Burns above the final head."""
        view = await self._node.view("read_pending")
        final = view.final.number
        blocks = (view.block(number) for number in range(final + 1, view.head.number + 1))
        return tuple(
            Progress(o.message, o.place.tx, block.ref.number, block.ref.number - final)
            for block in blocks
            if block is not None
            for o in block.observations
            if isinstance(o, BurnFinal)
        )

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """Supply at the node's head or at the block asked for; Transient if it has it not."""
        view = await self._node.view("read_supply")
        block = view.head if at is None else at
        shown = view.block(block.number)
        if shown is None or shown.ref.hash != block.hash:
            raise self._behind(block.number)
        number = block.number
        found = (self._supply(view, asset, number) for asset in assets)
        supplies = tuple(supply for supply in found if supply is not None)
        return SupplyReading(shown.ref, supplies, tuple(view.counters(number).items()))

    async def is_final(self, block: BlockRef) -> bool | None:
        """Whether this very block is final for the node; None above its final head."""
        self._require_chain(block.chain)
        view = await self._node.view("is_final")
        if block.number > view.final.number:
            return None
        shown = view.block(block.number)
        return shown is not None and shown.ref.hash == block.hash

    def _supply(self, view: View, asset: AssetId, number: int) -> AssetSupply | None:
        chain = self._node.chain
        rules = chain.state.rules.get(asset, number)
        supply = chain.state.supply.get(asset, number)
        held = self._held(view, asset, number, supply)
        if rules is None or held is None:
            return None
        return AssetSupply(
            asset=asset,
            token_units=supply,
            bridge_inventory_units=0,
            decimals=chain.config.decimals,
            multiplier=rules.multiplier,
            multiplier_epoch=rules.multiplier_epoch,
            paused=rules.paused,
            issuer_inventory_units=held,
        )

    def _held(self, view: View, asset: AssetId, number: int, supply: int) -> int | None:
        """What the owners of issuer inventory hold together; None where that is unknown."""
        owners = self._issuer_inventory.get(asset, ())
        held = [view.balance(asset, owner, number) for owner in owners]
        known = [units for units in held if units is not None]
        if len(known) < len(held):
            return None
        try:
            return held_together(asset.hex(), known, supply)
        except InvalidMessage:
            return None

    def _next_block(self, view: View, last: _Position) -> FakeBlock:
        block = view.block(last.number + 1)
        if block is None:
            raise self._behind(last.number + 1)
        if block.parent != last.hash:
            raise self._incomplete(block, "it does not link to the block before")
        return block

    def _position(self, cursor: Cursor, view: View) -> _Position:
        position = self._parse(cursor, view)
        if position.number > view.final.number:
            raise self._behind(position.number)
        shown = view.block(position.number)
        if shown is None or shown.ref.hash != position.hash:
            raise Fatal(
                "FINALITY_VIOLATED",
                f"{self._node.name} shows another final block at {position.number} than "
                f"{position.hash.hex()}; halt the lane and compare providers",
                {"number": position.number, "chain": self._domain.name},
            )
        return position

    def _parse(self, cursor: Cursor, view: View) -> _Position:
        self._require_chain(cursor.chain)
        if not cursor.text:
            genesis = view.block(0)
            return _Position(0, genesis.ref.hash if genesis else b"", {})
        try:
            row = json.loads(cursor.text)
            counters = {Domain(int(key)): int(value) for key, value in row["counters"].items()}
            return _Position(int(row["number"]), bytes.fromhex(row["hash"]), counters)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidMessage(
                "CURSOR_INVALID", f"cursor {cursor.text!r} is not this reader's; start from ''"
            ) from error

    def _cursor(self, position: _Position) -> Cursor:
        counters = {str(int(key)): count for key, count in sorted(position.counters.items())}
        row = {"number": position.number, "hash": position.hash.hex(), "counters": counters}
        return Cursor(self._domain, json.dumps(row, separators=(",", ":")))

    def _require_chain(self, chain: Domain) -> None:
        if chain is not self._domain:
            raise InvalidMessage(
                "WRONG_CHAIN", f"this reader reads {self._domain.name}, not {chain.name}"
            )

    def _behind(self, number: int) -> Transient:
        return Transient("NODE_BEHIND", f"{self._node.name} does not have block {number} yet")

    def _incomplete(self, block: FakeBlock, why: str) -> Transient:
        text = f"{self._node.name}, block {block.ref.number}: {why}; ask another provider"
        return Transient("EVENTS_INCOMPLETE", text)


def _checked_events(block: FakeBlock) -> list[Observation]:
    """The block's events once each, in order; Transient if the header counts more of them."""
    by_index = {o.place.index: o for o in block.observations}
    if len(by_index) != block.event_count:
        raise Transient(
            "EVENTS_INCOMPLETE",
            f"block {block.ref.number} has {block.event_count} events and {len(by_index)} came; "
            "ask again or another provider",
        )
    return [by_index[index] for index in sorted(by_index)]


def _count(observations: Sequence[Observation], counters: dict[Domain, int]) -> None:
    for observation in observations:
        if isinstance(observation, BurnFinal) and observation.counter:
            lane = observation.message.destination
            if observation.counter != counters.get(lane, 0) + 1:
                raise Transient(
                    "EVENTS_INCOMPLETE",
                    f"lane to {lane.name}: counter {observation.counter} follows "
                    f"{counters.get(lane, 0)}; ask again or another provider",
                )
            counters[lane] = observation.counter

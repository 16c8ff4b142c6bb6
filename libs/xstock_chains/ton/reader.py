"""Reads one TON network: final observations in order, with no gap, or an error.

The rule that makes a page complete: every minter's transactions are linked one to the next from
the cursor's to the account's own last one (`walk`); only what a masterchain block up to
`masterchainInfo.last` commits counts; burn counters are dense and equal the minter's own, read at
that very block. Minters are merged in the order of masterchain block and logical time. The
cursor's block must still be there with its hash: else finality is broken, which is `Fatal`.
Supply is read from storage at a named masterchain block (API v2, which alone takes one).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

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
from xstock_chains.ton.chain import TonChain, TonMinter
from xstock_chains.ton.evidence import Committed, Evidence, Found, ItemKey, moved_units
from xstock_chains.ton.minter import jetton_wallet
from xstock_chains.ton.position import MinterPlace, Position, parse_position
from xstock_chains.ton.rpc import PAGE_MAX, AccountHead, McBlock, Toncenter, Transaction
from xstock_chains.ton.storage import read_holding, read_minter
from xstock_chains.ton.walk import Mark, Stretch, Walk
from xstock_core.ids import Address32, AssetId, Domain
from xstock_core.observation import BlockRef, BurnFinal, Observation, TxRef
from xstock_runtime.errors import Fatal, InvalidMessage, ServiceError, Transient
from xstock_runtime.remembered import Remembered

_BLOCKS_KEPT: Final = 4_096
_SLACK: Final = 50
"""Transactions asked beyond the page's limit: some make no observation."""
_TRACE_MAX: Final = 30
"""Transactions followed from an external message to a minter."""
_IN_FLIGHT_LT: Final = 1_000_000_000
"""How far back mints may still be unanswered: a thousand shard blocks, many minutes."""
_ONE: Final = 10**18
_UNTIL_LIFTED: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Flight:
    """A minter's unanswered mints as of a masterchain block, and where to read on."""

    seqno: int
    next_lt: int
    open: Mapping[ItemKey, int]


class TonReader:
    """`ChainReader` for one node of one TON network."""

    def __init__(self, chain: TonChain, api: Toncenter) -> None:
        self.chain = chain
        self.evidence = Evidence(chain)
        self.walk = Walk(api)
        self._api = api
        self._blocks: Remembered[int, McBlock] = Remembered(_BLOCKS_KEPT)
        self._flights: dict[Address32, Flight] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    # ------------------------------------------------------------------ blocks

    async def finalized_head(self) -> BlockRef:
        """The last masterchain block; raises Fatal on another network."""
        return self._ref(await self._head())

    async def _head(self) -> McBlock:
        head = await self._api.masterchain_head()
        if head.global_id != self.chain.global_id:
            text = (
                f"{self._api.host} is network {head.global_id}, registered is "
                f"{self.chain.global_id}"
            )
            raise Fatal("WRONG_CHAIN", text, {"found": head.global_id})
        return head

    async def is_final(self, block: BlockRef) -> bool | None:
        """True if this very masterchain block is there; False if another one is; else None."""
        found = await self._api.masterchain_block(block.number)
        return None if found is None else found.hash == block.hash

    async def _block(self, seqno: int) -> McBlock:
        """A final masterchain block; those seen are kept."""
        if seqno not in self._blocks:
            found = await self._api.masterchain_block(seqno)
            if found is None:
                text = f"{self._api.host} does not show masterchain block {seqno}"
                raise Transient("NODE_BEHIND", text, {"number": seqno})
            self._blocks[found.seqno] = found
        return self._blocks[seqno]

    async def _blocks_of(self, seqnos: Iterable[int]) -> dict[int, McBlock]:
        wanted = sorted(set(seqnos))
        found = await asyncio.gather(*(self._block(seqno) for seqno in wanted))
        return dict(zip(wanted, found, strict=True))

    def _ref(self, block: McBlock) -> BlockRef:
        return BlockRef(self.chain.domain, block.seqno, block.hash, block.time)

    # ------------------------------------------------------------------ pages

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """Final observations after the cursor, at most `limit` unless one block holds more."""
        if after.chain is not self.chain.domain:
            text = (
                f"cursor of {after.chain.name} is not {self.chain.name}'s; check the cursor store"
            )
            raise InvalidMessage("CURSOR_INVALID", text, {"cursor_chain": after.chain.name})
        position = parse_position(after.text)
        head = await self._head()
        await self.check_anchor(position, head)
        if position.seqno == head.seqno:
            ref = self._ref(head)
            return Page((), after, through=ref, head=ref, more=False)
        stretches = await self._stretches(position, head.seqno, limit)
        through = min([head.seqno, *(stretch.whole_to for stretch in stretches.values())])
        committed = await self._commit(stretches, through)
        observed = [(one, self.evidence.observe(one)) for one in committed]
        found = sorted((pair for _, pairs in observed for pair in pairs), key=_place_order)
        kept, last = _cut(found, through, limit)
        places = _places(position, observed, last)
        self.check_dense(position, found)
        block = head if last == head.seqno else await self._block(last)
        await self.prove_counters(position, places, block, at_head=last == head.seqno)
        return Page(
            observations=tuple(observation for _, observation in kept),
            cursor=Cursor(self.chain.domain, Position(last, block.hash, places).text()),
            through=self._ref(block),
            head=self._ref(head),
            more=last != head.seqno,
        )

    async def check_anchor(self, position: Position, head: McBlock) -> None:
        """SECURITY: the block under the cursor was final; another one there breaks INV-10."""
        if position.hash is None:
            return
        if position.seqno > head.seqno:
            text = f"{self._api.host} is at {head.seqno}, the cursor at {position.seqno}"
            raise Transient("NODE_BEHIND", text, {"number": head.seqno})
        found = await self._api.masterchain_block(position.seqno)
        if found is not None and found.hash != position.hash:
            facts = {"number": position.seqno, "was": position.hash.hex(), "is": found.hash.hex()}
            text = f"FINALITY_VIOLATED: block {position.seqno} was {facts['was']} when it was final"
            raise Fatal("FINALITY_VIOLATED", text, facts)
        if found is None:
            text = f"{self._api.host} does not show block {position.seqno}, which was final"
            raise Transient("NODE_BEHIND", text, {"number": position.seqno})

    async def _stretches(
        self, position: Position, head: int, limit: int
    ) -> dict[Address32, Stretch]:
        """Per minter with something new, its linked transactions."""
        accounts = await self._api.accounts([minter.address for minter in self.chain.minters])
        fresh = [
            account
            for account in accounts.values()
            if account.lt != position.of(account.address).mark.lt
        ]
        self._check_shown(position, accounts, head)
        stretches = await asyncio.gather(
            *(
                self.walk.follow(
                    account,
                    position.of(account.address).mark,
                    head=head,
                    wanted=limit + _SLACK,
                )
                for account in fresh
            )
        )
        return {account.address: got for account, got in zip(fresh, stretches, strict=True)}

    def _check_shown(
        self, position: Position, accounts: Mapping[Address32, AccountHead], head: int
    ) -> None:
        """SECURITY: a minter that the node does not show is no empty minter (F30)."""
        for minter in self.chain.minters:
            place, account = position.of(minter.address), accounts.get(minter.address)
            if account is not None and account.lt:
                if account.lt == place.mark.lt:
                    self.walk.same_end(account, place.mark)
            elif place.mark.lt or minter.deployed_block <= head:
                text = f"{self._api.host} does not show {minter.asset.symbol}'s minter"
                raise Transient("NODE_BEHIND", text, {"account": minter.address.hex()})

    async def _commit(
        self, stretches: Mapping[Address32, Stretch], through: int
    ) -> list[Committed]:
        """Transactions up to a block, with their blocks, in chain order."""
        chosen = [
            (tx, self.chain.by_address[address], tx.mc_seqno or 0)
            for address, stretch in stretches.items()
            for tx in stretch.transactions
            if tx.final_by(through)
        ]
        blocks = await self._blocks_of(seqno for tx, _, seqno in chosen if tx.out_msgs or tx.in_msg)
        found = [Committed(tx, minter, blocks[seqno]) for tx, minter, seqno in chosen]
        return sorted(found, key=lambda one: (one.block.seqno, one.tx.lt, one.tx.hash))

    # ------------------------------------------------------------------ completeness

    def check_dense(self, before: Position, found: Sequence[Found]) -> None:
        """SECURITY: burn n + 1 follows burn n, or the node hides or repeats one (INV-09)."""
        lanes = {address: dict(place.lanes) for address, place in before.minters.items()}
        for lane, _ in found:
            if lane is None:
                continue
            minter, destination, counter = lane
            counts = lanes.setdefault(Address32(minter), {})
            expected = counts.get(destination, 0) + 1
            if counter != expected:
                raise self._counter_gap(minter, destination, expected, counter)
            counts[destination] = counter

    async def prove_counters(
        self,
        before: Position,
        places: Mapping[Address32, MinterPlace],
        block: McBlock,
        *,
        at_head: bool,
    ) -> None:
        """SECURITY: the minter's own counters at the page's block equal what was seen (INV-09).

        Only minters that moved are asked. A node that keeps no state so old is asked again at
        the head: counters only grow, so what was missed shows there.
        """
        moved = [
            address
            for address, place in places.items()
            if place.mark != before.of(address).mark
            and self.chain.by_address[address].retired_block is None
        ]
        for address in moved:
            try:
                counted = await self.lane_counters(address, block.seqno)
            except Transient as error:
                if at_head or error.code != "RPC_UPSTREAM":
                    raise
                return
            self._compare(address, counted, places[address].lanes)

    def _compare(
        self, minter: Address32, counted: Mapping[int, int], seen: Mapping[int, int]
    ) -> None:
        for destination in sorted({*counted, *seen}):
            have, count = seen.get(destination, 0), counted.get(destination, 0)
            if have < count:
                raise self._counter_gap(minter, destination, have, count)
            if have > count:
                text = f"lane to {destination}: saw {have} burns, the minter counted {count}"
                facts = {"destination": destination, "seen": have, "counted": count}
                raise InvalidMessage("COUNTER_REPEATED", text, facts)

    def _counter_gap(
        self, minter: bytes, destination: int, expected: int, found: int
    ) -> ServiceError:
        facts = {"bridge": minter.hex(), "destination": destination}
        facts |= {"expected": str(expected), "found": str(found)}
        text = (
            f"lane {int(self.chain.domain)}->{destination} of minter {minter.hex()}: burn "
            f"{expected} was expected and {found} found; the node hides or repeats logs"
        )
        if found > expected:
            return Transient("LOGS_INCOMPLETE", text, facts)
        return InvalidMessage("COUNTER_REPEATED", text, facts)

    async def lane_counters(self, minter: Address32, seqno: int) -> dict[int, int]:
        """Burns per destination that a minter had counted at a masterchain block."""
        return dict(read_minter(await self._api.account_at(minter, seqno)).lane_counters)

    # ------------------------------------------------------------------ by transaction

    async def re_observe(self, tx: TxRef) -> Sequence[Observation]:
        """The final observations of a minter's transaction, or of those that an external message
        or a wallet's transaction led to; none while they are not final or if they failed."""
        head = await self._head()
        found: list[Found] = []
        for one in await self._minters_reached(tx):
            if one.final_by(head.seqno):
                block = await self._block(one.mc_seqno or 0)
                minter = self.chain.by_address[one.account]
                found.extend(self.evidence.observe(Committed(one, minter, block)))
        return tuple(observation for _, observation in sorted(found, key=_place_order))

    async def _minters_reached(self, tx: TxRef) -> list[Transaction]:
        """The minters' transactions in the trace that starts at this one."""
        waiting = await self._start_of(tx)
        reached, followed = [], 0
        while waiting and followed < _TRACE_MAX:
            one = waiting.pop(0)
            followed += 1
            if one.account in self.chain.by_address:
                reached.append(one)
                continue
            for message in one.out_msgs:
                if message.destination is not None:
                    waiting.extend(await self._api.by_message(message.hash))
        return reached

    async def _start_of(self, tx: TxRef) -> list[Transaction]:
        found = await self._api.transaction(tx.id)
        return [found] if found is not None else await self._api.by_message(tx.id)

    async def inspect(self, tx: TxRef) -> TxStatus | None:
        """Where a transaction or an external message stands on this node; see `TxInspector`."""
        head = await self._head()
        for one in await self._start_of(tx):
            reached = await self._minters_reached(tx)
            last = reached[-1] if reached else one
            if not last.final_by(head.seqno):
                return TxStatus(TxState.INCLUDED, last.succeeded)
            ref = self._ref(await self._block(last.mc_seqno or 0))
            return TxStatus(TxState.FINAL, last.succeeded, ref)
        return None

    async def read_pending(self) -> Sequence[Progress]:
        """Burns that no masterchain block commits yet, as the node sees them now; advisory."""
        head = await self._head()
        pending = await self._api.pending([minter.address for minter in self.chain.minters])
        following = McBlock(head.seqno + 1, head.hash, head.time, head.start_lt, head.global_id)
        progress = []
        for tx in sorted(pending, key=lambda one: one.lt):
            minter = self.chain.by_address.get(tx.account)
            if minter is None or tx.final_by(head.seqno):
                continue
            for _, found in self.evidence.observe(Committed(tx, minter, following)):
                if isinstance(found, BurnFinal):
                    ref = TxRef(self.chain.domain, tx.hash)
                    progress.append(Progress(found.message, ref, following.seqno, 1))
        return tuple(progress)

    # ------------------------------------------------------------------ supply

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """Supply and counters at the last masterchain block, or the one that `at` names, from
        each minter's storage at that very block. Mints that their wallet has not answered yet
        stand as the bridge's own inventory: they are nobody's until then. A jetton that cannot be
        read is left out. Raises Transient if the node does not have that very block."""
        block = await self._supply_block(at)
        minters = [self.chain.in_use[asset] for asset in assets if asset in self.chain.in_use]
        readings = await asyncio.gather(*(self._readable(one, block) for one in minters))
        counts: dict[int, int] = {}
        for reading in readings:
            for destination, count in (reading[1] if reading else {}).items():
                counts[destination] = counts.get(destination, 0) + count
        return SupplyReading(
            block=self._ref(block),
            supplies=tuple(reading[0] for reading in readings if reading is not None),
            lane_counters=tuple((Domain(to), count) for to, count in sorted(counts.items())),
        )

    async def _supply_block(self, at: BlockRef | None) -> McBlock:
        if at is None:
            return await self._head()
        block = await self._api.masterchain_block(at.number)
        if block is None or block.hash != at.hash:
            text = f"{self._api.host} does not have block {at.number} {at.hash.hex()}"
            raise Transient("NODE_BEHIND", text, {"number": at.number})
        return block

    async def _readable(
        self, minter: TonMinter, block: McBlock
    ) -> tuple[AssetSupply, dict[int, int]] | None:
        """The jetton's supply and counters, None when its answers are no answer (INV-16)."""
        try:
            return await self._supply(minter, block)
        except (Transient, InvalidMessage):
            return None

    async def _supply(
        self, minter: TonMinter, block: McBlock
    ) -> tuple[AssetSupply, dict[int, int]]:
        owners = minter.asset.issuer_inventory
        asked = [jetton_wallet(minter.address, owner) for owner in owners]
        account, *wallets = await asyncio.gather(
            *(self._api.account_at(one, block.seqno) for one in (minter.address, *asked))
        )
        state = read_minter(account)
        held = [
            read_holding(wallet, state, minter.address, owner)
            for wallet, owner in zip(wallets, owners, strict=True)
        ]
        numerator, denominator = state.multiplier
        if denominator <= 0 or numerator <= 0:
            text = f"{minter.asset.symbol} has no display multiplier"
            raise InvalidMessage("MULTIPLIER_ZERO", text, {"asset": minter.asset.symbol})
        until = state.paused_until
        supply = AssetSupply(
            asset=minter.asset.asset,
            token_units=state.supply,
            bridge_inventory_units=await self.in_flight(minter, block, account.lt),
            decimals=minter.asset.decimals,
            multiplier=numerator * _ONE // denominator,
            multiplier_epoch=0,
            paused=until == _UNTIL_LIFTED or until > block.time,
            issuer_inventory_units=held_together(minter.asset.symbol, held, state.supply),
        )
        return supply, dict(state.lane_counters)

    async def in_flight(self, minter: TonMinter, block: McBlock, last_lt: int) -> int:
        """Units minted up to a block whose wallets had not answered by then; `last_lt` is the
        minter's last transaction up to that block.

        What was read before is kept: a later block costs only what happened since.
        """
        known = self._flights.get(minter.address)
        if known is not None and known.next_lt == last_lt + 1:
            return sum(known.open.values())
        if known is None or known.seqno > block.seqno:
            known = Flight(0, max(block.start_lt - _IN_FLIGHT_LT, 0), {})
        known = await self._flown(minter, block, known)
        self._flights[minter.address] = known
        return sum(known.open.values())

    async def _flown(self, minter: TonMinter, block: McBlock, known: Flight) -> Flight:
        start, open_mints = known.next_lt, dict(known.open)
        while True:
            part = await self._api.transactions(minter.address, start_lt=start, limit=PAGE_MAX)
            for tx in part:
                if not tx.final_by(block.seqno):
                    return Flight(block.seqno, start, open_mints)
                minted, answered = moved_units(tx)
                open_mints |= minted
                for key in answered:
                    open_mints.pop(key, None)
                start = tx.lt + 1
            if len(part) < PAGE_MAX:
                return Flight(block.seqno, start, open_mints)


def _place_order(pair: Found) -> tuple[int, int, bytes]:
    place = pair[1].place
    return (place.block.number, place.index, place.tx.id)


def _places(
    before: Position, observed: Sequence[tuple[Committed, Sequence[Found]]], last: int
) -> dict[Address32, MinterPlace]:
    """Where each minter stands after block `last`."""
    places = dict(before.minters)
    for one, found in observed:
        if one.block.seqno > last:
            break
        place = places.get(one.minter.address, MinterPlace())
        lanes = dict(place.lanes)
        for lane, _ in found:
            if lane is not None:
                lanes[lane[1]] = lane[2]
        places[one.minter.address] = MinterPlace(Mark(one.tx.lt, one.tx.hash), lanes)
    return places


def _cut(found: Sequence[Found], through: int, limit: int) -> tuple[Sequence[Found], int]:
    """The whole blocks that fit the limit (at least one with something), and the last block."""
    if len(found) <= limit:
        return found, through
    first_out = found[limit][1].place.block.number
    first_in = found[0][1].place.block.number
    end = first_out - 1 if first_out > first_in else first_in
    return [pair for pair in found if pair[1].place.block.number <= end], end

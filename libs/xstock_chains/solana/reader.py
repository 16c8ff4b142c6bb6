"""Reads Solana: final observations in order, with no gap, or an error.

What makes a page complete: (1) every block of it is linked to the one before by slot and hash, up
from the cursor (`blocks`); blocks are read whole, so an index that lost a signature loses nothing
here (F34); (2) where the page reaches the final head, the supply of every mint at that very slot
equals what the cursor and the page have seen move; (3) every signature that the node's own index
lists for some assets' reference keys must lie in those blocks. The cursor carries what was seen
to move, so (2) holds across restarts for every mint whose creation was read; for an older mint
the starting supply is what this reader first found.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from base58 import b58encode

from xstock_chains.ports import (
    AssetSupply,
    Cursor,
    Page,
    Progress,
    SupplyReading,
    TxState,
    TxStatus,
)
from xstock_chains.solana.address import parse_text, show
from xstock_chains.solana.blocks import (
    CONFIRMED,
    FINALIZED,
    Anchor,
    Block,
    FinalChain,
    block_call,
    parse_block,
)
from xstock_chains.solana.chain import SolanaAsset, SolanaChain
from xstock_chains.solana.errors import RpcFault
from xstock_chains.solana.evidence import Evidence, Seen
from xstock_chains.solana.inventory import Later, trace
from xstock_chains.solana.mint import parse_mint
from xstock_chains.solana.programs import DECIMALS
from xstock_chains.solana.reading import raw_of
from xstock_chains.solana.rpc import (
    Call,
    Rpc,
    account_of,
    dict_of,
    invalid,
    key_of,
    list_of,
    number_of,
    only_status,
    status_call,
    with_context,
)
from xstock_core.ids import AssetId, InvalidId
from xstock_core.observation import BlockRef, BurnFinal, Observation, TxRef
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.remembered import Remembered

_CURSOR_VERSION: Final = 1
_ACCOUNTS_A_CALL: Final = 100
_INDEX_ASSETS_A_PAGE: Final = 8
_SIGNATURES_MAX: Final = 100
"""Enough to cover a page at the head; older ones are not asked for at every page."""
_READINGS_MAX: Final = 64
_SPAN_AT_START: Final = 8


@dataclass(frozen=True, slots=True)
class Position:
    """What a cursor says: the last final block worked through, and per mint what its supply was
    seen to do; `whole` are the mints whose creation was seen, so that this is their supply."""

    anchor: Anchor
    moved: Mapping[bytes, int] = field(default_factory=dict)
    whole: frozenset[bytes] = frozenset()

    def text(self) -> str:
        """The cursor's opaque text."""
        supplies = {
            show(mint): [int(mint in self.whole), self.moved.get(mint, 0)]
            for mint in sorted({*self.whole, *(m for m, n in self.moved.items() if n)})
        }
        block_hash = None if self.anchor.hash is None else self.anchor.hash.hex()
        document = {"v": _CURSOR_VERSION, "n": self.anchor.slot, "h": block_hash, "s": supplies}
        return json.dumps(document, separators=(",", ":"))

    def after(self, last: Block, seen: Seen) -> "Position":
        """The position behind these blocks."""
        moved = Counter(self.moved)
        for mint, units in seen.moved.items():
            moved[mint] += units
        return Position(
            Anchor(last.slot, last.hash), dict(moved), self.whole | frozenset(seen.created)
        )


def parse_position(text: str, first_slot: int) -> Position:
    """The position in a cursor's text; raises InvalidMessage for one that is not ours."""
    if not text:
        return Position(Anchor(first_slot - 1, None))
    try:
        document = json.loads(text)
        if document["v"] != _CURSOR_VERSION:
            raise ValueError("another version")
        supplies = {bytes(parse_text(k)): (bool(w), int(n)) for k, (w, n) in document["s"].items()}
        block_hash = None if document["h"] is None else bytes.fromhex(document["h"])
        if isinstance(document["n"], bool) or not isinstance(document["n"], int):
            raise ValueError("no slot")
        return Position(
            Anchor(document["n"], block_hash),
            {mint: units for mint, (_, units) in supplies.items()},
            frozenset(mint for mint, (whole, _) in supplies.items() if whole),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "use a cursor of this adapter, or an empty one to start over"
        message = f"cursor: {text[:100]!r} is not valid; {remedy}"
        raise InvalidMessage("CURSOR_INVALID", message, {"cursor": text[:100]}) from error


@dataclass(frozen=True, slots=True)
class _Shown:
    """Accounts as a node showed them, each with the slot it is true at."""

    slot: int
    """That of the first call."""
    by_key: Mapping[bytes, tuple[int, Any]]


@dataclass(frozen=True, slots=True)
class _Above:
    """What happened in the blocks above the one of a supply reading."""

    seen: Sequence[tuple[int, Seen]] = ()
    inventory: Later = field(default_factory=Later)


class SolanaReader:
    """`ChainReader` for one node of one Solana deployment."""

    def __init__(self, chain: SolanaChain, rpc: Rpc) -> None:
        self.chain = chain
        self.evidence = Evidence(chain)
        self._rpc = rpc
        self._final = FinalChain(rpc, chain)
        self._span = _SPAN_AT_START
        self._base: dict[bytes, int] = {}
        self._index_at = 0
        self._readings: Remembered[bytes, dict[AssetId, AssetSupply]] = Remembered(_READINGS_MAX)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def finalized_head(self) -> BlockRef:
        """The finalized block; raises Fatal on another chain or a broken finality."""
        return (await self._final.head()).ref(self.chain)

    async def is_final(self, block: BlockRef) -> bool | None:
        """True if this very block is final; False if another one is; None if not yet known."""
        return await self._final.is_final(block)

    # ------------------------------------------------------------------ pages

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """Final observations after the cursor, at most `limit` unless one block holds more."""
        if after.chain is not self.chain.domain:
            text = (
                f"cursor of {after.chain.name} is not {self.chain.name}'s; check the cursor store"
            )
            raise InvalidMessage("CURSOR_INVALID", text, {"cursor_chain": after.chain.name})
        position = parse_position(after.text, self.chain.first_slot)
        head, mints = await self._head_with_mints()
        blocks = await self._final.follow(position.anchor, head, self._span)
        if not blocks:
            ref = head.ref(self.chain)
            return Page((), after, through=ref, head=ref, more=False)
        seen = [self.evidence.observe(block) for block in blocks]
        if blocks[-1].slot == head.slot:
            self.prove_supply(position, seen, mints, head)
        await self.check_index(position.anchor, blocks)
        return self._page(position, blocks, seen, head, limit)

    def _page(
        self,
        position: Position,
        blocks: Sequence[Block],
        seen: Sequence[Seen],
        head: Block,
        limit: int,
    ) -> Page:
        """The whole blocks that fit the limit, at least one that holds something."""
        kept, last, total = Seen(), position, 0
        end = blocks[-1]
        for block, one in zip(blocks, seen, strict=True):
            if total and total + len(one.observations) > limit:
                break
            kept.add(one)
            total += len(one.observations)
            last, end = last.after(block, one), block
        self._adapt(total, len(blocks), limit)
        return Page(
            observations=tuple(kept.observations),
            cursor=Cursor(self.chain.domain, last.text()),
            through=end.ref(self.chain),
            head=head.ref(self.chain),
            more=end.slot != head.slot,
        )

    def _adapt(self, found: int, blocks: int, limit: int) -> None:
        """As many blocks as fill a page, doubling at most."""
        fitting = max(1, blocks * limit // found) if found else self._span * 2
        self._span = min(fitting, self._span * 2, self.chain.facts.blocks_a_page_max)
        self._span = max(1, self._span)

    async def _head_with_mints(self) -> tuple[Block, _Shown]:
        """The final head, and the mints at that very slot, in one round trip."""
        before = self._final.known
        keys = [one.mint for one in self.chain.assets]
        calls: list[Call] = [("getGenesisHash", []), *_account_calls(keys, FINALIZED)]
        if len(calls) == 1:
            head = await self._final.head()
            return head, _Shown(head.slot, {})
        genesis, *answers = await self._rpc.batch(calls)
        mints = _shown(keys, answers)
        return await self._final.accept(genesis, mints.slot, before), mints

    def prove_supply(
        self, position: Position, seen: Sequence[Seen], mints: _Shown, head: Block
    ) -> None:
        """SECURITY: what moved must explain the supply, or a node hides something (F34)."""
        end = position
        for one in seen:
            end = end.after(head, one)
        for asset in self.chain.assets:
            slot, raw = mints.by_key[asset.mint]
            if slot != head.slot:
                continue
            supply = self._supply_or_none(asset, raw)
            if supply is None:
                continue
            moved = end.moved.get(asset.mint, 0)
            base = 0 if asset.mint in end.whole else self._base.get(asset.mint, supply - moved)
            if supply != base + moved or base < 0:
                text = (
                    f"{asset.symbol} has a supply of {supply} at slot {head.slot}, what was read "
                    f"explains {base + moved}; {self._rpc.host} hides a transaction, or its block"
                )
                facts = {"asset": asset.symbol, "supply": supply, "explained": base + moved}
                raise Transient("SUPPLY_UNEXPLAINED", text, facts)
            self._base[asset.mint] = base

    def _supply_or_none(self, asset: SolanaAsset, raw: Any) -> int | None:
        """A mint that cannot be read proves nothing and silences no other."""
        try:
            return parse_mint(account_of(raw), asset.symbol).supply
        except InvalidMessage:
            return None

    async def check_index(self, anchor: Anchor, blocks: Sequence[Block]) -> None:
        """The second way of finding: what the index lists must lie in the blocks (F34)."""
        assets = self._next_assets()
        calls: list[Call] = [
            (
                "getSignaturesForAddress",
                [show(asset.reference.key), {"limit": _SIGNATURES_MAX, **FINALIZED}],
            )
            for asset in assets
        ]
        by_slot = {block.slot: block for block in blocks}
        for asset, answer in zip(assets, await self._rpc.batch_settled(calls), strict=True):
            if isinstance(answer, RpcFault):
                continue
            for entry in list_of(answer, "getSignaturesForAddress"):
                fields = dict_of(entry, "signature")
                slot = number_of(fields.get("slot"), "signature.slot")
                if slot <= anchor.slot or slot > blocks[-1].slot:
                    continue
                text = fields.get("signature")
                if slot not in by_slot or not _holds(by_slot[slot], text):
                    what = f"{asset.symbol}: the index lists {text} in slot {slot}, the block does"
                    raise Transient("BLOCK_INCOMPLETE", f"{what} not hold it", {"slot": slot})

    def _next_assets(self) -> list[SolanaAsset]:
        """A few assets a page, all of them in turn."""
        assets = self.chain.assets
        if len(assets) <= _INDEX_ASSETS_A_PAGE:
            return list(assets)
        start, self._index_at = self._index_at, self._index_at + _INDEX_ASSETS_A_PAGE
        return [assets[at % len(assets)] for at in range(start, start + _INDEX_ASSETS_A_PAGE)]

    # ------------------------------------------------------------ the other questions

    async def re_observe(self, tx: TxRef) -> Sequence[Observation]:
        """The observations of one transaction; none while it is not final or if it failed."""
        await self._final.head()
        entry = await self._transaction(tx, "finalized")
        if entry is None:
            return ()
        slot = number_of(entry.get("slot"), "transaction.slot")
        block = await self._final.block(slot, "signatures")
        text = b58encode(tx.id).decode()
        if block.signatures is None or text not in block.signatures:
            what = f"{self._rpc.host} shows {text} in slot {slot}, whose block does not hold it"
            raise Transient("NODE_INCONSISTENT", what, {"slot": slot})
        return tuple(
            self.evidence.transaction(block, block.signatures.index(text), entry).observations
        )

    async def _transaction(self, tx: TxRef, commitment: str) -> dict[str, Any] | None:
        method, params = transaction_call(b58encode(tx.id).decode(), commitment)
        answer = await self._rpc.call(method, *params)
        return None if answer is None else dict_of(answer, "getTransaction")

    async def inspect(self, tx: TxRef) -> TxStatus | None:
        """Where a transaction stands on this node; see `TxInspector`."""
        (answer,) = await self._rpc.batch([status_call(b58encode(tx.id).decode())])
        _, fields = only_status(answer)
        if fields is None:
            return None
        ok = fields.get("err") is None
        confirmed = fields.get("confirmationStatus")
        if confirmed not in ("confirmed", "finalized"):
            return TxStatus(TxState.INCLUDED, ok)
        call = block_call(number_of(fields.get("slot"), "slot"), commitment=confirmed)
        block = parse_block(call[1][0], await self._rpc.call(call[0], *call[1])).ref(self.chain)
        state = TxState.FINAL if confirmed == "finalized" else TxState.INCLUDED
        return TxStatus(state, ok, block)

    async def read_pending(self) -> Sequence[Progress]:
        """Burns after the final block, as the node's index lists them now; advisory."""
        head = await self._final.head()
        options = {"limit": 100, **CONFIRMED}
        calls: list[Call] = [
            ("getSignaturesForAddress", [show(asset.reference.key), options])
            for asset in self.chain.assets
        ]
        listed: dict[str, int] = {}
        for answer in await self._rpc.batch(calls):
            for entry in list_of(answer, "getSignaturesForAddress"):
                fields = dict_of(entry, "signature")
                slot = number_of(fields.get("slot"), "signature.slot")
                if slot > head.slot and fields.get("err") is None:
                    listed[str(fields.get("signature"))] = slot
        texts = sorted(listed, key=lambda text: (listed[text], text))
        answers = await self._rpc.batch([transaction_call(text, "confirmed") for text in texts])
        found: list[Progress] = []
        for answer in answers:
            if answer is not None:
                found.extend(self._pending(dict_of(answer, "getTransaction"), head))
        return found

    def _pending(self, entry: dict[str, Any], head: Block) -> list[Progress]:
        slot = number_of(entry.get("slot"), "transaction.slot")
        block = Block(slot, bytes(32), slot - 1, bytes(32), head.height, head.time, ())
        return [
            Progress(one.message, one.place.tx, slot, blocks_behind_final=slot - head.slot)
            for one in self.evidence.transaction(block, 0, entry).observations
            if isinstance(one, BurnFinal)
        ]

    # ------------------------------------------------------------ supply

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """Supply at the node's confirmed block, or at the block that `at` names.

        A node answers for its present state only: for an earlier block the reading is traced
        back over the blocks between, which must be linked to it; Transient where that is not
        possible. A mint that cannot be read is left out.
        """
        known = [one for one in self.chain.assets if one.asset in set(assets)]
        wanted = sorted(known, key=lambda one: list(assets).index(one.asset))
        if at is not None and at.hash in self._readings:
            told = self._readings[at.hash]
            if all(one.asset in told for one in wanted):
                return SupplyReading(at, tuple(told[one.asset] for one in wanted), ())
        inventory = [held.account for one in wanted for held in one.issuer_inventory]
        keys = [*(one.mint for one in wanted), *inventory]
        if not keys:
            block = at or (await self._confirmed(await self._confirmed_slot())).ref(self.chain)
            return SupplyReading(block, (), ())
        shown = _shown(keys, await self._rpc.batch(_account_calls(keys, CONFIRMED)))
        slots = [slot for slot, _ in shown.by_key.values()]
        if at is None:
            at = (await self._confirmed(min(slots))).ref(self.chain)
        if min(slots) < at.number:
            raise Transient("NODE_BEHIND", f"{self._rpc.host} does not have slot {at.number} yet")
        above = await self._rewind(at, max(slots), inventory)
        found = [self._supply(asset, shown, above, at) for asset in wanted]
        supplies = {one.asset: one for one in found if one is not None}
        self._readings.setdefault(at.hash, {}).update(supplies)
        return SupplyReading(
            block=at,
            supplies=tuple(supplies[one.asset] for one in wanted if one.asset in supplies),
            lane_counters=(),
        )

    async def _confirmed_slot(self) -> int:
        return number_of(await self._rpc.call("getSlot", CONFIRMED), "getSlot")

    async def _confirmed(self, slot: int) -> Block:
        method, params = block_call(slot, commitment="confirmed")
        return parse_block(slot, await self._rpc.call(method, *params))

    async def _rewind(self, at: BlockRef, last: int, inventory: Sequence[bytes]) -> _Above:
        """What happened in the confirmed blocks above `at` up to the slot `last`, linked to it."""
        if last == at.number:
            block = await self._confirmed(last)
            self._require_hash(at, block.hash)
            return _Above()
        if last - at.number > self.chain.facts.rewind_blocks_max:
            raise Transient("STATE_UNREADABLE", f"slot {at.number} lies too far back to read")
        answer = await self._rpc.call("getBlocks", at.number + 1, last, CONFIRMED)
        slots = [number_of(one, "getBlocks") for one in list_of(answer, "getBlocks")]
        calls = [block_call(slot, "full", "confirmed") for slot in slots]
        raws = await self._rpc.batch(calls)
        blocks = [parse_block(slot, raw) for slot, raw in zip(slots, raws, strict=True)]
        linked = at.hash
        for block in blocks:
            self._require_hash(at, block.parent_hash, linked)
            linked = block.hash
        if not blocks or blocks[-1].slot != last:
            raise Transient("NODE_BEHIND", f"{self._rpc.host} does not show block {last} yet")
        seen = [(block.slot, self.evidence.observe(block)) for block in blocks]
        return _Above(seen, trace(blocks, inventory))

    def _require_hash(self, at: BlockRef, found: bytes, wanted: bytes | None = None) -> None:
        if found != (at.hash if wanted is None else wanted):
            text = f"{self._rpc.host} does not have block {at.number} {at.hash.hex()}"
            raise Transient("NODE_BEHIND", text, {"slot": at.number})

    def _supply(
        self, asset: SolanaAsset, shown: _Shown, above: _Above, at: BlockRef
    ) -> AssetSupply | None:
        """The mint's supply, None where it or an account of its issuer inventory cannot be read
        (INV-16 audits the others)."""
        slot, raw = shown.by_key[asset.mint]
        try:
            mint = parse_mint(account_of(raw), asset.symbol)
            multiplier, epoch = mint.multiplier(at.time)
        except (InvalidMessage, InvalidId):
            return None
        supply = mint.supply
        for number, seen in above.seen:
            if number > slot:
                continue
            if asset.mint in seen.restated:
                text = f"{asset.symbol}: multiplier or pause changed since slot {at.number}"
                raise Transient("STATE_UNREADABLE", text)
            supply -= seen.moved.get(asset.mint, 0)
        if mint.decimals != DECIMALS or supply < 0:
            return None
        try:
            held = above.inventory.held(asset, shown.by_key, supply)
        except InvalidMessage:
            return None
        return AssetSupply(
            asset=asset.asset,
            token_units=supply,
            bridge_inventory_units=0,
            decimals=mint.decimals,
            multiplier=multiplier,
            multiplier_epoch=epoch,
            paused=mint.paused,
            issuer_inventory_units=held,
        )


def _account_calls(keys: Sequence[bytes], options: Mapping[str, str]) -> list[Call]:
    texts = [show(key) for key in keys]
    wanted = {"encoding": "base64", **options}
    return [
        ("getMultipleAccounts", [texts[at : at + _ACCOUNTS_A_CALL], wanted])
        for at in range(0, len(texts), _ACCOUNTS_A_CALL)
    ]


def _shown(keys: Sequence[bytes], answers: Sequence[Any]) -> _Shown:
    """The raw accounts of these keys in the answers to `_account_calls`."""
    found: dict[bytes, tuple[int, Any]] = {}
    slots: list[int] = []
    for number, answer in enumerate(answers):
        slot, accounts = with_context(answer, "getMultipleAccounts")
        part = keys[number * _ACCOUNTS_A_CALL : (number + 1) * _ACCOUNTS_A_CALL]
        shown = list_of(accounts, "getMultipleAccounts")
        if len(shown) != len(part):
            raise invalid("getMultipleAccounts", len(shown), f"{len(part)} accounts")
        slots.append(slot)
        found |= {key: (slot, raw) for key, raw in zip(part, shown, strict=True)}
    return _Shown(slots[0], found)


def _holds(block: Block, text: Any) -> bool:
    """Whether a full block holds the transaction with this signature."""
    wanted = key_of(text, "signature", 64)
    for entry in block.transactions or ():
        raw = raw_of(entry)
        if raw[1:65] == wanted:
            return True
    return False


def transaction_call(text: str, commitment: str) -> Call:
    """The call that asks for one transaction in raw form."""
    options = {
        "encoding": "base64",
        "commitment": commitment,
        "maxSupportedTransactionVersion": 0,
    }
    return ("getTransaction", [text, options])

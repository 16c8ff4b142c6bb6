"""Sends releases on one TON network through a highload wallet; every method may be repeated.

A slot is one query id of the wallet with the moment it was made: the wallet does an id once, and
refuses a message whose `created_at` is older than its timeout. So a message that did not land by
then never will, and until then the same bytes are sent again. A wallet that cannot pay skips the
send in silence, so success is the minter's own transaction, never the wallet's (F44). DROPPED
needs the shards' final time past the timeout, no transaction of the message and the id unused.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey
from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from xstock_chains.ports import (
    Execution,
    ExecutionState,
    PreparedTx,
    ReleaseOrder,
    SendSlot,
    SignedTx,
    TxState,
    TxStatus,
)
from xstock_chains.ton.address import show
from xstock_chains.ton.cells import end, internal_message
from xstock_chains.ton.chain import TonChain, TonMinter
from xstock_chains.ton.codec import TonReleaseCodec
from xstock_chains.ton.evidence import SKIP_REASONS
from xstock_chains.ton.messages import NANO, release_value
from xstock_chains.ton.minter import jetton_wallet
from xstock_chains.ton.rpc import AccountHead, McBlock, Toncenter, Transaction
from xstock_chains.ton.signer import HIGHLOAD, payload
from xstock_chains.ton.storage import MinterState, read_minter
from xstock_chains.ton.wallets import (
    HIGHLOAD_TIMEOUT_SECONDS,
    counter_in,
    highload_inner,
    query_id,
)
from xstock_core.ids import HASHED_NONCES, Address32, InvalidId
from xstock_core.observation import BlockRef, SkipReason, TxRef
from xstock_core.release import Action, ExecutionKey, ReleaseBatch, ReleaseItem
from xstock_runtime.errors import Ambiguous, InvalidMessage, Transient

_NONE, _IN_FLIGHT, _SETTLED, _PARKED, _CANCELLED = range(5)
_STATES: Final = {
    _IN_FLIGHT: ExecutionState.RELEASED,
    _SETTLED: ExecutionState.RELEASED,
    _PARKED: ExecutionState.PARKED,
    _CANCELLED: ExecutionState.CANCELLED,
}
_RANK: Final = (_NONE, _PARKED, _IN_FLIGHT, _CANCELLED, _SETTLED)
"""Where an asset's minters differ, the later of these is the story: a successor may settle what
its predecessor parked."""
_KEYS_A_CALL: Final = 60
_CODE_BITS: Final = 4
_CREATED_AGO_SECONDS: Final = 30
"""A block's time may lag: a message from the future is refused."""
_PERMIT_SECONDS_MAX: Final = 3600
_WINDOW_SECONDS: Final = 7 * 86_400
_HASHED_ITEMS_MAX: Final = 40
"""A hashed nonce costs its own cells: more of them in one message pass the gas limit."""
_FEES: Final = 20_000_000
"""nanoTON a send of the wallet itself may cost besides what it attaches."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a slot's text says: which query id, made when, good for how long."""

    counter: int
    created_at: int
    timeout: int

    @property
    def dead_at(self) -> int:
        """From this time on the wallet refuses it."""
        return self.created_at + self.timeout

    def text(self) -> str:
        """The slot's opaque text."""
        return f"{self.counter}/{self.created_at}/{self.timeout}"


def parse_query(slot: SendSlot) -> Query:
    """What a slot of ours says; raises InvalidMessage for another's."""
    try:
        counter, created_at, timeout = (int(part) for part in slot.text.split("/"))
    except ValueError as error:
        text = f"slot: {slot.text[:60]!r} is none of TON's; use a slot of this writer"
        raise InvalidMessage("SLOT_INVALID", text, {"slot": slot.text[:60]}) from error
    return Query(counter, created_at, timeout)


class TonWriter:
    """`ChainWriter` for one node of one TON network."""

    def __init__(self, chain: TonChain, api: Toncenter, codec: TonReleaseCodec) -> None:
        self.chain = chain
        self._api = api
        self._codec = codec

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    # ------------------------------------------------------------------ what has happened

    async def find_executions(self, keys: Sequence[ExecutionKey]) -> Sequence[Execution | None]:
        """For each key what any minter ever registered has done, by the last committed state.

        Get methods run on what a masterchain block commits, so the answer is final; only a mint
        whose wallet has not answered yet (RELEASED or to be parked) is not.
        """
        for key in keys:
            if key.destination is not self.chain.domain:
                remedy = f"ask the writer of that chain; this one is {self.chain.name}"
                raise InvalidId("destination", int(key.destination), remedy)
        if not keys:
            return []
        by_minter = await asyncio.gather(
            *(self._codes(minter.address, keys) for minter in await self._deployed())
        )
        found = [max(codes, key=_RANK.index) for codes in zip(*by_minter, strict=True)]
        return [
            None if code == _NONE else Execution(key, _STATES[code], final=code != _IN_FLIGHT)
            for key, code in zip(keys, found, strict=True)
        ]

    async def _deployed(self) -> list[TonMinter]:
        accounts = await self._api.accounts([minter.address for minter in self.chain.minters])
        missing = [
            minter.asset.symbol
            for minter in self.chain.minters
            if minter.address not in accounts or not accounts[minter.address].active
        ]
        if missing:
            # SECURITY: a minter that a node does not show may have released already.
            text = f"{self._api.host} does not show the minters of {', '.join(missing[:5])}"
            raise Transient("NODE_BEHIND", text, {"assets": ",".join(missing[:20])})
        if not self.chain.minters:
            raise InvalidId("assets", (), f"no asset is registered on {self.chain.name}")
        return list(self.chain.minters)

    async def _codes(self, minter: Address32, keys: Sequence[ExecutionKey]) -> list[int]:
        codes: list[int] = []
        for at in range(0, len(keys), _KEYS_A_CALL):
            part = keys[at : at + _KEYS_A_CALL]
            packed = (await self._api.run(minter, "executions", [_keys_cell(part)])).integer(0)
            codes.extend(packed >> _CODE_BITS * n & 15 for n in range(len(part)))
        if any(code > _CANCELLED for code in codes):
            text = f"executions of {minter.hex()}: a state nobody knows; check the minter's code"
            raise InvalidMessage("EXECUTION_UNKNOWN", text, {"minter": minter.hex()})
        return codes

    async def guard_epoch(self) -> int:
        """The epoch of the first minter in use: minters are rotated together, and `prepare`
        refuses a batch for one that stands at another."""
        minter = next(iter(self.chain.in_use.values()), None)
        if minter is None:
            raise InvalidId("assets", (), f"no asset is registered on {self.chain.name}")
        return (await self._api.run(minter.address, "guard_epoch")).integer(0)

    # ------------------------------------------------------------------ terms and slots

    async def permit_terms(
        self,
        batch: ReleaseBatch,  # noqa: ARG002
        sender: Address32,  # noqa: ARG002
        guards: Sequence[str],  # noqa: ARG002
    ) -> bytes:
        """None: the contract enforces deadline and guard set."""
        return b""

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """Raises InvalidMessage for any terms: permits here have none."""
        if batch.terms:
            text = f"terms: {batch.terms.hex()[:80]}; a permit on TON has none"
            raise InvalidMessage("TERMS_INVALID", text, {"terms": batch.terms.hex()[:80]})

    async def next_slot(
        self,
        sender: Address32,
        used: Sequence[SendSlot],
        order: ReleaseOrder | None = None,  # noqa: ARG002
    ) -> SendSlot:
        """The query id after those in use that the wallet has not done, made half a minute ago."""
        head = await self._api.masterchain_head()
        after = [parse_query(slot).counter + 1 for slot in used if slot.sender == sender]
        counter = await self._unused(sender, max(after, default=0))
        created_at = head.time - _CREATED_AGO_SECONDS
        query = Query(counter, created_at, HIGHLOAD_TIMEOUT_SECONDS)
        return SendSlot(self.chain.domain, sender, query.text())

    async def _unused(self, wallet: Address32, first: int) -> int:
        """A counter from `first` on whose id is unused; ids are used in their order, so doubling
        and halving finds one in a few questions. What no block commits yet counts as used."""
        pending = await self._pending_counters(wallet)
        first = max([first, *(counter + 1 for counter in pending)])
        low, step = first, 1
        while await self._processed(wallet, low):
            low, step = low + step, step * 2
        high, low = low, max(first, low - step // 2)
        while low < high:
            middle = (low + high) // 2
            if await self._processed(wallet, middle):
                low = middle + 1
            else:
                high = middle
        return high

    async def _pending_counters(self, wallet: Address32) -> list[int]:
        found = []
        for tx in await self._api.pending([wallet]):
            if tx.account == wallet and tx.in_msg is not None and tx.in_msg.source is None:
                counter = counter_in(tx.in_msg.cell())
                found.extend([] if counter is None else [counter])
        return found

    async def _processed(self, wallet: Address32, counter: int) -> bool:
        account = (await self._api.accounts([wallet])).get(wallet)
        if account is None or not account.active:
            return False
        clean = -1
        answer = await self._api.run(wallet, "processed?", [query_id(counter), clean])
        return answer.integer(0) != 0

    # ------------------------------------------------------------------ making transactions

    async def prepare(self, order: ReleaseOrder, slot: SendSlot) -> PreparedTx:
        """Build and simulate the release; raises InvalidMessage if the minter would refuse the
        whole of it, Transient if the wallet cannot pay, and lists the items it would skip."""
        batch = order.batch
        if len(batch.items) > self.chain.batch_items_max:
            remedy = f"split it: at most {self.chain.batch_items_max} items on {self.chain.name}"
            raise InvalidId("items", len(batch.items), remedy)
        minter = self.chain.minter_of(batch.bridge)
        await self.check_terms(batch)
        if sum(item.source in HASHED_NONCES for item in batch.items) > _HASHED_ITEMS_MAX:
            text = f"more than {_HASHED_ITEMS_MAX} items with hashed nonces; split the batch"
            raise InvalidMessage("BATCH_TOO_LARGE", text, {"most": _HASHED_ITEMS_MAX})
        wallets = [jetton_wallet(minter.address, item.recipient) for item in batch.items]
        head, (state, codes), accounts = await asyncio.gather(
            self._api.masterchain_head(),
            self._state(minter, batch),
            self._api.accounts([slot.sender, *dict.fromkeys(wallets)]),
        )
        self._check_permit(order, state, head)
        account = accounts.get(slot.sender)
        value = release_value(batch.items)
        self.check_funds(account, value)
        query = parse_query(slot)
        known = [wallet in accounts and accounts[wallet].active for wallet in wallets]
        message = internal_message(minter.address, value, self._codec.body(order, known))
        inner = highload_inner(query.counter, query.created_at, message)
        return PreparedTx(
            chain=self.chain.domain,
            slot=slot,
            payload=payload(HIGHLOAD, inner, deploy=account is None or not account.active),
            fee=f"{_coins(value)} TON attached, what is left returns",
            simulated=True,
            refused=tuple(_refused(batch, minter, state, codes, head)),
        )

    async def _state(
        self, minter: TonMinter, batch: ReleaseBatch
    ) -> tuple[MinterState, Sequence[int]]:
        """What the minter remembers now, and the states of the batch's items."""
        keys = [ExecutionKey(batch.destination, item.source, item.nonce) for item in batch.items]
        accounts, codes = await asyncio.gather(
            self._api.accounts([minter.address], with_data=True),
            self._codes(minter.address, keys),
        )
        if minter.address not in accounts:
            text = f"{self._api.host} does not know minter {show(minter.address)}"
            raise Transient("NODE_BEHIND", text, {"account": minter.address.hex()})
        return read_minter(accounts[minter.address]), codes

    def _check_permit(self, order: ReleaseOrder, state: MinterState, head: McBlock) -> None:
        """What makes the minter refuse a whole batch."""
        batch = order.batch
        if batch.epoch != state.epoch:
            raise _refuses(f"epoch {batch.epoch} is not the minter's, {state.epoch}")
        if not head.time < batch.deadline <= head.time + _PERMIT_SECONDS_MAX:
            raise _refuses(f"deadline {batch.deadline} is not within an hour after {head.time}")
        digest = self._codec.digest(batch)
        signers = set()
        for signed in order.signatures:
            if signed.signer not in state.guards or not _verifies(
                signed.signer, digest, signed.signature
            ):
                raise _refuses(f"the signature of {signed.signer.hex()} does not hold")
            signers.add(signed.signer)
        if len(signers) < state.threshold:
            raise _refuses(f"{len(signers)} of {state.threshold} signatures")

    def check_funds(self, account: AccountHead | None, value: int) -> None:
        """SECURITY: a wallet that cannot pay burns its query id and sends nothing (F44)."""
        balance = 0 if account is None else account.balance
        needed = value + _FEES
        if balance < needed:
            text = f"the relayer's wallet has {_coins(balance)} TON, needs {_coins(needed)}"
            raise Transient("SENDER_UNFUNDED", text, {"balance": balance, "needed": needed})

    async def replace(self, tx: PreparedTx) -> PreparedTx | None:  # noqa: ARG002
        """None: the same query id is sent until its timeout; it cannot pay more."""
        return None

    async def fill_slot(self, slot: SendSlot) -> PreparedTx | None:  # noqa: ARG002
        """None: nothing waits behind an unused query id."""
        return None

    # ------------------------------------------------------------------ sending

    async def broadcast(self, tx: SignedTx) -> TxRef:
        """Send the bytes. Raises Ambiguous where it is not known whether they were accepted, or
        where the wallet says that it did this query id already."""
        try:
            found = await self._api.send(tx.raw)
        except Transient as error:
            if error.code in ("RPC_RATE_LIMITED", "RPC_KEY_REFUSED"):
                raise
            text = f"whether {self._api.host} took the message is unknown: {error.message}"
            raise Ambiguous("BROADCAST_UNKNOWN", text, error.metadata) from error
        if found != tx.ref.id:
            text = f"{self._api.host} answered another hash than {tx.ref.id.hex()}"
            raise Ambiguous("BROADCAST_UNKNOWN", text, {"expected": tx.ref.id.hex()})
        return tx.ref

    async def status(self, tx: TxRef, slot: SendSlot) -> TxStatus:
        """Pending, Included, Final or Dropped; Final and succeeded is the minter's own."""
        head = await self._api.masterchain_head()
        sent = _of(await self._api.by_message(tx.id), slot.sender)
        if sent is None:
            return await self._not_landed(tx, slot, head)
        if not sent.final_by(head.seqno):
            return TxStatus(TxState.INCLUDED)
        return await self.landed(sent, head)

    async def landed(self, sent: Transaction, head: McBlock) -> TxStatus:
        """SECURITY: the wallet's success says nothing; the minter's transaction decides (F44)."""
        onward = next((m for m in sent.out_msgs if m.destination is not None), None)
        if not sent.succeeded or onward is None or onward.destination is None:
            reason = f"the wallet sent nothing: {sent.actions_skipped} sends skipped, no funds?"
            return TxStatus(TxState.FINAL, False, await self._ref(sent), reason)  # noqa: FBT003
        reached = _of(await self._api.by_message(onward.hash), onward.destination)
        if reached is None:
            return await self._on_its_way(onward.destination, onward.hash)
        if not reached.final_by(head.seqno):
            return TxStatus(TxState.INCLUDED, reached.succeeded)
        reason = "" if reached.succeeded else f"the minter refused: exit {reached.exit_code}"
        return TxStatus(TxState.FINAL, reached.succeeded, await self._ref(reached), reason)

    async def _on_its_way(self, minter: Address32, message: bytes) -> TxStatus:
        for one in await self._api.pending([minter]):
            if one.in_msg is not None and one.in_msg.hash == message:
                return TxStatus(TxState.INCLUDED, one.succeeded)
        return TxStatus(TxState.INCLUDED)

    async def _not_landed(self, tx: TxRef, slot: SendSlot, head: McBlock) -> TxStatus:
        """In no committed block: seen in one that may be, or dead by time, or still possible."""
        for one in await self._api.pending([slot.sender]):
            if one.in_msg is not None and tx.id in (one.in_msg.norm, one.in_msg.hash):
                return await self._pending_trace(one)
        query = parse_query(slot)
        if head.time < query.dead_at:
            return TxStatus(TxState.PENDING)
        return await self.dead(tx, slot, query, head)

    async def _pending_trace(self, sent: Transaction) -> TxStatus:
        onward = next((m for m in sent.out_msgs if m.destination is not None), None)
        if onward is None or onward.destination is None:
            return TxStatus(TxState.INCLUDED, False)  # noqa: FBT003
        return await self._on_its_way(onward.destination, onward.hash)

    async def dead(self, tx: TxRef, slot: SendSlot, query: Query, head: McBlock) -> TxStatus:
        """SECURITY: DROPPED only once every shard's committed time is past the timeout and, asked
        again after that, nothing shows that the wallet did it (F41)."""
        reached = await self._api.shard_time(head.seqno)
        if reached < query.dead_at:
            return TxStatus(TxState.PENDING, reason=f"may land until {query.dead_at}")
        if await self._processed(slot.sender, query.counter):
            reason = "the wallet did this query id, by a message the node does not show"
            return TxStatus(TxState.PENDING, reason=reason)
        sent = _of(await self._api.by_message(tx.id), slot.sender)
        if sent is not None:
            return await self.landed(sent, await self._api.masterchain_head())
        reason = f"its timeout {query.dead_at} has passed on chain ({reached}), unused"
        return TxStatus(TxState.DROPPED, reason=reason)

    async def _ref(self, tx: Transaction) -> BlockRef:
        block = await self._api.masterchain_block(tx.mc_seqno or 0)
        if block is None:
            text = f"{self._api.host} does not show masterchain block {tx.mc_seqno}"
            raise Transient("NODE_BEHIND", text, {"number": tx.mc_seqno})
        return BlockRef(self.chain.domain, block.seqno, block.hash, block.time)


def _of(found: Sequence[Transaction], account: Address32) -> Transaction | None:
    return next((tx for tx in found if tx.account == account), None)


def _keys_cell(keys: Sequence[ExecutionKey]) -> Cell:
    """A linked list of keys for the `executions` get method."""
    following: Cell | None = None
    for key in reversed(keys):
        builder = Builder().store_uint(int(key.source), 32).store_bytes(key.nonce)
        following = end(builder.store_maybe_ref(following))
    if following is None:
        raise InvalidId("keys", 0, "ask for at least one")
    return following


def _refused(
    batch: ReleaseBatch,
    minter: TonMinter,
    state: MinterState,
    codes: Sequence[int],
    head: McBlock,
) -> list[tuple[ExecutionKey, str]]:
    """The items that the minter would skip now, with our word for the reason."""
    left = state.bucket_now(head.time)
    refused = []
    for item, code in zip(batch.items, codes, strict=True):
        reason = _skip(item, code, minter, state, head)
        if reason is None and item.action is Action.RELEASE:
            if item.amount > left:
                reason = SkipReason.BUCKET_EMPTY
            else:
                left -= item.amount
        if reason is not None:
            key = ExecutionKey(batch.destination, item.source, item.nonce)
            refused.append((key, reason.name))
    return refused


def _skip(
    item: ReleaseItem, code: int, minter: TonMinter, state: MinterState, head: McBlock
) -> SkipReason | None:
    """Why the minter would leave an item, its bucket aside."""
    if code in (_IN_FLIGHT, _SETTLED):
        return SkipReason.ALREADY_RELEASED
    if code == _CANCELLED:
        return SkipReason.ALREADY_CANCELLED
    if item.source in HASHED_NONCES and code == _NONE and not _in_window(item, head.time):
        return SkipReason.UNKNOWN
    if item.action is Action.CANCEL:
        return None
    if state.retired:
        return SkipReason.UNKNOWN
    if state.paused_until > head.time:
        return SKIP_REASONS[3]
    return _content_refused(item, minter)


def _in_window(item: ReleaseItem, now: int) -> bool:
    return now - _WINDOW_SECONDS <= item.burned_at <= now + _PERMIT_SECONDS_MAX


def _content_refused(item: ReleaseItem, minter: TonMinter) -> SkipReason | None:
    if item.recipient == minter.address:
        return SkipReason.RECIPIENT_REFUSED
    try:
        minter.asset.units(item.amount)
    except InvalidId:
        return SkipReason.UNKNOWN
    return None


def _verifies(key: bytes, digest: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(digest, signature)
    except (CryptoError, ValueError):
        return False
    return True


def _refuses(why: str) -> InvalidMessage:
    return InvalidMessage("CALL_REVERTED", f"release is refused by the minter: {why}")


def _coins(nano: int) -> str:
    whole, part = divmod(nano, NANO)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".")

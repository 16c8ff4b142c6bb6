"""Sends releases on Solana; every method may be repeated.

The slot is the permit itself: its blockhash dies at a block height that guards signed, and the
marker lets one transaction of a key land, whoever sends it. Whether something happened is read,
never inferred: DROPPED needs a *final* height beyond the permit's last one, then no trace of the
signature, and no marker in a final state at least as new (F39). There is no fee bump and nothing
to fill: a permit that expired is asked for again.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

from base58 import b58decode, b58encode

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
from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import CONFIRMED, FINALIZED, block_call, parse_block
from xstock_chains.solana.chain import SolanaChain
from xstock_chains.solana.codec import SolanaReleaseCodec, verified
from xstock_chains.solana.errors import (
    ACCOUNT_FROZEN,
    MINT_PAUSED,
    Failure,
    RpcFault,
    broadcast_refused,
    parse_failure,
    refused,
)
from xstock_chains.solana.fees import usual_fee
from xstock_chains.solana.markers import Markers
from xstock_chains.solana.programs import MARKER_SPACE
from xstock_chains.solana.release import ReleaseBuilder
from xstock_chains.solana.rpc import (
    Call,
    Rpc,
    account_of,
    dict_of,
    invalid,
    key_of,
    number_of,
    only_status,
    status_call,
    with_context,
)
from xstock_chains.solana.terms import Terms
from xstock_core.ids import Address32, InvalidId
from xstock_core.observation import SkipReason, TxRef
from xstock_core.release import Action, ExecutionKey, ReleaseBatch
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, ServiceError, Transient
from xstock_runtime.hashing import keccak256

_NO_ORDER: Final = "solana"
"""The slot's text before an order is known; no transaction is ever sent in it."""
_LIMIT_MARGIN_PERCENT: Final = 115
_LIMIT_FLOOR: Final = 1_000
_ALLOCATE_AT: Final = 3
_ACCOUNT_AT: Final = 4
_MINT_AT: Final = 5
"""Numbers of the instructions in a release (see `release`)."""
_UNFUNDED: Final = ("InsufficientFundsForFee", "AccountNotFound", "InsufficientFundsForRent")


class SolanaWriter:
    """`ChainWriter` for one node of one Solana deployment."""

    def __init__(self, chain: SolanaChain, rpc: Rpc, codec: SolanaReleaseCodec) -> None:
        self.chain = chain
        self.markers = Markers(chain, rpc)
        self._rpc = rpc
        self._codec = codec
        self._builder = ReleaseBuilder(chain)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def find_executions(self, keys: Sequence[ExecutionKey]) -> Sequence[Execution | None]:
        """For each key what was done here, and whether finally; Transient (HOLD) where a marker
        exists whose creating transaction is not shown."""
        return await self.markers.find(keys)

    async def guard_epoch(self) -> int:
        """The registry's epoch while its multisig is the one on chain: a multisig never changes,
        a rotation is a new one. Raises Fatal if the account is another."""
        answer = await self._rpc.call(
            "getAccountInfo", show(self.chain.multisig.key), {"encoding": "base64", **CONFIRMED}
        )
        _, raw = with_context(answer, "getAccountInfo")
        account = account_of(raw)
        if account is None or keccak256(account.data) != self.chain.multisig.data_hash:
            text = f"{self._rpc.host}: the registered multisig is not on this chain; correct it"
            raise Fatal("GUARDS_UNKNOWN", text, {"multisig": show(self.chain.multisig.key)})
        return self.chain.epoch

    # ------------------------------------------------------------------ terms

    async def permit_terms(
        self, batch: ReleaseBatch, sender: Address32, guards: Sequence[str]
    ) -> bytes:
        """Blockhash, fees by simulation and the signers of a permit; raises InvalidId for guards
        or a sender that are not the registry's."""
        if sender != self.chain.lane_key:
            remedy = f"the lane key in use is {show(self.chain.lane_key)}"
            raise InvalidId("sender", show(sender), remedy)
        positions = self._positions(guards)
        if len(batch.items) != 1:
            raise InvalidId("items", len(batch.items), "a Solana transaction releases one item")
        marker = self._builder.marker(batch.items[0])
        calls: list[Call] = [
            ("getLatestBlockhash", [CONFIRMED]),
            ("getRecentPrioritizationFees", [self._writable(batch)]),
            ("getMinimumBalanceForRentExemption", [MARKER_SPACE]),
            ("getAccountInfo", [show(marker), {"encoding": "base64", **CONFIRMED}]),
        ]
        latest, fees, rent, held = await self._rpc.batch(calls)
        fields = dict_of(with_context(latest, "getLatestBlockhash")[1], "getLatestBlockhash")
        account = account_of(with_context(held, "getAccountInfo")[1])
        facts = self.chain.facts
        terms = Terms(
            blockhash=key_of(fields.get("blockhash"), "blockhash"),
            last_valid_height=number_of(fields.get("lastValidBlockHeight"), "lastValidBlockHeight"),
            deadline=batch.deadline,
            compute_limit=facts.compute_limit_max,
            compute_price=min(usual_fee(fees), facts.compute_price_max),
            marker_lamports=max(
                0, number_of(rent, "rent") - (0 if account is None else account.lamports)
            ),
            guards=positions,
        )
        return await self._with_limit(batch, terms)

    def _positions(self, guards: Sequence[str]) -> tuple[int, ...]:
        for guard in guards:
            if guard not in self.chain.guard_ids:
                raise InvalidId("guards", guard, f"use {self.chain.threshold} of the registry's")
        positions = sorted({self.chain.guard_ids.index(guard) for guard in guards})
        if len(positions) != self.chain.threshold:
            remedy = f"exactly {self.chain.threshold} guards sign"
            raise InvalidId("guards", len(positions), remedy)
        return tuple(positions)

    def _writable(self, batch: ReleaseBatch) -> list[str]:
        mint = self.chain.asset_of(batch.items[0].asset).mint
        return [show(self.chain.lane_key), show(mint)]

    async def _with_limit(self, batch: ReleaseBatch, terms: Terms) -> bytes:
        """The terms with the compute units that a simulation used, and some; with the most that
        is allowed where it fails, for `prepare` to say why."""
        draft = ReleaseBatch(
            batch.destination,
            batch.bridge,
            batch.epoch,
            batch.deadline,
            batch.items,
            terms.pack(),
        )
        err, used = await self._simulate(self._codec.pack(ReleaseOrder(draft, ())))
        if err is not None or used == 0:
            return terms.pack()
        limit = used * _LIMIT_MARGIN_PERCENT // 100 + _LIMIT_FLOOR
        chosen = min(limit, self.chain.facts.compute_limit_max)
        return Terms(
            terms.blockhash,
            terms.last_valid_height,
            terms.deadline,
            chosen,
            terms.compute_price,
            terms.marker_lamports,
            terms.guards,
        ).pack()

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """A guard's own look: the blockhash is known to its node, dies soon enough by the final
        height, and the fees are bounded. Raises InvalidMessage, Transient if it cannot tell."""
        terms = self._builder.terms_of(batch)
        self._builder.message(batch)
        self._check_bounds(terms)
        calls: list[Call] = [
            ("isBlockhashValid", [b58encode(terms.blockhash).decode(), CONFIRMED]),
            ("getBlockHeight", [FINALIZED]),
            ("getLatestBlockhash", [CONFIRMED]),
        ]
        answer, height, latest = await self._rpc.batch(calls)
        final = number_of(height, "getBlockHeight")
        fields = dict_of(with_context(latest, "getLatestBlockhash")[1], "getLatestBlockhash")
        newest = number_of(fields.get("lastValidBlockHeight"), "lastValidBlockHeight")
        facts = self.chain.facts
        most = min(newest, final + facts.blockhash_blocks) + facts.height_slack
        if not final < terms.last_valid_height <= most:
            wanted = f"more than {final}, at most {most}, by this guard's final height"
            raise self._refused("last_valid_height", terms.last_valid_height, wanted)
        valid = with_context(answer, "isBlockhashValid")[1]
        if valid is not True:
            text = f"{self._rpc.host} does not know the permit's blockhash (yet); ask again"
            raise Transient("BLOCKHASH_UNKNOWN", text, {"blockhash": terms.blockhash.hex()})

    def _check_bounds(self, terms: Terms) -> None:
        facts = self.chain.facts
        bounds = (
            ("compute_limit", terms.compute_limit, facts.compute_limit_max),
            ("compute_price", terms.compute_price, facts.compute_price_max),
            ("marker_lamports", terms.marker_lamports, facts.marker_lamports_max),
        )
        for name, value, most in bounds:
            if value > most:
                raise self._refused(name, value, f"at most {most}")

    def _refused(self, field: str, value: object, wanted: str) -> InvalidMessage:
        text = f"terms.{field}: {value!r} is not {wanted}; ask for new terms"
        return InvalidMessage("TERMS_REFUSED", text, {"field": field, "value": value})

    # ------------------------------------------------------------------ making transactions

    async def next_slot(
        self,
        sender: Address32,
        used: Sequence[SendSlot],  # noqa: ARG002 - a permit has one slot, its own
        order: ReleaseOrder | None = None,
    ) -> SendSlot:
        """The order's own slot: its blockhash, the height at which that dies, its marker."""
        if order is None:
            return SendSlot(self.chain.domain, sender, _NO_ORDER)
        terms = self._builder.terms_of(order.batch)
        message = self._builder.message(order.batch)
        document = {
            "v": 1,
            "blockhash": b58encode(terms.blockhash).decode(),
            "height": terms.last_valid_height,
            "marker": show(self._builder.marker(order.batch.items[0])),
            "message": keccak256(message).hex()[:16],
        }
        text = json.dumps(document, separators=(",", ":"))
        return SendSlot(self.chain.domain, sender, text)

    async def prepare(self, order: ReleaseOrder, slot: SendSlot) -> PreparedTx:
        """The permit's transaction, simulated; raises InvalidMessage if the chain would refuse
        it, and lists the item if it waits for a pause or cannot be received."""
        message = self._builder.message(order.batch)
        if slot.sender != self.chain.lane_key:
            raise InvalidId("sender", show(slot.sender), "the lane key in use sends releases")
        self.check_signatures(order, message)
        payload = self._codec.pack(order)
        err, used = await self._simulate(payload)
        terms = self._builder.terms_of(order.batch)
        reason = None if err is None else await self._why(order, terms, parse_failure(err))
        item = order.batch.items[0]
        key = ExecutionKey(order.batch.destination, item.source, item.nonce)
        lamports = terms.compute_limit * terms.compute_price // 1_000_000
        lamports += 5_000 * (1 + len(terms.guards))
        return PreparedTx(
            chain=self.chain.domain,
            slot=slot,
            payload=payload,
            fee=f"{lamports} lamports, {terms.marker_lamports} for the marker; {used} units used",
            simulated=True,
            refused=() if reason is None else ((key, reason),),
        )

    def check_signatures(self, order: ReleaseOrder, message: bytes) -> None:
        """SECURITY: every named guard signed exactly these bytes (F82, INV-08)."""
        by_signer = {one.signer: one.signature for one in order.signatures}
        for key in self._builder.signers(order.batch):
            if not verified(key, message, by_signer.get(key, b"")):
                text = f"guard {show(key)} has not signed this transaction; ask it again"
                raise InvalidMessage("SIGNATURE_INVALID", text, {"guard": show(key)})

    async def _simulate(self, payload: bytes) -> tuple[Any, int]:
        """(error or None, compute units) on the node's confirmed state."""
        options = {"encoding": "base64", "sigVerify": False, **CONFIRMED}
        answer = await self._rpc.call("simulateTransaction", b64encode(payload).decode(), options)
        fields = dict_of(with_context(answer, "simulateTransaction")[1], "simulateTransaction")
        if "err" not in fields:
            raise invalid("simulateTransaction", sorted(fields), "an answer with `err`")
        return fields["err"], number_of(fields.get("unitsConsumed") or 0, "unitsConsumed")

    async def _why(self, order: ReleaseOrder, terms: Terms, failure: Failure) -> str:
        """The reason for which the item would not land now; raises for what never could."""
        if failure.name == "BlockhashNotFound":
            raise await self._without_blockhash(terms)
        if failure.name in _UNFUNDED or (failure.instruction == 2 and failure.custom == 1):
            text = "the lane key cannot pay; send it some SOL"
            raise Transient("SENDER_UNFUNDED", text, {"lane_key": show(self.chain.lane_key)})
        item = order.batch.items[0]
        if failure.instruction == _ALLOCATE_AT:
            key = ExecutionKey(order.batch.destination, item.source, item.nonce)
            (done,) = await self.find_executions([key])
            if done is not None:
                released = done.state is ExecutionState.RELEASED
                skip = SkipReason.ALREADY_RELEASED if released else SkipReason.ALREADY_CANCELLED
                return skip.name
        if item.action is Action.RELEASE:
            if (failure.instruction, failure.custom) == (_MINT_AT, MINT_PAUSED):
                return SkipReason.ASSET_PAUSED.name
            if (failure.instruction, failure.custom) == (_MINT_AT, ACCOUNT_FROZEN):
                return SkipReason.RECIPIENT_REFUSED.name
            if failure.instruction == _ACCOUNT_AT:
                return SkipReason.RECIPIENT_REFUSED.name
        text = f"the release is refused by the chain: {failure}"
        raise InvalidMessage("CALL_REVERTED", text, {"failure": failure})

    async def _without_blockhash(self, terms: Terms) -> ServiceError:
        height = number_of(await self._rpc.call("getBlockHeight", FINALIZED), "getBlockHeight")
        facts = {"height": height, "last_valid": terms.last_valid_height}
        if height > terms.last_valid_height:
            text = f"the permit died at height {terms.last_valid_height}; ask for a new one"
            return InvalidMessage("PERMIT_EXPIRED", text, facts)
        text = f"{self._rpc.host} does not know the permit's blockhash; ask again"
        return Transient("BLOCKHASH_UNKNOWN", text, facts)

    async def replace(self, tx: PreparedTx) -> PreparedTx | None:  # noqa: ARG002
        """None: the fee is part of what the guards signed."""
        return None

    async def fill_slot(self, slot: SendSlot) -> PreparedTx | None:  # noqa: ARG002
        """None: no slot waits for another."""
        return None

    # ------------------------------------------------------------------ sending

    async def broadcast(self, tx: SignedTx) -> TxRef:
        """Send the bytes; a node that has them already is success. Raises Ambiguous where it is
        not known whether they were accepted."""
        text = b64encode(tx.raw).decode()
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        call: Call = ("sendTransaction", [text, options])
        try:
            (answer,) = await self._rpc.batch_settled([call])
        except Transient as error:
            said = f"whether {self._rpc.host} took the transaction is unknown: {error.message}"
            raise Ambiguous("BROADCAST_UNKNOWN", said, error.metadata) from error
        if isinstance(answer, RpcFault):
            refusal = broadcast_refused(self._rpc.host, answer)
            if refusal is not None:
                raise refusal
            return tx.ref
        if key_of(answer, "sendTransaction", 64) != tx.ref.id:
            said = f"{self._rpc.host} answered another signature than {b58encode(tx.ref.id)!r}"
            raise Ambiguous("BROADCAST_UNKNOWN", said, {"expected": tx.ref.id.hex()})
        return tx.ref

    async def status(self, tx: TxRef, slot: SendSlot) -> TxStatus:
        """Pending, Included, Final or Dropped; nothing is concluded from an absence alone."""
        calls: list[Call] = [
            ("getBlockHeight", [FINALIZED]),
            ("getSlot", [FINALIZED]),
            _status_call(tx),
        ]
        height, final_slot, answer = await self._rpc.batch(calls)
        _, found = only_status(answer)
        if found is not None:
            return await self._landed(found)
        terms = _slot_terms(slot)
        if terms is None or number_of(height, "getBlockHeight") <= terms[0]:
            return TxStatus(TxState.PENDING)
        return await self._expired(tx, terms, number_of(final_slot, "getSlot"))

    async def _landed(self, found: dict[str, Any]) -> TxStatus:
        succeeded = found.get("err") is None
        if found.get("confirmationStatus") == "processed":
            return TxStatus(TxState.PENDING, reason="processed by one node, not voted on yet")
        number = number_of(found.get("slot"), "status.slot")
        final = found.get("confirmationStatus") == "finalized"
        method, params = block_call(number, commitment="finalized" if final else "confirmed")
        (raw,) = await self._rpc.batch_settled([(method, params)])
        if isinstance(raw, RpcFault):
            raise refused(self._rpc.host, method, raw)
        block = parse_block(number, raw).ref(self.chain)
        return TxStatus(TxState.FINAL if final else TxState.INCLUDED, succeeded, block)

    async def _expired(self, tx: TxRef, terms: tuple[int, bytes], slot: int) -> TxStatus:
        """The final height is past the permit's: only now does an absence mean something, and
        only with the final state beside it, for history may be pruned or not yet replayed."""
        (answer,) = await self._rpc.batch([_status_call(tx)])
        _, found = only_status(answer)
        if found is not None:
            return await self._landed(found)
        height, marker = terms
        if not await self.marker_exists(marker, slot):
            reason = f"its blockhash died at height {height}, and it is not in final history"
            return TxStatus(TxState.DROPPED, reason=reason)
        creation = await self.markers.creation(marker)
        if b58decode(creation.signature) == tx.id:
            text = f"{self._rpc.host} shows the transaction but not its status; ask again"
            raise Transient("NODE_INCONSISTENT", text, {"tx": creation.signature})
        reason = f"{creation.signature} used its marker, and its blockhash died at {height}"
        return TxStatus(TxState.DROPPED, reason=reason)

    async def marker_exists(self, marker: bytes, slot: int) -> bool:
        """SECURITY: the final state remembers what pruned history forgot (F39)."""
        return await self.markers.exists(marker, slot)


def _status_call(tx: TxRef) -> Call:
    return status_call(b58encode(tx.id).decode())


def _slot_terms(slot: SendSlot) -> tuple[int, bytes] | None:
    """(last valid height, marker) of a slot's text; None for a slot without an order."""
    if slot.text == _NO_ORDER:
        return None
    try:
        document = json.loads(slot.text)
        if document["v"] != 1:
            raise ValueError("another version")
        return int(document["height"]), b58decode(document["marker"])
    except (ValueError, KeyError, TypeError) as error:
        text = f"slot: {slot.text[:100]!r} is none of this adapter's; look at the slot ledger"
        raise InvalidMessage("SLOT_INVALID", text, {"slot": slot.text[:100]}) from error

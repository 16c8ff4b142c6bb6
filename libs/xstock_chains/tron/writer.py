"""Sends releases on one Tron network; every method may be repeated.

There is no account nonce: what makes a transaction exclusive is its frame (reference block and
expiration), so a slot is a frame, and one slot and order give one id. Nothing replaces a
transaction and no slot can be left open, so there is no fee bump and no filler. DROPPED needs
the solid time at or beyond the expiration and, asked after that, no solid execution. Two that
both land are harmless: the bridge skips what is done.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

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
from xstock_chains.solidity.abi import array_of_words, selector, uint_array, word, words
from xstock_chains.solidity.account import from_wire
from xstock_chains.solidity.events import SKIPPED
from xstock_chains.solidity.evidence import SKIP_REASONS
from xstock_chains.terms import refuse_terms
from xstock_chains.tron.blocks import SolidChain
from xstock_chains.tron.calls import Read, call_body, data_or_raise, read_all
from xstock_chains.tron.chain import TronChain
from xstock_chains.tron.codec import TronReleaseCodec
from xstock_chains.tron.errors import (
    NO_CONTRACT,
    CallFault,
    CallOutcome,
    broadcast_refused,
    call_refused,
    parse_call,
    parse_estimate,
)
from xstock_chains.tron.fees import fee_limit, read_prices, with_margin
from xstock_chains.tron.frames import (
    frame_after,
    frame_text,
    make_frame,
    parse_frame,
    read_heads,
)
from xstock_chains.tron.reader import tx_status
from xstock_chains.tron.rpc import SOLID, WALLET, TronRpc, hex_bytes, object_of
from xstock_chains.tron.transaction import RawTransaction, Trigger, encode
from xstock_core.ids import Address32, InvalidId, Nonce, parse_domain
from xstock_core.observation import SkipReason, TxRef
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

_EXECUTIONS: Final = selector("executions(uint32[],bytes32[])")
_GUARD_EPOCH: Final = selector("guardEpoch()")
_STATES: Final = {1: ExecutionState.RELEASED, 2: ExecutionState.CANCELLED}
_KEYS_A_CALL: Final = 500
_ITEM_ENERGY: Final = 600_000
"""The bridge wants 450,000 left when an item begins (ITEM_GAS), or it reverts."""


class TronWriter:
    """`ChainWriter` for one server of one Tron network."""

    def __init__(self, chain: TronChain, rpc: TronRpc, codec: TronReleaseCodec) -> None:
        self.chain = chain
        self._rpc = rpc
        self._codec = codec
        self._solid = SolidChain(rpc, chain)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    # ------------------------------------------------------------------ what has happened

    async def find_executions(self, keys: Sequence[ExecutionKey]) -> Sequence[Execution | None]:
        """For each key what any bridge ever registered here has done, and whether finally. The
        full node's state includes what is only pending: that is never final."""
        for key in keys:
            if key.destination is not self.chain.domain:
                remedy = f"ask the writer of that chain; this one is {self.chain.name}"
                raise InvalidId("destination", int(key.destination), remedy)
        latest = await self._states(WALLET, keys)
        final = await self._states(SOLID, keys)
        return [
            None if state is None else Execution(key, state, final=final[at] is state)
            for at, (key, state) in enumerate(zip(keys, latest, strict=True))
        ]

    async def _states(
        self, interface: str, keys: Sequence[ExecutionKey]
    ) -> list[ExecutionState | None]:
        """One call per bridge and part; the first bridge that used a key says how."""
        starts = range(0, len(keys), _KEYS_A_CALL)
        asked = [
            (at, Read(bridge.address, _executions_data(keys[at : at + _KEYS_A_CALL])))
            for bridge in self.chain.bridges
            for at in starts
        ]
        answers = await read_all(self._rpc, interface, [read for _, read in asked])
        states: list[ExecutionState | None] = [None] * len(keys)
        for (start, _), answer in zip(asked, answers, strict=True):
            for at, outcome in enumerate(self._outcomes(answer), start=start):
                states[at] = states[at] or _STATES.get(outcome)
        return states

    def _outcomes(self, answer: CallOutcome | CallFault) -> tuple[int, ...]:
        """Outcomes in order; a bridge that is not there (yet) has done nothing."""
        if isinstance(answer, CallFault) and answer.message == NO_CONTRACT:
            return ()
        return array_of_words(data_or_raise(self._rpc, "executions", answer), "executions")

    async def guard_epoch(self) -> int:
        """The epoch of the guard set that the bridge accepts now."""
        read = Read(self.chain.bridge.address, _GUARD_EPOCH)
        (answer,) = await read_all(self._rpc, WALLET, [read])
        return words(data_or_raise(self._rpc, "guardEpoch", answer), 1, "guardEpoch")[0]

    # ------------------------------------------------------------------ making transactions

    async def next_slot(
        self, sender: Address32, used: Sequence[SendSlot], order: ReleaseOrder | None = None
    ) -> SendSlot:
        """A frame from now on that differs from those in use, ending by the permit's deadline."""
        genesis, solid, newest = await read_heads(self._rpc)
        self._solid.check_id(genesis)
        until = None if order is None else order.batch.deadline * 1000
        facts = self.chain.facts
        frame = frame_after(solid, newest, facts, until)
        taken = {parse_frame(slot.text).expiration_ms for slot in used if slot.sender == sender}
        expiration = frame.expiration_ms
        while expiration in taken:
            expiration -= 1
        text = frame_text(make_frame(solid, expiration, facts))
        return SendSlot(self.chain.domain, sender, text)

    async def permit_terms(
        self,
        batch: ReleaseBatch,  # noqa: ARG002 - the contract enforces deadline and guards
        sender: Address32,  # noqa: ARG002
        guards: Sequence[str],  # noqa: ARG002
    ) -> bytes:
        """None: the contract enforces deadline and guard set."""
        return b""

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """A permit of this family has no terms."""
        refuse_terms(batch)

    async def prepare(self, order: ReleaseOrder, slot: SendSlot) -> PreparedTx:
        """Build and simulate the batch's transaction; raises InvalidMessage if the bridge would
        refuse the whole of it, and lists the items that it would skip."""
        items = len(order.batch.items)
        if items > self.chain.batch_items_max:
            remedy = f"split it: at most {self.chain.batch_items_max} items on {self.chain.name}"
            raise InvalidId("items", items, remedy)
        if order.batch.bridge != self.chain.bridge.wire:
            raise InvalidId("bridge", order.batch.bridge.hex(), "use the bridge in use")
        frame = parse_frame(slot.text)
        owner = from_wire(slot.sender, "sender")
        trigger = Trigger(owner, self.chain.bridge.address, self._codec.pack(order))
        prices = await read_prices(self._rpc)
        outcome = await self._simulated(trigger)
        energy = await self._energy(trigger, outcome)
        limit = fee_limit("releaseBatch", energy, prices, self.chain.facts)
        return PreparedTx(
            chain=self.chain.domain,
            slot=slot,
            payload=encode(RawTransaction(frame, trigger, limit)),
            fee=f"fee limit {limit} sun ({energy} energy at {prices.energy} sun)",
            simulated=True,
            refused=self._skips(order, outcome),
        )

    async def _simulated(self, trigger: Trigger) -> CallOutcome:
        """One execution on the node; raises InvalidMessage if the bridge refuses it."""
        body = call_body(trigger.contract, trigger.data, trigger.owner)
        outcome = parse_call(await self._rpc.wallet("triggerconstantcontract", **body))
        if isinstance(outcome, CallFault):
            raise call_refused("releaseBatch", outcome, self._rpc.host)
        return outcome

    async def _energy(self, trigger: Trigger, outcome: CallOutcome) -> int:
        """What the simulation used, what the bridge wants left for an item besides, and a margin;
        or the node's own estimate, if it makes one and it is more."""
        body = call_body(trigger.contract, trigger.data, trigger.owner)
        estimate = parse_estimate(await self._rpc.wallet("estimateenergy", **body))
        least = with_margin(outcome.energy) + _ITEM_ENERGY
        return least if isinstance(estimate, CallFault) else max(least, with_margin(estimate))

    def _skips(
        self, order: ReleaseOrder, outcome: CallOutcome
    ) -> tuple[tuple[ExecutionKey, str], ...]:
        """The items that the simulated transaction skipped, by its own events."""
        refused = []
        for log in outcome.logs:
            if len(log.topics) < 2 or log.topics[0] != SKIPPED:
                continue
            _, reason = words(log.data, 2, "ReleaseSkipped")
            source = parse_domain(int.from_bytes(log.topics[1], "big"), "source")
            key = ExecutionKey(order.batch.destination, source, Nonce(log.data[:32]))
            refused.append((key, SKIP_REASONS.get(reason, SkipReason.UNKNOWN).name))
        return tuple(refused)

    async def replace(self, tx: PreparedTx) -> PreparedTx | None:  # noqa: ARG002
        """None: another fee would be another transaction, and both could land."""
        return None

    async def fill_slot(self, slot: SendSlot) -> PreparedTx | None:  # noqa: ARG002
        """None: no transaction waits for another one's slot."""
        return None

    # ------------------------------------------------------------------ sending

    async def broadcast(self, tx: SignedTx) -> TxRef:
        """Send the bytes; a node that knows them is success in sending (F40), and says nothing of
        what became of them. Raises Ambiguous where it is not known whether they were taken."""
        try:
            answer = object_of(
                await self._rpc.wallet("broadcasthex", transaction=tx.raw.hex()), "broadcasthex"
            )
        except (Transient, InvalidMessage) as error:
            text = f"whether {self._rpc.host} took the transaction is unknown: {error.message}"
            raise Ambiguous("BROADCAST_UNKNOWN", text, error.metadata) from error
        refusal = self.refusal(answer)
        if refusal is not None:
            raise refusal
        if hex_bytes(answer.get("txid"), "txid", 32) != tx.ref.id:
            text = f"{self._rpc.host} answered another id than {tx.ref.id.hex()}"
            raise Ambiguous("BROADCAST_UNKNOWN", text, {"expected": tx.ref.id.hex()})
        return tx.ref

    def refusal(self, answer: Mapping[str, Any]) -> ServiceError | None:
        """What the node's answer to a broadcast means; None if it has these bytes."""
        return broadcast_refused(answer, self._rpc.host)

    async def status(self, tx: TxRef, slot: SendSlot) -> TxStatus:
        """Pending, Included, Final or Dropped; nothing is concluded from an absence alone."""
        head = await self._solid.head()
        info = await self._info(SOLID, tx)
        if info:
            return await tx_status(self._rpc, tx.chain, SOLID, TxState.FINAL, info)
        seen = await self._info(WALLET, tx)
        if seen:
            return await tx_status(self._rpc, tx.chain, WALLET, TxState.INCLUDED, seen)
        expiration = parse_frame(slot.text).expiration_ms
        if not self.expired(head.time_ms, expiration):
            return TxStatus(TxState.PENDING)
        reason = f"expired at {expiration} ms; the solid time is {head.time_ms} ms"
        return TxStatus(TxState.DROPPED, reason=reason)

    def expired(self, solid_time_ms: int, expiration_ms: int) -> bool:
        """SECURITY: dead only once a block that can never go away is as late as the expiration:
        the head's time, or ours, would declare dead what may still land (F40)."""
        return solid_time_ms >= expiration_ms

    async def _info(self, interface: str, tx: TxRef) -> Mapping[str, Any]:
        body = {"value": tx.id.hex()}
        return object_of(await self._rpc.ask(interface, "gettransactioninfobyid", body), "info")


def _executions_data(keys: Sequence[ExecutionKey]) -> bytes:
    sources = uint_array([int(key.source) for key in keys])
    nonces = word(len(keys)) + b"".join(key.nonce for key in keys)
    return _EXECUTIONS + word(64) + word(64 + len(sources)) + sources + nonces

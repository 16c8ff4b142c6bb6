"""`ChainWriter` of the fake family: slots are the sender's nonces, fees are bumped by 12.5%.

Every method is safe to repeat. A transaction is DROPPED only when a final block shows that its
slot was used by another; not being seen proves nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from xstock_chains.fake.codec import FakeCodec
from xstock_chains.fake.execution import Outcome
from xstock_chains.fake.node import FakeNode, View
from xstock_chains.fake.transactions import (
    Call,
    FillCall,
    ReleaseCall,
    decode_unsigned,
    encode_unsigned,
)
from xstock_chains.ports import (
    Execution,
    PreparedTx,
    ReleaseOrder,
    SendSlot,
    SignedTx,
    TxState,
    TxStatus,
)
from xstock_chains.terms import refuse_terms
from xstock_core.ids import Address32
from xstock_core.observation import BlockRef, Place, ReleaseSkipped, TxRef
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_runtime.errors import InvalidMessage

BASE_FEE: Final = 1_000


class FakeWriter:
    """Writes to one chain through one node."""

    def __init__(self, node: FakeNode) -> None:
        self._node = node
        self._domain = node.chain.domain
        self._codec = FakeCodec()

    async def find_executions(self, keys: Sequence[ExecutionKey]) -> Sequence[Execution | None]:
        """What the node's head shows for each key, and whether its final head shows the same."""
        for key in keys:
            if key.destination is not self._domain:
                raise InvalidMessage(
                    "WRONG_CHAIN", f"key for {key.destination.name} asked on {self._domain.name}"
                )
        view = await self._node.view("find_executions")
        return tuple(self._execution(key, view) for key in keys)

    async def next_slot(
        self,
        sender: Address32,
        used: Sequence[SendSlot],
        order: ReleaseOrder | None = None,  # noqa: ARG002 - a count fits any order
    ) -> SendSlot:
        """One after the highest in use, and never below the chain's own count."""
        view = await self._node.view("next_slot")
        taken = [int(slot.text) for slot in used if slot.sender == sender]
        present = self._node.chain.state.slot.get(sender, view.head.number)
        return SendSlot(self._domain, sender, str(max([present, *(n + 1 for n in taken)])))

    async def permit_terms(
        self,
        batch: ReleaseBatch,  # noqa: ARG002 - the contract enforces deadline and guards
        sender: Address32,  # noqa: ARG002
        guards: Sequence[str],  # noqa: ARG002
    ) -> bytes:
        """None: the chain enforces deadline and guard set."""
        return b""

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """A permit of this family has no terms."""
        refuse_terms(batch)

    async def guard_epoch(self) -> int:
        """The epoch of the guard set at the node's head."""
        view = await self._node.view("guard_epoch")
        guards = self._node.chain.state.guards.get("", view.head.number)
        if guards is None:
            raise InvalidMessage("NO_GUARD_SET", f"{self._domain.name} has no guard set")
        return guards.epoch

    async def prepare(self, order: ReleaseOrder, slot: SendSlot) -> PreparedTx:
        """Build and simulate a release; InvalidMessage RELEASE_REVERTS if nothing could land."""
        call = ReleaseCall(self._codec.pack(order))
        outcome = await self._node.simulate(call, slot.sender)
        if not outcome.succeeded:
            raise InvalidMessage(
                "RELEASE_REVERTS", f"{self._domain.name} would refuse the batch: {outcome.reason}"
            )
        prepared = self._prepared(slot, BASE_FEE, call)
        return replace(prepared, simulated=True, refused=_skipped(outcome, self._node.chain.head))

    async def broadcast(self, tx: SignedTx) -> TxRef:
        """Send signed bytes; raises Ambiguous when the answer is lost or the slot is taken."""
        return TxRef(self._domain, await self._node.submit(tx.raw))

    async def status(self, tx: TxRef, slot: SendSlot) -> TxStatus:
        """Where the transaction stands by this node."""
        view = await self._node.view("status")
        block, outcome = view.find(tx.id), view.outcome(tx.id)
        if block is not None and outcome is not None:
            final = block.ref.number <= view.final.number
            state = TxState.FINAL if final else TxState.INCLUDED
            return TxStatus(state, outcome.succeeded, block.ref, outcome.reason)
        used = self._node.chain.state.slot.get(slot.sender, view.final.number)
        if int(slot.text) < used:
            return TxStatus(
                TxState.DROPPED, reason=f"slot {slot.text} was used by another final transaction"
            )
        seen = view.waiting(tx.id)
        return TxStatus(TxState.PENDING, reason="" if seen else "not seen by this node")

    async def replace(self, tx: PreparedTx) -> PreparedTx | None:
        """The same call in the same slot for 12.5% more."""
        _, _, fee, call = decode_unsigned(tx.payload)
        raised = self._prepared(tx.slot, fee + fee // 8 + 1, call)
        return replace(raised, simulated=tx.simulated, refused=tx.refused)

    async def fill_slot(self, slot: SendSlot) -> PreparedTx | None:
        """A transaction that does nothing, at a fee that replaces what may be stuck there."""
        return self._prepared(slot, BASE_FEE * 2, FillCall())

    def _prepared(self, slot: SendSlot, fee: int, call: Call) -> PreparedTx:
        payload = encode_unsigned(slot.sender, int(slot.text), fee, call)
        return PreparedTx(self._domain, slot, payload, f"{fee} units", simulated=False)

    def _execution(self, key: ExecutionKey, view: View) -> Execution | None:
        state = self._node.chain.state.execution
        place = (key.source, key.nonce)
        present = state.get(place, view.head.number)
        if present is None:
            return None
        return Execution(key, present, final=state.get(place, view.final.number) is present)


def _skipped(outcome: Outcome, next_to: BlockRef) -> tuple[tuple[ExecutionKey, str], ...]:
    nowhere = Place(next_to, TxRef(next_to.chain, b""), 0)
    drafts = (draft(nowhere) for draft in outcome.events)
    return tuple(
        (ExecutionKey(o.destination, o.source, o.nonce), o.reason.name)
        for o in drafts
        if isinstance(o, ReleaseSkipped)
    )

"""Sends releases on one EVM chain; every method may be repeated.

The slot is the account nonce: two transactions of one sender and nonce can never both land. The
caller's ledger decides which slots exist; the chain is asked only where it starts. Whether
something happened is read, never inferred: DROPPED needs the nonce used at a final block and,
asked again after that, no receipt.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from xstock_chains.evm.address import checksummed, from_wire
from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.codec import EvmReleaseCodec
from xstock_chains.evm.errors import broadcast_refused, is_revert, reverted
from xstock_chains.evm.heads import Header, block_call, parse_header
from xstock_chains.evm.reader import eth_call
from xstock_chains.evm.rpc import Call, Rpc, RpcFault, data_of, quantity
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
from xstock_chains.solidity.abi import array_of_words, hex_of, selector, uint_array, word, words
from xstock_chains.solidity.contracts import BridgeContract
from xstock_chains.solidity.events import SKIPPED
from xstock_chains.solidity.evidence import SKIP_REASONS
from xstock_chains.terms import refuse_terms
from xstock_core.ids import Address32, InvalidId, Nonce, parse_domain
from xstock_core.observation import SkipReason, TxRef
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, Transient

_EXECUTIONS: Final = selector("executions(uint32[],bytes32[])")
_STATES: Final = {1: ExecutionState.RELEASED, 2: ExecutionState.CANCELLED}
_KEYS_A_CALL: Final = 1000
_GUARD_EPOCH: Final = selector("guardEpoch()")
_TRANSFER_GAS: Final = 21_000
_GAS_HEADROOM_PERCENT: Final = 120
_ITEM_GAS: Final = 600_000
"""The bridge wants 450,000 gas left when an item begins (ITEM_GAS), or it reverts."""


class EvmWriter:
    """`ChainWriter` for one node of one EVM chain."""

    def __init__(self, chain: EvmChain, rpc: Rpc, codec: EvmReleaseCodec) -> None:
        self.chain = chain
        self._rpc = rpc
        self._codec = codec

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    # ------------------------------------------------------------------ what has happened

    async def find_executions(self, keys: Sequence[ExecutionKey]) -> Sequence[Execution | None]:
        """For each key what any bridge ever registered here has done, and whether finally."""
        latest = await self._states(keys, "latest")
        done = [key for key, state in zip(keys, latest, strict=True) if state is not None]
        final = dict(zip(done, await self._final_states(done), strict=True))
        return [
            None if state is None else Execution(key, state, final=final[key] is state)
            for key, state in zip(keys, latest, strict=True)
        ]

    async def _final_states(self, keys: Sequence[ExecutionKey]) -> Sequence[ExecutionState | None]:
        """As of the final block; a node that keeps no state so old cannot say: not final."""
        try:
            return await self._states(keys, "finalized")
        except Transient as error:
            if error.code != "RPC_REFUSED":
                raise
            return [None] * len(keys)

    async def _states(
        self, keys: Sequence[ExecutionKey], block: str
    ) -> list[ExecutionState | None]:
        """One call per bridge and thousand keys; the first bridge that used a key says how."""
        for key in keys:
            if key.destination is not self.chain.domain:
                remedy = f"ask the writer of that chain; this one is {self.chain.name}"
                raise InvalidId("destination", int(key.destination), remedy)
        parts = [keys[at : at + _KEYS_A_CALL] for at in range(0, len(keys), _KEYS_A_CALL)]
        calls = [
            _executions_call(bridge, part, block) for bridge in self.chain.bridges for part in parts
        ]
        answers = await self._rpc.batch(calls) if calls else []
        states: list[ExecutionState | None] = [None] * len(keys)
        for number, answer in enumerate(answers):
            start = number % len(parts) * _KEYS_A_CALL
            for at, outcome in enumerate(_outcomes(answer), start=start):
                states[at] = states[at] or _STATES.get(outcome)
        return states

    async def guard_epoch(self) -> int:
        """The epoch of the guard set that the bridge accepts at its latest block."""
        (call,) = [eth_call(self.chain.bridge.address, _GUARD_EPOCH, "latest")]
        (answer,) = await self._rpc.batch([call])
        (epoch,) = words(data_of(answer, "guardEpoch"), 1, "guardEpoch")
        return epoch

    # ------------------------------------------------------------------ making transactions

    async def next_slot(
        self,
        sender: Address32,
        used: Sequence[SendSlot],
        order: ReleaseOrder | None = None,  # noqa: ARG002 - a nonce fits any order
    ) -> SendSlot:
        """The nonce after those in use, and not below the account's on chain."""
        account = hex_of(from_wire(sender, "sender"))
        answer = await self._rpc.call("eth_getTransactionCount", account, "latest")
        after = [int(slot.text) + 1 for slot in used if slot.sender == sender]
        nonce = max([quantity(answer, "eth_getTransactionCount"), *after])
        return SendSlot(self.chain.domain, sender, str(nonce))

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
        call = {
            "from": hex_of(from_wire(slot.sender, "sender")),
            "to": hex_of(self.chain.bridge.address),
            "data": hex_of(self._codec.pack(order)),
        }
        answers = await self._rpc.batch_settled([*self._fee_calls(), _simulate_call(call)])
        fees = self._fees(answers[:3])
        refused: tuple[tuple[ExecutionKey, str], ...] = ()
        if isinstance(answers[3], RpcFault):
            gas = await self._estimate(call)
        else:
            gas, refused = self._simulated(order, answers[3])
        fields = self._fields(slot, call["to"], call["data"], gas) | fees
        return self._prepared(slot, fields, refused=refused)

    async def fill_slot(self, slot: SendSlot) -> PreparedTx | None:
        """A transfer of nothing to the sender itself."""
        account = hex_of(from_wire(slot.sender, "sender"))
        answers = await self._rpc.batch_settled(self._fee_calls())
        fields = self._fields(slot, account, "0x", _TRANSFER_GAS) | self._fees(answers)
        return self._prepared(slot, fields)

    async def replace(self, tx: PreparedTx) -> PreparedTx | None:
        """The same content in the same slot for at least an eighth more (what nodes demand);
        raises Transient once the profile's fee cap forbids it."""
        fields = json.loads(tx.payload)
        now = self._fees(await self._rpc.batch_settled(self._fee_calls()))
        for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
            fields[name] = max(now[name], fields[name] + -(-fields[name] // 8))
        cap = self.chain.facts.fee_per_gas_max
        if fields["maxFeePerGas"] > cap:
            text = f"replacing needs {fields['maxFeePerGas']} wei per gas, the cap is {cap}; wait"
            raise Transient("FEE_CAP_REACHED", text, {"needed": fields["maxFeePerGas"], "cap": cap})
        return self._prepared(tx.slot, fields, refused=tx.refused)

    def _fee_calls(self) -> list[Call]:
        return [("eth_chainId", []), block_call("latest"), ("eth_maxPriorityFeePerGas", [])]

    def _fees(self, answers: Sequence[Any]) -> dict[str, int]:
        for answer in answers[:2]:
            if isinstance(answer, RpcFault):
                raise self._rpc.refused("eth_getBlockByNumber", answer)
        chain_id = quantity(answers[0], "eth_chainId")
        if chain_id != self.chain.chain_id:
            text = f"{self._rpc.host} is chain {chain_id}, registered is {self.chain.chain_id}"
            raise Fatal("WRONG_CHAIN", text, {"found": chain_id})
        facts = self.chain.facts
        base = quantity((answers[1] or {}).get("baseFeePerGas", "0x0"), "baseFeePerGas")
        asked = answers[2]
        tip = facts.tip_per_gas if isinstance(asked, RpcFault) else quantity(asked, "tip")
        tip = min(tip, facts.tip_per_gas_max)
        if base + tip > facts.fee_per_gas_max:
            text = f"gas costs {base + tip} wei, the cap is {facts.fee_per_gas_max}; wait"
            raise Transient("FEE_CAP_REACHED", text, {"needed": base + tip})
        most = min(2 * base + tip, facts.fee_per_gas_max)
        return {"maxFeePerGas": most, "maxPriorityFeePerGas": tip}

    def _simulated(
        self, order: ReleaseOrder, answer: Any
    ) -> tuple[int, tuple[tuple[ExecutionKey, str], ...]]:
        """(gas limit, items that would be skipped), from one execution on the node."""
        outcome = _first_call(answer)
        if quantity(outcome.get("status"), "simulated status") != 1:
            raise reverted("releaseBatch", _fault_of(outcome))
        used = quantity(outcome.get("gasUsed"), "simulated gasUsed")
        return self._limit(used + used // 16 + _ITEM_GAS), self._skips(order, outcome)

    async def _estimate(self, call: dict[str, str]) -> int:
        """For nodes without eth_simulateV1: a dozen executions instead of one."""
        (answer,) = await self._rpc.batch_settled([("eth_estimateGas", [call, "latest"])])
        if isinstance(answer, RpcFault):
            if is_revert(answer):
                raise reverted("releaseBatch", answer)
            raise self._rpc.refused("eth_estimateGas", answer)
        return self._limit(quantity(answer, "eth_estimateGas") * _GAS_HEADROOM_PERCENT // 100)

    def _limit(self, wanted: int) -> int:
        most = self.chain.facts.transaction_gas_max
        if wanted > most:
            text = f"the batch needs {wanted} gas, a transaction may have {most}; split it"
            raise InvalidMessage("BATCH_TOO_LARGE", text, {"needed": wanted, "most": most})
        return wanted

    def _skips(
        self, order: ReleaseOrder, outcome: Mapping[str, Any]
    ) -> tuple[tuple[ExecutionKey, str], ...]:
        """The items that the simulated transaction skipped, by its own events."""
        destination = order.batch.destination
        refused = []
        for log in outcome.get("logs") or []:
            topics = log.get("topics") or []
            if not topics or data_of(topics[0], "topic") != SKIPPED:
                continue
            raw = data_of(log.get("data"), "ReleaseSkipped")
            _, number = words(raw, 2, "ReleaseSkipped")
            source = parse_domain(quantity(topics[1], "source"), "source")
            key = ExecutionKey(destination, source, Nonce(raw[:32]))
            refused.append((key, SKIP_REASONS.get(number, SkipReason.UNKNOWN).name))
        return tuple(refused)

    def _fields(self, slot: SendSlot, to: str, data: str, gas: int) -> dict[str, Any]:
        return {
            "type": 2,
            "chainId": self.chain.chain_id,
            "nonce": int(slot.text),
            "from": checksummed(from_wire(slot.sender, "sender")),
            "to": checksummed(bytes.fromhex(to[2:])),
            "value": 0,
            "data": data,
            "gas": gas,
        }

    def _prepared(
        self,
        slot: SendSlot,
        fields: dict[str, Any],
        refused: tuple[tuple[ExecutionKey, str], ...] = (),
    ) -> PreparedTx:
        most, tip = fields["maxFeePerGas"], fields["maxPriorityFeePerGas"]
        return PreparedTx(
            chain=self.chain.domain,
            slot=slot,
            payload=json.dumps(fields, sort_keys=True, separators=(",", ":")).encode(),
            fee=f"max {most} wei per gas, tip {tip}, gas limit {fields['gas']}",
            simulated=True,
            refused=refused,
        )

    # ------------------------------------------------------------------ sending

    async def broadcast(self, tx: SignedTx) -> TxRef:
        """Send the bytes; a node that has them already is success. Raises Ambiguous where it is
        not known whether they were accepted, or where another transaction has the slot."""
        try:
            call: Call = ("eth_sendRawTransaction", [hex_of(tx.raw)])
            (answer,) = await self._rpc.batch_settled([call])
        except Transient as error:
            text = f"whether {self._rpc.host} took the transaction is unknown: {error.message}"
            raise Ambiguous("BROADCAST_UNKNOWN", text, error.metadata) from error
        if isinstance(answer, RpcFault):
            refusal = broadcast_refused(answer, self._rpc.host)
            if refusal is not None:
                raise refusal
            return tx.ref
        if data_of(answer, "transaction hash", 32) != tx.ref.id:
            text = f"{self._rpc.host} answered another hash than 0x{tx.ref.id.hex()}"
            raise Ambiguous("BROADCAST_UNKNOWN", text, {"expected": tx.ref.id.hex()})
        return tx.ref

    async def status(self, tx: TxRef, slot: SendSlot) -> TxStatus:
        """Pending, Included, Final or Dropped; nothing is concluded from an absence alone."""
        account = hex_of(from_wire(slot.sender, "sender"))
        calls: list[Call] = [
            ("eth_getTransactionReceipt", [hex_of(tx.id)]),
            block_call("finalized"),
            ("eth_getTransactionCount", [account, "finalized"]),
        ]
        answers = await self._rpc.batch_settled(calls)
        for (method, _), answer in zip(calls[:2], answers[:2], strict=True):
            if isinstance(answer, RpcFault):
                raise self._rpc.refused(method, answer)
        head = parse_header(answers[1])
        if answers[0] is not None:
            return await self._included(answers[0], head)
        if isinstance(answers[2], RpcFault):
            return TxStatus(TxState.PENDING, reason="the node cannot say what is final")
        used = quantity(answers[2], "eth_getTransactionCount")
        if used <= int(slot.text):
            return TxStatus(TxState.PENDING)
        return await self._without_receipt(tx, slot, used)

    async def _without_receipt(self, tx: TxRef, slot: SendSlot, used: int) -> TxStatus:
        """The nonce is used at a final block: only now does a missing receipt mean something."""
        calls = [("eth_getTransactionReceipt", [hex_of(tx.id)]), block_call("finalized")]
        receipt, head = await self._rpc.batch(calls)
        if receipt is not None:
            return await self._included(receipt, parse_header(head))
        reason = f"nonce {slot.text} was used by another transaction (final count {used})"
        return TxStatus(TxState.DROPPED, reason=reason)

    async def _included(self, receipt: Any, head: Header) -> TxStatus:
        number = quantity(receipt.get("blockNumber"), "receipt.blockNumber")
        block_hash = data_of(receipt.get("blockHash"), "receipt.blockHash", 32)
        succeeded = quantity(receipt.get("status"), "receipt.status") == 1
        raw = await self._rpc.call("eth_getBlockByNumber", hex(number), False)  # noqa: FBT003
        if raw is None:
            return TxStatus(TxState.PENDING)
        block = parse_header(raw)
        if block.hash != block_hash:
            return TxStatus(TxState.PENDING, reason="its block was reorganised away")
        state = TxState.FINAL if number <= head.number else TxState.INCLUDED
        return TxStatus(state, succeeded, block.ref(self.chain.domain))


def _executions_call(bridge: BridgeContract, keys: Sequence[ExecutionKey], block: str) -> Call:
    sources = uint_array([int(key.source) for key in keys])
    nonces = word(len(keys)) + b"".join(key.nonce for key in keys)
    data = _EXECUTIONS + word(64) + word(64 + len(sources)) + sources + nonces
    return eth_call(bridge.address, data, block)


def _outcomes(answer: Any) -> tuple[int, ...]:
    """Outcomes in order; "0x" is a block before the bridge's deployment: nothing was done."""
    raw = data_of(answer, "executions")
    return array_of_words(raw, "executions") if raw else ()


def _simulate_call(call: dict[str, str]) -> Call:
    """eth_simulateV1 shows a call's events; nodes without it still give the gas estimate."""
    blocks = [{"calls": [call]}]
    return ("eth_simulateV1", [{"blockStateCalls": blocks}, "latest"])


def _first_call(answer: Any) -> dict[str, Any]:
    try:
        outcome = answer[0]["calls"][0]
    except (KeyError, IndexError, TypeError) as error:
        raise InvalidMessage("RPC_MALFORMED", "eth_simulateV1 answered no call") from error
    if not isinstance(outcome, dict):
        raise InvalidMessage("RPC_MALFORMED", "eth_simulateV1 answered no object")
    return outcome


def _fault_of(outcome: Mapping[str, Any]) -> RpcFault:
    """The refusal inside a simulated call; clients differ in where they put its bytes."""
    error = outcome.get("error")
    fields = error if isinstance(error, dict) else {}
    message = str(fields.get("message", "reverted"))[:500]
    for data in (fields.get("data"), outcome.get("returnData")):
        if isinstance(data, str) and len(data) > 2:
            return RpcFault(3, message, data)
    return RpcFault(3, message)

"""Pauses and guard rotation on an EVM chain: one node, one local key, nothing else running.

A pause is sent when time is what counts: it offers five times the usual tip, takes the account's
next unused nonce, and raises its fee until it replaces whatever hangs there.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from xstock_chains.evm.address import checksummed
from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.errors import broadcast_refused, is_revert, revert_reason
from xstock_chains.evm.reader import eth_call
from xstock_chains.evm.rpc import Call, Rpc, RpcFault, data_of, quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.office_rules import act_pending, act_refused
from xstock_chains.ports import PreparedTx, SendSlot, SignedTx
from xstock_chains.solidity.abi import hex_of
from xstock_chains.solidity.office import ContractOffice
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, Transient

_GAS_HEADROOM_PERCENT: Final = 130
_TIP_FACTOR: Final = 5
_RAISE_PERCENT: Final = 130
"""Clients ask 10 to 12.5% more for a replacement; this passes all of them."""
_RAISES_MAX: Final = 8
_NONCES_MAX: Final = 3
_WAIT_SECONDS: Final = 0.2
_WAIT_SECONDS_MAX: Final = 180


class EvmDesk:
    """`OfficeDesk` over one node."""

    def __init__(self, chain: EvmChain, rpc: Rpc, clock: Clock) -> None:
        self._chain = chain
        self._rpc = rpc
        self._clock = clock

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    def key(self, key_file: Path) -> LocalSigner:
        """The key in a file; raises Fatal."""
        return LocalSigner.from_file(key_file)

    def show(self, address: bytes) -> str:
        """The EIP-55 text."""
        return checksummed(address)

    async def read(self, to: bytes, calls: Sequence[bytes]) -> list[bytes | None]:
        """Answers at the latest block; raises Transient where the node itself refuses."""
        answers = await self._rpc.batch_settled([eth_call(to, data, "latest") for data in calls])
        return [self._answer(answer) for answer in answers]

    def _answer(self, answer: Any) -> bytes | None:
        if not isinstance(answer, RpcFault):
            return data_of(answer, "answer")
        if is_revert(answer):
            return None
        raise self._rpc.refused("eth_call", answer)

    async def now(self) -> int:
        """The latest block's time."""
        return quantity((await self._latest())["timestamp"], "timestamp")

    async def send(self, act: str, key: LocalSigner, to: bytes, data: bytes) -> str:
        """One transaction, awaited in a block; again where another took its nonce meanwhile."""
        for _ in range(_NONCES_MAX):
            gas = await self._gas(act, key, to, data)
            try:
                signed = await self._broadcast(key, await self._fields(key, to, data, gas))
            except Ambiguous as error:
                if error.code != "NONCE_USED":
                    raise
            else:
                return await self._landed(act, hex_of(signed.ref.id))
        text = f"{act}: other transactions of {checksummed(key.identity)} keep taking its nonce"
        raise Transient("NONCE_USED", text, {"act": act})

    async def _gas(self, act: str, key: LocalSigner, to: bytes, data: bytes) -> int:
        call = {"from": hex_of(key.identity), "to": hex_of(to), "data": hex_of(data)}
        (answer,) = await self._rpc.batch_settled([("eth_estimateGas", [call])])
        if not isinstance(answer, RpcFault):
            return quantity(answer, "eth_estimateGas") * _GAS_HEADROOM_PERCENT // 100
        if is_revert(answer):
            raise act_refused(act, revert_reason(answer))
        raise self._rpc.refused("eth_estimateGas", answer)

    async def _fields(self, key: LocalSigner, to: bytes, data: bytes, gas: int) -> dict[str, Any]:
        account = hex_of(key.identity)
        count = await self._rpc.call("eth_getTransactionCount", account, "latest")
        return {
            "type": 2,
            "chainId": self._chain.chain_id,
            "nonce": quantity(count, "nonce"),
            "from": checksummed(key.identity),
            "to": checksummed(to),
            "value": 0,
            "data": hex_of(data),
            "gas": gas,
        }

    async def _broadcast(self, key: LocalSigner, fields: dict[str, Any]) -> SignedTx:
        fees = await self._fees()
        for _ in range(_RAISES_MAX):
            signed = await self._signed(key, fields | fees)
            call: Call = ("eth_sendRawTransaction", [hex_of(signed.raw)])
            (answer,) = await self._rpc.batch_settled([call])
            if not isinstance(answer, RpcFault):
                return signed
            refusal = broadcast_refused(answer, self._rpc.host)
            if refusal is None:
                return signed
            if refusal.code != "SLOT_CONTESTED":
                raise refusal
            fees = self._raised(fees)
        text = (
            f"{self._chain.name}: nonce {fields['nonce']} is held by a transaction that pays more"
        )
        raise Transient("SLOT_CONTESTED", text, {"nonce": fields["nonce"]})

    async def _signed(self, key: LocalSigner, fields: dict[str, Any]) -> SignedTx:
        slot = SendSlot(self._chain.domain, key.wire, str(fields["nonce"]))
        payload = json.dumps(fields).encode()
        prepared = PreparedTx(self._chain.domain, slot, payload, "", simulated=True)
        return await key.sign_transaction(prepared)

    async def _fees(self) -> dict[str, int]:
        facts = self._chain.facts
        base = quantity((await self._latest()).get("baseFeePerGas", "0x0"), "baseFeePerGas")
        tip = min(_TIP_FACTOR * facts.tip_per_gas, facts.tip_per_gas_max)
        most = max(min(2 * base + tip, facts.fee_per_gas_max), base + 1)
        return {"maxFeePerGas": most, "maxPriorityFeePerGas": min(tip, most)}

    def _raised(self, fees: dict[str, int]) -> dict[str, int]:
        return {name: fee * _RAISE_PERCENT // 100 + 1 for name, fee in fees.items()}

    async def _landed(self, act: str, tx: str) -> str:
        for _ in range(int(_WAIT_SECONDS_MAX / _WAIT_SECONDS)):
            receipt = await self._rpc.call("eth_getTransactionReceipt", tx)
            if receipt is not None:
                if quantity(receipt["status"], "status") == 1:
                    return tx
                raise act_refused(act, f"transaction {tx} failed in its block")
            await self._clock.sleep(_WAIT_SECONDS)
        raise act_pending(act, tx)

    async def _latest(self) -> dict[str, Any]:
        raw = await self._rpc.call("eth_getBlockByNumber", "latest", False)  # noqa: FBT003
        if not isinstance(raw, dict):
            raise Transient("NODE_UNREADABLE", f"{self._rpc.host} shows no latest block")
        return raw


class EvmOffice(ContractOffice[LocalSigner]):
    """`ChainOffice` of one EVM chain."""

    def __init__(
        self, chain: EvmChain, rpc: Rpc, clock: Clock, key_file: Path | None = None
    ) -> None:
        desk = EvmDesk(chain, rpc, clock)
        super().__init__(chain, desk, None if key_file is None else desk.key(key_file))

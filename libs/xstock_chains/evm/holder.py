"""A holder on an EVM chain: signs the transactions that the bridge built, and sends them.

For the command line and for local chains; an exchange signs with its own machinery. What is
signed is checked first against what the holder asked for, because a gateway that is lied to or
taken over must not get other bytes signed: this chain's id, no native value, a bounded fee,
approvals of this asset to the bridge in use only, and one burn whose call data is, byte for
byte, that of the asset, amount, destination, recipient and refund address wanted.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from xstock_chains.evm.address import checksummed, parse_text, to_wire
from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.reader import eth_call
from xstock_chains.evm.rpc import Rpc, RpcFault, data_of
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import BurnRequest, PreparedTx, SendSlot
from xstock_chains.solidity.abi import address_word, selector
from xstock_chains.solidity.burns import approve_head, bridge_out
from xstock_core.ids import Address32
from xstock_core.observation import TxRef
from xstock_runtime.errors import Fatal, InvalidMessage, Transient


class EvmHolder:
    """`Holder` with one local key and one node."""

    def __init__(self, chain: EvmChain, rpc: Rpc, signer: LocalSigner) -> None:
        self._chain = chain
        self._rpc = rpc
        self._signer = signer

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    @property
    def address(self) -> Address32:
        """The holder's wire form."""
        return to_wire(self._signer.identity)

    @property
    def address_text(self) -> str:
        """The EIP-55 text."""
        return checksummed(self._signer.identity)

    async def send(self, burn: Mapping[str, Any], wanted: BurnRequest) -> Sequence[TxRef]:
        """Sign and send all transactions in order; the last one is the burn.

        Raises Fatal BURN_NOT_AS_EXPECTED when the bytes do something else than a burn here,
        InvalidMessage TRANSACTION_REFUSED when the node refuses one, Transient when it is away.
        """
        transactions: list[Mapping[str, Any]] = burn["transactions"]
        self._check(transactions, wanted)
        refs = []
        for transaction in transactions:
            signed = await self._signer.sign_transaction(self._prepared(transaction))
            (answer,) = await self._rpc.batch_settled(
                [("eth_sendRawTransaction", ["0x" + signed.raw.hex()])]
            )
            if isinstance(answer, RpcFault) and "already known" not in answer.message:
                text = f"{self._chain.name} refused the transaction: {answer.message}"
                raise InvalidMessage("TRANSACTION_REFUSED", text, {"node": answer.message})
            refs.append(signed.ref)
        return refs

    async def included(self, tx: TxRef) -> bool | None:
        """True when it succeeded in a block, False when it failed there, None when not yet."""
        receipt = await self._rpc.call("eth_getTransactionReceipt", "0x" + tx.id.hex())
        if receipt is None:
            return None
        if not isinstance(receipt, dict):
            raise Transient("NODE_UNREADABLE", "the node's receipt cannot be read")
        return int(receipt["status"], 16) == 1

    def _check(self, transactions: Sequence[Mapping[str, Any]], wanted: BurnRequest) -> None:
        """SECURITY: a gateway that lies about its bytes must not get them signed."""
        if wanted.sender != self.address:
            raise _unexpected("sender", wanted.sender.hex(), self.address_text)
        if not transactions:
            raise _unexpected("transactions", [], "approvals first, the burn last")
        for transaction in transactions:
            self._check_envelope(transaction)
        *approvals, burn = transactions
        for approval in approvals:
            self._check_approval(approval, wanted)
        if parse_text(str(burn["to"]), "to") != self._chain.bridge.address:
            raise _unexpected("to", burn["to"], "the bridge in use")
        if bytes(burn["data"]) != bridge_out(wanted):
            raise _unexpected("data", bytes(burn["data"]).hex(), bridge_out(wanted).hex())

    def _check_envelope(self, transaction: Mapping[str, Any]) -> None:
        facts = self._chain.facts
        bounds = {"chain_id": self._chain.chain_id, "value": 0}
        for field, expected in bounds.items():
            if int(transaction[field]) != expected:
                raise _unexpected(field, transaction[field], str(expected))
        most = {"gas": facts.transaction_gas_max, "max_fee_per_gas": facts.fee_per_gas_max}
        for field, bound in most.items():
            if int(transaction[field]) > bound:
                raise _unexpected(field, transaction[field], f"at most {bound}")

    def _check_approval(self, transaction: Mapping[str, Any], wanted: BurnRequest) -> None:
        """Only this asset's token, only towards the bridge in use, which burns what it takes."""
        token = next((one for one in self._chain.tokens if one.asset == wanted.asset), None)
        if token is None or parse_text(str(transaction["to"]), "to") != token.address:
            raise _unexpected("to", transaction["to"], "the token of the asset that is burned")
        head = approve_head(self._chain.bridge.address)
        data = bytes(transaction["data"])
        if len(data) != len(head) + 32 or not data.startswith(head):
            raise _unexpected("data", data.hex(), "an approval of the bridge in use")

    def _prepared(self, transaction: Mapping[str, Any]) -> PreparedTx:
        fields = {
            "type": 2,
            "chainId": int(transaction["chain_id"]),
            "nonce": int(transaction["nonce"]),
            "from": self.address_text,
            "to": transaction["to"],
            "value": 0,
            "data": "0x" + bytes(transaction["data"]).hex(),
            "gas": int(transaction["gas"]),
            "maxFeePerGas": int(transaction["max_fee_per_gas"]),
            "maxPriorityFeePerGas": int(transaction["max_priority_fee_per_gas"]),
        }
        slot = SendSlot(self._chain.domain, self._signer.wire, str(fields["nonce"]))
        return PreparedTx(
            self._chain.domain, slot, json.dumps(fields).encode(), "as built", simulated=False
        )

    async def shares_of(self, symbol: str) -> int:
        """What this holder has of an asset, in the token's own share units (10^-18)."""
        token = next((one for one in self._chain.tokens if one.symbol == symbol), None)
        if token is None:
            raise InvalidMessage("ASSET_UNKNOWN", f"{symbol} is not on {self._chain.name}")
        data = selector("sharesOf(address)") + address_word(self._signer.identity)
        (answer,) = await self._rpc.batch([eth_call(token.address, data, "latest")])
        return int.from_bytes(data_of(answer, "sharesOf"), "big")


def _unexpected(field: str, found: object, expected: str) -> Fatal:
    text = f"burn.{field}: {found!r} is not what a burn needs ({expected}); do not sign"
    return Fatal("BURN_NOT_AS_EXPECTED", text, {"field": field, "found": found})

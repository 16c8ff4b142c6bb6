"""Many burns at once on a local chain: signed here, sent in batches, past the gateway."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import encode

from xstock_chains.evm.address import checksummed, parse_text
from xstock_chains.evm.rpc import Call, Rpc, quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import PreparedTx, SendSlot
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import hex_of, selector

_SEND_AT_ONCE = 200
_BURN_GAS = 200_000


@dataclass(slots=True)
class Burster:
    """One holder on one chain who burns the same small amount over and over."""

    registry: Registry
    chain: str
    symbol: str
    rpc: Rpc
    signer: LocalSigner
    nonce: int = 0

    async def approve(self) -> None:
        """Allow the bridge everything, once."""
        self.nonce = quantity(
            await self.rpc.call("eth_getTransactionCount", hex_of(self.signer.identity), "latest"),
            "nonce",
        )
        bridge = parse_text(self.registry.chain(self.chain).bridge.address)
        arguments = encode(["address", "uint256"], [checksummed(bridge), 2**255])
        await self._send([(self._token(), selector("approve(address,uint256)") + arguments)])

    async def burn(self, count: int, destination: int, shares: int) -> list[str]:
        """Send `count` burns to one recipient; their transaction hashes, in nonce order."""
        bridge = parse_text(self.registry.chain(self.chain).bridge.address)
        me = bytes(12) + self.signer.identity
        data = selector("bridgeOut(bytes32,uint64,uint32,bytes32,address)") + encode(
            ["bytes32", "uint64", "uint32", "bytes32", "address"],
            [
                self.registry.asset(self.symbol).id,
                shares,
                destination,
                me,
                checksummed(self.signer.identity),
            ],
        )
        return await self._send([(bridge, data)] * count)

    def _token(self) -> bytes:
        deployment = self.registry.asset(self.symbol).on(self.chain)
        if deployment is None:
            raise ValueError(f"{self.symbol} is not on {self.chain}")
        return parse_text(deployment.token)

    async def _send(self, calls: Sequence[tuple[bytes, bytes]]) -> list[str]:
        entry = self.registry.chain(self.chain)
        raws = []
        for to, data in calls:
            fields = {
                "type": 2,
                "chainId": entry.network_id,
                "nonce": self.nonce,
                "from": checksummed(self.signer.identity),
                "to": checksummed(to),
                "value": 0,
                "data": hex_of(data),
                "gas": _BURN_GAS,
                "maxFeePerGas": 20 * 10**9,
                "maxPriorityFeePerGas": 10**9,
            }
            slot = SendSlot(entry.domain, self.signer.wire, str(self.nonce))
            payload = json.dumps(fields).encode()
            prepared = PreparedTx(entry.domain, slot, payload, "", simulated=False)
            raws.append(await self.signer.sign_transaction(prepared))
            self.nonce += 1
        for start in range(0, len(raws), _SEND_AT_ONCE):
            batch: list[Call] = [
                ("eth_sendRawTransaction", [hex_of(signed.raw)])
                for signed in raws[start : start + _SEND_AT_ONCE]
            ]
            await self.rpc.batch(batch)
        return [hex_of(signed.ref.id) for signed in raws]

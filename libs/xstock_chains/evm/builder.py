"""Checks and builds a holder's burn on an EVM chain; holds no key and sends nothing.

Every reason why the burn would fail is found before bytes exist, because a burn that reaches
the wrong form of recipient can only be parked. The bytes carry the account's nonce, so a retried
build that is signed twice lands at most once. What could not be found out is unknown, not fine.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from xstock_chains.evm.address import checksummed, from_wire, parse_text, to_wire
from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.heads import block_call, parse_header
from xstock_chains.evm.reader import eth_call
from xstock_chains.evm.rpc import Call, Rpc, RpcFault, data_of, quantity
from xstock_chains.ports import BurnRequest, CheckResult, UnsignedBurn
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import hex_of, selector, words
from xstock_chains.solidity.burns import (
    ALLOWANCE,
    LIST,
    MULTIPLIER,
    BurnChecks,
    Step,
    coins_check,
    sanction_check,
    sanction_read,
    unscreened,
)
from xstock_chains.solidity.contracts import TokenContract
from xstock_core.ids import Address32, AssetId
from xstock_runtime.errors import Fatal, Transient

_BRIDGE_GAS_PER_APPROVE_GAS: Final = 8
"""A burn was measured at 2.5 times an approval; the limit costs nothing if it is not used."""
_LATEST, _COINS, _NONCE, _TIP, _CHAIN = range(9, 14)


class EvmBurnBuilder:
    """`BurnBuilder` for one node of one EVM chain."""

    def __init__(self, chain: EvmChain, registry: Registry, rpc: Rpc) -> None:
        self.chain = chain
        self._checks = BurnChecks(chain, registry, checksummed)
        self._rpc = rpc

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    def parse_address(self, text: str) -> Address32:
        """The wire form of 0x text; raises InvalidId on shape, checksum or zero."""
        return to_wire(parse_text(text))

    def show_address(self, address: Address32) -> str:
        """The EIP-55 text."""
        return checksummed(from_wire(address))

    async def multiplier(self, asset: AssetId) -> int:
        """The token's multiplier now, scaled by 10^18; raises InvalidId for an unknown asset."""
        token = self._checks.token(asset)
        call = eth_call(token.address, selector("getCurrentMultiplier()"), "latest")
        (answer,) = await self._rpc.batch([call])
        return words(data_of(answer, "getCurrentMultiplier"), 2, "getCurrentMultiplier")[0]

    # ------------------------------------------------------------------ checks

    async def check(self, request: BurnRequest) -> Sequence[CheckResult]:
        """Form, limits, balance, pauses, sanctions and recipient, as of the latest block."""
        form = self._checks.form(request)
        if any(result.passed is not True for result in form):
            return form
        token = self._checks.token(request.asset)
        answers = await self._rpc.batch_settled(self._calls(request, token))
        said = [_first_word(answer) for answer in answers[:_LATEST]]
        now = parse_header(answers[_LATEST]).time
        coins = answers[_COINS]
        return [
            *form,
            *self._checks.judge(request, token, said, now),
            await self._sanctioned(request, said[LIST]),
            coins_check(None if isinstance(coins, RpcFault) else quantity(coins, "eth_getBalance")),
        ]

    def _calls(self, request: BurnRequest, token: TokenContract) -> list[Call]:
        reads = self._checks.reads(request, token)
        return [
            *(eth_call(to, data, "latest") for to, data in reads),
            block_call("latest"),
            ("eth_getBalance", [hex_of(from_wire(request.sender, "sender")), "latest"]),
        ]

    async def _sanctioned(self, request: BurnRequest, screen: int | None) -> CheckResult:
        if not screen:
            return unscreened()
        to, data = sanction_read(screen, request)
        (answer,) = await self._rpc.batch_settled([eth_call(to, data, "latest")])
        return sanction_check(_first_word(answer))

    # ------------------------------------------------------------------ building

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """An approval if the allowance is too small, then bridgeOut; nonces in their order."""
        token = self._checks.token(request.asset)
        answers = await self._facts(request, token)
        multiplier = _first_word(answers[MULTIPLIER]) or 0
        if multiplier == 0:
            raise Transient("MULTIPLIER_UNKNOWN", f"the multiplier of {token.symbol} is unknown")
        needed = self._checks.needed(request, multiplier)
        steps = await self._steps(request, token, needed, _first_word(answers[ALLOWANCE]) or 0)
        nonce = quantity(answers[_NONCE], "eth_getTransactionCount")
        fees = self._fees(answers)
        common = {
            "chain_id": self.chain.chain_id,
            "value": 0,
            "max_fee_per_gas": fees["maxFeePerGas"],
            "max_priority_fee_per_gas": fees["maxPriorityFeePerGas"],
        }
        transactions = [
            {
                "effect": step.label,
                "from": checksummed(from_wire(request.sender)),
                "nonce": nonce + at,
                "to": checksummed(step.to),
                "data": hex_of(step.data),
                "gas": gas,
                **common,
            }
            for at, (step, gas) in enumerate(steps)
        ]
        document = {"family": "evm", "expires": expires}
        return UnsignedBurn(
            chain=self.chain.domain,
            payload=json.dumps(
                document | {"transactions": transactions}, sort_keys=True, separators=(",", ":")
            ),
            effects=self._checks.effects(request, token, multiplier, approves=len(steps) == 2),
            expires=expires,
        )

    async def _facts(self, request: BurnRequest, token: TokenContract) -> list[Any]:
        account = hex_of(from_wire(request.sender, "sender"))
        extra: list[Call] = [
            ("eth_getTransactionCount", [account, "latest"]),
            ("eth_maxPriorityFeePerGas", []),
            ("eth_chainId", []),
        ]
        answers = await self._rpc.batch_settled(self._calls(request, token) + extra)
        for at in (ALLOWANCE, _LATEST, _NONCE, _CHAIN):
            if isinstance(answers[at], RpcFault):
                raise self._rpc.refused("a read for the burn", answers[at])
        found = quantity(answers[_CHAIN], "eth_chainId")
        if found != self.chain.chain_id:
            text = f"{self._rpc.host} is chain {found}, registered is {self.chain.chain_id}"
            raise Fatal("WRONG_CHAIN", text, {"found": found})
        return answers

    async def _steps(
        self, request: BurnRequest, token: TokenContract, needed: int, allowance: int
    ) -> list[tuple[Step, int]]:
        account = hex_of(from_wire(request.sender, "sender"))
        approval = self._checks.approval(request, needed)
        call = {"from": account, "to": hex_of(token.address), "data": hex_of(approval.data)}
        gas = quantity(await self._rpc.call("eth_estimateGas", call), "eth_estimateGas")
        burn = (self._checks.burn(request), gas * _BRIDGE_GAS_PER_APPROVE_GAS)
        return [burn] if allowance >= needed else [(approval, gas * 2), burn]

    def _fees(self, answers: Sequence[Any]) -> dict[str, int]:
        facts = self.chain.facts
        base = quantity(answers[_LATEST].get("baseFeePerGas", "0x0"), "baseFeePerGas")
        asked = answers[_TIP]
        tip = facts.tip_per_gas if isinstance(asked, RpcFault) else quantity(asked, "tip")
        most = min(2 * base + tip, facts.fee_per_gas_max)
        return {"maxFeePerGas": most, "maxPriorityFeePerGas": min(tip, most)}


def _first_word(answer: Any) -> int | None:
    """The first word of an answer; None where the call failed or answered nothing."""
    if isinstance(answer, RpcFault):
        return None
    raw = data_of(answer, "eth_call")
    return int.from_bytes(raw[:32], "big") if len(raw) >= 32 else None

"""The start-up self-test of one Tron network: is this the chain, and are these the contracts?

Compares the live server with the registry: genesis and chain id on both interfaces, code,
domain, guards, tokens, roles, and whether it can simulate and estimate (F88). What could not be
found out is unknown, which is not a pass. Reads only.
"""

from collections.abc import Sequence
from typing import Any

from xstock_chains.ports import CheckResult, SelfTest
from xstock_chains.registry import Registry
from xstock_chains.solidity.contracts import BridgeContract
from xstock_chains.solidity.selftest import (
    BRIDGE_REMEDY,
    NODE_REMEDY,
    ContractQuestion,
    GuardSet,
    contract_questions,
    judged,
)
from xstock_chains.tron.address import account_text, parse_account, to_hex
from xstock_chains.tron.blocks import parse_block
from xstock_chains.tron.calls import Read, call_ask
from xstock_chains.tron.chain import TronChain
from xstock_chains.tron.codec import chain_id_of
from xstock_chains.tron.errors import CallFault, parse_call
from xstock_chains.tron.rpc import SOLID, WALLET, Ask, TronRpc, hex_bytes, object_of
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.hashing import keccak256


class TronAdmin:
    """`ChainAdmin` for one server of one Tron network."""

    def __init__(self, chain: TronChain, registry: Registry, rpc: TronRpc) -> None:
        self.chain = chain
        self._registry = registry
        self._rpc = rpc

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def self_test(self) -> SelfTest:
        """Every check; an unreachable server is one unknown check."""
        registry = self._registry
        guards = [parse_account(text) for text in registry.guard_identities("tron")]
        guard_set = GuardSet(guards, registry.threshold, registry.guard_epoch)
        asked = contract_questions(self.chain, guard_set, account_text)
        try:
            checks = [
                *await self._network(),
                *[await self._code(bridge) for bridge in self.chain.bridges],
                *await self._contracts(asked),
            ]
        except Transient as error:
            remedy = "check the node's address and that it runs"
            checks = [CheckResult("node answers", None, "an answer", error.message, remedy)]
        return SelfTest(self.chain.domain, tuple(checks))

    async def _network(self) -> list[CheckResult]:
        first: dict[str, Any] = {"num": 0}
        answers = await self._rpc.all(
            [
                (WALLET, "getblockbynum", first),
                (SOLID, "getblockbynum", first),
                (SOLID, "getnowblock", {}),
            ]
        )
        genesis = self.chain.genesis_hash.hex()
        return [
            judged("genesis", genesis, NODE_REMEDY, lambda: _id_of(answers[0]).hex()),
            judged("solid genesis", genesis, NODE_REMEDY, lambda: _id_of(answers[1]).hex()),
            judged(
                "chain id",
                str(self.chain.chain_id),
                NODE_REMEDY,
                lambda: str(chain_id_of(_id_of(answers[0]))),
            ),
            judged(
                "solid head",
                "a block",
                "use a server with the solidity interface; only solid blocks are final",
                lambda: "a block" if parse_block(answers[2]) else "none",
            ),
        ]

    async def _code(self, bridge: BridgeContract) -> CheckResult:
        answer = await self._rpc.wallet("getcontractinfo", value=to_hex(bridge.address))

        def shown() -> str:
            code = object_of(answer, "getcontractinfo").get("runtimecode", "")
            return keccak256(hex_bytes(code, "runtimecode")).hex()

        name = f"code of {account_text(bridge.address)}"
        return judged(name, bridge.code_hash.hex(), BRIDGE_REMEDY, shown)

    async def _contracts(self, asked: Sequence[ContractQuestion]) -> list[CheckResult]:
        asks: list[Ask] = [call_ask(WALLET, Read(one.to, one.data)) for one in asked]
        answers = await self._rpc.all(asks)
        return [_judged(one, answer) for one, answer in zip(asked, answers, strict=True)]


def _judged(asked: ContractQuestion, answer: Any) -> CheckResult:
    try:
        outcome = parse_call(answer)
    except InvalidMessage as error:
        return CheckResult(asked.name, None, asked.expected, error.message, asked.remedy)
    if isinstance(outcome, CallFault):
        return CheckResult(asked.name, None, asked.expected, outcome.reason, asked.remedy)
    return judged(asked.name, asked.expected, asked.remedy, lambda: asked.shown(outcome.data))


def _id_of(answer: Any) -> bytes:
    block = parse_block(answer)
    if block is None:
        raise ValueError("the server does not show it")
    return block.id

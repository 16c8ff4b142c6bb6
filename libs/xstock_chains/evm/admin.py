"""The start-up self-test of one EVM chain: is this the chain, and are these the contracts?

Compares the live node with the registry: chain id, genesis, code, domain, guards, tokens, roles.
Swapped entries, a re-pointed minter or another build of the bridge show here, before anything
is signed (F88). What could not be found out is unknown, which is not a pass. Reads only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xstock_chains.evm.address import checksummed, parse_text
from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.heads import block_call
from xstock_chains.evm.reader import eth_call
from xstock_chains.evm.rpc import Call, Rpc, RpcFault, data_of, quantity
from xstock_chains.ports import CheckResult, SelfTest
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import hex_of
from xstock_chains.solidity.contracts import BridgeContract
from xstock_chains.solidity.selftest import (
    BRIDGE_REMEDY,
    NODE_REMEDY,
    ContractQuestion,
    GuardSet,
    contract_questions,
    judged,
)
from xstock_runtime.errors import Transient
from xstock_runtime.hashing import keccak256


@dataclass(frozen=True, slots=True)
class _Question:
    """One call and how its answer is judged: `shown` turns the answer into text."""

    name: str
    call: Call
    expected: str
    shown: Callable[[Any], str]
    remedy: str


class EvmAdmin:
    """`ChainAdmin` for one node of one EVM chain."""

    def __init__(self, chain: EvmChain, registry: Registry, rpc: Rpc) -> None:
        self.chain = chain
        self._registry = registry
        self._rpc = rpc

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    async def self_test(self) -> SelfTest:
        """Every check, in one round trip; an unreachable node is one unknown check."""
        questions = self._questions()
        try:
            answers = await self._rpc.batch_settled([question.call for question in questions])
        except Transient as error:
            remedy = "check the node's address and that it runs"
            unknown = CheckResult("node answers", None, "an answer", error.message, remedy)
            return SelfTest(self.chain.domain, (unknown,))
        return SelfTest(
            self.chain.domain,
            tuple(
                _judged(question, answer)
                for question, answer in zip(questions, answers, strict=True)
            ),
        )

    def _questions(self) -> list[_Question]:
        registry = self._registry
        guards = [parse_text(text) for text in registry.guard_identities("evm")]
        guard_set = GuardSet(guards, registry.threshold, registry.guard_epoch)
        return [
            *self._network_questions(),
            *(_code_question(bridge) for bridge in self.chain.bridges),
            *(
                _contract_question(question)
                for question in contract_questions(self.chain, guard_set, checksummed)
            ),
        ]

    def _network_questions(self) -> list[_Question]:
        chain = self.chain
        return [
            _Question(
                "chain id",
                ("eth_chainId", []),
                str(chain.chain_id),
                lambda answer: str(quantity(answer, "eth_chainId")),
                NODE_REMEDY,
            ),
            _Question(
                "genesis",
                block_call(0),
                hex_of(chain.genesis_hash),
                lambda answer: str(answer["hash"]),
                NODE_REMEDY,
            ),
            _Question(
                "finalized tag",
                block_call("finalized"),
                "a block",
                lambda answer: "a block" if answer else "none",
                "use a node that serves the finalized tag; no other tag is accepted",
            ),
        ]


def _code_question(bridge: BridgeContract) -> _Question:
    return _Question(
        f"code of {checksummed(bridge.address)}",
        ("eth_getCode", [hex_of(bridge.address), "latest"]),
        hex_of(bridge.code_hash),
        lambda answer: hex_of(keccak256(data_of(answer, "eth_getCode"))),
        BRIDGE_REMEDY,
    )


def _contract_question(asked: ContractQuestion) -> _Question:
    return _Question(
        asked.name,
        eth_call(asked.to, asked.data, "latest"),
        asked.expected,
        lambda answer: asked.shown(data_of(answer, asked.name)),
        asked.remedy,
    )


def _judged(question: _Question, answer: Any) -> CheckResult:
    if isinstance(answer, RpcFault):
        return CheckResult(question.name, None, question.expected, answer.message, question.remedy)
    return judged(question.name, question.expected, question.remedy, lambda: question.shown(answer))

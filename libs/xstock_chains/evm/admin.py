"""The start-up self-test of one EVM chain: is this the chain, and are these the contracts?

Compares the live node with the registry: chain id, genesis, code, domain, guards, tokens, roles.
Swapped entries, a re-pointed minter or another build of the bridge show here, before anything
is signed (F88). What could not be found out is unknown, which is not a pass. Reads only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from xstock_chains.evm.address import checksummed, parse_text
from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.heads import block_call
from xstock_chains.evm.reader import eth_call
from xstock_chains.evm.rpc import Call, Rpc, RpcFault, data_of, quantity
from xstock_chains.ports import CheckResult, SelfTest
from xstock_chains.registry import Registry
from xstock_chains.solidity.abi import array_of_words, hex_of, selector, uint_array, word, words
from xstock_chains.solidity.contracts import BridgeContract, TokenContract
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.hashing import keccak256

_SELF_TEST: Final = selector("selfTest(bytes32)")
_NODE_REMEDY: Final = "give the address of a node of this chain, or correct the registry"
_BRIDGE_REMEDY: Final = "correct the bridge's registry entry; do not start with another contract"
_GUARDS_REMEDY: Final = "make the registry's guards, threshold and epoch those of the bridge"


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
        return [
            *self._network_questions(),
            *(question for bridge in self.chain.bridges for question in _code_question(bridge)),
            *self._guard_questions(),
            *(question for token in self.chain.tokens for question in self._of_token(token)),
        ]

    def _network_questions(self) -> list[_Question]:
        chain = self.chain
        destinations = word(32) + uint_array([int(chain.domain)])
        counters = eth_call(
            chain.bridge.address, selector("laneCounters(uint32[])") + destinations, "latest"
        )
        return [
            _Question(
                "chain id",
                ("eth_chainId", []),
                str(chain.chain_id),
                lambda answer: str(quantity(answer, "eth_chainId")),
                _NODE_REMEDY,
            ),
            _Question(
                "genesis",
                block_call(0),
                hex_of(chain.genesis_hash),
                lambda answer: str(answer["hash"]),
                _NODE_REMEDY,
            ),
            _Question(
                "finalized tag",
                block_call("finalized"),
                "a block",
                lambda answer: "a block" if answer else "none",
                "use a node that serves the finalized tag; no other tag is accepted",
            ),
            _Question(
                "lane counters",
                counters,
                "(0,)",
                lambda answer: str(array_of_words(data_of(answer, "counters"), "counters")),
                "the bridge must count burns, and none to its own chain",
            ),
        ]

    def _guard_questions(self) -> list[_Question]:
        bridge, registry = self.chain.bridge.address, self._registry
        guards = sorted(checksummed(parse_text(text)) for text in registry.guard_identities("evm"))
        return [
            _uint_question(
                "bridge DOMAIN", bridge, "DOMAIN()", int(self.chain.domain), _BRIDGE_REMEDY
            ),
            _uint_question(
                "guard threshold", bridge, "threshold()", registry.threshold, _GUARDS_REMEDY
            ),
            _uint_question(
                "guard epoch", bridge, "guardEpoch()", registry.guard_epoch, _GUARDS_REMEDY
            ),
            _Question(
                "guards",
                eth_call(bridge, selector("guards()"), "latest"),
                ", ".join(guards),
                _show_addresses,
                _GUARDS_REMEDY,
            ),
        ]

    def _of_token(self, token: TokenContract) -> list[_Question]:
        bridge, symbol = self.chain.bridge.address, token.symbol
        return [
            _Question(
                f"{symbol} token",
                eth_call(bridge, selector("tokenOf(bytes32)") + token.asset, "latest"),
                checksummed(token.address),
                lambda answer: checksummed(data_of(answer, "tokenOf", 32)[12:]),
                f"register {symbol} on the bridge, or correct the registry's token",
            ),
            _uint_question(
                f"{symbol} decimals",
                token.address,
                "decimals()",
                token.decimals,
                "correct the registry's decimals or token address",
            ),
            _Question(
                f"{symbol} minimum",
                eth_call(bridge, selector("minimumOf(bytes32)") + token.asset, "latest"),
                str(token.minimum),
                lambda answer: str(words(data_of(answer, "minimumOf"), 1, "minimumOf")[0]),
                "make the registry's minimum_shares the bridge's",
            ),
            _Question(
                f"{symbol} roles",
                eth_call(bridge, _SELF_TEST + token.asset, "latest"),
                "minter, burner, transferSharesFrom, multiplier",
                _show_roles,
                f"the token's owner points minter and burner of {symbol} at the bridge",
            ),
        ]


def _code_question(bridge: BridgeContract) -> list[_Question]:
    return [
        _Question(
            f"code of {checksummed(bridge.address)}",
            ("eth_getCode", [hex_of(bridge.address), "latest"]),
            hex_of(bridge.code_hash),
            lambda answer: hex_of(keccak256(data_of(answer, "eth_getCode"))),
            _BRIDGE_REMEDY,
        )
    ]


def _uint_question(name: str, to: bytes, signature: str, expected: int, remedy: str) -> _Question:
    return _Question(
        name,
        eth_call(to, selector(signature), "latest"),
        str(expected),
        lambda answer: str(words(data_of(answer, name), 1, name)[0]),
        remedy,
    )


def _show_addresses(answer: Any) -> str:
    found = array_of_words(data_of(answer, "guards"), "guards")
    return ", ".join(sorted(checksummed(one.to_bytes(32, "big")[12:]) for one in found))


def _show_roles(answer: Any) -> str:
    minter, burner, moves_shares, _, _, multiplier = words(data_of(answer, "selfTest"), 6, "test")
    names: Sequence[tuple[int, str]] = (
        (minter, "minter"),
        (burner, "burner"),
        (moves_shares, "transferSharesFrom"),
        (multiplier, "multiplier"),
    )
    return ", ".join(name for held, name in names if held)


def _judged(question: _Question, answer: Any) -> CheckResult:
    if isinstance(answer, RpcFault):
        return CheckResult(question.name, None, question.expected, answer.message, question.remedy)
    try:
        found = question.shown(answer)
    except (InvalidMessage, ValueError, KeyError, TypeError) as error:
        return CheckResult(
            question.name,
            passed=False,
            expected=question.expected,
            found=str(error)[:200],
            remedy=question.remedy,
        )
    passed = found.lower() == question.expected.lower()
    return CheckResult(question.name, passed, question.expected, found, question.remedy)

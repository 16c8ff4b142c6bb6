"""What a start-up self-test asks our contracts, and how their answers are judged (F88).

Swapped entries, a re-pointed minter or another build of the bridge show here, before anything is
signed. How the questions reach a node, and what is asked of the network itself, is a family's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from xstock_chains.ports import CheckResult
from xstock_chains.solidity.abi import array_of_words, selector, uint_array, word, words
from xstock_chains.solidity.contracts import ContractChain, TokenContract
from xstock_runtime.errors import InvalidMessage

_SELF_TEST: Final = selector("selfTest(bytes32)")
NODE_REMEDY: Final = "give the address of a node of this chain, or correct the registry"
BRIDGE_REMEDY: Final = "correct the bridge's registry entry; do not start with another contract"
_GUARDS_REMEDY: Final = "make the registry's guards, threshold and epoch those of the bridge"

Shown = Callable[[bytes], str]
Show = Callable[[bytes], str]
"""20 bytes as the family writes an address."""


@dataclass(frozen=True, slots=True)
class ContractQuestion:
    """One read of a contract and how its answer is judged: `shown` turns it into text."""

    name: str
    to: bytes
    data: bytes
    expected: str
    shown: Shown
    remedy: str


@dataclass(frozen=True, slots=True)
class GuardSet:
    """The guards as the registry has them, by 20 bytes."""

    guards: Sequence[bytes]
    threshold: int
    epoch: int


def contract_questions(
    chain: ContractChain, guard_set: GuardSet, show: Show
) -> list[ContractQuestion]:
    """Counters, guards, and every token's registration, decimals, minimum and roles."""
    return [
        _counters(chain),
        *_of_guards(chain, guard_set, show),
        *(question for token in chain.tokens for question in _of_token(chain, token, show)),
    ]


def _counters(chain: ContractChain) -> ContractQuestion:
    destinations = word(32) + uint_array([int(chain.domain)])
    return ContractQuestion(
        "lane counters",
        chain.bridge.address,
        selector("laneCounters(uint32[])") + destinations,
        "(0,)",
        lambda raw: str(array_of_words(raw, "counters")),
        "the bridge must count burns, and none to its own chain",
    )


def _of_guards(chain: ContractChain, guard_set: GuardSet, show: Show) -> list[ContractQuestion]:
    bridge = chain.bridge.address

    def shown(raw: bytes) -> str:
        found = array_of_words(raw, "guards")
        return ", ".join(sorted(show(one.to_bytes(32, "big")[12:]) for one in found))

    return [
        _uint("bridge DOMAIN", bridge, "DOMAIN()", int(chain.domain), BRIDGE_REMEDY),
        _uint("guard threshold", bridge, "threshold()", guard_set.threshold, _GUARDS_REMEDY),
        _uint("guard epoch", bridge, "guardEpoch()", guard_set.epoch, _GUARDS_REMEDY),
        ContractQuestion(
            "guards",
            bridge,
            selector("guards()"),
            ", ".join(sorted(show(guard) for guard in guard_set.guards)),
            shown,
            _GUARDS_REMEDY,
        ),
    ]


def _of_token(chain: ContractChain, token: TokenContract, show: Show) -> list[ContractQuestion]:
    bridge, symbol = chain.bridge.address, token.symbol
    return [
        ContractQuestion(
            f"{symbol} token",
            bridge,
            selector("tokenOf(bytes32)") + token.asset,
            show(token.address),
            lambda raw: show(words(raw, 1, "tokenOf")[0].to_bytes(32, "big")[12:]),
            f"register {symbol} on the bridge, or correct the registry's token",
        ),
        _uint(
            f"{symbol} decimals",
            token.address,
            "decimals()",
            token.decimals,
            "correct the registry's decimals or token address",
        ),
        ContractQuestion(
            f"{symbol} minimum",
            bridge,
            selector("minimumOf(bytes32)") + token.asset,
            str(token.minimum),
            lambda raw: str(words(raw, 1, "minimumOf")[0]),
            "make the registry's minimum_shares the bridge's",
        ),
        ContractQuestion(
            f"{symbol} roles",
            bridge,
            _SELF_TEST + token.asset,
            "minter, burner, transferSharesFrom, multiplier",
            _show_roles,
            f"the token's owner points minter and burner of {symbol} at the bridge",
        ),
    ]


def _uint(name: str, to: bytes, signature: str, expected: int, remedy: str) -> ContractQuestion:
    return ContractQuestion(
        name,
        to,
        selector(signature),
        str(expected),
        lambda raw: str(words(raw, 1, name)[0]),
        remedy,
    )


def _show_roles(raw: bytes) -> str:
    minter, burner, moves_shares, _, _, multiplier = words(raw, 6, "selfTest")
    names = (
        (minter, "minter"),
        (burner, "burner"),
        (moves_shares, "transferSharesFrom"),
        (multiplier, "multiplier"),
    )
    return ", ".join(name for held, name in names if held)


def judged(name: str, expected: str, remedy: str, shown: Callable[[], str]) -> CheckResult:
    """The check's line; an answer that cannot be read is a mismatch."""
    try:
        found = shown()
    except (InvalidMessage, ValueError, KeyError, TypeError) as error:
        return CheckResult(
            name, passed=False, expected=expected, found=str(error)[:200], remedy=remedy
        )
    return CheckResult(name, found.lower() == expected.lower(), expected, found, remedy)

"""`ChainAdmin` of the fake family: is this the chain that the configuration means?

Two swapped entries of a registry must fail here, before anything is signed (F88).
"""

from dataclasses import dataclass

from xstock_chains.fake.chain import FakeConfig
from xstock_chains.fake.node import FakeNode
from xstock_chains.ports import CheckResult, SelfTest
from xstock_core.ids import Address32, Domain
from xstock_runtime.errors import Transient


@dataclass(frozen=True, slots=True)
class FakeExpectation:
    """What the registry says about a chain."""

    domain: Domain
    genesis: bytes
    bridge: Address32
    decimals: int
    guard_epoch: int
    guards: frozenset[bytes]
    threshold: int


def expectation_of(config: FakeConfig, genesis: bytes) -> FakeExpectation:
    """The registry entry that a correct operator would write for this deployment."""
    guards = config.guards
    return FakeExpectation(
        config.domain,
        genesis,
        config.bridge,
        config.decimals,
        guards.epoch,
        guards.members,
        guards.threshold,
    )


class FakeAdmin:
    """Checks one chain against its registry entry."""

    def __init__(self, node: FakeNode, expectation: FakeExpectation) -> None:
        self._node = node
        self._expected = expectation

    async def self_test(self) -> SelfTest:
        """Every fact that must match; a node that is away makes them unknown, not passed."""
        expected = self._expected
        try:
            view = await self._node.view("self_test")
        except Transient as error:
            unknown = CheckResult("node answers", None, "an answer", str(error), "start the node")
            return SelfTest(expected.domain, (unknown,))
        chain = self._node.chain
        genesis, guards = view.block(0), chain.state.guards.get("", view.head.number)
        found = (
            ("domain", expected.domain.name, chain.domain.name),
            ("genesis", expected.genesis.hex(), genesis.ref.hash.hex() if genesis else "none"),
            ("bridge", expected.bridge.hex(), chain.config.bridge.hex()),
            ("decimals", str(expected.decimals), str(chain.config.decimals)),
            ("guard epoch", str(expected.guard_epoch), str(guards.epoch if guards else None)),
            ("guard set", _set(expected.guards), _set(guards.members if guards else frozenset())),
            ("threshold", str(expected.threshold), str(guards.threshold if guards else 0)),
        )
        return SelfTest(expected.domain, tuple(_check(*row) for row in found))


def _set(members: frozenset[bytes]) -> str:
    return ",".join(sorted(member.hex() for member in members))


def _check(name: str, expected: str, found: str) -> CheckResult:
    remedy = "" if expected == found else f"correct {name} in the registry, or the node's address"
    return CheckResult(name, expected == found, expected, found, remedy)

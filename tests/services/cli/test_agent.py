"""The agent's process: what it pauses, on whose word, and what it never does."""

import json
from pathlib import Path

import pytest

from tests.services.gateway.world import a_registry
from xstock_chains.pausing import ChainPause, PauseOrder
from xstock_chains.ports import AdminAct, StepState
from xstock_cli.agent import ActLog, Agent, Target, causes_of
from xstock_core.ids import AssetId
from xstock_runtime.clock import Clock, VirtualClock
from xstock_wire.v1 import operator_pb2

REGISTRY = a_registry()
ASSET: AssetId = REGISTRY.assets[0].id
PLACES = [one.chain for one in REGISTRY.assets[0].deployments]
CHAIN = REGISTRY.chains[0]


def record(reason: str, *, by: str = "service", **scope: object) -> operator_pb2.HaltRecord:
    """A halt as a guard lists it."""
    made = operator_pb2.HaltScope(**scope)  # type: ignore[arg-type]
    return operator_pb2.HaltRecord(id="h-1", scope=made, reason=reason, by=by, at_ms=1)


MINT = record("INV-16: 5 token units minted outside the bridge", asset=ASSET)
FINALITY = record("INV-10: chain 1: FINALITY_BROKEN", chain=int(CHAIN.domain))


class Chains:
    """Chains that are paused at the n-th try; every order is kept."""

    def __init__(self, tries: int = 1) -> None:
        self.orders: list[PauseOrder] = []
        self._tries = tries

    async def pause(self, order: PauseOrder, clock: Clock) -> ChainPause:
        """One try."""
        del clock
        self.orders.append(order)
        made = sum(1 for one in self.orders if one.chain == order.chain)
        found = ChainPause(order.chain, paused=made >= self._tries)
        found.acts.append(AdminAct("pause", StepState.DONE, tx=f"tx-{len(self.orders)}"))
        return found


def an_agent(chains: Chains, log: Path | None = None) -> Agent:
    """An agent with a key and a node per chain."""
    clock = VirtualClock()
    nodes = {entry.name: ["http://node"] for entry in REGISTRY.chains}
    keys = [Path("agent.key")]
    return Agent(REGISTRY, nodes, keys, clock, ActLog(log, clock), chains.pause)


async def test_agent__asset_halted_for_a_mint__is_paused_on_every_chain_it_is_on() -> None:
    """F55, F82: shares minted on one chain can be burned into the bridge on any."""
    chains = Chains()
    done = await an_agent(chains).step({"guard-1": [MINT]})
    assert sorted(order.chain for order in chains.orders) == sorted(PLACES)
    assert all(order.assets == [ASSET] for order in chains.orders)
    assert all(found.paused for found in done.values())


async def test_agent__finality_broken__that_chain_alone_is_paused_whole() -> None:
    """INV-10: nothing of that chain can be believed, whatever the asset."""
    chains = Chains()
    await an_agent(chains).step({"guard-2": [FINALITY]})
    assert [(order.chain, order.assets) for order in chains.orders] == [(CHAIN.name, None)]


@pytest.mark.parametrize(
    "quiet",
    [
        record("INV-16: said by a person", by="operator-1", asset=ASSET),
        record("rehearsal", asset=ASSET),
        record("COLLATERAL_SHORT: exposure above the cap", asset=ASSET),
        record("BOOKS_EDITED: a row"),
    ],
)
async def test_agent__halt_of_a_person_or_for_no_theft__pauses_nothing(
    quiet: operator_pb2.HaltRecord,
) -> None:
    """A person who wants chains paused has a command for it."""
    chains = Chains()
    await an_agent(chains).step({"guard-1": [quiet]})
    assert chains.orders == []


async def test_agent__three_guards_say_it_and_again__every_chain_is_paused_once() -> None:
    chains = Chains()
    agent = an_agent(chains)
    halts = {name: [MINT] for name in ("guard-1", "guard-2", "guard-3")}
    for _ in range(3):
        await agent.step(halts)
    assert len(chains.orders) == len(PLACES)


async def test_agent__chain_not_paused_yet__tries_until_it_is() -> None:
    """A node that is away or behind delays; nothing gives up."""
    chains = Chains(tries=3)
    agent = an_agent(chains)
    for _ in range(2):
        await agent.step({"guard-1": [MINT]})
        assert agent.paused == set()
    await agent.step({"guard-1": [MINT]})
    assert agent.paused == {Target(place, ASSET) for place in PLACES}


async def test_agent__halt_cleared_then_another__resumes_nothing_and_pauses_again() -> None:
    chains = Chains()
    agent = an_agent(chains)
    await agent.step({"guard-1": [MINT]})
    first = len(chains.orders)
    await agent.step({"guard-1": []})
    assert len(chains.orders) == first
    await agent.step({"guard-1": [MINT]})
    assert len(chains.orders) == 2 * first


async def test_agent__everything_it_does__is_written_down_before_the_next_step(
    tmp_path: Path,
) -> None:
    log = tmp_path / "agent.jsonl"
    await an_agent(Chains(), log).step({"guard-1": [FINALITY]})
    said = [json.loads(line) for line in log.open(encoding="utf-8")]
    assert [one["event"] for one in said] == ["pausing", "paused"]
    assert said[1]["txs"] == ["tx-1"]
    assert {one["halt"] for one in said} == {"h-1"}
    assert {one["guard"] for one in said} == {"guard-1"}


def test_causes__halt_of_everything__names_every_chain_whole() -> None:
    causes = causes_of(REGISTRY, {"guard-1": [record("INV-02: executed twice")]})
    assert {target.chain for target in causes} == {entry.name for entry in REGISTRY.chains}
    assert {target.asset for target in causes} == {None}

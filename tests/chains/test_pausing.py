"""Pausing a chain through nodes of which some are away, behind, or lie, on the fake chain.

The clock is virtual: blocks come as somebody waits. What the fake's people may do is the contract
suite's affair; here is which node is believed, and which key is tried.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract.fake_driver import SEEDS
from tests.contract.fake_world import ASSET, OTHER_ASSET, Providers, block_every_second
from xstock_chains.fake import FakeOffice
from xstock_chains.pausing import ChainPause, PauseOrder, host_of, is_stopped, look, pause_chain
from xstock_chains.ports import AdminAct, ChainOffice, PauseState
from xstock_chains.profiles import Opened
from xstock_core.ids import AssetId
from xstock_runtime.clock import Clock, SystemClock

DAY = 86_400


@dataclass
class Office:
    """An office that says what it is told to say about pauses."""

    real: FakeOffice
    lie: bool | None = None
    swallows: bool = False
    garbage: bool = False

    async def pause_states(self) -> Sequence[PauseState]:
        """The truth, or one sentence of its own."""
        if self.garbage:
            raise KeyError("result")
        if self.lie is None:
            return await self.real.pause_states()
        return [PauseState(None, self.lie)]

    async def pause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """The deed; or it is taken, and nothing comes of it."""
        if self.swallows:
            await asyncio.Event().wait()
        return await self.real.pause(assets)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@dataclass
class Stage:
    """One fake chain behind three nodes, at addresses of their own."""

    folder: Path
    providers: Providers = field(default_factory=Providers)
    lies: dict[int, bool] = field(default_factory=dict)
    swallowing: set[int] = field(default_factory=set)
    garbling: set[int] = field(default_factory=set)

    @property
    def urls(self) -> list[str]:
        """One for each node."""
        return [f"https://user:secret@node-{n}:1/key-abc" for n in range(self.providers.count)]

    def key(self, who: str) -> Path:
        """A key file."""
        path = self.folder / f"{who}.key"
        path.write_bytes(SEEDS[who])
        return path

    def open(
        self,
        _registry: Any,
        _chain: str,
        url: str,
        key_file: Path | None,
        _timeout: float,
        *,
        clock: Clock,
    ) -> Opened[ChainOffice]:
        """The office of the node at this address."""
        number = self.urls.index(url)
        office = FakeOffice(self.providers.nodes[number], self.providers.clock, key_file)
        shown = Office(office, self.lies.get(number), number in self.swallowing)
        shown.garbage = number in self.garbling
        return Opened[ChainOffice](shown)

    def order(self, *who: str, assets: Sequence[AssetId] | None = None) -> PauseOrder:
        """An order for the whole chain with these keys; half a second of patience."""
        keys = [self.key(one) for one in who]
        return PauseOrder(None, "fake", self.urls, keys, assets, 1.5)  # type: ignore[arg-type]

    async def pause(self, *who: str, assets: Sequence[AssetId] | None = None) -> ChainPause:
        """Pause while blocks come."""
        async with self.blocks():
            return await pause_chain(self.order(*who, assets=assets), SystemClock(), self.open)

    async def is_paused(self) -> bool:
        """What the chain itself says, past all nodes."""
        chain = self.providers.chain
        return chain.head.time < chain.state.pause_end.get(bytes(32), chain.head.number)

    def blocks(self) -> AbstractAsyncContextManager[None]:
        """A block for every virtual second, without end."""
        return block_every_second(self.providers.chain, self.providers.clock)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A chain with healthy nodes."""
    return Stage(tmp_path)


async def test_pause_chain__healthy_nodes__one_transaction_and_all_agree(stage: Stage) -> None:
    found = await stage.pause("agent")
    assert found.paused
    assert len(found.acts) == 1
    assert found.silent == {}
    again = await stage.pause("agent")
    assert again.paused
    assert again.acts == []


async def test_pause_chain__first_node_is_away__the_next_one_does_it_and_the_first_is_named(
    stage: Stage,
) -> None:
    """One dead provider does not keep the agent from stopping a chain."""
    stage.providers.nodes[0].faults.stopped = True
    found = await stage.pause("agent")
    assert found.paused
    assert await stage.is_paused()
    assert list(found.silent) == ["node-0:1"]


async def test_pause_chain__no_node_answers__is_not_paused_and_says_why(stage: Stage) -> None:
    for node in stage.providers.nodes:
        node.faults.stopped = True
    found = await stage.pause("agent")
    assert not found.paused
    assert not await stage.is_paused()
    assert {"node-0:1", "node-1:1", "node-2:1"} <= set(found.silent)


async def test_pause_chain__a_node_lies_that_it_is_paused__the_others_pause_it(
    stage: Stage,
) -> None:
    """A single node's word that a chain is paused is not believed."""
    stage.lies[0] = True
    found = await stage.pause("agent")
    assert found.paused
    assert await stage.is_paused()
    assert len(found.acts) == 1


async def test_pause_chain__asking_one_node_alone__believes_its_lie(stage: Stage) -> None:
    """Defence removed: with the first node alone the lie goes through, so the test above bites."""
    stage.lies[0] = True
    order = stage.order("agent")
    alone = PauseOrder(order.registry, order.chain, order.urls[:1], order.key_files)
    found = await pause_chain(alone, SystemClock(), stage.open)
    assert found.paused
    assert not await stage.is_paused()


async def test_pause_chain__a_node_goes_on_showing_it_open__is_not_called_paused(
    stage: Stage,
) -> None:
    stage.lies[2] = False
    found = await stage.pause("agent")
    assert not found.paused
    assert await stage.is_paused()
    assert "node-2:1" in found.silent


async def test_pause_chain__first_node_swallows_transactions__the_next_one_does_it(
    stage: Stage,
) -> None:
    stage.swallowing.add(0)
    found = await stage.pause("agent")
    assert found.paused
    assert await stage.is_paused()


async def test_pause_chain__a_node_answers_garbage__costs_nothing_but_its_own_word(
    stage: Stage,
) -> None:
    """What an adapter did not foresee may not end the command for this chain or for others."""
    stage.garbling.add(0)
    found = await stage.pause("agent")
    assert found.paused
    assert await stage.is_paused()
    assert "KeyError" in found.silent["node-0:1"]


async def test_pause_chain__key_has_used_its_pause__the_next_key_is_tried(stage: Stage) -> None:
    await stage.pause("agent")
    await stage.providers.clock.advance(2 * DAY)
    stage.providers.chain.mine()
    assert not await stage.is_paused()
    refused = await stage.pause("agent")
    assert not refused.paused
    assert all("may again from" in said for said in refused.silent.values())
    found = await stage.pause("stranger", "agent", "guard-0")
    assert found.paused
    assert await stage.is_paused()


async def test_pause_chain__strangers_key_alone__ends_at_once_and_names_the_key(
    stage: Stage,
) -> None:
    before = SystemClock().monotonic()
    found = await stage.pause("stranger")
    assert SystemClock().monotonic() - before < 1.0
    assert not found.paused
    assert all("may not" in said for said in found.silent.values())


async def test_pause_chain__one_asset__stops_that_one(stage: Stage) -> None:
    found = await stage.pause("agent", assets=[ASSET])
    assert found.paused
    assert is_stopped(found.states, [ASSET])
    assert not is_stopped(found.states, [OTHER_ASSET])
    assert not is_stopped(found.states, None)


async def test_look__sends_nothing_and_shows_what_nodes_say(stage: Stage) -> None:
    found = await look(stage.order(), SystemClock(), stage.open)
    assert not found.paused
    assert found.states
    assert stage.providers.chain.mempool == ()


def test_host_of__address_with_secrets__shows_host_and_port_alone() -> None:
    """F90: a provider's key is in the path or before the @."""
    assert host_of("https://user:secret@node-1:8545/v3/0123456789abcdef") == "node-1:8545"

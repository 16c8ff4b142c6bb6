"""Pauses one chain through whichever of its nodes answers; for the agent's command and process.

A chain counts as paused only when a node shows it and none that answers shows the opposite: a
single node may lie, lag, or be cut off. So every node is looked at first, one that shows the
chain open is paused through, and all are looked at again, until they agree or the time is over.
Needs no service, no broker and no database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from xstock_chains.ports import AdminAct, ChainOffice, PauseState
from xstock_chains.profiles import Opened, open_office
from xstock_chains.registry import Registry
from xstock_core.ids import AssetId, InvalidId
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Ambiguous, ServiceError, Transient

T = TypeVar("T")
OpenOffice = Callable[..., Opened[ChainOffice]]
NODE_SECONDS: Final = 8.0
_LOOK_AGAIN_SECONDS: Final = 0.5
_OTHER_KEY_CODES: Final = ("KEY_MAY_NOT", "PAUSE_COOLDOWN", "KEY_INVALID", "KEY_UNREADABLE")
"""What is wrong with a key alone: the next key is tried."""


@dataclass(frozen=True, slots=True)
class PauseOrder:
    """What to stop on a chain, with which keys, through which nodes, within which time."""

    registry: Registry
    chain: str
    urls: Sequence[str]
    key_files: Sequence[Path] = ()
    """Tried in this order: the agent's, then guards'."""
    assets: Sequence[AssetId] | None = None
    limit_seconds: float = 60.0


@dataclass(slots=True)
class ChainPause:
    """How one chain stands: `paused` only where a node showed it and none said otherwise."""

    chain: str
    paused: bool = False
    acts: list[AdminAct] = field(default_factory=list)
    """What was sent; nothing where it was paused before."""
    states: Sequence[PauseState] = ()
    """What the first node that answered last showed."""
    silent: dict[str, str] = field(default_factory=dict)
    """Node (host alone, for addresses carry secrets) -> what went wrong there last."""


def is_stopped(states: Sequence[PauseState], assets: Sequence[AssetId] | None) -> bool:
    """Whether releases of these assets (None: of all) are stopped by these states."""
    if any(state.paused for state in states if state.asset is None):
        return True
    mine = [
        state.paused
        for state in states
        if state.asset is not None and (assets is None or state.asset in assets)
    ]
    return bool(mine) and all(mine)


async def pause_chain(
    order: PauseOrder, clock: Clock, open_one: OpenOffice = open_office
) -> ChainPause:
    """Pause, and see it on every node that answers, within the order's time; never raises what a
    node does, because the other chains must be paused too."""
    found = ChainPause(order.chain)
    if not order.urls:
        found.silent["no node"] = "none was given for this chain"
        return found
    try:
        async with asyncio.timeout(order.limit_seconds):
            await _until_agreed(_Nodes(order, clock, open_one), found)
    except TimeoutError:
        found.silent.setdefault("all nodes", f"not agreed within {order.limit_seconds:g} s")
    return found


async def look(order: PauseOrder, clock: Clock, open_one: OpenOffice = open_office) -> ChainPause:
    """Look at every node once and send nothing."""
    found = ChainPause(order.chain)
    shown = await _Nodes(order, clock, open_one).look(found)
    found.paused = bool(shown) and all(shown.values())
    return found


async def _until_agreed(nodes: "_Nodes", found: ChainPause) -> None:
    while True:
        shown = await nodes.look(found)
        open_ones = [url for url, stopped in shown.items() if not stopped]
        if shown and not open_ones:
            found.paused = True
            return
        for url in open_ones:
            await nodes.pause(url, found)
            found.silent.setdefault(host_of(url), "showed the chain open when last looked at")
        if open_ones and all(url in nodes.refused for url in open_ones):
            return
        await nodes.clock.sleep(_LOOK_AGAIN_SECONDS)


class _Nodes:
    """One chain's nodes, each opened only for as long as it is asked."""

    def __init__(self, order: PauseOrder, clock: Clock, open_one: OpenOffice) -> None:
        self.clock = clock
        self.refused: set[str] = set()
        """Nodes through which no key may pause: asking again changes nothing."""
        self._order = order
        self._open = open_one

    async def look(self, found: ChainPause) -> Mapping[str, bool]:
        """url -> stopped, of the nodes that answer in time."""
        answers = await asyncio.gather(*(self._look(url, found) for url in self._order.urls))
        shown = {url: states for url, states in answers if states is not None}
        found.states = next(iter(shown.values()), ())
        return {url: is_stopped(states, self._order.assets) for url, states in shown.items()}

    async def _look(self, url: str, found: ChainPause) -> tuple[str, Sequence[PauseState] | None]:
        host = host_of(url)
        try:
            async with asyncio.timeout(NODE_SECONDS):
                states = await self._with(url, None, lambda office: office.pause_states())
        except (ServiceError, InvalidId) as error:
            found.silent[host] = str(error)
        except TimeoutError:
            found.silent[host] = f"no answer within {NODE_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001 - a node's garbage must not keep chains open
            found.silent[host] = _garbage(error)
        else:
            if url not in self.refused:
                found.silent.pop(host, None)
            return url, states
        return url, None

    async def pause(self, url: str, found: ChainPause) -> None:
        """Pause through one node with the first key that may; what goes wrong is noted.

        A node gets its share of the time: one that swallows transactions must leave some for the
        others.
        """
        host, assets = host_of(url), self._order.assets
        share = self._order.limit_seconds / len(self._order.urls)
        for key_file in self._order.key_files:
            try:
                async with asyncio.timeout(share):
                    acts = await self._with(url, key_file, lambda office: office.pause(assets))
            except TimeoutError:
                found.silent[host] = f"took the pause and showed it in no block within {share:g} s"
                return
            except (Transient, Ambiguous) as error:
                found.silent[host] = str(error)
                return
            except (ServiceError, InvalidId) as error:
                found.silent[host] = str(error)
                self.refused.add(url)
                if getattr(error, "code", "") not in _OTHER_KEY_CODES:
                    return
            except Exception as error:  # noqa: BLE001 - as above: the next node is asked
                found.silent[host] = _garbage(error)
                return
            else:
                found.acts.extend(act for act in acts if act.tx)
                found.silent.pop(host, None)
                self.refused.discard(url)
                return

    async def _with(
        self,
        url: str,
        key_file: Path | None,
        ask: Callable[[ChainOffice], Awaitable[Sequence[T]]],
    ) -> Sequence[T]:
        order = self._order
        opened = self._open(
            order.registry, order.chain, url, key_file, NODE_SECONDS, clock=self.clock
        )
        try:
            return await ask(opened.port)
        finally:
            await opened.aclose()


def _garbage(error: Exception) -> str:
    """The kind alone: a text made of a node's answer is the node's."""
    return f"answered what cannot be read ({type(error).__name__})"


def host_of(url: str) -> str:
    """A node's host and port: what may be shown, for a path may carry a provider's secret."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or "?"

"""The security agent's process: when a guard halts for theft, the chains themselves are paused.

A guard's halt stops its own signatures and nobody else's; shares that were minted past the bridge
can still be sold or burned into it. So this process asks every guard for its halts, and for one
that means theft or a broken chain it pauses the asset (or the chain) on chain, with the agent's
key, through nodes of its own. One guard's word is enough, for a pause costs time and no money.
It looks before it sends, repeats until every node agrees, writes down what it did, and resumes
nothing: that takes people.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from xstock_chains.pausing import ChainPause, PauseOrder, pause_chain
from xstock_chains.registry import Registry
from xstock_core.ids import AssetId
from xstock_runtime.clock import Clock
from xstock_wire.v1 import operator_pb2

GUARD_ITSELF: Final = "service"
"""Who latched a halt that the guard latched by itself."""
PAUSING_CODES: Final = frozenset({"INV-01", "INV-02", "INV-10", "INV-16", "ROLE_OR_CODE_CHANGED"})
"""A release without a burn, one that happened twice, a final block that vanished, supply that
nobody released, a minter or code that the registry does not know."""
LIMIT_SECONDS: Final = 30.0

Halts = Mapping[str, Sequence[operator_pb2.HaltRecord]]
Pause = Callable[[PauseOrder, Clock], Awaitable[ChainPause]]


@dataclass(frozen=True, slots=True)
class Target:
    """What must stand still: one asset on one chain, or a whole chain (asset None)."""

    chain: str
    asset: AssetId | None


@dataclass(frozen=True, slots=True)
class Cause:
    """The halt that a pause is for."""

    guard: str
    halt_id: str
    reason: str


def causes_of(registry: Registry, halts: Halts) -> dict[Target, Cause]:
    """What these halts of the guards ask for, each target with the first halt that names it."""
    found: dict[Target, Cause] = {}
    for guard, records in sorted(halts.items()):
        for record in records:
            code = record.reason.split(":", 1)[0]
            if record.by != GUARD_ITSELF or code not in PAUSING_CODES:
                continue
            cause = Cause(guard, record.id, record.reason)
            for target in _targets(registry, record.scope):
                found.setdefault(target, cause)
    return found


def _targets(registry: Registry, scope: operator_pb2.HaltScope) -> list[Target]:
    which = scope.WhichOneof("scope")
    if which == "asset":
        places = [
            deployment.chain
            for entry in registry.assets
            if entry.id == scope.asset
            for deployment in entry.deployments
        ]
        return [Target(chain, AssetId(scope.asset)) for chain in places]
    return [
        Target(entry.name, None)
        for entry in registry.chains
        if which is None or entry.domain == scope.chain
    ]


@dataclass(slots=True)
class ActLog:
    """What the agent did, one JSON document a line, on disk before the next step."""

    path: Path | None
    clock: Clock

    def write(self, event: str, **facts: Any) -> None:
        """Append one line."""
        document = {"at_ms": self.clock.unix_ms(), "event": event, **facts}
        if self.path is None:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(slots=True)
class Agent:
    """Pauses what the guards' halts name; `paused` is what every node has shown to stand."""

    registry: Registry
    nodes: Mapping[str, Sequence[str]]
    key_files: Sequence[Path]
    clock: Clock
    log: ActLog
    pause: Pause = pause_chain
    paused: set[Target] = field(default_factory=set)

    async def step(self, halts: Halts) -> dict[Target, ChainPause]:
        """Pause what is named and does not stand yet, all chains at once.

        What no halt names any more is forgotten, never resumed: a new halt of it pauses again.
        """
        causes = causes_of(self.registry, halts)
        self.paused &= causes.keys()
        due = [target for target in causes if target not in self.paused]
        chains: dict[str, list[Target]] = {}
        for target in sorted(due, key=lambda one: (one.chain, one.asset or b"")):
            chains.setdefault(target.chain, []).append(target)
        done: dict[Target, ChainPause] = {}
        await asyncio.gather(*(self._chain(mine, causes, done) for mine in chains.values()))
        return done

    async def _chain(
        self,
        targets: Sequence[Target],
        causes: Mapping[Target, Cause],
        done: dict[Target, ChainPause],
    ) -> None:
        """One chain's targets in turn: one key sends one transaction at a time there."""
        for target in targets:
            cause = causes[target]
            order = PauseOrder(
                self.registry,
                target.chain,
                self.nodes.get(target.chain, ()),
                self.key_files,
                None if target.asset is None else [target.asset],
                LIMIT_SECONDS,
            )
            self._note("pausing", target, cause)
            found = done[target] = await self.pause(order, self.clock)
            if found.paused:
                self.paused.add(target)
            event = "paused" if found.paused else "not_paused"
            self._note(
                event, target, cause, txs=[act.tx for act in found.acts], silent=found.silent
            )

    def _note(self, event: str, target: Target, cause: Cause, **more: Any) -> None:
        asset = None if target.asset is None else self.registry.asset(target.asset).symbol
        facts = {"chain": target.chain, "asset": asset, "guard": cause.guard}
        self.log.write(event, **facts, halt=cause.halt_id, reason=cause.reason, **more)

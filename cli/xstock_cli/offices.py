"""What commands share that act on chains by hand: which chains and nodes, and what came of it.

They talk to nodes only (`xstock_chains.ports.ChainOffice`), never to a service.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from xstock_chains.ports import AdminAct, ChainOffice, StepState
from xstock_chains.profiles import open_office
from xstock_chains.registry import Registry
from xstock_cli.exits import Exit, UsageProblem, exit_of
from xstock_cli.nodes import named_nodes
from xstock_cli.options import may_ask
from xstock_cli.screen import Screen
from xstock_cli.settings import Place
from xstock_core.ids import AssetId
from xstock_runtime.errors import ServiceError

NodeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--node", metavar="CHAIN=URL", help="A node; repeat it, also for one chain. [XSTOCK_NODES]"
    ),
]
ChainsOption = Annotated[
    list[str] | None, typer.Option("--chain", help="These chains only; repeat it.")
]


@dataclass(frozen=True, slots=True)
class Hands:
    """Which chains, through which nodes."""

    registry: Registry
    nodes: Mapping[str, Sequence[str]]
    chains: Sequence[str]
    asset: AssetId | None = None

    @property
    def assets(self) -> Sequence[AssetId] | None:
        """What an office is asked about; None for everything."""
        return None if self.asset is None else [self.asset]

    def symbol(self, asset: AssetId | None) -> str:
        """An asset's symbol, for people."""
        return "the bridge" if asset is None else self.registry.asset(asset).symbol


def hands_of(
    place: Place, node: Sequence[str] | None, chains: Sequence[str] | None, asset: str
) -> Hands:
    """The chains that are meant, with their nodes; raises UsageProblem for one that is not there.

    A chain without a node stays: what is done to all must say that this one was not reached.
    """
    registry = place.need_registry()
    wanted = registry.asset(asset).id if asset else None
    names = [
        entry.name
        for entry in registry.chains
        if wanted is None or registry.asset(wanted).on(entry.name) is not None
    ]
    if not names:
        raise UsageProblem("--asset", asset, "it is deployed on no chain; see xstock assets")
    for name in chains or ():
        if name not in names:
            raise UsageProblem("--chain", name, f"use one of {', '.join(names)}")
    nodes = named_nodes(node or (), place.nodes, registry)
    chosen = list(chains or names)
    return Hands(registry, nodes, chosen, wanted)


def ask_first(question: str, *, yes: bool, no_input: bool) -> None:
    """Go on if a person says yes; raises UsageProblem where nobody can be asked."""
    if yes:
        return
    if not may_ask(no_input=no_input):
        raise UsageProblem("--yes", "", "nobody can be asked here: add --yes to send")
    typer.confirm(question, err=True, abort=True)


async def through_nodes(
    registry: Registry,
    chain: str,
    urls: Sequence[str],
    key_files: Sequence[Path | None],
    ask: Callable[[ChainOffice], Awaitable[Sequence[AdminAct]]],
) -> Sequence[AdminAct]:
    """Ask the first node that answers, with the first of the keys that may; raises what the last
    one said."""
    last: Exception = UsageProblem("--node", chain, "give --node CHAIN=URL, or set XSTOCK_NODES")
    for url in urls:
        for key_file in key_files:
            opened = open_office(registry, chain, url, key_file)
            try:
                return await ask(opened.port)
            except ServiceError as error:
                last = error
            finally:
                await opened.aclose()
            if last.code != "KEY_MAY_NOT":
                break
        if exit_of(last) is not Exit.RETRY:
            raise last
    raise last


def show_acts(
    screen: Screen, done: Mapping[str, Sequence[AdminAct]], failed: Mapping[str, Exception]
) -> None:
    """What was done on each chain, waits there, or went wrong."""
    for chain, acts in done.items():
        for act in acts:
            words = (act.name, act.detail, act.tx)
            said = "  ".join(word for word in words if word)
            screen.line(f"{chain:<10}{act.state.value:<9}{said}")
    for chain, error in failed.items():
        screen.note(f"{chain:<10}FAILED   {error}")
    found: dict[str, dict[str, Any]] = {
        chain: {"acts": [act_document(act) for act in acts]} for chain, acts in done.items()
    }
    for chain, error in failed.items():
        found.setdefault(chain, {"acts": []})["error"] = str(error)
    screen.document({"chains": found})


def exit_of_acts(done: Mapping[str, Sequence[AdminAct]], failed: Mapping[str, Exception]) -> Exit:
    """The worst failure's, else PENDING while anything waits."""
    if failed:
        return max(exit_of(error) for error in failed.values())
    waiting = any(act.state is StepState.WAITING for acts in done.values() for act in acts)
    return Exit.PENDING if waiting else Exit.DONE


def act_document(act: AdminAct) -> dict[str, Any]:
    """For programs."""
    return {
        "name": act.name,
        "state": act.state.value,
        "detail": act.detail,
        "tx": act.tx,
        "until": act.until,
    }

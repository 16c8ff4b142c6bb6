"""`xstock pause-all`, `pauses`, `confirm-pause`, `unpause`: stop the chains themselves by hand.

These talk to nodes and to nothing else: they work while guards, Kafka and the gateway are down, and
when those cannot be trusted. What they do to each chain is `xstock_chains.pausing`; who may pause
what, and for how long, is docs/pause.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from xstock_chains.office_rules import moment
from xstock_chains.pausing import ChainPause, PauseOrder, look, pause_chain
from xstock_chains.ports import AdminAct, ChainOffice, PauseState
from xstock_chains.profiles import load_families
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.offices import (
    ChainsOption,
    Hands,
    NodeOption,
    act_document,
    ask_first,
    exit_of_acts,
    hands_of,
    show_acts,
    through_nodes,
)
from xstock_cli.options import (
    JsonOption,
    NoInputOption,
    RegistryOption,
    WorldOption,
    YesOption,
)
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import find_place
from xstock_core.ids import InvalidId
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import ServiceError

AssetOption = Annotated[str, typer.Option("--asset", help="This asset only. None means all.")]
LimitOption = Annotated[
    float, typer.Option("--limit", min=1, help="Seconds for each chain, all at once.")
]
PAUSE_EXAMPLES: Final = """
\b
  xstock pause-all --key agent.key --registry registry.json --yes
  xstock pause-all --key agent.key --key guard-1.key --asset TSLAx \\
    --node ethereum=https://a... --node ethereum=https://b... --node solana=https://...

Nodes come from --node, XSTOCK_NODES or a world file. Every node of a chain is looked at: a chain
counts as paused when one shows it and none that answers says otherwise. Run it again at any time;
what is paused already is left alone. With several keys the next one is tried where one may not
pause or has used its pause. Nobody else is asked: guards, Kafka and gateway may be down.
"""
UNPAUSE_EXAMPLES: Final = """
\b
  xstock unpause --chain ethereum --key admin.key        # proposes; says when it can go on
  xstock unpause --chain ethereum --key admin.key        # after the delay: lifts the pause
  xstock unpause --key admin.key --key agent.key --yes   # every chain, each with the key that may
"""
CONFIRM_EXAMPLES: Final = """
\b
  xstock confirm-pause --chain tron --guard-key guard-1.key --guard-key guard-2.key
"""


def pause_all(
    key: Annotated[
        list[str], typer.Option("--key", help="The agent's key, or guards'; in this order.")
    ],
    registry: RegistryOption = None,
    node: NodeOption = None,
    asset: AssetOption = "",
    limit: LimitOption = 60.0,
    yes: YesOption = False,
    no_input: NoInputOption = False,
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause every chain directly, all at once; needs nodes and the agent's key, nothing else.

    Stops releases and burns to other chains; redemptions and cancellations go on where the chain
    can tell them apart. Exit codes: 0 every chain is paused, 1 not all are (it names them).
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    hands = hands_of(place, node, None, asset)
    keys = [place.key_file(one) for one in key]
    what = f"{asset or 'every asset'} on {', '.join(hands.chains)}"
    ask_first(f"pause {what}?", yes=yes, no_input=no_input)
    found = run(lambda: _pause_all(hands, keys, limit))
    _show_pauses(screen, hands, found)
    missing = [one.chain for one in found if not one.paused]
    if missing:
        screen.note(f"NOT paused: {', '.join(missing)}; see above, then run this again")
        raise typer.Exit(Exit.FAILED)
    screen.line(f"paused: {', '.join(one.chain for one in found)}")


def pauses(
    registry: RegistryOption = None,
    node: NodeOption = None,
    asset: AssetOption = "",
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is paused on every chain, and until when; asks nodes only, sends nothing.

    Exit codes: 0 every chain answered, 6 some did not (it names them).
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    hands = hands_of(place, node, None, asset)
    found = run(lambda: _look_at_all(hands))
    _show_pauses(screen, hands, found)
    silent = [one.chain for one in found if not one.states]
    if silent:
        screen.note(f"unknown: {', '.join(silent)}; no node of theirs answered")
        raise typer.Exit(Exit.UNKNOWN)


def confirm_pause(
    guard_key: Annotated[
        list[str], typer.Option("--guard-key", help="A guard's key; repeat it for M of them.")
    ],
    chain: ChainsOption = None,
    registry: RegistryOption = None,
    node: NodeOption = None,
    asset: AssetOption = "",
    yes: YesOption = False,
    no_input: NoInputOption = False,
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a pause last until it is lifted, with M guards' keys; without it a pause ends itself.

    Exit codes: 0 done, 4 more guards are needed.
    """
    place = find_place(world=world, registry=registry)
    hands = hands_of(place, node, chain, asset)
    keys = [place.key_file(one) for one in guard_key]
    ask_first(f"pause {', '.join(hands.chains)} until it is lifted?", yes=yes, no_input=no_input)
    _act(hands, [None], lambda office: office.confirm_pause(keys, hands.assets), as_json=as_json)


def unpause(
    key: Annotated[
        list[str], typer.Option("--key", help="The admin's key (Solana: the agent's); repeat it.")
    ],
    chain: ChainsOption = None,
    registry: RegistryOption = None,
    node: NodeOption = None,
    asset: AssetOption = "",
    yes: YesOption = False,
    no_input: NoInputOption = False,
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lift pauses with the admin's key: proposes, waits for the chain's delay, lifts; run it again.

    Exit codes: 0 nothing is paused any more, 4 a delay runs (it says until when).
    """
    place = find_place(world=world, registry=registry)
    hands = hands_of(place, node, chain, asset)
    ask_first(f"lift pauses on {', '.join(hands.chains)}?", yes=yes, no_input=no_input)
    keys = [place.key_file(one) for one in key]
    _act(hands, keys, lambda office: office.unpause(hands.assets), as_json=as_json)


# ---------------------------------------------------------------------- doing it


async def _pause_all(
    hands: Hands, keys: Sequence[Path], limit_seconds: float
) -> Sequence[ChainPause]:
    load_families(hands.registry)
    clock = SystemClock()
    orders = [
        PauseOrder(hands.registry, name, hands.nodes[name], keys, hands.assets, limit_seconds)
        for name in hands.chains
    ]
    return await asyncio.gather(*(pause_chain(order, clock) for order in orders))


async def _look_at_all(hands: Hands) -> Sequence[ChainPause]:
    load_families(hands.registry)
    clock = SystemClock()
    return await asyncio.gather(
        *(
            look(PauseOrder(hands.registry, name, hands.nodes[name], (), hands.assets), clock)
            for name in hands.chains
        )
    )


def _act(
    hands: Hands,
    key_files: Sequence[Path | None],
    ask: Callable[[ChainOffice], Awaitable[Sequence[AdminAct]]],
    *,
    as_json: bool,
) -> None:
    """Do something on every chain in turn, and end with the exit code of what came of it."""
    screen = Screen(as_json=as_json)
    done: dict[str, Sequence[AdminAct]] = {}
    failed: dict[str, Exception] = {}

    async def work() -> None:
        for name in hands.chains:
            try:
                done[name] = await through_nodes(
                    hands.registry, name, hands.nodes[name], key_files, ask
                )
            except (ServiceError, InvalidId, UsageProblem) as error:
                failed[name] = error

    run(work)
    show_acts(screen, done, failed)
    raise typer.Exit(exit_of_acts(done, failed))


# ---------------------------------------------------------------------- showing it


def _show_pauses(screen: Screen, hands: Hands, found: Sequence[ChainPause]) -> None:
    rows: list[tuple[str | Text, ...]] = []
    for one in found:
        word = Text("paused", style="green") if one.paused else Text("open", style="yellow")
        if not one.states:
            word = Text("UNKNOWN", style="red")
        sent = ", ".join(act.tx for act in one.acts)
        rows.append((one.chain, word, _shown_states(hands, one.states), sent))
    screen.table("", ("chain", "", "what", "transaction"), rows)
    for one in found:
        for host, said in one.silent.items():
            screen.note(f"{one.chain}: {host}: {said}")
    screen.document({"chains": {one.chain: _pause_document(hands, one) for one in found}})


def _shown_states(hands: Hands, states: Sequence[PauseState]) -> str:
    shut = [state for state in states if state.paused]
    if states and len(shut) == len(states) and len({state.until for state in shut}) == 1:
        return f"everything{_until(shut[0])}"
    return ", ".join(f"{hands.symbol(state.asset)}{_until(state)}" for state in shut)


def _until(state: PauseState) -> str:
    return " until it is lifted" if state.until is None else f" until {moment(state.until)}"


def _pause_document(hands: Hands, one: ChainPause) -> dict[str, Any]:
    return {
        "paused": one.paused if one.states else None,
        "states": [
            {
                "asset": None if state.asset is None else hands.symbol(state.asset),
                "paused": state.paused,
                "until": state.until,
            }
            for state in one.states
        ],
        "acts": [act_document(act) for act in one.acts],
        "nodes_in_trouble": one.silent,
    }

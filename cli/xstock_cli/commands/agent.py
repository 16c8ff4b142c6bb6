"""`xstock agent run`: the security agent's process, which pauses chains when a guard halts."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import grpc
import typer

from xstock_chains.pausing import ChainPause
from xstock_chains.profiles import load_families
from xstock_cli.agent import ActLog, Agent, Target
from xstock_cli.bridge import Bridge
from xstock_cli.nodes import named_nodes
from xstock_cli.offices import NodeOption
from xstock_cli.options import AsOption, JsonOption, RegistryOption, WorldOption
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_runtime.clock import SystemClock
from xstock_wire.v1 import operator_pb2, operator_pb2_grpc

IDENTITY = "agent"
_ANSWER_SECONDS = 5.0

app = typer.Typer(
    name="agent",
    help="The security agent: pause the chains themselves when a guard halts for theft.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def agent() -> None:
    """The security agent: pause the chains themselves when a guard halts for theft."""


@app.command("run")
def run_agent(
    key: Annotated[
        list[str], typer.Option("--key", help="The agent's key, or guards'; in this order.")
    ],
    poll: Annotated[
        float, typer.Option("--poll", min=0.1, help="Seconds between two looks at the guards.")
    ] = 2.0,
    log: Annotated[
        Path | None, typer.Option("--log", help="A file: one JSON line for everything done.")
    ] = None,
    node: NodeOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch the guards' halts and pause on chain what was stolen; runs until it is stopped.

    It pauses on any one guard's word, through your own nodes, and resumes nothing.
    """
    place = find_place(world=world, registry=registry)
    known = place.need_registry()
    # Now, not at the alarm: it takes seconds, and an update meanwhile would mix two versions.
    load_families(known)
    clock = SystemClock()
    made = Agent(
        registry=known,
        nodes=named_nodes(node or (), place.nodes, known),
        key_files=[place.key_file(one) for one in key],
        clock=clock,
        log=ActLog(log, clock),
    )
    screen = Screen(as_json=as_json)
    screen.note(f"watching {', '.join(place.need_guards())} every {poll:g} s; Ctrl-C ends it")
    run(lambda: _watch(place, who or place.identity or IDENTITY, made, screen, poll))


async def _watch(place: Place, who: str, agent: Agent, screen: Screen, poll: float) -> None:
    silent: set[str] = set()
    async with Bridge(place.gateway, tls=place.tls, identity=who) as bridge:
        while True:
            halts, away = await _halts(place, bridge, who)
            for name in sorted(away - silent):
                screen.note(f"{name} does not answer; the others are watched on")
                agent.log.write("guard_away", guard=name)
            silent = away
            _tell(screen, await agent.step(halts))
            await agent.clock.sleep(poll)


async def _halts(
    place: Place, bridge: Bridge, who: str
) -> tuple[Mapping[str, Sequence[operator_pb2.HaltRecord]], set[str]]:
    """Every guard's halts, and the guards that did not answer."""
    found: dict[str, Sequence[operator_pb2.HaltRecord]] = {}
    away: set[str] = set()

    async def ask(name: str, target: str) -> None:
        stub = operator_pb2_grpc.OperatorServiceStub(await bridge.channel(target, who))
        try:
            answer = await stub.ListHalts(operator_pb2.ListHaltsRequest(), timeout=_ANSWER_SECONDS)
        except grpc.aio.AioRpcError:
            away.add(name)
        else:
            found[name] = list(answer.halts)

    await asyncio.gather(*(ask(name, target) for name, target in place.need_guards().items()))
    return found, away


def _tell(screen: Screen, done: Mapping[Target, ChainPause]) -> None:
    for target, found in done.items():
        what = "everything" if target.asset is None else target.asset.hex()
        state = "paused" if found.paused else f"NOT PAUSED YET {dict(found.silent)}"
        screen.line(f"{target.chain}: {what}: {state}")

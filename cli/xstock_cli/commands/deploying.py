"""`xstock deploy`: put the bridge on a chain, register assets, take the tokens' roles.

Asks the chain before each step and writes every transaction to the state file before it is sent,
so it may be stopped anywhere and called again. What only another key may do (a token's owner
grants the roles) is printed for that person, and the command ends with exit code 4 until it is
done. What it prints at the end goes into the registry file.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from xstock_chains.ports import AssetOrder, DeploymentOrder, DeployStep, StepState
from xstock_chains.profiles import PROFILES, Profile, open_deployment
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.options import (
    DryRunOption,
    JsonOption,
    NoInputOption,
    WorldOption,
    YesOption,
    may_ask,
)
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_core.invariants import threshold_sane
from xstock_runtime.clock import SystemClock

_SYMBOL_CHARACTERS_MAX = 64


def deploy(
    chain: Annotated[str, typer.Option("--chain", help="ethereum, bnb, mantle.")],
    node: Annotated[str, typer.Option("--node", metavar="URL", help="A node of that chain.")],
    key: Annotated[str, typer.Option("--key", help="The deploying key: a file, or a name.")],
    guard: Annotated[
        list[str], typer.Option("--guard", metavar="ADDRESS", help="A guard; repeat it.")
    ],
    agent: Annotated[
        str, typer.Option("--agent", metavar="ADDRESS", help="The security agent: may pause.")
    ],
    threshold: Annotated[
        int, typer.Option("--threshold", min=0, help="Guards that must sign; 0 = a majority.")
    ] = 0,
    token: Annotated[
        list[str] | None,
        typer.Option(
            "--token",
            metavar="SYMBOL[=ADDRESS]",
            help="An asset; without an address a test token is deployed. Repeat it.",
        ),
    ] = None,
    network_id: Annotated[
        int, typer.Option("--network-id", min=0, help="The chain's id; 0 = the main network's.")
    ] = 0,
    admin: Annotated[
        str, typer.Option("--admin", help="Who may change it later; none = the deploying key.")
    ] = "",
    delay: Annotated[
        int, typer.Option("--delay", min=0, help="Seconds before an admin's change counts.")
    ] = 86_400,
    roles: Annotated[
        bool, typer.Option("--roles/--no-roles", help="Take the tokens' minter and burner roles.")
    ] = True,
    state: Annotated[
        Path | None, typer.Option("--state", help="State file. [xstock-deploy-CHAIN.json]")
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    no_input: NoInputOption = False,
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the bridge on a chain and print its registry entry; run it again to go on.

    Exit codes: 0 all is done, 4 somebody else must act first (it says who and how).
    """
    place = find_place(world=world)
    screen = Screen(as_json=as_json)
    profile = _profile(chain)
    order = DeploymentOrder(
        chain=profile.name,
        domain=profile.domain,
        network_id=network_id or profile.network_id,
        guards=tuple(guard),
        threshold=_threshold(threshold, len(guard)),
        agent=agent,
        assets=tuple(_asset(text) for text in token or ()),
        block_time_ms=profile.block_time_ms,
        batch_items_max=profile.batch_items_max,
        admin=admin or None,
        delay_seconds=delay,
        take_roles=roles,
    )
    _refuse_twice([asset.symbol for asset in order.assets])
    file = state or Path(f"xstock-deploy-{profile.name}.json")
    _ask(screen, order, file, dry_run=dry_run, yes=yes, no_input=no_input)
    raise typer.Exit(run(lambda: _deploy(place, screen, order, node, key, file, dry_run)))


def _ask(
    screen: Screen, order: DeploymentOrder, file: Path, *, dry_run: bool, yes: bool, no_input: bool
) -> None:
    say = screen.note if screen.as_json else screen.line
    say(f"{order.chain} (network {order.network_id}): {order.threshold} of {len(order.guards)}")
    say(f"  guards, {len(order.assets)} assets; state in {file}")
    if yes or dry_run:
        return
    if not may_ask(no_input=no_input):
        remedy = "nobody can be asked here: add --yes to send, or --dry-run to look"
        raise UsageProblem("--yes", "", remedy)
    typer.confirm("sign and send?", err=True, abort=True)


async def _deploy(
    place: Place,
    screen: Screen,
    order: DeploymentOrder,
    node: str,
    key: str,
    file: Path,
    dry_run: bool,
) -> Exit:
    say = screen.note if screen.as_json else screen.line
    opened = open_deployment(order, node, place.key_file(key), file, SystemClock())
    steps: list[DeployStep] = []
    try:
        async for step in opened.port.run(dry_run=dry_run):
            steps.append(step)
            say(f"  {step.state.value:<8} {step.name}{step.detail and f'  {step.detail}'}")
    finally:
        await opened.aclose()
    waiting = [step for step in steps if step.state is StepState.WAITING]
    entries: dict[str, Any] = {}
    if not dry_run:
        entries = {"chain": opened.port.chain_entry(), "assets": opened.port.asset_entries()}
    screen.document(
        {
            "dry_run": dry_run,
            "steps": [
                {"name": one.name, "state": one.state.value, "detail": one.detail, "tx": one.tx}
                for one in steps
            ],
            "waiting": len(waiting),
            "registry": entries,
        }
    )
    if entries and not screen.as_json:
        screen.line("for the registry file, under `chains` and each asset's `deployments`:")
        screen.out.print_json(data=entries)
    if waiting:
        screen.note(f"{len(waiting)} steps wait for somebody else, as above; then run this again")
        return Exit.PENDING
    return Exit.DONE


def _profile(name: str) -> Profile:
    known = {profile.name: profile for profile in PROFILES.values()}
    if name not in known:
        raise UsageProblem("--chain", name, f"use one of {', '.join(known)}")
    return known[name]


def _threshold(given: int, guards: int) -> int:
    least = guards // 2 + 1
    threshold = given or least
    if not threshold_sane(guards, threshold):
        raise UsageProblem("--threshold", str(given), f"of {guards} guards use {least} to {guards}")
    return threshold


def _asset(text: str) -> AssetOrder:
    symbol, equals, address = text.partition("=")
    if not symbol.isalnum() or not symbol.isascii() or len(symbol) > _SYMBOL_CHARACTERS_MAX:
        raise UsageProblem("--token", text, "write it as SYMBOL or SYMBOL=ADDRESS")
    if equals and not address:
        raise UsageProblem("--token", text, "give an address after =, or leave = away")
    return AssetOrder(symbol, token=address or None)


def _refuse_twice(symbols: list[str]) -> None:
    for symbol in symbols:
        if symbols.count(symbol) > 1:
            raise UsageProblem("--token", symbol, "give every asset once")

"""`xstock deploy`: put the bridge on a chain of any family, with its assets and their roles.

Asks the chain before each step and writes every transaction to the state file before it is sent,
so it may be stopped anywhere and called again. What only another key may do (a token's owner
grants the roles) is printed for that person, and the command ends with exit code 4 until it is
done. What it prints at the end goes into the registry file.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from xstock_chains.families import Family
from xstock_chains.ports import AssetOrder, DeploymentOrder, DeployStep, StepState
from xstock_chains.profiles import PROFILES, Profile, open_deployment, read_network_id
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.nodes import check_node
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
_CHAINS: Final = ", ".join(profile.name for profile in PROFILES.values())
_NAMES_RELAYER: Final[frozenset[Family]] = frozenset({"solana"})
"""Families whose deployment itself names the relayer."""
_OWN_TOKENS_ONLY: Final[frozenset[Family]] = frozenset({"ton"})
"""Families on which a token that exists cannot be taken over."""


ChainOption = Annotated[str, typer.Option("--chain", help=f"{_CHAINS}.")]
NodeOption = Annotated[str, typer.Option("--node", metavar="URL", help="A node of that chain.")]
KeyOption = Annotated[str, typer.Option("--key", help="The deploying key: a file, or a name.")]
GuardOption = Annotated[
    list[str], typer.Option("--guard", metavar="IDENTITY", help="A guard, as below; repeat it.")
]
AgentOption = Annotated[
    str, typer.Option("--agent", metavar="ADDRESS", help="The security agent: may pause.")
]
RelayerOption = Annotated[
    str,
    typer.Option(
        "--relayer", metavar="ADDRESS", help="The relayer's account; Solana must know it."
    ),
]
ThresholdOption = Annotated[
    int, typer.Option("--threshold", min=0, help="Guards that must sign; 0 = a majority.")
]
TokenOption = Annotated[
    list[str] | None,
    typer.Option(
        "--token",
        metavar="SYMBOL[=ADDRESS]",
        help="An asset; without an address ours is deployed (TON: always). Repeat it.",
    ),
]
NetworkOption = Annotated[
    int | None,
    typer.Option("--network-id", help="The network it must be; none = what the node says."),
]
AdminOption = Annotated[
    str, typer.Option("--admin", help="Who may change it later; none = the deploying key.")
]
DelayOption = Annotated[
    int, typer.Option("--delay", min=0, help="Seconds before an admin's change counts.")
]
RolesOption = Annotated[
    bool, typer.Option("--roles/--no-roles", help="Take the tokens' minter and burner roles.")
]
StateOption = Annotated[
    Path | None, typer.Option("--state", help="State file. [xstock-deploy-CHAIN.json]")
]

EXAMPLES: Final = """
A guard is given by what it signs as there, agent and relayer by their accounts; `xstock key` shows
both for a key file, which holds 32 bytes in hex for every chain:

\b
  ethereum, bnb, mantle   guard 0x... (20 bytes)        agent 0x...
  solana                  guard base58 ed25519 key      agent, relayer base58
  tron                    guard T...                    agent T...
  ton                     guard 64 hex digits (ed25519) agent EQ.../UQ... or such a key

\b
  xstock deploy --chain bnb --node https://... --key deployer.key --agent 0x... \\
    --guard 0x... --guard 0x... --guard 0x... --token TSLAx=0x...
  xstock deploy --chain solana --node https://... --key deployer.key --agent 4Nd1... \\
    --guard 9xQe... --guard 3h1z... --guard 7Yt4... --relayer 5Gkq... --token TSLAx=Xs...
  xstock deploy --chain tron --node https://... --key deployer.key --agent T... \\
    --guard T... --guard T... --guard T... --token TSLAx=T...
  xstock deploy --chain ton --node https://... --key deployer.key --agent UQ... \\
    --guard 3b6a... --guard 8139... --guard ca93... --token TSLAx

The node is an address that the chain's own API answers under: JSON-RPC (EVM, Solana), the base of
/wallet and /walletsolidity (Tron; http://full:8090#solidity=http://solid:8091 where the second is
elsewhere), the base of /api/v3 (TON).
"""


def deploy(
    chain: ChainOption,
    node: NodeOption,
    key: KeyOption,
    guard: GuardOption,
    agent: AgentOption,
    relayer: RelayerOption = "",
    threshold: ThresholdOption = 0,
    token: TokenOption = None,
    network_id: NetworkOption = None,
    admin: AdminOption = "",
    delay: DelayOption = 86_400,
    roles: RolesOption = True,
    state: StateOption = None,
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
    check_node("--node", node, profile.family)
    order = DeploymentOrder(
        chain=profile.name,
        domain=profile.domain,
        network_id=network_id or 0,
        guards=tuple(guard),
        threshold=_threshold(threshold, len(guard)),
        agent=agent,
        assets=tuple(_asset(text, profile.family) for text in token or ()),
        block_time_ms=profile.block_time_ms,
        batch_items_max=profile.batch_items_max,
        admin=admin or None,
        delay_seconds=delay,
        take_roles=roles,
        relayer=_relayer(relayer, profile),
    )
    _refuse_twice("--token", [asset.symbol for asset in order.assets])
    _refuse_twice("--guard", list(guard))
    file = state or Path(f"xstock-deploy-{profile.name}.json")
    order = run(lambda: _checked(order, node, place.key_file(key), network_id))
    _ask(screen, order, file, dry_run=dry_run, yes=yes, no_input=no_input)
    raise typer.Exit(run(lambda: _deploy(place, screen, order, node, key, file, dry_run)))


async def _checked(
    order: DeploymentOrder, node: str, key_file: Path, network_id: int | None
) -> DeploymentOrder:
    """The order with its network; texts and the key are looked at before any node is asked."""
    opened = open_deployment(order, node, key_file, None, SystemClock())
    await opened.aclose()
    found = await read_network_id(order.domain, node)
    if network_id not in (None, found):
        remedy = f"the node says {found}; give the node of that network, or leave the option away"
        raise UsageProblem("--network-id", str(network_id), remedy)
    return replace(order, network_id=found)


def _ask(
    screen: Screen, order: DeploymentOrder, file: Path, *, dry_run: bool, yes: bool, no_input: bool
) -> None:
    say = screen.note if screen.as_json else screen.line
    main = PROFILES[order.domain].network_id
    kind = "the main network" if order.network_id == main else f"not the main network {main}"
    say(f"{order.chain}, network {order.network_id} ({kind}):")
    guards = f"{order.threshold} of {len(order.guards)} guards"
    say(f"  {guards}, {len(order.assets)} assets; state in {file}")
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


def _relayer(text: str, profile: Profile) -> str | None:
    if not text and profile.family in _NAMES_RELAYER:
        remedy = f"name the relayer's account: {profile.name} ties every release to its key"
        raise UsageProblem("--relayer", text, remedy)
    return text or None


def _asset(text: str, family: Family) -> AssetOrder:
    symbol, equals, address = text.partition("=")
    if not symbol.isalnum() or not symbol.isascii() or len(symbol) > _SYMBOL_CHARACTERS_MAX:
        raise UsageProblem("--token", text, "write it as SYMBOL or SYMBOL=ADDRESS")
    if equals and not address:
        raise UsageProblem("--token", text, "give an address after =, or leave = away")
    if address and family in _OWN_TOKENS_ONLY:
        remedy = (
            f"a jetton that exists cannot be taken over; write {symbol} alone, and one of ours is "
            "deployed"
        )
        raise UsageProblem("--token", text, remedy)
    return AssetOrder(symbol, token=address or None)


def _refuse_twice(option: str, words: list[str]) -> None:
    for word in words:
        if words.count(word) > 1:
            raise UsageProblem(option, word, "give every one once")

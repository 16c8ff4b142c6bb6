"""`xstock guard …`: look after the guards themselves; `rotate` changes who they are on every chain.

A rotation is two registries: the one in force and the next, whose guards, threshold and epoch (the
present one + 1) are to hold. Each chain goes its own way there (a delay on contracts, signatures of
present guards on Solana), remembers how far it came, and is looked at before anything is sent; so
the same command is run again until nothing waits. The whole procedure is docs/rotation.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from xstock_chains.addresses import parse_identity, show_identity
from xstock_chains.ports import AdminAct, GuardSet, Succession
from xstock_chains.profiles import open_office
from xstock_chains.registry import Registry, load_registry, parse_registry
from xstock_cli.exits import Exit, UsageProblem, exit_of
from xstock_cli.offices import (
    ChainsOption,
    Hands,
    NodeOption,
    ask_first,
    exit_of_acts,
    hands_of,
    show_acts,
)
from xstock_cli.options import (
    DryRunOption,
    JsonOption,
    NoInputOption,
    RegistryOption,
    WorldOption,
    YesOption,
)
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_core.ids import InvalidId
from xstock_runtime.errors import ServiceError

app = typer.Typer(
    help="Look after the guards: change who they are on every chain.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

EXAMPLES: Final = """
\b
  xstock guard rotate --new-registry next.json --dry-run
  xstock guard rotate --new-registry next.json --admin-key admin.key \\
    --guard-key guard-1.key --guard-key guard-2.key --write registry-2.json
  xstock guard rotate --new-registry next.json --admin-key ethereum=eth-admin.key \\
    --admin-key solana=payer.key --guard-key guard-1.key --guard-key guard-2.key --chain solana

The new registry is the old one with other guards or another threshold and guard_epoch + 1. Run the
same command again until it ends with 0; then give the registry that --write made to every service
(docs/rotation.md): on Solana other guards mean another mint authority, which it names. Guards' keys
are needed on Solana alone, where M present guards sign.
"""


@dataclass(frozen=True, slots=True)
class _Keys:
    """Who signs: the admin's key of each chain, and present guards'."""

    admins: Mapping[str, Path | None]
    guards: Sequence[Path]


@app.command(epilog=EXAMPLES)
def rotate(
    new_registry: Annotated[Path, typer.Option("--new-registry", help="The next registry file.")],
    admin_key: Annotated[
        list[str] | None,
        typer.Option("--admin-key", metavar="[CHAIN=]KEY", help="The admin's key; repeat it."),
    ] = None,
    guard_key: Annotated[
        list[str] | None, typer.Option("--guard-key", help="A present guard's key; repeat it.")
    ] = None,
    registry: RegistryOption = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", help="Where to write the finished registry once nothing waits."),
    ] = None,
    chain: ChainsOption = None,
    node: NodeOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    no_input: NoInputOption = False,
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring in the guards of a new registry on every chain; run it again until nothing waits.

    Exit codes: 0 every chain has the new guards, 4 something waits (it says for whom or until
    when), 1 a chain failed; the others went on.
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    hands = hands_of(place, node, chain, "")
    new = load_registry(new_registry)
    _check_pair(hands.registry, new)
    keys = _Keys(
        _admins(place, admin_key or (), hands.chains),
        [place.key_file(one) for one in guard_key or ()],
    )
    _show_plan(screen, hands.registry, new)
    if not dry_run:
        ask_first(f"rotate the guards on {', '.join(hands.chains)}?", yes=yes, no_input=no_input)
    done, failed = run(lambda: _rotate_all(hands, new, keys, dry_run=dry_run))
    show_acts(screen, done, failed)
    code = exit_of_acts(done, failed)
    if failed:
        screen.note(f"failed: {', '.join(failed)}; the others went on. Mend it and run this again")
    elif code is Exit.PENDING:
        screen.note("run this again then; nothing is done twice")
    elif write is not None and not dry_run:
        document = json.loads(new_registry.read_text(encoding="utf-8"))
        write.write_text(run(lambda: _finished(hands, document)), encoding="utf-8")
        screen.note(f"wrote {write}: check it, then give it to every service (docs/rotation.md)")
    raise typer.Exit(code)


async def _rotate_all(
    hands: Hands, new: Registry, keys: _Keys, *, dry_run: bool
) -> tuple[dict[str, list[AdminAct]], dict[str, Exception]]:
    """Chain after chain: what one refuses does not keep the others."""
    done: dict[str, list[AdminAct]] = {}
    failed: dict[str, Exception] = {}
    for name in hands.chains:
        done[name] = []
        try:
            await _rotate_one(hands, name, new, keys, done[name], dry_run=dry_run)
        except (ServiceError, InvalidId, UsageProblem) as error:
            failed[name] = error
            if not done[name]:
                del done[name]
    return done, failed


async def _rotate_one(
    hands: Hands, chain: str, new: Registry, keys: _Keys, acts: list[AdminAct], *, dry_run: bool
) -> None:
    """Through the first node that answers; what was done is kept if it fails half-way."""
    last: Exception = UsageProblem("--node", chain, "give --node CHAIN=URL, or set XSTOCK_NODES")
    for url in hands.nodes[chain]:
        opened = open_office(hands.registry, chain, url, keys.admins[chain])
        try:
            async for act in opened.port.rotate(
                guard_set_of(new, chain), keys.guards, dry_run=dry_run
            ):
                acts.append(act)
        except ServiceError as error:
            last = error
            if exit_of(error) is not Exit.RETRY:
                raise
        else:
            return
        finally:
            await opened.aclose()
    raise last


async def _finished(hands: Hands, document: Mapping[str, Any]) -> str:
    """The new registry with what chains say of themselves after the rotation, checked."""
    for chain in hands.chains:
        opened = open_office(hands.registry, chain, hands.nodes[chain][0], None)
        try:
            if isinstance(opened.port, Succession):
                document = await opened.port.registry_after(document)
        finally:
            await opened.aclose()
    text = json.dumps(document, indent=1)
    parse_registry(text)
    return text


def guard_set_of(registry: Registry, chain: str) -> GuardSet:
    """The guards that a registry names for a chain, in its order; raises InvalidId."""
    family = registry.chain(chain).family
    texts = registry.guard_identities(family)
    identities = tuple(parse_identity(family, text, "guards.keys") for text in texts)
    return GuardSet(identities, registry.threshold, registry.guard_epoch)


def _check_pair(old: Registry, new: Registry) -> None:
    """The two must be one deployment, one epoch apart; raises UsageProblem."""
    if new.deployment_id != old.deployment_id:
        remedy = f"the registry in force is {old.deployment_id}'s; give its successor"
        raise UsageProblem("--new-registry deployment_id", new.deployment_id, remedy)
    if new.guard_epoch not in (old.guard_epoch, old.guard_epoch + 1):
        remedy = f"make it {old.guard_epoch + 1}: the present epoch and one"
        raise UsageProblem("--new-registry guard_epoch", str(new.guard_epoch), remedy)
    if new.guard_epoch == old.guard_epoch and _people(new) != _people(old):
        remedy = f"other guards need another epoch: make it {old.guard_epoch + 1}"
        raise UsageProblem("--new-registry guard_epoch", str(new.guard_epoch), remedy)
    missing = {entry.name for entry in old.chains} - {entry.name for entry in new.chains}
    if missing:
        remedy = "a rotation changes guards alone; keep every chain"
        raise UsageProblem("--new-registry chains", ", ".join(sorted(missing)), remedy)


def _people(registry: Registry) -> tuple[Any, int]:
    return {guard.id: dict(guard.keys) for guard in registry.guards}, registry.threshold


def _admins(place: Place, given: Sequence[str], chains: Sequence[str]) -> Mapping[str, Path | None]:
    """chain -> the admin's key: CHAIN=KEY, else the one without a chain, else none (only looks)."""
    keys: dict[str, Path] = {}
    for text in given:
        chain, equals, key = text.partition("=")
        named = bool(equals) and chain in chains
        keys[chain if named else ""] = place.key_file(key if named else text)
    return {chain: keys.get(chain, keys.get("")) for chain in chains}


def _show_plan(screen: Screen, old: Registry, new: Registry) -> None:
    say = screen.note if screen.as_json else screen.line
    say(
        f"epoch {old.guard_epoch}: {old.threshold} of {len(old.guards)} guards -> "
        f"epoch {new.guard_epoch}: {new.threshold} of {len(new.guards)} guards"
    )
    before, after = ({guard.id: guard for guard in one.guards} for one in (old, new))
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            say(f"  - {name}")
        elif name not in before:
            say(f"  + {name}")
        elif dict(before[name].keys) != dict(after[name].keys):
            say(f"  ~ {name}: {', '.join(_changed(before[name].keys, after[name].keys))}")


def _changed(before: Mapping[Any, str], after: Mapping[Any, str]) -> list[str]:
    families = sorted(before.keys() | after.keys())
    changed = [family for family in families if before.get(family) != after.get(family)]
    return [
        f"{family} {show_identity(family, parse_identity(family, after[family]))}"
        if family in after
        else f"{family} without a key"
        for family in changed
    ]

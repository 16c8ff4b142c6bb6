"""`xstock chaos`: put faults into a world of `xstock up`, see them, take them out.

Faults of providers go to the world's RPC proxy, faults of whole chains to the chains themselves;
the words are the same for every chain. Docs: docs/chaos.md. The devnet is imported only here and
only when asked for, as a partner's installation does not have it.
"""

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import httpx
import typer

from xstock_cli.exits import UsageProblem
from xstock_cli.options import JsonOption, WorldOption
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import world_document
from xstock_runtime.errors import Transient

if TYPE_CHECKING:
    from xstock_devnet.proxy.admin import ProxyAdmin

T = TypeVar("T")
_EVERY_FAULT: Final = frozenset({"methods", "times"})

app = typer.Typer(
    name="chaos",
    help="Put faults into a local world: providers that fail, lag or lie, chains that stop.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class ChainVerb(StrEnum):
    """What can be done to a whole chain."""

    STOP = "stop"
    RESUME = "resume"
    FREEZE_FINALITY = "freeze-finality"
    THAW_FINALITY = "thaw-finality"
    REORG = "reorg"


ChainOption = Annotated[
    str | None, typer.Option("--chain", help="This chain only (xstock chains). None means all.")
]
IdentityOption = Annotated[
    str | None,
    typer.Option("--identity", help="This reader only: guard-1, watcher-bnb, relayer, gateway."),
]
ProviderOption = Annotated[
    int | None, typer.Option("--provider", min=0, help="This provider only, counted from 0.")
]


@app.command("list")
def list_faults(world: WorldOption = None, as_json: JsonOption = False) -> None:
    """List the faults in force and how often each has struck."""
    proxy = _proxy(world_document(world))
    screen = Screen(as_json=as_json)
    faults = _run(proxy, proxy.faults)
    screen.document({"faults": faults})
    if faults:
        columns = ("id", "fault", "identity", "chain", "provider", "params", "struck")
        screen.table("", columns, [_row(fault) for fault in faults], right=("id", "struck"))
    else:
        screen.line("no fault is in force")


@app.command()
def add(
    fault: Annotated[str, typer.Argument(help="What happens: see `xstock chaos kinds`.")],
    chain: ChainOption = None,
    identity: IdentityOption = None,
    provider: ProviderOption = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", help="Strike these calls only; repeat it, or use commas."),
    ] = None,
    times: Annotated[
        int | None, typer.Option("--times", min=1, help="Then lift it by itself.")
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A param of the fault; repeat it."),
    ] = None,
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a fault in force; what it does not name (chain, identity, provider), it strikes all of.

    For example: xstock chaos add lag --chain bnb --identity guard-1 --param blocks=20
    """
    document = world_document(world)
    proxy = _proxy(document)
    _known("--chain", chain, document.get("nodes", {}))
    _known("--identity", identity, document.get("metrics", {}))
    wanted: dict[str, Any] = _params(fault, params or ())
    if methods:
        wanted["methods"] = [name for text in methods for name in text.split(",") if name]
    if times is not None:
        wanted["times"] = times
    target = {"identity": identity, "chain": chain, "provider": provider}
    request = {**target, "fault": fault, "params": wanted}
    made = _run(proxy, lambda: proxy.put(request))
    screen = Screen(as_json=as_json)
    screen.document(made)
    screen.line(f"fault {made['id']}: {_sentence(made)}")
    screen.line(f"to take it out: xstock chaos lift {made['id']}")


@app.command()
def lift(
    number: Annotated[
        int | None, typer.Argument(metavar="[ID]", help="The id that add and list show.")
    ] = None,
    fault: Annotated[str | None, typer.Option("--fault", help="Faults of this kind.")] = None,
    chain: ChainOption = None,
    identity: IdentityOption = None,
    provider: ProviderOption = None,
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take faults out: all that match everything given; with nothing given, all there are.

    Chains that were stopped, or whose finality was frozen, are resumed with `xstock chaos chain`.
    """
    proxy = _proxy(world_document(world))
    given = {
        "id": number,
        "fault": fault,
        "chain": chain,
        "identity": identity,
        "provider": provider,
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    lifted = _run(proxy, lambda: proxy.lift(**wanted))
    screen = Screen(as_json=as_json)
    screen.document({"lifted": lifted})
    screen.line(f"{lifted} lifted" if lifted else "no fault in force matches")


@app.command()
def kinds(as_json: JsonOption = False) -> None:
    """Show every fault with its params, and the errors that each chain family can refuse with."""
    _needs_devnet()
    from xstock_devnet.proxy.families import FAMILIES
    from xstock_devnet.proxy.faults import KINDS

    faults = [
        {"fault": name.value, "does": kind.does, "params": _fields(kind.params)}
        for name, kind in KINDS.items()
    ]
    errors = {
        family.name: [
            {"error": name, "means": fact.means, "methods": list(fact.methods)}
            for name, fact in sorted(family.errors.items())
        ]
        for family in FAMILIES.values()
    }
    hides = {family.name: dict(family.hides_by) for family in FAMILIES.values()}
    passes = {family.name: family.passes for family in FAMILIES.values()}
    screen = Screen(as_json=as_json)
    screen.document({"faults": faults, "errors": errors, "hide_event": hides, "passes": passes})
    rows = [(str(row["fault"]), f"… {row['does']}", _written(row["params"])) for row in faults]
    screen.table("faults: the provider", ("fault", "does", "params"), rows)
    screen.line("every fault also takes --methods and --times\n")
    for family, many in errors.items():
        columns = ("error", "means", "on")
        lines = [
            (str(row["error"]), str(row["means"]), ", ".join(row["methods"]) or "any call")
            for row in many
        ]
        screen.table(f"refuse --param error=NAME, {family}", columns, lines)
        screen.line("")
    for family, meanings in hides.items():
        screen.table(f"hide_event, {family}", ("param", "is"), list(meanings.items()))
        screen.line("")
    screen.table("no view changes", ("family", "what"), list(passes.items()))


@app.command()
def chain(
    name: Annotated[str, typer.Argument(help="A local chain of this world.")],
    command: Annotated[ChainVerb, typer.Argument(help="What happens to it.")],
    depth: Annotated[
        int, typer.Option("--depth", min=1, help="Of a reorg: how many newest blocks are dropped.")
    ] = 1,
    world: WorldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do something to a whole chain: stop it, hold its finality, drop its newest blocks.

    A stopped chain keeps its state and answers nothing until it is resumed.
    """
    document = world_document(world)
    proxy = _proxy(document)
    from xstock_devnet.proxy.controls import ChainCommand, ChainRefused, chain_controls

    try:
        controls = chain_controls(document)
    except ValueError as error:
        raise UsageProblem("--world", str(world or ""), str(error)) from None
    if name not in controls:
        known = ", ".join(controls) or "none: every chain here is somebody else's"
        raise UsageProblem("NAME", name, f"use a local chain of this world ({known})")
    try:
        said = _run(proxy, lambda: controls[name].do(ChainCommand(command), proxy, depth), name)
    except ChainRefused as error:
        raise UsageProblem("COMMAND", command.value, str(error)) from None
    screen = Screen(as_json=as_json)
    screen.document({"chain": name, "command": command.value, **said})
    screen.line(f"{name}: {_DONE[command]}")
    facts = {key: json.dumps(value) for key, value in said.items() if not isinstance(value, list)}
    screen.facts(facts)


_DONE: Final[Mapping[ChainVerb, str]] = {
    ChainVerb.STOP: "stopped; it keeps its state (resume lets it go on)",
    ChainVerb.RESUME: "goes on",
    ChainVerb.FREEZE_FINALITY: "finality stays where it is (thaw-finality lets it go on)",
    ChainVerb.THAW_FINALITY: "finality goes on",
    ChainVerb.REORG: "its newest blocks are gone, others take their place",
}


# ------------------------------------------------------------------ the world's proxy


def _needs_devnet() -> None:
    for module in ("xstock_devnet", "psutil"):
        if find_spec(module) is None:
            remedy = "install the development extras: in a clone, `make setup`"
            raise UsageProblem("installation", f"no module {module}", remedy)


def _proxy(document: Mapping[str, Any]) -> "ProxyAdmin":
    _needs_devnet()
    from xstock_devnet.proxy.admin import ProxyAdmin

    url = document.get("proxy")
    if not url:
        remedy = "faults need a world with an RPC proxy: start one with `xstock up`"
        raise UsageProblem("--world", "no proxy", remedy)
    return ProxyAdmin(str(url))


def _run(
    proxy: "ProxyAdmin", work: Callable[[], Coroutine[Any, Any, T]], chain: str | None = None
) -> T:
    """Run it; who does not answer is Transient, what the proxy refuses is a UsageProblem."""
    try:
        return run(work)
    except httpx.HTTPError as error:
        whom = f"{chain} (is it stopped?)" if chain else f"the world's RPC proxy {proxy.base_url}"
        text = f"{whom} does not answer: {type(error).__name__}; is `xstock up` running?"
        raise Transient("SERVICE_UNAVAILABLE", text, {"proxy": proxy.base_url}) from None
    except ValueError as error:
        _, _, text = str(error).partition(": ")
        field, _, why = text.partition(": ")
        raise UsageProblem(field, "", why or str(error)) from None


def _known(option: str, value: str | None, names: Mapping[str, Any]) -> None:
    """Refuse a name that strikes nobody; a world file that lists none is believed."""
    if value is not None and names and value not in names:
        raise UsageProblem(option, value, f"use one of {', '.join(names)}")


# ------------------------------------------------------------------ params


def _params(fault: str, pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is JSON where the param is not text. Raises UsageProblem."""
    from xstock_devnet.proxy.faults import KINDS, FaultKind

    if fault not in tuple(FaultKind):
        raise UsageProblem("FAULT", fault, f"use one of {', '.join(FaultKind)}")
    fields = KINDS[FaultKind(fault)].params.model_fields
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageProblem("--param", pair, "write it as NAME=VALUE")
        if name not in fields or name in _EVERY_FAULT:
            known = ", ".join(field for field in fields if field not in _EVERY_FAULT)
            raise UsageProblem("--param", name, f"{fault} takes {known or 'none'}")
        values[name] = text if fields[name].annotation in (str, str | None) else _value(text)
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _fields(params: Any) -> list[dict[str, Any]]:
    """Name, need and usual value of the params that only this fault takes."""
    return [
        {"name": name, "needed": field.is_required(), "usual": field.get_default()}
        if not field.is_required()
        else {"name": name, "needed": True}
        for name, field in params.model_fields.items()
        if name not in _EVERY_FAULT
    ]


def _written(fields: Any) -> str:
    return ", ".join(
        f"{field['name']} (needed)"
        if field["needed"]
        else field["name"]
        if field["usual"] is None
        else f"{field['name']}={json.dumps(field['usual'])}"
        for field in fields
    )


def _row(fault: Mapping[str, Any]) -> tuple[str, ...]:
    target = [
        "all" if fault[name] is None else str(fault[name])
        for name in ("identity", "chain", "provider")
    ]
    return (str(fault["id"]), fault["fault"], *target, _said(fault), str(fault["struck"]))


def _said(fault: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={json.dumps(value)}" for name, value in fault["params"].items())


def _sentence(fault: Mapping[str, Any]) -> str:
    provider = "every provider" if fault["provider"] is None else f"provider {fault['provider']}"
    reader = "every reader" if fault["identity"] is None else fault["identity"]
    where = "every chain" if fault["chain"] is None else fault["chain"]
    return f"{fault['fault']} {_said(fault)}".strip() + f": {provider} of {reader} on {where}"

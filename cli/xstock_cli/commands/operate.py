"""`xstock halt`, `halts`, `resume`: stop the bridge, see what is stopped, let it go on.

Every guard and the relayer keeps halts of its own; one command asks all of them and says what
each answered. A halt must get through wherever it can: one service that is away does not keep the
others from halting, but the exit code then says that not all of them did. Watchers halt by
themselves only, and are cleared by `xstock-watcher approve` where they run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import grpc
import typer

from xstock_chains.registry import Registry
from xstock_cli.bridge import Bridge
from xstock_cli.exits import Exit, UsageProblem, exit_of
from xstock_cli.options import AsOption, JsonOption, RegistryOption, WorldOption
from xstock_cli.plain import plain
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_cli.show import duration
from xstock_core.ids import Domain
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.errors import ServiceError
from xstock_runtime.grpc_errors import remote_error
from xstock_wire.v1 import operator_pb2, operator_pb2_grpc

AtOption = Annotated[
    list[str] | None,
    typer.Option("--at", help="This service only (guard-1, relayer); repeat it. None means all."),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for people; 1-500 characters.")]


@dataclass(slots=True)
class Asked:
    """What each service answered; a failure is an answer too."""

    answers: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, ServiceError] = field(default_factory=dict)

    @property
    def exit(self) -> Exit:
        """0 if all answered; else what the worst failure means."""
        return max((exit_of(error) for error in self.failures.values()), default=Exit.DONE)

    def document(self) -> dict[str, Any]:
        """For programs."""
        failed = {
            name: {"error": {"code": error.code, "message": error.message}}
            for name, error in self.failures.items()
        }
        return {**{name: plain(answer) for name, answer in self.answers.items()}, **failed}

    def print_failures(self, screen: Screen) -> None:
        """Who did not answer, and why."""
        for name, error in self.failures.items():
            screen.note(f"{name}: {error}")


def halt(
    reason: ReasonOption,
    asset: Annotated[str, typer.Option(help="Releases of this asset only.")] = "",
    chain: Annotated[str, typer.Option(help="What comes from and goes to this chain.")] = "",
    request_id: Annotated[
        str, typer.Option("--request-id", help="The same id again is the same halt.")
    ] = "",
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop releases everywhere, at once, until two people clear it.

    Exit codes: 0 every service has halted, 3 one was away, 5 one refused, 6 one may have.
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    request = operator_pb2.HaltRequest(
        scope=_scope(place, asset, chain),
        reason=reason,
        request_id=request_id or str(SystemRandomness().uuid4()),
    )
    asked = run(lambda: ask_all(place, at, who or place.identity or "operator", "Halt", request))
    screen.document({"request_id": request.request_id, "services": asked.document()})
    now = SystemClock().unix_ms()
    rows = [_row(place, name, answer.halt, now) for name, answer in asked.answers.items()]
    _print_halts(screen, rows)
    asked.print_failures(screen)
    if asked.failures:
        screen.note(f"again, for the same halt: --request-id {request.request_id}")
    raise typer.Exit(asked.exit)


def halts(
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the halts in force at every guard and the relayer."""
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    asked = run(lambda: _list(place, at, who or place.identity or "operator"))
    screen.document({"services": asked.document()})
    now = SystemClock().unix_ms()
    rows = [
        _row(place, name, record, now)
        for name, answer in asked.answers.items()
        for record in answer.halts
    ]
    _print_halts(screen, rows)
    asked.print_failures(screen)
    raise typer.Exit(asked.exit)


def resume(
    halt_id: Annotated[str, typer.Argument(help='The id of a halt, or "all" of them.')],
    reason: ReasonOption,
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve that a halt is cleared; it is once two identities have, and the books are green.

    On a local world these are operator-1 and operator-2: run it with each as --as.

    Exit codes: 0 cleared wherever it stood, 1 no such halt, 5 more is needed (it says what).
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    code = run(
        lambda: _resume(place, screen, halt_id, reason, at, who or place.identity or "operator")
    )
    raise typer.Exit(code)


async def _resume(
    place: Place, screen: Screen, halt_id: str, reason: str, at: list[str] | None, who: str
) -> Exit:
    listed = await _list(place, at, who)
    wanted = [
        (name, record.id)
        for name, answer in listed.answers.items()
        for record in answer.halts
        if halt_id in ("all", record.id)
    ]
    listed.print_failures(screen)
    results: list[dict[str, Any]] = []
    worst = listed.exit
    for name, one in wanted:
        request = operator_pb2.ResumeRequest(halt_id=one, reason=reason)
        asked = await ask_all(place, [name], who, "Resume", request)
        asked.print_failures(screen)
        worst = max(worst, asked.exit)
        for answer in asked.answers.values():
            results.append({"service": name, "halt_id": one, **plain(answer)})
            if not answer.cleared:
                worst = max(worst, Exit.REFUSED)
    screen.document({"resumed": results, "failed": listed.document() if listed.failures else {}})
    rows = [
        (row["service"], row["halt_id"], "cleared" if row["cleared"] else row["missing"])
        for row in results
    ]
    screen.table("", ("service", "halt", "outcome"), rows)
    if not wanted and not listed.failures:
        screen.note(f"no halt {halt_id} is in force" if halt_id != "all" else "no halt is in force")
        return Exit.DONE if halt_id == "all" else Exit.FAILED
    return worst


async def _list(place: Place, at: list[str] | None, who: str) -> Asked:
    request = operator_pb2.ListHaltsRequest()
    return await ask_all(place, at, who, "ListHalts", request)


async def ask_all(
    place: Place,
    at: list[str] | None,
    who: str,
    method: str,
    request: Any,
    *,
    relayer: bool = True,
) -> Asked:
    """Call one method of every operator service side by side; none keeps another waiting.

    Without `relayer` the guards alone are asked: the relayer has no part in it.
    """
    asked = Asked()
    targets = targets_of(place, at, relayer=relayer)
    async with Bridge(place.gateway, tls=place.tls, identity=who) as bridge:

        async def ask(name: str) -> None:
            channel = await bridge.channel(targets[name], who)
            stub = operator_pb2_grpc.OperatorServiceStub(channel)
            call: Callable[..., Awaitable[Any]] = getattr(stub, method)
            try:
                asked.answers[name] = await call(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                asked.failures[name] = remote_error(error)

        await asyncio.gather(*(ask(name) for name in targets))
    asked.answers = {name: asked.answers[name] for name in targets if name in asked.answers}
    return asked


def targets_of(place: Place, at: list[str] | None, *, relayer: bool = True) -> Mapping[str, str]:
    """Where each service that was asked for listens. Raises UsageProblem for an unknown name."""
    known = dict(place.need_guards())
    if place.relayer and relayer:
        known["relayer"] = place.relayer
    for name in at or ():
        if name not in known:
            raise UsageProblem("--at", name, f"use one of {', '.join(known)}")
    return {name: target for name, target in known.items() if not at or name in at}


def _scope(place: Place, asset: str, chain: str) -> operator_pb2.HaltScope:
    if asset and chain:
        raise UsageProblem("--chain", chain, "give --asset or --chain, or neither for everything")
    if asset:
        return operator_pb2.HaltScope(asset=place.need_registry().asset(asset).id)
    if chain:
        return operator_pb2.HaltScope(chain=place.need_registry().chain(chain).domain)
    return operator_pb2.HaltScope()


def _print_halts(screen: Screen, rows: list[tuple[str, ...]]) -> None:
    columns = ("service", "halt", "stops", "reason", "by", "since", "approved by")
    if rows:
        screen.table("", columns, rows)
    else:
        screen.line("no halt is in force where we were answered")


def _row(place: Place, name: str, record: operator_pb2.HaltRecord, now: int) -> tuple[str, ...]:
    since = duration(max(0, now - record.at_ms) // 1000)
    stops = _stops(place, record.scope)
    approvals = ", ".join(record.approvals)
    return (name, record.id, stops, record.reason, record.by, f"{since} ago", approvals)


def _stops(place: Place, scope: operator_pb2.HaltScope) -> str:
    kind = scope.WhichOneof("scope")
    if kind == "chain":
        known = {int(one): one.name.lower() for one in Domain}
        return f"chain {known.get(scope.chain, scope.chain)}"
    if kind == "asset":
        return f"asset {symbol_of(place, scope.asset)}"
    return "everything"


def symbol_of(place: Place, asset: bytes) -> str:
    """An asset's symbol by the registry, else its id."""
    registry: Registry | None = None if place.registry_path is None else place.need_registry()
    for entry in registry.assets if registry is not None else ():
        if entry.id == asset:
            return entry.symbol
    return asset.hex()

"""`xstock pause`, `paused`, `propose`, `approve`, `proposals`, `parked`, `retry`, `alarms`.

What takes one person, and what takes two. Every guard decides for itself, so one command asks all
of them and says what each answered; a proposal has the same id at every guard, because the id is
made of who proposes and of the request.
"""

from enum import StrEnum
from typing import Annotated, Any

import typer

from xstock_cli.commands.operate import Asked, AtOption, ReasonOption, ask_all, symbol_of
from xstock_cli.exits import UsageProblem
from xstock_cli.options import AsOption, JsonOption, RegistryOption, WorldOption
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_cli.show import duration, share_text
from xstock_core.amount import AmountHasDust, InvalidAmount, parse_share_decimal
from xstock_core.ids import U64_MAX, Domain
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_wire.v1 import operator_pb2

_HEX_BYTES = 32
_PREFIX = "PROPOSAL_KIND_"
_NO_BUCKET = "none"
RequestOption = Annotated[
    str, typer.Option("--request-id", help="The same id again is the same request.")
]


class Kind(StrEnum):
    """What can be proposed."""

    LIMITS = "limits"
    RELEASE = "release"
    CANCEL = "cancel"
    REFUND = "refund"
    ORPHAN_REFUND = "orphan-refund"
    WRITE_OFF = "write-off"
    LIFT_PAUSE = "lift-pause"
    ROTATION = "rotation"


def pause(
    reason: ReasonOption,
    asset: Annotated[str, typer.Option(help="Releases of this asset only.")] = "",
    source: Annotated[str, typer.Option(help="Only what was burned on this chain.")] = "",
    destination: Annotated[str, typer.Option(help="Only releases on this chain.")] = "",
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="It ends by itself then.")] = 60,
    request_id: RequestOption = "",
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let releases of a scope stand still at every guard for a while; burns go on.

    Ends by itself; earlier it takes two people (`xstock propose lift-pause`). To stop the chains
    themselves: `xstock pause-all`.

    Exit codes: 0 every guard pauses, 3 one was away, 5 one refused.
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    request = operator_pb2.PauseRequest(
        scope=_scope(place, asset, source, destination),
        reason=reason,
        until=SystemClock().unix_ms() // 1000 + minutes * 60,
        request_id=request_id or str(SystemRandomness().uuid4()),
    )
    asked = _ask(place, at, who, "Pause", request)
    screen.document({"request_id": request.request_id, "guards": asked.document()})
    _print_pauses(place, screen, asked)
    _end(screen, asked)


def paused(
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the guards' own pauses; `xstock pauses` shows those on the chains."""
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    asked = _ask(place, at, who, "ListPauses", operator_pb2.ListPausesRequest())
    screen.document({"guards": asked.document()})
    _print_pauses(place, screen, asked)
    _end(screen, asked)


def propose(
    kind: Annotated[Kind, typer.Argument(help="What to decide.")],
    subject: Annotated[
        str,
        typer.Argument(
            help="What it is about: a transfer id, an orphan's nonce, a pause's id, a digest;"
            " for limits a symbol, or all."
        ),
    ],
    reason: ReasonOption,
    bucket: Annotated[str, typer.Option(help="limits: shares a bucket holds, or none.")] = "",
    refill: Annotated[str, typer.Option(help="limits: shares it refills in a second.")] = "0",
    delay: Annotated[
        list[str] | None,
        typer.Option("--delay", metavar="SHARES:SECONDS", help="limits: a wait; repeat it."),
    ] = None,
    manual_from: Annotated[str, typer.Option(help="limits: from here people review.")] = "0",
    request_id: RequestOption = "",
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose what takes two people; another one approves it with the id that is printed.

    Exit codes: 0 proposed at every guard, 2 not valid, 3 one was away, 5 one refused.
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    payload = b""
    if kind is Kind.LIMITS:
        payload = _limits(bucket, refill, delay or [], manual_from)
    request = operator_pb2.ProposeRequest(
        kind=operator_pb2.ProposalKind.Value(_PREFIX + kind.name),
        subject=_subject(place, kind, subject),
        payload=payload,
        reason=reason,
        request_id=request_id or str(SystemRandomness().uuid4()),
    )
    asked = _ask(place, at, who, "Propose", request)
    screen.document({"request_id": request.request_id, "guards": asked.document()})
    rows = [_row(place, name, one.proposal) for name, one in asked.answers.items()]
    _print_proposals(screen, rows)
    ids = sorted({one.proposal.id for one in asked.answers.values()})
    for one in ids:
        screen.note(f"somebody else: xstock approve {one} --reason WHY")
    _end(screen, asked)


def approve(
    proposal_id: Annotated[str, typer.Argument(help="The proposal's id.")],
    reason: ReasonOption,
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say yes to somebody else's proposal; it is executed once enough people have.

    Exit codes: 0 said at every guard, 2 not yours to approve or expired, 3 one was away, 5 denied.
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    request = operator_pb2.ApproveRequest(proposal_id=proposal_id, reason=reason)
    asked = _ask(place, at, who, "Approve", request)
    screen.document({"guards": asked.document()})
    rows = [_row(place, name, one.proposal) for name, one in asked.answers.items()]
    _print_proposals(screen, rows)
    _end(screen, asked)


def proposals(
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what waits for people, and what was decided in the last 30 days."""
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    asked = _ask(place, at, who, "ListProposals", operator_pb2.ListProposalsRequest())
    screen.document({"guards": asked.document()})
    rows = [
        _row(place, name, one) for name, answer in asked.answers.items() for one in answer.proposals
    ]
    _print_proposals(screen, rows)
    _end(screen, asked)


def parked(
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the transfers that wait for a person, at every guard and the relayer."""
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    request = operator_pb2.ListParkedRequest(page_size=1000)
    asked = _ask(place, at, who, "ListParked", request, relayer=True)
    screen.document({"services": asked.document()})
    now = SystemClock().unix_ms()
    rows = [
        (name, one.transfer_id.hex(), one.reason, _ago(one.since_ms, now))
        for name, answer in asked.answers.items()
        for one in answer.transfers
    ]
    screen.table("", ("service", "transfer", "reason", "since"), rows)
    if not rows:
        screen.line("nothing waits for a person where we were answered")
    _end(screen, asked)


def retry(
    transfer: Annotated[str, typer.Argument(help="The transfer's id, 64 hexadecimal digits.")],
    reason: ReasonOption,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the relayer ask the guards again about a parked transfer.

    Exit codes: 0 asked, 1 it is not parked, 3 the relayer was away, 5 denied.
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    request = operator_pb2.RetryParkedRequest(
        transfer_id=_hex32("TRANSFER", transfer), reason=reason
    )
    asked = _ask(place, ["relayer"], who, "RetryParked", request, relayer=True)
    screen.document({"services": asked.document()})
    for answer in asked.answers.values():
        screen.line(f"{transfer[:8]}  {answer.phase}")
    _end(screen, asked)


def alarms(
    at: AtOption = None,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what every guard wants a person to know now."""
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    asked = _ask(place, at, who, "ListAlarms", operator_pb2.ListAlarmsRequest())
    screen.document({"guards": asked.document()})
    now = SystemClock().unix_ms()
    rows = [
        (name, one.code, one.scope, _ago(one.at_ms, now), one.detail)
        for name, answer in asked.answers.items()
        for one in answer.alarms
    ]
    screen.table("", ("guard", "alarm", "about", "since", "detail"), rows)
    if not rows:
        screen.line("no alarm stands where we were answered")
    _end(screen, asked)


def _ask(
    place: Place,
    at: list[str] | None,
    who: str | None,
    method: str,
    request: Any,
    *,
    relayer: bool = False,
) -> Asked:
    name = who or place.identity or "operator"
    return run(lambda: ask_all(place, at, name, method, request, relayer=relayer))


def _end(screen: Screen, asked: Asked) -> None:
    asked.print_failures(screen)
    raise typer.Exit(asked.exit)


def _scope(place: Place, asset: str, source: str, destination: str) -> operator_pb2.PauseScope:
    registry = place.need_registry() if asset or source or destination else None
    if registry is None:
        return operator_pb2.PauseScope()
    return operator_pb2.PauseScope(
        asset=registry.asset(asset).id if asset else b"",
        source=registry.chain(source).domain if source else 0,
        destination=registry.chain(destination).domain if destination else 0,
    )


def _subject(place: Place, kind: Kind, text: str) -> bytes:
    if kind is Kind.LIMITS:
        return b"" if text == "all" else bytes(place.need_registry().asset(text).id)
    if kind is Kind.LIFT_PAUSE:
        return text.encode()
    return _hex32("SUBJECT", text)


def _hex32(option: str, text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != _HEX_BYTES:
        raise UsageProblem(option, text, "give 64 hexadecimal digits")
    return raw


def _limits(bucket: str, refill: str, delays: list[str], manual_from: str) -> bytes:
    tiers = []
    for one in delays:
        shares, _, seconds = one.partition(":")
        if not seconds.isdecimal():
            raise UsageProblem("--delay", one, "give SHARES:SECONDS, e.g. 1000:3600")
        tier = operator_pb2.DelayTier(from_shares=_units("--delay", shares), seconds=int(seconds))
        tiers.append(tier)
    change = operator_pb2.LimitsChange(
        bucket_shares=_bucket(bucket),
        bucket_refill_shares_per_second=_units("--refill", refill),
        delays=tiers,
        manual_review_shares=_units("--manual-from", manual_from),
    )
    return change.SerializeToString(deterministic=True)


def _bucket(text: str) -> int:
    """A bucket's size; that there is none must be said, since it lifts a limit."""
    if text == _NO_BUCKET:
        return U64_MAX
    size = _units("--bucket", text) if text else 0
    if not size:
        raise UsageProblem("--bucket", text, f"give its shares, or {_NO_BUCKET} for no limit")
    return size


def _units(option: str, text: str) -> int:
    try:
        return 0 if text == "0" else int(parse_share_decimal(text))
    except (InvalidAmount, AmountHasDust) as error:
        raise UsageProblem(option, text, str(error)) from None


def _print_pauses(place: Place, screen: Screen, asked: Asked) -> None:
    now = SystemClock().unix_ms()
    rows = []
    for name, answer in asked.answers.items():
        listed = isinstance(answer, operator_pb2.ListPausesResponse)
        for one in answer.pauses if listed else [answer.pause]:
            left = duration(max(0, one.until - now // 1000))
            rows.append((name, one.id, _stops(place, one.scope), one.reason, one.by, f"in {left}"))
    screen.table("", ("guard", "pause", "stops", "reason", "by", "ends"), rows)
    if not rows:
        screen.line("no guard that answered pauses anything")


def _stops(place: Place, scope: operator_pb2.PauseScope) -> str:
    names = {int(one): one.name.lower() for one in Domain}
    parts = []
    if scope.asset:
        parts.append(symbol_of(place, scope.asset))
    if scope.source:
        parts.append(f"from {names.get(scope.source, scope.source)}")
    if scope.destination:
        parts.append(f"to {names.get(scope.destination, scope.destination)}")
    return " ".join(parts) or "everything"


def _print_proposals(screen: Screen, rows: list[tuple[str, ...]]) -> None:
    columns = ("guard", "proposal", "what", "about", "reason", "by", "agreed", "state")
    screen.table("", columns, rows)
    if not rows:
        screen.line("no guard that answered has a proposal")


def _row(place: Place, name: str, one: operator_pb2.ProposalRecord) -> tuple[str, ...]:
    kind = operator_pb2.ProposalKind.Name(one.kind).removeprefix(_PREFIX).lower()
    state = one.state if one.state != "OPEN" else f"OPEN, {one.missing}"
    what = f"{kind} {_payload(one)}".rstrip()
    return (
        name,
        one.id,
        what.replace("_", "-"),
        _about(place, one),
        one.reason,
        one.by,
        ", ".join(one.approvals),
        state,
    )


def _about(place: Place, one: operator_pb2.ProposalRecord) -> str:
    if one.kind == operator_pb2.PROPOSAL_KIND_LIMITS:
        return symbol_of(place, one.subject) if one.subject else "all"
    if one.kind == operator_pb2.PROPOSAL_KIND_LIFT_PAUSE:
        return str(one.subject.decode("ascii", "replace"))
    return str(one.subject.hex())


def _payload(one: operator_pb2.ProposalRecord) -> str:
    if one.kind == operator_pb2.PROPOSAL_KIND_LIMITS:
        change = operator_pb2.LimitsChange.FromString(one.payload)
        waits = " ".join(f"{share_text(t.from_shares)}:{t.seconds}s" for t in change.delays)
        size = change.bucket_shares
        return (
            f"bucket {_NO_BUCKET if size == U64_MAX else share_text(size)} refill "
            f"{share_text(change.bucket_refill_shares_per_second)}/s waits {waits or 'none'} "
            f"people from {share_text(change.manual_review_shares)}"
        )
    if one.kind == operator_pb2.PROPOSAL_KIND_RELEASE:
        return str(one.payload.decode("ascii", "replace"))
    return f"to {one.payload.hex()}" if one.payload else ""


def _ago(since_ms: int, now_ms: int) -> str:
    return f"{duration(max(0, now_ms - since_ms) // 1000)} ago"

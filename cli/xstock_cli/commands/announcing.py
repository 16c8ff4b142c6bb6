"""`xstock announce`, `screening-list`: papers that hold releases, signed and carried.

An announcement goes to every guard at once, and one that is away is named: it would not close the
window. A screening list goes nowhere by itself: the file is put where each guard looks for it.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer

from xstock_chains.profiles import parse_address
from xstock_chains.registry import Registry
from xstock_cli.bridge import Bridge
from xstock_cli.commands.operate import Asked
from xstock_cli.exits import UsageProblem
from xstock_cli.options import AsOption, JsonOption, RegistryOption, WorldOption
from xstock_cli.plain import rfc3339
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_runtime.clock import SystemClock
from xstock_runtime.grpc_errors import remote_error
from xstock_wire.papers import CORPORATE_ACTION, SCREENING_LIST, PaperKey
from xstock_wire.v1 import papers_pb2, supply_guard_pb2, supply_guard_pb2_grpc

_HOUR = 3_600
_REASONS = ("sanctions", "us-person", "issuer")
_ONE_DIGITS = 18
KeyOption = Annotated[str, typer.Option("--key", help="A file, or a name in XSTOCK_KEYS.")]


def announce(
    symbol: Annotated[str, typer.Argument(help="The asset, e.g. TSLAx.")],
    event: Annotated[str, typer.Argument(help="The issuer's name for the event.")],
    activates: Annotated[int, typer.Option("--activates", help="Unix seconds.")],
    multiplier: Annotated[str, typer.Option(help='What holds afterwards, e.g. "10".')],
    version: Annotated[int, typer.Option(min=1, help="Grows with every correction.")] = 1,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="It will not happen.")] = False,
    key: KeyOption = "issuer",
    key_id: Annotated[str, typer.Option("--key-id", help="The registry's name of it.")] = "",
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Announce a corporate action: releases of the asset stand still around its activation.

    Exit codes: 0 every guard has it, 2 not valid, 3 one was away, 5 one refused.
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    known = place.need_registry()
    paper = papers_pb2.CorporateAction(
        asset=known.asset(symbol).id,
        event_id=event,
        version=version,
        activates_at=activates,
        multiplier=_scaled(multiplier),
        cancelled=cancelled,
    )
    name = key_id or place.issuer_key_id
    signed = PaperKey.from_file(name, place.key_file(key)).sign(
        CORPORATE_ACTION, known.deployment_id, paper
    )
    request = supply_guard_pb2.SubmitCorporateActionRequest(announcement=signed)
    asked = run(lambda: _tell(place, who or place.identity or "operator", request))
    screen.document({"guards": asked.document()})
    rows = [
        (guard, str(answer.version), _moment(answer.opens), _moment(answer.closes))
        for guard, answer in asked.answers.items()
    ]
    screen.table("", ("guard", "version", "stands still from", "at least to"), rows)
    asked.print_failures(screen)
    raise typer.Exit(asked.exit)


def screening_list(
    accounts: Annotated[
        Path, typer.Argument(help='JSON: [{"chain": "bnb", "account": "0x…", "reason": "…"}].')
    ],
    out: Annotated[Path, typer.Option("--out", help="Where the signed list goes.")],
    sequence: Annotated[int, typer.Option(min=1, help="Higher than the one before.")],
    key: KeyOption,
    key_id: Annotated[str, typer.Option("--key-id", help="The registry's name of the screener.")],
    hours: Annotated[int, typer.Option(min=1, max=24 * 30, help="How long it is good.")] = 24,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a screening list into a file, put in place in one step: guards read it at once."""
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    known = place.need_registry()
    now = SystemClock().unix_ms() // 1000
    listed = _accounts(known, accounts)
    paper = papers_pb2.ScreeningList(
        sequence=sequence, as_of=now, expires=now + hours * _HOUR, accounts=listed
    )
    signer = PaperKey.from_file(key_id, place.key_file(key))
    signed = signer.sign(SCREENING_LIST, known.deployment_id, paper)
    fresh = out.with_name(out.name + ".new")
    fresh.write_bytes(signed.SerializeToString(deterministic=True))
    os.replace(fresh, out)
    said = {"sequence": sequence, "accounts": len(listed), "expires": _moment(paper.expires)}
    screen.document(said)
    screen.line(f"list {sequence}: {len(listed)} accounts, good until {said['expires']}")


async def _tell(
    place: Place, who: str, request: supply_guard_pb2.SubmitCorporateActionRequest
) -> Asked:
    asked = Asked()
    targets = dict(place.need_guards())
    async with Bridge(place.gateway, tls=place.tls, identity=who) as bridge:

        async def tell(name: str) -> None:
            channel = await bridge.channel(targets[name], who)
            stub = supply_guard_pb2_grpc.SupplyGuardServiceStub(channel)
            try:
                asked.answers[name] = await stub.SubmitCorporateAction(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                asked.failures[name] = remote_error(error)

        await asyncio.gather(*(tell(name) for name in targets))
    asked.answers = {name: asked.answers[name] for name in targets if name in asked.answers}
    return asked


def _scaled(text: str) -> str:
    """A decimal multiplier scaled by 10^18, in integers only."""
    whole, _, part = text.partition(".")
    digits = whole + part.ljust(_ONE_DIGITS, "0")
    if not whole.isdecimal() or (part and not part.isdecimal()) or len(part) > _ONE_DIGITS:
        raise UsageProblem("--multiplier", text, 'give a decimal with at most 18 places, e.g. "10"')
    return str(int(digits))


def _moment(seconds: int) -> str:
    return rfc3339(seconds * 1000) if seconds else ""


def _accounts(registry: Registry, path: Path) -> list[papers_pb2.ScreenedAccount]:
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [_account(registry, one) for one in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageProblem("ACCOUNTS", str(path), f"{error!r}; see --help for its form") from error


def _account(registry: Registry, one: dict[str, Any]) -> papers_pb2.ScreenedAccount:
    if one["reason"] not in _REASONS:
        raise ValueError(f"reason {one['reason']!r} is none of {', '.join(_REASONS)}")
    chain = registry.chain(one["chain"])
    return papers_pb2.ScreenedAccount(
        account=parse_address(registry, chain.name, one["account"]),
        chain=chain.domain,
        reason=one["reason"],
    )

"""`xstock doctor`: holds the registry and profiles against live nodes, services and engines.

Reads only. Each line is a check with what was expected, what was found and what to do; what
could not be found out is unknown, which is not a pass. Kafka and PostgreSQL are looked at where
their addresses are given; the services' own view of them is in their health.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.text import Text

from xstock_chains.ports import CheckResult
from xstock_chains.profiles import PROFILES, open_admin
from xstock_chains.registry import Registry
from xstock_cli.bridge import Bridge
from xstock_cli.exits import Exit
from xstock_cli.options import GatewayOption, JsonOption, RegistryOption, WorldOption
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_cli.show import duration
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import ServiceError
from xstock_wire.v1 import bridge_pb2

_MARKS: Final = {True: ("ok", "green"), False: ("FAILED", "red"), None: ("unknown", "yellow")}
_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one part of the deployment."""

    part: str
    check: CheckResult


def doctor(
    every: Annotated[bool, typer.Option("--all", help="Show every check that passed.")] = False,
    world: WorldOption = None,
    gateway: GatewayOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check registry, nodes, services, guards and engines; say what differs and what to do.

    Exit codes: 0 all passed, 1 something is wrong, 6 nothing wrong was found but not all is known.
    """
    place = find_place(world=world, gateway=gateway, registry=registry)
    screen = Screen(as_json=as_json)
    found = run(lambda: _examine(place))
    passed = sum(one.check.passed is True for one in found)
    failed = [one for one in found if one.check.passed is False]
    unknown = [one for one in found if one.check.passed is None]
    screen.document(
        {
            "passed": passed,
            "failed": len(failed),
            "unknown": len(unknown),
            "checks": [{"part": one.part, **asdict(one.check)} for one in found],
        }
    )
    _print(screen, found if every else _in_short(found))
    screen.line(f"{passed} passed, {len(failed)} failed, {len(unknown)} unknown")
    raise typer.Exit(Exit.FAILED if failed else Exit.UNKNOWN if unknown else Exit.DONE)


def _in_short(found: list[Finding]) -> list[Finding]:
    """What did not pass, and one line per part that did."""
    passed = Counter(one.part for one in found if one.check.passed)
    short = [
        Finding(part, CheckResult("checks", True, "", f"{count} passed"))
        for part, count in passed.items()
    ]
    return short + [one for one in found if not one.check.passed]


def _print(screen: Screen, found: list[Finding]) -> None:
    rows: list[tuple[str | Text, ...]] = []
    for one in found:
        word, style = _MARKS[one.check.passed]
        check = one.check
        shown = check.found if check.passed else f"{check.found} (expected {check.expected})"
        remedy = "" if check.passed else check.remedy
        rows.append((one.part, check.name, Text(word, style=style), shown, remedy))
    screen.table("", ("part", "check", "", "found", "what to do"), rows)


async def _examine(place: Place) -> list[Finding]:
    registry = place.need_registry()
    found = list(_of_registry(registry))
    async for finding in _of_nodes(place, registry):
        found.append(finding)
    async with Bridge(place.gateway, tls=place.tls, identity=place.identity) as bridge:
        found += await _of_services(place, bridge)
        found += await _of_gateway(place, registry, bridge)
        found += await _of_guards(place, registry, bridge)
    found += await _of_engines(place)
    return found


def _of_registry(registry: Registry) -> Iterator[Finding]:
    guards = f"{registry.threshold} of {len(registry.guards)} guards"
    assets = f"{len(registry.assets)} assets, {len(registry.chains)} chains, {guards}"
    yield Finding("registry", CheckResult("can be used", True, "", assets))
    for entry in registry.chains:
        profile = PROFILES[entry.domain]
        usual = profile.network_id == entry.network_id
        production = registry.environment == "production"
        yield Finding(
            entry.name,
            CheckResult(
                "network is the profile's",
                usual or not production,
                str(profile.network_id),
                str(entry.network_id),
                "a production registry names main networks; correct network_id",
            ),
        )


async def _of_nodes(place: Place, registry: Registry) -> AsyncIterator[Finding]:
    for entry in registry.chains:
        urls = place.nodes.get(entry.name, ())
        if not urls:
            remedy = f"set XSTOCK_NODES with nodes of {entry.name}"
            yield Finding(entry.name, CheckResult("node answers", None, "a node", "none", remedy))
        for number, url in enumerate(urls, start=1):
            part = entry.name if len(urls) == 1 else f"{entry.name} node {number}"
            opened = open_admin(registry, entry.name, url, _SECONDS)
            try:
                test = await opened.port.self_test()
            except ServiceError as error:
                remedy = "check the node's address and that it runs"
                yield Finding(part, CheckResult("self-test", None, "ends", str(error), remedy))
            else:
                for check in test.checks:
                    yield Finding(part, check)
            finally:
                await opened.aclose()


async def _of_services(place: Place, bridge: Bridge) -> list[Finding]:
    targets = {"gateway": place.gateway, "relayer": place.relayer, **place.guards}
    targets |= {f"watcher-{chain}": target for chain, target in place.watchers.items()}
    return [
        Finding(name, await _health(bridge, target)) for name, target in targets.items() if target
    ]


async def _health(bridge: Bridge, target: str) -> CheckResult:
    stub = health_pb2_grpc.HealthStub(await bridge.channel(target))
    remedy = "see its log and its /healthz, which says what it waits for"
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
    except grpc.aio.AioRpcError as error:
        found = f"no answer from {target}: {error.code().name}"
        return CheckResult("healthy", False, "SERVING", found, "start it, or correct its address")
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return CheckResult("healthy", name == "SERVING", "SERVING", name, remedy)


async def _of_gateway(place: Place, registry: Registry, bridge: Bridge) -> list[Finding]:
    if not place.gateway:
        return []
    try:
        info = await bridge.ask("GetServiceInfo", bridge_pb2.GetServiceInfoRequest())
    except ServiceError as error:
        return [Finding("gateway", CheckResult("answers", None, "an answer", str(error)))]
    same = info.deployment_id == registry.deployment_id
    remedy = "give the registry of this gateway's deployment, or another gateway"
    found = [
        Finding(
            "gateway",
            CheckResult("deployment", same, registry.deployment_id, info.deployment_id, remedy),
        )
    ]
    now = SystemClock().unix_ms()
    for chain in info.chains:
        seconds = (now - chain.looked_at.ToMilliseconds()) // 1000
        profile = PROFILES[registry.chain(chain.name).domain]
        limit = max(60, 10 * profile.block_time_ms // 1000)
        check = CheckResult(
            f"{chain.name} was looked at",
            seconds <= limit,
            f"within {duration(limit)}",
            f"{duration(max(0, seconds))} ago",
            f"see the watcher of {chain.name}: is it healthy, do its nodes answer?",
        )
        found.append(Finding("gateway", check))
    return found


async def _of_guards(place: Place, registry: Registry, bridge: Bridge) -> list[Finding]:
    found = []
    signing = 0
    for guard, target in place.guards.items():
        try:
            books = await bridge.ledger(target)
        except ServiceError as error:
            found.append(Finding(guard, CheckResult("books", None, "an answer", str(error))))
            continue
        signing += books.signing
        said = "signing" if books.signing else f"not signing: {books.not_signing_reason}"
        remedy = "it signs by itself once its books are green; else see its halts: xstock halts"
        found.append(Finding(guard, CheckResult("signs", books.signing, "signing", said, remedy)))
        now = SystemClock().unix_ms() // 1000
        limit = registry.policy.attestation_age_seconds_max
        old = [one for one in books.assets if now - one.attestation_as_of > limit]
        text = f"{len(books.assets) - len(old)} of {len(books.assets)} fresh"
        remedy = "custody must attest again: releases of the others wait"
        expected = f"all younger than {duration(limit)}"
        check = CheckResult("attestations", not old, expected, text, remedy)
        found.append(Finding(guard, check))
        halted = [one for one in books.assets if one.halted]
        check = CheckResult("halts", not halted, "none", f"{len(halted)} assets", "xstock halts")
        found.append(Finding(guard, check))
    if place.guards:
        enough = signing >= registry.threshold
        expected = f"at least {registry.threshold}"
        remedy = "releases wait until enough guards sign"
        check = CheckResult("enough sign", enough, expected, str(signing), remedy)
        found.append(Finding("guards", check))
    return found


async def _of_engines(place: Place) -> list[Finding]:
    found = []
    probes: tuple[tuple[str, str, Callable[[str], Awaitable[str]]], ...] = (
        ("kafka", place.kafka, _kafka),
        ("postgresql", place.postgres, _postgres),
    )
    for name, address, probe in probes:
        if not address:
            continue
        try:
            text = await probe(address)
        except Exception as error:  # noqa: BLE001 - drivers raise what they like; all mean "no"
            remedy = f"check XSTOCK_{name.upper()} and that it runs"
            answer = CheckResult("reachable", False, "an answer", type(error).__name__, remedy)
        else:
            answer = CheckResult("reachable", True, "an answer", text)
        found.append(Finding(name, answer))
    return found


async def _kafka(bootstrap: str) -> str:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(admin.close)
        await admin.start()
        topics = await admin.list_topics()
    ours = sum(topic.startswith("xstock.") for topic in topics)
    return f"{ours} topics of the bridge"


async def _postgres(url: str) -> str:
    import asyncpg

    connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=_SECONDS)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(connection.close)
        return f"version {await connection.fetchval('SHOW server_version')}"

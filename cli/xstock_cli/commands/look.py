"""Looking: `chains`, `assets`, `supply`, `status`, `explain`. Nothing here changes anything."""

from collections.abc import Iterable
from typing import Annotated, Any, Final

import typer

from xstock_cli.bridge import Bridge
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.options import GatewayOption, JsonOption, TimeoutOption, WorldOption
from xstock_cli.plain import enum_word, plain
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_cli.show import limit_text, share_text, state_text, when
from xstock_cli.transfers import follow_to_the_end, print_transfer
from xstock_core.amount import SHARE_DECIMALS, rescaled
from xstock_runtime.clock import SystemClock
from xstock_wire.codec import limit_of
from xstock_wire.reasons import API_REASONS, explain
from xstock_wire.v1 import bridge_pb2

_UNKNOWN: Final = frozenset({bridge_pb2.LOOKUP_VERDICT_CHAIN_UNREADABLE})
_ON_ITS_WAY: Final = frozenset(
    {bridge_pb2.LOOKUP_VERDICT_IN_MEMPOOL, bridge_pb2.LOOKUP_VERDICT_SEEN_NOT_FINAL}
)


def connect(place: Place) -> Bridge:
    """The bridge that a place names."""
    return Bridge(place.need_gateway(), tls=place.tls, identity=place.identity)


def chains(
    world: WorldOption = None, gateway: GatewayOption = None, as_json: JsonOption = False
) -> None:
    """List the chains, how final is decided there, and how far the bridge has read."""
    place, screen = find_place(world=world, gateway=gateway), Screen(as_json=as_json)
    run(lambda: _chains(place, screen))


async def _chains(place: Place, screen: Screen) -> None:
    async with connect(place) as bridge:
        listed = await bridge.ask("ListChains", bridge_pb2.ListChainsRequest())
        info = await bridge.ask("GetServiceInfo", bridge_pb2.GetServiceInfoRequest())
    coverage = {one.chain: one for one in info.chains}
    now = SystemClock().unix_ms()
    document = {**plain(info), "chains": []}
    rows = []
    for chain in listed.chains:
        seen = coverage.get(chain.domain)
        document["chains"].append(
            {**plain(chain), "coverage": None if seen is None else plain(seen)}
        )
        rows.append(
            (
                chain.name,
                chain.caip2,
                enum_word(bridge_pb2.FinalityRule.DESCRIPTOR, chain.finality).lower(),
                str(seen.through.number) if seen else "",
                str(seen.head_number) if seen else "",
                when(seen.looked_at, now) if seen else "never",
                chain.halted or "open",
                chain.bridges[-1] if chain.bridges else "",
            )
        )
    screen.document(document)
    columns = ("chain", "CAIP-2", "finality", "read to", "head", "looked", "state", "bridge")
    title = f"{info.deployment_id} ({info.environment}), version {info.version}"
    screen.table(title, columns, rows, right=("read to", "head"))


def assets(
    world: WorldOption = None, gateway: GatewayOption = None, as_json: JsonOption = False
) -> None:
    """List the assets and their tokens on each chain."""
    place, screen = find_place(world=world, gateway=gateway), Screen(as_json=as_json)
    run(lambda: _assets(place, screen))


async def _assets(place: Place, screen: Screen) -> None:
    async with connect(place) as bridge:
        listed = await bridge.ask("ListAssets", bridge_pb2.ListAssetsRequest())
        names = await _chain_names(bridge)
    screen.document(plain(listed))
    rows = [
        (
            asset.symbol if at == 0 else "",
            names.get(one.chain, str(one.chain)),
            one.token,
            str(one.decimals),
            share_text(one.minimum_shares),
        )
        for asset in listed.assets
        for at, one in enumerate(asset.deployments)
    ]
    columns = ("asset", "chain", "token", "decimals", "least burn, shares")
    screen.table("", columns, rows, right=("decimals", "least burn, shares"))


def supply(
    symbols: Annotated[list[str] | None, typer.Argument(help="Symbols; none means all.")] = None,
    world: WorldOption = None,
    gateway: GatewayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show supply by every guard's ledger, against the chains and against custody."""
    place, screen = find_place(world=world, gateway=gateway), Screen(as_json=as_json)
    run(lambda: _supply(place, screen, symbols or []))


async def _supply(place: Place, screen: Screen, symbols: list[str]) -> None:
    async with connect(place) as bridge:
        answer = await bridge.ask("GetSupply", bridge_pb2.GetSupplyRequest(symbols=symbols))
        names = await _chain_names(bridge)
    screen.document(plain(answer))
    now = SystemClock().unix_ms()
    known = sorted({chain.chain for one in answer.supplies for chain in one.chains})
    figures = [names.get(chain, str(chain)) for chain in known]
    figures += ["in flight", "exposure", "cap", "headroom"]
    ordered = sorted(answer.supplies, key=lambda one: (one.symbol, one.guard_id))
    screen.table(
        "supply by each guard's ledger, in shares",
        ("asset", "guard", *figures, "chains agree", "attested"),
        [_supply_row(one, known, now) for one in ordered],
        right=figures,
    )
    for guard in answer.silent_guards:
        screen.note(f"{guard} did not answer: what it thinks is unknown")


def _supply_row(one: bridge_pb2.AssetSupply, known: list[int], now: int) -> list[str]:
    on_chain = {chain.chain: share_text(chain.shares) for chain in one.chains}
    attested = one.attestation_sequence > 0
    return [
        one.symbol,
        one.guard_id,
        *(on_chain.get(chain, "") for chain in known),
        share_text(one.in_flight),
        share_text(one.exposure),
        limit_text(one.cap, one.excluded) if attested else "unknown",
        _headroom(one) if attested else "unknown",
        one.halted or _agreement(one.chains),
        when(one.attestation_as_of, now) if attested else "never",
    ]


def _headroom(one: bridge_pb2.AssetSupply) -> str:
    left = limit_of(one) - one.exposure
    return share_text(left) if left >= 0 else f"-{share_text(-left)}"


def _agreement(on_chains: Iterable[bridge_pb2.SupplyOnChain]) -> str:
    """What the chains say at the blocks of their readings, against the ledger there."""
    words = []
    for chain in on_chains:
        if not chain.reading:
            words.append("not read yet")
        elif not _same_amount(chain):
            words.append(f"chain {chain.chain} differs")
    return ", ".join(dict.fromkeys(words)) or "yes"


def _same_amount(chain: bridge_pb2.SupplyOnChain) -> bool:
    """Token units against units of 10^-8 share, whichever of the two is finer."""
    finer = max(chain.decimals, SHARE_DECIMALS)
    reading, _ = rescaled(int(chain.reading), chain.decimals, finer)
    ledger, _ = rescaled(chain.ledger_at_reading, SHARE_DECIMALS, finer)
    return reading == ledger


async def _chain_names(bridge: Bridge) -> dict[int, str]:
    listed = await bridge.ask("ListChains", bridge_pb2.ListChainsRequest())
    return {chain.domain: chain.name for chain in listed.chains}


def status(
    query: Annotated[
        str, typer.Argument(metavar="ANYTHING", help="A transfer id, transaction or address.")
    ],
    chain: Annotated[str, typer.Option(help="The chain, if you know it.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to the end.")] = False,
    timeout: TimeoutOption = 900.0,
    world: WorldOption = None,
    gateway: GatewayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find transfers by whatever you have, and say what every chain knows of it.

    Exit codes: 0 found, 1 looked and not there, 4 on its way, 6 a chain could not be read.
    With --wait: 0 released, 1 failed for good, 4 still pending at the timeout.
    """
    place, screen = find_place(world=world, gateway=gateway), Screen(as_json=as_json)
    code = run(lambda: _status(place, screen, query, chain, wait, timeout))
    raise typer.Exit(code)


async def _status(
    place: Place, screen: Screen, query: str, chain: str, wait: bool, timeout: float
) -> Exit:
    request = bridge_pb2.LookupTransfersRequest(query=query, chain=chain)
    async with connect(place) as bridge:
        found = await bridge.ask("LookupTransfers", request)
        if wait and len(found.results) == 1:
            say = screen.note if screen.as_json else screen.line
            ended = await follow_to_the_end(bridge, bytes(found.results[0].id), timeout, say)
            screen.document({"query": query, "results": [plain(ended.transfer)], "coverage": []})
            print_transfer(screen, ended.transfer)
            return ended.exit
    if wait and not found.results:
        screen.note("nothing to wait for yet")
    screen.document({"query": query, **plain(found)})
    _print_found(screen, found)
    return _found_exit(found)


def _print_found(screen: Screen, found: bridge_pb2.LookupTransfersResponse) -> None:
    now = SystemClock().unix_ms()
    if len(found.results) == 1:
        print_transfer(screen, found.results[0])
    elif found.results:
        many = [
            (
                one.id.hex()[:16],
                share_text(one.shares),
                one.symbol,
                one.source,
                one.destination,
                state_text(one),
                when(one.updated_at, now),
            )
            for one in found.results
        ]
        headings = ("transfer", "shares", "asset", "from", "to", "state", "since")
        screen.table("", headings, many, right=("shares",))
    else:
        screen.line("no transfer of this bridge; what the chains say:")
    looked = [
        (
            one.chain,
            enum_word(bridge_pb2.LookupVerdict.DESCRIPTOR, one.verdict),
            str(one.through.number) if one.through.number else "",
            when(one.at, now),
            f"{one.blocks_to_final} blocks to final" if one.blocks_to_final else "",
            one.probable_chain and f"try --chain {one.probable_chain}",
        )
        for one in found.coverage
    ]
    columns = ("chain", "verdict", "looked through", "at", "", "")
    screen.table("", columns, looked, right=("looked through",))


def _found_exit(found: bridge_pb2.LookupTransfersResponse) -> Exit:
    if found.results:
        return Exit.DONE
    verdicts = {one.verdict for one in found.coverage}
    if verdicts & _ON_ITS_WAY:
        return Exit.PENDING
    return Exit.UNKNOWN if verdicts & _UNKNOWN or not verdicts else Exit.FAILED


def explain_reason(
    reason: Annotated[str | None, typer.Argument(help="A reason; none lists all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a reason code means, what to do about it, and who can."""
    screen = Screen(as_json=as_json)
    if reason is None:
        _explain_all(screen)
        return
    known = explain(reason.upper())
    if known is None:
        raise UsageProblem("REASON", reason, "`xstock explain` without a reason lists all")
    screen.document({"reason": reason.upper(), "meaning": known[0], "remedy": known[1]})
    screen.line(f"{reason.upper()}: {known[0]}")
    screen.line(f"  {known[1]}")


def _explain_all(screen: Screen) -> None:
    from xstock_core.refusal import Reason

    words = {row.reason for row in API_REASONS} | {reason.value for reason in Reason}
    rows: list[dict[str, Any]] = []
    for word in sorted(words):
        known = explain(word)
        if known is not None:
            rows.append({"reason": word, "meaning": known[0], "remedy": known[1]})
    screen.document(rows)
    screen.table("", ("reason", "meaning"), [(row["reason"], row["meaning"]) for row in rows])

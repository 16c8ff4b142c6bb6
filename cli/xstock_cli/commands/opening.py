"""`xstock open`: take an asset over that is live already, by M guards' signatures.

Shows per chain what would be booked, collects the guards' signatures over that one paper and hands
it to all of them. Nothing is decided here: every guard judges the paper by its own readings. The
same command again goes on where it stopped; a guard that has booked the opening says so again.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import grpc
import typer

from xstock_chains.registry import Registry
from xstock_cli.bridge import Bridge
from xstock_cli.exits import Exit
from xstock_cli.options import (
    AsOption,
    DryRunOption,
    JsonOption,
    RegistryOption,
    TimeoutOption,
    WorldOption,
)
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_cli.show import share_text
from xstock_core.ids import Domain
from xstock_runtime.clock import SystemClock
from xstock_runtime.grpc_errors import remote_error
from xstock_wire.openings import Outcome, Proposal, carry_out, propose
from xstock_wire.v1.supply_guard_pb2_grpc import SupplyGuardServiceStub

_AGAIN_SECONDS = 2.0


def open_asset(
    symbol: Annotated[str, typer.Argument(help="The asset, e.g. TSLAx.")],
    dry_run: DryRunOption = False,
    timeout: TimeoutOption = 300.0,
    who: AsOption = None,
    world: WorldOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an asset over that is live already: its supply enters every guard's books.

    Exit codes: 0 open at every guard (or --dry-run), 4 not yet, 5 it does not fit under its limit.
    """
    place = find_place(world=world, registry=registry)
    screen = Screen(as_json=as_json)
    seconds = 0.0 if dry_run else timeout
    identity = who or place.identity or "operator-1"
    found = run(lambda: _open(place, screen, symbol, identity, seconds))
    raise typer.Exit(found)


async def _open(place: Place, screen: Screen, symbol: str, who: str, seconds: float) -> Exit:
    """Again and again until every guard has booked it; 0 seconds only shows."""
    registry = place.need_registry()
    asset = registry.asset(symbol).id
    clock = SystemClock()
    deadline = clock.monotonic() + seconds
    told = ""
    async with Bridge(place.gateway, tls=place.tls, identity=who) as bridge:
        stubs = {
            name: SupplyGuardServiceStub(await bridge.channel(target, who))
            for name, target in place.need_guards().items()
        }
        while True:
            try:
                found = await propose(stubs, asset)
            except grpc.aio.AioRpcError as error:
                raise remote_error(error) from error
            if not told:
                _show(screen, registry, symbol, found)
            if found.open or not seconds or found.total > found.limit > 0:
                return _end(screen, registry, symbol, found, Outcome(), asked=bool(seconds))
            outcome = Outcome(refusals=_unread(registry, found))
            if not found.unread:
                outcome = await carry_out(stubs, found.paper, registry.threshold)
            told = _tell(screen, outcome, told)
            done = len(outcome.booked) == len(stubs)
            if done or clock.monotonic() > deadline:
                return _end(screen, registry, symbol, found, outcome, asked=True)
            await clock.sleep(_AGAIN_SECONDS)


def _unread(registry: Registry, found: Proposal) -> Mapping[str, str]:
    chains = [registry.chain(Domain(number)).name for number in found.unread]
    return {name: "its supply is not read at a final block yet" for name in chains}


def _show(screen: Screen, registry: Registry, symbol: str, found: Proposal) -> None:
    for one in found.paper.chains:
        name = registry.chain(Domain(one.chain)).name
        screen.line(
            f"{symbol} on {name}: {share_text(one.shares)} shares at block {one.block_number}, "
            f"{one.residue_units} token units left over"
        )
    screen.line(f"together {share_text(found.total)}, they may come to {share_text(found.limit)}")


def _tell(screen: Screen, outcome: Outcome, told: str) -> str:
    """Say who stands in the way, once for each change."""
    now = "; ".join(f"{name}: {text}" for name, text in outcome.refusals.items()) or "-"
    if now not in (told, "-"):
        screen.note(f"waits: {now}")
    return now


def _end(
    screen: Screen,
    registry: Registry,
    symbol: str,
    found: Proposal,
    outcome: Outcome,
    *,
    asked: bool,
) -> Exit:
    opened = found.open or len(outcome.booked) == len(registry.guards)
    fits = found.total <= found.limit or found.open
    screen.document(_document(registry, symbol, found, outcome, opened=opened))
    if opened:
        screen.line(f"{symbol} is open")
    elif not fits:
        screen.line(f"{symbol} does not fit under its limit; custody must attest more first")
    elif not asked:
        screen.line("dry run: nothing was signed")
    if opened or (not asked and fits):
        return Exit.DONE
    return Exit.PENDING if fits else Exit.REFUSED


def _document(
    registry: Registry, symbol: str, found: Proposal, outcome: Outcome, *, opened: bool
) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "open": opened,
        "limit": str(found.limit),
        "chains": [
            {
                "chain": registry.chain(Domain(one.chain)).name,
                "shares": str(one.shares),
                "residue_units": one.residue_units,
                "block": one.block_number,
            }
            for one in found.paper.chains
        ],
        "signed": list(outcome.signed),
        "booked": list(outcome.booked),
        "refusals": dict(outcome.refusals),
    }

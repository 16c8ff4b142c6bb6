"""`xstock issue`: sign an issuance order with the issuer's key, hand it in, follow it.

The order goes through the same guards as every release: above the cap it is refused, with the
numbers, and stays refused until custody attests more or the order expires.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from xstock_chains.profiles import parse_address, show_address
from xstock_chains.registry import Registry
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.hands import Hands
from xstock_cli.options import (
    DryRunOption,
    GatewayOption,
    JsonOption,
    RegistryOption,
    TimeoutOption,
    WaitOption,
    WorldOption,
)
from xstock_cli.plain import plain, rfc3339
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_cli.show import limit_text, share_text
from xstock_cli.transfers import follow_to_the_end, print_transfer
from xstock_core.amount import AmountHasDust, InvalidAmount, parse_share_decimal
from xstock_core.refusal import REASONS, Disposition, Reason
from xstock_runtime.clock import SystemClock
from xstock_wire.papers import PaperKey

REFUSALS: Final = frozenset(
    {Reason.CAP_EXCEEDED.value}
    | {
        reason.value
        for reason, facts in REASONS.items()
        if facts.disposition is not Disposition.HOLD
    }
)
"""Waiting does not help by itself: the issuer or custody must do something."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the person asked for; `units` of 10^-8 share."""

    symbol: str
    chain: str
    recipient: str
    units: int
    key: str
    key_id: str
    number: int
    expires: int
    dry_run: bool
    wait: bool
    timeout_seconds: float


def issue(
    amount: Annotated[str, typer.Argument(help='Shares as a decimal, e.g. "500".')],
    symbol: Annotated[str, typer.Argument(help="The asset, e.g. TSLAx.")],
    chain: Annotated[str, typer.Option("--to", help="The chain to mint on.")],
    recipient: Annotated[str, typer.Option("--recipient", help="Who receives there.")],
    key: Annotated[
        str, typer.Option("--key", help="The issuer's key: a file, or a name in XSTOCK_KEYS.")
    ] = "issuer",
    key_id: Annotated[str, typer.Option("--key-id", help="The registry's name of that key.")] = "",
    number: Annotated[
        int, typer.Option("--number", min=0, help="The order's number; 0 asks the guards.")
    ] = 0,
    expires: Annotated[
        int, typer.Option("--expires", min=60, max=86_400, help="The order's life in seconds.")
    ] = 3600,
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = 1800.0,
    world: WorldOption = None,
    gateway: GatewayOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Order new shares: the issuer's key signs, two guards must agree, custody is the limit.

    Exit codes: 0 minted and final, 4 still on its way, 5 refused (above the cap, bad order).
    """
    place = find_place(world=world, gateway=gateway, registry=registry)
    screen = Screen(as_json=as_json)
    order = Order(
        symbol, chain, recipient, _units(amount), key, key_id, number, expires, dry_run, wait,
        timeout,
    )  # fmt: skip
    raise typer.Exit(run(lambda: _issue(place, screen, order)))


def _units(amount: str) -> int:
    try:
        return int(parse_share_decimal(amount))
    except (InvalidAmount, AmountHasDust) as error:
        raise UsageProblem("AMOUNT", amount, str(error)) from None


async def _issue(place: Place, screen: Screen, wanted: Order) -> Exit:
    registry = place.need_registry()
    asset, entry = registry.asset(wanted.symbol), registry.chain(wanted.chain)
    if asset.on(entry.name) is None:
        where = ", ".join(one.chain for one in asset.deployments)
        raise UsageProblem("--to", wanted.chain, f"{asset.symbol} lives on {where}")
    address = parse_address(registry, entry.name, wanted.recipient)
    name = wanted.key_id or place.issuer_key_id or _only_issuer(registry)
    key = PaperKey.from_file(name, place.key_file(wanted.key))
    say = screen.note if screen.as_json else screen.line
    async with Hands(place, registry) as hands:
        number = wanted.number or await hands.next_order_number(asset.symbol)
        shown: dict[str, Any] = {
            "symbol": asset.symbol,
            "order_number": number,
            "chain": entry.name,
            "recipient": show_address(registry, entry.name, address),
            "shares": str(wanted.units),
            "amount": share_text(wanted.units),
            "expires": rfc3339(SystemClock().unix_ms() + wanted.expires * 1000),
            "key_id": name,
        }
        say(f"order {number}: {shown['amount']} shares of {asset.symbol} to {shown['recipient']}")
        say(f"  on {entry.name}, signed by {name}, good until {shown['expires']}")
        if wanted.dry_run:
            screen.document({"dry_run": True, "order": shown})
            say("dry run: nothing was signed or sent")
            return Exit.DONE
        transfer_id = await hands.order(
            asset.symbol,
            number,
            entry.name,
            wanted.units,
            recipient=address,
            key=key,
            seconds=wanted.expires,
        )
        shown["transfer_id"] = transfer_id.hex()
        if not wanted.wait:
            screen.document({"order": shown, "transfer": None})
            say(f"handed in; look with: xstock status {transfer_id.hex()}")
            return Exit.DONE
        ended = await follow_to_the_end(
            hands.bridge, transfer_id, wanted.timeout_seconds, say, refusals=REFUSALS
        )
        if ended.transfer.waiting_for.reason == Reason.CAP_EXCEEDED.value:
            await _say_the_numbers(hands, asset.symbol, wanted.units, screen)
    screen.document({"order": shown, "transfer": plain(ended.transfer)})
    print_transfer(screen, ended.transfer)
    return ended.exit


def _only_issuer(registry: Registry) -> str:
    if len(registry.issuers) == 1:
        return registry.issuers[0].key_id
    known = ", ".join(issuer.key_id for issuer in registry.issuers) or "none"
    raise UsageProblem("--key-id", "", f"give the registry's name of your key; known: {known}")


async def _say_the_numbers(hands: Hands, symbol: str, units: int, screen: Screen) -> None:
    """Each guard's own figures behind a refusal."""
    asset = hands.registry.asset(symbol).id
    for guard, target in hands.place.need_guards().items():
        books = await hands.bridge.ledger(target, [asset])
        for book in books.assets:
            limit = limit_text(book.cap, book.excluded)
            screen.note(
                f"  {guard}: exposure {share_text(book.exposure)} + asked {share_text(units)} > "
                f"cap {limit} shares (attestation {book.attestation_sequence})"
            )

"""`xstock transfer`: build a burn, show what it does, sign it with a key file, send, follow.

The gateway checks and builds; the holder's own node sends. Until the burn is sent nothing has
happened; after that the transfer goes on whatever happens to this process, and every way out
says how to find it again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from xstock_cli.bridge import Sent
from xstock_cli.exits import Exit, StillPending, UsageProblem
from xstock_cli.hands import CUSTODY, Hands
from xstock_cli.options import (
    DryRunOption,
    GatewayOption,
    JsonOption,
    NoInputOption,
    RegistryOption,
    TimeoutOption,
    WaitOption,
    WorldOption,
    YesOption,
    may_ask,
)
from xstock_cli.plain import enum_word, plain
from xstock_cli.running import Stopped, run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_cli.show import share_text, when
from xstock_cli.transfers import follow_to_the_end, print_transfer
from xstock_runtime.clock import SystemClock
from xstock_wire.v1 import bridge_pb2

SEEN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person asked for."""

    amount: str
    symbol: str
    source: str
    destination: str
    recipient: str
    key: str
    refund_to: str
    request_id: str
    dry_run: bool
    wait: bool
    timeout_seconds: float


def transfer(
    amount: Annotated[str, typer.Argument(help='Shares as a decimal, e.g. "1.25".')],
    symbol: Annotated[str, typer.Argument(help="The asset, e.g. TSLAx.")],
    source: Annotated[str, typer.Option("--from", help="The chain to burn on.")],
    destination: Annotated[str, typer.Option("--to", help="The chain to mint on.")],
    key: Annotated[str, typer.Option("--key", help="Your key: a file, or a name in XSTOCK_KEYS.")],
    recipient: Annotated[
        str, typer.Option("--recipient", help="Who receives; none means the same key there.")
    ] = "",
    refund_to: Annotated[
        str, typer.Option("--refund-to", help="Where a refund would go; none means the sender.")
    ] = "",
    request_id: Annotated[
        str, typer.Option("--request-id", help="A UUID: the same one gives the same bytes again.")
    ] = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = 1800.0,
    yes: YesOption = False,
    no_input: NoInputOption = False,
    world: WorldOption = None,
    gateway: GatewayOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move shares from one chain to another, and follow them to the end.

    Exit codes: 0 released, 1 failed for good, 2 the call is wrong, 3 try later, 4 still on its
    way, 5 refused by a rule, 6 unknown whether it was sent (look with `xstock status`).
    """
    place = find_place(world=world, gateway=gateway, registry=registry)
    ask = may_ask(no_input=no_input)
    if not (yes or dry_run or ask):
        remedy = "nobody can be asked here: add --yes to sign, or --dry-run to look"
        raise UsageProblem("--yes", "", remedy)
    wanted = Wanted(
        amount, symbol, source, destination, recipient, key, refund_to, request_id, dry_run, wait,
        timeout,
    )  # fmt: skip
    moving = _Moving(place, wanted, Screen(as_json=as_json), ask=ask and not yes)
    try:
        code = run(moving.run)
    except Stopped:
        moving.say_how_to_find()
        raise
    raise typer.Exit(code)


class _Moving:
    """One transfer by command line."""

    def __init__(self, place: Place, wanted: Wanted, screen: Screen, *, ask: bool) -> None:
        self._place = place
        self._wanted = wanted
        self._screen = screen
        self._ask = ask
        self._say: Callable[[str], None] = screen.note if screen.as_json else screen.line
        self._tx = ""

    async def run(self) -> Exit:
        """From the request to the end; the exit code."""
        wanted = self._wanted
        registry = self._place.need_registry()
        self._place.need_nodes(registry.chain(wanted.source).name)
        async with Hands(self._place, registry) as hands:
            holder = hands.holder(wanted.source, wanted.key)
            recipient = self._recipient(hands)
            built = await hands.bridge.build(
                holder,
                source=wanted.source,
                destination=wanted.destination,
                symbol=wanted.symbol,
                amount=wanted.amount,
                recipient=recipient,
                refund_to=wanted.refund_to,
                request_id=wanted.request_id,
            )
            self._show(built)
            if wanted.dry_run:
                self._screen.document({"dry_run": True, "built": plain(built)})
                self._say("dry run: nothing was signed or sent")
                return Exit.DONE
            if self._ask and not typer.confirm("sign and send?", err=True):
                self._say("nothing was signed or sent")
                return Exit.REFUSED
            request = hands.wanted(
                holder,
                wanted.source,
                wanted.destination,
                wanted.symbol,
                wanted.amount,
                recipient=recipient,
                refund_to=wanted.refund_to,
            )
            sent = await hands.send_built(holder, built, request)
            self._tx = hands.tx_text(sent)
            self._say(f"burned in {self._tx}")
            return await self._after(hands, sent, built)

    def say_how_to_find(self) -> None:
        """The transfer goes on without us: say where to look."""
        if self._tx:
            self._screen.note(f"the transfer goes on; look with: xstock status {self._tx}")

    def _recipient(self, hands: Hands) -> str:
        wanted = self._wanted
        if wanted.recipient or wanted.destination == CUSTODY:
            return wanted.recipient
        if not self._place.nodes.get(wanted.destination):
            remedy = "give it: without a node of the destination your address there is unknown"
            raise UsageProblem("--recipient", "", remedy)
        return hands.holder(wanted.destination, wanted.key).address_text

    def _show(self, built: bridge_pb2.BuildBurnResponse) -> None:
        now = SystemClock().unix_ms()
        for effect in built.effects:
            self._say(f"  {effect}")
        self._say(f"  exactly {share_text(built.shares)} shares (shown there as {built.displayed})")
        for check in built.checks:
            outcome = enum_word(bridge_pb2.CheckOutcome.DESCRIPTOR, check.outcome)
            self._say(f"  {outcome:<7} {check.name}{check.text and f': {check.text}'}")
        self._say(f"  to be sent before {when(built.expires_at, now)}; request {built.request_id}")

    async def _after(self, hands: Hands, sent: Sent, built: bridge_pb2.BuildBurnResponse) -> Exit:
        found = {"request_id": built.request_id, "tx": self._tx, "shares": str(built.shares)}
        if not self._wanted.wait:
            self._screen.document({**found, "transfer": None})
            self.say_how_to_find()
            return Exit.DONE
        transfer_id = await self._seen(hands, sent)
        ended = await follow_to_the_end(
            hands.bridge, transfer_id, self._wanted.timeout_seconds, self._say
        )
        self._screen.document({**found, "transfer": plain(ended.transfer)})
        print_transfer(self._screen, ended.transfer)
        if ended.exit is Exit.PENDING:
            self._screen.note(f"still on its way after {self._wanted.timeout_seconds:g} s")
            self.say_how_to_find()
        return ended.exit

    async def _seen(self, hands: Hands, sent: Sent) -> bytes:
        """The id of our burn's transfer; the bridge is told of it and sees it by itself."""
        report = bridge_pb2.ReportBurnRequest(
            chain=sent.source, tx=self._tx, request_id=sent.request_id
        )
        answer = await hands.bridge.ask("ReportBurn", report)
        if answer.results:
            return bytes(answer.results[0].id)
        seconds = min(SEEN_SECONDS, self._wanted.timeout_seconds)
        try:
            await hands.until(
                lambda: hands.transfer_of(sent) is not None,
                seconds=seconds,
                waiting_for="the bridge to see the burn",
            )
        except TimeoutError:
            text = f"the burn {self._tx} is in a block, the bridge has not seen it in {seconds:g} s"
            raise StillPending(f"{text}; look with: xstock status {self._tx}") from None
        transfer = hands.transfer_of(sent)
        return b"" if transfer is None else bytes(transfer.id)

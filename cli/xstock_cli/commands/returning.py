"""`xstock cancel` and `xstock redeem`: the way back, and the way out.

A cancellation is asked for with the holder's own signature (or by an operator, whom the guards
believe only after people have approved it there). What follows runs by itself: cancelled on the
destination, final, refunded on the source. A redemption is a burn towards custody that ends when
custody lists it as paid, or flows back when custody rejects it.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import grpc
import typer

from xstock_cli.bridge import Bridge
from xstock_cli.commands.move import transfer as move_shares
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.hands import CUSTODY
from xstock_cli.options import (
    AsOption,
    DryRunOption,
    GatewayOption,
    JsonOption,
    NoInputOption,
    RegistryOption,
    TimeoutOption,
    WaitOption,
    WorldOption,
    YesOption,
)
from xstock_cli.plain import plain
from xstock_cli.requests import signed_request
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import Place, find_place
from xstock_cli.transfers import follow_to_the_end, print_transfer
from xstock_runtime.clock import SystemClock
from xstock_runtime.grpc_errors import remote_error
from xstock_wire.v1 import bridge_pb2, relayer_pb2, relayer_pb2_grpc

CANCELLING: Final = bridge_pb2.TRANSFER_STATE_CANCELLING
REFUNDED: Final = bridge_pb2.TRANSFER_STATE_REFUNDED
_ON_THE_WAY_BACK: Final = frozenset(
    {CANCELLING, bridge_pb2.TRANSFER_STATE_CANCELLED, bridge_pb2.TRANSFER_STATE_REFUNDING}
)
CANCEL_EXAMPLES: Final = """Examples:
  xstock cancel TRANSFER --key holder.key      # the sender's or refund address' key
  xstock cancel TRANSFER --as operator-1       # after people approved a CANCEL at the guards
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person asked for."""

    transfer: str
    key: str
    operator: str
    reason: str
    wait: bool
    timeout_seconds: float


def cancel(
    transfer: Annotated[str, typer.Argument(help="The transfer's id, 64 hexadecimal digits.")],
    key: Annotated[
        str, typer.Option("--key", help="The holder's key: a file, or a name in XSTOCK_KEYS.")
    ] = "",
    who: AsOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for people.")] = "I want it back",
    wait: WaitOption = True,
    timeout: TimeoutOption = 1800.0,
    world: WorldOption = None,
    gateway: GatewayOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a transfer back: cancel it on the destination, then refund it on the source.

    A holder may while it is held or parked. Exit codes: 0 refunded, 1 it was released after all,
    4 still on its way back, 5 refused (it goes on by itself, or nobody approved it).
    """
    if bool(key) == bool(who):
        remedy = "give the holder's --key, or --as OPERATOR after people approved it"
        raise UsageProblem("--key", key, remedy)
    place = find_place(world=world, gateway=gateway, registry=registry)
    wanted = Wanted(transfer, key, who or "", reason, wait, timeout)
    raise typer.Exit(run(lambda: _cancel(place, Screen(as_json=as_json), wanted)))


async def _cancel(place: Place, screen: Screen, wanted: Wanted) -> Exit:
    transfer_id = _transfer_id(wanted.transfer)
    say = screen.note if screen.as_json else screen.line
    async with Bridge(place.need_gateway(), tls=place.tls, identity=place.identity) as bridge:
        request = bridge_pb2.GetTransferRequest(transfer_id=transfer_id)
        before = (await bridge.ask("GetTransfer", request)).transfer
        if wanted.operator:
            phase = await _ask_relayer(bridge, place, transfer_id, wanted)
        else:
            registry, file = place.need_registry(), place.key_file(wanted.key)
            paper = signed_request(
                before, file, registry.deployment_id, wanted.reason, SystemClock().unix_ms()
            )
            asked = bridge_pb2.CancelTransferRequest(transfer_id=transfer_id, request=paper)
            after = (await bridge.ask("CancelTransfer", asked)).transfer
            phase = bridge_pb2.TransferState.Name(after.state).removeprefix("TRANSFER_STATE_")
        say(f"asked for; it is {phase}")
        if not wanted.wait:
            screen.document({"transfer_id": transfer_id.hex(), "phase": phase})
            return Exit.DONE
        back = _Back()
        ended = await follow_to_the_end(
            bridge, transfer_id, wanted.timeout_seconds, say, over=back.over
        )
    screen.document({"transfer": plain(ended.transfer)})
    print_transfer(screen, ended.transfer)
    return back.exit_of(ended.transfer)


@dataclass(slots=True)
class _Back:
    """Whether a transfer has come back, or gone on after all."""

    began: bool = False

    def over(self, transfer: bridge_pb2.Transfer) -> bool:
        """True when nothing of this request is left to wait for."""
        on_the_way = transfer.state in _ON_THE_WAY_BACK
        self.began = self.began or on_the_way
        return transfer.terminal or (self.began and not on_the_way)

    def exit_of(self, transfer: bridge_pb2.Transfer) -> Exit:
        """0 refunded; 1 over otherwise; 4 on its way back; 5 the guards refused."""
        if transfer.state == REFUNDED:
            return Exit.DONE
        if transfer.terminal:
            return Exit.FAILED
        return Exit.PENDING if transfer.state in _ON_THE_WAY_BACK else Exit.REFUSED


def _transfer_id(text: str) -> bytes:
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != 32:
        raise UsageProblem("TRANSFER", text, "give a transfer id: 64 hexadecimal digits")
    return found


async def _ask_relayer(bridge: Bridge, place: Place, transfer_id: bytes, wanted: Wanted) -> str:
    channel = await bridge.channel(place.need_relayer(), wanted.operator)
    stub = relayer_pb2_grpc.TransferServiceStub(channel)
    request = relayer_pb2.TransferServiceCancelTransferRequest(
        transfer_id=transfer_id, reason=wanted.reason
    )
    try:
        return str((await stub.CancelTransfer(request, timeout=20)).phase)
    except grpc.aio.AioRpcError as error:
        raise remote_error(error) from error


def redeem(
    amount: Annotated[str, typer.Argument(help='Shares as a decimal, e.g. "1.25".')],
    symbol: Annotated[str, typer.Argument(help="The asset, e.g. TSLAx.")],
    source: Annotated[str, typer.Option("--from", help="The chain to burn on.")],
    key: Annotated[str, typer.Option("--key", help="Your key: a file, or a name in XSTOCK_KEYS.")],
    account: Annotated[
        str, typer.Option("--account", help="Your custody account reference: 32 bytes in hex.")
    ],
    refund_to: Annotated[
        str, typer.Option("--refund-to", help="Where a rejected one flows back; none: the sender.")
    ] = "",
    request_id: Annotated[
        str, typer.Option("--request-id", help="A UUID: the same one gives the same bytes again.")
    ] = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = 86_400.0,
    yes: YesOption = False,
    no_input: NoInputOption = False,
    world: WorldOption = None,
    gateway: GatewayOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Burn shares towards custody, and follow them until custody has paid.

    Exit codes: 0 paid, 1 rejected and refunded, 2 the call is wrong, 3 try later, 4 custody has
    not said yet, 5 refused by a rule, 6 unknown whether it was sent.
    """
    move_shares(
        amount,
        symbol,
        source=source,
        destination=CUSTODY,
        key=key,
        recipient=account,
        refund_to=refund_to,
        request_id=request_id,
        dry_run=dry_run,
        wait=wait,
        timeout=timeout,
        yes=yes,
        no_input=no_input,
        world=world,
        gateway=gateway,
        registry=registry,
        as_json=as_json,
    )

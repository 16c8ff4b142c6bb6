"""One transfer from here to its end: follow it, show it, and say with which exit code it ended."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from xstock_cli.bridge import Bridge
from xstock_cli.exits import Exit, StillPending
from xstock_cli.follow import Follower
from xstock_cli.plain import enum_word
from xstock_cli.screen import Screen
from xstock_cli.show import describe, share_text, state_text, when
from xstock_core.ids import Domain
from xstock_runtime.clock import Clock, SystemClock
from xstock_runtime.grpc_errors import CallRefused
from xstock_wire.v1 import bridge_pb2

RELEASED: Final = bridge_pb2.TRANSFER_STATE_RELEASED
NEEDS_PEOPLE: Final = frozenset(
    {bridge_pb2.TRANSFER_STATE_PARKED, bridge_pb2.TRANSFER_STATE_ORPHANED}
)
"""States that end the waiting although they are not the end: only people move them."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A transfer as it was when following ended, and what that means to a script."""

    transfer: bridge_pb2.Transfer
    exit: Exit


def exit_of_transfer(transfer: bridge_pb2.Transfer) -> Exit:
    """0 released; 1 ended otherwise; 5 waits for people; 4 still on its way."""
    if transfer.state == RELEASED:
        return Exit.DONE
    if transfer.terminal:
        return Exit.FAILED
    return Exit.REFUSED if transfer.state in NEEDS_PEOPLE else Exit.PENDING


async def follow_to_the_end(
    bridge: Bridge,
    transfer_id: bytes,
    timeout_seconds: float,
    say: Callable[[str], None],
    *,
    refusals: Collection[str] = (),
    over: Callable[[bridge_pb2.Transfer], bool] | None = None,
    clock: Clock | None = None,
) -> Ended:
    """Follow until it is terminal, needs people, waits for one of `refusals`, or time is up.

    `over` says otherwise when the following ends, for who waits for something else.

    Raises StillPending if the bridge has not shown the transfer by then.
    """
    clock = clock or SystemClock()
    began = clock.monotonic()
    known: list[bridge_pb2.Transfer] = []

    def show(transfer: bridge_pb2.Transfer) -> None:
        known.append(transfer)
        say(f"  {clock.monotonic() - began:6.1f} s  {describe(transfer)}")

    def ended() -> bool:
        return bool(known) and (over(known[-1]) if over else _over(known[-1], refusals))

    wanted = bridge_pb2.TransferFilter(transfer_ids=[transfer_id])
    async with Follower(bridge, clock, wanted, changed=show) as follower:
        try:
            await follower.until(
                lambda: follower.connected, seconds=timeout_seconds, waiting_for="the stream"
            )
            # The stream begins with open transfers: one that has ended by now is asked for.
            known[:0] = await _now(bridge, transfer_id)
            left = timeout_seconds - (clock.monotonic() - began)
            await follower.until(ended, seconds=left, waiting_for="the end of the transfer")
        except TimeoutError:
            known += await _now(bridge, transfer_id)
    if not known:
        text = f"the bridge shows no transfer {transfer_id.hex()} after {timeout_seconds:g} s"
        raise StillPending(f"{text}; look with: xstock status {transfer_id.hex()}")
    newest = max(known, key=lambda one: one.revision)
    refused = newest.waiting_for.reason in refusals
    return Ended(newest, Exit.REFUSED if refused else exit_of_transfer(newest))


def _over(transfer: bridge_pb2.Transfer, refusals: Collection[str]) -> bool:
    waits_in_vain = transfer.waiting_for.reason in refusals
    return transfer.terminal or transfer.state in NEEDS_PEOPLE or waits_in_vain


async def _now(bridge: Bridge, transfer_id: bytes) -> list[bridge_pb2.Transfer]:
    """The transfer as the gateway has it; none if it has not heard of it yet."""
    request = bridge_pb2.GetTransferRequest(transfer_id=transfer_id)
    try:
        answer = await bridge.ask("GetTransfer", request)
    except CallRefused as error:
        if error.code == "TRANSFER_NOT_FOUND":
            return []
        raise
    return [answer.transfer]


def print_transfer(screen: Screen, transfer: bridge_pb2.Transfer) -> None:
    """Everything a person wants to know of one transfer."""
    now = SystemClock().unix_ms()
    waiting = transfer.waiting_for
    who = enum_word(bridge_pb2.Who.DESCRIPTOR, waiting.who).lower() if waiting.reason else ""
    screen.facts(
        {
            "transfer": transfer.id.hex(),
            "what": f"{share_text(transfer.shares)} shares of {transfer.symbol}",
            "state": state_text(transfer),
            "route": f"{transfer.source} → {transfer.destination}",
            "recipient": transfer.recipient,
            "refund to": transfer.refund_to,
            "tokens now": enum_word(bridge_pb2.FundsAt.DESCRIPTOR, transfer.funds_at),
            "waits for": waiting.reason and f"{waiting.reason}: {waiting.text}",
            "until": when(waiting.until, now),
            "who can act": who,
            "what to do": waiting.action,
            "to final": f"{transfer.blocks_to_final} blocks" if transfer.blocks_to_final else "",
            "updated": when(transfer.updated_at, now),
        },
    )
    rows = [
        (step.kind, _chain(step.chain), when(step.at, now), _block(step), step.tx, step.note)
        for step in transfer.steps
    ]
    columns = ("step", "chain", "at", "block", "transaction", "")
    screen.table("", columns, rows, right=("block",))


def _chain(domain: int) -> str:
    """The chain's usual name; the number of one that we do not know."""
    known = {int(one): one.name.lower() for one in Domain}
    return known.get(domain, str(domain)) if domain else ""


def _block(step: bridge_pb2.Step) -> str:
    return str(step.block.number) if step.HasField("block") and step.block.number else ""

"""One transfer from here to its end: follow it, show it, and say with which exit code it ended."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from xstock_cli.bridge import Bridge
from xstock_cli.exits import Exit
from xstock_cli.follow import Follower
from xstock_cli.plain import enum_word
from xstock_cli.screen import Screen
from xstock_cli.show import describe, share_text, state_text, when
from xstock_runtime.clock import Clock, SystemClock
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
    clock: Clock | None = None,
) -> Ended:
    """Follow until it is terminal, needs people, waits for one of `refusals`, or time is up."""
    clock = clock or SystemClock()
    began = clock.monotonic()

    def show(transfer: bridge_pb2.Transfer) -> None:
        say(f"  {clock.monotonic() - began:6.1f} s  {describe(transfer)}")

    wanted = bridge_pb2.TransferFilter(transfer_ids=[transfer_id])
    current = await _now(bridge, transfer_id)

    def newest() -> bridge_pb2.Transfer:
        return follower.transfers.get(transfer_id, current)

    def ended() -> bool:
        transfer = newest()
        refused = transfer.waiting_for.reason in refusals
        return transfer.terminal or transfer.state in NEEDS_PEOPLE or refused

    async with Follower(bridge, clock, wanted, changed=show) as follower:
        if not ended():
            try:
                await follower.until(ended, seconds=timeout_seconds, waiting_for="its end")
            except TimeoutError:
                # The stream shows what moves; a transfer that ended before we came is asked for.
                current = await _now(bridge, transfer_id)
                return Ended(current, exit_of_transfer(current))
        transfer = newest()
    if transfer.waiting_for.reason in refusals:
        return Ended(transfer, Exit.REFUSED)
    return Ended(transfer, exit_of_transfer(transfer))


async def _now(bridge: Bridge, transfer_id: bytes) -> bridge_pb2.Transfer:
    request = bridge_pb2.GetTransferRequest(transfer_id=transfer_id)
    answer: bridge_pb2.GetTransferResponse = await bridge.ask("GetTransfer", request)
    return answer.transfer


def print_transfer(screen: Screen, transfer: bridge_pb2.Transfer) -> None:
    """Everything a person wants to know of one transfer."""
    now = SystemClock().unix_ms()
    waiting = transfer.waiting_for
    who = enum_word(bridge_pb2.Who.DESCRIPTOR, waiting.who).lower()
    screen.facts(
        "",
        {
            "transfer": transfer.id.hex(),
            "what": f"{share_text(transfer.shares)} shares of {transfer.symbol}",
            "route": f"{transfer.source} → {transfer.destination}",
            "recipient": transfer.recipient,
            "refund to": transfer.refund_to,
            "tokens now": enum_word(bridge_pb2.FundsAt.DESCRIPTOR, transfer.funds_at),
            "waits for": waiting.reason and f"{waiting.reason}: {waiting.text}",
            "until": when(waiting.until, now),
            "who can act": "" if who == "unspecified" else who,
            "what to do": waiting.action,
            "to final": f"{transfer.blocks_to_final} blocks" if transfer.blocks_to_final else "",
            "updated": when(transfer.updated_at, now),
        },
    )
    if not screen.as_json:
        screen.out.print("state       ", state_text(transfer), sep="")
    rows = [
        (step.kind, str(step.chain or ""), when(step.at, now), _block(step), step.tx, step.note)
        for step in transfer.steps
    ]
    columns = ("step", "chain", "at", "block", "transaction", "")
    screen.table("", columns, rows, right=("block",))


def _block(step: bridge_pb2.Step) -> str:
    return str(step.block.number) if step.HasField("block") and step.block.number else ""

"""Domain values in words and figures for people: amounts, states, times, transfers.

Amounts are decimal strings made from integers; times are absolute with their zone and relative to
now; colour repeats what the word says and never stands alone.
"""

from typing import Final

from rich.text import Text

from xstock_core.amount import displayed_decimal
from xstock_wire.v1 import bridge_pb2

_ONE: Final = 10**18
_GOOD: Final = frozenset({"RELEASED"})
_BAD: Final = frozenset({"PARKED", "REORGED", "ORPHANED", "REFUNDED"})
_WAITS: Final = frozenset({"HELD", "CANCELLING", "CANCELLED", "REFUNDING"})


def share_text(units: int) -> str:
    """Units of 10^-8 share as a decimal string of shares."""
    return displayed_decimal(units, _ONE)


def state_word(transfer: bridge_pb2.Transfer) -> str:
    """RELEASED, HELD …; a number of a newer server that we do not know stays visible."""
    try:
        name = bridge_pb2.TransferState.Name(transfer.state)
    except ValueError:
        return f"STATE_{int(transfer.state)}"
    return name.removeprefix("TRANSFER_STATE_")


def state_name(transfer: bridge_pb2.Transfer) -> str:
    """The state, with the reason it waits for."""
    reason = transfer.waiting_for.reason
    return f"{state_word(transfer)} ({reason})" if reason else state_word(transfer)


def state_text(transfer: bridge_pb2.Transfer) -> Text:
    """The same with a colour."""
    word = state_word(transfer)
    style = "green" if word in _GOOD else "red" if word in _BAD else ""
    style = "yellow" if word in _WAITS else style
    return Text(state_name(transfer), style=style)


def describe(transfer: bridge_pb2.Transfer) -> str:
    """One line about a transfer at this revision."""
    what = f"{share_text(transfer.shares)} {transfer.symbol}"
    route = f"{transfer.source} → {transfer.destination}"
    return f"{transfer.id.hex()[:8]}  {what:<20} {route:<20} {state_name(transfer)}"

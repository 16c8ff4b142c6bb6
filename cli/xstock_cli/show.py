"""Domain values in words and figures for people: amounts, states, times, transfers.

Amounts are decimal strings made from integers; times are absolute with their zone and relative to
now; colour repeats what the word says and never stands alone.
"""

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from rich.text import Text

from xstock_cli.plain import enum_word, rfc3339
from xstock_core.amount import displayed_decimal
from xstock_wire.v1 import bridge_pb2

_ONE: Final = 10**18
_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_GOOD: Final = frozenset({"RELEASED"})
_BAD: Final = frozenset({"PARKED", "REORGED", "ORPHANED", "REFUNDED"})
_WAITS: Final = frozenset({"HELD", "CANCELLING", "CANCELLED", "REFUNDING"})


def share_text(units: int) -> str:
    """Units of 10^-8 share as a decimal string of shares."""
    return displayed_decimal(units, _ONE)


def limit_text(cap: int, excluded: int) -> str:
    """What exposure may come to: the cap, and issuer inventory on top if there is any."""
    return f"{share_text(cap)} + {share_text(excluded)}" if excluded else share_text(cap)


def state_word(transfer: bridge_pb2.Transfer) -> str:
    """RELEASED, HELD …; a number of a newer server that we do not know stays visible."""
    return enum_word(bridge_pb2.TransferState.DESCRIPTOR, transfer.state)


def state_name(transfer: bridge_pb2.Transfer) -> str:
    """The state, with the reason it waits for."""
    detail = transfer.waiting_for.reason
    if not detail and transfer.blocks_to_final:
        detail = f"{transfer.blocks_to_final} blocks to final"
    return f"{state_word(transfer)} ({detail})" if detail else state_word(transfer)


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


def when(moment: Timestamp, now_ms: int) -> str:
    """A moment absolute and relative: 2026-01-31 12:00:00 UTC (5 s ago); empty when unset."""
    milliseconds = moment.ToMilliseconds()
    if milliseconds == 0:
        return ""
    absolute = rfc3339(milliseconds)[:19].replace("T", " ")
    away = (now_ms - milliseconds) // 1000
    words = f"{duration(away)} ago" if away >= 0 else f"in {duration(-away)}"
    return f"{absolute} UTC ({words})"


def duration(seconds: int) -> str:
    """A length of time in the two units that matter: 5 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min {seconds % _MINUTE} s"
    if seconds < _DAY:
        return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE} min"
    return f"{seconds // _DAY} d {seconds % _DAY // _HOUR} h"

"""Two ways to show the demonstration: plain lines, and a live table where there is a terminal.

Both say the same; a pipe and a log get one line per change, a terminal sees each transfer on one
row that changes in place.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from xstock_cli.show import describe, share_text, state_text
from xstock_wire.v1 import bridge_pb2

_ROWS_SHOWN: Final = 16


class PlainStage:
    """A line for everything."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, text: str) -> None:
        """One line about what happens."""
        self._write(text)

    def moved(self, transfer: bridge_pb2.Transfer, seconds: float) -> None:
        """One line per revision."""
        self._write(f"    {seconds:6.1f} s  {describe(transfer)}")


class LiveStage:
    """Lines above, the newest transfers in a table below them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[bytes, tuple[bridge_pb2.Transfer, float]] = {}
        self._live = Live(console=console, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """One line, above the table."""
        self._console.print(text)

    def moved(self, transfer: bridge_pb2.Transfer, seconds: float) -> None:
        """The transfer's row changes."""
        self._rows[bytes(transfer.id)] = (transfer, seconds)
        self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in ("transfer", "amount", "asset", "from", "to", "state", "after"):
            right = name in ("amount", "after")
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for transfer, seconds in list(self._rows.values())[-_ROWS_SHOWN:]:
            table.add_row(
                transfer.id.hex()[:8],
                share_text(transfer.shares),
                transfer.symbol,
                transfer.source,
                transfer.destination,
                state_text(transfer),
                Text(f"{seconds:.1f} s"),
            )
        return table

"""Where a command's output goes: data on stdout, everything else on stderr.

With `--json` stdout carries exactly one document (a stream: one per line) and nothing else.
Without it, tables for people. Texts of others are printed as they are, never as markup.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

LOGS_KEPT: Final = "kept: logs of every process in"
_WIDTH_OFF_TTY: Final = 200
"""Nobody's window limits a pipe: wide enough that no column is folded."""


def console(*, stderr: bool = False) -> Console:
    """A console that neither interprets nor colours what it is given by itself."""
    made = Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True)
    return made if made.is_terminal else _wide(made)


def _wide(made: Console) -> Console:
    made.width = _WIDTH_OFF_TTY
    return made


class Screen:
    """One command's output."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = console()
        self.err = console(stderr=True)

    def note(self, text: str) -> None:
        """Say something about the work itself."""
        self.err.print(text)

    def line(self, text: str) -> None:
        """Say something that is the answer, for people; nothing with --json."""
        if not self.as_json:
            self.out.print(text)

    def document(self, data: Any) -> None:
        """The answer for programs; nothing without --json."""
        if self.as_json:
            print(json.dumps(data, ensure_ascii=False), flush=True)

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[str | Text]],
        *,
        right: Sequence[str] = (),
    ) -> None:
        """A table for people; nothing with --json. `right` names columns of figures."""
        if self.as_json:
            return
        heading = Text(title) if title else None
        table = Table(title=heading, title_justify="left", box=None, pad_edge=False)
        for name in columns:
            table.add_column(Text(name), justify="right" if name in right else "left")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
        self.out.print(table)

    def facts(self, pairs: Mapping[str, str | Text]) -> None:
        """Name and value, one a line, for people; nothing with --json."""
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in pairs.items():
            if value:
                table.add_row(name, value if isinstance(value, Text) else Text(value))
        self.out.print(table)

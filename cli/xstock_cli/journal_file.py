"""The file of an exported journal: one JSON document a line, so that it can grow and be resumed.

The first line says the format, the guard and the deployment; every further line is one link. A
process that was killed leaves at most half a line, which the next one cuts off.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xstock_cli.exits import UsageProblem
from xstock_wire.v1 import audit_pb2

FORMAT: Final = "xstock-journal/2"


@dataclass(slots=True)
class JournalFile:
    """An export on its way; `last` is the sequence of the last whole link in it."""

    path: Path
    last: int = 0
    started: bool = False

    @classmethod
    def resume(cls, path: Path, guard: str) -> "JournalFile":
        """The file as it was left, cut back to its last whole line.

        Raises UsageProblem if it is something else, or another guard's journal.
        """
        if not path.exists() or path.stat().st_size == 0:
            return cls(path)
        _cut_half_line(path)
        last, number = 0, 0
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                document = _document(path, text)
                if number == 1:
                    _check_header(path, document, guard)
                else:
                    last = int(document["sequence"])
        return cls(path, last, number > 0)

    def append(self, page: audit_pb2.ExportJournalResponse) -> None:
        """Add a page's links; raises UsageProblem for a link that does not follow the last."""
        with self.path.open("a", encoding="utf-8") as file:
            if not self.started:
                header = {
                    "format": FORMAT,
                    "guard": page.guard_id,
                    "deployment": page.deployment_id,
                }
                file.write(json.dumps(header) + "\n")
                self.started = True
            for link in page.links:
                if link.sequence != self.last + 1:
                    remedy = f"link {self.last + 1} was to come; export into another file"
                    raise UsageProblem("--out", str(link.sequence), remedy)
                file.write(json.dumps(_plain(link)) + "\n")
                self.last = link.sequence
            file.flush()
            os.fsync(file.fileno())


def _plain(link: audit_pb2.JournalLink) -> dict[str, Any]:
    return {
        "sequence": link.sequence,
        "at_ms": link.at_ms,
        "previous": link.previous.hex(),
        "digest": link.digest.hex(),
        "lines": list(link.lines),
    }


def _cut_half_line(path: Path) -> None:
    with path.open("rb+") as file:
        data_end = file.seek(0, os.SEEK_END)
        at = data_end
        while at > 0:
            start = max(0, at - 65536)
            file.seek(start)
            found = file.read(at - start).rfind(b"\n")
            if found >= 0:
                file.truncate(start + found + 1)
                return
            at = start
        file.truncate(0)


def _document(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UsageProblem("--out", str(path), "it is no exported journal; give another file")
    return document


def _check_header(path: Path, document: dict[str, Any], guard: str) -> None:
    found = (document.get("format"), document.get("guard"))
    if found != (FORMAT, guard):
        remedy = f"it holds {found[0]!r} of {found[1]!r}, not {FORMAT!r} of {guard!r}"
        raise UsageProblem("--out", str(path), f"{remedy}; give another file")

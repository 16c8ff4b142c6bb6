"""`xstock guard rebuild`: the guard's own command, run where the guard runs.

Only the service's environment knows its database, keys and providers, so this starts the service's
command with the environment it was given and ends with its exit code.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer


def rebuild(
    papers: Annotated[
        Path | None,
        typer.Option("--papers", help="A file of `xstock audit export`: its papers come in again."),
    ] = None,
) -> None:
    """Fill this guard's empty database from the chains and the papers of an export.

    Run it with the guard's own environment (XSTOCK_GUARD_…). It ends in the same ledger hash as the
    lost books had (xstock audit hash). Exit codes: 0 rebuilt, 1 refused or failed, 2 settings.
    """
    words = [sys.executable, "-m", "xstock_supply_guard", "rebuild"]
    if papers is not None:
        words += ["--papers", str(papers)]
    raise typer.Exit(subprocess.run(words, check=False).returncode)  # noqa: S603 - our own command

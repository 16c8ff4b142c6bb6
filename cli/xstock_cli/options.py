"""Options that many commands share, each with one name and one meaning."""

import sys
from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout, everything else on stderr.")
]
WorldOption = Annotated[
    Path | None,
    typer.Option("--world", help="A world.json that `xstock up` wrote. [XSTOCK_WORLD]"),
]
GatewayOption = Annotated[
    str | None,
    typer.Option("--gateway", metavar="HOST:PORT", help="The partner API. [XSTOCK_GATEWAY]"),
]
RegistryOption = Annotated[
    Path | None, typer.Option("--registry", help="The registry file. [XSTOCK_REGISTRY]")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check and show everything; sign and send nothing.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before signing.")]
NoInputOption = Annotated[
    bool, typer.Option("--no-input", help="Never ask; by itself where there is no terminal.")
]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Follow to the end, or end once it is sent.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to follow; then exit code 4.")
]
AsOption = Annotated[
    str | None,
    typer.Option("--as", help="Who you are to services on a laptop (else your certificate)."),
]


def may_ask(*, no_input: bool) -> bool:
    """True when a person sits at a terminal and may be asked."""
    return not no_input and sys.stdin.isatty() and sys.stderr.isatty()

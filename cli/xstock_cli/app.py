"""Puts the commands together into one `xstock`.

Registration only: what a command does is in `commands`, what its failure means in `exits`.
"""

from importlib.metadata import version
from typing import Annotated

import typer

from xstock_cli.commands import (
    agent,
    announcing,
    audit,
    chaos,
    deploying,
    doctor,
    guarding,
    issuing,
    keys,
    local,
    look,
    move,
    opening,
    operate,
    pausing,
    people,
    rebuilding,
    returning,
    watch,
)

app = typer.Typer(
    name="xstock",
    help="Move tokenized stocks between chains, follow them, and look after the bridge.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"xstock {version('xstock-bridge')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Move tokenized stocks between chains, follow them, and look after the bridge.

    `xstock ANYTHING` with a transaction, transfer id or address shows its status.
    """


app.command()(local.demo)
app.command()(local.up)
app.command()(look.chains)
app.command()(look.assets)
app.command()(look.supply)
app.command()(look.status)
app.command("explain")(look.explain_reason)
app.command()(move.transfer)
app.command(epilog=returning.CANCEL_EXAMPLES)(returning.cancel)
app.command()(returning.redeem)
app.command()(watch.watch)
app.command()(issuing.issue)
app.command("open")(opening.open_asset)
app.command()(operate.halt)
app.command()(operate.resume)
app.command()(operate.halts)
app.command()(people.pause)
app.command()(people.paused)
app.command()(people.propose)
app.command()(people.approve)
app.command()(people.proposals)
app.command()(people.parked)
app.command()(people.retry)
app.command()(people.alarms)
app.command()(announcing.announce)
app.command("screening-list")(announcing.screening_list)
app.command()(doctor.doctor)
app.command(epilog=deploying.EXAMPLES)(deploying.deploy)
app.command("pause-all", epilog=pausing.PAUSE_EXAMPLES)(pausing.pause_all)
app.command("pauses")(pausing.pauses)
app.command("confirm-pause", epilog=pausing.CONFIRM_EXAMPLES)(pausing.confirm_pause)
app.command("unpause", epilog=pausing.UNPAUSE_EXAMPLES)(pausing.unpause)
app.command("key")(keys.show_key)
guarding.app.command("rebuild")(rebuilding.rebuild)
app.add_typer(guarding.app, name="guard")
app.add_typer(chaos.app, name="chaos")
app.add_typer(audit.app, name="audit")
app.add_typer(agent.app, name="agent")

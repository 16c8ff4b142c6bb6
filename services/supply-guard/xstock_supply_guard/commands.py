"""One-off commands of the service: `xstock-supply-guard rebuild [--papers EXPORT]`.

The settings are the guard's own environment. One JSON document on stdout says what came out.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from xstock_runtime import logging
from xstock_runtime.errors import ServiceError
from xstock_runtime.settings import load
from xstock_supply_guard.bootstrap import rebuild
from xstock_supply_guard.settings import GuardSettings

OK, FAILED = 0, 1


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; its exit code: 0 done, 1 refused or failed, 2 a wrong command line."""
    parser = argparse.ArgumentParser(prog="xstock-supply-guard")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "rebuild", help="fill an empty database from the chains and the papers of an export"
    )
    command.add_argument("--papers", type=Path, help="a file of `xstock audit export`")
    options = parser.parse_args(arguments)
    settings = load(GuardSettings)
    logging.configure("supply-guard", level=settings.log_level, json=settings.log_json)
    try:
        done = uvloop.run(rebuild(settings, options.papers))
    except ServiceError as error:
        sys.stderr.write(f"rebuild: {error.code}: {error.message}\n")
        return FAILED
    sys.stdout.write(json.dumps(done) + "\n")
    return OK

"""The `xstock` command: arguments in, an exit code out, and never a traceback for what can happen.

What is expected to fail ends with one text (or one JSON document) that says what to do; only a
mistake of our own shows where it happened.
"""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import typer.main

from xstock_cli.app import app
from xstock_cli.exits import Exit, StillPending, UsageProblem, exit_of
from xstock_cli.running import Stopped
from xstock_core.ids import InvalidId
from xstock_runtime.errors import ServiceError
from xstock_runtime.grpc_errors import CallRefused
from xstock_wire.reasons import explain

_PASTED: Final = re.compile(r"(0x)?[0-9a-fA-F]{40,128}|[1-9A-HJ-NP-Za-km-z]{32,88}|[\w-]{48}")
"""A hash, a transfer id or an address of any family: what people paste."""

_EXPECTED: Final = (ServiceError, UsageProblem, InvalidId, StillPending, TimeoutError)


def main() -> None:
    """Run this process's arguments and exit."""
    sys.exit(run_arguments(sys.argv[1:]))


def run_arguments(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    command = typer.main.get_command(app)
    words = with_status(arguments)
    as_json = "--json" in words
    try:
        command(args=words, prog_name="xstock")
        return Exit.DONE
    except SystemExit as end:
        return _ended(end.code, as_json=as_json)
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        return stopped.exit_code
    except _EXPECTED as error:
        return _refuse(error, as_json=as_json)
    except Exception as error:
        if type(error).__name__ != "ProcessFailed":
            raise
        return _refuse(error, as_json=as_json)


def with_status(arguments: Sequence[str]) -> list[str]:
    """The arguments, with `status` before a pasted hash, id or address."""
    words = list(arguments)
    if words and _PASTED.fullmatch(words[0]):
        return ["status", *words]
    return words


def _ended(code: object, *, as_json: bool) -> int:
    """The command's own exit code; a usage error's text is on stderr already."""
    if code == Exit.USAGE and as_json:
        text = "the command line cannot be accepted; stderr says why"
        _print_error({"code": "USAGE", "message": text, "exit": int(Exit.USAGE)})
    return code if isinstance(code, int) else Exit.DONE


def _refuse(error: BaseException, *, as_json: bool) -> int:
    code = exit_of(error)
    name = error.code if isinstance(error, ServiceError) else _NAMES.get(code, "FAILED")
    text = error.message if isinstance(error, ServiceError) else str(error)
    known = explain(name)
    document: dict[str, Any] = {"code": name, "message": text, "exit": int(code)}
    if isinstance(error, ServiceError):
        document["metadata"] = error.metadata
    if known is not None:
        document["remedy"] = known[1]
    if isinstance(error, CallRefused) and error.violations:
        document["violations"] = [{"field": f, "text": t} for f, t in error.violations]
    if as_json:
        _print_error(document)
    else:
        sys.stderr.write(f"xstock: {name}: {text}\n")
        if known is not None:
            sys.stderr.write(f"  {known[1]}\n")
    return code


_NAMES: Final = {Exit.USAGE: "USAGE", Exit.PENDING: "PENDING"}


def _print_error(document: dict[str, Any]) -> None:
    print(json.dumps({"error": document}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()

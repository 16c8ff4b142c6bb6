"""The command `xstock-supply-guard`: a guard, or `rebuild` of a lost one's books."""

import sys

from xstock_runtime.service import run_service
from xstock_supply_guard.bootstrap import bootstrap
from xstock_supply_guard.commands import run_command
from xstock_supply_guard.settings import GuardSettings


def main() -> None:
    """Run one guard until a signal, or the one-off command that is named."""
    if len(sys.argv) > 1:
        sys.exit(run_command(sys.argv[1:]))
    run_service("supply-guard", GuardSettings, bootstrap)


if __name__ == "__main__":
    main()

"""The command `xstock-supply-guard`."""

from xstock_runtime.service import run_service
from xstock_supply_guard.bootstrap import bootstrap
from xstock_supply_guard.settings import GuardSettings


def main() -> None:
    """Run one guard until a signal."""
    run_service("supply-guard", GuardSettings, bootstrap)


if __name__ == "__main__":
    main()

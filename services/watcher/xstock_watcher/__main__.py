"""Run a watcher; or clear its halt: `xstock-watcher approve ID --by NAME`."""

import sys

from xstock_runtime.service import run_service
from xstock_watcher.bootstrap import approval, bootstrap
from xstock_watcher.entrypoints.approve import approve
from xstock_watcher.settings import WatcherSettings


def main() -> None:
    """Start the watcher, or take one approval."""
    if sys.argv[1:2] == ["approve"]:
        sys.exit(approve(sys.argv[2:], approval))
    run_service("watcher", WatcherSettings, bootstrap)


if __name__ == "__main__":
    main()

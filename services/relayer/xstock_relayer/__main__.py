"""The command `xstock-relayer`."""

from xstock_relayer.bootstrap import bootstrap
from xstock_relayer.settings import RelayerSettings
from xstock_runtime.service import run_service


def main() -> None:
    """Run the relayer until a signal."""
    run_service("relayer", RelayerSettings, bootstrap)


if __name__ == "__main__":
    main()

"""Run the gateway: settings, bootstrap, run."""

from xstock_gateway.bootstrap import bootstrap
from xstock_gateway.settings import GatewaySettings
from xstock_runtime.service import run_service


def main() -> None:
    """Start the gateway."""
    run_service("gateway", GatewaySettings, bootstrap)


if __name__ == "__main__":
    main()

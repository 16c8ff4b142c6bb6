"""Fetch what the engines need beyond pip and npm packages: `python -m xstock_devnet.engines`."""

from xstock_devnet.engines.kafka import fetch_jars, locked_jars, wrong_jars
from xstock_devnet.settings import kafka_jar_folder


def main() -> None:
    """Make the folder of broker jars complete and checked; say nothing if it is already."""
    folder = kafka_jar_folder()
    if wrong_jars(folder, locked_jars()):
        fetch_jars(folder)


if __name__ == "__main__":
    main()

"""Run the proxy: `python -m xstock_devnet.proxy --port 8600 --upstream ethereum=http://…`."""

import argparse
import asyncio
import signal
from collections import defaultdict
from collections.abc import Mapping

from xstock_devnet.proxy.families import FAMILIES, USUAL
from xstock_devnet.proxy.server import RpcProxy


def upstreams_from(pairs: list[str]) -> dict[str, list[str]]:
    """Read `chain=url` pairs; a chain named again gets one more upstream.

    Raises ValueError naming the pair that is not `chain=url`.
    """
    upstreams: defaultdict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        chain, equals, url = pair.partition("=")
        if not chain or not equals or not url.startswith(("http://", "https://")):
            raise ValueError(f"--upstream {pair!r}: expected chain=http://host:port")
        upstreams[chain].append(url)
    return dict(upstreams)


def families_from(pairs: list[str], upstreams: Mapping[str, list[str]]) -> dict[str, str]:
    """Read `chain=family` pairs; raises ValueError for an unknown family or a chain without URL."""
    families: dict[str, str] = {}
    for pair in pairs:
        chain, _, family = pair.partition("=")
        if chain not in upstreams or family not in FAMILIES:
            known = f"a chain with an --upstream, and one of {', '.join(FAMILIES)}"
            raise ValueError(f"--family {pair!r}: expected chain=family, {known}")
        families[chain] = family
    return families


async def serve(port: int, proxy: RpcProxy) -> None:
    """Serve until SIGTERM or SIGINT."""
    print(f"proxy: listening on 127.0.0.1:{await proxy.start(port)}", flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    await proxy.stop()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m xstock_devnet.proxy", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", action="append", default=[], metavar="CHAIN=URL")
    parser.add_argument(
        "--family",
        action="append",
        default=[],
        metavar="CHAIN=FAMILY",
        help=f"one of {', '.join(FAMILIES)} ({USUAL} where none is given)",
    )
    arguments = parser.parse_args()
    try:
        upstreams = upstreams_from(arguments.upstream)
        families = families_from(arguments.family, upstreams)
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(serve(arguments.port, RpcProxy(upstreams, families)))


if __name__ == "__main__":
    main()

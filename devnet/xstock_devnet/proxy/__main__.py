"""Run the proxy: `python -m xstock_devnet.proxy --port 8600 --upstream ethereum=http://…`."""

import argparse
import asyncio
import signal
from collections import defaultdict

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


async def serve(port: int, upstreams: dict[str, list[str]]) -> None:
    """Serve until SIGTERM or SIGINT."""
    proxy = RpcProxy(upstreams)
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
    arguments = parser.parse_args()
    try:
        upstreams = upstreams_from(arguments.upstream)
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(serve(arguments.port, upstreams))


if __name__ == "__main__":
    main()

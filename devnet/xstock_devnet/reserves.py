"""The issuer's proof-of-reserves feed of a local world: what custody holds, signed, over HTTP.

Answers `GET /public/proof-of-reserves/{symbol}` in the shape of the issuer's public API from the
world's `custody.json`, signed over the raw body with a key of its own (docs/collateral.md). Run as
`python -m xstock_devnet.reserves --folder FOLDER --port PORT --key-id ID --key-file FILE`.
"""

import argparse
import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from xstock_core.amount import SHARE_DECIMALS
from xstock_devnet.custodian import CUSTODY_FILE
from xstock_runtime.clock import SystemClock
from xstock_runtime.hashing import keccak256
from xstock_wire.papers import PaperKey

PATH: Final = "/public/proof-of-reserves/"
DIGEST_TAG: Final = b"xstock/reserves/1"
Holdings = Callable[[], Mapping[str, int]]
"""Units of 10^-8 real share by symbol, as they are now."""


def decimal_text(units: int) -> str:
    """Units of 10^-8 as a decimal string."""
    whole, part = divmod(units, 10**SHARE_DECIMALS)
    return f"{whole}.{part:0{SHARE_DECIMALS}d}"


class Feed:
    """A feed on loopback; `now` is its clock in Unix seconds. Close it when done."""

    def __init__(
        self, holdings: Holdings, key: PaperKey, now: Callable[[], int], port: int = 0
    ) -> None:
        self.holdings = holdings
        self.key = key
        self.now = now
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve from a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def wait(self) -> None:
        """Return when it was closed."""
        self._thread.join()

    def document(self, symbol: str) -> dict[str, Any] | None:
        """What the feed says of a symbol; None for one that it does not know."""
        units = self.holdings().get(symbol)
        if units is None:
            return None
        held = decimal_text(units)
        return {
            "symbol": symbol,
            "sharesHeld": held,
            "circulatingSupply": held,
            "holdings": [{"provider": "local", "quantity": held, "symbol": symbol}],
            "timestamp": self.now(),
        }


def _handler(feed: Feed) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            symbol = self.path.removeprefix(PATH)
            document = feed.document(symbol) if self.path.startswith(PATH) else None
            if document is None:
                self.send_error(404)
                return
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Reserves-Key", feed.key.key_id)
            signature = feed.key.sign_digest(keccak256(DIGEST_TAG + body))
            self.send_header("X-Reserves-Signature", signature.hex())
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing on stderr."""

    return Handler


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m xstock_devnet.reserves", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the world's folder")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--key-id", required=True, help="the registry's name of the feed's key")
    parser.add_argument("--key-file", type=Path, required=True, help="its secret")
    given = parser.parse_args()

    def holdings() -> Mapping[str, int]:
        custody = json.loads((given.folder / CUSTODY_FILE).read_text(encoding="utf-8"))
        return {symbol: held["held_units"] for symbol, held in custody.items()}

    key = PaperKey.from_file(given.key_id, given.key_file)
    clock = SystemClock()
    feed = Feed(holdings, key, lambda: clock.unix_ms() // 1000, given.port)
    feed.start()
    print(f"reserves feed on http://127.0.0.1:{feed.port}", flush=True)
    feed.wait()


if __name__ == "__main__":
    main()

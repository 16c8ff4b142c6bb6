"""The issuer's proof-of-reserves feed over HTTP: one document per symbol, with its signature.

Asks and hands on; what is believed is `handlers/reserves`. Follows no redirect, reads no proxy
settings from the environment and takes no body beyond a limit.
"""

from urllib.parse import quote

import httpx

from xstock_runtime.errors import InvalidMessage, Transient
from xstock_supply_guard.handlers.reserves import BODY_BYTES_MAX
from xstock_supply_guard.model import FeedAnswer

KEY_HEADER = "X-Reserves-Key"
SIGNATURE_HEADER = "X-Reserves-Signature"


class ReservesFeed:
    """`GET {url}/public/proof-of-reserves/{symbol}`; use as an async context manager."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.AsyncClient(timeout=timeout_seconds, trust_env=False)

    async def __aenter__(self) -> "ReservesFeed":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self, symbol: str) -> FeedAnswer:
        """The feed's document of a symbol. Raises Transient FEED_UNREACHABLE, InvalidMessage."""
        address = f"{self._url}/public/proof-of-reserves/{quote(symbol, safe='')}"
        body = bytearray()
        try:
            async with self._client.stream("GET", address) as answer:
                if answer.status_code != httpx.codes.OK:
                    text = f"the reserves feed answered {answer.status_code} for {symbol}"
                    raise Transient("FEED_UNREACHABLE", text, {"symbol": symbol})
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > BODY_BYTES_MAX:
                        text = f"the reserves feed's body for {symbol} is too long"
                        raise InvalidMessage("RESERVES_INVALID", text, {"field": "body"})
                headers = answer.headers
        except httpx.HTTPError as error:
            text = f"the reserves feed does not answer for {symbol}: {type(error).__name__}"
            raise Transient("FEED_UNREACHABLE", text, {"symbol": symbol}) from error
        try:
            signature = bytes.fromhex(headers.get(SIGNATURE_HEADER, ""))
        except ValueError as error:
            text = f"{SIGNATURE_HEADER}: give hexadecimal digits"
            raise InvalidMessage("RESERVES_INVALID", text, {"field": "signature"}) from error
        return FeedAnswer(bytes(body), headers.get(KEY_HEADER, ""), signature)

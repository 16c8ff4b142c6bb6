"""One java-tron server: its /wallet and its /walletsolidity, over HTTP, bounded and mapped.

java-tron says nearly everything with HTTP 200, its refusals too, and leaves zero values out of
its JSON; an unknown path is an HTML page with status 405. Here an answer is either a JSON
object or list, or one of our errors; what it means is read by the modules that asked. Nothing
is retried here. The address is a base to which paths are appended; where the solidity interface
is elsewhere, the address ends with `#solidity=http://host:port`. Errors show only the host.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from pydantic_core import from_json

from xstock_runtime.errors import InvalidMessage, Transient

_FRAGMENT: Final = "solidity="
WALLET: Final = "wallet"
SOLID: Final = "walletsolidity"
Ask = tuple[str, str, Mapping[str, Any]]
"""(interface, method, body) of one request."""


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Bounds of one request, and how many go out at once."""

    timeout_seconds: float = 10.0
    response_bytes_max: int = 128 * 1024 * 1024
    requests_at_once: int = 8


class TronRpc:
    """Questions to one server. Close it with `aclose`."""

    def __init__(self, url: str, limits: RpcLimits | None = None) -> None:
        self.limits = limits or RpcLimits()
        base, _, fragment = url.partition("#")
        solid = fragment.removeprefix(_FRAGMENT) if fragment.startswith(_FRAGMENT) else ""
        if fragment and not solid:
            raise ValueError("url: after # only solidity=http://host:port is understood")
        self._bases = {WALLET: base.rstrip("/"), SOLID: (solid or base).rstrip("/")}
        self.host = _host_of(base)
        _host_of(self._bases[SOLID])
        self._gate = asyncio.Semaphore(self.limits.requests_at_once)
        self._client = httpx.AsyncClient(
            timeout=self.limits.timeout_seconds,
            headers={"Content-Type": "application/json"},
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def wallet(self, method: str, **body: Any) -> Any:
        """Ask the full node, whose state includes what is only pending."""
        return await self.ask(WALLET, method, body)

    async def solid(self, method: str, **body: Any) -> Any:
        """Ask the solidity interface: the only one that shows final state."""
        return await self.ask(SOLID, method, body)

    async def all(self, asks: Sequence[Ask]) -> list[Any]:
        """The answers in order, asked side by side; raises the first error."""
        return list(await asyncio.gather(*(self.ask(*one) for one in asks)))

    async def ask(self, interface: str, method: str, body: Mapping[str, Any]) -> Any:
        """One JSON answer; raises Transient for a refusal or silence, InvalidMessage for no
        JSON. An answer that says `Error` is a refusal.

        The parser bounds nesting: the standard library's, told of a hundred thousand open
        brackets where a package has raised the recursion limit, ends the process."""
        async with self._gate:
            raw = await self._post(f"{self._bases[interface]}/{interface}/{method}", body)
        try:
            answer = from_json(raw)
        except ValueError as error:
            raise self.malformed(f"no JSON to {method}") from error
        if not isinstance(answer, dict | list):
            raise self.malformed(f"neither object nor list to {method}")
        if isinstance(answer, dict) and "Error" in answer:
            raise self.refused(method, str(answer["Error"]))
        return answer

    async def _post(self, url: str, body: Mapping[str, Any]) -> bytes:
        try:
            async with self._client.stream("POST", url, content=json.dumps(body)) as response:
                self._check_status(response)
                return await self._read(response)
        except httpx.TimeoutException as error:
            seconds = self.limits.timeout_seconds
            raise self._transient("RPC_TIMEOUT", f"no answer in {seconds} s") from error
        except (httpx.HTTPError, OSError) as error:
            raise self._transient("RPC_UNREACHABLE", type(error).__name__) from error

    def _check_status(self, response: httpx.Response) -> None:
        if response.status_code == 200:
            return
        if response.status_code == 429:
            asked = response.headers.get("Retry-After", "")
            wait = float(asked) if asked.isdigit() else None
            text = f"{self.host} asks to slow down"
            facts = {"host": self.host}
            raise Transient("RPC_RATE_LIMITED", text, facts, retry_after_seconds=wait)
        raise self._transient("RPC_HTTP_ERROR", f"HTTP {response.status_code}")

    async def _read(self, response: httpx.Response) -> bytes:
        limit, parts, size = self.limits.response_bytes_max, [], 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > limit:
                raise self._transient("RPC_ANSWER_TOO_LARGE", f"more than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    def refused(self, method: str, said: str) -> Transient:
        """The server's refusal of a question as an error."""
        text = f"{self.host} refused {method}: {said[:200]}"
        return Transient("RPC_REFUSED", text, {"host": self.host, "method": method})

    def malformed(self, what: str) -> InvalidMessage:
        """An answer that no java-tron gives."""
        text = f"{self.host} sent {what}; check that it is a java-tron HTTP interface"
        return InvalidMessage("RPC_MALFORMED", text, {"host": self.host, "detail": what})

    def behind(self, what: str) -> Transient:
        """A server that does not have what it must have by its own word, or lags."""
        return Transient("NODE_BEHIND", f"{self.host} {what}", {"host": self.host})

    def _transient(self, code: str, what: str) -> Transient:
        return Transient(code, f"{self.host}: {what}", {"host": self.host, "detail": what})


def number_of(value: Any, field: str) -> int:
    """A JSON number that proto3 leaves out when it is zero; raises InvalidMessage."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise _invalid(field, value, "a number from 0 to 2^63 - 1")
    return value


def hex_bytes(value: Any, field: str, size: int | None = None) -> bytes:
    """Bytes as java-tron writes them, without 0x; raises InvalidMessage."""
    try:
        raw = bytes.fromhex(value)
    except (ValueError, TypeError) as error:
        raise _invalid(field, value, "pairs of hexadecimal digits") from error
    if size is not None and len(raw) != size:
        raise _invalid(field, value, f"{size} bytes")
    return raw


def object_of(value: Any, field: str) -> Mapping[str, Any]:
    """A JSON object, absent meaning empty; raises InvalidMessage."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(field, value, "an object")
    return value


def list_of(value: Any, field: str) -> list[Any]:
    """A JSON list, absent meaning empty; raises InvalidMessage."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise _invalid(field, value, "a list")
    return value


def _invalid(field: str, value: Any, wanted: str) -> InvalidMessage:
    shown = repr(value)[:120]
    text = f"{field}: {shown} is not {wanted}; ask another node"
    return InvalidMessage("RPC_MALFORMED", text, {"field": field, "value": shown})


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("url: a node's address starts with http:// or https:// and names a host")
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname

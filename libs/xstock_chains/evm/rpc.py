"""One node's JSON-RPC: batched, bounded in time and size, every failure mapped to our classes.

The transport is web3's `AsyncHTTPProvider` with a kept-alive session and a limit on the answer;
`Rpc.web3` is a full `AsyncWeb3` over it for the cold paths. Batches are encoded and decoded here
because a page must cost one round trip, not one per event. Nothing is retried here: that is the
caller's schedule. A node's address may carry a key, so errors show only its host.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector
from pydantic_core import from_json
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.types import RPCEndpoint

from xstock_runtime.errors import InvalidMessage, Transient

Call = tuple[str, list[Any]]
_CHUNK_BYTES: Final = 1 << 18
_TOO_MANY: Final = frozenset({429, -32005, -32007, -32097})
"""HTTP 429 and what providers use for "limit exceeded" as a JSON-RPC code (EIP-1474: -32005)."""


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Bounds of one request; a batch larger than `batch_calls_max` is split, and split further
    for a node that refuses it whole (public nodes allow 10 to 1,000 calls)."""

    timeout_seconds: float = 10.0
    response_bytes_max: int = 64 * 1024 * 1024
    batch_calls_max: int = 200


@dataclass(frozen=True, slots=True)
class RpcFault:
    """A node's own refusal of one call, as it said it."""

    code: int
    message: str
    data: str = ""


class _BatchRefused(Transient):
    """A request that the node refuses as a whole; a smaller one may pass."""


def _batch_refused(error: Transient) -> _BatchRefused:
    return _BatchRefused(error.code, error.message, error.metadata)


class BoundedProvider(AsyncHTTPProvider):
    """web3's HTTP provider on one kept-alive session, with a bound on every answer."""

    def __init__(self, url: str, limits: RpcLimits) -> None:
        super().__init__(url, exception_retry_configuration=None)
        self._url = url
        self._limits = limits
        self._session: ClientSession | None = None
        self.host = _host_of(url)

    async def post(self, body: bytes) -> bytes:
        """Send one HTTP request; raises Transient on anything that is no complete answer."""
        session = self._open()
        try:
            async with session.post(self._url, data=body) as response:
                self._check_status(response)
                return await self._read(response)
        except TimeoutError as error:
            seconds = self._limits.timeout_seconds
            raise self._transient("RPC_TIMEOUT", f"no answer in {seconds} s") from error
        except (ClientError, OSError) as error:
            raise self._transient("RPC_UNREACHABLE", type(error).__name__) from error

    async def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:  # noqa: ARG002
        return await self.post(request_data)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> ClientSession:
        if self._session is None or self._session.closed:
            self._session = ClientSession(
                connector=TCPConnector(limit=16, keepalive_timeout=60),
                timeout=ClientTimeout(total=self._limits.timeout_seconds),
                headers={"Content-Type": "application/json"},
                auto_decompress=True,
            )
        return self._session

    def _check_status(self, response: ClientResponse) -> None:
        if response.status == 200:
            return
        if response.status == 429:
            asked = response.headers.get("Retry-After", "")
            wait = float(asked) if asked.isdigit() else None
            raise Transient(
                "RPC_RATE_LIMITED",
                f"{self.host} asks to slow down",
                {"host": self.host},
                retry_after_seconds=wait,
            )
        error = self._transient("RPC_HTTP_ERROR", f"HTTP {response.status}")
        raise _batch_refused(error) if response.status in (400, 413) else error

    async def _read(self, response: ClientResponse) -> bytes:
        limit = self._limits.response_bytes_max
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_chunked(_CHUNK_BYTES):
            size += len(part)
            if size > limit:
                raise self._transient("RPC_ANSWER_TOO_LARGE", f"more than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    def _transient(self, code: str, what: str) -> Transient:
        return Transient(code, f"{self.host}: {what}", {"host": self.host, "detail": what})


class Rpc:
    """Calls to one node. Close it with `aclose`."""

    def __init__(self, url: str, limits: RpcLimits | None = None) -> None:
        self.limits = limits or RpcLimits()
        self._calls_at_once = self.limits.batch_calls_max
        self.provider = BoundedProvider(url, self.limits)
        self.host = self.provider.host

    @cached_property
    def web3(self) -> AsyncWeb3[AsyncHTTPProvider]:
        """The whole of web3 over the same bounded transport, for cold paths."""
        return AsyncWeb3(self.provider)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.provider.close()

    async def call(self, method: str, *params: Any) -> Any:
        """One call; raises Transient if the node refuses it."""
        (answer,) = await self.batch([(method, list(params))])
        return answer

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Answers in order; raises Transient if the node refuses any of them."""
        answers = await self.batch_settled(calls)
        for (method, _), answer in zip(calls, answers, strict=True):
            if isinstance(answer, RpcFault):
                raise self.refused(method, answer)
        return answers

    async def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        """Answers in order, a refusal of a single call being an `RpcFault` in its place."""
        answers: list[Any] = []
        while len(answers) < len(calls):
            part = calls[len(answers) : len(answers) + self._calls_at_once]
            try:
                answers.extend(await self._one_batch(part))
            except _BatchRefused:
                if len(part) == 1:
                    raise
                self._calls_at_once = len(part) // 2
        return answers

    def refused(self, method: str, fault: RpcFault) -> Transient:
        """The node's refusal of a call as an error."""
        code = "RPC_RATE_LIMITED" if fault.code in _TOO_MANY else "RPC_REFUSED"
        facts = {"host": self.host, "method": method, "rpc_code": fault.code}
        text = f"{self.host} refused {method}: {fault.message} ({fault.code})"
        return Transient(code, text, facts)

    async def _one_batch(self, calls: Sequence[Call]) -> list[Any]:
        requests = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(calls)
        ]
        body = json.dumps(requests if len(requests) > 1 else requests[0]).encode()
        raw = await self.provider.post(body)
        return self._ordered(self._parse(raw), len(calls))

    def _parse(self, raw: bytes) -> list[Any]:
        try:
            # SECURITY: libraries of this family raise the recursion limit so far that the standard
            # parser dies of a deeply nested answer; this one bounds nesting.
            answer = from_json(raw)
        except ValueError as error:
            raise self._malformed("not JSON") from error
        if isinstance(answer, dict) and "id" in answer and answer.get("id") is None:
            raise _batch_refused(self.refused("batch", self._fault(answer.get("error"))))
        return answer if isinstance(answer, list) else [answer]

    def _ordered(self, answers: list[Any], expected: int) -> list[Any]:
        results: list[Any] = [_MISSING] * expected
        for answer in answers:
            number = answer.get("id") if isinstance(answer, dict) else None
            if not isinstance(number, int) or not 0 <= number < expected:
                raise self._malformed("an answer to no question of ours")
            if results[number] is not _MISSING:
                raise self._malformed("two answers to one question")
            if "error" in answer and answer["error"] is not None:
                results[number] = self._fault(answer["error"])
            elif "result" in answer:
                results[number] = answer["result"]
            else:
                raise self._malformed("an answer without result or error")
        if any(result is _MISSING for result in results):
            raise self._malformed("fewer answers than questions")
        return results

    def _fault(self, error: Any) -> RpcFault:
        if not isinstance(error, dict) or not isinstance(error.get("code"), int):
            raise self._malformed("an error without a code")
        data = error.get("data")
        text = str(error.get("message", ""))[:500]
        return RpcFault(error["code"], text, data if isinstance(data, str) else "")

    def _malformed(self, what: str) -> InvalidMessage:
        return InvalidMessage(
            "RPC_MALFORMED",
            f"{self.host} sent {what}; check that it is a JSON-RPC node",
            {"host": self.host, "detail": what},
        )


_MISSING: Final = object()


def quantity(value: Any, field: str, maximum: int = 2**256 - 1) -> int:
    """A JSON-RPC quantity as an integer; raises InvalidMessage for anything else."""
    if not isinstance(value, str) or not value.startswith("0x") or len(value) > 66:
        raise _invalid(field, value, "0x and hexadecimal digits")
    try:
        number = int(value, 16)
    except ValueError as error:
        raise _invalid(field, value, "0x and hexadecimal digits") from error
    if not 0 <= number <= maximum:
        raise _invalid(field, value, f"0 to {maximum}")
    return number


def data_of(value: Any, field: str, size: int | None = None) -> bytes:
    """JSON-RPC bytes; raises InvalidMessage unless they are `size` long (if given)."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise _invalid(field, value, "0x and pairs of hexadecimal digits")
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError as error:
        raise _invalid(field, value, "0x and pairs of hexadecimal digits") from error
    if size is not None and len(raw) != size:
        raise _invalid(field, value, f"{size} bytes")
    return raw


def _invalid(field: str, value: Any, wanted: str) -> InvalidMessage:
    shown = repr(value)[:120]
    text = f"{field}: {shown} is not {wanted}; ask another node"
    return InvalidMessage("RPC_MALFORMED", text, {"field": field, "value": shown})


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("url: a node's address starts with http:// or https:// and names a host")
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname

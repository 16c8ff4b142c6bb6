"""One Solana node's JSON-RPC over httpx: batched, kept alive, bounded in time and size.

Every failure is one of our classes. The answers are parsed here, not by an SDK: solana-py lets
unknown error codes pass as numbers, and solders' JSON parser panics with a BaseException on some
malformed answers. JSON is read by pydantic's parser, which bounds its own depth: the standard one
trusts the interpreter's recursion limit, and an Ethereum library raises that so far that a deeply
nested answer would crash the process. Nothing is retried here. A node's address may carry a key,
so errors show only its host.
"""

import base64
import json
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from base58 import b58decode
from pydantic_core import from_json

from xstock_chains.solana.errors import RATE_LIMITED, RpcFault, refused
from xstock_core.ids import U64_MAX
from xstock_runtime.errors import InvalidMessage, Transient

Call = tuple[str, list[Any]]


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Bounds of one request."""

    timeout_seconds: float = 10.0
    response_bytes_max: int = 256 * 1024 * 1024
    batch_calls_max: int = 100


class Rpc:
    """Calls to one node. Close it with `aclose`."""

    def __init__(
        self,
        url: str,
        limits: RpcLimits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: a node's address starts with http:// or https:// and a host")
        self.host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
        self.limits = limits or RpcLimits()
        self._url = url
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._calls_at_once = self.limits.batch_calls_max

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def call(self, method: str, *params: Any) -> Any:
        """One call; raises what `refused` says if the node refuses it."""
        (answer,) = await self.batch([(method, list(params))])
        return answer

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Answers in order; raises what `refused` says for the first that is refused."""
        answers = await self.batch_settled(calls)
        for (method, _), answer in zip(calls, answers, strict=True):
            if isinstance(answer, RpcFault):
                raise refused(self.host, method, answer)
        return answers

    async def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        """Answers in order, a refusal of a single call being an `RpcFault` in its place."""
        answers: list[Any] = []
        while len(answers) < len(calls):
            part = calls[len(answers) : len(answers) + self._calls_at_once]
            answers.extend(await self._one_batch(part))
        return answers

    async def _one_batch(self, calls: Sequence[Call]) -> list[Any]:
        requests = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(calls)
        ]
        body = json.dumps(requests if len(requests) > 1 else requests[0]).encode()
        return self.ordered(self.parse(await self._post(body)), len(calls))

    async def _post(self, body: bytes) -> bytes:
        client = self._open()
        try:
            async with client.stream("POST", self._url, content=body) as response:
                self._check_status(response)
                return await self._read(response)
        except httpx.TimeoutException as error:
            seconds = self.limits.timeout_seconds
            raise self._transient("RPC_TIMEOUT", f"no answer in {seconds} s") from error
        except (httpx.HTTPError, OSError) as error:
            raise self._transient("RPC_UNREACHABLE", type(error).__name__) from error

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=self.limits.timeout_seconds,
                headers={"Content-Type": "application/json"},
                limits=httpx.Limits(max_connections=16, keepalive_expiry=60),
                transport=self._transport,
                trust_env=False,
            )
        return self._client

    def _check_status(self, response: httpx.Response) -> None:
        if response.status_code == 200:
            return
        if response.status_code == RATE_LIMITED:
            asked = response.headers.get("Retry-After", "")
            raise Transient(
                "RPC_RATE_LIMITED",
                f"{self.host} asks to slow down",
                {"host": self.host},
                retry_after_seconds=float(asked) if asked.isdigit() else None,
            )
        raise self._transient("RPC_HTTP_ERROR", f"HTTP {response.status_code}")

    async def _read(self, response: httpx.Response) -> bytes:
        limit = self.limits.response_bytes_max
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > limit:
                raise self._transient("RPC_ANSWER_TOO_LARGE", f"more than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    def parse(self, raw: bytes) -> list[Any]:
        """The answers in a body; raises InvalidMessage for what is no JSON-RPC."""
        try:
            answer = from_json(raw)
        except ValueError as error:
            raise self._malformed("not JSON") from error
        if isinstance(answer, dict) and "id" in answer and answer.get("id") is None:
            raise refused(self.host, "batch", self._fault(answer.get("error")))
        return answer if isinstance(answer, list) else [answer]

    def ordered(self, answers: list[Any], expected: int) -> list[Any]:
        """Results by the number of their question; raises InvalidMessage."""
        results: list[Any] = [_MISSING] * expected
        for answer in answers:
            number = answer.get("id") if isinstance(answer, dict) else None
            if not isinstance(number, int) or not 0 <= number < expected:
                raise self._malformed("an answer to no question of ours")
            if results[number] is not _MISSING:
                raise self._malformed("two answers to one question")
            if answer.get("error") is not None:
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
        return RpcFault(error["code"], str(error.get("message", ""))[:500], error.get("data"))

    def _malformed(self, what: str) -> InvalidMessage:
        return InvalidMessage(
            "RPC_MALFORMED",
            f"{self.host} sent {what}; check that it is a Solana JSON-RPC node",
            {"host": self.host, "detail": what},
        )

    def _transient(self, code: str, what: str) -> Transient:
        return Transient(code, f"{self.host}: {what}", {"host": self.host, "detail": what})


_MISSING: Final = object()


def invalid(field: str, value: Any, wanted: str) -> InvalidMessage:
    """An answer of another form than documented."""
    shown = repr(value)[:120]
    text = f"{field}: {shown} is not {wanted}; ask another node"
    return InvalidMessage("RPC_MALFORMED", text, {"field": field, "value": shown})


def number_of(value: Any, field: str) -> int:
    """A u64 of an answer; raises InvalidMessage for anything else (bool and float included)."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= U64_MAX:
        raise invalid(field, value, "a whole number from 0 to 2^64 - 1")
    return value


def key_of(value: Any, field: str, size: int = 32) -> bytes:
    """Base-58 bytes of this size; raises InvalidMessage."""
    if not isinstance(value, str) or len(value) > 2 * size:
        raise invalid(field, value, f"{size} bytes in base 58")
    try:
        raw = b58decode(value)
    except ValueError as error:
        raise invalid(field, value, f"{size} bytes in base 58") from error
    if len(raw) != size:
        raise invalid(field, value, f"{size} bytes in base 58")
    return raw


def base64_of(value: Any, field: str) -> bytes:
    """The bytes of a `[text, "base64"]` pair; raises InvalidMessage."""
    if not isinstance(value, list) or len(value) != 2 or value[1] != "base64":
        raise invalid(field, value, 'a pair of text and "base64"')
    try:
        return base64.b64decode(value[0], validate=True)
    except (Base64Error, TypeError, ValueError) as error:
        raise invalid(field, value, "base 64") from error


def list_of(value: Any, field: str) -> list[Any]:
    """A JSON list; None, which nodes write for some empty ones, is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(field, value, "a list")
    return value


def dict_of(value: Any, field: str) -> dict[str, Any]:
    """A JSON object; raises InvalidMessage."""
    if not isinstance(value, dict):
        raise invalid(field, value, "an object")
    return value


def with_context(value: Any, field: str) -> tuple[int, Any]:
    """(slot, value) of an answer with a context."""
    answer = dict_of(value, field)
    context = dict_of(answer.get("context"), f"{field}.context")
    if "value" not in answer:
        raise invalid(field, value, "an answer with a value")
    return number_of(context.get("slot"), f"{field}.context.slot"), answer["value"]


_STATUSES: Final = "getSignatureStatuses"


def status_call(signature: str, *, history: bool = True) -> Call:
    """Where one transaction stands, by its base-58 signature.

    Without `history` the node looks at its cache of recent statuses only.
    Source: https://solana.com/docs/rpc/http/getsignaturestatuses
    """
    options = [{"searchTransactionHistory": True}] if history else []
    return (_STATUSES, [[signature], *options])


def statuses_of(answer: Any) -> tuple[int, list[Any]]:
    """(the slot that was looked at, the statuses); raises InvalidMessage for another form."""
    slot, values = with_context(answer, _STATUSES)
    return slot, list_of(values, _STATUSES)


def only_status(answer: Any) -> tuple[int, dict[str, Any] | None]:
    """(the slot that was looked at, the one status, None where the node knows none).

    Raises InvalidMessage for any other number of them than one.
    """
    slot, values = statuses_of(answer)
    if len(values) != 1:
        raise invalid(_STATUSES, len(values), "one status")
    return slot, None if values[0] is None else dict_of(values[0], "status")


@dataclass(frozen=True, slots=True)
class Account:
    """An account as a node shows it."""

    owner: bytes
    lamports: int
    data: bytes


def account_of(value: Any, field: str = "account") -> Account | None:
    """An account of getAccountInfo in base 64; None where there is none."""
    if value is None:
        return None
    fields = dict_of(value, field)
    return Account(
        owner=key_of(fields.get("owner"), f"{field}.owner"),
        lamports=number_of(fields.get("lamports"), f"{field}.lamports"),
        data=base64_of(fields.get("data"), f"{field}.data"),
    )

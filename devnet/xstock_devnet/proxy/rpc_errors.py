"""Errors said over JSON-RPC, and those that any HTTP server before a node may give."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from xstock_devnet.proxy.family import ErrorFact
from xstock_devnet.proxy.wire import Answer, Call, Json, Reply

_HTML: Final = "text/html"


def rpc_error(
    means: str,
    methods: tuple[str, ...],
    code: int,
    message: str,
    *,
    data: Json = None,
    value: int = 0,
) -> ErrorFact:
    """An error object; `{value}` and `{first}` (the call's first param) may stand in its texts.

    `value` is what stands there unless the fault says otherwise.
    """

    def say(call: Call, given: int | None) -> Answer:
        number = value if given is None else given
        first = call.params[0] if isinstance(call.params, list) and call.params else ""
        error = {"code": code, "message": message.format(value=number, first=first)}
        if data is not None:
            error["data"] = _filled(data, number)
        return Answer(error, refused=True)

    return ErrorFact(means, methods, say)


def _filled(data: Json, value: int) -> Json:
    if isinstance(data, dict):
        return {name: _filled(part, value) for name, part in data.items()}
    if isinstance(data, list):
        return [_filled(part, value) for part in data]
    return value if data == "{value}" else data


def page(means: str, status: int, text: str) -> ErrorFact:
    """A page for people, as balancers before nodes send it; the family's API does not matter."""
    body = f"<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>".encode()

    def say(call: Call, given: int | None) -> Answer:  # noqa: ARG001
        return Answer(None, refused=True, status=status, reply=Reply(status, body, _HTML))

    return ErrorFact(means, (), say)


BALANCER: Final[Mapping[str, ErrorFact]] = MappingProxyType(
    {
        "bad_gateway": page("a balancer whose node is away", 502, "502 Bad Gateway"),
        "unavailable": page("a balancer with no node left", 503, "503 Service Unavailable"),
        "gateway_timeout": page("a balancer that waited too long", 504, "504 Gateway Time-out"),
        "not_json": page("a page with status 200", 200, "Welcome"),
    }
)
"""What any family's provider may say on any call."""

ANYWHERE: Final[Mapping[str, ErrorFact]] = MappingProxyType(
    {
        **BALANCER,
        "internal": rpc_error("something broke inside", (), -32603, "Internal error"),
        "method_not_found": rpc_error("the method is not served", (), -32601, "Method not found"),
    }
)
"""What any JSON-RPC provider may say on any call."""


def rpc_rate_limited(message: str) -> Reply:
    """HTTP 429 with a JSON-RPC error object."""
    body = f'{{"jsonrpc":"2.0","error":{{"code":429,"message":"{message}"}},"id":null}}'
    return Reply(429, body.encode())

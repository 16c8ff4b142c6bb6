"""Requests, calls and answers: what every chain family's API has in common on the wire.

A *request* is one HTTP exchange of a reader; it carries one *call*, or many where JSON-RPC calls
come in a batch. A call has a name that faults filter by: the JSON-RPC method, or the last two parts
of a REST path (`walletsolidity/getnowblock`, `v3/transactions`). Nothing here knows any chain.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

Json = Any

JSON_TYPE: Final = "application/json"
_OK: Final = 200
_REST_PARTS: Final = 2


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it goes on to a node; path and query are what stands after its URL."""

    verb: str
    path: str
    query: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE


@dataclass(frozen=True, slots=True)
class Call:
    """One question: JSON-RPC with params and a number, or REST with a verb and named params.

    REST params are the query of a GET (a name given again holds a list) or the body of a POST,
    whose query, if any, stays as it is.
    """

    method: str
    params: Json
    path: str = ""
    verb: str = "POST"
    query: str = ""
    is_rpc: bool = True
    number: Json = 1

    def asking(self, params: Json, method: str | None = None) -> "Call":
        """The same call with other params, of JSON-RPC maybe another method."""
        return replace(self, params=params, method=method or self.method)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call is told: a JSON-RPC result, or a whole REST document.

    `refused` is an error, which no view changes (its document is a JSON-RPC error object). `reply`
    holds the bytes that a node sent, while nobody has changed them.
    """

    document: Json
    refused: bool = False
    status: int = 200
    reply: Reply | None = None

    def saying(self, document: Json) -> "Answer":
        """The answer with another document; itself if it is the same."""
        return self if document is self.document else Answer(document, status=self.status)


Ask = Callable[[Call], Awaitable[Answer]]
"""Puts one call to the node behind the provider."""


# ------------------------------------------------------------------ JSON-RPC


def rpc(method: str, *params: Json, path: str = "") -> Call:
    """A JSON-RPC call of our own."""
    return Call(method, list(params), path=path)


def rpc_calls(request: Request) -> list[Call]:
    """The calls of a single or batch request; raises ValueError for what is no JSON-RPC."""
    body = json.loads(request.body)
    many = body if isinstance(body, list) else [body]
    if not all(isinstance(one, dict) for one in many):
        raise ValueError("a JSON-RPC call is an object")
    return [
        Call(
            str(one.get("method", "")), one.get("params") or [], request.path, number=one.get("id")
        )
        for one in many
    ]


def _rpc_reply(calls: Sequence[Call], answers: Sequence[Answer], *, batch: bool) -> Reply:
    first = answers[0] if answers else None
    if not batch and first is not None and first.reply is not None:
        return first.reply
    many = [
        {
            "jsonrpc": "2.0",
            "id": call.number,
            "error" if answer.refused else "result": answer.document,
        }
        for call, answer in zip(calls, answers, strict=True)
    ]
    status = 200 if batch or first is None else first.status
    return Reply(status, json.dumps(many if batch else many[0]).encode())


def _rpc_answer(reply: Reply) -> Answer:
    try:
        document = json.loads(reply.body)
    except ValueError:
        return Answer(None, refused=True, status=reply.status, reply=reply)
    if not isinstance(document, dict) or "result" not in document:
        error = document.get("error") if isinstance(document, dict) else document
        return Answer(error, refused=True, status=reply.status, reply=reply)
    return Answer(document["result"], status=reply.status, reply=reply)


# ------------------------------------------------------------------ REST


def rest_name(path: str) -> str:
    """The name of what a REST path asks: its last two parts."""
    return "/".join(path.strip("/").split("/")[-_REST_PARTS:])


def rest(verb: str, path: str, params: Json) -> Call:
    """A REST call of our own."""
    return Call(rest_name(path), params, path, verb, is_rpc=False)


def rest_calls(request: Request) -> list[Call]:
    """The one call of a REST request; raises ValueError for a body that is no JSON object."""
    if request.verb == "GET":
        named = parse_qs(request.query, keep_blank_values=True)
        params: Json = {name: many if len(many) > 1 else many[0] for name, many in named.items()}
        query = ""
    else:
        params, query = json.loads(request.body or b"{}"), request.query
    if not isinstance(params, dict):
        raise ValueError("a REST call's body is an object")
    name = rest_name(request.path)
    return [Call(name, params, request.path, request.verb, query, is_rpc=False)]


def _rest_answer(reply: Reply) -> Answer:
    try:
        return Answer(json.loads(reply.body), reply.status != _OK, reply.status, reply)
    except ValueError:
        return Answer(None, refused=True, status=reply.status, reply=reply)


# ------------------------------------------------------------------ both


def request_of(call: Call) -> Request:
    """The request that puts one call to a node."""
    headers = {"Content-Type": JSON_TYPE}
    if call.is_rpc:
        body = {"jsonrpc": "2.0", "id": call.number, "method": call.method, "params": call.params}
        return Request("POST", call.path, "", json.dumps(body).encode(), headers)
    if call.verb == "GET":
        return Request("GET", call.path, urlencode(call.params, doseq=True), b"", {})
    return Request(call.verb, call.path, call.query, json.dumps(call.params).encode(), headers)


def answer_of(call: Call, reply: Reply) -> Answer:
    """What a node's reply says to the call."""
    return _rpc_answer(reply) if call.is_rpc else _rest_answer(reply)


def reply_of(request: Request, calls: Sequence[Call], answers: Sequence[Answer]) -> Reply:
    """The reply to a request whose calls have these answers."""
    if calls and not calls[0].is_rpc:
        (answer,) = answers
        if answer.reply is not None:
            return answer.reply
        return Reply(answer.status, json.dumps(answer.document).encode())
    return _rpc_reply(calls, answers, batch=request.body.lstrip().startswith(b"["))

"""One node's JSON-RPC against a server that answers whatever the test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from xstock_chains.evm.errors import broadcast_refused, reverted
from xstock_chains.evm.heads import parse_header
from xstock_chains.evm.logs import merge_logs
from xstock_chains.evm.rpc import Rpc, RpcFault, RpcLimits, data_of, quantity
from xstock_runtime.errors import InvalidMessage, ServiceError, Transient

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Answer], Awaitable[Rpc]]
SECRET = "key-that-must-not-show"


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server with one answer; gives a connection to it."""
    runners: list[web.AppRunner] = []
    opened: list[Rpc] = []

    async def start(answer: Answer) -> Rpc:
        application = web.Application()
        application.router.add_post("/{tail:.*}", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        port = runner.addresses[0][1]
        limits = RpcLimits(timeout_seconds=0.5, response_bytes_max=10_000, batch_calls_max=3)
        opened.append(Rpc(f"http://127.0.0.1:{port}/{SECRET}", limits))
        return opened[-1]

    yield start
    for rpc in opened:
        await rpc.aclose()
    for runner in runners:
        await runner.cleanup()


def text(body: str, status: int = 200, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=body, status=status, headers=headers)

    return answer


async def refusal(rpc: Rpc, calls: int = 1) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await rpc.batch([("eth_chainId", [])] * calls)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.metadata)
    return caught.value


async def test_rpc__too_many_requests__says_how_long_to_wait(serve: Serve) -> None:
    error = await refusal(await serve(text("slow down", 429, **{"Retry-After": "7"})))
    assert isinstance(error, Transient)
    assert (error.code, error.retry_after_seconds) == ("RPC_RATE_LIMITED", 7.0)


async def test_rpc__limit_as_a_json_error__is_the_same_code(serve: Serve) -> None:
    body = '{"jsonrpc":"2.0","id":0,"error":{"code":-32005,"message":"limit exceeded"}}'
    assert (await refusal(await serve(text(body)))).code == "RPC_RATE_LIMITED"


@pytest.mark.parametrize("status", [401, 403, 404, 500, 502, 503])
async def test_rpc__http_errors__are_transient(serve: Serve, status: int) -> None:
    error = await refusal(await serve(text("no", status)))
    assert isinstance(error, Transient)
    assert error.code == "RPC_HTTP_ERROR"


async def test_rpc__no_answer_in_time__is_a_timeout(serve: Serve) -> None:
    async def never(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    assert (await refusal(await serve(never))).code == "RPC_TIMEOUT"


async def test_rpc__nobody_listens__is_unreachable() -> None:
    rpc = Rpc(f"http://127.0.0.1:1/{SECRET}")
    assert (await refusal(rpc)).code == "RPC_UNREACHABLE"
    await rpc.aclose()


@pytest.mark.parametrize("body", [b"[" * 900_000, b'{"a":' * 150_000])
async def test_rpc__a_deeply_nested_answer__is_refused_and_the_process_lives(body: bytes) -> None:
    """F37: the standard parser kills the process here, for this family's libraries raise the
    recursion limit."""
    rpc = Rpc("http://127.0.0.1:9")
    with pytest.raises(InvalidMessage, match="RPC_MALFORMED"):
        rpc._parse(body)
    await rpc.aclose()


async def test_rpc__an_endless_answer__is_cut(serve: Serve) -> None:
    """F76: memory is bounded whatever a node sends."""
    error = await refusal(await serve(text("[" + " " * 20_000)))
    assert error.code == "RPC_ANSWER_TOO_LARGE"


MALFORMED = [
    "",
    "<html>",
    "null",
    "[]",
    "[1]",
    '{"id":0}',
    '{"id":7,"result":"0x1"}',
    '{"id":"0","result":"0x1"}',
    '{"id":0,"error":"bad"}',
    '[{"id":0,"result":"0x1"},{"id":0,"result":"0x1"}]',
    "[" * 5000,
]


@pytest.mark.parametrize("body", MALFORMED)
async def test_rpc__garbage__is_an_error_with_a_code_and_no_crash(serve: Serve, body: str) -> None:
    """F37: whatever is not an answer to our question is refused with a code."""
    error = await refusal(await serve(text(body)))
    assert isinstance(error, InvalidMessage)
    assert error.code == "RPC_MALFORMED"


async def test_rpc__answers_out_of_order_in_several_batches__come_back_in_order(
    serve: Serve,
) -> None:
    async def shuffled(request: web.Request) -> web.Response:
        asked = json.loads(await request.text())
        asked = asked if isinstance(asked, list) else [asked]
        answers = [{"id": one["id"], "result": one["params"][0]} for one in reversed(asked)]
        return web.json_response(answers)

    rpc = await serve(shuffled)
    assert await rpc.batch([("echo", [n]) for n in range(8)]) == list(range(8))


@pytest.mark.parametrize("refuses", ["HTTP 413", "an error without id"])
async def test_rpc__a_node_allows_one_call_a_batch__is_asked_one_by_one(
    serve: Serve, refuses: str
) -> None:
    asked: list[int] = []

    async def small(request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        calls = body if isinstance(body, list) else [body]
        asked.append(len(calls))
        if len(calls) == 1:
            return web.json_response({"id": calls[0]["id"], "result": calls[0]["params"][0]})
        if refuses == "HTTP 413":
            return web.Response(status=413)
        error = {"code": -32600, "message": "batch too large"}
        return web.json_response({"jsonrpc": "2.0", "id": None, "error": error})

    rpc = await serve(small)
    assert await rpc.batch([("echo", [n]) for n in range(4)]) == [0, 1, 2, 3]
    assert asked == [3, 1, 1, 1, 1]


NOT_QUANTITIES: list[Any] = [-1, 0, 1.0, 1e18, True, None, "", "0x", "-0x1", "0x-1", "1", "NaN"]


@pytest.mark.parametrize("value", [*NOT_QUANTITIES, "0x" + "f" * 65, "0xg", [], {}])
def test_rpc__numeric_abuse__is_no_quantity(value: Any) -> None:
    """F57: floats, signs, booleans, text and oversized numbers never become an integer."""
    with pytest.raises(InvalidMessage, match="field"):
        quantity(value, "field")


def test_rpc__a_quantity_above_its_bound__is_refused() -> None:
    """F57: 2^64 where 64 bits are allowed."""
    assert quantity("0xffffffffffffffff", "field", 2**64 - 1) == 2**64 - 1
    with pytest.raises(InvalidMessage):
        quantity("0x10000000000000000", "field", 2**64 - 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELDS = ["address", "topics", "data", "blockNumber", "blockHash", "transactionHash", "logIndex"]


@given(JSON, st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_decoders__any_json__is_decoded_or_refused_with_a_code(
    anything: Any, log: dict[str, Any]
) -> None:
    """F37: hostile answers end in InvalidMessage, never in another exception."""
    for decode in (parse_header, lambda raw: merge_logs([raw]), lambda raw: data_of(raw, "x")):
        for value in (anything, log, [log]):
            with suppress(InvalidMessage):
                decode(value)


SAID = {
    "already known": None,
    "Known transaction": None,
    "transaction already imported": None,
    "AlreadyKnown": None,
    "nonce too low: next nonce 5, tx nonce 4": "NONCE_USED",
    "OldNonce": "NONCE_USED",
    "replacement transaction underpriced": "SLOT_CONTESTED",
    "insufficient funds for gas * price + value: have 0 want 1": "SENDER_UNFUNDED",
    "Insufficient funds for gas * price + value": "SENDER_UNFUNDED",
    "something new": "BROADCAST_REFUSED",
}


@pytest.mark.parametrize("said", sorted(SAID))
def test_errors__what_nodes_say_to_a_broadcast__has_a_meaning(said: str) -> None:
    found = broadcast_refused(RpcFault(-32000, said), "node")
    assert (found.code if found else None) == SAID[said]


def test_errors__a_contracts_refusal__is_named_by_its_error() -> None:
    raw = "0x" + "4e487b71" + (17).to_bytes(32, "big").hex()
    assert "Panic" in reverted("call", RpcFault(3, "execution reverted", raw)).message
    assert "no data" in reverted("call", RpcFault(-32000, "no data", "")).message

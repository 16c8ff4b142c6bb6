"""The client: every failure of a node is one of our classes, and shows no more than the host."""

from typing import Any

import httpx
import pytest

from xstock_chains.solana.blocks import parse_block
from xstock_chains.solana.errors import (
    RpcFault,
    broadcast_refused,
    parse_failure,
    refused,
)
from xstock_chains.solana.rpc import (
    Rpc,
    base64_of,
    key_of,
    number_of,
    only_status,
    with_context,
)
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

CODES = [*range(-32020, -32000), -32602, -32600, -32601, -32603, -32700, 429, -1]


def a_client(reply: Any) -> Rpc:
    """A client whose node answers so."""
    return Rpc("http://node.example/with-a-secret", transport=httpx.MockTransport(reply))


@pytest.mark.parametrize(
    ("response", "kind", "code"),
    [
        (httpx.Response(429, headers={"Retry-After": "7"}), Transient, "RPC_RATE_LIMITED"),
        (httpx.Response(503), Transient, "RPC_HTTP_ERROR"),
        (httpx.Response(200, content=b"<html>"), InvalidMessage, "RPC_MALFORMED"),
        (httpx.Response(200, content=b"[" * 100_000), InvalidMessage, "RPC_MALFORMED"),
        (httpx.Response(200, json={"id": 9, "result": 1}), InvalidMessage, "RPC_MALFORMED"),
        (httpx.Response(200, json={"id": 0}), InvalidMessage, "RPC_MALFORMED"),
        (httpx.Response(200, json={"id": 0, "error": "no"}), InvalidMessage, "RPC_MALFORMED"),
        (httpx.Response(200, json=[]), InvalidMessage, "RPC_MALFORMED"),
        (
            httpx.Response(200, json={"id": None, "error": {"code": -32005, "message": "x"}}),
            Transient,
            "NODE_BEHIND",
        ),
    ],
)
async def test_client__node_answers_badly__is_one_of_our_classes(
    response: httpx.Response, kind: type[ServiceError], code: str
) -> None:
    """F36, F37: 429, garbage and silence are told apart."""
    rpc = a_client(lambda _: response)
    with pytest.raises(kind) as caught:
        await rpc.call("getSlot")
    await rpc.aclose()
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (httpx.ReadTimeout("slow"), "RPC_TIMEOUT"),
        (httpx.ConnectError("down"), "RPC_UNREACHABLE"),
        (httpx.RemoteProtocolError("cut"), "RPC_UNREACHABLE"),
    ],
)
async def test_client__node_is_away__is_transient(error: Exception, code: str) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    rpc = a_client(fail)
    with pytest.raises(Transient) as caught:
        await rpc.call("getSlot")
    await rpc.aclose()
    assert caught.value.code == code


async def test_client__answer_without_end__is_cut_off() -> None:
    """F76: an answer has a bound."""
    from xstock_chains.solana.rpc import RpcLimits

    rpc = Rpc(
        "http://node.example",
        RpcLimits(response_bytes_max=1000),
        httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * 5000)),
    )
    with pytest.raises(Transient, match="RPC_ANSWER_TOO_LARGE"):
        await rpc.call("getSlot")
    await rpc.aclose()


@pytest.mark.parametrize("code", CODES)
def test_every_documented_code__has_a_class(code: int) -> None:
    """Unknown codes wait; none is taken for an answer."""
    fault = RpcFault(code, "said so")
    assert isinstance(refused("node", "getBlock", fault), Transient | InvalidMessage)
    error = broadcast_refused("node", fault)
    assert isinstance(error, Transient | InvalidMessage | Ambiguous)


@pytest.mark.parametrize(
    ("err", "kind"),
    [
        ("AlreadyProcessed", None),
        ("BlockhashNotFound", Ambiguous),
        ("SignatureFailure", InvalidMessage),
        ("InsufficientFundsForFee", Transient),
        ({"InsufficientFundsForRent": {"account_index": 3}}, Transient),
        ({"InstructionError": [5, {"Custom": 67}]}, Ambiguous),
        ({"InstructionError": [5, "MissingRequiredSignature"]}, Ambiguous),
        ({"InstructionError": [2, {"BorshIoError": "x"}]}, Ambiguous),
    ],
)
def test_failed_preflight__has_its_class(err: Any, kind: type[ServiceError] | None) -> None:
    error = broadcast_refused("node", RpcFault(-32002, "failed", {"err": err}))
    assert error is None if kind is None else isinstance(error, kind)


@pytest.mark.parametrize("err", [None, [], 5, {}, {"a": 1, "b": 2}])
def test_failure_of_another_form__is_refused(err: Any) -> None:
    """F37."""
    with pytest.raises(InvalidMessage):
        parse_failure(err)


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "7", 2**64])
def test_number__that_is_none__is_refused(value: Any) -> None:
    """F57: no float, no sign, no bool, no text."""
    with pytest.raises(InvalidMessage):
        number_of(value, "slot")


@pytest.mark.parametrize("value", [None, "", "0OIl", "1" * 31, "1" * 100, 5])
def test_key__that_is_none__is_refused(value: Any) -> None:
    with pytest.raises(InvalidMessage):
        key_of(value, "key")


@pytest.mark.parametrize("value", [None, "text", ["x"], ["x", "base58"], ["?", "base64"], [5, 6]])
def test_bytes__that_are_none__are_refused(value: Any) -> None:
    with pytest.raises(InvalidMessage):
        base64_of(value, "data")


@pytest.mark.parametrize("value", [None, [], {}, {"context": {}}, {"context": {"slot": 1}}])
def test_answer_without_context__is_refused(value: Any) -> None:
    with pytest.raises(InvalidMessage):
        with_context(value, "answer")


def test_block_without_time__waits() -> None:
    """A node that has not stored the time yet is behind, not wrong."""
    with pytest.raises(Transient, match="NODE_BEHIND"):
        parse_block(5, {"blockTime": None, "blockHeight": 5})


@pytest.mark.parametrize("value", [None, [], [None, None], {"a": 1}, [7], "no"])
def test_status__not_exactly_one__is_malformed(value: Any) -> None:
    """F37: nothing is concluded from it, not even an absence."""
    with pytest.raises(InvalidMessage, match="RPC_MALFORMED"):
        only_status({"context": {"slot": 9}, "value": value})


def test_status__one_or_none_known__comes_with_its_slot() -> None:
    known = {"slot": 3, "err": None}
    assert only_status({"context": {"slot": 9}, "value": [known]}) == (9, known)
    assert only_status({"context": {"slot": 9}, "value": [None]}) == (9, None)

"""The API's client: every failure has its class, and every recorded answer can be read."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.chains.ton.local_samples import TRANSACTION_FILES, samples
from xstock_chains.ton.rpc import RpcLimits, Toncenter, parse_block, parse_boc, parse_transaction
from xstock_core.ids import Address32
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

ACCOUNT = Address32(b"\x07" * 32)
Answer = Callable[[httpx.Request], httpx.Response]


def node(answer: Answer, url: str = "http://n/base/") -> Toncenter:
    """A client whose node answers with this function."""
    api = Toncenter(url, RpcLimits(response_bytes_max=1000))
    headers = api._http.headers
    api._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), headers=headers)
    return api


def says(status: int, body: Any, **headers: str) -> Toncenter:
    content = body if isinstance(body, str) else json.dumps(body)
    return node(lambda _: httpx.Response(status, text=content, headers=headers))


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((samples() / name).read_text())
    return found


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (429, {"error": "Ratelimit exceed"}, "RPC_RATE_LIMITED"),
        (429, {"ok": False, "result": "Ratelimit exceed", "code": 429}, "RPC_RATE_LIMITED"),
        (500, {"ok": False, "code": 429, "error": "Ratelimit exceeded"}, "RPC_RATE_LIMITED"),
        (401, {"error": "API key does not exist"}, "RPC_KEY_REFUSED"),
        (403, {"error": "Network not allowed"}, "RPC_KEY_REFUSED"),
        (504, {"error": "LITE_SERVER_NETWORK timeout"}, "RPC_UPSTREAM"),
        (542, {"error": "LITE_SERVER_NOTREADY: block is not applied"}, "RPC_UPSTREAM"),
        (500, {"error": "LITE_SERVER_UNKNOWN: something"}, "RPC_UPSTREAM"),
        (404, {"error": "blocks not found"}, "RPC_HTTP_ERROR"),
        (422, "<html>", "RPC_HTTP_ERROR"),
    ],
)
async def test_rpc__node_refuses__the_error_says_how_to_go_on(
    status: int, body: Any, code: str
) -> None:
    """Slow down, another key, another node: told apart by what was recorded."""
    with pytest.raises(Transient) as caught:
        await says(status, body).masterchain_head()
    assert caught.value.code == code
    assert caught.value.metadata["host"] == "n"


async def test_rpc__rate_limited_with_a_wait__the_wait_is_kept() -> None:
    with pytest.raises(Transient) as caught:
        await says(429, {"error": "Ratelimit exceed"}, **{"Retry-After": "7"}).masterchain_head()
    assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (
            500,
            "…cannot apply external message…\nexitcode=36, steps=1",
            "QUERY_USED",
        ),
        (500, "…cannot apply external message…\nexitcode=35, steps=1", "QUERY_OUT_OF_TIME"),
        (500, "…cannot apply external message…\nexitcode=33, steps=1", "BROADCAST_REFUSED"),
        (500, "LITE_SERVER_UNKNOWN", "BROADCAST_REFUSED"),
        (504, "LITE_SERVER_NETWORK timeout", "BROADCAST_REFUSED"),
    ],
)
async def test_rpc__send_refused__nothing_is_concluded(
    status: int, error: str, expected: str
) -> None:
    """F40, F41: a refused send sends the caller to `status`, never to another query id."""
    with pytest.raises(Ambiguous) as caught:
        await says(status, {"error": error}).send(b"\0")
    assert caught.value.code == expected


async def test_rpc__recorded_refusals_of_a_send__are_what_they_are() -> None:
    """F41: exit 36 of a real wallet is "done already"; bytes that are none are our own fault."""
    answers = recorded("send_rejected.json")
    with pytest.raises(Ambiguous, match="QUERY_USED"):
        await says(500, answers["not_accepted"]).send(b"\0")
    with pytest.raises(InvalidMessage, match="BROADCAST_MALFORMED"):
        await says(500, answers["bad_boc"]).send(b"\0")
    for name, answer in recorded("v2_errors.json").items():
        if not isinstance(answer, dict):
            continue
        example = answer.get("example", answer)
        with pytest.raises(ServiceError) as caught:
            await says(example["code"], example).masterchain_head()
        limited = example["code"] == 429
        assert (caught.value.code == "RPC_RATE_LIMITED") is limited, name


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[]",
        "{}",
        '{"last": 5}',
        '{"last": {"workchain": 0}}',
    ],
)
async def test_rpc__answer_is_garbage__is_not_believed(body: str) -> None:
    """F37."""
    with pytest.raises(InvalidMessage, match="RPC_MALFORMED"):
        await says(200, body).masterchain_head()


@pytest.mark.parametrize("body", [b"[" * 900_000, b'{"a":' * 150_000])
def test_rpc__answer_nested_deeply__is_refused_and_the_process_lives(body: bytes) -> None:
    """F37: the standard parser dies of it once a library has raised the recursion limit."""
    with pytest.raises(InvalidMessage, match="RPC_MALFORMED"):
        says(200, "{}")._document(body)


async def test_rpc__answer_without_end__is_cut_off() -> None:
    with pytest.raises(Transient, match="RPC_ANSWER_TOO_LARGE"):
        await says(200, "x" * 2000).masterchain_head()


@pytest.mark.parametrize("mark", ["?", "#"])
async def test_rpc__key_in_the_address__goes_out_as_a_header_and_nowhere_else(mark: str) -> None:
    """Neither the address that is asked nor an error shows it."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(500, text="")

    api = node(answer, f"http://n:81/base/{mark}api_key=s3cret")
    with pytest.raises(Transient) as caught:
        await api.masterchain_head()
    assert seen[0].headers["X-API-Key"] == "s3cret"
    assert str(seen[0].url) == "http://n:81/base/api/v3/masterchainInfo"
    assert "s3cret" not in str(caught.value) + str(caught.value.metadata)


async def test_rpc__account_of_another_answer__is_refused() -> None:
    """F37: a node that answers about somebody else answered nothing."""
    other = recorded("v3_transactions_2026.json")
    api = node(lambda _: httpx.Response(200, text=json.dumps(other)))
    api.limits = RpcLimits()
    with pytest.raises(InvalidMessage, match=r"transactions\.account"):
        await api.transactions(ACCOUNT, start_lt=0, limit=10)


@pytest.mark.parametrize("name", TRANSACTION_FILES)
def test_rpc__recorded_transactions__are_read_by_the_production_parser(name: str) -> None:
    """What real nodes answered: links, phases and messages, each judged as it was."""
    for raw in recorded(name)["transactions"]:
        if len(raw["hash"]) != 44:
            continue
        tx = parse_transaction(raw)
        assert (tx.lt, tx.time) == (int(raw["lt"]), raw["now"])
        assert tx.account.hex().upper() == raw["account"][2:]
        assert tx.succeeded is _went_well(raw["description"])
        assert len(tx.out_msgs) == len(raw["out_msgs"])
        for message in tx.out_msgs:
            assert message.cell().hash
        assert tx.final_by(tx.mc_seqno or 0)
        assert not tx.final_by((tx.mc_seqno or 0) - 1)


def _went_well(description: dict[str, Any]) -> bool:
    compute, action = description.get("compute_ph", {}), description.get("action") or {}
    return not description["aborted"] and bool(compute.get("success") and action.get("success"))


def test_rpc__recorded_block_of_the_basechain__is_no_masterchain_block() -> None:
    (block,) = recorded("v3_block.json")["blocks"]
    with pytest.raises(InvalidMessage, match="masterchain"):
        parse_block(block)
    assert parse_block({**block, "workchain": -1}).seqno == block["seqno"]


def test_rpc__recorded_log__is_a_message_without_destination() -> None:
    (message,) = recorded("v3_messages_log.json")["messages"]
    cell = parse_boc(message["message_content"]["body"], "body")
    assert (message["destination"], len(cell.refs)) == (None, 2)


def test_rpc__recorded_external_message__names_its_normalised_hash() -> None:
    (first, *_) = recorded("v3_transactions_external_in.json")["transactions"]
    tx = parse_transaction(first)
    assert tx.in_msg is not None
    assert tx.in_msg.source is None

"""The RPC proxy: each fault, alone on one provider, before a fake upstream and a real chain."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from aiohttp import web

from xstock_devnet.engines.anvil import AnvilNode
from xstock_devnet.proxy.admin import ProxyAdmin
from xstock_devnet.proxy.evm import ERRORS
from xstock_devnet.proxy.faults import KINDS, FaultKind, PatchStep
from xstock_devnet.proxy.patch import apply_patch
from xstock_devnet.proxy.server import RpcProxy

HEAD, FINAL = 100, 90
TOKEN, BRIDGE = "0x" + "aa" * 20, "0x" + "bb" * 20


def block_hash(number: int) -> str:
    return "0x" + f"{number:064x}"


def block(number: int) -> dict[str, Any]:
    return {
        "number": hex(number),
        "hash": block_hash(number),
        "parentHash": block_hash(number - 1),
        "transactions": [f"0x{number:064x}"],
        "logsBloom": "0x01",
    }


def log(number: int, address: str = BRIDGE) -> dict[str, Any]:
    return {
        "address": address,
        "topics": ["0x01"],
        "blockNumber": hex(number),
        "blockHash": block_hash(number),
        "transactionHash": f"0x{number:064x}",
    }


class FakeUpstream:
    """A node with 100 blocks, final up to 90, one bridge and one token event in each."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    def answer(self, call: dict[str, Any]) -> object:
        self.calls.append(call)
        params = call.get("params") or []
        match call["method"]:
            case "eth_blockNumber":
                return hex(HEAD)
            case "eth_getBlockByNumber":
                number = {"latest": HEAD, "finalized": FINAL}.get(params[0])
                return block(int(params[0], 16) if number is None else number)
            case "eth_getBlockByHash":
                return block(int(params[0], 16))
            case "eth_getLogs":
                low, high = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
                both = [(log(n, BRIDGE), log(n, TOKEN)) for n in range(low, high + 1)]
                return [one for pair in both for one in pair]
            case "eth_getTransactionReceipt":
                number = int(params[0], 16)
                return {**log(number), "logs": [log(number, BRIDGE), log(number, TOKEN)]}
        return params

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        calls = json.loads(body)
        many = [
            {"jsonrpc": "2.0", "id": call["id"], "result": self.answer(call)}
            for call in (calls if isinstance(calls, list) else [calls])
        ]
        return web.json_response(many if isinstance(calls, list) else many[0])


class Provider:
    """One provider endpoint as a reader uses it."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def post(self, body: object) -> httpx.Response:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            return await client.post(self.url, json=body)

    async def ask(self, method: str, *params: object) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = (await self.post(body)).raise_for_status().json()
        return answer["result"] if "result" in answer else answer["error"]["message"]


@pytest.fixture
async def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
async def admin(upstream: FakeUpstream) -> AsyncIterator[ProxyAdmin]:
    runner = web.ServerRunner(web.Server(upstream.handle, access_log=None), shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy = RpcProxy({"ethereum": [f"http://127.0.0.1:{runner.addresses[0][1]}"]})
    yield ProxyAdmin(f"http://127.0.0.1:{await proxy.start()}")
    await proxy.stop()
    await runner.cleanup()


@pytest.fixture
def struck(admin: ProxyAdmin) -> Provider:
    return Provider(admin.endpoint("guard-a", "ethereum", 0))


@pytest.fixture
def spared(admin: ProxyAdmin) -> Provider:
    return Provider(admin.endpoint("guard-a", "ethereum", 1))


async def strike(admin: ProxyAdmin, fault: str, **params: Any) -> int:
    return await admin.add(fault, identity="guard-a", chain="ethereum", provider=0, **params)


async def test_proxy__no_fault__bytes_pass_as_they_are(
    upstream: FakeUpstream, struck: Provider
) -> None:
    body = b'{"jsonrpc": "2.0",   "id": 1, "method": "eth_blockNumber"}'
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(struck.url, content=body)
    assert upstream.bodies == [body]
    assert answer.json()["result"] == hex(HEAD)


async def test_proxy__batch__answered_in_order_and_counted_per_method(
    admin: ProxyAdmin, struck: Provider
) -> None:
    calls = [{"jsonrpc": "2.0", "id": n, "method": "eth_blockNumber"} for n in (7, 8)]
    answers = (await struck.post(calls)).json()
    assert [answer["id"] for answer in answers] == [7, 8]
    assert (await admin.stats())[0] == {
        "identity": "guard-a",
        "chain": "ethereum",
        "provider": 0,
        "methods": {"eth_blockNumber": 2},
    }


@pytest.mark.parametrize(("fault", "status"), [("error", 500), ("rate_limit", 429)])
async def test_proxy__refusing_provider__fails_alone(
    admin: ProxyAdmin, struck: Provider, spared: Provider, fault: str, status: int
) -> None:
    await strike(admin, fault)
    assert (await struck.post({})).status_code == status
    assert await spared.ask("eth_blockNumber") == hex(HEAD)


async def test_proxy__stopped_provider__drops_the_connection_unasked(
    admin: ProxyAdmin, upstream: FakeUpstream, struck: Provider, spared: Provider
) -> None:
    await strike(admin, "stop")
    with pytest.raises(httpx.TransportError):
        await struck.ask("eth_blockNumber")
    assert upstream.calls == []
    assert await spared.ask("eth_blockNumber") == hex(HEAD)


async def test_proxy__lost_reply__upstream_did_it_all_the_same(
    admin: ProxyAdmin, upstream: FakeUpstream, struck: Provider
) -> None:
    """F38: the transaction was taken, the sender never hears of it."""
    await strike(admin, "lose_replies", methods=["eth_sendRawTransaction"], times=1)
    with pytest.raises(httpx.TransportError):
        await struck.ask("eth_sendRawTransaction", "0x02")
    assert [call["method"] for call in upstream.calls] == ["eth_sendRawTransaction"]
    assert await struck.ask("eth_sendRawTransaction", "0x02") == ["0x02"]


async def test_proxy__hang__answers_nothing_until_lifted(
    admin: ProxyAdmin, struck: Provider
) -> None:
    number = await strike(admin, "hang")
    waiting = asyncio.create_task(struck.ask("eth_blockNumber"))
    done, _ = await asyncio.wait([waiting], timeout=0.4)
    assert not done
    assert await admin.lift(id=number) == 1
    with pytest.raises(httpx.TransportError):
        await waiting
    assert await struck.ask("eth_blockNumber") == hex(HEAD)


async def test_proxy__delay__answers_late(admin: ProxyAdmin, struck: Provider) -> None:
    await strike(admin, "delay", seconds=0.3)
    asked = asyncio.create_task(struck.ask("eth_blockNumber"))
    early, _ = await asyncio.wait([asked], timeout=0.2)
    assert not early
    assert await asked == hex(HEAD)


async def test_proxy__lag__is_a_consistent_node_behind(
    admin: ProxyAdmin, upstream: FakeUpstream, struck: Provider
) -> None:
    """F30: blocks the node lacks have no events, and it says so without any error."""
    await strike(admin, "lag", blocks=20)
    head, final = HEAD - 20, FINAL - 20
    assert await struck.ask("eth_blockNumber") == hex(head)
    assert (await struck.ask("eth_getBlockByNumber", "latest", False))["number"] == hex(head)
    assert (await struck.ask("eth_getBlockByNumber", "finalized", False))["number"] == hex(final)
    assert await struck.ask("eth_getBlockByNumber", hex(head + 1), False) is None
    assert await struck.ask("eth_getBlockByHash", block_hash(head + 1), False) is None
    assert await struck.ask("eth_getTransactionReceipt", hex(head + 1)) is None
    assert await struck.ask("eth_getLogs", {"fromBlock": hex(95), "toBlock": hex(99)}) == []
    logs = await struck.ask("eth_getLogs", {"fromBlock": hex(79), "toBlock": "latest"})
    assert {one["blockNumber"] for one in logs} == {hex(79), hex(80)}
    assert await struck.ask("eth_call", {}, hex(head + 1)) == "header not found"
    assert await struck.ask("eth_call", {}, "latest") == [{}, hex(head)]


async def test_proxy__stale__true_heads_and_old_answers(
    admin: ProxyAdmin, struck: Provider
) -> None:
    await strike(admin, "stale", blocks=20)
    assert await struck.ask("eth_blockNumber") == hex(HEAD)
    assert (await struck.ask("eth_getBlockByNumber", "finalized", False))["number"] == hex(FINAL)
    assert await struck.ask("eth_call", {}, "latest") == [{}, hex(HEAD - 20)]
    assert await struck.ask("eth_getLogs", {"fromBlock": hex(95), "toBlock": hex(99)}) == []


async def test_proxy__frozen_finality__head_goes_on(admin: ProxyAdmin, struck: Provider) -> None:
    """F21: the final block stays while the latest advances."""
    await strike(admin, "freeze_finality", at=42)
    assert (await struck.ask("eth_getBlockByNumber", "finalized", False))["number"] == hex(42)
    assert (await struck.ask("eth_getBlockByNumber", "safe", False))["number"] == hex(42)
    assert (await struck.ask("eth_getBlockByNumber", "latest", False))["number"] == hex(HEAD)


async def test_proxy__frozen_finality_without_height__stays_where_it_was(
    admin: ProxyAdmin, upstream: FakeUpstream, struck: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await strike(admin, "freeze_finality")
    await struck.ask("eth_getBlockByNumber", "finalized", False)
    monkeypatch.setitem(globals(), "FINAL", 99)
    assert (await struck.ask("eth_getBlockByNumber", "finalized", False))["number"] == hex(90)


async def test_proxy__dropped_block__serves_another_linked_branch(
    admin: ProxyAdmin, struck: Provider, spared: Provider
) -> None:
    """F29: two hashes at one height, each provider consistent in itself."""
    await strike(admin, "drop_block", from_number=95)
    forked = await struck.ask("eth_getBlockByNumber", hex(95), False)
    child = await struck.ask("eth_getBlockByNumber", hex(96), False)
    assert forked["hash"] != (await spared.ask("eth_getBlockByNumber", hex(95), False))["hash"]
    assert forked["parentHash"] == block_hash(94)
    assert child["parentHash"] == forked["hash"]
    assert forked["transactions"] == []
    assert await struck.ask("eth_getBlockByHash", forked["hash"], False) == forked
    assert await struck.ask("eth_getBlockByHash", block_hash(95), False) is None
    assert await struck.ask("eth_getTransactionReceipt", hex(95)) is None
    logs = await struck.ask("eth_getLogs", {"fromBlock": hex(94), "toBlock": hex(97)})
    assert {one["blockNumber"] for one in logs} == {hex(94)}


async def test_proxy__hidden_event__missing_from_queries_and_receipts(
    admin: ProxyAdmin, struck: Provider
) -> None:
    await strike(admin, "hide_event", address=TOKEN.upper().replace("X", "x"))
    logs = await struck.ask("eth_getLogs", {"fromBlock": hex(5), "toBlock": hex(5)})
    receipt = await struck.ask("eth_getTransactionReceipt", hex(5))
    assert [one["address"] for one in logs] == [BRIDGE]
    assert [one["address"] for one in receipt["logs"]] == [BRIDGE]


async def test_proxy__lie__forges_an_event_for_one_reader_only(
    admin: ProxyAdmin, struck: Provider, spared: Provider
) -> None:
    """F01: a forged event is served to one identity while another provider tells the truth."""
    forged = log(5, "0x" + "ff" * 20)
    patch = [{"op": "add", "path": "/-", "value": forged}]
    await strike(admin, "lie", rules=[{"method": "eth_getLogs", "patch": patch}])
    wanted = {"fromBlock": hex(5), "toBlock": hex(5)}
    assert (await struck.ask("eth_getLogs", wanted))[-1] == forged
    assert forged not in await spared.ask("eth_getLogs", wanted)


async def test_proxy__lie_that_does_not_fit__fails_loudly(
    admin: ProxyAdmin, struck: Provider
) -> None:
    patch = [{"op": "replace", "path": "/no/such", "value": 1}]
    await strike(admin, "lie", rules=[{"method": "eth_getBlockByNumber", "patch": patch}])
    answer = await struck.post({"id": 1, "method": "eth_getBlockByNumber", "params": ["latest"]})
    assert answer.status_code == 500
    assert "'/no/such' is not in the result" in answer.text


def test_patch__list_and_nested_steps__leave_the_original_alone() -> None:
    document = {"logs": [{"data": "0x01"}]}
    changed = apply_patch(document, PatchStep(op="replace", path="/logs/0/data", value="0x02"))
    assert changed == {"logs": [{"data": "0x02"}]}
    assert document == {"logs": [{"data": "0x01"}]}
    assert apply_patch(changed, PatchStep(op="remove", path="/logs/0")) == {"logs": []}


async def test_proxy__two_faults__both_strike_and_both_are_lifted(
    admin: ProxyAdmin, struck: Provider
) -> None:
    await strike(admin, "lag", blocks=10)
    await strike(admin, "hide_event", address=TOKEN)
    logs = await struck.ask("eth_getLogs", {"fromBlock": hex(90), "toBlock": hex(95)})
    assert [(one["blockNumber"], one["address"]) for one in logs] == [(hex(90), BRIDGE)]
    assert [fault["struck"] for fault in await admin.faults()] == [1, 1]
    assert await admin.lift(chain="ethereum") == 2
    assert await struck.ask("eth_blockNumber") == hex(HEAD)


@pytest.mark.parametrize(
    ("fault", "params", "named"),
    [
        ("explode", {}, "fault"),
        ("lag", {}, "blocks"),
        ("lag", {"blocks": 0}, "blocks"),
        ("delay", {"second": 1}, "second"),
        ("lie", {"rules": []}, "rules"),
    ],
)
async def test_proxy__bad_fault__refused_naming_the_field(
    admin: ProxyAdmin, fault: str, params: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        await admin.add(fault, **params)
    assert await admin.faults() == []


def test_vocabulary__every_word__has_params() -> None:
    assert set(KINDS) == set(FaultKind)


async def test_proxy__unknown_chain__says_what_it_expects(admin: ProxyAdmin) -> None:
    answer = await Provider(admin.endpoint("guard-a", "etherium", 0)).post({})
    assert answer.status_code == 404
    assert "a chain of ethereum" in answer.text


async def test_proxy__real_chain__lagging_provider_sees_old_blocks(
    anvil: Callable[..., Awaitable[AnvilNode]],
) -> None:
    node = await anvil(chain_id=56)
    proxy = RpcProxy({"bnb": [node.url]})
    admin = ProxyAdmin(f"http://127.0.0.1:{await proxy.start()}")
    provider = Provider(admin.endpoint("watcher", "bnb", 0))
    await provider.ask("anvil_mine", hex(30))
    await admin.add("lag", chain="bnb", blocks=10)
    head = await provider.ask("eth_getBlockByNumber", "latest", False)
    balance = await provider.ask("eth_getBalance", "0x" + "11" * 20, hex(25))
    await admin.lift()
    assert head["number"] == hex(20)
    assert balance == "header not found"
    assert await provider.ask("eth_blockNumber") == hex(30)
    await proxy.stop()


# ---------------------------------------------------------------- errors by name


@pytest.mark.parametrize("error", sorted(set(ERRORS) - {"not_json"}))
async def test_proxy__refuse__says_every_documented_error_where_it_is_said(
    admin: ProxyAdmin, upstream: FakeUpstream, struck: Provider, error: str
) -> None:
    await strike(admin, "refuse", error=error)
    method = next(iter(ERRORS[error].methods), "eth_blockNumber")
    answer = await struck.post({"jsonrpc": "2.0", "id": 5, "method": method, "params": []})
    if answer.status_code == 200:
        assert {"code", "message"} <= set(answer.json()["error"])
        assert answer.json()["id"] == 5
    else:
        assert answer.status_code in (502, 503, 504)
    assert upstream.calls == []


async def test_proxy__refuse_in_a_batch__spares_the_other_calls(
    admin: ProxyAdmin, struck: Provider
) -> None:
    """F43: one transaction of many is refused for its nonce."""
    await strike(admin, "refuse", error="nonce_too_low")
    calls = [
        {"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": ["0x02"]},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_blockNumber", "params": []},
    ]
    refused, passed = (await struck.post(calls)).json()
    assert refused["error"] == {"code": -32000, "message": "nonce too low"}
    assert passed["result"] == hex(HEAD)


async def test_proxy__fault_on_one_method__leaves_the_rest_of_its_batch_alone(
    admin: ProxyAdmin, struck: Provider
) -> None:
    await strike(admin, "lag", blocks=20, methods=["eth_blockNumber"])
    names = ("eth_blockNumber", "eth_getTransactionReceipt")
    calls = [
        {"jsonrpc": "2.0", "id": name, "method": name, "params": [hex(HEAD)]} for name in names
    ]
    number, receipt = (await struck.post(calls)).json()
    assert number["result"] == hex(HEAD - 20)
    assert receipt["result"]["blockNumber"] == hex(HEAD)


async def test_proxy__lag_and_deeper_lag__the_lower_height_counts(
    admin: ProxyAdmin, struck: Provider
) -> None:
    await strike(admin, "lag", blocks=10)
    await strike(admin, "stale", blocks=30)
    assert await struck.ask("eth_blockNumber") == hex(HEAD - 10)
    logs = await struck.ask("eth_getLogs", {"fromBlock": hex(69), "toBlock": hex(80)})
    assert {one["blockNumber"] for one in logs} == {hex(69), hex(70)}


async def test_proxy__fault_of_a_chain_it_does_not_have__is_refused(admin: ProxyAdmin) -> None:
    with pytest.raises(ValueError, match=r"chain: 'etherium' is none of ethereum"):
        await admin.add("stop", chain="etherium")


async def test_proxy__body_that_is_no_call__is_the_node_s_to_refuse(
    admin: ProxyAdmin, upstream: FakeUpstream, struck: Provider
) -> None:
    await strike(admin, "lag", blocks=10)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(struck.url, content=b"not json")
    assert upstream.bodies == [b"not json"]
    assert answer.status_code == 500

"""The HTTP client: java-tron's refusals, silences and garbage, each in its class."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.chains.tron.test_faults import rich
from tests.chains.tron.world import SHARE, TSLA, World
from xstock_chains.tron.reader import TronReader
from xstock_chains.tron.rpc import RpcLimits, TronRpc, hex_bytes, number_of
from xstock_runtime.errors import InvalidMessage, Transient

Answer = Callable[[httpx.Request], httpx.Response]


def talking_to(answer: Answer, url: str = "http://node:1/a/b", **limits: Any) -> TronRpc:
    """A client with this server behind it."""
    rpc = TronRpc(url, RpcLimits(**limits))
    rpc._client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return rpc


def raising(error: Exception) -> Answer:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (lambda _: httpx.Response(429, headers={"Retry-After": "3"}), Transient, "RATE_LIMITED"),
        (lambda _: httpx.Response(405, html="<html></html>"), Transient, "HTTP_ERROR"),
        (lambda _: httpx.Response(503), Transient, "HTTP_ERROR"),
        (lambda _: httpx.Response(200, json={"Error": "class x"}), Transient, "REFUSED"),
        (lambda _: httpx.Response(200, text="<html>"), InvalidMessage, "MALFORMED"),
        (lambda _: httpx.Response(200, json=5), InvalidMessage, "MALFORMED"),
        (lambda _: httpx.Response(200, text="[" * 100_000), InvalidMessage, "MALFORMED"),
        (lambda _: httpx.Response(200, json=["x" * 5000]), Transient, "TOO_LARGE"),
        (raising(httpx.ReadTimeout("")), Transient, "TIMEOUT"),
        (raising(httpx.ConnectError("")), Transient, "UNREACHABLE"),
    ],
)
async def test_rpc__trouble__is_a_typed_error(
    answer: Answer, kind: type[Transient | InvalidMessage], code: str
) -> None:
    """F36, F37: nothing that a server says ends the process."""
    rpc = talking_to(answer, response_bytes_max=4000 if code == "TOO_LARGE" else 200_000)
    with pytest.raises(kind) as raised:
        await rpc.wallet("getnowblock")
    assert raised.value.code == f"RPC_{code}" or raised.value.code == f"RPC_ANSWER_{code}"
    if isinstance(raised.value, Transient) and code == "RATE_LIMITED":
        assert raised.value.retry_after_seconds == 3
    assert "/a/b" not in str(raised.value), "an address may carry a key"


async def test_rpc__address_is_a_base__paths_are_appended_and_solidity_may_be_elsewhere() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json=json.loads(request.content))

    near = talking_to(answer, "http://node:1/relayer/tron/0/")
    assert await near.wallet("getblockbynum", num=0) == {"num": 0}
    await near.solid("getnowblock")
    far = talking_to(answer, "http://full:8090#solidity=http://solid:8091/x")
    await far.wallet("getnowblock")
    await far.solid("getnowblock")
    assert asked == [
        "http://node:1/relayer/tron/0/wallet/getblockbynum",
        "http://node:1/relayer/tron/0/walletsolidity/getnowblock",
        "http://full:8090/wallet/getnowblock",
        "http://solid:8091/x/walletsolidity/getnowblock",
    ]


@pytest.mark.parametrize(
    "url", ["node:8090", "ftp://node", "http://", "http://n#solid", "http://n#solidity=x"]
)
def test_rpc__address_is_none__is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        TronRpc(url)


@pytest.mark.parametrize("value", [True, -1, 2**63, 1.5, "5", []])
def test_number__of_another_form__is_refused(value: Any) -> None:
    """F57."""
    with pytest.raises(InvalidMessage):
        number_of(value, "number")
    assert number_of(None, "number") == 0


def test_hex__of_another_form_or_size__is_refused() -> None:
    for value in (None, 5, "0x12", "1", "zz"):
        with pytest.raises(InvalidMessage):
            hex_bytes(value, "data")
    with pytest.raises(InvalidMessage):
        hex_bytes("1234", "data", 32)


async def test_supply__at_an_earlier_solid_block__only_if_nothing_moved_since(
    world: World,
) -> None:
    """A server has no old state: today's is told for it only where it is provably the same."""
    await rich(world)
    first = await world.reader.read_supply([TSLA])
    await world.mine(2)
    await world.finalize()
    stranger = TronReader(world.chain, world.rpc)
    assert await stranger.read_supply([TSLA], at=first.block) == first
    await world.burn(SHARE)
    await world.finalize()
    with pytest.raises(Transient, match="NODE_BEHIND"):
        await TronReader(world.chain, world.rpc).read_supply([TSLA], at=first.block)
    assert await stranger.read_supply([TSLA], at=first.block) == first

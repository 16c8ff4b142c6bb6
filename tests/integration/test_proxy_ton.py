"""The proxy before a real local TON: each fault strikes one provider and spares its neighbour."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.integration.proxied import Proxied, proxied
from xstock_devnet.engines.ton import TonNode
from xstock_devnet.proxy.family import View
from xstock_devnet.proxy.faults import HideParams
from xstock_devnet.proxy.ton import ERRORS, Ton
from xstock_devnet.proxy.wire import Answer, Call, rest

ACCOUNT = "0:" + "07" * 32
FRIENDLY = "EQAHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHB8Jh"
LIST = "/api/v3/transactions"


@dataclass(slots=True)
class Story:
    """What stands on the chain: five payments to one account, oldest first, and the head."""

    world: Proxied
    rows: list[dict[str, Any]] = field(default_factory=list)
    head: int = 0

    @property
    def seqnos(self) -> list[int]:
        """The masterchain blocks that commit the payments."""
        return [int(row["mc_block_seqno"]) for row in self.rows]

    @property
    def hashes(self) -> list[str]:
        """Their hashes."""
        return [row["hash"] for row in self.rows]

    async def listed(self, **query: object) -> list[str]:
        """The account's transactions as the struck provider lists them, oldest first."""
        wanted = {"account": ACCOUNT, "sort": "asc", "limit": 100, **query}
        return hashes_in(await self.world.struck.get(LIST, **wanted))


def hashes_in(document: dict[str, Any]) -> list[str]:
    return [row["hash"] for row in document["transactions"]]


@pytest.fixture(scope="module")
async def story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    folder = tmp_path_factory.mktemp("ton")
    async with (
        TonNode(folder, automine=False, final_blocks=1) as node,
        proxied("ton", node.url) as world,
    ):
        told = Story(world)
        await world.told("mine", blocks=5)
        for number in range(5):
            await world.told("fund", address=ACCOUNT, amount=1_000_000_000 + number)
            await world.told("mine", blocks=3)
        told.head = (await world.told("mine", blocks=3))["master_seqno"]
        found = await world.spared.get(LIST, account=ACCOUNT, sort="asc", limit=100)
        told.rows = found["transactions"]
        assert len(set(told.seqnos)) == 5
        yield told


@pytest.fixture
async def world(story: Story) -> AsyncIterator[Proxied]:
    yield story.world
    await story.world.admin.lift()


async def last_seqno(world: Proxied) -> int:
    return int((await world.struck.get("/api/v3/masterchainInfo"))["last"]["seqno"])


async def test_ton__no_fault__both_versions_pass_and_are_counted(
    world: Proxied, story: Story
) -> None:
    newest = await world.struck.get(LIST, account=[ACCOUNT, FRIENDLY], limit=1)
    v2 = await world.struck.get("/api/v2/getMasterchainInfo")
    assert hashes_in(newest) == story.hashes[-1:]
    assert v2["result"]["last"]["seqno"] == story.head
    (counted,) = [row for row in await world.admin.stats() if row["provider"] == 0]
    assert counted["methods"] == {"v3/transactions": 1, "v2/getMasterchainInfo": 1}


async def test_ton__lag__is_a_consistent_node_behind(world: Proxied, story: Story) -> None:
    """F26: nothing that the lagging node's masterchain has not committed is in any list."""
    await world.strike("lag", blocks=story.head - story.seqnos[2])
    ask, known = world.struck.get, story.seqnos[2]
    assert await last_seqno(world) == known
    assert (await ask("/api/v2/getMasterchainInfo"))["result"]["last"]["seqno"] == known
    assert await story.listed() == story.hashes[:3]
    assert hashes_in(await ask(LIST, account=ACCOUNT, limit=1)) == [story.hashes[2]]
    assert hashes_in(await ask(LIST, account=ACCOUNT, limit=1, offset=1)) == [story.hashes[1]]
    assert hashes_in(await ask(LIST, hash=story.hashes[4])) == []
    message = story.rows[4]["in_msg"]["hash"]
    assert hashes_in(await ask("/api/v3/transactionsByMessage", msg_hash=message)) == []
    blocks = {"workchain": -1, "seqno": known + 1}
    assert (await ask("/api/v3/blocks", **blocks))["blocks"] == []
    account = await ask("/api/v3/addressInformation", address=FRIENDLY)
    assert account["last_transaction_hash"] == story.hashes[2]
    (state,) = (await ask("/api/v3/accountStates", address=ACCOUNT))["accounts"]
    assert state["last_transaction_lt"] == story.rows[2]["lt"]
    old = (await ask("/api/v2/getAddressInformation", address=ACCOUNT))["result"]
    assert old["last_transaction_id"]["hash"] == story.hashes[2]
    new = await ask("/api/v2/getAddressInformation", address=ACCOUNT, seqno=story.head)
    assert new["code"] == 542
    assert await world.spared.get("/api/v3/masterchainInfo") != await ask("/api/v3/masterchainInfo")


async def test_ton__lag__its_head_is_the_block_that_stands_there(
    world: Proxied, story: Story
) -> None:
    await world.strike("lag", blocks=3)
    last = (await world.struck.get("/api/v3/masterchainInfo"))["last"]
    wanted = {"workchain": -1, "shard": "8000000000000000", "seqno": story.head - 3}
    (real,) = (await world.spared.get("/api/v3/blocks", **wanted))["blocks"]
    assert last["root_hash"] == real["root_hash"]
    assert last["gen_utime"] == real["gen_utime"]


async def test_ton__stale__true_head_and_old_lists(world: Proxied, story: Story) -> None:
    await world.strike("stale", blocks=story.head - story.seqnos[2])
    assert await last_seqno(world) == story.head
    assert await story.listed() == story.hashes[:3]


async def test_ton__frozen_finality__sees_nothing_newer(world: Proxied, story: Story) -> None:
    """F21: TON's head is final, so a final block that stays is a head that stays."""
    await world.strike("freeze_finality", at=story.seqnos[1])
    assert await last_seqno(world) == story.seqnos[1]
    assert await story.listed() == story.hashes[:2]


async def test_ton__dropped_block__is_another_empty_branch(world: Proxied, story: Story) -> None:
    """F29: two hashes of one seqno, each provider consistent in itself."""
    await world.strike("drop_block", from_number=story.seqnos[3])
    info, truth = [
        (await provider.get("/api/v3/masterchainInfo"))["last"]
        for provider in (world.struck, world.spared)
    ]
    block = {"workchain": -1, "shard": "8000000000000000", "seqno": story.head}
    (shown,) = (await world.struck.get("/api/v3/blocks", **block))["blocks"]
    assert info["seqno"] == truth["seqno"]
    assert info["root_hash"] == shown["root_hash"] != truth["root_hash"]
    assert await story.listed() == story.hashes[:3]


async def test_ton__hidden_transaction__is_the_gap_that_the_next_one_names(
    world: Proxied, story: Story
) -> None:
    """One of many is missing; its follower still names it as the one before."""
    gone = story.rows[2]
    message = {"msg_hash": gone["in_msg"]["hash"]}
    hidden = {"tx_hash": gone["hash"], "address": FRIENDLY}
    number = await world.strike("hide_event", receipts=False, **hidden)
    left = [*story.hashes[:2], *story.hashes[3:]]
    assert await story.listed() == left
    assert (
        hashes_in(await world.struck.get(LIST, account=ACCOUNT, sort="asc", limit=2, offset=2))
        == left[2:]
    )
    by_message = await world.struck.get("/api/v3/transactionsByMessage", **message)
    assert hashes_in(by_message) == [gone["hash"]]
    await world.admin.lift(id=number)
    await world.strike("hide_event", **hidden)
    by_message = await world.struck.get("/api/v3/transactionsByMessage", **message)
    assert hashes_in(by_message) == []
    follower = (await world.struck.get(LIST, hash=story.hashes[3]))["transactions"][0]
    assert follower["prev_trans_hash"] == gone["hash"]


async def test_ton__lost_reply__upstream_did_it_all_the_same(world: Proxied) -> None:
    """F38: the message went to the node, the sender never hears what it said."""
    await world.strike("lose_replies", methods=["v3/message"], times=1)
    with pytest.raises(httpx.TransportError):
        await world.struck.post("/api/v3/message", boc="AAAA")
    said = await world.struck.post("/api/v3/message", boc="AAAA")
    assert "cannot apply external message" in said["error"]


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize("error", sorted(ERRORS))
async def test_ton__refuse__says_every_documented_error_in_each_version(
    world: Proxied, error: str, version: str
) -> None:
    methods = [name for name in ERRORS[error].methods if name.startswith(version)]
    usual = {"v2": "v2/getMasterchainInfo", "v3": "v3/masterchainInfo"}[version]
    await world.strike("refuse", error=error)
    path = f"/api/{(methods or [usual])[0]}"
    answer = await world.struck.ask("POST" if methods else "GET", path)
    if answer.headers["Content-Type"].startswith("application/json"):
        assert answer.status_code in (401, 403, 422, 429, 500, 504, 542)
        assert ("ok" in answer.json()) == (version == "v2")
    else:
        assert error in ("bad_gateway", "unavailable", "gateway_timeout", "not_json")


async def test_ton__refused_message__carries_the_exit_code(world: Proxied) -> None:
    await world.strike("refuse", error="cannot_apply_external", value=33)
    answer = await world.struck.ask("POST", "/api/v3/message", json={"boc": "AAAA"})
    assert answer.status_code == 500
    assert "exitcode=33" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/api/v3/masterchainInfo", {"error": "Ratelimit exceed"}),
        (
            "/api/v2/getMasterchainInfo",
            {"ok": False, "result": "Ratelimit exceed", "code": 429},
        ),
    ],
)
async def test_ton__rate_limit__is_429_in_toncenter_s_words(
    world: Proxied, path: str, document: dict[str, Any]
) -> None:
    """F36: too many requests."""
    await world.strike("rate_limit")
    answer = await world.struck.ask("GET", path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert answer.json() == document


async def test_ton__lie__changes_a_document_for_one_reader_only(
    world: Proxied, story: Story
) -> None:
    """F01: a forged list is served to one identity while another provider tells the truth."""
    patch = [{"op": "add", "path": "/transactions/-", "value": {"hash": "forged"}}]
    await world.strike("lie", rules=[{"method": "v3/transactions", "patch": patch}])
    assert await story.listed() == [*story.hashes, "forged"]
    honest = await world.spared.get(LIST, account=ACCOUNT, sort="asc", limit=100)
    assert hashes_in(honest) == story.hashes


async def test_ton__getter_of_a_lagging_node__is_asked_at_its_block() -> None:
    """v3 takes no block, v2 does: the question goes there and the stack comes back as v3's."""
    asked: list[Call] = []

    async def ask(call: Call) -> Answer:
        asked.append(call)
        stack = [["num", "0x7"], ["cell", {"bytes": "te6"}]]
        return Answer({"ok": True, "result": {"stack": stack, "gas_used": 5, "exit_code": 0}})

    body = {"address": ACCOUNT, "method": "get", "stack": [{"type": "num", "value": "0x1"}]}
    call = rest("POST", "/api/v3/runGetMethod", body)
    seen = await Ton().seen(call, View(40, 40, 40, 40), ask)
    assert (asked[0].path, asked[0].params["seqno"]) == ("/api/v2/runGetMethod", 40)
    assert asked[0].params["stack"] == [["num", "0x1"]]
    assert seen.document == {
        "gas_used": 5,
        "exit_code": 0,
        "stack": [{"type": "num", "value": "0x7"}, {"type": "cell", "value": "te6"}],
    }


@pytest.mark.parametrize(
    ("hidden", "left"),
    [
        (HideParams(topic="0x0000000D"), []),
        (HideParams(topic="0x0000000e"), ["aa"]),
        (HideParams(address=ACCOUNT), []),
        (HideParams(address="0:" + "08" * 32), ["aa"]),
    ],
)
async def test_ton__hidden_by_opcode_or_account__leaves_the_others(
    hidden: HideParams, left: list[str]
) -> None:
    row = {"hash": "aa", "account": ACCOUNT, "in_msg": {"opcode": "0x0000000d"}, "out_msgs": []}

    async def ask(call: Call) -> Answer:
        return Answer({"transactions": [row]})

    call = rest("GET", LIST, {"account": ACCOUNT})
    assert hashes_in((await Ton().seen(call, View(hidden=(hidden,)), ask)).document) == left

"""The proxy before a real local Tron: each fault strikes one provider and spares its neighbour."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.integration.proxied import Proxied, proxied
from xstock_devnet.engines.tron import TronNode
from xstock_devnet.proxy.family import View
from xstock_devnet.proxy.faults import HideParams
from xstock_devnet.proxy.tron import ERRORS, Tron
from xstock_devnet.proxy.wire import Answer, Call, rest
from xstock_devnet.tron import protobuf, witness
from xstock_devnet.tron.model import Transaction, transaction_of

ACCOUNT = "41" + "07" * 20
CONTRACT, OTHER = "6bfc28c9b5d578ae9a1347039089e5f53ff138e9", "11" * 20
TXID, TOPIC = "ab" * 32, "ff" * 32
INFO = {
    "id": TXID,
    "blockNumber": 70,
    "log": [
        {"address": CONTRACT, "topics": [TOPIC], "data": "07"},
        {"address": OTHER, "topics": [TOPIC], "data": "08"},
    ],
}
RECORDED_ID = "a3097f633bddd6a9db2e785733a45bc8a1c24a6be772aa533c701788eaf69287"
RECORDED = (
    "0ad4010a0200612208049f9af9ef34e41040a8da869da0345aae01081f12a9010a31747970652e676f6f676c6561"
    "7069732e636f6d2f70726f746f636f6c2e54726967676572536d617274436f6e747261637412740a1541bcc10170"
    "da3fb480e63510264e6e4af2e28b41821215416bfc28c9b5d578ae9a1347039089e5f53ff138e9224440c10f1900"
    "00000000000000000000000200c013a91416c3af9d87f40398538e0e1d46a0000000000000000000000000000000"
    "000000000000000000000000000000000170a189839da03490018094ebdc03124157d1d5dfbe28c810749fafb170"
    "b1762a7b6c43a1f533aa95033e9eb6dfd93bfe01354c2a319d35cc4d337347000419020d7d6db757e79203ac12b4"
    "630c1ef7db01"
)


@dataclass(slots=True)
class Story:
    """What stands on the chain: ids and blocks of five payments, and the heads."""

    world: Proxied
    ids: list[str] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    head: int = 0
    final: int = 0

    async def infos(self, folder: str) -> list[bool]:
        """Of which payments the struck provider knows the info."""
        path = f"/{folder}/gettransactioninfobyid"
        return [bool(await self.world.struck.post(path, value=one)) for one in self.ids]


@pytest.fixture(scope="module")
async def story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    folder = tmp_path_factory.mktemp("tron")
    async with (
        TronNode(folder, automine=False, final_blocks=4) as node,
        proxied("tron", node.url) as world,
    ):
        told = Story(world)
        await world.told("mine", blocks=8)
        for number in range(5):
            paid = await world.told("fund", address=ACCOUNT, amount=1_000_000 + number)
            told.ids.append(paid["tx"])
            told.blocks.append((await world.told("state"))["head"])
            await world.told("mine", blocks=1)
        state = await world.told("mine", blocks=1)
        told.head, told.final = state["head"], state["final"]
        yield told


@pytest.fixture
async def world(story: Story) -> AsyncIterator[Proxied]:
    yield story.world
    await story.world.admin.lift()


def number_of(block: dict[str, Any]) -> int:
    return int(block["block_header"]["raw_data"]["number"])


def transfer(head: dict[str, Any], amount: int) -> Transaction:
    """A signed payment from the faucet, over a block as /wallet shows it."""
    key = witness.faucet_key()
    value = {
        "owner_address": witness.address_of(key),
        "to_address": bytes.fromhex(ACCOUNT),
        "amount": amount,
    }
    contract = protobuf.encode("TransferContract", value)
    parameter = {"type_url": protobuf.TYPE_URL + "TransferContract", "value": contract}
    block_id, time = bytes.fromhex(head["blockID"]), head["block_header"]["raw_data"]["timestamp"]
    raw = {
        "ref_block_bytes": block_id[6:8],
        "ref_block_hash": block_id[8:16],
        "expiration": time + 60_000,
        "contract": [{"type": 1, "parameter": parameter}],
        "timestamp": time,
    }
    unsigned = transaction_of({"raw_data": raw})
    signature = witness.sign(key, unsigned.id)
    return transaction_of({"raw_data": raw, "signature": [signature]})


async def test_tron__no_fault__verb_path_query_and_body_pass(world: Proxied, story: Story) -> None:
    posted = await world.struck.post("/wallet/getblockbynum", num=story.blocks[0])
    got = await world.struck.get("/wallet/getblockbynum", num=story.blocks[0])
    latest = await world.struck.rpc("eth_blockNumber", path="/jsonrpc")
    assert posted == got
    assert number_of(posted) == story.blocks[0]
    assert int(latest, 16) == story.head
    (counted,) = [row for row in await world.admin.stats() if row["provider"] == 0]
    assert counted["methods"] == {"wallet/getblockbynum": 2, "eth_blockNumber": 1}


async def test_tron__lag__is_a_consistent_node_behind(world: Proxied, story: Story) -> None:
    """F30: past what it has there is no error: {} and [], like an empty block."""
    behind = story.head - story.blocks[2]
    await world.strike("lag", blocks=behind)
    ask, unseen = world.struck.post, story.blocks[3]
    assert number_of(await ask("/wallet/getnowblock")) == story.blocks[2]
    assert number_of(await world.struck.get("/wallet/getnowblock")) == story.blocks[2]
    assert number_of(await ask("/wallet/getblock")) == story.blocks[2]
    assert number_of(await ask("/walletsolidity/getnowblock")) == story.final - behind
    assert await ask("/wallet/getblockbynum", num=unseen) == {}
    assert await ask("/walletsolidity/getblockbynum", num=story.blocks[2]) == {}
    assert await ask("/wallet/gettransactioninfobyblocknum", num=unseen) == []
    span = await ask("/wallet/getblockbylimitnext", startNum=unseen - 2, endNum=unseen + 1)
    assert [number_of(block) for block in span["block"]] == [story.blocks[2]]
    assert await story.infos("wallet") == [True] * 3 + [False] * 2
    assert await story.infos("walletsolidity") == [
        block <= story.final - behind for block in story.blocks
    ]
    assert await ask("/wallet/gettransactionbyid", value=story.ids[4]) == {}
    real = await world.spared.post("/wallet/getblockbynum", num=unseen)
    assert await ask("/wallet/getblockbyid", value=real["blockID"]) == {}
    assert int(await world.struck.rpc("eth_blockNumber", path="/jsonrpc"), 16) == story.blocks[2]
    assert number_of(await world.spared.post("/wallet/getnowblock")) == story.head


async def test_tron__stale__true_heads_and_old_blocks(world: Proxied, story: Story) -> None:
    await world.strike("stale", blocks=story.head - story.blocks[2])
    assert number_of(await world.struck.post("/wallet/getnowblock")) == story.head
    assert number_of(await world.struck.post("/walletsolidity/getnowblock")) == story.final
    assert await story.infos("wallet") == [True] * 3 + [False] * 2


async def test_tron__frozen_finality__solid_side_stays(world: Proxied, story: Story) -> None:
    """F27: what lands later is on the head only."""
    await world.strike("freeze_finality", at=story.blocks[1])
    assert number_of(await world.struck.post("/walletsolidity/getnowblock")) == story.blocks[1]
    assert number_of(await world.struck.post("/wallet/getnowblock")) == story.head
    assert await story.infos("wallet") == [True] * 5
    assert await story.infos("walletsolidity") == [True] * 2 + [False] * 3
    final = await world.struck.rpc("eth_getBlockByNumber", "finalized", False, path="/jsonrpc")
    assert int(final["number"], 16) == story.blocks[1]


async def test_tron__dropped_block__serves_another_linked_branch(
    world: Proxied, story: Story
) -> None:
    """F29: two ids at one height, each provider consistent in itself."""
    first = story.blocks[3]
    await world.strike("drop_block", from_number=first)
    forked = await world.struck.post("/wallet/getblockbynum", num=first)
    child = await world.struck.post("/wallet/getblockbynum", num=first + 1)
    real = await world.spared.post("/wallet/getblockbynum", num=first)
    parent = real["block_header"]["raw_data"]["parentHash"]
    assert forked["blockID"] != real["blockID"]
    assert forked["blockID"][:16] == real["blockID"][:16]
    assert forked["block_header"]["raw_data"]["parentHash"] == parent
    assert child["block_header"]["raw_data"]["parentHash"] == forked["blockID"]
    assert ("transactions" in real, "transactions" in forked) == (True, False)
    assert await story.infos("wallet") == [True] * 3 + [False] * 2
    by_id = world.struck.post
    assert await by_id("/wallet/getblockbyid", value=forked["blockID"]) == forked
    assert await by_id("/wallet/getblockbyid", value=real["blockID"]) == {}


async def test_tron__hidden_transaction__is_an_unknown_one(world: Proxied, story: Story) -> None:
    """One transaction is missing by block; by its id only if asked for."""
    gone, block = story.ids[2], story.blocks[2]
    number = await world.strike("hide_event", tx_hash="0x" + gone.upper(), receipts=False)
    assert await world.struck.post("/wallet/gettransactioninfobyblocknum", num=block) == []
    assert await story.infos("wallet") == [True] * 5
    await world.admin.lift(id=number)
    await world.strike("hide_event", tx_hash=gone)
    shown = await world.struck.post("/wallet/getblockbynum", num=block)
    assert shown["transactions"] == []
    assert await story.infos("wallet") == [True, True, False, True, True]
    assert await world.struck.post("/wallet/gettransactionbyid", value=gone) == {}
    assert await world.spared.post("/wallet/gettransactionbyid", value=gone) != {}


async def test_tron__lost_reply__the_payment_was_taken_all_the_same(world: Proxied) -> None:
    """F40: the sender never hears of it, and is told DUP the second time."""
    await world.strike("lose_replies", methods=["broadcasthex"], times=1)
    head = await world.struck.post("/wallet/getnowblock")
    payment = transfer(head, 77).serialized.hex()
    with pytest.raises(httpx.TransportError):
        await world.struck.post("/wallet/broadcasthex", transaction=payment)
    again = await world.struck.post("/wallet/broadcasthex", transaction=payment)
    assert again["code"] == "DUP_TRANSACTION_ERROR"


@pytest.mark.parametrize("error", sorted(ERRORS))
async def test_tron__refuse__says_every_documented_error_where_it_is_said(
    world: Proxied, error: str
) -> None:
    await world.strike("refuse", error=error)
    method = next(iter(ERRORS[error].methods), "wallet/getnowblock")
    path = f"/{method}" if "/" in method else f"/walletsolidity/{method}"
    answer = await world.struck.ask("POST", path, json={"transaction": RECORDED})
    spared = await world.spared.ask("POST", "/wallet/getnowblock", json={})
    assert answer.content != spared.content
    assert (answer.status_code == 200) == (
        error not in ("bad_gateway", "unavailable", "gateway_timeout")
    )
    assert "blockID" in spared.json()


async def test_tron__refused_broadcast__names_the_transaction(world: Proxied) -> None:
    """Words of a recorded node: plain for broadcasthex, hex for broadcasttransaction."""
    await world.strike("refuse", error="dup_transaction")
    by_hex = await world.struck.post("/wallet/broadcasthex", transaction=RECORDED)
    by_json = await world.struck.post("/wallet/broadcasttransaction", txID=RECORDED_ID)
    assert by_hex == {
        "result": False,
        "code": "DUP_TRANSACTION_ERROR",
        "txid": RECORDED_ID,
        "message": "Dup transaction.",
    }
    assert bytes.fromhex(by_json["message"]) == b"Dup transaction."
    assert by_json["txid"] == RECORDED_ID


async def test_tron__rate_limit__is_429_in_the_gateway_s_words(world: Proxied) -> None:
    """F36: too many requests."""
    await world.strike("rate_limit")
    answer = await world.struck.ask("POST", "/wallet/getnowblock", json={})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert "allowed_rps" in answer.json()["Error"]


async def test_tron__lie__changes_a_document_for_one_reader_only(
    world: Proxied, story: Story
) -> None:
    """F01: a forged answer is served to one identity while another provider tells the truth."""
    patch = [{"op": "replace", "path": "/blockNumber", "value": 1}]
    rules = [{"method": "gettransactioninfobyid", "where": story.ids[1], "patch": patch}]
    await world.strike("lie", rules=rules)
    path = "/walletsolidity/gettransactioninfobyid"
    assert (await world.struck.post(path, value=story.ids[1]))["blockNumber"] == 1
    assert (await world.struck.post(path, value=story.ids[0]))["blockNumber"] == story.blocks[0]
    assert (await world.spared.post(path, value=story.ids[1]))["blockNumber"] == story.blocks[1]


@pytest.mark.parametrize(
    ("hidden", "left"),
    [
        (HideParams(address="41" + CONTRACT), [OTHER]),
        (HideParams(address="0x" + CONTRACT.upper()), [OTHER]),
        (HideParams(topic="0x" + TOPIC), []),
        (HideParams(topic="00" * 32), [CONTRACT, OTHER]),
        (HideParams(address=OTHER, tx_hash=TXID), [CONTRACT]),
        (HideParams(address=OTHER, tx_hash="00" * 32), [CONTRACT, OTHER]),
        (HideParams(address=OTHER, receipts=False), [CONTRACT, OTHER]),
    ],
)
async def test_tron__hidden_logs__leave_the_rest_of_the_info(
    hidden: HideParams, left: list[str]
) -> None:
    async def ask(call: Call) -> Answer:
        return Answer(INFO)

    call = rest("POST", "/walletsolidity/gettransactioninfobyid", {"value": TXID})
    seen = await Tron().seen(call, View(hidden=(hidden,)), ask)
    assert [log["address"] for log in seen.document.get("log", [])] == left
    assert seen.document["id"] == TXID


def test_tron__solidity_interface_elsewhere__is_asked_there() -> None:
    url = "http://127.0.0.1:1#solidity=http://127.0.0.1:2"
    assert Tron().target(url, "/wallet/getnowblock") == "http://127.0.0.1:1/wallet/getnowblock"
    solid = Tron().target(url, "/walletsolidity/getnowblock")
    assert solid == "http://127.0.0.1:2/walletsolidity/getnowblock"

"""The proxy before a real local Solana: each fault strikes one provider and no other."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import base58
import httpx
import pytest

from tests.integration.proxied import Proxied, proxied
from xstock_devnet.engines.solana import SolanaNode
from xstock_devnet.proxy.solana import ERRORS, Solana
from xstock_devnet.proxy.wire import Request

ACCOUNT = base58.b58encode(b"\x07" * 32).decode()
PROCESSED = {"commitment": "processed"}
CONFIRMED = {"commitment": "confirmed"}
FINALIZED = {"commitment": "finalized"}
FULL = {"transactionDetails": "full", "maxSupportedTransactionVersion": 0, "rewards": False}
SEARCH = {"searchTransactionHistory": True}


@dataclass(slots=True)
class Story:
    """What stands on the chain: signatures and slots of five payments, and the heads."""

    world: Proxied
    signatures: list[str] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    head: int = 0
    final: int = 0

    async def rows(self, **config: Any) -> list[Any]:
        """The signatures of the account as the struck provider lists them."""
        found = await self.world.struck.rpc("getSignaturesForAddress", ACCOUNT, config)
        return [row["signature"] for row in found] if isinstance(found, list) else [found]


@pytest.fixture(scope="module")
async def story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    folder = tmp_path_factory.mktemp("solana")
    async with (
        SolanaNode(folder, automine=False, final_blocks=4) as node,
        proxied("solana", node.url) as world,
    ):
        told = Story(world)
        await world.told("mine", blocks=20)
        for number in range(5):
            paid = await world.told("fund", address=ACCOUNT, amount=1_000_000 + number)
            told.signatures.append(paid["tx"])
            told.slots.append(paid["slot"])
            await world.told("mine", blocks=2)
        state = await world.told("mine", blocks=1)
        told.head, told.final = state["slot"], state["final_slot"]
        yield told


@pytest.fixture
async def world(story: Story) -> AsyncIterator[Proxied]:
    yield story.world
    await story.world.admin.lift()


async def test_solana__batch_without_fault__passes_and_is_counted(
    world: Proxied, story: Story
) -> None:
    calls: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": n, "method": "getSlot", "params": []} for n in (1, 2)
    ]
    answer = await world.struck.ask("POST", json=calls)
    assert [one["id"] for one in answer.json()] == [1, 2]
    assert answer.json()[0]["result"] == story.final
    assert {"getSlot": 2} in [row["methods"] for row in await world.admin.stats()]


async def test_solana__lag__is_a_consistent_node_behind(world: Proxied, story: Story) -> None:
    """F30: slots, heights, blocks, signatures and transactions all end at the same place."""
    behind = story.head - story.slots[2]
    await world.strike("lag", blocks=behind)
    ask = world.struck.rpc
    newest, unseen = story.slots[2], story.slots[3]
    assert await ask("getSlot", CONFIRMED) == newest
    assert await ask("getSlot", FINALIZED) == story.final - behind
    assert await ask("getBlockHeight", CONFIRMED) == newest
    assert (await ask("getEpochInfo", CONFIRMED))["absoluteSlot"] == newest
    assert await story.rows(**CONFIRMED) == story.signatures[2::-1]
    assert await story.rows(limit=1, **CONFIRMED) == [story.signatures[2]]
    assert await ask("getTransaction", story.signatures[3], {**CONFIRMED, **FULL}) is None
    assert (await ask("getTransaction", story.signatures[2], {**CONFIRMED, **FULL})) is not None
    assert (await ask("getBlock", unseen, {**CONFIRMED, **FULL}))["code"] == -32004
    assert await ask("getBlocks", newest - 1, unseen, CONFIRMED) == [newest - 1, newest]
    statuses = await ask("getSignatureStatuses", story.signatures, SEARCH)
    assert [status is not None for status in statuses["value"]] == [True] * 3 + [False] * 2
    assert statuses["context"]["slot"] == newest
    assert await world.spared.rpc("getSlot", PROCESSED) == story.head


async def test_solana__lag__old_blockhash_and_new_ones_unknown(
    world: Proxied, story: Story
) -> None:
    await world.strike("lag", blocks=4)
    fresh = (await world.spared.rpc("getLatestBlockhash", CONFIRMED))["value"]["blockhash"]
    old = await world.struck.rpc("getLatestBlockhash", CONFIRMED)
    assert old["context"]["slot"] == story.head - 4
    assert old["value"]["lastValidBlockHeight"] == story.head - 4 + 150
    for blockhash, valid in ((fresh, False), (old["value"]["blockhash"], True)):
        answer = await world.struck.rpc("isBlockhashValid", blockhash, CONFIRMED)
        assert answer["value"] is valid
    later = {**CONFIRMED, "minContextSlot": story.head}
    assert (await world.struck.rpc("getBalance", ACCOUNT, later))["code"] == -32016


async def test_solana__lag__cursor_it_does_not_know_is_an_error(
    world: Proxied, story: Story
) -> None:
    """F34: a dropped cursor errors, it does not rewind."""
    await world.strike("lag", blocks=story.head - story.slots[2])
    (error,) = await story.rows(before=story.signatures[4], **CONFIRMED)
    assert error == {"code": -32020, "message": f"Transaction {story.signatures[4]} not found"}
    assert await story.rows(until=story.signatures[0], **CONFIRMED) == story.signatures[2:0:-1]


async def test_solana__stale__true_heads_and_old_history(world: Proxied, story: Story) -> None:
    await world.strike("stale", blocks=story.head - story.slots[2])
    assert await world.struck.rpc("getSlot", PROCESSED) == story.head
    assert await story.rows(**CONFIRMED) == story.signatures[2::-1]
    assert (await world.struck.rpc("getBlock", story.slots[3], CONFIRMED))["code"] == -32004


async def test_solana__frozen_finality__new_blocks_stay_confirmed(
    world: Proxied, story: Story
) -> None:
    """F21: what lands later is seen, and never final."""
    await world.strike("freeze_finality", at=story.slots[1])
    assert await world.struck.rpc("getSlot", FINALIZED) == story.slots[1]
    assert await world.struck.rpc("getSlot", PROCESSED) == story.head
    assert await story.rows(**FINALIZED) == story.signatures[1::-1]
    found = await world.struck.rpc("getSignaturesForAddress", ACCOUNT, CONFIRMED)
    assert [row["confirmationStatus"] for row in found] == ["confirmed"] * 3 + ["finalized"] * 2
    statuses = await world.struck.rpc("getSignatureStatuses", story.signatures, SEARCH)
    assert statuses["value"][2]["confirmationStatus"] == "confirmed"
    assert (await world.struck.rpc("getBlock", story.slots[2], FINALIZED))["code"] == -32004


async def test_solana__dropped_block__serves_another_linked_branch(
    world: Proxied, story: Story
) -> None:
    """F29: two blockhashes in one slot, each provider consistent in itself."""
    first = story.slots[3]
    await world.strike("drop_block", from_number=first)
    shown = {**CONFIRMED, **FULL}
    forked, child = [await world.struck.rpc("getBlock", slot, shown) for slot in (first, first + 1)]
    real = await world.spared.rpc("getBlock", first, shown)
    assert forked["blockhash"] != real["blockhash"]
    assert forked["previousBlockhash"] == real["previousBlockhash"]
    assert child["previousBlockhash"] == forked["blockhash"]
    assert (forked["transactions"], len(real["transactions"])) == ([], 1)
    assert await story.rows(**CONFIRMED) == story.signatures[2::-1]
    assert await world.struck.rpc("getTransaction", story.signatures[3], shown) is None
    latest = (await world.struck.rpc("getLatestBlockhash", CONFIRMED))["value"]["blockhash"]
    assert (await world.struck.rpc("isBlockhashValid", latest, CONFIRMED))["value"] is True
    truth = (await world.spared.rpc("getLatestBlockhash", CONFIRMED))["value"]["blockhash"]
    assert (await world.struck.rpc("isBlockhashValid", truth, CONFIRMED))["value"] is False


@pytest.mark.parametrize("encoding", ["json", "base64"])
async def test_solana__hidden_signature__leaves_no_gap_in_the_page(
    world: Proxied, story: Story, encoding: str
) -> None:
    """F34: an index loses one of many; the transaction itself is hidden only if asked."""
    gone = story.signatures[2]
    number = await world.strike("hide_event", tx_hash=gone, address=ACCOUNT, receipts=False)
    shown = {**CONFIRMED, **FULL, "encoding": encoding}
    kept = [story.signatures[4], story.signatures[3], story.signatures[1]]
    assert await story.rows(limit=3, **CONFIRMED) == kept
    assert await world.struck.rpc("getTransaction", gone, shown) is not None
    await world.admin.lift(id=number)
    await world.strike("hide_event", tx_hash=gone, address=ACCOUNT)
    assert await world.struck.rpc("getTransaction", gone, shown) is None
    block = await world.struck.rpc("getBlock", story.slots[2], shown)
    assert block["transactions"] == []
    assert len((await world.struck.rpc("getBlock", story.slots[1], shown))["transactions"]) == 1


async def test_solana__lost_reply__the_airdrop_landed_all_the_same(
    world: Proxied, story: Story
) -> None:
    """F38: the transaction was taken, the sender never hears of it."""
    other = base58.b58encode(b"\x08" * 32).decode()
    await world.strike("lose_replies", methods=["requestAirdrop"], times=1)
    before = (await world.told("state"))["pending"]
    with pytest.raises(httpx.TransportError):
        await world.struck.rpc("requestAirdrop", other, 1_000_000)
    assert (await world.told("state"))["pending"] == before + 1
    assert await world.struck.rpc("getSlot", FINALIZED) == story.final


@pytest.mark.parametrize("error", sorted(set(ERRORS) - {"not_json"}))
async def test_solana__refuse__says_every_documented_error_where_it_is_said(
    world: Proxied, error: str
) -> None:
    await world.strike("refuse", error=error)
    method = next(iter(ERRORS[error].methods), "getSlot")
    params = [5] if method in ("getBlock", "getBlockTime") else ["text"]
    body = {"jsonrpc": "2.0", "id": 3, "method": method, "params": params}
    answer = await world.struck.ask("POST", json=body)
    if answer.status_code == 200:
        assert {"code", "message"} <= set(answer.json()["error"])
        assert answer.json()["id"] == 3
    else:
        assert answer.status_code in (502, 503, 504)
    assert (await world.spared.rpc("getHealth")) == "ok"


async def test_solana__refuse__spares_other_calls_of_the_batch(
    world: Proxied, story: Story
) -> None:
    await world.strike("refuse", error="slot_skipped", methods=["getBlock"], times=1)
    calls: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "getBlock", "params": [story.final, FINALIZED]},
        {"jsonrpc": "2.0", "id": 2, "method": "getSlot", "params": [FINALIZED]},
    ]
    refused, passed = (await world.struck.ask("POST", json=calls)).json()
    assert refused["error"]["code"] == -32007
    assert str(story.final) in refused["error"]["message"]
    assert passed["result"] == story.final


async def test_solana__refused_preflight__carries_the_simulation(world: Proxied) -> None:
    await world.strike("refuse", error="custom_program_error", value=17)
    error = await world.struck.rpc("sendTransaction", "AA==", {"encoding": "base64"})
    assert error["data"]["err"] == {"InstructionError": [0, {"Custom": 17}]}
    assert error["message"].endswith("custom program error: 0x11")


async def test_solana__rate_limit__is_429_with_an_error_object(world: Proxied) -> None:
    """F36: too many requests, in JSON."""
    await world.strike("rate_limit", retry_after_seconds=3)
    answer = await world.struck.ask("POST", json={"id": 1, "method": "getSlot"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert answer.json()["error"]["code"] == 429


async def test_solana__lie__forges_a_result_for_one_reader_only(
    world: Proxied, story: Story
) -> None:
    """F01: a forged status is served to one identity while another provider tells the truth."""
    patch = [{"op": "replace", "path": "/0/slot", "value": 1}]
    await world.strike("lie", rules=[{"method": "getSignaturesForAddress", "patch": patch}])
    forged = await world.struck.rpc("getSignaturesForAddress", ACCOUNT, CONFIRMED)
    honest = await world.spared.rpc("getSignaturesForAddress", ACCOUNT, CONFIRMED)
    assert (forged[0]["slot"], honest[0]["slot"]) == (1, story.slots[4])


async def test_solana__hang_of_history_only__lets_heads_through(
    world: Proxied, story: Story
) -> None:
    await world.strike("stop", methods=["getSignaturesForAddress"])
    assert await world.struck.rpc("getSlot", PROCESSED) == story.head
    with pytest.raises(httpx.TransportError):
        await story.rows(**CONFIRMED)


def test_solana__words_of_its_errors__are_a_validator_s() -> None:
    """Texts that an adapter parses, as a recorded validator said them."""
    call = Solana().calls(_request("getBlock", 627))[0]
    said = ERRORS["slot_skipped"].say(call, None).document
    assert said == {
        "code": -32007,
        "message": "Slot 627 was skipped, or missing due to ledger jump to recent snapshot",
    }
    behind = ERRORS["node_behind"].say(call, 55).document
    assert behind["message"] == "Node is behind by 55 slots"
    assert behind["data"] == {"numSlotsBehind": 55}


def _request(method: str, *params: object) -> Request:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return Request("POST", "", "", json.dumps(body).encode())

"""How the local TON chain behaves: blocks, finality, lost blocks, and real wallet code.

Blocks come only when a test asks, so every count here is exact.
"""

import asyncio
import base64
import itertools
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest
from nacl.signing import SigningKey

from tests.chains.ton.local_chain import (
    NOWHERE,
    TON,
    HighloadWallet,
    LocalChain,
    WalletV4,
    body_of,
    builder,
    code_of,
    internal,
    log,
    normalized_hash,
    raw,
    running_chain,
)
from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.ton import FAUCET_PUBLIC_KEY
from xstock_devnet.ton.__main__ import parser


@pytest.fixture(scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalChain]:
    """One chain for the module; every test has wallets of its own."""
    async with running_chain(tmp_path_factory.mktemp("ton")) as running:
        yield running


async def test_message__in_a_block_and_not_committed__is_pending_and_not_listed(
    chain: LocalChain,
) -> None:
    wallet = await chain.funded_wallet(1)
    message = await chain.send(wallet.transfer(0, []))
    await chain.mine()
    (pending,) = await chain.pending(wallet.address)
    assert (pending["emulated"], pending["finality"]) == (True, "confirmed")
    assert await chain.by_message(message) == []
    head = (await chain.get("masterchainInfo"))["last"]["seqno"]
    await chain.mine()
    (listed,) = await chain.by_message(message)
    assert (listed["hash"], listed["finality"]) == (pending["hash"], "finalized")
    assert listed["mc_block_seqno"] == head + 1
    assert await chain.pending(wallet.address) == []


async def test_account__unconfirmed_change__is_not_in_what_lite_servers_tell(
    chain: LocalChain,
) -> None:
    wallet = await chain.funded_wallet(2)
    await chain.send(wallet.transfer(0, []))
    await chain.mine()
    before = await chain.get("addressInformation", ("address", raw(wallet.address)))
    await chain.mine()
    after = await chain.get("addressInformation", ("address", raw(wallet.address)))
    assert (before["status"], after["status"]) == ("uninitialized", "active")
    (_, last) = await chain.transactions(wallet.address)
    assert after["last_transaction_hash"] == last["hash"]
    assert after["last_transaction_lt"] == last["lt"]


async def test_transfer__wallet_v4r2__child_message_lands_in_a_later_block(
    chain: LocalChain,
) -> None:
    wallet = await chain.funded_wallet(3)
    receiver = WalletV4(SigningKey(b"\x03" * 32))
    await chain.send(wallet.transfer(0, [internal(receiver.address, TON, bounce=False)]))
    await chain.mine(4)
    (_, sent) = await chain.transactions(wallet.address)
    (received,) = await chain.transactions(receiver.address)
    assert received["block_ref"]["seqno"] == sent["block_ref"]["seqno"] + 1
    assert received["in_msg"]["hash"] == sent["out_msgs"][0]["hash"]
    assert received["trace_id"] == sent["trace_id"]
    assert int(received["lt"]) > int(received["in_msg"]["created_lt"]) > int(sent["lt"])
    assert await chain.balance(receiver.address) == TON


async def test_transactions__many_of_one_account__form_one_chain_back_to_nothing(
    chain: LocalChain,
) -> None:
    wallet = await chain.funded_wallet(4)
    for seqno in range(5):
        await chain.send(wallet.transfer(seqno, [internal(wallet.address, TON // 10)]))
        await chain.mine(2)
    await chain.mine(2)
    listed = await chain.transactions(wallet.address)
    assert len(listed) == 1 + 5 + 5
    assert listed[0]["prev_trans_lt"] == "0"
    for earlier, later in itertools.pairwise(listed):
        assert later["prev_trans_hash"] == earlier["hash"]
        assert later["prev_trans_lt"] == earlier["lt"]
        assert later["account_state_before"]["hash"] == earlier["account_state_after"]["hash"]
    newest = await chain.get("transactions", ("account", raw(wallet.address)), ("limit", 1))
    assert newest["transactions"][0]["hash"] == listed[-1]["hash"]
    since = await chain.get(
        "transactions",
        ("account", raw(wallet.address)),
        ("start_lt", int(listed[3]["lt"]) + 1),
        ("sort", "asc"),
    )
    assert [tx["hash"] for tx in since["transactions"]] == [tx["hash"] for tx in listed[4:]]


async def test_message__bouncing_to_an_account_without_code__comes_back(chain: LocalChain) -> None:
    wallet = await chain.funded_wallet(5)
    await chain.send(wallet.transfer(0, [internal(NOWHERE, TON)]))
    await chain.mine(5)
    (refused,) = await chain.transactions(NOWHERE)
    assert refused["description"]["aborted"] is True
    assert refused["description"]["compute_ph"] == {"skipped": True, "reason": "no_state"}
    assert refused["description"]["bounce"]["type"] == "ok"
    returned = (await chain.transactions(wallet.address))[-1]
    assert returned["in_msg"]["bounced"] is True
    assert returned["in_msg"]["opcode"] == "0xffffffff"
    assert 99 * TON < await chain.balance(wallet.address) < 100 * TON


async def test_masterchain_block__its_logical_time__parts_what_it_commits_from_the_rest(
    chain: LocalChain,
) -> None:
    wallet = await chain.funded_wallet(19)
    for seqno in range(4):
        await chain.send(wallet.transfer(seqno, []))
        await chain.mine()
        await chain.mine()
        block = (await chain.get("masterchainInfo"))["last"]
        last = (await chain.transactions(wallet.address))[-1]
        assert int(last["lt"]) < int(block["start_lt"])
        await chain.mine()
    shards = (await chain.get("masterchainBlockShardState", ("seqno", block["seqno"])))["blocks"]
    listed = (await chain.get("masterchainBlockShards", ("seqno", block["seqno"])))["blocks"]
    assert [each for each in listed if each["workchain"] == 0] == shards
    await chain.send(wallet.transfer(4, []))
    await chain.mine()
    (pending,) = await chain.pending(wallet.address)
    head = (await chain.get("masterchainInfo"))["last"]
    assert int(pending["lt"]) > int(head["start_lt"])


async def test_log__external_out_message__is_listed_by_destination_null(chain: LocalChain) -> None:
    wallet = await chain.funded_wallet(6)
    body = builder().store_uint(0xAC392598, 32).end_cell()
    await chain.send(wallet.transfer(0, [log(body)]))
    await chain.mine(2)
    found = await chain.get(
        "messages", ("source", raw(wallet.address)), ("destination", "null"), ("sort", "asc")
    )
    (message,) = found["messages"]
    assert (message["destination"], message["opcode"]) == (None, "0xac392598")
    (_, sent) = await chain.transactions(wallet.address)
    assert message["out_msg_tx_hash"] == sent["hash"]


async def test_highload_wallet__query_number_used_twice__is_refused(chain: LocalChain) -> None:
    wallet = HighloadWallet(SigningKey(b"\x07" * 32))
    await chain.control("fund", address=raw(wallet.address), amount=10 * TON)
    await chain.mine(2)
    created = (await chain.control("state"))["time"] - 30
    first = internal(NOWHERE, TON // 10, bounce=False)
    await chain.send(wallet.send(5, first, created, deploy=True))
    await chain.mine(2)
    second = await chain.submit(wallet.send(5, internal(NOWHERE, TON // 5), created))
    assert second.status_code == httpx.codes.INTERNAL_SERVER_ERROR
    assert "exitcode=36" in second.json()["error"]
    await chain.send(wallet.send(3, first, created))
    await chain.mine(2)


async def test_highload_wallet__sending_more_than_it_has__succeeds_in_silence(
    chain: LocalChain,
) -> None:
    """Exit 0, action success, one skipped action, no message, and the query is used up."""
    wallet = HighloadWallet(SigningKey(b"\x08" * 32))
    await chain.control("fund", address=raw(wallet.address), amount=TON)
    await chain.mine(2)
    created = (await chain.control("state"))["time"] - 30
    sent = await chain.send(wallet.send(0, internal(NOWHERE, 50 * TON), created, deploy=True))
    await chain.mine(2)
    (tx,) = await chain.by_message(sent)
    description = tx["description"]
    assert (description["aborted"], description["compute_ph"]["exit_code"]) == (False, 0)
    assert (description["action"]["success"], description["action"]["skipped_actions"]) == (True, 1)
    assert tx["out_msgs"] == []
    again = await chain.submit(wallet.send(0, internal(NOWHERE, TON // 10), created))
    assert "exitcode=36" in again.json()["error"]


@pytest.mark.parametrize(
    ("change", "exit_code"),
    [({"seqno": 7}, 33), ({"wallet_id": 1}, 34), ({"valid_until": 1_000_000}, 36)],
    ids=["number-too-high", "other-wallet", "expired"],
)
async def test_message__the_wallet_does_not_take__is_refused_with_its_exit_code(
    chain: LocalChain, change: dict[str, int], exit_code: int
) -> None:
    wallet = await chain.funded_wallet(900 + exit_code)
    await chain.send(wallet.transfer(0, []))
    await chain.mine(2)
    seqno = change.pop("seqno", 1)
    answer = await chain.submit(wallet.transfer(seqno, [], **change))
    assert answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR
    error = answer.json()["error"]
    assert error.startswith("LITE_SERVER_UNKNOWN: cannot apply external message to current state")
    assert f"rejected by transaction {wallet.address.hash_part.hex().upper()}" in error
    assert f"exitcode={exit_code}, " in error


async def test_message__account_without_state__is_refused_as_lite_servers_do(
    chain: LocalChain,
) -> None:
    nobody = WalletV4(SigningKey(b"\x09" * 32))
    answer = await chain.submit(nobody.transfer(0, []))
    assert answer.json()["error"].endswith("Failed to unpack account state")
    poor = await chain.funded_wallet(9, amount=1)
    answer = await chain.submit(poor.transfer(0, []))
    assert answer.json()["error"].endswith("before smart-contract execution")


async def test_message__resent_while_it_waits__is_taken_and_included_once(
    chain: LocalChain,
) -> None:
    wallet = await chain.funded_wallet(10)
    message = wallet.transfer(0, [internal(NOWHERE, TON // 10, bounce=False)])
    first = await chain.send(message)
    assert await chain.send(message) == first
    await chain.mine()
    assert await chain.send(message) == first, "the final state does not know it yet"
    await chain.mine(2)
    assert len(await chain.by_message(first)) == 1
    assert (await chain.submit(message)).status_code == httpx.codes.INTERNAL_SERVER_ERROR


async def test_message__known_by_both_hashes__is_found_by_both(chain: LocalChain) -> None:
    wallet = await chain.funded_wallet(11)
    message = wallet.transfer(0, [])
    answer = (await chain.submit(message)).json()
    await chain.mine(2)
    (by_norm,) = await chain.by_message(answer["message_hash_norm"])
    (by_hash,) = await chain.by_message(answer["message_hash"])
    assert by_norm["hash"] == by_hash["hash"]
    assert answer["message_hash_norm"] == normalized_hash(wallet.address, body_of(message))
    assert by_norm["in_msg"]["hash_norm"] == answer["message_hash_norm"]
    assert answer["message_hash_norm"] != answer["message_hash"]


async def test_reorg__blocks_that_are_not_final__are_gone_with_their_transactions(
    chain: LocalChain,
) -> None:
    wallet = await chain.funded_wallet(12)
    await chain.control("freeze_finality", on=True)
    master = (await chain.get("masterchainInfo"))["last"]
    sent = await chain.send(wallet.transfer(0, [internal(NOWHERE, TON)]))
    await chain.mine(3)
    assert len(await chain.pending(wallet.address)) > 0
    assert (await chain.get("masterchainInfo"))["last"]["root_hash"] == master["root_hash"]
    pending = (await chain.control("state"))["pending_blocks"]
    refused = await chain.http.post("/devnet/reorg", json={"depth": pending + 1})
    assert refused.status_code == httpx.codes.BAD_REQUEST
    assert refused.json()["error"].startswith(f"depth: {pending + 1}")
    await chain.control("reorg", depth=3)
    await chain.control("freeze_finality", on=False)
    await chain.mine(4)
    assert await chain.by_message(sent) == []
    assert len(await chain.transactions(wallet.address)) == 1
    assert await chain.balance(wallet.address) == 100 * TON
    await chain.send(wallet.transfer(0, []))
    await chain.mine(2)
    assert len(await chain.transactions(wallet.address)) == 2


async def test_drop_tx__one_of_two_pending_messages__loses_that_one_alone(
    chain: LocalChain,
) -> None:
    lost, kept = await chain.funded_wallet(13), await chain.funded_wallet(14)
    await chain.control("freeze_finality", on=True)
    gone = await chain.send(lost.transfer(0, [internal(NOWHERE, TON, bounce=False)]))
    stays = await chain.send(kept.transfer(0, [internal(NOWHERE, TON, bounce=False)]))
    await chain.mine(3)
    (tx,) = await chain.pending(lost.address)
    await chain.control("drop_tx", tx=tx["hash"])
    await chain.control("freeze_finality", on=False)
    await chain.mine(3)
    assert await chain.by_message(gone) == []
    assert len(await chain.by_message(stays)) == 1
    refused = await chain.http.post("/devnet/drop_tx", json={"tx": stays})
    assert refused.status_code == httpx.codes.BAD_REQUEST


async def test_break_finality__final_blocks_replaced__other_hashes_under_the_same_numbers(
    chain: LocalChain,
) -> None:
    """What a reader saw as final is gone, and only hashes tell."""
    wallet = await chain.funded_wallet(15)
    sent = await chain.send(wallet.transfer(0, [internal(NOWHERE, TON)]))
    await chain.mine(2)
    (tx,) = await chain.by_message(sent)
    seqno = tx["mc_block_seqno"]
    before = (await chain.get("masterchainInfo"))["last"]
    await chain.control("break_finality", depth=before["seqno"] - seqno + 1)
    after = (await chain.get("masterchainInfo"))["last"]
    assert after["seqno"] == before["seqno"]
    assert after["root_hash"] != before["root_hash"]
    assert await chain.by_message(sent) == []
    assert (await chain.get("transactions", ("hash", tx["hash"])))["transactions"] == []
    assert len(await chain.transactions(wallet.address)) == 1
    info = await chain.get("addressInformation", ("address", raw(wallet.address)))
    assert info["status"] == "uninitialized"
    assert await chain.send(wallet.transfer(0, [internal(NOWHERE, TON)])) == sent
    await chain.mine(2)
    assert len(await chain.by_message(sent)) == 1


async def test_finalize__block_that_waits__is_committed_now(chain: LocalChain) -> None:
    wallet = await chain.funded_wallet(16)
    sent = await chain.send(wallet.transfer(0, []))
    await chain.mine()
    assert await chain.by_message(sent) == []
    await chain.control("finalize")
    assert len(await chain.by_message(sent)) == 1


async def test_warp__an_hour__is_in_blocks_and_contracts(chain: LocalChain) -> None:
    wallet = await chain.funded_wallet(17)
    before = int((await chain.get("masterchainInfo"))["last"]["gen_utime"])
    expiring = wallet.transfer(0, [], valid_until=before + 1800)
    assert (await chain.submit(expiring)).status_code == httpx.codes.OK
    await chain.control("warp", seconds=3600)
    await chain.mine(2)
    assert int((await chain.get("masterchainInfo"))["last"]["gen_utime"]) >= before + 3600
    assert len(await chain.transactions(wallet.address)) == 1, "it waited until it was too late"
    assert "exitcode=36" in (await chain.submit(expiring)).json()["error"]


async def test_state_at_a_block__asked_by_v2__is_the_state_of_then(chain: LocalChain) -> None:
    wallet = await chain.funded_wallet(18)
    then = (await chain.get("masterchainInfo"))["last"]["seqno"]
    await chain.send(wallet.transfer(0, []))
    await chain.mine(2)
    seqno = {"address": raw(wallet.address), "method": "seqno", "stack": []}
    now = await chain.http.post("/api/v3/runGetMethod", json=seqno)
    assert now.json()["stack"] == [{"type": "num", "value": "0x1"}]
    past = await chain.http.post("/api/v2/runGetMethod", json={**seqno, "seqno": then})
    assert past.json()["result"]["exit_code"] == -13
    assert past.json()["result"]["block_id"]["seqno"] == then
    future = await chain.http.post("/api/v2/runGetMethod", json={**seqno, "seqno": then + 99})
    assert (future.status_code, future.json()["ok"]) == (542, False)


async def test_state_at_a_block__many_changes_ago__is_still_that_state(chain: LocalChain) -> None:
    wallet = await chain.funded_wallet(20, amount=TON)
    balances: dict[int, int] = {}
    for _ in range(50):
        await chain.control("fund", address=raw(wallet.address), amount=TON)
        await chain.mine()
        seqno = (await chain.get("masterchainInfo"))["last"]["seqno"]
        balances[seqno] = await chain.balance(wallet.address)
    assert len(set(balances.values())) == 50
    for seqno, balance in balances.items():
        asked = httpx.QueryParams({"address": raw(wallet.address), "seqno": seqno})
        answer = await chain.http.get("/api/v2/getAddressBalance", params=asked)
        assert answer.json() == {"ok": True, "result": str(balance)}


async def test_faucet__its_key__is_the_first_development_key_as_an_ed25519_seed(
    chain: LocalChain,
) -> None:
    wallet = WalletV4(SigningKey(bytes.fromhex(dev_private_key(0)[2:])))
    assert wallet.key.verify_key.encode().hex() == FAUCET_PUBLIC_KEY
    assert await chain.balance(wallet.address) > 1_000_000 * TON


@pytest.mark.parametrize(
    ("name", "code_hash"),
    [
        ("wallet v3 r2", "hNr6RJ+Ypph3ibojI1gHK8D3bcRSQAKl0JGLmnXS1Zk="),
        ("wallet v4 r2", "/rX/aCDi/w2Ug+fg1iyBfYRniftK5YDIeIZtlZ2r1cA="),
        ("wallet v5 r1", "IINLe3KxEhR+Gy+0V7hOdNGjDwT3N9T2KmaOlVLSty8="),
        ("highload wallet v3 r1", "EayteVWEQJDyg78ji8FEmHH3g+fMCXlAjT9IWUg+hSU="),
    ],
)
def test_wallet_code__as_kept_here__has_the_hash_toncenter_knows_it_by(
    name: str, code_hash: str
) -> None:
    assert base64.b64encode(code_of(name).hash).decode() == code_hash


async def test_control__wrong_argument__names_field_value_and_remedy(chain: LocalChain) -> None:
    for command, body, start in (
        ("mine", {"blocks": 0}, "blocks: 0; give an integer"),
        ("fund", {"address": "x", "amount": 1}, 'address: "x"; give'),
        ("fund", {"address": raw(NOWHERE), "amount": -1}, "amount: -1; give"),
        ("fund", {"address": raw(NOWHERE), "amount": 2**63}, "amount: 9"),
        ("automine", {"on": "yes"}, 'on: "yes"; give true or false'),
        ("fail", {"status": 418}, "status: 418; give one of"),
        ("explode", {}, "command: POST explode"),
    ):
        answer = await chain.http.post(f"/devnet/{command}", json=body)
        assert answer.status_code == httpx.codes.BAD_REQUEST
        assert answer.json()["error"].startswith(start)
    for text in ("null", "{", "7"):
        answer = await chain.http.post("/devnet/mine", content=text)
        assert answer.status_code == httpx.codes.BAD_REQUEST


async def test_automine__blocks_by_the_clock__fund_returns_with_final_coins(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("ton")
    async with running_chain(folder, automine=True, block_ms=50, final_blocks=2) as chain:
        await chain.control("fund", address=raw(NOWHERE), amount=3 * TON)
        assert await chain.balance(NOWHERE) == 3 * TON
        await chain.control("automine", on=False)
        state = await chain.control("state")
        assert state["pending_blocks"] == 2
        chain.node.child.freeze()
        with pytest.raises(httpx.TimeoutException):
            await chain.http.get("/api/v3/masterchainInfo", timeout=0.2)
        chain.node.child.thaw()
        after = await chain.control("state")
        assert after["master_seqno"] <= state["master_seqno"] + 1
        await chain.node.kill9()
        assert not chain.node.child.running


STARTS_A_CHAIN = """
import asyncio, pathlib, sys
from xstock_devnet.engines.ton import TonNode
async def main():
    node = TonNode(pathlib.Path(sys.argv[1]))
    await node.start()
    print(node.child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_chain__whose_starter_is_killed__does_not_outlive_it(tmp_path: Path) -> None:
    starter = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTS_A_CHAIN, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    chain = psutil.Process(int(await starter.stdout.readline()))
    assert chain.children() == [], "the process is Node itself, no wrapper around it"
    starter.kill()
    await starter.wait()
    await asyncio.to_thread(chain.wait, 10)
    assert not chain.is_running()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--port", "-1"),
        ("--port", "0", "--block-ms", "0"),
        ("--port", "0", "--final-blocks=-1"),
    ],
    ids=["no-port", "port", "block-ms", "final-blocks"],
)
def test_command_line__value_out_of_range__is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(arguments)

"""How the local Tron chain behaves over time: pending and solid, expiry, failures, forks."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from coincurve import PrivateKey

from tests.chains.tron.local_stage import (
    GENESIS_OWNER,
    HOLDER,
    OWNER,
    POOR,
    PROBE,
    Stage,
    broadcast_message,
)
from xstock_devnet.engines.tron import TronNode
from xstock_devnet.processes import ProcessFailed
from xstock_devnet.tron import protobuf, witness
from xstock_devnet.tron.address import of_contract, to_base58
from xstock_devnet.tron.model import Transaction, transaction_of

MINT = "broadcasthex_err_dup_after_inclusion"
FINAL_BLOCKS = 3
BOB = b"\x41" + b"\x77" * 20


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Stage]:
    """One chain for all tests here; each deploys a contract of its own."""
    faucet = witness.faucet_key()
    keys = {OWNER: faucet, GENESIS_OWNER: faucet, HOLDER: PrivateKey(b"\x08" * 32)}
    keys[POOR] = PrivateKey(b"\x09" * 32)
    with tempfile.TemporaryDirectory() as folder:
        node = TronNode(Path(folder), final_blocks=FINAL_BLOCKS, automine=False)
        async with node, httpx.AsyncClient(timeout=30, trust_env=False) as client:
            stage = Stage(node, client, keys)
            for original, key in keys.items():
                stage.stand_in(original, witness.address_of(key))
            yield stage


@pytest.fixture
async def chain(running: Stage) -> Stage:
    """The chain with a fresh probe contract, solid."""
    await running.node.command("automine", on=False)
    await running.node.command("freeze_finality", on=False)
    deploy = await running.fresh(broadcast_message("broadcasthex_success_deploy"))
    assert (await running.broadcast(deploy))["code"] == "SUCCESS"
    running.stand_in(PROBE, of_contract(deploy.id, deploy.value()["owner_address"]))
    await running.mine(FINAL_BLOCKS + 1)
    return running


async def mint(chain: Stage, **changes: Any) -> Transaction:
    """Broadcast a mint that must be accepted."""
    transaction = await chain.fresh(broadcast_message(MINT), **changes)
    answer = await chain.broadcast(transaction)
    assert answer["code"] == "SUCCESS", answer
    return transaction


async def supply(chain: Stage, interface: str) -> int:
    """Return the probe's totalSupply as an interface shows it."""
    answer = await chain.ask(
        f"/{interface}/triggerconstantcontract",
        owner_address=witness.address_of(chain.keys[OWNER]).hex(),
        contract_address="41" + chain.names[PROBE[1:].hex()],
        function_selector="totalSupply()",
    )
    return int(answer["constant_result"][0], 16)


async def info(chain: Stage, transaction: Transaction, interface: str = "wallet") -> Any:
    """Return a transaction's info."""
    return await chain.ask(f"/{interface}/gettransactioninfobyid", value=transaction.id.hex())


async def state(chain: Stage) -> dict[str, Any]:
    """Return the control API's view."""
    return await chain.node.command("state")


async def test_pending__just_broadcast__shows_under_wallet_and_not_as_included(
    chain: Stage,
) -> None:
    """F27: a read of /wallet counts what may never be final."""
    transaction = await mint(chain)
    assert (await supply(chain, "wallet"), await supply(chain, "walletsolidity")) == (1, 0)
    assert await info(chain, transaction) == {}
    pending = await chain.ask("/wallet/gettransactionlistfrompending")
    assert pending == {"txId": [transaction.id.hex()]}
    assert await chain.ask("/wallet/gettransactionbyid", value=transaction.id.hex()) != {}
    await chain.mine()


async def test_solid_side__before_and_after_the_lag__shows_nothing_then_everything(
    chain: Stage,
) -> None:
    transaction = await mint(chain)
    await chain.mine()
    included = await info(chain, transaction)
    await chain.mine(FINAL_BLOCKS - 1)
    assert await info(chain, transaction, "walletsolidity") == {}
    assert await supply(chain, "walletsolidity") == 0
    await chain.mine()
    assert await info(chain, transaction, "walletsolidity") == included
    assert await supply(chain, "walletsolidity") == 1


async def test_expiration__the_block_comes_too_late__the_transaction_is_gone(
    chain: Stage,
) -> None:
    transaction = await mint(chain)
    await chain.node.command("warp", seconds=120)
    assert await info(chain, transaction) == {}
    assert await supply(chain, "wallet") == 0
    assert (await chain.broadcast(transaction))["code"] == "TRANSACTION_EXPIRATION_ERROR"


@pytest.mark.parametrize(
    ("limit", "status", "energy"),
    [(4_263_200, "SUCCESS", 42_632), (4_263_100, "OUT_OF_ENERGY", 42_631)],
)
async def test_energy__the_limit_to_the_unit__decides_between_success_and_all_burned(
    chain: Stage, limit: int, status: str, energy: int
) -> None:
    transaction = await mint(chain, fee_limit=limit)
    await chain.mine()
    receipt = (await info(chain, transaction))["receipt"]
    assert (receipt["result"], receipt["energy_usage_total"]) == (status, energy)
    assert receipt["energy_fee"] == energy * 100
    assert await supply(chain, "wallet") == (1 if status == "SUCCESS" else 0)


async def test_fees__success__leave_the_sender_by_exactly_the_fee(chain: Stage) -> None:
    owner = witness.address_of(chain.keys[OWNER]).hex()
    before = (await chain.ask("/wallet/getaccount", address=owner))["balance"]
    transaction = await mint(chain)
    await chain.mine()
    after = (await chain.ask("/wallet/getaccount", address=owner))["balance"]
    assert before - after == (await info(chain, transaction))["fee"]


async def test_same_second_blocks__many_transactions__keep_their_order_and_effects(
    chain: Stage,
) -> None:
    sent = [await mint(chain) for _ in range(5)]
    await chain.mine()
    number = (await state(chain))["head"]
    infos = await chain.ask("/wallet/gettransactioninfobyblocknum", num=number)
    assert [each["id"] for each in infos] == [each.id.hex() for each in sent]
    assert await supply(chain, "wallet") == 5


async def test_pending__executed_for_another_second__is_executed_again_not_twice(
    chain: Stage,
) -> None:
    sent = [await mint(chain) for _ in range(2)]
    await chain.node.command("warp", seconds=5)
    assert await supply(chain, "wallet") == 2
    assert [bool(await info(chain, each)) for each in sent] == [True, True]


async def test_reorg__of_the_block__takes_state_balance_and_record_back_exactly(
    chain: Stage,
) -> None:
    owner = witness.address_of(chain.keys[OWNER]).hex()
    before = await chain.ask("/wallet/getaccount", address=owner)
    height = (await state(chain))["head"]
    old = await chain.ask("/wallet/getblockbynum", num=height)
    transaction = await mint(chain)
    await chain.mine(2)
    lost = await chain.ask("/wallet/getblockbynum", num=height + 2)
    await chain.node.command("reorg", depth=2)
    assert await chain.ask("/wallet/getaccount", address=owner) == before
    assert (await supply(chain, "wallet"), await info(chain, transaction)) == (0, {})
    assert await chain.ask("/wallet/getblockbynum", num=height) == old
    replaced = await chain.ask("/wallet/getblockbynum", num=height + 2)
    assert replaced["blockID"] != lost["blockID"]
    assert (await chain.broadcast(transaction))["code"] == "SUCCESS"
    await chain.mine()
    assert await supply(chain, "wallet") == 1


async def test_reorg__deeper_than_what_is_not_final__is_refused(chain: Stage) -> None:
    with pytest.raises(ProcessFailed, match="depth: 4 is not 1 to 3"):
        await chain.node.command("reorg", depth=FINAL_BLOCKS + 1)


async def test_drop_tx__one_of_several__only_that_one_is_gone(chain: Stage) -> None:
    first, second, third = [await mint(chain) for _ in range(3)]
    await chain.mine(2)
    await chain.node.command("drop_tx", tx=second.id.hex())
    known = [bool(await info(chain, each)) for each in (first, second, third)]
    assert known == [True, False, True]
    assert await supply(chain, "wallet") == 2


async def test_drop_tx__already_final__is_refused(chain: Stage) -> None:
    transaction = await mint(chain)
    await chain.mine()
    await chain.node.command("finalize")
    with pytest.raises(ProcessFailed, match="is final"):
        await chain.node.command("drop_tx", tx=transaction.id.hex())


async def test_break_finality__a_solid_burn__vanishes_from_the_solid_side(chain: Stage) -> None:
    transaction = await mint(chain)
    await chain.mine()
    await chain.node.command("finalize")
    solid = await chain.ask("/walletsolidity/getnowblock")
    assert await info(chain, transaction, "walletsolidity") != {}
    await chain.node.command("break_finality", depth=1)
    other = await chain.ask("/walletsolidity/getnowblock")
    assert (
        other["block_header"]["raw_data"]["number"] == (solid["block_header"]["raw_data"]["number"])
    )
    assert other["blockID"] != solid["blockID"]
    assert await info(chain, transaction, "walletsolidity") == {}


async def test_freeze_finality__blocks_go_on__the_solid_head_stays(chain: Stage) -> None:
    before = (await state(chain))["final"]
    await chain.node.command("freeze_finality", on=True)
    await chain.mine(5)
    assert (await state(chain))["final"] == before
    await chain.node.command("freeze_finality", on=False)
    await chain.mine()
    assert (await state(chain))["final"] == (await state(chain))["head"] - FINAL_BLOCKS


async def test_fund__an_unknown_account__is_activated_by_a_transfer(chain: Stage) -> None:
    answer = await chain.node.command("fund", address=to_base58(BOB), amount=1_234_567)
    account = await chain.ask("/wallet/getaccount", address=BOB.hex())
    assert account["balance"] == 1_234_567
    found = await chain.ask("/wallet/gettransactioninfobyid", value=answer["tx"])
    assert found["receipt"] == {"net_fee": 100_000}


async def test_block_id__of_any_block__is_number_and_hash_of_its_header(chain: Stage) -> None:
    head = await chain.ask("/wallet/getnowblock")
    number = head["block_header"]["raw_data"]["number"]
    parent = await chain.ask("/wallet/getblockbynum", num=number - 1)
    assert head["block_header"]["raw_data"]["parentHash"] == parent["blockID"]
    assert int(head["blockID"][:16], 16) == number


async def test_constructor__with_arguments_and_storage__runs_at_the_tron_address(
    chain: Stage,
) -> None:
    """Storage, address(this) and chain id are the Tron contract's own from the first moment."""
    deploy = await chain.fresh(broadcast_message("broadcasthex_success_deploy"))
    # SSTORE(0, ADDRESS), SSTORE(1, CHAINID), then return the first byte of itself as code
    code = bytes.fromhex("30600055466001556001600060003960016000f3")
    value = deploy.value()
    value["new_contract"]["bytecode"] = code
    transaction = chain.signed(repacked(deploy, value), chain.keys[OWNER])
    assert (await chain.broadcast(transaction))["code"] == "SUCCESS"
    await chain.mine()
    address = of_contract(transaction.id, value["owner_address"])
    words = [await storage(chain, address, slot) for slot in (0, 1)]
    genesis = await chain.ask("/wallet/getblockbynum", num=0)
    assert words == [int.from_bytes(address[1:], "big"), int(genesis["blockID"][-8:], 16)]
    assert (await info(chain, transaction))["contractResult"] == [code[:1].hex()]


def repacked(transaction: Transaction, value: dict[str, Any]) -> Transaction:
    """Return a transaction whose contract has another parameter."""
    contract = transaction.raw["contract"][0]
    packed = protobuf.encode(transaction.contract_type, value)
    parameter = {**contract["parameter"], "value": packed}
    raw = {**transaction.raw, "contract": [{**contract, "parameter": parameter}]}
    return transaction_of({"raw_data": raw})


async def storage(chain: Stage, address: bytes, slot: int) -> int:
    """Return a word of a contract's storage."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getStorageAt"}
    params = ["0x" + address[1:].hex(), hex(slot), "latest"]
    answer = await chain.ask("/jsonrpc", **body, params=params)
    return int(answer["result"], 16)


async def test_constructor__that_reverts__leaves_no_contract(chain: Stage) -> None:
    deploy = await chain.fresh(broadcast_message("broadcasthex_success_deploy"))
    value = deploy.value()
    value["new_contract"]["bytecode"] = bytes.fromhex("600160005560006000fd")
    transaction = chain.signed(repacked(deploy, value), chain.keys[OWNER])
    assert (await chain.broadcast(transaction))["code"] == "SUCCESS"
    await chain.mine()
    address = of_contract(transaction.id, value["owner_address"])
    assert (await info(chain, transaction))["receipt"]["result"] == "REVERT"
    assert await chain.ask("/wallet/getcontract", value=address.hex()) == {}
    assert await storage(chain, address, 0) == 0


async def test_type_url__bare__fails_the_signature_check(chain: Stage) -> None:
    transaction = await chain.fresh(broadcast_message(MINT))
    contract = transaction.raw["contract"][0]
    parameter = {**contract["parameter"], "type_url": "protocol.TriggerSmartContract"}
    bare = await chain.fresh(
        broadcast_message(MINT), contract=[{**contract, "parameter": parameter}]
    )
    assert (await chain.broadcast(bare))["code"] == "SIGERROR"


async def test_txid__another_signature_over_the_same__is_a_duplicate(chain: Stage) -> None:
    """F40: DUP means known, and the id ignores the signature."""
    transaction = await mint(chain)
    signature = transaction.signatures[0]
    other = chain.with_signature(transaction, signature[:64] + bytes([signature[64] + 27]))
    assert other.serialized != transaction.serialized
    assert (await chain.broadcast(other))["code"] == "DUP_TRANSACTION_ERROR"
    await chain.mine()


async def test_control__a_wrong_body__names_field_value_and_remedy(chain: Stage) -> None:
    for command, body, words in (
        ("mine", {"blocks": "3"}, "blocks: '3' is not a whole number"),
        ("automine", {}, "on: None is neither true nor false"),
        ("warp", {"seconds": -1}, "seconds: -1 is negative"),
        ("fund", {"address": "x", "amount": 1}, "address: 'x' is no Tron address"),
        ("drop_tx", {"tx": "12"}, "tx: '12' is not 64 hex digits"),
    ):
        with pytest.raises(ProcessFailed, match=words):
            await chain.node.command(command, **body)


async def test_automine__on__makes_blocks_by_itself(chain: Stage) -> None:
    before = (await state(chain))["head"]
    await chain.node.command("automine", on=True)
    transaction = await mint(chain)

    async def included() -> bool:
        return bool(await info(chain, transaction))

    waiting = "the transaction to be in a block"
    await chain.node.child.wait_until(included, waiting_for=waiting, timeout_seconds=10)
    assert (await state(chain))["head"] > before


async def test_internal_call__that_fails_inside_a_success__is_marked_rejected(
    chain: Stage,
) -> None:
    """F17: a failed internal call of a successful transaction must not look like an effect."""
    probe = bytes.fromhex(chain.names[PROBE[1:].hex()])
    # probe.noReason() with the result ignored, then STOP
    call = bytes.fromhex("631cbc142060e01b600052600060006004600060007300").removesuffix(b"\x00")
    runtime = call + probe + bytes.fromhex("5af15000")
    size = len(runtime).to_bytes(1, "big")
    code = b"\x60" + size + bytes.fromhex("600c60003960") + size + bytes.fromhex("6000f3") + runtime
    deploy = await chain.fresh(broadcast_message("broadcasthex_success_deploy"))
    value = deploy.value()
    value["new_contract"]["bytecode"] = code
    created = chain.signed(repacked(deploy, value), chain.keys[OWNER])
    assert (await chain.broadcast(created))["code"] == "SUCCESS"
    await chain.mine()
    caller = of_contract(created.id, value["owner_address"])
    plain = await chain.fresh(broadcast_message(MINT))
    target = {**plain.value(), "contract_address": caller}
    transaction = chain.signed(repacked(plain, target), chain.keys[OWNER])
    assert (await chain.broadcast(transaction))["code"] == "SUCCESS"
    await chain.mine()
    found = await info(chain, transaction)
    assert found["receipt"]["result"] == "SUCCESS"
    inner = [
        (each["transferTo_address"], each["rejected"]) for each in found["internal_transactions"]
    ]
    assert inner == [("41" + probe.hex(), True)]


async def test_log__of_a_call__stands_in_the_solid_json_rpc_only_when_solid(chain: Stage) -> None:
    await mint(chain)
    await chain.mine()
    wanted = {"fromBlock": "0x1", "toBlock": "latest"}
    wanted["address"] = "0x" + chain.names[PROBE[1:].hex()]
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [wanted]}
    full = await chain.ask("/jsonrpc", **body)
    assert len(full["result"]) == 1
    assert (await chain.ask("/solidity/jsonrpc", **body))["result"] == []
    await chain.mine(FINAL_BLOCKS)
    assert await chain.ask("/solidity/jsonrpc", **body) == full

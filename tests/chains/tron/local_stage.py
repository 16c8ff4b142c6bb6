"""The recorded session played again on the local chain: same calls, other keys, own ids.

`play` runs the scenes in the recorder's order and keeps the answer to every request it replays,
with local addresses and ids written back as the recorded ones, so that answers can be compared
value by value. What cannot be equal on two chains is replaced by its type (`comparable`).
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from coincurve import PrivateKey

from xstock_devnet.engines.tron import TronNode
from xstock_devnet.tron import protobuf, witness
from xstock_devnet.tron.address import of_contract, to_base58
from xstock_devnet.tron.model import Transaction, transaction_of
from xstock_devnet.tron.protobuf import Message

RECORDINGS = Path(__file__).parent / "recordings"

OWNER = bytes.fromhex("41bcc10170da3fb480e63510264e6e4af2e28b4182")
POOR = bytes.fromhex("41f5d2b97e319e19535e703e9269abe33dc179672a")
HOLDER = bytes.fromhex("410200c013a91416c3af9d87f40398538e0e1d46a0")
GENESIS_OWNER = bytes.fromhex("41dc21a32fde94177bd9468db653a0a623748d6ee0")
PROBE = bytes.fromhex("416bfc28c9b5d578ae9a1347039089e5f53ff138e9")

VOLATILE = frozenset(
    {
        *("blockID", "blockHash", "parentHash", "txTrieRoot", "transactionsRoot", "miner"),
        *("witness_address", "witness_signature", "signature", "r", "s", "v", "size"),
        *("timestamp", "expiration", "ref_block_bytes", "ref_block_hash", "raw_data_hex"),
        *("number", "blockNumber", "blockTimeStamp", "balance", "create_time"),
        *("latest_opration_time", "latest_consume_free_time", "latest_consume_time_for_energy"),
        *("free_net_usage", "freeNetUsed", "transactionIndex", "cumulativeGasUsed", "logIndex"),
        *("txid", "txID", "hash", "transactionHash"),
    }
)
SIGNED_BY = re.compile(r"[0-9a-f]{130} is signed by T[1-9A-HJ-NP-Za-km-z]{33}")


def recorded(name: str) -> dict[str, Any]:
    """Return a recording."""
    loaded: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text())
    return loaded


def comparable(value: Any, key: str = "") -> Any:
    """Return JSON with whatever two chains cannot share replaced by its type."""
    if key == "transaction" and isinstance(value, str):
        value = json.loads(value)
    if key in VOLATILE:
        items = value if isinstance(value, list) else [value]
        return [type(each).__name__ for each in items]
    if key in ("id", "value") and isinstance(value, str) and len(value) >= 64:
        return "hex"
    if isinstance(value, dict):
        return {name: comparable(each, name) for name, each in sorted(value.items())}
    if isinstance(value, list):
        return [comparable(each, key) for each in value]
    return SIGNED_BY.sub("SIGNATURE is signed by T", value) if isinstance(value, str) else value


def shape(value: Any) -> Any:
    """Return JSON with every value replaced by its type, and lists by what occurs in them."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in sorted(value.items())}
    if isinstance(value, list):
        shapes: list[Any] = []
        for each in map(shape, value):
            if each not in shapes:
                shapes.append(each)
        return shapes
    return type(value).__name__


@dataclass
class Stage:
    """The local chain, who is who on it, and what it answered."""

    node: TronNode
    client: httpx.AsyncClient
    keys: dict[bytes, PrivateKey]
    names: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    statuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    clock: int = 0

    def stand_in(self, original: bytes, local: bytes) -> None:
        """Let a local address play a recorded one."""
        self.names[original[1:].hex()] = local[1:].hex()
        self.names[to_base58(original)] = to_base58(local)

    def localized(self, text: str) -> str:
        """Return text with recorded addresses and ids replaced by local ones."""
        for original, local in {**self.names, **self.ids}.items():
            text = text.replace(original, local)
        return text

    def original(self, text: str) -> str:
        """Return text with local addresses and ids replaced by recorded ones."""
        for original, local in {**self.names, **self.ids}.items():
            text = text.replace(local, original)
        return text

    async def post(self, path: str, body: Any) -> httpx.Response:
        """Ask the chain."""
        if isinstance(body, str):
            return await self.client.post(self.node.url + path, content=body)
        return await self.client.post(self.node.url + path, json=body)

    async def ask(self, path: str, **body: Any) -> Any:
        """Ask the chain and return its JSON."""
        return (await self.post(path, body)).json()

    async def replay(self, name: str, **changes: Any) -> Any:
        """Send a recorded request again, localized and with `changes`, and keep the answer."""
        request = recorded(name)["request"]
        body = request["body"]
        if isinstance(body, dict):
            body = {**json.loads(self.localized(json.dumps(body))), **changes}
        path = {"jsonrpc-solidity": "/solidity/jsonrpc"}.get(request["server"], request["path"])
        if request["method"] == "GET":
            response = await self.client.get(self.node.url + path)
        else:
            response = await self.post(path, body)
        self.statuses[name] = (response.status_code, response.headers["content-type"])
        is_json = "json" in response.headers["content-type"]
        text = self.original(response.text)
        self.answers[name] = json.loads(text) if is_json else text
        return json.loads(response.text) if is_json else response.text

    async def mine(self, blocks: int = 1) -> None:
        """Make blocks."""
        await self.node.command("mine", blocks=blocks)

    async def fresh(self, message: Message, **changes: Any) -> Transaction:
        """Return a recorded transaction with local addresses and a reference block of this chain.

        `changes` are laid over raw_data; the signature is the local owner's.
        """
        raw = dict(message["raw_data"])
        head = await self.ask("/wallet/getnowblock")
        self.clock += 1
        raw["ref_block_bytes"] = bytes.fromhex(head["blockID"][12:16])
        raw["ref_block_hash"] = bytes.fromhex(head["blockID"][16:32])
        time_ms = head["block_header"]["raw_data"]["timestamp"]
        raw |= {"expiration": time_ms + 60_000, "timestamp": time_ms + self.clock}
        owner = OWNER
        if raw.get("contract"):
            contract = raw["contract"][0]
            packed = contract["parameter"]["value"]
            owner = transaction_of({"raw_data": raw}).value()["owner_address"]
            local = bytes.fromhex(self.localized(packed.hex()))
            raw["contract"] = [{**contract, "parameter": {**contract["parameter"], "value": local}}]
        raw |= changes
        unsigned = transaction_of({"raw_data": raw})
        return self.signed(unsigned, self.keys.get(owner, self.keys[OWNER]))

    def signed(self, transaction: Transaction, key: PrivateKey) -> Transaction:
        """Return a transaction with a key's signature instead of any other."""
        signature = witness.sign(key, transaction.id)
        return self.with_signature(transaction, signature)

    def with_signature(self, transaction: Transaction, signature: bytes) -> Transaction:
        """Return a transaction with these bytes as its signature."""
        return transaction_of({"raw_data": transaction.raw, "signature": [signature]})

    async def broadcast(self, transaction: Transaction, name: str | None = None) -> Any:
        """Broadcast in hex; `name` keeps the answer as that recording's."""
        body = {"transaction": transaction.serialized.hex()}
        if name is None:
            return await self.ask("/wallet/broadcasthex", **body)
        return await self.replay(name, **body)

    async def repeat(self, name: str) -> Transaction:
        """Broadcast anew the transaction that `gettransactionbyid_<name>` shows; learn its id."""
        shown = recorded(f"gettransactionbyid_{name}")["response"]["json"]
        raw = protobuf.decode("Raw", bytes.fromhex(shown["raw_data_hex"]))
        transaction = await self.fresh({"raw_data": raw})
        answer = await self.broadcast(transaction)
        assert answer["code"] == "SUCCESS", (name, answer)
        self.ids[shown["txID"]] = transaction.id.hex()
        return transaction


def broadcast_message(name: str) -> Message:
    """Return the transaction that a recorded `broadcasthex` sent."""
    sent = recorded(name)["request"]["body"]["transaction"]
    return protobuf.decode("Transaction", bytes.fromhex(sent))


async def play(stage: Stage) -> None:
    """Play every scene."""
    await _cast(stage)
    await _deployment(stage)
    await _contract_calls(stage)
    await _refusals(stage)
    await _building_and_reading(stage)
    await _lifecycle(stage)
    await _json_rpc(stage)


async def _cast(stage: Stage) -> None:
    """Hand out the roles: the faucet owns, two others hold little or nothing."""
    for original, key in stage.keys.items():
        stage.stand_in(original, witness.address_of(key))
    transfer = await stage.fresh(broadcast_message("broadcasthex_success_transfer"))
    value = {**transfer.value(), "to_address": witness.address_of(stage.keys[HOLDER])}
    packed = {**transfer.raw["contract"][0]["parameter"]}
    packed["value"] = protobuf.encode("TransferContract", value)
    contract = {**transfer.raw["contract"][0], "parameter": packed}
    transfer = transaction_of({"raw_data": {**transfer.raw, "contract": [contract]}})
    await stage.broadcast(
        stage.signed(transfer, stage.keys[OWNER]), "broadcasthex_success_transfer"
    )
    poor = witness.address_of(stage.keys[POOR])
    await stage.node.command("fund", address=to_base58(poor), amount=1)


async def _deployment(stage: Stage) -> None:
    """Deploy the recorder's probe contract."""
    name = "broadcasthex_success_deploy"
    await stage.replay("getaccount_unknown")
    await stage.replay("getaccountresource_unknown")
    deploy = await stage.fresh(broadcast_message(name))
    await stage.broadcast(deploy, name)
    stage.ids[transaction_of(broadcast_message(name)).id.hex()] = deploy.id.hex()
    stage.stand_in(PROBE, of_contract(deploy.id, deploy.value()["owner_address"]))
    await stage.replay("gettransactionbyid_pending")
    await stage.replay("gettransactionfrompending_pending")
    await stage.mine()
    number = (await stage.ask("/devnet/state"))["head"]
    await stage.mine(4)
    await stage.replay("gettransactionbyid_included_deploy")
    await stage.replay("gettransactioninfobyid_SUCCESS_deploy")
    await stage.replay("getblockbynum_with_tx", num=number)
    await stage.replay("getblockbylimitnext", startNum=number, endNum=number + 3)
    await stage.replay("getblockbylimitnext_over_limit")
    for name in ("getcontract_visible", "getcontract_unknown", "getcontractinfo_unknown"):
        await stage.replay(name)


async def _contract_calls(stage: Stage) -> None:
    """Everything a contract call can end in, in the recorder's order."""
    await stage.replay("triggerconstantcontract_solidity_success")
    await stage.replay("estimateenergy_enabled_solidity")
    for name in ("SUCCESS_mint", "SUCCESS_mint"):
        await stage.repeat(name)
        await stage.mine()
    await stage.repeat("SUCCESS_mint")
    await stage.mine()
    await stage.replay("gettransactionbyid_SUCCESS_mint")
    await stage.replay("gettransactioninfobyid_SUCCESS_mint")
    name = "broadcasthex_err_dup_after_inclusion"
    known = await stage.fresh(broadcast_message(name))
    await stage.broadcast(known)
    await stage.mine()
    await stage.broadcast(known, name)
    pending = await stage.repeat("SUCCESS_visible")
    await stage.broadcast(pending, "broadcasthex_err_dup_while_pending")
    await stage.mine()
    calls = ("REVERT_reason", "REVERT_custom_error", "REVERT_panic", "ILLEGAL_OPERATION")
    limits = ("OUT_OF_ENERGY", "OUT_OF_ENERGY_max_fee", "SUCCESS_two_logs", "SUCCESS_memo")
    for name in (*calls, *limits):
        await stage.repeat(name)
    await stage.repeat("OUT_OF_ENERGY_zero_fee_limit")
    free = await stage.repeat("SUCCESS_free_bandwidth")
    signature = free.signatures[0]
    by_27 = stage.with_signature(free, signature[:64] + bytes([signature[64] + 27]))
    await stage.mine()
    for name in (*calls, *limits, "OUT_OF_ENERGY_zero_fee_limit"):
        await stage.replay(f"gettransactionbyid_{name}")
        await stage.replay(f"gettransactioninfobyid_{name}")
    await stage.replay("gettransactionbyid_SUCCESS_free_bandwidth")
    await stage.replay("gettransactionbyid_SUCCESS_visible")
    await stage.replay("gettransactioninfobyid_SUCCESS_with_log_dynamic")
    await stage.replay("gettransactioninfobyid_SUCCESS_with_log_dynamic_visible")
    later = await stage.fresh({"raw_data": by_27.raw}, contract=by_27.raw["contract"])
    later = stage.signed(later, stage.keys[HOLDER])
    signature = later.signatures[0]
    later = stage.with_signature(later, signature[:64] + bytes([signature[64] + 27]))
    await stage.broadcast(later, "broadcasthex_success_sig_v27")
    await stage.mine()


async def _refusals(stage: Stage) -> None:
    """Every way in which a transaction does not get in."""
    wrong = PrivateKey(b"\x07" * 32)
    name = "broadcasthex_err_contract_missing"
    await stage.broadcast(await stage.fresh(broadcast_message(name)), name)
    name = "broadcasthex_err_contract_validate_feelimit"
    limit = broadcast_message(name)["raw_data"]["fee_limit"]
    await stage.broadcast(await stage.fresh(broadcast_message(name), fee_limit=limit), name)
    name = "broadcasthex_err_expired"
    expired = await stage.fresh(broadcast_message(name))
    early = int(expired.raw["expiration"]) - 120_000
    await stage.broadcast(await stage.fresh(broadcast_message(name), expiration=early), name)
    name = "broadcasthex_err_no_contract"
    await stage.broadcast(await stage.fresh(broadcast_message(name)), name)
    await stage.replay("broadcasthex_err_not_hex")
    name = "broadcasthex_err_tapos_wrong_hash"
    bad_hash = await stage.fresh(broadcast_message(name), ref_block_hash=b"\xab" * 8)
    await stage.broadcast(bad_hash, name)
    mint = await stage.fresh(broadcast_message("broadcasthex_err_sig_wrong_key"))
    await stage.broadcast(stage.signed(mint, wrong), "broadcasthex_err_sig_wrong_key")
    garbage = stage.with_signature(mint, b"\x01" * 65)
    await stage.broadcast(garbage, "broadcasthex_err_sig_garbage")
    short = stage.with_signature(mint, mint.signatures[0][:64])
    await stage.broadcast(short, "broadcasthex_err_sig_short")
    name = "broadcasthex_err_bandwith"
    answer: Any = {"code": "SUCCESS"}
    while answer["code"] == "SUCCESS":
        poor = await stage.fresh(broadcast_message(name), fee_limit=0)
        answer = await stage.broadcast(poor)
    poor = await stage.fresh(broadcast_message(name))
    await stage.broadcast(poor, name)
    await stage.mine()


async def _building_and_reading(stage: Stage) -> None:
    """What the node builds, simulates and tells without changing anything."""
    await stage.mine(4)
    for name in sorted(SIMPLE):
        await stage.replay(name)
    built = await stage.replay("triggersmartcontract_success")
    unsigned = built["transaction"]
    txid = bytes.fromhex(unsigned["txID"])
    for name, key in (
        ("broadcasttransaction_err_sig_wrong_key", PrivateKey(b"\x07" * 32)),
        ("broadcasttransaction_success", stage.keys[OWNER]),
    ):
        signed = {**unsigned, "signature": [witness.sign(key, txid).hex()]}
        await stage.replay(name, **signed)
    await stage.replay("broadcasttransaction_visible_flag_mismatch")
    await stage.replay("broadcasttransaction_err_empty")
    await stage.mine()


async def _lifecycle(stage: Stage) -> None:
    """One mint as pending, included and solid."""
    shown = recorded("lifecycle_2_tx_fullnode_included")["response"]["json"]
    raw = protobuf.decode("Raw", bytes.fromhex(shown["raw_data_hex"]))
    transaction = await stage.fresh({"raw_data": raw})
    assert (await stage.broadcast(transaction))["code"] == "SUCCESS"
    stage.ids[shown["txID"]] = transaction.id.hex()
    for name in LIFECYCLE["1"]:
        await stage.replay(name)
    await stage.mine()
    number = (await stage.ask("/devnet/state"))["head"]
    head = await stage.ask("/wallet/getnowblock")
    stage.ids[recorded("lifecycle_3_getnowblock_solidity")["response"]["json"]["blockID"]] = head[
        "blockID"
    ]
    for name in LIFECYCLE["2"]:
        await stage.replay(name)
    await stage.replay("gettransactioninfobyblocknum", num=number)
    await stage.replay("gettransactioninfobyblocknum_solidity_not_solid", num=number)
    await stage.replay("getblockbynum_solidity_head_not_yet_solid", num=number)
    for name in ("jsonrpc_eth_getBlockByNumber_latest", "jsonrpc_eth_getLogs_from_finalized"):
        await stage.replay(name)
    params = recorded("jsonrpc_eth_getBlockByNumber_num_full")["request"]["body"]
    await stage.replay(
        "jsonrpc_eth_getBlockByNumber_num_full", **{**params, "params": [hex(number), True]}
    )
    await stage.replay("jsonrpc_eth_getLogs_blockHash")
    await stage.replay("http_bad_json")
    await stage.mine(3)
    for name in LIFECYCLE["3"]:
        changes = {"num": number} if "blocknum" in name else {}
        await stage.replay(name, **changes)


async def _json_rpc(stage: Stage) -> None:
    """The Ethereum-style reads and refusals."""
    await stage.mine()
    for name in sorted(JSON_RPC):
        await stage.replay(name)
    finalized = await stage.ask("/walletsolidity/getnowblock")
    number = finalized["block_header"]["raw_data"]["number"] + 1
    for name, bounds in (
        ("jsonrpc_eth_getLogs_from_above_finalized", {"toBlock": "finalized"}),
        ("jsonrpc_soliditynode_eth_getLogs_not_solid_block", {"toBlock": hex(number)}),
    ):
        body = json.loads(stage.localized(json.dumps(recorded(name)["request"]["body"])))
        params = [{**body["params"][0], "fromBlock": hex(number), **bounds}]
        await stage.replay(name, params=params)


LIFECYCLE = {
    step: tuple(sorted(path.stem for path in RECORDINGS.glob(f"lifecycle_{step}_*.json")))
    for step in "123"
}
SIMPLE = frozenset(
    {
        *("getbandwidthprices", "getenergyprices", "getchainparameters", "getnodeinfo"),
        *("getblock_no_arg", "getnowblock_fullnode", "getnowblock_fullnode_GET"),
        *("getnowblock_fullnode_visible", "getnowblock_solidity", "getblockbynum_genesis"),
        *("getaccount", "getaccountnet", "getaccountresource", "getcontractinfo"),
        *(
            "getcontractinfo_unknown",
            "gettransactionbyid_unknown",
            "gettransactioninfobyid_unknown",
        ),
        *("gettransactioninfobyid_solidity_unknown", "gettransactioninfobyblocknum_empty_block"),
        *("gettransactioninfobyblocknum_missing_block", "http_unknown_path"),
        *("http_bad_json_getblockbynum",),
        *("estimateenergy_enabled_success", "estimateenergy_enabled_revert"),
        *("validateaddress_base58", "validateaddress_hex41", "validateaddress_hex_a0"),
        *("validateaddress_bad_checksum",),
        *("triggerconstantcontract_data_field", "triggerconstantcontract_deploy_simulation"),
        *("triggerconstantcontract_invalid_opcode", "triggerconstantcontract_no_contract"),
        *("triggerconstantcontract_revert_no_reason", "triggerconstantcontract_revert_panic"),
        *("triggerconstantcontract_revert_reason", "triggerconstantcontract_success"),
        *("triggerconstantcontract_success_nonview_mint_with_logs",),
        *("triggerconstantcontract_success_visible",),
        *("triggersmartcontract_base58_without_visible", "triggersmartcontract_no_contract"),
        *("triggersmartcontract_success_visible",),
        *("triggersmartcontract_unknown_selector_still_builds",),
        *("tvm_bal", "tvm_chainid", "tvm_ecrecover", "tvm_ecrecover_x10", "tvm_keccak_1024"),
        *("tvm_keccak_32", "tvm_sha256_1024", "tvm_env", "tvm_blockhash", "tvm_create2"),
    }
)
JSON_RPC = frozenset(
    {
        *("jsonrpc_eth_call_blocknum", "jsonrpc_eth_call_finalized", "jsonrpc_eth_call_latest"),
        *("jsonrpc_eth_call_input_field", "jsonrpc_eth_call_no_contract"),
        *("jsonrpc_eth_call_revert", "jsonrpc_eth_estimateGas_revert", "jsonrpc_eth_getBalance"),
        *("jsonrpc_eth_getBalance_41", "jsonrpc_eth_getBalance_finalized"),
        *("jsonrpc_eth_getBlockByNumber_earliest", "jsonrpc_eth_getBlockByNumber_finalized"),
        *("jsonrpc_eth_getBlockByNumber_missing", "jsonrpc_eth_getBlockReceipts"),
        *("jsonrpc_eth_getCode_none", "jsonrpc_eth_getLogs_41address"),
        *("jsonrpc_eth_getLogs_future", "jsonrpc_eth_getLogs_none", "jsonrpc_eth_getLogs_range"),
        *("jsonrpc_eth_getLogs_safe", "jsonrpc_eth_getProof", "jsonrpc_eth_getStorageAt"),
        *("jsonrpc_eth_getTransactionByHash", "jsonrpc_eth_getTransactionReceipt_oom"),
        *("jsonrpc_eth_getTransactionReceipt_revert",),
        *("jsonrpc_eth_getTransactionReceipt_success",),
        *("jsonrpc_eth_getTransactionReceipt_unknown",),
        *("jsonrpc_eth_getUncleCountByBlockNumber", "jsonrpc_eth_sendRawTransaction"),
        *("jsonrpc_eth_syncing", "jsonrpc_net_version", "jsonrpc_nosuch"),
        *("jsonrpc_soliditynode_eth_blockNumber", "jsonrpc_soliditynode_eth_getLogs"),
        *("jsonrpc_web3_clientVersion",),
    }
)

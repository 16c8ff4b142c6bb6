"""How java-tron shows blocks, transactions and their infos in JSON: zero values missing, no 0x."""

import json
from collections.abc import Mapping
from typing import Any

from eth_utils.crypto import keccak

from xstock_devnet.tron import protobuf
from xstock_devnet.tron.address import PREFIX, of_contract
from xstock_devnet.tron.model import Block, Executed, Transaction
from xstock_devnet.tron.protobuf import Message, show_address

Json = dict[str, Any]


def without_zeros(fields: Mapping[str, Any]) -> Json:
    """Return the fields that protobuf's JSON shows: those that are not zero or empty."""
    return {name: value for name, value in fields.items() if value not in (0, "", [], {}, b"")}


def transaction_json(
    transaction: Transaction, *, visible: bool, status: str | None = None, say_visible: bool = False
) -> Json:
    """Return a transaction; `status` is its contractRet, `say_visible` for those to be signed."""
    shown: Json = {}
    if status is not None:
        shown["ret"] = [{"contractRet": status}]
    if transaction.signatures:
        shown["signature"] = [signature.hex() for signature in transaction.signatures]
    if say_visible:
        shown["visible"] = visible
    shown["txID"] = transaction.id.hex()
    if transaction.contract_type == "CreateSmartContract":
        owner = transaction.value()["owner_address"]
        shown["contract_address"] = show_address(
            of_contract(transaction.id, owner), visible=visible
        )
    raw = protobuf.to_json("Raw", transaction.raw, visible=visible)
    raw["contract"] = [_contract_json(transaction, visible=visible)]
    encoded = protobuf.encode("Raw", transaction.raw)
    return shown | {"raw_data": raw, "raw_data_hex": encoded.hex()}


def _contract_json(transaction: Transaction, *, visible: bool) -> Json:
    contract = transaction.raw["contract"][0]
    name = transaction.contract_type
    value = protobuf.to_json(name, transaction.value(), visible=visible)
    parameter = {"value": value, "type_url": contract["parameter"]["type_url"]}
    shown: Json = {"parameter": parameter, "type": name}
    if "Permission_id" in contract:
        shown["Permission_id"] = contract["Permission_id"]
    return shown


def protobuf_text(transaction: Transaction) -> str:
    """Return the transaction as `broadcasthex` echoes it: parameters left packed."""
    shown = protobuf.to_json("Transaction", transaction.message, visible=False)
    return json.dumps(shown, separators=(",", ": "))


def block_json(block: Block, *, visible: bool, detail: bool = True) -> Json:
    """Return a block, with its transactions unless `detail` is off."""
    header: Json = {"raw_data": protobuf.to_json("BlockRaw", block.header, visible=visible)}
    if block.signature:
        header["witness_signature"] = block.signature.hex()
    shown: Json = {"blockID": block.id.hex(), "block_header": header}
    if detail and block.executed:
        shown["transactions"] = [
            transaction_json(
                each.transaction,
                visible=visible,
                status=each.outcome.status if block.number else None,
            )
            for each in block.executed
        ]
    return shown


def info_json(executed: Executed, block: Block, *, visible: bool) -> Json:
    """Return a TransactionInfo."""
    outcome = executed.outcome
    receipt = {
        "energy_fee": outcome.energy_fee,
        "energy_usage_total": outcome.energy,
        "net_usage": outcome.net_usage,
        "net_fee": outcome.net_fee,
        "result": outcome.status if outcome.is_vm else "",
    }
    return without_zeros(
        {
            "id": executed.transaction.id.hex(),
            "fee": outcome.fee,
            "blockNumber": block.number,
            "blockTimeStamp": block.timestamp_ms,
            "contractResult": [outcome.result.hex()],
            "contract_address": show_address(outcome.contract_address, visible=visible),
            "receipt": without_zeros(receipt),
            "log": [_log_json(log, visible=visible) for log in outcome.logs],
            "result": "FAILED" if outcome.failed else "",
            "resMessage": outcome.message.encode().hex(),
            "internal_transactions": [
                internal_json(each, visible=visible) for each in outcome.internal
            ],
            "packingFee": outcome.energy_fee + outcome.net_fee,
        }
    )


def _log_json(log: Mapping[str, Any], *, visible: bool) -> Json:
    address: bytes = log["address"]
    shown = show_address(PREFIX + address, visible=True) if visible else address.hex()
    return without_zeros({"address": shown, "topics": log["topics"], "data": log["data"]})


def call_logs_json(logs: list[Mapping[str, Any]], *, visible: bool) -> list[Json]:
    """Return the logs of a constant call."""
    return [_log_json(log, visible=visible) for log in logs]


def internal_json(internal: Mapping[str, Any], *, visible: bool) -> Json:
    """Return what one contract asked of another."""
    value = internal["value"]
    return {
        "hash": internal["hash"].hex(),
        "caller_address": show_address(internal["caller_address"], visible=visible),
        "transferTo_address": show_address(internal["transferTo_address"], visible=visible),
        "callValueInfo": [{"callValue": value} if value else {}],
        "note": internal["note"].encode().hex(),
    } | ({"rejected": True} if internal["rejected"] else {})


def contract_json(message: Message, *, visible: bool) -> Json:
    """Return a SmartContract."""
    return protobuf.to_json("SmartContract", message, visible=visible)


def text_or_hex(text: str, *, visible: bool) -> str:
    """Return a message as most endpoints carry it: hex unless `visible`."""
    return text if visible else text.encode().hex()


def selector_data(selector: str, parameter: str) -> bytes:
    """Return call data of a function's text signature and its hex parameters."""
    return keccak(selector.encode())[:4] + bytes.fromhex(parameter)

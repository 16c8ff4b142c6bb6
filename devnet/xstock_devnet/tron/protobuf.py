"""The part of java-tron's protobuf that transactions need, read and written by hand.

A message is a dict from field name to value with zero values absent, which is also how java-tron's
JSON shows it; `SCHEMAS` gives number and kind of every field (java-tron, `core/Tron.proto` and
`core/contract/*.proto`). Unknown fields are refused rather than carried along. Numbers are int64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xstock_devnet.tron import address

Message = dict[str, Any]
Kind = Literal["bytes", "address", "text", "int", "bool", "enum", "message"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
INT64_BITS = 64
TYPE_URL = "type.googleapis.com/protocol."


class ProtobufError(ValueError):
    """Bytes or JSON that are not the message they should be."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its number, how its value looks, and for messages and enums which one."""

    number: int
    kind: Kind
    of: str = ""
    repeated: bool = False


ENUMS: dict[str, dict[int, str]] = {
    "ContractType": {1: "TransferContract", 30: "CreateSmartContract", 31: "TriggerSmartContract"},
    "EntryType": {
        **{1: "Constructor", 2: "Function", 3: "Event", 4: "Fallback", 5: "Receive"},
        6: "Error",
    },
    "StateMutability": {1: "Pure", 2: "View", 3: "Nonpayable", 4: "Payable"},
}

SCHEMAS: dict[str, dict[str, Field]] = {
    "Transaction": {
        "raw_data": Field(1, "message", "Raw"),
        "signature": Field(2, "bytes", repeated=True),
        "ret": Field(5, "message", "Result", repeated=True),
    },
    "Result": {"fee": Field(1, "int"), "ret": Field(2, "int"), "contractRet": Field(3, "int")},
    "Raw": {
        "ref_block_bytes": Field(1, "bytes"),
        "ref_block_num": Field(3, "int"),
        "ref_block_hash": Field(4, "bytes"),
        "expiration": Field(8, "int"),
        "data": Field(10, "bytes"),
        "contract": Field(11, "message", "Contract", repeated=True),
        "scripts": Field(12, "bytes"),
        "timestamp": Field(14, "int"),
        "fee_limit": Field(18, "int"),
    },
    "Contract": {
        "type": Field(1, "enum", "ContractType"),
        "parameter": Field(2, "message", "Any"),
        "provider": Field(3, "bytes"),
        "ContractName": Field(4, "bytes"),
        "Permission_id": Field(5, "int"),
    },
    "Any": {"type_url": Field(1, "text"), "value": Field(2, "bytes")},
    "TransferContract": {
        "owner_address": Field(1, "address"),
        "to_address": Field(2, "address"),
        "amount": Field(3, "int"),
    },
    "TriggerSmartContract": {
        "owner_address": Field(1, "address"),
        "contract_address": Field(2, "address"),
        "call_value": Field(3, "int"),
        "data": Field(4, "bytes"),
        "call_token_value": Field(5, "int"),
        "token_id": Field(6, "int"),
    },
    "CreateSmartContract": {
        "owner_address": Field(1, "address"),
        "new_contract": Field(2, "message", "SmartContract"),
        "call_token_value": Field(3, "int"),
        "token_id": Field(4, "int"),
    },
    "SmartContract": {
        "origin_address": Field(1, "address"),
        "contract_address": Field(2, "address"),
        "abi": Field(3, "message", "ABI"),
        "bytecode": Field(4, "bytes"),
        "call_value": Field(5, "int"),
        "consume_user_resource_percent": Field(6, "int"),
        "name": Field(7, "text"),
        "origin_energy_limit": Field(8, "int"),
        "code_hash": Field(9, "bytes"),
        "trx_hash": Field(10, "bytes"),
        "version": Field(11, "int"),
    },
    "ABI": {"entrys": Field(1, "message", "Entry", repeated=True)},
    "Entry": {
        "anonymous": Field(1, "bool"),
        "constant": Field(2, "bool"),
        "name": Field(3, "text"),
        "inputs": Field(4, "message", "Param", repeated=True),
        "outputs": Field(5, "message", "Param", repeated=True),
        "type": Field(6, "enum", "EntryType"),
        "payable": Field(7, "bool"),
        "stateMutability": Field(8, "enum", "StateMutability"),
    },
    "Param": {"indexed": Field(1, "bool"), "name": Field(2, "text"), "type": Field(3, "text")},
    "Block": {
        "transactions": Field(1, "message", "Transaction", repeated=True),
        "block_header": Field(2, "message", "BlockHeader"),
    },
    "BlockHeader": {
        "raw_data": Field(1, "message", "BlockRaw"),
        "witness_signature": Field(2, "bytes"),
    },
    "BlockRaw": {
        "timestamp": Field(1, "int"),
        "txTrieRoot": Field(2, "bytes"),
        "parentHash": Field(3, "bytes"),
        "number": Field(7, "int"),
        "witness_address": Field(9, "address"),
        "version": Field(10, "int"),
    },
}


def encode(name: str, message: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of a message: fields by number, zero values left out."""
    out = bytearray()
    for field_name, field in sorted(SCHEMAS[name].items(), key=lambda item: item[1].number):
        value = message.get(field_name)
        for each in value if field.repeated and value is not None else (value,):
            if each is not None and (field.repeated or field.kind == "message" or each):
                out += _encode_field(field, each)
    return bytes(out)


def _encode_field(field: Field, value: Any) -> bytes:
    if field.kind in ("int", "bool", "enum"):
        return _varint(field.number << 3 | VARINT) + _varint(int(value) % (1 << INT64_BITS))
    if field.kind == "message":
        payload = encode(field.of, value)
    else:
        payload = value.encode() if isinstance(value, str) else bytes(value)
    return _varint(field.number << 3 | BYTES) + _varint(len(payload)) + payload


def decode(name: str, data: bytes) -> Message:
    """Return a message; raises ProtobufError for a truncated one or a field it does not have."""
    fields = {field.number: (field_name, field) for field_name, field in SCHEMAS[name].items()}
    message: Message = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value, at = _read_value(data, at, tag & 7)
        if tag >> 3 not in fields:
            raise ProtobufError(f"{name}: field {tag >> 3} is not known here")
        field_name, field = fields[tag >> 3]
        parsed = _decode_value(name, field_name, field, value)
        if field.repeated:
            message.setdefault(field_name, []).append(parsed)
        elif parsed or field.kind == "message":
            message[field_name] = parsed
    return message


def _decode_value(name: str, field_name: str, field: Field, value: int | bytes) -> Any:
    is_number = field.kind in ("int", "bool", "enum")
    if is_number != isinstance(value, int):
        raise ProtobufError(
            f"{name}.{field_name}: wrong wire type for a field of kind {field.kind}"
        )
    if isinstance(value, int):
        signed = value - (1 << INT64_BITS) if value >> (INT64_BITS - 1) else value
        return bool(signed) if field.kind == "bool" else signed
    if field.kind == "message":
        return decode(field.of, value)
    return value.decode(errors="replace") if field.kind == "text" else value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value % (1 << INT64_BITS), at
        shift += 7
    raise ProtobufError("protobuf: a number does not end; send the whole message")


def _read_value(data: bytes, at: int, wire_type: int) -> tuple[int | bytes, int]:
    if wire_type == VARINT:
        return _read_varint(data, at)
    if wire_type != BYTES:
        raise ProtobufError(f"protobuf: wire type {wire_type} does not occur in transactions")
    size, at = _read_varint(data, at)
    if at + size > len(data):
        raise ProtobufError("protobuf: bytes end early; send the whole message")
    return data[at : at + size], at + size


def to_json(name: str, message: Mapping[str, Any], *, visible: bool) -> dict[str, Any]:
    """Return the message as java-tron shows it: hex, or base58 addresses where `visible`."""
    return {
        field_name: (
            [_show(field, each, visible) for each in message[field_name]]
            if field.repeated
            else _show(field, message[field_name], visible)
        )
        for field_name, field in SCHEMAS[name].items()
        if field_name in message
    }


def _show(field: Field, value: Any, visible: bool) -> Any:  # noqa: FBT001 - private
    if field.kind == "message":
        return to_json(field.of, value, visible=visible)
    if field.kind == "enum":
        return ENUMS[field.of].get(value, value)
    if field.kind == "address":
        return show_address(value, visible=visible)
    return value.hex() if isinstance(value, bytes) else value


def show_address(value: bytes, *, visible: bool) -> str:
    """Return an address as JSON carries it: hex with 41, or T… where `visible`."""
    return address.to_base58(value) if visible and len(value) == address.SIZE else value.hex()


def from_json(name: str, body: Mapping[str, Any], *, visible: bool) -> Message:
    """Return the message that JSON describes, unknown names ignored as java-tron does.

    Raises ProtobufError for text that is not hex (or not base58 where `visible`).
    """
    message: Message = {}
    for field_name, field in SCHEMAS[name].items():
        if field_name not in body:
            continue
        given = body[field_name]
        parsed = (
            [_parse(field_name, field, each, visible) for each in given]
            if field.repeated
            else _parse(field_name, field, given, visible)
        )
        if parsed or field.kind == "message":
            message[field_name] = parsed
    return message


def _parse(name: str, field: Field, value: Any, visible: bool) -> Any:  # noqa: FBT001 - private
    try:
        if field.kind == "message":
            return from_json(field.of, value, visible=visible)
        if field.kind == "enum" and isinstance(value, str):
            numbers = {text: number for number, text in ENUMS[field.of].items()}
            return numbers[value]
        if field.kind == "address":
            return address.from_base58(value) if visible else bytes.fromhex(value)
        if field.kind == "bytes":
            return bytes.fromhex(value)
        return value if field.kind == "text" else int(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtobufError(f"{name}: INVALID hex String") from error

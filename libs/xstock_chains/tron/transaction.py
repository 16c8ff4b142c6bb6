"""Tron transactions: protobuf written and read by hand, and their id.

What is signed is always built here, field by field, never taken from a node's answer: a node
that may write what we sign may write anything. Only three contracts are known, with nothing in
them that we do not set. `decode` accepts a byte string only if it encodes to the very same
bytes, so nothing can hide in unknown fields. Layout: tronprotocol/protocol, core/Tron.proto and
core/contract/*.proto; checked against transactions that a real node accepted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from xstock_chains.tron.address import PREFIX
from xstock_core.ids import InvalidId
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

_TYPE_URL: Final = b"type.googleapis.com/protocol."
_TRANSFER, _CREATE, _TRIGGER = 1, 30, 31
_NAMES: Final = {
    _TRANSFER: b"TransferContract",
    _CREATE: b"CreateSmartContract",
    _TRIGGER: b"TriggerSmartContract",
}
_INT64_MAX: Final = 2**63 - 1
_RESULT_SIZE: Final = 64
"""What a node adds to a transaction's size for its result when it counts bandwidth."""


@dataclass(frozen=True, slots=True)
class Frame:
    """When a transaction may land: after its reference block, before its expiration (ms)."""

    ref_block_bytes: bytes
    ref_block_hash: bytes
    expiration_ms: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """A call of a contract, without value; accounts are 20 bytes."""

    owner: bytes
    contract: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Create:
    """A contract's creation; whoever calls it pays all of its energy."""

    owner: bytes
    bytecode: bytes
    name: str
    origin_energy_limit: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """Coins, in sun (10^-6 TRX)."""

    owner: bytes
    to: bytes
    amount: int


Content = Trigger | Create | Transfer


@dataclass(frozen=True, slots=True)
class RawTransaction:
    """What is signed: a frame, one contract, and the most it may cost (sun)."""

    frame: Frame
    content: Content
    fee_limit: int = 0


def reference(number: int, block_id: bytes) -> tuple[bytes, bytes]:
    """(ref_block_bytes, ref_block_hash) of a block: bytes 6-7 of its number, 8-15 of its id."""
    return number.to_bytes(8, "big")[6:8], block_id[8:16]


def transaction_id(raw: bytes) -> bytes:
    """The id of a transaction by its raw_data; signatures do not change it."""
    return sha256(raw).digest()


def created_address(tx_id: bytes, owner: bytes) -> bytes:
    """The 20 bytes of the contract that this transaction of `owner` creates."""
    return keccak256(tx_id + PREFIX + owner)[12:]


def signed_transaction(raw: bytes, signature: bytes) -> bytes:
    """The whole Transaction message, as `broadcasthex` takes it."""
    return _bytes(1, raw) + _bytes(2, signature)


def bandwidth_of(signed: bytes) -> int:
    """The bandwidth points that a signed transaction needs."""
    return len(signed) + _RESULT_SIZE


# ---------------------------------------------------------------------- writing


def encode(tx: RawTransaction) -> bytes:
    """The raw_data message; zero values are left out, as proto3 does. Raises InvalidId."""
    number, value = _content(tx.content)
    name = _TYPE_URL + _NAMES[number]
    contract = _number(1, number) + _bytes(2, _bytes(1, name) + _bytes(2, value))
    frame = tx.frame
    if len(frame.ref_block_bytes) != 2 or len(frame.ref_block_hash) != 8:
        raise InvalidId("ref_block", frame.ref_block_hash.hex(), "give 2 and 8 bytes of a block")
    return b"".join(
        (
            _bytes(1, frame.ref_block_bytes),
            _bytes(4, frame.ref_block_hash),
            _number(8, frame.expiration_ms),
            _bytes(11, contract),
            _number(14, frame.timestamp_ms),
            _number(18, tx.fee_limit),
        )
    )


def _content(content: Content) -> tuple[int, bytes]:
    owner = _bytes(1, PREFIX + content.owner)
    match content:
        case Trigger(contract=contract, data=data):
            return _TRIGGER, owner + _bytes(2, PREFIX + contract) + _bytes(4, data)
        case Transfer(to=to, amount=amount):
            return _TRANSFER, owner + _bytes(2, PREFIX + to) + _number(3, amount)
        case Create() as create:
            made = b"".join(
                (
                    owner,
                    _bytes(4, create.bytecode),
                    _number(6, 100),
                    _bytes(7, create.name.encode()),
                    _number(8, create.origin_energy_limit),
                )
            )
            return _CREATE, owner + _bytes(2, made)


def _varint(value: int) -> bytes:
    if not 0 <= value <= _INT64_MAX:
        raise InvalidId("varint", value, f"a field of a transaction is 0 to {_INT64_MAX}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value if value else b""


# ---------------------------------------------------------------------- reading


def decode(raw: bytes) -> RawTransaction:
    """The transaction in these raw_data bytes; raises InvalidMessage for any that this module
    would not have written."""
    try:
        tx = _decoded(raw)
        if encode(tx) == raw:
            return tx
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise _unreadable(raw) from error
    raise _unreadable(raw)


def _unreadable(raw: bytes) -> InvalidMessage:
    text = (
        f"raw_data: {raw.hex()[:80]!r} is no transaction that this bridge builds (one call, "
        "creation or transfer, nothing besides); do not sign it"
    )
    return InvalidMessage("TRANSACTION_UNREADABLE", text, {"raw_data": raw.hex()[:80]})


def _decoded(raw: bytes) -> RawTransaction:
    fields = dict(_fields(raw))
    contract = dict(_fields(_blob(fields[11])))
    (number, any_value) = _integer(contract[1]), dict(_fields(_blob(contract[2])))
    frame = Frame(
        _blob(fields[1]), _blob(fields[4]), _integer(fields[8]), _integer(fields.get(14, 0))
    )
    content = _content_of(number, dict(_fields(_blob(any_value[2]))))
    return RawTransaction(frame, content, _integer(fields.get(18, 0)))


def _content_of(number: int, value: dict[int, int | bytes]) -> Content:
    owner = _blob(value[1])[1:]
    if number == _TRIGGER:
        return Trigger(owner, _blob(value[2])[1:], _blob(value.get(4, b"")))
    if number == _TRANSFER:
        return Transfer(owner, _blob(value[2])[1:], _integer(value.get(3, 0)))
    if number == _CREATE:
        made = dict(_fields(_blob(value[2])))
        name = _blob(made.get(7, b"")).decode()
        return Create(owner, _blob(made[4]), name, _integer(made.get(8, 0)))
    raise ValueError("another contract")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2 and at + value <= len(data):
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            raise ValueError("another wire type, or cut short")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a varint of more than 64 bits")


def _blob(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("bytes were expected")
    return value


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise TypeError("a number was expected")
    return value

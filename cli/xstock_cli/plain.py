"""Protobuf messages as plain JSON: the same names, ids in hex, enums by their short names.

64-bit integers are strings, as in proto3's own JSON, because many readers would round them;
times are RFC 3339 in UTC with milliseconds; what is unset is null.
"""

from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_WIDE: Final = frozenset(
    {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64},
)


def plain(message: Message) -> dict[str, Any]:
    """The message as a dict that `json.dumps` accepts."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            found[field.name] = [_value(field, item) for item in value]
        elif field.message_type is not None and not message.HasField(field.name):
            found[field.name] = None
        else:
            found[field.name] = _value(field, value)
    return found


def enum_word(enum: EnumDescriptor, number: int) -> str:
    """TRANSFER_STATE_HELD -> HELD; a number of a newer server stays a number."""
    known = enum.values_by_number.get(number)
    if known is None:
        return str(number)
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(known.name.removeprefix(prefix))


def rfc3339(milliseconds: int) -> str:
    """Unix milliseconds as 2026-01-31T12:00:00.000Z."""
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _value(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        return rfc3339(value.ToMilliseconds())
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        return enum_word(field.enum_type, value)
    return str(value) if field.cpp_type in _WIDE else value

"""What travels on the bus, and how a record proves that one of us wrote it.

The header `mac` is HMAC-SHA256 over the length-prefixed topic, key and value, so a record cannot
be forged straight into Kafka, changed, or moved to another topic. It says nothing about order,
age or repetition, and other headers are not covered: consumers are idempotent and must not trust
headers.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from xstock_runtime.errors import InvalidMessage

MAC_HEADER = "mac"
MAC_KEY_BYTES_MIN = 32

T = TypeVar("T")
Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """A record to publish. Records of one key arrive in the order of publishing."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Received:
    """A record as the broker gave it. A null key or value on the wire is empty bytes here."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes
    headers: Headers = ()

    def header(self, name: str) -> bytes | None:
        """The last header called `name`, None if there is none."""
        for header, value in reversed(self.headers):
            if header == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that was dead-lettered, and why."""

    received: Received
    cause: InvalidMessage


@dataclass(slots=True)
class Message(Generic[T]):
    """An authentic, decoded record in the handler's page."""

    received: Received
    body: T
    rejected: InvalidMessage | None = field(default=None)

    def reject(self, cause: InvalidMessage) -> None:
        """Dead-letter this one record once the handler returns; the rest of the page stands."""
        self.rejected = cause


def raw_value(received: Received) -> bytes:
    """The `decode` of a consumer that wants plain bytes."""
    return received.value


def dead_letter_topic(topic: str) -> str:
    """Where the unbelievable records of `topic` go."""
    return f"{topic}.dlq"


def mac_of(key: bytes, topic: str, record_key: bytes, value: bytes) -> bytes:
    """The 32-byte MAC of a record. Raises ValueError if `key` is shorter than 32 bytes."""
    if len(key) < MAC_KEY_BYTES_MIN:
        raise ValueError(f"kafka MAC key has {len(key)} bytes; use at least {MAC_KEY_BYTES_MIN}")
    parts = (topic.encode(), record_key, value)
    text = b"".join(piece for part in parts for piece in (len(part).to_bytes(8, "big"), part))
    return hmac.digest(key, text, "sha256")


def verify_mac(keys: Sequence[bytes], received: Received) -> None:
    """Accept a record written under any of `keys` (several while a key is being rotated).

    Raises InvalidMessage MAC_MISSING or MAC_MISMATCH.
    """
    given = received.header(MAC_HEADER)
    where = {
        "topic": received.topic,
        "partition": received.partition,
        "offset": received.offset,
    }
    if given is None:
        raise InvalidMessage("MAC_MISSING", "the record carries no mac header", where)
    for key in keys:
        # SECURITY: without this comparison anyone who reaches Kafka can write our history.
        if hmac.compare_digest(given, mac_of(key, received.topic, received.key, received.value)):
            return
    raise InvalidMessage("MAC_MISMATCH", "the record's mac is not by any of our keys", where)

"""The few words of the ABI that the hot path needs: selectors, topics and static encoding.

Decoding by hand here is about twenty times faster than a contract object; everything off the
hot path uses the artifacts' ABI through web3. Layout: the Solidity ABI specification.
"""

from collections.abc import Sequence
from typing import Final

from xstock_core.ids import InvalidId
from xstock_runtime.hashing import keccak256

WORD: Final = 32
ZERO_WORD: Final = bytes(WORD)


def selector(signature: str) -> bytes:
    """The first four bytes of a function's call data."""
    return keccak256(signature.encode())[:4]


def topic(signature: str) -> bytes:
    """The first topic of an event."""
    return keccak256(signature.encode())


def word(value: int) -> bytes:
    """An unsigned integer as 32 bytes."""
    return value.to_bytes(WORD, "big")


def address_word(address: bytes) -> bytes:
    """20 bytes as an ABI word."""
    return address.rjust(WORD, b"\0")


def hex_of(data: bytes) -> str:
    """0x text of bytes, as JSON-RPC wants it."""
    return "0x" + data.hex()


def bytes_argument(data: bytes) -> bytes:
    """The tail of a dynamic `bytes` argument: length and padded content."""
    return word(len(data)) + data + bytes(-len(data) % WORD)


def uint_array(values: Sequence[int]) -> bytes:
    """The tail of a dynamic array of unsigned integers."""
    return word(len(values)) + b"".join(word(value) for value in values)


def words(data: bytes, count: int, field: str) -> tuple[int, ...]:
    """The first `count` words as integers; raises InvalidId if there are fewer."""
    if len(data) < WORD * count:
        raise InvalidId(field, data.hex(), f"expected at least {count} words of return data")
    return tuple(
        [int.from_bytes(data[at : at + WORD], "big") for at in range(0, WORD * count, WORD)]
    )


def array_of_words(data: bytes, field: str) -> tuple[int, ...]:
    """A returned dynamic array of one-word elements; raises InvalidId if it is cut short."""
    offset, *_ = words(data, 1, field)
    (length,) = words(data[offset:], 1, field)
    return words(data[offset + WORD :], length, field)

"""Solana's transaction bytes, written and read by hand: the hot path touches no SDK.

Layout: https://solana.com/docs/core/transactions (compact-u16 lengths, legacy and version-0
messages). Compilation is deterministic: accounts in the order in which the instructions first
name them, within the four classes that the format demands, so that every guard that is given the
same content builds the same bytes. Parsing is strict: one byte too many is InvalidMessage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xstock_runtime.errors import InvalidMessage

KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
PACKET_MAX: Final = 1232
"""Most bytes of a serialised transaction (one IPv6 packet less its headers)."""


@dataclass(frozen=True, slots=True)
class Meta:
    """An account of an instruction, with what the instruction needs of it."""

    key: bytes
    signer: bool = False
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction by full keys."""

    program: bytes
    accounts: tuple[Meta, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Compiled:
    """One instruction of a parsed message, by account numbers."""

    program: int
    accounts: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A parsed message; `keys` are its static accounts, signers first."""

    version: int | None
    """None: legacy."""
    signers: int
    readonly_signers: int
    readonly_others: int
    keys: tuple[bytes, ...]
    blockhash: bytes
    instructions: tuple[Compiled, ...]
    lookups: int
    """How many accounts address lookup tables add."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A parsed transaction; `message_bytes` is what was signed."""

    signatures: tuple[bytes, ...]
    message: Message
    message_bytes: bytes


def compact(number: int) -> bytes:
    """A length as compact-u16."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))


def compile_message(payer: bytes, instructions: Sequence[Instruction], blockhash: bytes) -> bytes:
    """The bytes of a legacy message; the same arguments give the same bytes."""
    needs: dict[bytes, tuple[bool, bool]] = {payer: (True, True)}
    for instruction in instructions:
        for meta in (*instruction.accounts, Meta(instruction.program)):
            signer, writable = needs.get(meta.key, (False, False))
            needs[meta.key] = (signer or meta.signer, writable or meta.writable)
    classes = ((True, True), (True, False), (False, True), (False, False))
    ordered = [key for wanted in classes for key, need in needs.items() if need == wanted]
    counts = [sum(need == wanted for need in needs.values()) for wanted in classes]
    at = {key: number for number, key in enumerate(ordered)}
    parts = [
        bytes((counts[0] + counts[1], counts[1], counts[3])),
        compact(len(ordered)),
        *ordered,
        blockhash,
        compact(len(instructions)),
    ]
    for one in instructions:
        accounts = bytes(at[meta.key] for meta in one.accounts)
        parts += [bytes((at[one.program],)), compact(len(accounts)), accounts]
        parts += [compact(len(one.data)), one.data]
    return b"".join(parts)


def transaction_bytes(signatures: Sequence[bytes], message: bytes) -> bytes:
    """A transaction of this message; signatures in the order of its signers."""
    return compact(len(signatures)) + b"".join(signatures) + message


class _Cursor:
    """Reads forward and refuses to read past the end."""

    def __init__(self, raw: bytes, at: int = 0) -> None:
        self.raw = raw
        self.at = at

    def take(self, size: int) -> bytes:
        part = self.raw[self.at : self.at + size]
        if len(part) != size:
            raise malformed("it ends too early")
        self.at += size
        return part

    def byte(self) -> int:
        return self.take(1)[0]

    def length(self) -> int:
        number = 0
        for shift in (0, 7, 14):
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return number
        raise malformed("a length has more than three bytes")


def malformed(what: str) -> InvalidMessage:
    """Bytes that are no transaction."""
    text = f"a transaction's bytes cannot be read: {what}; ask another node"
    return InvalidMessage("TRANSACTION_MALFORMED", text, {"detail": what})


def parse_transaction(raw: bytes) -> Transaction:
    """The transaction in these bytes; raises InvalidMessage."""
    cursor = _Cursor(raw)
    signatures = tuple(cursor.take(SIGNATURE_SIZE) for _ in range(cursor.length()))
    start = cursor.at
    message = _message(cursor)
    if cursor.at != len(raw):
        raise malformed("bytes are left over")
    if not signatures or len(signatures) != message.signers:
        raise malformed(f"{len(signatures)} signatures for {message.signers} signers")
    return Transaction(signatures, message, raw[start:])


def parse_message(raw: bytes) -> Message:
    """The message in these bytes; raises InvalidMessage."""
    cursor = _Cursor(raw)
    message = _message(cursor)
    if cursor.at != len(raw):
        raise malformed("bytes are left over")
    return message


def _message(cursor: _Cursor) -> Message:
    first = cursor.byte()
    version = first & 0x7F if first & 0x80 else None
    if version:
        raise malformed(f"message version {version} is unknown")
    signers = cursor.byte() if version is not None else first
    readonly_signers, readonly_others = cursor.byte(), cursor.byte()
    keys = tuple(cursor.take(KEY_SIZE) for _ in range(cursor.length()))
    blockhash = cursor.take(KEY_SIZE)
    instructions = tuple(_compiled(cursor) for _ in range(cursor.length()))
    lookups = 0
    if version is not None:
        for _ in range(cursor.length()):
            cursor.take(KEY_SIZE)
            for _ in range(2):
                number = cursor.length()
                cursor.take(number)
                lookups += number
    if signers == 0 or signers > len(keys):
        raise malformed(f"{signers} signers among {len(keys)} accounts")
    return Message(
        version, signers, readonly_signers, readonly_others, keys, blockhash, instructions, lookups
    )


def _compiled(cursor: _Cursor) -> Compiled:
    program = cursor.byte()
    accounts = cursor.take(cursor.length())
    return Compiled(program, accounts, cursor.take(cursor.length()))

"""A program of a stranger: it calls the programs it is told to, so calls can be inner instructions.

The bridge has no program of its own, but anyone's may burn, mark or transfer by calling others, and
a reader must find that. This one takes its orders as instruction data, one after another: position
of the program among its accounts, number of accounts, their positions, length of the data, data
(each a byte, but the data). Every called program sees the rights that the caller's accounts have.
It is assembled here because no compiler for Solana programs comes as a package: sBPF version 0, one
relocation, for the call.
"""

import hashlib
import struct
from collections.abc import Sequence

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

CALLER_PROGRAM = Pubkey(hashlib.sha256(b"xstock local solana: caller").digest())
SYSCALL = b"sol_invoke_signed_c"

RELOCATE_CALL = 10
INFOS = 0x3_0000_0000
"""On the heap: one `SolAccountInfo` of 56 bytes for each account."""
METAS, ORDER, END = INFOS + 0x4000, INFOS + 0x6000, INFOS + 0x6800

Line = str | tuple[str | int, ...]
OPCODES = {
    "ldxb": 0x71, "ldxdw": 0x79, "stxb": 0x73, "stxdw": 0x7B, "mov": 0xBF, "movi": 0xB7,
    "add": 0x0F, "addi": 0x07, "muli": 0x27, "andi": 0x57, "ja": 0x05, "jeq": 0x1D,
    "jnei": 0x55, "jge": 0x3D, "exit": 0x95,
}  # fmt: skip
WIDE_LOAD, CALL = 0x18, 0x85

READ_ACCOUNTS: tuple[Line, ...] = (
    ("ldxdw", 7, 1, 0),
    ("mov", 6, 1),
    ("addi", 6, 8),
    ("wide", 8, INFOS),
    ("movi", 9, 0),
    "account",
    ("jeq", 9, 7, "orders"),
    ("ldxb", 2, 6, 0),
    ("jnei", 2, 0xFF, "same"),
    *(
        line
        for at, where in ((8, 0), (40, 32), (72, 8))
        for line in (("mov", 3, 6), ("addi", 3, at), ("stxdw", 8, 3, where))
    ),
    ("ldxdw", 4, 6, 80),
    ("stxdw", 8, 4, 16),
    ("mov", 3, 6),
    ("addi", 3, 88),
    ("stxdw", 8, 3, 24),
    *(
        line
        for at, where in ((1, 48), (2, 49), (3, 50))
        for line in (("ldxb", 5, 6, at), ("stxb", 8, 5, where))
    ),
    ("add", 3, 4),
    ("addi", 3, 10_240 + 7),
    ("andi", 3, -8),
    ("ldxdw", 5, 3, 0),
    ("stxdw", 8, 5, 40),
    ("mov", 6, 3),
    ("ja", "next"),
    "same",
    ("muli", 2, 56),
    ("wide", 3, INFOS),
    ("add", 3, 2),
    *(line for at in range(0, 56, 8) for line in (("ldxdw", 5, 3, at), ("stxdw", 8, 5, at))),
    "next",
    ("addi", 6, 8),
    ("addi", 8, 56),
    ("addi", 9, 1),
    ("ja", "account"),
)
FOLLOW_ORDERS: tuple[Line, ...] = (
    "orders",
    ("ldxdw", 4, 6, 0),
    ("addi", 6, 8),
    ("mov", 5, 6),
    ("add", 5, 4),
    ("wide", 3, END),
    ("stxdw", 3, 5, 0),
    "order",
    ("wide", 3, END),
    ("ldxdw", 5, 3, 0),
    ("jge", 6, 5, "done"),
    ("ldxb", 2, 6, 0),
    ("muli", 2, 56),
    ("wide", 3, INFOS),
    ("add", 3, 2),
    ("ldxdw", 3, 3, 0),
    ("wide", 8, ORDER),
    ("stxdw", 8, 3, 0),
    ("wide", 5, METAS),
    ("stxdw", 8, 5, 8),
    ("ldxb", 4, 6, 1),
    ("stxdw", 8, 4, 16),
    ("addi", 6, 2),
    ("movi", 9, 0),
    "meta",
    ("jeq", 9, 4, "call"),
    ("ldxb", 2, 6, 0),
    ("muli", 2, 56),
    ("wide", 3, INFOS),
    ("add", 3, 2),
    ("ldxdw", 0, 3, 0),
    ("stxdw", 5, 0, 0),
    ("ldxb", 0, 3, 49),
    ("stxb", 5, 0, 8),
    ("ldxb", 0, 3, 48),
    ("stxb", 5, 0, 9),
    ("addi", 6, 1),
    ("addi", 5, 16),
    ("addi", 9, 1),
    ("ja", "meta"),
    "call",
    ("ldxb", 2, 6, 0),
    ("addi", 6, 1),
    ("stxdw", 8, 6, 24),
    ("stxdw", 8, 2, 32),
    ("add", 6, 2),
    ("mov", 1, 8),
    ("wide", 2, INFOS),
    ("mov", 3, 7),
    ("movi", 4, 0),
    ("movi", 5, 0),
    ("invoke",),
    ("jnei", 0, 0, "end"),
    ("ja", "order"),
    "done",
    ("movi", 0, 0),
    "end",
    ("exit",),
)


def calls(instructions: Sequence[Instruction]) -> Instruction:
    """Return the one instruction that makes the caller call these, in this order."""
    keys: dict[Pubkey, tuple[bool, bool]] = {}
    for instruction in instructions:
        program = AccountMeta(instruction.program_id, is_signer=False, is_writable=False)
        for meta in (*instruction.accounts, program):
            signer, writable = keys.get(meta.pubkey, (False, False))
            keys[meta.pubkey] = (signer or meta.is_signer, writable or meta.is_writable)
    place = {key: index for index, key in enumerate(keys)}
    orders = bytearray()
    for instruction in instructions:
        named = bytes(place[meta.pubkey] for meta in instruction.accounts)
        data = bytes(instruction.data)
        orders += bytes([place[instruction.program_id], len(named)]) + named
        orders += bytes([len(data)]) + data
    metas = [
        AccountMeta(key, is_signer=signer, is_writable=writable)
        for key, (signer, writable) in keys.items()
    ]
    return Instruction(CALLER_PROGRAM, bytes(orders), metas)


def caller_program() -> bytes:
    """Return the program as the ELF file that a loader takes."""
    code, call_at = _assembled((*READ_ACCOUNTS, *FOLLOW_ORDERS))
    return _elf(code, call_at)


def _assembled(lines: Sequence[Line]) -> tuple[bytes, int]:
    """Return the code and the position, in bytes, of its one call."""
    places: dict[str, int] = {}
    slot = 0
    for line in lines:
        if isinstance(line, str):
            places[line] = slot
        else:
            slot += 2 if line[0] == "wide" else 1
    code, call_at = bytearray(), 0
    for line in lines:
        if isinstance(line, str):
            continue
        if line[0] == "invoke":
            call_at = len(code)
        code += _encoded(line, len(code) // 8, places)
    return bytes(code), call_at


def _encoded(line: tuple[str | int, ...], slot: int, places: dict[str, int]) -> bytes:
    name = str(line[0])
    values = [places[value] - slot - 1 if isinstance(value, str) else value for value in line[1:]]
    if name == "wide":
        register, value = values
        return struct.pack(
            "<BBhIBBhI", WIDE_LOAD, register, 0, value & 0xFFFF_FFFF, 0, 0, 0, value >> 32
        )
    if name == "invoke":
        return struct.pack("<BBhi", CALL, 0x10, 0, -1)
    target, source, offset, immediate = 0, 0, 0, 0
    if name == "ja":
        (offset,) = values
    elif name == "jnei":
        target, immediate, offset = values
    elif name in ("movi", "addi", "muli", "andi"):
        target, immediate = values
    elif values:
        target, source, offset = (*values, 0)[:3]
    return struct.pack("<BBhi", OPCODES[name], target | source << 4, offset, immediate)


def _elf(code: bytes, call_at: int) -> bytes:
    """Wrap code into the smallest file that Solana's loader takes: text and what links the call."""
    text_at = 64 + 2 * 56
    dynamic_at = text_at + len(code)
    symbols_at = dynamic_at + 6 * 16
    names = b"\0" + SYSCALL + b"\0"
    names += bytes(-len(names) % 8)
    names_at = symbols_at + 2 * 24
    relocation_at = names_at + len(names)
    titles_at = relocation_at + 16
    titles = b"\0.text\0.dynamic\0.dynsym\0.dynstr\0.rel.dyn\0.shstrtab\0"
    titles += bytes(-len(titles) % 8)
    sections_at = titles_at + len(titles)
    dynamic = b"".join(
        struct.pack("<QQ", tag, value)
        for tag, value in (
            (17, relocation_at), (18, 16), (19, 16), (6, symbols_at), (5, names_at), (0, 0),
        )
    )  # fmt: skip
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 0x10, 0, 0, 0, 0)
    relocation = struct.pack("<QQ", text_at + call_at, 1 << 32 | RELOCATE_CALL)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 3, 247, 1, text_at, 64, sections_at, 0, 64, 56, 2, 64, 7, 6
    )
    programs = struct.pack("<IIQQQQQQ", 1, 5, text_at, text_at, text_at, len(code), len(code), 8)
    programs += struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, dynamic_at, dynamic_at, 96, 96, 8)
    sections = [bytes(64)]
    for title, kind, flags, at, size, link, info, entry in (
        (b".text", 1, 6, text_at, len(code), 0, 0, 0),
        (b".dynamic", 6, 2, dynamic_at, 96, 4, 0, 16),
        (b".dynsym", 11, 2, symbols_at, 48, 4, 1, 24),
        (b".dynstr", 3, 2, names_at, len(names), 0, 0, 0),
        (b".rel.dyn", 9, 2, relocation_at, 16, 3, 0, 16),
        (b".shstrtab", 3, 0, titles_at, len(titles), 0, 0, 0),
    ):
        name_at = titles.index(title + b"\0")
        address = at if flags else 0
        sections.append(
            struct.pack(
                "<IIQQQQIIQQ", name_at, kind, flags, address, at, size, link, info, 8, entry
            )
        )
    return b"".join(
        (header, programs, code, dynamic, symbols, names, relocation, titles, *sections)
    )

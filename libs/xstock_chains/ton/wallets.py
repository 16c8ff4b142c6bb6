"""The wallets that send for us: highload v3 (relayer) and v4r2 (holder, deployer).

Code cells are the ones their authors published, kept in `wallet_codes.json` with their hashes and
checked against them when loaded. A wallet's address follows from its key, its id and, for the
highload wallet, its timeout: changing one of the constants here changes every address.
Sources: ton-blockchain/highload-wallet-contract-v3, ton-blockchain/wallet-contract (v4r2).
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from xstock_chains.ton.cells import address_of, end, slice_of, state_init
from xstock_core.ids import Address32
from xstock_runtime.errors import Fatal

HIGHLOAD_SUBWALLET: Final = 0x10AD
HIGHLOAD_TIMEOUT_SECONDS: Final = 300
"""How long a query id lives from its `created_at`; used ids are remembered twice as long."""
V4_WALLET_ID: Final = 698983191
V4_MESSAGES_MAX: Final = 4
SEND_MODE: Final = 3
"""Pay fees apart from the value (1), go on where one message cannot be sent (2)."""
BITS: Final = 1023
SHIFTS: Final = 8192
QUERIES: Final = BITS * SHIFTS - 1
"""Query ids in all: 13 bits of shift, 10 bits of bit number, of which 1023 is invalid."""

_SIGNATURE_BITS: Final = 512
_INNER_BITS: Final = 32 + 8 + 13 + 10 + 64 + 22


@cache
def wallet_code(name: str) -> Cell:
    """A wallet's code cell; raises Fatal if the committed bytes are not the published ones."""
    text = (files("xstock_chains.ton") / "wallet_codes.json").read_text("utf-8")
    entry = json.loads(text)[name]
    code = Cell.one_from_boc(base64.b64decode(entry["codeBoc64"]))
    if code.hash.hex() != entry["codeHash"]:
        raise Fatal("ARTIFACT_INVALID", f"{name}: the code cell is not {entry['codeHash']}")
    return code


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet contract of one key: its account and its first state."""

    address: Address32
    init: Cell


@cache
def highload_wallet(public_key: bytes) -> Wallet:
    """The relayer's wallet: many sends at once, each in a slot of its own."""
    data = (
        Builder()
        .store_bytes(public_key)
        .store_uint(HIGHLOAD_SUBWALLET, 32)
        .store_uint(0, 1 + 1 + 64)
        .store_uint(HIGHLOAD_TIMEOUT_SECONDS, 22)
        .end_cell()
    )
    return _wallet("highload_v3", data)


@cache
def v4_wallet(public_key: bytes) -> Wallet:
    """A person's wallet: one send after another."""
    data = (
        Builder().store_uint(0, 32).store_uint(V4_WALLET_ID, 32).store_bytes(public_key)
    ).store_bit(0)
    return _wallet("wallet_v4r2", data.end_cell())


def _wallet(name: str, data: Cell) -> Wallet:
    code = wallet_code(name)
    return Wallet(address_of(code, data), state_init(code, data))


def query_id(counter: int) -> int:
    """The wallet's query id of the n-th send: shift ‖ bit number, never bit 1023."""
    shift, bit = divmod(counter % QUERIES, BITS)
    return shift << 10 | bit


def highload_inner(counter: int, created_at: int, message: Cell) -> Cell:
    """What the key signs for the highload wallet: one message in one slot."""
    return end(
        Builder()
        .store_uint(HIGHLOAD_SUBWALLET, 32)
        .store_ref(message)
        .store_uint(SEND_MODE, 8)
        .store_uint(query_id(counter), 23)
        .store_uint(created_at, 64)
        .store_uint(HIGHLOAD_TIMEOUT_SECONDS, 22)
    )


def highload_body(inner: Cell, signature: bytes) -> Cell:
    """The signed body for the highload wallet."""
    return end(Builder().store_bytes(signature).store_ref(inner))


def counter_in(body: Cell) -> int | None:
    """The counter of a signed body of the highload wallet; None for any other body."""
    if len(body.refs) != 1 or len(body.bits) != _SIGNATURE_BITS:
        return None
    inner = slice_of(body.refs[0])
    if inner.remaining_bits != _INNER_BITS:
        return None
    inner.skip_bits(32 + 8)
    shift, bit = inner.load_uint(13), inner.load_uint(10)
    return int(shift * BITS + bit)


def v4_inner(seqno: int, valid_until: int, messages: Sequence[Cell]) -> Cell:
    """What the key signs for a v4r2 wallet: up to four messages."""
    if not 1 <= len(messages) <= V4_MESSAGES_MAX:
        raise ValueError(f"messages: {len(messages)} do not fit; give 1 to {V4_MESSAGES_MAX}")
    builder = Builder().store_uint(V4_WALLET_ID, 32).store_uint(valid_until, 32)
    builder.store_uint(seqno, 32).store_uint(0, 8)
    for message in messages:
        builder.store_uint(SEND_MODE, 8).store_ref(message)
    return end(builder)


def v4_body(inner: Cell, signature: bytes) -> Cell:
    """The signed body for a v4r2 wallet."""
    return end(Builder().store_bytes(signature).store_cell(inner))

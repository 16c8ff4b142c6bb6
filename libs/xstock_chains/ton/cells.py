"""Cells built and read in one place: accounts, messages, state, and what they hash to.

Layouts: TL-B of the network (ton-blockchain/ton, crypto/block/block.tlb). Inside the house an
account is its 32-byte hash on the basechain; addresses as text exist only at the edges.
"""

from typing import Any, Final

from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell
from pytoniq_core.boc.hashmap.hashmap import HashMap

from xstock_core.ids import Address32
from xstock_runtime.errors import InvalidMessage

EMPTY: Final = Builder().end_cell()
_STD_ADDRESS: Final = 0b100
_COINS_MAX: Final = 2**120 - 1


def end(builder: Any) -> Cell:
    """The finished cell; the library's own builder is untyped where it chains."""
    cell: Cell = builder.end_cell()
    return cell


def slice_of(cell: Cell) -> Any:
    """A reader of the cell's content."""
    return cell.begin_parse()  # type: ignore[no-untyped-call]


def boc_of(cell: Cell) -> bytes:
    """The bag of cells; the same cell gives the same bytes."""
    return bytes(cell.to_boc())  # type: ignore[no-untyped-call]


def op_of(body: Cell) -> int:
    """The op of a message's body, 0 if it has none."""
    return 0 if len(body.bits) < 32 else int(slice_of(body).preload_uint(32))


def store_account(builder: Any, account: Address32 | None) -> Any:
    """`addr_std` on the basechain, or `addr_none`."""
    if account is None:
        return builder.store_uint(0, 2)
    return builder.store_uint(_STD_ADDRESS, 3).store_int(0, 8).store_bytes(account)


def account_slice(account: Address32) -> tuple[str, Cell]:
    """An address as a get method takes it."""
    return ("slice", store_account(Builder(), account).end_cell())


def load_account(piece: Any, field: str) -> Address32 | None:
    """A standard address of the basechain from a slice; None for `addr_none`. Raises
    InvalidMessage for any other form."""
    if piece.remaining_bits >= 2 and piece.preload_uint(2) == 0:
        piece.skip_bits(2)
        return None
    if piece.remaining_bits < 267 or piece.load_uint(3) != _STD_ADDRESS or piece.load_int(8) != 0:
        raise malformed(field, "another form", "a standard address of the basechain")
    return Address32(piece.load_bytes(32))


def state_init(code: Cell, data: Cell) -> Cell:
    """A contract's first state."""
    return end(Builder().store_uint(0b00110, 5).store_ref(code).store_ref(data))


def address_of(code: Cell, data: Cell) -> Address32:
    """The account of a contract with this first state."""
    return Address32(state_init(code, data).hash)


def internal_message(
    to: Address32, value: int, body: Cell, *, bounce: bool = True, init: Cell | None = None
) -> Cell:
    """A message for a wallet to send: value in nanoTON, body in a cell of its own."""
    if not 0 <= value <= _COINS_MAX:
        raise ValueError(f"value: {value} nanoTON is not 0 to 2^120 - 1")
    builder = Builder().store_uint(0b010 if bounce is False else 0b011, 3).store_bit(0)
    store_account(store_account(builder, None), to)
    builder.store_coins(value).store_bit(0).store_coins(0).store_coins(0)
    builder.store_uint(0, 64).store_uint(0, 32)
    if init is None:
        builder.store_bit(0)
    else:
        builder.store_uint(0b11, 2).store_ref(init)
    return end(builder.store_bit(1).store_ref(body))


def external_message(to: Address32, body: Cell, init: Cell | None = None) -> Cell:
    """A message from outside; the body in a cell of its own."""
    builder = store_account(Builder().store_uint(0b10, 2).store_uint(0, 2), to).store_coins(0)
    if init is None:
        builder.store_bit(0)
    else:
        builder.store_uint(0b11, 2).store_ref(init)
    return end(builder.store_bit(1).store_ref(body))


def normalised_hash(to: Address32, body: Cell) -> bytes:
    """What an external message is found by, whatever a relay did to its envelope (TEP-467)."""
    return bytes(external_message(to, body).hash)


def dictionary(cell: Cell | None, key_bits: int) -> dict[int, Any]:
    """A dictionary's root cell as {key: slice}; none is empty."""
    if cell is None:
        return {}
    try:
        found: dict[int, Any] = HashMap.parse(slice_of(cell), key_bits) or {}
    except Exception as error:
        raise malformed("dictionary", cell.hash.hex(), "a dictionary") from error
    return found


def dictionary_cell(entries: dict[int, Any], key_bits: int, write: Any) -> Cell | None:
    """The root cell of a dictionary whose values `write(value, builder)` stores; None if empty."""
    tree = HashMap(key_bits, value_serializer=write)
    for key, value in entries.items():
        tree.set_int_key(key, value)
    return tree.serialize()


def malformed(field: str, value: object, wanted: str) -> InvalidMessage:
    """A chain's answer that cannot be read."""
    shown = repr(value)[:120]
    text = f"{field}: {shown} is not {wanted}; ask another node"
    return InvalidMessage("RPC_MALFORMED", text, {"field": field, "value": shown})

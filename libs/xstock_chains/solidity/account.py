"""The 20 bytes of an account or contract and their 32-byte wire form; texts are a family's own."""

from typing import Final

from xstock_core.ids import Address32, InvalidId

_PADDING: Final = bytes(12)


def to_wire(address: bytes) -> Address32:
    """20 bytes left-padded to the wire form."""
    return Address32(_PADDING + address)


def from_wire(address: bytes, field: str = "address") -> bytes:
    """The 20 bytes inside a wire form; raises InvalidId if the padding is not zero."""
    if len(address) != 32 or address[:12] != _PADDING:
        raise InvalidId(field, address.hex(), "a 20-byte address is left-padded with zero bytes")
    return address[12:]

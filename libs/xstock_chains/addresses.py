"""Addresses and public identities as people write them, per chain family; needs no node, no SDK.

Each family's own rules (checksum, width, prefix) live in its `address` module; here is only the
choice of family, for everybody who has a text and a chain's family.
"""

import re
from typing import Final

from xstock_chains.families import Family
from xstock_core.ids import Address32, InvalidId

_ED25519: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")


def parse_wire(family: Family, text: str, field: str = "address") -> Address32:
    """The wire form of an address text; raises InvalidId with the remedy."""
    match family:
        case "evm":
            from xstock_chains.evm import address as evm

            return evm.to_wire(evm.parse_text(text, field))
        case "solana":
            from xstock_chains.solana import address as solana

            return solana.parse_text(text, field)
        case "tron":
            from xstock_chains.tron import address as tron

            return tron.parse_text(text, field)
        case "ton":
            from xstock_chains.ton import address as ton

            return ton.parse_text(text, field)


def show_wire(family: Family, wire: Address32) -> str:
    """The family's own text of a wire address, with checksum."""
    match family:
        case "evm":
            from xstock_chains.evm import address as evm

            return evm.checksummed(evm.from_wire(wire))
        case "solana":
            from xstock_chains.solana import address as solana

            return solana.show(wire)
        case "tron":
            from xstock_chains.tron import address as tron

            return tron.show(wire)
        case "ton":
            from xstock_chains.ton import address as ton

            return ton.show(wire)


def parse_identity(family: Family, text: str, field: str = "identity") -> bytes:
    """A signer's public identity on a family: 20 bytes (EVM, Tron) or an ed25519 public key of
    32 bytes (Solana in base 58, TON in hexadecimal). Raises InvalidId."""
    if family == "ton":
        if not _ED25519.fullmatch(text):
            raise InvalidId(field, text, "give the ed25519 public key: 64 hexadecimal digits")
        return bytes.fromhex(text.removeprefix("0x"))
    wire = parse_wire(family, text, field)
    return bytes(wire) if family == "solana" else bytes(wire[12:])


def show_identity(family: Family, identity: bytes) -> str:
    """The text of a public identity, as the registry carries it."""
    if family == "ton":
        return identity.hex()
    return show_wire(family, Address32(identity.rjust(32, b"\0")))

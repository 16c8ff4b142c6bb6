"""Tron addresses as the local chain handles them: 21 bytes from 0x41 on, and their texts."""

import base58
from eth_utils.crypto import keccak

PREFIX = b"\x41"
SIZE = 21
ZERO_EVM = "0x" + "00" * 20


def from_base58(text: str) -> bytes:
    """Return the 21 bytes of a T… address; raises ValueError if checksum, length or prefix fail."""
    decoded = base58.b58decode_check(text)
    if len(decoded) != SIZE or decoded[:1] != PREFIX:
        raise ValueError(f"address: {text!r} is not 21 bytes that begin with 41")
    return decoded


def to_base58(address: bytes) -> str:
    """Return the T… text of an address."""
    return base58.b58encode_check(address).decode()


def to_evm(address: bytes) -> str:
    """Return the 0x-prefixed last 20 bytes, as anvil knows the account."""
    return "0x" + address[-20:].hex()


def from_evm(text: str) -> bytes:
    """Return the Tron address of a 0x-prefixed 20-byte one."""
    return PREFIX + bytes.fromhex(text.removeprefix("0x"))


def of_public_key(uncompressed: bytes) -> bytes:
    """Return the address of a 64-byte secp256k1 public key."""
    return PREFIX + keccak(uncompressed)[12:]


def of_contract(txid: bytes, owner: bytes) -> bytes:
    """Return where a CreateSmartContract transaction puts its contract."""
    return PREFIX + keccak(txid + owner)[12:]

"""Which address a public key has on a chain: how a holder's signed paper is tied to a burn.

EVM and Tron: the last 20 bytes of keccak256(x ‖ y) of a secp256k1 key, 33 bytes compressed.
Solana: the 32 bytes of an ed25519 key. A TON address is its contract's, not a key's.
"""

from typing import Final

from xstock_core.ids import EVM_WIDTH_DOMAINS, Address32, Domain
from xstock_core.keccak import Keccak, keccak256

_P: Final = 2**256 - 2**32 - 977
"""The prime of secp256k1's field, SEC 2 version 2.0, section 2.4.1."""


def address_of_key(chain: Domain, key: bytes, keccak: Keccak = keccak256) -> Address32 | None:
    """The address that this public key has on the chain; None where it is no key of the chain."""
    if chain is Domain.SOLANA and len(key) == 32:
        return Address32(key)
    if chain not in EVM_WIDTH_DOMAINS or len(key) != 33 or key[0] not in (2, 3):
        return None
    x = int.from_bytes(key[1:], "big")
    square = (x**3 + 7) % _P
    y = pow(square, (_P + 1) // 4, _P)
    if x >= _P or y * y % _P != square:
        return None
    if y % 2 != key[0] % 2:
        y = _P - y
    return Address32(bytes(12) + keccak(key[1:] + y.to_bytes(32, "big"))[12:])

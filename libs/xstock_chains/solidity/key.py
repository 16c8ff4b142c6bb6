"""A secp256k1 key on this machine: its account, and signatures over release digests.

For guards without a KMS, for relayers, and for holders in tests and on local chains. The key
never leaves the object: not by `repr`, not by an error. Transactions are a family's own.
"""

from pathlib import Path
from typing import Final, Self

from coincurve import PrivateKey

from xstock_chains.keyfile import secret_of_file, secret_of_hex
from xstock_chains.solidity.account import to_wire
from xstock_chains.solidity.codec import address_of_key
from xstock_core.ids import Address32
from xstock_runtime.errors import Fatal

_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Secp256k1Key:
    """One secp256k1 key in memory; a family's signer adds its transactions."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < _ORDER:
            raise Fatal("KEY_INVALID", "the key is not 32 bytes of a secp256k1 secret; check it")
        self._key = PrivateKey(secret)
        self._identity = address_of_key(self._key.public_key)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """A key from 64 hexadecimal digits, with or without 0x; raises Fatal."""
        return cls(secret_of_hex(text))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """A key from a file that holds its hexadecimal digits; raises Fatal."""
        return cls(secret_of_file(path))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(0x{self._identity.hex()})"

    @property
    def identity(self) -> bytes:
        """The 20-byte address."""
        return self._identity

    @property
    def wire(self) -> Address32:
        """The address in its wire form."""
        return to_wire(self._identity)

    async def sign_digest(self, digest: bytes) -> bytes:
        """r, s and v (27 or 28) over a 32-byte digest; s is low (RFC 6979, deterministic)."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes((raw[64] + 27,))

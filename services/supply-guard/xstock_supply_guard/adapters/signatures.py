"""Signatures of papers: secp256k1 (33-byte keys) or ed25519 (32-byte keys), by the key's length.

A secp256k1 signature is 65 bytes r ‖ s ‖ v, v being 0, 1, 27 or 28, with a low s; an ed25519 one
is 64 bytes. Garbage is simply not valid.
"""

import coincurve
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SECP256K1_KEY_BYTES = 33
ED25519_KEY_BYTES = 32
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def signature_valid(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """True only for a valid signature over `digest` by `public_key`."""
    if len(public_key) == SECP256K1_KEY_BYTES:
        return _secp256k1(public_key, digest, signature)
    return len(public_key) == ED25519_KEY_BYTES and _ed25519(public_key, digest, signature)


def _secp256k1(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    if len(signature) != 65 or len(digest) != 32:
        return False
    recovery = signature[64] - 27 if signature[64] >= 27 else signature[64]
    # SECURITY: the twin of every signature (n - s) is refused, so a paper has one signature.
    if recovery not in (0, 1) or int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        return False
    try:
        found = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes((recovery,)), digest, hasher=None
        )
    except Exception:  # noqa: BLE001 - coincurve raises bare Exception on garbage
        return False
    return found.format(compressed=True) == public_key


def _ed25519(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, digest)
    except (InvalidSignature, ValueError):
        return False
    return True

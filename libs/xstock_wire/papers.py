"""Signing papers with a key on this machine: attestations, orders, rejections, openings.

For the command line, for local chains and for tests. Who checks a paper is the guard, with code
of its own (`xstock_supply_guard.adapters.signatures`): signer and verifier share only the kinds'
names and the digest.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from coincurve import PrivateKey, PublicKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from google.protobuf.message import Message

from xstock_runtime.errors import Fatal
from xstock_wire.codec import paper_digest
from xstock_wire.v1 import common_pb2

ATTESTATION = "attestation"
ISSUE_ORDER = "issue-order"
ISSUE_VOID = "issue-void"
CORPORATE_ACTION = "corporate-action"
SCREENING_LIST = "screening-list"
REDEMPTION_REJECTION = "redemption-rejection"
OPENING = "opening"
CANCEL_REQUEST = "cancel-request"


@dataclass(frozen=True, slots=True)
class PaperKey:
    """A secp256k1 key that signs papers under the registry's name for it."""

    key_id: str
    _key: PrivateKey = field(repr=False)

    @classmethod
    def from_hex(cls, key_id: str, text: str) -> Self:
        """A key from 64 hexadecimal digits; raises Fatal KEY_INVALID without showing them."""
        try:
            return cls(key_id, PrivateKey(bytes.fromhex(text.strip().removeprefix("0x"))))
        except ValueError:
            text = f"key {key_id!r} is not 64 hexadecimal digits of a secp256k1 secret; check it"
            raise Fatal("KEY_INVALID", text, {"key_id": key_id}) from None

    @classmethod
    def from_file(cls, key_id: str, path: Path) -> Self:
        """A key from a file; raises Fatal KEY_UNREADABLE or KEY_INVALID."""
        try:
            return cls.from_hex(key_id, path.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError):
            text = f"cannot read the key file {path.name}; check the path and its rights"
            raise Fatal("KEY_UNREADABLE", text, {"file": path.name}) from None

    @classmethod
    def of_holder(cls, secret: bytes) -> Self:
        """A holder's own key: its key id is its public key in hexadecimal."""
        key = PrivateKey(secret)
        return cls(key.public_key.format(compressed=True).hex(), key)

    @property
    def public_key(self) -> bytes:
        """33 bytes, as the registry carries it."""
        return bytes(self._key.public_key.format(compressed=True))

    def sign(self, kind: str, deployment_id: str, paper: Message) -> common_pb2.SignedPaper:
        """The paper with its signature: 65 bytes r, s, v (27 or 28), low s."""
        body = paper.SerializeToString(deterministic=True)
        signature = self.sign_digest(paper_digest(kind, deployment_id, body))
        return common_pb2.SignedPaper(
            kind=kind, paper=body, key_id=self.key_id, signature=signature
        )

    def sign_digest(self, digest: bytes) -> bytes:
        """The signature of 32 bytes: r, s, v (27 or 28), low s."""
        signature = bytearray(self._key.sign_recoverable(digest, hasher=None))
        signature[64] += 27
        return bytes(signature)


def sign_with_ed25519(
    secret: bytes, kind: str, deployment_id: str, paper: Message
) -> common_pb2.SignedPaper:
    """A paper signed by a Solana holder's own key; its key id is the public key in hexadecimal."""
    key = Ed25519PrivateKey.from_private_bytes(secret)
    body = paper.SerializeToString(deterministic=True)
    return common_pb2.SignedPaper(
        kind=kind,
        paper=body,
        key_id=key.public_key().public_bytes_raw().hex(),
        signature=key.sign(paper_digest(kind, deployment_id, body)),
    )


def plausibly_signed(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether a paper that is passed on is worth a guard's look; guards decide for themselves."""
    if len(public_key) == 32:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, digest)
        except (InvalidSignature, ValueError):
            return False
        return True
    if len(signature) != 65 or signature[64] not in (0, 1, 27, 28):
        return False
    recoverable = signature[:64] + bytes((signature[64] % 27,))
    try:
        found = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except Exception:  # noqa: BLE001 - coincurve raises bare Exception on garbage
        return False
    return found.format(compressed=True) == public_key

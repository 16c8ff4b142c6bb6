"""Opaque tokens: resume tokens of streams and page tokens of lists.

A token is versioned, authenticated (HMAC-SHA256, truncated to 16 bytes), bound to the
deployment and to the filter it was made under, and gives no rights: whoever holds one can only
go on reading what they could read anyway.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Final

from xstock_gateway.refusals import ApiRefused

_BODY: Final = struct.Struct(">BB8s8sQ32s")
_MAC_BYTES: Final = 16
_VERSION: Final = 1
FOLLOWING: Final = 0
SNAPSHOT: Final = 1
LISTING: Final = 2
NO_ID: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the journal (`sequence`), and the last transfer handed out before it."""

    kind: int
    sequence: int
    after: bytes = NO_ID


@dataclass(frozen=True, slots=True)
class TokenBox:
    """Makes and opens tokens of one deployment."""

    key: bytes
    deployment_id: str

    def seal(self, mark: Mark, filter_bytes: bytes) -> bytes:
        """The token of a place under a filter."""
        body = _BODY.pack(
            _VERSION,
            mark.kind,
            self._deployment(),
            _short(filter_bytes),
            mark.sequence,
            mark.after,
        )
        return body + self._mac(body)

    def open(self, token: bytes, filter_bytes: bytes, kinds: tuple[int, ...]) -> Mark:
        """The place in a token; raises ApiRefused RESUME_TOKEN_INVALID or RESUME_FILTER_MISMATCH.

        `kinds` are the kinds of token that may be used here.
        """
        body, mac = token[: _BODY.size], token[_BODY.size :]
        if len(token) != _BODY.size + _MAC_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            raise _invalid("it was not made by this deployment; start anew")
        version, kind, deployment, filter_hash, sequence, after = _BODY.unpack(body)
        if version != _VERSION or deployment != self._deployment() or kind not in kinds:
            raise _invalid("it belongs to another version, deployment or method; start anew")
        if filter_hash != _short(filter_bytes):
            raise ApiRefused(
                "RESUME_FILTER_MISMATCH",
                "the token was made under another filter; repeat the filter it was made with",
            )
        return Mark(kind, sequence, after)

    def _deployment(self) -> bytes:
        return _short(self.deployment_id.encode())

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self.key, body, hashlib.sha256).digest()[:_MAC_BYTES]


def _short(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()[:8]


def _invalid(remedy: str) -> ApiRefused:
    return ApiRefused("RESUME_TOKEN_INVALID", f"token: this token cannot be used here; {remedy}")

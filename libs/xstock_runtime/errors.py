"""The four ways in which work fails, as exceptions, each with a stable `code`.

The class says what to do next: `Transient` is retried with bounded backoff, `InvalidMessage` is
dead-lettered with its bytes, `Ambiguous` is reconciled by reading (never blindly retried), and
`Fatal` stops the lane or the process loudly. Policy refusals are *values*, not exceptions, and
live in the core. Codes are UPPER_SNAKE, at most 63 characters (google.rpc.ErrorInfo's rule), and
are used unchanged as metric label and as gRPC `reason`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,61}[A-Z0-9]")


class ServiceError(Exception):
    """A failure with a stable code, a text for people and metadata for programs.

    `metadata` repeats every dynamic part of the text, so nobody has to parse the text.
    Raises ValueError if the code is not UPPER_SNAKE of 2 to 63 characters.
    """

    def __init__(
        self, code: str, message: str, metadata: Mapping[str, object] | None = None
    ) -> None:
        if not _CODE.fullmatch(code):
            raise ValueError(f"error code {code!r} is not UPPER_SNAKE of 2..63 characters")
        super().__init__(message)
        self.code = code
        self.message = message
        self.metadata: dict[str, str] = {k: str(v) for k, v in (metadata or {}).items()}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Transient(ServiceError):
    """It will pass: a dependency is down, slow or asks to wait. Retry with bounded backoff.

    `retry_after_seconds` is the least wait the other side asked for, None if it said nothing.
    """

    def __init__(
        self,
        code: str,
        message: str,
        metadata: Mapping[str, object] | None = None,
        *,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(code, message, metadata)
        self.retry_after_seconds = retry_after_seconds


class InvalidMessage(ServiceError):
    """It cannot be parsed or believed, now or ever. Dead-letter the original bytes, alarm."""


class Ambiguous(ServiceError):
    """We do not know whether it happened. Find out by reading; never retry blindly."""


class Fatal(ServiceError):
    """A promise is broken (fenced out, wrong server, weak settings). Stop and tell a person."""


def invalid_field(code: str, field: str, value: object, remedy: str) -> InvalidMessage:
    """A field that cannot be used: which, what it holds and what to give instead."""
    text = f"{field}: {value!r} is not valid; {remedy}"
    return InvalidMessage(code, text, {"field": field, "value": value})

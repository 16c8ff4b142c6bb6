"""What a command's exit code means, and which failure has which: one table.

Scripts act on the number, so it answers "what should I do next": nothing, give up, correct the
call, try again, look later, ask a person, or find out. Texts are for people and may change.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

import grpc

from xstock_chains.registry import InvalidRegistry
from xstock_core.ids import InvalidId
from xstock_core.refusal import REASONS, Disposition, ReasonFacts, Who
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, ServiceError, Transient
from xstock_runtime.grpc_errors import CallRefused


class Exit(IntEnum):
    """The exit codes of `xstock`."""

    DONE = 0
    FAILED = 1
    """For good: the same call again would fail again."""
    USAGE = 2
    """The call itself is wrong: correct a field."""
    RETRY = 3
    """Something is away; the same call later may succeed."""
    PENDING = 4
    """It was begun and has not ended within the time given."""
    REFUSED = 5
    """A rule of the bridge says no; a person or time must change something first."""
    UNKNOWN = 6
    """It cannot be known now whether it happened: look before repeating."""


class UsageProblem(Exception):
    """An argument or setting that cannot be accepted: names field, value and remedy."""

    def __init__(self, field: str, value: str, remedy: str) -> None:
        super().__init__(f"{field} = {value!r}: {remedy}")
        self.field = field
        self.value = value
        self.remedy = remedy


class StillPending(Exception):
    """What was begun has not ended within the time given; it goes on without us."""


_USAGE_REASONS: Final = (
    "FIELD_INVALID",
    "ASSET_UNKNOWN",
    "CHAIN_UNKNOWN",
    "AMOUNT_BELOW_MINIMUM",
    "AMOUNT_HAS_DUST",
    "RECIPIENT_INVALID",
    "REQUEST_ID_REUSED",
    "RESUME_TOKEN_INVALID",
    "RESUME_TOKEN_EXPIRED",
    "RESUME_FILTER_MISMATCH",
    "HALT_UNKNOWN",
    "CANCEL_REQUEST_INVALID",
)


def _exit_of_wait(facts: ReasonFacts) -> Exit:
    """What only time must end may be tried again; the rest needs somebody to act."""
    by_itself = facts.disposition is Disposition.HOLD and facts.who is Who.NOBODY
    return Exit.RETRY if by_itself else Exit.REFUSED


REASON_EXITS: Final[Mapping[str, Exit]] = {
    **{reason.value: _exit_of_wait(facts) for reason, facts in REASONS.items()},
    **dict.fromkeys(_USAGE_REASONS, Exit.USAGE),
    "ROUTE_CLOSED": Exit.REFUSED,
    "CHECK_FAILED": Exit.REFUSED,
    "QUOTE_EXPIRED": Exit.FAILED,
    "CHAIN_UNREADABLE": Exit.RETRY,
    "SUPPLY_UNKNOWN": Exit.RETRY,
    "SLOW_CONSUMER": Exit.RETRY,
    "WARMING_UP": Exit.RETRY,
    "SERVICE_UNAVAILABLE": Exit.RETRY,
    "TOO_MANY_CALLS": Exit.RETRY,
    "UNAUTHENTICATED": Exit.REFUSED,
    "PERMISSION_DENIED": Exit.REFUSED,
    "DEADLINE_MISSING": Exit.FAILED,
    "DEADLINE_TOO_LONG": Exit.FAILED,
    "INTERNAL": Exit.UNKNOWN,
    "TRANSFER_NOT_FOUND": Exit.FAILED,
    "ORPHAN_NOT_FOUND": Exit.FAILED,
}
"""Reason of a google.rpc ErrorInfo (or of a guard's verdict) -> exit code."""

STATUS_EXITS: Final[Mapping[grpc.StatusCode, Exit]] = {
    grpc.StatusCode.INVALID_ARGUMENT: Exit.USAGE,
    grpc.StatusCode.OUT_OF_RANGE: Exit.USAGE,
    grpc.StatusCode.ALREADY_EXISTS: Exit.USAGE,
    grpc.StatusCode.NOT_FOUND: Exit.FAILED,
    grpc.StatusCode.UNIMPLEMENTED: Exit.FAILED,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: Exit.REFUSED,
    grpc.StatusCode.UNAUTHENTICATED: Exit.REFUSED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exit.RETRY,
}
"""For reasons that the table above does not know, as those of a newer server."""

_CLASS_EXITS: Final[tuple[tuple[type[BaseException], Exit], ...]] = (
    (InvalidRegistry, Exit.USAGE),
    (Transient, Exit.RETRY),
    (Ambiguous, Exit.UNKNOWN),
    (InvalidMessage, Exit.FAILED),
    (Fatal, Exit.FAILED),
    (UsageProblem, Exit.USAGE),
    (InvalidId, Exit.USAGE),
    (StillPending, Exit.PENDING),
    (TimeoutError, Exit.PENDING),
)


def exit_of(error: BaseException) -> Exit:
    """The exit code of a failure: by its reason, else by its gRPC status, else by its class."""
    if isinstance(error, ServiceError) and error.code in REASON_EXITS:
        return REASON_EXITS[error.code]
    if isinstance(error, CallRefused):
        status = error.status or grpc.StatusCode.FAILED_PRECONDITION
        return STATUS_EXITS.get(status, Exit.FAILED)
    for kind, code in _CLASS_EXITS:
        if isinstance(error, kind):
            return code
    return Exit.FAILED

"""Every reason a caller can meet, in one table.

The rows here are errors of the partner API and the relayer's own reasons to wait; the guards'
reasons come from `xstock_core.refusal`, and a broken promise names itself (INV-nn). Together they
generate docs/errors.md and the texts that people see. A reason never changes its meaning and its
metadata keys are never removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import grpc

from xstock_core.invariants import InvariantId
from xstock_core.refusal import REASONS as WAIT_REASONS
from xstock_core.refusal import Who
from xstock_runtime.grpc_errors import ErrorRow, ErrorTable

DOMAIN: Final = "xstock-bridge"


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """One reason: its gRPC status, what it means, what to do, and its metadata keys."""

    reason: str
    status: grpc.StatusCode
    meaning: str
    remedy: str
    retry_seconds: float | None = None
    metadata: tuple[str, ...] = ()


_INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT
_FAILED: Final = grpc.StatusCode.FAILED_PRECONDITION
_AWAY: Final = grpc.StatusCode.UNAVAILABLE

API_REASONS: Final = (
    ReasonRow(
        "FIELD_INVALID",
        _INVALID,
        "A field of the request cannot be accepted.",
        "Correct the field that the violations name.",
        metadata=("field", "value"),
    ),
    ReasonRow(
        "ASSET_UNKNOWN",
        _INVALID,
        "No asset of this deployment has that symbol.",
        "Use a symbol of ListAssets.",
        metadata=("field", "value"),
    ),
    ReasonRow(
        "CHAIN_UNKNOWN",
        _INVALID,
        "No chain of this deployment has that name.",
        "Use a name of ListChains.",
        metadata=("field", "value"),
    ),
    ReasonRow(
        "AMOUNT_BELOW_MINIMUM",
        _INVALID,
        "The amount is below the source chain's minimum.",
        "Send more; ListAssets shows the minimum.",
        metadata=("field", "value"),
    ),
    ReasonRow(
        "AMOUNT_HAS_DUST",
        _INVALID,
        "The amount has more than 8 decimals of a share.",
        "Use one of the nearest amounts that the text names.",
        metadata=("field", "value"),
    ),
    ReasonRow(
        "RECIPIENT_INVALID",
        _INVALID,
        "An address is not of its chain: form, checksum or zero.",
        "Give the address in the chain's own form.",
        metadata=("field", "value"),
    ),
    ReasonRow(
        "ROUTE_CLOSED",
        _FAILED,
        "The asset is not deployed on one of the two chains.",
        "Choose another chain.",
        metadata=("symbol", "chain"),
    ),
    ReasonRow(
        "CHECK_FAILED",
        _FAILED,
        "The burn or its release would fail on chain as things stand.",
        "Do what the text says, then build again.",
        metadata=("check", "found", "expected", "field", "remedy"),
    ),
    ReasonRow(
        "QUOTE_EXPIRED",
        _FAILED,
        "The bytes built under this request id have expired.",
        "Build again under a new request id; the account's nonce keeps both from landing.",
        metadata=("request_id", "expired_at"),
    ),
    ReasonRow(
        "REQUEST_ID_REUSED",
        grpc.StatusCode.ALREADY_EXISTS,
        "This request id was used with other content.",
        "Make a new UUID for every burn.",
        metadata=("field", "value"),
    ),
    ReasonRow(
        "CHAIN_UNREADABLE",
        _AWAY,
        "The chain cannot be read now. This says nothing about whether something exists.",
        "Try again later.",
        retry_seconds=2.0,
        metadata=("check", "found"),
    ),
    ReasonRow(
        "SUPPLY_UNKNOWN",
        _AWAY,
        "No guard answered: the supply is not known now.",
        "Try again later.",
        retry_seconds=2.0,
        metadata=("silent",),
    ),
    ReasonRow(
        "RESUME_TOKEN_INVALID",
        _INVALID,
        "The token was not made by this deployment for this method.",
        "Start without a token.",
    ),
    ReasonRow(
        "RESUME_TOKEN_EXPIRED",
        grpc.StatusCode.OUT_OF_RANGE,
        "The journal does not lead on from the token's place: it was forgotten, or restored.",
        "Do not retry with it; start with a snapshot.",
        metadata=("oldest_ms", "oldest_sequence", "sequence"),
    ),
    ReasonRow(
        "RESUME_FILTER_MISMATCH",
        _INVALID,
        "The token was made under another filter.",
        "Repeat the filter it was made with, or start anew.",
    ),
    ReasonRow(
        "SLOW_CONSUMER",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "The reader did not keep up and the stream was closed; nothing was dropped silently.",
        "Resume with the last token.",
        retry_seconds=1.0,
        metadata=("waited_seconds", "allowed_seconds"),
    ),
    ReasonRow(
        "WARMING_UP",
        _AWAY,
        "The service has just started and is not ready.",
        "Try again in a moment.",
        retry_seconds=1.0,
    ),
    ReasonRow(
        "CANCEL_REQUEST_INVALID",
        _INVALID,
        "The holder's request to cancel is not of this transfer, has expired or is not readable.",
        "Sign a new request for this transfer; the text names the field.",
        metadata=("field",),
    ),
    ReasonRow(
        "NOT_CANCELLABLE",
        _FAILED,
        "The transfer cannot be cancelled now: it goes on by itself, or it is over.",
        "Look at its state; a holder may cancel a transfer that is held or parked.",
        metadata=("phase",),
    ),
    ReasonRow(
        "ORPHAN_NOT_FOUND",
        grpc.StatusCode.NOT_FOUND,
        "No watcher has recorded an orphan burn of this nonce.",
        "Check the nonce; a burn is recorded once it is final.",
        metadata=("nonce",),
    ),
    ReasonRow(
        "TRANSFER_NOT_FOUND",
        grpc.StatusCode.NOT_FOUND,
        "We looked, through the blocks that the metadata names, and there is no such transfer.",
        "If you have the burn's transaction, use LookupTransfers.",
        metadata=("transfer_id",),
    ),
    ReasonRow(
        "SERVICE_UNAVAILABLE",
        _AWAY,
        "A part of the service is away. This says nothing about whether something exists.",
        "Try again in a moment.",
        retry_seconds=1.0,
    ),
    ReasonRow(
        "DEADLINE_MISSING",
        _INVALID,
        "The call carries no deadline.",
        "Set a deadline on every call.",
        metadata=("limit_seconds",),
    ),
    ReasonRow(
        "DEADLINE_TOO_LONG",
        _INVALID,
        "The call's deadline is too far away.",
        "Set a nearer deadline.",
        metadata=("limit_seconds", "given_seconds"),
    ),
    ReasonRow(
        "UNAUTHENTICATED",
        grpc.StatusCode.UNAUTHENTICATED,
        "The method needs to know who calls.",
        "Call with a client certificate.",
        metadata=("method",),
    ),
    ReasonRow(
        "PERMISSION_DENIED",
        grpc.StatusCode.PERMISSION_DENIED,
        "This identity may not call this method.",
        "Ask an operator for the role that may.",
        metadata=("identity", "method"),
    ),
    ReasonRow(
        "TOO_MANY_CALLS",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "This identity has too many calls open at once.",
        "End some, or wait for them.",
        retry_seconds=1.0,
        metadata=("limit",),
    ),
    ReasonRow(
        "INTERNAL",
        grpc.StatusCode.INTERNAL,
        "The service met something that it does not understand.",
        "Report it with the time of the call; do not repeat it blindly.",
    ),
)


@dataclass(frozen=True, slots=True)
class WaitRow:
    """A reason of the relayer's own for waiting; all of them resume by themselves."""

    reason: str
    meaning: str
    who: Who = Who.NOBODY


RELAYER_WAITS: Final = (
    WaitRow("VERDICTS", "The guards are judging the transfer."),
    WaitRow("SIGNATURES", "The guards have granted it; their signatures are being collected."),
    WaitRow(
        "SUBMISSION", "The signed release is about to be sent; anyone may send it.", Who.ANYONE
    ),
    WaitRow("DESTINATION_NOT_FINAL", "The release is sent and not final on its chain yet."),
    WaitRow("CANCEL", "The cancellation is on its way to the destination."),
    WaitRow("REFUND", "The transfer is cancelled; the refund is on its way to the source."),
)
_BROKEN_PROMISE: Final = (
    "What the chains show breaks a promise of the bridge (docs/INVARIANTS.md names it).",
    "It waits for a person; who can act: operator.",
)


def error_table(help_url: str = "") -> ErrorTable:
    """The table by which a gRPC server answers."""
    rows = {row.reason: ErrorRow(row.status, row.retry_seconds) for row in API_REASONS}
    return ErrorTable(DOMAIN, rows, help_url)


def explain(reason: str) -> tuple[str, str] | None:
    """(meaning, remedy) of a reason, or None for a word that is none.

    Some words are both an error of the API and a reason to wait: the error comes first; ask
    `explain_wait` for a transfer that waits.
    """
    for row in API_REASONS:
        if row.reason == reason:
            return row.meaning, row.remedy
    return explain_wait(reason)


def explain_wait(reason: str) -> tuple[str, str] | None:
    """(meaning, what moves it) of a reason to wait, or None for a word that is none."""
    if reason in {promise.value for promise in InvariantId}:
        return _BROKEN_PROMISE
    for row in RELAYER_WAITS:
        if row.reason == reason:
            return row.meaning, _wait_remedy("HOLD", row.who.value)
    for wait, facts in WAIT_REASONS.items():
        if wait.value == reason:
            return facts.text, _wait_remedy(facts.disposition.value, facts.who.value)
    return None


def _wait_remedy(disposition: str, who: str) -> str:
    ways = {
        "HOLD": "It resumes by itself once the cause is gone",
        "PARK": "It waits for a person; the tokens are not lost",
        "REJECT": "It never enters the ledger",
    }
    movers = "nobody needs to act" if who == "NOBODY" else f"who can act: {who.lower()}"
    return f"{ways[disposition]}; {movers}."


def markdown() -> Iterator[str]:
    """The lines of docs/errors.md."""
    yield "# Errors and reasons to wait"
    yield ""
    yield "Generated from `libs/xstock_wire/reasons.py` by `make protos`; do not edit."
    yield "Every error carries `google.rpc.ErrorInfo` with domain `xstock-bridge` and the reason."
    yield ""
    yield "## Errors of the partner API"
    for row in API_REASONS:
        yield ""
        yield f"### {row.reason.lower().replace('_', '-')}"
        yield ""
        yield f"`{row.reason}`, gRPC `{row.status.name}`. {row.meaning} {row.remedy}"
        if row.metadata:
            keys = ", ".join(f"`{key}`" for key in row.metadata)
            yield f"Metadata: {keys}."
    yield ""
    yield "## Why a transfer waits, by the relayer"
    for relayed in RELAYER_WAITS:
        yield ""
        yield f"### wait-{relayed.reason.lower().replace('_', '-')}"
        yield ""
        remedy = _wait_remedy("HOLD", relayed.who.value)
        yield f"`{relayed.reason}`. {relayed.meaning} {remedy}"
    yield ""
    yield "### wait-inv"
    yield ""
    yield f"`INV-01` to `INV-16`. {' '.join(_BROKEN_PROMISE)}"
    yield ""
    yield "## Why a transfer waits, or is refused, by the guards"
    for wait, facts in WAIT_REASONS.items():
        yield ""
        yield f"### wait-{wait.value.lower().replace('_', '-')}"
        yield ""
        remedy = _wait_remedy(facts.disposition.value, facts.who.value)
        yield f"`{wait.value}` ({facts.disposition.value}). {facts.text} {remedy}"

"""One table from our error codes to gRPC status and google.rpc details, and back again.

The server raises our own classes; `ErrorTable.status` turns them into a google.rpc.Status with
ErrorInfo (domain, reason, metadata) always, and BadRequest, RetryInfo and Help where they apply
(https://google.aip.dev/193). `remote_error` is the way back on the client. An exception that is
none of ours becomes INTERNAL without its text: texts of strangers may hold secrets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, ServiceError, Transient

INTERNAL = "INTERNAL"
# gRPC's own key for a serialised google.rpc.Status in trailing metadata.
DETAILS_KEY = "grpc-status-details-bin"


class CallRefused(ServiceError):
    """A call answered with no: the server raises it, the client gets it back.

    `status` is set on the client, and on the server only to overrule the table. `violations` are
    (field, description) pairs. `retry_after_seconds` is when asking again may help.
    """

    def __init__(
        self,
        code: str,
        message: str,
        metadata: Mapping[str, object] | None = None,
        *,
        status: grpc.StatusCode | None = None,
        violations: Sequence[tuple[str, str]] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(code, message, metadata)
        self.status = status
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """How one code is answered. `retry_seconds` becomes RetryInfo if the error names no time."""

    status: grpc.StatusCode
    retry_seconds: float | None = None


# What a class of ours means to a caller when the table has no row for the code.
_CLASS_STATUS: tuple[tuple[type[ServiceError], grpc.StatusCode], ...] = (
    (Transient, grpc.StatusCode.UNAVAILABLE),
    (InvalidMessage, grpc.StatusCode.INVALID_ARGUMENT),
    (Ambiguous, grpc.StatusCode.ABORTED),
    (Fatal, grpc.StatusCode.FAILED_PRECONDITION),
    (CallRefused, grpc.StatusCode.FAILED_PRECONDITION),
)
RUNTIME_ROWS: dict[str, ErrorRow] = {
    "DEADLINE_MISSING": ErrorRow(grpc.StatusCode.INVALID_ARGUMENT),
    "DEADLINE_TOO_LONG": ErrorRow(grpc.StatusCode.INVALID_ARGUMENT),
    "UNAUTHENTICATED": ErrorRow(grpc.StatusCode.UNAUTHENTICATED),
    "PERMISSION_DENIED": ErrorRow(grpc.StatusCode.PERMISSION_DENIED),
    "TOO_MANY_CALLS": ErrorRow(grpc.StatusCode.RESOURCE_EXHAUSTED, 1.0),
    INTERNAL: ErrorRow(grpc.StatusCode.INTERNAL),
}


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """The one table. `help_url` + "#" + reason in lower case with dashes is the Help link."""

    domain: str
    rows: Mapping[str, ErrorRow] = field(default_factory=dict)
    help_url: str = ""

    def row(self, error: ServiceError) -> ErrorRow:
        """The row for an error: by code, else by class."""
        found = self.rows.get(error.code) or RUNTIME_ROWS.get(error.code)
        if found is not None:
            return found
        for kind, status in _CLASS_STATUS:
            if isinstance(error, kind):
                return ErrorRow(status, 1.0 if kind is Transient else None)
        return RUNTIME_ROWS[INTERNAL]

    def status(self, error: BaseException) -> tuple[grpc.StatusCode, status_pb2.Status]:
        """The gRPC code and the full google.rpc.Status for any exception."""
        if not isinstance(error, ServiceError):
            error = CallRefused(INTERNAL, "internal error; see the server's log")
        row = self.row(error)
        code = getattr(error, "status", None) or row.status
        status = status_pb2.Status(
            code=code_pb2.Code.Value(code.name), message=f"{error.code}: {error.message}"
        )
        _pack(
            status,
            error_details_pb2.ErrorInfo(
                reason=error.code, domain=self.domain, metadata=error.metadata
            ),
        )
        violations = getattr(error, "violations", ())
        if violations:
            _pack(status, _bad_request(violations))
        retry = getattr(error, "retry_after_seconds", None) or row.retry_seconds
        if retry is not None:
            _pack(status, error_details_pb2.RetryInfo(retry_delay=_duration(retry)))
        if self.help_url:
            anchor = error.code.lower().replace("_", "-")
            link = error_details_pb2.Help.Link(
                description=f"what {error.code} means", url=f"{self.help_url}#{anchor}"
            )
            _pack(status, error_details_pb2.Help(links=[link]))
        return code, status


def _bad_request(violations: Sequence[tuple[str, str]]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=name, description=text)
            for name, text in violations
        ]
    )


def _duration(seconds: float) -> duration_pb2.Duration:
    whole = int(seconds)
    return duration_pb2.Duration(seconds=whole, nanos=int((seconds - whole) * 1_000_000_000))


def _pack(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


async def abort(
    context: grpc.aio.ServicerContext[Any, Any], table: ErrorTable, error: BaseException
) -> None:
    """End the call with the table's answer; raises grpc.aio.AbortError always."""
    code, status = table.status(error)
    details = ((DETAILS_KEY, status.SerializeToString()),)
    await context.abort(code, status.message, trailing_metadata=details)


def remote_error(error: grpc.aio.AioRpcError) -> ServiceError:
    """What a failed call means here.

    UNAVAILABLE is Transient. A lost answer (DEADLINE_EXCEEDED, CANCELLED, UNKNOWN, INTERNAL,
    ABORTED) is Ambiguous: the effect may have happened, ask again with the same request id or
    read (F73). RESOURCE_EXHAUSTED with RetryInfo is Transient. The rest is CallRefused.
    """
    status = error.code()
    info, retry, violations = _details(error)
    code = info.reason if info is not None and info.reason else status.name
    message = (error.details() or status.name).removeprefix(f"{code}: ")
    metadata = dict(info.metadata) if info is not None else {}
    if status is grpc.StatusCode.UNAVAILABLE or (
        status is grpc.StatusCode.RESOURCE_EXHAUSTED and retry is not None
    ):
        return Transient(code, message, metadata, retry_after_seconds=retry)
    if status in _UNKNOWN_OUTCOME:
        return Ambiguous(code, message, metadata)
    return CallRefused(
        code, message, metadata, status=status, violations=violations, retry_after_seconds=retry
    )


_UNKNOWN_OUTCOME = frozenset(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DATA_LOSS,
    }
)


def _details(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo | None, float | None, list[tuple[str, str]]]:
    info: error_details_pb2.ErrorInfo | None = None
    retry: float | None = None
    violations: list[tuple[str, str]] = []
    for detail in _status_details(error):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_info = error_details_pb2.RetryInfo()
            detail.Unpack(retry_info)
            retry = retry_info.retry_delay.seconds + retry_info.retry_delay.nanos / 1e9
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations = [(v.field, v.description) for v in bad.field_violations]
    return info, retry, violations


def _status_details(error: grpc.aio.AioRpcError) -> Sequence[any_pb2.Any]:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return list(status_pb2.Status.FromString(value).details)
    return ()

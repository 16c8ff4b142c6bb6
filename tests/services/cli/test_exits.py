"""One table maps every failure to one exit code; nothing falls through it."""

import grpc
import pytest

from xstock_chains.registry import InvalidRegistry
from xstock_cli.exits import REASON_EXITS, Exit, StillPending, UsageProblem, exit_of
from xstock_core.ids import InvalidId
from xstock_core.refusal import Reason
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, Transient
from xstock_runtime.grpc_errors import CallRefused
from xstock_wire.reasons import API_REASONS


def test_exit_codes__are_those_that_scripts_know() -> None:
    assert [(code.name, int(code)) for code in Exit] == [
        ("DONE", 0),
        ("FAILED", 1),
        ("USAGE", 2),
        ("RETRY", 3),
        ("PENDING", 4),
        ("REFUSED", 5),
        ("UNKNOWN", 6),
    ]


def test_reasons__of_the_api_and_of_the_guards__all_have_an_exit_code() -> None:
    words = {row.reason for row in API_REASONS} | {reason.value for reason in Reason}
    assert words - set(REASON_EXITS) == set()


def test_reasons__that_a_server_says_to_retry__are_exit_3() -> None:
    for row in API_REASONS:
        if row.retry_seconds is not None:
            assert REASON_EXITS[row.reason] is Exit.RETRY, row.reason


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CallRefused("AMOUNT_HAS_DUST", "dust"), Exit.USAGE),
        (CallRefused("CAP_EXCEEDED", "cap"), Exit.REFUSED),
        (CallRefused("CHECK_FAILED", "balance"), Exit.REFUSED),
        (CallRefused("TRANSFER_NOT_FOUND", "none"), Exit.FAILED),
        (Transient("CHAIN_UNREADABLE", "away"), Exit.RETRY),
        (Transient("UNAVAILABLE", "away"), Exit.RETRY),
        (Ambiguous("DEADLINE_EXCEEDED", "lost"), Exit.UNKNOWN),
        (InvalidMessage("TRANSACTION_REFUSED", "nonce"), Exit.FAILED),
        (Fatal("KEY_UNREADABLE", "key"), Exit.FAILED),
        (InvalidRegistry("chains", "x", "correct it"), Exit.USAGE),
        (InvalidId("recipient", "x", "correct it"), Exit.USAGE),
        (UsageProblem("--key", "x", "correct it"), Exit.USAGE),
        (StillPending("on its way"), Exit.PENDING),
        (TimeoutError("waited"), Exit.PENDING),
        (RuntimeError("a mistake of ours"), Exit.FAILED),
    ],
)
def test_exit_of__each_kind_of_failure__has_its_code(error: BaseException, code: Exit) -> None:
    assert exit_of(error) is code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, Exit.USAGE),
        (grpc.StatusCode.FAILED_PRECONDITION, Exit.REFUSED),
        (grpc.StatusCode.PERMISSION_DENIED, Exit.REFUSED),
        (grpc.StatusCode.NOT_FOUND, Exit.FAILED),
    ],
)
def test_exit_of__a_reason_of_a_newer_server__follows_its_status(
    status: grpc.StatusCode, code: Exit
) -> None:
    assert exit_of(CallRefused("NEWER_REASON", "?", status=status)) is code

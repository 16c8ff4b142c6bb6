"""Error classes carry a code that programs can rely on."""

import pytest

from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, ServiceError, Transient


@pytest.mark.parametrize("kind", [Transient, InvalidMessage, Ambiguous, Fatal])
def test_error__with_metadata__keeps_code_text_and_strings(kind: type[ServiceError]) -> None:
    error = kind("RPC_DOWN", "no answer", {"attempt": 3})
    assert (error.code, error.message, error.metadata) == (
        "RPC_DOWN",
        "no answer",
        {"attempt": "3"},
    )
    assert str(error) == "RPC_DOWN: no answer"


@pytest.mark.parametrize("code", ["", "rpc_down", "RPC-DOWN", "_X", "X_", "A" * 64])
def test_error__with_a_code_google_rpc_would_refuse__is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="UPPER_SNAKE"):
        Transient(code, "text")

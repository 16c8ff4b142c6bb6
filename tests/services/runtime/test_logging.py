"""Secrets never reach a log line, and every line names its service."""

import json
import logging as stdlib_logging
from collections.abc import Iterator

import pytest
import structlog
from pydantic import SecretStr

from xstock_runtime.logging import bound, configure, get_logger, redact


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """`configure` is for a whole process; leave none of it to the next test."""
    root = stdlib_logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize(
    ("event", "secret"),
    [
        ({"password": "hunter2"}, "hunter2"),
        ({"kafka_mac_key": "abcd"}, "abcd"),
        ({"private_key": "0x11"}, "0x11"),
        ({"url": "postgresql://guard:hunter2@db:5432/x"}, "hunter2"),
        ({"error": "cannot reach https://me:s3cret@rpc.example/v1"}, "s3cret"),
        ({"value": SecretStr("plain")}, "plain"),
        ({"inner": {"token": "abc123"}}, "abc123"),
        ({"many": ["http://u:pw99@h/"]}, "pw99"),
    ],
)
def test_redact__secret_by_key_shape_or_type__is_masked(
    event: dict[str, object], secret: str
) -> None:
    shown = json.dumps(redact(None, "info", dict(event)), default=str)
    assert secret not in shown
    assert "***" in shown


def test_redact__ordinary_values__are_untouched() -> None:
    event = {"event": "page", "records": 3, "url": "http://node:8545/"}
    assert redact(None, "info", dict(event)) == event


def test_configured_logs__own_and_foreign__are_json_lines_with_the_service(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("watcher", level="INFO", json=True)
    with bound(chain="ethereum"):
        get_logger("reader").info("page_read", records=2)
    get_logger("reader").debug("too_fine")
    stdlib_logging.getLogger("aiokafka").warning("broker %s away", "b1")
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [line["event"] for line in lines] == ["page_read", "broker b1 away"]
    assert all(line["service"] == "watcher" for line in lines)
    assert (lines[0]["chain"], lines[0]["component"], lines[0]["level"]) == (
        "ethereum",
        "reader",
        "info",
    )
    assert "chain" not in lines[1]


def test_configure__unknown_level__is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure("watcher", level="LOUD")

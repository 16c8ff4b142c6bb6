"""Structured logs: one JSON object a line in production, coloured text on a terminal.

`configure` binds the service's name to every line, merges context variables (`bound(...)`), and
masks secrets by key and by shape before anything is rendered. Logs go to stderr; stdout belongs
to programs' data.
"""

from __future__ import annotations

import logging as stdlib_logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any

import structlog
from pydantic import SecretBytes, SecretStr

MASK = "***"
_SECRET_KEY = re.compile(r"(password|passwd|secret|private_?key|mac_?key|token|credential)", re.I)
_PUBLIC_KEY = {"resume_token_present", "page_token_present", "token_address"}
_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^@\s/]+(?=@)", re.I)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """A structlog processor that masks secret-looking keys, secret types and URL passwords."""
    return {key: _redacted(key, value) for key, value in event.items()}


def redact_text(text: str) -> str:
    """`text` with the password of every URL in it masked."""
    return _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)


def _redacted(key: str, value: object) -> object:
    if isinstance(value, SecretStr | SecretBytes):
        return MASK
    if key not in _PUBLIC_KEY and _SECRET_KEY.search(key):
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {inner: _redacted(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", item) for item in value]
    return value


def configure(service: str, *, level: str = "INFO", json: bool = True) -> None:
    """Set up logging for the whole process. Raises ValueError on an unknown level."""
    number = stdlib_logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log_level {level!r} is unknown; use DEBUG, INFO, WARNING or ERROR")
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = stdlib_logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = stdlib_logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(number, stdlib_logging.WARNING))
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry `component=name`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=name)
    return logger


def bound(**values: object) -> AbstractContextManager[None]:
    """Within the block every line of this task carries `values`."""
    return structlog.contextvars.bound_contextvars(**values)

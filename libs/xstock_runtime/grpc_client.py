"""Channels with keepalive, a deadline on every call, and retries only where the caller said so.

gRPC itself retries a listed method on UNAVAILABLE and on nothing else; a mutation belongs in
`retry_methods` only if it carries a request id (F74). Every unary call without a timeout gets
`deadline_seconds`. Failures come as `grpc.aio.AioRpcError`; `grpc_errors.remote_error` says what
they mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from xstock_runtime.grpc_server import DEV_IDENTITY_HEADER, TlsFiles
from xstock_runtime.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files: the server's CA, and our own certificate and key."""

    server_ca: Path
    certificate: Path
    private_key: Path

    @classmethod
    def of(cls, settings: ServiceSettings) -> ClientTls | None:
        """The service's own files, used as a caller; None on a laptop in insecure_dev."""
        files = TlsFiles.of(settings)
        if files is None:
            return None
        return cls(files.client_ca, files.certificate, files.private_key)

    def credentials(self) -> grpc.ChannelCredentials:
        """Mutual TLS credentials."""
        return grpc.ssl_channel_credentials(
            self.server_ca.read_bytes(),
            self.private_key.read_bytes(),
            self.certificate.read_bytes(),
        )


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """How to call one server. `dev_identity` works only against a server in insecure_dev.

    `retry_methods` are "pkg.Service/Method" or "pkg.Service" names that are safe to repeat.
    """

    target: str
    tls: ClientTls | None = None
    dev_identity: str | None = None
    deadline_seconds: float = 10.0
    message_bytes_max: int = 4 * 1024 * 1024
    retry_methods: tuple[str, ...] = ()

    def service_config(self) -> str:
        """gRPC's JSON service config: the retry policy of the listed methods."""
        names = []
        for name in self.retry_methods:
            service, _, method = name.strip("/").partition("/")
            names.append({"service": service, **({"method": method} if method else {})})
        policy = {
            "maxAttempts": 4,
            "initialBackoff": "0.1s",
            "maxBackoff": "2s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        return json.dumps(
            {"methodConfig": [{"name": names, "retryPolicy": policy}] if names else []}
        )


def _with_defaults(
    settings: ChannelSettings, given: grpc.aio.ClientCallDetails, timeout: float | None
) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(given.metadata or ()))
    if settings.dev_identity is not None:
        metadata.add(DEV_IDENTITY_HEADER, settings.dev_identity)
    return grpc.aio.ClientCallDetails(
        given.method, timeout, metadata, given.credentials, given.wait_for_ready
    )


class _UnaryDefaults(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds the default deadline and the dev identity. One class per kind: gRPC sorts by type."""

    def __init__(self, settings: ChannelSettings) -> None:
        self._settings = settings

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        timeout = client_call_details.timeout
        if timeout is None:
            timeout = self._settings.deadline_seconds
        details = _with_defaults(self._settings, client_call_details, timeout)
        return await continuation(details, request)


class _StreamDefaults(grpc.aio.UnaryStreamClientInterceptor):
    """Adds the dev identity; a stream lives as long as its reader wants."""

    def __init__(self, settings: ChannelSettings) -> None:
        self._settings = settings

    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        details = _with_defaults(self._settings, client_call_details, client_call_details.timeout)
        return await continuation(details, request)


def open_channel(settings: ChannelSettings) -> grpc.aio.Channel:
    """A channel; use it as an async context manager or close it. Connects by itself, lazily."""
    options: Sequence[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        ("grpc.max_send_message_length", settings.message_bytes_max),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 3_000),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", settings.service_config()),
    ]
    interceptors = [_UnaryDefaults(settings), _StreamDefaults(settings)]
    if settings.tls is not None:
        return grpc.aio.secure_channel(
            settings.target, settings.tls.credentials(), options=options, interceptors=interceptors
        )
    return grpc.aio.insecure_channel(settings.target, options=options, interceptors=interceptors)

"""A grpc.aio server that denies by default, bounds everything and drains.

Every call passes one guard: who is it (mTLS certificate, or a header in dev) → which roles has
that identity → may these roles call this method (a method absent from the map is denied) → does
it bring a deadline → is the caller within its number of concurrent calls; then errors become
google.rpc details by the caller's table. Health is the standard service, fed by progress, one
entry per dependency. Reflection exists in dev only. Drain: NOT_SERVING, a pause for load
balancers, then grace for calls in flight. Sources: grpc.io/docs/guides (keepalive, health,
deadlines).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from xstock_runtime.clock import Clock
from xstock_runtime.errors import Fatal, ServiceError
from xstock_runtime.grpc_errors import CallRefused, ErrorTable, abort
from xstock_runtime.health import Progress
from xstock_runtime.logging import bound, get_logger
from xstock_runtime.metrics import host_and_port
from xstock_runtime.settings import ServiceSettings

_log = get_logger("grpc")
ANYONE = "anyone"
ANONYMOUS = "anonymous"
DEV_IDENTITY_HEADER = "x-dev-identity"
_OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
_identity: contextvars.ContextVar[str] = contextvars.ContextVar("identity", default=ANONYMOUS)
Observe = Callable[[str, str, float], None]
Denied = Callable[[str, str], None]
"""Told of every call that was refused for who made it: identity, method."""
_DENIALS = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})


_roles: contextvars.ContextVar[frozenset[str]] = contextvars.ContextVar(
    "roles", default=frozenset()
)


def caller_roles() -> frozenset[str]:
    """The roles of who makes the call that is being served; none outside of one."""
    return _roles.get()


def caller_identity() -> str:
    """Who makes the call that is being served; "anonymous" outside of one."""
    return _identity.get()


@dataclass(frozen=True, slots=True)
class Access:
    """Deny by default: identity → roles, full method name ("/pkg.Service/Method") → roles allowed.

    The role `ANYONE` is everybody's, anonymous callers included.
    """

    roles: Mapping[str, frozenset[str]]
    methods: Mapping[str, frozenset[str]]

    def check(self, identity: str, method: str) -> None:
        """Raise CallRefused UNAUTHENTICATED or PERMISSION_DENIED."""
        allowed = self.methods.get(method, frozenset())
        # SECURITY: a method nobody listed is nobody's.
        if allowed & (self.roles.get(identity, frozenset()) | {ANYONE}):
            return
        if identity == ANONYMOUS:
            raise CallRefused(
                "UNAUTHENTICATED", f"{method} needs a client certificate", {"method": method}
            )
        raise CallRefused(
            "PERMISSION_DENIED",
            f"{identity!r} may not call {method}",
            {"identity": identity, "method": method},
        )


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our chain and key, and the CA that callers' certificates must come from."""

    certificate: Path
    private_key: Path
    client_ca: Path

    @classmethod
    def of(cls, settings: ServiceSettings) -> TlsFiles | None:
        """The files that a service was given, or None on a laptop in insecure_dev."""
        certificate, key = settings.tls_certificate, settings.tls_private_key
        if certificate is None or key is None or settings.tls_client_ca is None:
            return None
        return cls(certificate, key, settings.tls_client_ca)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Mutual TLS: a caller without a certificate of our CA does not get through."""
        return grpc.ssl_server_credentials(
            [(self.private_key.read_bytes(), self.certificate.read_bytes())],
            root_certificates=self.client_ca.read_bytes(),
            require_client_auth=True,
        )


@dataclass(frozen=True, slots=True)
class GrpcServerSettings:
    """Where to listen and how much one caller may ask. Without `tls`, `insecure_dev` must be on
    and the address loopback."""

    listen: str
    tls: TlsFiles | None = None
    insecure_dev: bool = False
    message_bytes_max: int = 4 * 1024 * 1024
    deadline_seconds_max: float = 60.0
    calls_max: int = 2000
    calls_per_identity_max: int = 500
    streams_per_connection_max: int = 200
    lame_duck_seconds: float = 0.5
    grace_seconds: float = 10.0

    def options(self) -> list[tuple[str, int]]:
        """gRPC channel arguments: sizes, streams, ping abuse, no port sharing."""
        return [
            ("grpc.max_receive_message_length", self.message_bytes_max),
            ("grpc.max_send_message_length", self.message_bytes_max),
            ("grpc.max_concurrent_streams", self.streams_per_connection_max),
            ("grpc.max_metadata_size", 16 * 1024),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.http2.max_ping_strikes", 3),
            ("grpc.so_reuseport", 0),
        ]


class CallGuard(grpc.aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """The one interceptor: identity, access, deadline, concurrency, errors, measurement."""

    def __init__(
        self,
        settings: GrpcServerSettings,
        access: Access,
        errors: ErrorTable,
        clock: Clock,
        observe: Observe,
        denied: Denied,
    ) -> None:
        self._settings = settings
        self._access = access
        self._errors = errors
        self._clock = clock
        self._observe = observe
        self._denied = denied
        self._open_calls: Counter[str] = Counter()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the method's handler; an unknown method stays UNIMPLEMENTED."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith(_OPEN_SERVICES):
            return handler
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        inner = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )
        wrap = self._streaming if handler.response_streaming else self._single
        return make(
            wrap(method, inner),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _single(self, method: str, inner: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            call_in = _Call(self, method, context, streaming=False)
            try:
                await call_in.enter()
                return await inner(request, context)
            except (grpc.aio.AbortError, asyncio.CancelledError):
                call_in.outcome = "ABORTED"
                raise
            except Exception as error:  # noqa: BLE001 - every failure is answered from the table
                await call_in.answer(error)
            finally:
                call_in.leave()

        return call

    def _streaming(self, method: str, inner: Any) -> Any:
        async def call(
            request: Any, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[Any]:
            call_in = _Call(self, method, context, streaming=True)
            try:
                await call_in.enter()
                async for response in inner(request, context):
                    yield response
            except (grpc.aio.AbortError, asyncio.CancelledError):
                call_in.outcome = "ABORTED"
                raise
            except Exception as error:  # noqa: BLE001 - every failure is answered from the table
                await call_in.answer(error)
            finally:
                call_in.leave()

        return call


class _Call:
    """One call's way through the guard."""

    def __init__(
        self,
        guard: CallGuard,
        method: str,
        context: grpc.aio.ServicerContext[Any, Any],
        *,
        streaming: bool,
    ) -> None:
        self._guard = guard
        self._method = method
        self._context = context
        self._streaming = streaming
        self._began = guard._clock.monotonic()
        self._identity = ANONYMOUS
        self._counted = False
        self.outcome = "OK"

    async def enter(self) -> None:
        """Raise the refusal, if any."""
        guard = self._guard
        self._identity = identity_of(
            self._context, guard._access, insecure_dev=guard._settings.insecure_dev
        )
        guard._access.check(self._identity, self._method)
        self._check_deadline()
        if guard._open_calls[self._identity] >= guard._settings.calls_per_identity_max:
            raise CallRefused(
                "TOO_MANY_CALLS",
                f"{self._identity!r} has {guard._settings.calls_per_identity_max} calls open",
                {"limit": guard._settings.calls_per_identity_max},
            )
        guard._open_calls[self._identity] += 1
        self._counted = True
        _identity.set(self._identity)
        _roles.set(guard._access.roles.get(self._identity, frozenset()))

    def _check_deadline(self) -> None:
        limit = self._guard._settings.deadline_seconds_max
        remaining = self._context.time_remaining()
        if self._streaming:
            return  # a stream ends by its reader, by drain or by keepalive
        if remaining is None:
            raise CallRefused(
                "DEADLINE_MISSING",
                f"set a deadline of at most {limit:g} s on every call",
                {"limit_seconds": limit},
            )
        if remaining > limit + 1:
            raise CallRefused(
                "DEADLINE_TOO_LONG",
                f"the deadline is {remaining:.0f} s away; at most {limit:g} s",
                {"limit_seconds": limit, "given_seconds": round(remaining)},
            )

    async def answer(self, error: Exception) -> None:
        """Abort by the table; a stranger's exception is logged with its trace."""
        if isinstance(error, ServiceError):
            self.outcome = error.code
            if error.code in _DENIALS:
                self._guard._denied(self._identity, self._method)
        else:
            self.outcome = "INTERNAL"
            with bound(method=self._method, caller=self._identity):
                _log.error("grpc_call_failed", error=repr(error), exc_info=error)
        await abort(self._context, self._guard._errors, error)

    def leave(self) -> None:
        """Release the slot and measure."""
        if self._counted:
            self._guard._open_calls[self._identity] -= 1
        seconds = self._guard._clock.monotonic() - self._began
        self._guard._observe(self._method, self.outcome, seconds)


def identity_of(
    context: grpc.aio.ServicerContext[Any, Any], access: Access, *, insecure_dev: bool
) -> str:
    """The caller's name: a subject alternative name we know, else the common name.

    The dev header counts only with `insecure_dev`, which excludes TLS.
    """
    if insecure_dev:
        for key, value in context.invocation_metadata() or ():
            if key == DEV_IDENTITY_HEADER:
                return str(value)
        return ANONYMOUS
    certificate = context.auth_context()
    names = [
        name.decode(errors="replace")
        for part in ("x509_subject_alternative_name", "x509_common_name")
        for name in certificate.get(part, ())
    ]
    known = [name for name in names if name in access.roles]
    return (known or names or [ANONYMOUS])[0]


def _unobserved(_method: str, _outcome: str, _seconds: float) -> None:
    """The default for servers without metrics."""


def _unheard(_identity: str, _method: str) -> None:
    """The default for servers that tell nobody of denials."""


@dataclass(slots=True)
class GrpcServer:
    """One server. `register` adds the servicers to it; `services` are named by reflection."""

    settings: GrpcServerSettings
    access: Access
    errors: ErrorTable
    progress: Progress
    clock: Clock
    register: Callable[[grpc.aio.Server], None]
    services: Sequence[str] = ()
    observe: Observe = _unobserved
    denied: Denied = _unheard
    port: int = 0
    _server: grpc.aio.Server | None = field(default=None, init=False)
    _health: Any = field(default=None, init=False)

    async def start(self) -> int:
        """Listen; the port. Raises Fatal for an insecure set-up or an address that is taken."""
        server = grpc.aio.server(
            interceptors=[
                CallGuard(
                    self.settings,
                    self.access,
                    self.errors,
                    self.clock,
                    self.observe,
                    self.denied,
                )
            ],
            options=self.settings.options(),
            maximum_concurrent_rpcs=self.settings.calls_max,
        )
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self.register(server)
        if self.settings.insecure_dev:
            names = [*self.services, "grpc.health.v1.Health", reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, server)
        self.port = self._bind(server)
        await server.start()
        self._server = server
        await self.report_health()
        _log.info("grpc_listening", port=self.port)
        return self.port

    def _bind(self, server: grpc.aio.Server) -> int:
        host, _ = host_and_port(self.settings.listen)
        tls = self.settings.tls
        try:
            if tls is not None and not self.settings.insecure_dev:
                return server.add_secure_port(self.settings.listen, tls.server_credentials())
            if not self.settings.insecure_dev or host not in ("127.0.0.1", "::1", "localhost"):
                raise Fatal(
                    "INSECURE_SERVER",
                    f"refusing to serve {self.settings.listen} without TLS: give the tls files, or"
                    " insecure_dev with a loopback address",
                    {"listen": self.settings.listen},
                )
            return server.add_insecure_port(self.settings.listen)
        except RuntimeError as error:
            raise Fatal(
                "ADDRESS_IN_USE",
                f"cannot listen on {self.settings.listen}: {error}; choose another grpc_listen",
                {"listen": self.settings.listen},
            ) from error

    async def report_health(self) -> None:
        """Tell the health service what progress says now."""
        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self.progress.names():
            ready = self.progress.check(name).ready and not self.progress.draining
            await self._health.set(name, serving if ready else not_serving)
        overall = serving if self.progress.ready() else not_serving
        for name in ("", *self.services):
            await self._health.set(name, overall)

    async def run(self) -> None:
        """Keep the health service up to date, for ever: one of the service's loops."""
        while True:
            await self.report_health()
            await self.clock.sleep(1.0)

    async def drain(self) -> None:
        """NOT_SERVING, a pause for balancers, then grace for calls in flight, then stop."""
        if self._server is None:
            return
        self.progress.drain()
        await self._health.enter_graceful_shutdown()
        await self.clock.sleep(self.settings.lame_duck_seconds)
        server, self._server = self._server, None
        await server.stop(self.settings.grace_seconds)

"""A small gRPC service over plain bytes, so that the plumbing is tested without any proto."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from xstock_runtime.clock import SystemClock
from xstock_runtime.grpc_errors import ErrorRow, ErrorTable
from xstock_runtime.grpc_server import (
    ANYONE,
    Access,
    GrpcServer,
    GrpcServerSettings,
    caller_identity,
)
from xstock_runtime.health import Progress

ECHO, SECRET, COUNT, HIDDEN = (
    f"/test.Example/{name}" for name in ("Echo", "Secret", "Count", "Hi")
)
ACCESS = Access(
    roles={"relayer": frozenset({"signs"}), "visitor": frozenset({"looks"})},
    methods={
        ECHO: frozenset({ANYONE}),
        SECRET: frozenset({"signs"}),
        COUNT: frozenset({ANYONE}),
    },
)
ERRORS = ErrorTable(
    "xstock-test",
    {"CAP_REACHED": ErrorRow(grpc.StatusCode.RESOURCE_EXHAUSTED, 30.0)},
    "docs/errors.md",
)


@dataclass
class Example:
    """The servicer: what to do for Echo is the test's; Count streams numbers for ever."""

    echo: Callable[[bytes], Any] = lambda request: request
    calls: int = 0
    streams_open: int = 0
    progress: Progress = field(default_factory=lambda: Progress(SystemClock()))

    async def on_echo(self, request: bytes, _context: Any) -> bytes:
        self.calls += 1
        answer = self.echo(request)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return bytes(answer)

    async def on_secret(self, _request: bytes, _context: Any) -> bytes:
        self.calls += 1
        return caller_identity().encode()

    async def on_count(self, request: bytes, _context: Any) -> AsyncIterator[bytes]:
        self.streams_open += 1
        try:
            number = 0
            while True:
                yield b"%d" % number + request
                number += 1
                await asyncio.sleep(0.001)
        finally:
            self.streams_open -= 1

    def register(self, server: grpc.aio.Server) -> None:
        unary = grpc.unary_unary_rpc_method_handler
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "test.Example",
                    {
                        "Echo": unary(self.on_echo),
                        "Secret": unary(self.on_secret),
                        "Hi": unary(self.on_secret),
                        "Count": grpc.unary_stream_rpc_method_handler(self.on_count),
                    },
                ),
            )
        )


@asynccontextmanager
async def serving(
    example: Example, settings: GrpcServerSettings | None = None, access: Access = ACCESS
) -> AsyncIterator[GrpcServer]:
    """The example on a free loopback port; drained afterwards unless the test did."""
    server = GrpcServer(
        settings or GrpcServerSettings("127.0.0.1:0", insecure_dev=True, lame_duck_seconds=0),
        access,
        ERRORS,
        example.progress,
        SystemClock(),
        example.register,
        ("test.Example",),
    )
    await server.start()
    try:
        yield server
    finally:
        await server.drain()

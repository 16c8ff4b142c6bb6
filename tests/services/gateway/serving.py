"""A gateway world behind its real gRPC server, and a client of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from tests.services.gateway.world import GatewayWorld
from xstock_gateway.bootstrap import grpc_server
from xstock_gateway.metrics import GatewayMetrics
from xstock_gateway.settings import GatewaySettings
from xstock_runtime.clock import SystemClock
from xstock_runtime.grpc_client import ChannelSettings, open_channel
from xstock_runtime.grpc_server import GrpcServer
from xstock_runtime.health import Progress
from xstock_wire.v1 import bridge_pb2_grpc

DETAILS = {
    "ErrorInfo": error_details_pb2.ErrorInfo,
    "BadRequest": error_details_pb2.BadRequest,
    "RetryInfo": error_details_pb2.RetryInfo,
    "Help": error_details_pb2.Help,
}


def settings(listen: str = "127.0.0.1:0") -> GatewaySettings:
    """A laptop's settings."""
    return GatewaySettings(
        database_url="postgresql://nobody@127.0.0.1/none",
        kafka_bootstrap="127.0.0.1:1",
        kafka_mac_key=bytes(range(32)).hex(),
        grpc_listen=listen,
        insecure_dev=True,
        registry_path=Path("registry.json"),
        providers={},
        watchers={},
        token_key="k" * 32,
    )


@dataclass
class Serving:
    """A running server and a stub."""

    world: GatewayWorld
    server: GrpcServer
    stub: Any
    metrics: GatewayMetrics

    async def drain(self) -> None:
        """As SIGTERM does it: streams say goodbye first."""
        self.world.wakeups.drain()
        await self.server.drain()


@asynccontextmanager
async def serving(world: GatewayWorld) -> AsyncIterator[Serving]:
    """Serve the world until the block ends."""
    handlers = world.handlers()
    server = grpc_server(settings(), handlers, Progress(SystemClock()), handlers.metrics)
    server.settings = type(server.settings)(
        listen="127.0.0.1:0", insecure_dev=True, lame_duck_seconds=0.0, grace_seconds=1.0
    )
    port = await server.start()
    try:
        async with open_channel(ChannelSettings(f"127.0.0.1:{port}")) as channel:
            yield Serving(
                world, server, bridge_pb2_grpc.BridgeServiceStub(channel), handlers.metrics
            )
    finally:
        world.wakeups.drain()
        await server.drain()


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """The google.rpc details of an error, by kind."""
    found: dict[str, Any] = {}
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                kind = detail.type_url.rpartition(".")[2]
                message = DETAILS[kind]()
                detail.Unpack(message)
                found[kind] = MessageToDict(message)
    return found

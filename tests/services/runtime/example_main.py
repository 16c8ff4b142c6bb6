"""A whole process on the plumbing, as a service's `__main__` would be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic_settings import SettingsConfigDict

from tests.services.runtime.grpc_example import ACCESS, ERRORS, Example
from xstock_runtime.clock import SystemClock
from xstock_runtime.grpc_server import GrpcServer, GrpcServerSettings
from xstock_runtime.logging import get_logger
from xstock_runtime.metrics import Metrics, MetricsServer
from xstock_runtime.service import Service, run_service
from xstock_runtime.settings import ServiceSettings


class ExampleSettings(ServiceSettings):
    """Settings of the example."""

    model_config = SettingsConfigDict(env_prefix="XSTOCK_EXAMPLE_")


@asynccontextmanager
async def bootstrap(settings: ExampleSettings) -> AsyncIterator[Service]:
    example = Example()
    server = GrpcServer(
        GrpcServerSettings(settings.grpc_listen, insecure_dev=True, grace_seconds=1),
        ACCESS,
        ERRORS,
        example.progress,
        SystemClock(),
        example.register,
    )
    async with MetricsServer(Metrics("example"), example.progress, settings.metrics_listen):
        await server.start()
        get_logger("example").info("ready", port=server.port)
        yield Service("example", example.progress, {"health": server.run}, [("grpc", server.drain)])


if __name__ == "__main__":
    run_service("example", ExampleSettings, bootstrap)

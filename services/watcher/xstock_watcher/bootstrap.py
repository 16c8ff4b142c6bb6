"""The watcher's composition root: the only place that names concrete adapters."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from xstock_chains.profiles import open_admin, open_reader
from xstock_chains.registry import load_registry
from xstock_chains.start_check import StartCheck
from xstock_runtime.clock import Clock, SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.grpc_server import ANYONE, Access, GrpcServer, GrpcServerSettings, TlsFiles
from xstock_runtime.health import Progress
from xstock_runtime.kafka import BusProducer, ProducerSettings
from xstock_runtime.metrics import Metrics, MetricsServer
from xstock_runtime.migrations import check_current
from xstock_runtime.outbox import OutboxPump
from xstock_runtime.service import Service
from xstock_runtime.settings import load
from xstock_watcher.adapters.postgres import PostgresWatcherStore
from xstock_watcher.adapters.progress import KafkaProgressBus
from xstock_watcher.entrypoints.grpc_api import WatcherService
from xstock_watcher.entrypoints.loops import SCAN, WatcherLoops
from xstock_watcher.handlers import APPROVALS_NEEDED, WatcherHandlers
from xstock_watcher.metrics import WatcherMetrics
from xstock_watcher.settings import WatcherSettings
from xstock_wire.reasons import error_table
from xstock_wire.v1 import watcher_pb2_grpc

_SERVICE = "xstock_wire.v1.WatcherService"
_STALL_SECONDS = 60.0


@asynccontextmanager
async def bootstrap(settings: WatcherSettings) -> AsyncIterator[Service]:
    """Build the service; refuses to start on a latched halt or an old schema."""
    clock, randomness = SystemClock(), SystemRandomness()
    registry = load_registry(settings.registry_path)
    entry = registry.chain(settings.chain)
    url = settings.database_url.get_secret_value()
    await check_current(url, "xstock_watcher")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database(DatabaseSettings(url, application=f"watcher-{entry.name}"), clock, randomness)
        )
        producer = await stack.enter_async_context(
            BusProducer(ProducerSettings(settings.kafka_bootstrap, settings.mac_key), clock)
        )
        reader = open_reader(
            registry,
            entry.name,
            settings.provider_urls,
            needed=settings.provider_quorum or None,
            clock=clock,
        )
        stack.push_async_callback(reader.aclose)
        admins = [open_admin(registry, entry.name, url) for url in settings.provider_urls]
        for admin in admins:
            stack.push_async_callback(admin.aclose)
        progress, metrics = Progress(clock), Metrics("xstock")
        progress.register(SCAN, _STALL_SECONDS)
        handlers = WatcherHandlers(
            chain=entry.domain,
            reader=reader.port,
            store=PostgresWatcherStore(database, entry.domain, registry.deployment_id),
            bus=KafkaProgressBus(producer, registry.deployment_id),
            clock=clock,
            page_limit=settings.page_limit,
        )
        await handlers.refuse_if_halted()
        loops = WatcherLoops(
            handlers=handlers,
            clock=clock,
            progress=progress,
            metrics=WatcherMetrics.create(metrics.registry),
            poll_seconds=settings.poll_seconds,
            progress_seconds=settings.progress_seconds,
            check=StartCheck(
                entry.domain,
                [admin.port for admin in admins],
                settings.provider_quorum or len(admins) // 2 + 1,
            ),
        )
        pump = OutboxPump(database, producer, clock, progress=progress)
        server = grpc_server(settings, handlers, registry.deployment_id, progress, clock)
        await server.start()
        await stack.enter_async_context(MetricsServer(metrics, progress, settings.metrics_listen))
        yield Service(
            name=f"watcher-{entry.name}",
            progress=progress,
            loops={
                "scan": loops.scan,
                "progress": loops.report,
                "outbox": pump.run,
                "health": server.run,
            },
            drain=(("grpc", server.drain),),
        )


async def approval(halt: str, by: str) -> bool:
    """One approval, kept in the database of the watcher that the environment names."""
    settings = load(WatcherSettings)
    registry = load_registry(settings.registry_path)
    database = DatabaseSettings(settings.database_url.get_secret_value())
    async with Database(database, SystemClock(), SystemRandomness()) as opened:
        domain = registry.chain(settings.chain).domain
        store = PostgresWatcherStore(opened, domain, registry.deployment_id)
        return await store.approve_clearing(halt, by, APPROVALS_NEEDED)


def grpc_server(
    settings: WatcherSettings,
    handlers: WatcherHandlers,
    deployment_id: str,
    progress: Progress,
    clock: Clock,
) -> GrpcServer:
    """The watcher's server over these handlers, not started."""
    methods = {f"/{_SERVICE}/{name}" for name in ("ReObserve", "GetCursor", "ListObservations")}
    api = WatcherService(handlers, deployment_id, clock)
    return GrpcServer(
        settings=GrpcServerSettings(
            listen=settings.grpc_listen,
            tls=TlsFiles.of(settings),
            insecure_dev=settings.insecure_dev,
        ),
        access=Access(roles={}, methods={method: frozenset({ANYONE}) for method in methods}),
        errors=error_table(),
        progress=progress,
        clock=clock,
        register=lambda server: watcher_pb2_grpc.add_WatcherServiceServicer_to_server(api, server),
        services=(_SERVICE,),
    )

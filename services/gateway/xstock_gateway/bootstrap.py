"""The gateway's composition root: the only place that names concrete adapters."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import grpc

from xstock_chains.profiles import open_builder, open_reader
from xstock_chains.registry import Registry, load_registry
from xstock_core.ids import Domain
from xstock_gateway.adapters.desk import FamilyDesk
from xstock_gateway.adapters.peers import GrpcGuards, GrpcReturns, GrpcWatchers
from xstock_gateway.adapters.postgres import PostgresGatewayStore
from xstock_gateway.adapters.records import TOPICS, RecordCodec
from xstock_gateway.entrypoints.grpc_api import BridgeService, Handlers
from xstock_gateway.entrypoints.kafka import Intake
from xstock_gateway.entrypoints.loops import JournalLoops, count_dead_letters, count_gaps
from xstock_gateway.entrypoints.show import Presenter
from xstock_gateway.handlers.ask import AskHandler
from xstock_gateway.handlers.build import BuildHandler
from xstock_gateway.handlers.cancel import CancelHandler
from xstock_gateway.handlers.follow import FollowHandler, Wakeups
from xstock_gateway.handlers.ingest import IngestHandler
from xstock_gateway.metrics import GatewayMetrics
from xstock_gateway.ports import ChainDesk, Coverage, GatewayStore
from xstock_gateway.settings import GatewaySettings
from xstock_gateway.token import TokenBox
from xstock_gateway.view import Fact
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.errors import Fatal
from xstock_runtime.grpc_client import ChannelSettings, ClientTls, open_channel
from xstock_runtime.grpc_server import ANYONE, Access, GrpcServer, GrpcServerSettings, TlsFiles
from xstock_runtime.health import Progress
from xstock_runtime.kafka import BusConsumer, BusProducer, ConsumerSettings, ProducerSettings
from xstock_runtime.metrics import Metrics, MetricsServer
from xstock_runtime.migrations import check_current
from xstock_runtime.service import Service
from xstock_wire.reasons import error_table
from xstock_wire.v1 import bridge_pb2, bridge_pb2_grpc

_SERVICE = "xstock_wire.v1.BridgeService"


@asynccontextmanager
async def bootstrap(settings: GatewaySettings) -> AsyncIterator[Service]:
    """Build the service; raises Fatal when its schema is not current."""
    clock, randomness = SystemClock(), SystemRandomness()
    registry = load_registry(settings.registry_path)
    url = settings.database_url.get_secret_value()
    await check_current(url, "xstock_gateway")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database(DatabaseSettings(url, application="gateway"), clock, randomness)
        )
        producer = await stack.enter_async_context(
            BusProducer(ProducerSettings(settings.kafka_bootstrap, settings.mac_key), clock)
        )
        progress, metrics = Progress(clock), Metrics("xstock_gateway")
        counted = GatewayMetrics.create(metrics)
        codec = RecordCodec(registry.deployment_id)
        store, wakeups = PostgresGatewayStore(database, codec), Wakeups()
        handlers = await _handlers(settings, registry, store, wakeups, counted, stack)
        consumer: BusConsumer[Fact | Coverage | None] = BusConsumer(
            ConsumerSettings(
                bootstrap=settings.kafka_bootstrap,
                group=f"{registry.deployment_id}.gateway",
                topics=TOPICS,
                mac_keys=settings.mac_keys,
            ),
            decode=codec.decode,
            handler=Intake(handlers.ask.ingest, counted).take,
            dead_letters=producer,
            clock=clock,
            randomness=randomness,
            on_poison=count_dead_letters(counted),
            on_gap=count_gaps(counted),
            progress=progress,
        )
        loops = JournalLoops(store, wakeups, clock, settings.retention_days)
        server = grpc_server(settings, handlers, progress, counted)
        await server.start()
        await stack.enter_async_context(MetricsServer(metrics, progress, settings.metrics_listen))
        yield Service(
            name="gateway",
            progress=progress,
            loops={
                "kafka": consumer.run,
                "journal": loops.listen,
                "retention": loops.forget,
                "health": server.run,
            },
            drain=(("streams", loops.drain), ("grpc", server.drain)),
        )


async def _handlers(
    settings: GatewaySettings,
    registry: Registry,
    store: GatewayStore,
    wakeups: Wakeups,
    counted: GatewayMetrics,
    stack: AsyncExitStack,
) -> Handlers:
    clock = SystemClock()
    desks = await _desks(registry, settings.providers, stack)
    tokens = TokenBox(settings.token_key.get_secret_value().encode(), registry.deployment_id)
    watchers = GrpcWatchers(
        {
            registry.chain(name).domain: await _channel(settings, target, stack)
            for name, target in settings.watchers.items()
        },
        registry.deployment_id,
    )
    ingest = IngestHandler(store, clock)
    ask = AskHandler(registry, store, watchers, desks, ingest, tokens, wakeups, clock)
    target = settings.relayer
    relayer = await _channel(settings, target, stack) if target else None
    return Handlers(
        registry=registry,
        store=store,
        guards=GrpcGuards(await _guard_channels(registry, settings, stack)),
        ask=ask,
        build=BuildHandler(registry, store, desks, clock, redemptions_open=custody_pays(registry)),
        cancel=CancelHandler(ask, GrpcReturns(relayer), clock, registry.deployment_id),
        follow=FollowHandler(
            store,
            tokens,
            wakeups,
            clock,
            settings.stream_progress_seconds,
            settings.stream_slow_seconds,
        ),
        present=Presenter(registry, desks),
        metrics=counted,
        version=version("xstock-bridge"),
        randomness=SystemRandomness(),
    )


def custody_pays(registry: Registry) -> bool:
    """Whether somebody registered states what custody has paid out: without that list an open
    redemption would count as exposure for ever."""
    return any(one.role == "custodian" for one in registry.attestors)


async def _desks(
    registry: Registry, providers: Mapping[str, list[str]], stack: AsyncExitStack
) -> dict[Domain, ChainDesk]:
    missing = [entry.name for entry in registry.chains if not providers.get(entry.name)]
    if missing:
        names = ", ".join(missing)
        raise Fatal(
            "PROVIDERS_MISSING",
            f"providers: {names} cannot be asked; give at least one node address of every chain",
            {"chains": names},
        )
    desks: dict[Domain, ChainDesk] = {}
    for name, urls in providers.items():
        entry = registry.chain(name)
        builder = open_builder(registry, name, urls[0])
        reader = open_reader(registry, name, urls[:1])
        stack.push_async_callback(builder.aclose)
        stack.push_async_callback(reader.aclose)
        desks[entry.domain] = FamilyDesk(entry.domain, entry.family, builder.port, reader.port)
    return desks


async def _channel(
    settings: GatewaySettings, target: str, stack: AsyncExitStack
) -> grpc.aio.Channel:
    identity = "gateway" if settings.insecure_dev else None
    channel = open_channel(ChannelSettings(target, ClientTls.of(settings), dev_identity=identity))
    return await stack.enter_async_context(channel)


async def _guard_channels(
    registry: Registry, settings: GatewaySettings, stack: AsyncExitStack
) -> dict[str, grpc.aio.Channel]:
    return {
        guard.id: await _channel(settings, settings.guards.get(guard.id, guard.endpoint), stack)
        for guard in registry.guards
    }


def grpc_server(
    settings: GatewaySettings, handlers: Handlers, progress: Progress, counted: GatewayMetrics
) -> GrpcServer:
    """The partner API's server over these handlers, not started."""
    methods = [
        f"/{_SERVICE}/{method.name}"
        for method in bridge_pb2.DESCRIPTOR.services_by_name["BridgeService"].methods
    ]
    api = BridgeService(handlers)
    return GrpcServer(
        settings=GrpcServerSettings(
            listen=settings.grpc_listen,
            tls=TlsFiles.of(settings),
            insecure_dev=settings.insecure_dev,
        ),
        access=Access(roles={}, methods={method: frozenset({ANYONE}) for method in methods}),
        errors=error_table(settings.errors_url),
        progress=progress,
        clock=SystemClock(),
        register=lambda server: bridge_pb2_grpc.add_BridgeServiceServicer_to_server(api, server),
        services=(_SERVICE,),
        observe=counted.observe,
    )

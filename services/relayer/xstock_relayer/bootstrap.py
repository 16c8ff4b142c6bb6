"""The relayer's composition root: the only place that names concrete adapters.

Refuses to start on a chain that is not as configured, a missing key or an old schema. A second
process over the same database stands by until the lease is free, and does nothing until then.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from xstock_chains.addresses import parse_identity
from xstock_chains.profiles import (
    open_account,
    open_admin,
    open_codec,
    open_reader,
    open_signer,
    open_writer,
    parse_address,
)
from xstock_chains.registry import ChainEntry, Registry, load_registry
from xstock_core.ids import AssetId, Domain
from xstock_core.quorum import issuance_threshold
from xstock_relayer.adapters.failover import FailoverWriter
from xstock_relayer.adapters.peers import GrpcGuard, GrpcWatcher
from xstock_relayer.adapters.postgres import PostgresBooks
from xstock_relayer.entrypoints.consumer import OBSERVATIONS_TOPIC, Observations
from xstock_relayer.entrypoints.loops import RelayerLoops
from xstock_relayer.entrypoints.servers import (
    SERVICES,
    IssuanceServicer,
    OperatorServicer,
    TransferServicer,
    access,
    operators,
)
from xstock_relayer.handlers.relayer import Destination, Relayer
from xstock_relayer.handlers.sending import SendingLimits
from xstock_relayer.metrics import RelayerMetrics
from xstock_relayer.model import Hint, Terms
from xstock_relayer.settings import RelayerSettings
from xstock_runtime.clock import Clock, SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.errors import Fatal, Transient
from xstock_runtime.grpc_client import ChannelSettings, ClientTls, open_channel
from xstock_runtime.grpc_server import GrpcServer, GrpcServerSettings, TlsFiles
from xstock_runtime.health import Progress
from xstock_runtime.kafka import BusConsumer, BusProducer, ConsumerSettings, ProducerSettings
from xstock_runtime.lease import AdvisoryLease, LeaseSettings
from xstock_runtime.logging import get_logger
from xstock_runtime.metrics import Metrics, MetricsServer
from xstock_runtime.migrations import check_current
from xstock_runtime.outbox import OutboxPump
from xstock_runtime.service import Loop, Service
from xstock_wire.reasons import error_table
from xstock_wire.v1.operator_pb2_grpc import add_OperatorServiceServicer_to_server
from xstock_wire.v1.relayer_pb2_grpc import (
    add_IssuanceServiceServicer_to_server,
    add_TransferServiceServicer_to_server,
)

PACKAGE = "xstock_relayer"
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_log = get_logger("relayer")


@asynccontextmanager
async def bootstrap(settings: RelayerSettings) -> AsyncIterator[Service]:
    """Build the relayer from its settings; everything is closed again on leaving."""
    clock, randomness = SystemClock(), SystemRandomness()
    registry = load_registry(settings.registry_path)
    url = settings.database_url.get_secret_value()
    await check_current(url, PACKAGE)
    async with AsyncExitStack() as stack:
        progress, metrics = Progress(clock), Metrics("xstock_relayer")
        await stack.enter_async_context(MetricsServer(metrics, progress, settings.metrics_listen))
        database = Database(DatabaseSettings(url, application="relayer"), clock, randomness)
        await stack.enter_async_context(database)
        destinations = [
            await _destination(stack, settings, registry, chain, clock) for chain in registry.chains
        ]
        name = f"relayer/{registry.deployment_id}"
        lease = AdvisoryLease(LeaseSettings(name, str(randomness.uuid4()), settings.lease_seconds))
        await lease.wait_until_acquired(database, clock, progress)
        stack.push_async_callback(_give_up, lease, database)
        books = PostgresBooks(database, lease, clock, deployment_id=registry.deployment_id)
        relayer = Relayer(
            books,
            terms_of(registry),
            _guards(stack, settings, registry),
            destinations,
            _watchers(stack, settings, registry),
            clock,
            RelayerMetrics(metrics),
            review_page=settings.review_page,
        )
        await relayer.start()
        yield await _serve(stack, settings, registry, relayer, database, lease, progress, clock)


def terms_of(registry: Registry) -> Terms:
    """What the relayer works by, from the registry."""
    bridges: dict[tuple[Domain, AssetId], bytes] = {}
    signers = {}
    for chain in registry.chains:
        for guard in registry.guards:
            key = parse_identity(chain.family, guard.keys[chain.family])
            signers[chain.domain, guard.id] = key
        for asset in (asset for asset in registry.assets if asset.on(chain.name)):
            bridge = registry.bridge_on(chain.name, asset.id).address
            bridges[chain.domain, asset.id] = parse_address(registry, chain.name, bridge)
    return Terms(
        deployment_id=registry.deployment_id,
        guards=tuple(guard.id for guard in registry.guards),
        threshold=registry.threshold,
        permit_seconds=registry.policy.permit_seconds,
        bridges=bridges,
        batch_items_max={chain.domain: chain.batch_items_max for chain in registry.chains},
        assets=frozenset(asset.id for asset in registry.assets),
        signers=signers,
        custody_threshold=issuance_threshold(
            len(registry.guards), registry.threshold, registry.policy.faulty_guards_max
        ),
    )


async def _destination(
    stack: AsyncExitStack,
    settings: RelayerSettings,
    registry: Registry,
    chain: ChainEntry,
    clock: Clock,
) -> Destination:
    urls = settings.providers.get(chain.name)
    key_file = settings.keys.get(chain.name)
    if not urls or key_file is None:
        missing = "keys" if urls else "providers"
        raise Fatal(
            "CHAIN_NOT_CONFIGURED",
            f"{missing}: nothing for {chain.name!r}, which the registry has; add it",
            {"field": missing, "chain": chain.name},
        )
    await _self_test(registry, chain, urls, clock)
    timeout = settings.provider_timeout_seconds
    writers = [open_writer(registry, chain.domain, url, timeout) for url in urls]
    reader = open_reader(registry, chain.domain, urls, clock=clock, timeout_seconds=timeout)
    stack.push_async_callback(reader.aclose)
    for opened in writers:
        stack.push_async_callback(opened.aclose)
    signer = open_signer(chain.family, key_file)

    async def final_time() -> int:
        return (await reader.port.finalized_head()).time

    return Destination(
        chain=chain.domain,
        address=open_account(chain.family, signer, "relayer"),
        writer=FailoverWriter([writer.port for writer in writers]),
        signer=signer,
        codec=open_codec(registry, chain.domain),
        final_time=final_time,
        limits=SendingLimits(
            in_flight_max=settings.in_flight_max,
            resend_ms=int(settings.resend_seconds * 1000),
            bump_ms=int(settings.bump_seconds * 1000),
            gap_ms=int(settings.gap_seconds * 1000),
        ),
    )


async def _self_test(registry: Registry, chain: ChainEntry, urls: list[str], clock: Clock) -> None:
    """At least one node must pass, and none may be another chain (F14, F88); waits for nodes."""
    while True:
        answered = [await _ask_self(registry, chain, url) for url in urls]
        if any(answered):
            return
        _log.warning("waiting_for_nodes", chain=chain.name, nodes=len(urls))
        await clock.sleep(1.0)


async def _ask_self(registry: Registry, chain: ChainEntry, url: str) -> bool:
    admin = open_admin(registry, chain.domain, url)
    try:
        report = await admin.port.self_test()
    except Transient:
        return False
    finally:
        await admin.aclose()
    wrong = [check for check in report.checks if check.passed is False]
    if wrong:
        lines = "; ".join(f"{c.name}: expected {c.expected}, found {c.found}" for c in wrong)
        raise Fatal(
            "SELF_TEST_FAILED", f"{chain.name} is not as configured: {lines}", {"chain": chain.name}
        )
    return not report.failed


def _channel(settings: RelayerSettings, target: str) -> ChannelSettings:
    return ChannelSettings(
        target,
        tls=ClientTls.of(settings),
        dev_identity=settings.dev_identity if settings.insecure_dev else None,
        deadline_seconds=settings.guard_deadline_seconds,
        message_bytes_max=_MESSAGE_BYTES_MAX,
    )


def _guards(
    stack: AsyncExitStack, settings: RelayerSettings, registry: Registry
) -> list[GrpcGuard]:
    guards = []
    for entry in registry.guards:
        channel = open_channel(_channel(settings, settings.guards.get(entry.id, entry.endpoint)))
        stack.push_async_callback(channel.close)
        seconds = settings.guard_deadline_seconds
        guards.append(GrpcGuard(entry.id, channel, deadline_seconds=seconds))
    return guards


def _watchers(
    stack: AsyncExitStack, settings: RelayerSettings, registry: Registry
) -> list[GrpcWatcher]:
    watchers = []
    missing = [entry.name for entry in registry.chains if entry.name not in settings.watchers]
    if missing:
        text = f"watchers: none is named for {', '.join(missing)}; facts are read from watchers"
        raise Fatal("WATCHER_MISSING", text, {"chains": ", ".join(missing)})
    for name, target in settings.watchers.items():
        channel = open_channel(_channel(settings, target))
        stack.push_async_callback(channel.close)
        watchers.append(
            GrpcWatcher(
                registry.chain(name).domain,
                channel,
                deployment_id=registry.deployment_id,
                deadline_seconds=settings.guard_deadline_seconds,
            )
        )
    return watchers


async def _give_up(lease: AdvisoryLease, database: Database) -> None:
    async with database.transaction() as connection:
        await lease.release(connection)


async def _serve(
    stack: AsyncExitStack,
    settings: RelayerSettings,
    registry: Registry,
    relayer: Relayer,
    database: Database,
    lease: AdvisoryLease,
    progress: Progress,
    clock: Clock,
) -> Service:
    producer = BusProducer(
        ProducerSettings(settings.kafka_bootstrap, settings.mac_key, "relayer"), clock
    )
    await stack.enter_async_context(producer)
    observations = Observations(relayer, registry.deployment_id)
    consumer: BusConsumer[Hint] = BusConsumer(
        ConsumerSettings(
            bootstrap=settings.kafka_bootstrap,
            topics=(OBSERVATIONS_TOPIC,),
            group=settings.kafka_group,
            mac_keys=settings.mac_keys,
            client_id="relayer",
            page_records=settings.page_records,
        ),
        decode=observations.decode,
        handler=observations.take,
        dead_letters=producer,
        clock=clock,
        randomness=SystemRandomness(),
        on_poison=observations.on_poison,
        on_gap=observations.on_gap,
        progress=progress,
    )
    server = _server(settings, registry, relayer, progress, clock)
    await server.start()
    loops: dict[str, Loop] = RelayerLoops(
        relayer, clock, progress, settings.heal_seconds, settings.guard_calls_max
    ).all()
    loops["lease"] = lambda: lease.keep(database, clock)
    loops["outbox"] = OutboxPump(database, producer, clock).run
    loops["kafka"] = consumer.run
    loops["grpc"] = server.run
    return Service("relayer", progress, loops, drain=(("grpc", server.drain),))


def _server(
    settings: RelayerSettings,
    registry: Registry,
    relayer: Relayer,
    progress: Progress,
    clock: Clock,
) -> GrpcServer:
    issuers = {issuer.key_id: issuer.public_key for issuer in registry.issuers}

    def register(server: object) -> None:
        issuance = IssuanceServicer(relayer.issuer, issuers)
        add_IssuanceServiceServicer_to_server(issuance, server)  # type: ignore[arg-type]
        # What is the guards' own part (pauses, proposals) answers UNIMPLEMENTED here.
        operator = OperatorServicer(relayer.operator, SystemRandomness())  # type: ignore[abstract]
        add_OperatorServiceServicer_to_server(operator, server)  # type: ignore[arg-type]
        back = TransferServicer(relayer.returner, operators(settings.roles))
        add_TransferServiceServicer_to_server(back, server)  # type: ignore[arg-type]

    return GrpcServer(
        settings=GrpcServerSettings(
            settings.grpc_listen,
            tls=TlsFiles.of(settings),
            insecure_dev=settings.insecure_dev,
        ),
        access=access(settings.roles),
        errors=error_table(),
        progress=progress,
        clock=clock,
        register=register,
        services=SERVICES,
    )

"""The composition root of a supply-guard: the only place that names concrete adapters.

Refuses to start on a weak or contradictory configuration: an unknown guard id, a key that is not
the registry's, a chain without providers of its own, a quorum that half of the providers could
pass, providers shared with others, an old schema, or a second live instance of the same guard.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import text

from xstock_chains.addresses import parse_identity
from xstock_chains.ports import ChainAdmin, ChainReader, ChainWriter, ReleaseCodec, Signer
from xstock_chains.profiles import (
    Opened,
    open_admin,
    open_codec,
    open_reader,
    open_signer,
    open_writer,
)
from xstock_chains.registry import Registry, load_registry
from xstock_chains.start_check import StartCheck
from xstock_core.ids import Domain
from xstock_runtime.clock import Clock, SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.errors import Fatal
from xstock_runtime.grpc_errors import ErrorTable
from xstock_runtime.grpc_server import GrpcServer, GrpcServerSettings, TlsFiles
from xstock_runtime.health import Progress
from xstock_runtime.kafka.producer import BusProducer, ProducerSettings
from xstock_runtime.lease import AdvisoryLease, LeaseSettings
from xstock_runtime.metrics import Metrics, MetricsServer
from xstock_runtime.migrations import check_current
from xstock_runtime.outbox import OutboxPump
from xstock_runtime.service import Loop, Service
from xstock_supply_guard.adapters.configuration import guard_config, screening_list
from xstock_supply_guard.adapters.postgres import PostgresGuardStore
from xstock_supply_guard.adapters.reserves_feed import ReservesFeed
from xstock_supply_guard.adapters.signatures import signature_valid
from xstock_supply_guard.entrypoints.audit_server import AuditServicer
from xstock_supply_guard.entrypoints.collateral import CoverLoop, FeedLoop
from xstock_supply_guard.entrypoints.loops import AuditLoop, Scanner
from xstock_supply_guard.entrypoints.people_server import DenialWatch
from xstock_supply_guard.entrypoints.rebuilding import fill
from xstock_supply_guard.entrypoints.servers import (
    SERVICES,
    OperatorServicer,
    SupplyGuardServicer,
    access,
)
from xstock_supply_guard.entrypoints.watch_loop import WatchLoop
from xstock_supply_guard.handlers.audit import Auditor
from xstock_supply_guard.handlers.checking import QuorumEpoch
from xstock_supply_guard.handlers.desk import Desk, make_live
from xstock_supply_guard.handlers.origin import begin
from xstock_supply_guard.handlers.prove import ledger_hash
from xstock_supply_guard.handlers.rebuild import begin_rebuild
from xstock_supply_guard.handlers.watching import RightsWatch
from xstock_supply_guard.metrics import GuardMetrics
from xstock_supply_guard.model import GuardConfig
from xstock_supply_guard.ports import GuardStore
from xstock_supply_guard.settings import GuardSettings
from xstock_wire.papers import PaperKey
from xstock_wire.v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from xstock_wire.v1.operator_pb2_grpc import add_OperatorServiceServicer_to_server
from xstock_wire.v1.supply_guard_pb2_grpc import add_SupplyGuardServiceServicer_to_server

PACKAGE = "xstock_supply_guard"
_SCAN_STALL_SECONDS = 120.0
_PROCESS_LOCK = 0x7873_746F_636B_6764  # one process of this guard in its own database
_EXPIRE_LEASE = text("UPDATE lease SET expires = clock_timestamp() WHERE name = :name")


@dataclass(frozen=True, slots=True)
class ChainDoor:
    """Everything this guard holds of one chain."""

    reader: ChainReader
    epoch: QuorumEpoch
    check: StartCheck


@asynccontextmanager
async def bootstrap(settings: GuardSettings) -> AsyncIterator[Service]:
    """Build one guard from its settings; everything is closed again on leaving."""
    async with _opened(settings) as guard:
        stack, desk = guard.stack, guard.desk
        desk.screening = screening_list(guard.registry, settings, desk.clock)
        await begin(desk)
        paper_key = open_paper_key(guard.registry, settings)
        yield await _serve(
            stack, settings, desk, guard.doors, guard.database, guard.lease, desk.clock, paper_key
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    """A guard with its keys, chains and memory, doing nothing yet."""

    stack: AsyncExitStack
    registry: Registry
    desk: Desk
    doors: Mapping[Domain, ChainDoor]
    database: Database
    lease: AdvisoryLease


@asynccontextmanager
async def _opened(settings: GuardSettings) -> AsyncIterator[_Opened]:
    clock = SystemClock()
    registry = load_registry(settings.registry_path)
    config = guard_config(registry, settings)
    signers, codecs = _keys(registry, settings)
    await check_current(settings.database_url.get_secret_value(), PACKAGE)
    async with AsyncExitStack() as stack:
        doors = {domain: await _door(stack, registry, settings, domain) for domain in config.chains}
        database, lease = await open_database(stack, settings, clock)
        store = PostgresGuardStore(
            database,
            guard_id=config.guard_id,
            deployment_id=config.deployment_id,
            lease=lease,
        )
        desk = make_desk(config, store, clock, doors, codecs, signers)
        yield _Opened(stack, registry, desk, doors, database, lease)


async def rebuild(settings: GuardSettings, papers: Path | None) -> dict[str, Any]:
    """Fill this guard's empty database from the chains and the papers of an export; what came out.

    Raises Fatal NOT_EMPTY, SELF_TEST_FAILED, UNBELIEVED or EXPORT_UNREADABLE.
    """
    async with _opened(settings) as guard:
        desk, doors = guard.desk, guard.doors
        await begin_rebuild(desk)
        keeping = asyncio.create_task(guard.lease.keep(guard.database, desk.clock))
        try:
            for door in doors.values():
                await door.check.run()
            readers = {domain: door.reader for domain, door in doors.items()}
            done, said = await fill(desk, readers, papers)
            found = await ledger_hash(desk)
            async with desk.store.read() as books:
                halts = [halt.reason for halt in await books.halts()]
        finally:
            keeping.cancel()
    return {
        "guard": desk.config.guard_id,
        "chains": {
            desk.config.chains[one.chain].name: {
                "observations": one.observations,
                "through": one.through,
            }
            for one in done
        },
        "papers": {"taken": said.taken, "refused": said.refused},
        "ledger_hash": found.digest.hex(),
        "entries": found.entries,
        "halts": halts,
    }


def make_desk(
    config: GuardConfig,
    store: GuardStore,
    clock: Clock,
    doors: Mapping[Domain, ChainDoor],
    codecs: Mapping[Domain, ReleaseCodec],
    signers: Mapping[Domain, Signer],
) -> Desk:
    """The desk of a guard."""
    return Desk(
        config=config,
        store=store,
        clock=clock,
        live=make_live(config, clock),
        check_signature=signature_valid,
        codecs=codecs,
        signers=signers,
        epochs={domain: door.epoch for domain, door in doors.items()},
    )


def _keys(
    registry: Registry, settings: GuardSettings
) -> tuple[dict[Domain, Signer], dict[Domain, ReleaseCodec]]:
    """One signer per chain, checked against the registry; one codec per chain."""
    entry = next(guard for guard in registry.guards if guard.id == settings.guard_id)
    signers: dict[Domain, Signer] = {}
    for chain in registry.chains:
        key_file = settings.key_files.get(chain.family, settings.key_file)
        if key_file is None:
            raise Fatal("KEY_MISSING", f"key_file: not set; {chain.name} needs a key to sign with")
        signer = open_signer(chain.family, key_file)
        known = entry.keys.get(chain.family, "")
        if signer.identity != parse_identity(chain.family, known):
            raise Fatal(
                "KEY_WRONG",
                f"key_files.{chain.family}: its identity {signer.identity.hex()} is not the "
                f"registry's {known!r} of guard {settings.guard_id!r}; use the right key file",
                {"guard": settings.guard_id, "family": chain.family},
            )
        signers[chain.domain] = signer
    return signers, {chain.domain: open_codec(registry, chain.domain) for chain in registry.chains}


def open_paper_key(registry: Registry, settings: GuardSettings) -> PaperKey | None:
    """The key of this guard's own papers, None without one; raises Fatal KEY_WRONG."""
    if settings.paper_key_file is None:
        return None
    key = PaperKey.from_file(settings.guard_id, settings.paper_key_file)
    entry = next(guard for guard in registry.guards if guard.id == settings.guard_id)
    if entry.paper_key is not None and entry.paper_key != key.public_key:
        raise Fatal(
            "KEY_WRONG",
            f"paper_key_file: its key {key.public_key.hex()} is not the registry's "
            f"{entry.paper_key.hex()} of guard {settings.guard_id!r}; use the right key file",
            {"guard": settings.guard_id},
        )
    return key


async def _door(
    stack: AsyncExitStack, registry: Registry, settings: GuardSettings, domain: Domain
) -> ChainDoor:
    urls = settings.providers[registry.chain(domain).name]
    needed = settings.provider_quorum or len(urls) // 2 + 1
    timeout = settings.provider_timeout_seconds
    opened = open_reader(registry, domain, urls, needed=needed, timeout_seconds=timeout)
    stack.push_async_callback(opened.aclose)
    writers: list[Opened[ChainWriter]] = []
    admins: list[Opened[ChainAdmin]] = []
    for url in urls:
        writers.append(open_writer(registry, domain, url, timeout))
        admins.append(open_admin(registry, domain, url, timeout))
        stack.push_async_callback(writers[-1].aclose)
        stack.push_async_callback(admins[-1].aclose)
    return ChainDoor(
        reader=opened.port,
        epoch=QuorumEpoch([writer.port for writer in writers], needed),
        check=StartCheck(domain, [admin.port for admin in admins], needed),
    )


async def open_database(
    stack: AsyncExitStack, settings: GuardSettings, clock: Clock
) -> tuple[Database, AdvisoryLease]:
    """The guard's database with the writer's lease taken; raises Fatal SECOND_INSTANCE."""
    url = settings.database_url.get_secret_value()
    database = Database(
        DatabaseSettings(url, application=f"supply-guard {settings.guard_id}"),
        clock,
        SystemRandomness(),
    )
    await stack.enter_async_context(database)
    holder = str(SystemRandomness().uuid4())
    lease = AdvisoryLease(
        LeaseSettings(lease_name(settings.guard_id), holder, settings.lease_seconds)
    )
    session = await database.connect_raw()
    stack.callback(session.terminate)
    until = clock.monotonic() + settings.lease_wait_seconds
    while not await _take(database, lease, session, settings.guard_id):
        # SECURITY: two writers of one guard could grant the same room under the cap twice (F46).
        if clock.monotonic() >= until:
            raise Fatal(
                "SECOND_INSTANCE",
                f"another process of guard {settings.guard_id!r} holds the writer's lease; stop "
                "it first, a guard has one writer",
                {"guard": settings.guard_id},
            )
        await clock.sleep(0.25)

    async def give_up() -> None:
        async with database.transaction() as connection:
            await lease.release(connection)

    stack.push_async_callback(give_up)
    return database, lease


async def _take(
    database: Database, lease: AdvisoryLease, session: asyncpg.Connection, guard_id: str
) -> bool:
    """Whether the lease is ours now.

    The session lock dies with its process: whoever gets it knows that the last holder is gone and
    need not wait for the lease to run out (a zombie that is not gone is fenced all the same).
    Without it the lease is taken only once it has run out.
    """
    if await session.fetchval("SELECT pg_try_advisory_lock($1)", _PROCESS_LOCK):
        async with database.transaction() as connection:
            await connection.execute(_EXPIRE_LEASE, {"name": lease_name(guard_id)})
    return await database.run(lease.acquire) is not None


def lease_name(guard_id: str) -> str:
    """The writer's lease of a guard."""
    return f"guard/{guard_id}"


async def _serve(
    stack: AsyncExitStack,
    settings: GuardSettings,
    desk: Desk,
    doors: Mapping[Domain, ChainDoor],
    database: Database,
    lease: AdvisoryLease,
    clock: Clock,
    paper_key: PaperKey | None,
) -> Service:
    progress = Progress(clock)
    metrics = Metrics("xstock_guard")
    counters = GuardMetrics.create(metrics)
    loops: dict[str, Loop] = {"lease": lambda: lease.keep(database, clock)}
    for domain, door in doors.items():
        scanner = Scanner(desk, domain, door.reader, door.check, clock, progress, counters)
        progress.register(scanner.name, _SCAN_STALL_SECONDS)
        loops[scanner.name] = scanner.run
        assets = tuple(a.asset for a in desk.config.assets.values() if domain in a.decimals)
        audit = AuditLoop(
            desk, Auditor(domain, assets), door.reader, clock, counters, settings.audit_seconds
        )
        loops[f"audit-{desk.config.chains[domain].name}"] = audit.run
        watch = RightsWatch(domain, door.check.admins, door.check.needed)
        loops[f"rights-{desk.config.chains[domain].name}"] = WatchLoop(
            desk, watch, counters, settings.watch_seconds
        ).run
    if settings.reserves_url:
        feed = ReservesFeed(settings.reserves_url, settings.provider_timeout_seconds)
        await stack.enter_async_context(feed)
        loops["reserves"] = FeedLoop(desk, feed, clock, counters, settings.reserves_seconds).run
    loops["cover"] = CoverLoop(desk, clock, counters, settings.audit_seconds).run
    producer = BusProducer(
        ProducerSettings(settings.kafka_bootstrap, settings.mac_key, "supply-guard"), clock
    )
    await stack.enter_async_context(producer)
    # Not in `progress`: a guard works with Kafka down, its verdicts wait in the outbox.
    loops["outbox"] = OutboxPump(database, producer, clock).run
    await stack.enter_async_context(MetricsServer(metrics, progress, settings.metrics_listen))
    denials = DenialWatch(desk, counters, clock)
    loops["denials"] = denials.run
    server = _server(settings, desk, counters, progress, clock, paper_key)
    server.denied = denials.note
    await server.start()
    stack.push_async_callback(server.drain)
    loops["grpc"] = server.run
    return Service("supply-guard", progress, loops, drain=(("grpc", server.drain),))


def _server(
    settings: GuardSettings,
    desk: Desk,
    counters: GuardMetrics,
    progress: Progress,
    clock: Clock,
    paper_key: PaperKey | None,
) -> GrpcServer:

    def register(server: object) -> None:
        guard = SupplyGuardServicer(desk, counters, paper_key)
        add_SupplyGuardServiceServicer_to_server(guard, server)  # type: ignore[arg-type]
        operator = OperatorServicer(desk)
        add_OperatorServiceServicer_to_server(operator, server)  # type: ignore[arg-type]
        audit = AuditServicer(desk, paper_key)
        add_AuditServiceServicer_to_server(audit, server)  # type: ignore[arg-type]

    return GrpcServer(
        settings=GrpcServerSettings(
            settings.grpc_listen, tls=TlsFiles.of(settings), insecure_dev=settings.insecure_dev
        ),
        access=access(settings.roles),
        errors=ErrorTable("xstock-bridge"),
        progress=progress,
        clock=clock,
        register=register,
        services=SERVICES,
        observe=lambda method, outcome, seconds: counters.call_seconds.labels(
            method, outcome
        ).observe(seconds),
    )

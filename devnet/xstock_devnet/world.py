"""A whole bridge on this machine: engines, chains, contracts, keys, databases and processes.

`World.start()` brings everything up in the order in which it depends on each other and says what
it waits for; leaving the `async with` block stops all of it. Every service is a real process
with its own database and its own providers, all of them reached through one RPC proxy, so that
each provider can be made to fail or lie alone. Everything lives in one folder.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from xstock_chains.addresses import show_identity, show_wire
from xstock_chains.families import Family
from xstock_chains.profiles import Purpose, open_account, open_signer
from xstock_chains.registry import Registry, load_registry
from xstock_core.ids import Address32
from xstock_devnet.chain_nodes import chain_node
from xstock_devnet.chain_setup import (
    ChainSetup,
    deploy_chain,
    displayed_units,
    fund_accounts,
    read_token_facts,
)
from xstock_devnet.custodian import AGENT_KEY_ID, CUSTODY_FILE, KEY_ID
from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.engines.kafka import KafkaBroker
from xstock_devnet.engines.local_node import LocalNode
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.engines.postgres import DEV_PASSWORD, PostgresServer
from xstock_devnet.opening import open_asset
from xstock_devnet.plan import (
    AGENT,
    ASSETS,
    CHAINS,
    DEPLOYER,
    DEPLOYMENT_ID,
    GUARDS,
    HOLDERS,
    LARGE_SECONDS,
    PROVIDERS_EACH,
    RELAYER,
    THRESHOLD,
    AssetPlan,
    External,
    LocalChain,
)
from xstock_devnet.processes import ChildProcess, Service, Supervisor, grpc_health, http_health
from xstock_devnet.proxy.admin import ProxyAdmin
from xstock_runtime.clock import SystemRandomness
from xstock_runtime.kafka import TopicSpec, ensure_topics
from xstock_runtime.migrations import grant_runtime, upgrade
from xstock_wire.papers import PaperKey

Say = Callable[[str], None]
ISSUER_KEY_ID: Final = "issuer-1"
WORLD_FILE: Final = "world.json"
AGENT_LOG: Final = "logs/agent.jsonl"

TOPICS: Final = (
    TopicSpec("xstock.observations.v1"),
    TopicSpec("xstock.progress.v1", retention_days=1),
    TopicSpec("xstock.transfers.v1", cleanup="compact,delete"),
    TopicSpec("xstock.verdicts.v1", retention_days=365),
    TopicSpec("xstock.alarms.v1", retention_days=365),
)


def _fresh_secret() -> str:
    """Return 32 random bytes in hex: a key that only this world knows."""
    return SystemRandomness().random_bytes(32).hex()


@dataclass(frozen=True, slots=True)
class Process:
    """One service process of the world: its package, its database and its ports."""

    name: str
    package: str
    prefix: str
    grpc_port: int
    metrics_port: int

    @property
    def target(self) -> str:
        """Where its gRPC listens."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def database(self) -> str:
        """The name of its database and of its role."""
        return self.name.replace("-", "_")


@dataclass(slots=True)
class World:
    """One running bridge; enter it to start everything, leave it to stop everything."""

    folder: Path
    say: Say = print
    chains: Sequence[LocalChain] = CHAINS
    assets: Sequence[AssetPlan] = ASSETS
    externals: Sequence[External] = ()
    direct: bool = False
    """Go around the RPC proxy: for measurements."""
    auto_pay_seconds: float | None = None
    """Custody pays a redemption this long after M guards show it; None: as custody.json says."""
    kafka_bootstrap: str = ""
    """A Kafka that somebody else runs; empty means one of our own."""
    supervisor: Supervisor = field(default_factory=Supervisor)
    nodes: dict[str, LocalNode] = field(default_factory=dict)
    setups: dict[str, ChainSetup] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    openings: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    """symbol -> chain -> supply from before the bridge: {shares, residue_units, block}."""
    _mac_key: str = field(default_factory=_fresh_secret, repr=False)
    _token_key: str = field(default_factory=_fresh_secret, repr=False)
    postgres: PostgresServer = field(init=False)
    kafka: KafkaBroker = field(init=False)
    proxy: ProxyAdmin = field(init=False)
    registry: Registry = field(init=False)

    async def __aenter__(self) -> Self:
        """Start everything; what was started is stopped if anything fails."""
        try:
            await self.start()
        except BaseException:
            await self.supervisor.stop_all()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything in reverse order."""
        await self.supervisor.__aexit__(kind, error, trace)

    @property
    def registry_path(self) -> Path:
        """The deployment's registry file."""
        return self.folder / "registry.json"

    @property
    def gateway(self) -> Process:
        """The gateway."""
        return self.processes["gateway"]

    def key_file(self, name: str) -> Path:
        """The file of a key: guard-1, relayer, agent, issuer, custodian, holder-0 …"""
        return self.folder / "keys" / f"{name}.key"

    def providers(self, identity: str, chain: str) -> list[str]:
        """The providers that this reader alone uses for a chain.

        A direct world has one each, the node itself under a name of the reader's own.
        """
        if self.direct:
            return [f"{self.node_urls(chain)[0]}/?reader={identity}"]
        return [self.proxy.endpoint(identity, chain, n) for n in range(PROVIDERS_EACH)]

    def service(self, name: str) -> Service:
        """The running process of this name."""
        return self.supervisor.services[name]

    async def start(self) -> None:
        """Bring everything up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._name_processes()
        self._write_keys()
        await self._start_engines()
        await self._start_proxy()
        await self._deploy()
        self._write_registry()
        await asyncio.gather(self._fund(), self._read_supply())
        await asyncio.gather(self._prepare_databases(), self._prepare_topics())
        await self._start_services()
        await self._open_live_assets()
        self._write_world()

    # ------------------------------------------------------------------ engines and chains

    async def _start_engines(self) -> None:
        self.say("starting PostgreSQL, Kafka and the chains …")
        self.postgres = PostgresServer(self.folder / "postgres")
        self.kafka = KafkaBroker(self.folder / "kafka")
        outside = {external.chain for external in self.externals}
        for chain in self.chains:
            if chain.name not in outside:
                self.nodes[chain.name] = chain_node(chain, self.folder / "chains")
        engines: list[PostgresServer | KafkaBroker | LocalNode] = [self.postgres]
        if not self.kafka_bootstrap:
            engines.append(self.kafka)
            self.kafka_bootstrap = self.kafka.bootstrap
        engines += self.nodes.values()
        for engine in engines:
            self.supervisor.stop_later(engine.child.name, engine.stop)
        await asyncio.gather(*(engine.start() for engine in engines))
        self.say(
            f"  PostgreSQL on {self.postgres.port}, Kafka at {self.kafka_bootstrap}, "
            + ", ".join(f"{name} on {node.port}" for name, node in self.nodes.items())
        )

    @property
    def residues(self) -> dict[tuple[str, str], int]:
        """By (chain, symbol): the part of a unit that an opening left in the token's supply."""
        return {
            (chain, symbol): opening["residue_units"]
            for symbol, by_chain in self.openings.items()
            for chain, opening in by_chain.items()
        }

    def _chain(self, name: str) -> LocalChain:
        return next(chain for chain in self.chains if chain.name == name)

    def node_urls(self, chain: str) -> tuple[str, ...]:
        """The nodes themselves, past the proxy."""
        for external in self.externals:
            if external.chain == chain:
                return external.urls
        return (self.nodes[chain].url,)

    async def _start_proxy(self) -> None:
        (port,) = free_ports(1)
        self.proxy = ProxyAdmin(f"http://127.0.0.1:{port}")
        upstreams = [
            word
            for chain in self.chains
            for url in self.node_urls(chain.name)
            for word in ("--upstream", f"{chain.name}={url}")
        ]
        upstreams += [f"--family={chain.name}={chain.family}" for chain in self.chains]
        child = self.child("proxy", "xstock_devnet.proxy", {}, "--port", str(port), *upstreams)
        await self.supervisor.start(Service(child, http_health(f"{self.proxy.base_url}/healthz")))

    async def _deploy(self) -> None:
        self.say(f"deploying the bridge and {len(self.assets)} assets on {len(self.chains)} chains")
        setups = await asyncio.gather(
            *(
                deploy_chain(
                    chain,
                    self.node_urls(chain.name)[0],
                    self._deployer_file(chain),
                    guards=[self._identity(guard, chain.family) for guard in GUARDS],
                    agent=show_wire(chain.family, self._account("agent", chain, "holder")),
                    relayer=show_wire(chain.family, self._account("relayer", chain, "relayer")),
                    assets=self.assets,
                    external=next((e for e in self.externals if e.chain == chain.name), None),
                    folder=self.folder,
                    say=self.say,
                )
                for chain in self.chains
            )
        )
        self.setups = {setup.chain.name: setup for setup in setups}

    async def _fund(self) -> None:
        """Gas money for whoever sends on a chain."""
        names: list[tuple[str, Purpose]] = [
            ("relayer", "relayer"),
            ("agent", "holder"),
            *((name, "holder") for name in self._holder_names()),
        ]
        await asyncio.gather(
            *(
                fund_accounts(
                    setup, [self._account(name, setup.chain, purpose) for name, purpose in names]
                )
                for setup in self.setups.values()
            )
        )

    # ------------------------------------------------------------------ keys and papers

    def _deployer_file(self, chain: LocalChain) -> Path:
        """The key that pays for the deployment: a development account, or the one given."""
        for external in self.externals:
            if external.chain == chain.name:
                self._keep_key(f"deployer-{chain.name}", external.funded_key)
                return self.key_file(f"deployer-{chain.name}")
        return self.key_file("deployer")

    def _account(self, name: str, chain: LocalChain, purpose: Purpose) -> Address32:
        signer = open_signer(chain.family, self.key_file(name))
        return open_account(chain.family, signer, purpose)

    def _holder_names(self) -> list[str]:
        return [f"holder-{index}" for index in range(len(HOLDERS))]

    def _write_keys(self) -> None:
        """Development keys from the public mnemonic; guards, issuer and custodian fresh ones."""
        (self.folder / "keys").mkdir(exist_ok=True, mode=0o700)
        fixed = {"deployer": DEPLOYER, "agent": AGENT, "relayer": RELAYER}
        fixed.update(zip(self._holder_names(), HOLDERS, strict=True))
        for name, index in fixed.items():
            self._keep_key(name, dev_private_key(index))
        for name in (*GUARDS, "issuer", "custodian", "attestor"):
            self._keep_key(name, _fresh_secret())

    def _keep_key(self, name: str, text: str) -> None:
        file = self.key_file(name)
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(text, encoding="ascii")

    def _paper_key(self, name: str, key_id: str) -> PaperKey:
        return PaperKey.from_file(key_id, self.key_file(name))

    def _identity(self, name: str, family: Family) -> str:
        """A key's public identity on a family, as the registry carries it."""
        return show_identity(family, open_signer(family, self.key_file(name)).identity)

    # ------------------------------------------------------------------ what services read

    def _write_registry(self) -> None:
        document = {
            "deployment_id": DEPLOYMENT_ID,
            "environment": "development",
            "chains": [setup.chain_entry for setup in self.setups.values()],
            "assets": [
                {
                    "symbol": asset.symbol,
                    **_limits(asset),
                    "deployments": [
                        setup.asset_entries[asset.symbol] for setup in self.setups.values()
                    ],
                }
                for asset in self.assets
            ],
            "guards": [
                {
                    "id": guard,
                    "keys": {
                        family: self._identity(guard, family)
                        for family in sorted({chain.family for chain in self.chains})
                    },
                    "endpoint": self.processes[guard].target,
                    "paper_key": self._paper_key(guard, guard).public_key.hex(),
                }
                for guard in GUARDS
            ],
            "threshold": THRESHOLD,
            "guard_epoch": 1,
            "issuers": [
                {
                    "key_id": ISSUER_KEY_ID,
                    "public_key": self._paper_key("issuer", ISSUER_KEY_ID).public_key.hex(),
                }
            ],
            "attestors": [
                {
                    "key_id": KEY_ID,
                    "public_key": self._paper_key("custodian", KEY_ID).public_key.hex(),
                },
                {
                    "key_id": AGENT_KEY_ID,
                    "public_key": self._paper_key("attestor", AGENT_KEY_ID).public_key.hex(),
                    "role": "agent",
                },
            ],
            "policy": {
                "attestation_age_seconds_max": 3600,
                "attestors_needed": 2,
                "margin_bps": 0,
                "permit_seconds": 600,
                "supply_age_seconds_max": 600,
            },
        }
        self.registry_path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        self.registry = load_registry(self.registry_path)

    async def _read_supply(self) -> None:
        """What tokens display by now, for custody; what they have in supply already, for openings.

        Both are nothing new on a fresh local chain. A token that somebody else made may have a
        multiplier of its own and holders from before the bridge.
        """
        found = {
            chain.name: await read_token_facts(self.registry, chain, self.node_urls(chain.name)[0])
            for chain in self.chains
        }
        custody = {}
        for asset in self.assets:
            facts = [chain[asset.symbol] for chain in found.values()]
            newest = max(facts, key=lambda fact: fact.multiplier_epoch)
            opened = sum(fact.shares for fact in facts)
            needed = displayed_units(opened, newest.multiplier)
            custody[asset.symbol] = {
                "held_units": asset.held_units + needed,
                "multiplier": newest.multiplier,
                "multiplier_epoch": newest.multiplier_epoch,
            }
        (self.folder / CUSTODY_FILE).write_text(json.dumps(custody, indent=1), encoding="utf-8")
        for chain, by_symbol in found.items():
            for symbol, fact in by_symbol.items():
                if fact.shares or fact.residue_units:
                    self.openings.setdefault(symbol, {})[chain] = {
                        "shares": fact.shares,
                        "block": fact.block,
                        "residue_units": fact.residue_units,
                    }
                    self.say(f"  {symbol} on {chain} is live already: {fact.shares} units")

    async def _prepare_topics(self) -> None:
        await ensure_topics(self.kafka_bootstrap, TOPICS)

    async def _prepare_databases(self) -> None:
        # One after the other: Alembic keeps the migration it runs in a global of the process.
        for process in self.processes.values():
            await self._prepare_database(process)

    async def _prepare_database(self, process: Process) -> None:
        owner = f"{process.database}_owner"
        await self.postgres.create_role(owner)
        await self.postgres.create_role(process.database)
        await self.postgres.create_database(process.database, owner=owner)
        url = self.postgres.url(process.database, user=owner)
        await upgrade(url, process.package)
        module = __import__(f"{process.package}.adapters.tables", fromlist=["tables"])
        append_only: Sequence[str] = getattr(module, "APPEND_ONLY", ())
        await grant_runtime(url, process.database, append_only_tables=append_only)

    # ------------------------------------------------------------------ processes

    def _name_processes(self) -> None:
        names = [(f"watcher-{chain.name}", "watcher") for chain in self.chains]
        names += [(guard, "supply_guard") for guard in GUARDS]
        names += [("relayer", "relayer"), ("gateway", "gateway")]
        ports = free_ports(2 * len(names))
        for index, (name, kind) in enumerate(names):
            prefix = {"supply_guard": "XSTOCK_GUARD_"}.get(kind, f"XSTOCK_{kind.upper()}_")
            self.processes[name] = Process(
                name, f"xstock_{kind}", prefix, ports[2 * index], ports[2 * index + 1]
            )

    async def _start_services(self) -> None:
        self.say(f"starting {len(self.processes)} services …")
        services = [
            Service(self.child(p.name, p.package, self.environment(p)), grpc_health(p.target))
            for p in self.processes.values()
        ]
        await self.supervisor.start(*services)
        pays = () if self.auto_pay_seconds is None else ("--auto-pay", str(self.auto_pay_seconds))
        words = ("--folder", str(self.folder), *pays)
        child = self.child("custodian", "xstock_devnet.custodian", {}, *words)
        await self.supervisor.start(Service(child, _always), Service(self._agent(), _always))

    def _agent(self) -> ChildProcess:
        """The security agent's own process, with its own eyes: nodes, not the proxy."""
        nodes = [
            f"{chain.name}={url}" for chain in self.chains for url in self.node_urls(chain.name)
        ]
        return self.child(
            "agent",
            "xstock_cli",
            {"XSTOCK_GUARDS": json.dumps({g: self.processes[g].target for g in GUARDS})},
            *("agent", "run", "--key", str(self.key_file("agent")), "--as", "agent"),
            *("--registry", str(self.registry_path), "--log", str(self.folder / AGENT_LOG)),
            *(word for node in nodes for word in ("--node", node)),
        )

    async def _open_live_assets(self) -> None:
        """Take over what was live already, by papers of the guards, as `xstock open` does."""
        for symbol in self.openings:
            guards = {guard: self.processes[guard].target for guard in GUARDS}
            paper = await open_asset(self.registry.asset(symbol).id, guards, THRESHOLD)
            self.say(f"  {symbol} opened: {sum(one.shares for one in paper.chains)} units")

    def environment(self, process: Process) -> dict[str, str]:
        """Every variable of a service process, for starting a second one by hand too."""
        common = {
            "DATABASE_URL": self.postgres.url(
                process.database, user=process.database, password=DEV_PASSWORD
            ),
            "KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "KAFKA_MAC_KEY": self._mac_key,
            "GRPC_LISTEN": process.target,
            "METRICS_LISTEN": f"127.0.0.1:{process.metrics_port}",
            "INSECURE_DEV": "true",
            "REGISTRY_PATH": str(self.registry_path),
        }
        own = {
            "xstock_watcher": self._watcher_environment,
            "xstock_supply_guard": self._guard_environment,
            "xstock_relayer": self._relayer_environment,
            "xstock_gateway": self._gateway_environment,
        }[process.package](process)
        return {f"{process.prefix}{name}": value for name, value in {**common, **own}.items()}

    def _all_providers(self, identity: str) -> str:
        return json.dumps({c.name: self.providers(identity, c.name) for c in self.chains})

    def _providers_of_others(self, guard: str) -> list[str]:
        """What the watchers and the other guards read from: this guard must not share it."""
        others = [(f"watcher-{chain.name}", chain.name) for chain in self.chains]
        others += [(other, c.name) for other in GUARDS if other != guard for c in self.chains]
        return [url for identity, chain in others for url in self.providers(identity, chain)]

    def _watcher_targets(self) -> str:
        return json.dumps(
            {chain.name: self.processes[f"watcher-{chain.name}"].target for chain in self.chains}
        )

    def _watcher_environment(self, process: Process) -> Mapping[str, str]:
        chain = process.name.removeprefix("watcher-")
        urls = json.dumps(self.providers(process.name, chain))
        polls = {} if self._chain(chain).family == "evm" else {"POLL_SECONDS": "0.5"}
        return {"CHAIN": chain, "PROVIDER_URLS": urls, **polls}

    def _guard_environment(self, process: Process) -> Mapping[str, str]:
        return {
            "GUARD_ID": process.name,
            "PROVIDERS": self._all_providers(process.name),
            "KEY_FILE": str(self.key_file(process.name)),
            "PAPER_KEY_FILE": str(self.key_file(process.name)),
            "FRESH_KEY": "true",
            # A claim rings the scanner, so a slower look costs no transfer any time; 54 providers
            # asked twice as often would cost a small machine half of itself.
            "POLL_SECONDS": "1.0",
            "AUDIT_SECONDS": "10",
            "FOREIGN_PROVIDERS": json.dumps(self._providers_of_others(process.name)),
        }

    def _relayer_environment(self, process: Process) -> Mapping[str, str]:
        keys = {chain.name: str(self.key_file("relayer")) for chain in self.chains}
        return {
            "PROVIDERS": self._all_providers(process.name),
            "WATCHERS": self._watcher_targets(),
            "KEYS": json.dumps(keys),
        }

    def _gateway_environment(self, process: Process) -> Mapping[str, str]:
        return {
            "PROVIDERS": self._all_providers(process.name),
            "WATCHERS": self._watcher_targets(),
            "TOKEN_KEY": self._token_key,
            "RELAYER": self.processes["relayer"].target,
        }

    def child(
        self, name: str, package: str, environment: Mapping[str, str], *arguments: str
    ) -> ChildProcess:
        """A process of this world: a Python package with its own log file, not yet started."""
        return ChildProcess(
            name,
            (sys.executable, "-m", package, *arguments),
            log_file=self.folder / "logs" / f"{name}.log",
            environment=environment,
        )

    def document(self) -> dict[str, Any]:
        """What the command line needs to talk to this world."""
        return {
            "deployment_id": DEPLOYMENT_ID,
            "registry": str(self.registry_path),
            "gateway": self.gateway.target,
            "relayer": self.processes["relayer"].target,
            "guards": {guard: self.processes[guard].target for guard in GUARDS},
            "watchers": json.loads(self._watcher_targets()),
            "nodes": {chain.name: list(self.node_urls(chain.name)) for chain in self.chains},
            "controls": {
                name: {
                    "url": node.url,
                    "family": self._chain(name).family,
                    "pid": node.child.pid,
                }
                for name, node in self.nodes.items()
            },
            "proxy": self.proxy.base_url,
            "keys": str(self.folder / "keys"),
            "issuer_key_id": ISSUER_KEY_ID,
            "kafka": self.kafka_bootstrap,
            "metrics": {p.name: f"127.0.0.1:{p.metrics_port}" for p in self.processes.values()},
        }

    def _write_world(self) -> None:
        text = json.dumps(self.document(), indent=1)
        (self.folder / WORLD_FILE).write_text(text, encoding="utf-8")


def _limits(asset: AssetPlan) -> dict[str, Any]:
    """An asset's own limits in the registry, where it has any."""
    if asset.waits_from is None:
        return {}
    return {"limits": {"delays": [{"from_shares": asset.waits_from, "seconds": LARGE_SECONDS}]}}


async def _always() -> bool:
    return True

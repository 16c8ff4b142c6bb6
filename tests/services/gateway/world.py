"""A gateway over a memory store, fake chains and scripted peers; one virtual clock moves it all."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from tests.builders import NVDAX, SHARE, TSLAX, an_address
from tests.services.gateway.facts import DEPLOYMENT
from xstock_chains.evm.address import checksummed, from_wire, parse_text, to_wire
from xstock_chains.fake import (
    FakeBurnBuilder,
    FakeChain,
    FakeConfig,
    FakeNode,
    FakeReader,
    GuardSet,
)
from xstock_chains.ports import BurnRequest, UnsignedBurn
from xstock_chains.registry import Registry, parse_registry
from xstock_core.ids import Address32, AssetId, Domain, TransferId
from xstock_core.observation import TxRef
from xstock_gateway.adapters.desk import FamilyDesk
from xstock_gateway.adapters.memory import MemoryGatewayStore
from xstock_gateway.entrypoints.grpc_api import Handlers
from xstock_gateway.entrypoints.show import Presenter
from xstock_gateway.handlers.ask import AskHandler
from xstock_gateway.handlers.build import BuildHandler, BurnWanted
from xstock_gateway.handlers.cancel import CancelHandler
from xstock_gateway.handlers.follow import FollowHandler, Frame, Start, Wakeups
from xstock_gateway.handlers.ingest import IngestHandler
from xstock_gateway.metrics import GatewayMetrics
from xstock_gateway.ports import (
    AssetBooks,
    ChainDesk,
    GatewayStore,
    GuardHalt,
    HolderPaper,
    LookedAt,
    ViewFilter,
)
from xstock_gateway.token import TokenBox
from xstock_gateway.view import Fact
from xstock_runtime.clock import Clock, SeededRandomness, VirtualClock
from xstock_runtime.errors import Transient
from xstock_runtime.metrics import Metrics

KEY = b"k" * 32
HOLDER = an_address(1)
CHAINS = {"ethereum": Domain.ETHEREUM, "bnb": Domain.BNB}
FILTER = b""


def a_registry() -> Registry:
    """Ethereum and BNB; TSLAx on both, NVDAx on Ethereum only."""
    chains = [
        {
            "name": name,
            "domain": int(domain),
            "family": "evm",
            "network_id": int(domain) + 1000,
            "genesis_hash": "0x" + f"{int(domain):02x}" * 32,
            "finality": "finalized",
            "block_time_ms": 1000,
            "batch_items_max": 50,
            "bridges": [
                {
                    "address": "0x" + f"{int(domain):02x}" * 20,
                    "deployed_block": 1,
                    "code_hash": "0x" + "aa" * 32,
                }
            ],
        }
        for name, domain in CHAINS.items()
    ]
    tokens = {"TSLAx": ("ethereum", "bnb"), "NVDAx": ("ethereum",)}
    assets = [
        {
            "symbol": symbol,
            "deployments": [
                {
                    "chain": name,
                    "token": f"0x{ord(symbol[0]):02x}{int(CHAINS[name]):02x}" + "11" * 18,
                    "decimals": 18,
                    "kind": "evm_shares",
                    "minimum_shares": 1000,
                }
                for name in names
            ],
        }
        for symbol, names in tokens.items()
    ]
    guards = [
        {"id": f"guard-{n}", "keys": {"evm": "0x" + f"{n:02x}" * 20}, "endpoint": "127.0.0.1:1"}
        for n in (1, 2, 3)
    ]
    policy = {"attestation_age_seconds_max": 3600, "margin_bps": 0, "permit_seconds": 600}
    document = {
        "deployment_id": DEPLOYMENT,
        "environment": "development",
        "chains": chains,
        "assets": assets,
        "guards": guards,
        "threshold": 2,
        "guard_epoch": 1,
        "policy": policy,
    }
    return parse_registry(json.dumps(document))


class EvmSpeakingBuilder(FakeBurnBuilder):
    """The fake family's builder with EVM texts: checksums, and a payload wallets could sign."""

    def parse_address(self, text: str) -> Address32:
        """EIP-55 text."""
        return to_wire(parse_text(text))

    def show_address(self, address: Address32) -> str:
        """EIP-55 text."""
        return checksummed(from_wire(address))

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """The fake's burn as one transaction's call data."""
        burn = await super().build(request, expires=expires)
        chain = self._node.chain
        transaction = {
            "chain_id": int(chain.domain) + 1000,
            "to": checksummed(from_wire(chain.config.bridge)),
            "data": "0x" + burn.payload.encode().hex(),
            "value": 0,
            "gas": 1,
            "max_fee_per_gas": 1,
            "max_priority_fee_per_gas": 1,
            "nonce": chain.head.number,
            "effect": "bridgeOut",
        }
        payload = json.dumps({"family": "evm", "transactions": [transaction]})
        return replace(burn, payload=payload)


@dataclass
class ScriptedWatchers:
    """Watchers that answer as they are told; what nobody scripted is unknown to nodes."""

    looks: dict[TxRef, LookedAt] = field(default_factory=dict)
    away: set[Domain] = field(default_factory=set)

    async def look(self, tx: TxRef) -> LookedAt:
        """The scripted answer."""
        if tx.chain in self.away:
            raise Transient("UNAVAILABLE", "the watcher is away")
        return self.looks.get(tx, LookedAt("UNKNOWN_TO_NODES", (), (), None))


@dataclass
class ScriptedGuards:
    """Guards with these books; those in `silent` do not answer."""

    known: list[AssetBooks] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    latched: list[GuardHalt] = field(default_factory=list)

    async def halts(self) -> tuple[Sequence[GuardHalt], Sequence[str]]:
        """The scripted halts."""
        return self.latched, self.silent

    async def books(self, assets: Sequence[AssetId]) -> tuple[Sequence[AssetBooks], Sequence[str]]:
        """The scripted books."""
        return [one for one in self.known if not assets or one.asset in assets], self.silent


@dataclass
class ScriptedReturns:
    """A relayer that remembers what it was asked to let flow back."""

    asked: list[tuple[TransferId, str, HolderPaper]] = field(default_factory=list)
    refuses: Exception | None = None

    async def cancel(self, transfer_id: TransferId, reason: str, paper: HolderPaper) -> None:
        """Taken, or refused as scripted."""
        if self.refuses is not None:
            raise self.refuses
        self.asked.append((transfer_id, reason, paper))


@dataclass
class GatewayWorld:
    """One gateway process; `restart` is another one over the same store."""

    clock: Clock = field(default_factory=VirtualClock)
    store: GatewayStore = field(default_factory=MemoryGatewayStore)
    wakeups: Wakeups = field(default_factory=Wakeups)
    progress_seconds: float = 10.0
    slow_seconds: float = 120.0
    token_key: bytes = KEY

    def __post_init__(self) -> None:
        if isinstance(self.store, MemoryGatewayStore):
            self.store.wakeups = self.wakeups
        self.registry = a_registry()
        guards = GuardSet(1, 2, frozenset((b"\x01" * 20, b"\x02" * 20)))
        opening = {(asset, HOLDER): 10 * SHARE for asset in (TSLAX, NVDAX)}
        self.chains = {
            domain: FakeChain(
                FakeConfig(domain, (TSLAX, NVDAX), guards, opening=opening), self.clock
            )
            for domain in CHAINS.values()
        }
        self.nodes = {
            domain: FakeNode(chain, self.clock, SeededRandomness(1))
            for domain, chain in self.chains.items()
        }
        self.desks: dict[Domain, ChainDesk] = {
            domain: FamilyDesk(domain, "evm", EvmSpeakingBuilder(node), FakeReader(node))
            for domain, node in self.nodes.items()
        }
        self.watchers, self.guards = ScriptedWatchers(), ScriptedGuards()
        self.returns = ScriptedReturns()
        self.tokens = TokenBox(self.token_key, DEPLOYMENT)
        self.ingest = IngestHandler(self.store, self.clock)
        self.ask = AskHandler(
            self.registry,
            self.store,
            self.watchers,
            self.desks,
            self.ingest,
            self.tokens,
            self.wakeups,
            self.clock,
        )
        self.cancel = CancelHandler(self.ask, self.returns, self.clock, DEPLOYMENT)
        self.build = BuildHandler(self.registry, self.store, self.desks, self.clock)
        self.follow = FollowHandler(
            self.store,
            self.tokens,
            self.wakeups,
            self.clock,
            self.progress_seconds,
            self.slow_seconds,
        )

    def handlers(self) -> Handlers:
        """What the gRPC service is made of."""
        return Handlers(
            registry=self.registry,
            store=self.store,
            guards=self.guards,
            ask=self.ask,
            build=self.build,
            follow=self.follow,
            cancel=self.cancel,
            present=Presenter(self.registry, self.desks),
            metrics=GatewayMetrics.create(Metrics("test_gateway")),
            version="0",
            randomness=SeededRandomness(1),
        )

    def restart(self) -> "GatewayWorld":
        """The next process over the same memory."""
        return GatewayWorld(self.clock, self.store, Wakeups(), self.progress_seconds)

    async def take(self, *facts: Fact) -> None:
        """Take facts in, one page."""
        await self.ingest.take(facts, ())

    def stream(
        self,
        start: Start | None = None,
        wanted: ViewFilter | None = None,
        filter_bytes: bytes = FILTER,
    ) -> AsyncGenerator[Frame, None]:
        """Open a stream."""
        return self.follow.follow(wanted or ViewFilter(), filter_bytes, start or Start())

    async def read(
        self,
        start: Start | None = None,
        *,
        events: int,
        wanted: ViewFilter | None = None,
        filter_bytes: bytes = FILTER,
    ) -> list[Frame]:
        """Frames up to and with this many events."""
        frames: list[Frame] = []
        async with aclosing(self.stream(start, wanted, filter_bytes)) as stream:
            while sum(1 for frame in frames if frame.view is not None) < events:
                frames.append(await asyncio.wait_for(anext(stream), 5.0))
        return frames


def a_burn_wanted(**changes: Any) -> BurnWanted:
    """One share of TSLAx from Ethereum to BNB."""
    fields: dict[str, Any] = {
        "request_id": "11111111-1111-4111-8111-111111111111",
        "source": "ethereum",
        "destination": "bnb",
        "symbol": "TSLAx",
        "shares": SHARE,
        "amount": "",
        "sender": text_of(HOLDER),
        "recipient": text_of(an_address(2)),
        "refund_to": "",
    }
    return BurnWanted(**(fields | changes))


def text_of(address: Address32) -> str:
    """EIP-55 text."""
    return checksummed(from_wire(address))

"""What the chains themselves say, read past every service and past the proxy.

The demonstration and the end-to-end tests believe nothing else: burns and releases are counted
from final blocks, supply is read at final blocks and held against every guard's books.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from xstock_chains.ports import ChainReader, Cursor
from xstock_chains.profiles import open_reader
from xstock_chains.registry import AssetDeployment, AssetEntry, ChainEntry, Registry
from xstock_core.amount import MULTIPLIER_ONE, SHARE_DECIMALS, Amount
from xstock_core.ids import AssetId, Domain
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BurnFinal, CancelFinal, Observation, ReleaseFinal
from xstock_core.refund import refund_nonce_of
from xstock_core.release import ExecutionKey, key_of
from xstock_runtime.hashing import keccak256
from xstock_wire.v1 import supply_guard_pb2

_PAGE = 1_000


@dataclass(slots=True)
class ChainFacts:
    """Everything final on all chains, from their first block on."""

    burns: dict[ExecutionKey, BurnFinal] = field(default_factory=dict)
    releases: dict[ExecutionKey, list[ReleaseFinal]] = field(default_factory=dict)
    cancels: set[ExecutionKey] = field(default_factory=set)

    def released_as_burned(self, key: ExecutionKey) -> bool:
        """True when the one release of this key has exactly the burn's content."""
        burn, found = self.burns.get(key), self.releases.get(key, [])
        return burn is not None and len(found) == 1 and _same(burn.message, found[0])

    def refunded_as_burned(self, key: ExecutionKey) -> bool:
        """True when the burn was cancelled, not released, and flowed back once with its content."""
        burn = self.burns.get(key)
        if burn is None or key not in self.cancels or key in self.releases:
            return False
        back = self.releases.get(_refund_key(burn), [])
        wanted = (burn.message.asset, burn.message.refund_address, burn.message.amount)
        return len(back) == 1 and wanted == (back[0].asset, back[0].recipient, back[0].amount)

    @property
    def duplicated(self) -> list[ExecutionKey]:
        """Keys that were released more than once, and burns both released and given back."""
        twice = [key for key, found in self.releases.items() if len(found) > 1]
        both = [
            key
            for key, burn in self.burns.items()
            if key in self.releases and _refund_key(burn) in self.releases
        ]
        return twice + both

    @property
    def lost(self) -> list[ExecutionKey]:
        """Burns to other chains that were neither released nor given back."""
        return [
            key
            for key, burn in self.burns.items()
            if burn.message.kind is Kind.TRANSFER
            and key not in self.releases
            and not self.refunded_as_burned(key)
        ]


@dataclass(frozen=True, slots=True)
class SupplyCheck:
    """One asset on one chain: what the chain says and what one guard's ledger says."""

    chain: str
    symbol: str
    guard: str
    on_chain: int | None
    """None when the chain did not say it; that is never equal."""
    in_ledger: int
    resolution: int = 1
    """Share units that one displayed unit of the token stands for: below a multiplier of 1 a
    token's total supply cannot say more exactly what it holds, and its reading is the least."""

    @property
    def equal(self) -> bool:
        """True when they agree to the last unit that the token can show; never more on chain."""
        if self.on_chain is None:
            return False
        return 0 <= self.in_ledger - self.on_chain < self.resolution


class Auditor:
    """Reads the chains of a registry directly; use as an async context manager."""

    def __init__(
        self,
        registry: Registry,
        nodes: Mapping[str, Sequence[str]],
        residues: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        """`residues` by (chain, symbol): what an opening left of a unit of 10^-8 share."""
        self._registry = registry
        self._nodes = nodes
        self._residues = residues or {}
        self._stack = AsyncExitStack()
        self._readers: dict[Domain, ChainReader] = {}

    async def __aenter__(self) -> "Auditor":
        for entry in self._registry.chains:
            opened = open_reader(self._registry, entry.name, self._nodes[entry.name][:1])
            self._stack.push_async_callback(opened.aclose)
            self._readers[entry.domain] = opened.port
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def facts(self) -> ChainFacts:
        """Read every chain from its beginning to its final head."""
        facts = ChainFacts()
        for chain, reader in self._readers.items():
            cursor, more = Cursor(chain), True
            while more:
                page = await reader.read_page(cursor, limit=_PAGE)
                for observation in page.observations:
                    _book(facts, observation)
                cursor, more = page.cursor, page.more
        return facts

    async def supply(self) -> dict[tuple[Domain, AssetId], tuple[int, int]]:
        """Per chain and asset: supply less the bridge's inventory in token units, and the
        resolution of that reading. A token that cannot be read is absent."""
        found: dict[tuple[Domain, AssetId], tuple[int, int]] = {}
        for chain, reader in self._readers.items():
            entry = self._registry.chain(chain)
            assets = [one.id for one in self._registry.assets if one.on(entry.name) is not None]
            reading = await reader.read_supply(assets)
            for supply in reading.supplies:
                units = supply.token_units - supply.bridge_inventory_units
                resolution = max(1, -(-MULTIPLIER_ONE // supply.multiplier))
                found[(chain, supply.asset)] = (units, resolution)
        return found

    async def compare(
        self, books: Mapping[str, supply_guard_pb2.GetLedgerResponse]
    ) -> list[SupplyCheck]:
        """Each registered asset on each chain against each guard's ledger, in the token's own
        units; an asset that its chain did not show is not equal."""
        on_chain = await self.supply()
        checks = []
        for guard, ledger in books.items():
            in_ledger = {
                (chain.chain, asset.asset): (chain.ledger, chain.decimals)
                for asset in ledger.assets
                for chain in asset.chains
            }
            for chain, asset, deployment in self._deployments():
                units, resolution = on_chain.get((chain.domain, asset.id), (None, 1))
                shares, _ = in_ledger.get((int(chain.domain), bytes(asset.id)), (0, 0))
                residue = self._residues.get((chain.name, asset.symbol), 0)
                ours = Amount(shares, SHARE_DECIMALS, asset.id)
                expected, dust = ours.convert(deployment.decimals)
                if dust.units:  # no token of so few decimals can hold what the ledger says
                    units = None
                total = expected.units + residue
                checks.append(
                    SupplyCheck(chain.name, asset.symbol, guard, units, total, resolution)
                )
        return checks

    def _deployments(self) -> Iterator[tuple[ChainEntry, AssetEntry, AssetDeployment]]:
        for chain in self._registry.chains:
            for asset in self._registry.assets:
                deployment = asset.on(chain.name)
                if deployment is not None:
                    yield chain, asset, deployment


def _book(facts: ChainFacts, observation: Observation) -> None:
    match observation:
        case BurnFinal(message=message):
            facts.burns[key_of(message)] = observation
        case ReleaseFinal() as release:
            key = ExecutionKey(release.destination, release.source, release.nonce)
            facts.releases.setdefault(key, []).append(release)
        case CancelFinal(destination=destination, source=source, nonce=nonce):
            facts.cancels.add(ExecutionKey(destination, source, nonce))
        case _:
            pass


def _refund_key(burn: BurnFinal) -> ExecutionKey:
    message = burn.message
    return ExecutionKey(message.source, message.destination, refund_nonce_of(message, keccak256))


def _same(message: TransferMessage, release: ReleaseFinal) -> bool:
    return (message.asset, message.recipient, message.amount) == (
        release.asset,
        release.recipient,
        release.amount,
    )


def counts(checks: Sequence[SupplyCheck]) -> tuple[int, int]:
    """(chains on which every check is equal, chains checked)."""
    chains = Counter(check.chain for check in checks)
    wrong = {check.chain for check in checks if not check.equal}
    return len(chains) - len(wrong), len(chains)

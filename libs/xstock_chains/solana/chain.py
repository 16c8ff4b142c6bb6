"""What the adapter must know of one Solana deployment, in bytes, from the registry."""

from dataclasses import dataclass, field

from xstock_chains.families import Family
from xstock_chains.registry import AssetEntry, InvalidRegistry, Registry
from xstock_chains.solana.address import parse_text
from xstock_chains.solana.programs import ata_of
from xstock_core.ids import Address32, AssetId, Domain, InvalidId

FAMILY: Family = "solana"


@dataclass(frozen=True, slots=True)
class SolanaFacts:
    """Facts of a network that are data: page sizes, heights and fees."""

    blocks_a_page_max: int = 64
    """Most full blocks read for one page."""
    blockhash_blocks: int = 150
    """How many blocks a blockhash stays valid; the runtime's MAX_PROCESSING_AGE."""
    height_slack: int = 64
    """Blocks by which a node's processed head may lead its finalized one, and then some."""
    compute_limit_max: int = 400_000
    """Most compute units that a release may ask for: an account that does not exist yet costs
    more, a release with the measured 20,000 has room."""
    compute_price_max: int = 5_000_000
    """Most micro-lamports per compute unit that a permit may promise."""
    marker_lamports_max: int = 5_000_000
    rewind_blocks_max: int = 150
    """Most blocks over which a supply is traced back to a block that a caller names."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An asset's read-only reference key: what messages name as source bridge."""

    key: Address32
    deployed_slot: int
    facts_hash: bytes
    retired_slot: int | None


@dataclass(frozen=True, slots=True)
class Holding:
    """An owner of issuer inventory, and its associated token account of the mint."""

    owner: bytes
    account: bytes


@dataclass(frozen=True, slots=True)
class SolanaAsset:
    """An asset's mint and its reference keys."""

    symbol: str
    asset: AssetId
    mint: bytes
    minimum: int
    references: tuple[Reference, ...]
    issuer_inventory: tuple[Holding, ...] = ()

    @property
    def reference(self) -> Reference:
        """The one in use."""
        return next(one for one in self.references if one.retired_slot is None)


@dataclass(frozen=True, slots=True)
class LaneKey:
    """A base of marker addresses; `retired_height` is a block height, None while in use."""

    key: bytes
    retired_height: int | None


@dataclass(frozen=True, slots=True)
class Multisig:
    """The mint authority."""

    key: bytes
    data_hash: bytes


@dataclass(frozen=True, slots=True)
class SolanaChain:
    """One deployment, resolved."""

    name: str
    domain: Domain
    genesis_hash: bytes
    multisig: Multisig
    predecessors: tuple[bytes, ...]
    guard_ids: tuple[str, ...]
    guards: tuple[bytes, ...]
    """Public keys in the registry's order."""
    threshold: int
    epoch: int
    lane_keys: tuple[LaneKey, ...]
    assets: tuple[SolanaAsset, ...]
    first_slot: int
    facts: SolanaFacts = field(default_factory=SolanaFacts)

    @property
    def lane_key(self) -> bytes:
        """The one in use."""
        return next(one.key for one in self.lane_keys if one.retired_height is None)

    def asset_of(self, asset: AssetId) -> SolanaAsset:
        """The asset's deployment here; raises InvalidId."""
        for one in self.assets:
            if one.asset == asset:
                return one
        raise InvalidId("asset", asset.hex(), f"it is not registered on {self.name}")


def resolve_chain(registry: Registry, which: Domain | str, facts: SolanaFacts) -> SolanaChain:
    """The chain's entry in bytes; raises InvalidRegistry if it is no Solana chain."""
    entry = registry.chain(which)
    if entry.family != FAMILY:
        raise InvalidRegistry("chains.family", entry.family, f"{entry.name} is not a Solana chain")
    assets = tuple(_asset(one, entry.name) for one in registry.assets if one.on(entry.name))
    starts = [one.deployed_block for one in entry.bridges]
    starts += [ref.deployed_slot for one in assets for ref in one.references]
    used = entry.bridge
    return SolanaChain(
        name=entry.name,
        domain=entry.domain,
        genesis_hash=entry.genesis_hash,
        multisig=Multisig(parse_text(used.address), used.code_hash),
        predecessors=tuple(
            parse_text(one.address) for one in entry.bridges if one.retired_block is not None
        ),
        guard_ids=tuple(guard.id for guard in registry.guards),
        guards=tuple(parse_text(text) for text in registry.guard_identities(FAMILY)),
        threshold=registry.threshold,
        epoch=registry.guard_epoch,
        lane_keys=tuple(LaneKey(parse_text(one.key), one.retired_block) for one in entry.lane_keys),
        assets=assets,
        first_slot=max(1, min(starts)),
        facts=facts,
    )


def _asset(entry: AssetEntry, chain: str) -> SolanaAsset:
    deployment = entry.on(chain)
    if deployment is None:
        raise InvalidRegistry("assets", entry.symbol, f"it is not deployed on {chain}")
    references = tuple(
        Reference(parse_text(one.address), one.deployed_block, one.code_hash, one.retired_block)
        for one in deployment.bridges
    )
    mint = parse_text(deployment.token)
    owners = tuple(parse_text(text) for text in deployment.issuer_inventory)
    return SolanaAsset(
        symbol=entry.symbol,
        asset=entry.id,
        mint=mint,
        minimum=deployment.minimum_shares,
        references=references,
        issuer_inventory=tuple(Holding(owner, ata_of(owner, mint)) for owner in owners),
    )

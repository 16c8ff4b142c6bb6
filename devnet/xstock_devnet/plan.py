"""What a local world consists of: chains, assets, people and how many of each; plain data.

Six chains, each over its own kind of node with its own block time and finality lag, and ten assets
with multipliers above, at and below one. A chain may be somebody else's node instead (`External`);
everything else stays the same.
"""

from dataclasses import dataclass, field
from typing import Final

from xstock_chains.families import Family
from xstock_chains.profiles import PROFILES
from xstock_core.ids import Domain

E18: Final = 10**18
DEPLOYMENT_ID: Final = "devnet"
GUARDS: Final = ("guard-1", "guard-2", "guard-3")
THRESHOLD: Final = 2
PROVIDERS_EACH: Final = 3
"""How many providers every reader of a chain has, each through the proxy."""

DEPLOYER: Final = 0
AGENT: Final = 1
RELAYER: Final = 2
HOLDERS: Final = (3, 4, 5)
"""Indices of the development accounts: who holds which key on a local chain."""


@dataclass(frozen=True, slots=True)
class LocalChain:
    """One local chain; its block called final is `final_blocks` behind the head."""

    name: str
    domain: Domain
    network_id: int
    block_ms: int
    final_blocks: int
    extra: tuple[str, ...] = ()
    """Further arguments of the node."""

    @property
    def family(self) -> Family:
        """The chain family, which says what kind of node it is."""
        return PROFILES[self.domain].family


CHAINS: Final = (
    LocalChain("ethereum", Domain.ETHEREUM, 1, block_ms=1000, final_blocks=4),
    LocalChain("bnb", Domain.BNB, 56, block_ms=1000, final_blocks=2),
    LocalChain("mantle", Domain.MANTLE, 5000, block_ms=2000, final_blocks=2),
    LocalChain("solana", Domain.SOLANA, 101, block_ms=500, final_blocks=6),
    LocalChain("tron", Domain.TRON, 728126428, block_ms=1000, final_blocks=3),
    LocalChain("ton", Domain.TON, -239, block_ms=1000, final_blocks=1),
)
"""Faster than the real ones, each with its own distance between head and final block."""


@dataclass(frozen=True, slots=True)
class External:
    """A chain that somebody else runs: node URLs, a funded key, tokens that exist already."""

    chain: str
    urls: tuple[str, ...]
    funded_key: str = field(repr=False)
    tokens: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AssetPlan:
    """An asset, its token's multiplier (times 10^18) and what custody holds (10^-8 of stock)."""

    symbol: str
    multiplier: int
    held_units: int
    waits_from: int | None = None
    """Shares (10^-8) from which a transfer waits `LARGE_SECONDS` before its release."""


LARGE_SECONDS: Final = 900

ASSETS: Final = (
    AssetPlan("TSLAx", E18, 10_000 * 10**8),
    AssetPlan("NVDAx", 10 * E18, 40_000 * 10**8, waits_from=200 * 10**8),
    AssetPlan("SPYx", 1_005_200_000_000_000_000, 8_000 * 10**8),
    AssetPlan("AAPLx", 1_000_918_075_800_000_000, 12_000 * 10**8),
    AssetPlan("GOOGLx", 500_000_000_000_000_000, 6_000 * 10**8),
    AssetPlan("AMZNx", 999_999_999_999_999_999, 9_000 * 10**8),
    AssetPlan("MSFTx", 1_333_333_333_333_333_333, 7_000 * 10**8),
    AssetPlan("METAx", 1_000_000_000_000_000_001, 5_000 * 10**8),
    AssetPlan("COINx", 123_456_789_012_345_678, 3_000 * 10**8),
    AssetPlan("MSTRx", 2 * E18, 4_000 * 10**8),
)

"""What the adapter must know of one EVM chain: ids, bridges and tokens, from the registry.

Resolved once, in bytes, so that nothing on the hot path parses text. Looking something up that
is not registered gives None: an unregistered contract is never an error, it is a stranger.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from xstock_chains.evm.address import parse_text, to_wire
from xstock_chains.registry import InvalidRegistry, Registry
from xstock_core.ids import Address32, AssetId, Domain

TOKEN_UNITS_PER_SHARE_UNIT: Final = 10**10
"""Token shares have 18 decimals, message shares 8."""


@dataclass(frozen=True, slots=True)
class EvmFacts:
    """Facts of a network that are data: page sizes, gas and fees (wei)."""

    log_span_blocks: int = 2_000
    """Most blocks asked in one eth_getLogs."""
    link_blocks_max: int = 4_096
    """Most headers held while walking back from the finalized hash."""
    transaction_gas_max: int = 2**24
    """EIP-7825 bounds a transaction on Ethereum; used everywhere."""
    fee_per_gas_max: int = 500 * 10**9
    tip_per_gas: int = 10**9
    tip_per_gas_max: int = 50 * 10**9


@dataclass(frozen=True, slots=True)
class EvmBridge:
    """A bridge contract."""

    address: bytes
    wire: Address32
    deployed_block: int
    code_hash: bytes
    retired_block: int | None


@dataclass(frozen=True, slots=True)
class EvmToken:
    """An asset's token contract."""

    symbol: str
    asset: AssetId
    address: bytes
    decimals: int
    minimum: int


@dataclass(frozen=True, slots=True)
class EvmChain:
    """One chain, resolved."""

    name: str
    domain: Domain
    chain_id: int
    genesis_hash: bytes
    bridges: tuple[EvmBridge, ...]
    tokens: tuple[EvmToken, ...]
    batch_items_max: int
    facts: EvmFacts = field(default_factory=EvmFacts)

    @property
    def bridge(self) -> EvmBridge:
        """The bridge in use."""
        return next(bridge for bridge in self.bridges if bridge.retired_block is None)

    @property
    def first_block(self) -> int:
        """The block of the oldest bridge's deployment."""
        return min(bridge.deployed_block for bridge in self.bridges)

    def by_asset(self) -> Mapping[AssetId, EvmToken]:
        """Tokens by asset."""
        return {token.asset: token for token in self.tokens}


def resolve_chain(registry: Registry, which: Domain | str, facts: EvmFacts) -> EvmChain:
    """The chain's entry in bytes; raises InvalidRegistry if it is no EVM chain."""
    entry = registry.chain(which)
    if entry.family != "evm":
        raise InvalidRegistry("chains.family", entry.family, f"{entry.name} is not an EVM chain")
    bridges = tuple(
        EvmBridge(
            address=parse_text(bridge.address),
            wire=to_wire(parse_text(bridge.address)),
            deployed_block=bridge.deployed_block,
            code_hash=bridge.code_hash,
            retired_block=bridge.retired_block,
        )
        for bridge in entry.bridges
    )
    tokens = tuple(
        EvmToken(
            symbol=asset.symbol,
            asset=asset.id,
            address=parse_text(one.token),
            decimals=one.decimals,
            minimum=one.minimum_shares,
        )
        for asset in registry.assets
        for one in asset.deployments
        if one.chain == entry.name
    )
    return EvmChain(
        name=entry.name,
        domain=entry.domain,
        chain_id=entry.network_id,
        genesis_hash=entry.genesis_hash,
        bridges=bridges,
        tokens=tokens,
        batch_items_max=entry.batch_items_max,
        facts=facts,
    )

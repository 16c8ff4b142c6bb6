"""What the adapter must know of a Tron network: its contracts from the registry, and its facts."""

from dataclasses import dataclass, field
from typing import Final

from xstock_chains.registry import InvalidRegistry, Registry
from xstock_chains.solidity.contracts import ContractChain, resolve_bridges, resolve_tokens
from xstock_chains.tron.address import parse_account
from xstock_core.ids import Domain

SUN_PER_TRX: Final = 10**6


@dataclass(frozen=True, slots=True)
class TronFacts:
    """Facts of a network that are data: page sizes, lifetimes, and the most we pay (sun)."""

    page_blocks_max: int = 100
    """A node answers {} to a longer getblockbylimitnext."""
    lifetime_ms: int = 120_000
    """From the newest block's time to a transaction's expiration; a node takes up to a day."""
    energy_max: int = 10_000_000
    """Most energy of one transaction of ours."""
    fee_limit_max: int = 2_000 * SUN_PER_TRX
    """Most we let one transaction cost; the network's own bound may be lower."""


@dataclass(frozen=True, slots=True)
class TronChain(ContractChain):
    """One network, resolved."""

    facts: TronFacts = field(default_factory=TronFacts)


def resolve_chain(
    registry: Registry, which: Domain | str, facts: TronFacts | None = None
) -> TronChain:
    """The chain's entry in bytes; raises InvalidRegistry if it is no Tron network."""
    entry = registry.chain(which)
    if entry.family != "tron":
        raise InvalidRegistry("chains.family", entry.family, f"{entry.name} is no Tron network")
    return TronChain(
        name=entry.name,
        domain=entry.domain,
        chain_id=entry.network_id,
        genesis_hash=entry.genesis_hash,
        bridges=resolve_bridges(entry, parse_account),
        tokens=resolve_tokens(registry, entry, parse_account),
        batch_items_max=entry.batch_items_max,
        facts=facts or TronFacts(),
    )

"""What the adapter must know of one EVM chain: its contracts from the registry, and its facts."""

from dataclasses import dataclass, field

from xstock_chains.evm.address import parse_text
from xstock_chains.registry import InvalidRegistry, Registry
from xstock_chains.solidity.contracts import ContractChain, resolve_bridges, resolve_tokens
from xstock_core.ids import Domain


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
class EvmChain(ContractChain):
    """One chain, resolved."""

    facts: EvmFacts = field(default_factory=EvmFacts)


def resolve_chain(registry: Registry, which: Domain | str, facts: EvmFacts) -> EvmChain:
    """The chain's entry in bytes; raises InvalidRegistry if it is no EVM chain."""
    entry = registry.chain(which)
    if entry.family != "evm":
        raise InvalidRegistry("chains.family", entry.family, f"{entry.name} is not an EVM chain")
    return EvmChain(
        name=entry.name,
        domain=entry.domain,
        chain_id=entry.network_id,
        genesis_hash=entry.genesis_hash,
        bridges=resolve_bridges(entry, parse_text),
        tokens=resolve_tokens(registry, entry, parse_text),
        batch_items_max=entry.batch_items_max,
        facts=facts,
    )

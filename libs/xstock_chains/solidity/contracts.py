"""One chain's contracts as the registry names them, resolved once, in bytes.

Nothing on the hot path parses text. Looking something up that is not registered gives None: an
unregistered contract is never an error, it is a stranger.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from xstock_chains.registry import ChainEntry, Registry
from xstock_chains.solidity.abi import address_word, selector
from xstock_chains.solidity.account import to_wire
from xstock_core.ids import Address32, AssetId, Domain

TOKEN_UNITS_PER_SHARE_UNIT: Final = 10**10
"""Token shares have 18 decimals, message shares 8."""
_SHARES_OF: Final = selector("sharesOf(address)")


@dataclass(frozen=True, slots=True)
class BridgeContract:
    """A bridge contract."""

    address: bytes
    wire: Address32
    deployed_block: int
    code_hash: bytes
    retired_block: int | None


@dataclass(frozen=True, slots=True)
class TokenContract:
    """An asset's token contract."""

    symbol: str
    asset: AssetId
    address: bytes
    decimals: int
    minimum: int
    issuer_inventory: tuple[bytes, ...] = ()
    """Owners whose shares are the issuer's unsold stock."""

    def inventory_questions(self) -> tuple[bytes, ...]:
        """Call data for the token, one for each owner of issuer inventory: a word of shares."""
        return tuple(_SHARES_OF + address_word(owner) for owner in self.issuer_inventory)


@dataclass(frozen=True, slots=True)
class ContractChain:
    """One chain with its contracts; a family adds the facts of its nodes and fees."""

    name: str
    domain: Domain
    chain_id: int
    genesis_hash: bytes
    bridges: tuple[BridgeContract, ...]
    tokens: tuple[TokenContract, ...]
    batch_items_max: int

    @property
    def bridge(self) -> BridgeContract:
        """The bridge in use."""
        return next(bridge for bridge in self.bridges if bridge.retired_block is None)

    @property
    def first_block(self) -> int:
        """The block of the oldest bridge's deployment."""
        return min(bridge.deployed_block for bridge in self.bridges)

    def by_asset(self) -> Mapping[AssetId, TokenContract]:
        """Tokens by asset."""
        return {token.asset: token for token in self.tokens}


def resolve_bridges(entry: ChainEntry, parse: Callable[[str], bytes]) -> tuple[BridgeContract, ...]:
    """The entry's bridges; `parse` reads the family's address text into 20 bytes."""
    return tuple(
        BridgeContract(
            address=parse(bridge.address),
            wire=to_wire(parse(bridge.address)),
            deployed_block=bridge.deployed_block,
            code_hash=bridge.code_hash,
            retired_block=bridge.retired_block,
        )
        for bridge in entry.bridges
    )


def resolve_tokens(
    registry: Registry, entry: ChainEntry, parse: Callable[[str], bytes]
) -> tuple[TokenContract, ...]:
    """The tokens that the registry has on this chain; `parse` as in `resolve_bridges`."""
    return tuple(
        TokenContract(
            symbol=asset.symbol,
            asset=asset.id,
            address=parse(one.token),
            decimals=one.decimals,
            minimum=one.minimum_shares,
            issuer_inventory=tuple(parse(owner) for owner in one.issuer_inventory),
        )
        for asset in registry.assets
        for one in asset.deployments
        if one.chain == entry.name
    )

"""One chain's contracts as the registry names them, resolved once, in bytes.

Nothing on the hot path parses text. Looking something up that is not registered gives None: an
unregistered contract is never an error, it is a stranger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xstock_chains.inventory import held_together
from xstock_chains.ports import AssetSupply
from xstock_chains.registry import ChainEntry, Registry
from xstock_chains.solidity.abi import address_word, selector
from xstock_chains.solidity.account import to_wire
from xstock_core.amount import MULTIPLIER_ONE
from xstock_core.ids import Address32, AssetId, Domain
from xstock_runtime.errors import InvalidMessage

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

    def supply(
        self,
        displayed: int,
        multiplier: int,
        bridge_inventory: int,
        held: Sequence[int],
        *,
        paused: bool,
        epoch: int,
    ) -> AssetSupply:
        """A reading of this token, of which `held` are the answers to `inventory_questions`.

        The token shows its supply in displayed units only: shares are the least number that
        displays so, which is below the truth by less than 10^18 / multiplier units. Raises
        InvalidMessage MULTIPLIER_ZERO, INVENTORY_IMPOSSIBLE.
        """
        if multiplier == 0:
            text = f"{self.symbol} has multiplier 0; no shares can be derived"
            raise InvalidMessage("MULTIPLIER_ZERO", text, {"asset": self.symbol})
        shares_max = _shares_at_least(displayed + 1, multiplier)
        return AssetSupply(
            asset=self.asset,
            token_units=_shares_at_least(displayed, multiplier),
            bridge_inventory_units=bridge_inventory,
            decimals=self.decimals,
            multiplier=multiplier,
            multiplier_epoch=epoch,
            paused=paused,
            issuer_inventory_units=held_together(self.symbol, held, shares_max),
        )

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


def _shares_at_least(displayed: int, multiplier: int) -> int:
    """The least number of share units that displays as this many units."""
    return -(-displayed * MULTIPLIER_ONE // multiplier)


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

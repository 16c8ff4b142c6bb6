"""What the adapter must know of a TON deployment: network, minters, guards, from the registry.

Resolved once, in bytes. On TON every asset has a bridge of its own, its jetton minter, so the
minters of all assets together are the chain's bridges. Looking up what is not registered gives
None: an unregistered contract is never an error, it is a stranger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from xstock_chains.registry import InvalidRegistry, Registry
from xstock_chains.ton.address import parse_text
from xstock_core.amount import SHARE_DECIMALS, rescaled
from xstock_core.ids import Address32, AssetId, Domain, InvalidId


@dataclass(frozen=True, slots=True)
class TonAsset:
    """An asset's jetton."""

    symbol: str
    asset: AssetId
    decimals: int
    minimum: int
    issuer_inventory: tuple[Address32, ...] = ()
    """Owners whose jettons are the issuer's unsold stock."""

    def units(self, shares: int) -> int:
        """Jetton units of so many shares; raises InvalidId for what leaves dust."""
        units, dust = rescaled(shares, SHARE_DECIMALS, self.decimals)
        if dust:
            remedy = f"{self.symbol} has {self.decimals} decimals here; leave out {dust} units"
            raise InvalidId("amount", shares, remedy)
        return units


@dataclass(frozen=True, slots=True)
class TonMinter:
    """One asset's minter and bridge."""

    address: Address32
    asset: TonAsset
    deployed_block: int
    code_hash: bytes
    retired_block: int | None


@dataclass(frozen=True)
class TonChain:
    """One TON network, resolved."""

    name: str
    domain: Domain
    global_id: int
    zero_state: bytes
    minters: tuple[TonMinter, ...]
    guards: tuple[bytes, ...]
    """ed25519 keys in the order of the contracts' guard set: a signature names its index."""
    threshold: int
    guard_epoch: int
    batch_items_max: int

    @cached_property
    def by_address(self) -> Mapping[Address32, TonMinter]:
        """Minters by account, retired ones included."""
        return {minter.address: minter for minter in self.minters}

    @cached_property
    def in_use(self) -> Mapping[AssetId, TonMinter]:
        """The minter in use of every asset."""
        return {m.asset.asset: m for m in self.minters if m.retired_block is None}

    def minter_of(self, bridge: Address32) -> TonMinter:
        """The minter in use at this account; raises InvalidId for any other."""
        minter = self.by_address.get(bridge)
        if minter is None or minter.retired_block is not None:
            raise InvalidId("bridge", bridge.hex(), f"use a minter in use on {self.name}")
        return minter


def resolve_chain(registry: Registry, which: Domain | str) -> TonChain:
    """The chain's entry in bytes; raises InvalidRegistry if it is no TON network."""
    entry = registry.chain(which)
    if entry.family != "ton":
        raise InvalidRegistry("chains.family", entry.family, f"{entry.name} is not a TON network")
    minters: list[TonMinter] = []
    for asset in registry.assets:
        deployment = asset.on(entry.name)
        if deployment is None:
            continue
        jetton = TonAsset(
            asset.symbol,
            asset.id,
            deployment.decimals,
            deployment.minimum_shares,
            tuple(parse_text(owner) for owner in deployment.issuer_inventory),
        )
        minters.extend(
            TonMinter(
                parse_text(bridge.address),
                jetton,
                bridge.deployed_block,
                bridge.code_hash,
                bridge.retired_block,
            )
            for bridge in registry.bridges_on(entry.name, asset.id)
        )
    return TonChain(
        name=entry.name,
        domain=entry.domain,
        global_id=entry.network_id,
        zero_state=entry.genesis_hash,
        minters=tuple(minters),
        guards=tuple(parse_guard(text) for text in registry.guard_identities("ton")),
        threshold=registry.threshold,
        guard_epoch=registry.guard_epoch,
        batch_items_max=entry.batch_items_max,
    )


def parse_guard(text: str, field: str = "guards.keys.ton") -> bytes:
    """A guard's ed25519 public key: 64 hexadecimal digits; raises InvalidId."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32 or not any(key):
        raise InvalidId(field, text, "give the ed25519 public key: 64 hexadecimal digits")
    return key

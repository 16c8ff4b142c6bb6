"""The chains this bridge knows, as data, and the doors to their adapters.

One row per domain: family, network, finality rule and its usual lag, block and batch limits.
`xstock doctor` and the start-up self-test hold the rows against live nodes. The `open_*` doors
build an adapter for a configured chain and import its family's SDK only then; a service never
names an adapter class.
Sources: docs/chains/<chain>.md.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar

from xstock_chains.addresses import parse_wire, show_wire
from xstock_chains.families import Family
from xstock_chains.ports import (
    BurnBuilder,
    ChainAdmin,
    ChainOffice,
    ChainReader,
    ChainWriter,
    Deployment,
    DeploymentOrder,
    Holder,
    ReleaseCodec,
    Signer,
)
from xstock_chains.quorum import Quorum
from xstock_chains.registry import InvalidRegistry, Registry
from xstock_core.ids import Address32, Domain
from xstock_runtime.clock import Clock, SystemClock

T = TypeVar("T")
GWEI: Final = 10**9
Purpose = Literal["relayer", "holder"]
"""What a key sends from an account for: on TON these are different wallet contracts."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is true of a chain whoever deploys on it; lags are typical, never relied upon."""

    domain: Domain
    name: str
    family: Family
    network_id: int
    """Of the main network; a registry may name another (testnet, local chain)."""
    caip2: str
    finality: str
    """The rule in words; the registry's `finality` must say "finalized"."""
    usual_lag_ms: int
    block_time_ms: int
    transaction_gas_max: int
    """Most work of one transaction, in the chain's own unit (gas, compute units, energy)."""
    batch_items_max: int
    fee_per_gas_max: int = 0
    """Most we pay per unit of gas, in the chain's smallest coin; 0 where fees work otherwise."""
    tip_per_gas: int = 0
    log_span_blocks: int = 2_000


_ROWS: Final = (
    Profile(
        domain=Domain.ETHEREUM,
        name="ethereum",
        family="evm",
        network_id=1,
        caip2="eip155:1",
        finality="the block tagged `finalized` (two epochs, Casper FFG)",
        usual_lag_ms=960_000,
        block_time_ms=12_000,
        transaction_gas_max=2**24,
        batch_items_max=200,
        fee_per_gas_max=300 * GWEI,
        tip_per_gas=GWEI,
    ),
    Profile(
        domain=Domain.BNB,
        name="bnb",
        family="evm",
        network_id=56,
        caip2="eip155:56",
        finality="the block tagged `finalized` (fast finality, BEP-126)",
        usual_lag_ms=2_000,
        block_time_ms=750,
        transaction_gas_max=2**24,
        batch_items_max=200,
        fee_per_gas_max=50 * GWEI,
        tip_per_gas=GWEI // 10,
    ),
    Profile(
        domain=Domain.MANTLE,
        name="mantle",
        family="evm",
        network_id=5000,
        caip2="eip155:5000",
        finality="the block tagged `finalized` (its batch is final on Ethereum)",
        usual_lag_ms=1_080_000,
        block_time_ms=2_000,
        transaction_gas_max=2**40,
        batch_items_max=200,
        fee_per_gas_max=50 * GWEI,
        tip_per_gas=GWEI // 1000,
    ),
    Profile(
        domain=Domain.SOLANA,
        name="solana",
        family="solana",
        network_id=101,
        caip2="solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
        finality="commitment `finalized` (31 slots rooted)",
        usual_lag_ms=13_000,
        block_time_ms=400,
        transaction_gas_max=1_400_000,
        batch_items_max=1,
    ),
    Profile(
        domain=Domain.TRON,
        name="tron",
        family="tron",
        network_id=728126428,
        caip2="tron:0x2b6653dc",
        finality="the solidified block, read from the solidity interface",
        usual_lag_ms=58_000,
        block_time_ms=3_000,
        transaction_gas_max=0,
        batch_items_max=20,
    ),
    Profile(
        domain=Domain.TON,
        name="ton",
        family="ton",
        network_id=-239,
        caip2="tvm:-239",
        finality="the shard block is committed by a masterchain block",
        usual_lag_ms=1_000,
        block_time_ms=400,
        transaction_gas_max=1_000_000,
        batch_items_max=100,
    ),
)
PROFILES: Final[Mapping[Domain, Profile]] = {row.domain: row for row in _ROWS}


@dataclass(frozen=True)
class Opened(Generic[T]):
    """An adapter with the connections behind it.

    Without slots: typing sets `__orig_class__` on what `Opened[X](…)` makes, and on Python 3.11
    a frozen dataclass with slots answers that with a TypeError.
    """

    port: T
    closers: tuple[Callable[[], Awaitable[None]], ...] = ()

    async def aclose(self) -> None:
        """Close the connections."""
        for close in self.closers:
            await close()


def open_readers(
    registry: Registry, chain: Domain | str, urls: Sequence[str], timeout_seconds: float = 10.0
) -> tuple[Opened[ChainReader], ...]:
    """One reader per node address, for callers that decorate or combine them themselves."""
    family = _family(registry, chain, urls)
    made = [_doors(family).reader(registry, chain, url, timeout_seconds) for url in urls]
    return tuple(Opened[ChainReader](reader, (reader.aclose,)) for reader in made)


def open_reader(
    registry: Registry,
    chain: Domain | str,
    urls: Sequence[str],
    *,
    needed: int | None = None,
    clock: Clock | None = None,
    timeout_seconds: float = 10.0,
) -> Opened[ChainReader]:
    """A reader of one chain: the single node, or a `Quorum` of `needed` (a majority unless
    given) over the configured ones. Raises Fatal for a quorum that is too weak."""
    readers = open_readers(registry, chain, urls, timeout_seconds)
    closers = tuple(close for reader in readers for close in reader.closers)
    if len(readers) == 1 and needed in (None, 1):
        return Opened(readers[0].port, closers)
    wanted = len(readers) // 2 + 1 if needed is None else needed
    quorum = Quorum(
        [reader.port for reader in readers], wanted, clock=clock, timeout_seconds=timeout_seconds
    )
    return Opened[ChainReader](quorum, closers)


def open_writer(
    registry: Registry, chain: Domain | str, url: str, timeout_seconds: float = 10.0
) -> Opened[ChainWriter]:
    """The writer of one chain over one node."""
    family = _family(registry, chain, [url])
    writer = _doors(family).writer(registry, chain, url, timeout_seconds)
    return Opened[ChainWriter](writer, (writer.aclose,))


def open_builder(
    registry: Registry, chain: Domain | str, url: str, timeout_seconds: float = 10.0
) -> Opened[BurnBuilder]:
    """The burn builder of one chain over one node."""
    family = _family(registry, chain, [url])
    builder = _doors(family).builder(registry, chain, url, timeout_seconds)
    return Opened[BurnBuilder](builder, (builder.aclose,))


def open_admin(
    registry: Registry, chain: Domain | str, url: str, timeout_seconds: float = 10.0
) -> Opened[ChainAdmin]:
    """The self-test of one chain over one node."""
    family = _family(registry, chain, [url])
    admin = _doors(family).admin(registry, chain, url, timeout_seconds)
    return Opened[ChainAdmin](admin, (admin.aclose,))


def open_office(
    registry: Registry,
    chain: Domain | str,
    url: str,
    key_file: Path | None,
    timeout_seconds: float = 10.0,
    *,
    clock: Clock | None = None,
) -> Opened[ChainOffice]:
    """Pauses and guard rotation on one chain over one node, with the agent's, the admin's or a
    guard's key; without a key it only looks. Raises Fatal for a key that cannot be used."""
    family = _family(registry, chain, [url])
    office = _doors(family).office(
        registry, chain, url, key_file, timeout_seconds, clock or SystemClock()
    )
    return Opened[ChainOffice](office, (office.aclose,))


def open_holder(
    registry: Registry,
    chain: Domain | str,
    url: str,
    key_file: Path,
    timeout_seconds: float = 10.0,
) -> Opened[Holder]:
    """Somebody with a key on this machine, over one node."""
    family = _family(registry, chain, [url])
    holder = _doors(family).holder(registry, chain, url, key_file, timeout_seconds)
    return Opened[Holder](holder, (holder.aclose,))


def open_codec(registry: Registry, chain: Domain | str) -> ReleaseCodec:
    """What guards sign for a destination; needs no node."""
    codec: ReleaseCodec = _doors(registry.chain(chain).family).codec(registry, chain)
    return codec


def open_deployment(
    order: DeploymentOrder,
    url: str,
    key_file: Path,
    state_file: Path | None,
    clock: Clock,
) -> Opened[Deployment]:
    """A deployment on one node; the state file makes it resumable, None only looks."""
    doors = _doors(PROFILES[order.domain].family)
    deployment, connection = doors.deployment(order, url, key_file, state_file, clock)
    return Opened[Deployment](deployment, (connection.aclose,))


def load_families(registry: Registry) -> None:
    """Import the SDKs of a registry's families now, where a clock that starts later must not pay
    for it: that takes seconds on a busy machine."""
    for family in {entry.family for entry in registry.chains}:
        _doors(family)


async def read_network_id(domain: Domain, url: str) -> int:
    """The network id that a node of this chain's family says of itself."""
    found: int = await _doors(PROFILES[domain].family).network_id(url)
    return found


def open_signer(family: Family, key_file: Path) -> Signer:
    """A local key of a family, from a file; raises Fatal if it cannot be used."""
    signer: Signer = _doors(family).signer(key_file)
    return signer


def open_account(family: Family, signer: Signer, purpose: Purpose) -> Address32:
    """The account from which a key sends: its own address, or its wallet contract (TON)."""
    account: Address32 = _doors(family).account(signer, purpose)
    return account


def parse_address(registry: Registry, chain: Domain | str, text: str) -> Address32:
    """The wire form of an address text of this chain; raises InvalidId. Needs no node."""
    return parse_wire(registry.chain(chain).family, text)


def show_address(registry: Registry, chain: Domain | str, wire: Address32) -> str:
    """The chain's own text of a wire address, with checksum. Needs no node."""
    return show_wire(registry.chain(chain).family, wire)


def _doors(family: Family) -> Any:
    """The family's own doors, imported with its SDK only when somebody opens one."""
    return import_module(f"xstock_chains.{family}.doors")


def _family(registry: Registry, chain: Domain | str, urls: Sequence[str]) -> Family:
    entry = registry.chain(chain)
    if not urls:
        raise InvalidRegistry(f"{entry.name}.urls", "[]", "give at least one node address")
    if len(set(urls)) != len(urls):
        remedy = "give every node once: two votes of one node are one opinion"
        raise InvalidRegistry(f"{entry.name}.urls", f"{len(urls)} addresses", remedy)
    return entry.family

"""Builds this family's adapters from the registry; only `profiles` opens these doors."""

from pathlib import Path
from typing import Final

from xstock_chains.ports import DeploymentOrder, Signer
from xstock_chains.registry import Registry
from xstock_chains.solana.address import show
from xstock_chains.solana.admin import SolanaAdmin
from xstock_chains.solana.builder import SolanaBurnBuilder
from xstock_chains.solana.chain import SolanaChain, SolanaFacts, resolve_chain
from xstock_chains.solana.codec import SolanaReleaseCodec
from xstock_chains.solana.deploy import DeployState, SolanaDeployment
from xstock_chains.solana.holder import SolanaHolder
from xstock_chains.solana.office import SolanaOffice
from xstock_chains.solana.reader import SolanaReader
from xstock_chains.solana.rpc import Rpc, RpcLimits, key_of
from xstock_chains.solana.signer import LocalSigner
from xstock_chains.solana.writer import SolanaWriter
from xstock_core.ids import Address32, Domain
from xstock_runtime.clock import Clock

MAIN_GENESIS: Final = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
"""Solana's main network (https://chainagnostic.org/CAIPs: namespace solana)."""


def chain(registry: Registry, which: Domain | str) -> SolanaChain:
    """The registry's entry in bytes; raises InvalidRegistry."""
    return resolve_chain(registry, which, SolanaFacts())


def reader(
    registry: Registry, which: Domain | str, url: str, timeout_seconds: float
) -> SolanaReader:
    """A reader over one node."""
    return SolanaReader(chain(registry, which), _rpc(url, timeout_seconds))


def writer(
    registry: Registry, which: Domain | str, url: str, timeout_seconds: float
) -> SolanaWriter:
    """A writer over one node."""
    return SolanaWriter(chain(registry, which), _rpc(url, timeout_seconds), codec(registry, which))


def builder(
    registry: Registry, which: Domain | str, url: str, timeout_seconds: float
) -> SolanaBurnBuilder:
    """A burn builder over one node."""
    return SolanaBurnBuilder(chain(registry, which), registry, _rpc(url, timeout_seconds))


def admin(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> SolanaAdmin:
    """The self-test over one node."""
    return SolanaAdmin(chain(registry, which), registry, _rpc(url, timeout_seconds))


def office(
    registry: Registry,
    which: Domain | str,
    url: str,
    key_file: Path | None,
    timeout_seconds: float,
    clock: Clock,
) -> SolanaOffice:
    """Acts by hand with a key from a file, or looking alone, over one node."""
    key = None if key_file is None else LocalSigner.from_file(key_file)
    return SolanaOffice(chain(registry, which), _rpc(url, timeout_seconds), key, clock)


def holder(
    registry: Registry, which: Domain | str, url: str, key_file: Path, timeout_seconds: float
) -> SolanaHolder:
    """A holder with a key from a file, over one node."""
    rpc = _rpc(url, timeout_seconds)
    return SolanaHolder(chain(registry, which), rpc, LocalSigner.from_file(key_file))


def codec(registry: Registry, which: Domain | str) -> SolanaReleaseCodec:
    """The codec of one Solana deployment."""
    return SolanaReleaseCodec(chain(registry, which))


def signer(key_file: Path) -> LocalSigner:
    """A key from a file."""
    return LocalSigner.from_file(key_file)


def account(signer: Signer, _purpose: str) -> Address32:
    """The account from which a key sends: the key itself."""
    return Address32(signer.identity)


def deployment(
    order: DeploymentOrder, url: str, key_file: Path, state_file: Path | None, clock: Clock
) -> tuple[SolanaDeployment, Rpc]:
    """A deployment by this order, and the connection behind it; raises InvalidId, Fatal."""
    signer = LocalSigner.from_file(key_file)
    rpc = Rpc(url)
    return SolanaDeployment(order, rpc, signer, clock, DeployState.load(state_file)), rpc


async def network_id(url: str) -> int:
    """A number for the cluster: Solana signs none, its genesis hash is what tells clusters apart.

    101 for the main network (as wallets number it), else the first four bytes of the genesis hash.
    """
    rpc = Rpc(url)
    try:
        genesis = key_of(await rpc.call("getGenesisHash"), "getGenesisHash")
    finally:
        await rpc.aclose()
    return 101 if show(genesis) == MAIN_GENESIS else int.from_bytes(genesis[:4], "big")


def _rpc(url: str, timeout_seconds: float) -> Rpc:
    return Rpc(url, RpcLimits(timeout_seconds=timeout_seconds))

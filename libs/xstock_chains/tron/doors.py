"""Builds this family's adapters from the registry; only `profiles` opens these doors."""

from pathlib import Path

from xstock_chains.ports import DeploymentOrder, Signer
from xstock_chains.registry import Registry
from xstock_chains.solidity.account import to_wire
from xstock_chains.solidity.deploying import DeployState, plan_of
from xstock_chains.tron.address import parse_account
from xstock_chains.tron.admin import TronAdmin
from xstock_chains.tron.builder import TronBurnBuilder
from xstock_chains.tron.chain import resolve_chain
from xstock_chains.tron.codec import TronReleaseCodec
from xstock_chains.tron.deploy import TronDeployment, read_network_id
from xstock_chains.tron.holder import TronHolder
from xstock_chains.tron.office import TronOffice
from xstock_chains.tron.reader import TronReader
from xstock_chains.tron.rpc import RpcLimits, TronRpc
from xstock_chains.tron.signer import TronSigner
from xstock_chains.tron.writer import TronWriter
from xstock_core.ids import Address32, Domain
from xstock_runtime.clock import Clock, SystemClock


def reader(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> TronReader:
    """A reader over one server."""
    return TronReader(resolve_chain(registry, which), _rpc(url, timeout_seconds))


def writer(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> TronWriter:
    """A writer over one server."""
    chain = resolve_chain(registry, which)
    return TronWriter(chain, _rpc(url, timeout_seconds), codec(registry, which))


def builder(
    registry: Registry, which: Domain | str, url: str, timeout_seconds: float
) -> TronBurnBuilder:
    """A burn builder over one server."""
    chain = resolve_chain(registry, which)
    return TronBurnBuilder(chain, registry, _rpc(url, timeout_seconds))


def admin(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> TronAdmin:
    """The self-test over one server."""
    return TronAdmin(resolve_chain(registry, which), registry, _rpc(url, timeout_seconds))


def office(
    registry: Registry,
    which: Domain | str,
    url: str,
    key_file: Path | None,
    timeout_seconds: float,
    clock: Clock,
) -> TronOffice:
    """Pauses and rotation with a key from a file (or only looking), over one server."""
    return TronOffice(resolve_chain(registry, which), _rpc(url, timeout_seconds), clock, key_file)


def holder(
    registry: Registry, which: Domain | str, url: str, key_file: Path, timeout_seconds: float
) -> TronHolder:
    """A holder with a key from a file, over one server."""
    rpc = _rpc(url, timeout_seconds)
    return TronHolder(resolve_chain(registry, which), rpc, signer(key_file), SystemClock())


def codec(registry: Registry, _which: Domain | str) -> TronReleaseCodec:
    """The codec of every Tron network in the registry."""
    return TronReleaseCodec(
        {entry.domain: entry.network_id for entry in registry.chains if entry.family == "tron"}
    )


def signer(key_file: Path) -> TronSigner:
    """A key from a file."""
    return TronSigner.from_file(key_file)


def account(signer: Signer, _purpose: str) -> Address32:
    """A key's own address, whatever it sends for."""
    return to_wire(signer.identity)


async def network_id(url: str) -> int:
    """The chain id that the network's contracts see; raises Transient, InvalidMessage."""
    rpc = TronRpc(url)
    try:
        return await read_network_id(rpc)
    finally:
        await rpc.aclose()


def deployment(
    order: DeploymentOrder, url: str, key_file: Path, state_file: Path | None, clock: Clock
) -> tuple[TronDeployment, TronRpc]:
    """A deployment by this order, and the connection behind it; raises InvalidId, Fatal."""
    plan, state = plan_of(order, parse_account), DeployState.load(state_file)
    rpc = TronRpc(url)
    return TronDeployment(plan, rpc, signer(key_file), clock, state), rpc


def _rpc(url: str, timeout_seconds: float) -> TronRpc:
    return TronRpc(url, RpcLimits(timeout_seconds=timeout_seconds))

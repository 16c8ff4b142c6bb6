"""Builds this family's adapters from the registry; only `profiles` opens these doors."""

from pathlib import Path

from xstock_chains.evm.address import parse_text, to_wire
from xstock_chains.evm.admin import EvmAdmin
from xstock_chains.evm.builder import EvmBurnBuilder
from xstock_chains.evm.chain import EvmChain, EvmFacts, resolve_chain
from xstock_chains.evm.codec import EvmReleaseCodec
from xstock_chains.evm.deploy import EvmDeployment
from xstock_chains.evm.holder import EvmHolder
from xstock_chains.evm.office import EvmOffice
from xstock_chains.evm.reader import EvmReader
from xstock_chains.evm.rpc import Rpc, RpcLimits, quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.evm.writer import EvmWriter
from xstock_chains.ports import DeploymentOrder, Signer
from xstock_chains.profiles import PROFILES
from xstock_chains.registry import Registry
from xstock_chains.solidity.deploying import DeployState, plan_of
from xstock_core.ids import Address32, Domain
from xstock_runtime.clock import Clock


def chain(registry: Registry, which: Domain | str) -> EvmChain:
    """The registry's entry with its profile's facts; raises InvalidRegistry."""
    profile = PROFILES[registry.chain(which).domain]
    facts = EvmFacts(
        log_span_blocks=profile.log_span_blocks,
        transaction_gas_max=profile.transaction_gas_max,
        fee_per_gas_max=profile.fee_per_gas_max,
        tip_per_gas=profile.tip_per_gas,
    )
    return resolve_chain(registry, which, facts)


def reader(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> EvmReader:
    """A reader over one node."""
    return EvmReader(chain(registry, which), _rpc(url, timeout_seconds))


def writer(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> EvmWriter:
    """A writer over one node."""
    return EvmWriter(chain(registry, which), _rpc(url, timeout_seconds), codec(registry))


def builder(
    registry: Registry, which: Domain | str, url: str, timeout_seconds: float
) -> EvmBurnBuilder:
    """A burn builder over one node."""
    return EvmBurnBuilder(chain(registry, which), registry, _rpc(url, timeout_seconds))


def admin(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> EvmAdmin:
    """The self-test over one node."""
    return EvmAdmin(chain(registry, which), registry, _rpc(url, timeout_seconds))


def office(
    registry: Registry,
    which: Domain | str,
    url: str,
    key_file: Path | None,
    timeout_seconds: float,
    clock: Clock,
) -> EvmOffice:
    """Pauses and rotation with a key from a file (or only looking), over one node."""
    return EvmOffice(chain(registry, which), _rpc(url, timeout_seconds), clock, key_file)


def holder(
    registry: Registry, which: Domain | str, url: str, key_file: Path, timeout_seconds: float
) -> EvmHolder:
    """A holder with a key from a file, over one node."""
    rpc = _rpc(url, timeout_seconds)
    return EvmHolder(chain(registry, which), rpc, LocalSigner.from_file(key_file))


def codec(registry: Registry, _which: Domain | str | None = None) -> EvmReleaseCodec:
    """The codec of every EVM chain in the registry."""
    return EvmReleaseCodec(
        {entry.domain: entry.network_id for entry in registry.chains if entry.family == "evm"}
    )


def signer(key_file: Path) -> LocalSigner:
    """A key from a file."""
    return LocalSigner.from_file(key_file)


def account(signer: Signer, _purpose: str) -> Address32:
    """A key's own address, whatever it sends for."""
    return to_wire(signer.identity)


async def network_id(url: str) -> int:
    """The chain id that a node says; raises Transient, InvalidMessage."""
    rpc = Rpc(url)
    try:
        return quantity(await rpc.call("eth_chainId"), "eth_chainId")
    finally:
        await rpc.aclose()


def _rpc(url: str, timeout_seconds: float) -> Rpc:
    return Rpc(url, RpcLimits(timeout_seconds=timeout_seconds))


def deployment(
    order: DeploymentOrder, url: str, key_file: Path, state_file: Path | None, clock: Clock
) -> tuple[EvmDeployment, Rpc]:
    """A deployment by this order, and the connection behind it; raises InvalidId, Fatal."""
    plan = plan_of(order, parse_text)
    rpc = Rpc(url)
    state = DeployState.load(state_file)
    return EvmDeployment(plan, rpc, LocalSigner.from_file(key_file), clock, state), rpc

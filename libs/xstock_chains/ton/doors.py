"""Builds this family's adapters from the registry; only `profiles` opens these doors."""

from pathlib import Path

from xstock_chains.ports import DeploymentOrder, Signer
from xstock_chains.registry import Registry
from xstock_chains.ton.admin import TonAdmin
from xstock_chains.ton.builder import TonBurnBuilder
from xstock_chains.ton.chain import TonChain, resolve_chain
from xstock_chains.ton.codec import TonReleaseCodec
from xstock_chains.ton.deploy import TonDeployment, plan_of
from xstock_chains.ton.holder import TonHolder
from xstock_chains.ton.office import TonOffice
from xstock_chains.ton.purse import Purse
from xstock_chains.ton.reader import TonReader
from xstock_chains.ton.rpc import RpcLimits, Toncenter
from xstock_chains.ton.signer import LocalSigner
from xstock_chains.ton.wallets import highload_wallet, v4_wallet
from xstock_chains.ton.writer import TonWriter
from xstock_core.ids import Address32, Domain
from xstock_runtime.clock import Clock, SystemClock


def reader(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> TonReader:
    """A reader over one node."""
    return TonReader(resolve_chain(registry, which), _api(url, timeout_seconds))


def writer(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> TonWriter:
    """A writer over one node."""
    chain = resolve_chain(registry, which)
    return TonWriter(chain, _api(url, timeout_seconds), codec_of(chain))


def builder(
    registry: Registry, which: Domain | str, url: str, timeout_seconds: float
) -> TonBurnBuilder:
    """A burn builder over one node."""
    return TonBurnBuilder(resolve_chain(registry, which), registry, _api(url, timeout_seconds))


def admin(registry: Registry, which: Domain | str, url: str, timeout_seconds: float) -> TonAdmin:
    """The self-test over one node."""
    return TonAdmin(resolve_chain(registry, which), _api(url, timeout_seconds))


def office(
    registry: Registry,
    which: Domain | str,
    url: str,
    key_file: Path | None,
    timeout_seconds: float,
    clock: Clock,
) -> TonOffice:
    """Acts by hand with a key from a file, or looking alone, over one node."""
    key = None if key_file is None else LocalSigner.from_file(key_file)
    return TonOffice(resolve_chain(registry, which), _api(url, timeout_seconds), key, clock)


def holder(
    registry: Registry, which: Domain | str, url: str, key_file: Path, timeout_seconds: float
) -> TonHolder:
    """A holder with a key from a file, over one node."""
    chain, api = resolve_chain(registry, which), _api(url, timeout_seconds)
    purse = Purse(chain.domain, api, LocalSigner.from_file(key_file), SystemClock())
    return TonHolder(chain, api, purse)


def codec(registry: Registry, which: Domain | str) -> TonReleaseCodec:
    """The codec of a network."""
    return codec_of(resolve_chain(registry, which))


def codec_of(chain: TonChain) -> TonReleaseCodec:
    """The codec of a resolved network."""
    assets = {minter.address: minter.asset.asset for minter in chain.minters}
    return TonReleaseCodec(chain.domain, chain.global_id, chain.guards, assets)


def signer(key_file: Path) -> LocalSigner:
    """A key from a file."""
    return LocalSigner.from_file(key_file)


def account(signer: Signer, purpose: str) -> Address32:
    """The wallet of a key: the relayer's highload wallet, everybody else's v4r2."""
    wallet = highload_wallet if purpose == "relayer" else v4_wallet
    return wallet(signer.identity).address


async def network_id(url: str) -> int:
    """The global id that a node says; raises Transient, InvalidMessage."""
    api = _api(url, 10.0)
    try:
        return (await api.masterchain_head()).global_id
    finally:
        await api.aclose()


def _api(url: str, timeout_seconds: float) -> Toncenter:
    return Toncenter(url, RpcLimits(timeout_seconds=timeout_seconds))


def deployment(
    order: DeploymentOrder, url: str, key_file: Path, state_file: Path | None, clock: Clock
) -> tuple[TonDeployment, Toncenter]:
    """A deployment by this order, and the connection behind it; raises InvalidId, Fatal."""
    api = Toncenter(url)
    purse = Purse(order.domain, api, LocalSigner.from_file(key_file), clock)
    return TonDeployment(plan_of(order, purse.address), api, purse, clock, state_file), api

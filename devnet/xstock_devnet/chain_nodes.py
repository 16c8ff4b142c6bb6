"""Which node serves a local chain: one engine per family, all of the same shape."""

from pathlib import Path
from typing import Protocol

from xstock_devnet.engines.anvil import AnvilNode
from xstock_devnet.engines.solana import SolanaNode
from xstock_devnet.engines.ton import TonNode
from xstock_devnet.engines.tron import TronNode
from xstock_devnet.plan import LocalChain
from xstock_devnet.processes import ChildProcess


class ChainNode(Protocol):
    """A local chain in a process of its own."""

    child: ChildProcess
    port: int

    @property
    def url(self) -> str:
        """The address of its public API."""
        ...

    async def start(self) -> None:
        """Start and return once the chain answers."""
        ...

    async def stop(self) -> None:
        """Stop the chain."""
        ...


def chain_node(chain: LocalChain, folder: Path) -> ChainNode:
    """The node of this chain, not yet started."""
    match chain.family:
        case "evm":
            return AnvilNode(
                folder,
                chain_id=chain.network_id,
                name=chain.name,
                block_seconds=chain.block_ms / 1000,
                slots_in_an_epoch=chain.final_blocks // 2,
                extra=chain.extra,
            )
        case "solana":
            return SolanaNode(
                folder,
                name=chain.name,
                block_ms=chain.block_ms,
                final_blocks=chain.final_blocks,
                extra=chain.extra,
            )
        case "tron":
            return TronNode(
                folder, name=chain.name, block_ms=chain.block_ms, final_blocks=chain.final_blocks
            )
        case "ton":
            return TonNode(
                folder,
                name=chain.name,
                block_ms=chain.block_ms,
                final_blocks=chain.final_blocks,
                global_id=chain.network_id,
            )

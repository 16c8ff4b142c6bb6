"""Which node serves a local chain: one engine per family."""

from pathlib import Path

from xstock_devnet.engines.anvil import AnvilNode
from xstock_devnet.engines.local_node import LocalNode
from xstock_devnet.engines.solana import SolanaNode
from xstock_devnet.engines.ton import TonNode
from xstock_devnet.engines.tron import TronNode
from xstock_devnet.plan import LocalChain


def chain_node(chain: LocalChain, folder: Path) -> LocalNode:
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

"""The events of the bridge and the token contracts: topics, and a log in bytes.

Families read logs from their nodes' own JSON into `Log`; what a log proves is in `evidence`.
"""

from typing import Final, NamedTuple

from xstock_chains.solidity.abi import topic

BURNED: Final = topic("BurnedToBridge(bytes32,uint32,uint64,address,address,bytes32,uint64)")
RELEASED: Final = topic("Released(bytes32,uint32,bytes32,address,uint64)")
CANCELLED: Final = topic("Cancelled(bytes32,uint32,bytes32)")
SKIPPED: Final = topic("ReleaseSkipped(uint32,bytes32,uint8)")
GUARDS_CHANGED: Final = topic("GuardsChanged(uint32,address[],uint8)")
OWNER_MOVED: Final = topic("OwnershipTransferred(address,address)")
SHARES_MOVED: Final = topic("TransferShares(address,address,uint256)")
NEW_MINTER: Final = topic("NewMinter(address)")
NEW_BURNER: Final = topic("NewBurner(address)")
NEW_PAUSER: Final = topic("NewPauser(address)")
UPGRADED: Final = topic("Upgraded(address)")


class Log(NamedTuple):
    """One log in bytes; `log_index` is its place in the block."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    tx: bytes
    log_index: int

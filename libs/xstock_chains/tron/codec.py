"""What a guard signs for a Tron bridge: the contracts' own batch, under Tron's chain id.

The TVM's CHAINID is the last four bytes of the genesis block's id (java-tron's eth_chainId says
the same), and `address(this)` has 20 bytes there too: 0x41 is in no digest. ecrecover wants v as
27 or 28, as everywhere. The bytes are `solidity.codec`'s.
"""

from typing import Final

from xstock_chains.solidity.codec import BatchCodec

_CHAIN_ID_BYTES: Final = 4


def chain_id_of(genesis: bytes) -> int:
    """The chain id that a network's contracts see, by its genesis block id."""
    return int.from_bytes(genesis[-_CHAIN_ID_BYTES:], "big")


class TronReleaseCodec(BatchCodec):
    """`ReleaseCodec` for the Tron networks whose chain ids it was given."""

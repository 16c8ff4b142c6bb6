"""What a guard signs for an EVM bridge: the contracts' own batch, under the chain's EIP-155 id.

The bytes are `solidity.codec`'s, which every chain with our Solidity contracts shares.
"""

from xstock_chains.solidity.codec import BatchCodec


class EvmReleaseCodec(BatchCodec):
    """`ReleaseCodec` for the EVM chains whose chain ids it was given."""

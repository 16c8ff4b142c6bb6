"""A local TON chain that speaks toncenter's API: `python -m xstock_devnet.ton --port N`.

The chain is a Node process over the real TVM (npm `@ton/sandbox`); the Python here only starts it.
Accounts run real contract code under mainnet's configuration; consensus, shards and proofs are
left out. The faucet is the wallet v4r2 of the first development key, used as an ed25519 seed.
"""

from typing import Final

FAUCET_PUBLIC_KEY: Final = "468995cdd3c27569e004c89098c44bf584b1a4c6cd89a203fc47825f48684964"
"""The ed25519 public key (hex) whose wallet v4r2 holds the chain's first coins."""

GLOBAL_ID_DEFAULT: Final = -239
BLOCK_MS_DEFAULT: Final = 400
FINAL_BLOCKS_DEFAULT: Final = 1

"""The chain families: what runs the same protocol rules and is reached by one adapter."""

from typing import Literal

Family = Literal["evm", "solana", "tron", "ton"]

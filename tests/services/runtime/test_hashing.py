"""Keccak-256 against published digests."""

import pytest

from xstock_runtime.hashing import keccak256


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        # EIP-1052's hash of empty code, and the well-known topic of ERC-20 Transfer.
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (
            b"Transfer(address,address,uint256)",
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
        ),
    ],
)
def test_keccak256__known_input__gives_the_published_digest(data: bytes, digest: str) -> None:
    assert keccak256(data).hex() == digest

"""The pure keccak against published values and against the compiled one."""

from random import Random

import pytest

from xstock_core.keccak import keccak256
from xstock_runtime.hashing import keccak256 as compiled

PUBLISHED = {
    b"": "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
    b"abc": "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
    b"Transfer(address,address,uint256)": (
        "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    ),
}


@pytest.mark.parametrize(("data", "digest"), PUBLISHED.items())
def test_keccak__published_value__is_met(data: bytes, digest: str) -> None:
    assert keccak256(data).hex() == digest


@pytest.mark.parametrize("size", [0, 1, 31, 32, 134, 135, 136, 137, 179, 271, 272, 273, 1000])
def test_keccak__any_length_around_the_block_size__equals_the_compiled_one(size: int) -> None:
    data = Random(size).randbytes(size)
    assert keccak256(data) == compiled(data)

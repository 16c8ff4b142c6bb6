"""Which address a key has: known accounts, and everything that is no key of the chain."""

from hashlib import sha256

import pytest
from coincurve import PrivateKey
from eth_account import Account

from xstock_core.holder import address_of_key
from xstock_core.ids import EVM_WIDTH_DOMAINS, Domain

P = 2**256 - 2**32 - 977
G = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
"""The generator: the public key of the private key 1 (SEC 2 version 2.0, section 2.4.1)."""
KNOWN = {
    1: "7e5f4552091a69125d5dfcb7b8c2659029395bdf",
    2: "2b5ad5c4795c026514f8317c7a215e218dccd6cf",
    3: "6813eb9362372eef6200f3b1dbc3f819671cba69",
}
"""Private keys and their Ethereum accounts."""


def public(private: int) -> bytes:
    return PrivateKey(private.to_bytes(32, "big")).public_key.format()


@pytest.mark.parametrize("chain", sorted(EVM_WIDTH_DOMAINS))
@pytest.mark.parametrize("private", KNOWN)
def test_address_of_key__a_known_account__is_its_own_on_every_chain_of_that_width(
    chain: Domain, private: int
) -> None:
    assert address_of_key(chain, public(private)) == bytes(12) + bytes.fromhex(KNOWN[private])


def test_address_of_key__both_halves_of_the_curve__agree_with_the_library() -> None:
    """Half of all keys have an odd y, and half of the square roots come out as the other one."""
    prefixes = set()
    for number in range(24):
        private = sha256(bytes((number,))).digest()
        key = PrivateKey(private).public_key.format()
        prefixes.add(key[0])
        known = bytes.fromhex(Account.from_key(private).address[2:])
        assert address_of_key(Domain.ETHEREUM, key) == bytes(12) + known
    assert prefixes == {2, 3}


def test_address_of_key__the_other_root__is_another_account() -> None:
    assert G[0] == 2
    other = address_of_key(Domain.BNB, b"\x03" + G[1:])
    assert other is not None
    assert other != address_of_key(Domain.BNB, G)


def test_address_of_key__on_solana__is_the_key_itself() -> None:
    key = sha256(b"a holder").digest()
    assert address_of_key(Domain.SOLANA, key) == key


def test_address_of_key__a_hash_of_ones_own__is_the_one_that_is_used() -> None:
    asked: list[bytes] = []

    def keccak(data: bytes) -> bytes:
        asked.append(data)
        return bytes(range(32))

    assert address_of_key(Domain.TRON, G, keccak) == bytes(12) + bytes(range(12, 32))
    y = bytes.fromhex("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8")
    assert asked == [G[1:] + y]


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        (Domain.SOLANA, G),
        (Domain.SOLANA, G[:31]),
        (Domain.ETHEREUM, G[1:]),
        (Domain.ETHEREUM, G[:32]),
        (Domain.ETHEREUM, G + b"\x00"),
        (Domain.ETHEREUM, b"\x04" + G[1:]),
        (Domain.ETHEREUM, b"\x00" + G[1:]),
        (Domain.ETHEREUM, b""),
        (Domain.TON, G),
        (Domain.TON, G[1:]),
        (Domain.CUSTODY, G),
        # x = 5 is on no point of the curve; P + 1 is 1 again, which is, and must not be read so.
        (Domain.MANTLE, b"\x02" + (5).to_bytes(32, "big")),
        (Domain.MANTLE, b"\x02" + (P + 1).to_bytes(32, "big")),
        (Domain.MANTLE, b"\x03" + (P + 1).to_bytes(32, "big")),
    ],
)
def test_address_of_key__what_is_no_key_of_the_chain__has_none(chain: Domain, key: bytes) -> None:
    assert address_of_key(chain, key) is None


def test_address_of_key__the_least_x_on_the_curve__has_one() -> None:
    assert address_of_key(Domain.MANTLE, b"\x02" + (1).to_bytes(32, "big")) is not None

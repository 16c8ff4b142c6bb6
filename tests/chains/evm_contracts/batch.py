"""Release batches for tests: the packed form and the guards' signatures, written afresh.

Written from contracts/evm/README.md and not from the adapter's codec, so that a slip in one
of the two shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from coincurve import PrivateKey
from eth_abi.abi import encode
from eth_utils.crypto import keccak

RELEASE = 1
CANCEL = 2

_DOMAIN_TYPE = keccak(
    text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_BATCH_TYPE = keccak(text="ReleaseBatch(uint32 epoch,uint64 deadline,bytes32 itemsHash)")


@dataclass(frozen=True, slots=True)
class Item:
    """One item; `nonce` is the 32-byte nonce, `amount` shares with 8 decimals."""

    source: int
    nonce: bytes
    asset: bytes
    recipient: str
    amount: int
    action: int = RELEASE


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard's key and the address it signs as."""

    key: PrivateKey
    address: str


def guard(seed: str) -> Guard:
    """A guard with a key derived from `seed`."""
    key = PrivateKey(keccak(text=f"guard {seed}"))
    return Guard(key, "0x" + keccak(key.public_key.format(compressed=False)[1:])[12:].hex())


def wire(address: str) -> bytes:
    """A 20-byte address in its 32-byte wire form."""
    return bytes(12) + bytes.fromhex(address[2:])


def nonce_of(bridge: str, counter: int) -> bytes:
    """The nonce of burn number `counter` at the contract `bridge`."""
    return keccak(wire(bridge))[:24] + counter.to_bytes(8, "big")


def header(action: int, source: int, tag: bytes, asset: bytes, count: int) -> bytes:
    """The 63 bytes before the items of a section."""
    return (
        action.to_bytes(1, "big")
        + source.to_bytes(4, "big")
        + tag
        + asset
        + count.to_bytes(2, "big")
    )


def pack(items: Sequence[Item]) -> bytes:
    """Version 1 of the packed form; neighbours that share a header share a section."""
    packed = b"\x01"
    start = 0
    while start < len(items):
        first = items[start]
        end = start
        while end < len(items) and _shared(items[end]) == _shared(first):
            end += 1
        packed += header(*_shared(first), end - start)
        for item in items[start:end]:
            packed += item.nonce[24:] + bytes.fromhex(item.recipient[2:])
            packed += item.amount.to_bytes(8, "big")
        start = end
    return packed


def _shared(item: Item) -> tuple[int, int, bytes, bytes]:
    return item.action, item.source, item.nonce[:24], item.asset


@dataclass(frozen=True, slots=True)
class Permit:
    """Everything a digest binds."""

    chain_id: int
    bridge: str
    epoch: int
    deadline: int
    items: bytes

    def digest(self) -> bytes:
        """The EIP-712 digest that guards sign."""
        domain = encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [_DOMAIN_TYPE, keccak(text="xStock Bridge"), keccak(b"1"), self.chain_id, self.bridge],
        )
        batch = encode(
            ["bytes32", "uint32", "uint64", "bytes32"],
            [_BATCH_TYPE, self.epoch, self.deadline, keccak(self.items)],
        )
        return keccak(b"\x19\x01" + keccak(domain) + keccak(batch))


def sign(permit: Permit, signer: Guard) -> bytes:
    """r, s, v (27 or 28) in 65 bytes, low s."""
    signature = signer.key.sign_recoverable(permit.digest(), hasher=None)
    return signature[:64] + bytes([27 + signature[64]])


def sign_all(permit: Permit, signers: Sequence[Guard]) -> bytes:
    """The signatures in the order the contract wants: by ascending signer address."""
    return b"".join(sign(permit, s) for s in sorted(signers, key=lambda g: g.address))

"""Who makes blocks: 27 keys of the local chain's own, and the faucet that the genesis endows.

All keys are derived from public text: they hold nothing anywhere.
"""

import hashlib

from coincurve import PrivateKey

from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.tron import address, protobuf
from xstock_devnet.tron.model import (
    BLOCK_VERSION,
    Block,
    Executed,
    Ledger,
    Transaction,
    merkle_root,
    transaction_of,
)
from xstock_devnet.tron.protobuf import Message

WITNESSES = 27
GENESIS_SUN = 99_000_000_000_000_000
GENESIS_PARENT = hashlib.sha256(b"xstock local tron").digest()
GENESIS_WITNESS = b"\x41" + hashlib.sha256(b"xstock local tron").digest()[:20]
ZION = b"0x000000000000000000000"
CONTRACT_RESULTS = {
    **{"SUCCESS": 1, "REVERT": 2, "BAD_JUMP_DESTINATION": 3, "OUT_OF_MEMORY": 4},
    **{"STACK_TOO_SMALL": 6, "STACK_TOO_LARGE": 7, "ILLEGAL_OPERATION": 8},
    **{"OUT_OF_ENERGY": 10, "OUT_OF_TIME": 11, "UNKNOWN": 13, "TRANSFER_FAILED": 14},
}


def sign(key: PrivateKey, digest: bytes) -> bytes:
    """Return the 65 bytes r, s, recovery id over a 32-byte digest."""
    return key.sign_recoverable(digest, hasher=None)


def faucet_key() -> PrivateKey:
    """Return the key of the account that the genesis endows: the first development account."""
    return PrivateKey(bytes.fromhex(dev_private_key(0)[2:]))


def address_of(key: PrivateKey) -> bytes:
    """Return a key's Tron address."""
    return address.of_public_key(key.public_key.format(compressed=False)[1:])


class Witnesses:
    """Signs headers; which of the keys does depends on the height and on how often it was made."""

    def __init__(self) -> None:
        seeds = (f"xstock local tron witness {number}".encode() for number in range(WITNESSES))
        self._keys = [PrivateKey(hashlib.sha256(seed).digest()) for seed in seeds]
        self.addresses = tuple(address_of(key) for key in self._keys)

    def seal(
        self,
        parent: Block,
        executed: tuple[Executed, ...],
        ledger: Ledger,
        *,
        time_ms: int,
        forks: int,
    ) -> Block:
        """Return the next block; `forks` makes one that replaces another differ from it."""
        number = parent.number + 1
        turn = (number + forks) % WITNESSES
        leaves = [hashlib.sha256(_with_result(each)).digest() for each in executed]
        header: Message = {
            "timestamp": time_ms,
            "txTrieRoot": merkle_root(leaves),
            "parentHash": parent.id,
            "number": number,
            "witness_address": self.addresses[turn],
            "version": BLOCK_VERSION,
        }
        digest = hashlib.sha256(protobuf.encode("BlockRaw", header)).digest()
        identity = number.to_bytes(8, "big") + digest[8:]
        return Block(header, identity, sign(self._keys[turn], digest), executed, ledger)


def _with_result(executed: Executed) -> bytes:
    result = {"contractRet": CONTRACT_RESULTS[executed.outcome.status]}
    return protobuf.encode("Transaction", {**executed.transaction.message, "ret": [result]})


def genesis(faucet: bytes) -> tuple[Message, bytes, Transaction]:
    """Return the first block's header, its id and the transfer that endows the faucet."""
    parameter = {
        "type_url": protobuf.TYPE_URL + "TransferContract",
        "value": protobuf.encode(
            "TransferContract",
            {"owner_address": ZION, "to_address": faucet, "amount": GENESIS_SUN},
        ),
    }
    endowment = transaction_of({"raw_data": {"contract": [{"type": 1, "parameter": parameter}]}})
    leaf = hashlib.sha256(endowment.serialized).digest()
    header: Message = {
        "txTrieRoot": merkle_root([leaf]),
        "parentHash": GENESIS_PARENT,
        "witness_address": GENESIS_WITNESS,
    }
    digest = hashlib.sha256(protobuf.encode("BlockRaw", header)).digest()
    return header, bytes(8) + digest[8:], endowment

"""What the chain keeps: prices, accounts, transactions with their outcome, blocks.

Values are immutable, so a block can keep the accounts as they were after it and a reorganisation
is going back to them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xstock_devnet.tron import protobuf
from xstock_devnet.tron.protobuf import Message

SUN_PER_TRX = 1_000_000
ENERGY_PRICE_SUN = 100
BANDWIDTH_PRICE_SUN = 10
FREE_BANDWIDTH = 5_000
MEMO_FEE_SUN = 1_000_000
CREATE_ACCOUNT_FEE_SUN = 100_000
FEE_LIMIT_MAX_SUN = 1_000_000_000
RESULT_BYTES = 64
"""What bandwidth counts for the result beside a transaction's own bytes."""
BANDWIDTH_WINDOW_MS = 24 * 3600 * 1000
BLOCK_VERSION = 32


@dataclass(frozen=True, slots=True)
class Account:
    """An activated account; balances are anvil's."""

    create_time_ms: int
    free_net_used: int = 0
    free_net_time_ms: int = 0
    operation_time_ms: int = 0
    energy_time_ms: int = 0

    def free_net_at(self, now_ms: int) -> int:
        """Return the free bandwidth in use, which recovers evenly over a day."""
        elapsed = min(max(now_ms - self.free_net_time_ms, 0), BANDWIDTH_WINDOW_MS)
        return self.free_net_used * (BANDWIDTH_WINDOW_MS - elapsed) // BANDWIDTH_WINDOW_MS

    def with_bandwidth(self, size: int, now_ms: int) -> "Account":
        """Return the account after `size` bytes of free bandwidth were used."""
        used = self.free_net_at(now_ms) + size
        return replace(self, free_net_used=used, free_net_time_ms=now_ms)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A decoded transaction; `id` is the hash of raw_data and ignores signatures."""

    message: Message
    serialized: bytes
    id: bytes

    @property
    def raw(self) -> Message:
        """The signed part."""
        raw: Message = self.message.get("raw_data", {})
        return raw

    @property
    def contract_type(self) -> str:
        """The name of its contract's message, empty if there is none or it is not known here."""
        contracts = self.raw.get("contract", [])
        number = contracts[0].get("type", 0) if contracts else 0
        return protobuf.ENUMS["ContractType"].get(number, "")

    def value(self) -> Message:
        """Return the contract's decoded parameter; raises ProtobufError if it is none we know."""
        return protobuf.decode(self.contract_type, self.raw["contract"][0]["parameter"]["value"])

    @property
    def signatures(self) -> list[bytes]:
        """The signatures, in order."""
        return list(self.message.get("signature", []))

    @property
    def expiration_ms(self) -> int:
        """When it is dead if no block has it."""
        return int(self.raw.get("expiration", 0))

    @property
    def fee_limit(self) -> int:
        """The most sun it may burn for energy."""
        return int(self.raw.get("fee_limit", 0))


def transaction_of(message: Message) -> Transaction:
    """Return a transaction with its id from a decoded message."""
    raw = protobuf.encode("Raw", message.get("raw_data", {}))
    serialized = protobuf.encode("Transaction", message)
    return Transaction(message, serialized, hashlib.sha256(raw).digest())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What including a transaction did: the stuff of its TransactionInfo."""

    status: str
    result: bytes = b""
    contract_address: bytes = b""
    message: str = ""
    energy: int = 0
    energy_fee: int = 0
    net_usage: int = 0
    net_fee: int = 0
    other_fee: int = 0
    is_vm: bool = True
    logs: tuple[Mapping[str, Any], ...] = ()
    internal: tuple[Mapping[str, Any], ...] = ()

    @property
    def fee(self) -> int:
        """All sun that were burned."""
        return self.energy_fee + self.net_fee + self.other_fee

    @property
    def failed(self) -> bool:
        """Whether the transaction is in a block without effect."""
        return self.status != "SUCCESS"


@dataclass(frozen=True, slots=True)
class Executed:
    """A transaction and its outcome, pending or in a block."""

    transaction: Transaction
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract that a transaction created."""

    message: Message
    code_hash: bytes
    runtime: bytes


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything beside anvil's state that a reorganisation takes back."""

    height: int
    accounts: Mapping[bytes, Account] = field(default_factory=dict)
    contracts: Mapping[bytes, Contract] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """A block, and the ledger after it."""

    header: Message
    id: bytes
    signature: bytes
    executed: tuple[Executed, ...]
    ledger: Ledger

    @property
    def number(self) -> int:
        """The block's height."""
        return int(self.header.get("number", 0))

    @property
    def timestamp_ms(self) -> int:
        """The block's time."""
        return int(self.header.get("timestamp", 0))


def merkle_root(leaves: list[bytes]) -> bytes:
    """Return java-tron's root of transaction hashes; 32 zero bytes for none."""
    if not leaves:
        return bytes(32)
    level = leaves
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [
            hashlib.sha256(b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs
        ]
    return level[0]

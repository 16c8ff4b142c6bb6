"""Runs transactions in the virtual machine and says what came of them, to the last balance.

A transaction either lands, with success or with its fee taken and its error on record, or it is
never part of any block (bad fee payer, unloadable accounts); `Outcome.landed` tells which.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

from solders.account import Account
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import (
    FailedTransactionMetadata,
    InnerInstruction,
    SimulatedTransactionInfo,
    TransactionMetadata,
)

from xstock_devnet.solana.accounts import AccountBook
from xstock_devnet.solana.errors import Json
from xstock_devnet.solana.programs import (
    BUILTIN_PROGRAMS,
    COMPUTE_BUDGET_PROGRAM,
    MEMO_PROGRAMS,
    UPGRADEABLE_LOADER,
)

SIGNATURE_COST = 720
WRITE_LOCK_COST = 300
INSTRUCTION_BYTES_PER_COST_UNIT = 4
LOADED_PAGE_BYTES = 32 * 1024
LOADED_PAGE_COST = 8
ACCOUNT_OVERHEAD_BYTES = 64
LOOKUP_TABLE_HEADER_BYTES = 56
SET_COMPUTE_UNIT_LIMIT = 2
SET_COMPUTE_UNIT_PRICE = 3
CHARGED = frozenset({"InstructionError", "InsufficientFundsForRent"})
"""Errors of transactions that ran: they take the fee. With any other one it is in no block."""
COMPUTE_UNITS_MAX = 1_400_000
LAMPORTS_PER_SIGNATURE = 5_000


@dataclass(frozen=True)
class Loaded:
    """A transaction with its account keys in the order in which instructions count them."""

    transaction: VersionedTransaction
    raw: bytes
    loaded_writable: tuple[Pubkey, ...] = ()
    loaded_readonly: tuple[Pubkey, ...] = ()

    @property
    def message(self) -> Message | MessageV0:
        """What was signed; newer versions were refused when the bytes came in."""
        return cast(Message | MessageV0, self.transaction.message)

    @cached_property
    def signature(self) -> str:
        """The transaction's id, base58."""
        return str(self.transaction.signatures[0])

    @cached_property
    def static_keys(self) -> tuple[Pubkey, ...]:
        """The keys written out in the message."""
        return tuple(self.message.account_keys)

    @cached_property
    def keys(self) -> tuple[Pubkey, ...]:
        """All keys: static, then looked up writable, then looked up read-only."""
        return self.static_keys + self.loaded_writable + self.loaded_readonly

    @cached_property
    def writable(self) -> tuple[bool, ...]:
        """For each key whether the transaction may change it."""
        header = self.message.header
        signers = header.num_required_signatures
        first_fixed_signer = signers - header.num_readonly_signed_accounts
        first_fixed = len(self.static_keys) - header.num_readonly_unsigned_accounts
        static = (
            index < first_fixed_signer or signers <= index < first_fixed
            for index in range(len(self.static_keys))
        )
        looked_up = (True,) * len(self.loaded_writable) + (False,) * len(self.loaded_readonly)
        return (*static, *looked_up)

    @cached_property
    def version(self) -> int | None:
        """0 for a versioned message, None for a legacy one."""
        return None if isinstance(self.message, Message) else 0

    @cached_property
    def memo(self) -> str | None:
        """The memos of top-level instructions as signature lists show them."""
        memos = [
            f"[{len(instruction.data)}] {_text(bytes(instruction.data))}"
            for instruction in self.message.instructions
            if self.keys[instruction.program_id_index] in MEMO_PROGRAMS
        ]
        return "; ".join(memos) or None

    @cached_property
    def unit_price(self) -> int:
        """Micro-lamports offered for each compute unit."""
        for instruction in self.message.instructions:
            data = bytes(instruction.data)
            if self.keys[instruction.program_id_index] != COMPUTE_BUDGET_PROGRAM:
                continue
            if len(data) >= 9 and data[0] == SET_COMPUTE_UNIT_PRICE:
                return int.from_bytes(data[1:9], "little")
        return 0

    @cached_property
    def writable_keys(self) -> frozenset[Pubkey]:
        """The keys that the transaction locks for writing."""
        return frozenset(
            key for key, writable in zip(self.keys, self.writable, strict=True) if writable
        )

    @cached_property
    def unit_limit(self) -> int:
        """Compute units asked for, or what the protocol grants where none are."""
        granted = 0
        for instruction in self.message.instructions:
            program = self.keys[instruction.program_id_index]
            data = bytes(instruction.data)
            asked = len(data) >= 5 and data[0] == SET_COMPUTE_UNIT_LIMIT
            if program == COMPUTE_BUDGET_PROGRAM and asked:
                return min(COMPUTE_UNITS_MAX, int.from_bytes(data[1:5], "little"))
            granted += 3_000 if program in BUILTIN_PROGRAMS else 200_000
        return min(COMPUTE_UNITS_MAX, granted)

    @cached_property
    def fee(self) -> int:
        """Lamports this costs: 5,000 a signature and the price of all units asked for."""
        base = LAMPORTS_PER_SIGNATURE * self.message.header.num_required_signatures
        return base - (-self.unit_price * self.unit_limit // 1_000_000)

    def signatures_valid(self) -> bool:
        """Tell whether every required signature is there and true."""
        return all(self.transaction.verify_with_results())


@dataclass(slots=True)
class Outcome:
    """What running a transaction did: error in its JSON form, fee, logs, accounts before, after."""

    error: Json
    landed: bool
    fee: int = 0
    units: int = 0
    loaded_bytes: int = 0
    logs: list[str] = field(default_factory=list)
    inner: list[list[InnerInstruction]] = field(default_factory=list)
    returned: tuple[Pubkey, bytes] | None = None
    before: list[Account | None] = field(default_factory=list)
    after: list[Account | None] = field(default_factory=list)


class Machine:
    """Loads, simulates and executes over one account book."""

    def __init__(self, book: AccountBook) -> None:
        self.book = book
        self._code_bytes: dict[Pubkey, int] = {}

    def load(self, transaction: VersionedTransaction, raw: bytes) -> Loaded:
        """Return the transaction with the addresses of its lookup tables; unknown ones stay out."""
        message = transaction.message
        lookups = message.address_table_lookups if isinstance(message, MessageV0) else []
        writable: list[Pubkey] = []
        readonly: list[Pubkey] = []
        for lookup in lookups:
            addresses = self._table(lookup.account_key)
            for chosen, indexes in (
                (writable, lookup.writable_indexes),
                (readonly, lookup.readonly_indexes),
            ):
                chosen.extend(addresses[index] for index in indexes if index < len(addresses))
        return Loaded(transaction, raw, tuple(writable), tuple(readonly))

    def execute(self, loaded: Loaded, slot: int) -> Outcome:
        """Run a transaction in the block of `slot`; what it changed is noted in the book."""
        before = [self.book.newest(key) for key in loaded.keys]
        answer = self.book.vm.send_transaction(loaded.transaction)
        outcome = _outcome(answer, before)
        outcome.after = list(before)
        if not outcome.landed:
            return outcome
        outcome.loaded_bytes = self.loaded_bytes(before)
        for index, (key, changeable) in enumerate(zip(loaded.keys, loaded.writable, strict=True)):
            if not changeable:
                continue
            account = self.book.vm.get_account(key)
            outcome.after[index] = account
            if account != before[index]:
                self.book.note(slot, key, before[index], account)
        return outcome

    def simulate(self, loaded: Loaded, slot: int) -> Outcome:
        """Say what a transaction would do right after the block of `slot`; nothing changes."""
        with self.book.seen_from(slot, loaded.keys):
            before = [self.book.at(key, slot) for key in loaded.keys]
            answer = self.book.vm.simulate_transaction(loaded.transaction)
        outcome = _outcome(answer, before)
        outcome.after = _after(answer, outcome, loaded, before)
        if outcome.landed:
            outcome.loaded_bytes = self.loaded_bytes(before)
        return outcome

    def loaded_bytes(self, accounts: list[Account | None]) -> int:
        """Return the data that a transaction loads, as the validator counts it."""
        present = [account for account in accounts if account is not None]
        own = sum(len(account.data) + ACCOUNT_OVERHEAD_BYTES for account in present)
        code = sum(
            self._program_data_bytes(bytes(account.data))
            for account in present
            if account.executable and account.owner == UPGRADEABLE_LOADER
        )
        return own + code

    def _program_data_bytes(self, program: bytes) -> int:
        address = Pubkey(program[4:36])
        size = self._code_bytes.get(address)
        if size is None:
            account = self.book.vm.get_account(address)
            size = 0 if account is None else len(account.data) + ACCOUNT_OVERHEAD_BYTES
            self._code_bytes[address] = size
        return size

    def _table(self, key: Pubkey) -> list[Pubkey]:
        account = self.book.newest(key)
        data = b"" if account is None else bytes(account.data)[LOOKUP_TABLE_HEADER_BYTES:]
        return [Pubkey(data[start : start + 32]) for start in range(0, len(data) - 31, 32)]


def cost_units(loaded: Loaded, outcome: Outcome) -> int:
    """Return the block space that a transaction took, by agave's cost model."""
    data = sum(len(instruction.data) for instruction in loaded.message.instructions)
    pages = -(-outcome.loaded_bytes // LOADED_PAGE_BYTES)
    return (
        outcome.units
        + SIGNATURE_COST * loaded.message.header.num_required_signatures
        + WRITE_LOCK_COST * sum(loaded.writable)
        + data // INSTRUCTION_BYTES_PER_COST_UNIT
        + pages * LOADED_PAGE_COST
    )


def _outcome(
    answer: TransactionMetadata | SimulatedTransactionInfo | FailedTransactionMetadata,
    before: list[Account | None],
) -> Outcome:
    if isinstance(answer, FailedTransactionMetadata):
        error = json.loads(answer.to_json())["err"]
        meta = answer.meta()
        ran = isinstance(error, dict) and not CHARGED.isdisjoint(error)
        landed = ran and meta.fee() > 0
    else:
        error, landed = None, True
        meta = answer.meta() if isinstance(answer, SimulatedTransactionInfo) else answer
    returned = meta.return_data()
    data = bytes(returned.data)
    return Outcome(
        error=error,
        landed=landed,
        fee=meta.fee(),
        units=meta.compute_units_consumed(),
        logs=meta.logs(),
        inner=meta.inner_instructions(),
        returned=(returned.program_id, data) if data else None,
        before=before,
    )


def _after(
    answer: TransactionMetadata | SimulatedTransactionInfo | FailedTransactionMetadata,
    outcome: Outcome,
    loaded: Loaded,
    before: list[Account | None],
) -> list[Account | None]:
    """Return the accounts after a simulation; after a failure only the fee is gone."""
    after = list(before)
    if isinstance(answer, SimulatedTransactionInfo):
        changed = dict(answer.post_accounts())
        for index, key in enumerate(loaded.keys):
            if loaded.writable[index]:
                account = changed.get(key)
                after[index] = account if account is not None and account.lamports else None
    elif outcome.landed and (payer := before[0]) is not None:
        after[0] = Account(
            payer.lamports - outcome.fee, payer.data, payer.owner, executable=payer.executable
        )
    return after


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "(unparseable)"

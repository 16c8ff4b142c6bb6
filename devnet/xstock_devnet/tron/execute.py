"""Executing one transaction: bandwidth, memo fee, the contract itself, energy.

As java-tron does it: what a transaction may not even be included for is a `Refusal`; a contract
that fails is included and paid for. REVERT costs the energy that was used, every other failure the
whole limit, which is what fee limit and balance allow. Staked resources and an origin's share of
the energy are not modelled: the sender pays in TRX, after its free bandwidth.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from eth_utils.crypto import keccak

from xstock_devnet.tron import energy, model
from xstock_devnet.tron.address import from_evm, of_contract, to_base58
from xstock_devnet.tron.evm import Call, Evm, Execution
from xstock_devnet.tron.model import (
    Account,
    Contract,
    Executed,
    Ledger,
    Outcome,
    Transaction,
)
from xstock_devnet.tron.protobuf import Message

CODE_TEXTS = {
    "DUP_TRANSACTION_ERROR": "Dup transaction.",
    "TAPOS_ERROR": "Tapos check error.",
    "TRANSACTION_EXPIRATION_ERROR": "Transaction expired",
    "BANDWITH_ERROR": "Account resource insufficient error.",
    "TOO_BIG_TRANSACTION_ERROR": "Transaction size is too big.",
}
INTERNAL_NOTES = {"CREATE": "create", "CREATE2": "create", "SELFDESTRUCT": "suicide"}
PRECOMPILES_END = 0x20
OPCODES = {"INVALID": "fe", "PUSH0": "5f", "TLOAD": "5c", "TSTORE": "5d", "MCOPY": "5e"}


class Refusal(Exception):
    """A transaction that no block may have; `code` is java-tron's name for why."""

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.message = message or CODE_TEXTS[code]
        super().__init__(f"{code}: {self.message}")


def invalid(why: str) -> Refusal:
    """Return java-tron's refusal of a contract that does not validate."""
    return Refusal("CONTRACT_VALIDATE_ERROR", f"Contract validate error : {why}")


@dataclass(slots=True)
class _Bill:
    """What one sender pays while its transaction is executed."""

    account: Account
    balance: int
    net_usage: int = 0
    net_fee: int = 0
    other_fee: int = 0


class Executor:
    """Executes transactions one after another on an anvil."""

    def __init__(self, evm: Evm) -> None:
        self._evm = evm

    async def execute(
        self, transaction: Transaction, ledger: Ledger, time_ms: int
    ) -> tuple[Executed, Ledger]:
        """Return the outcome and the ledger after it; raises Refusal and then changes nothing."""
        value = transaction.value()
        owner: bytes = value.get("owner_address", b"")
        account = await self._account(ledger, owner)
        if account is None:
            raise invalid(f"account [{to_base58(owner)}] does not exist")
        account = replace(account, operation_time_ms=time_ms)
        bill = _Bill(account, await self._evm.balance(owner))
        creates = await self._creates_account(transaction, ledger, value)
        self._charge_bandwidth(bill, transaction, time_ms, creates=creates)
        accounts = dict(ledger.accounts)
        if transaction.contract_type == "TransferContract":
            outcome = await self._transfer(value, bill, time_ms)
            accounts.setdefault(value["to_address"], Account(time_ms))
            contracts = ledger.contracts
        else:
            outcome, contracts = await self._contract(transaction, ledger, value, bill, time_ms)
            bill.account = replace(bill.account, energy_time_ms=time_ms)
        fee = outcome.fee
        await self._evm.set_balance(owner, await self._evm.balance(owner) - fee)
        accounts[owner] = bill.account
        height = await self._evm.height()
        return Executed(transaction, outcome), Ledger(height, accounts, contracts)

    async def exists(self, ledger: Ledger, owner: bytes) -> bool:
        """Whether an account was ever activated."""
        return await self._account(ledger, owner) is not None

    async def _account(self, ledger: Ledger, owner: bytes) -> Account | None:
        known = ledger.accounts.get(owner)
        if known is None and await self._evm.balance(owner) > 0:
            return Account(0)
        return known

    async def _creates_account(
        self, transaction: Transaction, ledger: Ledger, value: Message
    ) -> bool:
        if transaction.contract_type != "TransferContract":
            return False
        return not await self.exists(ledger, value.get("to_address", b""))

    def _charge_bandwidth(
        self, bill: _Bill, transaction: Transaction, time_ms: int, *, creates: bool
    ) -> None:
        size = len(transaction.serialized) + model.RESULT_BYTES
        price = model.CREATE_ACCOUNT_FEE_SUN if creates else size * model.BANDWIDTH_PRICE_SUN
        if not creates and bill.account.free_net_at(time_ms) + size <= model.FREE_BANDWIDTH:
            bill.account = bill.account.with_bandwidth(size, time_ms)
            bill.net_usage = size
        elif bill.balance >= price:
            bill.net_fee = price
        else:
            raise Refusal("BANDWITH_ERROR")
        if transaction.raw.get("data"):
            bill.other_fee = model.MEMO_FEE_SUN
        if bill.balance < bill.net_fee + bill.other_fee:
            raise Refusal("BANDWITH_ERROR")
        bill.balance -= bill.net_fee + bill.other_fee

    async def _transfer(self, value: Message, bill: _Bill, time_ms: int) -> Outcome:
        owner, to, amount = (
            value["owner_address"],
            value.get("to_address", b""),
            value.get("amount", 0),
        )
        if amount <= 0:
            raise invalid("Amount must be greater than 0.")
        if owner == to:
            raise invalid("Cannot transfer TRX to yourself.")
        if await self._evm.code(to):
            raise invalid("Cannot transfer TRX to a smartContract.")
        if bill.balance < amount:
            raise invalid("Validate TransferContract error, balance is not sufficient.")
        sender_has, receiver_has = await self._evm.balance(owner), await self._evm.balance(to)
        await self._evm.mine(time_ms // 1000)
        await self._evm.set_balance(owner, sender_has - amount)
        await self._evm.set_balance(to, receiver_has + amount)
        return Outcome(
            "SUCCESS",
            is_vm=False,
            net_usage=bill.net_usage,
            net_fee=bill.net_fee,
            other_fee=bill.other_fee,
        )

    async def _contract(
        self,
        transaction: Transaction,
        ledger: Ledger,
        value: Message,
        bill: _Bill,
        time_ms: int,
    ) -> tuple[Outcome, Mapping[bytes, Contract]]:
        if not 0 <= transaction.fee_limit <= model.FEE_LIMIT_MAX_SUN:
            raise invalid(f"feeLimit must be >= 0 and <= {model.FEE_LIMIT_MAX_SUN}")
        creation = transaction.contract_type == "CreateSmartContract"
        if creation:
            call, address = _creation(transaction, value)
        else:
            call, address = await self._trigger(value)
        if call.value > bill.balance:
            raise invalid("Validate InternalTransfer error, balance is not sufficient.")
        limit = min(transaction.fee_limit, bill.balance - call.value) // model.ENERGY_PRICE_SUN
        seconds = time_ms // 1000
        if creation:
            execution = await self._evm.create(call, address, seconds, limit)
        else:
            execution = await self._evm.run(call, seconds, limit)
        outcome = Outcome(
            execution.status,
            execution.output,
            address,
            failure_text(execution, limit),
            execution.energy,
            execution.energy * model.ENERGY_PRICE_SUN,
            bill.net_usage,
            bill.net_fee,
            bill.other_fee,
            logs=tuple(logs_of(execution.frame)) if execution.succeeded else (),
            internal=tuple(internal_of(transaction, execution)),
        )
        contracts = ledger.contracts
        if creation and execution.succeeded:
            contracts = {**contracts, address: _created(value, address, execution.output)}
        return outcome, contracts

    async def _trigger(self, value: Message) -> tuple[Call, bytes]:
        address = value.get("contract_address", b"")
        if not address or not await self._evm.code(address):
            raise invalid("No contract or not a smart contract")
        data, sun = value.get("data", b""), value.get("call_value", 0)
        return Call(value["owner_address"], address, data, sun), address


def _creation(transaction: Transaction, value: Message) -> tuple[Call, bytes]:
    new, owner = value.get("new_contract", {}), value["owner_address"]
    if new.get("origin_address") != owner:
        raise invalid("OwnerAddress is not equals OriginAddress")
    if not 0 <= new.get("consume_user_resource_percent", 0) <= 100:
        raise invalid("percent must be >= 0 and <= 100")
    if not new.get("origin_energy_limit", 0) > 0:
        raise invalid("The originEnergyLimit must be > 0")
    call = Call(owner, b"", new.get("bytecode", b""), new.get("call_value", 0))
    return call, of_contract(transaction.id, owner)


def _created(value: Message, address: bytes, runtime: bytes) -> Contract:
    code_hash = keccak(runtime)
    message = {**value["new_contract"], "contract_address": address, "code_hash": code_hash}
    message.setdefault("abi", {})
    return Contract({**message, "version": 1}, code_hash, runtime)


def failure_text(execution: Execution, limit: int) -> str:
    """Return java-tron's words for why a call failed, empty if it did not."""
    if execution.succeeded:
        return ""
    if execution.status == "REVERT":
        return "REVERT opcode executed"
    if execution.status == "ILLEGAL_OPERATION":
        name = str(execution.steps[-1]["op"]) if execution.steps else "INVALID"
        return f"Invalid operation code: opCode[{OPCODES.get(name, 'fe')}];"
    if execution.status == "OUT_OF_ENERGY":
        if execution.steps:
            short = energy.shortage(execution.steps, limit)
        else:
            short = energy.Shortage("JUMP", energy.JUMP, limit)
        return (
            f"Not enough energy for '{short.operation}' operation executing: "
            f"curInvokeEnergyLimit[{limit}], curOpEnergy[{short.cost}], usedEnergy[{short.used}]"
        )
    return execution.status


def logs_of(frame: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the logs that a call left, in order, as java-tron shows them."""
    found = sorted(_frame_logs(frame), key=lambda log: int(str(log.get("index", "0x0")), 16))
    return [
        {
            "address": from_evm(log["address"])[1:],
            "topics": [topic[2:] for topic in log["topics"]],
            "data": log.get("data", "0x")[2:],
        }
        for log in found
    ]


def _frame_logs(frame: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "error" in frame:
        return
    yield from frame.get("logs", ())
    for inner in frame.get("calls", ()):
        yield from _frame_logs(inner)


def internal_of(transaction: Transaction, execution: Execution) -> Iterator[Mapping[str, Any]]:
    """Yield the calls and creations inside an execution, those without effect marked rejected."""
    frames = _inner(execution.frame, rejected=not execution.succeeded)
    for number, (frame, rejected) in enumerate(frames):
        seed = transaction.id + number.to_bytes(4, "big")
        yield {
            "hash": hashlib.sha256(seed).digest(),
            "caller_address": from_evm(frame["from"]),
            "transferTo_address": from_evm(frame["to"]) if frame.get("to") else b"",
            "value": int(frame.get("value", "0x0"), 16),
            "note": INTERNAL_NOTES.get(frame["type"], "call"),
            "rejected": rejected,
        }


def _inner(frame: Mapping[str, Any], *, rejected: bool) -> Iterator[tuple[Mapping[str, Any], bool]]:
    for each in frame.get("calls", ()):
        if each.get("to") and int(each["to"], 16) < PRECOMPILES_END:
            continue
        gone = rejected or "error" in each
        yield each, gone
        yield from _inner(each, rejected=gone)

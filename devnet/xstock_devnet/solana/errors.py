"""The errors a validator answers: JSON-RPC codes, their exact words, transaction errors in text.

Codes and messages are those of a recorded agave 4.2.2 validator; the words of transaction and
instruction errors are the ones its `Display` prints (crates solana-transaction-error and
solana-instruction-error). All of them travel with HTTP 200.
"""

from typing import Any

Json = Any
"""A value of JSON: what a request carries and an answer holds."""


class RpcFailure(Exception):
    """One JSON-RPC error answer: `code`, `message` and, where the validator sends some, `data`."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> dict[str, Json]:
        """Return the `error` member of an answer."""
        shown: dict[str, Json] = {"code": self.code, "message": self.message}
        return shown if self.data is None else {**shown, "data": self.data}


def parse_error() -> RpcFailure:
    """Return the answer to a body that is not JSON."""
    return RpcFailure(-32700, "Parse error")


def invalid_request() -> RpcFailure:
    """Return the answer to JSON that is no request."""
    return RpcFailure(-32600, "Invalid request")


def method_not_found() -> RpcFailure:
    """Return the answer to a method that the node has not."""
    return RpcFailure(-32601, "Method not found")


def invalid_params(message: str) -> RpcFailure:
    """Return the answer to arguments that cannot be used."""
    return RpcFailure(-32602, message)


def below_confirmed() -> RpcFailure:
    """Return the answer of methods that read history when asked with `processed`."""
    return invalid_params("Method does not support commitment below `confirmed`")


def block_cleaned_up(slot: int, first: int) -> RpcFailure:
    """Return the answer for a block older than the history that the node keeps."""
    message = f"Block {slot} cleaned up, does not exist on node. First available block: {first}"
    return RpcFailure(-32001, message)


def preflight_failed(error: Json, simulated: dict[str, Json]) -> RpcFailure:
    """Return the answer to a transaction that its preflight refuses."""
    return RpcFailure(-32002, f"Transaction simulation failed: {text_of(error)}", simulated)


def block_not_available(slot: int) -> RpcFailure:
    """Return the answer for a block that is not there yet at the commitment asked."""
    return RpcFailure(-32004, f"Block not available for slot {slot}")


def node_behind(slots: int) -> RpcFailure:
    """Return the answer of a node that knows it lags: to health, and to preflighted sends."""
    return RpcFailure(-32005, f"Node is behind by {slots} slots", {"numSlotsBehind": slots})


def slot_skipped(slot: int) -> RpcFailure:
    """Return the answer for a final slot that has no block."""
    message = f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot"
    return RpcFailure(-32007, message)


def version_unsupported(version: int) -> RpcFailure:
    """Return the answer to a reader that named no version, or too low a one."""
    message = (
        f"Transaction version ({version}) is not supported by the requesting client. Please try"
        " the request again with the following configuration parameter:"
        f' "maxSupportedTransactionVersion": {version}'
    )
    return RpcFailure(-32015, message)


def context_slot_not_reached(slot: int) -> RpcFailure:
    """Return the answer when the block asked at is older than `minContextSlot`."""
    return RpcFailure(-32016, "Minimum context slot has not been reached", {"contextSlot": slot})


def transaction_not_found(signature: str) -> RpcFailure:
    """Return the answer to a `before` or `until` that the node does not know."""
    return RpcFailure(-32020, f"Transaction {signature} not found")


TRANSACTION_ERRORS = {
    "AccountInUse": "Account in use",
    "AccountLoadedTwice": "Account loaded twice",
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "ProgramAccountNotFound": "Attempt to load a program that does not exist",
    "InsufficientFundsForFee": "Insufficient funds for fee",
    "InvalidAccountForFee": "This account may not be used to pay transaction fees",
    "AlreadyProcessed": "This transaction has already been processed",
    "BlockhashNotFound": "Blockhash not found",
    "SignatureFailure": "Transaction did not pass signature verification",
    "InvalidProgramForExecution": "This program may not be used for executing instructions",
    "SanitizeFailure": "Transaction failed to sanitize accounts offsets correctly",
    "TooManyAccountLocks": "Transaction locked too many accounts",
    "AddressLookupTableNotFound": "Transaction loads an address table account that doesn't exist",
    "InvalidAddressLookupTableOwner": (
        "Transaction loads an address table account with an invalid owner"
    ),
    "InvalidAddressLookupTableData": (
        "Transaction loads an address table account with invalid data"
    ),
    "InvalidAddressLookupTableIndex": "Transaction address table lookup uses an invalid index",
    "InvalidRentPayingAccount": (
        "Transaction leaves an account with a lower balance than rent-exempt minimum"
    ),
    "MaxLoadedAccountsDataSizeExceeded": "Transaction exceeded max loaded accounts data size cap",
    "InvalidLoadedAccountsDataSizeLimit": (
        "LoadedAccountsDataSizeLimit set for transaction must be greater than 0."
    ),
    "UnbalancedTransaction": "Sum of account balances before and after transaction do not match",
}

INSTRUCTION_ERRORS = {
    "GenericError": "generic instruction error",
    "InvalidArgument": "invalid program argument",
    "InvalidInstructionData": "invalid instruction data",
    "InvalidAccountData": "invalid account data for instruction",
    "AccountDataTooSmall": "account data too small for instruction",
    "InsufficientFunds": "insufficient funds for instruction",
    "IncorrectProgramId": "incorrect program id for instruction",
    "MissingRequiredSignature": "missing required signature for instruction",
    "AccountAlreadyInitialized": "instruction requires an uninitialized account",
    "UninitializedAccount": "instruction requires an initialized account",
    "UnbalancedInstruction": ("sum of account balances before and after instruction do not match"),
    "ModifiedProgramId": "instruction illegally modified the program id of an account",
    "ExternalAccountLamportSpend": (
        "instruction spent from the balance of an account it does not own"
    ),
    "ExternalAccountDataModified": "instruction modified data of an account it does not own",
    "ReadonlyLamportChange": "instruction changed the balance of a read-only account",
    "ReadonlyDataModified": "instruction modified data of a read-only account",
    "ExecutableModified": "instruction changed executable bit of an account",
    "NotEnoughAccountKeys": "insufficient account keys for instruction",
    "AccountDataSizeChanged": "program other than the account's owner changed the size of the"
    " account data",
    "AccountNotExecutable": "instruction expected an executable account",
    "AccountBorrowFailed": (
        "instruction tries to borrow reference for an account which is already borrowed"
    ),
    "UnsupportedProgramId": "Unsupported program id",
    "CallDepth": "Cross-program invocation call depth too deep",
    "MissingAccount": "An account required by the instruction is missing",
    "ReentrancyNotAllowed": "Cross-program invocation reentrancy not allowed for this instruction",
    "MaxSeedLengthExceeded": "Length of the seed is too long for address generation",
    "InvalidSeeds": "Provided seeds do not result in a valid address",
    "InvalidRealloc": "Failed to reallocate account data",
    "ComputationalBudgetExceeded": "Computational budget exceeded",
    "PrivilegeEscalation": "Cross-program invocation with unauthorized signer or writable account",
    "ProgramEnvironmentSetupFailure": "Failed to create program execution environment",
    "ProgramFailedToComplete": "Program failed to complete",
    "ProgramFailedToCompile": "Program failed to compile",
    "Immutable": "Account is immutable",
    "IncorrectAuthority": "Incorrect authority provided",
    "AccountNotRentExempt": ("An account does not have enough lamports to be rent-exempt"),
    "InvalidAccountOwner": "Invalid account owner",
    "ArithmeticOverflow": "Program arithmetic overflowed",
    "UnsupportedSysvar": "Unsupported sysvar",
    "IllegalOwner": "Provided owner is not allowed",
}


def text_of(error: Json) -> str:
    """Return a transaction error, in its JSON form, as the validator's log words it."""
    if isinstance(error, str):
        return TRANSACTION_ERRORS.get(error, error)
    (kind, detail), *_ = error.items()
    if kind == "InstructionError":
        index, cause = detail
        return f"Error processing Instruction {index}: {_instruction_text(cause)}"
    if kind == "InsufficientFundsForRent":
        index = detail["account_index"]
        return f"Transaction results in an account ({index}) with insufficient funds for rent"
    if kind == "DuplicateInstruction":
        return f"Transaction contains a duplicate instruction ({detail}) that is not allowed"
    return str(kind)


def _instruction_text(cause: Json) -> str:
    if isinstance(cause, str):
        return INSTRUCTION_ERRORS.get(cause, cause)
    (kind, detail), *_ = cause.items()
    if kind == "Custom":
        return f"custom program error: {detail:#x}"
    return f"{kind}: {detail}"

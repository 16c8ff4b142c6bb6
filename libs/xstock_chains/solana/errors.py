"""What a Solana node means when it refuses, in our error classes.

Matched by JSON-RPC code and by the structured `err` of a transaction, never by text. Codes:
agave's rpc-client-api `custom_error.rs`, each seen in a recorded answer or documented there.
Custom numbers are Token-2022's `TokenError` (67 is its pausable extension's MintPaused).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

BLOCK_CLEANED_UP: Final = -32001
PREFLIGHT_FAILURE: Final = -32002
SIGNATURE_FAILURE: Final = -32003
BLOCK_NOT_AVAILABLE: Final = -32004
NODE_UNHEALTHY: Final = -32005
PRECOMPILE_FAILURE: Final = -32006
SLOT_SKIPPED: Final = -32007
NO_SNAPSHOT: Final = -32008
LONG_TERM_SLOT_SKIPPED: Final = -32009
KEY_EXCLUDED: Final = -32010
HISTORY_NOT_AVAILABLE: Final = -32011
SCAN_ERROR: Final = -32012
SIGNATURE_LENGTH: Final = -32013
BLOCK_STATUS_NOT_YET: Final = -32014
VERSION_UNSUPPORTED: Final = -32015
MIN_CONTEXT_SLOT: Final = -32016
EPOCH_REWARDS: Final = -32017
SLOT_NOT_EPOCH_BOUNDARY: Final = -32018
LONG_TERM_UNREACHABLE: Final = -32019
FILTER_NOT_FOUND: Final = -32020
INVALID_PARAMS: Final = -32602
RATE_LIMITED: Final = 429

_INVALID: Final = frozenset(
    {SIGNATURE_FAILURE, PRECOMPILE_FAILURE, SIGNATURE_LENGTH, VERSION_UNSUPPORTED}
    | {KEY_EXCLUDED, SLOT_NOT_EPOCH_BOUNDARY, INVALID_PARAMS, -32600, -32601}
)
"""What would be refused again: our own bytes or a node without the service."""
_NAMES: Final[Mapping[int, str]] = {
    BLOCK_CLEANED_UP: "HISTORY_PRUNED",
    BLOCK_NOT_AVAILABLE: "NODE_BEHIND",
    NODE_UNHEALTHY: "NODE_BEHIND",
    SLOT_SKIPPED: "SLOT_SKIPPED",
    NO_SNAPSHOT: "NODE_BEHIND",
    LONG_TERM_SLOT_SKIPPED: "SLOT_SKIPPED",
    HISTORY_NOT_AVAILABLE: "HISTORY_PRUNED",
    BLOCK_STATUS_NOT_YET: "NODE_BEHIND",
    MIN_CONTEXT_SLOT: "NODE_BEHIND",
    LONG_TERM_UNREACHABLE: "HISTORY_PRUNED",
    FILTER_NOT_FOUND: "CURSOR_UNKNOWN",
    RATE_LIMITED: "RPC_RATE_LIMITED",
}

ACCOUNT_FROZEN: Final = 17
MINT_PAUSED: Final = 67
NON_TRANSFERABLE: Final = 37


@dataclass(frozen=True, slots=True)
class RpcFault:
    """A node's own refusal of one call, as it said it."""

    code: int
    message: str
    data: Any = None


def refused(host: str, method: str, fault: RpcFault) -> ServiceError:
    """The refusal of a reading call as an error; what is not known passes for Transient."""
    facts = {"host": host, "method": method, "rpc_code": fault.code}
    text = f"{host} refused {method}: {fault.message[:200]} ({fault.code})"
    if fault.code in _INVALID:
        return InvalidMessage("RPC_REFUSED", text, facts)
    return Transient(_NAMES.get(fault.code, "RPC_REFUSED"), text, facts)


def transaction_error(fault: RpcFault) -> Any:
    """The `err` of a failed preflight, None if the fault carries none."""
    return fault.data.get("err") if isinstance(fault.data, dict) else None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a transaction failed: the instruction's number and custom error, where it has them."""

    name: str
    instruction: int | None = None
    custom: int | None = None


def parse_failure(err: Any) -> Failure:
    """A transaction's `err`; raises InvalidMessage for a form that no node uses."""
    if isinstance(err, str):
        return Failure(err)
    if isinstance(err, dict) and len(err) == 1:
        ((name, inside),) = err.items()
        if name == "InstructionError" and isinstance(inside, list) and len(inside) == 2:
            number, what = inside
            if isinstance(what, str):
                return Failure(what, int(number))
            if isinstance(what, dict) and isinstance(what.get("Custom"), int):
                return Failure("Custom", int(number), what["Custom"])
            return Failure(next(iter(what), "unknown") if what else "unknown", int(number))
        return Failure(str(name))
    text = f"a transaction's error {str(err)[:120]!r} cannot be read; ask another node"
    raise InvalidMessage("RPC_MALFORMED", text, {"err": str(err)[:120]})


def broadcast_refused(host: str, fault: RpcFault) -> ServiceError | None:
    """What a refused broadcast means; None if the node has these very bytes already."""
    facts = {"host": host, "rpc_code": fault.code, "said": fault.message[:200]}
    if fault.code == RATE_LIMITED:
        return Transient("RPC_RATE_LIMITED", f"{host} asks to slow down", facts)
    if fault.code in (NODE_UNHEALTHY, MIN_CONTEXT_SLOT):
        return Transient("NODE_BEHIND", f"{host} is behind and sends nothing", facts)
    if fault.code in _INVALID:
        return InvalidMessage("TRANSACTION_REFUSED", f"{host} refused: {fault.message}", facts)
    err = transaction_error(fault)
    if fault.code != PREFLIGHT_FAILURE or err is None:
        return Ambiguous("BROADCAST_REFUSED", f"{host} refused: {fault.message[:200]}", facts)
    failure = parse_failure(err)
    if failure.name == "AlreadyProcessed":
        return None
    if failure.name in ("SignatureFailure", "SanitizeFailure"):
        return InvalidMessage("TRANSACTION_REFUSED", f"{host} refused: {failure.name}", facts)
    if failure.name == "BlockhashNotFound":
        text = f"{host} does not know the blockhash: too new for it, or expired; read the status"
        return Ambiguous("BLOCKHASH_UNKNOWN", text, facts)
    if failure.name in ("InsufficientFundsForFee", "AccountNotFound", "InsufficientFundsForRent"):
        return Transient("SENDER_UNFUNDED", f"{host}: the lane key cannot pay the fee", facts)
    text = f"{host} refused the transaction now: {failure}; read its status"
    return Ambiguous("BROADCAST_REFUSED", text, facts)

"""What Tron nodes and contracts say when they refuse, in our error classes.

Every refusal is HTTP 200. A constant call that reverts still says `result: true`; only
`transaction.ret[0].ret` tells. Broadcast codes are java-tron's `return.response_code`
(api/api.proto); all listed here were recorded from a real node except those marked `doc`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from xstock_chains.solidity.artifact import error_text
from xstock_chains.tron.rpc import hex_bytes, list_of, number_of, object_of
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

REVERT: Final = "REVERT"
NO_CONTRACT: Final = "Smart contract is not exist."
ENERGY_ESTIMATE_OFF: Final = "CONTRACT_VALIDATE_ERROR"

_ACCEPTED: Final = frozenset({"SUCCESS"})
_KNOWN: Final = "DUP_TRANSACTION_ERROR"
_NOT_TAKEN: Final = frozenset(
    {
        "SERVER_BUSY",  # doc: too many pending
        "NO_CONNECTION",
        "NOT_ENOUGH_EFFECTIVE_CONNECTION",  # doc
        "BLOCK_UNSOLIDIFIED",  # doc: finality lags too far
    }
)
"""The node says no before it looks at the transaction."""
_UNFUNDED: Final = "BANDWITH_ERROR"
"""java-tron's spelling."""
_TOO_LATE: Final = "TRANSACTION_EXPIRATION_ERROR"


@dataclass(frozen=True, slots=True)
class CallLog:
    """An event of a simulated call."""

    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """A constant call that went through."""

    data: bytes
    energy: int
    logs: tuple[CallLog, ...] = ()


@dataclass(frozen=True, slots=True)
class CallFault:
    """A constant call that did not; code REVERT means that the contract refused."""

    code: str
    message: str
    data: bytes = b""

    @property
    def reverted(self) -> bool:
        """True if the contract refused, false if the node did."""
        return self.code == REVERT

    @property
    def reason(self) -> str:
        """The contract's error, or the node's own words."""
        return error_text(self.data) or self.message or self.code


def parse_call(answer: Any) -> CallOutcome | CallFault:
    """The answer of triggerconstantcontract; raises InvalidMessage."""
    answer = object_of(answer, "triggerconstantcontract")
    result = object_of(answer.get("result"), "result")
    if result.get("result") is not True:
        return CallFault(str(result.get("code", "NO_RESULT")), _text(result.get("message")))
    found = [hex_bytes(one, "constant_result") for one in answer.get("constant_result") or ()]
    data = found[0] if found else b""
    transaction = object_of(answer.get("transaction"), "transaction")
    if any(one.get("ret") == "FAILED" for one in list_of(transaction.get("ret"), "ret")):
        return CallFault(REVERT, _text(result.get("message")), data)
    logs = tuple(_log(one) for one in list_of(answer.get("logs"), "logs"))
    return CallOutcome(data, number_of(answer.get("energy_used"), "energy_used"), logs)


def _log(raw: Any) -> CallLog:
    log = object_of(raw, "log")
    topics = tuple(hex_bytes(one, "topic", 32) for one in list_of(log.get("topics"), "topics"))
    return CallLog(topics, hex_bytes(log.get("data", ""), "log.data"))


def parse_estimate(answer: Any) -> int | CallFault:
    """The answer of estimateenergy; raises InvalidMessage."""
    answer = object_of(answer, "estimateenergy")
    result = object_of(answer.get("result"), "result")
    if result.get("result") is not True:
        return CallFault(str(result.get("code", "NO_RESULT")), _text(result.get("message")))
    return number_of(answer.get("energy_required"), "energy_required")


def reverted(what: str, fault: CallFault) -> InvalidMessage:
    """A call that the contract refuses now and would refuse again."""
    text = f"{what} is refused by the contract: {fault.reason}"
    return InvalidMessage("CALL_REVERTED", text, {"call": what, "reason": fault.reason})


def call_refused(what: str, fault: CallFault, host: str) -> ServiceError:
    """A constant call's fault as an error: the contract's refusal, or the node's."""
    if fault.reverted:
        return reverted(what, fault)
    text = f"{host} could not run {what}: {fault.message or fault.code} ({fault.code})"
    return Transient("RPC_REFUSED", text, {"host": host, "said": fault.message[:200]})


def broadcast_refused(answer: Mapping[str, Any], host: str) -> ServiceError | None:
    """What an answer of broadcasthex means; None if the node has these very bytes.

    DUP_TRANSACTION_ERROR says that the id is known, not that it was accepted: some nodes say it
    of an invalid one, too. So it ends the sending, and only `status` says what became of it.
    """
    code = str(answer.get("code", ""))
    said = _plain(answer.get("message"))
    if (answer.get("result") is True and code in _ACCEPTED) or code == _KNOWN:
        return None
    facts = {"host": host, "tron_code": code, "said": said}
    if code in _NOT_TAKEN:
        return Transient("RPC_REFUSED", f"{host} takes no transactions now: {said}", facts)
    if code == _UNFUNDED:
        text = f"{host}: the sender cannot pay for the bandwidth; send it TRX"
        return Transient("SENDER_UNFUNDED", text, facts)
    if code == _TOO_LATE:
        text = f"{host}: the transaction has expired; read its status, it may have landed before"
        return Ambiguous("SLOT_EXPIRED", text, facts)
    return Ambiguous("BROADCAST_REFUSED", f"{host} refused: {said or code}", facts)


def failure_reason(info: Mapping[str, Any]) -> str:
    """Why a transaction failed in its block: the contract's refusal, or the energy ran out."""
    receipt = object_of(info.get("receipt"), "receipt")
    result = str(receipt.get("result", "FAILED"))
    said = _text(info.get("resMessage"))
    if result == REVERT:
        results = [hex_bytes(one, "contractResult") for one in info.get("contractResult") or ()]
        reason = error_text(results[0]) if results else None
        return f"REVERT: {reason or said or 'without a reason'}"
    if result == "OUT_OF_ENERGY":
        return f"OUT_OF_ENERGY: the fee limit was used up whole; {said}"[:300]
    return f"{result}: {said}"[:300]


def _plain(message: Any) -> str:
    return str(message or "")[:200]


def _text(message: Any) -> str:
    """A message that is hexadecimal text on most paths and plain on some."""
    plain = str(message or "")
    try:
        return bytes.fromhex(plain).decode("utf-8", "replace")[:300]
    except ValueError:
        return plain[:300]

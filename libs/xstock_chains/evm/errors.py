"""What nodes and contracts say when they refuse, in our error classes.

Refusals of a contract are matched by the four bytes of its custom error, from the artifact.
Refusals of a transaction by a node have no code of their own (all are -32000), so the texts of
the clients in use are listed here, each with the client it was seen in.
"""

from typing import Final

from xstock_chains.evm.rpc import RpcFault
from xstock_chains.solidity.artifact import error_text
from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

_KNOWN: Final = (
    "already known",  # geth, erigon, op-geth, bsc
    "known transaction",  # besu, older geth
    "already imported",  # anvil, nethermind
    "alreadyknown",  # nethermind
)
_NONCE_USED: Final = ("nonce too low", "oldnonce")  # geth, bsc, anvil, besu; nethermind
_UNDERPRICED: Final = ("underpriced", "feetoolow")  # geth, anvil; nethermind
_UNFUNDED: Final = ("insufficient funds",)  # geth, bsc, anvil, op-geth


def revert_reason(fault: RpcFault) -> str:
    """The name of the contract's error with its raw arguments, or the node's own words."""
    try:
        raw = bytes.fromhex(fault.data.removeprefix("0x"))
    except ValueError:
        raw = b""
    return error_text(raw) or fault.message or f"error {fault.code}"


def is_revert(fault: RpcFault) -> bool:
    """True if a contract refused, false if the node did (code 3 is EIP-1474's for reverts)."""
    return fault.code == 3 or bool(fault.data) or "revert" in fault.message.lower()


def reverted(what: str, fault: RpcFault) -> InvalidMessage:
    """A call that the contract refuses now and would refuse again."""
    reason = revert_reason(fault)
    text = f"{what} is refused by the contract: {reason}"
    return InvalidMessage("CALL_REVERTED", text, {"call": what, "reason": reason})


def broadcast_refused(fault: RpcFault, host: str) -> ServiceError | None:
    """What a refused broadcast means; None if the node already has these very bytes."""
    text = fault.message.lower()
    facts = {"host": host, "rpc_code": fault.code, "said": fault.message[:200]}
    if any(words in text for words in _KNOWN):
        return None
    if any(words in text for words in _NONCE_USED):
        said = "the account's nonce is used already; read the status of every hash of this slot"
        return Ambiguous("NONCE_USED", f"{host}: {said}", facts)
    if any(words in text for words in _UNDERPRICED):
        said = "another transaction of this slot pays as much; read its status, then replace it"
        return Ambiguous("SLOT_CONTESTED", f"{host}: {said}", facts)
    if any(words in text for words in _UNFUNDED):
        return Transient("SENDER_UNFUNDED", f"{host}: the sender cannot pay the fee", facts)
    return Ambiguous("BROADCAST_REFUSED", f"{host} refused: {fault.message[:200]}", facts)

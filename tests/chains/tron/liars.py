"""Servers that lie, lag or forget: the real server's answers, changed on their way."""

from collections.abc import Callable, Mapping
from typing import Any

from xstock_chains.tron.rpc import SOLID, WALLET, TronRpc
from xstock_runtime.errors import Transient

Change = Callable[[str, str, Mapping[str, Any], Any], Any]
"""(interface, method, body, answer) -> the answer that is given."""


class LyingRpc(TronRpc):
    """One connection whose every answer goes through the changes."""

    def __init__(self, url: str, *changes: Change) -> None:
        super().__init__(url)
        self.changes = list(changes)

    async def ask(self, interface: str, method: str, body: Mapping[str, Any]) -> Any:
        answer = await super().ask(interface, method, body)
        for change in self.changes:
            answer = change(interface, method, body, answer)
        return answer


class HeadRpc(TronRpc):
    """Defence taken out: the full node's word stands for the solidity interface's."""

    async def ask(self, interface: str, method: str, body: Mapping[str, Any]) -> Any:
        return await super().ask(WALLET if interface == SOLID else interface, method, body)


class LostReplies(TronRpc):
    """The server takes every transaction, and its answer never arrives."""

    async def ask(self, interface: str, method: str, body: Mapping[str, Any]) -> Any:
        answer = await super().ask(interface, method, body)
        if method == "broadcasthex":
            raise Transient("RPC_TIMEOUT", "no answer in 10 s")
        return answer


def no_infos(interface: str, method: str, body: Mapping[str, Any], answer: Any) -> Any:
    """A server that answers [] for blocks whose executions it does not have."""
    return [] if method == "gettransactioninfobyblocknum" else answer


def no_late_blocks(interface: str, method: str, body: Mapping[str, Any], answer: Any) -> Any:
    """A server behind the one that told the head: it has only the first block of a range."""
    if method != "getblockbylimitnext":
        return answer
    return {"block": answer.get("block", [])[:1]}


def without(tx: bytes) -> Change:
    """A server that hides one transaction everywhere: in its block and among the executions."""

    def change(interface: str, method: str, body: Mapping[str, Any], answer: Any) -> Any:
        if method == "gettransactioninfobyblocknum":
            return [info for info in answer if info["id"] != tx.hex()]
        if method != "getblockbylimitnext":
            return answer
        blocks = [
            {**block, "transactions": [t for t in _transactions(block) if t["txID"] != tx.hex()]}
            for block in answer.get("block", [])
        ]
        return {"block": blocks}

    return change


def _transactions(block: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = block.get("transactions", [])
    return found


def failed(tx: bytes, result: str) -> Change:
    """A server that shows a transaction as failed, with the logs that it had."""

    def change(interface: str, method: str, body: Mapping[str, Any], answer: Any) -> Any:
        if method != "gettransactioninfobyblocknum":
            return answer
        for info in answer:
            if info["id"] == tx.hex():
                info["receipt"]["result"] = result
                info["result"] = "FAILED"
        return answer

    return change


def dup(interface: str, method: str, body: Mapping[str, Any], answer: Any) -> Any:
    """A server with a transaction cache: it has seen everything before."""
    if method != "broadcasthex":
        return answer
    said = {"result": False, "code": "DUP_TRANSACTION_ERROR", "message": "Dup transaction."}
    return {**said, "txid": answer["txid"]}

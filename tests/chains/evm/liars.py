"""Nodes that lie, lag or forget: the real node's answers, changed on their way.

A liar is an `Rpc` whose answers pass through functions of (method, params, answer). What it was
asked is kept, so that a test can also say what must not be asked.
"""

from collections.abc import Callable, Sequence
from typing import Any

from xstock_chains.evm.rpc import Call, Rpc, RpcFault

Change = Callable[[str, list[Any], Any], Any]


class LyingRpc(Rpc):
    """One connection whose every answer goes through the changes."""

    def __init__(self, url: str, *changes: Change) -> None:
        super().__init__(url)
        self.changes = list(changes)
        self.asked: list[Call] = []

    async def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        self.asked.extend(calls)
        answers = await super().batch_settled(calls)
        return [
            self._changed(method, params, answer)
            for (method, params), answer in zip(calls, answers, strict=True)
        ]

    def _changed(self, method: str, params: list[Any], answer: Any) -> Any:
        for change in self.changes:
            answer = change(method, params, answer)
        return answer


def no_logs_by_range(method: str, params: list[Any], answer: Any) -> Any:
    """A node that lacks blocks answers a range with an empty list."""
    return [] if method == "eth_getLogs" and "fromBlock" in params[0] else answer


def no_logs(method: str, params: list[Any], answer: Any) -> Any:
    """A node whose index has lost everything."""
    return [] if method == "eth_getLogs" else answer


def no_topic(topic: bytes) -> Change:
    """A node that hides every log with this first topic."""

    def change(method: str, params: list[Any], answer: Any) -> Any:
        if method != "eth_getLogs":
            return answer
        return [log for log in answer if log["topics"][0] != "0x" + topic.hex()]

    return change


def finalized_is(frozen: dict[str, Any]) -> Change:
    """A node whose finalized block is always this one."""

    def change(method: str, params: list[Any], answer: Any) -> Any:
        wanted = method == "eth_getBlockByNumber" and params[0] == "finalized"
        return frozen if wanted else answer

    return change


def no_old_state(keep: Callable[[str], bool]) -> Change:
    """A node that keeps the state of few blocks, chosen by their hash."""

    def change(method: str, params: list[Any], answer: Any) -> Any:
        by_hash = method == "eth_call" and isinstance(params[1], dict)
        if by_hash and not keep(params[1]["blockHash"]):
            return RpcFault(-32000, "missing trie node")
        return answer

    return change

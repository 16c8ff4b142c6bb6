"""A node that lies or fails, in one way a test chooses; everything else is the real local chain."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from xstock_chains.solana.rpc import Rpc

Twist = Callable[[str, list[Any], Any], Any]
"""(method, params, the true answer's object) -> the answer's object."""


class Lying(httpx.AsyncBaseTransport):
    """Passes every call on and twists the answers."""

    def __init__(self, twist: Twist) -> None:
        self.twist = twist
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One HTTP request, perhaps a batch."""
        asked = json.loads(request.content)
        response = await self._inner.handle_async_request(request)
        answers = json.loads(await response.aread())
        await response.aclose()
        calls = asked if isinstance(asked, list) else [asked]
        given = answers if isinstance(answers, list) else [answers]
        by_id = {one["id"]: one for one in given}
        told = [
            {"id": call["id"], "jsonrpc": "2.0"}
            | self.twist(call["method"], call.get("params", []), _bare(by_id[call["id"]]))
            for call in calls
        ]
        return httpx.Response(200, json=told if isinstance(asked, list) else told[0])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _bare(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key in ("result", "error")}


def lying(url: str, twist: Twist) -> Rpc:
    """A client of a node whose answers pass through `twist`."""
    return Rpc(url, transport=Lying(twist))


def skipped(slot: int) -> dict[str, Any]:
    """The answer for a slot that holds no block."""
    text = f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot"
    return {"error": {"code": -32007, "message": text}}

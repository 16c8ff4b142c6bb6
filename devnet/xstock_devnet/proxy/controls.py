"""Faults of a whole local chain, the same commands for every family.

Stopping freezes the chain's process (SIGSTOP), so it keeps its state and answers nothing. The
local Solana, Tron and TON have a control API for the rest (`POST /devnet/<command>`). anvil can
reorganise itself but not hold its finality, so an EVM chain's finality is frozen at the proxy, for
every reader of it; who goes past the proxy sees it move on.
"""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

import httpx
import psutil

from xstock_devnet.proxy.admin import ProxyAdmin
from xstock_devnet.proxy.families import USUAL
from xstock_devnet.proxy.faults import FaultKind

TIMEOUT_SECONDS: Final = 30.0


class ChainCommand(StrEnum):
    """What can be done to a whole chain."""

    STOP = "stop"
    RESUME = "resume"
    FREEZE_FINALITY = "freeze-finality"
    THAW_FINALITY = "thaw-finality"
    REORG = "reorg"


class ChainRefused(Exception):
    """The chain did not do as told; the text says why and what would help."""


@dataclass(frozen=True, slots=True)
class ChainControl:
    """One local chain as a world file describes it: its node or control address and its process."""

    name: str
    url: str
    family: str
    pid: int

    @classmethod
    def read(cls, name: str, entry: Mapping[str, Any]) -> Self:
        """Read one entry of a world's `controls`; raises ValueError naming what is missing."""
        try:
            return cls(name, str(entry["url"]), str(entry["family"]), int(entry["pid"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"controls.{name}: {entry!r} lacks a usable {error}") from None

    async def do(self, command: ChainCommand, proxy: ProxyAdmin, depth: int = 1) -> dict[str, Any]:
        """Do it and return what the chain says; raises ChainRefused, or httpx.HTTPError.

        `depth` is how many of the newest blocks a reorg drops; only blocks that are not final.
        """
        match command:
            case ChainCommand.STOP:
                return self._signal(signal.SIGSTOP)
            case ChainCommand.RESUME:
                return self._signal(signal.SIGCONT)
        if self.family != USUAL:
            name, body = {
                ChainCommand.FREEZE_FINALITY: ("freeze_finality", {"on": True}),
                ChainCommand.THAW_FINALITY: ("freeze_finality", {"on": False}),
                ChainCommand.REORG: ("reorg", {"depth": depth}),
            }[command]
            return await self._told(f"{self.url}/devnet/{name}", body, "ok")
        return await self._do_evm(command, proxy, depth)

    async def _do_evm(self, command: ChainCommand, proxy: ProxyAdmin, depth: int) -> dict[str, Any]:
        kind = FaultKind.FREEZE_FINALITY.value
        if command is ChainCommand.THAW_FINALITY:
            return {"lifted": await proxy.lift(fault=kind, chain=self.name)}
        final, head = [await self._height(tag) for tag in ("finalized", "latest")]
        if command is ChainCommand.FREEZE_FINALITY:
            return {"fault": await proxy.add(kind, chain=self.name, at=final), "at": final}
        if depth > head - final:
            text = f"depth: {depth}, but only {head - final} blocks are not final"
            raise ChainRefused(f"{self.name}: {text}")
        await self._asked("anvil_reorg", depth, [])
        return {"depth": depth}

    async def _height(self, tag: str) -> int:
        block = await self._asked("eth_getBlockByNumber", tag, *(False,))
        return int(block["number"], 16)

    async def _asked(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return (await self._told(self.url, body, "result"))["result"]

    async def _told(self, url: str, body: object, good: str) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            answer = await client.post(url, json=body)
        try:
            document = answer.json()
        except ValueError:
            document = {"error": answer.text}
        if answer.is_error or good not in document:
            error = document.get("error", document)
            text = error.get("message", error) if isinstance(error, dict) else error
            raise ChainRefused(f"{self.name}: {text}")
        return {name: value for name, value in document.items() if name != "ok"}

    def _signal(self, number: signal.Signals) -> dict[str, Any]:
        """Signal the chain's process group, once it is sure to be the chain's.

        A world file outlives its world, and its process numbers are then somebody else's.
        """
        port = str(httpx.URL(self.url).port)
        try:
            command = psutil.Process(self.pid).cmdline()
            if os.getpgid(self.pid) != self.pid or not any(port in word for word in command):
                raise ChainRefused(
                    f"{self.name}: process {self.pid} is not the chain on port {port}; the world"
                    " has ended, or was started anew: give its world.json"
                )
            os.killpg(self.pid, number)
        except (psutil.NoSuchProcess, ProcessLookupError):
            text = f"{self.name}: process {self.pid} has ended; start the world again"
            raise ChainRefused(text) from None
        except (psutil.AccessDenied, PermissionError):
            text = f"{self.name}: process {self.pid} is another user's; ask as that user"
            raise ChainRefused(text) from None
        return {"pid": self.pid, "signal": number.name}


def chain_controls(document: Mapping[str, Any]) -> dict[str, ChainControl]:
    """The local chains of a world file by name, those of others left out; raises ValueError."""
    entries = document.get("controls") or {}
    return {name: ChainControl.read(name, entry) for name, entry in entries.items()}

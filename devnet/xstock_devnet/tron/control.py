"""The control API under /devnet: what tests and the chaos driver do to a chain that no client can.

`POST /devnet/<command>` with a JSON body; {"ok": true, …} or HTTP 400 {"error": "field, value,
remedy"}. The commands are the same on every local chain.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from xstock_devnet.tron import protobuf, witness
from xstock_devnet.tron.address import SIZE, from_base58
from xstock_devnet.tron.chain import ChainError, TronChain
from xstock_devnet.tron.execute import Refusal
from xstock_devnet.tron.model import transaction_of
from xstock_runtime.clock import Clock

BLOCKS_MAX = 10_000
TXID_SIZE = 32
FUND_EXPIRES_MS = 3_600_000

Body = Mapping[str, Any]


class Control:
    """Obeys commands, and makes blocks in time while `automine` is on."""

    def __init__(self, chain: TronChain, clock: Clock, *, automine: bool) -> None:
        self._chain = chain
        self._clock = clock
        self._automine = automine
        self._ticks: asyncio.Task[None] | None = None
        self._funded = 0

    def start(self) -> None:
        """Begin making blocks."""
        self._ticks = asyncio.create_task(self._make_blocks())

    async def stop(self) -> None:
        """Stop making blocks."""
        if self._ticks is not None:
            self._ticks.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticks

    @property
    def failed(self) -> bool:
        """Whether making blocks ended by itself, which only a fault does."""
        return self._ticks is not None and self._ticks.done()

    async def _make_blocks(self) -> None:
        interval = self._chain.options.block_ms / 1000
        due = self._clock.monotonic() + interval
        while True:
            await self._clock.sleep(due - self._clock.monotonic())
            due = max(due, self._clock.monotonic() - interval) + interval
            if self._automine:
                await self._chain.make_block()

    def commands(self) -> dict[str, Callable[[Body], Awaitable[dict[str, Any]]]]:
        """Return every command by name."""
        return {
            "mine": self._mine,
            "automine": self._set_automine,
            "finalize": self._finalize,
            "freeze_finality": self._freeze_finality,
            "reorg": self._reorg,
            "drop_tx": self._drop,
            "break_finality": self._break_finality,
            "fund": self._fund,
            "warp": self._warp,
            "state": self._state,
        }

    async def _mine(self, body: Body) -> dict[str, Any]:
        count = integer(body, "blocks", default=1)
        if not 1 <= count <= BLOCKS_MAX:
            raise ChainError(f"blocks: {count} is not 1 to {BLOCKS_MAX}")
        for _ in range(count):
            await self._chain.make_block()
        return await self._state(body)

    async def _set_automine(self, body: Body) -> dict[str, Any]:
        self._automine = flag(body, "on")
        return {}

    async def _finalize(self, _: Body) -> dict[str, Any]:
        await self._chain.finalize()
        return {}

    async def _freeze_finality(self, body: Body) -> dict[str, Any]:
        self._chain.finality_frozen = flag(body, "on")
        return {}

    async def _reorg(self, body: Body) -> dict[str, Any]:
        await self._chain.reorg(integer(body, "depth"))
        return await self._state(body)

    async def _drop(self, body: Body) -> dict[str, Any]:
        text = str(body.get("tx", "")).removeprefix("0x")
        try:
            txid = bytes.fromhex(text)
        except ValueError:
            txid = b""
        if len(txid) != TXID_SIZE:
            raise ChainError(f"tx: {text!r} is not 64 hex digits; give the transaction's id")
        await self._chain.drop_transaction(txid)
        return await self._state(body)

    async def _break_finality(self, body: Body) -> dict[str, Any]:
        await self._chain.break_finality(integer(body, "depth"))
        return await self._state(body)

    async def _fund(self, body: Body) -> dict[str, Any]:
        """Send sun from the faucet by a real transfer, and put it into a block."""
        text, amount = str(body.get("address", "")), integer(body, "amount")
        try:
            to = bytes.fromhex(text) if len(text) == 2 * SIZE else from_base58(text)
        except ValueError:
            raise ChainError(f"address: {text!r} is no Tron address; give T… or 41…") from None
        value = {"owner_address": self._chain.faucet, "to_address": to, "amount": amount}
        parameter = {
            "type_url": protobuf.TYPE_URL + "TransferContract",
            "value": protobuf.encode("TransferContract", value),
        }
        head = self._chain.head
        self._funded += 1
        raw = {
            "ref_block_bytes": head.id[6:8],
            "ref_block_hash": head.id[8:16],
            "expiration": head.timestamp_ms + FUND_EXPIRES_MS,
            "contract": [{"type": 1, "parameter": parameter}],
            "timestamp": self._chain.now_ms() + self._funded,
        }
        unsigned = transaction_of({"raw_data": raw})
        signature = witness.sign(witness.faucet_key(), unsigned.id)
        try:
            await self._chain.broadcast(transaction_of({"raw_data": raw, "signature": [signature]}))
        except Refusal as refusal:
            raise ChainError(f"amount: {amount} to {text}: {refusal}") from refusal
        await self._chain.make_block()
        return {"tx": unsigned.id.hex()}

    async def _warp(self, body: Body) -> dict[str, Any]:
        self._chain.warp(integer(body, "seconds"))
        await self._chain.make_block()
        return await self._state(body)

    async def _state(self, _: Body) -> dict[str, Any]:
        chain = self._chain
        return {
            "head": chain.head.number,
            "final": chain.solid.number,
            "time_ms": chain.now_ms(),
            "head_time_ms": chain.head.timestamp_ms,
            "final_time_ms": chain.solid.timestamp_ms,
            "pending": len(chain.pending),
            "transactions": chain.included,
            "automine": self._automine,
            "finality_frozen": chain.finality_frozen,
        }


def integer(body: Body, name: str, *, default: int | None = None) -> int:
    """Return a whole number of the body; raises ChainError if it is missing or something else."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ChainError(f"{name}: {value!r} is not a whole number; give one in the JSON body")
    return value


def flag(body: Body, name: str) -> bool:
    """Return a truth value of the body; raises ChainError if it is missing or something else."""
    value = body.get(name)
    if not isinstance(value, bool):
        raise ChainError(f"{name}: {value!r} is neither true nor false; give one in the JSON body")
    return value

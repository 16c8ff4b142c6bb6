"""Pauses and guard rotation on a Tron network: one server, one local key, nothing else running."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from xstock_chains.office_rules import act_pending, act_refused
from xstock_chains.ports import PreparedTx, SendSlot
from xstock_chains.solidity.office import ContractOffice
from xstock_chains.tron.address import account_text
from xstock_chains.tron.blocks import landed
from xstock_chains.tron.calls import Read, call_body, read_all
from xstock_chains.tron.chain import TronChain
from xstock_chains.tron.errors import (
    CallFault,
    CallOutcome,
    broadcast_refused,
    call_refused,
    failure_reason,
    parse_call,
)
from xstock_chains.tron.fees import fee_limit, read_prices, with_margin
from xstock_chains.tron.frames import frame_after, frame_text, read_heads
from xstock_chains.tron.rpc import WALLET, TronRpc, object_of
from xstock_chains.tron.signer import TronSigner
from xstock_chains.tron.transaction import RawTransaction, Trigger, encode
from xstock_runtime.clock import Clock

_WAIT_SECONDS: Final = 0.2
_WAIT_SECONDS_MAX: Final = 120
"""The lifetime that `frame_after` gives: nothing lands later than that."""


class TronDesk:
    """`OfficeDesk` over one server."""

    def __init__(self, chain: TronChain, rpc: TronRpc, clock: Clock) -> None:
        self._chain = chain
        self._rpc = rpc
        self._clock = clock

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    def key(self, key_file: Path) -> TronSigner:
        """The key in a file; raises Fatal."""
        return TronSigner.from_file(key_file)

    def show(self, address: bytes) -> str:
        """The T… text."""
        return account_text(address)

    async def read(self, to: bytes, calls: Sequence[bytes]) -> list[bytes | None]:
        """Answers of the full node's pending state; raises Transient where the node refuses."""
        answers = await read_all(self._rpc, WALLET, [Read(to, data) for data in calls])
        return [self._answer(answer) for answer in answers]

    def _answer(self, answer: CallOutcome | CallFault) -> bytes | None:
        if isinstance(answer, CallOutcome):
            return answer.data
        if answer.reverted:
            return None
        raise call_refused("a read of the bridge", answer, self._rpc.host)

    async def now(self) -> int:
        """The newest block's time."""
        _, _, newest = await read_heads(self._rpc)
        return newest.time_ms // 1000

    async def send(self, act: str, key: TronSigner, to: bytes, data: bytes) -> str:
        """One transaction, awaited in a block."""
        body = call_body(to, data, key.identity)
        outcome = parse_call(await self._rpc.wallet("triggerconstantcontract", **body))
        if isinstance(outcome, CallFault):
            if outcome.reverted:
                raise act_refused(act, outcome.reason)
            raise call_refused(act, outcome, self._rpc.host)
        prices = await read_prices(self._rpc)
        most = fee_limit(act, with_margin(outcome.energy), prices, self._chain.facts)
        _, solid, newest = await read_heads(self._rpc)
        frame = frame_after(solid, newest, self._chain.facts)
        raw = encode(RawTransaction(frame, Trigger(key.identity, to, data), most))
        slot = SendSlot(self._chain.domain, key.wire, frame_text(frame))
        prepared = PreparedTx(self._chain.domain, slot, raw, "", simulated=True)
        signed = await key.sign_transaction(prepared)
        answer = await self._rpc.wallet("broadcasthex", transaction=signed.raw.hex())
        refusal = broadcast_refused(object_of(answer, "broadcasthex"), self._rpc.host)
        if refusal is not None:
            raise refusal
        return await self._landed(act, signed.ref.id.hex())

    async def _landed(self, act: str, tx: str) -> str:
        for _ in range(int(_WAIT_SECONDS_MAX / _WAIT_SECONDS)):
            info = object_of(await self._rpc.wallet("gettransactioninfobyid", value=tx), "info")
            if info:
                if landed(info):
                    return tx
                raise act_refused(act, f"transaction {tx} failed: {failure_reason(info)}")
            await self._clock.sleep(_WAIT_SECONDS)
        raise act_pending(act, tx)


class TronOffice(ContractOffice[TronSigner]):
    """`ChainOffice` of one Tron network."""

    def __init__(
        self, chain: TronChain, rpc: TronRpc, clock: Clock, key_file: Path | None = None
    ) -> None:
        desk = TronDesk(chain, rpc, clock)
        super().__init__(chain, desk, None if key_file is None else desk.key(key_file))

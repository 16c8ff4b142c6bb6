"""Releases per second through a chain family's production writer and codec, on its local chain.

Two guards sign for real, every transaction gets a slot, is prepared with its simulation and signed
by the relayer's key; then the same bytes are sent and put into a block. The baseline is that last
part alone, from the same run: what the local chain and its transport would allow a writer that
costs nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.bench.result import Result
from xstock_chains.ports import (
    ChainWriter,
    GuardSignature,
    ReleaseCodec,
    ReleaseOrder,
    SendSlot,
    SignedTx,
    Signer,
    TxState,
)
from xstock_core.ids import Address32
from xstock_core.release import ReleaseBatch, ReleaseItem
from xstock_runtime.clock import SystemClock

Items = Sequence[ReleaseItem]
PERMIT_SECONDS = 1800


async def signed_by_two(
    batch: ReleaseBatch, codec: ReleaseCodec, guards: Sequence[Signer]
) -> ReleaseOrder:
    """The batch with the signatures of the first two guards over what the codec says."""
    digest = codec.digest(batch)
    signatures = [
        GuardSignature(guard.identity, await guard.sign_digest(digest)) for guard in guards[:2]
    ]
    return ReleaseOrder(batch, tuple(signatures))


@dataclass(frozen=True, slots=True)
class Line:
    """A relayer on one chain: what signs, what sends, and how a block is made."""

    order: Callable[[Items], Awaitable[ReleaseOrder]]
    """The batch with the signatures of two guards."""
    writer: ChainWriter
    signer: Signer
    sender: Address32
    land: Callable[[], Awaitable[None]]
    """Puts everything that was sent into blocks, with all its effects."""
    transactions_a_block: int


async def releases_per_s(line: Line, batches: Sequence[Items], how: str) -> Result:
    """Releases per second over all batches; the first block's worth of them is warm-up."""
    step = line.transactions_a_block
    await _send(line, batches[:step])
    made = landed = 0.0
    for start in range(step, len(batches), step):
        spent = await _send(line, batches[start : start + step])
        made, landed = made + spent[0], landed + spent[1]
    count = sum(len(batch) for batch in batches[step:])
    rate, alone = count / (made + landed), count / landed
    how = (
        f"{count} releases, {how}; two guards sign, slot, simulation, signature, sent, in a block; "
        "baseline: the same bytes sent and put into blocks alone"
    )
    return Result(round(rate, 1), "1/s", round(alone, 1), round(rate / alone, 3), "", None, how)


async def _send(line: Line, batches: Sequence[Items]) -> tuple[float, float]:
    """Seconds to make these transactions, and seconds to send and land them."""
    clock = SystemClock()
    began = clock.monotonic()
    used: list[SendSlot] = []
    signed: list[SignedTx] = []
    for items in batches:
        order = await line.order(items)
        slot = await line.writer.next_slot(line.sender, used, order)
        used.append(slot)
        prepared = await line.writer.prepare(order, slot)
        if prepared.refused:
            raise RuntimeError(f"items would be skipped, fix the bench: {prepared.refused[0]}")
        signed.append(await line.signer.sign_transaction(prepared))
    made = clock.monotonic()
    for one in signed:
        await line.writer.broadcast(one)
    await line.land()
    landed = clock.monotonic()
    for one in signed:
        status = await line.writer.status(one.ref, one.prepared.slot)
        if status.state not in (TxState.INCLUDED, TxState.FINAL) or status.succeeded is False:
            raise RuntimeError(f"a release is not in a block, fix the bench: {status}")
    return made - began, landed - made

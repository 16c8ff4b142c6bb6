"""The way back as people ask for it: cancel a transfer, refund an orphan burn.

Nothing is judged here but form and phase: every guard looks at the authority itself. A holder's
paper counts while the guards hold or have parked the transfer; without one an operator asks, and
the guards want a CANCEL proposal that people executed. Asking again is harmless. What follows
(the cancellation, the REFUND and its release) runs by itself from the books.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from xstock_core.facts import CancelRequested, Fact, RefundDue
from xstock_core.ids import Address32, Nonce, TransferId
from xstock_core.message import Kind
from xstock_core.observation import OrphanBurn
from xstock_core.refund import refund_of_orphan
from xstock_core.transfer import Phase
from xstock_relayer.handlers.desk import Desk, News
from xstock_relayer.model import Alarm, Change, SignedOrder, Transfer
from xstock_relayer.ports import Books, Watcher
from xstock_runtime.clock import Clock
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

_UNDER_WAY: Final = frozenset({Phase.CANCELLED, Phase.REFUNDING, Phase.REFUNDED})
_PAGE: Final = 1_000
_HOLDERS: Final = frozenset({Phase.HELD, Phase.PARKED})


@dataclass(frozen=True, slots=True)
class CancelPaper:
    """A holder's request as handed in, and what it says."""

    transfer_id: TransferId
    expires: int
    """Unix seconds."""
    signed: SignedOrder


class Returner:
    """Starts what flows back."""

    def __init__(self, books: Books, desk: Desk, watchers: Sequence[Watcher], clock: Clock) -> None:
        self._books = books
        self._watchers = tuple(watchers)
        self._desk = desk
        self._clock = clock
        self.on_request: list[Callable[[TransferId], None]] = []

    async def cancel(
        self, transfer_id: TransferId, reason: str, by: str, paper: CancelPaper | None
    ) -> Transfer:
        """Ask for a cancellation and the refund that follows; the transfer as it stands then.

        Raises InvalidMessage TRANSFER_NOT_FOUND, NOT_CANCELLABLE, CANCEL_REQUEST_INVALID.
        """
        known = (await self._books.transfers([transfer_id])).get(transfer_id)
        if known is None:
            text = f"transfer {transfer_id.hex()} is not known here; its burn may not be final yet"
            raise InvalidMessage("TRANSFER_NOT_FOUND", text, {"transfer_id": transfer_id.hex()})
        if paper is not None:
            self._check_paper(paper, transfer_id)
        if known.view.phase in _UNDER_WAY:
            return known
        self._check_cancellable(known, paper)
        asked = known.view.phase is Phase.CANCELLING
        if asked and (paper is None or paper.signed == known.order):
            return known
        facts: list[tuple[TransferId, Fact]] = []
        if not asked:
            facts.append((transfer_id, CancelRequested(known.state.cancel_sequence + 1)))
        now = self._clock.unix_ms()
        alarm = Alarm("CANCEL_REQUESTED", transfer_id.hex(), f"by {by}: {reason}"[:500], now)
        news = News(facts=facts, change=Change(alarms=[alarm]))
        if not asked:
            # A release in flight stays watched; whichever lands first excludes the other.
            news.carried[transfer_id] = None
        if paper is not None:
            news.orders[transfer_id] = paper.signed
        for forget in self.on_request:
            forget(transfer_id)
        await self._desk.record(news)
        after = (await self._books.transfers([transfer_id]))[transfer_id]
        if after.batch is None and after.view.phase is Phase.CANCELLING:
            self._desk.requeue(after)
        return after

    async def refund_orphan(self, nonce: Nonce, reason: str, by: str) -> Transfer:
        """Open the REFUND of an orphan burn; the guards want two people's approval of it.

        Raises InvalidMessage ORPHAN_NOT_FOUND, Transient where the watcher is away.
        """
        orphan = await self._find_orphan(nonce)
        asset, chain = orphan.asset, orphan.place.block.chain
        bridge = self._desk.terms.bridges.get((chain, asset))
        if bridge is None:
            text = f"asset {asset.hex()} has no bridge on {chain.name}; check the registry"
            raise InvalidMessage("ROUTE_CLOSED", text, {"asset": asset.hex(), "chain": int(chain)})
        refund = refund_of_orphan(orphan, Address32(bridge), keccak256)
        refund_id = refund.transfer_id(keccak256)
        known = await self._books.transfers([refund_id])
        if refund_id not in known:
            now = self._clock.unix_ms()
            alarm = Alarm("ORPHAN_REFUND_OPENED", nonce.hex(), f"by {by}: {reason}"[:500], now)
            fact = RefundDue(refund, None, orphan.place.block.time)
            news = News(facts=[(refund_id, fact)], change=Change(alarms=[alarm]))
            await self._desk.record(news)
            known = await self._books.transfers([refund_id])
        return known[refund_id]

    async def _find_orphan(self, nonce: Nonce) -> OrphanBurn:
        """The orphan burn as its chain's watcher has it: all of its records are looked through."""
        for watcher in self._watchers:
            after = 0
            while page := await watcher.list_after(after, _PAGE):
                for numbered in page:
                    found = numbered.observation
                    if isinstance(found, OrphanBurn) and found.nonce == nonce:
                        return found
                after = page[-1].sequence
        text = f"nonce {nonce.hex()}: no watcher has recorded such an orphan burn"
        raise InvalidMessage("ORPHAN_NOT_FOUND", text, {"nonce": nonce.hex()})

    def _check_paper(self, paper: CancelPaper, transfer_id: TransferId) -> None:
        if paper.transfer_id != transfer_id:
            text = f"request.transfer_id: {paper.transfer_id.hex()} is not {transfer_id.hex()}"
            raise InvalidMessage("CANCEL_REQUEST_INVALID", text, {"field": "request.transfer_id"})
        if paper.expires <= self._clock.unix_ms() // 1000:
            text = f"request.expires: {paper.expires} has passed; sign a new request"
            raise InvalidMessage("CANCEL_REQUEST_INVALID", text, {"field": "request.expires"})

    def _check_cancellable(self, known: Transfer, paper: CancelPaper | None) -> None:
        phase, message = known.view.phase, known.state.message
        why = ""
        if message is None or message.kind is not Kind.TRANSFER:
            kind = message.kind.name if message is not None else "unknown"
            why = f"a {kind} is not cancelled: an order is voided by its issuer, a redemption is "
            why += "custody's to reject, and a refund always goes on"
        elif known.view.terminal:
            why = f"it is {phase.value}, for good"
        elif paper is not None and phase not in {*_HOLDERS, Phase.CANCELLING}:
            why = f"it is {phase.value} and goes on by itself; a holder may cancel what is held or "
            why += "parked"
        if why:
            text = f"transfer {known.id.hex()}: {why}"
            raise InvalidMessage("NOT_CANCELLABLE", text, {"phase": phase.value})

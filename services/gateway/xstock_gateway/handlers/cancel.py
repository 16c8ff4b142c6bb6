"""A holder's way back: the signed request is read for its form and passed on to the relayer.

Nothing is decided here. The relayer looks at the transfer's phase, every guard at the paper and
at its own books. What is refused here could only be refused there, later and for more money.
"""

from dataclasses import dataclass
from typing import Final

from xstock_core.ids import TransferId
from xstock_gateway.handlers.ask import AskHandler
from xstock_gateway.ports import HolderPaper, Returns
from xstock_gateway.refusals import field_refused
from xstock_gateway.view import TransferView
from xstock_runtime.clock import Clock

CANCEL_REQUEST: Final = "cancel-request"
REQUEST_SECONDS_MAX: Final = 7 * 86_400
_NEWS_SECONDS: Final = 2.0
"""How long the answer waits for the relayer's word to come round."""


@dataclass(frozen=True, slots=True)
class CancelWanted:
    """What the caller handed in, and what its paper says; `expires` in Unix seconds."""

    transfer_id: TransferId
    named: bytes
    expires: int
    reason: str
    paper: HolderPaper


@dataclass(slots=True)
class CancelHandler:
    """Passes requests on."""

    ask: AskHandler
    returns: Returns
    clock: Clock

    async def cancel(self, wanted: CancelWanted) -> TransferView:
        """The transfer after the request; raises ApiRefused, Transient."""
        self._check(wanted)
        before = await self.ask.transfer(wanted.transfer_id, 0, 0.0)
        reason = wanted.reason.strip()[:500] or "the holder asked"
        await self.returns.cancel(wanted.transfer_id, reason, wanted.paper)
        return await self.ask.transfer(wanted.transfer_id, before.revision, _NEWS_SECONDS)

    def _check(self, wanted: CancelWanted) -> None:
        if wanted.paper.kind != CANCEL_REQUEST:
            remedy = f"sign a {CANCEL_REQUEST!r}"
            raise field_refused("FIELD_INVALID", "request.kind", wanted.paper.kind[:40], remedy)
        if wanted.named != wanted.transfer_id:
            remedy = "the paper names another transfer"
            field = "request.transfer_id"
            raise field_refused("CANCEL_REQUEST_INVALID", field, wanted.named.hex()[:64], remedy)
        now = self.clock.unix_ms() // 1000
        if not now < wanted.expires <= now + REQUEST_SECONDS_MAX:
            remedy = f"sign one that expires within {REQUEST_SECONDS_MAX} seconds of now ({now})"
            raise field_refused("CANCEL_REQUEST_INVALID", "request.expires", wanted.expires, remedy)

"""A holder's way back: the signed request is checked and passed on to the relayer.

Nothing is decided here. The relayer looks at the transfer's phase, every guard at the paper and
at its own books. But a request stops new releases while the guards look at it, so a stranger's is
refused at this door: it must be signed by the key of the burn's sender or refund address.
"""

from dataclasses import dataclass
from typing import Final

from xstock_core.holder import address_of_key
from xstock_core.ids import TransferId
from xstock_gateway.handlers.ask import AskHandler
from xstock_gateway.ports import HolderPaper, Returns
from xstock_gateway.refusals import field_refused
from xstock_gateway.view import TransferView
from xstock_runtime.clock import Clock
from xstock_runtime.hashing import keccak256
from xstock_wire.codec import paper_digest
from xstock_wire.papers import CANCEL_REQUEST, plausibly_signed

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
    deployment_id: str

    async def cancel(self, wanted: CancelWanted) -> TransferView:
        """The transfer after the request; raises ApiRefused, Transient."""
        self._check(wanted)
        before = await self.ask.transfer(wanted.transfer_id, 0, 0.0)
        self._check_signer(wanted, before)
        reason = wanted.reason.strip()[:500] or "the holder asked"
        await self.returns.cancel(wanted.transfer_id, reason, wanted.paper)
        return await self.ask.transfer(wanted.transfer_id, before.revision, _NEWS_SECONDS)

    def _check_signer(self, wanted: CancelWanted, view: TransferView) -> None:
        """SECURITY: whoever could hand in any paper could keep everybody's transfer waiting."""
        paper, message = wanted.paper, view.message
        try:
            key = bytes.fromhex(paper.key_id)
        except ValueError:
            key = b""
        holders = {message.refund_address, *((view.final.sender,) if view.final else ())}
        digest = paper_digest(paper.kind, self.deployment_id, paper.paper)
        known = address_of_key(message.source, key, keccak256) in holders
        if not known or not plausibly_signed(key, digest, paper.signature):
            remedy = (
                "sign with the key of the burn's sender or refund address; on TON ask operators"
            )
            field = "request.key_id"
            raise field_refused("CANCEL_REQUEST_INVALID", field, paper.key_id[:66], remedy)

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

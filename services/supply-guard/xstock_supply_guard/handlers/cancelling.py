"""Who may have a transfer cancelled: its holder while it waits, or people who approved it here.

A CANCEL mints nothing, but it takes the release away for ever, so each guard wants to see who
asks. The holder's request names the transfer and an expiry and is signed by the key of the
burn's sender or refund address; it counts while this guard holds or has parked the transfer, or
has granted it and a whole permit's lifetime has passed without a release. Otherwise an operator
and an approver decide (an executed CANCEL proposal). The burn itself must be booked here.
"""

from collections.abc import Mapping
from dataclasses import replace

from xstock_core.holder import address_of_key
from xstock_core.ids import Domain, TransferId
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal
from xstock_core.refusal import Disposition, Reason, Refused, refuse
from xstock_core.release import Action
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.model import (
    CancelPaper,
    ClaimRecord,
    Outcome,
    ProposalKind,
    SignRequest,
)
from xstock_supply_guard.ports import GuardReads

REQUEST_SECONDS_MAX = 7 * 86_400
"""A holder's request may not be signed for longer: a forgotten paper must not cancel for ever."""

Standings = Mapping[TransferId, Refused | None]
"""Per transfer that is to be cancelled: None where this guard may sign, else why not."""


async def cancel_standings(
    desk: Desk,
    books: GuardReads,
    request: SignRequest,
    records: Mapping[TransferId, ClaimRecord],
) -> Standings:
    """Whether this guard may sign the cancellation of each transfer of the request."""
    wanted = {
        item.transfer_id: records[item.transfer_id]
        for item in request.items
        if item.action is Action.CANCEL
        and item.transfer_id in records
        and records[item.transfer_id].message.kind is Kind.TRANSFER
    }
    if not wanted:
        return {}
    burns = await books.burns(wanted.keys())
    approved = await books.approved(ProposalKind.CANCEL, {bytes(key) for key in wanted})
    papers = {paper.transfer_id: paper for paper in request.cancels}
    return {
        key: _standing(desk, record, burns.get(key), papers.get(key), by_people=key in approved)
        for key, record in wanted.items()
    }


def _standing(
    desk: Desk,
    record: ClaimRecord,
    burn: BurnFinal | None,
    paper: CancelPaper | None,
    *,
    by_people: bool,
) -> Refused | None:
    # SECURITY: what this guard has not seen burned must never lead to a refund (F05).
    if burn is None:
        return refuse(Reason.SOURCE_NOT_FINAL, chain=int(record.message.source))
    if by_people:
        return None
    if paper is None:
        return _refuse("hand in the holder's signed request, or have a CANCEL proposal approved")
    return _check_paper(desk, paper, burn) or _check_waits(desk, record)


def _check_paper(desk: Desk, paper: CancelPaper, burn: BurnFinal) -> Refused | None:
    if not desk.now < paper.expires <= desk.now + REQUEST_SECONDS_MAX:
        return _refuse(
            f"the request's expiry {paper.expires} must lie within {REQUEST_SECONDS_MAX} seconds "
            f"of now ({desk.now}); sign a new one"
        )
    if burn.message.source is Domain.TON:
        return _refuse("a TON wallet signs no papers: have a CANCEL proposal approved")
    key = _public_key(paper.statement.key_id)
    holder = address_of_key(burn.message.source, key, keccak256)
    # SECURITY: without this check anybody could take anybody's transfer back.
    if holder is None or holder not in (burn.sender, burn.message.refund_address):
        return _refuse("sign with the key of the burn's sender or refund address")
    if not desk.check_signature(key, paper.statement.digest, paper.statement.signature):
        return _refuse("the signature is not by the key that key_id names")
    return None


def _check_waits(desk: Desk, record: ClaimRecord) -> Refused | None:
    if record.ruling.outcome in (Outcome.HELD, Outcome.PARKED):
        return None
    free_at = record.at_ms // 1000 + desk.config.policy.permit_seconds
    if record.ruling.outcome is Outcome.GRANTED and desk.now >= free_at:
        return None
    standing = record.ruling.outcome.value
    refusal = _refuse(f"it is {standing} here and may still be released; wait, or have people ask")
    if record.ruling.outcome is Outcome.GRANTED:
        return replace(refusal, disposition=Disposition.HOLD, until=free_at)
    return refusal


def _refuse(remedy: str) -> Refused:
    return refuse(Reason.NOT_CANCELLABLE, remedy=remedy)


def _public_key(key_id: str) -> bytes:
    """The key in a request's key_id; empty where it is none."""
    try:
        return bytes.fromhex(key_id)
    except ValueError:
        return b""

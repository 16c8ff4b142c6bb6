"""What one transfer's news means for another: a cancelled transfer opens its REFUND, a REFUND
that is final closes the transfer it returned.

Pure. The desk commits both sides in one transaction, so that a crash leaves either none or both.
"""

from collections.abc import Mapping, Sequence

from xstock_core.facts import (
    BurnFinalized,
    Fact,
    OrderAccepted,
    RefundDue,
    RefundFinalized,
    RefundOpened,
)
from xstock_core.ids import Address32, Domain, TransferId
from xstock_core.message import Kind, TransferMessage
from xstock_core.refund import refund_of
from xstock_core.transfer import Effect, OpenRefund, SettleRefund, TransferState
from xstock_relayer.model import Terms
from xstock_runtime.hashing import keccak256

Told = tuple[TransferId, Fact]


def follow_ups(
    effects: Sequence[Effect], states: Mapping[TransferId, TransferState], terms: Terms
) -> list[Told]:
    """The facts that these effects are for other transfers, and for those that opened them."""
    told: list[Told] = []
    for effect in effects:
        match effect:
            case OpenRefund(transfer_id=transfer_id):
                told += _open(states[transfer_id], terms)
            case SettleRefund(original=original, refund=refund):
                told.append((original, RefundFinalized(refund)))
            case _:
                pass
    return told


def _open(state: TransferState, terms: Terms) -> list[Told]:
    refund = refund_message(state, terms)
    if refund is None:
        return []
    refund_id = refund.transfer_id(keccak256)
    since = min((cancel.place.block.time for cancel in state.cancels), default=0)
    return [
        (refund_id, RefundDue(refund, state.transfer_id, since)),
        (state.transfer_id, RefundOpened(refund_id)),
    ]


def refund_message(state: TransferState, terms: Terms) -> TransferMessage | None:
    """The REFUND of this transfer; None for what never flows back by itself."""
    burn = state.message
    if burn is None or burn.kind not in (Kind.TRANSFER, Kind.REDEEM):
        return None
    bridge = terms.bridges.get((burn.destination, burn.asset))
    if bridge is None and burn.kind is not Kind.REDEEM:
        return None
    return refund_of(burn, Address32(bridge or burn.source_bridge), keccak256)


def quorum_for(facts: Sequence[Fact], terms: Terms) -> int:
    """How many guards a transfer that these facts open needs: more where custody is the source
    and the deployment's M does not survive its bad guards."""
    for fact in facts:
        message = _message(fact)
        if message is not None and message.source is Domain.CUSTODY:
            return terms.custody_threshold or terms.threshold
    return terms.threshold


def _message(fact: Fact) -> TransferMessage | None:
    match fact:
        case OrderAccepted(message=message) | RefundDue(message=message):
            return message
        case BurnFinalized(burn=burn):
            return burn.message
        case _:
            return None

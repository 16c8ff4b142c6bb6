"""Reservations: what a GRANTED verdict promises, until it is posted or provably void.

A reservation is posted by the final release and voided only with a proof that the release
can no longer land (INV-07); the proof is an argument object, so that nobody can void without
having one. While it is open the transfer's shares stay where they are in the ledger.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from xstock_core.amount import Shares
from xstock_core.ids import AssetId, TransferId
from xstock_core.invariants import InvariantId, ensure
from xstock_core.ledger import CUSTODY, OPEN_ISSUANCE, Entry, EntryKind, make_entry, reference
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BlockRef, CancelFinal
from xstock_core.release import ExecutionKey, key_of


class ReservationState(StrEnum):
    """Where a reservation stands; the last two are for ever."""

    RESERVED = "RESERVED"
    POSTED = "POSTED"
    VOIDED = "VOIDED"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A granted claim; `not_after` is the expiry of an ISSUE order in Unix seconds, else None."""

    transfer_id: TransferId
    key: ExecutionKey
    asset: AssetId
    amount: Shares
    state: ReservationState = ReservationState.RESERVED
    not_after: int | None = None


@dataclass(frozen=True, slots=True)
class CancelProof:
    """The destination marked the nonce as cancelled, at a final block."""

    cancel: CancelFinal


@dataclass(frozen=True, slots=True)
class ExpiryProof:
    """The destination's final time passed every deadline, and then the nonce was unused.

    `latest_deadline` is the latest that any guard could have signed, in Unix seconds; `time_at`
    the final block whose time was read first; `unused_at` the final block at which the nonce
    was then found unused.
    """

    key: ExecutionKey
    latest_deadline: int
    time_at: BlockRef
    unused_at: BlockRef


VoidProof = CancelProof | ExpiryProof


def reserve(message: TransferMessage, transfer_id: TransferId, expiry: int | None) -> Reservation:
    """The reservation that a GRANTED verdict opens; an ISSUE names its order's expiry."""
    return Reservation(
        transfer_id, key_of(message), message.asset, message.amount, not_after=expiry
    )


def post(reservation: Reservation) -> Reservation:
    """The final release was seen; posting twice is the same. Raises if it was voided (INV-07)."""
    ensure(
        reservation.state is not ReservationState.VOIDED,
        InvariantId.RESERVATION_SAFETY,
        f"transfer {reservation.transfer_id.hex()} was released after its reservation was voided",
    )
    return replace(reservation, state=ReservationState.POSTED)


def void(reservation: Reservation, proof: VoidProof) -> Reservation:
    """Give the reservation up; raises InvariantViolation unless the proof holds (INV-07)."""
    ensure(
        reservation.state is not ReservationState.POSTED,
        InvariantId.AT_MOST_ONCE,
        f"transfer {reservation.transfer_id.hex()} was released; it cannot be voided",
    )
    ensure(
        proof_holds(reservation, proof),
        InvariantId.RESERVATION_SAFETY,
        f"transfer {reservation.transfer_id.hex()}: the release could still land",
    )
    return replace(reservation, state=ReservationState.VOIDED)


def proof_holds(reservation: Reservation, proof: VoidProof) -> bool:
    """Whether the proof shows that this very release can never land."""
    match proof:
        case CancelProof(cancel=cancel):
            return ExecutionKey(cancel.destination, cancel.source, cancel.nonce) == reservation.key
        case ExpiryProof():
            return proof.key == reservation.key and _expired(reservation, proof)


def _expired(reservation: Reservation, proof: ExpiryProof) -> bool:
    chains = {proof.time_at.chain, proof.unused_at.chain}
    bounded = reservation.not_after is None or proof.latest_deadline >= reservation.not_after
    return (
        chains == {reservation.key.destination}
        and bounded
        and proof.time_at.time > proof.latest_deadline
        and proof.unused_at.number >= proof.time_at.number
    )


def entry_of_issue_void(
    order: TransferMessage, reservation: Reservation, proof: VoidProof
) -> Entry:
    """Returns a voided ISSUE's shares to custody; raises InvariantViolation without proof."""
    ensure(
        order.kind is Kind.ISSUE and key_of(order) == reservation.key,
        InvariantId.CONSERVATION,
        "only the ISSUE that was reserved can be voided",
    )
    void(reservation, proof)
    ref = reference(reservation.key)
    kind = EntryKind.ISSUE_VOID
    return make_entry(kind, order.asset, OPEN_ISSUANCE, CUSTODY, order.amount, ref)

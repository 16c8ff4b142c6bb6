"""What can happen to one transfer, in the past tense: the input of the transfer machine.

A closed union. Facts come from chains (believed), from guards (their word) and from people;
the same fact may come many times, late, and in any order.
"""

from dataclasses import dataclass

from xstock_core.ids import GuardId, TransferId
from xstock_core.message import TransferMessage
from xstock_core.observation import BurnFinal, CancelFinal, OrphanBurn, ReleaseFinal, SkipReason
from xstock_core.refusal import Verdict
from xstock_core.release import Action


@dataclass(frozen=True, slots=True)
class BurnSeen:
    """A burn is in the block with this hash, which is not final: advisory, never money."""

    message: TransferMessage
    block: bytes


@dataclass(frozen=True, slots=True)
class BurnFinalized:
    """The burn is final on its chain."""

    burn: BurnFinal


@dataclass(frozen=True, slots=True)
class BurnVanished:
    """The block with this hash left the chain; `was_final` breaks finality (INV-10)."""

    block: bytes
    was_final: bool = False


@dataclass(frozen=True, slots=True)
class BurnRefuted:
    """A final, gap-free cursor passed the claimed place and there is no such burn."""


@dataclass(frozen=True, slots=True)
class OrderAccepted:
    """An issuer's signed order opens a transfer without a burn; `expiry` in Unix seconds."""

    message: TransferMessage
    expiry: int


@dataclass(frozen=True, slots=True)
class OrderVoided:
    """The order was closed without issuing, with the proof of INV-07."""


@dataclass(frozen=True, slots=True)
class OrphanFound:
    """Supply was burned in a way that names no valid transfer."""

    orphan: OrphanBurn


@dataclass(frozen=True, slots=True)
class VerdictGiven:
    """A guard's word; of several by one guard the highest `sequence` counts."""

    guard: GuardId
    verdict: Verdict
    sequence: int


@dataclass(frozen=True, slots=True)
class ReleaseAuthorized:
    """M guards signed a batch with this transfer; `batch` names it, `deadline` ends it."""

    batch: bytes
    deadline: int
    action: Action = Action.RELEASE


@dataclass(frozen=True, slots=True)
class ReleaseSubmitted:
    """A transaction carrying the batch was broadcast."""

    batch: bytes
    tx: bytes


@dataclass(frozen=True, slots=True)
class ReleaseIncluded:
    """A transaction carrying the batch is in a block that is not final."""

    batch: bytes
    tx: bytes


@dataclass(frozen=True, slots=True)
class ReleaseSkippedSeen:
    """The destination left the item of this batch open, and says why."""

    batch: bytes
    reason: SkipReason


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The destination's final time passed the batch's deadline with the nonce unused."""

    batch: bytes


@dataclass(frozen=True, slots=True)
class ReleaseFinalized:
    """The destination minted, finally."""

    release: ReleaseFinal


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The holder (or an operator with an approver) asked for the tokens back; of requests and
    withdrawals the highest `sequence` counts."""

    sequence: int = 1


@dataclass(frozen=True, slots=True)
class CancelWithdrawn:
    """The request of this `sequence` is over without a cancellation: the transfer goes on.

    Permits to cancel that were signed before may still land.
    """

    sequence: int


@dataclass(frozen=True, slots=True)
class CancelFinalized:
    """The destination marked the nonce without minting, finally."""

    cancel: CancelFinal


@dataclass(frozen=True, slots=True)
class RefundOpened:
    """The REFUND of this transfer is a transfer of its own, with this id."""

    refund_id: TransferId


@dataclass(frozen=True, slots=True)
class RefundDue:
    """What proves a REFUND: the burn of `original` is finally cancelled, its redemption is
    rejected for good, or an orphan burn's refund was approved (then `original` is None).

    `since` is the Unix time of the final block that says so, 0 where no chain does; `message` is
    the REFUND itself (`refund.refund_of`).
    """

    message: TransferMessage
    original: TransferId | None
    since: int


@dataclass(frozen=True, slots=True)
class RefundFinalized:
    """The source chain minted the refund, finally."""

    refund: ReleaseFinal


@dataclass(frozen=True, slots=True)
class OperatorParked:
    """A person set the transfer aside; of several the highest `sequence` counts."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class OperatorReleased:
    """A person let it go on; `excused` are the batches whose skip no longer parks it."""

    sequence: int
    excused: frozenset[bytes] = frozenset()


Fact = (
    BurnSeen
    | BurnFinalized
    | BurnVanished
    | BurnRefuted
    | OrderAccepted
    | OrderVoided
    | OrphanFound
    | VerdictGiven
    | ReleaseAuthorized
    | ReleaseSubmitted
    | ReleaseIncluded
    | ReleaseSkippedSeen
    | DeadlinePassed
    | ReleaseFinalized
    | CancelRequested
    | CancelWithdrawn
    | CancelFinalized
    | RefundOpened
    | RefundDue
    | RefundFinalized
    | OperatorParked
    | OperatorReleased
)

"""Refusals are values: saying no is the guard's normal work.

A verdict is either `Granted` or `Refused` with a reason code, a disposition and, where it
can be known, the second at which the wait ends. The codes are stable: they are metric labels,
API reasons and journal words, and `REASONS` says of each what becomes of the transfer, who
can move it and what to tell a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Disposition(StrEnum):
    """What a refusal does to the transfer."""

    HOLD = "HOLD"
    """Waits and resumes by itself."""
    PARK = "PARK"
    """Set aside for a person."""
    REJECT = "REJECT"
    """Never enters the ledger; counted and alarmed."""


class Who(StrEnum):
    """Who can end a wait."""

    NOBODY = "NOBODY"
    HOLDER = "HOLDER"
    ANYONE = "ANYONE"
    OPERATOR = "OPERATOR"
    CUSTODIAN = "CUSTODIAN"


class Reason(StrEnum):
    """Why a guard says no; the text of each is in `REASONS`."""

    PAUSED = "PAUSED"
    HALTED = "HALTED"
    SOURCE_NOT_FINAL = "SOURCE_NOT_FINAL"
    SOURCE_DISSENT = "SOURCE_DISSENT"
    BURN_UNKNOWN = "BURN_UNKNOWN"
    CONTENT_MISMATCH = "CONTENT_MISMATCH"
    ALREADY_EXECUTED = "ALREADY_EXECUTED"
    ROUTE_CLOSED = "ROUTE_CLOSED"
    AMOUNT_BELOW_MINIMUM = "AMOUNT_BELOW_MINIMUM"
    RECIPIENT_INVALID = "RECIPIENT_INVALID"
    CHAIN_BALANCE_NEGATIVE = "CHAIN_BALANCE_NEGATIVE"
    ASSET_NOT_OPEN = "ASSET_NOT_OPEN"
    COLLATERAL_UNKNOWN = "COLLATERAL_UNKNOWN"
    COLLATERAL_STALE = "COLLATERAL_STALE"
    CAP_EXCEEDED = "CAP_EXCEEDED"
    SUPPLY_DRIFT = "SUPPLY_DRIFT"
    SUPPLY_UNKNOWN = "SUPPLY_UNKNOWN"
    RATE_LIMITED = "RATE_LIMITED"
    LARGE_TRANSFER_DELAY = "LARGE_TRANSFER_DELAY"
    CORPORATE_ACTION_WINDOW = "CORPORATE_ACTION_WINDOW"
    SCREENED = "SCREENED"
    SCREENING_UNKNOWN = "SCREENING_UNKNOWN"
    MANUAL_REVIEW = "MANUAL_REVIEW"
    ISSUE_OUT_OF_ORDER = "ISSUE_OUT_OF_ORDER"
    ISSUE_EXPIRED = "ISSUE_EXPIRED"
    ISSUE_SIGNATURE_INVALID = "ISSUE_SIGNATURE_INVALID"
    CANCEL_NOT_FINAL = "CANCEL_NOT_FINAL"
    NOT_CANCELLABLE = "NOT_CANCELLABLE"
    SIGNING_DISABLED = "SIGNING_DISABLED"
    EPOCH_UNKNOWN = "EPOCH_UNKNOWN"
    DEADLINE_OUT_OF_RANGE = "DEADLINE_OUT_OF_RANGE"
    NOT_GRANTED = "NOT_GRANTED"
    REDEMPTION_UNPAID = "REDEMPTION_UNPAID"
    REDEMPTION_REJECTED = "REDEMPTION_REJECTED"


@dataclass(frozen=True, slots=True)
class ReasonFacts:
    """What a reason means: its usual disposition, who can end it, and words for a person."""

    disposition: Disposition
    who: Who
    text: str


def _hold(who: Who, text: str) -> ReasonFacts:
    return ReasonFacts(Disposition.HOLD, who, text)


def _park(who: Who, text: str) -> ReasonFacts:
    return ReasonFacts(Disposition.PARK, who, text)


def _reject(text: str) -> ReasonFacts:
    return ReasonFacts(Disposition.REJECT, Who.OPERATOR, text)


REASONS: Final[Mapping[Reason, ReasonFacts]] = MappingProxyType(
    {
        Reason.PAUSED: _hold(Who.OPERATOR, "The asset or chain is paused."),
        Reason.HALTED: _hold(Who.OPERATOR, "A halt is latched; two people clear it."),
        Reason.SOURCE_NOT_FINAL: _hold(Who.NOBODY, "The burn is not final here yet."),
        Reason.SOURCE_DISSENT: _hold(
            Who.OPERATOR, "Providers of this chain disagree about final data."
        ),
        Reason.BURN_UNKNOWN: _reject("No such burn exists at the claimed place."),
        Reason.CONTENT_MISMATCH: _reject("The claim differs from what the chain says."),
        Reason.ALREADY_EXECUTED: _reject("The destination has released or cancelled this already."),
        Reason.ROUTE_CLOSED: _park(
            Who.OPERATOR, "This asset has no open route between the chains."
        ),
        Reason.AMOUNT_BELOW_MINIMUM: _park(Who.HOLDER, "The amount is below the route's minimum."),
        Reason.RECIPIENT_INVALID: _park(Who.HOLDER, "This recipient can not receive the asset."),
        Reason.CHAIN_BALANCE_NEGATIVE: _reject("The chain burned more than was released to it."),
        Reason.ASSET_NOT_OPEN: _hold(
            Who.OPERATOR, "The asset's supply from before the bridge is not in the books yet."
        ),
        Reason.COLLATERAL_UNKNOWN: _hold(
            Who.CUSTODIAN, "No attestation of the collateral is known."
        ),
        Reason.COLLATERAL_STALE: _hold(Who.CUSTODIAN, "The latest attestation is too old."),
        Reason.CAP_EXCEEDED: _hold(Who.CUSTODIAN, "The supply would exceed what custody holds."),
        Reason.SUPPLY_DRIFT: _hold(Who.OPERATOR, "A chain's supply exceeds the ledger's."),
        Reason.SUPPLY_UNKNOWN: _hold(Who.NOBODY, "A chain's supply could not be read lately."),
        Reason.RATE_LIMITED: _hold(Who.NOBODY, "The rate bucket must refill first."),
        Reason.LARGE_TRANSFER_DELAY: _hold(Who.NOBODY, "Large transfers wait before release."),
        Reason.CORPORATE_ACTION_WINDOW: _hold(Who.NOBODY, "A corporate action is being applied."),
        Reason.SCREENED: _park(Who.OPERATOR, "Sender or recipient is on a screening list."),
        Reason.SCREENING_UNKNOWN: _hold(
            Who.OPERATOR, "The screening list cannot be read, has expired or is not signed."
        ),
        Reason.MANUAL_REVIEW: _park(Who.OPERATOR, "The amount needs a person's review."),
        Reason.ISSUE_OUT_OF_ORDER: _hold(Who.CUSTODIAN, "An earlier issuance order is still open."),
        Reason.ISSUE_EXPIRED: _reject("The issuance order has expired."),
        Reason.ISSUE_SIGNATURE_INVALID: _reject("The order is not signed by the asset's issuer."),
        Reason.CANCEL_NOT_FINAL: _hold(Who.NOBODY, "The cancellation is not final yet."),
        Reason.NOT_CANCELLABLE: _reject("A message of this kind can not be cancelled."),
        Reason.SIGNING_DISABLED: _hold(Who.OPERATOR, "This guard signs nothing at present."),
        Reason.EPOCH_UNKNOWN: _hold(Who.NOBODY, "The guard set's epoch is not the known one."),
        Reason.DEADLINE_OUT_OF_RANGE: _reject("The deadline is outside what may be signed."),
        Reason.NOT_GRANTED: _reject("This guard has not granted this item."),
        Reason.REDEMPTION_UNPAID: _hold(
            Who.CUSTODIAN, "Custody has not yet stated that it paid this redemption out."
        ),
        Reason.REDEMPTION_REJECTED: _park(
            Who.NOBODY, "Custody rejected the redemption; the shares flow back to the holder."
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Granted:
    """This guard will sign the release."""


@dataclass(frozen=True, slots=True)
class Refused:
    """This guard will not sign now. `until` in Unix seconds, None where nobody can know it.

    `detail` repeats every figure behind the decision as text, for people and the journal.
    """

    reason: Reason
    disposition: Disposition
    until: int | None = None
    detail: dict[str, str] = field(default_factory=dict, hash=False)


Verdict = Granted | Refused
GRANTED: Final = Granted()


def refuse(reason: Reason, *, until: int | None = None, **detail: object) -> Refused:
    """The refusal with its usual disposition from `REASONS`."""
    words = {name: str(value) for name, value in detail.items()}
    return Refused(reason, REASONS[reason].disposition, until, words)

"""The policies: each a pure check of one claim against the context, and the page's decision.

A release is granted only if every policy of `POLICIES` grants it; the first refusal is the
verdict. A page is decided first in, first out: what an earlier claim takes from a bucket or
from the cap is gone for the later ones, everything else does not depend on order. The same
claim again gets the same GRANTED, and takes nothing twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from xstock_core.bucket import Bucket, BucketKey
from xstock_core.cap import issuance_covered, release_covered
from xstock_core.ids import Address32, AssetId, Domain, TransferId
from xstock_core.ledger import (
    Entry,
    chain_supply,
    entry_of_issue,
    exposure,
    movements,
)
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal
from xstock_core.refusal import GRANTED, Disposition, Reason, Refused, Verdict, refuse
from xstock_core.release import Action, ExecutionKey, key_of
from xstock_core.reservation import Reservation, reserve
from xstock_core.review import (
    BurnAbsent,
    Cancelled,
    Claim,
    Context,
    Dissent,
    IssueOrder,
    IssueSequence,
    NotApproved,
    NotCancelled,
    NotReached,
    OrphanApproved,
    Recorded,
    Rejected,
    covering,
    covers,
)

Policy = Callable[[Context, Claim], Verdict]

CLOCK_SKEW_SECONDS_MAX: Final = 60
"""A statement dated further ahead of this guard's clock than this is not believed."""


def check_evidence(context: Context, claim: Claim) -> Verdict:
    """INV-01, INV-03: the burn is final in this guard's own eyes and says just what is claimed.

    Evidence already in the books counts only for what this guard has granted.
    """
    match claim.evidence:
        case NotReached() | Dissent() | BurnAbsent() | NotCancelled() | NotApproved() as missing:
            return _missing(missing)
        case BurnFinal(message=message, transfer_id=transfer_id):
            same = message == claim.message and transfer_id == claim.transfer_id
            return GRANTED if same else refuse(Reason.CONTENT_MISMATCH, seen=transfer_id.hex())
        case IssueOrder() as order:
            return _check_order(order, claim)
        case Cancelled() as cancelled:
            return _check_refund(cancelled, claim)
        case Rejected(refund=refund) | OrphanApproved(refund=refund):
            same = refund == claim.message
            return GRANTED if same else refuse(Reason.CONTENT_MISMATCH, nonce=refund.nonce.hex())
        case Recorded():
            granted = claim.transfer_id in context.granted
            return GRANTED if granted else refuse(Reason.NOT_GRANTED)


def _missing(evidence: NotReached | Dissent | BurnAbsent | NotCancelled | NotApproved) -> Refused:
    match evidence:
        case NotApproved(chain=chain):
            return refuse(Reason.MANUAL_REVIEW, chain=int(chain), needs="ORPHAN_REFUND approved")
        case NotCancelled(chain=chain):
            return refuse(Reason.CANCEL_NOT_FINAL, chain=int(chain))
        case NotReached(chain=chain, eta=eta):
            return refuse(Reason.SOURCE_NOT_FINAL, until=eta, chain=int(chain))
        case Dissent(chain=chain):
            return refuse(Reason.SOURCE_DISSENT, chain=int(chain))
        case BurnAbsent(chain=chain):
            return refuse(Reason.BURN_UNKNOWN, chain=int(chain))


def _check_order(order: IssueOrder, claim: Claim) -> Verdict:
    if order.message != claim.message or claim.message.kind is not Kind.ISSUE:
        return refuse(Reason.CONTENT_MISMATCH, order=order.order)
    if not order.signature_valid:
        return refuse(Reason.ISSUE_SIGNATURE_INVALID, order=order.order)
    return GRANTED


def _check_refund(cancelled: Cancelled, claim: Claim) -> Verdict:
    burn, cancel = cancelled.burn.message, cancelled.cancel
    if key_of(burn) != ExecutionKey(cancel.destination, cancel.source, cancel.nonce):
        return refuse(Reason.CANCEL_NOT_FINAL, nonce=burn.nonce.hex())
    if claim.message != cancelled.refund:
        return refuse(Reason.CONTENT_MISMATCH, nonce=burn.nonce.hex())
    return GRANTED


def check_executed(context: Context, claim: Claim) -> Verdict:
    """INV-02: what a destination has released or cancelled for good is never granted again."""
    if claim.transfer_id in context.executed:
        return refuse(Reason.ALREADY_EXECUTED)
    return GRANTED


def check_halt(context: Context, claim: Claim) -> Verdict:
    """INV-10: nothing passes a latched halt of its asset, its source or its destination."""
    scope = covers(context.halted, claim.message)
    return GRANTED if scope is None else refuse(Reason.HALTED, scope=scope)


def check_pause(context: Context, claim: Claim) -> Verdict:
    """A paused asset or chain releases nothing; it resumes when the last pause over it ends."""
    scopes = covering(context.paused, claim.message)
    if not scopes:
        return GRANTED
    ends = [context.paused_until.get(scope) for scope in scopes]
    known = [end for end in ends if end is not None]
    until = max(known) if len(known) == len(ends) else None
    return refuse(Reason.PAUSED, until=until, scope=scopes[0])


def check_route(context: Context, claim: Claim) -> Verdict:
    """The asset has this route, and the amount is at least its minimum.

    A REFUND needs none: what was burned may flow back though its lane was closed since.
    """
    message = claim.message
    if message.kind is Kind.REFUND and message.asset in context.assets:
        return GRANTED
    route = context.routes.get((message.asset, message.source, message.destination))
    if route is None or message.asset not in context.assets:
        return refuse(
            Reason.ROUTE_CLOSED, source=int(message.source), destination=int(message.destination)
        )
    if message.amount < route.minimum:
        return refuse(Reason.AMOUNT_BELOW_MINIMUM, amount=message.amount, minimum=route.minimum)
    return GRANTED


def check_recipient(context: Context, claim: Claim) -> Verdict:
    """The recipient is not the bridge or the token itself: shares sent there are lost."""
    message = claim.message
    forbidden = context.assets[message.asset].forbidden_recipients
    if (message.destination, message.recipient) in forbidden:
        return refuse(Reason.RECIPIENT_INVALID, recipient=message.recipient.hex())
    return GRANTED


def check_screening(context: Context, claim: Claim) -> Verdict:
    """The token does not screen mints, so the bridge does: recipient, refund address, sender.

    An address that the list was not asked about is unknown, and nothing is released on that. What
    people cleared, they cleared of the addresses that were listed then.
    """
    if context.screened_among is None and not context.screened:
        return GRANTED
    parties = _parties(claim)
    if context.screened_among is not None and not parties <= context.screened_among:
        return refuse(Reason.SCREENING_UNKNOWN)
    listed = sorted(parties & context.screened.keys())
    # SECURITY: who agreed to one party has not agreed to another that was listed since.
    cleared = context.cleared.get(claim.transfer_id, frozenset())
    first = next((one for one in listed if one not in cleared), None)
    if first is None:
        return GRANTED
    return refuse(
        Reason.SCREENED,
        address=first.hex(),
        listed=context.screened[first],
        parties=",".join(one.hex() for one in listed),
    )


def _parties(claim: Claim) -> set[Address32]:
    parties = {claim.message.recipient}
    if claim.message.kind is not Kind.REFUND:  # a refund is never refunded: nobody else receives it
        parties.add(claim.message.refund_address)
    match claim.evidence:
        case BurnFinal(sender=sender) | Recorded(sender=sender) if sender is not None:
            parties.add(sender)
    return parties


def check_open(context: Context, claim: Claim) -> Verdict:
    """INV-16: what a token had before the bridge must be in the books before any of it moves.

    A holder's burn would look like money from nowhere, and an issuance would bury the difference.
    """
    opened = context.assets[claim.message.asset].opened
    if opened is None:
        return refuse(Reason.SUPPLY_UNKNOWN)
    return GRANTED if opened else refuse(Reason.ASSET_NOT_OPEN)


def check_chain_balance(context: Context, claim: Claim) -> Verdict:
    """INV-05: no chain burns more of an asset than was issued and released to it.

    While that chain's cursor lags this is a wait: the release that funded it may be unread. A
    refund goes back to the chain that burned, so that is the one to look at.
    """
    message = claim.message
    if message.kind is Kind.ISSUE:
        return GRANTED
    burned_on = message.destination if message.kind is Kind.REFUND else message.source
    balance = chain_supply(context.balances, message.asset, burned_on)
    if balance >= 0:
        return GRANTED
    refusal = refuse(Reason.CHAIN_BALANCE_NEGATIVE, chain=int(burned_on), balance=balance)
    if burned_on in context.lagging:
        return replace(refusal, disposition=Disposition.HOLD)
    return refusal


def check_supply(context: Context, claim: Claim) -> Verdict:
    """INV-16: an asset whose supply somewhere exceeds the ledger's, or is unknown, waits."""
    drift = context.assets[claim.message.asset].drift
    if drift is None:
        return refuse(Reason.SUPPLY_UNKNOWN)
    return refuse(Reason.SUPPLY_DRIFT) if drift else GRANTED


def check_collateral(context: Context, claim: Claim) -> Verdict:
    """An attestation is known, not from the future, and not older than its limit."""
    view = context.assets[claim.message.asset]
    if view.attestation is None:
        return refuse(Reason.COLLATERAL_UNKNOWN)
    age = context.now - view.attestation.as_of
    if age < -CLOCK_SKEW_SECONDS_MAX:
        return refuse(Reason.COLLATERAL_UNKNOWN, age=age)
    if age > view.attestation_age_max:
        return refuse(Reason.COLLATERAL_STALE, age=age, age_max=view.attestation_age_max)
    return GRANTED


def check_cap(context: Context, claim: Claim) -> Verdict:
    """INV-04. SECURITY: the rule this bridge exists for; releases at exposure = cap still flow."""
    message = claim.message
    limit = context.assets[message.asset].limit
    if limit is None:
        return refuse(Reason.COLLATERAL_UNKNOWN)
    used = exposure(context.balances, message.asset)
    if message.kind is Kind.ISSUE:
        covered = issuance_covered(used, message.amount, limit)
    else:
        covered = release_covered(used, limit)
    if covered:
        return GRANTED
    return refuse(Reason.CAP_EXCEEDED, exposure=used, amount=message.amount, cap=limit)


def check_issuance(context: Context, claim: Claim) -> Verdict:
    """Orders are dense and expire: order n + 1 only after n is reserved or closed.

    Otherwise one bad guard of three gets two orders signed by two honest guards.
    """
    if not isinstance(claim.evidence, IssueOrder):
        return GRANTED
    order = claim.evidence
    issuance = context.assets[claim.message.asset].issuance
    if issuance is None or issuance.issuer != claim.message.refund_address:
        return refuse(Reason.ISSUE_SIGNATURE_INVALID, order=order.order)
    if context.now >= order.expiry:
        return refuse(Reason.ISSUE_EXPIRED, order=order.order, expiry=order.expiry)
    expected = issuance.reserved_through + 1
    if order.order > expected:
        return refuse(Reason.ISSUE_OUT_OF_ORDER, order=order.order, expected=expected)
    if order.order < expected:
        return refuse(Reason.ALREADY_EXECUTED, order=order.order, expected=expected)
    return GRANTED


def check_corporate_action(context: Context, claim: Claim) -> Verdict:
    """Around a multiplier's activation nothing of the asset moves, until all agree on it."""
    shut = [
        window
        for window in context.assets[claim.message.asset].windows
        if window.opens <= context.now and (context.now < window.closes or not window.settled)
    ]
    if not shut:
        return GRANTED
    last = max(shut, key=lambda window: window.closes)
    timed = all(context.now < window.closes for window in shut)
    until = last.closes if timed else None
    first = next((window for window in shut if window.why), last)
    return refuse(Reason.CORPORATE_ACTION_WINDOW, until=until, opened=first.opens, awaits=first.why)


def check_size(context: Context, claim: Claim) -> Verdict:
    """INV-11: more than a bucket holds needs a person; large amounts wait before release."""
    message = claim.message
    if claim.transfer_id not in context.approved:
        manual_from = context.assets[message.asset].manual_from
        if manual_from is not None and message.amount >= manual_from:
            return refuse(Reason.MANUAL_REVIEW, amount=message.amount, limit=manual_from)
        for key in bucket_keys(claim):
            bucket = context.buckets.get(key)
            if bucket is not None and message.amount > bucket.capacity:
                return refuse(Reason.MANUAL_REVIEW, amount=message.amount, capacity=bucket.capacity)
        first = context.refund_review_from
        if message.kind is Kind.REFUND and first is not None and message.amount >= first:
            return refuse(Reason.MANUAL_REVIEW, amount=message.amount, refunds_from=first)
    return _check_delay(context, claim)


def _check_delay(context: Context, claim: Claim) -> Verdict:
    """The longest delay that the amount reaches, from the burn's final block on."""
    message = claim.message
    if not isinstance(claim.evidence, BurnFinal):
        return GRANTED
    tiers = context.assets[message.asset].delays
    seconds = max((one.seconds for one in tiers if message.amount >= one.from_shares), default=0)
    route = context.routes[message.asset, message.source, message.destination]
    if route.delay_from is not None and message.amount >= route.delay_from:
        seconds = max(seconds, route.delay_seconds)
    until = claim.evidence.place.block.time + seconds
    if not seconds or context.now >= until:
        return GRANTED
    return refuse(Reason.LARGE_TRANSFER_DELAY, until=until, amount=message.amount, waits=seconds)


def check_rate(context: Context, claim: Claim) -> Verdict:
    """INV-11: every bucket of the claim holds its amount and nobody waits before it."""
    amount = claim.message.amount
    for key in bucket_keys(claim):
        bucket = context.buckets.get(key)
        if bucket is None:
            continue
        needed = min(amount, bucket.capacity)
        first = (*context.waiting.get(key, ()), claim.transfer_id)[0]
        if first != claim.transfer_id or bucket.take(needed, context.now) is None:
            until = bucket.ready_at(needed, context.now)
            return refuse(
                Reason.RATE_LIMITED,
                until=until if first == claim.transfer_id else None,
                amount=amount,
                level=bucket.level_at(context.now),
                first_waiting=first.hex(),
            )
    return GRANTED


def bucket_keys(claim: Claim) -> tuple[BucketKey, BucketKey]:
    """The buckets a release takes from: the asset's on its destination, and its lane's."""
    message = claim.message
    return _bucket_keys(message.asset, message.destination, message.source)


@lru_cache(maxsize=1024)
def _bucket_keys(
    asset: AssetId, destination: Domain, source: Domain
) -> tuple[BucketKey, BucketKey]:
    return BucketKey(asset, destination), BucketKey(asset, destination, source)


POLICIES: Final[tuple[Policy, ...]] = (
    check_evidence,
    check_executed,
    check_halt,
    check_pause,
    check_route,
    check_recipient,
    check_screening,
    check_open,
    check_chain_balance,
    check_supply,
    check_corporate_action,
    check_collateral,
    check_issuance,
    check_cap,
    check_size,
    check_rate,
)
"""In this order; `check_route` comes before every policy that needs the asset's view, and
`check_issuance` before `check_cap`: only the next order's number may be said to wait for room."""


def check_redemption(context: Context, claim: Claim) -> Verdict:
    """A redemption is GRANTED once custody lists it as paid; there is nothing to sign for it."""
    if claim.transfer_id in context.paid:
        return GRANTED
    if claim.transfer_id in context.rejected:
        return refuse(Reason.REDEMPTION_REJECTED)
    return refuse(Reason.REDEMPTION_UNPAID)


REDEEM_POLICIES: Final[tuple[Policy, ...]] = (check_evidence, check_redemption)
"""A REDEEM moves nothing on any chain: it only waits for custody's word."""

CANCEL_POLICIES: Final[tuple[Policy, ...]] = (check_evidence, check_executed, check_halt)
"""A CANCEL mints nothing, so it may be signed above the cap and through a pause."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A page's verdicts, in the order of its claims, and what the new grants take.

    Save all of it in one transaction: `reservations` and `entries` (ISSUE only) are of the
    claims granted for the first time, `buckets` and `sequences` are the changed ones.
    """

    verdicts: tuple[Verdict, ...]
    reservations: tuple[Reservation, ...]
    entries: tuple[Entry, ...]
    buckets: Mapping[BucketKey, Bucket]
    sequences: Mapping[AssetId, IssueSequence]
    waiting: Mapping[BucketKey, tuple[TransferId, ...]]


class _Page:
    """The working copy of one page: what earlier grants have taken is gone for later claims."""

    def __init__(self, context: Context) -> None:
        self._balances = dict(context.balances)
        self._assets = dict(context.assets)
        self._buckets = dict(context.buckets)
        self._waiting = dict(context.waiting)
        self._granted = set(context.granted)
        self.now = context.now
        self.context = replace(
            context,
            balances=self._balances,
            assets=self._assets,
            buckets=self._buckets,
            waiting=self._waiting,
        )
        self.reservations: list[Reservation] = []
        self.entries: list[Entry] = []
        self.buckets: dict[BucketKey, Bucket] = {}
        self.sequences: dict[AssetId, IssueSequence] = {}

    def decide(self, claim: Claim, policies: Sequence[Policy]) -> Verdict:
        if claim.action is Action.CANCEL:
            return _cancel_verdict(self.context, claim)
        if claim.message.kind is Kind.REDEEM:
            return first_refusal(self.context, claim, REDEEM_POLICIES)
        if claim.transfer_id in self._granted:
            return _repeated_verdict(self.context, claim)
        verdict = first_refusal(self.context, claim, policies)
        if isinstance(verdict, Refused):
            self._queue(claim, verdict)
        else:
            self._take(claim)
        return verdict

    def _queue(self, claim: Claim, refusal: Refused) -> None:
        if refusal.reason is Reason.RATE_LIMITED:
            for key in bucket_keys(claim):
                queue = self._waiting.get(key, ())
                if key in self._buckets and claim.transfer_id not in queue:
                    self._waiting[key] = (*queue, claim.transfer_id)

    def _take(self, claim: Claim) -> None:
        message = claim.message
        self._granted.add(claim.transfer_id)
        for key in bucket_keys(claim):
            self._drain(key, claim)
        expiry = None
        if isinstance(claim.evidence, IssueOrder):
            expiry = claim.evidence.expiry
            entry = entry_of_issue(message)
            self.entries.append(entry)
            for account, change in movements((entry,)).items():
                self._balances[account] = self._balances.get(account, 0) + change
            self._advance(message.asset, claim.evidence.order)
        self.reservations.append(reserve(message, claim.transfer_id, expiry))

    def _drain(self, key: BucketKey, claim: Claim) -> None:
        bucket = self._buckets.get(key)
        if bucket is None:
            return
        taken = bucket.take(min(claim.message.amount, bucket.level_at(self.now)), self.now)
        if taken is not None:
            self._buckets[key] = self.buckets[key] = taken
        queue = self._waiting.pop(key, ())
        if left := tuple(one for one in queue if one != claim.transfer_id):
            self._waiting[key] = left

    def _advance(self, asset: AssetId, order: int) -> None:
        view = self._assets[asset]
        if view.issuance is not None:
            sequence = replace(view.issuance, reserved_through=order)
            self._assets[asset] = replace(view, issuance=sequence)
            self.sequences[asset] = sequence

    def decision(self, verdicts: Sequence[Verdict]) -> Decision:
        return Decision(
            verdicts=tuple(verdicts),
            reservations=tuple(self.reservations),
            entries=tuple(self.entries),
            buckets=self.buckets,
            sequences=self.sequences,
            waiting=self._waiting,
        )


def decide(
    context: Context, claims: Sequence[Claim], policies: Sequence[Policy] = POLICIES
) -> Decision:
    """Decide a whole page, first in, first out; never changes its arguments."""
    page = _Page(context)
    return page.decision([page.decide(claim, policies) for claim in claims])


def first_refusal(context: Context, claim: Claim, policies: Sequence[Policy]) -> Verdict:
    """GRANTED if every policy grants, else the first refusal."""
    for policy in policies:
        verdict = policy(context, claim)
        if isinstance(verdict, Refused):
            return verdict
    return GRANTED


def _repeated_verdict(context: Context, claim: Claim) -> Verdict:
    return first_refusal(context, claim, (check_evidence, check_executed))


def _cancel_verdict(context: Context, claim: Claim) -> Verdict:
    if claim.message.kind not in (Kind.TRANSFER, Kind.ISSUE):
        return refuse(Reason.NOT_CANCELLABLE, kind=claim.message.kind.name)
    return first_refusal(context, claim, CANCEL_POLICIES)

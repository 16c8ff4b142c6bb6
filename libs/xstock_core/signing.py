"""What a guard checks at the moment it signs: the last gate before a permit exists.

Granting and signing are separate steps, and the world moves between them: a halt, fallen
collateral or a new guard epoch must stop a signature even for a granted item. All or
nothing: a batch is signed whole, or refused with the first reason and the item it is about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from xstock_core.cap import release_covered
from xstock_core.ids import Address32, AssetId, TransferId
from xstock_core.ledger import exposure
from xstock_core.message import TransferMessage
from xstock_core.policy import (
    Policy,
    check_collateral,
    check_corporate_action,
    check_executed,
    check_halt,
    check_pause,
    check_screening,
    check_supply,
    first_refusal,
)
from xstock_core.refusal import GRANTED, Disposition, Reason, Refused, Verdict, refuse
from xstock_core.release import Action, ReleaseBatch, ReleaseItem, item_of, sorted_items
from xstock_core.review import Claim, Context, Recorded

PERMIT_SECONDS_MAX: Final = 3_600
"""No deadline is later than the destination's final-block time plus this."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What this guard granted; `not_after` is an ISSUE order's expiry in Unix seconds."""

    transfer_id: TransferId
    message: TransferMessage
    not_after: int | None = None
    burned_at: int = 0
    """Unix seconds of the burn's final block; counts where the source's nonces are hashes."""
    sender: Address32 | None = None
    """Who burned, where there is a screening list to ask again."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The guard's own view of one destination at signing; None means that it is not known.

    `final_time` is the destination's final-block time in Unix seconds. `grants` are found by
    the very item that is asked for, so an item with any other content is not granted.
    """

    enabled: bool
    bridges: Mapping[AssetId, Address32]
    """The bridge in use of every asset there: a chain's only one, or one per asset."""
    epoch: int | None
    final_time: int | None
    grants: Mapping[ReleaseItem, Grant]


def grants_by_item(
    grants: Sequence[Grant], action: Action = Action.RELEASE
) -> dict[ReleaseItem, Grant]:
    """Index grants as `Desk` wants them."""
    return {item_of(grant.message, action, grant.burned_at): grant for grant in grants}


def check_covered(context: Context, claim: Claim) -> Verdict:
    """INV-04 at signing: a reserved ISSUE is already in exposure, so all need exposure <= limit."""
    limit = context.assets[claim.message.asset].limit
    if limit is None:
        return refuse(Reason.COLLATERAL_UNKNOWN)
    used = exposure(context.balances, claim.message.asset)
    if release_covered(used, limit):
        return GRANTED
    return refuse(Reason.CAP_EXCEEDED, exposure=used, cap=limit)


SIGNING_POLICIES: Final[tuple[Policy, ...]] = (
    check_executed,
    check_halt,
    check_pause,
    check_screening,
    check_supply,
    check_corporate_action,
    check_collateral,
    check_covered,
)
"""What may have changed since the grant."""

CANCEL_SIGNING_POLICIES: Final[tuple[Policy, ...]] = (check_executed, check_halt)
"""A CANCEL mints nothing: it may be signed above the cap and through a pause."""


def may_sign(
    context: Context,
    desk: Desk,
    batch: ReleaseBatch,
    policies: Sequence[Policy] = SIGNING_POLICIES,
) -> Verdict:
    """GRANTED if this guard signs exactly this batch, else the first refusal (INV-08)."""
    for verdict in (_check_desk(desk, batch), _check_form(batch), _check_deadline(desk, batch)):
        if isinstance(verdict, Refused):
            return verdict
    for item in batch.items:
        verdict = _check_item(context, desk, batch, item, policies)
        if isinstance(verdict, Refused):
            return replace(verdict, detail=verdict.detail | {"nonce": item.nonce.hex()})
    return GRANTED


def _check_desk(desk: Desk, batch: ReleaseBatch) -> Verdict:
    if not desk.enabled:
        return refuse(Reason.SIGNING_DISABLED)
    if desk.epoch is None or batch.epoch != desk.epoch:
        return refuse(Reason.EPOCH_UNKNOWN, asked=batch.epoch, known=desk.epoch)
    return GRANTED


def _check_form(batch: ReleaseBatch) -> Verdict:
    """One batch has one byte form: sorted, nothing twice, never empty."""
    keys = {(item.source, item.nonce) for item in batch.items}
    if not keys or len(keys) != len(batch.items) or batch.items != sorted_items(batch.items):
        return refuse(Reason.CONTENT_MISMATCH, items=len(batch.items), distinct=len(keys))
    return GRANTED


def _check_deadline(desk: Desk, batch: ReleaseBatch) -> Verdict:
    if desk.final_time is None:
        unknown = refuse(Reason.DEADLINE_OUT_OF_RANGE, deadline=batch.deadline, final_time=None)
        return replace(unknown, disposition=Disposition.HOLD)
    latest = desk.final_time + PERMIT_SECONDS_MAX
    if not desk.final_time < batch.deadline <= latest:
        return refuse(Reason.DEADLINE_OUT_OF_RANGE, deadline=batch.deadline, latest=latest)
    return GRANTED


def _check_item(
    context: Context,
    desk: Desk,
    batch: ReleaseBatch,
    item: ReleaseItem,
    policies: Sequence[Policy],
) -> Verdict:
    if desk.bridges.get(item.asset) != batch.bridge:
        return refuse(Reason.CONTENT_MISMATCH, bridge=batch.bridge.hex())
    grant = desk.grants.get(item)
    if grant is None or grant.message.destination is not batch.destination:
        return refuse(Reason.NOT_GRANTED)
    if grant.not_after is not None and batch.deadline > grant.not_after:
        return refuse(Reason.DEADLINE_OUT_OF_RANGE, deadline=batch.deadline, latest=grant.not_after)
    claim = Claim(
        grant.transfer_id, grant.message, Recorded(grant.not_after, grant.sender), item.action
    )
    if item.asset not in context.assets:
        return refuse(Reason.ROUTE_CLOSED, asset=item.asset.hex())
    cancels = item.action is Action.CANCEL
    return first_refusal(context, claim, CANCEL_SIGNING_POLICIES if cancels else policies)

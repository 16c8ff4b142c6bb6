"""The signing gate: a permit is bound to everything, and the world may have moved (INV-08)."""

from dataclasses import replace
from typing import Any

import pytest

from tests.builders import (
    NOW,
    NVDAX,
    SHARE,
    TSLAX,
    a_batch,
    a_bridge,
    a_burn,
    a_context,
    a_message,
    an_address,
    an_asset_view,
    an_attestation,
    an_issue,
    id_of,
)
from xstock_core import signing
from xstock_core.amount import Shares
from xstock_core.ids import Domain
from xstock_core.invariants import permit_bound
from xstock_core.ledger import entry_of_issue, post_all
from xstock_core.refusal import GRANTED, Disposition, Reason, Refused
from xstock_core.release import Action, ReleaseBatch, item_of, sorted_items
from xstock_core.review import EVERYTHING, Context, Scope, Window
from xstock_core.signing import SIGNING_POLICIES, Desk, Grant, grants_by_item, may_sign

MESSAGES = tuple(a_message(counter=n) for n in (1, 2, 3))
GRANTS = [Grant(id_of(m), m) for m in MESSAGES]
BATCH = a_batch(*MESSAGES)
CONTEXT = a_context(*map(a_burn, MESSAGES))
DESK = Desk(
    enabled=True,
    bridges=dict.fromkeys((TSLAX, NVDAX), a_bridge(Domain.BNB)),
    epoch=1,
    final_time=NOW,
    grants=grants_by_item(GRANTS),
)


def refusal(context: Context = CONTEXT, desk: Desk = DESK, batch: ReleaseBatch = BATCH) -> Refused:
    verdict = may_sign(context, desk, batch)
    assert isinstance(verdict, Refused)
    return verdict


def test_signing__what_was_granted__is_signed() -> None:
    assert may_sign(CONTEXT, DESK, BATCH) == GRANTED


@pytest.mark.parametrize(
    ("desk", "reason"),
    [
        ({"enabled": False}, Reason.SIGNING_DISABLED),
        ({"bridges": {TSLAX: an_address(9)}}, Reason.CONTENT_MISMATCH),
        ({"epoch": 2}, Reason.EPOCH_UNKNOWN),
        ({"epoch": None}, Reason.EPOCH_UNKNOWN),
        ({"final_time": None}, Reason.DEADLINE_OUT_OF_RANGE),
        ({"grants": {}}, Reason.NOT_GRANTED),
        ({"grants": grants_by_item(GRANTS[:2])}, Reason.NOT_GRANTED),
        ({"grants": grants_by_item(GRANTS, Action.CANCEL)}, Reason.NOT_GRANTED),
    ],
    ids=str,
)
def test_signing__the_guard_knows_otherwise__is_refused(
    desk: dict[str, Any], reason: Reason
) -> None:
    """INV-08."""
    assert refusal(desk=replace(DESK, **desk)).reason is reason


def test_signing__destination_time_unknown__waits() -> None:
    assert refusal(desk=replace(DESK, final_time=None)).disposition is Disposition.HOLD


@pytest.mark.parametrize("deadline", [0, NOW, NOW + 3_601, 2**63])
def test_signing__deadline_past_or_too_far__is_refused(deadline: int) -> None:
    assert refusal(batch=a_batch(*MESSAGES, deadline=deadline)).reason is (
        Reason.DEADLINE_OUT_OF_RANGE
    )
    here = (Domain.BNB, BATCH.bridge, 1)
    bound = {"final_time": NOW, "seconds_max": 3_600, "asked": here, "registered": here}
    assert not permit_bound(deadline=deadline, **bound)  # type: ignore[arg-type]
    assert permit_bound(deadline=NOW + 3_600, **bound)  # type: ignore[arg-type]


ITEM = item_of(MESSAGES[0])


@pytest.mark.parametrize(
    "item",
    [
        replace(ITEM, amount=Shares(SHARE + 1)),
        replace(ITEM, recipient=an_address(9)),
        replace(ITEM, asset=NVDAX),
        replace(ITEM, source=Domain.MANTLE),
        replace(ITEM, action=Action.CANCEL),
    ],
    ids=["amount", "recipient", "asset", "source", "action"],
)
def test_signing__item_with_any_other_content__is_not_granted(item: Any) -> None:
    """INV-03: a relayer that asks for another amount or recipient gets nothing."""
    batch = replace(BATCH, items=(item,))
    assert refusal(batch=batch).reason is Reason.NOT_GRANTED


def test_signing__grant_for_another_destination__is_not_used() -> None:
    elsewhere = a_message(destination=Domain.MANTLE)
    desk = replace(DESK, grants=grants_by_item([Grant(id_of(elsewhere), elsewhere)]))
    batch = replace(BATCH, items=(item_of(elsewhere),))
    assert refusal(desk=desk, batch=batch).reason is Reason.NOT_GRANTED


@pytest.mark.parametrize(
    "items",
    [(), BATCH.items[::-1], (BATCH.items[0], BATCH.items[0])],
    ids=["none", "unsorted", "twice"],
)
def test_signing__batch_without_its_one_byte_form__is_refused(items: Any) -> None:
    assert refusal(batch=replace(BATCH, items=items)).reason is Reason.CONTENT_MISMATCH


MOVED: dict[str, tuple[Context, Reason]] = {
    "check_executed": (replace(CONTEXT, executed=frozenset({id_of(MESSAGES[2])})),
                       Reason.ALREADY_EXECUTED),
    "check_halt": (replace(CONTEXT, halted=frozenset({EVERYTHING})), Reason.HALTED),
    "check_pause": (replace(CONTEXT, paused=frozenset({Scope(asset=TSLAX)})), Reason.PAUSED),
    "check_supply": (replace(CONTEXT, assets={TSLAX: an_asset_view(drift=True)}),
                     Reason.SUPPLY_DRIFT),
    "check_collateral": (replace(CONTEXT, assets={TSLAX: an_asset_view(
        attestation=an_attestation(as_of=NOW - 9_999))}), Reason.COLLATERAL_STALE),
    "check_covered": (replace(CONTEXT, assets={TSLAX: an_asset_view(
        attestation=an_attestation(held_units=299))}), Reason.CAP_EXCEEDED),
    "check_corporate_action": (replace(CONTEXT, assets={TSLAX: an_asset_view(
        windows=(Window(NOW, NOW + 9),))}), Reason.CORPORATE_ACTION_WINDOW),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_signing__the_world_moved_since_the_grant__is_refused(name: str) -> None:
    """F54, INV-04, INV-10: a grant is no permit yet."""
    context, reason = MOVED[name]
    assert refusal(context).reason is reason


@pytest.mark.parametrize("name", MOVED)
def test_signing__that_policy_taken_out__signs(name: str) -> None:
    """Defence removed."""
    kept = [p for p in SIGNING_POLICIES if p is not getattr(signing, name)]
    assert len(kept) == len(SIGNING_POLICIES) - 1
    assert may_sign(MOVED[name][0], DESK, BATCH, kept) == GRANTED


def test_signing__refusal__names_the_item() -> None:
    context, _ = MOVED["check_executed"]
    assert refusal(context).detail["nonce"] == MESSAGES[2].nonce.hex()


def test_signing__asset_no_longer_registered__is_refused() -> None:
    assert refusal(replace(CONTEXT, assets={})).reason is Reason.ROUTE_CLOSED


def test_signing__an_order_at_the_cap__needs_no_second_room_and_ends_with_its_expiry() -> None:
    """INV-04: the reservation is already in exposure."""
    order = an_issue()
    balances, _ = post_all(CONTEXT.balances, frozenset(), [entry_of_issue(order)])
    view = an_asset_view(attestation=an_attestation(held_units=301))
    context = replace(CONTEXT, balances=balances, assets={TSLAX: view})
    batch = a_batch(order)
    grant = Grant(id_of(order), order, not_after=batch.deadline)
    desk = replace(DESK, bridges={TSLAX: batch.bridge}, grants=grants_by_item([grant]))
    assert may_sign(context, desk, batch) == GRANTED
    late = replace(batch, deadline=batch.deadline + 1)
    assert refusal(context, desk, late).reason is Reason.DEADLINE_OUT_OF_RANGE


def test_signing__cancel_above_the_cap_and_paused__is_signed_unless_halted_or_done() -> None:
    grants = grants_by_item(GRANTS[:1], Action.CANCEL)
    desk = replace(DESK, grants=grants)
    batch = replace(BATCH, items=sorted_items(list(grants)))
    poor = replace(MOVED["check_covered"][0], paused=frozenset({EVERYTHING}))
    assert may_sign(poor, desk, batch) == GRANTED
    for moved in (
        {"halted": frozenset({EVERYTHING})},
        {"executed": frozenset({id_of(MESSAGES[0])})},
    ):
        assert isinstance(may_sign(replace(poor, **moved), desk, batch), Refused)

"""Which items go together, how long work waits, and what is stored comes back the same."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NVDAX, TSLAX, a_burn, a_cancel, a_message, a_release, id_of
from tests.services.relayer.world import GUARD_KEYS
from xstock_core.facts import (
    BurnFinalized,
    CancelFinalized,
    Fact,
    OperatorReleased,
    ReleaseAuthorized,
    ReleaseFinalized,
    ReleaseSkippedSeen,
    ReleaseSubmitted,
    VerdictGiven,
)
from xstock_core.ids import AssetId, Domain, GuardId, TransferId
from xstock_core.observation import SkipReason
from xstock_core.refusal import GRANTED, Reason, refuse
from xstock_core.transfer import open_transfer, step
from xstock_relayer.adapters.stored import state_from_text, state_to_text
from xstock_relayer.handlers.forming import choose, form, granted_by
from xstock_relayer.handlers.queues import BACKOFF_MAX_MS, DueQueue, backoff_ms
from xstock_relayer.model import Transfer

NAMES = tuple(GUARD_KEYS)
BRIDGE = b"\0" * 12 + b"\x11" * 20
BRIDGES = {(chain, asset): BRIDGE for chain in Domain for asset in (TSLAX, NVDAX)}


def a_transfer(counter: int, granted: frozenset[str], asset: AssetId = TSLAX) -> Transfer:
    """A final burn that these guards granted."""
    message = a_message(counter=counter, asset=asset)
    state = open_transfer(id_of(message), needed=2, guards=3)
    facts: list[Fact] = [BurnFinalized(a_burn(message))]
    facts += [VerdictGiven(GuardId(name), GRANTED, 1) for name in sorted(granted)]
    for fact in facts:
        state = step(state, fact).state
    return Transfer(state, 0)


@given(
    st.lists(st.frozensets(st.sampled_from(NAMES)), max_size=30),
    st.frozensets(st.sampled_from(NAMES)),
)
def test_choose__any_grants__the_same_m_guards_granted_every_item(
    grants: list[frozenset[str]], shunned: frozenset[str]
) -> None:
    waiting = [a_transfer(n + 1, granted) for n, granted in enumerate(grants)]
    choice = choose(waiting, needed=2, limit=10, shunned=shunned, bridges=BRIDGES)
    able = [transfer for transfer in waiting if len(granted_by(transfer.state)) >= 2]
    if not able:
        assert choice is None
        return
    assert choice is not None
    assert len(choice.guards) == 2
    assert all(set(choice.guards) <= granted_by(t.state) for t in choice.transfers)
    assert choice.transfers[0] is able[0], "the oldest goes first"
    assert len(choice.transfers) <= 10


def test_choose__a_guard_is_shunned__asked_only_if_there_is_no_other_way() -> None:
    waiting = [a_transfer(1, frozenset(NAMES))]
    avoided = choose(waiting, needed=2, limit=10, shunned={"guard-1"}, bridges=BRIDGES)
    assert avoided is not None
    assert "guard-1" not in avoided.guards
    forced = choose(waiting, needed=2, limit=10, shunned={"guard-1", "guard-2"}, bridges=BRIDGES)
    assert forced is not None
    assert len(forced.guards) == 2


def test_form__any_order_of_arrival__one_byte_form_and_matching_ids() -> None:
    transfers = [a_transfer(n, frozenset(NAMES)) for n in (3, 1, 2)]
    batch, ids = form(transfers, bridges=BRIDGES, epoch=1, deadline=100)
    again, same = form(list(reversed(transfers)), bridges=BRIDGES, epoch=1, deadline=100)
    assert (batch, ids) == (again, same)
    by_id = {t.id: t.state.message for t in transfers}
    for item, transfer_id in zip(batch.items, ids, strict=True):
        message = by_id[transfer_id]
        assert message is not None
        assert item.nonce == message.nonce


def test_choose__an_asset_with_a_bridge_of_its_own__is_never_mixed_with_another() -> None:
    """TON has one contract per asset: a batch for one of them means nothing to the next."""
    own = {**BRIDGES, (Domain.BNB, NVDAX): b"\x22" * 32}
    waiting = [
        a_transfer(1, frozenset(NAMES)),
        a_transfer(2, frozenset(NAMES), NVDAX),
        a_transfer(3, frozenset(NAMES)),
    ]
    choice = choose(waiting, needed=2, limit=10, bridges=own)
    assert choice is not None
    assert [t.id for t in choice.transfers] == [waiting[0].id, waiting[2].id]
    with pytest.raises(ValueError, match="one registered bridge"):
        form(waiting, bridges=own, epoch=1, deadline=100)
    together = choose(waiting, needed=2, limit=10, bridges=BRIDGES)
    assert together is not None
    assert len(together.transfers) == 3


def test_backoff__schedule__doubles_to_ten_seconds() -> None:
    assert [backoff_ms(n) for n in range(9)] == [
        100,
        200,
        400,
        800,
        1_600,
        3_200,
        6_400,
        BACKOFF_MAX_MS,
        BACKOFF_MAX_MS,
    ]


def test_queue__backlog_of_held_work__never_starves_fresh_work() -> None:
    queue = DueQueue()
    held = [TransferId(bytes((1, n)) * 16) for n in range(100)]
    for transfer_id in held:
        queue.postpone(transfer_id, 0)
    fresh = [TransferId(bytes((2, n)) * 16) for n in range(10)]
    for transfer_id in fresh:
        queue.offer(transfer_id)
    taken = queue.take(1_000, 20)
    assert len(taken) == 20
    assert set(fresh) <= set(taken)


def test_queue__until_far_away__looked_at_again_within_the_longest_wait() -> None:
    queue = DueQueue()
    transfer_id = TransferId(b"\x01" * 32)
    queue.postpone(transfer_id, 0, until_ms=3_600_000)
    assert queue.take(BACKOFF_MAX_MS - 1, 10) == []
    assert queue.take(BACKOFF_MAX_MS, 10) == [transfer_id]


def facts_of(counter: int) -> list[Fact]:
    """One fact of every kind that the relayer stores."""
    message = a_message(counter=counter)
    return [
        BurnFinalized(a_burn(message)),
        VerdictGiven(GuardId("guard-1"), GRANTED, 3),
        VerdictGiven(GuardId("guard-2"), refuse(Reason.CAP_EXCEEDED, until=9, cap=1), 4),
        ReleaseAuthorized(b"\x01" * 32, 1_000),
        ReleaseSubmitted(b"\x01" * 32, b"\x02" * 32),
        ReleaseSkippedSeen(b"\x01" * 32, SkipReason.BUCKET_EMPTY),
        ReleaseFinalized(a_release(message)),
        CancelFinalized(a_cancel(message)),
        OperatorReleased(2, frozenset({b"\x01" * 32})),
    ]


@given(st.lists(st.sampled_from(range(9)), max_size=9))
def test_stored_state__any_facts__comes_back_equal(chosen: list[int]) -> None:
    facts = facts_of(1)
    state = open_transfer(id_of(a_message(counter=1)), needed=2, guards=3)
    for index in chosen:
        state = step(state, facts[index]).state
    read = state_from_text(state.transfer_id, state.message, state_to_text(state))
    assert read == state
    assert replace(read, refuted=True) != state

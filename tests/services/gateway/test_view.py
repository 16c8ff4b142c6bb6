"""The merge of three speakers, attacked with any order and any repetition.

Method: Hypothesis draws what could be said about one transfer (relayer's words by revision, looks
of the watcher by time, the final burn), delivers it in two orders with repetitions, and compares
what is shown at the end; the revision is watched after every step. Seeds are printed on failure.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.services.gateway.facts import final, said, seen
from xstock_gateway import view as view_module
from xstock_gateway.view import BurnWasSeen, Fact, TransferView, merge, tells_news

WORDS = [
    *(said(1, revision) for revision in range(1, 6)),
    *(
        said(1, 2, until=until, at_ms=at_ms)
        for until, at_ms in ((60, 4_000), (90, 4_000), (30, 5_000))
    ),
]
LOOKS = [
    seen(1, at_ms, behind=behind, gone=gone)
    for at_ms in (1_000, 2_000, 3_000)
    for behind, gone in ((3, False), (1, False), (0, True))
]
FACTS: list[Fact] = [*WORDS, *LOOKS, final(1)]
deliveries = st.lists(st.sampled_from(FACTS), min_size=1, max_size=24)


def merged(facts: list[Fact]) -> TransferView | None:
    view: TransferView | None = None
    for now, fact in enumerate(facts):
        change = merge(view, fact, 10_000 + now)
        if change is not None:
            before = 0 if view is None else view.revision
            assert change.view.revision == before + 1
            assert view is None or change.view.updated_ms >= view.updated_ms
            view = change.view
    return view


def shown(view: TransferView | None) -> object:
    """Everything that facts decide: not when we heard, nor how often it changed."""
    return view and replace(view, revision=0, created_ms=0, updated_ms=0)


@settings(max_examples=400, deadline=None)
@given(deliveries, st.data())
def test_view__facts_in_any_order_and_repeated__show_the_same_in_the_end(
    facts: list[Fact], data: st.DataObject
) -> None:
    """F48: reordered, repeated, delayed."""
    again = data.draw(st.permutations(facts + data.draw(st.lists(st.sampled_from(facts)))))
    assert shown(merged(facts)) == shown(merged(list(again)))


@settings(max_examples=200, deadline=None)
@given(deliveries)
def test_view__facts_told_a_second_time__change_nothing(facts: list[Fact]) -> None:
    once = merged(facts)
    for fact in facts:
        assert merge(once, fact, 99_000) is None


def test_view__burn_seen_then_vanished_then_seen_again__shows_each_and_ends_open() -> None:
    """F20: a burn that left the chain and came back."""
    view = merged([seen(1, 1_000)])
    assert view is not None
    assert (view.state, view.terminal, view.funds_at) == ("SEEN", False, "SOURCE")
    view = merged([seen(1, 1_000), seen(1, 2_000, gone=True)])
    assert view is not None
    assert (view.state, view.terminal, view.funds_at) == ("REORGED", True, "SOURCE")
    view = merged([seen(1, 1_000), seen(1, 2_000, gone=True), seen(1, 3_000)])
    assert view is not None
    assert (view.state, view.terminal, view.revision) == ("SEEN", False, 3)


def test_view__vanished_then_final__is_final_whatever_was_seen_later() -> None:
    view = merged([seen(1, 1_000), seen(1, 2_000, gone=True), final(1), seen(1, 9_000, gone=True)])
    assert view is not None
    assert (view.state, view.terminal, view.funds_at, view.revision) == (
        "FINAL",
        False,
        "IN_FLIGHT",
        3,
    )


def test_view__relayer_speaks_before_the_watcher__its_word_stands() -> None:
    view = merged([said(1, 3), seen(1, 5_000), final(1)])
    assert view is not None
    assert view.state == "AUTHORIZED"
    assert view.final == final(1)
    assert view.seen is None


def test_view__older_word_of_the_relayer_after_a_newer_one__is_ignored() -> None:
    view = merged([said(1, 5), said(1, 4), said(1, 1)])
    assert view is not None
    assert (view.state, view.terminal, view.revision) == ("RELEASED", True, 1)


def test_view__hold_whose_end_moves__shows_the_later_word_of_one_revision() -> None:
    """A guard that asks again keeps its sequence, so the relayer's revision stays what it was."""
    held = said(1, 2, phase="HELD", reason="RATE_LIMITED", until=60, at_ms=4_000)
    moved = replace(held, until=600, at_ms=5_000)
    for told in ([held, moved], [moved, held], [held, moved, held]):
        view = merged(list(told))
        assert view is not None
        assert view.relayer == moved
    view = merged([moved, said(1, 3, at_ms=4_500)])
    assert view is not None
    assert view.relayer == said(1, 3, at_ms=4_500)


def test_view__words_ranked_by_revision_alone__would_keep_the_old_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Defence removed."""
    held = said(1, 2, phase="HELD", reason="RATE_LIMITED", until=60, at_ms=4_000)
    monkeypatch.setattr(view_module, "_rank", lambda word: word.revision)
    view = merged([held, replace(held, until=600, at_ms=5_000)])
    assert view is not None
    assert view.relayer == held


def test_view__merge_without_the_revision_check__would_go_back() -> None:
    """Defence removed: the same words merged by arrival alone end in another state."""
    view = merged([said(1, 5)])
    assert view is not None
    careless = replace(view, relayer=said(1, 4))
    assert careless.state != view.state
    assert merge(view, said(1, 4), 1) is None


def test_view__look_that_only_repeats__is_no_news() -> None:
    view = merged([seen(1, 1_000)])
    again = seen(1, 5_000)
    assert isinstance(again, BurnWasSeen)
    assert not tells_news(view, again)
    assert tells_news(view, seen(1, 5_000, behind=1))
    assert tells_news(None, again)
    assert not tells_news(merged([final(1)]), again)


def test_view__parties_and_transactions__are_named_once() -> None:
    view = merged([final(1), said(1, 2)])
    assert view is not None
    assert len(view.parties) == 3
    assert len(view.txs) == len(set(view.txs)) == 1

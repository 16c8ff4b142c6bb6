"""Corporate actions: when an asset stands still, and what opens it again."""

from dataclasses import replace

import pytest

from xstock_core.corporate import (
    WINDOW_SECONDS,
    Announced,
    same_multiplier,
    settles,
    windows_of,
)
from xstock_core.ids import Domain
from xstock_core.review import Window

ONE = 10**18
AT = 1_700_000_000
SPLIT = Announced(AT, 10 * ONE)
OLD = {Domain.ETHEREUM: ONE, Domain.BNB: ONE}
NEW = {Domain.ETHEREUM: 10 * ONE, Domain.BNB: 10 * ONE}


def shut(windows: tuple[Window, ...], now: int) -> bool:
    """Whether any window holds at `now`, as `check_corporate_action` reads them."""
    return any(w.opens <= now and (now < w.closes or not w.settled) for w in windows)


@pytest.mark.parametrize(
    ("now", "shown", "attested", "held"),
    [
        (AT - WINDOW_SECONDS - 1, OLD, ONE, False),
        (AT - WINDOW_SECONDS, OLD, ONE, True),
        (AT + 1, NEW, 10 * ONE, True),
        (AT + WINDOW_SECONDS - 1, NEW, 10 * ONE, True),
        (AT + WINDOW_SECONDS, NEW, 10 * ONE, False),
        (AT + WINDOW_SECONDS, OLD, ONE, True),
        (AT + WINDOW_SECONDS, {**NEW, Domain.BNB: ONE}, 10 * ONE, True),
        (AT + WINDOW_SECONDS, {**NEW, Domain.BNB: None}, 10 * ONE, True),
        (AT + WINDOW_SECONDS, NEW, ONE, True),
        (AT + WINDOW_SECONDS, NEW, None, True),
    ],
)
def test_split__before_during_after__held_until_every_chain_and_custody_agree(
    now: int, shown: dict[Domain, int | None], attested: int | None, held: bool
) -> None:
    """F51: chains activate apart; the asset stands still until all say the same."""
    assert shut(windows_of([SPLIT], shown, attested, now), now) is held


def test_split__one_chain_late__the_window_names_who_is_awaited() -> None:
    now = AT + WINDOW_SECONDS
    windows = windows_of([SPLIT], {**NEW, Domain.BNB: ONE}, ONE, now)
    assert windows[0].why == f"multiplier {10 * ONE} of chain 2, custody"


def test_split__in_the_very_second_of_its_activation__is_awaited_already() -> None:
    assert windows_of([SPLIT], OLD, ONE, AT)[0].why
    assert not windows_of([SPLIT], OLD, ONE, AT - 1)[0].why


def test_split__settled_once_and_custody_silent__names_custody() -> None:
    (window,) = windows_of([replace(SPLIT, settled=True)], NEW, None, AT + WINDOW_SECONDS)
    assert window.why == "any multiplier of custody"


def test_unannounced__a_chain_or_custody_apart__holds_without_an_end() -> None:
    for shown, attested in (({**OLD, Domain.BNB: 10 * ONE}, ONE), (OLD, 10 * ONE), (NEW, ONE)):
        windows = windows_of([], shown, attested, AT)
        assert shut(windows, AT)
        assert (windows[0].closes, windows[0].settled) == (0, False)
    said = f"chain 1 says {ONE}, chain 2 says {ONE}, custody says {10 * ONE}"
    (apart,) = windows_of([], OLD, 10 * ONE, AT)
    assert apart.why == f"one multiplier: {said}"
    assert windows_of([], OLD, ONE, AT) == ()
    assert windows_of([], {Domain.BNB: None}, ONE, AT) == ()


def test_history__an_older_action__is_settled_by_the_newer() -> None:
    later = Announced(AT + 10_000, 30 * ONE)
    tripled = dict.fromkeys(NEW, 30 * ONE)
    now = later.activates_at + WINDOW_SECONDS
    assert not shut(windows_of([SPLIT, later], tripled, 30 * ONE, now), now)
    unsettled = windows_of([SPLIT, later], NEW, 10 * ONE, now)
    assert shut(unsettled, now)
    assert unsettled[0].settled


DECAYED = {Domain.ETHEREUM: 9 * ONE, Domain.BNB: 9 * ONE}
SETTLED = replace(SPLIT, settled=True)


@pytest.mark.parametrize(
    ("announced", "shown", "attested", "held"),
    [
        (SPLIT, DECAYED, 9 * ONE, True),
        (SETTLED, DECAYED, 9 * ONE, False),
        (SETTLED, NEW, 10 * ONE, False),
        (SETTLED, DECAYED, 10 * ONE, True),
        (SETTLED, {**DECAYED, Domain.BNB: 10 * ONE}, 9 * ONE, True),
        (SETTLED, {**DECAYED, Domain.BNB: None}, 9 * ONE, True),
        (SETTLED, DECAYED, None, True),
    ],
)
def test_split__settled_once__a_later_value_goes_where_all_agree_and_only_there(
    announced: Announced, shown: dict[Domain, int | None], attested: int | None, held: bool
) -> None:
    """F51: a fee that moves every multiplier must not shut the asset for ever."""
    now = AT + 10 * WINDOW_SECONDS
    assert shut(windows_of([announced], shown, attested, now), now) is held


def test_split__settled_once__a_newer_announcement_is_awaited_all_the_same() -> None:
    now = AT + 10 * WINDOW_SECONDS
    newer = Announced(AT + WINDOW_SECONDS, 30 * ONE)
    assert shut(windows_of([SETTLED, newer], DECAYED, 9 * ONE, now), now)


def test_settles__everybody_at_its_value_and_not_before_its_second() -> None:
    assert settles(SPLIT, NEW, 10 * ONE, AT)
    assert not settles(SPLIT, NEW, 10 * ONE, AT - 1)
    assert not settles(SPLIT, NEW, None, AT)
    assert not settles(SPLIT, {**NEW, Domain.BNB: None}, 10 * ONE, AT)
    assert not settles(SPLIT, DECAYED, 9 * ONE, AT)


def test_multipliers__of_a_float_and_of_a_uint256__are_the_same() -> None:
    exact = 1_234_567_890_123_456_789
    as_float = int(exact / ONE * ONE)
    assert as_float != exact
    assert same_multiplier(as_float, exact)
    assert not same_multiplier(exact, exact + 10**10)
    assert same_multiplier(0, 0)


def test_settling__taken_out__the_lane_opens_while_a_chain_still_shows_the_old() -> None:
    """Defence removed: by the clock alone the window would open upon two truths."""
    now = AT + WINDOW_SECONDS
    windows = windows_of([SPLIT], {**NEW, Domain.BNB: ONE}, 10 * ONE, now)
    by_the_clock = tuple(replace(window, settled=True) for window in windows)
    assert shut(windows, now)
    assert not shut(by_the_clock, now)

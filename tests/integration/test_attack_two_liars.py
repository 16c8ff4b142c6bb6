"""Two providers of three lie alike through the proxy, on every family's own reader and chain.

Method: as in `test_proxy_readers`, whose chains and burns these are: three true burns, read while
two of the quorum's three providers tell the same untruth, and again once they have stopped. What
is read in between is a beginning of the truth or nothing; in the end it is the truth, once.
"""

from typing import Any

import pytest

from tests.integration.test_proxy_readers import HEIGHTS, Watched, text_of
from tests.integration.test_proxy_readers import watched as watched

LIARS = (0, 1)


async def both(watching: Watched, fault: str, **params: Any) -> None:
    """The same fault on two of the three providers."""
    for provider in LIARS:
        await watching.admin.add(fault, chain=watching.family, provider=provider, **params)


async def healed(watching: Watched) -> None:
    """Nothing untrue was read; without the lies all of it is."""
    assert watching.seen == watching.burned[: len(watching.seen)]
    await watching.admin.lift()
    await watching.read()
    await watching.read()
    assert watching.seen == watching.burned


async def test_quorum__two_of_three_hide_a_burn_everywhere__the_third_holds_the_chain(
    watched: Any,
) -> None:
    """F01, F12: a majority that denies a burn is contradicted; the cursor does not pass it."""
    watching = await watched(providers=3)
    await both(watching, "hide_event", tx_hash=text_of(watching, watching.burns[1]))
    await watching.read()
    assert watching.burned[1] not in watching.seen
    assert watching.held
    await healed(watching)


async def test_quorum__two_of_three_follow_a_fork__nothing_is_read_until_people_have_looked(
    watched: Any,
) -> None:
    """F29, F33: the majority's branch of empty blocks is not believed, nor are the two when they
    come back from it: they have broken their own finality. A new process reads the truth."""
    watching = await watched(providers=3)
    await both(watching, "drop_block", from_number=watching.height)
    await watching.read()
    assert watching.held
    assert watching.seen == watching.burned[: len(watching.seen)]
    assert watching.burned[2] not in watching.seen
    await watching.admin.lift()
    await watching.read()
    assert watching.seen == watching.burned[: len(watching.seen)]
    afterwards = await watched(providers=3)
    await afterwards.read()
    assert afterwards.seen == afterwards.burned


@pytest.mark.parametrize(
    ("fault", "params"),
    [
        ("freeze_finality", {"at": 1}),
        ("lag", {"blocks": HEIGHTS + 4}),
        ("stale", {"blocks": HEIGHTS + 4}),
        ("stop", {}),
        ("lose_replies", {}),
    ],
)
async def test_quorum__two_of_three_are_old_or_away__nothing_wrong_is_read(
    watched: Any, fault: str, params: dict[str, Any]
) -> None:
    """F11, F79: old final heads, stale answers and cut links of a majority are a wait."""
    watching = await watched(providers=3)
    await both(watching, fault, **params)
    await watching.read()
    await healed(watching)

"""Limits, screeners and roles as the registry and the settings give them; weak ones refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chains.evm.test_registry import document
from tests.services.supply_guard.test_configuration import settings
from xstock_chains.registry import InvalidRegistry, Registry, parse_registry
from xstock_core.bucket import Bucket
from xstock_core.ids import asset_id
from xstock_core.review import Delay
from xstock_runtime.clock import VirtualClock
from xstock_runtime.errors import Fatal
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.adapters.configuration import guard_config, screening_list
from xstock_supply_guard.adapters.screening import SignedListFile
from xstock_supply_guard.model import Limits

SCREENER = {"key_id": "screener-1", "public_key": "0x02" + "11" * 32}


def registry(policy: dict[str, Any] | None = None, **changes: Any) -> Registry:
    """The two-chain registry of the tests, with changes."""
    written = {**document(), **changes}
    written["policy"] = {**written["policy"], **(policy or {})}
    return parse_registry(json.dumps(written))


def test_limits__of_the_policy_and_of_an_asset__reach_the_guard() -> None:
    tiers = [{"from_shares": 5, "seconds": 60}, {"from_shares": 9, "seconds": 600}]
    assets = document()["assets"]
    assets[0]["limits"] = {"bucket_shares": 7, "bucket_refill_shares_per_second": 9}
    found = guard_config(
        registry(
            {
                "delays": tiers,
                "manual_review_shares": 50,
                "refund_review_shares": 40,
                "supply_age_seconds_max": 900,
            },
            assets=assets,
        ),
        settings(),
    ).policy
    assert found.delays == (Delay(5, 60), Delay(9, 600))
    assert (found.manual_from, found.refund_review_from, found.supply_age_seconds_max) == (
        *(50, 40),
        900,
    )
    own = Limits(Bucket(7, 7, 7, 0))
    assert found.limits_by_asset == {asset_id("TSLAx", keccak256): own}


@pytest.mark.parametrize(
    "delays",
    [
        [{"from_shares": 9, "seconds": 60}, {"from_shares": 5, "seconds": 60}],
        [{"from_shares": 5, "seconds": 60}, {"from_shares": 5, "seconds": 90}],
        [{"from_shares": 0, "seconds": 60}],
        [{"from_shares": 5, "seconds": 0}],
    ],
)
def test_delays__that_do_not_rise_or_mean_nothing__are_refused(
    delays: list[dict[str, int]],
) -> None:
    with pytest.raises(InvalidRegistry, match="delays"):
        registry({"delays": delays})


def test_supply_age__off_in_production__refuses_the_start() -> None:
    """F83: a limit of zero is none."""
    with pytest.raises(InvalidRegistry, match="supply_age_seconds_max"):
        registry({"supply_age_seconds_max": 0}, environment="production")
    assert registry({"supply_age_seconds_max": 600}, environment="production")


def test_screeners__and_their_list__come_together_or_not_at_all() -> None:
    """F83: a deployment that screens never runs without its list."""
    clock, path = VirtualClock(), Path("screening.list")
    screened, plain = registry(screeners=[SCREENER]), registry()
    with pytest.raises(Fatal, match="screening_list_path"):
        screening_list(screened, settings(), clock)
    with pytest.raises(Fatal, match="no screeners"):
        screening_list(plain, settings(screening_list_path=path), clock)
    assert screening_list(plain, settings(), clock) is None
    made = screening_list(screened, settings(screening_list_path=path), clock)
    assert isinstance(made, SignedListFile)
    assert set(made.screeners) == {"screener-1"}


def test_screeners__one_key_twice__is_refused() -> None:
    with pytest.raises(InvalidRegistry, match="public_key"):
        registry(screeners=[SCREENER, {**SCREENER, "key_id": "screener-2"}])


def test_roles__by_default__two_approvers_and_no_role_for_all() -> None:
    roles = settings().roles
    assert [name for name, given in roles.items() if "approver" in given] == [
        "operator-1",
        "operator-2",
    ]
    assert roles["agent"] == ["agent"]
    assert roles["issuer"] == ["issuer"]

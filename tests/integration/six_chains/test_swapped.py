"""F88 for every pair of families: one chain's registry entry over another chain's node.

Method: the start-up self-test that every service runs (`StartCheck`), opened through the same door,
over real local chains of all four families. It must stop the process or keep it waiting; it may
never pass.
"""

from itertools import permutations

import pytest
from pydantic import ValidationError

from tests.contract.driver import ChainUnderTest
from tests.integration.six_chains.conftest import FAMILIES, Deploy
from xstock_chains.profiles import open_admin
from xstock_chains.registry import Registry
from xstock_chains.start_check import StartCheck
from xstock_runtime.errors import Fatal, Transient

PAIRS = list(permutations(FAMILIES, 2))


def registry_of(chain: ChainUnderTest) -> Registry:
    """The registry of this deployment."""
    registry: Registry = chain.world.registry  # type: ignore[attr-defined]
    return registry


def url_of(chain: ChainUnderTest) -> str:
    """Its node's address."""
    url: str = chain.world.node.url  # type: ignore[attr-defined]
    return url


async def start(registry: Registry, chain: ChainUnderTest, url: str) -> None:
    """The self-test of a starting process over one node."""
    opened = open_admin(registry, chain.domain, url)
    try:
        await StartCheck(chain.domain, [opened.port], needed=1).run()
    finally:
        await opened.aclose()


@pytest.mark.parametrize("family", list(FAMILIES))
async def test_start__right_entry__passes(deploy: Deploy, family: str) -> None:
    """What the swaps below are compared with."""
    chain = await deploy(family)
    check = StartCheck(chain.domain, [chain.admin], needed=1)
    await check.run()
    assert check.passed


@pytest.mark.parametrize(("mine", "others"), PAIRS, ids=[f"{a}_over_{b}" for a, b in PAIRS])
async def test_start__entry_of_one_family_over_anothers_node__never_passes(
    deploy: Deploy, mine: str, others: str
) -> None:
    """F88: two swapped entries stop both."""
    chain, other = await deploy(mine), await deploy(others)
    with pytest.raises((Fatal, Transient)):
        await start(registry_of(chain), chain, url_of(other))


@pytest.mark.parametrize(("mine", "others"), PAIRS, ids=[f"{a}_as_{b}" for a, b in PAIRS])
async def test_registry__contents_of_two_entries_swapped__is_refused_when_it_is_read(
    deploy: Deploy, mine: str, others: str
) -> None:
    """F88: addresses of another family never become a registry, so no service starts on them."""
    chain, other = await deploy(mine), await deploy(others)
    document = registry_of(chain).model_dump()
    theirs = registry_of(other).chain(other.domain).model_dump()
    at = next(n for n, one in enumerate(document["chains"]) if one["domain"] == chain.domain)
    entry = document["chains"][at]
    taken = ("network_id", "genesis_hash", "bridges", "lane_keys")
    swapped = entry | {key: theirs[key] for key in taken}
    chains = [*document["chains"][:at], swapped, *document["chains"][at + 1 :]]
    Registry.model_validate(document)
    with pytest.raises(ValidationError):
        Registry.model_validate(document | {"chains": chains})

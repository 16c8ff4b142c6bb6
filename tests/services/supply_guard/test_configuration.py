"""A guard refuses to start on a configuration that would make it weak."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.chains.evm.test_registry import document
from tests.services.supply_guard.world import World
from xstock_chains.fake import FakeAdmin
from xstock_chains.fake.admin import expectation_of
from xstock_chains.ports import CheckResult, SelfTest
from xstock_chains.registry import Registry, parse_registry
from xstock_chains.start_check import StartCheck
from xstock_core.ids import Domain, asset_id
from xstock_runtime.errors import Fatal, Transient
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.adapters.configuration import guard_config
from xstock_supply_guard.handlers.checking import QuorumEpoch
from xstock_supply_guard.settings import GuardSettings

URLS = ["http://a", "http://b", "http://c"]


def registry() -> Registry:
    """Two chains, one asset, three guards."""
    return parse_registry(json.dumps(document()))


def settings(**changes: Any) -> GuardSettings:
    """Settings that every rule accepts, with changes."""
    values: dict[str, Any] = {
        "guard_id": registry().guards[0].id,
        "registry_path": Path("registry.json"),
        "providers": {"ethereum": URLS, "bnb": ["http://d"]},
        "key_files": {"evm": Path("key")},
        "database_url": SecretStr("postgresql://guard@127.0.0.1/guard"),
        "kafka_bootstrap": "127.0.0.1:9092",
        "kafka_mac_key": SecretStr(bytes(range(32)).hex()),
        "insecure_dev": True,
    }
    return GuardSettings(**{**values, **changes})


def test_configuration__valid__knows_chains_assets_and_routes() -> None:
    config = guard_config(registry(), settings())
    asset = asset_id("TSLAx", keccak256)
    assert set(config.chains) == {Domain.ETHEREUM, Domain.BNB}
    assert config.routes[asset, Domain.ETHEREUM, Domain.BNB].minimum == 1000
    assert (asset, Domain.CUSTODY, Domain.BNB) in config.routes
    assert (asset, Domain.ETHEREUM, Domain.ETHEREUM) not in config.routes
    forbidden = config.assets[asset].forbidden_recipients
    assert (Domain.BNB, config.chains[Domain.BNB].bridge_on[asset]) in forbidden
    assert len(forbidden) == 4


def test_configuration__issuer_inventory__is_known_per_asset_and_chain() -> None:
    raw = document()
    owner = "0x" + "51" * 20
    raw["assets"][0]["deployments"][1]["issuer_inventory"] = [owner]
    named = parse_registry(json.dumps(raw))
    chain = named.chain(named.assets[0].deployments[1].chain).domain
    found = guard_config(named, settings()).assets[named.assets[0].id]
    assert found.issuer_inventory == {chain: {bytes(12) + bytes.fromhex(owner[2:])}}
    without = guard_config(registry(), settings()).assets[named.assets[0].id]
    assert without.issuer_inventory == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"guard_id": "guard-9"}, "guard_id"),
        ({"provider_quorum": 1}, "provider_quorum"),
        ({"provider_quorum": 4}, "provider_quorum"),
        ({"providers": {"ethereum": URLS}}, "providers"),
        ({"providers": {"ethereum": URLS, "bnb": ["http://d"], "ton": URLS}}, "providers"),
        (
            {"providers": {"ethereum": ["http://a", "http://a/"], "bnb": ["http://d"]}},
            "providers.ethereum",
        ),
        ({"foreign_providers": ["http://b/"]}, "providers.ethereum"),
    ],
    ids=["stranger", "half", "too-many", "missing", "surplus", "doubled", "shared"],
)
def test_configuration__weak_or_contradictory__refuses_the_start(
    changes: dict[str, Any], field: str
) -> None:
    """F83: quorum zero-like, missing or above n; F01: providers shared with the watchers."""
    with pytest.raises(Fatal, match=field):
        guard_config(registry(), settings(**changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"providers": {"ethereum": []}}, "providers"),
        ({"provider_quorum": -1}, "provider_quorum"),
        ({"kafka_mac_key": SecretStr("00" * 32)}, "kafka_mac_key"),
        ({"insecure_dev": False}, "tls_"),
    ],
)
def test_settings__zero_missing_or_weak__refused(changes: dict[str, Any], field: str) -> None:
    """F10, F83: an empty list, a negative quorum, an all-zero key, no TLS."""
    with pytest.raises(ValueError, match=field):
        settings(**changes)


async def test_start_check__another_chain_behind_the_url__fatal() -> None:
    """F14, F88: two chains' entries swapped: the self-test says what differs."""
    world = World()
    chain = world.chains[Domain.ETHEREUM]
    other = world.chains[Domain.BNB]
    genesis = other.block(0)
    assert genesis is not None
    swapped = expectation_of(other.config, genesis.ref.hash)
    admins = [FakeAdmin(node, swapped) for node in world.nodes[Domain.ETHEREUM]]
    with pytest.raises(Fatal, match="SELF_TEST_FAILED"):
        await StartCheck(Domain.ETHEREUM, admins, 2).run()
    genesis = chain.block(0)
    assert genesis is not None
    right = expectation_of(chain.config, genesis.ref.hash)
    good = StartCheck(
        Domain.ETHEREUM, [FakeAdmin(node, right) for node in world.nodes[Domain.ETHEREUM]], 2
    )
    await good.run()
    assert good.passed


class Unsure:
    """A provider of which nothing can be found out."""

    async def self_test(self) -> SelfTest:
        """Unknown is not a pass."""
        return SelfTest(Domain.ETHEREUM, (CheckResult("code hash", None),))


async def test_start_check__too_few_can_be_asked__waits() -> None:
    check = StartCheck(Domain.ETHEREUM, [Unsure(), Unsure()], 2)
    with pytest.raises(Transient, match="0 of 2"):
        await check.run()
    assert not check.passed


async def test_epoch__providers_disagree__unreadable() -> None:
    world = World()

    class Says:
        def __init__(self, epoch: int) -> None:
            self.epoch = epoch

        async def guard_epoch(self) -> int:
            return self.epoch

    writers: list[Any] = [Says(1), Says(2), Says(3)]
    with pytest.raises(Transient, match="EPOCH_UNREADABLE"):
        await QuorumEpoch(writers, 2).guard_epoch()
    assert await QuorumEpoch([Says(1), Says(2), Says(2)], 2).guard_epoch() == 2  # type: ignore[list-item]
    assert world.desk.missing() == ["ethereum", "bnb", "mantle"]

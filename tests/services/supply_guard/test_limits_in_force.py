"""Whose limits count, what becomes of levels when they change, and what is refused as limits."""

from dataclasses import replace

import pytest

from tests.builders import a_burn, a_message
from tests.services.supply_guard.world import ASSET, CHAINS, OTHER, World
from xstock_core.bucket import Bucket, BucketKey
from xstock_core.ids import Domain
from xstock_core.observation import BurnFinal
from xstock_core.review import Delay
from xstock_runtime.errors import InvalidMessage
from xstock_supply_guard.handlers.limits import (
    DELAY_SECONDS_MAX,
    DELAYS_MAX,
    UNLIMITED,
    buckets_in_force,
    flow_back,
    full_buckets,
    limits_in_force,
    make_limits,
    parse_limits,
    refit,
)
from xstock_supply_guard.model import Limits, PolicyConfig

FULL = Bucket(100, 2, 100, 0)
LARGE = Bucket(900, 3, 900, 0)
USUAL = Limits(FULL, (Delay(5, 60),), 70)
OWN = Limits(LARGE, (), 1)
SET = Limits(Bucket(7, 7, 7, 0))
SET_FOR_ALL = Limits(Bucket(8, 8, 8, 0))
POLICY = PolicyConfig(
    bucket=USUAL.bucket,
    delays=USUAL.delays,
    manual_from=USUAL.manual_from,
    limits_by_asset={OTHER: OWN},
)
TO_BNB = BucketKey(ASSET, Domain.BNB)
LANE = BucketKey(ASSET, Domain.BNB, Domain.ETHEREUM)


@pytest.mark.parametrize(
    ("stored", "of_asset", "of_other"),
    [
        ({}, USUAL, OWN),
        ({None: SET_FOR_ALL}, SET_FOR_ALL, OWN),
        ({ASSET: SET}, SET, OWN),
        ({None: SET_FOR_ALL, ASSET: SET, OTHER: SET}, SET, SET),
        ({OTHER: SET}, USUAL, SET),
    ],
    ids=["nobody's", "people's for all", "people's for one", "people's for each", "the other's"],
)
async def test_limits__in_force__are_the_nearest_and_whole(
    stored: dict[bytes | None, Limits], of_asset: Limits, of_other: Limits
) -> None:
    world = World(policy=POLICY)
    async with world.store.write() as unit:
        for asset, limits in stored.items():
            await unit.save_limits(asset, limits, 1)  # type: ignore[arg-type]
        found = await limits_in_force(world.desk, unit, [ASSET, OTHER])
    assert found == {ASSET: of_asset, OTHER: of_other}


def test_buckets__without_a_limit_or_of_an_asset_not_asked_for__are_absent() -> None:
    keys = [TO_BNB, LANE, BucketKey(OTHER, Domain.BNB)]
    assert full_buckets({ASSET: USUAL}, keys) == {TO_BNB: FULL, LANE: FULL}
    assert full_buckets({ASSET: Limits(), OTHER: OWN}, keys) == {keys[2]: LARGE}


async def test_buckets__in_force__are_as_they_were_left_or_full() -> None:
    world = World()
    left = Bucket(100, 2, 10, 50)
    async with world.store.write() as unit:
        await unit.save_buckets({LANE: replace(left, capacity=40)})
        limits = {ASSET: USUAL}
        assert await buckets_in_force(unit, limits, [TO_BNB, LANE], 60) == {
            TO_BNB: FULL,
            LANE: Bucket(100, 2, 30, 60),
        }
        assert await buckets_in_force(unit, limits, [BucketKey(OTHER, Domain.BNB)], 60) == {}


@pytest.mark.parametrize("asset", [ASSET, None])
async def test_refit__brings_every_bucket_that_was_taken_from_into_its_new_size(
    asset: bytes | None,
) -> None:
    """INV-11: from this second on it refills at the new rate, in every lane."""
    world = World(policy=POLICY)
    now = world.desk.now
    keys = [
        BucketKey(one, destination, source)
        for one in (ASSET, OTHER)
        for destination in CHAINS
        for source in (None, Domain.CUSTODY, *CHAINS)
    ]
    unknown = BucketKey(ASSET, Domain.TRON)
    old = Bucket(50, 1, 5, now - 10)
    async with world.store.write() as unit:
        await unit.save_buckets(dict.fromkeys([*keys, unknown], old))
        await refit(world.desk, unit, asset)  # type: ignore[arg-type]
        found = await unit.buckets([*keys, unknown])
    other = old if asset == ASSET else Bucket(900, 3, 15, now)
    assert found == {
        key: Bucket(100, 2, 15, now) if key.asset == ASSET else other for key in keys
    } | {unknown: old}


async def test_refit__where_nothing_was_taken__makes_no_bucket() -> None:
    world = World(policy=POLICY)
    async with world.store.write() as unit:
        await refit(world.desk, unit, None)
        assert await unit.buckets([TO_BNB, LANE]) == {}
    unlimited = World()
    async with unlimited.store.write() as unit:
        await unit.save_buckets({TO_BNB: FULL})
        await refit(unlimited.desk, unit, None)
        assert await unit.buckets([TO_BNB]) == {TO_BNB: FULL}


def burned(amount: int, destination: Domain = Domain.ETHEREUM, counter: int = 1) -> BurnFinal:
    """A burn on BNB Chain."""
    message = a_message(
        source=Domain.BNB, destination=destination, counter=counter, asset=ASSET, amount=amount
    )
    return a_burn(message, counter=counter)


async def test_back_flow__what_was_burned_on_a_chain__refills_releases_to_it_and_its_lane() -> None:
    """INV-11: the sums of a page, in the one transaction that books it, and nobody else's."""
    world = World(policy=POLICY)
    now = world.desk.now
    other_lane = BucketKey(ASSET, Domain.BNB, Domain.MANTLE)
    away = BucketKey(ASSET, Domain.ETHEREUM)
    not_taken = BucketKey(ASSET, Domain.BNB, Domain.CUSTODY)
    low = Bucket(100, 2, 10, now)
    async with world.store.write() as unit:
        await unit.save_buckets(dict.fromkeys([TO_BNB, LANE, other_lane, away], low))
        await flow_back(world.desk, unit, [])
        assert (await unit.buckets([TO_BNB]))[TO_BNB] == low
        burns = [burned(30), burned(20, counter=2), burned(7, Domain.MANTLE, counter=3)]
        await flow_back(world.desk, unit, burns)
        found = await unit.buckets([TO_BNB, LANE, other_lane, away, not_taken])
    assert found == {
        TO_BNB: Bucket(100, 2, 67, now),
        LANE: Bucket(100, 2, 60, now),
        other_lane: Bucket(100, 2, 17, now),
        away: low,
    }


async def test_back_flow__into_a_bucket_of_an_old_size__fits_it_first() -> None:
    world = World(policy=POLICY)
    now = world.desk.now
    async with world.store.write() as unit:
        await unit.save_buckets({TO_BNB: Bucket(10, 1, 5, now - 3)})
        await flow_back(world.desk, unit, [burned(3)])
        assert await unit.buckets([TO_BNB]) == {TO_BNB: Bucket(100, 2, 11, now)}
    unlimited = World()
    async with unlimited.store.write() as unit:
        await unit.save_buckets({TO_BNB: FULL})
        await flow_back(unlimited.desk, unit, [burned(3)])
        assert await unit.buckets([TO_BNB]) == {TO_BNB: FULL}


def delays(*tiers: tuple[int, int]) -> list[Delay]:
    """Tiers of (amount, seconds)."""
    return [Delay(shares, seconds) for shares, seconds in tiers]


@pytest.mark.parametrize(
    ("tiers", "value", "remedy"),
    [
        (delays(*((n, 60) for n in range(1, 18))), "17", "give at most 16"),
        (delays((0, 60)), "[0]", "give tiers by rising amount, from 1 on"),
        (delays((5, 60), (5, 90)), "[5, 5]", "give tiers by rising amount, from 1 on"),
        (delays((5, 60), (4, 90)), "[5, 4]", "give tiers by rising amount, from 1 on"),
        (delays((5, 60), (6, 0)), "0", "give 1 to 2592000 seconds"),
        (delays((5, 2_592_001)), "2592001", "give 1 to 2592000 seconds"),
    ],
)
def test_limits__delays_that_mean_nothing__are_named_with_the_remedy(
    tiers: list[Delay], value: str, remedy: str
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        make_limits(bucket_shares=5, refill_per_second=0, delays=tiers, manual_from=0)
    assert refused.value.code == "FIELD_INVALID"
    assert refused.value.message == f"delays: {value} is not valid; {remedy}"
    assert refused.value.metadata == {"field": "delays", "value": value}


def test_limits__at_their_bounds__are_limits() -> None:
    tiers = delays((1, 1), (2, DELAY_SECONDS_MAX))
    made = make_limits(bucket_shares=1, refill_per_second=0, delays=tiers, manual_from=1)
    assert made == Limits(Bucket(1, 0, 1, 0), tuple(tiers), 1)
    assert (DELAY_SECONDS_MAX, DELAYS_MAX, UNLIMITED) == (2_592_000, 16, 2**64 - 1)


def test_limits__a_bucket_that_lets_nothing_pass__is_named_with_both_remedies() -> None:
    with pytest.raises(InvalidMessage) as refused:
        make_limits(bucket_shares=0, refill_per_second=5, delays=[], manual_from=0)
    assert refused.value.message == (
        "bucket_shares: 0 is not valid; capacity: 0 is not valid; a bucket of zero releases "
        f"nothing; set a limit; for no limit give {UNLIMITED}, to let nothing pass use a pause"
    )
    assert refused.value.metadata == {"field": "bucket_shares", "value": "0"}


@pytest.mark.parametrize("text", [b"bucket=1 refill=0 manual=0", b"\xff" * 50, b"no text at all"])
def test_limits__garbled_text__is_named_by_its_beginning(text: bytes) -> None:
    with pytest.raises(InvalidMessage) as refused:
        parse_limits(text)
    assert refused.value.code == "FIELD_INVALID"
    assert refused.value.message == (
        f"payload: {text[:40]!r} is not valid; give limits in the form of limits_text"
    )
    assert refused.value.metadata["field"] == "payload"


def test_limits__in_another_order_of_fields__are_the_same() -> None:
    text = b"delays=1:60,5:90 manual=0 refill=2 bucket=100"
    assert parse_limits(text) == Limits(FULL, tuple(delays((1, 60), (5, 90))))
    assert parse_limits(b"delays= manual=4 refill=9 bucket=none") == Limits(None, (), 4)
    for wrong in (
        b"delays=1:2:3 manual=0 refill=2 bucket=100",
        b"delays= manual=0 refill=0 bucket=NONE",
        b"delays= manual=0  refill=0 bucket=none",
        b"delays= manual=0 refill=0 bucket=none\n",
    ):
        with pytest.raises(InvalidMessage):
            parse_limits(wrong)

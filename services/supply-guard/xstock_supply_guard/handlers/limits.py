"""The limits in force: from the registry, or as two people set them at run time.

Limits are whole: those of an asset set by people, else those the registry has for it, else those
people set for all the others, else the registry's usual ones. A bucket that was taken from keeps
its level when its size changes. What is burned on a chain flows back into the buckets of releases
to it (INV-11), in the transaction that books the burn.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from xstock_core.amount import InvalidAmount
from xstock_core.bucket import Bucket, BucketKey
from xstock_core.ids import U64_MAX, AssetId, Domain
from xstock_core.observation import BurnFinal
from xstock_core.review import Delay
from xstock_runtime.errors import invalid_field
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.model import Limits
from xstock_supply_guard.ports import GuardReads, GuardUnit

_invalid = partial(invalid_field, "FIELD_INVALID")

DELAY_SECONDS_MAX = 30 * 86_400
DELAYS_MAX = 16
UNLIMITED = U64_MAX
"""A bucket of the largest number is none, as in the registry."""
_NONE = "none"


async def limits_in_force(
    desk: Desk, books: GuardReads, assets: Collection[AssetId]
) -> dict[AssetId, Limits]:
    """The limits of each of these assets."""
    policy = desk.config.policy
    stored = await books.limits()
    usual = stored.get(None) or Limits(policy.bucket, policy.delays, policy.manual_from)
    return {
        asset: stored.get(asset) or policy.limits_by_asset.get(asset) or usual for asset in assets
    }


def full_buckets(
    limits: Mapping[AssetId, Limits], keys: Collection[BucketKey]
) -> dict[BucketKey, Bucket]:
    """The full bucket of each key whose asset has one."""
    return {
        key: bucket
        for key in keys
        if key.asset in limits and (bucket := limits[key.asset].bucket) is not None
    }


def fit(known: Bucket | None, full: Bucket, now: int) -> Bucket:
    """The bucket as it stands, in the size that is in force; one never taken from is full."""
    if known is None:
        return full
    if (known.capacity, known.refill_per_second) == (full.capacity, full.refill_per_second):
        return known
    level = min(full.capacity, known.level_at(now))
    return Bucket(full.capacity, full.refill_per_second, level, max(now, known.as_of))


async def buckets_in_force(
    books: GuardReads,
    limits: Mapping[AssetId, Limits],
    keys: Collection[BucketKey],
    now: int,
) -> dict[BucketKey, Bucket]:
    """Each bucket as it stands now; a key without any limit is absent."""
    full = full_buckets(limits, keys)
    known = await books.buckets(full.keys()) if full else {}
    return {key: fit(known.get(key), bucket, now) for key, bucket in full.items()}


async def refit(desk: Desk, unit: GuardUnit, asset: AssetId | None) -> None:
    """Bring the levels of an asset's buckets (None: of all) into the size now in force.

    From this second on they refill at the new rate, not at the old one until they are next used.
    """
    assets = list(desk.config.assets) if asset is None else [asset]
    sources = (None, Domain.CUSTODY, *desk.config.chains)
    keys = [
        BucketKey(one, destination, source)
        for one in assets
        for destination in desk.config.chains
        for source in sources
    ]
    full = full_buckets(await limits_in_force(desk, unit, assets), keys)
    known = await unit.buckets(full.keys()) if full else {}
    fitted = {key: fit(bucket, full[key], desk.now) for key, bucket in known.items()}
    if fitted:
        await unit.save_buckets(fitted)


async def flow_back(desk: Desk, unit: GuardUnit, burns: Sequence[BurnFinal]) -> None:
    """Give what was burned on a chain to the buckets of releases to it, as Wormhole NTT does.

    A bucket that nothing was taken from is full and stays so.
    """
    if not burns:
        return
    limits = await limits_in_force(desk, unit, {burn.message.asset for burn in burns})
    lanes: dict[tuple[AssetId, Domain, Domain], int] = {}
    for burn in burns:
        said = burn.message
        lane = said.asset, said.source, said.destination
        lanes[lane] = lanes.get(lane, 0) + said.amount
    back: dict[BucketKey, int] = {}
    for (asset, source, destination), amount in lanes.items():
        for key in (BucketKey(asset, source), BucketKey(asset, source, destination)):
            back[key] = back.get(key, 0) + amount
    full = full_buckets(limits, back)
    known = await unit.buckets(full.keys()) if full else {}
    given = {
        key: fit(bucket, full[key], desk.now).give(back[key], desk.now)
        for key, bucket in known.items()
    }
    if given:
        await unit.save_buckets(given)


def limits_text(limits: Limits) -> bytes:
    """Limits as a proposal keeps them: one line that people can read too."""
    bucket = limits.bucket
    shares, refill = (bucket.capacity, bucket.refill_per_second) if bucket else (_NONE, 0)
    delays = ",".join(f"{one.from_shares}:{one.seconds}" for one in limits.delays)
    return (
        f"bucket={shares} refill={refill} manual={limits.manual_from or 0} delays={delays}".encode()
    )


def parse_limits(text: bytes) -> Limits:
    """The limits in a proposal's text; raises InvalidMessage."""
    try:
        fields = dict(part.split("=", 1) for part in text.decode("ascii").split(" "))
        tiers = [one.split(":", 1) for one in fields["delays"].split(",") if one]
        return make_limits(
            bucket_shares=UNLIMITED if fields["bucket"] == _NONE else int(fields["bucket"]),
            refill_per_second=int(fields["refill"]),
            delays=[Delay(int(shares), int(seconds)) for shares, seconds in tiers],
            manual_from=int(fields["manual"]),
        )
    except (ValueError, KeyError) as error:
        raise _invalid("payload", text[:40], "give limits in the form of limits_text") from error


def make_limits(
    *, bucket_shares: int, refill_per_second: int, delays: Sequence[Delay], manual_from: int
) -> Limits:
    """Limits, checked; a bucket of UNLIMITED is none, `manual_from` 0 too. Raises InvalidMessage.

    SECURITY: a bucket of 0 is refused: whoever leaves the figure out, or means that nothing may
    pass, must not take the limit away.
    """
    if len(delays) > DELAYS_MAX:
        raise _invalid("delays", len(delays), f"give at most {DELAYS_MAX}")
    amounts = [one.from_shares for one in delays]
    if amounts != sorted(set(amounts)) or any(amount < 1 for amount in amounts):
        raise _invalid("delays", amounts, "give tiers by rising amount, from 1 on")
    for one in delays:
        if not 1 <= one.seconds <= DELAY_SECONDS_MAX:
            raise _invalid("delays", one.seconds, f"give 1 to {DELAY_SECONDS_MAX} seconds")
    bucket = None
    if bucket_shares != UNLIMITED:
        refill = min(refill_per_second, bucket_shares)
        try:
            bucket = Bucket(bucket_shares, refill, bucket_shares, 0)
        except InvalidAmount as error:
            remedy = f"{error}; for no limit give {UNLIMITED}, to let nothing pass use a pause"
            raise _invalid("bucket_shares", bucket_shares, remedy) from error
    return Limits(bucket, tuple(delays), manual_from or None)

"""The registry and the settings as this guard's own configuration, refused when it is weak."""

from collections.abc import Sequence

from xstock_chains.profiles import parse_address
from xstock_chains.registry import DelayEntry, LimitsEntry, Registry
from xstock_core.bucket import Bucket
from xstock_core.ids import U64_MAX, Address32, AssetId, Domain
from xstock_core.review import Delay, Route, RouteKey
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Fatal
from xstock_supply_guard.adapters.screening import SignedListFile
from xstock_supply_guard.adapters.signatures import signature_valid
from xstock_supply_guard.model import (
    AssetConfig,
    ChainConfig,
    GuardConfig,
    Limits,
    PolicyConfig,
)
from xstock_supply_guard.settings import GuardSettings

_POLL_SECONDS_MIN = 0.2
_POLL_SECONDS_MAX = 5.0


def guard_config(registry: Registry, settings: GuardSettings) -> GuardConfig:
    """This guard's configuration. Raises Fatal CONFIG_REFUSED naming field, value and remedy."""
    check_providers(registry, settings)
    if settings.guard_id not in {guard.id for guard in registry.guards}:
        known = ", ".join(guard.id for guard in registry.guards)
        raise _refused("guard_id", settings.guard_id, f"the registry knows {known}")
    chains = {}
    for entry in registry.chains:
        bridge_on, bridges = _bridges(registry, entry.name)
        chains[entry.domain] = ChainConfig(
            domain=entry.domain,
            name=entry.name,
            bridge_on=bridge_on,
            bridges=bridges,
            batch_items_max=entry.batch_items_max,
            poll_seconds=settings.poll_seconds or _poll_seconds(entry.block_time_ms),
        )
    return GuardConfig(
        guard_id=settings.guard_id,
        deployment_id=registry.deployment_id,
        chains=chains,
        assets=_assets(registry, chains),
        routes=routes(registry),
        issuers={one.key_id: one.public_key for one in registry.issuers},
        attestors={one.key_id: one.public_key for one in registry.attestors},
        custodians=frozenset(o.key_id for o in registry.attestors if o.role == "custodian"),
        guard_papers={one.id: one.paper_key for one in registry.guards if one.paper_key},
        threshold=registry.threshold,
        policy=_policy(registry),
        page_limit=settings.page_limit,
        review_wait_seconds=settings.review_wait_seconds,
        fresh_key=settings.fresh_key,
        restore_mark=settings.restore_mark,
    )


def _bridges(
    registry: Registry, chain: str
) -> tuple[dict[AssetId, Address32], frozenset[Address32]]:
    """The bridge in use by asset, and every one ever registered on the chain."""
    in_use, ever = {}, set()
    for asset in registry.assets:
        if asset.on(chain) is None:
            continue
        in_use[asset.id] = parse_address(
            registry, chain, registry.bridge_on(chain, asset.id).address
        )
        for bridge in registry.bridges_on(chain, asset.id):
            ever.add(parse_address(registry, chain, bridge.address))
    return in_use, frozenset(ever)


def _poll_seconds(block_time_ms: int) -> float:
    return min(_POLL_SECONDS_MAX, max(_POLL_SECONDS_MIN, block_time_ms / 2000))


def _refused(field: str, value: object, remedy: str) -> Fatal:
    return Fatal(
        "CONFIG_REFUSED",
        f"{field}: {value!r} is not valid; {remedy}",
        {"field": field, "value": value},
    )


def check_providers(registry: Registry, settings: GuardSettings) -> None:
    """Every chain has providers of this guard's own, and a quorum above half (F83, INV-12)."""
    names = {entry.name for entry in registry.chains}
    if set(settings.providers) != names:
        remedy = f"give providers for exactly {sorted(names)}"
        raise _refused("providers", sorted(settings.providers), remedy)
    shared = {url.rstrip("/") for url in settings.foreign_providers}
    for name, urls in settings.providers.items():
        count = len(urls)
        if len({url.rstrip("/") for url in urls}) != count:
            raise _refused(f"providers.{name}", count, "name every provider once")
        # SECURITY: F01 poisoned the providers that watcher and verifier had in common.
        if any(url.rstrip("/") in shared for url in urls):
            raise _refused(f"providers.{name}", count, "one of them is in foreign_providers")
        needed = settings.provider_quorum or count // 2 + 1
        if not count // 2 < needed <= count:
            remedy = f"with {count} providers of {name} use {count // 2 + 1} to {count}"
            raise _refused("provider_quorum", needed, remedy)


def _policy(registry: Registry) -> PolicyConfig:
    policy = registry.policy
    return PolicyConfig(
        attestation_age_seconds_max=policy.attestation_age_seconds_max,
        margin_bps=policy.margin_bps,
        permit_seconds=policy.permit_seconds,
        order_seconds_max=policy.order_seconds_max,
        attestors_needed=policy.attestors_needed,
        under_collateral_seconds_max=policy.under_collateral_seconds_max,
        bucket=_bucket(policy.bucket_shares, policy.bucket_refill_shares_per_second),
        delays=_delays(policy.delays),
        manual_from=policy.manual_review_shares,
        limits_by_asset={
            asset.id: _limits(asset.limits) for asset in registry.assets if asset.limits is not None
        },
        refund_review_from=policy.refund_review_shares,
        supply_age_seconds_max=policy.supply_age_seconds_max,
    )


def _bucket(shares: int, refill: int) -> Bucket | None:
    """A full bucket; the largest number means that there is none."""
    return Bucket(shares, min(refill, shares), shares, 0) if shares < U64_MAX else None


def _delays(entries: Sequence[DelayEntry]) -> tuple[Delay, ...]:
    return tuple(Delay(one.from_shares, one.seconds) for one in entries)


def _limits(entry: LimitsEntry) -> Limits:
    shares = U64_MAX if entry.bucket_shares is None else entry.bucket_shares
    bucket = _bucket(shares, entry.bucket_refill_shares_per_second)
    return Limits(bucket, _delays(entry.delays), entry.manual_review_shares)


def screening_list(
    registry: Registry, settings: GuardSettings, clock: Clock
) -> SignedListFile | None:
    """The screening list to ask; None where nobody is screened. Raises Fatal CONFIG_REFUSED."""
    keys = {one.key_id: one.public_key for one in registry.screeners}
    path = settings.screening_list_path
    # SECURITY: a deployment that screens must not run without its list.
    if keys and path is None:
        raise _refused("screening_list_path", None, "the registry has screeners; name their list")
    if path is None:
        return None
    if not keys:
        remedy = "the registry has no screeners to believe; register one"
        raise _refused("screening_list_path", path.name, remedy)
    return SignedListFile(path, keys, registry.deployment_id, signature_valid, clock)


def routes(registry: Registry) -> dict[RouteKey, Route]:
    """Every ordered pair of an asset's chains, and from custody to each of them."""
    found: dict[RouteKey, Route] = {}
    for asset in registry.assets:
        places = {registry.chain(one.chain).domain: one for one in asset.deployments}
        for destination in places:
            found[asset.id, Domain.CUSTODY, destination] = Route()
            for source, deployment in places.items():
                if source is not destination:
                    route = Route(minimum=deployment.minimum_shares)
                    found[asset.id, source, destination] = route
    return found


def _assets(registry: Registry, chains: dict[Domain, ChainConfig]) -> dict[AssetId, AssetConfig]:
    bridges = {(domain, bridge) for domain, chain in chains.items() for bridge in chain.bridges}
    inventory = registry.issuer_inventory()
    found = {}
    for asset in registry.assets:
        places = {registry.chain(one.chain): one for one in asset.deployments}
        tokens = {
            (chain.domain, parse_address(registry, chain.name, one.token))
            for chain, one in places.items()
        }
        found[asset.id] = AssetConfig(
            asset=asset.id,
            symbol=asset.symbol,
            decimals={chain.domain: one.decimals for chain, one in places.items()},
            forbidden_recipients=frozenset(bridges | tokens),
            issuer_inventory=inventory.get(asset.id, {}),
        )
    return found

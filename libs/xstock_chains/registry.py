"""The deployment registry: which chains, bridges, assets, guards and limits make one bridge.

One JSON file, read once at start and then immutable. Every service of a deployment reads the
same file, so two of them can only differ in what they see, never in what they look for. It is
parsed strictly: an unknown field, a threshold that two halves of the guards could both reach, a
zero address or a finality other than `finalized` refuses the start (INV-12). It holds no secret.
The fields are described in docs/chains/registry.md.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from base58 import b58encode
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from xstock_chains.addresses import parse_identity, parse_wire, show_wire
from xstock_chains.families import Family
from xstock_core.ids import U64_MAX, Address32, AssetId, Domain, InvalidId, asset_id, parse_domain
from xstock_core.invariants import threshold_sane
from xstock_runtime.errors import Fatal
from xstock_runtime.hashing import keccak256

PERMIT_SECONDS_MAX: Final = 3600
GUARDS_MAX: Final = 32
"""The contract's own bound (GuardSet.GUARDS_MAX)."""


class InvalidRegistry(Fatal):
    """The registry cannot be used; names the field, its value and the remedy."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        shown = repr(value)[:200]
        text = f"registry field {field}: {shown} is not valid; {remedy}"
        super().__init__("REGISTRY_INVALID", text, {"field": field, "value": shown})
        self.field = field


def _hash32(value: object) -> object:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value.startswith("0x") or len(value) != 66:
        raise ValueError("give 0x and 64 hexadecimal digits")
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError as error:
        raise ValueError("give 0x and 64 hexadecimal digits") from error
    if not any(raw):
        raise ValueError("all zeros is what an unset field reads as; give the real hash")
    return raw


def _key_bytes(value: object) -> object:
    if isinstance(value, bytes):
        return value
    text = value[2:] if isinstance(value, str) and value.startswith("0x") else value
    if not isinstance(text, str) or len(text) not in (64, 66):
        raise ValueError("give 33 bytes (compressed secp256k1) or 32 bytes (ed25519) in hex")
    try:
        raw = bytes.fromhex(text)
    except ValueError as error:
        raise ValueError("give hexadecimal digits") from error
    if not any(raw):
        raise ValueError("all zeros is no public key; give the real one")
    return raw


def _domain(value: object) -> object:
    if not isinstance(value, int):
        raise ValueError("give the domain's number")
    try:
        domain = parse_domain(value)
    except InvalidId as error:
        raise ValueError(error.remedy) from error
    if domain is Domain.CUSTODY:
        raise ValueError("100 is custody, which is no chain; give 1 to 6")
    return domain


def _finality(value: str) -> str:
    if value != "finalized":
        raise ValueError('only "finalized" is accepted: providers define every other tag anew')
    return value


_Hex = PlainSerializer(lambda raw: "0x" + raw.hex(), return_type=str, when_used="json")
Hash32 = Annotated[bytes, BeforeValidator(_hash32), _Hex]
PublicKey = Annotated[bytes, BeforeValidator(_key_bytes), _Hex]
ChainDomain = Annotated[Domain, BeforeValidator(_domain)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9._-]+$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BridgeEntry(_Entry):
    """One bridge contract on a chain; retired ones stay listed and stay watched."""

    address: str
    deployed_block: Annotated[int, Field(ge=0, le=U64_MAX)]
    code_hash: Hash32
    """keccak256 of the deployed code, as the self-test must find it."""
    retired_block: Annotated[int, Field(ge=1, le=U64_MAX)] | None = None
    """The block after which burns of this bridge count for nothing; None while it is in use."""


class LaneKeyEntry(_Entry):
    """A lane key of Solana: the base of the marker addresses (docs/chains/solana.md)."""

    key: str
    retired_block: Annotated[int, Field(ge=1, le=U64_MAX)] | None = None
    """The block height after which its markers count for nothing; None while it is in use."""


class ChainEntry(_Entry):
    """One chain of this deployment."""

    name: Name
    domain: ChainDomain
    family: Family
    network_id: Annotated[int, Field(ge=-(2**31), le=2**63 - 1)]
    """The chain's own id in signatures (EVM and Tron: chain id; TON: global id, which is
    negative on its public networks)."""
    genesis_hash: Hash32
    finality: Annotated[str, AfterValidator(_finality)]
    block_time_ms: Annotated[int, Field(ge=1, le=600_000)]
    batch_items_max: Annotated[int, Field(ge=1, le=2000)]
    bridges: Annotated[tuple[BridgeEntry, ...], Field(max_length=16)] = ()
    """Bridges of all assets of the chain; empty on TON, where every asset has its own."""
    lane_keys: Annotated[tuple[LaneKeyEntry, ...], Field(max_length=16)] = ()
    """Solana only: the keys whose markers make a release happen once."""

    @model_validator(mode="after")
    def _one_in_use(self) -> Self:
        if self.network_id == 0 or (self.network_id < 0 and self.family != "ton"):
            raise ValueError(f"network_id {self.network_id} is none; only TON's are negative")
        if self.bridges or self.family != "ton":
            _check_one_in_use("bridges", self.bridges)
        if (self.family == "ton") == bool(self.bridges):
            raise ValueError("on TON every asset has a bridge of its own; give none for the chain")
        if self.family == "solana":
            _check_one_in_use("lane_keys", self.lane_keys)
        elif self.lane_keys:
            raise ValueError("lane_keys exist on Solana only; leave them out")
        _refuse_twice("address", (bridge.address for bridge in self.bridges))
        _refuse_twice("lane_keys", (lane.key for lane in self.lane_keys))
        return self

    @property
    def caip2(self) -> str:
        """The chain's CAIP-2 id (https://chainagnostic.org/CAIPs/caip-2)."""
        match self.family:
            case "evm":
                return f"eip155:{self.network_id}"
            case "solana":
                return f"solana:{b58encode(self.genesis_hash).decode()[:32]}"
            case "tron":
                return f"tron:{self.network_id:#x}"
            case "ton":
                return f"tvm:{self.network_id}"

    @property
    def bridge(self) -> BridgeEntry:
        """The chain's bridge in use; raises InvalidRegistry where every asset has its own."""
        for bridge in self.bridges:
            if bridge.retired_block is None:
                return bridge
        raise InvalidRegistry(f"{self.name}.bridges", (), "ask for the bridge of an asset")

    @property
    def lane_key(self) -> LaneKeyEntry:
        """The lane key in use; raises InvalidRegistry on families without any."""
        for lane in self.lane_keys:
            if lane.retired_block is None:
                return lane
        raise InvalidRegistry(f"{self.name}.lane_keys", (), "only Solana has lane keys")


class AssetDeployment(_Entry):
    """An asset's token on one chain."""

    chain: Name
    token: str
    decimals: Annotated[int, Field(ge=0, le=36)]
    kind: Literal["evm_shares", "token_2022", "jetton"]
    minimum_shares: Annotated[int, Field(ge=1, le=U64_MAX)]
    """Least amount of a transfer from this chain, in 10^-8 shares."""
    bridges: Annotated[tuple[BridgeEntry, ...], Field(max_length=16)] = ()
    """Bridges of this asset alone, where the family has one per asset: TON's jetton minters,
    Solana's reference keys. They are what messages of this asset name as source bridge."""
    issuer_inventory: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    """Owners whose holdings are the issuer's unsold stock: addresses in the chain's own text,
    of owners, never of their token accounts."""

    @model_validator(mode="after")
    def _one_in_use(self) -> Self:
        if self.bridges:
            _check_one_in_use("bridges", self.bridges)
            _refuse_twice("address", (bridge.address for bridge in self.bridges))
        return self

    @property
    def caip19_kind(self) -> str:
        """The CAIP-19 asset namespace (https://chainagnostic.org/CAIPs/caip-19)."""
        return {"evm_shares": "erc20", "token_2022": "token", "jetton": "jetton"}[self.kind]


class DelayEntry(_Entry):
    """Amounts from `from_shares` (10^-8 shares) wait `seconds` after their burn is final."""

    from_shares: Annotated[int, Field(ge=1, le=U64_MAX)]
    seconds: Annotated[int, Field(ge=1, le=30 * 86_400)]


class LimitsEntry(_Entry):
    """An asset's own limits, whole: they stand instead of the policy's."""

    bucket_shares: Annotated[int, Field(ge=1, le=U64_MAX)] | None = None
    bucket_refill_shares_per_second: Annotated[int, Field(ge=0, le=U64_MAX)] = 0
    delays: Annotated[tuple[DelayEntry, ...], Field(max_length=16)] = ()
    manual_review_shares: Annotated[int, Field(ge=1, le=U64_MAX)] | None = None

    @model_validator(mode="after")
    def _rising(self) -> Self:
        _check_delays(self.delays)
        return self


class AssetEntry(_Entry):
    """An asset and its deployments."""

    symbol: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")]
    deployments: Annotated[tuple[AssetDeployment, ...], Field(min_length=1, max_length=8)]
    limits: LimitsEntry | None = None
    """None: the policy's."""

    @property
    def id(self) -> AssetId:
        """keccak256("xstock:" + symbol)."""
        return asset_id(self.symbol, keccak256)

    def on(self, chain: str) -> AssetDeployment | None:
        """The deployment on the chain with this name, if there is one."""
        return next((found for found in self.deployments if found.chain == chain), None)


class GuardEntry(_Entry):
    """One supply-guard: its name, its public identity per chain family, its gRPC endpoint."""

    id: Name
    keys: Annotated[dict[Family, str], Field(min_length=1)]
    paper_key: PublicKey | None = None
    """The key under which it signs papers of its own: supply proofs, openings."""
    endpoint: Annotated[str, Field(min_length=3, max_length=255)]


class IssuerEntry(_Entry):
    """A key that may sign issuance orders and VOIDs."""

    key_id: Name
    public_key: PublicKey


class AttestorEntry(_Entry):
    """A key that may sign attestations; custody's own may reject redemptions too."""

    key_id: Name
    public_key: PublicKey
    role: Literal["custodian", "agent"] = "custodian"


class ScreenerEntry(_Entry):
    """A key that may sign screening lists."""

    key_id: Name
    public_key: PublicKey


class Policy(_Entry):
    """Limits that every guard applies; amounts in 10^-8 shares, times in seconds."""

    attestation_age_seconds_max: Annotated[int, Field(ge=1, le=30 * 86_400)]
    margin_bps: Annotated[int, Field(ge=0, le=10_000)]
    """Hundredths of a percent of the attested shares that may not be used."""
    permit_seconds: Annotated[int, Field(ge=30, le=PERMIT_SECONDS_MAX)]
    """How long a signed release stays good; the contract refuses more than 3,600."""
    attestors_needed: Annotated[int, Field(ge=1, le=32)] = 1
    """K: how many attestors must sign the very same attestation before it counts."""
    under_collateral_seconds_max: Annotated[int, Field(ge=1, le=30 * 86_400)] = 3600
    """An asset whose exposure stays above its cap for longer is halted."""
    order_seconds_max: Annotated[int, Field(ge=60, le=86_400)] = 86_400
    """The longest life of an issuance order."""
    bucket_shares: Annotated[int, Field(ge=1, le=U64_MAX)] = U64_MAX
    """The guards' own release bucket per asset and lane: its capacity."""
    bucket_refill_shares_per_second: Annotated[int, Field(ge=0, le=U64_MAX)] = U64_MAX
    faulty_guards_max: Annotated[int, Field(ge=0, le=GUARDS_MAX)] = 0
    """f: how many bad guards the deployment must survive; needs 2M - N > f."""
    delays: Annotated[tuple[DelayEntry, ...], Field(max_length=16)] = ()
    """Large amounts wait after their burn is final, by rising amount."""
    manual_review_shares: Annotated[int, Field(ge=1, le=U64_MAX)] | None = None
    """From this amount on two people review; None: only what no bucket can hold."""
    refund_review_shares: Annotated[int, Field(ge=1, le=U64_MAX)] | None = None
    """Refunds from this amount on take two people; None: no refund does."""
    supply_age_seconds_max: Annotated[int, Field(ge=0, le=86_400)] = 0
    """A chain whose supply was not read for longer holds its assets; 0 asks nobody, and is
    refused in production."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        _check_delays(self.delays)
        return self


class Registry(_Entry):
    """One deployment of the bridge."""

    deployment_id: Name
    environment: Literal["development", "testnet", "production"]
    chains: Annotated[tuple[ChainEntry, ...], Field(min_length=1, max_length=16)]
    assets: Annotated[tuple[AssetEntry, ...], Field(max_length=4096)]
    guards: Annotated[tuple[GuardEntry, ...], Field(min_length=1, max_length=GUARDS_MAX)]
    threshold: int
    guard_epoch: Annotated[int, Field(ge=1, le=2**32 - 1)]
    issuers: tuple[IssuerEntry, ...] = ()
    attestors: tuple[AttestorEntry, ...] = ()
    screeners: tuple[ScreenerEntry, ...] = ()
    """Empty: nobody is screened by a list."""
    policy: Policy

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_threshold(self.threshold, len(self.guards), self.policy.faulty_guards_max)
        _check_unique(self)
        _check_attestors(self.policy.attestors_needed, len(self.attestors))
        _check_addresses(self)
        _check_deployments(self)
        if self.environment == "production" and not self.policy.supply_age_seconds_max:
            raise ValueError("policy.supply_age_seconds_max 0 is off; production needs a limit")
        return self

    def chain(self, which: Domain | str) -> ChainEntry:
        """The chain with this domain or name; raises InvalidRegistry if it is not configured."""
        for entry in self.chains:
            if which in (entry.domain, entry.name):
                return entry
        known = ", ".join(entry.name for entry in self.chains)
        raise InvalidRegistry("chains", which, f"configured are: {known}")

    def asset(self, which: AssetId | str) -> AssetEntry:
        """The asset with this id or symbol; raises InvalidRegistry if it is not configured."""
        for entry in self.assets:
            if which in (entry.symbol, entry.id):
                return entry
        shown = which.hex() if isinstance(which, bytes) else which
        raise InvalidRegistry("assets", shown, "register the asset, or check the symbol")

    def bridges_on(self, chain: str, asset: AssetId | str) -> tuple[BridgeEntry, ...]:
        """Every bridge ever registered for an asset on a chain: its own, else the chain's.

        Raises InvalidRegistry for an asset that is not deployed there.
        """
        deployment = self.asset(asset).on(chain)
        if deployment is None:
            raise InvalidRegistry("assets", self.asset(asset).symbol, f"not deployed on {chain}")
        return deployment.bridges or self.chain(chain).bridges

    def bridge_on(self, chain: str, asset: AssetId | str) -> BridgeEntry:
        """The bridge in use for an asset on a chain: messages and batches name this one."""
        bridges = self.bridges_on(chain, asset)
        return next(bridge for bridge in bridges if bridge.retired_block is None)

    def issuer_inventory(self) -> dict[AssetId, dict[Domain, frozenset[Address32]]]:
        """Who holds issuer inventory, in the wire form of messages: asset -> chain -> owners.

        Assets and chains for which none is named are absent. Parses texts: ask once and keep it.
        """
        chains = {chain.name: chain for chain in self.chains}
        found: dict[AssetId, dict[Domain, frozenset[Address32]]] = {}
        for asset in self.assets:
            for one in asset.deployments:
                chain = chains[one.chain]
                owners = frozenset(parse_wire(chain.family, text) for text in one.issuer_inventory)
                if owners:
                    found.setdefault(asset.id, {})[chain.domain] = owners
        return found

    def guard_identities(self, family: Family) -> tuple[str, ...]:
        """The guards' public identities on a family, in the registry's order."""
        return tuple(guard.keys[family] for guard in self.guards if family in guard.keys)


def load_registry(path: Path) -> Registry:
    """Read and check the registry file; raises InvalidRegistry."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        remedy = f"cannot read the file ({error.strerror}); check the path and its rights"
        raise InvalidRegistry("file", str(path), remedy) from error
    return parse_registry(text)


def parse_registry(text: str) -> Registry:
    """The registry in this JSON text; raises InvalidRegistry naming field, value and remedy."""
    try:
        json.loads(text, object_pairs_hook=_no_duplicates)
        return Registry.model_validate_json(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRegistry("file", where, f"write valid JSON: {error.msg}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "registry"
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidRegistry(field, _blamed(first["input"]), message) from error


def _blamed(value: Any) -> Any:
    return "see the remedy" if isinstance(value, dict | list | BaseModel) else value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise InvalidRegistry(key, f"given {count} times", "give every field once")
    return dict(pairs)


def _refuse_twice(field: str, values: Iterable[object]) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            shown = value.hex() if isinstance(value, bytes) else value
            raise ValueError(f"{field} {shown} is given {count} times; give it once")


def _check_threshold(threshold: int, guards: int, faulty: int) -> None:
    """SECURITY: with M <= N/2 two halves of the guards could sign two truths (F83, INV-12)."""
    if not threshold_sane(guards, threshold):
        least = guards // 2 + 1
        raise ValueError(f"threshold {threshold} of {guards} guards; use {least} to {guards}")
    if faulty and 2 * threshold - guards <= faulty:
        raise ValueError(
            f"threshold {threshold} of {guards} does not survive {faulty} bad guards; "
            "2 x threshold - guards must exceed faulty_guards_max"
        )


def _check_attestors(needed: int, attestors: int) -> None:
    """SECURITY: K of none is what anybody can sign; K above J is what nobody can (F83)."""
    if needed > max(1, attestors):
        raise ValueError(
            f"policy.attestors_needed: {needed} of {attestors} attestors; use 1 to {attestors}"
        )


def _check_unique(registry: Registry) -> None:
    _refuse_twice("chains.name", (chain.name for chain in registry.chains))
    _refuse_twice("chains.domain", (int(chain.domain) for chain in registry.chains))
    _refuse_twice(
        "chains.network_id", ((chain.family, chain.network_id) for chain in registry.chains)
    )
    _refuse_twice("assets.symbol", (asset.symbol for asset in registry.assets))
    _refuse_twice("guards.id", (guard.id for guard in registry.guards))
    _refuse_twice(
        "guards.paper_key", (guard.paper_key for guard in registry.guards if guard.paper_key)
    )
    for keys in (registry.issuers, registry.attestors, registry.screeners):
        _refuse_twice("key_id", (entry.key_id for entry in keys))
        _refuse_twice("public_key", (entry.public_key for entry in keys))


def _check_delays(delays: Sequence[DelayEntry]) -> None:
    amounts = [one.from_shares for one in delays]
    if amounts != sorted(set(amounts)):
        raise ValueError(f"delays.from_shares {amounts} do not rise; order them, each amount once")


def _check_one_in_use(field: str, entries: Sequence[BridgeEntry | LaneKeyEntry]) -> None:
    used = sum(entry.retired_block is None for entry in entries)
    if used != 1:
        raise ValueError(f"{used} {field} without retired_block; exactly one is in use")


def _check_addresses(registry: Registry) -> None:
    for family in sorted({chain.family for chain in registry.chains}):
        keys = []
        for guard in registry.guards:
            field = f"guards.{guard.id}.keys.{family}"
            if family not in guard.keys:
                raise ValueError(f"{field} is missing; give the guard's public identity there")
            keys.append(parse_identity(family, guard.keys[family], field))
        _refuse_twice(f"guards.keys.{family}", keys)
    for chain in registry.chains:
        for bridge in chain.bridges:
            parse_wire(chain.family, bridge.address, f"chains.{chain.name}.bridges.address")
        for lane in chain.lane_keys:
            parse_wire(chain.family, lane.key, f"chains.{chain.name}.lane_keys.key")


def _check_deployments(registry: Registry) -> None:
    families = {chain.name: chain.family for chain in registry.chains}
    tokens: list[tuple[str, Address32]] = []
    own: list[tuple[str, Address32]] = []
    for asset in registry.assets:
        _refuse_twice(f"assets.{asset.symbol}.chain", (one.chain for one in asset.deployments))
        for one in asset.deployments:
            if one.chain not in families:
                raise ValueError(
                    f"assets.{asset.symbol} is deployed on {one.chain!r}, which is no chain here"
                )
            field = f"assets.{asset.symbol}.{one.chain}"
            family = families[one.chain]
            _check_kind(field, one, family)
            tokens.append((one.chain, parse_wire(family, one.token, f"{field}.token")))
            for bridge in one.bridges:
                wire = parse_wire(family, bridge.address, f"{field}.bridges.address")
                own.append((one.chain, wire))
    _refuse_twice("assets.deployments.token", [(chain, wire.hex()) for chain, wire in tokens])
    _refuse_twice("assets.deployments.bridges", [(chain, wire.hex()) for chain, wire in own])
    for chain in registry.chains:
        ours = {wire for name, wire in (*tokens, *own) if name == chain.name}
        _check_inventory(registry, chain, ours | _wires_of(chain))


def _wires_of(chain: ChainEntry) -> set[Address32]:
    texts = [bridge.address for bridge in chain.bridges] + [lane.key for lane in chain.lane_keys]
    return {parse_wire(chain.family, text) for text in texts}


def _check_inventory(registry: Registry, chain: ChainEntry, ours: Set[Address32]) -> None:
    """SECURITY: inventory raises what may be issued, so it is what it says: somebody's own,
    counted once, and never what a token or a bridge of ours holds."""
    for asset in registry.assets:
        deployment = asset.on(chain.name)
        texts = deployment.issuer_inventory if deployment else ()
        field = f"assets.{asset.symbol}.{chain.name}.issuer_inventory"
        owners = [parse_wire(chain.family, text, field) for text in texts]
        _refuse_twice(field, (show_wire(chain.family, owner) for owner in owners))
        for text, owner in zip(texts, owners, strict=True):
            if owner in ours:
                raise ValueError(
                    f"{field} {text} is a token, bridge or lane key of this registry; "
                    "give accounts of the issuer"
                )


@dataclass(frozen=True, slots=True)
class _Standard:
    """What a deployment of a family looks like."""

    kind: str
    decimals: range
    own_bridge: bool


_STANDARDS: Final[Mapping[Family, _Standard]] = {
    "evm": _Standard("evm_shares", range(18, 19), own_bridge=False),
    "tron": _Standard("evm_shares", range(18, 19), own_bridge=False),
    "solana": _Standard("token_2022", range(8, 9), own_bridge=True),
    "ton": _Standard("jetton", range(19), own_bridge=True),
}


def _check_kind(field: str, one: AssetDeployment, family: Family) -> None:
    standard = _STANDARDS[family]
    if one.kind != standard.kind or one.decimals not in standard.decimals:
        least, most = standard.decimals[0], standard.decimals[-1]
        decimals = str(least) if least == most else f"{least} to {most}"
        raise ValueError(
            f"{field}: kind {one.kind}, decimals {one.decimals}; a token of family {family} is "
            f"{standard.kind} with {decimals} decimals"
        )
    if bool(one.bridges) != standard.own_bridge:
        wanted = "needs bridges of its own" if standard.own_bridge else "has the chain's bridge"
        raise ValueError(f"{field}.bridges: {len(one.bridges)} given; an asset there {wanted}")

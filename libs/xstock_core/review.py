"""What a guard reviews and what it knows: claims, evidence and the context of a page.

A claim is what a relayer says; evidence is what this guard's own providers and cursors say
about it. The context is everything else the policies need, loaded once for a whole page:
ledger balances, caps, buckets, halts. Nothing here decides; `policy` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from xstock_core.bucket import Bucket, BucketKey
from xstock_core.cap import Attestation
from xstock_core.ids import Address32, AssetId, Domain, TransferId
from xstock_core.inventory import InventoryReading
from xstock_core.ledger import Balances
from xstock_core.message import TransferMessage
from xstock_core.observation import BurnFinal, CancelFinal, OrphanBurn
from xstock_core.release import Action


@dataclass(frozen=True, slots=True)
class NotReached:
    """This guard's cursor has not come so far: never evidence of absence."""

    chain: Domain
    eta: int | None = None
    """Unix seconds at which it may be final, if the chain's own clock lets one say."""


@dataclass(frozen=True, slots=True)
class Dissent:
    """The guard's providers disagree about final data of the source chain."""

    chain: Domain


@dataclass(frozen=True, slots=True)
class BurnAbsent:
    """This guard's cursor passed the claimed place and there is no such burn."""

    chain: Domain


@dataclass(frozen=True, slots=True)
class IssueOrder:
    """An issuance order as the issuer signed it; `expiry` in Unix seconds.

    `signature_valid` is the codec's finding about the issuer's signature over these bytes.
    """

    message: TransferMessage
    order: int
    expiry: int
    signature_valid: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a REFUND stands on: the burn, its final cancellation at the destination, and the
    refund message that this guard derived from both (`refund.refund_of`)."""

    burn: BurnFinal
    cancel: CancelFinal
    refund: TransferMessage


@dataclass(frozen=True, slots=True)
class NotCancelled:
    """The burn of this REFUND is known, and its destination has not finally cancelled it."""

    chain: Domain


@dataclass(frozen=True, slots=True)
class NotApproved:
    """The orphan burn of this REFUND is known, and people have not approved its refund here."""

    chain: Domain


@dataclass(frozen=True, slots=True)
class Rejected:
    """What the REFUND of a redemption stands on: the burn, which custody has rejected for good,
    and the refund message that this guard derived from it."""

    burn: BurnFinal
    refund: TransferMessage


@dataclass(frozen=True, slots=True)
class OrphanApproved:
    """What an orphan's REFUND stands on: the orphan burn, whose refund two people have approved
    at this guard, and the refund message that it derived from it."""

    orphan: OrphanBurn
    refund: TransferMessage


@dataclass(frozen=True, slots=True)
class Recorded:
    """This guard granted the claim earlier and has its evidence in its books.

    `not_after` is the expiry of an ISSUE order in Unix seconds, else None.
    """

    not_after: int | None = None
    sender: Address32 | None = None
    """Who burned, where somebody asks for it again."""


Evidence = (
    BurnFinal
    | IssueOrder
    | Cancelled
    | NotCancelled
    | NotApproved
    | Rejected
    | OrphanApproved
    | Recorded
    | NotReached
    | Dissent
    | BurnAbsent
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed transfer with this guard's own evidence, and what is to happen to it."""

    transfer_id: TransferId
    message: TransferMessage
    evidence: Evidence
    action: Action = Action.RELEASE


@dataclass(frozen=True, slots=True)
class Scope:
    """What a pause or halt covers: a field that is None means all of them."""

    asset: AssetId | None = None
    source: Domain | None = None
    destination: Domain | None = None


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Route:
    """An open route of an asset; amounts in shares.

    Amounts from `delay_from` wait `delay_seconds` after the burn's final block (None: never).
    """

    minimum: int = 1
    delay_from: int | None = None
    delay_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Delay:
    """Amounts from `from_shares` wait `seconds` after their burn's final block."""

    from_shares: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Window:
    """A corporate action: from `opens` to `closes` (Unix seconds) nothing of the asset moves.

    It stays shut after `closes` until `settled`: all chains and custody state the new multiplier.
    """

    opens: int
    closes: int
    settled: bool = False
    why: str = ""
    """What is awaited, for people."""


@dataclass(frozen=True, slots=True)
class IssueSequence:
    """The issuance orders of an asset so far: every order up to `reserved_through` is
    reserved or closed; `issuer` is the registered refund address (the key's hash)."""

    reserved_through: int
    issuer: Address32


@dataclass(frozen=True, slots=True)
class AssetView:
    """What the guard knows of one asset. `drift` None means that supply was not read lately."""

    attestation: Attestation | None
    attestation_age_max: int
    margin_bps: int = 0
    drift: bool | None = False
    opened: bool | None = True
    """False while supply from before the bridge is not booked; None while nobody has looked."""
    windows: tuple[Window, ...] = ()
    issuance: IssueSequence | None = None
    forbidden_recipients: frozenset[tuple[Domain, Address32]] = frozenset()
    """The token's and bridge's own addresses per chain: shares sent there are lost."""
    delays: tuple[Delay, ...] = ()
    manual_from: int | None = None
    """From this amount on a person reviews; None: only what no bucket can hold."""
    inventory: tuple[InventoryReading, ...] = ()
    """Issuer inventory that nobody can claim, chain by chain: it lies on top of the cap."""

    @property
    def excluded(self) -> int:
        """The inventory of all chains, in shares."""
        return sum(one.shares for one in self.inventory)

    @property
    def limit(self) -> int | None:
        """What exposure may come to (INV-04); None without an attestation."""
        if self.attestation is None:
            return None
        return self.attestation.limit(self.margin_bps, self.excluded)


RouteKey = tuple[AssetId, Domain, Domain]


@dataclass(frozen=True, slots=True)
class Context:
    """Everything the policies may look at, as of `now` (Unix seconds, the guard's clock).

    `balances` already hold every fact of this guard's cursors. `waiting` names, per bucket,
    the claims that wait for it, oldest first: no later one may overtake them. Of a long queue
    its beginning is enough, as long as it has more claims than the page.
    """

    now: int
    balances: Balances
    assets: Mapping[AssetId, AssetView]
    routes: Mapping[RouteKey, Route]
    buckets: Mapping[BucketKey, Bucket] = field(default_factory=dict)
    waiting: Mapping[BucketKey, tuple[TransferId, ...]] = field(default_factory=dict)
    halted: frozenset[Scope] = frozenset()
    paused: frozenset[Scope] = frozenset()
    paused_until: Mapping[Scope, int] = field(default_factory=dict)
    """When a pause ends by itself, in Unix seconds; absent: when somebody lifts it."""
    lagging: frozenset[Domain] = frozenset()
    """Chains whose cursor is behind: a burn may be known before the release that funded it."""
    executed: frozenset[TransferId] = frozenset()
    granted: frozenset[TransferId] = frozenset()
    screened: Mapping[Address32, str] = field(default_factory=dict)
    """Listed addresses, with the list's reason."""
    screened_among: frozenset[Address32] | None = None
    """The addresses that the list was asked about; None: there is no list."""
    approved: frozenset[TransferId] = frozenset()
    """Transfers that people have reviewed and let through MANUAL_REVIEW."""
    cleared: Mapping[TransferId, frozenset[Address32]] = field(default_factory=dict)
    """Transfers that people have let through SCREENED, with the addresses they knew as listed."""
    paid: frozenset[TransferId] = frozenset()
    """Redemptions that custody lists as paid out."""
    rejected: frozenset[TransferId] = frozenset()
    """Redemptions that custody has rejected for good."""
    refund_review_from: int | None = None
    """A REFUND of this many shares or more needs people's approval; None: none does."""


def covering(scopes: frozenset[Scope], message: TransferMessage) -> tuple[Scope, ...]:
    """Every scope that covers this message."""
    if not scopes:
        return ()
    return tuple(
        scope
        for scope in scopes
        if scope.asset in (None, message.asset)
        and scope.source in (None, message.source)
        and scope.destination in (None, message.destination)
    )


def covers(scopes: frozenset[Scope], message: TransferMessage) -> Scope | None:
    """A scope that covers this message, if any does."""
    return next(iter(covering(scopes, message)), None)

"""What a guard remembers, as plain frozen values: the vocabulary of its ports.

Everything here is either a fact of this guard's own scan, a decision of this guard, or a paper
that somebody signed. No storage, no transport and no rule lives here; rules are the core's.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType

from xstock_chains.ports import AssetSupply, Cursor
from xstock_core.bucket import Bucket
from xstock_core.cap import Attestation
from xstock_core.ids import Address32, AssetId, Domain, TransferId
from xstock_core.ledger import Account, Entry
from xstock_core.message import TransferMessage
from xstock_core.observation import BlockRef, CancelFinal, ReleaseFinal, TxRef
from xstock_core.release import Action, ExecutionKey
from xstock_core.review import Delay, Route, RouteKey

SERVICE = "service"
"""Who latched a halt, when it was the guard itself."""


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """One chain as this guard must find it."""

    domain: Domain
    name: str
    bridge_on: Mapping[AssetId, Address32]
    """The bridge in use by asset: what releases go to."""
    bridges: frozenset[Address32]
    """Every bridge ever registered here."""
    batch_items_max: int = 400
    poll_seconds: float = 1.0
    """How often the final head is asked for while nobody rings."""


@dataclass(frozen=True, slots=True)
class AssetConfig:
    """One asset: its decimals per chain, and the addresses that must never receive it."""

    asset: AssetId
    symbol: str
    decimals: Mapping[Domain, int]
    forbidden_recipients: frozenset[tuple[Domain, Address32]] = frozenset()
    issuer_inventory: Mapping[Domain, frozenset[Address32]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """By chain, the owners whose holdings are the issuer's own, unsold; absent: none."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Supply that an asset had on a chain when the bridge became its sole minter."""

    shares: int
    """In 10^-8 shares; at least 1."""
    block: int
    """The final block at which it was read: no later than the first burn or release."""
    residue_units: int = 0
    """What is left over below 10^-8 share, in the token's own units; never bridged."""
    booked: int = 0
    """The last block of the chain that this guard had booked before the opening."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one asset's releases; amounts in 10^-8 shares."""

    bucket: Bucket | None = None
    """A full release bucket per destination and per lane; None: only the contracts' own."""
    delays: tuple[Delay, ...] = ()
    manual_from: int | None = None
    """From this amount on a person reviews; None: only what no bucket can hold."""


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """The limits that this guard applies; amounts in 10^-8 shares."""

    attestation_age_seconds_max: int = 86_400
    margin_bps: int = 0
    permit_seconds: int = 3600
    order_seconds_max: int = 86_400
    clock_skew_seconds_max: int = 30
    """How far an attestation's as-of may lie ahead of this guard's clock."""
    dissent_seconds_max: int = 600
    """Dissent about final data that lasts longer latches a halt."""
    unmatched_seconds_max: int = 600
    """A release without a burn halts after this long even if the source's time stands still."""
    unmatched_slack_seconds: int = 30
    """Chains' clocks may differ by this much."""
    attestors_needed: int = 1
    """How many distinct attestors must have signed the very same attestation."""
    under_collateral_seconds_max: int = 3600
    """An asset whose exposure stays above its cap for longer is halted."""
    bucket: Bucket | None = None
    """A full release bucket per asset and lane; None: only the contracts' own buckets."""
    delays: tuple[Delay, ...] = ()
    """Large amounts wait, by size."""
    manual_from: int | None = None
    """From this amount on a person reviews; None: only what no bucket can hold."""
    refund_review_from: int | None = None
    """From this amount on a REFUND needs an operator and an approver; None: none does."""
    limits_by_asset: Mapping[AssetId, Limits] = field(default_factory=lambda: MappingProxyType({}))
    """Assets with limits of their own."""
    supply_age_seconds_max: int = 0
    """A chain whose supply was not read for longer holds its assets; 0: nobody asks."""


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """Who this guard is and what it judges; built once from the registry and settings."""

    guard_id: str
    deployment_id: str
    chains: Mapping[Domain, ChainConfig]
    assets: Mapping[AssetId, AssetConfig]
    routes: Mapping[RouteKey, Route]
    issuers: Mapping[str, bytes]
    """Public key by key id."""
    attestors: Mapping[str, bytes]
    custodians: frozenset[str] = frozenset()
    """Key ids of those attestors that are custody itself: only they reject a redemption."""
    guard_papers: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    """By guard id, the public key with which that guard signs papers."""
    threshold: int = 1
    """M: how many guards must sign an opening."""
    policy: PolicyConfig = PolicyConfig()
    page_limit: int = 1000
    review_wait_seconds: float = 1.0
    """How long a review waits for the scanner to reach a burn it has not seen."""
    fresh_key: bool = False
    """The operator asserts that this guard's keys have never signed: a new database may sign."""
    restore_mark: str = ""
    """Another one than before says that the database was restored."""


@dataclass(frozen=True, slots=True)
class Scan:
    """How far this guard has booked one chain. `through` is None before the first page."""

    chain: Domain
    cursor: Cursor
    through: BlockRef | None = None
    head: BlockRef | None = None
    dissent_since_ms: int | None = None
    """Since when this guard's providers disagree about final data; None: they agree."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The database that this guard's memory lives in, and since when it may sign there."""

    identity: str
    signing_from: int
    """Unix seconds that every destination's final time must have passed; 0: no wait."""


@dataclass(frozen=True, slots=True)
class Executed:
    """What a destination did with a key, at a final block."""

    fact: ReleaseFinal | CancelFinal
    recorded_ms: int
    """When this guard booked it."""
    matched: bool
    """A burn, order or refund that justifies it is known."""

    @property
    def key(self) -> ExecutionKey:
        """The dedup key."""
        return ExecutionKey(self.fact.destination, self.fact.source, self.fact.nonce)


@dataclass(frozen=True, slots=True)
class Posted:
    """An entry with the block of the chain that justified it; None for a decision's entry."""

    entry: Entry
    at: BlockRef | None


@dataclass(frozen=True, slots=True)
class SupplyStep:
    """The ledger's supply of an asset on a chain, as of the end of one of its blocks."""

    chain: Domain
    asset: AssetId
    number: int
    supply: int
    burned: int = 0
    """What left the chain's supply in that block, whatever came to it besides."""


@dataclass(frozen=True, slots=True)
class Waiter:
    """A claim that waits for a rate bucket; `since` is the sequence of the ruling that said so."""

    transfer_id: TransferId
    asset: AssetId
    key: ExecutionKey
    since: int
    asked_ms: int
    """When it was last claimed; one that nobody claims any more loses its place."""


class Outcome(StrEnum):
    """What a verdict does to a claim."""

    GRANTED = "GRANTED"
    HELD = "HELD"
    PARKED = "PARKED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict as this guard gave it; `sequence` grows with every verdict of this guard."""

    transfer_id: TransferId
    outcome: Outcome
    reason: str = ""
    until: int = 0
    detail: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim with its standing ruling. `expiry` is an issuance order's, in Unix seconds."""

    message: TransferMessage
    ruling: Ruling
    at_ms: int
    expiry: int | None = None


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A signed paper's envelope: who is said to have signed, which digest, which signature."""

    kind: str
    paper: bytes
    digest: bytes
    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class OrderPaper:
    """An issuer's order, parsed from its paper."""

    asset: AssetId
    order_number: int
    destination: Domain
    recipient: Address32
    amount: int
    expires: int
    statement: SignedStatement


@dataclass(frozen=True, slots=True)
class VoidPaper:
    """An issuer's withdrawal of an order, parsed from its paper."""

    asset: AssetId
    order_number: int
    statement: SignedStatement


@dataclass(frozen=True, slots=True)
class CancelPaper:
    """A holder's request to cancel, parsed from its paper; the statement's key id is the signer's
    public key in hexadecimal, `expires` in Unix seconds."""

    transfer_id: TransferId
    expires: int
    statement: SignedStatement


@dataclass(frozen=True, slots=True)
class SubmittedClaim:
    """What a relayer says; `block_number` is a hint (0: none), `order` set for an issuance."""

    message: TransferMessage
    tx: TxRef | None = None
    block_number: int = 0
    order: OrderPaper | None = None


@dataclass(frozen=True, slots=True)
class UnreadableClaim:
    """A claim that is no message at all; its verdict names the field and the remedy."""

    transfer_id: TransferId
    error: str


class OrderState(StrEnum):
    """Where an issuance order stands; all but OPEN and RESERVED close its number."""

    OPEN = "OPEN"
    """Signed by the issuer and seen, not reserved."""
    RESERVED = "RESERVED"
    EXECUTED = "EXECUTED"
    VOIDED = "VOIDED"


ORDER_STATES_RISING = (
    OrderState.OPEN,
    OrderState.RESERVED,
    OrderState.VOIDED,
    OrderState.EXECUTED,
)
"""A number's record is replaced only by one that stands later here: what waits never takes the
place of what was granted, and a release that was seen is the last word."""


@dataclass(frozen=True, slots=True)
class IssueRecord:
    """One number of an asset's issuance sequence."""

    asset: AssetId
    number: int
    transfer_id: TransferId | None
    """None where only the release was seen."""
    state: OrderState
    expiry: int
    """Unix seconds; 0 where only the release was seen."""
    message: TransferMessage | None
    """What waits or was granted here; None where the number was closed without a grant."""
    destination: Domain


@dataclass(frozen=True, slots=True)
class AttestationRecord:
    """An attestation in force, with the paper that proves it."""

    attestation: Attestation
    statement: SignedStatement


@dataclass(frozen=True, slots=True)
class PermitItem:
    """One item that this guard signed."""

    transfer_id: TransferId
    action: Action


@dataclass(frozen=True, slots=True)
class Permit:
    """A signature this guard has given: kept before it leaves, for voiding needs its deadline."""

    digest: bytes
    destination: Domain
    epoch: int
    deadline: int
    items: tuple[PermitItem, ...]
    signature: bytes
    signer: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class Halt:
    """A latched halt: of one asset, of one chain (both directions), or of everything."""

    id: str
    reason: str
    by: str
    at_ms: int
    asset: AssetId | None = None
    chain: Domain | None = None
    approvals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BelievedSupply:
    """A supply reading whose block became final, with the ledger at exactly that block."""

    chain: Domain
    block: BlockRef
    supply: AssetSupply
    ledger: int
    residue_units: int = 0
    """What an opening left over below 10^-8 share."""
    owners: frozenset[Address32] = frozenset()
    """Whose holdings its issuer inventory is: those that the registry named when it was read."""

    @property
    def units(self) -> int:
        """What stands against the ledger: all units less the bridge's inventory and residue."""
        supply = self.supply
        return supply.token_units - supply.bridge_inventory_units - self.residue_units


@dataclass(frozen=True, slots=True)
class JournalHead:
    """The last link of the hash chain; sequence 0 and 32 zero bytes before the first."""

    sequence: int
    digest: bytes
    at_ms: int = 0
    """Never before an earlier link's, whatever the clock says."""


FIRST_LINK = JournalHead(0, bytes(32))
JOURNAL_FORM = b"xstock/journal/2"
"""The form of a link's digest; another form is another tag."""
_LINK = struct.Struct(">32sQQQ")


def next_link(head: JournalHead, lines: Sequence[str], at_ms: int) -> JournalHead:
    """The link after `head`: what came before, its place, its time and every line, and no other.

    Its digest is sha256(form, digest before, sequence, time, number of bytes, lines joined by
    line breaks), numbers in 8 bytes. Raises ValueError for a line with a line break of its own,
    which could be read as two.
    """
    if any("\n" in line or not line for line in lines):
        raise ValueError("a journal line is empty or holds a line break; escape its values")
    body = "\n".join(lines).encode()
    sequence, at = head.sequence + 1, max(at_ms, head.at_ms)
    bound = _LINK.pack(head.digest, sequence, at, len(body))
    return JournalHead(sequence, sha256(JOURNAL_FORM + bound + body).digest(), at)


@dataclass(frozen=True, slots=True)
class JournalLink:
    """A link as it was written; `lines` as in docs/journal.md."""

    sequence: int
    previous: bytes
    digest: bytes
    at_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LedgerAt:
    """The ledger as it stood after a link of the journal."""

    balances: Mapping[tuple[AssetId, Account], int]
    through: Mapping[Domain, BlockRef]
    """The last block whose facts a link up to this one booked; later empty blocks do not show."""
    attested: Mapping[AssetId, AttestationRecord]


@dataclass(frozen=True, slots=True)
class SignRequest:
    """A batch to sign; the guard rebuilds its bytes itself. `voids` permit CANCELs of orders,
    `cancels` those of transfers."""

    destination: Domain
    bridge: Address32
    epoch: int
    deadline: int
    items: tuple[PermitItem, ...]
    voids: tuple[VoidPaper, ...] = ()
    terms: bytes = b""
    """What the destination's family has a permit say besides."""
    cancels: tuple[CancelPaper, ...] = ()


@dataclass(frozen=True, slots=True)
class SignAnswer:
    """A signature over the whole batch, or the rulings that stand in its way."""

    signature: bytes = b""
    signer: bytes = b""
    digest: bytes = b""
    refusals: tuple[Ruling, ...] = ()


class ProposalKind(StrEnum):
    """What two people may decide together."""

    RESUME = "RESUME"
    """Only by its own call, which also asks for green books."""
    LIMITS = "LIMITS"
    """Change buckets, delays and review sizes of one asset, or of all without limits of their
    own."""
    RELEASE = "RELEASE"
    """Let a transfer through that is parked as SCREENED or MANUAL_REVIEW."""
    CANCEL = "CANCEL"
    REFUND = "REFUND"
    """A refund above the size that needs people."""
    ORPHAN_REFUND = "ORPHAN_REFUND"
    WRITE_OFF = "WRITE_OFF"
    """Give up an orphan burn for good."""
    LIFT_PAUSE = "LIFT_PAUSE"
    ROTATION = "ROTATION"
    REDIRECT = "REDIRECT"
    """A refund that its chain refuses would go to another recipient; refused today."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What somebody proposed, who approved it, and when it was executed (once)."""

    id: str
    kind: ProposalKind
    subject: bytes
    """What it is about: a transfer id, an orphan's nonce, an asset id, a digest, a pause's id."""
    payload: bytes
    """What else the kind needs: new limits, another recipient, the reason of a park; or empty."""
    reason: str
    by: str
    at_ms: int
    expires_ms: int
    approvals: tuple[str, ...] = ()
    executed_ms: int | None = None

    def expired(self, now_ms: int) -> bool:
        """Whether its time ran out before it was executed."""
        return self.executed_ms is None and now_ms >= self.expires_ms


@dataclass(frozen=True, slots=True)
class Pause:
    """Releases that stand still until `until` (Unix seconds); a None covers all of them."""

    id: str
    reason: str
    by: str
    at_ms: int
    until: int
    asset: AssetId | None = None
    source: Domain | None = None
    destination: Domain | None = None


@dataclass(frozen=True, slots=True)
class Screened:
    """What a screening list says about some addresses; `sequence` is the list's own."""

    sequence: int
    listed: Mapping[Address32, str]


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """A multiplier's change as the issuer announced it; the newest version of an event counts."""

    asset: AssetId
    event_id: str
    version: int
    activates_at: int
    """Unix seconds."""
    multiplier: int
    """Scaled by 10^18: what holds afterwards."""
    cancelled: bool
    statement: SignedStatement


EVERYTHING_SCOPE = "all"
"""What an alarm concerns that is about no asset and no chain."""


def asset_scope(asset: AssetId) -> str:
    """What an alarm about an asset concerns."""
    return f"asset/{asset.hex()}"


def chain_scope(chain: Domain) -> str:
    """What an alarm about a chain concerns."""
    return f"chain/{int(chain)}"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a person should know now.

    While the same `code`, `scope` and `about` stand it is told once; `scope` is what it concerns
    ("asset/<hex>", "chain/<n>", "transfer/<hex>", "identity/<name>", "all").
    """

    code: str
    scope: str
    detail: str
    about: str = ""
    """What tells it from another alarm of the same code and scope."""


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm that stands, with the time it was raised."""

    alarm: Alarm
    at_ms: int


@dataclass(frozen=True, slots=True)
class OpeningPaper:
    """An opening as it stands on its paper; `digest` is what guards sign."""

    asset: AssetId
    chains: Mapping[Domain, Opening]
    digest: bytes


@dataclass(frozen=True, slots=True)
class OpeningRecord:
    """How an asset that was live already was taken over; `digest` is of the signed paper."""

    asset: AssetId
    digest: bytes
    chains: Mapping[Domain, Opening]


class RedemptionState(StrEnum):
    """How custody closed a redemption; both are for ever, and each excludes the other."""

    PAID = "PAID"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class RedemptionRecord:
    """Custody's last word on a redemption, with the digest of the paper that says so."""

    transfer_id: TransferId
    state: RedemptionState
    digest: bytes
    at_ms: int
    asset: AssetId | None = None
    """The asset whose attestation listed it as paid; None for a rejection."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FeedAnswer:
    """What the issuer's feed answered: the raw body and who is said to have signed it."""

    body: bytes
    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Reserves:
    """What the issuer's feed said last of an asset, with its signature over the raw body."""

    asset: AssetId
    held_units: int
    """In 10^-8 of a real share, rounded down."""
    as_of: int
    """The feed's own time, Unix seconds."""
    key_id: str
    public_key: bytes
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class PaperSignature:
    """A valid signature of a paper that counts by their number.

    A key signs one paper of a `subject` (an attestation's asset and sequence), and no other.
    """

    subject: bytes
    public_key: bytes
    statement: SignedStatement

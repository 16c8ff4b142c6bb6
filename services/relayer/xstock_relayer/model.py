"""What the relayer remembers: transfers, batches, slots and the transactions tried in them.

Plain frozen data shared by ports, handlers and adapters. A transfer's truth is the core's
`TransferState`; the rest here is what only a sender needs to know after a crash: which batch
carries which transfer, which slot carries which batch, and every transaction ever signed for it.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import NewType

from xstock_chains.ports import PreparedTx, ReleaseOrder, SendSlot, SignedTx
from xstock_core.ids import AssetId, Domain, TransferId
from xstock_core.observation import Observation
from xstock_core.refusal import Verdict
from xstock_core.release import ExecutionKey, ReleaseBatch
from xstock_core.review import Scope
from xstock_core.transfer import TransferState, View, view

BatchId = NewType("BatchId", bytes)
"""32 bytes: sha256 over destination, bridge, epoch, deadline, items and terms."""


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """A paper as it was handed in (an issuer's order, a holder's request to cancel); its bytes
    are passed on to the guards untouched."""

    kind: str
    paper: bytes
    key_id: str
    signature: bytes


@dataclass(frozen=True)
class Transfer:
    """A transfer with what the relayer adds to the core's state.

    `batch` is the batch that carries it now (None: none does). `moments` says when the relayer
    learned each step, Unix milliseconds, for people. `order` is the signed paper behind it: an
    issuer's order, or a holder's request to cancel.
    """

    state: TransferState
    opened_ms: int
    batch: BatchId | None = None
    order: SignedOrder | None = None
    moments: tuple[tuple[str, int], ...] = ()

    @property
    def id(self) -> TransferId:
        """The transfer id."""
        return self.state.transfer_id

    @cached_property
    def view(self) -> View:
        """Phase, funds and wait, derived from the facts; once for each state."""
        return view(self.state)


@dataclass(frozen=True, slots=True)
class Batch:
    """A signed batch; `transfer_ids` are in the order of the batch's items."""

    id: BatchId
    order: ReleaseOrder
    transfer_ids: tuple[TransferId, ...]
    guards: tuple[str, ...]
    formed_ms: int


class SlotState(StrEnum):
    """Whether something may still happen in a slot."""

    OPEN = "OPEN"
    LANDED = "LANDED"
    LOST = "LOST"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One transaction for a slot: 0 is the first, each replacement adds one; none is forgotten.

    `fills` says that it only uses the slot up and carries no batch.
    """

    number: int
    prepared: PreparedTx
    signed: SignedTx | None
    at_ms: int
    fills: bool = False


@dataclass(frozen=True, slots=True)
class SlotEntry:
    """One line of the slot (nonce) ledger of a chain and key; `batch` None is a gap filler."""

    slot: SendSlot
    ordinal: int
    batch: BatchId | None
    state: SlotState
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Early:
    """News from a destination about a key whose burn we do not know yet."""

    key: ExecutionKey
    observation: Observation


@dataclass(frozen=True, slots=True)
class Halt:
    """A latched stop of this relayer; cleared by two different identities."""

    id: str
    scope: Scope
    reason: str
    by: str
    at_ms: int
    approvals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person must hear about; `code` is the runbook's name."""

    code: str
    scope: str
    detail: str
    at_ms: int


@dataclass(slots=True)
class Change:
    """Everything one transaction writes: facts, new state and effects together."""

    transfers: list[Transfer] = field(default_factory=list)
    published: list[Transfer] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    slots: list[SlotEntry] = field(default_factory=list)
    early: list[Early] = field(default_factory=list)
    early_used: list[ExecutionKey] = field(default_factory=list)
    positions: dict[Domain, int] = field(default_factory=dict)
    halts: list[Halt] = field(default_factory=list)
    halts_cleared: list[str] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """True when there is nothing to write."""
        return not any(getattr(self, name) for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a fresh process must know to go on exactly where the last one stopped."""

    transfers: tuple[Transfer, ...]
    """Open transfers that no batch carries."""
    batches: tuple[Batch, ...]
    """Batches of open slots."""
    slots: tuple[SlotEntry, ...]
    """Open slots."""
    last_slots: tuple[SlotEntry, ...]
    """The highest slot of each chain and key, open or not."""
    positions: dict[Domain, int]
    halts: tuple[Halt, ...]
    early: int


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """One guard's word about one transfer."""

    transfer_id: TransferId
    verdict: Verdict
    sequence: int


@dataclass(frozen=True, slots=True)
class GuardSigned:
    """A guard's signature over a whole batch."""

    signer: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class GuardRefused:
    """The items that stand in the way of a guard's signature."""

    verdicts: tuple[GuardVerdict, ...]


@dataclass(frozen=True, slots=True)
class Numbered:
    """An observation with its watcher's dense sequence number (0: not known)."""

    sequence: int
    observation: Observation


@dataclass(frozen=True, slots=True)
class Hint:
    """A chain's watcher is said to have numbered observations up to `sequence`."""

    chain: Domain
    sequence: int


@dataclass(frozen=True, slots=True)
class Terms:
    """The deployment's terms that the relayer works by.

    `permit_seconds` is how long a signed batch stays good; `bridges` and `batch_items_max` are
    per destination; `signers` is each guard's public identity per destination.
    """

    deployment_id: str
    guards: tuple[str, ...]
    threshold: int
    permit_seconds: int
    bridges: dict[tuple[Domain, AssetId], bytes]
    batch_items_max: dict[Domain, int]
    assets: frozenset[AssetId]
    signers: dict[tuple[Domain, str], bytes] = field(default_factory=dict)
    custody_threshold: int = 0
    """Grants and signatures that what comes from CUSTODY needs; 0: as many as anything else."""


def batch_id_of(batch: ReleaseBatch) -> BatchId:
    """The content-derived id of a batch."""
    digest = sha256()
    digest.update(int(batch.destination).to_bytes(4, "big") + batch.bridge)
    digest.update(batch.epoch.to_bytes(8, "big") + batch.deadline.to_bytes(8, "big"))
    for item in batch.items:
        digest.update(bytes((item.action,)) + int(item.source).to_bytes(4, "big"))
        digest.update(item.nonce + item.asset + item.recipient + item.amount.to_bytes(8, "big"))
        digest.update(item.burned_at.to_bytes(8, "big"))
    digest.update(batch.terms)
    return BatchId(digest.digest())

"""The ports through which services see chains; no chain family's notion may appear here.

An adapter promises ordered, gap-free, final pages or raises; it never guesses. It raises
`xstock_runtime.errors`: Transient (node away), Ambiguous (outcome unknown), InvalidMessage
(cannot be believed), Fatal (finality broken, wrong chain). Resilience is decorators around
these ports (`Quorum`, `Metered`), not code inside adapters.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from xstock_core.ids import Address32, AssetId, Domain
from xstock_core.message import TransferMessage
from xstock_core.observation import BlockRef, Observation, TxRef
from xstock_core.release import ExecutionKey, ReleaseBatch


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a reader came: opaque, serialisable text; only its own adapter reads it.

    The empty text is the beginning: the registered deployment block.
    """

    chain: Domain
    text: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Final observations in chain order, gap-free from the cursor that was given.

    `through` is the last final block that was scanned, `head` the final head the reader saw.
    `more` says that another page can be read at once. An empty page is proof of absence.
    A page ends with a block: a block's observations come together even above the limit. Cursors
    are made of content: readers of one family at one position write the same text.
    """

    observations: tuple[Observation, ...]
    cursor: Cursor
    through: BlockRef
    head: BlockRef
    more: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Advisory: a burn that was seen but is not final; never money."""

    message: TransferMessage
    tx: TxRef
    block_number: int
    blocks_behind_final: int
    """How many more blocks finality must advance, by the chain's present distance."""


@dataclass(frozen=True, slots=True)
class AssetSupply:
    """An asset's supply in its token's own share units, and what the bridge holds of it.

    `token_units` counts everything on chain; `bridge_inventory_units` is the bridge's own
    rounding inventory, which is nobody's claim; `issuer_inventory_units` is what the accounts
    that the registry names as issuer inventory hold at the very same block (part of
    `token_units`), 0 where none is named; `multiplier` is scaled by 10^18.
    """

    asset: AssetId
    token_units: int
    bridge_inventory_units: int
    decimals: int
    multiplier: int
    multiplier_epoch: int
    paused: bool
    issuer_inventory_units: int = 0


@dataclass(frozen=True, slots=True)
class SupplyReading:
    """Supply of some assets at one block; believed once that very block is final."""

    block: BlockRef
    supplies: tuple[AssetSupply, ...]
    """In the order asked for; an asset that could not be read is absent."""
    lane_counters: tuple[tuple[Domain, int], ...]
    """Per destination: how many burns the bridge has counted at that block."""


class ExecutionState(Enum):
    """What a destination has done with a key."""

    RELEASED = "released"
    CANCELLED = "cancelled"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Execution:
    """A key that is used on its destination, by the latest state a node could show."""

    key: ExecutionKey
    state: ExecutionState
    final: bool


@dataclass(frozen=True, slots=True)
class GuardSignature:
    """One guard's signature over a batch, in the family's own byte form."""

    signer: bytes
    """The signer's public identity on that family (EVM: 20-byte address)."""
    signature: bytes


@dataclass(frozen=True, slots=True)
class ReleaseOrder:
    """A batch with the signatures of M guards, ready to be prepared for its chain."""

    batch: ReleaseBatch
    signatures: tuple[GuardSignature, ...]


@dataclass(frozen=True, slots=True)
class SendSlot:
    """The place that makes a transaction exclusive: nonce, blockhash, query id: opaque text.

    Two transactions of one slot and key can never both land.
    """

    chain: Domain
    sender: Address32
    text: str


@dataclass(frozen=True, slots=True)
class PreparedTx:
    """An unsigned, simulated transaction: store it before it is signed and broadcast."""

    chain: Domain
    slot: SendSlot
    payload: bytes
    """The family's own serialisation, sufficient to sign and to replace."""
    fee: str
    """The fee in the family's own words, for people; e.g. "max 30 gwei, tip 1 gwei"."""
    simulated: bool
    refused: tuple[tuple[ExecutionKey, str], ...] = ()
    """Items that simulation shows would be skipped, each with the reason."""


@dataclass(frozen=True, slots=True)
class SignedTx:
    """Signed bytes with the hash they will have; broadcasting them twice is harmless."""

    prepared: PreparedTx
    raw: bytes
    ref: TxRef


class TxState(Enum):
    """Where a transaction of ours stands."""

    PENDING = "pending"
    INCLUDED = "included"
    FINAL = "final"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class TxStatus:
    """`succeeded` is None until the chain has said; DROPPED means it can no longer land."""

    state: TxState
    succeeded: bool | None = None
    block: BlockRef | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BurnRequest:
    """What a holder wants to burn; checked against the chain before bytes are built."""

    message_kind: int
    source: Domain
    destination: Domain
    asset: AssetId
    sender: Address32
    recipient: Address32
    refund_address: Address32
    amount: int


@dataclass(frozen=True, slots=True)
class UnsignedBurn:
    """Transactions to sign in order (approvals first), with their effects in words.

    `payload` is the family's own description, one JSON document for people and signers.
    `expires` in Unix seconds: after it the bytes must not be sent.
    """

    chain: Domain
    payload: str
    effects: tuple[str, ...]
    expires: int


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of a self-test or of a doctor's report."""

    name: str
    passed: bool | None
    """None: could not be found out, which is not a pass."""
    expected: str = ""
    found: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The start-up self-test of one chain; `failed` says exactly what differs."""

    chain: Domain
    checks: tuple[CheckResult, ...] = field(default_factory=tuple)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that did not pass, unknown ones included."""
        return tuple(check for check in self.checks if check.passed is not True)


class StepState(Enum):
    """How a step of a deployment stands."""

    PLANNED = "planned"
    DONE = "done"
    ALREADY = "already"
    WAITING = "waiting"
    """Somebody else must act; the step's detail says who and how."""


@dataclass(frozen=True, slots=True)
class DeployStep:
    """One thing that was done, would be done, or must be done by somebody else."""

    name: str
    state: StepState
    detail: str = ""
    tx: str = ""


@dataclass(frozen=True, slots=True)
class AssetOrder:
    """An asset to put on a chain: its token's text, or none for a test token of our own."""

    symbol: str
    token: str | None = None
    multiplier: int = 10**18
    minimum_shares: int = 1_000_000


@dataclass(frozen=True, slots=True)
class DeploymentOrder:
    """A bridge to put on one chain; addresses in the chain's own text form."""

    chain: str
    domain: Domain
    network_id: int
    guards: tuple[str, ...]
    threshold: int
    agent: str
    assets: tuple[AssetOrder, ...]
    block_time_ms: int
    batch_items_max: int
    admin: str | None = None
    """Who may change it later; None means the deploying key."""
    delay_seconds: int = 86_400
    take_roles: bool = True
    relayer: str | None = None
    """The relayer's account, where the deployment itself names it (Solana's lane key)."""


@dataclass(frozen=True, slots=True)
class PauseState:
    """Whether a chain's bridge (`asset` None) or one of its assets is paused, by its latest block.

    An asset is stopped by its own pause and by its bridge's; this says its own alone.
    """

    asset: AssetId | None
    paused: bool
    until: int | None = None
    """Unix seconds at which it ends by itself; None: not before it is lifted, or not paused."""


@dataclass(frozen=True, slots=True)
class GuardSet:
    """Who signs releases on a chain: public identities in the family's bytes, M of them."""

    identities: tuple[bytes, ...]
    threshold: int
    epoch: int


@dataclass(frozen=True, slots=True)
class AdminAct:
    """One thing that was done to a chain, is done already, or waits: `detail` says for what.

    WAITING names who must act or the Unix seconds and UTC time from which it can go on.
    """

    name: str
    state: StepState
    detail: str = ""
    tx: str = ""
    """The transaction in the chain's own text, once it is known to have succeeded."""
    until: int | None = None
    """Unix seconds: of WAITING when it can go on, of a pause when it ends; None: unknown or never.
    """


class ChainReader(Protocol):
    """Reads one chain; every answer is final by that chain's own rule unless it says not."""

    async def finalized_head(self) -> BlockRef:
        """The final head by the rule in profiles.py."""
        ...

    async def read_page(self, after: Cursor, *, limit: int) -> Page:
        """Observations after the cursor: ordered, gap-free, final only."""
        ...

    async def re_observe(self, tx: TxRef) -> Sequence[Observation]:
        """The final observations of one transaction: same content, same ids."""
        ...

    async def read_pending(self) -> Sequence[Progress]:
        """Burns that are seen but not final; advisory."""
        ...

    async def read_supply(
        self, assets: Sequence[AssetId], *, at: BlockRef | None = None
    ) -> SupplyReading:
        """Supply at one recent block, which the caller must see become final.

        `at` names the block, by which a quorum makes its providers speak of the same one;
        a node that does not have that very block raises Transient. An asset that the chain does
        not have, whose token cannot be read, or of whose issuer inventory any account cannot be
        read, is left out: absence says nothing about it.
        """
        ...

    async def is_final(self, block: BlockRef) -> bool | None:
        """True if this very block is final; False if another one is; None if not yet known."""
        ...


@runtime_checkable
class TxInspector(Protocol):
    """What a reader may do besides: say where anybody's transaction stands. For people, never
    for money: what counts is `re_observe`."""

    async def inspect(self, tx: TxRef) -> TxStatus | None:
        """PENDING, INCLUDED or FINAL with its success; None when no node asked knows it."""
        ...


class ChainWriter(Protocol):
    """Sends releases; every method is safe to repeat."""

    async def find_executions(self, keys: Sequence[ExecutionKey]) -> Sequence[Execution | None]:
        """For each key: what this destination has done, asking every registered bridge."""
        ...

    async def next_slot(
        self,
        sender: Address32,
        used: Sequence[SendSlot],
        order: ReleaseOrder | None = None,
    ) -> SendSlot:
        """The slot after those that are in use; the caller's ledger is the authority.

        `order` is what the slot is for: where a permit fixes the slot itself (Solana's
        blockhash) it is read from there. The text carries all that `status` needs to prove
        that nothing of the slot can land any more.
        """
        ...

    async def permit_terms(
        self, batch: ReleaseBatch, sender: Address32, guards: Sequence[str]
    ) -> bytes:
        """What the permit must name besides, before these guards (registry ids) are asked.

        Empty where a contract enforces deadline and guard set by itself.
        """
        ...

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """A guard's own look at the terms it is asked to sign: raises InvalidMessage for what no
        permit may say, Transient if this node cannot tell."""
        ...

    async def guard_epoch(self) -> int:
        """The epoch of the guard set that the destination accepts now."""
        ...

    async def prepare(self, order: ReleaseOrder, slot: SendSlot) -> PreparedTx:
        """Build and simulate the transaction; deterministic for a slot and a fee."""
        ...

    async def broadcast(self, tx: SignedTx) -> TxRef:
        """Send signed bytes; the same bytes twice is harmless; a timeout raises Ambiguous."""
        ...

    async def status(self, tx: TxRef, slot: SendSlot) -> TxStatus:
        """Where the transaction stands; DROPPED only with proof that it can never land."""
        ...

    async def replace(self, tx: PreparedTx) -> PreparedTx | None:
        """A fee bump in the same slot, or None where the chain has no such thing."""
        ...

    async def fill_slot(self, slot: SendSlot) -> PreparedTx | None:
        """A harmless transaction that uses up a slot (heals a gap), or None if none exist."""
        ...


class BurnBuilder(Protocol):
    """Checks and builds a holder's burn (gateway, CLI); never holds a key."""

    async def check(self, request: BurnRequest) -> Sequence[CheckResult]:
        """Asset, balance, pause, recipient: every reason why the burn would fail, now."""
        ...

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """The transactions to sign, in order; same chain state, same bytes."""
        ...

    def parse_address(self, text: str) -> Address32:
        """The wire form of a person's address text; raises InvalidId with the remedy."""
        ...

    def show_address(self, address: Address32) -> str:
        """The chain's own text form, with checksum."""
        ...


@runtime_checkable
class RecipientCheck(Protocol):
    """What a builder may do besides: say whether an account of its own chain can receive an asset,
    for burns that are made elsewhere. Raises InvalidId, Transient."""

    async def check_recipient(self, asset: AssetId, recipient: Address32) -> Sequence[CheckResult]:
        """Every reason why a release to this account would be refused now."""
        ...


class ReleaseCodec(Protocol):
    """What a guard signs on this chain family, and how it is packed."""

    def digest(self, batch: ReleaseBatch) -> bytes:
        """The bytes a guard's signer signs; binds destination, epoch, deadline and every item."""
        ...

    def pack(self, order: ReleaseOrder) -> bytes:
        """What the destination is called with."""
        ...

    def recover(self, batch: ReleaseBatch, signature: bytes) -> bytes:
        """The signer identity of a signature over this batch; raises InvalidMessage."""
        ...


class Signer(Protocol):
    """A key somewhere: local file, KMS. Never shows the key."""

    @property
    def identity(self) -> bytes:
        """The public identity on its family (EVM: 20-byte address)."""
        ...

    async def sign_digest(self, digest: bytes) -> bytes:
        """Sign a release digest."""
        ...

    async def sign_transaction(self, tx: PreparedTx) -> SignedTx:
        """Sign a prepared transaction."""
        ...


class ChainAdmin(Protocol):
    """Deploys, checks, pauses (CLI, doctor, start-up)."""

    async def self_test(self) -> SelfTest:
        """Chain id, genesis, code hash, decimals, roles, capability, counters."""
        ...


class ChainOffice(Protocol):
    """What a person with a key may do to one chain by hand: stop it, let it go, change its guards.

    Talks to one node and nothing else, so that it works while guards, Kafka and gateway are down.
    Every method looks first and is safe to repeat: what holds already is ALREADY and sends
    nothing. An act that is DONE was seen in a block, successful. Raises InvalidMessage
    KEY_MAY_NOT (names the key and who may), PAUSE_COOLDOWN (says until when), ASSET_UNKNOWN,
    GUARD_SET_REFUSED and GUARD_EPOCH_UNEXPECTED before anything is sent, ACT_REFUSED with the
    chain's own reason; Ambiguous when what was sent was not seen in time; Transient when the node
    is away.
    """

    async def pause_states(self) -> Sequence[PauseState]:
        """The whole bridge first (where the chain has such a pause), then every asset."""
        ...

    async def pause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Stop releases and burns to other chains, of these assets or of everything (None).

        The agent's key, or where the chain knows it any one guard's. Not stopped: redemptions
        where a contract can tell them apart, and CANCEL.
        """
        ...

    async def confirm_pause(
        self, guard_keys: Sequence[Path], assets: Sequence[AssetId] | None = None
    ) -> Sequence[AdminAct]:
        """M guards make a pause last until it is lifted; ALREADY where a pause has no end."""
        ...

    async def unpause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Lift pauses with the admin's key; WAITING while the chain's delay runs: run it again."""
        ...

    async def guard_set(self) -> GuardSet:
        """Whose signatures the chain accepts now."""
        ...

    def rotate(
        self, new: GuardSet, guard_keys: Sequence[Path] = (), *, dry_run: bool = False
    ) -> AsyncIterator[AdminAct]:
        """Bring in a guard set whose epoch is the present one + 1: propose, wait, apply.

        With the admin's key; `guard_keys` are present guards' where their signatures are needed.
        Ends after a WAITING act: run it again later, it goes on where it stopped. A dry run yields
        PLANNED for what it would do and sends nothing.
        """
        ...


@runtime_checkable
class Succession(Protocol):
    """What an office may do besides, where a rotation changes more of the registry than its
    guards: say how the registry's JSON document reads now."""

    async def registry_after(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document of the next registry, with what the chain shows; unchanged before a
        rotation. Raises Fatal while one is half-way."""
        ...


class Holder(Protocol):
    """Somebody with tokens and a key on this machine (command line, local chains)."""

    @property
    def address(self) -> Address32:
        """The holder's wire form."""
        ...

    @property
    def address_text(self) -> str:
        """The chain's own text form."""
        ...

    async def send(self, burn: Mapping[str, Any], wanted: BurnRequest) -> Sequence[TxRef]:
        """Check that the bytes do exactly what is wanted, sign, send; the last one is the burn."""
        ...

    async def included(self, tx: TxRef) -> bool | None:
        """True when it succeeded in a block, False when it failed there, None when not yet."""
        ...

    async def shares_of(self, symbol: str) -> int:
        """What the holder has of an asset, in the token's own share units."""
        ...


class Deployment(Protocol):
    """Puts a bridge on one chain; may be stopped anywhere and run again."""

    def run(self, *, dry_run: bool = False) -> AsyncIterator[DeployStep]:
        """Do what is missing, yielding each step; raises Fatal on another chain's state."""
        ...

    async def fund(self, accounts: Sequence[Address32]) -> int:
        """Give gas money to those of the accounts that lack it; how many were paid."""
        ...

    def chain_entry(self) -> dict[str, Any]:
        """The chain's entry for the registry file, once `run` has ended."""
        ...

    def asset_entries(self) -> dict[str, dict[str, Any]]:
        """symbol -> this chain's deployment of the asset for the registry file."""
        ...

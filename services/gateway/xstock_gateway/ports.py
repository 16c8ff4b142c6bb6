"""What the gateway needs from outside: its store, the watchers, the guards, the chains."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from xstock_chains.ports import BurnRequest, CheckResult, Progress, UnsignedBurn
from xstock_core.amount import Shares
from xstock_core.ids import Address32, AssetId, Domain, TransferId
from xstock_core.observation import BlockRef, Observation, TxRef
from xstock_gateway.view import Change, TransferView


@dataclass(frozen=True, slots=True)
class JournalLine:
    """A change with its place in the journal; places are dense and in commit order."""

    sequence: int
    change: Change


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far one chain was read, by its watcher."""

    chain: Domain
    through: BlockRef
    head_number: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class ViewFilter:
    """Which transfers; None and empty mean any."""

    party: Address32 | None = None
    asset: AssetId | None = None
    chain: Domain | None = None
    states: frozenset[str] = frozenset()
    created_after_ms: int | None = None
    created_before_ms: int | None = None
    transfer_ids: frozenset[TransferId] = frozenset()


@dataclass(frozen=True, slots=True)
class BuiltBurn:
    """A burn that was built under a request id; `content` is the hash of what was asked."""

    request_id: str
    content: bytes
    burn: UnsignedBurn
    checks: tuple[CheckResult, ...]
    shares: Shares
    displayed: str


class GatewayStore(Protocol):
    """The gateway's memory."""

    async def views(self, ids: Sequence[TransferId]) -> dict[TransferId, TransferView]:
        """The views that exist, by id."""
        ...

    async def save(self, changes: Sequence[Change]) -> int:
        """Keep the new views and append one journal line each; the last sequence.

        Raises Ambiguous VIEW_MOVED if a view was changed by somebody else meanwhile.
        """
        ...

    async def save_coverage(self, coverage: Sequence[Coverage]) -> None:
        """Keep how far chains were read; an older look never replaces a newer one."""
        ...

    async def coverage(self) -> Sequence[Coverage]:
        """Per chain, by domain."""
        ...

    async def journal_after(self, sequence: int, limit: int) -> Sequence[JournalLine]:
        """Lines with a greater sequence, in order."""
        ...

    async def journal_bounds(self) -> tuple[int, int, int]:
        """(oldest kept sequence, its time in ms, newest sequence); (1, 0, 0) when empty.

        The newest line is never forgotten, so only a journal that never had a line is empty.
        """
        ...

    async def journal_at(self, unix_ms: int) -> int:
        """The last sequence before the first line of this time or later.

        Lines carry the time of whoever wrote them, and clocks step: every line of this time or
        later comes after the place returned, whatever stands between them.
        """
        ...

    async def forget_before(self, unix_ms: int) -> int:
        """Forget the oldest lines up to the first one of this time or later; how many.

        Only a beginning is ever forgotten, never the newest line: places stay dense. Burns
        built under a request id are forgotten once they expired before this time.
        """
        ...

    async def open_views(self, after: TransferId | None, limit: int) -> Sequence[TransferView]:
        """Transfers that are not terminal, by id, after an id."""
        ...

    async def list_views(
        self, wanted: ViewFilter, before: tuple[int, TransferId] | None, limit: int
    ) -> Sequence[TransferView]:
        """Newest first by (created, id), before a place."""
        ...

    async def views_by_tx(self, tx_id: bytes) -> Sequence[TransferView]:
        """Transfers to which a transaction of this id belongs, on any chain."""
        ...

    async def built(self, request_id: str) -> BuiltBurn | None:
        """What was built under this request id."""
        ...

    async def keep_built(self, built: BuiltBurn) -> BuiltBurn:
        """Keep it, or return what somebody else kept under the same id first."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Wakes whenever the journal may have grown; may wake for nothing."""
        ...


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A watcher's answer about one transaction; `verdict` as in LookVerdict, without prefix."""

    verdict: str
    observations: tuple[Observation, ...]
    pending: tuple[Progress, ...]
    through: BlockRef | None


class Watchers(Protocol):
    """The watchers, asked by hand."""

    async def look(self, tx: TxRef) -> LookedAt:
        """Look at a transaction now; raises Transient when that watcher cannot say."""
        ...


@dataclass(frozen=True, slots=True)
class ChainBooks:
    """One chain's part of an asset, in one guard's books."""

    chain: Domain
    ledger: int
    booked_through: BlockRef | None
    reading: int | None
    decimals: int
    reading_block: BlockRef | None
    ledger_at_reading: int


@dataclass(frozen=True, slots=True)
class AssetBooks:
    """One asset in one guard's books; all amounts in shares but `reading` (token units)."""

    guard_id: str
    asset: AssetId
    chains: tuple[ChainBooks, ...]
    in_flight: int
    orphaned: int
    open_issuance: int
    unpaid_redemption: int
    exposure: int
    cap: int
    attestation_sequence: int
    attestation_as_of: int
    halted: str
    multiplier: int
    excluded: int = 0
    """Issuer inventory: exposure may come to `cap + excluded`."""


@dataclass(frozen=True, slots=True)
class GuardHalt:
    """A halt that one guard has latched over a chain, or over everything when `chain` is None."""

    guard_id: str
    chain: Domain | None
    reason: str


class Guards(Protocol):
    """The supply-guards, asked for their books and their halts."""

    async def books(self, assets: Sequence[AssetId]) -> tuple[Sequence[AssetBooks], Sequence[str]]:
        """(the books of every guard that answered, the ids of those that did not)."""
        ...

    async def halts(self) -> tuple[Sequence[GuardHalt], Sequence[str]]:
        """(halts of chains or of everything in force, the ids of guards that did not answer)."""
        ...


@dataclass(frozen=True, slots=True)
class HolderPaper:
    """A holder's signed request, passed on to the relayer and the guards as it is."""

    kind: str
    paper: bytes
    key_id: str
    signature: bytes


class Returns(Protocol):
    """The relayer, asked to let a transfer flow back."""

    async def cancel(self, transfer_id: TransferId, reason: str, paper: HolderPaper) -> None:
        """Ask for a cancellation. Raises ApiRefused with the relayer's reason, Transient."""
        ...


class ChainDesk(Protocol):
    """What the gateway may do on one chain: check and build burns, read and write its texts."""

    async def check(self, request: BurnRequest) -> Sequence[CheckResult]:
        """Every reason why the burn would fail now."""
        ...

    async def check_recipient(self, asset: AssetId, recipient: Address32) -> Sequence[CheckResult]:
        """Every reason why a release to this account of the chain would fail now."""
        ...

    async def build(self, request: BurnRequest, *, expires: int) -> UnsignedBurn:
        """The transactions to sign."""
        ...

    async def multiplier(self, asset: AssetId) -> int:
        """The token's multiplier now, scaled by 10^18."""
        ...

    def parse_address(self, text: str) -> Address32:
        """The wire form; raises InvalidId."""
        ...

    def show_address(self, address: Address32) -> str:
        """The chain's own text."""
        ...

    def parse_tx(self, text: str) -> TxRef:
        """The transaction named by a text; raises InvalidId."""
        ...

    def show_tx(self, tx: TxRef) -> str:
        """The chain's own text."""
        ...

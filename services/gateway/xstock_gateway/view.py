"""One transfer as the gateway shows it: a pure merge of what three speakers say.

The watcher says that a burn is seen, final or gone; the relayer says where the transfer stands.
The merge is monotone: facts may come in any order and any number of times and lead to the same
view, and only what changes the view makes a new revision. The relayer's word wins once it has
spoken, because it knows all that the watcher knows; what is only seen ends to matter then.
"""

from dataclasses import dataclass, replace

from xstock_core.ids import Address32, TransferId
from xstock_core.message import TransferMessage
from xstock_core.observation import BlockRef, Place, TxRef

TERMINAL = frozenset({"RELEASED", "REFUNDED", "REORGED"})


@dataclass(frozen=True, slots=True)
class StepSeen:
    """One step of a transfer's life, as the relayer measured it."""

    kind: str
    chain: int
    tx: TxRef | None
    block: BlockRef | None
    at_ms: int
    note: str


@dataclass(frozen=True, slots=True)
class SaidByRelayer:
    """The relayer's last word: `revision` is the relayer's own."""

    transfer_id: TransferId
    message: TransferMessage
    revision: int
    phase: str
    reason: str
    until: int
    who: str
    funds_at: str
    terminal: bool
    steps: tuple[StepSeen, ...]
    at_ms: int
    refund_id: bytes = b""
    """The REFUND in which the transfer flows back; empty when there is none."""
    refund_of: bytes = b""
    """Of a REFUND: the transfer that flows back in it."""


@dataclass(frozen=True, slots=True)
class BurnWasSeen:
    """Advisory: a burn on its way to finality, or gone again."""

    transfer_id: TransferId
    message: TransferMessage
    tx: TxRef
    block_number: int
    blocks_behind_final: int
    vanished: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class BurnBecameFinal:
    """A watcher's final observation of a burn."""

    transfer_id: TransferId
    message: TransferMessage
    sender: Address32
    place: Place


Fact = SaidByRelayer | BurnWasSeen | BurnBecameFinal


@dataclass(frozen=True, slots=True)
class TransferView:
    """What is known of a transfer; `revision` grows by one with every visible change."""

    transfer_id: TransferId
    message: TransferMessage
    created_ms: int
    updated_ms: int
    revision: int = 0
    relayer: SaidByRelayer | None = None
    seen: BurnWasSeen | None = None
    final: BurnBecameFinal | None = None

    @property
    def state(self) -> str:
        """The state's name in the partner API."""
        if self.relayer is not None:
            return self.relayer.phase
        if self.final is not None:
            return "FINAL"
        if self.seen is not None and self.seen.vanished:
            return "REORGED"
        return "SEEN"

    @property
    def terminal(self) -> bool:
        """True when nothing will change any more."""
        return self.relayer.terminal if self.relayer is not None else self.state in TERMINAL

    @property
    def funds_at(self) -> str:
        """Where the tokens are."""
        if self.relayer is not None:
            return self.relayer.funds_at
        return "IN_FLIGHT" if self.state == "FINAL" else "SOURCE"

    @property
    def txs(self) -> tuple[TxRef, ...]:
        """Every transaction that belongs to the transfer, on either chain."""
        found: dict[TxRef, None] = {}
        if self.seen is not None:
            found[self.seen.tx] = None
        if self.final is not None:
            found[self.final.place.tx] = None
        for step in self.relayer.steps if self.relayer is not None else ():
            if step.tx is not None:
                found[step.tx] = None
        return tuple(found)

    @property
    def parties(self) -> tuple[Address32, ...]:
        """Sender, refund address and recipient, each once."""
        sender = () if self.final is None else (self.final.sender,)
        return tuple(dict.fromkeys((*sender, self.message.refund_address, self.message.recipient)))


@dataclass(frozen=True, slots=True)
class Change:
    """A new revision of a view and what caused it."""

    view: TransferView
    cause: str


def merge(view: TransferView | None, fact: Fact, now_ms: int) -> Change | None:
    """The view after the fact, or None when the fact says nothing new."""
    base = view or TransferView(fact.transfer_id, fact.message, now_ms, now_ms)
    merged = _with(base, fact)
    if view is not None and merged == base:
        return None
    numbered = replace(merged, revision=base.revision + 1, updated_ms=max(now_ms, base.updated_ms))
    return Change(numbered, numbered.state)


def _with(view: TransferView, fact: Fact) -> TransferView:
    match fact:
        case SaidByRelayer():
            if view.relayer is not None and _rank(view.relayer) >= _rank(fact):
                return view
            return replace(view, relayer=fact, seen=None)
        case BurnBecameFinal():
            return view if view.final is not None else replace(view, final=fact, seen=None)
        case BurnWasSeen():
            return _with_progress(view, fact)


def _with_progress(view: TransferView, fact: BurnWasSeen) -> TransferView:
    """Progress matters only before finality, and the newest look wins."""
    decided = view.final is not None or view.relayer is not None
    if decided or (view.seen is not None and _recency(view.seen) >= _recency(fact)):
        return view
    return replace(view, seen=fact)


def _rank(word: SaidByRelayer) -> tuple[int, int, int]:
    """An order of the relayer's words. A guard that moves the end of a hold says so under the
    sequence of its first word, so two of the relayer's may have one revision: the later wins."""
    return word.revision, word.at_ms, word.until


def _recency(fact: BurnWasSeen) -> tuple[int, int, int, bytes, bool]:
    """An order of looks that leaves no ties, so that the order of arrival never matters."""
    return fact.at_ms, fact.block_number, -fact.blocks_behind_final, fact.tx.id, fact.vanished


def tells_news(view: TransferView | None, fact: BurnWasSeen) -> bool:
    """False when all that a look adds to the view is that somebody looked again."""
    if view is None:
        return True
    known = view.seen
    decided = view.final is not None or view.relayer is not None
    return not decided and (known is None or replace(known, at_ms=fact.at_ms) != fact)

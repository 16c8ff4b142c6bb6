"""The bridge contract's messages and logs, bit for bit as contracts/ton/README.md lays them out.

Logs are external-out messages of a registered minter with the op first in the body; nothing else
that looks like one counts. Decoding is strict: bits left over are another layout, not ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from xstock_chains.ton.cells import dictionary_cell, end, malformed, slice_of, store_account
from xstock_core.ids import HASHED_NONCES, Address32
from xstock_core.release import ReleaseItem

RELEASE: Final = 0x78730001
MINT_ACK: Final = 0x78730002
RETRY: Final = 0x78730003
REDIRECT: Final = 0x78730004
PAUSE: Final = 0x78730005
CONFIRM_PAUSE: Final = 0x78730006
PROPOSE: Final = 0x78730007
APPLY: Final = 0x78730008
OPEN_LANE: Final = 0x7873000A
BURN: Final = 0x595F07BC
BURN_NOTIFICATION: Final = 0x7BDD97DE
INTERNAL_TRANSFER: Final = 0x178D4519
TOP_UP: Final = 0xD372158C
_BURN_PAYLOAD: Final = 0x78736231

NANO: Final = 10**9
BURN_VALUE_MIN: Final = 40_000_000
"""nanoTON that a burn must carry; the wallet refuses less."""
CALL_VALUE: Final = 60_000_000
RELEASE_VALUE_BASE: Final = 30_000_000
RELEASE_VALUE_ITEM: Final = 30_000_000
RELEASE_VALUE_HASHED: Final = 10_000_000

BURNED_LOG: Final = 0x78737001
RELEASED_LOG: Final = 0x78737002
CANCELLED_LOG: Final = 0x78737003
SKIPPED_LOG: Final = 0x78737004
PARKED_LOG: Final = 0x78737005
REDIRECTED_LOG: Final = 0x78737006
PAUSED_LOG: Final = 0x78737007
GUARDS_LOG: Final = 0x78737008
PROPOSED_LOG: Final = 0x78737009
APPLIED_LOG: Final = 0x7873700A
LANE_LOG: Final = 0x7873700B
BALANCE_LOG: Final = 0x7873700C
MULTIPLIER_LOG: Final = 0xAC392598

CHANGE_UNPAUSE: Final = 1
CHANGE_GUARDS: Final = 2
CHANGE_AGENT: Final = 3
CHANGE_LIMITS: Final = 4
CHANGE_ADMIN: Final = 5
CHANGE_RETIRE: Final = 6


@dataclass(frozen=True, slots=True)
class Burned:
    """A burn towards another chain; amounts are shares."""

    destination: int
    counter: int
    amount: int
    asset: bytes
    recipient: bytes
    sender: bytes
    refund: bytes


@dataclass(frozen=True, slots=True)
class Released:
    """A credit that the recipient's wallet acknowledged."""

    source: int
    nonce: bytes
    amount: int
    recipient: bytes
    paid_to: bytes


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A nonce marked without minting."""

    source: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    """An item left as it was."""

    source: int
    nonce: bytes
    reason: int


@dataclass(frozen=True, slots=True)
class Parked:
    """A mint that bounced: supply restored."""

    source: int
    nonce: bytes
    amount: int
    recipient: bytes
    paid_to: bytes


@dataclass(frozen=True, slots=True)
class GuardsChanged:
    """A new guard set."""

    epoch: int
    threshold: int
    count: int


@dataclass(frozen=True, slots=True)
class ChangeApplied:
    """A delayed change of the admin's took effect; `action` is its hash."""

    action: bytes
    kind: int


Log = Burned | Released | Cancelled | Skipped | Parked | GuardsChanged | ChangeApplied
"""What a log says that anybody here needs to know; the others are for people."""


def _burned(piece: Any) -> Burned:
    destination, counter, amount = (piece.load_uint(n) for n in (32, 64, 64))
    asset, recipient = piece.load_bytes(32), piece.load_bytes(32)
    parties = slice_of(piece.load_ref())
    sender, refund = parties.load_bytes(32), parties.load_bytes(32)
    _ended(parties)
    return Burned(destination, counter, amount, asset, recipient, sender, refund)


def _released(piece: Any) -> Released:
    source, nonce, amount = piece.load_uint(32), piece.load_bytes(32), piece.load_uint(64)
    return Released(source, nonce, amount, piece.load_bytes(32), piece.load_bytes(32))


def _cancelled(piece: Any) -> Cancelled:
    return Cancelled(piece.load_uint(32), piece.load_bytes(32))


def _skipped(piece: Any) -> Skipped:
    return Skipped(piece.load_uint(32), piece.load_bytes(32), piece.load_uint(8))


def _parked(piece: Any) -> Parked:
    source, nonce, amount = piece.load_uint(32), piece.load_bytes(32), piece.load_uint(64)
    return Parked(source, nonce, amount, piece.load_bytes(32), piece.load_bytes(32))


def _guards(piece: Any) -> GuardsChanged:
    return GuardsChanged(piece.load_uint(32), piece.load_uint(8), piece.load_uint(8))


def _applied(piece: Any) -> ChangeApplied:
    return ChangeApplied(piece.load_bytes(32), piece.load_uint(8))


_LOGS: Final[Mapping[int, Callable[[Any], Log]]] = {
    BURNED_LOG: _burned,
    RELEASED_LOG: _released,
    CANCELLED_LOG: _cancelled,
    SKIPPED_LOG: _skipped,
    PARKED_LOG: _parked,
    GUARDS_LOG: _guards,
    APPLIED_LOG: _applied,
}
_FOR_PEOPLE: Final = frozenset(
    {REDIRECTED_LOG, PAUSED_LOG, PROPOSED_LOG, LANE_LOG, BALANCE_LOG, MULTIPLIER_LOG}
)


def parse_log(body: Cell) -> Log | None:
    """What a minter's log says; None for those that change nothing here. Raises InvalidMessage
    for an op or a layout that the contract does not have: its code is another."""
    piece = slice_of(body)
    if piece.remaining_bits < 32:
        raise malformed("log", body.hash.hex(), "one of the contract's logs")
    op = piece.load_uint(32)
    if op in _FOR_PEOPLE:
        return None
    if op not in _LOGS:
        raise malformed("log.op", f"0x{op:08x}", "one of the contract's logs")
    try:
        found = _LOGS[op](piece)
        _ended(piece)
    except (IndexError, ValueError) as error:
        raise malformed(f"log 0x{op:08x}", body.hash.hex(), "of the documented layout") from error
    return found


def _ended(piece: Any) -> None:
    if piece.remaining_bits or piece.remaining_refs:
        raise ValueError("bits are left over")


@dataclass(frozen=True, slots=True)
class Tag:
    """What a mint carries to the wallet and back: which item it is, and how many units."""

    source: int
    nonce: bytes
    units: int


def parse_mint(body: Cell) -> Tag:
    """The tag of a mint that a minter sent to a wallet; raises InvalidMessage."""
    return _tag(body, INTERNAL_TRANSFER, between=2 + 2 + 4 + 1)


def parse_ack(body: Cell) -> Tag:
    """The tag of a wallet's acknowledgement; raises InvalidMessage."""
    return _tag(body, MINT_ACK, between=0)


def _tag(body: Cell, op: int, between: int) -> Tag:
    piece = slice_of(body)
    if piece.remaining_bits < 32 + 64 or piece.load_uint(32) != op:
        raise malformed("message", body.hash.hex(), f"a message of op 0x{op:08x}")
    try:
        piece.skip_bits(64)
        units = int(piece.load_coins() or 0)
        piece.skip_bits(between)
        return Tag(piece.load_uint(32), piece.load_bytes(32), units)
    except (IndexError, ValueError) as error:
        raise malformed("message.tag", body.hash.hex(), "of the documented layout") from error


# ---------------------------------------------------------------------- what we send


def release_value(items: Sequence[ReleaseItem]) -> int:
    """nanoTON to attach to a release of these items; the excess returns."""
    hashed = sum(item.source in HASHED_NONCES for item in items)
    return RELEASE_VALUE_BASE + RELEASE_VALUE_ITEM * len(items) + RELEASE_VALUE_HASHED * hashed


def burn_payload(destination: int, recipient: bytes, refund: Address32 | None) -> Cell:
    """Where a burn goes, and who gets it back; None: the owner."""
    builder = Builder().store_uint(_BURN_PAYLOAD, 32).store_uint(destination, 32)
    builder.store_bytes(recipient)
    if refund is not None:
        builder.store_bytes(refund)
    return end(builder)


def burn_body(units: int, response: Address32, payload: Cell, query: int = 0) -> Cell:
    """TEP-74 `burn` with the bridge's payload, for the owner's own jetton wallet."""
    builder = Builder().store_uint(BURN, 32).store_uint(query, 64).store_coins(units)
    return end(store_account(builder, response).store_maybe_ref(payload))


def top_up_body() -> Cell:
    """Leave the value with the contract: the first message of a deployment."""
    return end(Builder().store_uint(TOP_UP, 32))


def open_lane_body(destination: int, kind: int) -> Cell:
    """Let burns go towards a domain."""
    builder = Builder().store_uint(OPEN_LANE, 32).store_uint(0, 64)
    return end(builder.store_uint(destination, 32).store_uint(kind, 8))


def pause_digest(
    op: int, global_id: int, domain: int, bridge: Address32, epoch: int, deadline: int, count: int
) -> bytes:
    """The 32 bytes that a guard signs for PAUSE or CONFIRM_PAUSE; `count` is the minter's own."""
    builder = Builder().store_uint(op, 32).store_int(global_id, 32).store_uint(domain, 32)
    builder.store_bytes(bridge).store_uint(epoch, 32).store_uint(deadline, 64)
    return bytes(end(builder.store_uint(count, 32)).hash)


def signatures_cell(by_index: Mapping[int, bytes]) -> Cell:
    """Signatures by guard index, ascending, a linked list; at least one."""
    following: Cell | None = None
    for index, signature in sorted(by_index.items(), reverse=True):
        builder = Builder().store_uint(index, 8).store_bytes(signature)
        following = end(builder.store_maybe_ref(following))
    if following is None:
        raise ValueError("signatures: none; give at least one")
    return following


def pause_body(op: int, deadline: int, by_index: Mapping[int, bytes]) -> Cell:
    """PAUSE, by the agent (no signature) or one guard, or CONFIRM_PAUSE by M of them."""
    builder = Builder().store_uint(op, 32).store_uint(0, 64).store_uint(deadline, 64)
    if op == CONFIRM_PAUSE:
        return end(builder.store_ref(signatures_cell(by_index)))
    return end(builder.store_maybe_ref(signatures_cell(by_index) if by_index else None))


def unpause_action(pause_count: int) -> Cell:
    """Lift the pauses up to this count: one made after the proposal is not covered."""
    return end(Builder().store_uint(CHANGE_UNPAUSE, 8).store_uint(pause_count, 32))


def guards_action(epoch: int, threshold: int, guards: Sequence[bytes]) -> Cell:
    """Replace the guard set of this (the present) epoch; indices follow the order given."""
    keys = dictionary_cell(dict(enumerate(guards)), 8, lambda key, out: out.store_bytes(key))
    builder = Builder().store_uint(CHANGE_GUARDS, 8).store_uint(epoch, 32)
    return end(builder.store_uint(threshold, 8).store_maybe_ref(keys))


def change_body(op: int, action: Cell) -> Cell:
    """PROPOSE or APPLY a delayed action."""
    return end(Builder().store_uint(op, 32).store_uint(0, 64).store_ref(action))

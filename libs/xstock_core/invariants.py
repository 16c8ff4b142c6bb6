"""The sixteen promises of the bridge, as named predicates over plain values.

Handlers check them before they commit, the auditor checks them on chain readings, tests
check them after every step. A predicate says only whether the promise holds; `ensure` raises
`InvariantViolation`, which is never caught to carry on: it latches a halt and pages a person.
docs/INVARIANTS.md names, for each id, the line that enforces it and the test that attacks it.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from xstock_core.amount import SHARE_DECIMALS
from xstock_core.cap import issuance_covered, release_covered
from xstock_core.ids import AssetId, Domain
from xstock_core.ledger import (
    CUSTODY,
    EXPOSURE_KINDS,
    AccountKind,
    Balances,
    Entry,
    movements,
)
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BlockRef, ReleaseFinal
from xstock_core.release import ExecutionKey, key_of


class InvariantId(StrEnum):
    """The ids of docs/INVARIANTS.md."""

    NO_RELEASE_WITHOUT_FINAL_BURN = "INV-01"
    AT_MOST_ONCE = "INV-02"
    SAME_CONTENT = "INV-03"
    CAP = "INV-04"
    CHAIN_BALANCE = "INV-05"
    CONSERVATION = "INV-06"
    RESERVATION_SAFETY = "INV-07"
    PERMIT = "INV-08"
    GAP_FREE = "INV-09"
    FINALITY_VIOLATION_HALTS = "INV-10"
    RATE = "INV-11"
    CONFIG_SANITY = "INV-12"
    LIVENESS = "INV-13"
    LOUD_REFUSALS = "INV-14"
    DETERMINISM = "INV-15"
    SUPPLY_TRUTH = "INV-16"


class InvariantViolation(Exception):
    """A promise is broken. `id` is the promise, `detail` the figures."""

    def __init__(self, invariant: InvariantId, detail: str) -> None:
        super().__init__(f"{invariant.value}: {detail}")
        self.id = invariant
        self.detail = detail


def ensure(holds: bool, invariant: InvariantId, detail: str) -> None:  # noqa: FBT001
    """Raise InvariantViolation unless the promise holds (never `assert`: -O would drop it)."""
    if not holds:
        raise InvariantViolation(invariant, detail)


def every_release_has_final_burn(
    released: Iterable[ExecutionKey], proven: Set[ExecutionKey]
) -> bool:
    """INV-01: `proven` are the keys of final burns, accepted orders and final cancellations."""
    return all(key in proven for key in released)


def at_most_once(outcomes: Iterable[Hashable]) -> bool:
    """INV-02: `outcomes` name, per final release or refund, the transfer that it ends."""
    return all(count == 1 for count in Counter(outcomes).values())


def same_content(release: ReleaseFinal, message: TransferMessage) -> bool:
    """INV-03: the release is exactly what the message says."""
    key = ExecutionKey(release.destination, release.source, release.nonce)
    content = (release.asset, release.recipient, release.amount)
    return key == key_of(message) and content == (
        message.asset,
        message.recipient,
        message.amount,
    )


def within_cap(kind: Kind, exposure: int, amount: int, limit: int) -> bool:
    """INV-04: may this be signed at this exposure? Only issuance adds its amount."""
    if kind is Kind.ISSUE:
        return issuance_covered(exposure, amount, limit)
    return release_covered(exposure, limit)


def chain_balances_kept(balances: Balances) -> bool:
    """INV-05: no chain has burned more of an asset than was issued and released to it."""
    supplies = (b for (_, account), b in balances.items() if account.kind is AccountKind.SUPPLY)
    return all(balance >= 0 for balance in supplies)


def conserved(balances: Balances, entries: Sequence[Entry]) -> bool:
    """INV-06: balances are the entries' sums, sum to zero, and custody moves only by right."""
    totals: dict[AssetId, int] = {}
    for (asset, _), balance in balances.items():
        totals[asset] = totals.get(asset, 0) + balance
    booked = {key: net for key, net in movements(entries).items() if net}
    rightful = all(
        entry.kind in EXPOSURE_KINDS for entry in entries if CUSTODY in (entry.debit, entry.credit)
    )
    kept = {key: balance for key, balance in balances.items() if balance}
    return rightful and kept == booked and not any(totals.values())


def reservations_safe(voided: Set[ExecutionKey], released: Iterable[ExecutionKey]) -> bool:
    """INV-07: nothing that was voided is ever released."""
    return voided.isdisjoint(released)


def permit_bound(
    *, deadline: int, final_time: int, seconds_max: int, asked: Hashable, registered: Hashable
) -> bool:
    """INV-08: the permit is for the registered (destination, contract, epoch) and ends in time."""
    return asked == registered and final_time < deadline <= final_time + seconds_max


def gap_free(counters: Iterable[int]) -> bool:
    """INV-09: the counters of a dense lane, as far as seen, are 1, 2, 3 … without a hole."""
    seen = sorted(set(counters))
    return seen == list(range(1, len(seen) + 1))


def linked(blocks: Sequence[BlockRef], parents: Sequence[bytes]) -> bool:
    """INV-09: each block's parent hash is the block before it; `parents[i]` is of `blocks[i]`."""
    pairs = zip(blocks, blocks[1:], parents[1:], strict=False)
    return all(
        parent == before.hash and after.number == before.number + 1
        for before, after, parent in pairs
    )


def finality_kept(finals: Iterable[BlockRef]) -> bool:
    """INV-10: no height of a chain has two final hashes."""
    hashes: dict[tuple[Domain, int], bytes] = {}
    return all(hashes.setdefault((b.chain, b.number), b.hash) == b.hash for b in finals)


def rate_kept(moves: Sequence[tuple[int, int]], capacity: int, refill_per_second: int) -> bool:
    """INV-11: `moves` are (Unix seconds, shares released; negative flowed back), in order."""
    level, last = capacity, moves[0][0] if moves else 0
    for now, amount in moves:
        level = min(capacity, level + max(0, now - last) * refill_per_second - amount)
        last = max(now, last)
        if level < 0:
            return False
    return True


def threshold_sane(total: int, needed: int) -> bool:
    """INV-12: more than half, not more than all, never zero; whole numbers only."""
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (total, needed))
    return whole and 0 < needed <= total < 2 * needed


def settled(phases: Iterable[str]) -> bool:
    """INV-13: when all is quiet, every valid final burn is released, refunded or parked."""
    return set(phases) <= {"RELEASED", "REFUNDED", "PARKED"}


def loud(refused: Iterable[Hashable], events: Iterable[Hashable]) -> bool:
    """INV-14: every reject, hold, park and halt has exactly one durable event."""
    return Counter(refused) == Counter(events)


def deterministic(outcomes: Iterable[Hashable]) -> bool:
    """INV-15: histories of the same facts ended in the same state."""
    return len(set(outcomes)) <= 1


def supply_true(token_units: int, inventory_units: int, decimals: int, ledger_shares: int) -> bool:
    """INV-16: at a final block no chain shows more than the ledger has there.

    `token_units` and the bridge's own `inventory_units` are at the token's `decimals`.
    """
    # It checks those who use `amount.rescaled`, so it scales by itself.
    observed, booked = token_units - inventory_units, ledger_shares
    shift: int = 10 ** abs(decimals - SHARE_DECIMALS)
    if decimals < SHARE_DECIMALS:
        return observed * shift <= booked
    return observed <= booked * shift


PREDICATES: Final[Mapping[InvariantId, Callable[..., bool]]] = MappingProxyType(
    {
        InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN: every_release_has_final_burn,
        InvariantId.AT_MOST_ONCE: at_most_once,
        InvariantId.SAME_CONTENT: same_content,
        InvariantId.CAP: within_cap,
        InvariantId.CHAIN_BALANCE: chain_balances_kept,
        InvariantId.CONSERVATION: conserved,
        InvariantId.RESERVATION_SAFETY: reservations_safe,
        InvariantId.PERMIT: permit_bound,
        InvariantId.GAP_FREE: gap_free,
        InvariantId.FINALITY_VIOLATION_HALTS: finality_kept,
        InvariantId.RATE: rate_kept,
        InvariantId.CONFIG_SANITY: threshold_sane,
        InvariantId.LIVENESS: settled,
        InvariantId.LOUD_REFUSALS: loud,
        InvariantId.DETERMINISM: deterministic,
        InvariantId.SUPPLY_TRUTH: supply_true,
    }
)
"""The predicate of each promise."""

"""What a page of facts proves to be wrong: pure checks whose findings latch halts.

Facts always post; a finding never stops one. It says which promise was broken, by what, and
what it halts. An orphan burn or a supply below the ledger is no finding: anybody can make one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from xstock_core.ids import (
    AssetId,
    Domain,
    InvalidId,
    nonce_counter,
    parse_address,
)
from xstock_core.invariants import InvariantId
from xstock_core.ledger import AccountKind, Balances, is_issue, overdrafts
from xstock_core.message import TransferMessage
from xstock_core.observation import (
    BurnFinal,
    CancelFinal,
    OrphanBurn,
    ReleaseFinal,
    SupplyMoved,
)
from xstock_core.refund import refund_nonce_of
from xstock_core.release import ExecutionKey, key_of
from xstock_runtime.hashing import keccak256
from xstock_supply_guard.model import SERVICE, Executed, Halt


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise; `asset` or `chain` is what it halts (neither: everything)."""

    code: str
    detail: str
    asset: AssetId | None = None
    chain: Domain | None = None

    def halt(self, at_ms: int) -> Halt:
        """The halt it latches, with an id of its own; `latch` keeps one per standing reason."""
        about = f"{self.code}|{self.detail}|{at_ms}".encode() + (self.asset or b"")
        return Halt(
            id=sha256(about).hexdigest()[:32],
            reason=f"{self.code}: {self.detail}"[:500],
            by=SERVICE,
            at_ms=at_ms,
            asset=self.asset,
            chain=self.chain,
        )


def refund_key(burn: BurnFinal) -> ExecutionKey:
    """The key under which this burn's refund would be released."""
    return _refund_key_of(burn.message)


def _refund_key_of(message: TransferMessage) -> ExecutionKey:
    nonce = refund_nonce_of(message, keccak256)
    return ExecutionKey(message.source, message.destination, nonce)


def contradiction(release: ReleaseFinal, burn: BurnFinal) -> Finding | None:
    """INV-03: what a destination minted against what was burned for it (or refunded)."""
    message = burn.message
    refund = release.destination is message.source
    recipient = message.refund_address if refund else message.recipient
    if (release.asset, release.recipient, release.amount) == (
        message.asset,
        recipient,
        message.amount,
    ):
        return None
    detail = (
        f"release of {release.amount} to {release.recipient.hex()} on chain "
        f"{int(release.destination)} is not what {burn.transfer_id.hex()} burned"
    )
    return Finding(InvariantId.SAME_CONTENT.value, detail, asset=release.asset)


def orphan_contradiction(release: ReleaseFinal, orphan: OrphanBurn) -> Finding | None:
    """INV-03: the refund of an orphan burn is its shares, to the owner of the burned account."""
    if (release.asset, release.recipient, release.amount) == (
        orphan.asset,
        orphan.owner,
        orphan.amount,
    ):
        return None
    detail = (
        f"refund of {release.amount} to {release.recipient.hex()} on chain "
        f"{int(release.destination)} is not what orphan {orphan.nonce.hex()} burned"
    )
    return Finding(InvariantId.SAME_CONTENT.value, detail, asset=release.asset)


def second_execution(known: Executed, again: ReleaseFinal | CancelFinal) -> Finding:
    """INV-02: one key was executed twice, at two places."""
    detail = (
        f"key {again.nonce.hex()} from chain {int(again.source)} was executed twice on chain "
        f"{int(again.destination)}: blocks {known.fact.place.block.number} and "
        f"{again.place.block.number}"
    )
    return Finding(InvariantId.AT_MOST_ONCE.value, detail, asset=again.asset)


def paid_and_refunded(burn: BurnFinal) -> Finding:
    """INV-02: custody paid a redemption, and its shares were minted back all the same."""
    detail = f"redemption {burn.transfer_id.hex()} was paid by custody and refunded on its chain"
    return Finding(InvariantId.AT_MOST_ONCE.value, detail, asset=burn.message.asset)


def released_and_refunded(
    burn: BurnFinal, executions: Mapping[ExecutionKey, Executed]
) -> Finding | None:
    """INV-02: one burn's shares were minted at its destination and on its own chain.

    IN_FLIGHT below zero does not tell: it is what a release seen before its burn looks like.
    """
    for key in (key_of, _refund_key_of):
        known = executions.get(key(burn.message))
        if known is None or not isinstance(known.fact, ReleaseFinal):
            return None
    detail = f"burn {burn.transfer_id.hex()} was released and refunded too"
    return Finding(InvariantId.AT_MOST_ONCE.value, detail, asset=burn.message.asset)


def burned_twice(known: BurnFinal, again: BurnFinal) -> Finding:
    """INV-09: one lane nonce stands at two places of a final chain; nothing of it is believed."""
    detail = (
        f"burn nonce {again.message.nonce.hex()} stands in blocks {known.place.block.number} and "
        f"{again.place.block.number} of chain {int(again.message.source)}"
    )
    return Finding(InvariantId.GAP_FREE.value, detail, chain=again.message.source)


def overdrawn(balances: Balances) -> Iterable[Finding]:
    """INV-05, INV-07: an account below zero that facts alone cannot explain.

    IN_FLIGHT is not among them: a release may be seen before its burn, and `unmatched` asks.
    """
    broken = {
        AccountKind.SUPPLY: InvariantId.CHAIN_BALANCE,
        AccountKind.OPEN_ISSUANCE: InvariantId.RESERVATION_SAFETY,
        AccountKind.ORPHANED: InvariantId.AT_MOST_ONCE,
        AccountKind.UNPAID_REDEMPTION: InvariantId.CONSERVATION,
    }
    for overdraft in overdrafts(balances):
        invariant = broken.get(overdraft.account.kind)
        if invariant is not None:
            # Not the balance: the finding must stay the same halt while the balance moves.
            detail = f"account {overdraft.account.text} is below zero"
            yield Finding(invariant.value, detail, asset=overdraft.asset)


def minted_outside(moved: SupplyMoved) -> Finding | None:
    """INV-16: shares were minted outside any bridge message; burning them harms nobody."""
    if moved.token_units <= 0:
        return None
    detail = (
        f"{moved.token_units} token units minted outside the bridge on chain "
        f"{int(moved.place.block.chain)} in transaction {moved.place.tx.id.hex()}"
    )
    return Finding(InvariantId.SUPPLY_TRUTH.value, detail, asset=moved.asset)


def order_number_of(release: ReleaseFinal | CancelFinal) -> int | None:
    """The order number of an issuance, None if the nonce is no issuance of this asset."""
    number = nonce_counter(release.nonce)
    return number if number >= 1 and is_issue(release.asset, release.nonce) else None


def no_order(release: ReleaseFinal) -> Finding | None:
    """INV-01: a release from custody in a form that no issuer's order can have.

    An order that this guard never saw is no finding, above the cap neither: it may have been away
    while the others granted it, and custody's stock may have fallen since. It posts, and above the
    cap every release of the asset waits (INV-04).
    """
    try:
        parse_address(release.recipient, release.destination, "recipient")
    except InvalidId:
        shaped = False
    else:
        shaped = order_number_of(release) is not None and release.amount > 0
    if shaped:
        return None
    detail = (
        f"issuance {release.nonce.hex()} of {release.amount} on chain {int(release.destination)} "
        "has a nonce or recipient that no order can have"
    )
    code = InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN.value
    return Finding(code, detail, asset=release.asset)


def unmatched(
    executed: Executed, through_time: int, passed_ms: int, slack_seconds: int, wait_ms: int
) -> Finding | None:
    """INV-01: a release whose burn the source does not show, though it must by now.

    Its source's final time has passed the release, or this guard has waited long enough.
    """
    release = executed.fact
    shown = through_time >= release.place.block.time + slack_seconds
    if not shown and passed_ms - executed.recorded_ms < wait_ms:
        return None
    detail = (
        f"release {release.nonce.hex()} on chain {int(release.destination)} has no burn on chain "
        f"{int(release.source)}"
    )
    return Finding(InvariantId.NO_RELEASE_WITHOUT_FINAL_BURN.value, detail, asset=release.asset)

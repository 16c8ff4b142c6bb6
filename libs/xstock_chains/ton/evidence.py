"""From a minter's transactions to observations: what may be believed, and the message of a burn.

Only logs of a registered minter count, in transactions whose compute and action phases succeeded;
a look-alike wallet cannot make the minter log anything. A log is believed only with the inbound
message that it rests on: a burn needs the wallet's burn_notification of as many units from the
same owner, a release the wallet's acknowledgement of the same item, a parked mint its bounce. A
minter whose log the message denies runs other code: `InvalidMessage`, and the page does not pass.
Supply that moves in any other way is `SupplyMoved`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from xstock_chains.ton.cells import load_account, malformed, slice_of
from xstock_chains.ton.chain import TonChain, TonMinter
from xstock_chains.ton.messages import (
    BURN_NOTIFICATION,
    CHANGE_ADMIN,
    CHANGE_AGENT,
    CHANGE_GUARDS,
    CHANGE_LIMITS,
    CHANGE_RETIRE,
    CHANGE_UNPAUSE,
    INTERNAL_TRANSFER,
    MINT_ACK,
    REDIRECT,
    RELEASE,
    RETRY,
    Burned,
    Cancelled,
    ChangeApplied,
    GuardsChanged,
    Log,
    Parked,
    Released,
    Skipped,
    parse_ack,
    parse_log,
    parse_mint,
)
from xstock_chains.ton.rpc import McBlock, Message, Transaction
from xstock_core.amount import InvalidAmount, parse_shares
from xstock_core.ids import (
    Address32,
    Domain,
    InvalidId,
    counter_nonce,
    parse_address,
    parse_asset_id,
    parse_domain,
    parse_nonce,
)
from xstock_core.message import Kind, make_message
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    MintParked,
    Observation,
    OrphanBurn,
    Place,
    ReleaseFinal,
    ReleaseSkipped,
    Role,
    RoleMoved,
    SkipReason,
    SupplyMoved,
    TxRef,
)
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

_REASON_MAX: Final = 200
_MINTING: Final = frozenset({RELEASE, RETRY, REDIRECT})
_LT_BITS: Final = 26
_ACCOUNT_BITS: Final = 5
_ROLES: Final = {
    CHANGE_AGENT: Role.PAUSER,
    CHANGE_LIMITS: Role.OWNER,
    CHANGE_ADMIN: Role.OWNER,
    CHANGE_RETIRE: Role.MINTER,
}
_NO_ROLE: Final = frozenset({CHANGE_UNPAUSE, CHANGE_GUARDS})
"""A pause that ends moves no right; of guards the minter logs more, GuardsChanged."""
SKIP_REASONS: Final = {
    1: SkipReason.ALREADY_RELEASED,
    2: SkipReason.ALREADY_CANCELLED,
    3: SkipReason.ASSET_PAUSED,
    7: SkipReason.RECIPIENT_REFUSED,
    10: SkipReason.BUCKET_EMPTY,
    13: SkipReason.ALREADY_RELEASED,
}
"""The contract's skip numbers in our words; the others are UNKNOWN and park the item.

3, the bridge's own pause, is the asset's: a minter has one. 13, in flight, is minted already: its
ReleaseFinal or MintParked follows.
"""

Lane = tuple[bytes, int, int]
"""A counted burn's lane: minter, destination domain, counter."""
Found = tuple[Lane | None, Observation]
ItemKey = tuple[int, bytes]
"""An item as the contract knows it: source domain, nonce."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction with the masterchain block that commits it."""

    tx: Transaction
    minter: TonMinter
    block: McBlock

    def place(self, chain: TonChain, message: Message) -> Place:
        """Where a log stands. The index orders by logical time within a block, and tells
        minters apart that share one; it is content, so every reader gives the same."""
        behind = message.lt - self.block.start_lt + (1 << (_LT_BITS - 1))
        behind = min(max(behind, 0), (1 << _LT_BITS) - 1)
        index = behind << _ACCOUNT_BITS | self.minter.address[-1] & ((1 << _ACCOUNT_BITS) - 1)
        block = BlockRef(chain.domain, self.block.seqno, self.block.hash, self.block.time)
        return Place(block, TxRef(chain.domain, self.tx.hash), index)


class Evidence:
    """Turns a minter's committed transactions into observations, for one network."""

    def __init__(self, chain: TonChain) -> None:
        self.rejected: Counter[str] = Counter()
        """How many transactions were refused, by reason: `failed`, `retired`."""
        self._chain = chain

    def observe(self, committed: Committed) -> list[Found]:
        """Observations of one transaction in the order of its messages, burns with their lane."""
        tx = committed.tx
        if not self.counts(tx):
            self.rejected["failed"] += 1
            return []
        retired = committed.minter.retired_block
        if retired is not None and committed.block.seqno > retired:
            self.rejected["retired"] += 1
            return []
        found: list[Found] = []
        for message in tx.out_msgs:
            if message.destination is None:
                found.extend(self._log(committed, message))
            else:
                found.extend(self._mint(committed, message))
        found.extend(self._silent_burn(committed, found))
        return found

    def counts(self, tx: Transaction) -> bool:
        """SECURITY: what was aborted or failed in compute or action moved nothing (F04)."""
        return tx.succeeded

    # ------------------------------------------------------------------ logs

    def _log(self, committed: Committed, message: Message) -> list[Found]:
        log = parse_log(message.cell())
        if log is None or (isinstance(log, ChangeApplied) and log.kind in _NO_ROLE):
            return []
        place = committed.place(self._chain, message)
        try:
            if isinstance(log, Burned):
                lane = (committed.minter.address, log.destination, log.counter)
                return [(lane, self._burn(committed, log, place))]
            return [(None, self._other(committed, log, place))]
        except (InvalidId, InvalidAmount) as error:
            text = f"a log of minter {committed.minter.address.hex()} cannot be read: {error}"
            raise InvalidMessage("EVENT_MALFORMED", text, {"tx": place.tx.id.hex()}) from error

    def _burn(self, committed: Committed, log: Burned, place: Place) -> BurnFinal | OrphanBurn:
        minter = committed.minter
        self.prove_burn(committed, log)
        nonce = counter_nonce(minter.address, log.counter, keccak256)
        redeem = log.destination == Domain.CUSTODY
        try:
            message = make_message(
                kind=Kind.REDEEM if redeem else Kind.TRANSFER,
                source=self._chain.domain,
                destination=log.destination,
                nonce=nonce,
                source_bridge=minter.address,
                asset=log.asset,
                refund_address=log.refund,
                recipient=log.recipient,
                amount=log.amount,
            )
            sender = parse_address(log.sender, self._chain.domain, "sender")
        except (InvalidId, InvalidAmount) as error:
            return OrphanBurn(
                asset=minter.asset.asset,
                owner=Address32(log.sender),
                amount=parse_shares(log.amount),
                reason=str(error)[:_REASON_MAX],
                nonce=nonce,
                place=place,
            )
        return BurnFinal(message, message.transfer_id(keccak256), sender, log.counter, place)

    def prove_burn(self, committed: Committed, log: Burned) -> None:
        """SECURITY: without this a log alone would mint elsewhere (F04, F06)."""
        burned = _burn_notification(committed.tx)
        owner, units = burned if burned is not None else (None, -1)
        asset = committed.minter.asset
        right = owner == log.sender and units == asset.units(log.amount)
        if not right or log.asset != asset.asset:
            raise _unproven("BURN_UNPROVEN", committed, log.amount)

    def _other(self, committed: Committed, log: Log, place: Place) -> Observation:
        domain, asset = self._chain.domain, committed.minter.asset.asset
        match log:
            case Released():
                return self._release(committed, log, place)
            case Cancelled(source, nonce):
                return CancelFinal(domain, _source(source), parse_nonce(nonce), asset, place)
            case Skipped(source, nonce, reason):
                why = SKIP_REASONS.get(reason, SkipReason.UNKNOWN)
                return ReleaseSkipped(domain, _source(source), parse_nonce(nonce), why, place)
            case Parked():
                return self._parked(committed, log, place)
            case GuardsChanged(epoch, threshold, count):
                content = b"".join(n.to_bytes(4, "big") for n in (epoch, threshold, count))
                holder = keccak256(content)
                return RoleMoved(Role.GUARD_SET, committed.minter.address, holder, place)
            case ChangeApplied(action, kind):
                role = _ROLES.get(kind, Role.CODE)
                return RoleMoved(role, committed.minter.address, action, place)
            case _:
                raise InvalidId("log", type(log).__name__, "a burn is read elsewhere")

    def _release(self, committed: Committed, log: Released, place: Place) -> ReleaseFinal:
        self.prove_release(committed, log)
        return ReleaseFinal(
            self._chain.domain,
            _source(log.source),
            parse_nonce(log.nonce),
            parse_asset_id(committed.minter.asset.asset),
            parse_address(log.recipient, self._chain.domain, "recipient"),
            parse_shares(log.amount),
            place,
        )

    def prove_release(self, committed: Committed, log: Released) -> None:
        """SECURITY: a release is what a wallet acknowledged, item and units (F04)."""
        message = committed.tx.in_msg
        if message is None or message.bounced or message.op() != MINT_ACK:
            raise _unproven("RELEASE_UNPROVEN", committed, log.amount)
        tag = parse_ack(message.cell())
        same = (tag.source, tag.nonce) == (log.source, log.nonce)
        if not same or tag.units != committed.minter.asset.units(log.amount):
            raise _unproven("RELEASE_UNPROVEN", committed, log.amount)

    def _parked(self, committed: Committed, log: Parked, place: Place) -> MintParked:
        message = committed.tx.in_msg
        if message is None or not message.bounced:
            raise _unproven("PARK_UNPROVEN", committed, log.amount)
        return MintParked(
            self._chain.domain,
            _source(log.source),
            parse_nonce(log.nonce),
            parse_asset_id(committed.minter.asset.asset),
            parse_shares(log.amount),
            place,
        )

    # ------------------------------------------------------------------ supply besides

    def _mint(self, committed: Committed, message: Message) -> list[Found]:
        """A mint that no release, retry or redirect asked for."""
        if message.op() != INTERNAL_TRANSFER:
            return []
        asked = committed.tx.in_msg
        if asked is not None and not asked.bounced and asked.op() in _MINTING:
            return []
        place = committed.place(self._chain, message)
        asset = committed.minter.asset.asset
        return [(None, SupplyMoved(asset, parse_mint(message.cell()).units, place))]

    def _silent_burn(self, committed: Committed, found: list[Found]) -> list[Found]:
        """A burn that the minter took without a log of it."""
        if any(lane is not None for lane, _ in found):
            return []
        burned, message = _burn_notification(committed.tx), committed.tx.in_msg
        if burned is None or message is None:
            return []
        place = committed.place(self._chain, message)
        return [(None, SupplyMoved(committed.minter.asset.asset, -burned[1], place))]


def moved_units(tx: Transaction) -> tuple[dict[ItemKey, int], set[ItemKey]]:
    """(units minted towards a wallet, answered items) of one transaction, by (source, nonce)."""
    minted: dict[ItemKey, int] = {}
    answered: set[ItemKey] = set()
    if not tx.succeeded:
        return minted, answered
    for message in tx.out_msgs:
        if message.destination is None:
            log = parse_log(message.cell())
            if isinstance(log, Released | Parked):
                answered.add((log.source, log.nonce))
        elif message.op() == INTERNAL_TRANSFER:
            tag = parse_mint(message.cell())
            minted[tag.source, tag.nonce] = tag.units
    return minted, answered


def _burn_notification(tx: Transaction) -> tuple[bytes | None, int] | None:
    """(owner, units) of the burn that caused a transaction; None if something else did."""
    message = tx.in_msg
    if message is None or message.bounced or message.op() != BURN_NOTIFICATION:
        return None
    piece = slice_of(message.cell())
    try:
        piece.skip_bits(32 + 64)
        units = int(piece.load_coins() or 0)
        return load_account(piece, "burn_notification.owner"), units
    except (IndexError, ValueError) as error:
        raise malformed("burn_notification", tx.hash.hex(), "of TEP-74's layout") from error


def _source(number: int) -> Domain:
    return parse_domain(number, "source")


def _unproven(code: str, committed: Committed, amount: int) -> InvalidMessage:
    tx, symbol = committed.tx.hash.hex(), committed.minter.asset.symbol
    text = (
        f"the minter logs {amount} of {symbol} in {tx}, the message that caused it does not; "
        "compare with other nodes and check the minter's code"
    )
    return InvalidMessage(code, text, {"tx": tx, "asset": symbol, "amount": amount})

"""The fake chain's contract: what a call does to state and which events it leaves.

The rules are those of docs/protocol.md for every destination: an item happens at most once, one
bad item never takes the batch down, and nothing is released without M guards of the present
epoch. Every check precedes the first write, so a refused call changes nothing but its slot.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from xstock_chains.fake.codec import FakeCodec, decode_order, recover_identity
from xstock_chains.fake.governance import Moment, NotAllowed, govern, paused
from xstock_chains.fake.state import AssetRules, BucketLevel, ChainState, GuardSet
from xstock_chains.fake.transactions import (
    BurnCall,
    FakeTx,
    FillCall,
    GovernCall,
    MoveRoleCall,
    MoveSupplyCall,
    PauseBridgeCall,
    PlainBurnCall,
    RefuseCall,
    ReleaseCall,
    RotateGuardsCall,
    SetRulesCall,
)
from xstock_chains.ports import ExecutionState, ReleaseOrder
from xstock_core.amount import SHARE_DECIMALS, Shares
from xstock_core.ids import (
    Address32,
    AssetId,
    Domain,
    InvalidId,
    Nonce,
    counter_nonce,
    parse_address,
    solana_nonce,
)
from xstock_core.message import Kind, make_message
from xstock_core.observation import (
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
)
from xstock_core.release import Action, ReleaseItem
from xstock_runtime.errors import InvalidMessage
from xstock_runtime.hashing import keccak256

DEADLINE_SECONDS_MAX: Final = 3_600
"""How far ahead of the chain's own time a permit's deadline may lie (docs/protocol.md)."""

EventDraft = Callable[[Place], Observation]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a call executes: chain, bridge, token scale, block number and time."""

    domain: Domain
    bridge: Address32
    decimals: int
    minimum_shares: int
    number: int
    time: int

    def units(self, shares: int) -> int:
        """Shares in the token's own units."""
        scale: int = 10 ** (self.decimals - SHARE_DECIMALS)
        return shares * scale


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the transaction succeeded, why not, and its events in order."""

    succeeded: bool
    reason: str = ""
    events: tuple[EventDraft, ...] = ()


class Reverted(Exception):
    """The contract refuses the whole call; the text is the reason."""


def execute(tx: FakeTx, state: ChainState, site: Site) -> Outcome:
    """Apply one transaction at `site`; never raises, a refused call is an Outcome."""
    state.slot.put(tx.sender, tx.slot + 1, site.number)
    try:
        return Outcome(succeeded=True, events=tuple(_run(tx, state, site)))
    except (Reverted, NotAllowed) as refusal:
        return Outcome(succeeded=False, reason=str(refusal))


def _run(tx: FakeTx, state: ChainState, site: Site) -> list[EventDraft]:
    match tx.call:
        case BurnCall() as burn:
            return _burn(tx, burn, state, site)
        case ReleaseCall(packed=packed):
            return _release(packed, state, site)
        case FillCall():
            return []
        case MoveSupplyCall() as move:
            return _move_supply(move, state, site)
        case PlainBurnCall() as plain:
            return _plain_burn(tx, plain, state, site)
        case SetRulesCall() | PauseBridgeCall() | RefuseCall():
            return _switch(tx.call, state, site)
        case RotateGuardsCall(guards=guards):
            state.guards.put("", guards, site.number)
            return [_guards_moved(guards, site)]
        case MoveRoleCall() as moved:
            return [partial(RoleMoved, moved.role, moved.subject, moved.holder)]
        case call:
            return _govern(tx.sender, call, state, site)


def _govern(sender: Address32, call: GovernCall, state: ChainState, site: Site) -> list[EventDraft]:
    guards = govern(sender, call, state, Moment(site.number, site.time))
    return [] if guards is None else [_guards_moved(guards, site)]


def _guards_moved(guards: GuardSet, site: Site) -> EventDraft:
    members = keccak256(b"".join(sorted(guards.members)))
    return partial(RoleMoved, Role.GUARD_SET, site.bridge, members)


def _switch(
    call: SetRulesCall | PauseBridgeCall | RefuseCall, state: ChainState, site: Site
) -> list[EventDraft]:
    match call:
        case SetRulesCall(asset=asset, rules=rules):
            state.rules.put(asset, rules, site.number)
        case PauseBridgeCall(paused=paused):
            state.bridge_paused.put("", paused, site.number)
        case RefuseCall(recipient=recipient, refuses=refuses):
            state.refusing.put(recipient, refuses, site.number)
    return []


def _take(state: ChainState, site: Site, asset: AssetId, holder: Address32, shares: int) -> None:
    units, at = site.units(shares), site.number
    balance = state.balance.get((asset, holder), at)
    if balance < units:
        raise Reverted(f"balance {balance} is below {units}")
    state.balance.put((asset, holder), balance - units, at)
    state.supply.put(asset, state.supply.get(asset, at) - units, at)


def _burn(tx: FakeTx, burn: BurnCall, state: ChainState, site: Site) -> list[EventDraft]:
    rules = state.rules.get(burn.asset, site.number)
    redeem = burn.destination is Domain.CUSTODY
    if rules is None or rules.paused:
        raise Reverted("asset unknown" if rules is None else "asset paused")
    stopped = paused(state, burn.asset, site.number, site.time)
    if (state.bridge_paused.get("", site.number) or stopped) and not redeem:
        raise Reverted(f"{stopped or 'bridge'} paused")
    if burn.amount < site.minimum_shares or burn.recipient == site.bridge:
        raise Reverted("below minimum, or the bridge is the recipient")
    counter = state.counter.get(burn.destination, site.number) + 1
    sparse = site.domain is Domain.SOLANA
    nonce = (
        solana_nonce(tx.id, 0, 0xFF, keccak256)
        if sparse
        else counter_nonce(site.bridge, counter, keccak256)
    )
    try:
        message = make_message(
            kind=Kind.REDEEM if redeem else Kind.TRANSFER,
            source=site.domain,
            destination=burn.destination,
            nonce=nonce,
            source_bridge=site.bridge,
            asset=burn.asset,
            refund_address=burn.refund_address,
            recipient=burn.recipient,
            amount=burn.amount,
        )
    except ValueError as refusal:
        raise Reverted(str(refusal)) from refusal
    _take(state, site, burn.asset, tx.sender, burn.amount)
    if not sparse:
        state.counter.put(burn.destination, counter, site.number)
    _refill(burn.asset, burn.amount, rules, state, site)
    transfer_id = message.transfer_id(keccak256)
    return [partial(BurnFinal, message, transfer_id, tx.sender, 0 if sparse else counter)]


def _plain_burn(tx: FakeTx, burn: PlainBurnCall, state: ChainState, site: Site) -> list[EventDraft]:
    _take(state, site, burn.asset, tx.sender, burn.amount)
    nonce = Nonce(keccak256(b"xstock/fake-orphan" + tx.id))
    return [partial(OrphanBurn, burn.asset, tx.sender, Shares(burn.amount), burn.reason, nonce)]


def _move_supply(call: MoveSupplyCall, state: ChainState, site: Site) -> list[EventDraft]:
    at, key = site.number, (call.asset, call.holder)
    balance = state.balance.get(key, at) + call.token_units
    if balance < 0:
        raise Reverted("balance too small")
    state.balance.put(key, balance, at)
    state.supply.put(call.asset, state.supply.get(call.asset, at) + call.token_units, at)
    return [partial(SupplyMoved, call.asset, call.token_units)]


def _release(packed: bytes, state: ChainState, site: Site) -> list[EventDraft]:
    try:
        order = decode_order(packed)
    except InvalidMessage as error:
        raise Reverted(error.message) from error
    _authorise(order, state, site)
    return [_item(item, state, site) for item in order.batch.items]


def _authorise(order: ReleaseOrder, state: ChainState, site: Site) -> None:
    batch, guards = order.batch, state.guards.get("", site.number)
    if guards is None or guards.threshold < 1:
        raise Reverted("no guard set")
    if (batch.destination, batch.bridge) != (site.domain, site.bridge):
        raise Reverted("another destination's permit")
    if batch.epoch != guards.epoch:
        raise Reverted(f"epoch {batch.epoch} is not {guards.epoch}")
    if not site.time <= batch.deadline <= site.time + DEADLINE_SECONDS_MAX:
        raise Reverted(f"deadline {batch.deadline} is expired or too far at {site.time}")
    signers = [s.signer for s in order.signatures]
    if signers != sorted(set(signers)) or not guards.members.issuperset(signers):
        raise Reverted("signers unknown, doubled or out of order")
    if len(signers) < guards.threshold:
        raise Reverted(f"{len(signers)} of {guards.threshold} signatures")
    digest = FakeCodec().digest(batch)
    for signature in order.signatures:
        _check_signature(digest, signature.signer, signature.signature)


def _check_signature(digest: bytes, signer: bytes, signature: bytes) -> None:
    try:
        recovered = recover_identity(digest, signature)
    except InvalidMessage as error:
        raise Reverted(error.message) from error
    if recovered != signer:
        raise Reverted("signature is not the named signer's")


def _item(item: ReleaseItem, state: ChainState, site: Site) -> EventDraft:
    done = state.execution.get((item.source, item.nonce), site.number)
    skip = _done_reason(done, item) or _skip_reason(item, state, site)
    if skip is not None:
        return partial(ReleaseSkipped, site.domain, item.source, item.nonce, skip)
    key = (item.source, item.nonce)
    if item.action is Action.CANCEL:
        state.execution.put(key, ExecutionState.CANCELLED, site.number)
        return partial(CancelFinal, site.domain, item.source, item.nonce, item.asset)
    if site.domain is Domain.TON and state.refusing.get(item.recipient, site.number):
        state.execution.put(key, ExecutionState.PARKED, site.number)
        return partial(MintParked, site.domain, item.source, item.nonce, item.asset, item.amount)
    _mint(item, state, site)
    return partial(
        ReleaseFinal,
        site.domain,
        item.source,
        item.nonce,
        item.asset,
        item.recipient,
        item.amount,
    )


def _done_reason(done: ExecutionState | None, item: ReleaseItem) -> SkipReason | None:
    if done is ExecutionState.RELEASED:
        return SkipReason.ALREADY_RELEASED
    if done is ExecutionState.CANCELLED:
        return SkipReason.ALREADY_CANCELLED
    if done is ExecutionState.PARKED and item.action is Action.RELEASE:
        return SkipReason.RECIPIENT_REFUSED
    return None


def _skip_reason(item: ReleaseItem, state: ChainState, site: Site) -> SkipReason | None:
    if item.action is Action.CANCEL:
        return None
    rules = state.rules.get(item.asset, site.number)
    if rules is None:
        return SkipReason.ASSET_UNKNOWN
    stopped = paused(state, item.asset, site.number, site.time)
    if state.bridge_paused.get("", site.number) or stopped == "bridge":
        return SkipReason.BRIDGE_PAUSED
    if rules.paused or stopped:
        return SkipReason.ASSET_PAUSED
    if not _accepts(item.recipient, state, site):
        return SkipReason.RECIPIENT_REFUSED
    if bucket_shares(item.asset, rules, state, site.number, site.time) < item.amount:
        return SkipReason.BUCKET_EMPTY
    return None


def _accepts(recipient: Address32, state: ChainState, site: Site) -> bool:
    if site.domain is Domain.TON:
        return True
    try:
        parse_address(recipient, site.domain)
    except InvalidId:
        return False
    return not state.refusing.get(recipient, site.number)


def _mint(item: ReleaseItem, state: ChainState, site: Site) -> None:
    at, holder = site.number, (item.asset, item.recipient)
    units = site.units(item.amount)
    rules = state.rules.get(item.asset, at)
    state.execution.put((item.source, item.nonce), ExecutionState.RELEASED, at)
    state.balance.put(holder, state.balance.get(holder, at) + units, at)
    state.supply.put(item.asset, state.supply.get(item.asset, at) + units, at)
    if rules is not None:
        _refill(item.asset, -item.amount, rules, state, site)


def bucket_shares(
    asset: AssetId, rules: AssetRules, state: ChainState, number: int, time: int
) -> int:
    """Shares that the asset's bucket would release at this block and time (2^64 if unlimited)."""
    if rules.bucket_capacity is None:
        return 2**64
    level = state.bucket.get(asset, number)
    if level is None:
        return rules.bucket_capacity
    grown = level.shares + max(0, time - level.time) * rules.refill_per_second
    return min(rules.bucket_capacity, grown)


def _refill(asset: AssetId, shares: int, rules: AssetRules, state: ChainState, site: Site) -> None:
    if rules.bucket_capacity is None:
        return
    present = bucket_shares(asset, rules, state, site.number, site.time)
    level = min(rules.bucket_capacity, present + shares)
    state.bucket.put(asset, BucketLevel(level, site.time), site.number)

"""The fake bridge's people: who may pause, for how long, and what waits behind a delay.

The rules of contracts/evm/GuardSet.sol over `ChainState`. Every check precedes the first write;
a refusal is raised with the words of the contract's errors.
"""

from dataclasses import dataclass
from typing import Final

from xstock_chains.fake.state import ChainState, GuardSet, PauseVotes, People
from xstock_chains.fake.transactions import (
    ConfirmPauseCall,
    GovernCall,
    PauseCall,
    ProposeCall,
    ReplaceGuardsCall,
    UnpauseCall,
)
from xstock_core.ids import Address32, AssetId
from xstock_core.invariants import threshold_sane
from xstock_runtime.hashing import keccak256

WHOLE_BRIDGE: Final = bytes(32)
PAUSE_SECONDS: Final = 86_400
PAUSE_COOLDOWN_SECONDS: Final = 7 * 86_400
PROPOSAL_SECONDS_MAX: Final = 14 * 86_400
UNTIL_LIFTED: Final = 2**32 - 1
GUARDS_MAX: Final = 32


class NotAllowed(Exception):
    """The bridge refuses what one of its people, or a stranger, asks for; the text says why."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The block in which a call executes: its number, and its time in Unix seconds."""

    number: int
    time: int


def paused(state: ChainState, asset: AssetId, number: int, time: int) -> str | None:
    """What is paused by the bridge's people: "bridge", "asset", or nothing."""
    if time < state.pause_end.get(WHOLE_BRIDGE, number):
        return "bridge"
    return "asset" if time < state.pause_end.get(asset, number) else None


def unpause_proposal(scope: bytes, count: int) -> bytes:
    """The id of a proposal to lift the pauses of a scope so far."""
    return keccak256(b"unpause" + scope + count.to_bytes(8, "big"))


def guards_proposal(epoch: int, guards: GuardSet) -> bytes:
    """The id of a proposal to replace the guards of an epoch."""
    head = b"guards" + epoch.to_bytes(8, "big") + guards.threshold.to_bytes(8, "big")
    return keccak256(head + b"".join(sorted(guards.members)))


def govern(sender: Address32, call: GovernCall, state: ChainState, at: Moment) -> GuardSet | None:
    """Do what a person asks for; the new guard set where it changed. Raises NotAllowed."""
    me = sender[12:]
    match call:
        case PauseCall(scope=scope):
            _pause(me, scope, state, at)
        case ConfirmPauseCall(scope=scope):
            if me not in _guards(state, at).members:
                raise NotAllowed("NotGuard")
            _vote(me, scope, state, at)
        case ProposeCall(proposal=proposal):
            people = _admin(me, state, at)
            state.ready_at.put(proposal, at.time + people.delay_seconds, at.number)
        case UnpauseCall(scope=scope):
            _admin(me, state, at)
            count = state.pause_count.get(scope, at.number)
            _take(unpause_proposal(scope, count), state, at)
            state.pause_end.put(scope, 0, at.number)
            state.votes.put(scope, PauseVotes(), at.number)
        case ReplaceGuardsCall(guards=guards):
            return _replace(me, guards, state, at)
    return None


def _people(state: ChainState, at: Moment) -> People:
    return state.people.get("", at.number)


def _guards(state: ChainState, at: Moment) -> GuardSet:
    guards = state.guards.get("", at.number)
    if guards is None:
        raise NotAllowed("no guard set")
    return guards


def _admin(me: bytes, state: ChainState, at: Moment) -> People:
    people = _people(state, at)
    if me != people.admin:
        raise NotAllowed("OwnableUnauthorizedAccount")
    return people


def _pause(me: bytes, scope: bytes, state: ChainState, at: Moment) -> None:
    guard = me in _guards(state, at).members
    if not guard and me != _people(state, at).agent:
        raise NotAllowed("NotGuardOrAgent")
    last = state.last_pause.get(me, at.number)
    if last and at.time < last + PAUSE_COOLDOWN_SECONDS:
        raise NotAllowed(f"PauseCooldown {last + PAUSE_COOLDOWN_SECONDS}")
    state.last_pause.put(me, at.time, at.number)
    _extend(scope, at.time + PAUSE_SECONDS, state, at)
    if guard:
        _vote(me, scope, state, at)


def _extend(scope: bytes, end: int, state: ChainState, at: Moment) -> None:
    present = state.pause_end.get(scope, at.number)
    state.pause_end.put(scope, max(present, end), at.number)
    state.pause_count.put(scope, state.pause_count.get(scope, at.number) + 1, at.number)


def _vote(me: bytes, scope: bytes, state: ChainState, at: Moment) -> None:
    guards, votes = _guards(state, at), state.votes.get(scope, at.number)
    if at.time > votes.opened_at + PAUSE_SECONDS or votes.epoch != guards.epoch:
        votes = PauseVotes(guards.epoch, at.time)
    voters = votes.voters | {me}
    if len(voters) >= guards.threshold:
        state.votes.put(scope, PauseVotes(), at.number)
        _extend(scope, UNTIL_LIFTED, state, at)
        return
    state.votes.put(scope, PauseVotes(votes.epoch, votes.opened_at, voters), at.number)


def _take(proposal: bytes, state: ChainState, at: Moment) -> None:
    ready = state.ready_at.get(proposal, at.number)
    if not ready:
        raise NotAllowed("ChangeNotProposed")
    if at.time < ready:
        raise NotAllowed(f"ChangeTooEarly {ready}")
    if at.time > ready + PROPOSAL_SECONDS_MAX:
        raise NotAllowed("ChangeExpired")
    state.ready_at.put(proposal, 0, at.number)


def _replace(me: bytes, wanted: GuardSet, state: ChainState, at: Moment) -> GuardSet:
    _admin(me, state, at)
    present = _guards(state, at)
    count = len(wanted.members)
    if not 0 < count <= GUARDS_MAX or not threshold_sane(count, wanted.threshold):
        raise NotAllowed("ThresholdRefused")
    _take(guards_proposal(present.epoch, wanted), state, at)
    installed = GuardSet(present.epoch + 1, wanted.threshold, wanted.members)
    state.guards.put("", installed, at.number)
    return installed

"""`ChainOffice` of the fake family: the same looks before the same acts as on a real contract.

Keys are files that hold the seed of a `FakeSigner`. An act is a call in the mempool that is
awaited in a block; blocks come only when somebody makes them.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from xstock_chains.fake.governance import (
    GUARDS_MAX,
    PAUSE_COOLDOWN_SECONDS,
    PROPOSAL_SECONDS_MAX,
    UNTIL_LIFTED,
    WHOLE_BRIDGE,
    guards_proposal,
    unpause_proposal,
)
from xstock_chains.fake.node import FakeNode
from xstock_chains.fake.signer import FakeSigner
from xstock_chains.fake.state import ChainState
from xstock_chains.fake.state import GuardSet as FakeGuardSet
from xstock_chains.fake.transactions import (
    ConfirmPauseCall,
    GovernCall,
    PauseCall,
    ProposeCall,
    ReplaceGuardsCall,
    UnpauseCall,
)
from xstock_chains.office_rules import (
    act_pending,
    act_refused,
    asset_unknown,
    key_may_not,
    key_missing,
    moment,
    pause_cooldown,
    rotation_needed,
)
from xstock_chains.ports import AdminAct, GuardSet, PauseState, StepState
from xstock_core.ids import AssetId
from xstock_runtime.clock import Clock
from xstock_runtime.errors import InvalidMessage

_TRIES: Final = 200


class FakeOffice:
    """Pauses and rotation over one fake node."""

    def __init__(self, node: FakeNode, clock: Clock, key_file: Path | None = None) -> None:
        self._node = node
        self._clock = clock
        self._key = None if key_file is None else _key(key_file)

    async def pause_states(self) -> Sequence[PauseState]:
        """The bridge, then every asset."""
        state, number, now = await self._look()
        scopes = [WHOLE_BRIDGE, *self._node.chain.config.assets]
        return [_shown(scope, state.pause_end.get(scope, number), now) for scope in scopes]

    async def pause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Of the whole bridge or of one asset."""
        scopes, key = self._scopes(assets), self._mine("pause")
        state, number, now = await self._look()
        still_open = [scope for scope in scopes if state.pause_end.get(scope, number) <= now]
        if still_open:
            self._check_may_pause(key, state, number, now)
        if len(still_open) > 1:
            raise InvalidMessage(
                "PAUSE_ONE_SCOPE", "assets: one key pauses one of them; pause the whole bridge"
            )
        return [
            await self._pause(key, scope)
            if scope in still_open
            else _paused(scope, StepState.ALREADY, state.pause_end.get(scope, number))
            for scope in scopes
        ]

    async def _pause(self, key: FakeSigner, scope: bytes) -> AdminAct:
        act = await self._act(f"pause {_name(scope)}", key, PauseCall(scope))
        state, number, _ = await self._look()
        return _paused(scope, act.state, state.pause_end.get(scope, number), act.tx)

    def _check_may_pause(self, key: FakeSigner, state: ChainState, number: int, now: int) -> None:
        people, guards = state.people.get("", number), self._guards(state, number)
        if key.identity != people.agent and key.identity not in guards.members:
            who = f"the agent {people.agent.hex()} or a guard"
            raise key_may_not("pause", key.identity.hex(), who)
        last = state.last_pause.get(key.identity, number)
        if last and now < last + PAUSE_COOLDOWN_SECONDS:
            raise pause_cooldown(key.identity.hex(), last + PAUSE_COOLDOWN_SECONDS)

    async def confirm_pause(
        self, guard_keys: Sequence[Path], assets: Sequence[AssetId] | None = None
    ) -> Sequence[AdminAct]:
        """Every guard's vote in turn, until M of them are there."""
        keys = [_key(path) for path in guard_keys]
        state, number, _ = await self._look()
        for key in keys:
            if key.identity not in self._guards(state, number).members:
                raise key_may_not("confirm pause", key.identity.hex(), "guards of this chain")
        acts: list[AdminAct] = []
        for scope in self._scopes(assets):
            acts.extend(await self._confirm(scope, keys))
        return acts

    async def _confirm(self, scope: bytes, keys: Sequence[FakeSigner]) -> list[AdminAct]:
        acts: list[AdminAct] = []
        for key in keys:
            if await self._until_lifted(scope):
                break
            name = f"confirm pause {_name(scope)} by {key.identity.hex()}"
            acts.append(await self._act(name, key, ConfirmPauseCall(scope)))
        name = f"pause {_name(scope)} until it is lifted"
        if await self._until_lifted(scope):
            return [*acts, AdminAct(name, StepState.DONE if acts else StepState.ALREADY)]
        return [*acts, AdminAct(name, StepState.WAITING, "needs more guards; give their keys")]

    async def _until_lifted(self, scope: bytes) -> bool:
        state, number, _ = await self._look()
        return state.pause_end.get(scope, number) == UNTIL_LIFTED

    async def unpause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Propose, and lift once the delay is over."""
        state, number, now = await self._look()
        key = self._admin("unpause", state, number)
        every = [*self._scopes(assets), *(self._node.chain.config.assets if assets is None else ())]
        acts = []
        for scope in every:
            if state.pause_end.get(scope, number) > now:
                acts.append(await self._unpause(key, scope))
            elif assets is not None or scope == WHOLE_BRIDGE:
                acts.append(AdminAct(f"unpause {_name(scope)}", StepState.ALREADY))
        return acts

    async def _unpause(self, key: FakeSigner, scope: bytes) -> AdminAct:
        state, number, now = await self._look()
        name = f"unpause {_name(scope)}"
        proposal = unpause_proposal(scope, state.pause_count.get(scope, number))
        ready, tx = self._ready(proposal, state, number, now), ""
        if not ready:
            tx = (await self._act(f"propose {name}", key, ProposeCall(proposal))).tx
            state, number, now = await self._look()
            ready = state.ready_at.get(proposal, number)
        if now < ready:
            return AdminAct(name, StepState.WAITING, f"from {moment(ready)}", tx, ready)
        return await self._act(name, key, UnpauseCall(scope))

    async def guard_set(self) -> GuardSet:
        """The guards, in the order of their identities."""
        state, number, _ = await self._look()
        guards = self._guards(state, number)
        return GuardSet(tuple(sorted(guards.members)), guards.threshold, guards.epoch)

    async def rotate(
        self, new: GuardSet, guard_keys: Sequence[Path] = (), *, dry_run: bool = False
    ) -> AsyncIterator[AdminAct]:
        """Propose, wait, replace; guards' keys are not needed."""
        del guard_keys
        current = await self.guard_set()
        if not rotation_needed(current, new, guards_max=GUARDS_MAX, shown=bytes.hex):
            yield AdminAct("rotate guards", StepState.ALREADY, f"epoch {current.epoch}")
            return
        state, number, now = await self._look()
        if self._key is not None or not dry_run:
            self._admin("rotate guards", state, number)
        wanted = FakeGuardSet(new.epoch, new.threshold, frozenset(new.identities))
        proposal = guards_proposal(current.epoch, wanted)
        ready = self._ready(proposal, state, number, now)
        if ready:
            yield AdminAct("propose guards", StepState.ALREADY)
        elif dry_run:
            yield AdminAct("propose guards", StepState.PLANNED)
        else:
            yield await self._act(
                "propose guards", self._mine("propose guards"), ProposeCall(proposal)
            )
            state, number, now = await self._look()
            ready = state.ready_at.get(proposal, number)
        if dry_run and now >= ready:
            yield AdminAct("rotate guards", StepState.PLANNED)
        elif now < ready:
            yield AdminAct("rotate guards", StepState.WAITING, f"from {moment(ready)}", "", ready)
        else:
            yield await self._act(
                "rotate guards", self._mine("rotate guards"), ReplaceGuardsCall(wanted)
            )

    # ------------------------------------------------------------------ looking and acting

    async def _look(self) -> tuple[ChainState, int, int]:
        view = await self._node.view("office")
        return self._node.chain.state, view.head.number, view.head.time

    def _guards(self, state: ChainState, number: int) -> FakeGuardSet:
        guards = state.guards.get("", number)
        if guards is None:
            raise InvalidMessage("BRIDGE_SILENT", "the chain has no guards; check the deployment")
        return guards

    def _ready(self, proposal: bytes, state: ChainState, number: int, now: int) -> int:
        ready = state.ready_at.get(proposal, number)
        return 0 if now > ready + PROPOSAL_SECONDS_MAX else ready

    def _mine(self, act: str) -> FakeSigner:
        if self._key is None:
            raise key_missing(act)
        return self._key

    def _admin(self, act: str, state: ChainState, number: int) -> FakeSigner:
        key, admin = self._mine(act), state.people.get("", number).admin
        if key.identity != admin:
            raise key_may_not(act, key.identity.hex(), f"the admin {admin.hex()}")
        return key

    def _scopes(self, assets: Sequence[AssetId] | None) -> list[bytes]:
        if assets is None:
            return [WHOLE_BRIDGE]
        known = self._node.chain.config.assets
        for asset in assets:
            if asset not in known:
                name = self._node.chain.domain.name.lower()
                raise asset_unknown(name, asset, [one.hex() for one in known])
        return list(assets)

    async def _act(self, name: str, key: FakeSigner, call: GovernCall) -> AdminAct:
        tried = await self._node.simulate(call, key.address)
        if not tried.succeeded:
            raise act_refused(name, tried.reason)
        tx = await self._node.call(key.address, call)
        for _ in range(_TRIES):
            outcome = (await self._node.view("office")).outcome(tx)
            if outcome is not None and not outcome.succeeded:
                raise act_refused(name, outcome.reason)
            if outcome is not None:
                return AdminAct(name, StepState.DONE, "", tx.hex())
            await self._clock.sleep(1)
        raise act_pending(name, tx.hex())


def _key(path: Path) -> FakeSigner:
    return FakeSigner(path.read_bytes())


def _name(scope: bytes) -> str:
    return "the bridge" if scope == WHOLE_BRIDGE else scope.hex()[:8]


def _shown(scope: bytes, end: int, now: int) -> PauseState:
    asset = None if scope == WHOLE_BRIDGE else AssetId(scope)
    return PauseState(asset, end > now, end if now < end < UNTIL_LIFTED else None)


def _paused(scope: bytes, state: StepState, end: int, tx: str = "") -> AdminAct:
    lifted = end == UNTIL_LIFTED
    detail = "until it is lifted" if lifted else f"ends by itself at {moment(end)}"
    return AdminAct(f"pause {_name(scope)}", state, detail, tx, None if lifted else end)

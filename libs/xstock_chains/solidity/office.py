"""Pauses and guard rotation of our Solidity bridge, by its rules; how bytes travel is a family's.

Looks first, so that what holds is never sent again: one key pauses once in seven days, and a
transaction that reverts costs time when time is what counts. Everything that is not a pause runs
in two steps with the contract's delay between them; the chain remembers the first step, so this
keeps no state and may be stopped and run again by anybody with the admin's key.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from eth_abi.abi import encode

from xstock_chains.office_rules import (
    asset_unknown,
    key_may_not,
    key_missing,
    moment,
    pause_cooldown,
    rotation_needed,
)
from xstock_chains.ports import AdminAct, GuardSet, PauseState, StepState
from xstock_chains.solidity.abi import (
    ZERO_WORD,
    address_word,
    array_of_words,
    selector,
    words,
)
from xstock_chains.solidity.contracts import ContractChain
from xstock_chains.solidity.key import Secp256k1Key
from xstock_core.ids import AssetId
from xstock_runtime.errors import InvalidMessage, Transient
from xstock_runtime.hashing import keccak256

GUARDS_MAX: Final = 32
UNTIL_LIFTED: Final = 2**32 - 1
PAUSE_COOLDOWN_SECONDS: Final = 7 * 86_400
PROPOSAL_SECONDS_MAX: Final = 14 * 86_400

K = TypeVar("K", bound=Secp256k1Key)


class OfficeDesk(Protocol[K]):
    """A family's node and keys, as an office needs them."""

    async def read(self, to: bytes, calls: Sequence[bytes]) -> list[bytes | None]:
        """The answers at the newest block, None where the contract refuses; raises Transient."""
        ...

    async def now(self) -> int:
        """The newest block's time in Unix seconds."""
        ...

    async def send(self, act: str, key: K, to: bytes, data: bytes) -> str:
        """Simulate, sign, send, and see it succeed in a block; the transaction's text. Raises
        InvalidMessage ACT_REFUSED, Ambiguous ACT_PENDING, Transient."""
        ...

    def key(self, key_file: Path) -> K:
        """The key in a file; raises Fatal."""
        ...

    def show(self, address: bytes) -> str:
        """20 bytes as the family writes an address."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, slots=True)
class _Scope:
    """The whole bridge (`asset` None) or one asset, and what the contract calls it."""

    asset: AssetId | None
    name: str

    @property
    def word(self) -> bytes:
        return ZERO_WORD if self.asset is None else self.asset


@dataclass(frozen=True, slots=True)
class _People:
    agent: bytes
    admin: bytes
    guards: tuple[bytes, ...]


class ContractOffice(Generic[K]):
    """`ChainOffice` for one bridge contract over one node."""

    def __init__(self, chain: ContractChain, desk: OfficeDesk[K], key: K | None) -> None:
        self._chain = chain
        self._bridge = chain.bridge.address
        self._desk = desk
        self._key = key

    async def aclose(self) -> None:
        """Close the connections."""
        await self._desk.aclose()

    # ------------------------------------------------------------------ pauses

    async def pause_states(self) -> Sequence[PauseState]:
        """The bridge, then every asset that it knows."""
        scopes = self._scopes(None, every=True)
        ends, now = await self._ends(scopes), await self._desk.now()
        return [
            PauseState(scope.asset, end > now, end if now < end < UNTIL_LIFTED else None)
            for scope, end in zip(scopes, ends, strict=True)
            if end is not None
        ]

    async def pause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Of one asset or of the whole bridge: a key has one pause in seven days."""
        scopes = self._scopes(assets)
        key = self._mine("pause")
        ends, now = await self._known_ends(scopes), await self._desk.now()
        still_open = [scope for scope, end in zip(scopes, ends, strict=True) if end <= now]
        if still_open:
            await self._check_may_pause(key, now)
        if len(still_open) > 1:
            text = (
                f"assets: {', '.join(scope.name for scope in still_open)} cannot be paused by one "
                "key, which pauses once in seven days; pause the whole bridge"
            )
            raise InvalidMessage("PAUSE_ONE_SCOPE", text, {"scopes": len(still_open)})
        acts = [
            AdminAct(f"pause {scope.name}", StepState.ALREADY, _lasting(end), until=_end(end))
            for scope, end in zip(scopes, ends, strict=True)
            if end > now
        ]
        return acts + [await self._pause(key, scope) for scope in still_open]

    async def _pause(self, key: K, scope: _Scope) -> AdminAct:
        act = f"pause {scope.name}"
        data = selector("pause(bytes32)") + scope.word
        tx = await self._desk.send(act, key, self._bridge, data)
        (end,) = await self._known_ends([scope])
        return AdminAct(act, StepState.DONE, _lasting(end), tx, _end(end))

    async def _check_may_pause(self, key: K, now: int) -> None:
        people, mine = await self._people(), key.identity
        if mine != people.agent and mine not in people.guards:
            guards = ", ".join(self._desk.show(guard) for guard in people.guards)
            who = f"the agent {self._desk.show(people.agent)} or a guard ({guards})"
            raise key_may_not("pause", self._desk.show(mine), who)
        (last,) = await self._uints([selector("lastPauseAt(address)") + address_word(mine)])
        if last and now < last + PAUSE_COOLDOWN_SECONDS:
            raise pause_cooldown(self._desk.show(mine), last + PAUSE_COOLDOWN_SECONDS)

    async def confirm_pause(
        self, guard_keys: Sequence[Path], assets: Sequence[AssetId] | None = None
    ) -> Sequence[AdminAct]:
        """Every guard's vote in turn, until M of them have ended the pause's own end."""
        keys = [self._desk.key(path) for path in guard_keys]
        people = await self._people()
        for key in keys:
            if key.identity not in people.guards:
                shown = self._desk.show(key.identity)
                raise key_may_not("confirm pause", shown, "guards of this chain")
        scopes = self._scopes(assets)
        await self._known_ends(scopes)
        return [act for scope in scopes for act in await self._confirm(scope, keys)]

    async def _confirm(self, scope: _Scope, keys: Sequence[K]) -> list[AdminAct]:
        acts: list[AdminAct] = []
        for key in keys:
            (end,) = await self._known_ends([scope])
            if end == UNTIL_LIFTED:
                break
            act = f"confirm pause {scope.name} by {self._desk.show(key.identity)}"
            data = selector("confirmPause(bytes32)") + scope.word
            acts.append(
                AdminAct(
                    act, StepState.DONE, "", await self._desk.send(act, key, self._bridge, data)
                )
            )
        name = f"pause {scope.name} until it is lifted"
        (end,) = await self._known_ends([scope])
        if end == UNTIL_LIFTED:
            return [*acts, AdminAct(name, StepState.DONE if acts else StepState.ALREADY)]
        (threshold,) = await self._uints([selector("threshold()")])
        detail = f"needs votes of {threshold} guards within 24 hours; give more guard keys"
        return [*acts, AdminAct(name, StepState.WAITING, detail)]

    async def unpause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Proposes what is paused to be lifted; lifts it once the delay is over."""
        scopes = self._scopes(assets, every=True)
        key = await self._admin("unpause")
        ends, now = await self._ends(scopes, known=assets is not None), await self._desk.now()
        acts = []
        for scope, end in zip(scopes, ends, strict=True):
            if end is not None and end > now:
                acts.append(await self._unpause(key, scope, now))
            elif end is not None and (assets is not None or scope.asset is None):
                acts.append(AdminAct(f"unpause {scope.name}", StepState.ALREADY, "not paused"))
        return acts

    async def _unpause(self, key: K, scope: _Scope, now: int) -> AdminAct:
        (count,) = await self._uints([selector("pauseCount(bytes32)") + scope.word])
        arguments = encode(["string", "bytes32", "uint256"], ["unpause", scope.word, count])
        ready = await self._ready_at(keccak256(arguments), now)
        act = f"unpause {scope.name}"
        if ready == 0:
            data = selector("proposeUnpause(bytes32)") + scope.word
            tx = await self._desk.send(f"propose {act}", key, self._bridge, data)
            ready = await self._ready_at(keccak256(arguments), now)
            return AdminAct(act, StepState.WAITING, f"proposed; from {moment(ready)}", tx, ready)
        if now < ready:
            return AdminAct(
                act, StepState.WAITING, f"proposed before; from {moment(ready)}", "", ready
            )
        data = selector("unpause(bytes32)") + scope.word
        return AdminAct(
            act, StepState.DONE, "", await self._desk.send(act, key, self._bridge, data)
        )

    # ------------------------------------------------------------------ guards

    async def guard_set(self) -> GuardSet:
        """The contract's guards in its order."""
        people = await self._people()
        threshold, epoch = await self._uints([selector("threshold()"), selector("guardEpoch()")])
        return GuardSet(people.guards, threshold, epoch)

    async def rotate(
        self, new: GuardSet, guard_keys: Sequence[Path] = (), *, dry_run: bool = False
    ) -> AsyncIterator[AdminAct]:
        """`proposeGuards`, the contract's delay, `rotateGuards`; guards' keys are not needed."""
        del guard_keys
        current = await self.guard_set()
        if not rotation_needed(current, new, guards_max=GUARDS_MAX, shown=self._desk.show):
            yield AdminAct("rotate guards", StepState.ALREADY, f"epoch {current.epoch}")
            return
        if self._key is not None or not dry_run:
            await self._admin("rotate guards")
        async for act in self._rotate(current, new, dry_run=dry_run):
            yield act

    async def _rotate(
        self, current: GuardSet, new: GuardSet, *, dry_run: bool
    ) -> AsyncIterator[AdminAct]:
        guards = encode(["address[]", "uint8"], [list(new.identities), new.threshold])
        proposal = keccak256(
            encode(
                ["string", "uint32", "address[]", "uint8"],
                ["guards", current.epoch, list(new.identities), new.threshold],
            )
        )
        now = await self._desk.now()
        ready = await self._ready_at(proposal, now)
        if ready:
            yield AdminAct("propose guards", StepState.ALREADY)
        elif dry_run:
            (delay,) = await self._uints([selector("delaySeconds()")])
            yield AdminAct("propose guards", StepState.PLANNED)
            yield AdminAct("rotate guards", StepState.PLANNED, f"{delay} seconds after that")
            return
        else:
            data = selector("proposeGuards(address[],uint8)") + guards
            tx = await self._desk.send(
                "propose guards", self._mine("propose guards"), self._bridge, data
            )
            ready = await self._ready_at(proposal, now)
            yield AdminAct("propose guards", StepState.DONE, "", tx)
        if now < ready:
            yield AdminAct("rotate guards", StepState.WAITING, f"from {moment(ready)}", "", ready)
            return
        if dry_run:
            yield AdminAct("rotate guards", StepState.PLANNED, "the delay is over")
            return
        data = selector("rotateGuards(address[],uint8)") + guards
        tx = await self._desk.send("rotate guards", self._mine("rotate guards"), self._bridge, data)
        yield AdminAct("rotate guards", StepState.DONE, f"epoch {new.epoch}", tx)

    # ------------------------------------------------------------------ asking

    def _scopes(self, assets: Sequence[AssetId] | None, *, every: bool = False) -> list[_Scope]:
        known = self._chain.by_asset()
        if assets is None:
            each = [_Scope(asset, token.symbol) for asset, token in known.items()]
            return [_Scope(None, "the bridge"), *(each if every else [])]
        for asset in assets:
            if asset not in known:
                symbols = [token.symbol for token in known.values()]
                raise asset_unknown(self._chain.name, asset, symbols)
        return [_Scope(asset, known[asset].symbol) for asset in assets]

    def _mine(self, act: str) -> K:
        if self._key is None:
            raise key_missing(act)
        return self._key

    async def _admin(self, act: str) -> K:
        key, people = self._mine(act), await self._people()
        if key.identity != people.admin:
            who = f"the admin {self._desk.show(people.admin)}"
            raise key_may_not(act, self._desk.show(key.identity), who)
        return key

    async def _people(self) -> _People:
        calls = [selector("agent()"), selector("owner()"), selector("guards()")]
        agent, owner, guards = await self._answers(calls)
        return _People(
            agent[12:32],
            owner[12:32],
            tuple(one.to_bytes(32, "big")[12:] for one in array_of_words(guards, "guards")),
        )

    async def _ends(self, scopes: Sequence[_Scope], *, known: bool = False) -> list[int | None]:
        """Where each scope's pause ends; None for an asset of the registry that the contract does
        not have, which is an error if all must be `known`."""
        calls = [selector("pausedUntil(bytes32)") + scope.word for scope in scopes]
        answers = await self._desk.read(self._bridge, calls)
        if b"" in answers:
            raise self._silent()
        ends = [words(raw, 1, "pausedUntil")[0] if raw else None for raw in answers]
        strangers = [scope for scope, end in zip(scopes, ends, strict=True) if end is None]
        if known and strangers:
            there = [scope.name for scope in scopes if scope not in strangers]
            raise asset_unknown(self._chain.name, AssetId(strangers[0].word), there)
        return ends

    async def _known_ends(self, scopes: Sequence[_Scope]) -> list[int]:
        return [end or 0 for end in await self._ends(scopes, known=True)]

    async def _ready_at(self, proposal: bytes, now: int) -> int:
        """When a proposal may be applied; 0 if it was not made, or so long ago that it is void."""
        (ready,) = await self._uints([selector("readyAt(bytes32)") + proposal])
        return 0 if now > ready + PROPOSAL_SECONDS_MAX else ready

    async def _uints(self, calls: Sequence[bytes]) -> list[int]:
        return [words(raw, 1, "answer")[0] for raw in await self._answers(calls)]

    async def _answers(self, calls: Sequence[bytes]) -> list[bytes]:
        answers = await self._desk.read(self._bridge, calls)
        found = [raw for raw in answers if raw]
        if len(found) != len(calls):
            raise self._silent()
        return found

    def _silent(self) -> Transient:
        text = (
            f"{self._chain.name}: {self._desk.show(self._bridge)} does not answer as a bridge; "
            "check the registry, and that the node is of this chain and in sync"
        )
        return Transient("BRIDGE_SILENT", text, {"chain": self._chain.name})


def _lasting(end: int) -> str:
    return "until it is lifted" if end == UNTIL_LIFTED else f"ends by itself at {moment(end)}"


def _end(end: int) -> int | None:
    return None if end == UNTIL_LIFTED else end

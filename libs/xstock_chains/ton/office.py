"""Acts by hand on TON: pauses of every minter, and a new guard set behind the admin's delay.

Needs a node and keys, nothing else of ours; contracts/ton/governance.tolk is the law. The agent's
wallet, or one guard's signature, pauses a minter for a day and may not again for a week; M guards
make it last. What the admin changes is proposed, waits, and is applied: the minters say themselves
how far that came, so an act may be stopped anywhere and run again. A wallet sends to four minters
at once, one send after another.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point
from pytoniq_core.boc.cell import Cell

from xstock_chains.office_rules import (
    act_refused,
    asset_unknown,
    key_may_not,
    key_missing,
    moment,
    pause_cooldown,
    rotation_needed,
)
from xstock_chains.ports import AdminAct, GuardSet, PauseState, StepState
from xstock_chains.ton.address import show, show_wallet
from xstock_chains.ton.cells import internal_message
from xstock_chains.ton.chain import TonChain, TonMinter
from xstock_chains.ton.messages import (
    APPLY,
    CALL_VALUE,
    CONFIRM_PAUSE,
    NANO,
    PAUSE,
    PROPOSE,
    change_body,
    guards_action,
    pause_body,
    pause_digest,
    unpause_action,
)
from xstock_chains.ton.purse import Purse, Reached
from xstock_chains.ton.rpc import McBlock, Toncenter, Transaction
from xstock_chains.ton.signer import LocalSigner
from xstock_chains.ton.storage import MinterState, read_minter
from xstock_chains.ton.wallets import V4_MESSAGES_MAX
from xstock_core.ids import AssetId
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Fatal, InvalidMessage, ServiceError, Transient

GUARDS_MAX: Final = 32
PAUSE_SECONDS: Final = 86_400
PAUSE_COOLDOWN_SECONDS: Final = 7 * 86_400
PROPOSAL_SECONDS_MAX: Final = 14 * 86_400
UNTIL_LIFTED: Final = 2**32 - 1
"""The contract's own numbers (governance.tolk)."""
_PERMIT_SECONDS: Final = 1_800
_VALID_SECONDS: Final = 120
_FEES: Final = NANO // 20
"""nanoTON a send of the wallet itself may cost besides what it attaches."""
_EXIT_CODES: Final = {
    211: "the deadline passed; try again",
    213: "too few guards' signatures",
    215: "a signer is no guard",
    216: "a guard's signature does not hold; somebody paused meanwhile, try again",
    221: "the sender is not the admin",
    222: "the sender is not the agent",
    223: "this key has paused within seven days",
    224: "the change is not proposed",
    225: "the change's delay still runs",
    226: "the change was proposed too long ago; propose it again",
    227: "the change does not fit what the minter has now; look again",
}


@dataclass(frozen=True, slots=True)
class _Desk:
    """An asset's minter with what it remembers."""

    minter: TonMinter
    state: MinterState

    @property
    def symbol(self) -> str:
        return self.minter.asset.symbol

    def paused(self, now: int) -> bool:
        """Whether releases and burns are stopped."""
        return self.state.paused_until > now

    @property
    def guards(self) -> GuardSet:
        """Whose signatures it accepts."""
        return GuardSet(self.state.guards, self.state.threshold, self.state.epoch)


@dataclass(frozen=True, slots=True)
class _Change:
    """What the admin changes behind the delay: its two steps by name, and the action's cell."""

    propose: str
    apply: str
    cell: Callable[[_Desk], Cell]

    def ready_at(self, one: _Desk, now: int) -> int:
        """When it may be applied; 0: not proposed, or so long ago that the proposal died."""
        ready = one.state.proposals.get(int.from_bytes(self.cell(one).hash, "big"), 0)
        return 0 if now > ready + PROPOSAL_SECONDS_MAX else ready


_UNPAUSE: Final = _Change(
    "propose unpause", "unpause", lambda one: unpause_action(one.state.pause_count)
)


def _rotation(new: GuardSet) -> _Change:
    def cell(one: _Desk) -> Cell:
        return guards_action(one.state.epoch, new.threshold, new.identities)

    return _Change("propose guards", "rotate guards", cell)


class TonOffice:
    """`ChainOffice` over one node; without a key it only looks."""

    def __init__(
        self, chain: TonChain, api: Toncenter, signer: LocalSigner | None, clock: Clock
    ) -> None:
        self.chain = chain
        self._api = api
        self._signer = signer
        self._clock = clock
        self._purse = None if signer is None else Purse(chain.domain, api, signer, clock)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    # ------------------------------------------------------------------ pause

    async def pause_states(self) -> Sequence[PauseState]:
        """Every asset; a minter is its asset's bridge, there is none besides."""
        head, desks = await self._desks()
        return [
            PauseState(one.minter.asset.asset, one.paused(head.time), _end(one, head.time))
            for one in desks
        ]

    async def pause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Stop every minter meant for a day: by the agent's wallet, else by a guard's signature.

        Minters that this key may not pause now are WAITING; KEY_MAY_NOT or PAUSE_COOLDOWN if there
        are no others. Minters are paused four at a time, each four as soon as the last landed.
        """
        head, desks, unread = await self._looked(assets)
        key = self._hand("pause")
        acts = {f"pause {one}": _held_up(f"pause {one}", unread[one]) for one in unread}
        refusals = list(unread.values())
        bodies: list[tuple[_Desk, Cell]] = []
        for one in desks:
            name = f"pause {one.symbol}"
            if one.paused(head.time):
                acts[name] = _lasting(name, StepState.ALREADY, one.state.paused_until)
                continue
            refusal = self._pause_refusal(one, key, head.time)
            if refusal is None:
                bodies.append((one, await self._pause(one, key, head.time)))
                acts[name] = AdminAct(name, StepState.PLANNED)
            else:
                refusals.append(refusal)
                acts[name] = _held_up(name, refusal)
        if refusals and len(refusals) == len(acts):
            raise refusals[-1]
        for act, reached in await self._send_all("pause", bodies):
            until = reached.tx.time + PAUSE_SECONDS
            acts[act.name] = _lasting(act.name, act.state, until, act.tx)
        return list(acts.values())

    def _pause_refusal(self, one: _Desk, key: LocalSigner, now: int) -> InvalidMessage | None:
        """Why the minter would not let this key pause it; None: it would."""
        by_wallet = one.state.agent == key.holder_wallet
        if not by_wallet and key.identity not in one.state.guards:
            agent = "nobody" if one.state.agent is None else show_wallet(one.state.agent)
            guards = ", ".join(guard.hex() for guard in one.state.guards)
            who = f"the agent {agent} or a guard ({guards})"
            return key_may_not("pause", key.identity.hex(), who)
        by = key.holder_wallet if by_wallet else key.identity
        last = one.state.paused_at.get(int.from_bytes(by, "big"))
        if last is not None and now < last + PAUSE_COOLDOWN_SECONDS:
            return pause_cooldown(by.hex(), last + PAUSE_COOLDOWN_SECONDS)
        return None

    async def _pause(self, one: _Desk, key: LocalSigner, now: int) -> Cell:
        """The message: the agent's wallet needs no signature."""
        if one.state.agent == key.holder_wallet:
            return pause_body(PAUSE, 0, {})
        return await self._signed(PAUSE, one, [key], now + _PERMIT_SECONDS)

    async def confirm_pause(
        self, guard_keys: Sequence[Path], assets: Sequence[AssetId] | None = None
    ) -> Sequence[AdminAct]:
        """M guards' signatures in one message per minter; it pauses a minter that is not paused.
        The office's wallet sends and pays, or without a key the first guard's."""
        keys = {key.identity: key for key in map(LocalSigner.from_file, guard_keys)}
        head, desks = await self._desks(assets)
        purse = self._purse or self._purse_of(keys)
        _check_voters(desks, keys)
        acts: dict[str, AdminAct] = {}
        bodies: list[tuple[_Desk, Cell]] = []
        for one in desks:
            name = f"confirm pause {one.symbol}"
            if one.state.paused_until == UNTIL_LIFTED:
                acts[name] = _lasting(name, StepState.ALREADY, UNTIL_LIFTED)
                continue
            ours = [keys[guard] for guard in one.state.guards if guard in keys]
            if len(ours) < one.state.threshold:
                detail = f"{len(ours)} of {one.state.threshold} guards' keys; give more of them"
                acts[name] = AdminAct(name, StepState.WAITING, detail)
                continue
            signers = ours[: one.state.threshold]
            body = await self._signed(CONFIRM_PAUSE, one, signers, head.time + _PERMIT_SECONDS)
            bodies.append((one, body))
            acts[name] = AdminAct(name, StepState.PLANNED)
        for act, _ in await self._send_all("confirm pause", bodies, purse):
            acts[act.name] = _lasting(act.name, act.state, UNTIL_LIFTED, act.tx)
        return list(acts.values())

    def _purse_of(self, keys: Mapping[bytes, LocalSigner]) -> Purse | None:
        """The first guard's wallet."""
        for key in keys.values():
            return Purse(self.chain.domain, self._api, key, self._clock)
        return None

    async def _signed(
        self, op: int, one: _Desk, keys: Sequence[LocalSigner], deadline: int
    ) -> Cell:
        chain, state = self.chain, one.state
        digest = pause_digest(
            op,
            chain.global_id,
            int(chain.domain),
            one.minter.address,
            state.epoch,
            deadline,
            state.pause_count,
        )
        by_index = {state.guards.index(k.identity): await k.sign_digest(digest) for k in keys}
        return pause_body(op, deadline, by_index)

    async def unpause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Propose what is paused to be lifted, and lift it once the delay is over: the admin's."""
        head, desks = await self._desks(assets)
        paused = [one for one in desks if one.paused(head.time)]
        self._require_admin("unpause", paused)
        _, lifted = await self._change(_UNPAUSE, paused, head.time)
        by_name = {act.name: act for act in lifted}
        names = [f"unpause {one.symbol}" for one in desks]
        return [by_name.get(n) or AdminAct(n, StepState.ALREADY, "not paused") for n in names]

    # ------------------------------------------------------------------ guards

    async def guard_set(self) -> GuardSet:
        """That of every minter in use; raises InvalidMessage GUARDS_MIXED while they differ (a
        rotation that was not finished)."""
        _, desks = await self._desks()
        found = {one.guards: one.symbol for one in desks}
        if len(found) != 1:
            shown = ", ".join(f"{symbol}: epoch {one.epoch}" for one, symbol in found.items())
            text = f"minters of {self.chain.name} differ ({shown}); run the rotation again"
            raise InvalidMessage("GUARDS_MIXED", text, {"epochs": shown})
        return next(iter(found))

    async def rotate(
        self, new: GuardSet, guard_keys: Sequence[Path] = (), *, dry_run: bool = False
    ) -> AsyncIterator[AdminAct]:
        """Propose the set to every minter that has another, wait, apply; the admin's wallet alone,
        guards' keys are not needed. Refused before anything is sent if one minter would refuse."""
        del guard_keys
        for key in new.identities:
            if len(key) != 32 or not crypto_core_ed25519_is_valid_point(key):
                text = f"guards: {key.hex()} is no ed25519 public key; it could never sign"
                raise InvalidMessage("GUARD_SET_REFUSED", text, {"guard": key.hex()})
        head, desks = await self._desks()
        left = [
            one
            for one in desks
            if rotation_needed(one.guards, new, guards_max=GUARDS_MAX, shown=bytes.hex)
        ]
        for one in desks:
            if one not in left:
                detail = f"epoch {one.state.epoch}"
                yield AdminAct(f"rotate guards {one.symbol}", StepState.ALREADY, detail)
        if not left:
            return
        change = _rotation(new)
        if dry_run:
            for act in _planned(change, left, head.time):
                yield act
            return
        self._require_admin(change.apply, left)
        proposed, applied = await self._change(change, left, head.time)
        for act in [*proposed, *applied]:
            yield act

    # ------------------------------------------------------------------ delayed changes

    async def _change(
        self, act: _Change, desks: Sequence[_Desk], now: int
    ) -> tuple[list[AdminAct], list[AdminAct]]:
        """(proposals, what each change came to): propose what is not proposed, apply what is
        ready, name what waits until when."""
        ready = {one.symbol: act.ready_at(one, now) for one in desks}
        fresh = [one for one in desks if not ready[one.symbol]]
        bodies = [(one, change_body(PROPOSE, act.cell(one))) for one in fresh]
        sent = await self._send_all(act.propose, bodies)
        proposed = {told.name: told for told, _ in sent}
        for one, (_, reached) in zip(fresh, sent, strict=True):
            ready[one.symbol] = reached.tx.time + one.state.delay_seconds
        now = (await self._head()).time if sent else now
        due = [one for one in desks if ready[one.symbol] <= now]
        bodies = [(one, change_body(APPLY, act.cell(one))) for one in due]
        applied = {told.name: told for told, _ in await self._send_all(act.apply, bodies)}
        proposals, ends = [], []
        for one in desks:
            name, until = f"{act.propose} {one.symbol}", ready[one.symbol]
            told = proposed.get(name) or AdminAct(name, StepState.ALREADY)
            proposals.append(told)
            name = f"{act.apply} {one.symbol}"
            detail = f"proposed; from {moment(until)}"
            waits = AdminAct(name, StepState.WAITING, detail, told.tx, until)
            ends.append(applied.get(name) or waits)
        return proposals, ends

    def _require_admin(self, act: str, desks: Sequence[_Desk]) -> None:
        for one in desks:
            wallet = self._hand(act).holder_wallet
            if one.state.admin != wallet:
                admin = "nobody" if one.state.admin is None else show_wallet(one.state.admin)
                raise key_may_not(act, show_wallet(wallet), f"the admin of {one.symbol}, {admin}")

    # ------------------------------------------------------------------ sending

    async def _send_all(
        self, act: str, bodies: Sequence[tuple[_Desk, Cell]], purse: Purse | None = None
    ) -> list[tuple[AdminAct, Reached]]:
        """Each act with the minter's transaction. The wallet sends as fast as its blocks come, and
        only then is everything followed. What one minter refuses does not keep the next from being
        asked: the first refusal is raised at the end, told with what was done."""
        purse = purse or self._purse
        if not bodies:
            return []
        if purse is None:
            raise key_missing(act)
        sent: list[tuple[_Desk, Transaction]] = []
        failed: list[ServiceError] = []
        try:
            for at in range(0, len(bodies), V4_MESSAGES_MAX):
                part = bodies[at : at + V4_MESSAGES_MAX]
                tx = await self._send(part, purse)
                sent.extend((one, tx) for one, _ in part)
        except ServiceError as error:  # the wallet's next place is unknown now
            failed.append(error)
        done: list[tuple[AdminAct, Reached]] = []
        for one, tx in sent:
            try:
                done.append(await self._followed(f"{act} {one.symbol}", one, tx, purse))
            except ServiceError as error:
                failed.append(error)
        if failed:
            shown = ", ".join(told.name for told, _ in done) or "nothing"
            text = f"{failed[0].message}; done: {shown}"
            raise type(failed[0])(failed[0].code, text, failed[0].metadata)
        return done

    async def _send(self, part: Sequence[tuple[_Desk, Cell]], purse: Purse) -> Transaction:
        """One send of the wallet, committed; raises Transient without coins."""
        await self._check_funds(purse, len(part))
        messages = [internal_message(one.minter.address, CALL_VALUE, body) for one, body in part]
        signed = await purse.sign(messages, (await self._head()).time + _VALID_SECONDS)
        await self._api.send(signed.raw)
        sent = await purse.landed(signed.ref)
        await purse.committed(sent)
        return sent

    async def _followed(
        self, name: str, one: _Desk, sent: Transaction, purse: Purse
    ) -> tuple[AdminAct, Reached]:
        """What a send came to at one minter; raises InvalidMessage ACT_REFUSED, Ambiguous."""
        reached = await purse.followed(sent, one.minter.address)
        refusal = _refusal(name, reached)
        if refusal is not None:
            raise refusal
        await purse.committed(reached.tx)
        return AdminAct(name, StepState.DONE, "", reached.tx.hash.hex()), reached

    async def _check_funds(self, purse: Purse, messages: int) -> None:
        balance, needed = await purse.balance(), messages * CALL_VALUE + _FEES
        if balance < needed:
            text = (
                f"{show_wallet(purse.address)} has {balance} nanoTON, needs {needed}; send it "
                "coins and run again"
            )
            raise Transient("SENDER_UNFUNDED", text, {"balance": balance, "needed": needed})

    # ------------------------------------------------------------------ looking

    def _hand(self, act: str) -> LocalSigner:
        if self._signer is None:
            raise key_missing(act)
        return self._signer

    async def _head(self) -> McBlock:
        """The last masterchain block; raises Fatal WRONG_CHAIN on another network."""
        head = await self._api.masterchain_head()
        if head.global_id != self.chain.global_id:
            text = f"{self._api.host} is network {head.global_id}, not {self.chain.global_id}"
            raise Fatal("WRONG_CHAIN", text, {"found": head.global_id})
        return head

    async def _desks(self, assets: Sequence[AssetId] | None = None) -> tuple[McBlock, list[_Desk]]:
        """The minters in use that are meant, with their states; raises InvalidMessage or
        Transient for the first that cannot be read."""
        head, desks, unread = await self._looked(assets)
        for error in unread.values():
            raise error
        return head, desks

    async def _looked(
        self, assets: Sequence[AssetId] | None
    ) -> tuple[McBlock, list[_Desk], dict[str, ServiceError]]:
        """The minters in use that are meant, in the registry's order, and those that cannot be
        read with the reason: one that is broken must not keep the others from being stopped."""
        here = self.chain.in_use
        for asset in assets or ():
            if asset not in here:
                known = [one.asset.symbol for one in here.values()]
                raise asset_unknown(self.chain.name, asset, known)
        meant = [one for asset, one in here.items() if assets is None or asset in assets]
        head = await self._head()
        accounts = await self._api.accounts([one.address for one in meant], with_data=True)
        desks: list[_Desk] = []
        unread: dict[str, ServiceError] = {}
        for minter in meant:
            account = accounts.get(minter.address)
            try:
                if account is None:
                    text = f"{self._api.host} does not know minter {show(minter.address)}"
                    raise Transient("NODE_BEHIND", text, {"account": minter.address.hex()})
                desks.append(_Desk(minter, read_minter(account)))
            except ServiceError as error:
                unread[minter.asset.symbol] = error
        return head, desks, unread


def _check_voters(desks: Sequence[_Desk], keys: Mapping[bytes, LocalSigner]) -> None:
    """A key that is no guard's is a mistake to tell, not to leave out in silence."""
    guards = {guard for one in desks for guard in one.state.guards}
    for key in keys:
        if key not in guards:
            who = f"guards of this chain ({', '.join(sorted(guard.hex() for guard in guards))})"
            raise key_may_not("confirm pause", key.hex(), who)


def _refusal(name: str, reached: Reached) -> InvalidMessage | None:
    """Why the minter did not do it; None: it did."""
    if not reached.arrived:
        return act_refused(name, "the wallet could not send the message; look at its balance")
    if reached.tx.succeeded:
        return None
    code = reached.tx.exit_code
    return act_refused(name, f"exit code {code}: {_EXIT_CODES.get(code or 0, 'see errors.tolk')}")


def _planned(act: _Change, desks: Sequence[_Desk], now: int) -> list[AdminAct]:
    acts = []
    for one in desks:
        ready = act.ready_at(one, now)
        detail = f"proposed; from {moment(ready)}" if ready else ""
        if not ready:
            acts.append(AdminAct(f"{act.propose} {one.symbol}", StepState.PLANNED))
            detail = f"{one.state.delay_seconds} seconds after that"
        acts.append(AdminAct(f"{act.apply} {one.symbol}", StepState.PLANNED, detail))
    return acts


def _held_up(name: str, refusal: ServiceError) -> AdminAct:
    until = refusal.metadata.get("until")
    return AdminAct(
        name, StepState.WAITING, refusal.message, until=None if until is None else int(until)
    )


def _lasting(name: str, state: StepState, until: int, tx: str = "") -> AdminAct:
    """An act that leaves a pause until then."""
    if until == UNTIL_LIFTED:
        return AdminAct(name, state, "until it is lifted", tx)
    return AdminAct(name, state, f"ends by itself at {moment(until)}", tx, until)


def _end(one: _Desk, now: int) -> int | None:
    until = one.state.paused_until
    return until if now < until < UNTIL_LIFTED else None

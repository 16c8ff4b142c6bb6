"""Acts by hand on Solana: pause and resume mints, move them to another multisig of guards.

Needs a node and keys, nothing else of ours. The mint's pause belongs to the agent, has no end, and
stops minting, burning and transfers alike. A multisig never changes: a rotation makes a new one
and moves every mint's authority to it, signed by M of the present guards' keys; the mints say
themselves which of them are moved, so a rotation may be stopped anywhere and run again. The
registry must name the new multisig afterwards: the first act's detail says what.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xstock_chains.office_rules import (
    act_pending,
    asset_unknown,
    key_may_not,
    key_missing,
    rotation_needed,
)
from xstock_chains.ports import AdminAct, GuardSet, PauseState, StepState
from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import CONFIRMED, FINALIZED
from xstock_chains.solana.chain import SolanaAsset, SolanaChain
from xstock_chains.solana.mint import (
    MULTISIG_SIZE,
    Mint,
    facts_hash_input,
    multisig_data,
    parse_mint,
    parse_multisig,
)
from xstock_chains.solana.programs import (
    DECIMALS,
    TOKEN_2022,
    create_with_seed,
    initialize_multisig,
    is_on_curve,
    seeded_address,
    set_mint_authority,
    set_pause,
)
from xstock_chains.solana.release import SIGNERS_MAX
from xstock_chains.solana.rpc import (
    Account,
    Call,
    Rpc,
    account_of,
    key_of,
    list_of,
    number_of,
    with_context,
)
from xstock_chains.solana.sending import ACT, WITHIN_SECONDS, Sender
from xstock_chains.solana.signer import LocalSigner
from xstock_chains.solana.succession import with_multisig
from xstock_chains.solana.wire import KEY_SIZE, Instruction
from xstock_core.ids import AssetId
from xstock_runtime.clock import Clock
from xstock_runtime.errors import Fatal, InvalidMessage, ServiceError
from xstock_runtime.hashing import keccak256

GUARDS_MAX: Final = 11
"""Members of an SPL multisig (MAX_SIGNERS)."""
_ACCOUNTS_A_CALL: Final = 100
_SEEDS_MAX: Final = 8
_MINTS_A_TRANSACTION: Final = 24
_WAIT_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Token:
    """An asset with its mint as it stands."""

    asset: SolanaAsset
    mint: Mint


@dataclass(frozen=True, slots=True)
class _Rotation:
    """What a rotation finds: where it goes, and what has not gone there."""

    target: bytes | None
    """None: not known before a paying key is given."""
    seed: bytes
    """Of the multisig that must be made first; nothing where it stands."""
    moved: tuple[_Token, ...]
    left: tuple[_Token, ...]
    present: bytes | None
    """The multisig whose members must sign."""
    signers: tuple[LocalSigner, ...]

    @property
    def stands(self) -> bool:
        """Whether the multisig is there."""
        return self.target is not None and not self.seed


class SolanaOffice:
    """`ChainOffice` over one node; without a key it only looks."""

    def __init__(
        self, chain: SolanaChain, rpc: Rpc, signer: LocalSigner | None, clock: Clock
    ) -> None:
        self.chain = chain
        self._rpc = rpc
        self._signer = signer
        self._clock = clock
        self._sender = None if signer is None else Sender(rpc, signer, clock, ACT)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.aclose()

    # ------------------------------------------------------------------ pause

    async def pause_states(self) -> Sequence[PauseState]:
        """Every asset; there is no bridge to pause besides, and no pause ends by itself."""
        return [PauseState(one.asset.asset, one.mint.paused) for one in await self._tokens()]

    async def pause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Stop every mint meant that this key may stop, all that fits in one transaction at once.

        Those of another pause authority are WAITING; KEY_MAY_NOT if there are no others.
        """
        return await self._set_all(assets, paused=True)

    async def confirm_pause(
        self,
        guard_keys: Sequence[Path],  # noqa: ARG002 - guards have no part in a mint's pause
        assets: Sequence[AssetId] | None = None,
    ) -> Sequence[AdminAct]:
        """The same as `pause`: a mint's pause lasts until it is lifted."""
        return await self._set_all(assets, paused=True)

    async def unpause(self, assets: Sequence[AssetId] | None = None) -> Sequence[AdminAct]:
        """Resume the mints with the key that pauses them; no delay runs here."""
        return await self._set_all(assets, paused=False)

    async def _set_all(
        self, assets: Sequence[AssetId] | None, *, paused: bool
    ) -> Sequence[AdminAct]:
        tokens, unread = await self._looked(assets)
        found = {one.asset.symbol: self._looked_at(one, paused=paused) for one in tokens}
        found |= {one: _unread(f"{_verb(paused=paused)} {one}", unread[one]) for one in unread}
        ready = [one for one in tokens if found[one.asset.symbol] is None]
        told: dict[str, AdminAct | ServiceError] = {s: a for s, a in found.items() if a is not None}
        if ready:
            told |= await self._send_pauses(ready, paused=paused)
        told_in_order = [told[one.symbol] for one in self.chain.assets if one.symbol in told]
        acts = [one for one in told_in_order if isinstance(one, AdminAct)]
        failed = [one for one in told_in_order if isinstance(one, ServiceError)]
        if failed:
            raise _beside(failed, acts)
        if all(act.state is StepState.WAITING for act in acts):
            if not tokens:
                raise next(iter(unread.values()))
            raise self._may_not(tokens, _verb(paused=paused))
        return acts

    def _looked_at(self, token: _Token, *, paused: bool) -> AdminAct | None:
        """The act of a mint that needs or takes none of this key; None: it is to be sent."""
        name = f"{_verb(paused=paused)} {token.asset.symbol}"
        if token.mint.paused is paused:
            return AdminAct(name, StepState.ALREADY, "until it is lifted" if paused else "")
        if token.mint.pauser is None:
            detail = f"{show(token.asset.mint)} cannot be paused: its issuer gave it no such right"
            return AdminAct(name, StepState.WAITING, detail)
        if self._signer is None or token.mint.pauser != self._signer.identity:
            detail = f"the mint's pause authority {show(token.mint.pauser)} must do it"
            return AdminAct(name, StepState.WAITING, detail)
        return None

    def _may_not(self, tokens: Sequence[_Token], verb: str) -> InvalidMessage:
        key = "nobody" if self._signer is None else show(self._signer.identity)
        who = sorted({show(one.mint.pauser) for one in tokens if one.mint.pauser is not None})
        authority = f"the agent, the mints' pause authority ({', '.join(who) or 'nobody'})"
        return key_may_not(verb, key, authority)

    async def _send_pauses(
        self, tokens: Sequence[_Token], *, paused: bool
    ) -> dict[str, AdminAct | ServiceError]:
        """symbol -> what it came to; all transactions are on their way at once."""
        parts = [
            tokens[at : at + _MINTS_A_TRANSACTION]
            for at in range(0, len(tokens), _MINTS_A_TRANSACTION)
        ]
        found = await asyncio.gather(*(self._send_part(part, paused=paused) for part in parts))
        return {symbol: one for part in found for symbol, one in part.items()}

    async def _send_part(
        self, tokens: Sequence[_Token], *, paused: bool
    ) -> dict[str, AdminAct | ServiceError]:
        """One transaction; if the chain refuses it, two of half as many: a mint that cannot be
        stopped must not keep the others going."""
        verb, symbols = _verb(paused=paused), [one.asset.symbol for one in tokens]
        sender, key = self._hands(verb)
        instructions = [set_pause(one.asset.mint, key, paused=paused) for one in tokens]
        try:
            tx = await sender.send(f"{verb} {', '.join(symbols)}", instructions)
        except InvalidMessage as error:
            if len(tokens) == 1:
                return {symbols[0]: error}
            middle = len(tokens) // 2
            halves = await asyncio.gather(
                self._send_part(tokens[:middle], paused=paused),
                self._send_part(tokens[middle:], paused=paused),
            )
            return {**halves[0], **halves[1]}
        except ServiceError as error:
            return dict.fromkeys(symbols, error)
        detail = "until it is lifted" if paused else ""
        return {one: AdminAct(f"{verb} {one}", StepState.DONE, detail, tx) for one in symbols}

    # ------------------------------------------------------------------ guards

    async def guard_set(self) -> GuardSet:
        """The multisig that is the authority of every mint; its epoch is the registry's where it
        is the registered one, else the next. Raises InvalidMessage GUARDS_MIXED while mints are
        under several (a rotation that was not finished), GUARDS_UNKNOWN where there is none."""
        authorities = {one.mint.authority for one in await self._tokens()}
        if len(authorities) != 1:
            raise self._mixed(authorities)
        (authority,) = authorities
        return await self._current(authority)

    def _mixed(self, authorities: Iterable[bytes | None]) -> InvalidMessage:
        shown = ", ".join(sorted(_shown(one) for one in authorities)) or "none"
        text = f"mints of {self.chain.name} are under {shown}; finish the rotation: run it again"
        return InvalidMessage("GUARDS_MIXED", text, {"authorities": shown})

    async def _current(self, authority: bytes | None) -> GuardSet:
        accounts = await self._accounts([] if authority is None else [authority])
        found = parse_multisig(accounts[0]) if accounts else None
        if found is None:
            text = f"the mints' authority {_shown(authority)} is no multisig; ask the issuer"
            raise InvalidMessage("GUARDS_UNKNOWN", text, {"authority": _shown(authority)})
        threshold, members = found
        return GuardSet(members, threshold, self._epoch_of(authority))

    def _epoch_of(self, authority: bytes | None) -> int:
        registered = authority == self.chain.multisig.key
        return self.chain.epoch if registered else self.chain.epoch + 1

    async def rotate(
        self, new: GuardSet, guard_keys: Sequence[Path] = (), *, dry_run: bool = False
    ) -> AsyncIterator[AdminAct]:
        """Make the new multisig, move every mint to it; the office's key pays and needs no right.

        Refused before anything is sent: a set that Solana cannot hold (N <= 11, M <= 6), one of
        another epoch, and fewer keys of present guards than must sign.
        """
        plan = await self._plan(new, guard_keys, dry_run=dry_run)
        where = self._where(new, plan.target)
        state = StepState.PLANNED if dry_run else StepState.DONE
        if plan.stands:
            yield AdminAct("make multisig", StepState.ALREADY, where)
        else:
            tx = "" if dry_run else await self._make(new, plan)
            yield AdminAct("make multisig", state, where, tx)
        for token in plan.moved:
            yield AdminAct(f"rotate guards {token.asset.symbol}", StepState.ALREADY)
        if plan.left and not dry_run:
            await self.until_final(new, plan.target)
        for part in [plan.left] if dry_run else self._parts(plan):
            tx = "" if dry_run else await self._move(part, plan)
            detail = f"{_shown(plan.present)} -> {_shown(plan.target)}"
            for token in part:
                yield AdminAct(f"rotate guards {token.asset.symbol}", state, detail, tx)

    async def _plan(self, new: GuardSet, guard_keys: Sequence[Path], *, dry_run: bool) -> _Rotation:
        """What there is to do; raises for everything that must not be begun. A dry run needs no
        keys: the paying one decides the multisig's address."""
        _check(new)
        tokens = await self._tokens()
        authorities = list(dict.fromkeys(one.mint.authority for one in tokens))
        known = [one for one in authorities if one is not None]
        accounts = dict(zip(known, await self._accounts(known), strict=True))
        wanted = (new.threshold, new.identities)
        target = next((key for key in known if parse_multisig(accounts[key]) == wanted), None)
        moved = tuple(one for one in tokens if one.mint.authority == target)
        left = tuple(one for one in tokens if one not in moved)
        present = {one.mint.authority for one in left} or {target}
        if len(present) != 1:
            raise self._mixed(present)
        (authority,) = present
        current = await self._current(authority)
        needed = rotation_needed(current, new, guards_max=GUARDS_MAX, shown=show)
        if not left or not needed:
            return _Rotation(authority, b"", tuple(tokens), (), authority, ())
        signers = () if dry_run and not guard_keys else _signing(current, guard_keys)
        seed = b""
        if target is None and (self._signer is not None or not dry_run):
            data = multisig_data(new.threshold, new.identities)
            target, seed = await self._address(self._hands("rotate guards")[1], data)
        return _Rotation(target, seed, moved, left, authority, signers)

    async def _address(self, payer: bytes, data: bytes) -> tuple[bytes, bytes]:
        """(where the multisig stands or will, the seed of one that must be made or nothing).

        An account that somebody else sent coins to cannot be created: the next seed is taken.
        """
        seeds = [keccak256(data + bytes((n,)))[:16].hex().encode() for n in range(_SEEDS_MAX)]
        keys = [seeded_address(payer, seed, TOKEN_2022) for seed in seeds]
        for key, seed, account in zip(keys, seeds, await self._accounts(keys), strict=True):
            if account is None:
                return key, seed
            if account.owner == TOKEN_2022 and account.data == data:
                return key, b""
        text = f"all {_SEEDS_MAX} addresses for the multisig are taken; use another paying key"
        raise InvalidMessage("ACT_REFUSED", text, {"payer": show(payer)})

    async def _make(self, new: GuardSet, plan: _Rotation) -> str:
        sender, payer = self._hands("make multisig")
        answer = await self._rpc.call("getMinimumBalanceForRentExemption", MULTISIG_SIZE)
        rent = number_of(answer, "getMinimumBalanceForRentExemption")
        at = plan.target or b""
        instructions = [
            create_with_seed(payer, at, plan.seed, rent, MULTISIG_SIZE),
            initialize_multisig(at, new.threshold, new.identities),
        ]
        return await sender.send("make multisig", instructions)

    async def until_final(self, new: GuardSet, target: bytes | None) -> None:
        """SECURITY: a mint whose authority is no multisig could never be minted or moved again; so
        none moves before the new one is final, byte for byte. Raises Ambiguous."""
        wanted = multisig_data(new.threshold, new.identities)
        deadline = self._clock.monotonic() + WITHIN_SECONDS
        while True:
            (found,) = await self._accounts([target or b""], FINALIZED)
            if found is not None and found.owner == TOKEN_2022 and found.data == wanted:
                return
            if self._clock.monotonic() >= deadline:
                raise act_pending("make multisig", f"{_shown(target)}, made but not final,")
            await self._clock.sleep(_WAIT_SECONDS)

    def _parts(self, plan: _Rotation) -> Iterable[Sequence[_Token]]:
        """As many mints as fit into a transaction with the guards' signatures."""
        part: list[_Token] = []
        for token in plan.left:
            sender, _ = self._hands("rotate guards")
            if part and not sender.fits(_moves([*part, token], plan)):
                yield part
                part = []
            part.append(token)
        if part:
            yield part

    async def _move(self, part: Sequence[_Token], plan: _Rotation) -> str:
        sender, _ = self._hands("rotate guards")
        name = f"rotate guards {', '.join(one.asset.symbol for one in part)}"
        return await sender.send(name, _moves(part, plan), plan.signers)

    def _where(self, new: GuardSet, target: bytes | None) -> str:
        """The new multisig, and what the signed configuration must say of it from now on."""
        at = f"{new.threshold} of {len(new.identities)}"
        if target is None:
            return f"{at} at an address of the paying key"
        at = f"{at} at {show(target)}"
        if target == self.chain.multisig.key:
            return at
        data = multisig_data(new.threshold, new.identities)
        facts = ", ".join(
            f"{one.symbol} {keccak256(_facts(one, target)).hex()}" for one in self.chain.assets
        )
        return (
            f"{at}; then register this bridge with code_hash {keccak256(data).hex()}, retire "
            f"{show(self.chain.multisig.key)}, and give the references' code_hash: {facts}"
        )

    async def registry_after(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The registry's document with the multisig that all mints have by now; raises Fatal
        while a rotation is half-way."""
        authorities = {one.mint.authority for one in await self._tokens()}
        (authority,) = authorities if len(authorities) == 1 else (None,)
        (account,) = await self._accounts([authority]) if authority is not None else (None,)
        if authority is None or account is None or parse_multisig(account) is None:
            raise self._mixed(authorities)
        if authority == self.chain.multisig.key:
            return dict(document)
        slot = number_of(await self._rpc.call("getSlot", CONFIRMED), "getSlot")
        return with_multisig(document, self.chain, authority, account.data, slot)

    # ------------------------------------------------------------------ looking

    def _hands(self, act: str) -> tuple[Sender, bytes]:
        if self._sender is None or self._signer is None:
            raise key_missing(act)
        return self._sender, self._signer.identity

    async def _tokens(self) -> list[_Token]:
        """Every mint; raises InvalidMessage for the first that cannot be read."""
        tokens, unread = await self._looked(None)
        for error in unread.values():
            raise error
        return tokens

    async def _looked(
        self, assets: Sequence[AssetId] | None
    ) -> tuple[list[_Token], dict[str, InvalidMessage]]:
        """The mints meant, in the registry's order, and those that cannot be read with the
        reason: one that is broken must not keep the others from being stopped. Raises Fatal
        WRONG_CHAIN."""
        here = self.chain.assets
        for asset in assets or ():
            if asset not in {one.asset for one in here}:
                raise asset_unknown(self.chain.name, asset, [one.symbol for one in here])
        meant = [one for one in here if assets is None or one.asset in assets]
        genesis = key_of(await self._rpc.call("getGenesisHash"), "getGenesisHash")
        if genesis != self.chain.genesis_hash:
            text = f"{self._rpc.host} is the chain with genesis {show(genesis)}; use another node"
            raise Fatal("WRONG_CHAIN", text, {"found": show(genesis)})
        tokens, unread = [], {}
        accounts = await self._accounts([one.mint for one in meant])
        for one, account in zip(meant, accounts, strict=True):
            try:
                tokens.append(_Token(one, parse_mint(account, one.symbol)))
            except InvalidMessage as error:
                unread[one.symbol] = error
        return tokens, unread

    async def _accounts(
        self, keys: Sequence[bytes], commitment: Mapping[str, str] = CONFIRMED
    ) -> list[Account | None]:
        options = {"encoding": "base64", **commitment}
        parts = [keys[at : at + _ACCOUNTS_A_CALL] for at in range(0, len(keys), _ACCOUNTS_A_CALL)]
        calls: list[Call] = [
            ("getMultipleAccounts", [[show(key) for key in part], options]) for part in parts
        ]
        answers = await self._rpc.batch(calls)
        return [
            account_of(one)
            for answer in answers
            for one in list_of(with_context(answer, "accounts")[1], "accounts")
        ]


def _moves(tokens: Sequence[_Token], plan: _Rotation) -> list[Instruction]:
    keys = tuple(one.identity for one in plan.signers)
    now, then = plan.present or b"", plan.target or b""
    return [set_mint_authority(one.asset.mint, now, then, keys) for one in tokens]


def _check(new: GuardSet) -> None:
    """What SPL multisigs and packets add to the rules of all chains."""
    if new.threshold > SIGNERS_MAX:
        text = f"threshold: {new.threshold}; at most {SIGNERS_MAX} signatures fit a transaction"
        raise InvalidMessage("GUARD_SET_REFUSED", text, {"threshold": new.threshold})
    for key in new.identities:
        if len(key) != KEY_SIZE or not is_on_curve(key):
            text = f"guards: {key.hex()} is no ed25519 public key; it could never sign"
            raise InvalidMessage("GUARD_SET_REFUSED", text, {"guard": key.hex()})


def _signing(current: GuardSet, guard_keys: Sequence[Path]) -> tuple[LocalSigner, ...]:
    """Just enough of the present guards, in their order; raises InvalidMessage KEY_MAY_NOT."""
    given = {one.identity: one for one in map(LocalSigner.from_file, guard_keys)}
    ours = [given[key] for key in current.identities if key in given]
    if len(ours) < current.threshold:
        shown = ", ".join(show(key) for key in given) or "nobody"
        missing = ", ".join(show(key) for key in current.identities if key not in given)
        who = f"{current.threshold} present guards, {len(ours)} are here; missing: {missing}"
        raise key_may_not("rotate guards", shown, who)
    return tuple(ours[: current.threshold])


def _unread(name: str, error: InvalidMessage) -> AdminAct:
    return AdminAct(name, StepState.WAITING, error.message)


def _facts(asset: SolanaAsset, multisig: bytes) -> bytes:
    return facts_hash_input(asset.mint, asset.reference.key, DECIMALS, multisig)


def _verb(*, paused: bool) -> str:
    return "pause" if paused else "unpause"


def _shown(authority: bytes | None) -> str:
    return "nobody" if authority is None else show(authority)


def _beside(failed: Sequence[ServiceError], acts: Sequence[AdminAct]) -> ServiceError:
    """The first failure, told with what was done all the same."""
    first = failed[0]
    done = ", ".join(act.name for act in acts if act.state is StepState.DONE) or "nothing"
    text = "; ".join([*dict.fromkeys(error.message for error in failed), f"done: {done}"])
    return type(first)(first.code, text, first.metadata)

"""From executed transactions to observations: what burned, what was released, what else moved.

A burn is a transfer only if a well-formed memo stands immediately before its BurnChecked, at the
same level of calls, signed by the authority that burns, and the burn names the asset's reference
key. Everything else that burns is an `OrphanBurn`: recorded, refundable with two approvers, never
a reason to stop. A release or a cancellation is believed only from the very transaction in which
AllocateWithSeed made the marker of a registered lane key: a leaked lane key can send transfers
back, never mint. A mint that no such marker explains is `SupplyMoved`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import Block, refuse_malformed
from xstock_chains.solana.chain import Reference, SolanaAsset, SolanaChain
from xstock_chains.solana.programs import (
    ASSOCIATED,
    AUTHORITY_MINT,
    BURN,
    BURN_CHECKED,
    INITIALIZE_MINT,
    INITIALIZE_MINT_2,
    MEMO,
    MINT_TO,
    MINT_TO_CHECKED,
    SYSTEM,
    TOKEN_2022,
)
from xstock_chains.solana.reading import (
    TOP_LEVEL,
    Executed,
    Ran,
    concerns,
    new_authority,
    new_hook,
    parse_ran,
    raw_of,
    succeeded,
)
from xstock_chains.solana.release import Allocation, is_marker, parse_allocation, source_of
from xstock_core.amount import InvalidAmount, Shares, parse_shares
from xstock_core.ids import Address32, Domain, InvalidId, Nonce, parse_address, solana_nonce
from xstock_core.message import Kind, make_message
from xstock_core.observation import (
    BURNED_BY_ANOTHER,
    BurnFinal,
    CancelFinal,
    Observation,
    OrphanBurn,
    Place,
    ReleaseFinal,
    Role,
    RoleMoved,
    SupplyMoved,
    TxRef,
)
from xstock_runtime.errors import Transient
from xstock_runtime.hashing import keccak256

_MEMO: Final = re.compile(rb"xsb1:(0|[1-9][0-9]{0,9}):([0-9a-f]{64})(?::([0-9a-f]{64}))?")
_REASON_MAX: Final = 200
_TX_SPAN: Final = 1 << 16
_ROLES: Final = {AUTHORITY_MINT: Role.MINTER, 1: Role.PAUSER, 8: Role.BURNER, 16: Role.PAUSER}
"""AuthorityType: mint, freeze, permanent delegate, pause; any other right is OWNER."""
STATE_EXTENSIONS: Final = (43, 44)
"""Token-2022 instructions that change multiplier or pause."""


@dataclass(slots=True)
class Seen:
    """What some blocks hold: observations, and per mint what moved its supply."""

    observations: list[Observation] = field(default_factory=list)
    moved: Counter[bytes] = field(default_factory=Counter)
    created: set[bytes] = field(default_factory=set)
    restated: set[bytes] = field(default_factory=set)
    """Mints whose multiplier or pause was set."""

    def add(self, other: "Seen") -> None:
        """Put later blocks behind."""
        self.observations.extend(other.observations)
        for mint, units in other.moved.items():
            self.moved[mint] += units
        self.created |= other.created
        self.restated |= other.restated


@dataclass(frozen=True, slots=True)
class _Memo:
    """A well-formed memo."""

    destination: int
    recipient: bytes
    refund: bytes | None


class Evidence:
    """Turns the transactions of blocks into observations, for one deployment."""

    def __init__(self, chain: SolanaChain) -> None:
        self.rejected: Counter[str] = Counter()
        """What was refused, by reason: `failed`, `marker`, `retired`, `unnamed`."""
        self._chain = chain
        self._mints = {asset.mint: asset for asset in chain.assets}
        self._references = {one.key: asset for asset in chain.assets for one in asset.references}
        self._authorities = {chain.multisig.key, *chain.predecessors}
        self._lanes = {one.key: one for one in chain.lane_keys}
        self._watched = frozenset({*self._mints, *self._lanes})
        self._texts = frozenset(show(key) for key in self._watched)

    def observe(self, block: Block) -> Seen:
        """What a full block holds, in its order."""
        seen = Seen()
        for number, entry in enumerate(refuse_malformed(block)):
            seen.add(self.transaction(block, number, entry))
        return seen

    def transaction(self, block: Block, number: int, entry: Any) -> Seen:
        """What one transaction of a block holds; a failed one holds nothing."""
        raw = raw_of(entry)
        seen = Seen()
        if not concerns(entry, raw, self._watched, self._texts):
            return seen
        if not self.succeeded(entry):
            self.rejected["failed"] += 1
            return seen
        self._scan(parse_ran(entry, raw), block, number * _TX_SPAN, seen)
        return seen

    def succeeded(self, entry: Any) -> bool:
        """SECURITY: see `reading.succeeded`."""
        return succeeded(entry.get("meta"))

    def _scan(self, ran: Ran, block: Block, base: int, seen: Seen) -> None:
        explained: set[int] = set()
        ref = block.ref(self._chain)
        for at, one in enumerate(ran.instructions):
            place = Place(ref, TxRef(self._chain.domain, ran.id), base + one.order)
            if one.program == SYSTEM:
                told = self._marker(ran, at, block, place, explained)
            elif one.program == TOKEN_2022 and one.data:
                told = self._token(ran, at, place, seen, explained)
            else:
                told = None
            if told is not None:
                seen.observations.append(told)

    # ------------------------------------------------------------------ markers

    def _marker(
        self, ran: Ran, at: int, block: Block, place: Place, explained: set[int]
    ) -> Observation | None:
        one = ran.instructions[at]
        allocation = parse_allocation(one.data)
        if allocation is None or not self.is_ours(allocation):
            return None
        retired = self._lanes[allocation.base].retired_height
        if retired is not None and block.height > retired:
            self.rejected["retired"] += 1
            return None
        named = one.accounts[2] if len(one.accounts) > 2 else bytes(32)
        source = source_of(allocation, named) if any(named) else None
        if source is None:
            self.rejected["unnamed"] += 1
            return None
        pair = self._mint_pair(ran, at)
        if pair is not None:
            explained.add(pair[0])
            return self._released(ran, pair, source, Nonce(named), place)
        asset = self._references.get(Address32(one.accounts[3])) if len(one.accounts) > 3 else None
        if asset is None:
            self.rejected["unnamed"] += 1
            return None
        return CancelFinal(self._chain.domain, source, Nonce(named), asset.asset, place)

    def is_ours(self, allocation: Allocation) -> bool:
        """SECURITY: a marker of a registered lane key and of no other shape (F09)."""
        return allocation.base in self._lanes and is_marker(allocation, allocation.base)

    def _mint_pair(self, ran: Ran, at: int) -> tuple[int, int] | None:
        """(number of MintToChecked, number of the account's creation) right after the marker, at
        the top level; None if the marker came without exactly that pair."""
        if ran.instructions[at].inner != TOP_LEVEL:
            return None
        top = [n for n, one in enumerate(ran.instructions) if one.inner == TOP_LEVEL]
        after = top[top.index(at) + 1 :][:2]
        if len(after) < 2:
            return None
        create, mint = (ran.instructions[n] for n in after)
        if create.program != ASSOCIATED or len(create.accounts) < 4:
            return None
        if mint.program != TOKEN_2022 or mint.data[:1] != bytes((MINT_TO_CHECKED,)):
            return None
        if len(mint.accounts) < 3 or mint.accounts[2] not in self._authorities:
            return None
        if mint.accounts[0] not in self._mints or create.accounts[3] != mint.accounts[0]:
            return None
        return (after[1], after[0]) if mint.accounts[1] == create.accounts[1] else None

    def _released(
        self, ran: Ran, pair: tuple[int, int], source: Domain, nonce: Nonce, place: Place
    ) -> ReleaseFinal:
        mint, create = (ran.instructions[n] for n in pair)
        asset = self._mints[mint.accounts[0]]
        return ReleaseFinal(
            self._chain.domain,
            source,
            nonce,
            asset.asset,
            Address32(create.accounts[2]),
            Shares(_amount(mint)),
            place,
        )

    # ------------------------------------------------------------------ the token

    def _token(
        self, ran: Ran, at: int, place: Place, seen: Seen, explained: set[int]
    ) -> Observation | None:
        one = ran.instructions[at]
        number = one.data[0]
        if number in (BURN, BURN_CHECKED) and len(one.accounts) > 2:
            return self._burned(ran, at, place, seen)
        asset = self._mints.get(one.accounts[0]) if one.accounts else None
        if asset is None:
            return None
        if number in (MINT_TO, MINT_TO_CHECKED):
            return self._minted(one, asset, place, seen, explained=at in explained)
        if number in (INITIALIZE_MINT, INITIALIZE_MINT_2):
            seen.created.add(asset.mint)
        if number in STATE_EXTENSIONS:
            seen.restated.add(asset.mint)
        return self._role(one, asset, place)

    def _role(self, one: Executed, asset: SolanaAsset, place: Place) -> RoleMoved | None:
        """A right over the mint, or the program that runs with its transfers, changed hands."""
        hook = new_hook(one)
        if hook is not None:
            return RoleMoved(Role.CODE, Address32(asset.mint), hook or bytes(32), place)
        moved = new_authority(one)
        if moved is None:
            return None
        kind, holder = moved
        role = _ROLES.get(kind, Role.OWNER)
        return RoleMoved(role, Address32(asset.mint), holder or bytes(32), place)

    def _minted(
        self, one: Executed, asset: SolanaAsset, place: Place, seen: Seen, *, explained: bool
    ) -> SupplyMoved | None:
        units = _amount(one)
        seen.moved[asset.mint] += units
        if explained or units == 0:
            return None
        return SupplyMoved(asset.asset, units, place)

    def _burned(self, ran: Ran, at: int, place: Place, seen: Seen) -> BurnFinal | OrphanBurn | None:
        one = ran.instructions[at]
        asset = self._mints.get(one.accounts[1])
        units = _amount(one)
        if asset is None or units == 0:
            return None
        seen.moved[asset.mint] -= units
        authority = one.accounts[2]
        owner = Address32(ran.owners.get(one.accounts[0], authority))
        nonce = solana_nonce(ran.id, one.outer, one.inner, keccak256)
        try:
            amount = parse_shares(units)
            memo = self._memo_of(ran, at)
            reference = self._reference_of(asset, one, place.block.number)
            redeem = memo.destination == Domain.CUSTODY
            message = make_message(
                kind=Kind.REDEEM if redeem else Kind.TRANSFER,
                source=self._chain.domain,
                destination=memo.destination,
                nonce=nonce,
                source_bridge=reference.key,
                asset=asset.asset,
                refund_address=owner if memo.refund is None else memo.refund,
                recipient=memo.recipient,
                amount=amount,
            )
            sender = parse_address(owner, self._chain.domain, "sender")
        except (InvalidId, InvalidAmount) as error:
            reason = str(error)
            if authority != owner:
                reason = f"{BURNED_BY_ANOTHER}{show(authority)}, not by its owner: {reason}"
            return OrphanBurn(asset.asset, owner, Shares(units), reason[:_REASON_MAX], nonce, place)
        return BurnFinal(message, message.transfer_id(keccak256), sender, 0, place)

    def _memo_of(self, ran: Ran, at: int) -> _Memo:
        """The memo that names this burn's transfer; raises InvalidId saying what is wrong."""
        burn = ran.instructions[at]
        if burn.batched:
            raise InvalidId("burn", "batched", "burn outside batches, right after the memo")
        if burn.data[0] != BURN_CHECKED:
            raise InvalidId("burn", "Burn", "the bridge reads BurnChecked only")
        memo, before = self.memos_before(ran.instructions, at)
        if memo is None:
            raise InvalidId("memo", "none", "put the memo immediately before the burn")
        if before is not None:
            raise InvalidId("memo", "doubled", "give one memo per burn")
        if burn.accounts[2] not in memo.accounts:
            raise InvalidId("memo", "unsigned", "the authority that burns signs the memo")
        found = _MEMO.fullmatch(memo.data)
        if found is None:
            shown = memo.data[:80].decode("ascii", "replace")
            raise InvalidId("memo", shown, "write xsb1:<domain>:<recipient>[:<refund>]")
        destination, recipient, refund = found.groups()
        return _Memo(
            int(destination),
            bytes.fromhex(recipient.decode()),
            None if refund is None else bytes.fromhex(refund.decode()),
        )

    def memos_before(
        self, instructions: Sequence[Executed], at: int
    ) -> tuple[Executed | None, Executed | None]:
        """SECURITY: the memo immediately before, at the same level of calls, and one before it.
        A memo elsewhere was written by somebody else or for another burn."""
        siblings = _siblings_before(instructions, at)
        memos = [one if one is not None and one.program == MEMO else None for one in siblings]
        return (memos[0], memos[1]) if memos[0] is not None else (None, None)

    def _reference_of(self, asset: SolanaAsset, burn: Executed, slot: int) -> Reference:
        """The reference key in force that the burn names; raises InvalidId."""
        for one in asset.references:
            in_force = one.deployed_slot <= slot and (
                one.retired_slot is None or slot <= one.retired_slot
            )
            if in_force and one.key in burn.accounts[3:]:
                return one
        raise InvalidId("reference", "none", "name the asset's reference key in the burn")


def _siblings_before(
    instructions: Sequence[Executed], at: int
) -> tuple[Executed | None, Executed | None]:
    """The two instructions before this one that the same caller made, nearest first."""
    own = instructions[at]
    if own.inner == TOP_LEVEL:
        top = [one for one in instructions[:at] if one.inner == TOP_LEVEL]
        near = top[-2:]
    else:
        near = []
        for one in reversed(instructions[max(0, at - 2) : at]):
            if one.inner == TOP_LEVEL or one.outer != own.outer:
                break
            if 0 in (one.height, own.height) and one.program == MEMO:
                text = "the node does not tell the call depth of inner instructions; ask another"
                raise Transient("DEPTH_UNKNOWN", text)
            if one.height != own.height:
                break
            near.insert(0, one)
    padded = [None, None, *near]
    return padded[-1], padded[-2]


def _amount(one: Executed) -> int:
    """The amount of a mint or burn, plain or checked; raises InvalidMessage for short data."""
    if len(one.data) < 9:
        raise Transient("TRANSACTION_MALFORMED", "a token instruction without its amount")
    return int.from_bytes(one.data[1:9], "little")

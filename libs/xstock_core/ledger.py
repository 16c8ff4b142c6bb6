"""The ledger: double entry per asset, so that nothing appears or vanishes unbooked.

Every entry moves shares from one account to another; balances of an asset sum to zero for
ever, and CUSTODY is the contra account, so exposure is simply minus its balance: supply on
chains, claims in flight, orphans, open issuance and unpaid redemptions together. Entries are
made from observations alone (never from what somebody claims), have content-derived ids, and
posting one twice changes nothing. Facts always post, even those that break a rule: the
ledger says what is, `policy` says what may be signed.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Final, NewType

from xstock_core.amount import Shares
from xstock_core.ids import (
    AssetId,
    Domain,
    InvalidId,
    Nonce,
    issue_nonce,
    nonce_tag,
    parse_domain,
)
from xstock_core.message import Kind, TransferMessage
from xstock_core.observation import BurnFinal, Observation, OrphanBurn, ReleaseFinal
from xstock_core.release import ExecutionKey

EntryId = NewType("EntryId", bytes)
"""32 bytes: sha256 over kind, reference, asset, accounts and amount."""

_REF: Final = struct.Struct(">II32s")


class AccountKind(StrEnum):
    """What an account holds; SUPPLY exists once per chain."""

    SUPPLY = "supply"
    IN_FLIGHT = "in_flight"
    ORPHANED = "orphaned"
    OPEN_ISSUANCE = "open_issuance"
    UNPAID_REDEMPTION = "unpaid_redemption"
    CUSTODY = "custody"


@dataclass(frozen=True, slots=True)
class Account:
    """An account of an asset's book; text form `supply/1`, `in_flight`."""

    kind: AccountKind
    chain: Domain | None = None
    text: str = field(init=False, repr=False, compare=False)
    """The stable text form, as stored and journaled."""

    def __post_init__(self) -> None:
        place = "" if self.chain is None else f"/{int(self.chain)}"
        object.__setattr__(self, "text", self.kind.value + place)
        if (self.kind is AccountKind.SUPPLY) != (self.chain is not None):
            raise InvalidId("account", self.text, "exactly SUPPLY accounts name a chain")

    def __hash__(self) -> int:
        return hash(self.text)


IN_FLIGHT: Final = Account(AccountKind.IN_FLIGHT)
ORPHANED: Final = Account(AccountKind.ORPHANED)
OPEN_ISSUANCE: Final = Account(AccountKind.OPEN_ISSUANCE)
UNPAID_REDEMPTION: Final = Account(AccountKind.UNPAID_REDEMPTION)
CUSTODY: Final = Account(AccountKind.CUSTODY)
_SUPPLIES: Final[Mapping[Domain, Account]] = MappingProxyType(
    {c: Account(AccountKind.SUPPLY, c) for c in Domain if c is not Domain.CUSTODY}
)


def supply(chain: Domain) -> Account:
    """The SUPPLY account of a chain; raises InvalidId for CUSTODY, which has none."""
    account = _SUPPLIES.get(chain)
    if account is None:
        raise InvalidId("chain", chain, "custody has no supply account; use CUSTODY")
    return account


def parse_account(text: str) -> Account:
    """The account with this text form; raises InvalidId."""
    name, _, chain = text.partition("/")
    if name not in {kind.value for kind in AccountKind} or (chain and not chain.isdecimal()):
        raise InvalidId("account", text, "use a form such as supply/1 or in_flight")
    return Account(AccountKind(name), parse_domain(int(chain), "account") if chain else None)


class EntryKind(StrEnum):
    """Why shares moved between two accounts. A REFUND is a release on the burn's own chain."""

    OPENING = "OPENING"
    BURN = "BURN"
    RELEASE = "RELEASE"
    ISSUE_RESERVE = "ISSUE_RESERVE"
    ISSUE_RELEASE = "ISSUE_RELEASE"
    ISSUE_VOID = "ISSUE_VOID"
    REDEEM_BURN = "REDEEM_BURN"
    REDEEM_PAID = "REDEEM_PAID"
    REDEEM_REFUND = "REDEEM_REFUND"
    ORPHAN_BURN = "ORPHAN_BURN"
    ORPHAN_REFUND = "ORPHAN_REFUND"
    ORPHAN_WRITE_OFF = "ORPHAN_WRITE_OFF"


EXPOSURE_KINDS: Final = frozenset(
    {
        EntryKind.OPENING,
        EntryKind.ISSUE_RESERVE,
        EntryKind.ISSUE_VOID,
        EntryKind.REDEEM_PAID,
        EntryKind.ORPHAN_WRITE_OFF,
    }
)
"""The only kinds that may touch CUSTODY, and so change exposure (INV-06)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`amount` shares leave `debit` and arrive at `credit`.

    `ref` is what the entry is about: the 40 bytes of `reference` for anything with a message
    (the same whichever of burn and release was seen first), else the subject's own id.
    """

    id: EntryId
    asset: AssetId
    debit: Account
    credit: Account
    amount: Shares
    kind: EntryKind
    ref: bytes


Balances = Mapping[tuple[AssetId, Account], int]
"""Shares per asset and account; a missing account holds 0; CUSTODY's is negative."""


def make_entry(
    kind: EntryKind, asset: AssetId, debit: Account, credit: Account, amount: int, ref: bytes
) -> Entry:
    """Build an entry with its id; raises InvalidId where the entry could not be believed."""
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 1:
        raise InvalidId("amount", amount, "an entry moves a positive whole number of shares")
    if debit == credit or not any(asset) or not ref:
        raise InvalidId("entry", kind.value, "give two accounts, an asset and a reference")
    if (CUSTODY in (debit, credit)) != (kind in EXPOSURE_KINDS):
        raise InvalidId("entry", kind.value, "only issuance, redemption and opening touch custody")
    head = f"{kind.value}|{debit.text}|{credit.text}|{amount}|".encode()
    return Entry(
        EntryId(sha256(head + asset + ref).digest()),
        asset,
        debit,
        credit,
        Shares(amount),
        kind,
        ref,
    )


def reference(key: ExecutionKey) -> bytes:
    """destination u32 ‖ source u32 ‖ nonce: what a burn and its release have in common."""
    return _REF.pack(key.destination, key.source, key.nonce)


def _reference(destination: Domain, source: Domain, nonce: Nonce) -> bytes:
    return _REF.pack(destination, source, nonce)


def post_all(
    balances: Balances, known_ids: Set[EntryId], entries: Sequence[Entry]
) -> tuple[dict[tuple[AssetId, Account], int], tuple[Entry, ...]]:
    """(balances after, the entries that were new), leaving the arguments alone.

    Pass as `known_ids` a set of the ids already posted (those of this page suffice).
    """
    after = dict(balances)
    posted: dict[EntryId, Entry] = {}
    for entry in entries:
        if entry.id in known_ids or entry.id in posted:
            continue
        posted[entry.id] = entry
        debit, credit = (entry.asset, entry.debit), (entry.asset, entry.credit)
        after[debit] = after.get(debit, 0) - entry.amount
        after[credit] = after.get(credit, 0) + entry.amount
    return after, tuple(posted.values())


def movements(entries: Iterable[Entry]) -> dict[tuple[AssetId, Account], int]:
    """The net change per asset and account: what one set-based UPDATE adds."""
    net: dict[tuple[AssetId, Account], int] = {}
    for entry in entries:
        for account, change in ((entry.debit, -entry.amount), (entry.credit, entry.amount)):
            net[entry.asset, account] = net.get((entry.asset, account), 0) + change
    return net


def exposure(balances: Balances, asset: AssetId) -> int:
    """What custody must cover: supply, claims in flight, orphans, open issuance, redemptions."""
    return -balances.get((asset, CUSTODY), 0)


def chain_supply(balances: Balances, asset: AssetId, chain: Domain) -> int:
    """Shares of the asset on a chain, by the ledger."""
    return balances.get((asset, supply(chain)), 0)


@dataclass(frozen=True, slots=True)
class Overdraft:
    """An account that fell below zero: a violation that facts made, to be recorded."""

    asset: AssetId
    account: Account
    balance: int


def overdrafts(balances: Balances) -> tuple[Overdraft, ...]:
    """Every account but CUSTODY that is below zero, in a stable order.

    IN_FLIGHT may be below zero while a guard has seen a release before its burn; any other
    account only by a violation (INV-05 for SUPPLY, INV-07 for OPEN_ISSUANCE).
    """
    found = (
        Overdraft(asset, account, balance)
        for (asset, account), balance in balances.items()
        if balance < 0 and account != CUSTODY
    )
    return tuple(sorted(found, key=lambda o: (o.asset, o.account.text)))


def entries_of(observation: Observation) -> tuple[Entry, ...]:
    """What an observation books; nothing for those that move no claim."""
    match observation:
        case BurnFinal(message=message):
            return (_entry_of_burn(message),)
        case ReleaseFinal():
            return _entries_of_release(observation)
        case OrphanBurn(asset=asset, amount=amount, nonce=nonce, place=place):
            chain = place.block.chain
            ref = orphan_reference(chain, nonce)
            kind = EntryKind.ORPHAN_BURN
            return (make_entry(kind, asset, supply(chain), ORPHANED, amount, ref),)
        case _:
            return ()


def _entry_of_burn(message: TransferMessage) -> Entry:
    ref = _reference(message.destination, message.source, message.nonce)
    redeem = message.kind is Kind.REDEEM
    kind = EntryKind.REDEEM_BURN if redeem else EntryKind.BURN
    credit = UNPAID_REDEMPTION if redeem else IN_FLIGHT
    return make_entry(kind, message.asset, supply(message.source), credit, message.amount, ref)


def _entries_of_release(release: ReleaseFinal) -> tuple[Entry, ...]:
    ref = _reference(release.destination, release.source, release.nonce)
    asset, amount, target = release.asset, release.amount, supply(release.destination)
    if release.source is Domain.CUSTODY and not is_issue(asset, release.nonce):
        kind = EntryKind.REDEEM_REFUND
        return (make_entry(kind, asset, UNPAID_REDEMPTION, target, amount, ref),)
    if release.source is Domain.CUSTODY:
        reserve = make_entry(EntryKind.ISSUE_RESERVE, asset, CUSTODY, OPEN_ISSUANCE, amount, ref)
        issued = make_entry(EntryKind.ISSUE_RELEASE, asset, OPEN_ISSUANCE, target, amount, ref)
        return reserve, issued
    if release.source is release.destination:
        return (make_entry(EntryKind.ORPHAN_REFUND, asset, ORPHANED, target, amount, ref),)
    return (make_entry(EntryKind.RELEASE, asset, IN_FLIGHT, target, amount, ref),)


@lru_cache(maxsize=4096)
def _issue_tag(asset: AssetId) -> bytes:
    return nonce_tag(issue_nonce(asset, 1))


def is_issue(asset: AssetId, nonce: Nonce) -> bool:
    """Custody mints for its issuer's orders, and once more for a redemption that it rejected."""
    return nonce_tag(nonce) == _issue_tag(asset)


def orphan_reference(chain: Domain, nonce: Nonce) -> bytes:
    """The `ref` of an orphan burn's entries."""
    return _reference(chain, chain, nonce)


def entry_of_issue(order: TransferMessage) -> Entry:
    """Reserves an ISSUE order's shares: the same entry whether reserved or only observed."""
    if order.kind is not Kind.ISSUE:
        raise InvalidId("kind", int(order.kind), "only an ISSUE reserves issuance")
    ref = _reference(order.destination, order.source, order.nonce)
    kind = EntryKind.ISSUE_RESERVE
    return make_entry(kind, order.asset, CUSTODY, OPEN_ISSUANCE, order.amount, ref)


def entry_of_opening(asset: AssetId, chain: Domain, amount: Shares) -> Entry:
    """Takes over the supply that an asset already has on a chain; once per asset and chain."""
    ref = b"opening/" + int(chain).to_bytes(4, "big")
    return make_entry(EntryKind.OPENING, asset, CUSTODY, supply(chain), amount, ref)


def entry_of_redemption_paid(redeem: TransferMessage) -> Entry:
    """Closes a redemption that an attestation lists as paid."""
    ref = _reference(redeem.destination, redeem.source, redeem.nonce)
    kind = EntryKind.REDEEM_PAID
    return make_entry(kind, redeem.asset, UNPAID_REDEMPTION, CUSTODY, redeem.amount, ref)


def entry_of_orphan_write_off(orphan: OrphanBurn) -> Entry:
    """Gives up an orphan burn for good (two approvers): its shares stop being exposure."""
    ref = orphan_reference(orphan.place.block.chain, orphan.nonce)
    kind = EntryKind.ORPHAN_WRITE_OFF
    return make_entry(kind, orphan.asset, ORPHANED, CUSTODY, orphan.amount, ref)

"""Proofs for auditors: what the ledger said at any moment, and one hash over what chains decide.

A proof speaks of the ledger right after a link of the journal, never of what is in between, so it
can be checked against an exported journal to the last share. The guard signs it with its paper
key under its own name. A chain's own reading stands only in proofs of now: older ones are gone.
"""

from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

from xstock_core.cap import Attestation
from xstock_core.ids import AssetId, Domain
from xstock_core.ledger import (
    CUSTODY,
    IN_FLIGHT,
    OPEN_ISSUANCE,
    ORPHANED,
    UNPAID_REDEMPTION,
    Account,
    EntryId,
    EntryKind,
    chain_supply,
    exposure,
    movements,
)
from xstock_core.observation import BlockRef
from xstock_runtime.errors import invalid_field
from xstock_supply_guard.handlers.books import balance
from xstock_supply_guard.handlers.desk import Desk
from xstock_supply_guard.handlers.inventory import inventories
from xstock_supply_guard.model import BelievedSupply, JournalHead, LedgerAt
from xstock_supply_guard.ports import GuardReads

_invalid = partial(invalid_field, "FIELD_INVALID")

DECIDED_KINDS = frozenset({EntryKind.ISSUE_VOID, EntryKind.REDEEM_PAID, EntryKind.ORPHAN_WRITE_OFF})
"""Entries that need a decision or a paper besides the chains."""
CHAIN_KINDS = frozenset(EntryKind) - DECIDED_KINDS - {EntryKind.ISSUE_RESERVE}
HASH_PAGE = 20_000
_CONSISTENT_LOOKS_MAX = 5


@dataclass(frozen=True, slots=True)
class ChainProof:
    """One chain's part; `reading` only in a proof of now."""

    chain: Domain
    ledger: int
    decimals: int
    booked: BlockRef | None
    reading: BelievedSupply | None
    excluded: int = 0
    """Issuer inventory here, in shares; only in a proof of now."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One asset's books after a link; amounts in 10^-8 shares."""

    guard_id: str
    asset: AssetId
    as_of_ms: int
    head: JournalHead
    chains: tuple[ChainProof, ...]
    in_flight: int
    orphaned: int
    open_issuance: int
    unpaid_redemption: int
    exposure: int
    attestation: Attestation | None
    cap: int

    @property
    def excluded(self) -> int:
        """Issuer inventory on all chains: exposure may come to `cap + excluded`."""
        return sum(one.excluded for one in self.chains)


async def supply_proof(desk: Desk, asset: AssetId, at_ms: int) -> Proof:
    """The proof of a moment; 0 means now.

    Raises InvalidMessage for an asset that is not registered or a time that is still to come.
    """
    config = desk.config.assets.get(asset)
    if config is None:
        raise _invalid("asset", asset.hex(), "give a registered asset's id")
    now_ms = desk.clock.unix_ms()
    if at_ms > now_ms:
        raise _invalid("at_ms", at_ms, f"it is still to come; now is {now_ms}, 0 means now")
    async with desk.store.read() as books:
        if at_ms:
            head = await books.link_at(at_ms)
            ledger = await books.ledger_at([asset], head.sequence)
            readings: dict[Domain, BelievedSupply] = {}
        else:
            head, ledger = await _now(books, asset)
            readings = {one.chain: one for one in await books.readings([asset])}
        found = await inventories(desk, books, ledger.attested, list(readings.values()))
    counted = {one.chain: one.shares for one in found.get(asset, ())}
    chains = tuple(
        ChainProof(
            chain,
            chain_supply(ledger.balances, asset, chain),
            decimals,
            ledger.through.get(chain),
            readings.get(chain),
            counted.get(chain, 0),
        )
        for chain, decimals in sorted(config.decimals.items())
    )
    record = ledger.attested.get(asset)
    attestation = record.attestation if record is not None else None
    held = ledger.balances
    return Proof(
        guard_id=desk.config.guard_id,
        asset=asset,
        as_of_ms=at_ms or now_ms,
        head=head,
        chains=chains,
        in_flight=balance(held, asset, IN_FLIGHT),
        orphaned=balance(held, asset, ORPHANED),
        open_issuance=balance(held, asset, OPEN_ISSUANCE),
        unpaid_redemption=balance(held, asset, UNPAID_REDEMPTION),
        exposure=exposure(held, asset),
        attestation=attestation,
        cap=attestation.cap(desk.config.policy.margin_bps) if attestation else 0,
    )


async def _now(books: GuardReads, asset: AssetId) -> tuple[JournalHead, LedgerAt]:
    """The ledger after the last link, with how far the chains are booked by now.

    A block without facts moves no link, so the scans tell more than the journal; they are taken
    only if no link came between.
    """
    head = await books.journal_head()
    for _ in range(_CONSISTENT_LOOKS_MAX):
        scans = await books.scans()
        again = await books.journal_head()
        if again == head:
            ledger = await books.ledger_at([asset], head.sequence)
            through = {one.chain: one.through for one in scans.values() if one.through is not None}
            return head, replace(ledger, through=through)
        head = again
    return head, await books.ledger_at([asset], head.sequence)


@dataclass(frozen=True, slots=True)
class LedgerHash:
    """The hash over what chains alone decide, with where it was taken."""

    digest: bytes
    entries: int
    through: tuple[BlockRef, ...]
    head: JournalHead


async def ledger_hash(desk: Desk) -> LedgerHash:
    """sha256 over the ids of the chain-derived entries, rising, and the balances they make.

    An order's reservation counts once its release is seen: before, it is this guard's decision.
    Two guards that have booked the same blocks have the same hash, however they came by them.
    """
    digest, balances, count = sha256(), dict[tuple[AssetId, Account], int](), 0
    async with desk.store.read() as books:
        after = EntryId(b"")
        while page := await books.entries_after(sorted(CHAIN_KINDS), after, HASH_PAGE):
            for entry in page:
                digest.update(entry.id)
            reserved = [
                replace(entry, debit=CUSTODY, credit=OPEN_ISSUANCE)
                for entry in page
                if entry.kind is EntryKind.ISSUE_RELEASE
            ]
            for place, change in movements([*page, *reserved]).items():
                balances[place] = balances.get(place, 0) + change
            count, after = count + len(page), page[-1].id
        scans = await books.scans()
        head = await books.journal_head()
    for (asset, account), amount in sorted(
        balances.items(), key=lambda one: (one[0][0], one[0][1].text)
    ):
        if amount:
            digest.update(f"|{asset.hex()} {account.text} {amount}".encode())
    through = tuple(scan.through for _, scan in sorted(scans.items()) if scan.through is not None)
    return LedgerHash(digest.digest(), count, through, head)

"""The journal's part of the guard's memory in PostgreSQL: links, their balances, their checks.

A link is one statement with what it moved. Any past moment is one index look per account, so a
proof costs the same at ten entries and at ten million.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from xstock_core.amount import Shares
from xstock_core.ids import AssetId, Domain
from xstock_core.ledger import (
    Account,
    Entry,
    EntryId,
    EntryKind,
    parse_account,
)
from xstock_core.observation import BlockRef
from xstock_supply_guard.adapters import rows
from xstock_supply_guard.adapters.linking import Unlinked
from xstock_supply_guard.adapters.statements import Statements
from xstock_supply_guard.model import (
    FIRST_LINK,
    JournalHead,
    JournalLink,
    LedgerAt,
    next_link,
)


class JournalUnit(Statements):
    """What a unit of work does with the journal."""

    unlinked: Unlinked

    async def journal_head(self) -> JournalHead:
        """The last link."""
        sql = "SELECT sequence, digest, at_ms FROM journal ORDER BY sequence DESC LIMIT 1"
        return _head(await self._rows(sql))

    async def link_at(self, at_ms: int) -> JournalHead:
        """The last link no later than this."""
        sql = (
            "SELECT sequence, digest, at_ms FROM journal WHERE at_ms <= :at_ms"
            " ORDER BY at_ms DESC, sequence DESC LIMIT 1"
        )
        return _head(await self._rows(sql, at_ms=at_ms))

    async def journal_after(self, sequence: int, limit: int) -> Sequence[JournalLink]:
        """The links that follow."""
        sql = "SELECT * FROM journal WHERE sequence > :after ORDER BY sequence LIMIT :limit"
        return [
            JournalLink(
                row.sequence,
                bytes(row.previous),
                bytes(row.digest),
                row.at_ms,
                tuple(row.lines.split("\n")),
            )
            for row in await self._rows(sql, after=sequence, limit=limit)
        ]

    async def ledger_at(self, assets: Collection[AssetId], sequence: int) -> LedgerAt:
        """The ledger after a link."""
        wanted: dict[str, Any] = {"assets": list(assets), "sequence": sequence}
        balances = {
            (AssetId(bytes(row.asset)), parse_account(row.account)): int(row.amount)
            for row in await self._rows(_BALANCES_AT, **wanted)
        }
        through = {}
        for row in await self._rows(_THROUGH_AT, sequence=sequence):
            chain = rows.DOMAINS[row.chain]
            through[chain] = BlockRef(chain, row.number, bytes(row.hash), row.time)
        said = map(rows.attestation_of, await self._rows(_ATTESTED_AT, **wanted))
        attested = {one.attestation.asset: one for one in said}
        return LedgerAt(balances, through, attested)

    async def balances_off(self) -> Sequence[str]:
        """Balances that are not what was journaled last."""
        return [_off(row) for row in await self._rows(_BALANCES_OFF)]

    async def entries_off(self) -> Sequence[str]:
        """Balances that are not the sum of their entries, read in stretches of blocks.

        Each stretch is a statement of its own, well within a statement's time at any size.
        """
        summed: dict[tuple[bytes, str], int] = {}
        blocks = (await self._rows(_BLOCKS))[0].blocks
        for first in range(0, blocks, BLOCKS_AT_ONCE):
            limits = {"low": f"({first},0)", "high": f"({first + BLOCKS_AT_ONCE},0)"}
            for row in await self._rows(_SUMS, **limits):
                for account, amount in ((row.debit, -row.amount), (row.credit, row.amount)):
                    key = bytes(row.asset), account
                    summed[key] = summed.get(key, 0) + int(amount)
        rows_held = await self._rows("SELECT asset, account, amount FROM balance")
        held = {(bytes(row.asset), row.account): int(row.amount) for row in rows_held}
        return [
            f"{asset.hex()} {account} holds {held.get((asset, account), 0)}, its entries make "
            f"{summed.get((asset, account), 0)}"
            for asset, account in sorted(held.keys() | summed.keys())
            if held.get((asset, account), 0) != summed.get((asset, account), 0)
        ]

    async def entries_after(
        self, kinds: Collection[EntryKind], after: EntryId, limit: int
    ) -> Sequence[Entry]:
        """Entries by id."""
        sql = (
            "SELECT * FROM ledger_entry WHERE id > :after AND kind = ANY(CAST(:kinds AS text[]))"
            " ORDER BY id LIMIT :limit"
        )
        wanted = [kind.value for kind in kinds]
        found = await self._rows(sql, after=bytes(after), kinds=wanted, limit=limit)
        return [_entry(row) for row in found]

    async def journal(self, lines: Sequence[str], at_ms: int) -> JournalHead:
        """Append one link."""
        before = await self.journal_head()
        every = self.unlinked.lines(lines)
        if not every:
            return before
        head = next_link(before, every, at_ms)
        parameters = {
            "sequence": head.sequence,
            "previous": before.digest,
            "digest": head.digest,
            "at_ms": head.at_ms,
            "lines": "\n".join(every),
            **_moved(self.unlinked.balances),
            **_reached(self.unlinked.through),
            "attested": list(self.unlinked.attested),
            "attestations": list(self.unlinked.attested.values()),
        }
        await self._execute(_LINK, **parameters)
        self.unlinked.clear()
        return head


def _head(found: Sequence[Any]) -> JournalHead:
    if not found:
        return FIRST_LINK
    return JournalHead(found[0].sequence, bytes(found[0].digest), found[0].at_ms)


def _off(row: Any) -> str:
    return f"{bytes(row.asset).hex()} {row.account} holds {row.held}, its books say {row.said}"


def _entry(row: Any) -> Entry:
    return Entry(
        EntryId(bytes(row.id)),
        AssetId(bytes(row.asset)),
        parse_account(row.debit),
        parse_account(row.credit),
        Shares(int(row.amount)),
        EntryKind(row.kind),
        bytes(row.ref),
    )


def _moved(balances: Mapping[tuple[AssetId, Account], int]) -> dict[str, Any]:
    return {
        "assets": [asset for asset, _ in balances],
        "accounts": [account.text for _, account in balances],
        "amounts": list(balances.values()),
    }


def _reached(through: Mapping[Domain, BlockRef]) -> dict[str, Any]:
    blocks = list(through.values())
    return {
        "chains": [int(chain) for chain in through],
        "numbers": [block.number for block in blocks],
        "hashes": [block.hash for block in blocks],
        "times": [block.time for block in blocks],
    }


_LINK = (
    "WITH balances AS (INSERT INTO journal_balance (asset, account, sequence, amount)"
    " SELECT asset, account, :sequence, amount FROM unnest(CAST(:assets AS bytea[]),"
    " CAST(:accounts AS text[]), CAST(:amounts AS numeric[])) AS moved(asset, account, amount)),"
    " reached AS (INSERT INTO journal_through (chain, sequence, number, hash, time)"
    " SELECT chain, :sequence, number, hash, time FROM unnest(CAST(:chains AS integer[]),"
    " CAST(:numbers AS bigint[]), CAST(:hashes AS bytea[]), CAST(:times AS bigint[]))"
    " AS block(chain, number, hash, time)),"
    " said AS (INSERT INTO journal_attested (asset, sequence, attestation)"
    " SELECT asset, :sequence, attestation FROM unnest(CAST(:attested AS bytea[]),"
    " CAST(:attestations AS numeric[])) AS paper(asset, attestation))"
    " INSERT INTO journal (sequence, previous, digest, at_ms, lines)"
    " VALUES (:sequence, :previous, :digest, :at_ms, :lines)"
)
_BALANCES_AT = (
    "SELECT held.asset, held.account, was.amount FROM balance AS held CROSS JOIN LATERAL"
    " (SELECT amount FROM journal_balance AS past WHERE past.asset = held.asset"
    " AND past.account = held.account AND past.sequence <= :sequence"
    " ORDER BY past.sequence DESC LIMIT 1) AS was"
    " WHERE held.asset = ANY(CAST(:assets AS bytea[]))"
)
_THROUGH_AT = (
    "SELECT scan.chain, was.number, was.hash, was.time FROM scan CROSS JOIN LATERAL"
    " (SELECT number, hash, time FROM journal_through AS past WHERE past.chain = scan.chain"
    " AND past.sequence <= :sequence ORDER BY past.sequence DESC LIMIT 1) AS was"
)
_ATTESTED_AT = (
    "SELECT said.* FROM unnest(CAST(:assets AS bytea[])) AS wanted(asset) CROSS JOIN LATERAL"
    " (SELECT asset, attestation FROM journal_attested AS past WHERE past.asset = wanted.asset"
    " AND past.sequence <= :sequence ORDER BY past.sequence DESC LIMIT 1) AS was"
    " JOIN attestation AS said ON said.asset = was.asset AND said.sequence = was.attestation"
)
BLOCKS_AT_ONCE = 16_384
"""128 MB of entries: about half a million of them."""
_BLOCKS = (
    "SELECT pg_relation_size('ledger_entry') / CAST(current_setting('block_size') AS bigint)"
    " AS blocks"
)
_SUMS = (
    "SELECT asset, debit, credit, sum(amount) AS amount FROM ledger_entry"
    " WHERE ctid >= CAST(CAST(:low AS text) AS tid) AND ctid < CAST(CAST(:high AS text) AS tid)"
    " GROUP BY asset, debit, credit"
)
_BALANCES_OFF = (
    "SELECT held.asset, held.account, held.amount AS held, coalesce(said.amount, 0) AS said"
    " FROM balance AS held LEFT JOIN LATERAL (SELECT amount FROM journal_balance AS past"
    " WHERE past.asset = held.asset AND past.account = held.account"
    " ORDER BY past.sequence DESC LIMIT 1) AS said ON true"
    " WHERE held.amount <> coalesce(said.amount, 0) ORDER BY 1, 2 LIMIT 20"
)

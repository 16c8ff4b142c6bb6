"""Signed papers in PostgreSQL: signatures, redemptions, openings, lack of cover.

One part of the guard's unit of work (`adapters/postgres.py`), set-based like the rest of it.
"""

# ruff: noqa: D102 - ports.py says what each method promises

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from xstock_core.ids import AssetId, Domain, TransferId
from xstock_core.observation import BurnFinal
from xstock_runtime.database import among, end_to_end, insert_many
from xstock_supply_guard.adapters import rows
from xstock_supply_guard.adapters.statements import Statements
from xstock_supply_guard.model import (
    Opening,
    OpeningRecord,
    PaperSignature,
    RedemptionRecord,
    RedemptionState,
    SignedStatement,
)


class PaperTables(Statements):
    """The part of a unit of work that is about papers, over one transaction."""

    async def paper_signatures(self, kind: str, subject: bytes) -> Sequence[PaperSignature]:
        sql = (
            "SELECT * FROM paper_signature WHERE kind = :kind AND subject = :subject"
            " ORDER BY key_id"
        )
        return [_signature_of(row) for row in await self._rows(sql, kind=kind, subject=subject)]

    async def redemptions(
        self, ids: Collection[TransferId]
    ) -> Mapping[TransferId, RedemptionState]:
        found = await self.redemption_records(ids)
        return {key: record.state for key, record in found.items()}

    async def redemption_records(
        self, ids: Collection[TransferId]
    ) -> Mapping[TransferId, RedemptionRecord]:
        sql = among("SELECT * FROM redemption WHERE transfer_id", "ids")
        found = [_redemption_of(row) for row in await self._rows(sql, ids=end_to_end(ids))]
        return {one.transfer_id: one for one in found}

    async def open_redemptions(self, after: TransferId | None, limit: int) -> Sequence[BurnFinal]:
        parameters = {"custody": int(Domain.CUSTODY), "after": after or b"", "limit": limit}
        return [rows.burn_of(row) for row in await self._rows(_OPEN_REDEMPTIONS, **parameters)]

    async def opened(self, assets: Collection[AssetId]) -> Mapping[AssetId, OpeningRecord]:
        sql = "SELECT * FROM opening WHERE asset = ANY(CAST(:assets AS bytea[])) ORDER BY chain"
        chains: dict[AssetId, dict[Domain, Opening]] = {}
        digests: dict[AssetId, bytes] = {}
        for row in await self._rows(sql, assets=list(assets)):
            asset = AssetId(bytes(row.asset))
            digests[asset] = bytes(row.digest)
            chains.setdefault(asset, {})[rows.DOMAINS[row.chain]] = Opening(
                shares=int(row.shares),
                block=row.block_number,
                residue_units=int(row.residue_units),
                booked=row.booked_number,
            )
        return {
            asset: OpeningRecord(asset, digests[asset], found) for asset, found in chains.items()
        }

    async def uncovered(self, assets: Collection[AssetId]) -> Mapping[AssetId, int]:
        sql = "SELECT asset, since_ms FROM uncovered WHERE asset = ANY(CAST(:assets AS bytea[]))"
        found = await self._rows(sql, assets=list(assets))
        return {AssetId(bytes(row.asset)): row.since_ms for row in found}

    async def add_paper_signatures(self, signatures: Sequence[PaperSignature]) -> None:
        said = [one.statement for one in signatures]
        await insert_many(
            self._connection,
            "paper_signature",
            {
                "kind": ("text", [one.kind for one in said]),
                "subject": ("bytea", [one.subject for one in signatures]),
                "key_id": ("text", [one.key_id for one in said]),
                "public_key": ("bytea", [one.public_key for one in signatures]),
                "digest": ("bytea", [one.digest for one in said]),
                "paper": ("bytea", [one.paper for one in said]),
                "signature": ("bytea", [one.signature for one in said]),
            },
        )

    async def add_redemptions(self, records: Sequence[RedemptionRecord]) -> None:
        await insert_many(
            self._connection,
            "redemption",
            {
                "transfer_id": ("bytea", [one.transfer_id for one in records]),
                "state": ("text", [one.state.value for one in records]),
                "asset": ("bytea", [one.asset for one in records]),
                "reason": ("text", [one.reason for one in records]),
                "digest": ("bytea", [one.digest for one in records]),
                "at_ms": ("bigint", [one.at_ms for one in records]),
            },
        )

    async def add_opening(self, record: OpeningRecord) -> None:
        chains = list(record.chains.values())
        await insert_many(
            self._connection,
            "opening",
            {
                "asset": ("bytea", [record.asset] * len(chains)),
                "chain": ("integer", [int(chain) for chain in record.chains]),
                "shares": ("numeric", [one.shares for one in chains]),
                "residue_units": ("numeric", [one.residue_units for one in chains]),
                "block_number": ("bigint", [one.block for one in chains]),
                "booked_number": ("bigint", [one.booked for one in chains]),
                "digest": ("bytea", [record.digest] * len(chains)),
            },
        )

    async def mark_uncovered(self, assets: Collection[AssetId], at_ms: int) -> None:
        await insert_many(
            self._connection,
            "uncovered",
            {
                "asset": ("bytea", list(assets)),
                "since_ms": ("bigint", [at_ms] * len(assets)),
            },
            on_conflict="(asset) DO NOTHING",
        )

    async def clear_uncovered(self, assets: Collection[AssetId]) -> None:
        sql = "DELETE FROM uncovered WHERE asset = ANY(CAST(:assets AS bytea[]))"
        await self._execute(sql, assets=list(assets))


def _signature_of(row: Any) -> PaperSignature:
    statement = SignedStatement(
        kind=row.kind,
        paper=bytes(row.paper),
        digest=bytes(row.digest),
        key_id=row.key_id,
        signature=bytes(row.signature),
    )
    return PaperSignature(bytes(row.subject), bytes(row.public_key), statement)


def _redemption_of(row: Any) -> RedemptionRecord:
    return RedemptionRecord(
        transfer_id=TransferId(bytes(row.transfer_id)),
        state=RedemptionState(row.state),
        digest=bytes(row.digest),
        at_ms=row.at_ms,
        asset=AssetId(bytes(row.asset)) if row.asset is not None else None,
        reason=row.reason,
    )


_OPEN_REDEMPTIONS = (
    "SELECT burn.* FROM burn WHERE destination = :custody AND transfer_id > :after"
    " AND NOT EXISTS (SELECT 1 FROM redemption"
    " WHERE redemption.transfer_id = burn.transfer_id) ORDER BY transfer_id LIMIT :limit"
)

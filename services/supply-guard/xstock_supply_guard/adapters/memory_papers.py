"""Signed papers and what they left behind, in memory: the twin of `postgres_papers`."""

# ruff: noqa: D102 - ports.py says what each method promises

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields

from xstock_core.ids import AssetId, TransferId
from xstock_runtime.database import end_to_end
from xstock_supply_guard.model import (
    OpeningRecord,
    PaperSignature,
    RedemptionRecord,
    RedemptionState,
)


@dataclass(slots=True)
class PaperState:
    """Everything of papers that survives; each field is copied for a unit of work."""

    signatures: dict[tuple[str, bytes, str], PaperSignature] = field(default_factory=dict)
    redemptions: dict[TransferId, RedemptionRecord] = field(default_factory=dict)
    openings: dict[AssetId, OpeningRecord] = field(default_factory=dict)
    uncovered: dict[AssetId, int] = field(default_factory=dict)

    def __copy__(self) -> "PaperState":
        return PaperState(**{one.name: copy(getattr(self, one.name)) for one in fields(self)})


class PaperMemory:
    """The part of a unit of work that is about papers."""

    papers: PaperState

    async def paper_signatures(self, kind: str, subject: bytes) -> Sequence[PaperSignature]:
        found = self.papers.signatures.items()
        return [one for key, one in sorted(found) if key[:2] == (kind, subject)]

    async def redemptions(
        self, ids: Collection[TransferId]
    ) -> Mapping[TransferId, RedemptionState]:
        found = await self.redemption_records(ids)
        return {key: record.state for key, record in found.items()}

    async def redemption_records(
        self, ids: Collection[TransferId]
    ) -> Mapping[TransferId, RedemptionRecord]:
        end_to_end(ids)
        known = self.papers.redemptions
        return {key: known[key] for key in ids if key in known}

    async def opened(self, assets: Collection[AssetId]) -> Mapping[AssetId, OpeningRecord]:
        known = self.papers.openings
        return {asset: known[asset] for asset in assets if asset in known}

    async def uncovered(self, assets: Collection[AssetId]) -> Mapping[AssetId, int]:
        known = self.papers.uncovered
        return {asset: known[asset] for asset in assets if asset in known}

    async def add_paper_signatures(self, signatures: Sequence[PaperSignature]) -> None:
        for one in signatures:
            key = (one.statement.kind, one.subject, one.statement.key_id)
            _refuse_known(self.papers.signatures, key)
            self.papers.signatures[key] = one

    async def add_redemptions(self, records: Sequence[RedemptionRecord]) -> None:
        for one in records:
            _refuse_known(self.papers.redemptions, one.transfer_id)
            self.papers.redemptions[one.transfer_id] = one

    async def add_opening(self, record: OpeningRecord) -> None:
        _refuse_known(self.papers.openings, record.asset)
        self.papers.openings[record.asset] = record

    async def mark_uncovered(self, assets: Collection[AssetId], at_ms: int) -> None:
        for asset in assets:
            self.papers.uncovered.setdefault(asset, at_ms)

    async def clear_uncovered(self, assets: Collection[AssetId]) -> None:
        for asset in assets:
            self.papers.uncovered.pop(asset, None)


def _refuse_known(known: Collection[object], key: object) -> None:
    """Append-only: what a database's primary key would refuse."""
    if key in known:
        raise ValueError(f"{key!r} is known already; it is written once")

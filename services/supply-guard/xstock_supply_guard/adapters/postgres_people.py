"""What people decided and what they are told, in PostgreSQL: proposals, pauses, limits, alarms.

A part of the guard's unit of work: same transaction, same fence. Every statement is one round
trip, whatever the number of subjects.
"""

# ruff: noqa: D102 - ports.py says what each method promises

from collections.abc import Collection, Mapping, Sequence

from xstock_core.ids import AssetId
from xstock_core.observation import OrphanBurn
from xstock_runtime.database import among, end_to_end, insert_many
from xstock_supply_guard.adapters import rows_people as rows
from xstock_supply_guard.adapters.statements import Statements
from xstock_supply_guard.model import (
    Alarm,
    CorporateAction,
    Limits,
    Pause,
    Proposal,
    ProposalKind,
    RaisedAlarm,
)


class PeopleTables(Statements):
    """The statements; `tell` leaves alarms in the outbox of this transaction."""

    async def tell(self, alarms: Sequence[Alarm], at_ms: int) -> None:
        """Leave alarms in the outbox of this transaction."""
        raise NotImplementedError

    async def proposal(self, proposal_id: str) -> Proposal | None:
        found = await self._rows(f"{_PROPOSALS} WHERE id = :id", id=proposal_id)
        return rows.proposal_of(found[0]) if found else None

    async def proposals(self, since_ms: int, limit: int) -> Sequence[Proposal]:
        sql = (
            f"{_PROPOSALS} WHERE executed_ms IS NULL OR at_ms >= :since"
            " ORDER BY at_ms DESC, id LIMIT :limit"
        )
        found = await self._rows(sql, since=since_ms, limit=limit)
        return [rows.proposal_of(row) for row in found]

    async def decisions(
        self, kind: ProposalKind, subjects: Collection[bytes]
    ) -> Sequence[Proposal]:
        sql = (
            f"{_PROPOSALS} WHERE kind = :kind AND subject = ANY(CAST(:subjects AS bytea[]))"
            " AND executed_ms > 0 ORDER BY executed_ms, id"
        )
        found = await self._rows(sql, kind=kind.value, subjects=list(subjects))
        return [rows.proposal_of(row) for row in found]

    async def approved(self, kind: ProposalKind, subjects: Collection[bytes]) -> set[bytes]:
        sql = (
            "SELECT DISTINCT subject FROM proposal WHERE kind = :kind"
            " AND subject = ANY(CAST(:subjects AS bytea[])) AND executed_ms > 0"
        )
        found = await self._rows(sql, kind=kind.value, subjects=list(subjects))
        return {bytes(row.subject) for row in found}

    async def pause(self, pause_id: str) -> Pause | None:
        found = await self._rows("SELECT * FROM pause WHERE id = :id", id=pause_id)
        return rows.pause_of(found[0]) if found else None

    async def pauses(self, now: int) -> Sequence[Pause]:
        sql = "SELECT * FROM pause WHERE lifted_ms IS NULL AND until > :now ORDER BY at_ms, id"
        return [rows.pause_of(row) for row in await self._rows(sql, now=now)]

    async def limits(self) -> Mapping[AssetId | None, Limits]:
        found = await self._rows("SELECT * FROM limits")
        return {rows.limited_asset(row): rows.limits_of(row) for row in found}

    async def corporate_actions(
        self, assets: Collection[AssetId]
    ) -> Mapping[AssetId, tuple[CorporateAction, ...]]:
        found: dict[AssetId, tuple[CorporateAction, ...]] = {}
        for row in await self._rows(_ACTIONS, assets=list(assets)):
            action = rows.corporate_action_of(row)
            found[action.asset] = (*found.get(action.asset, ()), action)
        return found

    async def high_water(self, names: Collection[str]) -> Mapping[str, int]:
        sql = "SELECT name, value FROM high_water WHERE name = ANY(CAST(:names AS text[]))"
        return {row.name: int(row.value) for row in await self._rows(sql, names=list(names))}

    async def orphans(self, nonces: Collection[bytes]) -> Mapping[bytes, OrphanBurn]:
        sql = among("SELECT * FROM orphan WHERE nonce", "nonces")
        found = await self._rows(sql, nonces=end_to_end(nonces))
        return {bytes(row.nonce): rows.orphan_of(row) for row in found}

    async def orphans_refunded_by(self, nonces: Collection[bytes]) -> Mapping[bytes, OrphanBurn]:
        sql = among("SELECT * FROM orphan WHERE refund_nonce", "nonces")
        found = await self._rows(sql, nonces=end_to_end(nonces))
        return {bytes(row.refund_nonce): rows.orphan_of(row) for row in found}

    async def add_orphans(self, orphans: Sequence[OrphanBurn]) -> None:
        """Keep orphan burns; the first of a nonce stays."""
        columns = rows.orphan_columns(orphans)
        await insert_many(self._connection, "orphan", columns, on_conflict="DO NOTHING")

    async def alarms(self) -> Sequence[RaisedAlarm]:
        found = await self._rows("SELECT * FROM alarm_standing ORDER BY at_ms, code, scope, about")
        return [rows.raised_alarm_of(row) for row in found]

    async def add_proposal(self, proposal: Proposal) -> None:
        await self._execute(_ADD_PROPOSAL, **rows.proposal_parameters(proposal))

    async def approve_proposal(
        self, proposal_id: str, identity: str, reason: str, at_ms: int
    ) -> None:
        sql = (
            "INSERT INTO proposal_approval (proposal_id, identity, reason, at_ms)"
            " VALUES (:id, :identity, :reason, :at_ms)"
        )
        await self._execute(sql, id=proposal_id, identity=identity, reason=reason, at_ms=at_ms)

    async def execute_proposal(self, proposal_id: str, at_ms: int) -> None:
        sql = "UPDATE proposal SET executed_ms = :at_ms WHERE id = :id AND executed_ms IS NULL"
        await self._execute(sql, id=proposal_id, at_ms=at_ms)

    async def add_pause(self, pause: Pause) -> None:
        await self._execute(_ADD_PAUSE, **rows.pause_parameters(pause))

    async def lift_pause(self, pause_id: str, at_ms: int) -> None:
        sql = "UPDATE pause SET lifted_ms = :at_ms WHERE id = :id"
        await self._execute(sql, id=pause_id, at_ms=at_ms)

    async def save_limits(self, asset: AssetId | None, limits: Limits, at_ms: int) -> None:
        await self._execute(_SAVE_LIMITS, **rows.limits_parameters(asset, limits), at_ms=at_ms)

    async def add_corporate_action(self, action: CorporateAction) -> None:
        await self._execute(_ADD_ACTION, **rows.corporate_action_parameters(action))

    async def raise_high_water(self, name: str, value: int) -> None:
        await self._execute(_RAISE, name=name, value=value)

    async def alarm(self, alarms: Sequence[Alarm], at_ms: int) -> None:
        by_key = {(one.code, one.scope, one.about): one for one in alarms}
        told = list(by_key.values())
        fresh = await insert_many(
            self._connection,
            "alarm_standing",
            {
                "code": ("text", [one.code for one in told]),
                "scope": ("text", [one.scope for one in told]),
                "about": ("text", [one.about for one in told]),
                "detail": ("text", [one.detail for one in told]),
                "at_ms": ("bigint", [at_ms for _ in told]),
            },
            on_conflict="DO NOTHING",
            returning="code, scope, about",
        )
        await self.tell([by_key[row.code, row.scope, row.about] for row in fresh], at_ms)

    async def calm(self, code: str, scopes: Collection[str], about: str | None = None) -> None:
        sql = (
            "DELETE FROM alarm_standing WHERE code = :code AND scope = ANY(CAST(:scopes AS text[]))"
            " AND (CAST(:about AS text) IS NULL OR about = :about)"
        )
        await self._execute(sql, code=code, scopes=list(scopes), about=about)


_PROPOSALS = (
    "SELECT proposal.*, (SELECT array_agg(identity ORDER BY at_ms, identity)"
    " FROM proposal_approval WHERE proposal_id = proposal.id) AS approvals FROM proposal"
)
_ACTIONS = (
    "SELECT DISTINCT ON (asset, event_id) * FROM corporate_action"
    " WHERE asset = ANY(CAST(:assets AS bytea[])) ORDER BY asset, event_id, version DESC"
)
_ADD_PROPOSAL = (
    "INSERT INTO proposal (id, kind, subject, payload, reason, proposed_by, at_ms, expires_ms)"
    " VALUES (:id, :kind, :subject, :payload, :reason, :proposed_by, :at_ms, :expires_ms)"
)
_ADD_PAUSE = (
    "INSERT INTO pause (id, asset, source, destination, reason, paused_by, at_ms, until)"
    " VALUES (:id, :asset, :source, :destination, :reason, :paused_by, :at_ms, :until)"
)
_SAVE_LIMITS = (
    "INSERT INTO limits (asset, bucket_shares, bucket_refill, delays, manual_from, at_ms)"
    " VALUES (:asset, :bucket_shares, :bucket_refill, :delays, :manual_from, :at_ms)"
    " ON CONFLICT (asset) DO UPDATE SET bucket_shares = excluded.bucket_shares,"
    " bucket_refill = excluded.bucket_refill, delays = excluded.delays,"
    " manual_from = excluded.manual_from, at_ms = excluded.at_ms"
)
_ADD_ACTION = (
    "INSERT INTO corporate_action (asset, event_id, version, activates_at, multiplier, cancelled,"
    " paper, digest, key_id, signature) VALUES (:asset, :event_id, :version, :activates_at,"
    " :multiplier, :cancelled, :paper, :digest, :key_id, :signature)"
)
_RAISE = (
    "INSERT INTO high_water AS known (name, value) VALUES (:name, CAST(:value AS numeric))"
    " ON CONFLICT (name) DO UPDATE SET value = greatest(known.value, excluded.value)"
)

"""The guard's memory in PostgreSQL: one writer, set-based statements, one journal link a group.

Every unit of work is one transaction that first proves to hold the fenced lease, so a zombie of
this guard writes nothing (F46). Facts are appended, balances are moved by sums, and issuance goes
through one conditional UPDATE, the second lock on the cap (F49). No statement is per item.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from xstock_core.bucket import Bucket, BucketKey
from xstock_core.ids import AssetId, Domain, TransferId
from xstock_core.ledger import Account, Entry, EntryId, movements, parse_account
from xstock_core.observation import (
    BurnFinal,
    Observation,
    ObservationId,
    OrphanBurn,
)
from xstock_core.release import ExecutionKey, key_of
from xstock_runtime.database import Database, among, end_to_end, insert_many
from xstock_runtime.kafka.records import Record
from xstock_runtime.lease import AdvisoryLease
from xstock_runtime.outbox import Outbox
from xstock_supply_guard.adapters import rows
from xstock_supply_guard.adapters.linking import Unlinked
from xstock_supply_guard.adapters.postgres_journal import JournalUnit
from xstock_supply_guard.adapters.postgres_papers import PaperTables
from xstock_supply_guard.adapters.postgres_people import PeopleTables
from xstock_supply_guard.handlers.findings import refund_key
from xstock_supply_guard.model import (
    ORDER_STATES_RISING,
    Alarm,
    AttestationRecord,
    BelievedSupply,
    ClaimRecord,
    Executed,
    Halt,
    IssueRecord,
    Origin,
    Permit,
    Posted,
    Ruling,
    Scan,
    SupplyStep,
    Waiter,
)
from xstock_supply_guard.ports import GuardReads, GuardUnit
from xstock_supply_guard.wire import alarm_to_record, ruling_to_record
from xstock_wire.codec import observation_to_wire

T = TypeVar("T")
VERDICTS_TOPIC = "xstock.verdicts.v1"
ALARMS_TOPIC = "xstock.alarms.v1"


class PostgresGuardStore:
    """GuardStore over the guard's own database. Without a lease it is for one-off tools only."""

    def __init__(
        self, database: Database, *, guard_id: str, deployment_id: str, lease: AdvisoryLease | None
    ) -> None:
        self._database = database
        self._guard_id = guard_id
        self._deployment_id = deployment_id
        self._lease = lease
        self._outbox = Outbox()
        self._writer = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[GuardReads]:
        """A look at the committed state."""
        async with self._database.transaction() as connection:
            yield _Unit(self, connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[GuardUnit]:
        """A transaction of the one writer; raises Fatal FENCED, Transient."""
        async with self._writer, self._database.transaction() as connection:
            if self._lease is not None:
                await self._lease.assert_held(connection)
            unit = _Unit(self, connection)
            yield unit
            if self._lease is not None:
                unit.unlinked.check()

    async def publish(
        self, connection: AsyncConnection, rulings: Sequence[Ruling], at_ms: int
    ) -> None:
        """Leave rulings in the outbox of the caller's transaction."""
        records = [
            Record(
                VERDICTS_TOPIC,
                ruling.transfer_id,
                ruling_to_record(
                    ruling,
                    guard_id=self._guard_id,
                    deployment_id=self._deployment_id,
                    at_ms=at_ms,
                ).SerializeToString(deterministic=True),
            )
            for ruling in rulings
        ]
        await self._outbox.add(connection, records)

    async def tell(self, connection: AsyncConnection, alarms: Sequence[Alarm], at_ms: int) -> None:
        """Leave alarms in the outbox of the caller's transaction."""
        records = [
            Record(
                ALARMS_TOPIC,
                alarm.scope.encode(),
                alarm_to_record(
                    alarm,
                    guard_id=self._guard_id,
                    deployment_id=self._deployment_id,
                    at_ms=at_ms,
                ).SerializeToString(deterministic=True),
            )
            for alarm in alarms
        ]
        await self._outbox.add(connection, records)

    def record_of(self, key: ObservationId, observation: Observation) -> bytes:
        """The observation as it is kept."""
        record = observation_to_wire(
            observation, deployment_id=self._deployment_id, sequence=0, key=key
        )
        return record.SerializeToString(deterministic=True)


class _Unit(JournalUnit, PaperTables, PeopleTables):
    """One transaction."""

    def __init__(self, store: PostgresGuardStore, connection: AsyncConnection) -> None:
        self._store = store
        self._connection = connection
        self.unlinked = Unlinked()

    async def identity(self) -> str:
        return str((await self._rows(_IDENTITY))[0].identity)

    async def origin(self) -> Origin | None:
        sql = "SELECT identity, signing_from FROM origin ORDER BY id DESC LIMIT 1"
        found = await self._rows(sql)
        return Origin(found[0].identity, found[0].signing_from) if found else None

    async def scans(self) -> Mapping[Domain, Scan]:
        found = [rows.scan_of(row) for row in await self._rows("SELECT * FROM scan")]
        return {scan.chain: scan for scan in found}

    async def known_observations(self, ids: Collection[ObservationId]) -> set[ObservationId]:
        sql = among("SELECT id FROM observation WHERE id", "ids")
        return {ObservationId(bytes(row.id)) for row in await self._rows(sql, ids=end_to_end(ids))}

    async def known_burns(self, ids: Collection[TransferId]) -> set[TransferId]:
        sql = among("SELECT transfer_id FROM burn WHERE transfer_id", "ids")
        found = await self._rows(sql, ids=end_to_end(ids))
        return {TransferId(bytes(row.transfer_id)) for row in found}

    async def burns(self, ids: Collection[TransferId]) -> Mapping[TransferId, BurnFinal]:
        sql = among("SELECT * FROM burn WHERE transfer_id", "ids")
        found = [rows.burn_of(row) for row in await self._rows(sql, ids=end_to_end(ids))]
        return {burn.transfer_id: burn for burn in found}

    async def burns_of(self, keys: Collection[ExecutionKey]) -> Mapping[ExecutionKey, BurnFinal]:
        sql = among("SELECT * FROM burn WHERE nonce", "nonces")
        return await self._keyed(sql, keys, rows.burn_of, lambda one: key_of(one.message))

    async def burns_refunded_by(
        self, keys: Collection[ExecutionKey]
    ) -> Mapping[ExecutionKey, BurnFinal]:
        sql = among("SELECT * FROM burn WHERE refund_nonce", "nonces")
        return await self._keyed(sql, keys, rows.burn_of, refund_key)

    async def executions(self, keys: Collection[ExecutionKey]) -> Mapping[ExecutionKey, Executed]:
        sql = among("SELECT * FROM execution WHERE nonce", "nonces")
        return await self._keyed(sql, keys, rows.executed_of, lambda one: one.key)

    async def _keyed(
        self,
        sql: str,
        keys: Collection[ExecutionKey],
        read: Callable[[Any], T],
        name: Callable[[T], ExecutionKey],
    ) -> dict[ExecutionKey, T]:
        """What stands under these keys. The database is asked for the nonces, of any lane: a
        handful more rows, where a whole key of each would be three values to send."""
        named = await self._rows(sql, nonces=end_to_end([key.nonce for key in keys]))
        found = {name(one): one for one in map(read, named)}
        return {key: found[key] for key in keys if key in found}

    async def unmatched(
        self, source: Domain | None = None, asset: AssetId | None = None
    ) -> Sequence[Executed]:
        sql, given = "SELECT * FROM execution WHERE NOT matched", dict[str, Any]()
        # SECURITY: chosen before it is cut off: a backlog of one chain must hide no other's.
        if source is not None:
            sql, given["source"] = f"{sql} AND source = :source", int(source)
        if asset is not None:
            sql, given["asset"] = f"{sql} AND asset = :asset", asset
        found = await self._rows(f"{sql} ORDER BY recorded_ms LIMIT 1000", **given)
        return [rows.executed_of(row) for row in found]

    async def unexplained(
        self, assets: Collection[AssetId]
    ) -> Mapping[tuple[AssetId, Domain], int]:
        sql = (
            "SELECT asset, source, sum(amount) AS amount FROM execution WHERE NOT matched"
            " AND released AND asset = ANY(CAST(:assets AS bytea[])) GROUP BY asset, source"
        )
        return {
            (AssetId(bytes(row.asset)), rows.DOMAINS[row.source]): int(row.amount)
            for row in await self._rows(sql, assets=list(assets))
        }

    async def balances(self, assets: Collection[AssetId]) -> dict[tuple[AssetId, Account], int]:
        sql = (
            "SELECT asset, account, amount FROM balance WHERE asset = ANY(CAST(:assets AS bytea[]))"
        )
        return _balances(await self._rows(sql, assets=list(assets)))

    async def known_entries(self, ids: Collection[EntryId]) -> set[EntryId]:
        sql = among("SELECT id FROM ledger_entry WHERE id", "ids")
        return {EntryId(bytes(row.id)) for row in await self._rows(sql, ids=end_to_end(ids))}

    async def supply_at(
        self, chain: Domain, number: int, assets: Collection[AssetId]
    ) -> Mapping[AssetId, int]:
        found = await self._rows(_SUPPLY_AT, chain=int(chain), number=number, assets=list(assets))
        return {AssetId(bytes(row.asset)): int(row.supply) for row in found}

    async def burned_above(
        self, places: Mapping[tuple[AssetId, Domain], int]
    ) -> Mapping[tuple[AssetId, Domain], int]:
        parameters = {
            "assets": [asset for asset, _ in places],
            "chains": [int(chain) for _, chain in places],
            "numbers": list(places.values()),
        }
        return {
            (AssetId(bytes(row.asset)), rows.DOMAINS[row.chain]): int(row.burned)
            for row in await self._rows(_BURNED_ABOVE, **parameters)
        }

    async def claims(self, ids: Collection[TransferId]) -> Mapping[TransferId, ClaimRecord]:
        sql = among("SELECT * FROM claim WHERE transfer_id", "ids")
        found = [rows.claim_of(row) for row in await self._rows(sql, ids=end_to_end(ids))]
        return {one.ruling.transfer_id: one for one in found}

    async def issues(
        self, numbers: Collection[tuple[AssetId, int]]
    ) -> Mapping[tuple[AssetId, int], IssueRecord]:
        found = await self._rows(
            _ISSUES, assets=[asset for asset, _ in numbers], numbers=[n for _, n in numbers]
        )
        return {(one.asset, one.number): one for one in map(rows.issue_of, found)}

    async def issues_expired(self, destination: Domain, time: int) -> Sequence[IssueRecord]:
        sql = (
            "SELECT * FROM issue_order WHERE state IN ('OPEN', 'RESERVED')"
            " AND destination = :destination AND expiry < :time ORDER BY asset, number LIMIT 1000"
        )
        found = await self._rows(sql, destination=int(destination), time=time)
        return [rows.issue_of(row) for row in found]

    async def reserved_through(self, assets: Collection[AssetId]) -> Mapping[AssetId, int]:
        sql = "SELECT * FROM issue_sequence WHERE asset = ANY(CAST(:assets AS bytea[]))"
        return {
            AssetId(bytes(row.asset)): int(row.reserved_through)
            for row in await self._rows(sql, assets=list(assets))
        }

    async def attestations(
        self, assets: Collection[AssetId]
    ) -> Mapping[AssetId, AttestationRecord]:
        found = [
            rows.attestation_of(row) for row in await self._rows(_ATTESTED, assets=list(assets))
        ]
        return {one.attestation.asset: one for one in found}

    async def halts(self) -> Sequence[Halt]:
        return [rows.halt_of(row) for row in await self._rows(_HALTS)]

    async def permit(self, digest: bytes) -> Permit | None:
        found = await self._rows("SELECT * FROM permit WHERE digest = :digest", digest=digest)
        return rows.permit_of(found[0]) if found else None

    async def readings(self, assets: Collection[AssetId] | None = None) -> Sequence[BelievedSupply]:
        if assets is None:
            found = await self._rows("SELECT * FROM reading ORDER BY asset, chain")
        else:
            sql = "SELECT * FROM reading WHERE asset = ANY(CAST(:assets AS bytea[]))"
            found = await self._rows(sql, assets=list(assets))
        return [rows.reading_of(row) for row in found]

    async def moved_outside(self) -> Mapping[Domain, int]:
        found = await self._rows(_MOVED_OUTSIDE)
        return {rows.DOMAINS[row.chain]: row.last for row in found}

    async def buckets(self, keys: Collection[BucketKey]) -> Mapping[BucketKey, Bucket]:
        sql = "SELECT * FROM bucket WHERE asset = ANY(CAST(:assets AS bytea[]))"
        found = {}
        for row in await self._rows(sql, assets=list({key.asset for key in keys})):
            source = rows.DOMAINS[row.source] if row.source else None
            key = BucketKey(AssetId(bytes(row.asset)), rows.DOMAINS[row.destination], source)
            found[key] = Bucket(
                int(row.capacity), int(row.refill_per_second), int(row.level), row.as_of
            )
        return {key: found[key] for key in keys if key in found}

    async def waiting(
        self, keys: Collection[BucketKey], asked_since_ms: int, limit: int
    ) -> Mapping[BucketKey, tuple[TransferId, ...]]:
        found: dict[BucketKey, list[TransferId]] = {}
        listed = list(keys)
        parameters = {
            "assets": [key.asset for key in listed],
            "destinations": [int(key.destination) for key in listed],
            "sources": [int(key.source or 0) for key in listed],
        }
        for row in await self._rows(_WAITING, **parameters, asked=asked_since_ms, limit=limit):
            key = listed[row.place - 1]
            found.setdefault(key, []).append(TransferId(bytes(row.transfer_id)))
        return {key: tuple(queue) for key, queue in found.items()}

    async def parked(self, after: TransferId | None, limit: int) -> Sequence[ClaimRecord]:
        sql = (
            "SELECT * FROM claim WHERE outcome = 'PARKED' AND transfer_id > :after"
            " ORDER BY transfer_id LIMIT :limit"
        )
        found = await self._rows(sql, after=after or b"", limit=limit)
        return [rows.claim_of(row) for row in found]

    async def add_origin(self, origin: Origin, at_ms: int) -> None:
        sql = (
            "INSERT INTO origin (identity, signing_from, at_ms)"
            " VALUES (:identity, :signing_from, :at_ms)"
        )
        parameters = {
            "identity": origin.identity,
            "signing_from": origin.signing_from,
            "at_ms": at_ms,
        }
        await self._execute(sql, **parameters)

    async def save_scan(self, scan: Scan) -> None:
        await self._execute(_SAVE_SCAN, **rows.scan_parameters(scan))
        if scan.through is not None:
            self.unlinked.through[scan.chain] = scan.through

    async def add_observations(self, observations: Mapping[ObservationId, Observation]) -> None:
        found = observations.values()
        burns = [one for one in found if isinstance(one, BurnFinal)]
        await insert_many(
            self._connection,
            "observation",
            {
                "id": ("bytea", list(observations)),
                "kind": ("text", [type(one).__name__ for one in found]),
                "chain": ("integer", [int(one.place.block.chain) for one in found]),
                "block_number": ("bigint", [one.place.block.number for one in found]),
                "record": ("bytea", [self._store.record_of(*one) for one in observations.items()]),
            },
        )
        await insert_many(
            self._connection,
            "burn",
            rows.burn_columns(burns),
            on_conflict="(transfer_id) DO NOTHING",
        )
        await self.add_orphans([one for one in found if isinstance(one, OrphanBurn)])

    async def add_executions(self, executions: Sequence[Executed]) -> None:
        await insert_many(self._connection, "execution", rows.execution_columns(executions))

    async def mark_matched(self, keys: Collection[ExecutionKey]) -> None:
        await self._execute(_MARK_MATCHED, **rows.key_columns(keys))

    async def post(self, posted: Sequence[Posted], steps: Sequence[SupplyStep]) -> None:
        await insert_many(self._connection, "ledger_entry", rows.entry_columns(posted))
        entries = [one.entry for one in posted]
        self.unlinked.posted(entries, await self._move(entries))
        await insert_many(
            self._connection,
            "supply_step",
            {
                "chain": ("integer", [int(one.chain) for one in steps]),
                "asset": ("bytea", [one.asset for one in steps]),
                "number": ("bigint", [one.number for one in steps]),
                "supply": ("numeric", [one.supply for one in steps]),
                "burned": ("numeric", [one.burned for one in steps]),
            },
            on_conflict=_REPLACE_STEP,
        )

    async def _move(self, entries: Sequence[Entry]) -> dict[tuple[AssetId, Account], int]:
        """Move the balances; what the accounts hold after it."""
        net = sorted(movements(entries).items(), key=lambda item: (item[0][0], item[0][1].text))
        parameters = {
            "assets": [asset for (asset, _), _ in net],
            "accounts": [account.text for (_, account), _ in net],
            "changes": [change for _, change in net],
        }
        return _balances(await self._rows(_MOVE, **parameters)) if net else {}

    async def reserve_issuance(self, entry: Entry, limit: int) -> bool:
        parameters = {"asset": entry.asset, "amount": entry.amount, "limit": limit}
        await self._execute(_OPEN_CUSTODY, asset=entry.asset)
        # SECURITY: one statement decides and moves; two statements would race (F49).
        custody = await self._rows(_RESERVE, **parameters)
        if not custody:
            return False
        opened = await self._rows(_ADD_OPEN_ISSUANCE, asset=entry.asset, amount=entry.amount)
        self.unlinked.posted([entry], _balances([*custody, *opened]))
        await insert_many(
            self._connection, "ledger_entry", rows.entry_columns([Posted(entry, None)])
        )
        return True

    async def save_claims(self, claims: Sequence[ClaimRecord]) -> None:
        await insert_many(
            self._connection, "claim", rows.claim_columns(claims), on_conflict=_REPLACE_CLAIM
        )

    async def save_issues(self, issues: Sequence[IssueRecord]) -> None:
        await insert_many(
            self._connection, "issue_order", rows.issue_columns(issues), on_conflict=_REPLACE_ISSUE
        )

    async def save_reserved_through(self, numbers: Mapping[AssetId, int]) -> None:
        await insert_many(
            self._connection,
            "issue_sequence",
            {
                "asset": ("bytea", list(numbers)),
                "reserved_through": ("numeric", list(numbers.values())),
            },
            on_conflict="(asset) DO UPDATE SET reserved_through = excluded.reserved_through",
        )

    async def add_attestation(self, record: AttestationRecord) -> None:
        await self._execute(_ADD_ATTESTATION, **rows.attestation_parameters(record))
        said = record.attestation
        self.unlinked.attested[said.asset] = said.sequence

    async def add_halt(self, halt: Halt) -> None:
        parameters = {
            "id": halt.id,
            "asset": halt.asset,
            "chain": int(halt.chain) if halt.chain is not None else None,
            "reason": halt.reason,
            "latched_by": halt.by,
            "at_ms": halt.at_ms,
        }
        await self._execute(_ADD_HALT, **parameters)

    async def add_approval(self, halt_id: str, identity: str, reason: str, at_ms: int) -> None:
        sql = (
            "INSERT INTO halt_approval (halt_id, identity, reason, at_ms)"
            " VALUES (:halt_id, :identity, :reason, :at_ms)"
        )
        parameters = {"halt_id": halt_id, "identity": identity, "reason": reason, "at_ms": at_ms}
        await self._execute(sql, **parameters)

    async def clear_halt(self, halt_id: str, at_ms: int) -> None:
        sql = "UPDATE halt SET cleared_ms = :at_ms WHERE id = :id"
        await self._execute(sql, id=halt_id, at_ms=at_ms)

    async def add_permit(self, permit: Permit) -> None:
        await self._execute(_ADD_PERMIT, **rows.permit_parameters(permit))

    async def save_readings(self, readings: Sequence[BelievedSupply]) -> None:
        await insert_many(
            self._connection,
            "reading",
            rows.reading_columns(readings),
            on_conflict=_REPLACE_READING,
        )

    async def save_buckets(self, buckets: Mapping[BucketKey, Bucket]) -> None:
        keys, levels = list(buckets), list(buckets.values())
        await insert_many(
            self._connection,
            "bucket",
            {
                "asset": ("bytea", [key.asset for key in keys]),
                "destination": ("integer", [int(key.destination) for key in keys]),
                "source": ("integer", [int(key.source or 0) for key in keys]),
                "capacity": ("numeric", [one.capacity for one in levels]),
                "refill_per_second": ("numeric", [one.refill_per_second for one in levels]),
                "level": ("numeric", [one.level for one in levels]),
                "as_of": ("bigint", [one.as_of for one in levels]),
            },
            on_conflict=_REPLACE_BUCKET,
        )

    async def save_waiting(
        self, waiters: Sequence[Waiter], gone: Collection[TransferId], asked_since_ms: int
    ) -> None:
        await insert_many(
            self._connection,
            "waiting",
            {
                "transfer_id": ("bytea", [one.transfer_id for one in waiters]),
                "asset": ("bytea", [one.asset for one in waiters]),
                "destination": ("integer", [int(one.key.destination) for one in waiters]),
                "source": ("integer", [int(one.key.source) for one in waiters]),
                "nonce": ("bytea", [one.key.nonce for one in waiters]),
                "since": ("bigint", [one.since for one in waiters]),
                "asked_ms": ("bigint", [one.asked_ms for one in waiters]),
            },
            on_conflict="(transfer_id) DO UPDATE SET asked_ms = excluded.asked_ms",
        )
        sql = (
            "DELETE FROM waiting WHERE transfer_id = ANY(CAST(:gone AS bytea[]))"
            " OR asked_ms < :asked"
        )
        await self._execute(sql, gone=list(gone), asked=asked_since_ms)

    async def add_evidence(self, chain: Domain, code: str, detail: str, at_ms: int) -> None:
        sql = (
            "INSERT INTO evidence (chain, code, detail, at_ms)"
            " VALUES (:chain, :code, :detail, :at_ms)"
        )
        parameters = {"chain": int(chain), "code": code, "detail": detail, "at_ms": at_ms}
        await self._execute(sql, **parameters)

    async def publish(self, rulings: Sequence[Ruling], at_ms: int) -> None:
        await self._store.publish(self._connection, rulings, at_ms)

    async def tell(self, alarms: Sequence[Alarm], at_ms: int) -> None:
        await self._store.tell(self._connection, alarms, at_ms)


def _balances(found: Sequence[Any]) -> dict[tuple[AssetId, Account], int]:
    return {
        (AssetId(bytes(row.asset)), parse_account(row.account)): int(row.amount) for row in found
    }


_IDENTITY = (
    "SELECT concat_ws('/', system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),"
    " (SELECT oid FROM pg_database WHERE datname = current_database())) AS identity"
    " FROM pg_control_system()"
)
"""The cluster, its timeline (a promotion or point-in-time recovery begins one), the database."""
_KEYS = (
    "unnest(CAST(:destinations AS integer[]), CAST(:sources AS integer[]),"
    " CAST(:nonces AS bytea[])) AS wanted(destination, source, nonce)"
)
_MARK_MATCHED = (
    f"UPDATE execution SET matched = true FROM {_KEYS}"  # noqa: S608 - constants
    " WHERE execution.destination = wanted.destination AND execution.source = wanted.source"
    " AND execution.nonce = wanted.nonce"
)
_SUPPLY_AT = (
    "SELECT wanted.asset, step.supply FROM unnest(CAST(:assets AS bytea[])) AS wanted(asset)"
    " CROSS JOIN LATERAL (SELECT supply FROM supply_step WHERE chain = :chain"
    " AND asset = wanted.asset AND number <= :number ORDER BY number DESC LIMIT 1) AS step"
)
_BURNED_ABOVE = (
    "SELECT wanted.asset, wanted.chain, sum(step.burned) AS burned"
    " FROM unnest(CAST(:assets AS bytea[]), CAST(:chains AS integer[]),"
    " CAST(:numbers AS bigint[])) AS wanted(asset, chain, number)"
    " JOIN supply_step AS step ON step.chain = wanted.chain AND step.asset = wanted.asset"
    " AND step.number > wanted.number WHERE step.burned > 0 GROUP BY wanted.asset, wanted.chain"
)
_REPLACE_STEP = (
    "(chain, asset, number) DO UPDATE SET supply = excluded.supply,"
    " burned = supply_step.burned + excluded.burned"
)
_WAITING = (
    "SELECT wanted.place, queue.transfer_id FROM unnest(CAST(:assets AS bytea[]),"
    " CAST(:destinations AS integer[]), CAST(:sources AS integer[])) WITH ORDINALITY"
    " AS wanted(asset, destination, source, place) CROSS JOIN LATERAL"
    " (SELECT transfer_id, since FROM waiting WHERE waiting.asset = wanted.asset"
    " AND waiting.destination = wanted.destination AND wanted.source IN (0, waiting.source)"
    " AND asked_ms >= :asked AND NOT EXISTS (SELECT 1 FROM execution"
    " WHERE execution.nonce = waiting.nonce AND execution.source = waiting.source"
    " AND execution.destination = waiting.destination)"
    " ORDER BY since, transfer_id LIMIT :limit) AS queue"
    " ORDER BY wanted.place, queue.since, queue.transfer_id"
)
_ISSUES = (
    "SELECT issue_order.* FROM unnest(CAST(:assets AS bytea[]), CAST(:numbers AS numeric[]))"
    " AS wanted(asset, number) JOIN issue_order USING (asset, number)"
)
_ATTESTED = (
    "SELECT said.* FROM unnest(CAST(:assets AS bytea[])) AS wanted(asset) CROSS JOIN LATERAL"
    " (SELECT * FROM attestation WHERE attestation.asset = wanted.asset"
    " ORDER BY sequence DESC LIMIT 1) AS said"
)
_MOVED_OUTSIDE = (
    "SELECT chain, max(block_number) AS last FROM observation WHERE kind = 'SupplyMoved'"
    " GROUP BY chain"
)
_HALTS = (
    "SELECT halt.*, (SELECT array_agg(identity ORDER BY at_ms, identity) FROM halt_approval"
    " WHERE halt_id = halt.id) AS approvals FROM halt WHERE cleared_ms IS NULL ORDER BY at_ms, id"
)
_SAVE_SCAN = (
    "INSERT INTO scan (chain, cursor, through_number, through_hash, through_time, head_number,"
    " head_hash, head_time, dissent_since_ms) VALUES (:chain, :cursor, :through_number,"
    " :through_hash, :through_time, :head_number, :head_hash, :head_time, :dissent_since_ms)"
    " ON CONFLICT (chain) DO UPDATE SET cursor = excluded.cursor,"
    " through_number = excluded.through_number, through_hash = excluded.through_hash,"
    " through_time = excluded.through_time, head_number = excluded.head_number,"
    " head_hash = excluded.head_hash, head_time = excluded.head_time,"
    " dissent_since_ms = excluded.dissent_since_ms"
)
_MOVE = (
    "INSERT INTO balance AS held (asset, account, amount) SELECT * FROM unnest("
    "CAST(:assets AS bytea[]), CAST(:accounts AS text[]), CAST(:changes AS numeric[]))"
    " ON CONFLICT (asset, account) DO UPDATE SET amount = held.amount + excluded.amount"
    " RETURNING asset, account, amount"
)
_OPEN_CUSTODY = (
    "INSERT INTO balance (asset, account, amount) VALUES (:asset, 'custody', 0)"
    " ON CONFLICT (asset, account) DO NOTHING"
)
_RESERVE = (
    "UPDATE balance SET amount = amount - CAST(:amount AS numeric) WHERE asset = :asset"
    " AND account = 'custody' AND -amount + CAST(:amount AS numeric) <= CAST(:limit AS numeric)"
    " RETURNING asset, account, amount"
)
_ADD_OPEN_ISSUANCE = (
    "INSERT INTO balance AS held (asset, account, amount)"
    " VALUES (:asset, 'open_issuance', CAST(:amount AS numeric))"
    " ON CONFLICT (asset, account) DO UPDATE SET amount = held.amount + excluded.amount"
    " RETURNING asset, account, amount"
)
_REPLACE_CLAIM = (
    "(transfer_id) DO UPDATE SET outcome = excluded.outcome, reason = excluded.reason,"
    " until = excluded.until, detail = excluded.detail, sequence = excluded.sequence,"
    " at_ms = excluded.at_ms, expiry = excluded.expiry"
)
_RISING = "ARRAY[" + ", ".join(f"'{state.value}'" for state in ORDER_STATES_RISING) + "]"
# SECURITY: a held order must not take the place of the one granted under its number.
_REPLACE_ISSUE = (
    "(asset, number) DO UPDATE SET transfer_id = excluded.transfer_id, state = excluded.state,"
    " expiry = excluded.expiry, message = excluded.message, destination = excluded.destination"
    f" WHERE array_position({_RISING}, excluded.state)"
    f" > array_position({_RISING}, issue_order.state)"
)
_REPLACE_READING = (
    "(chain, asset) DO UPDATE SET block_number = excluded.block_number,"
    " block_hash = excluded.block_hash, block_time = excluded.block_time,"
    " token_units = excluded.token_units, inventory_units = excluded.inventory_units,"
    " decimals = excluded.decimals, multiplier = excluded.multiplier,"
    " multiplier_epoch = excluded.multiplier_epoch, paused = excluded.paused,"
    " ledger = excluded.ledger, residue_units = excluded.residue_units,"
    " issuer_inventory_units = excluded.issuer_inventory_units,"
    " inventory_owners = excluded.inventory_owners"
)
_REPLACE_BUCKET = (
    "(asset, destination, source) DO UPDATE SET capacity = excluded.capacity,"
    " refill_per_second = excluded.refill_per_second, level = excluded.level,"
    " as_of = excluded.as_of"
)
_ADD_ATTESTATION = (
    "INSERT INTO attestation (asset, sequence, held_units, held_decimals, multiplier,"
    " multiplier_epoch, as_of, paper, digest, key_id, signature, inventory)"
    " VALUES (:asset, :sequence, :held_units, :held_decimals, :multiplier, :multiplier_epoch,"
    " :as_of, :paper, :digest, :key_id, :signature, :inventory)"
)
_ADD_HALT = (
    "INSERT INTO halt (id, asset, chain, reason, latched_by, at_ms)"
    " VALUES (:id, :asset, :chain, :reason, :latched_by, :at_ms)"
)
_ADD_PERMIT = (
    "INSERT INTO permit (digest, destination, epoch, deadline, items, signature, signer, at_ms)"
    " VALUES (:digest, :destination, :epoch, :deadline, :items, :signature, :signer, :at_ms)"
)

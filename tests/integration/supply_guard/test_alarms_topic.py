"""Alarms leave PostgreSQL by the outbox: one record each, keyed by what it is about (INV-14)."""

from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.supply_guard.conftest import GuardDatabase
from tests.services.supply_guard.people import decided, final_burn, paused, ruled
from tests.services.supply_guard.world import DEPLOYMENT, SHARE, World, id_of
from xstock_supply_guard.adapters.postgres import ALARMS_TOPIC, PostgresGuardStore
from xstock_supply_guard.model import Alarm, ProposalKind
from xstock_wire.v1 import records_pb2


async def test_alarms__of_one_story__one_record_each_with_its_key(
    guard_database: GuardDatabase,
) -> None:
    opened = await guard_database.open()
    world = World(store=opened.store)
    await world.funded()
    ruled(world, manual_from=SHARE)
    claim = await final_burn(world)
    for _ in range(3):
        await world.outcome(claim)
    await paused(world)
    await paused(world)
    await decided(world, ProposalKind.RELEASE, id_of(claim.message))
    found: list[Any] = []
    async with opened.database.transaction() as connection:
        sql = text("SELECT key, value FROM outbox WHERE topic = :topic ORDER BY id")
        found = list((await connection.execute(sql, {"topic": ALARMS_TOPIC})).all())
    records = [records_pb2.AlarmRecord.FromString(bytes(row.value)) for row in found]
    assert [one.code for one in records] == ["PARKED", "PAUSED", "PROPOSED"]
    assert [bytes(row.key).decode() for row in found] == [one.scope for one in records]
    assert records[0].scope == f"transfer/{id_of(claim.message).hex()}"
    assert {(one.deployment_id, one.service) for one in records} == {(DEPLOYMENT, "guard-1")}
    assert all(one.at_ms == world.clock.unix_ms() for one in records)


async def test_alarm__of_a_transaction_that_failed__never_leaves(
    guard_database: GuardDatabase,
) -> None:
    opened = await guard_database.open()
    world = World(store=opened.store)
    await world.funded()
    with pytest.raises(RuntimeError):
        await _killed(opened.store)
    async with opened.database.transaction() as connection:
        sql = text("SELECT count(*) FROM outbox WHERE topic = :topic")
        assert await connection.scalar(sql, {"topic": ALARMS_TOPIC}) == 0
    async with opened.store.read() as books:
        assert await books.alarms() == []


async def _killed(store: PostgresGuardStore) -> None:
    async with store.write() as unit:
        await unit.alarm([Alarm("X_CODE", "all", "words")], 1)
        raise RuntimeError("killed here")

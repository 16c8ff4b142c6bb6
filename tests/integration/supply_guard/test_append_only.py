"""The past in the database: nobody changes it, and whoever does all the same is found.

The runtime role lacks the rights, a trigger refuses the owner, and with both taken away the
start-up check and the offline verifier still tell.
"""

from pathlib import Path

import asyncpg
import pytest

from tests.audit import journals
from tests.audit.test_verify_journal import checker
from tests.integration.supply_guard.conftest import ROLE, GuardDatabase
from tests.services.supply_guard.world import SHARE, World
from xstock_supply_guard.adapters.tables import APPEND_ONLY
from xstock_supply_guard.handlers.halting import resume
from xstock_supply_guard.handlers.origin import begin

__all__ = ["checker"]


async def owner(database: GuardDatabase) -> asyncpg.Connection:
    """A session of the database's owner, who is a superuser here."""
    return await asyncpg.connect(database.database.url(driver="postgresql"), timeout=10)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("role", ["runtime", "owner", "replica"])
async def test_append_only__changed_by_whomever__is_refused(
    guard_database: GuardDatabase, table: str, role: str
) -> None:
    """Rights stop the runtime role, a trigger the owner, also in replica mode."""
    user = {"user": ROLE} if role == "runtime" else {}
    url = guard_database.database.url(driver="postgresql", **user)
    connection = await asyncpg.connect(url, timeout=10)
    try:
        if role == "replica":
            await connection.execute("SET session_replication_role = replica")
        column = await connection.fetchval(
            "SELECT column_name FROM information_schema.columns WHERE table_name = $1"
            " AND is_identity = 'NO' LIMIT 1",
            table,
        )
        for statement in (
            f"UPDATE {table} SET {column} = {column}",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def edit(database: GuardDatabase, table: str, statement: str) -> None:
    """What somebody with the owner's password does: triggers off, a row changed, triggers on."""
    connection = await owner(database)
    try:
        if table in APPEND_ONLY:
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
        done = await connection.execute(statement)
        assert done.startswith("UPDATE ")
        assert done != "UPDATE 0"
        if table in APPEND_ONLY:
            await connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")
    finally:
        await connection.close()


async def restarted(database: GuardDatabase, world: World) -> World:
    """The guard's next process over the same database, caught up with every chain."""
    world.store = (await database.open("first")).store
    world.desk = world.new_desk()
    await begin(world.desk)
    await world.scan()
    return world


EDITS = {
    "balance": "UPDATE balance SET amount = amount + 1 WHERE account = 'supply/1'",
    "ledger_entry": "UPDATE ledger_entry SET amount = amount + 1 WHERE kind = 'BURN'",
    "journal": "UPDATE journal SET lines = replace(lines, 'GRANTED', 'REFUSED') WHERE"
    " lines LIKE '%GRANTED%'",
    "journal_balance": "UPDATE journal_balance SET amount = amount + 1 WHERE (asset, account,"
    " sequence) IN (SELECT asset, account, max(sequence) FROM journal_balance GROUP BY 1, 2)",
}


@pytest.mark.parametrize("table", EDITS)
async def test_start__after_an_edit_in_the_database__halts_everything_and_signs_nothing(
    guard_database: GuardDatabase, table: str
) -> None:
    """A balance, an entry, a link or a link's balance: the books no longer say one thing."""
    world = World(store=(await guard_database.open()).store)
    await world.funded(100 * SHARE)
    message = await world.granted(SHARE)
    await edit(guard_database, table, EDITS[table])
    await restarted(guard_database, world)
    assert [halt.split(":")[0] for halt in await world.halts()] == ["BOOKS_EDITED"]
    answer = await world.sign(message)
    assert (answer.signature, answer.refusals[0].reason) == (b"", "HALTED")


async def test_start__books_untouched__halts_nothing(guard_database: GuardDatabase) -> None:
    world = World(store=(await guard_database.open()).store)
    await journals.history(world)
    await restarted(guard_database, world)
    assert await world.halts() == []


async def test_resume__balance_still_edited__is_refused_until_it_fits_again(
    guard_database: GuardDatabase,
) -> None:
    """F92: two people are not enough while the reconcile is red."""
    world = World(store=(await guard_database.open()).store)
    await world.funded(100 * SHARE)
    await edit(guard_database, "balance", EDITS["balance"])
    await restarted(guard_database, world)
    async with world.store.read() as books:
        halt_id = (await books.halts())[0].id
    await resume(world.desk, halt_id=halt_id, by="ann", reason="looked")
    cleared, missing = await resume(world.desk, halt_id=halt_id, by="bob", reason="looked")
    assert not cleared
    assert "the database was edited" in missing
    await edit(guard_database, "balance", EDITS["balance"].replace("+ 1", "- 1"))
    cleared, _ = await resume(world.desk, halt_id=halt_id, by="bob", reason="put back")
    assert cleared


@pytest.mark.parametrize(
    "statement",
    [
        EDITS["journal"],
        "UPDATE journal SET lines = replace(lines, 'amount=4000000000', 'amount=4000000001')"
        " WHERE lines LIKE '%amount=4000000000%'",
        "UPDATE journal SET at_ms = at_ms + 1 WHERE sequence = 2",
        "UPDATE journal SET previous = digest WHERE sequence = 3",
    ],
)
async def test_journal__edited_in_the_database__the_offline_verifier_names_the_link(
    guard_database: GuardDatabase, tmp_path: Path, checker: object, statement: str
) -> None:
    """With triggers and rights taken away the chain of hashes is what is left."""
    world = World(store=(await guard_database.open()).store)
    await journals.history(world)
    whole = await journals.export(world, tmp_path / "whole.jsonl")
    assert checker.main([str(whole)]) == checker.OK  # type: ignore[attr-defined]
    await edit(guard_database, "journal", statement)
    edited = await journals.export(world, tmp_path / "edited.jsonl")
    with pytest.raises(checker.Wrong, match=r"link \d+: it"):  # type: ignore[attr-defined]
        checker.verify(edited)  # type: ignore[attr-defined]


async def test_proof__of_every_link__is_the_same_from_postgresql_and_from_the_journal(
    guard_database: GuardDatabase, tmp_path: Path, checker: object
) -> None:
    """A past moment is looked up, not recomputed; the verifier recomputes it."""
    world = World(store=(await guard_database.open()).store)
    await journals.history(world)
    journal = await journals.export(world, tmp_path / "journal.jsonl")
    times = sorted({one["at_ms"] for one in journals.read(journal)[1:]})
    proofs = [await journals.prove(world, tmp_path / f"{at}.json", at) for at in times]
    proofs.append(await journals.prove(world, tmp_path / "now.json"))
    keys = {"guard-1": journals.PAPER_KEY.public_key}
    report = checker.verify(journal, proofs, keys)  # type: ignore[attr-defined]
    assert len(report.proofs) == len(times) + 1

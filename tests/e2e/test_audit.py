"""What auditors and the security agent do, on real chains and in real processes."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.e2e.conftest import issuer_key
from xstock_cli.demo_guards import GuardActs
from xstock_cli.hands import RELEASED, Hands
from xstock_devnet.engines.postgres import DEV_PASSWORD
from xstock_devnet.plan import GUARDS
from xstock_devnet.world import World
from xstock_runtime.migrations import grant_runtime, upgrade
from xstock_supply_guard.adapters.tables import APPEND_ONLY

STOLEN = "MSTRx"
"""Nobody else's: the agent's pause on the chains outlasts the test."""
SHARES = 25 * 10**8
REBUILT = "guard_rebuilt"


async def _run(*words: str, environment: dict[str, str] | None = None) -> str:
    """A command in a process of its own; what it answered."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *words),
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 240)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (words, err.decode()[-2000:], out.decode()[-500:])
    return out.decode()


async def _hashes(world: World) -> dict[str, Any]:
    said = await _run(
        "xstock_cli", "audit", "hash", "--json", "--world", str(world.folder / "world.json")
    )
    found: dict[str, Any] = json.loads(said)["guards"]
    return found


async def _settled(world: World, hands: Hands) -> dict[str, Any]:
    """Every guard's hash, once no transfer moves and all have booked alike."""
    found: dict[str, Any] = {}

    async def alike() -> bool:
        nonlocal found
        found = await _hashes(world)
        return len({one["ledger_hash"] for one in found.values()}) == 1

    await hands.poll(alike, seconds=60, waiting_for="the guards to have booked the same facts")
    return found


async def test_guard__rebuilt_from_the_chains_and_an_export__ends_in_the_same_ledger_hash(
    world: World, hands: Hands, tmp_path: Path
) -> None:
    known = await _settled(world, hands)
    export = tmp_path / "guard-1.journal"
    place = ("--world", str(world.folder / "world.json"))
    await _run("xstock_cli", "audit", "export", "--guard", "guard-1", "--out", str(export), *place)
    await world.postgres.create_database(REBUILT, owner="guard_1_owner")
    url = world.postgres.url(REBUILT, user="guard_1_owner")
    await upgrade(url, "xstock_supply_guard")
    await grant_runtime(url, "guard_1", append_only_tables=APPEND_ONLY)
    environment = world.environment(world.processes["guard-1"])
    environment["XSTOCK_GUARD_DATABASE_URL"] = world.postgres.url(
        REBUILT, user="guard_1", password=DEV_PASSWORD
    )
    said = await _run(
        *("xstock_supply_guard", "rebuild", "--papers", str(export)), environment=environment
    )
    rebuilt = json.loads(said.splitlines()[-1])
    now = await _settled(world, hands)
    wanted = {known["guard-1"]["ledger_hash"], now["guard-1"]["ledger_hash"]}
    assert rebuilt["ledger_hash"] in wanted, rebuilt


async def test_stolen_minter__on_a_real_chain__is_halted_paused_and_cleared_by_two(
    world: World, hands: Hands
) -> None:
    """F55, F82, F92: minted past the bridge: every guard halts, the agent's own process pauses the
    asset on all six chains, two people cannot clear it before the books are green."""
    number = await hands.next_order_number(STOLEN)
    holder = hands.holder("ethereum", "holder-0")
    order = await hands.order(
        STOLEN, number, "ethereum", SHARES, recipient=holder.address, key=issuer_key(world)
    )
    await hands.until(
        lambda: hands.state(order) == RELEASED,
        seconds=60,
        waiting_for="the issuance that makes the asset live",
    )
    said: list[str] = []
    acts = GuardActs(world, hands, said.append)
    await acts.steal_the_minter(STOLEN, SHARES)
    assert acts.facts.mints_caught == acts.facts.halts_cleared == 1
    assert any("are refused" in line for line in said)
    assert await holder.shares_of(STOLEN) == SHARES * 10**10
    books = [
        book
        for guard in GUARDS
        for book in (
            await hands.bridge.ledger(
                world.processes[guard].target, [world.registry.asset(STOLEN).id]
            )
        ).assets
    ]
    assert [book.exposure for book in books] == [SHARES] * len(GUARDS)

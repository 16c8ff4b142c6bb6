"""TON: what a release costs, releases per second, and the reader's backfill.

The cost is what the relayer's wallet has less when everything that a release caused is final and
all that returns has returned: its own message, the minter, the recipient's wallet and, for a new
one, its deployment. The bare loop of the backfill asks the same node for the minter's transactions
in pages and decodes the burn log of each: no links, no evidence, no blocks, no counters.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytoniq_core.boc.cell import Cell

from tests.bench.race import best_seconds
from tests.bench.result import Result, against, at_most
from tests.bench.sending import PERMIT_SECONDS, Line, releases_per_s, signed_by_two
from tests.chains.ton.world import GUARDS, SHARE, TON, World, running_chains
from xstock_chains.ports import Cursor, ReleaseOrder
from xstock_chains.ton.address import raw
from xstock_chains.ton.cells import slice_of
from xstock_chains.ton.messages import BURNED_LOG
from xstock_chains.ton.reader import TonReader
from xstock_chains.ton.rpc import PAGE_MAX
from xstock_core.ids import Address32, Domain
from xstock_core.observation import BurnFinal
from xstock_core.release import ReleaseBatch, ReleaseItem, sorted_items
from xstock_runtime.hashing import keccak256

BATCHES = (1, 10, 50)
LIMIT_NANOTON = 13_000_000
BURNS = 400
BURNS_PER_BLOCK = 20
ROUNDS = 3
RELEASE_BATCHES = 6
RELEASES = 50


async def ton(folder: Path) -> dict[str, Result]:
    """ton_release_nanoton, ton_releases_per_s, watcher_backfill_events_per_s (ton)."""
    async with running_chains(folder) as chains:
        world = await chains.fresh()
        await world.give(world.holder_account, world.relayer.relayer_wallet, coins=1_000 * TON)
        await world.settle()
        cost = await _cost(world)
        rate = await _rate(world)
        backfill = await _backfill(world)
    return {**cost, **rate, **backfill}


async def _cost(world: World) -> dict[str, Result]:
    results: dict[str, Result] = {}
    how = "nanoTON per release that the relayer's wallet has less, everything returned deducted"
    await _spent(world, 500_000, [_person(0, 0)])
    for batch in BATCHES:
        people = [_person(batch, n) for n in range(batch)]
        fresh = await _spent(world, 1_000_000 + 1_000 * batch, people)
        existing = await _spent(world, 1_000_500 + 1_000 * batch, people)
        key = f"ton_release_nanoton_{batch}"
        results[f"{key}_fresh"] = Result(fresh, "nanoTON", None, None, "", None, how)
        results[f"{key}_existing"] = (
            at_most(existing, "nanoTON", LIMIT_NANOTON, how)
            if batch >= 10
            else Result(existing, "nanoTON", None, None, "", None, how)
        )
    return results | {"ton_release_nanoton": results["ton_release_nanoton_10_existing"]}


def _person(batch: int, number: int) -> Address32:
    return Address32(keccak256(b"bench %d %d" % (batch, number)))


async def _spent(world: World, first: int, people: Sequence[Address32]) -> int:
    """Per item, rounded up; what was released before it is final."""
    wallet = world.relayer.relayer_wallet
    before = (await world.api.accounts([wallet]))[wallet].balance
    items = [world.item(first + n, recipient=who) for n, who in enumerate(people)]
    signed = await world.release(*items)
    await world.settle()
    status = await world.writer.status(signed.ref, signed.prepared.slot)
    if status.succeeded is not True:
        raise RuntimeError(f"a release failed, fix the bench: {status}")
    after = (await world.api.accounts([wallet]))[wallet].balance
    return -(-(before - after) // len(people))


async def _rate(world: World) -> dict[str, Result]:
    people = [_person(1, n) for n in range(RELEASES)]

    deadline = (await world.api.masterchain_head()).time + PERMIT_SECONDS

    async def order(items: Sequence[ReleaseItem]) -> ReleaseOrder:
        batch = ReleaseBatch(Domain.TON, world.bridge, 1, deadline, sorted_items(items))
        return await signed_by_two(batch, world.codec, GUARDS)

    line = Line(
        order=order,
        writer=world.writer,
        signer=world.relayer,
        sender=world.relayer.relayer_wallet,
        land=world.mine,
        transactions_a_block=1,
    )
    batches = [
        [
            world.item(2_000_000 + batch * RELEASES + n, recipient=who)
            for n, who in enumerate(people)
        ]
        for batch in range(1 + RELEASE_BATCHES)
    ]
    how = f"batches of {RELEASES}, each with all its effects before the next"
    return {"ton_releases_per_s": await releases_per_s(line, batches, how)}


async def _backfill(world: World) -> dict[str, Result]:
    world.orders = 3_000_000
    await world.issue(10 * BURNS * SHARE)
    for _ in range(BURNS // BURNS_PER_BLOCK):
        await world.burn(*[SHARE] * BURNS_PER_BLOCK)
    await world.finalize()

    async def ours() -> int:
        reader, cursor, found = TonReader(world.chain, world.api), Cursor(Domain.TON), 0
        while True:
            page = await reader.read_page(cursor, limit=PAGE_MAX)
            found += sum(isinstance(one, BurnFinal) for one in page.observations)
            cursor = page.cursor
            if not page.more:
                return found

    async def bare() -> int:
        return await _bare_loop(world)

    ours_best, bare_best = await best_seconds([ours, bare], burns=BURNS, rounds=ROUNDS)
    how = (
        f"{BURNS} burns, {BURNS_PER_BLOCK} sent at once, behind releases, one node, best of "
        f"{ROUNDS} rounds; baseline: the minter's transactions by pages, each log decoded, "
        "nothing proved"
    )
    key = "watcher_backfill_events_per_s (ton)"
    return {key: against(BURNS / ours_best, BURNS / bare_best, "1/s", 0.9, how)}


async def _bare_loop(world: World) -> int:
    seen: list[tuple[Any, ...]] = []
    start = 0
    while True:
        query: list[tuple[str, str | int]] = [("account", raw(world.bridge)), ("start_lt", start)]
        query += [("limit", PAGE_MAX), ("sort", "asc")]
        part = (await world.api.get("transactions", query))["transactions"]
        for transaction in part:
            for message in transaction["out_msgs"]:
                if message["destination"] is None:
                    seen.extend(_burn_in(message["message_content"]["body"], transaction))
        if len(part) < PAGE_MAX:
            return len(seen)
        start = int(part[-1]["lt"]) + 1


def _burn_in(body: str, transaction: dict[str, Any]) -> list[tuple[Any, ...]]:
    piece = slice_of(Cell.one_from_boc(base64.b64decode(body)))
    if piece.load_uint(32) != BURNED_LOG:
        return []
    counted = tuple(piece.load_uint(size) for size in (32, 64, 64))
    asset, recipient = piece.load_bytes(32), piece.load_bytes(32)
    parties = slice_of(piece.load_ref())
    where = (transaction["hash"], transaction["mc_block_seqno"])
    return [(*where, *counted, asset, recipient, parties.load_bytes(32), parties.load_bytes(32))]

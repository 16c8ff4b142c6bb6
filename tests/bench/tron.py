"""Tron: energy of a release alone and in batches, releases per second, and the reader's backfill.

Energy is what the receipt says (`energy_usage_total`), bandwidth aside, in a steady state: the
word of the bitmap, the bucket and the lane have been written before. The bare loop of the
backfill asks the same solidity interface for the same blocks and their executions, and decodes
the bridge's burn event: no parent links, no complete executions, no counters.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eth_abi.abi import decode

from tests.bench.race import best_seconds
from tests.bench.result import Result, against, at_most_of
from tests.bench.sending import PERMIT_SECONDS, Line, releases_per_s, signed_by_two
from tests.chains.tron.world import (
    GUARDS,
    HOLDER,
    RELAYER,
    SHARE,
    World,
    control,
    local_node,
    world_on,
)
from xstock_chains.ports import ReleaseOrder
from xstock_chains.solidity.events import BURNED
from xstock_chains.tron.address import account_text
from xstock_chains.tron.frames import read_heads
from xstock_chains.tron.reader import TronReader
from xstock_chains.tron.rpc import TronRpc
from xstock_core.ids import Address32, Domain
from xstock_core.observation import BurnFinal
from xstock_core.release import ReleaseBatch, ReleaseItem, sorted_items
from xstock_runtime.hashing import keccak256

BATCHES = (1, 10, 20)
WORD = 256
"""Counters that share one word of the bitmap."""
BURNS = 1_000
BURNS_PER_BLOCK = 20
ROUNDS = 3
RELEASE_BATCHES = 10
MONEY_SUN = 10**12


async def tron(folder: Path) -> dict[str, Result]:
    """tron_release_energy, tron_releases_per_s, watcher_backfill_events_per_s (tron)."""
    async with local_node(folder) as node:
        world = await world_on(node)
        try:
            for key in (RELAYER, HOLDER):
                address = account_text(key.identity)
                await control(node.url, "fund", address=address, amount=MONEY_SUN)
            await world.mine()
            energy = await _energy(world)
            rate = await _rate(world)
            backfill = await _backfill(world)
        finally:
            await world.rpc.aclose()
    return {**energy, **rate, **backfill}


async def _energy(world: World) -> dict[str, Result]:
    measured = {batch: await _energy_of(world, batch) for batch in BATCHES}
    how = "receipt energy_usage_total per release, M = 2, steady state"
    results = {
        f"tron_release_energy_{batch}_{recipient}": Result(
            value, "energy", None, None, "", None, how
        )
        for batch, pair in measured.items()
        for recipient, value in zip(("existing", "fresh"), pair, strict=True)
    }
    single, many = measured[1][0], measured[20][0]
    how = "energy per release in a batch of 20 to holders; baseline: a single release to a holder"
    return results | {"tron_release_energy": at_most_of(many, single, "energy", 0.3, how)}


async def _energy_of(world: World, batch: int) -> tuple[int, int]:
    """(to existing, to fresh recipients) per item; one word of the bitmap, opened before."""
    base = WORD * 1000 * batch
    people = [Address32(bytes(12) + keccak256(b"bench %d %d" % (batch, n))[12:]) for n in range(20)]
    await world.release(world.item(base))
    spent = []
    for first in (base + 1, base + 1 + batch):
        items = [world.item(first + n, recipient=who) for n, who in enumerate(people[:batch])]
        signed = await world.release(*items)
        receipt = (await world.info(signed.ref))["receipt"]
        if receipt.get("result") != "SUCCESS":
            raise RuntimeError(f"a release failed, fix the bench: {receipt}")
        spent.append(-(-receipt["energy_usage_total"] // batch))
    fresh, existing = spent
    return existing, fresh


async def _rate(world: World) -> dict[str, Result]:
    size = world.chain.batch_items_max

    bridge, epoch = world.chain.bridge.wire, await world.writer.guard_epoch()
    _, _, newest = await read_heads(world.rpc)
    deadline = newest.time_ms // 1000 + PERMIT_SECONDS

    async def order(items: Sequence[ReleaseItem]) -> ReleaseOrder:
        batch = ReleaseBatch(Domain.TRON, bridge, epoch, deadline, sorted_items(items))
        return await signed_by_two(batch, world.codec, GUARDS)

    line = Line(
        order=order,
        writer=world.writer,
        signer=RELAYER,
        sender=RELAYER.wire,
        land=world.mine,
        transactions_a_block=1,
    )
    batches = [
        [world.item(10_000 + batch * size + n) for n in range(size)]
        for batch in range(1 + RELEASE_BATCHES)
    ]
    how = f"batches of {size}, one a block"
    return {"tron_releases_per_s": await releases_per_s(line, batches, how)}


async def _backfill(world: World) -> dict[str, Result]:
    await world.issue(10 * BURNS * SHARE)
    await world.approve()
    for _ in range(BURNS // BURNS_PER_BLOCK):
        await world.burn(*[SHARE] * BURNS_PER_BLOCK)
    await world.finalize()

    async def ours() -> int:
        rpc = TronRpc(world.node.url)
        try:
            found, _ = await world.read_all(TronReader(world.chain, rpc))
        finally:
            await rpc.aclose()
        return sum(isinstance(one, BurnFinal) for one in found)

    async def bare() -> int:
        rpc = TronRpc(world.node.url)
        try:
            return await _bare_loop(world, rpc)
        finally:
            await rpc.aclose()

    ours_best, bare_best = await best_seconds([ours, bare], burns=BURNS, rounds=ROUNDS)
    how = (
        f"{BURNS} burns, {BURNS_PER_BLOCK} a block, one server, best of {ROUNDS} rounds; baseline: "
        "getblockbylimitnext and gettransactioninfobyblocknum of every block with a transaction, "
        "eight at once, the burn event by eth_abi, nothing proved"
    )
    key = "watcher_backfill_events_per_s (tron)"
    return {key: against(BURNS / ours_best, BURNS / bare_best, "1/s", 0.9, how)}


async def _bare_loop(world: World, rpc: TronRpc) -> int:
    bridge, burned = world.chain.bridge.address.hex(), BURNED.hex()
    newest = await rpc.solid("getnowblock")
    head = newest["block_header"]["raw_data"]["number"]
    span = world.chain.facts.page_blocks_max
    seen: list[tuple[Any, ...]] = []
    for first in range(world.chain.first_block, head + 1, span):
        last = min(head, first + span - 1)
        answer = await rpc.solid("getblockbylimitnext", startNum=first, endNum=last + 1)
        numbers = [
            block["block_header"]["raw_data"]["number"]
            for block in answer["block"]
            if block.get("transactions")
        ]
        asks = [
            ("walletsolidity", "gettransactioninfobyblocknum", {"num": number})
            for number in numbers
        ]
        for infos in await rpc.all(asks):
            for info in infos:
                for log in info.get("log", ()):
                    if log["address"] == bridge and log["topics"][0] == burned:
                        seen.append((info["id"], *_decoded(log)))
    return len(seen)


def _decoded(log: dict[str, Any]) -> tuple[Any, ...]:
    data = decode(["address", "address", "bytes32", "uint64"], bytes.fromhex(log["data"]))
    return (*(bytes.fromhex(topic) for topic in log["topics"][1:]), *data)

"""The watcher's backfill against the loop that everybody writes first.

A few thousand burns lie in final blocks of a local chain. Ours reads them from the beginning with
`EvmReader.read_page`: parent hashes walked, share movements matched, blooms and lane counters
checked. The bare loop asks the same node for the bridge's burn event alone, range by range, and
decodes it, proving nothing: by hand with eth_abi, and a second time with web3. Rounds alternate
and the best of each counts, so a busy neighbour slows neither alone.
"""

from pathlib import Path
from typing import Any

from eth_abi.abi import decode

from tests.bench.race import best_seconds
from tests.bench.result import Result, against
from tests.chains.evm.world import HOLDER, SHARE, World, running_world
from xstock_chains.evm.reader import EvmReader
from xstock_chains.evm.rpc import Call, quantity
from xstock_chains.solidity.abi import hex_of
from xstock_chains.solidity.artifact import artifact
from xstock_chains.solidity.events import BURNED
from xstock_core.observation import BurnFinal

BURNS = 4_000
BURNS_PER_BLOCK = 50
PAGE = 1_000
ROUNDS = 4
_BLOCKS_PER_RANGE = PAGE // BURNS_PER_BLOCK
_BURN_GAS = hex(200_000)


async def backfill(folder: Path) -> dict[str, Result]:
    """watcher_backfill_events_per_s: burns per second, from the beginning to the final head."""
    async with running_world(folder, slots_in_an_epoch=1) as world:
        await _fill(world)
        head = quantity(await world.rpc.call("eth_blockNumber"), "head")

        async def ours() -> int:
            reader = EvmReader(world.chain, world.connect())
            found, _ = await world.read_all(reader, limit=PAGE)
            return sum(isinstance(one, BurnFinal) for one in found)

        async def bare() -> int:
            return await _bare_loop(world, head)

        async def with_web3() -> int:
            return await _web3_loop(world, head)

        best = await best_seconds([ours, bare, with_web3], burns=BURNS, rounds=ROUNDS)
    rate, bare_rate, web3_rate = (BURNS / seconds for seconds in best)
    how = f"{BURNS} burns, {BURNS_PER_BLOCK} a block, one node, best of {ROUNDS} rounds; baseline: "
    hand = "eth_getLogs by ranges and eth_abi by hand, the bridge's event alone, nothing proved"
    web3 = "the same loop with web3's get_logs and process_log"
    key = "watcher_backfill_events_per_s"
    return {
        key: against(rate, bare_rate, "1/s", 0.9, how + hand),
        f"{key} (loop on web3)": against(rate, web3_rate, "1/s", 0.9, how + web3),
    }


async def _fill(world: World) -> None:
    """Burns in final blocks, and nothing else after the approval."""
    await world.issue(10 * BURNS * SHARE)
    await world.approve()
    await world.hold_blocks()
    burn: Call = (
        "eth_sendTransaction",
        [
            {
                "from": hex_of(HOLDER.identity),
                "to": hex_of(world.chain.bridge.address),
                "data": hex_of(world.burn_data(SHARE)),
                "gas": _BURN_GAS,
            }
        ],
    )
    for _ in range(BURNS // BURNS_PER_BLOCK):
        await world.rpc.batch([burn] * BURNS_PER_BLOCK)
        await world.mine()
    await world.finalize()


async def _bare_loop(world: World, head: int) -> int:
    rpc = world.connect()
    seen: list[tuple[Any, ...]] = []
    for first in range(0, head + 1, _BLOCKS_PER_RANGE):
        wanted = {
            "address": hex_of(world.chain.bridge.address),
            "topics": [hex_of(BURNED)],
            "fromBlock": hex(first),
            "toBlock": hex(min(head, first + _BLOCKS_PER_RANGE - 1)),
        }
        for log in await rpc.call("eth_getLogs", wanted):
            data = decode(
                ["address", "address", "bytes32", "uint64"], bytes.fromhex(log["data"][2:])
            )
            topics = [bytes.fromhex(one[2:]) for one in log["topics"][1:]]
            seen.append((*topics, *data, int(log["blockNumber"], 16), log["transactionHash"]))
    return len(seen)


async def _web3_loop(world: World, head: int) -> int:
    web3 = world.connect().web3
    bridge: Any = web3.eth.contract(abi=artifact("XStockBridge")["abi"])
    event = bridge.events.BurnedToBridge()
    seen = 0
    for first in range(0, head + 1, _BLOCKS_PER_RANGE):
        logs = await web3.eth.get_logs(
            {
                "address": web3.to_checksum_address(hex_of(world.chain.bridge.address)),
                "topics": [hex_of(BURNED)],
                "fromBlock": first,
                "toBlock": min(head, first + _BLOCKS_PER_RANGE - 1),
            }
        )
        seen += len([event.process_log(log) for log in logs])
    return seen

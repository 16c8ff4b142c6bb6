"""The whole bridge under a burst and under a slow pace, all services as processes.

Two chains of 1 s blocks, three guards, one relayer, past the RPC proxy. The burst gives
`e2e_transfers_per_s`: transfers from the moment the first burn is final to the moment the last
release is in a block. The pace gives the latency that the bridge adds: from a burn's finality
to its release in a block, less one destination block time.
"""

import asyncio
import statistics
from dataclasses import replace
from pathlib import Path

import psutil

from tests.bench.burst import Burster
from tests.bench.result import Result, at_least, at_most
from xstock_chains.evm.rpc import Rpc, quantity
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.solidity.abi import hex_of, topic
from xstock_cli.bridge import Bridge
from xstock_devnet.plan import ASSETS, CHAINS, GUARDS
from xstock_devnet.world import ISSUER_KEY_ID, World
from xstock_runtime.clock import SystemClock
from xstock_wire.papers import PaperKey
from xstock_wire.v1 import papers_pb2

BURST = 1_000
PACED = 60
PACE_SECONDS = 0.2
BLOCK_SECONDS = 1.0
SHARES = 10**6
SUPPLY = 5_000 * 10**8
SYMBOL = "TSLAx"
PAIR = ("ethereum", "bnb")
"""Source and destination: both EVM, so that the figure stays the one of the peers."""
_GAS_LIMIT = ("--gas-limit", "500000000")
_LIMIT_SECONDS = 240.0
_RELEASED = topic("Released(bytes32,uint32,bytes32,address,uint64)")
_BURNED = topic("BurnedToBridge(bytes32,uint32,uint64,address,address,bytes32,uint64)")


class Stopwatch:
    """Watches both chains from outside, every few milliseconds."""

    def __init__(self, world: World, source: str, destination: str) -> None:
        self._source = Rpc(world.node_urls(source)[0])
        self._destination = Rpc(world.node_urls(destination)[0])
        self._clock = SystemClock()
        self.final_at: list[float] = []
        self.released_at: list[float] = []
        self.destination_txs: set[str] = set()
        self._from_source = 0
        self._from_destination = 0

    async def start(self) -> None:
        """From now on."""
        self._from_source = await self._height(self._source, "latest") + 1
        self._from_destination = await self._height(self._destination, "latest") + 1
        self.final_at, self.released_at, self.destination_txs = [], [], set()

    async def until(self, count: int) -> None:
        """Watch until `count` releases are in blocks; raises TimeoutError."""
        deadline = self._clock.monotonic() + _LIMIT_SECONDS
        while len(self.released_at) < count:
            if self._clock.monotonic() > deadline:
                raise TimeoutError(f"{len(self.released_at)} of {count} released in time")
            await self._look()
            await self._clock.sleep(0.02)

    async def close(self) -> None:
        """Close the connections."""
        await self._source.aclose()
        await self._destination.aclose()

    async def _look(self) -> None:
        final = await self._height(self._source, "finalized")
        if final >= self._from_source:
            logs = await self._logs(self._source, self._from_source, final, _BURNED)
            self.final_at += [self._clock.monotonic()] * len(logs)
            self._from_source = final + 1
        latest = await self._height(self._destination, "latest")
        if latest >= self._from_destination:
            logs = await self._logs(self._destination, self._from_destination, latest, _RELEASED)
            self.released_at += [self._clock.monotonic()] * len(logs)
            self.destination_txs |= {str(log["transactionHash"]) for log in logs}
            self._from_destination = latest + 1

    async def _height(self, rpc: Rpc, tag: str) -> int:
        block = await rpc.call("eth_getBlockByNumber", tag, False)
        return quantity(block["number"], "number")

    async def _logs(self, rpc: Rpc, first: int, last: int, event: bytes) -> list[dict[str, object]]:
        wanted = {"fromBlock": hex(first), "toBlock": hex(last), "topics": [hex_of(event)]}
        return list(await rpc.call("eth_getLogs", wanted))


async def end_to_end(folder: Path) -> dict[str, Result]:
    """Rate of a burst, added latency, destination transactions, memory, CPU, SQL."""
    chains = [
        replace(chain, block_ms=1000, final_blocks=2, extra=_GAS_LIMIT)
        for chain in CHAINS
        if chain.name in PAIR
    ]
    assets = [replace(ASSETS[0], held_units=10**13)]
    world = World(folder, say=lambda _: None, chains=chains, assets=assets, direct=True)
    async with world:
        source, destination = (chain.name for chain in chains)
        await _issue(world, source)
        watch = Stopwatch(world, source, destination)
        burster = Burster(
            world.registry,
            source,
            SYMBOL,
            Rpc(world.node_urls(source)[0]),
            LocalSigner.from_file(world.key_file("holder-0")),
        )
        await burster.approve()
        await SystemClock().sleep(2.0)
        domain = int(world.registry.chain(destination).domain)
        try:
            paced = await _paced(watch, burster, domain)
            burst = await _burst(world, watch, burster, domain)
        finally:
            await watch.close()
            await burster.rpc.aclose()
    return {**paced, **burst}


async def _issue(world: World, chain: str) -> None:
    clock = SystemClock()
    async with Bridge(world.gateway.target) as bridge:
        await _ready(world, bridge, clock)
        order = papers_pb2.IssueOrder(
            asset=world.registry.asset(SYMBOL).id,
            order_number=1,
            destination=world.registry.chain(chain).domain,
            recipient=bytes(12) + LocalSigner.from_file(world.key_file("holder-0")).identity,
            amount=SUPPLY,
            expires=clock.unix_ms() // 1000 + 600,
        )
        key = PaperKey.from_file(ISSUER_KEY_ID, world.key_file("issuer"))
        relayer = world.processes["relayer"].target
        await bridge.submit_order(relayer, order, key, world.registry.deployment_id)
        deadline = clock.monotonic() + 60
        asset = world.registry.asset(SYMBOL).id
        while True:
            books = [
                await bridge.ledger(world.processes[guard].target, [asset]) for guard in GUARDS
            ]
            if all(book.assets[0].chains[0].ledger == SUPPLY for book in books):
                return
            if clock.monotonic() > deadline:
                raise TimeoutError("waited 60 s for the issuance to be booked by every guard")
            await clock.sleep(0.5)


async def _ready(world: World, bridge: Bridge, clock: SystemClock) -> None:
    deadline = clock.monotonic() + 60
    for guard in GUARDS:
        while True:
            books = await bridge.ledger(world.processes[guard].target)
            if books.signing and all(asset.attestation_sequence for asset in books.assets):
                break
            if clock.monotonic() > deadline:
                raise TimeoutError(f"waited 60 s for {guard} to be ready to sign")
            await clock.sleep(0.5)


async def _paced(watch: Stopwatch, burster: Burster, domain: int) -> dict[str, Result]:
    clock = SystemClock()
    await watch.start()

    async def send() -> None:
        for _ in range(PACED):
            await burster.burn(1, domain, SHARES)
            await clock.sleep(PACE_SECONDS)

    sending = asyncio.create_task(send())
    await watch.until(PACED)
    await sending
    # Releases keep their lane's order, so the n-th release answers the n-th final burn.
    added = [
        1000 * (released - final - BLOCK_SECONDS)
        for final, released in zip(watch.final_at, watch.released_at, strict=False)
    ]
    how = "finality seen from outside to release in a block, less one block time, paced 5/s"
    ordered = sorted(added)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {
        "added_latency_p50_ms": at_most(statistics.median(added), "ms", 150, how),
        "added_latency_p99_ms": at_most(p99, "ms", 1000, how),
    }


async def _burst(
    world: World, watch: Stopwatch, burster: Burster, domain: int
) -> dict[str, Result]:
    await watch.start()
    before, sql_before = _cpu_seconds(world), await _sql(world)
    await burster.burn(BURST, domain, SHARES)
    await watch.until(BURST)
    seconds = watch.released_at[-1] - watch.final_at[0]
    spent = {name: after - before[name] for name, after in _cpu_seconds(world).items()}
    sql = {name: count - sql_before[name] for name, count in (await _sql(world)).items()}
    rate = BURST / seconds
    how = f"burst of {BURST}, first burn final to last release in a block, 1 s blocks"
    results = {
        "e2e_transfers_per_s": at_least(rate, "1/s", 1000, how),
        "destination_txs_per_transfer": at_most(
            len(watch.destination_txs) / BURST, "tx", 0.05, f"burst of {BURST}"
        ),
    }
    for name, cpu in spent.items():
        results[f"cpu_ms_per_transfer ({name})"] = Result(
            round(1000 * cpu / BURST, 3), "ms", None, None, "", None, how
        )
    for name, count in sql.items():
        results[f"sql_per_transfer ({name})"] = Result(
            round(count / BURST, 3), name.split()[-1], None, None, "", None, how
        )
    for name, mb in _rss_mb(world).items():
        results[f"rss_mb ({name})"] = at_most(mb, "MB", 150, "after the burst")
    return results


def _processes(world: World) -> dict[str, psutil.Process]:
    found = {name: psutil.Process(one.child.pid) for name, one in world.supervisor.services.items()}
    return found | {"postgres": psutil.Process(world.postgres.child.pid)}


def _cpu_seconds(world: World) -> dict[str, float]:
    spent = {}
    for name, process in _processes(world).items():
        family = [process, *process.children(recursive=True)]
        spent[name] = sum(sum(one.cpu_times()[:2]) for one in family)
    return spent


async def _sql(world: World) -> dict[str, float]:
    """Transactions committed in each service's database so far, and bytes of write-ahead log."""
    rows = await world.postgres.fetch(
        "SELECT datname, xact_commit FROM pg_stat_database"
        " WHERE datname IS NOT NULL AND datname NOT LIKE 'template%' AND datname <> 'postgres'"
    )
    wal = await world.postgres.fetch("SELECT pg_current_wal_insert_lsn() - '0/0' AS bytes")
    counted = {f"{row['datname']} transactions": float(row["xact_commit"]) for row in rows}
    return {**counted, "write-ahead bytes": float(wal[0]["bytes"])}


def _rss_mb(world: World) -> dict[str, float]:
    return {
        name: round(process.memory_info().rss / 2**20, 1)
        for name, process in _processes(world).items()
        if name in world.processes
    }

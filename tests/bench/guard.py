"""A guard's reviews against PostgreSQL's own benchmark on the same durable server.

One review here is the whole of it: the burn posted to the ledger, the claim judged by every
policy with the cap enforced, the ruling, its journal link and its outbox record committed, and
a signature over each batch. The handlers and the store are the service's own, under its runtime
role and its writer's lease; only the chain is left out. pgbench's simple-update (`-N`) runs on
the same server with as many connections, before and after, and the mean of both is the baseline.
Growth is measured by two guards taking turns, one with short books, one with long ones.
"""

import asyncio
import gc
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coincurve import PrivateKey

from tests.bench.result import Result, against, at_most
from tests.builders import TSLAX, a_bridge, a_message, a_release, an_address
from xstock_chains.evm.codec import EvmReleaseCodec
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import AssetSupply, Cursor, Page
from xstock_core.ids import Domain
from xstock_core.observation import BlockRef, BurnFinal, Place, TxRef
from xstock_core.release import Action, ReleaseBatch
from xstock_core.review import Route
from xstock_devnet.engines.postgres import DEV_PASSWORD, PostgresServer, postgres_binary
from xstock_runtime.clock import SystemClock, SystemRandomness
from xstock_runtime.database import Database, DatabaseSettings
from xstock_runtime.hashing import keccak256
from xstock_runtime.lease import AdvisoryLease, LeaseSettings
from xstock_runtime.migrations import grant_runtime, upgrade
from xstock_runtime.service import spare_the_collector
from xstock_supply_guard import wire
from xstock_supply_guard.adapters.postgres import PostgresGuardStore
from xstock_supply_guard.adapters.signatures import signature_valid
from xstock_supply_guard.adapters.tables import APPEND_ONLY
from xstock_supply_guard.handlers.attesting import submit_attestation
from xstock_supply_guard.handlers.desk import Desk, make_live
from xstock_supply_guard.handlers.papers import order_message
from xstock_supply_guard.handlers.post import post_page
from xstock_supply_guard.handlers.review import review_transfers
from xstock_supply_guard.handlers.sign import sign_release
from xstock_supply_guard.model import (
    AssetConfig,
    BelievedSupply,
    ChainConfig,
    GuardConfig,
    Outcome,
    PermitItem,
    SignRequest,
    SubmittedClaim,
)
from xstock_wire.papers import ATTESTATION, ISSUE_ORDER, PaperKey
from xstock_wire.v1 import papers_pb2, supply_guard_pb2

BATCH = 400
BATCHES = 15
TURNS = 5
CONNECTIONS = 8
PGBENCH_SECONDS = 2
ENTRIES_FEW = 10_000
ENTRIES_MANY = 200_000
"""What a usual run can afford."""
ENTRIES_TEN_MILLION = 10_000_000
_ENTRIES_PER_WARM_BATCH = 25_000
"""The first touch of an index page after a checkpoint writes the whole page into the log; long
books have more pages, so they get the longer run-up that a guard under load has had as well."""
GROWTH_BATCHES = 8
SHARE = 10**8
_LEASE_SECONDS = 4 * 3600.0
"""Longer than any filling of old books: nobody renews it here."""
_ROLE = "guard_runtime"
_DEPLOYMENT = "bench"
_CHAINS = (Domain.ETHEREUM, Domain.BNB)
_SUPPLY = 10**15
_TEN_MILLION_SERVER = {"shared_buffers": "4GB", "max_wal_size": "16GB", "checkpoint_timeout": "1h"}
"""Books of this size live on a server with memory of its own; the short books are on it too."""


class _Epoch:
    """The destination's guard epoch, known without a chain."""

    async def guard_epoch(self) -> int:
        """The first set."""
        return 1

    async def check_terms(self, batch: ReleaseBatch) -> None:
        """No terms, nothing to check."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Burns of one final block, and the relayer's claims and request that follow."""

    page: Page
    claims: list[SubmittedClaim]
    request: SignRequest


class GuardBench:
    """One guard on its own database, and the burns that it will review."""

    def __init__(self, name: str, database: Database, lease: AdvisoryLease) -> None:
        self.database_name = name
        self._clock = SystemClock()
        self._attestor = PaperKey("custodian-1", PrivateKey(keccak256(b"bench/attestor")))
        self._issuer = PaperKey("issuer-1", PrivateKey(keccak256(b"bench/issuer")))
        config = _config(self._attestor, self._issuer)
        store = PostgresGuardStore(
            database, guard_id=config.guard_id, deployment_id=_DEPLOYMENT, lease=lease
        )
        signer = LocalSigner(keccak256(b"bench/guard"))
        self.desk = Desk(
            config=config,
            store=store,
            clock=self._clock,
            live=make_live(config, self._clock),
            check_signature=signature_valid,
            codecs=dict.fromkeys(_CHAINS, EvmReleaseCodec({Domain.ETHEREUM: 1, Domain.BNB: 56})),
            signers=dict.fromkeys(_CHAINS, signer),
            epochs=dict.fromkeys(_CHAINS, _Epoch()),
        )
        self._cursors = {chain: Cursor(chain) for chain in _CHAINS}
        self._heights = dict.fromkeys(_CHAINS, 100)
        self._counter = 0

    async def fund(self) -> None:
        """Custody attests, the issuer orders, the release is booked: supply to burn."""
        now = self._clock.unix_ms() // 1000
        paper = papers_pb2.Attestation(
            asset=TSLAX, held_units=_SUPPLY, as_of=now, sequence=1, multiplier=str(10**18)
        )
        signed = self._attestor.sign(ATTESTATION, _DEPLOYMENT, paper)
        await submit_attestation(self.desk, *wire.attestation_from_wire(signed, _DEPLOYMENT))
        for chain in _CHAINS:
            await self._book(self._page(chain, []))
        async with self.desk.store.write() as unit:
            await unit.save_readings([_nothing_on(self._block(chain)) for chain in _CHAINS])
        issue = papers_pb2.IssueOrder(
            asset=TSLAX,
            order_number=1,
            destination=Domain.ETHEREUM,
            recipient=an_address(1),
            amount=_SUPPLY,
            expires=now + 3600,
        )
        order = self._issuer.sign(ISSUE_ORDER, _DEPLOYMENT, issue)
        parsed = wire.order_from_wire(order, _DEPLOYMENT)
        message = order_message(self.desk, parsed)
        if message is None:
            raise RuntimeError("the bench's own order is not valid; fix the bench")
        claim = wire.claim_from_wire(
            supply_guard_pb2.Claim(message=message.pack(), order=order), _DEPLOYMENT
        )
        await self._rule([claim])
        block = self._block(Domain.ETHEREUM)
        release = a_release(message, place=_place(block, 0))
        await self._book(self._page(Domain.ETHEREUM, [release], block))

    async def _rule(self, claims: Sequence[Any]) -> None:
        rulings = await review_transfers(self.desk, claims)
        refused = [one for one in rulings if one.outcome is not Outcome.GRANTED]
        if refused:
            raise RuntimeError(f"{len(refused)} claims were not granted: {refused[0]}")

    async def _book(self, page: Page) -> None:
        chain = page.through.chain
        before = self._cursors[chain]
        await post_page(self.desk, before, page, began_ms=self._clock.unix_ms())
        self._cursors[chain] = page.cursor

    def _block(self, chain: Domain) -> BlockRef:
        self._heights[chain] += 1
        number = self._heights[chain]
        digest = keccak256(bytes((chain,)) + number.to_bytes(8, "big"))
        return BlockRef(chain, number, digest, self._clock.unix_ms() // 1000)

    def _page(self, chain: Domain, found: Sequence[Any], block: BlockRef | None = None) -> Page:
        through = block or self._block(chain)
        return Page(tuple(found), Cursor(chain, str(through.number)), through, through, more=False)

    def batches(self, count: int) -> list[_Batch]:
        """Batches of one asset from Ethereum to BNB, made before any clock runs."""
        return [self._batch() for _ in range(count)]

    def _batch(self) -> _Batch:
        block = self._block(Domain.ETHEREUM)
        burns = []
        for at in range(BATCH):
            self._counter += 1
            message = a_message(counter=self._counter)
            key = message.transfer_id(keccak256)
            owner = message.refund_address
            burns.append(BurnFinal(message, key, owner, self._counter, _place(block, at)))
        claims = [
            SubmittedClaim(burn.message, burn.place.tx, burn.place.block.number) for burn in burns
        ]
        request = SignRequest(
            destination=Domain.BNB,
            bridge=a_bridge(Domain.BNB),
            epoch=1,
            deadline=block.time + 600,
            items=tuple(PermitItem(burn.transfer_id, Action.RELEASE) for burn in burns),
        )
        return _Batch(self._page(Domain.ETHEREUM, burns, block), claims, request)

    async def review(self, batches: Sequence[_Batch]) -> None:
        """Post, judge and sign; the scanner runs ahead of the reviews as it does in service."""
        booked: asyncio.Queue[_Batch] = asyncio.Queue()

        async def scan() -> None:
            for batch in batches:
                await self._book(batch.page)
                booked.put_nowait(batch)

        async with asyncio.TaskGroup() as both:
            both.create_task(scan())
            for _ in batches:
                batch = await booked.get()
                await self._rule(batch.claims)
                answer = await sign_release(self.desk, batch.request)
                if not answer.signature:
                    raise RuntimeError(f"no signature: {answer.refusals[0]}")


def _nothing_on(block: BlockRef) -> BelievedSupply:
    """A chain that shows nothing of the asset yet: it may be opened by its first issuance."""
    supply = AssetSupply(
        asset=TSLAX,
        token_units=0,
        bridge_inventory_units=0,
        decimals=18,
        multiplier=10**18,
        multiplier_epoch=0,
        paused=False,
    )
    return BelievedSupply(block.chain, block, supply, 0)


def _place(block: BlockRef, index: int) -> Place:
    tx = keccak256(block.hash + index.to_bytes(4, "big"))
    return Place(block, TxRef(block.chain, tx), index)


def _config(attestor: PaperKey, issuer: PaperKey) -> GuardConfig:
    places = [Domain.CUSTODY, *_CHAINS]
    bridges = {chain: a_bridge(chain) for chain in _CHAINS}
    return GuardConfig(
        guard_id="guard-1",
        deployment_id=_DEPLOYMENT,
        chains={
            chain: ChainConfig(chain, chain.name.lower(), {TSLAX: bridge}, frozenset({bridge}))
            for chain, bridge in bridges.items()
        },
        assets={
            TSLAX: AssetConfig(
                TSLAX, "TSLAx", dict.fromkeys(_CHAINS, 18), frozenset(bridges.items())
            )
        },
        routes={
            (TSLAX, start, end): Route() for start in places for end in _CHAINS if start is not end
        },
        issuers={issuer.key_id: issuer.public_key},
        attestors={attestor.key_id: attestor.public_key},
        review_wait_seconds=0,
        fresh_key=True,
    )


_OLD_ROWS = {
    "ledger_entry": (
        1,
        "SELECT sha256(convert_to('entry' || n, 'UTF8')), asset, debit, credit, amount, kind,"
        " sha256(convert_to('ref' || n, 'UTF8')), chain, block_number",
    ),
    "observation": (
        1,
        "SELECT sha256(convert_to('seen' || n, 'UTF8')), kind, chain, 0, record",
    ),
    "burn": (
        2,
        "SELECT sha256(convert_to('id' || n, 'UTF8')), message, source, destination,"
        " sha256(convert_to('nonce' || n, 'UTF8')), sha256(convert_to('refund' || n, 'UTF8')),"
        " sender, n, 0, block_hash, block_time, sha256(convert_to('tx' || n, 'UTF8')), place",
    ),
    "claim": (
        2,
        "SELECT sha256(convert_to('id' || n, 'UTF8')), message, outcome, reason, until, detail,"
        " sequence, at_ms, expiry",
    ),
    "execution": (
        2,
        "SELECT sha256(convert_to('nonce' || n, 'UTF8')), source, destination, released, asset,"
        " recipient, amount, 0, block_hash, block_time, sha256(convert_to('tx' || n, 'UTF8')),"
        " place, recorded_ms, matched",
    ),
    "permit": (
        2 * BATCH,
        "SELECT sha256(convert_to('permit' || n, 'UTF8')), destination, epoch, deadline, items,"
        " signature, signer, at_ms",
    ),
    "supply_step": (
        2 * BATCH,
        "SELECT chain, asset, -n, supply",
    ),
    "journal_balance": (
        2 * BATCH,
        "SELECT asset, account, -n, amount",
    ),
    "journal_through": (
        2 * BATCH,
        "SELECT chain, -n, number, hash, time",
    ),
}
"""Old books as rows alone: transfers burned, granted and released long ago, 400 a page. Per table
how many ledger entries go to one row, and the row as a copy of one that the guard has written."""
_INDEXES = (
    "SELECT i.relname AS name, pg_get_indexdef(i.oid) AS definition, c.conname AS constraint"
    " FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid LEFT JOIN pg_constraint c"
    " ON c.conindid = i.oid AND c.contype = 'p' WHERE x.indrelid = '{table}'::regclass"
)


async def _lengthen(server: PostgresServer, database: str, entries: int) -> int:
    """Old rows for this many ledger entries; how many were inserted over all tables.

    Indexes are dropped before and built after, from a sort instead of one random page a row.
    """
    inserted = 0
    for table, (per_row, row) in _OLD_ROWS.items():
        indexes = await server.fetch(_INDEXES.format(table=table), database=database)
        for one in indexes:
            what = f"INDEX {one['name']}"
            if one["constraint"]:
                what = f"TABLE {table} DROP CONSTRAINT {one['constraint']}"
            verb = "ALTER" if one["constraint"] else "DROP"
            await server.execute(f"{verb} {what}", database=database)
        count = entries // per_row
        await server.execute(
            f"INSERT INTO {table} {row} FROM (SELECT * FROM {table} LIMIT 1) AS one,"
            f" generate_series(1, {count}) AS n",
            database=database,
        )
        for one in indexes:
            remade = f"SET maintenance_work_mem = '1GB'; {one['definition']}"
            if one["constraint"]:
                remade += (
                    f"; ALTER TABLE {table} ADD CONSTRAINT {one['constraint']}"
                    f" PRIMARY KEY USING INDEX {one['name']}"
                )
            await server.execute(remade, database=database)
        inserted += count
    for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
        await server.execute(statement, database=database)
    return inserted


def _collect_as_a_service(stack: AsyncExitStack) -> None:
    """Search for garbage as seldom as a service does, until this stack is left."""
    stack.callback(gc.unfreeze)
    stack.callback(gc.set_threshold, *gc.get_threshold())
    spare_the_collector()


async def _open(stack: AsyncExitStack, server: PostgresServer, name: str) -> GuardBench:
    await server.create_role(_ROLE)
    await server.create_database(name)
    await upgrade(server.url(name), "xstock_supply_guard")
    await grant_runtime(server.url(name), _ROLE, append_only_tables=APPEND_ONLY)
    settings = DatabaseSettings(server.url(name, user=_ROLE), pool_size=CONNECTIONS)
    database = Database(settings, SystemClock(), SystemRandomness())
    await stack.enter_async_context(database)
    lease = AdvisoryLease(LeaseSettings("guard/guard-1", name, _LEASE_SECONDS))
    await database.run(lease.acquire)
    bench = GuardBench(name, database, lease)
    await bench.fund()
    return bench


async def guard(folder: Path) -> dict[str, Result]:
    """guard_reviews_per_s and guard_review_growth."""
    async with AsyncExitStack() as stack:
        _collect_as_a_service(stack)
        server = PostgresServer(folder, durable=True)
        await stack.enter_async_context(server)
        short = await _open(stack, server, "guard_short")
        long = await _open(stack, server, "guard_long")
        rate = await _rate(server, short)
        growth = await _growth(server, short, long, ENTRIES_MANY)
    return {**rate, **growth}


async def guard_ten_million(folder: Path) -> dict[str, Result]:
    """guard_review_growth with the target's own number of entries: some 15 GB of books."""
    async with AsyncExitStack() as stack:
        _collect_as_a_service(stack)
        server = PostgresServer(folder, durable=True, settings=_TEN_MILLION_SERVER)
        await stack.enter_async_context(server)
        short = await _open(stack, server, "guard_short")
        long = await _open(stack, server, "guard_long")
        return await _growth(server, short, long, ENTRIES_TEN_MILLION)


async def _rate(server: PostgresServer, bench: GuardBench) -> dict[str, Result]:
    await server.create_database("pgbench")
    await _pgbench(server, "-i", "-q", "-s", "10")
    await bench.review(bench.batches(2))
    pairs = []
    for _ in range(TURNS):
        baseline = await _simple_updates(server)
        pairs.append((BATCH * BATCHES / await _seconds(bench, BATCHES), baseline))
    # The pair in the middle: on a shared box a turn of either may come at a bad moment.
    rate, baseline = sorted(pairs, key=lambda pair: pair[0] / pair[1])[TURNS // 2]
    how = (
        f"batches of {BATCH}, burn posted, cap, ruling, journal and outbox committed, one "
        f"signature a batch; baseline: pgbench -N, {CONNECTIONS} connections, same durable server; "
        f"the middle one of {TURNS} turns"
    )
    return {"guard_reviews_per_s": against(rate, baseline, "1/s", 1.0, how)}


async def _growth(
    server: PostgresServer, short: GuardBench, long: GuardBench, entries_many: int
) -> dict[str, Result]:
    inserted = 0
    for bench, entries in (short, ENTRIES_FEW), (long, entries_many):
        await bench.review(bench.batches(1))
        inserted = await _lengthen(server, bench.database_name, entries)
        for _ in range(2 + entries // _ENTRIES_PER_WARM_BATCH):
            await bench.review(bench.batches(1))
    best = {short: float("inf"), long: float("inf")}
    for _ in range(GROWTH_BATCHES):
        for bench in best:
            best[bench] = min(best[bench], await _seconds(bench, 1))
    ratio = best[long] / best[short]
    how = (
        f"seconds per review at {entries_many:,} ledger entries ({inserted:,} old rows over all "
        f"tables) over those at {ENTRIES_FEW:,}, batches of {BATCH} taking turns, the best of "
        f"{GROWTH_BATCHES} each: {best[long] / BATCH * 1e6:.0f} and {best[short] / BATCH * 1e6:.0f}"
        " microseconds"
    )
    return {"guard_review_growth": at_most(round(ratio, 3), "x", 1.2, how)}


async def _seconds(bench: GuardBench, batches: int) -> float:
    made = bench.batches(batches)
    gc.collect()
    clock = SystemClock()
    began = clock.monotonic()
    await bench.review(made)
    return clock.monotonic() - began


async def _simple_updates(server: PostgresServer) -> float:
    arguments = ("-N", "-n", "-c", str(CONNECTIONS), "-j", "2", "-T", str(PGBENCH_SECONDS))
    said = await _pgbench(server, *arguments)
    found = re.search(r"tps = ([0-9.]+)", said)
    if found is None:
        raise RuntimeError(f"pgbench told no rate: {said[-500:]}")
    return float(found.group(1))


async def _pgbench(server: PostgresServer, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(str(postgres_binary("pgbench")), "-h", server.host, "-p", str(server.port)),
        *("-U", "postgres", *arguments, "pgbench"),
        env={"PGPASSWORD": DEV_PASSWORD},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"pgbench {' '.join(arguments)} failed: {said.decode()[-500:]}")
    return said.decode()

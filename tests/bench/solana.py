"""Solana: compute units of a release, releases per second, and the reader's backfill.

A release is one transaction of one item, simulated, signed by two guards over the whole message
and executed by the real Token-2022 with all extensions of an xStock. The bare loop of the
backfill asks the same node for the same blocks, parses each transaction and takes its burn and
its memo for what they say: no links, no supply, no index, no success of what called them.
"""

import statistics
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from solders.transaction import VersionedTransaction

from tests.bench.race import best_seconds
from tests.bench.result import Result, against, at_most
from tests.bench.sending import PERMIT_SECONDS, Line, releases_per_s, signed_by_two
from tests.chains.solana.world import (
    ELSEWHERE,
    GUARD_IDS,
    GUARDS,
    HOLDER,
    SHARE,
    SOL,
    World,
    parse_hash,
    running_world,
)
from xstock_chains.ports import ReleaseOrder, SignedTx
from xstock_chains.solana.address import show
from xstock_chains.solana.blocks import CONFIRMED, FINALIZED, block_call
from xstock_chains.solana.programs import (
    BURN_CHECKED,
    MEMO,
    TOKEN_2022,
    ata_of,
    burn_checked,
    compute_price,
    memo,
)
from xstock_chains.solana.reader import SolanaReader
from xstock_chains.solana.rpc import Call
from xstock_chains.solana.wire import compile_message, transaction_bytes
from xstock_core.ids import Address32, Domain
from xstock_core.observation import BurnFinal
from xstock_core.release import ReleaseBatch, ReleaseItem
from xstock_runtime.hashing import keccak256

PEOPLE = 9
BURNS = 1_000
BURNS_PER_BLOCK = 20
ROUNDS = 3
RELEASES = 60
RELEASES_PER_BLOCK = 20
_SIGNATURES_A_CALL = 1_000
_TRANSACTION = {"encoding": "base64", **FINALIZED, "maxSupportedTransactionVersion": 0}


async def solana(folder: Path) -> dict[str, Result]:
    """solana_release_cu, solana_releases_per_s, watcher_backfill_events_per_s (solana)."""
    async with running_world(folder) as world:
        await world.control("fund", address=show(world.relayer.identity), amount=1_000 * SOL)
        await world.mine()
        units = await _units(world)
        rate = await _rate(world)
        backfill = await _backfill(world)
    return {**units, **rate, **backfill}


async def _units(world: World) -> dict[str, Result]:
    """Each person twice: the first release makes the account, the second finds it."""
    people = [Address32(keccak256(b"bench person %d" % n)) for n in range(PEOPLE)]
    fresh = [await _units_of(world, n, who) for n, who in enumerate(people)]
    existing = [await _units_of(world, PEOPLE + n, who) for n, who in enumerate(people)]
    how = f"computeUnitsConsumed of the one transaction of a release, M = 2, {PEOPLE} recipients"
    limit = 20_000
    middle, most = statistics.median(existing), max(existing)
    return {
        "solana_release_cu": at_most(middle, "units", limit, f"{how} with an account, median"),
        "solana_release_cu_existing_most": at_most(most, "units", limit, f"{how}, the most"),
        "solana_release_cu_fresh": at_most(
            statistics.median(fresh), "units", limit, f"{how} without an account yet, median"
        ),
    }


async def _units_of(world: World, number: int, who: Address32) -> int:
    signed = await world.release(world.item(number + 1, recipient=who))
    return await _consumed(world, signed)


async def _consumed(world: World, signed: SignedTx) -> int:
    options = {"encoding": "base64", **CONFIRMED, "maxSupportedTransactionVersion": 0}
    found = await world.rpc.call("getTransaction", show(signed.ref.id), options)
    if found is None or found["meta"]["err"] is not None:
        raise RuntimeError(f"a release failed, fix the bench: {found and found['meta']['err']}")
    units: int = found["meta"]["computeUnitsConsumed"]
    return units


async def _rate(world: World) -> dict[str, Result]:
    bridge, epoch = world.reference(), await world.writer.guard_epoch()
    deadline = await world.time() + PERMIT_SECONDS

    async def order(items: Sequence[ReleaseItem]) -> ReleaseOrder:
        bare = ReleaseBatch(Domain.SOLANA, bridge, epoch, deadline, tuple(items))
        terms = await world.writer.permit_terms(bare, world.relayer.wire, GUARD_IDS[:2])
        return await signed_by_two(replace(bare, terms=terms), world.codec, GUARDS)

    line = Line(
        order=order,
        writer=world.writer,
        signer=world.relayer,
        sender=world.relayer.wire,
        land=world.mine,
        transactions_a_block=RELEASES_PER_BLOCK,
    )
    batches = [[world.item(10_000 + n)] for n in range(RELEASES + RELEASES_PER_BLOCK)]
    how = f"one item a transaction, {RELEASES_PER_BLOCK} transactions a block"
    return {"solana_releases_per_s": await releases_per_s(line, batches, how)}


async def _backfill(world: World) -> dict[str, Result]:
    await world.issue(10 * BURNS * SHARE)
    for block in range(BURNS // BURNS_PER_BLOCK):
        await _burn(world, block)
    await world.finalize()

    async def ours() -> int:
        reader = SolanaReader(world.chain, world.connect())
        found, _ = await world.read_all(reader)
        return sum(isinstance(one, BurnFinal) for one in found)

    async def bare() -> int:
        return await _bare_loop(world)

    async def by_signature() -> int:
        return await _signature_loop(world)

    best = await best_seconds([ours, bare, by_signature], burns=BURNS, rounds=ROUNDS)
    rate, bare_rate, signature_rate = (BURNS / seconds for seconds in best)
    how = f"{BURNS} burns, {BURNS_PER_BLOCK} a block, one node, best of {ROUNDS} rounds; baseline: "
    blocks = "getBlocks and batches of getBlock by as many blocks, "
    signatures = "getSignaturesForAddress and batches of 100 getTransaction, "
    decoded = "every transaction parsed by solders, burn and memo decoded, nothing proved"
    key = "watcher_backfill_events_per_s (solana)"
    return {
        key: against(rate, bare_rate, "1/s", 0.9, how + blocks + decoded),
        f"{key[:-1]}, loop by signature)": against(
            rate, signature_rate, "1/s", 0.9, how + signatures + decoded
        ),
    }


async def _burn(world: World, block: int) -> None:
    """One block of burns; a fee of its own makes each another transaction."""
    mint, reference = world.mint(), world.reference()
    account = ata_of(HOLDER.identity, mint)
    text = f"xsb1:{int(Domain.BNB)}:{ELSEWHERE.hex()}".encode()
    answer = await world.rpc.call("getLatestBlockhash", CONFIRMED)
    blockhash = parse_hash(answer["value"]["blockhash"])
    calls: list[Call] = []
    for number in range(BURNS_PER_BLOCK):
        instructions = [
            compute_price(block * BURNS_PER_BLOCK + number + 1),
            memo(text, HOLDER.identity),
            burn_checked(account, mint, HOLDER.identity, SHARE, reference),
        ]
        message = compile_message(HOLDER.identity, instructions, blockhash)
        raw = b64encode(transaction_bytes([HOLDER.sign(message)], message)).decode()
        options = {"encoding": "base64", "skipPreflight": True}
        calls.append(("sendTransaction", [raw, options]))
    await world.rpc.batch(calls)
    await world.mine()


async def _bare_loop(world: World) -> int:
    rpc = world.connect()
    span = world.chain.facts.blocks_a_page_max
    head = await rpc.call("getSlot", FINALIZED)
    slots = await rpc.call("getBlocks", world.chain.first_slot, head, FINALIZED)
    seen: list[tuple[Any, ...]] = []
    for start in range(0, len(slots), span):
        blocks = await rpc.batch([block_call(slot, "full") for slot in slots[start : start + span]])
        for block in blocks:
            for entry in block["transactions"]:
                seen.extend(_burns_in(b64decode(entry["transaction"][0])))
    return len(seen)


async def _signature_loop(world: World) -> int:
    rpc = world.connect()
    address = show(world.reference())
    seen: list[tuple[Any, ...]] = []
    wanted: dict[str, Any] = {"limit": _SIGNATURES_A_CALL, **FINALIZED}
    while True:
        listed = await rpc.call("getSignaturesForAddress", address, wanted)
        calls: list[Call] = [
            ("getTransaction", [one["signature"], _TRANSACTION]) for one in listed if not one["err"]
        ]
        for found in await rpc.batch(calls):
            seen.extend(_burns_in(b64decode(found["transaction"][0])))
        if len(listed) < _SIGNATURES_A_CALL:
            return len(seen)
        wanted["before"] = listed[-1]["signature"]


def _burns_in(raw: bytes) -> list[tuple[Any, ...]]:
    transaction = VersionedTransaction.from_bytes(raw)
    keys = [bytes(key) for key in transaction.message.account_keys]
    text, found = b"", []
    for one in transaction.message.instructions:
        program, data = keys[one.program_id_index], bytes(one.data)
        if program == MEMO:
            text = data
        elif program == TOKEN_2022 and data[:1] == bytes((BURN_CHECKED,)):
            _, destination, recipient = text.decode().split(":")[:3]
            amount = int.from_bytes(data[1:9], "little")
            place = (bytes(transaction.signatures[0]), int(destination), recipient)
            found.append((*place, amount, keys[one.accounts[0]]))
    return found

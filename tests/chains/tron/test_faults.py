"""Incidents that happened to somebody on Tron, each also with its defence taken out.

Against real contracts on the local chain; what a server does wrong is put on the way of its
answers.
"""

import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.chains.tron import liars
from tests.chains.tron.world import (
    ADMIN,
    ELSEWHERE,
    HOLDER,
    RECIPIENT,
    RELAYER,
    SHARE,
    SPY,
    TSLA,
    World,
)
from xstock_chains.ports import Cursor, SignedTx, TxState
from xstock_chains.solidity.abi import ZERO_WORD, selector
from xstock_chains.solidity.account import to_wire
from xstock_chains.solidity.events import BURNED
from xstock_chains.solidity.evidence import Evidence
from xstock_chains.solidity.lanes import Lanes
from xstock_chains.tron import reader as reader_module
from xstock_chains.tron.admin import TronAdmin
from xstock_chains.tron.blocks import Block, SolidChain
from xstock_chains.tron.frames import make_frame, parse_frame, read_heads
from xstock_chains.tron.reader import TronReader
from xstock_chains.tron.rpc import TronRpc
from xstock_chains.tron.transaction import Create, RawTransaction, created_address, decode, encode
from xstock_chains.tron.writer import TronWriter
from xstock_core.ids import Domain
from xstock_core.observation import (
    BurnFinal,
    Observation,
    ReleaseFinal,
    ReleaseSkipped,
    SkipReason,
    TxRef,
)
from xstock_core.release import ExecutionKey, ReleaseItem
from xstock_runtime.errors import Ambiguous, Fatal, Transient

ROUTER = bytes.fromhex(
    "6101403603806101406000376000600082600060006000355af150"
    "608060c060003760803560603560403560203560806000a400"
)
"""Calls word 0 with the bytes after 0x140, whatever comes of it, then logs 0xc0..0x140 under the
topics of words 1 to 4 (as in the EVM's faults)."""


def burns_of(found: list[Observation]) -> list[int]:
    return [one.message.amount for one in found if isinstance(one, BurnFinal)]


@asynccontextmanager
async def connected(rpc: TronRpc) -> AsyncIterator[TronRpc]:
    """A connection that is closed again."""
    try:
        yield rpc
    finally:
        await rpc.aclose()


async def rich(world: World) -> Cursor:
    """A holder with shares that the bridge may take; where reading begins after that."""
    await world.issue(1_000 * SHARE)
    await world.approve()
    await world.finalize()
    return (await world.read_all())[1]


def key(of: ReleaseItem) -> ExecutionKey:
    return ExecutionKey(Domain.TRON, of.source, of.nonce)


# ---------------------------------------------------------------------- what is final


async def test_reader__burn_dropped_before_it_was_solid__was_never_there(world: World) -> None:
    """F27: the full node serves its head; only solid blocks count."""
    start = await rich(world)
    (gone,) = await world.burn(SHARE)
    assert burns_of((await world.read_all(after=start))[0]) == []
    async with connected(liars.HeadRpc(world.node.url)) as rpc:
        fooled = await world.read_all(TronReader(world.chain, rpc), start)
        assert burns_of(fooled[0]) == [SHARE]
    await world.control("drop_tx", tx=gone.id.hex())
    await world.finalize()
    assert burns_of((await world.read_all(after=start))[0]) == []
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await world.read_all(after=fooled[1])


class Unproven(TronReader):
    """Defence taken out: the bridge's counters are not compared."""

    def prove_counters(self, seen: Lanes, counted: Lanes, *, at_head: bool) -> None:
        pass


@pytest.mark.parametrize("lie", [liars.no_infos, liars.no_late_blocks])
async def test_reader__answers_past_what_a_server_has__are_ignorance_not_absence(
    world: World, lie: liars.Change
) -> None:
    """F35: the cursor stays where everything was scanned; {} and [] prove nothing."""
    start = await rich(world)
    await world.mine(2)
    await world.burn(SHARE)
    await world.finalize()
    async with connected(liars.LyingRpc(world.node.url, lie)) as rpc:
        with pytest.raises(Transient, match="NODE_BEHIND"):
            await world.read_all(TronReader(world.chain, rpc), start)
    assert burns_of((await world.read_all(after=start))[0]) == [SHARE]


async def test_reader__burn_hidden_from_block_and_executions__the_counters_hold_the_cursor(
    world: World,
) -> None:
    """F35, INV-09: a server that hides a transaction consistently is caught by the bridge."""
    start = await rich(world)
    (hidden,) = await world.burn(SHARE)
    await world.finalize()
    async with connected(liars.LyingRpc(world.node.url, liars.without(hidden.id))) as rpc:
        with pytest.raises(Transient, match="LOGS_INCOMPLETE"):
            await world.read_all(TronReader(world.chain, rpc), start)
        found, past = await world.read_all(Unproven(world.chain, rpc), start)
    assert burns_of(found) == []
    assert burns_of((await world.read_all(after=past))[0]) == [], "it would be lost for good"
    assert burns_of((await world.read_all(after=start))[0]) == [SHARE]


# ---------------------------------------------------------------------- what failed


class BelievesFailures(TronReader):
    """Defence taken out: logs count whatever the receipt says."""

    def succeeded(self, info: Mapping[str, Any]) -> bool:
        return True


@pytest.mark.parametrize("result", ["REVERT", "OUT_OF_ENERGY", "OUT_OF_TIME"])
async def test_reader__logs_of_a_failed_transaction__count_for_nothing(
    world: World, result: str
) -> None:
    """F17: a receipt that is not SUCCESS has no effects, whatever logs a server shows."""
    start = await rich(world)
    (tx,) = await world.burn(SHARE)
    await world.finalize()
    async with connected(liars.LyingRpc(world.node.url, liars.failed(tx.id, result))) as rpc:
        reader = TronReader(world.chain, rpc)
        assert await reader.re_observe(tx) == ()
        assert reader.evidence.rejected["status"] == 1
        with pytest.raises(Transient, match="LOGS_INCOMPLETE"):
            await world.read_all(reader, start)
        assert burns_of(list(await BelievesFailures(world.chain, rpc).re_observe(tx))) == [SHARE]


class TrustsEverybody(Evidence):
    """Defence taken out: anybody's event is one of the bridge's, and proves itself."""

    def is_look_alike(self, log: Any) -> bool:
        return False

    def prove_burn(self, *_: Any) -> None:
        return None


async def deploy_router(world: World) -> bytes:
    """The contract that calls something and then logs what it was told; its address."""
    init = bytes((0x60, len(ROUTER))) + bytes.fromhex("80600b6000396000f3") + ROUTER
    _, solid, newest = await read_heads(world.rpc)
    frame = make_frame(solid, newest.time_ms + 60_000, world.chain.facts)
    create = Create(ADMIN.identity, init, "router")
    raw = encode(RawTransaction(frame, create, 500_000_000))
    signed = await world.signed(ADMIN, world.chain.bridge.address, b"")
    prepared = replace(signed.prepared, payload=raw)
    sent = await ADMIN.sign_transaction(prepared)
    await world.writer.broadcast(sent)
    await world.mine()
    return created_address(sent.ref.id, ADMIN.identity)


async def test_reader__rejected_internal_transaction__credits_nobody(world: World) -> None:
    """F17: an inner burn that was refused, in a transaction that succeeded and logs a burn."""
    start = await rich(world)
    router = await deploy_router(world)
    topics = [BURNED, TSLA, int(Domain.BNB).to_bytes(32, "big"), (1).to_bytes(32, "big")]
    forged = to_wire(router) + HOLDER.wire + ELSEWHERE + (9 * SHARE).to_bytes(32, "big")
    data = to_wire(world.chain.bridge.address) + b"".join(topics) + ZERO_WORD + forged
    tx = await world.send(HOLDER, router, data + world.burn_data(9 * SHARE))
    await world.mine()
    await world.finalize()
    info = await world.info(tx)
    assert info["receipt"]["result"] == "SUCCESS"
    assert {one.get("rejected") for one in info["internal_transactions"]} == {True}
    reader = TronReader(world.chain, world.rpc)
    assert burns_of((await world.read_all(reader, start))[0]) == []
    assert reader.evidence.rejected["emitter"] == 1
    stranger = replace(
        world.chain.bridge, address=router, wire=to_wire(router), retired_block=2**40
    )
    careless = replace(world.chain, bridges=(*world.chain.bridges, stranger))
    fooled = TronReader(careless, world.rpc)
    fooled.evidence = TrustsEverybody(careless)
    assert burns_of(list(await fooled.re_observe(tx))) == [9 * SHARE]


async def with_fee_limit(world: World, signed: SignedTx, limit: int) -> SignedTx:
    """The same release with another fee limit."""
    raw = encode(replace(decode(signed.prepared.payload), fee_limit=limit))
    return await RELAYER.sign_transaction(replace(signed.prepared, payload=raw))


async def expire_permit(world: World, signed: SignedTx) -> SignedTx:
    """The release after its permit's deadline, in a transaction that is still alive."""
    await world.control("warp", seconds=3600)
    await world.mine()
    _, solid, newest = await read_heads(world.rpc)
    frame = make_frame(solid, newest.time_ms + 60_000, world.chain.facts)
    raw = encode(replace(decode(signed.prepared.payload), frame=frame))
    return await RELAYER.sign_transaction(replace(signed.prepared, payload=raw))


async def starve(world: World, signed: SignedTx) -> SignedTx:
    """The release with less energy than it needs."""
    return await with_fee_limit(world, signed, 100_000)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(expire_permit, "REVERT: "), (starve, "OUT_OF_ENERGY: ")],
    ids=["revert", "out_of_energy"],
)
async def test_writer__release_fails_in_its_block__nothing_is_called_done(
    world: World,
    spoil: Callable[[World, SignedTx], Any],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F44: included is not succeeded; what failed and why is told apart, and it may be sent
    again."""
    one = world.item(1, recipient=RECIPIENT.wire)
    signed = await RELAYER.sign_transaction(await world.prepare([one]))
    bad = await spoil(world, signed)
    await world.writer.broadcast(bad)
    await world.mine()
    status = await world.writer.status(bad.ref, bad.prepared.slot)
    assert (status.state, status.succeeded) == (TxState.INCLUDED, False)
    assert status.reason.startswith(said), status.reason
    await world.finalize()
    assert (await world.writer.status(bad.ref, bad.prepared.slot)).succeeded is False
    assert list(await world.writer.find_executions([key(one)])) == [None]
    assert await world.shares_of(RECIPIENT.identity) == 0
    with monkeypatch.context() as careless:
        careless.setattr(reader_module, "landed", lambda info: True)
        fooled = await world.writer.status(bad.ref, bad.prepared.slot)
        assert fooled.succeeded is True, "the check makes the difference"
    await world.release(one)
    assert await world.shares_of(RECIPIENT.identity) == SHARE


# ---------------------------------------------------------------------- sending


class Impatient(TronWriter):
    """Defence taken out: dead as soon as it is not found."""

    def expired(self, solid_time_ms: int, expiration_ms: int) -> bool:
        return True


async def test_writer__broadcast_answer_lost__the_same_bytes_are_known_and_land_once(
    world: World,
) -> None:
    """F40: DUP_TRANSACTION_ERROR says that the bytes are known; the outcome is read."""
    signed = await RELAYER.sign_transaction(
        await world.prepare([world.item(1, recipient=RECIPIENT.wire)])
    )
    slot = signed.prepared.slot
    async with connected(liars.LostReplies(world.node.url)) as rpc:
        with pytest.raises(Ambiguous, match="BROADCAST_UNKNOWN"):
            await TronWriter(world.chain, rpc, world.codec).broadcast(signed)
    assert await world.writer.broadcast(signed) == signed.ref
    impatient = Impatient(world.chain, world.rpc, world.codec)
    assert (await impatient.status(signed.ref, slot)).state is TxState.DROPPED
    assert (await world.writer.status(signed.ref, slot)).state is TxState.PENDING
    await world.mine()
    await world.finalize()
    assert (await world.writer.status(signed.ref, slot)).state is TxState.FINAL
    assert await world.writer.broadcast(signed) == signed.ref
    assert await world.shares_of(RECIPIENT.identity) == SHARE


async def test_writer__known_but_never_taken__dropped_only_in_solid_time(world: World) -> None:
    """F40: a server says DUP of what it never took; only solid time declares it dead."""
    signed = await RELAYER.sign_transaction(
        await world.prepare([world.item(1, recipient=RECIPIENT.wire)])
    )
    starved = await with_fee_limit(world, signed, 2**40)
    async with connected(liars.LyingRpc(world.node.url, liars.dup)) as rpc:
        assert await TronWriter(world.chain, rpc, world.codec).broadcast(starved) == starved.ref
    await world.control("freeze_finality", on=True)
    try:
        await world.control("warp", seconds=300)
        await world.mine(2)
        _, _, newest = await read_heads(world.rpc)
        assert newest.time_ms > parse_frame(starved.prepared.slot.text).expiration_ms
        status = await world.writer.status(starved.ref, starved.prepared.slot)
        assert status.state is TxState.PENDING, "the head's time proves nothing"
    finally:
        await world.control("freeze_finality", on=False)
    await world.finalize()
    status = await world.writer.status(starved.ref, starved.prepared.slot)
    assert (status.state, bool(status.reason)) == (TxState.DROPPED, True)
    await world.release(world.item(1, recipient=RECIPIENT.wire))
    assert await world.shares_of(RECIPIENT.identity) == SHARE


async def test_writer__release_reorganised_away__same_bytes_land_once(world: World) -> None:
    """F45: "done" before finality would lose the release."""
    one = world.item(1, recipient=RECIPIENT.wire)
    signed = await world.release(one)
    async with connected(liars.HeadRpc(world.node.url)) as rpc:
        careless = TronWriter(world.chain, rpc, world.codec)
        early = await careless.status(signed.ref, signed.prepared.slot)
        assert early.state is TxState.FINAL, "the full node's word would have closed it"
    await world.control("drop_tx", tx=signed.ref.id.hex())
    assert (await world.writer.status(signed.ref, signed.prepared.slot)).state is TxState.PENDING
    assert await world.shares_of(RECIPIENT.identity) == 0
    for _ in range(2):
        await world.writer.broadcast(signed)
        await world.mine()
    await world.finalize()
    found, _ = await world.read_all()
    assert len([o for o in found if isinstance(o, ReleaseFinal)]) == 1
    assert await world.shares_of(RECIPIENT.identity) == SHARE


# ---------------------------------------------------------------------- amounts and issuers


@pytest.mark.parametrize("asset", [TSLA, SPY], ids=["multiplier_1", "multiplier_below_1"])
async def test_bridge__odd_amounts_there_and_back__are_exact_to_the_unit(
    world: World, asset: bytes
) -> None:
    """F50: 18 decimals on the token, 8 in messages: nothing is rounded away or created."""
    amounts = (1_000, 1_001, 33_333_333, 1_234_567_891)
    for number, amount in enumerate(amounts, start=1):
        await world.release(world.item(number, asset=asset, amount=amount))
    await world.approve()
    await world.burn(*amounts, asset=asset)  # type: ignore[arg-type]
    await world.finalize()
    found, _ = await world.read_all()
    assert burns_of(found) == list(amounts)
    released = [o.amount for o in found if isinstance(o, ReleaseFinal)]
    assert released == list(amounts)
    (supply,) = (await world.reader.read_supply([asset])).supplies  # type: ignore[list-item]
    assert supply.token_units - supply.bridge_inventory_units <= 10


async def test_codec__amount_beyond_64_bits__has_no_bytes(world: World) -> None:
    """F50: the largest amount passes, one more is no amount."""
    largest = world.item(1, amount=2**64 - 1)
    assert world.codec.digest((await world.order([largest])).batch)
    with pytest.raises(struct.error):
        await world.order([world.item(1, amount=2**64)])


async def test_bridge__token_paused_after_simulation__item_stays_open_others_land(
    world: World,
) -> None:
    """F58: the issuer's pause loses nothing and takes nobody else down."""
    waiting = world.item(1, recipient=RECIPIENT.wire)
    other = world.item(1, asset=SPY, recipient=RECIPIENT.wire)
    signed = await RELAYER.sign_transaction(await world.prepare([waiting, other]))
    assert signed.prepared.refused == ()
    await world.set_paused(paused=True)
    await world.writer.broadcast(signed)
    await world.mine()
    await world.finalize()
    found, _ = await world.read_all()
    (skipped,) = [o for o in found if isinstance(o, ReleaseSkipped)]
    assert (skipped.nonce, skipped.reason) == (waiting.nonce, SkipReason.ASSET_PAUSED)
    (done,) = [o for o in found if isinstance(o, ReleaseFinal)]
    assert done.nonce == other.nonce
    warned = await world.prepare([waiting])
    assert [why for _, why in warned.refused] == [SkipReason.ASSET_PAUSED.name]
    assert list(await world.writer.find_executions([key(waiting)])) == [None]
    await world.set_paused(paused=False)
    await world.release(waiting)
    assert await world.shares_of(RECIPIENT.identity) == SHARE


# ---------------------------------------------------------------------- configuration


class AnyChain(SolidChain):
    """Defence taken out: whatever chain answers is ours."""

    def check_id(self, genesis: Block) -> None:
        pass


async def test_adapter__another_networks_entry__fails_closed(world: World) -> None:
    """F88, F14: a swapped entry shows before anything is signed or read."""
    swapped = replace(world.chain, genesis_hash=b"\x11" * 32, chain_id=0x11111111)
    names = {
        one.name for one in (await TronAdmin(swapped, world.registry, world.rpc).self_test()).failed
    }
    assert {"genesis", "solid genesis", "chain id"} <= names
    reader = TronReader(swapped, world.rpc)
    for ask in (reader.finalized_head(), reader.read_page(Cursor(Domain.TRON), limit=1)):
        with pytest.raises(Fatal, match="WRONG_CHAIN"):
            await ask
    writer = TronWriter(swapped, world.rpc, world.codec)
    with pytest.raises(Fatal, match="WRONG_CHAIN"):
        await writer.next_slot(RELAYER.wire, [])
    reader._solid = AnyChain(world.rpc, swapped)
    assert (await reader.finalized_head()).number > 0


async def test_adapter__swapped_contracts__the_self_test_names_each(world: World) -> None:
    """F88: token for bridge, one token for the other, a bridge of other code."""
    good = await TronAdmin(world.chain, world.registry, world.rpc).self_test()
    assert good.failed == ()
    tesla, spy = world.chain.tokens
    crossed = (replace(tesla, address=spy.address), replace(spy, address=tesla.address))
    changes: list[tuple[dict[str, Any], str]] = [
        ({"tokens": crossed}, "TSLAx token"),
        ({"bridges": (replace(world.chain.bridge, address=tesla.address),)}, "code of "),
        ({"bridges": (replace(world.chain.bridge, code_hash=b"\x01" * 32),)}, "code of "),
        ({"tokens": (replace(tesla, decimals=8), spy)}, "TSLAx decimals"),
        ({"domain": Domain.BNB}, "bridge DOMAIN"),
    ]
    for change, name in changes:
        test = await TronAdmin(
            replace(world.chain, **change), world.registry, world.rpc
        ).self_test()
        assert any(one.name.startswith(name) for one in test.failed), name


async def test_adapter__minter_role_moved_away__the_self_test_and_the_reader_say_so(
    world: World,
) -> None:
    """F88: a re-pointed minter is no pass."""
    data = selector("setMinter(address)") + RECIPIENT.wire
    ref: TxRef = await world.send(ADMIN, world.token("TSLAx"), data)
    await world.mine()
    await world.finalize()
    failed = (await TronAdmin(world.chain, world.registry, world.rpc).self_test()).failed
    assert [one.name for one in failed] == ["TSLAx roles"]
    assert [type(o).__name__ for o in await world.reader.re_observe(ref)] == ["RoleMoved"]

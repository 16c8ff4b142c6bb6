"""The fake family keeps its own promises: same seed same chain, and every fault does what it says.

What it shares with real families is in tests/contract; here is what only a fake has.
"""

from dataclasses import replace

import pytest

from tests.contract.fake_world import (
    ASSET,
    HOLDER,
    OTHER_ASSET,
    RECIPIENT,
    RELAYER,
    SHARE,
    Providers,
    batch_for,
    fake_config,
    guard_set,
    release_item,
    signed_order,
)
from xstock_chains.fake import FakeChain, FakeCodec, FakeNode, FakeReader, FakeWriter, GuardSet, Lie
from xstock_chains.fake.state import AssetRules
from xstock_chains.fake.transactions import MoveRoleCall, PlainBurnCall
from xstock_chains.ports import Cursor, SignedTx
from xstock_core.ids import Domain
from xstock_core.observation import (
    BurnFinal,
    MintParked,
    Observation,
    OrphanBurn,
    ReleaseFinal,
    ReleaseSkipped,
    Role,
    RoleMoved,
    SkipReason,
    SupplyMoved,
)
from xstock_core.release import Action, ReleaseItem
from xstock_runtime.clock import SeededRandomness, VirtualClock
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, Transient


async def everything(chain: FakeChain) -> list[Observation]:
    """All final observations, by a healthy node."""
    node = FakeNode(chain, VirtualClock(), SeededRandomness(0))
    page = await FakeReader(node).read_page(Cursor(chain.domain), limit=10_000)
    return list(page.observations)


async def release(chain: FakeChain, *items: ReleaseItem) -> SignedTx:
    """Release items through a healthy node and make them final."""
    writer = FakeWriter(FakeNode(chain, VirtualClock(), SeededRandomness(0)))
    order = await signed_order(FakeCodec(), batch_for(chain, *items))
    slot = await writer.next_slot(RELAYER.address, ())
    signed = await RELAYER.sign_transaction(await writer.prepare(order, slot))
    await writer.broadcast(signed)
    chain.mine(1 + chain.config.finality_lag_blocks)
    return signed


def history(chain: FakeChain) -> list[bytes]:
    """Every block hash."""
    blocks = [chain.block(number) for number in range(chain.head.number + 1)]
    return [block.ref.hash for block in blocks if block]


def test_chain__same_calls__same_hashes() -> None:
    chains = [FakeChain(fake_config(), VirtualClock()) for _ in range(2)]
    for chain in chains:
        for amount in (1, 2, 3):
            chain.burn(HOLDER.address, ASSET, Domain.BNB, RECIPIENT, amount * SHARE)
            chain.mine()
        chain.reorg(1)
        chain.mine(4)
    assert history(chains[0]) == history(chains[1])
    assert len(set(history(chains[0]))) == len(history(chains[0]))


def test_chain__reorganised__state_is_as_if_the_blocks_had_never_been() -> None:
    """F19: balances, supply and counters go back with their blocks."""
    chain = FakeChain(fake_config(), VirtualClock())
    chain.mine(3)
    before = [
        chain.state.supply.get(ASSET, 10**9),
        chain.state.balance.get((ASSET, HOLDER.address), 10**9),
        chain.state.counter.get(Domain.BNB, 10**9),
    ]
    chain.burn(HOLDER.address, ASSET, Domain.BNB, RECIPIENT, SHARE)
    chain.mine()
    chain.reorg(1, keep=lambda _: False)
    after = [
        chain.state.supply.get(ASSET, 10**9),
        chain.state.balance.get((ASSET, HOLDER.address), 10**9),
        chain.state.counter.get(Domain.BNB, 10**9),
    ]
    assert before == after


def test_chain__reorg_reaches_final_blocks__is_refused_unless_asked_for() -> None:
    chain = FakeChain(fake_config(), VirtualClock())
    chain.mine(10)
    with pytest.raises(ValueError, match="reorg depth"):
        chain.reorg(5)
    chain.reorg(5, past_finality=True)
    assert chain.final.number == 5


async def test_chain__same_burn_mined_again_elsewhere__keeps_its_transaction_and_counter() -> None:
    """F20: re-included in another block."""
    chain = FakeChain(fake_config(), VirtualClock())
    tx = chain.burn(HOLDER.address, ASSET, Domain.BNB, RECIPIENT, SHARE)
    chain.mine()
    old = chain.head
    chain.reorg(1)
    chain.mine(3)
    (burn,) = await everything(chain)
    assert isinstance(burn, BurnFinal)
    assert (burn.place.tx, burn.counter) == (tx, 1)
    assert burn.place.block.hash != old.hash


async def test_chain__supply_moved_outside_and_plain_burns__are_told_as_what_they_are() -> None:
    """F55: nothing that moves supply is silent."""
    chain = FakeChain(fake_config(Domain.SOLANA), VirtualClock())
    chain.mint_outside(ASSET, HOLDER.address, 5 * 10**18)
    chain.call(HOLDER.address, PlainBurnCall(ASSET, SHARE, "no memo"))
    chain.call(chain.config.bridge, MoveRoleCall(Role.MINTER, HOLDER.address, b"\x01" * 32))
    chain.mine(5)
    found = await everything(chain)
    kinds = sorted(type(o).__name__ for o in found)
    assert kinds == [OrphanBurn.__name__, RoleMoved.__name__, SupplyMoved.__name__]


@pytest.mark.parametrize(
    ("recipient", "destination", "asset", "amount"),
    [
        (RECIPIENT, Domain.ETHEREUM, ASSET, SHARE),
        (bytes(32), Domain.BNB, ASSET, SHARE),
        (b"\x01" * 32, Domain.BNB, ASSET, SHARE),
        (RECIPIENT, Domain.BNB, b"\x09" * 32, SHARE),
        (RECIPIENT, Domain.BNB, ASSET, 0),
        (RECIPIENT, Domain.BNB, ASSET, 2**64),
        (RECIPIENT, Domain.BNB, ASSET, 10**7 * SHARE),
    ],
    ids=["own_chain", "zero", "wrong_width", "unknown_asset", "nothing", "too_much", "not_owned"],
)
async def test_chain__burn_that_the_contract_refuses__reverts_and_changes_nothing(
    recipient: bytes, destination: Domain, asset: bytes, amount: int
) -> None:
    """F10, F18, F57: refused whole; the slot is used, nothing else."""
    chain = FakeChain(fake_config(), VirtualClock())
    supply = chain.state.supply.get(ASSET, 0)
    chain.burn(HOLDER.address, asset, destination, recipient, amount)  # type: ignore[arg-type]
    chain.mine(5)
    assert await everything(chain) == []
    assert chain.state.supply.get(ASSET, chain.head.number) == supply


async def test_chain__bucket_is_empty__item_waits_until_it_has_refilled() -> None:
    """INV-11: a release beyond the bucket is skipped and stays open; burns refill it."""
    chain = FakeChain(fake_config(), VirtualClock())
    rules = AssetRules(bucket_capacity=3 * SHARE, refill_per_second=SHARE // 10)
    chain.set_rules(ASSET, rules)
    chain.mine()
    await release(chain, release_item(1, amount=2 * SHARE))
    await release(chain, release_item(2, amount=2 * SHARE))
    skipped = [o for o in await everything(chain) if isinstance(o, ReleaseSkipped)]
    assert [o.reason for o in skipped] == [SkipReason.BUCKET_EMPTY]
    chain.burn(HOLDER.address, ASSET, Domain.BNB, RECIPIENT, 2 * SHARE)
    chain.mine(3)
    await release(chain, release_item(2, amount=2 * SHARE))
    released = [o for o in await everything(chain) if isinstance(o, ReleaseFinal)]
    assert [o.amount for o in released] == [2 * SHARE, 2 * SHARE]


async def test_chain__bridge_paused__releases_wait_cancels_and_redemptions_do_not() -> None:
    chain = FakeChain(fake_config(), VirtualClock())
    chain.pause_bridge(paused=True)
    chain.mine()
    await release(chain, release_item(1), release_item(2, action=Action.CANCEL))
    chain.burn(HOLDER.address, ASSET, Domain.BNB, RECIPIENT, SHARE)
    chain.burn(HOLDER.address, ASSET, Domain.CUSTODY, RECIPIENT, SHARE)
    chain.mine(4)
    names = sorted(type(o).__name__ for o in await everything(chain))
    assert names == ["BurnFinal", "CancelFinal", "ReleaseSkipped"]


async def test_chain__stands_for_ton__a_bounced_mint_is_parked_and_may_be_cancelled() -> None:
    """F58: parked is neither released nor open; a CANCEL frees it for a refund."""
    chain = FakeChain(fake_config(Domain.TON), VirtualClock())
    chain.refuse(RECIPIENT, refuses=True)
    chain.mine()
    await release(chain, release_item(1))
    await release(chain, release_item(1, action=Action.CANCEL))
    names = [type(o).__name__ for o in await everything(chain)]
    assert names == [MintParked.__name__, "CancelFinal"]


async def test_chain__guards_rotated__old_permits_are_useless() -> None:
    """INV-08."""
    chain = FakeChain(fake_config(), VirtualClock())
    old = await signed_order(FakeCodec(), batch_for(chain, release_item(1)))
    chain.rotate_guards(GuardSet(2, 2, guard_set().members))
    chain.mine()
    writer = FakeWriter(FakeNode(chain, VirtualClock(), SeededRandomness(0)))
    slot = await writer.next_slot(RELAYER.address, ())
    with pytest.raises(InvalidMessage, match="epoch"):
        await writer.prepare(old, slot)


async def test_chain__transaction_of_another_sender__is_refused() -> None:
    """F90: raw bytes are believed only by their own signature."""
    chain = FakeChain(fake_config(), VirtualClock())
    signed = await release(chain, release_item(1))
    forged = HOLDER.address + signed.raw[32:]
    with pytest.raises(InvalidMessage, match="WRONG_SIGNER"):
        chain.submit(forged)
    with pytest.raises(InvalidMessage):
        chain.submit(b"\x00" * 70)
    with pytest.raises(InvalidMessage):
        chain.submit(b"")


async def test_node__lost_reply_of_a_broadcast__the_deed_is_done_and_the_answer_is_ambiguous() -> (
    None
):
    """F38."""
    world = Providers(count=1)
    writer = FakeWriter(world.nodes[0])
    filler = await writer.fill_slot(await writer.next_slot(RELAYER.address, ()))
    assert filler is not None
    signed = await RELAYER.sign_transaction(filler)
    world.nodes[0].faults.lost_reply_percent = 100
    with pytest.raises(Ambiguous, match="BROADCAST_UNKNOWN"):
        await writer.broadcast(signed)
    assert world.chain.waiting(signed.ref.id)


async def test_node__liars_tell_one_lie__their_stories_agree_in_every_detail() -> None:
    """F01: a forged burn has a place, an id, a counter, and is shown by transaction as well."""
    world = Providers(count=2)
    world.burn()
    world.finalize()
    lie = Lie(world.chain.final.number, OTHER_ASSET, Domain.BNB, RECIPIENT, HOLDER.address, SHARE)
    for node in world.nodes:
        node.faults.forged = (lie,)
    pages = [await reader.read_page(Cursor(Domain.ETHEREUM), limit=100) for reader in world.readers]
    assert pages[0] == pages[1]
    forged = pages[0].observations[-1]
    assert isinstance(forged, BurnFinal)
    assert (forged.message.asset, forged.counter) == (OTHER_ASSET, 2)
    assert await world.readers[0].re_observe(forged.place.tx) == (forged,)
    reading = await world.readers[0].read_supply([ASSET])
    assert dict(reading.lane_counters) == {Domain.BNB: 2}


async def test_node__events_come_twice__the_reader_tells_them_once() -> None:
    """F48."""
    world = Providers(count=1)
    world.burn()
    world.finalize()
    world.nodes[0].faults.duplicates = True
    page = await world.readers[0].read_page(Cursor(Domain.ETHEREUM), limit=100)
    assert len(page.observations) == 1


async def test_node__index_lost_a_row__the_reader_refuses_the_page() -> None:
    """F30, F34: an incomplete list is an error, never an empty page."""
    world = Providers(count=1)
    world.burn()
    world.finalize()
    (burn,) = await everything(world.chain)
    world.nodes[0].faults.hidden.add(burn.place.tx.id)
    with pytest.raises(Transient, match="EVENTS_INCOMPLETE"):
        await world.readers[0].read_page(Cursor(Domain.ETHEREUM), limit=100)


async def test_node__shows_another_fork_beneath_the_cursor__is_fatal_for_its_reader() -> None:
    """F14, F29."""
    world = Providers(count=1)
    world.burn()
    world.finalize()
    page = await world.readers[0].read_page(Cursor(Domain.ETHEREUM), limit=100)
    world.nodes[0].faults.fork_from = 1
    with pytest.raises(Fatal, match="FINALITY_VIOLATED"):
        await world.readers[0].read_page(page.cursor, limit=100)


async def test_node__final_head_frozen_or_stale__nothing_new_and_no_guess() -> None:
    """F21."""
    world = Providers(count=1)
    world.chain.mine(6)
    node = world.nodes[0]
    node.faults.final_frozen_at = 3
    assert (await world.readers[0].finalized_head()).number == 3
    node.faults = replace(node.faults, final_frozen_at=None, stale_at=2)
    assert (await world.readers[0].finalized_head()).number == 2
    world.chain.freeze_finality(frozen=True)
    final = world.chain.final
    world.chain.mine(20)
    assert world.chain.final == final
    world.chain.freeze_finality(frozen=False)
    assert world.chain.final.number > final.number

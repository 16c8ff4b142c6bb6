"""The faults of the catalogue that Solana can have, on the local chain; each defence is also
removed in the test's own composition, to see that the checker would notice.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chains.solana.liars import lying, skipped
from tests.chains.solana.world import (
    AGENT,
    DEPLOYER,
    ELSEWHERE,
    HOLDER,
    RECIPIENT,
    RELAYER,
    SHARE,
    STRANGER,
    TSLA,
    World,
    running_world,
    set_multiplier,
)
from xstock_chains.ports import Cursor, ExecutionState, SignedTx, TxState
from xstock_chains.quorum import Quorum
from xstock_chains.solana.address import show
from xstock_chains.solana.admin import SolanaAdmin
from xstock_chains.solana.blocks import Block, FinalChain
from xstock_chains.solana.evidence import Evidence, Seen
from xstock_chains.solana.programs import (
    TOKEN_2022,
    allocate_with_seed,
    ata_of,
    burn_checked,
    compute_price,
    memo,
    set_mint_authority,
    set_pause,
    transfer,
)
from xstock_chains.solana.reader import SolanaReader
from xstock_chains.solana.release import marker_of, marker_seed
from xstock_chains.solana.wire import Instruction, Meta
from xstock_chains.solana.writer import SolanaWriter
from xstock_core.ids import Domain
from xstock_core.observation import (
    BlockRef,
    BurnFinal,
    CancelFinal,
    Observation,
    OrphanBurn,
    ReleaseFinal,
    Role,
    RoleMoved,
    TxRef,
)
from xstock_core.release import Action, ExecutionKey, ReleaseItem
from xstock_runtime.errors import Ambiguous, Fatal, InvalidMessage, Transient

ME = HOLDER.identity


def key_of(world: World, item: ReleaseItem) -> ExecutionKey:
    """The item's dedup key."""
    return ExecutionKey(world.chain.domain, item.source, item.nonce)


async def burn(world: World, amount: int = SHARE, *, mine: bool = True, price: int = 1) -> TxRef:
    """A well-formed burn of the holder."""
    mint = world.mint()
    text = f"xsb1:{int(Domain.BNB)}:{ELSEWHERE.hex()}".encode()
    instructions = [
        compute_price(price),
        memo(text, ME),
        burn_checked(ata_of(ME, mint), mint, ME, amount, world.reference()),
    ]
    return await world.send(instructions, HOLDER, mine=mine)


def burns(found: list[Observation]) -> list[BurnFinal]:
    """The transfers among them."""
    return [one for one in found if isinstance(one, BurnFinal)]


# ---------------------------------------------------------------------- markers


def a_marker(item: ReleaseItem, *names: bytes, space: int = 1) -> Instruction:
    """The marker of an item, as whoever has the lane key can allocate it."""
    seed = marker_seed(int(item.source), item.nonce)
    account = marker_of(RELAYER.identity, int(item.source), item.nonce)
    extra = tuple(Meta(name) for name in names)
    return allocate_with_seed(account, RELAYER.identity, seed, space, extra)


def rent(item: ReleaseItem, lamports: int = 897_840) -> Instruction:
    """Lamports for the marker's address, from a stranger."""
    account = marker_of(RELAYER.identity, int(item.source), item.nonce)
    return transfer(STRANGER.identity, account, lamports)


@pytest.mark.parametrize("space", [1, 2, 500])
async def test_leaked_lane_key__markers_allocated_first__send_back_and_never_mint(
    world: World, space: int
) -> None:
    """F82: with the lane key alone a transfer can be cancelled; no share comes into being."""
    item = world.item(1)
    attack = [rent(item, 5_000_000), a_marker(item, item.nonce, world.reference(), space=space)]
    await world.send(attack, STRANGER, RELAYER)
    prepared = await world.prepare(item)
    assert prepared.refused == ((key_of(world, item), "ALREADY_CANCELLED"),)
    signed = await RELAYER.sign_transaction(prepared)
    with pytest.raises(Ambiguous):
        await world.writer.broadcast(signed)
    await world.finalize()
    (execution,) = await world.writer.find_executions([key_of(world, item)])
    assert execution is not None
    assert (execution.state, execution.final) == (ExecutionState.CANCELLED, True)
    found, _ = await world.read_all()
    assert [one.nonce for one in found if isinstance(one, CancelFinal)] == [item.nonce]
    assert not [one for one in found if isinstance(one, ReleaseFinal)]
    assert await world.shares_of(ME) == 0


async def test_leaked_lane_key__marker_without_names__is_cancelled_by_its_account(
    world: World,
) -> None:
    """The attacker need not name the nonce: asked for the key, the writer still finds it."""
    item = world.item(1)
    await world.send([rent(item), a_marker(item)], STRANGER, RELAYER)
    await world.finalize()
    (execution,) = await world.writer.find_executions([key_of(world, item)])
    assert execution is not None
    assert (execution.state, execution.final) == (ExecutionState.CANCELLED, True)
    assert (await world.prepare(item)).refused[0][1] == "ALREADY_CANCELLED"


async def test_leaked_lane_key__old_marker_can_not_be_reused_drained_or_given_away(
    world: World,
) -> None:
    """INV-02: what happened once can not be undone by whoever holds the lane key."""
    item = world.item(1)
    await world.release(item)
    seed = marker_seed(int(item.source), item.nonce)
    account = marker_of(RELAYER.identity, int(item.source), item.nonce)
    base = RELAYER.identity
    assign = (10).to_bytes(4, "little") + base + (32).to_bytes(8, "little") + seed + TOKEN_2022
    drain = (11).to_bytes(4, "little") + (1).to_bytes(8, "little") + (32).to_bytes(8, "little")
    drain += seed + bytes(32)
    attacks = [
        a_marker(item),
        Instruction(bytes(32), (Meta(account, writable=True), Meta(base, signer=True)), assign),
        Instruction(
            bytes(32),
            (
                Meta(account, writable=True),
                Meta(base, signer=True),
                Meta(STRANGER.identity, writable=True),
            ),
            drain,
        ),
    ]
    for attack in attacks:
        tx = await world.send([attack], RELAYER)
        assert await world.outcome(tx) is not None
    held = await world.account(account)
    assert (held.owner, len(held.data)) == (bytes(32), 1)


async def test_stranger_sends_lamports_to_a_markers_address_first__release_lands(
    world: World,
) -> None:
    """Anybody may send lamports to the predictable address; it blocks nothing, and means
    nothing."""
    items = [world.item(1), world.item(2)]
    for item, lamports in zip(items, (890_880, 10_000_000), strict=True):
        await world.send([rent(item, lamports)], STRANGER)
        assert list(await world.writer.find_executions([key_of(world, item)])) == [None]
        await world.release(item)
    await world.finalize()
    found, _ = await world.read_all()
    assert len([one for one in found if isinstance(one, ReleaseFinal)]) == 2
    assert await world.shares_of(ME) == 2 * SHARE


async def test_lamports_taken_for_an_execution__the_release_would_be_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule taken out: an account with lamports and no data passes for done, and holds."""
    item = world.item(1)
    await world.send([rent(item, 890_880)], STRANGER)
    monkeypatch.setattr(
        "xstock_chains.solana.markers.is_marker_account", lambda account: account is not None
    )
    with pytest.raises(Transient, match="HISTORY_PRUNED"):
        await world.writer.find_executions([key_of(world, item)])


async def test_marker_allocated_with_no_space__is_no_marker(world: World) -> None:
    """Why the space is 1: an account of no bytes could be allocated again and again."""
    item = world.item(1)
    await world.send([rent(item), a_marker(item, item.nonce, space=0)], STRANGER, RELAYER)
    assert list(await world.writer.find_executions([key_of(world, item)])) == [None]
    await world.release(item)
    assert await world.shares_of(ME) == SHARE


async def test_same_key_released_twice__second_transaction_fails(world: World) -> None:
    """INV-02, F46: two relayers with two permits; the chain holds one release."""
    item = world.item(1)
    both: list[SignedTx] = []
    for _ in range(2):
        both.append(await RELAYER.sign_transaction(await world.prepare(item)))
        await world.mine()
    for one in both:
        tx = await world.rpc.call(
            "sendTransaction", _text(one), {"encoding": "base64", "skipPreflight": True}
        )
        assert tx
    await world.mine()
    await world.finalize()
    states = [await world.writer.status(one.ref, one.prepared.slot) for one in both]
    assert [state.succeeded for state in states] == [True, False]
    assert await world.shares_of(ME) == SHARE


def _text(signed: SignedTx) -> str:
    from base64 import b64encode

    return b64encode(signed.raw).decode()


async def test_markers_creation_not_shown__holds(world: World) -> None:
    """F39: pruned history looks empty; the marker is there, so nobody may say what happened."""
    item = world.item(1)
    await world.release(item)

    def pruned(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        return {"result": []} if method == "getSignaturesForAddress" else answer

    rpc = lying(world.node.url, pruned)
    world.opened.append(rpc)
    writer = SolanaWriter(world.chain, rpc, world.codec)
    with pytest.raises(Transient, match="HISTORY_PRUNED"):
        await writer.find_executions([key_of(world, item)])


# ---------------------------------------------------------------------- burns


async def test_holder_burns_one_unit_without_memo__orphan_and_the_bridge_goes_on(
    world: World,
) -> None:
    """INV-16: a burn outside the bridge is found, booked, and stops nobody."""
    await world.issue(10 * SHARE)
    mint = world.mint()
    plain = burn_checked(ata_of(ME, mint), mint, ME, 1, world.reference())
    bare = Instruction(TOKEN_2022, plain.accounts[:3], plain.data)
    await world.send([bare], HOLDER)
    await burn(world)
    await world.finalize()
    found, cursor = await world.read_all()
    (orphan,) = [one for one in found if isinstance(one, OrphanBurn)]
    assert (orphan.owner, orphan.amount) == (HOLDER.wire, 1)
    assert len(burns(found)) == 1
    page = await world.reader.read_page(cursor, limit=10)
    assert page.more is False


async def test_permanent_delegate_burns__orphan_that_names_who_did_it(world: World) -> None:
    """The issuer's own burn is never refundable; whoever decides sees it in the reason."""
    await world.issue(10 * SHARE)
    mint = world.mint()
    seized = burn_checked(ata_of(ME, mint), mint, DEPLOYER.identity, 5, world.reference())
    await world.send([seized], DEPLOYER)
    await world.finalize()
    found, _ = await world.read_all()
    (orphan,) = [one for one in found if isinstance(one, OrphanBurn)]
    assert orphan.owner == HOLDER.wire
    assert show(DEPLOYER.identity) in orphan.reason
    assert not orphan.by_owner


# ---------------------------------------------------------------------- reading


async def a_burn_in_the_past(world: World) -> tuple[TxRef, Cursor]:
    """A burn that is final, and the cursor before it."""
    await world.issue(10 * SHARE)
    await world.finalize()
    _, cursor = await world.read_all()
    tx = await burn(world)
    await world.mine(3)
    await world.finalize()
    return tx, cursor


async def slot_of(world: World, tx: TxRef) -> int:
    """The slot of a transaction."""
    status = await world.reader.inspect(tx)
    assert status is not None
    assert status.block is not None
    return status.block.number


async def test_node_calls_a_produced_block_skipped__page_holds(world: World) -> None:
    """F25: the child's parent link shows that it is hidden; the cursor stays."""
    tx, cursor = await a_burn_in_the_past(world)
    slot = await slot_of(world, tx)

    def hides(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method == "getBlocks":
            return {"result": [one for one in answer["result"] if one != slot]}
        return skipped(slot) if method == "getBlock" and params[0] == slot else answer

    rpc = lying(world.node.url, hides)
    world.opened.append(rpc)
    reader = SolanaReader(world.chain, rpc)
    with pytest.raises(Transient, match="BLOCK_HIDDEN"):
        await world.read_all(reader, cursor)
    status = await world.reader.inspect(tx)
    assert status is not None
    assert status.block is not None
    with pytest.raises(Transient, match="BLOCK_HIDDEN"):
        await reader.is_final(status.block)
    found, _ = await world.read_all(after=cursor)
    assert len(burns(found)) == 1


async def test_parent_links_ignored__hidden_block_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F25, the defence taken out: a burn is lost, and only the supply tells."""
    tx, cursor = await a_burn_in_the_past(world)
    slot = await slot_of(world, tx)

    def hides(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method == "getBlocks":
            return {"result": [one for one in answer["result"] if one != slot]}
        return answer

    monkeypatch.setattr(FinalChain, "is_child", lambda *_: True)
    rpc = lying(world.node.url, hides)
    world.opened.append(rpc)
    with pytest.raises(Transient, match="SUPPLY_UNEXPLAINED"):
        await world.read_all(SolanaReader(world.chain, rpc), cursor)
    monkeypatch.setattr(SolanaReader, "prove_supply", lambda *_: None)

    async def believe(*_: Any) -> None:
        return None

    monkeypatch.setattr(SolanaReader, "check_index", believe)
    found, _ = await world.read_all(SolanaReader(world.chain, rpc), cursor)
    assert burns(found) == []


async def test_really_skipped_slots__are_passed_with_proof(tmp_path: Path) -> None:
    """F25: absence of a block is no gap where the links say so."""
    async with running_world(tmp_path, skip_every=3) as world:
        await world.issue(10 * SHARE)
        await burn(world)
        await world.mine(10)
        await world.finalize()
        found, _ = await world.read_all()
        assert len(burns(found)) == 1
        head = await world.reader.finalized_head()
        slots = await world.rpc.call("getBlocks", 1, head.number, {"commitment": "finalized"})
        (empty, *_) = set(range(1, head.number)) - set(slots)
        nothing = BlockRef(head.chain, empty, b"\x77" * 32, head.time)
        assert await world.reader.is_final(nothing) is False


async def test_index_lost_a_signature__burn_is_found_once_all_the_same(world: World) -> None:
    """F34: blocks are read whole; when the index heals nothing comes twice."""
    tx, cursor = await a_burn_in_the_past(world)

    def forgets(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        return {"result": []} if method == "getSignaturesForAddress" else answer

    rpc = lying(world.node.url, forgets)
    world.opened.append(rpc)
    found, after = await world.read_all(SolanaReader(world.chain, rpc), cursor)
    assert [one.place.tx for one in burns(found)] == [tx]
    healed, _ = await world.read_all(after=after)
    assert burns(healed) == []


def _without(tx: TxRef, answer: dict[str, Any]) -> dict[str, Any]:
    """A full block that leaves out one transaction."""
    from base64 import b64decode

    block = dict(answer["result"])
    block["transactions"] = [
        one
        for one in block.get("transactions", [])
        if b64decode(one["transaction"][0])[1:65] != tx.id
    ]
    return {"result": block}


async def test_block_leaves_out_a_burn__supply_and_index_both_say_so(world: World) -> None:
    """F34: two more ways of finding, each enough to hold the page."""
    tx, cursor = await a_burn_in_the_past(world)

    def hides(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        full = method == "getBlock" and "result" in answer
        return (
            _without(tx, answer) if full and params[1]["transactionDetails"] == "full" else answer
        )

    rpc = lying(world.node.url, hides)
    world.opened.append(rpc)
    with pytest.raises(Transient, match="SUPPLY_UNEXPLAINED"):
        await world.read_all(SolanaReader(world.chain, rpc), cursor)

    class ByIndex(SolanaReader):
        """The supply's proof taken out."""

        def prove_supply(self, *_: Any) -> None:
            return None

    with pytest.raises(Transient, match="BLOCK_INCOMPLETE"):
        await world.read_all(ByIndex(world.chain, rpc), cursor)

    class Trusting(ByIndex):
        """The index' proof taken out too: the burn is lost without a word."""

        async def check_index(self, *_: Any) -> None:
            return None

    found, _ = await world.read_all(Trusting(world.chain, rpc), cursor)
    assert burns(found) == []


async def test_burn_between_final_and_confirmed__cursor_stays_below_it(world: World) -> None:
    """F35: the cursor never passes what was scanned as final."""
    await world.issue(10 * SHARE)
    await world.finalize()
    _, cursor = await world.read_all()
    tx = await burn(world)
    page = await world.reader.read_page(cursor, limit=100)
    assert page.observations == ()
    assert page.through.number < await slot_of(world, tx)
    await world.finalize()
    found, _ = await world.read_all(after=page.cursor)
    assert [one.place.tx for one in burns(found)] == [tx]


async def test_finalized_slot_goes_back__reader_holds(world: World) -> None:
    """F24: a node that replays after a restart is silent, it does not rewrite the past."""
    await world.mine(40)
    await world.finalize()
    back: list[int] = []

    def regresses(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method == "getSlot" and back:
            return {"result": back[0]}
        return answer

    rpc = lying(world.node.url, regresses)
    world.opened.append(rpc)
    reader = SolanaReader(world.chain, rpc)
    head = await reader.finalized_head()
    back.append(head.number - 5)
    with pytest.raises(Transient, match="NODE_BEHIND"):
        await reader.finalized_head()
    back.clear()
    assert await reader.finalized_head() == head


async def test_regressing_slot_accepted__the_head_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F24, the defence taken out."""
    await world.mine(40)
    await world.finalize()
    back: list[int] = []

    def regresses(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        return {"result": back[0]} if method == "getSlot" and back else answer

    rpc = lying(world.node.url, regresses)
    world.opened.append(rpc)
    reader = SolanaReader(world.chain, rpc)
    head = await reader.finalized_head()
    back.append(head.number - 5)
    monkeypatch.setattr(FinalChain, "require_progress", lambda *_: None)
    assert (await reader.finalized_head()).number < head.number


async def test_another_chain_behind_the_address__is_fatal(world: World) -> None:
    """F14, F88: the genesis is asked with every head."""
    reader = SolanaReader(replace(world.chain, genesis_hash=b"\x02" * 32), world.rpc)
    with pytest.raises(Fatal, match="WRONG_CHAIN"):
        await reader.finalized_head()


async def test_mint_authority_moves__is_told(world: World) -> None:
    """INV-16: whoever may mint is watched."""
    await world.finalize()
    found, _ = await world.read_all()
    moved = [one for one in found if isinstance(one, RoleMoved)]
    assert {one.holder for one in moved} == {world.chain.multisig.key}
    assert {one.role for one in moved} == {Role.MINTER}


async def test_supply_at_an_earlier_block__another_reader_traces_it_back(world: World) -> None:
    """A node answers for its present only; a quorum must speak of one block."""
    await world.issue(10 * SHARE)
    before = await world.reader.read_supply([TSLA])
    await burn(world, 3 * SHARE)
    await world.mine(2)
    other = SolanaReader(world.chain, world.connect())
    assert await other.read_supply([TSLA], at=before.block) == before
    await world.send([set_pause(world.mint(), AGENT.identity, paused=True)], AGENT)
    late = SolanaReader(world.chain, world.connect())
    with pytest.raises(Transient, match="STATE_UNREADABLE"):
        await late.read_supply([TSLA], at=before.block)


async def test_multiplier_changes__shares_do_not(world: World) -> None:
    """F50, F51: the raw amount is the share; the f64 is for people, by its shortest text."""
    await world.issue(10 * SHARE)
    now = await world.time()
    await world.send([set_multiplier(world.mint(), 1.0009180758, now)], DEPLOYER)
    (supply,) = (await world.reader.read_supply([TSLA])).supplies
    assert (supply.token_units, supply.decimals) == (10 * SHARE, 8)
    assert supply.multiplier == 1_000_918_075_800_000_000
    assert supply.multiplier_epoch == now


@pytest.mark.parametrize("amount", [1, 10**8, 2**64 - 1])
async def test_amounts_of_8_decimals__round_trip_exactly(world: World, amount: int) -> None:
    """F50: one raw unit is one unit of the message, up to the largest."""
    item = world.item(1, amount=amount)
    await world.release(item)
    await burn(world, amount)
    await world.finalize()
    found, _ = await world.read_all()
    (released,) = [one for one in found if isinstance(one, ReleaseFinal)]
    (burned,) = burns(found)
    assert (released.amount, burned.message.amount) == (amount, amount)


# ---------------------------------------------------------------------- sending


async def test_landed_but_unconfirmed__expired_permit_is_not_dropped(world: World) -> None:
    """F39: history is lost, the blockhash died; the marker in the final state tells."""
    signed = await world.release(world.item(1))
    await world.mine(200)
    await world.finalize()

    def forgets(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method == "getSignatureStatuses":
            slot = answer["result"]["context"]
            return {"result": {"context": slot, "value": [None]}}
        return {"result": []} if method == "getSignaturesForAddress" else answer

    rpc = lying(world.node.url, forgets)
    world.opened.append(rpc)
    writer = SolanaWriter(world.chain, rpc, world.codec)
    with pytest.raises(Transient, match="HISTORY_PRUNED"):
        await writer.status(signed.ref, signed.prepared.slot)

    class Trusting(SolanaWriter):
        """The defence taken out: no trace is taken for proof."""

        async def marker_exists(self, marker: bytes, slot: int) -> bool:
            return False

    wrong = await Trusting(world.chain, rpc, world.codec).status(signed.ref, signed.prepared.slot)
    assert wrong.state is TxState.DROPPED


async def test_permit_expires__dropped_only_above_its_last_final_height(world: World) -> None:
    """F39: by the final height, not by time, not by the newest block."""
    signed = await RELAYER.sign_transaction(await world.prepare(world.item(1)))
    slot = signed.prepared.slot
    await world.control("freeze_finality", on=True)
    await world.mine(200)
    assert (await world.writer.status(signed.ref, slot)).state is TxState.PENDING
    await world.control("freeze_finality", on=False)
    await world.finalize()
    dropped = await world.writer.status(signed.ref, slot)
    assert (dropped.state, bool(dropped.reason)) == (TxState.DROPPED, True)
    assert await world.shares_of(ME) == 0
    await world.release(world.item(1))
    assert await world.shares_of(ME) == SHARE


async def test_chain_halts_for_hours__permit_lives_by_height_not_by_time(world: World) -> None:
    """F24: no block, no height: a permit from before the halt may land after it."""
    signed = await RELAYER.sign_transaction(await world.prepare(world.item(1)))
    await world.control("warp", seconds=5 * 3600)
    assert (await world.writer.status(signed.ref, signed.prepared.slot)).state is TxState.PENDING
    await world.writer.broadcast(signed)
    await world.mine()
    assert await world.shares_of(ME) == SHARE


async def test_release_fails_on_chain__final_and_not_succeeded(world: World) -> None:
    """F44: a failed transaction is read as failed; the transfer stays open."""
    item = world.item(1)
    signed = await RELAYER.sign_transaction(await world.prepare(item))
    await world.send([set_pause(world.mint(), AGENT.identity, paused=True)], AGENT, mine=False)
    await world.rpc.call(
        "sendTransaction", _text(signed), {"encoding": "base64", "skipPreflight": True}
    )
    await world.mine()
    await world.finalize()
    status = await world.writer.status(signed.ref, signed.prepared.slot)
    assert (status.state, status.succeeded) == (TxState.FINAL, False)
    assert list(await world.writer.find_executions([key_of(world, item)])) == [None]
    found, _ = await world.read_all()
    assert not [one for one in found if isinstance(one, ReleaseFinal | CancelFinal)]


async def test_destination_reorganised__same_bytes_land_again_once(world: World) -> None:
    """F45: before finality a release can vanish; it is pending, and lands once."""
    from base58 import b58encode

    item = world.item(1)
    signed = await world.release(item)
    await world.control("drop_tx", tx=b58encode(signed.ref.id).decode())
    assert (await world.writer.status(signed.ref, signed.prepared.slot)).state is TxState.PENDING
    assert list(await world.writer.find_executions([key_of(world, item)])) == [None]
    await world.writer.broadcast(signed)
    await world.mine()
    await world.finalize()
    found, _ = await world.read_all()
    assert len([one for one in found if isinstance(one, ReleaseFinal)]) == 1


async def test_recipient_frozen__item_is_refused_and_not_lost(world: World) -> None:
    """F58: the freeze parks; thawed, the same transfer is released."""
    await world.issue(SHARE, RECIPIENT.wire)
    mint = world.mint()
    account = ata_of(RECIPIENT.identity, mint)
    accounts = (
        Meta(account, writable=True),
        Meta(mint),
        Meta(DEPLOYER.identity, signer=True),
    )
    await world.send([Instruction(TOKEN_2022, accounts, bytes((10,)))], DEPLOYER)
    item = world.item(1, recipient=RECIPIENT.wire)
    assert (await world.prepare(item)).refused == ((key_of(world, item), "RECIPIENT_REFUSED"),)
    await world.send([Instruction(TOKEN_2022, accounts, bytes((11,)))], DEPLOYER)
    await world.release(item)
    assert await world.shares_of(RECIPIENT.identity) == 2 * SHARE


async def test_mint_paused__item_waits_and_cancel_goes_through(world: World) -> None:
    """F58: a pause stops releases; a CANCEL moves no mint and needs none."""
    await world.send([set_pause(world.mint(), AGENT.identity, paused=True)], AGENT)
    item = world.item(1)
    assert (await world.prepare(item)).refused == ((key_of(world, item), "ASSET_PAUSED"),)
    await world.release(replace(item, action=Action.CANCEL))
    await world.finalize()
    found, _ = await world.read_all()
    assert len([one for one in found if isinstance(one, CancelFinal)]) == 1


async def test_signatures_unchecked__one_guard_would_still_not_mint(world: World) -> None:
    """F82, F84: with the relayer's own check taken out, the chain's multisig refuses."""

    class Trusting(SolanaWriter):
        def check_signatures(self, *_: Any) -> None:
            return None

    order = await world.order(world.item(1))
    alone = replace(order, signatures=order.signatures[:1])
    slot = await world.writer.next_slot(RELAYER.wire, [], alone)
    with pytest.raises(InvalidMessage, match="SIGNATURE_INVALID"):
        await world.writer.prepare(alone, slot)
    writer = Trusting(world.chain, world.rpc, world.codec)
    signed = await RELAYER.sign_transaction(await writer.prepare(alone, slot))
    with pytest.raises(InvalidMessage, match="TRANSACTION_REFUSED"):
        await writer.broadcast(signed)
    assert await world.shares_of(ME) == 0


# ---------------------------------------------------------------------- configuration


async def test_swapped_mints_in_the_registry__self_test_fails(world: World) -> None:
    """F88: each mint's facts name its reference key and authority."""
    one, two = world.chain.assets
    swapped = (replace(one, mint=two.mint), replace(two, mint=one.mint))
    test = await SolanaAdmin(
        replace(world.chain, assets=swapped), world.registry, world.rpc
    ).self_test()
    assert {check.name for check in test.failed} == {"TSLAx facts", "SPYx facts"}
    assert (await SolanaAdmin(world.chain, world.registry, world.rpc).self_test()).failed == ()


async def test_guards_other_than_the_multisigs__self_test_fails(world: World) -> None:
    """F88, F83: the registered members must be the chain's."""
    for changed in (
        replace(world.chain, threshold=1),
        replace(world.chain, guards=world.chain.guards[::-1]),
        replace(world.chain, multisig=replace(world.chain.multisig, key=world.mint())),
    ):
        test = await SolanaAdmin(changed, world.registry, world.rpc).self_test()
        assert test.failed


async def test_mint_under_another_authority__self_test_fails(world: World) -> None:
    """F88: who may mint is asked of the chain."""
    move = set_mint_authority(world.mint(), world.chain.multisig.key, DEPLOYER.identity)
    from tests.chains.solana.world import GUARDS

    accounts = (
        Meta(world.mint(), writable=True),
        Meta(world.chain.multisig.key),
        *(Meta(guard.identity, signer=True) for guard in GUARDS[:2]),
    )
    rotate = Instruction(TOKEN_2022, accounts, move.data)
    await world.send([rotate], DEPLOYER, *GUARDS[:2])
    test = await SolanaAdmin(world.chain, world.registry, world.rpc).self_test()
    assert {check.name for check in test.failed} == {"TSLAx authority", "TSLAx facts"}


async def test_quorum_of_an_honest_and_two_forgetful_nodes__burn_is_told(world: World) -> None:
    """F34: index gaps on most nodes change nothing."""
    tx, cursor = await a_burn_in_the_past(world)

    def forgets(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        return {"result": []} if method == "getSignaturesForAddress" else answer

    rpcs = [lying(world.node.url, forgets) for _ in range(2)]
    world.opened.extend(rpcs)
    readers = [SolanaReader(world.chain, rpc) for rpc in (*rpcs, world.rpc)]
    found, _ = await world.read_all(Quorum(readers, 2), cursor)
    assert [one.place.tx for one in burns(found)] == [tx]


async def test_cursor_from_before_the_end__supply_proof_survives_a_restart(world: World) -> None:
    """INV-09: what moved is in the cursor, so a new reader still proves the whole."""
    await world.issue(10 * SHARE)
    await world.finalize()
    _, cursor = await world.read_all()

    class Blind(Evidence):
        """A decoder that misses everything."""

        def observe(self, block: Block) -> Seen:
            return Seen()

    await burn(world)
    await world.finalize()
    reader = SolanaReader(world.chain, world.connect())
    reader.evidence = Blind(world.chain)
    with pytest.raises(Transient, match="SUPPLY_UNEXPLAINED"):
        await world.read_all(reader, cursor)

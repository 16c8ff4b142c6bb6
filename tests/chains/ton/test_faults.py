"""Faults of the catalogue on the real contracts: each defence holds, and without it the fault wins.

The second half of a test builds the same part with that one defence taken out (a subclass in the
test, never a switch in the product) and sees the wrong thing believed.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from tests.chains.ton.liars import (
    LyingToncenter,
    Tamper,
    each,
    hiding,
    on_transactions,
    without_logs_of_the_last,
    without_the_last,
)
from tests.chains.ton.world import SHARE, TON, VALUE, Chains, World
from xstock_chains.ports import BurnRequest, Cursor, ExecutionState, SendSlot, TxState, TxStatus
from xstock_chains.ton import minter
from xstock_chains.ton.admin import TonAdmin
from xstock_chains.ton.builder import TonBurnBuilder
from xstock_chains.ton.cells import account_slice, end, internal_message
from xstock_chains.ton.chain import TonChain
from xstock_chains.ton.codec import TonReleaseCodec
from xstock_chains.ton.evidence import Committed, Evidence
from xstock_chains.ton.messages import BURN_NOTIFICATION, Burned, burn_payload
from xstock_chains.ton.minter import jetton_wallet
from xstock_chains.ton.reader import TonReader
from xstock_chains.ton.rpc import AccountHead, McBlock, Transaction
from xstock_chains.ton.walk import Mark, Walk
from xstock_chains.ton.writer import Query, TonWriter
from xstock_core.amount import Shares
from xstock_core.ids import Address32, Domain, InvalidId, Nonce, solana_nonce
from xstock_core.message import Kind
from xstock_core.observation import (
    BurnFinal,
    MintParked,
    Observation,
    ReleaseFinal,
    ReleaseSkipped,
    SkipReason,
    TxRef,
)
from xstock_core.release import Action, ExecutionKey
from xstock_runtime.errors import InvalidMessage, Transient

NOWHERE = Address32(b"\x05" * 32)
THERE = Address32(bytes(12) + b"\x05" * 20)
"""An account of a chain whose addresses are 20 bytes."""
THROW = 0xF220
"""TVM: throw 32. The code of a wallet that takes nothing."""


def burns_of(found: Sequence[Observation]) -> list[int]:
    return [one.message.amount for one in found if isinstance(one, BurnFinal)]


def key(nonce: Nonce, source: Domain = Domain.CUSTODY) -> ExecutionKey:
    return ExecutionKey(Domain.TON, source, nonce)


async def page(reader: TonReader, after: Cursor | None = None) -> Sequence[Observation]:
    return (await reader.read_page(after or Cursor(Domain.TON), limit=100)).observations


def liar(world: World, tamper: Tamper) -> LyingToncenter:
    api = LyingToncenter(world.node.url, tamper)
    world.opened.append(api)
    return api


# ---------------------------------------------------------------------- the chain of transactions


class NoLinks(Walk):
    """Defence taken out: whatever the node lists is taken for everything."""

    def check_links(self, mark: Mark, part: Sequence[Transaction], account: Address32) -> None:
        return

    def check_end(self, found: Sequence[Transaction], account: AccountHead) -> None:
        return


class NoCounters(TonReader):
    """Defence taken out: nobody counts burns."""

    def check_dense(self, before: Any, found: Any) -> None:
        return

    async def prove_counters(self, *_: Any, **__: Any) -> None:
        return


@pytest.mark.parametrize(
    ("number", "lost"), [(0, 0), (2, 1), (3, 1)], ids=["deployment", "release", "burn"]
)
async def test_reader__node_hides_a_transaction__the_gap_shows(
    world: World, number: int, lost: int
) -> None:
    """F30, F34: a list without one of its rows is no shorter list."""
    await world.burn(SHARE, 2 * SHARE)
    await world.finalize()
    hides = liar(world, hiding(number))
    with pytest.raises(Transient, match=r"CHAIN_GAP|TRANSACTIONS_INCOMPLETE"):
        await page(TonReader(world.chain, hides))
    naive = NoCounters(world.chain, hides)
    naive.walk = NoLinks(hides)
    assert len(await page(world.reader)) - len(await page(naive)) == lost


async def test_reader__node_has_not_indexed_the_last_one__nothing_is_concluded(
    world: World,
) -> None:
    """F30, F35: the account's state names what the list lacks; the cursor does not pass it."""
    await world.burn(SHARE)
    await world.finalize()
    lags = liar(world, on_transactions(without_the_last))
    with pytest.raises(Transient, match="TRANSACTIONS_INCOMPLETE"):
        await page(TonReader(world.chain, lags))
    naive = NoCounters(world.chain, lags)
    naive.walk = NoLinks(lags)
    assert burns_of(await page(naive)) == []


async def test_reader__node_hides_a_log_in_its_transaction__the_counters_show_it(
    world: World,
) -> None:
    """F30: links are whole, the log is not; the minter's own counter at that block tells."""
    await world.burn(SHARE)
    await world.finalize()
    hides = liar(world, on_transactions(without_logs_of_the_last))
    with pytest.raises(Transient, match="LOGS_INCOMPLETE"):
        await page(TonReader(world.chain, hides))
    assert burns_of(await page(NoCounters(world.chain, hides))) == []


async def test_reader__node_does_not_know_the_minter__is_no_empty_page(world: World) -> None:
    """F30: absence and ignorance look alike."""

    def forget(method: str, answer: dict[str, Any]) -> dict[str, Any]:
        return {"accounts": []} if method == "accountStates" else answer

    with pytest.raises(Transient, match="NODE_BEHIND"):
        await page(TonReader(world.chain, liar(world, forget)))


# ---------------------------------------------------------------------- finality


@pytest.mark.parametrize(
    "changes",
    [{"finality": "confirmed"}, {"mc_block_seqno": 2**30}, {"emulated": True}],
    ids=["confirmed_only", "block_beyond_the_head", "emulated"],
)
async def test_reader__transaction_that_no_masterchain_block_commits__counts_for_nothing(
    world: World, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F19, F26, F35: the masterchain commits, or nothing happened."""
    _, start = await world.read_all()
    await world.burn(SHARE)
    await world.finalize()
    early = liar(world, each(**changes))
    assert burns_of(await page(TonReader(world.chain, early), start)) == []
    monkeypatch.setattr(Transaction, "final_by", lambda self, head: True)
    if changes.get("mc_block_seqno"):
        return
    naive = NoCounters(world.chain, early)
    assert burns_of(await page(naive, start)) == [SHARE]


async def test_writer__masterchain_stands_still__mint_stays_unknown_and_its_slot_taken(
    world: World,
) -> None:
    """F26, F41: time passes, finality does not: nothing is dropped, no new query id is due."""
    signed = await world.signed(world.item(7))
    await world.devnet("freeze_finality", on=True)
    try:
        await world.writer.broadcast(signed)
        await world.mine()
        await world.devnet("warp", seconds=3600)
        await world.mine()
        status = await world.writer.status(signed.ref, signed.prepared.slot)
        assert status.state is TxState.INCLUDED
        assert list(await world.writer.find_executions([key(world.item(7).nonce)])) == [None]
        after = await world.writer.next_slot(world.relayer.relayer_wallet, [signed.prepared.slot])
        assert after.text.split("/")[0] != signed.prepared.slot.text.split("/")[0]
    finally:
        await world.devnet("freeze_finality", on=False)
    await world.settle()
    status = await world.writer.status(signed.ref, signed.prepared.slot)
    assert (status.state, status.succeeded) == (TxState.FINAL, True)


class Impatient(TonWriter):
    """Defence taken out: what is not there after its timeout by any clock is called dropped."""

    async def dead(self, tx: TxRef, slot: SendSlot, query: Query, head: McBlock) -> TxStatus:
        return TxStatus(TxState.DROPPED)


async def test_writer__message_lost__is_dropped_only_after_its_timeout_on_chain(
    world: World,
) -> None:
    """F41: the same query id until its timeout has passed on chain; then DROPPED, with proof."""
    lost = await world.signed(world.item(7))
    slot = lost.prepared.slot
    assert (await world.writer.status(lost.ref, slot)).state is TxState.PENDING
    await world.devnet("warp", seconds=200)
    await world.settle()
    assert (await world.writer.status(lost.ref, slot)).state is TxState.PENDING
    await world.devnet("warp", seconds=200)
    await world.settle()
    dropped = await world.writer.status(lost.ref, slot)
    assert (dropped.state, bool(dropped.reason)) == (TxState.DROPPED, True)
    with pytest.raises(Exception, match="QUERY_OUT_OF_TIME"):
        await world.writer.broadcast(lost)


async def test_writer__shards_lag_behind_the_masterchain__not_dropped_yet(world: World) -> None:
    """F41: the shards' committed time proves it, the masterchain's alone does not."""
    landed = await world.signed(world.item(7))
    await world.writer.broadcast(landed)
    await world.devnet("warp", seconds=400)
    slot = landed.prepared.slot

    def hide(method: str, answer: dict[str, Any]) -> dict[str, Any]:
        if method in ("pendingTransactions", "transactionsByMessage"):
            return {"transactions": []}
        return answer

    await world.devnet("mine", blocks=2)
    blind = liar(world, hide)
    honest = TonWriter(world.chain, blind, world.codec)
    assert (await honest.status(landed.ref, slot)).state is TxState.PENDING
    naive = Impatient(world.chain, blind, world.codec)
    assert (await naive.status(landed.ref, slot)).state is TxState.DROPPED
    await world.settle()


# ---------------------------------------------------------------------- silent failures


class NoLookAtFunds(TonWriter):
    """Defence taken out: the wallet's balance is nobody's business."""

    def check_funds(self, account: AccountHead | None, value: int) -> None:
        return


class TrustsTheWallet(NoLookAtFunds):
    """Defence taken out: exit 0 of the wallet is success."""

    async def landed(self, sent: Transaction, head: McBlock) -> TxStatus:
        return TxStatus(TxState.FINAL, sent.succeeded)


async def test_writer__wallet_overspends__silence_is_failure(world: World) -> None:
    """F44: exit 0, action success, one send skipped, no message: only the minter's own
    transaction is success."""
    poor = replace(world, relayer=world.holder_of(b"poor"))
    await world.give(poor.relayer.relayer_wallet, coins=TON // 20)
    await world.settle()
    item = world.item(7)
    with pytest.raises(Transient, match="SENDER_UNFUNDED"):
        await poor.signed(item)
    poor.writer = NoLookAtFunds(world.chain, world.api, world.codec)
    signed = await poor.release(item)
    await world.finalize()
    status = await world.writer.status(signed.ref, signed.prepared.slot)
    assert (status.state, status.succeeded) == (TxState.FINAL, False)
    assert "skipped" in status.reason
    naive = TrustsTheWallet(world.chain, world.api, world.codec)
    assert (await naive.status(signed.ref, signed.prepared.slot)).succeeded is True
    assert list(await world.writer.find_executions([key(item.nonce)])) == [None]


async def test_writer__minter_refuses_the_batch__is_final_and_failed(world: World) -> None:
    """F44: signed by too few, sent all the same: the minter throws, the coins bounce."""
    order = await world.order([world.item(7)], world.guards[:1])
    message = internal_message(world.bridge, VALUE, world.codec.body(order))
    signed = await world.signed_message(message)
    await world.writer.broadcast(signed)
    await world.settle()
    status = await world.writer.status(signed.ref, signed.prepared.slot)
    assert (status.state, status.succeeded) == (TxState.FINAL, False)
    assert "213" in status.reason


async def test_writer__release_reorganised_away__same_bytes_land_once(world: World) -> None:
    """F45: what was in a block and is gone is sent again as it was; on chain it counts once."""
    signed = await world.release(world.item(7))
    assert (await world.writer.status(signed.ref, signed.prepared.slot)).state is TxState.INCLUDED
    await world.drop(signed.ref.id)
    assert (await world.writer.status(signed.ref, signed.prepared.slot)).state is TxState.PENDING
    await world.writer.broadcast(signed)
    await world.settle()
    found, _ = await world.read_all()
    nonces = [one.nonce for one in found if isinstance(one, ReleaseFinal)]
    assert nonces.count(world.item(7).nonce) == 1


# ---------------------------------------------------------------------- burns that are none


async def test_burn__notification_bounces__tokens_are_back_and_nothing_is_told(
    world: World,
) -> None:
    """F16: a paused minter refuses; the wallet restores the balance; no burn is believed."""
    _, start = await world.read_all()
    before = await world.units_of(world.holder_account)
    await world.pause()
    await world.burn(SHARE)
    await world.finalize()
    assert await world.units_of(world.holder_account) == before
    reader = TonReader(world.chain, world.api)
    assert burns_of(await page(reader, start)) == []
    assert reader.evidence.rejected["failed"] == 1


@pytest.mark.parametrize("case", ["op", "short", "long", "lane", "recipient"])
async def test_burn__payload_is_malformed__goes_back_to_the_holder(world: World, case: str) -> None:
    """F16, F18: a payload that names no transfer burns nothing."""
    good = burn_payload(int(Domain.BNB), NOWHERE, None)
    payloads: dict[str, Cell] = {
        "op": end(Builder().store_uint(1, 32).store_uint(2, 32).store_bytes(bytes(31) + b"\1")),
        "short": end(Builder().store_uint(0x78736231, 32)),
        "long": end(Builder().store_cell(good).store_uint(1, 1)),
        "lane": burn_payload(77, bytes(31) + b"\1", None),
        "recipient": good,
    }
    _, start = await world.read_all()
    before = await world.units_of(world.holder_account)
    await world.send_by_holder(world.burn_message(SHARE, payloads[case]))
    await world.settle()
    assert await world.units_of(world.holder_account) == before
    assert burns_of(await page(world.reader, start)) == []


async def test_burn__starved_of_coins__is_refused_by_the_wallet_and_never_built(
    world: World,
) -> None:
    """F44: below the floor the tokens would be lost; the check, the builder and the wallet say
    no, each alone."""
    before = await world.units_of(world.holder_account)
    await world.send_by_holder(world.burn_message(SHARE, value=TON // 50))
    await world.settle()
    assert await world.units_of(world.holder_account) == before
    poor = world.holder_of(b"starved").holder_wallet
    request = BurnRequest(
        Kind.TRANSFER, Domain.TON, Domain.BNB, world.minter.asset.asset, poor, THERE, poor, SHARE
    )
    builder = TonBurnBuilder(world.chain, world.registry, world.api)
    with pytest.raises(Transient, match="SENDER_UNFUNDED"):
        await builder.build(request, expires=2**31)

    class Careless(TonBurnBuilder):
        """Defence taken out: coins are not looked at."""

        def coins(self, balance: int | None) -> Any:
            return replace(super().coins(TON), passed=True)

    careless = Careless(world.chain, world.registry, world.api)
    assert (await careless.build(request, expires=2**31)).payload


async def test_burn__look_alike_wallet__cannot_make_the_minter_count(world: World) -> None:
    """F03: a notification from any account but the derived wallet is refused by the minter."""
    _, start = await world.read_all()
    owner = world.holder.holder_wallet
    body = Builder().store_uint(BURN_NOTIFICATION, 32).store_uint(0, 64).store_coins(SHARE)
    body.store_uint(0b100, 3).store_int(0, 8).store_bytes(owner).store_uint(0, 2)
    body.store_maybe_ref(burn_payload(int(Domain.BNB), bytes(31) + b"\1", None))
    await world.send_by_holder(internal_message(world.bridge, VALUE, end(body)))
    await world.settle()
    reader = TonReader(world.chain, world.api)
    assert burns_of(await page(reader, start)) == []
    assert reader.evidence.rejected["failed"] == 1


class BelievesFailures(Evidence):
    """Defence taken out: whatever a transaction shows is taken for done."""

    def counts(self, tx: Transaction) -> bool:
        return True


async def test_reader__failed_transaction_shown_with_a_log__says_nothing(world: World) -> None:
    """F04, F16: aborted, failed in compute or in action: no burn, whatever is shown."""
    _, start = await world.read_all()
    await world.burn(SHARE)
    await world.finalize()
    for broken in ({"aborted": True}, {"compute_ph": {"success": False}}, {"action": None}):
        lies = liar(world, on_transactions(partial(_described, changes=broken)))
        reader = NoCounters(world.chain, lies)
        assert burns_of(await page(reader, start)) == []
        naive = NoCounters(world.chain, lies)
        naive.evidence = BelievesFailures(world.chain)
        assert burns_of(await page(naive, start)) == [SHARE]


def _described(found: list[dict[str, Any]], changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**tx, "description": {**tx["description"], **changes}} for tx in found]


class NoProof(Evidence):
    """Defence taken out: a log is believed without the message it rests on."""

    def prove_burn(self, committed: Committed, log: Burned) -> None:
        return


async def test_reader__log_without_its_notification__is_believed_by_nobody(world: World) -> None:
    """F04, F06: a minter that logs what nobody burned runs other code than ours."""
    _, start = await world.read_all()
    await world.burn(SHARE)
    await world.finalize()

    def unburn(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        empty = {"hash": found[0]["hash"], "body": "te6cckEBAQEAAgAAAEysuc0="}
        for tx in found:
            tx["in_msg"]["message_content"] = empty
        return found

    lies = liar(world, on_transactions(unburn))
    with pytest.raises(InvalidMessage, match="BURN_UNPROVEN"):
        await page(TonReader(world.chain, lies), start)
    naive = TonReader(world.chain, lies)
    naive.evidence = NoProof(world.chain)
    assert burns_of(await page(naive, start)) == [SHARE]


# ---------------------------------------------------------------------- units, pauses, hashes


@pytest.mark.parametrize("decimals", [6, 8, 9, 18])
async def test_amounts__any_decimals__round_trip_exactly_or_are_refused(
    chains: Chains, decimals: int
) -> None:
    """F50: shares become units and shares again; dust never lands and never burns."""
    world = await chains.fresh(decimals=decimals, holdings=0)
    step = 10 ** max(8 - decimals, 0)
    amounts = [step, 3 * SHARE, 123_456_789 * step, 10**14 - step]
    for number, amount in enumerate(amounts, start=10):
        await world.release(world.item(number, amount=Shares(amount)))
    await world.finalize()
    found, after = await world.read_all()
    assert [one.amount for one in found if isinstance(one, ReleaseFinal)] == amounts
    held = await world.units_of(world.holder_account)
    assert held == world.minter.asset.units(sum(amounts))
    reading = await world.reader.read_supply([world.minter.asset.asset])
    assert (reading.supplies[0].token_units, reading.supplies[0].decimals) == (held, decimals)
    await world.burn(*amounts[1:3])
    await world.finalize()
    assert burns_of(await page(world.reader, after)) == amounts[1:3]
    if decimals < 8:
        dusty = await world.signed(world.item(20, amount=Shares(step + 1)))
        assert [why for _, why in dusty.prepared.refused] == ["UNKNOWN"]
        with pytest.raises(InvalidId, match="amount"):
            world.minter.asset.units(step + 1)


async def test_release__asset_paused__waits_and_lands_once_it_is_not(world: World) -> None:
    """F58: skipped with an event, open, and nothing lost."""
    _, start = await world.read_all()
    await world.pause()
    held = await world.signed(world.item(7))
    assert [why for _, why in held.prepared.refused] == ["ASSET_PAUSED"]
    await world.writer.broadcast(held)
    await world.settle()
    (skipped,) = await page(world.reader, start)
    assert isinstance(skipped, ReleaseSkipped)
    assert skipped.reason is SkipReason.ASSET_PAUSED
    await world.unpause()
    await world.release(world.item(7))
    await world.finalize()
    found, _ = await world.read_all(start)
    assert any(isinstance(one, ReleaseFinal) for one in found)


async def test_release__recipients_wallet_cannot_take_it__is_parked_and_supply_restored(
    chains: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F58: the mint bounces; the item is parked, not lost, and a CANCEL may follow."""
    code = minter.artifact
    refusing = end(Builder().store_uint(THROW, 16))
    monkeypatch.setattr(
        minter, "artifact", lambda name: refusing if name == "Wallet" else code(name)
    )
    world = await chains.fresh(holdings=0)
    _, start = await world.read_all()
    before = await world.reader.read_supply([world.minter.asset.asset])
    item = world.item(7, recipient=world.recipient)
    await world.release(item)
    await world.settle()
    found, _ = await world.read_all(start)
    assert [type(one) for one in found] == [MintParked]
    after = await world.reader.read_supply([world.minter.asset.asset])
    assert after.supplies[0].token_units == before.supplies[0].token_units
    (execution,) = await world.writer.find_executions([key(item.nonce)])
    assert execution is not None
    assert (execution.state, execution.final) == (ExecutionState.PARKED, True)
    await world.release(replace(item, action=Action.CANCEL))
    await world.finalize()
    (execution,) = await world.writer.find_executions([key(item.nonce)])
    assert execution is not None
    assert execution.state is ExecutionState.CANCELLED


async def test_supply__mint_not_acknowledged_yet__is_nobodys(world: World) -> None:
    """INV-16: between the mint and the wallet's answer the ledger has booked nothing."""
    before = await world.reader.read_supply([world.minter.asset.asset])
    order = await world.signed(world.item(7))
    await world.writer.broadcast(order)
    inventories = []
    for _ in range(20):
        await world.devnet("mine", blocks=1)
        (supply,) = (await world.reader.read_supply([world.minter.asset.asset])).supplies
        settled = supply.token_units - supply.bridge_inventory_units
        assert settled in (before.supplies[0].token_units, before.supplies[0].token_units + SHARE)
        inventories.append(supply.bridge_inventory_units)
    assert SHARE in inventories
    assert (inventories[0], inventories[-1]) == (0, 0)


async def test_hashed_nonce__time_of_its_burn_unknown__no_permit_is_made(world: World) -> None:
    """The contract forgets hashed nonces after a while; without the time it could not tell."""
    nonce = solana_nonce(b"\x07" * 64, 1, 255)
    unknown = world.item(1, source=Domain.SOLANA, nonce=nonce)
    with pytest.raises(InvalidMessage, match="BURN_TIME_UNKNOWN"):
        await world.order([unknown])
    now = (await world.api.masterchain_head()).time
    await world.release(replace(unknown, burned_at=now - 60))
    await world.finalize()
    (execution,) = await world.writer.find_executions([key(nonce, Domain.SOLANA)])
    assert execution is not None
    assert execution.state is ExecutionState.RELEASED
    old = replace(unknown, nonce=solana_nonce(b"\x08" * 64, 1, 255), burned_at=now - 8 * 86_400)
    late = await world.signed(old)
    assert [why for _, why in late.prepared.refused] == ["UNKNOWN"]


# ---------------------------------------------------------------------- another chain


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"global_id": -3}, "global id"),
        ({"zero_state": b"\x01" * 32}, "zero state"),
        ({"guards": (b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)}, "TSLAx guards"),
        ({"threshold": 3}, "TSLAx guard threshold"),
        ({"guard_epoch": 9}, "TSLAx guard epoch"),
    ],
)
async def test_admin__entry_of_another_network__self_test_says_what_differs(
    world: World, changes: dict[str, Any], check: str
) -> None:
    """F88: swapped entries fail closed."""
    assert (await TonAdmin(world.chain, world.api).self_test()).failed == ()
    wrong: TonChain = replace(world.chain, **changes)
    failed = (await TonAdmin(wrong, world.api).self_test()).failed
    assert check in [one.name for one in failed]
    assert all(one.remedy for one in failed)


async def test_admin__minters_swapped_or_of_other_decimals__self_test_fails(
    chains: Chains,
) -> None:
    """F88: the asset of one minter under the symbol of another, or at another scale."""
    world = await chains.fresh("TSLAx", "SPYx", holdings=0)
    first, second = world.chain.minters
    swapped = (replace(first, asset=second.asset), replace(second, asset=first.asset))
    scaled = tuple(replace(m, asset=replace(m.asset, decimals=9)) for m in world.chain.minters)
    other_code = tuple(replace(m, code_hash=b"\x01" * 32) for m in world.chain.minters)
    for minters in (swapped, scaled, other_code):
        wrong = replace(world.chain, minters=minters)
        assert (await TonAdmin(wrong, world.api).self_test()).failed
    nowhere = replace(world.chain, minters=(replace(first, address=NOWHERE),))
    assert (await TonAdmin(nowhere, world.api).self_test()).failed


async def test_codec__permit_for_another_network__is_another_digest(world: World) -> None:
    """F14, F88: the global id is signed."""
    batch = (await world.order([world.item(1)])).batch
    assets = {world.bridge: world.minter.asset.asset}
    testnet = TonReleaseCodec(Domain.TON, -3, world.chain.guards, assets)
    assert testnet.digest(batch) != world.codec.digest(batch)


async def test_wallet__accounts__follow_from_their_keys_as_the_minter_derives_them(
    world: World,
) -> None:
    """F88: what we compute and what the contract computes is one account."""
    owner = world.holder_account
    stack = await world.api.run(world.bridge, "get_wallet_address", [account_slice(owner)])
    assert stack.account(0) == jetton_wallet(world.bridge, owner)

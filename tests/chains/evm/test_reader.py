"""Reading a real local chain: what is final is seen once, in order, and nothing else is."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.chains.evm.liars import Change, LyingRpc, no_topic
from tests.chains.evm.world import ELSEWHERE, HOLDER, RECIPIENT, SHARE, SPY, TSLA, World
from xstock_chains.evm.chain import EvmChain
from xstock_chains.evm.reader import EvmReader
from xstock_chains.evm.rpc import RpcFault
from xstock_chains.evm.signer import LocalSigner
from xstock_chains.ports import Cursor
from xstock_chains.quorum import Dissent, Quorum
from xstock_chains.solidity import contracts
from xstock_chains.solidity.abi import hex_of, selector
from xstock_chains.solidity.events import BURNED
from xstock_core.ids import Domain
from xstock_core.message import Kind
from xstock_core.observation import BurnFinal, Observation, ReleaseFinal, TxRef, observation_id
from xstock_runtime.errors import Transient


async def test_reader__a_burn_is_final__is_seen_with_the_contracts_own_facts(world: World) -> None:
    await world.issue(10 * SHARE)
    await world.approve()
    receipt = await world.burn(3 * SHARE)
    await world.finalize()
    found, cursor = await world.read_all()
    burns = [one for one in found if isinstance(one, BurnFinal)]
    releases = [one for one in found if isinstance(one, ReleaseFinal)]
    assert [(one.amount, one.recipient) for one in releases] == [(10 * SHARE, HOLDER.wire)]
    (burn,) = burns
    assert burn.message.kind is Kind.TRANSFER
    assert burn.message.amount == 3 * SHARE
    assert burn.message.recipient == ELSEWHERE
    assert burn.message.asset == TSLA
    assert burn.counter == 1
    assert burn.place.tx.id.hex() == receipt["transactionHash"][2:]
    again = await world.reader.read_page(cursor, limit=10)
    assert again.observations == ()
    assert again.cursor == cursor


async def test_reader__multiplier_below_one__burn_and_release_are_proven_within_the_inventory(
    world: World,
) -> None:
    await world.issue(7 * SHARE + 1, asset=SPY)
    await world.approve()
    await world.burn(2 * SHARE + 1, asset=SPY)
    await world.burn(1001, asset=SPY, destination=Domain.MANTLE)
    await world.finalize()
    found, _ = await world.read_all()
    amounts = [one.message.amount for one in found if isinstance(one, BurnFinal)]
    assert amounts == [2 * SHARE + 1, 1001]


async def test_reader__asked_again_by_transaction__tells_the_same_with_the_same_ids(
    world: World,
) -> None:
    await world.issue(10 * SHARE)
    await world.approve()
    receipt = await world.burn(SHARE)
    await world.finalize()
    found, _ = await world.read_all()
    tx = TxRef(world.chain.domain, bytes.fromhex(receipt["transactionHash"][2:]))
    again = await world.reader.re_observe(tx)
    wanted = [one for one in found if one.place.tx == tx]
    assert [observation_id(one) for one in again] == [observation_id(one) for one in wanted]
    assert len(again) == 1


async def test_reader__pages_of_one__tell_the_same_as_one_page(world: World) -> None:
    await world.issue(10 * SHARE)
    await world.approve()
    for _ in range(5):
        await world.burn(SHARE)
    await world.finalize()
    whole, end = await world.read_all()
    parts, end_of_parts = await world.read_all(limit=1)
    assert parts == whole
    assert end_of_parts == end
    assert len([one for one in whole if isinstance(one, BurnFinal)]) == 5


async def test_reader__a_burn_is_not_final__is_pending_and_on_no_page(world: World) -> None:
    await world.issue(10 * SHARE)
    await world.approve()
    await world.finalize()
    _, cursor = await world.read_all()
    await world.burn(SHARE)
    page = await world.reader.read_page(cursor, limit=10)
    assert not [one for one in page.observations if isinstance(one, BurnFinal)]
    (pending,) = await world.reader.read_pending()
    assert pending.message.amount == SHARE
    assert pending.blocks_behind_final == 2


async def test_reader__supply__equals_what_was_issued_less_what_was_burned(world: World) -> None:
    await world.issue(10 * SHARE)
    await world.issue(7 * SHARE + 3, asset=SPY)
    await world.approve()
    await world.burn(3 * SHARE)
    await world.burn(2 * SHARE + 1, asset=SPY)
    reading = await world.reader.read_supply([TSLA, SPY])
    tesla, spy = reading.supplies
    assert tesla.token_units == 7 * SHARE * 10**10
    net = spy.token_units - spy.bridge_inventory_units
    assert abs(net - (5 * SHARE + 2) * 10**10) <= 10
    assert spy.multiplier == 3 * 10**17
    assert dict(reading.lane_counters)[Domain.BNB] == 2
    assert await world.reader.is_final(reading.block) is None
    await world.finalize()
    assert await world.reader.is_final(reading.block) is True


async def test_reader__one_token_cannot_be_read__the_others_supply_is_read(world: World) -> None:
    """INV-16: a token that reverts, answers garbage or says multiplier 0 silences only itself."""
    await world.issue(10 * SHARE)
    await world.issue(SHARE, asset=SPY)
    token = hex_of(world.chain.by_asset()[SPY].address)
    node = LyingRpc(world.node.url)
    world.opened.append(node)
    reader = EvmReader(world.chain, node)
    whole = await reader.read_supply([TSLA, SPY])
    for lie in (RpcFault(3, "execution reverted"), RpcFault(-32000, "out of gas"), "0x", 7, ZERO):
        node.changes = [_token_says(token, lie)]
        reading = await reader.read_supply([SPY, TSLA], at=whole.block)
        assert reading.supplies == whole.supplies[:1]
        assert reading.lane_counters == whole.lane_counters
    honest = [EvmReader(world.chain, world.connect()) for _ in range(2)]
    assert await Quorum([*honest, reader], 2).read_supply([TSLA, SPY]) == whole


async def test_inventory__nobody_named__is_not_one_call_more(world: World) -> None:
    """Two owners are two more calls in the very same batch."""
    await world.issue(SHARE)
    node = LyingRpc(world.node.url)
    world.opened.append(node)
    await EvmReader(world.chain, node).read_supply([TSLA, SPY])
    plain, node.asked = node.asked, []
    await EvmReader(with_owners(world.chain, HOLDER, RECIPIENT), node).read_supply([TSLA, SPY])
    assert [method for method, _ in plain] == ["eth_getBlockByNumber"] + ["eth_call"] * 11
    assert len(node.asked) == len(plain) + 2
    assert len({params[1]["blockHash"] for _, params in node.asked[1:]}) == 1


async def test_inventory__node_fails_or_lies_about_an_account__asset_is_unread(
    world: World,
) -> None:
    """INV-16: never 0 and never more than there is; the other asset is read."""
    await world.issue(10 * SHARE)
    await world.issue(SHARE, asset=SPY)
    node = LyingRpc(world.node.url)
    world.opened.append(node)
    chain = with_owners(world.chain, RECIPIENT, HOLDER)
    reader = EvmReader(chain, node)
    whole = await reader.read_supply([TSLA, SPY])
    assert whole.supplies[0].issuer_inventory_units == 10 * SHARE * 10**10
    above = "0x" + f"{10 * SHARE * 10**10 + 2:064x}"
    for lie in (RpcFault(3, "execution reverted"), "0x", None, 7, "0x" + "ff" * 32, above):
        node.changes = [_sharesof_says(HOLDER.identity, lie)]
        reading = await reader.read_supply([TSLA, SPY], at=whole.block)
        assert reading.supplies == whole.supplies[1:]
    honest = [EvmReader(chain, world.connect()) for _ in range(2)]
    assert await Quorum([*honest, reader], 2).read_supply([TSLA, SPY]) == whole


async def test_inventory__node_tells_a_possible_lie__providers_dissent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F01: what can be true is for a quorum to deny; what cannot, no reader believes."""
    await world.issue(10 * SHARE)
    chain = with_owners(world.chain, HOLDER)
    node = LyingRpc(world.node.url, _sharesof_says(HOLDER.identity, "0x" + f"{SHARE:064x}"))
    world.opened.append(node)
    readers = [EvmReader(chain, world.connect()) for _ in range(2)]
    with pytest.raises(Dissent, match="supply at block"):
        await Quorum([*readers, EvmReader(chain, node)], 2).read_supply([TSLA])
    monkeypatch.setattr(contracts, "held_together", lambda _, held, __: sum(held))
    node.changes = [_sharesof_says(HOLDER.identity, "0x" + "ff" * 32)]
    (supply,) = (await EvmReader(chain, node).read_supply([TSLA])).supplies
    assert supply.issuer_inventory_units == 2**256 - 1


def with_owners(chain: EvmChain, *owners: LocalSigner) -> EvmChain:
    """The chain with these owners of issuer inventory of its first asset."""
    first, *others = chain.tokens
    named = replace(first, issuer_inventory=tuple(owner.identity for owner in owners))
    return replace(chain, tokens=(named, *others))


def _sharesof_says(owner: bytes, lie: Any) -> Change:
    """A node that answers this when it is asked what one account holds."""
    data = hex_of(selector("sharesOf(address)") + owner.rjust(32, b"\0"))

    def change(method: str, params: list[Any], answer: Any) -> Any:
        return lie if method == "eth_call" and params[0]["data"] == data else answer

    return change


ZERO = "0x" + "00" * 64


def _token_says(token: str, lie: Any) -> Change:
    """A node that answers this to every question to one token."""

    def change(method: str, params: list[Any], answer: Any) -> Any:
        return lie if method == "eth_call" and params[0]["to"] == token else answer

    return change


async def test_reader__empty_chain__page_reaches_the_head(world: World) -> None:
    await world.mine(300)
    _, cursor = await world.read_all()
    head = await world.reader.finalized_head()
    page = await world.reader.read_page(Cursor(world.chain.domain, cursor.text), limit=10)
    assert page.through == head
    assert not page.more


async def test_quorum__one_of_three_nodes_hides_burns__the_page_is_still_told_by_two(
    world: World,
) -> None:
    """F02, F30: cursors and pages of different nodes are interchangeable and compared."""
    await world.issue(10 * SHARE)
    await world.approve()
    for _ in range(4):
        await world.burn(SHARE)
    await world.finalize()
    blind = LyingRpc(world.node.url, no_topic(BURNED))
    world.opened.append(blind)
    nodes = [EvmReader(world.chain, rpc) for rpc in (world.connect(), world.connect(), blind)]
    quorum = Quorum(nodes, 2)
    found, cursor = await world.read_all(quorum, limit=3)
    alone, same = await world.read_all()
    assert (found, cursor) == (alone, same)
    assert len([one for one in found if isinstance(one, BurnFinal)]) == 4
    reading = await quorum.read_supply([TSLA])
    assert reading.supplies[0].token_units == 6 * SHARE * 10**10


async def test_reader__a_node_allows_few_blocks_a_query__gets_through_with_few_refusals(
    world: World,
) -> None:
    refusals: list[int] = []

    def narrow(method: str, params: list[Any], answer: Any) -> Any:
        query = params[0] if method == "eth_getLogs" else {}
        if "fromBlock" in query and int(query["toBlock"], 16) - int(query["fromBlock"], 16) >= 10:
            refusals.append(1)
            return RpcFault(-32600, "block range is too wide")
        return answer

    await world.issue(10 * SHARE)
    await world.approve()
    await world.mine(200)
    await world.burn(SHARE)
    await world.finalize()
    node = LyingRpc(world.node.url, narrow)
    world.opened.append(node)
    reader = EvmReader(world.chain, node)
    found: list[Observation] = []
    cursor, more, failures = Cursor(world.chain.domain), True, 0
    while more:
        try:
            page = await reader.read_page(cursor, limit=1000)
        except Transient:
            failures += 1
            continue
        found.extend(page.observations)
        cursor, more = page.cursor, page.more
    assert len([one for one in found if isinstance(one, BurnFinal)]) == 1
    assert 0 < failures < 10


async def test_reader__many_questions_at_once__are_answered_in_any_order(world: World) -> None:
    async def mining() -> None:
        for _ in range(40):
            await world.mine()

    async def asking() -> None:
        for _ in range(40):
            await world.reader.finalized_head()

    await asyncio.gather(mining(), *(asking() for _ in range(8)))
    assert (await world.reader.finalized_head()).number > 40

"""Issuer inventory on the local chain: an account's past is read from blocks, its present from a
node that may lag or lie; what does not fit leaves the asset unread.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chains.solana.liars import Twist, lying
from tests.chains.solana.world import (
    ELSEWHERE,
    HOLDER,
    RECIPIENT,
    SHARE,
    SPY,
    STRANGER,
    TSLA,
    World,
)
from xstock_chains.ports import SupplyReading
from xstock_chains.solana import reader as reader_module
from xstock_chains.solana.address import show
from xstock_chains.solana.chain import Holding, SolanaChain
from xstock_chains.solana.inventory import Later
from xstock_chains.solana.programs import ata_of, burn_checked, compute_price, memo, transfer
from xstock_chains.solana.reader import SolanaReader
from xstock_core.ids import Domain
from xstock_runtime.errors import Transient

ME = HOLDER.identity
Answer = dict[str, Any]


def with_owners(world: World, *owners: bytes) -> SolanaChain:
    """The chain with these owners of issuer inventory of its first asset."""
    mint = world.mint()
    held = tuple(Holding(owner, ata_of(owner, mint)) for owner in owners)
    assets = tuple(
        replace(one, issuer_inventory=held if one.asset == TSLA else ())
        for one in world.chain.assets
    )
    return replace(world.chain, assets=assets)


def told_by(world: World, twist: Twist, *owners: bytes) -> SolanaReader:
    """A reader of a node whose answers are twisted."""
    rpc = lying(world.node.url, twist)
    world.opened.append(rpc)
    return SolanaReader(with_owners(world, *owners), rpc)


def account_is(world: World, owner: bytes, lie: Callable[[Any], Any]) -> Twist:
    """A node that shows an owner's token account otherwise."""
    text = show(ata_of(owner, world.mint()))

    def twist(method: str, params: list[Any], answer: Answer) -> Answer:
        if method == "getMultipleAccounts" and text in params[0]:
            value, at = answer["result"]["value"], params[0].index(text)
            value[at] = lie(value[at])
        return answer

    return twist


async def burn(world: World, amount: int, *, price: int = 1) -> None:
    """A burn of the holder to another chain, in a block."""
    mint = world.mint()
    text = f"xsb1:{int(Domain.BNB)}:{ELSEWHERE.hex()}".encode()
    burned = burn_checked(ata_of(ME, mint), mint, ME, amount, world.reference())
    await world.send([compute_price(price), memo(text, ME), burned], HOLDER)


async def moved_since(world: World) -> SupplyReading:
    """A reading, above which both owners' accounts change: burns, one that fails, a release that
    makes the second account."""
    await world.issue(10 * SHARE)
    await world.issue(SHARE, asset=SPY)
    before = await SolanaReader(
        with_owners(world, ME, RECIPIENT.identity), world.connect()
    ).read_supply([TSLA, SPY])
    await burn(world, 99 * SHARE)
    await burn(world, 3 * SHARE)
    await world.issue(2 * SHARE, to=RECIPIENT.wire)
    await burn(world, SHARE, price=2)
    await world.mine(2)
    return before


async def test_inventory_at_an_earlier_block__is_what_later_transactions_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await moved_since(world)
    assert before.supplies[0].issuer_inventory_units == 10 * SHARE
    chain = with_owners(world, ME, RECIPIENT.identity)
    now = (await SolanaReader(chain, world.connect()).read_supply([TSLA])).supplies[0]
    assert now.issuer_inventory_units == 8 * SHARE
    late = SolanaReader(chain, world.connect())
    assert await late.read_supply([TSLA, SPY], at=before.block) == before
    monkeypatch.setattr(reader_module, "trace", lambda *_: Later())
    naive = SolanaReader(chain, world.connect())
    (supply, _) = (await naive.read_supply([TSLA, SPY], at=before.block)).supplies
    assert supply.issuer_inventory_units == 8 * SHARE


async def test_inventory__failed_transaction_lists_no_balances__is_passed_over(
    world: World,
) -> None:
    """Anybody can name the account in a transaction that fails; what a node lists for it is not
    what the account held."""
    before = await moved_since(world)
    failed: list[str] = []

    def twist(method: str, params: list[Any], answer: Answer) -> Answer:
        for entry in answer["result"].get("transactions", ()) if method == "getBlock" else ():
            if entry["meta"]["err"] is not None:
                entry["meta"]["preTokenBalances"] = []
                failed.append(entry["transaction"][0])
        return answer

    late = told_by(world, twist, ME, RECIPIENT.identity)
    assert await late.read_supply([TSLA, SPY], at=before.block) == before
    assert len(failed) == 1


@pytest.mark.parametrize(
    "lie",
    [
        lambda one: {**one, "mint": show(STRANGER.identity)},
        lambda one: {**one, "owner": show(STRANGER.identity)},
        lambda one: {**one, "uiTokenAmount": {"amount": "12.5"}},
        lambda one: {**one, "uiTokenAmount": {"amount": str(2**64)}},
        lambda one: {**one, "uiTokenAmount": {"amount": str(11 * SHARE)}},
        lambda one: {**one, "uiTokenAmount": None},
        lambda one: {key: one[key] for key in ("accountIndex", "owner", "mint")},
    ],
)
async def test_inventory__what_a_transaction_found_is_told_otherwise__asset_is_unread(
    world: World, lie: Callable[[Any], Any]
) -> None:
    before = await moved_since(world)

    def twist(method: str, params: list[Any], answer: Answer) -> Answer:
        if method != "getBlock":
            return answer
        for entry in answer["result"].get("transactions", ()):
            meta = entry["meta"]
            found = meta["preTokenBalances"]
            meta["preTokenBalances"] = [
                lie(one) if one["owner"] == show(ME) else one for one in found
            ]
        return answer

    late = told_by(world, twist, ME, RECIPIENT.identity)
    reading = await late.read_supply([TSLA, SPY], at=before.block)
    assert reading.supplies == before.supplies[1:]


def _token_account_of(owner: bytes, amount: int) -> Callable[[Any], Any]:
    def lie(shown: Any) -> Any:
        data = bytearray(b64decode(shown["data"][0]))
        data[32:72] = owner + amount.to_bytes(8, "little")
        return {**shown, "data": [b64encode(data).decode(), "base64"]}

    return lie


@pytest.mark.parametrize(
    "lie",
    [
        lambda _: {"lamports": 1, "owner": show(STRANGER.identity), "data": ["", "base64"]},
        lambda shown: {**shown, "data": ["AAAA", "base64"]},
        lambda shown: {**shown, "data": "AAAA"},
        lambda _: 7,
        _token_account_of(STRANGER.identity, SHARE),
        _token_account_of(ME, 10 * SHARE + 1),
    ],
)
async def test_inventory__node_fails_or_lies_about_an_account__asset_is_unread(
    world: World, lie: Callable[[Any], Any]
) -> None:
    """INV-16: never 0 and never more than there is; the other asset is read."""
    await world.issue(10 * SHARE)
    await world.issue(SHARE, asset=SPY)
    true = SolanaReader(with_owners(world, RECIPIENT.identity, ME), world.connect())
    whole = await true.read_supply([TSLA, SPY])
    assert whole.supplies[0].issuer_inventory_units == 10 * SHARE
    liar = told_by(world, account_is(world, ME, lie), RECIPIENT.identity, ME)
    assert (await liar.read_supply([TSLA, SPY])).supplies == whole.supplies[1:]


async def test_inventory__somebody_sends_coins_to_the_missing_account__holds_nothing(
    world: World,
) -> None:
    """Nobody can make the asset unreadable with rent for an account that nobody has made."""
    await world.issue(10 * SHARE)
    account = ata_of(RECIPIENT.identity, world.mint())
    await world.send([transfer(STRANGER.identity, account, 5_000_000)], STRANGER)
    reader = SolanaReader(with_owners(world, RECIPIENT.identity), world.connect())
    (supply,) = (await reader.read_supply([TSLA])).supplies
    assert supply.issuer_inventory_units == 0


async def test_inventory__owners_named__asks_no_other_call(world: World) -> None:
    await world.issue(SHARE)
    asked: list[str] = []

    def note(method: str, params: list[Any], answer: Answer) -> Answer:
        asked.append(method)
        return answer

    await told_by(world, note).read_supply([TSLA, SPY])
    plain = list(asked)
    asked.clear()
    await told_by(world, note, ME, RECIPIENT.identity).read_supply([TSLA, SPY])
    assert asked == plain == ["getMultipleAccounts", "getBlock", "getBlock"]


async def test_inventory__part_of_the_answer_is_older__reading_is_of_the_older_block(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accounts of several calls may come from several nodes: none is taken for a later block."""
    await world.issue(10 * SHARE)
    await world.mine(3)
    monkeypatch.setattr(reader_module, "_ACCOUNTS_A_CALL", 1)
    text = show(ata_of(ME, world.mint()))

    def lags(method: str, params: list[Any], answer: Answer) -> Answer:
        if method == "getMultipleAccounts" and params[0] == [text]:
            answer["result"]["context"]["slot"] -= 1
        return answer

    newest = await world.reader.read_supply([TSLA])
    reading = await told_by(world, lags, ME).read_supply([TSLA])
    assert reading.block.number == newest.block.number - 1
    assert reading.supplies[0].issuer_inventory_units == 10 * SHARE
    with pytest.raises(Transient, match="NODE_BEHIND"):
        await told_by(world, lags, ME).read_supply([TSLA], at=newest.block)

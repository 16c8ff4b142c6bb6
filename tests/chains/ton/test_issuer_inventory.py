"""Issuer inventory on the local chain: an owner's jetton wallet at the reading's own masterchain
block, or the asset is unread.
"""

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pytoniq_core.boc.builder import Builder

from tests.chains.ton.liars import LyingAccount
from tests.chains.ton.world import DEPLOYER, SHARE, Chains, World
from xstock_chains.ports import AssetSupply
from xstock_chains.quorum import Dissent, Quorum
from xstock_chains.ton import reader as reader_module
from xstock_chains.ton.cells import boc_of, end, internal_message, store_account
from xstock_chains.ton.chain import TonChain
from xstock_chains.ton.minter import artifact, jetton_wallet
from xstock_chains.ton.reader import TonReader
from xstock_chains.ton.rpc import AccountHead
from xstock_chains.ton.storage import MinterState, read_minter
from xstock_core.ids import Address32, AssetId

Json = dict[str, Any]


def with_owners(world: World, *owners: Address32) -> TonChain:
    """The chain with these owners of issuer inventory of its first asset."""
    first, *others = world.chain.minters
    named = replace(first, asset=replace(first.asset, issuer_inventory=owners))
    return replace(world.chain, minters=(named, *others))


def assets_of(world: World) -> list[AssetId]:
    """The assets in the registry's order."""
    return [minter.asset.asset for minter in world.chain.minters]


def wallet_data(world: World, units: int, owner: Address32, minter: Address32) -> str:
    """A jetton wallet's storage in the API's form."""
    builder = store_account(store_account(Builder().store_coins(units), owner), minter)
    return base64.b64encode(boc_of(end(builder))).decode()


Lie = Callable[[World, Json], Json]
LIES: dict[str, Lie] = {
    "frozen": lambda _, said: {**said, "state": "frozen", "data": "", "code": ""},
    "state unknown": lambda _, said: {**said, "state": "?", "data": "", "code": ""},
    "no data": lambda _, said: {**said, "data": ""},
    "data of nothing": lambda _, said: {
        **said,
        "data": base64.b64encode(boc_of(end(Builder()))).decode(),
    },
    "another code": lambda _, said: {
        **said,
        "code": base64.b64encode(boc_of(artifact("Bridge"))).decode(),
    },
    "another owner's": lambda world, said: {
        **said,
        "data": wallet_data(world, SHARE, world.recipient, world.bridge),
    },
    "another minter's": lambda world, said: {
        **said,
        "data": wallet_data(world, SHARE, world.holder_account, world.recipient),
    },
    "more than there is": lambda world, said: {
        **said,
        "data": wallet_data(world, 2**80, world.holder_account, world.bridge),
    },
    "another block's": lambda _, said: {
        **said,
        "block_id": {**said["block_id"], "seqno": said["block_id"]["seqno"] - 1},
    },
}


def told_by(world: World, lie: Lie) -> TonReader:
    """A reader of a node that shows the holder's wallet otherwise."""
    wallet = jetton_wallet(world.bridge, world.holder_account)
    api = LyingAccount(world.node.url, wallet, lambda said: lie(world, said))
    return TonReader(with_owners(world, world.recipient, world.holder_account), api)


@pytest.mark.parametrize("case", sorted(LIES))
async def test_inventory__node_fails_or_lies_about_a_wallet__asset_is_unread(
    chains: Chains, case: str
) -> None:
    """INV-16: never 0 and never more than there is; the other asset is read."""
    world = await chains.fresh("TSLAx", "SPYx")
    true = TonReader(with_owners(world, world.recipient, world.holder_account), world.api)
    whole = await true.read_supply(assets_of(world))
    first = whole.supplies[0]
    assert first.issuer_inventory_units == first.token_units > 0
    liar = told_by(world, LIES[case])
    reading = await liar.read_supply(assets_of(world), at=whole.block)
    await liar.aclose()
    assert reading.supplies == whole.supplies[1:]


async def test_inventory__node_tells_a_possible_lie__providers_dissent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F01: what can be true is for a quorum to deny; what cannot, no reader believes."""
    owners = (world.recipient, world.holder_account)

    def says(units: int) -> Lie:
        return lambda world, said: {
            **said,
            "data": wallet_data(world, units, world.holder_account, world.bridge),
        }

    honest = [TonReader(with_owners(world, *owners), world.api) for _ in range(2)]
    liar = told_by(world, says(SHARE))
    with pytest.raises(Dissent, match="supply at block"):
        await Quorum([*honest, liar], 2).read_supply(assets_of(world))
    await liar.aclose()
    monkeypatch.setattr(reader_module, "held_together", lambda _, held, __: sum(held))
    credulous = told_by(world, says(2**80))
    (supply,) = (await credulous.read_supply(assets_of(world))).supplies
    await credulous.aclose()
    assert supply.issuer_inventory_units == 2**80


async def test_inventory_at_an_earlier_block__is_that_blocks(world: World) -> None:
    chain = with_owners(world, world.holder_account)
    before = await TonReader(chain, world.api).read_supply(assets_of(world))
    await world.burn(3 * SHARE)
    await world.finalize()
    now = await supply_by(world, chain)
    assert now.issuer_inventory_units == before.supplies[0].issuer_inventory_units - 3 * SHARE
    late = TonReader(chain, world.api)
    assert await late.read_supply(assets_of(world), at=before.block) == before


async def test_inventory__somebody_sends_coins_to_the_missing_wallet__holds_nothing(
    world: World,
) -> None:
    """Nobody can make the asset unreadable with coins for an account where no contract stands."""
    wallet = jetton_wallet(world.bridge, world.recipient)
    await world.send(DEPLOYER, internal_message(wallet, 10**8, end(Builder()), bounce=False))
    await world.settle()
    supply = await supply_by(world, with_owners(world, world.recipient))
    assert supply.issuer_inventory_units == 0


async def test_inventory__minter_gives_wallets_another_code__asset_is_unread(
    chains: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wallets stand at other accounts: where we would look nobody holds anything."""

    def another(account: AccountHead) -> MinterState:
        return replace(read_minter(account), wallet_code=end(Builder()))

    world = await chains.fresh("TSLAx", "SPYx")
    monkeypatch.setattr(reader_module, "read_minter", another)
    reader = TonReader(with_owners(world, world.recipient), world.api)
    reading = await reader.read_supply(assets_of(world))
    assert [one.asset for one in reading.supplies] == assets_of(world)[1:]


async def supply_by(world: World, chain: TonChain) -> AssetSupply:
    """The one asset's supply at the last block."""
    (supply,) = (await TonReader(chain, world.api).read_supply(assets_of(world))).supplies
    return supply

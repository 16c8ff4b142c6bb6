"""Issuer inventory on the local chain: shares of its owners in the solid head's very state, or the
asset is unread.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.chains.tron.liars import Change, LyingRpc
from tests.chains.tron.world import HOLDER, RECIPIENT, SHARE, SPY, TSLA, World
from xstock_chains.quorum import Dissent, Quorum
from xstock_chains.solidity import contracts
from xstock_chains.solidity.abi import selector
from xstock_chains.solidity.account import to_wire
from xstock_chains.tron.chain import TronChain
from xstock_chains.tron.reader import TronReader
from xstock_chains.tron.signer import TronSigner
from xstock_runtime.errors import Transient

UNIT = 10**10
REVERTED = {
    "result": {"result": True, "message": "52455645525420"},
    "constant_result": [""],
    "transaction": {"ret": [{"ret": "FAILED"}]},
}
REFUSED = {"result": {"code": "OTHER_ERROR", "message": "62757379"}}


def with_owners(chain: TronChain, *owners: TronSigner) -> TronChain:
    """The chain with these owners of issuer inventory of its first asset."""
    named = tuple(owner.identity for owner in owners)
    tokens = tuple(
        replace(token, issuer_inventory=named if token.asset == TSLA else ())
        for token in chain.tokens
    )
    return replace(chain, tokens=tokens)


def shares_are(owner: TronSigner, lie: Any) -> Change:
    """A server that answers this when it is asked what one account holds."""
    data = (selector("sharesOf(address)") + to_wire(owner.identity)).hex()

    def change(interface: str, method: str, body: Mapping[str, Any], answer: Any) -> Any:
        return lie if body.get("data") == data else answer

    return change


def shows(shares: int) -> Any:
    """The answer of a call that returns this number."""
    return {"result": {"result": True}, "constant_result": [f"{shares:064x}"]}


async def supplied(world: World) -> None:
    """Ten shares of the first asset and one of the second, solid."""
    await world.issue(10 * SHARE)
    await world.issue(SHARE, asset=SPY)
    await world.finalize()


@pytest.mark.parametrize(
    "lie",
    [
        REVERTED,
        REFUSED,
        {"result": {"result": True}, "constant_result": [""]},
        {"result": {"result": True}},
        shows(2**256 - 1),
        shows(10 * SHARE * UNIT + 2),
    ],
    ids=["reverted", "refused", "empty", "nothing", "endless", "more_than_there_is"],
)
async def test_inventory__server_fails_or_lies_about_an_account__asset_is_unread(
    world: World, lie: Any
) -> None:
    """INV-16: never 0 and never more than there is; the other asset is read."""
    await supplied(world)
    chain = with_owners(world.chain, RECIPIENT, HOLDER)
    whole = await TronReader(chain, world.rpc).read_supply([TSLA, SPY])
    assert whole.supplies[0].issuer_inventory_units == 10 * SHARE * UNIT
    reader = TronReader(chain, LyingRpc(world.node.url, shares_are(HOLDER, lie)))
    reading = await reader.read_supply([TSLA, SPY])
    await reader.aclose()
    assert reading.supplies == whole.supplies[1:]


async def test_inventory__server_tells_a_possible_lie__providers_dissent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F01: what can be true is for a quorum to deny; what cannot, no reader believes."""
    await supplied(world)
    chain = with_owners(world.chain, HOLDER)
    honest = [TronReader(chain, world.rpc) for _ in range(2)]
    liar = TronReader(chain, LyingRpc(world.node.url, shares_are(HOLDER, shows(SHARE))))
    with pytest.raises(Dissent, match="supply at block"):
        await Quorum([*honest, liar], 2).read_supply([TSLA])
    await liar.aclose()
    monkeypatch.setattr(contracts, "held_together", lambda _, held, __: sum(held))
    endless = shares_are(HOLDER, shows(2**256 - 1))
    credulous = TronReader(chain, LyingRpc(world.node.url, endless))
    (supply,) = (await credulous.read_supply([TSLA])).supplies
    await credulous.aclose()
    assert supply.issuer_inventory_units == 2**256 - 1


async def test_inventory__shares_move__the_earlier_blocks_figure_is_not_told_any_more(
    world: World,
) -> None:
    """A server has no older state: what an owner holds now is no answer for then."""
    await supplied(world)
    chain = with_owners(world.chain, HOLDER)
    before = await TronReader(chain, world.rpc).read_supply([TSLA])
    later = await TronReader(chain, world.rpc).read_supply([TSLA], at=before.block)
    assert later == before
    await world.approve()
    await world.burn(3 * SHARE)
    await world.finalize()
    with pytest.raises(Transient, match="moved on"):
        await TronReader(chain, world.rpc).read_supply([TSLA], at=before.block)
    (supply,) = (await TronReader(chain, world.rpc).read_supply([TSLA])).supplies
    assert supply.issuer_inventory_units == 7 * SHARE * UNIT

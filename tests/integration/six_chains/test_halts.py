"""F24 on the real reader: Solana stands still, restarts at an earlier slot, and goes on.

Method: the watcher's own handlers over a local Solana, the relayer behind them, two fake chains
beside it whose lane must not notice. Burns are confirmed but not final when the chain stops; the
restart takes some of them back, as people who choose a restart slot do.
"""

from collections.abc import Sequence
from typing import Any, cast

from tests.contract.driver import SHARE
from tests.contract.solana_driver import SolanaUnderTest
from tests.integration.six_chains.conftest import Deploy
from tests.integration.six_chains.world import Bridge
from tests.services.relayer.world import HOLDER, RECIPIENT
from xstock_chains.solana.reader import SolanaReader
from xstock_chains.solana.rpc import Call, Rpc
from xstock_core.ids import Domain
from xstock_core.transfer import Phase


async def halted(bridge: Bridge) -> None:
    """One burn is final; three more are in blocks that were never finalized; then nothing."""
    solana = cast(SolanaUnderTest, bridge.real)
    await bridge.relayer.start()
    await solana.burn(SHARE)
    await solana.finalize()
    await bridge.step()
    await solana.world.control("freeze_finality", on=True)
    await solana.burn(SHARE, SHARE)
    await solana.burn(SHARE)
    await solana.world.control("warp", seconds=5 * 3600)


async def restart_earlier(bridge: Bridge, depth: int = 3) -> None:
    """The last blocks are gone for good and the chain finalizes again."""
    solana = cast(SolanaUnderTest, bridge.real)
    solana.reorganised = True
    await solana.world.control("reorg", depth=depth)
    await solana.world.control("freeze_finality", on=False)
    await solana.mine(2)
    await solana.finalize()


async def test_solana__halts_and_restarts_at_an_earlier_slot__others_go_on_and_nothing_is_lost(
    deploy: Deploy,
) -> None:
    """F24: only its own lanes wait; what the restart kept is released once, what it took never."""
    bridge = Bridge(await deploy("solana"))
    await halted(bridge)
    asset = bridge.real.asset
    bridge.fakes[Domain.MANTLE].burn(HOLDER.address, asset, Domain.BNB, RECIPIENT, 7 * SHARE)
    bridge.fakes[Domain.MANTLE].mine(3)
    for _ in range(8):
        await bridge.step()
    assert sum(bridge.minted_on(Domain.BNB).values()) == 2, "one before the halt, one of Mantle"
    await restart_earlier(bridge)
    bridge.watcher.start()
    await bridge.settle()
    assert set(bridge.phases()) == {Phase.RELEASED}
    minted = bridge.minted_on(Domain.BNB)
    assert set(minted.values()) == {1}
    kept = await burned_on(bridge)
    assert len(minted) == kept + 1, "every burn that is on the chain now, and Mantle's"
    assert kept < 4, "the restart took something back"


async def burned_on(bridge: Bridge) -> int:
    """How many shares' worth of burns Solana's final state shows."""
    solana = cast(SolanaUnderTest, bridge.real)
    (supply,) = (await solana.new_reader().read_supply([solana.asset])).supplies
    return (1_000_000 * SHARE - supply.token_units) // SHARE


class Early(Rpc):
    """Defence taken out: what most validators have voted for passes for final."""

    async def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        """The node asked about confirmed blocks wherever final ones were meant."""
        return await super().batch_settled([(method, _early(params)) for method, params in calls])


def _early(params: list[Any]) -> list[Any]:
    return [
        one | {"commitment": "confirmed"} if isinstance(one, dict) and "commitment" in one else one
        for one in params
    ]


async def test_solana__confirmed_taken_for_final__shares_are_minted_for_burns_that_vanish(
    deploy: Deploy,
) -> None:
    """F24 with the defence removed: the restart takes back burns whose shares exist elsewhere."""
    bridge = Bridge(await deploy("solana"))
    solana = cast(SolanaUnderTest, bridge.real)
    hasty = Early(solana.world.node.url)
    solana.world.opened.append(hasty)
    bridge.watcher.reader = SolanaReader(solana.world.chain, hasty)
    bridge.watcher.start()
    await halted(bridge)
    await solana.mine(1)
    for _ in range(8):
        await bridge.step()
    minted = sum(bridge.minted_on(Domain.BNB).values())
    await restart_earlier(bridge, depth=5)
    assert minted > await burned_on(bridge)

"""The relayer's sender and real writers: what a destination does to a mint that is under way.

Method: a burn on a fake chain, released by the real relayer on a real local chain of each family,
with the family's own fault struck between broadcast and finality. What counts is the chain's own
figure: the recipient's shares.
"""

from dataclasses import replace
from typing import Any, cast

import pytest

from tests.contract.driver import SHARE
from tests.contract.ton_driver import TonUnderTest
from tests.integration.six_chains.conftest import FAMILIES, Deploy
from tests.integration.six_chains.world import Bridge
from xstock_chains.ports import ChainWriter, SendSlot, TxState, TxStatus
from xstock_core.observation import TxRef
from xstock_core.transfer import FundsAt, Phase
from xstock_relayer.model import SlotState

EVERY_FAMILY = pytest.mark.parametrize("family", list(FAMILIES))


class Swayed:
    """A writer whose word about a transaction is bent: a defence taken out."""

    def __init__(self, inner: ChainWriter, **bent: TxState) -> None:
        self._inner = inner
        self._bent = bent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def status(self, tx: TxRef, slot: SendSlot) -> TxStatus:
        """The real answer, one state taken for another."""
        found = await self._inner.status(tx, slot)
        state = self._bent.get(found.state.name, found.state)
        succeeded = True if state is TxState.FINAL else found.succeeded
        return replace(found, state=state, succeeded=succeeded)


async def in_a_block(bridge: Bridge) -> TxRef:
    """The release of one burn is in a block that is not final; its reference."""
    await bridge.relayer.start()
    bridge.burn_towards_real()
    for _ in range(3):
        await bridge.step()
    await bridge.real.mine()
    (entry,) = bridge.slots()
    signed = entry.attempts[-1].signed
    assert signed is not None
    return signed.ref


@EVERY_FAMILY
async def test_release__destination_reorganised__same_bytes_land_and_count_once(
    deploy: Deploy, family: str
) -> None:
    """F45: done is done only when it is final, on every family."""
    bridge = Bridge(await deploy(family))
    ref = await in_a_block(bridge)
    raws = bridge.raws()
    await bridge.real.drop(ref)
    await bridge.settle()
    assert bridge.phases() == {Phase.RELEASED: 1}
    assert bridge.raws() == raws
    assert await bridge.real.shares_of(bridge.real.recipient) == SHARE


@EVERY_FAMILY
async def test_release__inclusion_taken_for_finality__the_mint_is_lost(
    deploy: Deploy, family: str
) -> None:
    """F45 with the defence removed: nobody sends again what a reorg took."""
    bridge = Bridge(await deploy(family), lambda writer: Swayed(writer, INCLUDED=TxState.FINAL))
    ref = await in_a_block(bridge)
    await bridge.relayer.reconcile()
    await bridge.real.drop(ref)
    await bridge.settle(turns=8)
    assert await bridge.real.shares_of(bridge.real.recipient) == 0


@EVERY_FAMILY
async def test_release__asset_paused_after_the_burn__waits_in_its_place_and_then_lands_once(
    deploy: Deploy, family: str
) -> None:
    """F58, F44: nothing is given up, nothing is sent in vain for long; it resumes by itself."""
    bridge = Bridge(await deploy(family))
    await bridge.real.set_paused(paused=True)
    await bridge.real.finalize()
    await bridge.relayer.start()
    bridge.burn_towards_real()
    for _ in range(8):
        await bridge.step()
        await bridge.real.mine()
        await bridge.real.finalize()
    (transfer,) = bridge.disk.transfers.values()
    assert not transfer.view.terminal
    assert transfer.view.funds_at is FundsAt.IN_FLIGHT
    assert len(bridge.raws()) <= 3
    assert await bridge.real.shares_of(bridge.real.recipient) == 0
    await bridge.real.set_paused(paused=False)
    await bridge.real.finalize()
    await bridge.settle(turns=90)
    assert bridge.phases() == {Phase.RELEASED: 1}
    assert await bridge.real.shares_of(bridge.real.recipient) == SHARE


async def stand_still(bridge: Bridge) -> None:
    """An hour in which blocks come and no masterchain block commits them."""
    ton = cast(TonUnderTest, bridge.real)
    await ton.world.devnet("freeze_finality", on=True)
    await in_a_block(bridge)
    await ton.world.devnet("warp", seconds=3600)
    for _ in range(8):
        await bridge.real.mine()
        await bridge.step()


async def test_release__masterchain_stands_still__stays_unknown_and_takes_no_new_query(
    deploy: Deploy,
) -> None:
    """F26: the mint is under way for an hour; one query id, one set of bytes, one mint."""
    bridge = Bridge(await deploy("ton"))
    await stand_still(bridge)
    assert (len(bridge.slots()), len(bridge.raws())) == (1, 1)
    (transfer,) = bridge.disk.transfers.values()
    assert not transfer.view.terminal
    await cast(TonUnderTest, bridge.real).world.devnet("freeze_finality", on=False)
    await bridge.settle()
    assert bridge.phases() == {Phase.RELEASED: 1}
    assert await bridge.real.shares_of(bridge.real.recipient) == SHARE


async def test_release__what_is_not_final_taken_for_dropped__another_query_goes_out(
    deploy: Deploy,
) -> None:
    """F26 with the defence removed: only the minter's own memory still stands in the way."""
    bridge = Bridge(await deploy("ton"), lambda writer: Swayed(writer, INCLUDED=TxState.DROPPED))
    await stand_still(bridge)
    given_up = [entry for entry in bridge.slots() if entry.state is SlotState.LOST]
    await cast(TonUnderTest, bridge.real).world.devnet("freeze_finality", on=False)
    assert given_up, "the slot is taken for free while its mint is under way"

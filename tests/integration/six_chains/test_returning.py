"""The way back on each family's own chain: a cancellation there, a refund here, and the reverse.

Method: the real relayer between a real local chain of each family and fake ones. Nothing but the
chains' own figures counts: what the recipient holds, what the holder has again.
"""

import pytest

from tests.contract.driver import SHARE
from tests.integration.six_chains.conftest import FAMILIES, Deploy
from tests.integration.six_chains.world import Bridge
from xstock_chains.ports import ExecutionState
from xstock_core.ids import Domain, TransferId
from xstock_core.message import Kind
from xstock_core.release import key_of
from xstock_core.transfer import Phase
from xstock_relayer.model import Transfer

EVERY_FAMILY = pytest.mark.parametrize("family", list(FAMILIES))


def originals(bridge: Bridge) -> list[Transfer]:
    """The transfers that are no refunds."""
    known = bridge.disk.transfers.values()
    return [t for t in known if t.state.message and t.state.message.kind is not Kind.REFUND]


async def observed(bridge: Bridge) -> TransferId:
    """The one burn, as the relayer knows it; no guard has been asked yet."""
    for _ in range(10):
        for watcher in bridge.watchers:
            await watcher.read()
        await bridge.relayer.heal()
        if bridge.disk.transfers:
            break
        await bridge.real.mine()
        await bridge.real.finalize()
    (transfer,) = bridge.disk.transfers.values()
    return transfer.id


async def until_ended(bridge: Bridge, turns: int = 40) -> Transfer:
    """Turns until the one transfer has ended, with a restart on the way."""
    for turn in range(turns):
        await bridge.step()
        await bridge.real.mine()
        await bridge.real.finalize()
        (original,) = originals(bridge)
        if original.view.terminal:
            return original
        if turn == 4:
            await bridge.restart()
    return original


@EVERY_FAMILY
async def test_cancel__on_the_real_chain__nothing_is_minted_and_the_holder_is_refunded(
    deploy: Deploy, family: str
) -> None:
    """INV-02: cancelled there for good, minted back here once."""
    bridge = Bridge(await deploy(family))
    await bridge.relayer.start()
    bridge.burn_towards_real()
    lost = await observed(bridge)
    await bridge.relayer.returner.cancel(lost, "taken back", "operator-1", None)
    original = await until_ended(bridge)
    assert original.view.phase is Phase.REFUNDED
    assert await bridge.real.shares_of(bridge.real.recipient) == 0
    assert bridge.minted_on(Domain.BNB).total() == 1
    message = original.state.message
    assert message is not None
    (done,) = await bridge.real.writer.find_executions([key_of(message)])
    assert done is not None
    assert done.state is ExecutionState.CANCELLED


@EVERY_FAMILY
async def test_refund__on_the_real_chain__the_holder_has_the_shares_again(
    deploy: Deploy, family: str
) -> None:
    """A burn of the real chain, cancelled elsewhere, flows back to who burned it."""
    bridge = Bridge(await deploy(family))
    await bridge.relayer.start()
    real = bridge.real
    before = await real.shares_of(real.holder)
    await real.burn(SHARE)
    await real.finalize()
    lost = await observed(bridge)
    destination = bridge.disk.transfers[lost].state.message
    assert destination is not None
    assert destination.destination in bridge.fakes
    await bridge.relayer.returner.cancel(lost, "taken back", "operator-1", None)
    original = await until_ended(bridge)
    assert original.view.phase is Phase.REFUNDED
    assert await real.shares_of(real.holder) == before
    assert bridge.minted_on(destination.destination).total() == 0

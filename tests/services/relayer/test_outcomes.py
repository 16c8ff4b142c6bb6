"""Outcomes that happen in a transaction which is not the one that the relayer signed.

On TON the minter's own transaction carries the outcome; elsewhere somebody else may have sent our
signed batch. The transfer must not stay "on its way" for ever.
"""

import pytest

from tests.services.relayer.world import CHAINS, World
from xstock_core.ids import Domain
from xstock_core.observation import MintParked, Place, ReleaseSkipped, SkipReason, TxRef
from xstock_core.transfer import Phase
from xstock_relayer.model import Numbered

SOURCE, BNB = CHAINS


async def under_way() -> tuple[World, ReleaseSkipped, MintParked]:
    """One release in the mempool, and what the destination might say of it elsewhere."""
    world = World()
    await world.relayer.start()
    world.burn()
    for _ in range(2):
        await world.observe()
        await world.relayer.review()
        await world.relayer.release()
    (transfer,) = await world.refresh()
    message = transfer.state.message
    assert message is not None
    assert transfer.view.phase is Phase.RELEASING
    place = Place(world.chains[BNB].final, TxRef(BNB, b"\x77" * 32), 0)
    key = (BNB, SOURCE, message.nonce)
    skipped = ReleaseSkipped(*key, SkipReason.RECIPIENT_REFUSED, place)
    return world, skipped, MintParked(*key, message.asset, message.amount, place)


async def test_release__parked_in_the_destinations_own_transaction__is_shown_as_parked() -> None:
    """F18, F58: a wallet sent the mint back; a person sees it, nothing waits for finality."""
    world, _, parked = await under_way()
    await world.relayer.intake.take([Numbered(0, parked)])
    await world.refresh()
    assert world.phases() == {Phase.PARKED: 1}


async def test_release__skipped_in_an_unknown_transaction__its_batch_is_over() -> None:
    """F44: what was skipped is not on its way any more."""
    world, skipped, _ = await under_way()
    await world.relayer.intake.take([Numbered(0, skipped)])
    await world.refresh()
    assert world.phases() == {Phase.PARKED: 1}


@pytest.mark.parametrize("reason", [SkipReason.BUCKET_EMPTY, SkipReason.ASSET_PAUSED])
async def test_release__skipped_for_a_while_elsewhere__is_held_and_signed_anew(
    reason: SkipReason,
) -> None:
    """F44, F58: a pause or an empty bucket is waited for, and the transfer is in line again."""
    world, skipped, _ = await under_way()
    place = skipped.place
    told = ReleaseSkipped(BNB, SOURCE, skipped.nonce, reason, place)
    world.chains[Domain.BNB]._mempool.clear()
    await world.relayer.intake.take([Numbered(0, told)])
    await world.refresh()
    assert world.phases() == {Phase.HELD: 1}
    await world.settle()
    assert world.phases() == {Phase.RELEASED: 1}

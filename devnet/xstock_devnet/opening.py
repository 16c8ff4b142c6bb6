"""Opening an asset of a local world: wait until the guards can, do it, or say who would not."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

from xstock_core.ids import AssetId
from xstock_devnet.processes import ProcessFailed
from xstock_runtime.clock import SystemClock
from xstock_runtime.grpc_client import ChannelSettings, open_channel
from xstock_wire.openings import Outcome, carry_out, propose
from xstock_wire.v1 import papers_pb2
from xstock_wire.v1.supply_guard_pb2_grpc import SupplyGuardServiceStub

OPERATOR: Final = "operator-1"
OPENING_SECONDS_MAX: Final = 120.0
_AGAIN_SECONDS: Final = 1.0


async def open_asset(asset: AssetId, guards: Mapping[str, str], needed: int) -> papers_pb2.Opening:
    """Open the asset at every guard; `guards` are addresses by id.

    Raises ProcessFailed with the guards' own words when it takes too long.
    """
    clock = SystemClock()
    deadline = clock.monotonic() + OPENING_SECONDS_MAX
    async with AsyncExitStack() as stack:
        stubs = {}
        for name, target in guards.items():
            channel = open_channel(ChannelSettings(target, dev_identity=OPERATOR))
            stubs[name] = SupplyGuardServiceStub(await stack.enter_async_context(channel))
        outcome = Outcome()
        paper: papers_pb2.Opening | None = None
        while len(outcome.booked) < len(stubs):
            if clock.monotonic() > deadline:
                raise ProcessFailed(f"opening {asset.hex()}: {dict(outcome.refusals)}")
            found = await propose(stubs, asset)
            paper = None if found.unread else found.paper
            if paper is not None:
                outcome = await carry_out(stubs, paper, needed)
            if len(outcome.booked) < len(stubs):
                await clock.sleep(_AGAIN_SECONDS)
    if paper is None:
        raise ProcessFailed(f"opening {asset.hex()}: no guard to ask")
    return paper

"""The custodian of a local world, as a process: signs what it holds and tells every guard.

What it holds stands in `custody.json` ({symbol: {held_units, multiplier, multiplier_epoch}}); the
file may be edited while it runs, and the next statement says so. Run as `python -m
xstock_devnet.custodian --folder FOLDER`.
"""

import argparse
import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import grpc

from xstock_chains.registry import Registry, load_registry
from xstock_runtime.clock import Clock, SystemClock
from xstock_runtime.grpc_client import ChannelSettings, open_channel
from xstock_wire.papers import ATTESTATION, PaperKey
from xstock_wire.v1 import common_pb2, papers_pb2, supply_guard_pb2, supply_guard_pb2_grpc

CUSTODY_FILE: Final = "custody.json"
KEY_FILE: Final = "keys/custodian.key"
KEY_ID: Final = "custodian-1"
EVERY_SECONDS: Final = 5.0


class Custodian:
    """Signs and tells; a guard that is away is told again with the next round."""

    def __init__(self, folder: Path, registry: Registry, clock: Clock) -> None:
        self._folder = folder
        self._registry = registry
        self._clock = clock
        self._key = PaperKey.from_file(KEY_ID, folder / KEY_FILE)
        self._sequence = 0

    def statements(self) -> list[common_pb2.SignedPaper]:
        """One signed attestation per asset, as the custody file stands now."""
        now_ms = self._clock.unix_ms()
        self._sequence = max(self._sequence + 1, now_ms)
        custody = json.loads((self._folder / CUSTODY_FILE).read_text(encoding="utf-8"))
        papers = []
        for symbol, held in custody.items():
            paper = papers_pb2.Attestation(
                asset=self._registry.asset(symbol).id,
                held_units=held["held_units"],
                as_of=now_ms // 1000,
                sequence=self._sequence,
                multiplier=str(held["multiplier"]),
                multiplier_epoch=held["multiplier_epoch"],
            )
            papers.append(self._key.sign(ATTESTATION, self._registry.deployment_id, paper))
        return papers

    async def tell(self, stub: "supply_guard_pb2_grpc.SupplyGuardServiceAsyncStub") -> None:
        """Tell one guard everything; its absence is reported, not fatal."""
        try:
            for paper in self.statements():
                request = supply_guard_pb2.SubmitAttestationRequest(attestation=paper)
                await stub.SubmitAttestation(request)
        except grpc.aio.AioRpcError as error:
            print(f"custodian: a guard did not take it: {error.details()}", flush=True)

    async def run(self) -> None:
        """Tell all guards, for ever."""
        async with AsyncExitStack() as stack:
            stubs = []
            for guard in self._registry.guards:
                settings = ChannelSettings(guard.endpoint, dev_identity="custodian")
                channel = await stack.enter_async_context(open_channel(settings))
                stubs.append(supply_guard_pb2_grpc.SupplyGuardServiceStub(channel))
            while True:
                await asyncio.gather(*(self.tell(stub) for stub in stubs))
                await self._clock.sleep(EVERY_SECONDS)


async def _serve(folder: Path) -> None:
    registry = load_registry(folder / "registry.json")
    task = asyncio.ensure_future(Custodian(folder, registry, SystemClock()).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print("custodian: stopped", flush=True)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m xstock_devnet.custodian", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the world's folder")
    asyncio.run(_serve(parser.parse_args().folder))


if __name__ == "__main__":
    main()

"""The custodian of a local world, as a process: signs what it holds, pays redemptions.

What it holds stands in `custody.json`: {symbol: {held_units, multiplier, multiplier_epoch, paid,
rejected, settled}}. The file may be edited while it runs: other figures, transfer ids (hex) under
`paid`, or {id: reason} under `rejected`, and the next statement says so. Stock leaves with what is
paid, so the custodian itself lowers `held_units` by it and notes the id under `settled`. With
`--auto-pay SECONDS` it pays what M guards have shown for that long. It names the registry's owners
of issuer inventory as its own. Run as `python -m xstock_devnet.custodian --folder FOLDER`.
"""

import argparse
import asyncio
import json
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc

from xstock_chains.registry import Registry, load_registry
from xstock_core.amount import MULTIPLIER_ONE
from xstock_core.message import TransferMessage, parse_message
from xstock_runtime.clock import Clock, SystemClock
from xstock_runtime.grpc_client import ChannelSettings, open_channel
from xstock_wire.papers import ATTESTATION, REDEMPTION_REJECTION, PaperKey
from xstock_wire.v1 import common_pb2, papers_pb2, supply_guard_pb2, supply_guard_pb2_grpc

CUSTODY_FILE: Final = "custody.json"
KEY_ID: Final = "custodian-1"
AGENT_KEY_ID: Final = "agent-1"
KEY_FILES: Final[Mapping[str, str]] = {
    KEY_ID: "keys/custodian.key",
    AGENT_KEY_ID: "keys/attestor.key",
}
"""The keys that sign every statement: custody's own, and the security agent's."""
EVERY_SECONDS: Final = 5.0
PAID_MAX: Final = 100
"""What one statement may list; the rest comes with the next."""

Custody = dict[str, dict[str, Any]]
Stub: TypeAlias = "supply_guard_pb2_grpc.SupplyGuardServiceAsyncStub"


@dataclass(slots=True)
class Shown:
    """A redemption that guards show as open: by how many, and since when this process knows."""

    message: TransferMessage
    since: float
    guards: int = 0


@dataclass(slots=True)
class Books:
    """What is in the custody file, with the rules of paying out."""

    path: Path
    custody: Custody = field(default_factory=dict)

    def read(self) -> None:
        """What the file says now."""
        self.custody = json.loads(self.path.read_text(encoding="utf-8"))

    def write(self) -> None:
        """Replace the file in one step: whoever reads it sees the old or the new one."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.custody, indent=1), encoding="utf-8")
        new.replace(self.path)

    def pay(self, symbol: str, transfer_id: bytes) -> None:
        """Decide to pay this one; what was rejected is not paid."""
        held = self.custody[symbol]
        name = transfer_id.hex()
        if name not in held.get("rejected", {}) and name not in held.setdefault("paid", []):
            held["paid"].append(name)

    def settle(self, symbol: str, transfer_id: bytes, message: TransferMessage) -> bool:
        """Hand the stock of a paid redemption over, once; False if it is not to be paid."""
        held = self.custody[symbol]
        name, settled = transfer_id.hex(), held.setdefault("settled", [])
        if name not in held.get("paid", []) or name in held.get("rejected", {}):
            return False
        if name not in settled:
            # Rounded down: custody hands over no more than the shares stand for.
            stock = message.amount * held["multiplier"] // MULTIPLIER_ONE
            held["held_units"] = max(0, held["held_units"] - stock)
            settled.append(name)
        return True


class Custodian:
    """Signs, pays and tells; a guard that is away is told again with the next round."""

    def __init__(
        self, folder: Path, registry: Registry, clock: Clock, auto_pay_seconds: float | None = None
    ) -> None:
        self._books = Books(folder / CUSTODY_FILE)
        self._registry = registry
        self._clock = clock
        self._keys = [
            PaperKey.from_file(key_id, folder / name) for key_id, name in KEY_FILES.items()
        ]
        self._auto_pay_seconds = auto_pay_seconds
        self._symbols = {asset.id: asset.symbol for asset in registry.assets}
        self._inventory = {
            asset: [
                papers_pb2.InventoryAccount(chain=chain, owner=owner)
                for chain, owners in sorted(chains.items())
                for owner in sorted(owners)
            ]
            for asset, chains in registry.issuer_inventory().items()
        }
        self._shown: dict[bytes, Shown] = {}
        self._sequence = 0

    async def look(self, stubs: Sequence[Stub]) -> None:
        """Ask every guard which redemptions it shows as open."""
        answers = await asyncio.gather(*(_open_redemptions(stub) for stub in stubs))
        counts = Counter(key for found in answers for key in found)
        messages = {key: message for found in answers for key, message in found.items()}
        now = self._clock.monotonic()
        known = self._shown
        self._shown = {
            key: Shown(message, known[key].since if key in known else now, counts[key])
            for key, message in messages.items()
        }

    def decide(self) -> dict[str, list[bytes]]:
        """Pay what is due; by symbol, what the next statements list as paid."""
        self._books.read()
        paid: dict[str, list[bytes]] = {}
        before = json.dumps(self._books.custody)
        for key, shown in sorted(self._shown.items()):
            symbol = self._symbols[shown.message.asset]
            if self._due(shown):
                self._books.pay(symbol, key)
            if self._books.settle(symbol, key, shown.message):
                paid.setdefault(symbol, []).append(key)
        if json.dumps(self._books.custody) != before:
            self._books.write()
        return paid

    def _due(self, shown: Shown) -> bool:
        """Custody believes M guards, as everybody does."""
        if self._auto_pay_seconds is None or shown.guards < self._registry.threshold:
            return False
        return self._clock.monotonic() - shown.since >= self._auto_pay_seconds

    def statements(
        self, paid: Mapping[str, Sequence[bytes]]
    ) -> list[supply_guard_pb2.SubmitAttestationRequest]:
        """One attestation per asset, signed by every key, as the custody file stands now."""
        now_ms = self._clock.unix_ms()
        self._sequence = max(self._sequence + 1, now_ms)
        requests = []
        for symbol, held in self._books.custody.items():
            asset = self._registry.asset(symbol).id
            paper = papers_pb2.Attestation(
                asset=asset,
                held_units=held["held_units"],
                as_of=now_ms // 1000,
                sequence=self._sequence,
                multiplier=str(held["multiplier"]),
                multiplier_epoch=held["multiplier_epoch"],
                paid=list(paid.get(symbol, ()))[:PAID_MAX],
                inventory=self._inventory.get(asset, ()),
            )
            first, *others = (
                key.sign(ATTESTATION, self._registry.deployment_id, paper) for key in self._keys
            )
            requests.append(
                supply_guard_pb2.SubmitAttestationRequest(attestation=first, cosignatures=others)
            )
        return requests

    def rejections(self) -> list[common_pb2.SignedPaper]:
        """A paper for every redemption that is shown as open and will not be paid."""
        papers = []
        for held in self._books.custody.values():
            for name, reason in held.get("rejected", {}).items():
                transfer_id = bytes.fromhex(name)
                if transfer_id not in self._shown:
                    continue
                paper = papers_pb2.RedemptionRejection(transfer_id=transfer_id, reason=reason)
                signed = self._keys[0].sign(
                    REDEMPTION_REJECTION, self._registry.deployment_id, paper
                )
                papers.append(signed)
        return papers

    async def round(self, stubs: Sequence[Stub]) -> None:
        """Look, pay, and tell every guard the same."""
        await self.look(stubs)
        requests = self.statements(self.decide())
        rejections = self.rejections()
        await asyncio.gather(*(_tell(stub, requests, rejections) for stub in stubs))

    async def run(self) -> None:
        """Tell all guards, for ever."""
        async with AsyncExitStack() as stack:
            stubs: list[Stub] = []
            for guard in self._registry.guards:
                settings = ChannelSettings(guard.endpoint, dev_identity="custodian")
                channel = await stack.enter_async_context(open_channel(settings))
                stubs.append(supply_guard_pb2_grpc.SupplyGuardServiceStub(channel))
            while True:
                await self.round(stubs)
                await self._clock.sleep(EVERY_SECONDS)


async def _open_redemptions(stub: Stub) -> dict[bytes, TransferMessage]:
    """What one guard shows; a guard that is away shows nothing."""
    found: dict[bytes, TransferMessage] = {}
    token = ""
    try:
        while True:
            request = supply_guard_pb2.ListRedemptionsRequest(page_token=token)
            answer = await stub.ListRedemptions(request, timeout=5)
            for one in answer.redemptions:
                found[one.transfer_id] = parse_message(one.message)
            token = answer.next_page_token
            if not token:
                return found
    except grpc.aio.AioRpcError as error:
        print(f"custodian: a guard did not answer: {error.details()}", flush=True)
        return found


async def _tell(
    stub: Stub,
    requests: Sequence[supply_guard_pb2.SubmitAttestationRequest],
    rejections: Sequence[common_pb2.SignedPaper],
) -> None:
    """Tell one guard everything; its absence is reported, not fatal."""
    try:
        for request in requests:
            await stub.SubmitAttestation(request, timeout=5)
        for paper in rejections:
            wanted = supply_guard_pb2.SubmitRejectionRequest(rejection=paper)
            await stub.SubmitRejection(wanted, timeout=5)
    except grpc.aio.AioRpcError as error:
        print(f"custodian: a guard did not take it: {error.details()}", flush=True)


async def _serve(folder: Path, auto_pay_seconds: float | None) -> None:
    registry = load_registry(folder / "registry.json")
    custodian = Custodian(folder, registry, SystemClock(), auto_pay_seconds)
    task = asyncio.ensure_future(custodian.run())
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
    parser.add_argument(
        "--auto-pay", type=float, metavar="SECONDS", help="pay redemptions after this long"
    )
    given = parser.parse_args()
    asyncio.run(_serve(given.folder, given.auto_pay))


if __name__ == "__main__":
    main()

"""`xstock watch`: the stream of transfers, resumed without a gap from a checkpoint file.

A frame's token is written only after the frame was printed, so a reader that is killed sees the
last frame again rather than missing one; event ids tell the two apart.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from xstock_cli.bridge import Bridge
from xstock_cli.commands.look import connect
from xstock_cli.exits import UsageProblem
from xstock_cli.options import GatewayOption, WorldOption
from xstock_cli.plain import enum_word, plain, rfc3339
from xstock_cli.running import run
from xstock_cli.screen import Screen
from xstock_cli.settings import find_place
from xstock_cli.show import describe
from xstock_runtime.clock import SystemClock
from xstock_runtime.errors import Ambiguous, Transient
from xstock_wire.v1 import bridge_pb2

_RECONNECT_SECONDS = 1.0


def watch(
    party: Annotated[str, typer.Option(help="Sender, refund address or recipient.")] = "",
    symbol: Annotated[str, typer.Option(help="One asset only.")] = "",
    chain: Annotated[str, typer.Option(help="From or to this chain only.")] = "",
    state: Annotated[
        list[str] | None, typer.Option(help="These states only, e.g. HELD; repeat it.")
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Only what comes; without it open transfers come first.")
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File of the resume token: go on exactly after it.")
    ] = None,
    count: Annotated[int, typer.Option(min=0, help="End after so many events; 0 = never.")] = 0,
    world: WorldOption = None,
    gateway: GatewayOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per frame.")] = False,
) -> None:
    """Follow transfers until Ctrl-C, across restarts of the gateway and of this command."""
    wanted = bridge_pb2.TransferFilter(
        party=party, symbol=symbol, chain=chain, states=[_state(word) for word in state or ()]
    )
    bridge = connect(find_place(world=world, gateway=gateway))
    watching = _Watching(bridge, wanted, Screen(as_json=as_json), checkpoint, count)
    watching.token = _read_token(checkpoint)
    run(lambda: watching.run(from_now=now))


@dataclass(slots=True)
class _Watching:
    """One reader of the stream."""

    bridge: Bridge
    wanted: bridge_pb2.TransferFilter
    screen: Screen
    checkpoint: Path | None
    count: int
    token: bytes = b""
    shown: int = 0

    async def run(self, *, from_now: bool) -> None:
        """Print frames; reconnect with the last token for as long as it takes."""
        clock = SystemClock()
        async with self.bridge:
            while True:
                try:
                    async for frame in self.bridge.watch(self.wanted, self._start(from_now)):
                        self._take(frame)
                        if self.count and self.shown >= self.count:
                            return
                except (Transient, Ambiguous) as error:
                    self.screen.note(f"{error}; trying again from the last token")
                    await clock.sleep(_RECONNECT_SECONDS)

    def _start(self, from_now: bool) -> bridge_pb2.WatchStart:
        if self.token:
            return bridge_pb2.WatchStart(resume_token=self.token)
        if from_now:
            return bridge_pb2.WatchStart(now=True)
        return bridge_pb2.WatchStart(snapshot_then_follow=True)

    def _take(self, frame: bridge_pb2.WatchTransfersResponse) -> None:
        self.screen.document(plain(frame))
        if frame.WhichOneof("frame") == "event":
            self.shown += 1
            moment = rfc3339(frame.event.transfer.updated_at.ToMilliseconds())
            self.screen.line(f"{moment}  {describe(frame.event.transfer)}")
        self.token = frame.resume_token
        if self.checkpoint is not None:
            _write_token(self.checkpoint, self.token)


def _state(word: str) -> Any:
    """The enum's number, typed as the generated code wants it."""
    states = bridge_pb2.TransferState.DESCRIPTOR
    known = {enum_word(states, number): number for number in states.values_by_number if number}
    if word.upper() not in known:
        raise UsageProblem("--state", word, f"use one of {', '.join(known)}")
    return known[word.upper()]


def _read_token(file: Path | None) -> bytes:
    if file is None or not file.exists():
        return b""
    try:
        return bytes.fromhex(json.loads(file.read_text(encoding="utf-8"))["resume_token"])
    except (OSError, ValueError, KeyError, TypeError):
        remedy = "it is no checkpoint of this command; give another file"
        raise UsageProblem("--checkpoint", str(file), remedy) from None


def _write_token(file: Path, token: bytes) -> None:
    beside = file.with_name(f"{file.name}.part")
    beside.write_text(json.dumps({"resume_token": token.hex()}), encoding="utf-8")
    beside.replace(file)

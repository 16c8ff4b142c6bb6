"""`xstock pause`, `propose`, `approve`: two people at the command line of two guards.

The guards are real ones over fake chains, served from another thread; commands run as typed.
"""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.services.supply_guard.people import final_burn, ruled
from tests.services.supply_guard.test_people_roles import Served, serve
from tests.services.supply_guard.world import SHARE, id_of
from xstock_cli.__main__ import run_arguments
from xstock_cli.exits import Exit
from xstock_runtime.grpc_server import GrpcServerSettings
from xstock_supply_guard.model import Outcome

T = TypeVar("T")


@dataclass
class Guards:
    """Two guards in a thread of their own, and the file that says where they are."""

    world_file: Path
    loop: asyncio.AbstractEventLoop
    served: dict[str, Served] = field(default_factory=dict)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something where the guards live."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def start(self) -> None:
        """Serve both."""
        for name in ("guard-1", "guard-2"):
            settings = GrpcServerSettings(
                "127.0.0.1:0", insecure_dev=True, lame_duck_seconds=0, grace_seconds=1
            )
            roles = {
                "agent": ["agent"],
                "operator-1": ["operator", "approver"],
                "operator-2": ["operator", "approver"],
            }
            self.served[name] = self.do(serve(settings, roles))
        ports = {name: f"127.0.0.1:{one.server.port}" for name, one in self.served.items()}
        self.world_file.write_text(json.dumps({"guards": ports}))


@pytest.fixture
def guards(tmp_path: Path) -> Iterator[Guards]:
    """Two guards that have just started."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = Guards(tmp_path / "world.json", loop)
    made.start()
    yield made
    for one in made.served.values():
        made.do(one.server.drain())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def typed(
    capfd: pytest.CaptureFixture[str], guards: Guards, *words: str
) -> tuple[int, dict[str, Any]]:
    """A command as somebody types it, and its document."""
    code = run_arguments([*words, "--world", str(guards.world_file), "--json"])
    out, _ = capfd.readouterr()
    documents = [one for one in out.splitlines() if one.startswith("{")]  # the guards log here too
    return code, json.loads(documents[0]) if documents else {}


def test_pause__at_every_guard__is_listed_and_lifted_by_two(
    guards: Guards, capfd: pytest.CaptureFixture[str]
) -> None:
    code, said = typed(capfd, guards, "pause", "--reason", "odd traffic", "--as", "agent")
    assert code == Exit.DONE
    ids = {one["pause"]["id"] for one in said["guards"].values()}
    assert (len(ids), set(said["guards"])) == (1, {"guard-1", "guard-2"})
    code, listed = typed(capfd, guards, "paused", "--as", "agent")
    assert [len(one["pauses"]) for one in listed["guards"].values()] == [1, 1]
    words = ("lift-pause", ids.pop(), "--reason", "looked", "--as", "operator-1")
    code, made = typed(capfd, guards, "propose", *words)
    assert code == Exit.DONE
    (proposal,) = {one["proposal"]["id"] for one in made["guards"].values()}
    again = ("approve", proposal, "--reason", "agreed", "--as")
    code, _ = typed(capfd, guards, *again, "operator-1")
    assert code == Exit.USAGE
    code, done = typed(capfd, guards, *again, "operator-2")
    assert code == Exit.DONE
    assert {one["proposal"]["state"] for one in done["guards"].values()} == {"EXECUTED"}
    code, listed = typed(capfd, guards, "paused", "--as", "operator-1")
    assert [one["pauses"] for one in listed["guards"].values()] == [[], []]


def test_approve__by_the_agent__is_denied(
    guards: Guards, capfd: pytest.CaptureFixture[str]
) -> None:
    code, said = typed(capfd, guards, "approve", "x", "--reason", "y", "--as", "agent")
    assert code == Exit.REFUSED
    assert {one["error"]["code"] for one in said["guards"].values()} == {"PERMISSION_DENIED"}


def test_parked__let_through_by_two__goes_on(
    guards: Guards, capfd: pytest.CaptureFixture[str]
) -> None:
    world = guards.served["guard-1"].world
    guards.do(world.funded())
    ruled(world, manual_from=SHARE)
    claim = guards.do(final_burn(world))
    assert guards.do(world.outcome(claim)) == (Outcome.PARKED, "MANUAL_REVIEW")
    here = ("--at", "guard-1")
    _, listed = typed(capfd, guards, "parked", *here, "--as", "agent")
    (parked,) = listed["services"]["guard-1"]["transfers"]
    assert parked["reason"] == "MANUAL_REVIEW"
    key = id_of(claim.message).hex()
    asked = ("propose", "release", key, "--reason", "a known holder", *here)
    _, made = typed(capfd, guards, *asked, "--as", "operator-1")
    proposal = made["guards"]["guard-1"]["proposal"]["id"]
    agreed = ("approve", proposal, "--reason", "called them", *here)
    code, _ = typed(capfd, guards, *agreed, "--as", "operator-2")
    assert code == Exit.DONE
    assert guards.do(world.outcome(claim)) == (Outcome.GRANTED, "")


def test_limits__proposed_with_figures_for_people__say_what_they_mean(
    guards: Guards, capfd: pytest.CaptureFixture[str]
) -> None:
    figures = ("--bucket", "100", "--refill", "0.5", "--delay", "10:600", "--manual-from", "50")
    words = ("propose", "limits", "all", "--reason", "a calm week", *figures, "--as", "operator-1")
    code = run_arguments([*words, "--world", str(guards.world_file)])
    out, err = capfd.readouterr()
    assert code == Exit.DONE
    assert "bucket 100 refill 0.5/s waits 10:600s people from 50" in out
    assert "1 more approver must agree" in out
    assert "somebody else: xstock approve" in err
    unlimited = ("propose", "limits", "all", "--reason", "x", "--world", str(guards.world_file))
    for left_out in ((), ("--bucket", "0"), ("--bucket", "no")):
        assert run_arguments([*unlimited, *left_out]) == Exit.USAGE
    capfd.readouterr()
    assert run_arguments([*unlimited, "--bucket", "none", "--as", "operator-1"]) == Exit.DONE
    assert "bucket none refill 0/s" in capfd.readouterr().out


def test_alarms__what_stands__is_listed(guards: Guards, capfd: pytest.CaptureFixture[str]) -> None:
    typed(capfd, guards, "pause", "--reason", "odd traffic", "--as", "agent")
    _, said = typed(capfd, guards, "alarms", "--as", "agent")
    for one in said["guards"].values():
        assert [alarm["code"] for alarm in one["alarms"]] == ["PAUSED"]

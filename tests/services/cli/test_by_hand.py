"""What `pause-all`, `pauses`, `unpause` and `guard rotate` say where they cannot do what is asked.

No node answers here: that the acts happen is tried on chains (tests/contract, six_chains).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chains.evm.test_registry import document
from xstock_chains.ports import AdminAct, StepState
from xstock_chains.registry import parse_registry
from xstock_cli.__main__ import run_arguments
from xstock_cli.commands.guarding import guard_set_of
from xstock_cli.exits import Exit
from xstock_cli.offices import exit_of_acts
from xstock_runtime.errors import InvalidMessage, Transient

NOBODY = "http://127.0.0.1:9"
"""Port 9 is never served here: the connection is refused at once."""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder with a registry and a key, and no world to be found."""
    monkeypatch.chdir(tmp_path)
    for name in ("WORLD", "GATEWAY", "NODES", "REGISTRY", "GUARDS", "KEYS"):
        monkeypatch.delenv(f"XSTOCK_{name}", raising=False)
    (tmp_path / "registry.json").write_text(json.dumps(document()))
    (tmp_path / "agent.key").write_text("11" * 32)
    return tmp_path


def chains() -> list[str]:
    """The registry's chains."""
    return [chain["name"] for chain in document()["chains"]]


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = run_arguments([*words, "--registry", "registry.json"])
    out, err = capfd.readouterr()
    return code, out, err


@pytest.mark.usefixtures("folder")
def test_pause_all__a_chain_without_nodes__is_named_and_the_others_are_tried(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One chain that cannot be reached keeps nobody from stopping the rest."""
    first, *others = chains()
    code, out, err = run(
        capfd, "pause-all", "--key", "agent.key", "--yes", "--json", "--limit", "1.2",
        "--node", f"{first}={NOBODY}",
    )  # fmt: skip
    assert code == Exit.FAILED
    found = json.loads(out)["chains"]
    assert list(found) == [first, *others]
    assert {one["paused"] for one in found.values()} == {None}
    assert "127.0.0.1:9" in found[first]["nodes_in_trouble"]
    assert all("no node" in found[name]["nodes_in_trouble"] for name in others)
    assert err.splitlines()[-1].startswith(f"NOT paused: {', '.join([first, *others])}")


@pytest.mark.usefixtures("folder")
def test_pause_all__nobody_can_be_asked__wants_yes(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capfd, "pause-all", "--key", "agent.key")
    assert (code, out) == (Exit.USAGE, "")
    assert "--yes" in err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--node", "nowhere=http://a"), "nowhere"),
        (("--node", f"{chains()[0]}=ftp://a"), "ftp://a"),
        (("--node", f"{chains()[0]}={NOBODY}", "--node", f"{chains()[0]}={NOBODY}/"), "two votes"),
        (("--asset", "NOPEx"), "NOPEx"),
        (("--key", "missing.key"), "missing.key"),
    ],
    ids=["chain", "scheme", "node_twice", "asset", "key"],
)
def test_pause_all__typed_wrongly__names_it_and_asks_no_node(
    words: tuple[str, ...], named: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, "pause-all", "--key", "agent.key", "--yes", *words)
    assert (code, out) == (Exit.USAGE, "")
    assert named in err


@pytest.mark.usefixtures("folder")
def test_pauses__no_node_answers__is_unknown_not_open(capfd: pytest.CaptureFixture[str]) -> None:
    nodes = [word for name in chains() for word in ("--node", f"{name}={NOBODY}")]
    code, out, err = run(capfd, "pauses", "--json", *nodes)
    assert code == Exit.UNKNOWN
    assert {one["paused"] for one in json.loads(out)["chains"].values()} == {None}
    assert "unknown" in err


@pytest.mark.usefixtures("folder")
def test_unpause__unknown_chain__names_those_there_are(capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capfd, "unpause", "--key", "agent.key", "--chain", "mars", "--yes")
    assert code == Exit.USAGE
    assert chains()[0] in err


def changed(**fields: Any) -> str:
    """The next registry with these fields."""
    return json.dumps(document() | fields)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"deployment_id": "another", "guard_epoch": 2}, "another"),
        ({"guard_epoch": 3}, "guard_epoch"),
        ({"threshold": 3}, "guard_epoch"),
        ({"threshold": 0, "guard_epoch": 2}, "threshold"),
        ({"threshold": 1, "guard_epoch": 2}, "threshold"),
        ({"threshold": 9, "guard_epoch": 2}, "threshold"),
    ],
    ids=["deployment", "epoch_jumps", "same_epoch", "zero", "half", "above_n"],
)
def test_guard_rotate__registries_that_do_not_follow__are_refused_before_any_node_is_asked(
    fields: dict[str, Any], named: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """F83: a threshold of 0, of half, or above N goes nowhere."""
    (folder / "next.json").write_text(changed(**fields))
    code, out, err = run(capfd, "guard", "rotate", "--new-registry", "next.json", "--dry-run")
    assert (code, out) == (Exit.USAGE, "")
    assert named in err


def test_guard_rotate__no_node_answers__names_every_chain(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "next.json").write_text(changed(guard_epoch=2, threshold=3))
    nodes = [word for name in chains() for word in ("--node", f"{name}={NOBODY}")]
    code, out, err = run(
        capfd, "guard", "rotate", "--new-registry", "next.json", "--dry-run", "--json", *nodes
    )
    assert code == Exit.RETRY
    assert set(json.loads(out)["chains"]) == set(chains())
    assert err.splitlines()[-1].startswith(f"failed: {', '.join(chains())}")


def test_guard_set_of__a_registry__is_its_guards_in_order_with_its_epoch() -> None:
    registry = parse_registry(json.dumps(document()))
    found = guard_set_of(registry, chains()[0])
    assert (found.threshold, found.epoch) == (registry.threshold, registry.guard_epoch)
    assert len(found.identities) == len(registry.guards)


def test_exit_of_acts__something_waits__is_pending_and_a_failure_is_worse() -> None:
    waits = {"a": [AdminAct("rotate guards", StepState.WAITING)]}
    assert exit_of_acts({"a": [AdminAct("x", StepState.ALREADY)]}, {}) is Exit.DONE
    assert exit_of_acts(waits, {}) is Exit.PENDING
    assert exit_of_acts(waits, {"b": Transient("NODE_DOWN", "away")}) is Exit.RETRY
    assert exit_of_acts(waits, {"b": InvalidMessage("KEY_MAY_NOT", "no")}) is Exit.FAILED

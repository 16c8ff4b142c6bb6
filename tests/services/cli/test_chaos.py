"""`xstock chaos` before a real proxy and a real local chain: faults in, faults out, clear refusals.

The proxy stands before nodes that are not there: only its administration is used.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import tenacity

from xstock_cli.__main__ import run_arguments
from xstock_cli.exits import Exit
from xstock_devnet.engines.ports import free_ports
from xstock_devnet.engines.solana import SolanaNode
from xstock_devnet.processes import ChildProcess
from xstock_devnet.proxy.families import FAMILIES
from xstock_devnet.proxy.faults import FaultKind

COMMANDS = ("add", "chain", "kinds", "lift", "list")
NOWHERE = "http://127.0.0.1:9"


def started(child: ChildProcess, url: str) -> ChildProcess:
    child.start()
    for attempt in tenacity.Retrying(
        stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.05), reraise=True
    ):
        with attempt:
            httpx.get(url, timeout=1, trust_env=False).raise_for_status()
    return child


def ended(child: ChildProcess) -> None:
    process = psutil.Process(child.pid)
    child.thaw()
    process.terminate()
    process.wait(timeout=10)


@pytest.fixture(scope="module")
def proxy_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("proxy")
    (port,) = free_ports(1)
    words = ["--upstream", f"bnb={NOWHERE}", "--upstream", f"solana={NOWHERE}"]
    words += ["--family", "solana=solana"]
    command = (sys.executable, "-m", "xstock_devnet.proxy", "--port", str(port), *words)
    url = f"http://127.0.0.1:{port}"
    child = started(ChildProcess("proxy", command, log_file=folder / "log"), f"{url}/healthz")
    yield url
    ended(child)


@pytest.fixture(scope="module")
def solana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SolanaNode]:
    node = SolanaNode(tmp_path_factory.mktemp("chains"), automine=False, final_blocks=4)
    started(node.child, f"{node.url}/health")
    yield node
    ended(node.child)


@pytest.fixture
def world(
    proxy_url: str, solana: SolanaNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "world.json"
    control = {"url": solana.url, "family": "solana", "pid": solana.child.pid}
    document = {
        "proxy": proxy_url,
        "nodes": {"bnb": [NOWHERE], "solana": [solana.url]},
        "metrics": {"guard-1": "", "watcher-bnb": ""},
        "controls": {"solana": control},
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    monkeypatch.setenv("XSTOCK_WORLD", str(file))
    yield file
    httpx.delete(f"{proxy_url}/admin/faults", trust_env=False).raise_for_status()


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run_arguments(("chaos", *words))
    out, err = capfd.readouterr()
    return code, out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_help__of_each_chaos_command__explains_it(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capfd, command, "--help")
    assert code == Exit.DONE
    assert "--json" in out
    assert f"\n  {command} " in run(capfd, "--help")[1]


def test_add__fault_of_one_provider__is_in_force_until_it_is_lifted(
    world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--chain", "bnb", "--identity", "guard-1", "--provider", "0", "--times", "3"]
    code, out, _ = run(capfd, "add", "lag", *words, "--param", "blocks=20", "--json")
    made = json.loads(out)
    listed = json.loads(run(capfd, "list", "--json")[1])["faults"]
    people = run(capfd, "list")[1]
    lifted = json.loads(run(capfd, "lift", str(made["id"]), "--json")[1])
    assert code == Exit.DONE
    assert listed == [made]
    assert made["params"] == {"blocks": 20, "times": 3}
    assert (made["identity"], made["chain"], made["provider"]) == ("guard-1", "bnb", 0)
    assert "blocks=20" in people
    assert lifted == {"lifted": 1}
    assert "no fault is in force" in run(capfd, "list")[1]
    assert world.exists()


@pytest.mark.usefixtures("world")
def test_add__text_that_looks_like_a_number__stays_text(capfd: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capfd, "add", "hide_event", "--param", "tx_hash=12", "--json")
    assert json.loads(out)["params"] == {"tx_hash": "12"}


@pytest.mark.usefixtures("world")
def test_add__error_by_name__strikes_where_that_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--chain", "solana", "--param", "error=blockhash_not_found", "--json"]
    _, out, _ = run(capfd, "add", "refuse", *words)
    assert json.loads(out)["params"]["methods"] == ["sendTransaction"]


@pytest.mark.usefixtures("world")
def test_lift__by_chain__spares_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    run(capfd, "add", "stop", "--chain", "bnb")
    run(capfd, "add", "stop", "--chain", "solana")
    assert json.loads(run(capfd, "lift", "--chain", "bnb", "--json")[1]) == {"lifted": 1}
    assert json.loads(run(capfd, "lift", "--json")[1]) == {"lifted": 1}
    assert run(capfd, "lift")[:2] == (Exit.DONE, "no fault in force matches\n")


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("words", "named", "remedy"),
    [
        (["explode"], "FAULT", "lose_replies"),
        (["stop", "--chain", "bnd"], "--chain", "bnb"),
        (["stop", "--identity", "guard-9"], "--identity", "watcher-bnb"),
        (["lag"], "blocks", "required"),
        (["lag", "--param", "blocks"], "--param", "NAME=VALUE"),
        (["lag", "--param", "block=3"], "--param", "blocks"),
        (["stop", "--param", "blocks=3"], "--param", "none"),
        (["refuse", "--chain", "bnb", "--param", "error=tapos"], "error", "nonce_too_low"),
        (["refuse", "--param", "error=nonce_too_low"], "error", "solana"),
    ],
)
def test_add__wrong_argument__names_it_with_a_remedy(
    words: list[str], named: str, remedy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, "add", *words)
    assert (code, out) == (Exit.USAGE, "")
    assert f"{named} = " in err
    assert remedy in err
    assert "no fault is in force" in run(capfd, "list")[1]


def test_kinds__need_no_world__and_show_every_word(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capfd, "kinds", "--json")
    told = json.loads(out)
    assert code == Exit.DONE
    assert [row["fault"] for row in told["faults"]] == list(FaultKind)
    assert set(told["errors"]) == set(FAMILIES)
    assert "unknown_cursor" in run(capfd, "kinds")[1]


def test_chaos__no_world__says_how_to_get_one(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XSTOCK_WORLD", raising=False)
    code, _, err = run(capfd, "list")
    assert code == Exit.USAGE
    assert "xstock up" in err


def test_chaos__proxy_away__is_retry_later(world: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world.write_text(json.dumps({"proxy": NOWHERE}), encoding="utf-8")
    code, out, _ = run(capfd, "list", "--json")
    assert code == Exit.RETRY
    assert NOWHERE in json.loads(out)["error"]["message"]


# ---------------------------------------------------------------- whole chains


@pytest.mark.usefixtures("world")
def test_chain__stopped__answers_nothing_until_it_is_resumed(
    solana: SolanaNode, capfd: pytest.CaptureFixture[str]
) -> None:
    """F28: a chain that halts keeps its state."""
    assert run(capfd, "chain", "solana", "stop")[0] == Exit.DONE
    with pytest.raises(httpx.TimeoutException):
        httpx.get(f"{solana.url}/health", timeout=0.3, trust_env=False)
    assert run(capfd, "chain", "solana", "resume")[0] == Exit.DONE
    assert httpx.get(f"{solana.url}/health", timeout=5, trust_env=False).text == "ok"


@pytest.mark.usefixtures("world")
def test_chain__finality_frozen_and_thawed__its_own_control_does_it(
    solana: SolanaNode, capfd: pytest.CaptureFixture[str]
) -> None:
    """F21: the final slot stays while the newest advances."""

    def finals() -> int:
        url = f"{solana.url}/devnet/mine"
        answer = httpx.post(url, json={"blocks": 9}, timeout=5, trust_env=False)
        return int(answer.json()["final_slot"])

    code, out, _ = run(capfd, "chain", "solana", "freeze-finality", "--json")
    frozen = [finals(), finals()]
    thawed = run(capfd, "chain", "solana", "thaw-finality")[0]
    assert (code, thawed) == (Exit.DONE, Exit.DONE)
    assert json.loads(out)["command"] == "freeze-finality"
    assert frozen[0] == frozen[1] < finals()


@pytest.mark.usefixtures("world")
def test_chain__reorg__drops_blocks_that_are_not_final_and_no_others(
    solana: SolanaNode, capfd: pytest.CaptureFixture[str]
) -> None:
    httpx.post(f"{solana.url}/devnet/mine", json={"blocks": 9}, timeout=5, trust_env=False)
    code, _, _ = run(capfd, "chain", "solana", "reorg", "--depth", "2")
    refused, _, err = run(capfd, "chain", "solana", "reorg", "--depth", "1000")
    assert (code, refused) == (Exit.DONE, Exit.USAGE)
    assert "depth" in err


@pytest.mark.usefixtures("world")
def test_chain__unknown_or_external__lists_the_local_ones(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, _, err = run(capfd, "chain", "bnb", "stop")
    assert code == Exit.USAGE
    assert "(solana)" in err


def test_chain__process_that_is_somebody_else_s__is_never_signalled(
    world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A world file outlives its world, and its process numbers are then others'."""
    document = json.loads(world.read_text(encoding="utf-8"))
    document["controls"]["solana"]["pid"] = psutil.Process().pid
    world.write_text(json.dumps(document), encoding="utf-8")
    code, _, err = run(capfd, "chain", "solana", "stop")
    assert code == Exit.USAGE
    assert "is not the chain" in err

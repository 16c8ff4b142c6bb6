"""What can be typed wrongly, and what the command line says then: never a traceback."""

import json
from pathlib import Path

import pytest

from xstock_cli.__main__ import run_arguments, with_status
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.local_options import parse_externals

COMMANDS = (
    "assets", "chains", "demo", "deploy", "doctor", "explain", "halt", "halts", "issue", "resume",
    "status", "supply", "transfer", "up", "watch",
)  # fmt: skip
HASH = "0x" + "ab" * 32


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No world of this checkout may be found."""
    monkeypatch.chdir(tmp_path)
    for name in ("WORLD", "GATEWAY", "NODES", "REGISTRY", "GUARDS", "KEYS"):
        monkeypatch.delenv(f"XSTOCK_{name}", raising=False)


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run_arguments(words)
    out, err = capfd.readouterr()
    return code, out, err


def test_help__lists_every_command(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "--help")
    assert code == Exit.DONE
    for command in COMMANDS:
        assert f"\n  {command} " in out


@pytest.mark.parametrize("command", COMMANDS)
def test_help__of_each_command__explains_it(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capfd, command, "--help")
    assert code == Exit.DONE
    assert "--json" in out


def test_version__is_the_distribution_s(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "--version")
    assert code == Exit.DONE
    assert out.startswith("xstock 0.")


@pytest.mark.parametrize(
    "pasted",
    [HASH, "ab" * 32, "0x90F79bf6EB2c4f870365E785982E1f101E93b906", "9" * 44, "E" + "Q" * 47],
)
def test_arguments__a_pasted_hash_id_or_address__asks_for_its_status(pasted: str) -> None:
    assert with_status([pasted, "--json"]) == ["status", pasted, "--json"]


@pytest.mark.parametrize("words", [[], ["chains"], ["--help"], ["nonsense"], ["status", HASH]])
def test_arguments__anything_else__stay_as_they_are(words: list[str]) -> None:
    assert with_status(words) == words


def test_command__unknown__is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capfd, "nonsense")
    assert (code, out) == (Exit.USAGE, "")
    assert "nonsense" in err
    assert "Traceback" not in err


def test_usage_error__with_json__is_one_document_on_stdout(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(capfd, "transfer", "--json")
    assert code == Exit.USAGE
    assert json.loads(out)["error"]["code"] == "USAGE"


def test_gateway__not_known__names_variable_and_remedy(capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capfd, "chains")
    assert code == Exit.USAGE
    assert "XSTOCK_GATEWAY" in err
    assert "xstock up" in err


def test_gateway__away__is_retry_later(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "chains", "--gateway", "127.0.0.1:9", "--json")
    assert code == Exit.RETRY
    assert json.loads(out)["error"]["exit"] == Exit.RETRY


def test_transfer__nobody_to_ask__wants_yes_or_dry_run(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["transfer", "1", "TSLAx", "--from", "ethereum", "--to", "bnb", "--key", "me"]
    code, _, err = run(capfd, *words)
    assert code == Exit.USAGE
    assert "--yes" in err
    assert "--dry-run" in err


def test_watch__unknown_state__lists_those_that_exist(capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capfd, "watch", "--state", "LOST", "--gateway", "127.0.0.1:9")
    assert code == Exit.USAGE
    assert "RELEASED" in err


def test_watch__file_that_is_no_checkpoint__is_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "checkpoint"
    file.write_text("not one", encoding="utf-8")
    code, _, err = run(capfd, "watch", "--checkpoint", str(file), "--gateway", "127.0.0.1:9")
    assert code == Exit.USAGE
    assert str(file) in err


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--threshold", "1"], "--threshold"),
        (["--token", "TSLAx="], "--token"),
        (["--token", "TSLAx", "--token", "TSLAx"], "--token"),
        (["--token", "TSLAx=0x12"], "TSLAx"),
        (["--chain", "dogecoin"], "--chain"),
    ],
)
def test_deploy__wrong_argument__names_it_before_anything_is_sent(
    words: list[str], field: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("11" * 32, encoding="ascii")
    guards = [f"0x{number:040x}" for number in (1, 2, 3)]
    usual = ["--chain", "bnb", "--node", "http://127.0.0.1:9", "--key", str(key), "--yes"]
    usual += [word for guard in guards for word in ("--guard", guard)]
    code, _, err = run(capfd, "deploy", *usual, "--agent", guards[0], *words)
    assert code == Exit.USAGE
    assert field in err


def test_explain__reason__says_meaning_and_remedy(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "explain", "cap_exceeded")
    assert code == Exit.DONE
    assert "custody" in out


def test_explain__no_such_reason__is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "explain", "NO_SUCH")[0] == Exit.USAGE


def test_explain__without_reason__lists_all_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "explain", "--json")
    assert code == Exit.DONE
    assert {"CAP_EXCEEDED", "RECIPIENT_INVALID"} <= {row["reason"] for row in json.loads(out)}


# ---------------------------------------------------------------- chains of others


def test_externals__chain_with_nodes_key_and_token__are_understood(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("11" * 32 + "\n", encoding="ascii")
    (found,) = parse_externals(
        ["bnb=http://a,http://b"], [f"bnb={key}"], ["bnb:TSLAx=0x" + "1" * 40]
    )
    assert (found.chain, found.urls) == ("bnb", ("http://a", "http://b"))
    assert found.funded_key == "11" * 32
    assert found.tokens == {"TSLAx": "0x" + "1" * 40}
    assert "11" * 32 not in repr(found)


@pytest.mark.parametrize(
    ("urls", "keys", "tokens", "field"),
    [
        (["bnb"], [], [], "--external"),
        (["bnb=ftp://a"], ["bnb=KEY"], [], "--external"),
        (["bnb=http://a,http://a"], ["bnb=KEY"], [], "--external"),
        (["dogecoin=http://a"], [], [], "--external"),
        (["bnb=http://a", "bnb=http://b"], ["bnb=KEY"], [], "--external"),
        (["bnb=http://a"], [], [], "--external"),
        ([], ["bnb=KEY"], [], "--external-key"),
        (["bnb=http://a"], ["bnb=/no/such/file"], [], "--external-key"),
        ([], [], ["bnb:TSLAx=0x1"], "--token"),
        (["bnb=http://a"], ["bnb=KEY"], ["bnb:DOGE=0x1"], "--token"),
        (["bnb=http://a"], ["bnb=KEY"], ["bnb-TSLAx"], "--token"),
    ],
)
def test_externals__wrong__name_option_and_remedy(
    urls: list[str], keys: list[str], tokens: list[str], field: str, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("11" * 32, encoding="ascii")
    with pytest.raises(UsageProblem) as caught:
        parse_externals(urls, [text.replace("KEY", str(key)) for text in keys], tokens)
    assert caught.value.field == field
    assert caught.value.remedy

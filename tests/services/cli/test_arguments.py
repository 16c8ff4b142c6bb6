"""What can be typed wrongly, and what the command line says then: never a traceback."""

import json
from pathlib import Path

import pytest

from xstock_chains.addresses import show_identity, show_wire
from xstock_chains.profiles import PROFILES, open_account, open_signer
from xstock_cli.__main__ import run_arguments, with_status
from xstock_cli.exits import Exit, UsageProblem
from xstock_cli.local_options import parse_externals
from xstock_devnet.plan import CHAINS

COMMANDS = (
    "alarms", "announce", "approve", "parked", "pause", "paused", "proposals", "propose", "retry",
    "screening-list",
    "assets", "chains", "confirm-pause", "demo", "deploy", "doctor", "explain", "halt",
    "halts", "issue", "key", "pause-all", "pauses", "resume", "status", "supply", "transfer",
    "unpause", "up", "watch",
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


def deploy_words(chain: str, tmp_path: Path) -> list[str]:
    """A deployment that lacks nothing, in the chain's own texts, on a node that is away."""
    family = next(one.family for one in PROFILES.values() if one.name == chain)
    texts = []
    for number in range(1, 6):
        key = tmp_path / f"key-{number}"
        key.write_text(f"{number:02x}" * 32, encoding="ascii")
        signer = open_signer(family, key)
        texts.append(show_identity(family, signer.identity))
    agent = show_wire(family, open_account(family, signer, "holder"))
    words = ["deploy", "--chain", chain, "--node", "http://127.0.0.1:9", "--yes"]
    words += ["--key", str(tmp_path / "key-1"), "--agent", agent, "--token", "TSLAx"]
    words += [word for guard in texts[:3] for word in ("--guard", guard)]
    return words + (["--relayer", texts[3]] if chain == "solana" else [])


def without(words: list[str], option: str) -> list[str]:
    at = words.index(option)
    return words[:at] + words[at + 2 :]


@pytest.mark.parametrize("chain", [one.name for one in PROFILES.values()])
def test_deploy__every_family_s_own_texts__are_understood_and_the_node_is_asked(
    chain: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capfd, *deploy_words(chain, tmp_path))
    assert code == Exit.RETRY, err
    assert "RPC_UNREACHABLE" in err
    assert not list(tmp_path.glob("*.json"))


def test_deploy__solana_without_relayer__says_whom_to_name(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = without(deploy_words("solana", tmp_path), "--relayer")
    code, _, err = run(capfd, *words)
    assert code == Exit.USAGE
    assert "--relayer" in err
    assert "name the relayer's account" in err


def test_deploy__ton_with_a_token_that_exists__is_refused_with_the_remedy(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = without(deploy_words("ton", tmp_path), "--token")
    code, _, err = run(capfd, *words, "--token", "TSLAx=EQAnything")
    assert code == Exit.USAGE
    assert "cannot be taken over" in err
    assert "write TSLAx alone" in err


@pytest.mark.parametrize(
    ("chain", "words", "field"),
    [
        ("solana", ["--guard", "0x" + "1" * 40], "guards"),
        ("tron", ["--guard", "0x" + "1" * 40], "guards"),
        ("ton", ["--guard", "T" + "1" * 33], "guards"),
        ("tron", ["--token", "NVDAx=0x12"], "NVDAx"),
        ("solana", ["--token", "NVDAx=T9yD"], "NVDAx"),
        ("ton", ["--admin", "nobody"], "admin"),
        ("bnb", ["--node", "bnb.example"], "--node"),
        ("bnb", ["--node", "http://127.0.0.1:9#solidity=http://127.0.0.1:9"], "--node"),
        ("tron", ["--node", "http://127.0.0.1:9#solid"], "--node"),
    ],
)
def test_deploy__text_of_another_family__names_the_field_before_any_node_is_asked(
    chain: str, words: list[str], field: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capfd, *deploy_words(chain, tmp_path), *words)
    assert code == Exit.USAGE, err
    assert field in err


def test_deploy__a_guard_twice__is_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = deploy_words("ton", tmp_path)
    guard = words[words.index("--guard") + 1]
    code, _, err = run(capfd, *words, "--guard", guard)
    assert code == Exit.USAGE
    assert guard in err


def test_deploy_help__has_an_example_of_every_family(capfd: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capfd, "deploy", "--help")
    for chain in ("bnb", "solana", "tron", "ton"):
        assert f"\n    xstock deploy --chain {chain} " in out


def test_key__of_a_file__is_shown_for_every_chain_and_never_the_secret(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("11" * 32, encoding="ascii")
    code, out, _ = run(capfd, "key", str(file), "--json")
    assert code == Exit.DONE
    rows = {row["chain"]: row for row in json.loads(out)["keys"]}
    assert rows.keys() == {one.name for one in PROFILES.values()}
    assert rows["ethereum"]["identity"] == rows["ethereum"]["account"]
    assert rows["tron"]["account"].startswith("T")
    assert rows["ton"]["account"] != rows["ton"]["relayer_account"]
    assert "11" * 32 not in out
    code, out, _ = run(capfd, "key", str(file), "--chain", "solana")
    assert out.strip() == rows["solana"]["account"]
    assert run(capfd, "key", str(file), "--chain", "dogecoin")[0] == Exit.USAGE


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


@pytest.mark.parametrize("chain", [one.name for one in CHAINS])
def test_externals__every_chain_of_the_plan__takes_nodes_and_a_key(
    chain: str, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("0x" + "22" * 32, encoding="ascii")
    (found,) = parse_externals([f"{chain}=http://a:1,https://b/api"], [f"{chain}={key}"], [])
    assert (found.chain, found.urls) == (chain, ("http://a:1", "https://b/api"))
    assert found.funded_key == "0x" + "22" * 32


def test_externals__tron_whose_solidity_interface_is_elsewhere__keeps_both_addresses(
    tmp_path: Path,
) -> None:
    key = tmp_path / "key"
    key.write_text("22" * 32, encoding="ascii")
    urls = "http://a:8090#solidity=http://a:8091,http://b:8090#solidity=http://b:8091"
    token = "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"
    (found,) = parse_externals([f"tron={urls}"], [f"tron={key}"], [f"tron:TSLAx={token}"])
    assert found.urls == tuple(urls.split(","))
    assert found.tokens == {"TSLAx": token}


@pytest.mark.parametrize(
    ("urls", "keys", "tokens", "field"),
    [
        (["tron=http://a#solidity=http://s,http://a"], ["tron=KEY"], [], "--external"),
        (
            ["tron=http://a#solidity=http://s,http://b#solidity=http://s/"],
            ["tron=KEY"],
            [],
            "--external",
        ),
        (["tron=http://a#solidity=s:1"], ["tron=KEY"], [], "--external"),
        (["solana=http://a#solidity=http://b"], ["solana=KEY"], [], "--external"),
        (["ton=http://a/,http://a"], ["ton=KEY"], [], "--external"),
        (["ton=http://a:port"], ["ton=KEY"], [], "--external"),
        (["ton=http://a"], ["ton=SHORT"], [], "--external-key"),
        (["ton=http://a"], ["ton=KEY"], ["ton:TSLAx=EQ"], "--token"),
        (["tron=http://a"], ["tron=KEY"], ["tron:TSLAx=0x12"], "--token"),
        (["solana=http://a"], ["solana=KEY"], ["solana:TSLAx=T9yD"], "--token"),
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
    short = tmp_path / "short"
    short.write_text("11" * 31, encoding="ascii")
    files = [text.replace("KEY", str(key)).replace("SHORT", str(short)) for text in keys]
    with pytest.raises(UsageProblem) as caught:
        parse_externals(urls, files, tokens)
    assert caught.value.field == field
    assert caught.value.remedy

"""Options win over the environment, the environment over a world file; errors say what to set."""

import json
from pathlib import Path

import pytest

from xstock_cli.exits import UsageProblem
from xstock_cli.settings import Place, find_place


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD", "GATEWAY", "RELAYER", "GUARDS", "NODES", "REGISTRY", "KEYS"):
        monkeypatch.delenv(f"XSTOCK_{name}", raising=False)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A world file where `xstock up` writes it, below tmp_path."""
    file = tmp_path / "build" / "devnet" / "world.json"
    file.parent.mkdir(parents=True)
    document = {"gateway": "w:1", "guards": {"guard-1": "w:2"}, "keys": str(tmp_path)}
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def test_place__world_of_a_running_up__is_found_by_itself(world: Path, tmp_path: Path) -> None:
    place = find_place(working_folder=tmp_path)
    assert place.need_gateway() == "w:1"
    assert place.need_guards() == {"guard-1": "w:2"}


def test_place__environment__wins_over_the_world(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSTOCK_GATEWAY", "e:1")
    monkeypatch.setenv("XSTOCK_NODES", '{"bnb": ["http://n"]}')
    place = find_place(working_folder=tmp_path)
    assert (place.gateway, place.need_nodes("bnb")) == ("e:1", ["http://n"])


def test_place__option__wins_over_the_environment(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSTOCK_GATEWAY", "e:1")
    assert find_place(gateway="o:1", working_folder=tmp_path).gateway == "o:1"


def test_place__world_named_by_its_folder__is_read(world: Path) -> None:
    assert find_place(world=world.parent).gateway == "w:1"


@pytest.mark.parametrize("content", ["not json", "[]", None])
def test_place__world_that_cannot_be_used__names_it(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "world.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageProblem, match="--world"):
        find_place(world=file)


def test_place__environment_that_is_no_json__is_a_usage_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSTOCK_NODES", "http://n")
    with pytest.raises(UsageProblem, match="environment"):
        find_place(working_folder=tmp_path)


@pytest.mark.parametrize("name", ["gateway", "relayer", "guards", "registry"])
def test_place__empty__says_which_variable_to_set(name: str) -> None:
    with pytest.raises(UsageProblem, match=f"XSTOCK_{name.upper()}"):
        getattr(Place(), f"need_{name}")()


def test_place__tls_half_given__is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSTOCK_TLS_CERTIFICATE", str(tmp_path / "c.pem"))
    with pytest.raises(UsageProblem, match="XSTOCK_TLS"):
        find_place(working_folder=tmp_path)


def test_key_file__by_name_or_path__is_found_and_a_wrong_one_lists_the_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "holder-0.key").write_text("11" * 32, encoding="ascii")
    place = Place(keys=tmp_path)
    assert place.key_file("holder-0") == tmp_path / "holder-0.key"
    assert place.key_file(str(tmp_path / "holder-0.key")) == tmp_path / "holder-0.key"
    with pytest.raises(UsageProblem, match="holder-0"):
        place.key_file("holder-9")

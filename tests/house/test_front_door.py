"""The front door: what `make help` lists exists, and set-up runs again exactly when it must."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.house import sources

TARGETS = {
    *(
        "help",
        "setup",
        "demo",
        "test",
        "check",
        "up",
        "bench",
        "mutants",
        "protos",
        "contracts",
        "clean",
    ),
}


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The set-up script, on an empty folder, with every command recorded instead of run."""
    spec = importlib.util.spec_from_file_location("setup_script", sources.ROOT / "scripts/setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "LOG_FILE", tmp_path / "build" / "setup.log")
    lock = tmp_path / "devnet/xstock_devnet/engines/kafka.lock"
    lock.parent.mkdir(parents=True)
    for path in (
        *(tmp_path / "requirements-dev.lock", tmp_path / "pyproject.toml", lock),
        *(tmp_path / "package-lock.json", tmp_path / "package.json"),
    ):
        path.write_text("one==1\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.hatch]\n[tool.ruff]\n')
    return module


def recorded(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    commands: list[str] = []

    def run(command: tuple[str, ...], *, count_of: int = 0) -> None:
        commands.append(" ".join(command))
        for folder in (".venv", "node_modules", "build/engines/kafka"):
            (setup.ROOT / folder).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(setup, "run", run)
    return commands


def test_help__lists_every_target() -> None:
    shown = subprocess.run(
        ("make", "--no-print-directory", "help"),
        cwd=sources.ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.defpath},
    ).stdout
    assert set(re.findall(r"^  make (\w+)", shown, re.MULTILINE)) == TARGETS


def test_make__without_python__says_what_to_do(tmp_path: Path) -> None:
    answer = subprocess.run(
        ("/usr/bin/make", "--no-print-directory", "setup", "PYTHON="),
        cwd=sources.ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath},
    )
    assert answer.returncode != 0
    assert "Python 3.11 or newer is needed" in answer.stdout


def test_setup__fresh_checkout__runs_every_step_once(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = recorded(setup, monkeypatch)
    setup.main()
    steps = ("-m venv", "--require-hashes", "npm ci", "-m xstock_devnet.engines")
    assert [step for step in steps if any(step in line for line in commands)] == list(steps)
    assert capsys.readouterr().out.count("setup: ") == 3
    commands.clear()
    setup.main()
    assert commands == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("requirements-dev.lock", "--require-hashes"),
        ("package-lock.json", "npm ci"),
        ("devnet/xstock_devnet/engines/kafka.lock", "xstock_devnet.engines"),
    ],
)
def test_setup__a_lock_changed__runs_its_step_again(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, changed: str, again: str
) -> None:
    commands = recorded(setup, monkeypatch)
    setup.main()
    commands.clear()
    (setup.ROOT / changed).write_text("two==2\n")
    setup.main()
    assert any(again in line for line in commands)


def test_setup__a_linter_configured__installs_nothing(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = recorded(setup, monkeypatch)
    setup.main()
    commands.clear()
    project = setup.ROOT / "pyproject.toml"
    project.write_text(project.read_text() + "line-length = 100\n")
    setup.main()
    assert commands == []
    project.write_text(project.read_text().replace('"x"', '"y"'))
    setup.main()
    assert len(commands) == 3


def test_setup__folder_deleted__runs_its_step_again(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = recorded(setup, monkeypatch)
    setup.main()
    commands.clear()
    for stamp in (setup.ROOT / "node_modules").iterdir():
        stamp.unlink()
    setup.main()
    assert len(commands) == 1
    assert "npm ci" in commands[0]


def test_setup__a_step_fails__exits_with_the_end_of_its_output(setup: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"setup failed \(7\)(.|\n)*the reason"):
        setup.run(("sh", "-c", "echo the reason; exit 7"))

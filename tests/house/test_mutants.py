"""The mutation run's own judgement: what counts as noticed, and what is wording only."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.house import sources


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", sources.ROOT / "scripts/mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    return module


MUTANTS = script()


@pytest.mark.parametrize(
    ("before", "after", "only"),
    [
        ('refuse("give a limit")', 'refuse("XXgive a limitXX")', True),
        ('refuse("give a limit")', 'refuse("GIVE A LIMIT")', True),
        ('no("kind", at, "give a limit")', 'no("kind", at, "GIVE A LIMIT")', True),
        ('no("kind", at, "give a limit")', 'no("KIND", at, "give a limit")', False),
        ('refuse("give a limit")', "refuse(None)", False),
        ('field = "amount"', 'field = "XXamountXX"', False),
        ("if used <= limit:", "if used < limit:", False),
        ('refuse(1, "give a limit")', 'refuse(2, "give a limit")', False),
    ],
)
def test_survivor__that_changes_a_sentence_only__is_told_from_one_that_changes_a_rule(
    before: str, after: str, *, only: bool
) -> None:
    assert MUTANTS.only_words(f"-    {before}\n+    {after}") is only


def test_survivors__of_an_earlier_run__are_asked_again_and_the_noticed_are_not(
    tmp_path: Path,
) -> None:
    meta = tmp_path / "mutants" / "src" / "core" / "policy.py.meta"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"exit_code_by_key": {"a": 0, "b": 1, "c": 33, "d": None}}))
    other = meta.with_name("ledger.py.meta")
    other.write_text(meta.read_text())
    MUTANTS.forget_survivors(tmp_path, ["policy"])
    known = json.loads(meta.read_text())["exit_code_by_key"]
    assert known == {"a": None, "b": 1, "c": None, "d": None}
    assert json.loads(other.read_text())["exit_code_by_key"]["a"] == 0
    MUTANTS.forget_survivors(tmp_path, [])
    assert json.loads(other.read_text())["exit_code_by_key"]["a"] is None


def test_score__of_a_module__is_what_was_noticed_of_what_was_asked() -> None:
    assert MUTANTS.Tally("policy", 9, ("x",), words=5, waiting=7).score == 90.0
    assert MUTANTS.Tally("policy", 0, (), words=0, waiting=0).score == 100.0


def test_mirror__of_a_folder__brings_changes_and_takes_away_what_is_gone(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    (source / "kept.py").write_text("1")
    (source / "gone.py").write_text("1")
    MUTANTS.mirror(source, target)
    (source / "gone.py").unlink()
    (source / "kept.py").write_text("2")
    MUTANTS.mirror(source, target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"kept.py": "2"}

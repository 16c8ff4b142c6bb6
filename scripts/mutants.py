"""Mutation testing in a copy: change one thing in the rules, and some test must fail.

Everything happens under build/mutants/<room>, so nobody ever imports a mutated file from the
checkout. A room is a mutated package with the tests that must notice; mutmut makes the mutants,
runs for each only the tests that reach it, two at a time, each with a time limit. Results stay
between runs: unchanged functions are not asked again, survivors are, and a run that ends at its
time limit goes on where it stopped. docs/mutants.md explains what survives.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "mutants"
FLOOR_PERCENT = 90.0
PACKAGE_FOLDERS = (
    "libs", "services/watcher", "services/relayer", "services/supply-guard",
    "services/gateway", "cli", "devnet",
)  # fmt: skip
KILLED = {1, 3, 24, -24, 36, 152, 255, -9}
"""mutmut's exit codes of a mutant that a test noticed, by failing or by never ending."""
SURVIVED = {0, 5, 33}
"""Not noticed, or reached by no test."""


@dataclass(frozen=True)
class Room:
    """A package, which of its files are mutated, and the tests that must notice."""

    name: str
    package: str
    only: tuple[str, ...]
    tests: tuple[str, ...]


ROOMS = (
    Room(
        "core",
        "libs/xstock_core",
        ("src/xstock_core/*.py",),
        ("tests/core", "-k", "not document and not invariant__each_id"),
    ),
    Room(
        "guard",
        "services/supply-guard/xstock_supply_guard",
        ("src/xstock_supply_guard/handlers/*.py", "src/xstock_supply_guard/wire.py"),
        (
            "tests/services/supply_guard",
            "--ignore=tests/services/supply_guard/test_servers.py",
        ),
    ),
)


def mirror(source: Path, target: Path) -> None:
    """Make `target` the same tree as `source`; unchanged files keep their times."""
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        return
    wanted = {path.relative_to(source) for path in source.rglob("*")}
    for path in sorted(target.rglob("*"), reverse=True) if target.exists() else ():
        if path.relative_to(target) not in wanted and path.is_file():
            path.unlink()
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=skip)


def copy_room(room: Room, modules: Sequence[str]) -> Path:
    """The room's own checkout: its package to be mutated, the rest of the house as it is.

    With `modules` only those files are mutated.
    """
    home = OUT / room.name
    mirror(ROOT / room.package, home / "src" / Path(room.package).name)
    for folder in PACKAGE_FOLDERS:
        for package in sorted((ROOT / folder).glob("xstock_*")):
            if package.is_dir() and package != ROOT / room.package:
                mirror(package, home / "house" / package.name)
    for name in ("tests", "docs"):
        mirror(ROOT / name, home / name)
    configuration, text = home / "pyproject.toml", _configuration(room, modules)
    if not configuration.exists() or configuration.read_text() != text:
        # what was mutated before, or was not, is made anew: mutmut looks at times alone
        for path in (home / "mutants" / "src").rglob("*.py"):
            path.unlink()
        configuration.write_text(text)
    return home


def _configuration(room: Room, modules: Sequence[str]) -> str:
    only = [f"*/{name}.py" for name in modules] or room.only
    marks = re.search(r"^markers = \[.*?^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    lines = [
        "[tool.mutmut]",
        'source_paths = ["src"]',
        'also_copy = ["house", "docs"]',
        f"only_mutate = {json.dumps(only)}",
        f"pytest_add_cli_args_test_selection = {json.dumps(room.tests)}",
        'pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist", "--engines=embedded"]',
        "use_git_change_detection = false",
        "track_dependencies = false",
        "timeout_multiplier = 10.0",
        "timeout_constant = 2.0",
        "[tool.pytest.ini_options]",
        'pythonpath = ["house"]',
        'asyncio_mode = "auto"',
        'asyncio_default_fixture_loop_scope = "session"',
        'asyncio_default_test_loop_scope = "session"',
        'addopts = "--strict-markers --strict-config"',
        marks.group(0) if marks else "markers = []",
    ]
    return "\n".join(lines) + "\n"


def metas(home: Path) -> list[Path]:
    """mutmut's result files, one per mutated module."""
    return sorted((home / "mutants" / "src").rglob("*.py.meta"))


def forget_survivors(home: Path, modules: Sequence[str]) -> None:
    """Ask about them again: the tests may have learned, and may reach other functions."""
    (home / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    for path in metas(home):
        if modules and path.name.removesuffix(".py.meta") not in modules:
            continue
        data = json.loads(path.read_text())
        codes = data["exit_code_by_key"]
        again = {key: None if code in SURVIVED else code for key, code in codes.items()}
        path.write_text(json.dumps(data | {"exit_code_by_key": again}, indent=4))


SAMPLES = {1: (), 5: ("*__mutmut_*3", "*__mutmut_*8"), 10: ("*__mutmut_*3",)}
"""Every so many mutants of each function, by the last digit of their numbers."""


def run(home: Path, seconds: float, sample: Sequence[str] = ()) -> None:
    """Let mutmut work for at most so long; what it has found is kept."""
    began, told = time.monotonic(), time.monotonic()
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "2", *sample]
    with (home / "run.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=home, stdout=log, stderr=log, start_new_session=True
        )
        while process.poll() is None:
            time.sleep(0.5)
            now = time.monotonic()
            if now - told > 30:
                told = now
                print(f"  … {home.name}: {_progress(home)}, {now - began:.0f} s", flush=True)
            if now - began > seconds:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
    if not metas(home):
        text = (home / "run.log").read_text(errors="replace").replace("\r", "\n")
        tail = "\n".join(text.splitlines()[-30:])
        sys.exit(f"mutmut made no mutants; the tests of the copy must pass:\n{tail}")


def _progress(home: Path) -> str:
    tail = (home / "run.log").read_bytes()[-400:].decode(errors="ignore")
    found = re.findall(r"\d+/\d+", tail)
    return f"{found[-1]} mutants" if found else "collecting tests"


@dataclass(frozen=True)
class Tally:
    """One module's mutants: noticed, not noticed, not noticed but only words, not asked yet."""

    module: str
    killed: int
    survivors: tuple[str, ...]
    words: int
    waiting: int

    @property
    def score(self) -> float:
        """Percent of those asked that were noticed; a change of wording counts for nothing."""
        asked = self.killed + len(self.survivors)
        return 100.0 * self.killed / asked if asked else 100.0


def tallies(home: Path) -> list[Tally]:
    """What is known of each module."""
    found = []
    for path in metas(home):
        codes = json.loads(path.read_text())["exit_code_by_key"]
        survivors = [key for key, code in codes.items() if code in SURVIVED]
        diffs = differences(home, survivors) if survivors else {}
        words = {key for key, text in diffs.items() if only_words(text)}
        kinds = Counter(code in KILLED for code in codes.values() if code is not None)
        left = tuple(key for key in survivors if key not in words)
        waiting = sum(code is None for code in codes.values())
        name = path.relative_to(home / "mutants" / "src").with_suffix("").as_posix()
        found.append(Tally(name, kinds[True], left, len(words), waiting))
        (home / "survivors").mkdir(exist_ok=True)
        listing = "\n".join(f"# {key}\n{diffs[key]}" for key in left)
        (home / "survivors" / f"{Path(name).stem}.diff").write_text(listing)
    return [tally for tally in found if tally.killed or tally.survivors or tally.waiting]


_DIFFERENCES = """
import sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
def shown(key):
    try:
        return get_diff_for_mutant(key)
    except FileNotFoundError:  # of a module that the last run did not mutate
        return ""
sys.stdout.write("\\0".join(map(shown, sys.argv[1:])))
"""


def differences(home: Path, keys: Sequence[str]) -> dict[str, str]:
    """The changed lines of mutants, by name."""
    command = [sys.executable, "-c", _DIFFERENCES, *keys]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(
            f"mutmut cannot show {len(keys)} survivors; is another run going on?\n{done.stderr}"
        )
    found = {}
    for key, text in zip(keys, done.stdout.split("\0"), strict=True):
        lines = [one for one in text.splitlines() if re.match(r"[+-](?![+-])", one)]
        found[key] = "\n".join(lines)
    return found


_QUOTED = re.compile(r'"([^"]*)"')


def _without_sentences(line: str) -> str:
    return _QUOTED.sub(lambda found: '""' if " " in found[1] else found[0], line)


def only_words(diff: str) -> bool:
    """Whether the mutant changes nothing but the letters of a sentence in quotes."""
    lines = diff.splitlines()
    before = "".join(line[1:] for line in lines if line.startswith("-"))
    after = "".join(line[1:] for line in lines if line.startswith("+"))
    same = _without_sentences(before) == _without_sentences(after)
    return bool(diff) and before != after and same


def table(found: Iterable[Tally]) -> str:
    """The score of every module, as markdown."""
    rows = ["| module | noticed | survived | words | not asked | score |"]
    rows += ["|---|---|---|---|---|---|"]
    rows += [
        f"| {one.module} | {one.killed} | {len(one.survivors)} | {one.words} | {one.waiting} "
        f"| {one.score:.1f} % |"
        for one in found
    ]
    return "\n".join(rows)


def main() -> int:
    """Run the rooms; 1 where a score is below the floor, 2 where time ended first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", help="core, guard (default: both)")
    parser.add_argument("--minutes", type=float, default=40.0, help="time limit of a room")
    parser.add_argument("--only", action="append", default=[], help="a module's name, e.g. policy")
    parser.add_argument(
        "--every", type=int, choices=sorted(SAMPLES), default=1, help="ask every so many alone"
    )
    parser.add_argument("--fresh", action="store_true", help="forget every earlier result")
    parser.add_argument("--report", action="store_true", help="ask nothing, show what is known")
    given = parser.parse_args()
    chosen = [room for room in ROOMS if room.name in (given.rooms or [r.name for r in ROOMS])]
    verdict = 0
    for room in chosen:
        home = OUT / room.name
        if not given.report:
            if given.fresh:
                shutil.rmtree(home, ignore_errors=True)
            copy_room(room, given.only)
            forget_survivors(home, given.only)
            run(home, given.minutes * 60, SAMPLES[given.every])
        verdict = max(verdict, report(room, home))
    return verdict


def report(room: Room, home: Path) -> int:
    """Print a room's table and keep it; see `main` for the result."""
    found = tallies(home)
    killed, survived = sum(t.killed for t in found), sum(len(t.survivors) for t in found)
    waiting = sum(t.waiting for t in found)
    score = 100.0 * killed / max(1, killed + survived)
    (home / "table.md").write_text(table(found) + "\n")
    print(f"{room.name}\n{table(found)}")
    print(f"{room.name}: {score:.1f} % of {killed + survived} noticed, floor {FLOOR_PERCENT:.0f} %")
    print(f"survivors: {(home / 'survivors').relative_to(ROOT)}; docs/mutants.md explains them")
    if score < FLOOR_PERCENT:
        return 1
    if waiting:
        print(f"{waiting} not asked before time ended: run the same again to go on")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
